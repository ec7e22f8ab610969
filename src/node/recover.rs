//! Going on from what one stopped member holds, when a majority of its cluster is gone for good.
//!
//! [`Survivor::open`] finds out what there is, [`Survivor::copy_into`] begins the new directory with a copy of the store, and
//! [`Working::begin_anew`] applies the rest of the log to it and makes the store and the log of a new cluster. All that the
//! log holds is kept, also what is not known to be committed: what a majority acknowledged may be known to this member as
//! the end of its log alone, and of an entry that nobody was answered for either outcome is right.
//!
//! The survivor's directory is only read, so that a recovery that goes wrong takes nothing away.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Identity;
use super::open::{LOCK, OpenError, agree, for_raft, own_stores, store_name, stores};
use super::restore::{RestoreError, claim, make};
use crate::consensus::{self, Replica, to_apply};
use crate::machine::{GENESIS, SnapshotHead, SnapshotSource, StateMachine};
use crate::model::{Incarnation, Index, LogEntry, Members, Revision, Term};
use crate::storage::Engine as _;
use crate::storage::lsm::{LsmEngine, Options};
use crate::wal::{self, Recovered, WalError};

/// Entries applied in one batch of the store.
const BATCH_ENTRIES: usize = 64;

/// Why nothing was recovered. Each says what to do.
#[derive(Debug, Error)]
pub enum RecoverError {
    #[error("a member runs on {path}: stop it first, if its cluster cannot be brought back")]
    InUse { path: PathBuf },
    #[error("{path} is no data directory of a member: it holds neither a log nor a store")]
    NotAMember { path: PathBuf },
    #[error("the member in {path} has never taken part in a cluster: there is nothing to recover; take another one's")]
    Blank { path: PathBuf },
    #[error(
        "{path} is the data directory to recover from, or lies in it, where nothing is changed; choose another --data-dir"
    )]
    Within { path: PathBuf },
    #[error(transparent)]
    Survivor(#[from] OpenError),
    #[error("the store in {path} cannot be copied: {source}")]
    Copy { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Make(#[from] RestoreError),
}

/// How far a recovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many more bytes of the store were copied.
    Copied(u64),
    /// So many more entries of the log were applied.
    Applied(u64),
    /// So many more bytes of the state went into the new store.
    Written(u64),
}

/// The data directory of a stopped member, and what its log says. No member starts on it meanwhile.
#[derive(Debug)]
pub struct Survivor {
    path: PathBuf,
    recovered: Recovered,
    /// The directory of the store that the log names.
    store: PathBuf,
    _locks: [Option<File>; 2],
}

/// What a survivor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub identity: Identity,
    /// Of its cluster, as it last knew them.
    pub members: Members,
    /// The last entry that its store holds the effects of, and the revision there.
    pub applied: Index,
    pub revision: Revision,
    /// The last entry that it knows to be committed.
    pub committed: Index,
    /// The last entry of its log, and its term: of two survivors, the one with the higher term has the later state, and
    /// with the same term the one with the higher entry (Raft dissertation, 3.6.1).
    pub last: Index,
    pub last_term: Term,
    /// Whether the log ends with a batch that was never finished, and so never acknowledged.
    pub cut_off: bool,
}

/// A copy of a survivor's store, and the log behind it.
#[derive(Debug)]
pub struct Working {
    holding: Holding,
    entries: Vec<LogEntry>,
    machine: StateMachine<LsmEngine>,
    /// Of the new directory.
    incarnation: Incarnation,
    data_dir: PathBuf,
    /// Where the survivor's log is, for messages.
    log: PathBuf,
    // Behind the store that is open in it, so that it goes after that is closed.
    _copy: StoreCopy,
}

