//! A member that comes back while others write: how long it takes to catch up, and whether the writes are held up by it.
//!
//! The load is an open one: requests have fixed times at which they are due, whether those before have been answered or
//! not, and a latency counts from then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::connection::Connection;
use crate::drive::{exchange, runtime};
use crate::histogram::Histogram;
use crate::requests::{Face, Operation, Random, request, status};
use crate::systems::Server;

/// Connections that write as fast as they can while the member is down.
const WRITERS: u64 = 64;
/// Connections of the open load: as many requests may be under way before one waits for want of a connection.
const LANES: u64 = 256;
/// How much of the most that was reached the open load is.
const SHARE: f64 = 0.5;
/// How long the open load goes on before the member comes back, and after it has caught up.
const MARGIN: Duration = Duration::from_secs(1);
/// How often the members are asked how far they are.
const LOOK: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_mins(2);

/// How a member caught up.
#[derive(Clone, Copy)]
pub(crate) struct CatchUp {
    /// The writes that it was not there for.
    pub(crate) missed: u64,
    /// From the start of its process until it has applied what the leader has.
    pub(crate) took: Duration,
    /// Requests per second that were due in that time.
    pub(crate) offered: f64,
    /// Requests per second that were answered in that time.
    pub(crate) achieved: f64,
    /// The most requests that were due and not answered at one moment.
    pub(crate) backlog: u64,
    /// Of the requests that were due in that time, from when they were.
    pub(crate) p99: Duration,
}

impl CatchUp {
    /// How much of what was due was answered in that time. What is missing is backlog that has grown.
    pub(crate) fn share(&self) -> f64 {
        self.achieved / self.offered
    }
}

/// Takes a follower down, writes so much, puts the open load on the others and brings it back.
pub(crate) fn catch_up(members: &mut [Server], writes: u64) -> Result<CatchUp> {
    runtime()?.block_on(async {
        let (behind, others) = split(members).await?;
        behind.stop(Signal::TERM)?;
        let most = write_all(&others, writes).await?;
        let load = Load::start(&others, most * SHARE);
        sleep(MARGIN).await;
        let (begin, before) = (Instant::now(), load.answered());
        behind.start_again()?;
        let backlog = load.until_even(behind.address, &others).await?;
        let (end, after) = (Instant::now(), load.answered());
        sleep(MARGIN).await;
        let (rate, latencies) = (load.rate, load.finish(begin, end).await?);
        let took = end - begin;
        #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
        let achieved = (after - before) as f64 / took.as_secs_f64();
        Ok(CatchUp { missed: writes, took, offered: rate, achieved, backlog, p99: latencies.percentile(990) })
    })
}

/// A follower, and where the others are, the leader first.
async fn split(members: &mut [Server]) -> Result<(&mut Server, Vec<SocketAddr>)> {
    let mut followers = Vec::new();
    let mut leader = None;
    for (place, member) in members.iter().enumerate() {
        let status = ask(member.address).await?;
        if status.get("leader") == status.get("memberId") {
            leader = Some(member.address);
        } else {
            followers.push(place);
        }
    }
    let (leader, behind) = (leader.context("no member leads")?, followers.pop().context("no member follows")?);
    let rest = followers.iter().filter_map(|place| members.get(*place)).map(|member| member.address);
    let others = std::iter::once(leader).chain(rest).collect();
    Ok((members.get_mut(behind).context("a member that is not there")?, others))
}

async fn ask(address: SocketAddr) -> Result<Value> {
    let mut connection = Connection::open(address).await?;
    exchange(&mut connection, &status(address)).await?;
    connection.json()
}

async fn applied(address: SocketAddr) -> Result<u64> {
    ask(address).await?.get("raftApplied").and_then(Value::as_u64).context("a status without what is applied")
}

