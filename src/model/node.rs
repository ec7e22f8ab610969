//! The key space as the tree of etcd's v2 API: paths of nodes, what can be asked of them, and what comes of it.
//!
//! A node is a *file*, the key of its path (`/a/b`), or a *directory*: there is its marker (`/a/b/`) or any key below it. What
//! another dialect wrote is a node too, if a path can name it. Which key is which node is decided here alone, for commands,
//! reads and watches alike.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use thiserror::Error;

use super::{Action, Event, EventKind, Key, LeaseId, Part, Record, Revision, Timestamp, Ttl};

/// The path of a node: segments, each behind a slash, none of them empty, `.` or `..`. The root's has none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct NodePath(Bytes);

impl NodePath {
    /// The path that these bytes are, with or without a slash at the end; `None` when they are none.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Option<Self> {
        let mut bytes = bytes.into();
        if bytes.ends_with(b"/") {
            bytes.truncate(bytes.len() - 1);
        }
        is_path(&bytes).then_some(Self(bytes))
    }

    /// The node that a key is part of, and whether the key is its marker. `None` for keys that no path names.
    #[must_use]
    pub fn of_key(key: &Key) -> Option<(Self, bool)> {
        let node = key.as_bytes().first().filter(|first| **first == b'/').and(Self::new(key.bytes().clone()))?;
        Some((node, key.is_directory()))
    }

    /// The bytes of the path; none for the root.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The key of the file with this path; `None` for the root, which is a directory for ever.
    #[must_use]
    pub fn file(&self) -> Option<Key> {
        Key::new(self.0.clone())
    }

    /// The bytes of the marker of the directory with this path. Every key below it begins with them.
    #[must_use]
    pub fn marker(&self) -> Bytes {
        let mut marker = Vec::with_capacity(self.0.len() + 1);
        marker.extend_from_slice(&self.0);
        marker.push(b'/');
        marker.into()
    }

    /// The number of segments.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.split(|byte| *byte == b'/').count() - 1
    }

    /// The directory that the node is in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Self(self.0.slice(..slash)))
    }

    /// The directories above the node, nearest first, without the root.
    pub fn above(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent).take_while(|parent| !parent.is_root())
    }

    /// Why nothing is at this path, where nothing is: the first thing on the way to it that is not there, or is no directory.
    ///
    /// # Errors
    /// Those of looking whether a directory is there, given its marker, and a file, given its key.
    pub fn missing<E>(
        &self,
        mut is_directory: impl FnMut(&[u8]) -> Result<bool, E>,
        mut is_file: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<NodeRefusal, E> {
        let mut above: Vec<Self> = self.above().collect();
        above.reverse();
        for directory in above {
            if is_directory(&directory.marker())? {
                continue;
            }
            let is_file = is_file(&directory.0)?;
            return Ok(if is_file { NodeRefusal::NotADirectory(directory) } else { NodeRefusal::NotFound(directory) });
        }
        Ok(NodeRefusal::NotFound(self.clone()))
    }

    /// The node of this name in the directory.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self([&self.0, &b"/"[..], name.as_bytes()].concat().into())
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if self.is_root() { "/".into() } else { String::from_utf8_lossy(&self.0) };
        fmt::Display::fmt(&shown, f)
    }
}

impl fmt::Debug for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodePath({self})")
    }
}

fn is_path(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        None => true,
        Some((b'/', inner)) => inner.split(|byte| *byte == b'/').all(is_segment),
        Some(_) => false,
    }
}

/// Whether a path can hold this between two slashes.
#[must_use]
pub fn is_segment(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
}

/// Whether what follows a path hides a node from those who look from there: one of its segments begins with `_`.
#[must_use]
pub fn is_hidden(rest: &[u8]) -> bool {
    rest.windows(2).any(|pair| pair == b"/_")
}

/// A write of etcd's v2 API. At one revision, or refused; directories that are missing above a new node get their markers
/// with it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NodeWrite {
    pub path: NodePath,
    pub change: NodeChange,
}

/// The writes, as etcd's v2 store tells them apart.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum NodeChange {
    /// Makes the node, in the place of a file that was there.
    Set { content: Content, life: Option<Life>, refresh: bool },
    /// Makes the node, which must not be there.
    Create { content: Content, life: Option<Life> },
    /// Makes a node in this directory under the next name: the new revision, 20 digits, zero-padded.
    Append { content: Content, life: Option<Life> },
    /// Gives the node another value and life. It keeps its create revision. A directory takes no value.
    Update { value: Bytes, life: Option<Life>, refresh: bool },
    /// As an update, of a file that is as the comparison says.
    CompareAndSwap { compare: NodeCompare, value: Bytes, life: Option<Life>, refresh: bool },
    /// Deletes a file; a directory only where `directory` says so and it is empty, or with all that is in it.
    Delete { directory: bool, recursive: bool },
    /// Deletes a file that is as the comparison says.
    CompareAndDelete(NodeCompare),
}

/// What a node is made of.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Content {
    File(Bytes),
    Directory,
}

/// A lease of the node's own: the proposer's choice of an id, unused so far, and how long it lives. A time to live of nothing ends
/// at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Life {
    pub lease: LeaseId,
    pub ttl: Ttl,
}

/// What must hold of a file, as far as it is asked.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NodeCompare {
    pub value: Option<Bytes>,
    pub modified: Option<Revision>,
}

