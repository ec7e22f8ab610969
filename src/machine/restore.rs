//! Restoring: a snapshot's stream becomes the state of an empty store.
//!
//! The mark that says which log entry the store is at is written last. So a restore that was interrupted leaves a store
//! that [`StateMachine::open`](super::StateMachine::open) refuses, never one that looks whole.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::snapshot::{Piece, SnapshotCheck, SnapshotError, SnapshotHead};
use crate::model::{Event, KeyValue, LeaseId, Members};
use crate::mvcc::Restore as KeySpace;
use crate::storage::schema::{self, Meta};
use crate::storage::{Engine, Keyspace, Snapshot, StorageError, WriteBatch};

/// A restore under way.
#[derive(Debug)]
pub struct Restore<E> {
    engine: E,
    check: SnapshotCheck,
    leases: BTreeSet<LeaseId>,
    /// Events of a revision that may go on in the next piece.
    events: Vec<Event>,
}

impl<E: Engine> Restore<E> {
    /// Begins a restore.
    ///
    /// # Errors
    /// When the store holds anything.
    pub fn new(engine: E) -> Result<Self, SnapshotError> {
        Self::checked(engine, SnapshotCheck::new())
    }

    /// As [`Restore::new`], from a file: the stream may be followed by a seal.
    ///
    /// # Errors
    /// As with [`Restore::new`].
    pub fn of_file(engine: E) -> Result<Self, SnapshotError> {
        Self::checked(engine, SnapshotCheck::of_file())
    }

    fn checked(engine: E, check: SnapshotCheck) -> Result<Self, SnapshotError> {
        if let Some(keyspace) = first_in_use(&engine.snapshot())? {
            return Err(SnapshotError::NotEmpty { keyspace: keyspace.name() });
        }
        Ok(Self { engine, check, leases: BTreeSet::new(), events: Vec::new() })
    }

    /// Takes the next bytes of the stream, cut anywhere.
    ///
    /// # Errors
    /// When they are damaged, or the store cannot be written. The store is then of no use.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        for piece in self.check.pieces(bytes)? {
            let mut batch = WriteBatch::new();
            self.write(piece, &mut batch)?;
            if !batch.is_empty() {
                self.engine.commit(&batch)?;
            }
        }
        Ok(())
    }

    /// Ends the stream, and makes the state whole and durable.
    ///
    /// # Errors
    /// When the stream is not at its end, or the store cannot be written.
    pub fn finish(self) -> Result<SnapshotHead, SnapshotError> {
        self.end(None)
    }

    /// As [`Restore::finish`], for a cluster of other members that all begin with this state.
    ///
    /// # Errors
    /// As with [`Restore::finish`].
    pub fn finish_anew(self, members: Members) -> Result<SnapshotHead, SnapshotError> {
        self.end(Some(members))
    }

    fn end(self, anew: Option<Members>) -> Result<SnapshotHead, SnapshotError> {
        let Self { engine, check, leases: _, events } = self;
        let mut head = check.finish()?;
        if let Some(members) = anew {
            head.members = members;
        }
        let SnapshotHead { index, term, members, revision, compacted, digest, clock } = &head;
        let mut batch = WriteBatch::new();
        KeySpace::events(&mut batch, events);
        KeySpace::revisions(&mut batch, *revision, *compacted);
        Meta::Format.put(&mut batch, &schema::FORMAT);
        Meta::Clock.put(&mut batch, clock);
        Meta::Digest.put(&mut batch, digest);
        Meta::Members.put(&mut batch, members);
        schema::put_applied(&mut batch, schema::Applied { index: *index, term: *term });
        engine.commit(&batch)?;
        engine.sync()?;
        Ok(head)
    }

    fn write(&mut self, piece: Piece, batch: &mut WriteBatch) -> Result<(), StorageError> {
        match piece {
            Piece::Head(_) | Piece::End { .. } => {}
            Piece::Leases(leases) => {
                for lease in leases {
                    batch.put(Keyspace::Leases, schema::lease(lease.id), schema::encode_lease(&lease));
                    self.leases.insert(lease.id);
                }
            }
            Piece::Users(users) => {
                for user in users {
                    batch.put(Keyspace::Meta, schema::auth_user(&user.name), schema::encode_user(&user));
                }
            }
            Piece::Roles(roles) => {
                for role in roles {
                    batch.put(Keyspace::Meta, schema::auth_role(&role.name), schema::encode_role(&role));
                }
            }
            Piece::Records(items) => {
                for item in items {
                    self.record(&item, batch)?;
                }
            }
            Piece::Deletions(items) => {
                for (key, revision) in items {
                    KeySpace::tombstone(batch, &key, revision);
                }
            }
            Piece::Events(events) => self.take_events(events, batch),
            Piece::Answers(answers) => {
                for (name, value) in answers {
                    batch.put(Keyspace::Meta, name, value);
                }
            }
        }
        Ok(())
    }

    /// Writes a record, and its attachment: the one follows from the other.
    fn record(&self, item: &KeyValue, batch: &mut WriteBatch) -> Result<(), StorageError> {
        if let Some(id) = item.record.lease {
            if !self.leases.contains(&id) {
                let what = format!("the key {} has the lease {id}, which there is not", item.key);
                return Err(StorageError::Corrupt { what });
            }
            batch.put(Keyspace::Leases, schema::attached(id, item.key.as_bytes()), []);
        }
        KeySpace::record(batch, item);
        Ok(())
    }

    /// Writes the revisions that are whole; the last one waits for what may follow.
    fn take_events(&mut self, events: Vec<Event>, batch: &mut WriteBatch) {
        self.events.extend(events);
        let last = self.events.last().map(|event| event.revision);
        let whole = self.events.partition_point(|event| Some(event.revision) < last);
        let open = self.events.split_off(whole);
        KeySpace::events(batch, std::mem::replace(&mut self.events, open));
    }
}

/// A keyspace that holds something.
pub(super) fn first_in_use<S: Snapshot>(snapshot: &S) -> Result<Option<Keyspace>, StorageError> {
    for keyspace in Keyspace::ALL {
        let first = snapshot.scan_keys(keyspace, Bound::Unbounded, Bound::Unbounded).next().transpose()?;
        if first.is_some() {
            return Ok(Some(keyspace));
        }
    }
    Ok(None)
}
