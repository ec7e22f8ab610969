//! Finds where a JSON value ends and whether it is one, in the words of Go's `encoding/json` where it is not: clients show them.
//!
//! A scanner goes on where it was when more bytes have come, so that a body may come in pieces of any size and each byte is looked at
//! once. Where objects and arrays end is kept: whoever walks over the value afterwards jumps over what does not matter.

use std::borrow::Cow;

/// How deep objects and arrays may nest, as in Go.
const MAX_DEPTH: usize = 10_000;

/// What comes next. The names of Go's states are much the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A value.
    Value,
    /// The first value of an array, or its end.
    ValueOrEnd,
    /// The name of a member.
    Name,
    /// The first name of an object, or its end.
    NameOrEnd,
    /// What follows a value, or a name.
    After,
    /// The rest of a string, or of an escape in one: so many hexadecimal digits of it.
    Text,
    Escape,
    Hex(u8),
    /// The rest of a number.
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// The rest of a word that began so long ago.
    Word(&'static str, usize),
    /// Nothing: the value has ended, before the byte that was looked at last.
    Ended,
}

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// An object, at a name.
    Name,
    /// An object, at the value of a member.
    Member,
    Array,
}

/// Where an object or an array ends.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Container {
    /// The place after it.
    end: u32,
    /// The first one that begins there or later.
    next: u32,
}

/// A value in a text that was scanned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    start: usize,
    end: usize,
    /// The first container that begins where it does or later.
    container: usize,
}

impl Value {
    /// The place after it.
    pub(super) fn end(self) -> usize {
        self.end
    }
}

/// Scans one value.
#[derive(Debug)]
pub(super) struct Scanner {
    next: Next,
    open: Vec<(Open, usize)>,
    containers: Vec<Container>,
    /// Where the value begins, once it does.
    start: Option<usize>,
    /// What was looked at.
    at: usize,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { next: Next::Value, open: Vec::new(), containers: Vec::new(), start: None, at: 0 }
    }

    /// Looks at what has come since the last time of a text; `Some` once the value is whole. A number or a word is, when something
    /// follows it.
    pub(super) fn scan(&mut self, text: &[u8]) -> Result<Option<Value>, String> {
        while let Some(byte) = text.get(self.at) {
            if self.next == Next::Text {
                let rest = text.get(self.at..).unwrap_or_default();
                let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
                if plain > 0 {
                    self.at += plain;
                    continue;
                }
            }
            self.step(*byte)?;
            if self.next == Next::Ended {
                return Ok(self.value());
            }
            self.at += 1;
            if self.next == Next::After && self.open.is_empty() && matches!(byte, b'}' | b']' | b'"') {
                return Ok(self.value());
            }
        }
        Ok(None)
    }

    /// The value, now that nothing more comes; `None` where there is none, not even its beginning. The error of one that has not
    /// ended is that of Go's decoder of streams.
    pub(super) fn finish(mut self) -> Result<Option<(Value, Vec<Container>)>, String> {
        if self.start.is_none() {
            return Ok(None);
        }
        match self.step(b' ') {
            Ok(()) if self.next == Next::Ended => Ok(self.value().map(|value| (value, self.containers))),
            _ => Err("unexpected EOF".to_owned()),
        }
    }

    /// Where objects and arrays end in the text that was scanned.
    pub(super) fn into_containers(self) -> Vec<Container> {
        self.containers
    }

    fn value(&self) -> Option<Value> {
        self.start.map(|start| Value { start, end: self.at, container: 0 })
    }

    fn step(&mut self, byte: u8) -> Result<(), String> {
        self.next = match self.next {
            Next::Value | Next::ValueOrEnd | Next::Name | Next::NameOrEnd if is_space(byte) => self.next,
            Next::ValueOrEnd if byte == b']' => self.close(),
            Next::NameOrEnd if byte == b'}' => self.close(),
            Next::Value | Next::ValueOrEnd => self.begin(byte)?,
            Next::Name | Next::NameOrEnd if byte == b'"' => Next::Text,
            Next::Name | Next::NameOrEnd => return Err(invalid(byte, "looking for beginning of object key string")),
            Next::Text | Next::Escape | Next::Hex(_) => in_text(self.next, byte)?,
            Next::Word(word, at) => in_word(word, at, byte)?,
            Next::After => self.follow(byte)?,
            Next::Ended => Next::Ended,
            number => match in_number(number, byte)? {
                Some(next) => next,
                None => self.follow(byte)?,
            },
        };
        Ok(())
    }

    /// The first byte of a value.
    fn begin(&mut self, byte: u8) -> Result<Next, String> {
        let next = match byte {
            b'{' => Next::NameOrEnd,
            b'[' => Next::ValueOrEnd,
            b'"' => Next::Text,
            b'-' => Next::Minus,
            b'0' => Next::Zero,
            b'1'..=b'9' => Next::Digits,
            b't' => Next::Word("true", 1),
            b'f' => Next::Word("false", 1),
            b'n' => Next::Word("null", 1),
            _ => return Err(invalid(byte, "looking for beginning of value")),
        };
        self.start.get_or_insert(self.at);
        if matches!(byte, b'{' | b'[') {
            let open = if byte == b'{' { Open::Name } else { Open::Array };
            self.open.push((open, self.containers.len()));
            self.containers.push(Container::default());
            if self.open.len() > MAX_DEPTH {
                return Err(invalid(byte, "exceeded max depth"));
            }
        }
        Ok(next)
    }

    /// The end of an object or an array.
    fn close(&mut self) -> Next {
        if let Some((_, index)) = self.open.pop() {
            let next = short(self.containers.len());
            if let Some(container) = self.containers.get_mut(index) {
                *container = Container { end: short(self.at + 1), next };
            }
        }
        Next::After
    }

    /// What follows a value, or the name of a member.
    fn follow(&mut self, byte: u8) -> Result<Next, String> {
        let Some((open, _)) = self.open.last_mut() else { return Ok(Next::Ended) };
        Ok(match (*open, byte) {
            _ if is_space(byte) => Next::After,
            (Open::Name, b':') => {
                *open = Open::Member;
                Next::Value
            }
            (Open::Name, _) => return Err(invalid(byte, "after object key")),
            (Open::Member, b',') => {
                *open = Open::Name;
                Next::Name
            }
            (Open::Member, b'}') | (Open::Array, b']') => self.close(),
            (Open::Member, _) => return Err(invalid(byte, "after object key:value pair")),
            (Open::Array, b',') => Next::Value,
            (Open::Array, _) => return Err(invalid(byte, "after array element")),
        })
    }
}

