//! Requests in JSON, written in one of the ways in which they can be: either name of a field, numbers as numbers or strings, bytes as
//! base64 or as numbers, what is zero left out or not, members in any order, among others that are not known. And requests that are
//! spoilt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::fields::{Fields, Visitor};
use crate::chance::Chance;

/// How a request is spelled: by a seed, or in the plainest way.
pub(crate) type Spelling = Option<u64>;

/// The JSON of a message.
pub(crate) fn spelled<M: Fields>(message: &mut M, spelling: Spelling) -> String {
    Spell::message_of(message, &mut spelling.map(Chance::new))
}

/// A request that does something else than it says, or nothing: a letter of it is gone, or another.
pub(crate) fn spoilt(body: &str, seed: u64) -> String {
    let mut chance = Chance::new(!seed);
    let mut bytes = body.as_bytes().to_vec();
    let at = chance.index(bytes.len());
    match chance.below(3) {
        0 => bytes.truncate(at),
        1 => {
            bytes.remove(at);
        }
        _ => bytes[at] = *chance.pick(b"{}[]\",:0-.ex \\=A"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes one message. Which way is taken depends on no value, so that both servers are told in the same way.
struct Spell<'a> {
    chance: &'a mut Option<Chance>,
    members: Vec<String>,
}

impl Spell<'_> {
    fn message_of<M: Fields>(message: &mut M, chance: &mut Option<Chance>) -> String {
        let mut spell = Spell { chance, members: Vec::new() };
        message.visit(&mut spell);
        spell.done()
    }

    /// Perhaps; never in the plainest way.
    fn percent(&mut self, percent: u64) -> bool {
        self.chance.as_mut().is_some_and(|chance| chance.percent(percent))
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        self.chance.as_mut().map_or(from[0], |chance| *chance.pick(from))
    }

    fn add(&mut self, name: &str, value: &str) {
        let name = if self.percent(30) { camel(name) } else { name.to_owned() };
        let space = self.pick(&["", "", "", " ", "\n\t"]);
        self.members.push(format!("{space}\"{name}\"{space}:{space}{value}{space}"));
    }

    /// A value that may as well be left out is written now and then.
    fn add_unless(&mut self, name: &str, is_default: bool, value: &str) {
        if self.percent(10) && is_default {
            self.add(name, "null");
        } else if !is_default || self.percent(10) {
            self.add(name, value);
        }
    }

    fn number(&mut self, number: i64) -> String {
        if self.percent(50) { number.to_string() } else { format!("\"{number}\"") }
    }

    fn base64(&mut self, bytes: &[u8]) -> String {
        if self.percent(15) {
            let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
            return format!("[{}]", numbers.join(","));
        }
        format!("\"{}\"", STANDARD.encode(bytes))
    }

    fn name_of(&mut self, at: i32, of: &[&str]) -> String {
        if self.percent(30) { at.to_string() } else { format!("\"{}\"", of[usize::try_from(at).unwrap()]) }
    }

    fn done(mut self) -> String {
        if self.percent(10) {
            self.members.push("\"unknown\":[{\"key\":1}]".to_owned());
        }
        if let Some(chance) = self.chance {
            for at in (1..self.members.len()).rev() {
                let other = chance.index(at + 1);
                self.members.swap(at, other);
            }
        }
        format!("{{{}}}", self.members.join(","))
    }
}

/// `range_end` as `rangeEnd`.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap().to_owned();
    for part in parts {
        camel.push_str(&part[..1].to_uppercase());
        camel.push_str(&part[1..]);
    }
    camel
}

impl Visitor for Spell<'_> {
    fn int(&mut self, name: &'static str, value: &mut i64) {
        let written = self.number(*value);
        self.add_unless(name, *value == 0, &written);
    }
    fn flag(&mut self, name: &'static str, value: &mut bool) {
        self.add_unless(name, !*value, &value.to_string());
    }
    fn bytes(&mut self, name: &'static str, value: &mut Bytes) {
        let written = self.base64(value);
        self.add_unless(name, value.is_empty(), &written);
    }
    fn text(&mut self, name: &'static str, value: &mut String) {
        let written = serde_json::Value::from(value.as_str()).to_string();
        self.add_unless(name, value.is_empty(), &written);
    }
    fn choice(&mut self, name: &'static str, value: &mut i32, of: &'static [&'static str]) {
        let written = self.name_of(*value, of);
        self.add_unless(name, *value == 0, &written);
    }
    fn choices(&mut self, name: &'static str, value: &mut Vec<i32>, of: &'static [&'static str]) {
        let written: Vec<_> = value.iter().map(|at| self.name_of(*at, of)).collect();
        self.add_unless(name, value.is_empty(), &format!("[{}]", written.join(",")));
    }
    fn message<M: Fields>(&mut self, name: &'static str, value: &mut Option<M>) {
        if let Some(message) = value {
            let written = Self::message_of(message, self.chance);
            self.add(name, &written);
        }
    }
    fn messages<M: Fields>(&mut self, name: &'static str, value: &mut Vec<M>) {
        let written: Vec<_> = value.iter_mut().map(|message| Self::message_of(message, self.chance)).collect();
        self.add_unless(name, value.is_empty(), &format!("[{}]", written.join(",")));
    }
    fn given_int(&mut self, name: &'static str, value: &mut Option<i64>) {
        if let Some(number) = *value {
            let written = self.number(number);
            self.add(name, &written);
        }
    }
    fn given_bytes(&mut self, name: &'static str, value: &mut Option<Bytes>) {
        if let Some(bytes) = value {
            let written = self.base64(bytes);
            self.add(name, &written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::visitors::Read;
    use crate::{between, pb};

    #[test]
    fn the_plainest_way_leaves_out_what_is_zero_and_others_say_the_same() {
        let mut request = pb::RangeRequest { limit: 3, sort_order: 2, keys_only: true, ..between("a", "b") };
        let plain = spelled(&mut request, None);
        let expected = r#"{"key":"YQ==","range_end":"Yg==","limit":"3","sort_order":"DESCEND","keys_only":true}"#;
        assert_eq!(plain, expected);
        let ways: std::collections::BTreeSet<_> = (0..50).map(|seed| spelled(&mut request, Some(seed))).collect();
        assert!(ways.len() > 45);
        for way in ways {
            let value: serde_json::Value = serde_json::from_str(&way).unwrap();
            let limit = &value["limit"];
            assert!(limit == 3 || limit == "3", "{way}");
            assert!(value["range_end"].is_null() != value["rangeEnd"].is_null(), "{way}");
        }
        assert_eq!(
            Read::message::<pb::RangeRequest>(
                serde_json::json!({"key": "a", "range_end": "b", "limit": 3, "sort_order": "DESCEND", "keys_only": true})
            ),
            request
        );
    }
}
