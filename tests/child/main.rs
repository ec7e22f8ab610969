//! The commands that run other programs, against a real server: `exec` in `exec.rs`, `template` in `template.rs`, `lock` in
//! `lock.rs`, `elect` in `elect.rs`, `register` in `register.rs`.
//!
//! What runs is `sh`, which says on its standard output what it sees, so that tests wait for lines and never for time.

#![cfg(test)]

mod elect;
mod exec;
mod lock;
mod register;
#[path = "../support/mod.rs"]
mod support;
mod template;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::Server;
use support::http::Client;

/// How long anything awaited may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// `vardr` in a process group of its own, so that a terminal on which the tests run plays no part, nor what is ignored by a shell that runs
/// them in the background.
fn vardr(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,QUIT", env!("CARGO_BIN_EXE_vardr")]);
    command.args(arguments).env("VARDR_ENDPOINT", server.url()).stdin(Stdio::null()).process_group(0);
    command
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    vardr(server, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn client(server: &Server) -> Client {
    Client::new(server.address())
}

/// Waits until something holds.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process is there and has not ended; one that has may be left to nobody who asks how.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A `vardr` that goes on, what it and its command print, and its complaints.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    complaints: Arc<Mutex<String>>,
}

impl Running {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let mut command = vardr(server, arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let complaints = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&complaints);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                heard.lock().unwrap().push_str(&text(&buffer[..length]));
            }
        });
        Self { child, lines, complaints }
    }

    /// The next line of the command.
    fn next(&self) -> String {
        let line = self.lines.recv_timeout(LIMIT);
        line.unwrap_or_else(|_| panic!("the command says nothing more:\n{}", self.complaints()))
    }

    fn complaints(&self) -> String {
        self.complaints.lock().unwrap().clone()
    }

    fn hears(&self, what: &str) {
        eventually(what, || self.complaints().contains(what));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.complaints());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Tells it to end, and waits for that.
    fn end(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
