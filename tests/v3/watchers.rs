//! How what watches over gRPC stands in the list of `/v1/watchers`.

use crate::support::http::Client;
use crate::support::until;
use crate::watch::Watching;
use crate::{V3, bytes, pb, start, told};
use pb::election::LeaderRequest;
use pb::lock::LockRequest;
use vardr::api::v1::watchers::{CarrierWord, WatcherList, WatcherObject};

fn watchers(client: &Client) -> Vec<WatcherObject> {
    client.get("/v1/watchers").expect(200).shape::<WatcherList>().items
}

fn create(key: &str, range_end: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: bytes(key), range_end: bytes(range_end), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_watch_of_a_stream_is_listed_until_it_is_cancelled_or_the_stream_ends() {
    let (server, v3) = start();
    let client = Client::new(server.address());
    let mut stream = Watching::of(&v3);
    for (key, range_end) in [("/app/db", ""), ("/app/", "/app0"), ("a", "c"), ("b", "\0")] {
        assert!(stream.create(create(key, range_end)).await.created);
    }
    let listed = watchers(&client);
    let keys = |watcher: &WatcherObject| [&watcher.key, &watcher.prefix, &watcher.from, &watcher.to].map(Clone::clone);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        listed.iter().map(keys).collect::<Vec<_>>(),
        [
            [some("/app/db"), None, None, None],
            [None, some("/app/"), None, None],
            [None, None, some("a"), some("c")],
            [None, None, some("b"), None],
        ]
    );
    for watcher in &listed {
        assert_eq!((watcher.carrier, &watcher.address), (CarrierWord::V3Grpc, &listed[0].address));
        assert!(watcher.user_agent.as_ref().is_some_and(|agent| agent.contains("tonic")), "{watcher:?}");
    }
    stream.cancel(1).await;
    until("one is cancelled", || watchers(&client).len() == 3);
    assert!(watchers(&client).iter().all(|watcher| watcher.id != listed[1].id));
    drop(stream);
    until("the stream is gone", || watchers(&client).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_lock_and_who_observes_an_election_is_listed() {
    let (server, v3) = start();
    let client = Client::new(server.address());
    let lock = |v3: &V3| {
        let mut locks = v3.locks();
        async move { told(locks.lock(LockRequest { name: bytes("jobs"), lease: 0 }).await) }
    };
    let held = lock(&v3).await.unwrap();
    let waiter = tokio::spawn(lock(&v3));
    until("nobody waits", || watchers(&client).len() == 1);
    let mut elections = v3.elections();
    let observer = tokio::spawn(async move { elections.observe(LeaderRequest { name: bytes("primary") }).await });
    until("nobody observes", || watchers(&client).len() == 2);
    let listed = watchers(&client);
    assert_eq!(listed[0].key.as_deref().map(str::as_bytes), Some(&*held.key));
    assert_eq!((listed[1].prefix.as_deref(), listed[1].children), (Some("primary/"), Some(true)));
    assert!(listed.iter().all(|watcher| watcher.carrier == CarrierWord::V3Grpc));
    waiter.abort();
    // It may have the answers already.
    observer.abort();
    drop(observer);
    until("they are gone", || watchers(&client).is_empty());
}
