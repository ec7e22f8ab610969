//! The arguments of the commands that run other programs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::process::Signal;

use super::Common;
use crate::cli::child::signal_named;
use crate::config;

/// How long a command may take to end when it was told to; the same for every one that runs a command.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Grace {
    /// How long the command has from SIGTERM to its end, before SIGKILL
    #[arg(long, value_name = "DURATION", value_parser = config::duration, default_value = "10s")]
    pub kill_after: Duration,
}

/// How a key becomes the name of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Names {
    /// `/app/db/url` below `/app/` is `DB_URL`.
    Upper,
    /// `/app/db/url` below `/app/` is `db_url`.
    Keep,
}

/// Run a command with keys as its environment, anew when they change
///
/// Each key below the prefix becomes a variable: of its name behind the prefix, every byte but letters, digits and `_`
/// becomes `_`, and one that would begin with a digit gets a `_` in front. Two keys that become one variable are an error.
/// Of several prefixes the last one counts.
///
/// When a variable changes, the command is told to end by SIGTERM and started again with the new ones; changes that
/// come close together are one. With --signal it only gets that signal: the environment of a running process cannot change,
/// so that it has to read its settings itself. With --once nothing is followed. When the connection breaks the command goes
/// on, and whatever changed meanwhile counts once a server can be reached again.
///
/// Ends when the command ends by itself, with its exit code: 128 + N when signal N ended it, 127 when there is no such
/// command, 126 when it cannot be run. SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1 and SIGUSR2 are passed on, but SIGINT and
/// SIGQUIT not while vardr is in the foreground of a terminal, which sends them to the command as well. On Linux the command
/// is killed when vardr is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr exec --prefix /app/ -- ./server --port 8080\n  \
    vardr exec --prefix /defaults/ --prefix /app/ --signal HUP -- ./server\n  \
    vardr exec --prefix /app/ --once -- env")]
pub(crate) struct Exec {
    /// The keys below this become variables; its trailing slash may be left out; several by repeating
    #[arg(long, value_name = "PREFIX", required = true)]
    pub prefix: Vec<OsString>,
    /// On a change start the command again (the default)
    #[arg(long, conflicts_with_all = ["signal", "once"])]
    pub restart: bool,
    /// On a change send this signal, such as HUP; the command's variables stay as they are
    #[arg(long, value_name = "SIGNAL", value_parser = signal_named, conflicts_with = "once")]
    pub signal: Option<Signal>,
    /// Run the command with what is there now, and ignore changes
    #[arg(long)]
    pub once: bool,
    /// Whether the names of variables are in upper case
    #[arg(long, value_enum, value_name = "RULE", default_value = "upper")]
    pub names: Names,
    #[command(flatten)]
    pub grace: Grace,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub common: Common,
}

const TEMPLATE_HELP: &str = "\
What a template can read:
  get(\"/key\")        the text of a key; get(\"/key\", default=\"x\") where it may be absent
  json(\"/key\")       the same, parsed; default as for get
  exists(\"/key\")     whether there is such a key
  list(\"/dir/\")      the keys directly in a directory, each with key, name and value
  tree(\"/dir/\")      all below it
  services(\"web\")    the JSON documents of the keys in /services/web/ whose status is absent,
                     passing or warning, each with its instance
  env(\"HOME\")        a variable of the environment; default as for get

Examples:
  vardr template nginx.tmpl /etc/nginx/conf.d/web.conf --reload 'nginx -s reload'
  vardr template app.tmpl app.conf --mode 0640 --prefix /app/
  vardr template hosts.tmpl - --once";

/// Write a file out of keys, anew when they change
///
/// The template has the syntax of Jinja; names that are not defined are errors. A line with nothing but a block leaves no
/// line behind, and the line break behind a block goes with it, unless the block ends with `+%}`.
///
/// Text is written as it is, anything else as JSON. All reads of one rendering show one revision. The file is replaced as a
/// whole, and only where it differs; it keeps its owner and mode. Then --reload runs.
///
/// Whatever the template reads is followed, and the file written again when it changes; changes that come close together
/// are one. When the template cannot be rendered then, the file stays as it is until the next change. With --once nothing
/// is followed.
#[derive(Debug, Args)]
#[command(after_help = TEMPLATE_HELP)]
pub(crate) struct Template {
    /// The template
    #[arg(value_name = "TEMPLATE")]
    pub source: PathBuf,
    /// The file to write; `-` for standard output
    pub target: PathBuf,
    /// A command for `sh -c` after the file was replaced; with --once its exit code is that of vardr
    #[arg(long, value_name = "COMMAND")]
    pub reload: Option<OsString>,
    /// Write the file once, and end
    #[arg(long)]
    pub once: bool,
    /// What stands before names that do not begin with a slash
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<OsString>,
    /// The mode of the file, in octal
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub mode: Option<u32>,
    #[command(flatten)]
    pub grace: Grace,
    #[command(flatten)]
    pub common: Common,
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| "it is not a mode in octal, such as 0644".to_owned())
}

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

/// Register a service while a command runs
///
/// Registers an instance of the service, runs the command, keeps the instance registered for as long as it runs, and
/// deregisters it. A registration that was lost is made anew; the command goes on, whatever becomes of it.
///
/// Ends with the command's exit code, as exec does, and passes the same signals on. On SIGTERM, SIGINT and SIGQUIT the
/// instance is deregistered first, so that nobody is sent to a command that is about to end. When vardr is killed, so is
/// the command (on Linux), and the instance is gone after --ttl.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr register web --port 8080 -- ./server --port 8080\n  \
    vardr register web --instance a --address 10.0.0.7 --port 8080 --tag v2 --meta zone=eu -- ./server")]
pub(crate) struct Register {
    /// The service
    pub service: String,
    /// What the instance is called [default: the name of this host, a colon and the port]
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// Where it is reached [default: the name of this host]
    #[arg(long, value_name = "HOST")]
    pub address: Option<String>,
    /// The port at which it is reached
    #[arg(long, value_name = "PORT")]
    pub port: u16,
    /// A tag to be found by; several by repeating
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Anything else to be known; several by repeating
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub meta: Vec<(String, String)>,
    /// Its share of the load [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub weight: Option<u32>,
    /// How long it stays registered once nothing is heard of it any more; a heartbeat is sent every third of that
    #[arg(long, value_name = "DURATION", value_parser = config::duration, default_value = "15s")]
    pub ttl: Duration,
    #[command(flatten)]
    pub grace: Grace,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub common: Common,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
