//! One run: a cluster at work, something broken, everything mended, and the judgement.

use std::fmt;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::check::{self, Tally};
use crate::cluster::{Cluster, SETTLE_LIMIT, Shape};
use crate::fault::{Aftermath, Fault, inject};
use crate::follower::Follower;
use crate::load::{self, Load};
use crate::record::{Act, Outcome};

/// Complaints that are worth reading; the rest follows from them.
const SHOWN: usize = 10;
const SHOWN_CHARS: usize = 1000;
/// Enough for a run, far from full.
const VOLUME_MEBIBYTES: u64 = 512;

/// What a run is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) shape: Shape,
    pub(crate) faults: Vec<Fault>,
}

impl Plan {
    /// One fault done to three members.
    pub(crate) fn of(fault: Fault, seed: u64) -> Self {
        Self::new(Shape::default(), vec![fault], seed)
    }

    /// These faults, one after the other.
    pub(crate) fn new(mut shape: Shape, faults: Vec<Fault>, seed: u64) -> Self {
        shape.volume = faults.iter().any(|fault| fault.needs_volumes()).then_some(VOLUME_MEBIBYTES);
        Self { seed, shape, faults }
    }

    /// Everything as the seed says.
    pub(crate) fn drawn(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let shape = Shape {
            members: *pick(&mut chance, &[3, 3, 3, 5]),
            election: Duration::from_millis(*pick(&mut chance, &[300, 500, 1000])),
            snapshot_count: *pick(&mut chance, &[100, 1000, 100_000]),
            volume: None,
            clocks: false,
        };
        let count = chance.random_range(1..=3);
        let faults = (0..count).map(|_| *pick(&mut chance, &Fault::ALL)).collect();
        Self::new(shape, faults, seed)
    }
}

fn pick<'a, T>(chance: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[chance.random_range(0..from.len())]
}

/// What a run amounted to.
pub(crate) struct Report {
    pub(crate) tally: Tally,
    /// Operations per second before the first fault.
    rate: u64,
    took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s, {}/s before the fault; {}", self.took.as_secs_f64(), self.rate, self.tally)
    }
}

/// Carries out a plan. Fails on anything that the contract does not allow.
pub(crate) async fn run(plan: &Plan) -> Report {
    let began = Instant::now();
    let mut chance = StdRng::seed_from_u64(plan.seed);
    let mut cluster = Cluster::start(plan.shape.clone()).await;
    cluster.leader().await;
    let urls = cluster.urls();
    let load = Load::start(&urls, plan.seed);
    let followers: Vec<_> = [0, 1].map(|first| Follower::start(urls.clone(), first)).into();
    let (mut aftermath, mut rate) = (Aftermath::default(), None);
    for fault in &plan.faults {
        let flowing = load.flowing().await;
        rate.get_or_insert(flowing);
        aftermath.add(inject(*fault, &mut cluster, &mut chance).await);
        cluster.leader().await;
    }
    load.flowing().await;
    let mut operations = load.finish().await;
    operations.extend(aftermath.operations);

    let end = last_write(&cluster).await;
    cluster.must_agree_at(end).await;
    let replay = Follower::start(urls.clone(), chance.random_range(0..urls.len())).finish(end, SETTLE_LIMIT).await;
    for follower in followers {
        let followed = follower.finish(end, SETTLE_LIMIT).await;
        assert!(followed == replay, "a watcher through the faults saw something else than one after them");
    }
    let (tally, complaints) = check::judge(&operations, &replay, &aftermath.silences);
    assert!(complaints.is_empty(), "{plan:?}: {}\n{}", shown(&complaints), cluster.logs());
    Report { tally, rate: rate.unwrap_or_default(), took: began.elapsed() }
}

/// The first of some complaints, as far as they are worth reading.
pub(crate) fn shown(complaints: &[String]) -> String {
    let first = complaints.iter().take(SHOWN).map(|complaint| complaint.chars().take(SHOWN_CHARS).collect::<String>());
    format!("{} complaints:\n{}", complaints.len(), first.collect::<Vec<_>>().join("\n"))
}

/// Writes something that ends the history, and gives its revision.
pub(crate) async fn last_write(cluster: &Cluster) -> u64 {
    let deadline = Instant::now() + SETTLE_LIMIT;
    let client = load::client();
    for attempt in 0.. {
        let act = Act::Put { key: "/end".to_owned(), value: format!("end-{attempt}") };
        let written = load::perform(&client, act, 0, &cluster.url(0)).await;
        if let Outcome::Written { revision, .. } = written.outcome {
            return revision;
        }
        assert!(Instant::now() < deadline, "nothing can be written any more: {written:?}\n{}", cluster.logs());
    }
    unreachable!("attempts do not end")
}