fn in_text(next: Next, byte: u8) -> Result<Next, String> {
    match (next, byte) {
        (Next::Escape, b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => Ok(Next::Text),
        (Next::Escape, b'u') => Ok(Next::Hex(4)),
        (Next::Escape, _) => Err(invalid(byte, "in string escape code")),
        (Next::Hex(left), _) if byte.is_ascii_hexdigit() => Ok(if left > 1 { Next::Hex(left - 1) } else { Next::Text }),
        (Next::Hex(_), _) => Err(invalid(byte, "in \\u hexadecimal character escape")),
        (_, b'"') => Ok(Next::After),
        (_, b'\\') => Ok(Next::Escape),
        (_, 0..0x20) => Err(invalid(byte, "in string literal")),
        _ => Ok(Next::Text),
    }
}

fn in_word(word: &'static str, at: usize, byte: u8) -> Result<Next, String> {
    match word.as_bytes().get(at) {
        Some(expected) if *expected != byte => {
            let expected = char::from(*expected);
            Err(invalid(byte, &format!("in literal {word} (expecting '{expected}')")))
        }
        _ if at + 1 < word.len() => Ok(Next::Word(word, at + 1)),
        _ => Ok(Next::After),
    }
}

/// `None` where the number has ended before the byte.
fn in_number(next: Next, byte: u8) -> Result<Option<Next>, String> {
    let is_digit = byte.is_ascii_digit();
    Ok(Some(match (next, byte) {
        (Next::Minus, b'0') => Next::Zero,
        (Next::Minus, b'1'..=b'9') | (Next::Digits, b'0'..=b'9') => Next::Digits,
        (Next::Minus, _) => return Err(invalid(byte, "in numeric literal")),
        (Next::Zero | Next::Digits, b'.') => Next::Point,
        (Next::Zero | Next::Digits | Next::Fraction, b'e' | b'E') => Next::Exponent,
        (Next::Point | Next::Fraction, _) if is_digit => Next::Fraction,
        (Next::Point, _) => return Err(invalid(byte, "after decimal point in numeric literal")),
        (Next::Exponent, b'+' | b'-') => Next::ExponentSign,
        (Next::Exponent | Next::ExponentSign | Next::ExponentDigits, _) if is_digit => Next::ExponentDigits,
        (Next::Exponent | Next::ExponentSign, _) => {
            return Err(invalid(byte, "in exponent of numeric literal"));
        }
        _ => return Ok(None),
    }))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A text that is nothing but one value, in the words of Go's `Unmarshal` where it is not.
pub(super) fn whole(text: &[u8]) -> Result<Value, String> {
    let mut scanner = Scanner::new();
    let Some(value) = scanner.scan(text)? else {
        // A number that ends here is whole; of anything else that does, the space may be what is wrong.
        scanner.step(b' ')?;
        let ended = scanner.next == Next::Ended;
        return scanner.value().filter(|_| ended).ok_or_else(|| "unexpected end of JSON input".to_owned());
    };
    let rest = text.get(value.end..).unwrap_or_default();
    match rest.iter().find(|byte| !is_space(**byte)) {
        Some(byte) => Err(invalid(*byte, "after top-level value")),
        None => Ok(value),
    }
}

/// A text that was scanned, to be walked over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    pub(super) text: &'a [u8],
    pub(super) containers: &'a [Container],
}

impl<'a> Document<'a> {
    /// A value as it is written.
    pub(super) fn raw(self, value: Value) -> &'a [u8] {
        self.text.get(value.start..value.end).unwrap_or_default()
    }

    /// The members of an object, each with its name as it is written, without quotes.
    pub(super) fn members(self, object: Value) -> impl Iterator<Item = (&'a [u8], Value)> {
        let mut walk = Walk::into(self, object);
        std::iter::from_fn(move || {
            let name = walk.next()?;
            Some((unquoted(self.raw(name)), walk.next()?))
        })
    }

    /// The values of an array.
    pub(super) fn elements(self, array: Value) -> impl Iterator<Item = Value> {
        let mut walk = Walk::into(self, array);
        std::iter::from_fn(move || walk.next())
    }
}

