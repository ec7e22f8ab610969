//! What every engine promises, written once and run over each of them.

use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use proptest::prelude::*;

use super::lsm::{LsmEngine, Options};
use super::memory::{Call, MemoryEngine};
use super::{Engine, Keyspace, Snapshot, StorageError, WriteBatch};

/// A way to make an engine, and to find it again after a new start.
trait Door {
    type Engine: Engine;
    fn new() -> Self;
    fn engine(&self) -> Self::Engine;
    /// Ends every use of the engine and opens it as a new process would.
    fn reopen(&mut self);
}

struct Memory(MemoryEngine);

impl Door for Memory {
    type Engine = MemoryEngine;

    fn new() -> Self {
        Self(MemoryEngine::new())
    }

    fn engine(&self) -> MemoryEngine {
        self.0.clone()
    }

    fn reopen(&mut self) {
        self.0 = self.0.crash(0);
    }
}

struct Lsm {
    engine: Option<LsmEngine>,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Door for Lsm {
    type Engine = LsmEngine;

    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let engine = Some(LsmEngine::open(&path, Options::default()).unwrap());
        Self { engine, path, _directory: directory }
    }

    fn engine(&self) -> LsmEngine {
        self.engine.clone().unwrap()
    }

    fn reopen(&mut self) {
        self.engine = None;
        self.engine = Some(LsmEngine::open(&self.path, Options::default()).unwrap());
    }
}

