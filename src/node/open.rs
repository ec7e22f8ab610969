//! Opening a data directory: make it or recover it, and refuse one that does not agree with itself.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch as channel;

use super::lessor::Lessor;
use super::report::Reports;
use super::space::Space;
use super::traffic::Traffic;
use super::waiters::Waiters;
use super::watch::SharedHub;
use super::{Beginning, Identity, Options, Published, Shared};
use crate::consensus::{self, Position, Replica};
use crate::machine::{self, Fault, GENESIS, StateMachine};
use crate::model::{ClusterId, HardState, Incarnation, Index, MemberId, Members, Revision};
use crate::observe::Metrics;
use crate::storage::StorageError;
use crate::storage::lsm::{self, LsmEngine};
use crate::wal::{self, Batch, FileDirectory, Recovered, SnapshotMark, Wal, WalError};
use crate::watch::{Hub, Limits};

/// What the name of a store's directory begins with.
const STORE: &str = "store-";
/// Locked for as long as a member runs on the directory.
pub(super) const LOCK: &str = "LOCK";

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
    #[error("the data directory {path} is empty, and nothing says which member it is to be; see --initial-cluster")]
    NoIdentity { path: PathBuf },
    #[error(
        "the member in {path} is one of {count}, and listens for no others; say where, by --listen-peer-urls, as at its \
         first start"
    )]
    NoPeerPort { path: PathBuf, count: usize },
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
}

/// What a data directory opened to.
pub(super) struct Opened {
    pub(super) wal: Wal<FileDirectory>,
    pub(super) machine: StateMachine<LsmEngine>,
    pub(super) replica: Replica,
    engine: LsmEngine,
    /// The directory of the store.
    pub(super) store: PathBuf,
    published: Published,
    identity: Identity,
    /// This start of the process.
    start: Incarnation,
    /// Of the log.
    incarnation: Incarnation,
    /// Held for as long as the member runs.
    pub(super) lock: File,
}

/// Whether a data directory holds a member already: then it says itself which.
#[must_use]
pub fn is_begun(data_dir: &Path) -> bool {
    fs::read_dir(data_dir.join("wal")).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "wal")))
    })
}

pub(super) fn open(options: &Options) -> Result<Opened, OpenError> {
    let path = &options.data_dir;
    let directory = |source| OpenError::Directory { path: path.clone(), source };
    wal::make_durably(path).map_err(directory)?;
    let lock = lock(path)?;
    let (mut wal, mut recovered) = open_wal(options)?;
    let incarnation = recovered.identity.incarnation;
    let is_blank = recovered.snapshot.is_none() && recovered.entries.is_empty();
    let name = match &recovered.snapshot {
        Some(mark) => mark.store.clone(),
        None => store_name(incarnation),
    };
    let store = path.join(&name);
    if is_blank {
        check_unused(path, &store)?;
    }
    clear_stores(path, incarnation, (!is_blank).then_some(&*name))?;
    let engine = LsmEngine::open(&store, lsm::Options { cache_bytes: options.cache_bytes })
        .map_err(|source| OpenError::Store { path: store.clone(), source })?;
    if is_blank && let Beginning::New(members) = &options.beginning {
        // Before anything of it is on disk. One that was to join and is told now that it begins a cluster would be of that one
        // from its next start on.
        check_identity(options, &recovered, &Members::default())?;
        begin(&mut wal, &mut recovered, &engine, name, members, &store)?;
    }
    let machine =
        StateMachine::open(engine.clone()).map_err(|source| OpenError::Machine { path: store.clone(), source })?;
    check_identity(options, &recovered, machine.members())?;
    let (applied, term) = machine.applied();
    let start = Incarnation(rand::random_range(1..u64::MAX));
    let hard_state = agree(path, &recovered, applied)?;
    let view = machine.view().clone();
    let identity = Identity { cluster: recovered.identity.cluster, member: recovered.identity.member };
    let config = consensus::Config {
        election_ticks: options.election_ticks,
        kept_entries: options.kept_entries,
        ..consensus::Config::new(identity.member, start, incarnation.get())
    };
    let replica = Replica::new(config, for_raft(recovered, hard_state, &machine))
        .map_err(|source| OpenError::Consensus { path: path.clone(), source })?;
    let members = Arc::new(machine.members().clone());
    let auth = Arc::clone(machine.auth());
    let published = Published { view, index: applied, term, members, auth };
    Ok(Opened { wal, machine, replica, engine, store, published, identity, start, incarnation, lock })
}

