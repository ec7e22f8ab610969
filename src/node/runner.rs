//! Turns: one closed [`Event`] for everything that can happen to the replica, taken one at a time.
//!
//! The runner has no thread. Whoever brings an event takes the turn, under a lock beneath which nothing waits: inputs
//! go into the replica, and what it asks for goes into the queues of disk, applier and peers. So an event costs no change of
//! thread, and a request at rest reaches the disk from the thread that read it. Proposals and reads gather beside
//! the lock while they may not go yet, and whoever makes room for them takes them along.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::driver::{Arrived, Driver};
use super::gather::Gathered;
use super::handle::ReadError;
use super::transport::{PeerMessage, Transport};
use super::waiters::Pending;
use crate::consensus::Message;
use crate::model::{Index, MemberId, Term};

/// Everything that can happen to the replica, besides proposals, reads and what other members send.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Tick,
    /// The disk has written and synced everything up to this number.
    Persisted(u64),
    /// A change of membership was applied, or refused; comes before `Applied`.
    MembershipApplied {
        index: Index,
        accepted: bool,
    },
    /// What the state machine knows of the members has changed.
    MembersChanged,
    Applied {
        index: Index,
        term: Term,
    },
    /// The store holds everything up to here for good: the log may be cut.
    Truncate(Index),
    /// Messages to this member were lost.
    Unreachable(MemberId),
    /// How sending a snapshot ended.
    SnapshotSent {
        to: MemberId,
        delivered: bool,
    },
    Stop,
}

/// Answered with the index that a linearizable read has to wait for.
pub(super) type PendingRead = oneshot::Sender<Result<Index, ReadError>>;

/// The member stopped, and takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopped;

pub(super) struct Runner {
    /// Never locked before `gathered` is let go.
    driver: Mutex<Driver>,
    gathered: Mutex<Gathered>,
}

impl Runner {
    pub(super) fn new(driver: Driver) -> Self {
        Self { driver: Mutex::new(driver), gathered: Mutex::default() }
    }

    /// Carries out what the replica asks for at its start.
    pub(super) fn begin(&self) {
        self.turn(|_| {});
    }

    /// From here on there are other members to talk to.
    pub(super) fn connect(self: &Arc<Self>, transport: Transport) {
        self.turn(|driver| driver.connect(transport, Arc::downgrade(self)));
    }

    /// Takes a proposal, at once or with the next ones. Its reply comes when it is applied here. Where a time is given,
    /// [`Runner::wake`] is to be called then.
    ///
    /// # Errors
    /// When the member has stopped: the proposal is certainly not applied.
    pub(super) fn propose(&self, pending: Pending) -> Result<Option<Instant>, Stopped> {
        let mut gathered = self.gathered.lock();
        if gathered.stopped {
            return Err(Stopped);
        }
        gathered.push(pending);
        let go_at = gathered.proposals_go_at;
        if gathered.are_enough(go_at, Instant::now) {
            gathered.proposals_go_at = None;
            drop(gathered);
            self.turn(|_| {});
            return Ok(None);
        }
        Ok(gathered.alarm())
    }

    /// Takes along what has waited for company for long enough.
    pub(super) fn wake(&self) {
        self.turn(|_| {});
    }

    /// Takes a change of membership. Its reply comes as a proposal's does.
    ///
    /// # Errors
    /// When the member has stopped.
    pub(super) fn change_membership(&self, change: Pending) -> Result<(), Stopped> {
        let running = self.turn(|driver| driver.change_membership(change));
        if running { Ok(()) } else { Err(Stopped) }
    }

    /// Has the member that leads hand over to another.
    ///
    /// # Errors
    /// When this member has stopped.
    pub(super) fn transfer(&self, to: MemberId) -> Result<(), Stopped> {
        let running = self.turn(|driver| driver.transfer(to));
        if running { Ok(()) } else { Err(Stopped) }
    }

