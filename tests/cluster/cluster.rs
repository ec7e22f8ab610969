//! A whole cluster on loopback addresses of its own, with the network between its members in the test's hands.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::Client;
use tempfile::TempDir;
use vardr::api::v1::schema::{HashObject, StatusObject};
use vardr::node::member_id;

use crate::clocks::Clock;
use crate::links::Links;
use crate::member::{Member, tail};
use crate::support::volume::Volume;

pub(crate) const TOKEN: &str = "black-box";
/// How long a cluster that nothing is done to may take to be whole.
pub(crate) const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// How often what is waited for is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// What a cluster is like.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) members: usize,
    pub(crate) election: Duration,
    pub(crate) snapshot_count: u64,
    /// How many MiB the file systems have that the members' data lies on, each on one of its own; without, all of it is
    /// in the directory of the test.
    pub(crate) volume: Option<u64>,
    /// Whether each member has a wall clock of its own.
    pub(crate) clocks: bool,
}

impl Default for Shape {
    /// Three members that notice a death sooner than they would by default, so that a run is short.
    fn default() -> Self {
        Self { members: 3, election: Duration::from_millis(500), snapshot_count: 100_000, volume: None, clocks: false }
    }
}

/// A cluster that runs. Its members are killed when it is dropped; what they have written stays when a test fails.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    pub(crate) links: Links,
    pub(crate) shape: Shape,
    /// By member, where the shape has them.
    pub(crate) volumes: Vec<Volume>,
    block: Block,
    client: Client,
    directory: Option<TempDir>,
}

/// Addresses that no other cluster uses at the same time: 127.64.x.0/24 and on, claimed by listening on the first.
pub(crate) struct Block {
    prefix: String,
    _claim: TcpListener,
}

impl Block {
    pub(crate) fn claim() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        loop {
            let third = NEXT.fetch_add(1, Ordering::Relaxed);
            let second = 64 + std::process::id() % 128;
            let prefix = format!("127.{second}.{third}");
            if let Ok(claim) = TcpListener::bind((format!("{prefix}.1"), 2378)) {
                return Self { prefix, _claim: claim };
            }
        }
    }

    /// Where clients reach a member.
    pub(crate) fn client(&self, member: usize) -> SocketAddr {
        self.at(10 + member, 2379)
    }

    /// Where a member listens for others.
    pub(crate) fn peer(&self, member: usize) -> SocketAddr {
        self.at(10 + member, 2380)
    }

    /// Where others are told to reach it.
    pub(crate) fn advertised(&self, member: usize) -> SocketAddr {
        self.at(100 + member, 2380)
    }

    fn at(&self, host: usize, port: u16) -> SocketAddr {
        format!("{}.{host}:{port}", self.prefix).parse().unwrap()
    }
}

/// A directory on a real disk that goes with the test.
pub(crate) fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

impl Cluster {
    /// Starts all members. They may take a moment to find each other.
    pub(crate) async fn start(shape: Shape) -> Self {
        let (block, directory) = (Block::claim(), directory());
        let places = || 0..shape.members;
        let urls: Vec<_> = places().map(|place| format!("http://{}", block.advertised(place))).collect();
        let ids: Vec<_> = urls.iter().map(|url| member_id(std::slice::from_ref(url), TOKEN).get()).collect();
        let links = Links::new(&ids);
        for place in places() {
            let listener = tokio::net::TcpListener::bind(block.advertised(place)).await.unwrap();
            links.guard(place, listener, block.peer(place));
        }
        let members: Vec<_> = places().map(|place| member(&shape, &block, place, &urls, directory.path())).collect();
        let volume = |mebibytes, member: &Member| {
            let data = member.data_dir();
            Volume::make(&data.with_file_name("image"), &data, mebibytes).unwrap()
        };
        let volumes = shape.volume.map(|mebibytes| members.iter().map(|member| volume(mebibytes, member)).collect());
        let volumes = volumes.unwrap_or_default();
        let mut cluster = Self { members, links, shape, volumes, block, client: client(), directory: Some(directory) };
        for member in &mut cluster.members {
            member.start();
        }
        cluster
    }

    pub(crate) fn places(&self) -> std::ops::Range<usize> {
        0..self.members.len()
    }

    pub(crate) fn others(&self, than: usize) -> Vec<usize> {
        self.places().filter(|place| *place != than).collect()
    }

    pub(crate) fn address(&self, place: usize) -> SocketAddr {
        self.block.client(place)
    }

    pub(crate) fn url(&self, place: usize) -> String {
        format!("http://{}", self.address(place))
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.places().map(|place| self.url(place)).collect()
    }

    pub(crate) async fn status(&self, place: usize) -> Option<StatusObject> {
        let answer = self.client.get(format!("{}/v1/status", self.url(place))).send().await.ok()?;
        answer.json().await.ok()
    }

