//! Several replicas in one process: disks that finish when they like, a network that loses, repeats and reorders, and
//! one seed that decides it all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::{config, voters};
use crate::consensus::{Config, Input, Message, Output, Persist, Position, ProposeRefusal, Recovered, Replica, Role};
use crate::model::{HardState, Index, LogEntry, LogEntryKind, MemberId, Term};

/// Numbers from a seed (`SplitMix64`).
pub(super) struct Chance(pub u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let number = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What goes wrong, in percent of occasions.
#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    pub lose: usize,
    pub repeat: usize,
    pub delay: usize,
    pub slow_disk: usize,
}

struct Member {
    replica: Option<Replica>,
    starts: u64,
    hard_state: HardState,
    durable: Vec<LogEntry>,
    writing: VecDeque<Persist>,
    applied: Vec<LogEntry>,
    reads: BTreeMap<u64, Index>,
    dropped_reads: BTreeSet<u64>,
}

impl Member {
    fn position(&self) -> Position {
        self.applied.last().map_or(Position::default(), Position::from)
    }

    fn finish_write(&mut self) -> Option<u64> {
        let persist = self.writing.pop_front()?;
        if let Some(first) = persist.entries.first() {
            self.durable.retain(|entry| entry.index < first.index);
            self.durable.extend(persist.entries);
        }
        self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
        Some(persist.number)
    }
}

pub(super) struct Cluster {
    ids: Vec<u64>,
    config: fn(u64) -> Config,
    members: BTreeMap<u64, Member>,
    wire: Vec<Message>,
    cut: BTreeSet<(u64, u64)>,
    pub faults: Faults,
    pub chance: Chance,
    leaders: BTreeMap<Term, MemberId>,
    /// What is committed, by index: everybody must agree.
    committed: BTreeMap<Index, LogEntry>,
    pub answers: BTreeMap<u64, Result<Position, ProposeRefusal>>,
    pub trace: Vec<String>,
}

impl Cluster {
    pub(super) fn new(size: u64, seed: u64) -> Self {
        Self::with(size, seed, config)
    }

    pub(super) fn with(size: u64, seed: u64, config: fn(u64) -> Config) -> Self {
        let ids: Vec<u64> = (1..=size).collect();
        let mut cluster = Self {
            config,
            members: BTreeMap::new(),
            wire: Vec::new(),
            cut: BTreeSet::new(),
            faults: Faults::default(),
            chance: Chance(seed),
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            answers: BTreeMap::new(),
            trace: Vec::new(),
            ids: ids.clone(),
        };
        for id in ids {
            let member = Member {
                replica: None,
                starts: 0,
                hard_state: HardState::default(),
                durable: Vec::new(),
                writing: VecDeque::new(),
                applied: Vec::new(),
                reads: BTreeMap::new(),
                dropped_reads: BTreeSet::new(),
            };
            cluster.members.insert(id, member);
            cluster.start(id);
        }
        cluster
    }

    pub(super) fn start(&mut self, id: u64) {
        let ids = self.ids.clone();
        let member = self.members.get_mut(&id).unwrap();
        member.starts += 1;
        let mut config = (self.config)(id);
        config.incarnation.0 = member.starts;
        let recovered = Recovered {
            hard_state: member.hard_state,
            snapshot: None,
            entries: member.durable.clone(),
            applied: member.position(),
            conf_state: voters(&ids),
        };
        member.replica = Some(Replica::new(config, recovered).unwrap());
    }

    /// Loses what was not yet written, and, of what was applied, what a store that is not synced may lose.
    pub(super) fn crash(&mut self, id: u64) {
        let keep = self.chance.below(self.members[&id].applied.len() + 1);
        let member = self.members.get_mut(&id).unwrap();
        member.replica = None;
        member.writing.clear();
        member.applied.truncate(keep);
        self.trace.push(format!("crash {id} at {keep}"));
    }

    pub(super) fn replica(&mut self, id: u64) -> &mut Replica {
        self.members.get_mut(&id).unwrap().replica.as_mut().unwrap()
    }

    pub(super) fn is_up(&self, id: u64) -> bool {
        self.members[&id].replica.is_some()
    }

    pub(super) fn step(&mut self, id: u64, input: Input) {
        let Some(replica) = &mut self.members.get_mut(&id).unwrap().replica else { return };
        self.trace.push(format!("{id} <- {input:?}"));
        let output = replica.handle(input);
        self.serve(id, output);
    }

