//! `vardr lock`: one command at a time, a token that rises, and nothing left behind however it ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vardr::api::v1::schema::{LockObject, LockQueue};

use super::support::Server;
use super::support::http::Client;
use super::{Running, client, eventually, is_alive, run, text};

/// Says its number and its token, and lives until it is told to end.
const STAYS: &str = "echo \"$$ $VARDR_FENCING_TOKEN\"; while :; do sleep 0.02; done";

/// The exit code for a lock that was lost.
const LOST: Option<i32> = Some(7);

fn lock<'a>(more: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["lock", "jobs"], more, &["--", "sh", "-c", script]].concat()
}

fn queue(server: &Server) -> LockQueue {
    client(server).get("/v1/locks/jobs").expect(200).shape()
}

fn holder(server: &Server) -> Option<LockObject> {
    queue(server).holder
}

/// A line of [`STAYS`]: the process, and its token.
fn seen(line: &str) -> (u32, u64) {
    let (pid, token) = line.split_once(' ').unwrap();
    (pid.parse().unwrap(), token.parse().unwrap())
}

#[test]
fn the_command_knows_its_lock_and_a_token_that_rises() {
    let server = Server::start();
    let script = "echo $VARDR_LOCK_NAME $VARDR_LOCK_HOLDER $VARDR_FENCING_TOKEN";
    let mut last = 0;
    for _ in 0..3 {
        let printed = text(&run(&server, &lock(&[], script)).stdout);
        let [name, id, token] = printed.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{printed}") };
        assert_eq!(name, "jobs");
        assert!(u64::from_str_radix(id, 16).is_ok(), "{id}");
        let token: u64 = token.parse().unwrap();
        assert!(token > last, "{token} after {last}");
        last = token;
    }
    assert_eq!(holder(&server), None);
}

#[test]
fn what_the_command_ends_with_is_passed_on_and_the_lock_given_back() {
    let server = Server::start();
    for (script, code) in [("exit 0", 0), ("exit 9", 9), ("kill -9 $$", 137)] {
        assert_eq!(run(&server, &lock(&[], script)).status.code(), Some(code), "{script}");
        assert_eq!(holder(&server), None, "{script}");
    }
    assert_eq!(run(&server, &["lock", "jobs", "--", "no-such-command"]).status.code(), Some(127));
    assert_eq!(holder(&server), None);
    assert_eq!(run(&server, &["lock", "jobs", "--endpoint", "127.0.0.1:1", "--", "true"]).status.code(), Some(5));
    assert_eq!(run(&server, &["lock", "..", "--", "true"]).status.code(), Some(2));
    assert_eq!(run(&server, &["lock", "jobs", "--ttl", "10ms", "--", "true"]).status.code(), Some(2));
    assert_eq!(text(&run(&server, &["lock", "/a//b:keepalive", "--", "echo", "ran"]).stdout), "ran\n");
}

#[test]
fn two_commands_never_run_at_once() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log");
    let script = format!("echo begin >> {0}; sleep 0.05; echo end >> {0}", file.display());
    let mut all: Vec<Running> = (0..6).map(|_| Running::start(&server, &lock(&[], &script))).collect();
    for running in &mut all {
        assert!(running.wait().success(), "{}", running.complaints());
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "begin\nend\n".repeat(6));
}

#[test]
fn a_lock_that_is_held_is_waited_for_no_longer_than_was_said() {
    let server = Server::start();
    let mut first = Running::start(&server, &lock(&["--owner", "first"], STAYS));
    first.next();
    assert_eq!(holder(&server).unwrap().owner.as_deref(), Some("first"));
    for more in [&["--try"][..], &["--wait", "200ms"]] {
        let output = run(&server, &lock(more, "echo ran"));
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(4), String::new()));
        assert!(text(&output.stderr).contains("(lock_held)"), "{}", text(&output.stderr));
        assert_eq!(queue(&server).queue, []);
    }
    assert_eq!(first.end(), Some(143));
}

