//! Snapshots: the whole state at one log entry as a stream of bytes, and the check that a stream is whole.
//!
//! A stream is a magic word with the format's version, then frames. A frame is its length and its CRC-32C, both of 4 bytes,
//! little-endian, then that many bytes of a piece of the state. Each CRC goes on from the one before it, so that a frame
//! lost, repeated or moved is seen; the last frame holds a digest of all that came before, so that a cut is seen.
//! Records, deletions and events travel as such, never as the store's bytes: what members lay out differently comes
//! out the same. Nothing of what compaction made invisible is in it. [`restore`](super::restore) takes a stream in. A file
//! may have a [`seal`](super::seal) behind the stream.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use super::clock::Clock;
use super::seal::{Broken, SealCheck};
use super::{auth, lease};
use crate::model::limits::{HIGHEST_MAX_REQUEST_BYTES, MAX_ENTRY_BYTES};
use crate::model::{Event, Index, Key, KeyRange, KeyValue, Lease, Members, Revision, Role, Term, User, codec};
use crate::mvcc::{ReadError, ReplayBudget, View};
use crate::storage::schema::{self, Meta};
use crate::storage::{Keyspace, Snapshot, StorageError};

/// What a stream begins with; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"vardrsn\x04";
/// A frame's length and CRC.
const FRAME_HEADER_BYTES: usize = 8;
/// A frame is closed at about this many bytes; a larger item makes a larger frame.
const FRAME_BYTES: usize = 256 * 1024;
/// No frame is longer: the largest item, which is an event with the value before, fits besides what comes before it.
const MAX_FRAME_BYTES: usize = 2 * HIGHEST_MAX_REQUEST_BYTES + MAX_ENTRY_BYTES;
/// What an item costs beside its bytes, roughly.
const ITEM_BYTES: usize = 64;
/// The events looked at in one read of the history.
const REPLAY_STEPS: usize = 10_000;

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SnapshotHead {
    /// The last entry applied.
    pub index: Index,
    pub term: Term,
    pub members: Members,
    pub revision: Revision,
    pub compacted: Revision,
    /// The chained digest: [`StateMachine::digest`](super::StateMachine::digest).
    pub digest: u128,
    pub(super) clock: Clock,
}

/// A part of the state.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(super) enum Piece {
    Head(SnapshotHead),
    Leases(Vec<Lease>),
    Users(Vec<User>),
    Roles(Vec<Role>),
    Records(Vec<KeyValue>),
    Deletions(Vec<(Key, Revision)>),
    /// In order, not cut between revisions.
    Events(Vec<Event>),
    /// Kept answers, by their key in `meta`.
    Answers(Vec<(Bytes, Bytes)>),
    /// The end, with a digest of every byte before this frame.
    End {
        digest: u128,
    },
}

/// One moment of the state, to be streamed.
#[derive(Debug)]
pub struct SnapshotSource<S> {
    view: View<S>,
    head: SnapshotHead,
}

impl<S: Snapshot> SnapshotSource<S> {
    /// The state that a moment of the store holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(snapshot: S) -> Result<Self, StorageError> {
        let applied = schema::applied(&snapshot)?.unwrap_or_default();
        let members = Meta::Members.get(&snapshot)?.unwrap_or_default();
        let digest = Meta::Digest.get(&snapshot)?.unwrap_or_default();
        let clock = Meta::Clock.get(&snapshot)?.unwrap_or_default();
        let view = View::open(snapshot)?;
        let (revision, compacted) = (view.revision(), view.compacted());
        let schema::Applied { index, term } = applied;
        let head = SnapshotHead { index, term, members, revision, compacted, digest, clock };
        Ok(Self { view, head })
    }

    /// What it is a snapshot of.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The stream, in chunks of about a quarter of a megabyte.
    pub fn chunks(&self) -> impl Iterator<Item = Result<Bytes, StorageError>> + '_ {
        let view = &self.view;
        let leases = Grouped::new(lease::all(view.snapshot()), |_| 0, Piece::Leases);
        let users = Grouped::new(auth::users(view.snapshot()), user_bytes, Piece::Users);
        let roles = Grouped::new(auth::roles(view.snapshot()), Role::range_bytes, Piece::Roles);
        let records = Grouped::new(
            view.records(),
            |item: &KeyValue| item.key.as_bytes().len() + item.record.value.len(),
            Piece::Records,
        );
        let deletions =
            Grouped::new(view.tombstones(), |(key, _): &(Key, Revision)| key.as_bytes().len(), Piece::Deletions);
        let events = Grouped::new(Events::new(view), event_bytes, Piece::Events);
        let answers = Grouped::new(answers(view), |(name, value)| name.len() + value.len(), Piece::Answers);
        let pieces = std::iter::once(Ok(Piece::Head(self.head.clone())))
            .chain(leases)
            .chain(users)
            .chain(roles)
            .chain(records)
            .chain(deletions)
            .chain(events)
            .chain(answers);
        Frames { pieces, packer: Packer::default(), ended: false }
    }
}

fn user_bytes(user: &User) -> usize {
    user.roles.iter().map(|role| role.as_str().len()).sum()
}

