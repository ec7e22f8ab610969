//! The simulator: whole clusters in one process under one seed.
//!
//! The real replicas, logs, state machines and watch hubs of one, three or five members run in a world (`world.rs`) that
//! plays clocks, disks, network, clients and operators from one heap of events. Faults come for a while (`faults.rs`), then
//! they end and the cluster has to show progress. Checkers hold every step against the truth (`truth.rs`): one log, run
//! once by a naive model (`model.rs`). A seed is a run: the same one gives the same trace, always.
//!
//! `member.rs`, `forwarding.rs`, `snapshots.rs` and `applier.rs` play the parts of `node` that are threads, queues and
//! sockets in production, by the same rules.
//!
//! `make sim SEEDS=500 START=1000` runs seeds 1000 to 1499; `SIM_TRACE=1` prints what happens. A seed that failed once
//! stands in `regressions/seeds` and runs every time.

#![cfg(test)]
#![expect(unreachable_pub, reason = "nobody uses a test; pub says that other files of it do")]

mod applier;
mod chance;
mod clients;
mod disk;
mod draws;
mod engine;
mod faults;
mod forwarding;
mod leases;
mod life;
mod member;
mod model;
mod network;
mod operator;
mod report;
mod snapshots;
mod truth;
mod users;
mod watchers;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use chance::Trace;
use faults::Bug;
use report::Report;
use world::{Violation, World};

/// What seeds are shared out among.
const THREADS: usize = 2;
/// How many seeds are run twice.
const TRACED: u64 = 50;
/// How many seeds a planted bug may take to be found.
const SEEDS_PER_BUG: u64 = 500;

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

/// Runs one seed; what went wrong, if anything did.
fn must_hold(seed: u64) -> (Report, Option<String>) {
    println!("seed {seed}");
    let (result, report, _) = run(seed, None);
    let failure = result.err().map(|Violation(text)| {
        format!(
            "seed {seed} {text}\nagain: SIM_TRACE=1 SIM_START={seed} SIM_SEEDS=1 cargo test --release --test sim seeds_hold"
        )
    });
    (report, failure)
}

/// Runs seeds, shared out among threads, to the end even where some fail.
fn all_must_hold(seeds: impl Iterator<Item = u64>) {
    let seeds: Vec<u64> = seeds.collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut total, mut failures) = (Report::default(), Vec::new());
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (report, failure) = must_hold(*seed);
            total.add(&report);
            failures.extend(failure);
        }
        (total, failures)
    };
    let (mut total, mut failures) = (Report::default(), Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (report, failed) = worker.join().unwrap();
            total.add(&report);
            failures.extend(failed);
        }
    });
    println!("{total}\nviolations: {}", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn seeds_hold() {
    let (start, seeds) = (number("SIM_START", 1), number("SIM_SEEDS", 100));
    all_must_hold(start..start + seeds);
}

#[test]
fn seeds_that_failed_once_hold() {
    let lines = include_str!("regressions/seeds").lines().filter(|line| !line.starts_with('#'));
    all_must_hold(lines.map(|line| line.split_whitespace().next().unwrap().parse().unwrap()));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let traces: Vec<Trace> = (1..=TRACED).map(|seed| run(seed, None).2).collect();
    for (seed, trace) in (1..).zip(&traces) {
        assert_eq!(run(seed, None).2, *trace, "seed {seed} ran differently the second time");
    }
    assert!(traces.windows(2).all(|pair| pair[0] != pair[1]), "seeds differ, traces do not");
}

/// The planted bugs to look for: all, or the one that is named.
fn bugs() -> impl Iterator<Item = Bug> {
    let named = std::env::var("SIM_BUG").ok();
    Bug::ALL.into_iter().filter(move |bug| named.as_ref().is_none_or(|named| *named == format!("{bug:?}")))
}

#[test]
fn planted_bugs_are_found() {
    let mut missed = Vec::new();
    for bug in bugs() {
        match (1..=SEEDS_PER_BUG).find_map(|seed| run(seed, Some(bug)).0.err().map(|violation| (seed, violation))) {
            Some((seed, Violation(text))) => {
                println!("{bug:?}: seed {seed} {}", text.chars().take(200).collect::<String>());
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS_PER_BUG} seeds: {missed:?}");
}
