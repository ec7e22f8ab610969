//! Who waits for a proposal that this member brought in, from then until its reply, its refusal or its deadline.
//!
//! A reply comes from this member's own apply, and is found by the proposal's number, wherever the proposal was put into
//! the log. Where it was put is only needed to know that it is certainly lost: when the entry applied there is another.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::handle::ProposeError;
use crate::consensus::MembershipChange;
use crate::model::limits::{MAX_INFLIGHT_BYTES, MAX_INFLIGHT_PROPOSALS};
use crate::model::{Incarnation, Index, LogEntry, MemberId, ProposalId, Reply, Term};

pub(super) type Answer = Result<Reply, ProposeError>;

pub(super) struct Waiters {
    member: MemberId,
    start: Incarnation,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: HashMap<u64, Waiter>,
    /// By entry, the numbers of the proposals in it. Two that led one after another may both have placed one at the same
    /// index.
    placed: BTreeMap<(Index, Term), Vec<u64>>,
}

struct Waiter {
    reply: oneshot::Sender<Answer>,
    /// Whether a leader may have it.
    sent: bool,
    /// Given back once the proposal neither waits for its turn nor is waited for.
    _permit: Arc<Permit>,
}

/// What can be said of a proposal that nobody waits for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// It is certainly not applied.
    Unsent,
    /// It may be, now or later.
    Sent,
}

impl Waiters {
    pub(super) fn new(member: MemberId, start: Incarnation) -> Self {
        Self { member, start, inner: Mutex::default() }
    }

    /// Waits for the proposal with this number.
    pub(super) fn add(&self, number: u64, permit: Arc<Permit>) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        self.inner.lock().waiting.insert(number, Waiter { reply, sent: false, _permit: permit });
        answer
    }

    /// Nobody waits for the proposal any more.
    pub(super) fn give_up(&self, number: u64) -> GivenUp {
        match self.inner.lock().waiting.remove(&number) {
            Some(Waiter { sent: false, .. }) => GivenUp::Unsent,
            Some(Waiter { sent: true, .. }) | None => GivenUp::Sent,
        }
    }

    /// The proposals are on their way to a leader. Those that nobody waits for any more stay behind.
    pub(super) fn send(&self, proposals: &mut Vec<Pending>) {
        let mut inner = self.inner.lock();
        proposals.retain(|pending| {
            let waiter = inner.waiting.get_mut(&pending.number);
            let waited_for = waiter.map(|waiter| waiter.sent = true).is_some();
            waited_for || !pending.is_awaited()
        });
    }

    /// The proposals are certainly in nobody's log. Those that somebody waits for may be sent again, the others go.
    pub(super) fn unsend(&self, proposals: &mut Vec<Pending>) {
        let mut inner = self.inner.lock();
        proposals.retain(|pending| {
            let waiter = inner.waiting.get_mut(&pending.number);
            waiter.map(|waiter| waiter.sent = false).is_some()
        });
    }

    /// Whether somebody waits for one of these.
    pub(super) fn are_awaited(&self, proposals: &[Pending]) -> bool {
        let inner = self.inner.lock();
        proposals.iter().any(|pending| inner.waiting.contains_key(&pending.number))
    }

    /// Drops the proposals that nobody waits for any more.
    pub(super) fn keep_awaited(&self, proposals: &mut Vec<Pending>) {
        let inner = self.inner.lock();
        proposals.retain(|pending| inner.waiting.contains_key(&pending.number));
    }

    /// A leader put the proposals into an entry.
    pub(super) fn placed(&self, index: Index, term: Term, numbers: Vec<u64>) {
        self.inner.lock().placed.entry((index, term)).or_default().extend(numbers);
    }

    /// The proposals will not be applied.
    pub(super) fn refuse(&self, numbers: impl IntoIterator<Item = u64>, error: &ProposeError) {
        let mut inner = self.inner.lock();
        for waiter in numbers.into_iter().filter_map(|number| inner.waiting.remove(&number)) {
            let _ = waiter.reply.send(Err(error.clone()));
        }
    }

    /// Nothing is applied any more. Of what was sent, the outcome is unknown.
    pub(super) fn stop(&self, error: &ProposeError) {
        for (_, waiter) in std::mem::take(&mut self.inner.lock().waiting) {
            let error = if waiter.sent { ProposeError::OutcomeUnknown } else { error.clone() };
            let _ = waiter.reply.send(Err(error));
        }
    }

    /// These entries were applied, with these replies: what is to be told to whom.
    pub(super) fn applied(&self, entries: &[LogEntry], replies: Vec<(ProposalId, Reply)>) -> Vec<Told> {
        let mut told = Vec::with_capacity(replies.len());
        let mut inner = self.inner.lock();
        for (id, reply) in replies {
            if (id.member, id.incarnation) == (self.member, self.start)
                && let Some(waiter) = inner.waiting.remove(&id.sequence)
            {
                told.push(Told { waiter, answer: Ok(reply) });
            }
        }
        let Some(last) = entries.last() else { return told };
        for ((index, term), numbers) in inner.take_placed(last.index) {
            let at = entries.partition_point(|entry| entry.index < index);
            let stands = entries.get(at).is_none_or(|entry| entry.index != index || entry.term == term);
            for waiter in numbers.iter().filter_map(|number| inner.waiting.remove(number)) {
                let error = if stands { ProposeError::OutcomeUnknown } else { ProposeError::NoLeader };
                told.push(Told { waiter, answer: Err(error) });
            }
        }
        told
    }

    /// A snapshot took the place of everything up to `index`: what became of the proposals below it is in there, and
    /// cannot be told.
    pub(super) fn skipped(&self, index: Index) -> Vec<Told> {
        let mut inner = self.inner.lock();
        let numbers: Vec<u64> = inner.take_placed(index).into_values().flatten().collect();
        let waiters = numbers.iter().filter_map(|number| inner.waiting.remove(number));
        waiters.map(|waiter| Told { waiter, answer: Err(ProposeError::OutcomeUnknown) }).collect()
    }
}

