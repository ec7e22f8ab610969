//! etcd's v3 API in JSON over HTTP and WebSocket, as etcd's gateway answers it: which path is which method, and the answers to a
//! request for none.
//!
//! The gateway is a client of the services of gRPC within the same process: JSON becomes the bytes of a message (`read`), which go
//! through the service like those that came over HTTP/2, and the bytes of the answers become JSON (`write`). Both follow tables
//! that `build.rs` writes from the files of `proto/` (`table`), so that no message and no method has code of its own, nothing is
//! looked up in descriptors while the server runs, and what gRPC promises of limits, deadlines and errors holds here.
//!
//! Where etcd 3.4 and 3.5 differ, statuses and errors are those of 3.5, and the texts about JSON those of 3.4.

mod call;
mod read;
mod requests;
mod scan;
mod socket;
mod table;
mod write;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::header::{CONTENT_TYPE, LOCATION, UPGRADE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method as HttpMethod, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::Services;
use super::errors::{Known, http_status};
use super::methods::{Home, Method};
use crate::api::go_json;
use crate::api::origin::origin;
use crate::service::{Carrier, Origin};
use call::{Answers, Asked};
use requests::Requests;

/// What paths begin with; the later two in older programs. etcd has dropped the last one.
const ROOTS: &[&str] = &["/v3/", "/v3beta/", "/v3alpha/"];
/// The pattern under which answers are counted that no method gave.
const NO_METHOD: &str = "/v3/{*path}";
/// Within what time the one message of a request has to come.
const BODY_TIME: Duration = Duration::from_mins(1);
/// What etcd's gateway passes on of the headers of gRPC.
const GRPC_METADATA_CONTENT_TYPE: HeaderName = HeaderName::from_static("grpc-metadata-content-type");

/// The paths, each with its method. One whose method is not served is not there either.
const PATHS: &[(&str, &str)] = &[
    ("/v3/kv/range", "/etcdserverpb.KV/Range"),
    ("/v3/kv/put", "/etcdserverpb.KV/Put"),
    ("/v3/kv/deleterange", "/etcdserverpb.KV/DeleteRange"),
    ("/v3/kv/txn", "/etcdserverpb.KV/Txn"),
    ("/v3/kv/compaction", "/etcdserverpb.KV/Compact"),
    ("/v3/watch", "/etcdserverpb.Watch/Watch"),
    ("/v3/lease/grant", "/etcdserverpb.Lease/LeaseGrant"),
    ("/v3/lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"),
    ("/v3/kv/lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"),
    ("/v3/lease/keepalive", "/etcdserverpb.Lease/LeaseKeepAlive"),
    ("/v3/lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("/v3/kv/lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("/v3/lease/leases", "/etcdserverpb.Lease/LeaseLeases"),
    ("/v3/kv/lease/leases", "/etcdserverpb.Lease/LeaseLeases"),
    ("/v3/cluster/member/add", "/etcdserverpb.Cluster/MemberAdd"),
    ("/v3/cluster/member/remove", "/etcdserverpb.Cluster/MemberRemove"),
    ("/v3/cluster/member/update", "/etcdserverpb.Cluster/MemberUpdate"),
    ("/v3/cluster/member/list", "/etcdserverpb.Cluster/MemberList"),
    ("/v3/cluster/member/promote", "/etcdserverpb.Cluster/MemberPromote"),
    ("/v3/maintenance/alarm", "/etcdserverpb.Maintenance/Alarm"),
    ("/v3/maintenance/status", "/etcdserverpb.Maintenance/Status"),
    ("/v3/maintenance/defragment", "/etcdserverpb.Maintenance/Defragment"),
    ("/v3/maintenance/hash", "/etcdserverpb.Maintenance/Hash"),
    ("/v3/maintenance/hashkv", "/etcdserverpb.Maintenance/HashKV"),
    ("/v3/maintenance/snapshot", "/etcdserverpb.Maintenance/Snapshot"),
    ("/v3/maintenance/transfer-leadership", "/etcdserverpb.Maintenance/MoveLeader"),
    ("/v3/maintenance/downgrade", "/etcdserverpb.Maintenance/Downgrade"),
    ("/v3/auth/enable", "/etcdserverpb.Auth/AuthEnable"),
    ("/v3/auth/disable", "/etcdserverpb.Auth/AuthDisable"),
    ("/v3/auth/status", "/etcdserverpb.Auth/AuthStatus"),
    ("/v3/auth/authenticate", "/etcdserverpb.Auth/Authenticate"),
    ("/v3/auth/user/add", "/etcdserverpb.Auth/UserAdd"),
    ("/v3/auth/user/get", "/etcdserverpb.Auth/UserGet"),
    ("/v3/auth/user/list", "/etcdserverpb.Auth/UserList"),
    ("/v3/auth/user/delete", "/etcdserverpb.Auth/UserDelete"),
    ("/v3/auth/user/changepw", "/etcdserverpb.Auth/UserChangePassword"),
    ("/v3/auth/user/grant", "/etcdserverpb.Auth/UserGrantRole"),
    ("/v3/auth/user/revoke", "/etcdserverpb.Auth/UserRevokeRole"),
    ("/v3/auth/role/add", "/etcdserverpb.Auth/RoleAdd"),
    ("/v3/auth/role/get", "/etcdserverpb.Auth/RoleGet"),
    ("/v3/auth/role/list", "/etcdserverpb.Auth/RoleList"),
    ("/v3/auth/role/delete", "/etcdserverpb.Auth/RoleDelete"),
    ("/v3/auth/role/grant", "/etcdserverpb.Auth/RoleGrantPermission"),
    ("/v3/auth/role/revoke", "/etcdserverpb.Auth/RoleRevokePermission"),
    ("/v3/lock/lock", "/v3lockpb.Lock/Lock"),
    ("/v3/lock/unlock", "/v3lockpb.Lock/Unlock"),
    ("/v3/election/campaign", "/v3electionpb.Election/Campaign"),
    ("/v3/election/proclaim", "/v3electionpb.Election/Proclaim"),
    ("/v3/election/leader", "/v3electionpb.Election/Leader"),
    ("/v3/election/observe", "/v3electionpb.Election/Observe"),
    ("/v3/election/resign", "/v3electionpb.Election/Resign"),
];

/// A path with its method.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    pattern: &'static str,
    table: &'static table::Method,
    home: Home,
    waits: bool,
}

impl Path {
    /// All paths whose methods are among those that are served.
    pub(super) fn all(served: &[Method]) -> Vec<Self> {
        let found = |(path, name): &(&'static str, &'static str)| {
            let table = table::METHODS.iter().find(|method| method.path == *name)?;
            let method = served.iter().find(|method| method.path() == *name)?;
            Some(Self { pattern: path, table, home: method.home(), waits: table.gives_many || method.waits() })
        };
        PATHS.iter().filter_map(found).collect()
    }

