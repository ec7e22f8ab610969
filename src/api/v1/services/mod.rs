//! `/v1/services`: the handlers, documented, and from a path to the names in it. How a request is read and answered is in
//! [`read`], [`mod@write`] and [`watch`].

pub mod read;
pub mod schema;
mod show;
pub mod watch;
pub mod write;

use axum::extract::{Request, State as Extract};
use axum::response::Response;
use axum::routing::post;
use http::HeaderValue;
use http::header::ALLOW;
use percent_encoding::percent_decode_str;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::read::{InstanceQuery, InstancesQuery, ServicesQuery};
use self::schema::{HeartbeatObject, InstanceDocument, InstanceList, InstanceObject, ServiceList};
use self::watch::ServiceWatchQuery;
use self::write::{ChangeQuery, RegisterQuery, StatusRequest};
use super::schema::Deleted;
use crate::api::State;
use crate::api::extract::Verb;
use crate::api::extract::query::{is_percent_encoded, shortened};
use crate::api::problem::{Code, Problem};
use crate::service::registry::{InstanceName, Name};

/// What follows in the path are names.
const SERVICES: &str = "/v1/services/";
/// The methods of an instance, without a verb.
const INSTANCE_METHODS: &str = "GET,HEAD,PUT,DELETE";

/// The verbs are told apart behind their routes, and documented by themselves.
#[derive(OpenApi)]
#[openapi(paths(heartbeat, set_status, watch_service))]
struct Verbs;

pub(super) fn router() -> OpenApiRouter<State> {
    let router = OpenApiRouter::with_openapi(Verbs::openapi())
        .routes(routes!(list_services))
        .routes(routes!(watch_services))
        .routes(routes!(list_instances))
        .routes(routes!(get_instance, register_instance, deregister_instance));
    router.route("/v1/services/{service}/{instance}", post(post_instance))
}

/// The methods of a path below `/v1/services/`, where the router cannot tell.
pub(crate) fn verb_methods(path: &str) -> Option<&'static str> {
    let (_, instance) = path.strip_prefix(SERVICES)?.split_once('/')?;
    Some(methods(split(instance).1))
}

/// What is asked of an instance by the end of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InstanceVerb {
    Heartbeat,
    Status,
}

fn methods(verb: Option<InstanceVerb>) -> &'static str {
    match verb {
        Some(InstanceVerb::Heartbeat) => "POST",
        Some(InstanceVerb::Status) => "PUT",
        None => INSTANCE_METHODS,
    }
}

/// List services
///
/// Every service that has instances, in a few words. With `wait` (or the header `Prefer: wait=60`) the request is held until
/// something in the answer changes.
#[utoipa::path(
    get, path = "/v1/services", operation_id = "listServices", tag = "services", params(ServicesQuery),
    responses(
        (status = 200, description = "The services, in order of name", body = ServiceList),
        (status = 304, description = "Nothing has changed since the entity tag in `If-None-Match` was given out"),
    ),
)]
pub async fn list_services(Extract(api): Extract<State>, request: Request) -> Response {
    let result = read::services(&api, &request.into_parts().0).await;
    api.finish(result)
}

/// Follow the instances of all services
///
/// As of one service.
#[utoipa::path(
    get, path = "/v1/services:watch", operation_id = "watchServices", tag = "services",
    params(
        ("Last-Event-ID" = Option<u64>, Header, description = "Continue after this revision; wins over `after`"),
        ServiceWatchQuery,
    ),
    responses((status = 200, description = "The stream", content_type = "text/event-stream")),
)]
pub async fn watch_services(Extract(api): Extract<State>, request: Request) -> Response {
    let followed = watch::follow(&api, &request.into_parts().0, None).await;
    followed.unwrap_or_else(|problem| api.finish(Err(problem)))
}

/// List the instances of a service
///
/// None is no mistake: the list is empty. With `wait` (or the header `Prefer: wait=60`) the request is held until something
/// in the answer changes, which a heartbeat does not.
#[utoipa::path(
    get, path = "/v1/services/{service}", operation_id = "listInstances", tag = "services",
    params(("service" = String, Path, description = "The service", example = "web"), InstancesQuery),
    responses(
        (status = 200, description = "The instances, in order of name", body = InstanceList),
        (status = 304, description = "Nothing has changed since the entity tag in `If-None-Match` was given out"),
    ),
)]
pub async fn list_instances(Extract(api): Extract<State>, request: Request) -> Response {
    let parts = request.into_parts().0;
    let raw = parts.uri.path().strip_prefix(SERVICES).unwrap_or_default();
    if let Some(service) = Verb::Watch.strip(raw) {
        let followed = match name(service, "service") {
            Ok(service) => watch::follow(&api, &parts, Some(&service)).await,
            Err(problem) => Err(problem),
        };
        return followed.unwrap_or_else(|problem| api.finish(Err(problem)));
    }
    let result = match name(raw, "service") {
        Ok(service) => read::instances(&api, &parts, service).await,
        Err(problem) => Err(problem),
    };
    api.finish(result)
}

