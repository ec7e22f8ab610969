//! One start of the member: the plumbing between replica, log, state machine and hub that production gives to threads.

use std::collections::{BTreeMap, VecDeque};

use vardr::consensus::{Input, Output, Persist, Replica};
use vardr::machine::StateMachine;
use vardr::model::{Command, Incarnation, Index, LeaseId, LogEntry, Payload, Proposal, ProposalId, Timestamp};
use vardr::watch::Hub;

use crate::engine::SimEngine;
use crate::faults::Bug;
use crate::leases::Deadline;
use crate::world::{Checked, Event, MEMBER, MS, SECOND, World, ensure};

/// The wall clock at virtual time 0, in milliseconds since the Unix epoch.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// A client's operation that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub client: usize,
    pub operation: u64,
}

pub struct Member {
    pub replica: Replica,
    pub machine: StateMachine<SimEngine>,
    pub hub: Hub,
    /// Not yet in an entry.
    pub proposals: VecDeque<Proposal>,
    pub sequence: u64,
    pub callers: BTreeMap<ProposalId, Caller>,
    /// By token: the proposals of an entry.
    tokens: BTreeMap<u64, Vec<ProposalId>>,
    to_write: VecDeque<Persist>,
    pub writing: Vec<Persist>,
    to_apply: VecDeque<LogEntry>,
    pub applying: Vec<LogEntry>,
    contexts: u64,
    tickets: BTreeMap<u64, Vec<Caller>>,
    reads: Vec<(Index, Vec<Caller>)>,
    pub deadlines: BTreeMap<LeaseId, Deadline>,
    pub applied: Index,
}

impl Member {
    pub fn new(replica: Replica, machine: StateMachine<SimEngine>, hub: Hub) -> Self {
        let applied = machine.applied().0;
        Self {
            replica,
            machine,
            hub,
            proposals: VecDeque::new(),
            sequence: 0,
            callers: BTreeMap::new(),
            tokens: BTreeMap::new(),
            to_write: VecDeque::new(),
            writing: Vec::new(),
            to_apply: VecDeque::new(),
            applying: Vec::new(),
            contexts: 0,
            tickets: BTreeMap::new(),
            reads: Vec::new(),
            deadlines: BTreeMap::new(),
            applied,
        }
    }
}

impl World {
    /// The member that an event of its own happens in.
    pub fn alive(&mut self) -> &mut Member {
        self.member.as_mut().expect("events of a member happen while it is up")
    }

    pub fn tick(&mut self) -> Checked {
        self.expire_leases();
        self.check_lateness()?;
        self.input(Input::Tick)
    }

    /// Queues a command of the member's own.
    pub fn propose(&mut self, command: Command) -> ProposalId {
        let starts = self.starts;
        let member = self.alive();
        member.sequence += 1;
        let id = ProposalId { member: MEMBER, incarnation: Incarnation(starts), sequence: member.sequence };
        member.proposals.push_back(Proposal { id, author: None, idempotency: None, command });
        self.soon(Event::Drain, MS);
        id
    }

    /// Puts the proposals that wait into one entry, at times into several.
    pub fn drain(&mut self) -> Checked {
        let time = self.wall_clock();
        while !self.alive().proposals.is_empty() {
            let most = self.chance.between(1, 50);
            let member = self.alive();
            let take = member.proposals.len().min(usize::try_from(most).unwrap());
            let proposals: Vec<Proposal> = member.proposals.drain(..take).collect();
            let token = proposals[0].id.sequence;
            member.tokens.insert(token, proposals.iter().map(|proposal| proposal.id).collect());
            let data = Payload { time, proposals }.encode();
            member.replica.step(Input::Propose { token, data });
        }
        let output = self.alive().replica.poll();
        self.serve(output)
    }

    fn wall_clock(&self) -> Timestamp {
        let ms = EPOCH_MS + self.now / MS;
        Timestamp(ms.checked_add_signed(self.clock_offset).unwrap())
    }

