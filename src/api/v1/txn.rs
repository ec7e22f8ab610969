//! `/v1/txn`: comparisons and operations, all at one revision.
//!
//! The request is read strictly: a member that is not known is refused, because a misspelt comparison would be no
//! comparison at all.

use axum::extract::{Request, State as Extract};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::format::{self, Object, Values, is_json};
use super::keys::write::unexpected;
use super::schema::{Encoding, TxnAnswer};
use crate::api::extract::body::is_media_type;
use crate::api::extract::json::{self, Count, Lease, Members, Span};
use crate::api::extract::query;
use crate::api::extract::query::parameters;
use crate::api::problem::{Code, Problem};
use crate::api::{Answer, State};
use crate::model::{
    Attach, Command, Compare, CompareTarget, ContentType, Delete, DeleteTarget, Key, KeyRange, KeyValue, LeaseId, Op,
    OpOutcome, Operator, Outcome, Put, RangeQuery, Record, Revision, SortBy, Txn,
};

pub(super) fn router() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(transact))
}

parameters! {
    /// What can be asked of a transaction.
    pub struct TxnQuery {
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: query::Span = "timeout", "5s";
    }
}

/// A transaction: when every comparison holds `then` is done, else `else`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "if": [{"key": "/a", "prevExist": false}, {"key": "/b", "modRevision": {"lt": 12}}],
    "then": [{"put": {"key": "/a", "value": "1"}}, {"delete": {"key": "/q/", "recursive": true}}, {"get": {"key": "/b"}}],
    "else": [{"get": {"key": "/a"}}]}))]
pub struct TxnRequest {
    #[serde(default, rename = "if")]
    #[schema(value_type = Vec<Comparison>)]
    compares: Vec<Members<Comparison>>,
    #[serde(default)]
    #[schema(no_recursion)]
    then: Vec<Operation>,
    #[serde(default, rename = "else")]
    #[schema(no_recursion)]
    otherwise: Vec<Operation>,
}

/// What must hold of a key: each member given, besides the key, is one comparison. A bare value means `eq`; an object
/// `{"lt": …}` names the operator: `eq`, `ne`, `lt`, `le`, `gt` or `ge`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Comparison {
    key: Option<String>,
    /// The key in base64url, in place of `key`.
    key64: Option<String>,
    /// The key ends in a slash, and the comparison must hold for every key that begins with it.
    recursive: Option<bool>,
    /// Whether the key must exist.
    prev_exist: Option<bool>,
    #[schema(value_type = Option<TextTest>)]
    value: Option<Test<String>>,
    /// How to read `value`: `utf8` (default) or `base64`.
    encoding: Option<Encoding>,
    #[schema(value_type = Option<NumberTest>)]
    version: Option<Test<Count>>,
    #[schema(value_type = Option<NumberTest>)]
    create_revision: Option<Test<Count>>,
    #[schema(value_type = Option<NumberTest>)]
    mod_revision: Option<Test<Count>>,
    #[schema(value_type = Option<TextTest>)]
    lease: Option<Test<Lease>>,
}

/// One operation. Those behind it see what it did.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    #[schema(value_type = PutOperation)]
    Put(Members<PutOperation>),
    #[schema(value_type = DeleteOperation)]
    Delete(Members<DeleteOperation>),
    #[schema(value_type = GetOperation)]
    Get(Members<GetOperation>),
    #[schema(no_recursion, value_type = TxnRequest)]
    Txn(Members<TxnRequest>),
}

/// Writes a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutOperation {
    key: Option<String>,
    /// The key in base64url, in place of `key`.
    key64: Option<String>,
    /// As `encoding` says.
    #[schema(value_type = Value)]
    value: Box<RawValue>,
    /// How to read `value`. Default: `json` with a JSON content type or when it is no string, else `utf8`.
    encoding: Option<Encoding>,
    content_type: Option<String>,
    /// The key dies with this lease.
    #[schema(value_type = Option<String>)]
    lease: Option<Lease>,
    /// The key dies after this time, with a lease of its own.
    #[schema(value_type = Option<DurationSchema>)]
    ttl: Option<Span>,
    keep_lease: Option<bool>,
    /// Answer with what was replaced, too.
    prev_kv: Option<bool>,
}