/// Follow the instances of a service
///
/// Server-Sent Events by default, lines of JSON with `Accept: application/x-ndjson`. First each instance that there is as
/// `registered`, then `synced`, then each change: `registered`, `changed`, `deregistered` with the `reason` (`expired`,
/// `deleted`, or `filtered` where it is there but not among those asked for any more). A stream can be resumed after the
/// last `id` (Server-Sent Events) or `resume` (lines) with no event lost or repeated. It ends with `compacted` when the
/// place to resume from is gone, with `lagging` when its reader is too slow.
#[utoipa::path(
    get, path = "/v1/services/{service}:watch", operation_id = "watchService", tag = "services",
    params(
        ("service" = String, Path, description = "The service", example = "web"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Continue after this revision; wins over `after`"),
        ServiceWatchQuery,
    ),
    responses((status = 200, description = "The stream", content_type = "text/event-stream")),
)]
#[expect(dead_code, reason = "stands for a verb that the route of GET tells apart")]
fn watch_service() {}

/// Look at an instance
///
/// With `wait` (or the header `Prefer: wait=60`) the request is held until something in the answer changes, which a heartbeat
/// does not.
#[utoipa::path(
    get, path = "/v1/services/{service}/{instance}", operation_id = "getInstance", tag = "services",
    params(
        ("service" = String, Path, description = "The service", example = "web"),
        ("instance" = String, Path, description = "The instance, a name of its own choice within the service", example = "a"),
        InstanceQuery,
    ),
    responses(
        (status = 200, description = "The instance", body = InstanceObject),
        (status = 304, description = "Nothing has changed since the entity tag in `If-None-Match` was given out"),
    ),
)]
pub async fn get_instance(Extract(api): Extract<State>, request: Request) -> Response {
    let parts = request.into_parts().0;
    let result = match instance(parts.uri.path()) {
        Ok((name, None)) => read::instance(&api, &parts, name).await,
        Ok((_, Some(verb))) => Err(other_method(Some(verb))),
        Err(problem) => Err(problem),
    };
    api.finish(result)
}

/// Register an instance
///
/// It lives for the time of `ttl` and is gone then, unless it sends a heartbeat before. Registering it again replaces all
/// that it said of itself.
#[utoipa::path(
    put, path = "/v1/services/{service}/{instance}", operation_id = "registerInstance", tag = "services",
    params(
        ("service" = String, Path, description = "The service", example = "web"),
        ("instance" = String, Path, description = "The instance, a name of its own choice within the service", example = "a"),
        RegisterQuery,
    ),
    request_body(content = InstanceDocument, content_type = "application/json"),
    responses(
        (status = 201, description = "Registered", body = InstanceObject),
        (status = 200, description = "Registered again", body = InstanceObject),
    ),
)]
pub async fn register_instance(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = match instance(parts.uri.path()) {
        Ok((name, None)) => write::register(&api, &parts, &name, body).await,
        Ok((name, Some(InstanceVerb::Status))) => write::set_status(&api, &parts, &name, body).await,
        Ok((_, Some(verb))) => Err(other_method(Some(verb))),
        Err(problem) => Err(problem),
    };
    api.finish(result)
}

/// Change the status of an instance
///
/// Everything else of it stays, its time to live included. Where it has that status already, nothing is changed.
#[utoipa::path(
    put, path = "/v1/services/{service}/{instance}:status", operation_id = "setInstanceStatus", tag = "services",
    params(
        ("service" = String, Path, description = "The service", example = "web"),
        ("instance" = String, Path, description = "The instance", example = "a"),
        ChangeQuery,
    ),
    request_body(content = StatusRequest, content_type = "application/json"),
    responses((status = 200, description = "The instance as it is now", body = InstanceObject)),
)]
#[expect(dead_code, reason = "stands for a verb that the route of PUT tells apart")]
fn set_status() {}

/// Deregister an instance
#[utoipa::path(
    delete, path = "/v1/services/{service}/{instance}", operation_id = "deregisterInstance", tag = "services",
    params(
        ("service" = String, Path, description = "The service", example = "web"),
        ("instance" = String, Path, description = "The instance", example = "a"),
        ChangeQuery,
    ),
    responses((status = 200, description = "Deregistered", body = Deleted)),
)]
pub async fn deregister_instance(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = match instance(parts.uri.path()) {
        Ok((name, None)) => write::deregister(&api, &parts, &name, body).await,
        Ok((_, Some(verb))) => Err(other_method(Some(verb))),
        Err(problem) => Err(problem),
    };
    api.finish(result)
}

