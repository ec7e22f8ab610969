//! The raft log in memory, as the `raft` crate reads it. What is durable of it is the write-ahead log's business.
//!
//! Invariants: entries follow each other without gaps from `base` on; `base` is the place before the first entry,
//! whose term raft still asks for; terms never fall.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft::eraftpb::{Entry, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use protobuf::Message as _;

use super::convert::{to_raft_conf_state, to_raft_entry, to_raft_hard_state, to_raft_snapshot};
use super::{Position, Recovered, StartError};
use crate::model::{ConfState, HardState, Index, LogEntry, MemberId, Term};

/// The entries since the last truncation.
#[derive(Debug)]
pub(super) struct Log {
    base: Position,
    entries: VecDeque<LogEntry>,
    /// The payload bytes of the entries.
    bytes: usize,
    /// As of the start: raft reads them once.
    hard_state: HardState,
    conf_state: ConfState,
    snapshots: RefCell<Snapshots>,
}

/// Snapshots for members that this one's log no longer reaches. Raft asks for them while it only reads the log.
#[derive(Debug, Default)]
struct Snapshots {
    /// What could be streamed to whom.
    offered: BTreeMap<u64, (Position, ConfState)>,
    wanted: BTreeSet<MemberId>,
}

impl Log {
    /// The log as recovered, with the commit index raised to what was applied.
    ///
    /// # Errors
    /// When log, hard state and state machine contradict each other.
    pub(super) fn recover(recovered: Recovered) -> Result<Self, StartError> {
        let Recovered { hard_state, snapshot, entries, applied, conf_state } = recovered;
        for (one, next) in entries.iter().zip(entries.iter().skip(1)) {
            if next.index != one.index.next() {
                return Err(StartError::Gap { previous: one.index, found: next.index });
            }
        }
        let bytes = entries.iter().map(|entry| entry.data.len()).sum();
        let entries = entries.into();
        let snapshots = RefCell::default();
        let mut log = Self { base: Position::default(), entries, bytes, hard_state, conf_state, snapshots };
        log.base = log.find_base(snapshot.unwrap_or_default(), applied)?;
        log.check(applied)?;
        // The state machine never applies what is not committed, but the commit index is stored lazily.
        log.hard_state.commit = log.hard_state.commit.max(applied.index).max(log.base.index);
        Ok(log)
    }

    /// The place before the first entry: the snapshot that the log began with, or the entry last applied; a log whose
    /// front was cut off elsewhere gives up its first entry, which is applied, to know the term of its base.
    fn find_base(&mut self, snapshot: Position, applied: Position) -> Result<Position, StartError> {
        let Some(first) = self.entries.front().map(Position::from) else { return Ok(snapshot) };
        if snapshot.index.next() == first.index {
            return Ok(snapshot);
        }
        if applied.index.next() == first.index {
            return Ok(applied);
        }
        if applied.index < first.index {
            return Err(StartError::AppliedBeforeLog { applied: applied.index, first: first.index });
        }
        self.forget_first();
        Ok(first)
    }

    fn check(&self, applied: Position) -> Result<(), StartError> {
        let last = self.last();
        if applied.index > last.index {
            return Err(StartError::AppliedBeyondLog { applied: applied.index, last: last.index });
        }
        let Some(logged) = self.term_at(applied.index) else {
            return Err(StartError::AppliedBeforeLog { applied: applied.index, first: self.base.index.next() });
        };
        if logged != applied.term {
            return Err(StartError::Diverged { index: applied.index, applied: applied.term, logged });
        }
        if self.hard_state.commit > last.index {
            return Err(StartError::CommitBeyondLog { commit: self.hard_state.commit, last: last.index });
        }
        if self.hard_state.term < last.term {
            return Err(StartError::TermBehindLog { stored: self.hard_state.term, logged: last.term });
        }
        Ok(())
    }

    /// The place before the first entry.
    pub(super) fn base(&self) -> Position {
        self.base
    }

    pub(super) fn last(&self) -> Position {
        self.entries.back().map_or(self.base, Position::from)
    }

