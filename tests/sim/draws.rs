//! What clients do next, drawn from the seed.

use std::sync::Arc;

use bytes::Bytes;
use vardr::model::{
    Append, Attach, Command, Compare, CompareTarget, Condition, ContentType, CopyKeys, CreateDirectory, Delete,
    DeleteTarget, Idempotency, Increment, Key, KeyRange, LeaseId, Op, Operator, Put, RangeQuery, Refresh, Revision,
    Rollback, Ttl, Txn,
};

use crate::clients::{Client, What};
use crate::world::World;

const KEYS: u64 = 12;

impl World {
    pub fn draw_operation(&mut self, client: usize) -> What {
        if self.chance.percent(5) {
            return What::SerializableRead { range: self.draw_range() };
        }
        if self.chance.percent(30) {
            let back = if self.chance.percent(50) { 0 } else { self.chance.below(100) };
            return What::Read { range: self.draw_range(), back };
        }
        let command = self.draw_command();
        let idempotency = self.chance.percent(60).then(|| {
            let Client { number, operation, .. } = &self.clients[client];
            Idempotency { key: format!("{number}-{operation}").into(), request_hash: *operation }
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
                let to = Revision(self.truth.revision_seen.get().saturating_sub(back).max(1));
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
            63..65 => Command::Copy(self.draw_copy()),
            65..78 => Command::Txn(self.draw_txn()),
            78..84 => Command::GrantLease { id: self.new_lease(), ttl: self.draw_ttl() },
            84..94 => Command::RenewLeases(vec![self.draw_lease()]),
            94..96 => Command::RevokeLease(self.draw_lease()),
            96..98 => {
                let back = self.chance.below(60);
                Command::Compact(Revision(self.truth.revision_seen.get().saturating_sub(back).max(1)))
            }
            98 => Command::ChangeAuth(self.draw_auth_change()),
            _ => Command::Noop,
        }
    }

    /// Of a key, or of a directory; some within themselves, or of nothing.
    fn draw_copy(&mut self) -> CopyKeys {
        let directory = self.chance.percent(60);
        let [from, to] = [(); 2].map(|()| if directory { self.draw_directory() } else { self.draw_key() });
        CopyKeys { from, to, directory, overwrite: self.chance.percent(60), remove: self.chance.percent(50) }
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
                let revision = Revision(self.truth.revision_seen.get().saturating_sub(back));
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
                _ => CompareTarget::ModRevision(Revision(self.truth.revision_seen.get().saturating_sub(back))),
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
        let ids: Vec<LeaseId> = self.truth.model.leases.keys().copied().collect();
        if ids.is_empty() || self.chance.percent(5) { LeaseId(1) } else { *self.chance.pick(&ids) }
    }
}

fn key(text: &str) -> Key {
    Key::new(text.as_bytes().to_vec()).unwrap()
}
