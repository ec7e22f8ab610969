//! The commands and their arguments, as clap reads and explains them. Those that run other programs are in `programs.rs`, those
//! that list who is there in `lists.rs`.

mod lists;
mod programs;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::exit::{EXIT_CODES, Failure, Outcome};
use super::output::Format;
use crate::config;

pub(crate) use lists::{Elections, Locks, Services, Watchers};
pub(crate) use programs::{Elect, Exec, Grace, Lock, Names, Register, Template, Terms};

const ABOUT: &str = "A configuration service: a replicated, versioned key space over HTTP.";

/// The help of `vardr` alone: short, by topic, with examples. Each command explains itself.
const TEMPLATE: &str = "\
{about}

Usage: vardr [SETTINGS]              start a server (see: vardr serve --help)
       vardr <COMMAND> [ARGUMENTS]   talk to one (see: vardr <COMMAND> --help)

Server:
  serve       Start a server; the same as no command at all
  status      How each endpoint is
  member      The members of the cluster
  compact     Forget the past before a revision
  snapshot    Save the whole store to a file, or check such a file
  recover     Go on as a new cluster when a majority is gone for good

Keys:
  get         Read a key
  put         Write a key, create a directory, or add an in-order key
  patch       Change a JSON value in place
  del         Delete a key or a directory
  copy        Copy a key, or a directory with everything in it
  move        Move a key, or a directory with everything in it
  ls          List a directory
  watch       Follow a key or a directory
  watchers    Who follows what at a server
  txn         Compare and change several keys at once
  history     The versions of a key, what differs, and going back
  lease       Grant, keep alive, look at and revoke leases

Services:
  services    The services, the instances of one, and how they change

Files:
  import      Write a directory, a JSON or YAML file, or what an etcd cluster has
  export      Write what is below a prefix to a directory, or a JSON or YAML file

Programs:
  exec        Run a command with keys as its environment, anew when they change
  template    Write a file out of keys, anew when they change
  lock        Run a command while a lock is held
  locks       The locks that are held
  elect       Run a command while it leads, or see who does
  elections   The elections that somebody leads
  register    Register a service while a command runs

Shell:
  completion  Completions for your shell
  help        Explain a command

Options:
  -h, --help     Print help
  -V, --version  Print version

Examples:
  vardr --data-dir /var/lib/vardr
  vardr put /app/db postgres://db.example/app
  vardr get /app/db
  vardr watch /app/ --initial
  vardr import ./config.yaml /app
  vardr exec --prefix /app/ -- ./server
  vardr lock backup -- ./backup

The commands talk to http://127.0.0.1:2379, or to --endpoint or VARDR_ENDPOINT.
";

/// Everything that `vardr` may be told.
#[derive(Debug, Parser)]
#[command(name = "vardr", version, about = ABOUT, help_template = TEMPLATE, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands of a client. `serve` stands beside them: its arguments are the settings.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Get(Get),
    Put(Put),
    Patch(Patch),
    Del(Del),
    Copy(Copy),
    Move(Move),
    Ls(Ls),
    Watch(Watch),
    Watchers(Watchers),
    Txn(Txn),
    History(History),
    Lease(Lease),
    Services(Services),
    Import(Import),
    Export(Export),
    Exec(Exec),
    Template(Template),
    Lock(Lock),
    Locks(Locks),
    Elect(Elect),
    Elections(Elections),
    Register(Register),
    Member(Member),
    Status(Status),
    Compact(Compact),
    Snapshot(Snapshot),
    Recover(Recover),
    Completion(Completion),
}

/// How to reach the server and what to write; the same for every command.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES, next_help_heading = "Connection and output")]
pub(crate) struct Common {
    /// Servers, several with commas or by repeating; the next one is tried when one cannot be reached
    #[arg(
        long,
        env = "VARDR_ENDPOINT",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379"
    )]
    pub endpoint: Vec<String>,
    /// How long to wait for an answer, such as 500ms or 30s [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    pub timeout: Option<Duration>,
    /// For people, or for programs
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub output: Format,
}

