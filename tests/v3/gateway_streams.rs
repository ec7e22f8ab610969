//! Streams of JSON, a line for each answer: what is told of a table of watches is the same at real etcd and at Vardr. How revisions are put
//! into lines is left to a server.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::Server;
use crate::support::etcd::Etcd;
use crate::support::http::Client;
use crate::support::volume::not_run;
use crate::told::bare;

/// An answer that comes in lines.
pub(crate) struct Lines {
    reader: BufReader<TcpStream>,
    text: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// Sends a request with this body.
    pub(crate) fn open(client: &Client, path: &str, body: &str) -> Self {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        Self::send(client, &(head + body))
    }

    /// Begins a request whose body comes in pieces of its own.
    fn begin(client: &Client, path: &str) -> Self {
        Self::send(client, &format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"))
    }

    fn send(client: &Client, text: &str) -> Self {
        let mut stream = client.connect();
        stream.write_all(text.as_bytes()).unwrap();
        Self { reader: BufReader::new(stream), text: Vec::new(), ended: false }
    }

    /// How long the next line is waited for.
    pub(crate) fn wait_for(&self, limit: Duration) {
        self.reader.get_ref().set_read_timeout(Some(limit)).unwrap();
    }

    /// The next piece of the body; nothing ends it.
    fn say(&mut self, piece: &str) {
        write!(self.reader.get_mut(), "{:x}\r\n{piece}\r\n", piece.len()).unwrap();
    }

    /// The status, and the headers as they came.
    pub(crate) fn head(&mut self) -> (u16, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.reader.read_line(&mut head).unwrap() > 0, "no head: {head}");
        }
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase())
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.try_next().unwrap()
    }

    /// The same, with an error where none comes.
    pub(crate) fn try_next(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some(at) = self.text.iter().position(|byte| *byte == b'\n') {
                let line = self.text.drain(..=at).collect::<Vec<_>>();
                return Ok(Some(String::from_utf8(line).unwrap().trim_end().to_owned()));
            }
            if self.ended {
                let rest = String::from_utf8(std::mem::take(&mut self.text)).unwrap();
                return Ok(Some(rest).filter(|rest| !rest.is_empty()));
            }
            let mut size = String::new();
            self.reader.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk)?;
            self.text.extend_from_slice(&chunk[..size]);
            self.ended = size == 0;
        }
    }
}

/// A script: the body that opens a stream, the requests that follow, and how many lines without events and how many events come of it.
struct Script {
    name: &'static str,
    before: Vec<(&'static str, &'static str)>,
    body: &'static str,
    after: Vec<(&'static str, &'static str)>,
    others: usize,
    events: usize,
}

/// What one watch is told.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    others: Vec<String>,
    events: Events,
}

/// What a watch is told of, by revision; those of one are in no order.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Events(pub(crate) BTreeMap<i64, Vec<String>>);

impl Events {
    /// Adds an event of this revision, told of by an answer that was made at `now`. What is wrong with it, where it comes after a later
    /// one, or before its time.
    pub(crate) fn add(&mut self, now: i64, revision: i64, event: String) -> Result<(), String> {
        let last = self.0.last_key_value().map_or(revision, |(last, _)| *last);
        if revision < last {
            return Err(format!("told of {revision} after {last}"));
        }
        if now < revision {
            return Err(format!("told of {revision} at {now}"));
        }
        let told = self.0.entry(revision).or_default();
        told.push(event);
        told.sort();
        Ok(())
    }
}

#[test]
fn what_is_told_after_a_later_revision_or_before_its_time_is_noticed() {
    let told = |events: &[(i64, i64)]| {
        let mut heard = Events::default();
        events.iter().try_for_each(|(now, revision)| heard.add(*now, *revision, String::new()))
    };
    assert_eq!(told(&[(8, 8), (9, 9), (9, 9), (12, 10), (12, 12)]), Ok(()));
    assert_eq!(told(&[(9, 9), (9, 8)]), Err("told of 8 after 9".to_owned()));
    assert_eq!(told(&[(9, 8), (8, 9)]), Err("told of 9 at 8".to_owned()));
}

fn post_all(client: &Client, requests: &[(&str, &str)]) {
    for (path, body) in requests {
        client.post(&format!("/v3{path}"), body).expect(200);
    }
}

