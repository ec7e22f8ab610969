//! `/v1/keys`: the handlers, documented. How a request is read and answered is in [`read`], [`mod@write`] and [`mod@copy`].

pub mod copy;
pub mod read;
pub mod write;

use std::sync::OnceLock;

use axum::extract::{Request, State as Extract};
use axum::response::Response;
use http::Method;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::copy::{CopyQuery, CopyRequest};
use self::read::ReadQuery;
use self::write::{AppendQuery, DeleteQuery, IncrementQuery, PatchQuery, PutQuery};
use super::schema::{CopiedKeys, Deleted, KeyObject, KeyOrList, Number, WrittenKey};
use crate::api::State;
use crate::api::extract::Verb;
use crate::observe::RouteMetrics;

/// The verbs and the literal forms are told apart behind their routes, and documented by themselves.
#[derive(OpenApi)]
#[openapi(paths(increment, copy_key, move_key))]
struct Verbs;

pub(super) fn router() -> OpenApiRouter<State> {
    let mut router = OpenApiRouter::with_openapi(Verbs::openapi())
        .routes(routes!(get_key, put_key, patch_key, post_key, delete_key))
        .routes(routes!(get_literal, put_literal, patch_literal, post_literal, delete_literal))
        .routes(routes!(increment_literal))
        .routes(routes!(copy_literal))
        .routes(routes!(move_literal));
    // The top directory: the wildcard takes at least one character.
    let top = axum::routing::get(get_key).put(put_key).patch(patch_key).post(post_key).delete(delete_key);
    router = router.route("/v1/keys/", top);
    router
}

/// The pattern of the routes below `/v1/keys/`.
pub(crate) const PATTERN: &str = "/v1/keys/{*key}";

/// The counters of the five handlers of [`PATTERN`], each there once it has been asked for.
#[derive(Debug, Default)]
pub(crate) struct Counters([OnceLock<RouteMetrics>; 5]);

impl Counters {
    /// The counters of the handler that a request is for; `None` when it is for none of the five.
    pub(crate) fn of(&self, api: &State, request: &Request) -> Option<&RouteMetrics> {
        let [get, put, patch, post, delete] = &self.0;
        let counters = match *request.method() {
            Method::GET => get,
            Method::PUT => put,
            Method::PATCH => patch,
            Method::POST => post,
            Method::DELETE => delete,
            _ => return None,
        };
        let below = request.uri().path().strip_prefix(read::KEYS)?.starts_with('/');
        below.then(|| counters.get_or_init(|| api.metrics().http.route(PATTERN, request.method())))
    }
}

/// Answers a request for a key, by its method. The key is found in the path here, not by the router.
pub(crate) async fn answer(api: &State, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = match parts.method {
        Method::PUT => write::put(api, parts, body).await,
        Method::PATCH => write::patch(api, &parts, body).await,
        Method::POST => write::post(api, &parts, body).await,
        Method::DELETE => write::delete(api, &parts, body).await,
        _ => read::get(api, &parts).await,
    };
    api.finish(result)
}

/// Read a key or list a directory
///
/// The path after `/v1/keys` is the key, leading slash included, percent-decoded once. A trailing slash names a
/// directory: one level of it is listed, or with `recursive=true` everything below. With `wait` (or the header
/// `Prefer: wait=60`) the request is held until something in the answer changes.
#[utoipa::path(
    get, path = "/v1/keys/{*key}", operation_id = "getKey", tag = "keys",
    params(("key" = String, Path, description = "The key, without its leading slash", example = "app/db"), ReadQuery),
    responses(
        (status = 200, description = "The key, or the list for a directory", content(
            (KeyOrList = "application/json"), (String = "application/octet-stream"), (String = "text/plain"))),
        (status = 304, description = "Nothing has changed since the entity tag in `If-None-Match` was given out"),
    ),
)]
pub async fn get_key(Extract(api): Extract<State>, request: Request) -> Response {
    answer(&api, request).await
}

/// Write a key or create a directory
///
/// The body is the value, as it is; its content type is kept. With a trailing slash the path names a directory, which
/// is created empty. Conditions, in the query or as `If-Match` and `If-None-Match`, are checked where the write is
/// applied.
#[utoipa::path(
    put, path = "/v1/keys/{*key}", operation_id = "putKey", tag = "keys",
    params(("key" = String, Path, description = "The key, without its leading slash", example = "app/db"), PutQuery),
    request_body(content((String = "text/plain", example = "postgres://db.example/app"),
        (serde_json::Value = "application/json", example = json!({"host": "db.example", "port": 5432})),
        (String = "application/octet-stream")), description = "The value"),
    responses(
        (status = 201, description = "Created", body = WrittenKey),
        (status = 200, description = "Replaced; a directory that was there already; or a refreshed lease", body = WrittenKey),
    ),
)]
pub async fn put_key(Extract(api): Extract<State>, request: Request) -> Response {
    answer(&api, request).await
}

