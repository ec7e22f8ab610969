//! What is said over gRPC, and how streams and single calls are: a message goes out as the bytes it is given. Calls whose rate
//! is measured are those of `unary.rs`.
//!
//! HTTP/2 by the `h2` crate, the framing of messages by hand: a byte that says whether it is compressed, four of length.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Request};
use prost::Message;
use tokio::net::TcpStream;

/// The connections that all calls share.
pub(crate) const CHANNELS: usize = 4;

pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";

/// What a client is ready to take before it has read it: never what holds a server up.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// As much of etcd's `PutRequest` as is asked for.
#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// As much of etcd's `RangeRequest` as is asked for.
#[derive(Clone, PartialEq, Message)]
struct Range {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

/// A call that writes a key.
pub(crate) fn put(key: &str, value: &str) -> Bytes {
    framed(&Put { key: key.into(), value: value.into() })
}

/// A call that reads a key.
pub(crate) fn get(key: &str) -> Bytes {
    framed(&Range { key: key.into() })
}

/// The message as it travels.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(5 + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    framed.put_slice(&message.encode_to_vec());
    framed.freeze()
}

/// A connection.
pub(crate) struct Channel {
    sender: SendRequest<Bytes>,
    address: SocketAddr,
}

impl Channel {
    /// Needs the runtime that it is used in.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let (sender, connection) = builder.handshake(stream).await?;
        // Its errors are those of the calls.
        tokio::spawn(async { drop(connection.await) });
        Ok(Self { sender, address })
    }

    /// One message there and the answer back, which must be a success. Answers the bytes of the answer.
    pub(crate) async fn call(&self, method: &str, message: Bytes) -> Result<Bytes> {
        let (mut sent, answer) = self.stream(method).await?;
        sent.send_data(message, true)?;
        let (head, mut answer) = answer.await?.into_parts();
        let mut whole = BytesMut::new();
        while let Some(bytes) = read(&mut answer).await? {
            whole.extend_from_slice(&bytes);
        }
        // An answer that is nothing but a status has it in its head.
        let trailers = answer.trailers().await?.unwrap_or(head.headers);
        let status = trailers.get("grpc-status").map(http::HeaderValue::as_bytes);
        ensure!(status == Some(b"0"), "{method} was answered with {trailers:?}");
        Ok(whole.freeze())
    }

    /// Messages there and messages back, as they come.
    pub(crate) async fn stream(&self, method: &str) -> Result<(SendStream<Bytes>, h2::client::ResponseFuture)> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{method}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (answer, sent) = sender.send_request(request, false)?;
        Ok((sent, answer))
    }
}

/// What comes next of a body, which the server may then send more of.
pub(crate) async fn read(body: &mut RecvStream) -> Result<Option<Bytes>> {
    let Some(bytes) = body.data().await.transpose()? else { return Ok(None) };
    body.flow_control().release_capacity(bytes.len())?;
    Ok(Some(bytes))
}
