//! Who belongs to the cluster: the members, and what may change about them.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{ConfState, MemberId};

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
    /// It has the log and serves reads, and counts in no majority (Raft dissertation, 4.2.1).
    pub learner: bool,
}

/// All members, in order of id.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Members(BTreeMap<MemberId, Member>);

impl Members {
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.0.get(&id)
    }

    pub fn get_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.0.get_mut(&id)
    }

    pub fn insert(&mut self, member: Member) {
        self.0.insert(member.id, member);
    }

    pub fn remove(&mut self, id: MemberId) -> Option<Member> {
        self.0.remove(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.values()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        Self(members.into_iter().map(|member| (member.id, member)).collect())
    }
}
