//! Ranges of records, as etcd v3 answers them: `count` knows neither limit nor bounds, the limit comes after the
//! sort. And pages of them, for readers that want no count and go on where they stopped.

use std::cmp::Ordering;

use bytes::Bytes;

use super::ReadError;
use super::pending::{Current, Home};
use super::reader::Reader;
use super::scan::Span;
use crate::model::{Key, KeyRange, KeyValue, RangeQuery, RangeResult, Record, SortBy};
use crate::storage::{Keyspace, Snapshot, StorageError};

/// Part of a range, in order of key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    pub items: Vec<KeyValue>,
    /// What is left of the range, when there may be something.
    pub rest: Option<KeyRange>,
}

impl<S: Snapshot> Reader<'_, S> {
    /// All that `query` asks for.
    pub(super) fn range(&self, query: &RangeQuery) -> Result<RangeResult, ReadError> {
        if let Some(key) = query.range.as_single() {
            return self.one(key, query);
        }
        let past = self.past(query.revision)?;
        let span = Span::new(query.range.clone());
        if past.is_none() && query.count_only {
            let count = self.count(&span)?;
            return Ok(RangeResult { count, ..RangeResult::default() });
        }
        let mut chosen = Chosen::new(query);
        let mut walk = past.map(|past| self.walk(past));
        let mut count = 0;
        for item in self.candidates(&span, past, chosen.scans_descending()) {
            if walk.is_none() && chosen.is_full() {
                count = self.count(&span)?;
                break;
            }
            let (key, found) = item?;
            let record = match &mut walk {
                None => found.decode()?.into_record(),
                Some(walk) => walk.resolve(&key, found.decode()?)?,
            };
            if let Some(record) = record {
                count += 1;
                chosen.offer(key, record)?;
            }
        }
        Ok(chosen.finish(count))
    }

    /// A range of one key, which needs no scan.
    fn one(&self, key: &Bytes, query: &RangeQuery) -> Result<RangeResult, ReadError> {
        let mut chosen = Chosen::new(query);
        let record = self.get(key, query.revision)?;
        let count = u64::from(record.is_some());
        if let Some(record) = record {
            chosen.offer(key.clone(), record)?;
        }
        Ok(chosen.finish(count))
    }

    /// Records in order of key until `query.limit` or `max_bytes` is reached; at least one, if there is one. Does not
    /// count, and knows no order but that of keys.
    pub(super) fn page(&self, query: &RangeQuery, max_bytes: usize) -> Result<Page, ReadError> {
        let query = RangeQuery { sort_by: SortBy::Key, count_only: false, ..query.clone() };
        let past = self.past(query.revision)?;
        let span = Span::new(query.range.clone());
        let mut chosen = Chosen::new(&query);
        let limit = chosen.limit.unwrap_or(usize::MAX);
        let mut walk = past.map(|past| self.walk(past));
        let mut bytes = 0;
        for item in self.candidates(&span, past, query.descending) {
            let (key, found) = item?;
            if !chosen.items.is_empty() && (bytes >= max_bytes || chosen.items.len() >= limit) {
                let rest = Some(rest_of(&query, key));
                return Ok(Page { items: chosen.finish(0).items, rest });
            }
            let record = match &mut walk {
                None => found.decode()?.into_record(),
                Some(walk) => walk.resolve(&key, found.decode()?)?,
            };
            if let Some(record) = record {
                bytes += chosen.offer(key, record)?;
            }
        }
        Ok(Page { items: chosen.finish(0).items, rest: None })
    }

    /// How many keys are there at present, without a look at a value.
    fn count(&self, span: &Span) -> Result<u64, StorageError> {
        if span.range().is_empty() {
            return Ok(0);
        }
        let mut count: u64 = 0;
        let (from, to) = span.stored();
        for key in self.snapshot.scan_keys(Keyspace::Kv, from, to) {
            key?;
            count += 1;
        }
        for (_, slot) in self.pending.range(span.range()) {
            match (slot.home, &slot.now) {
                (Home::Kv, Current::Dead(_)) => count -= 1,
                (Home::Tombstones | Home::Nowhere, Current::Live(_)) => count += 1,
                (Home::Kv, Current::Live(_)) | (Home::Tombstones | Home::Nowhere, Current::Dead(_)) => {}
            }
        }
        Ok(count)
    }
}

