//! Leases while leaders die, stand still and change, and while all members do: those that are kept alive live, the others die, neither too
//! early nor too late.
//!
//! Owns what the other tests of leases share: the leases, whoever keeps them alive, and the bounds of their lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::MACHINE;
use crate::cluster::{Cluster, LOOK, Shape};
use crate::member::Member;

/// So much of a lease's time may have passed without being recorded, and comes back when a member starts anew: a leader looks every 10 s for
/// those of which 30 s have passed since they were last recorded.
const UNRECORDED: Duration = Duration::from_secs(40);
/// A lease dies at most so long after its time while nothing happens to the members.
const LATE: Duration = Duration::from_secs(1);
/// How long after that it is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before whoever did not renew a lease is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// A lease that nobody keeps alive, with a key.
struct Left {
    key: String,
    ttl: Duration,
    /// The moments between which it was granted.
    granted: (SystemTime, SystemTime),
}

/// How a lease fared that was kept alive.
struct Kept {
    key: String,
    /// How long after the last renewal that was answered, counted from when that was asked for, it was seen to be gone.
    lost: Option<Duration>,
}

/// Something that happened to the members, and may lengthen the lives of leases.
#[derive(Debug)]
pub(crate) struct Upset {
    pub(crate) at: SystemTime,
    /// How long no member ran.
    pub(crate) all_away: Duration,
    /// Whether members started anew, which know of a lease's time only what was recorded.
    pub(crate) restarted: bool,
}

impl Upset {
    /// The leader changes now.
    pub(crate) fn change() -> Self {
        Self { at: SystemTime::now(), all_away: Duration::ZERO, restarted: false }
    }
}

/// Leases with a key each, of which half are kept alive, wherever that is heard, and the others are left alone.
pub(crate) struct Herd {
    client: Client,
    /// Where to ask what came of them.
    url: String,
    election: Duration,
    kept: JoinSet<Kept>,
    left: Vec<Left>,
    ends: Arc<AtomicBool>,
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

fn client(timeout: Duration) -> Client {
    Client::builder().no_proxy().timeout(timeout).build().unwrap()
}

/// Keeps a lease alive, wherever it is heard, until told to end: how long after its last renewal it was gone, if it was.
async fn keep(urls: Vec<String>, id: String, ttl: Duration, ends: Arc<AtomicBool>) -> Option<Duration> {
    // One that stands still must not cost the lease its life.
    let client = client(ttl / 8);
    let mut renewed = Instant::now();
    for url in urls.iter().cycle() {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let asked = Instant::now();
        match client.post(format!("{url}/v1/leases/{id}:keepalive")).send().await.map(|answer| answer.status()) {
            Ok(StatusCode::OK) => {
                renewed = asked;
                sleep(ttl / 4).await;
            }
            Ok(StatusCode::NOT_FOUND) => return Some(renewed.elapsed()),
            Ok(_) | Err(_) => sleep(AGAIN).await,
        }
    }
    None
}

/// When a key died, by the stamp of the event.
async fn stamped(client: &Client, url: &str, key: &str) -> Option<SystemTime> {
    let answer = client.get(format!("{url}/v1/history{key}")).send().await.ok()?;
    let history: Value = answer.json().await.ok()?;
    let newest = history["items"].get(0)?;
    if newest["type"] != "expire" {
        return None;
    }
    let time: jiff::Timestamp = newest["time"].as_str()?.parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_millis(time.as_millisecond().unsigned_abs()))
}

impl Herd {
    /// Grants `count` leases to keep alive, and as many to leave alone, of so many milliseconds.
    pub(crate) async fn grant(
        cluster: &Cluster,
        count: usize,
        kept_ttl: Duration,
        left_ms: std::ops::Range<u64>,
        chance: &mut StdRng,
    ) -> Self {
        let (client, urls, ends) = (client(Duration::from_secs(5)), cluster.urls(), Arc::new(AtomicBool::new(false)));
        let (mut kept, mut left) = (JoinSet::new(), Vec::new());
        for number in 0..count {
            let key = format!("/kept/{number}");
            let id = grant(&client, &urls[0], &key, kept_ttl).await;
            let keeping = keep(urls.clone(), id, kept_ttl, Arc::clone(&ends));
            kept.spawn(async move { Kept { key, lost: keeping.await } });
            let (key, ttl) = (format!("/left/{number}"), Duration::from_millis(chance.random_range(left_ms.clone())));
            let before = SystemTime::now();
            grant(&client, &urls[0], &key, ttl).await;
            left.push(Left { key, ttl, granted: (before, SystemTime::now()) });
        }
        Self { client, url: urls[0].clone(), election: cluster.shape.election, kept, left, ends }
    }

