//! `/v2/keys`: a request for a node, carried out by the service and answered.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::ask::Ask;
use super::form::{self, Form, Kind};
use super::{Error, ErrorCode, show};
use crate::api::State;
use crate::api::origin::origin_of;
use crate::model::limits::{MAX_DRAINED_BYTES, MAX_SHOWN_BYTES};
use crate::model::{Action, NodeEvent, NodePath, NodeWrite, Revision};
use crate::service::{self, Call, Carrier, Consistency, FoundNode, NodeWatch, NodeWatchRequest, ShownNode, Turn};

/// What the paths of keys begin with.
pub(super) const PATH: &str = "/v2/keys";
/// The pattern of these paths.
pub(super) const PATTERN: &str = "/v2/keys/{*key}";
/// How long a request may take, as etcd has it with its default election timeout. What is waited for is not counted.
const TIMEOUT: Duration = Duration::from_secs(7);
/// What Go says of a form that is larger than allowed.
const TOO_LARGE: &str = "http: POST too large";

/// Answers a request for a key: what follows [`PATH`] in its path.
pub(super) async fn answer(api: &State, parts: &Parts, key: &[u8], body: Body) -> Response {
    match parts.method {
        Method::HEAD | Method::GET | Method::PUT | Method::POST | Method::DELETE => {}
        _ => return super::method_not_allowed("HEAD,GET,PUT,POST,DELETE"),
    }
    match carry_out(api, parts, key, body).await {
        Ok(response) => response,
        Err(error) => error.into_response(api),
    }
}

async fn carry_out(api: &State, parts: &Parts, key: &[u8], body: Body) -> Result<Response, Error> {
    let call = Call::new(Instant::now() + TIMEOUT);
    let ask = Ask::read(parts, read_form(api, parts, body, &call).await?)?;
    // The path is clean already.
    let path = NodePath::new(Bytes::copy_from_slice(key))
        .ok_or_else(|| Error::request(ErrorCode::InvalidForm, "incorrect key prefix"))?;
    let lease = || api.service().new_lease_id();
    let quiet = ask.no_value_on_success;
    let change = match parts.method {
        Method::PUT => ask.put(lease),
        Method::POST => ask.post(lease),
        Method::DELETE => ask.delete(),
        _ if ask.wait && !ask.quorum => return wait(api, parts, call, path, &ask),
        _ => return get(api, &call, path, &ask).await,
    };
    let (revision, event) = api.service().write_node(&call, NodeWrite { path, change }).await?;
    let is_new = event.action == Action::Create || (event.action == Action::Set && event.previous.is_none());
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(respond(api, status, revision, written(&event, quiet).into()))
}

fn written(event: &NodeEvent, quiet: bool) -> Vec<u8> {
    match event.action {
        Action::Set | Action::Create | Action::Update | Action::CompareAndSwap if quiet => {
            show::action_alone(event.action)
        }
        _ => show::event(event),
    }
}

fn respond(api: &State, status: StatusCode, index: Revision, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    super::stamp(api, response.headers_mut(), index);
    response
}

/// The form in the body, where there may be one, and the query's parameters behind it.
async fn read_form(api: &State, parts: &Parts, body: Body, call: &Call) -> Result<Form, Error> {
    let mut form = Form::default();
    let mut result = Ok(());
    if matches!(parts.method, Method::PUT | Method::POST) {
        let (kind, checked) = form::kind(&parts.headers);
        result = checked.map_err(str::to_owned);
        if kind == Kind::Form {
            // Percent-encoding takes three bytes for one.
            let limit = 3 * api.service().limits().max_request_bytes + 4096;
            let added = match tokio::time::timeout_at(call.deadline.into(), read_body(body, limit)).await {
                Ok(Ok(bytes)) => form.add(&bytes),
                Ok(Err(cause)) => Err(cause),
                Err(_) => Err("i/o timeout".to_owned()),
            };
            result = result.and(added);
        }
    }
    let added = form.add(parts.uri.query().unwrap_or_default().as_bytes());
    result.and(added).map_err(|cause| Error::request(ErrorCode::InvalidForm, cause))?;
    Ok(form)
}

/// The bytes of a body within a limit. Of one that is larger, the rest is read and thrown away up to a point, since many clients
/// listen for no answer before they have sent everything.
async fn read_body(body: Body, limit: usize) -> Result<Bytes, String> {
    let mut body = Limited::new(body, limit.max(MAX_DRAINED_BYTES));
    let (mut first, mut rest) = (Bytes::new(), Vec::new());
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) if error.is::<LengthLimitError>() => return Err(TOO_LARGE.to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        if size > limit {
            (first, rest) = (Bytes::new(), Vec::new());
        } else if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if size > limit {
        return Err(TOO_LARGE.to_owned());
    }
    // Most bodies come in one piece.
    Ok(if rest.is_empty() { first } else { [&*first, &*rest].concat().into() })
}

async fn get(api: &State, call: &Call, path: NodePath, ask: &Ask) -> Result<Response, Error> {
    let consistency = if ask.quorum { Consistency::Linearizable } else { Consistency::Serializable };
    let FoundNode { revision, shown, turn } = api.service().node(call, consistency, path, ask.recursive).await?;
    let (bytes, _turn) = shown_bytes(shown, turn).await?;
    Ok(respond(api, StatusCode::OK, revision, Body::from(bytes)))
}

/// What is read, as it is answered. A directory takes long to write and is long to let go of.
async fn shown_bytes(shown: ShownNode, turn: Option<Turn>) -> Result<(Vec<u8>, Option<Turn>), service::Error> {
    let is_directory = shown.node.is_directory();
    let write = move || Ok((show::read(&shown, MAX_SHOWN_BYTES).ok_or_else(ShownNode::too_large)?, turn));
    if !is_directory {
        return write();
    }
    match tokio::task::spawn_blocking(write).await {
        Ok(written) => written,
        Err(error) => Err(service::Error::Storage(format!("an answer was cut off: {error}").into())),
    }
}

/// Answers at once with the headers, and with changes as they come: one, or all of a stream.
fn wait(api: &State, parts: &Parts, call: Call, path: NodePath, ask: &Ask) -> Result<Response, Error> {
    let since = (ask.wait_index > 0).then_some(Revision(ask.wait_index));
    let request = NodeWatchRequest { path, recursive: ask.recursive, since, stream: ask.stream };
    let carrier = if ask.stream { Carrier::NodeStream } else { Carrier::NodeWait };
    let call = call.by(origin_of(carrier, parts));
    let watch = api.service().watch_node(&call, request)?;
    let revision = watch.revision();
    Ok(respond(api, StatusCode::OK, revision, changes(watch, ask.stream)))
}

fn changes(watch: NodeWatch, all: bool) -> Body {
    Body::from_stream(unfold(Some(watch), move |watch| async move {
        let mut watch = watch?;
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(show::event(&event))), all.then_some(watch)))
    }))
}
