//! `/v1/elections`: campaign, look, proclaim, observe, keep alive, resign.

use std::io;

use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::request::Parts;
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::format::{self, Object};
use super::queue::{self, PlaceQuery, QueueQuery, QueuesQuery, Show, Terms};
use super::schema::{CandidateObject, Deleted, ElectionList, ElectionObject};
use super::txn::DurationSchema;
use super::watch::event_stream;
use crate::api::extract::json::{self, Lease as LeaseMember, Span as SpanMember};
use crate::api::extract::{Verb, query};
use crate::api::origin::origin_of;
use crate::api::problem::{Code, Problem};
use crate::api::{Answer, State};
use crate::service::{Carrier, Consistency, Observation, Observed, QueueName};

/// What the paths of elections begin with.
pub const ELECTIONS: &str = "/v1/elections/";

const VERBS: &[(Verb, &str, &str)] = &[(Verb::Keepalive, ":keepalive", "POST"), (Verb::Observe, ":observe", "GET")];

#[derive(OpenApi)]
#[openapi(paths(campaign, get_election, observe_election, proclaim, keep_candidate_alive, resign))]
struct Paths;

pub(super) fn router() -> OpenApiRouter<State> {
    let list = OpenApiRouter::new().routes(routes!(list_elections));
    let routes = get(get_election).post(campaign).put(proclaim).delete(resign);
    OpenApiRouter::with_openapi(Paths::openapi()).route("/v1/elections/{*path}", routes).merge(list)
}

/// How to stand for election. All members can be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"value": "10.0.0.7:5432", "ttl": "30s", "wait": "10s"}))]
pub struct CampaignRequest {
    /// What the candidate proclaims once it leads: its address, say.
    #[serde(default)]
    value: Option<String>,
    /// How long the candidate stands without being kept alive, at least 1 s. Default 30 s.
    #[serde(default)]
    #[schema(value_type = Option<DurationSchema>)]
    ttl: Option<SpanMember>,
    /// A lease to stand by, which the client keeps alive itself, in place of `ttl`.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[1-9a-f][0-9a-f]{0,15}$")]
    lease: Option<LeaseMember>,
    /// How long to wait for one's turn, at most 10 min; 0 tries once. Default 10 s.
    #[serde(default)]
    #[schema(value_type = Option<DurationSchema>)]
    wait: Option<SpanMember>,
}

impl From<CampaignRequest> for Terms {
    fn from(request: CampaignRequest) -> Self {
        let CampaignRequest { value, ttl, lease, wait } = request;
        Self { ttl, lease, wait, value }
    }
}

/// What the leader has to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"value": "10.0.0.7:5433"}))]
pub struct ProclaimRequest {
    value: String,
}

/// Stand for election
///
/// Waits, in the order of arrival, until the candidate leads. The answer says the fencing token: a number greater than that of any
/// leader before. A request that does not come to lead, or whose client hangs up, leaves nothing behind. Keep leading
/// with `:keepalive`, resign with DELETE.
#[utoipa::path(
    post, path = "/v1/elections/{name}", operation_id = "campaign", tag = "elections",
    params(("name" = String, Path, description = "The election; slashes may be in it, and a colon as %3A", example = "primary"), PlaceQuery),
    request_body(content = CampaignRequest, content_type = "application/json"),
    responses((status = 200, description = "The candidate leads", body = CandidateObject)),
)]
pub async fn campaign(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = match Verb::Keepalive.strip(raw(&parts)) {
        Some(place) => queue::keep_alive(&api, &parts, place, body, Show::Election).await,
        None => match queue::refuse_verbs(raw(&parts), VERBS) {
            Ok(()) => queue::enter::<CampaignRequest>(&api, &parts, raw(&parts), body, Show::Election).await,
            Err(problem) => Err(problem),
        },
    };
    api.finish(result)
}

/// List the elections
///
/// The elections that somebody leads, in order of name, with how many others stand. An election is known by its queue, keys with a
/// lease that are named `{name}/{lease in hexadecimal}`, as in etcd's `concurrency` package; the queue of a lock is alike, so the
/// locks are here, too. A page looks at every key with a lease.
#[utoipa::path(
    get, path = "/v1/elections", operation_id = "listElections", tag = "elections", params(QueuesQuery),
    responses((status = 200, description = "The elections", body = ElectionList)),
)]
pub async fn list_elections(Extract(api): Extract<State>, request: Request) -> Response {
    let result = queue::list(&api, &request.into_parts().0, Show::Election).await;
    api.finish(result)
}

/// Look at an election
///
/// Who leads, and who else stands in which order.
#[utoipa::path(
    get, path = "/v1/elections/{name}", operation_id = "getElection", tag = "elections",
    params(("name" = String, Path, description = "The election; slashes may be in it, and a colon as %3A", example = "primary"), QueueQuery),
    responses((status = 200, description = "The leader and the other candidates", body = ElectionObject)),
)]
pub async fn get_election(Extract(api): Extract<State>, request: Request) -> Response {
    let parts = request.into_parts().0;
    let result = match Verb::Observe.strip(raw(&parts)) {
        Some(name) => match observe(&api, &parts, name).await {
            Ok(response) => return response,
            Err(problem) => Err(problem),
        },
        None => match queue::refuse_verbs(raw(&parts), VERBS) {
            Ok(()) => queue::look(&api, &parts, raw(&parts), Show::Election).await,
            Err(problem) => Err(problem),
        },
    };
    api.finish(result)
}

