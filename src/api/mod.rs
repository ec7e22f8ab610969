//! The HTTP face: parse, call the service, format the answer. Nothing here decides about the state.
//!
//! [`Face`] is the whole of it: a request in, an answer out. [`State`] is what every handler has; [`Answer`] and
//! [`problem::Problem`] are the two ways in which one ends.

pub mod authority;
pub mod console;
pub mod corked;
pub mod discovery;
pub mod edge;
pub mod extract;
mod go_json;
pub mod health;
mod origin;
pub mod pages;
pub mod problem;
mod unread;
pub mod v1;
pub mod v2;
pub mod v3;
pub mod yaml;

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{Router, extract as axum_extract};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, ETAG};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;
use utoipa_swagger_ui::SwaggerUi;

use crate::model::Revision;
use crate::model::limits::MAX_CONVERTING;
use crate::observe::{Metrics, RouteMetrics};
use crate::service::{Call, Service};
use edge::Access;
use extract::query::{Span, shortened};
use extract::{Verb, refuse_conditions};
use problem::{Code, Problem};

/// The store's revision that an answer reflects.
pub const VARDR_REVISION: HeaderName = HeaderName::from_static("vardr-revision");
/// The cluster that answers, in hexadecimal.
pub const VARDR_CLUSTER_ID: HeaderName = HeaderName::from_static("vardr-cluster-id");
/// The member that answers, in hexadecimal.
pub const VARDR_MEMBER_ID: HeaderName = HeaderName::from_static("vardr-member-id");
/// The raft term of that member.
pub const VARDR_RAFT_TERM: HeaderName = HeaderName::from_static("vardr-raft-term");
/// What a request asked for and was done (RFC 7240, section 3): it was held.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// There, and `true`, when the answer is that of an earlier request with the same `Idempotency-Key`.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What an operator sets of the HTTP face.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// How long a request may take when it does not say.
    pub timeout: Duration,
    /// Which hosts and origins may use it.
    pub access: Access,
    /// Requests that take longer are logged; `None`: none are.
    pub slow: Option<Duration>,
    /// The shortest time to live of a lease on etcd's v3 API, in seconds: longer than an election takes.
    pub min_lease_seconds: u64,
    /// The longest that an election may take to begin.
    pub election_timeout: Duration,
    /// How often a watch on etcd's v3 API that asks for it says how far it has come.
    pub watch_progress: Duration,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            access: Access::default(),
            slow: None,
            min_lease_seconds: 2,
            election_timeout: Duration::from_secs(1),
            watch_progress: Duration::from_mins(10),
        }
    }
}

/// The longest `timeout` a request may ask for.
const MAX_TIMEOUT: Duration = Duration::from_mins(10);

/// What every handler has. Cheap to clone.
#[derive(Debug, Clone)]
pub struct State(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: Service,
    settings: ApiSettings,
    metrics: Metrics,
    cluster: HeaderValue,
    member: HeaderValue,
    converting: Arc<Semaphore>,
}

/// The whole HTTP face. Cheap to clone.
#[derive(Clone)]
pub struct Face(Arc<FaceParts>);

struct FaceParts {
    state: State,
    router: Router,
    keys: v1::keys::Counters,
    v3: Arc<v3::Services>,
}

impl fmt::Debug for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Face").field(&self.0.state).finish()
    }
}

impl Face {
    #[must_use]
    pub fn new(service: Service, settings: ApiSettings, metrics: Metrics) -> Self {
        let state = State::new(service, settings, metrics);
        let (described, _) = v1::router().split_for_parts();
        let document = SwaggerUi::new("/docs").url("/openapi.json", v1::openapi::document());
        let router = Router::new()
            .merge(described)
            .merge(pages::router())
            .merge(console::router())
            .merge(discovery::router())
            .merge(document)
            .fallback(not_found)
            .method_not_allowed_fallback(other_method)
            .layer(from_fn(tell_route))
            .with_state(state.clone());
        let v3 = Arc::new(v3::Services::new(&state));
        Self(Arc::new(FaceParts { state, router, keys: v1::keys::Counters::default(), v3 }))
    }

    /// Answers a request that came from an address. On the heap: a connection keeps room for its request's future for as long
    /// as it lives, and most connections wait.
    pub fn answer(&self, from: SocketAddr, request: Request) -> Pin<Box<dyn Future<Output = Response> + Send>> {
        Box::pin(edge::pass(self.clone(), from, request))
    }

    fn state(&self) -> &State {
        &self.0.state
    }

