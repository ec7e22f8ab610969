//! Transactions: etcd's checks before anything is asked, and the revision that each answer within one shows.

use bytes::Bytes;
use tonic::Status;

use super::ask::Ask;
use super::convert::{self, header, key_value, lease_id, signed};
use super::errors::Known;
use super::kv;
use super::pb;
use super::pb::compare::{CompareResult, CompareTarget as PbTarget, TargetUnion};
use super::pb::request_op::Request;
use super::pb::response_op::Response;
use crate::api::State;
use crate::model::limits::MAX_TXN_OPS;
use crate::model::{Command, Compare, CompareTarget, Op, OpOutcome, Operator, Outcome, Revision, Txn};

/// Does one thing or another, at one revision.
pub(super) async fn txn(api: &State, ask: &Ask, request: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
    kv::check_size(api, &request)?;
    let txn = txn_op(request, MAX_TXN_OPS)?;
    let done = api.service().write(&ask.call, Command::Txn(txn)).await.map_err(|error| ask.failed(error))?;
    match done.outcome {
        Outcome::Txn { succeeded, results } => {
            let mut revisions = Revisions::of(&results, done.revision);
            let response = revisions.txn(succeeded, results);
            Ok(pb::TxnResponse { header: Some(header(api, done.revision)), ..response })
        }
        other => Err(kv::unexpected("a transaction", &other)),
    }
}

/// What a transaction asks for. As in etcd, `room` bounds the comparisons and the operations of each way, and a transaction
/// within it has as much as it leaves.
fn txn_op(request: pb::TxnRequest, room: usize) -> Result<Txn, Known> {
    let pb::TxnRequest { compare, success, failure } = request;
    let widest = compare.len().max(success.len()).max(failure.len());
    let left = room.checked_sub(widest).ok_or(Known::TooManyOps)?;
    let mut compares = Vec::with_capacity(compare.len());
    for asked in compare {
        compares.extend(compare_op(asked)?);
    }
    let ops = |ops: Vec<pb::RequestOp>| ops.into_iter().map(|asked| op(asked, left)).collect::<Result<_, _>>();
    Ok(Txn { compares, then: ops(success)?, otherwise: ops(failure)? })
}

fn op(asked: pb::RequestOp, room: usize) -> Result<Op, Known> {
    match asked.request {
        Some(Request::RequestRange(request)) => kv::range_query(request).map(Op::Get),
        Some(Request::RequestPut(request)) => kv::put_op(request).map(Op::Put),
        Some(Request::RequestDeleteRange(request)) => kv::delete_op(request).map(Op::Delete),
        Some(Request::RequestTxn(request)) => txn_op(request, room).map(Op::Txn),
        None => Err(Known::KeyNotFound),
    }
}

/// A comparison; `None` where it holds whatever there is.
fn compare_op(asked: pb::Compare) -> Result<Option<Compare>, Known> {
    let range = convert::range(asked.key, asked.range_end)?;
    let Ok(result) = CompareResult::try_from(asked.result) else {
        // etcd takes a result that it does not know for one that holds, of values where there are any.
        let (operator, target) = (Operator::GreaterOrEqual, CompareTarget::Value(Bytes::new()));
        let is_value = PbTarget::try_from(asked.target) == Ok(PbTarget::Value);
        return Ok(is_value.then_some(Compare { range, operator, target }));
    };
    let operator = match result {
        CompareResult::Equal => Operator::Equal,
        CompareResult::Greater => Operator::Greater,
        CompareResult::Less => Operator::Less,
        CompareResult::NotEqual => Operator::NotEqual,
    };
    // A member of the union that is not the target's counts as not given, which is zero.
    let union = asked.target_union;
    let (operator, target) = match PbTarget::try_from(asked.target) {
        Ok(PbTarget::Version) => {
            let number = if let Some(TargetUnion::Version(number)) = union { number } else { 0 };
            let (operator, number) = against(operator, number);
            (operator, CompareTarget::Version(number))
        }
        Ok(PbTarget::Create) => {
            let number = if let Some(TargetUnion::CreateRevision(number)) = union { number } else { 0 };
            let (operator, number) = against(operator, number);
            (operator, CompareTarget::CreateRevision(Revision(number)))
        }
        Ok(PbTarget::Mod) => {
            let number = if let Some(TargetUnion::ModRevision(number)) = union { number } else { 0 };
            let (operator, number) = against(operator, number);
            (operator, CompareTarget::ModRevision(Revision(number)))
        }
        Ok(PbTarget::Value) => {
            let value = if let Some(TargetUnion::Value(value)) = union { value } else { Bytes::new() };
            (operator, CompareTarget::Value(value))
        }
        Ok(PbTarget::Lease) => {
            let number = if let Some(TargetUnion::Lease(number)) = union { number } else { 0 };
            (operator, CompareTarget::Lease(lease_id(number)))
        }
        // etcd takes what it does not know for equal.
        Err(_) if operator == Operator::Equal => return Ok(None),
        Err(_) => (Operator::Less, CompareTarget::Version(0)),
    };
    Ok(Some(Compare { range, operator, target }))
}

