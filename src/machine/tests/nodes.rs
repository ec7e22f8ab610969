//! Claims about the writes of etcd's v2 API.

use super::bed::*;
use crate::model::{
    Action, Command, Content, EventKind, LeaseId, Life, Node, NodeChange, NodeCompare, NodeEvent, NodePath,
    NodeRefusal, NodeWrite, Outcome, Part, Refusal, Revision, Term, Timestamp, Ttl,
};

fn path(text: &str) -> NodePath {
    NodePath::new(text.to_owned()).unwrap()
}

fn write(at: &str, change: NodeChange) -> Command {
    Command::Node(NodeWrite { path: path(at), change })
}

fn file(value: &str) -> Content {
    Content::File(bytes(value))
}

fn set(at: &str, value: &str) -> Command {
    write(at, NodeChange::Set { content: file(value), life: None, refresh: false })
}

fn set_for(at: &str, content: Content, lease: u64, ttl: u64) -> Command {
    write(at, NodeChange::Set { content, life: Some(Life { lease: LeaseId(lease), ttl: Ttl(ttl) }), refresh: false })
}

fn make(at: &str) -> Command {
    write(at, NodeChange::Set { content: Content::Directory, life: None, refresh: false })
}

fn create(at: &str, value: &str) -> Command {
    write(at, NodeChange::Create { content: file(value), life: None })
}

fn update(at: &str, value: &str) -> Command {
    write(at, NodeChange::Update { value: bytes(value), life: None, refresh: false })
}

fn compare(value: Option<&str>, modified: Option<u64>) -> NodeCompare {
    NodeCompare { value: value.map(bytes), modified: modified.map(Revision) }
}

fn swap(at: &str, compare: NodeCompare, value: &str) -> Command {
    write(at, NodeChange::CompareAndSwap { compare, value: bytes(value), life: None, refresh: false })
}

fn remove(at: &str, directory: bool, recursive: bool) -> Command {
    write(at, NodeChange::Delete { directory, recursive })
}

impl Bed {
    fn told(&mut self, command: Command) -> NodeEvent {
        match self.ok(command) {
            Outcome::Node(event) => *event,
            other => panic!("not of a node: {other:?}"),
        }
    }

    fn refused_node(&mut self, command: Command) -> NodeRefusal {
        match self.refused(command) {
            Refusal::Node(refusal) => refusal,
            other => panic!("not of a node: {other:?}"),
        }
    }

    fn parts(&self) -> Vec<(String, Part)> {
        self.events().into_iter().map(|event| (event.key.to_string(), event.view.part)).collect()
    }
}

/// A file with these revisions.
fn at(at: &str, value: &str, modified: u64, created: u64) -> Node {
    let (modified, created) = (Revision(modified), Revision(created));
    Node { path: path(at), content: Some(file(value)), expires: None, modified, created }
}

#[test]
fn a_set_begins_a_new_life_and_an_update_keeps_the_create_revision() {
    let mut bed = Bed::new();
    let told = bed.told(set("/a", "1"));
    assert_eq!((told.action, told.node, told.previous), (Action::Set, at("/a", "1", 2, 2), None));
    let told = bed.told(update("/a", "2"));
    assert_eq!((told.node, told.previous), (at("/a", "2", 3, 2), Some(at("/a", "1", 2, 2))));
    let told = bed.told(set("/a", "3"));
    assert_eq!((told.node, told.previous), (at("/a", "3", 4, 4), Some(at("/a", "2", 3, 2))));
    let record = bed.record("/a").unwrap();
    assert_eq!((record.create_revision, record.version), (Revision(4), 1));
    assert_eq!(bed.refused_node(create("/a", "4")), NodeRefusal::Exists(path("/a")));
}

