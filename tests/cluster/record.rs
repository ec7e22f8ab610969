//! What clients did and what they were told: the record that a run is judged by.

use std::time::{Duration, Instant};

/// One request of a client.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) act: Act,
    /// The place of the member that was asked.
    pub(crate) member: usize,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    pub(crate) outcome: Outcome,
}

/// What was asked for. Values are never used twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Put {
        key: String,
        value: String,
    },
    /// A put, provided that the key was last changed at this revision; 0: that there is none.
    Guarded {
        key: String,
        value: String,
        expected: u64,
    },
    /// One more, of a counter that nobody else counts.
    Increment {
        key: String,
    },
    Read {
        key: String,
        consistency: Consistency,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consistency {
    Linearizable,
    Serializable,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Acknowledged: the write is this revision. A counter then was `number`.
    Written { revision: u64, number: Option<u64> },
    /// The condition did not hold as of a revision of the store: the key was last changed at `current`.
    Unmet { revision: u64, current: u64 },
    /// Certainly not done.
    Refused,
    /// Perhaps done.
    Unknown,
    /// The store was at this revision, and the key had this value.
    Seen { revision: u64, value: Option<String> },
    /// A read that has no answer.
    Unanswered,
    /// No answer in the time that the server had for it, and one second more.
    Late,
    /// An answer that the contract does not know.
    Wrong(String),
}

impl Act {
    /// The value that only this write writes.
    pub(crate) fn value(&self) -> Option<&str> {
        match self {
            Self::Put { value, .. } | Self::Guarded { value, .. } => Some(value),
            Self::Increment { .. } | Self::Read { .. } => None,
        }
    }
}

/// A time in which a member could not answer, because the test had stopped it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Silence {
    pub(crate) member: usize,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl Silence {
    /// Whether it excuses an operation. One that wakes up has a moment to find its feet.
    pub(crate) fn covers(&self, operation: &Operation) -> bool {
        let end = self.end + Duration::from_secs(1);
        self.member == operation.member && operation.start <= end && self.start <= operation.end
    }
}

/// A change of a key, as the cluster tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) key: String,
    /// Nothing for a deletion.
    pub(crate) value: String,
}
