//! The thread that drives the replica. Everything that can wake it is one closed [`Event`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::applier::{Expectation, Waiter, Work};
use super::disk::Order;
use super::handle::{Permit, ProposeError, ReadError};
use super::{Options, Shared};
use crate::consensus::{Input, Position, ProposeRefusal, Replica, Role};
use crate::model::codec::encode_into;
use crate::model::limits::MAX_ENTRY_BYTES;
use crate::model::{Command, Index, MemberId, Payload, Proposal, ProposalId, Reply, Term, Timestamp};

/// Events taken in one turn at most, so that ticks are never late for long.
const MAX_EVENTS: usize = 4096;
/// Batches on their way to disk. While so many are, proposals gather into the next one: fewer and larger batches share
/// a sync and the turns of three threads.
const MAX_UNPERSISTED: usize = 1;
/// Expiries proposed in one tick at most.
const MAX_EXPIRIES: usize = 1000;
/// What is left of a lease is recorded when this much has passed since it last was.
const CHECKPOINT_STEP: Duration = Duration::from_secs(30);
/// A leader that proposed nothing for so long proposes a no-op: the state machine's clock goes by the stamps of entries
/// and takes no jump of an hour at once.
const NOOP_AFTER: Duration = Duration::from_mins(15);
/// How often leases are looked through for that.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// Everything that can wake the runner.
pub(super) enum Event {
    Propose(Pending),
    /// Answered with the index that a linearizable read has to wait for.
    Read(oneshot::Sender<Result<Index, ReadError>>),
    /// The disk has written and synced everything up to this number.
    Persisted(u64),
    Applied {
        index: Index,
        term: Term,
    },
    /// The store holds everything up to here for good: the log may be cut.
    Truncate(Index),
    Stop,
}

/// A proposal that waits for its turn.
pub(super) struct Pending {
    pub(super) id: ProposalId,
    pub(super) encoded: Bytes,
    pub(super) reply: oneshot::Sender<Result<Reply, ProposeError>>,
    pub(super) permit: Permit,
}

pub(super) struct Runner {
    replica: Replica,
    shared: Arc<Shared>,
    inbox: Receiver<Event>,
    disk: Sender<Order>,
    applier: Sender<Work>,
    tick: Duration,
    pending: Vec<Pending>,
    pending_reads: Vec<oneshot::Sender<Result<Index, ReadError>>>,
    /// Reads under way, by context. A context is used once.
    reads: BTreeMap<u64, Vec<oneshot::Sender<Result<Index, ReadError>>>>,
    next_context: u64,
    /// Who waits for the entries proposed and not yet placed in the log, by token.
    proposed: BTreeMap<u64, Vec<Waiter>>,
    next_token: u64,
    /// The numbers of what is on its way to disk.
    unpersisted: VecDeque<u64>,
    role: Role,
    /// The term that this member leads in. An entry of it, once applied, has all earlier ones before it.
    own_term: Option<Term>,
    sole_voter: bool,
    last_checkpoint: Instant,
    last_proposal: Instant,
}

impl Runner {
    pub(super) fn new(
        replica: Replica,
        shared: Arc<Shared>,
        inbox: Receiver<Event>,
        disk: Sender<Order>,
        applier: Sender<Work>,
        sole_voter: bool,
        options: &Options,
    ) -> Self {
        Self {
            replica,
            shared,
            inbox,
            disk,
            applier,
            tick: options.tick,
            pending: Vec::new(),
            pending_reads: Vec::new(),
            reads: BTreeMap::new(),
            next_context: 1,
            proposed: BTreeMap::new(),
            next_token: 1,
            unpersisted: VecDeque::new(),
            role: Role::Follower,
            own_term: None,
            sole_voter,
            last_checkpoint: Instant::now(),
            last_proposal: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
        let mut next_tick = Instant::now();
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            let mut running = match self.inbox.recv_timeout(wait) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            for _ in 0..MAX_EVENTS {
                match self.inbox.try_recv() {
                    Ok(event) => running &= self.take(event),
                    Err(_) => break,
                }
            }
            if !running || self.shared.failed() {
                break;
            }
            let now = Instant::now();
            if now >= next_tick {
                // A late tick is one tick: time that this thread did not run is not held against a leader.
                next_tick = now + self.tick;
                self.tick(now);
            }
            self.propose();
            self.read();
            self.settle();
        }
        self.stop();
    }

