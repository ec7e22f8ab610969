//! Forms as Go's `Request.ParseForm` reads them: the body's before the query's, and the same complaints.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use percent_encoding::percent_decode;

use super::path::bad_escape;

/// The media type whose body is a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// The parameters of a request, in the order in which they count: of several with the same name, the first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Form {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a body is, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Form,
    /// Not looked at.
    Other,
}

impl Form {
    /// Adds the parameters of a text; all that can be read of them, where something cannot.
    ///
    /// # Errors
    /// What is wrong with it, in Go's words (`url.ParseQuery`).
    pub(super) fn add(&mut self, text: &[u8]) -> Result<(), String> {
        let mut result = Ok(());
        for piece in text.split(|byte| *byte == b'&') {
            if piece.contains(&b';') {
                result = Err("invalid semicolon separator in query".to_owned());
                continue;
            }
            if piece.is_empty() {
                continue;
            }
            let equals = piece.iter().position(|byte| *byte == b'=').unwrap_or(piece.len());
            let (name, value) = (piece.get(..equals).unwrap_or_default(), piece.get(equals + 1..).unwrap_or_default());
            match (unescape(name), unescape(value)) {
                (Ok(name), Ok(value)) => self.pairs.push((name, value)),
                (Err(bad), _) | (_, Err(bad)) => result = result.and(Err(bad)),
            }
        }
        result
    }

    /// The value of a parameter, `None` where it does not stand.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.pairs.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// The value of a parameter, taken out; empty where it does not stand.
    pub(super) fn take(&mut self, name: &str) -> Vec<u8> {
        let found = self.pairs.iter_mut().find(|(known, _)| known == name.as_bytes());
        found.map(|(_, value)| std::mem::take(value)).unwrap_or_default()
    }
}

/// Go's `url.QueryUnescape`.
fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    if !text.contains(&b'%') && !text.contains(&b'+') {
        return Ok(text.to_vec());
    }
    if let Some(escape) = bad_escape(text) {
        // Go quotes what it could not read.
        return Err(format!("invalid URL escape {:?}", String::from_utf8_lossy(escape)));
    }
    let spaced: Cow<'_, [u8]> = if text.contains(&b'+') {
        text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect::<Vec<u8>>().into()
    } else {
        text.into()
    };
    Ok(percent_decode(&spaced).collect())
}

/// What the headers say of the body.
///
/// # Errors
/// What is wrong with the media type, in Go's words; what kind it is nevertheless, where that can be told.
pub(super) fn kind(headers: &HeaderMap) -> (Kind, Result<(), &'static str>) {
    let Some(header) = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).filter(|header| !header.is_empty())
    else {
        return (Kind::Other, Ok(()));
    };
    // As nearly all say it.
    if header == FORM.as_bytes() {
        return (Kind::Form, Ok(()));
    }
    let end = header.iter().position(|byte| *byte == b';').unwrap_or(header.len());
    let (base, parameters) = header.split_at_checked(end).unwrap_or((header, b""));
    let base = String::from_utf8_lossy(base).trim().to_ascii_lowercase();
    if let Err(bad) = check_media_type(&base) {
        return (Kind::Other, Err(bad));
    }
    let kind = if base == FORM { Kind::Form } else { Kind::Other };
    match check_parameters(parameters) {
        Err(DUPLICATE) => (Kind::Other, Err(DUPLICATE)),
        checked => (kind, checked),
    }
}

const INVALID: &str = "mime: invalid media parameter";
const DUPLICATE: &str = "mime: duplicate parameter name";

/// Go's `mime.checkMediaTypeDisposition`.
fn check_media_type(base: &str) -> Result<(), &'static str> {
    let (kind, rest) = token(base.as_bytes());
    if kind.is_empty() {
        return Err("mime: no media type");
    }
    if rest.is_empty() {
        return Ok(());
    }
    let Some(rest) = rest.strip_prefix(b"/") else { return Err("mime: expected slash after first token") };
    match token(rest) {
        (b"", _) => Err("mime: expected token after slash"),
        (_, b"") => Ok(()),
        _ => Err("mime: unexpected content after media subtype"),
    }
}

