//! YAML as JSON and back, alike for requests to the server and for the files of the command line.
//!
//! YAML 1.2, in doubt text: `no` is a country and `007` an agent. Numbers that JSON can write keep all their digits, of any
//! size; members keep their order. What JSON has no place for is refused, at its line and column. Nothing here knows of requests.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write};
use std::panic::resume_unwind;
use std::thread;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned, UserMessageFormatter};

use crate::model::limits::{MAX_CONVERTED_BYTES, MAX_CONVERTED_VALUES, MAX_JSON_DEPTH};

/// How large a document may be, with what its aliases stand for written out.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How deep it nests.
    pub depth: usize,
    /// The values and names in it.
    pub values: usize,
    /// The bytes of its texts.
    pub bytes: usize,
}

impl Bounds {
    /// A document in a request.
    pub const REQUEST: Self = Self { depth: MAX_JSON_DEPTH, values: MAX_CONVERTED_VALUES, bytes: MAX_CONVERTED_BYTES };
    /// A file of the user's own, which may be as large as it is; as deep as JSON that is read from one.
    pub const FILE: Self = Self { depth: 128, values: usize::MAX, bytes: usize::MAX };
}

/// What aliases of a document may write out besides, in values.
const MAX_REPEATED: usize = 1_000_000;

/// The stack that reading takes: some 50 KiB for each level in a debug build, more than a thread of the runtime has for all.
const STACK_BYTES: usize = 32 * 1024 * 1024;

/// Why a text is no YAML that can be read as JSON.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// By the rules of YAML, or by those of this reader: its message has the line, the column and what stands there.
    #[error("{}", .0.render_with_formatter(&UserMessageFormatter))]
    Yaml(#[from] serde_saphyr::Error),
    /// By those of JSON.
    #[error("line {line}, column {column}: {why}")]
    Json { line: u64, column: u64, why: String },
    /// It is larger than its bounds.
    #[error("{0}")]
    Beyond(String),
    #[error("no thread can be had to read it: {0}")]
    NoThread(#[source] std::io::Error),
}

impl Malformed {
    fn at(location: Location, why: impl Into<String>) -> Self {
        Self::Json { line: location.line(), column: location.column(), why: why.into() }
    }

    /// The line and the column, from 1.
    #[must_use]
    pub fn place(&self) -> Option<(u64, u64)> {
        match self {
            Self::Yaml(error) => error.location().map(|location| (location.line(), location.column())),
            Self::Json { line, column, why: _ } => Some((*line, *column)),
            Self::Beyond(_) | Self::NoThread(_) => None,
        }
    }

    /// What is wrong in one line.
    #[must_use]
    pub fn in_short(&self) -> String {
        match self {
            Self::Yaml(error) => match error.without_snippet() {
                serde_saphyr::Error::MultipleDocuments { location, .. } => {
                    let why = "here begins another document, and one is taken at a time";
                    Self::at(*location, why).to_string()
                }
                error => error.render_with_formatter(&UserMessageFormatter).replace('\n', " "),
            },
            Self::Json { .. } | Self::Beyond(_) | Self::NoThread(_) => self.to_string(),
        }
    }
}

/// Why a value was not written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    /// It would take more than that many bytes.
    #[error("as YAML it would be larger than {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// Reads one document, on a thread of its own. Blocks.
///
/// # Errors
/// What is wrong, and where.
pub fn read(text: &str, bounds: Bounds) -> Result<Value, Malformed> {
    thread::scope(|scope| {
        let reading = thread::Builder::new().name("yaml".to_owned()).stack_size(STACK_BYTES);
        let reading = reading.spawn_scoped(scope, || read_here(text, bounds)).map_err(Malformed::NoThread)?;
        reading.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn read_here(text: &str, bounds: Bounds) -> Result<Value, Malformed> {
    let left = Left { values: Cell::new(bounds.values), bytes: Cell::new(bounds.bytes), beyond: RefCell::default() };
    let measured = serde_saphyr::with_deserializer_from_str_with_options(text, options(), |document| {
        Measure { left: &left, depth: bounds.depth, most: bounds }.deserialize(document)
    });
    if let Some(beyond) = left.beyond.take() {
        return Err(Malformed::Beyond(beyond));
    }
    measured?;
    let document: Spanned<Node> = serde_saphyr::from_str_with_options(text, options())?;
    value(text, document)
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // `Measure` counts what is made of the text.
        budget: None,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        // A tag says what a value is: nobody is told if it is left out.
        reject_unsupported_tags: true,
        // Looked at with the text, which may be that of a large number.
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
    }
}

/// What of the bounds is left.
struct Left {
    values: Cell<usize>,
    bytes: Cell<usize>,
    /// Which bound was reached.
    beyond: RefCell<Option<String>>,
}

/// Goes through a document and keeps nothing, before anything is kept: an alias takes two bytes, and stands for as much as there is.
#[derive(Clone, Copy)]
struct Measure<'a> {
    left: &'a Left,
    depth: usize,
    most: Bounds,
}

impl Measure<'_> {
    fn spend<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        let Bounds { depth: _, values, bytes: most } = self.most;
        match (self.left.values.get().checked_sub(1), self.left.bytes.get().checked_sub(bytes)) {
            (None, _) => Err(self.refuse(format!("the document has more than the {values} values and names allowed"))),
            (_, None) => Err(self.refuse(format!("the texts of the document have more than the {most} bytes allowed"))),
            (Some(values), Some(bytes)) => {
                self.left.values.set(values);
                self.left.bytes.set(bytes);
                Ok(())
            }
        }
    }

    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(self.refuse(format!("the document is nested deeper than {} levels", self.most.depth))),
        }
    }

    fn refuse<E: serde::de::Error>(self, why: String) -> E {
        let error = E::custom(&why);
        self.left.beyond.replace(Some(why));
        error
    }
}

