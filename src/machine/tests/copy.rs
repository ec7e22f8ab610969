//! Claims about copying and moving.

use super::bed::*;
use crate::machine::plan_copy;
use crate::model::{
    Action, Command, Condition, CopyKeys, EventKind, Gone, LeaseId, Operation, Outcome, Part, Put, Refusal, Revision,
    limits,
};

const NOT_BELOW: &str = "a key that begins alike is not below a directory";

fn asked(from: &str, to: &str) -> CopyKeys {
    CopyKeys { from: key(from), to: key(to), directory: from.ends_with('/'), overwrite: false, remove: false }
}

fn overwriting(copy: CopyKeys) -> Command {
    Command::Copy(CopyKeys { overwrite: true, ..copy })
}

fn copy(from: &str, to: &str) -> Command {
    Command::Copy(asked(from, to))
}

fn mv(from: &str, to: &str) -> Command {
    Command::Copy(CopyKeys { remove: true, ..asked(from, to) })
}

fn copied(keys: u64, overwritten: u64) -> Outcome {
    Outcome::Copied { keys, overwritten }
}

#[test]
fn a_directory_is_copied_at_one_revision_and_stays_as_it_is() {
    let mut bed = Bed::new();
    bed.ok(make_directory("/a/", own(9), Condition::default()));
    let typed = Put { content_type: Some("text/css".into()), ..plain("/a/x", "1") };
    bed.ok(Command::Put { put: typed, condition: Condition::default() });
    bed.ok(put_with("/a/x/y", "2", own(10)));
    bed.ok(put("/ab", "3"));
    let (before, present) = (bed.revision(), ["/a/", "/a/x", "/a/x/y"].map(|at| bed.record(at)));
    assert_eq!(bed.ok(copy("/a/", "/b/")), copied(3, 0));
    assert_eq!(bed.revision(), before + 1);
    assert_eq!(bed.event_keys(), ["/b/", "/b/x", "/b/x/y"]);
    assert!(bed.events().iter().all(|event| (event.operation, event.action) == (Operation::Copy, Action::Create)));
    assert_eq!(["/a/", "/a/x", "/a/x/y"].map(|at| bed.record(at)), present);
    let record = bed.record("/b/x").unwrap();
    assert_eq!((record.content_type.as_deref(), record.version, record.lease), (Some("text/css"), 1, None));
    assert_eq!(record.create_revision, Revision(before + 1));
    assert_eq!((bed.value("/b/x/y").unwrap(), bed.record("/b/x/y").unwrap().lease), ("2".to_owned(), None));
    assert_eq!(bed.record("/bb"), None, "{NOT_BELOW}");
}

#[test]
fn what_is_moved_is_gone_at_the_same_revision_and_keeps_its_leases() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    bed.ok(make_directory("/a/", own(9), Condition::default()));
    bed.ok(put_with("/a/own", "1", own(10)));
    bed.ok(put_with("/a/shared", "2", lease(7)));
    bed.ok(put("/ab", "3"));
    let before = bed.revision();
    assert_eq!(bed.ok(mv("/a/", "/b/c/")), copied(3, 0));
    assert_eq!(bed.revision(), before + 1);
    assert_eq!(bed.event_keys(), ["/a/", "/a/own", "/a/shared", "/b/c/", "/b/c/own", "/b/c/shared"]);
    assert!(bed.events().iter().all(|event| event.operation == Operation::Move));
    let gone = |first| {
        Part::Gone(Gone { length: 3, first, created: Revision(2), expires: bed.events()[0].view.previous_expires })
    };
    let parts: Vec<_> = bed.events().iter().take(3).map(|event| (event.kind, event.view.part.clone())).collect();
    assert_eq!(parts, [gone(true), gone(false), gone(false)].map(|part| (EventKind::Delete, part)));
    assert_eq!(bed.lease_ids(), [7, 9, 10]);
    assert_eq!([7, 9, 10].map(|id| bed.lease_keys(id)), [["/b/c/shared"], ["/b/c/"], ["/b/c/own"]]);
    assert_eq!(bed.value("/ab").unwrap(), "3", "{NOT_BELOW}");
    bed.ok(Command::RevokeLease(LeaseId(9)));
    assert_eq!(bed.event_keys(), ["/b/c/", "/b/c/own", "/b/c/shared"], "it is a directory that dies with its lease");
}

