//! Proposals on their way into the log: placed here or forwarded to the member that leads, and who waits for them. The
//! rules are those of production's driver and waiters, and every answer is held against what becomes of the proposal.

use std::collections::BTreeMap;

use vardr::consensus::forward::{ForwardAnswer, ForwardRefusal, Found, Incoming};
use vardr::consensus::{Input, Position, ProposeRefusal, Role, Status};
use vardr::model::{Command, Incarnation, Index, LogEntry, MemberId, Payload, Proposal, ProposalId, Reply, Term};

use crate::faults::Bug;
use crate::member::{Caller, Member};
use crate::network::Letter;
use crate::world::{Checked, World, ensure};

/// A proposal that waits for its turn.
#[derive(Debug, Clone)]
pub struct Pending {
    pub proposal: Proposal,
    /// Whether somebody waits for its reply. What a member proposes of itself is sent once.
    pub awaited: bool,
}

impl Pending {
    fn number(&self) -> u64 {
        self.proposal.id.sequence
    }
}

#[derive(Debug)]
pub struct Waiter {
    pub caller: Caller,
    /// Whether a leader may have it.
    pub sent: bool,
    /// Whether that is another member.
    forwarded: bool,
}

/// A batch that another member forwarded.
#[derive(Debug)]
pub struct Brought {
    from: usize,
    start: Incarnation,
    term: Term,
    number: u64,
    proposals: Vec<Proposal>,
}

/// What became an entry, and who wants to know where.
#[derive(Debug)]
pub enum Proposed {
    Own(Vec<Pending>),
    Foreign {
        from: MemberId,
        start: Incarnation,
        number: u64,
    },
    /// A change of membership, which nobody waits for.
    Membership,
}

impl World {
    /// Takes a client's proposal.
    pub fn submit(&mut self, place: usize, caller: Caller, proposal: Proposal) {
        let member = self.alive(place);
        member.waiting.insert(proposal.id.sequence, Waiter { caller, sent: false, forwarded: false });
        member.gathered.push(Pending { proposal, awaited: true });
    }

    /// Nobody waits any more. Whether the proposal is certainly in nobody's log.
    pub fn give_up(&mut self, place: usize, id: ProposalId) -> bool {
        let Some(member) = self.hosts[place].member.as_mut() else { return false };
        member.start == id.incarnation && member.waiting.remove(&id.sequence).is_some_and(|waiter| !waiter.sent)
    }

    /// Brings what has gathered to the leader, which may be this member.
    pub fn propose(&mut self, place: usize, mut proposals: Vec<Pending>) {
        let member = self.alive(place);
        proposals.retain(|pending| match member.waiting.get_mut(&pending.number()) {
            Some(waiter) => {
                waiter.sent = true;
                true
            }
            None => !pending.awaited,
        });
        let status = member.status;
        while !proposals.is_empty() {
            let most = usize::try_from(self.chance.between(1, 50)).unwrap().min(proposals.len());
            let batch = proposals.drain(..most).collect();
            match status {
                Status { role: Role::Leader, .. } => self.place(place, batch),
                Status { leader: Some(leader), term, .. } => self.forward(place, leader, term, batch),
                Status { leader: None, .. } => self.give_back(place, batch),
            }
        }
    }

    fn place(&mut self, place: usize, batch: Vec<Pending>) {
        let proposals = batch.iter().map(|pending| pending.proposal.clone()).collect();
        self.step_proposal(place, Proposed::Own(batch), proposals);
    }

    fn step_proposal(&mut self, place: usize, proposed: Proposed, mut proposals: Vec<Proposal>) {
        let time = self.wall_clock(place);
        if self.bug == Some(Bug::StaleExpiry) {
            for proposal in &mut proposals {
                renew_expiry(self.alive(place), &mut proposal.command);
            }
        }
        let member = self.alive(place);
        let token = member.note(proposed);
        let data = Payload { time, proposals }.encode();
        member.replica.step(Input::Propose { token, data });
    }

    fn forward(&mut self, place: usize, leader: MemberId, term: Term, batch: Vec<Pending>) {
        let proposals = batch.iter().map(|pending| pending.proposal.clone()).collect();
        let member = self.alive(place);
        for pending in &batch {
            if let Some(waiter) = member.waiting.get_mut(&pending.number()) {
                waiter.forwarded = true;
            }
        }
        let start = member.start;
        let number = member.outgoing.send(leader, term, batch);
        self.report.sight("batches forwarded");
        self.post(place, leader, &Letter::Forward { start, term, number, proposals });
    }

    pub fn resend(&mut self, place: usize) {
        let member = self.alive(place);
        let (start, Status { leader, term, .. }) = (member.start, member.status);
        let waiting = &member.waiting;
        let is_awaited = |pending: &Pending| waiting.contains_key(&pending.number());
        member.outgoing.forget(leader, term, |batch| batch.iter().any(is_awaited));
        let again = |(number, sent): (u64, &vardr::consensus::forward::Sent<Vec<Pending>>)| {
            let proposals = sent.batch.iter().map(|pending| pending.proposal.clone()).collect();
            (sent.to, Letter::Forward { start, term: sent.term, number, proposals })
        };
        let due: Vec<_> = member.outgoing.tick().map(again).collect();
        for (to, letter) in due {
            self.report.sight("batches forwarded again");
            self.post(place, to, &letter);
        }
    }

