//! Why a connection between members ended, or never came to be.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use thiserror::Error;

use super::Refusal;

/// Why a connection ended, or never came to be.
#[derive(Debug, Error)]
pub enum ConnectionError {
    #[error("no peer URL of it is known")]
    NoUrl,
    #[error("{0} is not of the form http://host:port")]
    Url(String),
    #[error("it cannot be reached: {0}")]
    Connect(io::Error),
    #[error("it gives no answer")]
    Silent,
    #[error("it refuses: {0}")]
    Refused(Refusal),
    #[error("its connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("it closed the connection")]
    Closed,
    #[error("it takes nothing for {} ms", after.as_millis())]
    Stalled { after: Duration },
    #[error("its peer URLs have changed")]
    Moved,
    #[error("it has made a new connection, or was removed")]
    Replaced,
    #[error("it was removed, or is one too many of those that this member does not know")]
    Unwanted,
    #[error("a frame of {bytes} bytes, of which {most} are allowed")]
    TooLong { bytes: usize, most: usize },
    #[error("a frame with a wrong checksum")]
    Damaged,
    #[error("bytes that cannot be read: {0}")]
    Unreadable(String),
    #[error("a message that is not from it to this member")]
    Misdirected,
    #[error("something that has no place in the protocol between members")]
    Unexpected,
    #[error("a request of HTTP: clients belong on the client URL")]
    Http,
}

impl ConnectionError {
    pub(super) fn unreadable(error: impl Display) -> Self {
        Self::Unreadable(error.to_string())
    }
}
