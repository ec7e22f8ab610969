//! Consensus sans I/O: one member's part in Raft, as a function from inputs to outputs.
//!
//! [`Replica`] decides what to persist, what to send, what is committed and which reads may be served. It never
//! touches a disk, a socket, a clock or a random source: time arrives as [`Input::Tick`], and the one choice that Raft
//! wants random, the election timeout, is a function of seed, member and term. The same inputs give the same outputs.
//!
//! - `replica.rs` drives the `raft` crate; `log.rs` is the log that it reads; `convert.rs` translates to and from its
//!   types, which nothing outside this folder sees.
//! - `membership.rs` says whether the members may change now, `reads.rs` keeps account of linearizable reads, `window.rs` of
//!   entries handed out to be applied, `forward.rs` of proposals on their way to the member that leads.
//!
//! How the owner of a replica serves it:
//!
//! 1. [`Replica::step`] as many inputs as are at hand, then [`Replica::poll`] once; or [`Replica::handle`] for one.
//! 2. Send `send` at once: whatever must wait for the disk is held back inside until it may go.
//! 3. Persist `persist`, in order of `number`, entries and hard state in one synced batch. Several may share a batch, but
//!    one with a snapshot begins its own. Then [`Input::Persisted`] with the number of the last of them.
//! 4. Put the state of `install` in the place of the present one, then apply `commit`, in order, then
//!    [`Input::Applied`]. For each entry that changes membership [`Input::MembershipApplied`] comes before that.
//! 5. Serve a read of `reads` once its index is applied. A context of `dropped_reads` is asked again under a new one.
//!
//! A snapshot is a stream between two members, which raft only knows the place of:
//!
//! 1. The leader's `snapshots_wanted` names a member that needs one: [`Input::SnapshotOffered`] says which state could be
//!    streamed to it.
//! 2. `snapshots` says that it is to be streamed now, with raft's message in front. How that ended is told by
//!    [`Input::SnapshotReported`], always.
//! 3. The receiver makes the whole stream durable beside its present state, and then takes [`Input::Snapshot`]. Where the
//!    snapshot is of use, the next `persist` has its place: the state counts once that batch is durable, and `install`
//!    follows. Where not, nothing comes of it.

mod convert;
pub mod forward;
mod log;
mod membership;
mod reads;
mod replica;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeSet;

use bytes::Bytes;
use thiserror::Error;

use crate::model::{ConfState, HardState, Incarnation, Index, LogEntry, MemberId, Term};

pub use convert::{Message, MessageError, MessageKind, to_apply};
pub use membership::{ChangeRefusal, MembershipChange};
pub use replica::Replica;

/// Who a replica is, and how patient.
#[derive(Debug, Clone)]
pub struct Config {
    /// Never 0.
    pub member: MemberId,
    /// The start of this member's process: a number that no earlier start used. It keeps answers to the reads of an
    /// earlier start apart from those to this one's.
    pub incarnation: Incarnation,
    /// Decides election timeouts, together with member and term.
    pub seed: u64,
    /// A follower that hears of no leader for this many ticks, or up to twice as many, stands for election.
    pub election_ticks: usize,
    /// A leader speaks at least this often. Less than `election_ticks`.
    pub heartbeat_ticks: usize,
    /// Applied entries that are kept even where no other member is known to need them: whoever leads next may meet one
    /// that does. A member alone keeps none.
    pub kept_entries: u64,
    /// Payload bytes of applied entries that are kept for a member that lags behind; beyond that it gets a snapshot.
    pub kept_bytes: usize,
    /// The same while a snapshot is on its way to a member, and until that one has caught up: what is cut off meanwhile would cost
    /// it another snapshot.
    pub catch_up_bytes: usize,
}

/// The usual [`Config::kept_entries`]: as many as etcd keeps.
pub const KEPT_ENTRIES: u64 = 5000;
/// See [`Config::kept_bytes`].
const KEPT_BYTES: usize = 64 * 1024 * 1024;
/// See [`Config::catch_up_bytes`].
const CATCH_UP_BYTES: usize = 512 * 1024 * 1024;

impl Config {
    /// The usual patience: an election after 10 to 19 ticks of silence, a heartbeat at each tick; a log that serves a member
    /// that was gone for a while.
    #[must_use]
    pub fn new(member: MemberId, incarnation: Incarnation, seed: u64) -> Self {
        Self {
            member,
            incarnation,
            seed,
            election_ticks: 10,
            heartbeat_ticks: 1,
            kept_entries: KEPT_ENTRIES,
            kept_bytes: KEPT_BYTES,
            catch_up_bytes: CATCH_UP_BYTES,
        }
    }
}

/// A place in the log: the index and term of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    pub index: Index,
    pub term: Term,
}

/// What a member brings from its disk.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// The last one persisted; the default for a member that never started.
    pub hard_state: HardState,
    /// The snapshot that the log follows on, if it was begun with one.
    pub snapshot: Option<Position>,
    /// The log, without gaps. Its front may have been cut off, up to what was applied.
    pub entries: Vec<LogEntry>,
    /// How far the state machine has come.
    pub applied: Position,
    /// Who takes part, as of `applied`.
    pub conf_state: ConfState,
}

