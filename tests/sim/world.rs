//! The world of one run: virtual time, one heap of events, one seed. It plays clocks, disks, network and operators around
//! the real replicas, logs, state machines and hubs of a whole cluster, and checks them at every step.

use std::collections::BTreeMap;

use vardr::model::{Member as Known, MemberId, Members};

use crate::chance::{Chance, Trace};
use crate::clients::Client;
use crate::faults::{Bug, Fault};
use crate::life::Host;
use crate::member::Caller;
use crate::network::{Letter, Network};
use crate::report::Report;
use crate::snapshots::Stream;
use crate::truth::Truth;
use crate::watchers::Watcher;

pub const MS: u64 = 1000;
pub const SECOND: u64 = 1000 * MS;
/// How long faults come.
pub const STORM: u64 = 40 * SECOND;
/// How long the cluster then has to show progress.
const CALM: u64 = 20 * SECOND;
/// How long clients are silent before the end, so that everything can come to rest.
const QUIET: u64 = 2 * SECOND;
/// How long it may take to come to rest, beyond that.
const PATIENCE: u64 = 6 * SECOND;
const TICK: u64 = 100 * MS;
const CLIENTS: usize = 4;
const WATCHERS: usize = 4;
/// In one of so many runs somebody is away while a member that it does not know comes to lead: nothing else brings that
/// about often enough to hold what it takes.
const RELAYS: u64 = 8;

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

/// What can happen inside a member, and so not while it stands still or is down.
#[derive(Debug, Clone)]
pub enum Happening {
    Tick,
    /// Whatever may go, goes.
    Turn,
    Written,
    Applied,
    /// The store is synced and the log cut off.
    Maintain,
    Sweep,
    CheckpointLeases,
    Request(Caller),
    Letter {
        from: usize,
        letter: Letter,
    },
    Unreachable(MemberId),
    /// A snapshot has come in, as far as it comes.
    SnapshotComes(u64),
    /// The sender learns of the end of a stream.
    SnapshotEnds {
        to: MemberId,
        number: u64,
        delivered: bool,
    },
}

/// Everything that can happen next.
#[derive(Debug, Clone)]
enum Event {
    /// In one start of a member, or in whichever there is.
    Inside {
        place: usize,
        start: Option<u64>,
        happening: Happening,
    },
    World(Outside),
}

/// What happens outside of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    Client(usize),
    ClientGivesUp {
        client: usize,
        operation: u64,
    },
    Watcher(usize),
    Fault,
    Operator,
    /// A member is gone until the storm ends.
    Sleep(usize),
    Start(usize),
    /// A member that stood still goes on.
    Resume(usize),
    FaultsEnd,
    ClientsEnd,
    End,
}

pub struct World {
    pub chance: Chance,
    pub now: u64,
    heap: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    pub report: Report,
    pub trace: Trace,
    pub bug: Option<Bug>,

    pub hosts: Vec<Host>,
    pub network: Network,
    pub streams: BTreeMap<u64, Stream>,
    /// Decides the election timeouts.
    pub election_seed: u64,
    /// What of the log each member keeps for the others, in entries and bytes.
    pub kept: (u64, usize),
    pub first_members: Members,
    /// What goes wrong in this run.
    faults: Vec<Fault>,
    pub storming: bool,
    /// Whether somebody is away while a member that it does not know comes to lead.
    pub relays: bool,
    /// Whom leadership was to go to.
    pub successor: Option<MemberId>,
    pub clients_act: bool,

