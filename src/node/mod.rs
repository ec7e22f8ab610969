//! One running member: the threads around the core, and the handle through which everything reaches them.
//!
//! ```text
//! NodeHandle ──> Runner (holds the Replica) ── Persist ──> disk (owns the Wal)
//!  clock ──────────┘ │      <── Persisted ──────────────────┘
//!                    └── Work ──> applier (owns the StateMachine) ──> replies, Published, watch hub
//! ```
//!
//! A thread that meets a fault (I/O, corruption) stops the whole member through `Shared::fail`; nothing is
//! retried and nothing is acknowledged after it.

mod applier;
mod checkpoint;
mod disk;
mod driver;
mod handle;
mod ids;
mod inbox;
mod lessor;
mod open;
mod restore;
mod runner;
mod streams;
pub mod transport;
mod waiters;
mod watch;
mod zeros;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch as channel;

pub use handle::{NodeHandle, ProposeError, ReadError};
pub use ids::{cluster_id, lone_identity, member_id, member_identity};
pub use open::{OpenError, is_begun};
pub use restore::{RestoreError, restore};
pub use watch::{Delivery, Watcher};

use crate::model::{ClusterId, Incarnation, Index, MemberId, Members, ProposalId, Revision, Term};
use crate::mvcc::View;
use crate::observe::Metrics;
use crate::storage::fjall::{FjallEngine, FjallSnapshot};
use transport::Transport;

/// The view of the store that a running member serves from.
pub type StoreView = View<FjallSnapshot>;

/// How to run a member.
#[derive(Debug, Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    /// Who the member is by its settings; `None` where they do not say. A data directory says it too, and is believed
    /// if it has this id or the settings' peer URLs.
    pub identity: Option<Identity>,
    /// Where the other members reach this one by its settings.
    pub peer_urls: Vec<String>,
    /// What an empty data directory becomes.
    pub beginning: Beginning,
    /// What the cluster is to know of this member.
    pub name: String,
    pub client_urls: Vec<String>,
    /// How often raft's clock ticks; see `election_ticks`.
    pub tick: Duration,
    /// Ticks without a leader before a follower campaigns.
    pub election_ticks: usize,
    /// The store's block cache, in bytes.
    pub cache_bytes: u64,
    /// The log is cut, after a sync of the store, when it has grown by this many entries or bytes.
    pub checkpoint_entries: u64,
    pub checkpoint_bytes: u64,
}

/// How a member without any data begins.
#[derive(Debug, Clone)]
pub enum Beginning {
    /// As one of these, the first members of a new cluster, all of which begin alike.
    New(Members),
    /// As one that the cluster has added: it waits for a snapshot.
    Join,
}

/// Who a member is. Ids are computed as etcd computes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub member: MemberId,
}

/// The state of the store after an apply: what reads are answered from.
#[derive(Debug, Clone)]
pub struct Published {
    pub view: StoreView,
    pub index: Index,
    pub term: Term,
}

impl Published {
    pub fn revision(&self) -> Revision {
        self.view.revision()
    }
}

/// What the threads of a member and its handles have in common.
struct Shared {
    identity: Identity,
    /// This start of the process, in the ids of proposals.
    start: Incarnation,
    sequence: AtomicU64,
    published: RwLock<Arc<Published>>,
    /// The applied index, for those who wait for one.
    applied: channel::Sender<Index>,
    /// Whether this member alone decides and has applied all it had before: then what is published is current.
    sole_leader: AtomicBool,
    leader: AtomicU64,
    term: AtomicU64,
    hub: watch::SharedHub,
    lessor: Mutex<lessor::Lessor>,
    waiters: waiters::Waiters,
    /// As applied here.
    members: RwLock<Arc<Members>>,
    /// What the cluster is to know of this member.
    name: String,
    client_urls: Vec<String>,
    /// Proposals taken and not yet answered.
    inflight: AtomicUsize,
    inflight_bytes: AtomicUsize,
    /// Why the member stopped, once it has.
    failure: channel::Sender<Option<Arc<str>>>,
    wal_bytes: AtomicU64,
    /// Whether the segment that the log needs next is there already.
    log_has_room: AtomicBool,
    metrics: Metrics,
    engine: RwLock<FjallEngine>,
    data_dir: PathBuf,
    /// The runtime that answers those who wait, and that the sockets are in.
    runtime: Handle,
}

impl Shared {
    fn published(&self) -> Arc<Published> {
        self.published.read().clone()
    }

    fn members(&self) -> Arc<Members> {
        self.members.read().clone()
    }

