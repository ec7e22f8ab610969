//! JSON and YAML documents as keys and back.
//!
//! An object is a directory, its members are the names in it. An empty object is an empty directory. Any other value,
//! arrays included, is a key with that JSON value. The member `""` is the key of its object itself. A name with a
//! slash is escaped as in JSON Pointers (RFC 6901: `/` is `~1`, then `~` is `~0`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Language;
use crate::api::yaml::{self, Bounds};
use crate::cli::exit::{Failure, Outcome};

/// The member that stands for bytes that are not text: `{"$base64": "…"}`.
const BYTES: &str = "$base64";

/// What a document says of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// A JSON value.
    Json(String),
    /// Bytes without a type.
    Bytes(Vec<u8>),
    /// An empty directory: the key ends in a slash.
    Directory,
}

/// Reads a document.
pub(crate) fn parse(language: Language, text: &str) -> Result<Value, String> {
    match language {
        Language::Json => serde_json::from_str(text).map_err(|error| error.to_string()),
        Language::Yaml => yaml::read(text, Bounds::FILE).map_err(|error| error.to_string()),
    }
}

/// Writes a document.
pub(crate) fn render(language: Language, document: &Value) -> Result<String, String> {
    match language {
        Language::Json => {
            let text = serde_json::to_string_pretty(document).map_err(|error| error.to_string())?;
            Ok(text + "\n")
        }
        Language::Yaml => yaml::write(document, usize::MAX).map_err(|error| error.to_string()),
    }
}

/// The keys of a document below `prefix`, which ends in a slash.
///
/// # Errors
/// When the document is not an object.
pub(crate) fn flatten(prefix: &[u8], document: &Value) -> Outcome<Vec<(Vec<u8>, Leaf)>> {
    let Value::Object(object) = document else {
        return Err(Failure::usage("the document is not an object: there are no names to make keys of"));
    };
    let mut keys = Vec::new();
    if object.is_empty() {
        keys.push((prefix.to_vec(), Leaf::Directory));
    }
    members(prefix, object, &mut keys)?;
    Ok(keys)
}

fn members(directory: &[u8], object: &Map<String, Value>, keys: &mut Vec<(Vec<u8>, Leaf)>) -> Outcome<()> {
    for (name, value) in object {
        let mut key = directory.to_vec();
        if name.is_empty() {
            key.pop();
            if key.is_empty() {
                return Err(Failure::usage("the member \"\" at the top of the document has no key: the prefix is /"));
            }
        } else {
            key.extend_from_slice(escaped(name).as_bytes());
        }
        match value {
            Value::Object(inner) => match bytes_of(inner) {
                Some(bytes) => keys.push((key, Leaf::Bytes(bytes?))),
                None if name.is_empty() => {
                    return Err(Failure::usage(
                        "a member \"\" is the value of its object's key and cannot be an object",
                    ));
                }
                None => {
                    key.push(b'/');
                    if inner.is_empty() {
                        keys.push((key, Leaf::Directory));
                    } else {
                        members(&key, inner, keys)?;
                    }
                }
            },
            scalar => keys.push((key, Leaf::Json(scalar.to_string()))),
        }
    }
    Ok(())
}

fn bytes_of(object: &Map<String, Value>) -> Option<Outcome<Vec<u8>>> {
    let Some(Value::String(text)) = object.get(BYTES).filter(|_| object.len() == 1) else { return None };
    Some(STANDARD.decode(text).map_err(|error| Failure::usage(format!("{BYTES} `{text}` is not base64: {error}"))))
}

/// Only names that would be misread are escaped, so that a `~` in a key stays what it is.
fn escaped(name: &str) -> String {
    if name.contains('/') || name.contains("~0") || name.contains("~1") {
        name.replace('~', "~0").replace('/', "~1")
    } else {
        name.to_owned()
    }
}

fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

/// A document that is put together key by key.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    value: Option<Value>,
    members: BTreeMap<String, Node>,
    /// A directory marker, which matters only where there are no members.
    marked: bool,
}

impl Builder {
    /// Adds the key `relative` (to the prefix; empty for the prefix without its slash).
    ///
    /// # Errors
    /// When the name is not text.
    pub(crate) fn add(&mut self, relative: &[u8], leaf: Leaf) -> Result<(), String> {
        let text = std::str::from_utf8(relative).map_err(|_| "a name that is not UTF-8 cannot be in a document")?;
        let path = if leaf == Leaf::Directory { text.strip_suffix('/').unwrap_or(text) } else { text };
        let mut node = &mut self.root;
        if !path.is_empty() {
            if path.split('/').any(str::is_empty) {
                return Err("an empty name cannot be in a document".to_owned());
            }
            for name in path.split('/') {
                node = node.members.entry(unescaped(name)).or_default();
            }
        }
        match leaf {
            Leaf::Directory => node.marked = true,
            Leaf::Json(text) => node.value = Some(serde_json::from_str(&text).map_err(|error| error.to_string())?),
            Leaf::Bytes(bytes) => {
                node.value = Some(match String::from_utf8(bytes) {
                    Ok(text) => Value::String(text),
                    Err(error) => serde_json::json!({BYTES: STANDARD.encode(error.as_bytes())}),
                });
            }
        }
        Ok(())
    }

