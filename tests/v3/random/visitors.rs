//! What is done with the fields of a request: numbers are put in, options named, one thing left out, all of it written as the text of a
//! regression and read from it. JSON for the gateway is written in `spell.rs`.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::fields::{Fields, Visitor};

/// Beside what marks it, a number that is known only when it is played is at most this far off.
const SPAN: i64 = 1 << 20;

/// A number in a request: one that stands for itself, or one that is known only when it is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Plain(i64),
    /// So many revisions after that at which the sequence begins.
    Base(i64),
    /// The lease with this place among those whose ids the server chose.
    Chosen(i64),
    /// The revision of the last candidacy with this lease.
    Campaign(i64),
}

const MARKS: [i64; 3] = [1 << 40, 1 << 41, 1 << 42];

impl Number {
    pub(crate) const fn packed(self) -> i64 {
        match self {
            Self::Plain(number) => number,
            Self::Base(by) => MARKS[0] + by,
            Self::Chosen(place) => MARKS[1] + place,
            Self::Campaign(lease) => MARKS[2] + lease,
        }
    }

    pub(crate) fn of(packed: i64) -> Self {
        let off = MARKS.map(|mark| Some(packed - mark).filter(|off| (-SPAN..SPAN).contains(off)));
        match off {
            [Some(by), ..] => Self::Base(by),
            [_, Some(place), _] => Self::Chosen(place),
            [.., Some(lease)] => Self::Campaign(lease),
            [None, None, None] => Self::Plain(packed),
        }
    }

    fn shown(self) -> Value {
        match self {
            Self::Plain(number) => number.into(),
            Self::Base(by) => format!("base{by:+}").into(),
            Self::Chosen(place) => format!("chosen{place:+}").into(),
            Self::Campaign(lease) => format!("campaign{lease:+}").into(),
        }
    }

    fn read(value: &Value) -> Option<Self> {
        let after = |mark| value.as_str()?.strip_prefix(mark)?.parse().ok();
        let plain = value.as_i64().map(Self::Plain);
        plain
            .or(after("base").map(Self::Base))
            .or(after("chosen").map(Self::Chosen))
            .or(after("campaign").map(Self::Campaign))
    }
}

/// Puts in the numbers that are known now.
pub(crate) struct Resolve<F>(pub(crate) F);

