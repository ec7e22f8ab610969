//! The state machine's clock: time as the leaders' stamps tell it, alike on every replica.
//!
//! It never goes back, never stands still while stamps move, and does not follow a stamp far into the future at
//! first sight. The rules, with `stamp` the time on an entry and `now` the clock:
//!
//! - A stamp that is ahead by no more than [`limits::MAX_CLOCK_JUMP_MS`] sets the clock.
//! - So does the first stamp of a term, however far ahead, and the first of all: a new term means that the log may
//!   have stood still for any time (a member alone that was off for a week).
//! - A stamp further ahead within a term is clamped: the clock goes on at the pace of the stamps, without the jump,
//!   until they have kept to it for [`limits::CLOCK_CONFIRM_MS`]. A clock set wrong and right again leaves no
//!   trace; one that stays is believed.
//! - While stamps are behind the clock (an earlier leader was ahead), it moves at half their pace, so that whoever was
//!   ahead, windows of time still end.
//!
//! A leader that has nothing to propose for long proposes a `Noop` now and then, well within the bound: then the first
//! write after a quiet night carries the right time.
//!
//! What depends on it: the times that history shows, how long answers are kept, and the dates that leases show. When a lease ends does
//! not.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::model::{Term, Timestamp, limits};

/// The clock, and what it needs to read the next stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub(super) struct Clock {
    now: Timestamp,
    term: Term,
    /// Where the clock left the stamps; `None` while it follows them.
    apart: Option<Apart>,
}

/// A time at which stamp and clock differed: the clock goes on from here by the stamps' progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Apart {
    stamp: Timestamp,
    clock: Timestamp,
}

impl Clock {
    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Reads the stamp of an entry. Whether it was clamped.
    pub(super) fn read(&mut self, term: Term, stamp: Timestamp) -> bool {
        let first_of_term = term != self.term;
        self.term = term;
        let ahead = stamp.get().saturating_sub(self.now.get());
        if stamp < self.now {
            self.trail(stamp);
            return false;
        }
        if ahead <= limits::MAX_CLOCK_JUMP_MS || first_of_term || self.now == Timestamp::ZERO {
            self.follow(stamp);
            return false;
        }
        self.clamp(stamp)
    }

    fn follow(&mut self, stamp: Timestamp) {
        self.now = stamp;
        self.apart = None;
    }

    /// The stamp is behind: goes on at half the pace of the stamps.
    fn trail(&mut self, stamp: Timestamp) {
        let progress = self.progress(stamp, |apart| apart.clock >= apart.stamp);
        self.advance(progress / 2);
    }

    /// The stamp is far ahead: goes on at its pace, until it has lasted.
    fn clamp(&mut self, stamp: Timestamp) -> bool {
        let progress = self.progress(stamp, |apart| apart.clock < apart.stamp);
        if progress >= limits::CLOCK_CONFIRM_MS {
            self.follow(stamp);
            return false;
        }
        self.advance(progress);
        true
    }

    /// How far the stamps have come since they and the clock parted on this side; parts them here if they had not.
    fn progress(&mut self, stamp: Timestamp, same_side: impl Fn(&Apart) -> bool) -> u64 {
        match self.apart {
            Some(apart) if same_side(&apart) && stamp >= apart.stamp => stamp.get() - apart.stamp.get(),
            _ => {
                self.apart = Some(Apart { stamp, clock: self.now });
                0
            }
        }
    }

    fn advance(&mut self, progress: u64) {
        if let Some(apart) = self.apart {
            self.now = self.now.max(Timestamp(apart.clock.get() + progress));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;
    const START: u64 = 1_800_000_000_000;

    fn started() -> Clock {
        let mut clock = Clock::default();
        assert!(!clock.read(Term(1), Timestamp(START)));
        clock
    }

    #[test]
    fn the_clock_follows_stamps_and_never_goes_back() {
        let mut clock = started();
        assert_eq!(clock.now(), Timestamp(START));
        clock.read(Term(1), Timestamp(START + 5));
        clock.read(Term(1), Timestamp(START + 3));
        assert_eq!(clock.now(), Timestamp(START + 5));
        assert!(!clock.read(Term(1), Timestamp(START + 5 + HOUR)));
        assert_eq!(clock.now(), Timestamp(START + 5 + HOUR));
    }

    #[test]
    fn a_week_off_is_believed_with_the_first_stamp_of_the_new_term() {
        let mut clock = started();
        assert!(!clock.read(Term(2), Timestamp(START + 168 * HOUR)));
        assert_eq!(clock.now(), Timestamp(START + 168 * HOUR));
    }

    #[test]
    fn a_jump_within_a_term_is_clamped_and_leaves_no_trace_once_it_is_undone() {
        let mut clock = started();
        assert!(clock.read(Term(1), Timestamp(START + 1000 * HOUR)));
        assert_eq!(clock.now(), Timestamp(START));
        assert!(clock.read(Term(1), Timestamp(START + 1000 * HOUR + 40)));
        assert_eq!(clock.now(), Timestamp(START + 40));
        assert!(!clock.read(Term(1), Timestamp(START + 90)));
        assert_eq!(clock.now(), Timestamp(START + 90));
    }

    #[test]
    fn a_jump_that_lasts_is_believed() {
        let mut clock = started();
        let far = START + 10 * HOUR;
        assert!(clock.read(Term(1), Timestamp(far)));
        assert!(clock.read(Term(1), Timestamp(far + limits::CLOCK_CONFIRM_MS - 1)));
        assert!(!clock.read(Term(1), Timestamp(far + limits::CLOCK_CONFIRM_MS)));
        assert_eq!(clock.now(), Timestamp(far + limits::CLOCK_CONFIRM_MS));
    }

    #[test]
    fn a_log_that_is_written_once_in_hours_is_believed_from_the_second_stamp_on() {
        let mut clock = started();
        assert!(clock.read(Term(1), Timestamp(START + 10 * HOUR)));
        assert!(!clock.read(Term(1), Timestamp(START + 20 * HOUR)));
        assert_eq!(clock.now(), Timestamp(START + 20 * HOUR));
    }

    #[test]
    fn a_clock_that_is_ahead_of_every_stamp_still_moves() {
        let mut clock = started();
        clock.read(Term(2), Timestamp(START + 1000 * HOUR));
        clock.read(Term(3), Timestamp(START + 10));
        for millisecond in 0..=2000 {
            clock.read(Term(3), Timestamp(START + 10 + millisecond));
        }
        assert_eq!(clock.now(), Timestamp(START + 1000 * HOUR + 1000));
    }
}