#[test]
fn a_signal_while_it_waits_leaves_no_place() {
    let server = Server::start();
    let first = Running::start(&server, &lock(&[], STAYS));
    first.next();
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut second = Running::start(&server, &lock(&["--ttl", "1h"], "echo ran"));
        eventually("it waits", || queue(&server).queue.len() == 1);
        second.signal(signal);
        assert_eq!(second.wait().code(), Some(code));
        eventually("its place is gone", || queue(&server).queue.is_empty());
    }
}

/// What stands before a server, passes requests on to it and answers back, and has its own way with renewals.
struct Front {
    address: String,
    /// Renewals that have come.
    renewals: Arc<AtomicUsize>,
}

impl Front {
    /// Renewals are answered with what this makes of their number, from 0; `None` passes them on.
    fn before(server: &Server, renewal: fn(usize) -> Option<&'static str>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let renewals = Arc::new(AtomicUsize::new(0));
        let (client, count) = (client(server), Arc::clone(&renewals));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (client, count) = (client.clone(), Arc::clone(&count));
                thread::spawn(move || {
                    pass(stream, &client, |path| {
                        let is_renewal = path.ends_with(":keepalive");
                        is_renewal.then(|| renewal(count.fetch_add(1, Ordering::SeqCst))).flatten()
                    });
                });
            }
        });
        Self { address, renewals }
    }

    fn renewals(&self) -> usize {
        self.renewals.load(Ordering::SeqCst)
    }
}

/// Passes one request on, and its answer back, unless there is an answer of one's own to its path: empty to keep silent.
fn pass(mut stream: TcpStream, server: &Client, answer: impl Fn(&str) -> Option<&'static str>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    let Some((method, rest)) = first.split_once(' ') else { return };
    let path = rest.split(' ').next().unwrap();
    for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let written = match answer(path) {
        // Until it hangs up.
        Some("") => reader.read(&mut [0]).map(drop),
        Some(own) => write!(stream, "HTTP/1.1 {own}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        None => {
            let passed = server.send(method, path, &[], &body);
            let (status, length) = (passed.status, passed.body.len());
            write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
                .and_then(|()| stream.write_all(&passed.body))
        }
    };
    // Whoever asked may be gone.
    drop(written);
}

/// A command that waits at the front for longer than a third of its time, and the token of its place.
fn waits_long(server: &Server, front: &Front) -> (Running, u64) {
    let mut first = Running::start(server, &lock(&[], STAYS));
    first.next();
    let began = Instant::now();
    let second = Running::start(server, &lock(&["--ttl", "3s", "--endpoint", &front.address], STAYS));
    eventually("it waits", || queue(server).queue.len() == 1);
    let token = queue(server).queue[0].fencing_token;
    eventually("it waits long", || began.elapsed() > Duration::from_secs(2));
    first.end();
    (second, token)
}

#[test]
fn a_place_that_a_server_does_not_confirm_at_first_is_kept() {
    let server = Server::start();
    let front = Front::before(&server, |number| (number < 2).then_some("503 Service Unavailable"));
    let (mut second, token) = waits_long(&server, &front);
    assert_eq!(seen(&second.next()).1, token);
    assert!(front.renewals() > 2);
    assert_eq!(queue(&server).queue, []);
    assert_eq!(second.end(), Some(143));
    assert_eq!(holder(&server), None);
}

#[test]
fn a_signal_while_a_place_is_confirmed_gives_it_back() {
    let server = Server::start();
    let front = Front::before(&server, |_| Some(""));
    let (mut second, token) = waits_long(&server, &front);
    eventually("it is to be confirmed", || front.renewals() > 0);
    assert_eq!(holder(&server).unwrap().fencing_token, token);
    second.signal(Signal::TERM);
    assert_eq!(second.wait().code(), Some(143));
    assert_eq!(holder(&server), None);
}

