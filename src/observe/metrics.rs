//! Every metric of a member, by name, with typed handles to count with.
//!
//! The names are a contract (`tests/contracts/metrics.txt`): dashboards and alerts are built on them. A label
//! never holds anything that a client chose: routes are patterns, methods and statuses closed sets.
//!
//! Counting is an atomic addition. No handle takes a lock; [`HttpMetrics::observe`] takes a shared one to find
//! the handle of a route, and a router that keeps its [`RouteMetrics`] does not even that.

mod latency;

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use latency::Latency;

/// A number that only grows.
pub type Counter = prometheus_client::metrics::counter::Counter<u64, AtomicU64>;
/// A number that goes up and down.
pub type Gauge = prometheus_client::metrics::gauge::Gauge<i64, AtomicI64>;

/// The media type of [`Metrics::encode`] (`OpenMetrics` 1.0, which Prometheus reads).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one member: a handle, cheap to clone and to pass around.
#[derive(Clone)]
pub struct Metrics {
    handles: Arc<Handles>,
    registry: Arc<Registry>,
}

/// What can be counted, by area.
#[derive(Debug, Clone, Default)]
pub struct Handles {
    pub http: HttpMetrics,
    pub proposals: ProposalMetrics,
    pub wal: WalMetrics,
    pub apply: ApplyMetrics,
    pub watch: WatchMetrics,
    pub answers: AnswerMetrics,
    pub store: StoreMetrics,
    pub raft: RaftMetrics,
    process: ProcessMetrics,
}

/// Requests over HTTP, all dialects.
#[derive(Debug, Clone, Default)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Latency>,
    in_flight: Gauge,
    /// Requests that took longer than `--slow-request-threshold`.
    pub slow: Counter,
    routes: Arc<RwLock<BTreeMap<Method, BTreeMap<String, RouteMetrics>>>>,
}

/// Commands on their way through the log.
#[derive(Debug, Clone, Default)]
pub struct ProposalMetrics {
    proposed: Counter,
    applied: Counter,
    failed: Counter,
    unknown: Counter,
    pending: Gauge,
    seconds: Latency,
}

/// What came of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was decided: carried out, or refused by the state.
    Applied,
    /// It was certainly not applied: no leader, overloaded.
    Failed,
    /// Nobody knew by its deadline.
    Unknown,
}