    /// Proposals that are in nobody's log gather again.
    fn give_back(&mut self, place: usize, proposals: Vec<Pending>) {
        let member = self.alive(place);
        for pending in &proposals {
            if let Some(waiter) = member.waiting.get_mut(&pending.number()) {
                (waiter.sent, waiter.forwarded) = (false, false);
            }
        }
        member.held_back = true;
        member.gathered.extend(proposals);
    }

    pub fn receive_forward(
        &mut self,
        place: usize,
        from: usize,
        start: Incarnation,
        term: Term,
        number: u64,
        proposals: Vec<Proposal>,
    ) {
        let sender = self.hosts[from].id;
        let bug = self.bug;
        let member = self.alive(place);
        if bug == Some(Bug::ForwardForgotten) {
            member.incoming = Incoming::default();
        }
        match member.incoming.look(sender, start, number) {
            Found::Answered(answer) => self.answer_forward(place, sender, start, number, answer),
            Found::New if member.leads(term) && !member.proposals_may_go() => {
                let is_same = |other: &Brought| (other.from, other.start, other.number) == (from, start, number);
                if !member.forwards.iter().any(is_same) {
                    member.forwards.push(Brought { from, start, term, number, proposals });
                    self.report.sight("batches of others that waited for the disk");
                }
            }
            Found::New if member.leads(term) => {
                self.step_proposal(place, Proposed::Foreign { from: sender, start, number }, proposals);
            }
            // Of a term of this life this member knows all that it placed.
            Found::New if term > member.start_term => {
                let answer = Err(ForwardRefusal::NotLeader { leader: member.status.leader });
                member.incoming.keep(sender, start, number, answer);
                self.answer_forward(place, sender, start, number, answer);
            }
            // Nobody can say any more what became of it.
            Found::New | Found::Forgotten => {}
        }
    }

    /// Looks again at what others brought while proposals could not go.
    pub fn take_forwards(&mut self, place: usize) {
        let member = self.alive(place);
        if member.status.role != Role::Leader || member.proposals_may_go() {
            for Brought { from, start, term, number, proposals } in std::mem::take(&mut member.forwards) {
                self.receive_forward(place, from, start, term, number, proposals);
            }
        }
    }

    fn answer_forward(&mut self, place: usize, to: MemberId, start: Incarnation, number: u64, answer: ForwardAnswer) {
        self.post(place, to, &Letter::Forwarded { start, number, answer });
    }

    /// What the leader said about a batch.
    pub fn receive_answer(
        &mut self,
        place: usize,
        from: MemberId,
        start: Incarnation,
        number: u64,
        answer: ForwardAnswer,
    ) -> Checked {
        let member = self.alive(place);
        if start != member.start {
            return Ok(());
        }
        let Some(sent) = member.outgoing.answered(number, from) else { return Ok(()) };
        match answer {
            Ok(position) => member.note_placed(position, &sent.batch),
            Err(ForwardRefusal::NotLeader { .. }) => {
                self.report.sight("batches refused by a member that does not lead");
                self.give_back(place, sent.batch);
            }
            Err(ForwardRefusal::Overloaded | ForwardRefusal::ChangeLater | ForwardRefusal::Refused(_)) => {
                self.refuse(place, &sent.batch)?;
            }
        }
        Ok(())
    }

    /// Tells who waits for an entry where it stands, or why it does not.
    pub fn placed(&mut self, place: usize, token: u64, placed: Result<Position, ProposeRefusal>) -> Checked {
        let bug = self.bug;
        let member = self.alive(place);
        match member.proposed.remove(&token) {
            None => {}
            Some(Proposed::Membership) => self.note_change(placed),
            Some(Proposed::Own(proposals)) => match placed {
                Ok(position) => member.note_placed(position, &proposals),
                Err(ProposeRefusal::Transferring) if bug == Some(Bug::TransferDrops) => {}
                Err(ProposeRefusal::NotLeader { .. } | ProposeRefusal::Transferring) => {
                    self.give_back(place, proposals);
                }
                Err(ProposeRefusal::Overloaded | ProposeRefusal::ChangeLater | ProposeRefusal::Refused(_)) => {
                    self.refuse(place, &proposals)?;
                }
            },
            Some(Proposed::Foreign { from, start, number }) => {
                let mut answer = placed.map_err(|refusal| match refusal {
                    ProposeRefusal::NotLeader { leader } => ForwardRefusal::NotLeader { leader },
                    ProposeRefusal::Transferring => ForwardRefusal::NotLeader { leader: None },
                    ProposeRefusal::Overloaded => ForwardRefusal::Overloaded,
                    ProposeRefusal::ChangeLater => ForwardRefusal::ChangeLater,
                    ProposeRefusal::Refused(refusal) => ForwardRefusal::Refused(refusal),
                });
                if self.bug == Some(Bug::RefusedThoughPlaced) && self.chance.percent(10) {
                    answer = Err(ForwardRefusal::NotLeader { leader: None });
                }
                self.alive(place).incoming.keep(from, start, number, answer);
                self.answer_forward(place, from, start, number, answer);
            }
        }
        Ok(())
    }

