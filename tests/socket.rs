//! `/v1/watch` over WebSocket, against the real binary: many watches on one socket, and sessions whose keys live as long
//! as their socket is alive.

#![cfg(test)]

mod support;

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::Server;
use support::http::Client;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long anything may take that must happen.
const LIMIT: Duration = Duration::from_secs(20);
/// What a lease may outlive its time by, on a busy machine.
const LATE: Duration = Duration::from_secs(4);

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(server: &Server, path: &str) -> Self {
        let url = format!("ws://{}{path}", server.address());
        Self(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    async fn say(&mut self, request: Value) {
        self.0.send(Message::text(request.to_string())).await.unwrap();
    }

    /// The next message in JSON; `None` once the socket is closed. Pings are answered by the client itself.
    async fn hear(&mut self) -> Option<Value> {
        let next = async {
            loop {
                match self.0.next().await? {
                    Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(LIMIT, next).await.expect("a message or the end")
    }

    async fn ask(&mut self, request: Value) -> Value {
        self.say(request).await;
        self.hear().await.unwrap()
    }

    /// Reads on, so that pings are answered, until the time is over. Fails when anything but progress comes.
    async fn idle(&mut self, time: Duration) {
        let heard = tokio::time::timeout(time, async {
            loop {
                let message = self.0.next().await.unwrap().unwrap();
                if let Message::Text(text) = message {
                    assert!(text.contains("progress"), "{text}");
                }
            }
        });
        assert!(heard.await.is_err());
    }
}

/// A call of the blocking client, off the runtime's thread.
async fn http<T: Send + 'static>(client: &Client, call: impl FnOnce(&Client) -> T + Send + 'static) -> T {
    let client = client.clone();
    tokio::task::spawn_blocking(move || call(&client)).await.unwrap()
}

async fn start() -> (Server, Client) {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let client = Client::new(server.address());
    (server, client)
}

/// Waits until a key is gone; answers when it was.
async fn gone(client: &Client, path: &'static str) -> Instant {
    let deadline = Instant::now() + LIMIT;
    loop {
        if http(client, move |client| client.get(path)).await.status == 404 {
            return Instant::now();
        }
        assert!(Instant::now() < deadline, "{path} is still there");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_watch_of_a_socket_hears_its_own_keys_under_its_own_name() {
    let (server, client) = start().await;
    let mut socket = Socket::open(&server, "/v1/watch").await;
    for (id, path) in [("all", "/"), ("a", "/a/"), ("one", "/a/x")] {
        let answer = socket.ask(json!({"op": "watch", "id": id, "path": path})).await;
        assert_eq!((&answer["id"], &answer["type"]), (&json!(id), &json!("watching")));
    }
    http(&client, |client| client.put("/v1/keys/a/x", "1").expect(201)).await;
    http(&client, |client| client.put("/v1/keys/b", "2").expect(201)).await;
    let mut heard: Vec<(String, String)> = Vec::new();
    while heard.len() < 4 {
        let message = socket.hear().await.unwrap();
        if message["type"] == "put" {
            let text = |name: &str| message[name].as_str().unwrap().to_owned();
            heard.push((text("id"), text("key")));
        }
    }
    heard.sort();
    let expected = [("a", "/a/x"), ("all", "/a/x"), ("all", "/b"), ("one", "/a/x")];
    assert_eq!(heard, expected.map(|(id, key)| (id.to_owned(), key.to_owned())));

    let answer = socket.ask(json!({"op": "cancel", "id": "all"})).await;
    assert_eq!((&answer["id"], &answer["type"]), (&json!("all"), &json!("cancelled")));
    http(&client, |client| client.put("/v1/keys/b", "3").expect(200)).await;
    assert_eq!(socket.ask(json!({"op": "ping"})).await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_socket_cannot_do_is_refused_and_the_socket_goes_on() {
    let (server, client) = start().await;
    let mut socket = Socket::open(&server, "/v1/watch").await;
    socket.ask(json!({"op": "watch", "id": "w", "path": "/a/"})).await;
    let refused = [
        (json!({"op": "watch", "id": "w", "path": "/b/"}), "invalid_argument"),
        (json!({"op": "watch", "id": "v", "path": "no-slash"}), "invalid_argument"),
        (json!({"op": "cancel", "id": "v"}), "not_found"),
        (json!({"op": "keepalive", "lease": "7"}), "lease_not_found"),
        (json!({"op": "session", "ttl": "0s"}), "invalid_argument"),
        (json!({"op": "nonsense"}), "invalid_argument"),
    ];
    for (request, code) in refused {
        let answer = socket.ask(request.clone()).await;
        assert_eq!(
            (&answer["type"], &answer["problem"]["code"]),
            (&json!("error"), &json!(code)),
            "{request}: {answer}"
        );
    }
    http(&client, |client| client.put("/v1/keys/a/x", "1").expect(201)).await;
    assert_eq!(socket.hear().await.unwrap()["key"], "/a/x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_holds_a_thousand_watches_and_not_one_more() {
    let (server, client) = start().await;
    let mut socket = Socket::open(&server, "/v1/watch").await;
    for number in 0..1000 {
        let id = format!("w{number}");
        let answer = socket.ask(json!({"op": "watch", "id": id, "path": format!("/k/{number}")})).await;
        assert_eq!(answer["type"], "watching", "{answer}");
    }
    let answer = socket.ask(json!({"op": "watch", "id": "more", "path": "/k/"})).await;
    assert_eq!((&answer["type"], &answer["problem"]["code"]), (&json!("error"), &json!("overloaded")), "{answer}");
    http(&client, |client| client.put("/v1/keys/k/999", "1").expect(201)).await;
    assert_eq!(socket.hear().await.unwrap()["id"], "w999");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_session_live_while_its_socket_does_and_go_within_their_time() {
    let (server, client) = start().await;
    let mut socket = Socket::open(&server, "/v1/watch").await;
    let session = socket.ask(json!({"op": "session", "ttl": "2s"})).await;
    let lease = session["lease"].as_str().unwrap().to_owned();
    assert_eq!(socket.ask(json!({"op": "session", "ttl": "2s"})).await["problem"]["code"], "invalid_argument");
    let put = format!("/v1/keys/online/me?lease={lease}");
    http(&client, move |client| client.put(&put, "here").expect(201)).await;
    // Nothing but answers to pings comes from this end, for twice the session's time.
    socket.idle(Duration::from_secs(4)).await;
    http(&client, |client| client.get("/v1/keys/online/me").expect(200)).await;
    let dropped = Instant::now();
    drop(socket);
    let lived = gone(&client, "/v1/keys/online/me").await - dropped;
    assert!(lived <= Duration::from_secs(2) + LATE, "gone {lived:?} after the socket");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_whose_other_end_says_nothing_keeps_nothing_alive() {
    let (server, client) = start().await;
    let mut socket = Socket::open(&server, "/v1/watch").await;
    let session = socket.ask(json!({"op": "session", "ttl": "1s"})).await;
    let put = format!("/v1/keys/online/me?lease={}", session["lease"].as_str().unwrap());
    http(&client, move |client| client.put(&put, "here").expect(201)).await;
    // The connection stays open, but nobody reads it, so no ping is answered.
    let silent = Instant::now();
    let lived = gone(&client, "/v1/keys/online/me").await - silent;
    assert!(lived <= Duration::from_secs(1) + LATE, "gone after {lived:?}");
    // Whoever reads again is told, and the socket ends.
    assert_eq!(socket.hear().await.unwrap()["type"], "expired");
    assert_eq!(socket.hear().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_answered() {
    let (server, _client) = start().await;
    let mut socket = Socket::open(&server, "/v1/watch/a/").await;
    assert_eq!(socket.hear().await.unwrap()["type"], "watching");
    socket.0.close(None).await.unwrap();
    let mut last = None;
    while let Some(message) = tokio::time::timeout(LIMIT, socket.0.next()).await.expect("an answer or the end") {
        last = Some(message.expect("no end without a word"));
    }
    assert!(matches!(last, Some(Message::Close(_))), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_closes_its_sockets() {
    let (mut server, _client) = start().await;
    let mut socket = Socket::open(&server, "/v1/watch/a/").await;
    assert_eq!(socket.hear().await.unwrap()["type"], "watching");
    let ended = tokio::task::spawn_blocking(move || server.terminate());
    while socket.hear().await.is_some() {}
    assert!(ended.await.unwrap().success());
}
