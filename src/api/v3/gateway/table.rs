//! What the messages are made of, as tables that `build.rs` writes from the files of `proto/`.

/// The fields of a message, in order of their numbers, which is the order in which etcd reads and writes them.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) fields: &'static [Field],
}

#[derive(Debug)]
pub(super) struct Field {
    /// As in the file: `range_end`. Answers have this one, requests either.
    pub(super) name: &'static str,
    /// `rangeEnd`.
    pub(super) camel: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
    /// Of all such fields of a message, one is there at most. No message has two such groups.
    pub(super) one_of: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Bool,
    Int64,
    Uint64,
    Uint32,
    String,
    Bytes,
    Enum(&'static Enum),
    Message(&'static Message),
}

#[derive(Debug)]
pub(super) struct Enum {
    /// The name of its type in Go, which errors tell.
    pub(super) name: &'static str,
    pub(super) values: &'static [(&'static str, i32)],
}

/// A method of gRPC.
#[derive(Debug)]
pub(super) struct Method {
    /// `/service/method`.
    pub(super) path: &'static str,
    pub(super) input: &'static Message,
    pub(super) output: &'static Message,
    /// A request has many messages.
    pub(super) takes_many: bool,
    /// An answer has many messages.
    pub(super) gives_many: bool,
}

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_its_names_number_and_kind() {
        let method = METHODS.iter().find(|method| method.path == "/etcdserverpb.KV/Range").unwrap();
        let field = &method.input.fields[1];
        assert_eq!((field.name, field.camel, field.number), ("range_end", "rangeEnd", 2));
        assert!(matches!(field.kind, Kind::Bytes) && !field.repeated && !field.one_of);
        let Kind::Enum(order) = method.input.fields[4].kind else { panic!("no enum") };
        assert_eq!((order.name, order.values[2]), ("etcdserverpb.RangeRequest_SortOrder", ("DESCEND", 2)));
        let watch = METHODS.iter().find(|method| method.path == "/etcdserverpb.Watch/Watch").unwrap();
        assert!(watch.takes_many && watch.gives_many && watch.input.fields.iter().all(|field| field.one_of));
    }

    #[test]
    fn fields_are_in_order_of_their_numbers() {
        for method in METHODS {
            for message in [method.input, method.output] {
                assert!(message.fields.is_sorted_by_key(|field| field.number), "{}", method.path);
            }
        }
    }
}
