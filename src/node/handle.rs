//! The way into a running member: propose, read, watch, and look at its state.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout_at};

use super::report::Report;
use super::runner::{Event, Runner, Stopped};
use super::traffic::Sent;
use super::waiters::{GivenUp, Pending, Permit};
use super::watch::Watcher;
use super::{Identity, Published, Room, Shared};
use crate::consensus::{ChangeRefusal, MembershipChange};
use crate::model::codec::encode_into;
use crate::model::{Command, Idempotency, Index, LeaseId, MemberId, Proposal, Reply, Revision, Term, Ttl};
use crate::observe::Metrics;
use crate::watch::{Filter, WatcherId};

/// How long a member that stops waits for another to lead; and how often it looks.
const HAND_OVER: Duration = Duration::from_secs(1);
const HAND_OVER_STEP: Duration = Duration::from_millis(2);
/// How often the leader is asked to hand over, and how often it is looked whether it has.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why a proposal has no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// Certainly not applied: nobody leads just now.
    #[error("there is no leader")]
    NoLeader,
    /// Certainly not applied: as much is in flight as may be.
    #[error("too many requests in flight")]
    Overloaded,
    /// Certainly not applied: the leader does not make this change of membership.
    #[error(transparent)]
    Refused(ChangeRefusal),
    /// Perhaps applied: not known by the deadline.
    #[error("not known to be applied by the deadline")]
    OutcomeUnknown,
    /// Certainly not applied: the member had stopped already.
    #[error("the member has stopped: {0}")]
    Stopped(Arc<str>),
}

/// Why a read has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    #[error("there is no leader")]
    NoLeader,
    #[error("not answered by the deadline")]
    DeadlineExceeded,
    #[error("the member has stopped: {0}")]
    Stopped(Arc<str>),
}

/// Why leadership was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransferError {
    #[error("there is no leader")]
    NoLeader,
    /// The leader goes on: the other does not answer it, or has not caught up.
    #[error("the member did not take over by the deadline")]
    NotTaken,
    #[error("the member has stopped: {0}")]
    Stopped(Arc<str>),
}

/// A cheap, shared way to one running member.
#[derive(Clone)]
pub struct NodeHandle {
    shared: Arc<Shared>,
    runner: Arc<Runner>,
}

impl fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeHandle").field("identity", &self.shared.identity).finish_non_exhaustive()
    }
}

impl NodeHandle {
    pub(super) fn new(shared: Arc<Shared>, runner: Arc<Runner>) -> Self {
        Self { shared, runner }
    }

    /// Puts a command through the log and waits until it is applied here.
    ///
    /// # Errors
    /// [`ProposeError::OutcomeUnknown`] when it may have been applied; the others say that it certainly was not.
    pub async fn propose(
        &self,
        command: Command,
        author: Option<Arc<str>>,
        idempotency: Option<Idempotency>,
        deadline: Instant,
    ) -> Result<Reply, ProposeError> {
        if self.shared.failed() {
            return Err(ProposeError::Stopped(self.failure()));
        }
        let id = self.shared.next_proposal();
        let change = match &command {
            Command::ChangeMember(change) => Some(MembershipChange::from(change)),
            _ => None,
        };
        // A lease lives for a second at least.
        let can_wait = matches!(command, Command::RenewLeases(_));
        let mut encoded = Vec::with_capacity(512);
        encode_into(&mut encoded, &Proposal { id, author, idempotency, command });
        let permit = Permit::take(&self.shared.in_flight, encoded.len()).ok_or(ProposeError::Overloaded)?;
        let permit = Arc::new(permit);
        let number = id.sequence;
        let waiting = Waiting { shared: &self.shared, number };
        let mut answer = self.shared.waiters.add(number, Arc::clone(&permit));
        let pending = Pending { number, encoded: Bytes::from(encoded), change, can_wait, permit: Some(permit) };
        let taken = match change {
            None => self.runner.propose(pending),
            Some(_) => self.runner.change_membership(pending).map(|()| None),
        };
        match taken {
            Ok(None) => {}
            // Whoever waits here may be gone by then.
            Ok(Some(at)) => self.wake(at),
            // It may have been on its way before the member stopped; then that was said.
            Err(Stopped) => return answer.try_recv().unwrap_or_else(|_| Err(ProposeError::Stopped(self.failure()))),
        }
        match timeout_at(deadline.into(), answer).await {
            Ok(Ok(result)) => {
                // There is nothing left to give up.
                std::mem::forget(waiting);
                result
            }
            Ok(Err(_)) | Err(_) => Err(match self.shared.waiters.give_up(number) {
                GivenUp::Sent => ProposeError::OutcomeUnknown,
                GivenUp::Unsent if self.leader().is_none() => ProposeError::NoLeader,
                // Its turn did not come: the disk, or the way to the leader, is that slow.
                GivenUp::Unsent => ProposeError::Overloaded,
            }),
        }
    }

