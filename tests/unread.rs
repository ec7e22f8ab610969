//! Clients that ask for large answers and read none of them cost the built server a bounded amount of memory, and others no more
//! than a wait.

#![cfg(test)]

mod support;

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use support::http::Client;
use support::{Server, until};

const VALUES: usize = 15;
const VALUE_BYTES: usize = 1 << 20;
/// What the server may come to hold: 256 MiB of answers that wait to be read, those that were being made meanwhile, each twice,
/// what it holds anyway, and what the allocator does not give back. All answers together are 6 GiB.
const MOST_BYTES: u64 = 3 << 29;

/// A server with 15 MiB under `/big/`.
fn start() -> (Server, Client) {
    let server = Server::start();
    let client = Client::new(server.address());
    for number in 0..VALUES {
        client.put(&format!("/v1/keys/big/{number}"), "x".repeat(VALUE_BYTES)).expect(201);
    }
    (server, client)
}

/// The most that the server has held so far.
fn peak_bytes(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

fn metric(client: &Client, name: &str) -> u64 {
    let metrics = client.get("/metrics").expect(200).text();
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap().parse().unwrap()
}

/// While the connections are open, small answers come, large ones come once those that are not read were cut off, and memory is
/// bounded.
fn others_are_served(server: &Server, client: &Client, deaf: Vec<TcpStream>) {
    client.put("/v1/keys/small", "1").expect(201);
    assert_eq!(client.get("/v1/keys/small?raw=true").expect(200).text(), "1");
    assert_eq!(client.get("/v1/keys/big/?recursive=true&countOnly=true").expect(200).value()["count"], VALUES);
    until("the answers that are not read are cut off", || {
        let answer = client.get("/v1/keys/big/?recursive=true&timeout=25s");
        assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
        if answer.status == 503 {
            assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("overloaded", Some("1")));
        }
        answer.status == 200 && server.log().contains("a client does not read its answer")
    });
    let peak = peak_bytes(server);
    assert!(metric(client, "vardr_answer_cut_off_total") > 0);
    println!("at most {} MiB", peak >> 20);
    assert!(peak < MOST_BYTES);
    drop(deaf);
    client.get("/v1/keys/big/?recursive=true").expect(200);
    until("nothing is held any more", || metric(client, "vardr_answer_held_bytes") == 0);
}

#[test]
fn lists_over_http1_that_are_not_read_cost_a_bounded_amount() {
    let (server, client) = start();
    let ask = |path: &str| {
        let mut stream = client.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    };
    let lists = (0..150).map(|_| ask("/v1/keys/big/?recursive=true"));
    let sorted = (0..150).map(|_| ask("/v1/keys/big/?recursive=true&sortBy=key&order=desc"));
    let trees = (0..100).map(|_| ask("/v2/keys/big?recursive=true"));
    let deaf = lists.chain(sorted).chain(trees).collect();
    others_are_served(&server, &client, deaf);
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field that is not indexed (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let (name_length, length) = (u8::try_from(name.len()).unwrap(), u8::try_from(value.len()).unwrap());
    [&[0, name_length][..], name.as_bytes(), &[length], value.as_bytes()].concat()
}

/// Calls `Range` for everything under `/big/` on a connection over HTTP/2, so many times at once, with all the room that a client can
/// offer for the answers.
fn ranges(client: &Client, calls: u32) -> TcpStream {
    const WINDOW: u32 = 1 << 30;
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE, and WINDOW_UPDATE of the connection.
    out.extend(frame(4, 0, 0, &[&[0, 4][..], &WINDOW.to_be_bytes()].concat()));
    out.extend(frame(8, 0, 0, &WINDOW.to_be_bytes()));
    // `:method: POST` and `:scheme: http` are in the static table.
    let head = [
        vec![0x83, 0x86],
        field(":path", "/etcdserverpb.KV/Range"),
        field(":authority", "localhost"),
        field("content-type", "application/grpc"),
        field("te", "trailers"),
    ];
    let message = b"\x00\x00\x00\x00\x0e\x0a\x05/big/\x12\x05/big0";
    for call in 0..calls {
        let stream = call * 2 + 1;
        out.extend(frame(1, 4, stream, &head.concat()));
        out.extend(frame(0, 1, stream, message));
    }
    let mut connection = client.connect();
    connection.write_all(&out).unwrap();
    connection
}

#[test]
fn ranges_over_http2_that_are_not_read_cost_a_bounded_amount() {
    let (server, client) = start();
    let deaf = (0..10).map(|_| ranges(&client, 40)).collect();
    others_are_served(&server, &client, deaf);
}
