//! The way back: from a key's present state through its events to what it was at an earlier revision.
//!
//! Bounded by a number of steps, each one event of one key. The number depends on nothing but what clients can
//! see (never on block boundaries or on how far the sweep has come), so that every replica refuses alike.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::ReadError;
use super::block::StoredBlock;
use super::pending::{Current, Pending};
use crate::model::{Event, Record, Revision};
use crate::storage::{Keyspace, Snapshot, StorageError, schema};

/// The bytes of blocks that one walk keeps at hand.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

/// One read of the past.
#[derive(Debug)]
pub(super) struct Walk<'a, S> {
    snapshot: &'a S,
    pending: &'a Pending,
    compacted: Revision,
    /// The revision read at; named in the refusal.
    asked: Revision,
    steps: u64,
    blocks: BTreeMap<Revision, StoredBlock>,
    kept: usize,
}

impl<'a, S: Snapshot> Walk<'a, S> {
    /// A walk to `asked` of at most `steps` steps.
    pub(super) fn new(snapshot: &'a S, pending: &'a Pending, compacted: Revision, asked: Revision, steps: u64) -> Self {
        Self { snapshot, pending, compacted, asked, steps, blocks: BTreeMap::new(), kept: 0 }
    }

    /// The record of a key at the revision asked for, given what the key is at present.
    pub(super) fn resolve(&mut self, key: &[u8], current: Current) -> Result<Option<Record>, ReadError> {
        let mut at = current.last_event();
        if at <= self.asked {
            return Ok(match current {
                Current::Live(record) => Some(record),
                Current::Dead(_) => None,
            });
        }
        while at > self.asked {
            let event = self.step(at, key)?;
            match event.previous {
                Some(record) if record.mod_revision <= self.asked => return Ok(Some(record)),
                Some(_) | None => at = event.previous_revision,
            }
        }
        Ok(None)
    }

    /// The event of a key at a revision where it is known to have one, its pointer 0 where that was compacted.
    pub(super) fn step(&mut self, revision: Revision, key: &[u8]) -> Result<Event, ReadError> {
        self.steps = self.steps.checked_sub(1).ok_or(ReadError::TooManySteps { asked: self.asked })?;
        self.event(revision, key)?.ok_or_else(|| {
            let key = String::from_utf8_lossy(key);
            let what = format!("history has no event of {key} at revision {revision}");
            StorageError::Corrupt { what }.into()
        })
    }

    /// The event of a key at a revision, if there is one.
    pub(super) fn event(&mut self, revision: Revision, key: &[u8]) -> Result<Option<Event>, ReadError> {
        if revision < self.compacted {
            return Ok(None);
        }
        let found = match self.pending.event(revision, key) {
            Some(event) => Some(event.clone()),
            None => self.stored_event(revision, key)?,
        };
        Ok(found.map(|event| visible(event, self.compacted)))
    }

    fn stored_event(&mut self, revision: Revision, key: &[u8]) -> Result<Option<Event>, StorageError> {
        let Some(block) = self.block(revision)? else { return Ok(None) };
        let Some(number) = block.find(revision, key)? else { return Ok(None) };
        Ok(Some(block.event(number)?))
    }

    /// The block that a revision is in, if it is in any.
    fn block(&mut self, revision: Revision) -> Result<Option<StoredBlock>, StorageError> {
        if let Some((_, block)) = self.blocks.range(..=revision).next_back()
            && block.last()? >= revision
        {
            return Ok(Some(block.clone()));
        }
        let Some((first, block)) = load_block(self.snapshot, revision)? else { return Ok(None) };
        self.kept += block.size();
        while self.kept > KEPT_BYTES
            && let Some((_, newest)) = self.blocks.pop_last()
        {
            self.kept -= newest.size();
        }
        self.blocks.insert(first, block.clone());
        Ok(Some(block))
    }
}

/// An event as it may be shown: what was compacted is not pointed at.
pub(super) fn visible(mut event: Event, compacted: Revision) -> Event {
    if event.previous_revision < compacted {
        event.previous_revision = Revision::ZERO;
    }
    event
}

/// The last stored block that begins at or before a revision, and where it begins.
pub(super) fn load_block<S: Snapshot>(
    snapshot: &S,
    revision: Revision,
) -> Result<Option<(Revision, StoredBlock)>, StorageError> {
    let from = schema::block(Revision::ZERO);
    let to = schema::block(revision);
    let mut blocks = snapshot.scan(Keyspace::History, Bound::Included(&from), Bound::Included(&to));
    blocks.next_back().transpose()?.map(|(key, bytes)| read_block(&key, bytes)).transpose()
}

/// A stored block and the revision that it begins at.
pub(super) fn read_block(key: &[u8], bytes: Bytes) -> Result<(Revision, StoredBlock), StorageError> {
    Ok((schema::block_revision(key)?, StoredBlock::new(bytes)?))
}
