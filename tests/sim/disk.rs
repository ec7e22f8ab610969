//! The log's disk: the real log over a disk in memory that fails, tears and loses on demand.

use std::io::ErrorKind;

use vardr::consensus::{Persist, Position};
use vardr::model::{ClusterId, HardState, Incarnation, Index, LogEntry};
use vardr::wal::memory::{MemoryDirectory, Operation};
use vardr::wal::{Batch, Identity, Options, Wal, WalError};

use crate::chance::Chance;
use crate::life::Death;
use crate::world::MEMBER;

const IDENTITY: Identity = Identity { cluster: ClusterId(1), member: MEMBER, incarnation: Incarnation(1) };

/// What the log holds at start.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    pub hard_state: HardState,
    pub snapshot: Option<Position>,
    pub entries: Vec<LogEntry>,
    /// Whether an unfinished batch was cut off.
    pub cut_off: bool,
}

#[derive(Debug)]
pub struct LogDisk {
    directory: MemoryDirectory,
    /// While the member is up.
    wal: Option<Wal<MemoryDirectory>>,
    options: Options,
}

impl LogDisk {
    pub fn new(chance: &mut Chance) -> Self {
        let segment_bytes = chance.between(8, 64) * 1024;
        let options = Options { segment_bytes, expected: Some(IDENTITY) };
        Self { directory: MemoryDirectory::new(), wal: None, options }
    }

    pub fn open(&mut self) -> Result<Opened, WalError> {
        match Wal::open_with(self.directory.clone(), self.options) {
            Ok((wal, recovered)) => {
                self.wal = Some(wal);
                let snapshot = recovered.snapshot.map(|mark| Position { index: mark.index, term: mark.term });
                let cut_off = recovered.cut_off.is_some();
                Ok(Opened { hard_state: recovered.hard_state, snapshot, entries: recovered.entries, cut_off })
            }
            Err(WalError::Absent) => {
                self.wal = Some(Wal::create_with(self.directory.clone(), IDENTITY, self.options)?);
                Ok(Opened::default())
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what waited as one batch.
    pub fn append(&mut self, waiting: &[Persist]) -> Result<(), WalError> {
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut hard_state = None;
        for persist in waiting {
            if let Some(first) = persist.entries.first() {
                entries.retain(|entry| entry.index < first.index);
                entries.extend(persist.entries.iter().cloned());
            }
            hard_state = persist.hard_state.or(hard_state);
        }
        self.wal().append(&Batch { snapshot: None, entries: &entries, hard_state })
    }

    pub fn truncate(&mut self, through: Index) -> Result<(), WalError> {
        self.wal().truncate_front(through.next())
    }

    pub fn fail_next_sync(&mut self) {
        self.directory.fail(Operation::Sync, 0, ErrorKind::Other);
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

    /// The process is gone. With the power, so is any part of what was not synced.
    pub fn crash(&mut self, death: Death, chance: &mut Chance) {
        self.wal = None;
        self.directory.heal();
        if death == Death::Power {
            let keep = *chance.pick(&[0, 50, 80, 95, 100]);
            self.directory.crash(|_| chance.percent(keep));
        }
    }

    fn wal(&mut self) -> &mut Wal<MemoryDirectory> {
        self.wal.as_mut().expect("the log is written while the member is up")
    }
}
