//! What a server costs that does nothing, and what it costs with a million keys: memory and time to start.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::drive::fill;
use crate::requests::Face;
use crate::systems::{Server, System};

/// A server without data.
#[derive(Clone, Copy)]
pub(crate) struct Empty {
    pub(crate) bytes: u64,
    /// From the start of the process to the first answer that says ready, over an empty store that exists.
    pub(crate) start: Duration,
}

/// A server with many keys.
#[derive(Clone, Copy)]
pub(crate) struct Full {
    /// After writing them, settled.
    pub(crate) bytes: u64,
    /// After the restart, settled.
    pub(crate) bytes_restarted: u64,
    /// From the start of the process to ready, after it was asked to end.
    pub(crate) start: Duration,
    /// The same after it was killed.
    pub(crate) start_killed: Duration,
}

pub(crate) fn empty(system: System, starts: usize) -> Result<Empty> {
    let mut server = Server::start(system)?;
    let mut times = (0..starts).map(|_| server.restart(Signal::TERM)).collect::<Result<Vec<_>>>()?;
    times.sort();
    let start = times.get(starts / 2).copied().context("it was never started")?;
    Ok(Empty { bytes: server.settled_bytes()?, start })
}

pub(crate) fn full(face: Face, keys: u64) -> Result<Full> {
    let mut server = Server::start(face.system())?;
    fill(face, server.address, "/bench/many/", keys)?;
    let bytes = server.settled_bytes()?;
    let start = server.restart(Signal::TERM)?;
    let bytes_restarted = server.settled_bytes()?;
    let start_killed = server.restart(Signal::KILL)?;
    Ok(Full { bytes, bytes_restarted, start, start_killed })
}