    /// The document. The top is always an object.
    #[must_use]
    pub(crate) fn finish(self) -> Value {
        match self.root.into_value() {
            Value::Object(object) => Value::Object(object),
            value => serde_json::json!({"": value}),
        }
    }
}

impl Node {
    fn into_value(self) -> Value {
        let is_directory = self.marked || !self.members.is_empty();
        let mut object = Map::new();
        match self.value {
            Some(value) if !is_directory => return value,
            Some(value) => drop(object.insert(String::new(), value)),
            None => {}
        }
        object.extend(self.members.into_iter().map(|(name, node)| (name, node.into_value())));
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn there_and_back(document: &Value) -> Value {
        let mut builder = Builder::default();
        for (key, leaf) in flatten(b"/app/", document).unwrap() {
            let relative = key.strip_prefix(b"/app/").unwrap_or(b"");
            builder.add(relative, leaf).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn objects_become_paths_and_everything_else_a_json_value() {
        let document = json!({"db": {"host": "h", "port": 5432, "tags": ["a"]}, "empty": {}, "off": null});
        let expected = [
            ("/app/db/host", Leaf::Json("\"h\"".to_owned())),
            ("/app/db/port", Leaf::Json("5432".to_owned())),
            ("/app/db/tags", Leaf::Json("[\"a\"]".to_owned())),
            ("/app/empty/", Leaf::Directory),
            ("/app/off", Leaf::Json("null".to_owned())),
        ];
        let expected: Vec<_> = expected.into_iter().map(|(key, leaf)| (key.as_bytes().to_vec(), leaf)).collect();
        assert_eq!(flatten(b"/app/", &document).unwrap(), expected);
    }

    #[test]
    fn a_document_comes_back_as_it_went_in() {
        for text in [
            "{}",
            r#"{"a":{"b":{"c":{}}}}"#,
            r#"{"n":[0,-1,1.50,1e400,123456789012345678901234567890,true,false,null,"",[],{"x":{}}]}"#,
            r#"{"http://x/y":1,"~":2,"~1":3,"~01":4,"a~b":5,"..":6,".":7," ":8,"ü":"\u0000"}"#,
            r#"{"a":{"":1,"b":2},"c":{"$base64":"/wA="},"d":{"$base64":"/w==","more":1}}"#,
            r#"{"":5,"a":1}"#,
        ] {
            let document = parse(Language::Json, text).unwrap();
            let back = there_and_back(&document);
            assert_eq!(back, document, "{text}");
            assert_eq!(parse(Language::Json, &render(Language::Json, &back).unwrap()).unwrap(), document);
        }
    }

    #[test]
    fn yaml_keeps_types_both_ways() {
        let text = "a:\n  s: 'true'\n  n: 5\n  f: 1.5\n  b: true\n  z: null\n  l: [1, two, {x: y}]\n  e: {}\n  m: |\n    x\n    y\n  t: 007\n  no: no\n  d: 2026-01-02\n";
        let document = parse(Language::Yaml, text).unwrap();
        let expected = json!({"a": {"s": "true", "n": 5, "f": 1.5, "b": true, "z": null, "l": [1, "two", {"x": "y"}],
            "e": {}, "m": "x\ny\n", "t": "007", "no": "no", "d": "2026-01-02"}});
        assert_eq!(document, expected);
        let rendered = render(Language::Yaml, &there_and_back(&document)).unwrap();
        assert_eq!(parse(Language::Yaml, &rendered).unwrap(), expected, "{rendered}");
    }

    #[test]
    fn strings_that_look_like_something_else_stay_strings_in_yaml() {
        let odd = [
            "",
            " ",
            "null",
            "~",
            "yes",
            "0x1f",
            "1e3",
            "- a",
            "a: b",
            "#c",
            "\u{0}",
            "a\tb",
            "\n",
            "'",
            "\"",
            "&a",
            "*a",
            "!t",
            "ü\u{2028}",
        ];
        let document = json!({"odd": odd});
        let rendered = render(Language::Yaml, &document).unwrap();
        assert_eq!(parse(Language::Yaml, &rendered).unwrap(), document, "{rendered}");
    }

    #[test]
    fn what_has_no_names_is_refused() {
        for document in [json!([1]), json!("x"), json!(null), json!({"a": {"": {"b": 1}}})] {
            assert!(flatten(b"/app/", &document).is_err(), "{document}");
        }
        assert!(flatten(b"/", &json!({"": 1})).is_err());
        assert!(flatten(b"/", &json!({"a": {"$base64": "!"}})).is_err());
    }

    #[test]
    fn a_key_that_is_also_a_directory_is_the_member_without_a_name() {
        let mut builder = Builder::default();
        builder.add(b"a", Leaf::Bytes(b"text".to_vec())).unwrap();
        builder.add(b"a/b", Leaf::Json("1".to_owned())).unwrap();
        builder.add(b"c", Leaf::Bytes(vec![0xff])).unwrap();
        assert!(builder.add(b"x\xff", Leaf::Directory).is_err());
        assert!(builder.add(b"x//y", Leaf::Directory).is_err());
        assert_eq!(builder.finish(), json!({"a": {"": "text", "b": 1}, "c": {"$base64": "/w=="}}));
    }
}
