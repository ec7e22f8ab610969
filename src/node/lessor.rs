//! When leases run out, by this member's monotonic clock.
//!
//! Every member arms a deadline when it applies a grant or renewal. The deadline only ever leads to a proposal to
//! expire the lease, which the state machine refuses when the lease was renewed meanwhile: a wrong deadline here
//! can make an expiry late, never early. Wall-clock time plays no part.
//!
//! A member that was away arms late what it missed. What the leader records of a lease's time brings its deadline forward, so
//! that it ends no lease much later than the leader would have, should it lead.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::machine::LeaseChange;
use crate::model::{Lease, LeaseCheckpoint, LeaseId, Ttl};

/// How long to wait before proposing an expiry again that has not been applied.
const RETRY: Duration = Duration::from_secs(1);
/// A deadline this far away is never reached; keeps `Instant` arithmetic within range.
const FAR: Duration = Duration::from_hours(1000 * 365 * 24);

#[derive(Debug, Default)]
pub(super) struct Lessor {
    armed: HashMap<LeaseId, Armed>,
    /// When to look at which lease next.
    due: BTreeSet<(Instant, LeaseId)>,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    /// When the lease has run out.
    deadline: Instant,
    /// The entry in `due`: the deadline, or later when an expiry is under way.
    due: Instant,
    renewals: u64,
    /// What the replicated state holds as remaining, to checkpoint only what has changed much.
    recorded: Duration,
}

/// A lease that has run out, as an expiry names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) id: LeaseId,
    pub(super) renewals: u64,
}

/// Whether the leases that have run out may be ended. Not for a while after this member began to lead, or stood still: renewals that
/// could not be made meanwhile, or heard, are still to come.
#[derive(Debug)]
pub(super) struct Patience {
    last_tick: Instant,
    until: Instant,
    /// Whether it was given because this member stood still.
    stood_still: bool,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self { last_tick: now, until: now, stood_still: false }
    }

    /// Follows the ticks. One that comes late by `limit` gives renewals as much time to be heard.
    pub(super) fn tick(&mut self, now: Instant, limit: Duration) {
        let stood_still = now.duration_since(self.last_tick) >= limit;
        // For that not again before leases could end: where every tick is late, none would.
        if stood_still && (!self.stood_still || self.until <= self.last_tick) {
            (self.until, self.stood_still) = (now + limit, true);
        }
        self.last_tick = now;
    }

    /// This member leads from now on.
    pub(super) fn lead(&mut self, now: Instant, limit: Duration) {
        (self.until, self.stood_still) = (now + limit, false);
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }
}