/// What must hold for a write to be carried out, checked where it is applied.
#[derive(Debug, Args)]
#[command(next_help_heading = "Conditions (exit code 4 where one does not hold)")]
pub(crate) struct Conditions {
    /// Only if the key exists
    #[arg(id = "if_exists", long = "if-exists", conflicts_with = "if_absent")]
    pub exists: bool,
    /// Only if the key does not exist
    #[arg(id = "if_absent", long = "if-absent", conflicts_with_all = ["if_revision", "if_value"])]
    pub absent: bool,
    /// Only if the key was last changed at this revision
    #[arg(id = "if_revision", long = "if-revision", value_name = "REVISION")]
    pub revision: Option<u64>,
    /// Only if the key has this value
    #[arg(id = "if_value", long = "if-value", value_name = "VALUE")]
    pub value: Option<String>,
}

/// Read a key
///
/// Writes the value, with a line break behind it unless it ends in one; with --raw exactly its bytes.
#[derive(Debug, Args)]
#[command(after_help = concat!("Examples:\n  vardr get /app/db\n  vardr get /app/logo.png --raw > logo.png\n  \
    vardr get /app/db -o json | jq -r .modRevision"))]
pub(crate) struct Get {
    /// The key; its bytes are taken as they are
    pub key: OsString,
    /// Write exactly the bytes of the value
    #[arg(long, conflicts_with = "meta")]
    pub raw: bool,
    /// Write what is known about the key, not only its value
    #[arg(long)]
    pub meta: bool,
    /// As it was at this revision
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<u64>,
    /// Read what the endpoint has, without asking the cluster whether that is the latest
    #[arg(long)]
    pub serializable: bool,
    #[command(flatten)]
    pub common: Common,
}

/// Write a key, create a directory, or add an in-order key
///
/// A key that ends in a slash and no value creates a directory. With --in-order the value goes under the next
/// number in the directory, which is printed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vardr put /app/db postgres://db.example/app\n  vardr put /app/logo.png --file logo.png\n  \
    echo '{\"port\": 80}' | vardr put /app/web - --json\n  vardr put /locks/ --if-absent\n  \
    vardr put /queue/ 'job 1' --in-order\n  vardr put /presence/me here --ttl 30s"
)]
pub(crate) struct Put {
    /// The key; its bytes are taken as they are
    pub key: OsString,
    /// The value; `-` reads it from standard input
    #[arg(allow_hyphen_values = false)]
    pub value: Option<OsString>,
    /// Read the value from a file
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    pub file: Option<PathBuf>,
    /// The media type of the value
    #[arg(long = "type", value_name = "MEDIA_TYPE")]
    pub content_type: Option<String>,
    /// The value is JSON (`--type application/json`)
    #[arg(long, conflicts_with = "content_type")]
    pub json: bool,
    /// Add the value under the next key of the directory
    #[arg(long)]
    pub in_order: bool,
    /// The key vanishes after this time unless it is written or refreshed
    #[arg(long, value_name = "DURATION", value_parser = config::duration, conflicts_with_all = ["lease", "keep_lease"])]
    pub ttl: Option<Duration>,
    /// The key vanishes with this lease
    #[arg(long, value_name = "ID", conflicts_with = "keep_lease")]
    pub lease: Option<String>,
    /// Keep the lease that the key has; otherwise a write detaches it
    #[arg(long)]
    pub keep_lease: bool,
    #[command(flatten)]
    pub conditions: Conditions,
    #[command(flatten)]
    pub common: Common,
}

/// Change a JSON value in place
///
/// Applies a merge patch (RFC 7396), or with --json-patch a JSON Patch (RFC 6902), and prints the new value.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr patch /app/web '{\"port\": 8080, \"tls\": null}'\n  \
    vardr patch /app/web --json-patch '[{\"op\": \"add\", \"path\": \"/tags/-\", \"value\": \"x\"}]'")]
pub(crate) struct Patch {
    /// The key; its bytes are taken as they are
    pub key: OsString,
    /// The patch; `-` reads it from standard input
    #[arg(value_name = "PATCH")]
    pub document: OsString,
    /// The patch is a JSON Patch (RFC 6902)
    #[arg(long = "json-patch")]
    pub is_json6902: bool,
    #[command(flatten)]
    pub conditions: Conditions,
    #[command(flatten)]
    pub common: Common,
}

