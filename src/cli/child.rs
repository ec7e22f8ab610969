//! A command that is run and looked after: it hears the signals that come to `vardr`, its end is the end of `vardr`, and
//! it does not outlive it.
//!
//! The command stays in the process group of `vardr`, so that it can read from a terminal. A terminal therefore sends
//! its SIGINT and SIGQUIT to both, and they are not passed on where that is so; every other signal is. What the command
//! starts itself is for the command to look after.
//!
//! So that not even SIGKILL leaves a command behind, the kernel is asked to kill it when `vardr` dies (Linux,
//! `PR_SET_PDEATHSIG`). Only a process itself can ask for that, between its `fork` and its `exec`, where std runs no code
//! of ours but unsafe one. So this program is executed first, asks, and makes room for the command. Elsewhere, and for
//! a command that gains rights as it starts (set-uid), nothing of the kind is done.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};
use std::task::Poll;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::signal::unix::{Signal as Arrivals, SignalKind};
use tokio::time::Instant;

use super::exit::{Exit, Failure, Outcome};

/// What this program is called while it makes room for a command.
const BETWEEN: &str = "vardr: about to run a command";
/// This program, also where its file was replaced meanwhile.
const OURSELVES: &str = "/proc/self/exe";
/// The exit codes of POSIX shells (2.8.2) for what could not be run.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: u8 = 128;
/// What is passed on.
const PASSED_ON: [Signal; 6] = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::USR1, Signal::USR2];

/// The signals that come to this process from now on; without one they do what they do by default.
///
/// A signal that is ignored already (`nohup`, a job of a script in the background) stays ignored, here and in a command.
#[derive(Debug)]
pub(crate) struct Signals {
    arrivals: Vec<(Signal, Arrivals)>,
}

impl Signals {
    /// # Errors
    /// When the system does not let signals be caught.
    pub(crate) fn new() -> Outcome<Self> {
        let ignored = ignored_signals();
        let mut arrivals = Vec::new();
        for signal in PASSED_ON.into_iter().filter(|signal| ignored & bit(*signal) == 0) {
            let stream = tokio::signal::unix::signal(SignalKind::from_raw(signal.as_raw()));
            arrivals.push((signal, stream.map_err(|error| Failure::io("signals cannot be caught", &error))?));
        }
        Ok(Self { arrivals })
    }

    /// The next signal. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (signal, stream) in &mut self.arrivals {
                if stream.poll_recv(context) == Poll::Ready(Some(())) {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// The signals that are ignored, as a mask; none where the system does not say.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// A signal by its name, with or without `SIG`.
///
/// # Errors
/// What names there are.
pub(crate) fn signal_named(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "HUP" => Ok(Signal::HUP),
        "INT" => Ok(Signal::INT),
        "QUIT" => Ok(Signal::QUIT),
        "TERM" => Ok(Signal::TERM),
        "USR1" => Ok(Signal::USR1),
        "USR2" => Ok(Signal::USR2),
        "WINCH" => Ok(Signal::WINCH),
        _ => Err("it is not one of HUP, INT, QUIT, TERM, USR1, USR2, WINCH".to_owned()),
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The code as a shell tells it: the command's own, or 128 and the number of the signal that ended it.
    pub code: u8,
}

impl Ended {
    /// The end of `vardr` with the same code.
    ///
    /// # Errors
    /// [`Failure::ended`] unless the code is 0.
    pub(crate) fn outcome(self) -> Outcome<()> {
        if self.code == 0 { Ok(()) } else { Err(Failure::ended(self.code)) }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        let code = status.code().or_else(|| status.signal().map(|signal| i32::from(SIGNALLED) + signal));
        Self { code: code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Failure.code()) }
    }
}

/// The end of `vardr` by a signal that it would have died of, had it not been caught.
pub(crate) fn ended_by(signal: Signal) -> Failure {
    let number = u8::try_from(signal.as_raw()).unwrap_or(0);
    Failure::ended(SIGNALLED.saturating_add(number))
}

/// A command that runs, with our standard input and outputs. Dropped before its end, it is killed.
#[derive(Debug)]
pub(crate) struct Child {
    process: tokio::process::Child,
    /// How long it may take to end once it was told to.
    kill_after: Duration,
    /// When it is killed; set once it was told to end.
    kill_at: Option<Instant>,
    told: Option<Signal>,
}

impl Child {
    /// Runs a command with more variables in its environment.
    ///
    /// `kill_after` is how long it has from a SIGTERM to its end, before SIGKILL. Call it from the thread that lives as
    /// long as the command may: the kernel takes the death of that thread for the death of `vardr`.
    ///
    /// # Errors
    /// When it cannot be run. On Linux a command that is not there or not executable is seen later: it says so itself,
    /// and ends with 127 or 126.
    pub(crate) fn spawn(
        command: &[OsString],
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        kill_after: Duration,
    ) -> Outcome<Self> {
        let (name, arguments) = command.split_first().ok_or_else(|| Failure::usage("no command is given"))?;
        let variables: Vec<_> = variables.into_iter().collect();
        let start = |mut command: Command| {
            command.envs(variables.iter().map(|(name, value)| (name, value)));
            tokio::process::Command::from(command).kill_on_drop(true).spawn()
        };
        let mut plain = Command::new(name);
        plain.args(arguments);
        let started = if cfg!(target_os = "linux") {
            let mut guarded = Command::new(OURSELVES);
            guarded.arg0(BETWEEN).arg(std::process::id().to_string()).args(command);
            match start(guarded) {
                // There is no /proc.
                Err(error) if error.kind() == ErrorKind::NotFound => start(plain),
                result => result,
            }
        } else {
            start(plain)
        };
        let process = started.map_err(|error| cannot_run(name, &error))?;
        Ok(Self { process, kill_after, kill_at: None, told: None })
    }

