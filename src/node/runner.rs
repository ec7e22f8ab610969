//! What drives the replica: one closed [`Event`] for everything that can happen to it, one turn at a time.
//!
//! The runner has no thread. Whoever brings an event takes the turn, under a lock beneath which nothing waits: inputs
//! go into the replica, and what it asks for goes into the queues of disk and applier. So an event costs no change of
//! thread, and a request at rest reaches the disk from the thread that read it. Proposals and reads gather beside
//! the lock while they may not go yet, and whoever makes room for them takes them along.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Shared;
use super::applier::{Commit, Waiter, Waiters, Work};
use super::disk::Order;
use super::handle::{Permit, ProposeError, ReadError};
use crate::consensus::{Input, Output, Position, ProposeRefusal, Replica, Role};
use crate::model::codec::encode_into;
use crate::model::limits::MAX_ENTRY_BYTES;
use crate::model::{Command, Index, MemberId, Payload, Proposal, ProposalId, Reply, Term, Timestamp};

/// Batches on their way to disk. While so many are, proposals gather into the next one.
const MAX_UNPERSISTED: usize = 1;
/// A batch of this size waits for no company: what it shares is then small beside what it costs by itself, and waiting
/// would leave the disk idle.
const LARGE_BATCH_BYTES: usize = 16 * 1024;
/// Expiries proposed in one tick at most.
const MAX_EXPIRIES: usize = 1000;
/// What is left of a lease is recorded when this much has passed since it last was.
const CHECKPOINT_STEP: Duration = Duration::from_secs(30);
/// A leader that proposed nothing for so long proposes a no-op: the state machine's clock goes by the stamps of entries
/// and takes no jump of an hour at once.
const NOOP_AFTER: Duration = Duration::from_mins(15);
/// How often leases are looked through for that.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// Everything that can happen to the replica, besides proposals and reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Tick,
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

/// Answered with the index that a linearizable read has to wait for.
pub(super) type PendingRead = oneshot::Sender<Result<Index, ReadError>>;

/// The member stopped, and takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopped;

pub(super) struct Runner {
    /// Never locked before `gathered` is let go.
    driver: Mutex<Driver>,
    gathered: Mutex<Gathered>,
}

/// What waits for its turn.
#[derive(Default)]
struct Gathered {
    proposals: Vec<Pending>,
    proposal_bytes: usize,
    reads: Vec<PendingRead>,
    /// The bytes at which the proposals go: who brings them to it takes the turn. `None`: not before another event.
    proposals_go_at: Option<usize>,
    /// Whether the next read goes at once.
    reads_may_go: bool,
    stopped: bool,
}

impl Runner {
    pub(super) fn new(
        replica: Replica,
        shared: Arc<Shared>,
        disk: Sender<Order>,
        applier: Sender<Work>,
        sole_voter: bool,
    ) -> Self {
        let driver = Driver {
            replica,
            shared,
            disk,
            applier,
            own_proposals: Vec::new(),
            reads: BTreeMap::new(),
            dropped_reads: Vec::new(),
            next_context: 1,
            proposed: BTreeMap::new(),
            next_token: 1,
            placed: Waiters::new(),
            unpersisted: VecDeque::new(),
            role: Role::Follower,
            own_term: None,
            sole_voter,
            stopped: false,
            last_checkpoint: Instant::now(),
            last_proposal: Instant::now(),
        };
        Self { driver: Mutex::new(driver), gathered: Mutex::default() }
    }

    /// Carries out what the replica asks for at its start.
    pub(super) fn begin(&self) {
        self.turn(|_| {});
    }

    /// Takes a proposal, at once or with the next ones. Its reply comes when it is applied here.
    ///
    /// # Errors
    /// When the member has stopped: the proposal is certainly not applied.
    pub(super) fn propose(&self, pending: Pending) -> Result<(), Stopped> {
        let mut gathered = self.gathered.lock();
        if gathered.stopped {
            return Err(Stopped);
        }
        gathered.proposal_bytes += pending.encoded.len();
        gathered.proposals.push(pending);
        if gathered.proposals_go_at.is_some_and(|bytes| gathered.proposal_bytes >= bytes) {
            gathered.proposals_go_at = None;
            drop(gathered);
            self.turn(|_| {});
        }
        Ok(())
    }

