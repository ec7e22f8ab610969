//! The thread that owns the state machine: applies what is committed, publishes it, answers who waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::checkpoint::Request;
use super::handle::{Permit, ProposeError};
use super::runner::{Event, Runner};
use super::{Options, Published, Shared};
use crate::machine::{Applied, Fault, StateMachine};
use crate::model::{Index, LogEntry, ProposalId, Reply, Term};
use crate::mvcc::Progress;
use crate::storage::fjall::FjallEngine;

/// Entries applied in one engine batch at most, and the bytes in them.
const MAX_BATCH_ENTRIES: usize = 64;
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// The store is asked to write back when this much was applied: a few times as much is in its journal.
const WRITE_BACK_BYTES: u64 = 512 * 1024;
/// A quiet spell after which background removal goes on.
const QUIET: Duration = Duration::from_millis(20);
/// How long background removal waits at most while writes leave no quiet spell.
const SWEEP_AT_LEAST: Duration = Duration::from_millis(500);

/// What the runner gives to the applier, in order.
pub(super) enum Work {
    Commit(Commit),
    Stop,
}

/// Entries to apply, and who waits for them.
#[derive(Default)]
pub(super) struct Commit {
    pub(super) entries: Vec<LogEntry>,
    pub(super) waiters: Waiters,
}

/// Who waits for entries, by where a leader placed them: two that led one after another may both have placed one at the same
/// index.
pub(super) type Waiters = BTreeMap<(Index, Term), Vec<Waiter>>;

/// One who waits for a reply.
pub(super) struct Waiter {
    pub(super) id: ProposalId,
    pub(super) reply: oneshot::Sender<Result<Reply, ProposeError>>,
    pub(super) permit: Permit,
}

pub(super) struct Applier {
    machine: StateMachine<FjallEngine>,
    shared: Arc<Shared>,
    runner: Arc<Runner>,
    checkpoints: SyncSender<Request>,
    works: Receiver<Work>,
    runtime: Handle,
    /// Entries applied since the last checkpoint was asked for, and their bytes.
    since_checkpoint: (u64, u64),
    /// So many of them bring the next one.
    checkpoint_after: (u64, u64),
    /// Bytes applied since the store was last asked to write back.
    since_write_back: u64,
    /// Whether background removal has something left to do.
    sweeping: bool,
    last_sweep: Instant,
}

