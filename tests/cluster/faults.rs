//! What a cluster promises holds whatever happens to a minority of it: each fault by itself, and many that are drawn.

use crate::MACHINE;
use crate::check::Tally;
use crate::cluster::Shape;
use crate::fault::Fault;
use crate::run::{Plan, run};
use crate::support::volume::{Volume, not_run};

/// Runs of a soak, when nobody says how many.
const SOAK_RUNS: u64 = 60;

/// Runs plans that the machine can carry two of at a time. `None` for one that this machine cannot run.
async fn holds(plan: Plan) -> Option<Tally> {
    let _shared = MACHINE.read().await;
    println!("{plan:?}");
    if plan.shape.volume.is_some()
        && let Some(why) = Volume::hindrance()
    {
        not_run(&format!("{:?}: {why}", plan.faults));
        return None;
    }
    let report = run(&plan).await;
    println!("seed {}: {report}", plan.seed);
    Some(report.tally)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_leader_is_killed() {
    let tally = holds(Plan::of(Fault::KillLeader, 1)).await.expect("it needs nothing that is not there");
    assert!(tally.unknown > 0, "nothing was under way when it was killed: {tally}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_a_follower_is_killed() {
    holds(Plan::of(Fault::KillFollower, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_all_members_are_killed_at_once() {
    holds(Plan::of(Fault::KillAll, 3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wakes_after_it_was_replaced_answers_nothing_stale() {
    holds(Plan::of(Fault::PauseLeader, 4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_follower_holds_nobody_up() {
    holds(Plan::of(Fault::PauseFollower, 5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_acknowledges_nothing() {
    holds(Plan::of(Fault::IsolateLeader, 6)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_one_of_four_acknowledges_nothing() {
    let shape = Shape { members: 5, ..Shape::default() };
    holds(Plan { shape, ..Plan::of(Fault::LeaderWithOne, 7) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_nobody_hears_is_replaced() {
    holds(Plan::of(Fault::LeaderCannotSend, 8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hears_nobody_is_replaced() {
    holds(Plan::of(Fault::LeaderCannotReceive, 9)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_links_make_nothing_wrong() {
    holds(Plan::of(Fault::SlowLinks, 10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_restart_one_by_one_lose_nothing() {
    holds(Plan::of(Fault::RollingRestart, 11)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_power_of_one_member_after_the_other_fails() {
    let faults = vec![Fault::LeaderLosesPower, Fault::FollowerLosesPower];
    holds(Plan::new(Shape::default(), faults, 13)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_power_of_all_members_fails_at_once() {
    holds(Plan::of(Fault::AllLosePower, 14)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour and more: make soak-cluster"]
async fn drawn_runs_hold() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("CLUSTER_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    let runs = number("CLUSTER_RUNS").unwrap_or(SOAK_RUNS);
    println!("seeds {seed} to {}; again: CLUSTER_SEED={seed} CLUSTER_RUNS={runs} make soak-cluster", seed + runs - 1);
    let (mut total, mut held) = (Tally::default(), 0);
    for seed in seed..seed + runs {
        if let Some(tally) = holds(Plan::drawn(seed)).await {
            total.add(&tally);
            held += 1;
        }
    }
    println!("{held} of {runs} runs, 0 violations: {total}");
}
