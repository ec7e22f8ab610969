//! Proposals that travel from the member they came to, to the one that leads.
//!
//! Raft's own forwarding drops proposals without a word and may apply one twice. Here each batch has a number; the leader
//! answers it where it stands or that it refused it, alike however often it is asked, and the sender asks again
//! until it knows or the leader is another.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::consensus::Position;
use crate::model::{Incarnation, MemberId, Term};

/// Answers kept for each member that forwards: far more than it has under way.
const MAX_KEPT: usize = 1024;
/// Batches under way at once. Beyond that, proposals gather.
pub(super) const MAX_UNANSWERED: usize = 4;
/// Ticks after which an unanswered batch is sent again.
const RESEND_TICKS: u32 = 5;

/// A proposal that waits for its turn.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) encoded: Bytes,
    /// Whether somebody waits for its reply. What this member proposes of itself is sent once.
    pub(super) awaited: bool,
}

/// A batch on its way to the leader of a term.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) to: MemberId,
    pub(super) term: Term,
    pub(super) proposals: Vec<Pending>,
    ticks: u32,
}

/// What this member has forwarded and not been answered.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    last: u64,
    unanswered: BTreeMap<u64, Sent>,
}

impl Outgoing {
    pub(super) fn len(&self) -> usize {
        self.unanswered.len()
    }

    /// Notes a batch as sent, and gives it its number.
    pub(super) fn send(&mut self, to: MemberId, term: Term, proposals: Vec<Pending>) -> u64 {
        self.last += 1;
        self.unanswered.insert(self.last, Sent { to, term, proposals, ticks: 0 });
        self.last
    }

    /// The batch was answered. `None` when it was before, or nobody cares any more.
    pub(super) fn answered(&mut self, number: u64, from: MemberId) -> Option<Sent> {
        let is_from = self.unanswered.get(&number).is_some_and(|sent| sent.to == from);
        if is_from { self.unanswered.remove(&number) } else { None }
    }

    /// The leader is now this one: those sent to any other will not be answered. What became of them is not known.
    pub(super) fn follow(&mut self, leader: Option<MemberId>, term: Term) {
        self.unanswered.retain(|_, sent| Some(sent.to) == leader && sent.term == term);
    }

    /// Passes a tick. Gives what is to be sent again, with its number.
    pub(super) fn tick(&mut self) -> impl Iterator<Item = (u64, &Sent)> {
        for sent in self.unanswered.values_mut() {
            sent.ticks += 1;
        }
        self.unanswered.iter().filter(|(_, sent)| sent.ticks % RESEND_TICKS == 0).map(|(number, sent)| (*number, sent))
    }
}

/// What became of a batch at the member that it was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    New,
    Answered(Result<Position, super::transport::ForwardRefusal>),
    /// Answered so long ago that nobody knows how.
    Forgotten,
}

/// What other members have forwarded to this one.
#[derive(Debug, Default)]
pub(super) struct Incoming(BTreeMap<MemberId, Kept>);

#[derive(Debug)]
struct Kept {
    start: Incarnation,
    /// Below and at this number, nothing is known.
    floor: u64,
    answers: BTreeMap<u64, Result<Position, super::transport::ForwardRefusal>>,
}

impl Incoming {
    /// What is known of a batch. A member that has started anew numbers anew.
    pub(super) fn look(&mut self, from: MemberId, start: Incarnation, number: u64) -> Found {
        let kept = self.0.entry(from).or_insert(Kept { start, floor: 0, answers: BTreeMap::new() });
        if kept.start != start {
            *kept = Kept { start, floor: 0, answers: BTreeMap::new() };
        }
        match kept.answers.get(&number) {
            Some(answer) => Found::Answered(*answer),
            None if number <= kept.floor => Found::Forgotten,
            None => Found::New,
        }
    }

    /// Keeps the answer to a batch that was looked for.
    pub(super) fn keep(
        &mut self,
        from: MemberId,
        number: u64,
        answer: Result<Position, super::transport::ForwardRefusal>,
    ) {
        let Some(kept) = self.0.get_mut(&from) else { return };
        kept.answers.insert(number, answer);
        if kept.answers.len() > MAX_KEPT
            && let Some((oldest, _)) = kept.answers.pop_first()
        {
            kept.floor = oldest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::transport::ForwardRefusal;
    use super::*;
    use crate::model::Index;

    const LEADER: MemberId = MemberId(1);
    const START: Incarnation = Incarnation(7);

    #[test]
    fn a_batch_is_answered_alike_however_often_it_is_sent() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.look(LEADER, START, 1), Found::New);
        let answer = Ok(Position { index: Index(5), term: Term(2) });
        incoming.keep(LEADER, 1, answer);
        assert_eq!(incoming.look(LEADER, START, 1), Found::Answered(answer));
        let refusal = Err(ForwardRefusal::Overloaded);
        incoming.keep(LEADER, 2, refusal);
        assert_eq!(incoming.look(LEADER, START, 2), Found::Answered(refusal));
        for number in 3..3 + MAX_KEPT as u64 {
            incoming.keep(LEADER, number, answer);
        }
        assert_eq!(incoming.look(LEADER, START, 1), Found::Forgotten);
        assert_eq!(incoming.look(LEADER, Incarnation(8), 1), Found::New);
    }

    #[test]
    fn what_is_unanswered_is_sent_again_to_the_leader_of_its_term_alone() {
        let mut outgoing = Outgoing::default();
        let number = outgoing.send(LEADER, Term(2), Vec::new());
        let resent = (0..RESEND_TICKS).filter(|_| outgoing.tick().count() == 1).count();
        assert_eq!(resent, 1);
        assert!(outgoing.answered(number, MemberId(2)).is_none());
        outgoing.follow(Some(LEADER), Term(3));
        assert_eq!(outgoing.len(), 0);
        assert!(outgoing.answered(number, LEADER).is_none());
    }
}
