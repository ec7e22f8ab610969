//! Who follows what at this member: every open watch of a client, whichever dialect it came by.
//!
//! A watch is listed when it begins and stays for as long as its stream does. What changes while it runs, how far it is and what
//! waits for it, is asked of the hub when somebody looks: an event costs nothing here.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::watches::ASKED_AT_ONCE;
use super::{Cursor, Service};
use crate::model::limits::MAX_PAGE_BYTES;
use crate::model::{Revision, Timestamp};
use crate::node::now;
use crate::watch::{Filter, Followed, WatcherId};

/// How a watch reaches its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Server-Sent Events of `/v1`.
    Events,
    /// Lines of JSON of `/v1`.
    Lines,
    /// A WebSocket of `/v1`.
    Socket,
    /// A request of `/v1` that is held until something has changed.
    Poll,
    /// A request of etcd's v2 API that waits for one change.
    NodeWait,
    /// One that goes on after it.
    NodeStream,
    /// gRPC of etcd's v3 API.
    Grpc,
    /// JSON of etcd's v3 API, in lines.
    GatewayLines,
    /// The same over WebSocket.
    GatewaySocket,
}

/// Whose watches they are, and how they reach it: shared by all watches of one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    pub carrier: Carrier,
    pub address: SocketAddr,
    /// What the client says that it is, cut to [`MAX_USER_AGENT_BYTES`](crate::model::limits::MAX_USER_AGENT_BYTES).
    pub user_agent: Option<Box<str>>,
}

/// Which watches are wanted.
#[derive(Debug, Clone)]
pub struct WatchersRequest {
    /// What the key, prefix or range that they follow begins with.
    pub prefix: Bytes,
    /// At most this many, of which one at least; fewer where they reach [`MAX_PAGE_BYTES`].
    pub limit: u64,
    /// Behind this one's position, which is an id. Its revision does not count: every page shows the present.
    pub cursor: Option<Cursor>,
}

/// A page of watches.
#[derive(Debug)]
pub struct Watchers {
    /// The revision that the store is at.
    pub revision: Revision,
    /// In order of id: those that have been open the longest come first.
    pub items: Vec<Watching>,
    pub cursor: Option<Cursor>,
}

/// An open watch.
#[derive(Debug, Clone)]
pub struct Watching {
    /// Of this member; never used again for another while it runs.
    pub id: u64,
    pub origin: Arc<Origin>,
    pub followed: Followed,
    pub since: Timestamp,
    /// Everything up to here was handed to who writes it to the client; 0 before the present state was.
    pub told: Revision,
    /// The bytes of events that wait for it in the hub.
    pub backlog_bytes: u64,
}

impl Watching {
    fn bytes(&self) -> usize {
        let end = match &self.followed {
            Followed::Key(_) | Followed::Prefix(_) | Followed::Children(_) => None,
            Followed::Range(range) => range.end(),
        };
        size_of::<Self>()
            + self.followed.start().len()
            + end.map_or(0, Bytes::len)
            + self.origin.user_agent.as_deref().map_or(0, str::len)
    }
}

/// All open watches of clients.
#[derive(Debug, Default)]
pub(super) struct OpenWatches(Mutex<BTreeMap<WatcherId, Arc<OpenWatch>>>);

/// What is known of a watch from its beginning.
#[derive(Debug)]
pub(super) struct OpenWatch {
    id: WatcherId,
    filter: Filter,
    origin: Arc<Origin>,
    since: Timestamp,
    /// Where a watch is that is still given what was there before it began: [`LIVE`] once it is told of what happens.
    behind: AtomicU64,
}

/// No revision: the hub knows how far the watch is.
const LIVE: Revision = Revision(u64::MAX);

/// A watch on the list, for as long as this is there.
#[derive(Debug)]
pub(super) struct Listed {
    all: Arc<OpenWatches>,
    watch: Arc<OpenWatch>,
}

impl OpenWatches {
    /// Puts a watch that begins on the list.
    pub(super) fn list(self: &Arc<Self>, id: WatcherId, filter: Filter, origin: Arc<Origin>) -> Listed {
        let watch = Arc::new(OpenWatch { id, filter, origin, since: now(), behind: AtomicU64::new(LIVE.get()) });
        self.0.lock().insert(id, Arc::clone(&watch));
        Listed { all: Arc::clone(self), watch }
    }

    /// Some of the watches behind one, in order.
    fn after(&self, after: Option<WatcherId>) -> Vec<Arc<OpenWatch>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.0.lock();
        all.range((from, Bound::Unbounded)).take(ASKED_AT_ONCE).map(|(_, watch)| Arc::clone(watch)).collect()
    }
}

impl Listed {
    /// Notes up to where the watch was given what was there before it began; `None` once that was all.
    pub(super) fn is_behind(&self, through: Option<Revision>) {
        self.watch.behind.store(through.unwrap_or(LIVE).get(), Ordering::Relaxed);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.watch.id);
    }
}

impl OpenWatch {
    /// The watch as it is, but for what the hub knows of it; `None` where what it follows does not begin with a prefix.
    fn wanted(&self, prefix: &[u8]) -> Option<Watching> {
        let followed = self.filter.followed();
        followed.start().starts_with(prefix).then(|| Watching {
            id: self.id.0,
            origin: Arc::clone(&self.origin),
            followed,
            since: self.since,
            told: Revision(self.behind.load(Ordering::Relaxed)),
            backlog_bytes: 0,
        })
    }
}

impl Service {
    /// A page of the watches that clients have open at this member.
    #[must_use]
    pub fn watchers(&self, request: &WatchersRequest) -> Watchers {
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let (mut items, mut bytes): (Vec<Watching>, _) = (Vec::new(), 0);
        let mut after = request.cursor.as_ref().and_then(position);
        let end = 'page: loop {
            let some = self.0.open_watches.after(after);
            let Some(last) = some.last() else { break None };
            after = Some(last.id);
            // One that ends its replay meanwhile is shown where it was in it.
            let wanted: Vec<_> = some.iter().filter_map(|watch| watch.wanted(&request.prefix)).collect();
            let standings = self.0.node.watch_standings(wanted.iter().map(|shown| WatcherId(shown.id)));
            for (mut shown, standing) in wanted.into_iter().zip(standings) {
                // It may have ended meanwhile.
                let Some((through, backlog)) = standing else { continue };
                shown.backlog_bytes = backlog as u64;
                if shown.told == LIVE {
                    shown.told = through;
                }
                bytes += shown.bytes();
                if let Some(last) = items.last()
                    && (items.len() >= limit || bytes > MAX_PAGE_BYTES)
                {
                    break 'page Some(Bytes::copy_from_slice(&last.id.to_be_bytes()));
                }
                items.push(shown);
            }
        };
        // Looked at last: no watch is ahead of the store.
        let revision = self.header().revision;
        Watchers { revision, items, cursor: end.map(|position| Cursor { revision, position }) }
    }
}

/// The watch that a page ended with.
fn position(cursor: &Cursor) -> Option<WatcherId> {
    cursor.position.first_chunk().map(|id| WatcherId(u64::from_be_bytes(*id)))
}
