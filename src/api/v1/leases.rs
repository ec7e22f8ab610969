//! `/v1/leases`: grant, look at, keep alive, revoke.

use axum::extract::{Request, State as Extract};
use axum::response::Response;
use http::header::{ALLOW, LOCATION};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::format::{self, Object};
use super::keys::write::unexpected;
use super::schema::{Deleted, LeaseList, LeaseObject};
use super::txn::DurationSchema;
use crate::api::extract::json::{self, Lease as LeaseMember, Span as SpanMember};
use crate::api::extract::query::{LEASE_ID, Span, lease_id, parameters, shortened};
use crate::api::extract::{Verb, body, query};
use crate::api::problem::{Code, Problem};
use crate::api::{Answer, State};
use crate::model::{Command, Key, Lease, LeaseId, Outcome, Ttl};
use crate::service::{Call, Consistency};

const LEASES: &str = "/v1/leases/";

#[derive(OpenApi)]
#[openapi(paths(keepalive))]
struct Verbs;

pub(super) fn router() -> OpenApiRouter<State> {
    let router = OpenApiRouter::with_openapi(Verbs::openapi())
        .routes(routes!(list_leases, grant_lease))
        .routes(routes!(get_lease, revoke_lease));
    router.route("/v1/leases/{id}", axum::routing::post(post_lease))
}

parameters! {
    /// What can be asked of reading leases.
    pub struct LookQuery {
        /// `linearizable` (default) or `serializable`.
        consistency: Consistency = "consistency", "serializable";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
    }
}

parameters! {
    /// What can be asked of changing leases.
    pub struct ChangeQuery {
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
    }
}

/// A lease to grant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ttl": "30s"}))]
pub struct GrantRequest {
    /// How long the lease lives without being kept alive.
    #[schema(value_type = DurationSchema)]
    ttl: SpanMember,
    /// An id of one's own choice, in hexadecimal; otherwise a random one.
    #[schema(value_type = Option<String>, pattern = "^[1-7][0-9a-f]{0,15}$")]
    id: Option<LeaseMember>,
}

/// List leases
#[utoipa::path(
    get, path = "/v1/leases", operation_id = "listLeases", tag = "leases", params(LookQuery),
    responses((status = 200, description = "All leases, in order of id", body = LeaseList)),
)]
pub async fn list_leases(Extract(api): Extract<State>, request: Request) -> Response {
    let result = list(&api, &request.into_parts().0).await;
    api.finish(result)
}

/// Grant a lease
///
/// Keys that are written with the lease die with it. Keep it alive with `:keepalive`.
#[utoipa::path(
    post, path = "/v1/leases", operation_id = "grantLease", tag = "leases", params(ChangeQuery),
    request_body(content = GrantRequest, content_type = "application/json"),
    responses((status = 201, description = "Granted", body = LeaseObject,
        headers(("Location" = String, description = "Where the lease is")))),
)]
pub async fn grant_lease(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = grant(&api, &parts, body).await;
    api.finish(result)
}

/// Look at a lease
#[utoipa::path(
    get, path = "/v1/leases/{id}", operation_id = "getLease", tag = "leases",
    params(("id" = String, Path, description = "The lease, in hexadecimal", example = "694d8a1f3c2b"), LookQuery),
    responses((status = 200, description = "The lease and its keys", body = LeaseObject)),
)]
pub async fn get_lease(Extract(api): Extract<State>, request: Request) -> Response {
    let result = get(&api, &request.into_parts().0).await;
    api.finish(result)
}

/// Revoke a lease
///
/// Deletes the lease and its keys in one revision.
#[utoipa::path(
    delete, path = "/v1/leases/{id}", operation_id = "revokeLease", tag = "leases",
    params(("id" = String, Path, description = "The lease, in hexadecimal", example = "694d8a1f3c2b"), ChangeQuery),
    responses((status = 200, description = "Revoked", body = Deleted)),
)]
pub async fn revoke_lease(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = revoke(&api, &parts, body).await;
    api.finish(result)
}

/// Keep a lease alive
///
/// Sets what is left of it back to what was granted. 404 once it is gone.
#[utoipa::path(
    post, path = "/v1/leases/{id}:keepalive", operation_id = "keepLeaseAlive", tag = "leases",
    params(("id" = String, Path, description = "The lease, in hexadecimal", example = "694d8a1f3c2b"), ChangeQuery),
    responses((status = 200, description = "It lives on", body = LeaseObject)),
)]
#[expect(dead_code, reason = "stands for a verb that the route of POST tells apart")]
fn keepalive() {}

async fn post_lease(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = keep_alive(&api, &parts, body).await;
    api.finish(result)
}

