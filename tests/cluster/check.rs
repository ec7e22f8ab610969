//! The judge: holds the record of what clients were told against what the cluster says has happened.
//!
//! The history is the witness: with all changes in the order of their revisions, every answer must be explained by it,
//! and that order must respect real time (Herlihy and Wing, 1990). Pure: it asks nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crate::record::{Act, Change, Consistency, Operation, Outcome, Silence};

/// The first revision that is a change.
const FIRST: u64 = 2;

/// What a run amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) operations: usize,
    pub(crate) acknowledged: usize,
    /// Conditions that did not hold.
    pub(crate) unmet: usize,
    pub(crate) refused: usize,
    pub(crate) unknown: usize,
    pub(crate) reads: usize,
    pub(crate) unanswered: usize,
    /// Requests that waited at a member while it was stopped, without an answer.
    pub(crate) silenced: usize,
    /// Of the unknown and the silenced, those that were carried out.
    pub(crate) done_unknown: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.acknowledged += other.acknowledged;
        self.unmet += other.unmet;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.done_unknown += other.done_unknown;
        self.reads += other.reads;
        self.unanswered += other.unanswered;
        self.silenced += other.silenced;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations: {} writes acknowledged, {} unmet, {} refused, {} unknown; {} reads, {} unanswered; {} \
             requests silenced; {} writes done without an answer",
            self.operations,
            self.acknowledged,
            self.unmet,
            self.refused,
            self.unknown,
            self.reads,
            self.unanswered,
            self.silenced,
            self.done_unknown
        )
    }
}

/// Everything that contradicts the contract; nothing when all is well.
pub(crate) fn judge(operations: &[Operation], history: &[Change], silences: &[Silence]) -> (Tally, Vec<String>) {
    let mut judge = Judge { history: History::new(history), complaints: Vec::new(), tally: Tally::default() };
    judge.tally.operations = operations.len();
    judge.whole(history);
    for operation in operations {
        judge.answer(operation, silences);
    }
    judge.counters(operations, history);
    judge.real_time(operations);
    (judge.tally, judge.complaints)
}

/// The changes, ready to be looked up.
struct History<'a> {
    /// Each change by its revision.
    revisions: BTreeMap<u64, &'a Change>,
    /// Each key's changes in order.
    keys: BTreeMap<&'a str, Vec<&'a Change>>,
    /// The revisions at which a value was written.
    values: BTreeMap<&'a str, Vec<u64>>,
}

impl<'a> History<'a> {
    fn new(changes: &'a [Change]) -> Self {
        let mut history = Self { revisions: BTreeMap::new(), keys: BTreeMap::new(), values: BTreeMap::new() };
        for change in changes {
            history.revisions.insert(change.revision, change);
            history.keys.entry(&change.key).or_default().push(change);
            history.values.entry(&change.value).or_default().push(change.revision);
        }
        history
    }

    /// The key's last change at or before a revision.
    fn at(&self, key: &str, revision: u64) -> Option<&'a Change> {
        let changes = self.keys.get(key)?;
        changes[..changes.partition_point(|change| change.revision <= revision)].last().copied()
    }

    /// Where the value of a write stands.
    fn written(&self, act: &Act) -> &[u64] {
        act.value().and_then(|value| self.values.get(value)).map_or(&[], Vec::as_slice)
    }
}

struct Judge<'a> {
    history: History<'a>,
    complaints: Vec<String>,
    tally: Tally,
}

