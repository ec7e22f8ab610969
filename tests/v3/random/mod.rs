//! Random sequences of etcd's v3 API to real etcd and to Vardr, over gRPC, in JSON and over WebSocket, with streams of watches and
//! leases: the same to both, and every difference is a failure. What `tests/dialects` is to v2.
//!
//! A seed is a sequence (`generate.rs`) of steps (`step.rs`, `call.rs`), the fields of whose requests are described once (`fields.rs`)
//! for all that is done with them (`visitors.rs`, `spell.rs`); one kind of step has somebody wait for another (`turn.rs`). Both servers play it (`pair.rs`), what they answer is compared (`send.rs`),
//! and so is what watches are told (`streams.rs`). What was hit is counted, and a sequence that shows a difference is made small and
//! printed. Planted bugs bend what Vardr is asked or says (`bugs.rs`).
//!
//! The oracle is etcd 3.4, and in a shorter run 3.6 (`oracle.rs`).
//!
//! `V3_CALLS` says how many calls, `V3_START` from which seed on, `V3_LATER_CALLS` and `V3_LATER_START` the same beside 3.6. A sequence that showed a difference once is kept in
//! `regressions`, as it was printed, and played every time.

mod bugs;
mod call;
mod fields;
mod generate;
mod oracle;
mod pair;
mod send;
mod spell;
mod step;
mod streams;
mod turn;
mod visitors;

use std::time::Duration;

use crate::support::bench::{Bench, Tested};
use crate::support::coverage::Hit;
use crate::support::etcd::{Etcd, Release};
use crate::support::seeds::{self, number};
use crate::support::shrink;
use crate::support::volume::not_run;
use crate::told::Reading;
use bugs::Bug;
use pair::{Pair, Played};
use step::Step;

/// How long an answer may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);
/// The same while a sequence that shows a difference is made smaller, which may well be one that no answer comes.
const SHORT_LIMIT: Duration = Duration::from_secs(1);
/// How often a sequence is made smaller until what is left shows a difference with [`LIMIT`], too.
const SHRINKS: usize = 2;
/// The first seed of a run.
const START: u64 = 1;
/// Calls of a run.
const CALLS: u64 = 10_000;
/// The same beside the later etcd.
const LATER_CALLS: u64 = 2_000;
/// Pairs of servers that work side by side.
const LANES: usize = 4;
/// The same beside the later etcd.
const LATER_LANES: usize = 2;
/// Steps of the longest sequence that a planted bug may be shrunk to.
const SMALL: usize = 6;
/// What etcd has shown to be possible, each of which a run has to hit.
const POSSIBLE: &str = include_str!("possible");
/// How often at least.
const HITS: u64 = 1;
/// How many sequences hit a combination in the run that makes it one that has to be hit: where a run ends is a matter of its lanes.
const LISTED: u64 = 3;

/// Servers of so many lanes.
fn bench(release: Release, lanes: usize) -> Bench {
    Bench::start(lanes, || oracle::start(release), || Tested::start("127.0.0.1:0", &[]))
}

/// The pairs of a bench.
fn pairs(bench: &Bench, release: Release) -> Vec<Pair> {
    bench.pairs(|left, right| Pair::new(release, left, right, oracle::readings(release)))
}

/// The smallest sequence found that shows a difference where this one does, and still shows it where there is time to answer: while it
/// is made smaller, an answer that is late may be taken for one.
fn smallest(pair: &Pair, sequence: &[Step]) -> Option<(Vec<Step>, Played)> {
    let play = |steps: &[Step], limit| Some(pair.play(steps, limit)).filter(|played| played.difference.is_some());
    (0..SHRINKS).find_map(|_| {
        let (smallest, _) = shrink::shrink(sequence, |steps| play(steps, SHORT_LIMIT), Step::simpler)?;
        let played = play(&smallest, LIMIT)?;
        Some((smallest, played))
    })
}

/// Plays one seed: what was hit, and what went wrong, if anything did.
fn must_agree(pair: &Pair, seed: u64) -> (Vec<Hit>, Option<String>) {
    let sequence = generate::sequence(seed);
    let played = pair.play(&sequence, LIMIT);
    let failure = played.difference.is_some().then(|| match smallest(pair, &sequence) {
        Some((_, smallest)) => report(pair.release, seed, &smallest),
        None => format!("not shown again by what was made of it; at first:\n{}", report(pair.release, seed, &played)),
    });
    (played.hits, failure)
}

