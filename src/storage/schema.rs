//! How keys are laid out in every keyspace, and the names in `meta`. The one place that knows a stored key's bytes.
//!
//! Every key begins with a byte that says what it is.
//!
//! | keyspace | key | value |
//! | --- | --- | --- |
//! | meta | `00` | [`Applied`] |
//! | kv, tombstones | `k` user key | decided by mvcc |
//! | history | `b` first revision | a block of events |
//! | leases | `l` lease | [`Lease`] |
//! | leases | `a` lease, user key | nothing |
//! | meta | `m` name | by [`Meta`] |
//! | meta | `i` author, idempotency key | a kept answer |
//! | meta | `r` name | [`Role`] |
//! | meta | `u` name | [`User`] |
//!
//! Numbers are 8 bytes, big-endian, so that their order is that of their bytes.

use std::ops::Bound;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::{BufMut, Bytes};

use super::{Keyspace, Snapshot, StorageError, WriteBatch};
use crate::model::codec;
use crate::model::{Index, KeyRange, Lease, LeaseId, Revision, Role, RoleName, Term, User, UserName};

/// The version of the layout, stored under [`Meta::Format`].
pub const FORMAT: u32 = 5;

/// The version of the values written here, their first byte.
const VERSION: u8 = 1;

const APPLIED: &[u8] = &[0];
const USER: u8 = b'k';
const BLOCK: u8 = b'b';
const LEASE: u8 = b'l';
const ATTACHED: u8 = b'a';
const META: u8 = b'm';
const ANSWER: u8 = b'i';
const ROLE: u8 = b'r';
const SOMEBODY: u8 = b'u';

/// Where a stretch of a keyspace begins and ends.
pub type Bounds = (Bound<Bytes>, Bound<Bytes>);

/// The last log entry that the store holds the effects of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, BorshSerialize, BorshDeserialize)]
pub struct Applied {
    pub index: Index,
    pub term: Term,
}

/// Writes the mark. Each batch of the state machine does so, or the mark proves nothing.
pub fn put_applied(batch: &mut WriteBatch, applied: Applied) {
    batch.put(Keyspace::Meta, APPLIED, codec::encode(VERSION, &applied));
}

/// The mark; `None` in a store that nothing was applied to.
///
/// # Errors
/// When the store cannot be read.
pub fn applied(snapshot: &impl Snapshot) -> Result<Option<Applied>, StorageError> {
    let bytes = snapshot.get(Keyspace::Meta, APPLIED)?;
    Ok(bytes.map(|bytes| codec::decode("applied mark", VERSION, &bytes)).transpose()?)
}

/// The single values of `meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meta {
    /// [`FORMAT`] of the member that made the store.
    Format,
    /// Cluster, member and incarnation that the store belongs to.
    Identity,
    /// The last [`Revision`]. Stored, never recomputed from keys: compaction may remove the key that has it.
    Revision,
    /// The [`Revision`] that was compacted at, 0 before the first time.
    Compacted,
    /// The [`Revision`] below which the sweep has removed everything.
    Swept,
    /// The state machine's clock.
    Clock,
    /// The chained digest of every event so far.
    Digest,
    /// The [`Members`](crate::model::Members).
    Members,
}

impl Meta {
    /// The name in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Identity => "identity",
            Self::Revision => "revision",
            Self::Compacted => "compacted",
            Self::Swept => "swept",
            Self::Clock => "clock",
            Self::Digest => "digest",
            Self::Members => "members",
        }
    }

    /// The key in `meta`.
    #[must_use]
    pub fn key(self) -> Bytes {
        tagged(META, self.name().as_bytes())
    }

    /// Writes the value.
    pub fn put<T: BorshSerialize>(self, batch: &mut WriteBatch, value: &T) {
        batch.put_with(
            Keyspace::Meta,
            |bytes| tagged_into(bytes, META, self.name().as_bytes()),
            |bytes| codec::encode_versioned(bytes, VERSION, value),
        );
    }

    /// Reads the value; `None` where none was written.
    ///
    /// # Errors
    /// When the store cannot be read, or holds something else.
    pub fn get<T: BorshDeserialize>(self, snapshot: &impl Snapshot) -> Result<Option<T>, StorageError> {
        let bytes = snapshot.get(Keyspace::Meta, &self.key())?;
        Ok(bytes.map(|bytes| codec::decode(self.name(), VERSION, &bytes)).transpose()?)
    }
}

