//! The engine of a running member: a log-structured merge tree of `lsm-tree`, without a journal.
//!
//! The raft log is the journal. What was committed is in memory until a sync writes it out as tables, and a crash before that
//! leaves the state of the last sync, from which the log is applied again. All keyspaces are in one tree, told apart by the
//! first byte of a key: so a sync makes whole batches durable, in all of them at once, by one change of the tree's list of
//! tables.
//!
//! Owns the numbers of batches, the moments that are read at, when tables are written and merged, what `lsm-tree` leaves
//! open about durability, and the translation of its errors.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{
    BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry, RestartIntervalPolicy,
};
use lsm_tree::{
    AbstractTree as _, AnyTree, Cache, CompressionType, Config, DescriptorTable, Guard as _, InternalValue,
    IterGuardImpl, KvSeparationOptions, Memtable, SeqNo, SequenceNumberCounter, Slice, ValueType,
};
use parking_lot::{Condvar, Mutex};
use xxhash_rust::xxh3::xxh3_128;

use super::{Engine, Keyspace, Operation, Snapshot, StorageError, WriteBatch, holds_nothing};

const MIB: u64 = 1024 * 1024;

/// Values larger than this are kept apart from their keys: counting, listing and merging pass them by. Most blocks of history
/// are larger, so they are written once.
const SEPARATION_BYTES: u32 = 2 * 1024;
/// With so much written to memory it is time for a sync. A scan walks over every deletion in there, so not too much; not too
/// little, for each sync writes the keys that are hot once, and they are merged with others.
const DUE_BYTES: u64 = 48 * MIB;
/// With so much in memory a commit syncs by itself: nobody else does, or not fast enough.
const FULL_BYTES: u64 = 2 * DUE_BYTES;
/// Tables that overlap, and that every read has to look into, until a sync waits for them to be merged.
const MAX_OVERLAPPING: usize = 12;
/// How long a sync waits for a merge before it looks again by itself.
const WAIT: Duration = Duration::from_millis(100);
/// The part of a file of large values that is deleted when the rest is written anew, where one merge sees all that refers to it.
/// What is deleted in the order in which it was written, as history is, frees whole files by itself.
const STALE: f32 = 0.5;
/// What a file of large values is cut at: little, so that few files hold both records and history.
const VALUES_BYTES: u64 = 8 * MIB;
/// After so many batches, what was replaced is looked through for what no snapshot reads from any more.
const FORGET_EVERY: u64 = 256;
/// What a table is cut at.
const TABLE_BYTES: u64 = 64 * MIB;
/// Open table files; far below the usual limit of 1,024 descriptors, which connections need.
const MAX_OPEN_FILES: usize = 200;

/// What is read is copied up to this length, and shared beyond.
const COPIED_BYTES: usize = 1024;

/// The file that is locked while the store is open; its content means nothing.
const LOCK: &str = "lock";
/// The file that names the list of tables. `lsm-tree` makes it when it makes the store, before there is any table.
const CURRENT: &str = "current";

/// The directory of the files of large values.
const VALUES: &str = "blobs";
/// A file that only stores of an earlier version have.
const FORMER: &str = "version";

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
pub struct LsmEngine {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    /// Wakes the thread that merges; gone before it is waited for.
    nudges: Option<SyncSender<()>>,
    merger: Option<JoinHandle<()>>,
    path: PathBuf,
    _lock: File,
}

/// What the thread that merges shares with the handles.
struct Store {
    tree: AnyTree,
    /// Numbers batches, and changes of the list of tables, as they come.
    numbers: SequenceNumberCounter,
    /// Held while a batch is written, and where memory is sealed to become a table: so that no table has a part of a batch.
    writer: Mutex<()>,
    moments: Mutex<Moments>,
    /// The bytes in memory that no sync has begun with, and those that one is under way with.
    unsynced: AtomicU64,
    syncing: AtomicU64,
    /// Memory that was written out, until nothing reads from it any more: to free it takes a while, which is nobody's but the
    /// merger's.
    sealed: Mutex<Vec<Arc<Memtable>>>,
    failure: Mutex<Failure>,
    /// Told after every merge.
    merged: Condvar,
    /// Nobody has the store any more: what is left to merge is for the next start.
    closing: AtomicBool,
}

