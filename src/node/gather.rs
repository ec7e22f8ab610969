//! What gathers until its turn comes: proposals and reads.
//!
//! What a proposal costs besides its own work, turns of threads and a sync, it shares with those that go with it. So
//! proposals that can wait do so for a little where others of their kind have just gone; one that cannot takes them all
//! along.

use std::time::{Duration, Instant};

use super::runner::PendingRead;
use super::waiters::Pending;

/// So long after some that can wait have gone, others of their kind go.
pub(super) const COMPANY: Duration = Duration::from_millis(5);
/// So many wait no longer: what they share is then small beside what each costs by itself.
const MANY: usize = 16;

#[derive(Default)]
pub(super) struct Gathered {
    proposals: Vec<Pending>,
    proposal_bytes: usize,
    /// Whether one of the proposals cannot wait.
    in_hurry: bool,
    /// Until when proposals wait for company, if all of them can.
    company_until: Option<Instant>,
    /// When somebody will look whether they go.
    alarm: Option<Instant>,
    pub(super) reads: Vec<PendingRead>,
    /// The bytes at which the proposals go: who brings them to it takes the turn. `None`: not before another event.
    pub(super) proposals_go_at: Option<usize>,
    /// Whether the next read goes at once.
    pub(super) reads_may_go: bool,
    pub(super) stopped: bool,
}

impl Gathered {
    pub(super) fn push(&mut self, pending: Pending) {
        self.proposal_bytes += pending.encoded.len();
        self.in_hurry |= !pending.can_wait;
        self.proposals.push(pending);
    }

    /// Whether there are proposals, and they go where that many bytes do. The clock is only looked at where all of
    /// them can wait.
    pub(super) fn are_enough(&self, go_at: Option<usize>, now: impl FnOnce() -> Instant) -> bool {
        !self.proposals.is_empty()
            && go_at.is_some_and(|bytes| self.proposal_bytes >= bytes)
            && (self.in_hurry || self.proposals.len() >= MANY || self.company_until.is_none_or(|until| now() >= until))
    }

    /// When somebody has to look whether the proposals go, of whom there is none yet.
    pub(super) fn alarm(&mut self) -> Option<Instant> {
        if self.in_hurry || self.alarm == self.company_until {
            return None;
        }
        self.alarm = self.company_until;
        self.alarm
    }

    pub(super) fn take_proposals(&mut self, now: impl FnOnce() -> Instant) -> Vec<Pending> {
        if !self.in_hurry {
            self.company_until = Some(now() + COMPANY);
        }
        (self.in_hurry, self.proposal_bytes) = (false, 0);
        std::mem::take(&mut self.proposals)
    }

    /// Takes proposals that had their turn and come back from it. They have waited enough.
    pub(super) fn take_back(&mut self, returned: Vec<Pending>) {
        for pending in returned {
            self.push(Pending { can_wait: false, ..pending });
        }
    }

    /// Lets go of proposals.
    pub(super) fn sift(&mut self, keep: impl FnOnce(&mut Vec<Pending>)) {
        keep(&mut self.proposals);
        self.proposal_bytes = self.proposals.iter().map(|pending| pending.encoded.len()).sum();
        self.in_hurry = self.proposals.iter().any(|pending| !pending.can_wait);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn pending(number: u64, can_wait: bool) -> Pending {
        Pending { number, encoded: Bytes::from_static(&[0; 10]), change: None, can_wait, permit: None }
    }

    fn gathered(proposals: impl IntoIterator<Item = Pending>) -> Gathered {
        let mut gathered = Gathered::default();
        proposals.into_iter().for_each(|pending| gathered.push(pending));
        gathered
    }

    const NONE: [u64; 0] = [];

    /// What goes at a time, by number, wherever any number of bytes would.
    fn taken(gathered: &mut Gathered, now: Instant) -> Vec<u64> {
        if !gathered.are_enough(Some(0), || now) {
            return Vec::new();
        }
        gathered.take_proposals(|| now).iter().map(|pending| pending.number).collect()
    }

    #[test]
    fn proposals_go_from_the_bytes_on_that_they_go_at() {
        let now = Instant::now();
        assert!(!gathered([]).are_enough(Some(0), || now), "there are none");
        let mut gathered = gathered([pending(1, false), pending(2, true)]);
        assert!(!gathered.are_enough(None, || now));
        assert!(!gathered.are_enough(Some(21), || now));
        assert!(gathered.are_enough(Some(20), || now));
        assert_eq!(taken(&mut gathered, now), [1, 2]);
        assert_eq!(taken(&mut gathered, now), NONE);
    }

    #[test]
    fn what_can_wait_goes_at_once_and_after_that_together() {
        let (mut gathered, start) = (gathered([pending(1, true)]), Instant::now());
        assert_eq!(taken(&mut gathered, start), [1]);
        for number in 2..=4 {
            gathered.push(pending(number, true));
            assert_eq!(taken(&mut gathered, start + COMPANY / 2), NONE);
            assert_eq!(gathered.alarm(), (number == 2).then_some(start + COMPANY), "one looks for all");
        }
        let then = start + COMPANY;
        assert_eq!(taken(&mut gathered, then), [2, 3, 4]);
        gathered.push(pending(5, true));
        assert_eq!((taken(&mut gathered, then), gathered.alarm()), (vec![], Some(then + COMPANY)));
        assert_eq!(taken(&mut gathered, then + COMPANY), [5]);
        gathered.push(pending(6, true));
        assert_eq!(taken(&mut gathered, then + 2 * COMPANY), [6], "nothing has gone for long");
    }

    #[test]
    fn many_do_not_wait_for_more() {
        let (mut gathered, now) = (gathered([pending(0, true)]), Instant::now());
        assert_eq!(taken(&mut gathered, now), [0]);
        let many = MANY as u64;
        (1..many).for_each(|number| gathered.push(pending(number, true)));
        assert_eq!(taken(&mut gathered, now), NONE);
        gathered.push(pending(many, true));
        assert_eq!(taken(&mut gathered, now), (1..=many).collect::<Vec<_>>());
    }

    #[test]
    fn what_cannot_wait_takes_along_what_can() {
        let (mut gathered, start) = (gathered([pending(1, true)]), Instant::now());
        assert_eq!(taken(&mut gathered, start), [1]);
        gathered.push(pending(2, true));
        assert_eq!(gathered.alarm(), Some(start + COMPANY));
        gathered.push(pending(3, false));
        assert_eq!((taken(&mut gathered, start), gathered.alarm()), (vec![2, 3], None));
        gathered.push(pending(4, true));
        assert_eq!(taken(&mut gathered, start), NONE, "somebody will look already");
        assert_eq!(gathered.alarm(), None);
        assert_eq!(taken(&mut gathered, start + COMPANY), [4]);
    }

    #[test]
    fn what_comes_back_has_waited_enough() {
        let (mut gathered, start) = (gathered([pending(1, true), pending(2, true)]), Instant::now());
        let proposals = gathered.take_proposals(|| start);
        gathered.take_back(proposals);
        gathered.sift(|proposals| proposals.retain(|pending| pending.number == 2));
        assert!(!gathered.are_enough(Some(11), || start), "what was let go of does not count");
        assert_eq!(taken(&mut gathered, start), [2]);
    }
}
