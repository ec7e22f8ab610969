//! What the body of a request about a user or a role says, as Go's `encoding/json` decodes it: names in any case, the last of
//! several counts, what is unknown is passed over, and nothing behind the first value is looked at.

use std::fmt;

use serde_json::{Deserializer, Map, Value};

use crate::model::{Key, KeyRange, RangeLists};

/// The body is not what it should be. What exactly, etcd does not say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A password as a client says it. Shown nowhere, not even to who debugs.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Password(pub(super) String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A user in a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UserAsk {
    pub(super) name: String,
    /// Empty where none is given.
    pub(super) password: Password,
    /// `None` for no list at all.
    pub(super) roles: Option<Vec<String>>,
    pub(super) grant: Vec<String>,
    pub(super) revoke: Vec<String>,
}

impl UserAsk {
    pub(super) fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut ask = Self::default();
        let (mut grant, mut revoke) = (None, None);
        for (name, value) in &object(body)? {
            match name.to_ascii_lowercase().as_str() {
                "user" => string(value, &mut ask.name)?,
                "password" => string(value, &mut ask.password.0)?,
                "roles" => strings(value, &mut ask.roles)?,
                "grant" => strings(value, &mut grant)?,
                "revoke" => strings(value, &mut revoke)?,
                _ => {}
            }
        }
        (ask.grant, ask.revoke) = (grant.unwrap_or_default(), revoke.unwrap_or_default());
        Ok(ask)
    }
}

/// A role in a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RoleAsk {
    pub(super) name: String,
    pub(super) permissions: Lists,
    pub(super) grant: Lists,
    pub(super) revoke: Lists,
}

impl RoleAsk {
    pub(super) fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut ask = Self::default();
        for (name, value) in &object(body)? {
            match name.to_ascii_lowercase().as_str() {
                "role" => string(value, &mut ask.name)?,
                "permissions" => ask.permissions.add(value)?,
                // These can be missing altogether, and are by `null`.
                "grant" if value.is_null() => ask.grant = Lists::default(),
                "grant" => ask.grant.add(value)?,
                "revoke" if value.is_null() => ask.revoke = Lists::default(),
                "revoke" => ask.revoke.add(value)?,
                _ => {}
            }
        }
        Ok(ask)
    }
}

/// Patterns of keys to read and to write; `None` for no list at all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    pub(super) read: Option<Vec<String>>,
    pub(super) write: Option<Vec<String>>,
}

impl Lists {
    pub(super) fn is_empty(&self) -> bool {
        [&self.read, &self.write].into_iter().flatten().all(Vec::is_empty)
    }

    /// The ranges that the patterns stand for; `None` where one stands for none, because it is empty.
    pub(super) fn ranges(&self) -> Option<RangeLists> {
        let all = |patterns: &Option<Vec<String>>| -> Option<Vec<KeyRange>> {
            patterns.iter().flatten().map(|pattern| range(pattern)).collect()
        };
        Some(RangeLists { read: all(&self.read)?, write: all(&self.write)? })
    }