/// Why a node was not written.
#[derive(Debug, Clone, PartialEq, Eq, Error, BorshSerialize, BorshDeserialize)]
pub enum NodeRefusal {
    #[error("there is no node {0}")]
    NotFound(NodePath),
    #[error("{0} is not a file")]
    NotAFile(NodePath),
    #[error("{0} is not a directory")]
    NotADirectory(NodePath),
    #[error("{0} exists already")]
    Exists(NodePath),
    #[error("the root is read only")]
    Root,
    #[error("the directory {0} is not empty")]
    NotEmpty(NodePath),
    /// What was asked for and what is, of each comparison that does not hold.
    #[error("the file is not as the comparison says")]
    CompareFailed { value: Option<(Bytes, Bytes)>, modified: Option<(Revision, Revision)> },
}

/// A node at one moment.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Node {
    pub path: NodePath,
    /// `None` for a file that is gone.
    pub content: Option<Content>,
    /// When it dies, by the state machine's clock.
    pub expires: Option<Timestamp>,
    /// The revision of the last change. Of a directory, as in etcd, that which made it, except in the event that changes it.
    pub modified: Revision,
    pub created: Revision,
}

impl Node {
    /// The node that a record is at.
    #[must_use]
    pub fn at(path: NodePath, is_directory: bool, record: &Record, expires: Option<Timestamp>) -> Self {
        let created = record.create_revision;
        let (content, modified) = if is_directory {
            (Content::Directory, created)
        } else {
            (Content::File(record.value.clone()), record.mod_revision)
        };
        Self { path, content: Some(content), expires, modified, created }
    }

    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self.content, Some(Content::Directory))
    }
}

/// A change of a node, as etcd's v2 API tells it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NodeEvent {
    pub action: Action,
    pub node: Node,
    pub previous: Option<Node>,
    pub time: Timestamp,
}

impl NodeEvent {
    /// What an event says of the node that its key, or the directory that it went with, is. `None` where no path names
    /// that, and for the root.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        if let Part::Gone(gone) = &event.view.part {
            let path = NodePath::new(event.key.bytes().get(..gone.length as usize).map(Bytes::copy_from_slice)?)?;
            let directory = |expires, modified| Node {
                path: path.clone(),
                content: Some(Content::Directory),
                expires,
                modified,
                created: gone.created,
            };
            let (node, previous) = (directory(None, event.revision), directory(gone.expires, gone.created));
            return Some(Self { action: event.action, node, previous: Some(previous), time: event.time });
        }
        let (path, is_directory) = NodePath::of_key(&event.key).filter(|(path, _)| !path.is_root())?;
        let at = |record: &Record, expires| Node::at(path.clone(), is_directory, record, expires);
        let previous = event.previous.as_ref().map(|record| at(record, event.view.previous_expires));
        let now = event.record.as_ref().map(|record| at(record, event.view.expires));
        let node = match (event.kind, now) {
            (EventKind::Put, Some(now)) => Node { modified: event.revision, ..now },
            _ => Node {
                content: is_directory.then_some(Content::Directory),
                expires: None,
                modified: event.revision,
                created: previous.as_ref().map_or(event.revision, |previous| previous.created),
                path,
            },
        };
        Some(Self { action: event.action, node, previous, time: event.time })
    }

    /// The change as it is told where a file made way for the node, by an event of its own: that was there before.
    #[must_use]
    pub fn in_place_of(self, replaced: Option<Node>) -> Self {
        Self { previous: replaced.or(self.previous), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> NodePath {
        NodePath::new(text.to_owned()).unwrap()
    }

    fn of(key: &str) -> Option<(NodePath, bool)> {
        NodePath::of_key(&Key::new(key.to_owned()).unwrap())
    }

    #[test]
    fn a_path_names_one_file_and_one_directory() {
        assert_eq!(path("/a/b").file().unwrap().as_bytes(), b"/a/b");
        assert_eq!(&path("/a/b/").marker()[..], b"/a/b/");
        assert_eq!(path("/a/b/"), path("/a/b"));
        assert_eq!((path("/"), path("").marker().as_ref()), (path(""), &b"/"[..]));
        assert!(path("").is_root() && path("").file().is_none());
    }

    #[test]
    fn keys_that_no_path_names_are_no_nodes() {
        assert_eq!(of("/a"), Some((path("/a"), false)));
        assert_eq!(of("/a/"), Some((path("/a"), true)));
        for key in ["a", "a/b", "//", "/a//b", "/a//", "/./a", "/a/..", "/a/../"] {
            assert_eq!(of(key), None, "{key}");
        }
    }

    #[test]
    fn above_a_node_are_its_directories_without_the_root() {
        assert_eq!(path("/a/b/c").above().collect::<Vec<_>>(), [path("/a/b"), path("/a")]);
        assert_eq!(path("/a").above().count() + path("").above().count(), 0);
        assert_eq!(path("").child("a").child("b"), path("/a/b"));
        assert_eq!((path("").depth(), path("/a/b").depth()), (0, 2));
    }

    #[test]
    fn what_begins_with_an_underscore_is_hidden_from_above() {
        assert!(is_hidden(b"/_a") && is_hidden(b"/b/_a/c"));
        assert!(!is_hidden(b"/a_/b") && !is_hidden(b""));
    }
}
