//! The bytes of segments: headers and batches. Pure functions; whether bytes are to be believed is decided in
//! `recovery.rs`.
//!
//! Little-endian, as borsh writes. A segment header, in one sector: `vardrwal`, format version (1 byte), length of the
//! content (2), content ([`Header`]), CRC-32C of all before it (4). A batch: `wbat` (4 bytes), length of the body (4),
//! incarnation (8), number (8), CRC-32C of the previous batch (4), body ([`Body`]), CRC-32C of all before it (4), zeros
//! up to the next sector.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Batch, Identity, MAX_BATCH_BYTES, MAX_STORE_NAME_BYTES, SECTOR_BYTES, SnapshotMark, WalError};
use crate::model::codec::encode_into;
use crate::model::{HardState, Incarnation, Index, LogEntry};

/// The version of the format of segments and batches.
pub(super) const VERSION: u8 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"vardrwal";
const BATCH_MAGIC: [u8; 4] = *b"wbat";
const BATCH_HEADER_BYTES: usize = 28;
const CRC_BYTES: usize = 4;

/// The file name of a segment.
pub(super) fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}.wal")
}

/// The sequence that a file name stands for, if it is the name of a segment.
pub(super) fn segment_sequence(name: &str) -> Option<u64> {
    let sequence = u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok()?;
    (segment_name(sequence) == name).then_some(sequence)
}

/// The end of the log: what the next batch follows on.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Tail {
    /// The number of the next batch, from 1.
    pub(super) number: u64,
    /// The checksum of the batch before it, 0 for none.
    pub(super) crc: u32,
    /// The last entry, or the snapshot where there is none behind it.
    pub(super) last: Index,
    pub(super) hard_state: HardState,
    pub(super) snapshot: Option<SnapshotMark>,
}

impl Tail {
    /// The end of a log without content.
    pub(super) fn new() -> Self {
        Self { number: 1, crc: 0, last: Index::ZERO, hard_state: HardState::default(), snapshot: None }
    }

    /// Whether a batch fits behind this end.
    ///
    /// # Errors
    /// [`WalError::Gap`] when it would leave out an entry, or replace one that a snapshot stands for.
    pub(super) fn check(&self, snapshot: Option<&SnapshotMark>, entries: &[LogEntry]) -> Result<(), WalError> {
        let floor = snapshot.or(self.snapshot.as_ref()).map_or(Index::ZERO, |mark| mark.index);
        let mut last = snapshot.map_or(self.last, |mark| mark.index);
        for (place, entry) in entries.iter().enumerate() {
            let follows = entry.index.get().checked_sub(1) == Some(last.get());
            let replaces = place == 0 && entry.index > floor && entry.index <= last;
            if !follows && !replaces {
                return Err(WalError::Gap { floor, last, found: entry.index });
            }
            last = entry.index;
        }
        Ok(())
    }

    /// Moves behind a batch.
    pub(super) fn advance(
        &mut self,
        snapshot: Option<&SnapshotMark>,
        entries: &[LogEntry],
        hard_state: Option<HardState>,
        crc: u32,
    ) {
        if let Some(mark) = snapshot {
            self.last = mark.index;
            self.snapshot = Some(mark.clone());
        }
        if let Some(entry) = entries.last() {
            self.last = entry.index;
        }
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state;
        }
        self.number += 1;
        self.crc = crc;
    }
}

/// What stands at the start of a segment. It repeats the state at the end of the segment before, so that segments can
/// be removed from the front.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Header {
    pub(super) identity: Identity,
    pub(super) sequence: u64,
    pub(super) tail: Tail,
}

/// Why a sector is no segment header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Version(u8),
    Damaged,
}

impl Header {
    /// The header as one sector.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        encode_into(&mut content, self);
        let mut sector = Vec::with_capacity(SECTOR_BYTES);
        sector.extend_from_slice(&SEGMENT_MAGIC);
        sector.push(VERSION);
        encode_into(&mut sector, &u16::try_from(content.len()).unwrap_or(u16::MAX));
        sector.extend_from_slice(&content);
        let crc = crc32c::crc32c(&sector);
        encode_into(&mut sector, &crc);
        debug_assert!(sector.len() <= SECTOR_BYTES, "the longest name of a store leaves room");
        sector.resize(SECTOR_BYTES, 0);
        sector
    }

    /// Reads a header back.
    pub(super) fn decode(segment: &[u8]) -> Result<Self, HeaderError> {
        let (magic, rest) = segment.split_first_chunk().ok_or(HeaderError::Damaged)?;
        let (&version, rest) = rest.split_first().ok_or(HeaderError::Damaged)?;
        if *magic != SEGMENT_MAGIC {
            return Err(HeaderError::Damaged);
        }
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let content = || {
            let (&length, rest) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_le_bytes(length));
            let (content, rest) = rest.split_at_checked(length)?;
            let crc = u32::from_le_bytes(*rest.first_chunk()?);
            let covered = segment.get(..SEGMENT_MAGIC.len() + 3 + length)?;
            (crc32c::crc32c(covered) == crc).then_some(content)
        };
        content().and_then(|content| borsh::from_slice(content).ok()).ok_or(HeaderError::Damaged)
    }
}

