//! How a member learns what cluster it is part of: from its settings alone, or with the help of a discovery service or DNS.
//!
//! [`plan()`] turns what the member was [`Given`] into a [`Plan`]: the ids, the first members and whom to ask. It is for a
//! data directory that is still empty; one that is not knows its members better, and then none of this is looked at, as
//! in etcd. [`join()`] asks the members of a cluster that runs which of them this one is. Nothing here listens or touches a
//! disk.

mod discovery;
mod join;
mod plan;
mod srv;
mod url;

use std::fmt;

pub use self::url::{ListenUrl, bare_url, discovery_url, http_url, peer_listen_url, peer_url};
pub use discovery::{DiscoveryError, cause};
pub use join::{JoinError, join};
pub use plan::{Peer, Plan, PlanError, Start};
pub use srv::SrvError;

/// Where a member is reached by the others when it is told nothing else, as in etcd.
pub const DEFAULT_PEER_URL: &str = "http://localhost:2380";
/// The token of a cluster that was given none, as in etcd.
pub const DEFAULT_TOKEN: &str = "etcd-cluster";

/// What a member was told about its cluster. Every URL is `http://host:port` with nothing behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The name of this member.
    pub name: String,
    /// Where the others reach this member; empty: nothing was said.
    pub advertised: Vec<String>,
    /// Where the list of members comes from.
    pub source: Source,
    pub state: ClusterState,
    /// Keeps the ids of clusters apart whose members have the same URLs.
    pub token: String,
}

impl Given {
    /// Where the others reach this member.
    #[must_use]
    pub fn advertised(&self) -> Vec<String> {
        if self.advertised.is_empty() { vec![DEFAULT_PEER_URL.to_owned()] } else { self.advertised.clone() }
    }
}

/// Where the list of members comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `--initial-cluster`. Empty: this member alone.
    List(Vec<Entry>),
    /// `--discovery-srv`.
    Srv(Service),
    /// `--discovery`: the URL, as it was given. It is also the token of the cluster, as in etcd.
    Discovery(String),
}

impl Source {
    /// The setting that the list comes from.
    const fn setting(&self) -> &'static str {
        match self {
            Self::List(_) => "--initial-cluster",
            Self::Srv(_) => "--discovery-srv",
            Self::Discovery(_) => "--discovery",
        }
    }
}

/// One `name=url` of a list of members. A name that stands twice is one member with two URLs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: String,
    pub url: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.url)
    }
}

/// The names in DNS that the members of a cluster stand under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub domain: String,
    /// Tells clusters of one domain apart; empty: there is one.
    pub name: String,
}

/// Whether the cluster begins with this start or runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// It begins, and every member of the list starts with the same list.
    New,
    /// It runs, and this member has been added to it.
    Existing,
}

impl ClusterState {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::New, Self::Existing];

    /// The name in settings, which is etcd's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Existing => "existing",
        }
    }
}

/// Plans the first start of a member. Asks DNS only when [`Given::source`] says so, for 5 s at most; and a discovery service
/// until all members have come to it.
///
/// # Errors
/// When what was given contradicts itself or the answers of DNS.
pub async fn plan(given: &Given) -> Result<Plan, PlanError> {
    let list = match &given.source {
        Source::List(list) => list.clone(),
        Source::Srv(service) => {
            srv::discover(service, &given.name, &given.advertised(), &srv::Lookup::of_system()?).await?
        }
        // A discovery service tells who begins a cluster, not who is in one that runs.
        Source::Discovery(_) if given.state == ClusterState::Existing => Vec::new(),
        Source::Discovery(url) => discovery::discover(url, &given.name, &given.advertised()).await?,
    };
    Plan::new(given, &list)
}
