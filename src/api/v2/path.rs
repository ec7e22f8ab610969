//! Paths as Go's `http.ServeMux` takes them: decoded once, and redirected to their clean form.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::model::node::is_segment;

/// What `url.URL` escapes in a path.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// The bytes of a path; `None` when it is badly percent-encoded.
pub(super) fn decode(raw: &str) -> Option<Vec<u8>> {
    bad_escape(raw.as_bytes()).is_none().then(|| percent_decode_str(raw).collect())
}

/// The first `%` in a text that no two hexadecimal digits follow, with as many bytes as an escape would have.
pub(super) fn bad_escape(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let from = rest.get(at..)?;
        match from.get(1..3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => rest = from.get(3..)?,
            _ => return Some(from.get(..3).unwrap_or(from)),
        }
    }
    None
}

/// A path that begins with a slash without empty, `.` and `..` segments. A slash at its end stays.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    let mut cleaned = Vec::with_capacity(path.len());
    for segment in &segments {
        cleaned.push(b'/');
        cleaned.extend_from_slice(segment);
    }
    if path.ends_with(b"/") || segments.is_empty() {
        cleaned.push(b'/');
    }
    cleaned
}

/// Whether [`clean`] would change a path, found without making another.
pub(super) fn is_clean(path: &[u8]) -> bool {
    let Some(inner) = path.strip_prefix(b"/") else { return false };
    let inner = inner.strip_suffix(b"/").unwrap_or(inner);
    path == b"/" || inner.split(|byte| *byte == b'/').all(is_segment)
}

/// A path and query as they stand in `Location`.
pub(super) fn location(path: &[u8], query: Option<&str>) -> String {
    let mut location = percent_encode(path, ESCAPED).to_string();
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    location
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once_and_refused_when_it_cannot_be() {
        assert_eq!(decode("/v2/keys%2Ffoo+%25").unwrap(), b"/v2/keys/foo+%");
        assert_eq!(decode("/%ff").unwrap(), b"/\xff");
        for bad in ["/%", "/%a", "/%zz", "/a%2"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        let cases: &[(&str, &str)] = &[
            ("/", "/"),
            ("/v2/keys", "/v2/keys"),
            ("/v2/keys/", "/v2/keys/"),
            ("/v2//keys", "/v2/keys"),
            ("/v2/keys//", "/v2/keys/"),
            ("/v2/./keys/a/../b", "/v2/keys/b"),
            ("/v2/keys/..", "/v2"),
            ("/../a", "/a"),
            ("/v2/keys/a/.", "/v2/keys/a"),
            ("//", "/"),
            ("/...", "/..."),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
            assert_eq!(is_clean(path.as_bytes()), path == expected, "{path}");
        }
    }

    #[test]
    fn a_location_is_escaped_and_keeps_its_query() {
        assert_eq!(
            location("/v2/keys/a b$&+,:;=@!é".as_bytes(), Some("x=1;2&y=%20")),
            "/v2/keys/a%20b$&+,:;=@%21%C3%A9?x=1;2&y=%20"
        );
    }
}
