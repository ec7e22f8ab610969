//! Applying: what is committed goes into the state machine, and everything that comes of it is held against the truth.

use vardr::consensus::{Input, Position};
use vardr::model::{LogEntry, Payload, Revision};
use vardr::mvcc::View;
use vardr::storage::memory::MemorySnapshot;

use crate::faults::Bug;
use crate::life::Death;
use crate::snapshots::Arrived;
use crate::world::{Checked, Violation, World, ensure};

/// What the replica gives to the applier, in order.
#[derive(Debug)]
pub enum Work {
    Commit(Vec<LogEntry>),
    /// The state of a snapshot that takes the place of the present one. The log names it already.
    Install(Position, Arrived),
}

impl World {
    /// The state machine's present state.
    pub fn view(&mut self, place: usize) -> View<MemorySnapshot> {
        self.alive(place).machine.view().clone()
    }

    /// The applier takes what waits, as much as it likes.
    pub fn work(&mut self, place: usize) -> Checked {
        self.alive(place).applying = false;
        let most = usize::try_from(self.chance.between(1, 20)).unwrap();
        let mut entries = Vec::new();
        while let Some(work) = self.alive(place).works.pop_front() {
            match work {
                Work::Commit(mut committed) => {
                    let rest = committed.split_off(committed.len().min(most - entries.len()));
                    entries.extend(committed);
                    if !rest.is_empty() {
                        self.alive(place).works.push_front(Work::Commit(rest));
                        break;
                    }
                }
                Work::Install(position, arrived) => {
                    self.apply(place, &entries)?;
                    if self.is_up(place) {
                        self.install(place, position, arrived)?;
                    }
                    return Ok(());
                }
            }
        }
        self.apply(place, &entries)
    }

    fn apply(&mut self, place: usize, entries: &[LogEntry]) -> Checked {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let restamped = (self.bug == Some(Bug::OwnClockInApply)).then(|| self.restamp(place, entries));
        let mut applied = match self.alive(place).machine.apply(restamped.as_deref().unwrap_or(entries)) {
            Ok(applied) => applied,
            Err(fault) if self.hosts[place].store_fault_planted => {
                self.tell(|| format!("member {place} stops: {fault}"));
                self.die(place, Death::Process);
                return Ok(());
            }
            Err(fault) => return Err(Violation(format!("applying fails: {fault}"))),
        };
        self.check_applied(first.index, &applied)?;
        self.check_digest(place)?;
        self.see(applied.index, applied.revision);
        self.follow_leases(place, &applied.leases);
        let replies = std::mem::take(&mut applied.replies);
        self.answer_waiters(place, entries, &replies)?;
        let bug = self.bug;
        let member = self.alive(place);
        member.hub.publish(applied.revision, &applied.blocks);
        for (index, accepted) in applied.membership {
            member.replica.step(Input::MembershipApplied { index, accepted });
        }
        if applied.members.is_some() {
            member.follow_members(bug);
        }
        member.applied = applied.index;
        member.replica.step(Input::Applied { index: last.index });
        if member.is_alone && member.leads(last.term) {
            member.sole_leader = true;
        }
        if member.machine.members().was_removed(member.id) {
            self.leave(place)?;
        }
        Ok(())
    }

    /// The entries with the member's own time in place of the leader's.
    fn restamp(&self, place: usize, entries: &[LogEntry]) -> Vec<LogEntry> {
        let restamp = |entry: &LogEntry| {
            let mut entry = entry.clone();
            if let Ok(payload) = Payload::decode(&entry.data) {
                entry.data = Payload { time: self.wall_clock(place), ..payload }.encode();
            }
            entry
        };
        entries.iter().map(restamp).collect()
    }

    /// Everything that is readable is as the model has it.
    pub fn check_state(&mut self, place: usize) -> Checked {
        let view = self.view(place);
        let query = vardr::model::RangeQuery::all(vardr::model::KeyRange::prefix(""));
        let found = view.range(&query).map_err(|error| Violation(format!("a read fails: {error}")))?;
        let found: Vec<_> = found.items.iter().map(|item| (&item.key, &item.record)).collect();
        let wanted = self.truth.model.at(view.revision());
        ensure!(found == wanted.iter().collect::<Vec<_>>(), "the store holds {found:?}; the model says {wanted:?}");
        Ok(())
    }

    /// Somebody could have seen this.
    pub fn see(&mut self, index: vardr::model::Index, revision: Revision) {
        self.truth.seen = self.truth.seen.max(index);
        self.truth.revision_seen = self.truth.revision_seen.max(revision);
    }
}