/// What is read at.
struct Moments {
    /// A snapshot taken now sees what has a number below this one. Not the counter of the tree: that one moves with every change
    /// of the list of tables, also while a batch is half written.
    visible: SeqNo,
    /// How many snapshots there are at each moment.
    open: BTreeMap<SeqNo, usize>,
}

/// Whether anything failed.
enum Failure {
    None,
    /// Where nobody was told whose it is to stop: in the thread that merges, or in a read. Who calls next is told.
    Untold(StorageError),
    Told,
}

impl std::fmt::Debug for LsmEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LsmEngine").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl LsmEngine {
    /// Opens the store in `path`, made where there is none. On return the directory itself survives a power loss.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when another process has it, [`StorageError::Corrupt`] when it cannot be trusted.
    pub fn open(path: &Path, options: Options) -> Result<Self, StorageError> {
        fs::create_dir_all(path)?;
        let lock = lock(path)?;
        check_list(path)?;
        let numbers = SequenceNumberCounter::default();
        let tree = settings(path, options, &numbers).open().map_err(translate)?;
        let next = tree.get_highest_persisted_seqno().unwrap_or(0) + 1;
        numbers.set(next);
        sync_names(path)?;
        let store = Arc::new(Store {
            tree,
            numbers,
            writer: Mutex::new(()),
            moments: Mutex::new(Moments { visible: next, open: BTreeMap::new() }),
            unsynced: AtomicU64::new(0),
            syncing: AtomicU64::new(0),
            sealed: Mutex::new(Vec::new()),
            failure: Mutex::new(Failure::None),
            merged: Condvar::new(),
            closing: AtomicBool::new(false),
        });
        let (nudges, woken) = mpsc::sync_channel(1);
        let merging = Arc::clone(&store);
        let merger = thread::Builder::new().name("store".into()).spawn(move || merging.merge_when_nudged(&woken))?;
        let inner = Inner { store, nudges: Some(nudges), merger: Some(merger), path: path.to_owned(), _lock: lock };
        inner.nudge();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether the store can still be trusted: also reads find damage.
    ///
    /// # Errors
    /// What failed, where it was not told yet; then [`StorageError::Poisoned`].
    pub fn check(&self) -> Result<(), StorageError> {
        self.inner.store.check()
    }

    /// Whether so much is in memory that it should be synced.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.inner.store.unsynced.load(Ordering::Relaxed) >= DUE_BYTES
    }

    /// The bytes that are in memory only, and will take about as much on the disk.
    #[must_use]
    pub fn unwritten_bytes(&self) -> u64 {
        let store = &self.inner.store;
        store.unsynced.load(Ordering::Acquire) + store.syncing.load(Ordering::Acquire)
    }

    /// Rewrites what was deleted out of existence, so that its space is free. Takes as long as reading and writing the
    /// whole store, on the calling thread, beside which reads and commits go on.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn reclaim(&self) -> Result<(), StorageError> {
        self.sync()?;
        let store = &self.inner.store;
        // The first time finds out which large values are deleted, the second leaves them out.
        (0..2).try_for_each(|_| {
            store.guard(|| {
                store.tree.major_compact(TABLE_BYTES, store.watermark()).map_err(translate)?;
                store.pass()
            })
        })?;
        self.inner.nudge();
        Ok(())
    }

    /// Whether no other handle and no snapshot is left of this store.
    pub fn is_last_handle(&self) -> bool {
        Arc::strong_count(&self.inner) == 1
    }
}

impl Inner {
    /// Has merged what there is to merge.
    fn nudge(&self) {
        if let Some(nudges) = &self.nudges {
            // A full queue has one that is not taken yet, which is as good.
            let _ = nudges.try_send(());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.store.closing.store(true, Ordering::Relaxed);
        self.nudges = None;
        if let Some(merger) = self.merger.take() {
            // It does not panic; and if it did, the store is gone anyway.
            let _ = merger.join();
        }
    }
}

impl Engine for LsmEngine {
    type Snapshot = LsmSnapshot;

