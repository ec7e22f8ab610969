//! The network between members: it loses, repeats, delays and reorders, and cuts some members off from others.
//!
//! A message travels as bytes. What was under way to a member when it died may still reach its next start.

use bytes::Bytes;
use vardr::consensus::forward::ForwardAnswer;
use vardr::consensus::{Input, Message, MessageKind};
use vardr::model::{Incarnation, MemberId, Proposal, Term};

use crate::faults::{Bug, Fault};
use crate::member::Member;
use crate::world::{Checked, Happening, MS, SECOND, Violation, World};

/// What one member sends to another.
#[derive(Debug, Clone)]
pub enum Letter {
    Raft(Bytes),
    /// Proposals for the leader of a term.
    Forward {
        start: Incarnation,
        term: Term,
        number: u64,
        proposals: Vec<Proposal>,
    },
    /// Its answer.
    Forwarded {
        start: Incarnation,
        number: u64,
        answer: ForwardAnswer,
    },
    /// A connection is made, to somebody who may have news.
    Hello,
    /// The receiver is no member any more.
    Removed,
}

/// A set of members, by place.
#[derive(Debug, Clone, Copy)]
struct Group(u64);

impl Group {
    fn holds(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }
}

#[derive(Debug, Clone, Copy)]
struct Hindrance {
    from: Group,
    to: Group,
    until: u64,
}

impl Hindrance {
    fn concerns(&self, now: u64, from: usize, to: usize) -> bool {
        now < self.until && self.from.holds(from) && self.to.holds(to)
    }
}

#[derive(Debug, Default)]
pub struct Network {
    /// In percent, always.
    base_loss: u64,
    base_repeats: u64,
    /// In percent, until the spell ends.
    loss: u64,
    repeats: u64,
    lossy_until: u64,
    cuts: Vec<Hindrance>,
    clogs: Vec<Hindrance>,
}

impl Network {
    pub fn new(base_loss: u64, base_repeats: u64) -> Self {
        Self { base_loss, base_repeats, ..Self::default() }
    }

    pub fn is_cut(&self, now: u64, from: usize, to: usize) -> bool {
        self.cuts.iter().any(|cut| cut.concerns(now, from, to))
    }

    /// When what is sent now may arrive at the earliest.
    fn clogged_until(&self, now: u64, from: usize, to: usize) -> u64 {
        let clogs = self.clogs.iter().filter(|clog| clog.concerns(now, from, to));
        clogs.map(|clog| clog.until).max().unwrap_or(now)
    }

    /// Everybody hears everybody, and nothing is lost any more.
    pub fn heal(&mut self) {
        *self = Self::default();
    }
}