/// Where a user key is in `kv` and in `tombstones`.
#[must_use]
pub fn user(key: &[u8]) -> Bytes {
    tagged(USER, key)
}

/// Appends what [`user`] gives.
pub fn user_into(bytes: &mut Vec<u8>, key: &[u8]) {
    tagged_into(bytes, USER, key);
}

/// The user key of a key in `kv` or `tombstones`, sharing its bytes.
///
/// # Errors
/// [`StorageError::Corrupt`] when it is the key of something else.
pub fn user_key(stored: &Bytes) -> Result<Bytes, StorageError> {
    match stored.first() {
        Some(&USER) => Ok(stored.slice(1..)),
        Some(_) | None => Err(misplaced("user key")),
    }
}

/// The bounds in `kv` and `tombstones` of a range of user keys.
#[must_use]
pub fn user_bounds(range: &KeyRange) -> Bounds {
    let end = range.end().map_or_else(|| Bytes::from_static(&[USER + 1]), |end| user(end));
    (Bound::Included(user(range.start())), Bound::Excluded(end))
}

/// The bounds in `kv` and `tombstones` of every user key.
pub const EVERY_USER: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(&[USER]), Bound::Excluded(&[USER + 1]));

/// Where a block is in `history`.
#[must_use]
pub fn block(first: Revision) -> Bytes {
    tagged(BLOCK, &first.get().to_be_bytes())
}

/// The first revision of the block at a key of `history`.
///
/// # Errors
/// [`StorageError::Corrupt`] when it is the key of something else.
pub fn block_revision(stored: &[u8]) -> Result<Revision, StorageError> {
    number(stored, BLOCK).map(|(first, _)| Revision(first)).ok_or_else(|| misplaced("block"))
}

/// Where a lease is in `leases`.
#[must_use]
pub fn lease(id: LeaseId) -> Bytes {
    tagged(LEASE, &id.0.to_be_bytes())
}

/// The bounds in `leases` of every lease, in order of id.
#[must_use]
pub fn leases() -> Bounds {
    every(LEASE)
}

/// The bytes of a lease.
#[must_use]
pub fn encode_lease(lease: &Lease) -> Bytes {
    codec::encode(VERSION, lease)
}

/// Reads the bytes of a lease back.
///
/// # Errors
/// When they are of something else.
pub fn decode_lease(bytes: &[u8]) -> Result<Lease, StorageError> {
    Ok(codec::decode("lease", VERSION, bytes)?)
}

/// Where it is written in `leases` that a user key is attached to a lease.
#[must_use]
pub fn attached(id: LeaseId, key: &[u8]) -> Bytes {
    let mut stored = Vec::with_capacity(9 + key.len());
    stored.put_u8(ATTACHED);
    stored.put_u64(id.0);
    stored.put_slice(key);
    stored.into()
}

/// The bounds in `leases` of the keys attached to one lease, in order of key.
#[must_use]
pub fn attachments(id: LeaseId) -> Bounds {
    let end =
        id.0.checked_add(1).map_or_else(|| Bytes::from_static(&[ATTACHED + 1]), |next| attached(LeaseId(next), &[]));
    (Bound::Included(attached(id, &[])), Bound::Excluded(end))
}

/// The bounds in `leases` of the keys attached to any lease, in order of lease and key.
#[must_use]
pub fn every_attachment() -> Bounds {
    every(ATTACHED)
}

/// The lease of an attachment, and its user key, sharing its bytes.
///
/// # Errors
/// [`StorageError::Corrupt`] when it is the key of something else.
pub fn attachment(stored: &Bytes) -> Result<(LeaseId, Bytes), StorageError> {
    let found = number(stored, ATTACHED).map(|(lease, _)| (LeaseId(lease), stored.slice(9..)));
    found.ok_or_else(|| misplaced("attachment"))
}

