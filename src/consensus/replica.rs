//! One member's replica: drives the `raft` crate's `RawNode` and heeds its traps.
//!
//! What is easily got wrong with it, and is kept here: no input between `ready` and its advance; a leader whose disk knows
//! of its term sends its messages at once, everybody else after the batch that they speak of is durable; persistence and
//! applying are acknowledged separately (`advance_append_async`, `on_persist_ready`, `advance_apply_to`); the election
//! timeout is set after every input, because raft draws its own from a thread-local random source whenever it starts anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{self, MessageType};
use raft::{Progress, ProgressState, RawNode, ReadOnlyOption, Ready, SnapshotStatus, StateRole};

use super::convert::{
    Message, from_raft_entry, from_raft_hard_state, from_raft_member, from_raft_role, from_raft_snapshot, take_change,
    to_raft_change,
};
use super::log::Log;
use super::membership::{self, CAUGHT_UP_ENTRIES, ChangeRefusal, Heard, MembershipChange};
use super::reads::Reads;
use super::window::{ApplyWindow, MAX_UNAPPLIED_BYTES};
use super::{Config, Input, Output, Persist, Position, ProposeRefusal, Recovered, Role, StartError, Status};
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
    /// The term that no later start will fall behind.
    durable_term: Term,
    held: VecDeque<Held>,
    window: ApplyWindow,
    /// Changes of membership handed out to be applied, by index.
    changes: BTreeMap<Index, eraftpb::ConfChangeV2>,
    reads: Reads,
    heard: Heard,
    /// Members that a snapshot was sent to and that have not caught up yet, each with the entry that its snapshot ends with.
    catching_up: BTreeMap<MemberId, Index>,
    /// What `step` has already found to tell.
    output: Output,
}

