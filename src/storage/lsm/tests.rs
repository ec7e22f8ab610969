//! What this engine promises beyond what every engine does: its files, what a crash leaves of them, and damage.

use std::os::unix::fs::FileExt;

use super::*;

fn put(engine: &LsmEngine, keyspace: Keyspace, key: &[u8], value: &[u8]) {
    let mut batch = WriteBatch::new();
    batch.put(keyspace, key, value);
    engine.commit(&batch).unwrap();
}

fn open(path: &Path) -> Result<LsmEngine, StorageError> {
    LsmEngine::open(path, Options::default())
}

fn files(path: &Path, folder: &str) -> Vec<PathBuf> {
    fs::read_dir(path.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn a_store_in_use_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let engine = open(&path).unwrap();
    assert!(matches!(open(&path), Err(StorageError::Locked { path: named }) if named == path));
    let snapshot = engine.snapshot();
    drop(engine);
    assert!(matches!(open(&path), Err(StorageError::Locked { .. })), "a snapshot reads from it");
    drop(snapshot);
    open(&path).unwrap();
}

#[test]
fn a_start_that_was_cut_short_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    fs::create_dir_all(path.join("tables")).unwrap();
    for leftover in ["lock", "v0"] {
        File::create(path.join(leftover)).unwrap();
    }
    let engine = open(&path).unwrap();
    put(&engine, Keyspace::Kv, b"k", b"v");
    engine.sync().unwrap();
    drop(engine);
    let engine = open(&path).unwrap();
    assert_eq!(engine.snapshot().get(Keyspace::Kv, b"k").unwrap().unwrap(), "v");
}

#[test]
fn tables_without_a_list_of_them_are_damage_and_stay() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    put(&engine, Keyspace::Kv, b"k", b"v");
    engine.sync().unwrap();
    drop(engine);
    fs::remove_file(directory.path().join(CURRENT)).unwrap();
    assert!(matches!(open(directory.path()), Err(StorageError::Corrupt { .. })));
    assert_eq!(files(directory.path(), "tables").len(), 1);
}

#[test]
fn a_store_of_an_earlier_version_is_refused_as_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    fs::write(directory.path().join(FORMER), b"FJL\x03").unwrap();
    let refused = open(directory.path()).unwrap_err();
    assert!(matches!(refused, StorageError::Format { .. }));
    assert!(refused.to_string().contains("save a snapshot with that version"), "{refused}");
}

#[test]
fn a_flipped_bit_in_a_table_or_in_a_large_value_is_damage() {
    for (folder, value) in [("tables", vec![7; 100]), ("blobs", noise(1, 3000))] {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(directory.path()).unwrap();
        for number in 0..2000_u32 {
            put(&engine, Keyspace::Kv, &number.to_be_bytes(), &value);
        }
        engine.reclaim().unwrap();
        drop(engine);
        for path in files(directory.path(), folder) {
            flip(&path, 3000);
        }
        let read = open(directory.path()).and_then(|engine| {
            let snapshot = engine.snapshot();
            snapshot.scan(Keyspace::Kv, Bound::Unbounded, Bound::Unbounded).collect::<Result<Vec<_>, _>>()
        });
        assert!(matches!(read, Err(StorageError::Corrupt { .. })), "{folder}: {:?}", read.map(|read| read.len()));
    }
}

#[test]
fn a_flipped_bit_anywhere_in_the_list_of_tables_or_in_what_names_it_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    put(&engine, Keyspace::Kv, b"k", &noise(1, 3000));
    engine.sync().unwrap();
    drop(engine);
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let lists: Vec<PathBuf> = names.filter(|path| path.file_name().unwrap().to_str().unwrap() != LOCK).collect();
    let mut flipped = 0;
    for path in lists.iter().filter(|path| path.is_file()) {
        // Which checksum it is, is said in the last byte of the name; there is one.
        let looked_at = fs::metadata(path).unwrap().len() - u64::from(path.ends_with(CURRENT));
        for at in 0..looked_at {
            flip(path, at);
            let opened = open(directory.path()).map(drop);
            assert!(matches!(opened, Err(StorageError::Corrupt { .. })), "{} at {at}: {opened:?}", path.display());
            flip(path, at);
            flipped += 1;
        }
    }
    assert!(flipped > 200, "{flipped}");
    assert_eq!(open(directory.path()).unwrap().snapshot().get(Keyspace::Kv, b"k").unwrap().unwrap(), noise(1, 3000));
}

#[test]
fn damage_that_a_read_finds_is_told_to_whoever_looks_after_the_store_and_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    put(&engine, Keyspace::Kv, b"k", &[7; 100]);
    engine.sync().unwrap();
    drop(engine);
    let tables = files(directory.path(), "tables");
    flip(&tables[0], 60);
    let engine = open(directory.path()).unwrap();
    engine.check().unwrap();
    assert!(matches!(engine.snapshot().get(Keyspace::Kv, b"k"), Err(StorageError::Corrupt { .. })));
    assert!(matches!(engine.check(), Err(StorageError::Corrupt { .. })));
    let mut batch = WriteBatch::new();
    batch.put(Keyspace::Kv, "k", "new");
    assert!(matches!(engine.commit(&batch), Err(StorageError::Poisoned)));
    assert!(matches!(engine.sync(), Err(StorageError::Poisoned)));
}