    fn snapshot(&self) -> LsmSnapshot {
        let mut moments = self.inner.store.moments.lock();
        let at = moments.visible;
        *moments.open.entry(at).or_default() += 1;
        LsmSnapshot { moment: Arc::new(Moment { at, engine: self.clone() }) }
    }

    fn commit(&self, batch: &WriteBatch) -> Result<(), StorageError> {
        self.inner.store.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        let number = self.inner.store.write(batch);
        if number.is_multiple_of(FORGET_EVERY) {
            self.inner.nudge();
        }
        if self.inner.store.unsynced.load(Ordering::Relaxed) >= FULL_BYTES { self.sync() } else { Ok(()) }
    }

    fn sync(&self) -> Result<(), StorageError> {
        let synced = self.inner.store.flush();
        self.inner.nudge();
        synced
    }

    fn disk_bytes(&self) -> Result<u64, StorageError> {
        Ok(allocated_bytes(&self.inner.path)?)
    }
}

impl Store {
    /// Writes a batch to memory and makes it visible. Its number.
    fn write(&self, batch: &WriteBatch) -> SeqNo {
        let _writing = self.writer.lock();
        let memory = self.tree.active_memtable();
        let number = self.numbers.next();
        let mut place = Vec::new();
        for Operation { keyspace, key, value } in batch.operations() {
            place.clear();
            put_place(&mut place, keyspace, key);
            memory.insert(match value {
                Some(value) => InternalValue::from_components(&*place, value, number, ValueType::Value),
                None => InternalValue::new_tombstone(&*place, number),
            });
            self.prune(&memory, &place, number);
        }
        self.unsynced.store(memory.size(), Ordering::Relaxed);
        self.moments.lock().visible = number + 1;
        number
    }

    /// Takes the versions of a key out of memory that no snapshot reads, now or later: a scan walks over each that is there. Of those
    /// before the one that is being written, that is all but the first, which is read until that one is visible.
    fn prune(&self, memory: &Memtable, place: &[u8], number: SeqNo) {
        let newest = InternalValue::new_tombstone(place, number).key;
        let older = memory.items.range((Bound::Excluded(&newest), Bound::Unbounded));
        let mut versions = older.take_while(|version| *version.key().user_key == *place);
        let Some(mut newer) = versions.next() else { return };
        for version in versions {
            let is_read = {
                let moments = self.moments.lock();
                moments.open.range(version.key().seqno + 1..=newer.key().seqno).next().is_some()
            };
            if is_read {
                newer = version;
            } else {
                version.remove();
            }
        }
    }

