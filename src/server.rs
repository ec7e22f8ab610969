//! The composition root: builds everything in order, runs it, and takes it down in reverse.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::DerefMut;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::Body;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::api::authority::Authorities;
use crate::api::corked::{Calls, Corked};
use crate::api::edge::Access;
use crate::api::{ApiSettings, Face};
use crate::cluster::{self, Given, ListenUrl, Source, Start};
use crate::config::{AutoCompaction, Settings};
use crate::consensus::KEPT_ENTRIES;
use crate::node::{self, Beginning, Identity, Node};
use crate::observe::{Metrics, logging};
use crate::service::{LARGE_BYTES, Limits, Retention, Service};

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The headers of a request: `431` beyond.
const MAX_HEADERS: usize = 100;
/// The bytes of a request's head: `431` beyond.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The requests at once on one HTTP/2 connection. A blocked call holds one.
const MAX_STREAMS: u32 = 1000;
/// What a stream of HTTP/2 keeps of its answer until it is written. Answers that are larger are counted while they wait.
const STREAM_BUFFER_BYTES: usize = LARGE_BYTES;
/// How long to wait before accepting again when no connection can be had (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The store's block cache.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// The log is cut when it has grown by this much, however few entries that is.
const CHECKPOINT_BYTES: u64 = 32 * 1024 * 1024;
/// What a client of HTTP/2 sends first (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long to wait for the rest of it.
const PREFACE_PAUSE: Duration = Duration::from_millis(20);
/// How long requests under way may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    node: Node,
    service: Service,
    shutdown: Shutdown,
    tasks: TaskTracker,
}

/// The end of a server, as those who serve connections hear of it.
#[derive(Debug, Clone, Default)]
struct Shutdown {
    token: CancellationToken,
    /// Set before the token is. Costs nothing to look at.
    begun: Arc<AtomicBool>,
}

impl Shutdown {
    fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.token.cancel();
    }
}

/// Starts a server and returns once it takes requests.
///
/// # Errors
/// When the data directory or an address cannot be used.
pub async fn start(settings: Settings) -> anyhow::Result<Running> {
    let metrics = Metrics::new();
    // Addresses first: a second server on the same ones is told so before it looks at any data.
    let listeners = bind(&settings.listen_client_urls, "--listen-client-urls").await?;
    let peer_listeners = bind(&settings.peer_listen(), "--listen-peer-urls").await?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let options = node_options(&settings, &addresses).await?;
    let node_metrics = metrics.clone();
    let node = tokio::task::spawn_blocking(move || Node::start(&options, node_metrics, peer_listeners)).await??;
    let shutdown = Shutdown::default();
    let limits = Limits { max_request_bytes: settings.max_request_bytes };
    let service = Service::new(node.handle(), settings.name.clone(), limits, metrics.clone(), shutdown.token.clone());
    let face = Face::new(service.clone(), api_settings(&settings, &addresses), metrics);
    let tasks = TaskTracker::new();
    tasks.spawn(service.clone().guard_space());
    tasks.spawn(service.clone().promote_by_itself());
    tasks.spawn(service.clone().retain(retention(settings.auto_compaction)));
    for listener in listeners {
        tasks.spawn(accept(listener, face.clone(), shutdown.clone(), tasks.clone()));
    }
    Ok(Running { addresses, node, service, shutdown, tasks })
}

