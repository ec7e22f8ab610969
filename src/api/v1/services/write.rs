//! PUT, POST and DELETE of instances: from a request to the service, from its outcome to an answer.

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use utoipa::ToSchema;

use super::read::instance_json;
use super::schema::StatusWord;
use super::show;
use crate::api::extract::json;
use crate::api::extract::query::{Span, parameters};
use crate::api::extract::{body, query};
use crate::api::problem::Problem;
use crate::api::v1::format::Object;
use crate::api::v1::keys::write::unexpected;
use crate::api::{Answer, State};
use crate::model::{KeyValue, Outcome, Revision, Ttl};
use crate::service::Call;
use crate::service::registry::{Document, Instance, InstanceName, Status};

/// How long an instance lives without a heartbeat when it does not say: 15 s.
const DEFAULT_TTL: Ttl = Ttl(15_000);

parameters! {
    /// What can be asked of registering.
    pub struct RegisterQuery {
        /// How long the instance lives without a heartbeat. Default 15 s.
        ttl: Span = "ttl", "15s";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
    }
}

parameters! {
    /// What can be asked of changing what is registered.
    pub struct ChangeQuery {
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
    }
}

/// How an instance is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"status": "draining"}))]
pub struct StatusRequest {
    status: StatusWord,
}

impl From<StatusWord> for Status {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Passing => Self::Passing,
            StatusWord::Warning => Self::Warning,
            StatusWord::Critical => Self::Critical,
            StatusWord::Draining => Self::Draining,
        }
    }
}

/// Registers an instance, or registers it anew.
///
/// # Errors
/// Those of reading a request and of a write.
pub(super) async fn register(api: &State, parts: &Parts, name: &InstanceName, body: Body) -> Result<Answer, Problem> {
    let query: RegisterQuery = query(parts.uri.query())?;
    let (call, body) = api.arrive(parts, body, query.timeout).await?;
    if body.is_empty() {
        return Err(Problem::invalid(
            "the body is empty; it has to say where the instance is: {\"address\": …, \"port\": …}",
        ));
    }
    json::check(&body)?;
    let document = Document::read(&body).map_err(|why| Problem::invalid(format!("the body is not valid: {why}")))?;
    let ttl = query.ttl.map_or(DEFAULT_TTL, |ttl| ttl.0);
    let done = api.service().register(&call, name, &document, ttl).await?;
    let Outcome::Written { now, created, .. } = &done.outcome else { return Err(unexpected(&done.outcome)) };
    let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(instance(api, done.revision, now)?.with_status(status).with_replayed(done.replayed))
}

/// Keeps an instance alive.
///
/// # Errors
/// Those of reading a request and of a write.
pub(super) async fn heartbeat(api: &State, parts: &Parts, name: &InstanceName, body: Body) -> Result<Answer, Problem> {
    let (call, body) = arrive(api, parts, body).await?;
    body::refuse(&body)?;
    let (revision, ttl) = api.service().heartbeat(&call, name).await?;
    let mut out = Vec::with_capacity(96);
    let mut object = Object::begin(&mut out);
    show::name_members(&mut object, name);
    object.seconds("ttl", ttl);
    object.seconds("grantedTtl", ttl);
    object.end();
    Ok(Answer::json(revision, out))
}

/// Changes the status of an instance.
///
/// # Errors
/// Those of reading a request and of a write.
pub(super) async fn set_status(api: &State, parts: &Parts, name: &InstanceName, body: Body) -> Result<Answer, Problem> {
    let (call, body) = arrive(api, parts, body).await?;
    let StatusRequest { status } = json::read(&body)?;
    let (revision, now, replayed) = api.service().set_status(&call, name, status.into()).await?;
    Ok(instance(api, revision, &now)?.with_replayed(replayed))
}

/// Deregisters an instance.
///
/// # Errors
/// Those of reading a request and of a write.
pub(super) async fn deregister(api: &State, parts: &Parts, name: &InstanceName, body: Body) -> Result<Answer, Problem> {
    let (call, body) = arrive(api, parts, body).await?;
    body::refuse(&body)?;
    let done = api.service().deregister(&call, name).await?;
    let Outcome::Deleted { deleted, .. } = done.outcome else { return Err(unexpected(&done.outcome)) };
    let mut out = Vec::with_capacity(64);
    let mut object = Object::begin(&mut out);
    object.number("revision", done.revision.get());
    object.number("deleted", deleted);
    object.end();
    Ok(Answer::json(done.revision, out).with_replayed(done.replayed))
}

/// A call that changes what is registered, with its body.
async fn arrive(api: &State, parts: &Parts, body: Body) -> Result<(Call, Bytes), Problem> {
    let query: ChangeQuery = query(parts.uri.query())?;
    api.arrive(parts, body, query.timeout).await
}

/// The answer to a write: the instance as it is now.
fn instance(api: &State, revision: Revision, now: &KeyValue) -> Result<Answer, Problem> {
    let instance = Instance::of(&now.key, &now.record)
        .ok_or_else(|| Problem::invalid(format!("{} is not the key of an instance", now.key)))?;
    Ok(Answer::json(revision, instance_json(api, &instance)).with_revision_tag(instance.mod_revision))
}
