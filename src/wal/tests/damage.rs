//! Every bit that a disk may turn in what was durable.

use super::super::memory::MemoryDirectory;
use super::super::{Directory, File, Options, Wal};
use super::{SMALL, Step, Story, WalError, append, read, sealed};

/// Room for the whole script, and for a seal behind it.
const WIDE: Options = Options { segment_bytes: 16 * 1024, expected: None };

/// The first byte of each batch in a segment, and the byte behind its checksum.
fn batches(segment: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 512;
    while segment.get(at..at + 4) == Some(b"wbat") {
        let length = u32::from_le_bytes(segment[at + 4..at + 8].try_into().unwrap()) as usize;
        found.push((at, at + 28 + length + 4));
        at = (at + 32 + length).next_multiple_of(512);
    }
    found
}

fn segments(disk: &MemoryDirectory) -> Vec<(String, Vec<u8>)> {
    let names = Directory::list(disk).unwrap().into_iter().filter(|name| name != "spare");
    names.map(|name| (name.clone(), disk.content(&name).unwrap())).collect()
}

fn script() -> Vec<Step> {
    vec![append(1, 2, 1, 40), append(3, 3, 1, 600), append(4, 4, 1, 20), append(4, 5, 2, 30), append(6, 6, 2, 9)]
}

fn written() -> (MemoryDirectory, Story) {
    write(SMALL, &script())
}

fn write(options: Options, script: &[Step]) -> (MemoryDirectory, Story) {
    let disk = MemoryDirectory::new();
    let story = Story::run(&disk, options, script);
    assert!(story.error.is_none());
    (disk, story)
}

