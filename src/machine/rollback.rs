//! Rollback: gives the keys of a range the values they had at an earlier revision, as one command at one revision.
//!
//! The rules, key by key, with `then` the state at that revision:
//!
//! - there then and now, with the same value and content type: left alone;
//! - there then and now, changed since: put back; create revision and version go on, the lease stays as it is;
//! - there then, gone now: put back as a new life (create revision, version 1), without a lease;
//! - not there then, there now: deleted.
//!
//! [`plan`] finds out what that means without changing anything, over a view as well (a dry run).

use std::cmp::Ordering;

use super::plan::{Changes, Pages, PlanError, Stream};
use super::work::{Stop, Work};
use crate::model::{Action, ContentType, EventKind, Key, KeyValue, Operation, Outcome, Rollback, limits};
use crate::mvcc::Write;
use crate::storage::Snapshot;

/// What a rollback changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackPlan {
    /// In order of key.
    pub changes: Vec<Restored>,
    pub keys: u64,
    /// The bytes of keys and values to be written.
    pub bytes: u64,
}

/// One key that a rollback changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    Put { key: Key, value: bytes::Bytes, content_type: Option<ContentType>, created: bool },
    Delete { key: Key },
}

/// What a rollback would change.
///
/// # Errors
/// When the revision cannot be read, or the rollback is beyond [`limits::MAX_ROLLBACK_KEYS`] or
/// [`limits::MAX_ROLLBACK_BYTES`], or takes away more than [`limits::MAX_DELETE_BYTES`].
pub fn plan<P: Pages>(pages: &P, rollback: &Rollback) -> Result<RollbackPlan, PlanError> {
    let mut changes = Changes::new(limits::MAX_ROLLBACK_KEYS, limits::MAX_ROLLBACK_BYTES);
    let mut then = Stream::new(pages, rollback.range.clone(), Some(rollback.to));
    let mut now = Stream::new(pages, rollback.range.clone(), None);
    loop {
        let order = match (then.peek()?, now.peek()?) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(then), Some(now)) => then.key.cmp(&now.key),
        };
        let old = if order.is_le() { then.next()? } else { None };
        let new = if order.is_ge() { now.next()? } else { None };
        if let Some(change) = difference(old, new.as_ref()) {
            let bytes = match &change {
                Restored::Put { key, value, .. } => key.as_bytes().len() + value.len(),
                Restored::Delete { .. } => 0,
            };
            changes.add(change, bytes, new.as_ref().map(|now| &now.record));
        }
    }
    let (changes, keys, bytes) = changes.finish()?;
    Ok(RollbackPlan { changes, keys, bytes })
}

/// What one key needs to be as it was.
fn difference(then: Option<KeyValue>, now: Option<&KeyValue>) -> Option<Restored> {
    match (then, now) {
        (Some(then), Some(now))
            if then.record.value == now.record.value && then.record.content_type == now.record.content_type =>
        {
            None
        }
        (Some(KeyValue { key, record }), now) => {
            let created = now.is_none();
            Some(Restored::Put { key, value: record.value, content_type: record.content_type, created })
        }
        (None, Some(now)) => Some(Restored::Delete { key: now.key.clone() }),
        (None, None) => None,
    }
}

impl<S: Snapshot> Work<'_, S> {
    pub(super) fn rollback(&mut self, rollback: &Rollback) -> Result<Outcome, Stop> {
        let plan = plan(&self.overlay, rollback)?;
        let (mut restored, mut deleted) = (0, 0);
        for change in plan.changes {
            match change {
                Restored::Put { key, value, content_type, created } => {
                    let lease = self.load(&key)?.and_then(|record| record.lease);
                    let action = if created { Action::Create } else { Action::Update };
                    let cause = self.cause(Operation::Rollback, action);
                    self.put(key, Write { value, content_type, lease, anew: false }, &cause)?;
                    restored += 1;
                }
                Restored::Delete { key } => {
                    let cause = self.cause(Operation::Rollback, Action::Delete);
                    self.delete(&key, EventKind::Delete, &cause)?;
                    deleted += 1;
                }
            }
        }
        Ok(Outcome::RolledBack { restored, deleted })
    }
}
