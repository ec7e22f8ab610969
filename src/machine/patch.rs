//! JSON Merge Patch (RFC 7396) and JSON Patch (RFC 6902) over the bytes of a value.
//!
//! Keeps the order of members and every digit of a number (an exponent gets its sign spelled out). The work that a patch
//! may cause is bounded in depth ([`limits::MAX_JSON_DEPTH`]), in size ([`limits::MAX_PATCHED_BYTES`]) and in steps
//! ([`limits::MAX_PATCH_STEPS`]): a patch is applied on every replica, and a small one can ask for much (`copy` doubles
//! a document). The crate `json-patch` reads patch documents; the operations are done here, because its own give
//! members another order and have no bounds.

use bytes::Bytes;
use json_patch::jsonptr::Pointer;
use json_patch::jsonptr::index::Index;
use json_patch::{Patch, PatchOperation};
use serde_json::{Map, Value};

use super::number::equal_numbers;
use crate::model::{PatchKind, Refusal, limits};

/// The value that comes of applying a patch document to a value; `None` is an absent key, which a Merge Patch takes as
/// `null`.
///
/// # Errors
/// `KeyNotFound` for a JSON Patch without a value, `NotJson`, `InvalidPatch`, `PatchConflict`, `TooLarge`.
pub(super) fn apply(kind: PatchKind, value: Option<&[u8]>, document: &[u8]) -> Result<Bytes, Refusal> {
    bounded_depth(document).map_err(Refusal::InvalidPatch)?;
    let mut target = match (value, kind) {
        (Some(bytes), PatchKind::Merge | PatchKind::Json) => parse_value(bytes)?,
        (None, PatchKind::Merge) => Value::Null,
        (None, PatchKind::Json) => return Err(Refusal::KeyNotFound),
    };
    match kind {
        PatchKind::Merge => {
            let patch: Value = serde_json::from_slice(document).map_err(|error| invalid(&error))?;
            let mut budget = Budget::new(0);
            merge(&mut target, patch, &mut budget)?;
        }
        PatchKind::Json => {
            let patch: Patch = serde_json::from_slice(document).map_err(|error| invalid(&error))?;
            let mut budget = Budget::new(value.map_or(0, <[u8]>::len));
            for (number, operation) in patch.0.into_iter().enumerate() {
                perform(&mut target, operation, &mut budget).map_err(|error| error.at(number))?;
            }
        }
    }
    write(&target)
}

fn parse_value(bytes: &[u8]) -> Result<Value, Refusal> {
    bounded_depth(bytes).map_err(|_| Refusal::NotJson)?;
    serde_json::from_slice(bytes).map_err(|_| Refusal::NotJson)
}

fn invalid(error: &serde_json::Error) -> Refusal {
    Refusal::InvalidPatch(error.to_string())
}

fn write(value: &Value) -> Result<Bytes, Refusal> {
    let bytes = serde_json::to_vec(value).map_err(|error| Refusal::PatchConflict(error.to_string()))?;
    if bytes.len() > limits::MAX_PATCHED_BYTES {
        return Err(too_large(bytes.len()));
    }
    Ok(bytes.into())
}

fn too_large(bytes: usize) -> Refusal {
    Refusal::TooLarge { keys: 1, bytes: bytes as u64 }
}

/// Refuses a document that nests too deeply, before anything recursive looks at it.
fn bounded_depth(document: &[u8]) -> Result<(), String> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in document {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits::MAX_JSON_DEPTH {
            return Err(format!("it nests deeper than {}", limits::MAX_JSON_DEPTH));
        }
    }
    Ok(())
}

