//! `vardr exec`: variables, changes, signals, ends, and a server that goes away.

use std::fs;

use rustix::process::Signal;

use super::support::Server;
use super::{Running, client, eventually, is_alive, run, text};

/// Says its number and a variable, and lives until it is told to end.
const STAYS: &str = "echo \"$$ $GREETING\"; while :; do sleep 0.02; done";

fn exec<'a>(more: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["exec", "--prefix", "/app"], more, &["--", "sh", "-c", script]].concat()
}

/// A line of [`STAYS`]: the process, and what it saw.
fn seen(line: &str) -> (u32, String) {
    let (pid, value) = line.split_once(' ').unwrap();
    (pid.parse().unwrap(), value.to_owned())
}

#[test]
fn keys_are_the_variables_of_the_command() {
    let server = Server::start();
    let client = client(&server);
    client.put("/v1/keys/app/db/url", "postgres://db").expect(201);
    client.put("/v1/keys/app/2fa", b"\xff\n").expect(201);
    client.put("/v1/keys/app/empty/", "").expect(201);
    let output = run(&server, &exec(&["--once"], "printf '%s|%s|%s' \"$DB_URL\" \"$_2FA\" \"$1\""));
    assert_eq!(output.stdout, b"postgres://db|\xff\n|");
    client.put("/v1/keys/more/db-url", "other").expect(201);
    let output = run(&server, &exec(&["--once", "--prefix", "/more/"], "echo $DB_URL"));
    assert_eq!(text(&output.stdout), "other\n", "the last prefix wins");
    let output = run(&server, &exec(&["--once", "--names", "keep"], "echo $db_url"));
    assert_eq!(text(&output.stdout), "postgres://db\n");
}

#[test]
fn arguments_of_the_command_are_left_alone() {
    let server = Server::start();
    let output = run(&server, &["exec", "--prefix", "/app", "--once", "--", "echo", "-name", "--", "-o"]);
    assert_eq!(text(&output.stdout), "-name -- -o\n");
}

