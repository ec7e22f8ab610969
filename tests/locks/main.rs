//! Locks and elections over real sockets: who holds, in which order, and what is left behind; and that their keys are those of
//! etcd's client (`etcd`).

#![cfg(test)]

mod etcd;
#[path = "../support/mod.rs"]
mod support;

use std::io::Write as _;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use support::Server;
use support::http::{Client, Response};
use support::sse::EventSource;
use support::until;
use vardr::api::v1::schema::{
    CandidateObject, ElectionList, ElectionObject, LeaseObject, List, LockList, LockObject, LockQueue, LockSummary,
    ProblemObject,
};

/// How long what has to happen may take.
const LIMIT: Duration = Duration::from_secs(20);

fn start() -> (Server, Client) {
    let server = Server::start();
    let client = Client::new(server.address());
    (server, client)
}

fn acquire(client: &Client, name: &str, body: &str) -> LockObject {
    client.post(&format!("/v1/locks/{name}"), body).expect(200).shape()
}

fn queue(client: &Client, name: &str) -> LockQueue {
    client.get(&format!("/v1/locks/{name}")).expect(200).shape()
}

fn release(client: &Client, lock: &LockObject) -> Response {
    client.delete(&format!("/v1/locks/{}/{}", lock.name, lock.holder))
}

fn waiting(client: &Client, name: &str, count: usize) {
    until("the queue does not come to its length", || queue(client, name).queue.len() == count);
}

