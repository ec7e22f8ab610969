//! Claims about transactions.

use super::bed::*;
use crate::model::{
    Attach, Command, Compare, CompareTarget, Delete, DeleteTarget, KeyRange, LeaseId, Op, OpOutcome, Operation,
    Operator, Outcome, Put, RangeQuery, Refusal, Revision, Txn,
};

fn compare(range: KeyRange, operator: Operator, target: CompareTarget) -> Compare {
    Compare { range, operator, target }
}

fn one(at: &str) -> KeyRange {
    KeyRange::single(&key(at))
}

fn op_put(at: &str, value: &str) -> Op {
    Op::Put(plain(at, value))
}

fn op_delete(target: DeleteTarget) -> Op {
    Op::Delete(Delete { target, previous: false })
}

fn op_get(at: &str, revision: Option<u64>) -> Op {
    Op::Get(RangeQuery { revision: revision.map(Revision), ..RangeQuery::all(one(at)) })
}

fn nested(ops: Vec<Op>) -> Op {
    Op::Txn(Txn { then: ops, ..Txn::default() })
}

fn results(outcome: Outcome) -> (bool, Vec<OpOutcome>) {
    match outcome {
        Outcome::Txn { succeeded, results } => (succeeded, results),
        other => panic!("{other:?}"),
    }
}

fn got(result: &OpOutcome) -> Vec<String> {
    match result {
        OpOutcome::Get(found) => {
            found.items.iter().map(|item| String::from_utf8(item.record.value.to_vec()).unwrap()).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn holds(bed: &mut Bed, compare: Compare) -> bool {
    results(bed.ok(Command::Txn(Txn { compares: vec![compare], ..Txn::default() }))).0
}

#[test]
fn all_of_a_transaction_is_one_revision_with_events_in_order_of_key() {
    let mut bed = Bed::new();
    bed.ok(put("/m", "old"));
    let ops = vec![
        op_put("/z", "1"),
        nested(vec![op_put("/b", "2"), nested(vec![op_put("/a", "3")])]),
        op_delete(DeleteTarget::Key(key("/m"))),
    ];
    let reply = bed.run(then(ops));
    assert_eq!(reply.revision, Revision(3));
    assert_eq!(bed.event_keys(), ["/a", "/b", "/m", "/z"]);
    assert!(bed.events().iter().all(|event| event.operation == Operation::Transaction));
}

#[test]
fn reads_see_what_earlier_operations_of_the_transaction_did() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "old"));
    let ops = vec![
        op_get("/a", None),
        op_put("/a", "new"),
        op_get("/a", None),
        op_get("/a", Some(2)),
        op_delete(DeleteTarget::Key(key("/b"))),
        nested(vec![op_get("/a", None)]),
    ];
    let (_, results) = results(bed.ok(then(ops)));
    assert_eq!(got(&results[0]), ["old"]);
    assert_eq!(got(&results[2]), ["new"]);
    assert_eq!(got(&results[3]), ["old"]);
    assert!(matches!(results[4], OpOutcome::Delete { deleted: 0, .. }));
    let OpOutcome::Txn { succeeded: true, results } = &results[5] else { panic!() };
    assert_eq!(got(&results[0]), ["new"]);
}

#[test]
fn the_else_branch_is_taken_when_one_comparison_fails() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    let txn = Txn {
        compares: vec![
            compare(one("/a"), Operator::Equal, CompareTarget::Value(bytes("1"))),
            compare(one("/a"), Operator::Greater, CompareTarget::Version(1)),
        ],
        then: vec![op_put("/then", "")],
        otherwise: vec![op_put("/else", "")],
    };
    assert!(!results(bed.ok(Command::Txn(txn))).0);
    assert_eq!(bed.event_keys(), ["/else"]);
}

