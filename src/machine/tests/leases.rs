//! Claims about leases.

use super::bed::*;
use crate::machine::{LeaseChange, StateMachine};
use crate::model::{
    Action, Attach, Command, Condition, DeleteTarget, EventKind, LeaseCheckpoint, LeaseId, Operation, Outcome, Refresh,
    Refusal, Term, Ttl,
};

fn changes(bed: &Bed) -> Vec<LeaseChange> {
    bed.last.as_ref().unwrap().leases.clone()
}

fn armed(id: u64, remaining: u64, renewals: u64) -> LeaseChange {
    LeaseChange::Armed { id: LeaseId(id), remaining: Ttl(remaining), renewals }
}

fn gone(id: u64) -> LeaseChange {
    LeaseChange::Gone { id: LeaseId(id) }
}

fn expire(id: u64, term: u64, renewals: u64) -> Command {
    Command::ExpireLease { id: LeaseId(id), term: Term(term), renewals }
}

fn refresh(at: &str, ttl: u64) -> Command {
    Command::Refresh { refresh: Refresh { key: key(at), ttl: Ttl(ttl) }, condition: Condition::default() }
}

fn reopened(bed: &Bed) -> Bed {
    let kept = bed.machine.engine().unsynced();
    Bed::on(bed.machine.engine().crash(kept))
}

#[test]
fn a_grant_makes_no_revision_and_an_id_is_granted_once() {
    let mut bed = Bed::new();
    assert!(matches!(bed.ok(grant(7)), Outcome::Lease(lease) if lease.renewals == 1 && !lease.own));
    assert_eq!((bed.revision(), changes(&bed)), (1, vec![armed(7, 10_000, 1)]));
    assert_eq!(bed.refused(grant(7)), Refusal::LeaseExists(LeaseId(7)));
}

#[test]
fn writes_attach_keep_and_detach() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    bed.ok(grant(8));
    assert_eq!(bed.refused(put_with("/a", "", lease(9))), Refusal::LeaseNotFound(LeaseId(9)));
    bed.ok(put_with("/a", "", lease(7)));
    bed.ok(put_with("/b", "", lease(7)));
    assert_eq!(bed.lease_keys(7), ["/a", "/b"]);
    bed.ok(put_with("/a", "2", Attach::Keep));
    bed.ok(put_with("/a", "2", Attach::KeepPresent));
    assert_eq!(bed.record("/a").unwrap().lease, Some(LeaseId(7)));
    bed.ok(put_with("/a", "3", lease(8)));
    assert_eq!((bed.lease_keys(7), bed.lease_keys(8)), (vec!["/b".to_owned()], vec!["/a".to_owned()]));
    bed.ok(put("/a", "4"));
    bed.ok(delete_key("/b"));
    assert!(bed.lease_keys(7).is_empty() && bed.lease_keys(8).is_empty());
    assert_eq!(bed.lease_ids(), [7, 8]);
}

#[test]
fn a_lease_of_a_keys_own_is_gone_with_its_last_key() {
    type Way = fn(&mut Bed);
    let ways: [(&str, Way); 5] = [
        ("deleted", |bed| drop(bed.ok(delete_key("/a")))),
        ("detached", |bed| drop(bed.ok(put("/a", "")))),
        ("given another own lease", |bed| drop(bed.ok(put_with("/a", "", own(6))))),
        ("deleted with its range", |bed| drop(bed.ok(delete(DeleteTarget::Range(prefix("/")))))),
        ("given a shared lease", |bed| {
            bed.ok(grant(9));
            bed.ok(put_with("/a", "", lease(9)));
        }),
    ];
    for (way, act) in ways {
        let mut bed = Bed::new();
        bed.ok(put_with("/a", "", own(5)));
        assert_eq!((bed.lease_keys(5), changes(&bed)), (vec!["/a".to_owned()], vec![armed(5, 10_000, 1)]));
        act(&mut bed);
        assert!(!bed.lease_ids().contains(&5), "{way}");
        assert_eq!(*changes(&bed).last().unwrap(), gone(5), "{way}");
        assert!(bed.lease_keys(5).is_empty());
    }
}