/// A comparison of a number that is never negative with one that may be.
fn against(operator: Operator, number: i64) -> (Operator, u64) {
    match (u64::try_from(number), operator) {
        (Ok(number), operator) => (operator, number),
        (Err(_), Operator::NotEqual | Operator::Greater | Operator::GreaterOrEqual) => (Operator::GreaterOrEqual, 0),
        (Err(_), Operator::Equal | Operator::Less | Operator::LessOrEqual) => (Operator::Less, 0),
    }
}

/// Which revision each answer within a transaction shows: the one before it, until an operation has changed something.
struct Revisions {
    now: Revision,
    after: Revision,
}

impl Revisions {
    fn of(results: &[OpOutcome], after: Revision) -> Self {
        let before = Revision(after.get().saturating_sub(1));
        Self { now: if changes(results) { before } else { after }, after }
    }

    fn header(&self) -> pb::ResponseHeader {
        pb::ResponseHeader { revision: signed(self.now.get()), ..pb::ResponseHeader::default() }
    }

    fn txn(&mut self, succeeded: bool, results: Vec<OpOutcome>) -> pb::TxnResponse {
        let responses = results.into_iter().map(|result| pb::ResponseOp { response: Some(self.response(result)) });
        let responses = responses.collect();
        pb::TxnResponse { header: Some(pb::ResponseHeader::default()), succeeded, responses }
    }

    fn response(&mut self, result: OpOutcome) -> Response {
        match result {
            OpOutcome::Put { now, previous } => {
                self.now = self.after;
                let prev_kv = previous.map(|record| convert::record(now.key.bytes().clone(), record));
                Response::ResponsePut(pb::PutResponse { header: Some(self.header()), prev_kv })
            }
            OpOutcome::Delete { deleted, previous } => {
                if deleted > 0 {
                    self.now = self.after;
                }
                let prev_kvs = previous.into_iter().map(key_value).collect();
                let (header, deleted) = (Some(self.header()), signed(deleted));
                Response::ResponseDeleteRange(pb::DeleteRangeResponse { header, deleted, prev_kvs })
            }
            OpOutcome::Get(found) => Response::ResponseRange(kv::range_response(self.header(), found)),
            OpOutcome::Txn { succeeded, results } => Response::ResponseTxn(self.txn(succeeded, results)),
        }
    }
}

fn changes(results: &[OpOutcome]) -> bool {
    results.iter().any(|result| match result {
        OpOutcome::Put { .. } => true,
        OpOutcome::Delete { deleted, previous: _ } => *deleted > 0,
        OpOutcome::Get(_) => false,
        OpOutcome::Txn { succeeded: _, results } => changes(results),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_cannot_be_decides_the_comparison() {
        assert_eq!(against(Operator::Equal, 3), (Operator::Equal, 3));
        assert_eq!(against(Operator::Equal, -1), (Operator::Less, 0));
        assert_eq!(against(Operator::Less, i64::MIN), (Operator::Less, 0));
        assert_eq!(against(Operator::Greater, -1), (Operator::GreaterOrEqual, 0));
        assert_eq!(against(Operator::NotEqual, -1), (Operator::GreaterOrEqual, 0));
    }

    fn get() -> pb::RequestOp {
        let request = pb::RangeRequest { key: Bytes::from_static(b"a"), ..pb::RangeRequest::default() };
        pb::RequestOp { request: Some(Request::RequestRange(request)) }
    }

    fn of(ops: Vec<pb::RequestOp>) -> pb::TxnRequest {
        pb::TxnRequest { success: ops.clone(), failure: ops, ..pb::TxnRequest::default() }
    }

    #[test]
    fn a_transaction_within_another_has_what_that_one_leaves() {
        let within = |operations| pb::RequestOp { request: Some(Request::RequestTxn(of(vec![get(); operations]))) };
        assert!(txn_op(of(vec![get(); 128]), 128).is_ok());
        assert_eq!(txn_op(of(vec![get(); 129]), 128), Err(Known::TooManyOps));
        assert!(txn_op(of(vec![within(127)]), 128).is_ok());
        assert_eq!(txn_op(of(vec![within(128)]), 128), Err(Known::TooManyOps));
    }

    #[test]
    fn an_operation_that_is_none_is_refused() {
        assert_eq!(txn_op(of(vec![pb::RequestOp::default()]), 128), Err(Known::KeyNotFound));
    }
}
