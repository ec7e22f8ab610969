//! JSON from clients: well-formed, bounded in depth, and read into declared shapes that know all their members.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::duration;
use super::query::{Kind as _, LEASE_ID, Literal64, MEMBER_ID, lease_id, member_id};
use crate::api::problem::Problem;
use crate::model::limits::MAX_JSON_DEPTH;
use crate::model::{Key, LeaseId, MemberId, Ttl};

/// Checks that bytes are one JSON text of bounded depth, without building it.
///
/// # Errors
/// What is wrong, and where.
pub fn check(bytes: &[u8]) -> Result<(), Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::invalid("the body is not JSON: it is not UTF-8"))?;
    if depth(text) > MAX_JSON_DEPTH {
        return Err(Problem::invalid(format!("the JSON is nested deeper than {MAX_JSON_DEPTH} levels")));
    }
    serde_json::from_str::<IgnoredAny>(text)
        .map(|_| ())
        .map_err(|error| Problem::invalid(format!("the body is not JSON: {error}")))
}

/// Reads a body of declared shape.
///
/// # Errors
/// What is wrong, and where.
pub fn read<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    if bytes.is_empty() {
        return Err(Problem::invalid("the body is empty; a JSON object is needed"));
    }
    check(bytes)?;
    serde_json::from_slice::<Members<T>>(bytes)
        .map(|members| members.0)
        .map_err(|error| Problem::invalid(format!("the body is not valid: {error}")))
}

/// An object with named members. By itself, a derived shape would also take an array of them in order.
#[derive(Debug)]
pub struct Members<T>(pub T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if !raw.starts_with('{') {
            return Err(D::Error::custom("expected an object"));
        }
        serde_json::from_str(raw).map(Self).map_err(D::Error::custom)
    }
}

/// How deep arrays and objects nest. Exact for well-formed JSON, an upper bound otherwise.
fn depth(text: &str) -> usize {
    let (mut now, mut deepest) = (0usize, 0usize);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'[' | b'{' => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What [`names`] finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The first name that stands a second time in its object, and where.
    pub twice: Option<(usize, String)>,
    /// The values and names, or a few more.
    pub values: usize,
}

/// Goes through well-formed JSON without building it.
#[must_use]
pub fn names(text: &str) -> Names {
    let mut found = Names { twice: None, values: 1 };
    // For each array and object around: the names of an object so far, and whether another is next.
    let mut around: Vec<Option<(BTreeSet<Cow<'_, str>>, bool)>> = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let from = text.len() - bytes.len() - 1;
        match byte {
            b'"' => {
                skip_string(&mut bytes);
                let Some(Some((names, is_name @ true))) = around.last_mut() else { continue };
                *is_name = false;
                found.values += 1;
                let written = text.get(from..text.len() - bytes.len()).unwrap_or_default();
                let name = match written.get(1..written.len().saturating_sub(1)) {
                    Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
                    _ => Cow::Owned(serde_json::from_str(written).unwrap_or_default()),
                };
                if let Some(name) = names.replace(name) {
                    found.twice = Some((from, name.into_owned()));
                    return found;
                }
            }
            b'{' => around.push(Some((BTreeSet::new(), true))),
            b'[' => around.push(None),
            b']' | b'}' => drop(around.pop()),
            b',' => {
                found.values += 1;
                if let Some(Some((_, is_name))) = around.last_mut() {
                    *is_name = true;
                }
            }
            _ => {}
        }
        found.values += usize::from(matches!(byte, b'{' | b'['));
    }
    found
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

/// A duration member: a number of seconds, or a string with units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Ttl);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            _ => return Err(D::Error::custom(format!("expected {}", duration::EXPECTED))),
        };
        duration::parse(&text).map(Self).ok_or_else(|| D::Error::custom(format!("expected {}", duration::EXPECTED)))
    }
}

/// A lease id member: a string of hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(pub LeaseId);

impl<'de> Deserialize<'de> for Lease {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        lease_id(&text).map(Self).ok_or_else(|| D::Error::custom(format!("expected {LEASE_ID}")))
    }
}

/// A member of the cluster, as a string of hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member(pub MemberId);

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        member_id(&text).map(Self).ok_or_else(|| D::Error::custom(format!("expected {MEMBER_ID}")))
    }
}