/// Something under way, counted as such until it is dropped, its waiter's cancellation included.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl InFlight {
    fn enter(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The raft log on disk.
#[derive(Debug, Clone, Default)]
pub struct WalMetrics {
    /// How long one durable write takes: the `fdatasync` of a batch.
    pub fsync_seconds: Latency,
    /// Entries written. Divided by the count of fsyncs: how well writes share them.
    pub entries: Counter,
}

/// The state machine.
#[derive(Debug, Clone, Default)]
pub struct ApplyMetrics {
    /// How long one batch of committed entries takes to apply.
    pub seconds: Latency,
    /// Commands applied.
    pub commands: Counter,
}

/// Watches of all carriers and dialects.
#[derive(Debug, Clone, Default)]
pub struct WatchMetrics {
    /// Open watches.
    pub watchers: Gauge,
    /// Watches ended because their reader was too slow.
    pub lagging: Counter,
    /// Bytes of memory that wait for readers, or that these still write.
    pub held_bytes: Gauge,
}

/// Answers large enough to be counted, of all dialects.
#[derive(Debug, Clone, Default)]
pub struct AnswerMetrics {
    /// Bytes that clients have not taken yet.
    pub held_bytes: Gauge,
    /// Answers cut off because their clients took too little.
    pub cut_off: Counter,
}

/// What is stored.
#[derive(Debug, Clone, Default)]
pub struct StoreMetrics {
    /// Bytes of the store and the log on disk.
    pub bytes: Gauge,
    pub revision: Gauge,
    pub compacted_revision: Gauge,
    pub leases: Gauge,
    /// Keys that ran out.
    pub expired_keys: Counter,
}

/// Where this member stands in its cluster.
#[derive(Debug, Clone, Default)]
pub struct RaftMetrics {
    pub term: Gauge,
    pub applied_index: Gauge,
    /// 1 while this member leads, else 0.
    pub is_leader: Gauge,
    /// 1 while this member knows a leader, else 0.
    pub has_leader: Gauge,
}

#[derive(Debug, Clone, Default)]
struct ProcessMetrics {
    start: Gauge,
    resident: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: Method,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: Method,
    status: StatusClass,
}

/// The handles of one route and method, found once.
#[derive(Debug, Clone)]
pub struct RouteMetrics {
    by_class: [Counter; StatusClass::ALL.len()],
    seconds: Latency,
}

/// A request method, from a closed set so that no client can invent labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    Get,
    Head,
    Put,
    Post,
    Patch,
    Delete,
    Options,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum StatusClass {
    Informational,
    Success,
    Redirect,
    ClientError,
    ServerError,
}

impl Metrics {
    /// All metrics at zero, for a process that starts now.
    #[must_use]
    pub fn new() -> Self {
        let handles = Handles::default();
        handles.process.start.set(seconds_since_epoch(SystemTime::now()));
        let mut registry = Registry::default();
        handles.register(&mut registry);
        Self { handles: Arc::new(handles), registry: Arc::new(registry) }
    }

    /// Everything as text in the format [`CONTENT_TYPE`]. Reads the resident memory of the process; all else is
    /// as last set by its owner.
    #[must_use]
    pub fn encode(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.handles.process.resident.set(bytes);
        }
        let mut text = String::new();
        // Writing to a string fails only where an encoder of ours does; half an exposition would be misread.
        if text::encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::Deref for Metrics {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.handles
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Handles {
    fn register(&self, registry: &mut Registry) {
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("vardr_build", "The version of the program", version);
        self.http.register(registry);
        self.proposals.register(registry);
        self.wal.register(registry);
        self.apply.register(registry);
        self.watch.register(registry);
        self.answers.register(registry);
        self.store.register(registry);
        self.raft.register(registry);
        self.process.register(registry);
    }
}

impl HttpMetrics {
    /// Counts a request as unanswered until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> InFlight {
        InFlight::enter(&self.in_flight)
    }

    /// Counts one answered request. `route` is the pattern that matched (`/v1/keys/{*key}`), never the path.
    pub fn observe(&self, route: &str, method: &http::Method, status: http::StatusCode, elapsed: Duration) {
        let known = Method::of(method);
        // In place: taking the handles out would touch a counter of references for each of them, on every request.
        if let Some(found) = self.routes.read().get(&known).and_then(|routes| routes.get(route)) {
            found.observe(status, elapsed);
            return;
        }
        self.route(route, method).observe(status, elapsed);
    }

    /// The handles of a route, to be kept by whoever counts often.
    pub fn route(&self, route: &str, method: &http::Method) -> RouteMetrics {
        let method = Method::of(method);
        if let Some(found) = self.routes.read().get(&method).and_then(|routes| routes.get(route)) {
            return found.clone();
        }
        let mut routes = self.routes.write();
        let routes = routes.entry(method).or_default();
        routes.entry(route.to_owned()).or_insert_with(|| self.make_route(method, route)).clone()
    }

    fn make_route(&self, method: Method, route: &str) -> RouteMetrics {
        let counter = |status| {
            let labels = RequestLabels { route: route.to_owned(), method, status };
            self.requests.get_or_create(&labels).clone()
        };
        let labels = RouteLabels { route: route.to_owned(), method };
        RouteMetrics { by_class: StatusClass::ALL.map(counter), seconds: self.seconds.get_or_create(&labels).clone() }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("vardr_http_requests", "Requests answered", self.requests.clone());
        registry.register(
            "vardr_http_request_seconds",
            "Time from a request's headers to its answer's headers",
            self.seconds.clone(),
        );
        registry.register("vardr_http_in_flight", "Requests that have no answer yet", self.in_flight.clone());
        registry.register(
            "vardr_http_slow_requests",
            "Requests that took longer than the slow-request threshold",
            self.slow.clone(),
        );
    }
}

impl RouteMetrics {
    /// Counts one answered request.
    pub fn observe(&self, status: http::StatusCode, elapsed: Duration) {
        let [informational, success, redirect, client_error, server_error] = &self.by_class;
        let counter = match StatusClass::of(status) {
            StatusClass::Informational => informational,
            StatusClass::Success => success,
            StatusClass::Redirect => redirect,
            StatusClass::ClientError => client_error,
            StatusClass::ServerError => server_error,
        };
        counter.inc();
        self.seconds.observe(elapsed);
    }
}

impl ProposalMetrics {
    /// Counts a proposal that begins; it is pending until the guard is dropped.
    #[must_use]
    pub fn begin(&self) -> InFlight {
        self.proposed.inc();
        InFlight::enter(&self.pending)
    }

    /// Counts what came of a proposal, so long after it began.
    pub fn settle(&self, settled: Settled, elapsed: Duration) {
        match settled {
            Settled::Applied => self.applied.inc(),
            Settled::Failed => self.failed.inc(),
            Settled::Unknown => self.unknown.inc(),
        };
        self.seconds.observe(elapsed);
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("vardr_proposals", "Commands handed to raft", self.proposed.clone());
        registry.register("vardr_proposals_applied", "Commands that were decided", self.applied.clone());
        registry.register("vardr_proposals_failed", "Commands that were certainly not applied", self.failed.clone());
        registry.register(
            "vardr_proposals_unknown",
            "Commands whose outcome was not known by their deadline",
            self.unknown.clone(),
        );
        registry.register("vardr_proposals_pending", "Commands waiting for their outcome", self.pending.clone());
        registry.register("vardr_proposal_seconds", "Time from a proposal to its outcome", self.seconds.clone());
    }
}

impl WalMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "vardr_wal_fsync_seconds",
            "Time to make one batch of the log durable",
            self.fsync_seconds.clone(),
        );
        registry.register("vardr_wal_entries", "Entries written to the log", self.entries.clone());
    }
}

