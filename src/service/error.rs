//! Why a call was not answered as asked.

use std::sync::Arc;

use thiserror::Error;
use tokio::task::JoinError;

use super::registry::InstanceName;
use crate::consensus::ChangeRefusal;
use crate::model::{Refusal, Revision};
use crate::mvcc;
use crate::node::{ProposeError, ReadError, TransferError};

/// The one error of the service layer. Each dialect has one place that turns it into an answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The state did not allow it. Nothing was changed.
    #[error("{refusal}")]
    Refused {
        refusal: Box<Refusal>,
        /// The store's revision when it was refused.
        revision: Revision,
    },
    /// The leader does not change the members so, as things are. Certainly not carried out.
    #[error(transparent)]
    ChangeRefused(ChangeRefusal),
    #[error(
        "this member listens for no others: start it again with --listen-peer-urls http://HOST:2380, and have the others \
         reach it there by `vardr member update`"
    )]
    NoPeerPort,
    /// The instance was never registered, was deregistered, or did not keep itself alive.
    #[error("there is no instance `{}` of the service `{}`; register it again", name.instance, name.service)]
    NoInstance { name: InstanceName, revision: Revision },
    #[error(
        "the instance `{}` of the service `{}` was written without a time to live, so nothing keeps it alive and nothing \
         has to; register it to give it one", name.instance, name.service
    )]
    NoLease { name: InstanceName, revision: Revision },
    #[error(
        "the value at /services/{name} was written by hand and does not say how an instance is: {why}; register it again"
    )]
    NotAnInstance { name: InstanceName, why: String, revision: Revision },
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{what} of {actual} bytes is larger than the {limit} bytes allowed")]
    TooLarge { what: &'static str, actual: usize, limit: usize },
    /// Certainly not carried out.
    #[error("there is no leader at the moment; try again shortly")]
    NoLeader,
    /// There is nothing to answer from yet. Certainly not carried out.
    #[error(
        "this member has joined and has no state yet: it waits for that of the leader; ask another one, or try again shortly"
    )]
    NoState,
    /// Certainly not carried out.
    #[error("{0}")]
    Overloaded(&'static str),
    #[error("not answered within the time allowed")]
    DeadlineExceeded,
    /// Perhaps carried out.
    #[error("not known to be carried out within the time allowed; it may be, now or later: read before trying again")]
    OutcomeUnknown,
    /// Certainly not carried out: only deletions and compaction may go on, and at the very last only compaction.
    #[error(
        "the disk of a member is nearly full: free some space, delete keys, or compact; reads, compaction and, while there \
         is some room left, deletions still work"
    )]
    NoSpace,
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The member has stopped for good. Certainly not carried out.
    #[error("this member has stopped: {0}")]
    Stopped(Arc<str>),
    #[error("the store could not be read: {0}")]
    Storage(Arc<str>),
}

impl Error {
    /// A refusal computed by a read.
    pub(super) fn refused(refusal: Refusal, revision: Revision) -> Self {
        Self::Refused { refusal: Box::new(refusal), revision }
    }

    /// A read on a thread that may block, whose end nobody heard of.
    pub(super) fn cut_off(error: &JoinError) -> Self {
        Self::Storage(format!("a read was cut off: {error}").into())
    }

    /// What a read of the store came to, at a revision.
    pub(super) fn read(error: mvcc::ReadError, revision: Revision) -> Self {
        match error {
            mvcc::ReadError::Compacted { asked, compacted } => {
                Self::refused(Refusal::Compacted { asked, compacted }, revision)
            }
            mvcc::ReadError::Future { asked, current } => {
                Self::refused(Refusal::FutureRevision { asked, current }, revision)
            }
            mvcc::ReadError::TooManySteps { asked } => Self::refused(Refusal::TooManySteps { asked }, revision),
            mvcc::ReadError::Storage(error) => Self::Storage(error.to_string().into()),
        }
    }
}

impl From<ProposeError> for Error {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NoLeader => Self::NoLeader,
            ProposeError::Overloaded => Self::Overloaded("too many requests are in flight; try again shortly"),
            ProposeError::Refused(refusal) => Self::ChangeRefused(refusal),
            ProposeError::OutcomeUnknown => Self::OutcomeUnknown,
            ProposeError::Stopped(reason) => Self::Stopped(reason),
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NoLeader => Self::NoLeader,
            ReadError::DeadlineExceeded => Self::DeadlineExceeded,
            ReadError::Stopped(reason) => Self::Stopped(reason),
        }
    }
}

impl From<TransferError> for Error {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::NoLeader => Self::NoLeader,
            TransferError::NotTaken => Self::DeadlineExceeded,
            TransferError::Stopped(reason) => Self::Stopped(reason),
        }
    }
}