#[test]
fn any_changed_bit_of_any_batch_but_the_last_is_refused() {
    let (disk, _) = written();
    let segments = segments(&disk);
    assert!(segments.len() >= 2, "the script fills a segment");
    let all: Vec<_> = segments
        .iter()
        .flat_map(|(name, bytes)| batches(bytes).into_iter().map(move |(from, to)| (name.clone(), from, to)))
        .collect();
    assert_eq!(all.len(), 5);
    for (name, from, to) in &all[..4] {
        for offset in *from..*to {
            for bit in 0..8 {
                let disk = disk.fork();
                disk.flip(name, offset as u64, 1 << bit);
                let (read, opened) = (read(&disk).err(), Wal::open_with(disk, SMALL).err());
                for error in [read, opened] {
                    match error {
                        Some(WalError::Damaged { file, offset, .. }) => {
                            assert_eq!((&file, offset), (name, *from as u64));
                        }
                        other => panic!("{name} {offset} {bit}: {other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn any_changed_bit_of_a_segment_header_is_refused() {
    let (disk, _) = written();
    for (name, bytes) in segments(&disk) {
        let used = bytes[..512].iter().rposition(|byte| *byte != 0).unwrap();
        for offset in 0..=used as u64 {
            let disk = disk.fork();
            disk.flip(&name, offset, 0x10);
            let error = Wal::open_with(disk, SMALL).unwrap_err();
            assert!(matches!(error, WalError::Damaged { .. } | WalError::Version { .. }), "{name} {offset}: {error}");
        }
    }
}

#[test]
fn a_damaged_last_batch_counts_as_unfinished() {
    let (disk, _) = written();
    let (name, bytes) = segments(&disk).pop().unwrap();
    let (from, to) = *batches(&bytes).last().unwrap();
    for offset in from..to {
        let disk = disk.fork();
        disk.flip(&name, offset as u64, 1);
        let read = read(&disk).unwrap();
        let (_, recovered) = Wal::open_with(disk, SMALL).unwrap();
        assert_eq!(read, recovered);
        assert_eq!(recovered.cut_off, Some(5));
        assert_eq!(recovered.entries.last().unwrap().index.get(), 5);
    }
}

#[test]
fn any_changed_bit_of_a_last_batch_that_is_sealed_is_refused() {
    let (disk, _) = write(WIDE, &sealed(&script()));
    let (name, bytes) = segments(&disk).pop().unwrap();
    let [.., (from, to), _seal] = *batches(&bytes) else { panic!("a batch and its seal") };
    assert_eq!(batches(&bytes).len(), 6, "of the seals only the last is left");
    for offset in from..to {
        for bit in 0..8 {
            let disk = disk.fork();
            disk.flip(&name, offset as u64, 1 << bit);
            assert!(matches!(read(&disk), Err(WalError::Damaged { .. })), "{offset} {bit}");
            assert!(matches!(Wal::open_with(disk, WIDE), Err(WalError::Damaged { .. })), "{offset} {bit}");
        }
    }
}

#[test]
fn a_seal_is_no_part_of_the_log_stays_through_a_start_and_loses_nothing_when_it_is_damaged() {
    let (disk, story) = write(WIDE, &sealed(&script()));
    let (name, bytes) = segments(&disk).pop().unwrap();
    let (from, to) = *batches(&bytes).last().unwrap();
    for _ in 0..2 {
        let (_, recovered) = Wal::open_with(disk.clone(), WIDE).unwrap();
        assert_eq!(recovered.cut_off, None);
        story.attempted.assert(&recovered);
        assert_eq!(segments(&disk).pop().unwrap().1[from..to], bytes[from..to]);
    }
    for offset in from..to {
        let disk = disk.fork();
        disk.flip(&name, offset as u64, 1);
        story.attempted.assert(&Wal::open_with(disk, WIDE).unwrap().1);
    }
}

#[test]
fn bits_in_unused_space_change_nothing() {
    let (disk, story) = written();
    for (name, bytes) in segments(&disk) {
        let end = batches(&bytes).last().unwrap().1;
        for offset in end..bytes.len() {
            let disk = disk.fork();
            disk.flip(&name, offset as u64, 0x80);
            story.attempted.assert(&Wal::open_with(disk, SMALL).unwrap().1);
        }
    }
}

#[test]
fn a_missing_or_swapped_segment_is_refused_and_the_message_says_what_to_do() {
    let disk = MemoryDirectory::new();
    let script: Vec<_> = (1..=6).map(|index| append(index, index, 1, 900)).collect();
    Story::run(&disk, SMALL, &script);
    let names: Vec<_> = segments(&disk).into_iter().map(|(name, _)| name).collect();
    assert!(names.len() >= 4);
    let missing = disk.fork();
    Directory::remove(&missing, &names[1]).unwrap();
    let swapped = disk.fork();
    Directory::rename(&swapped, &names[2], &names[1]).unwrap();
    for disk in [missing, swapped] {
        assert!(matches!(read(&disk), Err(WalError::Damaged { .. })));
        let error = Wal::open_with(disk, SMALL).unwrap_err();
        assert!(matches!(error, WalError::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("must not start") && text.contains("add it again, as a new member"), "{text}");
    }
}

/// Puts bytes into a file behind everybody's back.
fn plant(disk: &MemoryDirectory, name: &str, offset: usize, bytes: &[u8]) {
    let mut file = Directory::open(disk, name).unwrap();
    file.write_at(offset as u64, bytes).unwrap();
    file.sync().unwrap();
}

#[test]
fn a_whole_batch_of_another_history_is_refused() {
    let begin = [append(1, 1, 1, 10), append(2, 2, 1, 10), append(3, 3, 1, 10)];
    let other = [append(1, 1, 1, 10), append(2, 2, 2, 10)];
    let [disk, donor] = [&begin[..], &other[..]].map(|script| {
        let disk = MemoryDirectory::new();
        assert!(Story::run(&disk, SMALL, script).error.is_none());
        disk
    });
    let (name, bytes) = segments(&donor).remove(0);
    let (from, to) = batches(&bytes)[1];
    plant(&disk, &name, from, &bytes[from..to]);
    let error = Wal::open_with(disk, SMALL).unwrap_err();
    assert!(matches!(&error, WalError::Damaged { what, .. } if what.contains("does not follow")), "{error}");
}

#[test]
fn a_copy_of_an_earlier_batch_behind_the_last_one_is_no_part_of_the_log() {
    let disk = MemoryDirectory::new();
    let story = Story::run(&disk, SMALL, &[append(1, 1, 1, 10), append(2, 2, 1, 10)]);
    let (name, bytes) = segments(&disk).remove(0);
    let all = batches(&bytes);
    plant(&disk, &name, all[1].1.next_multiple_of(512), &bytes[all[0].0..all[0].1]);
    let (_, recovered) = Wal::open_with(disk, SMALL).unwrap();
    story.attempted.assert(&recovered);
    assert_eq!(recovered.cut_off, Some(3));
}
