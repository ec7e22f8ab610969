//! The keys of a range that may be there: what is stored, merged with what the batch at hand has changed.
//!
//! Yields each key once, in order, with what it is at present. What it was earlier is the walk's to say.

use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;

use super::block::{decode_record, decode_revision};
use super::pending::{Current, Pending};
use crate::model::{KeyRange, Revision};
use crate::storage::{Keyspace, Snapshot, StorageError, schema};

/// A range of user keys and its bounds in the store.
#[derive(Debug)]
pub(super) struct Span {
    range: KeyRange,
    stored: (Bound<Bytes>, Bound<Bytes>),
}

impl Span {
    pub(super) fn new(range: KeyRange) -> Self {
        let stored = schema::user_bounds(&range);
        Self { range, stored }
    }

    pub(super) fn range(&self) -> &KeyRange {
        &self.range
    }

    /// The bounds in `kv` and `tombstones`.
    pub(super) fn stored(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        schema::as_slices(&self.stored)
    }
}

/// Which keys to go through and in what order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// Deleted keys too, as long as their deletion is not compacted: they may have been there earlier.
    pub(super) with_dead: bool,
    pub(super) descending: bool,
}

/// What a key is at present, decoded only when somebody asks.
#[derive(Debug)]
pub(super) enum Found {
    /// The bytes of a record.
    Stored(Bytes),
    Known(Current),
}

impl Found {
    pub(super) fn decode(self) -> Result<Current, StorageError> {
        match self {
            Self::Stored(bytes) => Ok(Current::Live(decode_record(&bytes)?)),
            Self::Known(current) => Ok(current),
        }
    }
}

type Item = Result<(Bytes, Found), StorageError>;
pub(super) type Items<'a> = Box<dyn Iterator<Item = Item> + 'a>;

/// Every key of `span` that is there or, with `with_dead`, may have been.
pub(super) fn candidates<'a, S: Snapshot>(
    snapshot: &'a S,
    pending: &'a Pending,
    compacted: Revision,
    span: &'a Span,
    order: Order,
) -> Items<'a> {
    if span.range().is_empty() {
        return Box::new(std::iter::empty());
    }
    let mut items = directed(live(snapshot, span), order);
    if order.with_dead {
        items = merge(items, directed(dead(snapshot, compacted, span), order), order);
    }
    if !pending.slots.is_empty() {
        items = merge(directed(touched(pending, span), order), items, order);
        if !order.with_dead {
            items = Box::new(items.filter(|item| !matches!(item, Ok((_, Found::Known(Current::Dead(_)))))));
        }
    }
    items
}

fn live<'a, S: Snapshot>(snapshot: &'a S, span: &'a Span) -> impl DoubleEndedIterator<Item = Item> + 'a {
    let (from, to) = span.stored();
    snapshot.scan(Keyspace::Kv, from, to).map(|item| {
        let (key, bytes) = item?;
        Ok((schema::user_key(&key)?, Found::Stored(bytes)))
    })
}

fn dead<'a, S: Snapshot>(
    snapshot: &'a S,
    compacted: Revision,
    span: &'a Span,
) -> impl DoubleEndedIterator<Item = Item> + 'a {
    let (from, to) = span.stored();
    let stored = snapshot.scan(Keyspace::Tombstones, from, to);
    stored.filter_map(move |item| tombstone(item, compacted).transpose())
}

/// A deletion that is not compacted.
fn tombstone(
    item: Result<(Bytes, Bytes), StorageError>,
    compacted: Revision,
) -> Result<Option<(Bytes, Found)>, StorageError> {
    let (key, bytes) = item?;
    let deleted = decode_revision(&bytes)?;
    let visible = deleted >= compacted;
    Ok(visible.then_some((schema::user_key(&key)?, Found::Known(Current::Dead(deleted)))))
}

fn touched<'a>(pending: &'a Pending, span: &'a Span) -> impl DoubleEndedIterator<Item = Item> + 'a {
    pending.range(span.range()).map(|(key, slot)| Ok((key.clone(), Found::Known(slot.now.clone()))))
}

fn directed<'a>(items: impl DoubleEndedIterator<Item = Item> + 'a, order: Order) -> Items<'a> {
    if order.descending { Box::new(items.rev()) } else { Box::new(items) }
}

/// Two sources in the same order as one; where both have a key, the first is believed.
fn merge<'a>(first: Items<'a>, second: Items<'a>, order: Order) -> Items<'a> {
    let Order { with_dead: _, descending } = order;
    Box::new(Merge { first: first.peekable(), second: second.peekable(), descending })
}

struct Merge<'a> {
    first: Peekable<Items<'a>>,
    second: Peekable<Items<'a>>,
    descending: bool,
}

impl Iterator for Merge<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let (first, second) = match (self.first.peek(), self.second.peek()) {
            (None, _) | (_, Some(Err(_))) => return self.second.next(),
            (_, None) | (Some(Err(_)), _) => return self.first.next(),
            (Some(Ok((first, _))), Some(Ok((second, _)))) => (first, second),
        };
        let order = if self.descending { second.cmp(first) } else { first.cmp(second) };
        match order {
            std::cmp::Ordering::Less => self.first.next(),
            std::cmp::Ordering::Greater => self.second.next(),
            std::cmp::Ordering::Equal => {
                self.second.next();
                self.first.next()
            }
        }
    }
}
