//! What members tell each other about themselves, once in a while: for people to look at, and what their disks have room for.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use borsh::{BorshDeserialize, BorshSerialize};
use parking_lot::Mutex;

use super::{Room, Shared};
use crate::model::{Index, MemberId, Members, Revision};

/// How often a member reports.
pub(super) const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A member whose last report is older is not heard of.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a member is.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Report {
    pub version: String,
    /// The last entry applied.
    pub applied: Index,
    pub revision: Revision,
    /// What store and log take on its disk.
    pub store_bytes: u64,
    pub log_bytes: u64,
    /// On its disk.
    pub room: Room,
}

impl Report {
    pub(super) fn of(shared: &Shared) -> Self {
        let published = shared.published();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            applied: published.index,
            revision: published.revision(),
            store_bytes: shared.store_bytes.load(Ordering::Relaxed),
            log_bytes: shared.wal_bytes.load(Ordering::Relaxed),
            room: shared.space.room(0),
        }
    }
}

/// The last report of each other member, and when it came.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<BTreeMap<MemberId, (Instant, Report)>>);

impl Reports {
    pub(super) fn take(&self, from: MemberId, report: Report) {
        self.0.lock().insert(from, (Instant::now(), report));
    }

    /// What the disks of the other voters have room for: a member whose disk is full stops, and its vote is needed.
    pub(super) fn room(&self, members: &Members) -> Room {
        let reports = self.0.lock();
        let is_voter = |id| members.get(id).is_some_and(|member| !member.learner);
        let recent = reports.iter().filter(|(id, (at, _))| is_voter(**id) && at.elapsed() <= PATIENCE);
        recent.map(|(_, (_, report))| report.room).max().unwrap_or(Room::Enough)
    }

    /// What is known of these members, of those that are heard of.
    pub(super) fn recent(&self, members: &Members) -> BTreeMap<MemberId, Report> {
        let mut reports = self.0.lock();
        reports.retain(|id, (at, _)| members.get(*id).is_some() && at.elapsed() <= PATIENCE);
        reports.iter().map(|(id, (_, report))| (*id, report.clone())).collect()
    }
}
