//! `/v1/history`: the versions of a key, what differs between two of them, and going back to one.

use std::time::Duration;

use axum::extract::{Request, State as Extract};
use axum::response::Response;
use http::HeaderValue;
use http::header::ALLOW;
use http::request::Parts;
use serde::Deserialize;
use similar::TextDiff;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::format::{self, Change, Object, is_json};
use super::keys::write::unexpected;
use super::schema::{Diff, History, RolledBack};
use crate::api::extract::json::{self, Count};
use crate::api::extract::query::{Between, Literal, Literal64, Span, parameters};
use crate::api::extract::{Target, Verb, query, target};
use crate::api::problem::{Code, Problem};
use crate::api::{Answer, State};
use crate::machine::Restored;
use crate::model::{Command, Event, Key, KeyRange, Outcome, Record, Revision, Rollback};
use crate::service::{Consistency, Reader};

const HISTORY: &str = "/v1/history";
/// The versions of a page when the client names no limit, and at most.
const DEFAULT_VERSIONS: u64 = 100;
const MAX_VERSIONS: u64 = 1000;
/// After this long, a line diff settles for an approximation.
const DIFF_PATIENCE: Duration = Duration::from_millis(500);

#[derive(OpenApi)]
#[openapi(paths(rollback))]
struct Verbs;

pub(super) fn router() -> OpenApiRouter<State> {
    let router = OpenApiRouter::with_openapi(Verbs::openapi())
        .routes(routes!(get_history))
        .routes(routes!(get_literal_history))
        .routes(routes!(rollback_literal));
    let post = axum::routing::post(post_history);
    router.route("/v1/history/{*key}", post.clone()).route("/v1/history/", post)
}

parameters! {
    /// What can be asked of a history.
    pub struct HistoryQuery {
        /// The key, literally, for keys that a path cannot say. Only at `/v1/history`.
        key: Literal = "key", "q1mi";
        /// The key, literally, in base64url. Only at `/v1/history`.
        key64: Literal64 = "key64", "L2FwcC9kYg";
        /// `linearizable` (default) or `serializable`.
        consistency: Consistency = "consistency", "serializable";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// At most this many versions. Default 100, at most 1000.
        limit: u64 = "limit", 10;
        /// Only versions older than this revision: the `before` of the page before.
        before: Revision = "before", 9;
        /// Answer with what differs between the states at two revisions instead.
        diff: Between = "diff", "2..3";
    }
}

parameters! {
    /// What can be asked of a rollback.
    pub struct RollbackQuery {
        /// The key, literally, for keys that a path cannot say. Only at `/v1/history:rollback`.
        key: Literal = "key", "q1mi";
        /// The key, literally, in base64url. Only at `/v1/history:rollback`.
        key64: Literal64 = "key64", "L2FwcC9kYg";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// Change nothing, and tell what would change.
        dry_run: bool = "dryRun", true;
    }
}

/// Where to go back to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"to": 7}))]
pub struct RollbackRequest {
    /// The revision whose state comes back.
    #[schema(value_type = u64, minimum = 1, maximum = 9_223_372_036_854_775_807_u64)]
    to: Count,
}

/// Read the versions of a key
///
/// Those that are still kept, newest first. With `diff=7..9` what differs between the states at two revisions: a JSON
/// Patch when both are JSON, a unified diff when both are text.
#[utoipa::path(
    get, path = "/v1/history/{*key}", operation_id = "getHistory", tag = "history",
    params(("key" = String, Path, description = "The key, without its leading slash", example = "app/db"), HistoryQuery),
    responses((status = 200, description = "The versions, or the difference", body = HistoryOrDiff)),
)]
pub async fn get_history(Extract(api): Extract<State>, request: Request) -> Response {
    let result = get(&api, &request.into_parts().0).await;
    api.finish(result)
}

/// The answer to reading a history.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum HistoryOrDiff {
    History(History),
    Diff(Diff),
}

/// Read the versions of a key named literally
#[utoipa::path(
    get, path = "/v1/history", operation_id = "getLiteralHistory", tag = "history", params(HistoryQuery),
    responses((status = 200, description = "The versions, or the difference", body = HistoryOrDiff)),
)]
pub async fn get_literal_history(extract: Extract<State>, request: Request) -> Response {
    get_history(extract, request).await
}

/// Go back to an earlier state
///
/// Gives a key, or everything in a directory, the state that it had at a revision: as one command, at one new revision.
/// At most 10,000 keys and 16 MiB.
#[utoipa::path(
    post, path = "/v1/history/{key}:rollback", operation_id = "rollback", tag = "history",
    params(("key" = String, Path, description = "The key or directory, without its leading slash", example = "app/db"), RollbackQuery),
    request_body(content = RollbackRequest, content_type = "application/json"),
    responses((status = 200, description = "Rolled back, or what would be", body = RolledBack)),
)]
#[expect(dead_code, reason = "stands for a verb that the route of POST tells apart")]
fn rollback() {}

