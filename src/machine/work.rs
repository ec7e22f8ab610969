//! One apply batch at work: the key space, the leases and the kept answers as the batch has changed them so far, and the
//! few primitives by which every command changes them.
//!
//! A command first finds out whether it will be carried out, then changes things: what it refuses has changed nothing.

use std::sync::Arc;

use super::Fault;
use super::auth::Accounts;
use super::idempotency::Kept;
use super::lease::Leases;
use super::member::Changing;
use crate::model::{
    Action, Attach, Condition, Event, EventKind, Key, KeyValue, LeaseId, NodeRefusal, NodeView, Operation, Part,
    Record, Refusal, Term, Timestamp,
};
use crate::mvcc::{Cause, Overlay, ReadError, Write};
use crate::storage::{Snapshot, StorageError};

/// Why a command stops: refused alike everywhere, or a fault of this member.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Refusal),
    Fault(Fault),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NodeRefusal> for Stop {
    fn from(refusal: NodeRefusal) -> Self {
        Self::Refused(Refusal::Node(refusal))
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Compacted { asked, compacted } => Self::Refused(Refusal::Compacted { asked, compacted }),
            ReadError::Future { asked, current } => Self::Refused(Refusal::FutureRevision { asked, current }),
            ReadError::TooManySteps { asked } => Self::Refused(Refusal::TooManySteps { asked }),
            ReadError::Storage(error) => error.into(),
        }
    }
}

/// The state that a batch works on, and who and when it is for the command at hand.
pub(super) struct Work<'a, S: Snapshot> {
    pub(super) snapshot: S,
    pub(super) overlay: Overlay<S>,
    pub(super) leases: &'a mut Leases,
    pub(super) kept: &'a mut Kept,
    pub(super) members: Changing<'a>,
    pub(super) accounts: &'a mut Accounts,
    pub(super) now: Timestamp,
    /// The term of the entry that carries the command.
    pub(super) term: Term,
    pub(super) author: Option<Arc<str>>,
}

/// What a write did to its key.
pub(super) struct Written {
    pub(super) now: KeyValue,
    pub(super) previous: Option<Record>,
}

impl<S: Snapshot> Work<'_, S> {
    pub(super) fn cause(&self, operation: Operation, action: Action) -> Cause {
        Cause { time: self.now, author: self.author.clone(), operation, action }
    }

    /// The record at a key, at hand for the write that may follow.
    pub(super) fn load(&mut self, key: &Key) -> Result<Option<&Record>, Stop> {
        Ok(self.overlay.load(key)?)
    }

    /// Sets a key, and moves it from lease to lease.
    pub(super) fn put(&mut self, key: Key, write: Write, cause: &Cause) -> Result<Written, Stop> {
        let event = self.put_as(key, write, cause, Part::Own)?;
        let record = event.record.clone().ok_or_else(|| lost("a record just written"))?;
        Ok(Written { now: KeyValue { key: event.key.clone(), record }, previous: event.previous.clone() })
    }

    /// As [`Work::put`], of an event that is this part of what etcd's v2 API tells.
    pub(super) fn put_as(&mut self, key: Key, write: Write, cause: &Cause, part: Part) -> Result<&Event, Stop> {
        let to = write.lease;
        let event = self.overlay.put(key, write, cause)?;
        event.view = view(event, part, self.leases);
        let from = event.previous.as_ref().and_then(|record| record.lease);
        self.leases.moved(&event.key, from, to);
        Ok(event)
    }

    /// Deletes a key, if it is there, and takes it off its lease.
    pub(super) fn delete(&mut self, key: &Key, kind: EventKind, cause: &Cause) -> Result<Option<Record>, Stop> {
        let Some(event) = self.delete_as(key, kind, cause, Part::Own)? else { return Ok(None) };
        event.previous.clone().map(Some).ok_or_else(|| lost("a record just deleted"))
    }

    /// As [`Work::delete`], of an event that is this part of what etcd's v2 API tells.
    pub(super) fn delete_as(
        &mut self,
        key: &Key,
        kind: EventKind,
        cause: &Cause,
        part: Part,
    ) -> Result<Option<&Event>, Stop> {
        let Some(event) = self.overlay.delete(key, kind, cause)? else { return Ok(None) };
        event.view = view(event, part, self.leases);
        let from = event.previous.as_ref().and_then(|record| record.lease);
        self.leases.moved(key, from, None);
        Ok(Some(event))
    }

    /// When a record dies, by the clock; `None` when it does not.
    pub(super) fn expires(&self, record: &Record) -> Option<Timestamp> {
        record.lease.and_then(|id| self.leases.get(id)).map(|lease| lease.expires)
    }

    /// Refuses a lease that is not there, and a lease of the key's own whose id is taken.
    pub(super) fn check_attach(&self, attach: Attach) -> Result<(), Refusal> {
        match attach {
            Attach::Lease(id) if self.leases.get(id).is_none() => Err(Refusal::LeaseNotFound(id)),
            Attach::Own { id, .. } if self.leases.get(id).is_some() => Err(Refusal::LeaseExists(id)),
            Attach::Detach | Attach::Keep | Attach::KeepPresent | Attach::Lease(_) | Attach::Own { .. } => Ok(()),
        }
    }

    /// The lease that a key has after a write; makes one of its own where that is asked for. Checked before.
    pub(super) fn attach(&mut self, attach: Attach, present: Option<LeaseId>) -> Option<LeaseId> {
        match attach {
            Attach::Detach => None,
            Attach::Keep | Attach::KeepPresent => present,
            Attach::Lease(id) => Some(id),
            Attach::Own { id, ttl } => Some(self.leases.grant(id, ttl, true, self.now).id),
        }
    }

    /// Checks a condition on a key as it is.
    pub(super) fn check(&mut self, key: &Key, condition: &Condition) -> Result<(), Stop> {
        if condition.is_empty() {
            return Ok(());
        }
        let record = self.load(key)?;
        if holds(condition, record, record.is_some()) { Ok(()) } else { Err(failed(key, record).into()) }
    }

    /// Checks a condition on a directory, which exists by its marker or by what is below it.
    pub(super) fn check_directory(&mut self, key: &Key, condition: &Condition) -> Result<(), Stop> {
        if condition.is_empty() {
            return Ok(());
        }
        let exists = condition.exists.is_some() && self.overlay.is_directory(key.as_bytes())?;
        let record = self.load(key)?;
        if holds(condition, record, exists) { Ok(()) } else { Err(failed(key, record).into()) }
    }
}