/// Goes from one value of a container to the next.
struct Walk<'a> {
    document: Document<'a>,
    at: usize,
    end: usize,
    container: usize,
}

impl<'a> Walk<'a> {
    fn into(document: Document<'a>, container: Value) -> Self {
        let Value { start, end, container } = container;
        Self { document, at: start + 1, end, container: container + 1 }
    }

    fn next(&mut self) -> Option<Value> {
        let text = self.document.text;
        let rest = text.get(self.at..self.end)?;
        let skipped = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':'))?;
        let start = self.at + skipped;
        let rest = rest.get(skipped..)?;
        let mut value = Value { start, end: start, container: self.container };
        match rest.first()? {
            b'}' | b']' => return None,
            b'{' | b'[' => {
                let container = self.document.containers.get(self.container)?;
                value.end = long(container.end);
                self.container = long(container.next);
            }
            b'"' => value.end = start + string_length(rest)?,
            _ => {
                let ends = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'}' | b']');
                value.end = start + rest.iter().position(ends)?;
            }
        }
        self.at = value.end;
        Some(value)
    }
}

/// The length of the string at the beginning of a text, quotes included.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if text.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// What stands between the quotes of a string.
pub(super) fn unquoted(string: &[u8]) -> &[u8] {
    string.get(1..string.len().saturating_sub(1)).unwrap_or_default()
}

/// What a string says, from what stands between its quotes. As in Go, what is not UTF-8, and halves of a pair of surrogates, become
/// U+FFFD.
pub(super) fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') && std::str::from_utf8(text).is_ok() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        push_lossy(&mut out, rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        let Some((letter, after)) = rest.split_first() else { break };
        rest = after;
        match letter {
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let first = hex(rest);
                rest = rest.get(4..).unwrap_or_default();
                let second = rest.strip_prefix(b"\\u").map(hex);
                let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
                match (char::from_u32(u32::from(first)), pair) {
                    (Some(letter), _) => out.push(letter),
                    (None, Some(letter)) => {
                        out.push(letter);
                        rest = rest.get(6..).unwrap_or_default();
                    }
                    (None, None) => out.push(char::REPLACEMENT_CHARACTER),
                }
            }
            other => out.push(char::from(*other)),
        }
    }
    push_lossy(&mut out, rest);
    Cow::Owned(out.into_bytes())
}

