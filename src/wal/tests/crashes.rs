//! Every moment of a crash, and every choice of what it leaves.

use super::super::memory::{MemoryDirectory, Unsynced};
use super::super::{Batch, Wal, WalError};
use super::{Model, SMALL, Step, Story, append, entry, hard_state, install, read, sealed};
use crate::model::Index;

/// Up to this many unsynced changes, every subset is tried; of more, a sample.
const EXHAUSTIVE: usize = 9;

/// The subsets of so many things, as masks.
fn subsets(count: usize) -> Vec<u64> {
    if count <= EXHAUSTIVE {
        return (0..1 << count).collect();
    }
    let all = u64::MAX >> (64 - count.min(64));
    let single = (0..count).map(|place| 1 << place);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let sample = (0..200).map(|_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random & all
    });
    [0, all].into_iter().chain(single.clone()).chain(single.map(|bit| all & !bit)).chain(sample).collect()
}

fn crash(disk: &MemoryDirectory, mask: u64) {
    let mut place = 0;
    disk.crash(|_: &Unsynced| {
        place += 1;
        mask >> (place - 1) & 1 == 1
    });
}

/// Opens after a crash and holds the log against its story. `None` where there rightly is no log. Whoever only reads it
/// has read the same.
fn reopen(disk: &MemoryDirectory, story: &Story) -> Option<(Wal<MemoryDirectory>, Model)> {
    let read = read(disk);
    match Wal::open_with(disk.clone(), SMALL) {
        Ok((wal, recovered)) => {
            assert_eq!(read.unwrap(), recovered);
            let model = story.check(&recovered);
            Some((wal, Model { entries: recovered.entries, ..model }))
        }
        Err(WalError::Absent) if story.acknowledged.is_none() => {
            assert!(matches!(read, Err(WalError::Absent)), "{read:?}");
            None
        }
        Err(error) => panic!("{error}\n{story:?}"),
    }
}

/// The log goes on after a crash: what is appended now is there after the next, whatever the last one left behind.
fn goes_on(disk: &MemoryDirectory, wal: Wal<MemoryDirectory>, model: Model) {
    let next = model.last().get() + 1;
    let more = [append(next, next, 50, 1), Step::Seal, append(next + 1, next + 1, 50, 600), Step::Seal];
    let story = Story::go_on(wal, model, &more);
    assert!(story.error.is_none(), "{story:?}");
    crash(disk, 0);
    let (_, recovered) = Wal::open_with(disk.clone(), SMALL).unwrap();
    story.attempted.assert(&recovered);
    assert_eq!(recovered.cut_off, None);
}

/// Crashes before each operation of a script, with each subset of what was not synced.
fn enumerate(script: &[Step]) -> usize {
    let mut cases = 0;
    for stop in 0.. {
        let disk = MemoryDirectory::new();
        disk.stop_after(stop);
        let story = Story::run(&disk, SMALL, script);
        for mask in subsets(disk.unsynced().len()) {
            let disk = disk.fork();
            crash(&disk, mask);
            cases += 1;
            if let Some((wal, model)) = reopen(&disk, &story) {
                goes_on(&disk, wal, model);
            }
        }
        if story.error.is_none() {
            return cases;
        }
    }
    unreachable!("a script ends")
}

fn scripts() -> Vec<Vec<Step>> {
    let vote = |term| Step::Append { snapshot: None, entries: Vec::new(), hard_state: Some(hard_state(term, 0)) };
    let scripts = vec![
        vec![vote(1), append(1, 1, 1, 10), append(2, 2, 1, 1200), append(2, 3, 2, 10), append(4, 4, 2, 700)],
        vec![append(1, 1, 1, 1), append(2, 2, 1, 3000), append(2, 2, 2, 3500)],
        vec![append(1, 4, 1, 900), append(3, 3, 2, 1), append(4, 6, 2, 1), Step::Truncate(Index(4))],
        vec![append(1, 1, 1, 900), append(2, 2, 1, 900), append(3, 3, 1, 900), Step::Truncate(Index(3)), vote(4)],
        vec![
            append(1, 2, 1, 600),
            install(50, vec![entry(51, 9, 10)]),
            Step::Truncate(Index(51)),
            append(52, 52, 9, 1),
        ],
    ];
    scripts.iter().map(|script| sealed(script)).chain(scripts.clone()).collect()
}

#[test]
fn every_crash_leaves_what_was_acknowledged() {
    let cases: usize = scripts().iter().map(|script| enumerate(script)).sum();
    assert!(cases > 1500, "only {cases} cases");
}

#[test]
fn what_an_open_returns_is_durable_even_if_it_was_never_synced() {
    for script in scripts() {
        for stop in 0..60 {
            let disk = MemoryDirectory::new();
            disk.stop_after(stop);
            let story = Story::run(&disk, SMALL, &script);
            // The process dies and the power stays: the next start sees everything that was written.
            disk.heal();
            let Some((_, first)) = reopen(&disk, &story) else { continue };
            crash(&disk, 0);
            let (_, recovered) = Wal::open_with(disk, SMALL).unwrap();
            first.assert(&recovered);
        }
    }
}

#[test]
fn a_crash_while_a_crash_is_repaired_loses_nothing_either() {
    let script = [append(1, 1, 1, 10), append(2, 2, 1, 10), append(3, 3, 1, 1000)];
    for stop in 0..30 {
        let disk = MemoryDirectory::new();
        disk.stop_after(stop);
        let story = Story::run(&disk, SMALL, &script);
        for mask in subsets(disk.unsynced().len()) {
            let disk = disk.fork();
            crash(&disk, mask);
            for second in 0..8 {
                let disk = disk.fork();
                disk.stop_after(second);
                let _ = Wal::open_with(disk.clone(), SMALL);
                for mask in subsets(disk.unsynced().len().min(6)) {
                    let disk = disk.fork();
                    crash(&disk, mask);
                    reopen(&disk, &story);
                }
            }
        }
    }
}

#[test]
fn the_remains_of_a_cut_off_batch_never_come_back() {
    let disk = MemoryDirectory::new();
    let wide = super::Options { segment_bytes: 64 * 1024, expected: None };
    let mut wal = Wal::create_with(disk.clone(), super::IDENTITY, wide).unwrap();
    wal.append(&Batch { entries: &[entry(1, 1, 10)], ..Batch::default() }).unwrap();
    disk.stop_after(1);
    wal.append(&Batch { entries: &[entry(2, 1, 20_000)], ..Batch::default() }).unwrap_err();
    let written: Vec<_> =
        disk.unsynced().into_iter().filter(|change| matches!(change, Unsynced::Sector { .. })).collect();
    assert!(written.len() >= 40);
    for lost in &written {
        let disk = disk.fork();
        disk.crash(|change| change != lost);
        let (mut wal, recovered) = Wal::open_with(disk.clone(), wide).unwrap();
        assert_eq!((recovered.entries.len(), recovered.cut_off), (1, Some(2)));
        wal.append(&Batch { entries: &[entry(2, 5, 1)], ..Batch::default() }).unwrap();
        let content = disk.content("0000000000000001.wal").unwrap();
        assert!(content[3 * 512..].iter().all(|byte| *byte == 0), "remains behind the new batch");
        crash(&disk, 0);
        let (_, recovered) = Wal::open_with(disk, wide).unwrap();
        assert_eq!((recovered.entries.last(), recovered.cut_off), (Some(&entry(2, 5, 1)), None));
    }
}