#[test]
fn an_own_lease_shared_by_hand_stays_for_its_last_key() {
    let mut bed = Bed::new();
    bed.ok(put_with("/a", "", own(5)));
    bed.ok(put_with("/b", "", lease(5)));
    bed.ok(delete_key("/a"));
    assert_eq!(bed.lease_ids(), [5]);
    bed.ok(delete_key("/b"));
    assert!(bed.lease_ids().is_empty());
}

#[test]
fn an_own_lease_needs_a_free_id_and_a_refused_write_makes_none() {
    let mut bed = Bed::new();
    bed.ok(grant(5));
    assert_eq!(bed.refused(put_with("/a", "", own(5))), Refusal::LeaseExists(LeaseId(5)));
    let guarded =
        Command::Put { put: crate::model::Put { attach: own(6), ..plain("/a", "") }, condition: exists(true) };
    bed.refused(guarded);
    assert_eq!(bed.lease_ids(), [5]);
}

#[test]
fn revoking_deletes_the_keys_in_one_revision() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    bed.ok(put_with("/b", "", lease(7)));
    bed.ok(put_with("/a", "", lease(7)));
    assert_eq!(deleted(&bed.ok(Command::RevokeLease(LeaseId(7)))), 2);
    assert_eq!((bed.revision(), bed.event_keys()), (4, vec!["/a".to_owned(), "/b".to_owned()]));
    let event = bed.events().remove(0);
    assert_eq!((event.kind, event.operation, event.action), (EventKind::Delete, Operation::Revoke, Action::Delete));
    assert_eq!(changes(&bed), [gone(7)]);
    assert_eq!(bed.refused(Command::RevokeLease(LeaseId(7))), Refusal::LeaseNotFound(LeaseId(7)));
}

#[test]
fn lease_expiry_deletes_attached_keys() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    bed.ok(put_with("/a", "", lease(7)));
    assert_eq!(deleted(&bed.ok(expire(7, 1, 1))), 1);
    let event = bed.events().remove(0);
    assert_eq!((event.kind, event.operation, event.action), (EventKind::Expire, Operation::Expire, Action::Expire));
    assert_eq!(bed.record("/a"), None);
    assert_eq!(bed.refused(expire(7, 1, 1)), Refusal::LeaseNotFound(LeaseId(7)));
}

#[test]
fn ending_a_lease_without_keys_makes_no_revision() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    bed.ok(grant(8));
    bed.ok(expire(7, 1, 1));
    bed.ok(Command::RevokeLease(LeaseId(8)));
    assert_eq!((bed.revision(), bed.lease_ids()), (1, vec![]));
}

#[test]
fn an_expiry_decided_before_a_renewal_or_by_a_replaced_leader_is_stale() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    assert_eq!(bed.ok(Command::RenewLeases(vec![LeaseId(7)])), Outcome::Renewed(vec![Some(Ttl(10_000))]));
    assert_eq!(changes(&bed), [armed(7, 10_000, 2)]);
    assert_eq!(bed.refused(expire(7, 1, 1)), Refusal::Stale);
    bed.term = Term(2);
    assert_eq!(bed.refused(expire(7, 1, 2)), Refusal::Stale);
    bed.ok(expire(7, 2, 2));
}

#[test]
fn renewing_says_which_leases_are_gone_and_makes_no_revision() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    let ids = [7, 8, 7].map(LeaseId).to_vec();
    let expected = vec![Some(Ttl(10_000)), None, Some(Ttl(10_000))];
    assert_eq!(bed.ok(Command::RenewLeases(ids)), Outcome::Renewed(expected));
    assert_eq!(bed.revision(), 1);
}

#[test]
fn checkpoints_survive_a_restart_and_renewals_outdate_them() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    bed.ok(grant(8));
    bed.ok(Command::RenewLeases(vec![LeaseId(8)]));
    let checkpoint = |id, renewals| LeaseCheckpoint { id: LeaseId(id), remaining: Ttl(4_000), renewals };
    let checkpoints = vec![checkpoint(7, 1), checkpoint(8, 1), checkpoint(9, 1)];
    let stale = Command::CheckpointLeases { term: Term(9), checkpoints: checkpoints.clone() };
    assert_eq!(bed.refused(stale), Refusal::Stale);
    bed.ok(Command::CheckpointLeases { term: Term(1), checkpoints });
    assert_eq!(changes(&bed), [LeaseChange::Recorded { id: LeaseId(7), remaining: Ttl(4_000), renewals: 1 }]);
    let bed = reopened(&bed);
    let remaining: Vec<_> = bed.machine.leases().map(|lease| (lease.id.get(), lease.remaining.get())).collect();
    assert_eq!(remaining, [(7, 4_000), (8, 10_000)]);
}

