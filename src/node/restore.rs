//! Making a data directory out of a snapshot file.
//!
//! The store comes first, synced; the log that names it comes last and is the point from which the directory counts.
//! One that was interrupted has a store and no log, and no member starts from it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Identity;
use super::open::store_name;
use crate::machine::{Restore, SnapshotError, SnapshotHead};
use crate::model::{HardState, Incarnation, MemberId, Members};
use crate::storage::fjall::{FjallEngine, Options};
use crate::storage::{Engine as _, StorageError};
use crate::wal::{self, Batch, FileDirectory, SnapshotMark, Wal, WalError};

/// How much of the file is read at once.
const READ_BYTES: usize = 1024 * 1024;

/// Why no data directory was made. What was begun of one is of no use: delete it.
#[derive(Debug, Error)]
pub enum RestoreError {
    #[error("the data directory {path} is not empty: restore into a new one")]
    NotEmpty { path: PathBuf },
    #[error("the data directory {path} cannot be used: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("the snapshot cannot be read: {0}")]
    Read(io::Error),
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
    let directory = |source| RestoreError::Directory { path: data_dir.to_owned(), source };
    fs::create_dir_all(data_dir).map_err(directory)?;
    if fs::read_dir(data_dir).map_err(directory)?.next().is_some() {
        return Err(RestoreError::NotEmpty { path: data_dir.to_owned() });
    }
    let incarnation = Incarnation(rand::random_range(1..u64::MAX));
    let store = store_name(incarnation);
    let engine = FjallEngine::open(&data_dir.join(&store), Options::default())?;
    let head = fill(snapshot, &engine, members)?;
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

fn fill(snapshot: &mut dyn Read, engine: &FjallEngine, members: &Members) -> Result<SnapshotHead, RestoreError> {
    let mut restore = Restore::new(engine.clone())?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match snapshot.read(&mut buffer) {
            Ok(0) => return Ok(restore.finish_anew(members.clone())?),
            Ok(length) => restore.push(buffer.get(..length).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(RestoreError::Read(error)),
        }
    }
}
