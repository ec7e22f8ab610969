//! The watch hub in a running member: a lock around the data structure, and the wakers of those who wait on it.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::{Published, Shared};
use crate::model::{Block, Revision};
pub use crate::watch::Delivery;
use crate::watch::{Filter, Hub, WatcherId};

pub(super) struct SharedHub(Mutex<Inner>);

struct Inner {
    hub: Hub,
    /// Who is to be woken when a watcher has something; only those that wait.
    wakers: HashMap<WatcherId, Waker>,
}

impl SharedHub {
    pub(super) fn new(hub: Hub) -> Self {
        Self(Mutex::new(Inner { hub, wakers: HashMap::new() }))
    }

    /// Publishes what was applied, once it is told to those who wait for it: who has heard, and looks at the hub then, finds it there.
    pub(super) fn publish(&self, tell: impl FnOnce(), revision: Revision, blocks: &[Arc<Block>]) {
        self.wake(|hub| {
            tell();
            hub.publish(revision, blocks)
        });
    }

    /// Goes on at the revision of another state, which the watchers bring themselves up to.
    pub(super) fn jump(&self, revision: Revision) {
        self.wake(|hub| hub.jump(revision));
    }

    /// Of each of these watchers how far it is and what waits for it, as [`Hub::standing`]. Under one lock.
    pub(super) fn standings(&self, ids: impl Iterator<Item = WatcherId>) -> Vec<Option<(Revision, usize)>> {
        let inner = self.0.lock();
        ids.map(|id| inner.hub.standing(id)).collect()
    }

    /// What all watchers hold, as [`Hub::held_bytes`].
    pub(super) fn held_bytes(&self) -> usize {
        self.0.lock().hub.held_bytes()
    }

    fn wake(&self, act: impl FnOnce(&mut Hub) -> Vec<WatcherId>) {
        let mut wakers = Vec::new();
        {
            let mut inner = self.0.lock();
            let Inner { hub, wakers: waiting } = &mut *inner;
            for id in act(hub) {
                wakers.extend(waiting.remove(&id));
            }
        }
        for waker in wakers {
            waker.wake();
        }
    }
}

/// One place in the hub, given up when dropped.
pub struct Watcher {
    shared: Arc<Shared>,
    id: WatcherId,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watcher").field(&self.id).finish()
    }
}

impl Watcher {
    /// Registers with the hub for what comes after a revision, and gives a state that is not older than the hub's: where
    /// that is newer than the revision, the caller brings itself up to the state and says so with
    /// [`Watcher::skip_through`], and no event is missed or seen twice.
    pub(super) fn register(shared: &Arc<Shared>, filter: Filter, after: Revision) -> (Self, Arc<Published>) {
        let (id, _) = shared.hub.0.lock().hub.register(filter, after);
        let watcher = Self { shared: Arc::clone(shared), id };
        shared.metrics.watch.watchers.inc();
        (watcher, shared.published())
    }

    /// Its name in the hub.
    #[must_use]
    pub fn id(&self) -> WatcherId {
        self.id
    }

    /// Drops events up to and including the revision.
    pub fn skip_through(&self, revision: Revision) {
        let reached = self.shared.hub.0.lock().hub.skip_through(self.id, revision);
        debug_assert!(reached, "a state that was published is not older than the hub");
    }

    /// What has happened, if anything has; else wakes the task later. About `max_bytes` at once.
    pub fn poll_take(&self, context: &Context<'_>, max_bytes: usize) -> Poll<Delivery> {
        let mut inner = self.shared.hub.0.lock();
        match inner.hub.take(self.id, max_bytes) {
            Delivery::Idle { .. } => {
                inner.wakers.insert(self.id, context.waker().clone());
                Poll::Pending
            }
            delivery @ (Delivery::Events(_) | Delivery::Lagging { .. } | Delivery::Cancelled) => Poll::Ready(delivery),
        }
    }

    /// Waits for something to happen.
    pub async fn take(&self, max_bytes: usize) -> Delivery {
        poll_fn(|context| self.poll_take(context, max_bytes)).await
    }

    /// What has happened, or that nothing has.
    #[must_use]
    pub fn try_take(&self, max_bytes: usize) -> Delivery {
        self.shared.hub.0.lock().hub.take(self.id, max_bytes)
    }

    /// Lets a watcher that lags go on: it has to bring itself up to the newest state, as when it was registered.
    pub fn rejoin(&self) {
        self.shared.hub.0.lock().hub.rejoin(self.id);
    }

    /// The hub's revision, and the one up to which each watcher has taken everything. Under one lock.
    pub(super) fn through<'a>(shared: &Shared, watchers: impl Iterator<Item = &'a Self>) -> (Revision, Vec<Revision>) {
        let inner = shared.hub.0.lock();
        (inner.hub.revision(), watchers.map(|watcher| inner.hub.through(watcher.id)).collect())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        {
            let mut inner = self.shared.hub.0.lock();
            inner.hub.cancel(self.id);
            inner.wakers.remove(&self.id);
        }
        self.shared.metrics.watch.watchers.dec();
    }
}
