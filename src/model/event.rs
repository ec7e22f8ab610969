//! What happened: one event per key changed, and the blocks that carry events from apply to store and watchers.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Key, Record, Revision, Timestamp};

/// How a key changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum EventKind {
    /// The key has a new record.
    Put,
    /// Somebody deleted the key.
    Delete,
    /// The key died with its lease.
    Expire,
}

/// What was asked for, as history shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Operation {
    Put,
    Patch,
    Increment,
    Append,
    CreateDirectory,
    Delete,
    Transaction,
    Rollback,
    /// The key's lease was revoked by a client.
    Revoke,
    /// The key's lease ran out.
    Expire,
    Copy,
    Move,
}

/// The name that etcd's v2 API gives to a change, whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Action {
    Set,
    Create,
    Update,
    CompareAndSwap,
    Delete,
    CompareAndDelete,
    Expire,
}

/// How etcd's v2 API shows an event, as far as key and records do not say it.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct NodeView {
    pub part: Part,
    /// When the record that the change made dies, by the state machine's clock.
    pub expires: Option<Timestamp>,
    /// When the record that it replaced would have died.
    pub previous_expires: Option<Timestamp>,
}

/// What an event is of the one change that etcd's v2 API tells at its revision.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub enum Part {
    /// The change of the node that the key is.
    #[default]
    Own,
    /// Told to nobody: the marker of a directory made on the way to a node in it, or a refresh.
    Silent,
    /// A file that made way for the directory of the same path, whose own event is at the same revision.
    Replaced,
    /// The key went with a directory: as its marker, or because it was below.
    Gone(Gone),
}

/// A directory that went with all that was in it. Each event of the revision says all of it, so that whoever sees any one
/// of them, live or from history, can tell of the directory.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Gone {
    /// The bytes of the event's key that are the directory's marker.
    pub length: u32,
    /// Whether this is the first of the events in order of key.
    pub first: bool,
    /// The create revision of the marker or, where there was none, of the first key below.
    pub created: Revision,
    /// When the directory would have died.
    pub expires: Option<Timestamp>,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Event {
    pub revision: Revision,
    pub kind: EventKind,
    pub key: Key,
    /// The record that the change made; `None` for a deletion.
    pub record: Option<Record>,
    /// The whole record that the change replaced or removed.
    pub previous: Option<Record>,
    /// The revision of the key's event before this one, 0 if there is none: the chain that reads of the past follow.
    pub previous_revision: Revision,
    /// When, by the state machine's clock.
    pub time: Timestamp,
    /// Who, when users are in force.
    pub author: Option<Arc<str>>,
    pub operation: Operation,
    pub action: Action,
    pub view: NodeView,
}

/// The events of one or more whole revisions, in order of revision and, within one, of key.
///
/// A block is cut only between revisions. It is immutable and shared: by the store's cache of recent blocks
/// and by every watcher that has not yet written it out.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// Never empty.
    pub events: Vec<Event>,
}

impl Block {
    /// The revision of the first event; 0 for a block without any.
    #[must_use]
    pub fn first(&self) -> Revision {
        self.events.first().map_or(Revision::ZERO, |event| event.revision)
    }

    /// The revision of the last event; 0 for a block without any.
    #[must_use]
    pub fn last(&self) -> Revision {
        self.events.last().map_or(Revision::ZERO, |event| event.revision)
    }
}
