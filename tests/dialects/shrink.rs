//! What is simpler than a request by one thing: fewer parameters, then plainer ones.

use crate::pair::{Pair, Played};
use crate::request::{Form, Request};
use crate::support;

/// The smallest sequence found that still shows a difference, as it was played last; `None` when the sequence does not show one
/// any more.
pub(crate) fn shrink(pair: &Pair, sequence: &[Request]) -> Option<(Vec<Request>, Played)> {
    let play = |requests: &[Request]| Some(pair.play(requests)).filter(|played| played.difference.is_some());
    support::shrink::shrink(sequence, play, simpler)
}

fn simpler(request: &Request) -> Vec<Request> {
    let without = |param: usize| {
        let mut changed = request.clone();
        changed.params.remove(param);
        changed
    };
    let mut simpler: Vec<_> = (0..request.params.len()).map(without).collect();
    if request.form != Form::Urlencoded {
        simpler.push(Request { form: Form::Urlencoded, ..request.clone() });
    }
    if request.origin.is_some() {
        simpler.push(Request { origin: None, ..request.clone() });
    }
    simpler
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use crate::support::shrink::{TRIES, shrink};

    #[test]
    fn what_shows_the_difference_stays_and_all_else_goes() {
        let sequence: Vec<u32> = (0..40).collect();
        let play = |steps: &[u32]| (steps.iter().sum::<u32>() >= 50).then_some(steps.len());
        let simpler = |step: &u32| step.checked_sub(1).into_iter().collect();
        let (smallest, played) = shrink(&sequence, play, simpler).unwrap();
        assert_eq!((smallest.iter().sum::<u32>(), smallest.len()), (50, played));
        assert!(played <= 2, "{smallest:?}");
        assert!(shrink(&[1, 2], play, simpler).is_none());
    }

    #[test]
    fn no_more_is_played_than_there_are_tries_where_nothing_can_go() {
        let sequence = [100_usize; 40];
        let played = Cell::new(0);
        let play = |steps: &[usize]| {
            played.set(played.get() + 1);
            (steps == sequence).then_some(())
        };
        let simpler = |step: &usize| (0..*step).collect();
        assert_eq!(shrink(&sequence, play, simpler).unwrap().0, sequence);
        assert_eq!(played.get(), TRIES);
    }
}
