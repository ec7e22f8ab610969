//! Commands on one key: put, patch, increment, append, refresh.
//!
//! Each checks its condition, then the leases it names, then what it needs of the value, and only then writes.

use bytes::Bytes;

use super::patch;
use super::work::{Stop, Work, change_action, put_action};
use crate::model::{
    Action, Append, Condition, Increment, Key, Operation, Outcome, Patch, PatchKind, Put, Record, Refresh, Refusal,
};
use crate::mvcc::Write;
use crate::storage::Snapshot;

/// The content type of a value that a patch has made.
const JSON: &str = "application/json";

impl<S: Snapshot> Work<'_, S> {
    pub(super) fn put_key(&mut self, put: Put, condition: &Condition) -> Result<Outcome, Stop> {
        self.check(&put.key, condition)?;
        self.check_attach(put.attach)?;
        let keeps = put.keeps();
        let Put { key, value, content_type, attach, previous } = put;
        let present = self.load(&key)?;
        if keeps && present.is_none() {
            return Err(Refusal::KeyNotFound.into());
        }
        let lease = present.and_then(|record| record.lease);
        let (value, content_type) = match (value, present) {
            (Some(value), _) => (value, content_type),
            (None, Some(record)) => (record.value.clone(), record.content_type.clone()),
            (None, None) => return Err(Refusal::KeyNotFound.into()),
        };
        let lease = self.attach(attach, lease);
        let cause = self.cause(Operation::Put, put_action(condition));
        let written = self.put(key, Write { value, content_type, lease, anew: false }, &cause)?;
        let created = written.previous.is_none();
        let previous = written.previous.filter(|_| previous);
        Ok(Outcome::Written { now: written.now, created, previous, changed: true })
    }

    pub(super) fn patch_key(&mut self, patch: Patch, condition: &Condition) -> Result<Outcome, Stop> {
        self.check(&patch.key, condition)?;
        let Patch { key, kind, document, previous } = patch;
        let present = self.load(&key)?;
        let value = patch::apply(kind, present.map(|record| &*record.value), &document)?;
        let created = present.is_none();
        let write = match present {
            Some(record) => rewritten(record, value),
            None => Write { value, content_type: Some(JSON.into()), lease: None, anew: false },
        };
        debug_assert!(!created || kind == PatchKind::Merge, "a JSON Patch never creates");
        let cause = self.cause(Operation::Patch, change_action(condition, created));
        let written = self.put(key, write, &cause)?;
        let previous = written.previous.filter(|_| previous);
        Ok(Outcome::Written { now: written.now, created, previous, changed: true })
    }

    pub(super) fn increment(&mut self, increment: Increment) -> Result<Outcome, Stop> {
        let Increment { key, by, condition } = increment;
        self.check(&key, &condition)?;
        let present = self.load(&key)?;
        let number = present.map_or(Ok(0), |record| read_number(&record.value))?;
        let number = number.checked_add(by).ok_or(Refusal::NumberOverflow)?;
        let created = present.is_none();
        let value = Bytes::from(number.to_string());
        let write = match present {
            Some(record) => rewritten(record, value),
            None => Write { value, content_type: None, lease: None, anew: false },
        };
        let cause = self.cause(Operation::Increment, change_action(&condition, created));
        let written = self.put(key, write, &cause)?;
        Ok(Outcome::Number { number, now: written.now, created })
    }

    pub(super) fn append(&mut self, append: Append) -> Result<Outcome, Stop> {
        let Append { directory, value, content_type, attach } = append;
        self.check_attach(attach)?;
        let mut name = directory.as_bytes().to_vec();
        name.extend_from_slice(format!("{:020}", self.overlay.writing().get()).as_bytes());
        let key = Key::new(name).ok_or(Refusal::KeyNotFound)?;
        // Somebody may have put a key of this name by hand: it is not overwritten.
        self.check(&key, &Condition { exists: Some(false), ..Condition::default() })?;
        let lease = self.attach(attach, None);
        let cause = self.cause(Operation::Append, Action::Create);
        let written = self.put(key, Write { value, content_type, lease, anew: false }, &cause)?;
        Ok(Outcome::Written { now: written.now, created: true, previous: None, changed: true })
    }

    pub(super) fn refresh(&mut self, refresh: &Refresh, condition: &Condition) -> Result<Outcome, Stop> {
        self.check(&refresh.key, condition)?;
        let record = self.load(&refresh.key)?.cloned().ok_or(Refusal::KeyNotFound)?;
        let own = record.lease.filter(|id| self.leases.get(*id).is_some_and(|lease| lease.own));
        self.leases.renew(own.ok_or(Refusal::NoOwnLease)?, Some(refresh.ttl), self.now);
        let now = crate::model::KeyValue { key: refresh.key.clone(), record };
        Ok(Outcome::Written { now, created: false, previous: None, changed: false })
    }
}

/// Another value in the place of a record's, with its content type and lease.
fn rewritten(record: &Record, value: Bytes) -> Write {
    Write { value, content_type: record.content_type.clone(), lease: record.lease, anew: false }
}

fn read_number(value: &[u8]) -> Result<i64, Refusal> {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(Refusal::NotANumber)
}
