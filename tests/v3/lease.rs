//! Leases: granting, keeping alive, looking at, revoking.

use futures_util::{StreamExt as _, stream};
use tonic::Code;

use crate::{LIMIT, V3, get, pb, put, revision, start, told};

async fn grant(v3: &V3, ttl: i64, id: i64) -> Result<pb::LeaseGrantResponse, (Code, String)> {
    told(v3.lease().lease_grant(pb::LeaseGrantRequest { ttl, id }).await)
}

#[tokio::test]
async fn a_time_to_live_is_raised_to_two_seconds_and_bounded() {
    let (_server, v3) = start();
    for (ttl, granted) in [(-1, 2), (0, 2), (1, 2), (2, 2), (60, 60), (9_000_000_000, 9_000_000_000)] {
        let lease = grant(&v3, ttl, 0).await.unwrap();
        assert_eq!((lease.ttl, lease.error.as_str()), (granted, ""));
        assert!(lease.id > 0 && revision(lease.header) == 1);
    }
    let refused = grant(&v3, 9_000_000_001, 0).await.unwrap_err();
    assert_eq!(refused, (Code::OutOfRange, "etcdserver: too large lease TTL".to_owned()));
}

#[tokio::test]
async fn an_id_of_the_clients_choice_is_used_once() {
    let (_server, v3) = start();
    for id in [7, -7, i64::MIN] {
        assert_eq!(grant(&v3, 60, id).await.unwrap().id, id);
    }
    let refused = grant(&v3, 60, -7).await.unwrap_err();
    assert_eq!(refused, (Code::FailedPrecondition, "etcdserver: lease already exists".to_owned()));
}

#[tokio::test]
async fn a_lease_shows_what_is_left_and_its_keys() {
    let (_server, v3) = start();
    grant(&v3, 100, 5).await.unwrap();
    for key in ["k2", "k1"] {
        told(v3.kv().put(pb::PutRequest { lease: 5, ..put(key, "") }).await).unwrap();
    }
    let look =
        async |id, keys| told(v3.lease().lease_time_to_live(pb::LeaseTimeToLiveRequest { id, keys }).await).unwrap();
    let shown = look(5, true).await;
    assert!((90..100).contains(&shown.ttl), "{shown:?}");
    assert_eq!((shown.id, shown.granted_ttl, &shown.keys[..]), (5, 100, &["k1".into(), "k2".into()][..]));
    assert!(look(5, false).await.keys.is_empty());
    let gone = look(404, true).await;
    assert_eq!((gone.id, gone.ttl, gone.granted_ttl, gone.keys.len()), (404, -1, 0, 0));
}

#[tokio::test]
async fn leases_are_listed_by_when_they_end() {
    let (_server, v3) = start();
    for (ttl, id) in [(300, 1), (100, 2), (200, 3)] {
        grant(&v3, ttl, id).await.unwrap();
    }
    let listed = told(v3.lease().lease_leases(pb::LeaseLeasesRequest {}).await).unwrap();
    assert_eq!(listed.leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [2, 3, 1]);
}

#[tokio::test]
async fn leases_that_were_renewed_together_are_listed_in_the_order_of_their_renewals() {
    let (_server, v3) = start();
    for id in 1..=3 {
        grant(&v3, 300, id).await.unwrap();
    }
    for order in [[3, 2, 1], [2, 3, 1], [1, 3, 2]] {
        let requests = order.map(|id| pb::LeaseKeepAliveRequest { id });
        let answers = v3.lease().lease_keep_alive(stream::iter(requests)).await.unwrap().into_inner();
        assert_eq!(answers.count().await, 3);
        let listed = told(v3.lease().lease_leases(pb::LeaseLeasesRequest {}).await).unwrap();
        assert_eq!(listed.leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), order);
    }
}

#[tokio::test]
async fn a_revoked_lease_takes_its_keys_along() {
    let (_server, v3) = start();
    grant(&v3, 100, 5).await.unwrap();
    told(v3.kv().put(pb::PutRequest { lease: 5, ..put("k", "") }).await).unwrap();
    let revoke = async || told(v3.lease().lease_revoke(pb::LeaseRevokeRequest { id: 5 }).await);
    assert_eq!(revision(revoke().await.unwrap().header), 3);
    assert_eq!(v3.range(get("k")).await.unwrap().count, 0);
    assert_eq!(revoke().await.unwrap_err(), (Code::NotFound, "etcdserver: requested lease not found".to_owned()));
}

#[tokio::test]
async fn each_renewal_on_a_stream_is_answered_in_its_place() {
    let (_server, v3) = start();
    for id in 1..=20 {
        grant(&v3, 60, id).await.unwrap();
    }
    let asked: Vec<_> = (1..=20).chain([404]).chain((1..=20).rev()).collect();
    let requests = asked.clone().into_iter().map(|id| pb::LeaseKeepAliveRequest { id });
    let answers = told(v3.lease().lease_keep_alive(stream::iter(requests)).await).unwrap();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    assert_eq!(answers.iter().map(|answer| answer.id).collect::<Vec<_>>(), asked);
    assert!(answers.iter().all(|answer| answer.ttl == if answer.id == 404 { 0 } else { 60 }));
    assert!(answers.iter().all(|answer| revision(answer.header) == 1));
}

#[tokio::test]
async fn a_lease_that_is_kept_alive_outlives_its_time() {
    let (_server, v3) = start();
    grant(&v3, 2, 1).await.unwrap();
    grant(&v3, 2, 2).await.unwrap();
    for (key, lease) in [("kept", 1), ("left", 2)] {
        told(v3.kv().put(pb::PutRequest { lease, ..put(key, "") }).await).unwrap();
    }
    let every = tokio::time::interval(std::time::Duration::from_millis(500));
    let requests = stream::unfold(every, |mut every| async move {
        every.tick().await;
        Some((pb::LeaseKeepAliveRequest { id: 1 }, every))
    });
    let mut answers = told(v3.lease().lease_keep_alive(Box::pin(requests)).await).unwrap();
    let deadline = tokio::time::Instant::now() + LIMIT;
    while v3.range(get("left")).await.unwrap().count > 0 {
        assert!(tokio::time::Instant::now() < deadline, "the other lease does not end");
        assert_eq!(answers.next().await.unwrap().unwrap().ttl, 2);
    }
    assert_eq!(v3.range(get("kept")).await.unwrap().count, 1);
}
