//! Status, hashes, alarms, who leads, and the health service.

use futures_util::StreamExt as _;
use tonic::Code;

use crate::pb::health::HealthCheckRequest;
use crate::pb::health::health_check_response::ServingStatus;
use crate::pb::health::health_client::HealthClient;
use crate::{V3, pb, revision, start, told};

async fn hash_kv(v3: &V3, revision: i64) -> Result<pb::HashKvResponse, (Code, String)> {
    told(v3.maintenance().hash_kv(pb::HashKvRequest { revision }).await)
}

#[tokio::test]
async fn a_member_says_how_it_is() {
    let (_server, v3) = start();
    v3.put("a", "1").await;
    let status = told(v3.maintenance().status(pb::StatusRequest {}).await).unwrap();
    let header = status.header.unwrap();
    assert_eq!((header.revision, status.leader, status.raft_term), (2, header.member_id, header.raft_term));
    assert!(status.version.starts_with("3.5."), "{}", status.version);
    assert!(status.raft_index >= status.raft_applied_index && status.raft_applied_index > 0);
    assert!(status.db_size > 0 && status.db_size_in_use > 0 && !status.is_learner && status.errors.is_empty());
}

#[tokio::test]
async fn a_hash_of_a_revision_stays_the_same_until_something_is_forgotten() {
    let (_server, v3) = start();
    v3.put("a", "1").await;
    let first = hash_kv(&v3, 0).await.unwrap();
    assert_eq!((first.hash_revision, first.compact_revision, revision(first.header)), (2, -1, 2));
    v3.put("a", "2").await;
    let again = hash_kv(&v3, 2).await.unwrap();
    assert_eq!((again.hash, again.hash_revision, revision(again.header)), (first.hash, 2, 3));
    assert_ne!(hash_kv(&v3, 3).await.unwrap().hash, first.hash);
    let future = (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision".to_owned());
    assert_eq!(hash_kv(&v3, 4).await.unwrap_err(), future);
    told(v3.kv().compact(pb::CompactionRequest { revision: 3, physical: false }).await).unwrap();
    let compacted = (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted".to_owned());
    assert_eq!(hash_kv(&v3, 2).await.unwrap_err(), compacted);
    assert_eq!(hash_kv(&v3, 3).await.unwrap().compact_revision, 3);
    let whole = told(v3.maintenance().hash(pb::HashRequest {}).await).unwrap();
    assert_eq!(whole.hash, told(v3.maintenance().hash(pb::HashRequest {}).await).unwrap().hash);
}

#[tokio::test]
async fn what_a_lone_member_is_asked_to_do_with_itself_is_answered_as_in_etcd() {
    let (_server, v3) = start();
    assert_eq!(told(v3.maintenance().defragment(pb::DefragmentRequest {}).await).unwrap().header, None);
    let member = told(v3.maintenance().status(pb::StatusRequest {}).await).unwrap().leader;
    for target_id in [0, member, 404] {
        let refused = told(v3.maintenance().move_leader(pb::MoveLeaderRequest { target_id }).await).unwrap_err();
        assert_eq!(refused, (Code::FailedPrecondition, "etcdserver: bad leader transferee".to_owned()));
    }
    let alarm =
        async |action, alarm| told(v3.maintenance().alarm(pb::AlarmRequest { action, member_id: member, alarm }).await);
    let shown = alarm(0, 0).await.unwrap();
    assert!(shown.alarms.is_empty() && shown.header.is_some());
    assert!(alarm(2, 1).await.unwrap().alarms.is_empty());
    assert_eq!(alarm(1, 1).await.unwrap_err().0, Code::FailedPrecondition);
    let downgrade = pb::DowngradeRequest { action: 1, version: "3.4.0".to_owned() };
    let refused = told(v3.maintenance().downgrade(downgrade).await).unwrap_err();
    assert_eq!(refused, (Code::InvalidArgument, "etcdserver: invalid downgrade target version".to_owned()));
}

#[tokio::test]
async fn probes_are_told_how_the_server_is() {
    let (mut server, v3) = start();
    let mut health = HealthClient::new(v3.0.clone());
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "etcdserverpb.KV", "grpc.health.v1.Health"] {
        assert_eq!(told(health.check(ask(service)).await).unwrap().status(), ServingStatus::Serving, "{service}");
    }
    assert_eq!(told(health.check(ask("nobody")).await).unwrap_err(), (Code::NotFound, "unknown service".to_owned()));
    let mut unknown = told(health.watch(ask("nobody")).await).unwrap();
    assert_eq!(unknown.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    let mut watched = told(health.watch(ask("")).await).unwrap();
    assert_eq!(watched.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let ended = tokio::task::spawn_blocking(move || server.terminate().success());
    assert_eq!(watched.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(watched.next().await.is_none());
    assert!(ended.await.unwrap());
}
