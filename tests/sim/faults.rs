//! What goes wrong, and the bugs that the simulator must be able to find.

use crate::chance::Chance;

/// A thing that happens to a member, or to the network between members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`: the process is gone, what it gave to the operating system is not.
    Kill,
    /// Power fails between two writes: any part of what was not synced is lost.
    PowerLoss,
    /// Power fails for every member at once.
    Blackout,
    /// The member stays down for so long that the log goes on without it.
    Outage,
    /// `kill -9` in the middle of a write to the log.
    KillWhileWriting,
    /// Power fails in the middle of a write to the log.
    TornWrite,
    /// The next snapshot that any member takes is its end, at one of the steps of an install.
    DeathWhileInstalling,
    /// The next sync of the log fails: the member must stop.
    LogSyncFails,
    /// The disk of the log is full: the member must stop.
    LogFull,
    /// The next batch for the store fails: the member must stop.
    StoreWriteFails,
    /// The next sync of the store fails: the member must stop.
    StoreSyncFails,
    /// The process stands still.
    Pause,
    /// The disk takes long, for the log and for the store.
    SlowDisk,
    /// The wall clock is set, forward or back.
    ClockJump,
    /// Every watcher's connection drops.
    Disconnect,
    /// The members are in two parts that do not hear each other.
    Partition,
    /// One part does not hear the other, which hears it.
    OneWayPartition,
    /// One member hears nobody and is heard by nobody.
    CutOff,
    /// What goes from one member to another takes long.
    Clog,
    /// Messages are lost, repeated and late.
    LossyNetwork,
}

impl Fault {
    const OF_MEMBERS: [Self; 15] = [
        Self::Kill,
        Self::PowerLoss,
        Self::Blackout,
        Self::Outage,
        Self::KillWhileWriting,
        Self::TornWrite,
        Self::DeathWhileInstalling,
        Self::LogSyncFails,
        Self::LogFull,
        Self::StoreWriteFails,
        Self::StoreSyncFails,
        Self::Pause,
        Self::SlowDisk,
        Self::ClockJump,
        Self::Disconnect,
    ];
    const OF_THE_NETWORK: [Self; 5] =
        [Self::Partition, Self::OneWayPartition, Self::CutOff, Self::Clog, Self::LossyNetwork];

    /// The faults of one run: some runs know only a few of them, which then have room to do their worst.
    pub fn repertoire(chance: &mut Chance, members: usize) -> Vec<Self> {
        let share = *chance.pick(&[15, 40, 100, 100]);
        let network: &[Self] = if members > 1 { &Self::OF_THE_NETWORK } else { &[] };
        // As often as those of members, which are more.
        let all = Self::OF_MEMBERS.iter().chain(network).chain(network);
        let mut drawn: Vec<Self> = all.copied().filter(|_| chance.percent(share)).collect();
        drawn.push(Self::Kill);
        drawn
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kills",
            Self::PowerLoss => "power losses",
            Self::Blackout => "power losses of all members",
            Self::Outage => "long outages",
            Self::KillWhileWriting => "kills while writing",
            Self::TornWrite => "torn writes",
            Self::DeathWhileInstalling => "deaths while installing planned",
            Self::LogSyncFails => "failed log syncs",
            Self::LogFull => "full disks",
            Self::StoreWriteFails => "failed store writes",
            Self::StoreSyncFails => "failed store syncs",
            Self::Pause => "pauses",
            Self::SlowDisk => "slow disks",
            Self::ClockJump => "clock jumps",
            Self::Disconnect => "dropped connections",
            Self::Partition => "partitions",
            Self::OneWayPartition => "one-way partitions",
            Self::CutOff => "members cut off",
            Self::Clog => "clogged links",
            Self::LossyNetwork => "lossy spells",
        }
    }
}

