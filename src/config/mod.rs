//! What an operator may set, gathered from flags, environment and file into one validated [`Settings`].
//!
//! Every setting is one row of the table in `table.rs`: the flags, the environment variables, the keys of the
//! file, the help and the reference in `docs/configuration.md` all come from there. A flag wins over the
//! environment, the environment over the file, the file over the default. Nothing here opens a socket or a data
//! directory, and nothing is silently ignored: what does not apply is a warning, what is wrong an error that
//! names the setting, where it came from, the value and what is allowed.

pub mod reference;
mod sources;
mod table;
mod values;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::{self, ClusterState, Entry, Given, ListenUrl, Service, Source};
use crate::model::limits::DEFAULT_MAX_REQUEST_BYTES;
use crate::observe::{LogFormat, LogLevel};

pub use sources::{ConfigError, Environment, Loaded, Origin, load};
pub use table::{IGNORED, Ignored, SETTINGS, Setting, Topic};
pub use values::{duration, duration_text};

/// Everything that one member is told at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name of this member, for people. Unique in a cluster.
    pub name: String,
    /// Where the member keeps its log and its store. One directory belongs to one member for ever.
    pub data_dir: PathBuf,
    /// Where clients are listened for. Never empty.
    pub listen_client_urls: Vec<ListenUrl>,
    /// What clients are told to connect to; empty: where the member listens, see [`Settings::advertised`].
    pub advertise_client_urls: Vec<String>,
    /// Where the other members are listened for; empty: see [`Settings::peer_listen`].
    pub listen_peer_urls: Vec<ListenUrl>,
    /// Where the other members reach this one; empty: [`cluster::DEFAULT_PEER_URL`].
    pub initial_advertise_peer_urls: Vec<String>,
    /// The members that the cluster begins with; empty: this one alone, or those that DNS names.
    pub initial_cluster: Vec<Entry>,
    pub initial_cluster_state: ClusterState,
    /// A word that ids are computed from.
    pub initial_cluster_token: String,
    /// The domain whose SRV records name the members. Never set together with `initial_cluster`.
    pub discovery_srv: Option<String>,
    /// Where a discovery service keeps the members of this cluster.
    pub discovery: Option<String>,
    /// Tells clusters of that domain apart; empty: there is one.
    pub discovery_srv_name: String,
    pub auto_compaction: AutoCompaction,
    /// The largest request body, in bytes.
    pub max_request_bytes: usize,
    /// Foreign origins that browsers may call from (`scheme://host[:port]`), or `*` for any. Empty: none.
    pub cors: Vec<String>,
    /// Names that a `Host` header may carry besides those the member knows of itself, or `*` for any.
    pub host_whitelist: Vec<String>,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    /// Requests that take longer are logged; `None`: none are.
    pub slow_request_threshold: Option<Duration>,
    /// Applied entries after which the store is made durable and the log before them is dropped.
    pub snapshot_count: u64,
    /// One raft tick: how often a leader shows that it lives.
    pub heartbeat_interval: Duration,
    /// Without a sign of a leader for this long, a member stands for election.
    pub election_timeout: Duration,
    /// How often a watch of a client of etcd's that asks for it says how far it has come.
    pub watch_progress_notify_interval: Duration,
}

/// When the past is discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Never by itself.
    Off,
    /// What is older than this.
    Periodic(Duration),
    /// All but this many revisions.
    Revision(u64),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            data_dir: PathBuf::from("./vardr.data"),
            listen_client_urls: vec![ListenUrl::new("127.0.0.1", 2379)],
            advertise_client_urls: Vec::new(),
            listen_peer_urls: Vec::new(),
            initial_advertise_peer_urls: Vec::new(),
            initial_cluster: Vec::new(),
            initial_cluster_state: ClusterState::New,
            initial_cluster_token: cluster::DEFAULT_TOKEN.to_owned(),
            discovery_srv: None,
            discovery: None,
            discovery_srv_name: String::new(),
            auto_compaction: AutoCompaction::Periodic(Duration::from_hours(24)),
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
            cors: Vec::new(),
            host_whitelist: Vec::new(),
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            slow_request_threshold: Some(Duration::from_millis(500)),
            snapshot_count: 100_000,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_secs(1),
            watch_progress_notify_interval: Duration::from_mins(10),
        }
    }
}

impl Settings {
    /// For a test: a member in `dir` on a port of its own on loopback that the kernel picks, with elections that
    /// take no time to speak of.
    #[must_use]
    pub fn for_tests(dir: impl AsRef<Path>) -> Self {
        Self {
            name: "test".to_owned(),
            data_dir: dir.as_ref().to_path_buf(),
            listen_client_urls: vec![ListenUrl::new("127.0.0.1", 0)],
            heartbeat_interval: Duration::from_millis(10),
            election_timeout: Duration::from_millis(100),
            ..Self::default()
        }
    }

