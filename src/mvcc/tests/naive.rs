//! The key space as one would write it without a store: a whole map for every revision. The judge of the real one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::model::NodeView;
use crate::model::{
    Action, Event, EventKind, Key, KeyRange, KeyValue, Operation, RangeQuery, RangeResult, Record, Revision, SortBy,
    Timestamp,
};
use crate::mvcc::{Cause, Listing, Write};

type State = BTreeMap<Key, Record>;

/// One change of one key.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Put(Key, Write),
    Delete(Key, EventKind),
}

impl Change {
    pub(super) fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key, _) => key,
        }
    }
}

pub(super) fn cause(time: u64) -> Cause {
    Cause { time: Timestamp(time), author: None, operation: Operation::Transaction, action: Action::Set }
}

#[derive(Debug)]
pub(super) struct Naive {
    /// The state at each revision from 0 on.
    states: Vec<State>,
    /// Every event there ever was, pointers whole.
    events: Vec<Event>,
    pub(super) compacted: Revision,
}

impl Naive {
    pub(super) fn new() -> Self {
        Self { states: vec![State::new(), State::new()], events: Vec::new(), compacted: Revision::ZERO }
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.states.len() as u64 - 1)
    }

    pub(super) fn state(&self, revision: Option<Revision>) -> &State {
        &self.states[usize::try_from(revision.unwrap_or(self.revision()).0).unwrap()]
    }

    /// Makes one revision of changes to different keys, if they change anything.
    pub(super) fn apply(&mut self, changes: &[Change]) {
        let revision = self.revision().next();
        let mut state = self.states.last().unwrap().clone();
        let mut events = Vec::new();
        for change in changes {
            let key = change.key().clone();
            let previous = state.get(&key).cloned();
            let (kind, record) = match change {
                Change::Delete(_, _) if previous.is_none() => continue,
                Change::Delete(_, kind) => (*kind, None),
                Change::Put(_, write) => (EventKind::Put, Some(made(previous.as_ref(), write, revision))),
            };
            match &record {
                Some(record) => state.insert(key.clone(), record.clone()),
                None => state.remove(&key),
            };
            let Cause { time, author, operation, action } = cause(revision.0);
            let previous_revision = self.last_event(&key);
            let view = NodeView::default();
            let event = Event {
                revision,
                kind,
                key,
                record,
                previous,
                previous_revision,
                time,
                author,
                operation,
                action,
                view,
            };
            events.push(event);
        }
        if !events.is_empty() {
            events.sort_by(|a, b| a.key.cmp(&b.key));
            self.events.extend(events);
            self.states.push(state);
        }
    }

    fn last_event(&self, key: &Key) -> Revision {
        self.events.iter().rfind(|event| event.key == *key).map_or(Revision::ZERO, |event| event.revision)
    }

    fn visible(&self) -> impl DoubleEndedIterator<Item = Event> {
        let seen = self.events.iter().filter(|event| event.revision >= self.compacted);
        seen.map(|event| pointing_from(self.compacted, event))
    }

    pub(super) fn history(&self, key: &[u8], before: Option<Revision>, limit: usize) -> Vec<Event> {
        let events = self.visible().rev().filter(|event| event.key.as_bytes() == key);
        events.filter(|event| before.is_none_or(|before| event.revision < before)).take(limit).collect()
    }

    pub(super) fn events(&self, range: &KeyRange, after: Revision) -> Vec<Event> {
        let events = self.visible().filter(|event| event.revision > after);
        events.filter(|event| range.contains(event.key.as_bytes())).collect()
    }

    /// What was made after a revision, as it was when `compacted` was the compacted one.
    pub(super) fn made_after(&self, after: Revision, compacted: Revision) -> Vec<Event> {
        let made = self.events.iter().filter(|event| event.revision > after);
        made.map(|event| pointing_from(compacted, event)).collect()
    }

    pub(super) fn tombstones(&self) -> Vec<(Key, Revision)> {
        let dead: BTreeSet<Key> = self.visible().map(|event| event.key).collect();
        let dead = dead.into_iter().filter(|key| !self.state(None).contains_key(key));
        dead.map(|key| (key.clone(), self.last_event(&key))).collect()
    }

    pub(super) fn range(&self, query: &RangeQuery) -> RangeResult {
        let mut items = self.items(&query.range, query.revision);
        let count = items.len() as u64;
        if query.count_only {
            return RangeResult { count, ..RangeResult::default() };
        }
        let within = |revision: Revision, min: Option<Revision>, max: Option<Revision>| {
            min.is_none_or(|min| revision >= min) && max.is_none_or(|max| revision <= max)
        };
        items.retain(|item| {
            within(item.record.mod_revision, query.min_mod_revision, query.max_mod_revision)
                && within(item.record.create_revision, query.min_create_revision, query.max_create_revision)
        });
        items.sort_by(|a, b| {
            let order = match query.sort_by {
                SortBy::Key => a.key.cmp(&b.key),
                SortBy::Version => a.record.version.cmp(&b.record.version),
                SortBy::CreateRevision => a.record.create_revision.cmp(&b.record.create_revision),
                SortBy::ModRevision => a.record.mod_revision.cmp(&b.record.mod_revision),
                SortBy::Value => a.record.value.cmp(&b.record.value),
            };
            if query.descending { order.reverse() } else { order }
        });
        let limit = query.limit.filter(|limit| *limit > 0).map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
        let more = items.len() > limit;
        items.truncate(limit);
        if query.keys_only {
            for item in &mut items {
                item.record.value = Bytes::new();
            }
        }
        RangeResult { items, count, more }
    }

    pub(super) fn items(&self, range: &KeyRange, revision: Option<Revision>) -> Vec<KeyValue> {
        let all = self.state(revision).iter().filter(|(key, _)| range.contains(key.as_bytes()));
        all.map(|(key, record)| KeyValue { key: key.clone(), record: record.clone() }).collect()
    }

    /// One whole level, never cut.
    pub(super) fn list(&self, directory: &[u8], revision: Option<Revision>) -> Listing {
        let mut listing = Listing::default();
        for item in self.items(&KeyRange::prefix(directory.to_vec()), revision) {
            let rest = &item.key.as_bytes()[directory.len()..];
            match rest.iter().position(|byte| *byte == b'/') {
                None if rest.is_empty() => {}
                None => listing.items.push(item),
                Some(slash) => {
                    let name = Key::new(item.key.bytes().slice(..=directory.len() + slash)).unwrap();
                    if listing.directories.last() != Some(&name) {
                        listing.directories.push(name);
                    }
                }
            }
        }
        listing
    }

    pub(super) fn any(&self, range: &KeyRange, revision: Option<Revision>) -> bool {
        !self.items(range, revision).is_empty()
    }
}

/// The event without a pointer to before the compacted revision.
fn pointing_from(compacted: Revision, event: &Event) -> Event {
    let pointer = Some(event.previous_revision).filter(|pointer| *pointer >= compacted);
    Event { previous_revision: pointer.unwrap_or_default(), ..event.clone() }
}

fn made(previous: Option<&Record>, write: &Write, revision: Revision) -> Record {
    let previous = previous.filter(|_| !write.anew);
    Record {
        value: write.value.clone(),
        content_type: write.content_type.clone(),
        create_revision: previous.map_or(revision, |previous| previous.create_revision),
        mod_revision: revision,
        version: previous.map_or(1, |previous| previous.version + 1),
        lease: write.lease,
    }
}
