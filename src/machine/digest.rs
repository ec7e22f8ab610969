//! Digests: what two members compare to know that they hold the same.
//!
//! [`chain`] is carried along by every apply: a digest over all events ever, and all changes of users and roles, each taken in
//! with the digest before it.
//! [`content`] reads all that is there at present. Neither sees blocks, sweeps or anything else that may differ between
//! members that agree.

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
    let mut hasher = Xxh3::new();
    let mut scratch = Vec::new();
    codec::encode_into(&mut scratch, &(revision, view.compacted()));
    hasher.update(&scratch);
    let mut rest = Some(KeyRange::prefix(""));
    while let Some(range) = rest {
        let page = view.page(&RangeQuery { revision: Some(revision), ..RangeQuery::all(range) }, PAGE_BYTES)?;
        for item in &page.items {
            scratch.clear();
            codec::encode_into(&mut scratch, item);
            hasher.update(&scratch);
        }
        rest = page.rest;
    }
    Ok(hasher.digest128())
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
    let mut hasher = Xxh3::new();
    let mut scratch = Vec::new();
    let mut take = |hasher: &mut Xxh3, write: &dyn Fn(&mut Vec<u8>)| {
        scratch.clear();
        write(&mut scratch);
        hasher.update(&scratch);
    };
    take(&mut hasher, &|bytes| codec::encode_into(bytes, &(view.revision(), view.compacted())));
    let mut rest = Some(KeyRange::prefix(""));
    while let Some(range) = rest {
        let page = view.page(&RangeQuery::all(range), PAGE_BYTES)?;
        for item in &page.items {
            take(&mut hasher, &|bytes| codec::encode_into(bytes, item));
        }
        rest = page.rest;
    }
    for lease in lease::all(view.snapshot()) {
        let lease = lease?;
        take(&mut hasher, &|bytes| codec::encode_into(bytes, &lease));
        for key in attached(view.snapshot(), lease.id) {
            let key = key?;
            take(&mut hasher, &|bytes| codec::encode_into(bytes, &key));
        }
    }
    for user in auth::users(view.snapshot()) {
        let user = user?;
        take(&mut hasher, &|bytes| codec::encode_into(bytes, &user));
    }
    for role in auth::roles(view.snapshot()) {
        let role = role?;
        take(&mut hasher, &|bytes| codec::encode_into(bytes, &role));
    }
    Ok(hasher.digest128())
}
