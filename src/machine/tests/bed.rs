//! A state machine on a memory engine, and short ways to say what is put to it.

use std::sync::Arc;

use bytes::Bytes;

use crate::machine::{Applied, StateMachine};
use crate::model::{
    Append, Attach, Command, Condition, CreateDirectory, Delete, DeleteTarget, Event, Idempotency, Increment, Index,
    Key, KeyRange, LeaseId, LogEntry, LogEntryKind, Op, Outcome, Payload, Proposal, ProposalId, Put, Record, Refusal,
    Reply, Revision, Rollback, Term, Timestamp, Ttl, Txn,
};
use crate::storage::Engine;
use crate::storage::memory::MemoryEngine;

pub(super) const START: u64 = 1_800_000_000_000;

pub(super) struct Bed<E: Engine = MemoryEngine> {
    pub(super) machine: StateMachine<E>,
    pub(super) term: Term,
    pub(super) time: u64,
    /// What the last apply said.
    pub(super) last: Option<Applied>,
    sequence: u64,
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::on(MemoryEngine::new())
    }
}

impl<E: Engine> Bed<E> {
    pub(super) fn on(engine: E) -> Self {
        let machine = StateMachine::open(engine).unwrap();
        Self { machine, term: Term(1), time: START, last: None, sequence: 0 }
    }

    pub(super) fn proposal(&mut self, command: Command) -> Proposal {
        self.sequence += 1;
        let id = ProposalId { sequence: self.sequence, ..ProposalId::default() };
        Proposal { id, author: None, idempotency: None, command }
    }

    /// The entry after the last one applied.
    pub(super) fn entry(&self, proposals: Vec<Proposal>) -> LogEntry {
        entry(self.machine.applied().0.get() + 1, self.term, self.time, proposals)
    }

    pub(super) fn apply(&mut self, proposals: Vec<Proposal>) -> Vec<Reply> {
        let entry = self.entry(proposals);
        let applied = self.machine.apply(&[entry]).unwrap();
        let replies = applied.replies.iter().map(|(_, reply)| reply.clone()).collect();
        self.last = Some(applied);
        replies
    }

    pub(super) fn run(&mut self, command: Command) -> Reply {
        let proposal = self.proposal(command);
        self.apply(vec![proposal]).remove(0)
    }

    pub(super) fn ok(&mut self, command: Command) -> Outcome {
        self.run(command).result.unwrap()
    }

    /// The refusal of a command, which has changed nothing.
    pub(super) fn refused(&mut self, command: Command) -> Refusal {
        let before = (self.machine.revision(), self.machine.digest(), self.content());
        let refusal = self.run(command).result.unwrap_err();
        assert_eq!((self.machine.revision(), self.machine.digest(), self.content()), before);
        assert!(self.last.as_ref().unwrap().leases.is_empty());
        refusal
    }

    pub(super) fn keyed(&mut self, author: Option<&str>, key: &str, request_hash: u64, command: Command) -> Reply {
        let mut proposal = self.proposal(command);
        proposal.author = author.map(Arc::from);
        proposal.idempotency = Some(Idempotency { key: key.into(), request_hash });
        self.apply(vec![proposal]).remove(0)
    }

    pub(super) fn record(&self, at: &str) -> Option<Record> {
        self.machine.view().get(at.as_bytes(), None).unwrap()
    }

    pub(super) fn value(&self, at: &str) -> Option<String> {
        self.record(at).map(|record| String::from_utf8(record.value.to_vec()).unwrap())
    }

    pub(super) fn revision(&self) -> u64 {
        self.machine.revision().get()
    }

    pub(super) fn content(&self) -> u128 {
        crate::machine::content_digest(self.machine.view()).unwrap()
    }

    /// The events of the last apply.
    pub(super) fn events(&self) -> Vec<Event> {
        let last = self.last.as_ref().unwrap();
        last.blocks.iter().flat_map(|block| block.events.clone()).collect()
    }

    /// The keys of the last apply's events.
    pub(super) fn event_keys(&self) -> Vec<String> {
        self.events().iter().map(|event| event.key.to_string()).collect()
    }

    pub(super) fn lease_ids(&self) -> Vec<u64> {
        self.machine.leases().map(|lease| lease.id.get()).collect()
    }