    /// Waits until those that were left alone are dead, by the stamps of their deaths, and fails where one lived too long or not long
    /// enough. How much later than at its time the latest died.
    pub(crate) async fn must_die_in_time(&self, upsets: &[Upset]) -> Duration {
        self.must_die(upsets, async |key| stamped(&self.client, &self.url, key).await).await
    }

    /// As [`Herd::must_die_in_time`], with somebody else telling when a key died.
    pub(crate) async fn must_die(&self, upsets: &[Upset], died: impl AsyncFn(&str) -> Option<SystemTime>) -> Duration {
        let mut latest = Duration::ZERO;
        for Left { key, ttl, granted: (before, after) } in &self.left {
            let allowed = |died: SystemTime| {
                let lived = || upsets.iter().filter(|upset| upset.at > *before && upset.at < died);
                let longer = lived().map(|upset| 3 * self.election + upset.all_away);
                // Each start gives back what was not recorded, all of them together no more than had passed by the last.
                let starts = || lived().filter(|upset| upset.restarted);
                let passed = starts().map(|upset| upset.at.duration_since(*before).unwrap_or_default()).max();
                let back = starts().map(|_| UNRECORDED.min(*ttl)).sum::<Duration>().min(passed.unwrap_or_default());
                *ttl + LATE + longer.sum::<Duration>() + back
            };
            let died = loop {
                if let Some(died) = died(key).await {
                    break died;
                }
                let late = after.elapsed().unwrap().saturating_sub(allowed(SystemTime::now()));
                assert!(late < PATIENCE, "{key} of {ttl:?} lives on");
                sleep(LOOK).await;
            };
            let age = died.duration_since(*before).unwrap();
            // The stamp is in whole milliseconds.
            assert!(age + Duration::from_millis(1) >= *ttl, "{key} of {ttl:?} died after {age:?}, {upsets:#?}");
            let age = died.duration_since(*after).unwrap_or_default();
            assert!(age <= allowed(died), "{key} of {ttl:?} died after {age:?}, {upsets:#?}");
            latest = latest.max(age.saturating_sub(*ttl));
        }
        latest
    }

    /// Ends the keeping, and fails unless all that were kept alive are.
    pub(crate) async fn must_have_lived(self) {
        let (client, url) = (self.client.clone(), self.url.clone());
        for Kept { key, lost } in self.end().await {
            assert_eq!(lost, None, "{key} was kept alive and is gone");
            let answer = client.get(format!("{url}/v1/keys{key}")).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{key} was kept alive and is gone");
        }
    }

    async fn end(mut self) -> Vec<Kept> {
        self.ends.store(true, Ordering::Relaxed);
        let mut kept = Vec::new();
        while let Some(ended) = self.kept.join_next().await {
            kept.push(ended.unwrap());
        }
        kept
    }
}

/// A cluster whose members all know who leads.
pub(crate) async fn settled(shape: Shape) -> Cluster {
    let cluster = Cluster::start(shape).await;
    for place in cluster.places() {
        cluster.must_follow(place).await;
    }
    cluster
}

