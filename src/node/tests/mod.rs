//! Claims about running members: one alone here, several in `cluster.rs`.

mod cluster;
mod recover;

use std::path::Path;
use std::time::Instant;

use super::*;
use crate::consensus::ChangeRefusal;
use crate::machine::SnapshotSource;
use crate::model::{
    Attach, Command, Condition, Key, KeyRange, LeaseId, Member, MemberChange, Outcome, Put, Refusal, Reply, Ttl,
};
use crate::watch::Filter;

/// The ids of the only member of a cluster.
fn alone(peer_urls: &[String]) -> Identity {
    let member = member_id(peer_urls, "etcd-cluster");
    Identity { cluster: cluster_id([member]), member }
}

fn options(dir: &Path) -> Options {
    let peer_urls = vec!["http://localhost:2380".to_owned()];
    let identity = alone(&peer_urls);
    let member = Member { name: "one".to_owned(), ..Member::voter(identity.member, peer_urls.clone()) };
    let name = member.name.clone();
    Options { peer_urls, name, ..Options::small(dir, identity, Beginning::New(Members::from_iter([member]))) }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn key(text: &str) -> Key {
    Key::new(text.as_bytes().to_vec()).unwrap()
}

fn put(name: &str, value: &str, attach: Attach) -> Command {
    let value = Some(value.to_owned().into());
    let put = Put { key: key(name), value, content_type: None, attach, previous: false };
    Command::Put { put, condition: Condition::default() }
}

async fn propose(node: &Node, command: Command) -> Reply {
    node.handle().propose(command, None, None, soon()).await.unwrap()
}

async fn value(node: &Node, name: &str) -> Option<Vec<u8>> {
    let published = node.handle().linearizable(soon()).await.unwrap();
    published.view.get(name.as_bytes(), None).unwrap().map(|record| record.value.to_vec())
}

#[tokio::test]
async fn what_was_acknowledged_is_read_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
    for number in 0..200 {
        let reply = propose(&node, put(&format!("/k/{number}"), "v", Attach::Detach)).await;
        assert_eq!(reply.revision, Revision(number + 2));
    }
    assert_eq!(value(&node, "/k/199").await.unwrap(), b"v");
    node.stop();
    let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
    assert_eq!(value(&node, "/k/199").await.unwrap(), b"v");
    assert_eq!(node.handle().revision(), Revision(201));
    node.stop();
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_takes_its_keys_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
    let (watcher, _) = node.handle().watch(Filter::new(KeyRange::prefix("/")), Revision::ZERO);
    watcher.skip_through(Revision::FIRST);
    let start = Instant::now();
    let own = Attach::Own { id: LeaseId(7), ttl: Ttl(300) };
    propose(&node, put("/mortal", "v", own)).await;
    let mut seen = 0;
    while seen < 2 {
        match watcher.take(1 << 20).await {
            Delivery::Events(pieces) => seen += pieces.iter().map(|piece| piece.events().len()).sum::<usize>(),
            other @ (Delivery::Idle { .. } | Delivery::Lagging { .. } | Delivery::Cancelled) => panic!("{other:?}"),
        }
    }
    assert!(start.elapsed() >= Duration::from_millis(300), "gone early, after {:?}", start.elapsed());
    assert_eq!(value(&node, "/mortal").await, None);
    assert_eq!(node.handle().lease_remaining(LeaseId(7)), None);
    let revoked = propose(&node, Command::RevokeLease(LeaseId(7))).await;
    assert_eq!(revoked.result, Err(Refusal::LeaseNotFound(LeaseId(7))));
    node.stop();
}

#[tokio::test]
async fn renewals_wait_for_company_and_no_longer_though_nothing_else_happens() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Options { tick: Duration::from_hours(1), ..options(dir.path()) };
    let node = Node::start(&slow, Metrics::new(), Vec::new()).unwrap();
    propose(&node, Command::GrantLease { id: LeaseId(7), ttl: Ttl::from_secs(60) }).await;
    let begun = Instant::now();
    for _ in 0..20 {
        let reply = propose(&node, Command::RenewLeases(vec![LeaseId(7)])).await;
        assert_eq!(reply.result, Ok(Outcome::Renewed(vec![Some(Ttl::from_secs(60))])));
    }
    // However fast the disk is.
    assert!(begun.elapsed() >= 19 * gather::COMPANY, "{:?}", begun.elapsed());
    node.stop();
}