    /// Writes what is in memory out as tables, one caller at a time.
    fn flush(&self) -> Result<(), StorageError> {
        let flushing = self.tree.get_flush_lock();
        self.guard(|| {
            self.wait_for_merges()?;
            {
                let _writing = self.writer.lock();
                self.sealed.lock().extend(self.tree.rotate_memtable());
                self.syncing.store(self.unsynced.load(Ordering::Relaxed), Ordering::Release);
                self.unsynced.store(0, Ordering::Release);
            }
            if self.tree.flush(&flushing, self.watermark()).map_err(translate)?.is_some() {
                self.pass()?;
            }
            self.syncing.store(0, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Holds up who writes faster than is merged.
    fn wait_for_merges(&self) -> Result<(), StorageError> {
        let mut failure = self.failure.lock();
        while self.tree.l0_run_count() >= MAX_OVERLAPPING {
            failure.check()?;
            // The notice may come just before this thread waits for it.
            self.merged.wait_for(&mut failure, WAIT);
        }
        Ok(())
    }

    /// After each nudge, forgets what nobody reads from, and merges tables, a few at a time, until nothing is left to merge; until
    /// nobody nudges any more.
    fn merge_when_nudged(&self, nudges: &Receiver<()>) {
        let strategy = Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES));
        while nudges.recv().is_ok() {
            let mut merged = self.forget().map(|()| true);
            while matches!(merged, Ok(true)) && !self.closing.load(Ordering::Relaxed) {
                // After a failed sync nobody knows what is on the disk.
                if !matches!(*self.failure.lock(), Failure::None) {
                    return;
                }
                merged = self.merge(&strategy);
                self.merged.notify_all();
            }
            if let Err(error) = merged {
                self.fail(error);
                self.merged.notify_all();
                return;
            }
            self.sealed.lock().retain(|memory| Arc::strong_count(memory) > 1);
        }
    }

    /// Merges a few tables. False when there was nothing to merge.
    fn merge(&self, strategy: &Arc<Leveled>) -> Result<bool, StorageError> {
        let before = self.tree.current_version().id();
        self.tree.compact(strategy.clone(), self.watermark()).map_err(translate)?;
        if self.tree.current_version().id() == before {
            return Ok(false);
        }
        self.pass()?;
        Ok(true)
    }

    /// What is below is seen by no snapshot, now or later, but as what it was overwritten with.
    fn watermark(&self) -> SeqNo {
        let moments = self.moments.lock();
        let lowest = moments.open.first_key_value().map_or(moments.visible, |(at, _)| *at);
        lowest.saturating_sub(1)
    }

    /// Ends a change of the list of tables: has snapshots that are taken from now on read from the present one.
    fn pass(&self) -> Result<(), StorageError> {
        // The names of its other files `lsm-tree` makes durable itself.
        File::open(self.tree.tree_config().path.join(VALUES))?.sync_all()?;
        {
            let _writing = self.writer.lock();
            let number = self.numbers.next();
            self.moments.lock().visible = number + 1;
        }
        self.forget()
    }

    /// Forgets the lists of tables that came before the one that the oldest snapshot reads from, with the tables and the memory
    /// that only those name.
    fn forget(&self) -> Result<(), StorageError> {
        if self.tree.version_free_list_len() == 0 {
            return Ok(());
        }
        let watermark = self.watermark();
        let path = &self.tree.tree_config().path;
        self.tree.get_version_history_lock().maintenance(path, watermark).map_err(translate)?;
        let open = self.moments.lock().open.len();
        if self.tree.version_free_list_len() <= open + 1 { Ok(()) } else { self.forget_between() }
    }

    /// Forgets the lists that came after the one that the oldest snapshot reads from, too, but for those that another reads from:
    /// one that is kept for long would keep all that is written meanwhile, in memory.
    fn forget_between(&self) -> Result<(), StorageError> {
        // A batch that has its number and is not visible yet will be read by a list between that of what is visible and the
        // newest.
        let _writing = self.writer.lock();
        let moments = self.moments.lock();
        let mut lists = self.tree.get_version_history_lock();
        let read = moments.open.keys().chain([&moments.visible]).map(|at| lists.get_version_for_snapshot(*at));
        let needed: Vec<_> = read.chain([lists.latest_version()]).collect();
        // Takes away all but the newest.
        lists.maintenance(&self.tree.tree_config().path, SeqNo::MAX).map_err(translate)?;
        let mut needed = needed.into_iter();
        if let Some(oldest) = needed.next() {
            lists.replace_latest_version(oldest);
        }
        needed.for_each(|list| lists.append_version(list));
        Ok(())
    }

    /// Nothing is taken any more; whoever calls next is told why.
    fn fail(&self, error: StorageError) {
        let mut failure = self.failure.lock();
        if matches!(*failure, Failure::None) {
            *failure = Failure::Untold(error);
        }
    }

    /// Whether nothing failed.
    fn check(&self) -> Result<(), StorageError> {
        self.failure.lock().check()
    }

    /// Does what may fail, and nothing ever again once it, or anything beside it, has.
    fn guard(&self, act: impl FnOnce() -> Result<(), StorageError>) -> Result<(), StorageError> {
        self.check()?;
        act().inspect_err(|_| *self.failure.lock() = Failure::Told)?;
        self.check()
    }
}

impl Failure {
    fn check(&mut self) -> Result<(), StorageError> {
        match std::mem::replace(self, Self::Told) {
            Self::None => {
                *self = Self::None;
                Ok(())
            }
            Self::Untold(error) => Err(error),
            Self::Told => Err(StorageError::Poisoned),
        }
    }
}

/// A moment of an [`LsmEngine`].
#[derive(Debug, Clone)]
pub struct LsmSnapshot {
    moment: Arc<Moment>,
}

/// Registered with the store for as long as it lives.
#[derive(Debug)]
struct Moment {
    at: SeqNo,
    engine: LsmEngine,
}

impl Drop for Moment {
    fn drop(&mut self) {
        let mut moments = self.engine.inner.store.moments.lock();
        if let Some(count) = moments.open.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                moments.open.remove(&self.at);
            }
        }
    }
}

impl LsmSnapshot {
    fn tree(&self) -> &AnyTree {
        &self.moment.engine.inner.store.tree
    }

