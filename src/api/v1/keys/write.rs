//! PUT, PATCH, POST and DELETE of keys and directories: from a request to a command, from its outcome to an answer.

use http::header::{HeaderName, LOCATION};
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::copy::copy;
use super::read::KEYS;
use crate::api::extract::query::{Literal, Literal64, Span, parameters};
use crate::api::extract::{
    Body, ConditionQuery, Target, Verb, condition, idempotency, query, refuse_conditions, target,
};
use crate::api::problem::{Code, Problem};
use crate::api::v1::format::{self, Object, Values};
use crate::api::{Answer, State};
use crate::model::{
    Append, Attach, Command, CreateDirectory, Delete, DeleteTarget, Increment, KeyValue, LeaseId, Outcome, Patch,
    PatchKind, Put, Record, Refresh, Revision,
};
use crate::service::{Call, Done};

/// What a PATCH takes (RFC 5789, section 3.1).
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// The media types of patches.
pub(super) const PATCH_TYPES: &str = "application/merge-patch+json, application/json-patch+json";

parameters! {
    /// What can be asked of PUT.
    pub struct PutQuery {
        /// The key, literally, for keys that a path cannot say. Only at `/v1/keys`.
        key: Literal = "key", "q1mi";
        /// The key, literally, in base64url. Only at `/v1/keys`.
        key64: Literal64 = "key64", "L2FwcC9kYg";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// The key dies after this time, with a lease of its own, unless it is written or refreshed before.
        ttl: Span = "ttl", "30s";
        /// The key dies with this lease.
        lease: LeaseId = "lease", "694d8a1f3c2b";
        /// Keep the lease that the key has. Without it, a plain PUT detaches the key from its lease.
        keep_lease: bool = "keepLease", true;
        /// With `ttl` and no body: start the key's own lease anew. Makes no revision and wakes no watcher.
        refresh: bool = "refresh", true;
        /// Only if the key (or directory) exists, or only if it does not.
        prev_exist: bool = "prevExist", false;
        /// Only if the key was last changed at this revision.
        prev_revision: Revision = "prevRevision", 9;
        /// Only if the key has this value.
        prev_value: String = "prevValue", "old";
        /// Answer with what was replaced, too.
        prev_kv: bool = "prevKv", true;
    }
}

parameters! {
    /// What can be asked of PATCH.
    pub struct PatchQuery {
        /// The key, literally, for keys that a path cannot say. Only at `/v1/keys`.
        key: Literal = "key", "q1mi";
        /// The key, literally, in base64url. Only at `/v1/keys`.
        key64: Literal64 = "key64", "L2FwcC9kYg";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// Only if the key exists, or only if it does not.
        prev_exist: bool = "prevExist", true;
        /// Only if the key was last changed at this revision.
        prev_revision: Revision = "prevRevision", 9;
        /// Only if the key has this value.
        prev_value: String = "prevValue", "{}";
        /// Answer with what was replaced, too.
        prev_kv: bool = "prevKv", true;
    }
}

parameters! {
    /// What can be asked of POST to a directory.
    pub struct AppendQuery {
        /// The directory, literally, ending in a slash. Only at `/v1/keys`.
        key: Literal = "key", "queue/";
        /// The directory, literally, ending in a slash, in base64url. Only at `/v1/keys`.
        key64: Literal64 = "key64", "L3F1ZXVlLw";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// The new key dies after this time, with a lease of its own.
        ttl: Span = "ttl", "30s";
        /// The new key dies with this lease.
        lease: LeaseId = "lease", "694d8a1f3c2b";
    }
}

parameters! {
    /// What can be asked of an increment.
    pub struct IncrementQuery {
        /// The key, literally, for keys that a path cannot say. Only at `/v1/keys:increment`.
        key: Literal = "key", "q1mi";
        /// The key, literally, in base64url. Only at `/v1/keys:increment`.
        key64: Literal64 = "key64", "L2FwcC9jb3VudGVy";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// What to add. Default 1.
        by: i64 = "by", -3;
        /// Only if the key exists, or only if it does not.
        prev_exist: bool = "prevExist", true;
        /// Only if the key was last changed at this revision.
        prev_revision: Revision = "prevRevision", 9;
        /// Only if the key has this value.
        prev_value: String = "prevValue", "41";
    }
}

