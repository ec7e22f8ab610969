//! Claims about snapshots, restore and digests.

use bytes::Bytes;

use super::bed::*;
use crate::machine::{
    Fault, Restore, SEAL_BYTES, SnapshotCheck, SnapshotError, SnapshotSource, StateMachine, padding, sealed,
};
use crate::model::limits::HIGHEST_MAX_REQUEST_BYTES;
use crate::model::{Command, DeleteTarget, KeyRange, Revision};
use crate::mvcc::{Progress, ReplayBudget};
use crate::storage::memory::MemoryEngine;
use crate::storage::{Engine, StorageError};

/// A state with everything in it: records, leases, users, roles, deletions, kept answers, a compacted past.
fn full() -> Bed {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    for change in [super::auth::put_user("ann", Some("1")), super::auth::add_role("dev")] {
        bed.ok(Command::ChangeAuth(change));
    }
    for number in 0..300 {
        bed.ok(put_with(&format!("/k/{number}"), &"v".repeat(2000), lease(7)));
    }
    bed.ok(put_with("/own", "1", own(8)));
    bed.ok(delete(DeleteTarget::Range(prefix("/k/1"))));
    bed.ok(Command::Compact(Revision(100)));
    bed.ok(delete_key("/k/2"));
    bed.ok(put("/k/2", "again"));
    bed.keyed(Some("ann"), "k", 1, increment("/n", 3));
    bed
}

fn stream(bed: &Bed) -> Vec<u8> {
    let source = SnapshotSource::open(bed.machine.engine().snapshot()).unwrap();
    assert_eq!(source.head().digest, bed.machine.digest());
    source.chunks().flat_map(|chunk| chunk.unwrap().to_vec()).collect()
}

fn restore(bytes: &[u8], piece: usize) -> Result<Bed, SnapshotError> {
    let engine = MemoryEngine::new();
    let mut restore = Restore::new(engine.clone())?;
    for bytes in bytes.chunks(piece) {
        restore.push(bytes)?;
    }
    restore.finish()?;
    // Durable, not only visible.
    Ok(Bed::on(engine.crash(0)))
}

fn refused(bytes: &[u8]) -> SnapshotError {
    let mut check = SnapshotCheck::new();
    check.push(bytes).and_then(|()| check.finish()).unwrap_err()
}

#[test]
fn what_is_restored_is_what_was_written() {
    let mut bed = full();
    let bytes = stream(&bed);
    for piece in [7, 4096, bytes.len()] {
        let mut copy = restore(&bytes, piece).unwrap();
        assert_eq!(copy.machine.applied(), bed.machine.applied());
        assert_eq!((copy.machine.digest(), copy.content()), (bed.machine.digest(), bed.content()));
        assert_eq!(copy.lease_keys(7), bed.lease_keys(7));
        assert_eq!(stream(&copy), bytes);
        let all = |bed: &Bed| {
            let budget = ReplayBudget { steps: usize::MAX, bytes: usize::MAX };
            bed.machine.view().events(&KeyRange::prefix(""), Revision(99), budget).unwrap()
        };
        assert_eq!(all(&copy), all(&bed));
        assert!(copy.keyed(Some("ann"), "k", 1, increment("/n", 3)).replayed);
    }
    let mut copy = restore(&bytes, 4096).unwrap();
    for bed in [&mut copy, &mut bed] {
        bed.ok(put("/k/2", "and on"));
        bed.ok(delete_key("/own"));
        bed.ok(rollback("/k/", 200));
    }
    assert_eq!((copy.machine.digest(), copy.content()), (bed.machine.digest(), bed.content()));
    assert_eq!(copy.lease_ids(), [7]);
}

#[test]
fn a_store_whose_history_was_compacted_whole_opens_and_so_does_its_copy() {
    let mut bed = full();
    bed.ok(Command::Compact(Revision(bed.revision())));
    while bed.machine.sweep().unwrap() == Progress::More {}
    let copy = restore(&stream(&bed), 4096).unwrap();
    assert_eq!((copy.revision(), copy.content()), (bed.revision(), bed.content()));
    assert_eq!(Bed::on(bed.machine.engine().crash(usize::MAX)).revision(), bed.revision());
}

#[test]
fn a_snapshot_does_not_depend_on_how_far_the_sweep_has_come() {
    let mut bed = full();
    let (before, digest, content) = (stream(&bed), bed.machine.digest(), bed.content());
    while bed.machine.sweep().unwrap() == Progress::More {}
    assert!(stream(&bed) == before);
    assert_eq!((bed.machine.digest(), bed.content()), (digest, content));
}

#[test]
fn an_empty_state_has_a_snapshot() {
    let mut bed = Bed::new();
    bed.ok(Command::Noop);
    let copy = restore(&stream(&bed), 3).unwrap();
    assert_eq!((copy.revision(), copy.machine.applied()), (1, bed.machine.applied()));
}

#[test]
fn every_cut_is_refused() {
    let mut bed = Bed::new();
    bed.ok(put_with("/a", "1", own(5)));
    bed.ok(put("/b", "2"));
    let bytes = stream(&bed);
    for end in 0..bytes.len() {
        let mut check = SnapshotCheck::new();
        check.push(&bytes[..end]).unwrap();
        assert!(matches!(check.finish(), Err(SnapshotError::Truncated { .. })), "{end}");
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert!(matches!(refused(&longer), SnapshotError::Damaged { .. }));
}

#[test]
fn every_flipped_bit_is_refused() {
    let mut bed = Bed::new();
    bed.ok(put_with("/a", "1", own(5)));
    bed.ok(put("/b", "2"));
    let bytes = stream(&bed);
    for at in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        refused(&damaged);
    }
}

