//! What an instance says of itself: the JSON document under its key, checked member by member.
//!
//! Owns what may stand in it and the one form in which it is stored. It says why a document is refused in words that
//! name the member; it knows nothing of keys and requests.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::model::limits::{MAX_ADDRESS_BYTES, MAX_INSTANCE_TAGS, MAX_TAG_BYTES, MAX_WEIGHT};

/// How an instance is, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Passing,
    Warning,
    Critical,
    /// It finishes what it has and wants nothing new.
    Draining,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Passing, Self::Warning, Self::Critical, Self::Draining];
    /// What [`Status::read`] reads.
    pub const EXPECTED: &'static str = "`passing`, `warning`, `critical` or `draining`";

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Draining => "draining",
        }
    }

    /// The status that a word stands for.
    #[must_use]
    pub fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// What an instance says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// A host name, or an IP address without brackets.
    pub address: String,
    pub port: Option<u16>,
    /// Each once, in the order given.
    pub tags: Vec<String>,
    /// A JSON object, as text without blanks between its tokens.
    pub meta: String,
    /// The share of the load that it asks for.
    pub weight: u32,
    pub status: Status,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong, with the name of the member.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let Members(mut members) =
            serde_json::from_slice(json).map_err(|error| format!("it does not read as a document: {error}"))?;
        // Null is how many programs write that there is nothing.
        let mut take = |name: &str| members.shift_remove(name).filter(|value| !value.is_null());
        let document = Self {
            address: address(take("address"))?,
            port: take("port").map(|value| port(&value)).transpose()?,
            tags: take("tags").map(tags).transpose()?.unwrap_or_default(),
            meta: take("meta").map_or_else(|| Ok("{}".to_owned()), |value| meta(&value))?,
            weight: take("weight").map_or(Ok(1), |value| weight(&value))?,
            status: take("status").map_or(Ok(Status::Passing), |value| status(&value))?,
        };
        match members.keys().next() {
            None => Ok(document),
            Some(name) => Err(format!("`{}` is not known: what is of your own goes into `meta`", brief(name))),
        }
    }

    /// The document as it is stored: the same members in the same order, none left out but `port`.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let port = self.port.map(|port| format!("\"port\":{port},")).unwrap_or_default();
        let Self { address, port: _, tags, meta, weight, status } = self;
        // Neither a string nor a list of them can fail to be JSON.
        let address = Value::from(address.as_str());
        let tags = Value::from(tags.as_slice());
        let status = status.as_str();
        Bytes::from(format!(
            "{{\"address\":{address},{port}\"tags\":{tags},\"meta\":{meta},\"weight\":{weight},\"status\":\"{status}\"}}"
        ))
    }
}

/// A JSON object, no member of which is given twice.
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format!("`{}` is given twice", brief(&name))));
            }
            members.insert(name, access.next_value()?);
        }
        Ok(Members(members))
    }
}

fn address(value: Option<Value>) -> Result<String, String> {
    const WHAT: &str = "`address` has to be a host name or an IP address";
    let address = match value {
        None => return Err("`address` is missing: the host name or IP address of the instance".to_owned()),
        Some(Value::String(address)) => address,
        Some(_) => return Err(format!("{WHAT}, as a string")),
    };
    match wrong_with(&address) {
        None => Ok(address),
        Some(why) => Err(format!("{WHAT}: {why}")),
    }
}

