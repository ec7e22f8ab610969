//! One keep-alive HTTP/1.1 connection that costs little: a request goes out as the bytes it is given, an answer is read
//! to its end and only its status is looked at.
//!
//! No pipelining, no TLS, no redirects. It reads the two framings that the measured servers use: `Content-Length` and
//! chunks (RFC 9112, sections 6.2 and 7.1).

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where the end of a body is.
enum Framing {
    /// The answer is this many bytes long, head included.
    Length(usize),
    /// The next chunk's size line begins here.
    Chunked(usize),
}

/// A head that was read to its end.
struct Head {
    status: u16,
    framing: Framing,
}

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends `request` and answers the status once the whole answer has arrived.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let mut head = loop {
            self.fill().await?;
            if let Some(head) = parse_head(&self.buffer)? {
                break head;
            }
        };
        while !is_whole(&mut head.framing, &self.buffer)? {
            self.fill().await?;
        }
        Ok(head.status)
    }

    /// The bytes of the last answer, head and framing included.
    pub(crate) fn answer(&self) -> &[u8] {
        &self.buffer
    }

    /// The body of the last answer as JSON, if it came whole with a length.
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        let body = find(&self.buffer, b"\r\n\r\n").and_then(|end| self.buffer.get(end + 4..)).unwrap_or_default();
        Ok(serde_json::from_slice(body)?)
    }

    /// Sends `request` and reads its head: a stream has begun. Gives up the connection for what follows.
    pub(crate) async fn stream(mut self, request: &[u8]) -> io::Result<(TcpStream, Vec<u8>)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let end = loop {
            self.fill().await?;
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
        };
        if !self.buffer.starts_with(b"HTTP/1.1 200") {
            return Err(bad(&format!("no stream: {}", String::from_utf8_lossy(&self.buffer))));
        }
        let rest = self.buffer.split_off(end);
        Ok((self.stream, rest))
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn parse_head(buffer: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = find(buffer, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(buffer.get(..end).unwrap_or_default()).map_err(|_| bad("the head is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.get(9..12)).and_then(|digits| digits.parse().ok());
    let status = status.ok_or_else(|| bad("no status line"))?;
    let mut framing = Framing::Length(end + 4);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            let length: usize = value.trim().parse().map_err(|_| bad("a length that is no number"))?;
            framing = Framing::Length(end + 4 + length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked(end + 4);
        }
    }
    Ok(Some(Head { status, framing }))
}

/// Whether the buffer holds the whole body; remembers how far it has looked.
fn is_whole(framing: &mut Framing, buffer: &[u8]) -> io::Result<bool> {
    match framing {
        Framing::Length(length) => Ok(buffer.len() >= *length),
        Framing::Chunked(next) => loop {
            let rest = buffer.get(*next..).unwrap_or_default();
            let Some(line) = find(rest.get(..rest.len().min(18)).unwrap_or_default(), b"\r\n") else {
                return Ok(false);
            };
            let digits = std::str::from_utf8(rest.get(..line).unwrap_or_default()).unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).map_err(|_| bad("a chunk size that is no number"))?;
            let end = *next + line + 2 + size + 2;
            if size == 0 || buffer.len() < end {
                return Ok(size == 0 && buffer.len() >= end);
            }
            *next = end;
        },
    }
}