/// Deletes a key, or with `recursive` everything that begins with it. Nothing there is no failure here.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteOperation {
    key: Option<String>,
    /// The key in base64url, in place of `key`.
    key64: Option<String>,
    /// The key ends in a slash, and everything that begins with it goes.
    recursive: Option<bool>,
    /// Answer with what was deleted, too.
    prev_kv: Option<bool>,
}

/// Reads a key, or with `recursive` everything that begins with it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetOperation {
    key: Option<String>,
    /// The key in base64url, in place of `key`.
    key64: Option<String>,
    /// The key ends in a slash, and everything that begins with it is read.
    recursive: Option<bool>,
    #[schema(value_type = Option<u64>)]
    revision: Option<Count>,
    #[schema(value_type = Option<u64>)]
    limit: Option<Count>,
    keys_only: Option<bool>,
    count_only: Option<bool>,
    sort: Option<Sort>,
    order: Option<Order>,
}

/// What a read is ordered by.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Sort {
    Key,
    CreateRevision,
    ModRevision,
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    Asc,
    Desc,
}

/// An operator and what to compare with.
#[derive(Debug)]
pub struct Test<T> {
    operator: Operator,
    with: T,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Test<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (operator, with) = match Value::deserialize(deserializer)? {
            Value::Object(object) => {
                let mut members = object.into_iter();
                match (members.next(), members.next()) {
                    (Some((name, with)), None) => (operator(&name).map_err(D::Error::custom)?, with),
                    (_, _) => return Err(D::Error::custom("a comparison has exactly one operator")),
                }
            }
            with => (Operator::Equal, with),
        };
        let with = serde_json::from_value(with).map_err(D::Error::custom)?;
        Ok(Self { operator, with })
    }
}

const OPERATORS: [(&str, Operator); 6] = [
    ("eq", Operator::Equal),
    ("ne", Operator::NotEqual),
    ("lt", Operator::Less),
    ("le", Operator::LessOrEqual),
    ("gt", Operator::Greater),
    ("ge", Operator::GreaterOrEqual),
];

fn operator(name: &str) -> Result<Operator, String> {
    let found = OPERATORS.iter().find(|(known, _)| *known == name).map(|(_, operator)| *operator);
    found.ok_or_else(|| format!("`{}` is no operator; there are eq, ne, lt, le, gt and ge", query::shortened(name)))
}

/// A text, or an object with an operator and a text.
#[derive(Debug)]
pub struct TextTest;
/// A number, or an object with an operator and a number.
#[derive(Debug)]
pub struct NumberTest;
/// Seconds as a number, or text with units.
#[derive(Debug)]
pub struct DurationSchema;

fn test_schema(plain: ObjectBuilder) -> RefOr<Schema> {
    let plain = plain.build();
    let object = ObjectBuilder::new()
        .min_properties(Some(1))
        .max_properties(Some(1))
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    let object = OPERATORS.iter().fold(object, |object, (name, _)| object.property(*name, plain.clone()));
    OneOfBuilder::new().item(plain).item(object).into()
}

impl PartialSchema for TextTest {
    fn schema() -> RefOr<Schema> {
        test_schema(ObjectBuilder::new().schema_type(SchemaType::new(Type::String)))
    }
}

impl ToSchema for TextTest {}

impl PartialSchema for NumberTest {
    fn schema() -> RefOr<Schema> {
        test_schema(
            ObjectBuilder::new().schema_type(SchemaType::new(Type::Integer)).minimum(Some(0)).maximum(Some(i64::MAX)),
        )
    }
}

impl ToSchema for NumberTest {}