#[test]
fn after_a_sync_that_failed_nothing_is_taken_and_the_state_is_that_of_the_last_one() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    put(&engine, Keyspace::Kv, b"k", b"1");
    engine.sync().unwrap();
    put(&engine, Keyspace::Kv, b"k", b"2");
    let (tables, aside) = (directory.path().join("tables"), directory.path().join("aside"));
    fs::rename(&tables, &aside).unwrap();
    engine.sync().unwrap_err();
    fs::rename(&aside, &tables).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(Keyspace::Kv, "k", "3");
    assert!(matches!(engine.commit(&batch), Err(StorageError::Poisoned)));
    assert!(matches!(engine.sync(), Err(StorageError::Poisoned)));
    drop(engine);
    assert_eq!(open(directory.path()).unwrap().snapshot().get(Keyspace::Kv, b"k").unwrap().unwrap(), "1");
}

#[test]
fn tables_or_files_of_values_that_have_gone_are_damage() {
    for (folder, whole) in [("tables", false), ("tables", true), (VALUES, false), (VALUES, true)] {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(directory.path()).unwrap();
        put(&engine, Keyspace::Kv, b"k", &noise(1, 3000));
        engine.sync().unwrap();
        drop(engine);
        if whole {
            fs::remove_dir_all(directory.path().join(folder)).unwrap();
        } else {
            for path in files(directory.path(), folder) {
                fs::remove_file(path).unwrap();
            }
        }
        assert!(matches!(open(directory.path()), Err(StorageError::Corrupt { .. })), "{folder} {whole}");
    }
}

#[test]
fn what_was_not_synced_is_gone_whole_and_what_was_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let both = |engine: &LsmEngine| {
        let snapshot = engine.snapshot();
        [Keyspace::Kv, Keyspace::History].map(|keyspace| snapshot.get(keyspace, b"k").unwrap())
    };
    let engine = open(directory.path()).unwrap();
    for number in 1..=3_u8 {
        let mut batch = WriteBatch::new();
        batch.put(Keyspace::Kv, "k", [number]);
        batch.put(Keyspace::History, "k", [number]);
        engine.commit(&batch).unwrap();
        if number == 2 {
            engine.sync().unwrap();
        }
    }
    assert_eq!(both(&engine), [Some(Bytes::from_static(&[3])), Some(Bytes::from_static(&[3]))]);
    drop(engine);
    let engine = open(directory.path()).unwrap();
    assert_eq!(both(&engine), [Some(Bytes::from_static(&[2])), Some(Bytes::from_static(&[2]))]);
    put(&engine, Keyspace::Kv, b"k", b"new");
    assert_eq!(both(&engine)[0].as_deref(), Some(&b"new"[..]), "a later batch hides what was there");
}

#[test]
fn a_store_that_nobody_syncs_syncs_itself_and_asks_for_it_before() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    let value = noise(1, 1024 * 1024);
    let mut asked = 0;
    for number in 0..200_u64 {
        put(&engine, Keyspace::History, &number.to_be_bytes(), &value);
        asked += usize::from(engine.is_due());
        assert!(engine.inner.store.unsynced.load(Ordering::Relaxed) < FULL_BYTES + 2 * MIB);
    }
    assert!(asked > 50, "{asked}");
    assert!(engine.disk_bytes().unwrap() > DUE_BYTES);
    engine.sync().unwrap();
    assert!(!engine.is_due());
}

#[test]
fn a_snapshot_keeps_its_moment_over_syncs_and_merges() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    let number = |snapshot: &LsmSnapshot| {
        let pairs = snapshot.scan(Keyspace::Kv, Bound::Unbounded, Bound::Unbounded).map(Result::unwrap);
        let values: std::collections::BTreeSet<Bytes> = pairs.map(|(_, value)| value.slice(..4)).collect();
        assert_eq!(values.len(), 1, "{values:?}");
        values.into_iter().next().unwrap()
    };
    let mut moments = Vec::new();
    for round in 0..40_u32 {
        let mut batch = WriteBatch::new();
        for key in 0..50_u8 {
            let value = [&round.to_be_bytes()[..], &noise(round.into(), usize::from(key) * 60)].concat();
            batch.put(Keyspace::Kv, [key], value);
        }
        engine.commit(&batch).unwrap();
        moments.push((round, engine.snapshot()));
        if round % 3 == 0 {
            engine.sync().unwrap();
        }
        if round % 10 == 9 {
            engine.reclaim().unwrap();
        }
        if round % 7 == 6 {
            moments.remove(moments.len() / 3);
        }
        for (round, snapshot) in &moments {
            assert_eq!(number(snapshot), round.to_be_bytes()[..]);
        }
    }
}

