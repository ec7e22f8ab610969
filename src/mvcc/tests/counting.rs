//! A snapshot that counts what it is asked for, for claims about cost.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::storage::{Keyspace, Snapshot, StorageError};

/// How often each call was made, and how many items scans gave.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) gets: AtomicUsize,
    pub(super) scans: AtomicUsize,
    pub(super) items: AtomicUsize,
}

impl Calls {
    /// Gets, scans of values and items since the last time.
    pub(super) fn take(&self) -> [usize; 3] {
        [&self.gets, &self.scans, &self.items].map(|count| count.swap(0, Ordering::Relaxed))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Counting<S> {
    pub(super) inner: S,
    pub(super) calls: Arc<Calls>,
}

impl<S: Snapshot> Snapshot for Counting<S> {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if keyspace != Keyspace::Meta {
            self.calls.gets.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.get(keyspace, key)
    }

    fn scan(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), StorageError>> + Send {
        self.calls.scans.fetch_add(1, Ordering::Relaxed);
        self.inner.scan(keyspace, from, to).inspect(|_| {
            self.calls.items.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn scan_keys(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<Bytes, StorageError>> + Send {
        self.inner.scan_keys(keyspace, from, to).inspect(|_| {
            self.calls.items.fetch_add(1, Ordering::Relaxed);
        })
    }
}
