//! The machines that members run on: starting, stopping, what is left in between, and the end of the run.

use std::collections::BTreeMap;

use vardr::consensus::{Config, Position, Recovered, Replica, Role};
use vardr::machine::{GENESIS, StateMachine, begin, content_digest};
use vardr::model::{HardState, Incarnation, Index, KeyRange, MemberId, RangeQuery, Revision};
use vardr::mvcc::View;
use vardr::storage::memory::{Call, MemoryEngine};
use vardr::storage::schema::{self, Meta};
use vardr::storage::{Engine, Keyspace, Snapshot as _, StorageError, WriteBatch};
use vardr::wal::{self, Batch, SnapshotMark};
use vardr::watch::{Hub, Limits};

use crate::chance::Chance;
use crate::disk::{LogDisk, Order};
use crate::engine::SimEngine;
use crate::faults::{Bug, Fault};
use crate::member::Member;
use crate::snapshots::Step;
use crate::world::{Checked, Happening, MS, Outside, SECOND, Violation, World, ensure};

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// What it wrote is with the operating system, which lives on.
    Process,
    /// What was not synced may be lost, in any part.
    Power,
}

/// A machine: what of a member outlives its process, and what hinders it.
#[expect(clippy::struct_excessive_bools, reason = "each says something else about the machine")]
pub struct Host {
    pub id: MemberId,
    pub log: LogDisk,
    /// By name, the present one among them.
    pub stores: BTreeMap<String, MemoryEngine>,
    pub store: String,
    /// Numbers the stores that come with snapshots.
    pub next_store: u64,
    pub member: Option<Member>,
    /// Counts the starts of the member's process.
    pub starts: u64,
    /// Whether it begins as one that the cluster has added.
    pub joins: bool,
    /// Whether it is no member any more.
    pub has_left: bool,
    pub down_until: u64,
    pub paused_until: u64,
    /// What came while it stood still.
    pub parked: Vec<(Option<u64>, Happening)>,
    pub slow_until: u64,
    /// How fast its clock goes, in percent of real time.
    pub rate: u64,
    /// What the wall clock is off by, in milliseconds.
    pub clock_offset: i64,
    /// Whether the member may stop because of its disk.
    pub log_fault_planted: bool,
    pub store_fault_planted: bool,
    /// How the member is to die in the middle of its next write to the log.
    pub tear: Option<Death>,
    pub dies_installing: Option<Step>,
}

/// The slowest and the fastest clock, in percent of real time.
pub const RATES: (u64, u64) = (80, 125);

impl Host {
    pub fn new(id: MemberId, chance: &mut Chance) -> Self {
        let rate = if chance.percent(30) { chance.between(RATES.0, RATES.1 + 1) } else { 100 };
        Self {
            id,
            log: LogDisk::new(id, chance),
            stores: BTreeMap::new(),
            store: String::new(),
            next_store: 1,
            member: None,
            starts: 0,
            joins: false,
            has_left: false,
            down_until: 0,
            paused_until: 0,
            parked: Vec::new(),
            slow_until: 0,
            rate,
            clock_offset: 0,
            log_fault_planted: false,
            store_fault_planted: false,
            tear: None,
            dies_installing: None,
        }
    }

    /// Nothing hinders the member any more.
    pub fn heal(&mut self, now: u64) {
        (self.down_until, self.paused_until, self.slow_until) = (now, now, now);
        (self.tear, self.dies_installing) = (None, None);
        self.log.heal();
    }

    fn engine(&self) -> &MemoryEngine {
        &self.stores[&self.store]
    }

    /// Opens the log, and the store that it names. The others go: their place was taken, or they were never finished.
    fn open(&mut self) -> Result<wal::Recovered, wal::WalError> {
        let recovered = self.log.open()?;
        let named = recovered.snapshot.as_ref().map(|mark| mark.store.clone());
        let is_blank = named.is_none() && recovered.entries.is_empty();
        let name = named.unwrap_or_else(|| "store-1".to_owned());
        self.stores.retain(|other, _| *other == name && !is_blank);
        self.stores.entry(name.clone()).or_default();
        self.store = name;
        Ok(recovered)
    }
}

