//! Starting, stopping, and what is left in between: the operator, the disk and the end of the run.

use vardr::consensus::{Config, Position, Recovered, Replica};
use vardr::machine::{LeaseChange, StateMachine};
use vardr::model::{ConfState, Incarnation, Index, Lease};
use vardr::storage::memory::Call;
use vardr::storage::{Engine, StorageError};
use vardr::watch::{Hub, Limits};

use crate::engine::SimEngine;
use crate::faults::{Bug, Fault};
use crate::member::Member;
use crate::world::{Checked, Event, MEMBER, MS, SECOND, Violation, World, ensure};

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// What it wrote is with the operating system, which lives on.
    Process,
    /// What was not synced may be lost, in any part.
    Power,
}

impl World {
    /// The operator starts the member with what its disk holds.
    pub fn start(&mut self) -> Checked {
        if self.member.is_some() {
            return Ok(());
        }
        self.starts += 1;
        if self.storming && self.chance.percent(10) {
            self.log.stop_soon(&mut self.chance);
            self.log_fault_planted = true;
        }
        let opened = match self.log.open() {
            Err(error) if !self.log_fault_planted => return Err(refused("the log", &error)),
            Err(_) => {
                self.die_starting();
                return Ok(());
            }
            Ok(opened) => opened,
        };
        if opened.cut_off {
            self.report.sight("unfinished batches cut off");
        }
        let engine =
            SimEngine { memory: self.store.clone(), splits_batches: self.bug == Some(Bug::AppliedIndexInAnotherBatch) };
        let machine = StateMachine::open(engine).map_err(|fault| refused("the state machine", &fault))?;
        let (index, term) = machine.applied();
        let (starts, entries) = (self.starts, opened.entries.len());
        self.tell(|| format!("start {starts} with {entries} entries, applied {index}"));
        let recovered = Recovered {
            hard_state: opened.hard_state,
            snapshot: opened.snapshot,
            entries: opened.entries,
            applied: Position { index, term },
            conf_state: ConfState { voters: vec![MEMBER], learners: Vec::new() },
        };
        let config = Config::new(MEMBER, Incarnation(self.starts), 7);
        let replica = Replica::new(config, recovered).map_err(|error| refused("the replica", &error))?;
        if self.storming && self.starts > 1 && self.chance.percent(10) {
            self.die_starting();
            return Ok(());
        }
        self.run_member(replica, machine)
    }

    fn die_starting(&mut self) {
        self.report.fault("deaths while starting");
        let death = if self.chance.percent(50) { Death::Process } else { Death::Power };
        self.die(death);
    }

    fn run_member(&mut self, replica: Replica, machine: StateMachine<SimEngine>) -> Checked {
        let armed: Vec<LeaseChange> = machine.leases().map(arm).collect();
        let revision = machine.view().map_err(|error| refused("the state", &error))?.revision();
        self.member = Some(Member::new(replica, machine, Hub::new(revision, Limits { events: 40, bytes: 8000 })));
        self.count_leases_again();
        if self.bug != Some(Bug::LeasesForgotten) {
            self.follow_leases(&armed);
        }
        self.soon(Event::Tick, 100 * MS);
        self.soon(Event::Maintain, 2 * SECOND);
        self.soon(Event::Sweep, SECOND);
        self.soon(Event::CheckpointLeases, 4 * SECOND);
        let output = self.alive().replica.poll();
        self.serve(output)
    }

