//! The write side of one apply batch: the key space as the batch has changed it, before anything is stored.
//!
//! Owns revisions and the chain of events. Decides nothing: whether a write may happen, and what its lease, type and
//! version rules are, is the state machine's.

use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::block::{encode_block, encode_record, encode_revision, event_size};
use super::pending::{Current, Home, Pending, Slot};
use super::reader::{Reader, below, stored};
use super::recent::Recent;
use super::view::View;
use super::{ListQuery, Listing, Page, ReadError};
use crate::model::{
    Action, Block, ContentType, Event, EventKind, Key, KeyRange, LeaseId, NodeView, Operation, RangeQuery, RangeResult,
    Record, Revision, Timestamp, limits,
};
use crate::storage::schema::Meta;
use crate::storage::{Keyspace, Snapshot, StorageError, WriteBatch, schema};

/// Who changes a key, when and by what: the part of an event that the key does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub time: Timestamp,
    pub author: Option<Arc<str>>,
    pub operation: Operation,
    pub action: Action,
}

/// What a put stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub value: Bytes,
    pub content_type: Option<ContentType>,
    pub lease: Option<LeaseId>,
    /// Begin a new life of the key (create revision, version 1) even where it exists: etcd v2's `set`.
    pub anew: bool,
}

/// The key space with the changes of a batch.
///
/// Changes are made at the revision after [`Overlay::revision`] and belong together until [`Overlay::seal`] makes that
/// revision whole, or [`Overlay::discard`] takes them back. Reads see every change at once.
pub struct Overlay<S> {
    snapshot: S,
    pending: Pending,
    recent: Recent,
    /// The last whole revision.
    revision: Revision,
    compacted: Revision,
    /// Both as the store has them.
    stored: (Revision, Revision),
    /// The number of events in whole revisions.
    sealed: usize,
}

impl<S: Snapshot> Overlay<S> {
    /// An overlay without changes. `recent` comes from the batch before, or is empty.
    pub fn new(view: &View<S>, recent: Recent) -> Self {
        Self {
            snapshot: view.snapshot().clone(),
            pending: Pending::NONE,
            recent,
            revision: view.revision(),
            compacted: view.compacted(),
            stored: (view.revision(), view.compacted()),
            sealed: 0,
        }
    }

    /// The last whole revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision that changes are made at: the one after the last.
    pub fn writing(&self) -> Revision {
        self.revision.next()
    }

    /// The oldest revision that can be read, 0 when nothing was ever compacted.
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The changes made since the last whole revision, in the order they were made.
    pub fn unsealed(&self) -> &[Event] {
        self.pending.events.get(self.sealed..).unwrap_or_default()
    }

