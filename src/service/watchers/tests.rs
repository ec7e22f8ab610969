//! Claims about the list of open watches at a member that is alone: who is on it, for how long, and what it says.

use super::*;
use crate::model::{KeyRange, NodePath};
use crate::service::alone::{Alone, call};
use crate::service::{Call, NodeWatchRequest, OnCompacted, Start, WatchItem, WatchRequest, WatchStream};

/// A call of a client.
fn client(carrier: Carrier) -> Call {
    let address = "10.0.0.7:53412".parse().unwrap();
    call().by(Some(Arc::new(Origin { carrier, address, user_agent: Some("curl".into()) })))
}

impl Alone {
    async fn follow(&self, call: &Call, prefix: &str, start: Start) -> WatchStream {
        let request = WatchRequest {
            range: KeyRange::prefix(prefix.to_owned()),
            children_of: None,
            kinds: Vec::new(),
            start,
            on_compacted: OnCompacted::End,
            progress_every: None,
        };
        self.service.watch(call, request).await.unwrap()
    }

    fn listed(&self, prefix: &'static str, limit: u64, cursor: Option<Cursor>) -> Watchers {
        self.service.watchers(&WatchersRequest { prefix: prefix.into(), limit, cursor })
    }

    /// How far the only watch is.
    fn told(&self) -> u64 {
        let [watching] = self.listed("", 10, None).items.try_into().unwrap();
        watching.told.get()
    }
}

#[test]
fn a_watch_takes_little_room_on_the_list() {
    // Two counts of references each, and a place in the map.
    assert!(size_of::<OpenWatch>() + size_of::<Origin>() <= 200, "{}", size_of::<OpenWatch>());
}

#[tokio::test]
async fn a_watch_of_a_client_is_listed_for_as_long_as_its_stream_is_there() {
    let alone = Alone::start();
    let own = alone.follow(&call(), "/a/", Start::Now).await;
    assert!(alone.listed("", 10, None).items.is_empty(), "nobody's");
    let first = alone.follow(&client(Carrier::Events), "/a/", Start::Now).await;
    let second = alone.follow(&client(Carrier::Lines), "/b", Start::Now).await;
    let listed = alone.listed("", 10, None).items;
    assert_eq!(
        listed.iter().map(|watching| watching.origin.carrier).collect::<Vec<_>>(),
        [Carrier::Events, Carrier::Lines]
    );
    assert_eq!(listed[0].followed, Followed::Prefix("/a/".into()));
    assert_eq!(listed[0].origin.user_agent.as_deref(), Some("curl"));
    drop((own, first));
    let left = alone.listed("", 10, None).items;
    assert_eq!((left.len(), left[0].id), (1, listed[1].id));
    drop(second);
    assert!(alone.listed("", 10, None).items.is_empty());
    assert!(alone.service.0.open_watches.0.lock().is_empty());
}

#[tokio::test]
async fn how_far_a_watch_is_is_known_of_state_history_and_what_happens() {
    let alone = Alone::start();
    for _ in 0..3 {
        alone.set("a", "v").await;
    }
    let mut initial = alone.follow(&client(Carrier::Events), "", Start::Initial).await;
    assert_eq!(alone.told(), 0);
    while !matches!(initial.next().await, Some(WatchItem::Synced(_))) {}
    assert_eq!(alone.told(), 4);
    drop(initial);
    let mut resumed = alone.follow(&client(Carrier::Events), "", Start::After(Revision(2))).await;
    assert_eq!(alone.told(), 2);
    assert!(matches!(resumed.next().await, Some(WatchItem::Events(_))));
    assert_eq!(alone.told(), 4);
    // The hub is a moment behind what is applied.
    alone.set("a", "v").await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while alone.listed("", 10, None).items[0].backlog_bytes == 0 {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert_eq!(alone.told(), 4);
    assert!(matches!(resumed.next().await, Some(WatchItem::Events(_))));
    let shown = &alone.listed("", 10, None).items[0];
    assert_eq!((shown.told, shown.backlog_bytes), (Revision(5), 0));
}

#[tokio::test]
async fn a_node_is_listed_as_the_key_or_directory_that_it_is_and_with_how_far_history_was_looked_through() {
    let alone = Alone::start();
    for _ in 0..3 {
        alone.set("/other", "v").await;
    }
    let watch = |path: &'static str, recursive, since: Option<u64>| {
        let path = NodePath::new(Bytes::from_static(path.as_bytes())).unwrap();
        let request = NodeWatchRequest { path, recursive, since: since.map(Revision), stream: false };
        alone.service.watch_node(&client(Carrier::NodeWait), request).unwrap()
    };
    let watches = [watch("/a", false, None), watch("/a", true, None), watch("", false, None), watch("", true, None)];
    let listed: Vec<_> = alone.listed("", 10, None).items.into_iter().map(|watching| watching.followed).collect();
    let (key, prefix) =
        (|key: &'static str| Followed::Key(key.into()), |prefix: &'static str| Followed::Prefix(prefix.into()));
    assert_eq!(listed, [key("/a"), prefix("/a/"), key("/"), prefix("/")]);
    drop(watches);
    let mut waits = watch("/a", false, Some(2));
    assert_eq!(alone.told(), 1);
    alone.set("/a", "v").await;
    assert!(waits.next().await.is_some());
    assert_eq!(alone.told(), 5);
}

#[tokio::test]
async fn pages_show_each_watch_once_in_order_of_age() {
    let alone = Alone::start();
    let caller = client(Carrier::Poll);
    let mut open = Vec::new();
    for number in 0..2 * ASKED_AT_ONCE + 10 {
        let prefix = if number % 500 == 7 { "/rare/" } else { "/common/" };
        open.push(alone.follow(&caller, prefix, Start::Now).await);
    }
    for (prefix, limit, expected) in
        [("", 1000, open.len()), ("", 5000, open.len()), ("/rare", 2, 5), ("/r", 5, 5), ("/x", 1, 0)]
    {
        let (mut ids, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = alone.listed(prefix, limit, cursor);
            assert!(page.items.len() as u64 <= limit);
            ids.extend(page.items.iter().map(|watching| watching.id));
            (cursor, pages) = (page.cursor, pages + 1);
            if cursor.is_none() {
                break;
            }
        }
        assert!(ids.is_sorted_by(|a, b| a < b));
        let full = expected.div_ceil(usize::try_from(limit).unwrap()).max(1);
        assert_eq!((ids.len(), pages), (expected, full), "{prefix} {limit}");
    }
}

#[tokio::test]
async fn a_page_of_long_names_ends_early_and_the_next_goes_on() {
    let alone = Alone::start();
    let caller = client(Carrier::Poll);
    let long = "k".repeat(MAX_PAGE_BYTES / 12);
    let mut open = Vec::new();
    for _ in 0..24 {
        open.push(alone.follow(&caller, &long, Start::Now).await);
    }
    let (mut found, mut cursor, mut pages) = (0, None, 0);
    loop {
        let page = alone.listed("", 100, cursor);
        assert!(page.items.iter().map(Watching::bytes).sum::<usize>() <= MAX_PAGE_BYTES);
        found += page.items.len();
        (cursor, pages) = (page.cursor, pages + 1);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((found, pages), (24, 3));
}
