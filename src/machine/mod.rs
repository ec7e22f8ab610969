//! The replicated state machine: log entries in, replies, events and lease deadlines out.
//!
//! Owns what every command does, in every detail and alike on every replica: it sees nothing but its state and the
//! entry, and draws time and chance from the entry alone. All that a call of [`StateMachine::apply`] changes is one batch of
//! the store, together with the index of the last entry in it, so that replaying entries is harmless.
//!
//! Never asks who proposed a command, never reads a setting, never waits. Reading order: `apply` picks the command,
//! `work` has the primitives, `write`, `tree`, `txn`, `rollback` and `patch` the commands; `lease`, `idempotency` and `clock`
//! the state besides keys.

mod apply;
mod clock;
mod digest;
mod idempotency;
mod lease;
mod number;
mod patch;
mod restore;
mod rollback;
mod snapshot;
mod tree;
mod txn;
mod work;
mod write;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

pub use digest::content as content_digest;
pub use lease::{LeaseChange, all as leases, attached, find as find_lease};
pub use restore::Restore;
pub use rollback::{Pages, Restored, RollbackError, RollbackPlan, plan as plan_rollback};
pub use snapshot::{SnapshotCheck, SnapshotError, SnapshotHead, SnapshotSource};

use crate::model::codec::CodecError;
use crate::model::{
    Block, ConfState, Index, Lease, LogEntry, LogEntryKind, Payload, ProposalId, Reply, Revision, Term, Timestamp,
};
use crate::mvcc::{Overlay, Progress, Sweep, View};
use crate::storage::schema::{self, Meta};
use crate::storage::{Engine, Snapshot, StorageError, WriteBatch};
use clock::Clock;
use idempotency::Kept;
use lease::Leases;
use work::Work;

/// The blocks or deletions that one slice of the sweep looks at.
const SWEEP_STEPS: usize = 1000;

/// What a store without anything in it begins with.
#[derive(Debug, Clone, Default)]
pub struct Genesis {
    pub conf_state: ConfState,
}

/// Why a member has to stop. Nothing of it is the client's doing, and nothing of it may be retried.
#[derive(Debug, Error)]
pub enum Fault {
    #[error("the state machine cannot use its store: {0}")]
    Storage(#[from] StorageError),
    #[error("log entry {index} cannot be read: {source}")]
    Entry { index: Index, source: CodecError },
    #[error("log entry {found} cannot follow entry {applied}")]
    Gap { applied: Index, found: Index },
    #[error("the state machine stopped at an earlier fault")]
    Stopped,
}

/// What came of applying entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The last entry applied, and its term.
    pub index: Index,
    pub term: Term,
    /// The last revision.
    pub revision: Revision,
    /// The clock.
    pub time: Timestamp,
    /// Whether a stamp was too far ahead to be believed at once: somebody should look at the leader's clock.
    pub clock_clamped: bool,
    /// In the order of the log.
    pub replies: Vec<(ProposalId, Reply)>,
    /// The events, in whole revisions.
    pub blocks: Vec<Arc<Block>>,
    /// In the order in which they happened.
    pub leases: Vec<LeaseChange>,
}

/// The state machine over a store.
pub struct StateMachine<E: Engine> {
    engine: E,
    applied: (Index, Term),
    revision: Revision,
    clock: Clock,
    digest: u128,
    conf_state: ConfState,
    leases: Leases,
    kept: Kept,
    sweep: Sweep,
    /// Whether the store says already in which layout it is.
    labelled: bool,
    /// Whether the store has who takes part.
    conf_state_stored: bool,
    /// What is in memory may be ahead of the store.
    stopped: bool,
}

impl<E: Engine> StateMachine<E> {
    /// Opens the state that a store holds; an empty store begins as `genesis` says.
    ///
    /// # Errors
    /// When the store cannot be read, or its keyspaces are not all at the same log entry: then it has lost something.
    pub fn open(engine: E, genesis: &Genesis) -> Result<Self, Fault> {
        let snapshot = engine.snapshot();
        let applied = match schema::applied(&snapshot)? {
            Some(applied) => applied,
            None => begin(&snapshot)?,
        };
        let labelled = check_format(Meta::Format.get(&snapshot)?)?;
        let clock = Meta::Clock.get(&snapshot)?.unwrap_or_default();
        let digest = Meta::Digest.get(&snapshot)?.unwrap_or_default();
        let conf_state = Meta::ConfState.get(&snapshot)?;
        let conf_state_stored = conf_state.is_some();
        let leases = Leases::open(&snapshot)?;
        let kept = Kept::open(&snapshot)?;
        let revision = View::open(snapshot)?.revision();
        let applied = (applied.index, applied.term);
        Ok(Self {
            engine,
            applied,
            revision,
            clock,
            digest,
            conf_state: conf_state.unwrap_or_else(|| genesis.conf_state.clone()),
            leases,
            kept,
            sweep: Sweep::new(),
            labelled,
            conf_state_stored,
            stopped: false,
        })
    }

    /// The last entry applied, and its term; zeros before the first.
    pub fn applied(&self) -> (Index, Term) {
        self.applied
    }

    /// The last revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Who takes part, as of the last entry applied.
    pub fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// Who takes part after a membership entry. To be called before that entry is applied, and stored with it.
    pub fn set_conf_state(&mut self, conf_state: ConfState) {
        self.conf_state = conf_state;
        self.conf_state_stored = false;
    }

