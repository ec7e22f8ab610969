//! A call of a service: what surrounds it, and its answers in JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::Error;
use axum::body::Body;
use axum::response::Response;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, future, stream};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

use super::Path;
use super::requests::{self, Requests};
use super::table::Message;
use super::write::write;
use crate::api::go_json;
use crate::api::v3::Services;
use crate::api::v3::ask::{GRPC_TIMEOUT, MAX_TIMEOUT_DIGITS, TIMEOUT_UNITS};
use crate::api::v3::body::PREFIX_BYTES;
use crate::api::v3::errors::{Known, http_status};
use crate::service::Origin;

/// Headers that begin with this are metadata of the call.
const METADATA: &str = "grpc-metadata-";

/// What a request says besides its messages.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// What its headers are as metadata of gRPC.
    metadata: HeaderMap,
    /// Until when the client waits.
    deadline: Option<Instant>,
    /// Whose watches it begins.
    origin: Option<Arc<Origin>>,
}

impl Asked {
    /// By the headers of a request. A timeout that makes no sense is an error.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Status> {
        let mut metadata = HeaderMap::new();
        for (name, value) in headers {
            let is_passed = |name: &&str| !name.starts_with("grpc-") && !matches!(*name, "content-type" | "te");
            let inner = name.as_str().strip_prefix(METADATA).filter(is_passed);
            if let Some(Ok(inner)) = inner.map(HeaderName::try_from) {
                metadata.append(inner, value.clone());
            }
        }
        if let Some(token) = headers.get(AUTHORIZATION) {
            metadata.append(AUTHORIZATION, token.clone());
        }
        let said = headers.get(GRPC_TIMEOUT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let Some(said) = said.filter(|said| !said.is_empty()) else {
            return Ok(Self { metadata, deadline: None, origin: None });
        };
        let invalid = || Status::invalid_argument(format!("invalid grpc-timeout: {said}"));
        let nanos = timeout(&said).ok_or_else(invalid)?;
        if let Some(value) = as_grpc(nanos) {
            metadata.insert(GRPC_TIMEOUT, value);
        }
        let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Ok(Self { metadata, deadline: Instant::now().checked_add(wait), origin: None })
    }

    /// The same, with whose watches it begins.
    pub(super) fn by(self, origin: Option<Arc<Origin>>) -> Self {
        Self { origin, ..self }
    }

    /// Whether the client's time is up before anything was done.
    fn check(&self) -> Result<(), Status> {
        let is_over = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        if is_over { Err(Known::DeadlineExceeded.into()) } else { Ok(()) }
    }
}

/// The nanoseconds of a timeout as Go reads it: any number of digits, with a sign. What is over already is 0.
fn timeout(text: &str) -> Option<u128> {
    let (number, unit) = TIMEOUT_UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(*unit)?, size)))?;
    let number: i64 = number.parse().ok()?;
    Some(u128::from(number.max(0).unsigned_abs()) * unit.as_nanos())
}

/// The same within the digits of gRPC, rounded up; `None` for more than those can say.
fn as_grpc(nanos: u128) -> Option<HeaderValue> {
    TIMEOUT_UNITS.iter().find_map(|(unit, size)| {
        let text = nanos.div_ceil(size.as_nanos()).to_string();
        (text.len() <= MAX_TIMEOUT_DIGITS).then(|| HeaderValue::try_from(format!("{text}{unit}")).ok())?
    })
}

/// Waits for something for as long as the client does.
async fn within<T>(deadline: Option<Instant>, what: impl Future<Output = T>) -> Result<T, Status> {
    match deadline {
        None => Ok(what.await),
        Some(deadline) => timeout_at(deadline, what).await.map_err(|_| Known::DeadlineExceeded.into()),
    }
}

/// One message to one message: the answer in JSON.
pub(super) async fn one(
    services: &Services,
    path: &Path,
    asked: Asked,
    first: Option<Result<Bytes, Status>>,
) -> Result<Vec<u8>, Status> {
    let frame = first.unwrap_or_else(|| Ok(requests::empty()))?;
    asked.check()?;
    let Asked { metadata, deadline, origin } = asked;
    let response =
        within(deadline, services.call(path.home, path.table.path, origin, metadata, Body::from(frame))).await?;
    let mut answers = Answers::new(response, path.table.output, deadline);
    let none = || Status::internal("the service gave no answer");
    answers.next(b"", b"").await.ok_or_else(none)?
}

/// Messages to many. What comes after the first one is read while answers are; as in etcd, the messages end at one that is none.
pub(super) async fn many<S>(
    services: &Services,
    path: &Path,
    asked: Asked,
    first: Option<Result<Bytes, Status>>,
    requests: Requests<S>,
) -> Result<Answers, Status>
where
    S: Stream<Item = Result<Bytes, Error>> + Send + Unpin + 'static,
{
    let first = first.transpose()?;
    asked.check()?;
    let body = match (first, path.table.takes_many) {
        (None, true) => Body::empty(),
        (Some(first), true) => {
            let rest = stream::unfold(requests, |mut requests| async move {
                let frame = requests.next().await?.ok()?;
                Some((frame, requests))
            });
            Body::from_stream(stream::once(future::ready(first)).chain(rest).map(Ok::<_, Error>))
        }
        (first, false) => {
            // What else comes is nothing to wait for.
            drop(requests);
            Body::from(first.unwrap_or_else(requests::empty))
        }
    };
    let Asked { metadata, deadline, origin } = asked;
    let response = within(deadline, services.call(path.home, path.table.path, origin, metadata, body)).await?;
    Ok(Answers::new(response, path.table.output, deadline))
}

