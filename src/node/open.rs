//! Opening a data directory: make it or recover it, and refuse one that does not agree with itself.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::watch as channel;

use super::lessor::Lessor;
use super::watch::SharedHub;
use super::{Options, Published, Shared};
use crate::consensus::{self, Position, Replica};
use crate::machine::{Fault, Genesis, LeaseChange, StateMachine};
use crate::model::{ClusterId, ConfState, HardState, Incarnation, Index, MemberId, Revision};
use crate::observe::Metrics;
use crate::storage::StorageError;
use crate::storage::fjall::{self, FjallEngine};
use crate::wal::{self, FileDirectory, Recovered, Wal, WalError};
use crate::watch::{Hub, Limits};

/// What the name of a store's directory begins with.
const STORE: &str = "store-";

/// Why a data directory cannot be served from. Each says what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("the data directory {path} cannot be used: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("the data directory {path} is in use by another process; stop it, or choose another --data-dir")]
    InUse { path: PathBuf },
    #[error("the log in {path} cannot be opened: {source}")]
    Wal { path: PathBuf, source: WalError },
    #[error("the store in {path} cannot be opened: {source}")]
    Store { path: PathBuf, source: StorageError },
    #[error("the state machine cannot start from {path}: {source}")]
    Machine { path: PathBuf, source: Fault },
    #[error(
        "the data directory {path} belongs to member {found_member} of cluster {found_cluster}, not to member \
         {member} of cluster {cluster}; check --data-dir and the settings that ids are computed from"
    )]
    OtherMember {
        path: PathBuf,
        found_member: MemberId,
        found_cluster: ClusterId,
        member: MemberId,
        cluster: ClusterId,
    },
    #[error(
        "the log in {path} is of incarnation {incarnation}, and beside it is {found}, which belongs to another log; put \
         back the directory that was swapped, or restore from a snapshot into another --data-dir"
    )]
    Mixed { path: PathBuf, incarnation: Incarnation, found: String },
    #[error(
        "the data directory {path} has a store but no log; what the log held is lost: restore from a snapshot into \
         another --data-dir"
    )]
    NoLog { path: PathBuf },
    #[error(
        "the store in {path} has applied entry {applied}, but the log begins with {first}: the store has lost what it \
         held; restore from a snapshot into another --data-dir"
    )]
    StoreBehind { path: PathBuf, applied: Index, first: Index },
    #[error(
        "the store in {path} has applied entry {applied}, but the log ends with {last}: the log has lost acknowledged \
         entries; restore from a snapshot into another --data-dir"
    )]
    LogBehind { path: PathBuf, applied: Index, last: Index },
    #[error("raft cannot start from {path}: {source}")]
    Consensus { path: PathBuf, source: consensus::StartError },
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
}

/// What a data directory opened to.
pub(super) struct Opened {
    pub(super) wal: Wal<FileDirectory>,
    pub(super) machine: StateMachine<FjallEngine>,
    pub(super) replica: Replica,
    engine: FjallEngine,
    published: Published,
    /// This start of the process.
    start: Incarnation,
    pub(super) sole_voter: bool,
    /// Held for as long as the member runs.
    pub(super) lock: File,
}

pub(super) fn open(options: &Options) -> Result<Opened, OpenError> {
    let path = &options.data_dir;
    let directory = |source| OpenError::Directory { path: path.clone(), source };
    fs::create_dir_all(path).map_err(directory)?;
    let lock = lock(path)?;
    let (wal, recovered) = open_wal(options)?;
    check_identity(options, &recovered)?;
    let incarnation = recovered.identity.incarnation;
    let name = store_name(incarnation);
    if let Some(found) = stores(path).map_err(directory)?.into_iter().find(|found| *found != name) {
        return Err(OpenError::Mixed { path: path.clone(), incarnation, found });
    }
    let store = path.join(name);
    let engine = FjallEngine::open(&store, fjall::Options { cache_bytes: options.cache_bytes })
        .map_err(|source| OpenError::Store { path: store.clone(), source })?;
    let genesis = Genesis { conf_state: ConfState { voters: vec![options.identity.member], learners: Vec::new() } };
    let machine = StateMachine::open(engine.clone(), &genesis)
        .map_err(|source| OpenError::Machine { path: store.clone(), source })?;
    let (applied, term) = machine.applied();
    let start = Incarnation(rand::random_range(1..u64::MAX));
    let hard_state = agree(path, &recovered, applied)?;
    let view = machine.view().map_err(|source| OpenError::Store { path: store, source })?;
    let conf_state = machine.conf_state().clone();
    let snapshot = recovered.snapshot.as_ref().map(|mark| Position { index: mark.index, term: mark.term });
    let sole_voter = conf_state.voters == [options.identity.member];
    let replica = Replica::new(
        consensus::Config {
            member: options.identity.member,
            incarnation: start,
            seed: incarnation.get(),
            election_ticks: options.election_ticks,
            heartbeat_ticks: 1,
        },
        consensus::Recovered {
            hard_state,
            snapshot,
            entries: recovered.entries,
            applied: Position { index: applied, term },
            conf_state,
        },
    )
    .map_err(|source| OpenError::Consensus { path: path.clone(), source })?;
    Ok(Opened {
        wal,
        machine,
        replica,
        engine,
        published: Published { view, index: applied, term },
        start,
        sole_voter,
        lock,
    })
}

