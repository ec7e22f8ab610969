//! The replica and everything that hangs on it, in the hands of whoever has the turn: what waits for raft, and where what
//! raft asks for goes.
//!
//! Nothing here waits. A proposal goes into this member's log or to the member that leads; where it cannot go, it is given
//! back to gather until it can.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::applier::{Install, Work};
use super::disk::Order;
use super::handle::ProposeError;
use super::lessor::Patience;
use super::report::{REPORT_EVERY, Report};
use super::runner::{Event, PendingRead, Runner};
use super::streams::Streams;
use super::transport::{Forward, Forwarded, PeerMessage, Transport};
use super::waiters::Pending;
use super::{Dismissal, Room, Shared, now};
use crate::consensus::forward::{ForwardAnswer, ForwardRefusal, Found, Incoming, MAX_UNANSWERED, Outgoing};
use crate::consensus::{
    Input, MembershipChange, Message, MessageKind, Output, Persist, Position, ProposeRefusal, Replica, Role, Status,
};
use crate::model::codec::encode_into;
use crate::model::limits::MAX_ENTRY_BYTES;
use crate::model::{Command, ConfState, Incarnation, MemberId, Payload, Proposal, Term};
use crate::storage::lsm::LsmEngine;

/// Batches on their way to disk. While so many are, proposals gather into the next one.
const MAX_UNPERSISTED: usize = 1;
/// A batch of this size waits for no company: what it shares is then small beside what it costs by itself, and waiting
/// would leave the disk idle.
const LARGE_BATCH_BYTES: usize = 8 * 1024;
/// An entry takes proposals of this member up to so many bytes; what another forwards together stays together. Entries are the grain in which
/// the applier makes its batches.
const ENTRY_BYTES: usize = 4 * 1024;
/// Expiries proposed in one tick at most.
const MAX_EXPIRIES: usize = 1000;
/// What is left of a lease is recorded when this much has passed since it last was.
const CHECKPOINT_STEP: Duration = Duration::from_secs(30);
/// A leader that proposed nothing for so long proposes a no-op: the state machine's clock goes by the stamps of entries
/// and takes no jump of an hour at once.
const NOOP_AFTER: Duration = Duration::from_mins(15);
/// How often leases are looked through for that.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// How often a member says what it is called and where clients reach it, until it is known.
const DESCRIBE_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Driver {
    replica: Replica,
    shared: Arc<Shared>,
    disk: Sender<Order>,
    applier: Sender<Work>,
    /// `None` while there is nobody to talk to.
    peers: Option<Peers>,
    /// What this member itself has to propose.
    own_proposals: Vec<Pending>,
    /// What could not go after all, to gather again.
    returned: Vec<Pending>,
    /// What others brought while proposals could not go.
    forwards: Vec<(MemberId, Forward)>,
    /// Changes of membership, until they are placed. They may have to wait for one another, and hold nothing else up.
    changes: Vec<Pending>,
    /// Proposals were refused just now and would be again: they go no earlier than with the next tick.
    held_back: bool,
    outgoing: Outgoing<Vec<Pending>>,
    incoming: Incoming,
    /// What was proposed and not yet placed in the log, by token.
    proposed: BTreeMap<u64, Proposed>,
    next_token: u64,
    /// Reads under way, by context. A context is used once.
    reads: BTreeMap<u64, Vec<PendingRead>>,
    /// Reads to be asked again with the next tick, under a new context.
    dropped_reads: Vec<PendingRead>,
    next_context: u64,
    /// The numbers of what is on its way to disk.
    unpersisted: VecDeque<u64>,
    streams: Streams,
    /// The state of a snapshot that raft is being asked about.
    arrived: Option<Arrived>,
    /// The state of a snapshot that is on its way to become this member's.
    installing: Option<Arrived>,
    status: Status,
    /// The term at the start: this member led none up to it in its present life.
    start_term: Term,
    /// Whether there is no other member: nobody else can have applied anything.
    is_alone: bool,
    stopped: bool,
    patience: Patience,
    last_checkpoint: Instant,
    last_proposal: Instant,
    last_description: Option<Instant>,
    last_report: Option<(Instant, Room)>,
}