fn push_lossy(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

fn hex(text: &[u8]) -> u16 {
    let digits = text.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

/// What Go's scanner says of a byte.
fn invalid(byte: u8, place: &str) -> String {
    format!("invalid character {} {place}", quoted(byte))
}

/// A byte as Go quotes it, taken for a character of Latin-1.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0..0x20 | 0x7f => format!(r"'\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!(r"'\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

/// Places in a text, which a body's bound keeps far below 4 GiB.
fn short(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn long(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let mut scanner = Scanner::new();
        match scanner.scan(text.as_bytes()) {
            Err(error) => error,
            Ok(Some(value)) => text[value.start..value.end].to_owned(),
            Ok(None) => match scanner.finish() {
                Err(error) => error,
                Ok(None) => "nothing".to_owned(),
                Ok(Some((value, _))) => text[value.start..value.end].to_owned(),
            },
        }
    }

    #[test]
    fn a_value_ends_where_it_does_and_what_follows_is_left() {
        for (text, value) in [
            (" {\"a\":[1,{}]} {", "{\"a\":[1,{}]}"),
            ("12 x", "12"),
            ("-1.5e+3", "-1.5e+3"),
            ("null{", "null"),
            ("\"\\\"\\\\\\u00e9\"x", "\"\\\"\\\\\\u00e9\""),
            ("  \n", "nothing"),
            ("[]]", "[]"),
        ] {
            assert_eq!(told(text), value);
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        for (text, error) in [
            ("{\"a\":", "unexpected EOF"),
            ("tru", "unexpected EOF"),
            ("-", "unexpected EOF"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{\"a\"x", "invalid character 'x' after object key"),
            ("{'", r"invalid character '\'' looking for beginning of object key string"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[nul1]", "invalid character '1' in literal null (expecting 'l')"),
            ("[-]", "invalid character ']' in numeric literal"),
            ("[1.]", "invalid character ']' after decimal point in numeric literal"),
            ("[1e]", "invalid character ']' in exponent of numeric literal"),
            ("\"\\x", "invalid character 'x' in string escape code"),
            ("\"\\u00g", "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"\t", r"invalid character '\t' in string literal"),
        ] {
            assert_eq!(told(text), error, "{text}");
        }
        assert_eq!(quoted(0xff), "'ÿ'");
        assert_eq!(told(&"[".repeat(10_001)), "invalid character '[' exceeded max depth");
        assert!(told(&"[".repeat(10_000)).contains("EOF"));
    }

    #[test]
    fn a_text_in_pieces_is_scanned_as_a_whole_one() {
        let text = br#"{"a":[1,-2.5e3,"\u00e9\"",{"b":null}],"c":{},"d":true} "#;
        for at in 0..text.len() {
            let mut scanner = Scanner::new();
            let first = scanner.scan(&text[..at]).unwrap();
            let value = first.or_else(|| scanner.scan(text).unwrap()).unwrap();
            assert_eq!((value.start, value.end), (0, text.len() - 1), "{at}");
        }
    }

    #[test]
    fn a_walk_jumps_over_what_is_nested() {
        let text = br#"{"a":[1,[2],{"x":[]}],"b":{"c":"}]"},"d":3,"e":[[],[ 4 ]]}"#;
        let mut scanner = Scanner::new();
        let value = scanner.scan(text).unwrap().unwrap();
        let containers = scanner.into_containers();
        let document = Document { text, containers: &containers };
        let said = |value| String::from_utf8(document.raw(value).to_vec()).unwrap();
        let members: Vec<_> = document.members(value).map(|(name, value)| (name, said(value))).collect();
        let expected = [(b"a", r#"[1,[2],{"x":[]}]"#), (b"b", r#"{"c":"}]"}"#), (b"d", "3"), (b"e", "[[],[ 4 ]]")];
        assert_eq!(members, expected.map(|(name, value)| (&name[..], value.to_owned())));
        let (_, array) = document.members(value).last().unwrap();
        let last = document.elements(array).last().unwrap();
        assert_eq!(document.elements(last).map(said).collect::<Vec<_>>(), ["4"]);
    }

    #[test]
    fn a_string_within_a_value_is_all_that_it_says() {
        for (text, error) in [
            ("", "unexpected end of JSON input"),
            ("[", "unexpected end of JSON input"),
            ("-", "invalid character ' ' in numeric literal"),
            ("1 2", "invalid character '2' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
        ] {
            assert_eq!(whole(text.as_bytes()).unwrap_err(), error, "{text}");
        }
        for text in ["1", " 1 ", "null", "{}"] {
            whole(text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn escapes_and_bytes_that_are_no_text_are_read_as_go_reads_them() {
        let said = |text: &[u8]| String::from_utf8(unescaped(text).into_owned()).unwrap();
        assert_eq!(said(br#"a\n\t\"\\\/\b\f\rA"#), "a\n\t\"\\/\u{8}\u{c}\rA");
        assert_eq!(said(br"\ud83d\ude00\ud83d\u0041\ude00\ud83d"), "\u{1f600}\u{fffd}A\u{fffd}\u{fffd}");
        assert_eq!(said(b"\xff\xe2\x80x"), "\u{fffd}\u{fffd}\u{fffd}x");
    }
}
