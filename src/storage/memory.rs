//! The engine of tests and simulations: everything in memory, with a second image of what a disk would hold.
//!
//! Owns the live state with its versions, the durable image, the batches between the two and the faults that a test
//! plants. Never loses or reorders anything by itself: what a crash leaves is the caller's choice.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Engine, Keyspace, Operation, Snapshot, StorageError, WriteBatch, holds_nothing};

/// A call that a test can make fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Commit,
    Sync,
}

/// A store in memory. Clones are handles on the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryEngine {
    state: Arc<RwLock<State>>,
}

impl MemoryEngine {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many batches were committed and not synced.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state.read().unsynced.len()
    }

    /// The store as it is found after a crash that kept the first `kept` of the unsynced batches: 0 is what is durable
    /// for certain, [`MemoryEngine::unsynced`] a crash that lost nothing. This store stays as it is.
    #[must_use]
    pub fn crash(&self, kept: usize) -> Self {
        let state = self.state.read();
        let mut durable = state.durable.clone();
        state.unsynced.iter().take(kept).for_each(|batch| durable.write(batch));
        Self { state: Arc::new(RwLock::new(State::recovered(durable))) }
    }

    /// How many versions of keys are kept in memory.
    #[cfg(test)]
    pub(super) fn versions(&self) -> usize {
        self.state.read().live.values().flat_map(BTreeMap::values).map(Vec::len).sum()
    }

    /// Makes the next call of this kind fail with `error`, once; several pile up. As on a disk, nothing is taken after
    /// it.
    pub fn fail_next(&self, call: Call, error: StorageError) {
        self.state.write().faults.push_back((call, error));
    }
}

impl Engine for MemoryEngine {
    type Snapshot = MemorySnapshot;

    fn snapshot(&self) -> MemorySnapshot {
        let mut state = self.state.write();
        let at = state.committed;
        *state.snapshots.entry(at).or_default() += 1;
        MemorySnapshot { moment: Arc::new(Moment { state: Arc::clone(&self.state), at }) }
    }

    fn commit(&self, batch: &WriteBatch) -> Result<(), StorageError> {
        let mut state = self.state.write();
        state.check(Call::Commit)?;
        if !batch.is_empty() {
            state.commit(batch);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        let mut state = self.state.write();
        state.check(Call::Sync)?;
        let State { durable, unsynced, .. } = &mut *state;
        unsynced.drain(..).for_each(|batch| durable.write(&batch));
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, StorageError> {
        let state = self.state.read();
        let pairs = state.durable.maps.values().flatten();
        Ok(pairs.map(|(key, value)| key.len() as u64 + value.len() as u64).sum())
    }
}

/// A moment of a [`MemoryEngine`].
#[derive(Debug, Clone)]
pub struct MemorySnapshot {
    moment: Arc<Moment>,
}

impl Snapshot for MemorySnapshot {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let state = self.moment.state.read();
        let versions = state.live.get(&keyspace).and_then(|map| map.get(key));
        Ok(versions.and_then(|versions| visible(versions, self.moment.at)))
    }

    fn scan(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), StorageError>> + Send {
        Scan::new(&self.moment, keyspace, from, to).map(Ok)
    }

    fn scan_keys(
        &self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<Bytes, StorageError>> + Send {
        Scan::new(&self.moment, keyspace, from, to).map(|(key, _)| Ok(key))
    }
}

/// A commit that a snapshot stands at. Registered with the state for as long as it lives.
#[derive(Debug)]
struct Moment {
    state: Arc<RwLock<State>>,
    at: u64,
}

impl Drop for Moment {
    fn drop(&mut self) {
        let mut state = self.state.write();
        if let Some(count) = state.snapshots.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                state.snapshots.remove(&self.at);
            }
        }
    }
}

/// A walk between two bounds. Takes the lock for each step only, so that a long walk stops no writer.
struct Scan {
    moment: Arc<Moment>,
    keyspace: Keyspace,
    from: Bound<Bytes>,
    to: Bound<Bytes>,
}

