//! `/v1/watchers` against the real binary: every carrier is listed while its watch is open and gone after, with what it follows, whose it
//! is, how far it is and what waits for it.

#![cfg(test)]

mod support;

use std::io::Write as _;
use std::net::TcpStream;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::http::Client;
use support::{Server, until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use vardr::api::v1::schema::LockObject;
use vardr::api::v1::watchers::{CarrierWord, WatcherList, WatcherObject};

fn start() -> (Server, Client) {
    let server = Server::start();
    let client = Client::new(server.address());
    (server, client)
}

fn list(client: &Client, query: &str) -> WatcherList {
    client.get(&format!("/v1/watchers{query}")).expect(200).shape()
}

fn watchers(client: &Client) -> Vec<WatcherObject> {
    list(client, "").items
}

/// A request whose answer nobody reads: its connection is open for as long as this is there.
fn send(client: &Client, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let mut stream = client.connect();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n{body}").unwrap();
    stream
}

async fn socket(server: &Server, path: &str) -> WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>> {
    let mut request = format!("ws://{}{path}", server.address()).into_client_request().unwrap();
    request.headers_mut().insert("user-agent", "sockets/1".parse().unwrap());
    connect_async(request).await.unwrap().0
}

/// What a watch follows, as its members say it.
fn followed(watcher: &WatcherObject) -> Value {
    let mut all = serde_json::to_value(watcher).unwrap();
    let members = all.as_object_mut().unwrap();
    for other in ["id", "carrier", "address", "userAgent", "since", "revision", "backlogBytes"] {
        members.remove(other);
    }
    all
}

/// Waits until one more watch is listed than there were, and gives it.
fn newest(client: &Client, open: usize) -> WatcherObject {
    until("the watch is not listed", || watchers(client).len() == open + 1);
    watchers(client).pop().unwrap()
}

#[test]
fn every_request_that_watches_is_listed_while_it_is_open_and_gone_after() {
    let (_server, client) = start();
    let held: LockObject = client.post("/v1/locks/jobs", r#"{"ttl":"10m"}"#).expect(200).shape();
    let place = format!("jobs/{}", held.holder);
    let lines = "Accept: application/x-ndjson\r\n";
    let create = r#"{"create_request":{"key":"YQ==","range_end":"Yw=="}}"#;
    let requests: &[(CarrierWord, Value, &str, &str, &str, &str)] = &[
        (CarrierWord::Sse, json!({"key": "/app/db"}), "GET", "/v1/watch/app/db", "", ""),
        (CarrierWord::Sse, json!({"prefix": "/app/"}), "GET", "/v1/watch/app/?initial=true", "", ""),
        (CarrierWord::Sse, json!({"prefix": "/app/", "children": true}), "GET", "/v1/watch/app/?children=true", "", ""),
        (CarrierWord::Sse, json!({"prefix": ""}), "GET", "/v1/watch", "", ""),
        (
            CarrierWord::Sse,
            json!({"prefix": "/services/web/", "children": true}),
            "GET",
            "/v1/services/web:watch",
            "",
            "",
        ),
        (
            CarrierWord::Sse,
            json!({"prefix": "primary/", "children": true}),
            "GET",
            "/v1/elections/primary:observe",
            "",
            "",
        ),
        (CarrierWord::Ndjson, json!({"key64": "_w"}), "GET", "/v1/watch?key64=_w", lines, ""),
        (CarrierWord::Poll, json!({"key": "/polled"}), "GET", "/v1/keys/polled?wait=60s", "", ""),
        (CarrierWord::Poll, json!({"key": "/polled"}), "GET", "/v1/keys/polled", "Prefer: wait=60\r\n", ""),
        (CarrierWord::Poll, json!({"prefix": "/services/"}), "GET", "/v1/services?wait=60s", "", ""),
        (CarrierWord::Poll, json!({"key": place}), "POST", "/v1/locks/jobs", "", r#"{"wait":"60s"}"#),
        (CarrierWord::V2Wait, json!({"key": "/node"}), "GET", "/v2/keys/node?wait=true", "", ""),
        (
            CarrierWord::V2Stream,
            json!({"prefix": "/node/"}),
            "GET",
            "/v2/keys/node?wait=true&stream=true&recursive=true",
            "",
            "",
        ),
        (CarrierWord::V3Json, json!({"from": "a", "to": "c"}), "POST", "/v3/watch", "", create),
        (
            CarrierWord::V3Json,
            json!({"prefix": "primary/", "children": true}),
            "POST",
            "/v3/election/observe",
            "",
            r#"{"name":"cHJpbWFyeQ=="}"#,
        ),
    ];
    let mut open = Vec::new();
    for (carrier, keys, method, path, headers, body) in requests {
        let agent = format!("{headers}User-Agent: agent-{}\r\n", open.len());
        let stream = send(&client, method, path, &agent, body);
        let watcher = newest(&client, open.len());
        assert_eq!((watcher.carrier, &followed(&watcher)), (*carrier, keys), "{path}");
        assert_eq!(watcher.user_agent, Some(format!("agent-{}", open.len())), "{path}");
        assert_eq!(watcher.address, stream.local_addr().unwrap().to_string(), "{path}");
        let since: jiff::Timestamp = watcher.since.parse().unwrap();
        assert!(since <= jiff::Timestamp::now(), "{path}");
        open.push((stream, watcher.id));
    }
    let listed = |id: &str| watchers(&client).iter().any(|watcher| watcher.id == id);
    for (stream, id) in open {
        assert!(listed(&id), "an id stays the same");
        drop(stream);
        until("it is still listed", || !listed(&id));
    }
    assert_eq!(watchers(&client), []);
}

#[test]
fn a_request_that_is_answered_is_listed_no_longer_and_one_that_is_not_held_never_is() {
    let (_server, client) = start();
    let _wait = send(&client, "GET", "/v2/keys/node?wait=true", "", "");
    let _poll = send(&client, "GET", "/v1/keys/node?wait=60s", "", "");
    until("two wait", || watchers(&client).len() == 2);
    assert_eq!(watchers(&client)[0].user_agent, None);
    client.put("/v1/keys/node", "v").expect(201);
    until("none is left", || watchers(&client).is_empty());
    client.get("/v1/keys/node").expect(200);
    client.get("/v1/keys/node?wait=60s&after=1").expect(200);
    assert_eq!(watchers(&client), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_watch_of_a_socket_is_listed_until_it_is_cancelled_or_the_socket_ends() {
    let (server, client) = start();
    let mut many = socket(&server, "/v1/watch").await;
    for path in ["/a", "/b/"] {
        let request = json!({"op": "watch", "id": path, "path": path, "children": path.ends_with('/')});
        many.send(Message::text(request.to_string())).await.unwrap();
    }
    until("both are listed", || watchers(&client).len() == 2);
    let listed = watchers(&client);
    assert_eq!(
        listed.iter().map(followed).collect::<Vec<_>>(),
        [json!({"key": "/a"}), json!({"prefix": "/b/", "children": true})]
    );
    assert!(
        listed.iter().all(|watcher| watcher.carrier == CarrierWord::WebSocket && watcher.address == listed[0].address)
    );
    assert_eq!(listed[0].user_agent.as_deref(), Some("sockets/1"));
    many.send(Message::text(json!({"op": "cancel", "id": "/a"}).to_string())).await.unwrap();
    until("one is cancelled", || watchers(&client).len() == 1);
    assert_eq!(watchers(&client)[0].id, listed[1].id);
    let mut gateway = socket(&server, "/v3/watch").await;
    gateway.send(Message::text(r#"{"create_request":{"key":"YQ=="}}"#)).await.unwrap();
    assert!(gateway.next().await.unwrap().is_ok());
    let watcher = newest(&client, 1);
    assert_eq!((watcher.carrier, followed(&watcher)), (CarrierWord::V3WebSocket, json!({"key": "a"})));
    assert_eq!(watcher.user_agent.as_deref(), Some("sockets/1"));
    drop(many);
    until("the socket is gone", || watchers(&client).len() == 1);
    drop(gateway);
    until("the other one is gone", || watchers(&client).is_empty());
}

/// The bytes that all watches hold, by the metrics.
fn held_bytes(client: &Client) -> u64 {
    let metrics = client.get("/metrics").expect(200).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("vardr_watch_held_bytes ")).unwrap();
    line.parse().unwrap()
}

#[test]
fn how_far_a_reader_is_and_what_waits_for_it_is_shown_and_counted() {
    let (_server, client) = start();
    let slow = send(&client, "GET", "/v1/watch/app/", "", "");
    let begun = newest(&client, 0);
    assert_eq!((begun.revision, begun.backlog_bytes, held_bytes(&client)), (client.revision(), 0, 0));
    let value = "v".repeat(512 * 1024);
    let mut behind = begun.clone();
    // What nobody reads waits in sockets first, and what has just been written until it is looked at.
    until("nothing waits", || {
        let before = client.revision();
        let written = client.put("/v1/keys/app/db", &value);
        assert!(matches!(written.status, 200 | 201), "{}", written.text());
        behind = watchers(&client).remove(0);
        behind.backlog_bytes > 0 && behind.revision < before
    });
    assert!(behind.revision >= begun.revision, "{behind:?}");
    assert!(held_bytes(&client) >= behind.backlog_bytes);
    drop(slow);
    until("it is still held", || held_bytes(&client) == 0);
}

#[test]
fn the_list_goes_page_by_page_and_what_is_asked_wrongly_is_refused() {
    let (_server, client) = start();
    let empty = client.get("/v1/watchers").expect(200);
    assert_eq!(empty.value(), json!({"revision": client.revision(), "items": []}));
    assert!(empty.header("vardr-member-id").is_some());
    let paths = ["/app/a", "/app/b", "/db/", "/app/c", "/", "/app/"];
    let mut open = Vec::new();
    for path in paths {
        open.push(send(&client, "GET", &format!("/v1/watch{path}"), "", ""));
        newest(&client, open.len() - 1);
    }
    let all = watchers(&client);
    assert_eq!(
        all.iter().map(|watcher| watcher.key.clone().or(watcher.prefix.clone()).unwrap()).collect::<Vec<_>>(),
        paths
    );
    let (mut found, mut query, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = list(&client, &format!("?limit=4{query}"));
        found.extend(page.items);
        pages += 1;
        let Some(cursor) = page.cursor else { break };
        client.get(&format!("/v1/watchers?prefix=/app&cursor={cursor}")).refused(400, "invalid_argument");
        query = format!("&cursor={cursor}");
    }
    assert_eq!((&found, pages), (&all, 2));
    let below: Vec<_> = list(&client, "?prefix=/app/").items.into_iter().map(|watcher| watcher.id).collect();
    assert_eq!(below, [0, 1, 3, 5].map(|at: usize| all[at].id.clone()));
    for bad in ["limit=0", "limit=100001", "limit=x", "cursor=x", "carrier=sse"] {
        client.get(&format!("/v1/watchers?{bad}")).refused(400, "invalid_argument");
    }
    let head = client.send("HEAD", "/v1/watchers", &[], b"").expect(200);
    assert!(head.body.is_empty() && head.header("vardr-revision").is_some());
    client.post("/v1/watchers", "").refused(405, "method_not_allowed");
    assert_eq!(client.send("OPTIONS", "/v1/watchers", &[], b"").header("allow"), Some("GET,HEAD"));
    client.get("/v1/watchers/").refused(404, "not_found");
}