impl PartialSchema for DurationSchema {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Integer))
            .minimum(Some(1))
            .maximum(Some(9_000_000_000_u64));
        let text = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .pattern(Some(crate::api::extract::duration::PATTERN))
            .examples([serde_json::json!("30s")]);
        OneOfBuilder::new().item(number).item(text).into()
    }
}

impl ToSchema for DurationSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
}

/// Compare and change several keys at once
///
/// When every comparison under `if` holds, the operations under `then` are done, else those under `else`: all at one
/// revision, or none of them.
#[utoipa::path(
    post, path = "/v1/txn", operation_id = "transact", tag = "transactions", params(TxnQuery),
    request_body(content = TxnRequest, content_type = "application/json"),
    responses((status = 200, description = "Done, one way or the other", body = TxnAnswer)),
)]
pub async fn transact(Extract(api): Extract<State>, request: Request) -> Response {
    let result = answer(&api, request).await;
    api.finish(result)
}

async fn answer(api: &State, request: Request) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let query: TxnQuery = query(parts.uri.query())?;
    let (call, body) = api.arrive(&parts, body, query.timeout).await?;
    let txn = transaction(api, json::read(&body)?)?;
    let done = api.service().write(&call, Command::Txn(txn.clone())).await?;
    let Outcome::Txn { succeeded, results } = &done.outcome else { return Err(unexpected(&done.outcome)) };
    let mut out = Vec::with_capacity(256);
    let mut object = Object::begin(&mut out);
    object.boolean("succeeded", *succeeded);
    object.number("revision", done.revision.get());
    results_member(&mut object, api, &txn, *succeeded, results);
    object.end();
    Ok(Answer::json(done.revision, out).with_replayed(done.replayed))
}

fn transaction(api: &State, request: TxnRequest) -> Result<Txn, Problem> {
    let mut compares = Vec::with_capacity(request.compares.len());
    for Members(comparison) in request.compares {
        compare(comparison, &mut compares)?;
    }
    let operations = |list: Vec<Operation>| list.into_iter().map(|one| operation(api, one)).collect::<Result<_, _>>();
    Ok(Txn { compares, then: operations(request.then)?, otherwise: operations(request.otherwise)? })
}

fn compare(comparison: Comparison, compares: &mut Vec<Compare>) -> Result<(), Problem> {
    let Comparison {
        key,
        key64,
        recursive,
        prev_exist,
        value,
        encoding,
        version,
        create_revision,
        mod_revision,
        lease,
    } = comparison;
    let range = range(&json::key("key", key, key64)?, recursive)?;
    let before = compares.len();
    let mut add = |operator, target| compares.push(Compare { range: range.clone(), operator, target });
    if let Some(exists) = prev_exist {
        let operator = if exists { Operator::NotEqual } else { Operator::Equal };
        add(operator, CompareTarget::CreateRevision(Revision::ZERO));
    }
    match (value, encoding) {
        (Some(test), encoding) => add(test.operator, CompareTarget::Value(compared_value(test.with, encoding)?)),
        (None, Some(_)) => return Err(Problem::invalid("a comparison has `encoding` only with `value`")),
        (None, None) => {}
    }
    if let Some(Test { operator, with }) = version {
        add(operator, CompareTarget::Version(with.0));
    }
    if let Some(Test { operator, with }) = create_revision {
        add(operator, CompareTarget::CreateRevision(Revision(with.0)));
    }
    if let Some(Test { operator, with }) = mod_revision {
        add(operator, CompareTarget::ModRevision(Revision(with.0)));
    }
    if let Some(Test { operator, with }) = lease {
        add(operator, CompareTarget::Lease(with.0));
    }
    if compares.len() == before {
        return Err(Problem::invalid(
            "a comparison needs one of prevExist, value, version, createRevision, modRevision and lease",
        ));
    }
    Ok(())
}

