//! Between our types and the `raft` crate's. Nothing else translates; payload bytes are shared, never copied.

use std::fmt;

use bytes::Bytes;
use protobuf::Message as _;
use raft::StateRole;
use raft::eraftpb::{self, MessageType};
use thiserror::Error;

use super::{MembershipChange, Position, Role};
use crate::model::{ConfState, HardState, Index, LogEntry, LogEntryKind, MemberId, Term};

/// A message between two members. Its content is raft's own business.
#[derive(Clone, PartialEq)]
pub struct Message(pub(super) eraftpb::Message);

/// What a message is for, as far as it matters for the way it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageKind {
    /// A newer one says all that an older one to the same member does: the context of its read covers earlier reads.
    Heartbeat,
    /// As with [`Heartbeat`](Self::Heartbeat), a newer one says it all.
    HeartbeatResponse,
    /// Asks for a vote or a pre-vote. Whoever asks again has given up what it asked before.
    Vote,
    /// The answer to one; a newer one is to a newer question.
    VoteResponse,
    /// Small, and each one counts: answers to appends, tickets for reads, what hands leadership over.
    Control,
    /// Entries, or news of what is committed. One that overtakes another looks like a gap to its receiver, and the
    /// leader then starts to probe: appends keep their order.
    Append,
    /// The announcement of a snapshot, worth nothing without the state itself.
    Snapshot,
}

