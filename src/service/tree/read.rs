//! Reading nodes: a file, one level of a directory, or all that is below it.

use bytes::Bytes;

use super::super::answers::Turn;
use super::super::kv::Reader;
use super::super::{Call, Consistency, Error, Service};
use crate::machine;
use crate::model::limits::{MAX_NODE_DEPTH, MAX_SHOWN_BYTES, MAX_SHOWN_NODES};
use crate::model::node::{is_hidden, is_segment};
use crate::model::{
    Content, KeyRange, KeyValue, LeaseId, Node, NodePath, NodeRefusal, RangeQuery, Record, Refusal, Revision,
    Timestamp, Ttl,
};
use crate::mvcc::{ListQuery, ReadError};
use crate::node::StoreView;

/// The bytes of a directory that are read at a time.
const PAGE_BYTES: usize = 1024 * 1024;

/// A node, and what is in it as far as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownNode {
    pub node: Node,
    /// What is left of its life by this member's clock, in milliseconds.
    pub remaining: Option<u64>,
    /// In order of path. Hidden nodes, what no path names and what is deeper than [`MAX_NODE_DEPTH`] are left out. A path that is a file and a directory stands
    /// here twice.
    pub nodes: Vec<ShownNode>,
}

/// A node that was found.
#[derive(Debug)]
pub struct FoundNode {
    /// The store's revision when it was read.
    pub revision: Revision,
    pub shown: ShownNode,
    /// To be kept until the answer is made, where that may be large.
    pub turn: Option<Turn>,
}

impl ShownNode {
    /// What it takes up in an answer, at least.
    fn bytes(&self) -> usize {
        let value = match &self.node.content {
            Some(Content::File(value)) => value.len(),
            Some(Content::Directory) | None => 0,
        };
        self.node.path.as_bytes().len() + value + self.nodes.iter().map(Self::bytes).sum::<usize>()
    }

    /// What is said of a directory with more in it than is shown at once.
    #[must_use]
    pub fn too_large() -> Error {
        Error::InvalidArgument(format!(
            "the directory has more than {MAX_SHOWN_NODES} nodes or {MAX_SHOWN_BYTES} bytes to show: ask for the \
             directories in it one by one"
        ))
    }
}

/// Why a directory is not shown.
enum Unshown {
    Read(ReadError),
    TooMuch,
}

impl From<ReadError> for Unshown {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl Service {
    /// A node and what is in it: one level, or everything below.
    ///
    /// # Errors
    /// [`Refusal::Node`] where nothing is there; [`Error::InvalidArgument`] for a directory beyond [`MAX_SHOWN_NODES`] or
    /// [`MAX_SHOWN_BYTES`]; those of a read.
    pub(super) async fn find_node(
        &self,
        call: &Call,
        consistency: Consistency,
        path: NodePath,
        recursive: bool,
    ) -> Result<FoundNode, Error> {
        let reader = self.reader(call, consistency).await?;
        let revision = reader.revision();
        let bytes = |shown: &Option<ShownNode>| shown.as_ref().map_or(0, ShownNode::bytes);
        if let Some(shown) = reader.run_here(|| self.file(&reader, &path), bytes).await? {
            return Ok(FoundNode { revision, shown, turn: reader.into_turn() });
        }
        let service = self.clone();
        let read = move |view: &StoreView| {
            let lives = Lives { service: &service, view };
            match Shelf::new(&path, lives).show(recursive) {
                Ok(shown) => Ok(Ok(shown)),
                Err(Unshown::TooMuch) => Ok(Err(())),
                Err(Unshown::Read(error)) => Err(error),
            }
        };
        match reader.run(read, move |shown| shown.as_ref().map_or(0, bytes)).await? {
            Ok(Some(shown)) => Ok(FoundNode { revision, shown, turn: reader.into_turn() }),
            Ok(None) => Err(Error::Storage("a directory was lost while it was read".into())),
            Err(()) => Err(ShownNode::too_large()),
        }
    }