#[test]
fn directories_on_the_way_get_markers_in_the_same_revision_and_stay() {
    let mut bed = Bed::new();
    bed.ok(set("/a/b/c", "1"));
    assert_eq!(bed.event_keys(), ["/a/", "/a/b/", "/a/b/c"]);
    assert_eq!(bed.revision(), 2);
    let parts = bed.parts();
    assert_eq!(parts.iter().map(|(_, part)| part).collect::<Vec<_>>(), [&Part::Silent, &Part::Silent, &Part::Own]);
    bed.ok(remove("/a/b/c", false, false));
    assert!(bed.record("/a/b/").is_some());
    // Another dialect makes none, and the next write of a new node makes up for it.
    bed.ok(put("/x/y/z", "1"));
    assert!(bed.record("/x/").is_none());
    bed.ok(set("/x/y/z", "2"));
    assert_eq!(bed.event_keys(), ["/x/y/z"]);
    bed.ok(set("/x/y/w", "2"));
    assert_eq!(bed.event_keys(), ["/x/", "/x/y/", "/x/y/w"]);
}

#[test]
fn what_stands_in_the_way_is_named() {
    let mut bed = Bed::new();
    bed.ok(set("/f", "1"));
    bed.ok(set("/d/x", "1"));
    for command in [set("/f/a/b", "1"), create("/f/a", "1"), update("/f/a", "1"), remove("/f/a", true, true)] {
        assert_eq!(bed.refused_node(command), NodeRefusal::NotADirectory(path("/f")));
    }
    for command in [update("/q/r", "1"), swap("/q/r", compare(Some("1"), None), "2"), remove("/q/r", false, false)] {
        assert_eq!(bed.refused_node(command), NodeRefusal::NotFound(path("/q")));
    }
    assert_eq!(bed.refused_node(update("/d/y", "1")), NodeRefusal::NotFound(path("/d/y")));
    for command in [set("/d", "1"), make("/d"), update("/d", "1"), swap("/d", compare(None, Some(2)), "1")] {
        assert_eq!(bed.refused_node(command), NodeRefusal::NotAFile(path("/d")));
    }
    assert_eq!(bed.refused_node(create("/d", "1")), NodeRefusal::Exists(path("/d")));
    for command in [set("/", "1"), make("/"), update("/", "1"), create("/", "1"), remove("/", true, true)] {
        assert_eq!(bed.refused_node(command), NodeRefusal::Root);
    }
    let of_root = write("/", NodeChange::CompareAndDelete(compare(Some("x"), None)));
    assert_eq!(bed.refused_node(of_root), NodeRefusal::NotAFile(path("/")));
}

#[test]
fn a_comparison_that_fails_says_which_part_of_it() {
    let mut bed = Bed::new();
    bed.ok(set("/a", "1"));
    let failed = |value: Option<(&str, &str)>, modified: Option<(u64, u64)>| NodeRefusal::CompareFailed {
        value: value.map(|(asked, found)| (bytes(asked), bytes(found))),
        modified: modified.map(|(asked, found)| (Revision(asked), Revision(found))),
    };
    let refused = bed.refused_node(swap("/a", compare(Some("x"), Some(2)), "2"));
    assert_eq!(refused, failed(Some(("x", "1")), None));
    let refused = bed.refused_node(swap("/a", compare(Some("x"), Some(9)), "2"));
    assert_eq!(refused, failed(Some(("x", "1")), Some((9, 2))));
    let told = bed.told(swap("/a", compare(Some("1"), Some(2)), "2"));
    assert_eq!((told.action, told.node), (Action::CompareAndSwap, at("/a", "2", 3, 2)));
    let of_other = write("/a", NodeChange::CompareAndDelete(compare(None, Some(2))));
    assert_eq!(bed.refused_node(of_other), failed(None, Some((2, 3))));
    let told = bed.told(write("/a", NodeChange::CompareAndDelete(compare(None, Some(3)))));
    assert_eq!(
        (told.action, told.node.content, told.previous),
        (Action::CompareAndDelete, None, Some(at("/a", "2", 3, 2)))
    );
}

