//! A lock that very many clients contend for, while clients die and members are killed: it is held by one at a time, in the order of
//! arrival, and nothing of it is left. Who came when and was gone when is told by the history of the keys, and held against
//! what the holders were answered.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::MACHINE;
use crate::cluster::{Cluster, Shape, directory};
use crate::follower::Follower;
use crate::record::Change;
use crate::run::{last_write, shown};

/// The lock, as a path names it, and what its keys begin with.
const LOCK: &str = "/v1/locks/%2Fcontended";
const KEYS: &str = "/contended/";
/// A holder that died is gone after so long.
const TTL: Duration = Duration::from_secs(3);
/// How long a client waits for its turn.
const WAIT: Duration = Duration::from_mins(1);
/// How long what has to happen at the end may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What the lock guards: a file with a counter, which takes no smaller token than one that it has seen.
struct Guarded {
    path: PathBuf,
    access: Mutex<()>,
}

impl Guarded {
    fn new(directory: &Path) -> Self {
        let path = directory.join("counter");
        fs::write(&path, "0 0").unwrap();
        Self { path, access: Mutex::new(()) }
    }

    fn read(&self) -> (u64, u64) {
        let text = fs::read_to_string(&self.path).unwrap();
        let (token, count) = text.split_once(' ').unwrap();
        (token.parse().unwrap(), count.parse().unwrap())
    }

    /// The count, for a holder that begins. `None` when a later one has.
    fn begin(&self, token: u64) -> Option<u64> {
        let _access = self.access.lock().unwrap();
        let (seen, count) = self.read();
        assert_ne!(token, seen, "two holders have one token");
        if token < seen {
            return None;
        }
        fs::write(&self.path, format!("{token} {count}")).unwrap();
        Some(count)
    }

    /// Writes what a holder has computed from the count it read. False when a later one has begun.
    fn end(&self, token: u64, read: u64) -> bool {
        let _access = self.access.lock().unwrap();
        let (seen, count) = self.read();
        if token < seen {
            return false;
        }
        assert_eq!((seen, count), (token, read), "somebody else wrote meanwhile");
        fs::write(&self.path, format!("{token} {}", read + 1)).unwrap();
        true
    }
}

/// That a client was told that it holds.
#[derive(Debug, Clone, Copy)]
struct Grant {
    token: u64,
    /// Of the state in which it was the first.
    revision: u64,
}

/// What happened.
#[derive(Default)]
struct Counts {
    grants: Mutex<Vec<Grant>>,
    written: AtomicUsize,
    /// Holders that a later one had overtaken before they came to write.
    fenced: AtomicUsize,
    hung_up: AtomicUsize,
    died_holding: AtomicUsize,
}

/// One client after the other, each with a life of its own.
struct Contender {
    number: usize,
    http: Client,
    urls: Vec<String>,
    chance: StdRng,
}

impl Contender {
    fn url(&mut self) -> String {
        let place = self.chance.random_range(0..self.urls.len());
        self.urls[place].clone()
    }