impl Scan {
    fn new(moment: &Arc<Moment>, keyspace: Keyspace, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Self {
        let (from, to) = (from.map(Bytes::copy_from_slice), to.map(Bytes::copy_from_slice));
        Self { moment: Arc::clone(moment), keyspace, from, to }
    }

    /// The outermost visible pair at the front or the back of what is left.
    fn outermost(&self, front: bool) -> Option<(Bytes, Bytes)> {
        let bounds = (as_slice(&self.from), as_slice(&self.to));
        if holds_nothing(bounds.0, bounds.1) {
            return None;
        }
        let state = self.moment.state.read();
        let mut range = state.live.get(&self.keyspace)?.range::<[u8], _>(bounds);
        let pair = |(key, versions): (&Bytes, &Vec<Version>)| {
            visible(versions, self.moment.at).map(|value| (key.clone(), value))
        };
        if front { range.find_map(pair) } else { range.rev().find_map(pair) }
    }
}

impl Iterator for Scan {
    type Item = (Bytes, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.outermost(true)?;
        self.from = Bound::Excluded(pair.0.clone());
        Some(pair)
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Self::Item> {
        let pair = self.outermost(false)?;
        self.to = Bound::Excluded(pair.0.clone());
        Some(pair)
    }
}

fn as_slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    bound.as_ref().map(Bytes::as_ref)
}

/// What one commit made of a key; `None` for a deletion.
#[derive(Debug, Clone)]
struct Version {
    commit: u64,
    value: Option<Bytes>,
}

/// The value that a snapshot at commit `at` sees.
fn visible(versions: &[Version], at: u64) -> Option<Bytes> {
    versions.iter().rev().find(|version| version.commit <= at).and_then(|version| version.value.clone())
}

#[derive(Debug, Default)]
struct State {
    /// The last commit; snapshots see what was written at or before theirs.
    committed: u64,
    /// Versions in order of commit, as many as snapshots can see.
    live: BTreeMap<Keyspace, BTreeMap<Bytes, Vec<Version>>>,
    /// How many snapshots stand at a commit.
    snapshots: BTreeMap<u64, usize>,
    /// Keys with a version that is of no use once no snapshot stands before the commit, in order of commit.
    superseded: VecDeque<(u64, Keyspace, Bytes)>,
    durable: Image,
    unsynced: Vec<WriteBatch>,
    faults: VecDeque<(Call, StorageError)>,
    poisoned: bool,
}

impl State {
    /// A state that begins with what a disk holds.
    fn recovered(durable: Image) -> Self {
        let versions = |value: &Bytes| vec![Version { commit: 0, value: Some(value.clone()) }];
        let map = |pairs: &BTreeMap<Bytes, Bytes>| pairs.iter().map(|(k, v)| (k.clone(), versions(v))).collect();
        let live = durable.maps.iter().map(|(keyspace, pairs)| (*keyspace, map(pairs))).collect();
        Self { live, durable, ..Self::default() }
    }

    /// Fails when a fault is planted for this call, and after any failure.
    fn check(&mut self, call: Call) -> Result<(), StorageError> {
        if self.poisoned {
            return Err(StorageError::Poisoned);
        }
        let planted = self.faults.iter().position(|(planted, _)| *planted == call);
        match planted.and_then(|at| self.faults.remove(at)) {
            None => Ok(()),
            Some((_, error)) => {
                self.poisoned = true;
                Err(error)
            }
        }
    }

    fn commit(&mut self, batch: &WriteBatch) {
        self.committed += 1;
        let commit = self.committed;
        for Operation { keyspace, key, value } in batch.operations() {
            let (key, value) = (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice));
            let versions = self.live.entry(keyspace).or_default().entry(key.clone()).or_default();
            if !versions.is_empty() || value.is_none() {
                self.superseded.push_back((commit, keyspace, key));
            }
            // A second write of one batch to a key replaces the first.
            versions.retain(|version| version.commit < commit);
            versions.push(Version { commit, value });
        }
        self.unsynced.push(batch.clone());
        self.prune();
    }

    /// Forgets versions that no snapshot, present or future, can see.
    fn prune(&mut self) {
        let oldest = self.snapshots.keys().next().copied().unwrap_or(self.committed);
        while self.superseded.front().is_some_and(|(commit, ..)| *commit <= oldest) {
            let Some((_, keyspace, key)) = self.superseded.pop_front() else { return };
            let Some(map) = self.live.get_mut(&keyspace) else { continue };
            let Some(versions) = map.get_mut(&key) else { continue };
            let kept = versions.iter().rposition(|version| version.commit <= oldest).unwrap_or(0);
            versions.drain(..kept);
            if versions.first().is_some_and(|version| version.commit <= oldest && version.value.is_none()) {
                versions.remove(0);
            }
            if versions.is_empty() {
                map.remove(&key);
            }
        }
    }
}

/// What a disk holds.
#[derive(Debug, Clone, Default)]
struct Image {
    maps: BTreeMap<Keyspace, BTreeMap<Bytes, Bytes>>,
}

impl Image {
    fn write(&mut self, batch: &WriteBatch) {
        for Operation { keyspace, key, value } in batch.operations() {
            let map = self.maps.entry(keyspace).or_default();
            match value {
                Some(value) => _ = map.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)),
                None => _ = map.remove(key),
            }
        }
    }
}
