//! Locks and elections as etcd's server offers them, and that they are those of `/v1`.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;
use tonic::{Code, Request};

use crate::support::http::Client;
use crate::{LIMIT, Told, V3, bytes, get, pb, revision, start, told};
use pb::election::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ResignRequest,
};
use pb::lock::{LockRequest, LockResponse, UnlockRequest};

fn unknown(text: &str) -> Told {
    (Code::Unknown, text.to_owned())
}

async fn grant(v3: &V3, id: i64) {
    told(v3.lease().lease_grant(pb::LeaseGrantRequest { ttl: 300, id }).await).unwrap();
}

fn lock(v3: &V3, name: &str, lease: i64) -> impl Future<Output = Result<LockResponse, Told>> + Send + use<> {
    let (mut locks, name) = (v3.locks(), bytes(name));
    async move { told(locks.lock(LockRequest { name, lease }).await) }
}

async fn unlock(v3: &V3, key: &str) -> i64 {
    revision(told(v3.locks().unlock(UnlockRequest { key: bytes(key) }).await).unwrap().header)
}

fn campaign(v3: &V3, lease: i64, value: &str) -> impl Future<Output = Result<CampaignResponse, Told>> + Send + use<> {
    let (mut elections, value) = (v3.elections(), bytes(value));
    async move { told(elections.campaign(CampaignRequest { name: bytes("E"), lease, value }).await) }
}

async fn leader(v3: &V3) -> Result<LeaderResponse, Told> {
    told(v3.elections().leader(LeaderRequest { name: bytes("E") }).await)
}

async fn proclaim(v3: &V3, leader: Option<LeaderKey>, value: &str) -> Result<i64, Told> {
    let request = ProclaimRequest { leader, value: bytes(value) };
    told(v3.elections().proclaim(request).await).map(|answer| revision(answer.header))
}

async fn resign(v3: &V3, leader: Option<LeaderKey>) -> Result<i64, Told> {
    told(v3.elections().resign(ResignRequest { leader }).await).map(|answer| revision(answer.header))
}

/// Looks until a key is there.
async fn until_there(v3: &V3, key: &str) {
    let look = async {
        while v3.range(get(key)).await.unwrap().count == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, look).await.expect("the key does not come");
}

#[tokio::test]
async fn a_lock_is_a_key_of_its_name_and_lease_and_is_had_again_with_the_same_lease() {
    let (_server, v3) = start();
    grant(&v3, 2000).await;
    let taken = lock(&v3, "L1", 2000).await.unwrap();
    assert_eq!((&taken.key[..], revision(taken.header)), (&b"L1/7d0"[..], 2));
    let again = lock(&v3, "L1", 2000).await.unwrap();
    assert_eq!((&again.key[..], revision(again.header)), (&b"L1/7d0"[..], 2));
    let key = v3.range(get("L1/7d0")).await.unwrap();
    assert_eq!((key.kvs[0].lease, key.kvs[0].value.len()), (2000, 0));
    assert_eq!(unlock(&v3, "L1/7d0").await, 3);
    assert_eq!(unlock(&v3, "L1/7d0").await, 3, "nothing was there any more");
}

#[tokio::test]
async fn whoever_waits_for_a_lock_has_it_when_it_is_let_go() {
    let (_server, v3) = start();
    grant(&v3, 1).await;
    grant(&v3, 2).await;
    lock(&v3, "L", 1).await.unwrap();
    let waits = tokio::spawn(lock(&v3, "L", 2));
    until_there(&v3, "L/2").await;
    assert!(!waits.is_finished());
    unlock(&v3, "L/1").await;
    let taken = timeout(LIMIT, waits).await.unwrap().unwrap().unwrap();
    assert_eq!((&taken.key[..], revision(taken.header)), (&b"L/2"[..], 4));
}

#[tokio::test]
async fn a_lock_without_a_lease_has_one_of_its_own_of_a_minute() {
    let (_server, v3) = start();
    let key = lock(&v3, "L", 0).await.unwrap().key;
    let id = v3.range(get(std::str::from_utf8(&key).unwrap())).await.unwrap().kvs[0].lease;
    assert_eq!(key, bytes(&format!("L/{id:x}")));
    let shown = told(v3.lease().lease_time_to_live(pb::LeaseTimeToLiveRequest { id, keys: false }).await).unwrap();
    assert_eq!(shown.granted_ttl, 60);
}

#[tokio::test]
async fn a_lease_that_is_gone_takes_no_lock_and_stands_for_no_election() {
    let (_server, v3) = start();
    let gone = unknown("etcdserver: requested lease not found");
    assert_eq!(lock(&v3, "L", 5555).await.unwrap_err(), gone);
    assert_eq!(campaign(&v3, 5555, "x").await.unwrap_err(), gone);
    grant(&v3, 1).await;
    grant(&v3, 2).await;
    lock(&v3, "L", 1).await.unwrap();
    let waits = tokio::spawn(lock(&v3, "L", 2));
    until_there(&v3, "L/2").await;
    told(v3.lease().lease_revoke(pb::LeaseRevokeRequest { id: 2 }).await).unwrap();
    unlock(&v3, "L/1").await;
    assert_eq!(timeout(LIMIT, waits).await.unwrap().unwrap().unwrap_err(), gone);
}

