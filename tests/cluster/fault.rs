//! What is done to a cluster at work. Each fault ends with everything mended again; what came of it is judged elsewhere.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use reqwest::StatusCode;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::links::Road;
use crate::load::{judge, read_path};
use crate::record::{Act, Consistency, Operation, Outcome, Silence};
use crate::support::http::Response;
use crate::support::volume::Volume;

/// Reads that wait at a stopped leader when it wakes.
const WAITING_READS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    KillLeader,
    KillFollower,
    KillAll,
    PauseLeader,
    PauseFollower,
    /// The leader hears and reaches nobody.
    IsolateLeader,
    /// The leader keeps one follower, which is no majority of five; of three, it is the other follower that is cut off.
    LeaderWithOne,
    LeaderCannotSend,
    LeaderCannotReceive,
    SlowLinks,
    RollingRestart,
    /// The power of the leader's machine fails; what it has not synced is lost. The three need a volume for each member.
    LeaderLosesPower,
    FollowerLosesPower,
    AllLosePower,
}

impl Fault {
    pub(crate) const ALL: [Self; 14] = [
        Self::KillLeader,
        Self::KillFollower,
        Self::KillAll,
        Self::PauseLeader,
        Self::PauseFollower,
        Self::IsolateLeader,
        Self::LeaderWithOne,
        Self::LeaderCannotSend,
        Self::LeaderCannotReceive,
        Self::SlowLinks,
        Self::RollingRestart,
        Self::LeaderLosesPower,
        Self::FollowerLosesPower,
        Self::AllLosePower,
    ];

    /// Whether each member's data has to lie on a volume of its own.
    pub(crate) fn needs_volumes(self) -> bool {
        matches!(self, Self::LeaderLosesPower | Self::FollowerLosesPower | Self::AllLosePower)
    }
}

/// What the judge has to know of a fault.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    pub(crate) silences: Vec<Silence>,
    /// What the fault itself has asked the members.
    pub(crate) operations: Vec<Operation>,
}

impl Aftermath {
    pub(crate) fn add(&mut self, other: Self) {
        self.silences.extend(other.silences);
        self.operations.extend(other.operations);
    }
}

/// Breaks something for as long as chance says, and mends it.
pub(crate) async fn inject(fault: Fault, cluster: &mut Cluster, chance: &mut StdRng) -> Aftermath {
    let leader = cluster.leader().await;
    let others = cluster.others(leader);
    let follower = *others.choose(chance).expect("a cluster has followers");
    let cut = Road { cut: true, ..Road::default() };
    match fault {
        Fault::KillLeader => {
            cluster.members[leader].kill();
            cluster.leader_among(&others).await;
            kill(cluster, &[leader], chance).await;
        }
        Fault::KillFollower => kill(cluster, &[follower], chance).await,
        Fault::KillAll => kill(cluster, &cluster.places().collect::<Vec<_>>(), chance).await,
        Fault::PauseLeader => return pause(cluster, leader, chance).await,
        Fault::PauseFollower => return pause(cluster, follower, chance).await,
        Fault::IsolateLeader => {
            let both = others.iter().flat_map(|other| [(leader, *other), (*other, leader)]).collect();
            disturb(cluster, both, cut, &others, chance).await;
        }
        Fault::LeaderWithOne => {
            let side = [leader, follower];
            let parted = |from: &usize, to: &usize| side.contains(from) != side.contains(to);
            let pairs = cluster.places().flat_map(|from| cluster.places().map(move |to| (from, to)));
            let between = pairs.filter(|(from, to)| parted(from, to)).collect();
            let rest: Vec<_> = others.into_iter().filter(|other| *other != follower).collect();
            let majority = if rest.len() > side.len() { rest } else { side.to_vec() };
            disturb(cluster, between, cut, &majority, chance).await;
        }
        Fault::LeaderCannotSend => {
            let out = others.iter().map(|other| (leader, *other)).collect();
            disturb(cluster, out, cut, &others, chance).await;
        }
        Fault::LeaderCannotReceive => {
            let back = others.iter().map(|other| (*other, leader)).collect();
            disturb(cluster, back, cut, &others, chance).await;
        }
        Fault::SlowLinks => {
            let latency = Duration::from_millis(chance.random_range(5..40));
            let slow = Road { latency, bytes_per_second: Some(chance.random_range(20_000..200_000)), cut: false };
            let all = cluster.places().flat_map(|from| cluster.places().map(move |to| (from, to))).collect();
            disturb(cluster, all, slow, &cluster.places().collect::<Vec<_>>(), chance).await;
        }
        Fault::RollingRestart => roll(cluster).await,
        Fault::LeaderLosesPower => lose_power(cluster, &[leader], chance).await,
        Fault::FollowerLosesPower => lose_power(cluster, &[follower], chance).await,
        Fault::AllLosePower => lose_power(cluster, &cluster.places().collect::<Vec<_>>(), chance).await,
    }
    Aftermath::default()
}

