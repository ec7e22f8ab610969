//! What a run hit: method, option, and what came of it, by etcd's answers.
//!
//! Which combinations are possible is what etcd has shown: the lines of a file `possible`, kept like other golden files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Method, option, outcome.
type Combination = (String, String, String);

/// A request, what it was made with (`-` for nothing), and what came of it.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) method: String,
    pub(crate) options: BTreeSet<String>,
    pub(crate) outcome: String,
}

#[derive(Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) requests: u64,
    pub(crate) sequences: u64,
    hits: BTreeMap<Combination, u64>,
    /// How many sequences hit each.
    spread: BTreeMap<Combination, u64>,
}

impl Coverage {
    /// Adds a sequence.
    pub(crate) fn add(&mut self, hits: &[Hit]) {
        self.sequences += 1;
        let mut seen = BTreeSet::new();
        for hit in hits {
            self.requests += 1;
            for option in &hit.options {
                let combination = (hit.method.clone(), option.clone(), hit.outcome.clone());
                *self.hits.entry(combination.clone()).or_default() += 1;
                seen.insert(combination);
            }
        }
        for combination in seen {
            *self.spread.entry(combination).or_default() += 1;
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.sequences += other.sequences;
        for (combination, hits) in other.hits {
            *self.hits.entry(combination).or_default() += hits;
        }
        for (combination, sequences) in other.spread {
            *self.spread.entry(combination).or_default() += sequences;
        }
    }

    /// The combinations that etcd has shown and this run hit less than so many times.
    pub(crate) fn missed(&self, possible: &str, least: u64) -> Vec<String> {
        let hits = |combination: &Combination| self.hits.get(combination).copied().unwrap_or_default();
        let seldom = read(possible).into_iter().filter(|combination| hits(combination) < least);
        seldom.map(|combination| format!("{} times: {}", hits(&combination), line(&combination))).collect()
    }

    /// The combinations hit that nobody listed.
    pub(crate) fn unlisted(&self, possible: &str) -> Vec<String> {
        let possible = read(possible);
        self.hits.keys().filter(|combination| !possible.contains(combination)).map(line).collect()
    }

    /// The lines of `possible` with what this run adds to them, which so many of its sequences have to hit.
    pub(crate) fn lines(&self, possible: &str, least: u64) -> String {
        let spread = self.spread.iter().filter(|(_, sequences)| **sequences >= least);
        let all: BTreeSet<_> =
            read(possible).into_iter().chain(spread.map(|(combination, _)| combination.clone())).collect();
        all.iter().map(|combination| line(combination) + "\n").collect()
    }

    /// How many combinations were hit.
    pub(crate) fn cells(&self) -> usize {
        self.hits.len()
    }
}

fn line((method, option, outcome): &Combination) -> String {
    format!("{method} {option} {outcome}")
}

fn read(possible: &str) -> BTreeSet<Combination> {
    let parts = |line: &str| {
        let mut parts = line.split(' ').map(str::to_owned);
        Some((parts.next()?, parts.next()?, parts.next()?))
    };
    possible.lines().filter_map(parts).collect()
}

/// A table for each method: a line for each outcome, a column for each option.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} requests in {} sequences; hits:", self.requests, self.sequences)?;
        let methods: BTreeSet<_> = self.hits.keys().map(|(method, _, _)| method.as_str()).collect();
        for method in methods {
            let of_method = || self.hits.keys().filter(|(known, _, _)| known == method);
            let options: BTreeSet<_> = of_method().map(|(_, option, _)| option.as_str()).collect();
            let outcomes: BTreeSet<_> = of_method().map(|(_, _, outcome)| outcome.as_str()).collect();
            let widest = outcomes.iter().map(|outcome| outcome.len()).max().unwrap_or_default();
            write!(f, "{method:widest$}")?;
            for option in &options {
                write!(f, " {option}")?;
            }
            for outcome in outcomes {
                write!(f, "\n{outcome:widest$}")?;
                for option in &options {
                    let combination = (method.to_owned(), (*option).to_owned(), outcome.to_owned());
                    let hits = self.hits.get(&combination).map_or(String::new(), u64::to_string);
                    write!(f, " {hits:>width$}", width = option.chars().count())?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
