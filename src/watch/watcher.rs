//! One watcher: what it has still to be given, and how far it is.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Filter;
use super::held::{Held, Offer};
use super::hub::Limits;
use crate::model::{Event, Revision};

/// A watcher that has more runs than this waiting is slow: from here on it holds copies of small events rather than
/// whole blocks, of which it could hold one per event.
const SHARED_RUNS: usize = 8;
/// The room for runs that an idle watcher keeps.
const IDLE_RUNS: usize = 4;

/// What [`Hub::take`](super::Hub::take) gives.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// Events, in order. More may be waiting.
    Events(Vec<Piece>),
    /// Nothing is waiting, and the watcher has everything up to this revision: a point to resume from.
    Idle { through: Revision },
    /// The watcher was too slow and has everything up to this revision; later events were dropped. It stays so until
    /// it is cancelled or rejoins.
    Lagging { resume_after: Revision },
    /// There is no such watcher.
    Cancelled,
}

/// Events of one revision, all or a part of those that concern a watcher.
#[derive(Debug, Clone)]
pub struct Piece {
    run: Run,
    ends_revision: bool,
}

impl Piece {
    /// The events, in order of key; never none.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        self.run.events()
    }

    /// Whether the last of these events is the last one of this watcher at their revision, so that it is safe to resume
    /// after it.
    #[must_use]
    pub fn ends_revision(&self) -> bool {
        self.ends_revision
    }
}

/// Neighbours in a block.
#[derive(Debug, Clone)]
struct Run {
    block: Arc<Held>,
    from: u32,
    to: u32,
}

impl Run {
    fn events(&self) -> &[Event] {
        self.block.events().get(self.from as usize..self.to as usize).unwrap_or_default()
    }
}

#[derive(Debug)]
pub(super) struct Watcher {
    filter: Filter,
    /// Everything up to here is known to the watcher, or was not asked for.
    after: Revision,
    /// Set until a replay has reached this revision.
    joining: Option<Revision>,
    /// Set once events were dropped: what came after this revision.
    lagging: Option<Revision>,
    /// The revision of the last event that was taken.
    taken: Revision,
    queue: VecDeque<Run>,
    /// The number of events in the queue.
    events: usize,
    /// What they cost.
    cost: usize,
}

impl Watcher {
    /// A watcher that has everything up to `after`, registered at revision `hub`.
    pub(super) fn new(filter: Filter, after: Revision, hub: Revision) -> Self {
        let joining = (after < hub).then_some(hub);
        let (taken, queue) = (Revision::ZERO, VecDeque::new());
        Self { filter, after, joining, lagging: None, taken, queue, events: 0, cost: 0 }
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether there is anything to take, or will be when the replay is done.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.lagging.is_none()
    }

    /// Queues an event that the filter accepts, unless the queue is full. A revision that finds the queue empty gets in
    /// however large it is, else a resume could never get past it; one that does not fit leaves whole.
    pub(super) fn offer(&mut self, offer: &Offer<'_>, limits: Limits) {
        let revision = offer.event.revision;
        if self.lagging.is_some() || revision <= self.after || !self.filter.accepts(offer.event) {
            return;
        }
        let is_first = self.oldest().is_none_or(|oldest| oldest == revision);
        let fits = self.events < limits.events && self.cost.saturating_add(offer.cost) <= limits.bytes;
        if is_first || fits {
            self.push(offer);
        } else {
            self.drop_back(|queued| queued.revision >= revision);
            self.lagging = Some(Revision(revision.get().saturating_sub(1)));
        }
    }

    fn push(&mut self, offer: &Offer<'_>) {
        self.events += 1;
        self.cost += offer.cost;
        let follows = |last: &&mut Run| offer.is_in(&last.block) && last.to == offer.index;
        if let Some(last) = self.queue.back_mut().filter(follows) {
            last.to += 1;
            return;
        }
        let (block, from) = offer.hold(self.queue.len() >= SHARED_RUNS);
        self.queue.push_back(Run { block: Arc::clone(block), from, to: from + 1 });
    }

    /// Takes events, at least one where there is one, until they cost `max_bytes`. `hub` is the last revision published.
    pub(super) fn take(&mut self, max_bytes: usize, hub: Revision) -> Delivery {
        if self.joining.is_some() {
            return Delivery::Idle { through: self.after };
        }
        let (mut pieces, mut taken) = (Vec::new(), 0);
        while let Some((piece, cost)) = self.next_piece(pieces.is_empty(), max_bytes.saturating_sub(taken)) {
            taken += cost;
            pieces.push(piece);
        }
        self.rest();
        match self.lagging {
            _ if !pieces.is_empty() => Delivery::Events(pieces),
            Some(resume_after) => Delivery::Lagging { resume_after },
            None => Delivery::Idle { through: self.after.max(hub) },
        }
    }

