//! The memory engine as the state machine gets it: as it is, or with a bug planted between the two.

use std::sync::{Arc, Mutex};

use vardr::storage::memory::{MemoryEngine, MemorySnapshot};
use vardr::storage::schema::Meta;
use vardr::storage::{Engine, Keyspace, Operation, StorageError, WriteBatch};

use crate::faults::Bug;

/// The key that the applied mark has.
const MARK: &[u8] = &[0];

/// Passes batches on, whole unless a bug says otherwise.
#[derive(Debug, Clone)]
pub struct SimEngine {
    pub memory: MemoryEngine,
    bug: Option<Bug>,
    /// What a bug keeps back, in order.
    kept_back: Arc<Mutex<Vec<WriteBatch>>>,
}

impl SimEngine {
    pub fn new(memory: MemoryEngine, bug: Option<Bug>) -> Self {
        Self { memory, bug, kept_back: Arc::default() }
    }

    /// Writes what was kept back.
    pub fn write_kept_back(&self) -> Result<(), StorageError> {
        let batches = std::mem::take(&mut *self.kept_back.lock().unwrap());
        batches.iter().try_for_each(|batch| self.memory.commit(batch))
    }

    /// Whether a bug takes a write out of its batch.
    fn takes_out(&self, number: usize, count: usize, operation: Operation<'_>) -> bool {
        let Operation { keyspace, key, value: _ } = operation;
        let is_mark = key == MARK;
        match self.bug {
            Some(Bug::AppliedIndexInAnotherBatch) => !is_mark,
            Some(Bug::LeasesInAnotherBatch) => keyspace == Keyspace::Leases && !is_mark,
            Some(Bug::RevisionInAnotherBatch) => keyspace == Keyspace::Meta && key == Meta::Revision.key(),
            Some(Bug::MembersInAnotherBatch) => keyspace == Keyspace::Meta && key == Meta::Members.key(),
            Some(Bug::HalfATransaction) => is_mark || keyspace == Keyspace::Meta || number * 2 >= count,
            _ => false,
        }
    }
}

impl Engine for SimEngine {
    type Snapshot = MemorySnapshot;

    fn snapshot(&self) -> MemorySnapshot {
        self.memory.snapshot()
    }

    fn commit(&self, batch: &WriteBatch) -> Result<(), StorageError> {
        if self.bug.is_none() {
            return self.memory.commit(batch);
        }
        let count = batch.len();
        let (mut whole, mut taken_out) = (WriteBatch::new(), WriteBatch::new());
        for (number, operation) in batch.operations().enumerate() {
            let into = if self.takes_out(number, count, operation) { &mut taken_out } else { &mut whole };
            match operation.value {
                Some(value) => into.put(operation.keyspace, operation.key, value),
                None => into.delete(operation.keyspace, operation.key),
            }
        }
        self.memory.commit(&whole)?;
        if taken_out.is_empty() {
            return Ok(());
        }
        if self.bug == Some(Bug::MembersInAnotherBatch) {
            self.kept_back.lock().unwrap().push(taken_out);
            return Ok(());
        }
        self.memory.commit(&taken_out)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.memory.sync()
    }

    fn disk_bytes(&self) -> Result<u64, StorageError> {
        self.memory.disk_bytes()
    }
}