fn play(client: &Client, script: &Script) -> BTreeMap<String, Heard> {
    post_all(client, &script.before);
    let mut lines = Lines::open(client, "/v3/watch", script.body);
    let (mut others, mut events) = (script.others, script.events);
    let mut heard: BTreeMap<String, Heard> = BTreeMap::new();
    let mut hear = |lines: &mut Lines, others: &mut usize, events: &mut usize| {
        let line = bare(&lines.next().expect("the stream goes on"));
        let value: Value = serde_json::from_str(&line).unwrap();
        let id = value["result"]["watch_id"].as_str().unwrap_or("0").to_owned();
        let heard = heard.entry(id).or_default();
        let Some(told) = value["result"]["events"].as_array() else {
            *others = others.checked_sub(1).unwrap_or_else(|| panic!("{}: one more: {line}", script.name));
            return heard.others.push(line);
        };
        *events = events.checked_sub(told.len()).unwrap_or_else(|| panic!("{}: more events: {line}", script.name));
        let number = |value: &Value| value.as_str().unwrap().parse().unwrap();
        let now = number(&value["result"]["header"]["revision"]);
        for event in told {
            let added = heard.events.add(now, number(&event["kv"]["mod_revision"]), event.to_string());
            added.unwrap_or_else(|why| panic!("{}: {why}: {line}", script.name));
        }
    };
    // The first line comes before anything else happens, where there is one.
    if script.others > 0 {
        assert_eq!(lines.head().0, 200, "{}", script.name);
        while others > 0 && (script.after.is_empty() || others == script.others) {
            hear(&mut lines, &mut others, &mut events);
        }
    }
    post_all(client, &script.after);
    while others > 0 || events > 0 {
        hear(&mut lines, &mut others, &mut events);
    }
    heard
}

