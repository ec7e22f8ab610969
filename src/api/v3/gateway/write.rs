//! From the bytes of a message to JSON, by the tables: as etcd's gateway writes it, byte by byte.
//!
//! What is left out of a message is left out of its JSON, and what is in it comes in its order, which is that of the fields' numbers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::DecodeError;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::table::{Field, Kind, Message};
use crate::api::go_json;

/// Bytes that are no message of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl From<DecodeError> for Malformed {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// Appends a message in JSON.
pub(super) fn write(out: &mut Vec<u8>, mut wire: &[u8], message: &Message) -> Result<(), Malformed> {
    out.push(b'{');
    // The field that the last value was of.
    let mut last: Option<&Field> = None;
    while !wire.is_empty() {
        let (number, kind) = decode_key(&mut wire)?;
        let content = Content::take(&mut wire, kind)?;
        let field = message.fields.iter().find(|field| field.number == number);
        let Some(field) = field else { continue };
        match last {
            Some(last) if last.repeated && last.number == field.number => out.push(b','),
            before => {
                if before.is_some_and(|before| before.repeated) {
                    out.push(b']');
                }
                if before.is_some() {
                    out.push(b',');
                }
                out.push(b'"');
                out.extend_from_slice(field.name.as_bytes());
                out.extend_from_slice(b"\":");
                if field.repeated {
                    out.push(b'[');
                }
            }
        }
        last = Some(field);
        value(out, content, field.kind)?;
    }
    if last.is_some_and(|last| last.repeated) {
        out.push(b']');
    }
    out.push(b'}');
    Ok(())
}

/// What a field has.
enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    /// Takes it by its type on the wire (Protocol Buffers, "Encoding"). No file has fields of the other types.
    fn take(wire: &mut &'a [u8], kind: WireType) -> Result<Self, Malformed> {
        match kind {
            WireType::Varint => Ok(Self::Number(decode_varint(wire)?)),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(wire)?).map_err(|_| Malformed)?;
                let (bytes, rest) = wire.split_at_checked(length).ok_or(Malformed)?;
                *wire = rest;
                Ok(Self::Bytes(bytes))
            }
            WireType::SixtyFourBit | WireType::StartGroup | WireType::EndGroup | WireType::ThirtyTwoBit => {
                Err(Malformed)
            }
        }
    }
}

fn value(out: &mut Vec<u8>, content: Content<'_>, kind: Kind) -> Result<(), Malformed> {
    match (kind, content) {
        (Kind::Bool, Content::Number(number)) => {
            out.extend_from_slice(if number == 0 { b"false" } else { b"true" });
        }
        (Kind::Uint32, Content::Number(number)) => go_json::number(out, number),
        (Kind::Uint64, Content::Number(number)) => {
            out.push(b'"');
            go_json::number(out, number);
            out.push(b'"');
        }
        (Kind::Int64, Content::Number(number)) => {
            out.push(b'"');
            signed(out, number.cast_signed());
            out.push(b'"');
        }
        (Kind::Enum(names), Content::Number(number)) => {
            match names.values.iter().find(|(_, known)| i64::from(*known) == number.cast_signed()) {
                Some((name, _)) => go_json::string(out, name.as_bytes()),
                None => signed(out, number.cast_signed()),
            }
        }
        (Kind::String, Content::Bytes(bytes)) => go_json::string(out, bytes),
        (Kind::Bytes, Content::Bytes(bytes)) => {
            let begin = out.len() + 1;
            let length = base64::encoded_len(bytes.len(), true).ok_or(Malformed)?;
            out.resize(begin + length, b'"');
            let place = out.get_mut(begin..).ok_or(Malformed)?;
            STANDARD.encode_slice(bytes, place).map_err(|_| Malformed)?;
            out.push(b'"');
        }
        (Kind::Message(inner), Content::Bytes(bytes)) => write(out, bytes, inner)?,
        _ => return Err(Malformed),
    }
    Ok(())
}

fn signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    go_json::number(out, number.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::table::METHODS;
    use super::*;
    use crate::api::v3::pb;

    fn shown(path: &str, message: &impl prost::Message) -> String {
        let method = METHODS.iter().find(|method| method.path == path).unwrap();
        let mut out = Vec::new();
        write(&mut out, &message.encode_to_vec(), method.output).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_of_64_bits_are_strings_and_what_is_not_there_is_left_out() {
        let kv = |key: &'static str, lease| pb::KeyValue { key: key.into(), lease, ..Default::default() };
        let range = pb::RangeResponse {
            header: Some(pb::ResponseHeader { cluster_id: u64::MAX, ..Default::default() }),
            kvs: vec![kv("a", -5), kv("", 0), kv("abc", i64::MIN)],
            more: true,
            count: 3,
        };
        assert_eq!(
            shown("/etcdserverpb.KV/Range", &range),
            r#"{"header":{"cluster_id":"18446744073709551615"},"kvs":[{"key":"YQ==","lease":"-5"},{},{"key":"YWJj","lease":"-9223372036854775808"}],"more":true,"count":"3"}"#
        );
        assert_eq!(shown("/etcdserverpb.KV/Range", &pb::RangeResponse::default()), "{}");
        let hash = pb::HashResponse { header: Some(pb::ResponseHeader::default()), hash: 7 };
        assert_eq!(shown("/etcdserverpb.Maintenance/Hash", &hash), r#"{"header":{},"hash":7}"#);
    }

    #[test]
    fn enums_are_names_and_text_is_escaped_as_go_escapes_it() {
        let alarm = |alarm| pb::AlarmMember { member_id: 1, alarm };
        let alarms = pb::AlarmResponse { header: None, alarms: vec![alarm(1), alarm(0), alarm(-3)] };
        assert_eq!(
            shown("/etcdserverpb.Maintenance/Alarm", &alarms),
            r#"{"alarms":[{"memberID":"1","alarm":"NOSPACE"},{"memberID":"1"},{"memberID":"1","alarm":-3}]}"#
        );
        let users = pb::AuthUserListResponse { header: None, users: vec!["<é\n".to_owned(), String::new()] };
        assert_eq!(shown("/etcdserverpb.Auth/UserList", &users), r#"{"users":["\u003cé\n",""]}"#);
    }

    #[test]
    fn bytes_that_are_no_message_are_found_to_be_none() {
        let method = METHODS.iter().find(|method| method.path == "/etcdserverpb.KV/Range").unwrap();
        let whole =
            pb::RangeResponse { kvs: vec![pb::KeyValue::default(); 2], count: 9, ..Default::default() }.encode_to_vec();
        let told = |wire: &[u8]| write(&mut Vec::new(), wire, method.output);
        assert_eq!(told(&whole), Ok(()));
        assert_eq!(told(&whole[..whole.len() - 1]), Err(Malformed));
        assert_eq!(told(&whole[..1]), Err(Malformed));
        assert_eq!(told(&[0x0d, 0, 0, 0, 0]), Err(Malformed));
        assert_eq!(told(&[0xff; 11]), Err(Malformed));
        // A field that later versions may add.
        assert_eq!(told(&[0xf8, 0x01, 1]), Ok(()));
    }
}
