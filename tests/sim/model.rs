//! The naive model: what every command must come to, written down once more in the plainest way.
//!
//! It keeps all events for ever and finds a past state by replaying them. It knows the commands that the simulated
//! clients use and shares nothing with the state machine but the vocabulary.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use vardr::model::{
    Append, Attach, Command, Compare, CompareTarget, Condition, CopyKeys, CreateDirectory, Delete, DeleteTarget,
    EventKind, Increment, Key, KeyRange, KeyValue, Lease, LeaseId, Op, OpOutcome, Operator, Outcome, Proposal, Put,
    RangeResult, Record, Refresh, Refusal, Reply, Revision, Rollback, Term, Timestamp, Ttl,
};

use crate::users::People;

/// How many revisions lie between two states that are remembered whole.
const WAYPOINT: u64 = 50;

/// One change, as a watcher must see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub revision: Revision,
    pub kind: EventKind,
    pub key: Key,
    pub record: Option<Record>,
    pub previous: Option<Record>,
}

#[derive(Debug, Clone)]
pub struct Model {
    pub revision: Revision,
    pub compacted: Revision,
    pub keys: BTreeMap<Key, Record>,
    pub leases: BTreeMap<LeaseId, Lease>,
    pub people: People,
    pub changes: Vec<Change>,
    /// The keys at some revisions, so that a past state is soon found.
    waypoints: BTreeMap<Revision, BTreeMap<Key, Record>>,
    /// By idempotency key: the hash of the request and its first answer.
    kept: BTreeMap<String, (u64, Reply)>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            revision: Revision::FIRST,
            compacted: Revision::ZERO,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            people: People::default(),
            changes: Vec::new(),
            waypoints: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }
}

/// The changes that one command makes, before they have a revision to stand at.
struct Draft<'a> {
    model: &'a Model,
    revision: Revision,
    keys: BTreeMap<Key, Record>,
    changes: BTreeMap<Key, Change>,
    leases: BTreeMap<LeaseId, Lease>,
}

type Result<T, E = Refusal> = std::result::Result<T, E>;

impl Model {
    /// The state at a revision that need not be the present one.
    pub fn at(&self, revision: Revision) -> BTreeMap<Key, Record> {
        let waypoint = self.waypoints.range(..=revision).next_back();
        let (from, mut keys) = waypoint.map(|(at, keys)| (*at, keys.clone())).unwrap_or_default();
        for change in self.after(from).iter().take_while(|change| change.revision <= revision) {
            match &change.record {
                Some(record) => keys.insert(change.key.clone(), record.clone()),
                None => keys.remove(&change.key),
            };
        }
        keys
    }

    /// The changes after a revision, in the order in which watchers see them.
    pub fn after(&self, revision: Revision) -> &[Change] {
        let from = self.changes.partition_point(|change| change.revision <= revision);
        &self.changes[from..]
    }

    /// Applies one proposal of an entry of `term`.
    pub fn propose(&mut self, term: Term, proposal: &Proposal) -> Reply {
        let Some(idempotency) = &proposal.idempotency else { return self.command(term, &proposal.command) };
        let key = idempotency.key.to_string();
        if let Some((hash, reply)) = self.kept.get(&key) {
            if *hash != idempotency.request_hash {
                return self.reply(Err(Refusal::IdempotencyMismatch));
            }
            return Reply { replayed: true, ..reply.clone() };
        }
        let reply = self.command(term, &proposal.command);
        self.kept.insert(key, (idempotency.request_hash, reply.clone()));
        reply
    }

    fn reply(&self, result: Result<Outcome>) -> Reply {
        Reply { revision: self.revision, result, replayed: false }
    }

    fn command(&mut self, term: Term, command: &Command) -> Reply {
        if let Command::Compact(revision) = command {
            let result = self.compact(*revision);
            return self.reply(result);
        }
        if let Command::ChangeAuth(change) = command {
            let result = self.people.change(change);
            return self.reply(result);
        }
        let mut draft = Draft {
            model: self,
            revision: self.revision.next(),
            keys: self.keys.clone(),
            changes: BTreeMap::new(),
            leases: self.leases.clone(),
        };
        let result = draft.command(term, command);
        if result.is_ok() {
            let Draft { revision, keys, changes, mut leases, .. } = draft;
            if !changes.is_empty() {
                self.revision = revision;
            }
            let used: BTreeSet<LeaseId> = keys.values().filter_map(|record| record.lease).collect();
            leases.retain(|id, lease| !lease.own || used.contains(id));
            self.keys = keys;
            self.changes.extend(changes.into_values());
            self.leases = leases;
            if self.revision.get().is_multiple_of(WAYPOINT) {
                self.waypoints.entry(self.revision).or_insert_with(|| self.keys.clone());
            }
        }
        self.reply(result)
    }