    /// Waits for the command to end, and passes on the signals that come meanwhile. A SIGTERM also sets the time after
    /// which it is killed. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the system cannot tell how it ended.
    pub(crate) async fn run(&mut self, signals: &mut Signals) -> Outcome<Ended> {
        loop {
            let kill_at = self.kill_at;
            let deadline = async {
                match kill_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                status = self.process.wait() => {
                    return status.map(Ended::from).map_err(|error| Failure::io("the command cannot be awaited", &error));
                }
                signal = signals.next() => self.pass_on(signal),
                () = deadline => {
                    // Nothing but the end can come after this one.
                    self.signal(Signal::KILL);
                    self.kill_at = Some(Instant::now() + self.kill_after.max(Duration::from_secs(1)));
                }
            }
        }
    }

    /// Tells the command to end and waits for that, as [`Self::run`] does.
    pub(crate) async fn stop(&mut self, signals: &mut Signals) -> Outcome<Ended> {
        self.told = None;
        self.terminate();
        self.run(signals).await
    }

    /// Sends a signal to the command, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        // Until its end was seen here, its number is nobody else's.
        let pid = self.process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(pid) = pid {
            // It may have ended this moment.
            let _gone = rustix::process::kill_process(pid, signal);
        }
    }

    /// Whether it was told to end, by a SIGTERM passed on or by [`Self::stop`].
    pub(crate) fn is_ending(&self) -> bool {
        self.kill_at.is_some()
    }

    /// The signal by which somebody told `vardr` to end: while it ran, or since [`Self::stop`] if that was called.
    pub(crate) fn was_told_to_end(&self) -> Option<Signal> {
        self.told
    }

    fn terminate(&mut self) {
        self.signal(Signal::TERM);
        let at = Instant::now() + self.kill_after;
        self.kill_at.get_or_insert(at);
    }

    fn pass_on(&mut self, signal: Signal) {
        if matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT) {
            self.told = Some(signal);
        }
        match signal {
            Signal::TERM => self.terminate(),
            // The terminal has sent it to the command as well.
            Signal::INT | Signal::QUIT if is_in_foreground() => {}
            other => self.signal(other),
        }
    }
}

/// Whether a terminal sends its signals to this process group.
fn is_in_foreground() -> bool {
    let group = |terminal: File| rustix::termios::tcgetpgrp(terminal).ok();
    File::open("/dev/tty").ok().and_then(group) == Some(rustix::process::getpgrp())
}

fn cannot_run(name: &OsStr, error: &std::io::Error) -> Failure {
    let name = name.display();
    match error.kind() {
        ErrorKind::NotFound => Failure::new(Exit::Command(NOT_FOUND), format!("{name}: command not found")),
        _ => Failure::new(Exit::Command(NOT_EXECUTABLE), format!("{name} cannot be run: {error}")),
    }
}

/// Where these are the arguments of a process between its `fork` and its `exec`: becomes the command, and returns only if
/// that fails. `None` for any other arguments.
pub(crate) fn become_command(arguments: &[OsString]) -> Option<Exit> {
    let [called, parent, name, rest @ ..] = arguments else { return None };
    if called != BETWEEN {
        return None;
    }
    die_with(parent);
    let error = Command::new(name).args(rest).exec();
    let failure = cannot_run(name, &error);
    failure.report(false);
    Some(failure.exit())
}

/// Has this process killed when its parent dies; at once where that has happened already.
#[cfg(target_os = "linux")]
fn die_with(parent: &OsStr) {
    // Where the kernel does not do that, the command runs without.
    let _without = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let expected = parent.to_str().and_then(|text| Pid::from_raw(text.parse().ok()?));
    if rustix::process::getppid() != expected {
        std::process::exit(i32::from(SIGNALLED) + Signal::KILL.as_raw());
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with(_parent: &OsStr) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_as_shells_tell_it() {
        assert_eq!(Ended::from(ExitStatus::from_raw(3 << 8)).code, 3);
        assert_eq!(Ended::from(ExitStatus::from_raw(9)).code, 137);
        assert_eq!(Ended::from(ExitStatus::from_raw(0)).outcome().map_err(|failure| failure.exit()).err(), None);
        assert_eq!(ended_by(Signal::TERM).exit(), Exit::Command(143));
    }

    #[test]
    fn signals_go_by_their_names() {
        assert_eq!(signal_named("HUP"), Ok(Signal::HUP));
        assert_eq!(signal_named("sigusr1"), Ok(Signal::USR1));
        assert!(signal_named("KILL").is_err());
    }

    #[test]
    fn other_arguments_become_nothing() {
        let arguments = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(become_command(&arguments("vardr get /a x")), None);
        assert_eq!(become_command(&arguments("vardr")), None);
    }
}
