//! A disk that refuses: full, or failing at any single operation.

use std::io::ErrorKind;

use super::super::memory::{MemoryDirectory, Operation};
use super::super::{Wal, WalError};
use super::{IDENTITY, Model, SMALL, Step, Story, append, perform};
use crate::model::Index;

const OPERATIONS: [Operation; 7] = [
    Operation::Write,
    Operation::Sync,
    Operation::Allocate,
    Operation::Create,
    Operation::Rename,
    Operation::Remove,
    Operation::SyncDirectory,
];

fn script() -> Vec<Step> {
    let mut script: Vec<_> = (1..=6).map(|index| append(index, index, 1, 900)).collect();
    script.extend([Step::Truncate(Index(4)), append(5, 7, 2, 100), append(8, 8, 2, 1)]);
    script
}

#[test]
fn any_failed_operation_poisons_and_nothing_acknowledged_is_lost() {
    let mut failures = 0;
    for operation in OPERATIONS {
        for after in 0..20 {
            let disk = MemoryDirectory::new();
            disk.fail(operation, after, ErrorKind::Other);
            let story = Story::run(&disk, SMALL, &script());
            let Some(error) = &story.error else { continue };
            failures += 1;
            assert!(matches!(error, WalError::Io { .. }), "{operation:?} {after}: {error}");
            if story.acknowledged.is_none() {
                continue;
            }
            for power_fails in [false, true] {
                let disk = disk.fork();
                disk.heal();
                if power_fails {
                    disk.crash(|_| false);
                }
                let (_, recovered) = Wal::open_with(disk.clone(), SMALL).unwrap();
                let found = story.check(&recovered);
                // What reads as written after a failed sync is written again before anybody relies on it.
                disk.crash(|_| false);
                let found = Model { entries: recovered.entries, ..found };
                found.assert(&Wal::open_with(disk, SMALL).unwrap().1);
            }
        }
    }
    assert!(failures > 40, "only {failures} failures");
}

#[test]
fn a_poisoned_log_takes_nothing_more() {
    let disk = MemoryDirectory::new();
    let mut wal = Wal::create_with(disk.clone(), IDENTITY, SMALL).unwrap();
    disk.fail(Operation::Sync, 0, ErrorKind::Other);
    assert!(matches!(perform(&mut wal, &append(1, 1, 1, 1)), Err(WalError::Io { doing: "syncing", .. })));
    let before = disk.operations();
    assert!(matches!(perform(&mut wal, &append(1, 1, 1, 1)), Err(WalError::Poisoned)));
    assert!(matches!(wal.truncate_front(Index(1)), Err(WalError::Poisoned)));
    assert!(matches!(wal.reserve(), Err(WalError::Poisoned)));
    assert_eq!(disk.operations(), before);
}

#[test]
fn a_full_disk_shows_early_keeps_everything_and_is_left_by_truncation() {
    let disk = MemoryDirectory::new();
    disk.set_capacity(Some(5 * 2048));
    let mut wal = Wal::create_with(disk.clone(), IDENTITY, SMALL).unwrap();
    let mut model = Model::default();
    let mut warned_at = None;
    let error = loop {
        let step = append(model.last().get() + 1, model.last().get() + 1, 1, 300);
        if let Err(error) = perform(&mut wal, &step) {
            break error;
        }
        model.step(&step);
        if !wal.has_reserve() {
            warned_at.get_or_insert(model.last());
        }
    };
    assert!(matches!(error, WalError::Full { .. }), "{error}");
    assert!(warned_at.unwrap() < model.last(), "the warning comes before the end");
    drop(wal);
    disk.crash(|_| false);
    let (mut wal, recovered) = Wal::open_with(disk.clone(), SMALL).unwrap();
    model.assert(&recovered);
    assert!(!wal.has_reserve());
    wal.truncate_front(model.last()).unwrap();
    assert!(wal.reserve().unwrap());
    perform(&mut wal, &append(model.last().get() + 1, model.last().get() + 3, 1, 300)).unwrap();
}

#[test]
fn a_disk_too_small_for_one_segment_is_full_at_creation() {
    let disk = MemoryDirectory::new();
    disk.set_capacity(Some(1000));
    assert!(matches!(Wal::create_with(disk, IDENTITY, SMALL), Err(WalError::Full { .. })));
}
