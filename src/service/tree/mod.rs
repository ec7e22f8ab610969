//! The tree of etcd's v2 API over the one key space: writing, reading and following nodes.
//!
//! What a write does is decided where it is applied (`machine::node`); which keys are which node, in `model::node`.

mod read;
mod watch;

pub use read::ShownNode;
pub use watch::{NodeWatch, NodeWatchRequest};

use super::{Call, Error, Service};
use crate::model::{Command, NodeEvent, NodeWrite, Outcome, Revision};

impl Service {
    /// Writes a node: one command, one revision.
    ///
    /// # Errors
    /// Those of [`Service::write`]; what the tree does not allow is a [`Refusal::Node`](crate::model::Refusal::Node).
    pub async fn write_node(&self, call: &Call, write: NodeWrite) -> Result<(Revision, NodeEvent), Error> {
        let done = self.write(call, Command::Node(write)).await?;
        match done.outcome {
            Outcome::Node(event) => Ok((done.revision, *event)),
            other => Err(Error::Storage(format!("a write of a node came to {other:?}").into())),
        }
    }
}
