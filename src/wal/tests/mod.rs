//! Claims about the log, and the model that they are held against.

mod crashes;
mod damage;
mod faults;
mod files;
mod property;

use bytes::Bytes;

use super::memory::MemoryDirectory;
use super::{Batch, Directory as _, Identity, Options, Recovered, SnapshotMark, Wal, WalError, recovery};
use crate::model::{ClusterId, HardState, Incarnation, Index, LogEntry, LogEntryKind, MemberId, Term};

const IDENTITY: Identity = Identity { cluster: ClusterId(1), member: MemberId(2), incarnation: Incarnation(3) };

/// Room for a header and three sectors, so that short scripts fill segments.
const SMALL: Options = Options { segment_bytes: 2048, expected: None };

/// One call of the log.
#[derive(Debug, Clone)]
enum Step {
    Append { snapshot: Option<SnapshotMark>, entries: Vec<LogEntry>, hard_state: Option<HardState> },
    Truncate(Index),
    Seal,
}

/// What the log must remember, kept the simple way.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    entries: Vec<LogEntry>,
    hard_state: HardState,
    snapshot: Option<SnapshotMark>,
    /// Entries before this one may be gone.
    kept: Index,
}

impl Model {
    fn last(&self) -> Index {
        let mark = self.snapshot.as_ref().map_or(Index::ZERO, |mark| mark.index);
        self.entries.last().map_or(mark, |entry| entry.index)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Seal => {}
            Step::Truncate(index) => self.kept = self.kept.max((*index).min(self.last())),
            Step::Append { snapshot, entries, hard_state } => {
                if snapshot.is_some() {
                    self.snapshot.clone_from(snapshot);
                    self.entries.clear();
                }
                if let Some(first) = entries.first() {
                    self.entries.retain(|entry| entry.index < first.index);
                    self.entries.extend_from_slice(entries);
                }
                self.hard_state = hard_state.unwrap_or(self.hard_state);
            }
        }
    }

    fn complaint(&self, recovered: &Recovered) -> Option<String> {
        let Recovered { identity, hard_state, entries, snapshot, cut_off: _ } = recovered;
        let must = self.entries.iter().filter(|entry| entry.index >= self.kept).count();
        let agrees = *identity == IDENTITY
            && *hard_state == self.hard_state
            && *snapshot == self.snapshot
            && self.entries.ends_with(entries)
            && entries.len() >= must
            && entries.is_empty() == self.entries.is_empty();
        (!agrees).then(|| format!("recovered {recovered:?}\nexpected {self:?}"))
    }

    #[track_caller]
    fn assert(&self, recovered: &Recovered) {
        if let Some(complaint) = self.complaint(recovered) {
            panic!("{complaint}");
        }
    }
}

fn entry(index: u64, term: u64, size: usize) -> LogEntry {
    let byte = u8::try_from((index * 7 + term) % 255).unwrap() + 1;
    LogEntry { index: Index(index), term: Term(term), kind: LogEntryKind::Normal, data: Bytes::from(vec![byte; size]) }
}

fn hard_state(term: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote: MemberId(2), commit: Index(commit) }
}

/// Entries `first..=last` of a term, with the term stored beside them.
fn append(first: u64, last: u64, term: u64, size: usize) -> Step {
    let entries = (first..=last).map(|index| entry(index, term, size)).collect();
    Step::Append { snapshot: None, entries, hard_state: Some(hard_state(term, first - 1)) }
}

/// The steps, with a seal after each.
fn sealed(script: &[Step]) -> Vec<Step> {
    script.iter().flat_map(|step| [step.clone(), Step::Seal]).collect()
}

fn install(index: u64, entries: Vec<LogEntry>) -> Step {
    let snapshot = Some(SnapshotMark { index: Index(index), term: Term(9), store: format!("store-{index}") });
    Step::Append { snapshot, entries, hard_state: None }
}

fn perform<D: super::Directory>(wal: &mut Wal<D>, step: &Step) -> Result<(), WalError> {
    match step {
        Step::Append { snapshot, entries, hard_state } => {
            wal.append(&Batch { snapshot: snapshot.clone(), entries, hard_state: *hard_state })
        }
        Step::Truncate(index) => wal.truncate_front(*index),
        Step::Seal => wal.seal(),
    }
}

