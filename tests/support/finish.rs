//! Runs a command to its end. One that does not come to it is ended: a client that hangs differs from one that does not.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a command may take: `check perf` takes a minute.
const LIMIT: Duration = Duration::from_mins(3);

/// Runs a command that is told nothing.
pub(crate) fn finish(command: &mut Command) -> io::Result<Output> {
    finish_told(command, "")
}

/// Runs a command that is told something. One that goes on beyond the limit is killed, with all that it started, and has that as its
/// ending.
pub(crate) fn finish_told(command: &mut Command, told: &str) -> io::Result<Output> {
    finish_within(LIMIT, command, told)
}

/// The same with a limit of the caller's.
pub(crate) fn finish_within(limit: Duration, command: &mut Command, told: &str) -> io::Result<Output> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let group = Pid::from_child(&child);
    // What ends without having heard all of it says so by its ending.
    let _ = child.stdin.take().map(|mut input| input.write_all(told.as_bytes()));
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                // It may have ended in this moment.
                let _ = kill_process_group(group, Signal::KILL);
            }
        });
        let output = child.wait_with_output();
        drop(done);
        output
    })
}