parameters! {
    /// What can be asked of DELETE.
    pub struct DeleteQuery {
        /// The key, literally, for keys that a path cannot say. Only at `/v1/keys`.
        key: Literal = "key", "q1mi";
        /// The key, literally, in base64url. Only at `/v1/keys`.
        key64: Literal64 = "key64", "L2FwcC9kYg";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// Of a directory: with everything below it. With a literal key that ends in a slash, its presence asks for
        /// the directory.
        recursive: bool = "recursive", true;
        /// Only if the key (or directory) exists.
        prev_exist: bool = "prevExist", true;
        /// Only if the key was last changed at this revision.
        prev_revision: Revision = "prevRevision", 9;
        /// Only if the key has this value.
        prev_value: String = "prevValue", "old";
        /// Answer with what was deleted, too.
        prev_kv: bool = "prevKv", true;
    }
}

/// The raw path behind `/v1/keys`.
fn below(parts: &Parts) -> &str {
    parts.uri.path().strip_prefix(KEYS).unwrap_or_default()
}

/// The body, and the call with the promise of an idempotency key over it.
async fn arrive(
    api: &State,
    parts: &Parts,
    body: axum::body::Body,
    timeout: Option<Span>,
) -> Result<(Call, Body), Problem> {
    let mut call = api.call(timeout)?;
    let limit = api.service().limits().max_request_bytes;
    let body = Body::read(&parts.headers, body, limit, call.deadline).await?;
    call.idempotency = idempotency(parts, &body.bytes)?;
    Ok((call, body))
}

/// Refuses a body where nothing would be done with it.
fn refuse_body(body: &Body, what: &str) -> Result<(), Problem> {
    if body.bytes.is_empty() { Ok(()) } else { Err(Problem::invalid(format!("{what} takes no body"))) }
}

/// What a write does with the key's lease.
fn attach(api: &State, ttl: Option<Span>, lease: Option<LeaseId>, keep: bool) -> Result<Attach, Problem> {
    match (ttl, lease, keep) {
        (None, None, false) => Ok(Attach::Detach),
        (None, None, true) => Ok(Attach::Keep),
        (None, Some(lease), false) => Ok(Attach::Lease(lease)),
        (Some(ttl), None, false) => Ok(Attach::Own { id: api.service().new_lease_id(), ttl: ttl.0 }),
        (Some(_), Some(_), _) | (Some(_), _, true) | (_, Some(_), true) => {
            Err(Problem::invalid("of `ttl`, `lease` and `keepLease` a request can have only one"))
        }
    }
}

/// PUT: a value, a directory, or a refreshed lease.
///
/// # Errors
/// Those of reading a request and of a write.
pub async fn put(api: &State, parts: Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let mut query: PutQuery = query(parts.uri.query())?;
    let target = target(below(&parts), query.key.take(), query.key64.take())?;
    let conditions = ConditionQuery {
        prev_exist: query.prev_exist,
        prev_revision: query.prev_revision,
        prev_value: query.prev_value.take(),
    };
    let condition = condition(conditions, &parts.headers)?;
    let (call, body) = arrive(api, &parts, body, query.timeout).await?;
    // While the write is under way, others take its place in the processor's cache: what is not needed goes before.
    drop(parts);
    let previous = query.prev_kv.unwrap_or(false);
    let command = if query.refresh == Some(true) {
        refuse_body(&body, "`refresh=true`")?;
        let refresh = refresh(&query, target)?;
        Command::Refresh { refresh, condition }
    } else {
        let attach = attach(api, query.ttl, query.lease, query.keep_lease.unwrap_or(false))?;
        if target.directory {
            refuse_body(&body, "a directory")?;
            if query.prev_kv.is_some() {
                return Err(Problem::invalid("`prevKv` is for keys, and this is a directory"));
            }
            Command::CreateDirectory { create: CreateDirectory { key: target.key, attach }, condition }
        } else {
            let Body { bytes, content_type } = body;
            let put = Put { key: target.key, value: Some(bytes), content_type, attach, previous };
            Command::Put { put, condition }
        }
    };
    let done = api.service().write(&call, command).await?;
    written(api, done, previous, Values::Omit)
}

fn refresh(query: &PutQuery, target: Target) -> Result<Refresh, Problem> {
    if query.lease.is_some() || query.keep_lease.is_some() || query.prev_kv.is_some() {
        return Err(Problem::invalid("`refresh=true` goes with `ttl` and conditions alone"));
    }
    let ttl = query.ttl.ok_or_else(|| Problem::invalid("`refresh=true` needs `ttl`"))?;
    Ok(Refresh { key: target.key, ttl: ttl.0 })
}

