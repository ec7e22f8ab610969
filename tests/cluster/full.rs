//! Disks that fill up: under one member, which must not hurt the others, and under all of them.
//!
//! Each member looks after its own disk: with less than a reserve free it refuses what makes the store larger.

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
/// Below this much free space a member takes no writes that grow.
const RESERVE_MEBIBYTES: u64 = 64;
/// What the members have beyond that.
const ROOM_MEBIBYTES: u64 = 48;
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

/// Fills the disk of one member of three through the others, until it stops by itself.
async fn one_is_full(is_leader: bool, seed: u64) {
    let _shared = MACHINE.read().await;
    let Some(mut site) = Site::new(seed).await else { return };
    let full = if is_leader { site.leader } else { site.cluster.others(site.leader)[0] };
    let others = site.cluster.others(full);
    site.cluster.volumes[full].leave_free(RESERVE_MEBIBYTES - 1);
    must_have_room(&site.cluster, full, false).await;
    assert_eq!(*site.piece(full).await, Outcome::Refused, "a member without room took a write");
    ask(&site.cluster, full, |client| client.get("/v1/keys/own/?recursive=true&keysOnly=true")).expect(200);

    let deadline = Instant::now() + FILL_LIMIT;
    while site.cluster.members[full].ended().is_none() {
        site.piece(others[site.pieces.len() % others.len()]).await;
        assert!(Instant::now() < deadline, "member {full} finds room without end:\n{}", site.cluster.logs());
    }
    println!("member {full} ended after {} pieces", site.pieces.len());
    let status = site.cluster.members[full].wait(FILL_LIMIT);
    let log = site.cluster.members[full].log();
    let is_clear = log.contains("No space left on device") && !log.contains("panicked");
    assert!(status.code().is_some_and(|code| code != 0) && is_clear, "{status}\n{}", site.cluster.logs());
    site.cluster.leader_among(&others).await;
    site.load.flowing().await;

    site.cluster.volumes[full].make_room();
    site.cluster.members[full].start();
    // It has its addresses before it has read its log again: until then, what is asked of it waits.
    let start = Instant::now();
    site.cluster.must_follow(full).await;
    let silence = Silence { member: full, start, end: Instant::now() };
    let (mut cluster, operations) = site.finish().await;
    let end = last_write(&cluster).await;
    judge(&mut cluster, &operations, end, &[silence]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_disk_is_full_stops_alone_and_catches_up_once_it_has_room() {
    one_is_full(false, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_is_full_stops_alone_and_catches_up_once_it_has_room() {
    one_is_full(true, 16).await;
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
    for place in places {
        cluster.volumes[place].make_room();
        must_have_room(&cluster, place, true).await;
        ask(&cluster, place, |client| client.put("/v1/keys/more", "v")).expect(if place == 0 { 201 } else { 200 });
    }
    let end = last_write(&cluster).await;
    cluster.must_agree_at(end).await;
}