/// What came of a script that may have been interrupted.
#[derive(Debug)]
struct Story {
    /// Everything acknowledged; `None` when not even the creation was.
    acknowledged: Option<Model>,
    /// What holds if the step that failed took effect after all.
    attempted: Model,
    error: Option<WalError>,
}

impl Story {
    /// Runs a script on a new log.
    fn run(disk: &MemoryDirectory, options: Options, script: &[Step]) -> Self {
        match Wal::create_with(disk.clone(), IDENTITY, options) {
            Err(error) => Self { acknowledged: None, attempted: Model::default(), error: Some(error) },
            Ok(wal) => Self::go_on(wal, Model::default(), script),
        }
    }

    fn go_on(mut wal: Wal<MemoryDirectory>, mut model: Model, script: &[Step]) -> Self {
        for step in script {
            let mut attempted = model.clone();
            attempted.step(step);
            if let Err(error) = perform(&mut wal, step) {
                // What could not be removed for certain may be gone, and what was to be removed may be there.
                attempted.kept = attempted.kept.max(model.kept);
                if matches!(step, Step::Truncate(_)) {
                    model.kept = attempted.kept;
                }
                return Self { acknowledged: Some(model), attempted, error: Some(error) };
            }
            model = attempted;
        }
        Self { acknowledged: Some(model.clone()), attempted: model, error: None }
    }

    /// Holds what was recovered against what was promised, and returns the state that it turned out to be.
    #[track_caller]
    fn check(&self, recovered: &Recovered) -> Model {
        let choices = self.acknowledged.iter().chain([&self.attempted]);
        let complaints: Vec<_> = choices.clone().filter_map(|model| model.complaint(recovered)).collect();
        match choices.clone().find(|model| model.complaint(recovered).is_none()) {
            Some(model) => model.clone(),
            None => panic!("{}", complaints.join("\nor\n")),
        }
    }
}

/// Reads the log without opening it, and sees to it that the disk had nothing to do.
fn read(disk: &MemoryDirectory) -> Result<Recovered, WalError> {
    let before = disk.operations();
    let recovered = recovery::read(&disk.list().unwrap(), &|name: &str| disk.open(name));
    assert_eq!(disk.operations(), before);
    recovered
}

#[test]
fn what_was_appended_is_there_after_reopening() {
    let disk = MemoryDirectory::new();
    let script = [append(1, 3, 1, 10), append(4, 4, 1, 900), append(3, 5, 2, 100)];
    let story = Story::run(&disk, SMALL, &script);
    assert!(story.error.is_none(), "{story:?}");
    let (wal, recovered) = Wal::open_with(disk, SMALL).unwrap();
    story.attempted.assert(&recovered);
    assert_eq!(recovered.entries.iter().map(|entry| entry.term.get()).collect::<Vec<_>>(), [1, 1, 2, 2, 2]);
    assert_eq!(recovered.cut_off, None);
    assert_eq!(wal.last_index(), Index(5));
}

#[test]
fn each_append_is_one_write_and_one_sync_and_an_empty_one_is_nothing() {
    let disk = MemoryDirectory::new();
    let mut wal = Wal::create(disk.clone(), IDENTITY).unwrap();
    for index in 1..=100 {
        let before = disk.operations();
        perform(&mut wal, &append(index, index, 1, 100)).unwrap();
        assert_eq!(disk.operations() - before, 2);
    }
    let before = disk.operations();
    wal.append(&Batch::default()).unwrap();
    assert_eq!(disk.operations(), before);
}

#[test]
fn a_batch_larger_than_a_segment_gets_a_larger_segment() {
    let disk = MemoryDirectory::new();
    let story = Story::run(&disk, SMALL, &[append(1, 1, 1, 10), append(2, 9, 1, 5000), append(10, 11, 1, 10)]);
    assert!(story.error.is_none(), "{story:?}");
    story.attempted.assert(&Wal::open_with(disk, SMALL).unwrap().1);
}

