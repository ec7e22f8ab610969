//! The writes of etcd's v2 API: nodes of a tree, which is the key space as paths name it.
//!
//! What etcd's v2 store decides (`store.go`, `node.go`) is decided here in the same order, so that a request is refused for the same
//! reason. Where a path is a file and has keys below it, which only other dialects bring about, it is the file.

use bytes::Bytes;

use super::tree::Removed;
use super::work::{Stop, Work, lost};
use crate::model::{
    Action, Content, ContentType, Event, EventKind, Key, KeyRange, LeaseId, Life, NodeChange, NodeCompare, NodeEvent,
    NodePath, NodeRefusal, NodeWrite, Operation, Outcome, Part, Record, Refusal,
};
use crate::mvcc::{ReadError, Write};
use crate::storage::Snapshot;

/// What is at a path.
enum Found {
    File(Record),
    Directory,
}

/// How a write that leaves its node there tells of it.
#[derive(Debug, Clone, Copy)]
struct Telling {
    action: Action,
    /// A refresh wakes nobody.
    refresh: bool,
}

impl Telling {
    fn part(self) -> Part {
        if self.refresh { Part::Silent } else { Part::Own }
    }
}

impl<S: Snapshot> Work<'_, S> {
    pub(super) fn write_node(&mut self, write: NodeWrite) -> Result<Outcome, Stop> {
        let NodeWrite { path, change } = write;
        let event = match change {
            NodeChange::Set { content, life, refresh } => self.set_node(&path, content, life, refresh),
            NodeChange::Create { content, life } => self.create_node(&path, content, life),
            NodeChange::Append { content, life } => {
                let name = format!("{:020}", self.overlay.writing().get());
                self.create_node(&path.child(&name), content, life)
            }
            NodeChange::Update { value, life, refresh } => self.update_node(&path, value, life, refresh),
            NodeChange::CompareAndSwap { compare, value, life, refresh } => {
                self.swap_node(&path, &compare, value, life, refresh)
            }
            NodeChange::Delete { directory, recursive } => self.delete_node(&path, directory || recursive, recursive),
            NodeChange::CompareAndDelete(compare) => self.compare_and_delete_node(&path, &compare),
        };
        Ok(Outcome::Node(Box::new(event?)))
    }

    fn set_node(
        &mut self,
        path: &NodePath,
        content: Content,
        life: Option<Life>,
        refresh: bool,
    ) -> Result<NodeEvent, Stop> {
        let file = file_of(path)?;
        self.check_life(life)?;
        let present = self.load(&file)?.cloned();
        let content = match (&present, content) {
            (Some(record), Content::File(_)) if refresh => Content::File(record.value.clone()),
            (_, content) => content,
        };
        let content_type = present.as_ref().filter(|_| refresh).and_then(|record| record.content_type.clone());
        let telling = Telling { action: Action::Set, refresh };
        if present.is_none() {
            let marker = marker_of(path)?;
            if self.overlay.is_directory(marker.as_bytes())? {
                return Err(NodeRefusal::NotAFile(path.clone()).into());
            }
            let markers = self.missing_above(path)?;
            if refresh {
                return Err(self.missing(path)?);
            }
            self.make_markers(markers)?;
        }
        self.make_node(path, file, content, content_type, life, telling)
    }

    fn create_node(&mut self, path: &NodePath, content: Content, life: Option<Life>) -> Result<NodeEvent, Stop> {
        let file = file_of(path)?;
        self.check_life(life)?;
        if self.find(path)?.is_some() {
            return Err(NodeRefusal::Exists(path.clone()).into());
        }
        let markers = self.missing_above(path)?;
        self.make_markers(markers)?;
        let telling = Telling { action: Action::Create, refresh: false };
        self.make_node(path, file, content, None, life, telling)
    }

    fn update_node(
        &mut self,
        path: &NodePath,
        value: Bytes,
        life: Option<Life>,
        refresh: bool,
    ) -> Result<NodeEvent, Stop> {
        let file = file_of(path)?;
        self.check_life(life)?;
        let telling = Telling { action: Action::Update, refresh };
        match self.must_find(path)? {
            Found::File(record) => {
                self.rewrite_node(file, Some(record), Some(value).filter(|_| !refresh), life, telling)
            }
            Found::Directory if !value.is_empty() => Err(NodeRefusal::NotAFile(path.clone()).into()),
            Found::Directory => {
                let marker = marker_of(path)?;
                let record = self.load(&marker)?.cloned();
                self.rewrite_node(marker, record, None, life, telling)
            }
        }
    }

    fn swap_node(
        &mut self,
        path: &NodePath,
        compare: &NodeCompare,
        value: Bytes,
        life: Option<Life>,
        refresh: bool,
    ) -> Result<NodeEvent, Stop> {
        let file = file_of(path)?;
        self.check_life(life)?;
        let record = self.must_be_file(path)?;
        check(compare, &record)?;
        let value = Some(value).filter(|_| !refresh);
        self.rewrite_node(file, Some(record), value, life, Telling { action: Action::CompareAndSwap, refresh })
    }

    fn delete_node(&mut self, path: &NodePath, directory: bool, recursive: bool) -> Result<NodeEvent, Stop> {
        let file = file_of(path)?;
        let cause = self.cause(Operation::Delete, Action::Delete);
        match self.must_find(path)? {
            Found::File(_) => told(self.delete_as(&file, EventKind::Delete, &cause, Part::Own)?),
            Found::Directory if !directory => Err(NodeRefusal::NotAFile(path.clone()).into()),
            Found::Directory => {
                let marker = marker_of(path)?;
                if !recursive && self.overlay.exists_below(marker.as_bytes())? {
                    return Err(NodeRefusal::NotEmpty(path.clone()).into());
                }
                self.check_size(KeyRange::prefix(marker.bytes().clone()))?;
                self.remove_directory(&marker, EventKind::Delete, &cause, false, &mut Removed::default())?;
                told(self.overlay.unsealed().first())
            }
        }
    }

    fn compare_and_delete_node(&mut self, path: &NodePath, compare: &NodeCompare) -> Result<NodeEvent, Stop> {
        let record = self.must_be_file(path)?;
        check(compare, &record)?;
        let cause = self.cause(Operation::Delete, Action::CompareAndDelete);
        told(self.delete_as(&file_of(path)?, EventKind::Delete, &cause, Part::Own)?)
    }

    /// What is at a path, found without a look at what is above it.
    fn find(&mut self, path: &NodePath) -> Result<Option<Found>, Stop> {
        let Some(file) = path.file() else { return Ok(Some(Found::Directory)) };
        if let Some(record) = self.load(&file)? {
            return Ok(Some(Found::File(record.clone())));
        }
        Ok(self.overlay.is_directory(&path.marker())?.then_some(Found::Directory))
    }

    fn must_find(&mut self, path: &NodePath) -> Result<Found, Stop> {
        match self.find(path)? {
            Some(found) => Ok(found),
            None => Err(self.missing(path)?),
        }
    }

    fn must_be_file(&mut self, path: &NodePath) -> Result<Record, Stop> {
        match self.must_find(path)? {
            Found::File(record) => Ok(record),
            Found::Directory => Err(NodeRefusal::NotAFile(path.clone()).into()),
        }
    }

    /// Why nothing is at a path.
    fn missing(&self, path: &NodePath) -> Result<Stop, Stop> {
        let overlay = &self.overlay;
        let refusal = path.missing(
            |marker| overlay.is_directory(marker),
            |file| Ok::<_, ReadError>(overlay.get(file, None)?.is_some()),
        )?;
        Ok(refusal.into())
    }

    /// The directories above a node that is to be made and have no marker. Refused where a file is in their place.
    fn missing_above(&mut self, path: &NodePath) -> Result<Vec<Key>, Stop> {
        let mut markers = Vec::new();
        // Once something is there, so are the directories above it.
        let mut there = false;
        for directory in path.above() {
            let marker = marker_of(&directory)?;
            if self.load(&marker)?.is_some() {
                there = true;
                continue;
            }
            there = there || self.overlay.is_directory(marker.as_bytes())?;
            if !there && self.load(&file_of(&directory)?)?.is_some() {
                return Err(NodeRefusal::NotADirectory(directory).into());
            }
            markers.push(marker);
        }
        Ok(markers)
    }

    /// Makes directories on the way to a node, of which v2's watchers are told nothing.
    fn make_markers(&mut self, markers: Vec<Key>) -> Result<(), Stop> {
        let cause = self.cause(Operation::CreateDirectory, Action::Create);
        for marker in markers {
            self.put_as(marker, new_marker(None), &cause, Part::Silent)?;
        }
        Ok(())
    }

    /// Makes a node with a new life, in the place of a file where there is one.
    fn make_node(
        &mut self,
        path: &NodePath,
        file: Key,
        content: Content,
        content_type: Option<ContentType>,
        life: Option<Life>,
        telling: Telling,
    ) -> Result<NodeEvent, Stop> {
        match content {
            Content::File(value) => {
                let lease = self.live(life);
                self.put_node(file, Write { value, content_type, lease, anew: true }, telling)
            }
            Content::Directory => {
                let cause = self.cause(Operation::CreateDirectory, telling.action);
                let replaced = self.delete_as(&file, EventKind::Delete, &cause, Part::Replaced)?;
                let replaced = replaced.map(|event| told(Some(event))).transpose()?.and_then(|told| told.previous);
                let write = new_marker(self.live(life));
                let event = told(Some(self.put_as(marker_of(path)?, write, &cause, telling.part())?))?;
                Ok(event.in_place_of(replaced))
            }
        }
    }

    /// Puts a value in the place of a record's; without one, the record's own, whose life alone begins anew.
    fn rewrite_node(
        &mut self,
        key: Key,
        record: Option<Record>,
        value: Option<Bytes>,
        life: Option<Life>,
        telling: Telling,
    ) -> Result<NodeEvent, Stop> {
        let (value, content_type) = match value {
            Some(value) => (value, None),
            None => record.map(|record| (record.value, record.content_type)).unwrap_or_default(),
        };
        let lease = self.live(life);
        self.put_node(key, Write { value, content_type, lease, anew: false }, telling)
    }

    fn put_node(&mut self, key: Key, write: Write, telling: Telling) -> Result<NodeEvent, Stop> {
        let cause = self.cause(Operation::Put, telling.action);
        told(Some(self.put_as(key, write, &cause, telling.part())?))
    }

    fn check_life(&self, life: Option<Life>) -> Result<(), Refusal> {
        match life {
            Some(Life { lease, .. }) if self.leases.get(lease).is_some() => Err(Refusal::LeaseExists(lease)),
            Some(_) | None => Ok(()),
        }
    }

    /// The lease of a node that is written with this life.
    fn live(&mut self, life: Option<Life>) -> Option<LeaseId> {
        life.map(|Life { lease, ttl }| self.leases.grant(lease, ttl, true, self.now).id)
    }
}

fn file_of(path: &NodePath) -> Result<Key, NodeRefusal> {
    path.file().ok_or(NodeRefusal::Root)
}

fn marker_of(path: &NodePath) -> Result<Key, NodeRefusal> {
    Key::new(path.marker()).ok_or(NodeRefusal::Root)
}

/// A directory's marker, which has no value.
fn new_marker(lease: Option<LeaseId>) -> Write {
    Write { value: Bytes::new(), content_type: None, lease, anew: true }
}

/// The change that an event is, as etcd's v2 API tells it.
fn told(event: Option<&Event>) -> Result<NodeEvent, Stop> {
    event.and_then(NodeEvent::of).ok_or_else(|| lost("the event of a node"))
}

fn check(compare: &NodeCompare, record: &Record) -> Result<(), NodeRefusal> {
    let NodeCompare { value, modified } = compare;
    let value = value.as_ref().filter(|value| **value != record.value);
    let modified = modified.filter(|modified| *modified != record.mod_revision);
    if value.is_none() && modified.is_none() {
        return Ok(());
    }
    Err(NodeRefusal::CompareFailed {
        value: value.map(|value| (value.clone(), record.value.clone())),
        modified: modified.map(|modified| (modified, record.mod_revision)),
    })
}