/// Go's `mime.ParseMediaType`, what comes behind the type itself.
fn check_parameters(mut rest: &[u8]) -> Result<(), &'static str> {
    let mut known: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() || rest.trim_ascii() == b";" {
            return Ok(());
        }
        let (name, value, behind) = parameter(rest).ok_or(INVALID)?;
        let is_duplicate = known.iter().any(|(earlier, other)| *earlier == name && *other != value);
        if is_duplicate {
            return Err(DUPLICATE);
        }
        known.push((name, value));
        rest = behind;
    }
}

/// Go's `mime.consumeMediaParam`.
fn parameter(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>, &[u8])> {
    let (name, rest) = token(text.strip_prefix(b";")?.trim_ascii_start());
    let rest = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (value, behind) = if let Some(quoted) = rest.strip_prefix(b"\"") {
        quoted_value(quoted)?
    } else {
        let (value, behind) = token(rest);
        (value.to_vec(), behind)
    };
    let is_missing = value.is_empty() && behind.len() == rest.len();
    (!name.is_empty() && !is_missing).then(|| (name.to_ascii_lowercase(), value, behind))
}

/// What is between the quotes; a backslash stands before a character that is special.
fn quoted_value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'"' => return Some((value, text.get(at + 1..).unwrap_or_default())),
            b'\\' if text.get(at + 1).is_some_and(|next| is_special(*next)) => {
                value.push(*text.get(at + 1)?);
                at += 2;
            }
            b'\r' | b'\n' => return None,
            byte => {
                value.push(byte);
                at += 1;
            }
        }
    }
}

fn is_special(byte: u8) -> bool {
    br#"()<>@,;:\"/[]?="#.contains(&byte)
}

fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let is_token = |byte: &u8| (0x21..0x7f).contains(byte) && !is_special(*byte);
    let end = text.iter().position(|byte| !is_token(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> (Form, Result<(), String>) {
        let mut form = Form::default();
        let result = form.add(text.as_bytes());
        (form, result)
    }

    #[test]
    fn the_first_of_a_name_counts_and_plus_is_a_blank() {
        let (mut form, result) = form("a=1+2%2B&a=3&b&=x&&c=%ff");
        assert_eq!(result, Ok(()));
        assert_eq!((form.get("a"), form.get("b"), form.get("")), (Some(&b"1 2+"[..]), Some(&b""[..]), Some(&b"x"[..])));
        assert_eq!((form.take("c"), form.get("d")), (b"\xff".to_vec(), None));
    }

    #[test]
    fn what_cannot_be_read_is_complained_of_as_go_does() {
        let complaint = |text: &str| form(text).1.unwrap_err();
        assert_eq!(complaint("a=b;c=d"), "invalid semicolon separator in query");
        assert_eq!(complaint("a=%zz&b=%"), "invalid URL escape \"%zz\"");
        assert_eq!(complaint("b=%1"), "invalid URL escape \"%1\"");
        assert_eq!(form("a=%zz&b=2").0.get("b"), Some(&b"2"[..]));
    }

    fn kind_of(header: &str) -> (Kind, Result<(), &'static str>) {
        kind(&[(CONTENT_TYPE, header.parse().unwrap())].into_iter().collect())
    }

    #[test]
    fn media_types_are_read_as_go_reads_them() {
        assert_eq!(kind(&HeaderMap::new()), (Kind::Other, Ok(())));
        for form in
            [FORM, "Application/X-WWW-Form-Urlencoded; charset=\"utf-8\"", "application/x-www-form-urlencoded ;"]
        {
            assert_eq!(kind_of(form), (Kind::Form, Ok(())), "{form}");
        }
        for other in ["application/json", "text", "multipart/form-data; boundary=x"] {
            assert_eq!(kind_of(other), (Kind::Other, Ok(())), "{other}");
        }
        assert_eq!(kind_of("application/x-www-form-urlencoded; x"), (Kind::Form, Err(INVALID)));
        assert_eq!(kind_of("a/b; x=1; x=2"), (Kind::Other, Err(DUPLICATE)));
        assert_eq!(kind_of("a/b; x=1; x=1").1, Ok(()));
        assert_eq!(kind_of("a/").1, Err("mime: expected token after slash"));
        assert_eq!(kind_of("a b").1, Err("mime: expected slash after first token"));
        assert_eq!(kind_of("a/b c").1, Err("mime: unexpected content after media subtype"));
        assert_eq!(kind_of("/").1, Err("mime: no media type"));
    }
}
