//! Transactions: comparisons, the order of what is done, revisions within, and what is refused.

use tonic::Code;

use crate::{V3, between, bytes, delete, get, pb, put, revision, start};
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use pb::response_op::Response;

pub(crate) fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

pub(crate) fn op_put(key: &str, value: &str) -> pb::RequestOp {
    op(Request::RequestPut(put(key, value)))
}

pub(crate) fn op_get(key: &str) -> pb::RequestOp {
    op(Request::RequestRange(get(key)))
}

pub(crate) fn op_delete(key: &str, end: &str) -> pb::RequestOp {
    op(Request::RequestDeleteRange(delete(key, end)))
}

pub(crate) fn op_txn(request: pb::TxnRequest) -> pb::RequestOp {
    op(Request::RequestTxn(request))
}

pub(crate) fn then(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success, ..Default::default() }
}

pub(crate) fn compare(key: &str, result: CompareResult, target: CompareTarget, with: TargetUnion) -> pb::Compare {
    pb::Compare {
        key: bytes(key),
        result: result.into(),
        target: target.into(),
        target_union: Some(with),
        ..Default::default()
    }
}

async fn holds(v3: &V3, compare: pb::Compare) -> bool {
    v3.txn(pb::TxnRequest { compare: vec![compare], ..Default::default() }).await.unwrap().succeeded
}

#[tokio::test]
async fn each_target_is_compared_as_in_etcd() {
    let (_server, v3) = start();
    crate::told(v3.lease().lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 9 }).await).unwrap();
    v3.put("a", "1").await;
    crate::told(v3.kv().put(pb::PutRequest { lease: 9, ..put("a", "2") }).await).unwrap();
    let fields = [
        (CompareTarget::Version, TargetUnion::Version as fn(i64) -> TargetUnion, 2),
        (CompareTarget::Create, TargetUnion::CreateRevision, 2),
        (CompareTarget::Mod, TargetUnion::ModRevision, 3),
        (CompareTarget::Lease, TargetUnion::Lease, 9),
    ];
    for (target, union, is) in fields {
        for (result, number, expected) in [
            (CompareResult::Equal, is, true),
            (CompareResult::Equal, is + 1, false),
            (CompareResult::NotEqual, is, false),
            (CompareResult::NotEqual, -1, true),
            (CompareResult::Greater, is - 1, true),
            (CompareResult::Greater, is, false),
            (CompareResult::Greater, -1, true),
            (CompareResult::Less, is + 1, true),
            (CompareResult::Less, is, false),
            (CompareResult::Less, -1, false),
        ] {
            let held = holds(&v3, compare("a", result, target, union(number))).await;
            assert_eq!(held, expected, "{target:?} {result:?} {number}");
        }
        assert!(holds(&v3, compare("missing", CompareResult::Equal, target, union(0))).await, "{target:?}");
        assert!(!holds(&v3, compare("missing", CompareResult::Greater, target, union(0))).await, "{target:?}");
    }
    let value =
        |key: &str, result, with: &str| compare(key, result, CompareTarget::Value, TargetUnion::Value(bytes(with)));
    assert!(holds(&v3, value("a", CompareResult::Equal, "2")).await);
    assert!(holds(&v3, value("a", CompareResult::Greater, "1")).await);
    assert!(!holds(&v3, value("missing", CompareResult::NotEqual, "2")).await);
    assert!(!holds(&v3, value("missing", CompareResult::Equal, "")).await);
}

#[tokio::test]
async fn a_comparison_of_a_range_has_to_hold_for_all_of_it() {
    let (_server, v3) = start();
    for key in ["a", "b", "b"] {
        v3.put(key, "x").await;
    }
    let versions = |key: &str, end: &str, result, number| pb::Compare {
        range_end: bytes(end),
        ..compare(key, result, CompareTarget::Version, TargetUnion::Version(number))
    };
    assert!(holds(&v3, versions("a", "z", CompareResult::Greater, 0)).await);
    assert!(!holds(&v3, versions("a", "\0", CompareResult::Equal, 1)).await);
    assert!(holds(&v3, versions("m", "z", CompareResult::Equal, 0)).await, "of none, one that is absent");
    assert!(!holds(&v3, versions("m", "z", CompareResult::Greater, 5)).await);
}

#[tokio::test]
async fn what_is_left_out_or_unknown_counts_as_in_etcd() {
    let (_server, v3) = start();
    v3.put("a", "x").await;
    let other = compare("a", CompareResult::Equal, CompareTarget::Version, TargetUnion::Value(bytes("x")));
    assert!(!holds(&v3, other).await, "another member of the union is none");
    let result = pb::Compare {
        result: 9,
        ..compare("a", CompareResult::Equal, CompareTarget::Version, TargetUnion::Version(7))
    };
    assert!(holds(&v3, result).await, "a result that is not known holds");
    let target = |result: CompareResult| pb::Compare {
        target: 9,
        ..compare("a", result, CompareTarget::Version, TargetUnion::Version(7))
    };
    assert!(holds(&v3, target(CompareResult::Equal)).await);
    assert!(!holds(&v3, target(CompareResult::NotEqual)).await);
}

