//! Making a data directory out of a snapshot's stream: that of a file here, that of a lost cluster's member in `recover`.
//!
//! The store comes first, synced; the log that names it comes last and is the point from which the directory counts.
//! One that was interrupted has a store and no log, and no member starts from it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;

use super::Identity;
use super::open::store_name;
use crate::machine::{Restore, SnapshotError, SnapshotHead};
use crate::model::{HardState, Incarnation, MemberId, Members};
use crate::storage::lsm::{LsmEngine, Options};
use crate::storage::{Engine as _, StorageError};
use crate::wal::{self, Batch, FileDirectory, SnapshotMark, Wal, WalError};

/// How much of the file is read at once.
const READ_BYTES: usize = 1024 * 1024;

/// Why no data directory was made. What was begun of one is of no use: delete it.
#[derive(Debug, Error)]
pub enum RestoreError {
    #[error("the data directory {path} is not empty: name a new one with --data-dir")]
    NotEmpty { path: PathBuf },
    #[error("the data directory {path} cannot be used: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("the snapshot cannot be read: {0}")]
    Read(io::Error),
    #[error("the survivor's store cannot be read: {0}; recover from another survivor, or from a snapshot")]
    Survivor(StorageError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the store cannot be made: {0}")]
    Store(#[from] StorageError),
    #[error("the log cannot be made: {0}")]
    Wal(#[from] WalError),
}

/// Makes a data directory that holds what the snapshot does, for a member of a cluster that begins anew with it: every one
/// of its members begins with the same snapshot.
///
/// # Errors
/// When the directory is in use, the snapshot is damaged, or the disk fails.
pub fn restore(
    snapshot: &mut dyn Read,
    data_dir: &Path,
    identity: Identity,
    members: &Members,
) -> Result<SnapshotHead, RestoreError> {
    claim(data_dir)?;
    make(data_dir, Incarnation(rand::random_range(1..u64::MAX)), identity, members, Chunks(snapshot))
}

/// Makes the directory, or takes one that has nothing in it.
pub(super) fn claim(data_dir: &Path) -> Result<(), RestoreError> {
    let failed = |source| RestoreError::Directory { path: data_dir.to_owned(), source };
    wal::make_durably(data_dir).map_err(failed)?;
    match fs::read_dir(data_dir).map_err(failed)?.next() {
        Some(_) => Err(RestoreError::NotEmpty { path: data_dir.to_owned() }),
        None => Ok(()),
    }
}

/// Makes the store out of the chunks of a snapshot's stream, and then the log.
pub(super) fn make(
    data_dir: &Path,
    incarnation: Incarnation,
    identity: Identity,
    members: &Members,
    chunks: impl Iterator<Item = Result<Bytes, RestoreError>>,
) -> Result<SnapshotHead, RestoreError> {
    let store = store_name(incarnation);
    let engine = LsmEngine::open(&data_dir.join(&store), Options::default())?;
    let head = fill(chunks, &engine, members)?;
    engine.sync()?;
    let of = wal::Identity { cluster: identity.cluster, member: identity.member, incarnation };
    let mut log = Wal::create(FileDirectory::open(&data_dir.join("wal"))?, of)?;
    log.append(&Batch {
        snapshot: Some(SnapshotMark { index: head.index, term: head.term, store }),
        entries: &[],
        hard_state: Some(HardState { term: head.term, vote: MemberId::ZERO, commit: head.index }),
    })?;
    Ok(head)
}

fn fill(
    chunks: impl Iterator<Item = Result<Bytes, RestoreError>>,
    engine: &LsmEngine,
    members: &Members,
) -> Result<SnapshotHead, RestoreError> {
    let mut restore = Restore::of_file(engine.clone())?;
    for chunk in chunks {
        restore.push(&chunk?)?;
    }
    Ok(restore.finish_anew(members.clone())?)
}

/// What a file holds, piece by piece.
struct Chunks<'a>(&'a mut dyn Read);

impl Iterator for Chunks<'_> {
    type Item = Result<Bytes, RestoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => {
                    buffer.truncate(length);
                    return Some(Ok(buffer.into()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(RestoreError::Read(error))),
            }
        }
    }
}
