//! The same calls over WebSocket: requests and answers at the same time, a message in each frame.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::Server;
use crate::support::etcd::Etcd;
use crate::support::http::Client;
use crate::support::volume::not_run;
use crate::told::bare;

/// How long anything may take that must happen.
const LIMIT: Duration = Duration::from_secs(20);
/// In less than this a socket is not pinged: what is noticed before was said by its end.
const UNPINGED: Duration = Duration::from_secs(12);

#[derive(Debug)]
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(address: &str, path: &str) -> Self {
        let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
        let url = format!("ws://{address}/v3{path}");
        Self(tokio_tungstenite::connect_async_with_config(url, Some(config), false).await.unwrap().0)
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next frame with text, without what is the server's own; `None` once the socket is closed.
    async fn hear(&mut self) -> Option<String> {
        self.hear_within(LIMIT).await.expect("a frame or the end").map(|text| bare(&text))
    }

    /// The next frame with text, as it came; `None` once the socket is closed, and an error where neither comes in time.
    pub(crate) async fn hear_within(&mut self, limit: Duration) -> Result<Option<String>, Elapsed> {
        let next = async {
            loop {
                match self.0.next().await? {
                    Ok(Message::Text(text)) => return Some(text.to_string()),
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        timeout(limit, next).await
    }
}

async fn post(address: &str, path: &'static str, body: &'static str) -> String {
    let client = Client::new(address);
    let answer = tokio::task::spawn_blocking(move || client.post(&format!("/v3{path}"), body).expect(200));
    bare(&answer.await.unwrap().text())
}

/// A conversation with each server: what is heard, in order.
async fn conversation(address: &str) -> Vec<String> {
    let mut heard = Vec::new();
    let mut watch = Socket::open(address, "/watch").await;
    watch.say(r#"{"create_request":{"key":"YQ=="}}"#).await;
    heard.push(watch.hear().await.unwrap());
    post(address, "/kv/put", r#"{"key":"YQ==","value":"MQ=="}"#).await;
    heard.push(watch.hear().await.unwrap());
    watch.say(r#"{"create_request":{"key":"Yg==","prev_kv":true}}"#).await;
    heard.push(watch.hear().await.unwrap());
    post(address, "/kv/put", r#"{"key":"Yg==","value":"Mg=="}"#).await;
    heard.push(watch.hear().await.unwrap());
    watch.say(r#"{"cancel_request":{"watch_id":1}}{"create_request":{"key":"Yw==","watch_id":9}}"#).await;
    heard.push(watch.hear().await.unwrap());
    heard.push(watch.hear().await.unwrap());
    watch.say(r#"{"progress_request":{}}"#).await;
    heard.push(watch.hear().await.unwrap());
    watch.0.send(Message::binary(br#"{"cancel_request":{"watch_id":"0"}}"#.to_vec())).await.unwrap();
    heard.push(watch.hear().await.unwrap());

    post(address, "/lease/grant", r#"{"TTL":600,"ID":5}"#).await;
    let mut lease = Socket::open(address, "/lease/keepalive").await;
    for id in ["5", "\"404\"", "5"] {
        lease.say(&format!("{{\"ID\":{id}}}")).await;
        heard.push(lease.hear().await.unwrap());
    }

    for (path, said) in [
        ("/kv/range", r#"{"key":"YQ=="}"#),
        ("/kv/range", r#"{"key":1}"#),
        ("/kv/put", r#"{"key":"YQ==","lease":404}"#),
        ("/watch", r#"{"create_request":1}"#),
        ("/election/observe", "nonsense"),
    ] {
        let mut socket = Socket::open(address, path).await;
        socket.say(said).await;
        let told = socket.hear().await.unwrap();
        // The order of an error's members is that of a later version.
        let sorted: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_str(&told).unwrap();
        heard.push(format!("{sorted:?}"));
        assert_eq!(socket.hear().await, None, "one answer");
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_speaks_over_sockets_alike() {
    if let Some(hindrance) = Etcd::hindrance() {
        return not_run(hindrance);
    }
    let etcd = tokio::task::spawn_blocking(Etcd::start).await.unwrap();
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    assert_eq!(conversation(server.address()).await, conversation(&etcd.address()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_waited_for_is_left_with_its_socket() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let address = server.address().to_owned();
    post(&address, "/lease/grant", r#"{"TTL":600,"ID":1}"#).await;
    post(&address, "/lock/lock", r#"{"name":"TA==","lease":1}"#).await;
    let places = async || {
        let found = post(&address, "/kv/range", r#"{"key":"TC8=","range_end":"TDA=","count_only":true}"#).await;
        serde_json::from_str::<serde_json::Value>(&found).unwrap()["count"].as_str().unwrap().to_owned()
    };
    let until = async |count: &str| {
        let change = async {
            while places().await != count {
                tokio::task::yield_now().await;
            }
        };
        timeout(UNPINGED, change).await.expect("in time");
    };
    // What is said behind the request is not waited for either.
    for times in [1, 5] {
        let mut waiting = Socket::open(&address, "/lock/lock").await;
        for _ in 0..times {
            waiting.say(r#"{"name":"TA=="}"#).await;
        }
        until("2").await;
        drop(waiting);
        until("1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_however_large_it_is() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let (client, value) = (Client::new(server.address()), "x".repeat(1_400_000));
    let put = move || (0..16).for_each(|number| drop(client.put(&format!("/v1/keys/{number}"), &value).expect(201)));
    tokio::task::spawn_blocking(put).await.unwrap();
    let mut socket = Socket::open(server.address(), "/kv/range").await;
    socket.say(r#"{"key":"AA==","range_end":"AA=="}"#).await;
    let told = socket.hear().await.expect("an answer");
    assert!(told.len() > 24 * 1024 * 1024, "{}", told.len());
    assert!(told.ends_with(r#""count":"16"}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_answered() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    for path in ["/watch", "/lock/lock"] {
        let mut socket = Socket::open(server.address(), path).await;
        socket.0.close(None).await.unwrap();
        let mut last = None;
        while let Some(frame) = timeout(LIMIT, socket.0.next()).await.expect("an answer or the end") {
            last = Some(frame.expect("no end without a word"));
        }
        assert!(matches!(last, Some(Message::Close(_))), "{path}: {last:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_so_and_closes_its_sockets() {
    let mut server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let mut watch = Socket::open(server.address(), "/watch").await;
    watch.say(r#"{"create_request":{"key":"YQ=="}}"#).await;
    watch.hear().await.unwrap();
    let mut silent = Socket::open(server.address(), "/kv/range").await;
    let ended = tokio::task::spawn_blocking(move || server.terminate().success());
    assert!(watch.hear().await.unwrap().contains("etcdserver: server stopped"));
    assert_eq!(watch.hear().await, None);
    assert_eq!(silent.hear().await, None);
    assert!(ended.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_there_is_not_opens_no_socket() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let refused = tokio_tungstenite::connect_async(format!("ws://{}/v3/nope", server.address())).await.unwrap_err();
    assert!(refused.to_string().contains("404"), "{refused}");
}