fn compared_value(text: String, encoding: Option<Encoding>) -> Result<Bytes, Problem> {
    match encoding {
        None | Some(Encoding::Utf8) => Ok(text.into()),
        Some(Encoding::Base64) => base64(&text),
        Some(Encoding::Json) => {
            Err(Problem::invalid("a comparison takes text or base64: values are compared as bytes"))
        }
    }
}

fn base64(text: &str) -> Result<Bytes, Problem> {
    STANDARD.decode(text).map(Bytes::from).map_err(|_| Problem::invalid("`value` is not base64"))
}

fn operation(api: &State, operation: Operation) -> Result<Op, Problem> {
    match operation {
        Operation::Put(Members(put)) => Ok(Op::Put(put_operation(api, put)?)),
        Operation::Delete(Members(DeleteOperation { key, key64, recursive, prev_kv })) => {
            let target = DeleteTarget::Range(range(&json::key("key", key, key64)?, recursive)?);
            Ok(Op::Delete(Delete { target, previous: prev_kv.unwrap_or(false) }))
        }
        Operation::Get(Members(get)) => Ok(Op::Get(get_operation(get)?)),
        Operation::Txn(Members(request)) => Ok(Op::Txn(transaction(api, request)?)),
    }
}

fn put_operation(api: &State, put: PutOperation) -> Result<Put, Problem> {
    let PutOperation { key, key64, value, encoding, content_type, lease, ttl, keep_lease, prev_kv } = put;
    let attach = match (ttl, lease, keep_lease.unwrap_or(false)) {
        (None, None, false) => Attach::Detach,
        (None, None, true) => Attach::Keep,
        (None, Some(lease), false) => Attach::Lease(lease.0),
        (Some(ttl), None, false) if ttl.0.get() > 0 => Attach::Own { id: api.service().new_lease_id(), ttl: ttl.0 },
        (Some(_), None, false) => return Err(Problem::invalid("`ttl` has to be more than 0")),
        (Some(_), Some(_), _) | (Some(_), _, true) | (_, Some(_), true) => {
            return Err(Problem::invalid("of `ttl`, `lease` and `keepLease` a put can have only one"));
        }
    };
    let (value, content_type) = put_value(&value, encoding, content_type)?;
    let key = json::key("key", key, key64)?;
    Ok(Put { key, value: Some(value), content_type, attach, previous: prev_kv.unwrap_or(false) })
}

/// The bytes of a value and its media type, so that what GET shows can be put back as it is.
fn put_value(
    value: &RawValue,
    encoding: Option<Encoding>,
    content_type: Option<String>,
) -> Result<(Bytes, Option<ContentType>), Problem> {
    if content_type.as_deref().is_some_and(|text| !is_media_type(text)) {
        return Err(Problem::invalid("`contentType` is not a media type"));
    }
    let is_typed_json = content_type.as_deref().is_some_and(is_json);
    let text = || {
        serde_json::from_str::<String>(value.get())
            .map_err(|_| Problem::invalid("`value` has to be a string with this `encoding`"))
    };
    let is_text = value.get().starts_with('"');
    let encoding = encoding.unwrap_or(if is_typed_json || !is_text { Encoding::Json } else { Encoding::Utf8 });
    let bytes = match encoding {
        Encoding::Json => {
            let content_type = content_type.unwrap_or_else(|| "application/json".to_owned());
            return Ok((Bytes::from(value.get().to_owned()), Some(content_type.into())));
        }
        Encoding::Utf8 => Bytes::from(text()?),
        Encoding::Base64 => base64(&text()?)?,
    };
    if is_typed_json && !bytes.is_empty() {
        json::check(&bytes)?;
    }
    Ok((bytes, content_type.map(Into::into)))
}