impl Inner {
    fn take_placed(&mut self, through: Index) -> BTreeMap<(Index, Term), Vec<u64>> {
        let later = self.placed.split_off(&(through.next(), Term::ZERO));
        std::mem::replace(&mut self.placed, later)
    }
}

/// The proposals taken, and neither answered nor given up.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    proposals: AtomicUsize,
    bytes: AtomicUsize,
}

impl InFlight {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A place among the proposals in flight, given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    of: Arc<InFlight>,
    bytes: usize,
}

impl Permit {
    /// `None` when as much is in flight as may be.
    pub(super) fn take(of: &Arc<InFlight>, bytes: usize) -> Option<Self> {
        let permit = Self { of: Arc::clone(of), bytes };
        let proposals = of.proposals.fetch_add(1, Ordering::Relaxed);
        let total = of.bytes.fetch_add(bytes, Ordering::Relaxed);
        (proposals < MAX_INFLIGHT_PROPOSALS && total < MAX_INFLIGHT_BYTES).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.proposals.fetch_sub(1, Ordering::Relaxed);
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A proposal that waits for its turn.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) encoded: Bytes,
    /// What raft is to do, where it is a change of membership.
    pub(super) change: Option<MembershipChange>,
    /// Whether a few milliseconds more make no difference to anybody.
    pub(super) can_wait: bool,
    /// Shared with who waits for the reply: a proposal takes its place also when its client is gone already. `None` for what
    /// this member proposes of itself, which nobody waits for and which is sent once.
    pub(super) permit: Option<Arc<Permit>>,
}

impl Pending {
    pub(super) fn is_awaited(&self) -> bool {
        self.permit.is_some()
    }
}

/// An answer, and who is to hear it.
pub(super) struct Told {
    waiter: Waiter,
    answer: Answer,
}

impl Told {
    pub(super) fn tell(self) {
        // Who waits no longer has its answer: the outcome was unknown by its deadline.
        let _ = self.waiter.reply.send(self.answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LogEntryKind, Outcome, Revision};

    const MEMBER: MemberId = MemberId(1);
    const START: Incarnation = Incarnation(7);

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry { index: Index(index), term: Term(term), kind: LogEntryKind::Normal, data: Bytes::new() }
    }

    fn replied(member: MemberId, incarnation: Incarnation, sequence: u64) -> (ProposalId, Reply) {
        let reply = Reply { revision: Revision(sequence), result: Ok(Outcome::Done), replayed: false };
        (ProposalId { member, incarnation, sequence }, reply)
    }

