//! Records, deletions and history blocks as bytes. A block is written once and read in pieces: every event can be looked at
//! without decoding those before it, so that a walk into the past pays for the events it visits and nothing else.
//!
//! Knows no revisions' meaning and no store; [`Walk`](super::walk::Walk) decides what is read.

use borsh::BorshDeserialize;
use bytes::Bytes;

use crate::model::codec::{self, CodecError};
use crate::model::{Event, Record, Revision};

/// The version of a stored record, its first byte.
const RECORD_VERSION: u8 = 1;
/// The version of a stored block, its first byte.
const BLOCK_VERSION: u8 = 2;
/// What a block says before its offsets: version and number of events.
const HEADER_BYTES: usize = 5;
/// Where an event says its kind: behind the revision.
const KIND_AT: usize = 8;
/// Where an event says the length of its key: behind revision (8 bytes) and kind (1 byte).
const KEY_LENGTH_AT: usize = 9;
/// What a record takes beside its value and its text, rounded up.
const RECORD_BYTES: usize = 64;
/// What an event takes beside its key, its records and its text, rounded up.
const EVENT_BYTES: usize = 96;

/// Appends the bytes of a record, without its key.
pub(super) fn encode_record(bytes: &mut Vec<u8>, record: &Record) {
    bytes.reserve(record_size(record));
    codec::encode_versioned(bytes, RECORD_VERSION, record);
}

/// Reads the bytes of a record back.
pub(super) fn decode_record(bytes: &[u8]) -> Result<Record, CodecError> {
    codec::decode("record", RECORD_VERSION, bytes)
}

/// The bytes of a revision: 8, big endian.
pub(super) fn encode_revision(revision: Revision) -> [u8; 8] {
    revision.get().to_be_bytes()
}

/// Reads the bytes of a revision back.
pub(super) fn decode_revision(bytes: &[u8]) -> Result<Revision, CodecError> {
    let source = || std::io::Error::new(std::io::ErrorKind::InvalidData, "it has not 8 bytes");
    let bytes = <[u8; 8]>::try_from(bytes);
    let bytes = bytes.map_err(|_| CodecError::Malformed { what: "revision", source: source() })?;
    Ok(Revision(u64::from_be_bytes(bytes)))
}

fn record_size(record: &Record) -> usize {
    RECORD_BYTES + record.value.len() + record.content_type.as_ref().map_or(0, |text| text.len())
}

/// About how many bytes an event takes in a block; never less than it does.
pub(super) fn event_size(event: &Event) -> usize {
    let records = event.record.iter().chain(&event.previous).map(record_size).sum::<usize>();
    EVENT_BYTES + event.key.as_bytes().len() + event.author.as_ref().map_or(0, |text| text.len()) + records
}

/// Appends the bytes of a block: version, number of events, where each begins (counted from the first), the events.
/// Numbers are little-endian and of 32 bits.
///
/// # Panics
/// Never: a revision is bounded far below the 4 GiB that an offset can say.
pub(super) fn encode_block(bytes: &mut Vec<u8>, events: &[Event]) {
    let offsets = bytes.len() + HEADER_BYTES;
    let first = offsets + 4 * events.len();
    bytes.reserve(first - bytes.len() + events.iter().map(event_size).sum::<usize>());
    bytes.push(BLOCK_VERSION);
    bytes.extend_from_slice(&offset(events.len()));
    bytes.resize(first, 0);
    for (number, event) in events.iter().enumerate() {
        let start = offset(bytes.len() - first);
        let at = offsets + 4 * number;
        if let Some(slot) = bytes.get_mut(at..at + 4) {
            slot.copy_from_slice(&start);
        }
        codec::encode_into(bytes, event);
    }
}

