//! What came of the requests for nodes that this member answered since its process started, by kind, as etcd counts them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::NodeChange;

/// One thing for each kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByKind<T> {
    pub gets: T,
    pub sets: T,
    /// In-order nodes, too.
    pub creates: T,
    pub updates: T,
    pub swaps: T,
    pub deletes: T,
    pub compared_deletes: T,
}

/// The counts, which go on while they are read.
pub(in crate::service) type Counts = ByKind<Pair>;

#[derive(Debug, Default)]
pub(in crate::service) struct Pair {
    success: AtomicU64,
    failure: AtomicU64,
}

/// How many were carried out, and how many were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub success: u64,
    pub failure: u64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeCounts {
    pub requests: ByKind<Tally>,
    /// The keys that ran out, of any dialect.
    pub expired: u64,
    /// Open watches, of any dialect.
    pub watchers: u64,
}

impl<T> ByKind<T> {
    pub(super) fn of(&self, change: &NodeChange) -> &T {
        match change {
            NodeChange::Set { .. } => &self.sets,
            NodeChange::Create { .. } | NodeChange::Append { .. } => &self.creates,
            NodeChange::Update { .. } => &self.updates,
            NodeChange::CompareAndSwap { .. } => &self.swaps,
            NodeChange::Delete { .. } => &self.deletes,
            NodeChange::CompareAndDelete(_) => &self.compared_deletes,
        }
    }
}

impl Counts {
    pub(super) fn tally(&self) -> ByKind<Tally> {
        ByKind {
            gets: self.gets.tally(),
            sets: self.sets.tally(),
            creates: self.creates.tally(),
            updates: self.updates.tally(),
            swaps: self.swaps.tally(),
            deletes: self.deletes.tally(),
            compared_deletes: self.compared_deletes.tally(),
        }
    }
}

impl Pair {
    pub(super) fn add(&self, succeeded: bool) {
        let count = if succeeded { &self.success } else { &self.failure };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn tally(&self) -> Tally {
        Tally { success: self.success.load(Ordering::Relaxed), failure: self.failure.load(Ordering::Relaxed) }
    }
}
