//! Clients: each does one thing at a time, at any member, knows when it was not told what became of it, and at times tries
//! again, elsewhere perhaps, under the same idempotency key. What they are told is checked against the truth.

use vardr::consensus::Role;
use vardr::model::{Command, Idempotency, Index, KeyRange, Proposal, ProposalId, RangeQuery, Reply, Revision};

use crate::faults::Bug;
use crate::member::Caller;
use crate::world::{Checked, Happening, MS, Outside, SECOND, STORM, Violation, World, ensure};

const PATIENCE: u64 = 3 * SECOND;
/// After this long without faults, whatever is begun must come to its end.
const RECOVERY: u64 = 10 * SECOND;

#[derive(Debug)]
pub struct Client {
    pub number: usize,
    /// Counts operations.
    pub operation: u64,
    doing: Option<Doing>,
    /// A write of which the outcome is unknown, to be tried again.
    again: Option<(Command, Option<Idempotency>)>,
    /// Operations answered since faults ended.
    answered_in_calm: u64,
    /// Operations begun well after faults ended, and never answered.
    lost_in_calm: u64,
}

#[derive(Debug, Clone)]
struct Doing {
    kind: &'static str,
    /// The member that was asked.
    place: usize,
    since: u64,
    /// The last entry, and its revision, that anybody could have seen when this began: a read must not be older.
    known: (Index, Revision),
    what: What,
    /// The proposal of a write, once the member has it.
    id: Option<ProposalId>,
    /// Whether the member has taken a read that needs a ticket.
    awaits_ticket: bool,
}

#[derive(Debug, Clone)]
pub enum What {
    Write {
        command: Command,
        idempotency: Option<Idempotency>,
    },
    /// Linearizable, of the present or of so many revisions before it.
    Read {
        range: KeyRange,
        back: u64,
    },
    /// Of whatever the member has.
    SerializableRead {
        range: KeyRange,
    },
}

impl Client {
    pub fn new(number: usize) -> Self {
        Self { number, operation: 0, doing: None, again: None, answered_in_calm: 0, lost_in_calm: 0 }
    }
}

impl World {
    /// Any member of the cluster, by place.
    pub fn draw_member(&mut self) -> usize {
        let members: Vec<_> = self.truth.members().iter().map(|member| member.id).collect();
        let id = *self.chance.pick(&members);
        self.place_of(id).unwrap_or_default()
    }

    pub fn client_acts(&mut self, client: usize) {
        if !self.clients_act {
            return;
        }
        let place = self.draw_member();
        if !self.is_up(place) {
            self.report.refused += 1;
            self.soon(Outside::Client(client), 200 * MS);
            return;
        }
        let what = match self.clients[client].again.take() {
            Some((command, idempotency)) => What::Write { command, idempotency },
            None => self.draw_operation(client),
        };
        let known = (self.truth.seen, self.truth.revision_seen);
        let doing = Doing { kind: kind(&what), place, since: self.now, known, what, id: None, awaits_ticket: false };
        self.tell(|| format!("client {client} asks member {place}: {:?}", doing.what));
        let state = &mut self.clients[client];
        state.operation += 1;
        let caller = Caller { client, operation: state.operation };
        state.doing = Some(doing);
        self.after(PATIENCE, Outside::ClientGivesUp { client, operation: caller.operation });
        self.inside_soon(place, MS, Happening::Request(caller));
    }

