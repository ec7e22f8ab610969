//! Claims about log entries: order, replay, faults, clock.

use super::bed::*;
use crate::machine::{Fault, StateMachine};
use crate::model::{Command, Index, LogEntry, Term, Timestamp, limits};
use crate::storage::memory::{Call, MemoryEngine};
use crate::storage::{Engine, Keyspace, StorageError, WriteBatch, schema};

#[test]
fn entries_applied_before_are_passed_over() {
    let mut bed = Bed::new();
    let first = {
        let proposal = bed.proposal(increment("/n", 1));
        bed.entry(vec![proposal])
    };
    bed.machine.apply(std::slice::from_ref(&first)).unwrap();
    let second = {
        let proposal = bed.proposal(increment("/n", 1));
        bed.entry(vec![proposal])
    };
    let applied = bed.machine.apply(&[first.clone(), second.clone()]).unwrap();
    assert_eq!(applied.replies.len(), 1);
    let applied = bed.machine.apply(&[first, second]).unwrap();
    assert!(applied.replies.is_empty() && applied.blocks.is_empty());
    assert_eq!((bed.value("/n").unwrap(), bed.revision()), ("2".to_owned(), 3));
}

#[test]
fn a_gap_in_the_log_is_a_fault_and_nothing_is_applied_after_it() {
    let mut bed = Bed::new();
    let gap = entry(2, Term(1), START, vec![]);
    assert!(matches!(bed.machine.apply(&[gap]), Err(Fault::Gap { applied: Index(0), found: Index(2) })));
    let next = entry(1, Term(1), START, vec![]);
    assert!(matches!(bed.machine.apply(&[next]), Err(Fault::Stopped)));
}

#[test]
fn an_entry_that_cannot_be_read_is_a_fault() {
    let mut bed = Bed::new();
    let damaged = LogEntry { data: bytes("nonsense"), ..entry(1, Term(1), START, vec![]) };
    assert!(matches!(bed.machine.apply(&[damaged]), Err(Fault::Entry { index: Index(1), .. })));
}

#[test]
fn a_store_that_fails_is_a_fault_and_the_machine_stops() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    bed.machine.engine().fail_next(Call::Commit, StorageError::Poisoned);
    let next = {
        let proposal = bed.proposal(put("/a", "2"));
        bed.entry(vec![proposal])
    };
    assert!(matches!(bed.machine.apply(std::slice::from_ref(&next)), Err(Fault::Storage(_))));
    assert!(matches!(bed.machine.apply(&[next]), Err(Fault::Stopped)));
    assert!(matches!(bed.machine.sweep(), Err(Fault::Stopped)));
}

#[test]
fn an_empty_entry_moves_the_applied_index_and_nothing_else() {
    let mut bed = Bed::new();
    let empty = LogEntry { data: bytes(""), ..entry(1, Term(4), START, vec![]) };
    let applied = bed.machine.apply(&[empty]).unwrap();
    assert_eq!((applied.index, applied.term, applied.revision.get()), (Index(1), Term(4), 1));
    let reopened = StateMachine::open(bed.machine.engine().crash(2)).unwrap();
    assert_eq!(reopened.applied(), (Index(1), Term(4)));
}

#[test]
fn a_store_without_its_mark_or_its_newest_block_is_refused_at_open() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    bed.ok(put("/a", "2"));
    let newest = schema::block(bed.machine.revision());
    for (keyspace, last) in [(Keyspace::Meta, bytes("\0")), (Keyspace::History, newest)] {
        let engine = bed.machine.engine().crash(2);
        let mut batch = WriteBatch::new();
        batch.delete(keyspace, last);
        engine.commit(&batch).unwrap();
        let opened = StateMachine::open(engine);
        assert!(matches!(opened, Err(Fault::Storage(StorageError::Corrupt { .. }))), "{}", keyspace.name());
    }
}

#[test]
fn a_store_with_data_and_no_mark_or_of_another_layout_is_refused_at_open() {
    let engine = MemoryEngine::new();
    let mut batch = WriteBatch::new();
    batch.put(Keyspace::Kv, schema::user(b"/a"), bytes("x"));
    engine.commit(&batch).unwrap();
    let opened = StateMachine::open(engine);
    assert!(matches!(opened, Err(Fault::Storage(StorageError::Corrupt { .. }))));

    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    let mut batch = WriteBatch::new();
    schema::Meta::Format.put(&mut batch, &(schema::FORMAT + 1));
    bed.machine.engine().commit(&batch).unwrap();
    let opened = StateMachine::open(bed.machine.engine().clone());
    assert!(matches!(opened, Err(Fault::Storage(StorageError::Format { .. }))));
}

#[test]
fn events_carry_the_state_machines_time_which_survives_a_restart() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    bed.time -= 500;
    bed.ok(put("/a", "2"));
    assert_eq!(bed.events()[0].time, Timestamp(START));
    let mut bed = Bed::on(bed.machine.engine().crash(2));
    bed.time = START - 1000;
    bed.ok(put("/a", "3"));
    assert_eq!(bed.events()[0].time, Timestamp(START));
}

#[test]
fn a_stamp_far_ahead_is_clamped_and_flagged() {
    let mut bed = Bed::new();
    bed.ok(Command::Noop);
    assert!(!bed.last.as_ref().unwrap().clock_clamped);
    bed.time = START + limits::MAX_CLOCK_JUMP_MS + 1;
    bed.ok(Command::Noop);
    let last = bed.last.as_ref().unwrap();
    assert_eq!((last.clock_clamped, last.time), (true, Timestamp(START)));
}

#[test]
fn events_name_their_author() {
    let mut bed = Bed::new();
    let mut proposals = vec![bed.proposal(put("/a", "")), bed.proposal(put("/b", ""))];
    proposals[0].author = Some("ann".into());
    bed.apply(proposals);
    let authors: Vec<_> = bed.events().into_iter().map(|event| event.author).collect();
    assert_eq!(authors, [Some("ann".into()), None]);
}