    /// Why something could not be read. Damage is the end of the store, not only of this read.
    fn failed(&self, error: lsm_tree::Error) -> StorageError {
        let error = translate(error);
        if let StorageError::Corrupt { what } = &error {
            self.moment.engine.inner.store.fail(StorageError::Corrupt { what: what.clone() });
        }
        error
    }

    /// The entries between two bounds; nothing for bounds that cross.
    fn entries(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = IterGuardImpl> + Send + use<> {
        let range = |()| self.tree().range(bounds(keyspace, from, to), self.moment.at, None);
        (!holds_nothing(from, to)).then_some(()).map(range).into_iter().flatten()
    }
}

impl Snapshot for LsmSnapshot {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.tree().get(place(keyspace, key), self.moment.at).map_err(|error| self.failed(error))?;
        Ok(value.map(|value| owned(value, 0)))
    }

    fn scan(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), StorageError>> + Send {
        let pair = |entry: IterGuardImpl| match entry.into_inner() {
            Ok((place, value)) => Ok((owned(place, 1), owned(value, 0))),
            Err(error) => Err(self.failed(error)),
        };
        self.entries(keyspace, from, to).map(pair)
    }

    fn scan_keys(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<Bytes, StorageError>> + Send {
        let key = |entry: IterGuardImpl| entry.key().map(|place| owned(place, 1)).map_err(|error| self.failed(error));
        self.entries(keyspace, from, to).map(key)
    }
}

/// The first byte of the keys of a keyspace. History comes last, where it is written: at the end.
const fn tag(keyspace: Keyspace) -> u8 {
    match keyspace {
        Keyspace::Kv => 1,
        Keyspace::Tombstones => 2,
        Keyspace::Leases => 3,
        Keyspace::Meta => 4,
        Keyspace::History => 5,
    }
}

/// Where a key of a keyspace is in the tree.
fn place(keyspace: Keyspace, key: &[u8]) -> Vec<u8> {
    let mut place = Vec::with_capacity(1 + key.len());
    put_place(&mut place, keyspace, key);
    place
}

fn put_place(place: &mut Vec<u8>, keyspace: Keyspace, key: &[u8]) {
    place.push(tag(keyspace));
    place.extend_from_slice(key);
}

fn bounds(keyspace: Keyspace, from: Bound<&[u8]>, to: Bound<&[u8]>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let from = match from {
        Bound::Unbounded => Bound::Included(vec![tag(keyspace)]),
        bound => bound.map(|key| place(keyspace, key)),
    };
    let to = match to {
        Bound::Unbounded => Bound::Excluded(vec![tag(keyspace) + 1]),
        bound => bound.map(|key| place(keyspace, key)),
    };
    (from, to)
}

/// The bytes of what the tree gives out, from `start` on. It keeps short ones inside its nodes, where a search compares them
/// without following a pointer; ours are on the heap and shared.
fn owned(slice: Slice, start: usize) -> Bytes {
    if slice.len() <= COPIED_BYTES {
        Bytes::copy_from_slice(slice.get(start..).unwrap_or_default())
    } else {
        Bytes::from_owner(slice).slice(start..)
    }
}

fn settings(path: &Path, options: Options, numbers: &SequenceNumberCounter) -> Config {
    // The most seldom found are looked for in the tables that overlap; further down, filters take memory.
    let filters = FilterPolicy::new([
        FilterPolicyEntry::Bloom(BloomConstructionPolicy::FalsePositiveRate(0.0001)),
        FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0)),
    ]);
    let separation = KvSeparationOptions::default()
        .separation_threshold(SEPARATION_BYTES)
        .compression(CompressionType::Lz4)
        .file_target_size(VALUES_BYTES)
        .staleness_threshold(STALE);
    // What the tree holds for visible is asked by nobody: see `Moments::visible`.
    Config::new(path, numbers.clone(), SequenceNumberCounter::default())
        .use_cache(Arc::new(Cache::with_capacity_bytes(options.cache_bytes)))
        .use_descriptor_table(Some(Arc::new(DescriptorTable::new(MAX_OPEN_FILES))))
        // Values in tables are small, and the blocks that they are in are read too often to be unpacked each time.
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .data_block_restart_interval_policy(RestartIntervalPolicy::new([10, 16]))
        .filter_policy(filters)
        .with_kv_separation(Some(separation))
}

