//! Proposals that travel from the member they came to, to the one that leads.
//!
//! Raft's own forwarding drops proposals without a word and may apply one twice. Here each batch has a number; the leader
//! answers it where it stands or that it refused it, alike however often it is asked, and the sender asks again
//! until it knows or the leader is another.

use std::collections::{BTreeMap, VecDeque};

use borsh::{BorshDeserialize, BorshSerialize};
use thiserror::Error;

use super::{ChangeRefusal, Position};
use crate::model::{Incarnation, MemberId, Term};

/// Answers kept for each member that forwards: far more than it has under way.
const MAX_KEPT: usize = 1024;
/// Starts of a member of which answers are kept: those last heard of.
const MAX_STARTS: usize = 64;
/// Batches under way at once. Beyond that, proposals gather.
pub const MAX_UNANSWERED: usize = 4;
/// Ticks after which an unanswered batch is sent again.
const RESEND_TICKS: u32 = 5;
/// Ticks after which a batch that nobody waits for makes room for others: its answer may be one that the leader knows no more.
const FORGET_TICKS: u32 = 100;

/// Why a batch is in nobody's log and never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Error)]
pub enum ForwardRefusal {
    #[error("the member does not lead")]
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<MemberId>,
    },
    #[error("too much is proposed and not yet committed")]
    Overloaded,
    /// As [`ProposeRefusal::ChangeLater`](super::ProposeRefusal::ChangeLater).
    #[error("the members cannot be changed just now")]
    ChangeLater,
    #[error(transparent)]
    Refused(ChangeRefusal),
}

/// What a leader answers: where the batch stands in the log, or why it does not.
pub type ForwardAnswer = Result<Position, ForwardRefusal>;

/// A batch on its way to the leader of a term.
#[derive(Debug)]
pub struct Sent<B> {
    pub to: MemberId,
    pub term: Term,
    pub batch: B,
    ticks: u32,
}

/// What this member has forwarded and not been answered.
#[derive(Debug)]
pub struct Outgoing<B> {
    last: u64,
    unanswered: BTreeMap<u64, Sent<B>>,
}

impl<B> Default for Outgoing<B> {
    fn default() -> Self {
        Self { last: 0, unanswered: BTreeMap::new() }
    }
}

impl<B> Outgoing<B> {
    /// How many batches are under way to the leader of a term.
    pub fn under_way(&self, leader: MemberId, term: Term) -> usize {
        self.unanswered.values().filter(|sent| (sent.to, sent.term) == (leader, term)).count()
    }

    /// Notes a batch as sent, and gives it its number.
    pub fn send(&mut self, to: MemberId, term: Term, batch: B) -> u64 {
        self.last += 1;
        self.unanswered.insert(self.last, Sent { to, term, batch, ticks: 0 });
        self.last
    }

    /// The batch was answered. `None` when it was before, or nobody cares any more.
    pub fn answered(&mut self, number: u64, from: MemberId) -> Option<Sent<B>> {
        let is_from = self.unanswered.get(&number).is_some_and(|sent| sent.to == from);
        if is_from { self.unanswered.remove(&number) } else { None }
    }

    /// Forgets the batches that nobody cares about and that were sent to any but the leader of this term, or so long ago that it
    /// will not answer any more. For the others whoever led is still asked: if it lives, it knows what became of them.
    pub fn forget(&mut self, leader: Option<MemberId>, term: Term, is_cared_about: impl Fn(&B) -> bool) {
        self.unanswered.retain(|_, sent| {
            let will_be_answered = (Some(sent.to), sent.term) == (leader, term) && sent.ticks < FORGET_TICKS;
            will_be_answered || is_cared_about(&sent.batch)
        });
    }

    /// Passes a tick. Gives what is to be sent again, with its number.
    pub fn tick(&mut self) -> impl Iterator<Item = (u64, &Sent<B>)> {
        for sent in self.unanswered.values_mut() {
            sent.ticks += 1;
        }
        self.unanswered.iter().filter(|(_, sent)| sent.ticks % RESEND_TICKS == 0).map(|(number, sent)| (*number, sent))
    }
}

/// What became of a batch at the member that it was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    New,
    Answered(ForwardAnswer),
    /// Answered so long ago that nobody knows how.
    Forgotten,
}

/// What other members have forwarded to this one, each start by itself: which of two came first, nobody can tell. What one
/// sent may still come when the next is heard of, on connections that it has left behind.
#[derive(Debug, Default)]
pub struct Incoming(BTreeMap<MemberId, VecDeque<Kept>>);

#[derive(Debug)]
struct Kept {
    start: Incarnation,
    /// Below and at this number, nothing is known.
    floor: u64,
    answers: BTreeMap<u64, ForwardAnswer>,
}