/// The messages of an answer.
pub(super) struct Answers {
    body: Body,
    /// What has come and is no whole message.
    left: BytesMut,
    /// The status that stands in the headers, where there is no message.
    status: Option<Status>,
    message: &'static Message,
    deadline: Option<Instant>,
}

impl Answers {
    fn new(response: Response, message: &'static Message, deadline: Option<Instant>) -> Self {
        let status = Status::from_header_map(response.headers());
        Self { body: response.into_body(), left: BytesMut::new(), status, message, deadline }
    }

    /// The next message in JSON, between two texts; `None` at an end without an error.
    pub(super) async fn next(&mut self, before: &[u8], after: &[u8]) -> Option<Result<Vec<u8>, Status>> {
        let deadline = self.deadline;
        match within(deadline, self.take()).await {
            Ok(taken) => {
                let shown = taken?.and_then(|wire| {
                    let mut out = Vec::with_capacity(before.len() + after.len() + 2 * wire.len() + 64);
                    out.extend_from_slice(before);
                    write(&mut out, &wire, self.message)
                        .map_err(|_| Status::internal("the service gave no message of its kind"))?;
                    out.extend_from_slice(after);
                    Ok(out)
                });
                Some(shown)
            }
            Err(status) => Some(Err(status)),
        }
    }

    /// The next message as a line of a stream.
    pub(super) async fn next_line(&mut self) -> Option<Result<Vec<u8>, Status>> {
        self.next(b"{\"result\":", b"}\n").await
    }

    /// The bytes of the next message.
    async fn take(&mut self) -> Option<Result<Bytes, Status>> {
        if let Some(status) = self.status.take() {
            return failure(status);
        }
        loop {
            if let Some((prefix, rest)) = self.left.split_at_checked(PREFIX_BYTES)
                && let Some(length) = length(prefix).filter(|length| *length <= rest.len())
            {
                self.left.advance(PREFIX_BYTES);
                return Some(Ok(self.left.split_to(length).freeze()));
            }
            let frame = match self.body.frame().await? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(Status::internal(error.to_string()))),
            };
            match frame.into_data() {
                Ok(data) if self.left.is_empty() => self.left = data.into(),
                Ok(data) => self.left.extend_from_slice(&data),
                Err(frame) => {
                    let status = frame.trailers_ref().and_then(Status::from_header_map);
                    return status.and_then(failure);
                }
            }
        }
    }
}

/// What a status is at the end of messages.
fn failure(status: Status) -> Option<Result<Bytes, Status>> {
    (status.code() != Code::Ok).then_some(Err(status))
}

/// The length of a message, by what stands before it (gRPC over HTTP/2, "Responses").
fn length(prefix: &[u8]) -> Option<usize> {
    let [_, length @ ..] = *prefix.first_chunk::<PREFIX_BYTES>()?;
    usize::try_from(u32::from_be_bytes(length)).ok()
}

/// What a stream that fails ends with.
pub(super) fn last_line(status: &Status) -> Vec<u8> {
    let code = status.code();
    let http = http_status(code);
    let (number, http_number) = (i32::from(code), http.as_u16());
    let mut out = format!("{{\"error\":{{\"grpc_code\":{number},\"http_code\":{http_number},\"message\":").into_bytes();
    go_json::string(&mut out, status.message().as_bytes());
    out.extend_from_slice(b",\"http_status\":");
    go_json::string(&mut out, http.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &'static str)]) -> Result<Asked, String> {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        Asked::of(&headers.collect()).map_err(|status| status.message().to_owned())
    }

    #[test]
    fn headers_become_metadata_and_no_others_do() {
        let asked = asked(&[
            ("authorization", "token"),
            ("grpc-metadata-token", "other"),
            ("grpc-metadata-grpc-timeout", "1S"),
            ("content-type", "text/plain"),
            ("token", "no"),
        ]);
        let asked = asked.unwrap();
        let names: Vec<_> =
            asked.metadata.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(names, [("token", "other"), ("authorization", "token")]);
        assert!(asked.deadline.is_none());
    }

    #[test]
    fn a_timeout_is_read_as_go_reads_it_and_passed_on_as_grpc_writes_it() {
        let passed = |said: &'static str| {
            let asked = asked(&[("grpc-timeout", said)])?;
            Ok::<_, String>(asked.metadata.get(GRPC_TIMEOUT).map(|value| value.to_str().unwrap().to_owned()))
        };
        for (said, expected) in
            [("1S", "1000000u"), ("5n", "5n"), ("-1S", "0n"), ("+2H", "7200000m"), ("123456789n", "123457u")]
        {
            assert_eq!(passed(said).unwrap().unwrap(), expected, "{said}");
        }
        assert_eq!(passed("9223372036854775807H"), Ok(None));
        assert_eq!(passed(""), Ok(None));
        for said in ["x", "1", "S", "1s", "1.5S", "99999999999999999999S"] {
            assert_eq!(passed(said).unwrap_err(), format!("invalid grpc-timeout: {said}"));
        }
    }

    #[test]
    fn a_stream_that_fails_says_how() {
        let told = String::from_utf8(last_line(&Status::unavailable("no \"leader\""))).unwrap();
        assert_eq!(
            told,
            r#"{"error":{"grpc_code":14,"http_code":503,"message":"no \"leader\"","http_status":"Service Unavailable"}}"#
        );
    }
}
