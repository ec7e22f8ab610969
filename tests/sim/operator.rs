//! The operator: hands leadership over, adds members, makes voters of them and removes some.

use vardr::consensus::{Input, MembershipChange};
use vardr::model::{Command, MemberChange, MemberId, Payload, Proposal};

use crate::faults::Bug;
use crate::forwarding::Proposed;
use crate::life::{Death, Host};
use crate::network::Letter;
use crate::world::{Checked, Outside, SECOND, World, ensure, id_of, known};

/// As many members there may be, past ones included.
const MAX_MEMBERS: usize = 8;

impl World {
    pub fn operate(&mut self) {
        if !self.storming {
            return;
        }
        self.soon(Outside::Operator, 4 * SECOND);
        let Some(leader) = self.leader() else { return };
        if self.now < self.hosts[leader].paused_until {
            return;
        }
        if self.relays {
            self.relay(leader);
        } else if self.chance.percent(40) {
            let voters = self.truth.members().conf_state().voters;
            let to = *self.chance.pick(&voters);
            self.transfer(leader, to);
        } else if let Some(change) = self.draw_change() {
            self.change_membership(leader, change);
        }
    }

    /// Brings a new member to lead, which whoever is away has not heard of.
    fn relay(&mut self, leader: usize) {
        let newcomer = self.truth.members().iter().find(|member| self.first_members.get(member.id).is_none());
        match newcomer.map(|member| (member.id, member.learner)) {
            None => self.change_membership(leader, MemberChange::Add(known(self.hosts.len(), true))),
            Some((id, true)) => self.change_membership(leader, MemberChange::Promote(id)),
            Some((id, false)) if id != self.hosts[leader].id => self.transfer(leader, id),
            Some(_) => {}
        }
    }

    fn transfer(&mut self, leader: usize, to: MemberId) {
        self.report.sight("transfers asked for");
        self.successor = Some(to);
        self.tell(|| format!("member {leader} is to hand over to {to}"));
        self.alive(leader).replica.step(Input::Transfer { to });
        self.inside(leader, 1, crate::world::Happening::Turn);
    }

    fn change_membership(&mut self, leader: usize, change: MemberChange) {
        let raft = MembershipChange::from(&change);
        self.tell(|| format!("member {leader} is to {raft:?}"));
        self.report.sight("membership changes asked for");
        let time = self.wall_clock(leader);
        let member = self.alive(leader);
        let (id, author, idempotency) = (member.next_id(), None, None);
        let proposal = Proposal { id, author, idempotency, command: Command::ChangeMember(change) };
        let data = Payload { time, proposals: vec![proposal] }.encode();
        let token = member.note(Proposed::Membership);
        member.replica.step(Input::ChangeMembership { token, change: raft, data });
        self.inside(leader, 1, crate::world::Happening::Turn);
    }

    /// What could be done next: an addition, a promotion, a removal. The leader refuses what would not be safe, and hands
    /// over where it is to go itself.
    fn draw_change(&mut self) -> Option<MemberChange> {
        let members = self.truth.members().clone();
        let learner = members.iter().find(|member| member.learner).map(|member| member.id);
        if let Some(learner) = learner
            && self.chance.percent(80)
        {
            return Some(MemberChange::Promote(learner));
        }
        if self.chance.percent(50) {
            let has_room = learner.is_none() && self.hosts.len() < MAX_MEMBERS;
            return has_room.then(|| MemberChange::Add(known(self.hosts.len(), true)));
        }
        let ids: Vec<MemberId> = members.iter().map(|member| member.id).collect();
        let may_go = members.conf_state().voters.len() > 2 && self.chance.percent(50);
        may_go.then(|| MemberChange::Remove(*self.chance.pick(&ids)))
    }

    /// The cluster has changed. A new member is started, empty.
    pub fn members_changed(&mut self, change: &MemberChange) {
        self.report.sight(match change {
            MemberChange::Add(_) => "learners added",
            MemberChange::Promote(_) => "learners promoted",
            MemberChange::Remove(_) => "members removed",
        });
        if let MemberChange::Add(member) = change {
            let mut host = Host::new(member.id, &mut self.chance);
            debug_assert_eq!(member.id, id_of(self.hosts.len()), "members are numbered");
            host.joins = true;
            self.hosts.push(host);
            self.soon(Outside::Start(self.hosts.len() - 1), 2 * SECOND);
        }
    }

    /// A member learns that it is none any more.
    pub fn leave(&mut self, place: usize) -> Checked {
        let id = self.hosts[place].id;
        ensure!(self.truth.members().was_removed(id), "{id} is told that it was removed");
        if self.bug == Some(Bug::RemovedGoesOn) {
            return Ok(());
        }
        self.hosts[place].has_left = true;
        self.die(place, Death::Process);
        Ok(())
    }

    /// A member without a leader connects to the others: one that was removed learns it from them.
    pub fn greet(&mut self, place: usize) {
        let member = self.alive(place);
        if member.status.leader.is_some() || self.chance.percent(80) {
            return;
        }
        let member = self.alive(place);
        let own = member.id;
        let others: Vec<MemberId> =
            member.machine.members().iter().map(|other| other.id).filter(|id| *id != own).collect();
        for other in others {
            self.post(place, other, &Letter::Hello);
        }
    }
}
