//! How keys, lists and events stand in JSON: written straight into the buffer that goes out.
//!
//! Nothing here builds a tree of values: this is the hot path. Everything that shows a key, on whatever carrier,
//! goes through [`key_value`], so that a key looks the same everywhere.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::model::node::is_segment;
use crate::model::{EventKind, Key, KeyValue, LeaseId, Operation, Record, Revision, Timestamp, Ttl};

/// Whether records show their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    Show,
    /// `keysOnly`: in place of the value how many bytes it has.
    Size(u64),
    /// Answers to a writer, who knows the value.
    Omit,
}

impl Values {
    /// What `keysOnly` shows of a record that has its value.
    #[must_use]
    pub fn size(record: &Record) -> Self {
        Self::Size(record.value.len() as u64)
    }
}

/// One JSON object, written member by member. [`Object::end`] closes it.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of the buffer.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// The buffer, placed behind the name of a member. The caller writes one JSON value.
    pub fn member(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub fn string(&mut self, name: &str, text: &str) {
        string(self.member(name), text);
    }

    /// Bytes that name something: as text, or in base64url under `name64` where they are not UTF-8.
    pub fn name(&mut self, name: &str, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.string(name, text),
            Err(_) => self.string(&format!("{name}64"), &URL_SAFE_NO_PAD.encode(bytes)),
        }
    }

    pub fn number(&mut self, name: &str, number: u64) {
        self::number(self.member(name), number);
    }

    pub fn boolean(&mut self, name: &str, value: bool) {
        self.member(name).extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A member that is JSON already.
    pub fn raw(&mut self, name: &str, json: &[u8]) {
        self.member(name).extend_from_slice(json);
    }

    /// A 64-bit id: lower-case hexadecimal in a string, so that no JavaScript number rounds it.
    pub fn id(&mut self, name: &str, id: u64) {
        let out = self.member(name);
        out.push(b'"');
        hexadecimal(out, id);
        out.push(b'"');
    }

    /// A time to live in seconds.
    pub fn seconds(&mut self, name: &str, ttl: Ttl) {
        seconds(self.member(name), ttl);
    }

    /// An array, one element for each item.
    pub fn array<I: IntoIterator>(&mut self, name: &str, items: I, mut write: impl FnMut(&mut Vec<u8>, I::Item)) {
        let out = self.member(name);
        out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write(out, item);
        }
        out.push(b']');
    }

    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// A JSON string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    if is_plain(text) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing a string to memory cannot fail; an error would leave the buffer without it.
        drop(serde_json::to_writer(out, text));
    }
}

/// Whether a text stands in a string as it is (RFC 8259, section 7); most do. No loop that ends early: this one looks at many bytes at
/// once.
fn is_plain(text: &str) -> bool {
    !text.bytes().fold(false, |special, byte| special | matches!(byte, 0..0x20 | b'"' | b'\\'))
}

/// A JSON number.
pub fn number(out: &mut Vec<u8>, number: u64) {
    drop(serde_json::to_writer(out, &number));
}

fn hexadecimal(out: &mut Vec<u8>, id: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (16 - id.leading_zeros() / 4).max(1);
    for place in (0..digits).rev() {
        let nibble = usize::try_from((id >> (place * 4)) & 0xf).unwrap_or_default();
        out.push(DIGITS.get(nibble).copied().unwrap_or(b'0'));
    }
}

/// Seconds with at most three decimals.
fn seconds(out: &mut Vec<u8>, ttl: Ttl) {
    number(out, ttl.get() / 1000);
    let rest = ttl.get() % 1000;
    if rest > 0 {
        let mut text = format!(".{rest:03}");
        text.truncate(text.trim_end_matches('0').len());
        out.extend_from_slice(text.as_bytes());
    }
}

