//! The members as etcd's clients see them.

use std::time::Instant;

use tonic::Code;

use crate::support::Server;
use crate::support::etcd::free_port;
use crate::{LIMIT, V3, pb, start, told};

#[tokio::test]
async fn the_members_are_listed_without_a_revision() {
    let server = Server::with_flags(&["--name", "n1"]);
    let v3 = V3::of(&server.url());
    let deadline = Instant::now() + LIMIT;
    let list = async || told(v3.cluster().member_list(pb::MemberListRequest::default()).await).unwrap();
    while list().await.members[0].name.is_empty() {
        assert!(Instant::now() < deadline, "the member does not say what it is called");
        tokio::task::yield_now().await;
    }
    for linearizable in [false, true] {
        let listed = told(v3.cluster().member_list(pb::MemberListRequest { linearizable }).await).unwrap();
        let header = listed.header.unwrap();
        assert!(header.revision == 0 && header.cluster_id != 0 && header.raft_term > 0);
        let [member] = &listed.members[..] else { panic!("{listed:?}") };
        assert_eq!((member.id, member.is_learner), (header.member_id, false));
        assert_eq!(member.name, "n1");
        assert_eq!(member.client_ur_ls.len(), 1);
    }
}

#[tokio::test]
async fn members_come_move_and_go() {
    let peer = format!("http://127.0.0.1:{}", free_port());
    let server = Server::with_flags(&["--listen-peer-urls", &peer]);
    let v3 = V3::of(&server.url());
    let urls = |port: u16| vec![format!("http://127.0.0.1:{port}")];
    let add = async |peer_ur_ls, is_learner| {
        told(v3.cluster().member_add(pb::MemberAddRequest { peer_ur_ls, is_learner }).await)
    };
    let added = add(urls(4), true).await.unwrap();
    let learner = added.member.unwrap();
    assert!(learner.is_learner && learner.name.is_empty() && learner.peer_ur_ls == urls(4));
    assert_eq!(added.members.len(), 2);
    assert!(!add(urls(5), false).await.unwrap().member.unwrap().is_learner);
    let exists = (Code::FailedPrecondition, "etcdserver: Peer URLs already exists".to_owned());
    assert_eq!(add(urls(4), true).await.unwrap_err(), exists);
    for bad in [vec![], vec!["foo".to_owned()], vec!["http://127.0.0.1".to_owned()]] {
        let refused = add(bad, false).await.unwrap_err();
        assert_eq!(refused, (Code::InvalidArgument, "etcdserver: given member URLs are invalid".to_owned()));
    }
    let promoted = told(v3.cluster().member_promote(pb::MemberPromoteRequest { id: learner.id }).await).unwrap_err();
    let text = "etcdserver: can only promote a learner member which is in sync with leader";
    assert_eq!(promoted, (Code::FailedPrecondition, text.to_owned()));
    let update =
        async |id, peer_ur_ls| told(v3.cluster().member_update(pb::MemberUpdateRequest { id, peer_ur_ls }).await);
    let moved = update(learner.id, urls(6)).await.unwrap();
    assert!(moved.members.iter().any(|member| member.peer_ur_ls == urls(6)));
    let remove = async |id| told(v3.cluster().member_remove(pb::MemberRemoveRequest { id }).await);
    assert_eq!(remove(learner.id).await.unwrap().members.len(), 2);
    let missing = (Code::NotFound, "etcdserver: member not found".to_owned());
    assert_eq!(remove(learner.id).await.unwrap_err(), missing);
    assert_eq!(update(404, urls(7)).await.unwrap_err(), missing);
    assert_eq!(told(v3.cluster().member_promote(pb::MemberPromoteRequest { id: 404 }).await).unwrap_err(), missing);
}

#[tokio::test]
async fn the_last_member_stays_a_voter() {
    let (_server, v3) = start();
    let listed = told(v3.cluster().member_list(pb::MemberListRequest::default()).await).unwrap();
    let id = listed.members[0].id;
    let refused = told(v3.cluster().member_promote(pb::MemberPromoteRequest { id }).await).unwrap_err();
    assert_eq!(refused, (Code::FailedPrecondition, "etcdserver: can only promote a learner member".to_owned()));
    let refused = told(v3.cluster().member_remove(pb::MemberRemoveRequest { id }).await).unwrap_err();
    assert_eq!(refused.1, "etcdserver: re-configuration failed due to not enough started members");
}