    fn next_proposal(&self) -> ProposalId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        ProposalId { member: self.identity.member, incarnation: self.start, sequence }
    }

    /// Stops the member: what waits gets no answer but an error, and nothing new is taken.
    fn fail(&self, what: &str, error: &dyn std::error::Error) {
        let mut message = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!("{message}; this member stops");
        self.sole_leader.store(false, Ordering::SeqCst);
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                *failure = Some(message.into());
            }
            first
        });
    }

    fn failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Why the member takes nothing more.
    fn failure(&self) -> Arc<str> {
        self.failure.borrow().clone().unwrap_or_else(|| "it was told to stop".into())
    }
}

/// The threads of a running member.
#[derive(Debug)]
pub struct Node {
    handle: NodeHandle,
    threads: Vec<JoinHandle<()>>,
    /// The clock stands still once this is dropped.
    stop_clock: mpsc::Sender<()>,
    /// Keeps other processes out of the data directory.
    _lock: File,
}

impl Node {
    /// Opens or makes the data directory and starts the member. Other members reach it at `listeners`; without any it
    /// talks to none.
    ///
    /// # Errors
    /// When the directory cannot be used or does not agree with itself: see [`OpenError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime: it is what answers those who wait.
    pub fn start(options: &Options, metrics: Metrics, listeners: Vec<TcpListener>) -> Result<Self, OpenError> {
        let opened = open::open(options)?;
        let (stop_clock, clock_stopped) = mpsc::channel();
        let (orders, to_disk) = mpsc::channel();
        let (works, to_apply) = mpsc::channel();
        let (checkpoints, to_checkpoint) = mpsc::sync_channel(1);
        let shared = Arc::new(opened.shared(options, metrics));
        let driver = driver::Driver::new(opened.replica, Arc::clone(&shared), orders, works);
        let runner = Arc::new(runner::Runner::new(driver));
        let handle = NodeHandle::new(Arc::clone(&shared), Arc::clone(&runner));
        let (zeros, zero_writer) = zeros::pair();
        let disk = disk::Disk::new(opened.wal, zeros, Arc::clone(&shared), Arc::clone(&runner), to_disk);
        let applier = applier::Applier::new(
            opened.machine,
            Arc::clone(&shared),
            Arc::clone(&runner),
            checkpoints,
            to_apply,
            opened.store,
            options,
        );
        let checkpoint = checkpoint::Checkpoint::new(Arc::clone(&shared), Arc::clone(&runner), to_checkpoint, options);
        runner.begin();
        if !listeners.is_empty() {
            let inbox = inbox::Peers::new(Arc::clone(&shared), Arc::clone(&runner), opened.incarnation);
            let transport = Transport::start(shared.identity, shared.start, listeners, Arc::new(inbox));
            runner.connect(transport);
        }
        let tick = options.tick;
        let threads = vec![
            spawn("clock", move || runner.tick(tick, &clock_stopped))?,
            spawn("disk", move || disk.run())?,
            spawn("applier", move || applier.run())?,
            spawn("checkpoint", move || checkpoint.run())?,
            spawn("zeros", move || zero_writer.run())?,
        ];
        Ok(Self { handle, threads, stop_clock, _lock: opened.lock })
    }

    /// The way to everything the member does.
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Stops the threads, syncs the store, and waits for both.
    pub fn stop(self) {
        self.handle.stop();
        drop(self.stop_clock);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the member panicked");
            }
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(OpenError::Thread)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::machine::SnapshotSource;
    use crate::model::{Attach, Command, Condition, Key, KeyRange, LeaseId, Member, Outcome, Put, Refusal, Reply, Ttl};
    use crate::watch::Filter;

    fn options(dir: &Path) -> Options {
        let peer_urls = vec!["http://localhost:2380".to_owned()];
        let identity = member_identity(&peer_urls, "etcd-cluster");
        let (name, client_urls) = ("one".to_owned(), Vec::new());
        let member = Member { id: identity.member, name, peer_urls: peer_urls.clone(), client_urls, learner: false };
        Options {
            data_dir: dir.join("data"),
            identity: Some(identity),
            peer_urls,
            name: member.name.clone(),
            client_urls: Vec::new(),
            beginning: Beginning::New(Members::from_iter([member])),
            tick: Duration::from_millis(10),
            election_ticks: 10,
            cache_bytes: 1 << 20,
            checkpoint_entries: 1000,
            checkpoint_bytes: 1024 * 1024,
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes().to_vec()).unwrap()
    }

    fn put(name: &str, value: &str, attach: Attach) -> Command {
        let value = Some(value.to_owned().into());
        let put = Put { key: key(name), value, content_type: None, attach, previous: false };
        Command::Put { put, condition: Condition::default() }
    }

    async fn propose(node: &Node, command: Command) -> Reply {
        node.handle().propose(command, None, None, soon()).await.unwrap()
    }