/// Whether a media type is JSON: `application/json`, `text/json` or anything `+json` (RFC 6839, section 3.1).
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let ends_with = |suffix: &str| {
        essence
            .len()
            .checked_sub(suffix.len())
            .and_then(|at| essence.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    essence.eq_ignore_ascii_case("application/json") || essence.eq_ignore_ascii_case("text/json") || ends_with("+json")
}

/// The members that name a key: `key`, or `key64` (base64url) for a key that is not UTF-8.
pub fn key_members(object: &mut Object<'_>, key: &Key) {
    object.name("key", key.as_bytes());
}

/// The member that names a key, and what it says.
#[must_use]
pub fn key_name(key: &Key) -> (&'static str, Cow<'_, str>) {
    match std::str::from_utf8(key.as_bytes()) {
        Ok(text) => ("key", text.into()),
        Err(_) => ("key64", URL_SAFE_NO_PAD.encode(key.as_bytes()).into()),
    }
}

/// The members `value` and `encoding`.
fn value_members(object: &mut Object<'_>, record: &Record) {
    if record.content_type.as_deref().is_some_and(is_json) && !record.value.is_empty() {
        one_line(object.member("value"), &record.value);
        object.raw("encoding", b"\"json\"");
    } else if let Ok(text) = std::str::from_utf8(&record.value) {
        object.string("value", text);
        object.raw("encoding", b"\"utf8\"");
    } else {
        let out = object.member("value");
        out.push(b'"');
        out.extend_from_slice(STANDARD.encode(&record.value).as_bytes());
        out.push(b'"');
        object.raw("encoding", b"\"base64\"");
    }
}

/// JSON without line breaks, for carriers that end a record with one. In JSON a raw line break stands only between
/// tokens, where a blank means the same (RFC 8259, section 2).
fn one_line(out: &mut Vec<u8>, json: &[u8]) {
    if json.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    } else {
        out.extend_from_slice(json);
    }
}

/// The members of a key and its record, without the braces: others may follow.
pub fn key_value_members(object: &mut Object<'_>, key: &Key, record: &Record, ttl: Option<Ttl>, values: Values) {
    key_members(object, key);
    match values {
        Values::Show => value_members(object, record),
        Values::Size(bytes) => object.number("size", bytes),
        Values::Omit => {}
    }
    if let Some(content_type) = &record.content_type {
        object.string("contentType", content_type);
    }
    object.number("createRevision", record.create_revision.get());
    object.number("modRevision", record.mod_revision.get());
    object.number("version", record.version);
    if let Some(lease) = record.lease {
        object.id("lease", lease.get());
        if let Some(ttl) = ttl {
            object.seconds("ttl", ttl);
        }
    }
}

/// How much a key and its record take, unless much has to be escaped.
pub fn room(key: &Key, record: &Record) -> usize {
    key.as_bytes().len() + record.value.len() + 192
}

/// One key as an object. `ttl` is what is left of its lease, where that is known.
pub fn key_value(out: &mut Vec<u8>, key: &Key, record: &Record, ttl: Option<Ttl>, values: Values) {
    out.reserve(room(key, record));
    let mut object = Object::begin(out);
    key_value_members(&mut object, key, record, ttl, values);
    object.end();
}

/// Many keys as an array member.
pub fn key_values<'a>(
    object: &mut Object<'_>,
    name: &str,
    items: impl IntoIterator<Item = &'a KeyValue>,
    values: Values,
    ttl: impl Fn(LeaseId) -> Option<Ttl>,
) {
    object.array(name, items, |out, item| {
        key_value(out, &item.key, &item.record, item.record.lease.and_then(&ttl), values);
    });
}

/// Names of keys as an array of strings under `name`; those that are not UTF-8 as base64url under `name64`, which is
/// there only when it has any.
pub fn key_names<'a>(object: &mut Object<'_>, name: &str, keys: impl IntoIterator<Item = &'a Key> + Clone) {
    let text = keys.clone().into_iter().filter_map(|key| std::str::from_utf8(key.as_bytes()).ok());
    object.array(name, text, string);
    let mut binary = keys.into_iter().filter(|key| std::str::from_utf8(key.as_bytes()).is_err()).peekable();
    if binary.peek().is_some() {
        object.array(&format!("{name}64"), binary, |out, key| string(out, &URL_SAFE_NO_PAD.encode(key.as_bytes())));
    }
}

