//! Clients: each does one thing at a time, knows when it was not told what became of it, and at times tries again
//! under the same idempotency key. What they are told is checked against the model.

use std::sync::Arc;

use bytes::Bytes;
use vardr::model::{
    Append, Attach, Command, Compare, CompareTarget, Condition, ContentType, CreateDirectory, Delete, DeleteTarget,
    Idempotency, Incarnation, Increment, Key, KeyRange, LeaseId, Op, Operator, Proposal, ProposalId, Put, RangeQuery,
    Refresh, Reply, Revision, Rollback, Ttl, Txn,
};

use crate::faults::Bug;
use crate::member::Caller;
use crate::world::{Checked, Event, MEMBER, MS, SECOND, STORM, World, ensure};

const PATIENCE: u64 = 3 * SECOND;
const KEYS: u64 = 12;

#[derive(Debug)]
pub struct Client {
    number: usize,
    /// Counts operations.
    operation: u64,
    doing: Option<Doing>,
    /// A write of which the outcome is unknown, to be tried again.
    again: Option<(Command, Option<Idempotency>)>,
    /// Operations answered since faults ended.
    pub answered_in_calm: u64,
    /// Operations begun well after faults ended, and never answered.
    pub lost_in_calm: u64,
}

#[derive(Debug, Clone)]
struct Doing {
    kind: &'static str,
    since: u64,
    /// The largest revision that anybody knew when this began: a read must not be older.
    known: Revision,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Write { command: Command, idempotency: Option<Idempotency> },
    Read { range: KeyRange, back: u64 },
}

impl Client {
    pub fn new(number: usize) -> Self {
        Self { number, operation: 0, doing: None, again: None, answered_in_calm: 0, lost_in_calm: 0 }
    }
}

impl World {
    pub fn client_acts(&mut self, client: usize) -> Checked {
        if self.member.is_none() {
            self.report.refused += 1;
            self.soon(Event::Client(client), 500 * MS);
            return Ok(());
        }
        let what = match self.clients[client].again.take() {
            Some((command, idempotency)) => What::Write { command, idempotency },
            None => self.draw_operation(client),
        };
        let doing = Doing { kind: kind(&what), since: self.now, known: self.acknowledged, what };
        let state = &mut self.clients[client];
        state.operation += 1;
        let caller = Caller { client, operation: state.operation };
        state.doing = Some(doing.clone());
        self.tell(|| format!("client {client} begins {:?}", doing.what));
        self.after(PATIENCE, Event::ClientGivesUp { client, operation: caller.operation });
        match doing.what {
            What::Write { command, idempotency } => self.submit(caller, command, idempotency),
            What::Read { .. } if self.bug == Some(Bug::ReadWithoutIndex) => self.answer_read(caller)?,
            What::Read { .. } => self.ask(vec![caller])?,
        }
        Ok(())
    }

    fn submit(&mut self, caller: Caller, command: Command, idempotency: Option<Idempotency>) {
        let starts = self.starts;
        let member = self.alive();
        member.sequence += 1;
        let id = ProposalId { member: MEMBER, incarnation: Incarnation(starts), sequence: member.sequence };
        member.callers.insert(id, caller);
        member.proposals.push_back(Proposal { id, author: None, idempotency, command });
        self.asked.insert(id, self.now);
        self.soon(Event::Drain, MS);
    }

    pub fn client_gives_up(&mut self, client: usize, operation: u64) {
        if self.clients[client].operation == operation && self.clients[client].doing.is_some() {
            self.lose(client);
        }
    }

    /// The connection is gone, or patience: the outcome is unknown.
    pub fn lose(&mut self, client: usize) {
        let retry = self.chance.percent(70);
        let state = &mut self.clients[client];
        let Some(doing) = state.doing.take() else { return };
        state.lost_in_calm += u64::from(doing.since > STORM + 3 * SECOND);
        self.report.unknown += 1;
        if let What::Write { command, idempotency: Some(idempotency) } = doing.what
            && retry
        {
            self.clients[client].again = Some((command, Some(idempotency)));
        }
        self.tell(|| format!("client {client} does not know"));
        self.soon(Event::Client(client), 200 * MS);
    }

    pub fn lose_all(&mut self) {
        (0..self.clients.len()).for_each(|client| self.lose(client));
    }

    /// Told that nothing was done: the proposal is in no log.
    pub fn refuse(&mut self, ids: &[ProposalId]) {
        for id in ids {
            let Some(caller) = self.alive().callers.remove(id) else { continue };
            if self.finish(caller).is_some() {
                self.report.refused += 1;
            }
        }
    }

