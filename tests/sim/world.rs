//! The world of one run: virtual time, one heap of events, one seed. It plays clock, disk, network and operator around
//! the real replica, log, state machine and hub, and checks them at every step.

use std::collections::BTreeMap;

use vardr::model::{Index, LeaseId, LogEntry, MemberId, ProposalId, Revision};
use vardr::storage::memory::MemoryEngine;

use crate::applier::Expected;
use crate::chance::{Chance, Trace};
use crate::clients::Client;
use crate::disk::LogDisk;
use crate::faults::{Bug, Fault};
use crate::leases::LeaseTruth;
use crate::life::Death;
use crate::member::Member;
use crate::model::Model;
use crate::report::Report;
use crate::watchers::Watcher;

pub const MS: u64 = 1000;
pub const SECOND: u64 = 1000 * MS;
/// How long faults come.
pub const STORM: u64 = 20 * SECOND;
/// How long the member then has to show progress.
const CALM: u64 = 15 * SECOND;
const TICK: u64 = 100 * MS;
const CLIENTS: usize = 4;
const WATCHERS: usize = 4;
pub const MEMBER: MemberId = MemberId(1);

/// What must not be.
#[derive(Debug, Clone)]
pub struct Violation(pub String);

pub type Checked<T = ()> = Result<T, Violation>;

/// Fails the run with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::world::Violation(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

/// Everything that can happen next. What concerns a member concerns one start of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Tick,
    /// The runner takes the proposals that wait.
    Drain,
    LogWritten,
    Applied,
    /// The store is synced and the log cut off.
    Maintain,
    Sweep,
    CheckpointLeases,
    Client(usize),
    ClientGivesUp {
        client: usize,
        operation: u64,
    },
    Watcher(usize),
    Fault,
    Start,
    FaultsEnd,
    End,
}

impl Event {
    /// Whether the event happens inside the member, and so not while it stands still or after it is gone.
    fn is_members(&self) -> bool {
        match self {
            Self::Tick
            | Self::Drain
            | Self::LogWritten
            | Self::Applied
            | Self::Maintain
            | Self::Sweep
            | Self::CheckpointLeases => true,
            Self::Client(_)
            | Self::ClientGivesUp { .. }
            | Self::Watcher(_)
            | Self::Fault
            | Self::Start
            | Self::FaultsEnd
            | Self::End => false,
        }
    }
}

pub struct World {
    pub chance: Chance,
    pub now: u64,
    heap: BTreeMap<(u64, u64), (u64, Event)>,
    scheduled: u64,
    pub report: Report,
    pub trace: Trace,
    pub bug: Option<Bug>,

    pub log: LogDisk,
    pub store: MemoryEngine,
    pub member: Option<Member>,
    /// Counts the starts of the member's process.
    pub starts: u64,
    pub paused_until: u64,
    pub slow_until: u64,
    /// What the wall clock is off by, in milliseconds.
    pub clock_offset: i64,
    pub storming: bool,
    /// Whether the member may stop because of its disk.
    pub log_fault_planted: bool,
    pub store_fault_planted: bool,
    /// How the member is to die in the middle of its next write to the log.
    pub tear: Option<Death>,

    pub model: Model,
    /// Every entry ever committed: no other may ever stand at its index.
    pub committed: BTreeMap<Index, LogEntry>,
    /// What each entry must come to, by the model.
    pub expected: BTreeMap<Index, Expected>,
    pub digests: BTreeMap<Index, u128>,
    pub leases: BTreeMap<LeaseId, LeaseTruth>,
    /// When a client sent a proposal.
    pub asked: BTreeMap<ProposalId, u64>,
    /// The largest revision that anybody was told of.
    pub acknowledged: Revision,

    pub clients: Vec<Client>,
    pub watchers: Vec<Watcher>,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut chance = Chance::new(seed);
        Self {
            log: LogDisk::new(&mut chance),
            chance,
            now: 0,
            heap: BTreeMap::new(),
            scheduled: 0,
            report: Report { seeds: 1, ..Report::default() },
            trace: Trace::new(),
            bug,
            store: MemoryEngine::new(),
            member: None,
            starts: 0,
            paused_until: 0,
            slow_until: 0,
            clock_offset: 0,
            storming: true,
            log_fault_planted: false,
            store_fault_planted: false,
            tear: None,
            model: Model::default(),
            committed: BTreeMap::new(),
            expected: BTreeMap::new(),
            digests: BTreeMap::new(),
            leases: BTreeMap::new(),
            asked: BTreeMap::new(),
            acknowledged: Revision::ZERO,
            clients: (0..CLIENTS).map(Client::new).collect(),
            watchers: Vec::new(),
        }
    }

    /// Runs storm and calm to their end.
    pub fn run(&mut self) -> Checked {
        self.watchers = (0..WATCHERS).map(|_| Watcher::new(self.draw_range())).collect();
        self.at(0, Event::Start);
        (0..CLIENTS).for_each(|client| self.soon(Event::Client(client), 100 * MS));
        (0..WATCHERS).for_each(|watcher| self.soon(Event::Watcher(watcher), 100 * MS));
        self.soon(Event::Fault, 2 * SECOND);
        self.at(STORM, Event::FaultsEnd);
        self.at(STORM + CALM, Event::End);
        while let Some(((time, _), (start, event))) = self.heap.pop_first() {
            self.now = time;
            self.report.virtual_ms = self.now / MS;
            if event.is_members() {
                if start != self.starts || self.member.is_none() {
                    continue;
                }
                if self.now < self.paused_until {
                    let after = self.paused_until - self.now;
                    self.after(after, event);
                    continue;
                }
            }
            self.tell(|| format!("{event:?}"));
            self.happen(event)?;
            if event == Event::End {
                break;
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Tick => {
                self.after(TICK, Event::Tick);
                self.tick()
            }
            Event::Drain => self.drain(),
            Event::LogWritten => self.log_written(),
            Event::Applied => self.applied(),
            Event::Maintain => self.maintain(),
            Event::Sweep => self.sweep(),
            Event::CheckpointLeases => {
                self.checkpoint_leases();
                Ok(())
            }
            Event::Client(client) => self.client_acts(client),
            Event::ClientGivesUp { client, operation } => {
                self.client_gives_up(client, operation);
                Ok(())
            }
            Event::Watcher(watcher) => self.watcher_acts(watcher),
            Event::Fault => {
                self.fault();
                Ok(())
            }
            Event::Start => self.start(),
            Event::FaultsEnd => {
                self.storming = false;
                self.paused_until = self.now;
                self.slow_until = self.now;
                Ok(())
            }
            Event::End => self.check_progress(),
        }
    }

    /// Schedules an event of the present start.
    pub fn at(&mut self, time: u64, event: Event) {
        self.scheduled += 1;
        self.heap.insert((time, self.scheduled), (self.starts, event));
    }

    pub fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// Within a time from now.
    pub fn soon(&mut self, event: Event, within: u64) {
        let delay = self.chance.below(within);
        self.after(delay, event);
    }

    /// Adds to the trace.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        let line = format!("{:>10} {}", self.now, what());
        self.trace.add(&line);
    }

    fn fault(&mut self) {
        if !self.storming {
            return;
        }
        self.soon(Event::Fault, 3 * SECOND);
        let fault = Fault::draw(&mut self.chance);
        if self.member.is_none() {
            return;
        }
        self.tell(|| format!("{fault:?}"));
        self.report.fault(fault.name());
        self.inflict(fault);
    }
}
