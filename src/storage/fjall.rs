//! The engine of a running member: fjall, an LSM tree with a journal, tuned for this state machine.
//!
//! Owns the settings of the five keyspaces, what fjall leaves open about durability (directory entries, unfinished
//! creation, journals cut short) and the translation of its errors. Always reads through a snapshot of the whole
//! database: reads of one keyspace at its latest state see torn batches. Never syncs by itself; the log does not need
//! it to, because everything here can be applied again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable};

use super::{Engine, Keyspace, Operation, Snapshot, StorageError, WriteBatch, holds_nothing};

const MIB: u64 = 1024 * 1024;

/// Values larger than this are kept apart from their keys: counting, listing and compaction pass them by.
const SEPARATION_BYTES: u32 = 4 * 1024;
/// The smallest bound that fjall takes. Beyond it, keyspaces that rarely fill a memtable are flushed to free journals;
/// it also bounds what is read again at start.
const MAX_JOURNAL_BYTES: u64 = 64 * MIB;
/// With more than one, the first leaves compactions to the others, and while one runs it turns round and round over the
/// next without pause: a whole core that requests need. Each flush also syncs the journal under its lock.
const WORKERS: usize = 1;
/// Open table files; far below the usual limit of 1,024 descriptors, which connections need.
const MAX_OPEN_FILES: usize = 200;

/// What is read is copied up to this length, and shared beyond.
const COPIED_BYTES: usize = 1024;

/// A key that no layout has.
const NEVER_A_KEY: &[u8] = &[0xff];

/// What an operator may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The bytes of blocks kept in memory. It fills as blocks are read.
    pub cache_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 64 * MIB }
    }
}

/// A store in a directory of its own. Clones are handles on the same store; the directory is free again when the last
/// one, and the last snapshot, is dropped.
#[derive(Clone)]
pub struct FjallEngine {
    inner: Arc<Inner>,
}

struct Inner {
    // Keyspaces go before the database that they are part of.
    keyspaces: [fjall::Keyspace; Keyspace::ALL.len()],
    database: Database,
    path: PathBuf,
}

impl std::fmt::Debug for FjallEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallEngine").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl FjallEngine {
    /// Opens the store in `path`, made where there is none. On return the directory itself survives a power loss.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when another process has it, [`StorageError::Corrupt`] when it cannot be trusted.
    pub fn open(path: &Path, options: Options) -> Result<Self, StorageError> {
        clear_unfinished(path)?;
        let sealed = sealed_journals(path)?;
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .manual_journal_persist(true)
            // The journal is written once and soon deleted, on the thread that applies: no time goes into its size.
            .journal_compression(CompressionType::None)
            .max_journaling_size(MAX_JOURNAL_BYTES)
            .max_cached_files(Some(MAX_OPEN_FILES))
            .worker_threads(WORKERS)
            .open()
            .map_err(|error| translate(error, path))?;
        sealed.iter().try_for_each(SealedJournal::check_whole)?;
        let keyspace = |keyspace: Keyspace| {
            database.keyspace(keyspace.name(), || settings(keyspace)).map_err(|error| translate(error, path))
        };
        let [kv, tombstones, history, leases, meta] = Keyspace::ALL.map(keyspace);
        let keyspaces = [kv?, tombstones?, history?, leases?, meta?];
        sync_directories(path)?;
        Ok(Self { inner: Arc::new(Inner { keyspaces, database, path: path.to_owned() }) })
    }

    /// Rewrites what was deleted out of existence, so that its space is free. Takes as long as reading and writing the
    /// whole store, on the calling thread, beside which reads and commits go on.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn reclaim(&self) -> Result<(), StorageError> {
        for keyspace in &self.inner.keyspaces {
            keyspace.rotate_memtable_and_wait().map_err(|error| self.translate(error))?;
            keyspace.major_compact().map_err(|error| self.translate(error))?;
        }
        // The tables that were replaced go when a memtable is next put away, which needs one with something in it.
        let mut nothing = WriteBatch::new();
        nothing.delete(Keyspace::Meta, NEVER_A_KEY);
        self.commit(&nothing)?;
        let meta = self.inner.keyspace(Keyspace::Meta);
        meta.rotate_memtable_and_wait().map_err(|error| self.translate(error))
    }

    /// Whether no other handle and no snapshot is left of this store.
    pub fn is_last_handle(&self) -> bool {
        Arc::strong_count(&self.inner) == 1
    }

    /// Gives what the journal holds to the disk, ahead of the syncs that are asked for: fjall syncs under the lock that
    /// commits take, and what is on disk by then holds nobody up. Commits go on beside it.
    ///
    /// # Errors
    /// When the disk fails: nobody knows then what it holds.
    pub fn write_back(&self) -> Result<(), StorageError> {
        let newest = journals(&self.inner.path)?.pop();
        let file = match newest.map(|(_, path)| File::open(path)) {
            // Finished and removed meanwhile.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Some(opened) => opened?,
            None => return Ok(()),
        };
        Ok(file.sync_data()?)
    }

    fn translate(&self, error: fjall::Error) -> StorageError {
        translate(error, &self.inner.path)
    }
}

