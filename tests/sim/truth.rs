//! The truth about the whole cluster, seen from outside: one log, one model that runs it once, one leader in a term.
//! Whatever a member says or does is held against it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vardr::consensus::{Role, Status};
use vardr::machine::Applied;
use vardr::model::{
    Block, Command, Index, Lease, LeaseId, LogEntry, LogEntryKind, MemberChange, MemberId, Members, Outcome, Payload,
    ProposalId, Refusal, Reply, Revision, Term,
};

use crate::leases::LeaseTruth;
use crate::model::{Change, Model};
use crate::users::People;
use crate::world::{Checked, Violation, World, ensure};

/// What an entry must come to, by the model.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    replies: Vec<(ProposalId, Reply)>,
    /// The revisions before and after it.
    before: Revision,
    after: Revision,
}

#[derive(Debug, Default)]
pub struct Truth {
    pub model: Model,
    /// Every entry ever committed: no other may ever stand at its index.
    committed: BTreeMap<Index, LogEntry>,
    expected: BTreeMap<Index, Expected>,
    digests: BTreeMap<Index, u128>,
    /// The members from an entry on.
    members: BTreeMap<Index, Members>,
    /// The users and roles from an entry on.
    people: BTreeMap<Index, People>,
    leaders: BTreeMap<Term, MemberId>,
    pub leases: BTreeMap<LeaseId, LeaseTruth>,
    /// When a client sent a proposal.
    pub asked: BTreeMap<ProposalId, u64>,
    /// Every proposal that was committed.
    pub proposed: BTreeSet<ProposalId>,
    /// Proposals of which somebody was told that they are in no log.
    pub lost: BTreeSet<ProposalId>,
    /// The last entry that any member has applied: a read that begins later must not be older.
    pub seen: Index,
    pub revision_seen: Revision,
}

impl Truth {
    pub fn new(members: Members) -> Self {
        let members = BTreeMap::from([(Index::ZERO, members)]);
        Self { members, people: BTreeMap::from([(Index::ZERO, People::default())]), ..Self::default() }
    }

    /// The members, as of the last entry committed.
    pub fn members(&self) -> &Members {
        self.members.last_key_value().expect("there are members from the beginning").1
    }

    fn people_at(&self, index: Index) -> &People {
        self.people.range(..=index).next_back().expect("there are users, or none, from the beginning").1
    }

    fn members_at(&self, index: Index) -> &Members {
        self.members.range(..=index).next_back().expect("there are members from the beginning").1
    }
}

impl World {
    /// One leader in a term.
    pub fn check_leader(&mut self, place: usize, status: Status) -> Checked {
        if status.role != Role::Leader {
            return Ok(());
        }
        let id = self.hosts[place].id;
        if !self.truth.leaders.contains_key(&status.term) {
            self.report.sight("elections");
            if self.successor.take() == Some(id) {
                self.report.sight("transfers");
            }
        }
        let known = *self.truth.leaders.entry(status.term).or_insert(id);
        ensure!(known == id, "{id} leads in term {}, and so does {known}", status.term);
        Ok(())
    }

    /// Committed is for ever: no other entry may ever be seen at the index, by anybody.
    pub fn check_commit(&mut self, entry: &LogEntry) -> Checked {
        if let Some(before) = self.truth.committed.get(&entry.index) {
            ensure!(before == entry, "committed entry {} was replaced: {before:?} by {entry:?}", entry.index);
            return Ok(());
        }
        let last = self.truth.committed.keys().last().copied().unwrap_or(vardr::machine::GENESIS.0);
        ensure!(entry.index == last.next(), "entry {} is committed after {last}", entry.index);
        self.tell(|| format!("commit {} of term {}, {} bytes", entry.index, entry.term, entry.data.len()));
        self.truth.committed.insert(entry.index, entry.clone());
        self.expect(entry)
    }

    /// Runs the model.
    fn expect(&mut self, entry: &LogEntry) -> Checked {
        let before = self.truth.model.revision;
        let mut replies = Vec::new();
        if !entry.data.is_empty() {
            let payload =
                Payload::decode(&entry.data).map_err(|error| Violation(format!("entry {}: {error}", entry.index)))?;
            for proposal in &payload.proposals {
                let id = proposal.id;
                ensure!(self.truth.proposed.insert(id), "{id:?} is committed twice");
                ensure!(!self.truth.lost.contains(&id), "{id:?} is committed, and was called lost");
                let reply = match &proposal.command {
                    Command::ChangeMember(change) => self.change_members(entry, change),
                    _ => self.truth.model.propose(entry.term, proposal),
                };
                replies.push((id, reply));
                self.judge_leases(proposal)?;
            }
        }
        let after = self.truth.model.revision;
        self.note_people(entry.index);
        self.truth.expected.insert(entry.index, Expected { replies, before, after });
        Ok(())
    }

