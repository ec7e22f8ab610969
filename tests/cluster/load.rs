//! Clients that write and read all the time, and keep a record of what they were told. They judge nothing.
//!
//! No write is ever tried again: whether it was carried out is what the record is about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::record::{Act, Consistency, Operation, Outcome};

/// What the server may take for a request.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// What it may take beyond that to say so.
const GRACE: Duration = Duration::from_secs(1);
const CLIENTS: usize = 12;
/// A client's pace, so that the machine is not busy with the clients alone.
const PACE: Duration = Duration::from_millis(20);
/// Keys that several clients write at once.
const SHARED_KEYS: usize = 4;
/// The least that must go on before something is broken, in operations per second.
const RATE: u64 = 100;

/// Clients at work.
pub(crate) struct Load {
    stop: CancellationToken,
    clients: JoinSet<Vec<Operation>>,
    answered: Arc<AtomicU64>,
}

impl Load {
    /// Sets clients to work on all members. Each has one that it prefers.
    pub(crate) fn start(urls: &[String], seed: u64) -> Self {
        let (stop, answered) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let worker = Worker {
                number,
                urls: urls.to_vec(),
                client: client(),
                chance: StdRng::seed_from_u64(seed.wrapping_mul(1000) + number as u64),
                known: BTreeMap::new(),
                written: 0,
                answered: Arc::clone(&answered),
            };
            clients.spawn(worker.run(stop.clone()));
        }
        Self { stop, clients, answered }
    }

    /// Waits until enough goes on, and tells how many operations per second that is.
    pub(crate) async fn flowing(&self) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let (before, start) = (self.answered.load(Ordering::Relaxed), Instant::now());
            sleep(Duration::from_millis(500)).await;
            let done = self.answered.load(Ordering::Relaxed) - before;
            let rate = done * 1000 / u64::try_from(start.elapsed().as_millis()).unwrap();
            if rate >= RATE {
                return rate;
            }
            assert!(Instant::now() < deadline, "only {rate} operations per second go on");
        }
    }

    /// Ends the work, and gives the record of it.
    pub(crate) async fn finish(self) -> Vec<Operation> {
        self.stop.cancel();
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

/// One client.
struct Worker {
    number: usize,
    urls: Vec<String>,
    client: Client,
    chance: StdRng,
    /// What it last heard of the revision of each shared key.
    known: BTreeMap<String, u64>,
    /// How many values it has used.
    written: usize,
    answered: Arc<AtomicU64>,
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) -> Vec<Operation> {
        let mut record = Vec::new();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            pace.tick().await;
            let (act, member) = (self.draw(), self.draw_member());
            let operation = perform(&self.client, act, member, &self.urls[member]).await;
            self.learn(&operation);
            if matches!(operation.outcome, Outcome::Written { .. } | Outcome::Unmet { .. } | Outcome::Seen { .. }) {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            record.push(operation);
        }
        record
    }

    /// Mostly its own member, so that not all wait at one that is stopped.
    fn draw_member(&mut self) -> usize {
        let home = self.number % self.urls.len();
        if self.chance.random_ratio(9, 10) { home } else { self.chance.random_range(0..self.urls.len()) }
    }

    fn draw(&mut self) -> Act {
        let shared = format!("/shared/{}", self.chance.random_range(0..SHARED_KEYS));
        let guarded = format!("/guarded/{}", self.chance.random_range(0..SHARED_KEYS));
        match self.chance.random_range(0..100) {
            0..25 => Act::Put { key: format!("/own/{}/{}", self.number, self.written), value: self.value() },
            25..40 => Act::Put { key: shared, value: self.value() },
            40..55 => {
                let expected = self.known.get(&guarded).copied().unwrap_or(0);
                Act::Guarded { key: guarded, value: self.value(), expected }
            }
            55..70 => Act::Increment { key: format!("/count/{}", self.number) },
            70..90 => Act::Read { key: shared, consistency: Consistency::Linearizable },
            _ => Act::Read { key: guarded, consistency: Consistency::Serializable },
        }
    }

    fn value(&mut self) -> String {
        self.written += 1;
        format!("{}-{}", self.number, self.written)
    }

    fn learn(&mut self, operation: &Operation) {
        let Act::Guarded { key, .. } = &operation.act else { return };
        match operation.outcome {
            Outcome::Written { revision, .. } => self.known.insert(key.clone(), revision),
            Outcome::Unmet { current, .. } => self.known.insert(key.clone(), current),
            _ => None,
        };
    }
}

