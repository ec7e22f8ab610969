//! Claims about rollback.

use super::bed::*;
use crate::machine::plan_rollback;
use crate::model::{Action, Command, Condition, LeaseId, Operation, Outcome, Put, Refusal, Revision, Rollback, limits};

#[test]
fn a_rollback_gives_a_prefix_the_state_of_a_revision_at_one_revision() {
    let mut bed = Bed::new();
    bed.ok(put("/p/same", "s"));
    bed.ok(put("/p/changed", "old"));
    bed.ok(put("/p/deleted", "d"));
    bed.ok(put("/q", "outside"));
    let to = bed.revision();
    bed.ok(put("/p/changed", "new"));
    bed.ok(delete_key("/p/deleted"));
    bed.ok(put("/p/created", "c"));
    bed.ok(put("/p/same", "x"));
    bed.ok(put("/p/same", "s"));
    bed.ok(put("/q", "later"));
    let before = bed.revision();
    let outcome = bed.ok(rollback("/p/", to));
    assert_eq!(outcome, Outcome::RolledBack { restored: 2, deleted: 1 });
    assert_eq!(bed.revision(), before + 1);
    assert_eq!(bed.event_keys(), ["/p/changed", "/p/created", "/p/deleted"]);
    let values = ["/p/same", "/p/changed", "/p/deleted", "/p/created", "/q"].map(|at| bed.value(at));
    assert_eq!(values.map(Option::unwrap_or_default), ["s", "old", "d", "", "later"]);
    let changed = bed.record("/p/changed").unwrap();
    assert_eq!((changed.create_revision, changed.version), (Revision(3), 3));
    let back = bed.record("/p/deleted").unwrap();
    assert_eq!((back.create_revision, back.mod_revision.get(), back.version), (back.mod_revision, before + 1, 1));
    let actions: Vec<_> = bed.events().iter().map(|event| (event.operation, event.action)).collect();
    let expected = [Action::Update, Action::Delete, Action::Create].map(|action| (Operation::Rollback, action));
    assert_eq!(actions, expected);
}

#[test]
fn a_rollback_brings_content_types_back_and_keeps_leases_of_keys_that_live() {
    let mut bed = Bed::new();
    let typed = Put { content_type: Some("text/css".into()), ..plain("/a", "1") };
    bed.ok(Command::Put { put: typed, condition: Condition::default() });
    bed.ok(grant(7));
    bed.ok(put_with("/a", "1", lease(7)));
    bed.ok(put_with("/b", "1", lease(7)));
    bed.ok(delete_key("/b"));
    bed.ok(rollback("/", 4));
    let record = bed.record("/a").unwrap();
    assert_eq!((record.content_type, record.lease), (None, Some(LeaseId(7))));
    bed.ok(rollback("/a", 2));
    let record = bed.record("/a").unwrap();
    assert_eq!((record.content_type.as_deref(), record.lease), (Some("text/css"), Some(LeaseId(7))));
    assert_eq!(bed.record("/b").unwrap().lease, None);
    assert_eq!(bed.lease_keys(7), ["/a"]);
}

#[test]
fn rolling_back_to_the_present_changes_nothing() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    assert_eq!(bed.ok(rollback("/", 2)), Outcome::RolledBack { restored: 0, deleted: 0 });
    assert_eq!(bed.revision(), 2);
}

#[test]
fn rolling_back_to_what_cannot_be_read_is_refused() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    bed.ok(put("/a", "2"));
    bed.ok(Command::Compact(Revision(3)));
    assert!(matches!(bed.refused(rollback("/", 2)), Refusal::Compacted { .. }));
    assert!(matches!(bed.refused(rollback("/", 4)), Refusal::FutureRevision { .. }));
}

#[test]
fn a_rollback_sees_earlier_writes_of_its_own_batch() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    let proposals = vec![
        bed.proposal(put("/a", "2")),
        bed.proposal(put("/b", "1")),
        bed.proposal(rollback("/", 2)),
        bed.proposal(rollback("/", 4)),
    ];
    let replies = bed.apply(proposals);
    assert_eq!(replies[2].result, Ok(Outcome::RolledBack { restored: 1, deleted: 1 }));
    assert_eq!(replies[3].result, Ok(Outcome::RolledBack { restored: 2, deleted: 0 }));
    assert_eq!((bed.value("/a").unwrap(), bed.value("/b").unwrap()), ("2".to_owned(), "1".to_owned()));
}

#[test]
fn a_rollback_beyond_its_bounds_is_refused_with_the_counts() {
    let mut bed = Bed::new();
    let count = limits::MAX_ROLLBACK_KEYS + 1;
    let keys: Vec<_> = (0..count).map(|number| format!("/k/{number:06}")).collect();
    let puts = keys.iter().map(|at| bed.proposal(put(at, "12345"))).collect();
    bed.apply(puts);
    assert_eq!(bed.refused(rollback("/k/", 1)), Refusal::TooLarge { keys: count, bytes: 0 });
    assert!(matches!(bed.ok(rollback("/k/000", 1)), Outcome::RolledBack { restored: 0, deleted: 1000 }));
}

#[test]
fn a_plan_says_what_a_rollback_would_do_and_does_nothing() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    bed.ok(put("/a", "22"));
    let view = bed.machine.view();
    let plan = plan_rollback(view, &Rollback { range: prefix("/"), to: Revision(2) }).unwrap();
    assert_eq!((plan.keys, plan.bytes, plan.changes.len()), (1, 3, 1));
    assert_eq!(bed.value("/a").unwrap(), "22");
}