/// PATCH by JSON Merge Patch or JSON Patch.
///
/// # Errors
/// Those of reading a request and of a write.
pub async fn patch(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let mut query: PatchQuery = query(parts.uri.query())?;
    let key = target(below(parts), query.key.take(), query.key64.take())?.one_key("PATCH")?;
    let conditions = ConditionQuery {
        prev_exist: query.prev_exist,
        prev_revision: query.prev_revision,
        prev_value: query.prev_value.take(),
    };
    let condition = condition(conditions, &parts.headers)?;
    let (call, body) = arrive(api, parts, body, query.timeout).await?;
    let kind = patch_kind(body.content_type.as_deref())?;
    check_patch(kind, &body.bytes)?;
    let previous = query.prev_kv.unwrap_or(false);
    let patch = Patch { key, kind, document: body.bytes, previous };
    let done = api.service().write(&call, Command::Patch { patch, condition }).await?;
    written(api, done, previous, Values::Show)
}

/// A patch that is none is refused before any condition is looked at (RFC 9110, section 13.2.1).
fn check_patch(kind: PatchKind, document: &[u8]) -> Result<(), Problem> {
    if document.is_empty() {
        return Err(Problem::invalid("the body is empty; a patch is needed"));
    }
    match kind {
        PatchKind::Merge => Ok(()),
        PatchKind::Json => serde_json::from_slice::<json_patch::Patch>(document)
            .map(|_| ())
            .map_err(|error| Problem::invalid(format!("the body is not a JSON Patch: {error}"))),
    }
}

fn patch_kind(content_type: Option<&str>) -> Result<PatchKind, Problem> {
    let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/merge-patch+json") {
        Ok(PatchKind::Merge)
    } else if essence.eq_ignore_ascii_case("application/json-patch+json") {
        Ok(PatchKind::Json)
    } else {
        let detail = format!("PATCH tells its two languages apart by Content-Type: {PATCH_TYPES}");
        Err(Problem::new(Code::UnsupportedMediaType, detail)
            .with_header(ACCEPT_PATCH, HeaderValue::from_static(PATCH_TYPES)))
    }
}

/// POST: a verb on a key, or an in-order key of a directory.
///
/// # Errors
/// Those of reading a request and of a write.
pub async fn post(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let raw = below(parts);
    if let Some(path) = Verb::Increment.strip(raw) {
        return increment(api, parts, path, body).await;
    }
    for verb in [Verb::Copy, Verb::Move] {
        if let Some(path) = verb.strip(raw) {
            return copy(api, parts, path, verb, body).await;
        }
    }
    append(api, parts, body).await
}

/// Adds to a number.
///
/// # Errors
/// Those of reading a request and of a write.
pub async fn increment(api: &State, parts: &Parts, path: &str, body: axum::body::Body) -> Result<Answer, Problem> {
    let mut query: IncrementQuery = query(parts.uri.query())?;
    let key = target(path, query.key.take(), query.key64.take())?.one_key(":increment")?;
    let conditions = ConditionQuery {
        prev_exist: query.prev_exist,
        prev_revision: query.prev_revision,
        prev_value: query.prev_value.take(),
    };
    let condition = condition(conditions, &parts.headers)?;
    let (call, body) = arrive(api, parts, body, query.timeout).await?;
    refuse_body(&body, ":increment")?;
    let increment = Increment { key, by: query.by.unwrap_or(1), condition };
    let done = api.service().write(&call, Command::Increment(increment)).await?;
    numbered(api, &done)
}

/// What a POST is that asks for nothing by a verb, to whoever misspelt one.
const BARE_POST: &str = "POST without a verb (`:increment`, `:copy`, `:move`)";

async fn append(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let mut query: AppendQuery = query(parts.uri.query())?;
    let directory = target(below(parts), query.key.take(), query.key64.take())?.any_directory(BARE_POST)?;
    refuse_conditions(&parts.headers)?;
    let (call, body) = arrive(api, parts, body, query.timeout).await?;
    let attach = attach(api, query.ttl, query.lease, false)?;
    let append = Append { directory, value: body.bytes, content_type: body.content_type, attach };
    let done = api.service().write(&call, Command::Append(append)).await?;
    let location = match &done.outcome {
        Outcome::Written { now, .. } => HeaderValue::try_from(format::location(&now.key)).ok(),
        _ => None,
    };
    let answer = written(api, done, false, Values::Omit)?;
    Ok(match location {
        Some(location) => answer.with_header(LOCATION, location),
        None => answer,
    })
}

