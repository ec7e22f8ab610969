//! The claims of the state machine.

mod auth;
mod bed;
mod copy;
mod entries;
mod idempotency;
mod keys;
mod leases;
mod members;
mod nodes;
mod property;
mod rollback;
mod snapshot;
mod speed;
mod txn;