    pub truth: Truth,
    pub clients: Vec<Client>,
    pub watchers: Vec<Watcher>,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut chance = Chance::new(seed);
        let count = *chance.pick(&[1, 3, 3, 3, 3, 3, 5, 5, 5, 5]);
        let first_members: Members = (0..count).map(|place| known(place, false)).collect();
        let hosts = (0..count).map(|place| Host::new(id_of(place), &mut chance)).collect();
        Self {
            now: 0,
            heap: BTreeMap::new(),
            scheduled: 0,
            report: Report::new(count),
            trace: Trace::new(),
            bug,
            hosts,
            network: Network::new(chance.below(3), chance.below(5)),
            streams: BTreeMap::new(),
            election_seed: chance.next(),
            kept: (chance.below(100), chance.index(50_000)),
            truth: Truth::new(first_members.clone()),
            first_members,
            faults: Fault::repertoire(&mut chance, count),
            storming: true,
            relays: count > 1 && seed.is_multiple_of(RELAYS),
            successor: None,
            clients_act: true,
            clients: (0..CLIENTS).map(Client::new).collect(),
            watchers: Vec::new(),
            chance,
        }
    }

    /// Runs storm and calm to their end.
    pub fn run(&mut self) -> Checked {
        self.watchers = (0..WATCHERS).map(|_| Watcher::new(self.draw_range())).collect();
        (0..self.hosts.len()).for_each(|place| self.soon(Outside::Start(place), 100 * MS));
        (0..CLIENTS).for_each(|client| self.soon(Outside::Client(client), 100 * MS));
        (0..WATCHERS).for_each(|watcher| self.soon(Outside::Watcher(watcher), 100 * MS));
        self.soon(Outside::Fault, 4 * SECOND);
        if self.relays {
            self.after(STORM / 4, Outside::Sleep(0));
            self.after(STORM / 4, Outside::Operator);
        } else {
            self.soon(Outside::Operator, 8 * SECOND);
        }
        self.after(STORM, Outside::FaultsEnd);
        self.after(STORM + CALM, Outside::ClientsEnd);
        self.after(STORM + CALM + QUIET, Outside::End);
        while let Some(((time, _), event)) = self.heap.pop_first() {
            self.now = time;
            self.report.virtual_ms = self.now / MS;
            match event {
                Event::Inside { place, start, happening } => self.happen_inside(place, start, happening)?,
                Event::World(Outside::End) if self.is_at_rest() || self.now > STORM + CALM + QUIET + PATIENCE => {
                    return self.check_progress();
                }
                Event::World(outside) => self.happen(outside)?,
            }
        }
        Ok(())
    }

    fn happen_inside(&mut self, place: usize, start: Option<u64>, happening: Happening) -> Checked {
        let host = &mut self.hosts[place];
        if host.member.is_none() || start.is_some_and(|start| start != host.starts) {
            return Ok(());
        }
        if self.now < host.paused_until {
            host.parked.push((start, happening));
            return Ok(());
        }
        self.tell(|| format!("member {place}: {happening:?}"));
        match happening {
            Happening::Tick => {
                self.inside(place, TICK * 100 / self.hosts[place].rate, Happening::Tick);
                self.tick(place)?;
            }
            Happening::Turn => {}
            Happening::Written => self.log_written(place)?,
            Happening::Applied => self.work(place)?,
            Happening::Maintain => self.maintain(place)?,
            Happening::Sweep => self.sweep(place)?,
            Happening::CheckpointLeases => self.checkpoint_leases(place),
            Happening::Request(caller) => self.take_request(place, caller)?,
            Happening::Letter { from, letter } => self.take_letter(place, from, letter)?,
            Happening::Unreachable(member) => {
                self.alive(place).replica.step(vardr::consensus::Input::Unreachable { member });
            }
            Happening::SnapshotComes(number) => self.snapshot_comes(place, number)?,
            Happening::SnapshotEnds { to, number, delivered } => self.snapshot_ends(place, to, number, delivered),
        }
        if self.is_up(place) { self.turn(place) } else { Ok(()) }
    }

    fn happen(&mut self, outside: Outside) -> Checked {
        self.tell(|| format!("{outside:?}"));
        match outside {
            Outside::Client(client) => self.client_acts(client),
            Outside::ClientGivesUp { client, operation } => self.client_gives_up(client, operation)?,
            Outside::Watcher(watcher) => self.watcher_acts(watcher)?,
            Outside::Fault => self.fault(),
            Outside::Operator => self.operate(),
            Outside::Sleep(place) => self.be_away(place, STORM),
            Outside::Start(place) => self.start(place)?,
            Outside::Resume(place) => self.resume(place),
            Outside::FaultsEnd => self.calm_down(),
            Outside::ClientsEnd => self.clients_act = false,
            Outside::End => self.after(100 * MS, Outside::End),
        }
        Ok(())
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.scheduled += 1;
        self.heap.insert((self.now + after, self.scheduled), event);
    }

    pub fn after(&mut self, delay: u64, event: Outside) {
        self.schedule(delay, Event::World(event));
    }

    /// Within a time from now.
    pub fn soon(&mut self, event: Outside, within: u64) {
        let delay = self.chance.below(within);
        self.after(delay, event);
    }

    /// In the present start of a member.
    pub fn inside(&mut self, place: usize, delay: u64, happening: Happening) {
        let start = Some(self.hosts[place].starts);
        self.schedule(delay, Event::Inside { place, start, happening });
    }

    pub fn inside_soon(&mut self, place: usize, within: u64, happening: Happening) {
        let delay = self.chance.below(within);
        self.inside(place, delay, happening);
    }

    /// In whichever start of a member there is then.
    pub fn in_any_start(&mut self, place: usize, delay: u64, happening: Happening) {
        self.schedule(delay, Event::Inside { place, start: None, happening });
    }

    /// What waited while the member stood still happens now, late.
    fn resume(&mut self, place: usize) {
        if self.now < self.hosts[place].paused_until {
            return;
        }
        for (start, happening) in std::mem::take(&mut self.hosts[place].parked) {
            self.schedule(0, Event::Inside { place, start, happening });
        }
    }

    fn calm_down(&mut self) {
        self.storming = false;
        self.network.heal();
        for place in 0..self.hosts.len() {
            self.hosts[place].heal(self.now);
            self.resume(place);
            self.soon(Outside::Start(place), SECOND);
        }
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
        self.soon(Outside::Fault, 3 * SECOND);
        let fault = *self.chance.pick(&self.faults);
        self.tell(|| format!("{fault:?}"));
        self.report.fault(fault.name());
        self.inflict(fault);
    }

    /// Whom a fault happens to: often whoever leads.
    pub fn draw_victim(&mut self) -> usize {
        match self.leader() {
            Some(leader) if self.chance.percent(40) => leader,
            _ => self.chance.index(self.hosts.len()),
        }
    }

    pub fn place_of(&self, id: MemberId) -> Option<usize> {
        self.hosts.iter().position(|host| host.id == id)
    }
}

/// The id of the member at a place.
pub fn id_of(place: usize) -> MemberId {
    MemberId(place as u64 + 1)
}

/// A member as the cluster knows it.
pub fn known(place: usize, learner: bool) -> Known {
    let (name, peer_urls) = (format!("m{place}"), vec![format!("http://{place}")]);
    let client_urls = Vec::new();
    Known { id: id_of(place), name, peer_urls, client_urls, incarnation: None, learner, becomes_voter: false }
}
