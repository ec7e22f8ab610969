//! Claims about going on from one survivor, over directories of which every entry and every byte is known.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::consensus::{Config, Input, MembershipChange, Position, Recovered, Replica};
use crate::machine::{GENESIS, StateMachine, begin, content_digest};
use crate::model::{
    ConfState, HardState, Idempotency, LogEntry, LogEntryKind, MemberChange, Payload, Proposal, Timestamp,
};
use crate::storage::Engine as _;
use crate::storage::lsm::LsmEngine;
use crate::storage::memory::MemoryEngine;
use crate::wal::{self, Batch, FileDirectory, SnapshotMark, Wal};

const INCARNATION: Incarnation = Incarnation(7);
const TERM: Term = Term(3);
const START: u64 = 1_800_000_000_000;
/// Of the log of [`lost`]: what its store holds, what it knows to be committed, and its last entry.
const APPLIED: u64 = 20;
const COMMITTED: u64 = 26;
const LAST: u64 = 40;
/// The entries that became durable together; the log is whole batches.
const BATCH: usize = 3;

/// A directory with a survivor in it.
struct Lost {
    dir: tempfile::TempDir,
    members: Members,
    identity: Identity,
}

fn member(url: &str, token: &str) -> Member {
    let peer_urls = vec![url.to_owned()];
    Member::voter(member_id(&peer_urls, token), peer_urls)
}

/// Who begins a cluster of these members, and the cluster.
fn cluster(urls: &[&str], token: &str) -> (Identity, Members) {
    let members: Vec<_> = urls.iter().map(|url| member(url, token)).collect();
    let identity = Identity { cluster: cluster_id(members.iter().map(|member| member.id)), member: members[0].id };
    (identity, members.into_iter().collect())
}

fn new_cluster() -> (Identity, Members) {
    cluster(&["http://a:1"], "another")
}

fn payload(index: u64, command: Command) -> bytes::Bytes {
    let idempotency = index.is_multiple_of(5).then(|| Idempotency { key: Arc::from("once"), request_hash: 1 });
    let id = ProposalId { member: MemberId(1), incarnation: Incarnation(1), sequence: index };
    let proposal = Proposal { id, author: None, idempotency, command };
    Payload { time: Timestamp(START + index), proposals: vec![proposal] }.encode()
}

/// A bit of everything, told by the index.
fn command(index: u64) -> Command {
    match index % 10 {
        0..6 => put(&format!("/k/{}", index % 7), &format!("v{index}"), Attach::Detach),
        6 | 7 => put(&format!("/mortal/{index}"), "v", Attach::Own { id: LeaseId(index), ttl: Ttl(60_000) }),
        8 => Command::RevokeLease(LeaseId(index - 1)),
        _ => Command::Compact(Revision(index / 2)),
    }
}

/// The log as raft writes it, from the entry behind the first state on. The last change of members is not committed.
fn entries() -> Vec<LogEntry> {
    let entry = |index: u64| {
        let (kind, data) = match index {
            2 => (LogEntryKind::Normal, bytes::Bytes::new()),
            12 | 33 => (LogEntryKind::Membership, membership(index)),
            _ => (LogEntryKind::Normal, payload(index, command(index))),
        };
        LogEntry { index: Index(index), term: TERM, kind, data }
    };
    (2..=LAST).map(entry).collect()
}

fn change(index: u64) -> MemberChange {
    MemberChange::Add(Member { learner: true, ..member(&format!("http://new-{index}:1"), "old") })
}

/// A change of members in raft's own encoding, which only a replica writes.
fn membership(index: u64) -> bytes::Bytes {
    let (alone, _) = cluster(&["http://a:1"], "old");
    let genesis = Position { index: GENESIS.0, term: GENESIS.1 };
    let mut replica = Replica::new(
        Config::new(alone.member, Incarnation(1), 1),
        Recovered {
            hard_state: HardState { term: GENESIS.1, commit: GENESIS.0, ..HardState::default() },
            snapshot: Some(genesis),
            applied: genesis,
            conf_state: ConfState { voters: vec![alone.member], learners: Vec::new() },
            ..Recovered::default()
        },
    )
    .unwrap();
    let data = payload(index, Command::ChangeMember(change(index)));
    let output = replica.handle(Input::ChangeMembership {
        token: 1,
        change: MembershipChange::AddLearner(MemberId(index)),
        data,
    });
    let entries = output.persist.unwrap().entries;
    entries.into_iter().find(|entry| entry.kind == LogEntryKind::Membership).unwrap().data
}

