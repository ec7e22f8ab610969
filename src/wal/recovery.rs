//! Opening a log: reading all of it, and telling an unfinished batch from damage. Strict: what does not fit refuses.
//! A log is read by the same rules where it must not be changed ([`read`]).
//!
//! Why the rule is right. A batch, or a seal, is written only once everything before it is durable. So behind the first bad batch a
//! crash can have left nothing whole that is newer, and if there is such a thing, a durable batch was damaged. The name
//! of a later segment says the same: it was given after everything before it was durable.
//!
//! Why the remains of a batch that is cut off never count. They are overwritten with zeros, durably, before anything is
//! appended; even if the disk lied, they hold no header of a later batch.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use super::disk::{Directory, File};
use super::format::{self, Frame, Header, HeaderError, Tail};
use super::log::{self, Segment, Wal};
use super::{Identity, Options, Recovered, SECTOR_BYTES, WalError};
use crate::model::{Index, LogEntry};

const BAD_BATCH: &str = "a batch is not as it was written, and there are later ones";

/// The log as far as it is read.
struct Reader {
    identity: Identity,
    tail: Tail,
    segments: VecDeque<Segment>,
    entries: Vec<LogEntry>,
    /// Where reading stopped in the segment before.
    stopped: (String, usize),
}

/// A segment in memory.
struct Loaded {
    name: String,
    /// Without the zeros at the end that nothing has been written to yet.
    bytes: Vec<u8>,
    /// Of the file.
    size: u64,
    header: Header,
}

/// Where the batches of a segment end, and the last of them.
struct End {
    offset: usize,
    last: Option<usize>,
    /// Whether a seal stands there.
    sealed: bool,
}

impl End {
    /// Where all that is to stay ends.
    const fn kept(&self) -> usize {
        self.offset + if self.sealed { SECTOR_BYTES } else { 0 }
    }
}

/// What the files of a log say, and the one in which it ends.
struct Found {
    reader: Reader,
    segment: Loaded,
    end: End,
    /// The bytes of that segment up to where all is zeros.
    used: usize,
}

/// Reads and repairs the log. The next segment is not yet allocated.
pub(super) fn open<D: Directory>(directory: D, options: Options) -> Result<(Wal<D>, Recovered), WalError> {
    let names = directory.list().map_err(|source| WalError::io("listing", ".", source))?;
    let found = find(&names, &|name| directory.open(name), options)?;
    let active = repair(&directory, &found.segment, &found.end, found.used)?;
    log::remove_spare(&directory, &names)?;
    directory.sync().map_err(|source| WalError::io("syncing", ".", source))?;
    let (active_bytes, offset) = (found.segment.size, found.end.offset as u64);
    let (recovered, tail, segments) = found.split();
    let wal = Wal {
        directory,
        options,
        identity: recovered.identity,
        segments,
        active,
        active_bytes,
        offset,
        spare: log::Spare::Missing,
        tail,
        buffer: Vec::new(),
        poisoned: false,
    };
    Ok((wal, recovered))
}

/// Reads the log by the same rules, and changes nothing: an unfinished last batch is left out and stays where it is.
pub(super) fn read<F: File>(names: &[String], open: &impl Fn(&str) -> io::Result<F>) -> Result<Recovered, WalError> {
    let (recovered, _, _) = find(names, open, Options::default())?.split();
    Ok(recovered)
}

/// Reads all segments among the names, and refuses what only damage explains.
fn find<F: File>(names: &[String], open: &impl Fn(&str) -> io::Result<F>, options: Options) -> Result<Found, WalError> {
    let sequences: BTreeSet<u64> = names.iter().filter_map(|name| format::segment_sequence(name)).collect();
    let Some((&final_sequence, earlier)) = split_last(&sequences) else { return Err(WalError::Absent) };
    let mut reader = None;
    for &sequence in earlier {
        read_segment(open, options, &mut reader, sequence)?;
    }
    let (segment, end) = read_segment(open, options, &mut reader, final_sequence)?;
    let Some(reader) = reader else { return Err(WalError::Absent) };
    let used = used_bytes(&segment.bytes).max(end.kept());
    if has_later_batch(&segment, &end, used, reader.identity, &reader.tail) {
        return Err(segment.damaged(end.offset, BAD_BATCH));
    }
    Ok(Found { reader, segment, end, used })
}