/// The sequence as it goes into `regressions`, and what both said at its end.
fn report(release: Release, seed: u64, played: &Played) -> String {
    let Some([left, right]) = &played.difference else { return String::new() };
    let lines = played.lines.join("\n");
    format!(
        "# Seed {seed}, from revision {}\n{lines}\n  reference: {left}\n  tested:    {right}\n\
         again: {}\n",
        played.base,
        oracle::again(release, seed)
    )
}

/// The sequences of `regressions`: steps a line, an empty line between two, `#` before what is said of one.
fn regressions() -> Vec<Vec<Step>> {
    let steps = |part: &str| {
        let lines = part.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.map(Step::read).collect::<Vec<_>>()
    };
    include_str!("regressions").split("\n\n").map(steps).filter(|steps| !steps.is_empty()).collect()
}

#[test]
fn sequences_are_answered_as_etcd_answers_them() {
    if let Some(hindrance) = Etcd::hindrance() {
        return not_run(hindrance);
    }
    let bench = bench(Release::Debian, LANES);
    let (start, calls) = (number("V3_START", START), number("V3_CALLS", CALLS));
    let coverage = seeds::all_must_agree(&pairs(&bench, Release::Debian), start, calls, must_agree);
    println!("combinations hit: {}", coverage.cells());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        assert_eq!((start, calls), (START, CALLS), "what has to be hit is what a run from the first seed on hits");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/v3/random/possible");
        return std::fs::write(path, coverage.lines("", LISTED)).unwrap();
    }
    // A few calls, as when a seed is played again, cannot hit everything.
    if calls >= CALLS {
        let missed = coverage.missed(POSSIBLE, HITS).join("\n");
        assert!(missed.is_empty() || start != START, "possible, and never hit:\n{missed}");
        println!("hit, and not in the file `possible`:\n{}", coverage.unlisted(POSSIBLE).join("\n"));
    }
}

/// The same beside 3.6, whose other ways of saying things `oracle.rs` knows.
#[test]
fn sequences_are_answered_as_a_later_etcd_answers_them() {
    if let Some(hindrance) = Release::Later.hindrance() {
        return not_run(hindrance);
    }
    let bench = bench(Release::Later, LATER_LANES);
    let (start, calls) = (number("V3_LATER_START", START), number("V3_LATER_CALLS", LATER_CALLS));
    seeds::all_must_agree(&pairs(&bench, Release::Later), start, calls, must_agree);
}

#[test]
fn sequences_that_differed_once_agree() {
    if let Some(hindrance) = Etcd::hindrance() {
        return not_run(hindrance);
    }
    let bench = bench(Release::Debian, 1);
    let pair = &pairs(&bench, Release::Debian)[0];
    let failures: Vec<_> =
        regressions().iter().map(|steps| report(pair.release, 0, &pair.play(steps, LIMIT))).collect();
    assert!(failures.iter().all(String::is_empty), "{}", failures.join("\n"));
}

#[test]
fn planted_bugs_are_found_and_made_small() {
    if let Some(hindrance) = Etcd::hindrance() {
        return not_run(hindrance);
    }
    let bench = bench(Release::Debian, 1);
    let pair = &mut pairs(&bench, Release::Debian)[0];
    for bug in Bug::ALL {
        pair.plant(Some(bug));
        let mut calls = 0;
        let mut seeds = 1..;
        let (seed, sequence) = loop {
            let sequence = seeds.next().map(|seed| (seed, generate::sequence(seed))).unwrap();
            let played = pair.play(&sequence.1, LIMIT);
            calls += played.hits.len() as u64;
            if played.difference.is_some() {
                break sequence;
            }
            assert!(calls < CALLS, "{bug:?} is not found in {CALLS} calls");
        };
        let (smallest, played) = smallest(pair, &sequence).expect("it shows again");
        println!("{bug:?}, after {calls} calls: {}", report(pair.release, seed, &played));
        assert!(smallest.len() <= SMALL, "{bug:?} is shown by {} steps at best", smallest.len());
        pair.plant(None);
        assert!(pair.play(&smallest, LIMIT).difference.is_none(), "{bug:?} is not what was found");
    }
}

/// The comparison allows nothing that etcd itself would need, and what it shows is the same every time.
#[test]
fn etcd_agrees_with_itself() {
    if let Some(hindrance) = Etcd::hindrance() {
        return not_run(hindrance);
    }
    let members = [(); 2].map(|()| oracle::start(Release::Debian));
    let pair = Pair::new(Release::Debian, &members[0].address(), &members[1].address(), [Reading::Debian; 2]);
    seeds::all_must_agree(&[pair], number("V3_START", START), number("V3_CALLS", 1_000), must_agree);
}