impl Engine for FjallEngine {
    type Snapshot = FjallSnapshot;

    fn snapshot(&self) -> FjallSnapshot {
        FjallSnapshot { moment: self.inner.database.snapshot(), engine: self.clone() }
    }

    fn commit(&self, batch: &WriteBatch) -> Result<(), StorageError> {
        let mut writes = fjall::OwnedWriteBatch::with_capacity(self.inner.database.clone(), batch.len());
        for Operation { keyspace, key, value } in batch.operations() {
            let keyspace = self.inner.keyspace(keyspace);
            match value {
                Some(value) => writes.insert(keyspace, key, value),
                None => writes.remove(keyspace, key),
            }
        }
        writes.commit().map_err(|error| self.translate(error))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.inner.database.persist(PersistMode::SyncAll).map_err(|error| self.translate(error))
    }

    fn disk_bytes(&self) -> Result<u64, StorageError> {
        Ok(allocated_bytes(&self.inner.path)?)
    }
}

impl Inner {
    fn keyspace(&self, keyspace: Keyspace) -> &fjall::Keyspace {
        let [kv, tombstones, history, leases, meta] = &self.keyspaces;
        match keyspace {
            Keyspace::Kv => kv,
            Keyspace::Tombstones => tombstones,
            Keyspace::History => history,
            Keyspace::Leases => leases,
            Keyspace::Meta => meta,
        }
    }
}

/// A moment of a [`FjallEngine`].
#[derive(Clone)]
pub struct FjallSnapshot {
    moment: fjall::Snapshot,
    engine: FjallEngine,
}

impl std::fmt::Debug for FjallSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallSnapshot").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl FjallSnapshot {
    /// The entries between two bounds; nothing for bounds that cross, which fjall does not allow.
    fn entries(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = fjall::Guard> + Send + use<> {
        let range = |()| self.moment.range::<&[u8], _>(self.engine.inner.keyspace(keyspace), (from, to));
        (!holds_nothing(from, to)).then_some(()).map(range).into_iter().flatten()
    }
}

impl Snapshot for FjallSnapshot {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.moment.get(self.engine.inner.keyspace(keyspace), key);
        value.map(|value| value.map(owned)).map_err(|error| self.engine.translate(error))
    }

    fn scan(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), StorageError>> + Send {
        let pair = |entry: fjall::Guard| match entry.into_inner() {
            Ok((key, value)) => Ok((owned(key), owned(value))),
            Err(error) => Err(self.engine.translate(error)),
        };
        self.entries(keyspace, from, to).map(pair)
    }

    fn scan_keys(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<Bytes, StorageError>> + Send {
        let key = |entry: fjall::Guard| entry.key().map(owned).map_err(|error| self.engine.translate(error));
        self.entries(keyspace, from, to).map(key)
    }
}

/// The bytes of what fjall gives out. It keeps short keys inside the nodes of its tree, where a search compares them
/// without following a pointer; ours are on the heap and shared.
fn owned(slice: fjall::Slice) -> Bytes {
    if slice.len() <= COPIED_BYTES { Bytes::copy_from_slice(&slice) } else { Bytes::from_owner(slice) }
}

/// The settings a keyspace is made with; fjall stores them with it.
fn settings(keyspace: Keyspace) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default().manual_journal_persist(true);
    match keyspace {
        // A memtable keeps every overwritten version until it is flushed, and a scan walks over all of them: not too
        // large, for hot keys to be quick to list; not too small, for each flush writes the keys that are hot once, and
        // is merged with all others. Values are small here; the blocks they are in are read too often to be unpacked
        // each time.
        Keyspace::Kv => options
            .max_memtable_size(24 * MIB)
            .data_block_compression_policy(CompressionPolicy::disabled())
            .with_kv_separation(Some(KvSeparationOptions::default().separation_threshold(SEPARATION_BYTES))),
        // Written in order, one large value per batch, and seldom read: few, large flushes. As no table overlaps another,
        // none is rewritten before the sweep comes: packed at once.
        Keyspace::History => options
            .max_memtable_size(24 * MIB)
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
            .expect_point_read_hits(true),
        // Little data; mostly the applied mark, over and over.
        Keyspace::Tombstones | Keyspace::Leases | Keyspace::Meta => options.max_memtable_size(4 * MIB),
    }
}

