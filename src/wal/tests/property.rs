//! Random scripts on a disk that fails at random, life after life, against the model.

use std::io::ErrorKind;

use proptest::prelude::*;

use super::super::memory::{MemoryDirectory, Operation};
use super::super::{Wal, WalError};
use super::{IDENTITY, Model, SMALL, Step, Story, entry, hard_state, install};
use crate::model::Index;

/// A step relative to the log as it is when the step is taken.
#[derive(Debug, Clone)]
enum Move {
    Append { back: u64, count: u64, size: usize, with_state: bool },
    Vote,
    Install { ahead: u64, entries: u64 },
    Truncate { back: u64 },
}

#[derive(Debug, Clone)]
struct Life {
    moves: Vec<Move>,
    stop_after: Option<usize>,
    failure: Option<(Operation, usize)>,
    /// Which unsynced changes the crash keeps; `None` when the process dies and the power stays.
    survivors: Option<u64>,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (0..3u64, 1..4u64, 0..900usize, any::<bool>())
            .prop_map(|(back, count, size, with_state)| Move::Append { back, count, size, with_state }),
        1 => Just(Move::Vote),
        1 => (1..20u64, 0..3u64).prop_map(|(ahead, entries)| Move::Install { ahead, entries }),
        2 => (0..4u64).prop_map(|back| Move::Truncate { back }),
    ]
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let operation = prop_oneof![
        Just(Operation::Write),
        Just(Operation::Sync),
        Just(Operation::Rename),
        Just(Operation::Remove),
        Just(Operation::SyncDirectory)
    ];
    let life = (
        prop::collection::vec(moves(), 0..14),
        prop::option::of(0..60usize),
        prop::option::weighted(0.3, (operation, 0..12usize)),
        prop::option::weighted(0.8, any::<u64>()),
    );
    let life = life.prop_map(|(moves, stop_after, failure, survivors)| Life { moves, stop_after, failure, survivors });
    prop::collection::vec(life, 1..6)
}

/// The steps that the moves come to, on a log as `model` says. What was removed from the front is never replaced:
/// it is applied.
fn script(model: &Model, moves: &[Move], term: u64) -> Vec<Step> {
    let mut model = model.clone();
    let mut steps = Vec::new();
    for one in moves {
        let last = model.last().get();
        let floor = model.snapshot.as_ref().map_or(0, |mark| mark.index.get()).max(model.kept.get());
        let step = match *one {
            Move::Append { back, count, size, with_state } => {
                let first = (last + 1).saturating_sub(back).max(floor + 1);
                let entries = (first..first + count).map(|index| entry(index, term, size)).collect();
                Step::Append { snapshot: None, entries, hard_state: with_state.then(|| hard_state(term, floor)) }
            }
            Move::Vote => Step::Append { snapshot: None, entries: Vec::new(), hard_state: Some(hard_state(term, 0)) },
            Move::Install { ahead, entries } => {
                let index = last + ahead;
                install(index, (index + 1..=index + entries).map(|index| entry(index, term, 40)).collect())
            }
            Move::Truncate { back } => Step::Truncate(Index(last.saturating_sub(back))),
        };
        model.step(&step);
        steps.push(step);
    }
    steps
}

fn live(disk: &MemoryDirectory, life: &Life, before: &Story, term: u64) -> Story {
    if let Some(stop) = life.stop_after {
        disk.stop_after(stop);
    }
    if let Some((operation, after)) = life.failure {
        disk.fail(operation, after, ErrorKind::Other);
    }
    let opened = match Wal::open_with(disk.clone(), SMALL) {
        Ok((wal, recovered)) => {
            let found = before.check(&recovered);
            Ok((wal, Model { entries: recovered.entries, ..found }))
        }
        Err(WalError::Absent) if before.acknowledged.is_none() => {
            Wal::create_with(disk.clone(), IDENTITY, SMALL).map(|wal| (wal, Model::default()))
        }
        Err(error) => Err(error),
    };
    let story = match opened {
        Ok((wal, model)) => {
            let steps = script(&model, &life.moves, term);
            Story::go_on(wal, model, &steps)
        }
        // Nothing has changed: what held before this life still does.
        Err(error) => {
            assert!(matches!(error, WalError::Io { .. }), "{error}");
            Story { acknowledged: before.acknowledged.clone(), attempted: before.attempted.clone(), error: Some(error) }
        }
    };
    disk.heal();
    if let Some(mut survivors) = life.survivors {
        disk.crash(|_| {
            survivors = survivors.rotate_left(1);
            survivors & 1 == 1
        });
    }
    story
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_life_of_a_log_forgets_what_an_earlier_one_acknowledged(lives in lives()) {
        let disk = MemoryDirectory::new();
        let mut story = Story { acknowledged: None, attempted: Model::default(), error: None };
        for (term, life) in (1..).zip(&lives) {
            story = live(&disk, life, &story, term);
        }
        match Wal::open_with(disk, SMALL) {
            Ok((_, recovered)) => {
                story.check(&recovered);
            }
            Err(WalError::Absent) => prop_assert!(story.acknowledged.is_none()),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