/// The user key of an attachment, sharing its bytes.
///
/// # Errors
/// [`StorageError::Corrupt`] when it is the key of something else.
pub fn attached_key(stored: &Bytes) -> Result<Bytes, StorageError> {
    attachment(stored).map(|(_, key)| key)
}

/// Where the answer to an idempotency key of an author is kept in `meta`.
#[must_use]
pub fn answer(author: Option<&str>, key: &str) -> Bytes {
    let mut stored = vec![ANSWER];
    put_answer_name(&mut stored, author, key);
    stored.into()
}

/// The bounds in `meta` of every kept answer.
#[must_use]
pub fn answers() -> Bounds {
    every(ANSWER)
}

/// Where one who may sign in is in `meta`.
#[must_use]
pub fn auth_user(name: &UserName) -> Bytes {
    tagged(SOMEBODY, name.as_str().as_bytes())
}

/// The bounds in `meta` of all of these, in order of name.
#[must_use]
pub fn auth_users() -> Bounds {
    every(SOMEBODY)
}

/// The bytes of one of these.
#[must_use]
pub fn encode_user(user: &User) -> Bytes {
    codec::encode(VERSION, user)
}

/// Reads the bytes of one of these back.
///
/// # Errors
/// When they are of something else.
pub fn decode_user(bytes: &[u8]) -> Result<User, StorageError> {
    Ok(codec::decode("user", VERSION, bytes)?)
}

/// Where a role is in `meta`.
#[must_use]
pub fn auth_role(name: &RoleName) -> Bytes {
    tagged(ROLE, name.as_str().as_bytes())
}

/// The bounds in `meta` of every role, in order of name.
#[must_use]
pub fn auth_roles() -> Bounds {
    every(ROLE)
}

/// The bytes of a role.
#[must_use]
pub fn encode_role(role: &Role) -> Bytes {
    codec::encode(VERSION, role)
}

/// Reads the bytes of a role back.
///
/// # Errors
/// When they are of something else.
pub fn decode_role(bytes: &[u8]) -> Result<Role, StorageError> {
    Ok(codec::decode("role", VERSION, bytes)?)
}

/// Bounds as the engine takes them.
#[must_use]
pub fn as_slices(bounds: &Bounds) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (bounds.0.as_ref().map(Bytes::as_ref), bounds.1.as_ref().map(Bytes::as_ref))
}

/// The length of the author comes first, so that no author and key read like another pair; 0 is for nobody.
fn put_answer_name(stored: &mut Vec<u8>, author: Option<&str>, key: &str) {
    let length = author.map_or(0, |author| author.len() as u64 + 1);
    stored.put_u64(length);
    stored.put_slice(author.unwrap_or_default().as_bytes());
    stored.put_slice(key.as_bytes());
}

fn tagged(tag: u8, rest: &[u8]) -> Bytes {
    let mut stored = Vec::with_capacity(1 + rest.len());
    tagged_into(&mut stored, tag, rest);
    stored.into()
}

fn tagged_into(bytes: &mut Vec<u8>, tag: u8, rest: &[u8]) {
    bytes.push(tag);
    bytes.extend_from_slice(rest);
}

fn every(tag: u8) -> Bounds {
    (Bound::Included(tagged(tag, &[])), Bound::Excluded(tagged(tag + 1, &[])))
}

/// The number after a tag, and what follows it.
fn number(stored: &[u8], tag: u8) -> Option<(u64, &[u8])> {
    let (found, rest) = stored.split_first()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    (*found == tag).then_some((u64::from_be_bytes(*number), rest))
}

fn misplaced(what: &str) -> StorageError {
    StorageError::Corrupt { what: format!("a key that is not that of a {what}") }
}

#[cfg(test)]
mod tests {
    use super::super::Engine;
    use super::super::memory::MemoryEngine;
    use super::*;
    use crate::model::{Key, Timestamp};