    fn serve(&mut self, id: u64, output: Output) {
        self.trace.push(format!("{id} -> {output:?}"));
        if let Some(status) = output.status
            && status.role == Role::Leader
        {
            let leader = *self.leaders.entry(status.term).or_insert(MemberId(id));
            assert_eq!(leader, MemberId(id), "two leaders in term {}", status.term);
        }
        self.wire.extend(output.send.into_iter().map(|(_, message)| message));
        self.answers.extend(output.proposed);
        let member = self.members.get_mut(&id).unwrap();
        member.writing.extend(output.persist);
        member.reads.extend(output.reads);
        member.dropped_reads.extend(output.dropped_reads);
        for entry in output.commit {
            assert_eq!(entry.index, member.position().index.next(), "an entry skipped or repeated");
            // Of a change of the members, the content alone is handed out.
            let is_same = |durable: &LogEntry| match entry.kind {
                LogEntryKind::Normal => *durable == entry,
                LogEntryKind::Membership => Position::from(durable) == Position::from(&entry),
            };
            assert!(member.durable.iter().any(is_same), "committed before it is durable here");
            let agreed = self.committed.entry(entry.index).or_insert_with(|| entry.clone());
            assert_eq!(*agreed, entry, "two entries committed at one index");
            member.applied.push(entry);
        }
        let index = member.position().index;
        if let Some(replica) = &mut member.replica {
            let more = replica.handle(Input::Applied { index });
            if !more.is_empty() {
                self.serve(id, more);
            }
        }
    }

    /// A tick for everybody, then messages and disks until all is quiet or delayed.
    pub(super) fn round(&mut self) {
        for id in self.ids.clone() {
            self.step(id, Input::Tick);
        }
        self.deliver();
    }

    pub(super) fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.round();
        }
    }

    pub(super) fn deliver(&mut self) {
        let mut later = Vec::new();
        for _ in 0..10_000 {
            let wrote = self.write();
            if self.wire.is_empty() && !wrote {
                break;
            }
            if !self.wire.is_empty() {
                let at = self.chance.below(self.wire.len());
                let message = self.wire.swap_remove(at);
                self.pass(message, &mut later);
            }
        }
        self.wire.append(&mut later);
    }

    fn pass(&mut self, message: Message, later: &mut Vec<Message>) {
        let (from, to) = (message.from().get(), message.to().get());
        if self.cut.contains(&(from, to)) || self.chance.percent(self.faults.lose) {
            return;
        }
        if self.chance.percent(self.faults.repeat) {
            later.push(message.clone());
        }
        if self.chance.percent(self.faults.delay) {
            later.push(message);
        } else {
            let message = Message::decode(&message.encode().unwrap()).unwrap();
            self.step(to, Input::Message(message));
        }
    }

    fn write(&mut self) -> bool {
        let mut wrote = false;
        for id in self.ids.clone() {
            if !self.chance.percent(self.faults.slow_disk)
                && let Some(number) = self.members.get_mut(&id).unwrap().finish_write()
            {
                wrote = true;
                self.step(id, Input::Persisted { number });
            }
        }
        wrote
    }

    /// Cuts off the messages between `id` and everybody else.
    pub(super) fn isolate(&mut self, id: u64) {
        for other in self.ids.iter().filter(|other| **other != id) {
            self.cut.extend([(id, *other), (*other, id)]);
        }
    }

    pub(super) fn cut_one_way(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
        self.faults = Faults::default();
    }

    /// The leader of the highest term among those that are up.
    pub(super) fn leader(&self) -> Option<u64> {
        let up = self.members.iter().filter_map(|(id, member)| Some((id, member.replica.as_ref()?.status())));
        let leaders = up.filter(|(_, status)| status.role == Role::Leader);
        leaders.max_by_key(|(_, status)| status.term).map(|(id, _)| *id)
    }

    pub(super) fn elect(&mut self) -> u64 {
        for _ in 0..200 {
            if let Some(leader) = self.leader()
                && !self.cut.iter().any(|(from, _)| *from == leader)
                && self.is_up(leader)
            {
                self.round();
                return leader;
            }
            self.round();
        }
        panic!("no leader within 200 rounds");
    }

    pub(super) fn propose(&mut self, id: u64, token: u64) -> Result<Position, ProposeRefusal> {
        self.step(id, Input::Propose { token, data: Bytes::from(format!("proposal {token}")) });
        self.answers[&token]
    }

    pub(super) fn applied(&self, id: u64) -> &[LogEntry] {
        &self.members[&id].applied
    }

    pub(super) fn committed(&self) -> Index {
        self.committed.keys().last().copied().unwrap_or_default()
    }

    pub(super) fn read(&self, id: u64, context: u64) -> Option<Index> {
        self.members[&id].reads.get(&context).copied()
    }

    pub(super) fn read_was_dropped(&self, id: u64, context: u64) -> bool {
        self.members[&id].dropped_reads.contains(&context)
    }

    pub(super) fn has_applied(&self, id: u64, token: u64) -> bool {
        let data = Bytes::from(format!("proposal {token}"));
        self.members[&id].applied.iter().any(|entry| entry.data == data)
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.ids.clone()
    }
}