    fn finish(&mut self, caller: Caller) -> Option<Doing> {
        let storming = self.storming;
        let state = &mut self.clients[caller.client];
        if state.operation != caller.operation {
            return None;
        }
        let doing = state.doing.take()?;
        state.answered_in_calm += u64::from(!storming);
        self.soon(Event::Client(caller.client), 40 * MS);
        Some(doing)
    }

    /// Tells a client what became of its write. The reply itself was compared with the model when it was applied.
    pub fn answer_write(&mut self, caller: Caller, reply: &Reply) {
        let Some(doing) = self.finish(caller) else { return };
        self.acknowledged = self.acknowledged.max(reply.revision);
        self.report.operation(doing.kind);
        if reply.replayed {
            self.report.sight("answers kept for a retry");
        }
        if reply.result.is_err() {
            self.report.sight("refusals");
        }
        let waited = self.now - doing.since;
        self.tell(|| format!("client {} told {reply:?} after {waited}", caller.client));
    }

    /// Serves a read from the state at hand, and holds it against the model.
    pub fn answer_read(&mut self, caller: Caller) -> Checked {
        let view = self.view()?;
        let Some(doing) = self.finish(caller) else { return Ok(()) };
        let What::Read { range, back } = doing.what else { return Ok(()) };
        let now = view.revision();
        ensure!(now >= doing.known, "a read at {now} is older than {}, known when it began", doing.known);
        let revision = Revision(now.get().saturating_sub(back).max(view.compacted().get()).max(1));
        let query = RangeQuery { revision: Some(revision), ..RangeQuery::all(range.clone()) };
        let found = view.range(&query).map_err(|error| crate::world::Violation(format!("a read fails: {error}")))?;
        let state = self.model.at(revision);
        let expected: Vec<_> = state.iter().filter(|(key, _)| range.contains(key.as_bytes())).collect();
        let found: Vec<_> = found.items.iter().map(|item| (&item.key, &item.record)).collect();
        ensure!(found == expected, "{range:?} at {revision} of {now} reads as {found:?}, is {expected:?}");
        self.acknowledged = self.acknowledged.max(now);
        self.report.operation(doing.kind);
        Ok(())
    }

    fn draw_operation(&mut self, client: usize) -> What {
        if self.chance.percent(30) {
            let back = if self.chance.percent(50) { 0 } else { self.chance.below(100) };
            return What::Read { range: self.draw_range(), back };
        }
        let command = self.draw_command();
        let idempotency = self.chance.percent(60).then(|| {
            let Client { number, operation, .. } = &self.clients[client];
            Idempotency { key: format!("{number}-{operation}-{}", self.starts).into(), request_hash: *operation }
        });
        What::Write { command, idempotency }
    }

    pub fn draw_range(&mut self) -> KeyRange {
        match self.chance.below(4) {
            0 => KeyRange::prefix("/"),
            1 => KeyRange::prefix("/k/"),
            2 => KeyRange::prefix("/q/"),
            _ => KeyRange::single(&self.draw_key()),
        }
    }

    fn draw_key(&mut self) -> Key {
        let number = self.chance.below(KEYS);
        match self.chance.below(8) {
            0 => key(&format!("/d/{}/{number}", self.chance.below(3))),
            _ => key(&format!("/k/{number:02}")),
        }
    }

    fn draw_directory(&mut self) -> Key {
        key(&format!("/d/{}/", self.chance.below(3)))
    }

    fn draw_value(&mut self) -> Bytes {
        let most = if self.chance.percent(20) { 3000 } else { 60 };
        let length = self.chance.below(most);
        let number = self.chance.next();
        let mut value = format!("{number:016x}").into_bytes();
        value.resize(16 + usize::try_from(length).unwrap(), b'.');
        value.into()
    }

    fn draw_command(&mut self) -> Command {
        match self.chance.below(100) {
            0..28 => Command::Put { put: self.draw_put(), condition: self.draw_condition() },
            28..31 => Command::CreateDirectory {
                create: CreateDirectory { key: self.draw_directory(), attach: self.draw_attach() },
                condition: self.draw_condition(),
            },
            31..34 => Command::Refresh {
                refresh: Refresh { key: self.draw_key(), ttl: self.draw_ttl() },
                condition: Condition::default(),
            },
            34 => {
                let back = self.chance.below(40);
                let to = Revision(self.acknowledged.get().saturating_sub(back).max(1));
                Command::Rollback(Rollback { range: self.draw_range(), to })
            }
            35..45 => self.draw_delete(),
            45..55 => Command::Increment(Increment {
                key: key(&format!("/n/{}", self.chance.below(3))),
                by: i64::try_from(self.chance.below(100)).unwrap() - 20,
                condition: Condition::default(),
            }),
            55..63 => Command::Append(Append {
                directory: key("/q/"),
                value: self.draw_value(),
                content_type: None,
                attach: Attach::Detach,
            }),
            63..78 => Command::Txn(self.draw_txn()),
            78..84 => Command::GrantLease { id: self.new_lease(), ttl: self.draw_ttl() },
            84..94 => Command::RenewLeases(vec![self.draw_lease()]),
            94..96 => Command::RevokeLease(self.draw_lease()),
            96..98 => {
                let back = self.chance.below(60);
                Command::Compact(Revision(self.acknowledged.get().saturating_sub(back).max(1)))
            }
            _ => Command::Noop,
        }
    }