    /// Hands a request to who answers it, past the router where a glance at the path is enough to know. Says what
    /// it was, too.
    async fn route(&self, from: SocketAddr, mut request: Request) -> (Route<'_>, Response) {
        // Where a request comes from takes room on the heap, and what cannot watch is spared it.
        if let Some(counters) = self.0.keys.of(self.state(), &request) {
            if v1::poll::may_be_held(&request) {
                request.extensions_mut().insert(ConnectInfo(from));
            }
            return (Route::Counted(counters), v1::keys::answer(self.state(), request).await);
        }
        if v3::is_grpc(&request) {
            let (method, response) = self.0.v3.answer(from, request).await;
            return (Route::Grpc(method), response);
        }
        if v2::is_addressed(&request) {
            let (pattern, response) = v2::answer(self.state(), from, request).await;
            return (Route::Etcd(pattern), response);
        }
        if v3::is_addressed(&request) {
            let (path, response) = v3::answer_json(&self.0.v3, from, request).await;
            return (Route::Gateway(path), response);
        }
        request.extensions_mut().insert(ConnectInfo(from));
        let mut response = match self.0.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let matched = response.extensions_mut().remove::<MatchedPath>();
        (matched.map_or(Route::None, Route::Matched), response)
    }
}

/// What took a request.
enum Route<'a> {
    /// Nothing.
    None,
    /// A route with its counters at hand.
    Counted(&'a RouteMetrics),
    /// The route of this pattern.
    Matched(MatchedPath),
    /// A handler of etcd's v2 API, or none there, by the pattern of its paths.
    Etcd(&'static str),
    /// A method of etcd's v3 API; `None` for one that there is not.
    Grpc(Option<&'a v3::Method>),
    /// A path of etcd's v3 API in JSON; `None` for one that there is not.
    Gateway(Option<&'a v3::Path>),
}

impl Route<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::None => "unmatched",
            Self::Counted(_) => v1::keys::PATTERN,
            Self::Matched(path) => path.as_str(),
            Self::Etcd(pattern) => pattern,
            Self::Grpc(method) => method.map_or("unmatched", v3::Method::path),
            Self::Gateway(path) => v3::pattern(*path),
        }
    }

    /// Whether the answer has to be what etcd's would be, headers included.
    fn is_etcd(&self) -> bool {
        matches!(self, Self::Etcd(_) | Self::Grpc(_) | Self::Gateway(_))
    }

    /// Whether what took it may hold a request for as long as the client waits.
    fn waits(&self) -> bool {
        match self {
            Self::Grpc(Some(method)) => method.waits(),
            Self::Gateway(Some(path)) => path.waits(),
            _ => false,
        }
    }
}

/// Passes the pattern that the router matched on to where requests are counted.
async fn tell_route(request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(matched) = matched {
        response.extensions_mut().insert(matched);
    }
    response
}

impl State {
    #[must_use]
    pub fn new(service: Service, settings: ApiSettings, metrics: Metrics) -> Self {
        let header = service.header();
        let cluster = hexadecimal(header.cluster.get());
        let member = hexadecimal(header.member.get());
        let converting = Arc::new(Semaphore::new(MAX_CONVERTING));
        Self(Arc::new(Inner { service, settings, metrics, cluster, member, converting }))
    }

    #[must_use]
    pub fn service(&self) -> &Service {
        &self.0.service
    }

    #[must_use]
    pub fn settings(&self) -> &ApiSettings {
        &self.0.settings
    }

    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// A place to convert a document at, once there is one.
    async fn converting(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        Arc::clone(&self.0.converting).acquire_owned().await.ok()
    }

    /// A call that is to be answered within the `timeout` of the request, or the default one.
    ///
    /// # Errors
    /// When the timeout is longer than any request may take.
    pub fn call(&self, timeout: Option<Span>) -> Result<Call, Problem> {
        let timeout = timeout.map_or(self.0.settings.timeout, Span::duration);
        if timeout > MAX_TIMEOUT {
            return Err(Problem::invalid(format!("`timeout` may be at most {} s", MAX_TIMEOUT.as_secs())));
        }
        Ok(Call::new(Instant::now() + timeout))
    }

    /// Takes in a request that changes something and asks for no conditions: the call, and the body in full.
    ///
    /// # Errors
    /// Those of [`extract::body::read`], and [`Code::InvalidArgument`] for conditions and a
    /// bad idempotency key.
    pub async fn arrive(&self, parts: &Parts, body: Body, timeout: Option<Span>) -> Result<(Call, Bytes), Problem> {
        refuse_conditions(&parts.headers)?;
        let mut call = self.call(timeout)?;
        let limit = self.service().limits().max_request_bytes;
        let body = extract::body::read(&parts.headers, body, limit, call.deadline).await?;
        call.idempotency = extract::idempotency(parts, &body)?;
        Ok((call, body))
    }

