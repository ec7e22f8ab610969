//! How long a cluster takes no writes when its leader dies.

use std::time::{Duration, Instant};

use crate::MACHINE;
use crate::cluster::{Cluster, Shape};
use crate::load;
use crate::record::{Act, Outcome};

/// The default.
const ELECTION: Duration = Duration::from_secs(1);
/// How often a client that was refused asks again.
const PACE: Duration = Duration::from_millis(20);

/// Kills the leader, and measures until another member takes a write that was asked for after that.
async fn failover(cluster: &mut Cluster) -> Duration {
    let leader = cluster.leader().await;
    let survivors = cluster.others(leader);
    let killed = Instant::now();
    cluster.members[leader].kill();
    let (found, mut accepted) = tokio::sync::mpsc::channel(1);
    let mut attempts = tokio::task::JoinSet::new();
    let client = load::client();
    let taken = loop {
        for place in &survivors {
            let (client, url, found, place) = (client.clone(), cluster.url(*place), found.clone(), *place);
            attempts.spawn(async move {
                let act = Act::Put { key: "/k".to_owned(), value: "v".to_owned() };
                let operation = load::perform(&client, act, place, &url).await;
                if let Outcome::Written { .. } = operation.outcome {
                    // Only the first one counts.
                    let _ = found.try_send(operation.end);
                }
            });
        }
        if let Ok(Some(end)) = tokio::time::timeout(PACE, accepted.recv()).await {
            break end - killed;
        }
        assert!(killed.elapsed() < 20 * ELECTION, "nobody takes writes:\n{}", cluster.logs());
    };
    cluster.members[leader].start();
    cluster.must_follow(leader).await;
    taken
}

/// Fails unless half of the failovers are done within two election timeouts.
async fn are_quick(count: usize) {
    let _alone = MACHINE.write().await;
    let mut cluster = Cluster::start(Shape { election: ELECTION, ..Shape::default() }).await;
    let mut times = Vec::new();
    for _ in 0..count {
        times.push(failover(&mut cluster).await);
    }
    times.sort_unstable();
    let median = times[count / 2];
    println!("the median of {count} failovers is {median:?}: {times:?}");
    assert!(median <= 2 * ELECTION, "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_accepted_within_two_election_timeouts_of_a_leaders_death() {
    are_quick(5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make soak-cluster"]
async fn writes_are_accepted_within_two_election_timeouts_of_twenty_deaths() {
    are_quick(20).await;
}
