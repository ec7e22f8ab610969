//! The tree of etcd's v2 API over the one key space: writing, reading and following nodes.
//!
//! What a write does is decided where it is applied (`machine::node`); which keys are which node, in `model::node`.

mod counts;
mod read;
mod watch;

pub use counts::{ByKind, NodeCounts, Tally};
pub use read::{FoundNode, ShownNode};
pub use watch::{NodeWatch, NodeWatchRequest};

pub(super) use counts::Counts;

use super::{Call, Consistency, Error, Service};
use crate::model::{Command, NodeEvent, NodePath, NodeWrite, Outcome, Revision};

impl Service {
    /// Writes a node: one command, one revision.
    ///
    /// # Errors
    /// Those of [`Service::write`]; what the tree does not allow is a [`Refusal::Node`](crate::model::Refusal::Node).
    pub async fn write_node(&self, call: &Call, write: NodeWrite) -> Result<(Revision, NodeEvent), Error> {
        let count = self.0.nodes.of(&write.change);
        let written = self.write(call, Command::Node(write)).await;
        count.add(written.is_ok());
        let done = written?;
        match done.outcome {
            Outcome::Node(event) => Ok((done.revision, *event)),
            other => Err(Error::Storage(format!("a write of a node came to {other:?}").into())),
        }
    }

    /// A node and what is in it: one level, or everything below.
    ///
    /// # Errors
    /// [`Refusal::Node`](crate::model::Refusal::Node) where nothing is there; [`Error::InvalidArgument`] for a directory
    /// that is too large to be shown; those of a read.
    pub async fn node(
        &self,
        call: &Call,
        consistency: Consistency,
        path: NodePath,
        recursive: bool,
    ) -> Result<FoundNode, Error> {
        let found = self.find_node(call, consistency, path, recursive).await;
        self.0.nodes.gets.add(found.is_ok());
        found
    }

    /// What came of requests for nodes here.
    #[must_use]
    pub fn node_counts(&self) -> NodeCounts {
        let metrics = self.metrics();
        let watchers = u64::try_from(metrics.watch.watchers.get()).unwrap_or(0);
        NodeCounts { requests: self.0.nodes.tally(), expired: metrics.store.expired_keys.get(), watchers }
    }
}