impl Survivor {
    /// Reads the log of a member that does not run.
    ///
    /// # Errors
    /// When a member runs on the directory, there is none in it, or it would refuse to start.
    pub fn open(path: &Path) -> Result<Self, RecoverError> {
        let directory = |source| OpenError::Directory { path: path.to_owned(), source };
        let lock = hold(path)?;
        let log = path.join("wal");
        let (recovered, log_lock) = match wal::read(&log) {
            Ok(read) => read,
            Err(WalError::InUse { .. }) => return Err(RecoverError::InUse { path: path.to_owned() }),
            Err(WalError::Absent) if stores(path).map_err(directory)?.is_empty() => {
                return Err(RecoverError::NotAMember { path: path.to_owned() });
            }
            Err(WalError::Absent) => return Err(OpenError::NoLog { path: path.to_owned() }.into()),
            Err(source) => return Err(OpenError::Wal { path: log, source }.into()),
        };
        let incarnation = recovered.identity.incarnation;
        own_stores(path, incarnation)?;
        let name = recovered.snapshot.as_ref().map_or_else(|| store_name(incarnation), |mark| mark.store.clone());
        Ok(Self { path: path.to_owned(), store: path.join(name), recovered, _locks: [lock, log_lock] })
    }

    /// Who the survivor is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { cluster: self.recovered.identity.cluster, member: self.recovered.identity.member }
    }

    /// Begins a new data directory with a copy of the store, and holds that against the log.
    ///
    /// # Errors
    /// When the directory is not empty, when the survivor would refuse to start, or when the disk fails.
    pub fn copy_into(self, data_dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Working, RecoverError> {
        let directory = |source| OpenError::Directory { path: self.path.clone(), source };
        if lies_within(data_dir, &self.path).map_err(directory)? {
            return Err(RecoverError::Within { path: data_dir.to_owned() });
        }
        claim(data_dir)?;
        let incarnation = Incarnation(rand::random_range(1..u64::MAX));
        let copy = StoreCopy::of(&self.store, &data_dir.join(working_name(incarnation)), progress)
            .map_err(|source| RecoverError::Copy { path: self.store.clone(), source })?;
        let path = self.store.clone();
        let machine = LsmEngine::open(&copy.path, Options::default())
            .map_err(|source| OpenError::Store { path: path.clone(), source })
            .and_then(|engine| StateMachine::open(engine).map_err(|source| OpenError::Machine { path, source }))?;
        let holding = self.check(&machine)?;
        let entries = self.recovered.entries;
        let log = self.path.join("wal");
        Ok(Working { holding, entries, machine, incarnation, data_dir: data_dir.to_owned(), log, _copy: copy })
    }

    /// Refuses what a member would not start from.
    fn check(&self, machine: &StateMachine<LsmEngine>) -> Result<Holding, RecoverError> {
        let path = &self.path;
        let (applied, term) = machine.applied();
        let is_blank = self.recovered.snapshot.is_none() && self.recovered.entries.is_empty();
        if is_blank && applied <= GENESIS.0 {
            return Err(RecoverError::Blank { path: path.clone() });
        }
        let hard_state = agree(path, &self.recovered, applied)?;
        let wal::Identity { member, incarnation, .. } = self.recovered.identity;
        let config = consensus::Config::new(member, incarnation, incarnation.get());
        Replica::new(config, for_raft(self.recovered.clone(), hard_state, machine))
            .map_err(|source| OpenError::Consensus { path: path.clone(), source })?;
        let last = self.recovered.entries.last();
        Ok(Holding {
            identity: self.identity(),
            members: machine.members().clone(),
            applied,
            revision: machine.revision(),
            committed: hard_state.commit,
            last: last.map_or(applied, |entry| entry.index),
            last_term: last.map_or(term, |entry| entry.term),
            cut_off: self.recovered.cut_off.is_some(),
        })
    }
}

impl Holding {
    /// The entries of the log behind what the store holds.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.last.get() - self.applied.get()
    }

    /// How many of them are not known to be committed.
    #[must_use]
    pub fn uncommitted(&self) -> u64 {
        self.last.get() - self.committed.get()
    }
}

