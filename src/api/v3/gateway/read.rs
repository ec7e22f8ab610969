//! From JSON to the bytes of a message, by the tables.
//!
//! What is taken and what is refused, and in which words, is as etcd 3.4 has it, whose gateway reads with Go's `encoding/json` and the
//! `jsonpb` of its time: fields are read in the order of their numbers, wherever they stand, so that the first error is always the same one;
//! of members with the same name the last one counts, and of both names of a field the one in camel case; what is not known is left out.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};

use super::scan::{Document, Value, unescaped, unquoted, whole};
use super::table::{Enum, Field, Kind, Message};

/// How deep messages may nest. Transactions may not nest half as deep.
const MAX_DEPTH: usize = 32;
/// Base64 with padding, whose last letter may say more than is read, as in Go.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Appends the message that an object says. The error is what its client is told.
pub(super) fn read(document: Document<'_>, value: Value, message: &Message, out: &mut Vec<u8>) -> Result<(), String> {
    Reader { document, out }.message(value, message, 0)
}

struct Reader<'a, 'b> {
    document: Document<'a>,
    out: &'b mut Vec<u8>,
}

impl Reader<'_, '_> {
    fn message(&mut self, value: Value, message: &Message, depth: usize) -> Result<(), String> {
        match self.document.raw(value).first() {
            Some(b'{') => {}
            Some(b'n') => return Ok(()),
            _ => return Err(self.mismatch(value, "map[string]json.RawMessage")),
        }
        if depth > MAX_DEPTH {
            return Err(format!("messages may nest at most {MAX_DEPTH} deep"));
        }
        // For each field its value, and whether it stood under the name in camel case alone.
        let mut found: Vec<Option<(Value, bool)>> = vec![None; message.fields.len()];
        for (name, value) in self.document.members(value) {
            let name = unescaped(name);
            let is_named = |field: &&Field| *name == *field.name.as_bytes() || *name == *field.camel.as_bytes();
            let Some(at) = message.fields.iter().position(|field| is_named(&field)) else { continue };
            let (Some(place), Some(field)) = (found.get_mut(at), message.fields.get(at)) else { continue };
            let is_camel = *name != *field.name.as_bytes();
            if is_camel || place.is_none_or(|(_, was_camel)| !was_camel) {
                *place = Some((value, is_camel));
            }
        }
        let there = || message.fields.iter().zip(&found).filter_map(|(field, found)| Some((field, (*found)?.0)));
        for (field, value) in there().filter(|(field, _)| !field.one_of) {
            self.field(value, field, depth)?;
        }
        let rest = self.out.len();
        for (field, value) in there().filter(|(field, _)| field.one_of) {
            self.out.truncate(rest);
            self.field(value, field, depth)?;
        }
        Ok(())
    }

    fn field(&mut self, value: Value, field: &Field, depth: usize) -> Result<(), String> {
        if !field.repeated {
            return self.single(value, field, depth, field.one_of);
        }
        match self.document.raw(value).first() {
            Some(b'[') => {}
            Some(b'n') => return Ok(()),
            _ => return Err(self.mismatch(value, "[]json.RawMessage")),
        }
        if !matches!(field.kind, Kind::String | Kind::Bytes | Kind::Message(_)) {
            return self.packed(value, field);
        }
        for element in self.document.elements(value) {
            if matches!(field.kind, Kind::Message(_)) && self.document.raw(element) == b"null" {
                // It ends the connection of who sends it to etcd.
                return Err(format!("`{}` may not have null in it", field.name));
            }
            self.single(element, field, depth, true)?;
        }
        Ok(())
    }

    /// The values of a list of numbers, which stand together.
    fn packed(&mut self, value: Value, field: &Field) -> Result<(), String> {
        let begin = self.out.len();
        for element in self.document.elements(value) {
            let number = self.number(element, field.kind)?;
            encode_varint(number, self.out);
        }
        if self.out.len() > begin {
            self.put_length(begin, field);
        }
        Ok(())
    }

    /// A value, which is left out where it is that of a field that is not there, unless that would say something else.
    fn single(&mut self, value: Value, field: &Field, depth: usize, keep: bool) -> Result<(), String> {
        let begin = self.out.len();
        match field.kind {
            Kind::String => self.string(value)?,
            Kind::Bytes => self.bytes(value)?,
            Kind::Message(_) if self.document.raw(value) == b"null" => return Ok(()),
            Kind::Message(inner) => self.message(value, inner, depth + 1)?,
            kind => {
                let number = self.number(value, kind)?;
                if keep || number != 0 {
                    encode_key(field.number, WireType::Varint, self.out);
                    encode_varint(number, self.out);
                }
                return Ok(());
            }
        }
        if keep || matches!(field.kind, Kind::Message(_)) || self.out.len() > begin {
            self.put_length(begin, field);
        }
        Ok(())
    }

