//! What the store holds: the record at a key, and leases.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use super::{Key, LeaseId, Revision, Timestamp, Ttl};

/// A media type as the writer gave it (RFC 9110, section 8.3). Absent where a dialect has none.
pub type ContentType = Arc<str>;

/// The present state of a key, without the key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Record {
    /// The value, any bytes.
    pub value: Bytes,
    /// The media type of the value, if its writer named one.
    pub content_type: Option<ContentType>,
    /// The revision that brought the key into being.
    pub create_revision: Revision,
    /// The revision of the last change.
    pub mod_revision: Revision,
    /// The number of changes since the key came into being, from 1.
    pub version: u64,
    /// The lease that the key dies with.
    pub lease: Option<LeaseId>,
}

/// A key and its record.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyValue {
    pub key: Key,
    pub record: Record,
}

/// A lease as the replicated state holds it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Lease {
    pub id: LeaseId,
    /// What a renewal sets the remaining time to.
    pub ttl: Ttl,
    /// What was left of it at the last grant, renewal or checkpoint: a member that starts counts from here.
    pub remaining: Ttl,
    /// Counts grants and renewals, so that an expiry decided before a renewal is refused after it.
    pub renewals: u64,
    /// When it runs out by the state machine's clock, for answers that show a date. Decides nothing.
    pub expires: Timestamp,
    /// Made for one key (`ttl=` on a write) and gone with its last key.
    pub own: bool,
}
