//! A member that has lost its disk: it has forgotten what it promised, and must not come back as if nothing had been.

use std::fs;
use std::time::{Duration, Instant};

use crate::MACHINE;
use crate::cluster::{Cluster, LOOK, SETTLE_LIMIT, Shape};
use crate::load;
use crate::record::{Act, Outcome};

/// How long a member may take to find out that it has lost something.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Applied once a cluster of three has begun, has a leader, and has been told by each member whose data it has.
const INTRODUCED: u64 = 5;

/// A cluster whose members know each other's data, and a leader of it.
async fn introduced() -> (Cluster, usize) {
    let cluster = Cluster::start(Shape::default()).await;
    let leader = cluster.leader().await;
    let deadline = Instant::now() + SETTLE_LIMIT;
    for place in cluster.places() {
        while cluster.status(place).await.is_none_or(|status| status.raft_applied < INTRODUCED) {
            assert!(Instant::now() < deadline, "the members are not introduced:\n{}", cluster.logs());
            tokio::time::sleep(LOOK).await;
        }
    }
    (cluster, leader)
}

async fn write(cluster: &Cluster, place: usize) -> u64 {
    let act = Act::Put { key: "/k".to_owned(), value: "v".to_owned() };
    let written = load::perform(&load::client(), act, 0, &cluster.url(place)).await;
    let Outcome::Written { revision, .. } = written.outcome else { panic!("{written:?}\n{}", cluster.logs()) };
    revision
}

/// Starts a member without its data. It must end, and say why.
fn must_not_come_back(cluster: &mut Cluster, lost: usize) {
    fs::remove_dir_all(cluster.members[lost].data_dir()).unwrap();
    cluster.members[lost].start();
    let status = tokio::task::block_in_place(|| cluster.members[lost].wait(END_LIMIT));
    let log = cluster.members[lost].log();
    assert!(!status.success() && !log.contains("panicked"), "{status}: {}", cluster.logs());
    assert!(log.contains("it has lost what it promised"), "{}", cluster.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_its_data_does_not_come_back_under_its_id() {
    let _shared = MACHINE.read().await;
    let (mut cluster, leader) = introduced().await;
    write(&cluster, leader).await;
    let lost = cluster.others(leader)[0];
    cluster.members[lost].kill();
    must_not_come_back(&mut cluster, lost);
    for place in cluster.others(lost) {
        write(&cluster, place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_its_data_makes_no_majority_with_one_that_lags_behind() {
    let _shared = MACHINE.read().await;
    let (mut cluster, leader) = introduced().await;
    let [lost, lagging] = cluster.others(leader)[..] else { panic!("three members") };
    cluster.members[lagging].kill();
    let acknowledged = write(&cluster, leader).await;
    cluster.members[leader].kill();
    cluster.members[lost].kill();
    cluster.members[lagging].start();
    must_not_come_back(&mut cluster, lost);
    let status = cluster.status(lagging).await.expect("it serves");
    assert!(status.leader.is_none() && status.revision < acknowledged, "{status:?}");

    cluster.members[leader].start();
    cluster.leader_among(&[leader, lagging]).await;
    assert_eq!(write(&cluster, lagging).await, acknowledged + 1);
}
