//! Every read, over a snapshot and the changes of a batch (none, for a [`View`](super::View)).
//!
//! Owns which revisions may be read. Ranges, listings, history and replay are in the files named after them.

use bytes::Bytes;

use super::ReadError;
use super::block::{decode_record, decode_revision};
use super::pending::{Current, Home, Pending};
use super::scan::{Items, Order, Span, candidates};
use super::walk::Walk;
use crate::model::{KeyRange, Record, Revision, limits};
use crate::storage::{Keyspace, Snapshot, StorageError, schema};

/// What reads need to know, borrowed.
#[derive(Debug)]
pub(super) struct Reader<'a, S> {
    pub(super) snapshot: &'a S,
    pub(super) pending: &'a Pending,
    /// The last whole revision.
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
}

impl<'a, S: Snapshot> Reader<'a, S> {
    /// The record at a key, at present or at a revision.
    pub(super) fn get(&self, key: &[u8], revision: Option<Revision>) -> Result<Option<Record>, ReadError> {
        let past = self.past(revision)?;
        let (current, _) = self.current(key, past.is_some())?;
        match past {
            None => Ok(current.record().cloned()),
            Some(past) => self.walk(past).resolve(key, current),
        }
    }

    /// The revision to walk back to, or `None` where the present will do.
    ///
    /// # Errors
    /// When the revision is compacted, or not made yet.
    pub(super) fn past(&self, revision: Option<Revision>) -> Result<Option<Revision>, ReadError> {
        let Some(asked) = revision else { return Ok(None) };
        if asked < self.compacted {
            return Err(ReadError::Compacted { asked, compacted: self.compacted });
        }
        if asked > self.revision {
            return Err(ReadError::Future { asked, current: self.revision });
        }
        // A batch that has begun another revision has a present that is not yet this one.
        let changing = self.pending.events.last().is_some_and(|event| event.revision > self.revision);
        Ok((asked < self.revision || changing).then_some(asked))
    }

    /// What a key is at present and where the store has it. Looks for a deletion only where `with_dead` asks.
    pub(super) fn current(&self, key: &[u8], with_dead: bool) -> Result<(Current, Home), StorageError> {
        if let Some(slot) = self.pending.slots.get(key) {
            return Ok((slot.now.clone(), slot.home));
        }
        stored(self.snapshot, key, with_dead)
    }

    /// Whether a key of the range is there.
    pub(super) fn any(&self, range: KeyRange, revision: Option<Revision>) -> Result<bool, ReadError> {
        let past = self.past(revision)?;
        let span = Span::new(range);
        let mut walk = past.map(|past| self.walk(past));
        for item in self.candidates(&span, past, false) {
            let (key, found) = item?;
            let there = match &mut walk {
                None => true,
                Some(walk) => walk.resolve(&key, found.decode()?)?.is_some(),
            };
            if there {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn walk(&self, to: Revision) -> Walk<'a, S> {
        Walk::new(self.snapshot, self.pending, self.compacted, to, limits::MAX_WALK_STEPS)
    }

    /// The keys to look at for a read of `span` at present or in the past.
    pub(super) fn candidates<'b>(&'b self, span: &'b Span, past: Option<Revision>, descending: bool) -> Items<'b> {
        let order = Order { with_dead: past.is_some(), descending };
        candidates(self.snapshot, self.pending, self.compacted, span, order)
    }
}

/// The range of the keys that begin with `prefix` and are longer.
pub(super) fn below(prefix: &[u8]) -> KeyRange {
    let mut start = prefix.to_vec();
    start.push(0);
    KeyRange::new(start, KeyRange::prefix(Bytes::copy_from_slice(prefix)).end().cloned())
}

/// What the store has of a key. Looks for a deletion only where `with_dead` asks.
pub(super) fn stored<S: Snapshot>(snapshot: &S, key: &[u8], with_dead: bool) -> Result<(Current, Home), StorageError> {
    let key = schema::user(key);
    if let Some(bytes) = snapshot.get(Keyspace::Kv, &key)? {
        return Ok((Current::Live(decode_record(&bytes)?), Home::Kv));
    }
    let tombstone = if with_dead { snapshot.get(Keyspace::Tombstones, &key)? } else { None };
    let Some(bytes) = tombstone else { return Ok((Current::Dead(Revision::ZERO), Home::Nowhere)) };
    Ok((Current::Dead(decode_revision(&bytes)?), Home::Tombstones))
}