/// Go back to an earlier state of a key named literally
#[utoipa::path(
    post, path = "/v1/history:rollback", operation_id = "rollbackLiteral", tag = "history", params(RollbackQuery),
    request_body(content = RollbackRequest, content_type = "application/json"),
    responses((status = 200, description = "Rolled back, or what would be", body = RolledBack)),
)]
pub async fn rollback_literal(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = go_back(&api, &parts, "", body).await;
    api.finish(result)
}

async fn post_history(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let raw = parts.uri.path().strip_prefix(HISTORY).unwrap_or_default();
    let result = if let Some(path) = Verb::Rollback.strip(raw) {
        go_back(&api, &parts, path, body).await
    } else {
        let problem = Problem::new(Code::MethodNotAllowed, "POST goes back by :rollback at the end of the path");
        Err(problem.with_header(ALLOW, HeaderValue::from_static("GET,HEAD")))
    };
    api.finish(result)
}

async fn get(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let mut query: HistoryQuery = query(parts.uri.query())?;
    let raw = parts.uri.path().strip_prefix(HISTORY).unwrap_or_default();
    let key = target(raw, query.key.take(), query.key64.take())?.one_key("a history")?;
    let limit = query.limit.unwrap_or(DEFAULT_VERSIONS);
    if limit == 0 || limit > MAX_VERSIONS {
        return Err(Problem::invalid(format!("`limit` has to be from 1 to {MAX_VERSIONS}")));
    }
    if query.diff.is_some() && (query.limit.is_some() || query.before.is_some()) {
        return Err(Problem::invalid("`diff` goes with neither `limit` nor `before`"));
    }
    let call = api.call(query.timeout)?;
    let reader = api.service().reader(&call, query.consistency.unwrap_or_default()).await?;
    match query.diff {
        Some(between) => diff(&reader, key, between).await,
        None => versions(&reader, key, query.before, limit).await,
    }
}

async fn versions(reader: &Reader, key: Key, before: Option<Revision>, limit: u64) -> Result<Answer, Problem> {
    let revision = reader.revision();
    let events = reader.history(key.clone(), before, usize::try_from(limit).unwrap_or(usize::MAX)).await?;
    if events.is_empty() && before.is_none() && reader.get(&key, None)?.is_none() {
        let detail = format!("there is no key {key}, nor is any change of it kept");
        return Err(Problem::new(Code::KeyNotFound, detail).at(revision));
    }
    let mut out = Vec::with_capacity(512);
    let mut object = Object::begin(&mut out);
    object.number("revision", revision.get());
    object.array("items", &events, version);
    if let Some(last) = events.last().filter(|_| events.len() as u64 == limit) {
        object.number("before", last.revision.get());
    }
    object.end();
    Ok(Answer::json(revision, out))
}

fn version(out: &mut Vec<u8>, event: &Event) {
    let mut object = Object::begin(out);
    object.number("revision", event.revision.get());
    object.string("time", &format::time(event.time));
    if let Some(author) = &event.author {
        object.string("author", author);
    }
    object.string("operation", format::operation(event.operation));
    let change = Change {
        kind: event.kind,
        key: &event.key,
        record: event.record.as_ref(),
        revision: event.revision,
        previous: None,
        keys_only: false,
    };
    format::change_members(&mut object, &change, None);
    object.end();
}

async fn diff(reader: &Reader, key: Key, between: Between) -> Result<Answer, Problem> {
    let from = reader.get(&key, Some(between.from))?.map(|found| found.record);
    let to = reader.get(&key, Some(between.to))?.map(|found| found.record);
    let revision = reader.revision();
    if from.is_none() && to.is_none() {
        let detail = format!("there was no key {key} at either revision");
        return Err(Problem::new(Code::KeyNotFound, detail).at(revision));
    }
    let compared = tokio::task::spawn_blocking(move || diff_json(&key, between, from.as_ref(), to.as_ref()));
    let json =
        compared.await.map_err(|error| Problem::new(Code::Internal, format!("the diff was cut off: {error}")))?;
    Ok(Answer::json(revision, json))
}