    /// What clients are told to connect to, given the addresses that were bound: the advertised URLs, else the
    /// bound addresses, where one that means "any address" is named `localhost`.
    #[must_use]
    pub fn advertised(&self, bound: &[SocketAddr]) -> Vec<String> {
        if !self.advertise_client_urls.is_empty() {
            return self.advertise_client_urls.clone();
        }
        bound.iter().map(|address| format!("http://{}", reachable(*address))).collect()
    }

    /// Where the other members are listened for: where the settings say, else on etcd's port of this machine once any
    /// setting says that there may be others. Nowhere for a member that is alone: it starts also where that port is taken.
    #[must_use]
    pub fn peer_listen(&self) -> Vec<ListenUrl> {
        let among_others = !self.initial_cluster.is_empty()
            || !self.initial_advertise_peer_urls.is_empty()
            || self.discovery_srv.is_some()
            || self.discovery.is_some();
        if self.listen_peer_urls.is_empty() && among_others {
            return vec![ListenUrl::new("localhost", 2380)];
        }
        self.listen_peer_urls.clone()
    }

    /// What the member was told about its cluster.
    #[must_use]
    pub fn cluster(&self) -> Given {
        let source = match (&self.discovery, &self.discovery_srv) {
            (Some(url), _) => Source::Discovery(url.clone()),
            (None, Some(domain)) => {
                Source::Srv(Service { domain: domain.clone(), name: self.discovery_srv_name.clone() })
            }
            (None, None) => Source::List(self.initial_cluster.clone()),
        };
        Given {
            name: self.name.clone(),
            advertised: self.initial_advertise_peer_urls.clone(),
            source,
            state: self.initial_cluster_state,
            token: self.discovery.clone().unwrap_or_else(|| self.initial_cluster_token.clone()),
        }
    }

    /// The election timeout in ticks of the heartbeat interval, at least 1.
    #[must_use]
    pub fn election_ticks(&self) -> usize {
        let ticks = self.election_timeout.as_millis().checked_div(self.heartbeat_interval.as_millis());
        ticks.and_then(|ticks| usize::try_from(ticks).ok()).unwrap_or(1).max(1)
    }
}

fn reachable(address: SocketAddr) -> String {
    let any = address.ip() == Ipv4Addr::UNSPECIFIED || address.ip() == Ipv6Addr::UNSPECIFIED;
    if any { format!("localhost:{}", address.port()) } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_addresses_are_advertised_unless_others_are_named() {
        let mut settings = Settings::for_tests("/tmp/x");
        let bound: Vec<SocketAddr> =
            ["127.0.0.1:4001", "0.0.0.0:4002", "[::]:4003", "[::1]:4004"].iter().map(|a| a.parse().unwrap()).collect();
        let expected = ["http://127.0.0.1:4001", "http://localhost:4002", "http://localhost:4003", "http://[::1]:4004"];
        assert_eq!(settings.advertised(&bound), expected);
        settings.advertise_client_urls = vec!["http://config.example:80".to_owned()];
        assert_eq!(settings.advertised(&bound), ["http://config.example:80"]);
    }

    #[test]
    fn a_member_that_is_alone_listens_for_nobody() {
        let alone = Settings::default();
        assert_eq!(alone.peer_listen(), []);
        let usual = [ListenUrl::new("localhost", 2380)];
        let entry = Entry { name: "default".to_owned(), url: cluster::DEFAULT_PEER_URL.to_owned() };
        let urls = vec![cluster::DEFAULT_PEER_URL.to_owned()];
        let listed = Settings { initial_cluster: vec![entry], ..alone.clone() };
        let advertised = Settings { initial_advertise_peer_urls: urls, ..alone.clone() };
        let found = Settings { discovery_srv: Some("example.org".to_owned()), ..alone.clone() };
        for settings in [listed, advertised, found] {
            assert_eq!(settings.peer_listen(), usual, "{settings:?}");
            let told = vec![ListenUrl::new("127.0.0.2", 1)];
            assert_eq!(Settings { listen_peer_urls: told.clone(), ..settings }.peer_listen(), told);
        }
        let token = Settings { initial_cluster_token: "x".to_owned(), ..alone };
        assert_eq!(token.peer_listen(), []);
    }

    #[test]
    fn the_election_timeout_is_counted_in_heartbeats() {
        assert_eq!(Settings::default().election_ticks(), 10);
    }
}