#[test]
fn a_key_is_copied_and_moved_by_itself() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    bed.ok(put("/a/below", "2"));
    bed.ok(put("/a\0", "3"));
    assert_eq!(bed.ok(copy("/a", "/b")), copied(1, 0));
    assert_eq!(bed.ok(mv("/a", "/c")), copied(1, 0));
    assert_eq!(bed.event_keys(), ["/a", "/c"]);
    let values = ["/a", "/a/below", "/a\0", "/b", "/c"].map(|at| bed.value(at).unwrap_or_default());
    assert_eq!(values, ["", "2", "3", "1", "1"]);
}

#[test]
fn a_marker_taken_literally_is_the_one_key_that_it_is() {
    let mut bed = Bed::new();
    bed.ok(put("/a/", "m"));
    bed.ok(put("/a/x", "1"));
    assert_eq!(bed.ok(Command::Copy(CopyKeys { directory: false, ..asked("/a/", "/b") })), copied(1, 0));
    assert_eq!((bed.value("/b"), bed.value("/b/x")), (Some("m".to_owned()), None));
}

#[test]
fn what_is_there_is_replaced_only_where_that_is_asked_for() {
    let mut bed = Bed::new();
    bed.ok(put("/a/x", "1"));
    bed.ok(put("/a/y", "1"));
    bed.ok(put("/a/z", "1"));
    bed.ok(put_with("/b/y", "old", own(9)));
    bed.ok(put("/b/z", "1"));
    bed.ok(put("/b/other", "o"));
    for command in [copy("/a/", "/b/"), mv("/a/", "/b/")] {
        assert_eq!(bed.refused(command), Refusal::KeysExist { key: key("/b/y"), keys: 2 });
    }
    assert_eq!(bed.ok(overwriting(asked("/a/", "/b/"))), copied(3, 2));
    let actions: Vec<_> = bed.events().iter().map(|event| event.action).collect();
    assert_eq!(actions, [Action::Create, Action::Update, Action::Update]);
    let record = bed.record("/b/y").unwrap();
    assert_eq!((record.version, record.lease, &record.value[..]), (2, None, &b"1"[..]));
    assert_eq!((bed.value("/b/other").unwrap(), bed.lease_ids()), ("o".to_owned(), vec![]));
}

#[test]
fn a_directory_that_is_there_is_no_hindrance_and_the_value_of_its_marker_is_not_lost() {
    let mut bed = Bed::new();
    bed.ok(make_directory("/a/", crate::model::Attach::Detach, Condition::default()));
    bed.ok(put("/a/x", "1"));
    bed.ok(make_directory("/b/", own(9), Condition::default()));
    assert_eq!(bed.ok(mv("/a/", "/b/")), copied(1, 0));
    assert_eq!((bed.record("/b/").unwrap().version, bed.lease_ids()), (1, vec![9]));
    assert_eq!(bed.record("/a/"), None);
    // What would end with its directory is not left to live for ever.
    bed.ok(make_directory("/d/", own(10), Condition::default()));
    assert_eq!(bed.refused(mv("/d/", "/b/")), Refusal::KeysExist { key: key("/b/"), keys: 1 });
    bed.ok(Command::Copy(CopyKeys { overwrite: true, remove: true, ..asked("/d/", "/b/") }));
    assert_eq!((bed.lease_ids(), bed.lease_keys(10)), (vec![10], vec!["/b/".to_owned()]));
    bed.ok(put("/c/", "said"));
    assert_eq!(bed.refused(mv("/c/", "/b/")), Refusal::KeysExist { key: key("/b/"), keys: 1 });
}

#[test]
fn a_copy_of_nothing_within_itself_or_under_too_long_a_name_is_refused() {
    let mut bed = Bed::new();
    bed.ok(put("/a/x", "1"));
    bed.ok(put("/b", "1"));
    for (from, to) in [("/none", "/c"), ("/none/", "/c/"), ("/b/", "/c/"), ("/a", "/c")] {
        assert_eq!(bed.refused(mv(from, to)), Refusal::KeyNotFound, "{from}");
    }
    for (from, to) in [("/a/", "/a/"), ("/a/", "/a/b/"), ("/a/", "/"), ("/", "/c/"), ("/b", "/b")] {
        assert_eq!(bed.refused(overwriting(asked(from, to))), Refusal::CopyWithin, "{from} {to}");
    }
    assert_eq!(bed.ok(copy("/b", "/b/c")), copied(1, 0), "a key beside a directory of its name");
    let long = "n".repeat(limits::MAX_KEY_BYTES - 3);
    let length = limits::MAX_KEY_BYTES as u64;
    let refusal = Refusal::NameTooLong { key: key("/a/x"), length: length + 1 };
    assert_eq!(bed.refused(copy("/a/", &format!("/n{long}/"))), refusal);
    assert_eq!(bed.ok(copy("/a/", &format!("/{long}/"))), copied(1, 0));
}

