//! Requests that are none: the gateway answers each and goes on.

use std::io::{Read as _, Write as _};

use crate::gateway_streams::Lines;
use crate::support::Server;
use crate::support::http::Client;

/// A good body for each path that takes more than a name.
const GOOD: &[(&str, &str)] = &[
    ("/v3/kv/range", r#"{"key":"YQ==","range_end":[122],"limit":"5","sort_order":"DESCEND","keys_only":true}"#),
    ("/v3/kv/put", r#"{"key":"YQ==","value":"\u0059g==","lease":-0,"prev_kv":true}"#),
    (
        "/v3/kv/txn",
        r#"{"compare":[{"key":"YQ==","target":"VERSION","version":1}],"success":[{"request_put":{"key":"YQ=="}}],"failure":[{}]}"#,
    ),
    ("/v3/lease/keepalive", r#"{"ID":"1"}{"ID":2}"#),
];

#[test]
fn a_body_that_ends_anywhere_is_answered() {
    let server = Server::start();
    let client = Client::new(server.address());
    for (path, body) in GOOD {
        for at in 0..=body.len() {
            let answer = client.post(path, &body[..at]);
            assert!([200, 400, 500].contains(&answer.status), "{path} {}: {answer:?}", &body[..at]);
            assert!(answer.status == 200 || answer.value()["error"].is_string(), "{}", answer.text());
        }
        for at in 0..body.len() {
            for letter in [b'"', b'\\', b'{', b']', 0, 0xff, b'9'] {
                let mut spoilt = body.as_bytes().to_vec();
                spoilt[at] = letter;
                let answer = client.post(path, spoilt);
                assert!([200, 400, 404, 500].contains(&answer.status), "{path}: {answer:?}");
            }
        }
    }
    client.post("/v3/kv/range", r#"{"key":"YQ=="}"#).expect(200);
}

#[test]
fn a_body_that_stops_in_the_middle_holds_up_nobody_else() {
    let server = Server::start();
    let client = Client::new(server.address());
    let mut stopped: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = client.connect();
            stream
                .write_all(b"POST /v3/kv/put HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"key\":")
                .unwrap();
            stream
        })
        .collect();
    client.post("/v3/kv/put", r#"{"key":"YQ=="}"#).expect(200);
    for stream in &mut stopped {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn what_is_nested_is_bounded() {
    let server = Server::start();
    let client = Client::new(server.address());
    let told =
        |path: &str, body: String| client.post(path, body).expect(400).value()["error"].as_str().unwrap().to_owned();
    assert_eq!(told("/v3/kv/range", "[".repeat(1_000_000)), "invalid character '[' exceeded max depth");
    assert_eq!(told("/v3/kv/range", r#"{"a":"#.repeat(20_000)), "invalid character '{' exceeded max depth");
    let txns = r#"{"success":[{"request_txn":"#.repeat(1_000) + "{}" + &"}]}".repeat(1_000);
    assert_eq!(told("/v3/kv/txn", txns), "messages may nest at most 32 deep");
    let unknown = format!(r#"{{"key":"YQ==","x":{}{}}}"#, "[".repeat(9_000), "]".repeat(9_000));
    client.post("/v3/kv/range", unknown).expect(200);
}

#[test]
fn a_body_that_is_too_large_is_refused_however_it_comes() {
    let server = Server::start();
    let client = Client::new(server.address());
    let put = |value: usize| {
        let text = "AAAA".repeat(value / 3);
        client.post("/v3/kv/put", format!(r#"{{"key":"YQ==","value":"{text}"}}"#))
    };
    // 2 MiB as a message: three bytes of a key, four before a value that is nearly as long, and the value.
    let limit = 2 * 1024 * 1024;
    let told = put((limit - 7) / 3 * 3);
    assert_eq!(told.expect(400).value()["error"], "etcdserver: request is too large");
    let told = put(limit / 3 * 3).expect(429).value();
    assert_eq!(told["error"], format!("grpc: received message larger than max ({} vs. {limit})", limit / 3 * 3 + 7));
    assert_eq!(told["code"], 8);
    let numbers = format!(r#"{{"key":"YQ==","value":[{}0]}}"#, "255,".repeat(1_500_000));
    client.post("/v3/kv/put", numbers).expect(200);
    let told = client.post("/v3/kv/put", " ".repeat(4 * limit + 1)).expect(429).value();
    assert!(told["error"].as_str().unwrap().ends_with(&format!(" vs. {})", 4 * limit)), "{told}");
    let mut lines = Lines::open(&client, "/v3/watch", &" ".repeat(4 * limit + 1));
    assert_eq!(lines.head().0, 429);
    client.post("/v3/kv/range", r#"{"key":"YQ=="}"#).expect(200);
}
