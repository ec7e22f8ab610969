//! What watchers hold of blocks, counted: each once, however many hold it, until the last of them has let it go.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::watcher::cost;
use crate::model::{Block, Event};

/// A copy of an event is made when its block is this many times larger.
const SHARE_RATIO: usize = 8;
/// The largest block that is held for the sake of a small event, in bytes.
const MAX_SHARED_BYTES: usize = 1024 * 1024;

/// The bytes of all that is held. Readers let go of what they have taken on threads of their own.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<AtomicUsize>);

impl Tally {
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A block that somebody holds.
#[derive(Debug)]
pub(super) struct Held {
    block: Arc<Block>,
    cost: usize,
    tally: Tally,
}

impl Held {
    fn new(block: Arc<Block>, cost: usize, tally: &Tally) -> Arc<Self> {
        tally.0.fetch_add(cost, Ordering::Relaxed);
        Arc::new(Self { block, cost, tally: tally.clone() })
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.block.events
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.tally.0.fetch_sub(self.cost, Ordering::Relaxed);
    }
}

/// A block that is being published, held once for all that want it.
#[derive(Debug)]
pub(super) struct Offered<'a> {
    block: &'a Arc<Block>,
    cost: usize,
    tally: &'a Tally,
    held: OnceCell<Arc<Held>>,
}

impl<'a> Offered<'a> {
    pub(super) fn new(block: &'a Arc<Block>, tally: &'a Tally) -> Self {
        let cost = block.events.iter().map(cost).sum();
        Self { block, cost, tally, held: OnceCell::new() }
    }

    fn hold(&self) -> &Arc<Held> {
        self.held.get_or_init(|| Held::new(Arc::clone(self.block), self.cost, self.tally))
    }
}

/// An event in a block that is being published, with a copy of it once for all that want no more.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    block: &'a Offered<'a>,
    pub(super) index: u32,
    pub(super) event: &'a Event,
    pub(super) cost: usize,
    copy: OnceCell<Arc<Held>>,
}

impl<'a> Offer<'a> {
    pub(super) fn new(block: &'a Offered<'a>, index: u32, event: &'a Event) -> Self {
        Self { block, index, event, cost: cost(event), copy: OnceCell::new() }
    }

    /// Whether the event is in a block that is held.
    pub(super) fn is_in(&self, held: &Held) -> bool {
        Arc::ptr_eq(self.block.block, &held.block)
    }

    /// What to hold for the sake of the event, and where it is there. Who is slow holds no whole block for a small event.
    pub(super) fn hold(&self, is_slow: bool) -> (&Arc<Held>, u32) {
        let is_small = self.cost.saturating_mul(SHARE_RATIO) < self.block.cost;
        if is_small && (is_slow || self.block.cost > MAX_SHARED_BYTES) {
            let copy = || Arc::new(Block { events: vec![self.event.clone()] });
            (self.copy.get_or_init(|| Held::new(copy(), self.cost, self.block.tally)), 0)
        } else {
            (self.block.hold(), self.index)
        }
    }
}