    fn compact(&mut self, revision: Revision) -> Result<Outcome> {
        if revision > self.revision {
            return Err(Refusal::FutureRevision { asked: revision, current: self.revision });
        }
        if revision <= self.compacted {
            return Err(Refusal::Compacted { asked: revision, compacted: self.compacted });
        }
        self.compacted = revision;
        Ok(Outcome::Done)
    }
}

impl Draft<'_> {
    fn command(&mut self, term: Term, command: &Command) -> Result<Outcome> {
        match command {
            Command::Noop => Ok(Outcome::Done),
            Command::Put { put, condition } => {
                self.check(&put.key, condition)?;
                self.put(put)
            }
            Command::Increment(increment) => self.increment(increment),
            Command::Append(append) => self.append(append),
            Command::Delete { delete, condition } => self.delete_on(delete, condition),
            Command::Txn(txn) => {
                let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
                let ops = if succeeded { &txn.then } else { &txn.otherwise };
                let results = ops.iter().map(|op| self.op(op)).collect::<Result<_>>()?;
                Ok(Outcome::Txn { succeeded, results })
            }
            Command::CreateDirectory { create, condition } => self.create_directory(create, condition),
            Command::Refresh { refresh, condition } => {
                self.check(&refresh.key, condition)?;
                self.refresh(refresh)
            }
            Command::Rollback(rollback) => self.roll_back(rollback),
            Command::Copy(copy) => self.copy(copy),
            Command::GrantLease { id, ttl } => self.grant(*id, *ttl, false).map(Outcome::Lease),
            Command::RevokeLease(id) => self.end_lease(*id, EventKind::Delete),
            Command::RenewLeases(ids) => Ok(Outcome::Renewed(ids.iter().map(|id| self.renew(*id)).collect())),
            Command::ExpireLease { id, term: decided, renewals } => {
                let lease = self.leases.get(id).ok_or(Refusal::LeaseNotFound(*id))?;
                if *decided != term || *renewals != lease.renewals {
                    return Err(Refusal::Stale);
                }
                self.end_lease(*id, EventKind::Expire)
            }
            Command::CheckpointLeases { term: decided, checkpoints } => {
                if *decided != term {
                    return Err(Refusal::Stale);
                }
                for checkpoint in checkpoints {
                    if let Some(lease) = self.leases.get_mut(&checkpoint.id)
                        && lease.renewals == checkpoint.renewals
                    {
                        lease.remaining = checkpoint.remaining.min(lease.ttl);
                    }
                }
                Ok(Outcome::Done)
            }
            other => unreachable!("no client uses {other:?}"),
        }
    }

    fn current(&self, key: &Key) -> Option<KeyValue> {
        self.keys.get(key).map(|record| KeyValue { key: key.clone(), record: record.clone() })
    }

    fn check(&self, key: &Key, condition: &Condition) -> Result<()> {
        self.check_known(key, self.keys.contains_key(key), condition)
    }

    /// A directory exists with its marker, or with any key below it.
    fn is_directory(&self, key: &Key) -> bool {
        !self.range(&KeyRange::prefix(key.bytes().clone())).is_empty()
    }

    fn check_known(&self, key: &Key, is_there: bool, condition: &Condition) -> Result<()> {
        let record = self.keys.get(key);
        let exists = condition.exists.is_none_or(|exists| exists == is_there);
        let revisions = condition.revisions.is_empty()
            || record.is_some_and(|record| condition.revisions.contains(&record.mod_revision));
        let value = condition.value.as_ref().is_none_or(|value| record.is_some_and(|record| record.value == *value));
        if exists && revisions && value {
            return Ok(());
        }
        Err(Refusal::PreconditionFailed { current: self.current(key) })
    }

    /// Writes a record, or with `None` deletes it.
    fn write(&mut self, key: &Key, record: Option<Record>, kind: EventKind) {
        let previous = self.model.keys.get(key).cloned();
        match &record {
            Some(record) => self.keys.insert(key.clone(), record.clone()),
            None => self.keys.remove(key),
        };
        let change = Change { revision: self.revision, kind, key: key.clone(), record, previous };
        self.changes.insert(key.clone(), change);
    }

    fn attach(&mut self, attach: Attach, before: Option<LeaseId>) -> Result<Option<LeaseId>> {
        match attach {
            Attach::Detach => Ok(None),
            Attach::Keep | Attach::KeepPresent => Ok(before),
            Attach::Lease(id) if self.leases.contains_key(&id) => Ok(Some(id)),
            Attach::Lease(id) => Err(Refusal::LeaseNotFound(id)),
            Attach::Own { id, ttl } => self.grant(id, ttl, true).map(|lease| Some(lease.id)),
        }
    }

    fn put(&mut self, put: &Put) -> Result<Outcome> {
        let before = self.keys.get(&put.key).cloned();
        if before.is_none() && (put.value.is_none() || put.attach == Attach::KeepPresent) {
            return Err(Refusal::KeyNotFound);
        }
        let lease = self.attach(put.attach, before.as_ref().and_then(|record| record.lease))?;
        let (value, content_type) = match (&put.value, &before) {
            (Some(value), _) => (value.clone(), put.content_type.clone()),
            (None, Some(before)) => (before.value.clone(), before.content_type.clone()),
            (None, None) => return Err(Refusal::KeyNotFound),
        };
        let record = Record {
            value,
            content_type,
            create_revision: before.as_ref().map_or(self.revision, |record| record.create_revision),
            mod_revision: self.revision,
            version: before.as_ref().map_or(1, |record| record.version + 1),
            lease,
        };
        self.write(&put.key, Some(record.clone()), EventKind::Put);
        Ok(Outcome::Written {
            now: KeyValue { key: put.key.clone(), record },
            created: before.is_none(),
            previous: before.filter(|_| put.previous),
            changed: true,
        })
    }

    fn increment(&mut self, increment: &Increment) -> Result<Outcome> {
        self.check(&increment.key, &increment.condition)?;
        let before = self.keys.get(&increment.key).cloned();
        let number: i64 = match &before {
            None => 0,
            Some(record) => {
                std::str::from_utf8(&record.value).ok().and_then(|text| text.parse().ok()).ok_or(Refusal::NotANumber)?
            }
        };
        let number = number.checked_add(increment.by).ok_or(Refusal::NumberOverflow)?;
        let put = Put {
            key: increment.key.clone(),
            value: Some(Bytes::from(number.to_string())),
            content_type: before.and_then(|record| record.content_type),
            attach: Attach::Keep,
            previous: false,
        };
        match self.put(&put)? {
            Outcome::Written { now, created, .. } => Ok(Outcome::Number { number, now, created }),
            other => unreachable!("a put answers {other:?}"),
        }
    }

    fn append(&mut self, append: &Append) -> Result<Outcome> {
        let mut key = append.directory.as_bytes().to_vec();
        key.extend_from_slice(format!("{:020}", self.revision.get()).as_bytes());
        self.put(&Put {
            key: Key::new(key).unwrap(),
            value: Some(append.value.clone()),
            content_type: append.content_type.clone(),
            attach: append.attach,
            previous: false,
        })
    }

    fn delete_on(&mut self, delete: &Delete, condition: &Condition) -> Result<Outcome> {
        match &delete.target {
            DeleteTarget::Key(key) => {
                self.check(key, condition)?;
                self.keys.get(key).ok_or(Refusal::KeyNotFound)?;
            }
            DeleteTarget::Directory { key, recursive } => {
                self.check_known(key, self.is_directory(key), condition)?;
                let below = self.range(&KeyRange::prefix(key.bytes().clone()));
                if below.is_empty() {
                    return Err(Refusal::KeyNotFound);
                }
                if !recursive && below.iter().any(|below| below.key != *key) {
                    return Err(Refusal::DirectoryNotEmpty);
                }
            }
            DeleteTarget::Range(_) => {}
        }
        let (deleted, previous) = self.delete(delete);
        Ok(Outcome::Deleted { deleted, previous })
    }

    fn delete(&mut self, delete: &Delete) -> (u64, Vec<KeyValue>) {
        let range = match &delete.target {
            DeleteTarget::Key(key) => KeyRange::single(key),
            DeleteTarget::Range(range) => range.clone(),
            DeleteTarget::Directory { key, .. } => KeyRange::prefix(key.bytes().clone()),
        };
        let gone = self.range(&range);
        for gone in &gone {
            self.write(&gone.key, None, EventKind::Delete);
        }
        let count = u64::try_from(gone.len()).unwrap();
        (count, if delete.previous { gone } else { Vec::new() })
    }

    fn create_directory(&mut self, create: &CreateDirectory, condition: &Condition) -> Result<Outcome> {
        let CreateDirectory { key, attach } = create;
        let existed = self.is_directory(key);
        self.check_known(key, existed, condition)?;
        let marker = self.keys.get(key).cloned();
        let before = marker.as_ref().and_then(|record| record.lease);
        let lease = self.attach(*attach, before)?;
        if let Some(record) = marker.clone().filter(|record| record.lease == lease) {
            let now = KeyValue { key: key.clone(), record };
            return Ok(Outcome::Written { now, created: false, previous: None, changed: false });
        }
        let (value, content_type) = marker.map(|record| (record.value, record.content_type)).unwrap_or_default();
        let attach = lease.map_or(Attach::Detach, Attach::Lease);
        let put = Put { key: key.clone(), value: Some(value), content_type, attach, previous: false };
        match self.put(&put)? {
            Outcome::Written { now, .. } => {
                Ok(Outcome::Written { now, created: !existed, previous: None, changed: true })
            }
            other => unreachable!("a put answers {other:?}"),
        }
    }

    fn refresh(&mut self, refresh: &Refresh) -> Result<Outcome> {
        let now = self.current(&refresh.key).ok_or(Refusal::KeyNotFound)?;
        let own = now.record.lease.and_then(|id| self.leases.get_mut(&id)).filter(|lease| lease.own);
        let lease = own.ok_or(Refusal::NoOwnLease)?;
        lease.ttl = refresh.ttl;
        let id = lease.id;
        self.renew(id);
        Ok(Outcome::Written { now, created: false, previous: None, changed: false })
    }

    fn roll_back(&mut self, rollback: &Rollback) -> Result<Outcome> {
        let Rollback { range, to } = rollback;
        let Model { revision, compacted, .. } = self.model;
        if to > revision {
            return Err(Refusal::FutureRevision { asked: *to, current: *revision });
        }
        if to < compacted {
            return Err(Refusal::Compacted { asked: *to, compacted: *compacted });
        }
        let mut then = self.model.at(*to);
        then.retain(|key, _| range.contains(key.as_bytes()));
        let (mut restored, mut deleted) = (0, 0);
        for KeyValue { key, .. } in self.range(range) {
            if !then.contains_key(&key) {
                self.write(&key, None, EventKind::Delete);
                deleted += 1;
            }
        }
        for (key, record) in then {
            let same = |now: &Record| (&now.value, &now.content_type) == (&record.value, &record.content_type);
            if self.keys.get(&key).is_some_and(same) {
                continue;
            }
            let Record { value, content_type, .. } = record;
            self.put(&Put { key, value: Some(value), content_type, attach: Attach::Keep, previous: false })?;
            restored += 1;
        }
        Ok(Outcome::RolledBack { restored, deleted })
    }

    fn copy(&mut self, copy: &CopyKeys) -> Result<Outcome> {
        let CopyKeys { from, to, directory, overwrite, remove } = copy;
        let is_in = |key: &Key, name: &Key| {
            if *directory { key.as_bytes().starts_with(name.as_bytes()) } else { key == name }
        };
        if is_in(from, to) || is_in(to, from) {
            return Err(Refusal::CopyWithin);
        }
        let inside = self.keys.iter().filter(|(key, _)| is_in(key, from));
        let sources: Vec<_> = inside.map(|(key, record)| (key.clone(), record.clone())).collect();
        if sources.is_empty() {
            return Err(Refusal::KeyNotFound);
        }
        let mut writes = Vec::new();
        for (key, record) in &sources {
            let name = [to.as_bytes(), &key.as_bytes()[from.as_bytes().len()..]].concat();
            let name = Key::new(name).expect("a name");
            let present = self.keys.get(&name);
            let lease = record.lease.filter(|_| *remove);
            let is_same = |present: &Record| {
                (&present.value, &present.content_type) == (&record.value, &record.content_type)
                    && (lease.is_none() || present.lease == lease)
            };
            if !(*directory && name == *to && present.is_some_and(is_same)) {
                writes.push((name, record.clone(), present.is_some()));
            }
        }
        let there: Vec<_> = writes.iter().filter(|(_, _, is_there)| *is_there).map(|(name, ..)| name.clone()).collect();
        let counts = (u64::try_from(writes.len()).unwrap(), u64::try_from(there.len()).unwrap());
        if let Some(key) = there.first().filter(|_| !overwrite) {
            return Err(Refusal::KeysExist { key: key.clone(), keys: counts.1 });
        }
        for (name, record, _) in writes {
            let lease = record.lease.filter(|_| *remove);
            let attach = lease.map_or(Attach::Detach, Attach::Lease);
            self.put(&Put {
                key: name,
                value: Some(record.value),
                content_type: record.content_type,
                attach,
                previous: false,
            })?;
        }
        if *remove {
            for (key, _) in &sources {
                self.write(key, None, EventKind::Delete);
            }
        }
        Ok(Outcome::Copied { keys: counts.0, overwritten: counts.1 })
    }

    fn range(&self, range: &KeyRange) -> Vec<KeyValue> {
        let inside = self.keys.iter().filter(|(key, _)| range.contains(key.as_bytes()));
        inside.map(|(key, record)| KeyValue { key: key.clone(), record: record.clone() }).collect()
    }

    fn op(&mut self, op: &Op) -> Result<OpOutcome> {
        match op {
            Op::Put(put) if self.changes.contains_key(&put.key) => Err(Refusal::DuplicateKey(put.key.clone())),
            Op::Put(put) => match self.put(put)? {
                Outcome::Written { now, previous, .. } => Ok(OpOutcome::Put { now, previous }),
                other => unreachable!("a put answers {other:?}"),
            },
            Op::Delete(delete) => {
                let (deleted, previous) = self.delete(delete);
                Ok(OpOutcome::Delete { deleted, previous })
            }
            Op::Get(query) => {
                let items = self.range(&query.range);
                let count = u64::try_from(items.len()).unwrap();
                Ok(OpOutcome::Get(RangeResult { items, count, more: false }))
            }
            Op::Txn(_) => unreachable!("no client nests transactions"),
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let keys = self.range(&compare.range);
        if keys.is_empty() {
            return compares(None, compare);
        }
        keys.iter().all(|key| compares(Some(&key.record), compare))
    }

    fn grant(&mut self, id: LeaseId, ttl: Ttl, own: bool) -> Result<Lease> {
        if self.leases.contains_key(&id) {
            return Err(Refusal::LeaseExists(id));
        }
        // The model has no clock, and nobody asks it when a lease ends.
        let lease = Lease { id, ttl, remaining: ttl, renewals: 1, expires: Timestamp::ZERO, own };
        self.leases.insert(id, lease.clone());
        Ok(lease)
    }

    fn renew(&mut self, id: LeaseId) -> Option<Ttl> {
        let lease = self.leases.get_mut(&id)?;
        lease.renewals += 1;
        lease.remaining = lease.ttl;
        Some(lease.ttl)
    }

    fn end_lease(&mut self, id: LeaseId, kind: EventKind) -> Result<Outcome> {
        let lease = self.leases.remove(&id).ok_or(Refusal::LeaseNotFound(id))?;
        let held: Vec<Key> =
            self.keys.iter().filter(|(_, r)| r.lease == Some(id)).map(|(key, _)| key.clone()).collect();
        let goes = |key: &&Key| held.iter().any(|held| held == *key || (lease.own && is_below(key, held)));
        let keys: Vec<Key> = self.keys.keys().filter(goes).cloned().collect();
        for key in &keys {
            self.write(key, None, kind);
        }
        Ok(Outcome::Revoked { deleted: u64::try_from(keys.len()).unwrap() })
    }
}