    /// The record at a key. At present it is the batch's own; at a revision, one of the whole ones.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn get(&self, key: &[u8], revision: Option<Revision>) -> Result<Option<Record>, ReadError> {
        self.reader().get(key, revision)
    }

    /// The record at a key at present, kept at hand: a write that follows does not read it again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(&mut self, key: &Key) -> Result<Option<&Record>, StorageError> {
        Ok(self.slot(key)?.now.record())
    }

    /// See [`View::range`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn range(&self, query: &RangeQuery) -> Result<RangeResult, ReadError> {
        self.reader().range(query)
    }

    /// See [`View::page`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn page(&self, query: &RangeQuery, max_bytes: usize) -> Result<Page, ReadError> {
        self.reader().page(query, max_bytes)
    }

    /// See [`View::list`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn list(&self, query: &ListQuery) -> Result<Listing, ReadError> {
        self.reader().list(query)
    }

    /// Whether `directory` (which ends in `/`) is there at present: its marker or any key below it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_directory(&self, directory: &[u8]) -> Result<bool, ReadError> {
        self.reader().any(KeyRange::prefix(directory.to_vec()), None)
    }

    /// Whether there is, at present, a key that begins with `prefix` and is longer.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn exists_below(&self, prefix: &[u8]) -> Result<bool, ReadError> {
        self.reader().any(below(prefix), None)
    }

    /// Sets a key. The event says what it was and is; how etcd's v2 API shows it is for the caller to say.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn put(&mut self, key: Key, write: Write, cause: &Cause) -> Result<&mut Event, StorageError> {
        let revision = self.writing();
        self.change(key, EventKind::Put, cause, |last| {
            let last = last.filter(|_| !write.anew);
            Current::Live(Record {
                value: write.value,
                content_type: write.content_type,
                create_revision: last.map_or(revision, |last| last.create_revision),
                mod_revision: revision,
                version: last.map_or(1, |last| last.version + 1),
                lease: write.lease,
            })
        })
    }

    /// Deletes a key, if it is there; `kind` is [`EventKind::Delete`] or [`EventKind::Expire`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn delete(&mut self, key: &Key, kind: EventKind, cause: &Cause) -> Result<Option<&mut Event>, StorageError> {
        if self.slot(key)?.now.record().is_none() {
            return Ok(None);
        }
        let revision = self.writing();
        self.change(key.clone(), kind, cause, |_| Current::Dead(revision)).map(Some)
    }

    /// Makes the revision whole, if it changed anything. Returns the last whole revision.
    pub fn seal(&mut self) -> Revision {
        let Some(events) = self.pending.events.get_mut(self.sealed..) else { return self.revision };
        if !events.is_empty() {
            events.sort_by(|a, b| a.key.cmp(&b.key));
            self.sealed = self.pending.events.len();
            self.revision = self.revision.next();
        }
        self.revision
    }

    /// Takes back every change since the last whole revision.
    pub fn discard(&mut self) {
        for event in self.pending.events.drain(self.sealed..).rev() {
            if let Some(slot) = self.pending.slots.get_mut(event.key.as_bytes()) {
                slot.now = event.previous.map_or(Current::Dead(event.previous_revision), Current::Live);
            }
        }
    }

    /// Forgets what was before `revision`, at once and for every reader. It must be a whole one, later than any compacted
    /// before (as in etcd).
    ///
    /// # Errors
    /// [`ReadError::Compacted`] or [`ReadError::Future`].
    pub fn compact(&mut self, revision: Revision) -> Result<(), ReadError> {
        if revision <= self.compacted {
            return Err(ReadError::Compacted { asked: revision, compacted: self.compacted });
        }
        if revision > self.revision {
            return Err(ReadError::Future { asked: revision, current: self.revision });
        }
        self.compacted = revision;
        Ok(())
    }

    /// Writes everything that changed in whole revisions, and the revisions themselves. Changes not sealed are taken
    /// back. The blocks returned are those written, for watchers; the records are for the next batch, once this one is stored.
    pub fn finish(mut self, batch: &mut WriteBatch) -> (Vec<Arc<Block>>, Recent) {
        self.discard();
        for (key, slot) in &self.pending.slots {
            if slot.changed {
                write_slot(batch, key, slot);
                self.recent.put(key, slot.now.record());
            }
        }
        let blocks = cut_blocks(self.pending.events);
        write_blocks(batch, &blocks);
        if self.revision != self.stored.0 {
            Meta::Revision.put(batch, &self.revision);
        }
        if self.compacted != self.stored.1 {
            Meta::Compacted.put(batch, &self.compacted);
        }
        (blocks.into_iter().map(Arc::new).collect(), self.recent)
    }

    /// What is known of a key, read from the store the first time.
    fn slot(&mut self, key: &Key) -> Result<&mut Slot, StorageError> {
        match self.pending.slots.entry(key.bytes().clone()) {
            Entry::Occupied(slot) => Ok(slot.into_mut()),
            Entry::Vacant(free) => {
                let (now, home) = match self.recent.get(key.as_bytes()) {
                    Some(record) => (Current::Live(record.clone()), Home::Kv),
                    None => stored(&self.snapshot, key.as_bytes(), true)?,
                };
                Ok(free.insert(Slot { now, home, changed: false }))
            }
        }
    }

    /// Puts a key into another state, made from its record so far, and notes the event.
    fn change(
        &mut self,
        key: Key,
        kind: EventKind,
        cause: &Cause,
        make: impl FnOnce(Option<&Record>) -> Current,
    ) -> Result<&mut Event, StorageError> {
        let (revision, compacted) = (self.writing(), self.compacted);
        let slot = self.slot(&key)?;
        let now = make(slot.now.record());
        let record = now.record().cloned();
        slot.changed = true;
        let before = std::mem::replace(&mut slot.now, now);
        let last = before.last_event();
        let event = Event {
            revision,
            kind,
            key,
            record,
            previous_revision: if last < compacted { Revision::ZERO } else { last },
            previous: before.into_record(),
            time: cause.time,
            author: cause.author.clone(),
            operation: cause.operation,
            action: cause.action,
            view: NodeView::default(),
        };
        let at = if last == revision { self.join(event) } else { self.add(event) };
        self.pending.events.get_mut(at).ok_or_else(|| StorageError::Corrupt { what: "an event is lost".to_owned() })
    }

    fn add(&mut self, event: Event) -> usize {
        self.pending.events.push(event);
        self.pending.events.len() - 1
    }

    /// One event for two changes of a key at one revision: from what the first replaced to what the second made.
    fn join(&mut self, event: Event) -> usize {
        let unsealed = self.pending.events.iter_mut().enumerate().skip(self.sealed);
        for (at, first) in unsealed {
            if first.key == event.key {
                let (previous, previous_revision) = (first.previous.take(), first.previous_revision);
                *first = Event { previous, previous_revision, ..event };
                return at;
            }
        }
        self.add(event)
    }

    fn reader(&self) -> Reader<'_, S> {
        Reader { snapshot: &self.snapshot, pending: &self.pending, revision: self.revision, compacted: self.compacted }
    }
}

