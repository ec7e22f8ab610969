//! `/v1/maintenance` and `/v1/status`: looking after the store.

use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::response::Response;
use futures_util::stream::unfold;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::format::Object;
use super::schema::{Compaction, HashObject, StatusObject};
use crate::api::extract::json::{self, Count};
use crate::api::extract::query;
use crate::api::extract::query::{Span, parameters};
use crate::api::problem::Problem;
use crate::api::{Answer, State};
use crate::model::Revision;
use crate::service::Consistency;

pub(super) fn router() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(get_status))
        .routes(routes!(compact))
        .routes(routes!(get_snapshot))
        .routes(routes!(get_hash))
}

parameters! {
    /// What can be asked of maintenance.
    pub struct MaintenanceQuery {
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
    }
}

parameters! {
    /// What can be asked of a digest.
    pub struct HashQuery {
        /// `linearizable` (default) or `serializable`.
        consistency: Consistency = "consistency", "serializable";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
    }
}

/// What to forget.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"revision": 2}))]
pub struct CompactRequest {
    /// States before this revision are forgotten; this one stays readable.
    #[schema(value_type = u64, minimum = 1, maximum = 9_223_372_036_854_775_807_u64)]
    revision: Count,
}

/// How the member is
#[utoipa::path(
    get, path = "/v1/status", operation_id = "getStatus", tag = "maintenance", params(MaintenanceQuery),
    responses((status = 200, description = "How it is, as `vardr status` shows it", body = StatusObject)),
)]
pub async fn get_status(Extract(api): Extract<State>, request: Request) -> Response {
    let result = status(&api, &request.into_parts().0);
    api.finish(result)
}

/// Forget the past
///
/// Drops what was before a revision, so that its space can be used again.
#[utoipa::path(
    post, path = "/v1/maintenance:compact", operation_id = "compact", tag = "maintenance", params(MaintenanceQuery),
    request_body(content = CompactRequest, content_type = "application/json"),
    responses((status = 200, description = "Forgotten", body = Compaction)),
)]
pub async fn compact(Extract(api): Extract<State>, request: Request) -> Response {
    let result = forget(&api, request).await;
    api.finish(result)
}

/// Save the whole store
///
/// A stream that says by itself whether it is whole: `vardr snapshot verify` checks it.
#[utoipa::path(
    get, path = "/v1/maintenance/snapshot", operation_id = "getSnapshot", tag = "maintenance", params(MaintenanceQuery),
    responses((status = 200, description = "The snapshot", body = String, content_type = "application/octet-stream")),
)]
pub async fn get_snapshot(Extract(api): Extract<State>, request: Request) -> Response {
    let result = snapshot(&api, &request.into_parts().0).await;
    api.finish(result)
}

/// Digest the whole store
///
/// Members that hold the same at a revision have the same digest.
#[utoipa::path(
    get, path = "/v1/maintenance/hash", operation_id = "getHash", tag = "maintenance", params(HashQuery),
    responses((status = 200, description = "The digest", body = HashObject)),
)]
pub async fn get_hash(Extract(api): Extract<State>, request: Request) -> Response {
    let result = hash(&api, &request.into_parts().0).await;
    api.finish(result)
}

async fn snapshot(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let asked: MaintenanceQuery = query(parts.uri.query())?;
    let stream = api.service().snapshot(&api.call(asked.timeout)?).await?;
    let revision = stream.revision;
    let chunks = unfold(stream, |mut stream| async { stream.next().await.map(|chunk| (chunk, stream)) });
    let name = HeaderValue::try_from(format!("attachment; filename=\"vardr-{revision}.snapshot\""));
    let mut answer = Answer::empty(StatusCode::OK, revision)
        .with_header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
        .with_header(CONTENT_DISPOSITION, name.unwrap_or(HeaderValue::from_static("attachment")));
    answer.body = Body::from_stream(chunks);
    Ok(answer)
}

async fn hash(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let asked: HashQuery = query(parts.uri.query())?;
    let hash = api.service().hash(&api.call(asked.timeout)?, asked.consistency.unwrap_or_default()).await?;
    let mut out = Vec::with_capacity(96);
    let mut object = Object::begin(&mut out);
    object.number("revision", hash.revision.get());
    object.number("compactRevision", hash.compacted.get());
    object.string("hash", &format!("{:032x}", hash.digest));
    object.end();
    Ok(Answer::json(hash.revision, out))
}

fn status(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let asked: MaintenanceQuery = query(parts.uri.query())?;
    api.call(asked.timeout)?;
    let status = api.service().status();
    let mut out = Vec::with_capacity(512);
    let mut object = Object::begin(&mut out);
    object.string("version", status.version);
    object.string("name", &status.name);
    object.id("clusterId", status.cluster.get());
    object.id("memberId", status.member.get());
    if let Some(leader) = status.leader {
        object.id("leader", leader.get());
    }
    object.number("raftTerm", status.term.get());
    object.number("raftApplied", status.applied.get());
    object.number("revision", status.revision.get());
    object.number("compactRevision", status.compacted.get());
    object.number("storeBytes", status.store_bytes);
    object.number("logBytes", status.log_bytes);
    if let Some(free) = status.free_bytes {
        object.number("freeBytes", free);
    }
    object.raw("uptime", format!("{:.3}", status.uptime.as_secs_f64()).as_bytes());
    object.boolean("ready", api.service().readiness().is_ready());
    object.end();
    Ok(Answer::json(status.revision, out))
}

async fn forget(api: &State, request: Request) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let asked: MaintenanceQuery = query(parts.uri.query())?;
    let (call, body) = api.arrive(&parts, body, asked.timeout).await?;
    let CompactRequest { revision } = json::read(&body)?;
    if revision.0 == 0 {
        return Err(Problem::invalid("`revision` has to be 1 or more"));
    }
    let done = api.service().compact(&call, Revision(revision.0)).await?;
    let mut out = Vec::with_capacity(64);
    let mut object = Object::begin(&mut out);
    object.number("revision", done.revision.get());
    object.number("compactRevision", revision.0);
    object.end();
    Ok(Answer::json(done.revision, out).with_replayed(done.replayed))
}
