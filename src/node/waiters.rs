//! Who waits for a proposal that this member brought in, from then until its reply, its refusal or its deadline.
//!
//! A reply comes from this member's own apply, and is found by the proposal's number, wherever the proposal was put into
//! the log. Where it was put is only needed to know that it is certainly lost: when the entry applied there is another.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::handle::{Permit, ProposeError};
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
    _permit: Permit,
}

impl Waiters {
    pub(super) fn new(member: MemberId, start: Incarnation) -> Self {
        Self { member, start, inner: Mutex::default() }
    }

    /// Waits for the proposal with this number.
    pub(super) fn add(&self, number: u64, permit: Permit) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        self.inner.lock().waiting.insert(number, Waiter { reply, sent: false, _permit: permit });
        answer
    }

    /// Nobody waits any more. What can be said of the proposal then: whether it may yet be applied.
    pub(super) fn give_up(&self, number: u64) -> ProposeError {
        match self.inner.lock().waiting.remove(&number) {
            Some(Waiter { sent: false, .. }) => ProposeError::NoLeader,
            Some(Waiter { sent: true, .. }) | None => ProposeError::OutcomeUnknown,
        }
    }

    /// The proposals are on their way to a leader. Those that nobody waits for any more stay behind.
    pub(super) fn send(&self, proposals: &mut Vec<Pending>) {
        let mut inner = self.inner.lock();
        proposals.retain(|pending| {
            let waiter = inner.waiting.get_mut(&pending.number);
            let waited_for = waiter.map(|waiter| waiter.sent = true).is_some();
            waited_for || !pending.awaited
        });
    }

    /// The proposals are certainly in nobody's log: they may be sent again.
    pub(super) fn unsend(&self, proposals: &[Pending]) {
        let mut inner = self.inner.lock();
        for pending in proposals {
            if let Some(waiter) = inner.waiting.get_mut(&pending.number) {
                waiter.sent = false;
            }
        }
    }

    /// Drops the proposals that nobody waits for any more.
    pub(super) fn keep_awaited(&self, proposals: &mut Vec<Pending>) {
        let inner = self.inner.lock();
        proposals.retain(|pending| !pending.awaited || inner.waiting.contains_key(&pending.number));
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

/// A proposal that waits for its turn.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) encoded: Bytes,
    /// Whether somebody waits for its reply. What this member proposes of itself is sent once.
    pub(super) awaited: bool,
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
