//! The v2 API of etcd over real sockets: answers byte by byte, waiting, and the one key space behind it and `/v1`.

#![cfg(test)]

mod answers;
mod auth;
mod dialects;
mod expiry;
mod form;
mod paths;
#[path = "../support/mod.rs"]
mod support;
mod waits;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use support::Server;
use support::http::{Client, Response};

/// How long anything awaited may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// A client of `/v2/keys`.
struct Keys(Client);

fn start() -> (Server, Keys) {
    let server = Server::start();
    let keys = Keys(Client::new(server.address()));
    (server, keys)
}

impl Keys {
    fn send(&self, method: &str, path: &str, form: &str) -> Response {
        self.0.send(method, &format!("/v2/keys{path}"), &[FORM], form.as_bytes())
    }

    fn get(&self, path: &str) -> Response {
        self.0.get(&format!("/v2/keys{path}"))
    }

    fn put(&self, path: &str, form: &str) -> Response {
        self.send("PUT", path, form)
    }

    fn post(&self, path: &str, form: &str) -> Response {
        self.send("POST", path, form)
    }

    fn delete(&self, path: &str) -> Response {
        self.0.delete(&format!("/v2/keys{path}"))
    }

    /// Waits on a node; returns once the server has begun to.
    fn wait(&self, path: &str) -> Wait {
        let mut stream = self.0.connect();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET /v2/keys{path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut wait = Wait { stream, read: Vec::new() };
        wait.until(|wait| wait.head().is_some());
        wait
    }

    /// Asks until a node is gone.
    fn until_gone(&self, path: &str) {
        let begun = Instant::now();
        while self.get(path).status != 404 {
            assert!(begun.elapsed() < LIMIT, "{path} stays");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// An answer that is held, or a stream.
struct Wait {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wait {
    /// Reads until it has what is wanted, or the server ends the connection.
    fn until(&mut self, has: impl Fn(&Self) -> bool) {
        let mut piece = [0; 4096];
        while !has(self) {
            let length = self.stream.read(&mut piece).expect("something to read in time");
            assert!(length > 0, "the connection ended: {}", String::from_utf8_lossy(&self.read));
            self.read.extend_from_slice(&piece[..length]);
        }
    }

    fn head(&self) -> Option<String> {
        let end = self.read.windows(4).position(|four| four == b"\r\n\r\n")?;
        Some(String::from_utf8_lossy(&self.read[..end]).into_owned())
    }

    /// The lines of the chunked body that have come in full.
    fn lines(&self) -> Vec<String> {
        let body = Response::parse(&self.read).text();
        let whole = body.rfind('\n').map_or("", |end| &body[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// The next so many changes.
    fn changes(&mut self, count: usize) -> Vec<String> {
        self.until(|wait| wait.lines().len() >= count);
        self.lines()
    }

    /// The one change, after which the answer is over.
    fn change(&mut self) -> String {
        self.until(|wait| wait.read.ends_with(b"\r\n0\r\n\r\n"));
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    }
}

/// Fails unless an answer has this status, index and body.
#[track_caller]
fn says(response: &Response, status: u16, index: u64, body: &str) {
    assert_eq!((response.status, response.text().as_str()), (status, format!("{body}\n").as_str()));
    assert_eq!(response.header("x-etcd-index"), Some(index.to_string().as_str()));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert!(response.header("x-etcd-cluster-id").is_some_and(|id| !id.is_empty() && !id.starts_with('0')));
    let of_raft = ["x-raft-index", "x-raft-term"].map(|name| response.header(name).and_then(|n| n.parse::<u64>().ok()));
    assert_eq!(of_raft.map(|number| number.is_some_and(|number| number > 0)), [status < 400; 2]);
    assert!(response.headers.iter().all(|(name, _)| !name.starts_with("vardr-")), "{:?}", response.headers);
}

/// Fails unless an answer is this error, about the state at an index or, at 0, about the request.
#[track_caller]
fn fails(response: &Response, status: u16, code: u16, cause: &str, index: u64) {
    let error = response.value();
    assert_eq!((response.status, &error["errorCode"]), (status, &Value::from(code)), "{error}");
    assert_eq!(error.get("cause").and_then(Value::as_str).unwrap_or_default(), cause);
    assert_eq!(error["index"], index);
    says(response, status, index, response.text().trim_end());
}
