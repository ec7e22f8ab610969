//! The log as it is written: one write and one sync for a batch, segment after segment.
//!
//! Invariants: nothing is written before the sync of what precedes it has returned, also no seal; a segment has its name only once
//! its header is durable; segments go from the front, one durable removal after another, so that no crash leaves a gap;
//! after any failure nothing is written again.

use std::collections::VecDeque;
use std::io;

use super::disk::{Directory, File, write_zeros};
use super::format::{self, Header, Tail};
use super::recovery;
use super::{Batch, Identity, Options, Recovered, SECTOR_BYTES, SnapshotMark, WalError};
use crate::model::{Index, LogEntry};

/// The name of the segment that is allocated ahead.
pub(super) const SPARE: &str = "spare";

/// The encode buffer gives memory beyond this many bytes back after a large batch.
const KEPT_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A segment as far as removing it is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    /// Its highest entry that is still part of the log; 0 for none.
    pub(super) high: Index,
}

/// The segment that is allocated ahead.
#[derive(Debug)]
pub(super) enum Spare<F> {
    /// There was no room for it.
    Missing,
    /// Its space is its own, and reads as zeros that the disk has not written.
    Allocated(F),
    /// With who writes its zeros.
    Lent,
    /// Its zeros are on disk: writing over them changes nothing but data, and a sync has no more to do than that.
    Written(F),
}

/// Keeps book of which segment holds what, as a batch goes into the last one.
pub(super) fn account(segments: &mut VecDeque<Segment>, snapshot: Option<&SnapshotMark>, entries: &[LogEntry]) {
    if snapshot.is_some() {
        for segment in segments.iter_mut() {
            segment.high = Index::ZERO;
        }
    }
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
    let below = Index(first.index.get().saturating_sub(1));
    for segment in segments.iter_mut() {
        segment.high = segment.high.min(below);
    }
    if let Some(active) = segments.back_mut() {
        active.high = last.index;
    }
}

/// The raft log on disk. Owned by the one thread that writes it.
///
/// Any error of [`Wal::append`] and [`Wal::truncate_front`] that comes from the disk poisons the log: what is on disk
/// is then known only after a new start.
#[derive(Debug)]
pub struct Wal<D: Directory> {
    pub(super) directory: D,
    pub(super) options: Options,
    pub(super) identity: Identity,
    /// From the first to the active one.
    pub(super) segments: VecDeque<Segment>,
    pub(super) active: D::File,
    pub(super) active_bytes: u64,
    /// Where the next batch goes in the active segment.
    pub(super) offset: u64,
    pub(super) spare: Spare<D::File>,
    pub(super) tail: Tail,
    pub(super) buffer: Vec<u8>,
    pub(super) poisoned: bool,
}

impl<D: Directory> Wal<D> {
    /// Begins a log in a directory that has none.
    ///
    /// # Errors
    /// [`WalError::Exists`], [`WalError::Full`], or when the disk fails.
    pub fn create(directory: D, identity: Identity) -> Result<Self, WalError> {
        Self::create_with(directory, identity, Options::default())
    }

    /// As [`Wal::create`], with a segment size of one's own.
    ///
    /// # Errors
    /// As [`Wal::create`].
    pub fn create_with(directory: D, identity: Identity, options: Options) -> Result<Self, WalError> {
        let names = directory.list().map_err(|source| WalError::io("listing", ".", source))?;
        if names.iter().any(|name| format::segment_sequence(name).is_some()) {
            return Err(WalError::Exists);
        }
        remove_spare(&directory, &names)?;
        let mut spare = allocate_spare(&directory, options.segment_bytes)?;
        // There is nobody yet to write them ahead.
        write_zeros(&mut spare, 0, options.segment_bytes).map_err(|source| WalError::io("writing", SPARE, source))?;
        let tail = Tail::new();
        let (active, active_bytes) =
            activate(&directory, spare, &Header { identity, sequence: 1, tail: tail.clone() })?;
        let mut wal = Self {
            directory,
            options,
            identity,
            segments: VecDeque::from([Segment { sequence: 1, high: Index::ZERO }]),
            active,
            active_bytes,
            offset: SECTOR_BYTES as u64,
            spare: Spare::Missing,
            tail,
            buffer: Vec::new(),
            poisoned: false,
        };
        wal.reserve()?;
        Ok(wal)
    }

    /// Opens the log and reads all of it. An unfinished last batch is cut off; what is returned is durable.
    ///
    /// # Errors
    /// [`WalError::Absent`]; [`WalError::Damaged`] when anything but the last batch is not as it was written; or when
    /// the disk fails.
    pub fn open(directory: D) -> Result<(Self, Recovered), WalError> {
        Self::open_with(directory, Options::default())
    }