fn get_operation(get: GetOperation) -> Result<RangeQuery, Problem> {
    let GetOperation { key, key64, recursive, revision, limit, keys_only, count_only, sort, order } = get;
    let sort_by = match sort {
        None | Some(Sort::Key) => SortBy::Key,
        Some(Sort::CreateRevision) => SortBy::CreateRevision,
        Some(Sort::ModRevision) => SortBy::ModRevision,
    };
    if limit == Some(Count(0)) || revision == Some(Count(0)) {
        return Err(Problem::invalid("`limit` and `revision` of a get are 1 or more"));
    }
    Ok(RangeQuery {
        revision: revision.map(|revision| Revision(revision.0)),
        limit: limit.map(|limit| limit.0),
        keys_only: keys_only.unwrap_or(false),
        count_only: count_only.unwrap_or(false),
        sort_by,
        descending: order == Some(Order::Desc),
        ..RangeQuery::all(range(&json::key("key", key, key64)?, recursive)?)
    })
}

fn range(key: &Key, recursive: Option<bool>) -> Result<KeyRange, Problem> {
    match (recursive.unwrap_or(false), key.is_directory()) {
        (false, _) => Ok(KeyRange::single(key)),
        (true, true) => Ok(KeyRange::prefix(key.bytes().clone())),
        (true, false) => {
            let detail = format!("`recursive` is for directories, and {key} does not end with a slash");
            Err(Problem::new(Code::NotADirectory, detail))
        }
    }
}

/// The results, each shown as its operation asked.
fn results_member(object: &mut Object<'_>, api: &State, txn: &Txn, succeeded: bool, results: &[OpOutcome]) {
    let branch = if succeeded { &txn.then } else { &txn.otherwise };
    object.array("results", branch.iter().zip(results), |out, (op, result)| {
        let mut outer = Object::begin(out);
        match result {
            OpOutcome::Put { now, previous } => put_result(&mut outer, api, now, previous.as_ref()),
            OpOutcome::Delete { deleted, previous } => {
                let mut inner = Object::begin(outer.member("delete"));
                inner.number("deleted", *deleted);
                if matches!(op, Op::Delete(Delete { previous: true, .. })) {
                    format::key_values(&mut inner, "prev", previous, Values::Show, |_| None);
                }
                inner.end();
            }
            OpOutcome::Get(found) => {
                let (values, count_only) = match op {
                    Op::Get(RangeQuery { keys_only: true, count_only, .. }) => (Values::Omit, *count_only),
                    Op::Get(RangeQuery { count_only, .. }) => (Values::Show, *count_only),
                    Op::Put(_) | Op::Delete(_) | Op::Txn(_) => (Values::Show, false),
                };
                let mut inner = Object::begin(outer.member("get"));
                if !count_only {
                    let ttl = |lease: LeaseId| api.service().lease_remaining(lease);
                    format::key_values(&mut inner, "items", &found.items, values, ttl);
                }
                inner.number("count", found.count);
                inner.boolean("more", found.more);
                inner.end();
            }
            OpOutcome::Txn { succeeded, results } => {
                let mut inner = Object::begin(outer.member("txn"));
                inner.boolean("succeeded", *succeeded);
                if let Op::Txn(nested) = op {
                    results_member(&mut inner, api, nested, *succeeded, results);
                }
                inner.end();
            }
        }
        outer.end();
    });
}

