//! The raft log on disk: what a member has promised to remember, through crashes, and whether it still can.
//!
//! Owns the files of the log and the decision at start between an unfinished write, which is cut off, and damage, which
//! is refused. Knows nothing of the `raft` crate, of the state machine or of its store.
//!
//! - `log.rs` writes: [`Wal`]. `recovery.rs` reads at start, and where nothing may be changed ([`read`]). `format.rs` is
//!   the layout of the bytes.
//! - `disk.rs` holds the traits [`Directory`] and [`File`]; `file.rs` implements them with real files, `memory.rs`
//!   with a disk that fails on demand, for tests and simulations.
//!
//! # Layout
//! Segments `<sequence, 16 hexadecimal digits>.wal`, allocated whole and ahead, each a header of one sector and then
//! batches, each from a sector boundary on. A segment gets its name once its header is durable. A batch names this life
//! of the directory, its number and the checksum of the batch before it, so that the batches form one chain through
//! all segments; what is behind the last one reads as zeros.
//!
//! # What can be lost
//! A batch is written only after the one before it is durable, so a crash leaves at most one unfinished batch, the
//! last, with any subset of its sectors. A bad batch with a valid later one behind it is therefore damage, and the log
//! does not open. Behind the very last batch stands a seal, a batch without content, once it is durable and nothing else
//! waits to be written ([`Wal::seal`]); the next batch takes its place. Seals are not synced: after a power loss, damage to the
//! last batch may look like an unfinished write and be cut off. Whoever applied its entries sees that the log ends before
//! them.

mod disk;
mod file;
mod format;
mod log;
pub mod memory;
mod recovery;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use thiserror::Error;

use crate::model::{ClusterId, HardState, Incarnation, Index, LogEntry, MemberId, Term};

pub use disk::{Directory, File, write_zeros};
pub use file::{FileDirectory, make_durably, read};
pub use log::Wal;

/// The smallest unit that a disk writes whole, in bytes. A batch never shares one with another batch, so that writing
/// never touches what is durable.
pub const SECTOR_BYTES: usize = 512;

/// The longest name of an installed store, in bytes.
pub const MAX_STORE_NAME_BYTES: usize = 128;

/// The largest batch, in bytes.
pub const MAX_BATCH_BYTES: usize = 1 << 30;

/// Whose log it is. Stored in every segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Identity {
    pub cluster: ClusterId,
    pub member: MemberId,
    /// This life of the directory: random, and another one whenever it is made anew.
    pub incarnation: Incarnation,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, member, incarnation } = self;
        write!(f, "cluster {cluster}, member {member}, incarnation {incarnation}")
    }
}

/// The place in the log that an installed snapshot stands for. The log begins anew behind it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SnapshotMark {
    pub index: Index,
    pub term: Term,
    /// The directory of the store that the snapshot was installed into; at most [`MAX_STORE_NAME_BYTES`].
    pub store: String,
}

/// What becomes durable together or not at all: the snapshot first, then entries, then the hard state.
#[derive(Debug, Clone, Default)]
pub struct Batch<'a> {
    /// Forgets every earlier entry. That it is durable is what makes an installed snapshot count.
    pub snapshot: Option<SnapshotMark>,
    /// Without gaps. They follow on the log, or replace its tail from the first one's index on.
    pub entries: &'a [LogEntry],
    pub hard_state: Option<HardState>,
}

impl Batch<'_> {
    /// Whether there is nothing to write.
    pub const fn is_empty(&self) -> bool {
        self.snapshot.is_none() && self.entries.is_empty() && self.hard_state.is_none()
    }
}

/// What the log remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    pub identity: Identity,
    /// The default if none was ever written.
    pub hard_state: HardState,
    /// Without gaps. Whole segments of the front may have been removed; the last entry never is.
    pub entries: Vec<LogEntry>,
    /// The last one written. Entries between it and the first of `entries` were removed from the front.
    pub snapshot: Option<SnapshotMark>,
    /// The number of an unfinished, never acknowledged batch that was cut off.
    pub cut_off: Option<u64>,
}

/// What may differ from log to log.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The size of a segment; one that begins with a larger batch is larger.
    pub segment_bytes: u64,
    /// Refuse to open the log of anybody else.
    pub expected: Option<Identity>,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 16 * 1024 * 1024, expected: None }
    }
}

/// Why the log does not open or takes nothing more.
#[derive(Debug, Error)]
pub enum WalError {
    #[error("there is no write-ahead log")]
    Absent,
    #[error("there is a write-ahead log already")]
    Exists,
    #[error("the write-ahead log in {directory} is in use by another process")]
    InUse { directory: String },
    #[error("the write-ahead log belongs to {found}, not to {expected}: is this the right data directory?")]
    Foreign { expected: Identity, found: Identity },
    #[error("{file} has format {found} of the write-ahead log; this version reads format {known}")]
    Version { file: String, found: u8, known: u8 },
    #[error(
        "the write-ahead log is damaged in {file} at byte {offset}: {what}. Acknowledged writes may be missing, so this \
         member must not start. In a cluster: remove the member, delete its data directory and add it again, as a new \
         member. A cluster of one: restore a snapshot into an empty data directory"
    )]
    Damaged { file: String, offset: u64, what: &'static str },
    #[error("no space is left for the write-ahead log ({doing} {file}); everything acknowledged is safe: {source}")]
    Full { doing: &'static str, file: String, source: io::Error },
    #[error("the write-ahead log failed ({doing} {file}): {source}")]
    Io { doing: &'static str, file: String, source: io::Error },
    #[error("entry {found} can not follow entry {last} of the log, which begins behind entry {floor}")]
    Gap { floor: Index, last: Index, found: Index },
    #[error("{what} of {actual} bytes is larger than {limit}")]
    TooLarge { what: &'static str, actual: usize, limit: usize },
    #[error("the next segment is lent to who writes its zeros")]
    Lent,
    #[error("the write-ahead log has failed before and takes nothing more until the member is started again")]
    Poisoned,
}

impl WalError {
    fn io(doing: &'static str, file: &str, source: io::Error) -> Self {
        let file = file.to_owned();
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            Self::Full { doing, file, source }
        } else {
            Self::Io { doing, file, source }
        }
    }
}