/// Delete a key or a directory
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vardr del /app/db\n  vardr del /app/ --recursive\n  vardr del /app/db --if-revision 9"
)]
pub(crate) struct Del {
    /// The key, or with a trailing slash the directory
    pub key: OsString,
    /// The directory with everything in it
    #[arg(short, long)]
    pub recursive: bool,
    #[command(flatten)]
    pub conditions: Conditions,
    #[command(flatten)]
    pub common: Common,
}

/// List a directory
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr ls /app\n  vardr ls / --recursive --long\n  vardr ls /app --values -o json")]
pub(crate) struct Ls {
    /// The directory; its trailing slash may be left out
    #[arg(default_value = "/")]
    pub directory: OsString,
    /// Everything below, not only one level
    #[arg(short, long)]
    pub recursive: bool,
    /// With revision, version and lease
    #[arg(short, long)]
    pub long: bool,
    /// With values
    #[arg(long, conflicts_with = "long")]
    pub values: bool,
    /// As it was at this revision
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<u64>,
    /// At most this many
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub common: Common,
}

/// Follow a key or a directory
///
/// Goes on until it is stopped. When a connection breaks it resumes where it was, at the next endpoint, and misses
/// and repeats nothing.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
#[command(
    after_help = "Examples:\n  vardr watch /app/\n  vardr watch /app/ --initial\n  vardr watch /app/db --limit 1\n  \
    vardr watch /app/ -o json | while read -r event; do echo \"$event\"; done"
)]
pub(crate) struct Watch {
    /// The key, or with a trailing slash everything in the directory
    pub key: OsString,
    /// Of a directory, only what is directly in it
    #[arg(long)]
    pub children: bool,
    /// Changes after this revision; otherwise those from now on
    #[arg(long, value_name = "REVISION", conflicts_with = "initial")]
    pub after: Option<u64>,
    /// First the present state, then the changes
    #[arg(long)]
    pub initial: bool,
    /// Only these kinds of events
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = ["put", "delete", "expire"])]
    pub events: Vec<String>,
    /// With what each event replaced
    #[arg(long)]
    pub prev: bool,
    /// When the past to resume from is gone: begin anew with the present state, instead of failing
    #[arg(long)]
    pub reset: bool,
    /// End after this many events
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub common: Common,
}

/// Compare and change several keys at once
///
/// Takes the JSON of POST /v1/txn. Exits with 4 when a comparison did not hold and `else` was done.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vardr txn - <<END\n  {\"if\": [{\"key\": \"/a\", \"prevExist\": false}],\n   \
    \"then\": [{\"put\": {\"key\": \"/a\", \"value\": \"1\"}}],\n   \"else\": [{\"get\": {\"key\": \"/a\"}}]}\n  END")]
pub(crate) struct Txn {
    /// A file with the transaction; `-` reads standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
    #[command(flatten)]
    pub common: Common,
}

/// Copy a key, or a directory with everything in it
///
/// All at one revision, at most 10,000 keys and 16 MiB. The copies have no lease. Exits with 4 where something is there already.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr copy /app/db /app/db.old\n  vardr copy /app/ /staging/ --dry-run")]
pub(crate) struct Copy {
    #[command(flatten)]
    pub names: OtherName,
}

/// Move a key, or a directory with everything in it
///
/// As `copy`, and what was there is gone at the same revision. What is moved keeps its lease. Exits with 4 where something is there
/// already.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr move /app/db /app/database\n  vardr move /app/ /service/ --dry-run")]
pub(crate) struct Move {
    #[command(flatten)]
    pub names: OtherName,
}

/// What `copy` and `move` take.
#[derive(Debug, Args)]
pub(crate) struct OtherName {
    /// The key; a directory with its trailing slash
    pub from: OsString,
    /// The other name; of a directory, with its trailing slash
    pub to: OsString,
    /// Replace what is there
    #[arg(long)]
    pub overwrite: bool,
    /// Only tell what would be written
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub common: Common,
}

/// The versions of a key, what differs, and going back
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr history /app/db\n  vardr history /app/db --diff 7..9\n  \
    vardr history /app/ --rollback 7 --dry-run")]