/// Writes so much as fast as it goes; how many writes per second that is.
async fn write_all(addresses: &[SocketAddr], writes: u64) -> Result<f64> {
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for (lane, address) in (0..WRITERS).zip(addresses.iter().copied().cycle()) {
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut random = Random::new(lane);
            for _ in (lane..writes).step_by(usize::try_from(WRITERS)?) {
                exchange(&mut connection, &put(address, &mut random)?).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(lane) = tasks.join_next().await {
        lane??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
    let rate = writes as f64 / start.elapsed().as_secs_f64();
    Ok(rate)
}

fn put(address: SocketAddr, random: &mut Random) -> Result<Bytes> {
    request(Face::Vardr, address, Operation::Put, random).context("a server that takes no writes")
}

/// The open load under way.
struct Load {
    rate: f64,
    schedule: Arc<Schedule>,
    lanes: JoinSet<Result<Vec<(Instant, Duration)>>>,
}

/// When requests are due.
struct Schedule {
    start: Instant,
    rate: f64,
    /// The number of the next request that nobody has taken.
    next: AtomicU64,
    answered: AtomicU64,
    /// No request from this number on is sent.
    end: AtomicU64,
}

impl Schedule {
    /// When the request of this number is due.
    fn due(&self, number: u64) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
        let seconds = number as f64 / self.rate;
        self.start + Duration::from_secs_f64(seconds)
    }

    /// How many requests are due by now.
    fn all_due(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
        let due = (self.start.elapsed().as_secs_f64() * self.rate) as u64;
        due
    }
}

impl Load {
    fn start(addresses: &[SocketAddr], rate: f64) -> Self {
        let (next, answered, end) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let schedule = Arc::new(Schedule { start: Instant::now() + LOOK, rate, next, answered, end });
        let mut lanes = JoinSet::new();
        for (lane, address) in (0..LANES).zip(addresses.iter().copied().cycle()) {
            lanes.spawn(follow(address, Random::new(WRITERS + lane), Arc::clone(&schedule)));
        }
        Self { rate, schedule, lanes }
    }

    fn answered(&self) -> u64 {
        self.schedule.answered.load(Ordering::Relaxed)
    }

    /// Waits until a member has applied what the first of the others has; the largest backlog until then.
    async fn until_even(&self, behind: SocketAddr, others: &[SocketAddr]) -> Result<u64> {
        let leader = *others.first().context("no member leads")?;
        let (deadline, mut backlog) = (Instant::now() + LIMIT, 0);
        loop {
            backlog = backlog.max(self.schedule.all_due().saturating_sub(self.answered()));
            let goal = applied(leader).await?;
            // It does not answer before it listens.
            if applied(behind).await.is_ok_and(|applied| applied >= goal) {
                return Ok(backlog);
            }
            ensure!(Instant::now() < deadline, "the member has not caught up after {} s", LIMIT.as_secs());
            sleep(LOOK).await;
        }
    }

    /// Sends no more, waits for what is under way, and gives the latencies of what was due in a time.
    async fn finish(mut self, begin: Instant, end: Instant) -> Result<Histogram> {
        self.schedule.end.store(self.schedule.all_due(), Ordering::Relaxed);
        let mut latencies = Histogram::default();
        let all = tokio::time::timeout(LIMIT, async {
            while let Some(lane) = self.lanes.join_next().await {
                let of_lane = lane??;
                let counted = of_lane.into_iter().filter(|(due, _)| (begin..end).contains(due));
                counted.for_each(|(_, latency)| latencies.record(latency));
            }
            anyhow::Ok(())
        });
        all.await.context("the servers stalled")??;
        Ok(latencies)
    }
}

/// Takes one request after the other, each not before it is due: when it was, and how long after that it was answered.
async fn follow(address: SocketAddr, mut random: Random, schedule: Arc<Schedule>) -> Result<Vec<(Instant, Duration)>> {
    let mut connection = Connection::open(address).await?;
    let mut latencies = Vec::new();
    loop {
        let number = schedule.next.fetch_add(1, Ordering::Relaxed);
        let due = schedule.due(number);
        sleep_until(due.into()).await;
        if number >= schedule.end.load(Ordering::Relaxed) {
            return Ok(latencies);
        }
        exchange(&mut connection, &put(address, &mut random)?).await?;
        schedule.answered.fetch_add(1, Ordering::Relaxed);
        latencies.push((due, due.elapsed()));
    }
}
