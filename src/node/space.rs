//! How much room is left on the disk of the data, ahead of what is still to be written there.
//!
//! The file system is asked now and then. In between, every byte that goes into the log counts several times: the store
//! has yet to take it in. So the room is known to be short before it is, however fast it goes.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use borsh::{BorshDeserialize, BorshSerialize};

/// With less than this left, and what a compaction of the store may need besides, nothing is written that grows it.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// The most that a compaction of the store needs besides: it writes the new before it removes the old.
const MAX_COMPACTION_BYTES: u64 = 448 * 1024 * 1024;
/// With so much free there is room for the largest store, and for all that is written until the file system is asked again.
const ROOMY_BYTES: u64 = 2 * (RESERVE_BYTES + MAX_COMPACTION_BYTES);
/// So much more than the reserve is left before all writes are taken again.
const RECOVERY_BYTES: u64 = 32 * 1024 * 1024;
/// With less than this left, deletions are refused as well.
pub(super) const LAST_BYTES: u64 = 16 * 1024 * 1024;
/// What a byte in the log takes on the disk until the store has settled: once in the log, and in the store's
/// tables as the record, as the event and as what that replaced, and once more while those are merged.
const COST: u64 = 8;

/// What the disk has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Room {
    /// For everything.
    Enough,
    /// Not for what makes the store larger.
    Short,
    /// Only for compaction: deletions keep what they delete until then.
    None,
}

#[derive(Debug)]
pub(super) struct Space {
    /// As the file system last said.
    free: AtomicU64,
    /// What was spent since.
    spent: AtomicU64,
    reserve: AtomicU64,
    /// A [`Room`]. It recovers later than it becomes short.
    room: AtomicU8,
    /// A [`Room`]: what the disks of the others have, as far as they are heard of.
    others: AtomicU8,
}

impl Default for Space {
    /// Enough, until the file system was asked.
    fn default() -> Self {
        let (free, reserve) = (AtomicU64::new(u64::MAX), AtomicU64::new(RESERVE_BYTES));
        Self { free, spent: AtomicU64::new(0), reserve, room: AtomicU8::new(0), others: AtomicU8::new(0) }
    }
}

impl Space {
    /// So many bytes have gone into the log.
    pub(super) fn spend(&self, bytes: u64) {
        self.spent.fetch_add(bytes.saturating_mul(COST), Ordering::Relaxed);
        let left = self.left(0);
        let room = self.room_for(left);
        if room > self.known() {
            self.set(room, left);
        }
    }

    /// Asks the file system, by `free`; and the store how large it is, which means to look at each of its files, only where
    /// that makes a difference.
    ///
    /// # Errors
    /// When the file system does not say.
    pub(super) fn observe<E>(
        &self,
        free: impl FnOnce() -> Result<u64, E>,
        store_bytes: impl FnOnce() -> u64,
    ) -> Result<(), E> {
        let counted = self.spent.load(Ordering::Relaxed);
        let free = free()?;
        self.free.store(free, Ordering::Relaxed);
        self.spent.fetch_sub(counted, Ordering::Relaxed);
        let compaction =
            if free < ROOMY_BYTES { (store_bytes() / 2).min(MAX_COMPACTION_BYTES) } else { MAX_COMPACTION_BYTES };
        self.reserve.store(RESERVE_BYTES + compaction, Ordering::Relaxed);
        let left = self.left(0);
        let (known, room) = (self.known(), self.room_for(left));
        let recovers = room < known && self.room_for(left.saturating_sub(RECOVERY_BYTES)) < known;
        if room > known || recovers {
            self.set(room, left);
        }
        Ok(())
    }

    /// What there is room for, with so many bytes on their way into the log.
    pub(super) fn room(&self, in_flight: u64) -> Room {
        self.known().max(self.room_for(self.left(in_flight)))
    }

    /// The others have room for so much.
    pub(super) fn hear(&self, room: Room) {
        self.others.store(room as u8, Ordering::Relaxed);
    }

    /// What the others have room for.
    pub(super) fn others(&self) -> Room {
        to_room(&self.others)
    }