    fn draw_put(&mut self) -> Put {
        let attach = self.draw_attach();
        let content_type: Option<ContentType> = self.chance.percent(30).then(|| Arc::from("text/plain"));
        let keeps = self.chance.percent(5);
        Put {
            key: self.draw_key(),
            value: (!keeps).then(|| self.draw_value()),
            content_type: content_type.filter(|_| !keeps),
            attach,
            previous: self.chance.percent(30),
        }
    }

    fn draw_attach(&mut self) -> Attach {
        match self.chance.below(10) {
            0..6 => Attach::Detach,
            6 => Attach::Keep,
            7 | 8 => Attach::Lease(self.draw_lease()),
            _ => Attach::Own { id: self.new_lease(), ttl: self.draw_ttl() },
        }
    }

    fn draw_condition(&mut self) -> Condition {
        match self.chance.below(6) {
            0 => Condition { exists: Some(self.chance.percent(50)), ..Condition::default() },
            1 => {
                let back = self.chance.below(20);
                let revision = Revision(self.acknowledged.get().saturating_sub(back));
                Condition { revisions: vec![revision], ..Condition::default() }
            }
            _ => Condition::default(),
        }
    }

    fn draw_delete(&mut self) -> Command {
        let target = match self.chance.below(10) {
            0 => DeleteTarget::Range(KeyRange::prefix("/q/")),
            1 => DeleteTarget::Range(KeyRange::prefix("/k/0")),
            2 => DeleteTarget::Directory { key: self.draw_directory(), recursive: self.chance.percent(50) },
            _ => DeleteTarget::Key(self.draw_key()),
        };
        let condition = match &target {
            DeleteTarget::Key(_) | DeleteTarget::Directory { .. } => self.draw_condition(),
            DeleteTarget::Range(_) => Condition::default(),
        };
        Command::Delete { delete: Delete { target, previous: self.chance.percent(40) }, condition }
    }

    fn draw_txn(&mut self) -> Txn {
        let back = self.chance.below(30);
        let compare = Compare {
            range: KeyRange::single(&self.draw_key()),
            operator: *self.chance.pick(&[Operator::Equal, Operator::Less, Operator::Greater, Operator::NotEqual]),
            target: match self.chance.below(3) {
                0 => CompareTarget::Version(self.chance.below(3)),
                1 => CompareTarget::CreateRevision(Revision::ZERO),
                _ => CompareTarget::ModRevision(Revision(self.acknowledged.get().saturating_sub(back))),
            },
        };
        Txn { compares: vec![compare], then: self.draw_ops(), otherwise: self.draw_ops() }
    }

    /// Operations on keys that differ, so that no key is written twice.
    fn draw_ops(&mut self) -> Vec<Op> {
        let first = self.chance.below(KEYS);
        (0..self.chance.below(5))
            .map(|step| {
                let key = key(&format!("/k/{:02}", (first + step) % KEYS));
                match self.chance.below(6) {
                    0 => Op::Get(RangeQuery::all(KeyRange::prefix("/k/"))),
                    1 => Op::Delete(Delete { target: DeleteTarget::Key(key), previous: true }),
                    _ => {
                        let mut put = self.draw_put();
                        put.key = key;
                        Op::Put(put)
                    }
                }
            })
            .collect()
    }

    fn draw_ttl(&mut self) -> Ttl {
        Ttl(self.chance.between(500, 4000))
    }

    fn new_lease(&mut self) -> LeaseId {
        LeaseId(self.chance.next() >> 1 | 1)
    }

    /// A lease that lives, mostly.
    fn draw_lease(&mut self) -> LeaseId {
        let ids: Vec<LeaseId> = self.model.leases.keys().copied().collect();
        if ids.is_empty() || self.chance.percent(5) { LeaseId(1) } else { *self.chance.pick(&ids) }
    }
}

fn key(text: &str) -> Key {
    Key::new(text.as_bytes().to_vec()).unwrap()
}

fn kind(what: &What) -> &'static str {
    match what {
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
            _ => "others",
        },
    }
}