/// The way to the other members, and back.
struct Peers {
    transport: Transport,
    runner: Weak<Runner>,
}

/// The state that came with a snapshot, in a store of its own.
#[derive(Debug)]
pub(super) struct Arrived {
    /// The directory's name.
    pub(super) store: String,
    pub(super) engine: LsmEngine,
}

/// What became an entry, and who wants to know where.
enum Proposed {
    Own(Vec<Pending>),
    Foreign { from: MemberId, start: Incarnation, number: u64 },
}

impl Driver {
    pub(super) fn new(replica: Replica, shared: Arc<Shared>, disk: Sender<Order>, applier: Sender<Work>) -> Self {
        let mut driver = Self {
            start_term: replica.status().term,
            replica,
            shared,
            disk,
            applier,
            peers: None,
            own_proposals: Vec::new(),
            returned: Vec::new(),
            forwards: Vec::new(),
            changes: Vec::new(),
            held_back: false,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            proposed: BTreeMap::new(),
            next_token: 1,
            reads: BTreeMap::new(),
            dropped_reads: Vec::new(),
            next_context: 1,
            unpersisted: VecDeque::new(),
            streams: Streams::default(),
            arrived: None,
            installing: None,
            status: Status::default(),
            is_alone: false,
            stopped: false,
            patience: Patience::new(Instant::now()),
            last_checkpoint: Instant::now(),
            last_proposal: Instant::now(),
            last_description: None,
            last_report: None,
        };
        driver.follow_members();
        driver
    }

