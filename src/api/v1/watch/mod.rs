//! `/v1/watch`: following changes over Server-Sent Events, NDJSON and WebSocket.
//!
//! One model of events on every carrier. This module reads the request; `carrier` writes streams, `socket` speaks
//! over WebSocket. What a watch delivers is decided by the service.

pub(crate) mod carrier;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request, State as AxumState};
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::format::{self, Detail};
use crate::api::State;
use crate::api::extract::path::{Target, target};
use crate::api::extract::query::{After, Kind, Literal, Literal64, parameters, query};
use crate::api::origin::origin_of;
use crate::api::problem::Problem;
use crate::model::{EventKind, Key, KeyRange};
use crate::service::{Carrier, OnCompacted, Origin, Start, WatchItem, WatchRequest};

use carrier::{Framing, Message};

/// How often an idle stream says that it is alive, and how far it has come.
pub(crate) const PROGRESS: Duration = Duration::from_secs(15);
/// A browser's `EventSource` names the last id it saw (WHATWG HTML, 9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What follows the route in the path is the key.
const ROUTE: &str = "/v1/watch";

parameters! {
    /// What to follow, and from where.
    pub struct WatchParameters {
        /// The key to follow, literally; for keys that a path cannot say.
        key: Literal = "key", "no-slash";
        /// The key to follow, in base64url.
        key64: Literal64 = "key64", "_w";
        /// Only what is directly in the directory.
        children: bool = "children", true;
        /// Continue after this revision: no event is lost or repeated.
        after: After = "after", 12;
        /// Begin with the present state, then `synced`, then every change.
        initial: bool = "initial", true;
        /// Show with each event what it replaced or removed.
        prev_value: bool = "prevValue", true;
        /// Leave the values out, and tell their sizes.
        keys_only: bool = "keysOnly", true;
        /// Only these kinds of events, separated by commas: `put`, `delete`, `expire`.
        events: Kinds = "events", "put,delete";
        /// What to do when the place to continue from was compacted: `end` the stream, or `reset` to the present state.
        /// `reset` is the default when `Last-Event-ID` came as a header.
        on_compacted: Compacted = "onCompacted", "reset";
    }
}

/// A list of kinds of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinds(Vec<EventKind>);

impl Kind for Kinds {
    fn read(text: &str) -> Result<Self, std::borrow::Cow<'static, str>> {
        let all = [EventKind::Put, EventKind::Delete, EventKind::Expire];
        let kind = |word: &str| all.into_iter().find(|kind| format::kind(*kind) == word);
        let kinds: Option<Vec<EventKind>> = text.split(',').map(kind).collect();
        kinds.map(Self).ok_or_else(|| "a list of `put`, `delete`, `expire`, separated by commas".into())
    }

    fn schema() -> utoipa::openapi::schema::ObjectBuilder {
        String::schema().pattern(Some("^(put|delete|expire)(,(put|delete|expire))*$"))
    }
}

/// What to do about a compacted start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted(pub OnCompacted);

impl Kind for Compacted {
    fn read(text: &str) -> Result<Self, std::borrow::Cow<'static, str>> {
        match text {
            "end" => Ok(Self(OnCompacted::End)),
            "reset" => Ok(Self(OnCompacted::Reset)),
            _ => Err("`end` or `reset`".into()),
        }
    }

    fn schema() -> utoipa::openapi::schema::ObjectBuilder {
        String::schema().enum_values(Some([serde_json::json!("end"), serde_json::json!("reset")]))
    }
}

/// What a client asked to follow.
struct Asked {
    request: WatchRequest,
    detail: Detail,
}

impl Asked {
    fn new(target: Target, parameters: &WatchParameters, last_event_id: Option<After>) -> Result<Self, Problem> {
        let children = parameters.children.unwrap_or(false);
        let (range, children_of) = if target.directory {
            let range = KeyRange::prefix(target.key.bytes().clone());
            (range, children.then_some(target.key))
        } else if children {
            return Err(Problem::invalid("`children` goes with a directory: end the path with a slash"));
        } else {
            (KeyRange::single(&target.key), None)
        };
        Self::of(range, children_of, parameters, last_event_id)
    }

    /// Everything that the store holds, keys without a leading slash included.
    fn everything(parameters: &WatchParameters, last_event_id: Option<After>) -> Result<Self, Problem> {
        if parameters.children == Some(true) {
            return Err(Problem::invalid("`children` goes with a directory: /v1/watch/ is the top one"));
        }
        Self::of(KeyRange::prefix(""), None, parameters, last_event_id)
    }

