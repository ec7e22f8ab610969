//! The peer transport: what members say to each other, over TCP on their peer URLs.
//!
//! It carries and never decides: what comes in goes to an [`Inbox`], and what cannot be sent is said to be lost, for
//! raft to send again. Nothing is sent twice, a message may be lost, and two may arrive in another order than they were
//! sent in.
//!
//! - `handshake.rs` is how a connection begins, `frame.rs` how bytes are cut into pieces, `message.rs` what these say.
//! - `peers.rs` knows whom to send to, and where.
//! - `dial.rs` keeps a connection to each of them, for what this one sends; `outbox.rs` is what waits for it.
//! - `listen.rs` takes the connections that the others dialed, for what this one receives.
//! - `snapshot.rs` carries a snapshot, on a connection of its own, past everything else.
//!
//! A connection carries one way only. So each side knows by its own doing alone whether what it says has a way.

mod dial;
mod error;
mod frame;
mod handshake;
mod listen;
mod message;
mod outbox;
mod peers;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::ConnectionError;
pub use handshake::KnownMembers;
pub(super) use handshake::Refusal;
pub(super) use message::{Forward, Forwarded, PeerMessage};
pub(super) use snapshot::{SnapshotBody, SnapshotSendError, SnapshotSink};

use super::Identity;
use crate::consensus::Message;
use crate::model::limits::MAX_PEER_HANDSHAKES;
use crate::model::{Incarnation, MemberId, Members};
use outbox::Outbox;
use peers::{Peer, Peers};

/// How often a connection at rest is probed, in seconds as the kernel counts.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Asks whoever is at a peer URL who the members of its cluster are; `None` when it has no state yet. Takes a few seconds at
/// most.
///
/// # Errors
/// When nobody is there, or no member that answers.
pub async fn ask_members(url: &str) -> Result<Option<KnownMembers>, ConnectionError> {
    dial::ask(url, Patience::default()).await
}

/// Who takes what comes in. Called from tokio's threads, with no lock of the transport held: it may take a lock of its
/// own for microseconds, and must not wait for more. It may call the transport.
pub(super) trait Inbox: Send + Sync + 'static {
    /// Whether this member speaks with the one of this id, whose data is in this life.
    ///
    /// # Errors
    /// Why not: [`Refusal::Removed`] or [`Refusal::LostData`].
    fn admits(&self, from: MemberId, incarnation: Incarnation) -> Result<(), Refusal>;

    /// Who the members are, for somebody who asks; `None` while this member has no state.
    fn known_members(&self) -> Option<KnownMembers>;

    /// A message came in. A raft message is from `from` and to this member.
    fn receive(&self, from: MemberId, message: PeerMessage);

    /// So many messages that append entries went to this member, and took so long to be handed to the system.
    fn appended(&self, to: MemberId, messages: u64, took: Duration);

    /// A connection to this member was lost, and perhaps messages with it.
    fn unreachable(&self, member: MemberId);

    /// This member does not speak with us. Said each time that it says so: about once a second.
    fn refused(&self, member: MemberId, reason: Refusal);

    /// A snapshot comes in: raft's announcement of it, and the state itself in `body`. The answer goes to the sender.
    /// The future is driven to its end even when the sender is gone, and dropped only when the transport stops. While
    /// it runs, no other snapshot is taken.
    fn snapshot(&self, from: MemberId, message: Message, body: SnapshotBody) -> BoxFuture<'static, Result<(), String>>;
}

/// How long what may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// To reach one URL.
    connect: Duration,
    /// To agree on who speaks with whom; and to read last words.
    handshake: Duration,
    /// For something of what is written to get on its way.
    stall: Duration,
    /// The same for a snapshot, and for its receiver to give a sign of life.
    snapshot_stall: Duration,
    /// Between two tries to reach a member: at first, and at most.
    redial_first: Duration,
    redial_most: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            handshake: Duration::from_secs(5),
            stall: Duration::from_secs(5),
            snapshot_stall: Duration::from_secs(30),
            redial_first: Duration::from_millis(50),
            redial_most: Duration::from_secs(1),
        }
    }
}

/// The connections of a member with the others. Stops when dropped; an inbox that holds the transport in turn keeps it
/// from that.
pub(super) struct Transport {
    shared: Arc<Shared>,
}

/// What the tasks of a transport have in common.
struct Shared {
    identity: Identity,
    incarnation: Incarnation,
    inbox: Arc<dyn Inbox>,
    patience: Patience,
    runtime: Handle,
    stop: CancellationToken,
    tasks: TaskTracker,
    peers: Peers,
    /// One permit for each connection that may be in its handshake.
    handshakes: Arc<Semaphore>,
    /// The permit to send this member a snapshot.
    receiving: Semaphore,
}

