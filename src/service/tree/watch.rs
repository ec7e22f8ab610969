//! Following nodes, as watchers of etcd's v2 API do: one change from history, or what happens from now on.
//!
//! History and live events are not told by the same rules, as in etcd: a watcher that looks back (`EventHistory.scan`) sees what is
//! hidden, and the end of a directory above it whether or not it was in it.

use std::collections::VecDeque;

use super::super::kv::run_away;
use super::super::{Call, Error, Service, WatchItem, WatchStream};
use crate::model::{Action, Event, Node, NodeEvent, NodePath, Part, Refusal, Revision};
use crate::mvcc::{Replay, ReplayBudget};
use crate::node::StoreView;
use crate::watch::Filter;

/// How much of history is read at once.
const HISTORY: ReplayBudget = ReplayBudget { steps: 16 * 1024, bytes: 256 * 1024 };

/// What to follow, and from where.
#[derive(Debug, Clone)]
pub struct NodeWatchRequest {
    pub path: NodePath,
    /// What is below the node, too.
    pub recursive: bool,
    /// The first revision of interest, itself included; `None` for what happens from now on.
    pub since: Option<Revision>,
    /// Go on after the first change. One that is found in history is the only one, as in etcd.
    pub stream: bool,
}

/// A running watch of a node.
#[derive(Debug)]
pub struct NodeWatch {
    service: Service,
    request: NodeWatchRequest,
    /// How far history has been looked through, until that has ended.
    looking_back: Option<Revision>,
    source: Source,
    teller: Teller,
    ready: VecDeque<NodeEvent>,
    registered_at: Revision,
}

#[derive(Debug)]
enum Source {
    /// A change was found in history, and nothing comes after it.
    Past,
    /// What comes after the revision that the watch began at.
    Live(Box<WatchStream>),
}

impl Service {
    /// Follows a node.
    ///
    /// # Errors
    /// [`Refusal::Compacted`] where the first revision of interest is below the compacted one; [`Error::ShuttingDown`],
    /// [`Error::Stopped`], [`Error::NoState`].
    pub fn watch_node(&self, call: &Call, request: NodeWatchRequest) -> Result<NodeWatch, Error> {
        let since = request.since.unwrap_or(Revision::ZERO);
        let after = Revision(since.get().saturating_sub(1));
        let (stream, state) =
            self.follow(call.origin.clone(), Filter::node(&request.path, request.recursive), after)?;
        let registered_at = state.revision();
        let mut stream = Box::new(stream.with_patience());
        if after < registered_at {
            stream.begin_behind(&state);
        }
        let compacted = state.view.compacted();
        if request.since.is_some() && since < compacted {
            return Err(Error::refused(Refusal::Compacted { asked: since, compacted }, registered_at));
        }
        let looking_back = request.since.map(|_| after).filter(|after| *after < registered_at);
        stream.is_behind(looking_back);
        Ok(NodeWatch {
            service: self.clone(),
            request,
            looking_back,
            source: Source::Live(stream),
            teller: Teller::default(),
            ready: VecDeque::new(),
            registered_at,
        })
    }
}

