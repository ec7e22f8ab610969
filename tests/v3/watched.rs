//! A table of watches, put to real etcd and to Vardr: what is told of each is the same, field by field. How revisions are put into
//! answers is left to a server; that none is cut up is not.

use std::collections::BTreeMap;

use crate::support::etcd::Release;
use crate::support::volume::not_run;
use crate::txn::{op_delete, op_put, then};
use crate::watch::{Watching, of};
use crate::{V3, delete, pb, put, start, told};
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

/// A step of a script.
#[derive(Debug, Clone)]
enum Step {
    Create(pb::WatchCreateRequest),
    Cancel(i64),
    Progress,
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(i64),
    Grant(i64),
    Revoke(i64),
    /// Waits until so many answers have come that are not of events, and so many events, since the last time.
    Await(usize, usize),
}

use Step::{Await, Cancel, Compact, Create, Delete, Grant, Progress, Put, Revoke, Txn};

/// What one watch is told: answers that are not of events, and the events of each revision.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    others: Vec<pb::WatchResponse>,
    events: BTreeMap<i64, Vec<pb::Event>>,
}

async fn run(v3: &V3, script: &[Step]) -> BTreeMap<i64, Heard> {
    let mut watching = Watching::of(v3);
    let mut heard: BTreeMap<i64, Heard> = BTreeMap::new();
    for step in script.iter().cloned() {
        match step {
            Create(request) => watching.ask(RequestUnion::CreateRequest(request)).await,
            Cancel(id) => watching.cancel(id).await,
            Progress => watching.ask_progress().await,
            Put(request) => {
                told(v3.kv().put(request).await).unwrap();
            }
            Delete(request) => {
                told(v3.kv().delete_range(request).await).unwrap();
            }
            Txn(request) => {
                v3.txn(request).await.unwrap();
            }
            Compact(revision) => {
                told(v3.kv().compact(pb::CompactionRequest { revision, physical: true }).await).unwrap();
            }
            Grant(id) => {
                told(v3.lease().lease_grant(pb::LeaseGrantRequest { ttl: 300, id }).await).unwrap();
            }
            Revoke(id) => {
                told(v3.lease().lease_revoke(pb::LeaseRevokeRequest { id }).await).unwrap();
            }
            Await(mut others, mut events) => {
                while others > 0 || events > 0 {
                    let mut answer = watching.next().await;
                    let header = answer.header.as_mut().unwrap();
                    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0);
                    (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
                    let heard = heard.entry(answer.watch_id).or_default();
                    if answer.events.is_empty() {
                        others = others.checked_sub(1).expect("fewer answers");
                        heard.others.push(answer);
                        continue;
                    }
                    events = events.checked_sub(answer.events.len()).expect("fewer events");
                    let mut revisions: BTreeMap<i64, Vec<pb::Event>> = BTreeMap::new();
                    for event in answer.events {
                        revisions.entry(event.kv.as_ref().unwrap().mod_revision).or_default().push(event);
                    }
                    for (revision, mut events) in revisions {
                        // In order of key or of operation, as a server likes.
                        events.sort_by_key(|event| event.kv.as_ref().unwrap().key.clone());
                        assert_eq!(heard.events.insert(revision, events), None, "a revision in two answers");
                    }
                }
            }
        }
    }
    heard
}

fn from(key: &str, end: &str, start_revision: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { start_revision, ..of(key, end) }
}

fn numbered(watch_id: i64, request: pb::WatchCreateRequest) -> Step {
    Create(pb::WatchCreateRequest { watch_id, ..request })
}

/// Writes of every kind, twelve revisions from the second one on.
fn writes() -> Vec<Step> {
    vec![
        Put(put("a", "2")),
        Put(put("b", "3")),
        Put(put("a", "4")),
        Delete(delete("a", "")),
        Put(put("a", "6")),
        Txn(then(vec![op_put("c", "7"), op_put("d", "7"), op_delete("a", "c")])),
        Grant(5),
        Put(pb::PutRequest { lease: 5, ..put("a", "8") }),
        Put(pb::PutRequest { lease: 5, ..put("e", "9") }),
        Put(pb::PutRequest { ignore_value: true, ..put("c", "") }),
        Revoke(5),
        Delete(delete("c", "e")),
        Put(put("a", "13")),
    ]
}

