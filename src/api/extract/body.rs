//! Bodies: read within a bound and a deadline, with the media type that their writer named.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use http_body_util::{BodyExt, Limited};
use xxhash_rust::xxh3::Xxh3;

use super::json;
use crate::api::problem::{Code, Problem};
use crate::api::v1::format::is_json;
use crate::model::limits::MAX_IDEMPOTENCY_KEY_BYTES;
use crate::model::{ContentType, Idempotency};

/// The longest media type that is stored with a value.
const MAX_CONTENT_TYPE_BYTES: usize = 256;
/// The header by which a client promises that a retry is the same request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A body that has arrived in full.
#[derive(Debug, Clone, Default)]
pub struct Body {
    pub bytes: Bytes,
    /// The media type; `None` when none was given, or curl's default, which says nothing.
    pub content_type: Option<ContentType>,
}

impl Body {
    /// Reads a body, and checks it when its media type says that it is JSON.
    ///
    /// # Errors
    /// [`Code::TooLarge`], [`Code::RequestTimeout`], [`Code::UnsupportedMediaType`] for a content coding, and
    /// [`Code::InvalidArgument`].
    pub async fn read(
        headers: &HeaderMap,
        body: axum::body::Body,
        limit: usize,
        deadline: Instant,
    ) -> Result<Self, Problem> {
        let content_type = content_type(headers)?;
        let bytes = read(headers, body, limit, deadline).await?;
        if !bytes.is_empty() && content_type.as_deref().is_some_and(is_json) {
            json::check(&bytes)?;
        }
        Ok(Self { bytes, content_type })
    }
}

/// Reads the bytes of a body, whatever they are.
///
/// # Errors
/// As [`Body::read`].
pub async fn read(
    headers: &HeaderMap,
    body: axum::body::Body,
    limit: usize,
    deadline: Instant,
) -> Result<Bytes, Problem> {
    if let Some(coding) = headers.get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Problem::new(Code::UnsupportedMediaType, "a body with a Content-Encoding is not taken"));
    }
    // A body that announces its size is refused before it is sent.
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if let Some(actual) = announced.filter(|actual| *actual > limit) {
        return Err(too_large(limit).with_number("actualBytes", actual as u64));
    }
    if announced == Some(0) {
        return Ok(Bytes::new());
    }
    match tokio::time::timeout_at(deadline.into(), Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(error)) => Err(Problem::invalid(format!("the body did not arrive in full: {error}"))),
        Err(_) => Err(Problem::new(Code::RequestTimeout, "the body did not arrive within the time allowed")),
    }
}

/// Refuses a body where none is taken.
///
/// # Errors
/// [`Code::InvalidArgument`].
pub fn refuse(body: &[u8]) -> Result<(), Problem> {
    if body.is_empty() { Ok(()) } else { Err(Problem::invalid("this request takes no body")) }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("the body is larger than the {limit} bytes allowed"))
        .with_number("limitBytes", limit as u64)
}

