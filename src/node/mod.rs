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
mod gather;
mod handle;
mod ids;
mod inbox;
mod lessor;
mod newcomer;
mod open;
mod recover;
mod report;
mod restore;
mod runner;
mod space;
mod streams;
mod traffic;
mod transport;
mod waiters;
mod watch;
mod zeros;

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch as channel;

pub use handle::{NodeHandle, ProposeError, ReadError, TransferError};
pub use ids::{cluster_id, member_id};
pub use open::{OpenError, is_begun};
pub use recover::{Holding, Progress, RecoverError, Survivor, Working};
pub use report::Report;
pub use restore::{RestoreError, restore};
pub use space::Room;
pub use traffic::Sent;
pub use transport::{ConnectionError, KnownMembers, ask_members};
pub use watch::{Delivery, Watcher};

use crate::model::{Auth, ClusterId, Incarnation, Index, MemberId, Members, ProposalId, Revision, Term, Timestamp};
use crate::mvcc::View;
use crate::observe::Metrics;
use crate::storage::lsm::{LsmEngine, LsmSnapshot};
use transport::{Refusal, Transport};

/// The present by this machine's clock, which entries of a leader are stamped with.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The view of the store that a running member serves from.
pub type StoreView = View<LsmSnapshot>;

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
    /// The log is cut, after a sync of the store, when it has grown by this many entries or bytes at the latest: the store may
    /// have to be synced before.
    pub checkpoint_entries: u64,
    pub checkpoint_bytes: u64,
    /// Entries that are kept nevertheless, for members that lag behind.
    pub kept_entries: u64,
}

#[cfg(test)]
impl Options {
    /// A small member that ticks fast, with its data below `dir`.
    pub(crate) fn small(dir: &std::path::Path, identity: Identity, beginning: Beginning) -> Self {
        Self {
            data_dir: dir.join("data"),
            identity: Some(identity),
            peer_urls: Vec::new(),
            beginning,
            name: String::new(),
            client_urls: Vec::new(),
            tick: Duration::from_millis(10),
            election_ticks: 10,
            cache_bytes: 1 << 20,
            checkpoint_entries: 1000,
            checkpoint_bytes: 1 << 20,
            kept_entries: 100,
        }
    }
}

/// How a member without any data begins.
#[derive(Debug, Clone)]
pub enum Beginning {
    /// As one of these, the first members of a new cluster, all of which begin alike.
    New(Members),
    /// As one that the cluster has added. It dials nobody and knows nobody: the leader, which knows it, dials it, says where it
    /// is itself, and sends a snapshot. So it does not matter how often the member starts before that has come, nor whom its
    /// settings name then. Those at `others`, peer URLs, are asked whether it was removed meanwhile.
    Join { others: Vec<String> },
}

/// Who a member is. Ids are computed as etcd computes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub member: MemberId,
}

/// The state after an apply: what reads are answered from.
#[derive(Debug, Clone)]
pub struct Published {
    pub view: StoreView,
    pub index: Index,
    pub term: Term,
    pub members: Arc<Members>,
    pub auth: Arc<Auth>,
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
    /// The life of the data: that of the log.
    incarnation: Incarnation,
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
    election_timeout: Duration,
    waiters: waiters::Waiters,
    /// What the cluster is to know of this member.
    name: String,
    client_urls: Vec<String>,
    /// Whether other members can reach this one.
    listens: bool,
    reports: report::Reports,
    traffic: traffic::Traffic,
    space: space::Space,
    in_flight: Arc<waiters::InFlight>,
    /// Why the member stopped, once it has.
    failure: channel::Sender<Option<Arc<str>>>,
    /// What the log takes on the disk.
    wal_bytes: AtomicU64,
    /// The same of the store, as last measured: only where there are other members to tell.
    store_bytes: AtomicU64,
    /// Whether the segment that the log needs next is there already.
    log_has_room: AtomicBool,
    metrics: Metrics,
    engine: RwLock<LsmEngine>,
    data_dir: PathBuf,
    /// The runtime that answers those who wait, and that the sockets are in.
    runtime: Handle,
}

/// Why a member cannot go on under its id, nor come back under it.
#[derive(Debug, Error)]
enum Dismissal {
    #[error("it was removed from the cluster")]
    Removed,
    #[error("it has acknowledged entries that its log does not have: it has lost what it promised")]
    LogLost,
    #[error("member {by} does not speak with it: {reason}")]
    Refused { by: MemberId, reason: Refusal },
}

impl Shared {
    fn published(&self) -> Arc<Published> {
        self.published.read().clone()
    }

    /// As applied here.
    fn members(&self) -> Arc<Members> {
        self.published.read().members.clone()
    }

    /// Whether the members know of this one, if it is one of them, what it is called and where clients reach it.
    fn is_described(&self, members: &Members) -> bool {
        members.get(self.identity.member).is_none_or(|known| {
            known.name == self.name
                && known.client_urls == self.client_urls
                && known.incarnation == Some(self.incarnation)
        })
    }

    fn next_proposal(&self) -> ProposalId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        ProposalId { member: self.identity.member, incarnation: self.start, sequence }
    }

    /// The bytes free on the disk that holds the data.
    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.data_dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Stops the member: what waits gets no answer but an error, and nothing new is taken.
    fn fail(&self, what: &str, error: &dyn std::error::Error) {
        let mut message = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_message = cause.to_string();
            // Some say in their own message what their source is.
            if !message.ends_with(&cause_message) {
                message.push_str(": ");
                message.push_str(&cause_message);
            }
            source = cause.source();
        }
        // What failed may not say so itself, or not any more.
        if self.free_bytes().is_ok_and(|free| free < space::LAST_BYTES) {
            let _infallible = write!(
                message,
                "; the disk that holds {} is full: free some space, and start again",
                self.data_dir.display()
            );
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

    /// Stops the member for good.
    fn dismiss(&self, why: &Dismissal) {
        self.fail("this member cannot come back under its id; delete its data and add it anew as another member", why);
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
        // Taken by nobody while a checkpoint is under way: what is due by then shows when it is over.
        let (checkpoints, to_checkpoint) = mpsc::sync_channel(0);
        let shared = Arc::new(opened.shared(options, metrics, !listeners.is_empty()));
        let count = shared.members().len();
        if listeners.is_empty() && count > 1 {
            return Err(OpenError::NoPeerPort { path: options.data_dir.clone(), count });
        }
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
            let inbox = inbox::Peers::new(Arc::clone(&shared), Arc::clone(&runner));
            let (identity, incarnation) = (shared.identity, shared.incarnation);
            let peer_urls = options.peer_urls.clone();
            let transport = Transport::start(identity, incarnation, peer_urls, listeners, Arc::new(inbox));
            runner.connect(transport);
        }
        if let Beginning::Join { others } = &options.beginning
            && count == 0
        {
            let (asked_for, run_by) = (Arc::downgrade(&shared), Arc::downgrade(&runner));
            shared.runtime.spawn(newcomer::ask_until_it_has_a_state(asked_for, run_by, others.clone()));
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

    /// Lets another member lead, stops the threads, syncs the store, and waits for all of it.
    pub fn stop(self) {
        self.handle.hand_over();
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
mod tests;
