//! One level of the tree: the keys of a directory and the directories in it.
//!
//! A directory is there when its marker is (the key `/app/`) or any key below. The cost is that of the children: a
//! sub-directory is entered only to see that it holds something, then skipped, however much is below it.

use bytes::Bytes;

use super::ReadError;
use super::range::user_key;
use super::reader::Reader;
use super::scan::{Found, Span};
use super::walk::Walk;
use crate::model::{Key, KeyRange, KeyValue, Record, Revision};
use crate::storage::Snapshot;

/// A key costs less to step over than to look up anew; beyond this many a sub-directory is skipped by a new look-up.
const STEPS_BEFORE_SKIP: u32 = 8;

/// Which directory to list, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// Ends in `/`, or is empty for the top of the key space.
    pub directory: Bytes,
    /// Only what has a name in the directory that begins with this; empty for all.
    pub prefix: Bytes,
    /// Where an earlier page stopped: its [`Listing::next`].
    pub from: Option<Bytes>,
    /// The past revision to list at; `None` for the present.
    pub revision: Option<Revision>,
    /// At most this many keys and directories; `None` for all.
    pub limit: Option<u64>,
    /// A page is cut when its keys and values reach this many bytes.
    pub max_bytes: usize,
    /// Leave the values empty.
    pub keys_only: bool,
    /// Give of each directory what comes first in it, without its value.
    pub heads: bool,
}

/// One level of the tree, in order of key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The keys directly in the directory, its own marker not among them.
    pub items: Vec<KeyValue>,
    /// The directories directly in it, each ending in `/`.
    pub directories: Vec<Key>,
    /// Of each of these directories its marker or, where there is none, the first key below it, with an empty value; none
    /// unless asked for.
    pub heads: Vec<KeyValue>,
    /// Where the next page begins, when there is one.
    pub next: Option<Bytes>,
}

impl<S: Snapshot> Reader<'_, S> {
    pub(super) fn list(&self, query: &ListQuery) -> Result<Listing, ReadError> {
        let past = self.past(query.revision)?;
        let whole = KeyRange::prefix([query.directory.as_ref(), query.prefix.as_ref()].concat());
        let start = query.from.clone().filter(|from| from > whole.start());
        let mut left = KeyRange::new(start.unwrap_or_else(|| whole.start().clone()), whole.end().cloned());
        let mut level = Level::new(query, past.map(|past| self.walk(past)));
        loop {
            let span = Span::new(left);
            let mut stop = Stop::End;
            for item in self.candidates(&span, past, false) {
                let (key, found) = item?;
                if let Some(reason) = level.take(key, found)? {
                    stop = reason;
                    break;
                }
            }
            match stop {
                Stop::End => return Ok(level.listing),
                Stop::Full(next) => return Ok(Listing { next: Some(next), ..level.listing }),
                Stop::Skip(to) => left = KeyRange::new(to, whole.end().cloned()),
            }
        }
    }
}

/// Why a scan stops.
enum Stop {
    /// Nothing is left.
    End,
    /// The page is full; the next one begins here.
    Full(Bytes),
    /// The rest of a sub-directory is of no interest; go on here.
    Skip(Bytes),
}

/// The listing as it grows.
struct Level<'a, 'b, S> {
    query: &'a ListQuery,
    walk: Option<Walk<'b, S>>,
    listing: Listing,
    bytes: usize,
    /// The sub-directory last listed, and how many of its keys were stepped over.
    inside: Option<(Key, u32)>,
}

impl<'a, 'b, S: Snapshot> Level<'a, 'b, S> {
    fn new(query: &'a ListQuery, walk: Option<Walk<'b, S>>) -> Self {
        Self { query, walk, listing: Listing::default(), bytes: 0, inside: None }
    }

    /// Takes the next key into account.
    fn take(&mut self, key: Bytes, found: Found) -> Result<Option<Stop>, ReadError> {
        let rest = key.get(self.query.directory.len()..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        match rest.iter().position(|byte| *byte == b'/') {
            None => self.take_key(key, found),
            Some(slash) => {
                let directory = user_key(key.slice(..=self.query.directory.len() + slash))?;
                self.take_directory(directory, &key, found)
            }
        }
    }

    fn take_key(&mut self, key: Bytes, found: Found) -> Result<Option<Stop>, ReadError> {
        let Some(mut record) = self.resolve(&key, found)? else { return Ok(None) };
        if self.is_full() {
            return Ok(Some(Stop::Full(key)));
        }
        if self.query.keys_only {
            record.value = Bytes::new();
        }
        self.bytes += key.len() + record.value.len();
        self.listing.items.push(KeyValue { key: user_key(key)?, record });
        Ok(None)
    }

    fn take_directory(&mut self, directory: Key, key: &Bytes, found: Found) -> Result<Option<Stop>, ReadError> {
        if let Some((inside, steps)) = &mut self.inside
            && *inside == directory
        {
            *steps += 1;
            let end = KeyRange::prefix(directory.bytes().clone()).end().cloned();
            return Ok(end.filter(|_| *steps > STEPS_BEFORE_SKIP).map(Stop::Skip));
        }
        let head = if self.query.heads {
            let Some(record) = self.resolve(key, found)? else { return Ok(None) };
            // Nobody asks for the value, and one for each directory would be far more than a page.
            Some(KeyValue { key: user_key(key.clone())?, record: Record { value: Bytes::new(), ..record } })
        } else if self.is_there(key, found)? {
            None
        } else {
            return Ok(None);
        };
        if self.is_full() {
            return Ok(Some(Stop::Full(directory.bytes().clone())));
        }
        self.bytes += directory.as_bytes().len() + head.as_ref().map_or(0, |head| head.key.as_bytes().len());
        self.listing.heads.extend(head);
        self.inside = Some((directory.clone(), 0));
        self.listing.directories.push(directory);
        Ok(None)
    }

    fn resolve(&mut self, key: &[u8], found: Found) -> Result<Option<Record>, ReadError> {
        let current = found.decode()?;
        match &mut self.walk {
            None => Ok(current.into_record()),
            Some(walk) => walk.resolve(key, current),
        }
    }

    /// As [`Self::resolve`], without decoding what is certainly there.
    fn is_there(&mut self, key: &[u8], found: Found) -> Result<bool, ReadError> {
        Ok(self.walk.is_none() || self.resolve(key, found)?.is_some())
    }

    fn is_full(&self) -> bool {
        let taken = self.listing.items.len() + self.listing.directories.len();
        let limit = self.query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        taken > 0 && (taken >= limit || self.bytes >= self.query.max_bytes)
    }
}
