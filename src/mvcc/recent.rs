//! The records that were written last: a write finds there what it replaces, in place of a search through the store.
//!
//! Every key has one place, by its checksum, and the newest of its keys is in it. Only what the store certainly holds too is kept,
//! so that nothing depends on what is there and what is not: every member answers alike. Deletions are not kept, since
//! the sweep may drop them from the store at any time.

use bytes::Bytes;

use crate::model::Record;

const PLACES: usize = 16 * 1024;
/// Larger keys and values are not kept: all places together take 16 MiB at most, and a search costs little beside them.
const MAX_BYTES: usize = 1024;

/// Records by key, as of the last batch.
#[derive(Debug, Default)]
pub struct Recent {
    /// Empty until there is something to keep.
    places: Vec<Option<Box<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    key: Bytes,
    record: Record,
}

impl Recent {
    /// The record at a key, where it is kept.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Record> {
        let kept = self.places.get(place(key))?.as_ref()?;
        (kept.key == key).then_some(&kept.record)
    }

    /// Keeps a copy of what is now at a key, so that nothing larger stays in memory with it. `None` forgets the key.
    pub(super) fn put(&mut self, key: &[u8], record: Option<&Record>) {
        let record = record.filter(|record| key.len() + record.value.len() <= MAX_BYTES);
        if self.places.is_empty() && record.is_some() {
            self.places.resize_with(PLACES, || None);
        }
        let Some(place) = self.places.get_mut(place(key)) else { return };
        let copy = |record: &Record| Record { value: Bytes::copy_from_slice(&record.value), ..record.clone() };
        match (record, place) {
            (Some(record), Some(kept)) if kept.key == key => kept.record = copy(record),
            (Some(record), place) => {
                *place = Some(Box::new(Kept { key: Bytes::copy_from_slice(key), record: copy(record) }));
            }
            (None, place) => _ = place.take_if(|kept| kept.key == key),
        }
    }
}

fn place(key: &[u8]) -> usize {
    usize::try_from(crc32c::crc32c(key)).unwrap_or_default() % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Revision;

    fn record(value: &[u8]) -> Record {
        Record {
            value: Bytes::copy_from_slice(value),
            content_type: None,
            create_revision: Revision(1),
            mod_revision: Revision(2),
            version: 2,
            lease: None,
        }
    }

    #[test]
    fn what_was_put_last_is_found_and_what_is_gone_is_not() {
        let mut recent = Recent::default();
        assert_eq!(recent.get(b"/a"), None);
        recent.put(b"/a", Some(&record(b"one")));
        recent.put(b"/a", Some(&record(b"two")));
        assert_eq!(recent.get(b"/a"), Some(&record(b"two")));
        recent.put(b"/a", None);
        assert_eq!(recent.get(b"/a"), None);
    }

    #[test]
    fn a_large_record_takes_the_place_of_the_small_one_before_it_by_being_gone() {
        let mut recent = Recent::default();
        recent.put(b"/a", Some(&record(b"small")));
        recent.put(b"/a", Some(&record(&[0; MAX_BYTES])));
        assert_eq!(recent.get(b"/a"), None);
    }

    #[test]
    fn two_keys_with_one_place_are_never_taken_for_each_other() {
        let names: Vec<_> = (0..PLACES * 2).map(|number| format!("/{number}")).collect();
        let mut recent = Recent::default();
        for name in &names {
            recent.put(name.as_bytes(), Some(&record(name.as_bytes())));
        }
        let mut found = 0;
        for name in &names {
            if let Some(kept) = recent.get(name.as_bytes()) {
                assert_eq!(kept.value, name.as_bytes());
                found += 1;
            }
        }
        assert!(found > PLACES / 2 && found <= PLACES, "{found}");
        // Forgetting a key that is not there leaves the one whose place it shares.
        for name in &names {
            if recent.get(name.as_bytes()).is_none() {
                recent.put(name.as_bytes(), None);
            }
        }
        assert_eq!(names.iter().filter(|name| recent.get(name.as_bytes()).is_some()).count(), found);
    }
}
