//! Keys and ranges of keys: arbitrary bytes, ordered bytewise, as in etcd v3.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

/// A key: any non-empty bytes. A key that ends in `/` is a *directory marker*.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Key(Bytes);

impl Key {
    /// A key of these bytes, or `None` when there are none.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes of the key, shared.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether the key is a directory marker: it ends in `/`.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.0.last() == Some(&b'/')
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", String::from_utf8_lossy(&self.0))
    }
}

/// A half-open range of keys: from `start` up to and without `end`; no `end` means to the last key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct KeyRange {
    start: Bytes,
    end: Option<Bytes>,
}

impl KeyRange {
    /// The range `[start, end)`; with no `end`, everything from `start` on.
    #[must_use]
    pub fn new(start: impl Into<Bytes>, end: Option<Bytes>) -> Self {
        Self { start: start.into(), end }
    }

    /// The range that holds one key.
    #[must_use]
    pub fn single(key: &Key) -> Self {
        let mut end = Vec::with_capacity(key.as_bytes().len() + 1);
        end.extend_from_slice(key.as_bytes());
        end.push(0);
        Self { start: key.bytes().clone(), end: Some(end.into()) }
    }

    /// Every key that begins with `prefix`; the whole key space for an empty one.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = prefix_end(&start);
        Self { start, end }
    }

    /// The first key of the range.
    #[must_use]
    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// The key after the last one; `None` where the range has no end.
    #[must_use]
    pub fn end(&self) -> Option<&Bytes> {
        self.end.as_ref()
    }

    /// Whether no key can be in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// The one key of the range, if it was made to hold just one.
    #[must_use]
    pub fn as_single(&self) -> Option<&Bytes> {
        let end = self.end.as_ref()?;
        let (last, rest) = end.split_last()?;
        (*last == 0 && rest == &*self.start).then_some(&self.start)
    }

    /// Whether the range holds `key`.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &*self.start && self.end.as_ref().is_none_or(|end| key < &**end)
    }

    /// Whether some key could be in both ranges.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let starts_before = |a: &Self, b: &Self| b.end.as_ref().is_none_or(|end| a.start < *end);
        !self.is_empty() && !other.is_empty() && starts_before(self, other) && starts_before(other, self)
    }
}

/// The first byte string after every one that begins with `prefix`; `None` when there is no such string.
fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let keep = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix.get(..=keep)?.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_key_has_at_least_one_byte() {
        assert!(Key::new(Bytes::new()).is_none());
        assert!(key("/a/").is_directory());
        assert!(!key("/a").is_directory());
    }

    #[test]
    fn a_prefix_range_holds_what_begins_with_the_prefix() {
        let range = KeyRange::prefix("/a/");
        assert!(range.contains(b"/a/"));
        assert!(range.contains(b"/a/\xff\xff"));
        assert!(!range.contains(b"/a"));
        assert!(!range.contains(b"/a0"));
        assert_eq!(KeyRange::prefix(vec![0x61, 0xff]).end().unwrap().as_ref(), b"b");
        assert!(KeyRange::prefix(vec![0xff]).end().is_none());
        assert!(KeyRange::prefix("").contains(b"anything"));
    }

    #[test]
    fn a_single_range_holds_one_key_and_says_so() {
        let range = KeyRange::single(&key("/a"));
        assert!(range.contains(b"/a"));
        assert!(!range.contains(b"/a\0"));
        assert_eq!(range.as_single().unwrap().as_ref(), b"/a");
        assert!(KeyRange::prefix("/a").as_single().is_none());
    }

    #[test]
    fn ranges_overlap_when_a_key_can_be_in_both() {
        let range = |a: &str, b: &str| KeyRange::new(a.to_owned(), Some(b.to_owned().into()));
        assert!(range("a", "c").overlaps(&range("b", "d")));
        assert!(!range("a", "b").overlaps(&range("b", "c")));
        assert!(KeyRange::new("a", None).overlaps(&range("x", "y")));
        assert!(!range("b", "a").overlaps(&KeyRange::prefix("")));
    }
}
