//! Claims about one watch at a member that is alone: what it keeps of the store, and what ends it.

use std::task::Waker;

use tokio::sync::Semaphore;

use super::*;
use crate::model::Command;
use crate::model::limits::{MAX_WATCH_READS, WATCH_BACKLOG_EVENTS};
use crate::service::Consistency;
use crate::service::alone::{Alone, call};

/// A value of which a few make a piece of history.
fn large() -> Vec<u8> {
    vec![b'v'; TAKE_BYTES / 2]
}

impl Alone {
    async fn watch(&self, start: Start, on_compacted: OnCompacted) -> WatchStream {
        let (range, children_of) = (KeyRange::prefix(""), None);
        let request = WatchRequest { range, children_of, kinds: vec![], start, on_compacted, progress_every: None };
        self.service.watch(&call(), request).await.unwrap()
    }

    /// Whether the newest state is kept though there is another.
    async fn keeps_latest(&self) -> bool {
        let latest = Arc::downgrade(&self.service.0.node.latest());
        self.set("other", "v").await;
        let deadline = Instant::now() + Duration::from_secs(5);
        // The member itself may be looking at it.
        while latest.upgrade().is_some() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        latest.upgrade().is_some()
    }
}

/// The revisions that a piece tells of.
fn revisions(item: Option<WatchItem>) -> Vec<u64> {
    let Some(WatchItem::Events(events)) = item else { panic!("no events: {item:?}") };
    events.iter().map(|(event, _)| event.revision.get()).collect()
}

