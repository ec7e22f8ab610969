//! What goes wrong, and the bugs that the simulator must be able to find.

use crate::chance::Chance;

/// A thing that happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`: the process is gone, what it gave to the operating system is not.
    Kill,
    /// Power fails between two writes: any part of what was not synced is lost.
    PowerLoss,
    /// `kill -9` in the middle of a write to the log.
    KillWhileWriting,
    /// Power fails in the middle of a write to the log.
    TornWrite,
    /// The next sync of the log fails: the member must stop.
    LogSyncFails,
    /// The next batch for the store fails: the member must stop.
    StoreWriteFails,
    /// The next sync of the store fails: the member must stop.
    StoreSyncFails,
    /// The process stands still.
    Pause,
    /// The disk takes long.
    SlowDisk,
    /// The wall clock is set, forward or back.
    ClockJump,
    /// Every watcher's connection drops.
    Disconnect,
}

impl Fault {
    const ALL: [Self; 11] = [
        Self::Kill,
        Self::PowerLoss,
        Self::KillWhileWriting,
        Self::TornWrite,
        Self::LogSyncFails,
        Self::StoreWriteFails,
        Self::StoreSyncFails,
        Self::Pause,
        Self::SlowDisk,
        Self::ClockJump,
        Self::Disconnect,
    ];

    pub fn draw(chance: &mut Chance) -> Self {
        *chance.pick(&Self::ALL)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kills",
            Self::PowerLoss => "power losses",
            Self::KillWhileWriting => "kills while writing",
            Self::TornWrite => "torn writes",
            Self::LogSyncFails => "failed log syncs",
            Self::StoreWriteFails => "failed store writes",
            Self::StoreSyncFails => "failed store syncs",
            Self::Pause => "pauses",
            Self::SlowDisk => "slow disks",
            Self::ClockJump => "clock jumps",
            Self::Disconnect => "dropped connections",
        }
    }
}

/// A rule broken on purpose, in the parts of a member that the world plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The log is called durable when writing it begins.
    AcknowledgeBeforeSync,
    /// The applied index reaches the store in a batch of its own, before the data.
    AppliedIndexInAnotherBatch,
    /// The log is cut off before the store is synced.
    TruncateBeforeSync,
    /// A read takes the state at hand instead of waiting for its index.
    ReadWithoutIndex,
    /// A watcher resumes one revision too early.
    ResumeRepeats,
    /// A watcher resumes at the hub's revision instead of replaying what it missed.
    ResumeSkips,
    /// A renewal leaves the deadline where it was, and the expiry names the lease as it is.
    RenewalIgnored,
    /// Leases are not armed again after a restart.
    LeasesForgotten,
}

impl Bug {
    pub const ALL: [Self; 8] = [
        Self::AcknowledgeBeforeSync,
        Self::AppliedIndexInAnotherBatch,
        Self::TruncateBeforeSync,
        Self::ReadWithoutIndex,
        Self::ResumeRepeats,
        Self::ResumeSkips,
        Self::RenewalIgnored,
        Self::LeasesForgotten,
    ];
}