/// The content of a batch as it is read: snapshot, entries, hard state.
pub(super) type Body = (Option<SnapshotMark>, Vec<LogEntry>, Option<HardState>);

#[derive(BorshSerialize, BorshDeserialize)]
struct FrameHeader {
    magic: [u8; 4],
    length: u32,
    incarnation: Incarnation,
    number: u64,
    previous: u32,
}

/// Encodes a batch into `buffer`, which it fills up to a sector boundary, and returns the checksum.
///
/// # Errors
/// [`WalError::TooLarge`]
pub(super) fn encode_batch(
    buffer: &mut Vec<u8>,
    incarnation: Incarnation,
    tail: &Tail,
    batch: &Batch<'_>,
) -> Result<u32, WalError> {
    let Batch { snapshot, entries, hard_state } = batch;
    let name = snapshot.as_ref().map_or(0, |mark| mark.store.len());
    if name > MAX_STORE_NAME_BYTES {
        return Err(WalError::TooLarge { what: "the name of a store", actual: name, limit: MAX_STORE_NAME_BYTES });
    }
    let payload: usize = entries.iter().map(|entry| entry.data.len() + size_of::<LogEntry>()).sum();
    let too_large = |actual| WalError::TooLarge { what: "a batch", actual, limit: MAX_BATCH_BYTES };
    if payload > MAX_BATCH_BYTES {
        return Err(too_large(payload));
    }
    buffer.clear();
    buffer.reserve(payload + SECTOR_BYTES);
    let mut header =
        FrameHeader { magic: BATCH_MAGIC, length: 0, incarnation, number: tail.number, previous: tail.crc };
    encode_into(buffer, &header);
    encode_into(buffer, &(snapshot, *entries, hard_state));
    let length = buffer.len() - BATCH_HEADER_BYTES;
    header.length = u32::try_from(length).map_err(|_| too_large(length))?;
    if let Some(place) = buffer.get_mut(BATCH_MAGIC.len()..).and_then(<[u8]>::first_chunk_mut) {
        *place = header.length.to_le_bytes();
    }
    let crc = checksum(buffer);
    encode_into(buffer, &crc);
    buffer.resize(buffer.len().next_multiple_of(SECTOR_BYTES), 0);
    Ok(crc)
}

/// Encodes the seal that says that all before `tail` is durable: a batch without content, which no writer appends, under the
/// number of the one that will take its place. One sector.
pub(super) fn encode_seal(buffer: &mut Vec<u8>, incarnation: Incarnation, tail: &Tail) -> Result<(), WalError> {
    encode_batch(buffer, incarnation, tail, &Batch::default()).map(|_| ())
}

/// The CRC-32C of a batch, never 0: a batch ends with something, so that zeros at the end of a file are no part of one.
fn checksum(covered: &[u8]) -> u32 {
    match crc32c::crc32c(covered) {
        0 => u32::MAX,
        crc => crc,
    }
}

/// A batch that is whole by its own checksum.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) number: u64,
    /// The checksum of the batch before it.
    pub(super) previous: u32,
    pub(super) crc: u32,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The batch of this incarnation that begins with the first of `bytes`, if there is a whole one.
    pub(super) fn read(bytes: &'a [u8], incarnation: Incarnation) -> Option<Self> {
        let header: FrameHeader = borsh::from_slice(bytes.get(..BATCH_HEADER_BYTES)?).ok()?;
        if header.magic != BATCH_MAGIC || header.incarnation != incarnation {
            return None;
        }
        let end = BATCH_HEADER_BYTES.checked_add(usize::try_from(header.length).ok()?)?;
        let (covered, rest) = bytes.split_at_checked(end)?;
        let crc = u32::from_le_bytes(*rest.first_chunk()?);
        let body = covered.get(BATCH_HEADER_BYTES..)?;
        (checksum(covered) == crc).then_some(Self { number: header.number, previous: header.previous, crc, body })
    }

    /// The bytes that the batch takes on disk.
    pub(super) const fn size(&self) -> usize {
        (BATCH_HEADER_BYTES + self.body.len() + CRC_BYTES).next_multiple_of(SECTOR_BYTES)
    }

    /// Whether it is a seal: there is nothing in it.
    pub(super) fn is_seal(&self) -> bool {
        matches!(self.body(), Some((None, entries, None)) if entries.is_empty())
    }

    /// What it says; `None` when it is not what a writer of this format writes.
    pub(super) fn body(&self) -> Option<Body> {
        borsh::from_slice(self.body).ok()
    }
}
