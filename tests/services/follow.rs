//! Following services: the state, every change, and going on where it broke off.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::Server;
use crate::support::http::Client;
use crate::support::sse::{Event, EventSource};
use crate::{LIMIT, WEB};

/// A stream of one server, with deadlines.
struct Followed(EventSource);

impl Followed {
    async fn open(server: &Server, path: &str, last_event_id: Option<&str>) -> Self {
        let url = format!("{}{path}", server.url());
        Self(timeout(LIMIT, EventSource::open(&url, last_event_id)).await.unwrap())
    }

    /// The next event that is no sign of life.
    async fn next(&mut self) -> Event {
        loop {
            let event = timeout(LIMIT, self.0.next()).await.unwrap().expect("the stream goes on");
            if event.name != "progress" {
                return event;
            }
        }
    }

    /// The next event, which has to have this name, and its data.
    async fn expect(&mut self, name: &str) -> Value {
        let event = self.next().await;
        assert_eq!(event.name, name, "{}", event.data);
        let data = event.json();
        assert_eq!(data["type"], name);
        data
    }
}

/// Carries out a request with an answer of success, off the runtime.
async fn ask(server: &Server, method: &'static str, path: &str, body: &str) {
    let (client, path, body) = (Client::new(server.address()), path.to_owned(), body.to_owned());
    let asked = tokio::task::spawn_blocking(move || client.send(method, &path, &[], body.as_bytes()));
    let answer = asked.await.unwrap();
    assert!((200..300).contains(&answer.status), "{}", answer.text());
}

const DRAINING: &str = r#"{"status":"draining"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_state_comes_first_and_then_every_change_with_its_reason() {
    let server = Server::start();
    ask(&server, "PUT", "/v1/services/web/a?ttl=1m", WEB).await;
    ask(&server, "PUT", "/v1/services/other/x", WEB).await;
    let mut web = Followed::open(&server, "/v1/services/web:watch", None).await;
    let registered = web.expect("registered").await;
    assert_eq!(
        (&registered["service"], &registered["instance"], &registered["port"]),
        (&json!("web"), &json!("a"), &json!(8080))
    );
    assert!(registered["ttl"].as_f64().is_some() && registered["modRevision"].as_u64().is_some());
    let synced = web.next().await;
    assert_eq!((synced.name.as_str(), synced.id.is_some()), ("synced", true));
    ask(&server, "POST", "/v1/services/web/a:heartbeat", "").await;
    ask(&server, "PUT", "/v1/services/other/x:status", DRAINING).await;
    ask(&server, "PUT", "/v1/services/web/a:status", DRAINING).await;
    assert_eq!(web.expect("changed").await["status"], "draining");
    ask(&server, "PUT", "/v1/services/web/b?ttl=1s", WEB).await;
    assert_eq!(web.expect("registered").await["instance"], "b");
    let expired = web.expect("deregistered").await;
    assert_eq!(
        (&expired["instance"], &expired["reason"], &expired["address"]),
        (&json!("b"), &json!("expired"), &json!("10.0.0.7"))
    );
    ask(&server, "DELETE", "/v1/services/web/a", "").await;
    let deleted = web.expect("deregistered").await;
    assert_eq!((&deleted["reason"], &deleted["status"]), (&json!("deleted"), &json!("draining")));
    assert!(deleted["revision"].as_u64().is_some() && deleted.get("ttl").is_none());
    ask(&server, "PUT", "/v1/keys/services/web/hand", "by hand").await;
    let odd = web.expect("registered").await;
    assert!(odd["status"] == "critical" && odd["invalid"].is_string(), "{odd}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_broke_off_goes_on_without_a_gap() {
    let mut server = Server::start();
    ask(&server, "PUT", "/v1/services/web/a?ttl=5m", WEB).await;
    let mut all = Followed::open(&server, "/v1/services:watch", None).await;
    all.expect("registered").await;
    let synced = all.next().await;
    drop(all);
    for name in ["web/b", "db/a"] {
        ask(&server, "PUT", &format!("/v1/services/{name}?ttl=5m"), WEB).await;
    }
    server.restart();
    ask(&server, "DELETE", "/v1/services/web/a", "").await;
    let mut resumed = Followed::open(&server, "/v1/services:watch", synced.id.as_deref()).await;
    assert_eq!(resumed.expect("registered").await["instance"], "b");
    let second = resumed.next().await;
    assert_eq!((second.name.as_str(), &second.json()["service"]), ("registered", &json!("db")));
    // The same place again, by parameter.
    let id = second.id.unwrap();
    let mut after = Followed::open(&server, &format!("/v1/services:watch?after={id}"), None).await;
    for stream in [&mut resumed, &mut after] {
        let gone = stream.expect("deregistered").await;
        assert_eq!(
            (&gone["service"], &gone["instance"], &gone["reason"]),
            (&json!("web"), &json!("a"), &json!("deleted"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_gone_ends_the_stream_or_begins_it_anew() {
    let server = Server::start();
    for number in 0..5 {
        ask(&server, "PUT", &format!("/v1/services/web/{number}"), WEB).await;
    }
    ask(&server, "POST", "/v1/maintenance:compact", r#"{"revision":5}"#).await;
    let mut ended = Followed::open(&server, "/v1/services/web:watch?after=2", None).await;
    assert_eq!(ended.expect("compacted").await["compactRevision"], 5);
    assert!(timeout(LIMIT, ended.0.next()).await.unwrap().is_none());
    let mut anew = Followed::open(&server, "/v1/services/web:watch", Some("2")).await;
    anew.expect("reset").await;
    for _ in 0..5 {
        anew.expect("registered").await;
    }
    anew.expect("synced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_stream_tells_when_an_instance_leaves_it() {
    let server = Server::start();
    ask(&server, "PUT", "/v1/services/web/a?ttl=1m", WEB).await;
    ask(&server, "PUT", "/v1/services/web/b?ttl=1m", r#"{"address":"10.0.0.8","status":"warning"}"#).await;
    let mut passing = Followed::open(&server, "/v1/services/web:watch?status=passing&tag=v2", None).await;
    assert_eq!(passing.expect("registered").await["instance"], "a");
    passing.expect("synced").await;
    ask(&server, "PUT", "/v1/services/web/b:status", DRAINING).await;
    ask(&server, "PUT", "/v1/services/web/a:status", DRAINING).await;
    let left = passing.expect("deregistered").await;
    assert_eq!((&left["instance"], &left["reason"]), (&json!("a"), &json!("filtered")));
    ask(&server, "PUT", "/v1/services/web/a:status", r#"{"status":"passing"}"#).await;
    assert_eq!(passing.expect("registered").await["instance"], "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_of_which_only_a_part_is_told_can_be_resumed_after() {
    let server = Server::start();
    let mut all = Followed::open(&server, "/v1/services:watch", None).await;
    all.expect("synced").await;
    let txn = r#"{"then":[{"put":{"key":"/services/web/a","value":{"address":"10.0.0.7"}}},{"put":{"key":"/services/zzz","value":"x"}}]}"#;
    ask(&server, "POST", "/v1/txn", txn).await;
    let told = all.next().await;
    assert_eq!((told.name.as_str(), told.id.as_deref()), ("registered", None));
    let progress = timeout(Duration::from_secs(5), all.0.next()).await.unwrap().unwrap();
    assert_eq!((progress.name.as_str(), progress.id.as_deref()), ("progress", Some("2")));
}
