//! Reading a range: what can be asked and what comes back.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{KeyRange, KeyValue, Revision};

/// What a result is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub enum SortBy {
    #[default]
    Key,
    Version,
    CreateRevision,
    ModRevision,
    Value,
}

/// A read of a range. `Default` asks for all of nothing; set `range`.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RangeQuery {
    pub range: KeyRange,
    /// The past revision to read at; `None` for the present.
    pub revision: Option<Revision>,
    /// At most this many records; `None` for all.
    pub limit: Option<u64>,
    /// Leave the values empty.
    pub keys_only: bool,
    /// Answer only with the count.
    pub count_only: bool,
    pub sort_by: SortBy,
    pub descending: bool,
    /// Bounds on the records returned, both inclusive. They do not change `count`, as in etcd.
    pub min_mod_revision: Option<Revision>,
    pub max_mod_revision: Option<Revision>,
    pub min_create_revision: Option<Revision>,
    pub max_create_revision: Option<Revision>,
}

impl RangeQuery {
    /// Everything in `range`, at present, in order of key.
    #[must_use]
    pub fn all(range: KeyRange) -> Self {
        Self {
            range,
            revision: None,
            limit: None,
            keys_only: false,
            count_only: false,
            sort_by: SortBy::Key,
            descending: false,
            min_mod_revision: None,
            max_mod_revision: None,
            min_create_revision: None,
            max_create_revision: None,
        }
    }
}

/// The answer to a [`RangeQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct RangeResult {
    pub items: Vec<KeyValue>,
    /// How many keys the range holds at the revision read, whatever the limit and the bounds.
    pub count: u64,
    /// Whether the limit cut the result short.
    pub more: bool,
}