    fn note_change(&mut self, placed: Result<Position, ProposeRefusal>) {
        match placed {
            Ok(_) => {}
            Err(ProposeRefusal::Transferring) => self.report.sight("leaders that hand over before they go"),
            Err(ProposeRefusal::Refused(_)) => self.report.sight("membership changes refused by the leader"),
            Err(_) => self.report.sight("membership changes that had to wait"),
        }
    }

    fn refuse(&mut self, place: usize, proposals: &[Pending]) -> Checked {
        for pending in proposals {
            if let Some(waiter) = self.alive(place).waiting.remove(&pending.number()) {
                self.certainly_lost(waiter.caller, pending.proposal.id)?;
            }
        }
        Ok(())
    }

    /// A client is told that its proposal is in no log, and never will be.
    pub fn certainly_lost(&mut self, caller: Caller, id: ProposalId) -> Checked {
        ensure!(!self.truth.proposed.contains(&id), "{id:?} is called lost, and was committed");
        self.truth.lost.insert(id);
        self.report.sight("proposals certainly lost");
        self.refuse_client(caller);
        Ok(())
    }

    /// These entries were applied, with these replies: who waited is told.
    pub fn answer_waiters(&mut self, place: usize, entries: &[LogEntry], replies: &[(ProposalId, Reply)]) -> Checked {
        for (id, reply) in replies {
            let member = self.alive(place);
            if (id.member, id.incarnation) == (member.id, member.start)
                && let Some(waiter) = member.waiting.remove(&id.sequence)
            {
                self.answer_write(waiter.caller, reply)?;
            }
        }
        let Some(last) = entries.last() else { return Ok(()) };
        for ((index, term), numbers) in self.alive(place).take_placed(last.index) {
            let entry = entries.iter().find(|entry| entry.index == index);
            let stands = entry.is_none_or(|entry| entry.term == term);
            for number in numbers {
                let member = self.alive(place);
                let id = ProposalId { member: member.id, incarnation: member.start, sequence: number };
                match member.waiting.remove(&number) {
                    None => {}
                    Some(waiter) if stands => self.leave_in_doubt(waiter.caller),
                    Some(waiter) => self.certainly_lost(waiter.caller, id)?,
                }
            }
        }
        Ok(())
    }

    /// A snapshot took the place of everything up to `index`.
    pub fn skip_waiters(&mut self, place: usize, index: Index) {
        let member = self.alive(place);
        let numbers: Vec<u64> = member.take_placed(index).into_values().flatten().collect();
        let waiters: Vec<_> = numbers.iter().filter_map(|number| member.waiting.remove(number)).collect();
        for waiter in waiters {
            self.end_in_doubt(waiter.caller);
        }
    }
}

impl Member {
    /// Whether it is known where a proposal is that somebody waits for. What was forwarded to a leader that leads no more
    /// may be anywhere.
    pub fn keeps_track(&self, number: u64) -> bool {
        let is_it = |pending: &Pending| pending.number() == number;
        let is_proposed = |proposed: &Proposed| matches!(proposed, Proposed::Own(batch) if batch.iter().any(is_it));
        self.waiting.get(&number).is_none_or(|waiter| waiter.forwarded)
            || self.gathered.iter().any(is_it)
            || self.proposed.values().any(is_proposed)
            || self.placed.values().flatten().any(|placed| *placed == number)
    }

    /// Keeps what is proposed until it is known where it stands.
    pub fn note(&mut self, proposed: Proposed) -> u64 {
        self.last_token += 1;
        self.proposed.insert(self.last_token, proposed);
        self.last_token
    }

    fn note_placed(&mut self, Position { index, term }: Position, proposals: &[Pending]) {
        let numbers = proposals.iter().filter(|pending| pending.awaited).map(Pending::number);
        self.placed.entry((index, term)).or_default().extend(numbers);
    }

    fn take_placed(&mut self, through: Index) -> BTreeMap<(Index, Term), Vec<u64>> {
        let later = self.placed.split_off(&(through.next(), Term::ZERO));
        std::mem::replace(&mut self.placed, later)
    }
}

/// Lets an expiry name the leader's term, and the lease as the leader has it.
fn renew_expiry(leader: &Member, command: &mut Command) {
    if let Command::ExpireLease { id, term, renewals } = command {
        let known = leader.machine.leases().find(|lease| lease.id == *id);
        *renewals = known.map_or(*renewals, |lease| lease.renewals);
        *term = leader.status.term;
    }
}