fn offset(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

/// A block as it is stored.
#[derive(Debug, Clone)]
pub(super) struct StoredBlock {
    bytes: Bytes,
    len: usize,
}

impl StoredBlock {
    /// Takes the bytes of a block.
    ///
    /// # Errors
    /// When they are no block of this version.
    pub(super) fn new(bytes: Bytes) -> Result<Self, CodecError> {
        match bytes.first() {
            None => return Err(CodecError::Empty { what: "history block" }),
            Some(&BLOCK_VERSION) => {}
            Some(&found) => {
                return Err(CodecError::Version { what: "history block", found, known: BLOCK_VERSION });
            }
        }
        let len = read_u32(&bytes, 1).ok_or_else(malformed)?;
        if bytes.len() < HEADER_BYTES + 4 * len {
            return Err(malformed());
        }
        Ok(Self { bytes, len })
    }

    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The revision of the last event.
    pub(super) fn last(&self) -> Result<Revision, CodecError> {
        self.revision(self.len.saturating_sub(1))
    }

    /// The revision of the event with this number.
    pub(super) fn revision(&self, number: usize) -> Result<Revision, CodecError> {
        let event = self.event_bytes(number)?;
        let bytes = event.first_chunk::<8>().ok_or_else(malformed)?;
        Ok(Revision(u64::from_le_bytes(*bytes)))
    }

    /// The key of the event with this number.
    pub(super) fn key(&self, number: usize) -> Result<&[u8], CodecError> {
        let event = self.event_bytes(number)?;
        let length = read_u32(event, KEY_LENGTH_AT).ok_or_else(malformed)?;
        let start = KEY_LENGTH_AT + 4;
        event.get(start..start + length).ok_or_else(malformed)
    }

    /// Whether the event with this number puts its key; else that is gone.
    pub(super) fn is_put(&self, number: usize) -> Result<bool, CodecError> {
        let kind = self.event_bytes(number)?.get(KIND_AT).ok_or_else(malformed)?;
        Ok(*kind == 0)
    }

    /// The event with this number.
    pub(super) fn event(&self, number: usize) -> Result<Event, CodecError> {
        let mut bytes = self.event_bytes(number)?;
        Event::deserialize(&mut bytes).map_err(|source| CodecError::Malformed { what: "history block", source })
    }

    /// The number of the event that changed this key at this revision.
    pub(super) fn find(&self, revision: Revision, key: &[u8]) -> Result<Option<usize>, CodecError> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            match (self.revision(middle)?, self.key(middle)?).cmp(&(revision, key)) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// The number of the first event after the revision.
    pub(super) fn first_after(&self, revision: Revision) -> Result<usize, CodecError> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.revision(middle)? <= revision {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The bytes of an event and, as borsh needs no end, of those behind it.
    fn event_bytes(&self, number: usize) -> Result<&[u8], CodecError> {
        if number >= self.len {
            return Err(malformed());
        }
        let start = read_u32(&self.bytes, HEADER_BYTES + 4 * number).ok_or_else(malformed)?;
        self.bytes.get(HEADER_BYTES + 4 * self.len + start..).ok_or_else(malformed)
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<usize> {
    let chunk = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*chunk)).ok()
}

fn malformed() -> CodecError {
    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "it points outside of itself");
    CodecError::Malformed { what: "history block", source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, EventKind, Gone, Key, LeaseId, NodeView, Operation, Part, Timestamp};

    fn record(revision: u64) -> Record {
        Record {
            value: Bytes::from(vec![b'v'; usize::try_from(revision).unwrap()]),
            content_type: Some("text/plain".into()),
            create_revision: Revision(1),
            mod_revision: Revision(revision),
            version: revision,
            lease: Some(LeaseId(7)),
        }
    }

    fn event(revision: u64, key: &'static str) -> Event {
        Event {
            revision: Revision(revision),
            kind: EventKind::Put,
            key: Key::new(key).unwrap(),
            record: Some(record(revision)),
            previous: (revision > 2).then(|| record(revision - 1)),
            previous_revision: Revision(revision - 1),
            time: Timestamp(99),
            author: Some("someone".into()),
            operation: Operation::Patch,
            action: Action::Set,
            view: NodeView {
                part: Part::Gone(Gone { length: 1, first: true, created: Revision(1), expires: Some(Timestamp(7)) }),
                expires: Some(Timestamp(8)),
                previous_expires: Some(Timestamp(9)),
            },
        }
    }

    fn events() -> Vec<Event> {
        let gone = Event { kind: EventKind::Expire, record: None, ..event(5, "a") };
        vec![event(2, "b"), event(3, "a"), event(3, "c"), gone]
    }

    fn block(events: &[Event]) -> Bytes {
        let mut bytes = b"what is before it".to_vec();
        let before = bytes.len();
        encode_block(&mut bytes, events);
        Bytes::from(bytes).slice(before..)
    }

    #[test]
    fn every_event_of_a_block_reads_back_by_itself() {
        let block = StoredBlock::new(block(&events())).unwrap();
        assert_eq!(block.len(), 4);
        for (number, event) in events().iter().enumerate() {
            assert_eq!(block.event(number).unwrap(), *event);
            assert_eq!(block.revision(number).unwrap(), event.revision);
            assert_eq!(block.key(number).unwrap(), event.key.as_bytes());
            assert_eq!(block.is_put(number).unwrap(), event.kind == EventKind::Put);
            assert_eq!(block.find(event.revision, event.key.as_bytes()).unwrap(), Some(number));
        }
        assert!(block.event(4).is_err());
    }

    #[test]
    fn an_event_is_found_by_revision_and_key_only_where_it_is() {
        let block = StoredBlock::new(block(&events())).unwrap();
        assert_eq!(block.find(Revision(3), b"b").unwrap(), None);
        assert_eq!(block.find(Revision(4), b"a").unwrap(), None);
        let after = |revision| block.first_after(Revision(revision)).unwrap();
        assert_eq!([after(1), after(2), after(3), after(4), after(5)], [0, 1, 3, 3, 4]);
    }

    #[test]
    fn the_size_of_an_event_is_never_underestimated() {
        for event in events() {
            let mut bytes = Vec::new();
            codec::encode_into(&mut bytes, &event);
            assert!(event_size(&event) >= bytes.len());
        }
    }

    #[test]
    fn damaged_blocks_are_refused_and_never_panic() {
        let bytes = block(&events());
        for cut in 0..bytes.len() {
            let Ok(block) = StoredBlock::new(bytes.slice(..cut)) else { continue };
            assert!((0..block.len()).any(|number| block.event(number).is_err()));
            let _ = block.find(Revision(5), b"a");
        }
        let mut other = bytes.to_vec();
        other[0] = 9;
        assert!(matches!(StoredBlock::new(other.into()), Err(CodecError::Version { found: 9, .. })));
    }
}
