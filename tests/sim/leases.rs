//! Leases: the member's deadlines, and the truth about them: none ends before its time, none lives long after.

use vardr::machine::LeaseChange;
use vardr::model::{Command, LeaseCheckpoint, LeaseId, Proposal, Ttl};

use crate::faults::Bug;
use crate::member::Member;
use crate::world::{Checked, Event, MS, SECOND, World, ensure};

/// How late an expiry may be: a stalled disk and a few tries.
const SLACK: u64 = 8 * SECOND;
/// How long the member waits for one try to expire a lease.
const AGAIN: u64 = SECOND;

/// When the member will end a lease.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: u64,
    renewals: u64,
}

/// What is true of a lease, seen from outside.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTruth {
    ttl: u64,
    renewals: u64,
    /// When the client sent the last grant or renewal that took effect: it may count on the lease until `ttl` after.
    asked: u64,
    /// When a member last had reason to count from the beginning.
    counted: u64,
}

impl World {
    /// Arms and disarms as the state machine says.
    pub fn follow_leases(&mut self, changes: &[LeaseChange]) {
        let (now, ignores) = (self.now, self.bug == Some(Bug::RenewalIgnored));
        let deadlines = &mut self.alive().deadlines;
        for change in changes {
            match change {
                LeaseChange::Armed { id, remaining, renewals } => {
                    let at = now + remaining.get() * MS;
                    match deadlines.get_mut(id) {
                        Some(deadline) if ignores => deadline.renewals = *renewals,
                        _ => {
                            deadlines.insert(*id, Deadline { at, renewals: *renewals });
                        }
                    }
                }
                LeaseChange::Gone { id } => {
                    deadlines.remove(id);
                }
            }
        }
    }

    /// Proposes to end the leases whose time has come.
    pub fn expire_leases(&mut self) {
        let now = self.now;
        let member = self.alive();
        let term = member.replica.status().term;
        let mut due = Vec::new();
        for (id, deadline) in &mut member.deadlines {
            if deadline.at <= now {
                deadline.at = now + AGAIN;
                due.push(Command::ExpireLease { id: *id, term, renewals: deadline.renewals });
            }
        }
        for command in due {
            self.propose(command);
        }
    }

    pub fn checkpoint_leases(&mut self) {
        self.after(4 * SECOND, Event::CheckpointLeases);
        let now = self.now;
        let Member { replica, deadlines, .. } = self.alive();
        let term = replica.status().term;
        let checkpoints: Vec<LeaseCheckpoint> = deadlines
            .iter()
            .map(|(id, deadline)| LeaseCheckpoint {
                id: *id,
                remaining: Ttl((deadline.at.saturating_sub(now) / MS).max(1)),
                renewals: deadline.renewals,
            })
            .collect();
        if !checkpoints.is_empty() {
            self.propose(Command::CheckpointLeases { term, checkpoints });
        }
    }

    /// Follows what a proposal did to leases in the model, and judges an expiry.
    pub fn judge_leases(&mut self, proposal: &Proposal) -> Checked {
        let now = self.now;
        let asked = self.asked.get(&proposal.id).copied().unwrap_or(now);
        let gone: Vec<LeaseId> =
            self.leases.keys().filter(|id| !self.model.leases.contains_key(*id)).copied().collect();
        for id in gone {
            let Some(truth) = self.leases.remove(&id) else { continue };
            if matches!(proposal.command, Command::ExpireLease { id: named, .. } if named == id) {
                self.report.sight("leases expired");
                let early = (truth.asked + truth.ttl).saturating_sub(now);
                ensure!(
                    early == 0,
                    "lease {id} of {} µs, renewed at {}, ended {early} µs early",
                    truth.ttl,
                    truth.asked
                );
            }
        }
        for lease in self.model.leases.values() {
            let known = self.leases.get(&lease.id).map(|truth| truth.renewals);
            if known != Some(lease.renewals) {
                let truth = LeaseTruth { ttl: lease.ttl.get() * MS, renewals: lease.renewals, asked, counted: now };
                self.leases.insert(lease.id, truth);
            }
        }
        Ok(())
    }

    /// No lease lives long after its time, while there is a member to end it.
    pub fn check_lateness(&mut self) -> Checked {
        for (id, truth) in &self.leases {
            let late = self.now.saturating_sub(truth.counted + truth.ttl);
            ensure!(late <= SLACK, "lease {id} outlives its time by {late} µs");
        }
        Ok(())
    }

    /// A member that just started counts every lease anew, from what it has of it.
    pub fn count_leases_again(&mut self) {
        let now = self.now;
        self.leases.values_mut().for_each(|truth| truth.counted = now);
    }

    /// Time in which the member stands still is nobody's fault.
    pub fn excuse_leases(&mut self, pause: u64) {
        self.leases.values_mut().for_each(|truth| truth.counted += pause);
    }
}