    fn of(
        range: KeyRange,
        children_of: Option<Key>,
        parameters: &WatchParameters,
        last_event_id: Option<After>,
    ) -> Result<Self, Problem> {
        let start = match (last_event_id, parameters.after, parameters.initial.unwrap_or(false)) {
            (None, Some(_), true) => {
                return Err(Problem::invalid(
                    "`after` and `initial` exclude each other: continue from a revision, or begin with the present state",
                ));
            }
            (Some(After(revision)), _, _) | (None, Some(After(revision)), false) => Start::After(revision),
            (None, None, true) => Start::Initial,
            (None, None, false) => Start::Now,
        };
        let on_compacted = match (parameters.on_compacted, last_event_id) {
            (Some(Compacted(chosen)), _) => chosen,
            (None, Some(_)) => OnCompacted::Reset,
            (None, None) => OnCompacted::End,
        };
        let kinds = parameters.events.as_ref().map(|kinds| kinds.0.clone()).unwrap_or_default();
        let request = WatchRequest { range, children_of, kinds, start, on_compacted, progress_every: Some(PROGRESS) };
        let detail = Detail {
            previous: parameters.prev_value.unwrap_or(false),
            keys_only: parameters.keys_only.unwrap_or(false),
        };
        Ok(Self { request, detail })
    }
}

pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<After>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| After::read(text).ok());
    id.map(Some)
        .ok_or_else(|| Problem::invalid("Last-Event-ID is not a revision: send the id of an event back as it was"))
}

/// The routes with their descriptions.
pub fn router() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(watch))
        .routes(routes!(watch_many))
        .route("/v1/watch/", axum::routing::get(watch))
}

/// Follow a key, or everything below a directory
///
/// Server-Sent Events by default, lines of JSON with `Accept: application/x-ndjson`, a WebSocket with
/// `Upgrade: websocket`. A stream can be resumed after the last `id` (Server-Sent Events) or `resume` (elsewhere) with no
/// event lost or repeated. It ends with `compacted` when the place to resume from is gone, with `lagging` when its reader
/// is too slow.
#[utoipa::path(get, path = "/v1/watch/{*key}", operation_id = "watchKey", tag = "watch",
    params(
        ("key" = String, Path, description = "The key to follow; everything below a directory with a slash at the end", example = "app/"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Continue after this revision; wins over `after` and `initial`"),
        WatchParameters,
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream"),
        (status = 400, description = "`invalid_argument`", content_type = "application/problem+json"),
        (status = 503, description = "`shutting_down`, `unavailable`", content_type = "application/problem+json"),
    ))]
pub async fn watch(
    AxumState(state): AxumState<State>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Response {
    let request = request.into_parts().0;
    let upgrade = match upgrade {
        Ok(upgrade) => Some(upgrade),
        Err(rejection) if asks_for_socket(&request.headers) => {
            return state.finish(Err(Problem::invalid(format!("not an upgrade to WebSocket: {rejection}"))));
        }
        Err(_) => None,
    };
    match follow(&state, upgrade, &request).await {
        Ok(response) => response,
        Err(problem) => state.finish(Err(problem)),
    }
}

/// Follow many keys on one WebSocket, one key named literally, or everything
///
/// With `Upgrade: websocket` and no parameters: requests are JSON in text messages: `{"op":"watch","id":"w1","path":"/app/"}`,
/// `{"op":"cancel","id":"w1"}`, `{"op":"keepalive","lease":"…"}`, `{"op":"session","ttl":"10s"}` and `{"op":"ping"}`. Without
/// it: as `/v1/watch/{key}`, for the key in `key` or `key64`, or without these for everything that the store holds, as
/// `/v1/keys` lists it.
#[utoipa::path(get, path = "/v1/watch", operation_id = "watch", tag = "watch", params(WatchParameters),
    responses(
        (status = 101, description = "The socket"),
        (status = 200, description = "The stream", content_type = "text/event-stream"),
        (status = 400, description = "`invalid_argument`", content_type = "application/problem+json"),
        (status = 503, description = "`shutting_down`, `unavailable`", content_type = "application/problem+json"),
    ))]
