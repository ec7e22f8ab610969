//! The memory that large answers take: those that are being made, and those that their clients have not taken yet.
//!
//! Reads of which it is not known beforehand how much they find take turns. What is found to be large while the large answers under
//! way take up [`MAX_BYTES`] is let go of, and read again once there is room. So a client that asks and never reads costs a
//! bounded amount, however often it asks, and nobody whose answer is small waits for it: what it does not take is cut off once
//! somebody else waits for the room.

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};

use super::Error;
use crate::observe::metrics::Counter;

/// Smaller answers are not counted.
pub const LARGE_BYTES: usize = 32 * 1024;
/// With so much under way, no other large answer is made.
const MAX_BYTES: usize = 256 * 1024 * 1024;
/// The turns for each processor: what is found in them comes on top. More at once would be no faster.
const TURNS_PER_PROCESSOR: usize = 4;
/// How often the answers under way are looked at, by whoever waits for room.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The answers under way that are known, from which on those that have ended are looked for.
const MIN_KNOWN: usize = 64;

/// A large answer that its client is to take.
pub trait Outstanding: Send + Sync {
    /// Lets go of what has not been taken, if the client is so slow that it has no right to the room any more. Whether it did.
    fn cut_off_if_slow(&self, now: Instant) -> bool;
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
    /// How many were cut off.
    cut_off: Counter,
}

#[derive(Default)]
struct Known {
    answers: Vec<Weak<dyn Outstanding>>,
    /// With more than this, those that have ended are forgotten.
    limit: usize,
    /// When those that are too slow were last looked for.
    looked: Option<Instant>,
}

/// Leave to read, and to make an answer of what is found, until it is dropped.
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
            turns: Arc::new(Semaphore::new(max_turns())),
            outstanding: Mutex::default(),
            cut_off: Counter::default(),
        }
    }
}

