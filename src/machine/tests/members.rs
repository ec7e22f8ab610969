//! Claims about commands that concern the members.

use super::bed::*;
use crate::machine::{GENESIS, Restore, SnapshotSource, StateMachine, begin};
use crate::model::{
    Command, Idempotency, Incarnation, Index, LogEntry, LogEntryKind, Member, MemberChange, MemberId, Members, Outcome,
    Payload, Proposal, Refusal, Timestamp, limits,
};
use crate::storage::Engine;
use crate::storage::memory::MemoryEngine;

fn member(id: u64, learner: bool) -> Member {
    let peer_urls = vec![format!("http://{id}:2380")];
    let (name, client_urls) = (String::new(), Vec::new());
    Member { id: MemberId(id), name, peer_urls, client_urls, incarnation: None, learner, becomes_voter: false }
}

/// A state that begins with one voter, as that of the first members of a cluster does.
fn bed() -> Bed {
    let engine = MemoryEngine::new();
    begin(&engine, &Members::from_iter([member(1, false)])).unwrap();
    Bed::on(engine)
}

/// Applies a change in the kind of entry that raft follows. Whether it was carried out.
fn change(bed: &mut Bed, change: MemberChange) -> Result<Outcome, Refusal> {
    let proposal = bed.proposal(Command::ChangeMember(change));
    let data = Payload { time: Timestamp(START), proposals: vec![proposal] }.encode();
    let index = bed.machine.applied().0.next();
    let entry = LogEntry { index, term: bed.term, kind: LogEntryKind::Membership, data };
    let before = bed.machine.members().clone();
    let applied = bed.machine.apply(&[entry]).unwrap();
    let result = applied.replies[0].1.result.clone();
    assert_eq!(applied.membership, [(index, result.is_ok())]);
    assert_eq!(applied.members.is_some(), *bed.machine.members() != before);
    result
}

fn describe(id: u64, incarnation: u64, name: &str) -> Command {
    let client_urls = vec![format!("http://{name}:2379")];
    Command::DescribeMember {
        id: MemberId(id),
        incarnation: Incarnation(incarnation),
        name: name.to_owned(),
        client_urls,
    }
}

#[test]
fn a_cluster_begins_behind_an_entry_that_nobody_has_and_alike_everywhere() {
    let (one, other) = (bed(), bed());
    assert_eq!(one.machine.applied(), GENESIS);
    assert_eq!((one.content(), one.machine.digest()), (other.content(), other.machine.digest()));
    assert_eq!(one.machine.members().conf_state().voters, [MemberId(1)]);
}

#[test]
fn a_member_comes_as_a_learner_is_promoted_and_goes_for_ever() {
    let mut bed = bed();
    change(&mut bed, MemberChange::Add(member(2, true))).unwrap();
    assert_eq!(bed.machine.members().conf_state().learners, [MemberId(2)]);
    change(&mut bed, MemberChange::Promote(MemberId(2))).unwrap();
    assert_eq!(bed.machine.members().conf_state().voters, [MemberId(1), MemberId(2)]);
    change(&mut bed, MemberChange::Remove(MemberId(2))).unwrap();
    assert!(bed.machine.members().was_removed(MemberId(2)));
    let back = change(&mut bed, MemberChange::Add(member(2, true)));
    assert_eq!(back, Err(Refusal::MemberExists(MemberId(2))));
}

#[test]
fn a_change_that_raft_could_not_follow_is_refused_and_changes_nothing() {
    let mut bed = bed();
    change(&mut bed, MemberChange::Add(member(2, true))).unwrap();
    let before = bed.machine.members().clone();
    let taken = Member { id: MemberId(3), ..member(2, true) };
    for (asked, refusal) in [
        (MemberChange::Add(member(1, true)), Refusal::MemberExists(MemberId(1))),
        (MemberChange::Add(taken), Refusal::PeerUrlTaken("http://2:2380".to_owned())),
        (MemberChange::Promote(MemberId(1)), Refusal::NotALearner(MemberId(1))),
        (MemberChange::Promote(MemberId(9)), Refusal::MemberNotFound(MemberId(9))),
        (MemberChange::Remove(MemberId(9)), Refusal::MemberNotFound(MemberId(9))),
        (MemberChange::Remove(MemberId(1)), Refusal::LastVoter(MemberId(1))),
    ] {
        assert_eq!(change(&mut bed, asked), Err(refusal));
        assert_eq!(*bed.machine.members(), before);
    }
}

#[test]
fn a_cluster_has_a_bounded_number_of_voters_and_members() {
    let mut bed = bed();
    let mut add = |id| change(&mut bed, MemberChange::Add(member(id, true)));
    for id in 2..=limits::MAX_MEMBERS as u64 {
        add(id).unwrap();
    }
    assert_eq!(add(99), Err(Refusal::TooManyMembers));
    for id in 2..=limits::MAX_VOTERS as u64 {
        change(&mut bed, MemberChange::Promote(MemberId(id))).unwrap();
    }
    assert_eq!(change(&mut bed, MemberChange::Promote(MemberId(8))), Err(Refusal::TooManyVoters));
    change(&mut bed, MemberChange::Remove(MemberId(9))).unwrap();
    assert_eq!(change(&mut bed, MemberChange::Add(member(99, false))), Err(Refusal::TooManyVoters));
}

