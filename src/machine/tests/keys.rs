//! Claims about commands on keys and directories.

use super::bed::*;
use crate::model::{
    Action, Attach, Command, Condition, DeleteTarget, EventKind, Operation, Outcome, Patch, PatchKind, Put, Refusal,
    Revision, limits,
};

fn patch(at: &str, kind: PatchKind, document: &str) -> Command {
    let patch = Patch { key: key(at), kind, document: bytes(document), previous: true };
    Command::Patch { patch, condition: Condition::default() }
}

fn action(bed: &Bed) -> (Operation, Action) {
    let event = bed.events().remove(0);
    (event.operation, event.action)
}

#[test]
fn a_put_creates_then_replaces_at_one_revision_each() {
    let mut bed = Bed::new();
    assert_eq!(written(&bed.ok(put("/a", "1"))), (true, true, 2));
    assert_eq!(written(&bed.ok(put("/a", "2"))), (false, true, 3));
    let record = bed.record("/a").unwrap();
    assert_eq!((record.create_revision, record.mod_revision, record.version), (Revision(2), Revision(3), 2));
    let event = bed.events().remove(0);
    assert_eq!(event.previous.unwrap().value, "1");
    assert_eq!((event.kind, event.previous_revision), (EventKind::Put, Revision(2)));
}

#[test]
fn a_put_answers_with_what_it_replaced_only_if_asked() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    let asking = Put { previous: true, ..plain("/a", "2") };
    let outcome = bed.ok(Command::Put { put: asking, condition: Condition::default() });
    assert!(matches!(outcome, Outcome::Written { previous: Some(record), .. } if record.value == "1"));
    assert!(matches!(bed.ok(put("/a", "3")), Outcome::Written { previous: None, .. }));
}

#[test]
fn a_put_without_a_value_keeps_value_and_type_and_needs_the_key() {
    let mut bed = Bed::new();
    let typed = Put { content_type: Some("text/plain".into()), ..plain("/a", "1") };
    bed.ok(Command::Put { put: typed, condition: Condition::default() });
    let keeping = |at| Put { value: None, ..plain(at, "") };
    bed.ok(Command::Put { put: keeping("/a"), condition: Condition::default() });
    let record = bed.record("/a").unwrap();
    assert_eq!((&*record.value, record.content_type.as_deref()), (&b"1"[..], Some("text/plain")));
    let refusal = bed.refused(Command::Put { put: keeping("/b"), condition: Condition::default() });
    assert_eq!(refusal, Refusal::KeyNotFound);
}

#[test]
fn conditions_guard_a_put_and_failure_shows_the_key_as_it_is() {
    let mut bed = Bed::new();
    bed.ok(put_if("/a", "1", exists(false)));
    let now = bed.record("/a");
    for condition in [exists(false), at_revision(9), with_value("2")] {
        match bed.refused(put_if("/a", "x", condition)) {
            Refusal::PreconditionFailed { current } => assert_eq!(current.map(|item| item.record), now),
            other => panic!("{other:?}"),
        }
    }
    for condition in [exists(true), at_revision(2), with_value("1")] {
        let refusal = bed.refused(put_if("/none", "x", condition));
        assert_eq!(refusal, Refusal::PreconditionFailed { current: None });
    }
    bed.ok(put_if("/a", "2", at_revision(2)));
    bed.ok(put_if("/a", "3", with_value("2")));
    bed.ok(put_if("/a", "4", Condition { revisions: vec![Revision(1), Revision(4)], ..exists(true) }));
    assert_eq!(bed.value("/a").unwrap(), "4");
}

