//! Snapshots between members: what is offered, the stream that takes its time and breaks off anywhere, the store that
//! it becomes beside the present one, and the swap. A member may die at each of these steps.

use bytes::Bytes;
use vardr::consensus::{Input, Message, Position};
use vardr::machine::{Restore, SnapshotSource, StateMachine};
use vardr::model::MemberId;
use vardr::storage::memory::{MemoryEngine, MemorySnapshot};
use vardr::storage::{Engine, Keyspace, Snapshot, WriteBatch};

use crate::applier::Work;
use crate::engine::SimEngine;
use crate::faults::Bug;
use crate::life::Death;
use crate::world::{Checked, Happening, MS, SECOND, Violation, World, ensure};

/// Ticks that an offer holds its moment of the store.
const OFFER_TICKS: u32 = 20;
/// Members that are sent a snapshot at once.
const MAX_STREAMS: usize = 2;
/// After how long a sender that hears nothing takes the receiver for gone.
const STALL: u64 = 6 * SECOND;

/// How far a snapshot for another member has come.
#[derive(Debug)]
pub enum Stage {
    /// Raft knows that this state could be sent.
    Offered { source: Box<SnapshotSource<MemorySnapshot>>, ticks: u32 },
    /// By the number of the stream.
    Sending(u64),
}

impl Stage {
    /// Whether it is still of use after a tick.
    pub fn tick(&mut self) -> bool {
        match self {
            Self::Offered { ticks, .. } => {
                *ticks += 1;
                *ticks <= OFFER_TICKS
            }
            Self::Sending(_) => true,
        }
    }
}

/// A stream under way.
#[derive(Debug)]
pub struct Stream {
    from: usize,
    from_start: u64,
    message: Message,
    bytes: Bytes,
    /// Where it breaks off, if it does.
    breaks_at: Option<usize>,
}

/// The state that came with a snapshot, in a store of its own.
#[derive(Debug)]
pub struct Arrived {
    pub store: String,
    pub engine: MemoryEngine,
}

/// When a member that takes a snapshot is to die of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// In the middle of the stream.
    Stream,
    /// The new store is whole, the log does not name it.
    BeforeMark,
    /// While the log is being told of it.
    Mark,
    /// The log names it, the member still has the old one.
    BeforeSwap,
    /// Just after.
    AfterSwap,
}

impl Step {
    pub const ALL: [Self; 5] = [Self::Stream, Self::BeforeMark, Self::Mark, Self::BeforeSwap, Self::AfterSwap];
}

impl World {
    /// Offers the present state to a member, unless a snapshot is on its way there already.
    pub fn offer_snapshot(&mut self, place: usize, to: MemberId) -> Checked {
        let member = self.alive(place);
        let has_room = match member.streams.get(&to) {
            Some(Stage::Sending(_)) => false,
            Some(Stage::Offered { .. }) => true,
            None => member.streams.len() < MAX_STREAMS,
        };
        if !has_room {
            return Ok(());
        }
        let source = SnapshotSource::open(member.machine.engine().snapshot());
        let source = source.map_err(|error| Violation(format!("a snapshot cannot be made: {error}")))?;
        let head = source.head();
        let position = Position { index: head.index, term: head.term };
        let conf_state = head.members.conf_state();
        member.streams.insert(to, Stage::Offered { source: Box::new(source), ticks: 0 });
        member.replica.step(Input::SnapshotOffered { to, position, conf_state });
        self.inside(place, 1, Happening::Turn);
        Ok(())
    }

