//! Batches, crashes and replays change nothing: the same entries give the same replies, events and digests, however
//! they are cut into batches and wherever a crash falls.

use proptest::prelude::*;

use super::bed::*;
use crate::machine::StateMachine;
use crate::model::{
    Access, Attach, AuthChange, Command, Compare, CompareTarget, Condition, Content, CopyKeys, Delete, DeleteTarget,
    Event, Idempotency, KeyRange, LeaseCheckpoint, LeaseId, Life, LogEntry, NodeChange, NodeCompare, NodePath,
    NodeWrite, Op, Operator, PasswordHash, Patch, PatchKind, Proposal, ProposalId, Put, RangeLists, RangeQuery,
    Refresh, Reply, Revision, Role, RoleName, Term, Ttl, Txn, User, UserName,
};
use crate::storage::Engine;
use crate::storage::lsm::{LsmEngine, Options};
use crate::storage::memory::MemoryEngine;

fn any_key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["/a", "/b", "/d/", "/d/x", "/d/y", "/n", "/j"]).prop_map(str::to_owned)
}

fn any_value() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["1", "2", r#"{"a":1}"#, ""]).prop_map(str::to_owned)
}

fn any_attach() -> impl Strategy<Value = Attach> {
    prop_oneof![
        Just(Attach::Detach),
        Just(Attach::Keep),
        Just(Attach::KeepPresent),
        (1..4_u64).prop_map(|id| Attach::Lease(LeaseId(id))),
        (10..20_u64).prop_map(own),
    ]
}

fn any_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::default()),
        1 => any::<bool>().prop_map(exists),
        1 => (1..30_u64).prop_map(at_revision),
        1 => any_value().prop_map(|value| with_value(&value)),
    ]
}

fn any_put() -> impl Strategy<Value = Put> {
    (any_key(), any_value(), any_attach(), any::<bool>(), 0..8_u8).prop_map(|(at, value, attach, previous, keep)| {
        let put = Put { attach, previous, ..plain(&at, &value) };
        if keep == 0 { Put { value: None, ..put } } else { put }
    })
}

fn any_delete() -> impl Strategy<Value = Delete> {
    let target = prop_oneof![
        any_key().prop_map(|at| DeleteTarget::Key(key(&at))),
        any::<bool>().prop_map(|recursive| directory("/d/", recursive)),
        any_key().prop_map(|at| DeleteTarget::Range(prefix(&at))),
    ];
    (target, any::<bool>()).prop_map(|(target, previous)| Delete { target, previous })
}

fn any_ops() -> impl Strategy<Value = Vec<Op>> {
    let leaf = prop_oneof![
        any_put().prop_map(Op::Put),
        any_delete().prop_map(Op::Delete),
        (any_key(), prop::option::of(1..30_u64)).prop_map(|(at, revision)| {
            Op::Get(RangeQuery { revision: revision.map(Revision), ..RangeQuery::all(prefix(&at)) })
        }),
    ];
    let compare = (any_key(), 0..3_u64).prop_map(|(at, version)| Compare {
        range: KeyRange::single(&key(&at)),
        operator: Operator::Greater,
        target: CompareTarget::Version(version),
    });
    let nested = (compare, prop::collection::vec(leaf.clone(), 0..3))
        .prop_map(|(compare, ops)| Op::Txn(Txn { compares: vec![compare], otherwise: ops.clone(), then: ops }));
    prop::collection::vec(prop_oneof![4 => leaf, 1 => nested], 0..4)
}