/// Removes what a crash during the very first start left behind, which fjall would not open. Its version marker is
/// written last and before any keyspace, so without one there is no data; where there is some, it was lost.
fn clear_unfinished(path: &Path) -> Result<(), StorageError> {
    let marker = path.join("version");
    if marker.metadata().is_ok_and(|marker| marker.len() > 0) {
        return Ok(());
    }
    let keyspaces = match fs::read_dir(path.join("keyspaces")) {
        Ok(entries) => entries.count(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error.into()),
    };
    if keyspaces > 0 {
        return Err(StorageError::Corrupt { what: format!("{} holds data but no version marker", path.display()) });
    }
    for leftover in [path.join("0.jnl"), marker] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// A journal that fjall finished before it began the next one.
struct SealedJournal {
    path: PathBuf,
    file: File,
    /// The bytes up to the last one that is not zero.
    written: u64,
}

impl SealedJournal {
    /// fjall ends reading a journal where it no longer understands it, cuts the file there and goes on with the next
    /// journal. Right for the last one, after a crash; anywhere else it would lose batches from the middle.
    fn check_whole(&self) -> Result<(), StorageError> {
        if self.file.metadata()?.len() >= self.written {
            return Ok(());
        }
        Err(StorageError::Corrupt { what: format!("the finished journal {} cannot be read", self.path.display()) })
    }
}

/// Every journal but the last one, as they are before fjall opens them.
fn sealed_journals(path: &Path) -> Result<Vec<SealedJournal>, StorageError> {
    let mut journals = journals(path)?;
    journals.pop();
    journals.into_iter().filter_map(|(_, path)| seal(path).transpose()).collect()
}

/// The journals in a store's directory, oldest first.
fn journals(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut journals = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| is_journal) {
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals)
}

/// Reads a journal through; `None` when it went meanwhile, which says that another process has the store.
fn seal(path: PathBuf) -> Result<Option<SealedJournal>, StorageError> {
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut chunk = vec![0; 256 * 1024];
    let (mut position, mut written) = (0, 0);
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok(Some(SealedJournal { path, file, written }));
        }
        let filled = chunk.get(..length).unwrap_or_default();
        if let Some(last) = filled.iter().rposition(|byte| *byte != 0) {
            written = position + last as u64 + 1;
        }
        position += length as u64;
    }
}

/// Makes the names of directories durable that fjall creates without doing so.
fn sync_directories(path: &Path) -> Result<(), StorageError> {
    let keyspaces = path.join("keyspaces");
    for entry in fs::read_dir(&keyspaces)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(&keyspaces)?.sync_all()?;
    File::open(path)?.sync_all()?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all()?,
        None => File::open(".")?.sync_all()?,
    }
    Ok(())
}

