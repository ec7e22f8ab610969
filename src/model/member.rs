//! Who belongs to the cluster: the members, and what may change about them.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use super::{ConfState, Incarnation, MemberId, Refusal};

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Member {
    pub id: MemberId,
    /// Empty until the member has started and said so.
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

    /// Carries out a change, or refuses it as it stands.
    ///
    /// # Errors
    /// When it would add an id or a peer URL that is or was in use, change nobody, or leave no voter.
    pub fn change(&mut self, change: MemberChange) -> Result<(), Refusal> {
        match change {
            MemberChange::Add(member) => self.add(member),
            MemberChange::Promote(id) => match self.present.get_mut(&id) {
                None => Err(Refusal::MemberNotFound(id)),
                Some(member) if !member.learner => Err(Refusal::NotALearner(id)),
                Some(member) => {
                    member.learner = false;
                    Ok(())
                }
            },
            MemberChange::Remove(id) => self.remove(id),
        }
    }

    fn add(&mut self, member: Member) -> Result<(), Refusal> {
        if self.present.contains_key(&member.id) || self.removed.contains(&member.id) {
            return Err(Refusal::MemberExists(member.id));
        }
        self.check_urls(member.id, &member.peer_urls)?;
        self.present.insert(member.id, member);
        Ok(())
    }

    fn remove(&mut self, id: MemberId) -> Result<(), Refusal> {
        let Some(member) = self.present.get(&id) else { return Err(Refusal::MemberNotFound(id)) };
        if !member.learner && self.conf_state().voters.len() == 1 {
            return Err(Refusal::LastVoter(id));
        }
        self.present.remove(&id);
        self.removed.insert(id);
        Ok(())
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