#[test]
fn a_refresh_extends_an_own_lease_without_a_revision() {
    let mut bed = Bed::new();
    bed.ok(put_with("/a", "1", own(5)));
    let outcome = bed.ok(refresh("/a", 60_000));
    assert_eq!((written(&outcome), bed.revision()), ((false, false, 2), 2));
    assert_eq!(changes(&bed), [armed(5, 60_000, 2)]);
    assert!(bed.events().is_empty());
    bed.ok(grant(7));
    bed.ok(put_with("/b", "", lease(7)));
    bed.ok(put("/c", ""));
    assert_eq!(bed.refused(refresh("/b", 1)), Refusal::NoOwnLease);
    assert_eq!(bed.refused(refresh("/c", 1)), Refusal::NoOwnLease);
    assert_eq!(bed.refused(refresh("/none", 1)), Refusal::KeyNotFound);
    let guarded = Command::Refresh { refresh: Refresh { key: key("/a"), ttl: Ttl(1) }, condition: with_value("2") };
    assert!(matches!(bed.refused(guarded), Refusal::PreconditionFailed { current: Some(_) }));
}

#[test]
fn a_directory_that_dies_with_its_own_lease_takes_what_is_below_with_it() {
    let mut bed = Bed::new();
    bed.ok(make_directory("/d/", own(5), Condition::default()));
    bed.ok(put("/d/x", ""));
    bed.ok(put_with("/d/y", "", own(6)));
    assert_eq!(deleted(&bed.ok(expire(5, 1, 1))), 3);
    assert_eq!(bed.event_keys(), ["/d/", "/d/x", "/d/y"]);
    assert!(bed.lease_ids().is_empty());
    bed.ok(grant(7));
    bed.ok(put_with("/e/", "", lease(7)));
    bed.ok(put("/e/x", ""));
    assert_eq!(deleted(&bed.ok(expire(7, 1, 1))), 1);
    assert!(bed.record("/e/x").is_some());
}

#[test]
fn leases_and_their_keys_are_there_after_a_restart() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    bed.ok(put_with("/a", "", lease(7)));
    bed.ok(put_with("/b", "", own(5)));
    let mut bed = reopened(&bed);
    assert_eq!(bed.lease_ids(), [5, 7]);
    bed.ok(delete_key("/b"));
    assert_eq!(bed.lease_ids(), [7]);
    assert_eq!(deleted(&bed.ok(Command::RevokeLease(LeaseId(7)))), 1);
    let engine = bed.machine.engine().clone();
    assert!(StateMachine::open(engine).is_ok());
}

#[test]
fn a_lease_made_and_used_and_revoked_within_one_batch_leaves_nothing() {
    let mut bed = Bed::new();
    let proposals = vec![
        bed.proposal(grant(7)),
        bed.proposal(put_with("/a", "", lease(7))),
        bed.proposal(Command::RevokeLease(LeaseId(7))),
    ];
    let replies = bed.apply(proposals);
    assert_eq!(deleted(replies[2].result.as_ref().unwrap()), 1);
    assert_eq!(changes(&bed), [armed(7, 10_000, 1), gone(7)]);
    assert!(bed.lease_keys(7).is_empty() && reopened(&bed).lease_ids().is_empty());
}

#[test]
fn a_key_detached_earlier_in_the_batch_outlives_its_former_lease() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    bed.ok(put_with("/a", "", lease(7)));
    bed.ok(put_with("/b", "", lease(7)));
    let proposals = vec![bed.proposal(put("/a", "free")), bed.proposal(Command::RevokeLease(LeaseId(7)))];
    let replies = bed.apply(proposals);
    assert_eq!(deleted(replies[1].result.as_ref().unwrap()), 1);
    assert_eq!((bed.value("/a").as_deref(), bed.value("/b")), (Some("free"), None));
}