#[test]
fn a_directory_takes_the_place_of_a_file_in_one_change() {
    let mut bed = Bed::new();
    bed.ok(set("/a", "1"));
    let told = bed.told(make("/a"));
    assert!(told.node.is_directory());
    assert_eq!((told.previous, bed.value("/a")), (Some(at("/a", "1", 2, 2)), None));
    assert_eq!(bed.parts(), [("/a".to_owned(), Part::Replaced), ("/a/".to_owned(), Part::Own)]);
}

#[test]
fn a_directory_goes_with_all_that_is_in_it_and_each_event_says_so() {
    let mut bed = Bed::new();
    bed.ok(set("/a/b", "1"));
    bed.ok(set("/a/c/d", "1"));
    bed.ok(set("/ab", "1"));
    assert_eq!(bed.refused_node(remove("/a", false, false)), NodeRefusal::NotAFile(path("/a")));
    assert_eq!(bed.refused_node(remove("/a", true, false)), NodeRefusal::NotEmpty(path("/a")));
    let told = bed.told(remove("/a", false, true));
    assert_eq!((told.node.modified, told.node.created), (Revision(5), Revision(2)));
    assert!(told.node.is_directory() && told.previous.as_ref().is_some_and(Node::is_directory));
    assert_eq!(bed.event_keys(), ["/a/", "/a/b", "/a/c/", "/a/c/d"]);
    let all: Vec<_> = bed.events().iter().map(|event| NodeEvent::of(event).unwrap()).collect();
    assert!(all.iter().all(|each| *each == told));
    assert!(bed.value("/ab").is_some());
}

#[test]
fn a_directory_that_is_only_implied_is_one() {
    let mut bed = Bed::new();
    bed.ok(put("/a/b", "1"));
    assert_eq!(bed.refused_node(set("/a", "1")), NodeRefusal::NotAFile(path("/a")));
    assert_eq!(bed.refused_node(remove("/a", true, false)), NodeRefusal::NotEmpty(path("/a")));
    let told = bed.told(remove("/a", false, true));
    assert_eq!((told.node.path, told.node.created), (path("/a"), Revision(2)));
    assert_eq!(bed.event_keys(), ["/a/b"]);
}

#[test]
fn a_path_that_is_file_and_directory_is_the_file() {
    let mut bed = Bed::new();
    bed.ok(put("/a", "1"));
    bed.ok(put("/a/b", "1"));
    assert_eq!(bed.told(set("/a", "2")).node.content, Some(file("2")));
    bed.ok(set("/a/b", "2"));
    assert_eq!(bed.told(remove("/a", false, true)).node.content, None);
    assert_eq!(bed.value("/a/b").unwrap(), "2");
    assert_eq!(bed.refused_node(set("/a", "3")), NodeRefusal::NotAFile(path("/a")));
}

#[test]
fn names_in_order_are_the_revision() {
    let mut bed = Bed::new();
    let told = bed.told(write("/q", NodeChange::Append { content: file("1"), life: None }));
    assert_eq!((told.action, told.node.path), (Action::Create, path("/q/00000000000000000002")));
    let told = bed.told(write("/", NodeChange::Append { content: Content::Directory, life: None }));
    assert_eq!(told.node.path, path("/00000000000000000003"));
    bed.ok(set("/f", "1"));
    let on_file = write("/f", NodeChange::Append { content: file("1"), life: None });
    assert_eq!(bed.refused_node(on_file), NodeRefusal::NotADirectory(path("/f")));
}