impl Found {
    /// What the log remembers, what the next batch follows on, and the segments.
    fn split(self) -> (Recovered, Tail, VecDeque<Segment>) {
        let Self { reader, segment: _, end, used } = self;
        let Reader { identity, tail, segments, entries, stopped: _ } = reader;
        let cut_off = (used > end.kept()).then_some(tail.number);
        let recovered =
            Recovered { identity, hard_state: tail.hard_state, entries, snapshot: tail.snapshot.clone(), cut_off };
        (recovered, tail, segments)
    }
}

fn split_last(sequences: &BTreeSet<u64>) -> Option<(&u64, impl Iterator<Item = &u64>)> {
    let mut all = sequences.iter();
    let last = all.next_back()?;
    Some((last, all))
}

/// Reads the next segment into the log.
fn read_segment<F: File>(
    open: &impl Fn(&str) -> io::Result<F>,
    options: Options,
    reader: &mut Option<Reader>,
    sequence: u64,
) -> Result<(Loaded, End), WalError> {
    let segment = Loaded::read(open, sequence)?;
    let reader = match reader {
        Some(reader) => {
            reader.enter(&segment)?;
            reader
        }
        none => none.insert(Reader::begin(&segment, options)?),
    };
    let end = reader.read(&segment)?;
    Ok((segment, end))
}

impl Loaded {
    fn read<F: File>(open: &impl Fn(&str) -> io::Result<F>, sequence: u64) -> Result<Self, WalError> {
        let name = format::segment_name(sequence);
        let failed = |source| WalError::io("reading", &name, source);
        let file = open(&name).map_err(failed)?;
        let size = file.size().map_err(failed)?;
        let bytes = read_used(&file, size).map_err(failed)?;
        match Header::decode(&bytes) {
            Ok(header) if header.sequence == sequence => Ok(Self { name, bytes, size, header }),
            Err(HeaderError::Version(found)) => Err(WalError::Version { file: name, found, known: format::VERSION }),
            Ok(_) => Err(damaged(&name, 0, "it has the name of another segment")),
            Err(HeaderError::Damaged) => Err(damaged(&name, 0, "its header is not as it was written")),
        }
    }

    fn damaged(&self, offset: usize, what: &'static str) -> WalError {
        damaged(&self.name, offset, what)
    }

    /// What stands from `offset` on.
    fn from(&self, offset: usize) -> &[u8] {
        self.bytes.get(offset..).unwrap_or_default()
    }
}

/// Reads a file piece by piece: what is allocated ahead is as large as the log is small, and not worth the memory. All
/// that is not zero is there, and zeros behind it: a batch ends with its checksum, which is never 0 but may end with zeros.
fn read_used(file: &impl File, size: u64) -> io::Result<Vec<u8>> {
    const PIECE_BYTES: usize = 256 * 1024;
    let mut bytes = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset = 0;
    while (offset as u64) < size {
        let left = usize::try_from(size - offset as u64).unwrap_or(usize::MAX);
        piece.truncate(left);
        file.read_at(offset as u64, &mut piece)?;
        if piece.iter().any(|byte| *byte != 0) {
            bytes.resize(offset, 0);
            bytes.extend_from_slice(&piece);
        }
        offset += piece.len();
    }
    bytes.resize(offset.min(bytes.len() + SECTOR_BYTES), 0);
    Ok(bytes)
}

fn damaged(file: &str, offset: usize, what: &'static str) -> WalError {
    WalError::Damaged { file: file.to_owned(), offset: offset as u64, what }
}

impl Reader {
    /// Begins with the first segment there is.
    fn begin(segment: &Loaded, options: Options) -> Result<Self, WalError> {
        let Header { identity, sequence, tail } = segment.header.clone();
        match options.expected {
            Some(expected) if expected != identity => Err(WalError::Foreign { expected, found: identity }),
            Some(_) | None => {
                let segments = VecDeque::from([Segment { sequence, high: Index::ZERO }]);
                Ok(Self { identity, tail, segments, entries: Vec::new(), stopped: (String::new(), 0) })
            }
        }
    }