    /// Takes a read, at once or with the next ones.
    ///
    /// # Errors
    /// When the member has stopped.
    pub(super) fn read(&self, read: PendingRead) -> Result<(), Stopped> {
        let mut gathered = self.gathered.lock();
        if gathered.stopped {
            return Err(Stopped);
        }
        gathered.reads.push(read);
        if std::mem::take(&mut gathered.reads_may_go) {
            drop(gathered);
            self.turn(|_| {});
        }
        Ok(())
    }

    /// Takes an event.
    ///
    /// # Errors
    /// When the member has stopped, perhaps by this event.
    pub(super) fn handle(&self, event: Event) -> Result<(), Stopped> {
        let running = self.turn(|driver| driver.take(event));
        if running { Ok(()) } else { Err(Stopped) }
    }

    /// Ticks until the member stops, or `stop` is dropped.
    pub(super) fn tick(&self, every: Duration, stop: &Receiver<()>) {
        // A late tick is one tick: time in which this thread did not run is not held against a leader.
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(every) {
            if self.handle(Event::Tick) == Err(Stopped) {
                return;
            }
        }
    }

    /// One turn: an event, then whatever may go. False once the member has stopped.
    fn turn(&self, take: impl FnOnce(&mut Driver)) -> bool {
        let mut driver = self.driver.lock();
        if driver.stopped {
            return false;
        }
        take(&mut driver);
        if driver.stopped || driver.shared.failed() {
            self.stop(&mut driver);
            return false;
        }
        loop {
            let (proposals, reads) = self.take_gathered(&driver);
            driver.propose(proposals);
            driver.read(reads);
            driver.settle();
            if !self.rest(&driver) {
                return true;
            }
        }
    }

    fn take_gathered(&self, driver: &Driver) -> (Vec<Pending>, Vec<PendingRead>) {
        let mut gathered = self.gathered.lock();
        let proposals = if driver.proposals_go_at().is_some_and(|bytes| gathered.proposal_bytes >= bytes) {
            gathered.proposal_bytes = 0;
            std::mem::take(&mut gathered.proposals)
        } else {
            Vec::new()
        };
        let reads = if driver.may_read() { std::mem::take(&mut gathered.reads) } else { Vec::new() };
        (proposals, reads)
    }

    /// Ends the turn, unless something came meanwhile that may go: then true.
    fn rest(&self, driver: &Driver) -> bool {
        let mut gathered = self.gathered.lock();
        let (go_at, may_read) = (driver.proposals_go_at(), driver.may_read());
        let enough = go_at.is_some_and(|bytes| gathered.proposal_bytes >= bytes) && !gathered.proposals.is_empty();
        if enough || (may_read && !gathered.reads.is_empty()) {
            return true;
        }
        gathered.proposals_go_at = go_at;
        gathered.reads_may_go = may_read;
        false
    }

    /// Lets disk and applier finish what they have. Whoever still waits learns that the member stopped.
    fn stop(&self, driver: &mut Driver) {
        driver.stopped = true;
        driver.shared.sole_leader.store(false, Ordering::SeqCst);
        driver.proposed.clear();
        driver.placed.clear();
        driver.reads.clear();
        driver.dropped_reads.clear();
        let _ = driver.disk.send(Order::Stop);
        let _ = driver.applier.send(Work::Stop);
        let mut gathered = self.gathered.lock();
        gathered.stopped = true;
        gathered.reads.clear();
        gathered.proposal_bytes = 0;
        for pending in gathered.proposals.drain(..) {
            let _ = pending.reply.send(Err(ProposeError::Stopped(driver.shared.failure())));
        }
    }
}

/// The replica and everything that hangs on it, in the hands of whoever has the turn.
struct Driver {
    replica: Replica,
    shared: Arc<Shared>,
    disk: Sender<Order>,
    applier: Sender<Work>,
    /// What this member itself has to propose.
    own_proposals: Vec<Pending>,
    /// Reads under way, by context. A context is used once.
    reads: BTreeMap<u64, Vec<PendingRead>>,
    /// Reads to be asked again with the next tick, under a new context.
    dropped_reads: Vec<PendingRead>,
    next_context: u64,
    /// Who waits for the entries proposed and not yet placed in the log, by token.
    proposed: BTreeMap<u64, Vec<Waiter>>,
    next_token: u64,
    /// Who waits for the entries placed in the log and not yet committed.
    placed: Waiters,
    /// The numbers of what is on its way to disk.
    unpersisted: VecDeque<u64>,
    role: Role,
    /// The term that this member leads in. An entry of it, once applied, has all earlier ones before it.
    own_term: Option<Term>,
    sole_voter: bool,
    stopped: bool,
    last_checkpoint: Instant,
    last_proposal: Instant,
}