    /// `/v3/kv/range`, whatever root was asked for.
    pub(crate) fn as_str(&self) -> &'static str {
        self.pattern
    }

    /// Whether it answers when there is something to say, however long that takes.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Whose watches a request begins, if it may begin any.
    fn origin(&self, carrier: Carrier, from: SocketAddr, parts: &Parts) -> Option<Arc<Origin>> {
        self.waits.then(|| origin(carrier, from, &parts.headers))
    }
}

/// What answers are counted under.
pub(crate) fn pattern(path: Option<&Path>) -> &'static str {
    path.map_or(NO_METHOD, Path::as_str)
}

/// Whether a request is one of the gateway: its path is `/v3`, or below one of the roots.
#[must_use]
pub(crate) fn is_addressed(request: &Request) -> bool {
    let path = request.uri().path();
    path == "/v3" || ROOTS.iter().any(|root| path.starts_with(root))
}

/// Answers a request, and says of which path it was.
pub(crate) async fn answer(services: &Arc<Services>, from: SocketAddr, request: Request) -> (Option<&Path>, Response) {
    let (mut parts, body) = request.into_parts();
    if parts.method == HttpMethod::OPTIONS {
        return (None, Response::new(Body::empty()));
    }
    if parts.uri.path() == "/v3" {
        return (None, redirect());
    }
    let Some(path) = find(services, &parts) else {
        return (None, text(StatusCode::NOT_FOUND, "Not Found\n"));
    };
    let asked = Asked::of(&parts.headers);
    if parts.headers.contains_key(UPGRADE)
        && let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await
    {
        let response = match asked {
            Ok(asked) => {
                let asked = asked.by(path.origin(Carrier::GatewaySocket, from, &parts));
                socket::open(upgrade, services.clone(), *path, asked)
            }
            Err(status) => failed(&status),
        };
        return (Some(path), response);
    }
    if parts.method != HttpMethod::POST {
        return (Some(path), text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"));
    }
    let asked = asked.map(|asked| asked.by(path.origin(Carrier::GatewayLines, from, &parts)));
    let response = match asked {
        Ok(asked) if path.table.gives_many => stream(services, path, asked, body).await,
        Ok(asked) => one(services, path, asked, body).await,
        Err(status) => Err(status),
    };
    (Some(path), response.unwrap_or_else(|status| failed(&status)))
}

fn find<'a>(services: &'a Services, parts: &Parts) -> Option<&'a Path> {
    let path = parts.uri.path();
    let path: Cow<'_, str> =
        if path.contains('%') { percent_decode_str(path).decode_utf8().ok()? } else { Cow::Borrowed(path) };
    let name = ROOTS.iter().find_map(|root| path.strip_prefix(root))?;
    services.paths.iter().find(|path| path.pattern.strip_prefix("/v3/") == Some(name))
}