/// The lease that a raw path segment names.
fn named(segment: &str) -> Result<LeaseId, Problem> {
    if Verb::Keepalive.strip(segment).is_some() {
        let problem = Problem::new(Code::MethodNotAllowed, ":keepalive is a verb of POST");
        return Err(problem.with_header(ALLOW, HeaderValue::from_static("POST")));
    }
    lease_id(segment).ok_or_else(|| Problem::invalid(format!("`{}` is not {LEASE_ID}", shortened(segment))))
}

fn segment(parts: &Parts) -> &str {
    parts.uri.path().strip_prefix(LEASES).unwrap_or_default()
}

/// A call that changes a lease, with its body.
async fn arrive(api: &State, parts: &Parts, body: axum::body::Body) -> Result<(Call, bytes::Bytes), Problem> {
    let query: ChangeQuery = query(parts.uri.query())?;
    api.arrive(parts, body, query.timeout).await
}

async fn list(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let query: LookQuery = query(parts.uri.query())?;
    let call = api.call(query.timeout)?;
    let (revision, leases) = api.service().leases(&call, query.consistency.unwrap_or_default()).await?;
    let mut out = Vec::with_capacity(64 + leases.len() * 64);
    let mut object = Object::begin(&mut out);
    object.number("revision", revision.get());
    object.array("items", &leases, |out, state| lease_json(out, &state.lease, state.remaining(), None));
    object.end();
    Ok(Answer::json(revision, out))
}

async fn get(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let id = named(segment(parts))?;
    let query: LookQuery = query(parts.uri.query())?;
    let call = api.call(query.timeout)?;
    let (revision, state) = api.service().lease_with_keys(&call, query.consistency.unwrap_or_default(), id).await?;
    let mut out = Vec::with_capacity(128);
    lease_json(&mut out, &state.lease, state.remaining(), Some(&state.keys));
    Ok(Answer::json(revision, out))
}

async fn grant(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let (call, body) = arrive(api, parts, body).await?;
    let request: GrantRequest = json::read(&body)?;
    if request.ttl.0.get() == 0 {
        return Err(Problem::invalid("`ttl` has to be more than 0"));
    }
    let id = request.id.map_or_else(|| api.service().new_lease_id(), |id| id.0);
    let done = api.service().write(&call, Command::GrantLease { id, ttl: request.ttl.0 }).await?;
    let Outcome::Lease(lease) = &done.outcome else { return Err(unexpected(&done.outcome)) };
    let mut out = Vec::with_capacity(96);
    lease_json(&mut out, lease, lease.remaining, None);
    let answer = Answer::json(done.revision, out).with_status(StatusCode::CREATED).with_replayed(done.replayed);
    Ok(match HeaderValue::try_from(format!("{LEASES}{}", lease.id)) {
        Ok(location) => answer.with_header(LOCATION, location),
        Err(_) => answer,
    })
}

async fn keep_alive(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let Some(segment) = Verb::Keepalive.strip(segment(parts)) else {
        let detail = "POST keeps a lease alive by :keepalive at the end of its path, and grants one at /v1/leases";
        let problem = Problem::new(Code::MethodNotAllowed, detail);
        return Err(problem.with_header(ALLOW, HeaderValue::from_static("GET,HEAD,DELETE")));
    };
    let id = named(segment)?;
    let (call, body) = arrive(api, parts, body).await?;
    body::refuse(&body)?;
    let (revision, ttl) = api.service().renew_lease(&call, id).await?;
    let mut out = Vec::with_capacity(96);
    let mut object = Object::begin(&mut out);
    object.id("id", id.get());
    object.seconds("ttl", ttl);
    object.seconds("grantedTtl", ttl);
    object.end();
    Ok(Answer::json(revision, out))
}

async fn revoke(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let id = named(segment(parts))?;
    let (call, body) = arrive(api, parts, body).await?;
    body::refuse(&body)?;
    let done = api.service().write(&call, Command::RevokeLease(id)).await?;
    let Outcome::Revoked { deleted } = done.outcome else { return Err(unexpected(&done.outcome)) };
    let mut out = Vec::with_capacity(64);
    let mut object = Object::begin(&mut out);
    object.number("revision", done.revision.get());
    object.number("deleted", deleted);
    object.end();
    Ok(Answer::json(done.revision, out).with_replayed(done.replayed))
}

fn lease_json(out: &mut Vec<u8>, lease: &Lease, remaining: Ttl, keys: Option<&[Key]>) {
    let mut object = Object::begin(out);
    object.id("id", lease.id.get());
    object.seconds("ttl", remaining);
    object.seconds("grantedTtl", lease.ttl);
    if lease.own {
        object.boolean("own", true);
    }
    if let Some(keys) = keys {
        format::key_names(&mut object, "keys", keys);
    }
    object.end();
}