    /// The file at a path; what is missing there is refused, and `None` is a directory.
    fn file(&self, reader: &Reader, path: &NodePath) -> Result<Option<ShownNode>, Error> {
        let view = reader.view();
        let failed = |error| reader.failed(error);
        let Some(file) = path.file() else { return Ok(None) };
        if let Some(record) = view.get(file.as_bytes(), None).map_err(failed)? {
            let shown = Lives { service: self, view }.shown(path.clone(), false, &record);
            return shown.map(Some).map_err(failed);
        }
        if view.is_directory(&path.marker(), None).map_err(failed)? {
            return Ok(None);
        }
        let refusal: NodeRefusal = path
            .missing(|marker| view.is_directory(marker, None), |file| Ok(view.get(file, None)?.is_some()))
            .map_err(failed)?;
        Err(Error::refused(Refusal::Node(refusal), reader.revision()))
    }
}

/// When nodes die.
#[derive(Clone, Copy)]
struct Lives<'a> {
    service: &'a Service,
    view: &'a StoreView,
}

impl Lives<'_> {
    fn shown(&self, path: NodePath, is_directory: bool, record: &Record) -> Result<ShownNode, ReadError> {
        let (expires, remaining) = record.lease.map_or(Ok((None, None)), |lease| self.of(lease))?;
        Ok(ShownNode { node: Node::at(path, is_directory, record, expires), remaining, nodes: Vec::new() })
    }

    fn of(&self, lease: LeaseId) -> Result<(Option<Timestamp>, Option<u64>), ReadError> {
        let expires = machine::find_lease(self.view.snapshot(), lease)?.map(|lease| lease.expires);
        Ok((expires, self.service.lease_remaining(lease).map(Ttl::get)))
    }
}

/// A directory as it is read.
struct Shelf<'a> {
    path: &'a NodePath,
    lives: Lives<'a>,
    /// The directories on the way to the last node, the one asked for first.
    open: Vec<ShownNode>,
    nodes: usize,
    bytes: usize,
}

impl<'a> Shelf<'a> {
    fn new(path: &'a NodePath, lives: Lives<'a>) -> Self {
        Self { path, lives, open: Vec::new(), nodes: 0, bytes: 0 }
    }

    fn show(mut self, recursive: bool) -> Result<Option<ShownNode>, Unshown> {
        let top = self.top()?;
        self.open.push(top);
        if recursive {
            self.below()?;
        } else {
            self.level()?;
        }
        while self.open.len() > 1 {
            self.close();
        }
        Ok(self.open.pop().map(sorted))
    }

    /// The directory itself.
    fn top(&self) -> Result<ShownNode, Unshown> {
        if !self.path.is_root() {
            let first = RangeQuery { limit: Some(1), ..RangeQuery::all(KeyRange::prefix(self.path.marker())) };
            let page = self.lives.view.page(&first, 1)?;
            if let Some(head) = page.items.first() {
                return self.directory(self.path.clone(), head);
            }
        }
        let (modified, created) = (Revision::ZERO, Revision::ZERO);
        let content = Some(Content::Directory);
        let node = Node { path: self.path.clone(), content, expires: None, modified, created };
        Ok(ShownNode { node, remaining: None, nodes: Vec::new() })
    }

    /// A directory by what comes first in it: its marker or, where there is none, a key below it.
    fn directory(&self, path: NodePath, head: &KeyValue) -> Result<ShownNode, Unshown> {
        let is_marker = head.key.as_bytes().len() == path.as_bytes().len() + 1;
        let lease = head.record.lease.filter(|_| is_marker);
        Ok(self.lives.shown(path, true, &Record { lease, ..head.record.clone() })?)
    }