    /// Takes note of users and roles that have changed.
    fn note_people(&mut self, index: Index) {
        let people = &self.truth.model.people;
        if self.truth.people_at(index) != people {
            self.truth.people.insert(index, people.clone());
            self.report.sight("changes of users");
        }
    }

    fn change_members(&mut self, entry: &LogEntry, change: &MemberChange) -> Reply {
        let mut members = self.truth.members().clone();
        let result = match entry.kind {
            LogEntryKind::Normal => Err(Refusal::Stale),
            LogEntryKind::Membership => members.change(change.clone()),
        };
        if result.is_ok() {
            self.truth.members.insert(entry.index, members);
            self.members_changed(change);
        }
        let result = result.map(Outcome::Member);
        Reply { revision: self.truth.model.revision, result, replayed: false }
    }

    /// What a member made of the entries from `first` on.
    pub fn check_applied(&mut self, first: Index, applied: &Applied) -> Checked {
        let Applied { index, revision, replies, blocks, .. } = applied;
        let expected = self.truth.expected.range(first..=*index).map(|(_, expected)| expected);
        let before = self.truth.expected[&first].before;
        let after = self.truth.expected[index].after;
        ensure!(*revision == after, "revision {revision} after entry {index}; the model says {after}");
        let wanted: Vec<&(ProposalId, Reply)> = expected.flat_map(|expected| &expected.replies).collect();
        ensure!(wanted.len() == replies.len(), "{} replies to {} proposals", replies.len(), wanted.len());
        for ((id, reply), (wanted_id, wanted)) in replies.iter().zip(wanted) {
            ensure!(
                id == wanted_id && agree(wanted, reply),
                "{id:?} came to {reply:?}; the model says {wanted_id:?} to {wanted:?}"
            );
        }
        self.check_blocks(before, after, blocks)
    }

    fn check_blocks(&self, before: Revision, after: Revision, blocks: &[Arc<Block>]) -> Checked {
        let found = blocks.iter().flat_map(|block| &block.events).map(Change::from);
        let wanted = self.truth.model.after(before).iter().take_while(|change| change.revision <= after);
        ensure!(found.clone().eq(wanted.cloned()), "events {:?}", found.collect::<Vec<_>>());
        Ok(())
    }

    /// The same index, the same digest, the same members and the same users and roles, on every member and in every life of it.
    pub fn check_digest(&mut self, place: usize) -> Checked {
        let machine = &self.alive(place).machine;
        let (index, digest) = (machine.applied().0, machine.digest());
        let members = machine.members().clone();
        let people = People::from(&**machine.auth());
        let known = *self.truth.digests.entry(index).or_insert(digest);
        ensure!(known == digest, "digest {digest:?} at entry {index}; elsewhere it is {known:?}");
        let wanted = self.truth.members_at(index);
        ensure!(members == *wanted, "the members at entry {index} are {members:?}; they must be {wanted:?}");
        let wanted = self.truth.people_at(index);
        ensure!(people == *wanted, "the users at entry {index} are {people:?}; they must be {wanted:?}");
        Ok(())
    }

    /// The last entry committed.
    pub fn last_committed(&self) -> Index {
        self.truth.committed.keys().last().copied().unwrap_or_default()
    }
}

/// Whether two replies say the same. Of several reasons to refuse, either may be named.
fn agree(wanted: &Reply, found: &Reply) -> bool {
    let precondition = |refusal: &Refusal| matches!(refusal, Refusal::PreconditionFailed { .. });
    match (&wanted.result, &found.result) {
        (Err(one), Err(other)) if !precondition(one) && !precondition(other) => {
            (wanted.revision, wanted.replayed) == (found.revision, found.replayed)
        }
        // The model has no clock.
        (Ok(Outcome::Lease(one)), Ok(Outcome::Lease(other))) => {
            (wanted.revision, wanted.replayed) == (found.revision, found.replayed)
                && *one == Lease { expires: one.expires, ..other.clone() }
        }
        _ => wanted == found,
    }
}
