//! Directories and deletions: what a key that ends in `/` stands for, and everything that takes keys away.

use super::work::{Stop, Work, delete_action, lost, put_action};
use crate::model::{
    Action, Condition, CreateDirectory, Delete, DeleteTarget, EventKind, Gone, Key, KeyRange, KeyValue, LeaseId,
    NodePath, Operation, Outcome, Part, RangeQuery, Refusal, Term, limits,
};
use crate::mvcc::{Cause, Write};
use crate::storage::Snapshot;

/// The bytes of records read at a time to find out how much a deletion would take.
const PAGE_BYTES: usize = 1024 * 1024;

/// What a deletion took away.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pub(super) count: u64,
    /// In order of key; empty unless asked for.
    pub(super) items: Vec<KeyValue>,
}

impl<S: Snapshot> Work<'_, S> {
    pub(super) fn create_directory(&mut self, create: CreateDirectory, condition: &Condition) -> Result<Outcome, Stop> {
        let CreateDirectory { key, attach } = create;
        self.check_directory(&key, condition)?;
        self.check_attach(attach)?;
        let existed = self.overlay.is_directory(key.as_bytes())?;
        let marker = self.load(&key)?.cloned();
        let present = marker.as_ref().and_then(|record| record.lease);
        let lease = self.attach(attach, present);
        if let Some(record) = marker.as_ref().filter(|record| record.lease == lease) {
            let now = KeyValue { key, record: record.clone() };
            return Ok(Outcome::Written { now, created: false, previous: None, changed: false });
        }
        let (value, content_type) = marker.map(|record| (record.value, record.content_type)).unwrap_or_default();
        let cause = self.cause(Operation::CreateDirectory, put_action(condition));
        let written = self.put(key, Write { value, content_type, lease, anew: false }, &cause)?;
        Ok(Outcome::Written { now: written.now, created: !existed, previous: None, changed: true })
    }

    pub(super) fn delete_keys(&mut self, delete: &Delete, condition: &Condition) -> Result<Outcome, Stop> {
        let present = match &delete.target {
            DeleteTarget::Key(key) => {
                self.check(key, condition)?;
                self.load(key)?.is_some()
            }
            DeleteTarget::Directory { key, .. } => {
                self.check_directory(key, condition)?;
                self.overlay.is_directory(key.as_bytes())?
            }
            DeleteTarget::Range(range) => {
                self.check_range(range, condition)?;
                true
            }
        };
        if !present {
            return Err(Refusal::KeyNotFound.into());
        }
        self.check_deletable(&delete.target)?;
        let cause = self.cause(Operation::Delete, delete_action(condition));
        let Removed { count, items } = self.remove_target(delete, &cause)?;
        Ok(Outcome::Deleted { deleted: count, previous: items })
    }

    /// Of a range, a condition can only ask whether anything is there.
    fn check_range(&mut self, range: &KeyRange, condition: &Condition) -> Result<(), Stop> {
        if condition.is_empty() {
            return Ok(());
        }
        let first = RangeQuery { limit: Some(1), keys_only: true, ..RangeQuery::all(range.clone()) };
        let exists = !self.overlay.range(&first)?.items.is_empty();
        let holds = super::work::holds(condition, None, exists);
        if holds { Ok(()) } else { Err(Refusal::PreconditionFailed { current: None }.into()) }
    }

    /// Refuses a directory with keys below it, unless everything is to go, and more than goes at once.
    pub(super) fn check_deletable(&self, target: &DeleteTarget) -> Result<(), Stop> {
        match target {
            DeleteTarget::Directory { key, recursive: false } if self.overlay.exists_below(key.as_bytes())? => {
                Err(Refusal::DirectoryNotEmpty.into())
            }
            DeleteTarget::Key(_) | DeleteTarget::Directory { recursive: false, .. } => Ok(()),
            DeleteTarget::Directory { recursive: true, .. } | DeleteTarget::Range(_) => {
                self.check_size(target_range(target))
            }
        }
    }

    pub(super) fn check_size(&self, range: KeyRange) -> Result<(), Stop> {
        let (mut keys, mut bytes) = (0, 0);
        let mut rest = Some(range);
        while let Some(range) = rest {
            let page = self.overlay.page(&RangeQuery::all(range), PAGE_BYTES)?;
            keys += page.items.len() as u64;
            bytes +=
                page.items.iter().map(|item| (item.key.as_bytes().len() + item.record.value.len()) as u64).sum::<u64>();
            rest = page.rest;
        }
        let too_large = keys > limits::MAX_DELETE_KEYS || bytes > limits::MAX_DELETE_BYTES;
        if too_large { Err(Refusal::TooLarge { keys, bytes }.into()) } else { Ok(()) }
    }

    /// Deletes whatever is there of a target.
    pub(super) fn remove_target(&mut self, delete: &Delete, cause: &Cause) -> Result<Removed, Stop> {
        let mut removed = Removed::default();
        if let DeleteTarget::Directory { key, recursive: true } = &delete.target {
            self.remove_directory(key, EventKind::Delete, cause, delete.previous, &mut removed)?;
            return Ok(removed);
        }
        let target = target_range(&delete.target);
        match target.as_single().cloned().and_then(Key::new) {
            Some(key) => self.remove(key, EventKind::Delete, cause, delete.previous, &mut removed)?,
            None => self.remove_range(target, EventKind::Delete, cause, delete.previous, &mut removed)?,
        }
        Ok(removed)
    }

    /// Deletes a directory with all that is in it: one change, as etcd's v2 API tells it, of the directory. `directory` is its
    /// marker key.
    pub(super) fn remove_directory(
        &mut self,
        directory: &Key,
        kind: EventKind,
        cause: &Cause,
        keep: bool,
        removed: &mut Removed,
    ) -> Result<(), Stop> {
        let range = KeyRange::prefix(directory.bytes().clone());
        if NodePath::of_key(directory).is_none_or(|(path, _)| path.is_root()) {
            return self.remove_range(range, kind, cause, keep, removed);
        }
        let items = self.overlay.range(&RangeQuery { keys_only: true, ..RangeQuery::all(range) })?.items;
        let Some(head) = items.first() else { return Ok(()) };
        let expires = if head.key == *directory { self.expires(&head.record) } else { None };
        let length = u32::try_from(directory.as_bytes().len()).unwrap_or(u32::MAX);
        let mut gone = Gone { length, first: true, created: head.record.create_revision, expires };
        for item in items {
            let event = self.delete_as(&item.key, kind, cause, Part::Gone(gone.clone()))?;
            gone.first = false;
            let Some(event) = event else { continue };
            removed.count += 1;
            if keep {
                let record = event.previous.clone().ok_or_else(|| lost("a record just deleted"))?;
                removed.items.push(KeyValue { key: item.key, record });
            }
        }
        Ok(())
    }

    fn remove_range(
        &mut self,
        range: KeyRange,
        kind: EventKind,
        cause: &Cause,
        keep: bool,
        removed: &mut Removed,
    ) -> Result<(), Stop> {
        let keys = self.overlay.range(&RangeQuery { keys_only: true, ..RangeQuery::all(range) })?;
        for item in keys.items {
            self.remove(item.key, kind, cause, keep, removed)?;
        }
        Ok(())
    }

    fn remove(
        &mut self,
        key: Key,
        kind: EventKind,
        cause: &Cause,
        keep: bool,
        removed: &mut Removed,
    ) -> Result<(), Stop> {
        if let Some(record) = self.delete(&key, kind, cause)? {
            removed.count += 1;
            if keep {
                removed.items.push(KeyValue { key, record });
            }
        }
        Ok(())
    }

    /// Deletes a lease and its keys.
    pub(super) fn revoke_lease(&mut self, id: LeaseId) -> Result<Outcome, Stop> {
        let cause = self.cause(Operation::Revoke, Action::Delete);
        self.end_lease(id, EventKind::Delete, &cause)
    }

    /// Deletes a lease that ran out, unless it was renewed or the leader that saw it was replaced.
    pub(super) fn expire_lease(&mut self, id: LeaseId, term: Term, renewals: u64) -> Result<Outcome, Stop> {
        let lease = self.leases.get(id).ok_or(Refusal::LeaseNotFound(id))?;
        if term != self.term || lease.renewals != renewals {
            return Err(Refusal::Stale.into());
        }
        let cause = self.cause(Operation::Expire, Action::Expire);
        self.end_lease(id, EventKind::Expire, &cause)
    }

    /// A directory marker that dies with a lease of its own takes everything below with it, as in etcd v2.
    fn end_lease(&mut self, id: LeaseId, kind: EventKind, cause: &Cause) -> Result<Outcome, Stop> {
        let own = self.leases.get(id).ok_or(Refusal::LeaseNotFound(id))?.own;
        let mut removed = Removed::default();
        for key in self.leases.keys(&self.snapshot, id)?.into_iter().filter_map(Key::new) {
            if own && key.is_directory() {
                self.remove_directory(&key, kind, cause, false, &mut removed)?;
            } else {
                self.remove(key, kind, cause, false, &mut removed)?;
            }
        }
        self.leases.remove(id);
        Ok(Outcome::Revoked { deleted: removed.count })
    }
}

/// The keys that a deletion is about.
pub(super) fn target_range(target: &DeleteTarget) -> KeyRange {
    match target {
        DeleteTarget::Key(key) | DeleteTarget::Directory { key, recursive: false } => KeyRange::single(key),
        DeleteTarget::Directory { key, recursive: true } => KeyRange::prefix(key.bytes().clone()),
        DeleteTarget::Range(range) => range.clone(),
    }
}