    /// Asks for a ticket, shared by all reads that wait.
    pub fn ask(&mut self, callers: Vec<Caller>) -> Checked {
        let member = self.alive();
        member.contexts += 1;
        let context = member.contexts;
        member.tickets.insert(context, callers);
        self.input(Input::Read { context })
    }

    pub fn input(&mut self, input: Input) -> Checked {
        let output = self.alive().replica.handle(input);
        self.serve(output)
    }

    pub fn serve(&mut self, output: Output) -> Checked {
        let Output { persist, send, commit, reads, dropped_reads, proposed, status, .. } = output;
        ensure!(send.is_empty(), "a lone member speaks: {send:?}");
        if let Some(status) = status {
            self.tell(|| format!("{status:?}"));
        }
        for entry in &commit {
            self.check_commit(entry)?;
        }
        let member = self.alive();
        member.to_apply.extend(commit);
        member.to_write.extend(persist);
        for (context, index) in reads {
            let callers = member.tickets.remove(&context).unwrap_or_default();
            member.reads.push((index, callers));
        }
        for (token, answer) in proposed {
            let ids = self.alive().tokens.remove(&token).unwrap_or_default();
            if answer.is_err() {
                self.refuse(&ids);
            }
        }
        self.begin_write()?;
        self.begin_apply();
        self.serve_reads()?;
        for context in dropped_reads {
            let callers = self.alive().tickets.remove(&context).unwrap_or_default();
            self.ask(callers)?;
        }
        Ok(())
    }

    /// Committed is for ever: no other entry may ever be seen at the index.
    fn check_commit(&mut self, entry: &LogEntry) -> Checked {
        if let Some(before) = self.committed.get(&entry.index) {
            ensure!(before == entry, "committed entry {} was replaced: {before:?} by {entry:?}", entry.index);
            return Ok(());
        }
        let last = self.committed.keys().last().copied().unwrap_or_default();
        ensure!(entry.index == last.next(), "entry {} is committed after {last}", entry.index);
        self.tell(|| format!("commit {} of term {}, {} bytes", entry.index, entry.term, entry.data.len()));
        self.committed.insert(entry.index, entry.clone());
        Ok(())
    }

    /// The disk takes everything that waits as one batch.
    fn begin_write(&mut self) -> Checked {
        let member = self.alive();
        if !member.writing.is_empty() || member.to_write.is_empty() {
            return Ok(());
        }
        member.writing = member.to_write.drain(..).collect();
        let number = member.writing.last().map(|persist| persist.number);
        let delay = self.disk_delay();
        self.after(delay, Event::LogWritten);
        match number {
            Some(number) if self.bug == Some(Bug::AcknowledgeBeforeSync) => self.input(Input::Persisted { number }),
            _ => Ok(()),
        }
    }

    fn disk_delay(&mut self) -> u64 {
        if self.now < self.slow_until {
            self.chance.between(100 * MS, 2 * SECOND)
        } else {
            self.chance.between(200, 5 * MS)
        }
    }

    pub fn log_written(&mut self) -> Checked {
        let Some(number) = self.write_log()? else { return Ok(()) };
        if self.bug != Some(Bug::AcknowledgeBeforeSync) {
            self.input(Input::Persisted { number })?;
        }
        self.begin_write()
    }

    pub fn begin_apply(&mut self) {
        let most = usize::try_from(self.chance.between(1, 20)).unwrap();
        let member = self.alive();
        if !member.applying.is_empty() || member.to_apply.is_empty() {
            return;
        }
        let take = member.to_apply.len().min(most);
        member.applying = member.to_apply.drain(..take).collect();
        let delay = self.chance.between(50, 3 * MS);
        self.after(delay, Event::Applied);
    }

    fn serve_reads(&mut self) -> Checked {
        let member = self.alive();
        let applied = member.applied;
        let ready: Vec<_> = member.reads.extract_if(.., |(index, _)| *index <= applied).collect();
        for caller in ready.into_iter().flat_map(|(_, callers)| callers) {
            self.answer_read(caller)?;
        }
        Ok(())
    }
}
