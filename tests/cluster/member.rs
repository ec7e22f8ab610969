//! One member as a process of its own: started, stopped, paused and killed as an operator or a bad day would.
//!
//! Knows nothing of the other members but what its command line says.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::clocks::Clock;

/// How long a process may take to end after SIGTERM: longer than the server lets requests finish.
const END_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to find out that it cannot start: a member that joins asks the others for 10 s.
const REFUSED_LIMIT: Duration = Duration::from_secs(20);

/// A member, whether it runs or not. Killed when dropped.
pub(crate) struct Member {
    /// The directory that everything of it is in.
    home: PathBuf,
    command: Vec<String>,
    /// A wall clock of its own, where it has one.
    clock: Option<Clock>,
    child: Option<Child>,
}

impl Member {
    /// A member that does not run yet: its data and its log will be in `home`.
    pub(crate) fn new(home: PathBuf, flags: Vec<String>) -> Self {
        fs::create_dir_all(&home).unwrap();
        let mut command = vec!["--data-dir".to_owned(), home.join("data").to_str().unwrap().to_owned()];
        command.extend(flags);
        Self { home, command, clock: None, child: None }
    }

    /// Gives it a wall clock of its own, from its next start on.
    pub(crate) fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Puts its wall clock so many seconds ahead of the machine's, or behind it, at once. It must have one of its own.
    pub(crate) fn set_clock(&self, ahead: i64) {
        self.clock.as_ref().expect("it has a clock of its own").set(ahead);
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = || File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vardr"));
        command.args(&self.command).stdin(Stdio::null()).stdout(log()).stderr(log());
        if let Some(clock) = &self.clock {
            command.envs(clock.environment());
        }
        self.child = Some(command.spawn().unwrap());
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("log")
    }

    /// What it has printed, in all its lives.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// What the process exited with, if it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().unwrap())
    }

    /// Fails when the process has ended without being asked to.
    pub(crate) fn must_run(&mut self) {
        if let Some(status) = self.ended() {
            panic!("the member in {} ended by itself, with {status}:\n{}", self.home.display(), tail(&self.log()));
        }
    }

    /// `kill -9`. One that does not run stays so.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and what it exits with.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(END_LIMIT)
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the member in {} did not end:\n{}", self.home.display(), tail(&self.log()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGSTOP: once this returns it does nothing any more, and its connections stay.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        let status = waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap();
        assert!(status.is_some_and(|(_, status)| status.stopped()), "it ended instead:\n{}", tail(&self.log()));
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Runs the server with these flags where it must refuse to start: what it says, and that it exits with an error.
pub(crate) fn refused(home: &Path, flags: &[String]) -> String {
    let mut member = Member::new(home.to_owned(), flags.to_vec());
    member.start();
    let status = member.wait(REFUSED_LIMIT);
    let log = member.log();
    assert!(!status.success() && status.code().is_some(), "{status}: {log}");
    log
}