fn diff_json(key: &Key, between: Between, from: Option<&Record>, to: Option<&Record>) -> Vec<u8> {
    let value = |record: Option<&Record>| record.map(|record| record.value.clone()).unwrap_or_default();
    let (old, new) = (value(from), value(to));
    let mut out = Vec::with_capacity(512);
    let mut object = Object::begin(&mut out);
    format::key_members(&mut object, key);
    object.number("from", between.from.get());
    object.number("to", between.to.get());
    object.boolean("equal", from.is_some() == to.is_some() && old == new);
    match (from, to) {
        (Some(_), None) => object.string("only", "from"),
        (None, Some(_)) => object.string("only", "to"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    if let Some(patch) = json_diff(from, to) {
        object.string("format", "json-patch");
        object.raw("diff", &patch);
    } else if let (Ok(old), Ok(new)) = (std::str::from_utf8(&old), std::str::from_utf8(&new)) {
        object.string("format", "unified");
        object.string("diff", &unified(between, old, new));
    } else {
        object.string("format", "binary");
        object.number("fromBytes", old.len() as u64);
        object.number("toBytes", new.len() as u64);
    }
    object.end();
    out
}

/// The JSON Patch from one to the other, when both are there and JSON by their types.
fn json_diff(from: Option<&Record>, to: Option<&Record>) -> Option<Vec<u8>> {
    let document = |record: Option<&Record>| -> Option<serde_json::Value> {
        let record = record.filter(|record| record.content_type.as_deref().is_some_and(is_json))?;
        serde_json::from_slice(&record.value).ok()
    };
    serde_json::to_vec(&json_patch::diff(&document(from)?, &document(to)?)).ok()
}

fn unified(between: Between, old: &str, new: &str) -> String {
    let diff = TextDiff::configure().timeout(DIFF_PATIENCE).diff_lines(old, new);
    diff.unified_diff().header(&between.from.to_string(), &between.to.to_string()).to_string()
}

async fn go_back(api: &State, parts: &Parts, path: &str, body: axum::body::Body) -> Result<Answer, Problem> {
    let mut query: RollbackQuery = query(parts.uri.query())?;
    let target = target(path, query.key.take(), query.key64.take())?;
    let (call, body) = api.arrive(parts, body, query.timeout).await?;
    let RollbackRequest { to } = json::read(&body)?;
    if to.0 == 0 {
        return Err(Problem::invalid("`to` has to be a revision, 1 or more"));
    }
    let rollback = Rollback { range: range(&target), to: Revision(to.0) };
    if query.dry_run == Some(true) {
        let reader = api.service().reader(&call, Consistency::Linearizable).await?;
        return preview(&reader, rollback).await;
    }
    let done = api.service().write(&call, Command::Rollback(rollback)).await?;
    let Outcome::RolledBack { restored, deleted } = done.outcome else { return Err(unexpected(&done.outcome)) };
    let mut out = Vec::with_capacity(96);
    let mut object = Object::begin(&mut out);
    rolled_back_members(&mut object, done.revision, Revision(to.0), restored, deleted);
    object.end();
    Ok(Answer::json(done.revision, out).with_replayed(done.replayed))
}

fn range(target: &Target) -> KeyRange {
    if target.directory { KeyRange::prefix(target.key.bytes().clone()) } else { KeyRange::single(&target.key) }
}

fn rolled_back_members(object: &mut Object<'_>, revision: Revision, to: Revision, restored: u64, deleted: u64) {
    object.number("revision", revision.get());
    object.number("to", to.get());
    object.number("restored", restored);
    object.number("deleted", deleted);
}

/// What a rollback would change.
async fn preview(reader: &Reader, rollback: Rollback) -> Result<Answer, Problem> {
    let to = rollback.to;
    let plan = reader.plan_rollback(rollback).await?;
    let (mut restored, mut deleted) = (Vec::new(), Vec::new());
    for change in &plan.changes {
        match change {
            Restored::Put { key, .. } => restored.push(key),
            Restored::Delete { key } => deleted.push(key),
        }
    }
    let mut out = Vec::with_capacity(256);
    let mut object = Object::begin(&mut out);
    rolled_back_members(&mut object, reader.revision(), to, restored.len() as u64, deleted.len() as u64);
    object.boolean("dryRun", true);
    format::key_names(&mut object, "restoredKeys", restored.iter().copied());
    format::key_names(&mut object, "deletedKeys", deleted.iter().copied());
    object.end();
    Ok(Answer::json(reader.revision(), out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &'static [u8], content_type: Option<&str>) -> Record {
        Record {
            value: value.into(),
            content_type: content_type.map(Into::into),
            create_revision: Revision(2),
            mod_revision: Revision(2),
            version: 1,
            lease: None,
        }
    }

    fn difference(from: Option<&Record>, to: Option<&Record>) -> serde_json::Value {
        let between = Between { from: Revision(7), to: Revision(9) };
        serde_json::from_slice(&diff_json(&Key::new("/a").unwrap(), between, from, to)).unwrap()
    }

    #[test]
    fn json_differs_by_a_patch() {
        let json = Some("application/json");
        let diff = difference(Some(&record(b"{\"a\":1}", json)), Some(&record(b"{\"a\":2}", json)));
        assert_eq!(diff["format"], "json-patch");
        assert_eq!(diff["diff"], serde_json::json!([{"op": "replace", "path": "/a", "value": 2}]));
        assert_eq!(diff["equal"], false);
    }

    #[test]
    fn text_differs_by_lines() {
        let diff = difference(Some(&record(b"a\nb\n", None)), Some(&record(b"a\nc\n", None)));
        assert_eq!(diff["format"], "unified");
        assert_eq!(diff["diff"], "--- 7\n+++ 9\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
    }

    #[test]
    fn binary_says_so_with_its_sizes() {
        let diff = difference(Some(&record(b"\xff", None)), Some(&record(b"\xfe\xfe", None)));
        assert_eq!((&diff["format"], &diff["fromBytes"], &diff["toBytes"]), (&"binary".into(), &1.into(), &2.into()));
        assert!(diff.get("diff").is_none());
    }

    #[test]
    fn a_side_without_the_key_is_named() {
        assert_eq!(difference(None, Some(&record(b"x", None)))["only"], "to");
        assert_eq!(difference(Some(&record(b"", None)), None)["equal"], false);
    }
}
