//! Many watches that one task follows, each under a name of its owner's.
//!
//! No watch has a task of its own. One that has something to give says so by its name, and whoever waits looks at those
//! only: ten thousand that nothing happens to cost their memory. They are looked at in turn, so that none waits for
//! another that has much to give; but what one has begun of a revision it gives to the end first, so that whoever puts
//! revisions together has one at hand, not one for each watch.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::iter::once;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

use super::watch::how_far;
use super::{Error, Origin, Service, WatchItem, WatchRequest, WatchStream};
use crate::model::Revision;

/// So many turns that gave nothing are taken at once.
const TURNS: usize = 8;
/// So many watches are asked at once how far they are: nothing is written meanwhile.
pub(super) const ASKED_AT_ONCE: usize = 1024;

/// Watches by their names. All go on from history, however slow their reader is; each ends with [`WatchItem::Compacted`],
/// [`WatchItem::Failed`] or [`WatchItem::Closed`], or when it is removed. None reports progress by itself.
#[derive(Debug)]
pub struct Watches<N> {
    service: Service,
    origin: Option<Arc<Origin>>,
    running: BTreeMap<N, Running<N>>,
    turns: Arc<Turns<N>>,
    /// For the one of them that reads from the store, however many are to.
    may_read: PollSemaphore,
    /// The watch that has given a part of a revision.
    amid: Option<N>,
    progress: Option<Progress<N>>,
    /// Whether progress was asked for while it was waited for.
    again: bool,
}

/// What some watch has given.
#[derive(Debug)]
pub enum Told<N> {
    /// A piece of the watch of this name.
    Item(N, WatchItem),
    /// All watches have given out everything up to this revision: what [`Watches::ask_progress`] asked for.
    Through(Revision),
}

#[derive(Debug)]
struct Running<N> {
    stream: WatchStream,
    turn: Arc<Turn<N>>,
}

/// A revision that all watches are to come to, and those that are not there yet.
#[derive(Debug)]
struct Progress<N> {
    to: Revision,
    behind: BTreeSet<N>,
}

/// Whose turn it is.
struct Turns<N> {
    names: Mutex<VecDeque<N>>,
    /// Who waits until it is somebody's.
    task: AtomicWaker,
}

impl<N> fmt::Debug for Turns<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

/// What wakes one watch.
#[derive(Debug)]
struct Turn<N> {
    name: N,
    /// Whether the name is among those whose turn it is: none is twice.
    comes: AtomicBool,
    turns: Arc<Turns<N>>,
}

impl<N: Copy> Turn<N> {
    fn come(&self) {
        if !self.comes.swap(true, Ordering::AcqRel) {
            self.turns.names.lock().push_back(self.name);
        }
    }
}

impl<N: Copy + Send + Sync + 'static> Wake for Turn<N> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.come();
        self.turns.task.wake();
    }
}

impl Service {
    /// No watches yet; whose they will be.
    #[must_use]
    pub fn watches<N>(&self, origin: Option<Arc<Origin>>) -> Watches<N> {
        let turns = Turns { names: Mutex::new(VecDeque::new()), task: AtomicWaker::new() };
        Watches {
            service: self.clone(),
            origin,
            running: BTreeMap::new(),
            turns: Arc::new(turns),
            may_read: PollSemaphore::new(Arc::new(Semaphore::new(1))),
            amid: None,
            progress: None,
            again: false,
        }
    }
}