    fn level(&mut self) -> Result<(), Unshown> {
        let mut query = ListQuery {
            directory: self.path.marker(),
            prefix: Bytes::new(),
            from: None,
            revision: None,
            limit: None,
            max_bytes: PAGE_BYTES,
            keys_only: false,
            heads: true,
        };
        let from = query.directory.len();
        loop {
            let level = self.lives.view.list(&query)?;
            for item in &level.items {
                self.put_file(item, from)?;
            }
            for (marker, head) in level.directories.iter().zip(&level.heads) {
                let marker = marker.bytes();
                if let Some(path) = shown_path(marker, from, marker.len() - 1) {
                    let shown = self.directory(path, head)?;
                    self.put(shown)?;
                }
            }
            match level.next {
                Some(next) => query.from = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn below(&mut self) -> Result<(), Unshown> {
        let mut rest = Some(KeyRange::prefix(self.path.marker()));
        while let Some(range) = rest {
            let page = self.lives.view.page(&RangeQuery::all(range), PAGE_BYTES)?;
            for item in &page.items {
                self.take(item)?;
            }
            rest = page.rest;
        }
        Ok(())
    }

    /// Takes the next key below the directory, and opens and closes those on the way to it: the first key in a directory makes it
    /// one that is shown, whether or not that key is itself.
    fn take(&mut self, item: &KeyValue) -> Result<(), Unshown> {
        let key = item.key.bytes();
        while self.open.len() > 1 && !self.open.last().is_some_and(|open| contains(&open.node.path, key)) {
            self.close();
        }
        let mut from = self.open.last().map_or(0, |open| open.node.path.as_bytes().len() + 1);
        while let Some(slash) = key.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'/')) {
            let end = from + slash;
            let Some(path) = shown_path(key, from, end) else { return Ok(()) };
            let shown = self.directory(path, item)?;
            self.count(&shown)?;
            self.open.push(shown);
            from = end + 1;
        }
        self.put_file(item, from)
    }

    /// Puts a file, whose name begins at `from`, into the directory that is open. A marker leaves no name.
    fn put_file(&mut self, item: &KeyValue, from: usize) -> Result<(), Unshown> {
        let key = item.key.bytes();
        let Some(path) = shown_path(key, from, key.len()) else { return Ok(()) };
        let shown = self.lives.shown(path, false, &item.record)?;
        self.put(shown)
    }

    fn put(&mut self, shown: ShownNode) -> Result<(), Unshown> {
        self.count(&shown)?;
        if let Some(open) = self.open.last_mut() {
            open.nodes.push(shown);
        }
        Ok(())
    }

    fn count(&mut self, shown: &ShownNode) -> Result<(), Unshown> {
        let value = match &shown.node.content {
            Some(Content::File(value)) => value.len(),
            Some(Content::Directory) | None => 0,
        };
        self.nodes += 1;
        self.bytes += shown.node.path.as_bytes().len() + value;
        let fits = self.nodes <= MAX_SHOWN_NODES && self.bytes <= MAX_SHOWN_BYTES;
        if fits { Ok(()) } else { Err(Unshown::TooMuch) }
    }

    fn close(&mut self) {
        if let Some(closed) = self.open.pop()
            && let Some(open) = self.open.last_mut()
        {
            open.nodes.push(sorted(closed));
        }
    }
}

/// Not in order of key: there, what is in `/a/b/` comes behind `/a/b-c`.
fn sorted(mut shown: ShownNode) -> ShownNode {
    shown.nodes.sort_by(|a, b| a.node.path.cmp(&b.node.path).then(a.node.is_directory().cmp(&b.node.is_directory())));
    shown
}

fn contains(directory: &NodePath, key: &[u8]) -> bool {
    key.strip_prefix(directory.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

/// The path of the node in a directory that is shown whose name is between these places of a key; `None` where it is hidden,
/// no name of a node, or too deep.
fn shown_path(key: &Bytes, from: usize, end: usize) -> Option<NodePath> {
    let name = key.get(from..end)?;
    if !is_segment(name) || is_hidden(key.get(from.checked_sub(1)?..end)?) {
        return None;
    }
    // What is deeper than nodes are made here came another way, and is too deep to be shown as a tree.
    NodePath::new(key.slice(..end)).filter(|path| path.depth() <= MAX_NODE_DEPTH)
}
