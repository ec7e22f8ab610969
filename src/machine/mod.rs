//! The replicated state machine: log entries in, replies, events and lease deadlines out.
//!
//! Owns what every command does, in every detail and alike on every replica: it sees nothing but its state and the
//! entry, and draws time and chance from the entry alone. All that a call of [`StateMachine::apply`] changes is one batch of
//! the store, together with the index of the last entry in it, so that replaying entries is harmless.
//!
//! Never asks who proposed a command, never reads a setting, never waits. Reading order: `apply` picks the command,
//! `work` has the primitives, `write`, `tree`, `txn`, `rollback`, `copy`, `patch`, `node`, `member` and `auth` the commands;
//! `lease`, `idempotency` and `clock` the state besides keys.

mod apply;
mod auth;
mod clock;
mod copy;
mod digest;
mod idempotency;
mod lease;
mod member;
mod node;
mod number;
mod patch;
mod plan;
mod restore;
mod rollback;
mod seal;
mod snapshot;
mod tree;
mod txn;
mod work;
mod write;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

pub use copy::{Copied, CopyPlan, plan as plan_copy};
pub use digest::{content as content_digest, keys as keys_digest};
pub use lease::{LeaseChange, all as leases, attached, each_attached, find as find_lease};
pub use plan::{Pages, PlanError};
pub use restore::Restore;
pub use rollback::{Restored, RollbackPlan, plan as plan_rollback};
pub use seal::{SEAL_BYTES, padding, sealed};
pub use snapshot::{SnapshotCheck, SnapshotError, SnapshotHead, SnapshotSource};

use crate::model::codec::CodecError;
use crate::model::{
    Auth, Block, Index, Lease, LogEntry, LogEntryKind, Members, Payload, ProposalId, Reply, Revision, Term, Timestamp,
};
use crate::mvcc::{Overlay, Progress, Recent, Sweep, View};
use crate::storage::schema::{self, Meta};
use crate::storage::{Engine, Snapshot, StorageError, WriteBatch};
use auth::Accounts;
use clock::Clock;
use idempotency::Kept;
use lease::Leases;
use member::Changing;
use work::Work;

/// The blocks or deletions that one slice of the sweep looks at.
const SWEEP_STEPS: usize = 1000;
/// The memory that is kept from one batch for the next.
const KEPT_BATCH_BYTES: usize = 1024 * 1024;

/// The entry that every cluster begins behind. Nobody has it: a log begins after it, and a member that joins is given a
/// snapshot.
pub const GENESIS: (Index, Term) = (Index(1), Term(1));

/// Makes the state that every first member of a cluster begins with, in an empty store: alike on all of them.
///
/// # Errors
/// When the store cannot be written.
pub fn begin(engine: &impl Engine, members: &Members) -> Result<(), StorageError> {
    let mut batch = WriteBatch::new();
    Meta::Format.put(&mut batch, &schema::FORMAT);
    Meta::Members.put(&mut batch, members);
    let (index, term) = GENESIS;
    schema::put_applied(&mut batch, schema::Applied { index, term });
    engine.commit(&batch)?;
    engine.sync()
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
    /// Entries that would change membership, and whether they did. Raft has to follow.
    pub membership: Vec<(Index, bool)>,
    /// The members, where anything about them has changed.
    pub members: Option<Members>,
}

/// The state machine over a store.
pub struct StateMachine<E: Engine> {
    engine: E,
    applied: (Index, Term),
    /// The key space as last committed.
    view: View<E::Snapshot>,
    clock: Clock,
    digest: u128,
    members: Members,
    accounts: Accounts,
    leases: Leases,
    kept: Kept,
    recent: Recent,
    sweep: Sweep,
    /// Empty between batches: its memory is used again.
    batch: WriteBatch,
    /// Whether the store says already in which layout it is.
    labelled: bool,
    /// What is in memory may be ahead of the store.
    stopped: bool,
}

impl<E: Engine> StateMachine<E> {
    /// Opens the state that a store holds. In an empty one there is nothing, and nobody takes part.
    ///
    /// # Errors
    /// When the store cannot be read, or its history does not end at its revision: then it has lost something.
    pub fn open(engine: E) -> Result<Self, Fault> {
        let snapshot = engine.snapshot();
        let applied = match schema::applied(&snapshot)? {
            Some(applied) => applied,
            None => check_empty(&snapshot)?,
        };
        let labelled = check_format(Meta::Format.get(&snapshot)?)?;
        let clock = Meta::Clock.get(&snapshot)?.unwrap_or_default();
        let digest = Meta::Digest.get(&snapshot)?.unwrap_or_default();
        let members = Meta::Members.get(&snapshot)?.unwrap_or_default();
        let accounts = Accounts::open(&snapshot)?;
        let leases = Leases::open(&snapshot)?;
        let kept = Kept::open(&snapshot)?;
        let view = View::open(snapshot)?;
        view.check_history()?;
        let applied = (applied.index, applied.term);
        Ok(Self {
            engine,
            applied,
            view,
            clock,
            digest,
            members,
            accounts,
            leases,
            kept,
            recent: Recent::default(),
            sweep: Sweep::new(),
            batch: WriteBatch::new(),
            labelled,
            stopped: false,
        })
    }

    /// The last entry applied, and its term; zeros before the first.
    pub fn applied(&self) -> (Index, Term) {
        self.applied
    }