/// Follow an election
///
/// Server-Sent Events: `leader` with whoever leads, now and whenever that changes or the leader proclaims anew; `vacant`
/// when nobody does. No change is left out. After an interruption the stream begins with the present state.
#[utoipa::path(
    get, path = "/v1/elections/{name}:observe", operation_id = "observeElection", tag = "elections",
    params(("name" = String, Path, description = "The election; slashes may be in it, and a colon as %3A", example = "primary")),
    responses((status = 200, description = "The stream", content_type = "text/event-stream")),
)]
#[expect(dead_code, reason = "stands for a verb that the route of GET tells apart")]
fn observe_election() {}

/// Proclaim something as the leader
///
/// Replaces the value that the leader stood with. Refused for anybody else.
#[utoipa::path(
    put, path = "/v1/elections/{name}/{candidate}", operation_id = "proclaim", tag = "elections",
    params(("name" = String, Path, description = "The election; slashes may be in it, and a colon as %3A", example = "primary"),
        ("candidate" = String, Path, description = "The lease that it stands by, in hexadecimal", example = "694d8a1f3c2b"), PlaceQuery),
    request_body(content = ProclaimRequest, content_type = "application/json"),
    responses((status = 200, description = "Proclaimed", body = CandidateObject)),
)]
pub async fn proclaim(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = say(&api, &parts, body).await;
    api.finish(result)
}

/// Keep a candidate alive
///
/// Sets what is left of it back to the whole time. 404 once it leads no longer and stands no longer.
#[utoipa::path(
    post, path = "/v1/elections/{name}/{candidate}:keepalive", operation_id = "keepCandidateAlive", tag = "elections",
    params(("name" = String, Path, description = "The election; slashes may be in it, and a colon as %3A", example = "primary"),
        ("candidate" = String, Path, description = "The lease that it stands by, in hexadecimal", example = "694d8a1f3c2b"), PlaceQuery),
    responses((status = 200, description = "It still stands", body = CandidateObject)),
)]
#[expect(dead_code, reason = "stands for a verb that the route of POST tells apart")]
fn keep_candidate_alive() {}

/// Resign
///
/// Whoever leads or stands under the lease does so no longer.
#[utoipa::path(
    delete, path = "/v1/elections/{name}/{candidate}", operation_id = "resign", tag = "elections",
    params(("name" = String, Path, description = "The election; slashes may be in it, and a colon as %3A", example = "primary"),
        ("candidate" = String, Path, description = "The lease that it stands by, in hexadecimal", example = "694d8a1f3c2b"), PlaceQuery),
    responses((status = 200, description = "Resigned", body = Deleted)),
)]
pub async fn resign(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = match queue::refuse_verbs(raw(&parts), VERBS) {
        Ok(()) => queue::leave(&api, &parts, raw(&parts), body).await,
        Err(problem) => Err(problem),
    };
    api.finish(result)
}

fn raw(parts: &Parts) -> &str {
    parts.uri.path().strip_prefix(ELECTIONS).unwrap_or_default()
}

async fn say(api: &State, parts: &Parts, body: Body) -> Result<Answer, Problem> {
    queue::refuse_verbs(raw(parts), VERBS)?;
    let (name, lease) = queue::place(raw(parts))?;
    let asked: PlaceQuery = query(parts.uri.query())?;
    let (call, body) = api.arrive(parts, body, asked.timeout).await?;
    let ProclaimRequest { value } = json::read(&body)?;
    if let Some((place, replayed)) = api.service().proclaim(&call, &name, lease, value.into()).await? {
        return Ok(queue::answer(place.modified, &name, &place, Show::Election).with_replayed(replayed));
    }
    let found = api.service().queue(&call, Consistency::Linearizable, &name).await?;
    let problem = Problem::new(Code::NotLeader, format!("the candidate {lease} does not lead")).at(found.revision);
    Err(problem.with_json("leader", queue::first(&name, found.places.first(), Show::Election)))
}

async fn observe(api: &State, parts: &Parts, raw: &str) -> Result<Response, Problem> {
    let name = queue::named(raw)?;
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Problem::invalid("following an election takes no parameters"));
    }
    // The deadline is for the beginning; a stream has none.
    let call = api.call(None)?.by(origin_of(Carrier::Events, parts));
    let observation = api.service().observe(&call, name.clone()).await?;
    let revision = observation.revision();
    let mut response = Body::from_stream(messages(observation, name)).into_response();
    event_stream(response.headers_mut());
    api.stamp(response.headers_mut(), Some(revision));
    Ok(response)
}

/// The observation as Server-Sent Events (WHATWG HTML, 9.2).
fn messages(observation: Observation, name: QueueName) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    // A comment first, so that a browser's EventSource opens at once.
    let begin = stream::iter([Ok(Bytes::from_static(b": observe\n\n"))]);
    let rest = stream::unfold(Some((observation, name)), |state| async move {
        let (mut observation, name) = state?;
        let mut out = Vec::with_capacity(256);
        match observation.next().await? {
            Observed::First { revision, place } => {
                out.extend_from_slice(b"id: ");
                format::number(&mut out, revision.get());
                out.extend_from_slice(if place.is_some() {
                    b"\nevent: leader\ndata: "
                } else {
                    b"\nevent: vacant\ndata: "
                });
                if let Some(place) = &place {
                    queue::write_place(&mut out, &name, place, Show::Election);
                } else {
                    let mut object = Object::begin(&mut out);
                    object.string("name", &queue::text(&name));
                    object.end();
                }
                out.extend_from_slice(b"\n\n");
            }
            Observed::Alive => out.extend_from_slice(b": keep-alive\n\n"),
            Observed::End(None) => return None,
            Observed::End(Some(error)) => {
                out.extend_from_slice(b"event: error\ndata: ");
                out.extend_from_slice(&Problem::from(error).to_json());
                out.extend_from_slice(b"\n\n");
                return Some((Ok(Bytes::from(out)), None));
            }
        }
        Some((Ok(Bytes::from(out)), Some((observation, name))))
    });
    begin.chain(rest)
}