/// RFC 7396, section 2. As deep as the patch, which is bounded.
fn merge(target: &mut Value, patch: Value, budget: &mut Budget) -> Result<(), Refusal> {
    let Value::Object(members) = patch else {
        *target = patch;
        return Ok(());
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else { return Ok(()) };
    for (name, value) in members {
        if value.is_null() {
            budget.spend(object.len()).map_err(|error| error.at(0))?;
            object.shift_remove(&name);
        } else {
            merge(object.entry(name).or_insert(Value::Null), value, budget)?;
        }
    }
    Ok(())
}

/// What a patch may still cost.
struct Budget {
    steps: usize,
    /// What the document may have grown to, never less than it has.
    bytes: usize,
}

impl Budget {
    fn new(bytes: usize) -> Self {
        Self { steps: limits::MAX_PATCH_STEPS, bytes }
    }

    fn spend(&mut self, steps: usize) -> Result<(), Failure> {
        self.steps = self.steps.checked_sub(steps).ok_or(Failure::TooMuchWork)?;
        Ok(())
    }

    /// Takes in a value that is copied within the document.
    fn grow(&mut self, value: &Value) -> Result<(), Failure> {
        let size = size(value);
        self.bytes += size;
        if self.bytes > limits::MAX_PATCHED_BYTES * 2 {
            return Err(Failure::TooLarge(self.bytes));
        }
        self.spend(size / 8 + 1)
    }
}

/// Why an operation of a JSON Patch is not possible.
enum Failure {
    NotThere(String),
    Differs(String),
    IntoItself,
    TooDeep,
    TooMuchWork,
    TooLarge(usize),
}

impl Failure {
    fn at(self, number: usize) -> Refusal {
        let conflict = |what: String| Refusal::PatchConflict(format!("operation {number}: {what}"));
        match self {
            Self::NotThere(pointer) => conflict(format!("there is nothing at {pointer:?}")),
            Self::Differs(pointer) => conflict(format!("the value at {pointer:?} is another one")),
            Self::IntoItself => conflict("a value cannot move into itself".to_owned()),
            Self::TooDeep => conflict(format!("the result nests deeper than {}", limits::MAX_JSON_DEPTH)),
            Self::TooMuchWork => conflict("the patch asks for too much work".to_owned()),
            Self::TooLarge(bytes) => too_large(bytes),
        }
    }
}

fn perform(target: &mut Value, operation: PatchOperation, budget: &mut Budget) -> Result<(), Failure> {
    budget.spend(1)?;
    match operation {
        PatchOperation::Add(add) => insert(target, &add.path, add.value, budget),
        PatchOperation::Remove(operation) => remove(target, &operation.path, budget).map(drop),
        PatchOperation::Replace(replace) => {
            let place = find_mut(target, &replace.path)?;
            within_depth(&replace.path, &replace.value)?;
            *place = replace.value;
            Ok(())
        }
        PatchOperation::Move(operation) => {
            if operation.path == operation.from {
                return find_mut(target, &operation.from).map(drop);
            }
            if operation.path.starts_with(&operation.from) {
                return Err(Failure::IntoItself);
            }
            let value = remove(target, &operation.from, budget)?;
            budget.spend(size(&value) / 8)?;
            insert(target, &operation.path, value, budget)
        }
        PatchOperation::Copy(copy) => {
            let source = find_mut(target, &copy.from)?;
            budget.grow(source)?;
            let value = source.clone();
            insert(target, &copy.path, value, budget)
        }
        PatchOperation::Test(test) => {
            let found = find_mut(target, &test.path)?;
            if equal(found, &test.value) { Ok(()) } else { Err(Failure::Differs(test.path.to_string())) }
        }
    }
}

fn find_mut<'a>(target: &'a mut Value, pointer: &Pointer) -> Result<&'a mut Value, Failure> {
    target.pointer_mut(pointer.as_str()).ok_or_else(|| Failure::NotThere(pointer.to_string()))
}

fn insert(target: &mut Value, pointer: &Pointer, value: Value, budget: &mut Budget) -> Result<(), Failure> {
    within_depth(pointer, &value)?;
    let Some((parent, last)) = pointer.split_back() else {
        *target = value;
        return Ok(());
    };
    let not_there = || Failure::NotThere(pointer.to_string());
    let parent = find_mut(target, parent)?;
    if let Value::Object(object) = parent {
        object.insert(last.decoded().into_owned(), value);
        return Ok(());
    }
    let array = parent.as_array_mut().ok_or_else(not_there)?;
    let at = last.to_index().ok().and_then(|index| index.for_len_incl(array.len()).ok()).ok_or_else(not_there)?;
    budget.spend((array.len() - at) / 4)?;
    array.insert(at, value);
    Ok(())
}

fn remove(target: &mut Value, pointer: &Pointer, budget: &mut Budget) -> Result<Value, Failure> {
    let not_there = || Failure::NotThere(pointer.to_string());
    let Some((parent, last)) = pointer.split_back() else {
        // RFC 6902 lets the whole document be removed and does not say what is left: null.
        return Ok(std::mem::take(target));
    };
    let parent = find_mut(target, parent)?;
    if let Value::Object(object) = parent {
        budget.spend(object.len())?;
        return object.shift_remove(last.decoded().as_ref()).ok_or_else(not_there);
    }
    let array = parent.as_array_mut().ok_or_else(not_there)?;
    match last.to_index() {
        Ok(Index::Num(at)) if at < array.len() => {
            budget.spend((array.len() - at) / 4)?;
            Ok(array.remove(at))
        }
        Ok(Index::Num(_) | Index::Next) | Err(_) => Err(not_there()),
    }
}