#[test]
fn a_learner_that_becomes_a_voter_has_its_place_among_the_voters_kept() {
    let mut bed = bed();
    for id in 2..=limits::MAX_VOTERS as u64 {
        change(&mut bed, MemberChange::Add(Member { becomes_voter: true, ..member(id, true) })).unwrap();
    }
    change(&mut bed, MemberChange::Add(member(8, true))).unwrap();
    let one_more = Member { becomes_voter: true, ..member(9, true) };
    assert_eq!(change(&mut bed, MemberChange::Add(one_more)), Err(Refusal::TooManyVoters));
    assert_eq!(change(&mut bed, MemberChange::Promote(MemberId(8))), Err(Refusal::TooManyVoters));
    change(&mut bed, MemberChange::Promote(MemberId(2))).unwrap();
    let promoted = bed.machine.members().get(MemberId(2)).unwrap();
    assert!(!promoted.learner && !promoted.becomes_voter);
}

#[test]
fn the_kept_answer_to_an_addition_adds_nobody() {
    let mut bed = bed();
    let add = Command::ChangeMember(MemberChange::Add(member(2, true)));
    let idempotency = Some(Idempotency { key: "once".into(), request_hash: 1 });
    let ask = |bed: &mut Bed, command: Command, idempotency| {
        let proposal = Proposal { idempotency, ..bed.proposal(command) };
        let data = Payload { time: Timestamp(START), proposals: vec![proposal] }.encode();
        let index = bed.machine.applied().0.next();
        let entry = LogEntry { index, term: bed.term, kind: LogEntryKind::Membership, data };
        bed.machine.apply(&[entry]).unwrap()
    };
    let first = ask(&mut bed, add.clone(), idempotency.clone());
    assert!(first.membership[0].1);
    ask(&mut bed, Command::ChangeMember(MemberChange::Remove(MemberId(2))), None);
    let again = ask(&mut bed, add, idempotency);
    assert_eq!(again.replies[0].1.result, first.replies[0].1.result);
    assert!(!again.membership[0].1, "raft would take in a member that was removed");
    assert!(bed.machine.members().get(MemberId(2)).is_none());
}

#[test]
fn a_member_is_reached_elsewhere_and_nobody_takes_the_place_of_another() {
    let mut bed = bed();
    change(&mut bed, MemberChange::Add(member(2, true))).unwrap();
    let relocate = |id, to: &str| Command::RelocateMember { id: MemberId(id), peer_urls: vec![to.to_owned()] };
    let revision = bed.revision();
    bed.ok(relocate(1, "http://new:2380"));
    bed.ok(relocate(1, "http://new:2380"));
    assert_eq!(bed.machine.members().get(MemberId(1)).unwrap().peer_urls, ["http://new:2380"]);
    assert_eq!(bed.refused(relocate(2, "http://new:2380")), Refusal::PeerUrlTaken("http://new:2380".to_owned()));
    assert_eq!(bed.refused(relocate(9, "http://nine:2380")), Refusal::MemberNotFound(MemberId(9)));
    assert_eq!(bed.revision(), revision);
}

#[test]
fn members_change_only_in_entries_that_raft_takes_notice_of() {
    let mut bed = bed();
    let before = bed.machine.members().clone();
    assert_eq!(bed.refused(Command::ChangeMember(MemberChange::Add(member(2, true)))), Refusal::Stale);
    assert_eq!(*bed.machine.members(), before);
}

#[test]
fn what_a_member_says_of_itself_makes_no_revision_and_binds_it_to_its_data() {
    let mut bed = bed();
    let revision = bed.revision();
    bed.ok(describe(1, 7, "one"));
    bed.ok(describe(1, 7, "renamed"));
    assert_eq!(bed.refused(describe(1, 8, "other")), Refusal::MemberLostData(MemberId(1)));
    assert_eq!(bed.refused(describe(9, 7, "stranger")), Refusal::MemberNotFound(MemberId(9)));
    let known = bed.machine.members().get(MemberId(1)).unwrap().clone();
    assert_eq!((known.name.as_str(), known.incarnation), ("renamed", Some(Incarnation(7))));
    assert_eq!(bed.revision(), revision);
}

#[test]
fn the_members_outlive_a_restart_and_travel_in_a_snapshot() {
    let mut bed = bed();
    bed.ok(describe(1, 7, "one"));
    change(&mut bed, MemberChange::Add(member(2, true))).unwrap();
    change(&mut bed, MemberChange::Remove(MemberId(2))).unwrap();
    let members = bed.machine.members().clone();
    let reopened = StateMachine::open(bed.machine.engine().crash(usize::MAX)).unwrap();
    assert_eq!(*reopened.members(), members);

    let source = SnapshotSource::open(bed.machine.engine().snapshot()).unwrap();
    let stream: Vec<_> = source.chunks().map(Result::unwrap).collect();
    let restored = |anew: Option<Members>| {
        let engine = MemoryEngine::new();
        let mut restore = Restore::new(engine.clone()).unwrap();
        restore.push(&stream.concat()).unwrap();
        match anew {
            None => restore.finish().unwrap(),
            Some(members) => restore.finish_anew(members).unwrap(),
        };
        StateMachine::open(engine).unwrap()
    };
    assert_eq!(*restored(None).members(), members);
    let others = Members::from_iter([member(5, false)]);
    let anew = restored(Some(others.clone()));
    assert_eq!(*anew.members(), others);
    assert_eq!(anew.applied(), (Index(4), bed.term));
}
