//! What people already have: Debian's `etcdctl` with `ETCDCTL_API=2`, and a client library from each of two registries, run
//! against etcd and against Vardr. What they print, and how they end, is the same.
//!
//! Both servers begin at the same index, so that indices are compared as they are printed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::panic;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::pair::Pair;
use crate::request::{Indices, Request, Text};
use crate::support;
use crate::support::bench::Bench;
use crate::support::etcd::{Etcd, no_etcdctl};
use crate::support::volume::not_run;
use crate::support::{until_known, words};

/// How long a program may take to hear of a change.
const LIMIT: Duration = Duration::from_secs(30);

/// How a program ended, and what it printed, with what belongs to the server replaced.
type Said = (Option<i32>, String, String);

fn etcdctl(address: &str) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "2").args(["--endpoints", &format!("http://{address}")]).stdin(Stdio::null());
    command
}

fn said(output: &Output, address: &str) -> Said {
    let text = |bytes: &[u8]| neutral(&String::from_utf8_lossy(bytes), address);
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The text without addresses, ids and dates.
fn neutral(text: &str, address: &str) -> String {
    let text = text.replace(address, "SERVER");
    let word = |word: &str| {
        let bare = word.trim_end_matches([':', ',']);
        let is_id = bare.len() > 8 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_peer = bare.starts_with("peerURLs=");
        let is_name = bare.starts_with("name=");
        match () {
            () if is_id => word.replace(bare, "ID"),
            () if is_peer => "peerURLs=PEER".to_owned(),
            () if is_name => "name=NAME".to_owned(),
            () => word.to_owned(),
        }
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// One of etcd's members and one under test, at the same index with nothing in them.
fn bench() -> (Bench, Pair) {
    let bench = crate::bench(1);
    let pair = bench.pairs(Pair::new).pop().unwrap();
    // A program asks a member where all are reached.
    for address in [&pair.left, &pair.right] {
        until_known(address);
    }
    pair.play(&[]);
    (bench, pair)
}

/// Runs `etcdctl` with these arguments against both and compares.
#[track_caller]
fn same(pair: &Pair, arguments: &str) -> Said {
    let run = |address: &str| said(&etcdctl(address).args(words(arguments)).output().unwrap(), address);
    let (left, right) = (run(&pair.left), run(&pair.right));
    assert_eq!(left, right, "etcdctl {arguments}: left is etcd's");
    left
}

#[test]
fn etcdctl_says_the_same_of_both() {
    if let Some(why) = Etcd::hindrance().or_else(no_etcdctl) {
        return not_run(why);
    }
    let (_bench, pair) = bench();
    let lines = "
        ls
        mk /c/a one
        mk /c/a two
        mk --in-order /c/queue job
        -o extended mk --in-order /c/queue job2
        mkdir /c/d
        mkdir /c/d
        mkdir --ttl 500 /c/short
        set /c/a 'two words'
        -o extended set /c/a three
        set --ttl 500 /c/t brief
        set --swap-with-value three /c/a four
        set --swap-with-value three /c/a five
        set --swap-with-index 1 /c/a five
        set /c/d file
        set /c/a/below x
        set /_hidden x
        setdir /c/s
        setdir /c/s
        setdir --ttl 500 /c/s2
        updatedir --ttl 400 /c/s2
        update /c/a six
        update --ttl 500 /c/a seven
        update /c/missing x
        get /c/a
        -o extended get /c/a
        -o json get /c/d
        get --quorum /c/a
        get /c/missing
        get /c/d
        ls /
        ls --recursive --sort /c
        ls -p --sort /c
        ls -r -p --sort
        ls /c/a
        ls /c/missing
        rm /c/t
        rm /c/t
        rm /c/d
        rm --dir /c/queue
        rm --with-value six /c/a
        rm --with-value seven /c/a
        -o extended rm --recursive /c/queue
        rmdir /c/d
        rmdir /c/d
        rmdir /c
        rm --with-index 1 /_hidden
        set
        get
        rm --recursive /
        member list
        cluster-health
    ";
    let mut ended = std::collections::BTreeSet::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        ended.insert(same(&pair, line).0);
    }
    // It was no row of refusals.
    assert!(ended.contains(&Some(0)) && ended.contains(&Some(4)), "{ended:?}");
}

#[test]
fn etcdctl_says_the_same_of_users_and_roles() {
    if let Some(why) = Etcd::hindrance().or_else(no_etcdctl) {
        return not_run(why);
    }
    let (_bench, pair) = bench();
    let lines = "
        user list
        role list
        role get root
        user add ann:one
        user add ann:two
        user add --help
        user get ann
        user get none
        role add dev
        role add dev
        role add root
        role get dev
        role grant dev --path /a --read
        role grant dev --path /a* --readwrite
        role grant dev --path /a* --write
        role grant none --path /a --read
        role grant dev --path word --read
        role get dev
        role revoke dev --path /a* --write
        role revoke dev --path /none --read
        role get dev
        user grant ann --roles dev
        user grant ann --roles dev
        user grant ann --roles none,guest
        user get ann
        user revoke ann --roles none
        user revoke ann --roles none
        user revoke ann --roles guest
        user get ann
        user list
        role list
        role remove dev
        role remove dev
        role remove root
        role get dev
        user get ann
        user remove ann
        user remove ann
        user list
        auth enable
        auth disable
    ";
    let mut ended = BTreeMap::<_, u64>::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        *ended.entry(same(&pair, line).0).or_default() += 1;
    }
    assert!(ended.len() > 1 && ended[&Some(0)] > 15, "{ended:?}");
    // The password is asked for.
    let say = |address: &str| {
        let mut command = etcdctl(address);
        command.args(["user", "passwd", "bob"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(b"new\n");
        said(&child.wait_with_output().unwrap(), address)
    };
    same(&pair, "user add bob:old");
    let (left, right) = (say(&pair.left), say(&pair.right));
    assert_eq!(left, right, "etcdctl user passwd bob: left is etcd's");
    assert_eq!(left.0, Some(0), "{}", left.2);
}

/// Starts `etcdctl` and reads the lines it prints as they come.
fn follow(address: &str, arguments: &str) -> (std::process::Child, mpsc::Receiver<String>) {
    let mut child = etcdctl(address).args(words(arguments)).stdout(Stdio::piped()).spawn().unwrap();
    let (lines, heard) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    (child, heard)
}

/// What `etcdctl` prints first while somebody writes to the key until it has.
fn first_heard(address: &str, arguments: &str, key: &str) -> String {
    let (mut child, heard) = follow(address, arguments);
    let write = format!("{key}?value=news");
    let client = support::http::Client::new(address);
    let deadline = Instant::now() + LIMIT;
    let line = loop {
        client.put(&write, "").expect(200);
        match heard.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => break line,
            Err(_) => assert!(Instant::now() < deadline, "etcdctl {arguments} hears nothing"),
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    line
}

#[test]
fn etcdctl_watches_both_alike() {
    if let Some(why) = Etcd::hindrance().or_else(no_etcdctl) {
        return not_run(why);
    }
    let (_bench, pair) = bench();
    for line in ["set /w/a old", "set /w/a new", "set /w/b other"] {
        same(&pair, line);
    }
    let from = pair.play(&[]).base;
    // What is past is answered from the history, at once.
    for line in ["set /w/a 1", "set /w/a/b 2", "set /w/c 3", "rm /w/c"] {
        same(&pair, line);
    }
    for line in [
        format!("watch --after-index {from} /w/a"),
        format!("-o extended watch --after-index {from} --recursive /w"),
        format!("watch --after-index {} /w/c", from + 2),
    ] {
        assert_eq!(same(&pair, &line).0, Some(0));
    }
    // What is to come wakes it.
    for line in [
        "watch /w/a",
        "watch --forever --recursive /w",
        "exec-watch --recursive /w -- sh -c 'echo $ETCD_WATCH_ACTION $ETCD_WATCH_VALUE'",
    ] {
        let heard = |address: &str| first_heard(address, line, "/v2/keys/w/a");
        assert_eq!(heard(&pair.left), heard(&pair.right), "etcdctl {line}");
    }
}

/// Runs a program that uses a library against both and compares what it prints.
fn same_program(interpreter: &Path, program: &str, environment: (&str, &str)) {
    let (_bench, pair) = bench();
    let run = |address: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects/clients").join(program);
        let output = Command::new(interpreter).arg(path).arg(address).env(environment.0, environment.1).output();
        let output =
            output.unwrap_or_else(|error| panic!("{}: {error}; make tools installs it", interpreter.display()));
        said(&output, address)
    };
    let known = run(&pair.left);
    assert_eq!(known.0, Some(0), "{program} fails at etcd:\n{}\n{}", known.1, known.2);
    let right = run(&pair.right);
    for (left, right) in known.1.lines().zip(right.1.lines()) {
        assert_eq!(left, right, "{program}: left is etcd's");
    }
    assert_eq!(known, right, "{program}: left is etcd's");
    assert!(known.1.lines().count() > 20, "{}", known.1);
}

#[test]
fn python_etcd_finds_no_difference() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients");
    same_program(&installed.join("venv/bin/python"), "v2.py", ("PYTHONDONTWRITEBYTECODE", "1"));
}

#[test]
fn etcdjs_finds_no_difference() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients/npm/node_modules");
    same_program(Path::new("node"), "v2.js", ("NODE_PATH", installed));
}

/// The comparison of programs looks at what is written: an unequal store is seen.
#[test]
fn a_program_that_finds_a_difference_fails() {
    if let Some(why) = Etcd::hindrance().or_else(no_etcdctl) {
        return not_run(why);
    }
    let (_bench, pair) = bench();
    let put = Request::new("PUT", "/v2/keys/only").with("value", Text::Plain("here".to_owned()));
    let wire = put.wire(&Indices::default());
    support::http::Client::new(&pair.right).raw(&wire).expect(201);
    let found = panic::catch_unwind(|| same(&pair, "get /only")).unwrap_err();
    let message = found.downcast_ref::<String>().unwrap();
    assert!(message.contains("left is etcd's"), "{message}");
}