fn any_node_write() -> impl Strategy<Value = NodeWrite> {
    let paths = prop::sample::select(vec!["", "/a", "/d", "/d/x", "/d/y", "/d/x/z", "/n/m/o", "/j/k"]);
    let content = || prop_oneof![any_value().prop_map(|value| Content::File(bytes(&value))), Just(Content::Directory)];
    let life =
        || prop::option::of((10..20_u64, 0..9_u64).prop_map(|(id, ttl)| Life { lease: LeaseId(id), ttl: Ttl(ttl) }));
    let compare = || {
        (prop::option::of(any_value()), prop::option::of(1..30_u64)).prop_map(|(value, modified)| NodeCompare {
            value: value.map(|value| bytes(&value)),
            modified: modified.map(Revision),
        })
    };
    let change = prop_oneof![
        3 => (content(), life(), any::<bool>())
            .prop_map(|(content, life, refresh)| NodeChange::Set { content, life, refresh }),
        1 => (content(), life()).prop_map(|(content, life)| NodeChange::Create { content, life }),
        1 => (content(), life()).prop_map(|(content, life)| NodeChange::Append { content, life }),
        2 => (any_value(), life(), any::<bool>())
            .prop_map(|(value, life, refresh)| NodeChange::Update { value: bytes(&value), life, refresh }),
        1 => (compare(), any_value(), life(), any::<bool>()).prop_map(|(compare, value, life, refresh)| {
            NodeChange::CompareAndSwap { compare, value: bytes(&value), life, refresh }
        }),
        2 => (any::<bool>(), any::<bool>())
            .prop_map(|(directory, recursive)| NodeChange::Delete { directory, recursive }),
        1 => compare().prop_map(NodeChange::CompareAndDelete),
    ];
    (paths, change).prop_map(|(path, change)| NodeWrite { path: NodePath::new(path).unwrap(), change })
}

fn any_auth_change() -> impl Strategy<Value = AuthChange> {
    let user = || prop::sample::select(vec!["root", "ann", "bob"]).prop_map(UserName::new);
    let role = || prop::sample::select(vec!["root", "dev", "ops"]).prop_map(RoleName::new);
    let roles = || prop::collection::vec(role(), 0..3);
    let range = || any_key().prop_map(|at| prefix(&at));
    let lists = || {
        let ranges = || prop::collection::vec(range(), 0..3);
        (ranges(), ranges()).prop_map(|(read, write)| RangeLists { read, write })
    };
    let password = || prop::option::of(any_value().prop_map(PasswordHash::new));
    prop_oneof![
        2 => (user(), password(), roles(), any::<bool>()).prop_map(|(name, password, roles, roles_listed)| {
            AuthChange::AddUser(User { name, password, roles: roles.into_iter().collect(), roles_listed })
        }),
        2 => (user(), password(), any::<bool>())
            .prop_map(|(name, password, roles_listed)| AuthChange::PutUser { name, password, roles_listed }),
        3 => (user(), password(), roles(), roles())
            .prop_map(|(name, password, grant, revoke)| AuthChange::AmendUser { name, password, grant, revoke }),
        1 => (user(), any_value())
            .prop_map(|(name, text)| AuthChange::SetPassword { name, password: PasswordHash::new(text) }),
        1 => user().prop_map(AuthChange::DeleteUser),
        1 => (user(), role()).prop_map(|(user, role)| AuthChange::GrantRole { user, role }),
        1 => (user(), role()).prop_map(|(user, role)| AuthChange::RevokeRole { user, role }),
        2 => (role(), lists()).prop_map(|(name, lists)| {
            AuthChange::AddRole(Role { permissions: lists.permissions(), ..Role::new(name) })
        }),
        3 => (role(), lists(), lists())
            .prop_map(|(name, grant, revoke)| AuthChange::AmendRole { name, grant, revoke }),
        1 => (role(), any::<bool>()).prop_map(|(name, from_users)| AuthChange::DeleteRole { name, from_users }),
        1 => (role(), range()).prop_map(|(role, range)| {
            AuthChange::GrantPermission { role, range, access: Access::ReadWrite }
        }),
        1 => (role(), range()).prop_map(|(role, range)| AuthChange::RevokePermission { role, range }),
    ]
}

