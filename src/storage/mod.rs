//! Where the state machine keeps its state: ordered bytes in five keyspaces, behind a small trait.
//!
//! Owns the [`Engine`] and [`Snapshot`] traits, the batch that is their unit of writing, the errors, and the layout of
//! keys ([`schema`]). Knows bytes only: what a value means is decided by the modules that use it. [`lsm`] is the
//! engine of a running member, [`memory`] the one of tests and simulations; one suite of claims holds for both.

pub mod lsm;
pub mod memory;
pub mod schema;

#[cfg(test)]
mod conformance;

use std::io;
use std::ops::Bound;
use std::path::PathBuf;

use bytes::Bytes;
use thiserror::Error;

use crate::model::codec::CodecError;

/// The ordered maps of the store. A batch writes to any of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keyspace {
    /// User key → its present record.
    Kv,
    /// Deleted user key → the revision of the deletion, until that is compacted.
    Tombstones,
    /// First revision of a block → the block of events.
    History,
    /// Lease → its state; lease and key → nothing.
    Leases,
    /// One value per name: revisions, clock, membership, kept answers.
    Meta,
}

impl Keyspace {
    /// Every keyspace.
    pub const ALL: [Self; 5] = [Self::Kv, Self::Tombstones, Self::History, Self::Leases, Self::Meta];

    /// The name of the keyspace on disk and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Tombstones => "tombstones",
            Self::History => "history",
            Self::Leases => "leases",
            Self::Meta => "meta",
        }
    }
}

/// One write of a batch. Of several to the same key, the last one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation<'a> {
    pub keyspace: Keyspace,
    pub key: &'a [u8],
    /// What the key has from then on; `None` when it is removed.
    pub value: Option<&'a [u8]>,
}

/// Writes that become visible, and survive a crash, together or not at all.
///
/// Their bytes are in one piece of memory: a batch has thousands of small keys and values, and each is in use only until
/// the engine has taken it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    writes: Vec<Write>,
    bytes: Vec<u8>,
}

/// Where the bytes of a write are: its key, and behind that its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Write {
    keyspace: Keyspace,
    key: usize,
    value: usize,
    end: usize,
    removes: bool,
}

impl WriteBatch {
    /// A batch that changes nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { writes: Vec::new(), bytes: Vec::new() }
    }

    /// Sets the value at a key.
    pub fn put(&mut self, keyspace: Keyspace, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.put_with(
            keyspace,
            |bytes| bytes.extend_from_slice(key.as_ref()),
            |bytes| bytes.extend_from_slice(value.as_ref()),
        );
    }

    /// Sets the value at a key; both are appended by what is given, to where they stay.
    pub fn put_with(&mut self, keyspace: Keyspace, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        self.write(keyspace, false, key, value);
    }

    /// Removes a key. Removing an absent one changes nothing.
    pub fn delete(&mut self, keyspace: Keyspace, key: impl AsRef<[u8]>) {
        self.write(keyspace, true, |bytes| bytes.extend_from_slice(key.as_ref()), |_| {});
    }

    fn write(
        &mut self,
        keyspace: Keyspace,
        removes: bool,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        key(&mut self.bytes);
        let middle = self.bytes.len();
        value(&mut self.bytes);
        self.writes.push(Write { keyspace, key: start, value: middle, end: self.bytes.len(), removes });
    }

    /// Takes all writes out, and keeps the memory for others unless it is more than `keep` bytes.
    pub fn clear(&mut self, keep: usize) {
        self.writes.clear();
        self.bytes.clear();
        self.bytes.shrink_to(keep);
        self.writes.shrink_to(keep / size_of::<Write>());
    }

    /// Whether the batch changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// The writes, in the order in which they were made.
    pub fn operations(&self) -> impl ExactSizeIterator<Item = Operation<'_>> {
        let bytes = |from, to| self.bytes.get(from..to).unwrap_or_default();
        self.writes.iter().map(move |write| Operation {
            keyspace: write.keyspace,
            key: bytes(write.key, write.value),
            value: (!write.removes).then(|| bytes(write.value, write.end)),
        })
    }
}

/// A store of ordered bytes. Clones are handles on the same store.
///
/// Batches of one caller become visible in the order in which they were committed; after a crash there is a prefix of
/// them that holds at least all that was committed before the last `sync`. After an error of `commit` or `sync` the
/// engine takes nothing more ([`StorageError::Poisoned`]): what is on disk is known only after a new start.
pub trait Engine: Clone + Send + Sync + 'static {
    type Snapshot: Snapshot;

    /// The state at this moment: whole batches only, untouched by later ones. Keep it short: what it can see cannot be
    /// freed.
    fn snapshot(&self) -> Self::Snapshot;

    /// Writes a batch. Visible on return, durable after the next [`Engine::sync`]. May block while the engine catches
    /// up with earlier writes, so it is never called from an async worker.
    ///
    /// # Errors
    /// When the store cannot be written; the batch may or may not be there after a new start.
    fn commit(&self, batch: &WriteBatch) -> Result<(), StorageError>;

    /// Makes everything committed before durable.
    ///
    /// # Errors
    /// When the disk cannot take it. Never retried: after a failed `fsync` the kernel may count lost pages as written.
    fn sync(&self) -> Result<(), StorageError>;

    /// The bytes the store takes on its disk.
    ///
    /// # Errors
    /// When the size cannot be read.
    fn disk_bytes(&self) -> Result<u64, StorageError>;
}

/// The state of a store at one moment. Clones see the same moment.
pub trait Snapshot: Clone + Send + Sync + 'static {
    /// The value at a key.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// The keys and values between two bounds, in bytewise order of key, from either end. Bounds that cross hold
    /// nothing.
    fn scan(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), StorageError>> + Send;

    /// The keys between two bounds, like [`Snapshot::scan`], without reading large values from their place.
    fn scan_keys(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<Bytes, StorageError>> + Send;
}

/// Why the store could not do what was asked. None of these is the client's doing.
#[derive(Debug, Error)]
pub enum StorageError {
    #[error("the store in {path} is in use by another process")]
    Locked { path: PathBuf },
    #[error("the store is damaged: {what}")]
    Corrupt { what: String },
    #[error("the store has a format that this version does not read: {what}")]
    Format { what: String },
    #[error("no space is left for the store: {source}")]
    OutOfSpace { source: io::Error },
    /// An earlier write failed, so nothing more is taken until a new start.
    #[error("the store takes no writes since an earlier one failed")]
    Poisoned,
    #[error("the store cannot be read or written: {source}")]
    Io { source: io::Error },
}

impl From<io::Error> for StorageError {
    fn from(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::OutOfSpace { source },
            _ => Self::Io { source },
        }
    }
}

impl From<CodecError> for StorageError {
    fn from(error: CodecError) -> Self {
        match &error {
            CodecError::Version { .. } => Self::Format { what: error.to_string() },
            CodecError::Empty { .. } | CodecError::Malformed { .. } => Self::Corrupt { what: error.to_string() },
        }
    }
}

/// Whether no key lies between two bounds. Maps of the standard library panic when asked for such a range.
fn holds_nothing(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
    }
}