impl<N: Copy + Ord + Send + Sync + 'static> Watches<N> {
    /// Begins a watch, in place of one of the same name, and says at which revision of the store.
    ///
    /// # Errors
    /// As [`Service::watch`].
    pub fn add(&mut self, name: N, request: WatchRequest) -> Result<Revision, Error> {
        let request = WatchRequest { progress_every: None, ..request };
        let stream = self.service.begin_watch(self.origin.clone(), request)?.with_patience().in_turn(&self.may_read);
        let revision = stream.revision();
        let turn = Arc::new(Turn { name, comes: AtomicBool::new(false), turns: Arc::clone(&self.turns) });
        turn.come();
        self.forget(name);
        self.running.insert(name, Running { stream, turn });
        if let Some(progress) = &mut self.progress {
            // Where it begins in the past it has that to give first.
            progress.behind.insert(name);
        }
        Ok(revision)
    }

    /// Ends a watch without a word. Whether there was one.
    pub fn remove(&mut self, name: N) -> bool {
        self.forget(name)
    }

    fn forget(&mut self, name: N) -> bool {
        self.amid.take_if(|amid| *amid == name);
        if let Some(progress) = &mut self.progress {
            progress.behind.remove(&name);
        }
        self.running.remove(&name).is_some()
    }

    /// Whether a watch of this name runs.
    #[must_use]
    pub fn contains(&self, name: N) -> bool {
        self.running.contains_key(&name)
    }

    /// The number of watches that run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether a watch has given a part of a revision. The rest comes from [`Watches::next`] before anything else does.
    #[must_use]
    pub fn is_amid_revision(&self) -> bool {
        self.amid.is_some()
    }

    /// Asks for [`Told::Through`], once all watches have given out what has happened by now: also where there is always one
    /// that has more to give. Whoever asks again before is told once more; of several, all are answered by that.
    pub fn ask_progress(&mut self) {
        if self.progress.is_some() {
            self.again = true;
            return;
        }
        let (mut to, mut behind) = (None, BTreeSet::new());
        self.each_through(self.running.iter(), |now, name, through| {
            // Those that nothing concerns are as far as the hub, which only goes on.
            let to = *to.get_or_insert(now);
            behind.extend(name.filter(|_| through < to));
        });
        self.progress = to.map(|to| Progress { to, behind });
    }

    /// The next piece of some watch; waits for as long as none has any. Nothing is lost where it is not waited for to the
    /// end.
    pub async fn next(&mut self) -> Told<N> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &Context<'_>) -> Poll<Told<N>> {
        // Before the look: a turn that comes after it wakes the task.
        self.turns.task.register(context.waker());
        for _ in 0..TURNS {
            if let Some(through) = self.reached() {
                return Poll::Ready(Told::Through(through));
            }
            let Some(name) = self.amid.or_else(|| self.turns.names.lock().pop_front()) else { return Poll::Pending };
            let Some(Running { stream, turn }) = self.running.get_mut(&name) else { continue };
            turn.comes.store(false, Ordering::Release);
            let waker = Waker::from(Arc::clone(turn));
            match stream.poll_next(&Context::from_waker(&waker)) {
                // Of a revision that was begun, the rest is at hand: it came to the hub as a whole.
                Poll::Pending if self.amid.is_some() => return Poll::Pending,
                Poll::Pending => self.see_progress(name),
                Poll::Ready(Some(item)) => {
                    if item.is_last() {
                        self.forget(name);
                    } else {
                        self.amid = item.is_amid_revision().then_some(name);
                        if self.amid.is_none() {
                            turn.come();
                        }
                        self.see_progress(name);
                    }
                    return Poll::Ready(Told::Item(name, item));
                }
                Poll::Ready(None) => {
                    self.forget(name);
                }
            }
        }
        // Others who share the thread come in between.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// The revision asked for, once all watches have come to it, and none has begun another.
    fn reached(&mut self) -> Option<Revision> {
        let reached = self.progress.take_if(|progress| self.amid.is_none() && progress.behind.is_empty())?;
        if std::mem::take(&mut self.again) {
            self.ask_progress();
        }
        Some(reached.to)
    }

    /// Looks whether a watch has come to the revision asked for.
    fn see_progress(&mut self, name: N) {
        let Some(progress) = self.progress.as_mut().filter(|progress| progress.behind.contains(&name)) else { return };
        let Some(Running { stream, .. }) = self.running.get(&name) else { return };
        let (_, through) = how_far(&self.service.0.node, once(stream));
        if through.iter().all(|through| *through >= progress.to) {
            progress.behind.remove(&name);
        }
    }

    /// The revision up to which each of these watches has given out everything. Of one that is not there, nothing is said.
    #[must_use]
    pub fn through(&self, names: &[N]) -> Vec<(N, Revision)> {
        let mut all = Vec::with_capacity(names.len());
        let running = names.iter().filter_map(|name| self.running.get_key_value(name));
        self.each_through(running, |_, name, through| all.extend(name.map(|name| (name, through))));
        all
    }

    /// Tells of each watch the revision up to which it has given out everything, and the one that the hub is at; of the
    /// hub alone where there is no watch.
    fn each_through<'a>(
        &'a self,
        mut running: impl Iterator<Item = (&'a N, &'a Running<N>)>,
        mut tell: impl FnMut(Revision, Option<N>, Revision),
    ) {
        loop {
            let some: Vec<_> = running.by_ref().take(ASKED_AT_ONCE).collect();
            let (now, through) = how_far(&self.service.0.node, some.iter().map(|(_, running)| &running.stream));
            if some.is_empty() {
                return tell(now, None, now);
            }
            for ((name, _), through) in some.iter().zip(through) {
                tell(now, Some(**name), through);
            }
        }
    }
}
