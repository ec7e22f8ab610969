//! Whether the server is well, for supervisors, balancers and people: `/livez`, `/readyz`, `/health`, `/version`,
//! `/metrics`.

use axum::body::Body;
use axum::extract::{RawQuery, State as Shared};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;
use super::extract::query::{parameters, query};
use super::v1::format::Object;
use crate::observe;
use crate::service::Readiness;

/// The etcd that clients take this for, which switch features on by it. Behind those that lose data, which tools warn of,
/// and before 3.5.13, from which on clients ask for the progress of all watches of a stream at once.
pub(super) const ETCD_VERSION: &str = "3.5.12";
/// What all members of the cluster are like.
const ETCD_CLUSTER_VERSION: &str = "3.5.0";

/// The routes with their descriptions.
pub fn router() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(health))
        .routes(routes!(version))
        .routes(routes!(metrics))
}

parameters! {
    /// How much to say.
    pub struct ReadyParameters {
        /// List each check.
        verbose: bool = "verbose", true;
    }
}

/// `GET /livez`: 200 as long as the process is worth keeping; 503 once only a restart can help.
#[utoipa::path(get, path = "/livez", tag = "health", responses(
    (status = 200, description = "The process is worth keeping", content_type = "text/plain"),
    (status = 503, description = "Only a restart can help", content_type = "text/plain"),
))]
pub async fn live(Shared(state): Shared<State>) -> Response {
    if state.service().is_alive() {
        text(StatusCode::OK, "ok\n".to_owned())
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "the member has stopped\n".to_owned())
    }
}

/// `GET /readyz`: 200 when reads and writes can be expected to work here; `?verbose` lists the checks.
#[utoipa::path(get, path = "/readyz", tag = "health", params(ReadyParameters), responses(
    (status = 200, description = "Reads and writes can be expected to work", content_type = "text/plain"),
    (status = 503, description = "They cannot; the body says why", content_type = "text/plain"),
))]
pub async fn ready(Shared(state): Shared<State>, RawQuery(raw): RawQuery) -> Response {
    let parameters: ReadyParameters = match query(raw.as_deref()) {
        Ok(parameters) => parameters,
        Err(problem) => return state.finish(Err(problem)),
    };
    let readiness = state.service().readiness();
    let verbose = parameters.verbose.unwrap_or(false);
    if readiness.is_ready() {
        text(StatusCode::OK, if verbose { report(&readiness) } else { "ok\n".to_owned() })
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, report(&readiness))
    }
}

fn report(readiness: &Readiness) -> String {
    let mut report = String::new();
    for check in &readiness.checks {
        let line = match &check.problem {
            None => format!("[+] {} ok\n", check.name),
            Some(problem) => format!("[-] {}: {problem}\n", check.name),
        };
        report.push_str(&line);
    }
    report
}

/// `GET /health`: the same in the words of etcd: `{"health":"true","reason":""}`.
#[utoipa::path(get, path = "/health", tag = "health", responses(
    (status = 200, description = "Healthy", content_type = "application/json"),
    (status = 503, description = "Not healthy; `reason` says why", content_type = "application/json"),
))]
pub async fn health(Shared(state): Shared<State>) -> Response {
    let readiness = state.service().readiness();
    let reason = readiness.checks.iter().find_map(|check| check.problem.as_deref()).unwrap_or_default();
    let status = if reason.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut json = Vec::new();
    let mut object = Object::begin(&mut json);
    object.string("health", if reason.is_empty() { "true" } else { "false" });
    object.string("reason", reason);
    object.end();
    typed(status, "application/json", Body::from(json))
}

/// `GET /version`: the version of the program, and which etcd its etcd dialects are like.
#[utoipa::path(get, path = "/version", tag = "health", responses(
    (status = 200, description = "The version", content_type = "application/json"),
))]
pub async fn version() -> Response {
    let versions = format!(
        r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{ETCD_CLUSTER_VERSION}","vardr":"{}"}}"#,
        env!("CARGO_PKG_VERSION")
    );
    typed(StatusCode::OK, "application/json", Body::from(versions))
}

/// `GET /metrics`: everything counted, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "The metrics, in the OpenMetrics text format"),
))]
pub async fn metrics(Shared(state): Shared<State>) -> Response {
    state.service().measure();
    typed(StatusCode::OK, observe::metrics::CONTENT_TYPE, Body::from(state.metrics().encode()))
}

fn text(status: StatusCode, text: String) -> Response {
    typed(status, "text/plain; charset=utf-8", Body::from(text))
}

fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static(content_type))], body).into_response()
}
