//! Requests to `/v1`, to the first of several endpoints that can serve them.
//!
//! An endpoint that cannot be reached, or answers 503 (certainly not applied), makes room for the next one. A write
//! that may have been applied is sent again only because it carries an `Idempotency-Key`, by which the cluster
//! carries it out once; when no answer can be had, the outcome is unknown and said to be so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use super::exit::{Exit, Failure, Outcome};
use super::route::Route;
use crate::cluster::cause;

/// How long a request may take if the user does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to try to connect before the next endpoint is tried.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest pause between two rounds over all endpoints.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// One request, to be sent as often as it takes.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub method: Method,
    pub route: Route,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// How long the server was asked to wait before it answers, besides the time that an answer takes.
    pub waits: Duration,
}

/// An answer in full.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    /// The revision that the answer reflects.
    pub revision: Option<u64>,
    pub body: Bytes,
}

/// The endpoints and how to talk to them.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    endpoints: Vec<Url>,
    /// The endpoint that answered last, to begin with.
    preferred: AtomicUsize,
    timeout: Duration,
}

/// What came of one try.
enum Attempt {
    Answered(reqwest::Response),
    /// Certainly not carried out: try elsewhere.
    Refused {
        failure: Failure,
        retry_after: Option<Duration>,
    },
    /// The connection broke, or no answer came in time: it may have been carried out.
    Lost(String),
}

impl Request {
    pub(crate) fn get(route: Route) -> Self {
        Self::plain(Method::GET, route, Bytes::new())
    }

    /// A request without a key. One that is no read is sent once: a connection that breaks ends whatever it asked for.
    pub(crate) fn plain(method: Method, route: Route, body: impl Into<Bytes>) -> Self {
        Self { method, route, headers: HeaderMap::new(), body: body.into(), waits: Duration::ZERO }
    }

    /// A write, with an `Idempotency-Key` of its own, so that it may be sent again.
    pub(crate) fn write(method: Method, route: Route, body: impl Into<Bytes>) -> Self {
        let mut request = Self::plain(method, route, body);
        let key = format!("cli-{:032x}", rand::random::<u128>());
        if let Ok(key) = HeaderValue::from_str(&key) {
            request.headers.insert("idempotency-key", key);
        }
        request
    }

    /// A write whose body is JSON.
    pub(crate) fn json(method: Method, route: Route, body: impl Into<Bytes>) -> Self {
        let mut request = Self::write(method, route, body);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }

    /// Asks for this media type.
    #[must_use]
    pub(crate) fn accept(mut self, media_type: &'static str) -> Self {
        self.headers.insert(ACCEPT, HeaderValue::from_static(media_type));
        self
    }

    /// Whether sending it twice does no harm.
    fn is_repeatable(&self) -> bool {
        self.method == Method::GET || self.headers.contains_key("idempotency-key")
    }
}

