//! The thread that owns the log on disk: everything that waits goes out in one batch and one fdatasync.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::Shared;
use super::runner::{Event, Runner};
use super::zeros::Zeros;
use crate::consensus::Persist;
use crate::model::Index;
use crate::wal::{Batch, Directory, FileDirectory, SnapshotMark, Wal, WalError};

/// What the runner asks of the disk, in order.
pub(super) enum Order {
    /// With the name of the store, where the batch makes a snapshot good.
    Persist(Persist, Option<String>),
    /// The log below this index is needed no more.
    Truncate(Index),
    Stop,
}

type Segment = <FileDirectory as Directory>::File;

pub(super) struct Disk {
    wal: Wal<FileDirectory>,
    zeros: Zeros<Segment>,
    shared: Arc<Shared>,
    runner: Arc<Runner>,
    orders: Receiver<Order>,
}

impl Disk {
    pub(super) fn new(
        wal: Wal<FileDirectory>,
        zeros: Zeros<Segment>,
        shared: Arc<Shared>,
        runner: Arc<Runner>,
        orders: Receiver<Order>,
    ) -> Self {
        Self { wal, zeros, shared, runner, orders }
    }

    pub(super) fn run(mut self) {
        if !self.prepare() {
            return;
        }
        while let Some(first) = self.next() {
            let mut merged: Option<(Persist, Option<String>)> = None;
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Persist(persist, store) => match merged.as_mut() {
                        Some((waiting, _)) if store.is_none() && follows(waiting, &persist) => merge(waiting, persist),
                        _ => {
                            if !self.write(merged.replace((persist, store))) {
                                return;
                            }
                        }
                    },
                    Order::Truncate(index) => {
                        if !self.write(merged.take()) || !self.truncate(index) {
                            return;
                        }
                    }
                    Order::Stop => {
                        self.write(merged);
                        return;
                    }
                }
                next = self.orders.try_recv().ok();
            }
            if !self.write(merged) {
                return;
            }
        }
    }

    /// The next order. None when there will be none, or the member has to stop.
    fn next(&mut self) -> Option<Order> {
        if let Ok(order) = self.orders.try_recv() {
            return Some(order);
        }
        if let Err(error) = self.wal.seal() {
            self.fail("the log could not be sealed", &error);
            return None;
        }
        self.orders.recv().ok()
    }

    /// Makes one batch durable and says so. False when the member has to stop.
    fn write(&mut self, waiting: Option<(Persist, Option<String>)>) -> bool {
        let Some((persist, store)) = waiting else { return true };
        let start = Instant::now();
        let mark =
            |store| persist.snapshot.map(|position| SnapshotMark { index: position.index, term: position.term, store });
        let snapshot = store.and_then(mark);
        let batch = Batch { entries: &persist.entries, hard_state: persist.hard_state, snapshot };
        let appended = match self.wal.append(&batch) {
            Err(WalError::Lent) => {
                if !self.take_back(true) {
                    return false;
                }
                self.wal.append(&batch)
            }
            appended => appended,
        };
        if let Err(error) = appended {
            return self.fail("the log could not be written", &error);
        }
        self.shared.metrics.wal.fsync_seconds.observe(start.elapsed());
        self.shared.space.spend(persist.entries.iter().map(|entry| entry.data.len() as u64).sum());
        self.shared.metrics.wal.entries.inc_by(persist.entries.len() as u64);
        self.observe();
        self.runner.handle(Event::Persisted(persist.number)).is_ok() && self.prepare()
    }

    /// Has the zeros of the next segment written, ahead of its need. False when the member has to stop.
    fn prepare(&mut self) -> bool {
        if !self.take_back(false) {
            return false;
        }
        if let Some(spare) = self.wal.lend_spare()
            && let Err(spare) = self.zeros.begin(spare)
        {
            self.wal.take_back(spare);
        }
        true
    }

    fn take_back(&mut self, now: bool) -> bool {
        match self.zeros.take(now) {
            Ok(spare) => {
                if let Some(spare) = spare {
                    self.wal.take_back(spare);
                }
                true
            }
            Err(error) => self.fail("the next segment of the log could not be written", &error),
        }
    }

    fn fail(&self, what: &str, error: &dyn std::error::Error) -> bool {
        self.shared.fail(what, error);
        let _ = self.runner.handle(Event::Stop);
        false
    }

    fn truncate(&mut self, index: Index) -> bool {
        // What was cut may be the room that the next segment needs.
        if let Err(error) = self.wal.truncate_front(index).and_then(|()| self.wal.reserve()) {
            return self.fail("the log could not be cut", &error);
        }
        self.observe();
        true
    }

    fn observe(&self) {
        self.shared.wal_bytes.store(self.wal.disk_bytes(), Ordering::Relaxed);
        self.shared.log_has_room.store(self.wal.has_reserve(), Ordering::Relaxed);
    }
}

/// Whether the entries of `next` go on where those of `waiting` end, so that one batch can hold both.
fn follows(waiting: &Persist, next: &Persist) -> bool {
    match (waiting.entries.last(), next.entries.first()) {
        (Some(last), Some(first)) => first.index == last.index.next(),
        _ => true,
    }
}

fn merge(waiting: &mut Persist, next: Persist) {
    waiting.number = next.number;
    waiting.entries.extend(next.entries);
    waiting.hard_state = next.hard_state.or(waiting.hard_state);
}
