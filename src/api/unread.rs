//! The bodies of large answers: given out piece by piece as the client takes them, and counted until it has.
//!
//! What a connection was given it keeps until it is written, so it is given little at a time.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use crate::service::{Answers, Held, LARGE_BYTES, Outstanding};

/// What a connection is given at a time: a frame of HTTP/2 as most clients take them (RFC 9113, section 4.2).
const PIECE_BYTES: usize = 16 * 1024;
/// How long a client may take nothing at a time.
const GRACE: Duration = Duration::from_secs(10);
/// What it has to take in each second, on average, beyond the grace at its beginning.
const LEAST_RATE: u64 = 64 * 1024;

/// Has an answer counted that is made in one piece, and is large.
pub(super) fn counted(answers: &Answers, response: Response) -> Response {
    let length = http_body::Body::size_hint(response.body()).exact().and_then(|length| usize::try_from(length).ok());
    match length {
        Some(length) if length >= LARGE_BYTES => response.map(|body| large(answers, length, Bytes::new(), body)),
        _ => response,
    }
}

/// A body of so many bytes, the first of which are here already, as its client takes it and is counted with.
pub(super) fn large(answers: &Answers, bytes: usize, first: Bytes, rest: Body) -> Body {
    Body::new(Large::new(answers, bytes, first, rest))
}

/// A body that is large. Its client takes it in pieces.
struct Large(Arc<Untaken>);

/// What is left of a body.
struct Untaken {
    begun: Instant,
    left: Mutex<Left>,
}

struct Left {
    /// How many bytes were given out, and when the last of them.
    given: u64,
    given_last: Instant,
    /// `None` once it was cut off.
    rest: Option<Rest>,
}

struct Rest {
    /// What comes before the body.
    first: Bytes,
    body: Body,
    _held: Held,
}

impl Large {
    fn new(answers: &Answers, bytes: usize, first: Bytes, body: Body) -> Self {
        let rest = Rest { first, body, _held: answers.hold(bytes) };
        let begun = Instant::now();
        let left = Mutex::new(Left { given: 0, given_last: begun, rest: Some(rest) });
        let untaken = Arc::new(Untaken { begun, left });
        let weak: Weak<Untaken> = Arc::downgrade(&untaken);
        answers.know(weak);
        Self(untaken)
    }
}

impl Outstanding for Untaken {
    fn cut_off_if_slow(&self, now: Instant) -> bool {
        let mut left = self.left.lock();
        let taken = Duration::from_secs(left.given / LEAST_RATE);
        // What the kernel keeps for a client that reads nothing counts as taken.
        let is_slow = now.saturating_duration_since(left.given_last) > GRACE
            || now.saturating_duration_since(self.begun) > GRACE + taken;
        let rest = if is_slow { left.rest.take() } else { None };
        let given = left.given;
        drop(left);
        let is_cut_off = rest.is_some();
        if is_cut_off {
            tracing::warn!(given, "a client does not read its answer, which is cut off: others wait for the memory");
        }
        is_cut_off
    }
}

impl http_body::Body for Large {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut left = self.0.left.lock();
        let Left { given, given_last, rest } = &mut *left;
        let Some(rest) = rest else {
            let error = io::Error::new(io::ErrorKind::TimedOut, "too little of the answer was read for too long");
            return Poll::Ready(Some(Err(axum::Error::new(error))));
        };
        if rest.first.is_empty() {
            match std::task::ready!(Pin::new(&mut rest.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => rest.first = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let piece = rest.first.split_to(rest.first.len().min(PIECE_BYTES));
        *given += piece.len() as u64;
        *given_last = Instant::now();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let left = self.0.left.lock();
        left.rest.as_ref().is_some_and(|rest| rest.first.is_empty() && rest.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.0.left.lock();
        let Some(rest) = &left.rest else { return SizeHint::default() };
        let first = rest.first.len() as u64;
        let body = rest.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + first);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + first);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;

    fn json(length: usize) -> Response {
        Response::new(Body::from(vec![b'x'; length]))
    }

    fn untaken(answers: &Answers, length: usize) -> Large {
        Large::new(answers, length, Bytes::new(), Body::from(vec![b'x'; length]))
    }

    #[tokio::test]
    async fn a_large_answer_is_given_out_in_pieces_and_counted_until_it_was_taken() {
        let answers = Answers::default();
        let length = LARGE_BYTES + 5;
        let mut body = counted(&answers, json(length)).into_body();
        assert_eq!(answers.bytes(), length);
        assert_eq!(body.size_hint().exact(), Some(length as u64));
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(pieces.iter().sum::<usize>(), length);
        assert!(
            pieces.len() == LARGE_BYTES / PIECE_BYTES + 1 && pieces.iter().all(|piece| *piece <= PIECE_BYTES),
            "{pieces:?}"
        );
        assert!(body.is_end_stream());
        drop(body);
        assert_eq!(answers.bytes(), 0);
    }

    #[tokio::test]
    async fn small_answers_and_streams_are_not_counted() {
        let answers = Answers::default();
        let small = counted(&answers, json(LARGE_BYTES - 1));
        let stream = Body::from_stream(stream::iter([Ok::<_, io::Error>(Bytes::from(vec![0; LARGE_BYTES]))]));
        let stream = counted(&answers, Response::new(stream));
        assert_eq!(answers.bytes(), 0);
        assert_eq!(small.into_body().collect().await.unwrap().to_bytes().len(), LARGE_BYTES - 1);
        assert_eq!(stream.into_body().collect().await.unwrap().to_bytes().len(), LARGE_BYTES);
    }

    async fn take(body: &mut Large, bytes: u64) {
        for _ in 0..bytes / PIECE_BYTES as u64 {
            body.frame().await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn an_answer_is_cut_off_once_its_client_takes_nothing() {
        let answers = Answers::default();
        let mut body = untaken(&answers, 1024 * 1024);
        take(&mut body, LEAST_RATE * 8).await;
        let last = body.0.left.lock().given_last;
        assert!(!body.0.cut_off_if_slow(last + GRACE));
        assert_eq!(answers.bytes(), 1024 * 1024, "within the grace");
        assert!(body.0.cut_off_if_slow(last + GRACE + Duration::from_millis(1)));
        assert_eq!(answers.bytes(), 0);
        assert!(!body.is_end_stream(), "nobody takes it for whole");
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn an_answer_is_cut_off_once_its_client_takes_too_little() {
        let answers = Answers::default();
        let mut body = untaken(&answers, 1024 * 1024);
        take(&mut body, LEAST_RATE).await;
        let late = body.0.begun + GRACE + Duration::from_secs(1);
        body.0.left.lock().given_last = late;
        assert!(!body.0.cut_off_if_slow(late));
        assert_eq!(answers.bytes(), 1024 * 1024, "a second's share was taken");
        assert!(body.0.cut_off_if_slow(late + Duration::from_millis(1)));
        assert_eq!(answers.bytes(), 0);
    }
}