/// What the files below a directory take on the disk. Journals are preallocated, so lengths would say too much.
fn allocated_bytes(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Compaction removes files while they are being counted.
        let found = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => allocated_bytes(&entry.path()),
            Ok(metadata) => Ok(metadata.blocks() * 512),
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => bytes += found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

fn translate(error: fjall::Error, path: &Path) -> StorageError {
    match error {
        fjall::Error::Locked => StorageError::Locked { path: path.to_owned() },
        fjall::Error::Poisoned => StorageError::Poisoned,
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => translate_io(source),
        fjall::Error::InvalidVersion(_) | fjall::Error::Storage(fjall::LsmError::InvalidVersion(_)) => {
            StorageError::Format { what: error.to_string() }
        }
        // Everything else is bytes that are not what was written; fjall's list of errors is open.
        damage => StorageError::Corrupt { what: damage.to_string() },
    }
}

/// A table that ends too early or has gone is damage, not a failure of the disk to answer.
fn translate_io(source: io::Error) -> StorageError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::NotFound => {
            StorageError::Corrupt { what: source.to_string() }
        }
        _ => source.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn put(engine: &FjallEngine, keyspace: Keyspace, key: &[u8], value: &[u8]) {
        let mut batch = WriteBatch::new();
        batch.put(keyspace, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        engine.commit(&batch).unwrap();
    }

    fn open(path: &Path) -> Result<FjallEngine, StorageError> {
        FjallEngine::open(path, Options::default())
    }

    #[test]
    fn a_store_in_use_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let engine = open(&path).unwrap();
        assert!(matches!(open(&path), Err(StorageError::Locked { path: named }) if named == path));
        drop(engine);
        open(&path).unwrap();
    }

    #[test]
    fn a_start_that_was_cut_short_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        fs::create_dir_all(path.join("keyspaces")).unwrap();
        for leftover in ["0.jnl", "version", "lock"] {
            File::create(path.join(leftover)).unwrap();
        }
        put(&open(&path).unwrap(), Keyspace::Kv, b"k", b"v");
        let engine = open(&path).unwrap();
        assert_eq!(engine.snapshot().get(Keyspace::Kv, b"k").unwrap().unwrap(), "v");
    }

    #[test]
    fn data_without_a_version_marker_is_damage_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()).unwrap());
        fs::remove_file(directory.path().join("version")).unwrap();
        assert!(matches!(open(directory.path()), Err(StorageError::Corrupt { .. })));
        assert!(directory.path().join("keyspaces/0").exists());
    }

    #[test]
    fn a_store_of_another_format_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()).unwrap());
        fs::write(directory.path().join("version"), [b'F', b'J', b'L', 2]).unwrap();
        assert!(matches!(open(directory.path()), Err(StorageError::Format { .. })));
    }

    #[test]
    fn a_flipped_bit_in_a_table_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(directory.path()).unwrap();
        for number in 0..2000_u32 {
            put(&engine, Keyspace::Kv, &number.to_be_bytes(), &[7; 100]);
        }
        engine.reclaim().unwrap();
        let tables = engine.inner.keyspace(Keyspace::Kv).path().join("tables");
        drop(engine);
        for table in fs::read_dir(tables).unwrap() {
            let file = File::options().read(true).write(true).open(table.unwrap().path()).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, 3000).unwrap();
            file.write_all_at(&[byte[0] ^ 1], 3000).unwrap();
        }
        let read = open(directory.path()).and_then(|engine| {
            let snapshot = engine.snapshot();
            snapshot.scan(Keyspace::Kv, Bound::Unbounded, Bound::Unbounded).collect::<Result<Vec<_>, _>>()
        });
        assert!(matches!(read, Err(StorageError::Corrupt { .. })), "{read:?}");
    }

    #[test]
    fn a_finished_journal_that_cannot_be_read_is_damage_and_not_a_shorter_history() {
        let value = vec![7; 1024 * 1024];
        let opened_after = |damage: &[u8]| {
            let directory = tempfile::tempdir().unwrap();
            let engine = open(directory.path()).unwrap();
            // Too little for a memtable to be put away, which would free the journal.
            (0..20_u64).for_each(|number| put(&engine, Keyspace::History, &number.to_be_bytes(), &value));
            engine.sync().unwrap();
            drop(engine);
            // A journal is finished where there is a next one, which fjall begins as zeros.
            File::create_new(directory.path().join("1.jnl")).unwrap().set_len(64 * MIB).unwrap();
            let journal = File::options().write(true).open(directory.path().join("0.jnl")).unwrap();
            journal.write_all_at(damage, 10 * MIB).unwrap();
            open(directory.path()).and_then(|engine| engine.snapshot().get(Keyspace::History, &19_u64.to_be_bytes()))
        };
        assert_eq!(opened_after(&[]).unwrap().unwrap(), value);
        // More than a value, so that the start of a batch is hit: damage inside a batch is found by its checksum.
        let damaged = opened_after(&vec![0xee; value.len() + 4096]);
        assert!(matches!(damaged, Err(StorageError::Corrupt { .. })), "{damaged:?}");
    }

    #[test]
    fn an_empty_store_takes_little_room_and_reclaiming_frees_what_was_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(directory.path()).unwrap();
        let empty = engine.disk_bytes().unwrap();
        assert!(empty < MIB, "{empty}");
        let key = |number: u64| number.to_be_bytes();
        for number in 0..128 {
            put(&engine, Keyspace::History, &key(number), &noise(number, 64 * 1024));
        }
        engine.reclaim().unwrap();
        let before = tables(&engine);
        assert!(before > 8 * MIB, "{before}");
        let mut batch = WriteBatch::new();
        (0..127).for_each(|number| batch.delete(Keyspace::History, key(number)));
        engine.commit(&batch).unwrap();
        engine.reclaim().unwrap();
        assert!(tables(&engine) < before / 8, "{} of {before}", tables(&engine));
        assert_eq!(engine.snapshot().get(Keyspace::History, &key(127)).unwrap().unwrap(), noise(127, 64 * 1024));
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

    /// The bytes of the keyspaces, without journals.
    fn tables(engine: &FjallEngine) -> u64 {
        allocated_bytes(&engine.inner.path.join("keyspaces")).unwrap()
    }
}