    /// Proposals with these numbers that somebody waits for and a leader may have.
    fn sent(waiters: &Waiters, numbers: &[u64]) -> Vec<oneshot::Receiver<Answer>> {
        let (answers, mut proposals): (Vec<_>, Vec<_>) = numbers.iter().map(|number| waiting(waiters, *number)).unzip();
        waiters.send(&mut proposals);
        assert_eq!(proposals.len(), numbers.len());
        answers
    }

    fn waiting(waiters: &Waiters, number: u64) -> (oneshot::Receiver<Answer>, Pending) {
        let permit = Arc::new(Permit::take(&Arc::default(), 1).unwrap());
        let answer = waiters.add(number, Arc::clone(&permit));
        (answer, Pending { number, encoded: Bytes::new(), change: None, can_wait: false, permit: Some(permit) })
    }

    fn tell(told: Vec<Told>) {
        told.into_iter().for_each(Told::tell);
    }

    #[test]
    fn a_reply_is_found_by_its_number_wherever_the_proposal_stands() {
        let waiters = Waiters::new(MEMBER, START);
        let mut answers = sent(&waiters, &[1, 2]);
        let others = [replied(MemberId(2), START, 1), replied(MEMBER, Incarnation(6), 2)];
        tell(waiters.applied(&[entry(5, 1)], others.into()));
        assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()));
        tell(waiters.applied(&[entry(6, 1)], vec![replied(MEMBER, START, 2), replied(MEMBER, START, 1)]));
        assert_eq!(answers[0].try_recv().unwrap().unwrap().revision, Revision(1));
        assert_eq!(answers[1].try_recv().unwrap().unwrap().revision, Revision(2));
    }

    #[test]
    fn a_proposal_is_lost_for_certain_only_where_an_entry_of_another_term_took_its_place() {
        let waiters = Waiters::new(MEMBER, START);
        let mut answers = sent(&waiters, &[1, 2, 3]);
        waiters.placed(Index(5), Term(1), vec![1]);
        waiters.placed(Index(5), Term(2), vec![2]);
        waiters.placed(Index(7), Term(2), vec![3]);
        tell(waiters.applied(&[entry(4, 1), entry(5, 2)], vec![replied(MEMBER, START, 2)]));
        assert_eq!(answers[0].try_recv().unwrap(), Err(ProposeError::NoLeader));
        assert!(answers[1].try_recv().unwrap().is_ok());
        assert!(answers[2].try_recv().is_err(), "its place is not applied yet");
        // Its place was named after the entries there were applied, or by a snapshot passed over.
        waiters.placed(Index(6), Term(2), vec![]);
        tell(waiters.skipped(Index(7)));
        assert_eq!(answers[2].try_recv().unwrap(), Err(ProposeError::OutcomeUnknown));
    }

    #[test]
    fn what_no_leader_may_have_is_known_not_to_be_applied() {
        let waiters = Waiters::new(MEMBER, START);
        let (_answer, pending) = waiting(&waiters, 1);
        let mut proposals = vec![pending];
        waiters.send(&mut proposals);
        waiters.unsend(&mut proposals);
        assert_eq!(waiters.give_up(1), GivenUp::Unsent);
        waiters.send(&mut proposals);
        assert!(proposals.is_empty(), "a proposal that was said not to be applied is sent");
        let _answers = sent(&waiters, &[2]);
        assert_eq!(waiters.give_up(2), GivenUp::Sent);
    }

    #[test]
    fn what_the_member_proposes_of_itself_is_sent_and_never_comes_back() {
        let waiters = Waiters::new(MEMBER, START);
        let mut own = vec![Pending { number: 9, encoded: Bytes::new(), change: None, can_wait: false, permit: None }];
        waiters.send(&mut own);
        assert_eq!(own.len(), 1);
        waiters.unsend(&mut own);
        assert!(own.is_empty());
    }

    #[test]
    fn a_proposal_keeps_its_place_until_it_neither_waits_nor_is_waited_for() {
        let waiters = Waiters::new(MEMBER, START);
        let (_answer, pending) = waiting(&waiters, 1);
        let in_flight = Arc::clone(&pending.permit.as_ref().unwrap().of);
        waiters.give_up(1);
        assert_eq!(in_flight.bytes.load(Ordering::Relaxed), 1, "its bytes still wait for their turn");
        drop(pending);
        assert_eq!(in_flight.bytes.load(Ordering::Relaxed), 0);
    }
}
