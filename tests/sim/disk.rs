//! The log's disk: the real log over a disk in memory that fails, tears, fills up and loses on demand.

use std::collections::VecDeque;
use std::io::ErrorKind;

use vardr::consensus::Persist;
use vardr::model::{ClusterId, Incarnation, Index, LogEntry, MemberId};
use vardr::wal::memory::{MemoryDirectory, Operation};
use vardr::wal::{Batch, Identity, Options, Recovered, SnapshotMark, Wal, WalError};

use crate::chance::Chance;
use crate::life::Death;

/// What is asked of the disk, in order.
#[derive(Debug, Clone)]
pub enum Order {
    /// With the name of the store, where the batch makes a snapshot good.
    Persist(Persist, Option<String>),
    /// The log below this index is needed no more.
    Truncate(Index),
}

/// Takes the next order, with whatever may share its batch.
pub fn take_order(orders: &mut VecDeque<Order>) -> Option<Order> {
    let mut first = orders.pop_front()?;
    if let Order::Persist(waiting, _) = &mut first {
        while let Some(Order::Persist(next, None)) = orders.front()
            && follows(waiting, next)
            && let Some(Order::Persist(next, _)) = orders.pop_front()
        {
            waiting.number = next.number;
            waiting.entries.extend(next.entries);
            waiting.hard_state = next.hard_state.or(waiting.hard_state);
        }
    }
    Some(first)
}

fn follows(waiting: &Persist, next: &Persist) -> bool {
    let first = |entries: &[LogEntry]| entries.first().map(|entry| entry.index);
    match (waiting.entries.last(), first(&next.entries)) {
        (Some(last), Some(first)) => first == last.index.next(),
        _ => true,
    }
}

#[derive(Debug)]
pub struct LogDisk {
    directory: MemoryDirectory,
    /// While the member is up.
    wal: Option<Wal<MemoryDirectory>>,
    options: Options,
    identity: Identity,
}

impl LogDisk {
    pub fn new(member: MemberId, chance: &mut Chance) -> Self {
        let identity = Identity { cluster: ClusterId(1), member, incarnation: Incarnation(1) };
        let segment_bytes = chance.between(8, 64) * 1024;
        let options = Options { segment_bytes, expected: Some(identity) };
        Self { directory: MemoryDirectory::new(), wal: None, options, identity }
    }

    pub fn open(&mut self) -> Result<Recovered, WalError> {
        match Wal::open_with(self.directory.clone(), self.options) {
            Ok((wal, recovered)) => {
                self.wal = Some(wal);
                Ok(recovered)
            }
            Err(WalError::Absent) => {
                self.wal = Some(Wal::create_with(self.directory.clone(), self.identity, self.options)?);
                let identity = self.identity;
                let (hard_state, entries) = Default::default();
                Ok(Recovered { identity, hard_state, entries, snapshot: None, cut_off: None })
            }
            Err(error) => Err(error),
        }
    }

    pub fn append(&mut self, batch: &Batch<'_>) -> Result<(), WalError> {
        self.wal().append(batch)
    }

    /// Carries an order out.
    pub fn carry_out(&mut self, order: &Order) -> Result<(), WalError> {
        match order {
            Order::Persist(Persist { snapshot, entries, hard_state, .. }, store) => {
                let mark = |store: &String| {
                    snapshot.map(|at| SnapshotMark { index: at.index, term: at.term, store: store.clone() })
                };
                let snapshot = store.as_ref().and_then(mark);
                self.append(&Batch { snapshot, entries, hard_state: *hard_state })?;
                self.wal().seal()
            }
            Order::Truncate(index) => {
                self.wal().truncate_front(*index)?;
                self.wal().reserve().map(|_| ())
            }
        }
    }

    pub fn fail_next_sync(&mut self) {
        self.directory.fail(Operation::Sync, 0, ErrorKind::Other);
    }

    /// Nothing more fits on the disk.
    pub fn fill(&mut self) {
        self.directory.set_capacity(Some(self.directory.used()));
    }

    /// The disk does only a few more things, from none to all that one batch takes.
    pub fn stop_soon(&mut self, chance: &mut Chance) {
        if chance.percent(30) {
            // The first half of the sectors only.
            self.directory.fail(Operation::Write, 0, ErrorKind::Other);
        } else {
            self.directory.stop_after(*chance.pick(&[0, 1, 1, 1, 2, 3]));
        }
    }

    /// Ends the faults to come.
    pub fn heal(&mut self) {
        self.directory.heal();
        self.directory.set_capacity(None);
    }

    /// The process is gone. With the power, so is any part of what was not synced.
    pub fn crash(&mut self, death: Death, chance: &mut Chance) {
        self.wal = None;
        self.heal();
        if death == Death::Power {
            let keep = *chance.pick(&[0, 50, 80, 95, 100]);
            self.directory.crash(|_| chance.percent(keep));
        }
    }

    fn wal(&mut self) -> &mut Wal<MemoryDirectory> {
        self.wal.as_mut().expect("the log is written while the member is up")
    }
}
