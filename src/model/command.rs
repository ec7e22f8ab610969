//! Everything that can be asked of the replicated state: the closed set of commands.
//!
//! A command carries all that applying it needs. What a replica cannot compute alike everywhere (a random
//! lease id, the time, who asked) is put in by the shell before the command is proposed.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use super::{
    AuthChange, ContentType, Incarnation, Key, KeyRange, LeaseId, MemberChange, MemberId, NodeWrite, ProposalId,
    RangeQuery, Revision, Term, Ttl,
};

/// A command on its way through the log.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    pub id: ProposalId,
    /// Who asked, when users are in force.
    pub author: Option<Arc<str>>,
    pub idempotency: Option<Idempotency>,
    pub command: Command,
}

/// The client's promise that a retry is the same request (the `Idempotency-Key` header).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Idempotency {
    /// At most [`limits::MAX_IDEMPOTENCY_KEY_BYTES`](super::limits::MAX_IDEMPOTENCY_KEY_BYTES); unique per author.
    pub key: Arc<str>,
    /// A hash over the request: the same key with another hash is refused.
    pub request_hash: u64,
}

/// The closed set of commands.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Command {
    /// Changes nothing. Proves that the log moves.
    Noop,
    Put {
        put: Put,
        condition: Condition,
    },
    Patch {
        patch: Patch,
        condition: Condition,
    },
    Increment(Increment),
    Append(Append),
    CreateDirectory {
        create: CreateDirectory,
        condition: Condition,
    },
    Delete {
        delete: Delete,
        condition: Condition,
    },
    Refresh {
        refresh: Refresh,
        condition: Condition,
    },
    Txn(Txn),
    Rollback(Rollback),
    GrantLease {
        id: LeaseId,
        ttl: Ttl,
    },
    /// Deletes the lease and its keys in one revision.
    RevokeLease(LeaseId),
    /// Renewals that travelled together. Makes no revision.
    RenewLeases(Vec<LeaseId>),
    /// The leader of `term` found the lease run out after `renewals`. Refused when either has moved on.
    ExpireLease {
        id: LeaseId,
        term: Term,
        renewals: u64,
    },
    /// What is left of leases, so that it survives a change of leader. Makes no revision.
    CheckpointLeases {
        term: Term,
        checkpoints: Vec<LeaseCheckpoint>,
    },
    /// Forgets what was before the revision; states at the revision and after it stay readable.
    Compact(Revision),
    /// Only in an entry of [`LogEntryKind::Membership`](super::LogEntryKind::Membership), by itself. Makes no revision.
    ChangeMember(MemberChange),
    /// Where the other members reach this one from now on. Makes no revision.
    RelocateMember {
        id: MemberId,
        peer_urls: Vec<String>,
    },
    /// What a member says about itself when it has started. Refused where another life of its data is known. Makes no
    /// revision.
    DescribeMember {
        id: MemberId,
        incarnation: Incarnation,
        name: String,
        client_urls: Vec<String>,
    },
    /// A write of etcd's v2 API.
    Node(NodeWrite),
    /// Makes no revision.
    ChangeAuth(AuthChange),
    Copy(CopyKeys),
}

/// Replaces the record at a key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Put {
    pub key: Key,
    /// `None` keeps the present value and content type (etcd v3's `ignore_value`); then the key must exist.
    pub value: Option<Bytes>,
    pub content_type: Option<ContentType>,
    pub attach: Attach,
    /// Answer with the record that was replaced.
    pub previous: bool,
}

impl Put {
    /// Whether it keeps something of the present record, so that there has to be one.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.value.is_none() || self.attach == Attach::KeepPresent
    }
}

/// What a write does with the key's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Attach {
    /// The key lives until it is deleted.
    Detach,
    /// As before the write.
    Keep,
    /// The key dies with this lease, which must exist.
    Lease(LeaseId),
    /// A lease of the key's own, made with it and gone with it. The id is the proposer's choice, unused so far.
    Own { id: LeaseId, ttl: Ttl },
    /// As before the write (etcd v3's `ignore_lease`); then the key must exist.
    KeepPresent,
}

/// What must hold of the key for the command to be carried out. An empty condition always holds.
///
/// Where the command is about a directory ([`CreateDirectory`], [`DeleteTarget::Directory`]), `exists` asks for the
/// directory, which a marker or a key below it makes, and the rest asks for the marker. Every other command takes a key
/// that ends in `/` as the plain key it is. Of a range, only `exists` can be asked: whether anything is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Condition {
    /// Whether the key, the directory or anything in the range must exist.
    pub exists: Option<bool>,
    /// The key's `mod_revision` must be one of these; empty asks nothing.
    pub revisions: Vec<Revision>,
    /// The key's value must be this one.
    pub value: Option<Bytes>,
}

