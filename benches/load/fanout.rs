//! One change, many watchers: how long until each has it, and what each costs while nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connection::{Connection, find};
use crate::drive::{exchange, runtime};
use crate::histogram::Histogram;
use crate::requests::{Face, Operation, Random, request, watch};
use crate::systems::Server;

/// What a crowd of watchers showed.
#[derive(Clone, Copy)]
pub(crate) struct FanOut {
    /// Until the last watcher had an event, from just before its write was sent; the median over the events.
    pub(crate) all: Duration,
    /// The same until 99 of 100 deliveries, over all events.
    pub(crate) p99: Duration,
    /// Resident memory of the server for each watcher, measured while idle.
    pub(crate) bytes_each: u64,
}

/// How long a watcher may take to open, or an event to reach all.
const PATIENCE: Duration = Duration::from_mins(1);

/// Opens `watchers` streams on one key and changes it `events` times, the next once all have the one before.
pub(crate) fn fan_out(face: Face, server: &Server, watchers: usize, events: u64) -> Result<FanOut> {
    runtime()?.block_on(async {
        let mut writer = Connection::open(server.address).await?;
        write(face, server, &mut writer, 0).await?;
        let before = server.resident_bytes()?;
        let (seen, mut arrivals) = unbounded_channel();
        let mut tasks = JoinSet::new();
        open(face, server, watchers, &seen, &mut tasks).await?;
        sleep(Duration::from_secs(2)).await;
        let grown = server.resident_bytes()?.saturating_sub(before);

        let mut deliveries = Histogram::default();
        let mut lasts = Vec::new();
        for number in 1..=events {
            let sent = Instant::now();
            write(face, server, &mut writer, number).await?;
            let wait = timeout(PATIENCE, collect(&mut arrivals, number, watchers, sent, &mut deliveries));
            lasts.push(wait.await.with_context(|| format!("event {number} did not reach every watcher"))??);
        }
        lasts.sort();
        let all = lasts.get(lasts.len() / 2).copied().context("no event was sent")?;
        Ok(FanOut { all, p99: deliveries.percentile(990), bytes_each: grown / watchers as u64 })
    })
}

async fn write(face: Face, server: &Server, writer: &mut Connection, number: u64) -> Result<()> {
    let request = request(face, server.address, Operation::Tick(number), &mut Random::new(1));
    exchange(writer, &request.context("no such write")?).await
}

/// Opens the streams a hundred at a time, as a listening queue allows.
async fn open(
    face: Face,
    server: &Server,
    watchers: usize,
    seen: &UnboundedSender<(u64, Instant)>,
    tasks: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let request = watch(face, server.address).context("no streams")?;
    let mut opened = 0;
    while opened < watchers {
        let mut opening = JoinSet::new();
        for _ in 0..(watchers - opened).min(100) {
            let (address, request) = (server.address, request.clone());
            opening.spawn(async move { Connection::open(address).await?.stream(&request).await });
        }
        opened += opening.len();
        while let Some(stream) = timeout(PATIENCE, opening.join_next()).await.context("a watcher did not open")? {
            let (stream, rest) = stream??;
            tasks.spawn(follow(stream, rest, seen.clone()));
        }
    }
    Ok(())
}

/// Reports each tick once, by its number, when it arrives.
async fn follow(mut stream: TcpStream, mut buffer: Vec<u8>, seen: UnboundedSender<(u64, Instant)>) -> Result<()> {
    const MARK: &[u8] = b"tick-";
    const DIGITS: usize = 6;
    let mut newest = 0;
    loop {
        while let Some(at) = find(&buffer, MARK) {
            let Some(digits) = buffer.get(at + MARK.len()..at + MARK.len() + DIGITS) else { break };
            let number = std::str::from_utf8(digits)?.parse()?;
            // An event may repeat the value that it replaced.
            if number > newest {
                newest = number;
                seen.send((number, Instant::now()))?;
            }
            buffer.drain(..at + MARK.len() + DIGITS);
        }
        if find(&buffer, MARK).is_none() {
            buffer.drain(..buffer.len().saturating_sub(MARK.len()));
        }
        ensure!(stream.read_buf(&mut buffer).await? > 0, "a watch ended by itself");
    }
}

/// Waits until every watcher reported `number`; answers how long after `sent` the last one had it.
async fn collect(
    arrivals: &mut UnboundedReceiver<(u64, Instant)>,
    number: u64,
    watchers: usize,
    sent: Instant,
    deliveries: &mut Histogram,
) -> Result<Duration> {
    let mut last = Duration::ZERO;
    for _ in 0..watchers {
        let (arrived, at) = arrivals.recv().await.context("every watch ended")?;
        ensure!(arrived == number, "a watcher had event {arrived} instead of {number}");
        last = last.max(at - sent);
        deliveries.record(at - sent);
    }
    Ok(last)
}
