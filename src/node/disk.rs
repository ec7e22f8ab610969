//! The thread that owns the log on disk: everything that waits goes out in one batch and one fdatasync.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::Shared;
use super::runner::{Event, Runner};
use crate::consensus::Persist;
use crate::model::Index;
use crate::wal::{Batch, FileDirectory, Wal};

/// What the runner asks of the disk, in order.
pub(super) enum Order {
    Persist(Persist),
    /// The log below this index is needed no more.
    Truncate(Index),
    Stop,
}

pub(super) struct Disk {
    wal: Wal<FileDirectory>,
    shared: Arc<Shared>,
    runner: Arc<Runner>,
    orders: Receiver<Order>,
}

impl Disk {
    pub(super) fn new(
        wal: Wal<FileDirectory>,
        shared: Arc<Shared>,
        runner: Arc<Runner>,
        orders: Receiver<Order>,
    ) -> Self {
        Self { wal, shared, runner, orders }
    }

    pub(super) fn run(mut self) {
        while let Ok(first) = self.orders.recv() {
            let mut merged: Option<Persist> = None;
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Persist(persist) => match merged.as_mut() {
                        Some(waiting) if follows(waiting, &persist) => merge(waiting, persist),
                        _ => {
                            if !self.write(merged.replace(persist)) {
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

    /// Makes one batch durable and says so. False when the member has to stop.
    fn write(&mut self, persist: Option<Persist>) -> bool {
        let Some(persist) = persist else { return true };
        let start = Instant::now();
        let batch = Batch { entries: &persist.entries, hard_state: persist.hard_state, snapshot: None };
        if let Err(error) = self.wal.append(&batch) {
            self.shared.fail("the log could not be written", &error);
            let _ = self.runner.handle(Event::Stop);
            return false;
        }
        self.shared.metrics.wal.fsync_seconds.observe(start.elapsed());
        self.shared.metrics.wal.entries.inc_by(persist.entries.len() as u64);
        self.observe();
        self.runner.handle(Event::Persisted(persist.number)).is_ok()
    }

    fn truncate(&mut self, index: Index) -> bool {
        // What was cut may be the room that the next segment needs.
        if let Err(error) = self.wal.truncate_front(index).and_then(|()| self.wal.reserve()) {
            self.shared.fail("the log could not be cut", &error);
            let _ = self.runner.handle(Event::Stop);
            return false;
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