#[test]
fn the_end_of_the_command_is_the_end_of_vardr() {
    let server = Server::start();
    let code = |more: &[&str], script: &str| run(&server, &exec(more, script)).status.code();
    assert_eq!(code(&[], "exit 0"), Some(0));
    assert_eq!(code(&[], "exit 7"), Some(7));
    assert_eq!(code(&["--once"], "exit 7"), Some(7));
    assert_eq!(code(&[], "kill -9 $$"), Some(137));
    let output = run(&server, &["exec", "--prefix", "/app", "--", "no-such-command"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(text(&output.stderr).ends_with("vardr: no-such-command: command not found\n"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let output = run(&server, &["exec", "--prefix", "/app", "--", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(126));
}

#[test]
fn what_cannot_be_a_variable_is_named_and_nothing_runs() {
    let server = Server::start();
    let client = client(&server);
    client.put("/v1/keys/app/x", b"a\0b").expect(201);
    let output = run(&server, &exec(&[], "echo ran"));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    assert!(text(&output.stderr).contains("/app/x"), "{}", text(&output.stderr));
    client.put("/v1/keys/app/x", "fine").expect(200);
    client.put("/v1/keys/app/X", "too").expect(201);
    let output = run(&server, &exec(&[], "echo ran"));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    assert!(text(&output.stderr).contains("/app/X and /app/x both become the variable X"));
    let output = run(&server, &["exec", "--prefix", "/app", "--endpoint", "127.0.0.1:1", "--", "true"]);
    assert_eq!(output.status.code(), Some(5));
    let output = run(&server, &["exec", "--prefix", "no//directory", "--", "true"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_change_starts_the_command_again_and_nothing_else_does() {
    let server = Server::start();
    let client = client(&server);
    client.put("/v1/keys/app/greeting", "one").expect(201);
    let mut running = Running::start(&server, &exec(&[], STAYS));
    let (first, value) = seen(&running.next());
    assert_eq!(value, "one");
    client.put("/v1/keys/app/greeting", "one").expect(200);
    client.put("/v1/keys/elsewhere", "x").expect(201);
    client.put("/v1/keys/app/greeting", "two").expect(200);
    let (second, value) = seen(&running.next());
    assert_eq!(value, "two");
    assert!(!is_alive(first));
    client.delete("/v1/keys/app/greeting").expect(200);
    let (third, value) = seen(&running.next());
    assert_eq!(value, "", "a variable goes with its key");
    assert!(!is_alive(second));
    assert_eq!(running.end(), Some(143));
    assert!(!is_alive(third));
}

#[test]
fn what_cannot_be_used_after_a_change_leaves_the_command_alone() {
    let server = Server::start();
    let client = client(&server);
    client.put("/v1/keys/app/greeting", "one").expect(201);
    let running = Running::start(&server, &exec(&[], STAYS));
    let (first, _) = seen(&running.next());
    client.put("/v1/keys/app/Greeting", "two").expect(201);
    running.hears("both become the variable GREETING");
    assert!(is_alive(first));
    client.delete("/v1/keys/app/greeting").expect(200);
    assert_eq!(seen(&running.next()).1, "two");
}

#[test]
fn a_signal_in_place_of_a_new_start_comes_with_each_change() {
    let server = Server::start();
    let client = client(&server);
    client.put("/v1/keys/app/greeting", "one").expect(201);
    let script = format!("trap 'echo $$ $GREETING again' HUP; {STAYS}");
    let mut running = Running::start(&server, &exec(&["--signal", "HUP"], &script));
    let first = seen(&running.next());
    client.put("/v1/keys/app/greeting", "two").expect(200);
    assert_eq!(seen(&running.next()), (first.0, "one again".to_owned()));
    assert_eq!(running.end(), Some(143));
}

#[test]
fn signals_reach_the_command_and_its_answer_counts() {
    let server = Server::start();
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP"), (Signal::QUIT, "QUIT")] {
        let script = format!("trap 'echo told; exit 9' {name}; {STAYS}");
        let mut running = Running::start(&server, &exec(&[], &script));
        let (pid, _) = seen(&running.next());
        running.signal(signal);
        assert_eq!(running.next(), "told");
        assert_eq!(running.wait().code(), Some(9), "{name}");
        assert!(!is_alive(pid));
    }
}

#[test]
fn a_command_that_does_not_end_in_time_is_killed() {
    let server = Server::start();
    let script = format!("trap '' TERM; {STAYS}");
    let mut running = Running::start(&server, &exec(&["--kill-after", "100ms"], &script));
    let (pid, _) = seen(&running.next());
    assert_eq!(running.end(), Some(137));
    assert!(!is_alive(pid));
}

#[test]
fn a_command_does_not_outlive_a_vardr_that_is_killed() {
    let server = Server::start();
    let mut running = Running::start(&server, &exec(&[], STAYS));
    let (pid, _) = seen(&running.next());
    running.signal(Signal::KILL);
    running.wait();
    eventually("the command is gone", || !is_alive(pid));
}

#[test]
fn the_command_goes_on_while_the_server_is_away() {
    let mut server = Server::start();
    client(&server).put("/v1/keys/app/greeting", "one").expect(201);
    let mut running = Running::start(&server, &exec(&[], STAYS));
    let (first, _) = seen(&running.next());
    server.kill();
    running.hears("the command goes on");
    server.restart();
    running.hears("connected again");
    assert!(is_alive(first));
    client(&server).put("/v1/keys/app/greeting", "two").expect(200);
    assert_eq!(seen(&running.next()).1, "two", "there was no start in between");
    assert_eq!(running.complaints().matches("the command goes on").count(), 1, "{}", running.complaints());
    assert_eq!(running.end(), Some(143));
}

#[test]
fn a_change_that_was_compacted_while_the_server_was_away_is_seen() {
    let mut server = Server::start();
    client(&server).put("/v1/keys/app/greeting", "one").expect(201);
    let running = Running::start(&server, &exec(&[], STAYS));
    let (first, _) = seen(&running.next());
    // Nothing is heard while it is stopped: on its return the connection is broken, and the past behind it gone.
    running.signal(Signal::STOP);
    let client = client(&server);
    for value in ["two", "three", "four"] {
        client.put("/v1/keys/app/greeting", value).expect(200);
    }
    let revision = client.get("/v1/keys/app/greeting").value()["modRevision"].clone();
    server.kill();
    server.restart();
    super::run(&server, &["compact", &revision.to_string()]);
    running.signal(Signal::CONT);
    assert_eq!(seen(&running.next()).1, "four");
    assert!(!is_alive(first));
}
