//! Disk trouble: each kind ends in a clear message and no wrong answer, and nothing acknowledged is lost silently.

#![cfg(test)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::Server;
use support::http::Client;
use support::volume::{Volume, not_run};

const KEYS: usize = 200;

fn client(server: &Server) -> Client {
    Client::new(server.address())
}

/// Puts `/k/0` to `/k/199`, then stops the server as an operator does.
fn filled(data_dir: &Path) {
    let mut server = Server::try_start_in(data_dir, &[]).unwrap();
    for number in 0..KEYS {
        assert_eq!(client(&server).put(&format!("/v1/keys/k/{number}"), format!("value {number}")).status, 201);
    }
    assert!(server.terminate().success());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Every file below a directory, in order of name.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Changes a bit of the first byte from an offset on that is not padding.
fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    let content = bytes[offset..].iter().position(|byte| *byte != 0).unwrap();
    bytes[offset + content] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_data_directory_in_use_is_refused_by_name() {
    let server = Server::start();
    let Err(log) = Server::try_start_in(server.data_dir(), &[]) else { panic!("two servers on one directory") };
    assert!(log.contains("in use") && log.contains(server.data_dir().to_str().unwrap()), "{log}");
    assert_eq!(client(&server).put("/v1/keys/a", "1").status, 201);
}

#[test]
fn a_flipped_bit_in_the_log_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    filled(&dir.path().join("good"));
    for offset in [600, 700, 5000, 20_000] {
        let data = dir.path().join(format!("bad-{offset}"));
        copy(&dir.path().join("good"), &data);
        let segments = files(&data.join("wal"));
        let segment = segments.iter().find(|path| fs::read(path).unwrap().iter().any(|byte| *byte != 0)).unwrap();
        flip(segment, offset);
        match Server::try_start_in(&data, &[]) {
            Err(log) => assert!(log.contains("damaged") && log.contains("restore"), "at {offset}: {log}"),
            Ok(_) => panic!("a log damaged at {offset} was taken"),
        }
    }
}

/// Where the batches of a log begin, in its first segment.
fn batches(segment: &[u8]) -> Vec<usize> {
    (0..segment.len()).step_by(512).filter(|at| segment[*at..].starts_with(b"wbat")).collect()
}

#[test]
fn a_flipped_bit_in_the_last_batch_of_a_server_that_was_killed_is_refused_and_no_unfinished_write() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::try_start_in(&data, &[]).unwrap();
    let segment = data.join("wal/0000000000000001.wal");
    assert_eq!(client(&server).put("/v1/keys/k", "1").status, 201);
    let deadline = Instant::now() + Duration::from_secs(30);
    // The answer may come before the seal.
    let last = loop {
        assert!(Instant::now() < deadline, "no seal behind the last batch");
        let bytes = fs::read(&segment).unwrap();
        let [.., last, behind] = *batches(&bytes) else { continue };
        // Length of its body: no snapshot, no entries, no hard state.
        if bytes[behind + 4..behind + 8] == 6_u32.to_le_bytes() {
            break last;
        }
    };
    server.kill();
    flip(&segment, last + 40);
    match Server::try_start_in(&data, &[]) {
        Err(log) => assert!(log.contains("damaged") && log.contains("restore"), "{log}"),
        Ok(_) => panic!("an acknowledged write was lost without a word"),
    }
}

#[test]
fn a_flipped_bit_in_the_store_gives_a_message_or_right_answers_but_no_wrong_one() {
    let dir = tempfile::tempdir().unwrap();
    filled(&dir.path().join("good"));
    let (mut refused, mut found) = (0, 0);
    for (number, share) in [(0, 0.2), (1, 0.5), (2, 0.9), (3, 0.01)] {
        let data = dir.path().join(format!("bad-{number}"));
        copy(&dir.path().join("good"), &data);
        let store = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
        let store = store.into_iter().find(|path| path.to_str().unwrap().contains("store-")).unwrap();
        let largest = files(&store).into_iter().max_by_key(|path| used(path)).unwrap();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place"
        )]
        flip(&largest, (used(&largest) as f64 * share) as usize);
        match Server::try_start_in(&data, &[]) {
            Err(log) => {
                refused += 1;
                assert!(log.contains("store") || log.contains("state machine"), "{log}");
            }
            Ok(mut server) => {
                for key in 0..KEYS {
                    let answer = client(&server).try_get(&format!("/v1/keys/k/{key}?raw=true"));
                    if let Some(answer) = answer.as_ref().filter(|answer| answer.status == 200) {
                        assert_eq!(answer.text(), format!("value {key}"), "after damage at {share}");
                        continue;
                    }
                    // Found by this read, or by the merges that go on beside it.
                    if let Some(answer) = answer.filter(|answer| answer.status != 503) {
                        let text = answer.text();
                        assert!(
                            answer.status == 500 && text.contains("the store is damaged"),
                            "/k/{key} after damage at {share}: {text}"
                        );
                    }
                    found += 1;
                    // A member that cannot trust its disk stops, and says why.
                    assert!(!server.wait(Duration::from_secs(30)).success());
                    let log = server.log();
                    assert!(log.contains("the store is damaged") && log.contains("this member stops"), "{log}");
                    break;
                }
            }
        }
    }
    assert!(refused + found > 0, "no damage was found");
    println!("{refused} of 4 damaged stores were refused at the start, {found} stopped later");
}