    /// As [`Wal::open`], with a segment size of one's own and an identity to insist on.
    ///
    /// # Errors
    /// As [`Wal::open`], and [`WalError::Foreign`].
    pub fn open_with(directory: D, options: Options) -> Result<(Self, Recovered), WalError> {
        let (mut wal, recovered) = recovery::open(directory, options)?;
        wal.reserve()?;
        Ok((wal, recovered))
    }

    /// Whose log it is.
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// The index of the last entry, or of the snapshot where there is none behind it; 0 for neither.
    pub const fn last_index(&self) -> Index {
        self.tail.last
    }

    /// The bytes that the log takes on disk, as far as segments are of the usual size.
    pub fn disk_bytes(&self) -> u64 {
        (self.segments.len() + usize::from(self.has_reserve())) as u64 * self.options.segment_bytes
    }

    /// Whether the next segment is allocated. Without it the disk is full, while there is still room in the active
    /// segment: the time to raise an alarm.
    pub const fn has_reserve(&self) -> bool {
        !matches!(self.spare, Spare::Missing)
    }

    /// Allocates the next segment if it is not there, and says whether it is now. Called at start and with each new
    /// segment; again by whoever has freed space.
    ///
    /// # Errors
    /// When the disk fails, but not when it is full.
    pub fn reserve(&mut self) -> Result<bool, WalError> {
        self.guarded(|wal| {
            if !wal.has_reserve() {
                match allocate_spare(&wal.directory, wal.options.segment_bytes) {
                    Ok(spare) => wal.spare = Spare::Allocated(spare),
                    Err(WalError::Full { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(wal.has_reserve())
        })
    }

    /// Gives the segment allocated ahead to who writes its zeros, once: all of it from its start to its size, synced.
    /// It has to come back by [`Wal::take_back`]. `None` when there is none that needs it.
    pub fn lend_spare(&mut self) -> Option<D::File> {
        match std::mem::replace(&mut self.spare, Spare::Missing) {
            Spare::Allocated(file) => {
                self.spare = Spare::Lent;
                Some(file)
            }
            other => {
                self.spare = other;
                None
            }
        }
    }

    /// Takes back the segment that was lent. Written whole or in part, it reads as zeros.
    pub fn take_back(&mut self, spare: D::File) {
        self.spare = Spare::Written(spare);
    }

    /// Writes a batch. It is durable on return. An empty one costs nothing.
    ///
    /// # Errors
    /// [`WalError::Gap`] and [`WalError::TooLarge`] for a batch that can not be, and [`WalError::Lent`] for one that
    /// needs the segment that is lent; nothing is written then, and the log goes on.
    /// [`WalError::Full`] when a new segment finds no space; everything acknowledged is intact. Otherwise when the disk
    /// fails: the batch may or may not be found at the next start.
    pub fn append(&mut self, batch: &Batch<'_>) -> Result<(), WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.tail.check(batch.snapshot.as_ref(), batch.entries)?;
        let crc = format::encode_batch(&mut self.buffer, self.identity.incarnation, &self.tail, batch)?;
        if self.is_full() && matches!(self.spare, Spare::Lent) {
            self.buffer.clear();
            return Err(WalError::Lent);
        }
        self.guarded(Self::write)?;
        account(&mut self.segments, batch.snapshot.as_ref(), batch.entries);
        self.tail.advance(batch.snapshot.as_ref(), batch.entries, batch.hard_state, crc);
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
        Ok(())
    }

    /// Says behind the last batch that it is durable, where the next one will go: for as long as that is there, damage to the
    /// last batch does not look like an unfinished write. Costs a write and no sync; after a power loss it may not be there.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn seal(&mut self) -> Result<(), WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        if self.offset + SECTOR_BYTES as u64 > self.active_bytes {
            return Ok(());
        }
        format::encode_seal(&mut self.buffer, self.identity.incarnation, &self.tail)?;
        self.guarded(|wal| {
            let written = wal.active.write_at(wal.offset, &wal.buffer);
            written.map_err(|source| WalError::io("sealing", &wal.active_name(), source))
        })?;
        self.buffer.clear();
        Ok(())
    }

    /// Removes segments from the front that hold no entry from `index` on. The last entry always stays, and what is
    /// kept beyond `index` is harmless. Call it only for what the state machine has made durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn truncate_front(&mut self, index: Index) -> Result<(), WalError> {
        let index = index.min(self.tail.last);
        self.guarded(|wal| {
            while wal.segments.len() > 1
                && let Some(front) = wal.segments.front().copied()
                && front.high < index
            {
                let name = format::segment_name(front.sequence);
                wal.directory.remove(&name).map_err(|source| WalError::io("removing", &name, source))?;
                wal.directory.sync().map_err(|source| WalError::io("syncing the removal of", &name, source))?;
                wal.segments.pop_front();
            }
            Ok(())
        })
    }

    /// Runs what touches the disk, and nothing ever again once it has failed.
    fn guarded<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, WalError>) -> Result<T, WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        let result = run(self);
        self.poisoned = result.is_err();
        result
    }

    /// Writes the encoded batch behind the last one, in a new segment if need be.
    fn write(&mut self) -> Result<(), WalError> {
        let length = self.buffer.len() as u64;
        if self.is_full() {
            self.rotate(length)?;
        }
        let written = self.active.write_at(self.offset, &self.buffer);
        written.map_err(|source| WalError::io("writing", &self.active_name(), source))?;
        self.active.sync().map_err(|source| WalError::io("syncing", &self.active_name(), source))?;
        self.offset += length;
        Ok(())
    }

    /// Whether the encoded batch has no room in the active segment.
    fn is_full(&self) -> bool {
        self.offset + self.buffer.len() as u64 > self.active_bytes
    }

    /// Goes on in the segment that was allocated ahead, made larger if the batch needs it, and allocates another.
    fn rotate(&mut self, batch_bytes: u64) -> Result<(), WalError> {
        let needed = self.options.segment_bytes.max(SECTOR_BYTES as u64 + batch_bytes);
        let mut spare = match std::mem::replace(&mut self.spare, Spare::Missing) {
            Spare::Allocated(spare) | Spare::Written(spare) => spare,
            Spare::Missing => allocate_spare(&self.directory, needed)?,
            Spare::Lent => return Err(WalError::Lent),
        };
        let size = spare.size().map_err(|source| WalError::io("measuring", SPARE, source))?;
        if size < needed {
            spare.allocate(needed).map_err(|source| WalError::io("allocating", SPARE, source))?;
        }
        let sequence = self.segments.back().map_or(1, |segment| segment.sequence + 1);
        let header = Header { identity: self.identity, sequence, tail: self.tail.clone() };
        (self.active, self.active_bytes) = activate(&self.directory, spare, &header)?;
        self.offset = SECTOR_BYTES as u64;
        self.segments.push_back(Segment { sequence, high: Index::ZERO });
        self.reserve().map(|_| ())
    }

    fn active_name(&self) -> String {
        format::segment_name(self.segments.back().map_or(0, |segment| segment.sequence))
    }
}

