//! What compaction keeps, what reads and writes cost, and what damage looks like.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::counting::{Calls, Counting};
use super::{Snapshot as Moment, apply, cause, delete, key, put, value, view, write};
use crate::model::{Event, EventKind, Key, KeyRange, RangeQuery, Revision, limits};
use crate::mvcc::overlay::cut_blocks;
use crate::mvcc::pending::{Current, Pending};
use crate::mvcc::walk::Walk;
use crate::mvcc::{ListQuery, Overlay, Progress, ReadError, Recent, ReplayBudget, Sweep, View};
use crate::storage::memory::MemoryEngine;
use crate::storage::{Engine, Keyspace, Snapshot, StorageError, WriteBatch, schema};

const EVERYTHING: ReplayBudget = ReplayBudget { steps: usize::MAX, bytes: usize::MAX };

fn compact(engine: &MemoryEngine, revision: u64) {
    apply(engine, |overlay| overlay.compact(Revision(revision)).unwrap());
}

fn sweep(engine: &MemoryEngine) {
    sweep_with(&mut Sweep::new(), engine);
}

fn sweep_with(sweep: &mut Sweep, engine: &MemoryEngine) {
    let mut progress = Progress::More;
    while progress == Progress::More {
        let mut batch = WriteBatch::new();
        progress = sweep.slice(&view(engine), 2, &mut batch).unwrap();
        engine.commit(&batch).unwrap();
    }
}

fn stored(engine: &MemoryEngine, keyspace: Keyspace) -> usize {
    engine.snapshot().scan_keys(keyspace, Bound::Unbounded, Bound::Unbounded).count()
}

fn all_events(view: &View<Moment>, after: u64) -> Result<Vec<Event>, ReadError> {
    Ok(view.events(&KeyRange::prefix(""), Revision(after), EVERYTHING)?.events)
}

/// A key put at 2, deleted at 3; another put at 4.
fn deleted_at_three() -> MemoryEngine {
    let engine = MemoryEngine::new();
    put(&engine, "a", "one");
    delete(&engine, "a");
    put(&engine, "b", "two");
    engine
}

#[test]
fn the_event_and_the_deletion_at_the_compacted_revision_stay() {
    let engine = deleted_at_three();
    compact(&engine, 3);
    for swept in [false, true] {
        if swept {
            sweep(&engine);
        }
        let view = view(&engine);
        assert_eq!(value(&view, "a", Some(3)), None);
        assert!(matches!(
            view.get(b"a", Some(Revision(2))),
            Err(ReadError::Compacted { asked: Revision(2), compacted: Revision(3) })
        ));
        let events = all_events(&view, 2).unwrap();
        assert_eq!(events.iter().map(|event| event.revision).collect::<Vec<_>>(), [Revision(3), Revision(4)]);
        assert_eq!((events[0].kind, events[0].previous_revision), (EventKind::Delete, Revision::ZERO));
        assert_eq!(events[0].previous.as_ref().unwrap().value, "one");
        assert_eq!(view.history(b"a", None, 10).unwrap(), events[..1]);
        assert_eq!(view.tombstones().map(Result::unwrap).collect::<Vec<_>>(), [(key("a"), Revision(3))]);
        assert!(matches!(
            all_events(&view, 1),
            Err(ReadError::Compacted { asked: Revision(2), compacted: Revision(3) })
        ));
    }
}

#[test]
fn a_deletion_below_the_compacted_revision_is_absent_before_the_sweep_and_after() {
    let mut made = Vec::new();
    for swept in [false, true] {
        let engine = deleted_at_three();
        compact(&engine, 4);
        if swept {
            sweep(&engine);
            assert_eq!((stored(&engine, Keyspace::Tombstones), stored(&engine, Keyspace::History)), (0, 1));
        }
        assert_eq!(view(&engine).tombstones().count(), 0);
        assert_eq!(view(&engine).history(b"a", None, 10).unwrap(), []);
        put(&engine, "a", "new");
        put(&engine, "b", "new");
        made.push(all_events(&view(&engine), 3).unwrap());
        assert_eq!(made[0][1].previous_revision, Revision::ZERO);
        assert_eq!(made[0][2].previous_revision, Revision(4), "an event at the compacted revision is pointed at");
    }
    assert_eq!(made[0], made[1]);
}

#[test]
fn a_sweep_that_was_done_goes_on_with_the_next_compaction() {
    let engine = deleted_at_three();
    let mut remembered = Sweep::new();
    compact(&engine, 2);
    sweep_with(&mut remembered, &engine);
    assert_eq!((stored(&engine, Keyspace::Tombstones), stored(&engine, Keyspace::History)), (1, 3));
    compact(&engine, 4);
    sweep_with(&mut remembered, &engine);
    assert_eq!((stored(&engine, Keyspace::Tombstones), stored(&engine, Keyspace::History)), (0, 1));
}