    /// The request has come to the member.
    pub fn take_request(&mut self, place: usize, caller: Caller) -> Checked {
        let Some(doing) = self.doing(caller) else { return Ok(()) };
        let (what, since) = (doing.what.clone(), doing.since);
        let leads = self.alive(place).status.role == Role::Leader;
        let believes = leads && self.bug == Some(Bug::ReadWithoutIndex);
        match what {
            What::Write { command: Command::RenewLeases(ids), .. }
                if leads && self.bug == Some(Bug::RenewalUnconfirmed) =>
            {
                self.renew_alone(place, caller, &ids)?;
            }
            What::Write { command, idempotency } => {
                let id = self.alive(place).next_id();
                self.truth.asked.insert(id, since);
                if let Some(doing) = self.clients[caller.client].doing.as_mut() {
                    doing.id = Some(id);
                }
                self.submit(place, caller, Proposal { id, author: None, idempotency, command });
            }
            What::SerializableRead { .. } => self.answer_read(place, caller, None)?,
            What::Read { .. } if believes || self.alive(place).sole_leader => self.answer_read(place, caller, None)?,
            What::Read { .. } => {
                if let Some(doing) = self.clients[caller.client].doing.as_mut() {
                    doing.awaits_ticket = true;
                }
                self.alive(place).reads_gathered.push(caller);
            }
        }
        Ok(())
    }

    fn doing(&self, caller: Caller) -> Option<&Doing> {
        let client = &self.clients[caller.client];
        client.doing.as_ref().filter(|_| client.operation == caller.operation)
    }

    /// Whether somebody still waits for this.
    pub fn waits(&self, caller: Caller) -> bool {
        self.doing(caller).is_some()
    }

    /// The deadline has passed. A member that has not sent the proposal to anybody says so.
    pub fn client_gives_up(&mut self, client: usize, operation: u64) -> Checked {
        let caller = Caller { client, operation };
        let Some(Doing { id, place, awaits_ticket, .. }) = self.doing(caller) else { return Ok(()) };
        let (id, place, awaits_ticket) = (*id, *place, *awaits_ticket);
        self.check_kept(place, caller, id, awaits_ticket)?;
        let answers = self.now >= self.hosts[place].paused_until;
        match id {
            Some(id) if answers && self.give_up(place, id) => self.certainly_lost(caller, id),
            _ => {
                self.leave_in_doubt(caller);
                Ok(())
            }
        }
    }

    /// Whoever has waited in vain was not forgotten by the member that took the request.
    fn check_kept(&self, place: usize, caller: Caller, id: Option<ProposalId>, awaits_ticket: bool) -> Checked {
        let Some(member) = &self.hosts[place].member else { return Ok(()) };
        if let Some(id) = id.filter(|id| id.incarnation == member.start) {
            ensure!(member.keeps_track(id.sequence), "{id:?} is nowhere, and its client was told nothing");
        }
        ensure!(!awaits_ticket || member.keeps_read(caller), "the read of client {} is forgotten", caller.client);
        Ok(())
    }

    /// The connection is gone, or patience: the outcome is unknown.
    pub fn leave_in_doubt(&mut self, caller: Caller) {
        let is_late = self.doing(caller).is_some_and(|doing| doing.since > STORM + RECOVERY);
        self.clients[caller.client].lost_in_calm += u64::from(is_late);
        self.end_in_doubt(caller);
    }

    /// A snapshot took the member past the outcome, which is unknown. Where little of the log is kept, that happens to one
    /// that lags by a message.
    pub fn end_in_doubt(&mut self, caller: Caller) {
        let Some(doing) = self.take_doing(caller) else { return };
        let client = caller.client;
        let retry = self.chance.percent(70);
        self.report.unknown += 1;
        if let What::Write { command, idempotency: Some(idempotency) } = doing.what
            && retry
        {
            self.clients[client].again = Some((command, Some(idempotency)));
        }
        self.tell(|| format!("client {client} does not know"));
        self.soon(Outside::Client(client), 200 * MS);
    }

    pub fn lose_clients_of(&mut self, place: usize) {
        for client in 0..self.clients.len() {
            if self.clients[client].doing.as_ref().is_some_and(|doing| doing.place == place) {
                self.leave_in_doubt(Caller { client, operation: self.clients[client].operation });
            }
        }
    }

    /// Told that nothing was done.
    pub fn refuse_client(&mut self, caller: Caller) {
        if let Some(doing) = self.take_doing(caller) {
            self.report.refused += 1;
            self.clients[caller.client].lost_in_calm += u64::from(doing.since > STORM + RECOVERY);
            self.soon(Outside::Client(caller.client), 200 * MS);
        }
    }

