//! What members say to each other on the messages lane, and its bytes: a tag, then raft's own encoding or borsh.
//!
//! Says nothing of how or when a message travels.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::{Buf as _, Bytes};

use super::{ConnectionError, frame};
use crate::consensus::forward::{ForwardAnswer, ForwardRefusal};
use crate::consensus::{MembershipChange, Message, MessageKind, Position};
use crate::model::limits::MAX_PEER_FRAME_BYTES;
use crate::model::{Incarnation, Index, MemberId, Term};
use crate::node::report::Report;

const RAFT: u8 = 0;
const FORWARD: u8 = 1;
const FORWARDED: u8 = 2;
const TRANSFER: u8 = 3;
const REPORT: u8 = 4;

/// A message from one member to another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PeerMessage {
    /// Raft's own.
    Raft(Message),
    /// Proposals for the leader.
    Forward(Forward),
    /// Its answer.
    Forwarded(Forwarded),
    /// The leader is to hand over.
    Transfer { to: MemberId },
    /// How the sender is.
    Report(Report),
}

/// Proposals that a member hands to the one that leads.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Forward {
    /// The start of the sender's process, to come back in the answer.
    pub start: Incarnation,
    /// The term that it leads in. Only the leader of that term may have taken it.
    pub term: Term,
    /// Chosen by the sender, to come back in the answer.
    pub number: u64,
    /// Each in its encoding.
    pub proposals: Vec<Bytes>,
    /// What raft is to do, where the one proposal is a change of membership.
    pub change: Option<MembershipChange>,
}

/// What became of a [`Forward`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// As in the [`Forward`]. An answer to an earlier start of the process is to nobody.
    pub start: Incarnation,
    /// As in the [`Forward`].
    pub number: u64,
    /// Where the proposals stand in the leader's log. With a refusal, they are in nobody's and never will be.
    pub answer: ForwardAnswer,
}

/// A [`Forwarded`] as it travels.
type ForwardedParts = (Incarnation, u64, Result<(Index, Term), ForwardRefusal>);

impl PeerMessage {
    /// Whether it brings entries of the log.
    pub(in crate::node) fn is_append(&self) -> bool {
        matches!(self, Self::Raft(message) if message.kind() == MessageKind::Append)
    }

    /// Appends the message's frame.
    ///
    /// # Errors
    /// When it is longer than a frame may be.
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) -> Result<(), ConnectionError> {
        let (tag, body) = match self {
            Self::Raft(message) => (RAFT, message.encode().map_err(ConnectionError::unreadable)?),
            Self::Forward(forward) => (FORWARD, borsh::to_vec(forward)?.into()),
            Self::Forwarded(forwarded) => (FORWARDED, borsh::to_vec(&forwarded.to_parts())?.into()),
            Self::Transfer { to } => (TRANSFER, borsh::to_vec(to)?.into()),
            Self::Report(report) => (REPORT, borsh::to_vec(report)?.into()),
        };
        frame::append(bytes, &[&[tag], &body], MAX_PEER_FRAME_BYTES)
    }

    /// Reads the payload of a frame. The entries of a raft message share its bytes.
    ///
    /// # Errors
    /// When it is no message.
    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, ConnectionError> {
        let tag = bytes.try_get_u8().map_err(ConnectionError::unreadable)?;
        match tag {
            RAFT => Message::decode(&bytes).map(Self::Raft).map_err(ConnectionError::unreadable),
            FORWARD => borsh::from_slice(&bytes).map(Self::Forward).map_err(ConnectionError::unreadable),
            FORWARDED => {
                let parts = borsh::from_slice(&bytes).map_err(ConnectionError::unreadable)?;
                Ok(Self::Forwarded(Forwarded::from_parts(parts)))
            }
            TRANSFER => {
                let to = borsh::from_slice(&bytes).map_err(ConnectionError::unreadable)?;
                Ok(Self::Transfer { to })
            }
            REPORT => borsh::from_slice(&bytes).map(Self::Report).map_err(ConnectionError::unreadable),
            unknown => Err(ConnectionError::unreadable(format!("a message with the tag {unknown}"))),
        }
    }

    /// The length of its frame's payload.
    pub(super) fn encoded_bytes(&self) -> usize {
        let body = match self {
            Self::Raft(message) => message.encoded_bytes(),
            Self::Forward(Forward { start: _, term: _, number: _, proposals, change }) => {
                let change = 1 + change.map_or(0, |_| 1 + size_of::<MemberId>());
                28 + change + proposals.iter().map(|proposal| 4 + proposal.len()).sum::<usize>()
            }
            Self::Forwarded(_) => size_of::<ForwardedParts>(),
            Self::Transfer { .. } => size_of::<MemberId>(),
            Self::Report(report) => size_of::<Report>() + report.version.len(),
        };
        body.saturating_add(1)
    }
}

impl Forwarded {
    fn to_parts(&self) -> ForwardedParts {
        let Self { start, number, answer } = self;
        (*start, *number, answer.map(|position| (position.index, position.term)))
    }

    fn from_parts((start, number, answer): ForwardedParts) -> Self {
        Self { start, number, answer: answer.map(|(index, term)| Position { index, term }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::consensus::ChangeRefusal;
    use crate::model::Revision;
    use crate::node::Room;

    fn payload(message: &PeerMessage) -> Bytes {
        let mut bytes = Vec::new();
        message.append_to(&mut bytes).unwrap();
        Bytes::from(bytes).split_off(8)
    }

    #[test]
    fn messages_of_our_own_read_back_and_a_cut_is_an_error() {
        let (start, number) = (Incarnation(3), 4);
        let position = Position { index: Index(5), term: Term(6) };
        let refusals = [
            ForwardRefusal::NotLeader { leader: None },
            ForwardRefusal::NotLeader { leader: Some(MemberId(7)) },
            ForwardRefusal::Overloaded,
            ForwardRefusal::ChangeLater,
            ForwardRefusal::Refused(ChangeRefusal::Behind { behind: 8 }),
        ];
        let answers = refusals.into_iter().map(Err).chain([Ok(position)]);
        let forwarded = answers.map(|answer| PeerMessage::Forwarded(Forwarded { start, number, answer }));
        let proposals = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        let (version, revision) = ("1.2.3".to_owned(), Revision(4));
        let report = Report { version, applied: Index(5), revision, store_bytes: 6, log_bytes: 7, room: Room::Short };
        let report = PeerMessage::Report(report);
        let forwards = [None, Some(MembershipChange::Remove(MemberId(9)))].map(|change| {
            let proposals = proposals.clone();
            PeerMessage::Forward(Forward { start, term: Term(2), number, proposals, change })
        });
        for forward in &forwards {
            assert_eq!(payload(forward).len(), forward.encoded_bytes());
        }
        for message in forwarded.chain(forwards).chain([PeerMessage::Transfer { to: MemberId(9) }, report]) {
            let bytes = payload(&message);
            assert_eq!(PeerMessage::decode(bytes.clone()).unwrap(), message);
            for cut in 0..bytes.len() {
                assert!(PeerMessage::decode(bytes.slice(..cut)).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_message_or_an_error(
            tag in 0..6u8,
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = PeerMessage::decode([&[tag], bytes.as_slice()].concat().into());
        }
    }
}