#[test]
fn comparisons_follow_the_rules_of_etcd() {
    let mut bed = Bed::new();
    bed.ok(grant(7));
    bed.ok(put_with("/a", "m", lease(7)));
    bed.ok(put("/b", "n"));
    bed.ok(put("/b", "n"));
    let cases = [
        (one("/a"), Operator::Equal, CompareTarget::Lease(LeaseId(7)), true),
        (one("/b"), Operator::Equal, CompareTarget::Lease(LeaseId(0)), true),
        (one("/b"), Operator::Equal, CompareTarget::Version(2), true),
        (one("/b"), Operator::Less, CompareTarget::ModRevision(Revision(5)), true),
        (one("/b"), Operator::GreaterOrEqual, CompareTarget::CreateRevision(Revision(4)), false),
        (one("/b"), Operator::LessOrEqual, CompareTarget::CreateRevision(Revision(3)), true),
        (one("/b"), Operator::Greater, CompareTarget::Value(bytes("m")), true),
        (one("/none"), Operator::Equal, CompareTarget::CreateRevision(Revision(0)), true),
        (one("/none"), Operator::NotEqual, CompareTarget::Value(bytes("q")), false),
        (one("/none"), Operator::Less, CompareTarget::Value(bytes("q")), false),
        (prefix("/"), Operator::Greater, CompareTarget::Version(0), true),
        (prefix("/"), Operator::Greater, CompareTarget::Version(1), false),
        (prefix("/x"), Operator::Greater, CompareTarget::Version(5), false),
        (prefix("/x"), Operator::Less, CompareTarget::Version(5), true),
        (prefix("/x"), Operator::NotEqual, CompareTarget::Value(bytes("")), false),
    ];
    for (range, operator, target, expected) in cases {
        let compare = compare(range, operator, target);
        assert_eq!(holds(&mut bed, compare.clone()), expected, "{compare:?}");
    }
}

#[test]
fn nested_comparisons_see_the_state_before_the_transaction() {
    let mut bed = Bed::new();
    let absent = compare(one("/a"), Operator::Equal, CompareTarget::Version(0));
    let inner = Txn { compares: vec![absent], then: vec![op_put("/b", "")], ..Txn::default() };
    let (_, results) = results(bed.ok(then(vec![op_put("/a", "1"), Op::Txn(inner)])));
    assert!(matches!(results[1], OpOutcome::Txn { succeeded: true, .. }));
    assert_eq!(bed.event_keys(), ["/a", "/b"]);
}

#[test]
fn a_key_touched_twice_is_refused_on_every_level_and_in_either_order() {
    let mut bed = Bed::new();
    bed.ok(put("/p/x", "1"));
    let range = || op_delete(DeleteTarget::Range(prefix("/p/")));
    let single = || op_delete(DeleteTarget::Key(key("/p/x")));
    let cases = [
        vec![op_put("/a", "1"), op_put("/a", "2")],
        vec![op_put("/p/x", "1"), range()],
        vec![range(), op_put("/p/new", "1")],
        vec![single(), op_put("/p/x", "1")],
        vec![op_put("/a", "1"), nested(vec![op_put("/a", "2")])],
        vec![nested(vec![op_put("/a", "2")]), op_put("/a", "1")],
        vec![nested(vec![op_put("/p/x", "2")]), nested(vec![nested(vec![range()])])],
        vec![nested(vec![range()]), nested(vec![op_put("/p/x", "2")])],
        vec![op_delete(directory("/p/", true)), op_put("/p/y", "")],
    ];
    for ops in cases {
        assert!(matches!(bed.refused(then(ops.clone())), Refusal::DuplicateKey(_)), "{ops:?}");
        let unreached = Txn { otherwise: ops, ..Txn::default() };
        assert!(matches!(bed.refused(Command::Txn(unreached)), Refusal::DuplicateKey(_)));
    }
}

#[test]
fn branches_that_exclude_each_other_may_write_the_same_key() {
    let mut bed = Bed::new();
    let either = Txn { then: vec![op_put("/a", "1")], otherwise: vec![op_put("/a", "2")], ..Txn::default() };
    bed.ok(Command::Txn(either.clone()));
    bed.ok(then(vec![Op::Txn(either), op_put("/b", "")]));
    let deletes = vec![
        op_delete(DeleteTarget::Range(prefix("/"))),
        op_delete(DeleteTarget::Range(prefix("/a"))),
        op_get("/a", None),
    ];
    let (_, results) = results(bed.ok(then(deletes)));
    assert!(matches!(results[0], OpOutcome::Delete { deleted: 2, .. }));
    assert!(matches!(results[1], OpOutcome::Delete { deleted: 0, .. }));
}

