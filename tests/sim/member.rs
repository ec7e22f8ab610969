//! One start of a member: the plumbing between replica, log, state machine and hub that production gives to threads and
//! to the driver of the replica.

use std::collections::{BTreeMap, VecDeque};

use vardr::consensus::forward::{Incoming, MAX_UNANSWERED, Outgoing};
use vardr::consensus::{Input, Output, Replica, Role, Status};
use vardr::machine::StateMachine;
use vardr::model::{ConfState, Incarnation, Index, LeaseId, MemberId, Proposal, ProposalId, Term, Timestamp};
use vardr::watch::Hub;

use crate::applier::Work;
use crate::disk::{Order, take_order};
use crate::engine::SimEngine;
use crate::faults::Bug;
use crate::forwarding::{Brought, Pending, Proposed, Waiter};
use crate::leases::Deadline;
use crate::snapshots::{Arrived, Stage};
use crate::world::{Checked, Happening, MS, SECOND, World, ensure};

/// The wall clock at virtual time 0, in milliseconds since the Unix epoch.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// Batches on their way to disk. While so many are, proposals gather into the next one.
const MAX_UNPERSISTED: usize = 1;

/// A client's operation that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub client: usize,
    pub operation: u64,
}

#[expect(clippy::struct_excessive_bools, reason = "each says something else about the member")]
pub struct Member {
    pub id: MemberId,
    pub start: Incarnation,
    pub replica: Replica,
    pub status: Status,
    /// The term at the start: this member led none up to it in its present life.
    pub start_term: Term,
    pub machine: StateMachine<SimEngine>,
    pub hub: Hub,
    pub sequence: u64,

    /// Proposals that wait for their turn.
    pub gathered: Vec<Pending>,
    /// Proposals were refused just now and would be again: they go no earlier than with the next tick.
    pub held_back: bool,
    pub outgoing: Outgoing<Vec<Pending>>,
    pub incoming: Incoming,
    /// What others brought while proposals could not go.
    pub forwards: Vec<Brought>,
    /// What was proposed and not yet placed in the log, by token.
    pub proposed: BTreeMap<u64, Proposed>,
    pub last_token: u64,
    pub waiting: BTreeMap<u64, Waiter>,
    /// By entry, the numbers of the proposals in it.
    pub placed: BTreeMap<(Index, Term), Vec<u64>>,

    pub reads_gathered: Vec<Caller>,
    /// Reads under way, by context.
    pub asked: BTreeMap<u64, Vec<Caller>>,
    /// To be asked again with the next tick, under a new context.
    dropped_reads: Vec<Caller>,
    last_context: u64,
    /// Reads that have their index.
    tickets: Vec<(Index, Vec<Caller>)>,

    /// The numbers of what is on its way to disk.
    unpersisted: VecDeque<u64>,
    orders: VecDeque<Order>,
    pub writing: Option<Order>,
    pub works: VecDeque<Work>,
    pub applying: bool,
    pub applied: Index,
    pub deadlines: BTreeMap<LeaseId, Deadline>,

    /// Snapshots on their way to other members.
    pub streams: BTreeMap<MemberId, Stage>,
    /// The state of a snapshot that raft is being asked about.
    pub arrived: Option<Arrived>,
    /// The state of a snapshot that is on its way to become this member's.
    pub installing: Option<Arrived>,

    pub is_alone: bool,
    /// Whether this member alone decides and has applied all it had before.
    pub sole_leader: bool,
}

impl Member {
    pub fn new(id: MemberId, start: Incarnation, replica: Replica, machine: StateMachine<SimEngine>, hub: Hub) -> Self {
        Self {
            id,
            start,
            start_term: replica.status().term,
            replica,
            status: Status::default(),
            applied: machine.applied().0,
            machine,
            hub,
            sequence: 0,
            gathered: Vec::new(),
            held_back: false,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            forwards: Vec::new(),
            proposed: BTreeMap::new(),
            last_token: 0,
            waiting: BTreeMap::new(),
            placed: BTreeMap::new(),
            reads_gathered: Vec::new(),
            asked: BTreeMap::new(),
            dropped_reads: Vec::new(),
            last_context: 0,
            tickets: Vec::new(),
            unpersisted: VecDeque::new(),
            orders: VecDeque::new(),
            writing: None,
            works: VecDeque::new(),
            applying: false,
            deadlines: BTreeMap::new(),
            streams: BTreeMap::new(),
            arrived: None,
            installing: None,
            is_alone: false,
            sole_leader: false,
        }
    }