/// What the state machine is handed of an entry, said without the function that is tried here.
fn plain(mut entry: LogEntry) -> LogEntry {
    if entry.kind == LogEntryKind::Membership {
        entry.data = payload(entry.index.get(), Command::ChangeMember(change(entry.index.get())));
    }
    entry
}

/// The state after all entries.
fn reference(members: &Members, entries: &[LogEntry]) -> StateMachine<MemoryEngine> {
    let engine = MemoryEngine::new();
    begin(&engine, members).unwrap();
    let mut machine = StateMachine::open(engine).unwrap();
    machine.apply(&entries.iter().cloned().map(plain).collect::<Vec<_>>()).unwrap();
    machine
}

impl Lost {
    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("survivor")
    }

    fn new_dir(&self) -> PathBuf {
        self.dir.path().join("new")
    }

    fn store(&self) -> PathBuf {
        self.data_dir().join(format!("store-{INCARNATION}"))
    }

    /// Every file of the survivor, with what is in it.
    fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.data_dir()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    found.insert(path.clone(), Vec::new());
                    open.push(path);
                } else {
                    found.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    fn recover_as(&self, identity: Identity, members: &Members) -> Result<Holding, RecoverError> {
        let working = Survivor::open(&self.data_dir())?.copy_into(&self.new_dir(), &mut |_| {})?;
        let holding = working.holding().clone();
        working.begin_anew(identity, members, &mut |_| {})?;
        Ok(holding)
    }

    fn refused(&self) -> RecoverError {
        let (identity, members) = new_cluster();
        self.recover_as(identity, &members).unwrap_err()
    }

    /// The state in the new directory, as a member would open it.
    fn new_state(&self) -> (wal::Recovered, StateMachine<LsmEngine>) {
        let (recovered, _lock) = wal::read(&self.new_dir().join("wal")).unwrap();
        let store = self.new_dir().join(&recovered.snapshot.as_ref().unwrap().store);
        let engine = LsmEngine::open(&store, crate::storage::lsm::Options::default()).unwrap();
        (recovered, StateMachine::open(engine).unwrap())
    }
}

/// A member of three that had applied a part of its log when it was killed, and knew a little more to be committed.
fn lost() -> Lost {
    let dir = tempfile::tempdir().unwrap();
    let (identity, members) = cluster(&["http://a:1", "http://b:1", "http://c:1"], "old");
    let lost = Lost { dir, members, identity };
    let engine = LsmEngine::open(&lost.store(), crate::storage::lsm::Options::default()).unwrap();
    begin(&engine, &lost.members).unwrap();
    let of = wal::Identity { cluster: identity.cluster, member: identity.member, incarnation: INCARNATION };
    let mut log = Wal::create(FileDirectory::open(&lost.data_dir().join("wal")).unwrap(), of).unwrap();
    let (index, term) = GENESIS;
    let snapshot = Some(SnapshotMark { index, term, store: format!("store-{INCARNATION}") });
    let hard_state = HardState { term, vote: MemberId::ZERO, commit: index };
    log.append(&Batch { snapshot, entries: &[], hard_state: Some(hard_state) }).unwrap();
    let entries = entries();
    let commit = HardState { term: TERM, vote: MemberId::ZERO, commit: Index(COMMITTED) };
    for (number, batch) in entries.chunks(BATCH).enumerate() {
        let hard_state = (number > 0).then_some(commit);
        log.append(&Batch { snapshot: None, entries: batch, hard_state }).unwrap();
    }
    let applied: Vec<_> = entries.into_iter().filter(|entry| entry.index.get() <= APPLIED).map(plain).collect();
    StateMachine::open(engine.clone()).unwrap().apply(&applied).unwrap();
    engine.sync().unwrap();
    fs::write(lost.data_dir().join("LOCK"), b"").unwrap();
    lost
}

