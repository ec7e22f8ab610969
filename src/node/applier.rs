//! The thread that owns the state machine: applies what is committed, publishes it, answers who waits.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::runner::{Event, Runner};
use super::waiters::Told;
use super::{Options, Published, Shared};
use crate::consensus::Position;
use crate::machine::{Applied, Fault, StateMachine};
use crate::model::{EventKind, Index, LogEntry, Members, Revision, Term};
use crate::mvcc::Progress;
use crate::storage::Engine as _;
use crate::storage::lsm::LsmEngine;

/// A batch of the store takes entries until it has so many, or so many bytes in them. What is applied first is answered while the
/// rest is applied: with small batches, both cores have something to do.
const BATCH_ENTRIES: usize = 64;
const BATCH_BYTES: usize = 8 * 1024;
/// A quiet spell after which background removal goes on.
const QUIET: Duration = Duration::from_millis(20);
/// How long background removal waits at most while writes leave no quiet spell.
const SWEEP_AT_LEAST: Duration = Duration::from_millis(500);

/// What the runner gives to the applier, in order.
pub(super) enum Work {
    Commit(Vec<LogEntry>),
    Install(Install),
    Stop,
}

/// The state of a snapshot that takes the place of the present one. The log names it already.
pub(super) struct Install {
    pub(super) position: Position,
    /// The name of its directory.
    pub(super) store: String,
    pub(super) engine: LsmEngine,
}

/// What is applied in one batch of the store.
#[derive(Default)]
struct Batch {
    entries: Vec<LogEntry>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, entry: LogEntry) {
        self.bytes += entry.data.len();
        self.entries.push(entry);
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES
    }
}

pub(super) struct Applier {
    machine: StateMachine<LsmEngine>,
    shared: Arc<Shared>,
    runner: Arc<Runner>,
    checkpoints: SyncSender<Index>,
    works: Receiver<Work>,
    /// As last applied.
    members: Arc<Members>,
    /// The directory of the present store.
    store: PathBuf,
    /// A store whose place was taken, until the last one who reads from it is done.
    retired: Option<(LsmEngine, PathBuf)>,
    /// Entries applied since the last checkpoint was asked for, and their bytes.
    since_checkpoint: (u64, u64),
    /// So many of them bring the next one.
    checkpoint_after: (u64, u64),
    /// Whether background removal has something left to do.
    sweeping: bool,
    last_sweep: Instant,
}

