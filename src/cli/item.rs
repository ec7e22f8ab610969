//! Keys and pages as `/v1` answers them, read as far as the commands need.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::exit::{Failure, Outcome};
use super::output::member;
use super::route::{from_key64, shown};

/// One key, its value still as the JSON that the server sent.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    key: Option<String>,
    key64: Option<String>,
    #[serde(default, deserialize_with = "present")]
    value: Option<Box<RawValue>>,
    #[serde(default)]
    pub encoding: Option<Encoding>,
}

/// The value `null` is a value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// How the server wrote a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    Utf8,
    Json,
    Base64,
}

/// One page of everything below a prefix.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub revision: u64,
    #[serde(default)]
    pub items: Vec<Item>,
    pub cursor: Option<String>,
}

impl Item {
    /// The bytes of the key.
    pub(crate) fn key(&self) -> Outcome<Vec<u8>> {
        match (&self.key, &self.key64) {
            (Some(text), _) => Ok(text.clone().into_bytes()),
            (None, Some(text)) => from_key64(text),
            (None, None) => Err(Failure::failed("the server sent a key without a name")),
        }
    }

    /// The bytes of the value. Those of a JSON value are JSON, though line breaks between its tokens are blanks.
    pub(crate) fn value(&self) -> Outcome<Vec<u8>> {
        let Some(raw) = &self.value else { return Ok(Vec::new()) };
        let text = || serde_json::from_str::<String>(raw.get()).map_err(|error| bad_value(&error));
        match self.encoding {
            Some(Encoding::Json) => Ok(raw.get().as_bytes().to_vec()),
            Some(Encoding::Base64) => STANDARD.decode(text()?).map_err(|error| bad_value(&error)),
            Some(Encoding::Utf8) | None => Ok(text()?.into_bytes()),
        }
    }
}

fn bad_value(error: &dyn std::error::Error) -> Failure {
    Failure::failed(format!("the server sent a value that cannot be read: {error}"))
}

/// Reads an answer.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Outcome<T> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::failed(format!("the server's answer cannot be read: {error}")))
}

/// A member as text for people: terminals obey bytes, and others have chosen these.
pub(crate) fn text(object: &Value, name: &str) -> String {
    shown(member(object, name).as_bytes())
}

/// The same of a name, which may be there in base64url, in a member called as it with `64` behind. `None` where there is neither.
pub(crate) fn name(object: &Value, name: &str) -> Option<String> {
    if object.get(name).is_some() {
        return Some(text(object, name));
    }
    object.get(format!("{name}64"))?.as_str().map(shown64)
}

/// The same of a list of names, some of which may be there in base64url, in a list of their own.
pub(crate) fn names(object: &Value, list: &str) -> Vec<String> {
    let strings =
        |list: &str| object.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let encoded = format!("{list}64");
    let texts = strings(list).map(|text| shown(text.as_bytes()));
    texts.chain(strings(&encoded).map(shown64)).collect()
}

fn shown64(encoded: &str) -> String {
    from_key64(encoded).map_or_else(|_| encoded.to_owned(), |bytes| shown(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: &str) -> Item {
        read(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_value_is_read_as_its_encoding_says() {
        assert_eq!(item(r#"{"key":"/a","value":"x\n","encoding":"utf8"}"#).value().unwrap(), b"x\n");
        assert_eq!(item(r#"{"key":"/a","value":"/wA=","encoding":"base64"}"#).value().unwrap(), b"\xff\x00");
        assert_eq!(item(r#"{"key":"/a","value":{"n": 1.50},"encoding":"json"}"#).value().unwrap(), b"{\"n\": 1.50}");
        assert_eq!(item(r#"{"key":"/a","value":null,"encoding":"json"}"#).value().unwrap(), b"null");
    }

    #[test]
    fn a_key_is_text_or_base64url() {
        assert_eq!(item(r#"{"key":"/a"}"#).key().unwrap(), b"/a");
        assert_eq!(item(r#"{"key64":"qzmi"}"#).key().unwrap(), b"\xab\x39\xa2");
        assert!(item("{}").key().is_err());
    }
}
