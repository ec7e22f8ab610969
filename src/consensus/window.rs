//! Committed entries on their way to be applied: how much may be handed out before it is.
//!
//! A member that starts with a long log, or catches up, would otherwise hand all of it to the applier at once.

use std::collections::VecDeque;

use crate::model::{Index, LogEntry};

/// The payload bytes that may be handed out and not yet applied; a larger entry travels alone.
pub(super) const MAX_UNAPPLIED_BYTES: usize = 32 * 1024 * 1024;
/// The same in entries, which also bounds what many small ones cost.
const MAX_UNAPPLIED_ENTRIES: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct ApplyWindow {
    waiting: VecDeque<LogEntry>,
    /// Handed out and not yet applied, with their payload's bytes.
    out: VecDeque<(Index, usize)>,
    out_bytes: usize,
    last_out: Index,
}

impl ApplyWindow {
    pub(super) fn new(applied: Index) -> Self {
        Self { last_out: applied, ..Self::default() }
    }

    pub(super) fn extend(&mut self, entries: impl IntoIterator<Item = LogEntry>) {
        self.waiting.extend(entries);
    }

    /// The entries that may be applied next.
    pub(super) fn take(&mut self) -> Vec<LogEntry> {
        let mut taken = Vec::new();
        while let Some(entry) = self.waiting.pop_front_if(|entry| {
            self.out.is_empty()
                || (self.out.len() < MAX_UNAPPLIED_ENTRIES && self.out_bytes + entry.data.len() <= MAX_UNAPPLIED_BYTES)
        }) {
            self.out.push_back((entry.index, entry.data.len()));
            self.out_bytes += entry.data.len();
            self.last_out = entry.index;
            taken.push(entry);
        }
        taken
    }

    /// A snapshot takes the place of everything up to `index`: what waits below it is not handed out any more.
    pub(super) fn install(&mut self, index: Index) {
        self.waiting.retain(|entry| entry.index > index);
        self.last_out = self.last_out.max(index);
    }

    /// The payload bytes handed out and not yet applied.
    pub(super) fn out_bytes(&self) -> usize {
        self.out_bytes
    }

    /// Everything up to `index` is applied. Returns how far that can be believed: nothing beyond what was handed out.
    pub(super) fn applied(&mut self, index: Index) -> Index {
        let index = index.min(self.last_out);
        while let Some((_, bytes)) = self.out.pop_front_if(|(out, _)| *out <= index) {
            self.out_bytes -= bytes;
        }
        index
    }
}
