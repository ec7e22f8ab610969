//! The hub: takes what was applied, gives each watcher its part.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::held::{Offer, Offered, Tally};
use super::index::Index;
use super::watcher::Watcher;
use super::{Delivery, Filter};
use crate::model::{Block, Event, Revision, limits};

/// Names a watcher; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub u64);

/// How much may wait. Beyond, a watcher is lagging; one whole revision always gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of events for one watcher.
    pub events: usize,
    /// Their size in memory, in bytes.
    pub bytes: usize,
    /// What all watchers hold, in bytes of memory: beyond, those that have waited the longest lag, until half of it is left.
    pub together: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            events: limits::WATCH_BACKLOG_EVENTS,
            bytes: limits::WATCH_BACKLOG_BYTES,
            together: limits::WATCH_BACKLOGS_BYTES,
        }
    }
}

/// Every watcher of a member.
#[derive(Debug)]
pub struct Hub {
    /// The last revision published.
    revision: Revision,
    limits: Limits,
    // Boxed, since a map leaves half of its room empty when ids only rise.
    watchers: BTreeMap<WatcherId, Box<Watcher>>,
    index: Index,
    /// The blocks that watchers hold, and readers of what they have taken.
    tally: Tally,
    /// The bytes of all queues beside that.
    queues: usize,
    /// What nobody could let go of at the last look.
    stuck: usize,
    next: u64,
    /// The watchers that an event concerns; kept for its memory.
    concerned: Vec<WatcherId>,
}

impl Hub {
    /// A hub without watchers, at the revision of the store.
    #[must_use]
    pub fn new(revision: Revision, limits: Limits) -> Self {
        let (watchers, index, tally) = (BTreeMap::new(), Index::default(), Tally::default());
        Self { revision, limits, watchers, index, tally, queues: 0, stuck: 0, next: 0, concerned: Vec::new() }
    }