/// What is left of the query's range when `next` is the next key.
fn rest_of(query: &RangeQuery, next: Bytes) -> KeyRange {
    if !query.descending {
        return KeyRange::new(next, query.range.end().cloned());
    }
    let mut end = next.to_vec();
    end.push(0);
    KeyRange::new(query.range.start().clone(), Some(end.into()))
}

/// The records that a query returns, as they are found.
#[derive(Debug)]
struct Chosen<'a> {
    query: &'a RangeQuery,
    limit: Option<usize>,
    items: Vec<KeyValue>,
    /// Whether anything was left out for the limit.
    cut: bool,
}

impl<'a> Chosen<'a> {
    fn new(query: &'a RangeQuery) -> Self {
        // A limit of 0 is none, as in etcd.
        let limit = query.limit.filter(|limit| *limit > 0);
        let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Self { query, limit, items: Vec::new(), cut: false }
    }

    /// Sorted by something else, keys are looked at in ascending order, so that equals stay in it.
    fn scans_descending(&self) -> bool {
        self.query.descending && self.query.sort_by == SortBy::Key
    }

    /// Whether no later key can change the result: it is in order of key, and one beyond the limit is known.
    fn is_full(&self) -> bool {
        self.cut && self.query.sort_by == SortBy::Key
    }

    /// Takes a record if the query wants it; the bytes that it adds to the result.
    fn offer(&mut self, key: Bytes, mut record: Record) -> Result<usize, StorageError> {
        if self.query.count_only || !within_bounds(self.query, &record) {
            return Ok(0);
        }
        if self.query.sort_by == SortBy::Key {
            if self.limit.is_some_and(|limit| self.items.len() >= limit) {
                self.cut = true;
                return Ok(0);
            }
            if self.query.keys_only {
                record.value = Bytes::new();
            }
        }
        let size = key.len() + record.value.len();
        self.items.push(KeyValue { key: user_key(key)?, record });
        self.shed();
        Ok(size)
    }

    /// Drops what a sort would cut off anyway, so that a small limit on a large range takes little memory.
    fn shed(&mut self) {
        let Some(limit) = self.limit else { return };
        if self.query.sort_by != SortBy::Key && self.items.len() > limit.saturating_mul(2).max(1024) {
            self.sort();
            self.items.truncate(limit);
            self.cut = true;
        }
    }

    /// Stable, so that equals stay in order of key whatever the direction.
    fn sort(&mut self) {
        let query = self.query;
        self.items.sort_by(|a, b| {
            let order = compare(query.sort_by, &a.record, &b.record);
            if query.descending { order.reverse() } else { order }
        });
    }

    fn finish(mut self, count: u64) -> RangeResult {
        if self.query.sort_by != SortBy::Key {
            self.sort();
            if let Some(limit) = self.limit.filter(|limit| *limit < self.items.len()) {
                self.items.truncate(limit);
                self.cut = true;
            }
            if self.query.keys_only {
                self.items.iter_mut().for_each(|item| item.record.value = Bytes::new());
            }
        }
        RangeResult { items: self.items, count, more: self.cut }
    }
}

fn within_bounds(query: &RangeQuery, record: &Record) -> bool {
    query.min_mod_revision.is_none_or(|min| record.mod_revision >= min)
        && query.max_mod_revision.is_none_or(|max| record.mod_revision <= max)
        && query.min_create_revision.is_none_or(|min| record.create_revision >= min)
        && query.max_create_revision.is_none_or(|max| record.create_revision <= max)
}

fn compare(by: SortBy, a: &Record, b: &Record) -> Ordering {
    match by {
        SortBy::Key => Ordering::Equal,
        SortBy::Version => a.version.cmp(&b.version),
        SortBy::CreateRevision => a.create_revision.cmp(&b.create_revision),
        SortBy::ModRevision => a.mod_revision.cmp(&b.mod_revision),
        SortBy::Value => a.value.cmp(&b.value),
    }
}

/// A key read from the store, where no empty one can be.
pub(super) fn user_key(bytes: Bytes) -> Result<Key, StorageError> {
    Key::new(bytes).ok_or_else(|| StorageError::Corrupt { what: "an empty key".to_owned() })
}
