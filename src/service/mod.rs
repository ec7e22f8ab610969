//! The use cases: the single door through which every dialect reaches the key space.
//!
//! A dialect parses, calls a method here, and formats the answer; what may be done, within which bounds and by when
//! is decided here alone.

#[cfg(test)]
mod alone;
mod answers;
mod auth;
mod cluster;
mod discovery;
mod error;
mod guard;
mod health;
mod kv;
mod lease;
mod maintenance;
mod queue;
pub mod registry;
mod shown;
mod tree;
mod watch;
mod watchers;
mod watches;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use crate::watch::Followed;
pub use answers::{Answers, Held, LARGE_BYTES, Outstanding, Turn};
pub use cluster::{Cluster, Role, Traffic};
pub use error::Error;
pub use guard::Limits;
pub use health::{Check, Readiness};
pub use kv::{Cursor, ListRequest, Listing, Reader};
pub use lease::LeaseState;
pub use maintenance::{Hash, KeysHash, Retention, SnapshotFile, SnapshotStream, Status};
pub use queue::{
    Entered, Entry, First, Life, Observation, Observed, Place, Queue, QueueName, QueueSummary, Queues, QueuesRequest,
};
pub use tree::{ByKind, FoundNode, NodeCounts, NodeWatch, NodeWatchRequest, ShownNode, Tally};
pub use watch::{OnCompacted, Start, WatchEvents, WatchItem, WatchRequest, WatchStream};
pub use watchers::{Carrier, Origin, Watchers, WatchersRequest, Watching};
pub use watches::{Told, Watches};

use crate::model::limits::MAX_WATCH_READS;
use crate::model::{ClusterId, Command, Idempotency, Index, LeaseId, MemberId, Outcome, Reply, Revision, Term};
use crate::node::{NodeHandle, Room};
use crate::observe::{Metrics, Settled};

/// Who asks. Until there are users, everybody may do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    #[default]
    Open,
}

/// What every call carries.
#[derive(Debug, Clone)]
pub struct Call {
    pub identity: Identity,
    /// When the caller stops waiting.
    pub deadline: Instant,
    pub idempotency: Option<Idempotency>,
    /// Whose the watches are that it begins, for whoever lists them; `None` lists none.
    pub origin: Option<Arc<Origin>>,
}

impl Call {
    /// A call by anybody, to be answered by `deadline`.
    #[must_use]
    pub fn new(deadline: Instant) -> Self {
        Self { identity: Identity::Open, deadline, idempotency: None, origin: None }
    }

    /// The call with whose watches it begins.
    #[must_use]
    pub fn by(self, origin: Option<Arc<Origin>>) -> Self {
        Self { origin, ..self }
    }
}

/// How current a read has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// Reflects everything acknowledged before the read began.
    #[default]
    Linearizable,
    /// What this member has applied so far.
    Serializable,
}

/// A command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The store's revision after the command.
    pub revision: Revision,
    pub outcome: Outcome,
    /// Whether the outcome is that of an earlier request with the same idempotency key.
    pub replayed: bool,
}

/// What every answer shows of the member and its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub revision: Revision,
    pub cluster: ClusterId,
    pub member: MemberId,
    pub term: Term,
    pub applied: Index,
}

/// The use cases over one running member. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    node: NodeHandle,
    limits: Limits,
    metrics: Metrics,
    /// Cancelled when the server drains.
    shutdown: CancellationToken,
    started: Instant,
    name: String,
    /// For those who wait in queues here.
    lines: queue::Lines,
    renewals: queue::Renewals,
    /// For those who read pieces for watches.
    watch_reads: Arc<Semaphore>,
    open_watches: Arc<watchers::OpenWatches>,
    /// What came of requests for nodes.
    nodes: tree::Counts,
    hashing: auth::Hashing,
    answers: Answers,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("node", &self.0.node).finish_non_exhaustive()
    }
}

impl Service {
    #[must_use]
    pub fn new(node: NodeHandle, name: String, limits: Limits, metrics: Metrics, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            node,
            limits,
            shutdown,
            started: Instant::now(),
            name,
            lines: queue::Lines::default(),
            renewals: queue::Renewals::default(),
            watch_reads: Arc::new(Semaphore::new(MAX_WATCH_READS)),
            open_watches: Arc::default(),
            nodes: tree::Counts::default(),
            hashing: auth::Hashing::default(),
            answers: Answers::new(metrics.answers.cut_off.clone()),
            metrics,
        }))
    }

    /// What an answer shows when it has nothing more exact.
    #[must_use]
    pub fn header(&self) -> Header {
        let published = self.0.node.latest();
        let identity = self.0.node.identity();
        Header {
            revision: published.revision(),
            cluster: identity.cluster,
            member: identity.member,
            term: self.0.node.term(),
            applied: published.index,
        }
    }

    /// The raft term, as far as this member knows.
    #[must_use]
    pub fn term(&self) -> Term {
        self.0.node.term()
    }

    /// Whether this member hears of a leader, or leads.
    #[must_use]
    pub fn has_leader(&self) -> bool {
        self.0.node.leader().is_some()
    }

    /// The large answers that are under way.
    #[must_use]
    pub fn answers(&self) -> &Answers {
        &self.0.answers
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] and [`Error::TooLarge`] before anything was proposed; [`Error::Refused`] when the
    /// state did not allow it; [`Error::OutcomeUnknown`] when it may have been carried out.
    pub async fn write(&self, call: &Call, command: Command) -> Result<Done, Error> {
        call.idempotency.as_ref().map_or(Ok(()), guard::idempotency)?;
        self.0.limits.check(&command)?;
        match self.0.node.room() {
            Room::Short if guard::grows(&command) => return Err(Error::NoSpace),
            Room::None if guard::grows(&command) || guard::makes_events(&command) => return Err(Error::NoSpace),
            Room::Enough | Room::Short | Room::None => {}
        }
        // What was carried out has to be answered, so it is looked beforehand where there is no room.
        let waits = self.0.answers.is_full() && shown::shows_much(&command, &self.0.node.latest().view);
        let _turn = if waits { Some(self.0.answers.turn_with_room(call.deadline).await?) } else { None };
        let reply = self.propose(call, command).await?;
        match reply.result {
            Ok(outcome) => Ok(Done { revision: reply.revision, outcome, replayed: reply.replayed }),
            Err(refusal) => Err(Error::Refused { refusal: Box::new(refusal), revision: reply.revision }),
        }
    }

    async fn propose(&self, call: &Call, command: Command) -> Result<Reply, Error> {
        let (start, proposals) = (Instant::now(), &self.0.metrics.proposals);
        let _pending = proposals.begin();
        let result = self.0.node.propose(command, None, call.idempotency.clone(), call.deadline).await;
        let result = result.map_err(Error::from);
        let settled = match &result {
            Ok(_) => Settled::Applied,
            Err(Error::OutcomeUnknown | Error::Stopped(_)) => Settled::Unknown,
            Err(_) => Settled::Failed,
        };
        proposals.settle(settled, start.elapsed());
        result
    }

    /// An id for a new lease: random, positive as a signed number.
    #[must_use]
    pub fn new_lease_id(&self) -> LeaseId {
        LeaseId(rand::random_range(1..=i64::MAX.unsigned_abs()))
    }

    /// The bounds that the operator set.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Resolves when the server begins to drain: long requests end then, in a way that their clients can resume.
    pub fn shutdown_signal(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.shutdown.clone().cancelled_owned()
    }
}