pub(crate) struct History {
    /// The key; for --rollback also a directory, with its trailing slash
    pub key: OsString,
    /// At most this many versions, the newest
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub limit: Option<u64>,
    /// Only versions older than this revision
    #[arg(long, value_name = "REVISION")]
    pub before: Option<u64>,
    /// What differs between two revisions
    #[arg(long, value_name = "FROM..TO", conflicts_with_all = ["limit", "before", "rollback"])]
    pub diff: Option<String>,
    /// Bring back the state at this revision
    #[arg(long, value_name = "REVISION", conflicts_with_all = ["limit", "before"])]
    pub rollback: Option<u64>,
    /// With --rollback: only tell what would change
    #[arg(long, requires = "rollback")]
    pub dry_run: bool,
    #[command(flatten)]
    pub common: Common,
}

/// Grant, keep alive, look at and revoke leases
#[derive(Debug, Args)]
pub(crate) struct Lease {
    #[command(subcommand)]
    pub command: LeaseCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// Grant a lease and print its id
    Grant {
        /// How long it lives without being kept alive
        #[arg(value_parser = config::duration)]
        ttl: Duration,
        /// An id of your own choice, in hexadecimal
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Keep a lease alive until stopped
    Keepalive {
        id: String,
        /// Renew it once and end
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        common: Common,
    },
    /// What is left of a lease, and its keys
    Get {
        id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Every lease
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Revoke a lease; its keys are deleted
    Revoke {
        id: String,
        #[command(flatten)]
        common: Common,
    },
}

/// Write a directory, a JSON or YAML file, or what an etcd cluster has
///
/// A directory: each file becomes the key of its path, byte for byte, whatever its name; each empty directory a
/// directory. Symbolic links and special files are left out and counted. A file that cannot be read is reported,
/// and the exit code is 1 unless --skip-unreadable.
///
/// A .json, .yaml or .yml file: nested objects become sub-paths, an empty object a directory, and every other
/// value, arrays included, a key with a JSON value, so that export gives the same document back. A member named
/// "" is the key of its object itself. A slash in a name becomes ~1, as in JSON Pointers.
///
/// A cluster that runs: --from-etcd-v3 reads every key, of any bytes, at one revision, and --from-etcd-v2 every directory
/// and key, level by level; with PREFIX only what is below that. They keep their names and what is left of their time to
/// live, and keys that share a lease share one here. A listing of v2 does not show hidden keys (_name): name their
/// directory to have them. What was read is written also when the cluster can be read no longer, the report says so, and
/// the exit code is 1: the same command again completes it.
///
/// What is already there and not imported stays as it is.
#[derive(Debug, Args)]
#[command(
    override_usage = "vardr import [OPTIONS] <SOURCE> <PREFIX>\n       \
    vardr import [OPTIONS] --from-etcd-v3 <URL> [PREFIX]\n       \
    vardr import [OPTIONS] --from-etcd-v2 <URL> [PREFIX]",
    after_help = "Examples:\n  vardr import /etc /backup/etc --skip-unreadable\n  vardr import config.yaml /app\n  \
    vardr import config.json /app --dry-run\n  vardr import --from-etcd-v3 http://etcd:2379\n  \
    vardr import --from-etcd-v2 http://etcd:2379 /app"
)]
pub(crate) struct Import {
    /// A directory, or a file ending in .json, .yaml or .yml
    #[arg(required_unless_present_any = ["from_etcd_v2", "from_etcd_v3"])]
    source: Option<OsString>,
    /// Where to; its trailing slash may be left out. From etcd: which keys, instead of all
    #[arg(required_unless_present_any = ["from_etcd_v2", "from_etcd_v3"])]
    prefix: Option<OsString>,
    /// Read an etcd cluster by its v2 API: `http://HOST:PORT`, or `http://USER:PASSWORD@HOST:PORT`
    #[arg(long, value_name = "URL", conflicts_with_all = ["from_etcd_v3", "skip_unreadable"])]
    from_etcd_v2: Option<String>,
    /// Read an etcd cluster by the JSON gateway of its v3 API: as above
    #[arg(long, value_name = "URL", conflicts_with = "skip_unreadable")]
    from_etcd_v3: Option<String>,
    /// Only tell what would be written
    #[arg(long)]
    pub dry_run: bool,
    /// Files that cannot be read are no reason to fail
    #[arg(long)]
    pub skip_unreadable: bool,
    /// Name everything that is left out
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub common: Common,
}

