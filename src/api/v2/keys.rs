//! `/v2/keys`: the methods, and which of them there are.

use axum::body::Body;
use axum::response::Response;
use http::Method;
use http::request::Parts;

use crate::api::State;

/// What the paths of keys begin with.
pub(super) const PATH: &str = "/v2/keys";
/// The pattern of these paths.
pub(super) const PATTERN: &str = "/v2/keys/{*key}";

/// Answers a request for a key: what follows [`PATH`] in its path.
pub(super) async fn answer(api: &State, parts: &Parts, key: &[u8], body: Body) -> Response {
    match parts.method {
        Method::HEAD | Method::GET | Method::PUT | Method::POST | Method::DELETE => {}
        _ => return super::method_not_allowed("HEAD,GET,PUT,POST,DELETE"),
    }
    let _ = (api, key, body);
    super::not_found()
}
