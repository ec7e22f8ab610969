//! JSON as Go's `encoding/json` writes it, byte by byte, for the dialects of etcd: clients compare answers as text.

/// A JSON string of bytes. What a browser could take for markup is escaped, and every byte that is not UTF-8 becomes
/// `\ufffd`.
pub(crate) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    for chunk in bytes.utf8_chunks() {
        escape(out, chunk.valid());
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

/// Whether the bytes stand in a string as they are; most do. No loop that ends early: this one looks at many bytes at once.
fn is_plain(bytes: &[u8]) -> bool {
    let is_special = |byte| matches!(byte, 0..0x20 | b'"' | b'\\' | b'<' | b'>' | b'&' | 0x80..);
    !bytes.iter().fold(false, |special, byte| special | is_special(*byte))
}

/// A decimal number.
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            // A remainder by ten is a digit.
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

fn escape(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut plain = 0;
    let mut flush = |out: &mut Vec<u8>, to: usize, next: usize| {
        out.extend_from_slice(bytes.get(plain..to).unwrap_or_default());
        plain = next;
    };
    for (at, byte) in bytes.iter().copied().enumerate() {
        match byte {
            b'"' | b'\\' => {
                flush(out, at, at + 1);
                out.extend_from_slice(&[b'\\', byte]);
            }
            b'\n' | b'\r' | b'\t' => {
                flush(out, at, at + 1);
                let letter = match byte {
                    b'\n' => b'n',
                    b'\r' => b'r',
                    _ => b't',
                };
                out.extend_from_slice(&[b'\\', letter]);
            }
            0..0x20 | b'<' | b'>' | b'&' => {
                flush(out, at, at + 1);
                out.extend_from_slice(b"\\u00");
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
            }
            // U+2028 and U+2029, line ends in JavaScript: e2 80 a8 and e2 80 a9.
            0xe2 => {
                let line_end = match bytes.get(at + 1..at + 3) {
                    Some([0x80, 0xa8]) => b"\\u2028",
                    Some([0x80, 0xa9]) => b"\\u2029",
                    _ => continue,
                };
                flush(out, at, at + 3);
                out.extend_from_slice(line_end);
            }
            _ => {}
        }
    }
    flush(out, bytes.len(), bytes.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        string(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        assert_eq!(quoted("a\"b\\c/é€\u{7f}".as_bytes()), "\"a\\\"b\\\\c/é€\u{7f}\"");
        assert_eq!(quoted(b"\0\x08\x0c\n\r\t\x1f"), r#""\u0000\u0008\u000c\n\r\t\u001f""#);
        assert_eq!(
            quoted("<b>&'\u{2028}\u{2029}\u{2027}".as_bytes()),
            "\"\\u003cb\\u003e\\u0026'\\u2028\\u2029\u{2027}\""
        );
        assert_eq!(quoted(b"\xff\xfea\xe2\x80"), r#""\ufffd\ufffda\ufffd\ufffd""#);
    }

    #[test]
    fn what_stands_as_it_is_is_what_escaping_leaves_alone() {
        for byte in 0..=u8::MAX {
            let mut escaped = Vec::new();
            for chunk in [byte].utf8_chunks() {
                escape(&mut escaped, chunk.valid());
            }
            // A byte beyond ASCII may be a part of what is left alone.
            assert_eq!(is_plain(&[byte]), escaped == [byte], "{byte:#x}");
        }
        assert!(is_plain(&[b'x'; 100]));
        assert!(!is_plain(&[[b'x'; 99].as_slice(), b"&"].concat()));
    }

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