    /// Puts the tag of a field and a length before what was appended since.
    fn put_length(&mut self, begin: usize, field: &Field) {
        let mut front = Vec::with_capacity(8);
        encode_key(field.number, WireType::LengthDelimited, &mut front);
        encode_varint(u64::try_from(self.out.len() - begin).unwrap_or(u64::MAX), &mut front);
        self.out.splice(begin..begin, front);
    }

    fn string(&mut self, value: Value) -> Result<(), String> {
        let raw = self.document.raw(value);
        match raw.first() {
            Some(b'"') => self.out.extend_from_slice(&unescaped(unquoted(raw))),
            Some(b'n') => {}
            _ => return Err(self.mismatch(value, "string")),
        }
        Ok(())
    }

    fn bytes(&mut self, value: Value) -> Result<(), String> {
        let raw = self.document.raw(value);
        match raw.first() {
            Some(b'"') => {
                let text = unescaped(unquoted(raw));
                let begin = self.out.len();
                if BASE64.decode_vec(&*text, self.out).is_err() {
                    self.out.truncate(begin);
                    decode_slowly(&text, self.out).map_err(|at| format!("illegal base64 data at input byte {at}"))?;
                }
            }
            Some(b'[') => {
                for element in self.document.elements(value) {
                    let byte = self.byte(element)?;
                    self.out.push(byte);
                }
            }
            Some(b'n') => {}
            _ => return Err(self.mismatch(value, "[]uint8")),
        }
        Ok(())
    }

    fn byte(&self, value: Value) -> Result<u8, String> {
        let raw = self.document.raw(value);
        match raw.first() {
            Some(b'n') => Ok(0),
            Some(b'-' | b'0'..=b'9') => {
                let number = digits(raw).and_then(|text| text.parse().ok());
                number.ok_or_else(|| mismatch(raw, "uint8"))
            }
            _ => Err(self.mismatch(value, "uint8")),
        }
    }

    /// What a value of one of the kinds that are varints is as one.
    fn number(&self, value: Value, kind: Kind) -> Result<u64, String> {
        let raw = self.document.raw(value);
        let name = match kind {
            Kind::Bool => "bool",
            Kind::Uint64 => "uint64",
            Kind::Uint32 => "uint32",
            Kind::Enum(names) => names.name,
            Kind::Int64 | Kind::String | Kind::Bytes | Kind::Message(_) => "int64",
        };
        match raw.first() {
            Some(b'n') => return Ok(0),
            Some(b't' | b'f') if matches!(kind, Kind::Bool) => return Ok(u64::from(raw == b"true")),
            Some(b'"') => match kind {
                Kind::Bool => {}
                Kind::Enum(names) => return named(unquoted(raw), names),
                // As long as it is a number. It is not unescaped.
                _ => {
                    let inner = unquoted(raw);
                    let value = whole(inner)?;
                    let raw = Document { text: inner, containers: &[] }.raw(value);
                    return if raw == b"null" { Ok(0) } else { parsed(raw, kind).ok_or_else(|| mismatch(raw, name)) };
                }
            },
            _ => {}
        }
        parsed(raw, kind).ok_or_else(|| mismatch(raw, name))
    }

    fn mismatch(&self, value: Value, wanted: &str) -> String {
        let raw = self.document.raw(value);
        match raw.first() {
            Some(b'-' | b'0'..=b'9') => format!("json: cannot unmarshal number into Go value of type {wanted}"),
            _ => mismatch(raw, wanted),
        }
    }
}

/// What Go says of a value that is not of the type that is wanted. Of a number that a number is wanted for, it says which one.
fn mismatch(raw: &[u8], wanted: &str) -> String {
    let kind = match raw.first() {
        Some(b'{') => "object".to_owned(),
        Some(b'[') => "array".to_owned(),
        Some(b'"') => "string".to_owned(),
        Some(b't' | b'f') => "bool".to_owned(),
        _ if wanted == "bool" => "number".to_owned(),
        _ => format!("number {}", String::from_utf8_lossy(raw)),
    };
    format!("json: cannot unmarshal {kind} into Go value of type {wanted}")
}