/// The bytes of a file up to the zeros at its end.
fn used(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0)
}

#[test]
fn a_failing_sync_stops_the_member_and_loses_nothing_acknowledged() {
    let usable = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !usable.is_ok_and(|status| status.success()) {
        return not_run("strace cannot be used here");
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    filled(&data);
    let mut server = Server::try_start_in(&data, &[]).unwrap();
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=20+"])
        .args(["-p", &server.pid().to_string()])
        .spawn()
        .unwrap();
    let mut acknowledged = 0;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < deadline, "no write failed");
        match client(&server).try_put(&format!("/v1/keys/more/{acknowledged}"), "value") {
            Some(answer) if answer.status == 201 => acknowledged += 1,
            Some(answer) => {
                assert!(matches!(
                    (answer.status, answer.code().as_str()),
                    (504, "outcome_unknown") | (503, "unavailable")
                ));
                break;
            }
            None => break,
        }
    }
    let status = server.wait(Duration::from_secs(20));
    let _ = strace.wait();
    assert!(!status.success());
    assert!(server.log().contains("the log could not be written"), "{}", server.log());
    let server = Server::try_start_in(&data, &[]).unwrap();
    for number in 0..acknowledged {
        assert_eq!(client(&server).get(&format!("/v1/keys/more/{number}")).status, 200);
    }
}

/// Text that the store cannot pack into less room.
fn noise(length: usize) -> String {
    let mut state = 1_u64;
    let letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from(state >> 58).unwrap())
    };
    std::iter::repeat_with(letter).take(length).collect()
}

#[test]
fn on_a_full_disk_reads_deletions_and_compaction_go_on_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    if let Some(why) = Volume::hindrance() {
        return not_run(why);
    }
    let volume = Volume::make(&dir.path().join("image"), &dir.path().join("mount"), 384).unwrap();
    let mut server = Server::try_start_in(&volume.point().join("data"), &[]).unwrap();
    let value = noise(1 << 20);
    let mut stored = 0;
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        assert!(Instant::now() < deadline, "the disk never filled");
        let answer = client(&server).put(&format!("/v1/keys/big/{stored}"), &value);
        if answer.status == 201 {
            stored += 1;
            continue;
        }
        assert_eq!((answer.status, answer.code().as_str()), (507, "quota_exceeded"));
        // What was written since the file system was last asked counts for more than it turns out to take: there may be
        // room again.
        if client(&server).get("/readyz").status == 503 {
            break;
        }
    }
    assert!(stored > 20, "full after {stored} MiB");
    assert_eq!(client(&server).get("/v1/keys/big/0?raw=true").text().len(), value.len());
    assert_eq!(client(&server).delete("/v1/keys/big/0").status, 200);
    server.restart();
    let listed = client(&server).get("/v1/keys/big/?keysOnly=true").value();
    assert_eq!(listed["count"], stored - 1, "all that was acknowledged, less what was deleted");
}

#[test]
fn a_disk_that_fills_as_fast_as_clients_can_is_known_to_be_full_before_it_is() {
    let dir = tempfile::tempdir().unwrap();
    if let Some(why) = Volume::hindrance() {
        return not_run(why);
    }
    let volume = Volume::make(&dir.path().join("image"), &dir.path().join("mount"), 512).unwrap();
    let server = Server::try_start_in(&volume.point().join("data"), &[]).unwrap();
    let value = noise(1_400_000);
    let deadline = Instant::now() + Duration::from_mins(2);
    let stored: u64 = std::thread::scope(|scope| {
        let fill = |writer: u32| {
            let (server, value) = (&server, &value);
            scope.spawn(move || {
                for number in 0.. {
                    assert!(Instant::now() < deadline, "the disk never filled");
                    let answer = client(server).put(&format!("/v1/keys/big/{writer}/{number}"), value);
                    match (answer.status, answer.code().as_str()) {
                        (201, _) => {}
                        (507, "quota_exceeded") => return number,
                        (status, code) => panic!("{status} {code}: {}", server.log()),
                    }
                }
                0
            })
        };
        let writers: Vec<_> = (0..32).map(fill).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    let listed = client(&server).get("/v1/keys/big/?recursive=true&countOnly=true").value();
    assert_eq!(listed["count"], stored);
    assert!(stored > 32, "full after {stored} values");
    let revision = client(&server).delete("/v1/keys/big/0/?recursive=true").expect(200).value()["revision"].clone();
    client(&server).post("/v1/maintenance:compact", format!("{{\"revision\":{revision}}}")).expect(200);
}