    pub fn leads(&self, term: Term) -> bool {
        self.status.role == Role::Leader && self.status.term == term
    }

    pub fn next_id(&mut self) -> ProposalId {
        self.sequence += 1;
        ProposalId { member: self.id, incarnation: self.start, sequence: self.sequence }
    }

    pub fn proposals_may_go(&self) -> bool {
        let has_way = match self.status {
            Status { role: Role::Leader, .. } => self.unpersisted.len() < MAX_UNPERSISTED,
            Status { leader: Some(leader), term, .. } => self.outgoing.under_way(leader, term) < MAX_UNANSWERED,
            Status { leader: None, .. } => false,
        };
        has_way && !self.held_back
    }

    /// Whether somebody's read waits for a ticket, or has one.
    pub fn keeps_read(&self, caller: Caller) -> bool {
        let with_tickets = self.tickets.iter().flat_map(|(_, callers)| callers);
        let asked = self.asked.values().flatten();
        let waiting = self.reads_gathered.iter().chain(&self.dropped_reads);
        waiting.chain(asked).chain(with_tickets).any(|kept| *kept == caller)
    }

    fn has_more_to_do(&self) -> bool {
        (self.proposals_may_go() && !self.gathered.is_empty())
            || (self.asked.is_empty() && !self.reads_gathered.is_empty())
    }

    /// Follows what the state machine knows of the members.
    pub fn follow_members(&mut self, bug: Option<Bug>) {
        let ConfState { voters, learners } = self.machine.members().conf_state();
        self.is_alone = voters == [self.id] && (learners.is_empty() || bug == Some(Bug::TicketSpared));
        self.sole_leader &= self.is_alone;
    }
}

impl World {
    /// The member that an event of its own happens in.
    pub fn alive(&mut self, place: usize) -> &mut Member {
        self.hosts[place].member.as_mut().expect("events of a member happen while it is up")
    }

    pub fn is_up(&self, place: usize) -> bool {
        self.hosts[place].member.is_some()
    }

    pub fn tick(&mut self, place: usize) -> Checked {
        self.check_lateness()?;
        let member = self.alive(place);
        member.held_back = false;
        member.replica.step(Input::Tick);
        let dropped = std::mem::take(&mut member.dropped_reads);
        self.alive(place).streams.retain(|_, stage| stage.tick());
        self.ask(place, dropped);
        self.resend(place);
        self.expire_leases(place);
        self.greet(place);
        Ok(())
    }

    pub fn wall_clock(&self, place: usize) -> Timestamp {
        let ms = EPOCH_MS + self.now / MS;
        Timestamp(ms.checked_add_signed(self.hosts[place].clock_offset).unwrap())
    }

    /// One turn of the driver: whatever may go, goes.
    pub fn turn(&mut self, place: usize) -> Checked {
        loop {
            self.take_forwards(place);
            let member = self.alive(place);
            let proposals = if member.proposals_may_go() { std::mem::take(&mut member.gathered) } else { Vec::new() };
            self.propose(place, proposals);
            let member = self.alive(place);
            if member.asked.is_empty() {
                let reads = std::mem::take(&mut member.reads_gathered);
                self.ask(place, reads);
            }
            self.settle(place)?;
            if !self.is_up(place) || !self.alive(place).has_more_to_do() {
                return Ok(());
            }
        }
    }

    /// Asks for a ticket, shared by all reads that wait.
    fn ask(&mut self, place: usize, mut callers: Vec<Caller>) {
        callers.retain(|caller| self.waits(*caller));
        if callers.is_empty() {
            return;
        }
        let member = self.alive(place);
        member.last_context += 1;
        let context = member.last_context;
        member.asked.insert(context, callers);
        member.replica.step(Input::Read { context });
    }

