//! Instances of services that keep themselves alive: what their heartbeats cost the server, and how soon those who listen hear
//! that one has stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::connection::{Connection, find};
use crate::drive::{exchange, runtime};
use crate::histogram::Histogram;
use crate::requests::{heartbeat, listen, register};
use crate::systems::Server;

/// The instances, and of how many services they are.
pub(crate) const INSTANCES: usize = 2_000;
const SERVICES: usize = 200;
/// How often each says that it lives, and how long it lives without.
pub(crate) const EVERY: Duration = Duration::from_secs(2);
pub(crate) const TTL: Duration = Duration::from_secs(6);
/// Those who listen to the service of the instance that stops.
pub(crate) const LISTENERS: usize = 500;
/// Of the heartbeats that are due while they are counted: with less, their cost is not that of all.
const MIN_BEATEN: f64 = 0.98;
/// How long a step may take that nothing else bounds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections opened at once, as a listening queue allows.
const AT_ONCE: usize = 100;

/// What the instances and their listeners showed.
#[derive(Clone, Copy)]
pub(crate) struct Heartbeats {
    /// The processor time of the server while nothing but heartbeats came, as a share of one core.
    pub(crate) cores: f64,
    /// From when a heartbeat was due until its answer, of 99 in 100.
    pub(crate) p99: Duration,
    /// From sending the last heartbeat of the instance that stopped until the last listener knew.
    pub(crate) heard: Duration,
}

/// What the instances share.
#[derive(Default)]
struct Pulse {
    answered: AtomicUsize,
    /// The first instance stops, and all do.
    one_stops: AtomicBool,
    all_stop: AtomicBool,
}

/// Keeps all instances alive, counts for a time what that costs, and has one of them stop. A heartbeat that is refused is an error.
pub(crate) fn heartbeats(server: &Server, counted: Duration) -> Result<Heartbeats> {
    runtime()?.block_on(async {
        let mut connections = enrol(server.address).await?.into_iter();
        let (pulse, begin) = (Arc::new(Pulse::default()), Instant::now());
        let mut beat = |number| {
            let connection = connections.next().context("an instance without a connection")?;
            anyhow::Ok(beat(number, server.address, connection, begin, Arc::clone(&pulse)))
        };
        let first = tokio::spawn(beat(0)?);
        let mut others = JoinSet::new();
        for number in 1..INSTANCES {
            others.spawn(beat(number)?);
        }
        sleep(EVERY).await;

        let (start, used, answered) =
            (Instant::now(), server.processor_time()?, pulse.answered.load(Ordering::Relaxed));
        sleep(counted).await;
        let (took, used) = (start.elapsed(), server.processor_time()?.saturating_sub(used));
        let answered = pulse.answered.load(Ordering::Relaxed) - answered;
        #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
        let beaten = answered as f64 / (INSTANCES as f64 * took.as_secs_f64() / EVERY.as_secs_f64());

        let mut listeners = listen_all(server.address).await?;
        pulse.one_stops.store(true, Ordering::Relaxed);
        let (last, mut latencies) = timeout(PATIENCE, first).await???;
        let mut heard = Instant::now();
        while let Some(at) = timeout(TTL + PATIENCE, listeners.join_next()).await.context("not all listeners heard")? {
            heard = heard.max(at??);
        }
        pulse.all_stop.store(true, Ordering::Relaxed);
        while let Some(ended) = timeout(PATIENCE, others.join_next()).await.context("an instance does not stop")? {
            latencies.add(&ended??.1);
        }
        ensure!(beaten >= MIN_BEATEN, "of the heartbeats that were due, {beaten:.2} were answered");
        ensure!(heard - last >= TTL, "an instance was gone {:?} after its last heartbeat", heard - last);
        let cores = used.as_secs_f64() / took.as_secs_f64();
        Ok(Heartbeats { cores, p99: latencies.percentile(990), heard: heard - last })
    })
}

/// The service that an instance is of, and which one of it it is.
fn place(number: usize) -> (usize, usize) {
    (number % SERVICES, number / SERVICES)
}

/// Registers all instances, each on a connection of its own.
async fn enrol(address: SocketAddr) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(INSTANCES);
    while connections.len() < INSTANCES {
        let mut opening = JoinSet::new();
        for number in (connections.len()..INSTANCES).take(AT_ONCE) {
            opening.spawn(async move {
                let mut connection = Connection::open(address).await?;
                exchange(&mut connection, &register(address, place(number), TTL.as_secs())).await?;
                anyhow::Ok(connection)
            });
        }
        while let Some(opened) = timeout(PATIENCE, opening.join_next()).await.context("no answer")? {
            connections.push(opened??);
        }
    }
    Ok(connections)
}

/// Sends the heartbeats of an instance at their times until it is told to stop: when the last one was sent, and how long after
/// its time each was answered.
async fn beat(
    number: usize,
    address: SocketAddr,
    mut connection: Connection,
    begin: Instant,
    pulse: Arc<Pulse>,
) -> Result<(Instant, Histogram)> {
    let request = heartbeat(address, place(number));
    let share = u32::try_from(number)? * EVERY / u32::try_from(INSTANCES)?;
    let mut latencies = Histogram::default();
    for turn in 0_u32.. {
        let due = begin + share + turn * EVERY;
        sleep_until(due.into()).await;
        let sent = Instant::now();
        exchange(&mut connection, &request).await?;
        latencies.record(due.elapsed());
        pulse.answered.fetch_add(1, Ordering::Relaxed);
        if pulse.all_stop.load(Ordering::Relaxed) || (number == 0 && pulse.one_stops.load(Ordering::Relaxed)) {
            return Ok((sent, latencies));
        }
    }
    unreachable!("turns do not end")
}

/// Opens the streams of those who listen to the service of the first instance. Each ends with when it heard that it is gone.
async fn listen_all(address: SocketAddr) -> Result<JoinSet<Result<Instant>>> {
    let request = listen(address, place(0).0);
    let mut listeners = JoinSet::new();
    while listeners.len() < LISTENERS {
        let mut opening = JoinSet::new();
        for _ in (listeners.len()..LISTENERS).take(AT_ONCE) {
            let request = request.clone();
            opening.spawn(async move { Connection::open(address).await?.stream(&request).await });
        }
        while let Some(stream) = timeout(PATIENCE, opening.join_next()).await.context("a listener did not open")? {
            let (stream, rest) = stream??;
            listeners.spawn(hear(stream, rest));
        }
    }
    Ok(listeners)
}

/// Reads until an instance has gone.
async fn hear(mut stream: TcpStream, mut buffer: Vec<u8>) -> Result<Instant> {
    const GONE: &[u8] = b"event: deregistered";
    while find(&buffer, GONE).is_none() {
        buffer.drain(..buffer.len().saturating_sub(GONE.len()));
        ensure!(stream.read_buf(&mut buffer).await? > 0, "a stream ended by itself");
    }
    Ok(Instant::now())
}
