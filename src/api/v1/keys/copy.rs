//! `:copy` and `:move`: what is at a key, or everything in a directory, under another name.

use http::request::Parts;
use serde::Deserialize;
use utoipa::ToSchema;

use super::write::unexpected;
use crate::api::extract::query::{Literal, Literal64, Span, parameters};
use crate::api::extract::{Target, Verb, json, query, target};
use crate::api::problem::{Code, Problem};
use crate::api::v1::format::{self, Object};
use crate::api::{Answer, State};
use crate::model::{Command, CopyKeys, Outcome, Revision};
use crate::service::{Consistency, Reader};

parameters! {
    /// What can be asked of `:copy` and `:move`.
    pub struct CopyQuery {
        /// The key, literally, for keys that a path cannot say. Only at `/v1/keys:copy` and `/v1/keys:move`.
        key: Literal = "key", "q1mi";
        /// The key, literally, in base64url. Only at `/v1/keys:copy` and `/v1/keys:move`.
        key64: Literal64 = "key64", "L2FwcC9kYg";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// Change nothing, and tell what would be written.
        dry_run: bool = "dryRun", true;
    }
}

/// Under which name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"to": "/app/database", "overwrite": true}))]
pub struct CopyRequest {
    /// The other name; of a directory, with its trailing slash.
    #[serde(default)]
    to: Option<String>,
    /// The same in base64url, for a name that is not UTF-8.
    #[serde(default)]
    to64: Option<String>,
    /// Replace what is there. Without it, nothing is done where something is.
    #[serde(default)]
    overwrite: bool,
}

/// Copies or moves.
///
/// # Errors
/// Those of reading a request and of a write.
pub async fn copy(
    api: &State,
    parts: &Parts,
    path: &str,
    verb: Verb,
    body: axum::body::Body,
) -> Result<Answer, Problem> {
    let mut query: CopyQuery = query(parts.uri.query())?;
    let target = target(path, query.key.take(), query.key64.take())?;
    let (call, body) = api.arrive(parts, body, query.timeout).await?;
    let copy = asked(target, verb, json::read(&body)?)?;
    if query.dry_run == Some(true) {
        let reader = api.service().reader(&call, Consistency::Linearizable).await?;
        return preview(&reader, copy).await;
    }
    let done = api.service().write(&call, Command::Copy(copy)).await?;
    let Outcome::Copied { keys, overwritten } = done.outcome else { return Err(unexpected(&done.outcome)) };
    let mut out = Vec::with_capacity(96);
    let mut object = Object::begin(&mut out);
    copied_members(&mut object, done.revision, keys, overwritten);
    object.end();
    Ok(Answer::json(done.revision, out).with_replayed(done.replayed))
}

fn asked(target: Target, verb: Verb, request: CopyRequest) -> Result<CopyKeys, Problem> {
    let CopyRequest { to, to64, overwrite } = request;
    let to = json::key("to", to, to64)?;
    let Target { key: from, directory, literal } = target;
    if directory && !to.is_directory() {
        let detail = format!("{from} is a directory, and so has `to` to be: {to} does not end with a slash");
        return Err(Problem::new(Code::NotADirectory, detail));
    }
    if !directory && !literal && to.is_directory() {
        let detail =
            format!("{from} is a key, and `to` names a directory: name the key that it becomes, as in {to}name");
        return Err(Problem::invalid(detail));
    }
    Ok(CopyKeys { from, to, directory, overwrite, remove: verb == Verb::Move })
}

fn copied_members(object: &mut Object<'_>, revision: Revision, keys: u64, overwritten: u64) {
    object.number("revision", revision.get());
    object.number("keys", keys);
    object.number("overwritten", overwritten);
}

/// What a copy would write.
async fn preview(reader: &Reader, copy: CopyKeys) -> Result<Answer, Problem> {
    let plan = reader.plan_copy(copy).await?;
    let mut out = Vec::with_capacity(256);
    let mut object = Object::begin(&mut out);
    copied_members(&mut object, reader.revision(), plan.keys, plan.overwritten().count() as u64);
    object.boolean("dryRun", true);
    format::key_names(&mut object, "writtenKeys", plan.writes.iter().map(|copied| &copied.to));
    format::key_names(&mut object, "overwrittenKeys", plan.overwritten());
    object.end();
    Ok(Answer::json(reader.revision(), out))
}
