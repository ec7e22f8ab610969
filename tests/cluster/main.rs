//! Clusters of real processes, of which something is broken on purpose: killed, stopped, cut off, slowed down, emptied, filled up,
//! robbed of power.
//!
//! Clients write and read all the while and keep a record (`load.rs`, `record.rs`), watchers follow (`follower.rs`), and
//! the judge (`check.rs`) holds the record against the history that the cluster tells afterwards. `fault.rs` says what is
//! broken, `links.rs` is the network, `cluster.rs` and `member.rs` the processes.
//!
//! `make soak-cluster` makes many runs with everything drawn from a seed; `CLUSTER_SEED` and `CLUSTER_RUNS` say which.

#![cfg(test)]

mod check;
mod clocks;
mod cluster;
mod failover;
mod fault;
mod faults;
mod follower;
mod full;
mod guide;
mod leases;
mod links;
mod load;
mod locks;
mod lost;
mod member;
mod members;
mod record;
mod recovery;
mod run;
mod snapshots;
mod starting;
#[path = "../support/mod.rs"]
mod support;

use tokio::sync::RwLock;

/// Held for reading by every test that others may run beside, and for writing by those that measure time.
static MACHINE: RwLock<()> = RwLock::const_new(());
