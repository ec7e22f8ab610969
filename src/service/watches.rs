//! Many watches that one task follows, each under a name of its owner's.
//!
//! No watch has a task of its own. One that has something to give says so by its name, and whoever waits looks at those
//! only: ten thousand that nothing happens to cost their memory. They are looked at in turn, so that none waits for
//! another that has much to give.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::{Error, Service, WatchItem, WatchRequest, WatchStream};
use crate::model::Revision;

/// So many turns that gave nothing are taken at once: each may have looked through a piece of history.
const TURNS: usize = 8;

/// Watches by their names. All go on from history, however slow their reader is; each ends with [`WatchItem::Compacted`],
/// [`WatchItem::Failed`] or [`WatchItem::Closed`], or when it is removed. None reports progress by itself.
#[derive(Debug)]
pub struct Watches<N> {
    service: Service,
    running: BTreeMap<N, Running<N>>,
    turns: Arc<Turns<N>>,
}

#[derive(Debug)]
struct Running<N> {
    stream: WatchStream,
    turn: Arc<Turn<N>>,
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
    /// No watches yet.
    #[must_use]
    pub fn watches<N>(&self) -> Watches<N> {
        let turns = Turns { names: Mutex::new(VecDeque::new()), task: AtomicWaker::new() };
        Watches { service: self.clone(), running: BTreeMap::new(), turns: Arc::new(turns) }
    }
}

impl<N: Copy + Ord + Send + Sync + 'static> Watches<N> {
    /// Begins a watch, in place of one of the same name, and says at which revision of the store.
    ///
    /// # Errors
    /// As [`Service::watch`].
    pub fn add(&mut self, name: N, request: WatchRequest) -> Result<Revision, Error> {
        let stream = self.service.begin_watch(WatchRequest { progress_every: None, ..request })?.with_patience();
        let revision = stream.revision();
        let turn = Arc::new(Turn { name, comes: AtomicBool::new(false), turns: Arc::clone(&self.turns) });
        turn.come();
        self.running.insert(name, Running { stream, turn });
        Ok(revision)
    }

    /// Ends a watch without a word. Whether there was one.
    pub fn remove(&mut self, name: N) -> bool {
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

    /// The next piece of some watch; waits for as long as none has any. Nothing is lost where it is not waited for to the
    /// end.
    pub async fn next(&mut self) -> (N, WatchItem) {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &Context<'_>) -> Poll<(N, WatchItem)> {
        // Before the look: a turn that comes after it wakes the task.
        self.turns.task.register(context.waker());
        for _ in 0..TURNS {
            let Some(name) = self.turns.names.lock().pop_front() else { return Poll::Pending };
            let Some(Running { stream, turn }) = self.running.get_mut(&name) else { continue };
            turn.comes.store(false, Ordering::Release);
            let waker = Waker::from(Arc::clone(turn));
            match stream.poll_next(&Context::from_waker(&waker)) {
                Poll::Pending => {}
                Poll::Ready(Some(item)) => {
                    if item.is_last() {
                        self.running.remove(&name);
                    } else {
                        turn.come();
                    }
                    return Poll::Ready((name, item));
                }
                Poll::Ready(None) => {
                    self.running.remove(&name);
                }
            }
        }
        // Others who share the thread come in between.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// The revision up to which one watch has given out everything; `None` where something is left to give, or there is no
    /// such watch.
    pub fn through(&mut self, name: N) -> Option<Revision> {
        self.running.get_mut(&name)?.through()
    }

    /// The revision up to which all watches have given out everything; `None` where something is left to give.
    pub fn all_through(&mut self) -> Option<Revision> {
        // No watch can tell of what the store does not show yet.
        let now = self.service.header().revision;
        self.running.values_mut().try_fold(now, |least, running| Some(least.min(running.through()?)))
    }
}

impl<N: Copy> Running<N> {
    fn through(&mut self) -> Option<Revision> {
        let through = self.stream.through();
        if through.is_none() {
            self.turn.come();
        }
        through
    }
}
