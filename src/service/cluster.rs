//! Who belongs to the cluster, and how that changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::{MissedTickBehavior, interval};

use super::{Call, Consistency, Done, Error, Service};
use crate::cluster::peer_url;
use crate::model::{ClusterId, Command, Member, MemberChange, MemberId, Members, Refusal, Revision};
use crate::node::{Report, Sent, member_id};

/// How often a leader looks whether a learner that is to become a voter has caught up.
const PROMOTE_EVERY: Duration = Duration::from_millis(500);
/// How long a promotion may take before it is tried again.
const PROMOTE_PATIENCE: Duration = Duration::from_secs(5);

/// What a member that is added is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A learner, until it is promoted.
    Learner,
    /// A voter: it comes as a learner, too, and is promoted without being asked for again once it has caught up.
    Voter,
}

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

/// How much of the log goes between members, since the process started.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// The messages that append entries and came in.
    pub received: u64,
    /// Those that went to each other member.
    pub sent: BTreeMap<MemberId, Sent>,
    /// Since when the leader leads that is known here, or was the last; `None` where none was.
    pub leader_since: Option<SystemTime>,
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

    /// Adds a member that the others reach at these URLs. It begins as a learner, whatever it is to be. It goes by the name, which may be empty, until it has
    /// started and says itself what it is called. Its id follows from them and the time, as in etcd.
    ///
    /// # Errors
    /// As [`Service::write`]; refused where a URL is another member's; [`Error::NoPeerPort`] where nobody could join.
    pub async fn add_member(&self, call: &Call, name: String, peer_urls: &[String], role: Role) -> Result<Done, Error> {
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
        let becomes_voter = role == Role::Voter;
        let client_urls = Vec::new();
        let member = Member { id, name, peer_urls, client_urls, incarnation: None, learner: true, becomes_voter };
        self.write(call, Command::ChangeMember(MemberChange::Add(member))).await
    }

    /// While this member leads, makes voters of those learners that are to become ones, each once it has caught up; until the
    /// server drains.
    pub async fn promote_by_itself(self) {
        let mut ticks = interval(PROMOTE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let node = &self.0.node;
            if node.leader() != Some(node.identity().member) {
                continue;
            }
            let members = Arc::clone(&node.latest().members);
            for member in members.iter().filter(|member| member.becomes_voter) {
                let call = Call::new(Instant::now() + PROMOTE_PATIENCE);
                match self.promote_member(&call, member.id).await {
                    Ok(_) => tracing::info!(member = %member.id, "a learner has caught up and is a voter now"),
                    // It has not caught up, or not started.
                    Err(Error::ChangeRefused(_)) => {}
                    Err(error) => {
                        tracing::debug!(member = %member.id, %error, "a learner was not promoted; it is tried again");
                    }
                }
            }
        }
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

    /// How much of the log this member has received and sent to others, and since when the leader leads.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let node = &self.0.node;
        let (received, sent) = (node.appends_received(), node.appends_sent());
        Traffic { received, sent, leader_since: node.leader_since() }
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