    /// What a fault does.
    pub fn inflict(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => self.die(Death::Process),
            Fault::PowerLoss => self.die(Death::Power),
            Fault::KillWhileWriting => self.tear = Some(Death::Process),
            Fault::TornWrite => self.tear = Some(Death::Power),
            Fault::LogSyncFails => {
                self.log.fail_next_sync();
                self.log_fault_planted = true;
            }
            Fault::StoreWriteFails => self.plant(Call::Commit),
            Fault::StoreSyncFails => self.plant(Call::Sync),
            Fault::Pause => {
                let pause = self.chance.between(10 * MS, 5 * SECOND);
                self.paused_until = self.now + pause;
                self.excuse_leases(pause);
            }
            Fault::SlowDisk => self.slow_until = self.now + self.chance.between(100 * MS, 3 * SECOND),
            Fault::ClockJump => self.clock_offset += i64::try_from(self.chance.below(20_000)).unwrap() - 10_000,
            Fault::Disconnect => self.disconnect_watchers(),
        }
    }

    fn plant(&mut self, call: Call) {
        self.store.fail_next(call, planted());
        self.store_fault_planted = true;
    }

    /// The process ends. Everybody who waited is left in doubt; an operator will start it again.
    pub fn die(&mut self, death: Death) {
        self.tell(|| format!("{death:?} dies"));
        let unsynced = self.store.unsynced();
        let kept = match death {
            Death::Process => unsynced,
            Death::Power => self.chance.index(unsynced + 1),
        };
        self.store = self.store.crash(kept);
        self.log.crash(death, &mut self.chance);
        self.store_fault_planted = false;
        self.log_fault_planted = false;
        self.tear = None;
        self.paused_until = self.now;
        self.member = None;
        self.lose_all();
        self.disconnect_watchers();
        self.soon(Event::Start, 2 * SECOND);
    }

    /// Writes what the disk took. `None` when the member died of it, or with it.
    pub fn write_log(&mut self) -> Checked<Option<u64>> {
        let writing = std::mem::take(&mut self.alive().writing);
        let Some(number) = writing.last().map(|persist| persist.number) else { return Ok(None) };
        if let Some(death) = self.tear.take() {
            self.log.stop_soon(&mut self.chance);
            // The write comes to its end, or does not: nobody is told either way.
            let _ = self.log.append(&writing);
            self.die(death);
            return Ok(None);
        }
        match self.log.append(&writing) {
            Ok(()) => Ok(Some(number)),
            Err(error) if self.log_fault_planted => {
                self.tell(|| format!("the member stops: {error}"));
                let death = if self.chance.percent(50) { Death::Process } else { Death::Power };
                self.die(death);
                Ok(None)
            }
            Err(error) => Err(Violation(format!("the log cannot be written: {error}"))),
        }
    }

    /// Syncs the store, then cuts the log off behind what is applied.
    pub fn maintain(&mut self) -> Checked {
        self.soon(Event::Maintain, 4 * SECOND);
        let through = self.alive().machine.applied().0;
        if self.bug != Some(Bug::TruncateBeforeSync)
            && let Err(error) = self.store.sync()
        {
            ensure!(self.store_fault_planted, "the store cannot be synced: {error}");
            self.tell(|| format!("the member stops: {error}"));
            self.die(Death::Process);
            return Ok(());
        }
        if self.chance.percent(50) {
            let keep = self.chance.between(1, 50);
            let through = Index(through.get().saturating_sub(keep));
            self.log.truncate(through).map_err(|error| Violation(format!("the log cannot be cut off: {error}")))?;
            self.alive().replica.truncate(through);
            self.report.sight("log truncations");
        }
        Ok(())
    }

    pub fn sweep(&mut self) -> Checked {
        self.soon(Event::Sweep, 2 * SECOND);
        match self.alive().machine.sweep() {
            Ok(_) => self.check_state(),
            Err(fault) => {
                ensure!(self.store_fault_planted, "sweeping fails: {fault}");
                self.tell(|| format!("the member stops: {fault}"));
                self.die(Death::Process);
                Ok(())
            }
        }
    }

    /// After the storm: everybody was served, everything is applied, every watcher has seen all.
    pub fn check_progress(&mut self) -> Checked {
        ensure!(self.member.is_some(), "the member is down at the end");
        for client in &self.clients {
            ensure!(client.answered_in_calm > 20, "a client got {} answers in the calm", client.answered_in_calm);
            ensure!(client.lost_in_calm == 0, "{} operations were lost in the calm", client.lost_in_calm);
        }
        self.check_state()?;
        self.check_watchers_caught_up()
    }
}

fn arm(lease: &Lease) -> LeaseChange {
    LeaseChange::Armed { id: lease.id, remaining: lease.remaining, renewals: lease.renewals }
}

fn planted() -> StorageError {
    std::io::Error::other("planted").into()
}

fn refused(what: &str, error: &dyn std::fmt::Display) -> Violation {
    Violation(format!("{what} refuses to start: {error}"))
}