    /// False when told to stop.
    fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Propose(pending) => self.pending.push(pending),
            Event::Read(reply) => self.pending_reads.push(reply),
            Event::Persisted(number) => {
                while self.unpersisted.pop_front_if(|sent| *sent <= number).is_some() {}
                self.replica.step(Input::Persisted { number });
            }
            Event::Applied { index, term } => {
                self.replica.step(Input::Applied { index });
                if self.own_term == Some(term) && self.sole_voter {
                    self.shared.sole_leader.store(true, Ordering::SeqCst);
                }
            }
            Event::Truncate(index) => {
                self.replica.truncate(index);
                // A disk thread that is gone has said why.
                let _ = self.disk.send(Order::Truncate(index));
            }
            Event::Stop => return false,
        }
        true
    }

    fn tick(&mut self, now: Instant) {
        self.replica.step(Input::Tick);
        if self.role != Role::Leader {
            return;
        }
        let term = self.replica.status().term;
        let expired = self.shared.lessor.lock().expired(now, MAX_EXPIRIES);
        for lease in expired {
            self.propose_own(Command::ExpireLease { id: lease.id, term, renewals: lease.renewals });
        }
        if now.duration_since(self.last_proposal) >= NOOP_AFTER {
            self.propose_own(Command::Noop);
        }
        if now.duration_since(self.last_checkpoint) >= CHECKPOINT_EVERY {
            self.last_checkpoint = now;
            let checkpoints = self.shared.lessor.lock().checkpoints(now, CHECKPOINT_STEP);
            if !checkpoints.is_empty() {
                self.propose_own(Command::CheckpointLeases { term, checkpoints });
            }
        }
    }

    /// Proposes something that nobody waits for. Dropped when too much is in flight: its cause remains and brings it
    /// back.
    fn propose_own(&mut self, command: Command) {
        let id = self.shared.next_proposal();
        let mut encoded = Vec::new();
        encode_into(&mut encoded, &Proposal { id, author: None, idempotency: None, command });
        if let Some(permit) = Permit::take(&self.shared, encoded.len()) {
            let (reply, _) = oneshot::channel();
            self.pending.push(Pending { id, encoded: encoded.into(), reply, permit });
        }
    }

    /// Puts what has gathered into entries, as many proposals into each as fit.
    fn propose(&mut self) {
        if self.pending.is_empty() || self.unpersisted.len() >= MAX_UNPERSISTED {
            return;
        }
        let time = self.now();
        self.last_proposal = Instant::now();
        let mut pending = std::mem::take(&mut self.pending).into_iter().peekable();
        while pending.peek().is_some() {
            let mut size = 0;
            let mut batch: Vec<Pending> = Vec::new();
            while let Some(next) =
                pending.next_if(|next| batch.is_empty() || size + next.encoded.len() <= MAX_ENTRY_BYTES)
            {
                size += next.encoded.len();
                batch.push(next);
            }
            let data = Payload::assemble(time, batch.iter().map(|pending| &*pending.encoded));
            let waiters = batch
                .into_iter()
                .map(|pending| Waiter { id: pending.id, reply: pending.reply, permit: pending.permit })
                .collect();
            let token = self.next_token;
            self.next_token += 1;
            self.proposed.insert(token, waiters);
            self.replica.step(Input::Propose { token, data });
        }
    }

    /// One ticket for all reads that wait.
    fn read(&mut self) {
        if self.pending_reads.is_empty() {
            return;
        }
        let context = self.next_context;
        self.next_context += 1;
        self.reads.insert(context, std::mem::take(&mut self.pending_reads));
        self.replica.step(Input::Read { context });
    }

    /// Carries out what the replica asks for.
    fn settle(&mut self) {
        let output = self.replica.poll();
        if let Some(status) = output.status {
            self.role = status.role;
            self.own_term = (status.role == Role::Leader).then_some(status.term);
            if status.role != Role::Leader {
                self.shared.sole_leader.store(false, Ordering::SeqCst);
            }
            self.shared.term.store(status.term.get(), Ordering::Relaxed);
            self.shared.leader.store(status.leader.map_or(0, MemberId::get), Ordering::Relaxed);
            tracing::info!(role = ?status.role, term = %status.term, leader = status.leader.map(tracing::field::display), "raft state changed");
        }
        for (token, placed) in output.proposed {
            let Some(waiters) = self.proposed.remove(&token) else { continue };
            match placed {
                // An applier that is gone has said why; dropping the waiters tells them that the member stopped.
                Ok(Position { index, term }) => {
                    drop(self.applier.send(Work::Expect(Expectation { term, index, waiters })));
                }
                Err(refusal) => {
                    let error = match refusal {
                        ProposeRefusal::NotLeader { .. } | ProposeRefusal::Transferring => ProposeError::NoLeader,
                        ProposeRefusal::Overloaded => ProposeError::Overloaded,
                    };
                    for waiter in waiters {
                        let _ = waiter.reply.send(Err(error.clone()));
                    }
                }
            }
        }
        if let Some(persist) = output.persist {
            self.unpersisted.push_back(persist.number);
            let _ = self.disk.send(Order::Persist(persist));
        }
        if !output.commit.is_empty() {
            let _ = self.applier.send(Work::Commit(output.commit));
        }
        for (context, index) in output.reads {
            for read in self.reads.remove(&context).unwrap_or_default() {
                let _ = read.send(Ok(index));
            }
        }
        for context in output.dropped_reads {
            // Asked again under a new context: a used one would be answered with its old index.
            let dropped = self.reads.remove(&context).unwrap_or_default();
            self.pending_reads.extend(dropped.into_iter().filter(|read| !read.is_closed()));
        }
    }

    /// Milliseconds since the epoch, for the entries of this leader.
    #[expect(clippy::unused_self, reason = "time is a matter of the runner")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Lets disk and applier finish what they have. Whoever still waits here learns that the member stopped.
    fn stop(self) {
        self.shared.sole_leader.store(false, Ordering::SeqCst);
        let _ = self.disk.send(Order::Stop);
        let _ = self.applier.send(Work::Stop);
    }
}