impl ApplyMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("vardr_apply_seconds", "Time to apply one batch of committed entries", self.seconds.clone());
        registry.register("vardr_applied_commands", "Commands applied", self.commands.clone());
    }
}

impl WatchMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("vardr_watchers", "Open watches", self.watchers.clone());
        registry.register("vardr_watch_lagging", "Watches ended because their reader was slow", self.lagging.clone());
        registry.register(
            "vardr_watch_held_bytes",
            "Bytes of events that wait for the readers of watches, or are being written to them",
            self.held_bytes.clone(),
        );
    }
}

impl AnswerMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "vardr_answer_held_bytes",
            "Bytes of large answers that their clients have not taken yet",
            self.held_bytes.clone(),
        );
        registry.register(
            "vardr_answer_cut_off",
            "Large answers cut off because their clients took too little while others waited",
            self.cut_off.clone(),
        );
    }
}

impl StoreMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("vardr_store_bytes", "Bytes of the store and the log on disk", self.bytes.clone());
        registry.register("vardr_revision", "The revision of the key space", self.revision.clone());
        registry.register(
            "vardr_compacted_revision",
            "The revision up to which the past was discarded",
            self.compacted_revision.clone(),
        );
        registry.register("vardr_leases", "Leases that live", self.leases.clone());
        registry.register("vardr_expired_keys", "Keys that ran out with their leases", self.expired_keys.clone());
    }
}

impl RaftMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("vardr_raft_term", "The raft term", self.term.clone());
        registry.register("vardr_raft_applied_index", "The last applied entry", self.applied_index.clone());
        registry.register("vardr_raft_is_leader", "1 while this member leads", self.is_leader.clone());
        registry.register("vardr_raft_has_leader", "1 while this member knows a leader", self.has_leader.clone());
    }
}