#[tokio::test]
async fn a_request_that_ends_before_its_turn_leaves_nothing_behind() {
    let (_server, v3) = start();
    grant(&v3, 1).await;
    grant(&v3, 2).await;
    lock(&v3, "L", 1).await.unwrap();
    let mut request = Request::new(LockRequest { name: bytes("L"), lease: 2 });
    request.set_timeout(Duration::from_millis(300));
    told(v3.locks().lock(request).await).unwrap_err();
    let look = async {
        while v3.range(get("L/2")).await.unwrap().count > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, look).await.expect("its place stays");
}

#[tokio::test]
async fn a_lock_is_the_same_as_that_of_v1() {
    let (server, v3) = start();
    grant(&v3, 2).await;
    let client = Client::new(server.address());
    let taken = tokio::task::spawn_blocking(move || client.post("/v1/locks/L", br#"{"ttl":"60s"}"#).status);
    assert!(taken.await.unwrap() < 300);
    let waits = tokio::spawn(lock(&v3, "L", 2));
    until_there(&v3, "L/2").await;
    assert!(!waits.is_finished());
    let held = v3.range(crate::between("L/", "L0")).await.unwrap();
    let first = held.kvs.iter().min_by_key(|kv| kv.create_revision).unwrap();
    unlock(&v3, std::str::from_utf8(&first.key).unwrap()).await;
    assert_eq!(&timeout(LIMIT, waits).await.unwrap().unwrap().unwrap().key[..], b"L/2");
}

#[tokio::test]
async fn the_first_candidate_leads_and_says_what_it_likes() {
    let (_server, v3) = start();
    grant(&v3, 2000).await;
    assert_eq!(leader(&v3).await.unwrap_err(), unknown("election: no leader"));
    let won = campaign(&v3, 2000, "me").await.unwrap();
    let key = LeaderKey { name: bytes("E"), key: bytes("E/7d0"), rev: 2, lease: 2000 };
    assert_eq!((won.leader.as_ref(), revision(won.header)), (Some(&key), 2));
    let found = leader(&v3).await.unwrap();
    let kv = pb::KeyValue {
        key: bytes("E/7d0"),
        create_revision: 2,
        mod_revision: 2,
        version: 1,
        value: bytes("me"),
        lease: 2000,
    };
    assert_eq!((found.kv.as_ref(), revision(found.header)), (Some(&kv), 2));
    assert_eq!(proclaim(&v3, Some(key.clone()), "me too").await, Ok(3));
    let kv = leader(&v3).await.unwrap().kv.unwrap();
    assert_eq!((kv.mod_revision, kv.version, kv.value), (3, 2, bytes("me too")));
    // Standing again is saying something else.
    let again = campaign(&v3, 2000, "third").await.unwrap();
    assert_eq!(again.leader.as_ref(), Some(&key));
    assert_eq!(leader(&v3).await.unwrap().kv.unwrap().value, "third");
    assert_eq!(resign(&v3, Some(key.clone())).await, Ok(5));
    assert_eq!(resign(&v3, Some(key.clone())).await, Ok(5));
    assert_eq!(proclaim(&v3, Some(key), "me").await.unwrap_err(), unknown("election: not leader"));
    let missing = unknown("\"leader\" field must be provided");
    assert_eq!(proclaim(&v3, None, "me").await.unwrap_err(), missing);
    assert_eq!(resign(&v3, None).await.unwrap_err(), missing);
}

#[tokio::test]
async fn an_observer_sees_each_leader_and_what_it_says_in_order() {
    let (_server, v3) = start();
    for lease in [1, 2] {
        grant(&v3, lease).await;
    }
    let mut elections = v3.elections();
    // Nothing is said, not even that nothing is, before somebody leads.
    let observed = tokio::spawn(async move { told(elections.observe(LeaderRequest { name: bytes("E") }).await) });
    let first = campaign(&v3, 1, "one").await.unwrap().leader;
    let second = tokio::spawn(campaign(&v3, 2, "two"));
    until_there(&v3, "E/2").await;
    let mut observed = timeout(LIMIT, observed).await.unwrap().unwrap().unwrap();
    let mut next = async || {
        let said = timeout(LIMIT, observed.next()).await.unwrap().unwrap().unwrap();
        (String::from_utf8(said.kv.unwrap().value.to_vec()).unwrap(), revision(said.header) > 0)
    };
    assert_eq!(next().await, ("one".to_owned(), true));
    proclaim(&v3, first.clone(), "one again").await.unwrap();
    assert_eq!(next().await, ("one again".to_owned(), true));
    resign(&v3, first).await.unwrap();
    assert_eq!(next().await, ("two".to_owned(), true));
    let second = timeout(LIMIT, second).await.unwrap().unwrap().unwrap();
    let key = second.leader.unwrap();
    assert_eq!((&key.key[..], key.rev), (&b"E/2"[..], revision(second.header)), "when it came, not when its turn did");
}