/// Whether a value put at a pointer stays within the bound on depth.
fn within_depth(pointer: &Pointer, value: &Value) -> Result<(), Failure> {
    if pointer.count() + depth(value) > limits::MAX_JSON_DEPTH { Err(Failure::TooDeep) } else { Ok(()) }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
    }
}

/// About how many bytes a value takes as text.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(number) => number.as_str().len(),
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(members) => 2 + members.iter().map(|(name, value)| name.len() + size(value) + 4).sum::<usize>(),
    }
}

/// RFC 6902, section 4.6: numbers by their value, objects whatever the order of their members.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => equal_numbers(left.as_str(), right.as_str()),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |(name, value): (&String, &Value)| right.get(name).is_some_and(|other| equal(value, other));
            left.len() == right.len() && left.iter().all(same)
        }
        (left, right) => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(value: Option<&str>, document: &str) -> Result<String, Refusal> {
        text(apply(PatchKind::Merge, value.map(str::as_bytes), document.as_bytes()))
    }

    fn patched(value: &str, document: &str) -> Result<String, Refusal> {
        text(apply(PatchKind::Json, Some(value.as_bytes()), document.as_bytes()))
    }

    fn text(result: Result<Bytes, Refusal>) -> Result<String, Refusal> {
        result.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn merge_patch_does_what_the_examples_of_rfc_7396_say() {
        let cases = [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ];
        for (value, document, expected) in cases {
            assert_eq!(merged(Some(value), document).unwrap(), expected, "{value} with {document}");
        }
        assert_eq!(merged(None, r#"{"a":{"b":null,"c":1}}"#).unwrap(), r#"{"a":{"c":1}}"#);
    }

    #[test]
    fn json_patch_does_what_the_examples_of_rfc_6902_say() {
        let cases = [
            (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/baz","value":"qux"}]"#, r#"{"foo":"bar","baz":"qux"}"#),
            (
                r#"{"foo":["bar","baz"]}"#,
                r#"[{"op":"add","path":"/foo/1","value":"qux"}]"#,
                r#"{"foo":["bar","qux","baz"]}"#,
            ),
            (r#"{"baz":"qux","foo":"bar"}"#, r#"[{"op":"remove","path":"/baz"}]"#, r#"{"foo":"bar"}"#),
            (r#"{"foo":["a","b","c"]}"#, r#"[{"op":"remove","path":"/foo/1"}]"#, r#"{"foo":["a","c"]}"#),
            (
                r#"{"baz":"qux","foo":"bar"}"#,
                r#"[{"op":"replace","path":"/baz","value":"boo"}]"#,
                r#"{"baz":"boo","foo":"bar"}"#,
            ),
            (
                r#"{"foo":["all","grass","cows","eat"]}"#,
                r#"[{"op":"move","from":"/foo/1","path":"/foo/3"}]"#,
                r#"{"foo":["all","cows","eat","grass"]}"#,
            ),
            (r#"{"foo":["bar"]}"#, r#"[{"op":"add","path":"/foo/-","value":1}]"#, r#"{"foo":["bar",1]}"#),
            (r#"{"/":9,"~1":10}"#, r#"[{"op":"test","path":"/~01","value":10}]"#, r#"{"/":9,"~1":10}"#),
            ("{}", r#"[{"op":"add","path":"","value":[1]}]"#, "[1]"),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"copy","from":"/a","path":"/c"}]"#, r#"{"a":{"b":1},"c":{"b":1}}"#),
        ];
        for (value, document, expected) in cases {
            assert_eq!(patched(value, document).unwrap(), expected, "{value} with {document}");
        }
    }

    #[test]
    fn a_patch_keeps_the_order_of_members_and_rounds_no_number() {
        let value = r#"{"z":1.10,"a":12345678901234567890123,"m":1e400,"b":0}"#;
        let expected = r#"{"z":1.10,"m":1e+400,"b":0,"c":2.50}"#;
        let document = r#"[{"op":"remove","path":"/a"},{"op":"add","path":"/c","value":2.50}]"#;
        let result = patched(value, document).unwrap();
        assert_eq!(result, expected);
        assert_eq!(merged(Some(value), r#"{"a":null,"c":2.50}"#).unwrap(), result);
    }

    #[test]
    fn a_test_operation_compares_numbers_by_value() {
        for (value, other) in [("1", "1.0"), ("100", "1e2"), ("-0", "0"), ("0.10", "1e-1")] {
            let document = format!(r#"[{{"op":"test","path":"/a","value":[{other}]}}]"#);
            assert!(patched(&format!(r#"{{"a":[{value}]}}"#), &document).is_ok(), "{value} {other}");
        }
        let document = r#"[{"op":"test","path":"/a","value":12345678901234567891}]"#;
        let refusal = patched(r#"{"a":12345678901234567890}"#, document).unwrap_err();
        assert!(matches!(refusal, Refusal::PatchConflict(_)));
    }

    #[test]
    fn what_cannot_be_applied_is_refused_with_the_reason() {
        assert_eq!(merged(Some("not json"), "{}"), Err(Refusal::NotJson));
        assert!(matches!(merged(Some("{}"), "{"), Err(Refusal::InvalidPatch(_))));
        assert!(matches!(patched("{}", r#"{"op":"add"}"#), Err(Refusal::InvalidPatch(_))));
        assert!(matches!(patched("{}", r#"[{"op":"fly","path":""}]"#), Err(Refusal::InvalidPatch(_))));
        let conflicts = [
            r#"[{"op":"remove","path":"/a"}]"#,
            r#"[{"op":"replace","path":"/a","value":1}]"#,
            r#"[{"op":"add","path":"/a/b","value":1}]"#,
            r#"[{"op":"add","path":"/l/3","value":1}]"#,
            r#"[{"op":"remove","path":"/l/-"}]"#,
            r#"[{"op":"move","from":"/l","path":"/l/0"}]"#,
            r#"[{"op":"copy","from":"/x","path":"/y"}]"#,
            r#"[{"op":"test","path":"/l","value":[2]}]"#,
        ];
        for document in conflicts {
            assert!(matches!(patched(r#"{"l":[1]}"#, document), Err(Refusal::PatchConflict(_))), "{document}");
        }
        assert_eq!(apply(PatchKind::Json, None, b"[]"), Err(Refusal::KeyNotFound));
    }

    #[test]
    fn a_document_that_nests_too_deeply_is_refused_before_it_is_read() {
        let deep = |count: usize| format!("{}1{}", "[".repeat(count), "]".repeat(count));
        assert!(merged(Some("{}"), &deep(limits::MAX_JSON_DEPTH)).is_ok());
        assert!(matches!(merged(Some("{}"), &deep(limits::MAX_JSON_DEPTH + 1)), Err(Refusal::InvalidPatch(_))));
        assert!(matches!(merged(Some("{}"), &"[".repeat(1_000_000)), Err(Refusal::InvalidPatch(_))));
        assert_eq!(merged(Some(&deep(100_000)), "{}"), Err(Refusal::NotJson));
        assert!(merged(Some("{}"), r#"{"a":"[[[[\"[[[["}"#).is_ok());
    }

    #[test]
    fn copies_cannot_make_a_document_deep_or_huge() {
        let nest = r#"{"op":"copy","from":"","path":"/a"}"#;
        let document = format!("[{}]", [nest; 65].join(","));
        assert!(matches!(patched("{}", &document), Err(Refusal::PatchConflict(_))));
        let double = r#"{"op":"copy","from":"/a","path":"/a/-"}"#;
        let document = format!("[{}]", [double; 50].join(","));
        let refusal = patched(r#"{"a":["0123456789"]}"#, &document).unwrap_err();
        assert!(matches!(refusal, Refusal::TooLarge { .. } | Refusal::PatchConflict(_)), "{refusal:?}");
        let double: Vec<_> = (0..40).map(|n| format!(r#"{{"op":"copy","from":"/l","path":"/l/{n}x"}}"#)).collect();
        assert!(patched(r#"{"l":[1]}"#, &format!("[{}]", double.join(","))).is_err());
    }

    #[test]
    fn a_patch_that_shifts_a_long_array_over_and_over_is_stopped() {
        let value = format!("[{}]", vec!["0"; 500_000].join(","));
        let operation = r#"{"op":"add","path":"/0","value":0}"#;
        let document = format!("[{}]", vec![operation; 20_000].join(","));
        assert!(matches!(patched(&value, &document), Err(Refusal::PatchConflict(_))));
    }
}
