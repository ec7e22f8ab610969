//! From keys to the paths of `/v1`: every key, whatever its bytes, has one.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::exit::{Failure, Outcome};
use crate::model::node::is_segment;

/// What stands as itself in a path (RFC 3986, section 2.3, and the slash). A colon never does: behind one, the
/// server looks for a verb.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As [`PATH`], of one segment: a slash in it is not one of the path.
const SEGMENT: &AsciiSet = &PATH.add(b'/');

/// The path and query of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    text: String,
    has_query: bool,
}

impl Route {
    /// A route without a key.
    pub(crate) fn new(path: impl Into<String>) -> Self {
        Self { text: path.into(), has_query: false }
    }

    /// `base`, one more segment, and a verb such as `:watch` behind it.
    ///
    /// # Errors
    /// A segment that no path can have.
    pub(crate) fn of_name(base: &str, name: &str, verb: &str) -> Outcome<Self> {
        if !is_segment(name.as_bytes()) {
            return Err(Failure::usage(format!("`{name}` is no name: a path understands it as another place")));
        }
        Ok(Self::new(format!("{base}/{}{verb}", percent_encode(name.as_bytes(), SEGMENT))))
    }

    /// `base` (`/v1/keys`, `/v1/watch`, `/v1/history`) of a key: by its path where a path can say it, else by
    /// `key64`. A key that ends in a slash is the directory.
    #[must_use]
    pub(crate) fn of_key(base: &str, key: &[u8]) -> Self {
        Self::with_verb(base, key, "")
    }

    /// As [`Self::of_key`], with a verb such as `:rollback` behind the path.
    #[must_use]
    pub(crate) fn with_verb(base: &str, key: &[u8], verb: &str) -> Self {
        if is_sayable(key) {
            return Self::new(format!("{base}{}{verb}", percent_encode(key, PATH)));
        }
        Self::new(format!("{base}{verb}")).parameter("key64", key64(key))
    }

    /// Adds a query parameter.
    #[must_use]
    pub(crate) fn parameter(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let separator = if self.has_query { '&' } else { '?' };
        let _infallible = write!(self.text, "{separator}{name}={}", percent_encode(value.as_ref(), QUERY));
        self.has_query = true;
        self
    }

    /// Adds a query parameter if there is a value.
    #[must_use]
    pub(crate) fn optional(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.parameter(name, value.to_string()),
            None => self,
        }
    }

    /// Adds `name=true` if so.
    #[must_use]
    pub(crate) fn switch(self, name: &str, on: bool) -> Self {
        if on { self.parameter(name, "true") } else { self }
    }

    /// The path and query.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Base64url of a key, as `key64` takes it.
#[must_use]
pub(crate) fn key64(key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// The bytes of a `key64`.
pub(crate) fn from_key64(text: &str) -> Outcome<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).map_err(|error| Failure::failed(format!("the server sent a bad key64: {error}")))
}

/// Whether a path can name the key: UTF-8, a leading slash, no empty, `.` or `..` segment.
fn is_sayable(key: &[u8]) -> bool {
    let Some(inner) = std::str::from_utf8(key).ok().and_then(|text| text.strip_prefix('/')) else { return false };
    let segments = inner.strip_suffix('/').unwrap_or(inner);
    inner.is_empty() || segments.split('/').all(|segment| is_segment(segment.as_bytes()))
}

/// A key from the command line: its bytes, as they are.
pub(crate) fn argument(text: &OsStr) -> Outcome<Vec<u8>> {
    if text.is_empty() {
        return Err(Failure::usage("a key has at least one byte"));
    }
    Ok(text.as_bytes().to_vec())
}

/// A directory from the command line: the trailing slash may be left out.
#[must_use]
pub(crate) fn directory(text: &OsStr) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    if bytes.last() != Some(&b'/') {
        bytes.push(b'/');
    }
    bytes
}

/// A directory that is read as a whole, from the command line or a template: a path can name it.
///
/// # Errors
/// Where none can. A key without a leading slash is in no directory.
pub(crate) fn listable(text: &OsStr) -> Outcome<Vec<u8>> {
    let name = directory(text);
    if !is_sayable(&name) {
        let shown = text.display();
        return Err(Failure::usage(format!(
            "`{shown}` is not a directory: one begins with a slash and is UTF-8, such as /app/"
        )));
    }
    Ok(name)
}

/// A key or value for people: text, in which what a terminal would obey is escaped, or for other bytes an escaped form.
#[must_use]
pub(crate) fn shown(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else { return bytes.escape_ascii().to_string() };
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) if byte == b'\\' || byte.is_ascii_control() => shown.extend(byte.escape_ascii().map(char::from)),
            _ if character.is_control() => shown.extend(character.escape_unicode()),
            _ => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: &[u8]) -> String {
        Route::of_key("/v1/keys", key).as_str().to_owned()
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_other_text_stays() {
        for (bytes, expected) in [
            (&b"/app/db"[..], "/app/db"),
            ("C:\\\u{e4}".as_bytes(), "C:\\\u{e4}"),
            ("\u{e4}\\\n\u{1b}[2J\u{7f}".as_bytes(), "\u{e4}\\\\\\n\\x1b[2J\\x7f"),
            ("\u{9b}2J".as_bytes(), "\\u{9b}2J"),
            (b"\xff\n", "\\xff\\n"),
        ] {
            assert_eq!(shown(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_key_that_a_path_can_say_is_its_path() {
        assert_eq!(keys(b"/app/db"), "/v1/keys/app/db");
        assert_eq!(keys(b"/app/"), "/v1/keys/app/");
        assert_eq!(keys(b"/"), "/v1/keys/");
        assert_eq!(keys("/ü b?#%:increment".as_bytes()), "/v1/keys/%C3%BC%20b%3F%23%25%3Aincrement");
    }

    #[test]
    fn every_other_key_is_base64url() {
        for key in [&b"app"[..], b"/a//b", b"//", b"/a/..", b"/./a", b"/\xff", b"\xab\x39\xa2"] {
            let route = keys(key);
            let encoded = route.strip_prefix("/v1/keys?key64=").unwrap();
            assert_eq!(from_key64(encoded).unwrap(), key, "{route}");
        }
    }

    #[test]
    fn a_name_is_one_segment() {
        let route = |name| Route::of_name("/v1/services", name, ":watch").map(|route| route.as_str().to_owned());
        assert_eq!(route("my web/ü:80").unwrap(), "/v1/services/my%20web%2F%C3%BC%3A80:watch");
        for name in ["", ".", ".."] {
            assert!(route(name).is_err(), "{name}");
        }
    }

    #[test]
    fn parameters_follow_the_key_or_the_query() {
        let route = Route::of_key("/v1/keys", b"/a").parameter("prevValue", "x&y=1 +").switch("raw", true);
        assert_eq!(route.as_str(), "/v1/keys/a?prevValue=x%26y%3D1%20%2B&raw=true");
        let route =
            Route::with_verb("/v1/history", b"a", ":rollback").optional("dryRun", None::<bool>).switch("x", true);
        assert_eq!(route.as_str(), "/v1/history:rollback?key64=YQ&x=true");
    }

    #[test]
    fn a_directory_may_be_named_without_its_slash() {
        assert_eq!(directory(OsStr::new("/app")), b"/app/");
        assert_eq!(directory(OsStr::new("/app/")), b"/app/");
        assert_eq!(directory(OsStr::new("/")), b"/");
    }
}
