//! The log on real files.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::{self as wal, Batch, FileDirectory, Options, Recovered, Wal, WalError};
use super::{IDENTITY, Model, Step, append, entry, perform};
use crate::model::Index;

const OPTIONS: Options = Options { segment_bytes: 64 * 1024, expected: Some(IDENTITY) };

fn open(path: &Path) -> Result<(Wal<FileDirectory>, Recovered), WalError> {
    Wal::open_with(FileDirectory::open(path)?, OPTIONS)
}

fn segments(path: &Path) -> Vec<std::path::PathBuf> {
    let paths = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == "wal")).collect();
    paths.sort();
    paths
}

/// A log of several segments.
fn written(path: &Path) -> Model {
    let mut model = Model::default();
    let mut wal = Wal::create_with(FileDirectory::open(path).unwrap(), IDENTITY, OPTIONS).unwrap();
    for index in 1..=40 {
        let step = append(index, index, 1, 5000);
        perform(&mut wal, &step).unwrap();
        model.step(&step);
    }
    model
}

#[test]
fn a_log_of_files_is_there_after_reopening_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/on/the/way");
    let mut model = written(&path);
    for round in 0..3 {
        let (mut wal, recovered) = open(&path).unwrap();
        model.assert(&recovered);
        let last = model.last().get();
        for step in [append(last, last + 20, 2 + round, 4000), Step::Truncate(Index(last - 5))] {
            perform(&mut wal, &step).unwrap();
            model.step(&step);
        }
    }
    model.assert(&open(&path).unwrap().1);
    assert!(segments(&path).len() < 6, "{:?}", segments(&path));
}

#[test]
fn segments_are_allocated_whole_and_ahead() {
    let directory = tempfile::tempdir().unwrap();
    let wal = Wal::create(FileDirectory::open(directory.path()).unwrap(), IDENTITY).unwrap();
    assert!(wal.has_reserve());
    for file in [segments(directory.path()).remove(0), directory.path().join("spare")] {
        assert_eq!(fs::metadata(file).unwrap().len(), 16 * 1024 * 1024);
    }
    assert_eq!(wal.disk_bytes(), 32 * 1024 * 1024);
}

#[test]
fn a_batch_that_needs_the_lent_segment_is_refused_and_the_log_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut wal = Wal::create_with(FileDirectory::open(directory.path()).unwrap(), IDENTITY, OPTIONS).unwrap();
    let spare = wal.lend_spare().unwrap();
    assert!(wal.has_reserve() && wal.lend_spare().is_none());
    let mut model = Model::default();
    let refused = (1..=40).find_map(|index| {
        let step = append(index, index, 1, 5000);
        match perform(&mut wal, &step) {
            Ok(()) => model.step(&step),
            Err(error) => return Some((step, error)),
        }
        None
    });
    let (step, error) = refused.unwrap();
    assert!(matches!(error, WalError::Lent), "{error}");
    let small = append(model.last().get() + 1, model.last().get() + 1, 1, 10);
    perform(&mut wal, &small).unwrap();
    model.step(&small);
    wal.take_back(spare);
    let Step::Append { mut entries, .. } = step else { panic!("an append") };
    entries[0] = entry(model.last().get() + 1, 1, 5000);
    let again = Step::Append { snapshot: None, entries, hard_state: None };
    perform(&mut wal, &again).unwrap();
    model.step(&again);
    drop(wal);
    model.assert(&open(directory.path()).unwrap().1);
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_free() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path());
    let held = open(directory.path()).unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, WalError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(held);
    open(directory.path()).unwrap();
}

#[test]
fn a_torn_last_batch_is_cut_off_and_a_damaged_earlier_one_refused() {
    let directory = tempfile::tempdir().unwrap();
    let model = written(directory.path());
    let last = segments(directory.path()).pop().unwrap();
    let bytes = fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let file = OpenOptions::new().write(true).open(&last).unwrap();
    file.write_all_at(&[0; 512], (end / 512 * 512) as u64).unwrap();
    let (mut wal, recovered) = open(directory.path()).unwrap();
    assert_eq!(recovered.cut_off, Some(40));
    assert_eq!(recovered.entries, model.entries[..39]);
    wal.append(&Batch { entries: &[entry(40, 7, 3)], ..Batch::default() }).unwrap();
    drop(wal);
    assert_eq!(open(directory.path()).unwrap().1.entries.last(), Some(&entry(40, 7, 3)));

    let first = segments(directory.path()).remove(0);
    OpenOptions::new().write(true).open(first).unwrap().write_all_at(b"x", 700).unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, WalError::Damaged { offset: 512, .. }), "{error}");
}

#[test]
fn another_members_directory_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let other = super::Identity { member: crate::model::MemberId(77), ..IDENTITY };
    drop(Wal::create(FileDirectory::open(directory.path()).unwrap(), other).unwrap());
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, WalError::Foreign { found, .. } if found == other), "{error}");
    Wal::open(FileDirectory::open(directory.path()).unwrap()).unwrap();
}

#[test]
fn a_log_that_is_only_read_stays_as_it_is_torn_batch_and_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let model = written(path);
    let last = segments(path).pop().unwrap();
    let bytes = fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    OpenOptions::new().write(true).open(&last).unwrap().write_all_at(&[0; 512], (end / 512 * 512) as u64).unwrap();
    let files = || {
        let mut files: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect();
        files.sort();
        files
    };
    let before = files();
    let (recovered, lock) = wal::read(path).unwrap();
    assert_eq!((recovered.cut_off, &recovered.entries[..]), (Some(40), &model.entries[..39]));
    assert!(files() == before);
    // Others may read beside it, and nobody may write.
    wal::read(path).unwrap();
    assert!(matches!(open(path), Err(WalError::InUse { .. })));
    drop(lock);
    let held = open(path).unwrap();
    assert!(matches!(wal::read(path), Err(WalError::InUse { .. })));
    drop(held);
    assert!(matches!(wal::read(&path.join("nowhere")), Err(WalError::Absent)));
    assert!(!path.join("nowhere").exists());
}
