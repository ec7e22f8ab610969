//! Leases: each member's deadlines, and the truth about them: none ends before its time, none lives long after.

use vardr::consensus::Role;
use vardr::machine::LeaseChange;
use vardr::model::{Command, Lease, LeaseCheckpoint, LeaseId, Outcome, Proposal, Reply, Ttl};

use crate::faults::Bug;
use crate::life::RATES;
use crate::member::Caller;
use crate::world::{Checked, Happening, MS, SECOND, STORM, World, ensure};

/// How late an expiry may be once faults have ended: members start, one is elected, it counts by its clock.
const SLACK: u64 = 10 * SECOND;
/// How long the member waits for one try to expire a lease.
const AGAIN: u64 = SECOND;

/// When the member will end a lease, by its own clock.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: u64,
    /// When to propose it next.
    due: u64,
    renewals: u64,
}

/// What is true of a lease, seen from outside.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTruth {
    ttl: u64,
    renewals: u64,
    /// When the client sent the last grant or renewal that took effect: it may count on the lease until `ttl` after.
    asked: u64,
    /// When that took effect.
    counted: u64,
}

impl World {
    /// The time by a member's monotonic clock.
    fn local_time(&self, place: usize) -> u64 {
        self.now * self.hosts[place].rate / 100
    }

    /// Arms a deadline for every lease that the state holds.
    pub fn arm_all(&mut self, place: usize) {
        let member = self.alive(place);
        member.deadlines.clear();
        let armed: Vec<LeaseChange> = member.machine.leases().map(arm).collect();
        self.follow_leases(place, &armed);
    }

    /// Arms and disarms as the state machine says.
    pub fn follow_leases(&mut self, place: usize, changes: &[LeaseChange]) {
        let (now, ignores) = (self.local_time(place), self.bug == Some(Bug::RenewalIgnored));
        let deadlines = &mut self.alive(place).deadlines;
        for change in changes {
            match change {
                LeaseChange::Armed { id, remaining, renewals } => {
                    let at = now + remaining.get() * MS;
                    match deadlines.get_mut(id) {
                        Some(deadline) if ignores => deadline.renewals = *renewals,
                        _ => {
                            deadlines.insert(*id, Deadline { at, due: at, renewals: *renewals });
                        }
                    }
                }
                LeaseChange::Recorded { id, remaining, renewals } => {
                    let at = now + remaining.get() * MS;
                    if let Some(deadline) = deadlines.get_mut(id).filter(|it| it.renewals == *renewals && at < it.at) {
                        (deadline.at, deadline.due) = (at, at);
                    }
                }
                LeaseChange::Gone { id } => {
                    deadlines.remove(id);
                }
            }
        }
    }

    /// Answers a renewal from what the member itself knows, and tells nobody.
    pub fn renew_alone(&mut self, place: usize, caller: Caller, ids: &[LeaseId]) -> Checked {
        let now = self.local_time(place);
        let member = self.alive(place);
        let known: Vec<_> =
            ids.iter().map(|id| member.machine.leases().find(|lease| lease.id == *id).cloned()).collect();
        for lease in known.iter().flatten() {
            let at = now + lease.ttl.get() * MS;
            member.deadlines.insert(lease.id, Deadline { at, due: at, renewals: lease.renewals });
        }
        let renewed = known.iter().map(|lease| lease.as_ref().map(|lease| lease.ttl)).collect();
        let revision = member.machine.revision();
        self.answer_write(caller, &Reply { revision, result: Ok(Outcome::Renewed(renewed)), replayed: false })
    }

    /// A leader proposes to end the leases whose time has come.
    pub fn expire_leases(&mut self, place: usize) {
        let (now, everybody) = (self.local_time(place), self.bug == Some(Bug::StaleExpiry));
        let member = self.alive(place);
        if member.status.role != Role::Leader && !everybody {
            return;
        }
        let term = member.replica.status().term;
        let mut due = Vec::new();
        for (id, deadline) in &mut member.deadlines {
            if deadline.due <= now {
                deadline.due = now + AGAIN;
                due.push(Command::ExpireLease { id: *id, term, renewals: deadline.renewals });
            }
        }
        for command in due {
            self.propose_own(place, command);
        }
    }

    pub fn checkpoint_leases(&mut self, place: usize) {
        self.inside(place, 4 * SECOND, Happening::CheckpointLeases);
        let now = self.local_time(place);
        let member = self.alive(place);
        if member.status.role != Role::Leader {
            return;
        }
        let term = member.replica.status().term;
        let left = |deadline: &Deadline| (deadline.at.saturating_sub(now) / MS).max(1);
        let checkpoint = |(id, deadline): (&LeaseId, &Deadline)| LeaseCheckpoint {
            id: *id,
            remaining: Ttl(left(deadline)),
            renewals: deadline.renewals,
        };
        let checkpoints: Vec<LeaseCheckpoint> = member.deadlines.iter().map(checkpoint).collect();
        if !checkpoints.is_empty() {
            self.propose_own(place, Command::CheckpointLeases { term, checkpoints });
        }
    }

    /// Follows what a proposal did to leases in the model, and judges an expiry.
    pub fn judge_leases(&mut self, proposal: &Proposal) -> Checked {
        let now = self.now;
        let asked = self.truth.asked.get(&proposal.id).copied().unwrap_or(now);
        let model = &self.truth.model;
        let gone: Vec<LeaseId> =
            self.truth.leases.keys().filter(|id| !model.leases.contains_key(*id)).copied().collect();
        for id in gone {
            let Some(truth) = self.truth.leases.remove(&id) else { continue };
            if matches!(proposal.command, Command::ExpireLease { id: named, .. } if named == id) {
                self.report.sight("leases expired");
                // The fastest clock may have counted it down, to the millisecond.
                let least = (truth.ttl * 100 / RATES.1).saturating_sub(MS);
                let early = (truth.asked + least).saturating_sub(now);
                ensure!(
                    early == 0,
                    "lease {id} of {} µs, renewed at {}, ended {early} µs early",
                    truth.ttl,
                    truth.asked
                );
            }
        }
        for lease in self.truth.model.leases.values() {
            let known = self.truth.leases.get(&lease.id).map(|truth| truth.renewals);
            if known != Some(lease.renewals) {
                let truth = LeaseTruth { ttl: lease.ttl.get() * MS, renewals: lease.renewals, asked, counted: now };
                self.truth.leases.insert(lease.id, truth);
            }
        }
        Ok(())
    }

    /// Once faults have ended, no lease lives long after its time.
    pub fn check_lateness(&mut self) -> Checked {
        if self.storming {
            return Ok(());
        }
        for (id, truth) in &self.truth.leases {
            let most = truth.ttl * 100 / RATES.0;
            let late = self.now.saturating_sub(truth.counted.max(STORM) + most);
            ensure!(late <= SLACK, "lease {id} outlives its time by {late} µs");
        }
        Ok(())
    }
}

fn arm(lease: &Lease) -> LeaseChange {
    LeaseChange::Armed { id: lease.id, remaining: lease.remaining, renewals: lease.renewals }
}
