//! Whether a change of the members may be made now: who has been heard of lately, and what would be left.
//!
//! Only the leader knows these things, so they are looked at when a change is proposed to it, before it becomes an entry.
//! What holds whoever leads (ids used once, a voter left) is the state machine's to decide, when it is applied.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use thiserror::Error;

use crate::model::{MemberChange, MemberId};

/// A learner that lacks no more committed entries than this has caught up: what a healthy member may lack under load.
pub(super) const CAUGHT_UP_ENTRIES: u64 = 500;

/// What a change of membership does in raft: one member at a time (Raft dissertation, 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum MembershipChange {
    AddLearner(MemberId),
    AddVoter(MemberId),
    /// Makes a voter of a learner.
    Promote(MemberId),
    Remove(MemberId),
}

impl From<&MemberChange> for MembershipChange {
    fn from(change: &MemberChange) -> Self {
        match change {
            MemberChange::Add(member) if member.learner => Self::AddLearner(member.id),
            MemberChange::Add(member) => Self::AddVoter(member.id),
            MemberChange::Promote(id) => Self::Promote(*id),
            MemberChange::Remove(id) => Self::Remove(*id),
        }
    }
}

/// Why a leader does not make a change of membership. It is in nobody's log and never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error, BorshSerialize, BorshDeserialize)]
pub enum ChangeRefusal {
    #[error("the learner has not been heard of for an election timeout")]
    Silent,
    #[error("the learner has not caught up: it lacks {behind} entries")]
    Behind { behind: u64 },
    #[error("of the {voters} voters that there would be, {heard} are heard of and {needed} are needed")]
    QuorumAtRisk { voters: usize, heard: usize, needed: usize },
}

/// Looks at a change as the leader sees things. `behind` is how many committed entries a learner is not known to have;
/// `None` where there is no such learner, which the state machine says.
///
/// # Errors
/// When the voters that the change leaves, as far as they are heard of, would make no majority; or a learner is to become a
/// voter that would hold up those there are.
pub(super) fn check(
    change: MembershipChange,
    voters: &BTreeSet<MemberId>,
    behind: impl Fn(MemberId) -> Option<u64>,
    is_heard: impl Fn(MemberId) -> bool,
) -> Result<(), ChangeRefusal> {
    let mut left = voters.clone();
    match change {
        MembershipChange::AddLearner(_) => return Ok(()),
        MembershipChange::AddVoter(id) => {
            left.insert(id);
        }
        MembershipChange::Promote(id) => {
            match behind(id) {
                None => return Ok(()),
                Some(_) if !is_heard(id) => return Err(ChangeRefusal::Silent),
                Some(behind) if behind > CAUGHT_UP_ENTRIES => return Err(ChangeRefusal::Behind { behind }),
                Some(_) => {}
            }
            left.insert(id);
        }
        MembershipChange::Remove(id) => {
            left.remove(&id);
        }
    }
    if left == *voters || left.is_empty() {
        return Ok(());
    }
    let heard = left.iter().filter(|id| is_heard(**id)).count();
    let needed = left.len() / 2 + 1;
    if heard >= needed { Ok(()) } else { Err(ChangeRefusal::QuorumAtRisk { voters: left.len(), heard, needed }) }
}

/// When each other member was last heard of, in ticks. Raft's own note of it begins anew at each election timeout.
#[derive(Debug)]
pub(super) struct Heard {
    now: u64,
    last: BTreeMap<MemberId, u64>,
    /// When this member began to lead, the last time.
    leads_since: u64,
    /// Silence of so many ticks counts.
    patience: u64,
}

impl Heard {
    pub(super) fn new(election_ticks: usize) -> Self {
        Self {
            now: 0,
            last: BTreeMap::new(),
            leads_since: 0,
            patience: u64::try_from(election_ticks).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn tick(&mut self) {
        self.now += 1;
    }

    pub(super) fn hear(&mut self, member: MemberId) {
        self.last.insert(member, self.now);
    }

    pub(super) fn is_heard(&self, member: MemberId) -> bool {
        self.last.get(&member).is_some_and(|last| self.now - last < self.patience)
    }

    /// From here on the others have a reason to be heard of.
    pub(super) fn begin_to_lead(&mut self) {
        self.leads_since = self.now;
    }

    /// Whether who is not heard of by a leader is silent indeed.
    pub(super) fn is_settled(&self) -> bool {
        self.now - self.leads_since >= self.patience
    }

    /// Forgets all others.
    pub(super) fn retain(&mut self, stays: impl Fn(MemberId) -> bool) {
        self.last.retain(|member, _| stays(*member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u64]) -> BTreeSet<MemberId> {
        numbers.iter().copied().map(MemberId).collect()
    }

    /// A change to these voters, of whom those are heard.
    fn checked(change: MembershipChange, voters: &[u64], heard: &[u64]) -> Result<(), ChangeRefusal> {
        check(change, &ids(voters), |_| None, |id| heard.contains(&id.get()))
    }

    #[test]
    fn a_removal_leaves_a_majority_that_is_heard_of() {
        let remove = |id| MembershipChange::Remove(MemberId(id));
        assert_eq!(checked(remove(3), &[1, 2, 3], &[1, 2]), Ok(()), "a dead member goes");
        let at_risk = ChangeRefusal::QuorumAtRisk { voters: 2, heard: 1, needed: 2 };
        assert_eq!(checked(remove(2), &[1, 2, 3], &[1, 2]), Err(at_risk), "the dead one would be left");
        assert_eq!(checked(remove(2), &[1, 2], &[1]), Ok(()), "whoever is left is a majority of one");
        assert_eq!(checked(remove(4), &[1, 2, 3], &[1]), Ok(()), "a learner counts in no majority");
    }

    #[test]
    fn a_voter_is_added_where_the_larger_majority_is_heard_of() {
        let add = |id| MembershipChange::AddVoter(MemberId(id));
        assert_eq!(checked(add(4), &[1, 2, 3], &[1, 2, 3]), Ok(()));
        let at_risk = ChangeRefusal::QuorumAtRisk { voters: 4, heard: 2, needed: 3 };
        assert_eq!(checked(add(4), &[1, 2, 3], &[1, 2]), Err(at_risk));
        assert_eq!(checked(MembershipChange::AddLearner(MemberId(4)), &[1, 2, 3], &[1]), Ok(()));
    }

    #[test]
    fn a_learner_becomes_a_voter_once_it_has_caught_up_and_is_heard_of() {
        let promote = |behind, heard: &[u64]| {
            let behind = |id| (id == MemberId(2)).then_some(behind);
            check(MembershipChange::Promote(MemberId(2)), &ids(&[1]), behind, |id| heard.contains(&id.get()))
        };
        assert_eq!(promote(CAUGHT_UP_ENTRIES, &[1, 2]), Ok(()));
        let behind = CAUGHT_UP_ENTRIES + 1;
        assert_eq!(promote(behind, &[1, 2]), Err(ChangeRefusal::Behind { behind }));
        assert_eq!(promote(0, &[1]), Err(ChangeRefusal::Silent));
        assert_eq!(
            checked(MembershipChange::Promote(MemberId(9)), &[1], &[1]),
            Ok(()),
            "that there is none is said elsewhere"
        );
    }

    #[test]
    fn silence_of_an_election_timeout_counts_and_no_less() {
        let mut heard = Heard::new(3);
        let member = MemberId(2);
        assert!(!heard.is_heard(member));
        heard.hear(member);
        for _ in 0..2 {
            heard.tick();
            assert!(heard.is_heard(member));
        }
        heard.tick();
        assert!(!heard.is_heard(member));
    }
}