#[test]
fn truncation_frees_segments_and_keeps_hard_state_and_the_last_entry() {
    let disk = MemoryDirectory::new();
    let script: Vec<_> = (1..=50).map(|index| append(index, index, 1, 700)).collect();
    let mut wal = Wal::create_with(disk.clone(), IDENTITY, SMALL).unwrap();
    for step in &script {
        perform(&mut wal, step).unwrap();
    }
    let before = disk.used();
    wal.truncate_front(Index(26)).unwrap();
    assert!(disk.used() < before * 6 / 10, "{} of {before}", disk.used());
    drop(wal);
    let (mut wal, recovered) = Wal::open_with(disk.clone(), SMALL).unwrap();
    assert!((20..=26).contains(&recovered.entries[0].index.get()), "{:?}", recovered.entries[0]);
    perform(&mut wal, &Step::Append { snapshot: None, entries: Vec::new(), hard_state: Some(hard_state(7, 50)) })
        .unwrap();
    for commit in 0..20 {
        let hard_state = Some(hard_state(8, commit));
        perform(&mut wal, &Step::Append { snapshot: None, entries: Vec::new(), hard_state }).unwrap();
    }
    wal.truncate_front(Index(1000)).unwrap();
    drop(wal);
    let (_, recovered) = Wal::open_with(disk, SMALL).unwrap();
    assert_eq!(recovered.entries.last(), Some(&entry(50, 1, 700)));
    assert_eq!(recovered.hard_state, hard_state(8, 19));
}

#[test]
fn an_installed_snapshot_begins_the_log_anew() {
    let disk = MemoryDirectory::new();
    let mut wal = Wal::create_with(disk.clone(), IDENTITY, SMALL).unwrap();
    for step in [append(1, 9, 1, 300), install(100, vec![entry(101, 9, 10)]), append(102, 103, 9, 600)] {
        perform(&mut wal, &step).unwrap();
    }
    for (first, floor, last) in [(100, 100, 103), (105, 100, 103), (0, 100, 103)] {
        let error = wal.append(&Batch { entries: &[entry(first, 9, 1)], ..Batch::default() }).unwrap_err();
        assert!(matches!(error, WalError::Gap { floor: f, last: l, .. } if f == Index(floor) && l == Index(last)));
    }
    perform(&mut wal, &Step::Truncate(Index(101))).unwrap();
    drop(wal);
    let (_, recovered) = Wal::open_with(disk, SMALL).unwrap();
    assert_eq!(recovered.snapshot.unwrap().store, "store-100");
    assert_eq!(recovered.entries.iter().map(|entry| entry.index.get()).collect::<Vec<_>>(), [101, 102, 103]);
}

#[test]
fn a_batch_that_leaves_out_an_entry_is_refused_and_nothing_is_written() {
    let disk = MemoryDirectory::new();
    let mut wal = Wal::create_with(disk.clone(), IDENTITY, SMALL).unwrap();
    let before = disk.operations();
    for entries in [vec![entry(2, 1, 1)], vec![entry(1, 1, 1), entry(3, 1, 1)], vec![entry(1, 1, 1), entry(1, 1, 1)]] {
        let error = wal.append(&Batch { entries: &entries, ..Batch::default() }).unwrap_err();
        assert!(matches!(error, WalError::Gap { .. }), "{error}");
    }
    assert_eq!(disk.operations(), before);
    perform(&mut wal, &append(1, 1, 1, 1)).unwrap();
}

#[test]
fn a_log_is_made_once_and_opened_by_its_owner() {
    let disk = MemoryDirectory::new();
    assert!(matches!(Wal::open(disk.clone()), Err(WalError::Absent)));
    drop(Wal::create(disk.clone(), IDENTITY).unwrap());
    assert!(matches!(Wal::create(disk.clone(), IDENTITY), Err(WalError::Exists)));
    let other = Identity { member: MemberId(99), ..IDENTITY };
    let error = Wal::open_with(disk.clone(), Options { expected: Some(other), ..Options::default() }).unwrap_err();
    assert!(matches!(error, WalError::Foreign { found: IDENTITY, .. }), "{error}");
    Wal::open_with(disk, Options { expected: Some(IDENTITY), ..Options::default() }).unwrap();
}
