//! The thread that looks after the store: syncs it now and then, off the path of writes, so that the log can be cut, and stops
//! the member where a read has found damage.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::report::REPORT_EVERY;
use super::runner::{Event, Runner};
use super::space::Room;
use super::{Options, Shared};
use crate::model::Index;
use crate::storage::lsm::LsmEngine;
use crate::storage::{Engine as _, StorageError};

/// How often store and disk are looked at where nobody asks.
const LOOK: Duration = Duration::from_millis(200);
/// What is not worth a sync by itself.
const SMALL_BYTES: u64 = 1024 * 1024;

pub(super) struct Checkpoint {
    shared: Arc<Shared>,
    runner: Arc<Runner>,
    /// Everything up to the index is in the store, not yet synced.
    requests: Receiver<Index>,
    data_dir: PathBuf,
    /// When the store was measured for the others.
    measured: Option<Instant>,
}

impl Checkpoint {
    pub(super) fn new(shared: Arc<Shared>, runner: Arc<Runner>, requests: Receiver<Index>, options: &Options) -> Self {
        Self { shared, runner, requests, data_dir: options.data_dir.clone(), measured: None }
    }

    /// Runs until the applier, which asks, is gone; then syncs once more, so that a start after a clean stop has
    /// little to apply again.
    pub(super) fn run(mut self) {
        loop {
            self.measure();
            let applied = match self.requests.recv_timeout(LOOK) {
                Ok(applied) => applied,
                Err(RecvTimeoutError::Timeout) => {
                    if !self.act("cannot be trusted", LsmEngine::check) {
                        return;
                    }
                    if !self.is_short() {
                        continue;
                    }
                    self.shared.published().index
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if !self.sync() || self.runner.handle(Event::Truncate(applied)).is_err() {
                return;
            }
        }
        self.sync();
    }

    /// Looks how large the store is, which means to look at each of its files, for those that report it to other members and must
    /// not wait for a disk.
    fn measure(&mut self) {
        let due = self.measured.is_none_or(|measured| measured.elapsed() >= REPORT_EVERY);
        if due && self.shared.members().len() > 1 {
            self.measured = Some(Instant::now());
            let bytes = self.shared.engine.read().clone().disk_bytes().unwrap_or(0);
            self.shared.store_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// Whether the disk is short of room, and there is something to write to it: the log that can be cut for it is larger.
    fn is_short(&self) -> bool {
        self.shared.space.room(0) != Room::Enough && self.shared.engine.read().unwritten_bytes() >= SMALL_BYTES
    }

    fn sync(&self) -> bool {
        self.act("could not be synced", LsmEngine::sync)
    }

    /// Does something with the store. False when that failed, or something else before: the member stops.
    fn act(&self, what_if_not: &str, act: impl FnOnce(&LsmEngine) -> Result<(), StorageError>) -> bool {
        if self.shared.failed() {
            return false;
        }
        let engine = self.shared.engine.read().clone();
        let Err(error) = act(&engine) else { return true };
        self.shared.fail(&format!("the store in {} {what_if_not}", self.data_dir.display()), &error);
        let _ = self.runner.handle(Event::Stop);
        false
    }
}