#[test]
fn what_is_recovered_is_the_whole_log_applied_and_the_survivor_stays_as_it_is() {
    let lost = lost();
    let before = lost.bytes();
    let (identity, members) = new_cluster();
    let mut steps = Vec::new();
    let working =
        Survivor::open(&lost.data_dir()).unwrap().copy_into(&lost.new_dir(), &mut |it| steps.push(it)).unwrap();
    let holding = working.holding().clone();
    let head = working.begin_anew(identity, &members, &mut |it| steps.push(it)).unwrap();
    assert!(lost.bytes() == before, "the survivor has changed");

    assert_eq!((holding.identity, holding.applied, holding.last), (lost.identity, Index(APPLIED), Index(LAST)));
    assert_eq!((holding.behind(), holding.uncommitted(), holding.cut_off), (LAST - APPLIED, LAST - COMMITTED, false));
    assert_eq!(holding.members.len(), 4, "the change that was applied");
    let expected = reference(&lost.members, &entries());
    let (log, machine) = lost.new_state();
    assert_eq!((machine.digest(), machine.revision()), (expected.digest(), expected.revision()));
    let content = |digest: Result<u128, _>| digest.unwrap();
    assert_eq!(content(content_digest(machine.view())), content(content_digest(expected.view())));
    assert_eq!(machine.leases().collect::<Vec<_>>(), expected.leases().collect::<Vec<_>>());
    assert_eq!(machine.applied(), (Index(LAST), TERM));
    assert_eq!((head.index, head.revision, head.digest), (Index(LAST), expected.revision(), expected.digest()));
    assert_eq!(machine.members(), &members, "only who was named, whatever the log says of members");
    assert_eq!((log.identity.cluster, log.identity.member), (identity.cluster, identity.member));
    assert_ne!(log.identity.incarnation, INCARNATION);
    assert_eq!((log.hard_state.commit, log.entries.len()), (Index(LAST), 0));

    let applied: u64 = steps.iter().map(|it| if let Progress::Applied(count) = it { *count } else { 0 }).sum();
    assert_eq!(applied, LAST - APPLIED);
    assert!(steps.iter().any(|it| matches!(it, Progress::Written(bytes) if *bytes > 0)));
    let left: Vec<_> = fs::read_dir(lost.new_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "a store and a log: {left:?}");
}

#[test]
fn an_answer_that_was_kept_is_given_again_after_a_recovery() {
    let lost = lost();
    let (identity, members) = new_cluster();
    lost.recover_as(identity, &members).unwrap();
    let (_, mut machine) = lost.new_state();
    let mut expected = reference(&lost.members, &entries());
    let data = payload(45, command(45));
    let again = [LogEntry { index: Index(LAST + 1), term: Term(9), kind: LogEntryKind::Normal, data }];
    let revision = machine.revision();
    let (reply, known) = (machine.apply(&again).unwrap(), expected.apply(&again).unwrap());
    assert_eq!(reply.replies, known.replies);
    assert_eq!(machine.revision(), revision, "it was carried out before");
}

#[tokio::test]
async fn a_member_starts_on_what_was_recovered_and_goes_on_from_its_revision() {
    let lost = lost();
    let (identity, members) = new_cluster();
    lost.recover_as(identity, &members).unwrap();
    let before = reference(&lost.members, &entries()).revision();
    let (log, lock) = wal::read(&lost.new_dir().join("wal")).unwrap();
    drop(lock);
    // As a crash leaves it at the very end.
    let copy = lost.new_dir().join(format!("store-{}-survivor", log.identity.incarnation));
    fs::create_dir(&copy).unwrap();
    let options = Options {
        data_dir: lost.new_dir(),
        identity: Some(identity),
        peer_urls: vec!["http://a:1".to_owned()],
        beginning: Beginning::New(members),
        ..options(lost.dir.path())
    };
    for start in 1..3 {
        let node = Node::start(&options, Metrics::new(), Vec::new()).unwrap();
        assert_eq!(value(&node, "/k/6").await.unwrap(), b"v34");
        let reply = propose(&node, put("/more", "v", Attach::Detach)).await;
        assert_eq!(reply.revision, Revision(before.get() + start));
        node.stop();
    }
    assert!(!copy.exists());
}

#[test]
fn a_torn_last_batch_is_left_out_and_left_where_it_is() {
    let lost = lost();
    let path = lost.data_dir().join("wal/0000000000000001.wal");
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 64], (end / 512 * 512) as u64).unwrap();
    let before = lost.bytes();
    let (identity, members) = new_cluster();
    let holding = lost.recover_as(identity, &members).unwrap();
    assert!(holding.cut_off);
    assert_eq!(holding.last, Index(LAST - BATCH as u64));
    assert!(lost.bytes() == before, "the survivor has changed");
    let kept: Vec<_> = entries().into_iter().filter(|entry| entry.index <= holding.last).collect();
    assert_eq!(lost.new_state().1.digest(), reference(&lost.members, &kept).digest());
}

#[test]
fn nothing_is_recovered_from_a_directory_in_use_and_nothing_starts_on_one_that_is_read() {
    let lost = lost();
    let held = fs::File::open(lost.data_dir().join("LOCK")).unwrap();
    held.lock().unwrap();
    assert!(matches!(lost.refused(), RecoverError::InUse { .. }));
    held.unlock().unwrap();
    let log = FileDirectory::open(&lost.data_dir().join("wal")).unwrap();
    assert!(matches!(lost.refused(), RecoverError::InUse { .. }));
    drop(log);
    assert!(!lost.new_dir().exists());

    let survivor = Survivor::open(&lost.data_dir()).unwrap();
    assert!(Survivor::open(&lost.data_dir()).is_ok(), "others may read beside it");
    assert!(held.try_lock().is_err());
    drop(survivor);
    held.try_lock().unwrap();
}

