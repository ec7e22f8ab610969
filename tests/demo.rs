//! The main job on real input: the machine's own `/etc` goes in, followers see it, crashes lose nothing, and what
//! comes out is what went in. Against the real binary, over real sockets.

#![cfg(test)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use support::Server;
use support::sse::{Event, EventSource};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const LIMIT: Duration = Duration::from_mins(2);

/// Every readable regular file below a directory, by its path from there.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file()
                && let Ok(bytes) = fs::read(entry.path())
            {
                let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, bytes);
            }
        }
    }
    found
}

fn vardr(server: &Server, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_vardr")).env("VARDR_ENDPOINT", server.url()).args(arguments).output().unwrap()
}

/// The key of an event, without the prefix, if it is a put of a file.
fn file_of(event: &Value) -> Option<String> {
    let key = event["key"].as_str()?.strip_prefix("/etc-copy/")?;
    (event["type"] == "put" && !key.is_empty() && !key.ends_with('/')).then(|| key.to_owned())
}

async fn follow_by_sse(url: String, wanted: BTreeSet<String>) {
    let mut source = EventSource::open(&format!("{url}/v1/watch/etc-copy/?after=1"), None).await;
    let mut missing = wanted;
    while !missing.is_empty() {
        let event = source.next().await.expect("the stream goes on");
        if let Some(file) = file_of(&event.json()) {
            missing.remove(&file);
        }
    }
}

async fn follow_by_socket(url: String, wanted: BTreeSet<String>) {
    let url = format!("{}/v1/watch", url.replace("http://", "ws://"));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let watch = r#"{"op":"watch","id":"w1","path":"/etc-copy/","after":1}"#;
    socket.send(Message::text(watch)).await.unwrap();
    let mut missing = wanted;
    while !missing.is_empty() {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            let message: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(message["id"], "w1");
            if let Some(file) = file_of(&message) {
                missing.remove(&file);
            }
        }
    }
}