    fn take_doing(&mut self, caller: Caller) -> Option<Doing> {
        let client = &mut self.clients[caller.client];
        client.doing.take_if(|_| client.operation == caller.operation)
    }

    fn finish(&mut self, caller: Caller) -> Option<Doing> {
        let doing = self.take_doing(caller)?;
        self.clients[caller.client].answered_in_calm += u64::from(!self.storming);
        self.report.operation(doing.kind);
        self.soon(Outside::Client(caller.client), 40 * MS);
        Some(doing)
    }

    /// Tells a client what became of its write. The reply itself was compared with the model when it was applied.
    pub fn answer_write(&mut self, caller: Caller, reply: &Reply) -> Checked {
        let Some(doing) = self.finish(caller) else { return Ok(()) };
        let is_committed = doing.id.is_some_and(|id| self.truth.proposed.contains(&id));
        ensure!(is_committed, "{:?} is answered with {reply:?}, and was never committed", doing.what);
        if reply.replayed {
            self.report.sight("answers kept for a retry");
        }
        if reply.result.is_err() {
            self.report.sight("refusals");
        }
        let waited = self.now - doing.since;
        self.tell(|| format!("client {} told {reply:?} after {waited}", caller.client));
        Ok(())
    }

    /// Serves a read from the state at hand, and holds it against the model.
    pub fn answer_read(&mut self, place: usize, caller: Caller, index: Option<Index>) -> Checked {
        let view = self.view(place);
        let Some(doing) = self.finish(caller) else { return Ok(()) };
        let now = view.revision();
        let (range, back) = match doing.what {
            What::Write { .. } => return Ok(()),
            What::SerializableRead { range } => (range, 0),
            What::Read { range, back } => {
                let (known, known_revision) = doing.known;
                ensure!(
                    index.is_none_or(|index| index >= known),
                    "a read has index {index:?}, when it began somebody had seen {known}"
                );
                ensure!(now >= known_revision, "a read at {now} is older than {known_revision}, known when it began");
                (range, back)
            }
        };
        let revision = Revision(now.get().saturating_sub(back).max(view.compacted().get()).max(1));
        let query = RangeQuery { revision: Some(revision), ..RangeQuery::all(range.clone()) };
        let found = view.range(&query).map_err(|error| Violation(format!("a read fails: {error}")))?;
        let state = self.truth.model.at(revision);
        let expected: Vec<_> = state.iter().filter(|(key, _)| range.contains(key.as_bytes())).collect();
        let found: Vec<_> = found.items.iter().map(|item| (&item.key, &item.record)).collect();
        ensure!(found == expected, "{range:?} at {revision} of {now} reads as {found:?}, is {expected:?}");
        Ok(())
    }

    pub fn check_clients_were_served(&self) -> Checked {
        for client in &self.clients {
            ensure!(client.answered_in_calm > 20, "a client got {} answers in the calm", client.answered_in_calm);
            ensure!(client.lost_in_calm == 0, "{} operations were lost in the calm", client.lost_in_calm);
        }
        Ok(())
    }
}

fn kind(what: &What) -> &'static str {
    match what {
        What::SerializableRead { .. } => "serializable reads",
        What::Read { back: 0, .. } => "reads",
        What::Read { .. } => "reads of the past",
        What::Write { command, .. } => match command {
            Command::Put { .. } => "puts",
            Command::Increment(_) => "increments",
            Command::Append(_) => "appends",
            Command::Delete { .. } => "deletes",
            Command::Txn(_) => "transactions",
            Command::GrantLease { .. } => "grants",
            Command::RenewLeases(_) => "renewals",
            Command::RevokeLease(_) => "revocations",
            Command::Compact(_) => "compactions",
            Command::CreateDirectory { .. } => "directories",
            Command::Refresh { .. } => "refreshes",
            Command::Rollback(_) => "rollbacks",
            Command::Copy(_) => "copies",
            _ => "others",
        },
    }
}