    const MARK: Applied = Applied { index: Index(7), term: Term(2) };

    fn inside(bounds: &Bounds, key: &Bytes) -> bool {
        std::ops::RangeBounds::contains(bounds, key)
    }

    #[test]
    fn user_keys_of_any_bytes_are_within_their_bounds() {
        for key in [&b"\0"[..], b"", b"\0applied", b"\xff\xff", b"k"] {
            assert!(inside(&user_bounds(&KeyRange::prefix("")), &user(key)));
            assert_eq!(user_key(&user(key)).unwrap(), key);
        }
        let one = KeyRange::single(&Key::new("a").unwrap());
        assert!(inside(&user_bounds(&one), &user(b"a")));
        assert!(!inside(&user_bounds(&one), &user(b"a\0")));
    }

    #[test]
    fn the_mark_reads_back() {
        let engine = MemoryEngine::new();
        assert_eq!(applied(&engine.snapshot()).unwrap(), None);
        let mut batch = WriteBatch::new();
        put_applied(&mut batch, MARK);
        engine.commit(&batch).unwrap();
        assert_eq!(applied(&engine.snapshot()).unwrap(), Some(MARK));
    }

    #[test]
    fn meta_values_read_back_by_name() {
        let engine = MemoryEngine::new();
        assert_eq!(Meta::Revision.get::<Revision>(&engine.snapshot()).unwrap(), None);
        let mut batch = WriteBatch::new();
        Meta::Revision.put(&mut batch, &Revision(9));
        Meta::Clock.put(&mut batch, &Timestamp(5));
        engine.commit(&batch).unwrap();
        assert_eq!(Meta::Revision.get(&engine.snapshot()).unwrap(), Some(Revision(9)));
        assert_eq!(Meta::Clock.get(&engine.snapshot()).unwrap(), Some(Timestamp(5)));
        assert!(Meta::Clock.get::<(u64, u64)>(&engine.snapshot()).is_err());
    }

    #[test]
    fn attachments_of_one_lease_are_apart_from_all_else() {
        for id in [LeaseId(1), LeaseId(0xff), LeaseId(u64::MAX)] {
            let bounds = attachments(id);
            for key in [&b""[..], b"/a", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
                assert!(inside(&bounds, &attached(id, key)));
                assert!(!inside(&bounds, &attached(LeaseId(id.0 - 1), key)));
                assert_eq!(attached_key(&attached(id, key)).unwrap(), key);
            }
            assert!(!inside(&bounds, &lease(id)));
            assert!(inside(&leases(), &lease(id)));
            assert!(!inside(&leases(), &attached(id, b"/a")));
        }
    }

    #[test]
    fn kept_answers_are_apart_by_author_and_from_all_else() {
        assert_ne!(answer(Some("a"), "bc"), answer(Some("ab"), "c"));
        assert_ne!(answer(None, "x"), answer(Some(""), "x"));
        assert!(inside(&answers(), &answer(None, "")));
        assert!(inside(&answers(), &answer(Some("\u{10ffff}"), "\u{10ffff}")));
        assert!(!inside(&answers(), &Meta::Clock.key()));
    }

    #[test]
    fn users_and_roles_are_apart_from_each_other_and_from_all_else() {
        for name in ["", "a", "\u{10ffff}"] {
            let (user, role) = (auth_user(&UserName::new(name)), auth_role(&RoleName::new(name)));
            assert!(inside(&auth_users(), &user) && !inside(&auth_roles(), &user) && !inside(&answers(), &user));
            assert!(inside(&auth_roles(), &role) && !inside(&auth_users(), &role) && !inside(&answers(), &role));
        }
        assert!(!inside(&auth_users(), &Meta::Clock.key()) && !inside(&auth_roles(), &Meta::Clock.key()));
    }

    #[test]
    fn blocks_are_in_order_of_revision() {
        assert!(block(Revision(255)) < block(Revision(256)));
        assert_eq!(block_revision(&block(Revision(256))).unwrap(), Revision(256));
        assert!(block_revision(APPLIED).is_err());
    }
}
