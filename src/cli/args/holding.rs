//! The arguments of the commands that hold something while another program runs.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::{Common, Grace};
use crate::config;

/// How a place in a queue is asked for and kept.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Terms {
    /// How long it is kept for us once nothing is heard of us any more, at least 1s; it is renewed every third of that
    #[arg(long, value_name = "DURATION", value_parser = config::duration, default_value = "30s")]
    pub ttl: Duration,
    /// How long to wait for it [default: without end]
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    wait: Option<Duration>,
    /// Do not wait; the same as --wait 0
    #[arg(long = "try", conflicts_with = "wait")]
    once: bool,
}

impl Terms {
    /// How long to wait; `None` is without end.
    pub(crate) fn wait(&self) -> Option<Duration> {
        if self.once { Some(Duration::ZERO) } else { self.wait }
    }
}

/// Run a command while a lock is held
///
/// Waits for the lock, in the order of arrival, runs the command, keeps the lock for as long as it runs, and gives it back.
/// Whoever waits for longer than 10 minutes is put last in the order each time.
///
/// The command finds in its environment `VARDR_LOCK_NAME`, `VARDR_LOCK_HOLDER`, and `VARDR_FENCING_TOKEN`: a number greater than
/// that of any holder before. Hand it to what the lock guards, which should refuse smaller ones: a machine that stood still for
/// a while may go on without knowing that the lock is lost.
///
/// Ends with the command's exit code, as exec does, and passes the same signals on; while it waits, a signal ends it and
/// gives its place up. When the lock is lost before the command ends, because it was taken away or no server confirmed it for
/// as long as --ttl says, the command is told to end by SIGTERM, and the exit code is 7. The code is 4 when somebody else held
/// the lock for as long as --wait says. When vardr is killed, so is the command (on Linux), and the lock is free after --ttl.
///
/// Without a command, says that the lock is held (its fencing token, or with -o json the lock), and holds it until a signal
/// comes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr lock backup -- ./backup --full\n  vardr lock deploy --try -- ./deploy\n  \
    vardr lock jobs/nightly --wait 10m --ttl 10s --owner \"$(hostname)\" -- sh -c './job --fence $VARDR_FENCING_TOKEN'")]
pub(crate) struct Lock {
    /// The lock; slashes may be in it
    pub name: String,
    #[command(flatten)]
    pub terms: Terms,
    /// Who asks, for whoever looks
    #[arg(long, value_name = "TEXT")]
    pub owner: Option<String>,
    #[command(flatten)]
    pub grace: Grace,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub common: Common,
}

/// Run a command while it leads, or see who does
///
/// Stands for election, waits until it leads, runs the command, goes on leading for as long as it runs, and resigns.
/// Everything is as with lock; the variables are `VARDR_ELECTION_NAME`, `VARDR_CANDIDATE` and `VARDR_FENCING_TOKEN`.
///
/// --observe shows who leads, now and whenever that changes, until it is stopped: the revision, the candidate and what it
/// stands with, or `vacant` when nobody leads. --show shows what the leader stands with, and exits with 3 when there is none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr elect primary --value 10.0.0.7:5432 -- ./serve-as-primary\n  \
    vardr elect primary --show\n  vardr elect primary --observe -o json")]
pub(crate) struct Elect {
    /// The election; slashes may be in it
    pub name: String,
    /// What the leader has to say: its address, say
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["observe", "show"])]
    pub value: Option<String>,
    #[command(flatten)]
    pub terms: Terms,
    /// Show who leads, whenever that changes
    #[arg(long, conflicts_with_all = ["value", "ttl", "wait", "once", "kill_after", "command"])]
    pub observe: bool,
    /// Show who leads now
    #[arg(long, conflicts_with_all = ["observe", "value", "ttl", "wait", "once", "kill_after", "command"])]
    pub show: bool,
    #[command(flatten)]
    pub grace: Grace,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub common: Common,
}