impl Driver {
    fn take(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(Instant::now()),
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
            Event::Stop => self.stopped = true,
        }
    }

    /// The bytes at which proposals go; `None` while a batch is on its way to disk. A batch costs the same turns of
    /// threads and the same sync however small it is, so while the one before is being applied, it goes once it is no
    /// smaller. What is waited for is work of this process, never the network.
    fn proposals_go_at(&self) -> Option<usize> {
        let ready = self.unpersisted.len() < MAX_UNPERSISTED;
        ready.then(|| self.replica.applying_bytes().min(LARGE_BATCH_BYTES))
    }

    /// Whether reads go now: those that come while a ticket is asked for share the next one.
    fn may_read(&self) -> bool {
        self.reads.is_empty()
    }

    fn tick(&mut self, now: Instant) {
        self.replica.step(Input::Tick);
        let dropped = std::mem::take(&mut self.dropped_reads);
        self.read(dropped.into_iter().filter(|read| !read.is_closed()).collect());
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
            self.own_proposals.push(Pending { id, encoded: encoded.into(), reply, permit });
        }
    }

    /// Puts what has gathered into entries, as many proposals into each as fit.
    fn propose(&mut self, proposals: Vec<Pending>) {
        let ready = self.unpersisted.len() < MAX_UNPERSISTED;
        let own = if ready { std::mem::take(&mut self.own_proposals) } else { Vec::new() };
        if own.is_empty() && proposals.is_empty() {
            return;
        }
        let time = now();
        self.last_proposal = Instant::now();
        let mut pending = own.into_iter().chain(proposals).peekable();
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
    fn read(&mut self, reads: Vec<PendingRead>) {
        if reads.is_empty() {
            return;
        }
        let context = self.next_context;
        self.next_context += 1;
        self.reads.insert(context, reads);
        self.replica.step(Input::Read { context });
    }

    /// Carries out what the replica asks for.
    fn settle(&mut self) {
        let Output { persist, send: _, commit, reads, dropped_reads, proposed, status } = self.replica.poll();
        if let Some(status) = status {
            self.role = status.role;
            self.own_term = (status.role == Role::Leader).then_some(status.term);
            if status.role != Role::Leader {
                self.shared.sole_leader.store(false, Ordering::SeqCst);
            }
            self.shared.term.store(status.term.get(), Ordering::Relaxed);
            self.shared.leader.store(status.leader.map_or(0, MemberId::get), Ordering::Relaxed);
            tracing::info!(role = ?status.role, term = %status.term, leader = status.leader.map(tracing::field::display), "raft state changed");
        }
        for (token, placed) in proposed {
            self.placed(token, placed);
        }
        if let Some(persist) = persist {
            self.unpersisted.push_back(persist.number);
            let _ = self.disk.send(Order::Persist(persist));
        }
        if let Some(last) = commit.last() {
            let later = self.placed.split_off(&(last.index.next(), Term::default()));
            let waiters = std::mem::replace(&mut self.placed, later);
            // An applier that is gone has said why; dropping the waiters tells them that the member stopped.
            let _ = self.applier.send(Work::Commit(Commit { entries: commit, waiters }));
        }
        for (context, index) in reads {
            for read in self.reads.remove(&context).unwrap_or_default() {
                let _ = read.send(Ok(index));
            }
        }
        for context in dropped_reads {
            // A used context would be answered with its old index.
            self.dropped_reads.extend(self.reads.remove(&context).unwrap_or_default());
        }
    }

    /// Tells who waits for an entry where it stands, or why it does not.
    fn placed(&mut self, token: u64, placed: Result<Position, ProposeRefusal>) {
        let Some(waiters) = self.proposed.remove(&token) else { return };
        match placed {
            Ok(Position { index, term }) => {
                self.placed.insert((index, term), waiters);
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
}

/// Milliseconds since the epoch, for the entries of this leader.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