    fn add(&mut self, value: &Value) -> Result<(), Malformed> {
        for (name, value) in members(value)?.into_iter().flatten() {
            if !name.eq_ignore_ascii_case("kv") {
                continue;
            }
            for (name, value) in members(value)?.into_iter().flatten() {
                match name.to_ascii_lowercase().as_str() {
                    "read" => strings(value, &mut self.read)?,
                    "write" => strings(value, &mut self.write)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// The keys that a pattern stands for: those that begin so where it ends in `*`, else the one.
pub(super) fn range(pattern: &str) -> Option<KeyRange> {
    match pattern.strip_suffix('*') {
        Some(prefix) => Some(KeyRange::prefix(prefix.to_owned())),
        None => Key::new(pattern.to_owned()).map(|key| KeyRange::single(&key)),
    }
}

/// The pattern that stands for a range. There is none for a range that is neither one key nor all with a prefix, for bytes that are
/// no UTF-8, and for one key that ends in `*`.
pub(super) fn pattern(range: &KeyRange) -> Option<String> {
    let start = std::str::from_utf8(range.start()).ok()?;
    if range.as_single().is_some() {
        return (!start.ends_with('*')).then(|| start.to_owned());
    }
    (*range == KeyRange::prefix(range.start().clone())).then(|| format!("{start}*"))
}

/// The first value of a body: `null` is one that says nothing.
fn object(body: &[u8]) -> Result<Map<String, Value>, Malformed> {
    let text = String::from_utf8_lossy(body);
    match Deserializer::from_str(&text).into_iter().next() {
        Some(Ok(Value::Object(members))) => Ok(members),
        Some(Ok(Value::Null)) => Ok(Map::new()),
        Some(_) | None => Err(Malformed),
    }
}

fn members(value: &Value) -> Result<Option<&Map<String, Value>>, Malformed> {
    match value {
        Value::Null => Ok(None),
        Value::Object(members) => Ok(Some(members)),
        _ => Err(Malformed),
    }
}

fn string(value: &Value, into: &mut String) -> Result<(), Malformed> {
    match value {
        Value::Null => {}
        Value::String(text) => into.clone_from(text),
        _ => return Err(Malformed),
    }
    Ok(())
}

fn strings(value: &Value, into: &mut Option<Vec<String>>) -> Result<(), Malformed> {
    *into = match value {
        Value::Null => None,
        Value::Array(items) => {
            let read = |item: &Value| {
                let mut text = String::new();
                string(item, &mut text).map(|()| text)
            };
            Some(items.iter().map(read).collect::<Result<_, _>>()?)
        }
        _ => return Err(Malformed),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_as_go_reads_it() {
        let user = |body: &str| UserAsk::read(body.as_bytes());
        let named = |name: &str| UserAsk { name: name.to_owned(), ..UserAsk::default() };
        for body in [r#"{"user":"a"}"#, r#"{"USER":"a","x":[{}]} behind"#, r#"{"user":"b","User":"a","uSer":null}"#] {
            assert_eq!(user(body), Ok(named("a")), "{body}");
        }
        assert_eq!(user("null"), Ok(named("")));
        assert_eq!(UserAsk::read(b"{\"user\":\"\xff\"}"), Ok(named("\u{fffd}")));
        assert_eq!(user(r#"{"roles":[]}"#).unwrap().roles, Some(Vec::new()));
        assert_eq!(user(r#"{"roles":["a",null]}"#).unwrap().roles, Some(vec!["a".to_owned(), String::new()]));
        assert_eq!(user(r#"{"roles":["a"],"roles":null}"#).unwrap().roles, None);
        for body in ["", "[]", "1", "{", r#"{"user":1}"#, r#"{"roles":"a"}"#, r#"{"grant":[1]}"#, r#"{"user":"a""#] {
            assert_eq!(user(body), Err(Malformed), "{body}");
        }
    }

    #[test]
    fn lists_of_patterns_are_merged_and_may_be_missing() {
        let role = |body: &str| RoleAsk::read(body.as_bytes());
        let both = r#"{"permissions":{"kv":{"read":["/a"]}},"Permissions":{"KV":{"write":[]}}}"#;
        let lists = role(both).unwrap().permissions;
        assert_eq!(lists, Lists { read: Some(vec!["/a".to_owned()]), write: Some(Vec::new()) });
        assert!(!lists.is_empty() && Lists { read: Some(Vec::new()), write: None }.is_empty());
        let gone = role(r#"{"grant":{"kv":{"read":["/a"]}},"grant":null}"#).unwrap();
        assert_eq!(gone.grant, Lists::default());
        for body in [r#"{"grant":[]}"#, r#"{"permissions":{"kv":[]}}"#, r#"{"revoke":{"kv":{"read":"x"}}}"#] {
            assert_eq!(role(body), Err(Malformed), "{body}");
        }
    }

    #[test]
    fn a_pattern_stands_for_a_range_and_comes_back() {
        for text in ["/a", "/a/*", "*", "foo", "/a**", "é", "\0"] {
            assert_eq!(pattern(&range(text).unwrap()).as_deref(), Some(text));
        }
        assert_eq!(range(""), None);
        assert!(range("/a/*").unwrap().contains(b"/a/b") && !range("/a").unwrap().contains(b"/a/b"));
        let unsayable = [
            KeyRange::new("/a", Some("/c".into())),
            KeyRange::new("/a", None),
            KeyRange::single(&Key::new("/a*").unwrap()),
            KeyRange::single(&Key::new(vec![0xff]).unwrap()),
        ];
        for range in unsayable {
            assert_eq!(pattern(&range), None, "{range:?}");
        }
    }
}
