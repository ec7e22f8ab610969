//! Between our types and the `raft` crate's. Nothing else translates; payload bytes are shared, never copied.

use std::fmt;

use bytes::Bytes;
use protobuf::Message as _;
use raft::StateRole;
use raft::eraftpb::{self, MessageType};
use thiserror::Error;

use super::{Position, Role};
use crate::model::{ConfState, HardState, Index, LogEntry, LogEntryKind, MemberId, Term};

/// A message between two members. Its content is raft's own business.
#[derive(Clone, PartialEq)]
pub struct Message(pub(super) eraftpb::Message);

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

    /// Whether the message may go in at the receiver. Proposals travel by a protocol of our own, because raft's drops
    /// them silently and may apply them twice; and a snapshot is more than raft knows of it.
    pub(super) fn is_welcome(&self) -> bool {
        !matches!(self.0.get_msg_type(), MessageType::MsgPropose | MessageType::MsgSnapshot)
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