/// What the log and the store say, as raft starts from it.
pub(super) fn for_raft(
    recovered: Recovered,
    hard_state: HardState,
    machine: &StateMachine<LsmEngine>,
) -> consensus::Recovered {
    let (index, term) = machine.applied();
    consensus::Recovered {
        hard_state,
        snapshot: recovered.snapshot.map(|mark| Position { index: mark.index, term: mark.term }),
        entries: recovered.entries,
        applied: Position { index, term },
        conf_state: machine.members().conf_state(),
    }
}

/// Makes the first state of a new cluster. The log names it last, and is the point from which the directory counts.
fn begin(
    wal: &mut Wal<FileDirectory>,
    recovered: &mut Recovered,
    engine: &LsmEngine,
    name: String,
    members: &Members,
    store: &Path,
) -> Result<(), OpenError> {
    machine::begin(engine, members).map_err(|source| OpenError::Store { path: store.to_owned(), source })?;
    let (index, term) = GENESIS;
    let mark = SnapshotMark { index, term, store: name };
    let HardState { term: known, vote, .. } = recovered.hard_state;
    let hard_state = HardState { term: known.max(term), vote, commit: index };
    wal.append(&Batch { snapshot: Some(mark.clone()), entries: &[], hard_state: Some(hard_state) })
        .map_err(|source| OpenError::Wal { path: store.to_owned(), source })?;
    recovered.snapshot = Some(mark);
    recovered.hard_state = hard_state;
    Ok(())
}

/// The name of the first store of the log of an incarnation.
pub(super) fn store_name(incarnation: Incarnation) -> String {
    format!("{STORE}{incarnation}")
}

/// A name for a store that comes with a snapshot, not in use: the same snapshot may come again while the store that it
/// became before is the member's own.
pub(super) fn installed_name(data_dir: &Path, incarnation: Incarnation, index: Index) -> String {
    let name = |copy: u64| format!("{STORE}{incarnation}-{index}-{copy}");
    (1..u64::MAX).map(name).find(|name| !data_dir.join(name).exists()).unwrap_or_default()
}

/// A log without anything in it has a store without anything in it, or one that was never finished.
fn check_unused(path: &Path, store: &Path) -> Result<(), OpenError> {
    let machine = LsmEngine::open(store, lsm::Options::default()).ok().and_then(|it| StateMachine::open(it).ok());
    match machine.map(|machine| machine.applied().0) {
        Some(applied) if applied > GENESIS.0 => {
            Err(OpenError::LogBehind { path: path.to_owned(), applied, last: Index::ZERO })
        }
        Some(_) | None => Ok(()),
    }
}

/// Removes the stores of this log that it does not name: their place was taken, or they were never finished.
fn clear_stores(path: &Path, incarnation: Incarnation, named: Option<&str>) -> Result<(), OpenError> {
    for name in own_stores(path, incarnation)? {
        if Some(&*name) != named {
            let removed = fs::remove_dir_all(path.join(&name));
            removed.map_err(|source| OpenError::Directory { path: path.to_owned(), source })?;
        }
    }
    Ok(())
}

/// The stores in a data directory, all of which must belong to its log: one of another log was put here by mistake.
pub(super) fn own_stores(path: &Path, incarnation: Incarnation) -> Result<Vec<String>, OpenError> {
    let names = stores(path).map_err(|source| OpenError::Directory { path: path.to_owned(), source })?;
    let own = store_name(incarnation);
    let is_own = |name: &str| name.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    match names.iter().find(|name| !is_own(name)) {
        Some(found) => Err(OpenError::Mixed { path: path.to_owned(), incarnation, found: found.clone() }),
        None => Ok(names),
    }
}