impl Working {
    /// What the survivor holds.
    #[must_use]
    pub fn holding(&self) -> &Holding {
        &self.holding
    }

    /// Applies all that the log holds, and makes a data directory for a member of a new cluster that begins with what came
    /// of it. Who the members are is what is said here: entries that change members change nothing of that.
    ///
    /// # Errors
    /// When an entry cannot be applied, something cannot be read, or the disk fails.
    pub fn begin_anew(
        self,
        identity: Identity,
        members: &Members,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<SnapshotHead, RecoverError> {
        // Taken apart in this order, the copy goes last.
        let Self { _copy, mut machine, entries, incarnation, data_dir, log, holding: _ } = self;
        let entries: Vec<_> = entries.into_iter().map(to_apply).collect();
        for batch in entries.chunks(BATCH_ENTRIES) {
            let before = machine.applied().0;
            machine.apply(batch).map_err(|source| OpenError::Machine { path: log.clone(), source })?;
            progress(Progress::Applied(machine.applied().0.get() - before.get()));
        }
        // Through a stream, as every new cluster begins: so all of it is read once, and damage is found now.
        let source = SnapshotSource::open(machine.engine().snapshot()).map_err(RestoreError::Survivor)?;
        let chunks = source.chunks().map(|chunk| {
            progress(Progress::Written(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64)));
            chunk.map_err(RestoreError::Survivor)
        });
        Ok(make(&data_dir, incarnation, identity, members, chunks)?)
    }
}

/// The name of the copy. As a store of the new directory's log that it does not name, it is removed at the first start if a
/// crash leaves it behind; and while there is no log, no member starts beside it.
fn working_name(incarnation: Incarnation) -> String {
    format!("{}-survivor", store_name(incarnation))
}

/// A copy of a store, removed when dropped.
///
/// A store cannot be opened without writing to it: files that its list does not name are removed, and tables are merged. The
/// files are copied and not linked: a link shares its bytes with the survivor, and which files are only ever written once is
/// for `lsm-tree` to change.
#[derive(Debug)]
struct StoreCopy {
    path: PathBuf,
}

impl StoreCopy {
    fn of(store: &Path, path: &Path, progress: &mut dyn FnMut(Progress)) -> io::Result<Self> {
        let copy = Self { path: path.to_owned() };
        fs::create_dir(path)?;
        // Without its store a member does not start either; what is wrong is found when it is held against the log.
        if store.is_dir() {
            copy_directory(store, path, progress)?;
        }
        Ok(copy)
    }
}

impl Drop for StoreCopy {
    fn drop(&mut self) {
        // What is left of it is removed at the first start.
        let _left_behind = fs::remove_dir_all(&self.path);
    }
}

/// Files and directories only: a store has nothing else. Not synced, since nothing relies on the copy after a crash.
fn copy_directory(from: &Path, to: &Path, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_directory(&entry.path(), &target, progress)?;
        } else {
            // Without the permissions: a survivor that is kept from being written to is copied all the same.
            let copied = io::copy(&mut File::open(entry.path())?, &mut File::create_new(&target)?)?;
            progress(Progress::Copied(copied));
        }
    }
    Ok(())
}

/// Keeps members from starting on a directory, by the lock that is there. One that never ran on it has made none.
fn hold(path: &Path) -> Result<Option<File>, RecoverError> {
    let directory = |source| OpenError::Directory { path: path.to_owned(), source };
    let lock = match File::open(path.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(directory(source).into()),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(RecoverError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(directory(source).into()),
    }
}

/// Whether a path, there or not, is a directory or lies in it.
fn lies_within(path: &Path, directory: &Path) -> io::Result<bool> {
    let directory = fs::canonicalize(directory)?;
    let path = std::path::absolute(path)?;
    let existing = path.ancestors().find_map(|ancestor| fs::canonicalize(ancestor).ok());
    Ok(existing.is_some_and(|existing| existing.starts_with(&directory)))
}
