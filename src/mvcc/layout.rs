//! Where keys, deletions and blocks are in the store.

use std::ops::Bound;

use bytes::Bytes;

use crate::model::{KeyRange, Revision};
use crate::storage::StorageError;

/// What every user key begins with in the store: below it is room for the store's own marks.
const USER: u8 = b'k';
/// What every block's key begins with.
const BLOCK: u8 = b'b';

/// The name of the last revision in `meta`.
pub(super) const META_REVISION: &[u8] = b"revision";
/// The name of the compacted revision in `meta`.
pub(super) const META_COMPACTED: &[u8] = b"compacted";

/// The stored form of a user key, in `kv` and `tombstones`.
pub(super) fn user(key: &[u8]) -> Bytes {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(USER);
    stored.extend_from_slice(key);
    stored.into()
}

/// The user key of a stored one.
pub(super) fn user_key(stored: &Bytes) -> Result<Bytes, StorageError> {
    match stored.first() {
        Some(&USER) => Ok(stored.slice(1..)),
        Some(_) | None => Err(damaged("a key")),
    }
}

/// The stored bounds of a range of user keys.
pub(super) fn user_bounds(range: &KeyRange) -> (Bound<Bytes>, Bound<Bytes>) {
    let end = range.end().map_or_else(|| Bytes::from_static(&[USER + 1]), |end| user(end));
    (Bound::Included(user(range.start())), Bound::Excluded(end))
}

/// The key of the block that begins with this revision.
pub(super) fn history_key(first: Revision) -> Bytes {
    let mut key = Vec::with_capacity(9);
    key.push(BLOCK);
    key.extend_from_slice(&first.get().to_be_bytes());
    key.into()
}

/// The revision that the block at this key begins with.
pub(super) fn history_revision(key: &[u8]) -> Result<Revision, StorageError> {
    match key.split_first() {
        Some((&BLOCK, revision)) => read_revision(revision),
        Some(_) | None => Err(damaged("the key of a history block")),
    }
}

/// A revision as a stored value.
pub(super) fn write_revision(revision: Revision) -> Bytes {
    Bytes::copy_from_slice(&revision.get().to_be_bytes())
}

/// Reads a stored revision.
pub(super) fn read_revision(bytes: &[u8]) -> Result<Revision, StorageError> {
    let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| damaged("a revision"))?;
    Ok(Revision(u64::from_be_bytes(bytes)))
}

fn damaged(what: &str) -> StorageError {
    StorageError::Corrupt { what: format!("{what} is not in the form it was written in") }
}