impl World {
    /// The operator starts a member with what its disk holds.
    pub fn start(&mut self, place: usize) -> Checked {
        let host = &self.hosts[place];
        if host.member.is_some() || host.has_left || self.now < host.down_until {
            return Ok(());
        }
        self.hosts[place].starts += 1;
        if self.storming && self.chance.percent(10) {
            self.hosts[place].log.stop_soon(&mut self.chance);
            self.hosts[place].log_fault_planted = true;
        }
        let opened = self.hosts[place].open().and_then(|recovered| self.begin(place, recovered));
        let recovered = match opened {
            Err(error) if !self.hosts[place].log_fault_planted => return Err(refused("the log", &error)),
            Err(_) => {
                self.die_starting(place);
                return Ok(());
            }
            Ok(recovered) => recovered,
        };
        if recovered.cut_off.is_some() {
            self.report.sight("unfinished batches cut off");
        }
        self.run_member(place, recovered)
    }

    /// Makes the first state of a new cluster, where there is none yet. The log names it last.
    fn begin(&mut self, place: usize, mut recovered: wal::Recovered) -> Result<wal::Recovered, wal::WalError> {
        let host = &mut self.hosts[place];
        if host.joins || recovered.snapshot.is_some() || !recovered.entries.is_empty() {
            return Ok(recovered);
        }
        begin(host.engine(), &self.first_members).expect("a new store takes the first state");
        let (index, term) = GENESIS;
        let mark = SnapshotMark { index, term, store: host.store.clone() };
        let HardState { term: known, vote, .. } = recovered.hard_state;
        let hard_state = HardState { term: known.max(term), vote, commit: index };
        host.log.append(&Batch { snapshot: Some(mark.clone()), entries: &[], hard_state: Some(hard_state) })?;
        (recovered.snapshot, recovered.hard_state) = (Some(mark), hard_state);
        Ok(recovered)
    }

    fn die_starting(&mut self, place: usize) {
        self.report.fault("deaths while starting");
        let death = if self.chance.percent(50) { Death::Process } else { Death::Power };
        self.die(place, death);
    }

    fn run_member(&mut self, place: usize, recovered: wal::Recovered) -> Checked {
        let host = &self.hosts[place];
        if self.bug == Some(Bug::RevisionRecomputed) {
            recompute_revision(host.engine());
        }
        let engine = SimEngine::new(host.engine().clone(), self.bug);
        let machine = StateMachine::open(engine).map_err(|fault| refused("the state machine", &fault))?;
        let (index, term) = machine.applied();
        let (starts, entries) = (host.starts, recovered.entries.len());
        self.tell(|| format!("member {place} starts, the {starts}. time, with {entries} entries, applied {index}"));
        let snapshot = recovered.snapshot.map(|mark| Position { index: mark.index, term: mark.term });
        ensure!(snapshot.is_none_or(|mark| mark.index <= index), "the store is at {index}, before {snapshot:?}");
        let replica = Replica::new(
            self.config(place),
            Recovered {
                hard_state: recovered.hard_state,
                snapshot,
                entries: recovered.entries,
                applied: Position { index, term },
                conf_state: machine.members().conf_state(),
            },
        );
        let replica = replica.map_err(|error| refused("the replica", &error))?;
        if self.storming && starts > 1 && self.chance.percent(10) {
            self.die_starting(place);
            return Ok(());
        }
        let revision = machine.revision();
        let hub = Hub::new(revision, Limits { events: 40, bytes: 8000, together: 16_000 });
        let mut member = Member::new(self.hosts[place].id, Incarnation(starts), replica, machine, hub);
        member.follow_members(self.bug);
        let has_left = member.machine.members().was_removed(member.id) && self.bug != Some(Bug::RemovedGoesOn);
        self.hosts[place].member = Some(member);
        if has_left {
            return self.leave(place);
        }
        if self.bug != Some(Bug::LeasesForgotten) {
            self.arm_all(place);
        }
        self.inside_soon(place, 100 * MS, Happening::Tick);
        self.inside_soon(place, 2 * SECOND, Happening::Maintain);
        self.inside_soon(place, SECOND, Happening::Sweep);
        self.inside_soon(place, 4 * SECOND, Happening::CheckpointLeases);
        self.turn(place)
    }

    fn config(&self, place: usize) -> Config {
        let host = &self.hosts[place];
        let (kept_entries, kept_bytes) = self.kept;
        Config { kept_entries, kept_bytes, ..Config::new(host.id, Incarnation(host.starts), self.election_seed) }
    }

