//! A member that the others' logs do not reach any more gets their state, also when it dies while it does.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::MACHINE;
use crate::cluster::{Cluster, Shape};
use crate::links::Road;
use crate::load;
use crate::record::{Act, Outcome};

/// More than the members keep for one that lags behind, in pieces.
const PIECES: usize = 96;
const PIECE_BYTES: usize = 768 * 1024;
const WRITERS: usize = 4;
const COMES_IN: &str = "a snapshot comes in";
const IN_PLACE: &str = "the snapshot of another member is in place";

/// Writes large values to a member; gives the last revision.
async fn fill(url: &str) -> u64 {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let url = url.to_owned();
        writers.spawn(async move {
            let (client, mut last) = (load::client(), 0);
            for piece in 0..PIECES / WRITERS {
                let value = format!("{writer}-{piece} {}", "x".repeat(PIECE_BYTES));
                let act = Act::Put { key: format!("/large/{writer}"), value };
                match load::perform(&client, act, 0, &url).await.outcome {
                    Outcome::Written { revision, .. } => last = revision,
                    other => panic!("a large value was not taken: {other:?}"),
                }
            }
            last
        });
    }
    writers.join_all().await.into_iter().max().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_killed_while_it_is_sent_the_state_gets_it_all_the_same() {
    let _shared = MACHINE.read().await;
    let mut chance = StdRng::seed_from_u64(12);
    let mut cluster = Cluster::start(Shape { snapshot_count: 100, ..Shape::default() }).await;
    let leader = cluster.leader().await;
    let lagging = cluster.others(leader)[0];
    cluster.members[lagging].kill();
    let end = fill(&cluster.url(leader)).await;

    let slow = Road { bytes_per_second: Some(30_000_000), ..Road::default() };
    cluster.links.set_all(slow);
    for attempt in 0..2 {
        cluster.members[lagging].start();
        cluster.logged(lagging, COMES_IN, attempt).await;
        sleep(Duration::from_millis(chance.random_range(0..1500))).await;
        cluster.members[lagging].kill();
    }
    cluster.links.set_all(Road::default());
    let before = cluster.members[lagging].log().matches(IN_PLACE).count();
    assert_eq!(before, 0, "it was killed too late to show anything");
    cluster.members[lagging].start();
    cluster.logged(lagging, IN_PLACE, 0).await;
    cluster.must_agree_at(end).await;

    cluster.members[lagging].kill();
    cluster.members[lagging].start();
    cluster.must_agree_at(end).await;
}
