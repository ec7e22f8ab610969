//! `/v1/locks`: acquire, look at, keep alive, release.

use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::response::Response;
use axum::routing::get;
use http::request::Parts;
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::queue::{self, PlaceQuery, QueueQuery, Show};
use super::schema::{Deleted, LockObject, LockQueue};
use super::txn::DurationSchema;
use crate::api::extract::json::{Lease as LeaseMember, Span as SpanMember};
use crate::api::extract::{Verb, query};
use crate::api::problem::{Code, Problem};
use crate::api::{Answer, State};
use crate::service::{Entered, Entry};

/// What the paths of locks begin with.
pub const LOCKS: &str = "/v1/locks/";

const VERBS: &[(Verb, &str, &str)] = &[(Verb::Keepalive, ":keepalive", "POST")];

#[derive(OpenApi)]
#[openapi(paths(acquire_lock, get_lock, keep_lock_alive, release_lock))]
struct Paths;

pub(super) fn router() -> OpenApiRouter<State> {
    let routes = get(get_lock).post(acquire_lock).delete(release_lock);
    OpenApiRouter::with_openapi(Paths::openapi()).route("/v1/locks/{*path}", routes)
}

/// How a lock is asked for. All members can be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ttl": "30s", "wait": "10s", "owner": "worker-7"}))]
pub struct LockRequest {
    /// How long the lock is held without being kept alive, at least 1 s. Default 30 s.
    #[serde(default)]
    #[schema(value_type = Option<DurationSchema>)]
    ttl: Option<SpanMember>,
    /// A lease to hold the lock by, which the client keeps alive itself, in place of `ttl`.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[1-9a-f][0-9a-f]{0,15}$")]
    lease: Option<LeaseMember>,
    /// How long to wait for the lock, at most 10 min; 0 tries once. Default 10 s.
    #[serde(default)]
    #[schema(value_type = Option<DurationSchema>)]
    wait: Option<SpanMember>,
    /// Who asks, for whoever looks.
    #[serde(default)]
    owner: Option<String>,
}

/// Acquire a lock
///
/// Waits in the order of arrival. The answer says the fencing token: a number greater than that of any holder before. Hand it to
/// what the lock guards, which refuses smaller ones: a holder that was stopped for a while may not know that it lost the lock.
/// A request that does not get the lock, or whose client hangs up, leaves nothing behind. Keep the lock alive with
/// `:keepalive`, release it with DELETE.
#[utoipa::path(
    post, path = "/v1/locks/{name}", operation_id = "acquireLock", tag = "locks",
    params(("name" = String, Path, description = "The lock; slashes may be in it", example = "jobs"), PlaceQuery),
    request_body(content = LockRequest, content_type = "application/json"),
    responses((status = 200, description = "The lock is held", body = LockObject)),
)]
pub async fn acquire_lock(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = match Verb::Keepalive.strip(raw(&parts)) {
        Some(place) => queue::keep_alive(&api, &parts, place, body, Show::Lock).await,
        None => acquire(&api, &parts, body).await,
    };
    api.finish(result)
}

/// Look at a lock
///
/// Who holds it, and who waits in which order.
#[utoipa::path(
    get, path = "/v1/locks/{name}", operation_id = "getLock", tag = "locks",
    params(("name" = String, Path, description = "The lock; slashes may be in it", example = "jobs"), QueueQuery),
    responses((status = 200, description = "The holder and the queue", body = LockQueue)),
)]
pub async fn get_lock(Extract(api): Extract<State>, request: Request) -> Response {
    let result = look(&api, &request.into_parts().0).await;
    api.finish(result)
}

/// Keep a lock alive
///
/// Sets what is left of it back to the whole time. 404 once it is lost.
#[utoipa::path(
    post, path = "/v1/locks/{name}/{holder}:keepalive", operation_id = "keepLockAlive", tag = "locks",
    params(("name" = String, Path, description = "The lock; slashes may be in it", example = "jobs"),
        ("holder" = String, Path, description = "The lease that it is held by, in hexadecimal", example = "694d8a1f3c2b"), PlaceQuery),
    responses((status = 200, description = "It is still held", body = LockObject)),
)]
#[expect(dead_code, reason = "stands for a verb that the route of POST tells apart")]
fn keep_lock_alive() {}

/// Release a lock
///
/// Whoever holds it or waits for it under the lease does so no longer.
#[utoipa::path(
    delete, path = "/v1/locks/{name}/{holder}", operation_id = "releaseLock", tag = "locks",
    params(("name" = String, Path, description = "The lock; slashes may be in it", example = "jobs"),
        ("holder" = String, Path, description = "The lease that it is held by, in hexadecimal", example = "694d8a1f3c2b"), PlaceQuery),
    responses((status = 200, description = "Released", body = Deleted)),
)]
pub async fn release_lock(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = release(&api, &parts, body).await;
    api.finish(result)
}

fn raw(parts: &Parts) -> &str {
    parts.uri.path().strip_prefix(LOCKS).unwrap_or_default()
}

async fn acquire(api: &State, parts: &Parts, body: Body) -> Result<Answer, Problem> {
    let name = queue::named(raw(parts))?;
    let asked: PlaceQuery = query(parts.uri.query())?;
    let (mut call, body) = api.arrive(parts, body, asked.timeout).await?;
    let LockRequest { ttl, lease, wait, owner } = queue::request(&body)?;
    let (life, wait) = (queue::life(ttl, lease)?, queue::wait(wait)?);
    call.deadline += wait;
    let entry = Entry { name: name.clone(), life, value: owner.unwrap_or_default().into(), wait };
    match api.service().enter(&call, entry).await? {
        Entered::First { place, replayed } => {
            let mut out = Vec::with_capacity(192);
            queue::write_place(&mut out, &name, &place, Show::Lock);
            Ok(Answer::json(place.modified, out).with_replayed(replayed))
        }
        Entered::Behind(behind) => {
            let waited = if wait.is_zero() { String::new() } else { format!(" for {} s", wait.as_secs_f64()) };
            let detail = format!("somebody else held the lock{waited}");
            let problem = Problem::new(Code::LockHeld, detail).at(behind.revision);
            Err(problem.with_json("holder", queue::first(&name, &behind.places, Show::Lock)))
        }
    }
}

async fn look(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    queue::refuse_verbs(raw(parts), VERBS)?;
    let name = queue::named(raw(parts))?;
    let asked: QueueQuery = query(parts.uri.query())?;
    let call = api.call(asked.timeout)?;
    let found = api.service().queue(&call, asked.consistency.unwrap_or_default(), &name).await?;
    let mut out = Vec::with_capacity(256 + 160 * found.places.len());
    queue::write_queue(&mut out, &name, &found, "holder", Show::Lock);
    Ok(Answer::json(found.revision, out))
}

async fn release(api: &State, parts: &Parts, body: Body) -> Result<Answer, Problem> {
    queue::refuse_verbs(raw(parts), VERBS)?;
    queue::leave(api, parts, raw(parts), body).await
}
