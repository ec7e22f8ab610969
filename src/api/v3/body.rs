//! The bound on what one message of a request may have, with the answer that gRPC for Go gives to a larger one: its text names
//! both numbers, and clients show it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use http_body::{Frame, SizeHint};
use tonic::Status;

/// What stands before a message: whether it is compressed, and its length in four bytes (gRPC over HTTP/2, "Requests").
pub(super) const PREFIX_BYTES: usize = 5;

/// The body of a request, which fails at the first message that is too large, before anything of it is kept.
pub(super) struct Bounded {
    body: Body,
    limit: usize,
    /// What has come of a prefix.
    prefix: [u8; PREFIX_BYTES],
    prefix_length: usize,
    /// What is still to come of a message.
    left: usize,
}

impl Bounded {
    pub(super) fn new(body: Body, limit: usize) -> Self {
        Self { body, limit, prefix: [0; PREFIX_BYTES], prefix_length: 0, left: 0 }
    }

    /// Follows the messages in a piece of the body.
    fn check(&mut self, mut piece: &[u8]) -> Result<(), Status> {
        while !piece.is_empty() {
            if self.left > 0 {
                let passed = self.left.min(piece.len());
                piece.advance(passed);
                self.left -= passed;
                continue;
            }
            if let (Some(place), Some((byte, rest))) = (self.prefix.get_mut(self.prefix_length), piece.split_first()) {
                *place = *byte;
                self.prefix_length += 1;
                piece = rest;
            }
            if self.prefix_length == PREFIX_BYTES {
                self.prefix_length = 0;
                let [_, length @ ..] = self.prefix;
                let length = u32::from_be_bytes(length);
                self.left = usize::try_from(length).unwrap_or(usize::MAX);
                if self.left > self.limit {
                    let text = format!("grpc: received message larger than max ({length} vs. {})", self.limit);
                    return Err(Status::resource_exhausted(text));
                }
            }
        }
        Ok(())
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        polled.map(|frame| match frame? {
            Ok(frame) => Some(match frame.data_ref() {
                Some(piece) => self.check(piece).map(|()| frame),
                None => Ok(frame),
            }),
            // Whoever sent it is gone, or does not speak HTTP/2: either way nobody reads the answer.
            Err(error) => Some(Err(Status::cancelled(error.to_string()))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(limit: usize, pieces: &[&[u8]]) -> Result<(), String> {
        let mut body = Bounded::new(Body::empty(), limit);
        pieces.iter().try_for_each(|piece| body.check(piece)).map_err(|status| status.message().to_owned())
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let two = [&[0, 0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 1], b"x"].concat();
        for at in 0..two.len() {
            let (a, b) = two.split_at(at);
            assert_eq!(checked(3, &[a, b]), Ok(()));
            let told = checked(2, &[a, b]).unwrap_err();
            assert_eq!(told, "grpc: received message larger than max (3 vs. 2)");
        }
    }
}