    /// Carries out what the replica asks for.
    pub fn settle(&mut self, place: usize) -> Checked {
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
        } = self.alive(place).replica.poll();
        ensure!(!log_lost, "the log has lost what it acknowledged");
        let bug = self.bug;
        if let Some(status) = status {
            self.change(place, status)?;
        }
        for (token, answer) in proposed {
            self.placed(place, token, answer)?;
        }
        for (to, message) in send {
            self.post_raft(place, to, &message)?;
        }
        if let Some(persist) = persist {
            let member = self.alive(place);
            member.unpersisted.push_back(persist.number);
            let store = persist.snapshot.and_then(|_| member.arrived.take()).map(|arrived| {
                let store = arrived.store.clone();
                member.installing = Some(arrived);
                store
            });
            member.orders.push_back(Order::Persist(persist, store));
        }
        if let Some(position) = install {
            let member = self.alive(place);
            let Some(arrived) = member.installing.take() else {
                return Err(crate::world::Violation(format!("nothing is there to install at {position:?}")));
            };
            member.works.push_back(Work::Install(position, arrived));
        }
        for entry in &commit {
            self.check_commit(entry)?;
        }
        if let Some(last) = commit.last() {
            let member = self.alive(place);
            if bug == Some(Bug::TruncateUnapplied) {
                member.orders.push_back(Order::Truncate(last.index.next()));
            }
            member.works.push_back(Work::Commit(commit));
        }
        let member = self.alive(place);
        for (context, index) in reads {
            let callers = member.asked.remove(&context).unwrap_or_default();
            member.tickets.push((index, callers));
        }
        for context in dropped_reads {
            let callers = member.asked.remove(&context).unwrap_or_default();
            if bug != Some(Bug::LostTicketForgotten) {
                member.dropped_reads.extend(callers);
            }
        }
        snapshots_wanted.into_iter().try_for_each(|to| self.offer_snapshot(place, to))?;
        snapshots.into_iter().try_for_each(|(to, message)| self.stream_snapshot(place, to, &message))?;
        self.begin_write(place);
        self.begin_apply(place);
        self.serve_reads(place)
    }

    fn change(&mut self, place: usize, status: Status) -> Checked {
        self.tell(|| format!("member {place}: {status:?}"));
        self.check_leader(place, status)?;
        let member = self.alive(place);
        member.status = status;
        member.sole_leader &= status.role == Role::Leader;
        Ok(())
    }

    /// The disk takes the next order.
    pub fn begin_write(&mut self, place: usize) {
        let bug = self.bug;
        let member = self.alive(place);
        if member.writing.is_some() {
            return;
        }
        member.writing = take_order(&mut member.orders);
        let hurries = match bug {
            Some(Bug::AcknowledgeBeforeSync) => true,
            Some(Bug::AloneBeforeSync) => member.is_alone,
            Some(Bug::FollowersBeforeSync) => member.status.role != Role::Leader,
            _ => false,
        };
        let early = match &member.writing {
            None => return,
            Some(Order::Persist(persist, _)) if hurries => Some(persist.number),
            Some(Order::Persist(persist, Some(_))) if bug == Some(Bug::InstallBeforeMark) => Some(persist.number),
            Some(_) => None,
        };
        let delay = self.disk_delay(place);
        self.inside(place, delay, Happening::Written);
        if let Some(number) = early {
            self.persisted(place, number);
            self.inside(place, 1, Happening::Turn);
        }
    }

    fn disk_delay(&mut self, place: usize) -> u64 {
        if self.now < self.hosts[place].slow_until {
            self.chance.between(100 * MS, 2 * SECOND)
        } else {
            self.chance.between(200, 5 * MS)
        }
    }

    pub fn persisted(&mut self, place: usize, number: u64) {
        let member = self.alive(place);
        while member.unpersisted.pop_front_if(|sent| *sent <= number).is_some() {}
        member.replica.step(Input::Persisted { number });
    }

    pub fn cut_log(&mut self, place: usize, through: Index) {
        let member = self.alive(place);
        let kept = member.replica.truncate(through);
        member.orders.push_back(Order::Truncate(kept));
    }

    pub fn begin_apply(&mut self, place: usize) {
        let member = self.alive(place);
        if member.applying || member.works.is_empty() {
            return;
        }
        member.applying = true;
        let most = if self.now < self.hosts[place].slow_until { SECOND } else { 3 * MS };
        let delay = self.chance.between(50, most);
        self.inside(place, delay, Happening::Applied);
    }

    pub fn serve_reads(&mut self, place: usize) -> Checked {
        let member = self.alive(place);
        let applied = member.applied;
        let ready: Vec<_> = member.tickets.extract_if(.., |(index, _)| *index <= applied).collect();
        for (index, caller) in
            ready.into_iter().flat_map(|(index, callers)| callers.into_iter().map(move |c| (index, c)))
        {
            self.answer_read(place, caller, Some(index))?;
        }
        Ok(())
    }

    /// Queues what this member itself has to propose. Nobody waits for it.
    pub fn propose_own(&mut self, place: usize, command: vardr::model::Command) {
        let member = self.alive(place);
        let id = member.next_id();
        let proposal = Proposal { id, author: None, idempotency: None, command };
        member.gathered.push(Pending { proposal, awaited: false });
    }
}
