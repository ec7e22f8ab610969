//! Makes a sequence on which two servers disagree as small as it gets: fewer steps, then simpler ones.

/// How many sequences are played for it at most.
pub(crate) const TRIES: usize = 400;

/// The smallest sequence found that still shows a difference, and how it was played last; `None` when the sequence does not show
/// one any more. `play` gives nothing where the servers agree, `simpler` the steps that are simpler than one by one thing.
pub(crate) fn shrink<S: Clone, P>(
    sequence: &[S],
    play: impl Fn(&[S]) -> Option<P>,
    simpler: impl Fn(&S) -> Vec<S>,
) -> Option<(Vec<S>, P)> {
    let mut smallest = (sequence.to_vec(), play(sequence)?);
    let mut tries = 1;
    'again: loop {
        for candidate in candidates(&smallest.0, &simpler).into_iter().take(TRIES - tries) {
            tries += 1;
            if let Some(played) = play(&candidate) {
                smallest = (candidate, played);
                continue 'again;
            }
        }
        return Some(smallest);
    }
}

/// Sequences that are simpler by one thing; those that are simpler by more come first.
fn candidates<S: Clone>(sequence: &[S], simpler: impl Fn(&S) -> Vec<S>) -> Vec<Vec<S>> {
    let mut candidates = Vec::new();
    let mut size = sequence.len() / 2;
    while size > 0 {
        for start in (0..sequence.len()).step_by(size) {
            let end = (start + size).min(sequence.len());
            candidates.push([&sequence[..start], &sequence[end..]].concat());
        }
        size /= 2;
    }
    for (at, step) in sequence.iter().enumerate() {
        for changed in simpler(step) {
            let mut candidate = sequence.to_vec();
            candidate[at] = changed;
            candidates.push(candidate);
        }
    }
    candidates
}