impl<F: Fn(Number) -> i64> Visitor for Resolve<F> {
    fn int(&mut self, _: &'static str, value: &mut i64) {
        *value = self.0(Number::of(*value));
    }
    fn flag(&mut self, _: &'static str, _: &mut bool) {}
    fn bytes(&mut self, _: &'static str, _: &mut Bytes) {}
    fn text(&mut self, _: &'static str, _: &mut String) {}
    fn choice(&mut self, _: &'static str, _: &mut i32, _: &'static [&'static str]) {}
    fn choices(&mut self, _: &'static str, _: &mut Vec<i32>, _: &'static [&'static str]) {}
    fn message<M: Fields>(&mut self, _: &'static str, value: &mut Option<M>) {
        for message in value.iter_mut() {
            message.visit(self);
        }
    }
    fn messages<M: Fields>(&mut self, _: &'static str, value: &mut Vec<M>) {
        for message in value.iter_mut() {
            message.visit(self);
        }
    }
    fn given_int(&mut self, name: &'static str, value: &mut Option<i64>) {
        for number in value.iter_mut() {
            self.int(name, number);
        }
    }
    fn given_bytes(&mut self, _: &'static str, _: &mut Option<Bytes>) {}
}

/// The options that are set, those of comparisons and the kinds of operations among them.
#[derive(Debug, Default)]
pub(crate) struct Options(pub(crate) BTreeSet<String>);

impl Options {
    fn add(&mut self, name: &str, is_set: bool) {
        if is_set {
            self.0.insert(name.to_owned());
        }
    }
}

impl Visitor for Options {
    fn int(&mut self, name: &'static str, value: &mut i64) {
        self.add(name, *value != 0);
    }
    fn flag(&mut self, name: &'static str, value: &mut bool) {
        self.add(name, *value);
    }
    /// A key is always there, but for one that is empty.
    fn bytes(&mut self, name: &'static str, value: &mut Bytes) {
        match (name, value.as_ref()) {
            ("key", b"") => self.add("no-key", true),
            ("key", _) => {}
            ("range_end", b"\0") => self.add("from-key", true),
            (_, value) => self.add(name, !value.is_empty()),
        }
    }
    fn text(&mut self, name: &'static str, value: &mut String) {
        self.add(name, !value.is_empty());
    }
    fn choice(&mut self, _: &'static str, value: &mut i32, of: &'static [&'static str]) {
        self.add(of[usize::try_from(*value).unwrap()], true);
    }
    fn choices(&mut self, _: &'static str, value: &mut Vec<i32>, of: &'static [&'static str]) {
        for at in value.iter() {
            self.add(of[usize::try_from(*at).unwrap()], true);
        }
    }
    fn message<M: Fields>(&mut self, name: &'static str, value: &mut Option<M>) {
        self.add(name, value.is_some());
    }
    fn messages<M: Fields>(&mut self, name: &'static str, value: &mut Vec<M>) {
        self.add(name, !value.is_empty());
        for message in value.iter_mut() {
            message.visit(self);
        }
    }
    fn given_int(&mut self, _: &'static str, _: &mut Option<i64>) {}
    fn given_bytes(&mut self, _: &'static str, _: &mut Option<Bytes>) {}
}

/// Leaves out one thing, the one before which there are so many.
pub(crate) struct Without {
    before: usize,
    pub(crate) is_done: bool,
}

impl Without {
    pub(crate) fn new(before: usize) -> Self {
        Self { before, is_done: false }
    }

    /// Whether it is the turn of something that is there.
    fn is_next(&mut self, is_there: bool) -> bool {
        if self.is_done || !is_there {
            return false;
        }
        self.is_done = self.before == 0;
        self.before = self.before.saturating_sub(1);
        self.is_done
    }

    fn clear<T: Default + PartialEq>(&mut self, value: &mut T) {
        if self.is_next(*value != T::default()) {
            *value = T::default();
        }
    }
}

impl Visitor for Without {
    /// A revision goes back to the first of the sequence before it is left out, so that steps before it can go.
    fn int(&mut self, _: &'static str, value: &mut i64) {
        let is_later = matches!(Number::of(*value), Number::Base(by) if by > 1);
        if self.is_next(is_later) {
            *value = Number::Base(1).packed();
        }
        self.clear(value);
    }
    fn flag(&mut self, _: &'static str, value: &mut bool) {
        self.clear(value);
    }
    /// A request without a key is another one.
    fn bytes(&mut self, name: &'static str, value: &mut Bytes) {
        if name != "key" {
            self.clear(value);
        }
    }
    fn text(&mut self, _: &'static str, value: &mut String) {
        self.clear(value);
    }
    fn choice(&mut self, _: &'static str, value: &mut i32, _: &'static [&'static str]) {
        self.clear(value);
    }
    fn choices(&mut self, _: &'static str, value: &mut Vec<i32>, _: &'static [&'static str]) {
        self.clear(value);
    }
    /// An operation is left out with its place in the list; a message that is alone stays, for some servers end without it.
    fn message<M: Fields>(&mut self, _: &'static str, value: &mut Option<M>) {
        for message in value.iter_mut() {
            message.visit(self);
        }
    }
    fn messages<M: Fields>(&mut self, _: &'static str, value: &mut Vec<M>) {
        let gone = (0..value.len()).find(|_| self.is_next(true));
        if let Some(gone) = gone {
            value.remove(gone);
        }
        for message in value.iter_mut() {
            message.visit(self);
        }
    }
    fn given_int(&mut self, _: &'static str, value: &mut Option<i64>) {
        self.clear(value);
    }
    fn given_bytes(&mut self, _: &'static str, value: &mut Option<Bytes>) {
        self.clear(value);
    }
}

/// Writes what is set, as it stands in a regression: bytes as text, numbers as they are meant.
#[derive(Debug, Default)]
pub(crate) struct Show(pub(crate) Map<String, Value>);

impl Show {
    fn of<M: Fields>(message: &mut M) -> Value {
        let mut shown = Self::default();
        message.visit(&mut shown);
        Value::Object(shown.0)
    }

    fn add(&mut self, name: &str, value: impl Into<Value>, is_set: bool) {
        if is_set {
            self.0.insert(name.to_owned(), value.into());
        }
    }
}

/// What keys and values are made of is text.
fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

impl Visitor for Show {
    fn int(&mut self, name: &'static str, value: &mut i64) {
        self.add(name, Number::of(*value).shown(), *value != 0);
    }
    fn flag(&mut self, name: &'static str, value: &mut bool) {
        self.add(name, *value, *value);
    }
    fn bytes(&mut self, name: &'static str, value: &mut Bytes) {
        self.add(name, text(value), !value.is_empty());
    }
    fn text(&mut self, name: &'static str, value: &mut String) {
        self.add(name, value.as_str(), !value.is_empty());
    }
    fn choice(&mut self, name: &'static str, value: &mut i32, of: &'static [&'static str]) {
        self.add(name, of[usize::try_from(*value).unwrap()], *value != 0);
    }
    fn choices(&mut self, name: &'static str, value: &mut Vec<i32>, of: &'static [&'static str]) {
        let names: Vec<_> = value.iter().map(|at| of[usize::try_from(*at).unwrap()]).collect();
        self.add(name, names, !value.is_empty());
    }
    fn message<M: Fields>(&mut self, name: &'static str, value: &mut Option<M>) {
        for message in value.iter_mut() {
            self.add(name, Self::of(message), true);
        }
    }
    fn messages<M: Fields>(&mut self, name: &'static str, value: &mut Vec<M>) {
        let shown: Vec<_> = value.iter_mut().map(Self::of).collect();
        self.add(name, shown, !value.is_empty());
    }
    fn given_int(&mut self, name: &'static str, value: &mut Option<i64>) {
        for number in value.iter() {
            self.add(name, Number::of(*number).shown(), true);
        }
    }
    fn given_bytes(&mut self, name: &'static str, value: &mut Option<Bytes>) {
        for bytes in value.iter() {
            self.add(name, text(bytes), true);
        }
    }
}

/// Reads what [`Show`] wrote; what is left over at the end is no field.
#[derive(Debug)]
pub(crate) struct Read(pub(crate) Map<String, Value>);

impl Read {
    /// The message that an object shows. Panics where it shows none.
    pub(crate) fn message<M: Fields>(value: Value) -> M {
        let Value::Object(members) = value else { panic!("no object: {value}") };
        let (mut read, mut message) = (Self(members), M::default());
        message.visit(&mut read);
        assert!(read.0.is_empty(), "no fields: {:?}", read.0);
        message
    }

    fn take<T>(&mut self, name: &str, as_meant: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.0.remove(name)?;
        Some(as_meant(&value).unwrap_or_else(|| panic!("{name} cannot be {value}")))
    }
}

fn number(value: &Value) -> Option<i64> {
    Number::read(value).map(Number::packed)
}

fn read_bytes(value: &Value) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(value.as_str()?.as_bytes()))
}

fn place(value: &Value, of: &[&str]) -> Option<i32> {
    let at = of.iter().position(|name| value.as_str() == Some(name))?;
    i32::try_from(at).ok()
}

impl Visitor for Read {
    fn int(&mut self, name: &'static str, value: &mut i64) {
        *value = self.take(name, number).unwrap_or_default();
    }
    fn flag(&mut self, name: &'static str, value: &mut bool) {
        *value = self.take(name, Value::as_bool).unwrap_or_default();
    }
    fn bytes(&mut self, name: &'static str, value: &mut Bytes) {
        *value = self.take(name, read_bytes).unwrap_or_default();
    }
    fn text(&mut self, name: &'static str, value: &mut String) {
        *value = self.take(name, |value| value.as_str().map(str::to_owned)).unwrap_or_default();
    }
    fn choice(&mut self, name: &'static str, value: &mut i32, of: &'static [&'static str]) {
        *value = self.take(name, |value| place(value, of)).unwrap_or_default();
    }
    fn choices(&mut self, name: &'static str, value: &mut Vec<i32>, of: &'static [&'static str]) {
        let places = |value: &Value| value.as_array()?.iter().map(|value| place(value, of)).collect();
        *value = self.take(name, places).unwrap_or_default();
    }
    fn message<M: Fields>(&mut self, name: &'static str, value: &mut Option<M>) {
        *value = self.0.remove(name).map(Self::message);
    }
    fn messages<M: Fields>(&mut self, name: &'static str, value: &mut Vec<M>) {
        let list = self.take(name, |value| value.as_array().cloned()).unwrap_or_default();
        *value = list.into_iter().map(Self::message).collect();
    }
    fn given_int(&mut self, name: &'static str, value: &mut Option<i64>) {
        *value = self.take(name, number);
    }
    fn given_bytes(&mut self, name: &'static str, value: &mut Option<Bytes>) {
        *value = self.take(name, read_bytes);
    }
}