    /// Waits until one of these leads and a majority of all members follows it.
    pub(crate) async fn leader_among(&self, places: &[usize]) -> usize {
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            let mut known = Vec::new();
            for place in places {
                known.extend(self.status(*place).await.map(|status| (*place, status)));
            }
            if let Some(leader) = self.agreed(&known) {
                return leader;
            }
            assert!(Instant::now() < deadline, "no leader among {places:?}: {known:#?}\n{}", self.logs());
            tokio::time::sleep(LOOK).await;
        }
    }

    fn agreed(&self, known: &[(usize, StatusObject)]) -> Option<usize> {
        let leads = |status: &StatusObject| status.leader.as_ref() == Some(&status.member_id);
        let (place, leader) = known.iter().filter(|(_, status)| leads(status)).max_by_key(|(_, it)| it.raft_term)?;
        let follows = |status: &StatusObject| (&status.leader, status.raft_term) == (&leader.leader, leader.raft_term);
        let followers = known.iter().filter(|(_, status)| follows(status)).count();
        (followers > self.members.len() / 2).then_some(*place)
    }

    /// Waits until some member leads.
    pub(crate) async fn leader(&self) -> usize {
        self.leader_among(&self.places().collect::<Vec<_>>()).await
    }

    /// Waits until a member follows the leader of a majority, or leads it.
    pub(crate) async fn must_follow(&self, place: usize) {
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            let leader = self.leader().await;
            let (leader, own) = (self.status(leader).await, self.status(place).await);
            if let (Some(leader), Some(own)) = (leader, own)
                && (&leader.leader, leader.raft_term) == (&own.leader, own.raft_term)
            {
                return;
            }
            assert!(Instant::now() < deadline, "member {place} follows nobody:\n{}", self.logs());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until all members have applied up to a revision, and compares what they hold there.
    pub(crate) async fn must_agree_at(&mut self, revision: u64) {
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            self.members.iter_mut().for_each(Member::must_run);
            let mut hashes = Vec::new();
            for place in self.places() {
                hashes.extend(self.hash(place).await.filter(|hash| hash.revision >= revision));
            }
            let at = |hash: &HashObject| (hash.revision, hash.compact_revision);
            if hashes.len() == self.members.len() && hashes.iter().all(|hash| at(hash) == at(&hashes[0])) {
                assert!(hashes.iter().all(|hash| hash.hash == hashes[0].hash), "members differ: {hashes:#?}");
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not all members have come to revision {revision}: {hashes:#?}\n{}",
                self.logs()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn hash(&self, place: usize) -> Option<HashObject> {
        let url = format!("{}/v1/maintenance/hash?consistency=serializable", self.url(place));
        self.client.get(url).send().await.ok()?.json().await.ok()
    }

    /// Waits until a member has logged this text more often than `before` times.
    pub(crate) async fn logged(&self, place: usize, text: &str, before: usize) {
        let deadline = Instant::now() + SETTLE_LIMIT;
        while self.members[place].log().matches(text).count() <= before {
            assert!(Instant::now() < deadline, "member {place} has not logged {text:?}:\n{}", self.logs());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The last lines of all members.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for (place, member) in self.members.iter().enumerate() {
            let _ = write!(text, "--- member {place}:\n{}\n", tail(&member.log()));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.members.iter_mut().for_each(Member::kill);
        if thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            println!("what the members have written is in {}", directory.keep().display());
        }
    }
}

/// A client for questions about the cluster, each on a connection of its own and soon given up.
fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(2)).pool_max_idle_per_host(0).build().unwrap()
}

fn member(shape: &Shape, block: &Block, place: usize, urls: &[String], directory: &Path) -> Member {
    let mut flags = flags(place, urls, TOKEN, block.client(place), block.peer(place));
    let own = [
        ("--election-timeout", shape.election.as_millis().to_string()),
        ("--heartbeat-interval", (shape.election.as_millis() / 10).to_string()),
        ("--snapshot-count", shape.snapshot_count.to_string()),
    ];
    flags.extend(own.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
    let home = directory.join(format!("n{place}"));
    let clock = shape.clocks.then(|| Clock::new(home.join("clock")));
    let member = Member::new(home, flags);
    match clock {
        Some(clock) => member.with_clock(clock),
        None => member,
    }
}

/// How the member at this place is told of a cluster whose members advertise these URLs.
pub(crate) fn flags(place: usize, urls: &[String], token: &str, client: SocketAddr, peer: SocketAddr) -> Vec<String> {
    let list: Vec<_> = urls.iter().enumerate().map(|(place, url)| format!("n{place}={url}")).collect();
    let pairs = [
        ("--name", format!("n{place}")),
        ("--listen-client-urls", format!("http://{client}")),
        ("--listen-peer-urls", format!("http://{peer}")),
        ("--initial-advertise-peer-urls", urls[place].clone()),
        ("--initial-cluster", list.join(",")),
        ("--initial-cluster-state", "new".to_owned()),
        ("--initial-cluster-token", token.to_owned()),
    ];
    pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}
