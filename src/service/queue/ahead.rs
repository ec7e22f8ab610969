//! Who is ahead of whom, without reading the queue each time.
//!
//! Keys are in order of their names, which says nothing about the order of arrival: to find the nearest place ahead is to read
//! the whole queue. But nobody comes in ahead of a place that is there. So what was ahead of it at one look is all that can be
//! ahead of it later, and the places that were seen serve every request of this member that waits in the queue: one is
//! still there if its key is, with its create revision.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{Place, QueueName, Taken, too_long};
use crate::model::limits::MAX_QUEUE_PLACES;
use crate::model::{Event, Key, KeyRange, Revision};
use crate::mvcc::ReplayBudget;
use crate::service::{Error, Reader, Service};

/// What may have happened in the store since a look, so that it is cheaper to read than the queue.
const SINCE: ReplayBudget = ReplayBudget { steps: 2048, bytes: 1024 * 1024 };

/// The queues in which requests wait at this member.
#[derive(Debug, Default)]
pub(in crate::service) struct Lines(Mutex<HashMap<QueueName, Arc<Line>>>);

/// What is known of a queue while somebody waits in it.
#[derive(Debug, Default)]
struct Line(Mutex<Seen>);

/// The places that were seen, some of which may be gone.
#[derive(Debug, Default)]
struct Seen {
    /// All places are among them that are there and were taken up to this revision.
    through: Revision,
    /// In order of arrival. Those written by one transaction have one create revision.
    places: BTreeSet<(Revision, Key)>,
}

/// A line for as long as somebody waits in it.
#[derive(Debug)]
pub(super) struct InLine {
    service: Service,
    name: QueueName,
    line: Arc<Line>,
}

impl Service {
    /// The line of a queue, shared by those who wait in it here.
    pub(super) fn line(&self, name: &QueueName) -> InLine {
        let line = Arc::clone(self.0.lines.0.lock().entry(name.clone()).or_default());
        InLine { service: self.clone(), name: name.clone(), line }
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        let mut lines = self.service.0.lines.0.lock();
        // The one in the map, and this one.
        if Arc::strong_count(&self.line) <= 2 {
            lines.remove(&self.name);
        }
    }
}

impl InLine {
    /// The nearest place that is ahead of one, in a state that has that one.
    pub(super) async fn nearest(&self, reader: &Reader, taken: &Taken) -> Result<Option<Key>, Error> {
        if self.seen().through < taken.token {
            self.look(reader).await?;
        }
        loop {
            let Some(nearest) = self.seen().before(taken) else { return Ok(None) };
            let (came, key) = &nearest;
            if reader.get(key, None)?.is_some_and(|item| item.record.create_revision == *came) {
                return Ok(Some(nearest.1));
            }
            self.seen().places.remove(&nearest);
        }
    }

    /// Sees what there is.
    async fn look(&self, reader: &Reader) -> Result<(), Error> {
        let through = self.seen().through;
        let since = match through {
            Revision::ZERO => None,
            after => reader.since(KeyRange::prefix(self.name.directory()), after, SINCE).await?,
        };
        if let Some(events) = since {
            self.seen().follow(&self.name, &events, reader.revision());
        } else {
            let mut found = BTreeSet::new();
            let take = |place: Place| {
                found.insert((place.token, place.key));
            };
            self.service.each_place(reader, &self.name, true, take).await?;
            self.seen().replace(found, reader.revision());
        }
        if self.seen().places.len() as u64 > MAX_QUEUE_PLACES { Err(too_long(&self.name)) } else { Ok(()) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.line.0.lock()
    }
}

impl Seen {
    fn before(&self, taken: &Taken) -> Option<(Revision, Key)> {
        self.places.range(..(taken.token, taken.key.clone())).next_back().cloned()
    }

    /// Takes over what has happened up to a revision since an earlier look.
    fn follow(&mut self, name: &QueueName, events: &[Event], through: Revision) {
        for event in events.iter().filter(|event| name.lease(&event.key).is_some()) {
            if let Some(gone) = event.previous.as_ref().filter(|_| event.record.is_none()) {
                self.places.remove(&(gone.create_revision, event.key.clone()));
            }
            if let Some(record) = &event.record {
                self.places.insert((record.create_revision, event.key.clone()));
            }
        }
        self.through = self.through.max(through);
    }

    /// Takes over all that is there at a revision.
    fn replace(&mut self, found: BTreeSet<(Revision, Key)>, through: Revision) {
        // Somebody else may have seen more meanwhile.
        self.places.retain(|(token, _)| *token > through);
        self.places.extend(found);
        self.through = self.through.max(through);
    }
}
