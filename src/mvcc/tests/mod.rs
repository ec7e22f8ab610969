//! The claims of the key space, on small histories written by hand.

mod claims;
mod counting;
mod naive;
mod property;
mod speed;

use bytes::Bytes;

use super::*;
use crate::model::{Action, EventKind, Key, KeyRange, Operation, RangeQuery, Timestamp};
use crate::storage::memory::MemoryEngine;
use crate::storage::{Engine, WriteBatch};

type Snapshot = <MemoryEngine as Engine>::Snapshot;

fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

fn cause() -> Cause {
    Cause { time: Timestamp(1), author: None, operation: Operation::Put, action: Action::Set }
}

fn write(value: &str) -> Write {
    Write { value: Bytes::from(value.to_owned()), content_type: None, lease: None, anew: false }
}

fn view(engine: &MemoryEngine) -> View<Snapshot> {
    View::open(engine.snapshot()).unwrap()
}

/// Applies one batch.
fn apply(engine: &MemoryEngine, change: impl FnOnce(&mut Overlay<Snapshot>)) {
    let mut overlay = Overlay::new(&view(engine), Recent::default());
    change(&mut overlay);
    let mut batch = WriteBatch::new();
    overlay.finish(&mut batch);
    engine.commit(&batch).unwrap();
}

fn put(engine: &MemoryEngine, at: &str, value: &str) {
    apply(engine, |overlay| {
        overlay.put(key(at), write(value), &cause()).unwrap();
        overlay.seal();
    });
}

fn delete(engine: &MemoryEngine, at: &str) {
    apply(engine, |overlay| {
        overlay.delete(&key(at), EventKind::Delete, &cause()).unwrap();
        overlay.seal();
    });
}

fn value(view: &View<Snapshot>, at: &str, revision: Option<u64>) -> Option<String> {
    let record = view.get(at.as_bytes(), revision.map(Revision)).unwrap()?;
    Some(String::from_utf8(record.value.to_vec()).unwrap())
}

#[test]
fn the_first_write_makes_revision_two_and_each_past_state_is_read_back() {
    let engine = MemoryEngine::new();
    assert_eq!(view(&engine).revision(), Revision(1));
    put(&engine, "a", "one");
    put(&engine, "a", "two");
    delete(&engine, "a");
    put(&engine, "a", "three");
    let view = view(&engine);
    assert_eq!(view.revision(), Revision(5));
    let at = |revision| value(&view, "a", revision);
    assert_eq!([at(Some(1)), at(Some(4))], [None, None]);
    assert_eq!([at(Some(2)), at(Some(3))].map(Option::unwrap), ["one", "two"]);
    assert_eq!([at(Some(5)), at(None)].map(Option::unwrap), ["three", "three"]);
    let record = view.get(b"a", None).unwrap().unwrap();
    assert_eq!((record.create_revision, record.version), (Revision(5), 1));
    assert!(matches!(view.get(b"a", Some(Revision(6))), Err(ReadError::Future { .. })));
}

#[test]
fn a_range_sees_what_the_batch_has_changed_and_the_store_has_not() {
    let engine = MemoryEngine::new();
    put(&engine, "a", "1");
    put(&engine, "b", "1");
    apply(&engine, |overlay| {
        overlay.put(key("c"), write("2"), &cause()).unwrap();
        overlay.delete(&key("a"), EventKind::Delete, &cause()).unwrap();
        let found = overlay.range(&RangeQuery::all(KeyRange::prefix(""))).unwrap();
        assert_eq!(found.items.iter().map(|item| item.key.clone()).collect::<Vec<_>>(), [key("b"), key("c")]);
        let past = RangeQuery { revision: Some(Revision(3)), ..RangeQuery::all(KeyRange::prefix("")) };
        let found = overlay.range(&past).unwrap();
        assert_eq!(found.items.iter().map(|item| item.key.clone()).collect::<Vec<_>>(), [key("a"), key("b")]);
        assert_eq!(overlay.seal(), Revision(4));
    });
    assert_eq!(view(&engine).range(&RangeQuery::all(KeyRange::prefix(""))).unwrap().count, 2);
}
