//! What counts as hit: method, parameter, and the error or action that came of it, by etcd's answers.

use std::collections::BTreeSet;

use crate::request::Request;
use crate::support::coverage::Hit;

/// What etcd has shown to be possible.
pub(crate) const POSSIBLE: &str = include_str!("possible");
/// How often a run has to hit each.
pub(crate) const HITS: u64 = 20;

/// What requests and their outcomes hit. A wait counts once, by what woke it.
pub(crate) fn hits(outcomes: &[(Request, String)]) -> Vec<Hit> {
    let hit = |(request, outcome): &(Request, String)| {
        let read = request.params.iter().filter(|param| request.is_read(param)).map(|param| param.name.clone());
        let mut options: BTreeSet<_> = read.collect();
        if options.is_empty() {
            options.insert("-".to_owned());
        }
        options.retain(|name| !matches!(name.as_str(), "unknown" | "other"));
        Hit { method: request.method.clone(), options, outcome: outcome.clone() }
    };
    outcomes.iter().map(hit).collect()
}
