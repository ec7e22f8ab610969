//! What one apply batch has changed and not yet written: the keys touched and the events made.
//!
//! Plain data over no store. [`Overlay`](super::Overlay) fills it; every reader merges it with the store.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::model::{Event, KeyRange, Record, Revision};

/// What a key is at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Current {
    Live(Record),
    /// Absent, and deleted at this revision; 0 when it never was there or nobody knows any more. One below the
    /// compacted revision says as little as 0, and readers must treat it so: the sweep may come any time.
    Dead(Revision),
}

impl Current {
    /// The revision of the key's last event, compacted or not; 0 if there is none to know of.
    pub(super) fn last_event(&self) -> Revision {
        match self {
            Self::Live(record) => record.mod_revision,
            Self::Dead(revision) => *revision,
        }
    }

    pub(super) fn into_record(self) -> Option<Record> {
        match self {
            Self::Live(record) => Some(record),
            Self::Dead(_) => None,
        }
    }

    pub(super) fn record(&self) -> Option<&Record> {
        match self {
            Self::Live(record) => Some(record),
            Self::Dead(_) => None,
        }
    }
}

/// Where the store has the key: in one keyspace at most, so that a write removes what it must and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    Kv,
    Tombstones,
    Nowhere,
}

/// A key that the batch has looked at.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) now: Current,
    pub(super) home: Home,
    /// Whether `now` differs from what is stored.
    pub(super) changed: bool,
}

/// The changes of a batch.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending {
    pub(super) slots: BTreeMap<Bytes, Slot>,
    /// In order of revision; those of the revision being written are last, in the order they were made.
    pub(super) events: Vec<Event>,
}

impl Pending {
    /// The changes of no batch.
    pub(super) const NONE: Self = Self { slots: BTreeMap::new(), events: Vec::new() };

    /// The event that changed this key at this revision.
    pub(super) fn event(&self, revision: Revision, key: &[u8]) -> Option<&Event> {
        let start = self.events.partition_point(|event| event.revision < revision);
        let of_revision = self.events.iter().skip(start).take_while(|event| event.revision == revision);
        of_revision.into_iter().find(|event| event.key.as_bytes() == key)
    }

    /// The keys touched within a range, in order.
    pub(super) fn range(&self, range: &KeyRange) -> impl DoubleEndedIterator<Item = (&Bytes, &Slot)> {
        // A BTreeMap panics on a range that ends before it starts.
        let end = if range.is_empty() { Some(range.start()) } else { range.end() };
        let (from, to) = (Bound::Included(range.start()), end.map_or(Bound::Unbounded, Bound::Excluded));
        self.slots.range::<Bytes, _>((from, to))
    }
}