/// Keep an instance alive
///
/// Sets what is left of its time to live back to the whole. Makes no revision, and wakes nobody who follows the service. 404
/// once it is gone: register it again.
#[utoipa::path(
    post, path = "/v1/services/{service}/{instance}:heartbeat", operation_id = "heartbeat", tag = "services",
    params(
        ("service" = String, Path, description = "The service", example = "web"),
        ("instance" = String, Path, description = "The instance", example = "a"),
        ChangeQuery,
    ),
    responses((status = 200, description = "It lives on", body = HeartbeatObject)),
)]
#[expect(dead_code, reason = "stands for a verb that the route of POST tells apart")]
fn heartbeat() {}

async fn post_instance(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = match instance(parts.uri.path()) {
        Ok((name, Some(InstanceVerb::Heartbeat))) => write::heartbeat(&api, &parts, &name, body).await,
        Ok((_, verb)) => Err(other_method(verb)),
        Err(problem) => Err(problem),
    };
    api.finish(result)
}

/// A method that an instance, or a verb of it, does not take.
fn other_method(verb: Option<InstanceVerb>) -> Problem {
    let detail = match verb {
        Some(InstanceVerb::Heartbeat) => ":heartbeat is a verb of POST",
        Some(InstanceVerb::Status) => ":status is a verb of PUT",
        None => "POST keeps an instance alive by :heartbeat at the end of its path; PUT registers one",
    };
    let allow = HeaderValue::from_static(methods(verb));
    Problem::new(Code::MethodNotAllowed, detail).with_header(ALLOW, allow)
}

/// A raw segment without its verb, and the verb.
fn split(raw: &str) -> (&str, Option<InstanceVerb>) {
    let verbs = [(Verb::Heartbeat, InstanceVerb::Heartbeat), (Verb::Status, InstanceVerb::Status)];
    let found = verbs.into_iter().find_map(|(word, verb)| Some((word.strip(raw)?, Some(verb))));
    found.unwrap_or((raw, None))
}

/// The instance that a raw path names, and the verb behind it.
fn instance(path: &str) -> Result<(InstanceName, Option<InstanceVerb>), Problem> {
    let (service, rest) = path.strip_prefix(SERVICES).and_then(|names| names.split_once('/')).unwrap_or_default();
    let (instance, verb) = split(rest);
    Ok((InstanceName { service: name(service, "service")?, instance: name(instance, "instance")? }, verb))
}

/// The name that a raw segment of a path is, percent-decoded once.
fn name(raw: &str, what: &str) -> Result<Name, Problem> {
    let refuse = |why: &str| Problem::invalid(format!("the name of the {what}, `{}`, {why}", shortened(raw)));
    if !is_percent_encoded(raw) {
        return Err(refuse("is badly percent-encoded"));
    }
    let text = percent_decode_str(raw).decode_utf8().map_err(|_| refuse("is not UTF-8"))?;
    Name::new(&text).map_err(|why| refuse(&why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_once_and_the_last_raw_word_is_the_verb() {
        let named = |path: &str| instance(path).map(|(name, verb)| (name.to_string(), verb)).unwrap();
        assert_eq!(named("/v1/services/web/a"), ("web/a".to_owned(), None));
        assert_eq!(named("/v1/services/my%20web/%C3%BC%2520"), ("my web/ü%20".to_owned(), None));
        assert_eq!(named("/v1/services/web/a:heartbeat"), ("web/a".to_owned(), Some(InstanceVerb::Heartbeat)));
        assert_eq!(named("/v1/services/web/a%3Aheartbeat"), ("web/a:heartbeat".to_owned(), None));
        assert_eq!(
            named("/v1/services/web/10.0.0.7:80:status"),
            ("web/10.0.0.7:80".to_owned(), Some(InstanceVerb::Status))
        );
        assert_eq!(named("/v1/services/web:status/a"), ("web:status/a".to_owned(), None));
    }

    #[test]
    fn a_name_that_is_no_segment_is_refused_as_what_it_was_to_be() {
        let long = format!("/v1/services/web/{}", "x".repeat(256));
        let bad = [
            ("/v1/services/web/a%2Fb", "instance"),
            ("/v1/services/%2E%2E/a", "service"),
            ("/v1/services/web/.", "instance"),
            ("/v1/services/web/:heartbeat", "instance"),
            ("/v1/services/%ff/a", "service"),
            ("/v1/services/web/%zz", "instance"),
            ("/v1/services/web/a%00", "instance"),
            (long.as_str(), "instance"),
        ];
        for (path, what) in bad {
            let problem = instance(path).unwrap_err();
            assert_eq!(problem.code(), Code::InvalidArgument, "{path}");
            assert!(problem.detail().contains(&format!("the name of the {what}")), "{path}: {problem}");
        }
    }

    #[test]
    fn each_path_has_its_methods() {
        assert_eq!(verb_methods("/v1/services/web/a"), Some(INSTANCE_METHODS));
        assert_eq!(verb_methods("/v1/services/web/a:heartbeat"), Some("POST"));
        assert_eq!(verb_methods("/v1/services/web/a:status"), Some("PUT"));
        assert_eq!(verb_methods("/v1/services/web"), None);
    }
}
