//! Copying and moving: what is at a key, or everything in a directory, under another name, as one command at one revision.
//!
//! Key by key: what is written is what a put would write, so a key that was not there begins a new life. What is copied has no lease; what
//! is moved keeps the one it has. A directory that is there already is no reason to refuse: where nothing is lost by it, its marker stays as
//! it is.
//!
//! [`plan`] finds out what that means without changing anything, over a view as well (a dry run).

use super::plan::{Changes, Pages, PlanError, Stream};
use super::tree::Removed;
use super::work::{Stop, Work};
use crate::model::{
    Action, CopyKeys, EventKind, Key, KeyRange, KeyValue, Operation, Outcome, RangeQuery, Record, Refusal, limits,
};
use crate::mvcc::{ReadError, Write};
use crate::storage::Snapshot;

/// What a copy writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPlan {
    /// In order of key.
    pub writes: Vec<Copied>,
    pub keys: u64,
    /// The bytes of keys and values to be written.
    pub bytes: u64,
}

/// One key that a copy writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub to: Key,
    /// What is copied.
    pub record: Record,
    /// Whether something is there that it takes the place of.
    pub overwrites: bool,
}

/// What a copy would write, whether or not it may overwrite.
///
/// # Errors
/// When there is nothing to copy, one of the two names lies within the other, a name would be too long, or the copy is beyond
/// [`limits::MAX_COPY_KEYS`] or [`limits::MAX_COPY_BYTES`], or replaces more than [`limits::MAX_DELETE_BYTES`].
pub fn plan<P: Pages>(pages: &P, copy: &CopyKeys) -> Result<CopyPlan, PlanError> {
    let overlap = |one: &Key, other: &Key| {
        if copy.directory { one.as_bytes().starts_with(other.as_bytes()) } else { one == other }
    };
    if overlap(&copy.from, &copy.to) || overlap(&copy.to, &copy.from) {
        return Err(Refusal::CopyWithin.into());
    }
    let mut changes = Changes::new(limits::MAX_COPY_KEYS, limits::MAX_COPY_BYTES);
    let mut from = Stream::new(pages, copy.range(&copy.from), None);
    if from.peek()?.is_none() {
        return Err(Refusal::KeyNotFound.into());
    }
    while let Some(KeyValue { key, record }) = from.next()? {
        let to = copy.name(&key)?;
        // What is there is looked up one by one: there may be any number of others beside it.
        let present = if changes.fits() { present(pages, &to)? } else { None };
        if !(copy.directory && to == copy.to && present.as_ref().is_some_and(|present| copy.leaves(present, &record))) {
            let bytes = to.as_bytes().len() + record.value.len();
            changes.add(Copied { to, record, overwrites: present.is_some() }, bytes, present.as_ref());
        }
    }
    let (writes, keys, bytes) = changes.finish()?;
    Ok(CopyPlan { writes, keys, bytes })
}

/// The record at a key.
fn present<P: Pages>(pages: &P, key: &Key) -> Result<Option<Record>, ReadError> {
    let page = pages.page(&RangeQuery::all(KeyRange::single(key)), usize::MAX)?;
    Ok(page.items.into_iter().next().map(|item| item.record))
}

impl CopyKeys {
    fn range(&self, key: &Key) -> KeyRange {
        if self.directory { KeyRange::prefix(key.bytes().clone()) } else { KeyRange::single(key) }
    }

    /// Whether nothing would be lost if a marker that is there stayed, in place of one that would be written.
    fn leaves(&self, present: &Record, marker: &Record) -> bool {
        let lease = marker.lease.filter(|_| self.remove);
        (&present.value, &present.content_type) == (&marker.value, &marker.content_type)
            && (lease.is_none() || present.lease == lease)
    }

    /// The name of what is at `key` once it is copied.
    fn name(&self, key: &Key) -> Result<Key, Refusal> {
        let below = key.as_bytes().strip_prefix(self.from.as_bytes()).unwrap_or_default();
        let length = self.to.as_bytes().len() + below.len();
        if length > limits::MAX_KEY_BYTES {
            return Err(Refusal::NameTooLong { key: key.clone(), length: length as u64 });
        }
        Key::new([self.to.as_bytes(), below].concat()).ok_or(Refusal::KeyNotFound)
    }
}

impl CopyPlan {
    /// The keys that are there and would be replaced, in order.
    pub fn overwritten(&self) -> impl Iterator<Item = &Key> + Clone {
        self.writes.iter().filter(|copied| copied.overwrites).map(|copied| &copied.to)
    }
}

impl<S: Snapshot> Work<'_, S> {
    pub(super) fn copy(&mut self, copy: &CopyKeys) -> Result<Outcome, Stop> {
        let plan = plan(&self.overlay, copy)?;
        let overwritten = plan.overwritten().count() as u64;
        if let Some(key) = plan.overwritten().next().filter(|_| !copy.overwrite) {
            return Err(Refusal::KeysExist { key: key.clone(), keys: overwritten }.into());
        }
        let operation = if copy.remove { Operation::Move } else { Operation::Copy };
        for Copied { to, record, overwrites } in plan.writes {
            let action = if overwrites { Action::Update } else { Action::Create };
            let cause = self.cause(operation, action);
            let lease = record.lease.filter(|_| copy.remove);
            let Record { value, content_type, .. } = record;
            self.put(to, Write { value, content_type, lease, anew: false }, &cause)?;
        }
        if copy.remove {
            let cause = self.cause(operation, Action::Delete);
            if copy.directory {
                self.remove_directory(&copy.from, EventKind::Delete, &cause, false, &mut Removed::default())?;
            } else {
                self.delete(&copy.from, EventKind::Delete, &cause)?;
            }
        }
        Ok(Outcome::Copied { keys: plan.keys, overwritten })
    }
}
