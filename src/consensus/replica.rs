//! One member's replica: drives the `raft` crate's `RawNode` and heeds its traps.
//!
//! What is easily got wrong with it, and is kept here: no input between `ready` and its advance; a leader's messages go
//! at once, everybody else's after the batch that they speak of is durable; persistence and applying are acknowledged
//! separately (`advance_append_async`, `on_persist_ready`, `advance_apply_to`); the election timeout is set after every
//! input, because raft draws its own from a thread-local random source whenever it starts anew.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{self, MessageType};
use raft::{RawNode, ReadOnlyOption, Ready, SnapshotStatus, StateRole};

use super::convert::{Message, from_raft_entry, from_raft_hard_state, from_raft_member, from_raft_role};
use super::log::Log;
use super::reads::Reads;
use super::window::{ApplyWindow, MAX_UNAPPLIED_BYTES};
use super::{Config, Input, Output, Persist, Position, ProposeRefusal, Recovered, StartError, Status};
use crate::model::{HardState, Index, MemberId, Term, limits};

/// The payload bytes of one message; a larger entry travels alone.
const MAX_MESSAGE_BYTES: u64 = limits::MAX_ENTRY_BYTES as u64;
/// Messages with entries on their way to one member.
const MAX_INFLIGHT_MESSAGES: usize = 64;
/// Payload bytes that a leader holds uncommitted: twice what the shell lets in, because entries frame proposals.
const MAX_UNCOMMITTED_BYTES: u64 = 2 * limits::MAX_INFLIGHT_BYTES as u64;

/// One member's part in Raft. See the module for how to serve it.
pub struct Replica {
    config: Config,
    node: RawNode<Log>,
    /// The election timeout in force, and its term.
    timeout: (Term, usize),
    /// As last seen, and as last told.
    status: Status,
    told: Status,
    /// The hard state last handed out to be persisted.
    stored: HardState,
    held: VecDeque<Held>,
    window: ApplyWindow,
    reads: Reads,
    /// What `step` has already found to tell.
    output: Output,
}

/// Messages that wait for a batch to be durable.
struct Held {
    /// The number of the batch.
    number: u64,
    /// The last of raft's readies that is durable with the batch: later ones may have nothing of their own to persist.
    through: u64,
    messages: Vec<eraftpb::Message>,
}