#[test]
fn what_a_member_would_not_start_from_is_not_recovered_from() {
    type Harm = fn(&Lost);
    let cases: [(&str, Harm); 5] = [
        ("belongs to another log", |lost| fs::create_dir(lost.data_dir().join("store-8")).unwrap()),
        ("has a store but no log", |lost| fs::remove_dir_all(lost.data_dir().join("wal")).unwrap()),
        ("the store has lost what it held", |lost| fs::remove_dir_all(lost.store()).unwrap()),
        ("the write-ahead log is damaged", |lost| {
            let path = lost.data_dir().join("wal/0000000000000001.wal");
            fs::File::options().write(true).open(path).unwrap().write_all_at(b"x", 1024 + 40).unwrap();
        }),
        ("the log has lost", |lost| {
            let engine = LsmEngine::open(&lost.store(), crate::storage::lsm::Options::default()).unwrap();
            let mut machine = StateMachine::open(engine.clone()).unwrap();
            machine.apply(&entries().into_iter().map(plain).collect::<Vec<_>>()).unwrap();
            let next =
                LogEntry { index: Index(LAST + 1), term: TERM, kind: LogEntryKind::Normal, data: bytes::Bytes::new() };
            machine.apply(&[next]).unwrap();
            engine.sync().unwrap();
        }),
    ];
    for (reason, harm) in cases {
        let lost = lost();
        harm(&lost);
        let before = lost.bytes();
        let error = lost.refused();
        assert!(matches!(error, RecoverError::Survivor(_)) && error.to_string().contains(reason), "{reason}: {error}");
        assert!(lost.bytes() == before, "{reason}");
        assert!(fs::read_dir(lost.new_dir()).map_or(0, Iterator::count) == 0, "{reason}: something is left behind");
    }
}

#[test]
fn a_directory_without_a_member_in_it_and_one_that_never_began_hold_nothing() {
    let lost = lost();
    let empty = lost.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(matches!(Survivor::open(&empty), Err(RecoverError::NotAMember { .. })));
    let of = wal::Identity { cluster: ClusterId(1), member: MemberId(1), incarnation: Incarnation(9) };
    drop(Wal::create(FileDirectory::open(&empty.join("wal")).unwrap(), of).unwrap());
    let blank = Survivor::open(&empty).unwrap().copy_into(&lost.new_dir(), &mut |_| {});
    assert!(matches!(blank, Err(RecoverError::Blank { .. })), "{blank:?}");
}

#[test]
fn a_recovery_takes_a_directory_that_is_empty_and_not_the_survivors() {
    let lost = lost();
    let before = lost.bytes();
    let copy = |to: &Path| Survivor::open(&lost.data_dir()).unwrap().copy_into(to, &mut |_| {}).unwrap_err();
    for within in [lost.data_dir(), lost.data_dir().join("new/er"), lost.data_dir().join("../survivor/new")] {
        let error = copy(&within);
        assert!(matches!(error, RecoverError::Within { .. }), "{}: {error}", within.display());
    }
    fs::create_dir(lost.new_dir()).unwrap();
    fs::File::create(lost.new_dir().join("x")).unwrap().write_all(b"x").unwrap();
    let error = copy(&lost.new_dir());
    assert!(matches!(error, RecoverError::Make(RestoreError::NotEmpty { .. })), "{error}");
    assert!(lost.bytes() == before);
}

#[tokio::test]
async fn a_recovery_that_was_cut_short_starts_no_member() {
    let lost = lost();
    let working = Survivor::open(&lost.data_dir()).unwrap().copy_into(&lost.new_dir(), &mut |_| {}).unwrap();
    let (identity, members) = new_cluster();
    let options = Options {
        data_dir: lost.new_dir(),
        identity: Some(identity),
        beginning: Beginning::New(members),
        ..options(lost.dir.path())
    };
    assert!(matches!(Node::start(&options, Metrics::new(), Vec::new()), Err(OpenError::NoLog { .. })));
    drop(working);
    assert!(!lost.new_dir().join("wal").join("0000000000000001.wal").exists());
}

#[test]
fn the_log_of_these_tests_holds_what_they_are_about() {
    let expected = reference(&lost().members, &entries());
    assert!(expected.leases().count() > 0 && expected.view().compacted() > Revision::ZERO);
    let changes = entries().iter().filter(|entry| entry.kind == LogEntryKind::Membership).count();
    assert_eq!((changes, expected.members().len()), (2, 5));
}