    /// The chained digest over all events so far: equal on all members at the same index.
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// Every lease, in order of id: what a member arms when it starts.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter()
    }

    /// The store below.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// The key space at this moment.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn view(&self) -> Result<View<E::Snapshot>, StorageError> {
        View::open(self.engine.snapshot())
    }

    /// Applies entries in order, as one batch of the store: visible on return, durable with the engine's next sync. Entries
    /// that were applied before are passed over.
    ///
    /// # Errors
    /// A fault. The member must stop: every later call fails too.
    pub fn apply(&mut self, entries: &[LogEntry]) -> Result<Applied, Fault> {
        if std::mem::replace(&mut self.stopped, true) {
            return Err(Fault::Stopped);
        }
        let applied = self.apply_batch(entries)?;
        self.stopped = false;
        Ok(applied)
    }

    fn apply_batch(&mut self, entries: &[LogEntry]) -> Result<Applied, Fault> {
        let snapshot = self.engine.snapshot();
        let view = View::open(snapshot.clone())?;
        let mut work = Work {
            overlay: Overlay::new(&view),
            snapshot,
            leases: &mut self.leases,
            kept: &mut self.kept,
            now: self.clock.now(),
            term: self.applied.1,
            author: None,
        };
        let mut replies = Vec::new();
        let mut clock_clamped = false;
        let already = self.applied.0;
        for entry in entries.iter().skip_while(|entry| entry.index <= already) {
            if entry.index.get() != self.applied.0.get() + 1 {
                return Err(Fault::Gap { applied: self.applied.0, found: entry.index });
            }
            self.applied = (entry.index, entry.term);
            let Some(payload) = read_payload(entry)? else { continue };
            clock_clamped |= self.clock.read(entry.term, payload.time);
            work.now = self.clock.now();
            work.term = entry.term;
            work.kept.forget(work.now);
            for proposal in payload.proposals {
                replies.push(work.propose(proposal)?);
            }
        }
        self.revision = work.overlay.revision();
        let mut batch = WriteBatch::new();
        let blocks = work.overlay.finish(&mut batch);
        let leases = self.leases.finish(&mut batch);
        self.kept.finish(&mut batch);
        self.finish(batch, &blocks)?;
        let ((index, term), revision) = (self.applied, self.revision);
        Ok(Applied { index, term, revision, time: self.clock.now(), clock_clamped, replies, blocks, leases })
    }

    /// Takes the events into the digest, and commits with the marks that say how far the store is.
    fn finish(&mut self, mut batch: WriteBatch, blocks: &[Arc<Block>]) -> Result<(), Fault> {
        let mut scratch = Vec::new();
        for event in blocks.iter().flat_map(|block| &block.events) {
            self.digest = digest::chain(self.digest, event, &mut scratch);
        }
        Meta::Clock.put(&mut batch, &self.clock);
        if !blocks.is_empty() {
            Meta::Digest.put(&mut batch, &self.digest);
        }
        if !std::mem::replace(&mut self.conf_state_stored, true) {
            Meta::ConfState.put(&mut batch, &self.conf_state);
        }
        self.commit(batch)
    }

    /// Removes a slice of what compaction made invisible. To be called between applies, until it is done; nothing that
    /// can be read depends on it.
    ///
    /// # Errors
    /// A fault, as of [`StateMachine::apply`].
    pub fn sweep(&mut self) -> Result<Progress, Fault> {
        if std::mem::replace(&mut self.stopped, true) {
            return Err(Fault::Stopped);
        }
        let mut batch = WriteBatch::new();
        let view = self.view()?;
        let progress = self.sweep.slice(&view, SWEEP_STEPS, &mut batch)?;
        drop(view);
        if !batch.is_empty() {
            self.commit(batch)?;
        }
        self.stopped = false;
        Ok(progress)
    }

    /// Commits with the marks that say how far the store is.
    fn commit(&mut self, mut batch: WriteBatch) -> Result<(), Fault> {
        if !std::mem::replace(&mut self.labelled, true) {
            Meta::Format.put(&mut batch, &schema::FORMAT);
        }
        let (index, term) = self.applied;
        schema::put_applied(&mut batch, schema::Applied { index, term });
        Ok(self.engine.commit(batch)?)
    }
}

impl<E: Engine> fmt::Debug for StateMachine<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateMachine")
            .field("applied", &self.applied)
            .field("revision", &self.revision)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

/// Where a store begins that nothing was applied to: it must hold nothing.
fn begin<S: Snapshot>(snapshot: &S) -> Result<schema::Applied, StorageError> {
    match restore::first_in_use(snapshot)? {
        None => Ok(schema::Applied::default()),
        Some(keyspace) => {
            let what = format!(
                "`{}` is in use and the log entry it is at is missing: \
                a restore was interrupted, or writes were lost",
                keyspace.name()
            );
            Err(StorageError::Corrupt { what })
        }
    }
}

/// Whether a store says its layout; refuses one of another.
fn check_format(found: Option<u32>) -> Result<bool, StorageError> {
    match found {
        None => Ok(false),
        Some(schema::FORMAT) => Ok(true),
        Some(other) => {
            let what = format!("layout {other}; this version reads layout {}", schema::FORMAT);
            Err(StorageError::Format { what })
        }
    }
}

/// The proposals of an entry: none in the one with which a leader opens its term, nor in a change of membership.
fn read_payload(entry: &LogEntry) -> Result<Option<Payload>, Fault> {
    match entry.kind {
        LogEntryKind::Normal if !entry.data.is_empty() => {
            let payload = Payload::decode(&entry.data);
            payload.map(Some).map_err(|source| Fault::Entry { index: entry.index, source })
        }
        LogEntryKind::Normal | LogEntryKind::Membership => Ok(None),
    }
}

#[cfg(test)]
mod tests;
