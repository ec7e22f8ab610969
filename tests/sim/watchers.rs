//! Watchers: they register with any member, replay what they missed, follow, fall behind, lose their connection and come
//! back, to another member perhaps. Each must see every change of its range once, in order, and whole revisions only.

use vardr::model::{Event as ChangeEvent, KeyRange, Revision};
use vardr::mvcc::{ReadError, ReplayBudget, View};
use vardr::storage::memory::MemorySnapshot;
use vardr::watch::{Delivery, Filter, Piece, WatcherId};

use crate::faults::Bug;
use crate::member::Member;
use crate::model::Change;
use crate::world::{Checked, MS, Outside, SECOND, Violation, World, ensure};

#[derive(Debug)]
pub struct Watcher {
    range: KeyRange,
    /// Everything up to this revision was seen.
    seen: Revision,
    /// Where it is connected.
    place: usize,
    id: Option<WatcherId>,
    /// The part of a revision that has come.
    part: Vec<ChangeEvent>,
}

impl Watcher {
    pub fn new(range: KeyRange) -> Self {
        Self { range, seen: Revision::FIRST, place: 0, id: None, part: Vec::new() }
    }
}

impl From<&ChangeEvent> for Change {
    fn from(event: &ChangeEvent) -> Self {
        let ChangeEvent { revision, kind, key, record, previous, .. } = event.clone();
        Self { revision, kind, key, record, previous }
    }
}

impl World {
    pub fn watcher_acts(&mut self, watcher: usize) -> Checked {
        let pause = if self.storming && self.chance.percent(5) { 3 * SECOND } else { 20 * MS };
        self.soon(Outside::Watcher(watcher), pause);
        if self.watchers[watcher].id.is_none() {
            self.watchers[watcher].place = self.draw_member();
        }
        let host = &self.hosts[self.watchers[watcher].place];
        if host.member.is_none() || self.now < host.paused_until {
            return Ok(());
        }
        if self.watchers[watcher].id.is_none() {
            self.join(watcher)?;
        }
        self.follow(watcher)?;
        if self.storming && self.chance.percent(4) {
            self.disconnect(watcher);
        }
        Ok(())
    }

    /// Drops the connections to a member, or to all.
    pub fn disconnect_watchers(&mut self, place: Option<usize>) {
        for watcher in 0..self.watchers.len() {
            if place.is_none_or(|place| place == self.watchers[watcher].place) {
                self.disconnect(watcher);
            }
        }
    }

    fn disconnect(&mut self, watcher: usize) {
        let watcher = &mut self.watchers[watcher];
        watcher.part.clear();
        if let (Some(id), Some(member)) = (watcher.id.take(), &mut self.hosts[watcher.place].member) {
            member.hub.cancel(id);
        }
    }

    fn member_of(&mut self, watcher: usize) -> &mut Member {
        self.alive(self.watchers[watcher].place)
    }

    fn view_of(&mut self, watcher: usize) -> View<MemorySnapshot> {
        self.view(self.watchers[watcher].place)
    }

    /// Registers, then replays up to where live delivery takes over.
    fn join(&mut self, watcher: usize) -> Checked {
        let mut after = self.watchers[watcher].seen;
        if self.bug == Some(Bug::ResumeRepeats) {
            after = Revision(after.get() - 1).max(Revision::FIRST);
        }
        let filter = Filter::new(self.watchers[watcher].range.clone());
        let (id, now) = self.member_of(watcher).hub.register(filter, after);
        self.watchers[watcher].id = Some(id);
        self.report.sight("watch registrations");
        if self.bug == Some(Bug::ResumeSkips) {
            self.member_of(watcher).hub.skip_through(id, now);
            return Ok(());
        }
        self.replay(watcher, after)
    }

    /// Reads what was missed from history, then lets the hub go on.
    fn replay(&mut self, watcher: usize, mut after: Revision) -> Checked {
        let Watcher { range, id, .. } = &self.watchers[watcher];
        let (range, id) = (range.clone(), id.unwrap());
        let view = self.view_of(watcher);
        while after < view.revision() {
            let steps = usize::try_from(self.chance.between(1, 200)).unwrap();
            let replay = match view.events(&range, after, ReplayBudget { steps, bytes: 4000 }) {
                Ok(replay) => replay,
                Err(ReadError::Compacted { compacted, .. }) if self.bug == Some(Bug::CompactedSkipped) => {
                    after = Revision(compacted.get() - 1);
                    continue;
                }
                Err(ReadError::Compacted { asked, compacted }) => return self.start_over(watcher, asked, compacted),
                Err(error) => return Err(Violation(format!("a replay fails: {error}"))),
            };
            self.deliver(watcher, &replay.events)?;
            self.reach(watcher, replay.through)?;
            after = replay.through;
            self.report.sight("replays");
        }
        ensure!(self.member_of(watcher).hub.skip_through(id, after), "the hub does not go on after {after}");
        Ok(())
    }

