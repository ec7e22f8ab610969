//! What comes of a command: an outcome, or a refusal that every replica computes alike.

use borsh::{BorshDeserialize, BorshSerialize};
use thiserror::Error;

use super::limits::{MAX_KEY_BYTES, MAX_MEMBERS, MAX_VOTERS};
use super::{
    AuthRefusal, KeyValue, Lease, LeaseId, Member, MemberId, NodeEvent, NodeRefusal, RangeResult, Record, Revision,
    Role, Ttl, User,
};

/// What one command came to.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Reply {
    /// The store's revision after the command: the new one if it changed something.
    pub revision: Revision,
    pub result: Result<Outcome, Refusal>,
    /// Whether this is the kept answer to an earlier request with the same idempotency key.
    pub replayed: bool,
}

/// What a command that was carried out did.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Outcome {
    /// Nothing to report: compaction, checkpoint, no-op.
    Done,
    /// A put, patch, append or directory.
    Written {
        /// The key and its record now.
        now: KeyValue,
        /// Whether the key (or the directory, implied ones included) was absent before.
        created: bool,
        /// What was replaced, if asked for.
        previous: Option<Record>,
        /// Whether anything changed: a directory that was there already, or a refresh, makes no revision.
        changed: bool,
    },
    /// An increment: the new number, and the record that holds it.
    Number {
        number: i64,
        now: KeyValue,
        created: bool,
    },
    Deleted {
        /// How many keys.
        deleted: u64,
        /// What they were, if asked for, in order of key.
        previous: Vec<KeyValue>,
    },
    Txn {
        succeeded: bool,
        results: Vec<OpOutcome>,
    },
    /// A rollback: keys put and keys deleted.
    RolledBack {
        restored: u64,
        deleted: u64,
    },
    /// A grant.
    Lease(Lease),
    /// A revocation or an expiry: the keys deleted with the lease. Without any, no revision is made.
    Revoked {
        deleted: u64,
    },
    /// For each lease asked for, in order: the time to live it was set to, or `None` where there is no such lease.
    Renewed(Vec<Option<Ttl>>),
    /// A change of the members: the one that it is about as it is now, or was when it was removed.
    Member(Member),
    /// A write of etcd's v2 API: the change as its watchers are told of it.
    Node(Box<NodeEvent>),
    /// A user as it is now.
    User {
        user: Box<User>,
        created: bool,
    },
    /// A role as it is now.
    Role(Box<Role>),
    /// A copy or a move: the keys written, and how many of them were there before.
    Copied {
        keys: u64,
        overwritten: u64,
    },
}

/// What one operation of a transaction did.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum OpOutcome {
    Put { now: KeyValue, previous: Option<Record> },
    Delete { deleted: u64, previous: Vec<KeyValue> },
    Get(RangeResult),
    Txn { succeeded: bool, results: Vec<OpOutcome> },
}

/// Why a command was not carried out. Nothing was changed; every replica refuses alike.
#[derive(Debug, Clone, PartialEq, Eq, Error, BorshSerialize, BorshDeserialize)]
pub enum Refusal {
    #[error("the key does not exist")]
    KeyNotFound,
    #[error("the condition does not hold")]
    PreconditionFailed {
        /// The key's present state; `None` when it is absent, or a directory only implied.
        current: Option<KeyValue>,
    },
    #[error("the directory is not empty")]
    DirectoryNotEmpty,
    #[error("there is no lease {0}")]
    LeaseNotFound(LeaseId),
    #[error("the lease {0} exists already")]
    LeaseExists(LeaseId),
    #[error("the key has no lease of its own")]
    NoOwnLease,
    #[error("revision {asked} was compacted; the oldest readable revision is {compacted}")]
    Compacted { asked: Revision, compacted: Revision },
    #[error("revision {asked} is in the future; the store is at {current}")]
    FutureRevision { asked: Revision, current: Revision },
    #[error("the same key is written twice in one transaction: {0}")]
    DuplicateKey(super::Key),
    #[error("the value is not a decimal integer of 64 bits")]
    NotANumber,
    #[error("the sum does not fit 64 bits")]
    NumberOverflow,
    #[error("the value is not JSON")]
    NotJson,
    #[error("the patch is not valid: {0}")]
    InvalidPatch(String),
    #[error("the patch does not apply to the value: {0}")]
    PatchConflict(String),
    /// A rollback, copy or deletion beyond its bounds, or a patch that makes a value beyond
    /// [`limits::MAX_PATCHED_BYTES`](super::limits::MAX_PATCHED_BYTES).
    #[error("too large: {keys} keys and {bytes} bytes")]
    TooLarge { keys: u64, bytes: u64 },
    #[error("reading the past at {asked} takes more steps than one request may; narrow the range or the time")]
    TooManySteps { asked: Revision },
    /// An expiry or checkpoint decided by a leader, or before a renewal, that is no more.
    #[error("decided on a state that has moved on")]
    Stale,
    #[error("there is no member {0}")]
    MemberNotFound(MemberId),
    #[error("the member {0} exists, or was removed; an id is used once")]
    MemberExists(MemberId),
    #[error("the member {0} has lost its data")]
    MemberLostData(MemberId),
    #[error("the member {0} is a voter already")]
    NotALearner(MemberId),
    #[error("the member {0} is a learner, and only voters lead")]
    NotAVoter(MemberId),
    #[error("the member {0} is the last voter")]
    LastVoter(MemberId),
    #[error("a cluster has at most {MAX_MEMBERS} members")]
    TooManyMembers,
    #[error("a cluster has at most {MAX_VOTERS} voters")]
    TooManyVoters,
    #[error("another member has the peer URL {0}")]
    PeerUrlTaken(String),
    #[error("the idempotency key was used for a different request")]
    IdempotencyMismatch,
    #[error("too many idempotency keys are being kept")]
    IdempotencyFull,
    #[error("the request was carried out, but its answer was too large to keep")]
    ResultNotKept,
    /// A write of etcd's v2 API.
    #[error(transparent)]
    Node(NodeRefusal),
    /// A change of users and roles.
    #[error(transparent)]
    Auth(AuthRefusal),
    /// Of a copy: what is written and what is copied would be the same keys.
    #[error("one of the two names is the other, or lies within it")]
    CopyWithin,
    /// Of a copy.
    #[error("the name of {key} would have {length} bytes; the longest key has {MAX_KEY_BYTES}")]
    NameTooLong { key: super::Key, length: u64 },
    /// Of a copy that may not overwrite: the first of so many keys.
    #[error("{key} is there already ({keys} in all); overwrite, or choose another name")]
    KeysExist { key: super::Key, keys: u64 },
}