    /// Goes on with the next segment, which must follow on what was read.
    fn enter(&mut self, segment: &Loaded) -> Result<(), WalError> {
        let Header { identity, sequence, tail } = &segment.header;
        if *identity != self.identity {
            return Err(WalError::Foreign { expected: self.identity, found: *identity });
        }
        if self.segments.back().is_some_and(|previous| previous.sequence + 1 != *sequence) {
            return Err(segment.damaged(0, "the segment before it is missing"));
        }
        if *tail != self.tail {
            let (name, offset) = &self.stopped;
            return Err(damaged(name, *offset, BAD_BATCH));
        }
        self.segments.push_back(Segment { sequence: *sequence, high: Index::ZERO });
        Ok(())
    }

    /// Reads batches up to the first that is not whole.
    fn read(&mut self, segment: &Loaded) -> Result<End, WalError> {
        let mut end = End { offset: SECTOR_BYTES, last: None, sealed: false };
        while let Some(frame) = Frame::read(segment.from(end.offset), self.identity.incarnation) {
            if frame.number != self.tail.number {
                break;
            }
            if frame.previous != self.tail.crc {
                return Err(segment.damaged(end.offset, "a batch does not follow on the one before it"));
            }
            if frame.is_seal() {
                end.sealed = true;
                break;
            }
            self.take(&frame).ok_or_else(|| segment.damaged(end.offset, "a batch does not make sense"))?;
            end = End { offset: end.offset + frame.size(), last: Some(end.offset), sealed: false };
        }
        self.stopped = (segment.name.clone(), end.offset);
        Ok(end)
    }

    /// Adds the content of a batch; `None` when no writer would have written it.
    fn take(&mut self, frame: &Frame<'_>) -> Option<()> {
        let (snapshot, mut entries, hard_state) = frame.body()?;
        self.tail.check(snapshot.as_ref(), &entries).ok()?;
        log::account(&mut self.segments, snapshot.as_ref(), &entries);
        self.tail.advance(snapshot.as_ref(), &entries, hard_state, frame.crc);
        if snapshot.is_some() {
            self.entries.clear();
        }
        if let Some(first) = entries.first() {
            let kept = self.entries.partition_point(|entry| entry.index < first.index);
            self.entries.truncate(kept);
        }
        self.entries.append(&mut entries);
        Some(())
    }
}

/// The length up to and with the last sector that is not all zeros.
fn used_bytes(bytes: &[u8]) -> usize {
    let last = bytes.chunks(SECTOR_BYTES).rposition(|sector| sector.iter().any(|byte| *byte != 0));
    last.map_or(0, |place| ((place + 1) * SECTOR_BYTES).min(bytes.len()))
}

/// Whether a whole batch with a later number than the expected one stands anywhere behind the end.
fn has_later_batch(segment: &Loaded, end: &End, used: usize, identity: Identity, tail: &Tail) -> bool {
    (end.offset..used).step_by(SECTOR_BYTES).any(|offset| {
        Frame::read(segment.from(offset), identity.incarnation).is_some_and(|frame| frame.number > tail.number)
    })
}

/// Makes the final segment durable as it was read: with zeros behind its end, and with the last batch written again,
/// because after a failed sync a batch can read as written and yet not be on the disk.
fn repair<D: Directory>(directory: &D, segment: &Loaded, end: &End, used: usize) -> Result<D::File, WalError> {
    let failed = |doing| move |source| WalError::io(doing, &segment.name, source);
    let mut file = directory.open(&segment.name).map_err(failed("opening"))?;
    if used > end.kept() {
        file.write_at(end.kept() as u64, &vec![0; used - end.kept()]).map_err(failed("cutting off a batch of"))?;
    }
    if let Some(batch) = end.last.and_then(|last| segment.bytes.get(last..end.offset)) {
        let last = end.last.unwrap_or_default();
        file.write_at(last as u64, batch).map_err(failed("writing"))?;
    }
    file.sync().map_err(failed("syncing"))?;
    Ok(file)
}
