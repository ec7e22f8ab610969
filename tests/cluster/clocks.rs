//! Members whose wall clocks are wrong, and jump: leases do not care.
//!
//! Such a clock is libfaketime's, which stands between a member and the C library and reads from a file how far off it is. Monotonic
//! clocks stay as they are, as they do where somebody sets the time of a machine.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::MACHINE;
use crate::cluster::{Cluster, Shape};
use crate::leases::{Herd, Upset, hand_over, settled};
use crate::support::sse::EventSource;

/// So far the clocks are set ahead, and back.
const HOUR: i64 = 3_600;
/// How exactly a member's log has to show its clock.
const ACCURACY: Duration = Duration::from_mins(1);

/// How far the wall clock of a process is off, in a file.
#[derive(Debug)]
pub(crate) struct Clock {
    file: PathBuf,
}

/// Where Debian puts the library that fakes the time of programs with threads.
fn library() -> Option<PathBuf> {
    let by_machine = fs::read_dir("/usr/lib").ok()?;
    by_machine.flatten().map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

impl Clock {
    /// One that is right. Its file is written when it is set or used.
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file }
    }

    pub(crate) fn set(&self, ahead: i64) {
        // Replaced as a whole: the process reads it whenever it asks for the time.
        let written = self.file.with_extension("new");
        fs::write(&written, format!("{ahead:+}\n")).unwrap();
        fs::rename(written, &self.file).unwrap();
    }

    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 4] {
        if !self.file.exists() {
            self.set(0);
        }
        [
            ("LD_PRELOAD", library().expect("libfaketime is installed")),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone()),
            ("FAKETIME_NO_CACHE", Path::new("1").to_owned()),
            ("DONT_FAKE_MONOTONIC", Path::new("1").to_owned()),
        ]
    }
}

/// Tells when keys died, by this machine's clock, as watchers at all members saw it.
struct Deaths {
    seen: mpsc::UnboundedReceiver<(String, SystemTime)>,
    known: HashMap<String, SystemTime>,
}

impl Deaths {
    async fn watch(cluster: &Cluster, directory: &str) -> Self {
        let (tell, seen) = mpsc::unbounded_channel();
        for url in cluster.urls() {
            let mut events = EventSource::open(&format!("{url}/v1/watch{directory}"), None).await;
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Some(event) = events.next().await {
                    if event.name == "expire" {
                        let key = event.json()["key"].as_str().unwrap().to_owned();
                        let _ = tell.send((key, SystemTime::now()));
                    }
                }
            });
        }
        Self { seen, known: HashMap::new() }
    }

    fn of(&mut self, key: &str) -> Option<SystemTime> {
        while let Ok((key, at)) = self.seen.try_recv() {
            // The first who saw it was the soonest to tell.
            self.known.entry(key).or_insert(at);
        }
        self.known.get(key).copied()
    }
}

/// Fails unless the last line that a member logged has the stamp of a clock that is off by so much.
fn must_show(cluster: &Cluster, place: usize, ahead: i64) {
    let log = cluster.members[place].log();
    let stamps = log.lines().rev().filter_map(|line| line.split_whitespace().next()?.parse::<jiff::Timestamp>().ok());
    let last = stamps.map(jiff::Timestamp::as_second).next().expect("it has logged something");
    let now = jiff::Timestamp::now().as_second();
    assert!(
        (last - now - ahead).unsigned_abs() <= ACCURACY.as_secs(),
        "it is {now}, {ahead:+}, and the log says {last}:\n{log}"
    );
}

/// Sets the clock of a member while it leads, or does not, and has the leader change, which all log.
async fn jump(cluster: &Cluster, place: usize, ahead: i64, next: usize) -> Upset {
    cluster.members[place].set_clock(ahead);
    // The leases that fall due now do so by the clock that jumped.
    sleep(Duration::from_secs(1)).await;
    let upset = hand_over(cluster, next).await;
    cluster.must_follow(place).await;
    must_show(cluster, place, ahead);
    upset
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lease_is_lost_or_immortal_when_wall_clocks_jump_by_an_hour() {
    if library().is_none() {
        println!("not run: wall clocks that jump; libfaketime is not installed");
        return;
    }
    let _alone = MACHINE.write().await;
    let cluster = settled(Shape { clocks: true, ..Shape::default() }).await;
    let deaths = RefCell::new(Deaths::watch(&cluster, "/left/").await);
    let mut chance = StdRng::seed_from_u64(4);
    let herd = Herd::grant(&cluster, 20, Duration::from_secs(3), 1_000..9_000, &mut chance).await;
    let leader = cluster.leader().await;
    let others = cluster.others(leader);
    let upsets = [
        // The leader's own, ahead; then that of the one that follows it, back.
        jump(&cluster, leader, HOUR, others[0]).await,
        jump(&cluster, others[0], -HOUR, others[1]).await,
        // From an hour ahead to an hour behind, with a follower, which leads then.
        jump(&cluster, leader, -HOUR, leader).await,
        // And by a little more than the state machine believes at once.
        jump(&cluster, leader, HOUR, others[1]).await,
    ];
    let latest = herd.must_die(&upsets, async |key| deaths.borrow_mut().of(key)).await;
    herd.must_have_lived().await;
    println!("the latest died {latest:?} after its time");
}