impl Condition {
    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exists.is_none() && self.revisions.is_empty() && self.value.is_none()
    }
}

/// Changes the JSON value of a key. Keeps content type and lease; a key that it creates has the type `application/json`.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Patch {
    pub key: Key,
    pub kind: PatchKind,
    /// The patch document, JSON.
    pub document: Bytes,
    pub previous: bool,
}

/// The language of a patch document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PatchKind {
    /// JSON Merge Patch (RFC 7396). On an absent key it patches `null`, and so creates.
    Merge,
    /// JSON Patch (RFC 6902). The key must exist.
    Json,
}

/// Adds to the decimal integer at a key; an absent key counts as 0. Keeps content type and lease.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Increment {
    pub key: Key,
    pub by: i64,
    pub condition: Condition,
}

/// Stores a value under the next key of a directory: the new revision, 20 digits, zero-padded. Refused with
/// `PreconditionFailed` where somebody has put a key of that name by hand.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Append {
    /// Ends in `/`.
    pub directory: Key,
    pub value: Bytes,
    pub content_type: Option<ContentType>,
    pub attach: Attach,
}

/// Makes the directory's marker. Does nothing, without a revision, where the marker exists already and the write would
/// leave it the lease it has. A marker that dies with a lease of its own takes everything below it with it, as in
/// etcd v2.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CreateDirectory {
    /// Ends in `/`.
    pub key: Key,
    pub attach: Attach,
}

/// Deletes keys.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Delete {
    pub target: DeleteTarget,
    /// Answer with the records that were deleted.
    pub previous: bool,
}

/// Which keys to delete. In a transaction, what is not there is no refusal: nothing of it is deleted.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum DeleteTarget {
    /// One key; refused when it is absent.
    Key(Key),
    /// A directory by its marker key (ends in `/`), explicit or implied. Refused when there is none, and, without
    /// `recursive`, when keys are below it.
    Directory { key: Key, recursive: bool },
    /// Whatever is in the range; nothing there is a success that deletes nothing.
    Range(KeyRange),
}

/// Starts the key's own lease anew with this time to live. Makes no revision, wakes no watcher. Refused where the key's
/// lease is not its own, or it has none.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Refresh {
    pub key: Key,
    pub ttl: Ttl,
}

/// All at one revision, or nothing: when every comparison holds `then`, else `otherwise`.
///
/// Comparisons, those of nested transactions too, are made on the state before the transaction, as in etcd v3. Of two
/// operations that can both happen, on whatever level, neither may put a key that the other puts or deletes. A read at a
/// revision sees that revision; it may not be the one being made.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub then: Vec<Op>,
    pub otherwise: Vec<Op>,
}

/// A comparison that must hold for every key of a range (etcd v3: over no key, it is made with an absent key's zeros).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Compare {
    pub range: KeyRange,
    pub operator: Operator,
    pub target: CompareTarget,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What is compared, and with what. An absent key has version, revisions and lease 0, and no value: comparing its
/// value never holds. Leases compare as signed numbers, which their ids are to etcd's clients.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum CompareTarget {
    Value(Bytes),
    Version(u64),
    CreateRevision(Revision),
    ModRevision(Revision),
    Lease(LeaseId),
}

/// One operation of a transaction. Operations see what those before them in the transaction did.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Op {
    Put(Put),
    Delete(Delete),
    Get(RangeQuery),
    Txn(Txn),
}

/// Gives keys the state they had at an earlier revision: in one command, at one revision, within
/// [`limits::MAX_ROLLBACK_KEYS`](super::limits::MAX_ROLLBACK_KEYS) and
/// [`limits::MAX_ROLLBACK_BYTES`](super::limits::MAX_ROLLBACK_BYTES). Keys whose value and content type are as they were
/// stay untouched; others that are there keep their lease and create revision; keys that died since come back as new
/// ones, without a lease.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Rollback {
    pub range: KeyRange,
    pub to: Revision,
}

/// Puts what is at a key, or everything in a directory, under another name: in one command, at one revision, within
/// [`limits::MAX_COPY_KEYS`](super::limits::MAX_COPY_KEYS) and [`limits::MAX_COPY_BYTES`](super::limits::MAX_COPY_BYTES). What is copied
/// has no lease; what is moved keeps the one it has.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CopyKeys {
    pub from: Key,
    pub to: Key,
    /// Both are directories, which end in `/`: their marker and all that is below. Else each is the one key that it is.
    pub directory: bool,
    /// Where something is there already, it is replaced; else the copy is refused.
    pub overwrite: bool,
    /// A move: what was copied is deleted at the same revision.
    pub remove: bool,
}

/// What is left of one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeaseCheckpoint {
    pub id: LeaseId,
    pub remaining: Ttl,
    /// The renewal that the checkpoint counts from; with another one in force it changes nothing.
    pub renewals: u64,
}