/// DELETE of a key or a directory.
///
/// # Errors
/// Those of reading a request and of a write.
pub async fn delete(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let mut query: DeleteQuery = query(parts.uri.query())?;
    let target = target(below(parts), query.key.take(), query.key64.take())?;
    let conditions = ConditionQuery {
        prev_exist: query.prev_exist,
        prev_revision: query.prev_revision,
        prev_value: query.prev_value.take(),
    };
    let condition = condition(conditions, &parts.headers)?;
    if condition.exists == Some(false) {
        return Err(Problem::invalid("what must not exist cannot be deleted"));
    }
    let (call, body) = arrive(api, parts, body, query.timeout).await?;
    refuse_body(&body, "DELETE")?;
    let previous = query.prev_kv.unwrap_or(false);
    let delete = Delete { target: delete_target(target, query.recursive)?, previous };
    let done = api.service().write(&call, Command::Delete { delete, condition }).await?;
    deleted(&done, previous)
}

fn delete_target(target: Target, recursive: Option<bool>) -> Result<DeleteTarget, Problem> {
    if target.directory || recursive.is_some() {
        let key = target.any_directory("`recursive`")?;
        Ok(DeleteTarget::Directory { key, recursive: recursive.unwrap_or(false) })
    } else {
        Ok(DeleteTarget::Key(target.key))
    }
}

/// The answer to a write of one key: the key as it is, and on request what was replaced.
fn written(api: &State, done: Done, previous: bool, values: Values) -> Result<Answer, Problem> {
    let Outcome::Written { now, created, previous: replaced, changed: _ } = done.outcome else {
        return Err(unexpected(&done.outcome));
    };
    let mut json = Vec::with_capacity(256);
    let mut object = Object::begin(&mut json);
    key_members(api, &mut object, &now, values);
    if previous {
        previous_member(&mut object, &now, replaced.as_ref());
    }
    object.end();
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Answer::json(done.revision, json)
        .with_status(status)
        .with_revision_tag(now.record.mod_revision)
        .with_replayed(done.replayed))
}

fn key_members(api: &State, object: &mut Object<'_>, now: &KeyValue, values: Values) {
    let ttl = now.record.lease.and_then(|lease| api.service().lease_remaining(lease));
    format::key_value_members(object, &now.key, &now.record, ttl, values);
}

fn previous_member(object: &mut Object<'_>, now: &KeyValue, replaced: Option<&Record>) {
    match replaced {
        Some(replaced) => format::key_value(object.member("prev"), &now.key, replaced, None, Values::Show),
        None => object.raw("prev", b"null"),
    }
}

fn numbered(api: &State, done: &Done) -> Result<Answer, Problem> {
    let Outcome::Number { number, now, created } = &done.outcome else { return Err(unexpected(&done.outcome)) };
    let mut json = Vec::with_capacity(256);
    let mut object = Object::begin(&mut json);
    object.raw("number", number.to_string().as_bytes());
    key_members(api, &mut object, now, Values::Omit);
    object.end();
    let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Answer::json(done.revision, json)
        .with_status(status)
        .with_revision_tag(now.record.mod_revision)
        .with_replayed(done.replayed))
}

fn deleted(done: &Done, show: bool) -> Result<Answer, Problem> {
    let Outcome::Deleted { deleted, previous } = &done.outcome else { return Err(unexpected(&done.outcome)) };
    let mut json = Vec::with_capacity(128);
    let mut object = Object::begin(&mut json);
    object.number("revision", done.revision.get());
    object.number("deleted", *deleted);
    if show {
        format::key_values(&mut object, "prev", previous, Values::Show, |_| None);
    }
    object.end();
    Ok(Answer::json(done.revision, json).with_replayed(done.replayed))
}

/// An outcome of another kind than the command's: a bug here or below, and never a reason to guess.
pub(crate) fn unexpected(outcome: &Outcome) -> Problem {
    tracing::error!(?outcome, "a command came to an outcome of another kind");
    Problem::new(Code::Internal, "the command was carried out, but came to an outcome of another kind")
}
