//! Who belongs to the cluster.

use std::sync::Arc;

use super::{Call, Consistency, Error, Service};
use crate::model::{ClusterId, MemberId, Members, Revision};

/// The members, and who leads.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub id: ClusterId,
    /// As far as known here.
    pub leader: Option<MemberId>,
    pub members: Arc<Members>,
    /// The revision of the store at the same moment.
    pub revision: Revision,
}

impl Service {
    /// The members of the cluster.
    ///
    /// # Errors
    /// [`Error::NoLeader`], [`Error::DeadlineExceeded`] or [`Error::Stopped`].
    pub async fn cluster(&self, call: &Call, consistency: Consistency) -> Result<Cluster, Error> {
        let reader = self.reader(call, consistency).await?;
        let node = &self.0.node;
        let (id, leader) = (node.identity().cluster, node.leader());
        Ok(Cluster { id, leader, members: reader.members(), revision: reader.revision() })
    }
}