impl Client {
    /// A client of these endpoints; none of them is contacted.
    pub(crate) fn new(endpoints: &[String], timeout: Option<Duration>) -> Outcome<Self> {
        let endpoints = endpoints.iter().map(|text| endpoint(text)).collect::<Outcome<Vec<_>>>()?;
        if endpoints.is_empty() {
            return Err(Failure::usage("--endpoint: none is given; allowed: http://HOST:PORT, several with commas"));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .build()
            .map_err(|error| Failure::failed(format!("no HTTP client can be had: {error}")))?;
        let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
        Ok(Self { http, endpoints, preferred: AtomicUsize::new(0), timeout })
    }

    pub(crate) fn endpoints(&self) -> &[Url] {
        &self.endpoints
    }

    /// How long an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// Any answer but a success, and no answer.
    pub(crate) async fn send(&self, request: &Request) -> Outcome<Answer> {
        whole(request, self.open(request).await?).await
    }

    /// As [`Self::send`], but that something is absent (404) is an answer.
    pub(crate) async fn find(&self, request: &Request) -> Outcome<Answer> {
        let response = self.exchange(request).await?;
        let absent = response.status() == StatusCode::NOT_FOUND;
        whole(request, if absent { response } else { checked(response).await? }).await
    }

    /// Sends a request and returns when the head of a successful answer is there.
    pub(crate) async fn open(&self, request: &Request) -> Outcome<reqwest::Response> {
        checked(self.exchange(request).await?).await
    }

    /// Sends a request and returns when the head of an answer is there, whatever it says.
    async fn exchange(&self, request: &Request) -> Outcome<reqwest::Response> {
        let deadline = self.deadline(request);
        let mut may_be_applied = None;
        loop {
            let mut pause = None;
            let mut last = None;
            for offset in 0..self.endpoints.len() {
                let index = (self.preferred.load(Ordering::Relaxed) + offset) % self.endpoints.len();
                let Some(endpoint) = self.endpoints.get(index) else { continue };
                match self.attempt(endpoint, request, deadline).await {
                    Attempt::Answered(response) => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return Ok(response);
                    }
                    Attempt::Refused { failure, retry_after } => {
                        pause = pause.max(retry_after);
                        last = Some(failure);
                    }
                    Attempt::Lost(why) if request.is_repeatable() => {
                        pause = pause.max(Some(Duration::from_millis(100)));
                        may_be_applied = Some(why);
                    }
                    Attempt::Lost(why) => return Err(lost(request, &why)),
                }
            }
            let pause = pause.filter(|pause| Instant::now() + *pause < deadline);
            match (pause, &may_be_applied, last) {
                (Some(pause), _, _) => tokio::time::sleep(pause).await,
                (None, Some(why), _) => return Err(lost(request, why)),
                (None, None, Some(failure)) => return Err(failure),
                (None, None, None) => return Err(Failure::new(Exit::Unavailable, "no endpoint answered")),
            }
        }
    }

    /// Sends a request to one endpoint, once, with no bound on the time of the answer's body.
    pub(crate) async fn open_at(&self, endpoint: &Url, request: &Request) -> Outcome<reqwest::Response> {
        match self.attempt(endpoint, request, self.deadline(request)).await {
            Attempt::Answered(response) => checked(response).await,
            Attempt::Refused { failure, .. } => Err(failure),
            Attempt::Lost(why) => Err(lost(request, &why)),
        }
    }

    /// Asks one endpoint, once, to go on in another protocol (RFC 9110, section 7.8), and returns the connection.
    pub(crate) async fn upgrade_at(&self, endpoint: &Url, request: &Request) -> Outcome<reqwest::Upgraded> {
        let response = match self.attempt(endpoint, request, self.deadline(request)).await {
            Attempt::Answered(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => response,
            Attempt::Answered(response) => {
                checked(response).await?;
                let message = format!("{endpoint} does not speak WebSocket: is it a Vardr server?");
                return Err(Failure::new(Exit::Unavailable, message));
            }
            Attempt::Refused { failure, .. } => return Err(failure),
            Attempt::Lost(why) => return Err(lost(request, &why)),
        };
        response.upgrade().await.map_err(|error| lost(request, &format!("{endpoint}: {}", cause(&error))))
    }

    fn deadline(&self, request: &Request) -> Instant {
        Instant::now() + self.timeout + request.waits
    }

    async fn attempt(&self, endpoint: &Url, request: &Request, deadline: Instant) -> Attempt {
        let url = format!("{}{}", endpoint.as_str().trim_end_matches('/'), request.route.as_str());
        let sending = self
            .http
            .request(request.method.clone(), url)
            .headers(request.headers.clone())
            .body(request.body.clone())
            .send();
        let response = match tokio::time::timeout_at(deadline.into(), sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => {
                let message = format!("{endpoint} cannot be reached: {}", cause(&error));
                return Attempt::Refused { failure: Failure::new(Exit::Unavailable, message), retry_after: None };
            }
            Ok(Err(error)) => return Attempt::Lost(format!("{endpoint} gave no answer: {}", cause(&error))),
            Err(_) => return Attempt::Lost(format!("{endpoint} gave no answer in {:?}", self.timeout + request.waits)),
        };
        match response.status() {
            StatusCode::SERVICE_UNAVAILABLE => refused(response).await,
            StatusCode::GATEWAY_TIMEOUT if request.is_repeatable() && Instant::now() < deadline => {
                let body = response.bytes().await.unwrap_or_default();
                Attempt::Lost(Failure::from_answer(504, &body).to_string())
            }
            _ => Attempt::Answered(response),
        }
    }
}

async fn refused(response: reqwest::Response) -> Attempt {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).clamp(Duration::from_millis(50), MAX_PAUSE));
    let body = response.bytes().await.unwrap_or_default();
    let failure = Failure::from_answer(503, &body);
    // A member that met a fault stopped at once, perhaps between carrying out a write and answering.
    if failure.code() == "unavailable" {
        return Attempt::Lost(failure.to_string());
    }
    Attempt::Refused { failure, retry_after }
}