impl<S> fmt::Debug for Overlay<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { snapshot: _, pending, recent: _, revision, compacted, stored: _, sealed } = self;
        f.debug_struct("Overlay")
            .field("pending", pending)
            .field("revision", revision)
            .field("compacted", compacted)
            .field("sealed", sealed)
            .finish_non_exhaustive()
    }
}

/// Writes the present state of a key, and removes it from where it is not any longer.
fn write_slot(batch: &mut WriteBatch, key: &Bytes, slot: &Slot) {
    let user = |bytes: &mut Vec<u8>| schema::user_into(bytes, key);
    match (&slot.now, slot.home) {
        (Current::Live(_), Home::Tombstones) => batch.delete(Keyspace::Tombstones, schema::user(key)),
        (Current::Dead(_), Home::Kv) => batch.delete(Keyspace::Kv, schema::user(key)),
        (Current::Live(_), Home::Kv | Home::Nowhere) | (Current::Dead(_), Home::Tombstones | Home::Nowhere) => {}
    }
    match &slot.now {
        Current::Live(record) => batch.put_with(Keyspace::Kv, user, |bytes| encode_record(bytes, record)),
        Current::Dead(Revision::ZERO) if slot.home == Home::Tombstones => {
            batch.delete(Keyspace::Tombstones, schema::user(key));
        }
        Current::Dead(Revision::ZERO) => {}
        Current::Dead(revision) => batch.put(Keyspace::Tombstones, schema::user(key), encode_revision(*revision)),
    }
}

pub(super) fn write_blocks(batch: &mut WriteBatch, blocks: &[Block]) {
    for block in blocks {
        let key = |bytes: &mut Vec<u8>| bytes.extend_from_slice(&schema::block(block.first()));
        batch.put_with(Keyspace::History, key, |bytes| encode_block(bytes, &block.events));
    }
}

/// Cuts events into blocks of at most [`limits::BLOCK_BYTES`], but never within a revision.
pub(super) fn cut_blocks(events: Vec<Event>) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut block = Vec::new();
    let mut size = 0;
    // Where the last whole revision of the block ends, and the size up to there.
    let mut whole = (0, 0);
    for event in events {
        if block.last().is_some_and(|last: &Event| last.revision != event.revision) {
            whole = (block.len(), size);
        }
        size += event_size(&event);
        block.push(event);
        if size > limits::BLOCK_BYTES && whole.0 > 0 {
            let rest = block.split_off(whole.0);
            blocks.push(Block { events: std::mem::replace(&mut block, rest) });
            size -= whole.1;
            whole = (0, 0);
        }
    }
    if !block.is_empty() {
        blocks.push(Block { events: block });
    }
    blocks
}