/// The name of the store that belongs to the log of an incarnation.
pub(super) fn store_name(incarnation: Incarnation) -> String {
    format!("{STORE}{incarnation}")
}

/// The stores in a data directory. There is one, named after the incarnation of the log that it belongs to.
fn stores(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        if let Some(name) = entry?.file_name().to_str().filter(|name| name.starts_with(STORE)) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let directory = |source| OpenError::Directory { path: path.to_owned(), source };
    let file = File::options().create(true).truncate(false).write(true).open(path.join("LOCK")).map_err(directory)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(directory(source)),
    }
}

fn open_wal(options: &Options) -> Result<(Wal<FileDirectory>, Recovered), OpenError> {
    let path = options.data_dir.join("wal");
    let failed = |source| OpenError::Wal { path: path.clone(), source };
    match Wal::open(FileDirectory::open(&path).map_err(failed)?) {
        Err(WalError::Absent) => {}
        Err(error) => return Err(failed(error)),
        Ok((wal, recovered)) => {
            if let Some(batch) = recovered.cut_off {
                tracing::warn!(
                    batch,
                    "the last batch of the log was not finished, and never acknowledged: it is cut off"
                );
            }
            return Ok((wal, recovered));
        }
    }
    let directory = |source| OpenError::Directory { path: options.data_dir.clone(), source };
    if !stores(&options.data_dir).map_err(directory)?.is_empty() {
        return Err(OpenError::NoLog { path: options.data_dir.clone() });
    }
    let identity = wal::Identity {
        cluster: options.identity.cluster,
        member: options.identity.member,
        incarnation: Incarnation(rand::random_range(1..u64::MAX)),
    };
    let (hard_state, entries) = (HardState::default(), Vec::new());
    let recovered = Recovered { identity, hard_state, entries, snapshot: None, cut_off: None };
    let wal = Wal::create(FileDirectory::open(&path).map_err(failed)?, identity).map_err(failed)?;
    Ok((wal, recovered))
}

fn check_identity(options: &Options, recovered: &Recovered) -> Result<(), OpenError> {
    let found = recovered.identity;
    if (found.cluster, found.member) == (options.identity.cluster, options.identity.member) {
        return Ok(());
    }
    Err(OpenError::OtherMember {
        path: options.data_dir.clone(),
        found_member: found.member,
        found_cluster: found.cluster,
        member: options.identity.member,
        cluster: options.identity.cluster,
    })
}

/// Holds the store's progress against the log's, and gives the hard state to start from: the commit raised to what
/// was applied, since a commit index need not be on disk before what it commits is applied.
fn agree(path: &Path, recovered: &Recovered, applied: Index) -> Result<HardState, OpenError> {
    let mut hard_state = recovered.hard_state;
    if let (Some(first), Some(last)) = (recovered.entries.first(), recovered.entries.last()) {
        if applied.next() < first.index {
            return Err(OpenError::StoreBehind { path: path.to_owned(), applied, first: first.index });
        }
        if applied > last.index {
            return Err(OpenError::LogBehind { path: path.to_owned(), applied, last: last.index });
        }
    } else if applied > hard_state.commit {
        return Err(OpenError::LogBehind { path: path.to_owned(), applied, last: hard_state.commit });
    }
    hard_state.commit = hard_state.commit.max(applied);
    Ok(hard_state)
}

impl Opened {
    pub(super) fn shared(&self, options: &Options, metrics: Metrics) -> Shared {
        let now = Instant::now();
        let mut lessor = Lessor::default();
        for lease in self.machine.leases() {
            let armed = LeaseChange::Armed { id: lease.id, remaining: lease.remaining, renewals: lease.renewals };
            lessor.apply(&armed, now);
        }
        let revision: Revision = self.published.revision();
        Shared {
            identity: options.identity,
            start: self.start,
            sequence: AtomicU64::new(0),
            published: RwLock::new(Arc::new(self.published.clone())),
            applied: channel::Sender::new(self.published.index),
            sole_leader: AtomicBool::new(false),
            leader: AtomicU64::new(0),
            term: AtomicU64::new(self.published.term.get()),
            hub: SharedHub::new(Hub::new(revision, Limits::default())),
            lessor: Mutex::new(lessor),
            inflight: AtomicUsize::new(0),
            inflight_bytes: AtomicUsize::new(0),
            failure: channel::Sender::new(None),
            wal_bytes: AtomicU64::new(self.wal.disk_bytes()),
            log_has_room: AtomicBool::new(self.wal.has_reserve()),
            metrics,
            engine: self.engine.clone(),
            data_dir: options.data_dir.clone(),
        }
    }
}