fn event_bytes(event: &Event) -> usize {
    let records = event.record.iter().chain(&event.previous).map(|record| record.value.len()).sum::<usize>();
    event.key.as_bytes().len() + records
}

fn answers<S: Snapshot>(view: &View<S>) -> impl Iterator<Item = Result<(Bytes, Bytes), StorageError>> {
    let bounds = schema::answers();
    let (from, to) = schema::as_slices(&bounds);
    // The bounds live no longer than this call, and the answers are bounded in number and bytes.
    view.snapshot().scan(Keyspace::Meta, from, to).collect::<Vec<_>>().into_iter()
}

/// Every event that is not compacted, in order.
struct Events<'a, S> {
    view: &'a View<S>,
    read: std::vec::IntoIter<Event>,
    after: Revision,
}

impl<'a, S: Snapshot> Events<'a, S> {
    fn new(view: &'a View<S>) -> Self {
        let after = Revision(view.compacted().get().saturating_sub(1));
        Self { view, read: Vec::new().into_iter(), after }
    }
}

impl<S: Snapshot> Iterator for Events<'_, S> {
    type Item = Result<Event, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.read.next() {
                return Some(Ok(event));
            }
            if self.after >= self.view.revision() {
                return None;
            }
            let budget = ReplayBudget { steps: REPLAY_STEPS, bytes: FRAME_BYTES };
            match self.view.events(&KeyRange::prefix(""), self.after, budget) {
                Ok(replay) => {
                    self.after = replay.through;
                    self.read = replay.events.into_iter();
                }
                Err(error) => {
                    self.after = self.view.revision();
                    return Some(Err(read_failed(error)));
                }
            }
        }
    }
}

fn read_failed(error: ReadError) -> StorageError {
    match error {
        ReadError::Storage(error) => error,
        ReadError::Compacted { .. } | ReadError::Future { .. } | ReadError::TooManySteps { .. } => {
            StorageError::Corrupt { what: format!("the history of a snapshot cannot be read: {error}") }
        }
    }
}

/// Items in pieces of about [`FRAME_BYTES`].
struct Grouped<I, T> {
    items: I,
    size: fn(&T) -> usize,
    piece: fn(Vec<T>) -> Piece,
}

impl<T, I: Iterator<Item = Result<T, StorageError>>> Grouped<I, T> {
    fn new(items: I, size: fn(&T) -> usize, piece: fn(Vec<T>) -> Piece) -> Self {
        Self { items, size, piece }
    }
}

impl<T, I: Iterator<Item = Result<T, StorageError>>> Iterator for Grouped<I, T> {
    type Item = Result<Piece, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while bytes < FRAME_BYTES {
            match self.items.next() {
                Some(Ok(item)) => {
                    bytes += ITEM_BYTES + (self.size)(&item);
                    group.push(item);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        (!group.is_empty()).then(|| Ok((self.piece)(group)))
    }
}

/// Pieces as chunks of bytes, with the end behind them.
struct Frames<I> {
    pieces: I,
    packer: Packer,
    ended: bool,
}

impl<I: Iterator<Item = Result<Piece, StorageError>>> Iterator for Frames<I> {
    type Item = Result<Bytes, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.pieces.next() {
            Some(Ok(piece)) => Some(Ok(self.packer.pack(&piece))),
            Some(Err(error)) => {
                self.ended = true;
                Some(Err(error))
            }
            None => {
                self.ended = true;
                let digest = self.packer.hasher.digest128();
                Some(Ok(self.packer.pack(&Piece::End { digest })))
            }
        }
    }
}

/// Turns pieces into frames.
#[derive(Default)]
struct Packer {
    crc: u32,
    hasher: Xxh3,
    begun: bool,
}

impl Packer {
    fn pack(&mut self, piece: &Piece) -> Bytes {
        let mut bytes = if std::mem::replace(&mut self.begun, true) { Vec::new() } else { MAGIC.to_vec() };
        let mut body = Vec::new();
        codec::encode_into(&mut body, piece);
        self.crc = crc32c::crc32c_append(self.crc, &body);
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&self.crc.to_le_bytes());
        bytes.extend_from_slice(&body);
        self.hasher.update(&bytes);
        bytes.into()
    }
}