/// Watches of every kind from a revision on, and how many events each is told of the writes.
fn watches(start: i64) -> Vec<(pb::WatchCreateRequest, usize)> {
    let (no_puts, no_deletions) = (FilterType::Noput.into(), FilterType::Nodelete.into());
    let filtered = |filters: &[i32], request: pb::WatchCreateRequest| pb::WatchCreateRequest {
        filters: filters.to_vec(),
        ..request
    };
    let before = |request: pb::WatchCreateRequest| pb::WatchCreateRequest { prev_kv: true, ..request };
    vec![
        (from("a", "", start), 8),
        (before(from("a", "", start)), 8),
        (from("", "\0", start), 17),
        (before(from("", "\0", start)), 17),
        (before(from("b", "d", start)), 5),
        (filtered(&[no_puts], before(from("a", "\0", start))), 7),
        (filtered(&[no_deletions], from("a", "\0", start)), 10),
        (filtered(&[no_puts, no_deletions], from("a", "\0", start)), 0),
        (from("nothing", "", start), 0),
    ]
}

fn scripts() -> Vec<(&'static str, Vec<Step>)> {
    let live: Vec<_> = watches(0);
    let count = live.len();
    let events = live.iter().map(|(_, events)| events).sum();
    let mut now: Vec<Step> = live.into_iter().map(|(request, _)| Create(request)).collect();
    now.push(Await(count, 0));
    now.extend(writes());
    now.push(Await(0, events));
    let mut past = writes();
    past.extend(watches(2).into_iter().map(|(request, _)| Create(request)));
    past.extend([Await(count, events), Put(put("a", "14")), Await(0, 5)]);
    let mut middle = writes();
    middle.extend([Create(from("a", "", 7)), Create(from("a", "z", 13)), Create(from("a", "", 14)), Await(3, 5)]);
    middle.extend([Put(put("a", "14")), Await(0, 3)]);
    let mut compacted = writes();
    compacted.extend([Compact(7), Create(from("a", "", 6)), Await(2, 0), Create(from("c", "", 7)), Await(1, 3)]);
    compacted.extend([numbered(9, pb::WatchCreateRequest { prev_kv: true, ..from("d", "", 8) }), Await(1, 1)]);
    let future = vec![
        Create(from("a", "", 4)),
        Await(1, 0),
        Put(put("a", "2")),
        Put(put("a", "3")),
        Put(put("a", "4")),
        Put(put("a", "5")),
        Await(0, 2),
    ];
    let numbers = vec![
        Create(of("a", "")),
        numbered(1, of("a", "")),
        Create(of("a", "")),
        numbered(1, of("b", "")),
        numbered(-5, of("b", "")),
        Await(5, 0),
        Cancel(1),
        Await(1, 0),
        numbered(1, of("c", "")),
        Create(of("c", "")),
        Await(2, 0),
        Cancel(404),
        Put(put("a", "2")),
        Put(put("b", "3")),
        Put(put("c", "4")),
        Await(0, 5),
    ];
    let refused = vec![
        Create(of("b", "a")),
        Create(of("a", "a")),
        numbered(3, of("b", "b")),
        Await(3, 0),
        Create(of("", "")),
        Await(1, 0),
        Put(put("a", "2")),
        Create(of("\0", "")),
        Await(1, 0),
    ];
    let progress = vec![
        Create(of("a", "")),
        Await(1, 0),
        Put(put("b", "2")),
        Progress,
        Await(1, 0),
        Put(put("a", "3")),
        Await(0, 1),
        Progress,
        Progress,
        Await(2, 0),
    ];
    vec![
        ("from now on", now),
        ("from the past", past),
        ("from the middle", middle),
        ("from what was compacted", compacted),
        ("from the future", future),
        ("numbers", numbers),
        ("refusals", refused),
        ("progress", progress),
    ]
}

/// Plays the scripts to an etcd and to Vardr, each to new ones: both tell of the same.
async fn tell_alike(release: Release, scripts: Vec<(&str, Vec<Step>)>) {
    if let Some(hindrance) = release.hindrance() {
        return not_run(hindrance);
    }
    for (name, script) in scripts {
        let etcd = tokio::task::spawn_blocking(move || release.start(&[])).await.unwrap();
        let (_server, vardr) = start();
        let (theirs, ours) = (run(&V3::of(&etcd.url()), &script).await, run(&vardr, &script).await);
        assert_eq!(ours, theirs, "{name}");
    }
}

#[tokio::test]
async fn etcd_tells_of_a_table_of_watches_alike() {
    tell_alike(Release::Debian, scripts()).await;
}

#[tokio::test]
async fn a_later_etcd_tells_of_a_table_of_watches_alike() {
    // It has no answer to a request for progress that comes before a watch has caught up.
    let scripts = scripts().into_iter().filter(|(name, _)| *name != "progress").collect();
    tell_alike(Release::Later, scripts).await;
}