impl World {
    pub fn post(&mut self, from: usize, to: MemberId, letter: &Letter) {
        let Some(to) = self.place_of(to) else { return };
        let lossy = self.now < self.network.lossy_until;
        let loss = self.network.base_loss + if lossy { self.network.loss } else { 0 };
        let repeats = self.network.base_repeats + if lossy { self.network.repeats } else { 0 };
        if self.network.is_cut(self.now, from, to) || self.chance.percent(loss) {
            self.report.sight("messages lost");
            if self.chance.percent(20) {
                let (member, after) = (self.hosts[to].id, self.chance.below(100 * MS));
                self.inside(from, after, Happening::Unreachable(member));
            }
            return;
        }
        let copies = if self.chance.percent(repeats) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = self.travel_time(from, to, lossy);
            self.in_any_start(to, delay, Happening::Letter { from, letter: letter.clone() });
        }
    }

    fn travel_time(&mut self, from: usize, to: usize, lossy: bool) -> u64 {
        let waits = self.network.clogged_until(self.now, from, to) - self.now;
        let most = match self.chance.below(100) {
            0 => 200 * MS,
            1..20 if lossy => 300 * MS,
            1..10 => 20 * MS,
            _ => 2 * MS,
        };
        waits + self.chance.between(100, most)
    }

    pub fn post_raft(&mut self, from: usize, to: MemberId, message: &Message) -> Checked {
        let mut bytes = message.encode().map_err(|error| Violation(format!("{message:?}: {error}")))?;
        if self.bug == Some(Bug::ReadContextReused) && may_hold_context(message) {
            bytes = with_context(self.alive(from), &bytes, 0);
        }
        self.post(from, to, &Letter::Raft(bytes));
        Ok(())
    }

    /// A letter has come to a member that is up.
    pub fn take_letter(&mut self, place: usize, from: usize, letter: Letter) -> Checked {
        let (sender, bug) = (self.hosts[from].id, self.bug);
        let member = self.alive(place);
        let members = member.machine.members();
        if members.was_removed(sender) && bug != Some(Bug::RemovedGoesOn) {
            if !matches!(letter, Letter::Removed) {
                self.post(place, sender, &Letter::Removed);
            }
            return Ok(());
        }
        // A member that was away may not know the one that leads by now; it would never learn of it if it did not listen.
        let is_stranger = !members.is_empty() && members.get(sender).is_none();
        if is_stranger && bug == Some(Bug::StrangersRefused) {
            return Ok(());
        }
        match letter {
            Letter::Raft(bytes) => {
                let decode = |bytes| Message::decode(bytes).map_err(|error| Violation(format!("{bytes:?}: {error}")));
                let mut message = decode(&bytes)?;
                if bug == Some(Bug::ReadContextReused) && may_hold_context(&message) {
                    let context = member.asked.keys().next().copied().unwrap_or_default();
                    message = decode(&with_context(member, &bytes, context))?;
                }
                member.replica.step(Input::Message(message));
            }
            Letter::Forward { start, term, number, proposals } => {
                self.receive_forward(place, from, start, term, number, proposals);
            }
            Letter::Forwarded { start, number, answer } => self.receive_answer(place, sender, start, number, answer)?,
            Letter::Hello => {}
            Letter::Removed => self.leave(place)?,
        }
        Ok(())
    }

    /// What a fault does to the network.
    pub fn disturb(&mut self, fault: Fault) {
        let until = self.now + self.chance.between(300 * MS, 8 * SECOND);
        let all = (1 << self.hosts.len()) - 1;
        let part = 1 + self.chance.below(all - 1);
        let one = 1 << self.chance.index(self.hosts.len());
        let way = |from, to| Hindrance { from: Group(from), to: Group(to), until };
        match fault {
            Fault::Partition => self.network.cuts.extend([way(part, all & !part), way(all & !part, part)]),
            Fault::OneWayPartition => self.network.cuts.push(way(part, all & !part)),
            Fault::CutOff => {
                let victim = 1 << self.draw_victim();
                self.network.cuts.extend([way(victim, all & !victim), way(all & !victim, victim)]);
            }
            Fault::Clog => self.network.clogs.push(way(one, all & !one & self.chance.next())),
            _ => {
                self.network.loss = self.chance.between(5, 30);
                self.network.repeats = self.chance.below(20);
                self.network.lossy_until = until;
            }
        }
        let now = self.now;
        self.network.cuts.retain(|cut| cut.until > now);
        self.network.clogs.retain(|clog| clog.until > now);
    }
}

fn may_hold_context(message: &Message) -> bool {
    matches!(message.kind(), MessageKind::Heartbeat | MessageKind::HeartbeatResponse | MessageKind::Control)
}

/// A message in which every context of the member's reads is this one. A context is told by the member and its start in
/// front.
fn with_context(member: &Member, message: &Bytes, context: u64) -> Bytes {
    let mut bytes = message.to_vec();
    let prefix = [member.id.get().to_be_bytes(), member.start.0.to_be_bytes()].concat();
    let places: Vec<usize> =
        bytes.windows(prefix.len()).enumerate().filter(|(_, it)| *it == prefix).map(|(at, _)| at).collect();
    for at in places {
        if let Some(number) = bytes.get_mut(at + 16..at + 24) {
            number.copy_from_slice(&context.to_be_bytes());
        }
    }
    bytes.into()
}