/// A client that waits for as long as the contract lets an answer take.
pub(crate) fn client() -> Client {
    Client::builder().no_proxy().timeout(TIMEOUT + GRACE).build().unwrap()
}

/// Asks once, and records what came of it.
pub(crate) async fn perform(client: &Client, act: Act, member: usize, url: &str) -> Operation {
    let request = request(client, &act, url);
    let start = Instant::now();
    let outcome = outcome(&act, request).await;
    Operation { act, member, start, end: Instant::now(), outcome }
}

/// The path and query of a read.
pub(crate) fn read_path(key: &str, consistency: Consistency) -> String {
    let consistency = match consistency {
        Consistency::Linearizable => "linearizable",
        Consistency::Serializable => "serializable",
    };
    format!("/v1/keys{key}?timeout={}s&consistency={consistency}", TIMEOUT.as_secs())
}

fn request(client: &Client, act: &Act, url: &str) -> RequestBuilder {
    let timeout = TIMEOUT.as_secs();
    match act {
        Act::Put { key, value } => client.put(format!("{url}/v1/keys{key}?timeout={timeout}s")).body(value.clone()),
        Act::Guarded { key, value, expected: 0 } => {
            client.put(format!("{url}/v1/keys{key}?timeout={timeout}s&prevExist=false")).body(value.clone())
        }
        Act::Guarded { key, value, expected } => {
            client.put(format!("{url}/v1/keys{key}?timeout={timeout}s&prevRevision={expected}")).body(value.clone())
        }
        Act::Increment { key } => client.post(format!("{url}/v1/keys{key}:increment?timeout={timeout}s")),
        Act::Read { key, consistency } => client.get(format!("{url}{}", read_path(key, *consistency))),
    }
}

async fn outcome(act: &Act, request: RequestBuilder) -> Outcome {
    let is_read = matches!(act, Act::Read { .. });
    let lost = |error: &reqwest::Error| match error {
        error if error.is_timeout() && !error.is_connect() => Outcome::Late,
        error if error.is_connect() => Outcome::Refused,
        _ if is_read => Outcome::Unanswered,
        _ => Outcome::Unknown,
    };
    match request.send().await {
        Err(error) => lost(&error),
        Ok(response) => match answer(response).await {
            Err(error) => lost(&error),
            Ok((status, revision, body)) => judge(is_read, status, revision, &body),
        },
    }
}

async fn answer(response: Response) -> reqwest::Result<(StatusCode, u64, Value)> {
    let revision = response.headers().get("vardr-revision").and_then(|value| value.to_str().ok()?.parse().ok());
    let status = response.status();
    Ok((status, revision.unwrap_or(0), response.json().await?))
}

/// What an answer says, by status, revision of the store and body.
pub(crate) fn judge(is_read: bool, status: StatusCode, revision: u64, body: &Value) -> Outcome {
    let number = |value: &Value| value["modRevision"].as_u64().unwrap_or(0);
    match (status.as_u16(), body["code"].as_str().unwrap_or_default()) {
        (200, "") if is_read => {
            Outcome::Seen { revision, value: Some(body["value"].as_str().unwrap_or_default().to_owned()) }
        }
        (404, "key_not_found") if is_read => Outcome::Seen { revision, value: None },
        (503, "no_leader" | "unavailable") | (504, "deadline_exceeded") if is_read => Outcome::Unanswered,
        (200 | 201, "") => Outcome::Written { revision: number(body), number: body["number"].as_u64() },
        (412, "precondition_failed") => Outcome::Unmet { revision, current: number(&body["current"]) },
        (503, "no_leader" | "overloaded" | "shutting_down") | (507, "quota_exceeded") => Outcome::Refused,
        // A member that has met a fault does not know what became of what it had begun.
        (504, "outcome_unknown") | (503, "unavailable") => Outcome::Unknown,
        _ => Outcome::Wrong(format!("{status} {body}")),
    }
}
