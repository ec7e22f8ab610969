//! Newtypes for every number that means something, so that no two can be confused.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
        )]
        pub struct $name(pub u64);

        impl $name {
            /// The smallest value, often "none".
            pub const ZERO: Self = Self(0);

            /// The value as a plain number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The value that follows.
            ///
            /// # Panics
            /// When the 64-bit space is used up, which no running system reaches.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

macro_rules! decimal {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

macro_rules! hexadecimal {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                u64::from_str_radix(text, 16).map(Self)
            }
        }
    )*};
}

number! {
    /// A version of the whole key space. The store starts at 1; every mutating transaction adds exactly 1.
    Revision
}
number! {
    /// A raft term (Raft dissertation, 3.3).
    Term
}
number! {
    /// A position in the raft log, from 1.
    Index
}
number! {
    /// A lease. Shown as lower-case hexadecimal; never 0.
    LeaseId
}
number! {
    /// A member of the cluster. Shown as lower-case hexadecimal; never 0.
    MemberId
}
number! {
    /// The identity of a cluster. Shown as lower-case hexadecimal.
    ClusterId
}
number! {
    /// One life of a member's data directory: a directory made anew has another incarnation.
    Incarnation
}
number! {
    /// Milliseconds since the Unix epoch, as stamped by the leader. Never read from a clock below the shell.
    Timestamp
}
number! {
    /// A time to live in milliseconds.
    Ttl
}

decimal!(Revision, Term, Index, Timestamp);
hexadecimal!(LeaseId, MemberId, ClusterId, Incarnation);

impl Revision {
    /// The revision of an empty store, as in etcd v3: the first write makes revision 2.
    pub const FIRST: Self = Self(1);
}

impl Ttl {
    /// A time to live of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// What is left of one, without what has begun of a millisecond.
    #[must_use]
    pub fn from_duration(left: Duration) -> Self {
        Self(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Names one proposal for ever, so that its outcome finds the one who waits for it and nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize)]
pub struct ProposalId {
    /// The member that took the request.
    pub member: MemberId,
    /// The start of that member's process: a number that no earlier start used.
    pub incarnation: Incarnation,
    /// Counts up from 1 within one start.
    pub sequence: u64,
}