impl Judge<'_> {
    fn must(&mut self, holds: bool, complaint: impl FnOnce() -> String) {
        if !holds {
            self.complaints.push(complaint());
        }
    }

    /// Every revision once, and in order.
    fn whole(&mut self, changes: &[Change]) {
        for (change, expected) in changes.iter().zip(FIRST..) {
            if change.revision != expected {
                self.complaints.push(format!("the history goes on with {change:?} where {expected} was due"));
                return;
            }
        }
    }

    /// One answer by itself.
    fn answer(&mut self, operation: &Operation, silences: &[Silence]) {
        let Operation { act, outcome, .. } = operation;
        let places = self.history.written(act).to_vec();
        self.must(places.len() < 2, || format!("written twice, at {places:?}: {operation:?}"));
        match outcome {
            Outcome::Written { revision, number } => {
                self.tally.acknowledged += 1;
                self.written(operation, *revision, *number);
            }
            Outcome::Unmet { revision, current } => {
                self.tally.unmet += 1;
                self.must(places.is_empty(), || format!("done, though it was refused: {operation:?}"));
                self.unmet(operation, *revision, *current);
            }
            Outcome::Refused => {
                self.tally.refused += 1;
                self.must(places.is_empty(), || format!("done, though it was refused: {operation:?}"));
            }
            Outcome::Unknown => {
                self.tally.unknown += 1;
                self.tally.done_unknown += places.len();
            }
            Outcome::Seen { revision, value } => {
                self.tally.reads += 1;
                self.seen(operation, *revision, value.as_deref());
            }
            Outcome::Unanswered => self.tally.unanswered += 1,
            Outcome::Late => {
                self.tally.silenced += 1;
                self.tally.done_unknown += places.len();
                let excused = silences.iter().any(|silence| silence.covers(operation));
                self.must(excused, || format!("no answer in time: {operation:?}"));
            }
            Outcome::Wrong(_) => self.complaints.push(format!("an answer beside the contract: {operation:?}")),
        }
    }

    fn written(&mut self, operation: &Operation, revision: u64, number: Option<u64>) {
        let found = self.history.revisions.get(&revision).copied();
        let (key, value) = match &operation.act {
            Act::Put { key, value } | Act::Guarded { key, value, .. } => (key, Some(value.clone())),
            Act::Increment { key } => (key, number.map(|number| number.to_string())),
            Act::Read { key, .. } => (key, None),
        };
        let is_there = found.is_some_and(|change| change.key == *key && Some(&change.value) == value.as_ref());
        self.must(is_there, || format!("acknowledged, but {found:?} is there: {operation:?}"));
        if let Act::Guarded { key, expected, .. } = &operation.act {
            let before = self.history.at(key, revision - 1).map_or(0, |change| change.revision);
            self.must(before == *expected, || {
                format!("done, though the key was last changed at {before}: {operation:?}")
            });
        }
    }

    fn unmet(&mut self, operation: &Operation, revision: u64, current: u64) {
        let Act::Guarded { key, expected, .. } = &operation.act else {
            self.complaints.push(format!("an unmet condition where there was none: {operation:?}"));
            return;
        };
        let held = self.history.at(key, revision).map_or(0, |change| change.revision);
        let is_so = held == current && current != *expected;
        self.must(is_so, || format!("unmet, but the key was last changed at {held}: {operation:?}"));
    }

    fn seen(&mut self, operation: &Operation, revision: u64, value: Option<&str>) {
        let Act::Read { key, .. } = &operation.act else { return };
        let held = self.history.at(key, revision).map(|change| change.value.as_str());
        self.must(held == value, || format!("the key held {held:?} at that revision: {operation:?}"));
    }

    /// Each counter counts by one, no less often than was acknowledged and no more often than was asked.
    fn counters(&mut self, operations: &[Operation], history: &[Change]) {
        let mut asked: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for operation in operations {
            let Act::Increment { key } = &operation.act else { continue };
            let (sure, perhaps) = asked.entry(key).or_default();
            match operation.outcome {
                Outcome::Written { .. } => *sure += 1,
                Outcome::Unknown | Outcome::Late => *perhaps += 1,
                _ => {}
            }
        }
        for (key, (sure, perhaps)) in asked {
            let numbers: Vec<_> =
                history.iter().filter(|change| change.key == key).map(|it| it.value.clone()).collect();
            let in_turn = numbers.iter().zip(1..).all(|(found, due): (_, u64)| *found == due.to_string());
            self.must(in_turn, || format!("{key} did not count by one: {numbers:?}"));
            let count = numbers.len() as u64;
            self.tally.done_unknown += usize::try_from(count.saturating_sub(sure)).unwrap();
            let possible = sure..=sure + perhaps;
            self.must(possible.contains(&count), || format!("{key} was counted {count} times, not {possible:?}"));
        }
    }

    /// What ended before something else began has the smaller revision, and is seen by it.
    fn real_time(&mut self, operations: &[Operation]) {
        let moments: Vec<_> = operations.iter().filter_map(|operation| self.moment(operation)).collect();
        let mut ends: Vec<_> = moments.iter().filter_map(|moment| Some((moment.known?, moment.at))).collect();
        ends.sort_unstable();
        let mut starts: Vec<_> = moments.iter().collect();
        starts.sort_unstable_by_key(|moment| moment.start);
        let (mut ended, mut floor) = (ends.iter().peekable(), 0);
        for moment in starts {
            while let Some((_, revision)) = ended.next_if(|(end, _)| *end < moment.start) {
                floor = floor.max(*revision);
            }
            let Moment { at, kind, operation, .. } = moment;
            let holds = match kind {
                Kind::Write => *at > floor,
                Kind::Read => *at >= floor,
                Kind::LooseRead => true,
            };
            self.must(holds, || format!("at {at}, though revision {floor} was known before: {operation:?}"));
        }
        self.future(&moments);
    }

    /// Nothing is seen before it is asked for.
    fn future(&mut self, moments: &[Moment<'_>]) {
        let writes = moments.iter().filter(|moment| moment.kind == Kind::Write);
        let mut starts: Vec<_> = writes.map(|moment| (moment.start, moment.at)).collect();
        starts.sort_unstable();
        let mut least = u64::MAX;
        let mut least_from: Vec<_> = starts
            .iter()
            .rev()
            .map(|(start, at)| {
                least = least.min(*at);
                (*start, least)
            })
            .collect();
        least_from.reverse();
        // What nobody was told of may be done long after the client has given up.
        for moment in moments.iter().filter(|moment| moment.known.is_some()) {
            let later = least_from.partition_point(|(start, _)| *start <= moment.operation.end);
            if let Some((_, least)) = least_from.get(later) {
                let (at, operation) = (moment.at, moment.operation);
                self.must(at < *least, || format!("at {at}, though {least} was asked for later: {operation:?}"));
            }
        }
    }

    /// Where an operation stands in the order of revisions, if it does.
    fn moment<'o>(&self, operation: &'o Operation) -> Option<Moment<'o>> {
        let known = Some(operation.end);
        let (kind, at, known) = match (&operation.outcome, &operation.act) {
            (Outcome::Written { revision, .. }, _) => (Kind::Write, *revision, known),
            // Found to be done, without anybody having been told.
            (Outcome::Unknown | Outcome::Late, act) => (Kind::Write, *self.history.written(act).first()?, None),
            (Outcome::Unmet { revision, .. }, _) => (Kind::Read, *revision, known),
            (Outcome::Seen { revision, .. }, Act::Read { consistency: Consistency::Linearizable, .. }) => {
                (Kind::Read, *revision, known)
            }
            // May be behind, so that it obliges nobody; but what it saw is there for all to see.
            (Outcome::Seen { revision, .. }, _) => (Kind::LooseRead, *revision, known),
            (Outcome::Refused | Outcome::Unanswered | Outcome::Wrong(_), _) => return None,
        };
        Some(Moment { kind, at, start: operation.start, known, operation })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Read,
    LooseRead,
}

