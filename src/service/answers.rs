//! The memory that large answers take: those that are being made, and those that their clients have not taken yet.
//!
//! Reads whose answers may be large take turns, and none begins while the large answers that are under way take up
//! [`MAX_BYTES`]. So a client that asks and never reads costs a bounded amount, however often it asks: what it does not
//! take is cut off once somebody else waits for the room.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};

use super::Error;

/// Smaller answers are not counted.
pub const LARGE_BYTES: usize = 32 * 1024;
/// With so much under way, no read begins whose answer may be large.
const MAX_BYTES: usize = 256 * 1024 * 1024;
/// The reads at once whose answers may be large: what they find comes on top.
const MAX_TURNS: usize = 8;
/// How often the answers under way are looked at, by whoever waits for room.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The answers under way that are known, from which on those that have ended are looked for.
const MIN_KNOWN: usize = 64;

/// A large answer that its client is to take.
pub trait Outstanding: Send + Sync {
    /// Lets go of what has not been taken, if the client is so slow that it has no right to the room any more.
    fn cut_off_if_slow(&self, now: Instant);
}

/// The large answers of a server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Answers(Arc<Inner>);

struct Inner {
    bytes: AtomicUsize,
    /// Told when there is room again.
    room: Notify,
    turns: Arc<Semaphore>,
    outstanding: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    answers: Vec<Weak<dyn Outstanding>>,
    /// With more than this, those that have ended are forgotten.
    limit: usize,
}

/// Leave to make one answer that may be large, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// The room that an answer takes up, until it is dropped.
#[derive(Debug)]
pub struct Held {
    answers: Answers,
    bytes: usize,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            room: Notify::new(),
            turns: Arc::new(Semaphore::new(MAX_TURNS)),
            outstanding: Mutex::default(),
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Answers {
    /// The bytes of the large answers that are under way.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Whether there is no room for another large answer.
    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= MAX_BYTES
    }

    /// Waits for a turn, and for room.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when there is none by the deadline.
    pub(super) async fn turn(&self, deadline: Instant) -> Result<Turn, Error> {
        let turn = async {
            // Nobody closes it.
            let permit = Arc::clone(&self.0.turns).acquire_owned().await.ok()?;
            while self.is_full() {
                let room = self.0.room.notified();
                self.cut_off_slow(Instant::now());
                if self.is_full() {
                    let _ = timeout(LOOK_EVERY, room).await;
                }
            }
            Some(Turn { _permit: permit })
        };
        timeout_at(deadline.into(), turn).await.ok().flatten().ok_or(Error::Overloaded(
            "answers that other clients have not read yet take up the memory that there is for large ones; try again shortly",
        ))
    }

    /// Takes up room, whether there is any or not: the answer has been made.
    #[must_use]
    pub fn hold(&self, bytes: usize) -> Held {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        Held { answers: self.clone(), bytes }
    }

    /// Makes an answer known that holds room, so that it can be cut off.
    pub fn know(&self, answer: Weak<dyn Outstanding>) {
        let mut known = self.0.outstanding.lock();
        known.answers.push(answer);
        if known.answers.len() > known.limit.max(MIN_KNOWN) {
            known.answers.retain(|answer| answer.strong_count() > 0);
            known.limit = known.answers.len() * 2;
        }
    }

    fn cut_off_slow(&self, now: Instant) {
        // What is cut off here gives its room back, and may be the last to go: neither under the lock.
        let known: Vec<_> = self.0.outstanding.lock().answers.iter().filter_map(Weak::upgrade).collect();
        for answer in known {
            answer.cut_off_if_slow(now);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let before = self.answers.0.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if before >= MAX_BYTES && before - self.bytes < MAX_BYTES {
            self.answers.0.room.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// An answer that holds room and is slow, or not.
    struct Answer {
        held: Mutex<Option<Held>>,
        slow: AtomicBool,
    }

    impl Answer {
        fn of(answers: &Answers, bytes: usize, slow: bool) -> Arc<Self> {
            let answer = Arc::new(Self { held: Mutex::new(Some(answers.hold(bytes))), slow: AtomicBool::new(slow) });
            let weak: Weak<Self> = Arc::downgrade(&answer);
            answers.know(weak);
            answer
        }
    }

    impl Outstanding for Answer {
        fn cut_off_if_slow(&self, _: Instant) {
            if self.slow.load(Ordering::Relaxed) {
                self.held.lock().take();
            }
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn with_room_turns_are_had_at_once_and_only_so_many_at_a_time() {
        let answers = Answers::default();
        let mut turns = Vec::new();
        for _ in 0..MAX_TURNS {
            turns.push(answers.turn(soon()).await.unwrap());
        }
        let one_more = answers.turn(Instant::now()).await;
        assert!(matches!(one_more, Err(Error::Overloaded(_))), "{one_more:?}");
        turns.pop();
        assert!(answers.turn(soon()).await.is_ok());
    }

    #[tokio::test]
    async fn a_turn_is_had_when_an_answer_has_been_taken() {
        let answers = Answers::default();
        let (large, small) = (answers.hold(MAX_BYTES), answers.hold(1));
        assert!(matches!(answers.turn(Instant::now()).await, Err(Error::Overloaded(_))));
        let waiting = tokio::spawn({
            let answers = answers.clone();
            async move { answers.turn(soon()).await.map(|_| answers.bytes()) }
        });
        while answers.0.turns.available_permits() == MAX_TURNS {
            tokio::task::yield_now().await;
        }
        drop(small);
        assert_eq!(answers.bytes(), MAX_BYTES);
        drop(large);
        assert_eq!(waiting.await.unwrap(), Ok(0));
    }

    #[tokio::test]
    async fn who_waits_for_room_has_slow_answers_cut_off_and_no_others() {
        let answers = Answers::default();
        let good = Answer::of(&answers, 1, false);
        let slow = Answer::of(&answers, MAX_BYTES, true);
        assert!(answers.turn(soon()).await.is_ok());
        assert!(slow.held.lock().is_none() && good.held.lock().is_some());
        assert_eq!(answers.bytes(), 1);
    }

    #[test]
    fn answers_that_have_ended_are_forgotten() {
        let answers = Answers::default();
        let kept: Vec<_> = (0..10).map(|_| Answer::of(&answers, 1, false)).collect();
        for _ in 0..10 * MIN_KNOWN {
            drop(Answer::of(&answers, 1, false));
        }
        assert!(answers.0.outstanding.lock().answers.len() <= MIN_KNOWN + 1);
        assert_eq!(answers.bytes(), kept.len());
    }
}
