//! Fan-out of events to watchers, as a data structure: nothing here waits, wakes or sends.
//!
//! Owns who watches what ([`Filter`], the index), what each watcher has still to be given, and the bound on that
//! ([`Limits`]). Never reads the store: events from before a watcher's registration are the caller's to replay. The
//! seam between the two, for a watcher that has everything up to `after`:
//!
//! 1. [`Hub::register`] says the hub's revision *H*; from now on the hub keeps what comes after it.
//! 2. With `after` below *H*, take an engine snapshot, whose revision *S* is *H* or later, and replay what is after
//!    `after` up to *S*, through the same [`Filter`].
//! 3. [`Hub::skip_through`] *S*: the hub drops what the replay has shown. Until then [`Hub::take`] gives nothing.
//! 4. [`Hub::take`] until it answers [`Delivery::Idle`]; wait until [`Hub::publish`] names the watcher; again.
//!
//! One transaction is one revision: its events enter a watcher's queue together or not at all, and a watcher that
//! cannot keep up is told the revision to resume after, never moved ahead. What all watchers hold is counted and bounded, too:
//! beyond that, those that have waited the longest lag.

mod filter;
mod held;
mod hub;
mod index;
mod watcher;

#[cfg(test)]
mod claims;

pub use filter::{Filter, Followed, Kinds};
pub use hub::{Hub, Limits, WatcherId};
pub use watcher::{Delivery, Piece};