/// Answers one message to one message.
async fn one(services: &Services, path: &Path, asked: Asked, body: Body) -> Result<Response, Status> {
    let mut requests = Requests::new(body.into_data_stream(), services, path.table);
    let first = begun(services, path, requests.next()).await?;
    let json = call::one(services, path, asked, first).await?;
    let mut response = Response::new(Body::from(json));
    mark(&mut response);
    Ok(response)
}

/// Waits for the first message of a request: where it is the only one, for a while, and else for as long as the server runs.
async fn begun<T>(services: &Services, path: &Path, first: impl Future<Output = T>) -> Result<T, Status> {
    if path.table.takes_many {
        let stopping = services.state.service().shutdown_signal();
        tokio::select! {
            biased;
            first = first => Ok(first),
            () = stopping => Err(Known::Stopped.into()),
        }
    } else {
        let late = |_| Status::deadline_exceeded("the body of the request did not come in time");
        timeout(BODY_TIME, first).await.map_err(late)
    }
}

/// Answers with messages as they come, a line each. As in etcd, nothing is sent before the first one.
async fn stream(services: &Services, path: &Path, asked: Asked, body: Body) -> Result<Response, Status> {
    let mut requests = Requests::new(body.into_data_stream(), services, path.table);
    let first = begun(services, path, requests.next()).await?;
    let is_asked = first.is_some() || !path.table.takes_many;
    let mut answers = call::many(services, path, asked, first, requests).await?;
    let (status, is_told, first) = match answers.next_line().await {
        None => (StatusCode::OK, false, None),
        // The client's own time was up before the service began to answer.
        Some(Err(status)) if is_asked && status.code() == Code::DeadlineExceeded => return Err(status),
        Some(Err(status)) => (http_status(status.code()), false, Some(call::last_line(&status))),
        Some(Ok(line)) => (StatusCode::OK, true, Some(line)),
    };
    let rest = is_told.then_some(answers);
    let lines = stream::unfold((first, rest), |(first, rest)| async move {
        let (line, rest) = match (first, rest) {
            (Some(first), rest) => (first, rest),
            (None, Some(answers)) => next(answers).await?,
            (None, None) => return None,
        };
        Some((Ok::<_, std::convert::Infallible>(line), (None, rest)))
    });
    let mut response = Response::new(Body::from_stream(lines));
    if is_told {
        mark(&mut response);
    }
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The next line, with what comes after it.
async fn next(mut answers: Answers) -> Option<(Vec<u8>, Option<Answers>)> {
    match answers.next_line().await? {
        Ok(line) => Some((line, Some(answers))),
        Err(status) => Some((call::last_line(&status), None)),
    }
}

/// Puts the headers on that an answer of a service carries.
fn mark(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(GRPC_METADATA_CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
}

/// An error of a request that has one answer, or that came to nothing.
fn failed(status: &Status) -> Response {
    let mut response = Response::new(Body::from(error(status)));
    *response.status_mut() = http_status(status.code());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `{"error":…,"code":…,"message":…}`, as etcd 3.5 has it.
fn error(status: &Status) -> Vec<u8> {
    let mut out = b"{\"error\":".to_vec();
    go_json::string(&mut out, status.message().as_bytes());
    out.extend_from_slice(format!(",\"code\":{},\"message\":", i32::from(status.code())).as_bytes());
    go_json::string(&mut out, status.message().as_bytes());
    out.push(b'}');
    out
}

/// A text as Go's `http.Error` answers it: a line, and no guessing of its type.
fn text(status: StatusCode, line: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, line).into_response()
}

/// `/v3` is `/v3/`, where there is nothing either.
fn redirect() -> Response {
    (StatusCode::MOVED_PERMANENTLY, [(LOCATION, HeaderValue::from_static("/v3/"))]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_a_method_that_there_is() {
        for (path, name) in PATHS {
            assert!(table::METHODS.iter().any(|method| method.path == *name), "{path}: {name}");
        }
    }

    #[test]
    fn errors_are_said_twice_and_with_their_code() {
        let told = error(&Status::invalid_argument("a \"<key>\" is missing"));
        assert_eq!(
            String::from_utf8(told).unwrap(),
            r#"{"error":"a \"\u003ckey\u003e\" is missing","code":3,"message":"a \"\u003ckey\u003e\" is missing"}"#
        );
    }
}