fn any_copy() -> impl Strategy<Value = CopyKeys> {
    let names = || prop::sample::select(vec!["/a", "/b", "/d/", "/d/x", "/e/", "/e/f/"]);
    (names(), names(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(from, to, literal, overwrite, remove)| {
            let directory = !literal && from.ends_with('/') && to.ends_with('/');
            CopyKeys { from: key(from), to: key(to), directory, overwrite, remove }
        },
    )
}

fn any_command() -> impl Strategy<Value = Command> {
    let documents = prop::sample::select(vec![
        (PatchKind::Merge, r#"{"b":2}"#),
        (PatchKind::Json, r#"[{"op":"add","path":"/c","value":3}]"#),
    ]);
    let leases = || (1..20_u64).prop_map(LeaseId);
    prop_oneof![
        8 => (any_put(), any_condition()).prop_map(|(put, condition)| Command::Put { put, condition }),
        3 => (any_delete(), any_condition()).prop_map(|(delete, condition)| Command::Delete { delete, condition }),
        2 => (any_key(), documents, any_condition()).prop_map(|(at, (kind, document), condition)| {
            let patch = Patch { key: key(&at), kind, document: bytes(document), previous: true };
            Command::Patch { patch, condition }
        }),
        2 => any_key().prop_map(|at| increment(&at, 3)),
        2 => any_value().prop_map(|value| append("/d/", &value)),
        2 => (any_attach(), any_condition()).prop_map(|(attach, condition)| make_directory("/d/", attach, condition)),
        2 => (any_key(), any_condition()).prop_map(|(at, condition)| {
            Command::Refresh { refresh: Refresh { key: key(&at), ttl: Ttl(7) }, condition }
        }),
        4 => any_ops().prop_map(then),
        6 => any_node_write().prop_map(Command::Node),
        4 => any_auth_change().prop_map(Command::ChangeAuth),
        2 => (1..30_u64).prop_map(|to| rollback("/", to)),
        3 => any_copy().prop_map(Command::Copy),
        2 => (1..4_u64).prop_map(grant),
        1 => leases().prop_map(Command::RevokeLease),
        1 => prop::collection::vec(leases(), 1..4).prop_map(Command::RenewLeases),
        1 => (leases(), 1..3_u64, 1..3_u64).prop_map(|(id, term, renewals)| {
            Command::ExpireLease { id, term: Term(term), renewals }
        }),
        1 => (leases(), 1..3_u64).prop_map(|(id, renewals)| {
            let checkpoints = vec![LeaseCheckpoint { id, remaining: Ttl(9), renewals }];
            Command::CheckpointLeases { term: Term(1), checkpoints }
        }),
        1 => (1..30_u64).prop_map(|revision| Command::Compact(Revision(revision))),
        1 => Just(Command::Noop),
    ]
}

fn any_proposal() -> impl Strategy<Value = Proposal> {
    (any_command(), prop::option::weighted(0.2, 0..3_u64)).prop_map(|(command, idempotency)| Proposal {
        id: ProposalId::default(),
        author: None,
        idempotency: idempotency.map(|key| Idempotency { key: key.to_string().into(), request_hash: key }),
        command,
    })
}

/// Entries with stamps that mostly rise and terms that sometimes change.
fn any_log() -> impl Strategy<Value = Vec<LogEntry>> {
    let entry = (prop::collection::vec(any_proposal(), 0..5), 0..900_000_i64, prop::bool::weighted(0.1));
    prop::collection::vec(entry, 1..16).prop_map(|parts| {
        let (mut time, mut term) = (START, 1);
        let mut entries = Vec::new();
        for (index, (proposals, step, elected)) in parts.into_iter().enumerate() {
            time = time.checked_add_signed(step - 100_000).unwrap();
            term += u64::from(elected);
            entries.push(super::bed::entry(index as u64 + 1, Term(term), time, proposals));
        }
        entries
    })
}

/// All that can be seen of applying a log.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    replies: Vec<Reply>,
    events: Vec<Event>,
    leases: Vec<crate::machine::LeaseChange>,
}

impl Seen {
    fn apply<E: Engine>(&mut self, machine: &mut StateMachine<E>, entries: &[LogEntry]) {
        let applied = machine.apply(entries).unwrap();
        self.replies.extend(applied.replies.into_iter().map(|(_, reply)| reply));
        self.events.extend(applied.blocks.iter().flat_map(|block| block.events.clone()));
        self.leases.extend(applied.leases);
    }
}

fn open<E: Engine>(engine: E) -> StateMachine<E> {
    StateMachine::open(engine).unwrap()
}

fn digests<E: Engine>(machine: &StateMachine<E>) -> (u128, u128) {
    (machine.digest(), crate::machine::content_digest(machine.view()).unwrap())
}

/// Applies a log entry by entry.
fn one_by_one(log: &[LogEntry]) -> (Seen, StateMachine<MemoryEngine>) {
    let mut machine = open(MemoryEngine::new());
    let mut seen = Seen::default();
    for entry in log {
        seen.apply(&mut machine, std::slice::from_ref(entry));
    }
    (seen, machine)
}

/// What one revision is, checked on every event.
fn check_events(seen: &Seen) {
    for pair in seen.events.windows(2) {
        let [first, second] = pair else { unreachable!() };
        assert!((first.revision, &first.key) < (second.revision, &second.key), "one event per key and revision");
        assert!(second.revision.get() - first.revision.get() <= 1, "no gaps");
    }
    for event in &seen.events {
        assert!(event.record.is_some() || event.previous.is_some());
    }
}

/// The leases' keys are the keys that have leases.
fn check_leases<E: Engine>(machine: &StateMachine<E>) {
    let view = machine.view();
    let mut of_records = Vec::new();
    for item in view.range(&RangeQuery::all(prefix(""))).unwrap().items {
        if let Some(id) = item.record.lease {
            of_records.push((id, item.key.bytes().clone()));
        }
    }
    of_records.sort();
    let mut of_leases = Vec::new();
    for lease in machine.leases() {
        let keys: Vec<_> = crate::machine::attached(view.snapshot(), lease.id).map(Result::unwrap).collect();
        assert!(!lease.own || !keys.is_empty(), "an own lease has a key");
        of_leases.extend(keys.into_iter().map(|key| (lease.id, key)));
    }
    assert_eq!(of_records, of_leases);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn batching_changes_nothing(log in any_log(), cuts in prop::collection::vec(1..6_usize, 16)) {
        let (expected, reference) = one_by_one(&log);
        check_events(&expected);
        check_leases(&reference);
        let mut machine = open(MemoryEngine::new());
        let mut seen = Seen::default();
        let mut rest = &log[..];
        for cut in cuts {
            let (batch, later) = rest.split_at(cut.min(rest.len()));
            seen.apply(&mut machine, batch);
            machine.sweep().unwrap();
            rest = later;
        }
        seen.apply(&mut machine, rest);
        prop_assert_eq!(&seen, &expected);
        prop_assert_eq!(digests(&machine), digests(&reference));
        prop_assert_eq!(machine.auth(), reference.auth());
    }

    #[test]
    fn a_crash_at_any_durable_prefix_and_a_replay_change_nothing(
        log in any_log(),
        synced in 0..16_usize,
        kept in 0..16_usize,
    ) {
        let (_, reference) = one_by_one(&log);
        let mut machine = open(MemoryEngine::new());
        for (number, entry) in log.iter().enumerate() {
            if number == synced {
                machine.engine().sync().unwrap();
            }
            machine.apply(std::slice::from_ref(entry)).unwrap();
        }
        let kept = kept.min(machine.engine().unsynced());
        let mut machine = open(machine.engine().crash(kept));
        check_leases(&machine);
        machine.apply(&log).unwrap();
        prop_assert_eq!(digests(&machine), digests(&reference));
        prop_assert_eq!(machine.auth(), reference.auth());
        prop_assert_eq!(machine.applied(), reference.applied());
        check_leases(&machine);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn lsm_and_memory_come_to_the_same(log in any_log()) {
        let (expected, reference) = one_by_one(&log);
        let folder = tempfile::tempdir().unwrap();
        let mut machine = open(LsmEngine::open(folder.path(), Options::default()).unwrap());
        let mut seen = Seen::default();
        let (first, second) = log.split_at(log.len() / 2);
        seen.apply(&mut machine, first);
        machine.engine().sync().unwrap();
        drop(machine);
        let mut machine = open(LsmEngine::open(folder.path(), Options::default()).unwrap());
        seen.apply(&mut machine, second);
        prop_assert_eq!(&seen, &expected);
        prop_assert_eq!(digests(&machine), digests(&reference));
        prop_assert_eq!(machine.auth(), reference.auth());
        check_leases(&machine);
    }
}
