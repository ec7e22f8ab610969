//! Unary gRPC calls, many at once on one HTTP/2 connection, that cost a client about what a request of HTTP/1.1 does: frames
//! are written and read by hand (RFC 9113), the same four headers go out with every call (RFC 7541), and what a read has
//! brought is answered with one write.
//!
//! Of an answer only the shape is looked at. A server that refuses a call ends it without a message, so that one that had a
//! message and ended orderly has succeeded.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::histogram::Histogram;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;

/// Kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const INITIAL_WINDOW_SIZE: u16 = 4;
/// What every connection may carry before the other side says more.
const FIRST_WINDOW: usize = 65_535;
/// What a server may send: never what holds it up.
const WINDOW: u32 = 1 << 30;

/// The byte that says whether a message is compressed, and four of length.
const PREFIX_BYTES: usize = 5;

/// Taken with one read, if so much is there.
const READ_BYTES: usize = 16 * 1024;

/// A call under way.
struct Call {
    place: usize,
    begun: Instant,
    answered_bytes: usize,
}

/// A connection, and who calls over it: each of the places in the requests goes on from there, one call at a time.
pub(crate) struct Callers {
    stream: TcpStream,
    /// What to send with the next write.
    out: BytesMut,
    /// The headers of every call but the first, by where they are in the server's table then.
    headers: Bytes,
    next_stream: u32,
    /// What the server is still ready to take.
    window: usize,
    /// What it has sent since it was last allowed more.
    received: u32,
    requests: Arc<[Bytes]>,
    places: Vec<usize>,
    calls: HashMap<u32, Call>,
}

impl Callers {
    pub(crate) async fn open(
        address: SocketAddr,
        method: &str,
        requests: Arc<[Bytes]>,
        places: Vec<usize>,
    ) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut out = BytesMut::from(PREFACE);
        put_head(&mut out, 6, SETTINGS, 0, 0);
        out.put_u16(INITIAL_WINDOW_SIZE);
        out.put_u32(WINDOW);
        put_window(&mut out, WINDOW);
        Ok(Self {
            stream,
            out,
            headers: first_headers(method, &address.to_string())?,
            next_stream: 1,
            window: FIRST_WINDOW,
            received: 0,
            requests,
            places,
            calls: HashMap::new(),
        })
    }

    /// Calls until `end`; counts what was begun and answered from `start` on.
    pub(crate) async fn repeat(mut self, start: Instant, end: Instant) -> Result<Histogram> {
        let mut histogram = Histogram::default();
        let mut idle: Vec<_> = (0..self.places.len()).collect();
        let mut read = BytesMut::new();
        loop {
            let now = Instant::now();
            idle.retain(|place| now < end && !self.begin(*place, now));
            if self.calls.is_empty() && idle.is_empty() {
                return Ok(histogram);
            }
            self.stream.write_all_buf(&mut self.out).await?;
            read.reserve(READ_BYTES);
            if self.stream.read_buf(&mut read).await? == 0 {
                return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
            }
            while let Some(frame) = take_frame(&mut read) {
                if let Some(Call { place, begun, .. }) = self.take(&frame)? {
                    let answered = Instant::now();
                    if begun >= start && answered < end {
                        histogram.record(answered - begun);
                    }
                    idle.push(place);
                }
            }
        }
    }

    /// Whether the server is ready to take the next call of a place, which is then under way.
    fn begin(&mut self, place: usize, now: Instant) -> bool {
        let Some(at) = self.places.get_mut(place) else { return true };
        let Some(message) = self.requests.get(*at) else { return true };
        let length = message.len();
        if self.window < length {
            return false;
        }
        self.window -= length;
        *at = (*at + 1) % self.requests.len();
        put_head(&mut self.out, self.headers.len(), HEADERS, END_HEADERS, self.next_stream);
        self.out.put_slice(&self.headers);
        put_head(&mut self.out, length, DATA, END_STREAM, self.next_stream);
        self.out.put_slice(message);
        self.headers = later_headers();
        self.calls.insert(self.next_stream, Call { place, begun: now, answered_bytes: 0 });
        self.next_stream += 2;
        true
    }

    /// Takes a frame; the call that has succeeded with it, if one has.
    fn take(&mut self, frame: &Frame) -> Result<Option<Call>> {
        let Frame { kind, flags, stream, body } = frame;
        match *kind {
            DATA => {
                self.received += u32::try_from(body.len())?;
                if self.received > WINDOW / 2 {
                    put_window(&mut self.out, std::mem::take(&mut self.received));
                }
                if let Some(call) = self.calls.get_mut(stream) {
                    call.answered_bytes += body.len();
                }
                ensure!(flags & END_STREAM == 0, "an answer ended without a status");
            }
            HEADERS if flags & END_STREAM != 0 => {
                let call = self.calls.remove(stream);
                let is_answered = call.as_ref().is_some_and(|call| call.answered_bytes >= PREFIX_BYTES);
                ensure!(is_answered, "a call was refused: {}", body.escape_ascii());
                return Ok(call);
            }
            SETTINGS if flags & ACK == 0 => put_head(&mut self.out, 0, SETTINGS, ACK, 0),
            PING if flags & ACK == 0 => {
                put_head(&mut self.out, body.len(), PING, ACK, 0);
                self.out.put_slice(body);
            }
            WINDOW_UPDATE if *stream == 0 => self.window += usize::try_from(body.clone().try_get_u32()?)?,
            RST_STREAM | GOAWAY => bail!("the server gave up a call: {}", body.escape_ascii()),
            _ => {}
        }
        Ok(None)
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    body: Bytes,
}

/// The frame that has come whole, if one has.
fn take_frame(read: &mut BytesMut) -> Option<Frame> {
    let mut head = read.get(..HEAD_BYTES)?;
    let length = usize::try_from(head.get_uint(3)).ok()?;
    let (kind, flags, stream) = (head.get_u8(), head.get_u8(), head.get_u32());
    if read.len() < HEAD_BYTES + length {
        return None;
    }
    read.advance(HEAD_BYTES);
    Some(Frame { kind, flags, stream, body: read.split_to(length).freeze() })
}

fn put_head(out: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    out.put_uint(length as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
}

/// Allows the server to send so much more on the connection.
fn put_window(out: &mut BytesMut, more: u32) {
    put_head(out, 4, WINDOW_UPDATE, 0, 0);
    out.put_u32(more);
}

/// The headers of a call, which the server takes into its table.
fn first_headers(method: &str, authority: &str) -> Result<Bytes> {
    // From the static table: `POST`, `http`; and the names of what is literal.
    let mut block = BytesMut::from(&[0x83, 0x86][..]);
    let literals =
        [(0x44, "", method), (0x41, "", authority), (0x5f, "", "application/grpc"), (0x40, "te", "trailers")];
    for (kind, name, value) in literals {
        block.put_u8(kind);
        for text in [name, value].into_iter().filter(|text| !text.is_empty()) {
            let length = u8::try_from(text.len())?;
            ensure!(length < 0x7f, "{text} is too long");
            block.put_u8(length);
            block.put_slice(text.as_bytes());
        }
    }
    Ok(block.freeze())
}

/// The same by their places in the tables, where what came last is first.
fn later_headers() -> Bytes {
    Bytes::from_static(&[0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe])
}