/// Why a text is neither a host name (RFC 952 and 1123, with the underscore that DNS knows) nor an IP address.
fn wrong_with(address: &str) -> Option<String> {
    let brief = brief(address);
    if address.is_empty() {
        return Some("it is empty".to_owned());
    }
    if address.len() > MAX_ADDRESS_BYTES {
        return Some(format!("it has {} bytes, and the longest has {MAX_ADDRESS_BYTES}", address.len()));
    }
    if address.parse::<IpAddr>().is_ok() {
        return None;
    }
    if address.contains('/') {
        return Some(format!("`{brief}` is a URL or a path; give the host alone, and put the rest into `meta`"));
    }
    let unbracketed = address.strip_prefix('[').and_then(|rest| rest.split(']').next());
    if unbracketed.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok()) {
        return Some(format!("`{brief}` has brackets; write an IPv6 address without them, and its port as `port`"));
    }
    match address.split_once(':') {
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Some(format!("`{brief}` has a port; give it as `port`"));
        }
        Some(_) => return Some(format!("`{brief}` has a colon and is no IPv6 address")),
        None => {}
    }
    if !address.is_ascii() {
        return Some(format!("`{brief}` is not ASCII; write an international name in Punycode"));
    }
    let name = address.strip_suffix('.').unwrap_or(address);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !name.split('.').all(is_label) {
        return Some(format!("`{brief}` is neither"));
    }
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.split('.')
        .next_back()
        .is_some_and(is_number)
        .then(|| format!("`{brief}` ends in a number and is no IPv4 address"))
}

fn port(value: &Value) -> Result<u16, String> {
    let port = value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    port.ok_or_else(|| "`port` has to be a whole number from 1 to 65535; leave it out where there is none".to_owned())
}

fn tags(value: Value) -> Result<Vec<String>, String> {
    let Value::Array(values) = value else { return Err("`tags` has to be an array of strings".to_owned()) };
    if values.len() > MAX_INSTANCE_TAGS {
        return Err(format!("`tags` has {} tags, and the most are {MAX_INSTANCE_TAGS}", values.len()));
    }
    let mut tags = Vec::with_capacity(values.len());
    for value in values {
        match value {
            Value::String(tag) if (1..=MAX_TAG_BYTES).contains(&tag.len()) => tags.push(tag),
            Value::String(tag) if tag.is_empty() => return Err("`tags` has an empty tag".to_owned()),
            Value::String(tag) => {
                return Err(format!(
                    "`tags` has a tag of {} bytes, and the longest has {MAX_TAG_BYTES}: `{}`",
                    tag.len(),
                    brief(&tag)
                ));
            }
            _ => return Err("`tags` has to be an array of strings".to_owned()),
        }
    }
    let mut seen = BTreeSet::new();
    match tags.iter().find(|tag| !seen.insert(tag.as_str())) {
        None => Ok(tags),
        Some(tag) => Err(format!("`tags` has `{}` twice", brief(tag))),
    }
}

fn meta(value: &Value) -> Result<String, String> {
    if value.is_object() { Ok(value.to_string()) } else { Err("`meta` has to be an object".to_owned()) }
}

fn weight(value: &Value) -> Result<u32, String> {
    let weight = value.as_u64().and_then(|weight| u32::try_from(weight).ok()).filter(|weight| *weight <= MAX_WEIGHT);
    weight.ok_or_else(|| format!("`weight` has to be a whole number from 0 to {MAX_WEIGHT}"))
}

fn status(value: &Value) -> Result<Status, String> {
    let status = value.as_str().and_then(Status::read);
    status.ok_or_else(|| format!("`status` has to be {}", Status::EXPECTED))
}