#[tokio::test]
async fn the_log_is_cut_when_the_store_holds_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
    let big = "x".repeat(256 * 1024);
    for _ in 0..200 {
        propose(&node, put("/big", &big, Attach::Detach)).await;
    }
    let deadline = soon();
    while node.handle().disk_bytes().1 > 48 * 1024 * 1024 {
        assert!(Instant::now() < deadline, "the log takes {} bytes", node.handle().disk_bytes().1);
        propose(&node, Command::Noop).await;
    }
    node.stop();
    let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
    assert_eq!(value(&node, "/big").await.unwrap().len(), big.len());
    node.stop();
}

#[tokio::test]
async fn what_a_snapshot_holds_is_served_from_the_directory_made_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
    for number in 0..50 {
        propose(&node, put(&format!("/k/{number}"), "v", Attach::Detach)).await;
    }
    let mut file = Vec::new();
    let source = SnapshotSource::open(node.handle().latest().view.snapshot().clone()).unwrap();
    for chunk in source.chunks() {
        file.extend_from_slice(&chunk.unwrap());
    }
    node.stop();

    let again = tempfile::tempdir().unwrap();
    let options = options(again.path());
    let identity = options.identity.unwrap();
    let Beginning::New(members) = options.beginning.clone() else { unreachable!() };
    assert!(restore(&mut &file[..file.len() - 1], &again.path().join("cut"), identity, &members).is_err());
    assert!(matches!(
        Node::start(&Options { data_dir: again.path().join("cut"), ..options.clone() }, Metrics::new(), Vec::new()),
        Err(OpenError::NoLog { .. })
    ));
    restore(&mut file.as_slice(), &options.data_dir, identity, &members).unwrap();
    assert!(matches!(
        restore(&mut file.as_slice(), &options.data_dir, identity, &members),
        Err(RestoreError::NotEmpty { .. })
    ));
    for start in 0..2 {
        let node = Node::start(&options, Metrics::new(), Vec::new()).unwrap();
        assert_eq!(value(&node, "/k/49").await.unwrap(), b"v");
        assert_eq!(propose(&node, put("/more", "v", Attach::Detach)).await.revision, Revision(52 + start));
        node.stop();
    }
}

#[tokio::test]
async fn a_directory_serves_one_process_and_one_member() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&options(dir.path()), Metrics::new(), Vec::new()).unwrap();
    assert!(matches!(Node::start(&options(dir.path()), Metrics::new(), Vec::new()), Err(OpenError::InUse { .. })));
    assert!(matches!(propose(&node, put("/a", "1", Attach::Detach)).await.result, Ok(Outcome::Written { .. })));
    node.stop();
    let other = Options {
        identity: Some(alone(&["http://other:2380".to_owned()])),
        peer_urls: vec!["http://other:2380".to_owned()],
        ..options(dir.path())
    };
    assert!(matches!(Node::start(&other, Metrics::new(), Vec::new()), Err(OpenError::OtherMember { .. })));
    std::fs::remove_dir_all(dir.path().join("data/wal")).unwrap();
    assert!(matches!(Node::start(&options(dir.path()), Metrics::new(), Vec::new()), Err(OpenError::NoLog { .. })));
}

#[tokio::test]
async fn a_member_that_was_to_join_begins_no_cluster_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let joining = Options { beginning: Beginning::Join { others: Vec::new() }, ..options(dir.path()) };
    Node::start(&joining, Metrics::new(), Vec::new()).unwrap().stop();
    let peer_urls = vec!["http://other:2380".to_owned()];
    let other = Options { identity: Some(alone(&peer_urls)), peer_urls, ..options(dir.path()) };
    assert!(matches!(Node::start(&other, Metrics::new(), Vec::new()), Err(OpenError::OtherMember { .. })));
    let node = Node::start(&joining, Metrics::new(), Vec::new()).unwrap();
    assert!(node.handle().latest().members.is_empty());
    assert_eq!(node.handle().identity(), joining.identity.unwrap());
    node.stop();
}
