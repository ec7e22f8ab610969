//! What came of the requests for nodes that this member answered since its process started, by kind, as etcd counts them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::NodeChange;

/// The counts, which go on while they are read.
#[derive(Debug, Default)]
pub(in crate::service) struct Counts {
    gets: Pair,
    sets: Pair,
    creates: Pair,
    updates: Pair,
    swaps: Pair,
    deletes: Pair,
    compared_deletes: Pair,
}

#[derive(Debug, Default)]
struct Pair {
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
    pub gets: Tally,
    pub sets: Tally,
    /// In-order nodes, too.
    pub creates: Tally,
    pub updates: Tally,
    pub swaps: Tally,
    pub deletes: Tally,
    pub compared_deletes: Tally,
    /// The keys that ran out, of any dialect.
    pub expired: u64,
    /// Open watches, of any dialect.
    pub watchers: u64,
}

impl Counts {
    pub(in crate::service) fn read(&self, succeeded: bool) {
        self.gets.add(succeeded);
    }

    pub(in crate::service) fn write(&self, kind: Kind, succeeded: bool) {
        self.pair(kind).add(succeeded);
    }

    fn pair(&self, kind: Kind) -> &Pair {
        match kind {
            Kind::Set => &self.sets,
            Kind::Create => &self.creates,
            Kind::Update => &self.updates,
            Kind::CompareAndSwap => &self.swaps,
            Kind::Delete => &self.deletes,
            Kind::CompareAndDelete => &self.compared_deletes,
        }
    }

    pub(in crate::service) fn at_hand(&self, expired: u64, watchers: u64) -> NodeCounts {
        NodeCounts {
            gets: self.gets.tally(),
            sets: self.sets.tally(),
            creates: self.creates.tally(),
            updates: self.updates.tally(),
            swaps: self.swaps.tally(),
            deletes: self.deletes.tally(),
            compared_deletes: self.compared_deletes.tally(),
            expired,
            watchers,
        }
    }
}

/// A kind of change that is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Kind {
    Set,
    Create,
    Update,
    CompareAndSwap,
    Delete,
    CompareAndDelete,
}

impl From<&NodeChange> for Kind {
    fn from(change: &NodeChange) -> Self {
        match change {
            NodeChange::Set { .. } => Self::Set,
            NodeChange::Create { .. } | NodeChange::Append { .. } => Self::Create,
            NodeChange::Update { .. } => Self::Update,
            NodeChange::CompareAndSwap { .. } => Self::CompareAndSwap,
            NodeChange::Delete { .. } => Self::Delete,
            NodeChange::CompareAndDelete(_) => Self::CompareAndDelete,
        }
    }
}

impl Pair {
    fn add(&self, succeeded: bool) {
        let count = if succeeded { &self.success } else { &self.failure };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn tally(&self) -> Tally {
        Tally { success: self.success.load(Ordering::Relaxed), failure: self.failure.load(Ordering::Relaxed) }
    }
}