    /// Takes a read, at once or with the next ones.
    ///
    /// # Errors
    /// When the member has stopped.
    pub(super) fn read(&self, read: PendingRead) -> Result<(), Stopped> {
        let mut gathered = self.gathered.lock();
        if gathered.stopped {
            return Err(Stopped);
        }
        gathered.reads.push(read);
        if std::mem::take(&mut gathered.reads_may_go) {
            drop(gathered);
            self.turn(|_| {});
        }
        Ok(())
    }

    /// Takes an event.
    ///
    /// # Errors
    /// When the member has stopped, perhaps by this event.
    pub(super) fn handle(&self, event: Event) -> Result<(), Stopped> {
        let running = self.turn(|driver| driver.take(event));
        if running { Ok(()) } else { Err(Stopped) }
    }

    /// Takes what another member sent.
    pub(super) fn receive(&self, from: MemberId, message: PeerMessage) {
        self.turn(|driver| driver.receive(from, message));
    }

    /// Takes the state that came with a snapshot's message, whole and durable. False where it is of no use any more.
    pub(super) fn install(&self, message: Message, arrived: Arrived) -> bool {
        let mut taken = false;
        self.turn(|driver| taken = driver.install(message, arrived));
        taken
    }

    /// Begins to hand leadership over, where this member leads and another can. Whether it did.
    pub(super) fn hand_over(&self) -> bool {
        let mut begun = false;
        self.turn(|driver| begun = driver.hand_over());
        begun
    }

    /// Ticks until the member stops, or `stop` is dropped.
    pub(super) fn tick(&self, every: Duration, stop: &Receiver<()>) {
        // A late tick is one tick: time in which this thread did not run is not held against a leader.
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(every) {
            if self.handle(Event::Tick) == Err(Stopped) {
                return;
            }
        }
    }

    /// One turn: an event, then whatever may go. False once the member has stopped.
    fn turn(&self, take: impl FnOnce(&mut Driver)) -> bool {
        let mut driver = self.driver.lock();
        if driver.has_stopped() {
            return false;
        }
        take(&mut driver);
        if driver.must_stop() {
            self.stop(&mut driver);
            return false;
        }
        loop {
            let (proposals, reads) = self.take_gathered(&driver);
            driver.propose(proposals);
            driver.read(reads);
            driver.settle();
            if !self.rest(&mut driver) {
                return true;
            }
        }
    }

    fn take_gathered(&self, driver: &Driver) -> (Vec<Pending>, Vec<PendingRead>) {
        let mut gathered = self.gathered.lock();
        let go_at = driver.proposals_go_at();
        // What the member proposes of its own goes behind all that has gathered, so that the end of a lease is refused where a
        // renewal has waited for longer.
        let own_goes = go_at.is_some() && driver.has_own_proposals();
        let enough = own_goes || gathered.are_enough(go_at, Instant::now);
        let proposals = if enough { gathered.take_proposals(Instant::now) } else { Vec::new() };
        let reads = if driver.may_read() { std::mem::take(&mut gathered.reads) } else { Vec::new() };
        (proposals, reads)
    }

    /// Ends the turn, unless something came meanwhile that may go: then true.
    fn rest(&self, driver: &mut Driver) -> bool {
        let mut gathered = self.gathered.lock();
        gathered.take_back(driver.take_returned());
        let (go_at, may_read) = (driver.proposals_go_at(), driver.may_read());
        if gathered.are_enough(go_at, Instant::now) || (may_read && !gathered.reads.is_empty()) {
            return true;
        }
        if go_at.is_none() && driver.is_leaderless() {
            // They may wait for long, and those who brought them do not.
            gathered.sift(|proposals| driver.keep_awaited(proposals));
        }
        gathered.proposals_go_at = go_at;
        gathered.reads_may_go = may_read;
        false
    }

    /// Lets disk and applier finish what they have. Whoever still waits learns that the member stopped.
    fn stop(&self, driver: &mut Driver) {
        driver.stop();
        let mut gathered = self.gathered.lock();
        gathered.stopped = true;
        gathered.reads.clear();
        gathered.sift(Vec::clear);
        drop(gathered);
        driver.refuse_waiters();
    }
}
