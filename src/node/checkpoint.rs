//! The thread that lets the log be cut: syncs the store now and then, off the path of writes, and has it written back in
//! between, so that no sync has much to do.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::runner::{Event, Runner};
use super::{Options, Shared};
use crate::model::Index;
use crate::storage::fjall::FjallEngine;
use crate::storage::{Engine as _, StorageError};

/// What the applier asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request {
    /// Much was applied: the disk may begin with it.
    WriteBack,
    /// A checkpoint: everything up to `applied` is in the store, not yet synced.
    Checkpoint { applied: Index },
}

pub(super) struct Checkpoint {
    shared: Arc<Shared>,
    runner: Arc<Runner>,
    requests: Receiver<Request>,
    data_dir: PathBuf,
}

impl Checkpoint {
    pub(super) fn new(
        shared: Arc<Shared>,
        runner: Arc<Runner>,
        requests: Receiver<Request>,
        options: &Options,
    ) -> Self {
        Self { shared, runner, requests, data_dir: options.data_dir.clone() }
    }

    /// Runs until the applier, which asks, is gone; then syncs once more, so that a start after a clean stop has
    /// little to apply again.
    pub(super) fn run(self) {
        while let Ok(request) = self.requests.recv() {
            let goes_on = match request {
                Request::WriteBack => self.guard(FjallEngine::write_back),
                Request::Checkpoint { applied } => self.sync() && self.runner.handle(Event::Truncate(applied)).is_ok(),
            };
            if !goes_on {
                return;
            }
        }
        self.sync();
    }

    fn sync(&self) -> bool {
        self.guard(FjallEngine::sync)
    }

    /// Does something to the store. False when that failed, or something else before: the member stops.
    fn guard(&self, act: impl FnOnce(&FjallEngine) -> Result<(), StorageError>) -> bool {
        if self.shared.failed() {
            return false;
        }
        let engine = self.shared.engine.read().clone();
        let Err(error) = act(&engine) else { return true };
        self.shared.fail(&format!("the store in {} could not be synced", self.data_dir.display()), &error);
        let _ = self.runner.handle(Event::Stop);
        false
    }
}
