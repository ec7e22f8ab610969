//! Applying: the state machine beside the model. Every reply, event, revision and digest is held against it.

use std::collections::BTreeMap;

use vardr::machine::Applied;
use vardr::model::{Block, Index, LogEntry, LogEntryKind, Payload, ProposalId, Refusal, Reply, Revision};
use vardr::mvcc::View;
use vardr::storage::memory::MemorySnapshot;

use vardr::consensus::Input;

use crate::life::Death;
use crate::model::Change;
use crate::world::{Checked, Violation, World, ensure};

/// What an entry must come to, by the model.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    pub replies: Vec<(ProposalId, Reply)>,
    /// The revisions before and after it.
    pub before: Revision,
    pub after: Revision,
}

impl World {
    /// The state machine's present state.
    pub fn view(&mut self) -> Checked<View<MemorySnapshot>> {
        self.alive().machine.view().map_err(|error| Violation(format!("the state cannot be read: {error}")))
    }

    pub fn applied(&mut self) -> Checked {
        let entries = std::mem::take(&mut self.alive().applying);
        let first = entries[0].index;
        for entry in &entries {
            self.expect(entry)?;
        }
        let applied = match self.alive().machine.apply(&entries) {
            Ok(applied) => applied,
            Err(fault) if self.store_fault_planted => {
                self.tell(|| format!("the member stops: {fault}"));
                self.die(Death::Process);
                return Ok(());
            }
            Err(fault) => return Err(Violation(format!("applying fails: {fault}"))),
        };
        self.check_applied(first, &applied)?;
        self.alive().hub.publish(applied.revision, &applied.blocks);
        self.follow_leases(&applied.leases);
        for (id, reply) in &applied.replies {
            if let Some(caller) = self.alive().callers.remove(id) {
                self.answer_write(caller, reply);
            }
        }
        self.alive().applied = applied.index;
        self.input(Input::Applied { index: applied.index })?;
        self.begin_apply();
        Ok(())
    }

    /// Runs the model, where it has not seen the entry yet.
    fn expect(&mut self, entry: &LogEntry) -> Checked {
        if self.expected.contains_key(&entry.index) {
            return Ok(());
        }
        let before = self.model.revision;
        let mut replies = Vec::new();
        if entry.kind == LogEntryKind::Normal && !entry.data.is_empty() {
            let payload =
                Payload::decode(&entry.data).map_err(|error| Violation(format!("entry {}: {error}", entry.index)))?;
            for proposal in &payload.proposals {
                replies.push((proposal.id, self.model.propose(entry.term, proposal)));
                self.judge_leases(proposal)?;
            }
        }
        let after = self.model.revision;
        self.expected.insert(entry.index, Expected { replies, before, after });
        Ok(())
    }

    fn check_applied(&mut self, first: Index, applied: &Applied) -> Checked {
        let Applied { index, revision, replies, blocks, .. } = applied;
        let mut expected = self.expected.range(first..=*index).map(|(_, expected)| expected);
        let before = self.expected[&first].before;
        let after = self.expected[index].after;
        ensure!(*revision == after, "revision {revision} after entry {index}; the model says {after}");
        let wanted: BTreeMap<ProposalId, &Reply> =
            expected.by_ref().flat_map(|expected| &expected.replies).map(|(id, reply)| (*id, reply)).collect();
        for (id, reply) in replies {
            let wanted = wanted.get(id).copied();
            ensure!(
                wanted.is_some_and(|wanted| agree(wanted, reply)),
                "{id:?} came to {reply:?}; the model says {wanted:?}"
            );
        }
        ensure!(wanted.len() == replies.len(), "{} replies to {} proposals", replies.len(), wanted.len());
        self.check_blocks(before, after, blocks)?;
        self.check_digest(*index)
    }

    fn check_blocks(&self, before: Revision, after: Revision, blocks: &[std::sync::Arc<Block>]) -> Checked {
        let found = blocks.iter().flat_map(|block| &block.events).map(Change::from);
        let wanted = self.model.after(before).iter().take_while(|change| change.revision <= after);
        ensure!(found.clone().eq(wanted.cloned()), "events {:?}", found.collect::<Vec<_>>());
        Ok(())
    }

    /// The same index, the same digest, in every life of the member.
    fn check_digest(&mut self, index: Index) -> Checked {
        let digest = self.alive().machine.digest();
        let known = *self.digests.entry(index).or_insert(digest);
        ensure!(known == digest, "digest {digest:?} at entry {index}; before it was {known:?}");
        Ok(())
    }

    /// Everything that is readable is as the model has it.
    pub fn check_state(&mut self) -> Checked {
        let view = self.view()?;
        let query = vardr::model::RangeQuery::all(vardr::model::KeyRange::prefix(""));
        let found = view.range(&query).map_err(|error| Violation(format!("a read fails: {error}")))?;
        let found: Vec<_> = found.items.iter().map(|item| (&item.key, &item.record)).collect();
        let wanted = self.model.at(view.revision());
        ensure!(found == wanted.iter().collect::<Vec<_>>(), "the store holds {found:?}; the model says {wanted:?}");
        Ok(())
    }
}

/// Whether two replies say the same. Of several reasons to refuse, either may be named.
fn agree(wanted: &Reply, found: &Reply) -> bool {
    let precondition = |refusal: &Refusal| matches!(refusal, Refusal::PreconditionFailed { .. });
    match (&wanted.result, &found.result) {
        (Err(one), Err(other)) if !precondition(one) && !precondition(other) => {
            (wanted.revision, wanted.replayed) == (found.revision, found.replayed)
        }
        _ => wanted == found,
    }
}