    /// Puts the headers on that every answer carries; without a revision of its own, the member's present one.
    pub fn stamp(&self, headers: &mut HeaderMap, revision: Option<Revision>) {
        let revision = revision.unwrap_or_else(|| self.0.service.header().revision);
        headers.insert(VARDR_REVISION, HeaderValue::from(revision.get()));
        headers.insert(VARDR_CLUSTER_ID, self.0.cluster.clone());
        headers.insert(VARDR_MEMBER_ID, self.0.member.clone());
        headers.insert(VARDR_RAFT_TERM, HeaderValue::from(self.0.service.term().get()));
    }

    /// The response that a handler's result amounts to.
    pub fn finish(&self, result: Result<Answer, Problem>) -> Response {
        let (revision, mut response) = match result {
            Ok(answer) => (answer.revision, answer.into_response()),
            Err(problem) => (problem.revision(), problem.into_response()),
        };
        self.stamp(response.headers_mut(), revision);
        response
    }
}

/// An answer that is no refusal.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// The store's revision that it reflects; `None` where the member's present one will do.
    pub revision: Option<Revision>,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Answer {
    /// 200 with JSON.
    #[must_use]
    pub fn json(revision: Revision, json: Vec<u8>) -> Self {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { status: StatusCode::OK, revision: Some(revision), headers, body: Body::from(json) }
    }

    /// An answer of headers alone.
    #[must_use]
    pub fn empty(status: StatusCode, revision: Revision) -> Self {
        Self { status, revision: Some(revision), headers: HeaderMap::with_capacity(8), body: Body::empty() }
    }

    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The strong entity tag of a key: its revision.
    #[must_use]
    pub fn with_revision_tag(self, revision: Revision) -> Self {
        let mut tag = Vec::with_capacity(24);
        tag.push(b'"');
        go_json::number(&mut tag, revision.get());
        tag.push(b'"');
        match HeaderValue::from_maybe_shared(Bytes::from(tag)) {
            Ok(tag) => self.with_header(ETAG, tag),
            Err(_) => self,
        }
    }

    /// Marks the answer as that of an earlier request.
    #[must_use]
    pub fn with_replayed(self, replayed: bool) -> Self {
        if replayed { self.with_header(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true")) } else { self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

fn hexadecimal(id: u64) -> HeaderValue {
    HeaderValue::try_from(format!("{id:x}")).unwrap_or(HeaderValue::from_static("0"))
}

async fn not_found(axum_extract::State(api): axum_extract::State<State>, uri: Uri) -> Response {
    let detail = format!(
        "nothing answers at {}; keys are under /v1/keys, the documentation at /docs, a console at /console/",
        shortened(uri.path())
    );
    api.finish(Err(Problem::new(Code::NotFound, detail)))
}

/// Answers OPTIONS with the methods that the router lists in `Allow`, and refuses any other method with the same list.
async fn other_method(axum_extract::State(api): axum_extract::State<State>, method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS {
        let revision = api.service().header().revision;
        let answer = Answer::empty(StatusCode::NO_CONTENT, revision);
        let answer = match verb_methods(uri.path()) {
            Some(methods) => answer.with_header(ALLOW, HeaderValue::from_static(methods)),
            None => answer,
        };
        return api.finish(Ok(answer));
    }
    let detail = format!("{} is not answered at {}; the Allow header lists what is", method, shortened(uri.path()));
    api.finish(Err(Problem::new(Code::MethodNotAllowed, detail)))
}

/// The methods of a path whose route serves both a thing and its verbs, which the router cannot tell apart.
fn verb_methods(path: &str) -> Option<&'static str> {
    if path.starts_with("/v1/leases/") {
        Some(if Verb::Keepalive.strip(path).is_some() { "POST" } else { "GET,HEAD,DELETE" })
    } else if path.starts_with("/v1/cluster/members/") {
        Some(if Verb::Promote.strip(path).is_some() { "POST" } else { "GET,HEAD,PATCH,DELETE" })
    } else if let Some(rest) = path.strip_prefix(v1::locks::LOCKS) {
        Some(v1::queue::methods(rest, "GET,HEAD,POST,DELETE"))
    } else if let Some(rest) = path.strip_prefix(v1::elections::ELECTIONS) {
        Some(if Verb::Observe.strip(rest).is_some() {
            "GET"
        } else {
            v1::queue::methods(rest, "GET,HEAD,POST,PUT,DELETE")
        })
    } else if path.starts_with("/v1/services/") {
        v1::services::verb_methods(path)
    } else if path.starts_with("/v1/history/") && Verb::Rollback.strip(path).is_none() {
        Some("GET,HEAD")
    } else {
        None
    }
}