/// What an import reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    Files { source: &'a Path, prefix: &'a OsStr },
    EtcdV2 { url: &'a str, prefix: Option<&'a OsStr> },
    EtcdV3 { url: &'a str, prefix: Option<&'a OsStr> },
}

impl Import {
    /// What to read. Where a cluster is named, the first of the two arguments is the prefix.
    ///
    /// # Errors
    /// A second argument beside a cluster.
    pub(crate) fn origin(&self) -> Outcome<Origin<'_>> {
        let Self { source, prefix, from_etcd_v2, from_etcd_v3, .. } = self;
        let (source, prefix) = (source.as_deref(), prefix.as_deref());
        match (from_etcd_v2, from_etcd_v3, source, prefix) {
            (None, None, Some(source), Some(prefix)) => Ok(Origin::Files { source: Path::new(source), prefix }),
            (Some(url), None, named, None) => Ok(Origin::EtcdV2 { url, prefix: named }),
            (None, Some(url), named, None) => Ok(Origin::EtcdV3 { url, prefix: named }),
            (_, _, _, _) => Err(Failure::usage("from etcd, import takes one PREFIX and no SOURCE")),
        }
    }
}

/// Write what is below a prefix to a directory, or a JSON or YAML file
///
/// All of it is of one revision. To a directory, each key becomes a file with exactly its bytes. To a document,
/// keys become nested objects, JSON values stand as they are, other text is a string, and other bytes are
/// {"$base64": "…"}, which import understands.
///
/// A key that also has keys below it (`/a` and `/a/b`) cannot be a file: its value is left out, reported, and the
/// exit code is 1, unless --beside names a suffix for such a file (`a.value`). In a document it is the member ""
/// of its object. The same goes for keys whose names no file can have (`//`, `..`), which are left out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr export /backup/etc ./etc\n  vardr export /app config.yaml\n  \
    vardr export /app - --revision 42 | jq .")]
pub(crate) struct Export {
    /// Where from; its trailing slash may be left out
    pub prefix: OsString,
    /// A directory that is absent or empty, a file ending in .json, .yaml or .yml, or `-` for JSON on standard output
    pub target: PathBuf,
    /// As it was at this revision
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<u64>,
    /// Overwrite a file, or write into a directory that is not empty
    #[arg(long)]
    pub overwrite: bool,
    /// Write the value of a key that is also a directory to a file with this suffix
    #[arg(long, value_name = "SUFFIX")]
    pub beside: Option<OsString>,
    #[command(flatten)]
    pub common: Common,
}

/// The members of the cluster
///
/// A member is named by its id or by its name.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vardr member list\n  vardr member add n4 --peer-urls http://10.0.0.4:2380\n  \
    vardr member promote n4 --wait 5m\n  vardr member remove n1")]
