//! What every request passes on its way in and every answer on its way out, whatever the dialect: the guard against
//! other hosts and origins, CORS, the standard headers, counting and the slow-request log.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::ready;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, UPGRADE, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use super::problem::{Code, Problem};
use super::{Face, PREFERENCE_APPLIED, Route, VARDR_REVISION, authority, discovery, unread, v2, v3};

/// Smaller answers are not worth compressing.
const COMPRESS_FROM_BYTES: u16 = 1024;
/// What browsers may send and read across origins.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS");
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "accept, authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id, prefer",
);
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "etag, idempotency-replayed, link, location, preference-applied, retry-after, vardr-cluster-id, vardr-member-id, vardr-raft-term, \
     vardr-revision",
);
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");
/// What etcd tells browsers, on every answer.
const ETCD_METHODS: HeaderValue = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
const ETCD_HEADERS: HeaderValue = HeaderValue::from_static("accept, content-type, authorization");

/// Who may speak to the server, and from where.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Foreign origins that browsers may use the server from; `*` for all (`--cors`).
    pub origins: BTreeSet<String>,
    /// Names that the server answers to besides loopback and IP addresses, without port; `*` for all
    /// (`--host-whitelist`).
    pub hosts: BTreeSet<String>,
}

/// Compresses an answer for who accepts it, but no stream: a compressor holds events back.
async fn compress(accepted: HeaderValue, response: Response) -> Response {
    let large = SizeAbove::new(COMPRESS_FROM_BYTES);
    let no_events = NotForContentType::const_new("text/event-stream");
    let no_lines = NotForContentType::const_new("application/x-ndjson");
    let no_bytes = NotForContentType::const_new("application/octet-stream");
    let layer = CompressionLayer::new().compress_when(large.and(no_events).and(no_lines).and(no_bytes));
    let mut response = Some(response);
    let answer = service_fn(move |_: Request| ready(Ok::<_, Infallible>(response.take().unwrap_or_default())));
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert(ACCEPT_ENCODING, accepted);
    match layer.layer(answer).oneshot(request).await {
        Ok(response) => response.map(Body::new),
    }
}

/// Takes a request through all of that to who answers it, and the answer back.
pub(super) async fn pass(face: Face, from: SocketAddr, request: Request) -> Response {
    let start = Instant::now();
    let request = authority::restored(request);
    let state = face.state();
    let _in_flight = state.metrics().http.enter();
    let access = &state.settings().access;
    let method = request.method().clone();
    let origin = request.headers().get(ORIGIN).cloned();
    let allowed = origin.filter(|origin| access.lists(origin));
    let accepted = request.headers().get(ACCEPT_ENCODING).cloned();
    // The names that a server goes by guard it against pages that browsers show, and no browser can send a request of gRPC: it
    // would have to begin HTTP/2 without being asked to, and would say its Origin.
    let admission = if v3::is_grpc(&request) { Ok(Admission::Request) } else { access.admit(&request) };
    let (route, mut response) = match admission {
        Err(problem) => (Route::None, problem.into_response()),
        Ok(Admission::Preflight) if !v2::is_addressed(&request) && !v3::is_addressed(&request) => {
            (Route::None, StatusCode::NO_CONTENT.into_response())
        }
        Ok(Admission::Preflight | Admission::Request) => face.route(from, request).await,
    };
    response = unread::counted(state.service().answers(), response);
    if route.is_etcd() {
        // Nothing that etcd does not send: no compression, which would hold a stream back, and no header of ours.
        if let Some(origin) = allowed {
            share_etcd(response.headers_mut(), origin);
        }
    } else {
        // Most programs accept nothing but plain answers, and are spared the machinery.
        if let Some(accepted) = accepted {
            response = compress(accepted, response).await;
        }
        if !response.headers().contains_key(VARDR_REVISION) {
            state.stamp(response.headers_mut(), None);
        }
        if !access.origins.is_empty() {
            share(response.headers_mut(), allowed.as_ref(), method == Method::OPTIONS);
        }
    }
    let took = start.elapsed();
    match &route {
        Route::Counted(counters) => counters.observe(response.status(), took),
        Route::Grpc(Some(method)) => method.observe(&response, took),
        // gRPC says in a header that there is no such method.
        Route::Grpc(None) => state.metrics().http.observe("unmatched", &method, StatusCode::NOT_IMPLEMENTED, took),
        route => state.metrics().http.observe(route.as_str(), &method, response.status(), took),
    }
    // A request that was held because it asked to be is not slow.
    let held = route.waits() || response.headers().contains_key(PREFERENCE_APPLIED);
    if !held && state.settings().slow.is_some_and(|slow| took >= slow) {
        state.metrics().http.slow.inc();
        tracing::warn!(%method, route = route.as_str(), status = response.status().as_u16(), ?took, "slow request");
    }
    response
}

/// What is to be done with a request that may come in.
enum Admission {
    Request,
    /// A browser asks what it may send (WHATWG Fetch, 3.3).
    Preflight,
}

