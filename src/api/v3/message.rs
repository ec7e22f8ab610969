//! The body of an answer with one message, which may be as large as what is stored.
//!
//! tonic encodes a message only when a connection asks for it, which one that is not read never does. So that it is counted how large the
//! message is, it is asked for at once.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tonic::Status;

use crate::api::unread::large;
use crate::service::{Answers, LARGE_BYTES};

/// Has the answer counted if it is large.
pub(super) fn counted(answers: &Answers, mut body: tonic::body::Body) -> Body {
    let first = body.frame().now_or_never().flatten();
    match first.map(|first| first.map(Frame::into_data)) {
        Some(Ok(Ok(data))) if data.len() >= LARGE_BYTES => large(answers, data.len(), data, Body::new(body)),
        Some(Ok(Ok(data))) => Body::new(Begun { first: Some(Ok(Frame::data(data))), rest: body }),
        Some(Ok(Err(trailers))) => Body::new(Begun { first: Some(Ok(trailers)), rest: body }),
        Some(Err(status)) => Body::new(Begun { first: Some(Err(status)), rest: body }),
        None => Body::new(body),
    }
}

/// A body whose first frame is here already.
struct Begun {
    first: Option<Result<Frame<Bytes>, Status>>,
    rest: tonic::body::Body,
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, Stream};
    use http::{HeaderMap, HeaderValue};
    use http_body_util::StreamBody;

    use super::*;

    fn body(frames: impl Stream<Item = Result<Frame<Bytes>, Status>> + Send + 'static) -> tonic::body::Body {
        tonic::body::Body::new(StreamBody::new(frames))
    }

    #[tokio::test]
    async fn a_message_comes_whole_and_with_its_trailers_however_large() {
        for length in [0, 1, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES * 3 + 1] {
            let answers = Answers::default();
            let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
            let frames = [Frame::data(Bytes::from(vec![7; length])), Frame::trailers(trailers.clone())];
            let body = counted(&answers, body(stream::iter(frames.map(Ok))));
            assert_eq!(answers.bytes(), if length >= LARGE_BYTES { length } else { 0 });
            let collected = body.collect().await.unwrap();
            assert_eq!(collected.trailers(), Some(&trailers));
            assert_eq!(collected.to_bytes().len(), length);
            assert_eq!(answers.bytes(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_not_ready_at_once_is_waited_for() {
        let late = stream::once(async {
            tokio::task::yield_now().await;
            Ok(Frame::data(Bytes::from_static(b"late")))
        });
        let body = counted(&Answers::default(), body(Box::pin(late)));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "late");
    }

    #[tokio::test]
    async fn a_refusal_that_comes_instead_is_passed_on() {
        let refused = stream::iter([Err(Status::internal("no"))]);
        assert!(counted(&Answers::default(), body(refused)).collect().await.is_err());
    }
}