impl ProcessMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "process_start_time_seconds",
            "Start of the process, in seconds since the Unix epoch",
            self.start.clone(),
        );
        registry.register("process_resident_memory_bytes", "Resident memory of the process", self.resident.clone());
    }
}

impl Method {
    fn of(method: &http::Method) -> Self {
        match method.as_str() {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "PUT" => Self::Put,
            "POST" => Self::Post,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Other => "other",
        })
    }
}

impl StatusClass {
    const ALL: [Self; 5] = [Self::Informational, Self::Success, Self::Redirect, Self::ClientError, Self::ServerError];

    fn of(status: http::StatusCode) -> Self {
        match status.as_u16() {
            0..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

impl EncodeLabelValue for StatusClass {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        })
    }
}

/// Memory that the process occupies, as the kernel counts it (`VmRSS` of proc(5)).
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn seconds_since_epoch(time: SystemTime) -> i64 {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_line(text: &str, line: &str) -> bool {
        text.lines().any(|found| found == line)
    }

    #[test]
    fn a_request_is_counted_by_route_method_and_class() {
        let metrics = Metrics::new();
        let took = Duration::from_millis(3);
        metrics.http.observe("/v1/keys/{*key}", &http::Method::GET, http::StatusCode::OK, took);
        metrics.http.observe("/v1/keys/{*key}", &http::Method::GET, http::StatusCode::NOT_FOUND, took);
        metrics.http.observe("/v1/keys/{*key}", &http::Method::GET, http::StatusCode::OK, took);
        let text = metrics.encode();
        let labels = r#"route="/v1/keys/{*key}",method="GET""#;
        assert!(has_line(&text, &format!("vardr_http_requests_total{{{labels},status=\"2xx\"}} 2")), "{text}");
        assert!(has_line(&text, &format!("vardr_http_requests_total{{{labels},status=\"4xx\"}} 1")), "{text}");
        assert!(has_line(&text, &format!("vardr_http_request_seconds_count{{{labels}}} 3")), "{text}");
    }

    #[test]
    fn a_method_that_a_client_invents_makes_no_label_of_its_own() {
        let metrics = Metrics::new();
        let method = http::Method::from_bytes(b"BREW").unwrap();
        metrics.http.observe("/", &method, http::StatusCode::METHOD_NOT_ALLOWED, Duration::ZERO);
        let text = metrics.encode();
        assert!(text.contains(r#"method="other""#) && !text.contains("BREW"), "{text}");
    }

    #[test]
    fn what_is_under_way_is_counted_until_it_ends() {
        let metrics = Metrics::new();
        let (first, second) = (metrics.proposals.begin(), metrics.proposals.begin());
        metrics.proposals.settle(Settled::Applied, Duration::from_millis(1));
        drop(first);
        let text = metrics.encode();
        for line in ["vardr_proposals_total 2", "vardr_proposals_applied_total 1", "vardr_proposals_pending 1"] {
            assert!(has_line(&text, line), "{line} is missing in {text}");
        }
        drop(second);
        assert!(has_line(&metrics.encode(), "vardr_proposals_pending 0"));
    }

    #[test]
    fn a_clone_counts_into_the_same_metrics() {
        let metrics = Metrics::new();
        metrics.clone().watch.watchers.inc();
        metrics.store.revision.set(42);
        let text = metrics.encode();
        assert!(has_line(&text, "vardr_watchers 1"), "{text}");
        assert!(has_line(&text, "vardr_revision 42"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn resident_memory_is_measured_when_asked() {
        let text = Metrics::new().encode();
        let line = text.lines().find(|line| line.starts_with("process_resident_memory_bytes ")).unwrap();
        let bytes: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(bytes > 100_000, "{line}");
    }
}
