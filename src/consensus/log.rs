//! The raft log in memory, as the `raft` crate reads it. What is durable of it is the write-ahead log's business.
//!
//! Invariants: entries follow each other without gaps from `base` on; `base` is the place before the first entry,
//! whose term raft still asks for; terms never fall.

use std::collections::VecDeque;

use raft::eraftpb::{Entry, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use protobuf::Message as _;

use super::convert::{to_raft_conf_state, to_raft_entry, to_raft_hard_state};
use super::{Position, Recovered, StartError};
use crate::model::{ConfState, HardState, Index, LogEntry, Term};

/// The entries since the last truncation.
#[derive(Debug)]
pub(super) struct Log {
    base: Position,
    entries: VecDeque<LogEntry>,
    /// As of the start: raft reads them once.
    hard_state: HardState,
    conf_state: ConfState,
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
        let mut log = Self { base: Position::default(), entries: entries.into(), hard_state, conf_state };
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
        self.entries.pop_front();
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
        self.entries.truncate(keep);
        self.entries.extend(entries.iter().cloned());
    }

    /// Forgets the entries up to and with `through`.
    pub(super) fn truncate(&mut self, through: Index) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.index <= through) {
            self.base = Position::from(&entry);
        }
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

    /// Never at hand: a snapshot is a stream between members, not a field of a message.
    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
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
                        log.truncate(Index(through));
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
