//! The messages of a request's body, one after the other: each is read when it is wanted, and nothing is kept of those before it.

use axum::Error;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tonic::{Code, Status};

use super::read::read;
use super::scan::{Container, Document, Scanner, Value};
use super::table::{Message, Method};
use crate::api::v3::body::PREFIX_BYTES;
use crate::api::v3::{OVERHEAD_BYTES, Services};

/// How many times as long as a message its JSON may be: a byte of an array of numbers takes four (`255,`).
const LONGEST_BYTE: usize = 4;

/// How many bytes the JSON of a message may have.
pub(super) fn longest(services: &Services) -> usize {
    services.state.service().limits().max_request_bytes.saturating_add(OVERHEAD_BYTES).saturating_mul(LONGEST_BYTE)
}

/// The messages in pieces of a body.
pub(super) struct Requests<S> {
    pieces: S,
    ended: bool,
    /// What has come, and was not read yet.
    text: BytesMut,
    scanner: Scanner,
    longest: usize,
    message: &'static Message,
    /// The code of a message that is none, as etcd gives it.
    wrong: Code,
}

impl<S: Stream<Item = Result<Bytes, Error>> + Unpin> Requests<S> {
    pub(super) fn new(pieces: S, services: &Services, method: &'static Method) -> Self {
        Self {
            pieces,
            ended: false,
            text: BytesMut::new(),
            scanner: Scanner::new(),
            longest: longest(services),
            message: method.input,
            wrong: if method.takes_many { Code::Unknown } else { Code::InvalidArgument },
        }
    }

    /// Waits for the next message, as gRPC frames it; `None` once there is no other.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            match self.scanner.scan(&self.text) {
                Ok(None) if self.ended => {
                    let scanner = std::mem::replace(&mut self.scanner, Scanner::new());
                    let (value, containers) = match scanner.finish() {
                        Ok(found) => found?,
                        Err(error) => return Some(Err(Status::new(self.wrong, error))),
                    };
                    return Some(self.framed(value, &containers));
                }
                Ok(None) => match self.pieces.next().await {
                    Some(Ok(piece)) => {
                        let length = self.text.len().saturating_add(piece.len());
                        if length > self.longest {
                            return Some(Err(too_large(length, self.longest)));
                        }
                        self.text.extend_from_slice(&piece);
                    }
                    // Whoever sent it is gone: nobody reads the answer.
                    Some(Err(error)) => return Some(Err(Status::cancelled(error.to_string()))),
                    None => self.ended = true,
                },
                Ok(Some(value)) => {
                    let scanner = std::mem::replace(&mut self.scanner, Scanner::new());
                    return Some(self.framed(value, &scanner.into_containers()));
                }
                Err(error) => return Some(Err(Status::new(self.wrong, error))),
            }
        }
    }

    /// The message that a value says, which is taken out of the text.
    fn framed(&mut self, value: Value, containers: &[Container]) -> Result<Bytes, Status> {
        let mut frame = vec![0; PREFIX_BYTES];
        let document = Document { text: &self.text, containers };
        let done = read(document, value, self.message, &mut frame);
        self.text.advance(value.end());
        done.map_err(|error| Status::new(self.wrong, error))?;
        Ok(finished(frame))
    }
}

/// A frame whose message is whole: its length goes in front (gRPC over HTTP/2, "Requests").
fn finished(mut frame: Vec<u8>) -> Bytes {
    let length = u32::try_from(frame.len().saturating_sub(PREFIX_BYTES)).unwrap_or(u32::MAX);
    if let Some(place) = frame.get_mut(1..PREFIX_BYTES) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    frame.into()
}

/// The message of a body that has none.
pub(super) fn empty() -> Bytes {
    Bytes::from_static(&[0; PREFIX_BYTES])
}

/// As the services say it of a message, here of its JSON.
fn too_large(length: usize, longest: usize) -> Status {
    Status::resource_exhausted(format!("grpc: received message larger than max ({length} vs. {longest})"))
}
