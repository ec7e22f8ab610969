//! Building a key space from what another one holds: the writing half of a snapshot.
//!
//! Takes what [`View::records`](super::View::records), [`View::tombstones`](super::View::tombstones) and
//! [`View::events`](super::View::events) give. The format in between is not its business.

use super::block::{encode_record, encode_revision};
use super::overlay::{cut_blocks, write_blocks};
use crate::model::{Event, Key, KeyValue, Revision};
use crate::storage::schema::{self, Meta};
use crate::storage::{Keyspace, WriteBatch};

/// Writes a key space into an empty store, in as many batches as the caller likes.
#[derive(Debug)]
pub struct Restore;

impl Restore {
    /// Adds a key with its record.
    pub fn record(batch: &mut WriteBatch, item: &KeyValue) {
        let key = |bytes: &mut Vec<u8>| schema::user_into(bytes, item.key.as_bytes());
        batch.put_with(Keyspace::Kv, key, |bytes| encode_record(bytes, &item.record));
    }

    /// Adds a key that was deleted at `deleted`.
    pub fn tombstone(batch: &mut WriteBatch, key: &Key, deleted: Revision) {
        batch.put(Keyspace::Tombstones, schema::user(key.as_bytes()), encode_revision(deleted));
    }

    /// Adds events: whole revisions, in order.
    pub fn events(batch: &mut WriteBatch, events: Vec<Event>) {
        write_blocks(batch, &cut_blocks(events));
    }

    /// Sets the last revision, and the oldest that can be read.
    pub fn revisions(batch: &mut WriteBatch, revision: Revision, compacted: Revision) {
        Meta::Revision.put(batch, &revision);
        Meta::Compacted.put(batch, &compacted);
    }
}
