//! `/v2/members`: who belongs to the cluster, and how that changes, as etcd tells it.
//!
//! A member that is added here becomes a voter, as in etcd, but not at once: it comes as a learner, and is promoted without
//! being asked for again once it has caught up. Until then it endangers no majority.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::{deadline, empty, internal, json, message, method_not_allowed, name_cluster, text, typed_json};
use crate::api::State;
use crate::api::extract::body;
use crate::cluster::peer_url;
use crate::model::{Member, MemberId, Outcome, Refusal};
use crate::service::{self, Role};

/// What the paths begin with.
pub(super) const PATH: &str = "/v2/members";
/// The pattern of these paths.
pub(super) const PATTERN: &str = "/v2/members/{*id}";
const METHODS: &str = "GET,POST,DELETE,PUT";

/// Answers a request for members: `rest` is what follows [`PATH`].
pub(super) async fn answer(api: &State, parts: &Parts, rest: &[u8], content: Body) -> Response {
    let id = rest.strip_prefix(b"/").unwrap_or(rest);
    let mut response = match parts.method {
        Method::GET => get(api, id),
        Method::POST => add(api, parts, content).await,
        Method::PUT | Method::DELETE if id.is_empty() => text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"),
        Method::PUT => relocate(api, parts, id, content).await,
        Method::DELETE => remove(api, id).await,
        _ => return method_not_allowed(METHODS),
    };
    name_cluster(api, response.headers_mut());
    response
}

/// What this member knows, without asking the others, as in etcd.
fn get(api: &State, id: &[u8]) -> Response {
    let cluster = api.service().cluster_at_hand();
    let mut out = Vec::with_capacity(256);
    match id {
        b"" => {
            out.extend_from_slice(b"{\"members\":[");
            for (number, member) in cluster.members.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                write_member(&mut out, member);
            }
            out.extend_from_slice(b"]}\n");
        }
        b"leader" => {
            let Some(leader) = cluster.leader.and_then(|id| cluster.members.get(id)) else {
                return message(StatusCode::SERVICE_UNAVAILABLE, "During election");
            };
            write_member(&mut out, leader);
            out.push(b'\n');
        }
        _ => return message(StatusCode::NOT_FOUND, "Not found"),
    }
    typed_json(StatusCode::OK, out)
}

async fn add(api: &State, parts: &Parts, content: Body) -> Response {
    let urls = match peer_urls(api, &parts.headers, content).await {
        Ok(urls) => urls,
        Err(refused) => return refused,
    };
    let call = deadline(api);
    let done = match api.service().add_member(&call, String::new(), &urls, Role::Voter).await {
        Ok(done) => done,
        Err(error) => return failed(&error, ""),
    };
    let Outcome::Member(member) = &done.outcome else { return internal("no member came of it") };
    let mut out = Vec::with_capacity(256);
    write_member(&mut out, member);
    out.push(b'\n');
    typed_json(StatusCode::CREATED, out)
}

async fn relocate(api: &State, parts: &Parts, id: &[u8], content: Body) -> Response {
    let shown = String::from_utf8_lossy(id);
    let Some(member) = member_id(&shown) else { return no_member(&shown) };
    let urls = match peer_urls(api, &parts.headers, content).await {
        Ok(urls) => urls,
        Err(refused) => return refused,
    };
    let call = deadline(api);
    match api.service().relocate_member(&call, member, &urls).await {
        Ok(_) => empty(StatusCode::NO_CONTENT),
        Err(error) => failed(&error, &shown),
    }
}

async fn remove(api: &State, id: &[u8]) -> Response {
    let shown = String::from_utf8_lossy(id);
    let Some(member) = member_id(&shown) else { return no_member(&shown) };
    if api.service().cluster_at_hand().members.was_removed(member) {
        return message(StatusCode::GONE, format!("Member permanently removed: {shown}"));
    }
    let call = deadline(api);
    match api.service().remove_member(&call, member).await {
        Ok(_) => empty(StatusCode::NO_CONTENT),
        Err(error) => failed(&error, &shown),
    }
}