pub async fn watch_many(
    state: AxumState<State>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Response {
    watch(state, upgrade, request).await
}

async fn follow(state: &State, upgrade: Option<WebSocketUpgrade>, request: &Parts) -> Result<Response, Problem> {
    let parameters: WatchParameters = query(request.uri.query())?;
    let raw = request.uri.path().strip_prefix(ROUTE).unwrap_or_default();
    let is_bare = raw.is_empty() && parameters.key.is_none() && parameters.key64.is_none();
    let resume = last_event_id(&request.headers)?;
    let asked = match upgrade {
        _ if !is_bare => {
            Asked::new(target(raw, parameters.key.clone(), parameters.key64.clone())?, &parameters, resume)?
        }
        None => Asked::everything(&parameters, resume)?,
        Some(_) if request.uri.query().is_some_and(|query| !query.is_empty()) => {
            return Err(Problem::invalid(
                "a socket for many watches takes no parameters: each watch brings its own in its message",
            ));
        }
        Some(upgrade) => return Ok(socket::open(upgrade, state.clone(), socket_origin(request), None)),
    };
    if let Some(upgrade) = upgrade {
        return Ok(socket::open(upgrade, state.clone(), socket_origin(request), Some(asked)));
    }
    stream(state, request, asked.request, asked.detail, |item, write| carrier::messages(item, write)).await
}

fn socket_origin(request: &Parts) -> Option<Arc<Origin>> {
    origin_of(Carrier::Socket, request)
}

fn asks_for_socket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn framing_of(headers: &HeaderMap) -> Framing {
    let asks_for_lines = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().is_some_and(|media| media.trim() == carrier::NDJSON));
    if asks_for_lines { Framing::Lines } else { Framing::Events }
}

/// The answer to a request for a watch. `speak` says what there is to tell of an item, as [`carrier::messages`] does for keys.
pub(crate) async fn stream(
    state: &State,
    parts: &Parts,
    request: WatchRequest,
    detail: Detail,
    speak: impl FnMut(&WatchItem, &mut dyn FnMut(&Message<'_>)) -> bool + Send + 'static,
) -> Result<Response, Problem> {
    let framing = framing_of(&parts.headers);
    // The deadline is for the beginning; a stream has none.
    let call = state.call(None)?.by(origin_of(framing.listed(), parts));
    let stream = state.service().watch(&call, request).await?;
    let revision = stream.revision();
    let body = carrier::body(stream, framing, detail, state.service().clone(), speak);
    let mut response = Body::from_stream(body).into_response();
    stream_headers(response.headers_mut(), framing);
    state.stamp(response.headers_mut(), Some(revision));
    Ok(response)
}

/// What an answer of Server-Sent Events says of itself.
pub fn event_stream(headers: &mut HeaderMap) {
    stream_headers(headers, Framing::Events);
}

fn stream_headers(headers: &mut HeaderMap, framing: Framing) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(framing.media_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer would hold events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
}

/// The range that a watch message names by path.
fn target_of_path(path: &str) -> Result<Target, Problem> {
    target(path, None, None)
}

/// A key as messages name it.
fn literal(key: Option<String>, key64: Option<&str>) -> Result<Option<Target>, Problem> {
    let invalid = |text: &str| Problem::invalid(format!("`key64` is not valid: it takes {text}"));
    match (key, key64) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Problem::invalid("the key is named twice: give either `key` or `key64`")),
        (Some(key), None) => {
            let key = Key::new(key.into_bytes()).ok_or_else(|| Problem::invalid("`key` is empty"))?;
            target("", Some(Literal(key)), None).map(Some)
        }
        (None, Some(text)) => {
            let key = Literal64::read(text).map_err(|expected| invalid(&expected))?;
            target("", None, Some(key)).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Revision;

    fn asked(raw: &str, text: &str, id: Option<u64>) -> Result<Asked, Problem> {
        let parameters = query(Some(text))?;
        Asked::new(target(raw, None, None)?, &parameters, id.map(|id| After(Revision(id))))
    }

    #[test]
    fn a_path_with_a_trailing_slash_is_everything_below() {
        let one = asked("/app", "", None).unwrap().request;
        assert!(one.range.contains(b"/app") && !one.range.contains(b"/app/x"));
        let all = asked("/app/", "", None).unwrap().request;
        assert!(all.range.contains(b"/app/x/y") && all.children_of.is_none());
        assert!(asked("/app/", "children=true", None).unwrap().request.children_of.is_some());
        assert!(asked("/app", "children=true", None).is_err());
    }

    #[test]
    fn the_last_event_id_wins_and_resets_where_history_is_gone() {
        let resumed = asked("/app/", "initial=true", Some(7)).unwrap().request;
        assert_eq!(resumed.start, Start::After(Revision(7)));
        assert_eq!(resumed.on_compacted, OnCompacted::Reset);
        let after = asked("/app/", "after=7", None).unwrap().request;
        assert_eq!((after.start, after.on_compacted), (Start::After(Revision(7)), OnCompacted::End));
        assert!(asked("/app/", "after=7&initial=true", None).is_err());
        assert_eq!(asked("/app/", "after=7&onCompacted=reset", None).unwrap().request.on_compacted, OnCompacted::Reset);
    }

    #[test]
    fn kinds_are_a_list() {
        let kinds = asked("/app/", "events=put,expire", None).unwrap().request.kinds;
        assert_eq!(kinds, [EventKind::Put, EventKind::Expire]);
        assert!(asked("/app/", "events=puts", None).is_err());
        assert!(asked("/app/", "events=", None).is_err());
    }
}