/// Why a member must not start with what it recovered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartError {
    #[error("the log has a gap: entry {found} follows entry {previous}")]
    Gap { previous: Index, found: Index },
    #[error("the state machine stands at {applied}, before the log's first entry {first}: it has lost changes")]
    AppliedBeforeLog { applied: Index, first: Index },
    #[error("the state machine stands at {applied}, beyond the log's last entry {last}: the log has lost entries")]
    AppliedBeyondLog { applied: Index, last: Index },
    #[error("the log was committed up to {commit} and ends at {last}: it has lost entries")]
    CommitBeyondLog { commit: Index, last: Index },
    #[error("the state machine applied entry {index} of term {applied}; the log has it of term {logged}")]
    Diverged { index: Index, applied: Term, logged: Term },
    #[error("the log holds entries of term {logged}, the stored term is {stored}")]
    TermBehindLog { stored: Term, logged: Term },
    #[error("raft refuses the configuration: {0}")]
    Refused(String),
}

/// Everything that can happen to a replica.
#[derive(Debug, Clone)]
pub enum Input {
    /// A unit of time has passed.
    Tick,
    /// Another member's message.
    Message(Message),
    /// Append an entry, if this member leads. Answered in [`Output::proposed`] under `token`.
    Propose { token: u64, data: Bytes },
    /// Append a change of membership, if this member leads, none is under way and a majority would be left. Answered as a
    /// proposal. `data` comes back as the content of the committed entry. A leader that is to remove itself begins to hand
    /// over instead.
    ChangeMembership { token: u64, change: MembershipChange, data: Bytes },
    /// A committed change of membership was carried out by the state machine, or refused by it.
    MembershipApplied { index: Index, accepted: bool },
    /// Everything handed out for persistence up to and with this number is durable.
    Persisted { number: u64 },
    /// Everything up to and with this entry is applied.
    Applied { index: Index },
    /// Ask for the index at which a read that begins here may be served. Contexts only rise within one start.
    Read { context: u64 },
    /// A message to this member could not be delivered.
    Unreachable { member: MemberId },
    /// This state could be streamed to a member that needs a snapshot.
    SnapshotOffered { to: MemberId, position: Position, conf_state: ConfState },
    /// The snapshot that came with this message is whole and durable beside the present state.
    Snapshot(Message),
    /// A snapshot on its way to this member arrived, or did not.
    SnapshotReported { member: MemberId, delivered: bool },
    /// Hand leadership over.
    Transfer { to: MemberId },
}

/// What is to be done about it. Empty where there is nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    pub persist: Option<Persist>,
    /// Messages that may go out at once.
    pub send: Vec<(MemberId, Message)>,
    /// Members that need a snapshot, none of which was offered.
    pub snapshots_wanted: BTreeSet<MemberId>,
    /// Snapshots to be streamed, each as it was offered.
    pub snapshots: Vec<(MemberId, Message)>,
    /// The snapshot whose state takes the place of the present one, before anything of `commit`.
    pub install: Option<Position>,
    /// Entries to apply, in order. They are durable here and on a majority.
    pub commit: Vec<LogEntry>,
    /// Reads by context, each with the index that must be applied before it is served.
    pub reads: Vec<(u64, Index)>,
    /// Reads that will not be answered, by context. Ask again under a new context.
    pub dropped_reads: Vec<u64>,
    /// By token: where the proposal stands in the log, or why it is not there. It is applied when the entry applied at
    /// that index is of that term, and certainly lost when it is of another.
    pub proposed: Vec<(u64, Result<Position, ProposeRefusal>)>,
    /// The new state of affairs, when leader, term or role has changed.
    pub status: Option<Status>,
    /// The leader has this member's word for entries that its log does not have: it must not take part any more.
    pub log_lost: bool,
}

impl Output {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            persist,
            send,
            snapshots_wanted,
            snapshots,
            install,
            commit,
            reads,
            dropped_reads,
            proposed,
            status,
            log_lost,
        } = self;
        persist.is_none()
            && send.is_empty()
            && snapshots_wanted.is_empty()
            && snapshots.is_empty()
            && install.is_none()
            && commit.is_empty()
            && reads.is_empty()
            && dropped_reads.is_empty()
            && proposed.is_empty()
            && status.is_none()
            && !log_lost
    }
}

/// One batch for the log on disk. Always to be synced: a commit index alone is not worth a write and travels with
/// the next batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persist {
    /// To be named by [`Input::Persisted`]. Rises.
    pub number: u64,
    /// The log begins anew behind this snapshot.
    pub snapshot: Option<Position>,
    /// Follow on the log, or replace its tail from the first one's index on.
    pub entries: Vec<LogEntry>,
    /// `None` when it is as it was last persisted.
    pub hard_state: Option<HardState>,
}

/// Why a proposal was not appended. It is in nobody's log and never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProposeRefusal {
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<MemberId>,
    },
    #[error("leadership is being handed over")]
    Transferring,
    #[error("too much is proposed and not yet committed")]
    Overloaded,
    /// Another change of membership is under way, or the leader is too new to know who is silent.
    #[error("the members cannot be changed just now")]
    ChangeLater,
    #[error(transparent)]
    Refused(ChangeRefusal),
}

/// What a member is in its term (Raft dissertation, 3.3 and 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    #[default]
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

/// How things stand, as far as this member knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    pub leader: Option<MemberId>,
    pub term: Term,
    pub role: Role,
}
