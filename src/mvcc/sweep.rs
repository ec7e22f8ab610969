//! Dropping what compaction made invisible, a slice at a time.
//!
//! Changes no answer: readers go by the compacted revision alone, whether the sweep has come by or not.

use std::ops::Bound;

use bytes::Bytes;

use super::block::decode_revision;
use super::view::View;
use crate::model::Revision;
use crate::storage::{Keyspace, Snapshot, StorageError, WriteBatch, schema};

/// How far a sweep has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Another slice is due.
    More,
    /// Nothing below the compacted revision is left.
    Done,
}

/// A sweep, remembered between slices. Starting anew, after a restart, costs time and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    /// What is below this revision goes.
    below: Revision,
    stage: Stage,
    /// Where the oldest block is, so that the next sweep need not pass over what this one dropped.
    oldest_block: Option<Bytes>,
}

#[derive(Debug, Clone, Default)]
enum Stage {
    #[default]
    Blocks,
    /// The stored key of the last tombstone looked at.
    Tombstones(Option<Bytes>),
    Done,
}

impl Sweep {
    /// A sweep that begins at the beginning.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to `batch` the removal of what one slice of at most `steps` blocks or tombstones finds below the view's
    /// compacted revision. The batch must be committed before another overlay or slice is begun.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn slice<S: Snapshot>(
        &mut self,
        view: &View<S>,
        steps: usize,
        batch: &mut WriteBatch,
    ) -> Result<Progress, StorageError> {
        if view.compacted() > self.below {
            self.below = view.compacted();
            self.stage = Stage::Blocks;
        }
        self.stage = match std::mem::take(&mut self.stage) {
            Stage::Blocks => self.blocks(view.snapshot(), steps, batch)?,
            Stage::Tombstones(after) => self.tombstones(view.snapshot(), after.as_ref(), steps, batch)?,
            Stage::Done => Stage::Done,
        };
        Ok(match self.stage {
            Stage::Blocks | Stage::Tombstones(_) => Progress::More,
            Stage::Done => Progress::Done,
        })
    }

    /// A block goes when the next one begins at or before the compacted revision, for then it ends below.
    fn blocks<S: Snapshot>(
        &mut self,
        snapshot: &S,
        steps: usize,
        batch: &mut WriteBatch,
    ) -> Result<Stage, StorageError> {
        let from = self.oldest_block.take().unwrap_or_else(|| schema::block(Revision::ZERO));
        let to = schema::block(self.below);
        let mut keys = snapshot.scan_keys(Keyspace::History, Bound::Included(&from), Bound::Included(&to));
        for _ in 0..=steps {
            let Some(next) = keys.next().transpose()? else { return Ok(Stage::Tombstones(None)) };
            if let Some(dropped) = self.oldest_block.replace(next) {
                batch.delete(Keyspace::History, dropped);
            }
        }
        Ok(Stage::Blocks)
    }

    fn tombstones<S: Snapshot>(
        &self,
        snapshot: &S,
        after: Option<&Bytes>,
        steps: usize,
        batch: &mut WriteBatch,
    ) -> Result<Stage, StorageError> {
        let (start, to) = schema::EVERY_USER;
        let from = after.map_or(start, |after| Bound::Excluded(&**after));
        let mut stored = snapshot.scan(Keyspace::Tombstones, from, to);
        let mut last = None;
        for _ in 0..steps.max(1) {
            let Some((key, deleted)) = stored.next().transpose()? else { return Ok(Stage::Done) };
            if decode_revision(&deleted)? < self.below {
                batch.delete(Keyspace::Tombstones, &key);
            }
            last = Some(key);
        }
        Ok(Stage::Tombstones(last))
    }
}