/// Messages that wait for a batch to be durable.
struct Held {
    /// The number of the batch.
    number: u64,
    /// The last of raft's readies that is durable with the batch: later ones may have nothing of their own to persist.
    through: u64,
    /// The term that is durable with the batch.
    term: Term,
    messages: Vec<eraftpb::Message>,
    /// The snapshot that the batch makes good.
    snapshot: Option<Position>,
    /// Whether the disk knows from this batch on that a change of the members is committed.
    commits_change: bool,
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
            heard: Heard::new(config.election_ticks),
            catching_up: BTreeMap::new(),
            config,
            node,
            timeout: (Term::ZERO, 0),
            status: Status::default(),
            told: Status::default(),
            stored,
            durable_term: stored.term,
            held: VecDeque::new(),
            window: ApplyWindow::new(applied),
            changes: BTreeMap::new(),
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
                let answer = self.propose(eraftpb::Entry { data, ..Default::default() });
                self.output.proposed.push((token, answer));
            }
            Input::ChangeMembership { token, change, data } => {
                let answer = self.change_membership(change, data);
                self.output.proposed.push((token, answer));
            }
            Input::MembershipApplied { index, accepted } => self.membership_applied(index, accepted),
            Input::Persisted { number } => self.persisted(number),
            Input::Applied { index } => self.applied(index),
            Input::Read { context } => self.read(context),
            Input::Unreachable { member } => self.node.report_unreachable(member.get()),
            Input::SnapshotOffered { to, position, conf_state } => {
                self.node.mut_store().offer(to, position, conf_state);
            }
            Input::Snapshot(message) => {
                if message.to() == self.config.member && message.snapshot().is_some() {
                    // As with any message: one that is of no use is passed over.
                    let _ = self.node.step(message.0);
                }
            }
            Input::SnapshotReported { member, delivered } => {
                if !delivered {
                    self.catching_up.remove(&member);
                }
                let status = if delivered { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.node.report_snapshot(member.get(), status);
            }
            Input::Transfer { to } => self.transfer(to),
        }
        self.settle();
    }

    /// Collects everything to be done since the last time.
    pub fn poll(&mut self) -> Output {
        while self.node.has_ready() {
            self.collect();
        }
        self.output.commit = self.window.take();
        self.note_changes();
        self.output.snapshots_wanted = self.node.mut_store().take_wanted();
        if self.status != self.told {
            self.told = self.status;
            self.output.status = Some(self.status);
        }
        std::mem::take(&mut self.output)
    }

    /// Forgets the log up to and with `through`, as far as it is applied and nobody else is likely to need it. Whoever
    /// lags further behind gets a snapshot. Returns how far the log is forgotten now.
    pub fn truncate(&mut self, through: Index) -> Index {
        let applied = Index(self.node.raft.raft_log.applied);
        self.forget_who_caught_up();
        let laggard = self.laggard(applied);
        let Config { kept_bytes, catch_up_bytes, .. } = self.config;
        let kept = if self.catching_up.is_empty() { kept_bytes } else { catch_up_bytes };
        self.node.mut_store().truncate(through.min(applied), laggard, kept)
    }

    /// From here on those are served as any others that have come so near that the log reaches them; so are those that have gone
    /// silent once their snapshot was there.
    fn forget_who_caught_up(&mut self) {
        let (raft, heard) = (&self.node.raft, &self.heard);
        let is_near = |progress: &Progress| {
            let lacks = self.node.store().bytes_after(Index(progress.matched));
            progress.state == ProgressState::Replicate && lacks <= self.config.kept_bytes
        };
        self.catching_up.retain(|id, _| {
            raft.prs().get(id.get()).is_some_and(|progress| {
                progress.state == ProgressState::Snapshot || (heard.is_heard(*id) && !is_near(progress))
            })
        });
    }

    /// The committed entries that a member is not known to have; `None` for who is no member.
    fn lacks(&self, id: MemberId) -> Option<u64> {
        let progress = self.node.raft.prs().get(id.get())?;
        Some(self.node.raft.raft_log.committed.saturating_sub(progress.matched))
    }

    /// Hands leadership over to a voter that is at hand. Raft takes no proposals until that one leads, for up to an election
    /// timeout: one that is silent or far behind would hold up all writes for nothing.
    fn transfer(&mut self, to: MemberId) {
        let has_caught_up = self.lacks(to).is_some_and(|lacks| lacks <= CAUGHT_UP_ENTRIES);
        if self.node.raft.state == StateRole::Leader && has_caught_up && self.heard.is_heard(to) {
            self.node.transfer_leader(to.get());
        }
    }

    /// Up to where nobody else needs the log. A leader knows it of each member that it hears of; anybody else guesses.
    fn laggard(&self, applied: Index) -> Index {
        let prs = self.node.raft.prs();
        let others = || prs.iter().filter(|(id, _)| **id != self.config.member.get());
        if others().next().is_none() {
            return applied;
        }
        let kept = applied.get().saturating_sub(self.config.kept_entries);
        if self.node.raft.state != StateRole::Leader {
            return Index(kept);
        }
        let needed = others().filter_map(|(id, progress)| {
            let id = MemberId(*id);
            let from_snapshot = self.catching_up.get(&id).map(|through| through.get().max(progress.matched));
            from_snapshot.or_else(|| self.heard.is_heard(id).then_some(progress.matched))
        });
        Index(needed.min().unwrap_or(kept).min(kept))
    }

    /// Who could lead best after this member: of the other voters that are heard of, the one that has come furthest. `None`
    /// while this member does not lead.
    pub fn successor(&self) -> Option<MemberId> {
        if self.node.raft.state != StateRole::Leader {
            return None;
        }
        let others = self.voters().into_iter().filter(|id| *id != self.config.member && self.heard.is_heard(*id));
        others.max_by_key(|id| self.node.raft.prs().get(id.get()).map(|progress| progress.matched))
    }

    fn voters(&self) -> BTreeSet<MemberId> {
        self.node.raft.prs().conf().to_conf_state().voters.into_iter().map(MemberId).collect()
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
        self.heard.tick();
        if !self.is_installing() {
            self.campaign_alone();
            self.node.tick();
        }
        self.output.dropped_reads.extend(self.reads.tick());
    }

    fn receive(&mut self, message: Message) {
        let is_call_to_campaign = message.0.get_msg_type() == MessageType::MsgTimeoutNow;
        if message.to() != self.config.member || !message.is_welcome() || (is_call_to_campaign && self.is_installing())
        {
            return;
        }
        self.heard.hear(message.from());
        if self.has_lost(&message) {
            self.output.log_lost = true;
        } else {
            // An error says that the message is of no use here. Raft lives with any message lost.
            let _ = self.node.step(message.0);
        }
    }

    /// Whether a leader says that more is committed than this log reaches to. It says that in a heartbeat up to what this
    /// member has acknowledged, and raft would panic.
    fn has_lost(&self, message: &Message) -> bool {
        let Message(message) = message;
        message.get_msg_type() == MessageType::MsgHeartbeat
            && message.term >= self.node.raft.term
            && message.commit > self.node.raft.raft_log.last_index()
    }

    fn change_membership(&mut self, change: MembershipChange, data: Bytes) -> Result<Position, ProposeRefusal> {
        self.may_propose()?;
        // Raft would put an empty entry in its place, and nobody would know what became of it.
        if self.node.raft.has_pending_conf() {
            return Err(ProposeRefusal::ChangeLater);
        }
        match self.check_change(change) {
            Err(ChangeRefusal::Silent | ChangeRefusal::QuorumAtRisk { .. }) if !self.heard.is_settled() => {
                return Err(ProposeRefusal::ChangeLater);
            }
            checked => checked.map_err(ProposeRefusal::Refused)?,
        }
        // Raft's leader goes on leading without being a member, and stops without a word: it hands over first.
        if change == MembershipChange::Remove(self.config.member)
            && let Some(successor) = self.successor()
        {
            self.node.transfer_leader(successor.get());
            return Err(ProposeRefusal::Transferring);
        }
        let mut entry = eraftpb::Entry::default();
        entry.set_entry_type(eraftpb::EntryType::EntryConfChangeV2);
        entry.data = to_raft_change(change, data).write_to_bytes().map_err(|_| ProposeRefusal::Overloaded)?.into();
        self.propose(entry)
    }

    fn check_change(&self, change: MembershipChange) -> Result<(), ChangeRefusal> {
        let own = self.config.member;
        let voters = self.voters();
        let behind = |id: MemberId| self.lacks(id).filter(|_| !voters.contains(&id));
        membership::check(change, &voters, behind, |id| id == own || self.heard.is_heard(id))
    }

    /// Follows what the state machine made of a change. One that it refused never was.
    fn membership_applied(&mut self, index: Index, accepted: bool) {
        if let Some(change) = self.changes.remove(&index)
            && accepted
        {
            // The state machine takes no change that raft would refuse.
            let changed = self.node.apply_conf_change(&change);
            debug_assert!(changed.is_ok(), "{changed:?}");
            let members = self.node.raft.prs();
            self.heard.retain(|id| members.get(id.get()).is_some());
        }
    }

    /// Keeps the changes of membership that are handed out, and hands out their content alone.
    fn note_changes(&mut self) {
        for entry in &mut self.output.commit {
            if let Some(change) = take_change(entry) {
                self.changes.insert(entry.index, change);
            }
        }
    }

    fn may_propose(&self) -> Result<(), ProposeRefusal> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            return Err(ProposeRefusal::NotLeader { leader: from_raft_member(raft.leader_id) });
        }
        if raft.lead_transferee.is_some() {
            return Err(ProposeRefusal::Transferring);
        }
        Ok(())
    }

    fn propose(&mut self, entry: eraftpb::Entry) -> Result<Position, ProposeRefusal> {
        self.may_propose()?;
        let raft = &mut self.node.raft;
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
            self.durable_term = held.term;
            self.send(held.messages);
            if let Some(snapshot) = held.snapshot {
                // For raft it counts as applied from here on; see `is_installing`.
                self.node.advance_apply_to(snapshot.index.get());
                self.output.install = Some(snapshot);
            }
        }
    }

    /// Whether a snapshot is on its way to disk. Whoever stands for election reads the log from the entry last applied on,
    /// which the log has not any more, and which only becomes the snapshot's once that is durable: raft would panic.
    fn is_installing(&self) -> bool {
        self.held.iter().any(|held| held.snapshot.is_some())
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

    /// Whether it follows one of whom it hears nothing any more. A voter stands for election then; raft has others follow for ever.
    fn follows_silence(&self) -> bool {
        let raft = &self.node.raft;
        let is_heard = || from_raft_member(raft.leader_id).is_some_and(|leader| self.heard.is_heard(leader));
        raft.state == StateRole::Follower && !raft.promotable() && !is_heard()
    }

    /// Brings up to date what hangs on raft's state.
    fn settle(&mut self) {
        let follows_silence = self.follows_silence();
        let raft = &mut self.node.raft;
        let leader = from_raft_member(raft.leader_id).filter(|_| !follows_silence);
        let term = Term(raft.term);
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
        if status.role == Role::Leader && self.status.role != Role::Leader {
            self.heard.begin_to_lead();
        }
        if status.role != Role::Leader {
            self.catching_up.clear();
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
        let commits_change = self.commits_change();
        let mut late = self.take_early(&mut ready, commits_change);
        self.window.extend(ready.take_committed_entries().into_iter().map(from_raft_entry));
        for state in ready.take_read_states() {
            self.output.reads.extend(self.reads.close(&state.request_ctx).map(|context| (context, Index(state.index))));
        }
        late.extend(ready.take_persisted_messages());
        let persist = self.to_persist(&mut ready, commits_change);
        if let Some(persist) = &persist {
            if let Some(snapshot) = persist.snapshot {
                self.node.mut_store().restore(snapshot);
                self.window.install(snapshot.index);
                self.changes.clear();
            }
            self.node.mut_store().append(&persist.entries);
        }
        self.node.advance_append_async(ready);
        self.hold(number, persist, late, commits_change);
    }

    /// Sends what a leader may send at once. Gives back what has to wait all the same: an only voter leads before its disk
    /// knows of the term, and would lead in it once more after a crash, with other entries; and see [`Self::commits_change`].
    fn take_early(&mut self, ready: &mut Ready, commits_change: bool) -> Vec<eraftpb::Message> {
        let messages = ready.take_messages();
        // Whatever comes after the ready that commits a change says so, too.
        let is_secret = commits_change || self.held.iter().any(|held| held.commits_change);
        if is_secret || self.durable_term < Term(self.node.raft.term) {
            return messages;
        }
        self.send(messages);
        Vec::new()
    }

    /// Whether a leader's disk does not know yet that a change of the members is committed. A member that was removed goes once it
    /// hears of that, and would never vote again for a leader that has crashed and does not know it any more.
    fn commits_change(&self) -> bool {
        let raft = &self.node.raft;
        let change = Index(raft.pending_conf_index);
        raft.state == StateRole::Leader && self.stored.commit < change && change <= self.committed()
    }

    /// What a ready wants on disk. A commit index alone can wait for company, unless it is that of a change of the members.
    fn to_persist(&self, ready: &mut Ready, commits_change: bool) -> Option<Persist> {
        let entries: Vec<_> = ready.take_entries().into_iter().map(from_raft_entry).collect();
        let now = from_raft_hard_state(&self.node.raft.hard_state());
        let voted = (now.term, now.vote) != (self.stored.term, self.stored.vote);
        let snapshot = (!ready.snapshot().is_empty()).then(|| from_raft_snapshot(ready.snapshot()));
        (commits_change || voted || snapshot.is_some() || !entries.is_empty()).then(|| Persist {
            number: ready.number(),
            snapshot,
            entries,
            hard_state: (now != self.stored).then_some(now),
        })
    }

    /// Hands a batch out, and keeps messages that must not overtake it or those before it.
    fn hold(&mut self, number: u64, persist: Option<Persist>, messages: Vec<eraftpb::Message>, commits_change: bool) {
        if let Some(persist) = persist {
            self.stored = persist.hard_state.unwrap_or(self.stored);
            let Persist { snapshot, .. } = persist;
            let term = self.stored.term;
            self.held.push_back(Held { number, through: number, term, messages, snapshot, commits_change });
            self.hand_out(persist);
        } else if let Some(held) = self.held.back_mut() {
            held.through = number;
            held.messages.extend(messages);
        } else {
            self.node.on_persist_ready(number);
            self.send(messages);
        }
    }

    /// Sends messages; that of a snapshot goes in front of its stream.
    fn send(&mut self, messages: Vec<eraftpb::Message>) {
        for message in messages {
            let (to, message) = (MemberId(message.to), Message(message));
            if let Some(position) = message.snapshot() {
                self.catching_up.insert(to, position.index);
                self.output.snapshots.push((to, message));
            } else {
                self.output.send.push((to, message));
            }
        }
    }

    /// Between two polls raft may have more than one batch; they leave as one, under the later number.
    fn hand_out(&mut self, persist: Persist) {
        let Some(before) = &mut self.output.persist else {
            self.output.persist = Some(persist);
            return;
        };
        if persist.snapshot.is_some() {
            before.entries.clear();
            before.snapshot = persist.snapshot;
        }
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
        max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
        max_committed_size_per_ready: MAX_UNAPPLIED_BYTES as u64,
        ..raft::Config::default()
    }
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