#[test]
fn compaction_in_a_batch_holds_for_the_writes_behind_it() {
    let engine = deleted_at_three();
    apply(&engine, |overlay| {
        assert!(overlay.load(&key("a")).unwrap().is_none());
        overlay.compact(Revision(4)).unwrap();
        assert!(matches!(overlay.compact(Revision(4)), Err(ReadError::Compacted { .. })));
        assert!(matches!(overlay.compact(Revision(5)), Err(ReadError::Future { .. })));
        assert_eq!(overlay.put(key("a"), write("new"), &cause()).unwrap().previous_revision, Revision::ZERO);
        overlay.seal();
    });
    assert_eq!(stored(&engine, Keyspace::Tombstones), 0, "the write removed it");
}

#[test]
fn a_revision_larger_than_the_budget_is_replayed_whole() {
    let engine = MemoryEngine::new();
    put(&engine, "z", "first");
    apply(&engine, |overlay| {
        for number in 0..50 {
            overlay.put(key(&format!("k{number:02}")), write("value"), &cause()).unwrap();
        }
        overlay.seal();
    });
    let view = view(&engine);
    let tight = ReplayBudget { steps: 1, bytes: 1 };
    let first = view.events(&KeyRange::prefix(""), Revision(1), tight).unwrap();
    assert_eq!((first.events.len(), first.through), (1, Revision(2)));
    let second = view.events(&KeyRange::prefix(""), Revision(2), tight).unwrap();
    assert_eq!((second.events.len(), second.through), (50, Revision(3)));
    let beyond = view.events(&KeyRange::prefix(""), Revision(9), tight).unwrap();
    assert_eq!((beyond.events.len(), beyond.through), (0, Revision(9)));
}

#[test]
fn blocks_are_cut_between_revisions_and_only_there() {
    let engine = MemoryEngine::new();
    let large = "x".repeat(limits::BLOCK_BYTES / 4);
    apply(&engine, |overlay| {
        for revision in 0..8 {
            for number in 0..=revision {
                overlay.put(key(&format!("k{number}")), write(&large), &cause()).unwrap();
            }
            overlay.seal();
        }
    });
    let events = all_events(&view(&engine), 1).unwrap();
    let blocks = cut_blocks(events.clone());
    assert!(blocks.len() > 4);
    assert!(blocks.windows(2).all(|pair| pair[0].last().next() == pair[1].first()));
    assert_eq!(blocks.into_iter().flat_map(|block| block.events).collect::<Vec<_>>(), events);
}

#[test]
fn a_walk_takes_as_many_steps_whatever_the_blocks() {
    let alone = MemoryEngine::new();
    for number in 0..6 {
        put(&alone, "a", &number.to_string());
    }
    let together = MemoryEngine::new();
    apply(&together, |overlay| {
        for number in 0..6 {
            overlay.put(key("a"), write(&number.to_string()), &cause()).unwrap();
            overlay.seal();
        }
    });
    assert_ne!(stored(&alone, Keyspace::History), stored(&together, Keyspace::History));
    for steps in 0..7 {
        let mut found = [&alone, &together].map(|engine| {
            let (snapshot, none) = (engine.snapshot(), Pending::NONE);
            let current = Current::Live(view(engine).get(b"a", None).unwrap().unwrap());
            let mut walk = Walk::new(&snapshot, &none, Revision::ZERO, Revision(2), steps);
            match walk.resolve(b"a", current) {
                Ok(record) => Some(record.unwrap().value),
                Err(ReadError::TooManySteps { asked: Revision(2) }) => None,
                Err(error) => panic!("{error}"),
            }
        });
        assert_eq!(found[0], found[1]);
        assert_eq!(found[0].take().is_some(), steps >= 5, "{steps} steps");
    }
}

#[test]
fn changes_taken_back_leave_nothing() {
    let engine = MemoryEngine::new();
    put(&engine, "a", "one");
    apply(&engine, |overlay| {
        overlay.put(key("a"), write("other"), &cause()).unwrap();
        overlay.put(key("b"), write("other"), &cause()).unwrap();
        assert_eq!(overlay.unsealed().len(), 2);
        overlay.discard();
        assert_eq!((overlay.unsealed().len(), overlay.seal()), (0, Revision(2)));
        overlay.delete(&key("a"), EventKind::Delete, &cause()).unwrap();
    });
    let view = view(&engine);
    assert_eq!((view.revision(), value(&view, "a", None).as_deref()), (Revision(2), Some("one")));
    assert_eq!(value(&view, "b", None), None);
    assert_eq!(all_events(&view, 2).unwrap(), []);
}

