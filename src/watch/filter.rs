//! Which events a watcher is told of. The one place that decides it, for live events and for replayed ones.

use bytes::Bytes;

use crate::model::node::is_hidden;
use crate::model::{Event, EventKind, Key, KeyRange, NodePath, Part};

/// A set of kinds of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Every kind.
    pub const ALL: Self = Self(0b111);

    /// These kinds and no other.
    #[must_use]
    pub fn of(kinds: &[EventKind]) -> Self {
        Self(kinds.iter().fold(0, |set, kind| set | Self::bit(*kind)))
    }

    /// Whether the kind is in the set.
    #[must_use]
    pub fn contains(self, kind: EventKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    const fn bit(kind: EventKind) -> u8 {
        match kind {
            EventKind::Put => 0b001,
            EventKind::Delete => 0b010,
            EventKind::Expire => 0b100,
        }
    }
}

/// The keys of a filter, told apart by how they are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keys {
    /// One key.
    Exact(Bytes),
    /// Every key that begins so.
    Prefix(Bytes),
    /// Keys that begin with this directory and have no `/` after it but as their last byte.
    Children(Bytes),
    /// A node of etcd's v2 API: its keys and all below it.
    Node(NodeKeys),
    /// Any other range.
    Range(KeyRange),
}

/// What is watched of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeKeys {
    /// The key of the file; without any bytes for the root.
    pub(super) file: Bytes,
    /// What every other key of the node, and each below it, begins with.
    pub(super) marker: Bytes,
    /// What happens below the node, too.
    recursive: bool,
}

/// What a filter selects, for whoever looks at it: a directory of `/v1` is a prefix that ends in `/`, and so is a node of etcd's v2
/// API with all that is below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    Key(Bytes),
    /// Every key that begins so; without any bytes all keys.
    Prefix(Bytes),
    /// What is directly in this directory.
    Children(Bytes),
    Range(KeyRange),
}

impl Followed {
    /// The key, the prefix, the directory, or where the range begins.
    #[must_use]
    pub fn start(&self) -> &Bytes {
        match self {
            Self::Key(start) | Self::Prefix(start) | Self::Children(start) => start,
            Self::Range(range) => range.start(),
        }
    }
}

/// Which events a watcher is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    keys: Keys,
    kinds: Kinds,
}

impl Filter {
    /// Everything that happens to keys of the range.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        let keys = if let Some(key) = range.as_single() {
            Keys::Exact(key.clone())
        } else if KeyRange::prefix(range.start().clone()) == range {
            Keys::Prefix(range.start().clone())
        } else {
            Keys::Range(range)
        };
        Self { keys, kinds: Kinds::ALL }
    }

    /// What happens one level below a directory: to its keys, to the markers of its sub-directories, and to its own
    /// marker. A directory that is only implied has no marker, so keys below a sub-directory are not heard of.
    ///
    /// `directory` is a marker key (it ends in `/`).
    #[must_use]
    pub fn children(directory: &Key) -> Self {
        Self { keys: Keys::Children(directory.bytes().clone()), kinds: Kinds::ALL }
    }

    /// What a watcher of etcd's v2 API at a node is told of: changes of the node and, with `recursive`, of what is below and
    /// not hidden; and that a directory above it went, with all that was in it.
    #[must_use]
    pub fn node(path: &NodePath, recursive: bool) -> Self {
        let file = Bytes::copy_from_slice(path.as_bytes());
        Self { keys: Keys::Node(NodeKeys { file, marker: path.marker(), recursive }), kinds: Kinds::ALL }
    }

    /// Only events of these kinds.
    #[must_use]
    pub fn only(self, kinds: Kinds) -> Self {
        Self { kinds, ..self }
    }

    /// The smallest range that holds every key of the filter: what a replay reads.
    #[must_use]
    pub fn range(&self) -> KeyRange {
        match &self.keys {
            Keys::Exact(key) => Key::new(key.clone()).map_or_else(
                || KeyRange::new(Bytes::new(), Some(Bytes::from_static(&[0]))),
                |key| KeyRange::single(&key),
            ),
            Keys::Prefix(prefix) | Keys::Children(prefix) => KeyRange::prefix(prefix.clone()),
            Keys::Node(node) => KeyRange::new(node.file.clone(), KeyRange::prefix(node.marker.clone()).end().cloned()),
            Keys::Range(range) => range.clone(),
        }
    }

    /// What it selects.
    #[must_use]
    pub fn followed(&self) -> Followed {
        match &self.keys {
            Keys::Exact(key) => Followed::Key(key.clone()),
            Keys::Prefix(prefix) => Followed::Prefix(prefix.clone()),
            Keys::Children(directory) => Followed::Children(directory.clone()),
            Keys::Node(node) if node.recursive => Followed::Prefix(node.marker.clone()),
            // The root is no file.
            Keys::Node(node) if node.file.is_empty() => Followed::Key(node.marker.clone()),
            Keys::Node(node) => Followed::Key(node.file.clone()),
            Keys::Range(range) => Followed::Range(range.clone()),
        }
    }

    /// Whether the event is one to tell of.
    #[must_use]
    pub fn accepts(&self, event: &Event) -> bool {
        let tells = match &self.keys {
            Keys::Node(node) => node.tells(event),
            Keys::Exact(_) | Keys::Prefix(_) | Keys::Children(_) | Keys::Range(_) => true,
        };
        self.kinds.contains(event.kind) && self.holds(event.key.as_bytes()) && tells
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    fn holds(&self, key: &[u8]) -> bool {
        match &self.keys {
            Keys::Exact(exact) => exact == key,
            Keys::Prefix(prefix) => key.starts_with(prefix),
            Keys::Children(directory) => key.strip_prefix(&**directory).is_some_and(is_one_level),
            Keys::Node(node) => node.file == key || key.starts_with(&node.marker),
            Keys::Range(range) => range.contains(key),
        }
    }
}