    async fn value(node: &Node, name: &str) -> Option<Vec<u8>> {
        let published = node.handle().linearizable(soon()).await.unwrap();
        published.view.get(name.as_bytes(), None).unwrap().map(|record| record.value.to_vec())
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_read_at_once_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
        for number in 0..200 {
            let reply = propose(&node, put(&format!("/k/{number}"), "v", Attach::Detach)).await;
            assert_eq!(reply.revision, Revision(number + 2));
        }
        assert_eq!(value(&node, "/k/199").await.unwrap(), b"v");
        node.stop();
        let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
        assert_eq!(value(&node, "/k/199").await.unwrap(), b"v");
        assert_eq!(node.handle().revision(), Revision(201));
        node.stop();
    }

    #[tokio::test]
    async fn a_lease_that_is_not_renewed_takes_its_keys_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
        let (watcher, _) = node.handle().watch(Filter::new(KeyRange::prefix("/")), Revision::ZERO);
        watcher.skip_through(Revision::FIRST);
        let start = Instant::now();
        let own = Attach::Own { id: LeaseId(7), ttl: Ttl(300) };
        propose(&node, put("/mortal", "v", own)).await;
        let mut seen = 0;
        while seen < 2 {
            match watcher.take(1 << 20).await {
                Delivery::Events(pieces) => seen += pieces.iter().map(|piece| piece.events().len()).sum::<usize>(),
                other @ (Delivery::Idle { .. } | Delivery::Lagging { .. } | Delivery::Cancelled) => panic!("{other:?}"),
            }
        }
        assert!(start.elapsed() >= Duration::from_millis(300), "gone early, after {:?}", start.elapsed());
        assert_eq!(value(&node, "/mortal").await, None);
        assert_eq!(node.handle().lease_remaining(LeaseId(7)), None);
        let revoked = propose(&node, Command::RevokeLease(LeaseId(7))).await;
        assert_eq!(revoked.result, Err(Refusal::LeaseNotFound(LeaseId(7))));
        node.stop();
    }

    #[tokio::test]
    async fn the_log_is_cut_when_the_store_holds_what_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
        let big = "x".repeat(256 * 1024);
        for _ in 0..200 {
            propose(&node, put("/big", &big, Attach::Detach)).await;
        }
        let deadline = soon();
        while node.handle().disk_bytes().1 > 48 * 1024 * 1024 {
            assert!(Instant::now() < deadline, "the log takes {} bytes", node.handle().disk_bytes().1);
            propose(&node, Command::Noop).await;
        }
        node.stop();
        let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
        assert_eq!(value(&node, "/big").await.unwrap().len(), big.len());
        node.stop();
    }

    #[tokio::test]
    async fn what_a_snapshot_holds_is_served_from_the_directory_made_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
        for number in 0..50 {
            propose(&node, put(&format!("/k/{number}"), "v", Attach::Detach)).await;
        }
        let mut file = Vec::new();
        let source = SnapshotSource::open(node.handle().latest().view.snapshot().clone()).unwrap();
        for chunk in source.chunks() {
            file.extend_from_slice(&chunk.unwrap());
        }
        node.stop();

        let again = tempfile::tempdir().unwrap();
        let options = options(again.path());
        let identity = options.identity.unwrap();
        assert!(restore(&mut &file[..file.len() - 1], &again.path().join("cut"), identity).is_err());
        assert!(matches!(
            Node::start(&Options { data_dir: again.path().join("cut"), ..options.clone() }, Metrics::new(), Vec::new()),
            Err(OpenError::NoLog { .. })
        ));
        restore(&mut file.as_slice(), &options.data_dir, identity).unwrap();
        assert!(matches!(
            restore(&mut file.as_slice(), &options.data_dir, identity),
            Err(RestoreError::NotEmpty { .. })
        ));
        for start in 0..2 {
            let node = Node::start(&options, Metrics::new(), Vec::new()).unwrap();
            assert_eq!(value(&node, "/k/49").await.unwrap(), b"v");
            assert_eq!(propose(&node, put("/more", "v", Attach::Detach)).await.revision, Revision(52 + start));
            node.stop();
        }
    }

    #[tokio::test]
    async fn a_directory_serves_one_process_and_one_member() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
        assert!(matches!(Node::start(&options(dir.path()), Metrics::new(), Vec::new()), Err(OpenError::InUse { .. })));
        assert!(matches!(propose(&node, put("/a", "1", Attach::Detach)).await.result, Ok(Outcome::Written { .. })));
        node.stop();
        let other = Options {
            identity: Some(member_identity(&["http://other:2380".to_owned()], "etcd-cluster")),
            peer_urls: vec!["http://other:2380".to_owned()],
            ..options(dir.path())
        };
        assert!(matches!(Node::start(&other, Metrics::new(), Vec::new()), Err(OpenError::OtherMember { .. })));
        std::fs::remove_dir_all(dir.path().join("data/wal")).unwrap();
        assert!(matches!(Node::start(&options(dir.path()), Metrics::new(), Vec::new()), Err(OpenError::NoLog { .. })));
    }
}
