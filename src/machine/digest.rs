//! Digests: what two members compare to know that they hold the same.
//!
//! [`chain`] is carried along by every apply: a digest over all events ever, and all changes of users and roles, each taken in
//! with the digest before it.
//! [`content`] reads all that is there at present. Neither sees blocks, sweeps or anything else that may differ between
//! members that agree.

use borsh::BorshSerialize;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::{attached, auth, lease};
use crate::model::{Event, KeyRange, RangeQuery, Revision, codec};
use crate::mvcc::{ReadError, View};
use crate::storage::Snapshot;

/// The bytes of records read at a time.
const PAGE_BYTES: usize = 1024 * 1024;

/// The digest that follows `digest` with an event. What the event replaced counts with its revision: the event that made
/// it has counted already.
pub(super) fn chain(digest: u128, event: &Event, scratch: &mut Vec<u8>) -> u128 {
    let Event { revision, kind, key, record, previous, previous_revision, time, author, operation, action, view } =
        event;
    scratch.clear();
    scratch.extend_from_slice(&digest.to_le_bytes());
    codec::encode_into(scratch, &(revision, kind, key, record));
    let previous = previous.as_ref().map(|record| record.mod_revision);
    codec::encode_into(scratch, &(previous, previous_revision, time, author, operation, action, view));
    xxh3_128(scratch)
}

/// A digest over every record as it was at a revision, that revision and the compacted one.
///
/// # Errors
/// The refusals of a read of the past, and when the store cannot be read.
pub fn keys<S: Snapshot>(view: &View<S>, revision: Revision) -> Result<u128, ReadError> {
    let mut digest = Digest::default();
    digest.take(&(revision, view.compacted()));
    digest.take_records(view, Some(revision))?;
    Ok(digest.hasher.digest128())
}

/// A digest in the making.
#[derive(Default)]
struct Digest {
    hasher: Xxh3,
    scratch: Vec<u8>,
}

impl Digest {
    fn take(&mut self, value: &impl BorshSerialize) {
        self.scratch.clear();
        codec::encode_into(&mut self.scratch, value);
        self.hasher.update(&self.scratch);
    }

    /// Takes every record as it was at a revision, as it is without one.
    fn take_records<S: Snapshot>(&mut self, view: &View<S>, revision: Option<Revision>) -> Result<(), ReadError> {
        let mut rest = Some(KeyRange::prefix(""));
        while let Some(range) = rest {
            let page = view.page(&RangeQuery { revision, ..RangeQuery::all(range) }, PAGE_BYTES)?;
            page.items.iter().for_each(|item| self.take(item));
            rest = page.rest;
        }
        Ok(())
    }
}

/// The digest that follows `digest` with what became of a user or a role.
pub(super) fn chain_auth(digest: u128, entry: &auth::Entry, scratch: &mut Vec<u8>) -> u128 {
    scratch.clear();
    scratch.extend_from_slice(&digest.to_le_bytes());
    codec::encode_into(scratch, entry);
    xxh3_128(scratch)
}

/// A digest over every record, every lease and its keys, every user and role, the revision and the compacted revision.
///
/// # Errors
/// When the store cannot be read.
pub fn content<S: Snapshot>(view: &View<S>) -> Result<u128, ReadError> {
    let mut digest = Digest::default();
    digest.take(&(view.revision(), view.compacted()));
    digest.take_records(view, None)?;
    for lease in lease::all(view.snapshot()) {
        let lease = lease?;
        digest.take(&lease);
        for key in attached(view.snapshot(), lease.id) {
            digest.take(&key?);
        }
    }
    for user in auth::users(view.snapshot()) {
        digest.take(&user?);
    }
    for role in auth::roles(view.snapshot()) {
        digest.take(&role?);
    }
    Ok(digest.hasher.digest128())
}
