//! The memory engine as the state machine gets it: as it is, or with a bug planted between the two.

use vardr::storage::memory::{MemoryEngine, MemorySnapshot};
use vardr::storage::{Engine, Operation, StorageError, WriteBatch};

/// The key that the applied mark has in every keyspace.
const MARK: &[u8] = &[0];

/// Passes batches on, whole unless told to split them.
#[derive(Debug, Clone)]
pub struct SimEngine {
    pub memory: MemoryEngine,
    /// Writes the applied marks first and everything else in a second batch.
    pub splits_batches: bool,
}

impl Engine for SimEngine {
    type Snapshot = MemorySnapshot;

    fn snapshot(&self) -> MemorySnapshot {
        self.memory.snapshot()
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), StorageError> {
        if !self.splits_batches {
            return self.memory.commit(batch);
        }
        let (mut marks, mut data) = (WriteBatch::new(), WriteBatch::new());
        for operation in batch.into_operations() {
            let (Operation::Put { key, .. } | Operation::Delete { key, .. }) = &operation;
            let into = if key == MARK { &mut marks } else { &mut data };
            match operation {
                Operation::Put { keyspace, key, value } => into.put(keyspace, key, value),
                Operation::Delete { keyspace, key } => into.delete(keyspace, key),
            }
        }
        self.memory.commit(marks)?;
        self.memory.commit(data)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.memory.sync()
    }

    fn disk_bytes(&self) -> Result<u64, StorageError> {
        self.memory.disk_bytes()
    }
}