async fn follow_by_long_poll(url: String, wanted: usize) {
    let client = Client::new();
    let list = format!("{url}/v1/keys/etc-copy/?recursive=true&keysOnly=true&limit=100000");
    let mut tag = String::new();
    loop {
        let mut request = client.get(&list).header("prefer", "wait=30");
        if !tag.is_empty() {
            request = request.header("if-none-match", &tag);
        }
        let response = request.send().await.unwrap();
        if response.status() == StatusCode::OK {
            tag = response.headers()["etag"].to_str().unwrap().to_owned();
            let listing: Value = response.json().await.unwrap();
            let items = listing["items"].as_array().unwrap();
            let files = items.iter().filter(|item| !item["key"].as_str().unwrap_or("/").ends_with('/')).count();
            if files >= wanted {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etc_is_imported_followed_and_exported_byte_for_byte() {
    let server = Server::start();
    let before = files(Path::new("/etc"));
    let names: BTreeSet<String> = before.keys().cloned().collect();
    assert!(names.len() > 50, "too little in /etc to prove anything");
    let mut followers = JoinSet::new();
    followers.spawn(follow_by_sse(server.url(), names.clone()));
    followers.spawn(follow_by_socket(server.url(), names.clone()));
    followers.spawn(follow_by_long_poll(server.url(), names.len()));

    let imported = vardr(&server, &["import", "/etc", "/etc-copy", "--skip-unreadable"]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    tokio::time::timeout(LIMIT, followers.join_all()).await.expect("every follower sees every file");

    let out = tempfile::tempdir().unwrap();
    let exported = vardr(&server, &["export", "/etc-copy", out.path().join("etc").to_str().unwrap()]);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let after = files(&out.path().join("etc"));
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (name, bytes) in &before {
        assert!(after[name] == *bytes, "{name} came out otherwise than it went in");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_clients_that_race_for_a_directory_one_wins() {
    let server = Server::start();
    let client = Client::new();
    for round in 0..5 {
        let url = format!("{}/v1/keys/race/{round}/?prevExist=false", server.url());
        let mut racers = JoinSet::new();
        for _ in 0..100 {
            let request = client.put(&url);
            racers.spawn(async move { request.send().await.unwrap().status() });
        }
        let statuses = racers.join_all().await;
        let count = |status| statuses.iter().filter(|found| **found == status).count();
        assert_eq!((count(StatusCode::CREATED), count(StatusCode::PRECONDITION_FAILED)), (1, 99), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_order_keys_of_sixteen_clients_are_all_there_and_in_order() {
    const CLIENTS: usize = 16;
    const EACH: usize = 1000;
    let server = Server::start();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let url = format!("{}/v1/keys/queue/", server.url());
        clients.spawn(async move {
            let client = Client::new();
            let mut own = Vec::new();
            for count in 0..EACH {
                let response = client.post(&url).body(format!("{number}:{count}")).send().await.unwrap();
                assert_eq!(response.status(), StatusCode::CREATED);
                own.push(response.headers()["location"].to_str().unwrap().to_owned());
            }
            own
        });
    }
    let mut given = BTreeSet::new();
    for own in clients.join_all().await {
        assert!(own.is_sorted(), "a client's own keys rise");
        given.extend(own);
    }
    assert_eq!(given.len(), CLIENTS * EACH, "no key is given twice");

    let mut cursor = None::<String>;
    let mut stored = Vec::new();
    loop {
        let more = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let url = format!("{}/v1/keys/queue/?limit=1000{more}", server.url());
        let page: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        for item in page["items"].as_array().unwrap() {
            stored.push((
                format!("/v1/keys{}", item["key"].as_str().unwrap()),
                item["value"].as_str().unwrap().to_owned(),
            ));
        }
        cursor = page["cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert!(stored.iter().map(|(key, _)| key).eq(&given), "what is stored is what was given, in order");
    for number in 0..CLIENTS {
        let mine = stored.iter().filter_map(|(_, value)| value.strip_prefix(&format!("{number}:")));
        assert!(mine.map(|count| count.parse::<usize>().unwrap()).eq(0..EACH), "client {number}");
    }
}

/// What a watcher saw, by key and revision: exactly once each, in order.
struct Seen {
    events: Vec<(String, u64, String)>,
    resume: Option<String>,
}

impl Seen {
    fn take(&mut self, event: &Event) {
        if let Some(id) = &event.id {
            self.resume = Some(id.clone());
        }
        if event.name == "put" {
            let json = event.json();
            let key = json["key"].as_str().unwrap().to_owned();
            let revision = json["modRevision"].as_u64().unwrap();
            self.events.push((key, revision, json["value"].as_str().unwrap().to_owned()));
        }
    }
}

/// Follows `/storm/` through crashes as a browser does, until told that a revision is the last one.
async fn follow_through_crashes(url: String, last: Arc<AtomicU64>) -> Vec<(String, u64, String)> {
    let mut seen = Seen { events: Vec::new(), resume: Some("1".to_owned()) };
    loop {
        let Some(mut source) = EventSource::try_open(&format!("{url}/v1/watch/storm/"), seen.resume.as_deref()).await
        else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        loop {
            let end = last.load(Ordering::SeqCst);
            if end > 0 && seen.events.last().is_some_and(|(_, revision, _)| *revision >= end) {
                return seen.events;
            }
            match tokio::time::timeout(Duration::from_millis(200), source.next()).await {
                Ok(Some(event)) => seen.take(&event),
                Ok(None) => break,
                Err(_) => {}
            }
        }
    }
}

/// Puts as fast as it can until told to stop. Gives what was acknowledged: key, value, revision.
async fn storm(url: String, number: usize, stop: Arc<AtomicBool>) -> (Vec<(String, String, u64)>, u64) {
    let client = Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    let (mut acknowledged, mut unknown) = (Vec::new(), 0);
    let mut count = 0u64;
    while !stop.load(Ordering::SeqCst) {
        let (key, value) = (format!("/storm/{number}/{}", count % 50), format!("{number}-{count}"));
        count += 1;
        match client.put(format!("{url}/v1/keys{key}")).body(value.clone()).send().await {
            Ok(response) if response.status().is_success() => {
                let revision = response.headers()["vardr-revision"].to_str().unwrap().parse().unwrap();
                acknowledged.push((key, value, revision));
            }
            Ok(response) => assert!(response.status().is_server_error(), "{}", response.status()),
            Err(_) => {
                unknown += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    (acknowledged, unknown)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_nine_in_a_storm_of_writes_nothing_acknowledged_is_lost_and_watchers_resume_exactly() {
    let mut server = Server::start();
    let (stop, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = JoinSet::new();
    for number in 0..16 {
        writers.spawn(storm(server.url(), number, Arc::clone(&stop)));
    }
    let watchers: Vec<_> =
        (0..3).map(|_| tokio::spawn(follow_through_crashes(server.url(), Arc::clone(&last)))).collect();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        tokio::task::block_in_place(|| {
            server.kill();
            server.restart();
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::SeqCst);
    let (mut acknowledged, mut unknown) = (Vec::new(), 0);
    for (known, lost) in writers.join_all().await {
        acknowledged.extend(known);
        unknown += lost;
    }
    assert!(acknowledged.len() > 1000 && unknown > 0, "{} acknowledged, {unknown} unknown", acknowledged.len());

    // One more write marks the end for the watchers.
    let client = Client::new();
    let end = client.put(format!("{}/v1/keys/storm/end", server.url())).body("end").send().await.unwrap();
    let end: u64 = end.headers()["vardr-revision"].to_str().unwrap().parse().unwrap();
    last.store(end, Ordering::SeqCst);

    let url = format!("{}/v1/keys/storm/?recursive=true&limit=100000", server.url());
    let present: Value = client.get(url).send().await.unwrap().json().await.unwrap();
    let present: BTreeMap<String, (u64, String)> = present["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let text = |name: &str| item[name].as_str().unwrap().to_owned();
            (text("key"), (item["modRevision"].as_u64().unwrap(), text("value")))
        })
        .collect();
    for (key, value, revision) in &acknowledged {
        let (stored, stored_value) = &present[key];
        assert!(stored >= revision, "{key} stands at {stored}, but {revision} was acknowledged");
        assert!(stored > revision || stored_value == value, "{key} at {revision} holds another value");
    }
    let begun = Instant::now();
    for watcher in watchers {
        let seen = tokio::time::timeout(LIMIT, watcher).await.expect("a watcher catches up").unwrap();
        let revisions: Vec<u64> = seen.iter().map(|(_, revision, _)| *revision).collect();
        assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]), "an event came twice or out of order");
        assert_eq!(revisions, (2..=end).collect::<Vec<u64>>(), "an event is missing");
        let by_revision: BTreeMap<u64, (&str, &str)> =
            seen.iter().map(|(key, revision, value)| (*revision, (key.as_str(), value.as_str()))).collect();
        for (key, value, revision) in &acknowledged {
            assert_eq!(by_revision[revision], (key.as_str(), value.as_str()));
        }
    }
    println!(
        "{} writes acknowledged, {unknown} unknown, 4 crashes; watchers caught up in {:?}",
        acknowledged.len(),
        begun.elapsed()
    );
}