    /// What the watcher missed is compacted: it reads the state instead, and goes on from there.
    fn start_over(&mut self, watcher: usize, asked: Revision, compacted: Revision) -> Checked {
        let seen = self.watchers[watcher].seen;
        ensure!(seen.next() < compacted, "resuming after {seen} is refused: {asked} compacted at {compacted}");
        ensure!(
            compacted <= self.truth.model.compacted,
            "compacted at {compacted}; the model says {}",
            self.truth.model.compacted
        );
        self.report.sight("watches compacted");
        let now = self.view_of(watcher).revision();
        self.watchers[watcher].seen = now;
        let id = self.watchers[watcher].id.unwrap();
        ensure!(self.member_of(watcher).hub.skip_through(id, now), "the hub does not go on after {now}");
        Ok(())
    }

    fn follow(&mut self, watcher: usize) -> Checked {
        let Some(id) = self.watchers[watcher].id else { return Ok(()) };
        if self.bug == Some(Bug::ProgressTooEarly) {
            let now = self.view_of(watcher).revision();
            self.reach(watcher, now)?;
        }
        let max_bytes = self.chance.index(4000);
        match self.member_of(watcher).hub.take(id, max_bytes) {
            Delivery::Events(pieces) => self.receive(watcher, &pieces),
            Delivery::Idle { through } => self.reach(watcher, through),
            Delivery::Lagging { resume_after } => {
                self.reach(watcher, resume_after)?;
                self.report.sight("watchers lagging");
                if self.chance.percent(50) {
                    self.disconnect(watcher);
                    return Ok(());
                }
                ensure!(self.member_of(watcher).hub.rejoin(id).is_some(), "a watcher that lags cannot rejoin");
                self.replay(watcher, resume_after)
            }
            Delivery::Cancelled => Err(Violation(format!("watcher {watcher} was cancelled by nobody"))),
        }
    }

    /// Puts revisions together that come in pieces.
    fn receive(&mut self, watcher: usize, pieces: &[Piece]) -> Checked {
        for piece in pieces {
            self.watchers[watcher].part.extend_from_slice(piece.events());
            if piece.ends_revision() || self.bug == Some(Bug::RevisionInParts) {
                let whole = std::mem::take(&mut self.watchers[watcher].part);
                self.deliver(watcher, &whole)?;
            }
        }
        Ok(())
    }

    /// What a watcher receives must be what it must see next, to the end of a revision.
    fn deliver(&mut self, watcher: usize, events: &[ChangeEvent]) -> Checked {
        let Some(last) = events.last().map(|event| event.revision) else { return Ok(()) };
        let Watcher { range, seen, .. } = &self.watchers[watcher];
        let found = events.iter().map(Change::from);
        let wanted = self.truth.model.after(*seen).iter().take_while(|change| change.revision <= last);
        let wanted: Vec<&Change> = wanted.filter(|change| range.contains(change.key.as_bytes())).collect();
        ensure!(
            found.clone().eq(wanted.iter().copied().cloned()),
            "watcher {watcher} after {seen} got {:?}; it must see {wanted:?}",
            found.collect::<Vec<_>>()
        );
        self.report.operations.entry("events watched").and_modify(|count| *count += events.len() as u64).or_insert(1);
        self.tell(|| format!("watcher {watcher} has {last}"));
        self.watchers[watcher].seen = last;
        Ok(())
    }

    /// A watcher is told that it has everything up to a revision: then nothing may be missing.
    fn reach(&mut self, watcher: usize, through: Revision) -> Checked {
        let Watcher { range, seen, .. } = &self.watchers[watcher];
        let missed = self.truth.model.after(*seen).iter().take_while(|change| change.revision <= through);
        let missed = missed.filter(|change| range.contains(change.key.as_bytes())).count();
        ensure!(missed == 0, "watcher {watcher} missed {missed} changes between {seen} and {through}");
        self.watchers[watcher].seen = through.max(*seen);
        Ok(())
    }

    pub fn check_watchers_caught_up(&mut self) -> Checked {
        for watcher in 0..self.watchers.len() {
            // A member that was removed before it had a state knows nobody who could tell it so, and waits for one for ever.
            if !self.present().contains(&self.watchers[watcher].place) {
                self.disconnect(watcher);
            }
            for _ in 0..1000 {
                if self.watchers[watcher].id.is_none() {
                    self.watchers[watcher].place = self.draw_member();
                    self.join(watcher)?;
                }
                self.follow(watcher)?;
            }
            let seen = self.watchers[watcher].seen;
            self.reach(watcher, self.truth.model.revision)?;
            ensure!(seen <= self.truth.model.revision, "watcher {watcher} is told of {seen}, which is not there");
        }
        Ok(())
    }
}
