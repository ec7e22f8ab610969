//! From a key to the watchers it may concern, without looking at the others.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::WatcherId;
use super::filter::{Filter, Keys};
use crate::model::KeyRange;

/// Who watches which keys.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: BTreeMap<Bytes, Ids>,
    /// Prefixes, directories among them.
    prefixes: BTreeMap<Bytes, Ids>,
    /// How many prefixes there are of each length: a key is looked up by its beginnings of these lengths only.
    lengths: BTreeMap<usize, usize>,
    /// Every other range; each is tried for every event.
    ranges: BTreeMap<WatcherId, KeyRange>,
}

impl Index {
    pub(super) fn insert(&mut self, id: WatcherId, filter: &Filter) {
        match filter.keys() {
            Keys::Exact(key) => add(&mut self.exact, key, id),
            Keys::Prefix(prefix) | Keys::Children(prefix) => {
                self.add_prefix(prefix, id);
            }
            Keys::Node(node) => {
                add(&mut self.exact, &node.file, id);
                self.add_prefix(&node.marker, id);
            }
            Keys::Range(range) => {
                self.ranges.insert(id, range.clone());
            }
        }
    }

    pub(super) fn remove(&mut self, id: WatcherId, filter: &Filter) {
        match filter.keys() {
            Keys::Exact(key) => forget(&mut self.exact, key, id),
            Keys::Prefix(prefix) | Keys::Children(prefix) => {
                self.forget_prefix(prefix, id);
            }
            Keys::Node(node) => {
                forget(&mut self.exact, &node.file, id);
                self.forget_prefix(&node.marker, id);
            }
            Keys::Range(_) => {
                self.ranges.remove(&id);
            }
        }
    }

    fn add_prefix(&mut self, prefix: &Bytes, id: WatcherId) {
        add(&mut self.prefixes, prefix, id);
        *self.lengths.entry(prefix.len()).or_default() += 1;
    }

    fn forget_prefix(&mut self, prefix: &Bytes, id: WatcherId) {
        forget(&mut self.prefixes, prefix, id);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    /// Calls `concern` once for each watcher whose range or prefix holds the key.
    pub(super) fn concerned(&self, key: &[u8], mut concern: impl FnMut(WatcherId)) {
        if let Some(ids) = self.exact.get(key) {
            ids.iter().for_each(&mut concern);
        }
        for beginning in self.lengths.keys().map_while(|length| key.get(..*length)) {
            if let Some(ids) = self.prefixes.get(beginning) {
                ids.iter().for_each(&mut concern);
            }
        }
        self.ranges.iter().filter(|(_, range)| range.contains(key)).for_each(|(id, _)| concern(*id));
    }

    /// Whether nobody is in it.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty() && self.lengths.is_empty() && self.ranges.is_empty()
    }
}

/// Watchers of the same keys, in order. Most keys have one, which takes no memory of its own; of very many, each may go first.
#[derive(Debug)]
enum Ids {
    One(WatcherId),
    Many(BTreeSet<WatcherId>),
}

impl Ids {
    fn iter(&self) -> impl Iterator<Item = WatcherId> {
        let (one, many) = match self {
            Self::One(id) => (Some(*id), None),
            Self::Many(ids) => (None, Some(ids)),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }
}

fn add(map: &mut BTreeMap<Bytes, Ids>, key: &Bytes, id: WatcherId) {
    match map.get_mut(key) {
        None => {
            map.insert(key.clone(), Ids::One(id));
        }
        Some(Ids::Many(ids)) => {
            ids.insert(id);
        }
        Some(ids @ Ids::One(_)) => *ids = Ids::Many(ids.iter().chain([id]).collect()),
    }
}

fn forget(map: &mut BTreeMap<Bytes, Ids>, key: &Bytes, id: WatcherId) {
    let Some(ids) = map.get_mut(key) else { return };
    let is_last = match ids {
        Ids::One(only) => *only == id,
        Ids::Many(ids) => {
            ids.remove(&id);
            ids.is_empty()
        }
    };
    if is_last {
        map.remove(key);
    }
}