/// The name of an event's kind.
#[must_use]
pub const fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Put => "put",
        EventKind::Delete => "delete",
        EventKind::Expire => "expire",
    }
}

/// The name of what was asked for, as history shows it.
#[must_use]
pub const fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Put => "put",
        Operation::Patch => "patch",
        Operation::Increment => "increment",
        Operation::Append => "append",
        Operation::CreateDirectory => "createDirectory",
        Operation::Delete => "delete",
        Operation::Transaction => "transaction",
        Operation::Rollback => "rollback",
        Operation::Copy => "copy",
        Operation::Move => "move",
        Operation::Revoke => "revoke",
        Operation::Expire => "expire",
    }
}

/// What a watch shows of the keys that change.
#[derive(Debug, Clone, Copy, Default)]
pub struct Detail {
    /// What a change replaced or removed, too.
    pub previous: bool,
    /// Sizes in place of values.
    pub keys_only: bool,
}

impl Detail {
    /// How a record that has its value stands in the event.
    #[must_use]
    pub fn values(self, record: &Record) -> Values {
        if self.keys_only { Values::size(record) } else { Values::Show }
    }
}

/// What an event shows of the key.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub kind: EventKind,
    pub key: &'a Key,
    /// The record that the change made; `None` for a deletion.
    pub record: Option<&'a Record>,
    pub revision: Revision,
    /// What the change replaced or removed, if it is to be shown.
    pub previous: Option<&'a Record>,
    /// Sizes in place of values.
    pub keys_only: bool,
}

/// The members of a change, as watches and history show them: `type`, then the key as everywhere, then `prev`.
pub fn change_members(object: &mut Object<'_>, change: &Change<'_>, ttl: Option<Ttl>) {
    let values = |record| Detail { previous: false, keys_only: change.keys_only }.values(record);
    object.string("type", kind(change.kind));
    if let Some(record) = change.record {
        key_value_members(object, change.key, record, ttl, values(record));
    } else {
        key_members(object, change.key);
        object.number("modRevision", change.revision.get());
    }
    if let Some(previous) = change.previous {
        key_value(object.member("prev"), change.key, previous, None, values(previous));
    }
}

/// A moment as RFC 3339 in UTC, with milliseconds.
#[must_use]
pub fn time(time: Timestamp) -> String {
    let milliseconds = i64::try_from(time.get()).unwrap_or(i64::MAX);
    let moment = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::MAX);
    format!("{moment:.3}")
}

/// The path under which a key is found on this API: `/v1/keys/app/db`, or `/v1/keys?key64=…` for a key that a path
/// cannot say.
#[must_use]
pub fn location(key: &Key) -> String {
    let sayable = std::str::from_utf8(key.as_bytes()).ok().and_then(|text| {
        let segments = text.strip_prefix('/')?;
        segments.split('/').all(|segment| is_segment(segment.as_bytes())).then_some(text)
    });
    let Some(text) = sayable else {
        return format!("/v1/keys?key64={}", URL_SAFE_NO_PAD.encode(key.as_bytes()));
    };
    let mut path = String::with_capacity(text.len() + 8);
    path.push_str("/v1/keys");
    path.extend(percent_encoding::utf8_percent_encode(text, PATH));
    path
}

