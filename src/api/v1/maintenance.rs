//! `/v1/maintenance` and `/v1/status`: looking after the store.

use axum::extract::{Request, State as Extract};
use axum::response::Response;
use http::request::Parts;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::format::Object;
use super::schema::{Compaction, StatusObject};
use crate::api::extract::json::{self, Count};
use crate::api::extract::query::{Span, parameters};
use crate::api::extract::{body, idempotency, query, refuse_conditions};
use crate::api::problem::Problem;
use crate::api::{Answer, State};
use crate::model::Revision;

pub(super) fn router() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(get_status)).routes(routes!(compact))
}

parameters! {
    /// What can be asked of maintenance.
    pub struct MaintenanceQuery {
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
    refuse_conditions(&parts.headers)?;
    let mut call = api.call(asked.timeout)?;
    let limit = api.service().limits().max_request_bytes;
    let body = body::read(&parts.headers, body, limit, call.deadline).await?;
    call.idempotency = idempotency(&parts, &body)?;
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
