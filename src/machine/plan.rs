//! What the commands that change many keys at once have in common: they read ranges in pages, over the state that a batch works on
//! as over a view, and find out all that they would change before they change anything.

use std::collections::VecDeque;

use super::work::Stop;
use crate::model::{KeyRange, KeyValue, RangeQuery, Record, Refusal, Revision, limits};
use crate::mvcc::{Overlay, Page, ReadError, View};
use crate::storage::Snapshot;

/// The bytes of records read at a time.
const PAGE_BYTES: usize = 1024 * 1024;
/// The records read at a time.
const PAGE_RECORDS: u64 = 4096;

/// Something that reads ranges in pages.
pub trait Pages {
    /// See [`View::page`].
    ///
    /// # Errors
    /// See [`ReadError`].
    fn page(&self, query: &RangeQuery, max_bytes: usize) -> Result<Page, ReadError>;
}

impl<S: Snapshot> Pages for View<S> {
    fn page(&self, query: &RangeQuery, max_bytes: usize) -> Result<Page, ReadError> {
        self.page(query, max_bytes)
    }
}

impl<S: Snapshot> Pages for Overlay<S> {
    fn page(&self, query: &RangeQuery, max_bytes: usize) -> Result<Page, ReadError> {
        self.page(query, max_bytes)
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// As the command itself would be refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<PlanError> for Stop {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Read(error) => error.into(),
            PlanError::Refused(refusal) => refusal.into(),
        }
    }
}

/// Changes as they are found. Beyond the bounds only the counts grow, so that they can be shown.
pub(super) struct Changes<T> {
    max_keys: u64,
    max_bytes: u64,
    found: Vec<T>,
    keys: u64,
    /// Of keys and values to be written.
    bytes: u64,
    /// Of values that make way. Events hold them, as those of a deletion do.
    replaced: u64,
}

impl<T> Changes<T> {
    pub(super) const fn new(max_keys: u64, max_bytes: u64) -> Self {
        Self { max_keys, max_bytes, found: Vec::new(), keys: 0, bytes: 0, replaced: 0 }
    }

    /// Adds a change that writes so many bytes of key and value where this was, if anything.
    pub(super) fn add(&mut self, change: T, bytes: usize, present: Option<&Record>) {
        self.keys += 1;
        self.bytes += bytes as u64;
        self.replaced += present.map_or(0, |record| record.value.len()) as u64;
        if self.fits() {
            self.found.push(change);
        }
    }

    pub(super) const fn fits(&self) -> bool {
        self.keys <= self.max_keys && self.bytes <= self.max_bytes && self.replaced <= limits::MAX_DELETE_BYTES
    }

    /// The changes, how many they are, and the bytes that they write.
    pub(super) fn finish(self) -> Result<(Vec<T>, u64, u64), Refusal> {
        if self.fits() {
            return Ok((self.found, self.keys, self.bytes));
        }
        let bytes = if self.replaced > limits::MAX_DELETE_BYTES { self.replaced } else { self.bytes };
        Err(Refusal::TooLarge { keys: self.keys, bytes })
    }
}

/// The records of a range in order, a page at a time.
pub(super) struct Stream<'a, P> {
    pages: &'a P,
    revision: Option<Revision>,
    read: VecDeque<KeyValue>,
    rest: Option<KeyRange>,
}

impl<'a, P: Pages> Stream<'a, P> {
    pub(super) fn new(pages: &'a P, range: KeyRange, revision: Option<Revision>) -> Self {
        Self { pages, revision, read: VecDeque::new(), rest: Some(range) }
    }

    pub(super) fn peek(&mut self) -> Result<Option<&KeyValue>, ReadError> {
        while self.read.is_empty()
            && let Some(range) = self.rest.take()
        {
            let query = RangeQuery { revision: self.revision, limit: Some(PAGE_RECORDS), ..RangeQuery::all(range) };
            let page = self.pages.page(&query, PAGE_BYTES)?;
            self.read = page.items.into();
            self.rest = page.rest;
        }
        Ok(self.read.front())
    }

    pub(super) fn next(&mut self) -> Result<Option<KeyValue>, ReadError> {
        self.peek()?;
        Ok(self.read.pop_front())
    }
}
