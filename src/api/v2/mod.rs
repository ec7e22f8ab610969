//! The dialect of etcd's v2 API: who answers which path, the headers that every answer carries, and the texts of Go's
//! `net/http` where a request comes to none of them.
//!
//! What a request asks for is carried out by the service; what etcd 3.4 answers is the contract, byte by byte.

mod ask;
mod auth;
mod error;
mod form;
mod keys;
mod members;
mod path;
mod show;
mod stats;

use std::net::SocketAddr;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

pub use error::{Error, ErrorCode};

use crate::api::{State, go_json as json};
use crate::model::Revision;
use crate::service::Call;

/// The cluster that answers, in hexadecimal.
pub const X_ETCD_CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
/// The store's revision that an answer reflects.
pub const X_ETCD_INDEX: HeaderName = HeaderName::from_static("x-etcd-index");
/// The last log entry that the answering member has applied.
pub const X_RAFT_INDEX: HeaderName = HeaderName::from_static("x-raft-index");
/// The raft term of that member.
pub const X_RAFT_TERM: HeaderName = HeaderName::from_static("x-raft-term");

/// What all paths of the dialect begin with.
const ROOT: &str = "/v2";

/// Whether a request is one of this dialect: its raw path is `/v2`, or goes on below it, or would but for how it begins. `%2F` is
/// a slash here.
#[must_use]
pub(crate) fn is_addressed(request: &Request) -> bool {
    let path = request.uri().path();
    let rest = path.strip_prefix(ROOT);
    let begins_oddly = || path.starts_with("//") || path.starts_with("/.");
    let cleaned = || path::decode(path).map(|path| path::clean(&path));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '%']))
        || begins_oddly() && cleaned().is_some_and(|path| below(&path, ROOT).is_some())
}

/// The pattern under which answers are counted that no handler gave.
const NO_HANDLER: &str = "/v2/{*path}";

/// Answers a request for a path of this dialect. Says the pattern of the path, too.
pub(crate) async fn answer(api: &State, from: SocketAddr, request: Request) -> (&'static str, Response) {
    let (mut parts, body) = request.into_parts();
    // A write cannot wait.
    if matches!(parts.method, Method::GET | Method::HEAD) {
        parts.extensions.insert(ConnectInfo(from));
    }
    if parts.method == Method::OPTIONS {
        return (NO_HANDLER, Response::new(Body::empty()));
    }
    let Some(path) = path::decode(parts.uri.path()) else { return (NO_HANDLER, bad_path()) };
    if !path::is_clean(&path) {
        return (NO_HANDLER, redirect(&parts, &path::clean(&path)));
    }
    route(api, &parts, &path, body).await
}

/// Hands a request to who answers its path, which is decoded and clean.
async fn route(api: &State, parts: &Parts, path: &[u8], body: Body) -> (&'static str, Response) {
    if let Some(key) = below(path, keys::PATH) {
        return (keys::PATTERN, keys::answer(api, parts, key, body).await);
    }
    if let Some(rest) = below(path, members::PATH) {
        return (members::PATTERN, members::answer(api, parts, rest, body).await);
    }
    if let Some(rest) = below(path, auth::PATH) {
        return auth::answer(api, parts, rest, body).await;
    }
    if let Some(answer) = stats::answer(api, parts, path) {
        return answer;
    }
    (NO_HANDLER, not_found())
}

/// What follows a prefix in a path that is the prefix or goes on below it.
fn below<'a>(path: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    path.strip_prefix(prefix.as_bytes()).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Names the cluster, as every answer of this dialect's handlers does.
pub(super) fn name_cluster(api: &State, headers: &mut HeaderMap) {
    headers.insert(X_ETCD_CLUSTER_ID, api.0.cluster.clone());
}

/// Puts the headers on that a successful answer about keys carries.
fn stamp(api: &State, headers: &mut HeaderMap, index: Revision) {
    let header = api.service().header();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    name_cluster(api, headers);
    headers.insert(X_ETCD_INDEX, HeaderValue::from(index.get()));
    headers.insert(X_RAFT_INDEX, HeaderValue::from(header.applied.get()));
    headers.insert(X_RAFT_TERM, HeaderValue::from(header.term.get()));
}

/// A text as Go's `http.Error` answers it: a line, and no guessing of its type.
fn text(status: StatusCode, line: &'static str) -> Response {
    let mut response = Response::new(Body::from(line));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// `{"message":…}`: an error of any part of the dialect but the keys.
fn message(status: StatusCode, message: impl AsRef<[u8]>) -> Response {
    let mut body = b"{\"message\":".to_vec();
    json::string(&mut body, message.as_ref());
    body.push(b'}');
    typed_json(status, body)
}

/// An answer in JSON.
fn typed_json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 500, with what went wrong.
fn internal(why: &str) -> Response {
    message(StatusCode::INTERNAL_SERVER_ERROR, why)
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A call that takes as long as one may that does not say, of any dialect: etcd's time is kept for keys alone.
fn deadline(api: &State) -> Call {
    Call::new(Instant::now() + api.settings().timeout)
}

/// 404: no handler has the path.
fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// 405, with the methods that are answered as `Allow` lists them: `HEAD,GET`.
fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// 400: the path is badly percent-encoded. Go ends the connection with it.
fn bad_path() -> Response {
    let mut response = Response::new(Body::from("400 Bad Request"));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// 301 to the clean form of a path. A browser that cannot follow gets a link.
fn redirect(parts: &Parts, clean: &[u8]) -> Response {
    let location = path::location(clean, parts.uri.query());
    let shows = matches!(parts.method, Method::GET | Method::HEAD);
    let body = if parts.method == Method::GET {
        let mut link = String::with_capacity(location.len() + 64);
        link.push_str("<a href=\"");
        for letter in location.chars() {
            match letter {
                '&' => link.push_str("&amp;"),
                '<' => link.push_str("&lt;"),
                '>' => link.push_str("&gt;"),
                '"' => link.push_str("&#34;"),
                '\'' => link.push_str("&#39;"),
                other => link.push(other),
            }
        }
        link.push_str("\">Moved Permanently</a>.\n\n");
        Body::from(link)
    } else {
        Body::empty()
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(location) {
        headers.insert(LOCATION, location);
    }
    if shows {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    response
}
