//! The read side: one moment of the store, and everything that may be read from it.

use std::fmt;

use bytes::Bytes;

use super::block::{decode_record, decode_revision};
use super::pending::Pending;
use super::range::user_key;
use super::reader::{Reader, below};
use super::walk::load_block;
use super::{ListQuery, Listing, Page, ReadError, Replay, ReplayBudget};
use crate::model::{Event, Key, KeyRange, KeyValue, RangeQuery, RangeResult, Record, Revision};
use crate::storage::schema::Meta;
use crate::storage::{Keyspace, Snapshot, StorageError, schema};

/// The key space at one moment. Cheap to clone; keeps the moment's bytes from being freed, so hold it shortly.
#[derive(Clone)]
pub struct View<S> {
    snapshot: S,
    revision: Revision,
    compacted: Revision,
    nothing: Pending,
}

impl<S: Snapshot> View<S> {
    /// The key space that a snapshot of the store holds. A store without anything is at revision 1.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(snapshot: S) -> Result<Self, StorageError> {
        let revision = Meta::Revision.get(&snapshot)?.unwrap_or(Revision::FIRST);
        let compacted = Meta::Compacted.get(&snapshot)?.unwrap_or(Revision::ZERO);
        Ok(Self::at(snapshot, revision, compacted))
    }

    /// As [`View::open`], for who has just written these two and need not read them.
    pub fn at(snapshot: S, revision: Revision, compacted: Revision) -> Self {
        Self { snapshot, revision, compacted, nothing: Pending::NONE }
    }

    /// Checks that the history goes up to the last revision, as it does in a store that lost nothing of it. What was
    /// compacted need not be there.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] when it ends elsewhere.
    pub fn check_history(&self) -> Result<(), StorageError> {
        let newest = load_block(&self.snapshot, Revision(u64::MAX))?;
        let end = newest.map(|(_, block)| block.last()).transpose()?.unwrap_or(Revision::FIRST);
        if end == self.revision || (end < self.revision && self.revision <= self.compacted) {
            return Ok(());
        }
        let what = format!("`history` ends at revision {end}, `meta` says {}", self.revision);
        Err(StorageError::Corrupt { what })
    }

    /// The last revision made.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can be read, 0 when nothing was ever compacted.
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The snapshot of the store below.
    pub fn snapshot(&self) -> &S {
        &self.snapshot
    }

    /// The record at a key, at present or at a past revision.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn get(&self, key: &[u8], revision: Option<Revision>) -> Result<Option<Record>, ReadError> {
        self.reader().get(key, revision)
    }

    /// All that a query asks for, as etcd v3 defines it: `count` knows neither limit nor bounds, the limit comes after
    /// the sort, a limit of 0 is none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn range(&self, query: &RangeQuery) -> Result<RangeResult, ReadError> {
        self.reader().range(query)
    }

    /// A part of a range in order of key: up to `query.limit` records or about `max_bytes` of keys and values, at least
    /// one record if there is any. Does not count, ignores `sort_by` and `count_only`. Ask for [`Page::rest`] next, at
    /// the same revision.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn page(&self, query: &RangeQuery, max_bytes: usize) -> Result<Page, ReadError> {
        self.reader().page(query, max_bytes)
    }

    /// One level of the tree.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn list(&self, query: &ListQuery) -> Result<Listing, ReadError> {
        self.reader().list(query)
    }

    /// Whether `directory` (which ends in `/`) is there: its marker or any key below it.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn is_directory(&self, directory: &[u8], revision: Option<Revision>) -> Result<bool, ReadError> {
        self.reader().any(KeyRange::prefix(directory.to_vec()), revision)
    }

    /// Whether there is a key that begins with `prefix` and is longer.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn exists_below(&self, prefix: &[u8]) -> Result<bool, ReadError> {
        self.reader().any(below(prefix), None)
    }

    /// The events of a key that are not compacted, newest first: those before `before`, at most `limit`. To page, name
    /// the revision of the last event received. Each event holds the record it made and the one it replaced.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn history(&self, key: &[u8], before: Option<Revision>, limit: usize) -> Result<Vec<Event>, ReadError> {
        self.reader().history(key, before, limit)
    }

    /// The events of a range after a revision, in order: what a watch that resumes there has missed. Whole revisions,
    /// as many as the budget allows and at least one; go on after [`Replay::through`] until that is
    /// [`View::revision`]. After a revision not made yet there is nothing, and `through` is `after`.
    ///
    /// # Errors
    /// [`ReadError::Compacted`] when the revision that follows `after` is below [`View::compacted`]. As in etcd
    /// (`minRev < compactRev` in its `watcherGroup`), the events *at* the compacted revision are still there.
    pub fn events(&self, range: &KeyRange, after: Revision, budget: ReplayBudget) -> Result<Replay, ReadError> {
        self.reader().events(&|key, _| range.contains(key), after, budget)
    }

    /// As [`View::events`], of the keys that `wanted` takes. It is told, too, whether the event puts the key.
    ///
    /// # Errors
    /// As [`View::events`].
    pub fn events_where(
        &self,
        wanted: &dyn Fn(&[u8], bool) -> bool,
        after: Revision,
        budget: ReplayBudget,
    ) -> Result<Replay, ReadError> {
        self.reader().events(wanted, after, budget)
    }

    /// Every record at present, in order of key, with nothing kept in memory: for snapshots and digests.
    pub fn records(&self) -> impl Iterator<Item = Result<KeyValue, StorageError>> + Send {
        self.everything(Keyspace::Kv).map(|item| {
            let (key, bytes) = item?;
            Ok(KeyValue { key: user_key(schema::user_key(&key)?)?, record: decode_record(&bytes)? })
        })
    }

    /// Every deleted key whose deletion is not compacted, in order of key, with the revision of the deletion.
    pub fn tombstones(&self) -> impl Iterator<Item = Result<(Key, Revision), StorageError>> + Send {
        let read = |item: Result<(Bytes, Bytes), StorageError>| {
            let (key, bytes) = item?;
            Ok((user_key(schema::user_key(&key)?)?, decode_revision(&bytes)?))
        };
        let compacted = self.compacted;
        let visible = move |item: &Result<(Key, Revision), StorageError>| {
            item.as_ref().map_or(true, |(_, deleted)| *deleted >= compacted)
        };
        self.everything(Keyspace::Tombstones).map(read).filter(visible)
    }

    fn everything(&self, keyspace: Keyspace) -> impl Iterator<Item = Result<(Bytes, Bytes), StorageError>> + Send {
        let (from, to) = schema::EVERY_USER;
        self.snapshot.scan(keyspace, from, to)
    }

    fn reader(&self) -> Reader<'_, S> {
        Reader { snapshot: &self.snapshot, pending: &self.nothing, revision: self.revision, compacted: self.compacted }
    }
}

impl<S> fmt::Debug for View<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { snapshot: _, revision, compacted, nothing: _ } = self;
        f.debug_struct("View").field("revision", revision).field("compacted", compacted).finish_non_exhaustive()
    }
}