/// The media type to store. Curl sends `application/x-www-form-urlencoded` when nobody asked for anything, so that one
/// counts as none.
fn content_type(headers: &HeaderMap) -> Result<Option<ContentType>, Problem> {
    let Some(header) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    let text = header.to_str().ok().map(str::trim).filter(|text| is_media_type(text)).ok_or_else(|| {
        Problem::invalid(format!("Content-Type has to be a media type of at most {MAX_CONTENT_TYPE_BYTES} characters"))
    })?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    Ok((!essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")).then(|| Arc::from(text)))
}

/// Whether a text begins as a media type does: `type/subtype` (RFC 9110, section 8.3.1).
#[must_use]
pub fn is_media_type(text: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    text.len() <= MAX_CONTENT_TYPE_BYTES
        && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// The promise of an `Idempotency-Key` header, with a hash over all that makes the request what it is.
///
/// # Errors
/// When the header is empty, too long, repeated, or not printable ASCII.
pub fn idempotency(parts: &Parts, body: &[u8]) -> Result<Option<Idempotency>, Problem> {
    let mut keys = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let text = key.to_str().ok().filter(|text| (1..=MAX_IDEMPOTENCY_KEY_BYTES).contains(&text.len()));
    let Some(text) = text.filter(|_| keys.next().is_none()) else {
        return Err(Problem::invalid(format!(
            "Idempotency-Key has to be one header of 1 to {MAX_IDEMPOTENCY_KEY_BYTES} printable ASCII characters"
        )));
    };
    Ok(Some(Idempotency { key: Arc::from(text), request_hash: request_hash(parts, body) }))
}

/// Each part is hashed behind its length, so that no two requests run together into the same bytes.
fn request_hash(parts: &Parts, body: &[u8]) -> u64 {
    let header = |name: &HeaderName| parts.headers.get(name).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let mut hash = Xxh3::new();
    let pieces = [
        parts.method.as_str().as_bytes(),
        parts.uri.path().as_bytes(),
        parts.uri.query().unwrap_or_default().as_bytes(),
        header(&CONTENT_TYPE),
        header(&http::header::IF_MATCH),
        header(&http::header::IF_NONE_MATCH),
        body,
    ];
    for piece in pieces {
        hash.update(&(piece.len() as u64).to_le_bytes());
        hash.update(piece);
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    async fn take(pairs: &[(HeaderName, &str)], body: &'static str, limit: usize) -> Result<Body, Problem> {
        Body::read(&headers(pairs), body.into(), limit, Instant::now() + Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn the_default_type_of_curl_is_no_type() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(take(&[(CONTENT_TYPE, form)], "a=b", 10).await.unwrap().content_type, None);
        let plain = take(&[(CONTENT_TYPE, "text/plain; charset=utf-8")], "a", 10).await.unwrap();
        assert_eq!(plain.content_type.as_deref(), Some("text/plain; charset=utf-8"));
        assert_eq!(take(&[(CONTENT_TYPE, "nonsense")], "a", 10).await.unwrap_err().code(), Code::InvalidArgument);
    }

    #[tokio::test]
    async fn a_body_that_says_it_is_json_must_be() {
        let json = [(CONTENT_TYPE, "application/json")];
        assert!(take(&json, "{\"a\":1}", 100).await.is_ok());
        assert_eq!(take(&json, "{", 100).await.unwrap_err().code(), Code::InvalidArgument);
        assert!(take(&[(CONTENT_TYPE, "text/plain")], "{", 100).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_beyond_the_bound_is_refused_whether_announced_or_not() {
        assert_eq!(take(&[], "12345", 5).await.unwrap().bytes, "12345");
        assert_eq!(take(&[], "123456", 5).await.unwrap_err().code(), Code::TooLarge);
        assert_eq!(take(&[(CONTENT_LENGTH, "6")], "", 5).await.unwrap_err().code(), Code::TooLarge);
    }

    #[tokio::test]
    async fn an_encoded_body_is_refused() {
        let problem = take(&[(CONTENT_ENCODING, "gzip")], "x", 5).await.unwrap_err();
        assert_eq!(problem.code(), Code::UnsupportedMediaType);
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up_at_the_deadline() {
        let stream = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let body = axum::body::Body::from_stream(stream);
        let deadline = Instant::now() + Duration::from_millis(20);
        let problem = Body::read(&HeaderMap::new(), body, 5, deadline).await.unwrap_err();
        assert_eq!(problem.code(), Code::RequestTimeout);
    }

    fn promise(uri: &str, key: &str, body: &str) -> Result<Option<Idempotency>, Problem> {
        let request = http::Request::put(uri).header(IDEMPOTENCY_KEY, key).body(()).unwrap();
        idempotency(&request.into_parts().0, body.as_bytes())
    }

    #[test]
    fn the_same_request_has_the_same_hash_and_any_other_another() {
        let hash = |uri: &str, body: &str| promise(uri, "k", body).unwrap().unwrap().request_hash;
        assert_eq!(hash("/v1/keys/a", "x"), hash("/v1/keys/a", "x"));
        assert_ne!(hash("/v1/keys/a", "x"), hash("/v1/keys/a", "y"));
        assert_ne!(hash("/v1/keys/a", "x"), hash("/v1/keys/a?prevExist=true", "x"));
        assert_ne!(hash("/v1/keys/ab", ""), hash("/v1/keys/a", "b"));
    }

    #[test]
    fn an_idempotency_key_has_1_to_128_characters() {
        assert!(promise("/", &"k".repeat(128), "").is_ok());
        assert!(promise("/", &"k".repeat(129), "").is_err());
        assert!(promise("/", "", "").is_err());
    }
}