/// Change a JSON value in place
///
/// Applies a JSON Merge Patch (RFC 7396) or a JSON Patch (RFC 6902), told apart by the content type, to the value of the
/// key, atomically. Content type and lease stay. A merge patch creates a key that is absent.
#[utoipa::path(
    patch, path = "/v1/keys/{*key}", operation_id = "patchKey", tag = "keys",
    params(("key" = String, Path, description = "The key, without its leading slash", example = "app/config"), PatchQuery),
    request_body(content(
        (serde_json::Value = "application/merge-patch+json", example = json!({"port": 5433, "tls": null})),
        (Vec<super::schema::PatchStep> = "application/json-patch+json", example = json!([{"op": "add", "path": "/port", "value": 5433}])),
    ), description = "The patch"),
    responses(
        (status = 201, description = "Created by a merge patch", body = KeyObject),
        (status = 200, description = "Patched", body = KeyObject),
    ),
)]
pub async fn patch_key(Extract(api): Extract<State>, request: Request) -> Response {
    answer(&api, request).await
}

/// Add an in-order key to a directory
///
/// Stores the body under the next key of the directory: the revision, 20 digits, zero-padded, so that keys sort in the
/// order in which they were accepted. `Location` names the key.
#[utoipa::path(
    post, path = "/v1/keys/{*key}", operation_id = "postKey", tag = "keys",
    params(("key" = String, Path, description = "The directory, without its leading slash and with its trailing one", example = "queue/"), AppendQuery),
    request_body(content((String = "text/plain", example = "job 1"),
        (serde_json::Value = "application/json", example = json!({"job": 1})),
        (String = "application/octet-stream")), description = "The value"),
    responses(
        (status = 201, description = "Stored", body = WrittenKey,
            headers(("Location" = String, description = "Where the new key is"))),
    ),
)]
pub async fn post_key(Extract(api): Extract<State>, request: Request) -> Response {
    answer(&api, request).await
}

/// Delete a key or a directory
///
/// A directory that is not empty needs `recursive=true`. Nothing there is 404.
#[utoipa::path(
    delete, path = "/v1/keys/{*key}", operation_id = "deleteKey", tag = "keys",
    params(("key" = String, Path, description = "The key, without its leading slash", example = "app/db"), DeleteQuery),
    responses((status = 200, description = "Deleted", body = Deleted)),
)]
pub async fn delete_key(Extract(api): Extract<State>, request: Request) -> Response {
    answer(&api, request).await
}

/// Read a key named literally, or list the top of the key space
///
/// For keys that a path cannot say: without a leading slash, with empty segments, or not UTF-8. Without `key` and
/// `key64` it lists everything that the store holds, one level or recursively.
#[utoipa::path(
    get, path = "/v1/keys", operation_id = "getLiteralKey", tag = "keys", params(ReadQuery),
    responses(
        (status = 200, description = "The key, or the list", content(
            (KeyOrList = "application/json"), (String = "application/octet-stream"), (String = "text/plain"))),
        (status = 304, description = "Nothing has changed since the entity tag in `If-None-Match` was given out"),
    ),
)]
pub async fn get_literal(extract: Extract<State>, request: Request) -> Response {
    get_key(extract, request).await
}

/// Write a key named literally
#[utoipa::path(
    put, path = "/v1/keys", operation_id = "putLiteralKey", tag = "keys", params(PutQuery),
    request_body(content((String = "text/plain", example = "postgres://db.example/app"),
        (serde_json::Value = "application/json", example = json!({"host": "db.example", "port": 5432})),
        (String = "application/octet-stream")), description = "The value"),
    responses(
        (status = 201, description = "Created", body = WrittenKey),
        (status = 200, description = "Replaced, or a refreshed lease", body = WrittenKey),
    ),
)]
pub async fn put_literal(extract: Extract<State>, request: Request) -> Response {
    put_key(extract, request).await
}

/// Change the JSON value of a key named literally
#[utoipa::path(
    patch, path = "/v1/keys", operation_id = "patchLiteralKey", tag = "keys", params(PatchQuery),
    request_body(content(
        (serde_json::Value = "application/merge-patch+json", example = json!({"port": 5433, "tls": null})),
        (Vec<super::schema::PatchStep> = "application/json-patch+json", example = json!([{"op": "add", "path": "/port", "value": 5433}])),
    ), description = "The patch"),
    responses(
        (status = 201, description = "Created by a merge patch", body = KeyObject),
        (status = 200, description = "Patched", body = KeyObject),
    ),
)]
pub async fn patch_literal(extract: Extract<State>, request: Request) -> Response {
    patch_key(extract, request).await
}