fn max_turns() -> usize {
    TURNS_PER_PROCESSOR * thread::available_parallelism().map_or(1, NonZero::get)
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Answers {
    /// None yet. Counts those that are cut off.
    #[must_use]
    pub fn new(cut_off: Counter) -> Self {
        Self(Arc::new(Inner { cut_off, ..Inner::default() }))
    }

    /// The bytes of the large answers that are under way.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Whether there is no room for another large answer.
    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= MAX_BYTES
    }

    /// Whether an answer of so many bytes may be made as things are.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        bytes < LARGE_BYTES || !self.is_full()
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when there is none by the deadline.
    pub(super) async fn turn(&self, deadline: Instant) -> Result<Turn, Error> {
        let permit = timeout_at(deadline.into(), Arc::clone(&self.0.turns).acquire_owned()).await;
        // Nobody closes it.
        let permit = permit.ok().and_then(Result::ok);
        permit
            .map(|permit| Turn { _permit: permit })
            .ok_or(Error::Overloaded("others are being read for; try again shortly"))
    }

    /// Waits for room, and for a turn while there is some.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when there is none by the deadline.
    pub(super) async fn turn_with_room(&self, deadline: Instant) -> Result<Turn, Error> {
        loop {
            timeout_at(deadline.into(), self.room()).await.map_err(|_| {
                Error::Overloaded(
                    "answers that other clients have not read yet take up the memory that there is for large ones; try again shortly",
                )
            })?;
            let turn = self.turn(deadline).await?;
            if !self.is_full() {
                return Ok(turn);
            }
        }
    }

    async fn room(&self) {
        while self.is_full() {
            let room = self.0.room.notified();
            self.cut_off_slow(Instant::now());
            if self.is_full() {
                let _ = timeout(LOOK_EVERY, room).await;
            }
        }
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

    /// Cuts off what is too slow, unless another has just done so.
    fn cut_off_slow(&self, now: Instant) {
        let mut known = self.0.outstanding.lock();
        if known.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK_EVERY) {
            return;
        }
        known.looked = Some(now);
        // What is cut off gives its room back, and may be the last to go: neither under the lock.
        let answers: Vec<_> = known.answers.iter().filter_map(Weak::upgrade).collect();
        drop(known);
        for answer in answers {
            if answer.cut_off_if_slow(now) {
                self.0.cut_off.inc();
            }
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

    use futures_util::FutureExt as _;

    use super::*;
    use crate::model::{Attach, Command, Condition, Key, KeyRange, Put, RangeQuery};
    use crate::service::alone::{Alone, call};
    use crate::service::{Call, Consistency};

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
        fn cut_off_if_slow(&self, _: Instant) -> bool {
            self.slow.load(Ordering::Relaxed) && self.held.lock().take().is_some()
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn there_are_only_so_many_turns_at_a_time() {
        let answers = Answers::default();
        let mut turns = Vec::new();
        for _ in 0..max_turns() {
            turns.push(answers.turn(soon()).await.unwrap());
        }
        let one_more = answers.turn(Instant::now()).await;
        assert!(matches!(one_more, Err(Error::Overloaded(_))), "{one_more:?}");
        turns.pop();
        assert!(answers.turn(soon()).await.is_ok());
    }

    #[tokio::test]
    async fn room_is_had_when_an_answer_has_been_taken_and_a_turn_without_room_at_once() {
        let answers = Answers::default();
        let (large, small) = (answers.hold(MAX_BYTES), answers.hold(1));
        assert!(answers.turn(soon()).await.is_ok());
        assert!(matches!(answers.turn_with_room(Instant::now()).await, Err(Error::Overloaded(_))));
        let mut waiting = Box::pin(answers.turn_with_room(soon()));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(small);
        assert!(waiting.as_mut().now_or_never().is_none(), "not a byte is left");
        drop(large);
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_for_room_has_slow_answers_cut_off_and_no_others() {
        let answers = Answers::default();
        let good = Answer::of(&answers, 1, false);
        let slow = Answer::of(&answers, MAX_BYTES, true);
        assert!(answers.turn_with_room(soon()).await.is_ok());
        assert!(slow.held.lock().is_none() && good.held.lock().is_some());
        assert_eq!((answers.bytes(), answers.0.cut_off.get()), (1, 1));
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

    #[tokio::test]
    async fn where_there_is_no_room_what_is_small_is_answered_and_what_is_large_waits() {
        let alone = Alone::start();
        alone.set("/a/small", "1").await;
        alone.set("/b/large", vec![b'x'; LARGE_BYTES]).await;
        let held = alone.service.answers().hold(MAX_BYTES);
        let hurried = Call::new(Instant::now());
        let read = async |call: &Call, query: RangeQuery| {
            alone.service.reader(call, Consistency::Serializable).await?.range(query).await
        };
        let (small, large) = (KeyRange::prefix("/a/"), KeyRange::prefix("/b/"));
        let everything = RangeQuery::all(KeyRange::prefix("/"));
        assert_eq!(read(&call(), RangeQuery::all(small)).await.unwrap().items.len(), 1);
        assert_eq!(read(&call(), RangeQuery { count_only: true, ..everything.clone() }).await.unwrap().count, 2);
        let (small, large) = (KeyRange::single(&key("/a/small")), [large, KeyRange::single(&key("/b/large"))]);
        assert_eq!(read(&call(), RangeQuery::all(small)).await.unwrap().items.len(), 1);
        for large in large {
            let refused = read(&hurried, RangeQuery::all(large)).await;
            assert!(matches!(refused, Err(Error::Overloaded(_))), "{refused:?}");
        }

        let put = |at: &str, previous| {
            let put =
                Put { key: key(at), value: Some("2".into()), content_type: None, attach: Attach::Detach, previous };
            Command::Put { put, condition: Condition::default() }
        };
        alone.write(put("/a/small", true)).await;
        let refused = alone.service.write(&hurried, put("/b/large", true)).await;
        assert!(matches!(refused, Err(Error::Overloaded(_))), "{refused:?}");
        assert_eq!(alone.service.answers().0.turns.available_permits(), max_turns(), "who waits for room has no turn");

        drop(held);
        let found = read(&call(), everything).await.unwrap().items;
        assert_eq!(found[1].record.value.len(), LARGE_BYTES, "what was refused is not carried out");
        alone.write(put("/b/large", true)).await;
    }

    fn key(name: &str) -> Key {
        Key::new(name.to_owned()).unwrap()
    }
}