    /// Adds entries, replacing the tail from the first one's index on. They must touch the log.
    pub(super) fn append(&mut self, entries: &[LogEntry]) {
        let Some(first) = entries.first() else { return };
        let keep = self.offset(first.index).unwrap_or(0);
        while self.entries.len() > keep {
            let replaced = self.entries.pop_back();
            self.bytes -= replaced.map_or(0, |entry| entry.data.len());
        }
        self.bytes += entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Begins anew behind a snapshot.
    pub(super) fn restore(&mut self, snapshot: Position) {
        self.entries.clear();
        self.bytes = 0;
        self.base = snapshot;
    }

    /// Forgets the entries up to and with `through`, but keeps those after `laggard` while they are within `kept`
    /// bytes. Returns where the log begins then: the entry before its first.
    pub(super) fn truncate(&mut self, through: Index, laggard: Index, kept: usize) -> Index {
        while let Some(first) = self.entries.front()
            && first.index <= through
            && (first.index <= laggard || self.bytes > kept)
        {
            self.forget_first();
        }
        self.base.index
    }

    /// The payload bytes of the entries after an index.
    pub(super) fn bytes_after(&self, index: Index) -> usize {
        let newest_first = self.entries.iter().rev();
        newest_first.take_while(|entry| entry.index > index).map(|entry| entry.data.len()).sum()
    }

    fn forget_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.data.len();
            self.base = Position::from(&entry);
        }
    }

    /// Says which state could be streamed to a member.
    pub(super) fn offer(&mut self, to: MemberId, position: Position, conf_state: ConfState) {
        self.snapshots.get_mut().offered.insert(to.get(), (position, conf_state));
    }

    /// The members that a snapshot was asked for, and none was there.
    pub(super) fn take_wanted(&mut self) -> BTreeSet<MemberId> {
        std::mem::take(&mut self.snapshots.get_mut().wanted)
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.entries.get(self.offset(index)?).map(|entry| entry.term)
    }

    /// How far from the front the entry at `index` is, or would be.
    fn offset(&self, index: Index) -> Option<usize> {
        let offset = index.get().checked_sub(self.base.index.next().get())?;
        usize::try_from(offset).ok()
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(to_raft_hard_state(self.hard_state), to_raft_conf_state(&self.conf_state)))
    }

    /// At least one entry, then as many as fit `max_size` in raft's encoding.
    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let from = self.offset(Index(low)).ok_or(Error::Store(StorageError::Compacted))?;
        let to = self.offset(Index(high)).ok_or(Error::Store(StorageError::Compacted))?;
        if from > to || to > self.entries.len() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let limit = max_size.into().unwrap_or(raft::NO_LIMIT);
        let mut size = 0u64;
        let mut entries = Vec::with_capacity(to - from);
        for entry in self.entries.range(from..to) {
            let entry = to_raft_entry(entry);
            size = size.saturating_add(u64::from(entry.compute_size()));
            if size > limit && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.term_at(Index(index)) {
            Some(term) => Ok(term.get()),
            None if index < self.base.index.get() => Err(Error::Store(StorageError::Compacted)),
            None => Err(Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.index.next().get())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last().index.get())
    }

    /// The state offered for this member, without its content: that is a stream between members, not a field of a
    /// message. An offer is good for one attempt, and only if the log reaches on from it.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let mut snapshots = self.snapshots.borrow_mut();
        match snapshots.offered.remove(&to) {
            Some((position, conf_state))
                if position.index >= self.base.index && position.index.get() >= request_index =>
            {
                Ok(to_raft_snapshot(position, &conf_state))
            }
            Some(_) | None => {
                snapshots.wanted.insert(MemberId(to));
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use raft::storage::MemStorage;

    use super::*;
    use crate::model::LogEntryKind;

    #[derive(Debug, Clone)]
    enum Step {
        /// Entries from some way before the end of the log on.
        Append {
            back: u64,
            sizes: Vec<usize>,
        },
        /// Keep this many entries.
        Truncate {
            keep: u64,
        },
        Read {
            low: u64,
            count: u64,
            max_bytes: Option<u64>,
        },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let append =
            (0..5u64, prop::collection::vec(0..200usize, 1..6)).prop_map(|(back, sizes)| Step::Append { back, sizes });
        let truncate = (1..8u64).prop_map(|keep| Step::Truncate { keep });
        let read = (0..10u64, 0..10u64, prop::option::of(0..600u64)).prop_map(|(low, count, max_bytes)| Step::Read {
            low,
            count,
            max_bytes,
        });
        prop::collection::vec(prop_oneof![3 => append, 1 => truncate, 3 => read], 1..60)
    }

    fn context() -> GetEntriesContext {
        GetEntriesContext::empty(false)
    }

    fn append(log: &mut Log, oracle: &MemStorage, term: u64, back: u64, sizes: &[usize]) {
        let first = (log.last().index.get() + 1).saturating_sub(back).max(log.base().index.get() + 1);
        let entries: Vec<LogEntry> = (first..)
            .zip(sizes)
            .map(|(index, size)| LogEntry {
                index: Index(index),
                term: Term(term),
                kind: if size % 7 == 0 { LogEntryKind::Membership } else { LogEntryKind::Normal },
                data: Bytes::from(vec![9; *size]),
            })
            .collect();
        log.append(&entries);
        oracle.wl().append(&entries.iter().map(to_raft_entry).collect::<Vec<_>>()).unwrap();
    }

    proptest! {
        #[test]
        fn the_log_reads_like_rafts_own(steps in steps()) {
            let mut log = Log::recover(Recovered::default()).unwrap();
            let oracle = MemStorage::new();
            append(&mut log, &oracle, 1, 0, &[1]);
            for (term, step) in (2..).zip(steps) {
                match step {
                    Step::Append { back, sizes } => append(&mut log, &oracle, term, back, &sizes),
                    Step::Truncate { keep } => {
                        let through = log.last().index.get().saturating_sub(keep);
                        let base = log.truncate(Index(through), Index(through), 0);
                        prop_assert_eq!(base, log.base().index);
                        prop_assert!(base >= Index(through));
                        oracle.wl().compact(through + 1).unwrap();
                    }
                    Step::Read { low, count, max_bytes } => {
                        let first = log.first_index().unwrap();
                        let low = (first + low).saturating_sub(2).min(log.last_index().unwrap());
                        let high = (low + count).min(log.last_index().unwrap() + 1);
                        let (ours, theirs) =
                            (log.entries(low, high, max_bytes, context()), oracle.entries(low, high, max_bytes, context()));
                        prop_assert_eq!(ours, theirs);
                    }
                }
                prop_assert_eq!(log.first_index(), oracle.first_index());
                prop_assert_eq!(log.last_index(), oracle.last_index());
                for index in log.first_index().unwrap()..log.last_index().unwrap() + 3 {
                    prop_assert_eq!(log.term(index), oracle.term(index));
                }
            }
        }
    }
}
