//! What happened: the events of one key, newest first, and the events of a range for a watch that catches up.

use std::ops::Bound;

use super::ReadError;
use super::block::StoredBlock;
use super::reader::Reader;
use super::walk::{load_block, read_block, visible};
use crate::model::{Event, Revision};
use crate::storage::{Keyspace, Snapshot, StorageError, schema};

/// Which events to give: by their key, and whether they put it.
pub(super) type Wanted<'a> = &'a dyn Fn(&[u8], bool) -> bool;

/// How much one replay may read. A revision is never cut, so what it returns may be larger by one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayBudget {
    /// The events looked at, wanted or not.
    pub steps: usize,
    /// The bytes of the events returned, roughly.
    pub bytes: usize,
}

/// Part of what a watch missed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// In order of revision and, within one, of key; whole revisions.
    pub events: Vec<Event>,
    /// Everything of the range up to this revision, itself included, was returned. Go on after it.
    pub through: Revision,
}

impl<S: Snapshot> Reader<'_, S> {
    /// The events of a key before `before` (all, for `None`), newest first, at most `limit`.
    pub(super) fn history(&self, key: &[u8], before: Option<Revision>, limit: usize) -> Result<Vec<Event>, ReadError> {
        let before = before.unwrap_or(self.revision.next());
        let mut walk = self.walk(before);
        let mut events = Vec::new();
        // A reader that pages names the last event it got: the walk goes on from there.
        let mut at = match walk.event(before, key)? {
            Some(event) => event.previous_revision,
            None => self.current(key, true)?.0.last_event(),
        };
        while at > Revision::ZERO && at >= self.compacted && events.len() < limit {
            let event = walk.step(at, key)?;
            at = event.previous_revision;
            if event.revision < before {
                events.push(event);
            }
        }
        Ok(events)
    }

    /// The events that are wanted after a revision, as far as the budget goes. Reads what is stored; a batch not yet
    /// written has no watchers.
    ///
    /// # Errors
    /// When the revision that follows `after` is below the compacted one: events are gone. As in etcd, the events *at*
    /// the compacted revision are still there.
    pub(super) fn events(
        &self,
        wanted: Wanted<'_>,
        after: Revision,
        budget: ReplayBudget,
    ) -> Result<Replay, ReadError> {
        if after >= self.revision {
            return Ok(Replay { events: Vec::new(), through: after });
        }
        let asked = after.next();
        if asked < self.compacted {
            return Err(ReadError::Compacted { asked, compacted: self.compacted });
        }
        let mut replay = Catching { wanted, after, budget, compacted: self.compacted, replay: Replay::default() };
        replay.replay.through = after;
        let first = load_block(self.snapshot, asked)?.map_or(asked, |(first, _)| first);
        let from = schema::block(first);
        let to = schema::block(self.revision);
        for item in self.snapshot.scan(Keyspace::History, Bound::Included(&from), Bound::Included(&to)) {
            let (key, bytes) = item?;
            let (_, block) = read_block(&key, bytes)?;
            if !replay.take(&block)? {
                return Ok(replay.replay);
            }
        }
        Ok(Replay { through: self.revision, ..replay.replay })
    }
}

/// A replay as it goes.
struct Catching<'a> {
    wanted: Wanted<'a>,
    after: Revision,
    budget: ReplayBudget,
    compacted: Revision,
    replay: Replay,
}

impl Catching<'_> {
    /// Takes the events of a block; whether the budget allows another.
    fn take(&mut self, block: &StoredBlock) -> Result<bool, StorageError> {
        for number in block.first_after(self.after)?..block.len() {
            let revision = block.revision(number)?;
            if revision > self.replay.through {
                if self.replay.through > self.after && self.is_spent() {
                    return Ok(false);
                }
                // So far only begun; the next revision, or the end of the block, makes it whole.
                self.replay.through = revision;
            }
            self.budget.steps = self.budget.steps.saturating_sub(1);
            if (self.wanted)(block.key(number)?, block.is_put(number)?) {
                let event = block.event(number)?;
                self.budget.bytes = self.budget.bytes.saturating_sub(super::block::event_size(&event));
                self.replay.events.push(visible(event, self.compacted));
            }
        }
        Ok(self.replay.through == self.after || !self.is_spent())
    }

    fn is_spent(&self) -> bool {
        self.budget.steps == 0 || self.budget.bytes == 0
    }
}
