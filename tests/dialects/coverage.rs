//! What a run hit: method, parameter, and the error or action that came of it, by etcd's answers.
//!
//! Which combinations are possible is what etcd has shown: the lines of `possible`, kept like other golden files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::request::Request;

/// Method, parameter (`-` for none at all), outcome.
type Combination = (String, String, String);

/// What etcd has shown to be possible.
const POSSIBLE: &str = include_str!("possible");
/// How often a run has to hit each.
pub(crate) const HITS: u64 = 20;

#[derive(Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) requests: u64,
    pub(crate) sequences: u64,
    hits: BTreeMap<Combination, u64>,
}

impl Coverage {
    pub(crate) fn add(&mut self, outcomes: &[(Request, String)]) {
        self.sequences += 1;
        for (request, outcome) in outcomes {
            // A wait counts once, by what woke it.
            self.requests += 1;
            let read = request.params.iter().filter(|param| request.is_read(param));
            let names: BTreeSet<_> = read.map(|param| param.name.as_str()).collect();
            let names = if names.is_empty() { BTreeSet::from(["-"]) } else { names };
            for name in names.into_iter().filter(|name| !matches!(*name, "unknown" | "other")) {
                let combination = (request.method.clone(), name.to_owned(), outcome.clone());
                *self.hits.entry(combination).or_default() += 1;
            }
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.sequences += other.sequences;
        for (combination, hits) in other.hits {
            *self.hits.entry(combination).or_default() += hits;
        }
    }

    /// The combinations that etcd has shown and this run hit too seldom.
    pub(crate) fn missed(&self) -> Vec<String> {
        let hits = |combination: &Combination| self.hits.get(combination).copied().unwrap_or_default();
        let seldom = possible().into_iter().filter(|combination| hits(combination) < HITS);
        seldom.map(|combination| format!("{} times: {}", hits(&combination), line(&combination))).collect()
    }

    /// The combinations hit that nobody listed.
    pub(crate) fn unlisted(&self) -> Vec<String> {
        let possible = possible();
        self.hits.keys().filter(|combination| !possible.contains(combination)).map(line).collect()
    }

    /// The lines of `possible` with what this run adds to them.
    pub(crate) fn lines(&self) -> String {
        let all: BTreeSet<_> = possible().into_iter().chain(self.hits.keys().cloned()).collect();
        all.iter().map(|combination| line(combination) + "\n").collect()
    }
}

fn line((method, name, outcome): &Combination) -> String {
    format!("{method} {name} {outcome}")
}

fn possible() -> BTreeSet<Combination> {
    let parts = |line: &str| {
        let mut parts = line.split(' ').map(str::to_owned);
        Some((parts.next()?, parts.next()?, parts.next()?))
    };
    POSSIBLE.lines().filter_map(parts).collect()
}

/// A table: a line for each method and outcome, a column for each parameter.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: BTreeSet<_> = self.hits.keys().map(|(_, name, _)| name.as_str()).collect();
        let rows: BTreeSet<_> =
            self.hits.keys().map(|(method, _, outcome)| (method.as_str(), outcome.as_str())).collect();
        writeln!(f, "{} requests in {} sequences; hits:", self.requests, self.sequences)?;
        write!(f, "{:32}", "")?;
        for name in &names {
            write!(f, "{:>8}", name.chars().take(7).collect::<String>())?;
        }
        for (method, outcome) in rows {
            write!(f, "\n{:32}", format!("{method} {outcome}"))?;
            for name in &names {
                let combination = (method.to_owned(), (*name).to_owned(), outcome.to_owned());
                let hits = self.hits.get(&combination).map_or(String::new(), u64::to_string);
                write!(f, "{hits:>8}")?;
            }
        }
        Ok(())
    }
}
