//! The account of linearizable reads (Raft dissertation, 6.4): which were asked, and which will not be answered.
//!
//! Raft drops a request without a word when there is no leader, when the leader is new or when a message is lost. Here
//! every request ends: answered, or reported as dropped. A context is never asked twice, since an answer to the first
//! request would be a stale answer to the second.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Incarnation, MemberId};

/// The reads waiting at one moment share a ticket, so few are open. Beyond this the oldest is dropped.
const MAX_OPEN: usize = 1024;
/// The bytes of a context between members: member, incarnation and number, so that no two are ever alike.
const CONTEXT_BYTES: usize = 24;

/// Requests by context, from asking to their end.
#[derive(Debug)]
pub(super) struct Reads {
    prefix: [u8; 16],
    /// Ticks that a request may stay open.
    patience: u64,
    now: u64,
    last: Option<u64>,
    /// Asked of raft, each with the tick of asking.
    open: BTreeMap<u64, u64>,
    /// Waiting until this member, a new leader, has committed in its term.
    parked: VecDeque<u64>,
}

impl Reads {
    pub(super) fn new(member: MemberId, incarnation: Incarnation, patience: usize) -> Self {
        let prefix = (u128::from(member.get()) << 64) | u128::from(incarnation.0);
        let patience = u64::try_from(patience).unwrap_or(u64::MAX);
        Self {
            prefix: prefix.to_be_bytes(),
            patience,
            now: 0,
            last: None,
            open: BTreeMap::new(),
            parked: VecDeque::new(),
        }
    }

    /// Whether the context is new. One that is not must be dropped.
    pub(super) fn admit(&mut self, context: u64) -> bool {
        let new = self.last.is_none_or(|last| context > last);
        self.last = self.last.max(Some(context));
        new
    }

    /// Keeps a request until the leader can take it. Returns a request dropped to make room.
    pub(super) fn park(&mut self, context: u64) -> Option<u64> {
        self.parked.push_back(context);
        if self.parked.len() > MAX_OPEN { self.parked.pop_front() } else { None }
    }

    pub(super) fn unpark(&mut self) -> Option<u64> {
        self.parked.pop_front()
    }

    /// Opens a request: the context to ask raft with, and a request dropped to make room.
    pub(super) fn open(&mut self, context: u64) -> (Vec<u8>, Option<u64>) {
        let mut bytes = Vec::with_capacity(CONTEXT_BYTES);
        bytes.extend_from_slice(&self.prefix);
        bytes.extend_from_slice(&context.to_be_bytes());
        self.open.insert(context, self.now);
        let dropped = if self.open.len() > MAX_OPEN { self.open.pop_first() } else { None };
        (bytes, dropped.map(|(context, _)| context))
    }

    /// Ends a request with raft's answer. `None` when it is no request of ours that is still open.
    pub(super) fn close(&mut self, bytes: &[u8]) -> Option<u64> {
        let context = bytes.strip_prefix(&self.prefix)?;
        let context = u64::from_be_bytes(context.try_into().ok()?);
        self.open.remove(&context).map(|_| context)
    }

    /// Passes a tick. Returns the requests that were open too long.
    pub(super) fn tick(&mut self) -> Vec<u64> {
        self.now += 1;
        let Some(oldest) = self.now.checked_sub(self.patience) else { return Vec::new() };
        let late: Vec<u64> =
            self.open.iter().filter(|(_, asked)| **asked <= oldest).map(|(context, _)| *context).collect();
        self.open.retain(|_, asked| *asked > oldest);
        late
    }

    /// Ends all requests: leader or term has changed.
    pub(super) fn drop_all(&mut self) -> impl Iterator<Item = u64> {
        std::mem::take(&mut self.open).into_keys().chain(std::mem::take(&mut self.parked))
    }
}