    /// Streams what was offered to a member.
    pub fn stream_snapshot(&mut self, place: usize, to: MemberId, message: &Message) -> Checked {
        let Some(Stage::Offered { source, .. }) = self.alive(place).streams.remove(&to) else {
            self.alive(place).replica.step(Input::SnapshotReported { member: to, delivered: false });
            return Ok(());
        };
        let mut bytes = Vec::new();
        for chunk in source.chunks() {
            bytes.extend_from_slice(&chunk.map_err(|error| Violation(format!("a snapshot cannot be read: {error}")))?);
        }
        let encoded = message.encode().map_err(|error| Violation(format!("{message:?}: {error}")))?;
        let message = Message::decode(&encoded).map_err(|error| Violation(format!("{encoded:?}: {error}")))?;
        let breaks = self.storming && self.chance.percent(25);
        let breaks_at = breaks.then(|| self.chance.index(bytes.len()));
        let number = self.streams.len() as u64;
        let from_start = self.hosts[place].starts;
        self.streams.insert(number, Stream { from: place, from_start, message, bytes: bytes.into(), breaks_at });
        self.alive(place).streams.insert(to, Stage::Sending(number));
        self.report.sight("snapshots sent");
        let Some(receiver) = self.place_of(to) else { return Ok(()) };
        // A member that a snapshot is on its way to answers nobody until it is there.
        let most = if self.chance.percent(30) && self.storming { 3 * SECOND } else { 300 * MS };
        let takes = self.chance.between(20 * MS, most);
        self.in_any_start(receiver, takes, Happening::SnapshotComes(number));
        if self.chance.percent(10) {
            // It was sent again: the one who sent it did not hear of its end.
            let later = takes + self.chance.below(2 * SECOND);
            self.in_any_start(receiver, later, Happening::SnapshotComes(number));
        }
        self.inside(place, takes + STALL, Happening::SnapshotEnds { to, number, delivered: false });
        Ok(())
    }

    /// The sender learns how a stream ended, once.
    pub fn snapshot_ends(&mut self, place: usize, to: MemberId, number: u64, delivered: bool) {
        let bug = self.bug;
        let member = self.alive(place);
        if matches!(member.streams.get(&to), Some(Stage::Sending(sending)) if *sending == number) {
            member.streams.remove(&to);
            if delivered || bug != Some(Bug::FailedSnapshotUnreported) {
                member.replica.step(Input::SnapshotReported { member: to, delivered });
            }
        }
    }

    /// All of a stream that is to come has come.
    pub fn snapshot_comes(&mut self, place: usize, number: u64) -> Checked {
        let Stream { from, from_start, message, bytes, breaks_at } = &self.streams[&number];
        let (from, from_start, message, bytes) = (*from, *from_start, message.clone(), bytes.clone());
        let is_cut = self.network.is_cut(self.now, from, place) || self.network.is_cut(self.now, place, from);
        let sender_gone = self.hosts[from].starts != from_start || self.hosts[from].member.is_none();
        let mut came = breaks_at.unwrap_or(bytes.len());
        if is_cut || sender_gone {
            came = came.min(bytes.len() / 2);
        }
        let to = self.hosts[place].id;
        if self.dies_at(place, Step::Stream) {
            self.take_stream(place, &message, &bytes.slice(..bytes.len() / 2))?;
            self.die_installing(place);
            return Ok(());
        }
        let delivered = self.take_stream(place, &message, &bytes.slice(..came))?;
        if self.is_up(place) && !is_cut && !sender_gone && !self.chance.percent(10) {
            let delay = self.chance.between(MS, 50 * MS);
            self.inside(from, delay, Happening::SnapshotEnds { to, number, delivered });
        }
        Ok(())
    }

    /// Builds the state beside the present one, and asks raft about it. Whether it is taken.
    fn take_stream(&mut self, place: usize, message: &Message, bytes: &Bytes) -> Checked<bool> {
        let position = message.snapshot().unwrap_or_default();
        let number = self.hosts[place].next_store;
        self.hosts[place].next_store += 1;
        let store = format!("store-1-{}-{number}", position.index);
        let engine = MemoryEngine::new();
        self.hosts[place].stores.insert(store.clone(), engine.clone());
        let Some(engine) = self.restore(engine, position, bytes)? else {
            self.hosts[place].stores.remove(&store);
            self.report.sight("snapshots broken off");
            return Ok(false);
        };
        if self.dies_at(place, Step::BeforeMark) {
            self.die_installing(place);
            return Ok(false);
        }
        let member = self.alive(place);
        let is_taken = member.installing.is_none() && {
            member.arrived = Some(Arrived { store: store.clone(), engine: engine.clone() });
            member.replica.step(Input::Snapshot(message.clone()));
            self.settle(place)?;
            self.alive(place).arrived.take().is_none()
        };
        if !is_taken && self.bug == Some(Bug::SnapshotTakenTwice) {
            self.alive(place).works.push_back(Work::Install(position, Arrived { store, engine }));
            self.begin_apply(place);
            return Ok(true);
        }
        if !is_taken {
            self.hosts[place].stores.remove(&store);
            self.report.sight("snapshots of no use");
        }
        Ok(is_taken)
    }