#[test]
fn a_place_that_no_server_confirms_is_given_back_before_it_is_asked_for_again() {
    let server = Server::start();
    let front = Front::before(&server, |_| Some("500 Internal Server Error"));
    let (second, token) = waits_long(&server, &front);
    // Asked for again, it is had at once and not confirmed.
    let (_, again) = seen(&second.next());
    assert!(again > token);
    assert_eq!(queue(&server).queue, [], "it waits behind nobody");
}

#[test]
fn a_signal_reaches_the_command_which_keeps_the_lock_until_it_ends() {
    let server = Server::start();
    let script = "trap 'echo told; read -r _ < \"$GATE\"; exit 3' TERM; echo ready; while :; do sleep 0.02; done";
    let dir = tempfile::tempdir().unwrap();
    let gate = dir.path().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let script = script.replace("$GATE", gate.to_str().unwrap());
    let mut running = Running::start(&server, &lock(&[], &script));
    assert_eq!(running.next(), "ready");
    running.signal(Signal::TERM);
    assert_eq!(running.next(), "told");
    assert!(holder(&server).is_some(), "the command has not ended");
    fs::write(&gate, "go\n").unwrap();
    assert_eq!(running.wait().code(), Some(3));
    assert_eq!(holder(&server), None);
}

#[test]
fn whoever_is_killed_leaves_no_command_and_a_lock_that_is_soon_free() {
    let server = Server::start();
    let mut first = Running::start(&server, &lock(&["--ttl", "1s"], STAYS));
    let (pid, token) = seen(&first.next());
    let second = Running::start(&server, &lock(&[], STAYS));
    first.signal(Signal::KILL);
    first.wait();
    eventually("the command is killed with it", || !is_alive(pid));
    assert!(seen(&second.next()).1 > token);
}

#[test]
fn a_server_that_starts_again_finds_the_lock_kept_and_the_command_untouched() {
    let mut server = Server::start();
    let mut running = Running::start(&server, &lock(&["--ttl", "12s"], STAYS));
    let (pid, token) = seen(&running.next());
    server.kill();
    running.hears("the lock `jobs` is kept for");
    server.restart();
    running.hears("the lock `jobs` is kept again");
    assert_eq!(holder(&server).unwrap().fencing_token, token);
    assert!(is_alive(pid));
    assert_eq!(running.end(), Some(143));
    assert_eq!(holder(&server), None);
}

#[test]
fn a_lock_taken_away_ends_the_command() {
    let server = Server::start();
    let mut running = Running::start(&server, &lock(&["--ttl", "1s"], STAYS));
    let (pid, _) = seen(&running.next());
    let id = holder(&server).unwrap().holder;
    client(&server).delete(&format!("/v1/locks/jobs/{id}")).expect(200);
    assert_eq!(running.wait().code(), LOST);
    assert!(running.complaints().contains("the lock `jobs` is lost: "), "{}", running.complaints());
    assert!(!is_alive(pid));
}

#[test]
fn a_lock_that_no_server_confirms_ends_even_a_command_that_does_not_listen() {
    let mut server = Server::start();
    let script = "trap 'echo told' TERM; echo $$; while :; do sleep 0.02; done";
    let mut running = Running::start(&server, &lock(&["--ttl", "1s", "--kill-after", "100ms"], script));
    let pid = running.next().parse().unwrap();
    server.kill();
    assert_eq!(running.next(), "told");
    assert_eq!(running.wait().code(), LOST);
    assert!(running.complaints().contains("no server confirmed it for 1s"), "{}", running.complaints());
    assert!(!is_alive(pid));
}

#[test]
fn without_a_command_the_lock_is_held_until_a_signal_comes() {
    let server = Server::start();
    let mut running = Running::start(&server, &["lock", "jobs"]);
    let token: u64 = running.next().parse().unwrap();
    assert_eq!(holder(&server).unwrap().fencing_token, token);
    assert_eq!(running.end(), Some(0));
    assert_eq!(holder(&server), None);
    let running = Running::start(&server, &["lock", "jobs", "-o", "json"]);
    let lock: LockObject = serde_json::from_str(&running.next()).unwrap();
    assert!(lock.fencing_token > token);
}
