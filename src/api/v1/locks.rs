//! `/v1/locks`: acquire, look at, keep alive, release.

use axum::extract::{Request, State as Extract};
use axum::response::Response;
use axum::routing::get;
use http::request::Parts;
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::queue::{self, PlaceQuery, QueueQuery, QueuesQuery, Show, Terms};
use super::schema::{Deleted, LockList, LockObject, LockQueue};
use super::txn::DurationSchema;
use crate::api::State;
use crate::api::extract::Verb;
use crate::api::extract::json::{Lease as LeaseMember, Span as SpanMember};

/// What the paths of locks begin with.
pub const LOCKS: &str = "/v1/locks/";

const VERBS: &[(Verb, &str, &str)] = &[(Verb::Keepalive, ":keepalive", "POST")];

#[derive(OpenApi)]
#[openapi(paths(acquire_lock, get_lock, keep_lock_alive, release_lock))]
struct Paths;

pub(super) fn router() -> OpenApiRouter<State> {
    let list = OpenApiRouter::new().routes(routes!(list_locks));
    let routes = get(get_lock).post(acquire_lock).delete(release_lock);
    OpenApiRouter::with_openapi(Paths::openapi()).route("/v1/locks/{*path}", routes).merge(list)
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

impl From<LockRequest> for Terms {
    fn from(request: LockRequest) -> Self {
        let LockRequest { ttl, lease, wait, owner } = request;
        Self { ttl, lease, wait, value: owner }
    }
}

/// Acquire a lock
///
/// Waits in the order of arrival. The answer says the fencing token: a number greater than that of any holder before. Hand it to
/// what the lock guards, which refuses smaller ones: a holder that was stopped for a while may not know that it lost the lock.
/// A request that does not get the lock, or whose client hangs up, leaves nothing behind. Keep the lock alive with
/// `:keepalive`, release it with DELETE.
#[utoipa::path(
    post, path = "/v1/locks/{name}", operation_id = "acquireLock", tag = "locks",
    params(("name" = String, Path, description = "The lock; slashes may be in it, and a colon as %3A", example = "jobs"), PlaceQuery),
    request_body(content = LockRequest, content_type = "application/json"),
    responses((status = 200, description = "The lock is held", body = LockObject)),
)]
pub async fn acquire_lock(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = match Verb::Keepalive.strip(raw(&parts)) {
        Some(place) => queue::keep_alive(&api, &parts, place, body, Show::Lock).await,
        None => match queue::refuse_verbs(raw(&parts), VERBS) {
            Ok(()) => queue::enter::<LockRequest>(&api, &parts, raw(&parts), body, Show::Lock).await,
            Err(problem) => Err(problem),
        },
    };
    api.finish(result)
}

/// List the locks
///
/// The locks that somebody holds, in order of name, with how many wait. A lock is known by its queue, keys with a lease that are
/// named `{name}/{lease in hexadecimal}`, as in etcd's `concurrency` package; the queue of an election is alike, so the elections are
/// here, too. A page looks at every key with a lease.
#[utoipa::path(
    get, path = "/v1/locks", operation_id = "listLocks", tag = "locks", params(QueuesQuery),
    responses((status = 200, description = "The locks", body = LockList)),
)]
pub async fn list_locks(Extract(api): Extract<State>, request: Request) -> Response {
    let result = queue::list(&api, &request.into_parts().0, Show::Lock).await;
    api.finish(result)
}

/// Look at a lock
///
/// Who holds it, and who waits in which order.
#[utoipa::path(
    get, path = "/v1/locks/{name}", operation_id = "getLock", tag = "locks",
    params(("name" = String, Path, description = "The lock; slashes may be in it, and a colon as %3A", example = "jobs"), QueueQuery),
    responses((status = 200, description = "The holder and the queue", body = LockQueue)),
)]
pub async fn get_lock(Extract(api): Extract<State>, request: Request) -> Response {
    let parts = request.into_parts().0;
    let result = match queue::refuse_verbs(raw(&parts), VERBS) {
        Ok(()) => queue::look(&api, &parts, raw(&parts), Show::Lock).await,
        Err(problem) => Err(problem),
    };
    api.finish(result)
}

/// Keep a lock alive
///
/// Sets what is left of it back to the whole time. 404 once it is lost.
#[utoipa::path(
    post, path = "/v1/locks/{name}/{holder}:keepalive", operation_id = "keepLockAlive", tag = "locks",
    params(("name" = String, Path, description = "The lock; slashes may be in it, and a colon as %3A", example = "jobs"),
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
    params(("name" = String, Path, description = "The lock; slashes may be in it, and a colon as %3A", example = "jobs"),
        ("holder" = String, Path, description = "The lease that it is held by, in hexadecimal", example = "694d8a1f3c2b"), PlaceQuery),
    responses((status = 200, description = "Released", body = Deleted)),
)]
pub async fn release_lock(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = match queue::refuse_verbs(raw(&parts), VERBS) {
        Ok(()) => queue::leave(&api, &parts, raw(&parts), body).await,
        Err(problem) => Err(problem),
    };
    api.finish(result)
}

fn raw(parts: &Parts) -> &str {
    parts.uri.path().strip_prefix(LOCKS).unwrap_or_default()
}
