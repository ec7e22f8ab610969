//! Who belongs to the cluster, and how that changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Call, Consistency, Done, Error, Service};
use crate::cluster::peer_url;
use crate::model::{ClusterId, Command, Member, MemberChange, MemberId, Members, Refusal, Revision};
use crate::node::{Report, member_id};

/// The members, and who leads.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub id: ClusterId,
    /// As far as known here.
    pub leader: Option<MemberId>,
    pub members: Arc<Members>,
    /// How those are that this member hears of.
    pub reports: BTreeMap<MemberId, Report>,
    /// The revision of the store at the same moment.
    pub revision: Revision,
}

impl Cluster {
    /// How many entries a member has yet to apply, as far as its report says.
    #[must_use]
    pub fn lag(&self, report: &Report) -> u64 {
        let newest = self.reports.values().map(|report| report.applied).max().unwrap_or_default();
        newest.get().saturating_sub(report.applied.get())
    }
}

impl Service {
    /// The members of the cluster.
    ///
    /// # Errors
    /// [`Error::NoLeader`], [`Error::DeadlineExceeded`] or [`Error::Stopped`].
    pub async fn cluster(&self, call: &Call, consistency: Consistency) -> Result<Cluster, Error> {
        let reader = self.reader(call, consistency).await?;
        Ok(self.cluster_with(reader.members(), reader.revision()))
    }

    /// The cluster as this member knows it.
    #[must_use]
    pub fn cluster_at_hand(&self) -> Cluster {
        let latest = self.0.node.latest();
        self.cluster_with(Arc::clone(&latest.members), latest.revision())
    }

    fn cluster_with(&self, members: Arc<Members>, revision: Revision) -> Cluster {
        let node = &self.0.node;
        Cluster { id: node.identity().cluster, leader: node.leader(), members, reports: node.reports(), revision }
    }

    /// Adds a member that the others reach at these URLs, as a learner. It goes by the name, which may be empty, until it has
    /// started and says itself what it is called. Its id follows from them and the time, as in etcd.
    ///
    /// # Errors
    /// As [`Service::write`]; refused where a URL is another member's; [`Error::NoPeerPort`] where nobody could join.
    pub async fn add_member(&self, call: &Call, name: String, peer_urls: &[String]) -> Result<Done, Error> {
        if !self.0.node.listens() {
            return Err(Error::NoPeerPort);
        }
        let peer_urls = normal(peer_urls);
        let members = self.cluster(call, Consistency::Linearizable).await?.members;
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        // One that was added and removed within this second had the same id, which never comes back.
        let ids = (seconds..).map(|seconds| member_id(&peer_urls, &seconds.to_string()));
        let is_new = |id: &MemberId| members.get(*id).is_none() && !members.was_removed(*id);
        let id = ids.take(members.len() + 64).find(is_new).unwrap_or_default();
        let member = Member { id, name, peer_urls, client_urls: Vec::new(), incarnation: None, learner: true };
        self.write(call, Command::ChangeMember(MemberChange::Add(member))).await
    }

    /// Makes a voter of a learner.
    ///
    /// # Errors
    /// As [`Service::write`]; [`Error::ChangeRefused`] while it has not caught up or a majority would be at risk.
    pub async fn promote_member(&self, call: &Call, id: MemberId) -> Result<Done, Error> {
        self.write(call, Command::ChangeMember(MemberChange::Promote(id))).await
    }

    /// Removes a member for good. One that leads hands over first.
    ///
    /// # Errors
    /// As [`Service::write`]; [`Error::ChangeRefused`] where those left would make no majority.
    pub async fn remove_member(&self, call: &Call, id: MemberId) -> Result<Done, Error> {
        self.write(call, Command::ChangeMember(MemberChange::Remove(id))).await
    }

    /// Has the others reach a member at these URLs from now on.
    ///
    /// # Errors
    /// As [`Service::write`]; refused where a URL is another member's.
    pub async fn relocate_member(&self, call: &Call, id: MemberId, peer_urls: &[String]) -> Result<Done, Error> {
        self.write(call, Command::RelocateMember { id, peer_urls: normal(peer_urls) }).await
    }

    /// Has a voter lead, and waits until it does.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is no such voter; [`Error::DeadlineExceeded`] where it did not take over.
    pub async fn transfer_leader(&self, call: &Call, to: MemberId) -> Result<Revision, Error> {
        let Cluster { members, revision, .. } = self.cluster(call, Consistency::Linearizable).await?;
        match members.get(to) {
            None => return Err(Error::refused(Refusal::MemberNotFound(to), revision)),
            Some(member) if member.learner => return Err(Error::refused(Refusal::NotAVoter(to), revision)),
            Some(_) => {}
        }
        self.0.node.transfer(to, call.deadline).await?;
        Ok(revision)
    }
}

/// The URLs in the one form that ids are computed from, where they have one.
fn normal(urls: &[String]) -> Vec<String> {
    urls.iter().map(|url| peer_url(url).unwrap_or_else(|_| url.clone())).collect()
}