/// Has another member lead, which must be one that can.
pub(crate) async fn hand_over(cluster: &Cluster, to: usize) -> Upset {
    let upset = Upset::change();
    let id = cluster.status(to).await.expect("it answers").member_id;
    let url = format!("{}/v1/cluster:transferLeader", cluster.url(to));
    let body = json!({"to": id}).to_string();
    let answer = client(Duration::from_secs(10)).post(url).body(body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
    upset
}

/// Kills the leader, and starts it when another one leads.
async fn kill_leader(cluster: &mut Cluster) -> Upset {
    let leader = cluster.leader().await;
    cluster.members[leader].kill();
    let upset = Upset { restarted: true, ..Upset::change() };
    cluster.leader_among(&cluster.others(leader)).await;
    cluster.members[leader].start();
    cluster.must_follow(leader).await;
    upset
}

/// Stops a member for a while, and goes on when it follows again.
async fn pause(cluster: &Cluster, place: usize, lasts: Duration) -> Upset {
    let upset = Upset::change();
    cluster.members[place].pause();
    sleep(lasts).await;
    cluster.members[place].resume();
    cluster.must_follow(place).await;
    upset
}

/// Stops all members for a while.
async fn pause_all(cluster: &Cluster, lasts: Duration) -> Upset {
    let (upset, paused) = (Upset::change(), Instant::now());
    cluster.members.iter().for_each(Member::pause);
    sleep(lasts).await;
    cluster.members.iter().for_each(Member::resume);
    let all_away = paused.elapsed();
    cluster.leader().await;
    Upset { all_away, ..upset }
}

/// Kills all members, and starts them after a while.
async fn kill_all(cluster: &mut Cluster, after: Duration) -> Upset {
    let (upset, killed) = (Upset::change(), Instant::now());
    cluster.members.iter_mut().for_each(Member::kill);
    sleep(after).await;
    cluster.members.iter_mut().for_each(Member::start);
    cluster.leader().await;
    // Until they serve they do not run.
    Upset { all_away: killed.elapsed(), restarted: true, ..upset }
}

/// How often a leader dies.
const PACE: Duration = Duration::from_secs(5);

async fn survive_deaths(count: usize, span: Duration) {
    let _alone = MACHINE.write().await;
    let mut cluster = settled(Shape::default()).await;
    let mut chance = StdRng::seed_from_u64(count as u64);
    let herd = Herd::grant(&cluster, count, Duration::from_secs(6), 2_000..20_000, &mut chance).await;
    let until = Instant::now() + span;
    let mut upsets = Vec::new();
    while Instant::now() < until {
        sleep(PACE).await;
        upsets.push(kill_leader(&mut cluster).await);
    }
    let latest = herd.must_die_in_time(&upsets).await;
    herd.must_have_lived().await;
    let deaths = upsets.len();
    println!("{count} leases kept, {count} left, {deaths} leaders died; the latest died {latest:?} after its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_live_and_die_in_time_while_leaders_die() {
    survive_deaths(40, Duration::from_secs(12)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make soak-cluster"]
async fn two_hundred_leases_live_and_die_in_time_while_leaders_die_for_a_minute() {
    survive_deaths(200, Duration::from_mins(1)).await;
}

/// What the short tests keep alive.
const SHORT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_and_leads_again_expires_nothing_that_was_renewed_meanwhile() {
    let _alone = MACHINE.write().await;
    let cluster = settled(Shape::default()).await;
    let herd = Herd::grant(&cluster, 20, SHORT, 1_000..8_000, &mut StdRng::seed_from_u64(1)).await;
    let leader = cluster.leader().await;
    // By its own clock all of them have run out when it wakes up.
    let mut upsets = vec![pause(&cluster, leader, SHORT * 4 / 3).await];
    upsets.push(hand_over(&cluster, leader).await);
    let latest = herd.must_die_in_time(&upsets).await;
    herd.must_have_lived().await;
    println!("the latest died {latest:?} after its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_members_stood_still_renewals_are_heard_before_leases_are_ended() {
    let _alone = MACHINE.write().await;
    // So long clients have, once members run again, to be heard.
    let election = Duration::from_secs(3);
    let cluster = settled(Shape { election, ..Shape::default() }).await;
    let herd = Herd::grant(&cluster, 20, SHORT, 1_000..10_000, &mut StdRng::seed_from_u64(2)).await;
    let upsets = [pause_all(&cluster, 2 * SHORT).await];
    let latest = herd.must_die_in_time(&upsets).await;
    herd.must_have_lived().await;
    println!("the latest died {latest:?} after its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_outlive_the_death_of_all_members_at_once_and_die_in_time_afterwards() {
    let _alone = MACHINE.write().await;
    let mut cluster = settled(Shape::default()).await;
    let herd = Herd::grant(&cluster, 20, SHORT, 1_000..6_000, &mut StdRng::seed_from_u64(3)).await;
    let upsets = [kill_all(&mut cluster, SHORT / 2).await];
    let latest = herd.must_die_in_time(&upsets).await;
    herd.must_have_lived().await;
    println!("the latest died {latest:?} after its time");
}

/// A lease of which nobody keeps alive what is left.
struct Long {
    client: Client,
    id: String,
    granted: Instant,
}

impl Long {
    const TTL: Duration = Duration::from_mins(5);

    async fn grant(cluster: &Cluster) -> Self {
        let (client, granted) = (client(Duration::from_secs(5)), Instant::now());
        let id = grant(&client, &cluster.url(0), "/long", Self::TTL).await;
        Self { client, id, granted }
    }

    /// Fails unless a member gives it as much time as is left, and no more than that and what may not have been recorded. `away` is
    /// for how long no member ran.
    async fn must_be_left(&self, url: &str, away: Duration) {
        let answer = self.client.get(format!("{url}/v1/leases/{}", self.id)).send().await.unwrap();
        let lease: Value = answer.json().await.unwrap();
        let (left, passed) = (Duration::from_secs_f64(lease["ttl"].as_f64().unwrap()), self.granted.elapsed());
        println!("{left:?} are left of {:?} after {passed:?}", Self::TTL);
        assert!(left + passed >= Self::TTL, "{left:?} are left after {passed:?}");
        // With less time gone the bound would say nothing.
        assert!(passed > UNRECORDED + away, "{passed:?}");
        let back = (left + passed).saturating_sub(Self::TTL + away);
        assert!(back <= UNRECORDED, "{left:?} are left after {passed:?}: {back:?} came back");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: make soak-cluster"]
async fn what_is_left_of_a_long_lease_outlives_the_death_of_all_members() {
    let _alone = MACHINE.write().await;
    let mut cluster = settled(Shape::default()).await;
    let long = Long::grant(&cluster).await;
    sleep(UNRECORDED + PATIENCE).await;
    let upset = kill_all(&mut cluster, LATE).await;
    for url in cluster.urls() {
        long.must_be_left(&url, upset.all_away).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes: make soak-cluster"]
async fn a_member_that_was_away_for_long_gives_a_long_lease_no_more_time_than_was_not_recorded() {
    let _alone = MACHINE.write().await;
    let mut cluster = settled(Shape::default()).await;
    let long = Long::grant(&cluster).await;
    let away = cluster.others(cluster.leader().await)[0];
    cluster.members[away].kill();
    sleep(2 * UNRECORDED).await;
    cluster.members[away].start();
    cluster.must_follow(away).await;
    hand_over(&cluster, away).await;
    long.must_be_left(&cluster.url(away), Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make soak-cluster"]
async fn leases_live_and_die_in_time_whatever_is_drawn_for_two_minutes() {
    let _alone = MACHINE.write().await;
    let mut cluster = settled(Shape::default()).await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    // Longer than any of what is drawn lasts with all members away.
    let ttl = Duration::from_secs(8);
    let herd = Herd::grant(&cluster, 100, ttl, 2_000..60_000, &mut chance).await;
    let until = Instant::now() + Duration::from_mins(2);
    let mut upsets = Vec::new();
    while Instant::now() < until {
        let leader = cluster.leader().await;
        let follower = *cluster.others(leader).choose(&mut chance).expect("a cluster has followers");
        upsets.push(match chance.random_range(0..6) {
            0 => kill_leader(&mut cluster).await,
            1 => pause(&cluster, leader, ttl * 5 / 4).await,
            2 => pause(&cluster, follower, ttl * 5 / 4).await,
            3 => pause_all(&cluster, ttl / 8).await,
            4 => kill_all(&mut cluster, ttl / 8).await,
            _ => hand_over(&cluster, follower).await,
        });
        sleep(ttl / 4).await;
    }
    let latest = herd.must_die_in_time(&upsets).await;
    herd.must_have_lived().await;
    println!("{upsets:#?}\nthe latest died {latest:?} after its time");
}