    pub(super) fn lease_keys(&self, id: u64) -> Vec<String> {
        let snapshot = self.machine.engine().snapshot();
        let keys = crate::machine::attached(&snapshot, LeaseId(id));
        keys.map(|key| String::from_utf8(key.unwrap().to_vec()).unwrap()).collect()
    }
}

pub(super) fn entry(index: u64, term: Term, time: u64, proposals: Vec<Proposal>) -> LogEntry {
    let data = Payload { time: Timestamp(time), proposals }.encode();
    LogEntry { index: Index(index), term, kind: LogEntryKind::Normal, data }
}

pub(super) fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

pub(super) fn bytes(text: &str) -> Bytes {
    text.to_owned().into()
}

pub(super) fn plain(at: &str, value: &str) -> Put {
    let attach = Attach::Detach;
    Put { key: key(at), value: Some(bytes(value)), content_type: None, attach, previous: false }
}

pub(super) fn put(at: &str, value: &str) -> Command {
    put_if(at, value, Condition::default())
}

pub(super) fn put_if(at: &str, value: &str, condition: Condition) -> Command {
    Command::Put { put: plain(at, value), condition }
}

pub(super) fn put_with(at: &str, value: &str, attach: Attach) -> Command {
    Command::Put { put: Put { attach, ..plain(at, value) }, condition: Condition::default() }
}

pub(super) fn own(id: u64) -> Attach {
    Attach::Own { id: LeaseId(id), ttl: Ttl(10_000) }
}

pub(super) fn lease(id: u64) -> Attach {
    Attach::Lease(LeaseId(id))
}

pub(super) fn grant(id: u64) -> Command {
    Command::GrantLease { id: LeaseId(id), ttl: Ttl(10_000) }
}

pub(super) fn exists(exists: bool) -> Condition {
    Condition { exists: Some(exists), ..Condition::default() }
}

pub(super) fn at_revision(revision: u64) -> Condition {
    Condition { revisions: vec![Revision(revision)], ..Condition::default() }
}

pub(super) fn with_value(value: &str) -> Condition {
    Condition { value: Some(bytes(value)), ..Condition::default() }
}

pub(super) fn delete(target: DeleteTarget) -> Command {
    delete_if(target, Condition::default())
}

pub(super) fn delete_if(target: DeleteTarget, condition: Condition) -> Command {
    Command::Delete { delete: Delete { target, previous: false }, condition }
}

pub(super) fn delete_key(at: &str) -> Command {
    delete(DeleteTarget::Key(key(at)))
}

pub(super) fn directory(at: &str, recursive: bool) -> DeleteTarget {
    DeleteTarget::Directory { key: key(at), recursive }
}

pub(super) fn prefix(at: &str) -> KeyRange {
    KeyRange::prefix(at.to_owned())
}

pub(super) fn make_directory(at: &str, attach: Attach, condition: Condition) -> Command {
    Command::CreateDirectory { create: CreateDirectory { key: key(at), attach }, condition }
}

pub(super) fn increment(at: &str, by: i64) -> Command {
    Command::Increment(Increment { key: key(at), by, condition: Condition::default() })
}

pub(super) fn append(at: &str, value: &str) -> Command {
    let attach = Attach::Detach;
    Command::Append(Append { directory: key(at), value: bytes(value), content_type: None, attach })
}

pub(super) fn rollback(at: &str, to: u64) -> Command {
    Command::Rollback(Rollback { range: prefix(at), to: Revision(to) })
}

pub(super) fn then(ops: Vec<Op>) -> Command {
    Command::Txn(Txn { then: ops, ..Txn::default() })
}

/// What a write says of itself: created, changed, and the revision of the record now.
pub(super) fn written(outcome: &Outcome) -> (bool, bool, u64) {
    match outcome {
        Outcome::Written { now, created, changed, .. } => (*created, *changed, now.record.mod_revision.get()),
        other => panic!("not a write: {other:?}"),
    }
}

pub(super) fn deleted(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Deleted { deleted, .. } | Outcome::Revoked { deleted } => *deleted,
        other => panic!("not a deletion: {other:?}"),
    }
}
