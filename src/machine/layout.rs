//! Where the state machine's own state is in the store, and in which form.
//!
//! Owns the marks of the applied index, the keyspace of leases and the names in `meta` that are not of [`mvcc`]; that
//! one owns the keys of users, the history and the revisions.
//!
//! [`mvcc`]: crate::mvcc

use bytes::Bytes;

use super::clock::Clock;
use crate::model::codec::{self, CodecError};
use crate::model::{ConfState, Index, Lease, LeaseId, Term};
use crate::storage::StorageError;

/// In every keyspace: the index and term of the last entry whose writes are in it. Sorts before all else there.
pub(super) const APPLIED: &[u8] = b"applied";
/// In `meta`: [`Mark`].
pub(super) const MARK: &[u8] = b"machine";
/// In `meta`: what the name of a kept answer begins with.
pub(super) const ANSWER: u8 = b'~';

const APPLIED_VERSION: u8 = 1;
const MARK_VERSION: u8 = 1;
const LEASE_VERSION: u8 = 1;

/// What the state machine knows besides keys, leases and answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, borsh::BorshSerialize, borsh::BorshDeserialize)]
pub(super) struct Mark {
    pub(super) clock: Clock,
    /// The chained digest of every event so far.
    pub(super) digest: u128,
    pub(super) conf_state: ConfState,
}

pub(super) fn write_mark(mark: &Mark) -> Bytes {
    codec::encode(MARK_VERSION, mark)
}

pub(super) fn read_mark(bytes: &[u8]) -> Result<Mark, CodecError> {
    codec::decode("mark of the state machine", MARK_VERSION, bytes)
}

pub(super) fn write_applied(applied: (Index, Term)) -> Bytes {
    codec::encode(APPLIED_VERSION, &applied)
}

pub(super) fn read_applied(bytes: &[u8]) -> Result<(Index, Term), CodecError> {
    codec::decode("applied index", APPLIED_VERSION, bytes)
}

/// The leases begin with this byte, the keys attached to them with the next one.
const LEASE: u8 = b'l';
const ATTACHED: u8 = b'm';

pub(super) fn lease_key(id: LeaseId) -> Bytes {
    prefixed(LEASE, id, &[])
}

/// Where every lease is: from the first bound up to and without the second.
pub(super) const fn leases() -> ([u8; 1], [u8; 1]) {
    ([LEASE], [ATTACHED])
}

pub(super) fn write_lease(lease: &Lease) -> Bytes {
    codec::encode(LEASE_VERSION, lease)
}

pub(super) fn read_lease(bytes: &[u8]) -> Result<Lease, CodecError> {
    codec::decode("lease", LEASE_VERSION, bytes)
}

pub(super) fn attached_key(id: LeaseId, key: &[u8]) -> Bytes {
    prefixed(ATTACHED, id, key)
}

/// Where every attachment is.
pub(super) const fn attachments() -> ([u8; 1], [u8; 1]) {
    ([ATTACHED], [ATTACHED + 1])
}

/// The lease and the key of an attachment.
pub(super) fn read_attached(stored: &Bytes) -> Result<(LeaseId, Bytes), StorageError> {
    match stored.split_first_chunk::<9>() {
        Some(([ATTACHED, id @ ..], key)) => Ok((LeaseId(u64::from_be_bytes(*id)), stored.slice_ref(key))),
        Some(_) | None => Err(StorageError::Corrupt { what: "the attachment of a key to a lease".to_owned() }),
    }
}

fn prefixed(kind: u8, id: LeaseId, key: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(9 + key.len());
    bytes.push(kind);
    bytes.extend_from_slice(&id.get().to_be_bytes());
    bytes.extend_from_slice(key);
    bytes.into()
}