/// Some election timeouts, in tenths of one.
fn a_while(cluster: &Cluster, chance: &mut StdRng, tenths: std::ops::Range<u32>) -> Duration {
    cluster.shape.election * chance.random_range(tenths) / 10
}

/// Kills these, unless they are dead already, and starts them after a while.
async fn kill(cluster: &mut Cluster, places: &[usize], chance: &mut StdRng) {
    for place in places {
        cluster.members[*place].kill();
    }
    sleep(a_while(cluster, chance, 1..30)).await;
    for place in places {
        cluster.members[*place].start();
    }
}

/// The power of these fails, and comes back after a while.
async fn lose_power(cluster: &mut Cluster, places: &[usize], chance: &mut StdRng) {
    tokio::task::block_in_place(|| {
        // They stop first: a process that goes on sees its disk fail, which no loss of power shows to anybody.
        for place in places {
            cluster.members[*place].pause();
        }
        let volumes: Vec<_> = places.iter().map(|place| &cluster.volumes[*place]).collect();
        Volume::power_off_all(&volumes).unwrap();
        for place in places {
            cluster.members[*place].kill();
        }
        for place in places {
            cluster.volumes[*place].power_on();
        }
    });
    sleep(a_while(cluster, chance, 1..30)).await;
    for place in places {
        cluster.members[*place].start();
    }
}

/// Makes these ways bad, until one of the members that can still agree leads them, and for some time more.
async fn disturb(cluster: &Cluster, pairs: Vec<(usize, usize)>, road: Road, majority: &[usize], chance: &mut StdRng) {
    for (from, to) in pairs {
        cluster.links.set(from, to, road);
    }
    cluster.leader_among(majority).await;
    sleep(a_while(cluster, chance, 10..50)).await;
    cluster.links.set_all(Road::default());
}

/// SIGTERM for one after the other, each back before the next.
async fn roll(cluster: &mut Cluster) {
    for place in cluster.places() {
        let ended = tokio::task::block_in_place(|| cluster.members[place].terminate());
        assert!(ended.success(), "member {place} ended with {ended} on SIGTERM:\n{}", cluster.logs());
        cluster.members[place].start();
        cluster.must_follow(place).await;
    }
}

/// Stops a member for longer than it takes to be replaced. Reads that reach it meanwhile, after writes that it cannot
/// know of, must be answered by what is true then.
async fn pause(cluster: &Cluster, place: usize, chance: &mut StdRng) -> Aftermath {
    cluster.members[place].pause();
    let start = Instant::now();
    sleep(a_while(cluster, chance, 30..80)).await;
    let others = cluster.others(place);
    cluster.leader_among(&others).await;
    let reads: Vec<_> = (0..WAITING_READS).map(|number| WaitingRead::send(cluster.address(place), number)).collect();
    cluster.members[place].resume();
    let silence = Silence { member: place, start, end: Instant::now() };
    let operations = tokio::task::block_in_place(|| reads.into_iter().map(|read| read.finish(place)).collect());
    Aftermath { silences: vec![silence], operations }
}

/// A read whose bytes are with the kernel of a member that does not run.
struct WaitingRead {
    stream: TcpStream,
    key: String,
    start: Instant,
}

impl WaitingRead {
    fn send(address: SocketAddr, number: usize) -> Self {
        let (key, start) = (format!("/shared/{}", number % 4), Instant::now());
        let path = read_path(&key, Consistency::Linearizable);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        Self { stream, key, start }
    }

    fn finish(mut self, member: usize) -> Operation {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).unwrap();
        let answer = Response::parse(&bytes);
        let revision = answer.header("vardr-revision").and_then(|value| value.parse().ok()).unwrap_or(0);
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::IM_A_TEAPOT);
        let outcome = match serde_json::from_slice(&answer.body) {
            Ok(body) => judge(true, status, revision, &body),
            Err(error) => Outcome::Wrong(format!("{error} in {answer:?}")),
        };
        let act = Act::Read { key: self.key, consistency: Consistency::Linearizable };
        Operation { act, member, start: self.start, end: Instant::now(), outcome }
    }
}
