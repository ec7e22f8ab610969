//! Runs of sequences from seeds, shared out among pairs of servers that work side by side.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::coverage::{Coverage, Hit};

/// Differences after which a run stops looking for more.
pub(crate) const ENOUGH: u64 = 8;
/// In how many parts a run says how far it is.
const PARTS: u64 = 20;

/// A number of the environment's, or this one.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        _ => default,
    }
}

/// The seeds of a file, each at the beginning of a line; `#` begins a comment.
pub(crate) fn listed(text: &str) -> Vec<u64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

/// Plays seeds from `start` on until so many requests are sent or there are enough differences, any of which is a failure.
/// `play` says what was hit and what went wrong.
pub(crate) fn all_must_agree<P: Sync>(
    pairs: &[P],
    start: u64,
    requests: u64,
    play: impl Fn(&P, u64) -> (Vec<Hit>, Option<String>) + Sync,
) -> Coverage {
    let (next, sent, differences) = (AtomicU64::new(start), AtomicU64::new(0), AtomicU64::new(0));
    let work = |pair: &P| {
        let (mut coverage, mut failures) = (Coverage::default(), Vec::new());
        while sent.load(Ordering::Relaxed) < requests && differences.load(Ordering::Relaxed) < ENOUGH {
            let (hits, failure) = play(pair, next.fetch_add(1, Ordering::Relaxed));
            let before = sent.fetch_add(hits.len() as u64, Ordering::Relaxed);
            differences.fetch_add(u64::from(failure.is_some()), Ordering::Relaxed);
            let now = before + hits.len() as u64;
            if now * PARTS / requests > before * PARTS / requests {
                println!("{now} of {requests} sent, differences: {}", differences.load(Ordering::Relaxed));
            }
            coverage.add(&hits);
            failures.extend(failure);
        }
        (coverage, failures)
    };
    let (mut total, mut failures) = (Coverage::default(), Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = pairs.iter().map(|pair| scope.spawn(|| work(pair))).collect();
        for worker in workers {
            let (coverage, failed) = worker.join().unwrap();
            total.merge(coverage);
            failures.extend(failed);
        }
    });
    println!("{total}\ndifferences: {}", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    total
}