fn put_result(outer: &mut Object<'_>, api: &State, now: &KeyValue, previous: Option<&Record>) {
    let mut inner = Object::begin(outer.member("put"));
    let ttl = now.record.lease.and_then(|lease| api.service().lease_remaining(lease));
    format::key_value_members(&mut inner, &now.key, &now.record, ttl, Values::Omit);
    if let Some(previous) = previous {
        format::key_value(inner.member("prev"), &now.key, previous, None, Values::Show);
    }
    inner.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<TxnRequest, Problem> {
        json::read(&Bytes::from(text.to_owned()))
    }

    fn compares(text: &str) -> Result<Vec<Compare>, Problem> {
        let mut compares = Vec::new();
        for Members(comparison) in request(&format!("{{\"if\":[{text}]}}"))?.compares {
            compare(comparison, &mut compares)?;
        }
        Ok(compares)
    }

    #[test]
    fn comparisons_are_bare_values_or_operators() {
        let key = |name: &'static str| KeyRange::single(&Key::new(name).unwrap());
        let all =
            compares(r#"{"key":"/a","prevExist":false},{"key":"/b","modRevision":{"lt":12}},{"key":"/c","value":"x"}"#);
        let expected = [
            (key("/a"), Operator::Equal, CompareTarget::CreateRevision(Revision(0))),
            (key("/b"), Operator::Less, CompareTarget::ModRevision(Revision(12))),
            (key("/c"), Operator::Equal, CompareTarget::Value("x".into())),
        ];
        let found: Vec<_> = all.unwrap().into_iter().map(|one| (one.range, one.operator, one.target)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn several_comparisons_of_a_key_stand_side_by_side() {
        assert_eq!(compares(r#"{"key":"/a","version":1,"lease":{"ne":"694d"}}"#).unwrap().len(), 2);
    }

    #[test]
    fn nothing_unknown_and_nothing_half_is_taken() {
        let bad = [
            r#"{"key":"/a"}"#,
            r#"{"prevExist":true}"#,
            r#"{"key":"/a","key64":"L2E","prevExist":true}"#,
            r#"{"key":"","prevExist":true}"#,
            r#"{"key":"/a","prevexist":true}"#,
            r#"{"key":"/a","version":{"less":1}}"#,
            r#"{"key":"/a","version":{"lt":1,"gt":0}}"#,
            r#"{"key":"/a","version":{}}"#,
            r#"{"key":"/a","version":"1"}"#,
            r#"{"key":"/a","version":-1}"#,
            r#"{"key":"/a","value":1}"#,
            r#"{"key":"/a","value":"%%","encoding":"base64"}"#,
            r#"{"key":"/a","encoding":"utf8","version":1}"#,
            r#"{"key":"/a","recursive":true,"version":1}"#,
        ];
        for bad in bad {
            assert!(compares(bad).is_err(), "{bad}");
        }
        for bad in [
            r#"{"when":[]}"#,
            r#"{"then":[{"move":{}}]}"#,
            r#"{"then":[{}]}"#,
            r#"{"then":{}}"#,
            r#"{"then":[{"delete":["/a"]}]}"#,
            "[]",
            "1",
        ] {
            assert!(request(bad).is_err(), "{bad}");
        }
    }

    fn value(text: &str) -> Result<(Bytes, Option<ContentType>), Problem> {
        let request = request(&format!("{{\"then\":[{{\"put\":{{\"key\":\"/a\",{text}}}}}]}}"))?;
        match request.then.into_iter().next() {
            Some(Operation::Put(Members(put))) => put_value(&put.value, put.encoding, put.content_type),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_value_is_put_as_get_shows_it() {
        let typed = |text: &str| Some(ContentType::from(text));
        assert_eq!(value(r#""value":"x""#).unwrap(), ("x".into(), None));
        assert_eq!(value(r#""value":"/wA=","encoding":"base64""#).unwrap(), (Bytes::from_static(b"\xff\0"), None));
        let json = r#""value":{"a": 1.50},"encoding":"json","contentType":"application/json""#;
        assert_eq!(value(json).unwrap(), (r#"{"a": 1.50}"#.into(), typed("application/json")));
        assert_eq!(value(r#""value":12"#).unwrap(), ("12".into(), typed("application/json")));
        let text = r#""value":"x","contentType":"application/json""#;
        assert_eq!(value(text).unwrap(), ("\"x\"".into(), typed("application/json")));
        assert!(value(r#""value":"{","encoding":"utf8","contentType":"application/json""#).is_err());
        assert!(value(r#""value":1,"encoding":"utf8""#).is_err());
        assert!(value(r#""value":"x","contentType":"nonsense""#).is_err());
        assert!(value(r#""encoding":"utf8""#).is_err());
    }
}