impl<'de> DeserializeSeed<'de> for Measure<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Measure<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.spend(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.spend(0)?;
        let inside = self.inside()?;
        while items.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.spend(0)?;
        let inside = self.inside()?;
        while members.next_entry_seed(inside, inside)?.is_some() {}
        Ok(())
    }
}

/// A value as YAML has it, with where each stands.
enum Node {
    Null,
    Bool(bool),
    /// How it is written says more than what it was read as; `None` for no number of JSON's.
    Number(Option<Number>),
    Text(String),
    Items(Vec<Spanned<Node>>),
    Members(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(Some(value.into())))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(Some(value.into())))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(Number::from_f64(value)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::Items(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Node::Members(members))
    }
}

fn value(text: &str, node: Spanned<Node>) -> Result<Value, Malformed> {
    Ok(match node.value {
        Node::Null => Value::Null,
        Node::Bool(value) => Value::Bool(value),
        Node::Number(number) => {
            let number = as_written(text, node.defined).or(number);
            Value::Number(number.ok_or_else(|| Malformed::at(node.referenced, "JSON has no number for this"))?)
        }
        Node::Text(text) => Value::String(text),
        Node::Items(items) => Value::Array(items.into_iter().map(|item| value(text, item)).collect::<Result<_, _>>()?),
        Node::Members(members) => {
            let mut object = Map::with_capacity(members.len());
            for (name, member) in members {
                let (place, name) = (name.referenced, name.value);
                if object.contains_key(&name) {
                    return Err(Malformed::at(place, format!("the name {name:?} stands twice in its object")));
                }
                object.insert(name, value(text, member)?);
            }
            Value::Object(object)
        }
    })
}

/// The number at a place of a text, where JSON writes it in the same way.
fn as_written(text: &str, place: Location) -> Option<Number> {
    let span = place.span();
    let from = usize::try_from(span.byte_offset()?).ok()?;
    let written = text.get(from..from.checked_add(usize::try_from(span.byte_len()?).ok()?)?)?;
    let is_bare = written.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if is_bare { serde_json::from_str(written).ok() } else { None }
}

/// Writes a value in block style, at most so many bytes.
///
/// # Errors
/// When it is larger.
pub fn write(value: &Value, limit: usize) -> Result<String, Unwritable> {
    let number = RefCell::default();
    let mut page = Page { text: String::new(), limit, is_full: false, number: &number };
    let written = serde_saphyr::to_fmt_writer(&mut page, &Plain { value, number: &number });
    if page.is_full {
        return Err(Unwritable::TooLarge(limit));
    }
    written?;
    Ok(page.text)
}

/// What stands for a number on its way to the page: the library writes no number of any size.
const STAND_IN: &str = "0";

/// Where the library writes to: bounded, and it puts each number in the place of what stands for it.
struct Page<'a> {
    text: String,
    limit: usize,
    is_full: bool,
    number: &'a RefCell<Option<String>>,
}

