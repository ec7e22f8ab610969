//! Leases: which there are, how many keys each has, and what of it an apply batch has changed.
//!
//! Owns the rule that a lease of a key's own is gone with its last key. Knows no deadline: those are the members' own,
//! armed by [`LeaseChange`]. The table is in memory, as every lease has a deadline there anyhow; the keys attached stay
//! in the store.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::model::{Key, Lease, LeaseId, Timestamp, Ttl};
use crate::storage::{Keyspace, Snapshot, StorageError, WriteBatch, schema};

/// What a member does about a lease's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseChange {
    /// Granted or renewed: let it run out after `remaining`, and name `renewals` in the expiry.
    Armed { id: LeaseId, remaining: Ttl, renewals: u64 },
    /// A leader recorded what is left of this renewal: let it run out no later than after `remaining`.
    Recorded { id: LeaseId, remaining: Ttl, renewals: u64 },
    /// Revoked, expired, or gone with its last key.
    Gone { id: LeaseId },
}

#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
    keys: u64,
}

/// The leases, and the changes that are not in the store yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    held: BTreeMap<LeaseId, Held>,
    /// Changed by the batch.
    dirty: BTreeSet<LeaseId>,
    /// Attached (true) or detached by the batch.
    links: BTreeMap<(LeaseId, Bytes), bool>,
    /// Own leases that lost a key since the last [`Leases::settle`].
    loosened: BTreeSet<LeaseId>,
    changes: Vec<LeaseChange>,
}

impl Leases {
    /// Reads every lease, and counts the keys of each.
    pub(super) fn open<S: Snapshot>(snapshot: &S) -> Result<Self, StorageError> {
        let mut held = BTreeMap::new();
        for lease in all(snapshot) {
            let lease = lease?;
            let keys = count_attached(snapshot, lease.id)?;
            held.insert(lease.id, Held { lease, keys });
        }
        Ok(Self { held, ..Self::default() })
    }

    pub(super) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.held.get(&id).map(|held| &held.lease)
    }

    /// Every lease, in order of id.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.held.values().map(|held| &held.lease)
    }

    /// Makes a lease. The id must be free.
    pub(super) fn grant(&mut self, id: LeaseId, ttl: Ttl, own: bool, now: Timestamp) -> Lease {
        let lease = Lease { id, ttl, remaining: ttl, renewals: 1, expires: end(now, ttl), own };
        self.held.insert(id, Held { lease: lease.clone(), keys: 0 });
        self.arm(&lease);
        if own {
            self.loosened.insert(id);
        }
        lease
    }

    /// Starts a lease anew, with another time to live where one is given. `None` where there is no such lease.
    pub(super) fn renew(&mut self, id: LeaseId, ttl: Option<Ttl>, now: Timestamp) -> Option<Ttl> {
        let held = self.held.get_mut(&id)?;
        held.lease.ttl = ttl.unwrap_or(held.lease.ttl);
        held.lease.remaining = held.lease.ttl;
        held.lease.renewals += 1;
        held.lease.expires = end(now, held.lease.ttl);
        let lease = held.lease.clone();
        self.arm(&lease);
        Some(lease.ttl)
    }

    /// Notes what is left of a lease, unless it was renewed since.
    pub(super) fn checkpoint(&mut self, id: LeaseId, remaining: Ttl, renewals: u64) {
        if let Some(held) = self.held.get_mut(&id)
            && held.lease.renewals == renewals
        {
            let remaining = remaining.min(held.lease.ttl);
            held.lease.remaining = remaining;
            self.dirty.insert(id);
            self.changes.push(LeaseChange::Recorded { id, remaining, renewals });
        }
    }

    /// Notes that a key went from one lease, or none, to another, or none.
    pub(super) fn moved(&mut self, key: &Key, from: Option<LeaseId>, to: Option<LeaseId>) {
        if from == to {
            return;
        }
        if let Some(id) = from {
            self.links.insert((id, key.bytes().clone()), false);
            if let Some(held) = self.held.get_mut(&id) {
                held.keys = held.keys.saturating_sub(1);
                if held.lease.own {
                    self.loosened.insert(id);
                }
            }
        }
        if let Some(id) = to {
            self.links.insert((id, key.bytes().clone()), true);
            if let Some(held) = self.held.get_mut(&id) {
                held.keys += 1;
            }
        }
    }

    /// Removes the own leases that are left without a key. At the end of a command, so that a key may change hands
    /// within it.
    pub(super) fn settle(&mut self) {
        for id in std::mem::take(&mut self.loosened) {
            if self.held.get(&id).is_some_and(|held| held.keys == 0) {
                self.remove(id);
            }
        }
    }

    /// Removes a lease whose keys are gone.
    pub(super) fn remove(&mut self, id: LeaseId) {
        if self.held.remove(&id).is_some() {
            self.dirty.insert(id);
            self.changes.push(LeaseChange::Gone { id });
        }
    }

    /// The keys attached to a lease, in order, the batch's own changes included.
    pub(super) fn keys<S: Snapshot>(&self, snapshot: &S, id: LeaseId) -> Result<BTreeSet<Bytes>, StorageError> {
        let mut keys = BTreeSet::new();
        for key in attached(snapshot, id) {
            keys.insert(key?);
        }
        let from = (id, Bytes::new());
        for ((_, key), linked) in self.links.range(from..).take_while(|((lease, _), _)| *lease == id) {
            if *linked {
                keys.insert(key.clone());
            } else {
                keys.remove(key);
            }
        }
        Ok(keys)
    }

    /// Writes what changed.
    pub(super) fn finish(&mut self, batch: &mut WriteBatch) -> Vec<LeaseChange> {
        for id in std::mem::take(&mut self.dirty) {
            match self.held.get(&id) {
                Some(held) => batch.put(Keyspace::Leases, schema::lease(id), schema::encode_lease(&held.lease)),
                None => batch.delete(Keyspace::Leases, schema::lease(id)),
            }
        }
        for ((id, key), linked) in std::mem::take(&mut self.links) {
            let stored = schema::attached(id, &key);
            if linked {
                batch.put(Keyspace::Leases, stored, []);
            } else {
                batch.delete(Keyspace::Leases, stored);
            }
        }
        std::mem::take(&mut self.changes)
    }

    fn arm(&mut self, lease: &Lease) {
        self.dirty.insert(lease.id);
        self.changes.push(LeaseChange::Armed { id: lease.id, remaining: lease.remaining, renewals: lease.renewals });
    }
}