/// The stores in a data directory, named after the incarnation of the log that they belong to.
pub(super) fn stores(path: &Path) -> io::Result<Vec<String>> {
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
    let file = File::options().create(true).truncate(false).write(true).open(path.join(LOCK)).map_err(directory)?;
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
    let Some(Identity { cluster, member }) = options.identity else {
        return Err(OpenError::NoIdentity { path: options.data_dir.clone() });
    };
    let identity = wal::Identity { cluster, member, incarnation: Incarnation(rand::random_range(1..u64::MAX)) };
    let (hard_state, entries) = (HardState::default(), Vec::new());
    let recovered = Recovered { identity, hard_state, entries, snapshot: None, cut_off: None };
    let wal = Wal::create(FileDirectory::open(&path).map_err(failed)?, identity).map_err(failed)?;
    Ok((wal, recovered))
}

/// Refuses the data of another member. What a running cluster says about a member is known only to its state, so that a
/// member whose peer URLs have changed since it began is told by those.
fn check_identity(options: &Options, recovered: &Recovered, members: &Members) -> Result<(), OpenError> {
    let found = Identity { cluster: recovered.identity.cluster, member: recovered.identity.member };
    let Some(expected) = options.identity.filter(|expected| *expected != found) else { return Ok(()) };
    if members.get(found.member).is_some_and(|member| member.is_at(&options.peer_urls)) {
        return Ok(());
    }
    Err(OpenError::OtherMember {
        path: options.data_dir.clone(),
        found_member: found.member,
        found_cluster: found.cluster,
        member: expected.member,
        cluster: expected.cluster,
    })
}

/// Holds the store's progress against the log's, and gives the hard state to start from: the commit raised to what
/// was applied, since a commit index need not be on disk before what it commits is applied.
pub(super) fn agree(path: &Path, recovered: &Recovered, applied: Index) -> Result<HardState, OpenError> {
    let mut hard_state = recovered.hard_state;
    if let Some(mark) = &recovered.snapshot
        && applied < mark.index
    {
        return Err(OpenError::StoreBehind { path: path.to_owned(), applied, first: mark.index.next() });
    }
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
    pub(super) fn shared(&self, options: &Options, metrics: Metrics, listens: bool) -> Shared {
        let now = Instant::now();
        let lessor = Lessor::armed(self.machine.leases(), now);
        let revision: Revision = self.published.revision();
        Shared {
            identity: self.identity,
            start: self.start,
            incarnation: self.incarnation,
            sequence: AtomicU64::new(0),
            published: RwLock::new(Arc::new(self.published.clone())),
            applied: channel::Sender::new(self.published.index),
            sole_leader: AtomicBool::new(false),
            leader: AtomicU64::new(0),
            term: AtomicU64::new(self.published.term.get()),
            hub: SharedHub::new(Hub::new(revision, Limits::default())),
            lessor: Mutex::new(lessor),
            election_timeout: options.tick.saturating_mul(u32::try_from(options.election_ticks).unwrap_or(u32::MAX)),
            listens,
            reports: Reports::default(),
            traffic: Traffic::default(),
            space: Space::default(),
            in_flight: Arc::default(),
            failure: channel::Sender::new(None),
            wal_bytes: AtomicU64::new(self.wal.disk_bytes()),
            store_bytes: AtomicU64::new(0),
            log_has_room: AtomicBool::new(self.wal.has_reserve()),
            metrics,
            engine: RwLock::new(self.engine.clone()),
            data_dir: options.data_dir.clone(),
            waiters: Waiters::new(self.identity.member, self.start),
            name: options.name.clone(),
            client_urls: options.client_urls.clone(),
            runtime: Handle::current(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_comes_again_does_not_take_the_store_that_it_became_before() {
        let data_dir = tempfile::tempdir().unwrap();
        let name = || installed_name(data_dir.path(), Incarnation(7), Index(12));
        let first = name();
        fs::create_dir(data_dir.path().join(&first)).unwrap();
        assert_ne!(name(), first);
        assert!(first.starts_with(&store_name(Incarnation(7))), "{first} is cleared with the stores of its log");
    }
}