async fn whole(request: &Request, response: reqwest::Response) -> Outcome<Answer> {
    let status = response.status();
    let revision = response.headers().get("vardr-revision").and_then(|value| value.to_str().ok()?.parse().ok());
    match response.bytes().await {
        Ok(body) => Ok(Answer { status, revision, body }),
        Err(error) => Err(lost(request, &format!("the answer broke off: {}", cause(&error)))),
    }
}

async fn checked(response: reqwest::Response) -> Outcome<reqwest::Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.bytes().await.unwrap_or_default();
    Err(Failure::from_answer(status.as_u16(), &body))
}

fn lost(request: &Request, why: &str) -> Failure {
    if request.method == Method::GET {
        Failure::new(Exit::Unavailable, why)
    } else {
        Failure::new(Exit::Unknown, format!("{why}; whether it was carried out is not known"))
    }
}

fn endpoint(text: &str) -> Outcome<Url> {
    let refuse = |problem: &str| {
        Err(Failure::usage(format!("--endpoint: `{text}` cannot be used: {problem}; allowed: http://HOST:PORT")))
    };
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let Ok(url) = Url::parse(&full) else { return refuse("it is not a URL") };
    match url.scheme() {
        "http" if url.path() == "/" && url.query().is_none() && url.fragment().is_none() => Ok(url),
        "http" => refuse("something stands behind the host and port"),
        "https" => refuse("TLS is not available"),
        _ => refuse("its scheme is not http"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_with_or_without_http() {
        assert_eq!(endpoint("localhost:2379").unwrap().as_str(), "http://localhost:2379/");
        assert_eq!(endpoint("http://[::1]:2379/").unwrap().as_str(), "http://[::1]:2379/");
        for text in ["", "https://x:1", "ftp://x", "http://x/v1", "http://"] {
            assert_eq!(endpoint(text).unwrap_err().exit(), Exit::Usage, "{text}");
        }
    }

    #[test]
    fn writes_carry_a_key_of_their_own_and_reads_none() {
        let write = || Request::write(Method::PUT, Route::new("/v1/keys/a"), "x");
        assert_ne!(write().headers["idempotency-key"], write().headers["idempotency-key"]);
        assert!(write().is_repeatable());
        assert!(Request::get(Route::new("/")).headers.is_empty());
        let bare = Request { headers: HeaderMap::new(), ..write() };
        assert!(!bare.is_repeatable());
    }

    #[tokio::test]
    async fn nothing_reachable_is_unavailable_and_changes_nothing() {
        let client = Client::new(&["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()], None).unwrap();
        let failure = client.send(&Request::write(Method::PUT, Route::new("/v1/keys/a"), "x")).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Unavailable);
        assert!(failure.to_string().contains("cannot be reached"), "{failure}");
    }
}