impl Lessor {
    /// Deadlines for the leases that a state holds.
    pub(super) fn armed<'a>(leases: impl Iterator<Item = &'a Lease>, now: Instant) -> Self {
        let mut lessor = Self::default();
        for lease in leases {
            lessor.arm(lease.id, lease.remaining, lease.renewals, now);
        }
        lessor
    }

    /// Deadlines for the leases that another state holds, which takes the place of the one so far. What is known better of a
    /// renewal stays known.
    pub(super) fn replace<'a>(&mut self, leases: impl Iterator<Item = &'a Lease>, now: Instant) {
        let known = std::mem::replace(self, Self::armed(leases, now));
        for (id, old) in known.armed {
            self.bring_forward(id, old.renewals, old.deadline);
        }
    }

    /// Follows what was applied.
    pub(super) fn apply(&mut self, change: &LeaseChange, now: Instant) {
        match *change {
            LeaseChange::Armed { id, remaining, renewals } => self.arm(id, remaining, renewals, now),
            LeaseChange::Recorded { id, remaining, renewals } => self.record(id, remaining, renewals, now),
            LeaseChange::Gone { id } => {
                if let Some(armed) = self.armed.remove(&id) {
                    self.due.remove(&(armed.due, id));
                }
            }
        }
    }

    fn arm(&mut self, id: LeaseId, remaining: Ttl, renewals: u64, now: Instant) {
        let recorded = Duration::from_millis(remaining.get()).min(FAR);
        let deadline = now + recorded;
        if let Some(old) = self.armed.insert(id, Armed { deadline, due: deadline, renewals, recorded }) {
            self.due.remove(&(old.due, id));
        }
        self.due.insert((deadline, id));
    }

    /// Some time has passed between the leader's look at the lease and this: what was left is too much now, never too little.
    fn record(&mut self, id: LeaseId, remaining: Ttl, renewals: u64, now: Instant) {
        let Some(armed) = self.armed.get_mut(&id).filter(|armed| armed.renewals == renewals) else { return };
        armed.recorded = Duration::from_millis(remaining.get()).min(FAR);
        let deadline = now + armed.recorded;
        self.bring_forward(id, renewals, deadline);
    }

    fn bring_forward(&mut self, id: LeaseId, renewals: u64, deadline: Instant) {
        let Some(armed) = self.armed.get_mut(&id).filter(|armed| armed.renewals == renewals) else { return };
        if deadline < armed.deadline {
            self.due.remove(&(armed.due, id));
            (armed.deadline, armed.due) = (deadline, deadline);
            self.due.insert((deadline, id));
        }
    }

    /// The leases that have run out, at most `limit`, each reported again only after a while.
    pub(super) fn expired(&mut self, now: Instant, limit: usize) -> Vec<Expired> {
        let ids: Vec<(Instant, LeaseId)> =
            self.due.iter().take_while(|(due, _)| *due <= now).take(limit).copied().collect();
        let mut expired = Vec::with_capacity(ids.len());
        for (due, id) in ids {
            self.due.remove(&(due, id));
            if let Some(armed) = self.armed.get_mut(&id) {
                armed.due = now + RETRY;
                self.due.insert((armed.due, id));
                expired.push(Expired { id, renewals: armed.renewals });
            }
        }
        expired
    }

    /// What is left of a lease; `None` when there is no such lease.
    pub(super) fn remaining(&self, id: LeaseId, now: Instant) -> Option<Ttl> {
        Some(Ttl::from_duration(self.deadline(id)?.saturating_duration_since(now)))
    }

    /// When a lease ends; `None` when there is no such lease.
    pub(super) fn deadline(&self, id: LeaseId) -> Option<Instant> {
        self.armed.get(&id).map(|armed| armed.deadline)
    }

    /// The number of leases.
    pub(super) fn len(&self) -> usize {
        self.armed.len()
    }

    /// What is left of the leases of which at least `step` has passed since it was last recorded.
    pub(super) fn checkpoints(&self, now: Instant, step: Duration) -> Vec<LeaseCheckpoint> {
        let mut checkpoints: Vec<LeaseCheckpoint> = self
            .armed
            .iter()
            .filter_map(|(id, armed)| {
                let left = armed.deadline.saturating_duration_since(now);
                let due = armed.recorded.saturating_sub(left) >= step && !left.is_zero();
                let remaining = Ttl::from_duration(left);
                due.then_some(LeaseCheckpoint { id: *id, remaining, renewals: armed.renewals })
            })
            .collect();
        checkpoints.sort_by_key(|checkpoint| checkpoint.id);
        checkpoints
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn armed(id: u64, ms: u64, renewals: u64) -> LeaseChange {
        LeaseChange::Armed { id: LeaseId(id), remaining: Ttl(ms), renewals }
    }

    #[test]
    fn what_is_left_of_the_longest_lease_is_all_of_it() {
        let start = Instant::now();
        let mut lessor = Lessor::default();
        let longest = Ttl(9_000_000_000_000);
        lessor.apply(&armed(7, longest.get(), 1), start);
        assert_eq!(lessor.remaining(LeaseId(7), start), Some(longest));
        // Nor does what nobody could wait for end the process.
        lessor.apply(&armed(8, u64::MAX, 1), start);
        assert!(lessor.remaining(LeaseId(8), start) > Some(longest));
    }

    #[test]
    fn a_lease_is_reported_once_its_time_has_passed_and_again_only_after_a_while() {
        let start = Instant::now();
        let mut lessor = Lessor::default();
        lessor.apply(&armed(7, 1000, 1), start);
        assert!(lessor.expired(start + Duration::from_millis(999), 10).is_empty());
        let late = start + Duration::from_secs(1);
        assert_eq!(lessor.expired(late, 10), [Expired { id: LeaseId(7), renewals: 1 }]);
        assert!(lessor.expired(late + RETRY / 2, 10).is_empty());
        assert_eq!(lessor.expired(late + RETRY, 10).len(), 1);
        lessor.apply(&LeaseChange::Gone { id: LeaseId(7) }, late);
        assert!(lessor.due.is_empty());
        assert_eq!(lessor.len(), 0);
    }

    #[test]
    fn a_renewal_moves_the_deadline() {
        let start = Instant::now();
        let mut lessor = Lessor::default();
        lessor.apply(&armed(7, 1000, 1), start);
        lessor.apply(&armed(7, 1000, 2), start + Duration::from_millis(900));
        assert!(lessor.expired(start + Duration::from_millis(1500), 10).is_empty());
        assert_eq!(lessor.remaining(LeaseId(7), start + Duration::from_millis(1500)), Some(Ttl(400)));
        assert_eq!(lessor.expired(start + Duration::from_millis(1900), 10), [Expired { id: LeaseId(7), renewals: 2 }]);
    }

    #[test]
    fn what_the_leader_recorded_brings_a_deadline_forward_and_never_puts_it_off() {
        let start = Instant::now();
        let mut lessor = Lessor::default();
        let recorded = |ms, renewals| LeaseChange::Recorded { id: LeaseId(7), remaining: Ttl(ms), renewals };
        lessor.apply(&armed(7, 1000, 2), start);
        lessor.apply(&recorded(100, 1), start);
        lessor.apply(&recorded(900, 2), start + Duration::from_millis(500));
        assert_eq!(lessor.remaining(LeaseId(7), start), Some(Ttl(1000)));
        lessor.apply(&recorded(200, 2), start + Duration::from_millis(600));
        assert_eq!(lessor.remaining(LeaseId(7), start), Some(Ttl(800)));
        assert!(lessor.expired(start + Duration::from_millis(799), 10).is_empty());
        assert_eq!(lessor.expired(start + Duration::from_millis(800), 10).len(), 1);
        assert_eq!(lessor.due.len(), 1);
    }

    #[test]
    fn another_state_puts_off_no_deadline_of_a_renewal_that_was_known() {
        let start = Instant::now();
        let mut lessor = Lessor::default();
        for (id, renewals) in [(1, 1), (2, 1), (3, 1)] {
            lessor.apply(&armed(id, 1000, renewals), start);
        }
        let lease = |id, renewals| Lease {
            id: LeaseId(id),
            ttl: Ttl(1000),
            remaining: Ttl(1000),
            renewals,
            expires: Timestamp::ZERO,
            own: false,
        };
        let now = start + Duration::from_millis(600);
        lessor.replace([lease(1, 1), lease(2, 2), lease(4, 1)].iter(), now);
        let left = |id| lessor.remaining(LeaseId(id), now).map(Ttl::get);
        assert_eq!([1, 2, 3, 4].map(left), [Some(400), Some(1000), None, Some(1000)]);
        assert_eq!(lessor.due.len(), 3);
    }

    #[test]
    fn who_begins_to_lead_ends_no_lease_for_a_while() {
        let (start, limit) = (Instant::now(), Duration::from_secs(1));
        let mut patience = Patience::new(start);
        patience.lead(start, limit);
        assert!(!patience.is_over(start + Duration::from_millis(999)) && patience.is_over(start + limit));
        // It stands still before that is over.
        let late = start + 3 * limit;
        patience.tick(late, limit);
        assert!(!patience.is_over(late) && patience.is_over(late + limit));
    }

    #[test]
    fn who_stood_still_ends_no_lease_for_a_while_and_does_where_every_tick_is_late() {
        let (start, limit) = (Instant::now(), Duration::from_secs(1));
        let mut patience = Patience::new(start);
        let mut over_at = |ms| {
            let now = start + Duration::from_millis(ms);
            patience.tick(now, limit);
            patience.is_over(now)
        };
        assert!(over_at(100) && over_at(1_099));
        assert!(!over_at(5_000) && !over_at(5_999) && over_at(6_000) && over_at(6_100));
        assert!(!over_at(10_000) && over_at(12_000) && !over_at(14_000) && over_at(16_000));
    }

    #[test]
    fn only_leases_that_moved_much_are_checkpointed() {
        let start = Instant::now();
        let mut lessor = Lessor::default();
        lessor.apply(&armed(1, 100_000, 1), start);
        lessor.apply(&armed(2, 5_000, 1), start);
        let now = start + Duration::from_secs(30);
        let checkpoints = lessor.checkpoints(now, Duration::from_secs(30));
        assert_eq!(checkpoints, [LeaseCheckpoint { id: LeaseId(1), remaining: Ttl(70_000), renewals: 1 }]);
        assert_eq!(lessor.checkpoints(now, Duration::from_secs(30)), checkpoints, "what is lost is proposed again");
        lessor.apply(&LeaseChange::Recorded { id: LeaseId(1), remaining: Ttl(70_000), renewals: 1 }, now);
        assert!(lessor.checkpoints(now + Duration::from_secs(29), Duration::from_secs(30)).is_empty());
        assert_eq!(lessor.checkpoints(now + Duration::from_secs(30), Duration::from_secs(30)).len(), 1);
    }
}