/// Turns the spare file into a segment, and returns it with its size.
fn activate<D: Directory>(directory: &D, mut spare: D::File, header: &Header) -> Result<(D::File, u64), WalError> {
    let name = format::segment_name(header.sequence);
    let failed = |doing| move |source: io::Error| WalError::io(doing, SPARE, source);
    spare.write_at(0, &header.encode()).map_err(failed("writing"))?;
    // Before the rename: a file with the name of a segment always has a header.
    spare.sync().map_err(failed("syncing"))?;
    directory.rename(SPARE, &name).map_err(failed("renaming"))?;
    directory.sync().map_err(|source| WalError::io("syncing the name of", &name, source))?;
    let size = spare.size().map_err(|source| WalError::io("measuring", &name, source))?;
    Ok((spare, size))
}

/// Makes the file that will be the next segment. What is left of an attempt that failed is removed.
fn allocate_spare<D: Directory>(directory: &D, size: u64) -> Result<D::File, WalError> {
    let mut spare = directory.create(SPARE).map_err(|source| WalError::io("creating", SPARE, source))?;
    match spare.allocate(size) {
        Ok(()) => Ok(spare),
        Err(source) => {
            drop(spare);
            directory.remove(SPARE).map_err(|source| WalError::io("removing", SPARE, source))?;
            Err(WalError::io("allocating", SPARE, source))
        }
    }
}

/// Removes a spare file that an earlier start left behind: nobody knows whether it still reads as zeros.
pub(super) fn remove_spare<D: Directory>(directory: &D, names: &[String]) -> Result<(), WalError> {
    if names.iter().any(|name| name == SPARE) {
        directory.remove(SPARE).map_err(|source| WalError::io("removing", SPARE, source))?;
    }
    Ok(())
}