    fn left(&self, in_flight: u64) -> u64 {
        let spent = self.spent.load(Ordering::Relaxed).saturating_add(in_flight.saturating_mul(COST));
        self.free.load(Ordering::Relaxed).saturating_sub(spent)
    }

    fn room_for(&self, left: u64) -> Room {
        match left {
            left if left >= self.reserve.load(Ordering::Relaxed) => Room::Enough,
            left if left >= LAST_BYTES => Room::Short,
            _ => Room::None,
        }
    }

    fn known(&self) -> Room {
        to_room(&self.room)
    }

    fn set(&self, room: Room, left: u64) {
        self.room.store(room as u8, Ordering::Relaxed);
        match room {
            Room::Enough => tracing::info!(left, "the disk has room again: all writes are served"),
            Room::Short => {
                tracing::warn!(left, "the disk is nearly full: only reads, deletions and compaction are served");
            }
            Room::None => {
                tracing::warn!(left, "the disk is full but for the last: only reads and compaction are served");
            }
        }
    }
}

fn to_room(room: &AtomicU8) -> Room {
    match room.load(Ordering::Relaxed) {
        0 => Room::Enough,
        1 => Room::Short,
        _ => Room::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(space: &Space, free: u64, store: u64) -> Room {
        space.observe(|| Ok::<_, ()>(free), || store).unwrap();
        space.room(0)
    }

    #[test]
    fn room_is_short_from_the_reserve_on_until_it_has_recovered() {
        let space = Space::default();
        assert_eq!(space.room(1 << 40), Room::Enough, "nobody has looked yet");
        assert_eq!(observe(&space, RESERVE_BYTES, 0), Room::Enough);
        assert_eq!(observe(&space, RESERVE_BYTES - 1, 0), Room::Short);
        assert_eq!(observe(&space, RESERVE_BYTES + RECOVERY_BYTES - 1, 0), Room::Short);
        assert_eq!(observe(&space, RESERVE_BYTES + RECOVERY_BYTES, 0), Room::Enough);
        assert_eq!(observe(&space, LAST_BYTES - 1, 0), Room::None);
        assert_eq!(observe(&space, LAST_BYTES + RECOVERY_BYTES, 0), Room::Short);
    }

    #[test]
    fn a_large_store_needs_room_for_its_compaction() {
        let space = Space::default();
        assert_eq!(observe(&space, RESERVE_BYTES + 99, 200), Room::Short);
        assert_eq!(observe(&space, RESERVE_BYTES + RECOVERY_BYTES + 100, 200), Room::Enough);
        assert_eq!(observe(&space, RESERVE_BYTES + MAX_COMPACTION_BYTES, u64::MAX), Room::Enough);
    }

    #[test]
    fn a_disk_with_room_for_any_store_is_not_asked_how_large_this_one_is() {
        let space = Space::default();
        let asked = |free: u64| {
            let mut asked = false;
            let store = || {
                asked = true;
                0
            };
            space.observe(|| Ok::<_, ()>(free), store).unwrap();
            asked
        };
        assert!(asked(ROOMY_BYTES - 1));
        assert!(!asked(ROOMY_BYTES));
        assert_eq!(space.room(0), Room::Enough);
        space.spend((ROOMY_BYTES - RESERVE_BYTES - MAX_COMPACTION_BYTES) / COST + 1);
        assert_eq!(space.room(0), Room::Short, "as for the largest");
    }

    #[test]
    fn what_goes_into_the_log_counts_before_the_file_system_is_asked_again() {
        let space = Space::default();
        observe(&space, RESERVE_BYTES + 10 * COST, 0);
        assert_eq!(space.room(10), Room::Enough);
        assert_eq!(space.room(11), Room::Short, "what is on its way counts");
        assert_eq!(space.room(0), Room::Enough);
        space.spend(11);
        assert_eq!(space.room(0), Room::Short);
        assert_eq!(observe(&space, RESERVE_BYTES + RECOVERY_BYTES, 0), Room::Enough);
        space.spend(u64::MAX);
        assert_eq!(space.room(0), Room::None);
    }
}