/// How etcd's v2 API shows an event. Before anything is moved between leases, all those that its records name are there.
fn view(event: &Event, part: Part, leases: &Leases) -> NodeView {
    let expires = |record: &Option<Record>| Some(leases.get(record.as_ref()?.lease?)?.expires);
    NodeView { part, expires: expires(&event.record), previous_expires: expires(&event.previous) }
}

/// Whether a record satisfies a condition.
pub(super) fn holds(condition: &Condition, record: Option<&Record>, exists: bool) -> bool {
    let Condition { exists: wanted, revisions, value } = condition;
    wanted.is_none_or(|wanted| wanted == exists)
        && (revisions.is_empty() || record.is_some_and(|record| revisions.contains(&record.mod_revision)))
        && value.as_ref().is_none_or(|value| record.is_some_and(|record| record.value == *value))
}

fn failed(key: &Key, record: Option<&Record>) -> Refusal {
    Refusal::PreconditionFailed { current: record.map(|record| KeyValue { key: key.clone(), record: record.clone() }) }
}

pub(super) fn lost(what: &str) -> Stop {
    StorageError::Corrupt { what: format!("{what} is lost") }.into()
}

/// What etcd's v2 API calls a write under a condition.
pub(super) fn put_action(condition: &Condition) -> Action {
    let Condition { exists, revisions, value } = condition;
    match exists {
        _ if !revisions.is_empty() || value.is_some() => Action::CompareAndSwap,
        Some(false) => Action::Create,
        Some(true) => Action::Update,
        None => Action::Set,
    }
}

/// What etcd's v2 API calls a write that changes what is there, or makes it.
pub(super) fn change_action(condition: &Condition, created: bool) -> Action {
    let Condition { exists: _, revisions, value } = condition;
    match created {
        false if !revisions.is_empty() || value.is_some() => Action::CompareAndSwap,
        false => Action::Update,
        true => Action::Create,
    }
}

/// What etcd's v2 API calls a deletion under a condition.
pub(super) fn delete_action(condition: &Condition) -> Action {
    if condition.revisions.is_empty() && condition.value.is_none() { Action::Delete } else { Action::CompareAndDelete }
}