pub(crate) struct Member {
    #[command(subcommand)]
    pub command: MemberCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the members, and which one leads
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Add a member as a learner, and say how to start it
    Add {
        /// The name that it will be started with
        name: String,
        /// Where the other members will reach it; several with commas
        #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
        peer_urls: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Make a voter of a learner that has caught up
    Promote {
        /// Its id or name
        member: String,
        /// Try again for so long while it has not caught up
        #[arg(long, value_name = "DURATION", value_parser = config::duration)]
        wait: Option<Duration>,
        #[command(flatten)]
        common: Common,
    },
    /// Have the others reach a member elsewhere; it is then started there
    Update {
        /// Its id or name
        member: String,
        /// Where the other members will reach it; several with commas
        #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
        peer_urls: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Remove a member for good; one that leads hands over first
    Remove {
        /// Its id or name
        member: String,
        #[command(flatten)]
        common: Common,
    },
    /// Have a member lead
    Lead {
        /// Its id or name
        member: String,
        #[command(flatten)]
        common: Common,
    },
}

/// How each endpoint is
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub common: Common,
}

/// Forget the past before a revision
#[derive(Debug, Args)]
pub(crate) struct Compact {
    /// States before this revision are forgotten; this one stays readable
    pub revision: u64,
    #[command(flatten)]
    pub common: Common,
}

/// Save the whole store to a file, or check such a file
#[derive(Debug, Args)]
pub(crate) struct Snapshot {
    #[command(subcommand)]
    pub command: SnapshotCommand,
}

/// The cluster that begins with the data directory that is made.
#[derive(Debug, Args)]
pub(crate) struct NewCluster {
    /// The name of the member that the directory is for
    #[arg(long)]
    pub name: Option<String>,
    /// The members of the new cluster: NAME=URL, several with commas
    #[arg(long, value_name = "MEMBERS")]
    pub initial_cluster: Option<String>,
    /// Where the other members reach this one
    #[arg(long, value_name = "URLS")]
    pub initial_advertise_peer_urls: Option<String>,
    /// Keeps the ids of clusters apart whose members have the same URLs
    #[arg(long, value_name = "TOKEN")]
    pub initial_cluster_token: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    pub file: PathBuf,
    /// The directory to make
    #[arg(long, value_name = "DIR", default_value = "./vardr.data")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub cluster: NewCluster,
    /// For people, or for programs
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save the store, as it is now, to a file
    ///
    /// The file appears under its name only when it is whole, checked and on disk.
    Save {
        /// The file to make
        file: PathBuf,
        /// Replace a file that is there
        #[arg(long)]
        overwrite: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Make a data directory out of a snapshot
    ///
    /// Offline, into a directory that is not there or empty: start a server on it afterwards with --data-dir. What it
    /// becomes is a new cluster with the keys of the snapshot, of one member unless --initial-cluster names several: then
    /// restore the same file for each of them, with its own --name, and start all of them with the same settings.
    /// `vardr recover` does the same with a file, tells more, and insists on another cluster id.
    Restore(Restore),
    /// Check that a file holds a whole and undamaged snapshot
    Verify {
        file: PathBuf,
        /// For people, or for programs
        #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
        output: Format,
    },
}

/// Go on as a new cluster when a majority is gone for good
///
/// A cluster that has lost a majority of its members takes no writes until enough of them are back. Bring them back if that
/// can be done at all: from their disks nothing is lost. Where it cannot, this makes a data directory for a new cluster out
/// of what one survivor has, or out of a snapshot. Writes that were acknowledged and did not reach that survivor, or came
/// after the snapshot, are lost. Of several survivors take the one whose log ends with the highest term, and of those the
/// one with the highest entry, as this command tells them; never two of them for one new cluster.
///
/// FROM is the data directory of a stopped member, or a file that `vardr snapshot save` has made. It is only read. From a
/// member everything is kept that its log holds, also what it does not know to be committed; revisions, history, leases and
/// idempotency keys go on as they were; for a while it takes the room of two stores. A file becomes what `vardr snapshot
/// restore` makes of it.
///
/// What is made is a new cluster of one member, to which others are added as to any (`vardr member add`); or of several,
/// where --initial-cluster names them: then do it for each of them, with its own --name and URLs, from copies of one and the
/// same FROM, and start all of them. It has an id of its own, so that
/// nothing of the old cluster is taken for it; where the same URLs would give it the same one, --initial-cluster-token
/// makes the difference. Members of the old cluster must not be started any more.
#[derive(Debug, Args)]
#[command(after_help = concat!("Examples:\n  vardr recover /var/lib/vardr --data-dir /var/lib/vardr.new\n  \
    vardr recover nightly.snapshot --data-dir ./vardr.data --name n1 \\\n    \
    --initial-cluster n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380 \\\n    \
    --initial-advertise-peer-urls http://10.0.0.1:2380 --initial-cluster-token after-the-fire"))]
pub(crate) struct Recover {
    /// The data directory of a stopped member, or a snapshot file
    pub from: PathBuf,
    /// The directory to make; not there yet, or empty
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub cluster: NewCluster,
    /// For people, or for programs
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub output: Format,
}

/// Completions for your shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vardr completion bash > /etc/bash_completion.d/vardr")]
pub(crate) struct Completion {
    pub shell: clap_complete::Shell,
}
