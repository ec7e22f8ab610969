//! Kept answers: a request that comes again with the same idempotency key gets the first answer and is not applied twice.
//!
//! The answers are in the store; here is what is needed to find them and to bound them in number, bytes and time. The
//! time is the state machine's clock. An answer is never forgotten before its window ends: at the bounds, new keys are
//! refused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use crate::model::{Idempotency, Refusal, Reply, Timestamp, codec, limits};
use crate::storage::{Keyspace, Snapshot, StorageError, WriteBatch, schema};

const ENTRY_VERSION: u8 = 1;
/// What an entry costs besides its name and its answer, in bytes.
const ENTRY_COST: usize = 96;

/// A kept answer as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Entry {
    request_hash: u64,
    time: Timestamp,
    /// `None` when it was too large to keep.
    reply: Option<Reply>,
}

/// What is known of an entry without reading it.
#[derive(Debug, Clone)]
struct Known {
    request_hash: u64,
    cost: usize,
}

/// What is kept of earlier requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    known: BTreeMap<Bytes, Known>,
    /// In the order in which their windows end.
    ages: VecDeque<(Timestamp, Bytes)>,
    bytes: usize,
    /// Kept by this batch, and not in the store yet.
    fresh: BTreeMap<Bytes, Bytes>,
    /// Forgotten by this batch.
    gone: Vec<Bytes>,
}

/// What to do about a request with an idempotency key.
pub(super) enum Found {
    /// Carry it out and keep the answer under this name.
    New(Bytes),
    /// It was carried out before.
    Answered(Reply),
    Refused(Refusal),
}

impl Kept {
    pub(super) fn open<S: Snapshot>(snapshot: &S) -> Result<Self, StorageError> {
        let mut kept = Self::default();
        let mut ages = Vec::new();
        let bounds = schema::answers();
        let (from, to) = schema::as_slices(&bounds);
        for item in snapshot.scan(Keyspace::Meta, from, to) {
            let (name, value) = item?;
            let entry = read(&value)?;
            kept.learn(&name, entry.request_hash, value.len());
            ages.push((entry.time, name));
        }
        ages.sort();
        kept.ages = ages.into();
        Ok(kept)
    }

    /// Looks for an earlier request of the author with this key.
    pub(super) fn look<S: Snapshot>(
        &self,
        snapshot: &S,
        author: Option<&Arc<str>>,
        idempotency: &Idempotency,
    ) -> Result<Found, StorageError> {
        let name = schema::answer(author.map(|author| &**author), &idempotency.key);
        let Some(known) = self.known.get(&name) else {
            let full = self.known.len() >= limits::MAX_IDEMPOTENCY_KEYS
                || self.bytes + limits::MAX_KEPT_ANSWER_BYTES > limits::MAX_IDEMPOTENCY_BYTES;
            return Ok(if full { Found::Refused(Refusal::IdempotencyFull) } else { Found::New(name) });
        };
        if known.request_hash != idempotency.request_hash {
            return Ok(Found::Refused(Refusal::IdempotencyMismatch));
        }
        let stored = match self.fresh.get(&name) {
            Some(bytes) => Some(bytes.clone()),
            None => snapshot.get(Keyspace::Meta, &name)?,
        };
        let entry = read(&stored.ok_or_else(|| StorageError::Corrupt { what: "a kept answer is lost".to_owned() })?)?;
        Ok(match entry.reply {
            Some(reply) => Found::Answered(Reply { replayed: true, ..reply }),
            None => Found::Refused(Refusal::ResultNotKept),
        })
    }

    /// Keeps the answer to a request that [`Kept::look`] did not know.
    pub(super) fn keep(&mut self, name: Bytes, request_hash: u64, time: Timestamp, reply: &Reply) {
        let entry = |reply| codec::encode(ENTRY_VERSION, &Entry { request_hash, time, reply });
        let mut bytes = entry(Some(reply.clone()));
        if bytes.len() > limits::MAX_KEPT_ANSWER_BYTES {
            bytes = entry(None);
        }
        self.learn(&name, request_hash, bytes.len());
        self.ages.push_back((time, name.clone()));
        self.fresh.insert(name, bytes);
    }

    /// Forgets the answers whose window has ended.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while let Some((time, name)) = self.ages.front()
            && time.get() + limits::IDEMPOTENCY_WINDOW_MS <= now.get()
        {
            if let Some(known) = self.known.remove(name) {
                self.bytes -= known.cost;
            }
            if self.fresh.remove(name).is_none() {
                self.gone.push(name.clone());
            }
            self.ages.pop_front();
        }
    }

    /// Writes what changed.
    pub(super) fn finish(&mut self, batch: &mut WriteBatch) {
        for name in self.gone.drain(..) {
            batch.delete(Keyspace::Meta, name);
        }
        for (name, bytes) in std::mem::take(&mut self.fresh) {
            batch.put(Keyspace::Meta, name, bytes);
        }
    }

    fn learn(&mut self, name: &Bytes, request_hash: u64, size: usize) {
        let cost = ENTRY_COST + name.len() + size;
        self.bytes += cost;
        self.known.insert(name.clone(), Known { request_hash, cost });
    }
}

fn read(bytes: &[u8]) -> Result<Entry, StorageError> {
    Ok(codec::decode("kept answer", ENTRY_VERSION, bytes)?)
}
