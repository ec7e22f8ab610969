//! The commands that list who is there: services, watches, locks and elections.

use clap::Args;

use super::Common;

/// The services, the instances of one, and how they change
///
/// Without a name every service in a line, with one its instances. A service without instances is not told from one that
/// nobody knows: nothing is written but a line to standard error (with `-o json` an empty list), and the exit code is 0.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr services\n  vardr services web --tag v2 --status passing\n  \
    vardr services web --watch\n  vardr services web -o json | jq -r '.items[] | .address'")]
pub(crate) struct Services {
    /// The service
    pub name: Option<String>,
    /// Only instances with this tag; given several times, with all of them
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Only instances of this status; given several times, of any of them
    #[arg(long, value_name = "STATUS", value_parser = ["passing", "warning", "critical", "draining"])]
    pub status: Vec<String>,
    /// Show the instances that there are, then every change, until stopped
    #[arg(long)]
    pub watch: bool,
    /// With --watch: end after this many events
    #[arg(long, value_name = "NUMBER", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub common: Common,
}

/// Who follows what at a server
///
/// The watches of all clients that are open at the endpoint, of every API, in order of age. Each member has its own: ask every one of
/// them. WATCHED is a key, everything that begins so (`/app/**`), what is directly in a directory (`/app/*`), or a range (`a..b`).
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr watchers\n  vardr watchers /app/ --endpoint http://10.0.0.2:2379\n  \
    vardr watchers -o json | jq -r '.items[] | select(.backlogBytes > 0) | .address'")]
pub(crate) struct Watchers {
    /// Only those that follow what begins so
    pub prefix: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

/// The locks that are held
///
/// TOKEN is the fencing token of the holder, WAITING how many are in the queue behind. The queue of an election looks like that of
/// a lock, so the elections are here, too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr locks\n  vardr locks nightly/\n  \
    vardr locks -o json | jq -r '.items[] | select(.waiting > 0) | .name'")]
pub(crate) struct Locks {
    /// Only those whose names begin so
    pub prefix: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

/// The elections that somebody leads
///
/// VALUE is what the leader says of itself, WAITING how many would lead next. The queue of a lock looks like that of an election, so
/// the locks are here, too.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vardr elections\n  vardr elections primary -o json | jq -r '.items[] | .leader.value'"
)]
pub(crate) struct Elections {
    /// Only those whose names begin so
    pub prefix: Option<String>,
    #[command(flatten)]
    pub common: Common,
}
