//! Claims about one watch at a member that is alone: what it keeps of the store, and what ends it.

use super::*;
use crate::model::Command;
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
            *state.kept.lock() = None;
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
    *state.kept.lock() = None;
    let last = alone.set("a", "v").await;
    alone.write(Command::Compact(last)).await;
    let ended = watch.next().await;
    assert!(matches!(ended, Some(WatchItem::Compacted { compact_revision }) if compact_revision == last), "{ended:?}");
}
