//! Following nodes, as watchers of etcd's v2 API do: one change from history, or what happens from now on.
//!
//! History and live events are not told by the same rules, as in etcd: a watcher that looks back (`EventHistory.scan`) sees what is
//! hidden, and the end of a directory above it whether or not it was in it.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

use super::super::kv::Reader;
use super::super::{Error, Service, WatchItem, WatchStream};
use crate::model::{Action, Event, Node, NodeEvent, NodePath, Part, Refusal, Revision};
use crate::mvcc::{ReadError, Replay, ReplayBudget};
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
    request: NodeWatchRequest,
    source: Source,
    teller: Teller,
    ready: VecDeque<NodeEvent>,
    registered_at: Revision,
}

#[derive(Debug)]
enum Source {
    /// A change from history, given or not, and nothing after it.
    Past(Option<Box<NodeEvent>>, CancellationToken),
    Live(Box<WatchStream>),
}

impl Service {
    /// Follows a node.
    ///
    /// # Errors
    /// [`Refusal::Compacted`] where the first revision of interest is below the compacted one; [`Error::ShuttingDown`],
    /// [`Error::Stopped`], [`Error::NoState`].
    pub async fn watch_node(&self, request: NodeWatchRequest) -> Result<NodeWatch, Error> {
        let since = request.since.unwrap_or(Revision::ZERO);
        let after = Revision(since.get().saturating_sub(1));
        let (stream, state) = self.follow(Filter::node(&request.path, request.recursive), after)?;
        let registered_at = state.revision();
        let mut stream = Box::new(stream.with_patience());
        let mut past = None;
        if after < registered_at {
            stream.begin_behind(&state);
        }
        let reader = Reader { published: state };
        if request.since.is_some() {
            let compacted = reader.compacted();
            if since < compacted {
                return Err(Error::refused(Refusal::Compacted { asked: since, compacted }, registered_at));
            }
            if since <= registered_at {
                let (path, recursive) = (request.path.clone(), request.recursive);
                past = reader.run(false, move |view| find_past(view, &path, recursive, since)).await?;
            }
        }
        let source = match past {
            Some(event) => Source::Past(Some(Box::new(event)), self.0.shutdown.clone()),
            None => Source::Live(stream),
        };
        Ok(NodeWatch { request, source, teller: Teller::default(), ready: VecDeque::new(), registered_at })
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
            let item = match &mut self.source {
                Source::Past(event, shutdown) => {
                    if let Some(event) = event.take() {
                        return Some(*event);
                    }
                    shutdown.cancelled().await;
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
                let mut told = NodeEvent::of(event)?;
                let replaced =
                    self.replaced.take().filter(|(at, node)| *at == event.revision && node.path == told.node.path);
                told.previous = replaced.map(|(_, node)| node).or(told.previous);
                Some(told)
            }
        }
    }
}

/// The first change in history, from a revision on, that a watcher is told of.
fn find_past(
    view: &StoreView,
    path: &NodePath,
    recursive: bool,
    since: Revision,
) -> Result<Option<NodeEvent>, ReadError> {
    let (file, marker) = (path.as_bytes(), path.marker());
    let wanted = |key: &[u8], is_put: bool| {
        key == file
            || key == &*marker
            || (recursive && key.starts_with(&marker))
            || (!is_put && may_be_of_directory_above(key, file))
    };
    let mut teller = Teller::default();
    let mut after = Revision(since.get().saturating_sub(1));
    while after < view.revision() {
        let Replay { events, through } = view.events_where(&wanted, after, HISTORY)?;
        let mut told = events.iter().filter_map(|event| teller.tell(event));
        if let Some(event) = told.find(|event| concerns(event, file, recursive)) {
            return Ok(Some(event));
        }
        after = through;
    }
    Ok(None)
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
