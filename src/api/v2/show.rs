//! How nodes and their changes stand in JSON.

use jiff::Timestamp as Moment;

use super::json;
use crate::model::{Action, Content, Node, NodeEvent, Timestamp};
use crate::service::ShownNode;

const fn name(action: Action) -> &'static str {
    match action {
        Action::Set => "set",
        Action::Create => "create",
        Action::Update => "update",
        Action::CompareAndSwap => "compareAndSwap",
        Action::Delete => "delete",
        Action::CompareAndDelete => "compareAndDelete",
        Action::Expire => "expire",
    }
}

/// A change, and a line end behind it.
pub(super) fn event(event: &NodeEvent) -> Vec<u8> {
    let NodeEvent { action, node, previous, time } = event;
    let mut out = begin(name(*action), node);
    out.extend_from_slice(b",\"node\":");
    of_event(&mut out, node, *time);
    if let Some(previous) = previous {
        out.extend_from_slice(b",\"prevNode\":");
        of_event(&mut out, previous, *time);
    }
    out.extend_from_slice(b"}\n");
    out
}

/// That a change was made, without the nodes.
pub(super) fn action_alone(action: Action) -> Vec<u8> {
    format!("{{\"action\":\"{}\"}}\n", name(action)).into_bytes()
}

/// What is read; `None` where a directory comes to more bytes than this.
pub(super) fn read(shown: &ShownNode, max_bytes: usize) -> Option<Vec<u8>> {
    let mut out = begin("get", &shown.node);
    out.extend_from_slice(b",\"node\":");
    let max_bytes = if shown.node.is_directory() { max_bytes } else { usize::MAX };
    of_read(&mut out, shown, max_bytes);
    out.extend_from_slice(b"}\n");
    (out.len() <= max_bytes).then_some(out)
}

fn begin(action: &str, node: &Node) -> Vec<u8> {
    let value = match &node.content {
        Some(Content::File(value)) => value.len(),
        Some(Content::Directory) | None => 0,
    };
    let mut out = Vec::with_capacity(192 + 2 * (value + node.path.as_bytes().len()));
    out.extend_from_slice(b"{\"action\":\"");
    out.extend_from_slice(action.as_bytes());
    out.push(b'"');
    out
}

fn of_event(out: &mut Vec<u8>, node: &Node, time: Timestamp) {
    let left = node.expires.map(|expires| i128::from(expires.get()) - i128::from(time.get()));
    write(out, node, left, |_| {});
}

/// A directory that nothing is in to be shown has no `nodes`; nor has one below that was not asked for. Once there are more bytes
/// than are wanted, no further node is written.
fn of_read(out: &mut Vec<u8>, shown: &ShownNode, max_bytes: usize) {
    let left = shown.remaining.map(i128::from);
    write(out, &shown.node, left, |out| {
        let mut separator = b",\"nodes\":[".as_slice();
        for node in &shown.nodes {
            if out.len() > max_bytes {
                return;
            }
            out.extend_from_slice(separator);
            separator = b",";
            of_read(out, node, max_bytes);
        }
        if !shown.nodes.is_empty() {
            out.push(b']');
        }
    });
}

/// `left` is what is left of the node's life, in milliseconds.
fn write(out: &mut Vec<u8>, node: &Node, left: Option<i128>, nodes: impl FnOnce(&mut Vec<u8>)) {
    let mut separator = b"{".as_slice();
    let mut member = |out: &mut Vec<u8>, name: &str| {
        out.extend_from_slice(separator);
        separator = b",";
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
    };
    if !node.path.is_root() {
        member(out, "key");
        json::string(out, node.path.as_bytes());
    }
    match &node.content {
        Some(Content::File(value)) => {
            member(out, "value");
            json::string(out, value);
        }
        Some(Content::Directory) => {
            member(out, "dir");
            out.extend_from_slice(b"true");
        }
        None => {}
    }
    if let Some(date) = node.expires.and_then(date) {
        member(out, "expiration");
        json::string(out, date.as_bytes());
        let seconds = left.map_or(0, |left| left / 1000 + i128::from(left > 0 && left % 1000 > 0));
        if seconds != 0 {
            member(out, "ttl");
            out.extend_from_slice(seconds.to_string().as_bytes());
        }
    }
    nodes(out);
    for (name, index) in [("modifiedIndex", node.modified), ("createdIndex", node.created)] {
        if index.get() != 0 {
            member(out, name);
            json::number(out, index.get());
        }
    }
    out.push(b'}');
}

