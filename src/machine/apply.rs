//! From log entries to what they do: the clock, idempotency, and which command goes where.

use super::Fault;
use super::idempotency::Found;
use super::work::{Stop, Work};
use crate::model::{Command, LeaseCheckpoint, LeaseId, Outcome, Proposal, ProposalId, Refusal, Reply, Revision, Term};
use crate::storage::Snapshot;

impl<S: Snapshot> Work<'_, S> {
    /// Applies one proposal. What it changed is one whole revision, or nothing.
    pub(super) fn propose(&mut self, proposal: Proposal) -> Result<(ProposalId, Reply), Fault> {
        let Proposal { id, author, idempotency, command } = proposal;
        let Some(idempotency) = idempotency else {
            self.author = author;
            return Ok((id, self.answer(command)?));
        };
        let name = match self.kept.look(&self.snapshot, author.as_ref(), &idempotency)? {
            Found::New(name) => name,
            Found::Answered(reply) => return Ok((id, reply)),
            Found::Refused(refusal) => {
                let replayed = matches!(refusal, Refusal::ResultNotKept);
                return Ok((id, Reply { revision: self.overlay.revision(), result: Err(refusal), replayed }));
            }
        };
        self.author = author;
        let reply = self.answer(command)?;
        self.kept.keep(name, idempotency.request_hash, self.now, &reply);
        Ok((id, reply))
    }

    fn answer(&mut self, command: Command) -> Result<Reply, Fault> {
        let result = match self.command(command) {
            Ok(outcome) => Ok(outcome),
            Err(Stop::Refused(refusal)) => {
                debug_assert!(self.overlay.unsealed().is_empty(), "a refused command has changed nothing");
                Err(refusal)
            }
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        self.leases.settle();
        Ok(Reply { revision: self.overlay.seal(), result, replayed: false })
    }

    fn command(&mut self, command: Command) -> Result<Outcome, Stop> {
        match command {
            Command::Noop => Ok(Outcome::Done),
            Command::Put { put, condition } => self.put_key(put, &condition),
            Command::Patch { patch, condition } => self.patch_key(patch, &condition),
            Command::Increment(increment) => self.increment(increment),
            Command::Append(append) => self.append(append),
            Command::CreateDirectory { create, condition } => self.create_directory(create, &condition),
            Command::Delete { delete, condition } => self.delete_keys(&delete, &condition),
            Command::Refresh { refresh, condition } => self.refresh(&refresh, &condition),
            Command::Txn(txn) => self.txn(txn),
            Command::Rollback(rollback) => self.rollback(&rollback),
            Command::Copy(copy) => self.copy(&copy),
            Command::GrantLease { id, ttl } => match self.leases.get(id) {
                Some(_) => Err(Refusal::LeaseExists(id).into()),
                None => Ok(Outcome::Lease(self.leases.grant(id, ttl, false, self.now))),
            },
            Command::RevokeLease(id) => self.revoke_lease(id),
            Command::RenewLeases(ids) => Ok(self.renew_leases(&ids)),
            Command::ExpireLease { id, term, renewals } => self.expire_lease(id, term, renewals),
            Command::CheckpointLeases { term, checkpoints } => self.checkpoint_leases(term, &checkpoints),
            Command::Compact(revision) => self.compact(revision),
            Command::ChangeMember(change) => self.change_member(change),
            Command::RelocateMember { id, peer_urls } => self.relocate_member(id, peer_urls),
            Command::DescribeMember { id, incarnation, name, client_urls } => {
                self.describe_member(id, incarnation, name, client_urls)
            }
            Command::Node(write) => self.write_node(write),
            Command::ChangeAuth(change) => self.change_auth(change),
        }
    }

    fn renew_leases(&mut self, ids: &[LeaseId]) -> Outcome {
        let now = self.now;
        Outcome::Renewed(ids.iter().map(|id| self.leases.renew(*id, None, now)).collect())
    }

    fn checkpoint_leases(&mut self, term: Term, checkpoints: &[LeaseCheckpoint]) -> Result<Outcome, Stop> {
        if term != self.term {
            return Err(Refusal::Stale.into());
        }
        for LeaseCheckpoint { id, remaining, renewals } in checkpoints {
            self.leases.checkpoint(*id, *remaining, *renewals);
        }
        Ok(Outcome::Done)
    }

    fn compact(&mut self, revision: Revision) -> Result<Outcome, Stop> {
        self.overlay.compact(revision)?;
        Ok(Outcome::Done)
    }
}