    /// Has what gathers looked at once more at a time.
    fn wake(&self, at: Instant) {
        // A member that is stopped meanwhile is not held.
        let runner = Arc::downgrade(&self.runner);
        self.shared.runtime.spawn(async move {
            sleep_until(at.into()).await;
            if let Some(runner) = runner.upgrade() {
                runner.wake();
            }
        });
    }

    /// The state of the store that reflects everything acknowledged before the call, by whichever member.
    ///
    /// # Errors
    /// When no leader confirms the state by the deadline.
    pub async fn linearizable(&self, deadline: Instant) -> Result<Arc<Published>, ReadError> {
        // A lone voter is its own majority: whatever was acknowledged is applied and published here.
        if self.shared.sole_leader.load(Ordering::SeqCst) {
            return Ok(self.shared.published());
        }
        let ticket = async {
            let (reply, answer) = oneshot::channel();
            if self.runner.read(reply).is_err() {
                return Err(ReadError::Stopped(self.failure()));
            }
            answer.await.unwrap_or_else(|_| Err(ReadError::Stopped(self.failure())))
        };
        let index = match timeout_at(deadline.into(), ticket).await {
            Ok(index) => index?,
            Err(_) => return Err(self.unanswered()),
        };
        self.wait_applied(index, deadline).await?;
        Ok(self.shared.published())
    }