fn lock(path: &Path) -> Result<File, StorageError> {
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StorageError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(source.into()),
    }
}

/// Checks what `lsm-tree` takes as it finds it: the list of tables, by the checksum that stands beside its name. Where the list
/// is missing although there are tables, it was lost, and `lsm-tree` would begin anew beside them.
fn check_list(path: &Path) -> Result<(), StorageError> {
    if path.join(FORMER).try_exists()? {
        let what = format!(
            "{} was written by an earlier version: save a snapshot with that version, and restore it with this one",
            path.display()
        );
        return Err(StorageError::Format { what });
    }
    let corrupt = |what: &str| StorageError::Corrupt { what: format!("{} {what}", path.display()) };
    if path.join(CURRENT).try_exists()? {
        // The number of the list, its checksum, and a byte that says of which kind that is.
        let current = fs::read(path.join(CURRENT))?;
        let (Some(number), Some(checksum)) = (current.first_chunk(), current.get(8..).and_then(<[u8]>::first_chunk))
        else {
            return Err(corrupt("does not name its list of tables"));
        };
        let number = u64::from_le_bytes(*number);
        // The first list is made before the directory of large values.
        if number > 0 && !path.join(VALUES).is_dir() {
            return Err(corrupt("has lost its directory of large values"));
        }
        let list = path.join(format!("v{number}"));
        let found = xxh3_128(&fs::read(list).map_err(translate_io)?);
        return if found == u128::from_le_bytes(*checksum) {
            Ok(())
        } else {
            Err(corrupt("has a list of tables that does not match its checksum"))
        };
    }
    for folder in ["tables", VALUES] {
        let tables = match fs::read_dir(path.join(folder)) {
            Ok(entries) => entries.count(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error.into()),
        };
        if tables > 0 {
            return Err(corrupt("holds tables but no list of them"));
        }
    }
    Ok(())
}

/// Makes the name of the store's directory durable, and those in it.
fn sync_names(path: &Path) -> Result<(), StorageError> {
    File::open(path)?.sync_all()?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all()?,
        None => File::open(".")?.sync_all()?,
    }
    Ok(())
}

/// What the files below a directory take on the disk.
fn allocated_bytes(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Merging removes files while they are being counted.
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

fn translate(error: lsm_tree::Error) -> StorageError {
    match error {
        lsm_tree::Error::Io(source) => translate_io(source),
        lsm_tree::Error::InvalidVersion(_) => StorageError::Format { what: error.to_string() },
        lsm_tree::Error::ChecksumMismatch { .. } => {
            StorageError::Corrupt { what: "a part of it does not match its checksum".to_owned() }
        }
        lsm_tree::Error::Unrecoverable => {
            StorageError::Corrupt { what: "files of it are missing or cannot be read".to_owned() }
        }
        // Everything else is bytes that are not what was written; the list of errors is open.
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
mod tests;