async fn bind(urls: &[ListenUrl], setting: &str) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(urls.len());
    for url in urls {
        let listener = TcpListener::bind((url.host(), url.port()))
            .await
            .with_context(|| format!("cannot listen on {url}: is another server running there? see {setting}"))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

async fn node_options(settings: &Settings, addresses: &[SocketAddr]) -> anyhow::Result<node::Options> {
    let (identity, peer_urls, beginning) = first_start(settings, &settings.cluster()).await?;
    Ok(node::Options {
        data_dir: settings.data_dir.clone(),
        identity,
        peer_urls,
        beginning,
        name: settings.name.clone(),
        client_urls: settings.advertised(addresses),
        tick: settings.heartbeat_interval,
        election_ticks: settings.election_ticks(),
        cache_bytes: CACHE_BYTES,
        checkpoint_entries: settings.snapshot_count,
        checkpoint_bytes: CHECKPOINT_BYTES,
        kept_entries: KEPT_ENTRIES,
    })
}

/// What the settings make of an empty data directory, and where the member is. Where there is data, they only tell whether it
/// may be another member's.
async fn first_start(settings: &Settings, given: &Given) -> anyhow::Result<(Option<Identity>, Vec<String>, Beginning)> {
    let is_begun = node::is_begun(&settings.data_dir);
    if is_begun && matches!(given.source, Source::Discovery(_)) {
        // The service may be long gone, and would have this member wait for others that never come again.
        return Ok((None, given.advertised(), Beginning::Join { others: Vec::new() }));
    }
    let plan = match cluster::plan(given).await {
        // As in etcd: what a running cluster looks like now is not in its members' settings.
        Err(_) if is_begun => return Ok((None, given.advertised(), Beginning::Join { others: Vec::new() })),
        planned => planned?,
    };
    if let Some(warning) = plan.warning() {
        tracing::warn!("{warning}");
    }
    let (identity, beginning) = match &plan.start {
        Start::New { identity, members } => (Some(*identity), Beginning::New(members.clone())),
        Start::Existing => {
            let identity = if is_begun { None } else { Some(cluster::join(&plan).await?) };
            let others = plan.others.iter().flat_map(|other| other.urls.clone()).collect();
            (identity, Beginning::Join { others })
        }
    };
    Ok((identity, plan.own.urls, beginning))
}

fn api_settings(settings: &Settings, addresses: &[SocketAddr]) -> ApiSettings {
    let mut hosts: BTreeSet<String> = settings.host_whitelist.iter().map(|host| host.to_ascii_lowercase()).collect();
    hosts.extend(settings.listen_client_urls.iter().map(|url| url.host().to_ascii_lowercase()));
    let advertised = settings.advertised(addresses);
    hosts.extend(advertised.iter().filter_map(|url| Some(Url::parse(url).ok()?.host_str()?.to_ascii_lowercase())));
    let access = Access { origins: settings.cors.iter().cloned().collect(), hosts };
    // As etcd counts: one and a half election timeouts, in whole seconds.
    let min_lease_seconds = (settings.election_timeout * 3 / 2).as_millis().div_ceil(1000);
    let min_lease_seconds = u64::try_from(min_lease_seconds).unwrap_or(u64::MAX);
    let slow = settings.slow_request_threshold;
    let watch_progress = settings.watch_progress_notify_interval;
    let election_timeout = settings.election_timeout;
    ApiSettings { access, slow, min_lease_seconds, election_timeout, watch_progress, ..ApiSettings::default() }
}

fn retention(setting: AutoCompaction) -> Retention {
    match setting {
        AutoCompaction::Off => Retention::Forever,
        AutoCompaction::Periodic(kept) => Retention::Periodic(kept),
        AutoCompaction::Revision(kept) => Retention::Revisions(kept),
    }
}

impl Running {
    /// Where it listens, in the order of the settings.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Takes no more connections, ends streams so that they resume elsewhere, lets requests under way finish, then
    /// stops the member.
    ///
    /// # Errors
    /// When the member's threads cannot be waited for.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.begin();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("requests were still under way after {} s and are cut off", DRAIN.as_secs());
        }
        let node = self.node;
        tokio::task::spawn_blocking(move || node.stop()).await?;
        Ok(())
    }
}