impl Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let number = if text == STAND_IN { self.number.take() } else { None };
        let text = number.as_deref().unwrap_or(text);
        self.is_full |= self.text.len() + text.len() > self.limit;
        if self.is_full {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// A value as YAML writes it: `serde_json` hands out its numbers, kept as text, in a form of its own.
struct Plain<'a> {
    value: &'a Value,
    /// The number that is to be written next.
    number: &'a RefCell<Option<String>>,
}

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = self.number;
        match self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(written) => {
                number.replace(Some(written.to_string()));
                let done = serializer.serialize_u64(0)?;
                if number.take().is_some() {
                    return Err(S::Error::custom("a number was left out"));
                }
                Ok(done)
            }
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                for value in items {
                    sequence.serialize_element(&Plain { value, number })?;
                }
                sequence.end()
            }
            Value::Object(object) => {
                let mut map = serializer.serialize_map(Some(object.len()))?;
                for (name, value) in object {
                    map.serialize_entry(name, &Plain { value, number })?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn there_and_back(document: &Value) {
        let text = write(document, usize::MAX).unwrap();
        let back = read(&text, Bounds::FILE).unwrap_or_else(|error| panic!("{error}\n{document}\n{text}"));
        assert_eq!(back, *document, "{text}");
        assert_eq!(back.to_string(), document.to_string(), "order and numbers are kept:\n{text}");
        assert_eq!(write(&back, usize::MAX).unwrap(), text, "it is stable");
    }

    fn refused(text: &str) -> (Option<(u64, u64)>, String) {
        let error = read(text, Bounds::REQUEST).unwrap_err();
        (error.place(), error.in_short())
    }

    #[test]
    fn types_are_those_of_yaml_1_2_and_in_doubt_text() {
        let text = "a:\n  s: 'true'\n  n: 5\n  b: true\n  z: null\n  l: [1, two, {x: y}]\n  e: {}\n  m: |\n    x\n    y\n\
                    t: 007\nno: no\nd: 2026-01-02\nh: 0x1f\nu: 1_000\n8080: port\n";
        let expected = json!({"a": {"s": "true", "n": 5, "b": true, "z": null, "l": [1, "two", {"x": "y"}], "e": {},
            "m": "x\ny\n"}, "t": "007", "no": "no", "d": "2026-01-02", "h": 31, "u": "1_000", "8080": "port"});
        assert_eq!(read(text, Bounds::REQUEST).unwrap().to_string(), expected.to_string());
    }

    #[test]
    fn numbers_keep_all_their_digits() {
        let numbers =
            ["0", "-0", "1.50", "1e+3", "1.5e-7", "1e+400", "123456789012345678901234567890", "-18446744073709551616"];
        let text = format!("[{}]", numbers.join(", "));
        assert_eq!(read(&text, Bounds::REQUEST).unwrap().to_string(), format!("[{}]", numbers.join(",")));
        let anchored = "a: &n 1.50\nb: *n\nc: &m\n  <<: {x: 123456789012345678901234567890}\n";
        let read = read(anchored, Bounds::REQUEST).unwrap();
        assert_eq!(read.to_string(), r#"{"a":1.50,"b":1.50,"c":{"x":123456789012345678901234567890}}"#);
        for number in numbers {
            there_and_back(&serde_json::from_str(&format!("{{\"a\":[[{number}],{number}],\"b\":{number}}}")).unwrap());
            there_and_back(&serde_json::from_str(number).unwrap());
        }
    }

    #[test]
    fn refusals_speak_to_who_wrote_the_document() {
        let (place, why) = refused("a: 1\na: 2\n");
        assert_eq!(place, Some((2, 1)));
        assert!(why.contains("`a` is not allowed here"), "{why}");
        let whole = read("a: 1\na: 2\n", Bounds::FILE).unwrap_err().to_string();
        assert!(whole.contains("2 | a: 2") && whole.contains("`a` is not allowed here"), "{whole}");
    }

    #[test]
    fn text_that_looks_like_something_else_stays_text() {
        let odd = [
            "",
            " ",
            " x",
            "x ",
            "null",
            "~",
            "yes",
            "no",
            "on",
            "0x1f",
            "1e3",
            "0",
            "007",
            "1_000",
            "12:30",
            "2026-01-01",
            ".inf",
            "- a",
            "a: b",
            "#c",
            "a #b",
            "\u{0}",
            "\u{7f}\u{85}",
            "a\tb",
            "\n",
            "a\nb",
            "a\n\n b\n",
            " a\nb",
            "a\r\nb",
            "'",
            "\"",
            "&a",
            "*a",
            "!t",
            "|",
            ">",
            "%",
            "@",
            "`",
            "{",
            "[",
            "?",
            "? a",
            "---",
            "...",
            "<<",
            "ü\u{2028}",
            "\u{feff}",
            "🔑",
            "👩‍👩‍👧",
            "=",
            "-",
            "true",
            "{{ x }}",
        ];
        there_and_back(&json!({"odd": odd.as_slice()}));
        there_and_back(&Value::Object(odd.iter().map(|name| ((*name).to_owned(), json!([name]))).collect()));
        for text in odd {
            there_and_back(&json!(text));
        }
        for length in [79, 81, 500, 1023, 1025, 5000] {
            let words = "word ".repeat(length / 5);
            there_and_back(&json!({"text": words, "one": "x".repeat(length), "list": [words, [words]]}));
            let mut object = Map::new();
            object.insert("n".repeat(length), json!("deep"));
            there_and_back(&Value::Object(object));
        }
    }

    #[test]
    fn what_json_has_no_place_for_is_refused_where_it_stands() {
        for (text, place, words) in [
            ("a: 1\nb: [\n", (2, 4), "unclosed"),
            ("a: 1\n b: 2\n", (2, 3), ""),
            ("a: 1\na: 2\n", (2, 1), "duplicate"),
            ("1: a\n\"1\": b\n", (2, 1), "twice"),
            ("a: 1\n? [x, y]\n: 2\n", (2, 3), ""),
            ("a: 1\n---\nb: 2\n", (3, 1), "another document"),
            ("a:\n  - .inf\n", (2, 5), "JSON has no number"),
            ("a: .nan\n", (1, 4), "JSON has no number"),
            ("a:\n  b: !Ref x\n", (2, 11), "tag"),
            ("a: *b\n", (1, 4), ""),
            ("a: &a [*a]\n", (1, 8), ""),
            ("a: \"\\q\"\n", (1, 4), ""),
            ("a: !!int x\n", (1, 10), ""),
        ] {
            let (found, message) = refused(text);
            assert!(found.is_some_and(|(line, _)| line == place.0), "{text:?}: {found:?} {message}");
            assert!(message.contains(words) && !message.contains('\n'), "{text:?}: {message}");
            assert_eq!(found, Some(place), "{text:?}: {message}");
        }
    }

    #[test]
    fn aliases_depth_and_sizes_are_bounded_before_anything_is_kept() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, of) in ('b'..='i').zip('a'..) {
            let _infallible =
                writeln!(bomb, "{name}: &{name} [*{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}]");
        }
        assert!(refused(&bomb).1.contains("more than the 250000 values"));
        let fat = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(1_000_000), "*a, ".repeat(1000));
        assert!(refused(&fat).1.contains("bytes allowed"));
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(MAX_JSON_DEPTH), Bounds::REQUEST).is_ok());
        assert!(refused(&nested(MAX_JSON_DEPTH + 1)).1.contains("deeper than 64"));
        assert!(read(&nested(100_000), Bounds::REQUEST).is_err());
        let deep = (0..100).fold(String::new(), |text, level| text + &"  ".repeat(level) + "a:\n");
        assert!(refused(&deep).1.contains("deeper than 64"));
        let chain =
            (1..100).fold("a0: &a0 [x]\n".to_owned(), |text, at| text + &format!("a{at}: &a{at} [*a{}]\n", at - 1));
        assert!(read(&chain, Bounds::REQUEST).is_err());
    }

    #[test]
    fn what_is_written_is_bounded() {
        let wide = json!([[[[vec!["x"; 100]]]]]);
        let text = write(&wide, usize::MAX).unwrap();
        assert_eq!(write(&wide, text.len()).unwrap(), text);
        assert!(matches!(write(&wide, text.len() - 1), Err(Unwritable::TooLarge(_))));
    }

    fn documents() -> impl Strategy<Value = Value> {
        let number = "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?";
        let text = prop_oneof![
            any::<String>(),
            "[ \\t\\n#:,\\-?\\[\\]{}&*!|>'\"%@`~0-9a-zé🔑.]{0,12}",
            "(yes|no|on|off|true|null|~|[0-9]{1,4}[-:_.e][0-9]{1,3}|0[xob][0-9]{1,3})",
            "([a-z ]{0,30}\\n){1,4}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            number.prop_map(|text| serde_json::from_str(&text).unwrap()),
            text.clone().prop_map(Value::String),
        ];
        leaf.prop_recursive(5, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((text.clone(), inner), 0..6)
                    .prop_map(|all| Value::Object(all.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_comes_back_from_yaml_as_it_went_in(document in documents()) {
            there_and_back(&document);
        }
    }
}