/// Whether a key lies below a directory marker.
fn is_below(key: &Key, marker: &Key) -> bool {
    marker.is_directory() && key.as_bytes().starts_with(marker.as_bytes())
}

/// One comparison with one key; `None` is an absent one, which has zeros and no value.
fn compares(record: Option<&Record>, compare: &Compare) -> bool {
    let number = |get: fn(&Record) -> u64| record.map_or(0, get);
    let ordering = match &compare.target {
        CompareTarget::Value(value) => match record {
            None => return false,
            Some(record) => record.value.cmp(value),
        },
        CompareTarget::Version(version) => number(|record| record.version).cmp(version),
        CompareTarget::CreateRevision(revision) => number(|r| r.create_revision.get()).cmp(&revision.get()),
        CompareTarget::ModRevision(revision) => number(|r| r.mod_revision.get()).cmp(&revision.get()),
        CompareTarget::Lease(lease) => number(|r| r.lease.map_or(0, LeaseId::get)).cmp(&lease.get()),
    };
    match compare.operator {
        Operator::Equal => ordering.is_eq(),
        Operator::NotEqual => ordering.is_ne(),
        Operator::Less => ordering.is_lt(),
        Operator::LessOrEqual => ordering.is_le(),
        Operator::Greater => ordering.is_gt(),
        Operator::GreaterOrEqual => ordering.is_ge(),
    }
}
