//! Vardr: a replicated, versioned key space over HTTP.
//!
//! The order of the modules below is the order of dependency: a module may use those above it, never
//! those below. Everything down to [`watch`] is the core: no async, no clock, no socket, no thread and
//! no randomness, so that whole clusters run inside one simulated process.

pub mod model;

pub mod storage;

pub mod wal;

pub mod mvcc;

pub mod machine;

pub mod consensus;

pub mod watch;

pub mod observe;

pub mod node;

pub mod cluster;

pub mod service;

pub mod api;

pub mod config;

pub mod cli;

pub mod server;