/// Thirteen revisions' worth of writes, from the second one on, of the keys a to d.
fn history() -> Vec<(&'static str, &'static str)> {
    vec![
        ("/kv/put", r#"{"key":"YQ==","value":"Mg=="}"#),
        ("/kv/put", r#"{"key":"Yg==","value":"Mw=="}"#),
        ("/kv/put", r#"{"key":"YQ==","value":"NA=="}"#),
        ("/kv/deleterange", r#"{"key":"YQ=="}"#),
        ("/kv/put", r#"{"key":"YQ==","value":"Ng=="}"#),
        (
            "/kv/txn",
            r#"{"success":[{"request_put":{"key":"Yw==","value":"Nw=="}},{"request_put":{"key":"ZA=="}},{"request_delete_range":{"key":"YQ==","range_end":"Yw=="}}]}"#,
        ),
        ("/lease/grant", r#"{"TTL":300,"ID":5}"#),
        ("/kv/put", r#"{"key":"YQ==","lease":5}"#),
        ("/lease/revoke", r#"{"ID":5}"#),
    ]
}

fn scripts() -> Vec<Script> {
    let script = |name, body, others, events| Script { name, before: history(), body, after: vec![], others, events };
    let mut scripts = vec![
        script("from the past", r#"{"create_request":{"key":"YQ==","start_revision":1}}"#, 1, 7),
        script(
            "a range",
            r#"{"createRequest":{"key":"YQ==","rangeEnd":"eg==","startRevision":"2","prevKv":true}}"#,
            1,
            11,
        ),
        script(
            "no puts",
            r#"{"create_request":{"key":"YQ==","start_revision":1,"filters":["NOPUT"],"prev_kv":true}}"#,
            1,
            3,
        ),
        script("no deletions", r#"{"create_request":{"key":"YQ==","start_revision":1,"filters":[1]}}"#, 1, 4),
        script("an empty range", r#"{"create_request":{"key":"Yg==","range_end":"YQ=="}}"#, 1, 0),
        script(
            "several",
            "{\"create_request\":{\"key\":\"YQ==\",\"start_revision\":4}}{\"create_request\":{\"key\":\"Yg==\",\"watch_id\":\"7\",\"start_revision\":1}}\n\n{\"create_request\":{\"key\":\"Yw==\",\"start_revision\":7}}",
            3,
            9,
        ),
        script(
            "a number twice",
            "{\"create_request\":{\"key\":\"YQ==\",\"watch_id\":3}}\n{\"create_request\":{\"key\":\"Yg==\",\"watch_id\":3}}",
            2,
            0,
        ),
        script(
            "a cancellation",
            "{\"create_request\":{\"key\":\"YQ==\"}}\n{\"cancel_request\":{\"watch_id\":0}}",
            2,
            0,
        ),
        script(
            "a cancellation of none",
            "{\"cancel_request\":{\"watch_id\":9}}{\"create_request\":{\"key\":\"YQ==\"}}",
            1,
            0,
        ),
        script("nothing asked first", "{}null{\"create_request\":{\"key\":\"YQ==\"}}", 1, 0),
        script("both of two", r#"{"create_request":{"key":"YQ=="},"x":{"cancel_request":{}}}"#, 1, 0),
    ];
    scripts.push(Script {
        name: "from now on",
        before: vec![],
        body: "{\"create_request\":{\"key\":\"YQ==\",\"range_end\":\"AA==\"}}",
        after: history(),
        others: 1,
        events: 11,
    });
    scripts.push(Script {
        name: "what is none ends what is asked",
        before: vec![],
        body: "{\"create_request\":{\"key\":\"YQ==\"}}x{\"create_request\":{\"key\":\"Yg==\"}}",
        // What the second one would be told comes before what the first one is.
        after: vec![("/kv/put", r#"{"key":"Yg=="}"#), ("/kv/put", r#"{"key":"YQ=="}"#)],
        others: 1,
        events: 1,
    });
    let mut compacted = history();
    compacted.push(("/kv/compaction", r#"{"revision":7}"#));
    scripts.push(Script {
        name: "from what was compacted",
        before: compacted,
        body: r#"{"create_request":{"key":"YQ==","start_revision":6,"watch_id":4}}{"create_request":{"key":"YQ==","start_revision":8}}"#,
        after: vec![],
        others: 3,
        events: 2,
    });
    scripts
}

#[test]
fn etcd_tells_of_a_table_of_watches_in_json_alike() {
    if let Some(hindrance) = Etcd::hindrance() {
        return not_run(hindrance);
    }
    for script in scripts() {
        let (etcd, server) = (Etcd::start(), Server::start());
        let (theirs, ours) = (play(&etcd.http(), &script), play(&Client::new(server.address()), &script));
        assert_eq!(ours, theirs, "{}", script.name);
    }
}

#[test]
fn an_election_is_observed_line_by_line() {
    if let Some(hindrance) = Etcd::hindrance() {
        return not_run(hindrance);
    }
    let (etcd, server) = (Etcd::start(), Server::start());
    let mut told = Vec::new();
    for client in [etcd.http(), Client::new(server.address())] {
        let mut lines = Lines::open(&client, "/v3/election/observe", r#"{"name":"RTE="}"#);
        post_all(
            &client,
            &[
                ("/lease/grant", r#"{"TTL":600,"ID":2000}"#),
                ("/election/campaign", r#"{"name":"RTE=","lease":2000,"value":"bWU="}"#),
            ],
        );
        let (status, head) = lines.head();
        assert!(status == 200 && head.contains("grpc-metadata-content-type: application/grpc"), "{head}");
        let first = lines.next().unwrap();
        let leader: Value = client.post("/v3/election/leader", r#"{"name":"RTE="}"#).expect(200).value();
        let kv = &leader["kv"];
        let key = format!(r#"{{"name":"RTE=","key":{},"rev":{},"lease":2000}}"#, kv["key"], kv["create_revision"]);
        client.post("/v3/election/proclaim", format!(r#"{{"leader":{key},"value":"bWUy"}}"#)).expect(200);
        told.push([bare(&first), bare(&lines.next().unwrap())]);
    }
    assert_eq!(told[1], told[0]);
}

#[test]
fn a_watch_asks_for_more_while_it_is_told() {
    let server = Server::start();
    let client = Client::new(server.address());
    let mut lines = Lines::begin(&client, "/v3/watch");
    lines.say("{\"create_request\":{\"key\":");
    lines.say("\"YQ==\"}}");
    lines.head();
    let created = lines.next().unwrap();
    assert!(created.contains(r#""created":true"#), "{created}");
    client.post("/v3/kv/put", r#"{"key":"YQ==","value":"MQ=="}"#).expect(200);
    assert!(lines.next().unwrap().contains(r#""value":"MQ==""#));
    lines.say("{\"create_request\":{\"key\":\"Yg==\"}}\n{\"progress_request\":{}}");
    let created = lines.next().unwrap();
    assert!(created.contains(r#""watch_id":"1""#), "{created}");
    assert!(lines.next().unwrap().contains(r#""watch_id":"-1""#));
}

#[test]
fn nothing_is_said_before_there_is_something_to_say_and_a_server_that_stops_says_so() {
    let mut server = Server::start();
    let client = Client::new(server.address());
    let mut silent = Lines::open(&client, "/v3/watch", "");
    let mut unsaid = Lines::begin(&client, "/v3/watch");
    unsaid.say("{\"create_request\":");
    let mut watch = Lines::open(&client, "/v3/watch", r#"{"create_request":{"key":"YQ=="}}"#);
    watch.head();
    watch.next().unwrap();
    assert!(server.terminate().success());
    let last = r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: server stopped","http_status":"Service Unavailable"}}"#;
    assert_eq!(watch.next().unwrap(), last);
    assert_eq!(watch.next(), None);
    assert_eq!(silent.head().0, 503);
    assert_eq!(silent.next().unwrap(), last);
    assert_eq!(unsaid.head().0, 503, "what is not asked whole is not waited for");
}