/// Bytes that are no message.
#[derive(Debug, Error)]
#[error("a message between members that cannot be read: {0}")]
pub struct MessageError(#[from] protobuf::ProtobufError);

impl Message {
    /// Reads a message back. The bytes of its entries are shared with `bytes`.
    ///
    /// # Errors
    /// When the bytes are no message.
    pub fn decode(bytes: &Bytes) -> Result<Self, MessageError> {
        Ok(Self(eraftpb::Message::parse_from_carllerche_bytes(bytes)?))
    }

    /// The bytes of the message, in the `raft` crate's Protocol Buffers encoding.
    ///
    /// # Errors
    /// When the message is larger than the encoding allows (2 GiB).
    pub fn encode(&self) -> Result<Bytes, MessageError> {
        Ok(self.0.write_to_bytes()?.into())
    }

    pub fn from(&self) -> MemberId {
        MemberId(self.0.from)
    }

    pub fn to(&self) -> MemberId {
        MemberId(self.0.to)
    }

    pub fn kind(&self) -> MessageKind {
        match self.0.get_msg_type() {
            MessageType::MsgHeartbeat => MessageKind::Heartbeat,
            MessageType::MsgHeartbeatResponse => MessageKind::HeartbeatResponse,
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => MessageKind::Vote,
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => MessageKind::VoteResponse,
            MessageType::MsgAppend => MessageKind::Append,
            MessageType::MsgSnapshot => MessageKind::Snapshot,
            MessageType::MsgAppendResponse
            | MessageType::MsgReadIndex
            | MessageType::MsgReadIndexResp
            | MessageType::MsgTransferLeader
            | MessageType::MsgTimeoutNow
            | MessageType::MsgPropose
            | MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum => MessageKind::Control,
        }
    }

    /// The length of what [`encode`](Self::encode) makes.
    pub fn encoded_bytes(&self) -> usize {
        usize::try_from(self.0.compute_size()).unwrap_or(usize::MAX)
    }

    /// Breaks an append into consecutive ones whose entries take up to `most` bytes; a larger entry travels alone.
    /// Raft bounds what it appends to a message at one time, but not how often it does so before the message leaves.
    #[must_use]
    pub fn split(self, most: usize) -> Vec<Self> {
        let Self(mut message) = self;
        if message.entries.len() < 2 || message.get_msg_type() != MessageType::MsgAppend {
            return vec![Self(message)];
        }
        let mut entries = message.take_entries().into_iter().peekable();
        let mut pieces = Vec::new();
        while entries.peek().is_some() {
            let mut piece = message.clone();
            let (mut taken, mut size) = (Vec::new(), 0);
            while let Some(entry) = entries.next_if(|entry| taken.is_empty() || size + entry_bytes(entry) <= most) {
                size += entry_bytes(&entry);
                // What comes next follows on this entry.
                (message.index, message.log_term) = (entry.index, entry.term);
                taken.push(entry);
            }
            piece.set_entries(taken.into());
            pieces.push(Self(piece));
        }
        pieces
    }

    /// Whether the message may go in at the receiver. Proposals travel by a protocol of our own, because raft's drops
    /// them silently and may apply them twice; so do words to hand over, which are heeded only where that can succeed; and a
    /// snapshot is more than raft knows of it. Of the others raft takes some things for granted, and would panic.
    pub(super) fn is_welcome(&self) -> bool {
        let Self(message) = self;
        match message.get_msg_type() {
            MessageType::MsgPropose | MessageType::MsgSnapshot | MessageType::MsgTransferLeader => false,
            MessageType::MsgReadIndex => message.entries.len() == 1,
            MessageType::MsgAppend => {
                let places = message.entries.iter().map(|entry| entry.index.checked_sub(message.index));
                places.zip(1..).all(|(place, next)| place == Some(next))
            }
            _ => true,
        }
    }

    /// The state that a snapshot's message speaks of; `None` for any other message.
    pub fn snapshot(&self) -> Option<Position> {
        let is_snapshot = self.0.get_msg_type() == MessageType::MsgSnapshot;
        is_snapshot.then(|| from_raft_snapshot(self.0.get_snapshot()))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(message) = self;
        write!(
            f,
            "{:?} {}->{} term {} index {} log term {} commit {}{}, {} entries",
            message.get_msg_type(),
            message.from,
            message.to,
            message.term,
            message.index,
            message.log_term,
            message.commit,
            if message.reject { " reject" } else { "" },
            message.entries.len(),
        )
    }
}

fn entry_bytes(entry: &eraftpb::Entry) -> usize {
    usize::try_from(entry.compute_size()).unwrap_or(usize::MAX)
}

/// An entry for raft. Shares the payload.
pub(super) fn to_raft_entry(entry: &LogEntry) -> eraftpb::Entry {
    let mut to = eraftpb::Entry::default();
    to.set_entry_type(match entry.kind {
        LogEntryKind::Normal => eraftpb::EntryType::EntryNormal,
        LogEntryKind::Membership => eraftpb::EntryType::EntryConfChangeV2,
    });
    to.term = entry.term.get();
    to.index = entry.index.get();
    to.data = entry.data.clone();
    to
}

/// An entry of raft's.
pub(super) fn from_raft_entry(mut entry: eraftpb::Entry) -> LogEntry {
    let kind = match entry.get_entry_type() {
        eraftpb::EntryType::EntryNormal => LogEntryKind::Normal,
        eraftpb::EntryType::EntryConfChange | eraftpb::EntryType::EntryConfChangeV2 => LogEntryKind::Membership,
    };
    LogEntry { index: Index(entry.index), term: Term(entry.term), kind, data: entry.take_data() }
}

pub(super) fn to_raft_hard_state(state: HardState) -> eraftpb::HardState {
    let HardState { term, vote, commit } = state;
    eraftpb::HardState { term: term.get(), vote: vote.get(), commit: commit.get(), ..Default::default() }
}

pub(super) fn from_raft_hard_state(state: &eraftpb::HardState) -> HardState {
    HardState { term: Term(state.term), vote: MemberId(state.vote), commit: Index(state.commit) }
}

pub(super) fn to_raft_conf_state(state: &ConfState) -> eraftpb::ConfState {
    let ids = |members: &[MemberId]| members.iter().map(|member| member.get()).collect::<Vec<_>>();
    eraftpb::ConfState::from((ids(&state.voters), ids(&state.learners)))
}

/// A snapshot as raft knows it: where it stands and who takes part.
pub(super) fn to_raft_snapshot(position: Position, conf_state: &ConfState) -> eraftpb::Snapshot {
    let mut snapshot = eraftpb::Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = position.index.get();
    metadata.term = position.term.get();
    metadata.set_conf_state(to_raft_conf_state(conf_state));
    snapshot
}

pub(super) fn from_raft_snapshot(snapshot: &eraftpb::Snapshot) -> Position {
    let metadata = snapshot.get_metadata();
    Position { index: Index(metadata.index), term: Term(metadata.term) }
}

/// A change of membership for raft, with our own content beside it.
pub(super) fn to_raft_change(change: MembershipChange, data: Bytes) -> eraftpb::ConfChangeV2 {
    let (kind, member) = match change {
        MembershipChange::AddLearner(member) => (eraftpb::ConfChangeType::AddLearnerNode, member),
        MembershipChange::AddVoter(member) | MembershipChange::Promote(member) => {
            (eraftpb::ConfChangeType::AddNode, member)
        }
        MembershipChange::Remove(member) => (eraftpb::ConfChangeType::RemoveNode, member),
    };
    let mut single = eraftpb::ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = member.get();
    eraftpb::ConfChangeV2 { changes: vec![single].into(), context: data, ..Default::default() }
}

/// Takes what an entry says to raft, if it changes membership, and leaves in it what it says to the state machine.
pub(super) fn take_change(entry: &mut LogEntry) -> Option<eraftpb::ConfChangeV2> {
    let LogEntry { kind: LogEntryKind::Membership, data, .. } = entry else { return None };
    let mut change = eraftpb::ConfChangeV2::parse_from_carllerche_bytes(data).ok()?;
    *data = std::mem::take(&mut change.context);
    Some(change)
}

/// An entry of the log as [`Output::commit`](super::Output::commit) hands it out to be applied: raft's part of one that
/// changes membership is left out. For whoever applies a log without a replica.
#[must_use]
pub fn to_apply(mut entry: LogEntry) -> LogEntry {
    take_change(&mut entry);
    entry
}

pub(super) fn from_raft_role(role: StateRole) -> Role {
    match role {
        StateRole::Follower => Role::Follower,
        StateRole::PreCandidate => Role::PreCandidate,
        StateRole::Candidate => Role::Candidate,
        StateRole::Leader => Role::Leader,
    }
}

/// Raft's way to say nobody is 0.
pub(super) fn from_raft_member(id: u64) -> Option<MemberId> {
    (id != raft::INVALID_ID).then_some(MemberId(id))
}

impl From<&LogEntry> for Position {
    fn from(entry: &LogEntry) -> Self {
        Self { index: entry.index, term: entry.term }
    }
}