    /// The last revision.
    pub fn revision(&self) -> Revision {
        self.view.revision()
    }

    /// The members, as of the last entry applied.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The users and roles, as of the last entry applied.
    pub fn auth(&self) -> &Arc<Auth> {
        self.accounts.auth()
    }

    /// The chained digest over all events and all changes of users and roles so far: equal on all members at the same index.
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
    pub fn view(&self) -> &View<E::Snapshot> {
        &self.view
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
        let mut work = Work {
            overlay: Overlay::new(&self.view, std::mem::take(&mut self.recent)),
            snapshot: self.view.snapshot().clone(),
            leases: &mut self.leases,
            kept: &mut self.kept,
            members: Changing::new(&mut self.members),
            accounts: &mut self.accounts,
            now: self.clock.now(),
            term: self.applied.1,
            author: None,
        };
        let mut replies = Vec::new();
        let mut membership = Vec::new();
        let mut clock_clamped = false;
        let already = self.applied.0;
        for entry in entries.iter().skip_while(|entry| entry.index <= already) {
            if entry.index.get() != self.applied.0.get() + 1 {
                return Err(Fault::Gap { applied: self.applied.0, found: entry.index });
            }
            self.applied = (entry.index, entry.term);
            work.members.entry = entry.kind;
            let Some(payload) = read_payload(entry)? else { continue };
            clock_clamped |= self.clock.read(entry.term, payload.time);
            work.now = self.clock.now();
            work.term = entry.term;
            work.kept.forget(work.now);
            let before = replies.len();
            for proposal in payload.proposals {
                replies.push(work.propose(proposal)?);
            }
            if entry.kind == LogEntryKind::Membership {
                // The kept answer to an earlier request changes nothing now.
                let accepted = replies.iter().skip(before).any(|(_, reply)| reply.result.is_ok() && !reply.replayed);
                membership.push((entry.index, accepted));
            }
        }
        let (revision, compacted) = (work.overlay.revision(), work.overlay.compacted());
        let members_changed = work.members.changed;
        let (blocks, recent) = work.overlay.finish(&mut self.batch);
        let leases = self.leases.finish(&mut self.batch);
        self.kept.finish(&mut self.batch);
        let members = members_changed.then(|| self.members.clone());
        if let Some(members) = &members {
            Meta::Members.put(&mut self.batch, members);
        }
        let auth_changes = self.accounts.finish(&mut self.batch);
        self.finish(&blocks, &auth_changes);
        self.commit(revision, compacted)?;
        self.recent = recent;
        let ((index, term), time) = (self.applied, self.clock.now());
        Ok(Applied { index, term, revision, time, clock_clamped, replies, blocks, leases, membership, members })
    }

    /// Takes what happened into the digest.
    fn finish(&mut self, blocks: &[Arc<Block>], auth_changes: &[(Revision, auth::Entry)]) {
        let mut scratch = Vec::new();
        // In the order of the log, however it is cut into batches: a change of users comes after the revision it was made at.
        let mut auth_changes = auth_changes.iter().peekable();
        let has_changed = !blocks.is_empty() || auth_changes.peek().is_some();
        for event in blocks.iter().flat_map(|block| &block.events) {
            while let Some((_, entry)) = auth_changes.next_if(|(revision, _)| *revision < event.revision) {
                self.digest = digest::chain_auth(self.digest, entry, &mut scratch);
            }
            self.digest = digest::chain(self.digest, event, &mut scratch);
        }
        for (_, entry) in auth_changes {
            self.digest = digest::chain_auth(self.digest, entry, &mut scratch);
        }
        Meta::Clock.put(&mut self.batch, &self.clock);
        if has_changed {
            Meta::Digest.put(&mut self.batch, &self.digest);
        }
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
        let progress = self.sweep.slice(&self.view, SWEEP_STEPS, &mut self.batch)?;
        if !self.batch.is_empty() {
            self.commit(self.view.revision(), self.view.compacted())?;
        }
        self.stopped = false;
        Ok(progress)
    }

    /// Commits what was written, with the marks that say how far the store is. It is at these revisions then.
    fn commit(&mut self, revision: Revision, compacted: Revision) -> Result<(), Fault> {
        if !std::mem::replace(&mut self.labelled, true) {
            Meta::Format.put(&mut self.batch, &schema::FORMAT);
        }
        let (index, term) = self.applied;
        schema::put_applied(&mut self.batch, schema::Applied { index, term });
        self.engine.commit(&self.batch)?;
        self.batch.clear(KEPT_BATCH_BYTES);
        self.view = View::at(self.engine.snapshot(), revision, compacted);
        Ok(())
    }
}

impl<E: Engine> fmt::Debug for StateMachine<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateMachine")
            .field("applied", &self.applied)
            .field("revision", &self.view.revision())
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

/// Where a store stands that nothing was applied to: it must hold nothing.
fn check_empty<S: Snapshot>(snapshot: &S) -> Result<schema::Applied, StorageError> {
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

/// The proposals of an entry: none in the one with which a leader opens its term.
fn read_payload(entry: &LogEntry) -> Result<Option<Payload>, Fault> {
    if entry.data.is_empty() {
        return Ok(None);
    }
    Payload::decode(&entry.data).map(Some).map_err(|source| Fault::Entry { index: entry.index, source })
}

#[cfg(test)]
mod tests;
