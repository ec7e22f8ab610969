//! Transactions: which way one goes, whether all of it can be carried out, and then carrying it out.
//!
//! As in etcd v3, every comparison, nested ones included, is made on the state before the transaction. So the
//! operations that will be carried out are known, and each can be checked, before the first write. Every key is written
//! at most once.

use std::collections::{BTreeSet, VecDeque};

use super::tree::{Removed, target_range};
use super::work::{Stop, Work};
use crate::model::{
    Action, Attach, Compare, CompareTarget, Key, KeyRange, LeaseId, Op, OpOutcome, Operation, Operator, Outcome, Put,
    RangeQuery, RangeResult, Record, Refusal, Revision, Txn,
};
use crate::mvcc::Write;
use crate::storage::Snapshot;

/// What is known of a transaction before it is carried out, in the order in which that happens.
#[derive(Default)]
struct Plan {
    /// Whether the comparisons of each transaction held: the outer one, then those within it.
    succeeded: VecDeque<bool>,
    /// What its reads of the past found. They do not depend on its writes.
    past: VecDeque<RangeResult>,
    /// The ids of leases to be made.
    own: BTreeSet<LeaseId>,
}

impl<S: Snapshot> Work<'_, S> {
    pub(super) fn txn(&mut self, txn: Txn) -> Result<Outcome, Stop> {
        Touched::of_txn(&txn)?;
        let mut plan = Plan::default();
        let mut reads = Vec::new();
        self.plan(&txn, &mut plan, &mut reads)?;
        for query in reads {
            plan.past.push_back(self.overlay.range(query)?);
        }
        let (succeeded, results) = self.carry_out(txn, &mut plan)?;
        Ok(Outcome::Txn { succeeded, results })
    }

    /// Makes the comparisons and checks the writes of the branch taken; gives its reads of the past. As in etcd, all writes are refused
    /// before any read is.
    fn plan<'t>(&mut self, txn: &'t Txn, plan: &mut Plan, reads: &mut Vec<&'t RangeQuery>) -> Result<(), Stop> {
        let mut succeeded = true;
        for compare in &txn.compares {
            succeeded = succeeded && self.compare(compare)?;
        }
        plan.succeeded.push_back(succeeded);
        for op in if succeeded { &txn.then } else { &txn.otherwise } {
            match op {
                Op::Put(put) => self.check_put(put, plan)?,
                Op::Delete(delete) => self.check_deletable(&delete.target)?,
                Op::Get(query) if query.revision.is_some() => reads.push(query),
                Op::Get(_) => {}
                Op::Txn(inner) => self.plan(inner, plan, reads)?,
            }
        }
        Ok(())
    }

    /// Unlike a put that is alone, one of a transaction is asked for its key first, as in etcd.
    fn check_put(&mut self, put: &Put, plan: &mut Plan) -> Result<(), Stop> {
        if put.keeps() && self.load(&put.key)?.is_none() {
            return Err(Refusal::KeyNotFound.into());
        }
        self.check_attach(put.attach)?;
        if let Attach::Own { id, .. } = put.attach
            && !plan.own.insert(id)
        {
            return Err(Refusal::LeaseExists(id).into());
        }
        Ok(())
    }

    fn compare(&mut self, compare: &Compare) -> Result<bool, Stop> {
        let Compare { range, operator, target } = compare;
        if let Some(key) = range.as_single().cloned().and_then(Key::new) {
            let record = self.load(&key)?;
            return Ok(compare_record(record, *operator, target));
        }
        let found = self.overlay.range(&RangeQuery::all(range.clone()))?;
        if found.items.is_empty() {
            return Ok(compare_record(None, *operator, target));
        }
        Ok(found.items.iter().all(|item| compare_record(Some(&item.record), *operator, target)))
    }

    fn carry_out(&mut self, txn: Txn, plan: &mut Plan) -> Result<(bool, Vec<OpOutcome>), Stop> {
        let succeeded = plan.succeeded.pop_front().unwrap_or_default();
        let ops = if succeeded { txn.then } else { txn.otherwise };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                Op::Put(put) => self.txn_put(put)?,
                Op::Delete(delete) => {
                    let cause = self.cause(Operation::Transaction, Action::Delete);
                    let Removed { count, items } = self.remove_target(&delete, &cause)?;
                    OpOutcome::Delete { deleted: count, previous: items }
                }
                Op::Get(query) if query.revision.is_some() => OpOutcome::Get(plan.past.pop_front().unwrap_or_default()),
                Op::Get(query) => OpOutcome::Get(self.overlay.range(&query)?),
                Op::Txn(inner) => {
                    let (succeeded, results) = self.carry_out(inner, plan)?;
                    OpOutcome::Txn { succeeded, results }
                }
            });
        }
        Ok((succeeded, results))
    }

    fn txn_put(&mut self, put: Put) -> Result<OpOutcome, Stop> {
        let Put { key, value, content_type, attach, previous } = put;
        let present = self.load(&key)?.cloned();
        let created = present.is_none();
        let lease = self.attach(attach, present.as_ref().and_then(|record| record.lease));
        let (value, content_type) = match (value, present) {
            (Some(value), _) => (value, content_type),
            (None, present) => present.map(|record| (record.value, record.content_type)).unwrap_or_default(),
        };
        let action = if created { Action::Create } else { Action::Update };
        let cause = self.cause(Operation::Transaction, action);
        let written = self.put(key, Write { value, content_type, lease, anew: false }, &cause)?;
        Ok(OpOutcome::Put { now: written.now, previous: written.previous.filter(|_| previous) })
    }
}