    /// What a fault does.
    pub fn inflict(&mut self, fault: Fault) {
        let place = self.draw_victim();
        match fault {
            Fault::Kill => self.die(place, Death::Process),
            Fault::PowerLoss => self.die(place, Death::Power),
            Fault::Blackout => (0..self.hosts.len()).for_each(|place| self.die(place, Death::Power)),
            Fault::Outage => {
                let down = self.chance.between(3 * SECOND, 15 * SECOND);
                self.be_away(place, self.now + down);
                self.after(down, Outside::Start(place));
            }
            Fault::KillWhileWriting => self.hosts[place].tear = Some(Death::Process),
            Fault::TornWrite => self.hosts[place].tear = Some(Death::Power),
            Fault::DeathWhileInstalling => {
                for host in &mut self.hosts {
                    host.dies_installing = Some(*self.chance.pick(&Step::ALL));
                }
            }
            Fault::LogSyncFails => self.plant_in_log(place, LogDisk::fail_next_sync),
            Fault::LogFull => self.plant_in_log(place, LogDisk::fill),
            Fault::StoreWriteFails => self.plant(place, Call::Commit),
            Fault::StoreSyncFails => self.plant(place, Call::Sync),
            Fault::Pause => {
                let most = if self.chance.percent(30) { 20 * SECOND } else { 3 * SECOND };
                let pause = self.chance.between(10 * MS, most);
                self.hosts[place].paused_until = self.now + pause;
                self.after(pause, Outside::Resume(place));
            }
            Fault::SlowDisk => self.hosts[place].slow_until = self.now + self.chance.between(100 * MS, 3 * SECOND),
            Fault::ClockJump => {
                self.hosts[place].clock_offset += i64::try_from(self.chance.below(20_000)).unwrap() - 10_000;
            }
            Fault::Disconnect => self.disconnect_watchers(None),
            Fault::Partition | Fault::OneWayPartition | Fault::CutOff | Fault::Clog | Fault::LossyNetwork => {
                self.disturb(fault);
            }
        }
    }

    /// The process ends, and is not started before a time.
    pub fn be_away(&mut self, place: usize, until: u64) {
        self.hosts[place].down_until = self.hosts[place].down_until.max(until);
        self.die(place, Death::Process);
    }

    fn plant_in_log(&mut self, place: usize, plant: impl FnOnce(&mut LogDisk)) {
        if self.is_up(place) {
            plant(&mut self.hosts[place].log);
            self.hosts[place].log_fault_planted = true;
        }
    }

    fn plant(&mut self, place: usize, call: Call) {
        if self.is_up(place) {
            self.hosts[place].engine().fail_next(call, planted());
            self.hosts[place].store_fault_planted = true;
        }
    }

    /// The process ends. Everybody who waited is left in doubt; an operator will start it again.
    pub fn die(&mut self, place: usize, death: Death) {
        self.tell(|| format!("member {place}: {death:?} dies"));
        for store in self.hosts[place].stores.values_mut() {
            // Also of a process: what was not synced is in its memory.
            let kept = self.chance.index(store.unsynced() + 1);
            *store = store.crash(kept);
        }
        let host = &mut self.hosts[place];
        host.log.crash(death, &mut self.chance);
        (host.store_fault_planted, host.log_fault_planted, host.tear) = (false, false, None);
        host.paused_until = self.now;
        host.parked.clear();
        host.member = None;
        self.lose_clients_of(place);
        self.disconnect_watchers(Some(place));
        self.soon(Outside::Start(place), 2 * SECOND);
    }

    /// Does what the disk took. The member may die of it, or with it.
    pub fn log_written(&mut self, place: usize) -> Checked {
        let Some(order) = self.alive(place).writing.take() else { return Ok(()) };
        let installs = matches!(&order, Order::Persist(_, Some(_)));
        if installs && self.dies_at(place, Step::Mark) {
            self.hosts[place].tear = Some(if self.chance.percent(50) { Death::Process } else { Death::Power });
        }
        if let Some(death) = self.hosts[place].tear.take() {
            self.hosts[place].log.stop_soon(&mut self.chance);
            // The write comes to its end, or does not: nobody is told either way.
            let _ = self.hosts[place].log.carry_out(&order);
            self.die(place, death);
            return Ok(());
        }
        match self.hosts[place].log.carry_out(&order) {
            Ok(()) => {}
            Err(error) if self.hosts[place].log_fault_planted => {
                self.tell(|| format!("member {place} stops: {error}"));
                let death = if self.chance.percent(50) { Death::Process } else { Death::Power };
                self.die(place, death);
                return Ok(());
            }
            Err(error) => return Err(Violation(format!("the log cannot be written: {error}"))),
        }
        if let Order::Persist(persist, _) = &order {
            self.persisted(place, persist.number);
        }
        Ok(())
    }