#[test]
fn a_list_of_tables_that_changes_in_the_middle_of_a_batch_shows_no_part_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    for value in [b"1", b"2"] {
        put(&engine, Keyspace::Kv, b"k", value);
        engine.sync().unwrap();
    }
    let store = &engine.inner.store;
    let writing = store.writer.lock();
    let number = store.numbers.next();
    let half = InternalValue::from_components(place(Keyspace::Kv, b"k"), "half", number, ValueType::Value);
    store.tree.active_memtable().insert(half);
    store.tree.major_compact(TABLE_BYTES, store.watermark()).unwrap();
    assert!(store.numbers.get() > number + 1, "the list takes a number behind that of the batch");
    assert_eq!(engine.snapshot().get(Keyspace::Kv, b"k").unwrap().unwrap(), "2");
    drop(writing);
    put(&engine, Keyspace::Kv, b"other", b"3");
    assert_eq!(engine.snapshot().get(Keyspace::Kv, b"k").unwrap().unwrap(), "half");
}

#[test]
fn of_a_key_that_is_overwritten_memory_keeps_what_is_read_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    let write = |number: u32| put(&engine, Keyspace::Kv, b"hot", number.to_string().as_bytes());
    let read = |snapshot: &LsmSnapshot| snapshot.get(Keyspace::Kv, b"hot").unwrap().unwrap();
    let versions = || engine.inner.store.tree.active_memtable().len();
    (0..100).for_each(write);
    assert_eq!(versions(), 2);
    let held: Vec<_> = (100..104).map(|number| (write(number), engine.snapshot()).1).collect();
    (104..200).for_each(write);
    for (snapshot, number) in held.iter().zip(100..) {
        assert_eq!(read(snapshot), number.to_string());
        assert_eq!(snapshot.scan(Keyspace::Kv, Bound::Unbounded, Bound::Unbounded).count(), 1);
    }
    assert_eq!(versions(), held.len() + 2);
    engine.sync().unwrap();
    (200..300).for_each(write);
    assert_eq!(versions(), 2);
    assert_eq!(held.iter().map(read).collect::<Vec<_>>(), ["100", "101", "102", "103"]);
    drop(held);
    let mut batch = WriteBatch::new();
    batch.delete(Keyspace::Kv, b"hot");
    engine.commit(&batch).unwrap();
    assert_eq!(engine.snapshot().get(Keyspace::Kv, b"hot").unwrap(), None);
    assert_eq!(versions(), 2);
}

#[test]
fn a_snapshot_keeps_what_it_reads_and_nothing_of_what_comes_later_and_only_for_as_long() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    let read = |snapshot: &LsmSnapshot| snapshot.get(Keyspace::Kv, b"k").unwrap().unwrap();
    put(&engine, Keyspace::Kv, b"k", b"0");
    let mut kept = vec![engine.snapshot()];
    for round in 1..=30_u8 {
        put(&engine, Keyspace::Kv, b"k", &[round]);
        if round % 10 == 0 {
            kept.push(engine.snapshot());
        }
        engine.sync().unwrap();
        assert_eq!(read(&engine.snapshot()), [round][..]);
    }
    // The thread that merges may be about to forget one that it has made.
    let lists = engine.inner.store.tree.version_free_list_len();
    assert!(lists <= kept.len() + 2, "{lists}");
    let seen: Vec<_> = kept.iter().map(read).collect();
    assert_eq!(seen, [&b"0"[..], &[10], &[20], &[30]]);
    drop(kept);
    let store = Arc::clone(&engine.inner.store);
    put(&engine, Keyspace::Kv, b"k", b"21");
    engine.sync().unwrap();
    // The thread that merges ends with the last handle, and has freed by then what nobody reads from.
    drop(engine);
    assert!(store.tree.version_free_list_len() <= 1, "{}", store.tree.version_free_list_len());
    assert!(store.sealed.lock().len() <= 1, "{}", store.sealed.lock().len());
}

#[test]
fn an_empty_store_takes_little_room_and_reclaiming_frees_what_was_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    let empty = engine.disk_bytes().unwrap();
    assert!(empty < MIB, "{empty}");
    let key = |number: u64| number.to_be_bytes();
    for number in 0..1024 {
        put(&engine, Keyspace::History, &key(number), &noise(number, 64 * 1024));
    }
    engine.reclaim().unwrap();
    let before = engine.disk_bytes().unwrap();
    assert!(before > 64 * MIB, "{before}");
    let mut batch = WriteBatch::new();
    (0..1023).for_each(|number| batch.delete(Keyspace::History, key(number)));
    engine.commit(&batch).unwrap();
    engine.reclaim().unwrap();
    let after = engine.disk_bytes().unwrap();
    assert!(after < before / 4, "{after} of {before}");
    assert_eq!(engine.snapshot().get(Keyspace::History, &key(1023)).unwrap().unwrap(), noise(1023, 64 * 1024));
}

/// Bytes that no compression makes smaller.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1 << 63;
    let byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(byte).take(length).collect()
}