#[test]
fn a_copy_sees_earlier_writes_of_its_own_batch() {
    let mut bed = Bed::new();
    bed.ok(put("/a/x", "1"));
    let proposals = vec![
        bed.proposal(put("/a/y", "2")),
        bed.proposal(delete_key("/a/x")),
        bed.proposal(mv("/a/", "/b/")),
        bed.proposal(mv("/b/", "/a/")),
        bed.proposal(mv("/b/", "/c/")),
    ];
    let replies = bed.apply(proposals);
    let results: Vec<_> = replies.into_iter().skip(2).map(|reply| reply.result).collect();
    assert_eq!(results, [Ok(copied(1, 0)), Ok(copied(1, 0)), Err(Refusal::KeyNotFound)]);
    assert_eq!((bed.value("/a/y").unwrap(), bed.record("/a/x")), ("2".to_owned(), None));
}

#[test]
fn a_copy_beyond_its_bounds_is_refused_with_the_counts() {
    let mut bed = Bed::new();
    let count = limits::MAX_COPY_KEYS + 1;
    let puts = (0..count).map(|number| bed.proposal(put(&format!("/k/{number:06}"), "12345"))).collect();
    bed.apply(puts);
    let bytes = count * ("/other/".len() + 6 + 5) as u64;
    assert_eq!(bed.refused(copy("/k/", "/other/")), Refusal::TooLarge { keys: count, bytes });
    bed.ok(delete_key("/k/000000"));
    assert_eq!(bed.ok(mv("/k/", "/other/")), copied(count - 1, 0));
    let value = "v".repeat(1024 * 1024);
    (0..17).for_each(|number| drop(bed.ok(put(&format!("/l/{number}"), &value))));
    assert!(matches!(bed.refused(copy("/l/", "/m/")), Refusal::TooLarge { keys: 17, .. }));
}

#[test]
fn neither_a_copy_nor_a_rollback_takes_the_place_of_more_than_one_revision_holds() {
    let mut bed = Bed::new();
    let value = "v".repeat(1024 * 1024);
    let count = limits::MAX_DELETE_BYTES / (1024 * 1024) + 1;
    bed.ok(put("/small", "s"));
    let before = bed.revision();
    for number in 0..count {
        bed.ok(put(&format!("/a/{number:03}"), "s"));
        bed.ok(put(&format!("/b/{number:03}"), &value));
    }
    let bytes = count * 1024 * 1024;
    assert_eq!(bed.refused(overwriting(asked("/a/", "/b/"))), Refusal::TooLarge { keys: count, bytes });
    assert_eq!(bed.refused(rollback("/b/", before)), Refusal::TooLarge { keys: count, bytes });
    bed.ok(delete_key("/a/000"));
    assert_eq!(bed.ok(overwriting(asked("/a/", "/b/"))), copied(count - 1, count - 1));
}

#[test]
fn a_plan_says_what_a_copy_would_write_and_does_nothing() {
    let mut bed = Bed::new();
    bed.ok(put("/a/x", "1"));
    bed.ok(put("/a/y", "22"));
    bed.ok(put("/b/y", "there"));
    let plan = plan_copy(bed.machine.view(), &asked("/a/", "/b/")).unwrap();
    assert_eq!((plan.keys, plan.bytes), (2, 11));
    assert_eq!(plan.writes.iter().map(|copied| copied.to.to_string()).collect::<Vec<_>>(), ["/b/x", "/b/y"]);
    assert_eq!(plan.overwritten().map(ToString::to_string).collect::<Vec<_>>(), ["/b/y"]);
    assert_eq!((bed.revision(), bed.value("/b/y").unwrap()), (4, "there".to_owned()));
}