    pub(super) fn connect(&mut self, transport: Transport, runner: Weak<Runner>) {
        transport.set_peers(&self.shared.members());
        self.peers = Some(Peers { transport, runner });
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn must_stop(&self) -> bool {
        self.stopped || self.shared.failed()
    }

    pub(super) fn is_leaderless(&self) -> bool {
        self.status.leader.is_none()
    }

    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(Instant::now()),
            Event::Persisted(number) => {
                while self.unpersisted.pop_front_if(|sent| *sent <= number).is_some() {}
                self.replica.step(Input::Persisted { number });
            }
            Event::MembershipApplied { index, accepted } => {
                self.replica.step(Input::MembershipApplied { index, accepted });
            }
            Event::MembersChanged => {
                self.follow_members();
                self.describe(Instant::now());
            }
            Event::Applied { index, term } => {
                self.replica.step(Input::Applied { index });
                // An entry of the term that it leads in, once applied, has all earlier ones before it.
                if self.is_alone && self.leads(term) {
                    self.shared.sole_leader.store(true, Ordering::SeqCst);
                }
            }
            Event::Truncate(index) => {
                let kept = self.replica.truncate(index);
                // A disk thread that is gone has said why.
                let _ = self.disk.send(Order::Truncate(kept));
            }
            Event::Unreachable(member) => self.replica.step(Input::Unreachable { member }),
            Event::SnapshotSent { to, delivered } => {
                self.streams.ended(to);
                self.replica.step(Input::SnapshotReported { member: to, delivered });
            }
            Event::Stop => self.stopped = true,
        }
    }

    /// Takes what another member sent.
    pub(super) fn receive(&mut self, from: MemberId, message: PeerMessage) {
        match message {
            PeerMessage::Raft(message) => self.replica.step(Input::Message(message)),
            PeerMessage::Forward(forward) => self.receive_forward(from, forward),
            PeerMessage::Report(report) => {
                self.shared.reports.take(from, report);
                self.hear_room();
            }
            PeerMessage::Transfer { to } => self.replica.step(Input::Transfer { to }),
            PeerMessage::Forwarded(Forwarded { start, number, answer }) => {
                if start == self.shared.start
                    && let Some(sent) = self.outgoing.answered(number, from)
                {
                    let leads = (Some(sent.to), sent.term) == (self.status.leader, self.status.term);
                    self.forwarded(sent.batch, answer, leads);
                }
            }
        }
    }

    /// Asks raft about a snapshot that has arrived. False where it is of no use any more.
    pub(super) fn install(&mut self, message: Message, arrived: Arrived) -> bool {
        if self.installing.is_some() {
            return false;
        }
        self.arrived = Some(arrived);
        self.replica.step(Input::Snapshot(message));
        self.settle();
        self.arrived.take().is_none()
    }

    /// Begins to hand leadership over to the voter that has come furthest. Whether there is one.
    pub(super) fn hand_over(&mut self) -> bool {
        let Some(to) = self.replica.successor() else { return false };
        self.replica.step(Input::Transfer { to });
        true
    }

    /// Has the member that leads hand over to another, as far as it hears of it.
    pub(super) fn transfer(&mut self, to: MemberId) {
        match (self.status.leader, &self.peers) {
            (Some(leader), _) if leader == self.shared.identity.member => self.replica.step(Input::Transfer { to }),
            (Some(leader), Some(peers)) => _ = peers.transport.send(leader, PeerMessage::Transfer { to }),
            (_, _) => {}
        }
    }

    /// Follows what the state machine knows of the members.
    fn follow_members(&mut self) {
        let members = self.shared.members();
        let member = self.shared.identity.member;
        // A learner beside the only voter may have applied more than this member has, and answered from it.
        self.is_alone = members.conf_state() == ConfState { voters: vec![member], learners: Vec::new() };
        if !self.is_alone {
            self.shared.sole_leader.store(false, Ordering::SeqCst);
        }
        if members.was_removed(member) {
            self.shared.dismiss(&Dismissal::Removed);
        }
        if let Some(peers) = &self.peers {
            peers.transport.set_peers(&members);
        }
    }

    fn leads(&self, term: Term) -> bool {
        self.status.role == Role::Leader && self.status.term == term
    }

    /// The bytes at which proposals go; `None` while they cannot. A batch costs the same turns of threads and the same
    /// sync however small it is, so while the one before is being applied, it goes once it is no smaller. What is
    /// waited for is work of this process, never the network.
    pub(super) fn proposals_go_at(&self) -> Option<usize> {
        if self.held_back {
            return None;
        }
        if self.status.role == Role::Leader {
            let ready = self.unpersisted.len() < MAX_UNPERSISTED;
            return ready.then(|| self.replica.applying_bytes().min(LARGE_BATCH_BYTES));
        }
        let leader = self.status.leader?;
        (self.outgoing.under_way(leader, self.status.term) < MAX_UNANSWERED).then_some(0)
    }

    /// Whether there is something that this member proposes of its own.
    pub(super) fn has_own_proposals(&self) -> bool {
        !self.own_proposals.is_empty()
    }

    /// Whether reads go now: those that come while a ticket is asked for share the next one.
    pub(super) fn may_read(&self) -> bool {
        self.reads.is_empty()
    }

    pub(super) fn take_returned(&mut self) -> Vec<Pending> {
        std::mem::take(&mut self.returned)
    }

    pub(super) fn keep_awaited(&self, proposals: &mut Vec<Pending>) {
        self.shared.waiters.keep_awaited(proposals);
    }

    fn tick(&mut self, now: Instant) {
        self.held_back = false;
        self.patience.tick(now, self.shared.election_timeout);
        self.replica.step(Input::Tick);
        self.streams.tick();
        let dropped = std::mem::take(&mut self.dropped_reads);
        self.read(dropped.into_iter().filter(|read| !read.is_closed()).collect());
        self.resend();
        self.bring_changes();
        self.report(now);
        // What waits for its turn has a cause that remains: there is never more of it than of one tick.
        if self.own_proposals.is_empty() {
            self.describe(now);
            if self.status.role == Role::Leader {
                self.lead(now);
            }
        }
    }

    /// Tells the other members how this one is.
    fn report(&mut self, now: Instant) {
        self.hear_room();
        let Some(peers) = &self.peers else { return };
        // That a disk is full is told at once: others fill it, too.
        let room = self.shared.space.room(0);
        if self.last_report.is_some_and(|(last, told)| told == room && now.duration_since(last) < REPORT_EVERY) {
            return;
        }
        let report = Report::of(&self.shared);
        self.last_report = Some((now, report.room));
        for other in peers.transport.peers().into_keys() {
            // One that is lost is followed by another.
            let _ = peers.transport.send(other, PeerMessage::Report(report.clone()));
        }
    }

    /// Who is not heard of any more has no say in what there is room for.
    fn hear_room(&self) {
        self.shared.space.hear(self.shared.reports.room(&self.shared.members()));
    }

    /// What a leader does as time passes.
    fn lead(&mut self, now: Instant) {
        let term = self.replica.status().term;
        if self.patience.is_over(now) {
            let expired = self.shared.lessor.lock().expired(now, MAX_EXPIRIES);
            for lease in expired {
                self.propose_own(Command::ExpireLease { id: lease.id, term, renewals: lease.renewals });
            }
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

    /// Has the cluster know what this member is called and where clients reach it.
    fn describe(&mut self, now: Instant) {
        let members = self.shared.members();
        let Some(known) = members.get(self.shared.identity.member) else { return };
        let due = self.last_description.is_none_or(|last| now.duration_since(last) >= DESCRIBE_EVERY);
        if self.shared.is_described(&members) || !due || self.status.leader.is_none() {
            return;
        }
        self.last_description = Some(now);
        let (name, client_urls) = (self.shared.name.clone(), self.shared.client_urls.clone());
        let (id, incarnation) = (known.id, self.shared.incarnation);
        self.propose_own(Command::DescribeMember { id, incarnation, name, client_urls });
    }

    /// Proposes something that nobody waits for. Its cause remains and brings it back if it is lost.
    fn propose_own(&mut self, command: Command) {
        let id = self.shared.next_proposal();
        let mut encoded = Vec::new();
        encode_into(&mut encoded, &Proposal { id, author: None, idempotency: None, command });
        let (number, encoded) = (id.sequence, encoded.into());
        self.own_proposals.push(Pending { number, encoded, change: None, can_wait: false, permit: None });
    }

    /// Takes a change of membership. One that cannot be placed now is tried again with each tick.
    pub(super) fn change_membership(&mut self, change: Pending) {
        self.changes.push(change);
        self.bring_changes();
    }

    fn bring_changes(&mut self) {
        let mut changes = std::mem::take(&mut self.changes);
        self.shared.waiters.keep_awaited(&mut changes);
        for change in changes {
            self.bring(vec![change]);
        }
    }

    /// Brings what has gathered to the leader, which may be this member.
    pub(super) fn propose(&mut self, mut proposals: Vec<Pending>) {
        if self.status.role != Role::Leader || self.proposals_go_at().is_some() {
            for (from, forward) in std::mem::take(&mut self.forwards) {
                self.receive_forward(from, forward);
            }
        }
        if self.proposals_go_at().is_some() {
            proposals.append(&mut self.own_proposals);
        }
        if !proposals.is_empty() {
            self.bring(proposals);
        }
    }

    fn bring(&mut self, mut proposals: Vec<Pending>) {
        self.shared.waiters.send(&mut proposals);
        match self.status {
            Status { role: Role::Leader, .. } => self.place(proposals),
            Status { leader: Some(leader), term, .. } => self.forward(leader, term, proposals),
            Status { leader: None, .. } => self.give_back(proposals),
        }
    }

    /// Puts proposals into entries.
    fn place(&mut self, proposals: Vec<Pending>) {
        self.last_proposal = Instant::now();
        for batch in in_batches(proposals, ENTRY_BYTES) {
            let data = Payload::assemble(now(), batch.iter().map(|pending| &*pending.encoded));
            let change = change_in(&batch);
            self.step_proposal(Proposed::Own(batch), data, change);
        }
    }

    fn step_proposal(&mut self, proposed: Proposed, data: Bytes, change: Option<MembershipChange>) {
        let token = self.next_token;
        self.next_token += 1;
        self.proposed.insert(token, proposed);
        self.replica.step(match change {
            None => Input::Propose { token, data },
            Some(change) => Input::ChangeMembership { token, change, data },
        });
    }

    fn forward(&mut self, leader: MemberId, term: Term, proposals: Vec<Pending>) {
        for batch in in_batches(proposals, MAX_ENTRY_BYTES) {
            let contents = Contents::of(&batch);
            let number = self.outgoing.send(leader, term, batch);
            if !self.send_forward(leader, term, number, contents)
                && let Some(sent) = self.outgoing.answered(number, leader)
            {
                self.held_back = true;
                self.give_back(sent.batch);
            }
        }
    }

    /// False when it certainly does not arrive.
    fn send_forward(&self, leader: MemberId, term: Term, number: u64, contents: Contents) -> bool {
        let Contents { proposals, change } = contents;
        let forward = Forward { start: self.shared.start, term, number, proposals, change };
        self.peers.as_ref().is_some_and(|peers| peers.transport.send(leader, PeerMessage::Forward(forward)))
    }

    fn resend(&mut self) {
        let Status { leader, term, .. } = self.status;
        self.outgoing.forget(leader, term, |batch| self.shared.waiters.are_awaited(batch));
        let due = self.outgoing.tick().map(|(number, sent)| (sent.to, sent.term, number, Contents::of(&sent.batch)));
        for (leader, term, number, contents) in due.collect::<Vec<_>>() {
            // An earlier copy may have arrived: nothing follows from this one not going out.
            self.send_forward(leader, term, number, contents);
        }
    }

    /// Proposals that are in nobody's log gather again.
    fn give_back(&mut self, mut proposals: Vec<Pending>) {
        self.shared.waiters.unsend(&mut proposals);
        let whose = if change_in(&proposals).is_some() { &mut self.changes } else { &mut self.returned };
        whose.extend(proposals);
    }

    fn receive_forward(&mut self, from: MemberId, forward: Forward) {
        let Forward { start, term, number, proposals, change } = forward;
        match self.incoming.look(from, start, number) {
            Found::Answered(answer) => self.answer_forward(from, start, number, answer),
            // Each would be a message to everybody and a sync of its own there.
            Found::New if self.leads(term) && self.proposals_go_at().is_none() => {
                let same = |(other, waiting): &(MemberId, Forward)| {
                    (*other, waiting.start, waiting.number) == (from, start, number)
                };
                if !self.forwards.iter().any(same) {
                    self.forwards.push((from, Forward { start, term, number, proposals, change }));
                }
            }
            Found::New if self.leads(term) => {
                self.last_proposal = Instant::now();
                let data = Payload::assemble(now(), proposals.iter().map(|proposal| &**proposal));
                self.step_proposal(Proposed::Foreign { from, number, start }, data, change);
            }
            // Of a term of this life this member knows all that it placed.
            Found::New if term > self.start_term => {
                let answer = Err(ForwardRefusal::NotLeader { leader: self.status.leader });
                self.incoming.keep(from, start, number, answer);
                self.answer_forward(from, start, number, answer);
            }
            // Nobody can say any more what became of it.
            Found::New | Found::Forgotten => {}
        }
    }

    fn answer_forward(&self, to: MemberId, start: Incarnation, number: u64, answer: ForwardAnswer) {
        if let Some(peers) = &self.peers {
            // One that is lost is asked for again.
            let _ = peers.transport.send(to, PeerMessage::Forwarded(Forwarded { start, number, answer }));
        }
    }

    /// What the one that a batch was sent to says about it, be it that it leads now or that it led then.
    fn forwarded(&mut self, proposals: Vec<Pending>, answer: ForwardAnswer, leads: bool) {
        match answer {
            Ok(position) => self.note_placed(position, &proposals),
            Err(ForwardRefusal::NotLeader { .. }) => {
                self.held_back |= leads;
                self.give_back(proposals);
            }
            Err(ForwardRefusal::ChangeLater) => self.give_back(proposals),
            Err(ForwardRefusal::Overloaded) => self.refuse(&proposals, &ProposeError::Overloaded),
            Err(ForwardRefusal::Refused(refusal)) => self.refuse(&proposals, &ProposeError::Refused(refusal)),
        }
    }

    /// One ticket for all reads that wait.
    pub(super) fn read(&mut self, reads: Vec<PendingRead>) {
        if reads.is_empty() {
            return;
        }
        let context = self.next_context;
        self.next_context += 1;
        self.reads.insert(context, reads);
        self.replica.step(Input::Read { context });
    }

    /// Carries out what the replica asks for.
    pub(super) fn settle(&mut self) {
        let Output {
            persist,
            send,
            snapshots_wanted,
            snapshots,
            install,
            commit,
            reads,
            dropped_reads,
            proposed,
            status,
            log_lost,
        } = self.replica.poll();
        if log_lost {
            self.shared.dismiss(&Dismissal::LogLost);
        }
        if let Some(status) = status {
            self.change(status);
        }
        for (token, placed) in proposed {
            self.placed(token, placed);
        }
        self.send(send);
        if let Some(persist) = persist {
            self.persist(persist);
        }
        if let Some(position) = install
            && let Some(Arrived { store, engine }) = self.installing.take()
        {
            let _ = self.applier.send(Work::Install(Install { position, store, engine }));
        }
        if !commit.is_empty() {
            // An applier that is gone has said why.
            let _ = self.applier.send(Work::Commit(commit));
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
        for member in snapshots_wanted {
            if let Some(offer) = self.streams.offer(member, &self.shared) {
                self.replica.step(offer);
            }
        }
        for (to, message) in snapshots {
            self.stream(to, message);
        }
    }

    fn change(&mut self, status: Status) {
        if status.role == Role::Leader && !self.leads(status.term) {
            self.patience.lead(Instant::now(), self.shared.election_timeout);
        }
        self.status = status;
        if status.role != Role::Leader {
            self.shared.sole_leader.store(false, Ordering::SeqCst);
        }
        self.shared.term.store(status.term.get(), Ordering::Relaxed);
        let leader = status.leader.map_or(0, MemberId::get);
        let before = self.shared.leader.swap(leader, Ordering::Relaxed);
        if leader != 0 && leader != before {
            self.shared.traffic.lead_from_now();
            self.describe(Instant::now());
        }
        tracing::info!(role = ?status.role, term = %status.term, leader = status.leader.map(tracing::field::display), "raft state changed");
    }

    fn send(&mut self, messages: Vec<(MemberId, Message)>) {
        let Some(peers) = &self.peers else { return };
        for (to, message) in messages {
            let is_append = message.kind() == MessageKind::Append;
            if !peers.transport.send(to, PeerMessage::Raft(message)) && is_append {
                self.replica.step(Input::Unreachable { member: to });
            }
        }
    }

    fn persist(&mut self, persist: Persist) {
        self.unpersisted.push_back(persist.number);
        let store = persist.snapshot.and_then(|_| self.arrived.take()).map(|arrived| {
            let store = arrived.store.clone();
            self.installing = Some(arrived);
            store
        });
        let _ = self.disk.send(Order::Persist(persist, store));
    }

    fn stream(&mut self, to: MemberId, message: Message) {
        let begun = self.peers.as_ref().is_some_and(|Peers { transport, runner }| {
            self.streams.begin(to, message, transport, runner.clone(), &self.shared)
        });
        if !begun {
            self.replica.step(Input::SnapshotReported { member: to, delivered: false });
        }
    }

    /// Tells who waits for an entry where it stands, or why it does not.
    fn placed(&mut self, token: u64, placed: Result<Position, ProposeRefusal>) {
        match self.proposed.remove(&token) {
            None => {}
            Some(Proposed::Own(proposals)) => match placed {
                Ok(position) => self.note_placed(position, &proposals),
                Err(ProposeRefusal::NotLeader { .. } | ProposeRefusal::Transferring) => {
                    self.held_back = true;
                    self.give_back(proposals);
                }
                Err(ProposeRefusal::ChangeLater) => self.give_back(proposals),
                Err(ProposeRefusal::Overloaded) => self.refuse(&proposals, &ProposeError::Overloaded),
                Err(ProposeRefusal::Refused(refusal)) => self.refuse(&proposals, &ProposeError::Refused(refusal)),
            },
            Some(Proposed::Foreign { from, start, number }) => {
                let answer = placed.map_err(|refusal| match refusal {
                    ProposeRefusal::NotLeader { leader } => ForwardRefusal::NotLeader { leader },
                    ProposeRefusal::Transferring => ForwardRefusal::NotLeader { leader: None },
                    ProposeRefusal::Overloaded => ForwardRefusal::Overloaded,
                    ProposeRefusal::ChangeLater => ForwardRefusal::ChangeLater,
                    ProposeRefusal::Refused(refusal) => ForwardRefusal::Refused(refusal),
                });
                self.incoming.keep(from, start, number, answer);
                self.answer_forward(from, start, number, answer);
            }
        }
    }

    fn note_placed(&self, Position { index, term }: Position, proposals: &[Pending]) {
        let numbers = proposals.iter().filter(|pending| pending.is_awaited()).map(|pending| pending.number);
        self.shared.waiters.placed(index, term, numbers.collect());
    }

    fn refuse(&self, proposals: &[Pending], error: &ProposeError) {
        self.shared.waiters.refuse(proposals.iter().map(|pending| pending.number), error);
    }

    /// Lets disk and applier finish what they have.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.shared.sole_leader.store(false, Ordering::SeqCst);
        self.reads.clear();
        self.dropped_reads.clear();
        self.peers = None;
        let _ = self.disk.send(Order::Stop);
        let _ = self.applier.send(Work::Stop);
    }

    pub(super) fn refuse_waiters(&self) {
        self.shared.waiters.stop(&ProposeError::Stopped(self.shared.failure()));
    }
}

/// What a batch is to the leader.
struct Contents {
    proposals: Vec<Bytes>,
    change: Option<MembershipChange>,
}

impl Contents {
    fn of(batch: &[Pending]) -> Self {
        let proposals = batch.iter().map(|pending| pending.encoded.clone()).collect();
        Self { proposals, change: change_in(batch) }
    }
}

/// The change of membership that a batch is. It travels alone.
fn change_in(batch: &[Pending]) -> Option<MembershipChange> {
    batch.first()?.change
}

/// Proposals in runs of at most so many bytes; a larger one alone.
fn in_batches(proposals: Vec<Pending>, max_bytes: usize) -> Vec<Vec<Pending>> {
    let mut batches: Vec<Vec<Pending>> = Vec::new();
    let mut size = 0;
    for pending in proposals {
        size += pending.encoded.len();
        match batches.last_mut() {
            Some(batch) if size <= max_bytes => batch.push(pending),
            Some(_) | None => {
                size = pending.encoded.len();
                batches.push(vec![pending]);
            }
        }
    }
    batches
}