struct Moment<'o> {
    kind: Kind,
    /// The revision.
    at: u64,
    start: Instant,
    /// When a client knew of the revision.
    known: Option<Instant>,
    operation: &'o Operation,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A run of five changes, and an answer or two to be judged by it.
    struct Bed {
        origin: Instant,
        history: Vec<Change>,
        operations: Vec<Operation>,
    }

    impl Bed {
        fn new() -> Self {
            let change = |revision: u64, key: &str, value: &str| Change {
                revision,
                key: key.to_owned(),
                value: value.to_owned(),
            };
            let history = vec![
                change(2, "/a", "one"),
                change(3, "/a", "two"),
                change(4, "/n", "1"),
                change(5, "/n", "2"),
                change(6, "/b", "three"),
            ];
            Self { origin: Instant::now(), history, operations: Vec::new() }
        }

        /// Asked and answered at these seconds.
        fn did(mut self, start: u64, end: u64, act: Act, outcome: Outcome) -> Self {
            let at = |seconds| self.origin + Duration::from_secs(seconds);
            self.operations.push(Operation { act, member: 0, start: at(start), end: at(end), outcome });
            self
        }

        fn complaints(&self) -> usize {
            judge(&self.operations, &self.history, &[]).1.len()
        }
    }

    fn put(value: &str) -> Act {
        Act::Put { key: if value == "three" { "/b" } else { "/a" }.to_owned(), value: value.to_owned() }
    }

    fn written(revision: u64) -> Outcome {
        Outcome::Written { revision, number: None }
    }

    fn read(consistency: Consistency) -> Act {
        Act::Read { key: "/a".to_owned(), consistency }
    }

    fn seen(revision: u64, value: &str) -> Outcome {
        Outcome::Seen { revision, value: Some(value.to_owned()) }
    }

    #[test]
    fn a_good_run_is_taken() {
        let bed = Bed::new()
            .did(0, 2, put("one"), written(2))
            .did(1, 3, put("two"), Outcome::Unknown)
            .did(4, 5, read(Consistency::Linearizable), seen(3, "two"))
            .did(4, 5, read(Consistency::Serializable), seen(2, "one"))
            .did(4, 6, Act::Increment { key: "/n".to_owned() }, Outcome::Written { revision: 4, number: Some(1) })
            .did(7, 8, Act::Increment { key: "/n".to_owned() }, Outcome::Unknown)
            .did(8, 9, put("never"), Outcome::Refused)
            .did(0, 1, put("three"), Outcome::Unknown);
        let (tally, complaints) = judge(&bed.operations, &bed.history, &[]);
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!((tally.acknowledged, tally.unknown, tally.done_unknown, tally.reads), (2, 3, 3, 2));
    }

    #[test]
    fn each_broken_promise_is_noticed() {
        let guarded = |expected| Act::Guarded { key: "/a".to_owned(), value: "two".to_owned(), expected };
        let increment = || Act::Increment { key: "/n".to_owned() };
        let broken = [
            ("lost", Bed::new().did(0, 1, put("lost"), written(3))),
            ("done though refused", Bed::new().did(0, 1, put("one"), Outcome::Refused)),
            ("condition ignored", Bed::new().did(0, 1, guarded(9), written(3))),
            ("condition misjudged", Bed::new().did(0, 1, guarded(3), Outcome::Unmet { revision: 4, current: 3 })),
            ("counted too often", Bed::new().did(0, 1, increment(), Outcome::Written { revision: 4, number: Some(1) })),
            ("another value", Bed::new().did(0, 1, read(Consistency::Serializable), seen(2, "two"))),
            ("late", Bed::new().did(0, 9, put("four"), Outcome::Late)),
            ("order against time", Bed::new().did(0, 1, put("three"), written(6)).did(2, 3, put("two"), written(3))),
            (
                "stale",
                Bed::new().did(0, 1, put("two"), written(3)).did(2, 3, read(Consistency::Linearizable), seen(2, "one")),
            ),
            (
                "from the future",
                Bed::new().did(0, 1, read(Consistency::Serializable), seen(3, "two")).did(2, 3, put("two"), written(3)),
            ),
            (
                "unknown, and before its time",
                Bed::new().did(0, 1, put("three"), written(6)).did(2, 3, put("two"), Outcome::Unknown),
            ),
        ];
        for (what, bed) in broken {
            assert_ne!(bed.complaints(), 0, "{what}");
        }
    }

    #[test]
    fn a_history_with_a_gap_or_a_repeat_is_noticed() {
        let mut gap = Bed::new();
        gap.history.remove(1);
        assert_ne!(gap.complaints(), 0);
        let mut twice = Bed::new();
        twice.history[4].value = "one".to_owned();
        assert_ne!(twice.did(0, 1, put("one"), written(2)).complaints(), 0);
    }

    #[test]
    fn a_member_that_was_stopped_excuses_its_silence_only() {
        let bed = Bed::new().did(0, 3, put("four"), Outcome::Late);
        let at = |seconds| bed.origin + Duration::from_secs(seconds);
        let silence = |member| Silence { member, start: at(1), end: at(5) };
        assert!(judge(&bed.operations, &bed.history, &[silence(0)]).1.is_empty());
        assert!(!judge(&bed.operations, &bed.history, &[silence(1)]).1.is_empty());
    }
}
