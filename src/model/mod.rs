//! The vocabulary of Vardr: keys, records, commands, outcomes, events and the limits on them.
//!
//! Plain data. Nothing here performs I/O, reads a clock or knows a wire format; the `borsh` derives are
//! the one binary encoding, used by the raft log, the store and snapshots alike.

pub mod auth;
pub mod codec;
pub mod command;
pub mod event;
pub mod ids;
pub mod key;
pub mod limits;
pub mod log;
pub mod member;
pub mod node;
pub mod outcome;
pub mod query;
pub mod record;

pub use auth::{
    Access, Auth, AuthChange, AuthRefusal, Listed, PasswordHash, RangeLists, Role, RoleName, User, UserName,
};
pub use command::{
    Append, Attach, Command, Compare, CompareTarget, Condition, CopyKeys, CreateDirectory, Delete, DeleteTarget,
    Idempotency, Increment, LeaseCheckpoint, Op, Operator, Patch, PatchKind, Proposal, Put, Refresh, Rollback, Txn,
};
pub use event::{Action, Block, Event, EventKind, Gone, NodeView, Operation, Part};
pub use ids::{ClusterId, Incarnation, Index, LeaseId, MemberId, ProposalId, Revision, Term, Timestamp, Ttl};
pub use key::{Key, KeyRange};
pub use log::{ConfState, HardState, LogEntry, LogEntryKind, Payload};
pub use member::{Member, MemberChange, Members};
pub use node::{Content, Life, Node, NodeChange, NodeCompare, NodeEvent, NodePath, NodeRefusal, NodeWrite};
pub use outcome::{OpOutcome, Outcome, Refusal, Reply};
pub use query::{RangeQuery, RangeResult, SortBy};
pub use record::{ContentType, KeyValue, Lease, Record};
