//! Drives one server over many keep-alive connections for a time, one request at a time on each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::calls::CHANNELS;
use crate::connection::Connection;
use crate::histogram::Histogram;
use crate::requests::{self, BATCH, Face, Operation, Random, request};
use crate::unary::Callers;

/// What one run showed.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// Requests per second.
    pub(crate) rate: f64,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

/// How long a run warms up, and how long it counts.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) counted: Duration,
}

/// The threads of the client: the servers have the rest of the machine.
const CLIENT_THREADS: usize = 1;
/// How many different requests a run repeats.
const REQUESTS: usize = 4096;
/// How long an answer may take after the end of a run.
const PATIENCE: Duration = Duration::from_secs(20);

/// A runtime for the client: one thread, so that the servers have the rest of the machine.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Repeats `operation` on `connections` connections, spread over the servers; over gRPC as so many calls at once on
/// [`CHANNELS`]. Any answer but a success is an error.
pub(crate) fn drive(
    face: Face,
    addresses: &[SocketAddr],
    operation: Operation,
    connections: usize,
    times: Times,
) -> Result<Run> {
    // Made before the clock runs, and few enough to stay in the cache: what they cost is not the server's.
    let mut random = Random::new(connections as u64);
    let host = *addresses.first().context("no server to drive")?;
    let requests: Arc<[_]> = (0..REQUESTS).filter_map(|_| request(face, host, operation, &mut random)).collect();
    ensure!(!requests.is_empty(), "{face:?} has no {operation:?}");
    let start = Instant::now() + times.warm_up;
    let end = start + times.counted;
    let threads = CLIENT_THREADS;
    let lanes: Vec<_> = (0..threads.min(connections))
        .map(|lane| {
            let offset = |number| number * REQUESTS / connections;
            let numbers = (lane..connections).step_by(threads);
            let places: Vec<_> =
                numbers.zip(addresses.iter().cycle()).map(|(number, address)| (*address, offset(number))).collect();
            let requests = Arc::clone(&requests);
            thread::spawn(move || runtime()?.block_on(repeat_all(face, operation, places, requests, start, end)))
        })
        .collect();
    let mut all = Histogram::default();
    for lane in lanes {
        all.add(&lane.join().map_err(|_| anyhow!("a thread of the client panicked"))??);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
    let rate = all.total() as f64 / times.counted.as_secs_f64();
    Ok(Run { rate, median: all.percentile(500), p99: all.percentile(990) })
}

/// One request at a time for each place: a server, and where in the requests to begin.
async fn repeat_all(
    face: Face,
    operation: Operation,
    places: Vec<(SocketAddr, usize)>,
    requests: Arc<[Bytes]>,
    start: Instant,
    end: Instant,
) -> Result<Histogram> {
    let mut tasks = JoinSet::new();
    if face.is_grpc() {
        let method = operation.method().context("no such call")?;
        for (channel, (address, _)) in places.iter().take(CHANNELS).enumerate() {
            let places = places.iter().skip(channel).step_by(CHANNELS).map(|(_, offset)| *offset).collect();
            tasks.spawn(Callers::open(*address, method, Arc::clone(&requests), places).await?.repeat(start, end));
        }
    } else {
        for (address, offset) in places {
            tasks.spawn(repeat(Connection::open(address).await?, Arc::clone(&requests), offset, start, end));
        }
    }
    let all = tokio::time::timeout_at((end + PATIENCE).into(), async {
        let mut all = Histogram::default();
        while let Some(histogram) = tasks.join_next().await {
            all.add(&histogram??);
        }
        anyhow::Ok(all)
    });
    all.await.context("the server stalled")?
}

async fn repeat(
    mut connection: Connection,
    requests: Arc<[Bytes]>,
    offset: usize,
    start: Instant,
    end: Instant,
) -> Result<Histogram> {
    let mut histogram = Histogram::default();
    for request in requests.iter().cycle().skip(offset) {
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        exchange(&mut connection, request).await?;
        let answered = Instant::now();
        if sent >= start && answered < end {
            histogram.record(answered - sent);
        }
    }
    Ok(histogram)
}

/// One request that must succeed.
pub(crate) async fn exchange(connection: &mut Connection, request: &[u8]) -> Result<()> {
    let status = connection.exchange(request).await?;
    ensure!(
        (200..300).contains(&status),
        "{} was answered with {}",
        String::from_utf8_lossy(request),
        String::from_utf8_lossy(connection.answer())
    );
    Ok(())
}

/// Writes `count` keys below `directory`, as fast as a few connections allow.
pub(crate) fn fill(face: Face, address: SocketAddr, directory: &str, count: u64) -> Result<()> {
    const LANES: u64 = 16;
    let directory: Arc<str> = directory.into();
    runtime()?.block_on(async {
        let mut tasks = JoinSet::new();
        for lane in 0..LANES {
            let directory = Arc::clone(&directory);
            tasks.spawn(async move {
                let mut connection = Connection::open(address).await?;
                let mut random = Random::new(lane + 1000);
                for first in (lane * BATCH..count).step_by(usize::try_from(LANES * BATCH)?) {
                    let numbers = first..count.min(first + BATCH);
                    for request in requests::fill(face, address, &directory, numbers, &mut random) {
                        exchange(&mut connection, &request).await?;
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(lane) = tasks.join_next().await {
            lane??;
        }
        Ok(())
    })
}