    /// Asks for the lock until it has it; the holder and the token.
    async fn acquire(&mut self, counts: &Counts) -> (String, u64) {
        let body = json!({"ttl": TTL.as_secs(), "wait": WAIT.as_secs(), "owner": format!("client-{}", self.number)});
        loop {
            let url = format!("{}{LOCK}", self.url());
            let asking = self.http.post(url).body(body.to_string()).send();
            let patience = if self.chance.random_bool(0.1) {
                Duration::from_millis(self.chance.random_range(1..2_000))
            } else {
                WAIT * 2
            };
            let Ok(answer) = timeout(patience, asking).await else {
                counts.hung_up.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if let Ok(answer) = answer {
                let status = answer.status();
                let revision =
                    answer.headers().get("vardr-revision").and_then(|value| value.to_str().ok()?.parse().ok());
                let value: Value = answer.json().await.unwrap_or_default();
                if let (StatusCode::OK, Some(holder), Some(token)) =
                    (status, value["holder"].as_str(), value["fencingToken"].as_u64())
                {
                    let revision = revision.expect("every answer says its revision");
                    counts.grants.lock().unwrap().push(Grant { token, revision });
                    return (holder.to_owned(), token);
                }
                let is_known = matches!(status.as_u16(), 200 | 404 | 409 | 503 | 504);
                assert!(is_known, "{status}: {value}");
            }
            sleep(Duration::from_millis(self.chance.random_range(10..100))).await;
        }
    }

    /// Lives until `until`, and on until it has held the lock once.
    async fn live(mut self, guarded: &Guarded, counts: &Counts, until: Instant) {
        let mut held = false;
        while !held || Instant::now() < until {
            let (holder, token) = self.acquire(counts).await;
            held = true;
            let read = guarded.begin(token);
            tokio::task::yield_now().await;
            if !read.is_some_and(|count| guarded.end(token, count)) {
                self.must_have_lost(&holder).await;
                counts.fenced.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            counts.written.fetch_add(1, Ordering::Relaxed);
            if self.chance.random_bool(0.002) {
                counts.died_holding.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            // A lock that nobody takes back runs out.
            drop(timeout(TTL, self.release(&holder)).await);
        }
    }

    /// Somebody with a greater token came before: out of turn, unless this holder's time had run out.
    async fn must_have_lost(&mut self, holder: &str) {
        loop {
            let path = format!("{}{LOCK}/{holder}:keepalive", self.url());
            match self.http.post(path).send().await.map(|answer| answer.status().as_u16()) {
                Ok(404) => return,
                Ok(200) => panic!("the lock was given to another while {holder} had it"),
                Ok(_) | Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn release(&mut self, holder: &str) {
        loop {
            let path = format!("{}{LOCK}/{holder}", self.url());
            match self.http.delete(path).send().await {
                Ok(answer) if matches!(answer.status().as_u16(), 200 | 404) => return,
                Ok(_) | Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// The places as the history tells them: when each came, and when it was gone.
fn places(history: &[Change]) -> BTreeMap<u64, u64> {
    let (mut came, mut places) = (HashMap::new(), BTreeMap::new());
    for change in history.iter().filter(|change| change.key.starts_with(KEYS)) {
        // A place says whose it is, and its end says nothing.
        if change.value.is_empty() {
            let came = came.remove(&change.key).expect("what ends has begun");
            places.insert(came, change.revision);
        } else {
            assert_eq!(came.insert(&change.key, change.revision), None, "a place is taken once: {change:?}");
        }
    }
    places.extend(came.into_values().map(|came| (came, u64::MAX)));
    places
}

/// Every grant that was out of turn. Whoever holds has a place, everybody who came before is gone, and so the grants come in the
/// order of arrival.
fn out_of_turn(places: &BTreeMap<u64, u64>, mut grants: Vec<Grant>) -> Vec<String> {
    let mut complaints = Vec::new();
    for grant in &grants {
        if places.get(&grant.token).is_none_or(|gone| *gone <= grant.revision) {
            complaints.push(format!("{grant:?} is of no place that is there"));
        }
        let ahead = places.range(..grant.token).filter(|(_, gone)| **gone > grant.revision);
        complaints.extend(ahead.map(|(came, gone)| format!("{grant:?} while {came} is ahead, which went at {gone}")));
    }
    grants.sort_by_key(|grant| grant.revision);
    let pairs = grants.windows(2).filter(|pair| pair[0].token >= pair[1].token);
    complaints.extend(pairs.map(|pair| format!("{:?} after {:?}", pair[1], pair[0])));
    complaints
}

async fn contend(clients: usize, span: Duration) {
    let _alone = MACHINE.write().await;
    let mut cluster = Cluster::start(Shape::default()).await;
    let home = directory();
    let guarded: &Guarded = Box::leak(Box::new(Guarded::new(home.path())));
    let counts: &Counts = Box::leak(Box::default());
    let (began, until) = (Instant::now(), Instant::now() + span);
    let mut living = tokio::task::JoinSet::new();
    for number in 0..clients {
        let http = Client::builder().no_proxy().build().unwrap();
        let chance = StdRng::seed_from_u64(number as u64);
        let contender = Contender { number, http, urls: cluster.urls(), chance };
        living.spawn(contender.live(guarded, counts, until));
    }
    let mut chance = StdRng::seed_from_u64(clients as u64);
    let mut kills = 0;
    while Instant::now() < until {
        sleep(Duration::from_millis(chance.random_range(2_000..6_000))).await;
        let place = chance.random_range(0..cluster.places().len());
        cluster.members[place].kill();
        kills += 1;
        sleep(Duration::from_millis(chance.random_range(0..1_500))).await;
        cluster.members[place].start();
        cluster.must_follow(place).await;
    }
    while let Some(ended) = timeout(2 * WAIT, living.join_next()).await.expect("somebody starves") {
        ended.unwrap();
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let written = count(&counts.written);
    println!(
        "{clients} clients in {:?}: {written} holders wrote, {} were fenced off, {} died holding, {} hung up; {kills} members were killed",
        began.elapsed(),
        count(&counts.fenced),
        count(&counts.died_holding),
        count(&counts.hung_up),
    );
    assert_eq!(guarded.read().1, written as u64, "writes were lost");
    assert!(written >= clients / 2, "hardly anybody wrote");
    let deadline = Instant::now() + LIMIT;
    let client = Client::builder().no_proxy().build().unwrap();
    loop {
        let answer = client.get(format!("{}/v1/keys?recursive=true", cluster.url(0))).send().await.unwrap();
        let left: Value = answer.json().await.unwrap();
        if left["items"].as_array().is_some_and(Vec::is_empty) {
            break;
        }
        assert!(Instant::now() < deadline, "keys are left: {left}");
        sleep(Duration::from_millis(100)).await;
    }
    let end = last_write(&cluster).await;
    let places = places(&Follower::start(cluster.urls(), 0).finish(end, LIMIT).await);
    let grants = std::mem::take(&mut *counts.grants.lock().unwrap());
    println!("{} places were taken, and {} of them came to hold", places.len(), grants.len());
    let complaints = out_of_turn(&places, grants);
    assert!(complaints.is_empty(), "{}", shown(&complaints));
}

#[test]
fn a_grant_out_of_turn_is_found() {
    let change =
        |revision, key: &str, value: &str| Change { revision, key: format!("{KEYS}{key}"), value: value.to_owned() };
    let history =
        [change(2, "a", "x"), change(3, "b", "x"), change(4, "c", "x"), change(5, "a", ""), change(6, "b", "")];
    let places = places(&history);
    assert_eq!(places, BTreeMap::from([(2, 5), (3, 6), (4, u64::MAX)]));
    let grant = |token, revision| Grant { token, revision };
    let complaints = |grants: &[Grant]| out_of_turn(&places, grants.to_vec()).len();
    assert_eq!(complaints(&[grant(2, 2), grant(3, 5), grant(4, 6)]), 0, "in turn");
    assert_eq!(complaints(&[grant(2, 4), grant(4, 9)]), 0, "one gave up before its turn");
    assert_eq!(complaints(&[grant(4, 5)]), 1, "another was ahead");
    assert_eq!(complaints(&[grant(3, 6)]), 1, "it was gone itself");
    assert_eq!(complaints(&[grant(7, 7)]), 2, "it was never there, and another was ahead");
    assert_eq!(complaints(&[grant(4, 7), grant(2, 8)]), 2, "it was gone, and it came after a later one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_held_by_one_at_a_time_whoever_dies() {
    contend(100, Duration::from_secs(8)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make soak-cluster"]
async fn a_lock_of_a_thousand_clients_is_held_by_one_at_a_time_whoever_dies() {
    contend(1_000, Duration::from_mins(1)).await;
}
