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

    /// The bytes of a log entry made of proposals that are encoded already ([`codec::encode_into`]).
    #[must_use]
    pub fn assemble<'a>(time: Timestamp, proposals: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Bytes {
        let count = u32::try_from(proposals.len()).unwrap_or(u32::MAX);
        let size: usize = proposals.clone().map(<[u8]>::len).sum();
        let mut bytes = Vec::with_capacity(size + 16);
        bytes.push(Self::VERSION);
        codec::encode_into(&mut bytes, &(time, count));
        proposals.for_each(|proposal| bytes.extend_from_slice(proposal));
        bytes.into()
    }

    /// Reads the bytes of a log entry back.
    ///
    /// # Errors
    /// When the bytes are of another version, cut short, or followed by more.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode("log entry", Self::VERSION, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Command, LeaseId, ProposalId};

    #[test]
    fn a_payload_assembled_from_encoded_proposals_is_the_payload_encoded_whole() {
        let proposal = |sequence, command| Proposal {
            id: ProposalId { sequence, ..ProposalId::default() },
            author: None,
            idempotency: None,
            command,
        };
        let proposals = vec![proposal(1, Command::Noop), proposal(2, Command::RevokeLease(LeaseId(7)))];
        let encoded: Vec<Vec<u8>> = proposals
            .iter()
            .map(|proposal| {
                let mut bytes = Vec::new();
                codec::encode_into(&mut bytes, proposal);
                bytes
            })
            .collect();
        let payload = Payload { time: Timestamp(9), proposals };
        assert_eq!(Payload::assemble(Timestamp(9), encoded.iter().map(Vec::as_slice)), payload.encode());
        assert_eq!(Payload::decode(&payload.encode()).unwrap(), payload);
    }
}
