//! What a run amounted to: "no violation" says something only beside what was done and what was broken.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub seeds: u64,
    /// Of them, by the number of first members.
    pub members: BTreeMap<usize, u64>,
    /// Virtual time, in milliseconds.
    pub virtual_ms: u64,
    /// Operations with an answer, by kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// Operations of which the client never learned what became of them.
    pub unknown: u64,
    /// Operations certainly not carried out, for want of a member to take them.
    pub refused: u64,
    pub faults: BTreeMap<&'static str, u64>,
    /// Other things worth having seen happen.
    pub sights: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Of one seed.
    pub fn new(members: usize) -> Self {
        Self { seeds: 1, members: BTreeMap::from([(members, 1)]), ..Self::default() }
    }

    pub fn operation(&mut self, kind: &'static str) {
        *self.operations.entry(kind).or_default() += 1;
    }

    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub fn sight(&mut self, kind: &'static str) {
        *self.sights.entry(kind).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        let Self { seeds, members, virtual_ms, operations, unknown, refused, faults, sights } = other;
        self.seeds += seeds;
        self.virtual_ms += virtual_ms;
        self.unknown += unknown;
        self.refused += refused;
        for (count, seeds) in members {
            *self.members.entry(*count).or_default() += seeds;
        }
        for (into, from) in [(&mut self.operations, operations), (&mut self.faults, faults), (&mut self.sights, sights)]
        {
            for (kind, count) in from {
                *into.entry(kind).or_default() += count;
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
        };
        let operations: u64 = self.operations.values().sum();
        let members: Vec<_> = self.members.iter().map(|(count, seeds)| format!("{seeds} of {count}")).collect();
        let members = members.join(", ");
        writeln!(f, "seeds: {} ({members} members), virtual time: {} s", self.seeds, self.virtual_ms / 1000)?;
        writeln!(f, "operations: {operations} ({})", list(&self.operations))?;
        writeln!(f, "unknown outcomes: {}, refused for want of a member: {}", self.unknown, self.refused)?;
        writeln!(f, "faults: {}", list(&self.faults))?;
        write!(f, "also seen: {}", list(&self.sights))
    }
}