async fn accept(listener: TcpListener, face: Face, shutdown: Shutdown, tasks: TaskTracker) {
    let protocols = Arc::new(Protocols::new());
    loop {
        let accepted = tokio::select! {
            () = shutdown.token.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                tasks.spawn(serve(stream, from, face.clone(), Arc::clone(&protocols), shutdown.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// How connections are served, by protocol.
#[derive(Debug, Clone)]
struct Protocols {
    http1: http1::Builder,
    /// With the names of headers as Go writes them.
    http1_capitals: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    fn new() -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES)
            // Answers are small: one piece costs the kernel less than two.
            .writev(false);
        let mut http1_capitals = http1.clone();
        http1_capitals.title_case_headers(true);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .max_concurrent_streams(MAX_STREAMS)
            .max_send_buf_size(STREAM_BUFFER_BYTES)
            .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX));
        Self { http1, http1_capitals, http2 }
    }
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// Beginning with `/v1`. Names of headers are written as HTTP/2 and most servers write them.
    Http1,
    /// Beginning with anything else. Scripts that use etcd's dialects look for `X-Etcd-Index` as etcd writes it; to write it so costs a
    /// tenth of the instructions of a small read.
    Http1Capitals,
    /// Without negotiation, by its preface (RFC 9113, section 3.3).
    Http2,
}

impl Protocol {
    /// Which of the two of HTTP/1.1 it is, by how a client begins.
    fn of_http1(start: &[u8]) -> Self {
        let target = start.splitn(2, |byte| *byte == b' ').nth(1);
        if target.is_some_and(|target| target.starts_with(b"/v1/")) { Self::Http1 } else { Self::Http1Capitals }
    }
}

async fn serve(stream: TcpStream, from: SocketAddr, face: Face, protocols: Arc<Protocols>, shutdown: Shutdown) {
    // Without it, small answers wait for the acknowledgement of earlier ones. A socket that refuses is closed anyway.
    let _ = stream.set_nodelay(true);
    let protocol = tokio::select! {
        protocol = protocol(&stream) => protocol,
        () = shutdown.token.cancelled() => None,
    };
    let Some(protocol) = protocol else { return };
    let answer = move |request: hyper::Request<Incoming>| face.answer(from, request.map(Body::new));
    let ended = match protocol {
        Protocol::Http1 | Protocol::Http1Capitals => {
            let builder = if protocol == Protocol::Http1 { &protocols.http1 } else { &protocols.http1_capitals };
            let stream = TokioIo::new(stream);
            let service = service_fn(|request| answer(request).map(Ok::<_, Infallible>));
            let connection = pin!(builder.serve_connection(stream, service).with_upgrades());
            until_drained(connection, http1::UpgradeableConnection::graceful_shutdown, &shutdown).await
        }
        Protocol::Http2 => {
            let calls = Calls::default();
            let stream = TokioIo::new(Corked::new(Authorities::new(stream), calls.clone()));
            let service = service_fn(|request| {
                let (call, answer) = (calls.begin(), answer(request));
                answer.map(|answer| {
                    drop(call);
                    Ok::<_, Infallible>(answer)
                })
            });
            // On the heap: the other protocol, which most speak, needs less room.
            let connection = Box::pin(protocols.http2.serve_connection(stream, service));
            until_drained(connection, http2::Connection::graceful_shutdown, &shutdown).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Serves a connection to its end; once the server stops, `drain` tells it to take nothing new.
async fn until_drained<C, P>(mut connection: Pin<P>, drain: fn(Pin<&mut C>), shutdown: &Shutdown) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
    P: DerefMut<Target = C>,
{
    let mut told = pin!(shutdown.token.cancelled());
    let mut asked = false;
    let ended = poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        // Every look at the token takes a lock, and the task that it wakes stays the same: it is told once, and looked
        // at again when it is set.
        Poll::Pending if asked && !shutdown.begun.load(Ordering::Acquire) => Poll::Pending,
        Poll::Pending => {
            asked = true;
            told.as_mut().poll(context).map(|()| None)
        }
    });
    if let Some(ended) = ended.await {
        return ended;
    }
    drain(connection.as_mut());
    connection.await
}

/// Waits until a client has shown which protocol it speaks; `None` when it says nothing within the time for a head. The
/// timer of the head starts only once the protocol is known.
async fn protocol(stream: &TcpStream) -> Option<Protocol> {
    let mut start = [0; HTTP2_PREFACE.len()];
    let begun = async {
        loop {
            let length = stream.peek(&mut start).await.unwrap_or(0);
            let so_far = start.get(..length).unwrap_or_default();
            match so_far {
                [] => return None,
                HTTP2_PREFACE => return Some(Protocol::Http2),
                other if !HTTP2_PREFACE.starts_with(other) => return Some(Protocol::of_http1(other)),
                _ => {}
            }
            // There is something to read, so waiting for that would not wait.
            tokio::time::sleep(PREFACE_PAUSE).await;
        }
    };
    tokio::time::timeout(HEADER_TIMEOUT, begun).await.unwrap_or(None)
}

/// Runs a server until it is told to stop (SIGTERM, SIGINT) or cannot go on.
///
/// # Errors
/// When it cannot start, or the member met a fault.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    logging::init(settings.log_level, settings.log_format);
    // A connection has large buffers and touches little of them; a huge page would make all of it resident. Where the
    // kernel refuses, memory is larger and nothing else.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads can be had")?;
    let ended = runtime.block_on(run_until_told(settings));
    // A member that is told to stop while its data is opened is not waited for: that may take long, and a crash at any moment
    // does the data no harm.
    runtime.shutdown_background();
    ended
}

async fn run_until_told(settings: Settings) -> anyhow::Result<()> {
    // First of all: a member may wait for others before it serves.
    let mut stops = Stops::new()?;
    let running = tokio::select! {
        started = start(settings) => started?,
        name = stops.next() => {
            tracing::info!("stopping: {name} came before this member served");
            return Ok(());
        }
    };
    announce(&running);
    let failure = running.node.handle().failure_signal();
    let failed = tokio::select! {
        _ = stops.next() => None,
        reason = failure => Some(reason),
    };
    tracing::info!("stopping: streams end, requests under way finish");
    running.stop().await?;
    match failed {
        None => Ok(()),
        Some(reason) => bail!("{reason}"),
    }
}

/// The signals that stop a server. From the time that this is made, none of them ends the process by itself.
#[derive(Debug)]
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one; gives its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The lines that a person and a supervisor wait for.
fn announce(running: &Running) {
    let Some(address) = running.addresses().first() else { return };
    tracing::info!(%address, "ready to serve client requests");
    println!(
        "Vardr serves http://{address}/ (console: http://{address}/console/, documentation: http://{address}/docs)"
    );
    println!("Try:  curl -X PUT http://{address}/v1/keys/greeting -d hello");
    println!("      curl http://{address}/v1/keys/greeting");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_the_own_api_is_told_from_what_does_not() {
        for own in ["GET /v1/keys/app/db HTTP", "PUT /v1/x"] {
            assert_eq!(Protocol::of_http1(own.as_bytes()), Protocol::Http1, "{own}");
        }
        for other in ["GET /v2/keys/v1/", "GET /v1", "GET http://localhost/v1/", "/v1/ GET /", "GET", ""] {
            assert_eq!(Protocol::of_http1(other.as_bytes()), Protocol::Http1Capitals, "{other}");
        }
    }

    #[test]
    fn a_connection_at_rest_takes_little_room() {
        fn size<F, A, B, C, D, E>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
            size_of::<F>()
        }
        // Ten thousand watchers are ten thousand of these.
        assert!(size(serve) <= 1536, "{} bytes", size(serve));
    }
}