impl NodeKeys {
    /// Whether an event of a key that is the node's or below it is told here (etcd's `watcherHub.notifyWatchers`).
    fn tells(&self, event: &Event) -> bool {
        let key = event.key.as_bytes();
        match &event.view.part {
            Part::Silent => false,
            Part::Own | Part::Replaced => self.sees(key.strip_suffix(b"/").unwrap_or(key)),
            Part::Gone(gone) => {
                let directory = key.get(..gone.length.saturating_sub(1) as usize).unwrap_or_default();
                // Above this node: the node is gone with it, as a key of it or below says. At the node or below, each event
                // says the same.
                directory.len() < self.file.len() || (gone.first && self.sees(directory))
            }
        }
    }

    /// Whether a change of the node with this path is told to those who watch this one.
    fn sees(&self, path: &[u8]) -> bool {
        path == self.file || (self.recursive && path.strip_prefix(&*self.file).is_some_and(|rest| !is_hidden(rest)))
    }
}

/// Whether what follows a directory names something directly in it, or the directory itself.
fn is_one_level(rest: &[u8]) -> bool {
    let name = rest.strip_suffix(b"/").unwrap_or(rest);
    !name.contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Gone, NodeView, Operation, Revision, Timestamp};

    fn key(text: &str) -> Key {
        Key::new(text.to_owned()).unwrap()
    }

    #[test]
    fn children_are_what_is_one_level_below() {
        let filter = Filter::children(&key("/a/"));
        for child in ["/a/", "/a/b", "/a/b/", "/a/."] {
            assert!(filter.holds(child.as_bytes()), "{child}");
        }
        for other in ["/a", "/a/b/c", "/a/b/c/", "/a//c", "/ab", "/b/", "/"] {
            assert!(!filter.holds(other.as_bytes()), "{other}");
        }
        assert_eq!(filter.range(), KeyRange::prefix("/a/"));
    }

    #[test]
    fn a_range_is_looked_up_in_the_narrowest_way_and_stays_the_same_range() {
        let wide = KeyRange::new("a", Some("c".into()));
        let ranges = [
            (KeyRange::single(&key("a")), Keys::Exact("a".into())),
            (KeyRange::prefix("a"), Keys::Prefix("a".into())),
            (KeyRange::prefix(""), Keys::Prefix("".into())),
            (KeyRange::prefix(vec![0xff]), Keys::Prefix(vec![0xff].into())),
            (wide.clone(), Keys::Range(wide)),
            (KeyRange::new("b", Some("a".into())), Keys::Range(KeyRange::new("b", Some("a".into())))),
            (KeyRange::new("", Some(vec![0].into())), Keys::Exact("".into())),
        ];
        for (range, keys) in ranges {
            let filter = Filter::new(range.clone());
            assert_eq!(filter.range(), range);
            assert_eq!(*filter.keys(), keys);
        }
    }

    fn change(at: &str, part: Part) -> Event {
        Event {
            revision: Revision(2),
            kind: EventKind::Delete,
            key: key(at),
            record: None,
            previous: None,
            previous_revision: Revision::ZERO,
            time: Timestamp::ZERO,
            author: None,
            operation: Operation::Delete,
            action: Action::Delete,
            view: NodeView { part, ..NodeView::default() },
        }
    }

    fn told(watched: &str, recursive: bool, event: &Event) -> bool {
        Filter::node(&NodePath::new(watched.to_owned()).unwrap(), recursive).accepts(event)
    }

    #[test]
    fn a_node_is_told_of_itself_and_of_what_is_below_and_not_hidden() {
        for (watched, at, alone, with_all) in [
            ("/a", "/a", true, true),
            ("/a", "/a/", true, true),
            ("/a", "/a/b", false, true),
            ("/a", "/a/b/", false, true),
            ("/a", "/ab", false, false),
            ("/a", "/a/_b", false, false),
            ("/a", "/a/_b/c", false, false),
            ("/a/_b", "/a/_b/c", false, true),
            ("/", "/a", false, true),
            ("/", "/_a", false, false),
        ] {
            let event = change(at, Part::Own);
            assert_eq!(
                (told(watched, false, &event), told(watched, true, &event)),
                (alone, with_all),
                "{watched} {at}"
            );
            assert!(!told(watched, true, &change(at, Part::Silent)));
        }
    }

    #[test]
    fn the_end_of_a_directory_is_told_at_it_above_it_and_where_something_was_in_it() {
        let gone =
            |at: &str, first| change(at, Part::Gone(Gone { length: 3, first, created: Revision(2), expires: None }));
        let (head, inner) = (gone("/a/", true), gone("/a/b/c", false));
        assert!(told("/a", false, &head) && told("/", true, &head) && !told("/", false, &head));
        // One event is enough for those, however many keys there were.
        assert!(!told("/a", false, &inner) && !told("/", true, &inner));
        assert!(told("/a/b/c", false, &inner) && told("/a/b", false, &inner));
        assert!(!told("/a/b/c/d", true, &inner) && !told("/a/x", true, &inner));
    }

    #[test]
    fn kinds_are_a_set() {
        let kinds = Kinds::of(&[EventKind::Put, EventKind::Expire]);
        assert!(kinds.contains(EventKind::Put) && kinds.contains(EventKind::Expire));
        assert!(!kinds.contains(EventKind::Delete));
        assert_eq!(Kinds::of(&[EventKind::Put, EventKind::Delete, EventKind::Expire]), Kinds::ALL);
    }
}