/// A rule broken on purpose, in the parts of a member that the world plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The log is called durable when writing it begins, by leaders and followers.
    AcknowledgeBeforeSync,
    /// The log is called durable when writing it begins, where one member decides alone.
    AloneBeforeSync,
    /// The log is called durable when writing it begins, by followers.
    FollowersBeforeSync,
    /// The applied index reaches the store in a batch of its own, before the data.
    AppliedIndexInAnotherBatch,
    /// Leases reach the store in a batch of their own, after the rest.
    LeasesInAnotherBatch,
    /// The revision reaches the store in a batch of its own, after the rest.
    RevisionInAnotherBatch,
    /// What has changed of the members reaches the store when it is next synced.
    MembersInAnotherBatch,
    /// The first half of what is applied reaches the store before the rest, wherever that cuts through a transaction.
    HalfATransaction,
    /// A member that starts takes the largest revision of a key for the store's.
    RevisionRecomputed,
    /// Applying goes by the member's own clock, not by the entry's stamp.
    OwnClockInApply,
    /// The sweep drops the tombstones of the compaction's own revision.
    TombstoneDropped,
    /// The log is cut off before the store is synced.
    TruncateBeforeSync,
    /// The log is cut off behind what is committed, applied or not.
    TruncateUnapplied,
    /// Whoever believes to lead serves a read from the state at hand.
    ReadWithoutIndex,
    /// All reads of a member go to the leader under one context.
    ReadContextReused,
    /// A read whose ticket was lost is not asked for again.
    LostTicketForgotten,
    /// The only voter serves reads without a ticket although there is a learner, which may have applied more.
    TicketSpared,
    /// A watcher resumes one revision too early.
    ResumeRepeats,
    /// A watcher resumes at the hub's revision instead of replaying what it missed.
    ResumeSkips,
    /// A watcher is told that it has everything while some of it waits to be taken.
    ProgressTooEarly,
    /// A revision is delivered in parts.
    RevisionInParts,
    /// A watcher whose next revision was compacted is moved ahead without a word.
    CompactedSkipped,
    /// Whoever believes to lead answers a renewal by itself.
    RenewalUnconfirmed,
    /// A renewal leaves the deadline where it was, and the expiry names the lease as it is.
    RenewalIgnored,
    /// Leases are not armed again after a restart.
    LeasesForgotten,
    /// Everybody expires leases, and the leader lets every expiry name its own term and the lease as it is.
    StaleExpiry,
    /// A leader forgets what it answered to forwarded proposals.
    ForwardForgotten,
    /// A leader says at times that it refused what it placed.
    RefusedThoughPlaced,
    /// A leader that hands over drops what is proposed meanwhile, and says nothing.
    TransferDrops,
    /// A snapshot that raft has no use for is installed all the same.
    SnapshotTakenTwice,
    /// Raft is not told of a snapshot that did not arrive.
    FailedSnapshotUnreported,
    /// What an installed snapshot does not hold stays from the state before it.
    InstallKeepsOld,
    /// A member takes nothing from another of which it does not know that it is a member.
    StrangersRefused,
    /// A snapshot's state is called installed before the log names it.
    InstallBeforeMark,
    /// A member that was removed goes on and votes, and the others listen to it.
    RemovedGoesOn,
}

impl Bug {
    pub const ALL: [Self; 35] = [
        Self::AcknowledgeBeforeSync,
        Self::AloneBeforeSync,
        Self::FollowersBeforeSync,
        Self::AppliedIndexInAnotherBatch,
        Self::LeasesInAnotherBatch,
        Self::RevisionInAnotherBatch,
        Self::MembersInAnotherBatch,
        Self::HalfATransaction,
        Self::RevisionRecomputed,
        Self::OwnClockInApply,
        Self::TombstoneDropped,
        Self::TruncateBeforeSync,
        Self::TruncateUnapplied,
        Self::ReadWithoutIndex,
        Self::ReadContextReused,
        Self::LostTicketForgotten,
        Self::TicketSpared,
        Self::ResumeRepeats,
        Self::ResumeSkips,
        Self::ProgressTooEarly,
        Self::RevisionInParts,
        Self::CompactedSkipped,
        Self::RenewalUnconfirmed,
        Self::RenewalIgnored,
        Self::LeasesForgotten,
        Self::StaleExpiry,
        Self::ForwardForgotten,
        Self::RefusedThoughPlaced,
        Self::TransferDrops,
        Self::SnapshotTakenTwice,
        Self::FailedSnapshotUnreported,
        Self::InstallKeepsOld,
        Self::StrangersRefused,
        Self::InstallBeforeMark,
        Self::RemovedGoesOn,
    ];
}
