//! Claims about idempotency keys.

use super::bed::*;
use crate::model::{Command, Outcome, Refusal, Revision, Txn, limits};

#[test]
fn a_retry_gets_the_first_answer_and_changes_nothing() {
    let mut bed = Bed::new();
    let first = bed.keyed(None, "k", 1, append("/q/", "x"));
    bed.ok(put("/other", ""));
    let again = bed.keyed(None, "k", 1, append("/q/", "x"));
    assert!(again.replayed && !first.replayed);
    assert_eq!((again.revision, &again.result), (first.revision, &first.result));
    assert_eq!(bed.revision(), 3);
}

#[test]
fn a_retry_within_the_same_batch_gets_the_first_answer() {
    let mut bed = Bed::new();
    let mut proposals = vec![bed.proposal(increment("/n", 1)), bed.proposal(increment("/n", 1))];
    for proposal in &mut proposals {
        proposal.idempotency = Some(crate::model::Idempotency { key: "k".into(), request_hash: 1 });
    }
    let replies = bed.apply(proposals);
    assert!(replies[1].replayed);
    assert_eq!(bed.value("/n").unwrap(), "1");
}

#[test]
fn refusals_are_kept_like_any_answer() {
    let mut bed = Bed::new();
    bed.keyed(None, "k", 1, delete_key("/a"));
    bed.ok(put("/a", ""));
    let again = bed.keyed(None, "k", 1, delete_key("/a"));
    assert_eq!((again.result, again.replayed, again.revision), (Err(Refusal::KeyNotFound), true, Revision(1)));
}

#[test]
fn a_key_used_for_another_request_is_refused_and_authors_have_keys_of_their_own() {
    let mut bed = Bed::new();
    bed.keyed(Some("ann"), "k", 1, increment("/n", 1));
    let other = bed.keyed(Some("ann"), "k", 2, increment("/n", 5));
    assert_eq!(other.result, Err(Refusal::IdempotencyMismatch));
    assert!(!bed.keyed(Some("bob"), "k", 1, increment("/n", 1)).replayed);
    assert!(!bed.keyed(None, "k", 1, increment("/n", 1)).replayed);
    assert_eq!(bed.value("/n").unwrap(), "3");
    assert_eq!(bed.events()[0].author, None);
}

#[test]
fn an_answer_is_kept_for_its_window_by_the_state_machines_clock_and_over_a_restart() {
    let mut bed = Bed::new();
    bed.keyed(None, "k", 1, increment("/n", 1));
    bed.time += limits::IDEMPOTENCY_WINDOW_MS - 1;
    let kept = bed.machine.engine().unsynced();
    let mut restarted = Bed::on(bed.machine.engine().crash(kept));
    restarted.time = bed.time;
    assert!(restarted.keyed(None, "k", 1, increment("/n", 1)).replayed);
    restarted.time += 1;
    assert!(!restarted.keyed(None, "k", 1, increment("/n", 1)).replayed);
    assert_eq!(restarted.value("/n").unwrap(), "2");
    restarted.time += limits::IDEMPOTENCY_WINDOW_MS;
    restarted.ok(Command::Noop);
    let bounds = crate::storage::schema::answers();
    let (from, to) = crate::storage::schema::as_slices(&bounds);
    let snapshot = crate::storage::Engine::snapshot(restarted.machine.engine());
    let left = crate::storage::Snapshot::scan_keys(&snapshot, crate::storage::Keyspace::Meta, from, to).count();
    assert_eq!(left, 0);
}

#[test]
fn an_answer_too_large_to_keep_is_noted_and_the_request_is_not_repeated() {
    let mut bed = Bed::new();
    bed.ok(put("/big", &"x".repeat(limits::MAX_KEPT_ANSWER_BYTES)));
    let read = |bed: &mut Bed| {
        let get = crate::model::Op::Get(crate::model::RangeQuery::all(prefix("/big")));
        let write = crate::model::Op::Put(plain("/w", ""));
        bed.keyed(None, "k", 1, Command::Txn(Txn { then: vec![get, write], ..Txn::default() }))
    };
    assert!(matches!(read(&mut bed).result, Ok(Outcome::Txn { .. })));
    let again = read(&mut bed);
    assert_eq!((again.result, again.replayed), (Err(Refusal::ResultNotKept), true));
    assert_eq!(bed.revision(), 3);
}

#[test]
fn when_full_new_keys_are_refused_and_no_answer_is_forgotten_early() {
    let mut bed = Bed::new();
    let mut index = bed.machine.applied().0.get();
    let mut number = 0_u64;
    while number < limits::MAX_IDEMPOTENCY_KEYS as u64 {
        let proposals = (0..1000)
            .map(|_| {
                number += 1;
                let mut proposal = bed.proposal(Command::Noop);
                let key = format!("key {number}").into();
                proposal.idempotency = Some(crate::model::Idempotency { key, request_hash: 1 });
                proposal
            })
            .collect();
        index += 1;
        let applied = bed.machine.apply(&[entry(index, bed.term, bed.time, proposals)]).unwrap();
        assert!(applied.replies.iter().all(|(_, reply)| reply.result.is_ok()));
    }
    assert_eq!(bed.keyed(None, "new", 1, put("/a", "")).result, Err(Refusal::IdempotencyFull));
    assert!(bed.keyed(None, "key 1", 1, Command::Noop).replayed);
    assert!(!bed.run(put("/a", "")).replayed);
    bed.time += limits::IDEMPOTENCY_WINDOW_MS;
    assert_eq!(bed.keyed(None, "new", 1, put("/a", "")).result.map(|_| ()), Ok(()));
}

#[test]
fn when_the_answers_fill_their_bytes_new_keys_are_refused() {
    let mut bed = Bed::new();
    bed.ok(put("/big", &"x".repeat(limits::MAX_KEPT_ANSWER_BYTES - 1024)));
    let read = || {
        let get = crate::model::Op::Get(crate::model::RangeQuery::all(prefix("/big")));
        Command::Txn(Txn { then: vec![get], ..Txn::default() })
    };
    let mut kept = 0;
    while bed.keyed(None, &format!("key {kept}"), 1, read()).result.is_ok() {
        kept += 1;
    }
    assert!(kept * (limits::MAX_KEPT_ANSWER_BYTES - 1024) <= limits::MAX_IDEMPOTENCY_BYTES);
    assert!((kept + 3) * limits::MAX_KEPT_ANSWER_BYTES > limits::MAX_IDEMPOTENCY_BYTES);
    assert_eq!(bed.keyed(None, "new", 1, read()).result, Err(Refusal::IdempotencyFull));
    assert!(bed.keyed(None, "key 0", 1, read()).replayed);
}