/// Add an in-order key to a directory named literally
#[utoipa::path(
    post, path = "/v1/keys", operation_id = "postLiteralKey", tag = "keys", params(AppendQuery),
    request_body(content((String = "text/plain", example = "job 1"),
        (serde_json::Value = "application/json", example = json!({"job": 1})),
        (String = "application/octet-stream")), description = "The value"),
    responses(
        (status = 201, description = "Stored", body = WrittenKey,
            headers(("Location" = String, description = "Where the new key is"))),
    ),
)]
pub async fn post_literal(extract: Extract<State>, request: Request) -> Response {
    post_key(extract, request).await
}

/// Delete a key named literally
#[utoipa::path(
    delete, path = "/v1/keys", operation_id = "deleteLiteralKey", tag = "keys", params(DeleteQuery),
    responses((status = 200, description = "Deleted", body = Deleted)),
)]
pub async fn delete_literal(extract: Extract<State>, request: Request) -> Response {
    delete_key(extract, request).await
}

/// Add to a number
///
/// Adds `by` to the decimal integer at the key, atomically; an absent key counts as 0. Content type and lease stay.
#[utoipa::path(
    post, path = "/v1/keys/{key}:increment", operation_id = "incrementKey", tag = "keys",
    params(("key" = String, Path, description = "The key, without its leading slash", example = "app/counter"), IncrementQuery),
    responses(
        (status = 201, description = "Created", body = Number),
        (status = 200, description = "The new number", body = Number),
    ),
)]
#[expect(dead_code, reason = "stands for a verb that the route of POST tells apart")]
fn increment() {}

/// Add to a number at a key named literally
#[utoipa::path(
    post, path = "/v1/keys:increment", operation_id = "incrementLiteralKey", tag = "keys", params(IncrementQuery),
    responses(
        (status = 201, description = "Created", body = Number),
        (status = 200, description = "The new number", body = Number),
    ),
)]
pub async fn increment_literal(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = write::increment(&api, &parts, "", body).await;
    api.finish(result)
}

/// Copy a key or a directory
///
/// Writes the key, or with a trailing slash the directory with everything below it, under another name: as one command, at one
/// new revision. At most 10,000 keys and 16 MiB. The copies have no lease. Where one of them would take the place of another key,
/// nothing is done unless `"overwrite": true` is asked for; a directory that is there already is no hindrance.
#[utoipa::path(
    post, path = "/v1/keys/{key}:copy", operation_id = "copyKey", tag = "keys",
    params(("key" = String, Path, description = "The key or directory, without its leading slash", example = "app/db"), CopyQuery),
    request_body(content = CopyRequest, content_type = "application/json"),
    responses((status = 200, description = "Copied, or what would be", body = CopiedKeys)),
)]
#[expect(dead_code, reason = "stands for a verb that the route of POST tells apart")]
fn copy_key() {}

/// Move a key or a directory
///
/// As `:copy`, and deletes what was there at the same revision: nobody sees both or neither. What is moved keeps its lease and what is
/// left of its time to live; a directory with one counts as there where another has its name.
#[utoipa::path(
    post, path = "/v1/keys/{key}:move", operation_id = "moveKey", tag = "keys",
    params(("key" = String, Path, description = "The key or directory, without its leading slash", example = "app/db"), CopyQuery),
    request_body(content = CopyRequest, content_type = "application/json"),
    responses((status = 200, description = "Moved, or what would be", body = CopiedKeys)),
)]
#[expect(dead_code, reason = "stands for a verb that the route of POST tells apart")]
fn move_key() {}

/// Copy a key named literally
#[utoipa::path(
    post, path = "/v1/keys:copy", operation_id = "copyLiteralKey", tag = "keys", params(CopyQuery),
    request_body(content = CopyRequest, content_type = "application/json"),
    responses((status = 200, description = "Copied, or what would be", body = CopiedKeys)),
)]
pub async fn copy_literal(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = copy::copy(&api, &parts, "", Verb::Copy, body).await;
    api.finish(result)
}

/// Move a key named literally
#[utoipa::path(
    post, path = "/v1/keys:move", operation_id = "moveLiteralKey", tag = "keys", params(CopyQuery),
    request_body(content = CopyRequest, content_type = "application/json"),
    responses((status = 200, description = "Moved, or what would be", body = CopiedKeys)),
)]
pub async fn move_literal(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = copy::copy(&api, &parts, "", Verb::Move, body).await;
    api.finish(result)
}
