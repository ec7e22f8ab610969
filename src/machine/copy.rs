//! Copying and moving: what is at a key, or everything in a directory, under another name, as one command at one revision.
//!
//! Key by key: what is written is what a put would write, so a key that was not there begins a new life. What is copied has no lease; what
//! is moved keeps the one it has. A directory that is there already is no reason to refuse: where its marker is like the one that would
//! be written, it stays as it is.
//!
//! [`plan`] finds out what that means without changing anything, over a view as well (a dry run).

use std::cmp::Ordering;

use super::plan::{Pages, PlanError, Stream};
use super::tree::Removed;
use super::work::{Stop, Work};
use crate::model::{Action, CopyKeys, EventKind, Key, KeyRange, Operation, Outcome, Record, Refusal, limits};
use crate::mvcc::{ReadError, Write};
use crate::storage::Snapshot;

/// What a copy writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
/// [`limits::MAX_COPY_KEYS`] or [`limits::MAX_COPY_BYTES`].
pub fn plan<P: Pages>(pages: &P, copy: &CopyKeys) -> Result<CopyPlan, PlanError> {
    let overlap = |one: &Key, other: &Key| {
        if copy.directory { one.as_bytes().starts_with(other.as_bytes()) } else { one == other }
    };
    if overlap(&copy.from, &copy.to) || overlap(&copy.to, &copy.from) {
        return Err(Refusal::CopyWithin.into());
    }
    let mut plan = CopyPlan::default();
    let mut from = Stream::new(pages, copy.range(&copy.from), None);
    let mut there = Stream::new(pages, copy.range(&copy.to), None);
    if from.peek()?.is_none() {
        return Err(Refusal::KeyNotFound.into());
    }
    while let Some(item) = from.next()? {
        let to = copy.name(&item.key)?;
        let present = present(&mut there, &to)?;
        let is_same = |present: &Record| {
            (&present.value, &present.content_type) == (&item.record.value, &item.record.content_type)
        };
        let stays = copy.directory && to == copy.to && present.as_ref().is_some_and(is_same);
        if !stays {
            plan.add(Copied { to, record: item.record, overwrites: present.is_some() });
        }
    }
    let CopyPlan { keys, bytes, .. } = plan;
    if keys > limits::MAX_COPY_KEYS || bytes > limits::MAX_COPY_BYTES {
        return Err(Refusal::TooLarge { keys, bytes }.into());
    }
    Ok(plan)
}

/// The record at a key, in a stream from which those before it are dropped.
fn present<P: Pages>(there: &mut Stream<'_, P>, key: &Key) -> Result<Option<Record>, ReadError> {
    while let Some(item) = there.peek()? {
        match item.key.cmp(key) {
            Ordering::Less => there.next()?,
            Ordering::Equal => return Ok(there.next()?.map(|item| item.record)),
            Ordering::Greater => break,
        };
    }
    Ok(None)
}

impl CopyKeys {
    fn range(&self, key: &Key) -> KeyRange {
        if self.directory { KeyRange::prefix(key.bytes().clone()) } else { KeyRange::single(key) }
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
    /// Beyond the bounds only the counts grow.
    fn add(&mut self, copied: Copied) {
        self.keys += 1;
        self.bytes += (copied.to.as_bytes().len() + copied.record.value.len()) as u64;
        if self.keys <= limits::MAX_COPY_KEYS && self.bytes <= limits::MAX_COPY_BYTES {
            self.writes.push(copied);
        }
    }

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
            // After the writes: a lease of a key's own is not without a key in between.
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