impl Incoming {
    /// What is known of a batch. A member that has started anew numbers anew.
    pub fn look(&mut self, from: MemberId, start: Incarnation, number: u64) -> Found {
        let starts = self.0.entry(from).or_default();
        let known = starts.iter().position(|kept| kept.start == start).and_then(|place| starts.remove(place));
        let kept = known.unwrap_or_else(|| Kept { start, floor: 0, answers: BTreeMap::new() });
        if starts.len() >= MAX_STARTS {
            starts.pop_front();
        }
        starts.push_back(kept);
        let Some(kept) = starts.back() else { return Found::Forgotten };
        match kept.answers.get(&number) {
            Some(answer) => Found::Answered(*answer),
            None if number <= kept.floor => Found::Forgotten,
            None => Found::New,
        }
    }

    /// Keeps the answer to a batch that was looked for.
    pub fn keep(&mut self, from: MemberId, start: Incarnation, number: u64, answer: ForwardAnswer) {
        let starts = self.0.get_mut(&from);
        let Some(kept) = starts.and_then(|starts| starts.iter_mut().find(|kept| kept.start == start)) else { return };
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
    use super::*;
    use crate::model::Index;

    const LEADER: MemberId = MemberId(1);
    const START: Incarnation = Incarnation(7);

    #[test]
    fn a_batch_is_answered_alike_however_often_it_is_sent() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.look(LEADER, START, 1), Found::New);
        let answer = Ok(Position { index: Index(5), term: Term(2) });
        incoming.keep(LEADER, START, 1, answer);
        assert_eq!(incoming.look(LEADER, START, 1), Found::Answered(answer));
        let refusal = Err(ForwardRefusal::Overloaded);
        incoming.keep(LEADER, START, 2, refusal);
        assert_eq!(incoming.look(LEADER, START, 2), Found::Answered(refusal));
        for number in 3..3 + MAX_KEPT as u64 {
            incoming.keep(LEADER, START, number, answer);
        }
        assert_eq!(incoming.look(LEADER, START, 1), Found::Forgotten);
        assert_eq!(incoming.look(LEADER, Incarnation(8), 1), Found::New);
    }

    #[test]
    fn what_a_member_sent_before_it_started_anew_is_not_taken_twice() {
        let mut incoming = Incoming::default();
        let answer = Ok(Position { index: Index(5), term: Term(2) });
        assert_eq!(incoming.look(LEADER, START, 1), Found::New);
        incoming.keep(LEADER, START, 1, answer);
        assert_eq!(incoming.look(LEADER, Incarnation(8), 1), Found::New);
        assert_eq!(incoming.look(LEADER, START, 1), Found::Answered(answer));
    }

    #[test]
    fn a_late_batch_of_an_earlier_start_does_not_shut_the_present_one_out() {
        let mut incoming = Incoming::default();
        let answer = Ok(Position { index: Index(5), term: Term(2) });
        assert_eq!(incoming.look(LEADER, START, 1), Found::New);
        incoming.keep(LEADER, START, 1, answer);
        for late in 0..MAX_STARTS as u64 {
            assert_eq!(incoming.look(LEADER, Incarnation(1000 + late), 1), Found::New);
            assert_eq!(incoming.look(LEADER, START, 1), Found::Answered(answer));
            assert_eq!(incoming.look(LEADER, START, 2 + late), Found::New);
        }
        assert_eq!(incoming.0[&LEADER].len(), MAX_STARTS);
    }

    #[test]
    fn what_is_unanswered_is_asked_of_the_one_it_was_sent_to_as_long_as_somebody_cares() {
        let mut outgoing = Outgoing::default();
        let (cared_about, other) = (outgoing.send(LEADER, Term(2), true), outgoing.send(LEADER, Term(2), false));
        let resent = (0..RESEND_TICKS).filter(|_| outgoing.tick().count() == 2).count();
        assert_eq!(resent, 1);
        assert!(outgoing.answered(cared_about, MemberId(2)).is_none());
        outgoing.forget(Some(LEADER), Term(2), |batch| *batch);
        assert_eq!(outgoing.under_way(LEADER, Term(2)), 2, "its leader will answer");
        outgoing.forget(Some(LEADER), Term(3), |batch| *batch);
        assert_eq!((outgoing.under_way(LEADER, Term(2)), outgoing.under_way(LEADER, Term(3))), (1, 0));
        assert!(outgoing.answered(other, LEADER).is_none());
        assert!(outgoing.answered(cared_about, LEADER).is_some());
    }

    #[test]
    fn a_batch_that_nobody_cares_about_does_not_take_up_room_for_ever() {
        let mut outgoing = Outgoing::default();
        let (cared_about, _) = (outgoing.send(LEADER, Term(2), true), outgoing.send(LEADER, Term(2), false));
        for _ in 1..FORGET_TICKS {
            _ = outgoing.tick().count();
        }
        outgoing.forget(Some(LEADER), Term(2), |batch| *batch);
        assert_eq!(outgoing.under_way(LEADER, Term(2)), 2);
        _ = outgoing.tick().count();
        outgoing.forget(Some(LEADER), Term(2), |batch| *batch);
        assert_eq!(outgoing.under_way(LEADER, Term(2)), 1);
        assert!(outgoing.answered(cared_about, LEADER).is_some());
    }
}
