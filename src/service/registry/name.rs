//! What services and instances are called, and the keys that stand for them: `/services/{service}/{instance}`.

use std::fmt;

use bytes::Bytes;

use crate::model::limits::MAX_SERVICE_NAME_BYTES;
use crate::model::{Key, KeyRange};

/// The directory of all services.
const ROOT: &str = "/services/";

/// The name of a service, or of an instance within its service: one segment of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// A name.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn new(text: &str) -> Result<Self, String> {
        let why = match text {
            "" => "is empty".to_owned(),
            "." | ".." => format!("is `{text}`, which paths understand as another place"),
            text if text.len() > MAX_SERVICE_NAME_BYTES => {
                format!("has {} bytes, and the longest has {MAX_SERVICE_NAME_BYTES}", text.len())
            }
            text if text.contains('/') => "has a slash, and is one segment of a path".to_owned(),
            text if text.chars().any(char::is_control) => "has a control character".to_owned(),
            text => return Ok(Self(text.to_owned())),
        };
        Err(why)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an instance is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceName {
    pub service: Name,
    pub instance: Name,
}

impl InstanceName {
    /// The instance that a key stands for; `None` where it stands for none.
    #[must_use]
    pub fn of_key(key: &Key) -> Option<Self> {
        let text = std::str::from_utf8(key.as_bytes()).ok()?;
        let (service, instance) = text.strip_prefix(ROOT)?.split_once('/')?;
        Some(Self { service: Name::new(service).ok()?, instance: Name::new(instance).ok()? })
    }

    /// The key of the instance.
    #[must_use]
    pub fn key(&self) -> Key {
        key(format!("{ROOT}{}/{}", self.service, self.instance))
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.instance)
    }
}

/// The directory of a service, or of all services.
#[must_use]
pub fn directory(service: Option<&Name>) -> Key {
    key(service.map_or_else(|| ROOT.to_owned(), |service| format!("{ROOT}{service}/")))
}

/// The keys of a service, or of all services.
#[must_use]
pub fn range(service: Option<&Name>) -> KeyRange {
    KeyRange::prefix(directory(service).bytes().clone())
}

/// The service that a directory stands for; `None` where it stands for none.
pub(super) fn service_of(directory: &Key) -> Option<Name> {
    let text = std::str::from_utf8(directory.as_bytes()).ok()?;
    Name::new(text.strip_prefix(ROOT)?.strip_suffix('/')?).ok()
}

fn key(text: String) -> Key {
    #[expect(clippy::expect_used, reason = "it begins with the directory of all services")]
    Key::new(Bytes::from(text)).expect("it begins with the directory of all services")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_key(key: &[u8]) -> Option<String> {
        InstanceName::of_key(&Key::new(key.to_vec()).unwrap()).map(|name| name.to_string())
    }

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        for good in ["web", "a b", "ü", "10.0.0.7:80", "...", "a:heartbeat", &"x".repeat(255)] {
            let name = Name::new(good).unwrap();
            let instance = InstanceName { service: name.clone(), instance: name };
            assert_eq!(InstanceName::of_key(&instance.key()), Some(instance), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\n", "\u{85}", &"x".repeat(256)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_that_is_no_instance_is_none() {
        assert_eq!(of_key(b"/services/web/a").as_deref(), Some("web/a"));
        for other in [
            &b"/services/web"[..],
            b"/services/web/",
            b"/services//a",
            b"/services/web/a/b",
            b"/services/web/\xff",
            b"/s/web/a",
        ] {
            assert_eq!(of_key(other), None, "{other:?}");
        }
        assert_eq!(service_of(&Key::new("/services/web/").unwrap()).unwrap().as_str(), "web");
        assert!(service_of(&Key::new("/services//").unwrap()).is_none());
    }
}
