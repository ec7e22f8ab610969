//! The simulator: one member, whole, in one process under one seed.
//!
//! The real replica, log, state machine and watch hub run in a world (`world.rs`) that plays clock, disk, clients and
//! operator from one heap of events. Checkers hold every step against a naive model (`model.rs`). A seed is a run: the
//! same one gives the same trace, always.
//!
//! `make sim SEEDS=500 START=1000` runs seeds 1000 to 1499; `SIM_TRACE=1` prints what happens. A seed that failed once
//! stands in `regressions/seeds` and runs every time.

#![cfg(test)]
#![expect(unreachable_pub, reason = "nobody uses a test; pub says that other files of it do")]

mod applier;
mod chance;
mod clients;
mod disk;
mod engine;
mod faults;
mod leases;
mod life;
mod member;
mod model;
mod report;
mod watchers;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use chance::Trace;
use faults::Bug;
use report::Report;
use world::{Violation, World};

/// How many seeds a planted bug may take to be found.
const SEEDS_PER_BUG: u64 = 200;

/// Runs one seed. What the code under test panics with is a violation too.
fn run(seed: u64, bug: Option<Bug>) -> (Result<(), Violation>, Report, Trace) {
    let mut world = World::new(seed, bug);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Violation(format!("panic: {}", text.unwrap_or_default())))
    });
    (result.map_err(|Violation(text)| Violation(format!("at {} µs: {text}", world.now))), world.report, world.trace)
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        _ => default,
    }
}

fn must_hold(seed: u64) -> Report {
    println!("seed {seed}");
    let (result, report, _) = run(seed, None);
    if let Err(Violation(text)) = result {
        panic!(
            "seed {seed} {text}\nagain: SIM_TRACE=1 SIM_START={seed} SIM_SEEDS=1 cargo test --release --test sim seeds"
        );
    }
    report
}

#[test]
fn seeds_hold() {
    let (start, seeds) = (number("SIM_START", 1), number("SIM_SEEDS", 100));
    let mut total = Report::default();
    for seed in start..start + seeds {
        total.add(&must_hold(seed));
    }
    println!("{total}");
}

#[test]
fn seeds_that_failed_once_hold() {
    for line in include_str!("regressions/seeds").lines().filter(|line| !line.starts_with('#')) {
        must_hold(line.split_whitespace().next().unwrap().parse().unwrap());
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let traces: Vec<Trace> = (1..=5).map(|seed| run(seed, None).2).collect();
    for (seed, trace) in (1..).zip(&traces) {
        assert_eq!(run(seed, None).2, *trace, "seed {seed} ran differently the second time");
    }
    assert!(traces.windows(2).all(|pair| pair[0] != pair[1]), "seeds differ, traces do not");
}

#[test]
fn planted_bugs_are_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        match (1..=SEEDS_PER_BUG).find_map(|seed| run(seed, Some(bug)).0.err().map(|violation| (seed, violation))) {
            Some((seed, Violation(text))) => println!("{bug:?}: seed {seed} {}", &text[..text.len().min(200)]),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS_PER_BUG} seeds: {missed:?}");
}