impl NodeWatch {
    /// The revision that the store was at when the watch began.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.registered_at
    }

    /// The next change; `None` when the watch has ended.
    pub async fn next(&mut self) -> Option<NodeEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if let Some(after) = self.looking_back {
                self.look_back(after).await?;
                continue;
            }
            let item = match &mut self.source {
                Source::Past => {
                    self.service.0.shutdown.cancelled().await;
                    return None;
                }
                Source::Live(stream) => stream.next().await?,
            };
            match item {
                WatchItem::Events(events) => {
                    for (event, _) in events.iter() {
                        self.tell(event);
                    }
                }
                WatchItem::Compacted { .. } | WatchItem::Lagging { .. } | WatchItem::Closed | WatchItem::Failed(_) => {
                    return None;
                }
                WatchItem::State(_) | WatchItem::Synced(_) | WatchItem::Progress(_) | WatchItem::Reset => {}
            }
        }
    }

    /// Looks for a change in the next piece of history. `None` when the server drains, or that piece cannot be read any more.
    async fn look_back(&mut self, after: Revision) -> Option<()> {
        if self.service.0.shutdown.is_cancelled() {
            return None;
        }
        let Replay { events, through } = match self.piece(after).await {
            Ok(piece) => piece,
            Err(error) => {
                tracing::warn!(%error, %after, "a watch ends: history cannot be read any more");
                return None;
            }
        };
        let (path, recursive) = (self.request.path.as_bytes(), self.request.recursive);
        // What came since the watch began comes from the stream, by its own rules.
        let events = events.iter().take_while(|event| event.revision <= self.registered_at);
        let mut told = events.filter_map(|event| self.teller.tell(event));
        match told.find(|event| concerns(event, path, recursive)) {
            Some(event) => {
                self.ready.push_back(event);
                self.source = Source::Past;
                self.looking_back = None;
            }
            None => self.looking_back = Some(through).filter(|through| *through < self.registered_at),
        }
        if let Source::Live(stream) = &self.source {
            stream.is_behind(self.looking_back);
        }
        Some(())
    }

    /// The events after a revision that could concern the watch. Of the state as it is by now: none is held from piece to piece.
    async fn piece(&self, after: Revision) -> Result<Replay, Error> {
        let (path, recursive) = (self.request.path.clone(), self.request.recursive);
        let read = move |view: &StoreView| {
            view.events_where(&|key, is_put| may_concern(key, is_put, &path, recursive), after, HISTORY)
        };
        run_away(self.service.0.node.latest().view.clone(), read).await
    }

    fn tell(&mut self, event: &Event) {
        let Some(told) = self.teller.tell(event) else { return };
        let ends = matches!(told.action, Action::Delete | Action::CompareAndDelete | Action::Expire);
        // A stream at the very node is told of its end twice, in etcd: once as the one who watches what is gone, once as the
        // one who watches where it was.
        if self.request.stream && ends && told.node.path == self.request.path {
            self.ready.push_back(told.clone());
        }
        self.ready.push_back(told);
    }
}

/// From events to changes of nodes, of which one revision has as many as it has nodes that were written to themselves.
#[derive(Debug, Default)]
struct Teller {
    /// A file that made way for a directory, whose event comes next.
    replaced: Option<(Revision, Node)>,
    /// The last directory that went with all that was in it.
    gone: Option<(Revision, NodePath)>,
}

impl Teller {
    fn tell(&mut self, event: &Event) -> Option<NodeEvent> {
        match &event.view.part {
            Part::Silent => None,
            Part::Replaced => {
                let replaced = NodeEvent::of(event).and_then(|told| told.previous);
                self.replaced = replaced.map(|node| (event.revision, node));
                None
            }
            Part::Gone(_) => {
                let told = NodeEvent::of(event)?;
                let gone = Some((event.revision, told.node.path.clone()));
                (std::mem::replace(&mut self.gone, gone.clone()) != gone).then_some(told)
            }
            Part::Own => {
                let told = NodeEvent::of(event)?;
                let replaced =
                    self.replaced.take().filter(|(at, node)| *at == event.revision && node.path == told.node.path);
                Some(told.in_place_of(replaced.map(|(_, node)| node)))
            }
        }
    }
}

/// Whether a change of a key could be one that a watcher of a path is told of from history.
fn may_concern(key: &[u8], is_put: bool, path: &NodePath, recursive: bool) -> bool {
    let file = path.as_bytes();
    let below = key.strip_prefix(file).filter(|rest| rest.starts_with(b"/"));
    key == file
        || below.is_some_and(|rest| recursive || rest == b"/")
        || (!is_put && may_be_of_directory_above(key, file))
}

/// Whether a key is in a directory whose path the other begins with. Beginning is of bytes, not of segments, as in etcd.
fn may_be_of_directory_above(key: &[u8], path: &[u8]) -> bool {
    let common = key.iter().zip(path).take_while(|(a, b)| a == b).count();
    key.get(..=common).unwrap_or(key).iter().skip(1).any(|byte| *byte == b'/')
}

fn concerns(event: &NodeEvent, path: &[u8], recursive: bool) -> bool {
    let node = event.node.path.as_bytes();
    let below = || node.strip_prefix(path).is_some_and(|rest| rest.starts_with(b"/"));
    let ends = matches!(event.action, Action::Delete | Action::Expire);
    node == path
        || (recursive && below())
        || (ends && event.previous.as_ref().is_some_and(Node::is_directory) && path.starts_with(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_in_directories_that_the_path_begins_with_are_looked_at() {
        for key in ["/foo/", "/foo/x", "/f/", "/foobar/"] {
            assert!(may_be_of_directory_above(key.as_bytes(), b"/foobar"), "{key}");
        }
        for key in ["/foo", "/fox/", "/foobarbaz/", "/g/foobar", "x"] {
            assert!(!may_be_of_directory_above(key.as_bytes(), b"/foobar"), "{key}");
        }
    }
}