impl Applier {
    pub(super) fn new(
        machine: StateMachine<FjallEngine>,
        shared: Arc<Shared>,
        runner: Arc<Runner>,
        checkpoints: SyncSender<Request>,
        works: Receiver<Work>,
        options: &Options,
    ) -> Self {
        Self {
            machine,
            shared,
            runner,
            checkpoints,
            works,
            runtime: Handle::current(),
            since_checkpoint: (0, 0),
            since_write_back: 0,
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

    /// Takes what waits, as much as one engine batch may hold. False when told to stop.
    fn drain(&mut self, first: Work) -> Result<bool, Fault> {
        let mut all = Commit::default();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(work) = next {
            match work {
                Work::Commit(Commit { entries, mut waiters }) => {
                    bytes += entries.iter().map(|entry| entry.data.len()).sum::<usize>();
                    all.entries.extend(entries);
                    all.waiters.append(&mut waiters);
                }
                Work::Stop => {
                    self.apply(all, bytes)?;
                    return Ok(false);
                }
            }
            if all.entries.len() >= MAX_BATCH_ENTRIES || bytes >= MAX_BATCH_BYTES {
                break;
            }
            next = self.works.try_recv().ok();
        }
        self.apply(all, bytes)?;
        Ok(true)
    }

    fn apply(&mut self, Commit { entries, waiters }: Commit, bytes: usize) -> Result<(), Fault> {
        let Some(last) = entries.last() else { return Ok(()) };
        let start = Instant::now();
        let applied = self.machine.apply(&entries)?;
        if applied.clock_clamped {
            tracing::warn!(time = %applied.time, "the leader's clock has jumped ahead by over an hour: look at it");
        }
        self.publish(&applied, last.term)?;
        self.shared.metrics.apply.commands.inc_by(applied.replies.len() as u64);
        let (revision, blocks) = (applied.revision, applied.blocks.clone());
        let answers = answers(&entries, waiters, applied.replies);
        self.hand_out(answers);
        self.shared.hub.publish(revision, &blocks);
        // A runner that is gone has stopped already.
        let _ = self.runner.handle(Event::Applied { index: last.index, term: last.term });
        self.shared.metrics.apply.seconds.observe(start.elapsed());
        self.count(entries.len(), bytes, last.index);
        if self.sweeping && self.last_sweep.elapsed() >= SWEEP_AT_LEAST {
            self.sweep()?;
        }
        Ok(())
    }

    /// Makes the new state visible to reads. Replies and watchers come after, so that nobody hears of a change that
    /// a read does not yet show.
    fn publish(&mut self, applied: &Applied, term: Term) -> Result<(), Fault> {
        let published = Published { view: self.machine.view()?, index: applied.index, term };
        self.sweeping |= published.view.compacted() > self.shared.published.read().view.compacted();
        *self.shared.published.write() = Arc::new(published);
        self.shared.applied.send_replace(applied.index);
        if !applied.leases.is_empty() {
            let now = Instant::now();
            let mut lessor = self.shared.lessor.lock();
            for change in &applied.leases {
                lessor.apply(change, now);
            }
            self.shared.metrics.store.leases.set(i64::try_from(lessor.len()).unwrap_or(i64::MAX));
        }
        Ok(())
    }

    /// Answers from within the runtime: a wake-up there costs a fraction of one from a thread outside.
    fn hand_out(&self, answers: Vec<(Waiter, Result<Reply, ProposeError>)>) {
        if answers.is_empty() {
            return;
        }
        self.runtime.spawn(async move {
            for (waiter, result) in answers {
                // Who waits no longer has its answer: the outcome was unknown by its deadline.
                let _ = waiter.reply.send(result);
                drop(waiter.permit);
            }
        });
    }

    fn count(&mut self, entries: usize, bytes: usize, index: Index) {
        self.since_checkpoint.0 += entries as u64;
        self.since_checkpoint.1 += bytes as u64;
        self.since_write_back += bytes as u64;
        // While the thread that is asked is busy, what is due stays due. Where it is gone, the member is stopping.
        let due =
            self.since_checkpoint.0 >= self.checkpoint_after.0 || self.since_checkpoint.1 >= self.checkpoint_after.1;
        if due && self.checkpoints.try_send(Request::Checkpoint { applied: index }).is_ok() {
            self.since_checkpoint = (0, 0);
            self.since_write_back = 0;
        } else if self.since_write_back >= WRITE_BACK_BYTES && self.checkpoints.try_send(Request::WriteBack).is_ok() {
            self.since_write_back = 0;
        }
    }

    fn sweep(&mut self) -> Result<(), Fault> {
        self.last_sweep = Instant::now();
        self.sweeping = self.machine.sweep()? == Progress::More;
        Ok(())
    }
}

/// Gives each reply to who waits for it. An entry of another term at an awaited index means that the awaited one is
/// certainly never applied.
fn answers(
    entries: &[LogEntry],
    waiters: Waiters,
    replies: Vec<(ProposalId, Reply)>,
) -> Vec<(Waiter, Result<Reply, ProposeError>)> {
    let mut answers = Vec::with_capacity(replies.len());
    let mut replies = replies.into_iter().peekable();
    for ((index, term), waiters) in waiters {
        let at = entries.partition_point(|entry| entry.index < index);
        let stands = entries.get(at).is_some_and(|entry| entry.index == index && entry.term == term);
        for waiter in waiters {
            // Those of entries that nobody here waits for come in between.
            while stands && replies.next_if(|(id, _)| *id != waiter.id).is_some() {}
            let reply = if stands { replies.next() } else { None };
            answers.push((waiter, reply.map(|(_, reply)| reply).ok_or(ProposeError::NoLeader)));
        }
    }
    answers
}
