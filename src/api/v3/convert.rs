//! Between etcd's messages and the types of the core. Numbers that etcd's clients see as signed are unsigned inside: each
//! conversion says what becomes of the others.

use bytes::Bytes;

use super::errors::Known;
use super::pb;
use crate::api::State;
use crate::model::{Key, KeyRange, KeyValue, LeaseId, Record, Revision};

/// Who answers, from a state at a revision.
pub(super) fn header(api: &State, revision: Revision) -> pb::ResponseHeader {
    let header = api.service().header();
    pb::ResponseHeader {
        cluster_id: header.cluster.get(),
        member_id: header.member.get(),
        revision: signed(revision.get()),
        raft_term: header.term.get(),
    }
}

/// Who answers, from whatever state there is.
pub(super) fn header_now(api: &State) -> pb::ResponseHeader {
    header(api, api.service().header().revision)
}

/// A key; etcd knows none without bytes either.
pub(super) fn key(bytes: Bytes) -> Result<Key, Known> {
    Key::new(bytes).ok_or(Known::EmptyKey)
}

/// The keys from `start` on: without an end that one, with a zero byte for an end all, else those before the end.
pub(super) fn range(start: Bytes, end: Bytes) -> Result<KeyRange, Known> {
    let start = key(start)?;
    Ok(match &*end {
        [] => KeyRange::single(&start),
        [0] => KeyRange::new(start.bytes().clone(), None),
        _ => KeyRange::new(start.bytes().clone(), Some(end)),
    })
}

/// A revision, or version, that exists. No counter of the store comes to 2^63.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A revision that a client gives; one below all is the lowest.
pub(super) fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

/// A lease by the number that etcd's clients know it by: the same 64 bits.
pub(super) fn lease_id(number: i64) -> LeaseId {
    LeaseId(number.cast_unsigned())
}

/// See [`lease_id`].
pub(super) fn lease_number(id: LeaseId) -> i64 {
    id.get().cast_signed()
}

/// A key and its record as etcd shows them.
pub(super) fn key_value(item: KeyValue) -> pb::KeyValue {
    record(item.key.bytes().clone(), item.record)
}

/// See [`key_value`].
pub(super) fn record(key: Bytes, record: Record) -> pb::KeyValue {
    pb::KeyValue {
        key,
        create_revision: signed(record.create_revision.get()),
        mod_revision: signed(record.mod_revision.get()),
        version: signed(record.version),
        value: record.value,
        lease: record.lease.map_or(0, lease_number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(start: &'static str, end: &'static str) -> KeyRange {
        range(Bytes::from_static(start.as_bytes()), Bytes::from_static(end.as_bytes())).unwrap()
    }

    #[test]
    fn the_end_of_a_range_says_how_far_it_goes() {
        assert_eq!(of("a", "").as_single().unwrap(), "a");
        assert_eq!(of("a", "\0").end(), None);
        assert!(of("a", "b").contains(b"aa") && !of("a", "b").contains(b"b"));
        assert!(of("b", "a").is_empty() && of("a", "a").is_empty());
        assert_eq!(range(Bytes::new(), Bytes::from_static(b"\0")), Err(Known::EmptyKey));
    }

    #[test]
    fn a_lease_keeps_its_bits_both_ways() {
        for number in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert_eq!(lease_number(lease_id(number)), number);
        }
    }
}
