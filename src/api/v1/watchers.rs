//! `/v1/watchers`: who follows what at the member that answers.

use axum::extract::{Request, State as Extract};
use axum::response::Response;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xxhash_rust::xxh3::xxh3_64;

use super::cursor;
use super::format::{self, Object};
use crate::api::extract::query;
use crate::api::extract::query::{page_limit, parameters};
use crate::api::problem::Problem;
use crate::api::{Answer, State};
use crate::service::{self, Followed, WatchersRequest, Watching};

parameters! {
    /// What can be asked of the list of watches.
    pub struct WatchersQuery {
        /// Only those of keys, directories and ranges that begin so.
        prefix: String = "prefix", "/app/";
        /// At most this many on the page. Default 1000, at most 100000.
        limit: u64 = "limit", 100;
        /// Where the next page begins: the `cursor` of the page before, with the same query at the same member. Each page shows the
        /// present.
        cursor: String = "cursor", "AAAAAAAAAAAAAAAAAAAAAA";
    }
}

/// A page of watches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 42, "items": [{"id": "1f", "carrier": "sse", "prefix": "/app/", "address": "10.0.0.7:53412",
    "userAgent": "curl/7.88.1", "since": "2026-11-23T20:15:00.123Z", "revision": 42, "backlogBytes": 0}]}))]
pub struct WatcherList {
    /// The revision that the store is at.
    pub revision: u64,
    /// In order of id.
    pub items: Vec<WatcherObject>,
    /// There is more: ask again with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A watch. It follows a `key`, what begins with a `prefix`, or the keys that are not before `from` and before `to`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WatcherObject {
    /// In hexadecimal; of this member, and of no other watch while it runs.
    pub id: String,
    /// How it reaches its client.
    pub carrier: CarrierWord,
    /// The one key that it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key in base64url, in place of `key`, when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key64: Option<String>,
    /// What all keys begin with that it follows: of a directory its path with the slash at the end, and an empty one of everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The same as `key64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix64: Option<String>,
    /// There, and `true`, when it follows only what is directly in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<bool>,
    /// The first key of the range that it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The same as `key64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from64: Option<String>,
    /// The key behind the range; without it the range has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The same as `key64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to64: Option<String>,
    /// The address and port that its client connected from.
    pub address: String,
    /// What the client says that it is, cut to 200 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// When it began, in UTC (RFC 3339).
    pub since: String,
    /// Everything up to this revision is on its way to the client; 0 while the present state is not.
    pub revision: u64,
    /// The bytes of events that wait because its client reads too slowly.
    pub backlog_bytes: u64,
}

/// How a watch reaches its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CarrierWord {
    /// Server-Sent Events.
    Sse,
    /// Lines of JSON.
    Ndjson,
    /// A WebSocket, which may carry many.
    #[serde(rename = "websocket")]
    WebSocket,
    /// A request that is held.
    Poll,
    /// etcd's v2 API, until the first change.
    V2Wait,
    /// etcd's v2 API, on and on.
    V2Stream,
    /// etcd's v3 API over gRPC.
    V3Grpc,
    /// etcd's v3 API in JSON.
    V3Json,
    /// etcd's v3 API in JSON over WebSocket.
    #[serde(rename = "v3-websocket")]
    V3WebSocket,
}

pub(super) fn router() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list_watchers))
}

/// List the watches that are open
///
/// Those of the member that answers, which `Vardr-Member-Id` names, of all APIs and carriers, in order of `id`: those that have been
/// open the longest come first. A request that is held until something changes is there, too, and so is one that waits for a lock or to
/// lead: it follows the place ahead of its own.
#[utoipa::path(
    get, path = "/v1/watchers", operation_id = "listWatchers", tag = "watch", params(WatchersQuery),
    responses((status = 200, description = "The watches", body = WatcherList)),
)]
pub async fn list_watchers(Extract(api): Extract<State>, request: Request) -> Response {
    let result = list(&api, &request.into_parts().0);
    api.finish(result)
}

fn list(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let asked: WatchersQuery = query(parts.uri.query())?;
    let prefix = asked.prefix.unwrap_or_default();
    let limit = page_limit(asked.limit)?;
    // The ids are those of one member.
    let member = api.service().header().member;
    let shape = xxh3_64(format!("watchers {member} {prefix:?}").as_bytes());
    let cursor = asked.cursor.as_ref().map(|text| cursor::read(text, shape)).transpose()?;
    let found = api.service().watchers(&WatchersRequest { prefix: prefix.into(), limit, cursor });
    let mut out = Vec::with_capacity(128 + 256 * found.items.len());
    let mut object = Object::begin(&mut out);
    object.number("revision", found.revision.get());
    object.array("items", &found.items, write);
    if let Some(cursor) = &found.cursor {
        object.string("cursor", &cursor::write(cursor, shape));
    }
    object.end();
    Ok(Answer::json(found.revision, out))
}

fn write(out: &mut Vec<u8>, watching: &Watching) {
    let mut object = Object::begin(out);
    object.id("id", watching.id);
    object.string("carrier", word(watching.origin.carrier));
    match &watching.followed {
        Followed::Key(key) => object.name("key", key),
        Followed::Prefix(prefix) => object.name("prefix", prefix),
        Followed::Children(directory) => {
            object.name("prefix", directory);
            object.boolean("children", true);
        }
        Followed::Range(range) => {
            object.name("from", range.start());
            if let Some(end) = range.end() {
                object.name("to", end);
            }
        }
    }
    object.string("address", &watching.origin.address.to_string());
    if let Some(user_agent) = &watching.origin.user_agent {
        object.string("userAgent", user_agent);
    }
    object.string("since", &format::time(watching.since));
    object.number("revision", watching.told.get());
    object.number("backlogBytes", watching.backlog_bytes);
    object.end();
}

/// The word of [`CarrierWord`] for a carrier.
const fn word(carrier: service::Carrier) -> &'static str {
    match carrier {
        service::Carrier::Events => "sse",
        service::Carrier::Lines => "ndjson",
        service::Carrier::Socket => "websocket",
        service::Carrier::Poll => "poll",
        service::Carrier::NodeWait => "v2-wait",
        service::Carrier::NodeStream => "v2-stream",
        service::Carrier::Grpc => "v3-grpc",
        service::Carrier::GatewayLines => "v3-json",
        service::Carrier::GatewaySocket => "v3-websocket",
    }
}