    /// Takes a stream in, in pieces. `None` when it is not whole.
    fn restore(&mut self, engine: MemoryEngine, position: Position, bytes: &Bytes) -> Checked<Option<MemoryEngine>> {
        let failed = |error| Violation(format!("a snapshot cannot be taken in: {error}"));
        let mut restore = Restore::new(engine.clone()).map_err(failed)?;
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(1 + self.chance.index(100_000)));
            restore.push(&piece).map_err(failed)?;
        }
        let Ok(head) = restore.finish() else { return Ok(None) };
        ensure!((head.index, head.term) == (position.index, position.term), "{position:?} came as {head:?}");
        Ok(Some(engine))
    }

    /// Whether a death is planned for this step; counts it.
    pub fn dies_at(&mut self, place: usize, step: Step) -> bool {
        let dies = self.hosts[place].dies_installing.take_if(|planned| *planned == step).is_some();
        if dies {
            self.report.sight("deaths while installing");
        }
        dies
    }

    pub fn die_installing(&mut self, place: usize) {
        let death = if self.chance.percent(50) { Death::Process } else { Death::Power };
        self.die(place, death);
    }

    /// The state of a snapshot takes the place of the present one.
    pub fn install(&mut self, place: usize, position: Position, arrived: Arrived) -> Checked {
        if self.dies_at(place, Step::BeforeSwap) {
            self.die_installing(place);
            return Ok(());
        }
        let Arrived { store, engine } = arrived;
        if self.bug == Some(Bug::InstallKeepsOld) {
            keep_old(&self.alive(place).machine.engine().memory.snapshot(), &engine);
        }
        let machine = StateMachine::open(SimEngine::new(engine, self.bug))
            .map_err(|fault| Violation(format!("an installed state cannot be opened: {fault}")))?;
        let (index, term) = machine.applied();
        ensure!((index, term) == (position.index, position.term), "{position:?} is installed as {index}, {term}");
        let old = std::mem::replace(&mut self.hosts[place].store, store);
        self.hosts[place].stores.remove(&old);
        self.hosts[place].store_fault_planted = false;
        let member = self.alive(place);
        ensure!(member.applied <= index, "entry {index} is installed after {} was applied", member.applied);
        member.machine = machine;
        member.applied = index;
        self.report.sight("snapshots installed");
        self.tell(|| format!("member {place} goes on from a snapshot of {index}"));
        self.arm_all(place);
        self.skip_waiters(place, index);
        self.check_digest(place)?;
        self.check_state(place)?;
        let (bug, revision) = (self.bug, self.view(place).revision());
        let member = self.alive(place);
        member.hub.jump(revision);
        member.follow_members(bug);
        member.replica.step(Input::Applied { index });
        self.see(index, revision);
        if self.dies_at(place, Step::AfterSwap) {
            self.die_installing(place);
        }
        Ok(())
    }
}

/// Leaves in a new state what only the old one holds.
fn keep_old(old: &MemorySnapshot, new: &MemoryEngine) {
    let mut left = WriteBatch::new();
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    for pair in old.scan(Keyspace::Kv, all.0, all.1) {
        let (key, value) = pair.unwrap();
        if new.snapshot().get(Keyspace::Kv, &key).unwrap().is_none() {
            left.put(Keyspace::Kv, key, value);
        }
    }
    new.commit(&left).unwrap();
}
