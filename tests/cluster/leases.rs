//! Leases while one leader dies after the other: those that are kept alive live, the others die, neither too early nor too late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::MACHINE;
use crate::cluster::{Cluster, Shape};

/// Of the leases that are kept alive, and how often they are.
const KEPT_TTL: Duration = Duration::from_secs(6);
const KEEP_EVERY: Duration = Duration::from_millis(1_500);
/// How often a leader dies.
const PACE: Duration = Duration::from_secs(5);
/// After so long a leader has what is left of every lease recorded: as much may come back to one when the leader changes.
const CHECKPOINT: Duration = Duration::from_secs(30);

/// A lease that nobody keeps alive, with a key.
struct Left {
    key: String,
    ttl: Duration,
    /// The moments between which it was granted.
    granted: (SystemTime, SystemTime),
}

fn http() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap()
}

/// Grants a lease and writes a key with it.
async fn grant(client: &Client, url: &str, key: &str, ttl: Duration) -> String {
    let body = json!({"ttl": ttl.as_secs_f64()}).to_string();
    let granted = client.post(format!("{url}/v1/leases")).body(body).send().await.unwrap();
    assert_eq!(granted.status(), StatusCode::CREATED);
    let lease: Value = granted.json().await.unwrap();
    let id = lease["id"].as_str().unwrap().to_owned();
    let put = client.put(format!("{url}/v1/keys{key}?lease={id}")).body("x").send().await.unwrap();
    assert_eq!(put.status(), StatusCode::CREATED);
    id
}

/// Keeps a lease alive, wherever it is heard, until told to end.
async fn keep(client: Client, urls: Vec<String>, id: String, ends: Arc<AtomicBool>) {
    for turn in 0.. {
        if ends.load(Ordering::Relaxed) {
            return;
        }
        let url = &urls[turn % urls.len()];
        match client.post(format!("{url}/v1/leases/{id}:keepalive")).send().await.map(|answer| answer.status()) {
            Ok(StatusCode::OK) => sleep(KEEP_EVERY).await,
            Ok(StatusCode::NOT_FOUND) => panic!("the lease {id} was kept alive and is gone"),
            Ok(_) | Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// When a key died, by the stamp of the event.
async fn died(client: &Client, url: &str, key: &str) -> Option<SystemTime> {
    let answer = client.get(format!("{url}/v1/history{key}")).send().await.ok()?;
    let history: Value = answer.json().await.ok()?;
    let newest = history["items"].get(0)?;
    if newest["type"] != "expire" {
        return None;
    }
    let time: jiff::Timestamp = newest["time"].as_str()?.parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_millis(time.as_millisecond().unsigned_abs()))
}

async fn survive(count: usize, span: Duration) {
    let _alone = MACHINE.write().await;
    let mut cluster = Cluster::start(Shape::default()).await;
    for place in cluster.places() {
        cluster.must_follow(place).await;
    }
    let election = Shape::default().election;
    let (client, urls) = (http(), cluster.urls());
    let mut chance = StdRng::seed_from_u64(count as u64);
    let ends = Arc::new(AtomicBool::new(false));
    let (mut kept, mut left) = (tokio::task::JoinSet::new(), Vec::new());
    let mut keys = Vec::new();
    for number in 0..count {
        let key = format!("/kept/{number}");
        let id = grant(&client, &urls[0], &key, KEPT_TTL).await;
        keys.push(key);
        kept.spawn(keep(client.clone(), urls.clone(), id, Arc::clone(&ends)));
        let key = format!("/left/{number}");
        let ttl = Duration::from_millis(chance.random_range(2_000..20_000));
        let before = SystemTime::now();
        grant(&client, &urls[0], &key, ttl).await;
        left.push(Left { key, ttl, granted: (before, SystemTime::now()) });
    }
    let until = Instant::now() + span;
    let mut changes = Vec::new();
    while Instant::now() < until {
        sleep(PACE).await;
        let leader = cluster.leader().await;
        cluster.members[leader].kill();
        changes.push(SystemTime::now());
        cluster.leader_among(&cluster.others(leader)).await;
        cluster.members[leader].start();
        cluster.must_follow(leader).await;
    }
    let mut latest = Duration::ZERO;
    for Left { key, ttl, granted: (before, after) } in &left {
        let allowed = |died: SystemTime| {
            let lived = |change: &&SystemTime| **change > *before && **change < died;
            let changes = u32::try_from(changes.iter().filter(lived).count()).unwrap();
            *ttl + Duration::from_secs(1) + changes * (2 * election + CHECKPOINT.min(*ttl))
        };
        let died = loop {
            if let Some(died) = died(&client, &urls[0], key).await {
                break died;
            }
            let late = after.elapsed().unwrap().saturating_sub(allowed(SystemTime::now()));
            assert!(late < Duration::from_secs(5), "{key} of {ttl:?} lives on");
            sleep(Duration::from_millis(100)).await;
        };
        let age = died.duration_since(*before).unwrap();
        // The stamp is in whole milliseconds.
        assert!(age + Duration::from_millis(1) >= *ttl, "{key} of {ttl:?} died after {age:?}");
        let age = died.duration_since(*after).unwrap_or_default();
        assert!(age <= allowed(died), "{key} of {ttl:?} died after {age:?}, {changes:?}");
        latest = latest.max(age.saturating_sub(*ttl));
    }
    ends.store(true, Ordering::Relaxed);
    while let Some(ended) = kept.join_next().await {
        ended.unwrap();
    }
    for key in keys {
        let answer = client.get(format!("{}/v1/keys{key}", urls[0])).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{key} was kept alive and is gone");
    }
    println!(
        "{count} leases kept, {count} left, {} leaders died; the latest died {latest:?} after its time",
        changes.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_live_and_die_in_time_while_leaders_die() {
    survive(40, Duration::from_secs(12)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make soak-cluster"]
async fn two_hundred_leases_live_and_die_in_time_while_leaders_die_for_a_minute() {
    survive(200, Duration::from_mins(1)).await;
}
