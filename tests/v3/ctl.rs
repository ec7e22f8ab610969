//! etcd's own client, `etcdctl` as Debian has it: watching, locking, standing for election and saving a snapshot, as somebody
//! at a terminal does.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::snapshot::restore;
use crate::support::http::Client;
use crate::support::volume::not_run;
use crate::support::{Server, until};

/// A call of `etcdctl` that goes on; killed when dropped.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// The next line that it prints.
    fn line(&mut self) -> String {
        self.lines.next().expect("it has ended").unwrap()
    }

    fn lines(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.line()).collect()
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(server: &Server, args: &[&str]) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", &server.url()]).args(args).stderr(Stdio::null());
    command
}

fn begin(server: &Server, args: &[&str]) -> Running {
    let mut child = command(server, args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    Running { child, lines }
}

fn run(server: &Server, args: &[&str]) -> String {
    let output = command(server, args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether there is no `etcdctl` here; says so.
fn is_missing() -> bool {
    let missing = Command::new("etcdctl").env("ETCDCTL_API", "3").arg("version").output().is_err();
    if missing {
        not_run("there is no etcdctl");
    }
    missing
}

/// Waits until so many watches run.
fn until_watched(server: &Server, count: usize) {
    let (client, line) = (Client::new(server.address()), format!("vardr_watchers {count}"));
    until("nobody watches", || client.get("/metrics").text().lines().any(|found| found == line));
}

#[test]
fn it_watches_a_prefix_and_shows_what_was_before() {
    if is_missing() {
        return;
    }
    let server = Server::start();
    let mut watch = begin(&server, &["watch", "--prefix", "--prev-kv", "p"]);
    until_watched(&server, 1);
    for args in [&["put", "p1", "a"][..], &["put", "other", "x"], &["put", "p1", "b"], &["del", "p1"]] {
        run(&server, args);
    }
    let printed = ["PUT", "p1", "a", "PUT", "p1", "a", "p1", "b", "DELETE", "p1", "b", "p1"];
    assert_eq!(watch.lines(printed.len()), printed);
}

#[test]
fn it_watches_from_a_revision_on_and_says_what_was_compacted() {
    if is_missing() {
        return;
    }
    let server = Server::start();
    for value in ["2", "3", "4"] {
        run(&server, &["put", "a", value]);
    }
    let mut watch = begin(&server, &["watch", "--rev", "3", "a"]);
    assert_eq!(watch.lines(6), ["PUT", "a", "3", "PUT", "a", "4"]);
    run(&server, &["compact", "4"]);
    let output = command(&server, &["watch", "--rev", "2", "a"]).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("required revision has been compacted"), "{said}");
    assert!(!output.status.success());
}

#[test]
fn it_watches_what_it_is_told_at_a_prompt_and_asks_how_far_it_has_come() {
    if is_missing() {
        return;
    }
    let server = Server::start();
    let mut watch = begin(&server, &["watch", "-i"]);
    watch.say("watch i");
    watch.say("watch j k");
    until_watched(&server, 2);
    run(&server, &["put", "i", "1"]);
    assert_eq!(watch.lines(3), ["PUT", "i", "1"]);
    run(&server, &["put", "j5", "2"]);
    assert_eq!(watch.lines(3), ["PUT", "j5", "2"]);
    watch.say("progress");
    assert_eq!(watch.line(), "progress notify: 3");
}

#[test]
fn it_locks_one_after_the_other() {
    if is_missing() {
        return;
    }
    let server = Server::start();
    let mut first = begin(&server, &["lock", "L"]);
    let held = first.line();
    let second = begin(&server, &["lock", "L"]);
    let places = || run(&server, &["get", "L/", "--prefix", "--keys-only"]).split_whitespace().count();
    until("nobody waits", || places() == 2);
    let second = std::thread::spawn(move || {
        let mut second = second;
        (second.line(), second)
    });
    assert!(held.starts_with("L/") && !second.is_finished());
    run(&server, &["del", &held]);
    let (next, _second) = second.join().unwrap();
    assert!(next.starts_with("L/") && next != held);
    assert_eq!(run(&server, &["lock", "M", "echo", "inside"]), "inside\n");
}

#[test]
fn it_stands_for_election_and_follows_who_leads() {
    if is_missing() {
        return;
    }
    let server = Server::start();
    let mut first = begin(&server, &["elect", "E", "one"]);
    let [key, value] = <[String; 2]>::try_from(first.lines(2)).unwrap();
    assert!(key.starts_with("E/") && value == "one");
    let mut follows = begin(&server, &["elect", "-l", "E"]);
    assert_eq!(follows.lines(2), [key.as_str(), "one"]);
    let mut second = begin(&server, &["elect", "E", "two"]);
    until("nobody waits", || run(&server, &["get", "E/", "--prefix", "--keys-only"]).split_whitespace().count() == 2);
    run(&server, &["del", &key]);
    let [next, value] = <[String; 2]>::try_from(second.lines(2)).unwrap();
    assert!(next != key && value == "two");
    assert_eq!(follows.lines(2), [next.as_str(), "two"]);
}

#[test]
fn it_names_an_endpoint_with_its_scheme_where_it_speaks_to_that_one_alone() {
    if is_missing() {
        return;
    }
    let server = Server::start();
    run(&server, &["put", "a", "1"]);
    let status = run(&server, &["endpoint", "status"]);
    assert!(status.starts_with(&format!("{}, ", server.url())), "{status}");
    let hash = run(&server, &["endpoint", "hashkv"]);
    assert!(hash.starts_with(&format!("{}, ", server.url())), "{hash}");
    run(&server, &["defrag"]);
    run(&server, &["endpoint", "health"]);
}

#[test]
fn it_saves_a_snapshot_that_is_restored_by_the_command() {
    if is_missing() {
        return;
    }
    let server = Server::start();
    run(&server, &["put", "a", "1"]);
    let dir = tempfile::tempdir().unwrap();
    let (file, data_dir) = (dir.path().join("saved.db"), dir.path().join("data"));
    let mut save = command(&server, &["snapshot", "save", file.to_str().unwrap()]);
    assert!(save.status().unwrap().success());
    restore(&file, &data_dir).unwrap();
    let restored = Server::try_start_in(&data_dir, &[]).unwrap();
    assert_eq!(run(&restored, &["get", "a"]), "a\n1\n");
    // It is no database of bbolt's, and nothing that it says of one.
    let status = command(&server, &["snapshot", "status", file.to_str().unwrap()]).output().unwrap();
    assert!(!status.status.success());
}
