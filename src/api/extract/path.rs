//! From a path to a key: percent-decoded once, and refused where proxies and clients would disagree on what it names.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::query::{Literal, Literal64, is_percent_encoded, shortened};
use crate::api::problem::{Code, Problem};
use crate::model::Key;
use crate::model::node::is_segment;

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub key: Key,
    /// Named as a directory: by a path with a trailing slash. A literal key is never one.
    pub directory: bool,
    /// Given by `key=` or `key64=`.
    pub literal: bool,
}

impl Target {
    /// The key, of which the request needs that it is not a directory.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`], saying what is not done with a directory.
    pub fn one_key(self, what: &str) -> Result<Key, Problem> {
        if self.directory {
            return Err(Problem::invalid(format!(
                "{} names a directory, and {what} takes a key: leave the trailing slash out",
                self.key
            )));
        }
        Ok(self.key)
    }

    /// The marker key of the directory; a literal key that ends in a slash will do.
    ///
    /// # Errors
    /// [`Code::NotADirectory`].
    pub fn any_directory(self, what: &str) -> Result<Key, Problem> {
        if self.key.is_directory() {
            return Ok(self.key);
        }
        let detail = format!("{what} takes a directory: {} does not end with a slash", self.key);
        Err(Problem::new(Code::NotADirectory, detail))
    }
}

/// What a request asks for beyond its method: the last raw `:word` of its path. Of keys and leases by POST alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Increment,
    Copy,
    Move,
    Rollback,
    Keepalive,
    Promote,
    Observe,
    Heartbeat,
    Status,
    Watch,
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Self::Increment => "increment",
            Self::Copy => "copy",
            Self::Move => "move",
            Self::Rollback => "rollback",
            Self::Keepalive => "keepalive",
            Self::Promote => "promote",
            Self::Observe => "observe",
            Self::Heartbeat => "heartbeat",
            Self::Status => "status",
            Self::Watch => "watch",
        }
    }

    /// The path without this verb, if it ends with it. `%3A` is no colon here: it is text of the key.
    #[must_use]
    pub fn strip(self, raw_path: &str) -> Option<&str> {
        raw_path.strip_suffix(self.word())?.strip_suffix(':')
    }
}

/// The key that a request names: by what follows the route in the raw path, or literally.
///
/// # Errors
/// When there is none or more than one, or the path is not one that names a key.
pub fn target(raw: &str, key: Option<Literal>, key64: Option<Literal64>) -> Result<Target, Problem> {
    let literal = |key| Ok(Target { key, directory: false, literal: true });
    match (raw, key, key64) {
        ("", None, None) => Err(Problem::invalid(
            "no key is named: put it into the path, as in /v1/keys/app/db, or into `key` or `key64`",
        )),
        ("", Some(Literal(key)), None) | ("", None, Some(Literal64(key))) => literal(key),
        (raw, None, None) => from_path(raw),
        (_, Some(_), Some(_)) => Err(Problem::invalid("the key is named twice: give either `key` or `key64`")),
        (_, Some(_), None) | (_, None, Some(_)) => {
            Err(Problem::invalid("the key is named twice: by the path and by `key` or `key64`"))
        }
    }
}

/// The key of a path that begins with a slash.
fn from_path(raw: &str) -> Result<Target, Problem> {
    let refuse = |what: &str| {
        Problem::invalid(format!(
            "the path `{}` {what}; a key that a path cannot say is named literally: ?key=… or ?key64=… (base64url)",
            shortened(raw)
        ))
    };
    if !is_percent_encoded(raw) {
        return Err(refuse("is badly percent-encoded"));
    }
    let decoded = Cow::from(percent_decode_str(raw)).into_owned();
    let Ok(text) = std::str::from_utf8(&decoded) else {
        return Err(refuse("is not UTF-8"));
    };
    let inner = text.strip_prefix('/').ok_or_else(|| refuse("does not begin with a slash"))?;
    let segments = inner.strip_suffix('/').unwrap_or(inner);
    let is_root = inner.is_empty();
    if !is_root && !segments.split('/').all(|segment| is_segment(segment.as_bytes())) {
        return Err(refuse("has an empty, `.` or `..` segment"));
    }
    let directory = text.ends_with('/');
    let key = Key::new(Bytes::from(decoded)).ok_or_else(|| refuse("is empty"))?;
    Ok(Target { key, directory, literal: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(raw: &str) -> (Vec<u8>, bool) {
        let target = target(raw, None, None).unwrap();
        (target.key.as_bytes().to_vec(), target.directory)
    }

    #[test]
    fn the_path_is_the_key_decoded_once() {
        assert_eq!(path("/app/db"), (b"/app/db".to_vec(), false));
        assert_eq!(path("/app/"), (b"/app/".to_vec(), true));
        assert_eq!(path("/"), (b"/".to_vec(), true));
        assert_eq!(path("/a%2Fb"), (b"/a/b".to_vec(), false));
        assert_eq!(path("/a%252Fb"), (b"/a%2Fb".to_vec(), false));
        assert_eq!(path("/a+b%20c"), (b"/a+b c".to_vec(), false));
        assert_eq!(path("/%C3%BC"), ("/ü".as_bytes().to_vec(), false));
        assert_eq!(path("/..a/.b/c."), (b"/..a/.b/c.".to_vec(), false));
    }

    #[test]
    fn paths_that_name_no_single_key_are_refused_with_the_literal_form() {
        for raw in ["//", "/a//b", "/a//", "/./a", "/a/..", "/a/../", "/a/%2e%2E/b", "/%2F", "/a%", "/%zz", "/%ff"] {
            let problem = target(raw, None, None).unwrap_err();
            assert_eq!(problem.code(), Code::InvalidArgument, "{raw}");
            assert!(problem.detail().contains("?key64="), "{raw}: {problem}");
        }
    }

    #[test]
    fn a_literal_key_is_never_a_directory() {
        let named = |text: &'static str| Some(Literal(Key::new(text).unwrap()));
        let found = target("", named("/app/"), None).unwrap();
        assert!(!found.directory && found.literal);
        assert!(target("", None, None).is_err());
        assert!(target("/a", named("/a"), None).is_err());
        assert!(target("", named("a"), Some(Literal64(Key::new("a").unwrap()))).is_err());
    }

    #[test]
    fn a_verb_is_the_last_raw_word_behind_a_colon() {
        assert_eq!(Verb::Increment.strip("/app/counter:increment"), Some("/app/counter"));
        assert_eq!(Verb::Increment.strip("/a:increment:increment"), Some("/a:increment"));
        assert_eq!(Verb::Increment.strip("/app/counter%3Aincrement"), None);
        assert_eq!(Verb::Increment.strip("/app/counter:Increment"), None);
        assert_eq!(Verb::Increment.strip("/app/increment"), None);
        assert_eq!(Verb::Increment.strip(":increment"), Some(""));
    }
}