impl Transport {
    /// Begins to take connections on `listeners`. Nobody is dialed before [`set_peers`](Self::set_peers) or before somebody
    /// has dialed this member, which tells the others that it is at `peer_urls` until the members know better.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub(super) fn start(
        identity: Identity,
        incarnation: Incarnation,
        peer_urls: Vec<String>,
        listeners: Vec<TcpListener>,
        inbox: Arc<dyn Inbox>,
    ) -> Self {
        Self::start_with(identity, incarnation, peer_urls, listeners, inbox, Patience::default())
    }

    fn start_with(
        identity: Identity,
        incarnation: Incarnation,
        peer_urls: Vec<String>,
        listeners: Vec<TcpListener>,
        inbox: Arc<dyn Inbox>,
        patience: Patience,
    ) -> Self {
        let shared = Arc::new(Shared {
            identity,
            incarnation,
            inbox,
            patience,
            runtime: Handle::current(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            peers: Peers::new(identity.member, peer_urls),
            handshakes: Arc::new(Semaphore::new(MAX_PEER_HANDSHAKES)),
            receiving: Semaphore::new(1),
        });
        for listener in listeners {
            shared.spawn(&shared.stop, listen::accept(listener, Arc::clone(&shared)));
        }
        Self { shared }
    }

    /// Who belongs to the cluster from now on. New members are dialed, also where their URLs have changed. The connections
    /// of those that were removed end, in both directions; one that is unknown is sent to for as long as it keeps a connection
    /// to this member. Callable from any thread.
    pub(super) fn set_peers(&self, members: &Members) {
        let shared = &self.shared;
        if !shared.stop.is_cancelled() {
            shared.peers.set(members, |id, urls| shared.open(id, urls));
        }
    }

    /// Queues a message, and returns whether it will be sent. Never waits and never calls the inbox. What is queued may
    /// still be lost with its connection; then [`Inbox::unreachable`] is called. A raft message that is not from this
    /// member to that one is not sent, nor is raft's announcement of a snapshot, which has a lane of its own.
    ///
    /// While there is no connection, only the newest heartbeat and the newest vote are kept, with the answers to such.
    #[must_use]
    pub(super) fn send(&self, to: MemberId, message: PeerMessage) -> bool {
        if let PeerMessage::Raft(message) = &message
            && (message.from(), message.to()) != (self.shared.identity.member, to)
        {
            return false;
        }
        self.shared.peers.push(to, message)
    }

    /// Sends a snapshot on a connection of its own: raft's announcement of it, then what `read` puts into the sink it
    /// is given. `read` runs on a thread where it may wait; it ends early once the sink takes no more. The future
    /// ends when the receiver has installed the snapshot, and dropping it gives the snapshot up.
    ///
    /// # Errors
    /// When the member did not take the snapshot, or not all of it: see [`SnapshotSendError`].
    pub(super) fn send_snapshot<R, E>(
        &self,
        to: MemberId,
        message: Message,
        read: R,
    ) -> impl Future<Output = Result<(), SnapshotSendError>> + Send + 'static + use<R, E>
    where
        R: FnOnce(&SnapshotSink) -> Result<(), E> + Send + 'static,
        E: fmt::Display + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let way = shared.peers.way_to(to);
        async move {
            let (urls, stop) = way.ok_or(SnapshotSendError::NoMember)?;
            let sent = snapshot::send(&shared, to, &urls, &message, read);
            stop.run_until_cancelled(sent).await.unwrap_or(Err(SnapshotSendError::Stopped))
        }
    }

    /// Whether there is a connection to this member.
    #[cfg(test)]
    fn connected(&self, member: MemberId) -> bool {
        self.peers().get(&member).is_some_and(|is_open| *is_open)
    }

    /// Those that are sent to, each with whether there is a connection to it.
    pub(super) fn peers(&self) -> BTreeMap<MemberId, bool> {
        self.shared.peers.all()
    }

    /// Ends all connections and takes no more. Does not wait for their end.
    pub(super) fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.peers.clear();
    }

    /// Waits until everything has ended after [`stop`](Self::stop): from then on the inbox is not called any more, and
    /// the addresses are free.
    #[cfg(test)]
    async fn stopped(&self) {
        self.shared.tasks.wait().await;
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { identity, incarnation, .. } = &*self.shared;
        f.debug_struct("Transport")
            .field("identity", identity)
            .field("incarnation", incarnation)
            .field("peers", &self.peers())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Runs a task until it ends or is stopped.
    fn spawn(&self, stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
        let stop = stop.clone();
        self.tasks.spawn_on(async move { _ = stop.run_until_cancelled(task).await }, &self.runtime);
    }

    /// Begins to keep a connection to a member.
    fn open(self: &Arc<Self>, member: MemberId, urls: Vec<String>) -> Peer {
        let (outbox, stop) = (Arc::new(Outbox::default()), self.stop.child_token());
        let (urls, to_dial) = watch::channel(urls);
        self.spawn(&stop, dial::Link::new(Arc::clone(self), member, Arc::clone(&outbox), to_dial).run());
        Peer { outbox, urls, stop }
    }
}

/// Sends small pieces at once, and finds out when the other end is gone without a word. The kernel alone would go on
/// for a quarter of an hour, and then wait for minutes before it tried again after a partition.
fn tune(stream: &TcpStream, stall: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(stall.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}
