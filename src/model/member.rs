//! Who belongs to the cluster: the members, and what may change about them.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use super::limits::{MAX_MEMBERS, MAX_VOTERS};
use super::{ConfState, Incarnation, MemberId, Refusal};

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Member {
    pub id: MemberId,
    /// As it was added under, perhaps empty, until the member has started and said so.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it. Empty until the member has started and said so.
    pub client_urls: Vec<String>,
    /// The life of its data, from when it first said so. What it acknowledged and voted stands in that data: should it
    /// come with another, it is not the same member any more.
    pub incarnation: Option<Incarnation>,
    /// It has the log and serves reads, and counts in no majority (Raft dissertation, 4.2.1).
    pub learner: bool,
    /// A learner that is made a voter without anybody's asking once it has caught up, as who adds members by etcd's API
    /// expects.
    pub becomes_voter: bool,
}

impl Member {
    /// A voter of which no more is known than where the others reach it.
    #[must_use]
    pub fn voter(id: MemberId, peer_urls: Vec<String>) -> Self {
        Self {
            id,
            name: String::new(),
            peer_urls,
            client_urls: Vec::new(),
            incarnation: None,
            learner: false,
            becomes_voter: false,
        }
    }

    /// Whether the others reach it at exactly these URLs, in any order.
    #[must_use]
    pub fn is_at(&self, peer_urls: &[String]) -> bool {
        let set = |urls: &[String]| urls.iter().cloned().collect::<BTreeSet<_>>();
        set(&self.peer_urls) == set(peer_urls)
    }
}

/// A change that raft takes part in: one member at a time (Raft dissertation, 4.1).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum MemberChange {
    /// A member that was never there before. As a learner it cannot endanger the majority.
    Add(Member),
    /// Makes a voter of a learner.
    Promote(MemberId),
    Remove(MemberId),
}

/// All members, in order of id, and who was one.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Members {
    present: BTreeMap<MemberId, Member>,
    /// An id that was removed never comes back: what it voted and acknowledged is forgotten.
    removed: BTreeSet<MemberId>,
}

impl Members {
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.present.get(&id)
    }

    pub fn get_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.present.get_mut(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.present.values()
    }

    pub fn len(&self) -> usize {
        self.present.len()
    }

    pub fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// Whether a member of this id was removed.
    pub fn was_removed(&self, id: MemberId) -> bool {
        self.removed.contains(&id)
    }

    /// Carries out a change, or refuses it as it stands. Gives the member as it is then, or was when it was removed.
    ///
    /// # Errors
    /// When it would add an id or a peer URL that is or was in use, change nobody, leave no voter, or make more members or
    /// voters than a cluster has.
    pub fn change(&mut self, change: MemberChange) -> Result<Member, Refusal> {
        match change {
            MemberChange::Add(member) => self.add(member),
            MemberChange::Promote(id) => self.promote(id),
            MemberChange::Remove(id) => self.remove(id),
        }
    }

    fn add(&mut self, member: Member) -> Result<Member, Refusal> {
        if self.present.contains_key(&member.id) || self.removed.contains(&member.id) {
            return Err(Refusal::MemberExists(member.id));
        }
        self.check_urls(member.id, &member.peer_urls)?;
        if self.len() >= MAX_MEMBERS {
            return Err(Refusal::TooManyMembers);
        }
        if !member.learner || member.becomes_voter {
            self.check_voters(member.id)?;
        }
        self.present.insert(member.id, member.clone());
        Ok(member)
    }

    fn promote(&mut self, id: MemberId) -> Result<Member, Refusal> {
        let may_promote = self.check_voters(id);
        let member = self.present.get_mut(&id).ok_or(Refusal::MemberNotFound(id))?;
        if !member.learner {
            return Err(Refusal::NotALearner(id));
        }
        may_promote?;
        member.learner = false;
        member.becomes_voter = false;
        Ok(member.clone())
    }

    /// Whether this one may be a voter besides those that are, or are to become, ones.
    fn check_voters(&self, id: MemberId) -> Result<(), Refusal> {
        let others = self.iter().filter(|member| member.id != id && (!member.learner || member.becomes_voter));
        if others.count() >= MAX_VOTERS { Err(Refusal::TooManyVoters) } else { Ok(()) }
    }

    /// Has a member be reached elsewhere. Raft takes no part in it.
    ///
    /// # Errors
    /// When there is no such member, or another one has one of the URLs.
    pub fn relocate(&mut self, id: MemberId, peer_urls: Vec<String>) -> Result<Member, Refusal> {
        self.check_urls(id, &peer_urls)?;
        let member = self.present.get_mut(&id).ok_or(Refusal::MemberNotFound(id))?;
        member.peer_urls = peer_urls;
        Ok(member.clone())
    }

    fn remove(&mut self, id: MemberId) -> Result<Member, Refusal> {
        if self.conf_state().voters == [id] {
            return Err(Refusal::LastVoter(id));
        }
        let member = self.present.remove(&id).ok_or(Refusal::MemberNotFound(id))?;
        self.removed.insert(id);
        Ok(member)
    }

    fn check_urls(&self, id: MemberId, peer_urls: &[String]) -> Result<(), Refusal> {
        let taken = |url: &&String| self.iter().any(|other| other.id != id && other.peer_urls.contains(url));
        match peer_urls.iter().find(taken) {
            Some(url) => Err(Refusal::PeerUrlTaken(url.clone())),
            None => Ok(()),
        }
    }

    /// Who takes part in raft, and how.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        let ids = |learner| self.iter().filter(|member| member.learner == learner).map(|member| member.id).collect();
        ConfState { voters: ids(false), learners: ids(true) }
    }
}

impl FromIterator<Member> for Members {
    fn from_iter<T: IntoIterator<Item = Member>>(members: T) -> Self {
        Self { present: members.into_iter().map(|member| (member.id, member)).collect(), removed: BTreeSet::new() }
    }
}