#[test]
fn a_life_is_a_lease_of_the_nodes_own_that_the_next_write_ends() {
    let mut bed = Bed::new();
    let told = bed.told(set_for("/a", file("1"), 7, 5000));
    assert_eq!(told.node.expires, Some(Timestamp(START + 5000)));
    bed.time += 1000;
    let told = bed.told(set_for("/a", file("2"), 8, 9000));
    let ends = (told.node.expires, told.previous.unwrap().expires);
    assert_eq!(ends, (Some(Timestamp(START + 10_000)), Some(Timestamp(START + 5000))));
    assert_eq!(bed.lease_ids(), [8]);
    assert_eq!(bed.refused(set_for("/b", file("1"), 8, 1)), Refusal::LeaseExists(LeaseId(8)));
    let told = bed.told(set("/a", "3"));
    assert_eq!((told.node.expires, told.previous.unwrap().expires), (None, Some(Timestamp(START + 10_000))));
    assert!(bed.lease_ids().is_empty());
}

#[test]
fn a_refresh_keeps_the_value_and_is_told_to_nobody() {
    let mut bed = Bed::new();
    let life = |lease| Some(Life { lease: LeaseId(lease), ttl: Ttl(5000) });
    let refresh = |at: &str, lease| write(at, NodeChange::Set { content: file(""), life: life(lease), refresh: true });
    assert_eq!(bed.refused_node(refresh("/a/b", 7)), NodeRefusal::NotFound(path("/a")));
    bed.ok(set("/a", "keep"));
    let told = bed.told(refresh("/a", 7));
    assert_eq!((told.action, told.node.content), (Action::Set, Some(file("keep"))));
    assert_eq!(bed.parts(), [("/a".to_owned(), Part::Silent)]);
    let swap = NodeChange::CompareAndSwap {
        compare: compare(Some("keep"), None),
        value: bytes(""),
        life: life(8),
        refresh: true,
    };
    assert_eq!(bed.told(write("/a", swap)).node.content, Some(file("keep")));
    assert_eq!(bed.parts(), [("/a".to_owned(), Part::Silent)]);
}

#[test]
fn a_directory_that_expires_is_one_change_at_every_key_in_it() {
    let mut bed = Bed::new();
    bed.ok(set_for("/d", Content::Directory, 7, 5000));
    bed.ok(set("/d/a", "1"));
    let expiry = Command::ExpireLease { id: LeaseId(7), term: Term(1), renewals: 1 };
    assert_eq!(deleted(&bed.ok(expiry)), 2);
    for event in bed.events() {
        let told = NodeEvent::of(&event).unwrap();
        assert_eq!((event.kind, told.action, told.node.path), (EventKind::Expire, Action::Expire, path("/d")));
        assert_eq!(told.previous.unwrap().expires, Some(Timestamp(START + 5000)));
    }
    assert!(bed.lease_ids().is_empty());
}

#[test]
fn an_update_of_a_directory_changes_its_life_alone() {
    let mut bed = Bed::new();
    bed.ok(make("/d"));
    let life = Some(Life { lease: LeaseId(7), ttl: Ttl(5000) });
    let told = bed.told(write("/d", NodeChange::Update { value: bytes(""), life, refresh: false }));
    assert_eq!((told.node.modified, told.node.created), (Revision(3), Revision(2)));
    let previous = told.previous.unwrap();
    assert_eq!((previous.modified, previous.expires), (Revision(2), None));
    bed.ok(update("/d", ""));
    assert!(bed.lease_ids().is_empty());
}

#[test]
fn another_dialects_recursive_deletion_is_told_of_the_directory() {
    let mut bed = Bed::new();
    bed.ok(put("/a/b", "1"));
    bed.ok(put("/a/c", "1"));
    bed.ok(delete(directory("/a/", true)));
    let told: Vec<_> = bed.events().iter().map(|event| NodeEvent::of(event).unwrap().node.path).collect();
    assert_eq!(told, [path("/a"), path("/a")]);
    // The root is no node that can go, so its keys go one by one.
    bed.ok(put("/a/b", "1"));
    bed.ok(delete(directory("/", true)));
    assert_eq!(NodeEvent::of(&bed.events()[0]).unwrap().node.path, path("/a/b"));
}