fn puts(keyspace: Keyspace, pairs: &[(&[u8], &[u8])]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (key, value) in pairs {
        batch.put(keyspace, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    }
    batch
}

fn keys(snapshot: &impl Snapshot, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Vec<Bytes> {
    snapshot.scan_keys(Keyspace::Kv, from, to).map(Result::unwrap).collect()
}

fn a_batch_writes_to_all_keyspaces_and_the_last_write_of_a_key_counts<D: Door>() {
    let engine = D::new().engine();
    let mut batch = WriteBatch::new();
    assert!(batch.is_empty());
    for keyspace in Keyspace::ALL {
        batch.put(keyspace, "a", "first");
        batch.put(keyspace, "a", keyspace.name());
        batch.put(keyspace, "b", "1");
        batch.delete(keyspace, "b");
        batch.delete(keyspace, "c");
        batch.put(keyspace, "c", "2");
    }
    assert_eq!(batch.len(), 30);
    engine.commit(&batch).unwrap();
    engine.commit(&WriteBatch::new()).unwrap();
    let snapshot = engine.snapshot();
    for keyspace in Keyspace::ALL {
        assert_eq!(snapshot.get(keyspace, b"a").unwrap().unwrap(), keyspace.name());
        assert_eq!(snapshot.get(keyspace, b"b").unwrap(), None);
        assert_eq!(snapshot.get(keyspace, b"c").unwrap().unwrap(), "2");
        assert_eq!(snapshot.scan(keyspace, Unbounded, Unbounded).count(), 2);
    }
}

fn a_snapshot_does_not_see_what_came_after_it<D: Door>() {
    let engine = D::new().engine();
    engine.commit(&puts(Keyspace::Kv, &[(b"a", b"1"), (b"b", b"1")])).unwrap();
    let before = engine.snapshot();
    let mut batch = puts(Keyspace::Kv, &[(b"a", b"2"), (b"c", b"2")]);
    batch.delete(Keyspace::Kv, "b");
    engine.commit(&batch).unwrap();
    let after = engine.snapshot();
    let mut batch = puts(Keyspace::Kv, &[(b"b", b"3")]);
    batch.delete(Keyspace::Kv, "a");
    engine.commit(&batch).unwrap();
    let pairs = |snapshot: &<D::Engine as Engine>::Snapshot| -> Vec<(Bytes, Bytes)> {
        snapshot.scan(Keyspace::Kv, Unbounded, Unbounded).map(Result::unwrap).collect()
    };
    assert_eq!(pairs(&before.clone()), [("a".into(), "1".into()), ("b".into(), "1".into())]);
    assert_eq!(before.get(Keyspace::Kv, b"c").unwrap(), None);
    drop(before);
    assert_eq!(pairs(&after), [("a".into(), "2".into()), ("c".into(), "2".into())]);
    assert_eq!(pairs(&engine.snapshot()), [("b".into(), "3".into()), ("c".into(), "2".into())]);
}

fn an_open_scan_keeps_its_moment<D: Door>() {
    let engine = D::new().engine();
    engine.commit(&puts(Keyspace::Kv, &[(b"a", b"1"), (b"b", b"1"), (b"c", b"1")])).unwrap();
    let snapshot = engine.snapshot();
    let mut scan = snapshot.scan(Keyspace::Kv, Unbounded, Unbounded);
    assert_eq!(scan.next().unwrap().unwrap().0, "a");
    let mut batch = puts(Keyspace::Kv, &[(b"bb", b"2"), (b"c", b"2")]);
    batch.delete(Keyspace::Kv, "b");
    engine.commit(&batch).unwrap();
    assert_eq!(scan.next_back().unwrap().unwrap(), ("c".into(), "1".into()));
    assert_eq!(scan.next().unwrap().unwrap(), ("b".into(), "1".into()));
    assert!(scan.next().is_none());
    assert!(scan.next_back().is_none());
}

fn scans_keep_every_bound_in_both_directions<D: Door>() {
    let engine = D::new().engine();
    let present: [&[u8]; 6] = [b"\0", b"a", b"a\0", b"b", b"b\xff", b"\xff\xff"];
    engine.commit(&puts(Keyspace::Kv, &present.map(|key| (key, key)))).unwrap();
    let snapshot = engine.snapshot();
    let points: [&[u8]; 9] = [b"", b"\0", b"a", b"a\0", b"aa", b"b", b"b\xff", b"\xff\xff", b"\xff\xff\xff"];
    let bounds = || points.iter().flat_map(|point| [Included(*point), Excluded(*point)]).chain([Unbounded]);
    for from in bounds() {
        for to in bounds() {
            let inside = |key: &&&[u8]| std::ops::RangeBounds::<[u8]>::contains(&(from, to), **key);
            let mut expected: Vec<&[u8]> = present.iter().filter(inside).copied().collect();
            assert_eq!(keys(&snapshot, from, to), expected, "{from:?} {to:?}");
            let scan = snapshot.scan(Keyspace::Kv, from, to).map(Result::unwrap);
            assert!(
                scan.map(|(key, value)| (value, key))
                    .eq(expected.iter().map(|key| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(key))))
            );
            expected.reverse();
            let backwards: Vec<Bytes> = snapshot.scan_keys(Keyspace::Kv, from, to).rev().map(Result::unwrap).collect();
            assert_eq!(backwards, expected, "{from:?} {to:?} backwards");
        }
    }
}

fn values_of_any_size_and_content_come_back<D: Door>() {
    let mut door = D::new();
    let engine = door.engine();
    let noise: Vec<u8> = (0..2_000_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let values: Vec<&[u8]> = [0, 1, 4095, 4096, 4097, 65_536, 2_000_000].iter().map(|size| &noise[..*size]).collect();
    let key = |number: usize| vec![0xff - u8::try_from(number).unwrap(); 1 + number * 600];
    for keyspace in Keyspace::ALL {
        for (number, value) in values.iter().enumerate() {
            engine.commit(&puts(keyspace, &[(&key(number), value)])).unwrap();
        }
    }
    engine.sync().unwrap();
    drop(engine);
    for _ in 0..2 {
        let snapshot = door.engine().snapshot();
        for keyspace in Keyspace::ALL {
            for (number, value) in values.iter().enumerate() {
                assert_eq!(snapshot.get(keyspace, &key(number)).unwrap().unwrap(), *value);
            }
            let scanned: Vec<Bytes> =
                snapshot.scan(keyspace, Unbounded, Unbounded).rev().map(|pair| pair.unwrap().1).collect();
            assert_eq!(scanned, values);
        }
        drop(snapshot);
        door.reopen();
    }
}

fn what_was_synced_is_there_after_a_new_start<D: Door>() {
    let mut door = D::new();
    for round in 0..5_u8 {
        let engine = door.engine();
        let mut batch = puts(Keyspace::Kv, &[(&[round], b"kept"), (b"round", &[round])]);
        batch.put(Keyspace::Meta, "round", [round]);
        batch.delete(Keyspace::Kv, [round.wrapping_sub(2)]);
        engine.commit(&batch).unwrap();
        engine.sync().unwrap();
        drop(engine);
        door.reopen();
        let snapshot = door.engine().snapshot();
        assert_eq!(snapshot.get(Keyspace::Kv, b"round").unwrap().unwrap(), vec![round]);
        assert_eq!(snapshot.get(Keyspace::Meta, b"round").unwrap().unwrap(), vec![round]);
        assert_eq!(snapshot.scan(Keyspace::Kv, Unbounded, Unbounded).count(), 2 + usize::from(round > 0));
    }
    door.engine().disk_bytes().unwrap();
}

/// Each batch writes one number everywhere and moves a pair of keys, while readers look and the store is synced.
fn readers_beside_a_writer_see_whole_batches_only<D: Door>() {
    const BATCHES: u32 = 1500;
    let door = D::new();
    let engine = door.engine();
    let done = AtomicBool::new(false);
    let look = |snapshot: &<D::Engine as Engine>::Snapshot| -> Option<Bytes> {
        let number = snapshot.get(Keyspace::Meta, b"number").unwrap();
        for keyspace in Keyspace::ALL {
            assert_eq!(snapshot.get(keyspace, b"number").unwrap(), number, "{}", keyspace.name());
        }
        let below = Excluded(&b"n"[..]);
        let moved: Vec<(Bytes, Bytes)> = snapshot.scan(Keyspace::Kv, Unbounded, below).map(Result::unwrap).collect();
        assert_eq!(moved.len(), if number.is_some() { 16 } else { 0 });
        assert!(moved.iter().all(|(_, value)| Some(value) == number.as_ref()));
        number
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = None;
                while !done.load(Ordering::Relaxed) {
                    let number = look(&engine.snapshot());
                    assert!(number >= last, "a later snapshot saw less");
                    last = number;
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                engine.sync().unwrap();
            }
        });
        for number in 0..BATCHES {
            let mut batch = WriteBatch::new();
            for keyspace in Keyspace::ALL {
                batch.put(keyspace, "number", number.to_be_bytes());
            }
            for slot in 0..16_u8 {
                let turn = u8::try_from(number % 2).unwrap();
                batch.put(Keyspace::Kv, [slot, turn], number.to_be_bytes());
                batch.delete(Keyspace::Kv, [slot, 1 - turn]);
            }
            engine.commit(&batch).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(look(&engine.snapshot()).is_some());
}

type Change = Vec<(u8, Option<u8>)>;

/// Any run of batches leaves what a plain map would hold, at every snapshot taken on the way.
fn every_moment_equals_a_plain_map<D: Door>(changes: &[Change]) {
    let mut door = D::new();
    let engine = door.engine();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut moments = Vec::new();
    for (number, change) in changes.iter().enumerate() {
        let mut batch = WriteBatch::new();
        for (key, value) in change {
            let key = vec![*key];
            if let Some(value) = value {
                batch.put(Keyspace::Kv, key.clone(), vec![*value]);
                model.insert(key, vec![*value]);
            } else {
                batch.delete(Keyspace::Kv, key.clone());
                model.remove(&key);
            }
        }
        engine.commit(&batch).unwrap();
        if number % 2 == 0 {
            moments.push((engine.snapshot(), model.clone()));
        }
        if number % 5 == 4 {
            moments.remove(moments.len() / 2);
        }
    }
    engine.sync().unwrap();
    let check = |snapshot: &<D::Engine as Engine>::Snapshot, model: &BTreeMap<Vec<u8>, Vec<u8>>| {
        let pairs = snapshot.scan(Keyspace::Kv, Unbounded, Unbounded).map(Result::unwrap);
        assert!(pairs.eq(model.iter().map(|(k, v)| (Bytes::from(k.clone()), Bytes::from(v.clone())))));
    };
    for (snapshot, model) in &moments {
        check(snapshot, model);
    }
    drop((moments, engine));
    door.reopen();
    check(&door.engine().snapshot(), &model);
}

macro_rules! promises {
    ($door:ident: $($claim:ident),* $(,)?) => {$(
        #[test]
        fn $claim() {
            super::$claim::<super::$door>();
        }
    )*};
}

macro_rules! engine {
    ($module:ident, $door:ident, $cases:literal) => {
        mod $module {
            use super::*;

            promises!($door:
                a_batch_writes_to_all_keyspaces_and_the_last_write_of_a_key_counts,
                a_snapshot_does_not_see_what_came_after_it,
                an_open_scan_keeps_its_moment,
                scans_keep_every_bound_in_both_directions,
                values_of_any_size_and_content_come_back,
                what_was_synced_is_there_after_a_new_start,
                readers_beside_a_writer_see_whole_batches_only,
            );

            proptest! {
                #![proptest_config(ProptestConfig { cases: $cases, ..ProptestConfig::default() })]
                #[test]
                fn every_moment_equals_a_plain_map(
                    changes in prop::collection::vec(
                        prop::collection::vec((0..12_u8, prop::option::weighted(0.6, any::<u8>())), 0..6),
                        0..20,
                    ),
                ) {
                    super::every_moment_equals_a_plain_map::<super::$door>(&changes);
                }
            }
        }
    };
}

engine!(memory, Memory, 256);
engine!(lsm, Lsm, 12);

#[test]
fn a_crash_keeps_a_prefix_of_whole_batches() {
    let engine = MemoryEngine::new();
    let write = |number: u8| {
        let mut batch = WriteBatch::new();
        for keyspace in Keyspace::ALL {
            batch.put(keyspace, "number", vec![number]);
        }
        batch.put(Keyspace::Kv, vec![number], "");
        engine.commit(&batch).unwrap();
    };
    (0..3).for_each(write);
    engine.sync().unwrap();
    (3..6).for_each(write);
    assert_eq!(engine.unsynced(), 3);
    for kept in 0..=3_u8 {
        let snapshot = engine.crash(kept.into()).snapshot();
        for keyspace in Keyspace::ALL {
            assert_eq!(snapshot.get(keyspace, b"number").unwrap().unwrap(), vec![2 + kept]);
        }
        assert_eq!(keys(&snapshot, Unbounded, Excluded(b"n")).len(), 3 + usize::from(kept));
    }
    assert_eq!(engine.crash(1).unsynced(), 0);
    assert_eq!(keys(&engine.snapshot(), Unbounded, Excluded(b"n")).len(), 6, "the store that crashed stays");
}

#[test]
fn a_planted_fault_is_reported_once_and_poisons_the_engine() {
    for call in [Call::Commit, Call::Sync] {
        let engine = MemoryEngine::new();
        engine.commit(&puts(Keyspace::Kv, &[(b"a", b"1")])).unwrap();
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        engine.fail_next(call, full.into());
        let run = |engine: &MemoryEngine| match call {
            Call::Commit => engine.commit(&puts(Keyspace::Kv, &[(b"b", b"1")])),
            Call::Sync => engine.sync(),
        };
        assert!(matches!(run(&engine), Err(StorageError::OutOfSpace { .. })));
        assert!(matches!(engine.sync(), Err(StorageError::Poisoned)));
        assert!(matches!(engine.commit(&WriteBatch::new()), Err(StorageError::Poisoned)));
        assert_eq!(keys(&engine.snapshot(), Unbounded, Unbounded), ["a"]);
        assert!(keys(&engine.crash(0).snapshot(), Unbounded, Unbounded).is_empty());
    }
}

#[test]
fn versions_that_nobody_can_see_are_forgotten() {
    let engine = MemoryEngine::new();
    let snapshot = engine.snapshot();
    for number in 0..100_u8 {
        engine.commit(&puts(Keyspace::Kv, &[(b"a", &[number])])).unwrap();
    }
    assert!(engine.versions() >= 100);
    drop(snapshot);
    let mut batch = WriteBatch::new();
    batch.delete(Keyspace::Kv, "a");
    engine.commit(&batch).unwrap();
    assert_eq!(engine.versions(), 0);
}
