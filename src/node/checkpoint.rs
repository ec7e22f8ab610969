//! The thread that lets the log be cut: syncs the store now and then, off the path of writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::runner::{Event, Runner};
use super::space::Room;
use super::{Options, Shared};
use crate::model::Index;
use crate::storage::Engine as _;

/// How often the room on the disk is looked at where nobody asks.
const LOOK: Duration = Duration::from_millis(200);
/// What is not worth a sync by itself.
const SMALL_BYTES: u64 = 1024 * 1024;

pub(super) struct Checkpoint {
    shared: Arc<Shared>,
    runner: Arc<Runner>,
    /// Everything up to the index is in the store, not yet synced.
    requests: Receiver<Index>,
    data_dir: PathBuf,
}

impl Checkpoint {
    pub(super) fn new(shared: Arc<Shared>, runner: Arc<Runner>, requests: Receiver<Index>, options: &Options) -> Self {
        Self { shared, runner, requests, data_dir: options.data_dir.clone() }
    }

    /// Runs until the applier, which asks, is gone; then syncs once more, so that a start after a clean stop has
    /// little to apply again.
    pub(super) fn run(self) {
        loop {
            let applied = match self.requests.recv_timeout(LOOK) {
                Ok(applied) => applied,
                Err(RecvTimeoutError::Timeout) if self.is_short() => self.shared.published().index,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if !self.sync() || self.runner.handle(Event::Truncate(applied)).is_err() {
                return;
            }
        }
        self.sync();
    }

    /// Whether the disk is short of room, and there is something to write to it: the log that can be cut for it is larger.
    fn is_short(&self) -> bool {
        self.shared.space.room(0) != Room::Enough && self.shared.engine.read().unwritten_bytes() >= SMALL_BYTES
    }

    /// False when that failed, or something else before: the member stops.
    fn sync(&self) -> bool {
        if self.shared.failed() {
            return false;
        }
        let engine = self.shared.engine.read().clone();
        let Err(error) = engine.sync() else { return true };
        self.shared.fail(&format!("the store in {} could not be synced", self.data_dir.display()), &error);
        let _ = self.runner.handle(Event::Stop);
        false
    }
}
