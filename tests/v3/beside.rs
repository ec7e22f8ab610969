//! A table of requests, put to real etcd and to Vardr one after the other: answers and errors are the same, field by field.

use std::fmt::Debug;

use futures_util::{StreamExt as _, stream};
use tonic::{Response, Status};

use crate::support::etcd::Release;
use crate::support::volume::not_run;
use crate::txn::{compare, op, op_delete, op_get, op_put, op_txn, then};
use crate::{V3, between, bytes, delete, get, pb, put, start};
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;

/// A request of the table.
#[derive(Debug, Clone)]
enum Asked {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    Grant(pb::LeaseGrantRequest),
    Revoke(pb::LeaseRevokeRequest),
    TimeToLive(pb::LeaseTimeToLiveRequest),
    Leases,
    KeepAlive(i64),
    MoveLeader(u64),
    AddMember(Vec<String>),
    RemoveMember(u64),
    PromoteMember(u64),
}

/// What differs from server to server, taken out of a header.
fn bare(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}

/// An answer, or an error, as text.
fn shown<T: Debug>(
    answer: Result<Response<T>, Status>,
    header: impl Fn(&mut T) -> &mut Option<pb::ResponseHeader>,
) -> String {
    match answer {
        Ok(answer) => {
            let mut answer = answer.into_inner();
            bare(header(&mut answer));
            format!("{answer:?}")
        }
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

impl Asked {
    async fn of(self, v3: &V3) -> String {
        match self {
            Self::Range(request) => shown(v3.kv().range(request).await, |answer| &mut answer.header),
            Self::Put(request) => shown(v3.kv().put(request).await, |answer| &mut answer.header),
            Self::Delete(request) => shown(v3.kv().delete_range(request).await, |answer| &mut answer.header),
            Self::Txn(request) => shown(v3.kv().txn(request).await, |answer| &mut answer.header),
            Self::Compact(request) => shown(v3.kv().compact(request).await, |answer| &mut answer.header),
            Self::Grant(request) => shown(v3.lease().lease_grant(request).await, |answer| &mut answer.header),
            Self::Revoke(request) => shown(v3.lease().lease_revoke(request).await, |answer| &mut answer.header),
            Self::TimeToLive(request) => {
                let mut answer = v3.lease().lease_time_to_live(request).await;
                // A second may pass between the two.
                if let Ok(answer) = &mut answer
                    && answer.get_ref().ttl > 0
                {
                    answer.get_mut().ttl = 1;
                }
                shown(answer, |answer| &mut answer.header)
            }
            Self::Leases => {
                shown(v3.lease().lease_leases(pb::LeaseLeasesRequest {}).await, |answer| &mut answer.header)
            }
            Self::KeepAlive(id) => {
                let requests = stream::iter([pb::LeaseKeepAliveRequest { id }]);
                let mut answers = v3.lease().lease_keep_alive(requests).await.unwrap().into_inner();
                let answer = answers.next().await.unwrap().map(Response::new);
                shown(answer, |answer| &mut answer.header)
            }
            Self::MoveLeader(target_id) => {
                let answer = v3.maintenance().move_leader(pb::MoveLeaderRequest { target_id }).await;
                shown(answer, |answer| &mut answer.header)
            }
            Self::AddMember(peer_ur_ls) => {
                let answer = v3.cluster().member_add(pb::MemberAddRequest { peer_ur_ls, is_learner: false }).await;
                shown(answer, |answer| &mut answer.header)
            }
            Self::RemoveMember(id) => {
                let answer = v3.cluster().member_remove(pb::MemberRemoveRequest { id }).await;
                shown(answer, |answer| &mut answer.header)
            }
            Self::PromoteMember(id) => {
                let answer = v3.cluster().member_promote(pb::MemberPromoteRequest { id }).await;
                shown(answer, |answer| &mut answer.header)
            }
        }
    }
}

fn reads() -> Vec<Asked> {
    let mut asked = vec![get("a"), get("missing"), get("")];
    for (key, end) in [("a", "z"), ("a", "a"), ("b", "a"), ("c", "\0"), ("\0", "\0"), ("", "\0"), ("b", "b\0")] {
        asked.push(between(key, end));
    }
    let all = between("a", "z");
    for limit in [-1, 0, 1, 2, 4, 5, 100] {
        asked.push(pb::RangeRequest { limit, ..all.clone() });
        asked.push(pb::RangeRequest { limit, count_only: true, ..all.clone() });
    }
    // What is not known is refused by later ones, and 3.4 does not survive it.
    for sort_order in 0..3 {
        for sort_target in 0..5 {
            asked.push(pb::RangeRequest { sort_order, sort_target, ..all.clone() });
            // Without an order, etcd 3.4 cuts before it sorts; later ones do not.
            if sort_order > 0 {
                asked.push(pb::RangeRequest { sort_order, sort_target, limit: 2, keys_only: true, ..all.clone() });
            }
        }
    }
    for bound in [-3, 1, 4, 6, 99] {
        asked.push(pb::RangeRequest { min_mod_revision: bound, ..all.clone() });
        asked.push(pb::RangeRequest { max_mod_revision: bound, limit: 1, ..all.clone() });
        asked.push(pb::RangeRequest { min_create_revision: bound, limit: 1, ..all.clone() });
        asked.push(pb::RangeRequest { max_create_revision: bound, count_only: true, ..all.clone() });
    }
    for revision in -2..12 {
        asked.push(pb::RangeRequest { revision, ..all.clone() });
        asked.push(pb::RangeRequest { revision, serializable: true, ..get("b") });
    }
    asked.into_iter().map(Asked::Range).collect()
}

fn writes() -> Vec<Asked> {
    let puts = [
        put("a", "again"),
        put("", "x"),
        put("empty", ""),
        pb::PutRequest { prev_kv: true, ..put("a", "more") },
        pb::PutRequest { prev_kv: true, ..put("fresh", "1") },
        pb::PutRequest { ignore_value: true, ..put("a", "") },
        pb::PutRequest { ignore_value: true, ..put("a", "x") },
        pb::PutRequest { ignore_value: true, ..put("absent", "") },
        pb::PutRequest { ignore_lease: true, ..put("absent", "x") },
        pb::PutRequest { ignore_lease: true, lease: 5, ..put("a", "x") },
        pb::PutRequest { lease: 5, ..put("leased", "1") },
        pb::PutRequest { lease: 404, ..put("leased", "1") },
        pb::PutRequest { lease: 404, ignore_value: true, ..put("absent", "") },
        pb::PutRequest { ignore_lease: true, prev_kv: true, ..put("leased", "2") },
        pb::PutRequest { ignore_lease: true, ignore_value: true, ..put("leased", "") },
        pb::PutRequest { ignore_value: true, prev_kv: true, ..put("leased", "") },
    ];
    let deletions = [
        delete("absent", ""),
        delete("", ""),
        delete("a", ""),
        delete("b", "d"),
        delete("d", "b"),
        pb::DeleteRangeRequest { prev_kv: false, ..delete("e", "\0") },
    ];
    puts.map(Asked::Put).into_iter().chain(deletions.map(Asked::Delete)).collect()
}

fn comparisons() -> Vec<Asked> {
    let mut asked = Vec::new();
    for (key, end) in [("a", ""), ("absent", ""), ("a", "z"), ("x", "z"), ("a", "\0"), ("", "")] {
        for result in 0..5 {
            for target in 0..6 {
                for with in [
                    TargetUnion::Version(1),
                    TargetUnion::Version(-1),
                    TargetUnion::CreateRevision(0),
                    TargetUnion::ModRevision(5),
                    TargetUnion::Value(bytes("5")),
                    TargetUnion::Lease(0),
                    TargetUnion::Lease(-4),
                ] {
                    let base = compare(key, CompareResult::Equal, CompareTarget::Version, with);
                    let compare = pb::Compare { result, target, range_end: bytes(end), ..base };
                    asked.push(Asked::Txn(pb::TxnRequest { compare: vec![compare], ..Default::default() }));
                }
            }
        }
    }
    asked
}

fn transactions() -> Vec<Asked> {
    let range = |request: pb::RangeRequest| op(Request::RequestRange(request));
    let written = |request: pb::PutRequest| op(Request::RequestPut(request));
    let txns = [
        then(vec![]),
        then(vec![op_get("a"), op_put("t", "1"), op_get("t"), op_delete("t2", ""), op_get("t")]),
        then(vec![op_put("t", "2"), op_txn(then(vec![op_get("t"), op_put("u", "1")])), op_delete("a", "c")]),
        then(vec![op_delete("nothing", "nothinh"), op_get("a")]),
        then(vec![op_txn(then(vec![op_txn(then(vec![op_get("t")]))]))]),
        then(vec![op_put("d", "1"), op_put("d", "2")]),
        then(vec![op_delete("d", "f"), op_put("e", "2")]),
        then(vec![op_put("e", "2"), op_delete("d", "f")]),
        then(vec![op_delete("d", "f"), op_delete("e", "")]),
        then(vec![op_put("d", "1"), op_txn(then(vec![op_put("d", "2")]))]),
        then(vec![op_put("", "1")]),
        then(vec![op_get("")]),
        then(vec![op_delete("", "")]),
        then(vec![pb::RequestOp::default()]),
        then(vec![op_get("a"); 128]),
        then(vec![op_get("a"); 129]),
        then(vec![op_txn(then(vec![op_get("a"); 127]))]),
        then(vec![op_txn(then(vec![op_get("a"); 128]))]),
        pb::TxnRequest { success: vec![op_get("a"); 128], failure: vec![op_get("b"); 128], ..Default::default() },
        pb::TxnRequest { success: vec![op_put("w", "1")], failure: vec![op_put("w", "2")], ..Default::default() },
        then(vec![op_put("x", "1"), range(pb::RangeRequest { revision: 9999, ..get("a") })]),
        then(vec![op_put("x", "1"), range(pb::RangeRequest { revision: 4, ..get("b") })]),
        then(vec![op_put("x", "1"), range(pb::RangeRequest { sort_order: 2, limit: 2, ..between("a", "\0") })]),
        then(vec![written(pb::PutRequest { lease: 404, ..put("x", "1") })]),
        then(vec![written(pb::PutRequest { ignore_value: true, ..put("absent", "") })]),
        then(vec![written(pb::PutRequest { ignore_lease: true, ..put("absent", "") })]),
        then(vec![written(pb::PutRequest { ignore_value: true, ..put("x", "given") })]),
        then(vec![written(pb::PutRequest { ignore_lease: true, prev_kv: true, ..put("x", "kept") })]),
    ];
    txns.map(Asked::Txn).into_iter().collect()
}

fn leases() -> Vec<Asked> {
    let grant = |ttl, id| Asked::Grant(pb::LeaseGrantRequest { ttl, id });
    let look = |id, keys| Asked::TimeToLive(pb::LeaseTimeToLiveRequest { id, keys });
    vec![
        grant(0, 11),
        grant(-5, 12),
        grant(1, 13),
        grant(300, 14),
        grant(200, -15),
        grant(300, 14),
        grant(9_000_000_000, 16),
        grant(9_000_000_001, 17),
        Asked::Put(pb::PutRequest { lease: 14, ..put("l1", "1") }),
        Asked::Put(pb::PutRequest { lease: -15, ..put("l2", "1") }),
        look(14, true),
        look(-15, true),
        look(14, false),
        look(404, true),
        Asked::KeepAlive(14),
        Asked::KeepAlive(404),
        Asked::Revoke(pb::LeaseRevokeRequest { id: 11 }),
        Asked::Revoke(pb::LeaseRevokeRequest { id: 12 }),
        Asked::Revoke(pb::LeaseRevokeRequest { id: 13 }),
        Asked::Leases,
        Asked::Revoke(pb::LeaseRevokeRequest { id: 14 }),
        Asked::Revoke(pb::LeaseRevokeRequest { id: 14 }),
        Asked::Range(between("l", "m")),
    ]
}

fn table() -> Vec<Asked> {
    let begin = [("a", "5"), ("b", "4"), ("c", "3"), ("d", "2"), ("b", "1"), ("e", "9")];
    let begin = begin.map(|(key, value)| Asked::Put(put(key, value))).into_iter();
    let lease = [Asked::Grant(pb::LeaseGrantRequest { ttl: 500, id: 5 })];
    let compact = |revision| Asked::Compact(pb::CompactionRequest { revision, physical: true });
    let urls = |urls: &[&str]| Asked::AddMember(urls.iter().map(|&url| url.to_owned()).collect());
    let members = [
        Asked::MoveLeader(0),
        Asked::MoveLeader(404),
        urls(&["foo"]),
        urls(&[]),
        urls(&["http://127.0.0.1"]),
        urls(&["http://127.0.0.1:1/path"]),
        Asked::RemoveMember(404),
        Asked::PromoteMember(404),
    ];
    let mut table: Vec<_> = begin.chain(lease).chain(reads()).chain(comparisons()).chain(writes()).collect();
    table.extend(transactions());
    table.extend(leases());
    // A store that was never compacted can be at 0 in etcd, once.
    table.extend([compact(-1), compact(6), compact(6), compact(5), compact(0), compact(9999)]);
    table.extend(reads());
    table.extend(transactions());
    table.extend(members);
    table
}

/// Puts a table to an etcd and to Vardr, both new: all must be alike.
async fn must_agree(release: Release, table: Vec<Asked>) {
    if let Some(hindrance) = release.hindrance() {
        return not_run(hindrance);
    }
    let etcd = tokio::task::spawn_blocking(move || release.start(&[])).await.unwrap();
    let (_server, vardr) = start();
    let real = V3::of(&etcd.url());
    let mut differences = Vec::new();
    for asked in &table {
        let (theirs, ours) = (asked.clone().of(&real).await, asked.clone().of(&vardr).await);
        if theirs != ours {
            differences.push(format!("{asked:?}\n  etcd  {theirs}\n  vardr {ours}"));
        }
    }
    assert!(differences.is_empty(), "{} of {}:\n{}", differences.len(), table.len(), differences.join("\n"));
}

#[tokio::test]
async fn etcd_answers_a_table_of_requests_alike() {
    must_agree(Release::Debian, table()).await;
}

#[tokio::test]
async fn a_later_etcd_answers_a_table_of_requests_alike() {
    must_agree(Release::Later, table()).await;
}