impl Replica {
    /// Starts from what the disk holds. A member that is the only voter leads from here on, without an election
    /// timeout: the first [`poll`](Self::poll) hands out what that takes.
    ///
    /// # Errors
    /// When what was recovered contradicts itself: the member must not take part.
    pub fn new(config: Config, recovered: Recovered) -> Result<Self, StartError> {
        let applied = recovered.applied.index;
        let stored = recovered.hard_state;
        let log = Log::recover(recovered)?;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&raft_config(&config, applied), log, &logger)
            .map_err(|error| StartError::Refused(error.to_string()))?;
        let mut replica = Self {
            reads: Reads::new(config.member, config.incarnation, config.election_ticks),
            config,
            node,
            timeout: (Term::ZERO, 0),
            status: Status::default(),
            told: Status::default(),
            stored,
            held: VecDeque::new(),
            window: ApplyWindow::new(applied),
            output: Output::default(),
        };
        replica.settle();
        replica.campaign_alone();
        Ok(replica)
    }

    /// Takes one input and collects what comes of it.
    pub fn handle(&mut self, input: Input) -> Output {
        self.step(input);
        self.poll()
    }

    /// Takes an input, to be followed by others before [`poll`](Self::poll).
    pub fn step(&mut self, input: Input) {
        match input {
            Input::Tick => self.tick(),
            Input::Message(message) => self.receive(message),
            Input::Propose { token, data } => {
                let answer = self.propose(data);
                self.output.proposed.push((token, answer));
            }
            Input::Persisted { number } => self.persisted(number),
            Input::Applied { index } => self.applied(index),
            Input::Read { context } => self.read(context),
            Input::Unreachable { member } => self.node.report_unreachable(member.get()),
            Input::SnapshotReported { member, delivered } => {
                let status = if delivered { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.node.report_snapshot(member.get(), status);
            }
            Input::Transfer { to } => self.node.transfer_leader(to.get()),
        }
        self.settle();
    }

    /// Collects everything to be done since the last time.
    pub fn poll(&mut self) -> Output {
        while self.node.has_ready() {
            self.collect();
        }
        self.output.commit = self.window.take();
        if self.status != self.told {
            self.told = self.status;
            self.output.status = Some(self.status);
        }
        std::mem::take(&mut self.output)
    }

    /// Forgets the log up to and with `through`, as far as it is applied. Members that still need it get a snapshot.
    pub fn truncate(&mut self, through: Index) {
        let through = through.min(Index(self.node.raft.raft_log.applied));
        self.node.mut_store().truncate(through);
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The first entry kept in memory, or the one that would be.
    pub fn first_index(&self) -> Index {
        self.node.store().base().index.next()
    }

    /// The end of the log, with what is not yet durable.
    pub fn last_index(&self) -> Index {
        Index(self.node.raft.raft_log.last_index())
    }

    /// The end of what is committed.
    pub fn committed(&self) -> Index {
        Index(self.node.raft.raft_log.committed)
    }

    /// The payload bytes handed out to be applied, and not yet applied.
    pub fn applying_bytes(&self) -> usize {
        self.window.out_bytes()
    }

    fn tick(&mut self) {
        self.campaign_alone();
        self.node.tick();
        self.output.dropped_reads.extend(self.reads.tick());
    }

    fn receive(&mut self, message: Message) {
        if message.to() == self.config.member && message.is_welcome() {
            // An error says that the message is of no use here. Raft lives with any message lost.
            let _ = self.node.step(message.0);
        }
    }

    fn propose(&mut self, data: Bytes) -> Result<Position, ProposeRefusal> {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Leader {
            return Err(ProposeRefusal::NotLeader { leader: from_raft_member(raft.leader_id) });
        }
        if raft.lead_transferee.is_some() {
            return Err(ProposeRefusal::Transferring);
        }
        let entry = eraftpb::Entry { data, ..Default::default() };
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = raft.id;
        message.set_entries(vec![entry].into());
        raft.step(message).map_err(|_| ProposeRefusal::Overloaded)?;
        Ok(Position { index: Index(raft.raft_log.last_index()), term: Term(raft.term) })
    }

    fn persisted(&mut self, number: u64) {
        while let Some(held) = self.held.pop_front_if(|held| held.number <= number) {
            self.node.on_persist_ready(held.through);
            self.output.send.extend(held.messages.into_iter().map(outgoing));
        }
    }

    fn applied(&mut self, index: Index) {
        let index = self.window.applied(index).get();
        if index > self.node.raft.raft_log.applied {
            self.node.advance_apply_to(index);
        }
    }

    fn read(&mut self, context: u64) {
        if !self.reads.admit(context) || self.status.leader.is_none() {
            self.output.dropped_reads.push(context);
        } else if self.node.raft.state == StateRole::Leader && !self.node.raft.commit_to_current_term() {
            self.output.dropped_reads.extend(self.reads.park(context));
        } else {
            self.ask(context);
        }
    }

    fn ask(&mut self, context: u64) {
        let (bytes, dropped) = self.reads.open(context);
        self.output.dropped_reads.extend(dropped);
        self.node.read_index(bytes);
    }

    /// Stands for election at once where nobody else can.
    fn campaign_alone(&mut self) {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader && raft.promotable() && raft.prs().is_singleton() {
            // Refused only while a change of membership waits to be applied; the next tick tries again.
            let _ = self.node.campaign();
            self.settle();
        }
    }

    /// Brings up to date what hangs on raft's state.
    fn settle(&mut self) {
        let raft = &mut self.node.raft;
        let (leader, term) = (from_raft_member(raft.leader_id), Term(raft.term));
        if self.timeout.0 != term || self.timeout.1 == 0 {
            self.timeout = (term, election_timeout(&self.config, term));
        }
        if raft.randomized_election_timeout() != self.timeout.1 {
            raft.set_randomized_election_timeout(self.timeout.1);
        }
        let status = Status { leader, term, role: from_raft_role(raft.state) };
        if (status.leader, status.term) != (self.status.leader, self.status.term) {
            self.output.dropped_reads.extend(self.reads.drop_all());
        }
        self.status = status;
        if raft.state == StateRole::Leader && raft.commit_to_current_term() {
            while let Some(context) = self.reads.unpark() {
                self.ask(context);
            }
        }
    }

    /// Takes one ready from raft and gives it back its due.
    fn collect(&mut self) {
        let mut ready = self.node.ready();
        let number = ready.number();
        self.output.send.extend(ready.take_messages().into_iter().map(outgoing));
        self.window.extend(ready.take_committed_entries().into_iter().map(from_raft_entry));
        for state in ready.take_read_states() {
            self.output.reads.extend(self.reads.close(&state.request_ctx).map(|context| (context, Index(state.index))));
        }
        let late = ready.take_persisted_messages();
        let persist = self.to_persist(&mut ready);
        if let Some(persist) = &persist {
            self.node.mut_store().append(&persist.entries);
        }
        self.node.advance_append_async(ready);
        self.hold(number, persist, late);
    }

    /// What a ready wants on disk. A commit index alone can wait for company.
    fn to_persist(&self, ready: &mut Ready) -> Option<Persist> {
        let entries: Vec<_> = ready.take_entries().into_iter().map(from_raft_entry).collect();
        let now = from_raft_hard_state(&self.node.raft.hard_state());
        let voted = (now.term, now.vote) != (self.stored.term, self.stored.vote);
        (voted || !entries.is_empty()).then(|| Persist {
            number: ready.number(),
            entries,
            hard_state: (now != self.stored).then_some(now),
        })
    }

    /// Hands a batch out, and keeps messages that must not overtake it or those before it.
    fn hold(&mut self, number: u64, persist: Option<Persist>, messages: Vec<eraftpb::Message>) {
        if let Some(persist) = persist {
            self.stored = persist.hard_state.unwrap_or(self.stored);
            self.held.push_back(Held { number, through: number, messages });
            self.hand_out(persist);
        } else if let Some(held) = self.held.back_mut() {
            held.through = number;
            held.messages.extend(messages);
        } else {
            self.node.on_persist_ready(number);
            self.output.send.extend(messages.into_iter().map(outgoing));
        }
    }

    /// Between two polls raft may have more than one batch; they leave as one, under the later number.
    fn hand_out(&mut self, persist: Persist) {
        let Some(before) = &mut self.output.persist else {
            self.output.persist = Some(persist);
            return;
        };
        if let Some(first) = persist.entries.first().map(|entry| entry.index) {
            before.entries.retain(|entry| entry.index < first);
        }
        before.number = persist.number;
        before.entries.extend(persist.entries);
        before.hard_state = persist.hard_state.or(before.hard_state);
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("member", &self.config.member)
            .field("status", &self.status)
            .field("committed", &self.committed())
            .field("last_index", &self.last_index())
            .finish_non_exhaustive()
    }
}

fn raft_config(config: &Config, applied: Index) -> raft::Config {
    raft::Config {
        id: config.member.get(),
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        applied: applied.get(),
        max_size_per_msg: MAX_MESSAGE_BYTES,
        max_inflight_msgs: MAX_INFLIGHT_MESSAGES,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ReadOnlyOption::Safe,
        batch_append: true,
        max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
        max_committed_size_per_ready: MAX_UNAPPLIED_BYTES as u64,
        ..raft::Config::default()
    }
}

fn outgoing(message: eraftpb::Message) -> (MemberId, Message) {
    (MemberId(message.to), Message(message))
}

/// From one to two times the configured ticks: another draw for each member and term (Raft dissertation, 3.4).
pub(super) fn election_timeout(config: &Config, term: Term) -> usize {
    let draw = mix(mix(mix(config.seed) ^ config.member.get()) ^ term.get());
    let spread = u64::try_from(config.election_ticks).unwrap_or(u64::MAX).max(1);
    config.election_ticks + usize::try_from(draw % spread).unwrap_or(0)
}

/// The finalizer of `SplitMix64`: spreads every bit of its input over the output.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