/// A text from outside, short enough to be repeated in an answer.
fn brief(text: &str) -> String {
    const LONGEST: usize = 100;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Document, String> {
        Document::read(json.as_bytes())
    }

    #[test]
    fn a_document_needs_only_an_address() {
        let document = read(r#"{"address":"10.0.0.7"}"#).unwrap();
        assert_eq!((document.port, document.tags.len(), document.weight), (None, 0, 1));
        assert_eq!((document.meta.as_str(), document.status), ("{}", Status::Passing));
        let canonical = r#"{"address":"10.0.0.7","tags":[],"meta":{},"weight":1,"status":"passing"}"#;
        assert_eq!(document.to_json(), canonical);
        assert_eq!(read(r#"{"address":"10.0.0.7","port":null,"tags":null,"status":null}"#), Ok(document));
    }

    #[test]
    fn what_is_stored_is_canonical_and_reads_as_the_same() {
        let json = " {\"status\" : \"draining\", \"weight\":0, \"meta\": {\"z\": 1.50, \"a\":[ ]},\n \"tags\":[\"v2\",\"ü\"], \
                     \"port\":8080, \"address\":\"web-1.example\"}";
        let document = read(json).unwrap();
        let stored = document.to_json();
        let canonical = r#"{"address":"web-1.example","port":8080,"tags":["v2","ü"],"meta":{"z":1.50,"a":[]},"weight":0,"status":"draining"}"#;
        assert_eq!(stored, canonical);
        assert_eq!(Document::read(&stored), Ok(document));
    }

    #[test]
    fn addresses_are_host_names_and_ip_addresses() {
        for good in [
            "10.0.0.7",
            "::1",
            "fe80::1:2",
            "web",
            "web-1.example.",
            "_sip.a_b.example",
            "7up.example",
            "xn--bcher-kva",
        ] {
            assert_eq!(wrong_with(good), None, "{good}");
        }
        let bad = [
            ("", "empty"),
            ("http://10.0.0.7", "URL"),
            ("10.0.0.7:80", "has a port"),
            ("web:80", "has a port"),
            ("[::1]:80", "brackets"),
            ("[::1]", "brackets"),
            ("fe80::zz", "no IPv6"),
            ("10.0.0.300", "no IPv4"),
            ("10.0.0", "no IPv4"),
            ("bücher.example", "Punycode"),
            ("a b", "neither"),
            ("a..b", "neither"),
            ("-a", "neither"),
            ("a-", "neither"),
            (".", "neither"),
        ];
        for (address, why) in bad {
            assert!(wrong_with(address).is_some_and(|text| text.contains(why)), "{address}: {:?}", wrong_with(address));
        }
        assert!(wrong_with(&"a".repeat(64)).is_some() && wrong_with(&"a".repeat(63)).is_none());
        assert!(wrong_with(&"a.".repeat(128)).is_some_and(|text| text.contains("256 bytes")));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_name_of_the_member() {
        let with = |members: &str| read(&format!(r#"{{"address":"a",{members}}}"#)).unwrap_err();
        let many: Vec<String> = (0..65).map(|number| format!("\"{number}\"")).collect();
        let bad = [
            ("\"port\":0".to_owned(), "`port`"),
            ("\"port\":65536".to_owned(), "`port`"),
            ("\"port\":\"80\"".to_owned(), "`port`"),
            ("\"port\":80.5".to_owned(), "`port`"),
            ("\"tags\":\"v2\"".to_owned(), "`tags`"),
            ("\"tags\":[1]".to_owned(), "`tags`"),
            ("\"tags\":[\"\"]".to_owned(), "empty tag"),
            ("\"tags\":[\"a\",\"b\",\"a\"]".to_owned(), "`a` twice"),
            (format!("\"tags\":[\"{}\"]", "x".repeat(129)), "129 bytes"),
            (format!("\"tags\":[{}]", many.join(",")), "65 tags"),
            ("\"meta\":[]".to_owned(), "`meta`"),
            ("\"weight\":-1".to_owned(), "`weight`"),
            ("\"weight\":1000001".to_owned(), "`weight`"),
            ("\"status\":\"up\"".to_owned(), "`status`"),
            ("\"zone\":\"a\"".to_owned(), "`zone` is not known: what is of your own goes into `meta`"),
            ("\"port\":1,\"port\":2".to_owned(), "`port` is given twice"),
        ];
        for (members, why) in bad {
            assert!(with(&members).contains(why), "{members}: {}", with(&members));
        }
        for (json, why) in
            [("{}", "`address` is missing"), (r#"{"address":7}"#, "`address`"), ("[]", "an object"), ("", "EOF")]
        {
            assert!(read(json).unwrap_err().contains(why), "{json}: {}", read(json).unwrap_err());
        }
    }

    #[test]
    fn every_status_has_its_word() {
        for status in Status::ALL {
            assert_eq!(Status::read(status.as_str()), Some(status));
            assert!(Status::EXPECTED.contains(status.as_str()));
        }
    }
}
