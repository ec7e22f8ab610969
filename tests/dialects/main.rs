//! Vardr's v2 API beside real etcd: the same random requests to both, and every difference is a failure.
//!
//! A seed is a sequence (`generate.rs`). Both servers play it (`pair.rs`), what they answer is compared (`answer.rs`), what was hit
//! is counted (`coverage.rs`), and a sequence that shows a difference is made small (`shrink.rs`) and printed with both answers and
//! a command line for each of its requests. Planted bugs sit in a faulty proxy before Vardr (`faulty.rs`). Users and roles have a
//! generator and a comparison of their own (`users.rs`): the order of requests is all that there is to them.
//!
//! `DIALECT_REQUESTS` says how many requests, `DIALECT_START` from which seed on. A seed that failed once stands in
//! `regressions/seeds` and runs every time.

#![cfg(test)]

mod answer;
#[path = "../sim/chance.rs"]
#[expect(dead_code, unreachable_pub, reason = "the simulator's, of which only the numbers are used here")]
mod chance;
mod coverage;
mod faulty;
mod generate;
mod pair;
mod programs;
mod request;
mod shrink;
#[path = "../support/mod.rs"]
mod support;
mod users;

use coverage::{HITS, POSSIBLE};
use faulty::{Bug, Faulty};
use pair::{Pair, Played};
use support::bench::{Bench, Tested};
use support::coverage::Coverage;
use support::etcd::{Etcd, free_port};
use support::seeds::{self, number};
use support::volume::not_run;

/// Requests of the longest sequence that a planted bug may be shrunk to.
const SMALL: usize = 3;
/// Requests of a run. So many hit each combination that is possible often enough.
const REQUESTS: u64 = 26_000;
/// Pairs of servers that work side by side.
const LANES: usize = 6;
/// Sequences within which a planted bug has to be found.
const SEQUENCES_PER_BUG: u64 = 300;

/// The origin that both servers let scripts of other sites come from: that etcd allows every one unless told otherwise is an
/// allowed difference. With a port: etcd asks for one.
const ORIGIN: &str = "http://app.example:8080";

/// One of etcd's members.
fn reference() -> Etcd {
    Etcd::with_flags(&["--cors", ORIGIN, "--logger", "zap", "--log-level", "error"])
}

/// Plays one seed; what went wrong, if anything did.
fn must_agree(pair: &Pair, seed: u64) -> (Played, Option<String>) {
    let sequence = generate::sequence(seed);
    let played = pair.play(&sequence);
    let failure = played.difference.is_some().then(|| match shrink::shrink(pair, &sequence) {
        Some((_, smallest)) => report(seed, &smallest),
        None => format!("not shown again when played once more; at first:\n{}", report(seed, &played)),
    });
    (played, failure)
}

/// The sequence as command lines, and both answers to the last.
fn report(seed: u64, played: &Played) -> String {
    let Some(step) = &played.difference else { return String::new() };
    let lines = played.lines.join("\n  ");
    format!(
        "seed {seed}, from index {}:\n  {lines}\n  reference: {}\n  tested:    {}\n\
         again: DIALECT_START={seed} DIALECT_REQUESTS=1 cargo test --test dialects requests_are_answered\n",
        played.base, step.left, step.right
    )
}

/// Plays seeds from `start` on until so many requests are sent, and every difference is a failure.
fn all_must_agree(pairs: &[Pair], start: u64, requests: u64) -> Coverage {
    seeds::all_must_agree(pairs, start, requests, |pair, seed| {
        let (played, failure) = must_agree(pair, seed);
        (coverage::hits(&played.outcomes), failure)
    })
}

/// A member under test.
fn tested() -> Tested {
    // Programs ask a member where it is reached.
    let address = format!("127.0.0.1:{}", free_port());
    Tested::start(&address, &["--cors", ORIGIN, "--advertise-client-urls", &format!("http://{address}")])
}

/// Servers of so many lanes.
fn bench(lanes: usize) -> Bench {
    Bench::start(lanes, reference, tested)
}

#[test]
fn requests_are_answered_as_etcd_answers_them() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let bench = bench(LANES);
    let (start, requests) = (number("DIALECT_START", 1), number("DIALECT_REQUESTS", REQUESTS));
    let coverage = all_must_agree(&bench.pairs(Pair::new), start, requests);
    let (missed, unlisted) = (coverage.missed(POSSIBLE, HITS), coverage.unlisted(POSSIBLE));
    // A few requests, as when a seed is played again, cannot hit everything.
    if requests >= REQUESTS {
        assert!(missed.is_empty(), "possible, and hit less than {HITS} times:\n{}", missed.join("\n"));
    }
    let unlisted = unlisted.join("\n");
    println!(
        "hit, and not in the file `possible` (UPDATE_GOLDEN=1 cargo test --test dialects etcd_agrees adds it):\n{unlisted}"
    );
    // New seeds may come upon something new.
    assert!(unlisted.is_empty() || start != 1, "the file `possible` lacks:\n{unlisted}");
}

#[test]
fn seeds_that_failed_once_agree() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let bench = bench(1);
    let seeds = seeds::listed(include_str!("regressions/seeds"));
    let failures: Vec<_> =
        seeds.into_iter().filter_map(|seed| must_agree(&bench.pairs(Pair::new)[0], seed).1).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn planted_bugs_are_found_and_made_small() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let bench = bench(1);
    let sound = &bench.pairs(Pair::new)[0];
    for bug in Bug::ALL {
        let faulty = Faulty::start(bug, &sound.right);
        let pair = Pair::new(&sound.left, faulty.address());
        let found = (1..=SEQUENCES_PER_BUG).find(|seed| pair.play(&generate::sequence(*seed)).difference.is_some());
        let seed = found.unwrap_or_else(|| panic!("{bug:?} is not found in {SEQUENCES_PER_BUG} sequences"));
        let (smallest, played) = shrink::shrink(&pair, &generate::sequence(seed)).expect("it shows again");
        println!("{bug:?}: {}", report(seed, &played));
        assert!(smallest.len() <= SMALL, "{bug:?} is shown by {} requests at best", smallest.len());
        assert!(sound.play(&smallest).difference.is_none(), "{bug:?} is not what was found");
    }
}

/// The comparison allows nothing that etcd itself would not need, and what it shows is the same every time.
#[test]
fn etcd_agrees_with_itself() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let members: Vec<_> = (0..2 * LANES).map(|_| reference()).collect();
    let pairs: Vec<_> = members.chunks(2).map(|two| Pair::new(&two[0].address(), &two[1].address())).collect();
    let requests = number("DIALECT_REQUESTS", 2_000);
    let coverage = all_must_agree(&pairs, number("DIALECT_START", 1), requests);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialects/possible");
        std::fs::write(path, coverage.lines(POSSIBLE, 1)).unwrap();
    }
}