#[tokio::test]
async fn operations_see_those_before_them_and_show_the_revision_so_far() {
    let (_server, v3) = start();
    v3.put("old", "0").await;
    let inner = then(vec![op_get("a"), op_delete("old", "")]);
    let done = v3.txn(then(vec![op_get("a"), op_put("a", "1"), op_txn(inner), op_get("old")])).await.unwrap();
    assert!(done.succeeded);
    assert_eq!(revision(done.header), 3);
    let [first, second, third, fourth] = &done.responses[..] else { panic!("{done:?}") };
    let Some(Response::ResponseRange(before)) = &first.response else { panic!("{first:?}") };
    assert_eq!((revision(before.header), before.count), (2, 0));
    let Some(Response::ResponsePut(written)) = &second.response else { panic!("{second:?}") };
    assert_eq!(revision(written.header), 3);
    let Some(Response::ResponseTxn(nested)) = &third.response else { panic!("{third:?}") };
    assert_eq!(nested.header, Some(pb::ResponseHeader::default()));
    let Some(Response::ResponseRange(seen)) = &nested.responses[0].response else { panic!("{nested:?}") };
    assert_eq!((revision(seen.header), &seen.kvs[0].value[..]), (3, &b"1"[..]));
    let Some(Response::ResponseDeleteRange(gone)) = &nested.responses[1].response else { panic!("{nested:?}") };
    assert_eq!((gone.deleted, &gone.prev_kvs[0].value[..]), (1, &b"0"[..]));
    let Some(Response::ResponseRange(after)) = &fourth.response else { panic!("{fourth:?}") };
    assert_eq!(after.count, 0);
}

#[tokio::test]
async fn what_only_reads_makes_no_revision() {
    let (_server, v3) = start();
    v3.put("a", "1").await;
    let range = op(Request::RequestRange(between("a", "z")));
    let read = v3.txn(then(vec![range, op_delete("missing", "")])).await.unwrap();
    assert_eq!(revision(read.header), 2);
    assert_eq!(revision(v3.txn(pb::TxnRequest::default()).await.unwrap().header), 2);
}

#[tokio::test]
async fn the_other_way_is_taken_where_a_comparison_does_not_hold() {
    let (_server, v3) = start();
    let request = pb::TxnRequest {
        compare: vec![compare("a", CompareResult::Greater, CompareTarget::Version, TargetUnion::Version(0))],
        success: vec![op_put("a", "there")],
        failure: vec![op_put("a", "new")],
    };
    assert!(!v3.txn(request.clone()).await.unwrap().succeeded);
    assert!(v3.txn(request).await.unwrap().succeeded);
    assert_eq!(v3.range(get("a")).await.unwrap().kvs[0].value, "there");
}

#[tokio::test]
async fn a_transaction_that_cannot_be_is_refused_whole_and_in_etcds_words() {
    let (_server, v3) = start();
    v3.put("a", "1").await;
    let invalid = |text: &str| (Code::InvalidArgument, text.to_owned());
    let duplicate = invalid("etcdserver: duplicate key given in txn request");
    let no_key = invalid("etcdserver: key is not provided");
    let future = pb::RangeRequest { revision: 99, ..get("a") };
    let leased = pb::PutRequest { lease: 404, ..put("b", "") };
    let kept = pb::PutRequest { ignore_lease: true, ..put("b", "") };
    let refusals = [
        (then(vec![op_put("b", "1"), op_put("b", "2")]), duplicate.clone()),
        (then(vec![op_delete("b", "d"), op_put("c", "2")]), duplicate.clone()),
        (then(vec![op_put("c", "2"), op_txn(then(vec![op_put("c", "3")]))]), duplicate),
        (then(vec![op_put("", "1")]), no_key.clone()),
        (then(vec![op_put("b", "1"), op_get("")]), no_key),
        (then(vec![op_get("a"); 129]), invalid("etcdserver: too many operations in txn request")),
        (then(vec![op_put("b", "1"), pb::RequestOp::default()]), invalid("etcdserver: key not found")),
        (then(vec![op_put("c", "1"), op(Request::RequestPut(kept))]), invalid("etcdserver: key not found")),
        (
            then(vec![op_put("c", "1"), op(Request::RequestRange(future))]),
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision".to_owned()),
        ),
        (
            then(vec![op_put("c", "1"), op(Request::RequestPut(leased))]),
            (Code::NotFound, "etcdserver: requested lease not found".to_owned()),
        ),
    ];
    for (request, expected) in refusals {
        assert_eq!(v3.txn(request).await.unwrap_err(), expected);
    }
    assert_eq!(revision(v3.range(get("a")).await.unwrap().header), 2, "nothing was written");
    let ways =
        pb::TxnRequest { success: vec![op_put("b", "1")], failure: vec![op_put("b", "2")], ..Default::default() };
    v3.txn(ways).await.unwrap();
    let wide =
        pb::TxnRequest { success: vec![op_get("a"); 128], failure: vec![op_get("a"); 128], ..Default::default() };
    assert_eq!(v3.txn(wide).await.unwrap().responses.len(), 128);
}

#[tokio::test]
async fn what_is_nested_side_by_side_is_bounded_together() {
    let (_server, v3) = start();
    let within = |count| then(vec![op_txn(then(vec![op_get("a"); count])); 40]);
    assert!(v3.txn(within(24)).await.is_ok());
    let (code, text) = v3.txn(within(25)).await.unwrap_err();
    assert_eq!(code, Code::InvalidArgument);
    assert!(text.contains("1024"), "{text}");
}
