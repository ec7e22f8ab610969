//! Commands about the members themselves. None makes a revision: members are no keys.

use super::work::{Stop, Work};
use crate::model::{Incarnation, LogEntryKind, MemberChange, MemberId, Members, Outcome, Refusal};
use crate::storage::Snapshot;

/// The members, as a batch changes them.
pub(super) struct Changing<'a> {
    members: &'a mut Members,
    /// The kind of the entry that carries the command.
    pub(super) entry: LogEntryKind,
    pub(super) changed: bool,
}

impl<'a> Changing<'a> {
    pub(super) fn new(members: &'a mut Members) -> Self {
        Self { members, entry: LogEntryKind::Normal, changed: false }
    }
}

impl<S: Snapshot> Work<'_, S> {
    /// Raft follows what is done here, so it is done only where raft takes notice.
    pub(super) fn change_member(&mut self, change: MemberChange) -> Result<Outcome, Stop> {
        if self.members.entry != LogEntryKind::Membership {
            return Err(Refusal::Stale.into());
        }
        let member = self.members.members.change(change)?;
        self.members.changed = true;
        Ok(Outcome::Member(member))
    }

    pub(super) fn relocate_member(&mut self, id: MemberId, peer_urls: Vec<String>) -> Result<Outcome, Stop> {
        let member = self.members.members.relocate(id, peer_urls)?;
        self.members.changed = true;
        Ok(Outcome::Member(member))
    }

    pub(super) fn describe_member(
        &mut self,
        id: MemberId,
        incarnation: Incarnation,
        name: String,
        client_urls: Vec<String>,
    ) -> Result<Outcome, Stop> {
        let member = self.members.members.get_mut(id).ok_or(Refusal::MemberNotFound(id))?;
        if member.incarnation.is_some_and(|known| known != incarnation) {
            return Err(Refusal::MemberLostData(id).into());
        }
        member.incarnation = Some(incarnation);
        member.name = name;
        member.client_urls = client_urls;
        self.members.changed = true;
        Ok(Outcome::Done)
    }
}