#[test]
fn two_changes_of_a_key_at_one_revision_are_one_event() {
    let engine = MemoryEngine::new();
    put(&engine, "a", "one");
    apply(&engine, |overlay| {
        overlay.put(key("a"), write("two"), &cause()).unwrap();
        overlay.delete(&key("a"), EventKind::Delete, &cause()).unwrap();
        overlay.seal();
    });
    let view = view(&engine);
    let events = all_events(&view, 2).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].kind, events[0].previous_revision), (EventKind::Delete, Revision(2)));
    assert_eq!(events[0].previous.as_ref().unwrap().value, "one");
    assert_eq!(value(&view, "a", Some(2)).as_deref(), Some("one"));
}

fn counting(engine: &MemoryEngine) -> (View<Counting<Moment>>, Arc<Calls>) {
    let calls = Arc::new(Calls::default());
    let view = View::open(Counting { inner: engine.snapshot(), calls: Arc::clone(&calls) }).unwrap();
    (view, calls)
}

#[test]
fn a_put_reads_its_key_once_and_looks_for_a_deletion_only_where_it_is_absent() {
    let engine = MemoryEngine::new();
    put(&engine, "a", "one");
    let (view, calls) = counting(&engine);
    let mut overlay = Overlay::new(&view, Recent::default());
    let [gets, ..] = {
        overlay.put(key("a"), write("two"), &cause()).unwrap();
        calls.take()
    };
    assert_eq!(gets, 1);
    overlay.put(key("b"), write("two"), &cause()).unwrap();
    assert_eq!(calls.take()[0], 2);
    overlay.load(&key("a")).unwrap();
    overlay.seal();
    overlay.put(key("a"), write("three"), &cause()).unwrap();
    assert_eq!(calls.take(), [0, 0, 0]);
}

#[test]
fn a_listing_costs_its_children_and_a_count_no_values() {
    let engine = MemoryEngine::new();
    apply(&engine, |overlay| {
        for number in 0..3_000 {
            let name = format!("/d/{}/{number:05}", number % 3);
            overlay.put(key(&name), write("value"), &cause()).unwrap();
        }
        overlay.seal();
    });
    put(&engine, "/d/file", "value");
    let (view, calls) = counting(&engine);
    for (revision, heads) in [(None, false), (None, true), (Some(Revision(2)), true)] {
        let query = ListQuery {
            directory: Bytes::from_static(b"/d/"),
            prefix: Bytes::new(),
            from: None,
            revision,
            limit: None,
            max_bytes: usize::MAX,
            keys_only: false,
            heads,
        };
        let listing = view.list(&query).unwrap();
        assert_eq!(listing.directories, ["/d/0/", "/d/1/", "/d/2/"].map(key));
        let first: Vec<_> = listing.heads.iter().map(|head| head.key.clone()).collect();
        let expected = ["/d/0/00000", "/d/1/00001", "/d/2/00002"].map(key);
        assert_eq!(first, if heads { expected.to_vec() } else { Vec::new() });
        assert!(listing.heads.iter().all(|head| head.record.value.is_empty()), "{:?}", listing.heads);
        assert_eq!(listing.items.len(), usize::from(revision.is_none()));
        let [_, _, items] = calls.take();
        assert!(items < 60, "{items} items looked at");
    }
    let query = RangeQuery { count_only: true, ..RangeQuery::all(KeyRange::prefix("/d/")) };
    assert_eq!(view.range(&query).unwrap().count, 3_001);
    assert_eq!(calls.take(), [0, 0, 3_001]);
    let limited = RangeQuery { limit: Some(2), ..RangeQuery::all(KeyRange::prefix("/d/")) };
    let found = view.range(&limited).unwrap();
    assert_eq!((found.items.len(), found.count, found.more), (2, 3_001, true));
}

#[test]
fn a_hole_in_the_history_is_damage_and_not_an_answer() {
    let engine = MemoryEngine::new();
    put(&engine, "a", "one");
    put(&engine, "a", "two");
    let mut batch = WriteBatch::new();
    batch.delete(Keyspace::History, schema::block(Revision(3)));
    engine.commit(&batch).unwrap();
    let view = view(&engine);
    assert_eq!(value(&view, "a", None).as_deref(), Some("two"));
    let damage = view.get(b"a", Some(Revision(2)));
    assert!(matches!(damage, Err(ReadError::Storage(StorageError::Corrupt { .. }))), "{damage:?}");
}

#[test]
fn history_goes_on_from_where_a_page_ended() {
    let engine = MemoryEngine::new();
    for number in 0..5 {
        put(&engine, "a", &number.to_string());
        put(&engine, "other", "x");
    }
    let view = view(&engine);
    let revisions = |before: Option<u64>, limit| {
        let events = view.history(b"a", before.map(Revision), limit).unwrap();
        events.iter().map(|event| event.revision.0).collect::<Vec<_>>()
    };
    assert_eq!(revisions(None, 2), [10, 8]);
    assert_eq!(revisions(Some(8), 2), [6, 4]);
    assert_eq!(revisions(Some(7), 9), [6, 4, 2], "a revision of another key will do");
    assert_eq!(view.history(&Key::new("none").unwrap().bytes().clone(), None, 9).unwrap(), []);
}
