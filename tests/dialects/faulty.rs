//! Planted bugs: a proxy before Vardr that answers as a member with the bug would.
//!
//! A bug in the server itself would have to ship a switch for it; here nothing of what ships knows. What stays open passes through
//! untouched.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::support::http::{Client, Response};

/// What is wrong with the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A `set` over a file keeps the index at which the file was first made.
    CreatedIndexKept,
    /// An `update` does not tell what was there before.
    PrevNodeForgotten,
    /// A comparison that failed twice names the index before the value.
    CausesSwapped,
    /// What is left to live is rounded down.
    TtlRoundedDown,
    /// A listing shows a hidden key.
    HiddenListed,
}

impl Bug {
    pub(crate) const ALL: [Self; 5] = [
        Self::CreatedIndexKept,
        Self::PrevNodeForgotten,
        Self::CausesSwapped,
        Self::TtlRoundedDown,
        Self::HiddenListed,
    ];

    /// The body as the bug makes it.
    fn bend(self, target: &str, body: &str, server: &Client) -> String {
        match self {
            Self::CreatedIndexKept => kept(body),
            Self::PrevNodeForgotten => forgotten(body),
            Self::CausesSwapped => swapped(body),
            Self::TtlRoundedDown => rounded_down(body),
            Self::HiddenListed => listed(target, body, server),
        }
        .unwrap_or_else(|| body.to_owned())
    }
}

const CREATED: &str = "\"createdIndex\":";

fn kept(body: &str) -> Option<String> {
    let (node, prev) = body.strip_prefix("{\"action\":\"set\"")?.split_once(",\"prevNode\":")?;
    let (before, _) = node.rsplit_once(CREATED)?;
    let (_, index) = prev.rsplit_once(CREATED)?;
    let index = index.split('}').next()?;
    Some(format!("{{\"action\":\"set\"{before}{CREATED}{index}}},\"prevNode\":{prev}"))
}

fn forgotten(body: &str) -> Option<String> {
    let (node, _) = body.strip_prefix("{\"action\":\"update\"")?.split_once(",\"prevNode\":")?;
    Some(format!("{{\"action\":\"update\"{node}}}\n"))
}

fn swapped(body: &str) -> Option<String> {
    let start = "{\"errorCode\":101,\"message\":\"Compare failed\",\"cause\":\"[";
    let (one, rest) = body.strip_prefix(start)?.split_once("] [")?;
    let (two, rest) = rest.split_once("]\",\"index\":")?;
    Some(format!("{start}{two}] [{one}]\",\"index\":{rest}"))
}

fn rounded_down(body: &str) -> Option<String> {
    let mut parts = body.split("\"ttl\":");
    let mut bent = parts.next()?.to_owned();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let ttl = part[..digits].parse::<u64>().map_or_else(|_| part[..digits].to_owned(), |ttl| (ttl - 1).to_string());
        let _ = write!(bent, "\"ttl\":{ttl}{}", &part[digits..]);
    }
    Some(bent)
}

fn listed(target: &str, body: &str, server: &Client) -> Option<String> {
    let rest = body.strip_prefix("{\"action\":\"get\",\"node\":{")?;
    let path = target.split('?').next()?.trim_end_matches('/');
    let hidden = server.get(&format!("{path}/_h"));
    let hidden = hidden.text();
    let node = hidden.strip_prefix("{\"action\":\"get\",\"node\":")?.strip_suffix("}\n")?;
    let (before, after) = rest.split_once("\"nodes\":[")?;
    Some(format!("{{\"action\":\"get\",\"node\":{{{before}\"nodes\":[{node},{after}"))
}

/// A proxy that runs; it stops when dropped.
pub(crate) struct Faulty {
    address: String,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Faulty {
    pub(crate) fn start(bug: Bug, upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let (upstream, stopped) = (upstream.to_owned(), Arc::clone(&stop));
        let worker = thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let upstream = upstream.clone();
                // It ends with its connection.
                thread::spawn(move || pass(bug, client, &upstream));
            }
        });
        Self { address, stop, worker: Some(worker) }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.address);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

/// Passes one request on, and its answer back.
fn pass(bug: Bug, mut client: TcpStream, upstream: &str) -> Option<()> {
    let mut server = TcpStream::connect(upstream).ok()?;
    let (mut requests, mut onward) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let mut request = vec![0; 65536];
    let length = requests.read(&mut request).ok()?;
    request.truncate(length);
    onward.write_all(&request).ok()?;
    // What else there is of the request follows; when the client goes, so does the connection onward.
    thread::spawn(move || {
        let _ = std::io::copy(&mut requests, &mut onward);
        let _ = onward.shutdown(Shutdown::Both);
    });
    let mut answer = Vec::new();
    let mut part = [0; 16384];
    loop {
        let length = server.read(&mut part).ok()?;
        answer.extend_from_slice(&part[..length]);
        let head = Response::parse(&answer);
        let is_open = head.header("transfer-encoding").is_some();
        if is_open {
            client.write_all(&answer).ok()?;
            let _ = std::io::copy(&mut server, &mut client);
            // The other half of it is still being read.
            return client.shutdown(Shutdown::Both).ok();
        }
        if length == 0 {
            break;
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let target = request.split(' ').nth(1)?;
    let response = Response::parse(&answer);
    let body = bug.bend(target, &response.text(), &Client::new(upstream));
    let head = &answer[..answer.len() - response.body.len()];
    let head = String::from_utf8_lossy(head).into_owned();
    let head = head.lines().map(|line| match line.split_once(':') {
        Some((name, _)) if name.eq_ignore_ascii_case("content-length") && !body.is_empty() => {
            format!("{name}: {}\r\n", body.len())
        }
        _ => format!("{line}\r\n"),
    });
    let head: String = head.collect();
    client.write_all(head.as_bytes()).ok()?;
    client.write_all(body.as_bytes()).ok()?;
    client.shutdown(Shutdown::Both).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bug_bends_what_it_is_about_and_nothing_else() {
        let node = |index, created| format!("{{\"key\":\"/f\",\"modifiedIndex\":{index},\"createdIndex\":{created}}}");
        let event = |action: &str, one: String, two: &str| format!("{{\"action\":\"{action}\",\"node\":{one}{two}}}\n");
        let prev = format!(",\"prevNode\":{}", node(4, 3));
        let set = event("set", node(5, 5), &prev);
        let client = Client::new("127.0.0.1:1");
        let bend = |bug: Bug, body: &str| bug.bend("/v2/keys/f", body, &client);
        assert_eq!(bend(Bug::CreatedIndexKept, &set), event("set", node(5, 3), &prev));
        assert_eq!(bend(Bug::PrevNodeForgotten, &set), set);
        let update = event("update", node(5, 3), &prev);
        assert_eq!(bend(Bug::CreatedIndexKept, &update), update);
        assert_eq!(bend(Bug::PrevNodeForgotten, &update), event("update", node(5, 3), ""));
        let failed =
            |cause| format!("{{\"errorCode\":101,\"message\":\"Compare failed\",\"cause\":\"{cause}\",\"index\":5}}\n");
        assert_eq!(bend(Bug::CausesSwapped, &failed("[a != b] [1 != 2]")), failed("[1 != 2] [a != b]"));
        assert_eq!(bend(Bug::CausesSwapped, &failed("[a != b]")), failed("[a != b]"));
        assert_eq!(bend(Bug::TtlRoundedDown, "{\"ttl\":100,\"x\":1}"), "{\"ttl\":99,\"x\":1}");
    }
}