impl Applier {
    pub(super) fn new(
        machine: StateMachine<LsmEngine>,
        shared: Arc<Shared>,
        runner: Arc<Runner>,
        checkpoints: SyncSender<Index>,
        works: Receiver<Work>,
        store: PathBuf,
        options: &Options,
    ) -> Self {
        Self {
            members: shared.members(),
            machine,
            shared,
            runner,
            checkpoints,
            works,
            store,
            retired: None,
            since_checkpoint: (0, 0),
            checkpoint_after: (options.checkpoint_entries, options.checkpoint_bytes),
            sweeping: true,
            last_sweep: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
        if let Err(fault) = self.work() {
            self.shared.fail("the state machine met a fault", &fault);
            let _ = self.runner.handle(Event::Stop);
        }
    }

    fn work(&mut self) -> Result<(), Fault> {
        loop {
            let first = if self.sweeping {
                match self.works.recv_timeout(QUIET) {
                    Ok(work) => work,
                    Err(RecvTimeoutError::Timeout) => {
                        self.sweep()?;
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
            } else {
                match self.works.recv() {
                    Ok(work) => work,
                    Err(_) => return Ok(()),
                }
            };
            if !self.drain(first)? {
                return Ok(());
            }
        }
    }

    /// Takes what waits and applies it, a batch at a time. False when told to stop.
    fn drain(&mut self, first: Work) -> Result<bool, Fault> {
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(work) = next {
            match work {
                Work::Commit(committed) => {
                    for entry in committed {
                        batch.push(entry);
                        if batch.is_full() {
                            self.apply(&mut batch)?;
                        }
                    }
                }
                Work::Install(install) => {
                    self.apply(&mut batch)?;
                    self.install(install)?;
                    return Ok(true);
                }
                Work::Stop => {
                    self.apply(&mut batch)?;
                    return Ok(false);
                }
            }
            next = self.works.try_recv().ok();
        }
        self.apply(&mut batch)?;
        Ok(true)
    }

    fn apply(&mut self, batch: &mut Batch) -> Result<(), Fault> {
        let Batch { entries, bytes } = std::mem::take(batch);
        let Some(last) = entries.last() else { return Ok(()) };
        let start = Instant::now();
        let mut applied = self.machine.apply(&entries)?;
        if applied.clock_clamped {
            tracing::warn!(time = %applied.time, "the leader's clock has jumped ahead by over an hour: look at it");
        }
        let members_changed = self.take_members(&mut applied)?;
        self.publish(&applied, last.term);
        self.shared.metrics.apply.commands.inc_by(applied.replies.len() as u64);
        let events = applied.blocks.iter().flat_map(|block| &block.events);
        let expired = events.filter(|event| event.kind == EventKind::Expire).count();
        self.shared.metrics.store.expired_keys.inc_by(expired as u64);
        let replies = std::mem::take(&mut applied.replies);
        let told = self.shared.waiters.applied(&entries, replies);
        self.shared.hub.publish(|| self.tell(told), applied.revision, &applied.blocks);
        // Raft follows what became of the members before it hears that it was applied. A runner that is gone has stopped
        // already.
        for (index, accepted) in applied.membership.drain(..) {
            let _ = self.runner.handle(Event::MembershipApplied { index, accepted });
        }
        if members_changed {
            let _ = self.runner.handle(Event::MembersChanged);
        }
        let _ = self.runner.handle(Event::Applied { index: last.index, term: last.term });
        self.shared.metrics.apply.seconds.observe(start.elapsed());
        self.count(entries.len(), bytes, last.index);
        self.remove_retired();
        if self.sweeping && self.last_sweep.elapsed() >= SWEEP_AT_LEAST {
            self.sweep()?;
        }
        Ok(())
    }

    /// Takes over what has changed about the members, if anything has.
    fn take_members(&mut self, applied: &mut Applied) -> Result<bool, Fault> {
        let Some(members) = applied.members.take() else { return Ok(false) };
        // A member that crashes must still know whose data is whose: until it hears from a leader it applies nothing again,
        // and would make a majority with one that has lost its data.
        self.shared.engine.read().clone().sync()?;
        self.members = Arc::new(members);
        Ok(true)
    }

    /// Goes on from the state of a snapshot.
    fn install(&mut self, Install { position, store, engine }: Install) -> Result<(), Fault> {
        let machine = StateMachine::open(engine.clone())?;
        let (index, term) = machine.applied();
        if (index, term) != (position.index, position.term) {
            return Err(Fault::Gap { applied: index, found: position.index });
        }
        self.machine = machine;
        let retired = std::mem::replace(&mut *self.shared.engine.write(), engine);
        let path = self.store.with_file_name(store);
        self.retired = Some((retired, std::mem::replace(&mut self.store, path)));
        self.members = Arc::new(self.machine.members().clone());
        self.shared.lessor.lock().replace(self.machine.leases(), Instant::now());
        let revision = self.show(index, term);
        self.tell(self.shared.waiters.skipped(index));
        self.shared.hub.jump(revision);
        let _ = self.runner.handle(Event::MembersChanged);
        let _ = self.runner.handle(Event::Applied { index, term });
        (self.since_checkpoint, self.sweeping) = ((0, 0), true);
        tracing::info!(%index, %revision, "the snapshot of another member is in place");
        Ok(())
    }

    /// Removes the store whose place was taken, once nobody reads from it; elsewhere, because to close it may take a while.
    fn remove_retired(&mut self) {
        if let Some((engine, path)) = self.retired.take_if(|(engine, _)| engine.is_last_handle()) {
            self.shared.runtime.spawn_blocking(move || {
                drop(engine);
                // What is left of it is removed at the next start.
                if let Err(error) = std::fs::remove_dir_all(&path) {
                    tracing::warn!(path = %path.display(), %error, "a store that is of no use any more is still there");
                }
            });
        }
    }

    /// Makes the new state visible to reads. Replies and watchers come after, so that nobody hears of a change that
    /// a read does not yet show; when leases end comes before, so that who sees a lease finds that, too.
    fn publish(&mut self, applied: &Applied, term: Term) {
        if !applied.leases.is_empty() {
            let mut lessor = self.shared.lessor.lock();
            for change in &applied.leases {
                // Each at a time of its own: leases are listed by when they end, as in etcd, and those that were renewed together in
                // the order of their renewals.
                lessor.apply(change, Instant::now());
            }
            self.shared.metrics.store.leases.set(i64::try_from(lessor.len()).unwrap_or(i64::MAX));
        }
        self.show(applied.index, term);
    }

    fn show(&mut self, index: Index, term: Term) -> Revision {
        let (members, auth) = (Arc::clone(&self.members), Arc::clone(self.machine.auth()));
        let published = Published { view: self.machine.view().clone(), index, term, members, auth };
        let revision = published.revision();
        self.sweeping |= published.view.compacted() > self.shared.published.read().view.compacted();
        *self.shared.published.write() = Arc::new(published);
        self.shared.applied.send_replace(index);
        revision
    }

    /// Answers from within the runtime: a wake-up there costs a fraction of one from a thread outside.
    fn tell(&self, told: Vec<Told>) {
        if !told.is_empty() {
            self.shared.runtime.spawn(async move { told.into_iter().for_each(Told::tell) });
        }
    }

    fn count(&mut self, entries: usize, bytes: usize, index: Index) {
        self.since_checkpoint.0 += entries as u64;
        self.since_checkpoint.1 += bytes as u64;
        // While the thread that is asked is busy, what is due stays due. Where it is gone, the member is stopping.
        let due = self.since_checkpoint.0 >= self.checkpoint_after.0
            || self.since_checkpoint.1 >= self.checkpoint_after.1
            || self.machine.engine().is_due();
        if due && self.checkpoints.try_send(index).is_ok() {
            self.since_checkpoint = (0, 0);
        }
    }

    fn sweep(&mut self) -> Result<(), Fault> {
        self.last_sweep = Instant::now();
        self.sweeping = self.machine.sweep()? == Progress::More;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogEntryKind;

    /// How many of the entries, of so many bytes each, are in a batch when it is full; `None` where it is not.
    fn full_after(bytes: usize, entries: usize) -> Option<usize> {
        let mut batch = Batch::default();
        (1..=entries).find(|number| {
            let index = Index(*number as u64);
            batch.push(LogEntry { index, term: Term(1), kind: LogEntryKind::Normal, data: vec![0; bytes].into() });
            batch.is_full()
        })
    }

    #[test]
    fn a_batch_is_full_with_so_many_entries_or_bytes_and_takes_one_that_is_larger() {
        assert_eq!(full_after(1, 1000), Some(BATCH_ENTRIES));
        assert_eq!(full_after(1, BATCH_ENTRIES - 1), None);
        assert_eq!(full_after(BATCH_BYTES / 2, 1000), Some(2));
        assert_eq!(full_after(BATCH_BYTES / 2 - 1, 2), None);
        assert_eq!(full_after(10 * BATCH_BYTES, 1000), Some(1));
    }
}
