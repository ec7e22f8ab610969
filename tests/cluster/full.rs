//! Disks that fill up: under one member, which the others must not hurt, and under all of them.
//!
//! A member tells the others when less than a reserve is free on its disk, and none takes what makes the store larger.

use std::time::{Duration, Instant};

use crate::MACHINE;
use crate::check;
use crate::cluster::{Cluster, LOOK, SETTLE_LIMIT, Shape};
use crate::follower::Follower;
use crate::load::{self, Load};
use crate::record::{Act, Operation, Outcome, Silence};
use crate::run::{last_write, shown};
use crate::support::http::{Client, Response};
use crate::support::volume::{Volume, not_run};

const VOLUME_MEBIBYTES: u64 = 512;
/// Below this much free space a member takes no writes that grow; a store of some size needs more.
const RESERVE_MEBIBYTES: u64 = 64;
/// What the members have beyond that.
const ROOM_MEBIBYTES: u64 = 96;
const PIECE_BYTES: usize = 512 * 1024;
/// How long filling may take.
const FILL_LIMIT: Duration = Duration::from_mins(1);

/// Three members with a load on them, some of which have little room left.
struct Site {
    cluster: Cluster,
    load: Load,
    leader: usize,
    /// What was asked beside the load: one large value after the other.
    pieces: Vec<Operation>,
}

impl Site {
    /// `None` where there can be none, which is said.
    async fn new(seed: u64) -> Option<Self> {
        if let Some(why) = Volume::hindrance() {
            not_run(why);
            return None;
        }
        let cluster = Cluster::start(Shape { volume: Some(VOLUME_MEBIBYTES), ..Shape::default() }).await;
        let leader = cluster.leader().await;
        let load = Load::start(&cluster.urls(), seed);
        load.flowing().await;
        Some(Self { cluster, load, leader, pieces: Vec::new() })
    }

    /// Writes a large value at a member.
    async fn piece(&mut self, place: usize) -> &Outcome {
        let number = self.pieces.len();
        let value = format!("piece-{number} {}", "x".repeat(PIECE_BYTES));
        let act = Act::Put { key: format!("/large/{number}"), value };
        let operation = load::perform(&load::client(), act, place, &self.cluster.url(place)).await;
        let allowed = matches!(operation.outcome, Outcome::Written { .. } | Outcome::Refused | Outcome::Unknown);
        assert!(allowed, "{:?}\n{}", operation.outcome, self.cluster.logs());
        self.pieces.push(operation);
        &self.pieces[number].outcome
    }

    /// Ends the load. Gives the cluster, and all that was asked of it.
    async fn finish(self) -> (Cluster, Vec<Operation>) {
        let mut operations = self.load.finish().await;
        operations.extend(self.pieces);
        (self.cluster, operations)
    }
}

fn ask(cluster: &Cluster, place: usize, ask: impl FnOnce(&Client) -> Response) -> Response {
    tokio::task::block_in_place(|| ask(&Client::new(&cluster.address(place).to_string())))
}

/// Waits until a member says that it has room, or that it has none.
async fn must_have_room(cluster: &Cluster, place: usize, has: bool) {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        let ready = ask(cluster, place, |client| client.get("/readyz?verbose"));
        if ready.text().contains("nearly full") != has {
            return;
        }
        assert!(Instant::now() < deadline, "member {place}: {}\n{}", ready.text(), cluster.logs());
        tokio::time::sleep(LOOK).await;
    }
}

/// Holds what was asked against what the cluster says has happened up to a revision, alike on all members.
async fn judge(cluster: &mut Cluster, operations: &[Operation], end: u64, silences: &[Silence]) {
    cluster.must_agree_at(end).await;
    let history = Follower::start(cluster.urls(), 0).finish(end, SETTLE_LIMIT).await;
    let (tally, complaints) = check::judge(operations, &history, silences);
    assert!(complaints.is_empty(), "{}\n{}", shown(&complaints), cluster.logs());
    println!("{tally}");
}

/// Waits until a large value is refused at a member, or taken.
async fn must_refuse(site: &mut Site, place: usize, refuses: bool) {
    let deadline = Instant::now() + SETTLE_LIMIT;
    while (*site.piece(place).await == Outcome::Refused) != refuses {
        assert!(Instant::now() < deadline, "member {place}: {refuses}\n{}", site.cluster.logs());
    }
}