/// Why a stream of bytes is no snapshot to be trusted.
#[derive(Debug, Error)]
pub enum SnapshotError {
    #[error("this is not a snapshot")]
    NotASnapshot,
    #[error("a snapshot of format {found}; this version reads format {}", MAGIC[7])]
    Format { found: u8 },
    #[error("the snapshot is damaged at byte {at}: {what}")]
    Damaged { at: u64, what: String },
    #[error("the snapshot ends early, after {bytes} bytes")]
    Truncated { bytes: u64 },
    #[error("a snapshot is restored into an empty store only; this one holds something in `{keyspace}`")]
    NotEmpty { keyspace: &'static str },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Reads a stream and checks all of it, keeping nothing.
#[derive(Default)]
pub struct SnapshotCheck {
    unread: Vec<u8>,
    /// Where `unread` begins in the stream.
    at: u64,
    crc: u32,
    hasher: Xxh3,
    begun: bool,
    head: Option<SnapshotHead>,
    ended: bool,
    /// Where a seal may follow the stream.
    seal: Option<SealCheck>,
}

impl SnapshotCheck {
    /// A check that has seen nothing yet, of a stream that nothing follows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, of a file: the stream may be followed by a seal, to which it is held then.
    #[must_use]
    pub fn of_file() -> Self {
        Self { seal: Some(SealCheck::default()), ..Self::default() }
    }

    /// Takes the next bytes of the stream, cut anywhere.
    ///
    /// # Errors
    /// When they are damaged. Nothing more may be pushed then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.pieces(bytes).map(drop)
    }

    /// Ends the stream: says what it was a snapshot of.
    ///
    /// # Errors
    /// When the stream is not at its end.
    pub fn finish(self) -> Result<SnapshotHead, SnapshotError> {
        let Self { unread, at, head, ended, seal, .. } = self;
        let Some(head) = head.filter(|_| ended) else {
            return Err(SnapshotError::Truncated { bytes: at + unread.len() as u64 });
        };
        seal.map_or(Ok(()), SealCheck::finish).map_err(|broken| unsealed(at, broken))?;
        Ok(head)
    }

    /// The whole pieces up to where the stream has come.
    pub(super) fn pieces(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, SnapshotError> {
        self.unread.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        let mut read = 0;
        if !self.begun {
            let Some((magic, _)) = self.unread.split_first_chunk::<8>() else { return Ok(pieces) };
            check_magic(*magic)?;
            read = magic.len();
            let magic = *magic;
            self.digest(&magic);
            self.begun = true;
        }
        let unread = std::mem::take(&mut self.unread);
        while !self.ended
            && let Some((piece, length)) = self.frame(unread.get(read..).unwrap_or_default(), read)?
        {
            pieces.push(piece);
            read += length;
        }
        self.at += read as u64;
        match unread.get(read..).unwrap_or_default() {
            [] => {}
            rest if !self.ended => self.unread = rest.to_vec(),
            rest => {
                let broken = Broken::Damaged("something follows the end");
                let read = self.seal.as_mut().map_or(Err(broken), |seal| seal.read_seal(rest));
                read.map_err(|broken| unsealed(self.at, broken))?;
            }
        }
        Ok(pieces)
    }

    fn digest(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if let Some(seal) = &mut self.seal {
            seal.read(bytes);
        }
    }

    /// The next frame's piece and length, if all of it is there; `offset` is how far it is into what is unread.
    fn frame(&mut self, unread: &[u8], offset: usize) -> Result<Option<(Piece, usize)>, SnapshotError> {
        let at = self.at + offset as u64;
        let damaged = |what: &str| SnapshotError::Damaged { at, what: what.to_owned() };
        let Some((header, rest)) = unread.split_first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let [a, b, c, d, crc @ ..] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(damaged("a part is longer than any can be"));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        self.crc = crc32c::crc32c_append(self.crc, body);
        if self.crc != u32::from_le_bytes(crc) {
            return Err(damaged("a checksum does not match"));
        }
        let piece = borsh::from_slice(body).map_err(|error| damaged(&error.to_string()))?;
        self.accept(&piece, &damaged)?;
        self.digest(header);
        self.digest(body);
        Ok(Some((piece, FRAME_HEADER_BYTES + length)))
    }

    /// The head comes first and once, the end last.
    fn accept(&mut self, piece: &Piece, damaged: &impl Fn(&str) -> SnapshotError) -> Result<(), SnapshotError> {
        if self.head.is_none() && !matches!(piece, Piece::Head(_)) {
            return Err(damaged("it does not say what it is of"));
        }
        match piece {
            Piece::Head(_) if self.head.is_some() => return Err(damaged("it begins twice")),
            Piece::Head(head) => self.head = Some(head.clone()),
            Piece::End { digest } if *digest != self.hasher.digest128() => {
                return Err(damaged("the digest of the whole does not match"));
            }
            Piece::End { .. } => self.ended = true,
            Piece::Leases(_)
            | Piece::Users(_)
            | Piece::Roles(_)
            | Piece::Records(_)
            | Piece::Deletions(_)
            | Piece::Events(_)
            | Piece::Answers(_) => {}
        }
        Ok(())
    }
}

/// What is wrong with what follows a stream that ends at a byte.
fn unsealed(at: u64, broken: Broken) -> SnapshotError {
    match broken {
        Broken::Truncated => SnapshotError::Truncated { bytes: at },
        Broken::Damaged(what) => SnapshotError::Damaged { at, what: what.to_owned() },
    }
}

fn check_magic(magic: [u8; 8]) -> Result<(), SnapshotError> {
    let [name @ .., version] = &magic;
    let [known @ .., _] = &MAGIC;
    match name == known {
        true if magic == MAGIC => Ok(()),
        true => Err(SnapshotError::Format { found: *version }),
        false => Err(SnapshotError::NotASnapshot),
    }
}

impl std::fmt::Debug for SnapshotCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotCheck")
            .field("at", &self.at)
            .field("head", &self.head)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
