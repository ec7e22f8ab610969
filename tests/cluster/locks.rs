//! A lock that very many clients contend for, while clients die and members are killed: it is held by one at a time, in the order of
//! arrival, and nothing of it is left.

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

/// What happened, counted.
#[derive(Default)]
struct Counts {
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
            let url = format!("{}/v1/locks/contended", self.url());
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
                let value: Value = answer.json().await.unwrap_or_default();
                if let (StatusCode::OK, Some(holder), Some(token)) =
                    (status, value["holder"].as_str(), value["fencingToken"].as_u64())
                {
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
            let path = format!("{}/v1/locks/contended/{holder}:keepalive", self.url());
            match self.http.post(path).send().await.map(|answer| answer.status().as_u16()) {
                Ok(404) => return,
                Ok(200) => panic!("the lock was given to another while {holder} had it"),
                Ok(_) | Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn release(&mut self, holder: &str) {
        loop {
            let path = format!("{}/v1/locks/contended/{holder}", self.url());
            match self.http.delete(path).send().await {
                Ok(answer) if matches!(answer.status().as_u16(), 200 | 404) => return,
                Ok(_) | Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
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
            return;
        }
        assert!(Instant::now() < deadline, "keys are left: {left}");
        sleep(Duration::from_millis(100)).await;
    }
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