/// When a time to live that begins now is over.
fn end(now: Timestamp, ttl: Ttl) -> Timestamp {
    Timestamp(now.get().saturating_add(ttl.get()))
}

/// The leases that a moment of the store holds, in order of id.
pub fn all<S: Snapshot>(snapshot: &S) -> impl Iterator<Item = Result<Lease, StorageError>> {
    let bounds = schema::leases();
    let (from, to) = schema::as_slices(&bounds);
    let read = |item: Result<(Bytes, Bytes), StorageError>| schema::decode_lease(&item?.1);
    // The bounds live no longer than this call, so the leases are read here: there are no more than fit in memory.
    snapshot.scan(Keyspace::Leases, from, to).map(read).collect::<Vec<_>>().into_iter()
}

/// A lease, as a moment of the store holds it.
///
/// # Errors
/// When the store cannot be read.
pub fn find<S: Snapshot>(snapshot: &S, id: LeaseId) -> Result<Option<Lease>, StorageError> {
    let stored = snapshot.get(Keyspace::Leases, &schema::lease(id))?;
    stored.map(|bytes| schema::decode_lease(&bytes)).transpose()
}

/// The keys attached to a lease, in order, as a moment of the store holds them.
pub fn attached<S: Snapshot>(snapshot: &S, id: LeaseId) -> impl Iterator<Item = Result<Bytes, StorageError>> {
    let bounds = schema::attachments(id);
    let (from, to) = schema::as_slices(&bounds);
    let read = |item: Result<Bytes, StorageError>| schema::attached_key(&item?);
    snapshot.scan_keys(Keyspace::Leases, from, to).map(read).collect::<Vec<_>>().into_iter()
}

/// Gives every attachment to `take`, in order of lease and key, as a moment of the store holds them, until it says `false`. Whether it
/// never did.
///
/// # Errors
/// When the store cannot be read, and those of `take`.
pub fn each_attached<S: Snapshot, E: From<StorageError>>(
    snapshot: &S,
    mut take: impl FnMut(LeaseId, Bytes) -> Result<bool, E>,
) -> Result<bool, E> {
    let bounds = schema::every_attachment();
    let (from, to) = schema::as_slices(&bounds);
    for stored in snapshot.scan_keys(Keyspace::Leases, from, to) {
        let (lease, key) = schema::attachment(&stored?)?;
        if !take(lease, key)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn count_attached<S: Snapshot>(snapshot: &S, id: LeaseId) -> Result<u64, StorageError> {
    let bounds = schema::attachments(id);
    let (from, to) = schema::as_slices(&bounds);
    snapshot.scan_keys(Keyspace::Leases, from, to).try_fold(0, |count, key| key.map(|_| count + 1))
}