#[test]
fn the_largest_values_that_there_can_be_are_read_back_with_those_before_them() {
    let mut bed = Bed::new();
    for letter in ["a", "b"] {
        bed.ok(put("/large", &letter.repeat(HIGHEST_MAX_REQUEST_BYTES)));
    }
    let copy = restore(&stream(&bed), 1 << 20).unwrap();
    assert_eq!(copy.machine.digest(), bed.machine.digest());
}

/// A snapshot in a file, sealed, and how many bytes of it are the snapshot's.
fn file(bytes: &[u8]) -> Vec<u8> {
    let chunks = bytes.chunks(1000).map(|chunk| Ok::<_, ()>(Bytes::copy_from_slice(chunk)));
    sealed(chunks).flat_map(|chunk| chunk.unwrap().to_vec()).collect()
}

fn check_file(bytes: &[u8], piece: usize) -> Result<u64, SnapshotError> {
    let mut check = SnapshotCheck::of_file();
    for bytes in bytes.chunks(piece) {
        check.push(bytes)?;
    }
    check.finish().map(|head| head.revision.get())
}

/// Snapshots of every length from one that fills blocks of 512 bytes to the next.
fn lengths() -> Vec<Vec<u8>> {
    let of = |length: usize| {
        let mut bed = Bed::new();
        bed.ok(put("/a", &"v".repeat(length)));
        stream(&bed)
    };
    // A value is in the record and in the event.
    let all: Vec<_> = (0..=256).map(of).collect();
    let has = |zeros: usize| all.iter().any(|bytes| padding(bytes.len() as u64) == zeros);
    assert!((has(0) && has(510)) || (has(1) && has(511)), "all lengths of a kind are there");
    all
}

#[test]
fn a_file_may_have_a_seal_which_is_as_etcdctl_looks_for_it() {
    for bytes in lengths() {
        let sealed = file(&bytes);
        assert_eq!(sealed.len() % 512, SEAL_BYTES);
        assert_eq!(sealed.len(), bytes.len() + padding(bytes.len() as u64) + SEAL_BYTES);
        for piece in [1, 100, sealed.len()] {
            assert_eq!(check_file(&sealed, piece).unwrap(), 2);
            assert_eq!(check_file(&bytes, piece).unwrap(), 2);
        }
        assert!(matches!(refused(&sealed), SnapshotError::Damaged { .. }), "a stream between members has none");
    }
    let bed = full();
    let engine = MemoryEngine::new();
    let mut restore = Restore::of_file(engine.clone()).unwrap();
    restore.push(&file(&stream(&bed))).unwrap();
    restore.finish().unwrap();
    assert_eq!(Bed::on(engine.crash(0)).content(), bed.content());
}

#[test]
fn a_seal_that_is_cut_changed_or_followed_by_something_is_refused() {
    for bytes in lengths().into_iter().step_by(37) {
        let sealed = file(&bytes);
        for at in bytes.len() * 8..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(matches!(check_file(&damaged, 4096), Err(SnapshotError::Damaged { .. })), "bit {at}");
        }
        for end in bytes.len() + 1..sealed.len() {
            assert!(matches!(check_file(&sealed[..end], 4096), Err(SnapshotError::Truncated { .. })), "{end}");
        }
        let longer = [sealed.as_slice(), &[0]].concat();
        assert!(matches!(check_file(&longer, 4096), Err(SnapshotError::Damaged { .. })));
        // The seal of another snapshot.
        let other = file(&[b"x", bytes.as_slice()].concat());
        let swapped = [&sealed[..sealed.len() - SEAL_BYTES], &other[other.len() - SEAL_BYTES..]].concat();
        assert!(matches!(check_file(&swapped, 4096), Err(SnapshotError::Damaged { .. })));
    }
}

#[test]
fn parts_that_are_lost_repeated_or_swapped_are_refused() {
    let bed = full();
    let source = SnapshotSource::open(bed.machine.engine().snapshot()).unwrap();
    let chunks: Vec<_> = source.chunks().map(Result::unwrap).collect();
    assert!(chunks.len() > 5);
    for at in 1..chunks.len() - 1 {
        let (mut lost, mut repeated, mut swapped) = (chunks.clone(), chunks.clone(), chunks.clone());
        lost.remove(at);
        repeated.insert(at, chunks[at].clone());
        swapped.swap(at, at + 1);
        for chunks in [lost, repeated, swapped] {
            assert!(matches!(refused(&chunks.concat()), SnapshotError::Damaged { .. }));
        }
    }
}

#[test]
fn what_is_no_snapshot_or_of_another_format_is_named() {
    assert!(matches!(refused(b"{\"not\":\"a snapshot\"}"), SnapshotError::NotASnapshot));
    let mut other = stream(&full());
    other[7] = 9;
    assert!(matches!(refused(&other), SnapshotError::Format { found: 9 }));
}

#[test]
fn a_store_in_use_takes_no_snapshot() {
    let bed = full();
    let result = Restore::new(bed.machine.engine().clone());
    assert!(matches!(result, Err(SnapshotError::NotEmpty { .. })));
}

#[test]
fn an_interrupted_restore_leaves_a_store_that_does_not_open() {
    let bytes = stream(&full());
    let engine = MemoryEngine::new();
    let mut restore = Restore::new(engine.clone()).unwrap();
    restore.push(&bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(restore.finish(), Err(SnapshotError::Truncated { .. })));
    let opened = StateMachine::open(engine);
    assert!(matches!(opened, Err(Fault::Storage(StorageError::Corrupt { .. }))));
}