    async fn wait_applied(&self, index: Index, deadline: Instant) -> Result<(), ReadError> {
        let mut applied = self.shared.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= index);
        match timeout_at(deadline.into(), reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ReadError::Stopped(self.failure())),
            Err(_) => Err(ReadError::DeadlineExceeded),
        }
    }

    fn unanswered(&self) -> ReadError {
        if self.shared.failed() {
            ReadError::Stopped(self.failure())
        } else if self.leader().is_none() {
            ReadError::NoLeader
        } else {
            ReadError::DeadlineExceeded
        }
    }

    /// The state of the store as applied here so far, perhaps behind what others have acknowledged.
    #[must_use]
    pub fn latest(&self) -> Arc<Published> {
        self.shared.published()
    }

    /// Starts to follow changes after a revision; see [`Watcher`] for the state that comes with it.
    #[must_use]
    pub fn watch(&self, filter: Filter, after: Revision) -> (Watcher, Arc<Published>) {
        Watcher::register(&self.shared, filter, after)
    }

    /// The revision up to which all watchers were offered what happened, and for each of these the one up to which it has taken
    /// everything. They are looked at under one lock that every write takes: not too many at once.
    #[must_use]
    pub fn watched_through<'a>(&self, watchers: impl Iterator<Item = &'a Watcher>) -> (Revision, Vec<Revision>) {
        Watcher::through(&self.shared, watchers)
    }

    /// Of each of these watchers how far it is, and the bytes that wait for it; `None` for one that is gone. Not too many at once,
    /// either.
    #[must_use]
    pub fn watch_standings(&self, ids: impl Iterator<Item = WatcherId>) -> Vec<Option<(Revision, usize)>> {
        self.shared.hub.standings(ids)
    }

    /// The bytes that all watchers hold.
    #[must_use]
    pub fn watch_held_bytes(&self) -> usize {
        self.shared.hub.held_bytes()
    }

    /// What is left of a lease by this member's clock; `None` when there is no such lease.
    #[must_use]
    pub fn lease_remaining(&self, id: LeaseId) -> Option<Ttl> {
        self.shared.lessor.lock().remaining(id, Instant::now())
    }

    /// When a lease ends by this member's clock; `None` when there is no such lease.
    #[must_use]
    pub fn lease_deadline(&self, id: LeaseId) -> Option<Instant> {
        self.shared.lessor.lock().deadline(id)
    }

    #[must_use]
    pub fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// Whether other members can reach this one.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.shared.listens
    }

    /// How the members are: this one, and those others that it hears of.
    #[must_use]
    pub fn reports(&self) -> BTreeMap<MemberId, Report> {
        let mut reports = self.shared.reports.recent(&self.shared.members());
        reports.insert(self.shared.identity.member, Report::of(&self.shared));
        reports
    }

    /// How many messages that append entries have come in.
    #[must_use]
    pub fn appends_received(&self) -> u64 {
        self.shared.traffic.received()
    }

    /// The messages that append entries, as they were sent to each other member.
    #[must_use]
    pub fn appends_sent(&self) -> BTreeMap<MemberId, Sent> {
        self.shared.traffic.sent()
    }

    /// Since when the leader leads that is known here; `None` where none was so far.
    #[must_use]
    pub fn leader_since(&self) -> Option<SystemTime> {
        self.shared.traffic.leader_since()
    }

    /// Whether the members, as applied here, know of this one what it is called and where clients reach it.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.shared.is_described(&self.shared.members())
    }

    /// The member that leads, as far as known here.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        match self.shared.leader.load(Ordering::Relaxed) {
            0 => None,
            id => Some(MemberId(id)),
        }
    }

    #[must_use]
    pub fn term(&self) -> Term {
        Term(self.shared.term.load(Ordering::Relaxed))
    }

    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared.published.read().revision()
    }

    /// What the member counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The bytes that store and log take on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> (u64, u64) {
        use crate::storage::Engine as _;
        (self.shared.engine.read().disk_bytes().unwrap_or(0), self.shared.wal_bytes.load(Ordering::Relaxed))
    }

    /// What the disks of the cluster have room for: this member's, and those of the other voters that it hears of.
    #[must_use]
    pub fn room(&self) -> Room {
        let shared = &self.shared;
        shared.space.room(shared.in_flight.bytes() as u64).max(shared.space.others())
    }

    /// What this member's own disk has room for.
    #[must_use]
    pub fn own_room(&self) -> Room {
        self.shared.space.room(0)
    }

    /// Looks how much room the disk has. To be called several times a second.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn observe_space(&self) -> std::io::Result<()> {
        // A log that cannot have its next segment stops with the present one.
        let has_room = self.shared.log_has_room.load(Ordering::Relaxed);
        let unwritten = self.shared.engine.read().unwritten_bytes();
        let free = || if has_room { Ok(self.free_bytes()?.saturating_sub(unwritten)) } else { Ok(0) };
        self.shared.space.observe(free, || self.disk_bytes().0)
    }

    /// The bytes free on the disk that holds the data.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn free_bytes(&self) -> std::io::Result<u64> {
        self.shared.free_bytes()
    }

    /// Why the member stopped, if it has.
    #[must_use]
    pub fn failed(&self) -> Option<Arc<str>> {
        self.shared.failure.borrow().clone()
    }

    /// Resolves with the reason when the member stops by itself.
    pub fn failure_signal(&self) -> impl Future<Output = Arc<str>> + Send + 'static {
        let mut failure = self.shared.failure.subscribe();
        async move {
            let stopped = failure.wait_for(Option::is_some).await.map(|reason| reason.clone());
            match stopped {
                Ok(reason) => reason.unwrap_or_default(),
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn failure(&self) -> Arc<str> {
        self.shared.failure()
    }

    /// Has another member lead, and waits until it does.
    ///
    /// # Errors
    /// When it does not by the deadline.
    pub async fn transfer(&self, to: MemberId, deadline: Instant) -> Result<(), TransferError> {
        let mut asked: Option<Instant> = None;
        while self.leader() != Some(to) {
            let now = Instant::now();
            if now >= deadline {
                return Err(if self.leader().is_none() { TransferError::NoLeader } else { TransferError::NotTaken });
            }
            // A word to the leader may be lost, and who leads may change.
            if asked.is_none_or(|last| now.duration_since(last) >= ASK_AGAIN) {
                asked = Some(now);
                self.runner.transfer(to).map_err(|_| TransferError::Stopped(self.failure()))?;
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Lets another member lead, if this one does, so that the cluster need not find out by itself that it is gone.
    pub(super) fn hand_over(&self) {
        let leads = || self.leader() == Some(self.shared.identity.member);
        if !leads() || !self.runner.hand_over() {
            return;
        }
        let end = Instant::now() + HAND_OVER;
        while leads() && !self.shared.failed() && Instant::now() < end {
            std::thread::sleep(HAND_OVER_STEP);
        }
    }

    pub(super) fn stop(&self) {
        // A runner that is gone has stopped already.
        let _ = self.runner.handle(Event::Stop);
    }
}

/// Somebody who waits for a proposal, and gives it up when dropped.
struct Waiting<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.waiters.give_up(self.number);
    }
}
