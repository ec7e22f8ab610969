//! Revisions over bytes: the key space at present and at every revision that is not compacted.
//!
//! [`View`] reads one moment of the store, [`Overlay`] changes it within one apply batch. Three keyspaces hold it all:
//! `kv` the present records, `tombstones` the deletions that are not compacted, `history` the events in blocks. There
//! is no index of versions: every event holds the record it replaced and the revision of the key's event before it,
//! so a read of the past starts at the key's present state and walks back. That costs a put nothing.
//!
//! Compaction at C is one number. At once and on every member, whatever is swept when: events and deletions below C
//! are invisible, pointers below C count as 0, reads below C are refused. What happened *at* C stays visible, so that
//! states can be read from C on and a watch may start at C. Because an event holds what it replaced, no event below C
//! is needed for any of this, and the sweep only drops.
//!
//! Knows nothing of leases, directories' rules, permissions or time: the state machine decides what is written.

mod block;
mod list;
mod overlay;
mod past;
mod pending;
mod range;
mod reader;
mod recent;
mod restore;
mod scan;
mod sweep;
mod view;
mod walk;

use thiserror::Error;

pub use list::{ListQuery, Listing};
pub use overlay::{Cause, Overlay, Write};
pub use past::{Replay, ReplayBudget};
pub use range::Page;
pub use recent::Recent;
pub use restore::Restore;
pub use sweep::{Progress, Sweep};
pub use view::View;

use crate::model::Revision;
use crate::storage::StorageError;

/// Why a read has no answer. All but the last are the same on every member.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("revision {asked} was compacted; the oldest readable revision is {compacted}")]
    Compacted { asked: Revision, compacted: Revision },
    #[error("revision {asked} is in the future; the store is at {current}")]
    Future { asked: Revision, current: Revision },
    #[error("reading the past at {asked} takes more steps than one request may; narrow the range or the time")]
    TooManySteps { asked: Revision },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<crate::model::codec::CodecError> for ReadError {
    fn from(error: crate::model::codec::CodecError) -> Self {
        Self::Storage(error.into())
    }
}

#[cfg(test)]
mod tests;