impl Access {
    fn admit(&self, request: &Request) -> Result<Admission, Problem> {
        let (method, headers) = (request.method(), request.headers());
        let named = request.uri().authority().map(Authority::as_str).or_else(|| headers.get(HOST)?.to_str().ok());
        let host = named.and_then(Host::parse);
        self.check_host(headers, host)?;
        let Some(origin) = headers.get(ORIGIN) else { return Ok(Admission::Request) };
        let changes =
            !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || discovery::makes_roster(request);
        let foreign = !is_own(origin, host) && !self.lists(origin);
        if foreign && (changes || headers.contains_key(UPGRADE)) {
            return Err(Problem::new(
                Code::PermissionDenied,
                "requests from this Origin are not allowed; list it with --cors to allow them",
            ));
        }
        if method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return Ok(Admission::Preflight);
        }
        Ok(Admission::Request)
    }

    /// Refuses names that the server does not go by: a page that has rebound its own name to this address must not
    /// pass for a page of this server.
    fn check_host(&self, headers: &HeaderMap, host: Option<Host<'_>>) -> Result<(), Problem> {
        let refused = |detail: &str| Err(Problem::new(Code::PermissionDenied, detail));
        if self.hosts.contains("*") {
            return Ok(());
        }
        let Some(host) = host else {
            // HTTP/1.0 knows no Host; a later request without one, or with nonsense, is refused.
            return if headers.contains_key(HOST) { refused("the Host is not a name with a port") } else { Ok(()) };
        };
        let name = host.name.trim_end_matches('.');
        let is_local = |name: &str| {
            let tail = name.len().checked_sub("localhost".len()).and_then(|at| name.split_at_checked(at));
            tail.is_some_and(|(front, tail)| {
                tail.eq_ignore_ascii_case("localhost") && (front.is_empty() || front.ends_with('.'))
            })
        };
        let known = is_local(name) || name.parse::<IpAddr>().is_ok() || self.hosts.contains(&name.to_ascii_lowercase());
        if known { Ok(()) } else { refused("the server does not go by this Host; add it with --host-whitelist") }
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        self.origins.contains("*") || origin.to_str().is_ok_and(|origin| self.origins.contains(origin))
    }
}

/// A host and perhaps a port (RFC 9110, section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Host<'a> {
    whole: &'a str,
    /// Without brackets and port.
    name: &'a str,
}

impl<'a> Host<'a> {
    /// Reads a name, an IPv4 address or an IPv6 address in brackets; `None` for anything else.
    fn parse(whole: &'a str) -> Option<Self> {
        let (name, rest) = match whole.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']').filter(|(name, _)| name.parse::<Ipv6Addr>().is_ok())?,
            None => whole.split_at(whole.find(':').unwrap_or(whole.len())),
        };
        let port = if rest.is_empty() { rest } else { rest.strip_prefix(':')? };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
        let fine = !name.is_empty() && name.bytes().all(is_name) && port.bytes().all(|byte| byte.is_ascii_digit());
        fine.then_some(Self { whole, name })
    }
}

/// Whether an origin is the server's own: the same host and port that the request was sent to.
fn is_own(origin: &HeaderValue, host: Option<Host<'_>>) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => origin.eq_ignore_ascii_case(host.whole),
        _ => false,
    }
}

/// Tells a browser what a page of a listed origin may do (WHATWG Fetch, 3.3).
fn share(headers: &mut HeaderMap, allowed: Option<&HeaderValue>, preflight: bool) {
    headers.append(VARY, HeaderValue::from_static("origin"));
    let Some(origin) = allowed else { return };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    if preflight {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    }
}

/// As [`share`], by the headers that etcd puts on every answer to an origin of its `--cors`.
fn share_etcd(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ETCD_METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ETCD_HEADERS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn access() -> Access {
        Access { origins: ["https://console.example".to_owned()].into(), hosts: ["config.example".to_owned()].into() }
    }

    fn admits(method: &Method, headers: &[(HeaderName, &str)]) -> bool {
        admits_at("/v1/keys/a", method, headers)
    }

    fn admits_at(path: &str, method: &Method, headers: &[(HeaderName, &str)]) -> bool {
        let request = http::Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, *value));
        access().admit(&request.body(Body::empty()).unwrap()).is_ok()
    }

    #[test]
    fn only_known_hosts_are_answered() {
        for host in [
            "127.0.0.1:2379",
            "localhost",
            "LOCALHOST:1",
            "a.localhost",
            "[::1]:2379",
            "10.0.0.7:2379",
            "config.example:80",
            "CONFIG.example.",
        ] {
            assert!(admits(&Method::GET, &[(HOST, host)]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:2379",
            "127.0.0.1.evil.example",
            "evillocalhost",
            "a b",
            "",
            ":2379",
            "localhost:http",
            "localhost@evil.example",
            "[::1",
            "[localhost]",
            "[::1]evil.example",
            "[::1]80",
        ] {
            assert!(!admits(&Method::GET, &[(HOST, host)]), "{host}");
        }
        assert!(admits(&Method::GET, &[]), "HTTP/1.0");
    }

    #[test]
    fn a_foreign_origin_may_read_nothing_through_a_browser_and_change_nothing_at_all() {
        let host = (HOST, "127.0.0.1:2379");
        assert!(admits(&Method::PUT, std::slice::from_ref(&host)));
        assert!(admits(&Method::PUT, &[host.clone(), (ORIGIN, "http://127.0.0.1:2379")]));
        assert!(admits(&Method::PUT, &[host.clone(), (ORIGIN, "https://console.example")]));
        assert!(!admits(&Method::PUT, &[host.clone(), (ORIGIN, "http://127.0.0.1:8080")]));
        assert!(!admits(&Method::POST, &[host.clone(), (ORIGIN, "null")]));
        assert!(admits(&Method::GET, &[host.clone(), (ORIGIN, "https://evil.example")]));
        assert!(!admits(&Method::GET, &[host.clone(), (ORIGIN, "https://evil.example"), (UPGRADE, "websocket")]));
        let makes_roster = |origin| admits_at("/new?size=3", &Method::GET, &[host.clone(), (ORIGIN, origin)]);
        assert!(!makes_roster("https://evil.example") && !makes_roster("http://127.0.0.1:8080"));
        assert!(makes_roster("https://console.example") && makes_roster("http://127.0.0.1:2379"));
    }
}