/// What has to be encoded in a path (RFC 3986, section 3.3). A colon is encoded too, so that it never begins a verb.
const PATH: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &'static [u8], content_type: Option<&str>) -> Record {
        Record {
            value: value.into(),
            content_type: content_type.map(Into::into),
            create_revision: Revision(5),
            mod_revision: Revision(9),
            version: 3,
            lease: Some(LeaseId(0x694d_8a1f_3c2b)),
        }
    }

    fn shown(key: &'static [u8], record: &Record, ttl: Option<Ttl>, values: Values) -> String {
        let mut out = Vec::new();
        key_value(&mut out, &Key::new(key).unwrap(), record, ttl, values);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_stands_as_it_is_is_what_escaping_leaves_alone() {
        for character in (0..0x800).filter_map(char::from_u32) {
            let text = character.to_string();
            let escaped = serde_json::to_string(&text).unwrap();
            assert_eq!(is_plain(&text), escaped == format!("\"{text}\""), "{character:?}");
        }
        assert!(!is_plain(&format!("{}\n", "x".repeat(99))));
    }

    #[test]
    fn a_key_looks_as_documented() {
        assert_eq!(
            shown(b"/app/db", &record(b"postgres://", Some("text/plain")), Some(Ttl(27_400)), Values::Show),
            r#"{"key":"/app/db","value":"postgres://","encoding":"utf8","contentType":"text/plain","createRevision":5,"modRevision":9,"version":3,"lease":"694d8a1f3c2b","ttl":27.4}"#
        );
    }

    #[test]
    fn json_stands_as_json_on_one_line() {
        let json = record(b"{\"a\":\n 1.50}", Some("application/json; charset=utf-8"));
        assert!(shown(b"/a", &json, None, Values::Show).contains(r#""value":{"a":  1.50},"encoding":"json""#));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_base64_and_so_are_such_keys() {
        let text = shown(b"\xab\x39\xa2", &record(b"\xff\x00", None), None, Values::Show);
        assert!(text.starts_with(r#"{"key64":"qzmi","value":"/wA=","encoding":"base64""#), "{text}");
    }

    #[test]
    fn values_can_be_left_out() {
        let x = record(b"xyz", None);
        let text = shown(b"/a", &x, None, Values::Omit);
        assert!(!text.contains("value") && !text.contains("encoding") && !text.contains("size"), "{text}");
        let text = shown(b"/a", &x, None, Values::size(&x));
        assert!(text.starts_with(r#"{"key":"/a","size":3,"createRevision":5"#), "{text}");
    }

    #[test]
    fn ids_are_lower_case_hexadecimal_without_leading_zeros() {
        for id in [1, 0xf, 0x10, 0xabc, u64::MAX] {
            let mut out = Vec::new();
            hexadecimal(&mut out, id);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{id:x}"));
        }
    }

    #[test]
    fn seconds_keep_their_milliseconds() {
        let text = |ttl| {
            let mut out = Vec::new();
            seconds(&mut out, Ttl(ttl));
            String::from_utf8(out).unwrap()
        };
        assert_eq!([text(0), text(30_000), text(27_400), text(1), text(1_050)], ["0", "30", "27.4", "0.001", "1.05"]);
    }

    #[test]
    fn media_types_are_json_by_name_or_suffix() {
        assert!(is_json("application/json"));
        assert!(is_json("Application/JSON;charset=utf-8"));
        assert!(is_json("application/merge-patch+json"));
        assert!(!is_json("application/jsonlines"));
        assert!(!is_json("text/plain"));
    }

    #[test]
    fn a_location_leads_back_to_the_key() {
        let at = |key: &'static [u8]| location(&Key::new(key).unwrap());
        assert_eq!(at(b"/queue/00000000000000000012"), "/v1/keys/queue/00000000000000000012");
        assert_eq!(at("/a b/ü:increment".as_bytes()), "/v1/keys/a%20b/%C3%BC%3Aincrement");
        assert_eq!(at(b"\xab\x39\xa2"), "/v1/keys?key64=qzmi");
        assert_eq!(at(b"/a//b"), "/v1/keys?key64=L2EvL2I");
        assert_eq!(at(b"/a/"), "/v1/keys?key64=L2Ev");
    }

    #[test]
    fn moments_are_rfc_3339() {
        assert_eq!(time(Timestamp(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
    }
}