#[test]
fn every_event_names_the_operation_and_the_action_of_etcd_v2() {
    let mut bed = Bed::new();
    let cases = [
        (put("/a", "1"), Operation::Put, Action::Set),
        (put("/a", "2"), Operation::Put, Action::Set),
        (put_if("/b", "1", exists(false)), Operation::Put, Action::Create),
        (put_if("/b", "2", exists(true)), Operation::Put, Action::Update),
        (put_if("/b", "3", with_value("2")), Operation::Put, Action::CompareAndSwap),
        (increment("/n", 1), Operation::Increment, Action::Create),
        (increment("/n", 1), Operation::Increment, Action::Update),
        (patch("/j", PatchKind::Merge, r#"{"a":1}"#), Operation::Patch, Action::Create),
        (patch("/j", PatchKind::Merge, r#"{"a":2}"#), Operation::Patch, Action::Update),
        (append("/q/", "1"), Operation::Append, Action::Create),
        (make_directory("/d/", Attach::Detach, Condition::default()), Operation::CreateDirectory, Action::Set),
        (make_directory("/e/", Attach::Detach, exists(false)), Operation::CreateDirectory, Action::Create),
        (delete_key("/a"), Operation::Delete, Action::Delete),
        (delete_if(DeleteTarget::Key(key("/b")), with_value("3")), Operation::Delete, Action::CompareAndDelete),
    ];
    for (command, operation, expected) in cases {
        bed.ok(command.clone());
        assert_eq!(action(&bed), (operation, expected), "{command:?}");
    }
}

#[test]
fn appended_keys_are_the_new_revision_in_twenty_digits_and_rise() {
    let mut bed = Bed::new();
    bed.ok(append("/q/", "a"));
    bed.ok(put("/other", "x"));
    bed.ok(append("/q/", "b"));
    assert_eq!(bed.value("/q/00000000000000000002").unwrap(), "a");
    assert_eq!(bed.value("/q/00000000000000000004").unwrap(), "b");
}

#[test]
fn appending_never_overwrites_a_key_made_by_hand() {
    let mut bed = Bed::new();
    bed.ok(put("/q/00000000000000000003", "mine"));
    assert!(matches!(bed.refused(append("/q/", "x")), Refusal::PreconditionFailed { current: Some(_) }));
    assert_eq!(bed.value("/q/00000000000000000003").unwrap(), "mine");
}

#[test]
fn increments_add_up_from_zero_and_refuse_what_is_no_number() {
    let mut bed = Bed::new();
    assert!(matches!(bed.ok(increment("/n", 5)), Outcome::Number { number: 5, created: true, .. }));
    assert!(matches!(bed.ok(increment("/n", -7)), Outcome::Number { number: -2, created: false, .. }));
    assert_eq!(bed.value("/n").unwrap(), "-2");
    bed.ok(put("/n", &i64::MAX.to_string()));
    assert_eq!(bed.refused(increment("/n", 1)), Refusal::NumberOverflow);
    for text in ["", "1.0", "x", "99999999999999999999", " 1"] {
        bed.ok(put("/n", text));
        assert_eq!(bed.refused(increment("/n", 1)), Refusal::NotANumber, "{text:?}");
    }
}

#[test]
fn patches_change_json_and_keep_type_and_lease() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    let typed = Put {
        content_type: Some("application/vnd.x+json".into()),
        attach: lease(7),
        ..plain("/j", r#"{"b":1.50,"a":[1]}"#)
    };
    bed.ok(Command::Put { put: typed, condition: Condition::default() });
    bed.ok(patch("/j", PatchKind::Merge, r#"{"c":true}"#));
    bed.ok(patch("/j", PatchKind::Json, r#"[{"op":"add","path":"/a/-","value":2}]"#));
    bed.ok(increment("/n", 1));
    let record = bed.record("/j").unwrap();
    assert_eq!(record.value, r#"{"b":1.50,"a":[1,2],"c":true}"#);
    assert_eq!(record.content_type.as_deref(), Some("application/vnd.x+json"));
    assert_eq!(record.lease, Some(crate::model::LeaseId(7)));
}

#[test]
fn patches_refuse_what_they_cannot_change() {
    let mut bed = Bed::new();
    bed.ok(put("/t", "plain text"));
    assert_eq!(bed.refused(patch("/t", PatchKind::Merge, "{}")), Refusal::NotJson);
    assert_eq!(bed.refused(patch("/none", PatchKind::Json, "[]")), Refusal::KeyNotFound);
    bed.ok(put("/j", "{}"));
    assert!(matches!(bed.refused(patch("/j", PatchKind::Merge, "{")), Refusal::InvalidPatch(_)));
    let document = r#"[{"op":"remove","path":"/x"}]"#;
    assert!(matches!(bed.refused(patch("/j", PatchKind::Json, document)), Refusal::PatchConflict(_)));
    let large = format!("\"{}\"", "x".repeat(limits::MAX_PATCHED_BYTES));
    assert!(matches!(bed.refused(patch("/j", PatchKind::Merge, &large)), Refusal::TooLarge { keys: 1, .. }));
    bed.ok(patch("/new", PatchKind::Merge, r#"{"a":null,"b":1}"#));
    assert_eq!(bed.value("/new").unwrap(), r#"{"b":1}"#);
    assert_eq!(bed.record("/new").unwrap().content_type.as_deref(), Some("application/json"));
}

#[test]
fn of_many_that_race_to_create_a_directory_exactly_one_wins() {
    let mut bed = Bed::new();
    let racers = (0..100).map(|_| bed.proposal(make_directory("/d/", Attach::Detach, exists(false)))).collect();
    let replies = bed.apply(racers);
    let winners = replies.iter().filter(|reply| reply.result.is_ok()).count();
    assert_eq!((winners, bed.revision()), (1, 2));
    assert!(written(replies[0].result.as_ref().unwrap()).0);
    for reply in &replies[1..] {
        assert!(matches!(reply.result, Err(Refusal::PreconditionFailed { current: Some(_) })));
    }
}

#[test]
fn a_directory_implied_by_a_key_below_it_exists() {
    let mut bed = Bed::new();
    bed.ok(put("/d/x", "1"));
    let refusal = bed.refused(make_directory("/d/", Attach::Detach, exists(false)));
    assert_eq!(refusal, Refusal::PreconditionFailed { current: None });
    let outcome = bed.ok(make_directory("/d/", Attach::Detach, exists(true)));
    assert_eq!(written(&outcome), (false, true, 3));
    let outcome = bed.ok(make_directory("/d/", Attach::Detach, Condition::default()));
    assert_eq!(written(&outcome), (false, false, 3));
    assert_eq!(bed.revision(), 3);
    assert_eq!(bed.value("/d/").unwrap(), "");
    assert_eq!(
        bed.refused(make_directory("/e/", Attach::Detach, exists(true))),
        Refusal::PreconditionFailed { current: None }
    );
}

#[test]
fn deleting_an_absent_key_is_refused_and_an_empty_range_is_not() {
    let mut bed = Bed::new();
    assert_eq!(bed.refused(delete_key("/a")), Refusal::KeyNotFound);
    assert_eq!(deleted(&bed.ok(delete(DeleteTarget::Range(prefix("/"))))), 0);
    assert_eq!(bed.revision(), 1);
    let conditional = delete_if(DeleteTarget::Key(key("/a")), exists(true));
    assert_eq!(bed.refused(conditional), Refusal::PreconditionFailed { current: None });
}

#[test]
fn a_directory_is_deleted_whole_or_only_when_empty() {
    let mut bed = Bed::new();
    bed.ok(put("/d/x", "1"));
    bed.ok(put("/d/y/z", "2"));
    bed.ok(put("/d0", "beside"));
    assert_eq!(bed.refused(delete(directory("/d/", false))), Refusal::DirectoryNotEmpty);
    assert_eq!(deleted(&bed.ok(delete(directory("/d/", true)))), 2);
    assert_eq!(bed.event_keys(), ["/d/x", "/d/y/z"]);
    assert_eq!(bed.refused(delete(directory("/d/", true))), Refusal::KeyNotFound);
    bed.ok(make_directory("/d/", Attach::Detach, Condition::default()));
    assert_eq!(deleted(&bed.ok(delete(directory("/d/", false)))), 1);
    assert_eq!(bed.value("/d0").unwrap(), "beside");
}

#[test]
fn a_deletion_of_many_is_one_revision_and_its_events_are_in_order_of_key() {
    let mut bed = Bed::new();
    for at in ["/z", "/a", "/m"] {
        bed.ok(put(at, at));
    }
    let asking = crate::model::Delete { target: DeleteTarget::Range(prefix("/")), previous: true };
    let outcome = bed.ok(Command::Delete { delete: asking, condition: exists(true) });
    let Outcome::Deleted { deleted: 3, previous } = outcome else { panic!("{outcome:?}") };
    let keys: Vec<_> = previous.iter().map(|item| item.key.to_string()).collect();
    assert_eq!(keys, ["/a", "/m", "/z"]);
    assert_eq!(bed.event_keys(), keys);
    assert_eq!(bed.revision(), 5);
    assert!(bed.events().iter().all(|event| event.revision == Revision(5) && event.kind == EventKind::Delete));
    let nothing = delete_if(DeleteTarget::Range(prefix("/")), exists(true));
    assert_eq!(bed.refused(nothing), Refusal::PreconditionFailed { current: None });
}

#[test]
fn compaction_refuses_the_future_and_what_was_compacted() {
    let mut bed = Bed::new();
    for value in ["1", "2", "3"] {
        bed.ok(put("/a", value));
    }
    let compact = |revision| Command::Compact(Revision(revision));
    assert!(matches!(bed.refused(compact(5)), Refusal::FutureRevision { .. }));
    assert!(matches!(bed.refused(compact(0)), Refusal::Compacted { .. }));
    assert_eq!(bed.ok(compact(3)), Outcome::Done);
    assert!(matches!(bed.refused(compact(3)), Refusal::Compacted { .. }));
    assert_eq!(bed.revision(), 4);
    let view = bed.machine.view();
    assert_eq!(view.get(b"/a", Some(Revision(3))).unwrap().unwrap().value, "2");
    assert!(view.get(b"/a", Some(Revision(2))).is_err());
    while bed.machine.sweep().unwrap() == crate::mvcc::Progress::More {}
    let view = bed.machine.view();
    assert_eq!(view.get(b"/a", Some(Revision(3))).unwrap().unwrap().value, "2");
}

#[test]
fn a_deletion_of_more_than_one_revision_holds_is_refused_with_the_counts_and_takes_nothing() {
    let mut bed = Bed::new();
    let value = bytes::Bytes::from(vec![b'v'; 4 * 1024 * 1024]);
    let count = limits::MAX_DELETE_BYTES / (4 * 1024 * 1024);
    for number in 0..count {
        let put = Put { value: Some(value.clone()), ..plain(&format!("/k/{number:02}"), "") };
        bed.ok(Command::Put { put, condition: Condition::default() });
    }
    let everything = || DeleteTarget::Range(prefix("/k/"));
    let too_large = Refusal::TooLarge { keys: count, bytes: count * (value.len() as u64 + 5) };
    let (revision, digest) = (bed.revision(), bed.machine.digest());
    assert_eq!(bed.refused(delete(everything())), too_large);
    assert_eq!(bed.refused(delete(directory("/k/", true))), too_large);
    assert_eq!((bed.revision(), bed.machine.digest()), (revision, digest));
    bed.ok(delete_key("/k/00"));
    assert_eq!(deleted(&bed.ok(delete(everything()))), count - 1);
}
