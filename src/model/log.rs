//! The raft log as the rest of the system sees it, free of raft's own types.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use super::codec::{self, CodecError};
use super::{Index, MemberId, Proposal, Term, Timestamp};

/// What the bytes of a log entry are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LogEntryKind {
    /// A [`Payload`], or nothing: the empty entry with which a leader opens its term.
    Normal,
    /// A change of membership, in raft's own encoding.
    Membership,
}

/// One entry of the raft log.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LogEntry {
    pub index: Index,
    pub term: Term,
    pub kind: LogEntryKind,
    pub data: Bytes,
}

/// What raft must remember besides entries (Raft dissertation, figure 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct HardState {
    pub term: Term,
    /// The member voted for in `term`; 0 for none.
    pub vote: MemberId,
    pub commit: Index,
}

/// Who takes part (Raft dissertation, chapter 4). In order and without repeats.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct ConfState {
    pub voters: Vec<MemberId>,
    pub learners: Vec<MemberId>,
}

/// The content of a normal entry: proposals that travelled together, and the leader's time.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Payload {
    /// The leader's clock when it appended the entry.
    pub time: Timestamp,
    /// Applied in this order, each as a command of its own.
    pub proposals: Vec<Proposal>,
}

impl Payload {
    /// The version of the encoding, its first byte.
    const VERSION: u8 = 1;

    /// The bytes of a log entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        codec::encode(Self::VERSION, self)
    }

    /// Reads the bytes of a log entry back.
    ///
    /// # Errors
    /// When the bytes are of another version, cut short, or followed by more.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode("log entry", Self::VERSION, bytes)
    }
}