    /// The last revision published.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The number of watchers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Whether nobody watches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// What all watchers hold, and readers of what they have taken, in bytes: what several hold counts once.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.tally.bytes() + self.queues
    }

    /// Does something to a watcher, and keeps count of its queue.
    fn with<T>(&mut self, id: WatcherId, act: impl FnOnce(&mut Watcher) -> T) -> Option<T> {
        let watcher = self.watchers.get_mut(&id)?;
        let before = watcher.queue_bytes();
        let done = act(watcher);
        self.queues = self.queues + watcher.queue_bytes() - before;
        Some(done)
    }

    /// Adds a watcher that has everything up to `after`, and says the hub's revision. Below that revision, the caller
    /// replays what is between and then calls [`Hub::skip_through`]. An `after` in the future is waited for: nothing up
    /// to it is given.
    pub fn register(&mut self, filter: Filter, after: Revision) -> (WatcherId, Revision) {
        let id = WatcherId(self.next);
        self.next += 1;
        self.index.insert(id, &filter);
        self.watchers.insert(id, Box::new(Watcher::new(filter, after, self.revision)));
        (id, self.revision)
    }

    /// The caller has replayed everything up to `through`: what is queued up to there is dropped, the rest may be taken.
    /// `false`, and nothing done, when the replay did not reach the revision that the watcher was registered or rejoined
    /// at, or there is no such watcher.
    pub fn skip_through(&mut self, id: WatcherId, through: Revision) -> bool {
        self.with(id, |watcher| watcher.skip_through(through)).unwrap_or(false)
    }

    /// Lets a watcher that was told [`Delivery::Lagging`] go on without a new registration, and says the hub's revision,
    /// which a replay from where it lags must reach before [`Hub::skip_through`]. `None`, and nothing done, when the
    /// watcher does not lag, has something left to take, or is not there.
    pub fn rejoin(&mut self, id: WatcherId) -> Option<Revision> {
        self.watchers.get_mut(&id)?.rejoin(self.revision).then_some(self.revision)
    }

    /// Hands out what was applied. The blocks hold every event after the last revision published up to `revision`, each
    /// revision whole; what was published before is passed over. Gives the watchers that had nothing waiting and now have, each once: those to wake.
    pub fn publish(&mut self, revision: Revision, blocks: &[Arc<Block>]) -> Vec<WatcherId> {
        let mut awake = Vec::new();
        for block in blocks {
            self.publish_block(block, &mut awake);
        }
        self.revision = self.revision.max(revision);
        self.let_go();
        awake
    }

    /// Lets those lag that have waited the longest, once all hold too much. They are awake already.
    fn let_go(&mut self) {
        let (held, half) = (self.held_bytes(), self.limits.together / 2);
        self.stuck = self.stuck.min(held.saturating_sub(half));
        if held <= self.limits.together.saturating_add(self.stuck) {
            return;
        }
        let waiting = self.watchers.iter().filter_map(|(id, watcher)| Some((watcher.oldest()?, *id)));
        let mut waiting: Vec<(Revision, WatcherId)> = waiting.collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            if self.held_bytes() <= half {
                break;
            }
            self.with(id, Watcher::let_go);
        }
        // All are looked at again once there is as much as that beside it.
        self.stuck = self.held_bytes().saturating_sub(half);
    }

    fn publish_block(&mut self, block: &Arc<Block>, awake: &mut Vec<WatcherId>) {
        let Self { revision, limits, watchers, index, tally, queues, concerned, .. } = self;
        let offered = Offered::new(block, tally);
        let is_new = |(_, event): &(u32, &Event)| event.revision > *revision;
        for (position, event) in (0..).zip(&block.events).filter(is_new) {
            let offer = Offer::new(&offered, position, event);
            concerned.clear();
            index.concerned(event.key.as_bytes(), |id| concerned.push(id));
            for id in &*concerned {
                let Some(watcher) = watchers.get_mut(id) else { continue };
                let (was_idle, before) = (watcher.is_idle(), watcher.queue_bytes());
                watcher.offer(&offer, *limits);
                *queues = *queues + watcher.queue_bytes() - before;
                if was_idle && !watcher.is_idle() {
                    awake.push(*id);
                }
            }
        }
    }

    /// Goes on at `revision` without the events before it, as after a snapshot was installed. Every watcher gets what
    /// waits for it, and is then lagging. Gives the watchers to wake.
    pub fn jump(&mut self, revision: Revision) -> Vec<WatcherId> {
        let idle = self.watchers.iter().filter(|(_, watcher)| watcher.is_idle());
        let awake = idle.map(|(id, _)| *id).collect();
        for watcher in self.watchers.values_mut() {
            watcher.miss(self.revision);
        }
        self.revision = revision;
        awake
    }

    /// Takes what waits for a watcher: at least one event where there is one, more until they make `max_bytes`.
    pub fn take(&mut self, id: WatcherId, max_bytes: usize) -> Delivery {
        let revision = self.revision;
        self.with(id, |watcher| watcher.take(max_bytes, revision)).unwrap_or(Delivery::Cancelled)
    }

    /// The revision up to which a watcher has taken everything, revisions whole; 0 where there is no such watcher. One that
    /// still has to be brought up to the hub's revision counts as where it was registered or rejoined.
    #[must_use]
    pub fn through(&self, id: WatcherId) -> Revision {
        self.standing(id).map_or(Revision::ZERO, |(through, _)| through)
    }

    /// How far a watcher is, as [`Hub::through`], and what waits for it, in bytes; `None` where there is no
    /// such watcher.
    #[must_use]
    pub fn standing(&self, id: WatcherId) -> Option<(Revision, usize)> {
        self.watchers.get(&id).map(|watcher| (watcher.through(self.revision), watcher.cost()))
    }

    /// Removes a watcher and all that it holds. Nothing, when it is gone already.
    pub fn cancel(&mut self, id: WatcherId) {
        if let Some(watcher) = self.watchers.remove(&id) {
            self.queues -= watcher.queue_bytes();
            self.index.remove(id, watcher.filter());
        }
    }

    /// Whether nothing is left of any watcher.
    #[cfg(test)]
    pub(super) fn is_bare(&self) -> bool {
        self.watchers.is_empty() && self.index.is_empty() && self.queues == 0
    }
}