/// A number without a fraction or an exponent.
fn digits(raw: &[u8]) -> Option<&str> {
    std::str::from_utf8(raw).ok().filter(|text| text.bytes().all(|byte| matches!(byte, b'-' | b'0'..=b'9')))
}

fn parsed(raw: &[u8], kind: Kind) -> Option<u64> {
    let text = digits(raw)?;
    match kind {
        Kind::Int64 => text.parse().ok().map(i64::cast_unsigned),
        // Negative ones of 32 bits are as long as those of 64.
        Kind::Enum(_) => text.parse::<i32>().ok().map(|number| i64::from(number).cast_unsigned()),
        Kind::Uint64 => text.parse().ok(),
        Kind::Uint32 => text.parse::<u32>().ok().map(u64::from),
        Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) => None,
    }
}

/// The number of a name. It is not unescaped.
fn named(name: &[u8], names: &Enum) -> Result<u64, String> {
    match names.values.iter().find(|(known, _)| known.as_bytes() == name) {
        Some((_, number)) => Ok(i64::from(*number).cast_unsigned()),
        None => Err(format!("unknown value {} for enum {}", quoted(name), names.name)),
    }
}

/// A text as Go's `%q` shows one that stood in a string of JSON, so that it has no quotes of its own that are not escaped.
fn quoted(text: &[u8]) -> String {
    let mut out = String::from('"');
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => out.extend(['\\', letter]),
                '\u{7f}' => out.push_str("\\x7f"),
                _ => out.push(letter),
            }
        }
        out.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    out.push('"');
    out
}