    /// The revision up to which everything was taken. `hub` is the last revision published.
    pub(super) fn through(&self, hub: Revision) -> Revision {
        match (self.oldest(), self.lagging) {
            _ if self.joining.is_some() => self.after,
            // Of this one, a part may have been taken.
            (Some(oldest), _) => Revision(oldest.get().saturating_sub(1)),
            (None, Some(resume_after)) => resume_after,
            (None, None) => self.after.max(hub),
        }
    }

    /// Takes events of one revision from the front of the queue, within a budget unless one must be taken.
    fn next_piece(&mut self, must: bool, budget: usize) -> Option<(Piece, usize)> {
        let run = self.queue.front_mut()?;
        let revision = run.events().first()?.revision;
        let (mut count, mut taken) = (0, 0);
        for event in run.events().iter().take_while(|event| event.revision == revision) {
            let cost = cost(event);
            if taken + cost > budget && (count > 0 || !must) {
                break;
            }
            taken += cost;
            count += 1;
        }
        if count == 0 {
            return None;
        }
        let piece = Run { block: Arc::clone(&run.block), from: run.from, to: run.from + count };
        run.from += count;
        if run.from >= run.to {
            self.queue.pop_front();
        }
        self.events -= count as usize;
        self.cost -= taken;
        self.taken = revision;
        let ends_revision = self.oldest() != Some(revision);
        Some((Piece { run: piece, ends_revision }, taken))
    }

    /// A replay has shown everything up to `through`. Whether that reaches what the hub has kept.
    pub(super) fn skip_through(&mut self, through: Revision) -> bool {
        if self.joining.is_some_and(|joining| through < joining) {
            return false;
        }
        self.joining = None;
        self.after = self.after.max(through);
        self.lagging = self.lagging.map(|resume_after| resume_after.max(through));
        let after = self.after;
        self.drop_front(|queued| queued.revision <= after);
        self.rest();
        true
    }

    /// Begins again at revision `hub`, with everything before it left to a replay. Whether the watcher was told to.
    pub(super) fn rejoin(&mut self, hub: Revision) -> bool {
        let Some(resume_after) = self.lagging.filter(|_| self.queue.is_empty() && self.joining.is_none()) else {
            return false;
        };
        self.after = resume_after;
        self.lagging = None;
        self.joining = Some(hub);
        true
    }

    /// The hub goes on from another revision than `hub`, without the events between.
    pub(super) fn miss(&mut self, hub: Revision) {
        self.lagging.get_or_insert(self.after.max(hub));
    }

    /// The revision of what has waited the longest.
    pub(super) fn oldest(&self) -> Option<Revision> {
        Some(self.queue.front()?.events().first()?.revision)
    }

    /// Lets go of all that waits but for the rest of a revision of which a part was taken: the watcher lags, if that was
    /// anything.
    pub(super) fn let_go(&mut self) {
        let Some(oldest) = self.oldest() else { return };
        let is_begun = oldest == self.taken;
        let rest = if is_begun { oldest } else { Revision(oldest.get().saturating_sub(1)) };
        let waiting = self.events;
        self.drop_back(|queued| queued.revision > rest);
        if self.events < waiting {
            self.lagging = Some(rest);
        }
        self.rest();
    }

    fn drop_front(&mut self, is_dropped: impl Fn(&Event) -> bool) {
        while let Some(run) = self.queue.front_mut() {
            match run.events().first() {
                Some(event) if !is_dropped(event) => return,
                Some(event) => {
                    self.cost -= cost(event);
                    self.events -= 1;
                    run.from += 1;
                }
                None => {
                    self.queue.pop_front();
                }
            }
        }
    }

    fn drop_back(&mut self, is_dropped: impl Fn(&Event) -> bool) {
        while let Some(run) = self.queue.back_mut() {
            match run.events().last() {
                Some(event) if !is_dropped(event) => return,
                Some(event) => {
                    self.cost -= cost(event);
                    self.events -= 1;
                    run.to -= 1;
                }
                None => {
                    self.queue.pop_back();
                }
            }
        }
    }

    /// Gives memory back that a burst needed.
    fn rest(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > IDLE_RUNS {
            self.queue = VecDeque::new();
        }
    }

    /// The bytes that are waiting.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// What it takes to know what is waiting, in bytes.
    pub(super) fn queue_bytes(&self) -> usize {
        self.queue.len() * size_of::<Run>()
    }
}

/// About what an event takes in memory and on a stream, in bytes.
pub(super) fn cost(event: &Event) -> usize {
    let records = event.record.iter().chain(&event.previous);
    size_of::<Event>() + event.key.as_bytes().len() + records.map(|record| record.value.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_watcher_is_small() {
        assert!(size_of::<Watcher>() <= 184, "{}", size_of::<Watcher>());
    }
}
