//! Makes a sequence on which the servers disagree as small as it gets: fewer requests, then fewer parameters, then plainer ones.

use crate::pair::{Pair, Played};
use crate::request::{Form, Request};

/// How many sequences are played for it at most.
const TRIES: usize = 400;

/// The smallest sequence found that still shows a difference, as it was played last; `None` when the sequence does not show one
/// any more.
pub(crate) fn shrink(pair: &Pair, sequence: &[Request]) -> Option<(Vec<Request>, Played)> {
    let played = pair.play(sequence);
    played.difference.as_ref()?;
    let mut smallest = (sequence.to_vec(), played);
    let mut tries = 0;
    'again: while tries < TRIES {
        for candidate in candidates(&smallest.0) {
            tries += 1;
            let played = pair.play(&candidate);
            if played.difference.is_some() {
                smallest = (candidate, played);
                continue 'again;
            }
        }
        break;
    }
    Some(smallest)
}

/// Sequences that are simpler by one thing; those that are simpler by more come first.
fn candidates(sequence: &[Request]) -> Vec<Vec<Request>> {
    let mut candidates = Vec::new();
    let mut size = sequence.len() / 2;
    while size > 0 {
        for start in (0..sequence.len()).step_by(size) {
            let end = (start + size).min(sequence.len());
            candidates.push([&sequence[..start], &sequence[end..]].concat());
        }
        size /= 2;
    }
    for (at, request) in sequence.iter().enumerate() {
        let with = |changed: Request| {
            let mut candidate = sequence.to_vec();
            candidate[at] = changed;
            candidate
        };
        for param in 0..request.params.len() {
            let mut changed = request.clone();
            changed.params.remove(param);
            candidates.push(with(changed));
        }
        if request.form != Form::Urlencoded {
            candidates.push(with(Request { form: Form::Urlencoded, ..request.clone() }));
        }
        if request.origin.is_some() {
            candidates.push(with(Request { origin: None, ..request.clone() }));
        }
    }
    candidates
}