/// Reads base64 as Go does, line ends among it included; where it is wrong, the place that Go names.
fn decode_slowly(text: &[u8], out: &mut Vec<u8>) -> Result<(), usize> {
    let is_line_end = |at: usize| matches!(text.get(at), Some(b'\n' | b'\r'));
    let mut at = 0;
    loop {
        let (mut bits, mut count) = (0_u32, 0);
        while count < 4 {
            let Some(letter) = text.get(at) else {
                return if count == 0 { Ok(()) } else { Err(at - count) };
            };
            at += 1;
            let sextet = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'\n' | b'\r' => continue,
                b'=' if count >= 2 => break,
                _ => return Err(at - 1),
            };
            bits = bits << 6 | u32::from(sextet);
            count += 1;
        }
        let [_, bytes @ ..] = (bits << (6 * (4 - count))).to_be_bytes();
        out.extend(bytes.iter().take(count - 1));
        if count == 4 {
            continue;
        }
        if count == 2 {
            while is_line_end(at) {
                at += 1;
            }
            match text.get(at) {
                None => return Err(text.len()),
                Some(b'=') => at += 1,
                Some(_) => return Err(at - 1),
            }
        }
        while is_line_end(at) {
            at += 1;
        }
        return if at < text.len() { Err(at) } else { Ok(()) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::Scanner;
    use super::super::table::METHODS;
    use super::*;
    use crate::api::v3::pb;
    use crate::api::v3::pb::compare::TargetUnion;

    fn told<M: prost::Message + Default>(path: &str, json: &str) -> Result<M, String> {
        let method = METHODS.iter().find(|method| method.path == path).unwrap();
        let mut scanner = Scanner::new();
        let value = scanner.scan(json.as_bytes())?.expect("whole");
        let containers = scanner.into_containers();
        let mut out = Vec::new();
        read(Document { text: json.as_bytes(), containers: &containers }, value, method.input, &mut out)?;
        Ok(M::decode(&*out).unwrap())
    }

    fn range(json: &str) -> Result<pb::RangeRequest, String> {
        told("/etcdserverpb.KV/Range", json)
    }

    #[test]
    fn both_names_and_all_forms_of_a_value_are_read() {
        let expected = pb::RangeRequest {
            key: "foo".into(),
            range_end: "fop".into(),
            limit: -3,
            sort_order: 2,
            sort_target: 9,
            keys_only: true,
            ..Default::default()
        };
        for json in [
            r#"{"key":"Zm9v","range_end":"Zm9w","limit":-3,"sort_order":"DESCEND","sort_target":9,"keys_only":true}"#,
            r#"{"key":[102,111,111],"rangeEnd":"Zm9\u0077","limit":" -3 ","sortOrder":2,"sortTarget":9,"keysOnly":true,"serializable":null}"#,
            r#"{"x":[{}],"range_end":7,"rangeEnd":"Zm9w","key":1,"key":"Zm\n9v","limit":-3,"sort_order":2,"sort_target":9,"\u006beys_only":true}"#,
        ] {
            assert_eq!(range(json), Ok(expected.clone()), "{json}");
        }
    }

    #[test]
    fn of_what_can_be_one_thing_only_the_last_one_counts_and_zero_is_something() {
        let compare = |json| {
            told::<pb::TxnRequest>("/etcdserverpb.KV/Txn", json).map(|mut txn| txn.compare.remove(0).target_union)
        };
        assert_eq!(compare(r#"{"compare":[{"version":0}]}"#), Ok(Some(TargetUnion::Version(0))));
        assert_eq!(compare(r#"{"compare":[{"lease":"7","version":1}]}"#), Ok(Some(TargetUnion::Lease(7))));
        assert_eq!(compare(r#"{"compare":[{}]}"#), Ok(None));
        let op =
            |json| told::<pb::TxnRequest>("/etcdserverpb.KV/Txn", json).map(|mut txn| txn.success.remove(0).request);
        assert_eq!(op(r#"{"success":[{"request_put":null}]}"#), Ok(None));
        assert!(matches!(op(r#"{"success":[{"requestTxn":{}}]}"#), Ok(Some(pb::request_op::Request::RequestTxn(_)))));
    }

    #[test]
    fn lists_are_read_one_after_the_other() {
        let watch =
            told::<pb::WatchRequest>("/etcdserverpb.Watch/Watch", r#"{"create_request":{"filters":["NODELETE",0]}}"#);
        let Some(pb::watch_request::RequestUnion::CreateRequest(request)) = watch.unwrap().request_union else {
            panic!("no creation");
        };
        assert_eq!(request.filters, [1, 0]);
        let add = told::<pb::MemberAddRequest>("/etcdserverpb.Cluster/MemberAdd", r#"{"peerURLs":["a","","\u00e9"]}"#);
        assert_eq!(add.unwrap().peer_ur_ls, ["a", "", "é"]);
    }

    #[test]
    fn what_does_not_fit_is_said_as_go_says_it() {
        for (json, error) in [
            ("[]", "json: cannot unmarshal array into Go value of type map[string]json.RawMessage"),
            (r#"{"key":1}"#, "json: cannot unmarshal number into Go value of type []uint8"),
            (r#"{"key":[256]}"#, "json: cannot unmarshal number 256 into Go value of type uint8"),
            (r#"{"keys_only":1,"limit":{}}"#, "json: cannot unmarshal object into Go value of type int64"),
            (r#"{"keys_only":1}"#, "json: cannot unmarshal number into Go value of type bool"),
            (r#"{"limit":"1.5"}"#, "json: cannot unmarshal number 1.5 into Go value of type int64"),
            (r#"{"sort_order":"1\n"}"#, r#"unknown value "1\\n" for enum etcdserverpb.RangeRequest_SortOrder"#),
            (
                r#"{"sort_order":2147483648}"#,
                "json: cannot unmarshal number 2147483648 into Go value of type etcdserverpb.RangeRequest_SortOrder",
            ),
        ] {
            assert_eq!(range(json).unwrap_err(), error, "{json}");
        }
        let deep = r#"{"success":[{"request_txn":"#.repeat(40) + "{}" + &"}]}".repeat(40);
        assert_eq!(
            told::<pb::TxnRequest>("/etcdserverpb.KV/Txn", &deep).unwrap_err(),
            "messages may nest at most 32 deep"
        );
    }

    #[test]
    fn base64_is_wrong_where_go_says_so() {
        let decode = |text: &str| {
            let mut out = Vec::new();
            decode_slowly(text.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        for (text, read) in
            [("", ""), ("Zm9v", "foo"), ("Zm8=", "fo"), ("Z\ng\r=\n=\n", "f"), ("Zh==", "f"), ("\n", "")]
        {
            assert_eq!(decode(text).unwrap(), read, "{text}");
        }
        for (text, at) in [
            ("Zm8", 0),
            ("Zg=", 3),
            ("Z", 0),
            ("Zm9vZ", 4),
            ("Zg==Zg==", 4),
            ("Zg==x", 4),
            ("Zg=x", 2),
            ("A A=", 1),
            ("=", 0),
            ("-vv8", 0),
        ] {
            assert_eq!(decode(text).unwrap_err(), at, "{text}");
        }
    }
}