#[test]
fn a_lock_is_held_shown_kept_alive_and_released() {
    let (_server, client) = start();
    let lock = acquire(&client, "jobs", r#"{"ttl":"30s","owner":"worker-7"}"#);
    assert_eq!((lock.name.as_str(), lock.owner.as_deref()), ("jobs", Some("worker-7")));
    assert_eq!(lock.holder, lock.lease);
    assert!(lock.ttl.unwrap() > 29.0);
    let shown = queue(&client, "jobs");
    assert_eq!(shown.holder.unwrap().fencing_token, lock.fencing_token);
    assert!(shown.queue.is_empty());
    let kept = client.post(&format!("/v1/locks/jobs/{}:keepalive", lock.holder), "").expect(200);
    assert_eq!(kept.shape::<LockObject>().fencing_token, lock.fencing_token);
    release(&client, &lock).expect(200);
    assert_eq!(queue(&client, "jobs").holder, None);
    release(&client, &lock).refused(404, "place_not_found");
    client.post(&format!("/v1/locks/jobs/{}:keepalive", lock.holder), "").refused(404, "place_not_found");
    client.get(&format!("/v1/leases/{}", lock.lease)).refused(404, "lease_not_found");
}

#[test]
fn a_lock_that_is_held_is_refused_with_who_holds_it_and_the_request_leaves_nothing() {
    let (_server, client) = start();
    let lock = acquire(&client, "jobs", r#"{"owner":"first"}"#);
    for wait in ["0", "0.3"] {
        let refused = client.post("/v1/locks/jobs", format!(r#"{{"wait":{wait}}}"#)).refused(409, "lock_held");
        assert_eq!(refused.value()["holder"]["holder"], json!(lock.holder));
        assert_eq!(refused.value()["holder"]["owner"], json!("first"));
        assert!(queue(&client, "jobs").queue.is_empty(), "after waiting {wait} s");
    }
    let tried = client.revision();
    client.post("/v1/locks/jobs", r#"{"wait":0}"#).refused(409, "lock_held");
    assert_eq!(client.revision(), tried, "a try writes nothing");
}

#[test]
fn whoever_came_first_is_served_first_and_tokens_only_rise() {
    let (_server, client) = start();
    let mut lock = acquire(&client, "jobs", "");
    thread::scope(|scope| {
        let mut waiters = Vec::new();
        for number in 0..5 {
            let client = &client;
            let ask = move || acquire(client, "jobs", &format!(r#"{{"owner":"w{number}","wait":"20s"}}"#));
            waiters.push(scope.spawn(ask));
            waiting(client, "jobs", number + 1);
        }
        for (number, waiter) in waiters.into_iter().enumerate() {
            release(&client, &lock).expect(200);
            let next = waiter.join().unwrap();
            assert_eq!(next.owner, Some(format!("w{number}")));
            assert!(next.fencing_token > lock.fencing_token);
            lock = next;
        }
    });
    release(&client, &lock).expect(200);
    let left: List = client.get("/v1/keys?recursive=true").expect(200).shape();
    assert_eq!(left.items.unwrap(), []);
}

#[test]
fn whoever_waits_is_not_served_before_all_that_came_earlier_are_gone_in_whatever_order_they_go() {
    let (_server, client) = start();
    // Places of other clients, some of which came at one revision, in one transaction.
    let lease: LeaseObject = client.post("/v1/leases", r#"{"ttl":"60s","id":"7d0"}"#).expect(201).shape();
    let put = |id: &str| json!({"put": {"key": format!("jobs/{id}"), "value": "", "lease": lease.id}});
    for together in [vec!["a1"], vec!["a2", "a3", "a4"], vec!["a5"]] {
        let puts: Vec<_> = together.into_iter().map(put).collect();
        client.post("/v1/txn", json!({"then": puts}).to_string()).expect(200);
    }
    thread::scope(|scope| {
        let ask = || acquire(&client, "jobs", r#"{"wait":"20s"}"#);
        let one = scope.spawn(ask);
        waiting(&client, "jobs", 5);
        let two = scope.spawn(ask);
        waiting(&client, "jobs", 6);
        for gone in ["a3", "a5", "a1", "a4"] {
            client.delete(&format!("/v1/locks/jobs/{gone}")).expect(200);
        }
        assert_eq!(queue(&client, "jobs").holder.unwrap().holder, "a2");
        assert!(!one.is_finished() && !two.is_finished());
        client.delete("/v1/locks/jobs/a2").expect(200);
        let first = one.join().unwrap();
        assert!(!two.is_finished());
        release(&client, &first).expect(200);
        assert!(two.join().unwrap().fencing_token > first.fencing_token);
    });
}

#[test]
fn many_that_wait_are_kept_alive_by_few_proposals() {
    const WAITERS: usize = 40;
    let (_server, client) = start();
    let lock = acquire(&client, "jobs", r#"{"ttl":"60s"}"#);
    let proposals = || -> u64 {
        let metrics = client.get("/metrics").expect(200).text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("vardr_proposals_total ")).unwrap();
        line.parse().unwrap()
    };
    let places = || queue(&client, "jobs").queue.into_iter().map(|place| place.fencing_token).collect::<Vec<_>>();
    thread::scope(|scope| {
        let ask = || client.post("/v1/locks/jobs", r#"{"ttl":"2s","wait":"60s"}"#);
        let waiters: Vec<_> = (0..WAITERS).map(|_| scope.spawn(ask)).collect();
        waiting(&client, "jobs", WAITERS);
        let (came, before) = (places(), proposals());
        let deadline = Instant::now() + Duration::from_secs(4);
        until("nobody waits long", || Instant::now() > deadline);
        // Each was renewed several times by now, or it would be gone.
        assert_eq!(places(), came);
        let cost = proposals() - before;
        assert!((4..=WAITERS as u64).contains(&cost), "{WAITERS} waiters cost {cost} proposals");
        client.delete("/v1/keys?key=jobs/&recursive=true").expect(200);
        for waiter in waiters {
            waiter.join().unwrap().refused(404, "lease_not_found");
        }
    });
    release(&client, &lock).refused(404, "place_not_found");
}

#[test]
fn a_waiter_that_hangs_up_is_gone_and_nobody_waits_for_it() {
    let (_server, client) = start();
    let lock = acquire(&client, "jobs", "");
    let body = r#"{"wait":"60s","ttl":"60s"}"#;
    let head =
        format!("POST /v1/locks/jobs HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", "localhost", body.len());
    let mut stream = client.connect();
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    waiting(&client, "jobs", 1);
    stream.shutdown(Shutdown::Both).unwrap();
    drop(stream);
    waiting(&client, "jobs", 0);
    release(&client, &lock).expect(200);
    acquire(&client, "jobs", r#"{"wait":0}"#);
}

#[test]
fn a_holder_that_does_not_keep_its_lock_alive_loses_it() {
    let (_server, client) = start();
    let lock = acquire(&client, "jobs", r#"{"ttl":"1s"}"#);
    let began = Instant::now();
    let next = acquire(&client, "jobs", r#"{"wait":"20s"}"#);
    assert!(began.elapsed() > Duration::from_millis(500), "too early");
    assert!(next.fencing_token > lock.fencing_token);
    client.post(&format!("/v1/locks/jobs/{}:keepalive", lock.holder), "").refused(404, "place_not_found");
}

#[test]
fn a_waiter_outlives_its_own_time_and_begins_with_all_of_it() {
    let (_server, client) = start();
    let lock = acquire(&client, "jobs", "");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| acquire(&client, "jobs", r#"{"ttl":"1s","wait":"20s"}"#));
        waiting(&client, "jobs", 1);
        let waits = queue(&client, "jobs").queue[0].fencing_token;
        let deadline = Instant::now() + Duration::from_millis(2_500);
        until("it never waited long", || Instant::now() > deadline);
        assert_eq!(queue(&client, "jobs").queue[0].fencing_token, waits, "it has lost its place");
        release(&client, &lock).expect(200);
        let held = waiter.join().unwrap();
        assert_eq!((held.fencing_token, held.ttl), (waits, Some(1.0)));
    });
}

#[test]
fn one_lease_holds_many_locks_and_asking_again_gives_the_same_one() {
    let (_server, client) = start();
    let lease: LeaseObject = client.post("/v1/leases", r#"{"ttl":"30s"}"#).expect(201).shape();
    let body = format!(r#"{{"lease":"{}"}}"#, lease.id);
    let one = acquire(&client, "one", &body);
    assert_eq!(acquire(&client, "one", &body).fencing_token, one.fencing_token);
    assert_eq!(
        acquire(&client, "one", &format!(r#"{{"lease":"{}","wait":0}}"#, lease.id)).fencing_token,
        one.fencing_token
    );
    acquire(&client, "two", &body);
    client.post(&format!("/v1/locks/three/{}:keepalive", lease.id), "").refused(404, "place_not_found");
    client.delete(&format!("/v1/leases/{}", lease.id)).expect(200);
    assert_eq!((queue(&client, "one").holder, queue(&client, "two").holder), (None, None));
    client.post("/v1/locks/one", &body).refused(404, "lease_not_found");
}

#[test]
fn a_retry_with_the_same_idempotency_key_finds_the_place_of_the_first_try() {
    let (_server, client) = start();
    let ask = || client.send("POST", "/v1/locks/jobs", &[("Idempotency-Key", "k1")], br#"{"wait":0}"#).expect(200);
    let (first, again) = (ask(), ask());
    assert_eq!(first.shape::<LockObject>().fencing_token, again.shape::<LockObject>().fencing_token);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}

#[test]
fn a_place_that_a_retry_finds_late_stays_until_it_is_granted() {
    let (_server, client) = start();
    let lock = acquire(&client, "jobs", "");
    let (key, body) = (("Idempotency-Key", "k1"), r#"{"wait":"60s","ttl":"6s"}"#);
    let length = body.len();
    let head = "POST /v1/locks/jobs HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: k1\r\n";
    let mut stream = client.connect();
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes()).unwrap();
    waiting(&client, "jobs", 1);
    let place = queue(&client, "jobs").queue.remove(0);
    stream.shutdown(Shutdown::Both).unwrap();
    let left = || queue(&client, "jobs").queue.first().and_then(|place| place.ttl).unwrap_or_default();
    // A third of its time, after which what was just renewed is renewed again, would be too late.
    until("it is renewed though nobody waits", || left() < 1.5);
    thread::scope(|scope| {
        let ask = || client.send("POST", "/v1/locks/jobs", &[key], body.as_bytes());
        let waiter = scope.spawn(ask);
        until("it is not renewed", || left() > 3.0);
        release(&client, &lock).expect(200);
        let found: LockObject = waiter.join().unwrap().expect(200).shape();
        assert_eq!((found.holder, found.fencing_token), (place.holder, place.fencing_token));
    });
}

#[test]
fn the_keys_of_a_lock_are_those_of_etcds_client_and_others_do_not_count() {
    let (_server, client) = start();
    let lock = acquire(&client, "%2Fmy-lock%2F", "");
    assert_eq!(lock.name, "/my-lock/");
    let left: List = client.get("/v1/keys?recursive=true").expect(200).shape();
    let keys: Vec<_> =
        left.items.unwrap().into_iter().map(|item| (item.key.unwrap(), item.value, item.lease)).collect();
    assert_eq!(keys, [(format!("/my-lock//{}", lock.holder), Some(json!("")), Some(lock.lease))]);
    // A mutex of Go's, written as its client does.
    let lease: LeaseObject = client.post("/v1/leases", r#"{"ttl":"30s","id":"7d0"}"#).expect(201).shape();
    client.put(&format!("/v1/keys?key=jobs/7d0&lease={}", lease.id), "").expect(201);
    client.post("/v1/locks/jobs", r#"{"wait":0}"#).refused(409, "lock_held");
    client.delete("/v1/locks/jobs/7d0").expect(200);
    for other in ["jobs/", "jobs/config", "jobs/deep/7d0", "jobs/07d0"] {
        client.put(&format!("/v1/keys?key={other}"), "x").expect(201);
    }
    acquire(&client, "jobs", r#"{"wait":0}"#);
}

#[test]
fn locks_and_elections_are_listed_by_their_queues_page_by_page() {
    let (_server, client) = start();
    let empty: LockList = client.get("/v1/locks").expect(200).shape();
    assert_eq!((empty.items, empty.cursor), (Vec::new(), None));
    let deploy = acquire(&client, "deploy", r#"{"owner":"first"}"#);
    let slashes = acquire(&client, "%2Fa%2F", "");
    let candidate: CandidateObject = client.post("/v1/elections/primary", r#"{"value":"a"}"#).expect(200).shape();
    // Whoever waits is behind, also where its lease comes first; the queue of a name that is no text is one, too.
    client.post("/v1/leases", r#"{"ttl":"30s","id":"1"}"#).expect(201);
    client.put("/v1/keys?key=deploy/1&lease=1", "").expect(201);
    client.put("/v1/keys?key64=_y8x&lease=1", "odd").expect(201);
    for other in ["/config/1", "deploy/2", "deploy/01", "deploy/1/x", "/1"] {
        client.put(&format!("/v1/keys?key={other}&lease=1"), "").expect(201);
    }
    let list: LockList = client.get("/v1/locks").expect(200).shape();
    let name = |item: &LockSummary| item.name.clone().or(item.name64.clone()).unwrap();
    let told: Vec<_> = list.items.iter().map(|item| (name(item), item.holder.holder.clone(), item.waiting)).collect();
    let expected = [
        ("/a/", &*slashes.holder, 0),
        ("/config", "1", 0),
        ("deploy", &*deploy.holder, 1),
        ("primary", &*candidate.candidate, 0),
        ("_w", "1", 0),
    ];
    assert_eq!(told, expected.map(|(name, holder, waiting)| (name.to_owned(), holder.to_owned(), waiting)));
    assert_eq!(list.items[2].holder.fencing_token, queue(&client, "deploy").holder.unwrap().fencing_token);
    assert_eq!((list.items[2].holder.owner.as_deref(), list.items[4].name64.is_some()), (Some("first"), true));
    let elections: ElectionList = client.get("/v1/elections?prefix=pri").expect(200).shape();
    assert_eq!((elections.items.len(), elections.items[0].leader.value.as_str()), (1, "a"));
    let (mut paged, mut query) = (Vec::new(), String::new());
    loop {
        let page: LockList =
            client.get(&format!("/v1/locks?limit=2&consistency=serializable{query}")).expect(200).shape();
        paged.extend(page.items.iter().map(|item| (name(item), item.holder.holder.clone(), item.waiting)));
        let Some(cursor) = page.cursor else { break };
        client.get(&format!("/v1/locks?prefix=d&cursor={cursor}")).refused(400, "invalid_argument");
        query = format!("&cursor={cursor}");
    }
    assert_eq!(paged, told);
    release(&client, &deploy).expect(200);
    let next: LockList = client.get("/v1/locks?prefix=deploy").expect(200).shape();
    assert_eq!((next.items[0].holder.holder.as_str(), next.items[0].waiting), ("1", 0));
    client.delete("/v1/leases/1").expect(200);
    assert_eq!(client.get("/v1/locks").expect(200).shape::<LockList>().items.len(), 2);
    let head = client.send("HEAD", "/v1/locks", &[], b"").expect(200);
    assert!(head.body.is_empty() && head.header("vardr-revision").is_some());
    for bad in ["limit=0", "limit=100001", "limit=x", "cursor=x", "owner=x"] {
        client.get(&format!("/v1/locks?{bad}")).refused(400, "invalid_argument");
    }
    for path in ["/v1/locks", "/v1/elections"] {
        client.post(path, "").refused(405, "method_not_allowed");
        assert_eq!(client.send("OPTIONS", path, &[], b"").header("allow"), Some("GET,HEAD"));
        client.get(&format!("{path}/")).refused(404, "not_found");
    }
}

#[test]
fn what_is_asked_wrongly_is_refused_and_writes_nothing() {
    let (_server, client) = start();
    let before = client.revision();
    let bad = [
        ("/v1/locks/jobs", r#"{"ttl":"0.5s"}"#),
        ("/v1/locks/jobs", r#"{"ttl":"30s","lease":"7d0"}"#),
        ("/v1/locks/jobs", r#"{"wait":"11m"}"#),
        ("/v1/locks/jobs", r#"{"lock":true}"#),
        ("/v1/locks/jobs", "[]"),
        ("/v1/locks/a//b", ""),
        ("/v1/locks/jobs?ttl=3", ""),
        ("/v1/elections/e", r#"{"value":1}"#),
        ("/v1/elections/e/", ""),
        ("/v1/elections/e:obsrve", ""),
        ("/v1/locks/jobs/7d0:keepalve", ""),
    ];
    for (path, body) in bad {
        client.post(path, body).refused(400, "invalid_argument");
    }
    client.post("/v1/locks/jobs", r#"{"lease":"7d0"}"#).refused(404, "lease_not_found");
    client.delete("/v1/locks/jobs/nobody").refused(400, "invalid_argument");
    client.get("/v1/locks/jobs/7d0:keepalive").refused(405, "method_not_allowed");
    client.post("/v1/elections/e:observe", "").refused(405, "method_not_allowed");
    assert_eq!(client.send("PUT", "/v1/locks/jobs", &[], b"").status, 405);
    client.delete("/v1/locks/jobs").refused(405, "method_not_allowed");
    let allowed = [
        ("/v1/locks/jobs", "GET,HEAD,POST"),
        ("/v1/locks/jobs/7d0", "GET,HEAD,POST,DELETE"),
        ("/v1/locks/jobs/7d0:keepalive", "POST"),
        ("/v1/elections/e/7d0", "GET,HEAD,POST,PUT,DELETE"),
        ("/v1/elections/e:observe", "GET"),
    ];
    for (path, methods) in allowed {
        let options = client.send("OPTIONS", path, &[], b"");
        assert_eq!((options.status, options.header("allow")), (204, Some(methods)), "{path}");
    }
    assert_eq!(client.revision(), before);
}

#[test]
fn a_waiter_is_told_when_its_lease_is_gone() {
    let (_server, client) = start();
    acquire(&client, "jobs", "");
    let lease: LeaseObject = client.post("/v1/leases", r#"{"ttl":"30s"}"#).expect(201).shape();
    thread::scope(|scope| {
        let ask = || client.post("/v1/locks/jobs", format!(r#"{{"lease":"{}","wait":"1s"}}"#, lease.id));
        let waiter = scope.spawn(ask);
        waiting(&client, "jobs", 1);
        client.delete(&format!("/v1/leases/{}", lease.id)).expect(200);
        waiter.join().unwrap().refused(404, "lease_not_found");
    });
}

#[test]
fn a_waiter_whose_own_lease_is_revoked_is_told_at_the_next_renewal() {
    let (_server, client) = start();
    acquire(&client, "jobs", "");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| client.post("/v1/locks/jobs", r#"{"ttl":"1s","wait":"60s"}"#));
        waiting(&client, "jobs", 1);
        let lease = &queue(&client, "jobs").queue[0].lease;
        client.delete(&format!("/v1/leases/{lease}")).expect(200);
        waiter.join().unwrap().refused(404, "lease_not_found");
    });
}

#[test]
fn a_leader_is_elected_proclaims_and_resigns() {
    let (_server, client) = start();
    let first: CandidateObject =
        client.post("/v1/elections/primary", r#"{"value":"10.0.0.7:5432"}"#).expect(200).shape();
    assert_eq!(first.value, "10.0.0.7:5432");
    let refused = client.post("/v1/elections/primary", r#"{"value":"b","wait":0}"#).refused(409, "not_elected");
    assert_eq!(refused.value()["leader"]["value"], json!("10.0.0.7:5432"));
    thread::scope(|scope| {
        let stand = || client.post("/v1/elections/primary", r#"{"value":"b","wait":"20s"}"#).expect(200);
        let second = scope.spawn(stand);
        let shown = || client.get("/v1/elections/primary").expect(200).shape::<ElectionObject>();
        until("nobody else stands", || shown().queue.len() == 1);
        let path = |candidate: &str| format!("/v1/elections/primary/{candidate}");
        let said = client.put(&path(&first.candidate), r#"{"value":"10.0.0.7:5433"}"#).expect(200);
        let said: CandidateObject = said.shape();
        assert_eq!((said.fencing_token, said.value.as_str()), (first.fencing_token, "10.0.0.7:5433"));
        let other = shown().queue[0].candidate.clone();
        let refused = client.put(&path(&other), r#"{"value":"c"}"#).refused(409, "not_leader");
        assert_eq!(refused.value()["leader"]["candidate"], json!(first.candidate));
        client.post(&format!("{}:keepalive", path(&first.candidate)), "").expect(200);
        client.delete(&path(&first.candidate)).expect(200);
        let second: CandidateObject = second.join().unwrap().shape();
        assert!(second.fencing_token > first.fencing_token);
        assert_eq!(shown().leader.unwrap().value, "b");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_hears_every_change_of_who_leads() {
    let (server, client) = start();
    let mut events = EventSource::open(&format!("{}/v1/elections/primary:observe", server.url()), None).await;
    assert_eq!(events.next().await.unwrap().name, "vacant");
    let leader: CandidateObject = client.post("/v1/elections/primary", r#"{"value":"a"}"#).expect(200).shape();
    let path = format!("/v1/elections/primary/{}", leader.candidate);
    client.put(&path, r#"{"value":"b"}"#).expect(200);
    client.put(&path, r#"{"value":"c"}"#).expect(200);
    client.post(&format!("{path}:keepalive"), "").expect(200);
    client.delete(&path).expect(200);
    for value in ["a", "b", "c"] {
        let event = events.next().await.unwrap();
        assert_eq!((event.name.as_str(), &event.json()["value"]), ("leader", &json!(value)));
    }
    assert_eq!(events.next().await.unwrap().name, "vacant");
    let again: CandidateObject = client.post("/v1/elections/primary", r#"{"value":"d"}"#).expect(200).shape();
    let mut late = EventSource::open(&format!("{}/v1/elections/primary:observe", server.url()), None).await;
    assert_eq!(late.next().await.unwrap().json()["candidate"], json!(again.candidate));
}

#[test]
fn a_lock_outlives_a_restart() {
    let (mut server, client) = start();
    let lock = acquire(&client, "jobs", r#"{"ttl":"60s"}"#);
    server.kill();
    server.restart();
    let client = Client::new(server.address());
    assert_eq!(queue(&client, "jobs").holder.unwrap().fencing_token, lock.fencing_token);
    let refused = client.post("/v1/locks/jobs", r#"{"wait":0}"#).refused(409, "lock_held");
    let _known: ProblemObject = refused.shape();
    release(&client, &lock).expect(200);
    assert!(acquire(&client, "jobs", "").fencing_token > lock.fencing_token);
}