/// Compares a record, or an absent key's zeros, with what is given. An absent key has no value to compare.
fn compare_record(record: Option<&Record>, operator: Operator, target: &CompareTarget) -> bool {
    let zero = |field: fn(&Record) -> Revision| record.map_or(Revision::ZERO, field);
    let ordering = match target {
        CompareTarget::Value(value) => match record {
            Some(record) => (*record.value).cmp(value),
            None => return false,
        },
        CompareTarget::Version(version) => record.map_or(0, |record| record.version).cmp(version),
        CompareTarget::CreateRevision(revision) => zero(|record| record.create_revision).cmp(revision),
        CompareTarget::ModRevision(revision) => zero(|record| record.mod_revision).cmp(revision),
        CompareTarget::Lease(lease) => {
            let present = record.and_then(|record| record.lease).unwrap_or(LeaseId::ZERO);
            present.get().cast_signed().cmp(&lease.get().cast_signed())
        }
    };
    match operator {
        Operator::Equal => ordering.is_eq(),
        Operator::NotEqual => ordering.is_ne(),
        Operator::Less => ordering.is_lt(),
        Operator::LessOrEqual => ordering.is_le(),
        Operator::Greater => ordering.is_gt(),
        Operator::GreaterOrEqual => ordering.is_ge(),
    }
}

/// The keys that operations put and the ranges that they delete.
///
/// Two operations that can both happen may not put the same key, nor may one delete what another puts, in either order
/// and on any level. (etcd's `checkIntervals` lets a nested transaction put what a later one deletes; one event per key
/// and revision leaves no room for that.)
#[derive(Default)]
struct Touched {
    puts: BTreeSet<Key>,
    deletes: Vec<KeyRange>,
}

impl Touched {
    /// Either of the branches is taken: what one touches does not disturb the other.
    fn of_txn(txn: &Txn) -> Result<Self, Refusal> {
        let mut touched = Self::of_ops(&txn.then)?;
        let otherwise = Self::of_ops(&txn.otherwise)?;
        touched.puts.extend(otherwise.puts);
        touched.deletes.extend(otherwise.deletes);
        Ok(touched)
    }

    fn of_ops(ops: &[Op]) -> Result<Self, Refusal> {
        let mut touched = Self::default();
        for op in ops {
            match op {
                Op::Put(put) => touched.put(put.key.clone())?,
                Op::Delete(delete) => touched.delete(target_range(&delete.target))?,
                Op::Get(_) => {}
                Op::Txn(inner) => {
                    let inner = Self::of_txn(inner)?;
                    // Against what came before, not against each other: the branches of `inner` exclude each other.
                    for key in &inner.puts {
                        touched.refuse_put(key)?;
                    }
                    for range in &inner.deletes {
                        touched.refuse_delete(range)?;
                    }
                    touched.puts.extend(inner.puts);
                    touched.deletes.extend(inner.deletes);
                }
            }
        }
        Ok(touched)
    }

    fn put(&mut self, key: Key) -> Result<(), Refusal> {
        self.refuse_put(&key)?;
        self.puts.insert(key);
        Ok(())
    }

    fn delete(&mut self, range: KeyRange) -> Result<(), Refusal> {
        self.refuse_delete(&range)?;
        self.deletes.push(range);
        Ok(())
    }

    fn refuse_put(&self, key: &Key) -> Result<(), Refusal> {
        let twice = self.puts.contains(key) || self.deletes.iter().any(|range| range.contains(key.as_bytes()));
        if twice { Err(Refusal::DuplicateKey(key.clone())) } else { Ok(()) }
    }

    fn refuse_delete(&self, range: &KeyRange) -> Result<(), Refusal> {
        if range.is_empty() {
            return Ok(());
        }
        let first =
            self.puts.range::<[u8], _>((std::ops::Bound::Included(&**range.start()), std::ops::Bound::Unbounded));
        match first.into_iter().next().filter(|key| range.contains(key.as_bytes())) {
            Some(key) => Err(Refusal::DuplicateKey(key.clone())),
            None => Ok(()),
        }
    }
}