/// A member that holds a whole number, 0 or more, within 63 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `deserialize_any` shows numbers as maps while their exact text is kept; this type does not.
        let number = serde_json::Number::deserialize(deserializer)?;
        number
            .as_u64()
            .filter(|number| i64::try_from(*number).is_ok())
            .map(Self)
            .ok_or_else(|| D::Error::custom("expected a whole number, 0 or more"))
    }
}

/// The key that two members name: `name` as text, `name64` in base64url.
///
/// # Errors
/// When there is none or both, it is empty, or not base64url.
pub fn key(name: &str, text: Option<String>, base64: Option<String>) -> Result<Key, Problem> {
    match (text, base64) {
        (Some(text), None) => Key::new(text).ok_or_else(|| Problem::invalid("a key has at least one byte")),
        (None, Some(base64)) => Literal64::read(&base64)
            .map(|Literal64(key)| key)
            .map_err(|takes| Problem::invalid(format!("`{name}64` takes {takes}"))),
        (None, None) | (Some(_), Some(_)) => Err(Problem::invalid(format!("give either `{name}` or `{name}64`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_checked_whole() {
        for good in ["null", "1.50", "\"x\"", "{\"a\":[1,{}]}", " [ ] ", "1e400"] {
            assert!(check(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["", "{", "[1,]", "{\"a\":1} x", "nul", "'x'", "\"\u{1}\"", "01", "{a:1}", "NaN"] {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(check(b"\"\xff\"").is_err());
    }

    #[test]
    fn depth_is_bounded_and_strings_do_not_count() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check(nested(MAX_JSON_DEPTH).as_bytes()).is_ok());
        assert!(check(nested(MAX_JSON_DEPTH + 1).as_bytes()).is_err());
        assert!(check(nested(500_000).as_bytes()).is_err());
        assert_eq!(depth(r#"["[[[[", "\"[["]"#), 1);
    }

    #[test]
    fn a_name_that_stands_twice_in_one_object_is_found() {
        let twice = |text: &str| names(text).twice;
        assert_eq!(twice(r#"{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}],"d":"a","e":["a","a"]}"#), None);
        assert_eq!(twice(r#"{"a":1,"b":{},"a":2}"#), Some((14, "a".to_owned())));
        assert_eq!(twice(r#"[{"a\"":{"x":[]},"\u0061\"":2}]"#), Some((17, "a\"".to_owned())));
        assert_eq!(twice(r#"{"":[],"":{}}"#), Some((7, String::new())));
        for (text, least) in [("1", 1), ("[]", 1), ("[1,2,3]", 4), (r#"{"a":[1,{}]}"#, 5)] {
            assert!((least..least + 4).contains(&names(text).values), "{text}");
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        ttl: Option<Span>,
        lease: Option<Lease>,
        count: Option<Count>,
    }

    #[test]
    fn durations_are_numbers_or_strings() {
        let ttl = |text: &str| read::<Shape>(&Bytes::from(text.to_owned())).map(|members| members.ttl);
        assert_eq!(ttl(r#"{"ttl":30}"#).unwrap(), Some(Span(Ttl(30_000))));
        assert_eq!(ttl(r#"{"ttl":1.5}"#).unwrap(), Some(Span(Ttl(1_500))));
        assert_eq!(ttl(r#"{"ttl":"1m30s"}"#).unwrap(), Some(Span(Ttl(90_000))));
        for bad in [r#"{"ttl":true}"#, r#"{"ttl":-1}"#, r#"{"ttl":"soon"}"#, r#"{"ttl":[]}"#, r#"{"ttl":1e99}"#] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_strings_and_counts_are_numbers() {
        let members = |text: &str| read::<Shape>(&Bytes::from(text.to_owned()));
        let good = members(r#"{"lease":"694d","count":12}"#).unwrap();
        assert_eq!((good.lease, good.count), (Some(Lease(LeaseId(0x694d))), Some(Count(12))));
        let bad = [
            r#"{"lease":1}"#,
            r#"{"lease":"0"}"#,
            r#"{"lease":"xyz"}"#,
            r#"{"count":"12"}"#,
            r#"{"count":-1}"#,
            r#"{"count":1.5}"#,
            r#"{"count":9223372036854775808}"#,
            r#"{"count":1,"count":2}"#,
            r#"{"other":1}"#,
            "[]",
            "",
        ];
        for bad in bad {
            assert!(members(bad).is_err(), "{bad}");
        }
    }
}