/// The URLs in a body (etcd's `unmarshalRequest` and `types.NewURLs`).
async fn peer_urls(api: &State, headers: &HeaderMap, content: Body) -> Result<Vec<String>, Response> {
    let bad = |what: &str| message(StatusCode::BAD_REQUEST, what);
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    if kind != "application/json" {
        let what = format!("Bad Content-Type {kind}, accept application/json");
        return Err(message(StatusCode::UNSUPPORTED_MEDIA_TYPE, &what));
    }
    let call = deadline(api);
    let limit = api.service().limits().max_request_bytes;
    let read = body::read(headers, content, limit, call.deadline).await;
    let bytes = read.map_err(|_| bad("the body cannot be read: it is too large, or broke off"))?;
    let object: Value = serde_json::from_slice(&bytes)
        .map_err(|error| if error.is_eof() { bad("unexpected end of JSON input") } else { bad(&error.to_string()) })?;
    // As Go's decoder does: names in any case, what is unknown is passed over.
    let urls = object.as_object().and_then(|members| {
        members.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case("peerURLs")).map(|(_, urls)| urls)
    });
    let urls = urls.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if urls.is_empty() {
        return Err(bad("no valid URLs given"));
    }
    let checked = |url: &Value| url.as_str().ok_or_else(|| "a URL is a string".to_owned()).and_then(checked);
    urls.iter().map(checked).collect::<Result<_, _>>().map_err(|what| bad(&what))
}

/// A URL that a member can be reached at; else what etcd says of it, or why there is none like it here.
fn checked(text: &str) -> Result<String, String> {
    let text = text.trim();
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    if !matches!(scheme, "http" | "https" | "unix" | "unixs") {
        return Err(format!("URL scheme must be http, https, unix, or unixs: {text}"));
    }
    let rest = text.get(scheme.len() + 3..).unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return peer_url(text).map_err(|problem| format!("{problem}: {text}"));
    }
    if rest.contains('/') {
        return Err(format!("URL must not contain a path: {text}"));
    }
    if rest.rsplit_once(':').is_none_or(|(_, port)| port.is_empty()) {
        return Err(format!("URL address does not have the form \"host:port\": {text}"));
    }
    peer_url(text).map_err(|problem| format!("{problem}: {text}"))
}

/// An id as etcd reads it: hexadecimal of 64 bits.
fn member_id(text: &str) -> Option<MemberId> {
    let is_hexadecimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hexadecimal { text.parse().ok() } else { None }
}

fn no_member(id: &str) -> Response {
    message(StatusCode::NOT_FOUND, format!("No such member: {id}"))
}

/// An error of the service as etcd answers it. Where etcd hides the reason, it is told.
fn failed(error: &service::Error, id: &str) -> Response {
    match error {
        service::Error::Refused { refusal, .. } => match &**refusal {
            Refusal::MemberNotFound(_) => no_member(id),
            Refusal::PeerUrlTaken(_) => message(StatusCode::CONFLICT, "membership: peerURL exists"),
            Refusal::MemberExists(_) => message(StatusCode::CONFLICT, "membership: ID exists"),
            other => message(StatusCode::CONFLICT, other.to_string()),
        },
        service::Error::InvalidArgument(what) => message(StatusCode::BAD_REQUEST, what),
        other => internal(&other.to_string()),
    }
}

/// `{"id":…,"name":…,"peerURLs":[…],"clientURLs":[…]}`.
fn write_member(out: &mut Vec<u8>, member: &Member) {
    out.extend_from_slice(format!("{{\"id\":\"{}\",\"name\":", member.id).as_bytes());
    json::string(out, member.name.as_bytes());
    for (name, urls) in [("peerURLs", &member.peer_urls), ("clientURLs", &member.client_urls)] {
        out.extend_from_slice(format!(",\"{name}\":[").as_bytes());
        for (number, url) in urls.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            json::string(out, url.as_bytes());
        }
        out.push(b']');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_refused_in_etcds_words() {
        let told = |text: &str| checked(text).unwrap_err();
        assert_eq!(told("foo"), "URL scheme must be http, https, unix, or unixs: foo");
        assert_eq!(told("http://a:1/x"), "URL must not contain a path: http://a:1/x");
        assert_eq!(told("http://a"), "URL address does not have the form \"host:port\": http://a");
        assert!(told("https://a:1").contains("TLS"));
        assert_eq!(checked(" http://a:1 ").unwrap(), "http://a:1");
    }

    #[test]
    fn an_id_is_hexadecimal_of_64_bits() {
        assert_eq!(member_id("8E9e05c52164694d"), Some(MemberId(0x8e9e_05c5_2164_694d)));
        for text in ["", "xyz", "+1", "11111111111111111"] {
            assert_eq!(member_id(text), None, "{text}");
        }
    }
}