/// RFC 3339, without zeros at the end of the fraction.
fn date(expires: Timestamp) -> Option<String> {
    let moment = Moment::from_millisecond(i64::try_from(expires.get()).ok()?).ok()?;
    Some(moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NodePath, Revision};

    fn node(content: Option<Content>, expires: Option<u64>) -> Node {
        let path = NodePath::new("/a<b").unwrap();
        Node { path, content, expires: expires.map(Timestamp), modified: Revision(9), created: Revision(7) }
    }

    fn shown(node: Node, nodes: Vec<ShownNode>) -> ShownNode {
        ShownNode { node, remaining: None, nodes }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_event_shows_node_and_previous_node_in_etcds_order() {
        let file = Some(Content::File("v".into()));
        let told = NodeEvent {
            action: Action::CompareAndSwap,
            node: node(file.clone(), Some(1_900_000_005_120)),
            previous: Some(node(Some(Content::Directory), None)),
            time: Timestamp(1_900_000_000_119),
        };
        assert_eq!(
            text(event(&told)),
            "{\"action\":\"compareAndSwap\",\"node\":{\"key\":\"/a\\u003cb\",\"value\":\"v\",\
             \"expiration\":\"2030-03-17T17:46:45.12Z\",\"ttl\":6,\"modifiedIndex\":9,\"createdIndex\":7},\
             \"prevNode\":{\"key\":\"/a\\u003cb\",\"dir\":true,\"modifiedIndex\":9,\"createdIndex\":7}}\n"
        );
        assert_eq!(text(action_alone(Action::Set)), "{\"action\":\"set\"}\n");
    }

    #[test]
    fn a_life_that_is_over_has_a_date_and_no_ttl() {
        let over = |time| {
            let node = node(None, Some(1_900_000_000_000));
            text(event(&NodeEvent { action: Action::Expire, node, previous: None, time: Timestamp(time) }))
        };
        let shown = "\"expiration\":\"2030-03-17T17:46:40Z\",\"modifiedIndex\"";
        assert!(over(1_900_000_000_000).contains(shown) && over(1_900_000_000_999).contains(shown));
        assert!(over(1_900_000_001_500).contains("Z\",\"ttl\":-1,"), "{}", over(1_900_000_001_500));
    }

    #[test]
    fn the_root_has_neither_key_nor_indices_and_what_is_empty_no_nodes() {
        let root = Node {
            path: NodePath::new("").unwrap(),
            content: Some(Content::Directory),
            expires: None,
            modified: Revision::ZERO,
            created: Revision::ZERO,
        };
        let read = |shown: &ShownNode| text(read(shown, usize::MAX).unwrap());
        assert_eq!(read(&shown(root.clone(), Vec::new())), "{\"action\":\"get\",\"node\":{\"dir\":true}}\n");
        let inner = shown(node(Some(Content::File("".into())), None), Vec::new());
        assert_eq!(
            read(&shown(root, vec![inner.clone(), inner])),
            "{\"action\":\"get\",\"node\":{\"dir\":true,\"nodes\":[\
             {\"key\":\"/a\\u003cb\",\"value\":\"\",\"modifiedIndex\":9,\"createdIndex\":7},\
             {\"key\":\"/a\\u003cb\",\"value\":\"\",\"modifiedIndex\":9,\"createdIndex\":7}]}}\n"
        );
    }

    #[test]
    fn a_directory_is_not_shown_where_it_comes_to_more_bytes_than_that_and_a_file_always_is() {
        let file = shown(node(Some(Content::File("\0".repeat(100).into())), None), Vec::new());
        let directory = shown(node(Some(Content::Directory), None), vec![file.clone(); 100]);
        let whole = read(&directory, usize::MAX).unwrap();
        assert_eq!(read(&directory, whole.len()), Some(whole.clone()));
        assert_eq!(read(&directory, whole.len() - 1), None);
        let mut begun = Vec::new();
        of_read(&mut begun, &directory, 0);
        assert!(begun.len() < 1000, "{} bytes of {} were written in vain", begun.len(), whole.len());
        assert!(read(&file, 1).is_some());
    }
}
