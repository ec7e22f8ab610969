//! Clients of etcd's v3 API that nobody here wrote, each run as a stranger would run it, against real etcd 3.4 and against Vardr, in
//! the same run: what they print, and how they end, is compared line by line.
//!
//! `both.rs` starts the two servers, `said.rs` takes out of a text what belongs to one of them and compares, `page.rs` holds
//! `docs/conformance.md` to what was seen. `etcdctl.rs` is etcd's command line client, in two versions; `programs.rs` are programs that
//! use a library, each in a folder of its own; `crossing.rs` is what holds between the dialects.
//!
//! `UPDATE_GOLDEN=1` writes the page anew.

#![cfg(test)]

mod both;
mod crossing;
mod etcdctl;
mod page;
mod programs;
mod said;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

/// How long anything awaited may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