#[tokio::test]
async fn a_replay_holds_no_state_from_piece_to_piece_and_misses_nothing() {
    let alone = Alone::start();
    for _ in 0..6 {
        alone.set("a", large()).await;
    }
    let mut watch = alone.watch(Start::After(Revision::FIRST), OnCompacted::End).await;
    assert!(!alone.keeps_latest().await, "before the first piece");
    let mut seen = revisions(watch.next().await);
    assert!(seen.len() < 6, "all of it was one piece");
    assert!(!alone.keeps_latest().await, "between two pieces");
    let last = alone.set("a", "v").await;
    while seen.last() < Some(&last.get()) {
        seen.extend(revisions(watch.next().await));
    }
    assert_eq!(seen, (2..=last.get()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_replay_whose_next_revision_was_compacted_meanwhile_says_so() {
    let alone = Alone::start();
    for _ in 0..6 {
        alone.set("a", large()).await;
    }
    let mut ends = alone.watch(Start::After(Revision::FIRST), OnCompacted::End).await;
    let mut resets = alone.watch(Start::After(Revision::FIRST), OnCompacted::Reset).await;
    let seen = revisions(ends.next().await);
    assert_eq!(revisions(resets.next().await), seen);
    // What comes next is still there.
    let next = Revision(seen.last().unwrap() + 1);
    alone.write(Command::Compact(next)).await;
    assert_eq!(revisions(ends.next().await).first(), Some(&next.get()));
    alone.write(Command::Compact(Revision(7))).await;
    let ended = ends.next().await;
    assert!(matches!(ended, Some(WatchItem::Compacted { compact_revision: Revision(7) })), "{ended:?}");
    assert!(ends.next().await.is_none());
    assert!(matches!(resets.next().await, Some(WatchItem::Reset)));
    assert!(matches!(resets.next().await, Some(WatchItem::State(items)) if items.len() == 1));
    assert!(matches!(resets.next().await, Some(WatchItem::Synced(Revision(7)))));
}

/// What a watch with the present state gives up to its end, the first page before and the others after `between`.
async fn state_around(
    alone: &Alone,
    directory: Option<&str>,
    between: impl AsyncFnOnce(&WatchStream),
) -> Vec<KeyValue> {
    let mut watch = alone.watch(Start::Initial, OnCompacted::End).await;
    watch.children_of = directory.map(|directory| Key::new(directory.to_owned()).unwrap());
    let Some(WatchItem::State(mut all)) = watch.next().await else { panic!("no state") };
    between(&watch).await;
    loop {
        match watch.next().await {
            Some(WatchItem::State(more)) => all.extend(more),
            Some(WatchItem::Synced(_)) => return all,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_state_that_is_read_slowly_is_let_go_and_is_the_same_to_the_end() {
    let alone = Alone::start();
    let count = usize::try_from(STATE_PIECE).unwrap() + 50;
    for number in 0..count {
        alone.set(&format!("d/k{number:04}"), "v").await;
    }
    for directory in [None, Some("d/")] {
        let plain = state_around(&alone, directory, async |_| ()).await;
        assert_eq!(plain.len(), count);
        let slow = async |watch: &WatchStream| {
            let Phase::State { state, .. } = &watch.phase else { panic!("all was one page") };
            *state.kept.state.lock() = None;
            assert!(!alone.keeps_latest().await);
            alone.set(&format!("d/k{:04}", count - 1), "new").await;
        };
        assert_eq!(state_around(&alone, directory, slow).await, plain);
    }
}

#[tokio::test]
async fn a_state_that_is_compacted_before_it_was_read_ends_the_watch() {
    let alone = Alone::start();
    for number in 0..=STATE_PIECE {
        alone.set(&format!("k{number:04}"), "v").await;
    }
    let mut watch = alone.watch(Start::Initial, OnCompacted::End).await;
    assert!(matches!(watch.next().await, Some(WatchItem::State(_))));
    let Phase::State { state, .. } = &watch.phase else { panic!("all was one page") };
    *state.kept.state.lock() = None;
    let last = alone.set("a", "v").await;
    alone.write(Command::Compact(last)).await;
    let ended = watch.next().await;
    assert!(matches!(ended, Some(WatchItem::Compacted { compact_revision }) if compact_revision == last), "{ended:?}");
}

/// Looks once, with nobody to wake.
fn look(watch: &mut WatchStream) -> Poll<Option<WatchItem>> {
    watch.poll_next(&Context::from_waker(Waker::noop()))
}

/// What a stream gives once it is there.
async fn got(watch: &mut WatchStream) -> Option<WatchItem> {
    tokio::time::timeout(Duration::from_secs(20), poll_fn(|context| watch.poll_next(context)))
        .await
        .expect("nothing comes")
}

#[test]
fn history_and_states_are_read_on_threads_that_may_block_and_in_turn_where_streams_share_a_permit() {
    let one_thread =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    one_thread.block_on(async {
        let alone = Alone::start();
        alone.set("a", "v").await;
        let may_read = PollSemaphore::new(Arc::new(Semaphore::new(1)));
        let mut past = alone.watch(Start::After(Revision::FIRST), OnCompacted::End).await.in_turn(&may_read);
        let mut present = alone.watch(Start::Initial, OnCompacted::End).await.in_turn(&may_read);
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let occupied = spawn_blocking(move || wait.recv());
        assert!(look(&mut past).is_pending() && look(&mut present).is_pending());
        assert!(past.reading.is_some(), "it does not read");
        assert!(present.reading.is_none(), "it reads though another does");
        release.send(()).unwrap();
        occupied.await.unwrap().unwrap();
        while past.reading.as_ref().is_some_and(|reading| !reading.is_finished()) {
            tokio::task::yield_now().await;
        }
        assert!(look(&mut present).is_pending(), "what another has read is not given out yet");
        assert_eq!(revisions(got(&mut past).await), [2]);
        assert!(matches!(got(&mut present).await, Some(WatchItem::State(items)) if items.len() == 1));
        // One that ends while it reads leaves its turn to the next one.
        let mut goes = alone.watch(Start::After(Revision::FIRST), OnCompacted::End).await.in_turn(&may_read);
        let mut comes = alone.watch(Start::After(Revision::FIRST), OnCompacted::End).await.in_turn(&may_read);
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let occupied = spawn_blocking(move || wait.recv());
        assert!(look(&mut goes).is_pending() && look(&mut comes).is_pending() && goes.reading.is_some());
        drop(goes);
        release.send(()).unwrap();
        occupied.await.unwrap().unwrap();
        assert_eq!(revisions(got(&mut comes).await), [2]);
    });
}

#[tokio::test]
async fn so_many_pieces_are_read_at_once_and_other_reads_do_not_wait_for_them() {
    let alone = Alone::start();
    alone.set("a", "v").await;
    let reads = &alone.service.0.watch_reads;
    let all = reads.clone().acquire_many_owned(u32::try_from(MAX_WATCH_READS).unwrap()).await.unwrap();
    let mut watch = alone.watch(Start::After(Revision::FIRST), OnCompacted::End).await;
    assert!(look(&mut watch).is_pending());
    let reader = alone.service.reader(&call(), Consistency::Serializable).await.unwrap();
    reader.digest().await.unwrap();
    assert!(look(&mut watch).is_pending() && watch.reading.as_ref().is_some_and(|reading| !reading.is_finished()));
    drop(all);
    assert_eq!(revisions(got(&mut watch).await), [2]);
    // One that has read and is not looked at keeps nobody from it.
    let mut slow = alone.watch(Start::After(Revision::FIRST), OnCompacted::End).await;
    assert!(look(&mut slow).is_pending());
    let mut others = Vec::new();
    for _ in 0..=MAX_WATCH_READS {
        others.push(alone.watch(Start::After(Revision::FIRST), OnCompacted::End).await);
    }
    assert!(others.iter_mut().all(|other| look(other).is_pending()));
    for other in &mut others {
        assert_eq!(revisions(got(other).await), [2]);
    }
}

#[tokio::test]
#[expect(clippy::used_underscore_binding, reason = "only tests look at it")]
async fn what_would_let_a_state_go_ends_with_the_watch_that_reads_it() {
    let alone = Alone::start();
    let watch = alone.watch(Start::Initial, OnCompacted::End).await;
    let Phase::State { state, .. } = &watch.phase else { panic!("no state is read") };
    let task = state._patience.abort_handle();
    assert!(!task.is_finished());
    drop(watch);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !task.is_finished() {
        assert!(Instant::now() < deadline, "it is still there");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_gathers_while_the_state_is_read_says_nothing_of_how_fast_its_reader_is() {
    let alone = Alone::start();
    for key in ["a", "b", "c", "d"] {
        alone.set(key, large()).await;
    }
    let first = alone.set("e", "v").await;
    let mut watch = alone.watch(Start::Initial, OnCompacted::End).await;
    assert!(matches!(watch.next().await, Some(WatchItem::State(_))));
    let mut last = first;
    for _ in 0..=WATCH_BACKLOG_EVENTS {
        last = alone.set("a", "v").await;
    }
    let synced = loop {
        match watch.next().await {
            Some(WatchItem::State(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(synced, Some(WatchItem::Synced(_))), "{synced:?}");
    let mut seen = Vec::new();
    while seen.last() != Some(&last.get()) {
        seen.extend(revisions(watch.next().await));
    }
    assert_eq!(seen, (first.get() + 1..=last.get()).collect::<Vec<_>>());
    // From here on it had every chance.
    for _ in 0..=WATCH_BACKLOG_EVENTS {
        alone.set("a", "v").await;
    }
    let end = loop {
        match watch.next().await {
            Some(WatchItem::Events(_)) => {}
            end => break end,
        }
    };
    assert!(matches!(end, Some(WatchItem::Lagging { .. })), "{end:?}");
}