/// Takes the room of one member of three, so that none of them takes what grows: it has to keep what the others take.
async fn one_is_short(is_leader: bool, seed: u64) {
    let _shared = MACHINE.read().await;
    let Some(mut site) = Site::new(seed).await else { return };
    let full = if is_leader { site.leader } else { site.cluster.others(site.leader)[0] };
    site.cluster.volumes[full].leave_free(RESERVE_MEBIBYTES - 1);
    for place in site.cluster.places() {
        must_refuse(&mut site, place, true).await;
        ask(&site.cluster, place, |client| client.get("/v1/keys/own/?recursive=true&keysOnly=true")).expect(200);
        ask(&site.cluster, place, |client| client.delete("/v1/keys/never/was")).refused(404, "key_not_found");
    }
    site.cluster.members[full].must_run();
    site.cluster.volumes[full].make_room();
    for place in site.cluster.places() {
        must_refuse(&mut site, place, false).await;
    }
    let (mut cluster, operations) = site.finish().await;
    let end = last_write(&cluster).await;
    judge(&mut cluster, &operations, end, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_what_would_fill_the_disk_of_a_follower() {
    one_is_short(false, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_what_would_fill_the_disk_of_the_leader() {
    one_is_short(true, 16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_any_room_starts_or_says_why_not_and_catches_up_once_it_has_some() {
    let _shared = MACHINE.read().await;
    let Some(mut site) = Site::new(18).await else { return };
    let full = site.cluster.others(site.leader)[0];
    let others = site.cluster.others(full);
    for number in 0..40 {
        site.piece(others[number % others.len()]).await;
    }
    site.cluster.members[full].kill();
    site.cluster.volumes[full].leave_free(2);
    // It listens before it has read what it has, and on a busy machine that takes its time.
    let start = Instant::now();
    site.cluster.members[full].start();
    // The others heard of no such disk while it was down. What it cannot keep, it has to say.
    let deadline = Instant::now() + FILL_LIMIT;
    let said = |site: &mut Site| {
        let ready = Client::new(&site.cluster.address(full).to_string()).try_put("/v1/keys/never?timeout=1s", "v");
        let refused = ready.is_some_and(|answer| (answer.status, answer.code().as_str()) == (507, "quota_exceeded"));
        refused || site.cluster.members[full].ended().is_some()
    };
    while !tokio::task::block_in_place(|| said(&mut site)) {
        assert!(Instant::now() < deadline, "it neither serves nor ends:\n{}", site.cluster.logs());
        tokio::time::sleep(LOOK).await;
    }
    if site.cluster.members[full].ended().is_some() {
        let status = site.cluster.members[full].wait(FILL_LIMIT);
        let log = site.cluster.members[full].log();
        let is_clear = log.contains("free some space, and start again") && !log.contains("panicked");
        assert!(status.code().is_some_and(|code| code != 0) && is_clear, "{status}\n{}", site.cluster.logs());
    } else {
        site.cluster.members[full].kill();
    }
    site.cluster.volumes[full].make_room();
    site.cluster.members[full].start();
    site.cluster.must_follow(full).await;
    let silence = Silence { member: full, start, end: Instant::now() };
    let (mut cluster, operations) = site.finish().await;
    let end = last_write(&cluster).await;
    judge(&mut cluster, &operations, end, &[silence]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_disks_full_reads_deletions_and_compaction_go_on_and_room_brings_writes_back() {
    let _shared = MACHINE.read().await;
    let Some(mut site) = Site::new(17).await else { return };
    let places: Vec<_> = site.cluster.places().collect();
    for volume in &site.cluster.volumes {
        volume.leave_free(RESERVE_MEBIBYTES + ROOM_MEBIBYTES);
    }
    let (deadline, mut refused_in_turn) = (Instant::now() + FILL_LIMIT, 0);
    while refused_in_turn < places.len() {
        let place = site.pieces.len() % places.len();
        refused_in_turn = if *site.piece(place).await == Outcome::Refused { refused_in_turn + 1 } else { 0 };
        assert!(Instant::now() < deadline, "the disks never fill:\n{}", site.cluster.logs());
    }
    let (mut cluster, operations) = site.finish().await;
    // The first that is short stops all of them; the others have a little more room.
    cluster.volumes.iter().for_each(|volume| volume.leave_free(RESERVE_MEBIBYTES - 1));
    let leader = cluster.leader().await;
    let full_at = cluster.status(leader).await.unwrap().revision;
    judge(&mut cluster, &operations, full_at, &[]).await;

    for place in places.clone() {
        must_have_room(&cluster, place, false).await;
        let key = format!("/v1/keys/large/{place}");
        ask(&cluster, place, |client| client.get(&key)).expect(200);
        ask(&cluster, place, |client| client.delete(&key)).expect(200);
        ask(&cluster, place, |client| client.put("/v1/keys/more", "v")).refused(507, "quota_exceeded");
    }
    let compact = format!("{{\"revision\":{full_at}}}");
    ask(&cluster, leader, |client| client.post("/v1/maintenance:compact", compact)).expect(200);
    let deleted_at = full_at + places.len() as u64;
    cluster.must_agree_at(deleted_at).await;

    for member in &mut cluster.members {
        member.kill();
        member.start();
    }
    cluster.leader().await;
    cluster.must_agree_at(deleted_at).await;
    cluster.volumes.iter().for_each(Volume::make_room);
    for place in places {
        must_have_room(&cluster, place, true).await;
        let deadline = Instant::now() + SETTLE_LIMIT;
        // That the others have room again, too, is told about once a second.
        while !matches!(ask(&cluster, place, |client| client.put("/v1/keys/more", "v")).status, 200 | 201) {
            assert!(Instant::now() < deadline, "member {place} takes no writes\n{}", cluster.logs());
            tokio::time::sleep(LOOK).await;
        }
    }
    let end = last_write(&cluster).await;
    cluster.must_agree_at(end).await;
}