    /// Syncs the store, then cuts the log off behind what is applied.
    pub fn maintain(&mut self, place: usize) -> Checked {
        self.inside_soon(place, 2 * SECOND, Happening::Maintain);
        let through = self.alive(place).machine.applied().0;
        let kept_back = self.alive(place).machine.engine().write_kept_back();
        kept_back.map_err(|error| Violation(format!("the store cannot be written: {error}")))?;
        if self.bug != Some(Bug::TruncateBeforeSync)
            && let Err(error) = self.hosts[place].engine().sync()
        {
            ensure!(self.hosts[place].store_fault_planted, "the store cannot be synced: {error}");
            self.tell(|| format!("member {place} stops: {error}"));
            self.die(place, Death::Process);
            return Ok(());
        }
        if self.chance.percent(50) {
            self.cut_log(place, through);
            self.report.sight("log truncations");
        }
        Ok(())
    }

    pub fn sweep(&mut self, place: usize) -> Checked {
        self.inside_soon(place, 4 * SECOND, Happening::Sweep);
        match self.alive(place).machine.sweep() {
            Ok(_) => {
                if self.bug == Some(Bug::TombstoneDropped) {
                    drop_tombstones(self.view(place).compacted(), self.hosts[place].engine());
                }
                self.check_state(place)
            }
            Err(fault) => {
                ensure!(self.hosts[place].store_fault_planted, "sweeping fails: {fault}");
                self.tell(|| format!("member {place} stops: {fault}"));
                self.die(place, Death::Process);
                Ok(())
            }
        }
    }

    /// Who leads, as far as it knows itself.
    pub fn leader(&self) -> Option<usize> {
        let leads = |host: &&Host| host.member.as_ref().is_some_and(|member| member.status.role == Role::Leader);
        let leaders = self.hosts.iter().filter(leads);
        let latest = leaders.max_by_key(|host| host.member.as_ref().map(|member| member.status.term))?;
        self.place_of(latest.id)
    }

    /// The members that the cluster has in the end, by place.
    pub fn present(&self) -> Vec<usize> {
        self.truth.members().iter().filter_map(|member| self.place_of(member.id)).collect()
    }

    /// Whether everybody has everything.
    pub fn is_at_rest(&self) -> bool {
        let last = self.last_committed();
        let is_done = |host: &Host| host.member.as_ref().is_some_and(|member| member.applied == last);
        self.present().into_iter().all(|place| is_done(&self.hosts[place])) && self.hosts.iter().all(|h| !self.stays(h))
    }

    /// Whether a member was removed, could know it and goes on all the same.
    fn stays(&self, host: &Host) -> bool {
        let is_removed = self.truth.members().was_removed(host.id);
        is_removed && host.member.as_ref().is_some_and(|member| !member.machine.members().is_empty())
    }

    /// After the storm: everybody was served, everybody has applied everything, every watcher has seen all.
    pub fn check_progress(&mut self) -> Checked {
        let last: Index = self.last_committed();
        let mut contents = Vec::new();
        for place in self.present() {
            ensure!(self.is_up(place), "member {place} is down at the end");
            let member = self.alive(place);
            ensure!(member.applied == last, "member {place} has applied {}, the log ends at {last}", member.applied);
            self.check_digest(place)?;
            self.check_state(place)?;
            let view = self.view(place);
            contents.push(content_digest(&view).map_err(|error| Violation(format!("a read fails: {error}")))?);
        }
        ensure!(contents.windows(2).all(|pair| pair[0] == pair[1]), "members hold different states: {contents:?}");
        for host in &self.hosts {
            ensure!(!self.stays(host), "member {} was removed and goes on", host.id);
        }
        self.check_clients_were_served()?;
        self.check_watchers_caught_up()
    }
}

/// Sets the store's revision to the largest that a key has.
fn recompute_revision(engine: &MemoryEngine) {
    let everything = RangeQuery::all(KeyRange::prefix(""));
    let found = View::open(engine.snapshot()).unwrap().range(&everything).unwrap();
    if let Some(largest) = found.items.iter().map(|item| item.record.mod_revision).max() {
        let mut batch = WriteBatch::new();
        Meta::Revision.put(&mut batch, &largest);
        engine.commit(&batch).unwrap();
    }
}

/// Drops the tombstones of one revision.
fn drop_tombstones(of: Revision, engine: &MemoryEngine) {
    let mut batch = WriteBatch::new();
    let (from, to) = schema::EVERY_USER;
    for pair in engine.snapshot().scan(Keyspace::Tombstones, from, to) {
        let (key, revision) = pair.unwrap();
        if revision == of.get().to_be_bytes()[..] {
            batch.delete(Keyspace::Tombstones, key);
        }
    }
    engine.commit(&batch).unwrap();
}

fn planted() -> StorageError {
    std::io::Error::other("planted").into()
}

fn refused(what: &str, error: &dyn std::fmt::Display) -> Violation {
    Violation(format!("{what} refuses to start: {error}"))
}