#[test]
fn a_transaction_that_cannot_be_carried_out_whole_changes_nothing() {
    type Expected = fn(&Refusal) -> bool;
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    bed.ok(put("/d/x", "1"));
    bed.ok(put("/a", "2"));
    bed.ok(Command::Compact(Revision(3)));
    bed.ok(grant(5));
    let with = |attach| Op::Put(Put { attach, ..plain("/l", "") });
    let keep = Op::Put(Put { value: None, ..plain("/none", "") });
    let cases: Vec<(Op, Expected)> = vec![
        (with(lease(9)), |refusal| *refusal == Refusal::LeaseNotFound(LeaseId(9))),
        (with(own(5)), |refusal| *refusal == Refusal::LeaseExists(LeaseId(5))),
        (keep, |refusal| *refusal == Refusal::KeyNotFound),
        (op_get("/a", Some(2)), |refusal| matches!(refusal, Refusal::Compacted { .. })),
        (op_get("/a", Some(5)), |refusal| matches!(refusal, Refusal::FutureRevision { .. })),
        (op_delete(directory("/d/", false)), |refusal| *refusal == Refusal::DirectoryNotEmpty),
    ];
    for (op, expected) in cases {
        let refusal = bed.refused(then(vec![op_put("/b", "1"), nested(vec![op.clone()])]));
        assert!(expected(&refusal), "{op:?}: {refusal:?}");
        bed.ok(Command::Txn(Txn { otherwise: vec![op], ..Txn::default() }));
    }
    assert!(bed.record("/b").is_none());
}

#[test]
fn two_leases_of_one_id_cannot_be_made_in_one_transaction() {
    let mut bed = Bed::new();
    let with = |at| Op::Put(Put { attach: own(5), ..plain(at, "") });
    assert_eq!(bed.refused(then(vec![with("/a"), with("/b")])), Refusal::LeaseExists(LeaseId(5)));
}

#[test]
fn reading_and_deleting_nothing_keep_the_revision() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    let reply = bed.run(then(vec![op_get("/a", None), op_delete(DeleteTarget::Range(prefix("/none")))]));
    assert_eq!((reply.revision, bed.revision()), (Revision(2), 2));
    assert!(bed.events().is_empty());
    assert!(results(bed.ok(Command::Txn(Txn::default()))).0);
}

#[test]
fn a_key_may_take_over_an_own_lease_whose_last_key_goes_in_the_same_transaction() {
    let mut bed = Bed::new();
    bed.ok(put_with("/a", "", own(5)));
    let over = Op::Put(Put { attach: lease(5), ..plain("/b", "") });
    bed.ok(then(vec![op_delete(DeleteTarget::Key(key("/a"))), over]));
    assert_eq!(bed.lease_keys(5), ["/b"]);
    bed.ok(then(vec![op_delete(DeleteTarget::Key(key("/b")))]));
    assert!(bed.lease_ids().is_empty());
    let keep = Op::Put(Put { attach: Attach::Keep, ..plain("/c", "") });
    bed.ok(then(vec![keep]));
    assert_eq!(bed.record("/c").unwrap().lease, None);
}

#[test]
fn a_put_that_keeps_what_must_be_there_creates_nothing() {
    let mut bed = Bed::new();
    let keep = Put { attach: Attach::KeepPresent, ..plain("/a", "1") };
    assert_eq!(bed.refused(then(vec![Op::Put(keep.clone())])), Refusal::KeyNotFound);
    assert_eq!(bed.refused(put_with("/a", "1", Attach::KeepPresent)), Refusal::KeyNotFound);
    bed.ok(grant(5));
    bed.ok(put_with("/a", "0", lease(5)));
    bed.ok(then(vec![Op::Put(keep)]));
    assert_eq!(bed.record("/a").unwrap().lease, Some(LeaseId(5)));
}

#[test]
fn leases_compare_as_signed_numbers() {
    let mut bed = Bed::new();
    bed.ok(grant(u64::MAX));
    bed.ok(put_with("/a", "", lease(u64::MAX)));
    assert!(holds(&mut bed, compare(one("/a"), Operator::Less, CompareTarget::Lease(LeaseId::ZERO))));
}
