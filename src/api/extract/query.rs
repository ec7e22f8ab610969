//! Query parameters: declared once, parsed strictly, described in the OpenAPI from the same declaration.
//!
//! An unknown parameter, or a repeated one that says one thing only, is refused by name: a typo in `prevExist` must never
//! turn a guarded write into an unguarded one.

use std::borrow::Cow;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use percent_encoding::percent_decode;
use serde_json::json;
use utoipa::openapi::path::Parameter as Description;
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};

use super::duration;
use crate::api::problem::Problem;
use crate::model::limits::{DEFAULT_PAGE, MAX_PAGE};
use crate::model::{Key, LeaseId, MemberId, Revision, SortBy, Ttl};
use crate::service::Consistency;

/// A set of query parameters. Made by `parameters!`.
pub trait Parameters: Default {
    /// The names, as they stand in a query.
    const NAMES: &'static [&'static str];

    /// Takes one parameter; `None` when its name stood alone, without `=`.
    ///
    /// # Errors
    /// When the name is unknown, was there before, or the value is not one of its kind.
    fn set(&mut self, name: &str, text: Option<&str>) -> Result<(), Problem>;

    /// The parameters as the OpenAPI describes them.
    fn describe() -> Vec<Description>;
}

/// Declares a set of query parameters: field, type, name in the query, example.
macro_rules! parameters {
    ($(#[$meta:meta])* $visibility:vis struct $set:ident {
        $($(#[doc = $doc:literal])+ $field:ident: $kind:ty = $name:literal, $example:expr;)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $visibility struct $set {
            $($(#[doc = $doc])+ pub $field: Option<$kind>,)*
        }

        impl $crate::api::extract::query::Parameters for $set {
            const NAMES: &'static [&'static str] = &[$($name),*];

            fn set(&mut self, name: &str, text: Option<&str>) -> Result<(), $crate::api::problem::Problem> {
                match name {
                    $($name => $crate::api::extract::query::set(&mut self.$field, name, text),)*
                    unknown => Err($crate::api::extract::query::unknown(unknown, Self::NAMES)),
                }
            }

            fn describe() -> Vec<utoipa::openapi::path::Parameter> {
                vec![$($crate::api::extract::query::describe::<$kind>(
                    $name,
                    concat!($($doc),+),
                    serde_json::json!($example),
                )),*]
            }
        }

        impl utoipa::IntoParams for $set {
            fn into_params(
                _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
            ) -> Vec<utoipa::openapi::path::Parameter> {
                <Self as $crate::api::extract::query::Parameters>::describe()
            }
        }
    };
}
pub(crate) use parameters;

/// Something that a query parameter can say.
pub trait Kind: Sized {
    /// Whether the parameter may be given several times: each time says more.
    const REPEATED: bool = false;

    /// Takes what the parameter says when it is given again. Only where it may be.
    fn add(&mut self, _more: Self) {}

    /// What the name alone says, for switches.
    fn bare() -> Option<Self> {
        None
    }

    /// Reads the value.
    ///
    /// # Errors
    /// What was expected instead.
    fn read(text: &str) -> Result<Self, Cow<'static, str>>;

    /// The shape in the OpenAPI.
    fn schema() -> ObjectBuilder;
}

/// Parses a raw query string.
///
/// # Errors
/// When a parameter is unknown, repeated without leave, badly encoded or not of its kind.
pub fn query<P: Parameters>(raw: Option<&str>) -> Result<P, Problem> {
    let mut parameters = P::default();
    for piece in raw.unwrap_or_default().split('&').filter(|piece| !piece.is_empty()) {
        let (name, text) = match piece.split_once('=') {
            Some((name, text)) => (decode(name)?, Some(decode(text)?)),
            None => (decode(piece)?, None),
        };
        parameters.set(&name, text.as_deref())?;
    }
    Ok(parameters)
}

/// How much may be on a page of a list.
///
/// # Errors
/// [`Code::InvalidArgument`](crate::api::problem::Code::InvalidArgument) for nothing, and for more than any page has.
pub fn page_limit(asked: Option<u64>) -> Result<u64, Problem> {
    let limit = asked.unwrap_or(DEFAULT_PAGE);
    if limit == 0 || limit > MAX_PAGE {
        return Err(Problem::invalid(format!("`limit` has to be from 1 to {MAX_PAGE}")));
    }
    Ok(limit)
}

/// Undoes the encoding of a query, where a plus sign stands for a blank (WHATWG URL, section 5.1).
fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    if !is_percent_encoded(text) {
        return Err(Problem::invalid(format!("`{text}` in the query is badly percent-encoded")));
    }
    let blanks = text.replace('+', " ");
    let bytes: Vec<u8> = percent_decode(blanks.as_bytes()).collect();
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| {
        Problem::invalid(format!(
            "`{text}` in the query is not UTF-8; where a call takes `key64`, that names a key which is not"
        ))
    })
}

/// Whether every percent sign begins an encoded byte.
pub(crate) fn is_percent_encoded(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => rest = rest.get(at + 3..).unwrap_or_default(),
            Some(_) | None => return false,
        }
    }
    true
}

pub(crate) fn set<K: Kind>(field: &mut Option<K>, name: &str, text: Option<&str>) -> Result<(), Problem> {
    if field.is_some() && !K::REPEATED {
        return Err(Problem::invalid(format!("the parameter `{name}` is given more than once")));
    }
    let read = match text {
        Some(text) => K::read(text),
        None => K::bare().map_or_else(|| K::read(""), Ok),
    };
    let value = read.map_err(|expected| {
        let given = text.unwrap_or_default();
        Problem::invalid(format!("`{name}={}` is not valid: it takes {expected}", shortened(given)))
    })?;
    match field {
        Some(present) => present.add(value),
        None => *field = Some(value),
    }
    Ok(())
}

/// How much of two names has to be alike for one to be a slip of the other; at half of it, chance finds something for any.
const LIKENESS: f32 = 0.6;

pub(crate) fn unknown(name: &str, known: &[&str]) -> Problem {
    let nearest = similar::get_close_matches(name, known, 1, LIKENESS);
    let hint = match nearest.first() {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => "this request takes none".to_owned(),
        None => format!("this request takes {}", known.join(", ")),
    };
    Problem::invalid(format!("the parameter `{}` is not known here: {hint}", shortened(name)))
}

/// A text from the client, short enough to be repeated in an answer.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 100;
    if text.len() <= LONGEST {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(LONGEST).chain(['…']).collect())
}

pub(crate) fn describe<K: Kind>(name: &str, doc: &str, example: serde_json::Value) -> Description {
    let schema: Schema = if K::REPEATED {
        ArrayBuilder::new().items(K::schema()).examples([json!([example])]).build().into()
    } else {
        K::schema().examples([example]).build().into()
    };
    utoipa::openapi::path::ParameterBuilder::new()
        .name(name)
        .parameter_in(utoipa::openapi::path::ParameterIn::Query)
        .required(utoipa::openapi::Required::False)
        .description(Some(doc.trim().replace("\n ", "\n")))
        .schema(Some(schema))
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String))
}

fn whole() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Integer))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
}

impl Kind for bool {
    fn bare() -> Option<Self> {
        Some(true)
    }

    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("`true` or `false`".into()),
        }
    }

    fn schema() -> ObjectBuilder {
        ObjectBuilder::new().schema_type(SchemaType::new(Type::Boolean))
    }
}

/// A whole number in decimal digits alone: no sign, no blanks.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl Kind for u64 {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        digits(text).filter(|number| i64::try_from(*number).is_ok()).ok_or_else(|| "a whole number, 0 or more".into())
    }

    fn schema() -> ObjectBuilder {
        whole().minimum(Some(0)).maximum(Some(i64::MAX))
    }
}

impl Kind for i64 {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        let bare = text.strip_prefix('-').unwrap_or(text);
        let number = if digits(bare).is_some() { text.parse().ok() } else { None };
        number.ok_or_else(|| "a whole number of 64 bits".into())
    }

    fn schema() -> ObjectBuilder {
        whole()
    }
}

impl Kind for Revision {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        <u64 as Kind>::read(text)
            .ok()
            .filter(|number| *number > 0)
            .map(Self)
            .ok_or_else(|| "a revision, 1 or more".into())
    }

    fn schema() -> ObjectBuilder {
        whole().minimum(Some(1)).maximum(Some(i64::MAX))
    }
}

/// A revision that may be 0, the one before everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After(pub Revision);

impl Kind for After {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        <u64 as Kind>::read(text).map(|number| Self(Revision(number)))
    }

    fn schema() -> ObjectBuilder {
        u64::schema()
    }
}

impl Kind for String {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        Ok(text.to_owned())
    }

    fn schema() -> ObjectBuilder {
        text()
    }
}

impl Kind for LeaseId {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        lease_id(text).ok_or_else(|| LEASE_ID.into())
    }

    fn schema() -> ObjectBuilder {
        text().pattern(Some("^[0-9a-fA-F]{1,16}$"))
    }
}

/// What [`lease_id`] reads.
pub const LEASE_ID: &str = "the id of a lease: 1 to 16 hexadecimal digits, not 0 and at most 7fffffffffffffff";

/// A lease id: positive as a signed number of 64 bits, as in etcd.
#[must_use]
pub fn lease_id(text: &str) -> Option<LeaseId> {
    hexadecimal::<LeaseId>(text).filter(|id| id.get() != 0 && i64::try_from(id.get()).is_ok())
}

/// What [`member_id`] reads.
pub const MEMBER_ID: &str = "the id of a member: 1 to 16 hexadecimal digits, not 0";

/// A member id.
#[must_use]
pub fn member_id(text: &str) -> Option<MemberId> {
    hexadecimal::<MemberId>(text).filter(|id| id.get() != 0)
}

/// An id of digits alone: parsing a number takes a sign too.
fn hexadecimal<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| text.parse().ok())?
}

/// A key, literally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal(pub Key);

impl Kind for Literal {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        Key::new(text.as_bytes().to_vec()).map(Self).ok_or_else(|| "a key of at least one byte".into())
    }

    fn schema() -> ObjectBuilder {
        text().min_length(Some(1))
    }
}

/// A key, literally, in base64url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal64(pub Key);

impl Kind for Literal64 {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok();
        bytes
            .and_then(|bytes| Key::new(Bytes::from(bytes)))
            .map(Self)
            .ok_or_else(|| "a key of at least one byte in base64url".into())
    }

    fn schema() -> ObjectBuilder {
        text().pattern(Some("^[A-Za-z0-9_-]{2,}={0,2}$"))
    }
}

/// A duration longer than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Ttl);

impl Span {
    #[must_use]
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.get())
    }
}

impl Kind for Span {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        duration::parse(text)
            .filter(|ttl| ttl.get() > 0)
            .map(Self)
            .ok_or_else(|| format!("{}, more than 0", duration::EXPECTED).into())
    }

    fn schema() -> ObjectBuilder {
        duration_schema()
    }
}

/// A duration that may be nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Ttl);

impl Wait {
    #[must_use]
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.get())
    }
}

impl Kind for Wait {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        duration::parse(text).map(Self).ok_or_else(|| duration::EXPECTED.into())
    }

    fn schema() -> ObjectBuilder {
        duration_schema()
    }
}

fn duration_schema() -> ObjectBuilder {
    text().pattern(Some(duration::PATTERN))
}

impl Kind for Consistency {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        match text {
            "linearizable" => Ok(Self::Linearizable),
            "serializable" => Ok(Self::Serializable),
            _ => Err("`linearizable` or `serializable`".into()),
        }
    }

    fn schema() -> ObjectBuilder {
        text().enum_values(Some([json!("linearizable"), json!("serializable")]))
    }
}

impl Kind for SortBy {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        match text {
            "key" => Ok(Self::Key),
            "createRevision" => Ok(Self::CreateRevision),
            "modRevision" => Ok(Self::ModRevision),
            _ => Err("`key`, `createRevision` or `modRevision`".into()),
        }
    }

    fn schema() -> ObjectBuilder {
        text().enum_values(Some([json!("key"), json!("createRevision"), json!("modRevision")]))
    }
}

/// Which end of a list comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

impl Kind for Order {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        match text {
            "asc" => Ok(Self::Ascending),
            "desc" => Ok(Self::Descending),
            _ => Err("`asc` or `desc`".into()),
        }
    }

    fn schema() -> ObjectBuilder {
        text().enum_values(Some([json!("asc"), json!("desc")]))
    }
}

/// Two revisions, as in `7..9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Between {
    pub from: Revision,
    pub to: Revision,
}

impl Kind for Between {
    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        let expected = "two revisions, as in `7..9`";
        let (from, to) = text.split_once("..").ok_or(expected)?;
        match (Revision::read(from), Revision::read(to)) {
            (Ok(from), Ok(to)) => Ok(Self { from, to }),
            (Err(_), _) | (_, Err(_)) => Err(expected.into()),
        }
    }

    fn schema() -> ObjectBuilder {
        text().pattern(Some(r"^[1-9][0-9]*\.\.[1-9][0-9]*$"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    parameters! {
        struct Some_ {
            /// A switch.
            prev_exist: bool = "prevExist", true;
            /// A number.
            limit: u64 = "limit", 10;
            /// A key.
            key: Literal = "key", "/a";
            /// A key.
            key64: Literal64 = "key64", "L2E";
        }
    }

    fn refused(raw: &str) -> String {
        query::<Some_>(Some(raw)).unwrap_err().detail().to_owned()
    }

    #[test]
    fn an_unknown_parameter_is_named_with_its_nearest_neighbour() {
        let detail = refused("prevexist=true");
        assert!(detail.contains("`prevexist`") && detail.contains("`prevExist`"), "{detail}");
        let detail = refused("zzz=1");
        assert!(detail.contains("`zzz`") && detail.contains("prevExist, limit"), "{detail}");
        assert!(refused("=1").contains("not known"));
        // Half of it is found in `revision`, which nobody meant.
        let detail = unknown("prevExst", &["revision", "limit"]).detail().to_owned();
        assert!(detail.contains("this request takes revision, limit"), "{detail}");
    }

    #[test]
    fn a_repeated_parameter_is_refused_even_with_the_same_value() {
        assert!(refused("limit=1&limit=1").contains("`limit` is given more than once"));
        assert!(refused("limit=1&l%69mit=1").contains("more than once"));
    }

    /// Words, one each time.
    #[derive(Debug, PartialEq, Eq)]
    struct Words(Vec<String>);

    impl Kind for Words {
        const REPEATED: bool = true;

        fn add(&mut self, more: Self) {
            self.0.extend(more.0);
        }

        fn read(text: &str) -> Result<Self, Cow<'static, str>> {
            if text.is_empty() { Err("a word".into()) } else { Ok(Self(vec![text.to_owned()])) }
        }

        fn schema() -> ObjectBuilder {
            text()
        }
    }

    parameters! {
        struct Repeating {
            /// Words.
            word: Words = "word", "a";
        }
    }

    #[test]
    fn a_parameter_that_may_be_repeated_says_more_each_time() {
        let words = |raw: &str| query::<Repeating>(Some(raw)).map(|parameters| parameters.word.unwrap().0);
        assert_eq!(words("word=a&word=b,c&word=a").unwrap(), ["a", "b,c", "a"]);
        assert!(words("word=a&word=").unwrap_err().detail().contains("a word"));
        let described = serde_json::to_value(Repeating::describe()).unwrap();
        assert_eq!(described[0]["schema"]["type"], "array");
    }

    #[test]
    fn a_switch_may_stand_alone_but_never_be_empty() {
        assert_eq!(query::<Some_>(Some("prevExist")).unwrap().prev_exist, Some(true));
        assert_eq!(query::<Some_>(Some("prevExist=false")).unwrap().prev_exist, Some(false));
        assert!(refused("prevExist=").contains("`true` or `false`"));
        assert!(refused("prevExist=1").contains("`true` or `false`"));
        assert!(refused("limit").contains("whole number"));
    }

    #[test]
    fn numbers_are_digits_within_63_bits() {
        for text in ["", "-1", "+1", " 1", "1e3", "0x1", "9223372036854775808", "99999999999999999999"] {
            assert!(<u64 as Kind>::read(text).is_err(), "{text}");
        }
        assert_eq!(<u64 as Kind>::read("9223372036854775807"), Ok(i64::MAX.unsigned_abs()));
        assert_eq!(<i64 as Kind>::read("-9223372036854775808"), Ok(i64::MIN));
        assert!(<i64 as Kind>::read("--1").is_err());
        assert!(Revision::read("0").is_err());
    }

    #[test]
    fn values_are_decoded_once_and_must_be_utf8() {
        let key = |raw: &str| query::<Some_>(Some(raw)).unwrap().key.unwrap().0;
        assert_eq!(key("key=%2Fa%252F+b").as_bytes(), b"/a%2F b");
        assert!(refused("key=%zz").contains("percent"));
        assert!(refused("key=%4").contains("percent"));
        assert!(refused("key=%ff").contains("UTF-8"));
        assert!(refused("key=").contains("at least one byte"));
    }

    #[test]
    fn any_key_can_be_said_in_base64url() {
        let key = |raw: &str| query::<Some_>(Some(raw)).unwrap().key64.unwrap().0;
        assert_eq!(key("key64=qzmi").as_bytes(), b"\xab\x39\xa2");
        assert_eq!(key("key64=-_8").as_bytes(), b"\xfb\xff");
        assert_eq!(key("key64=-_8%3D").as_bytes(), b"\xfb\xff");
        assert!(refused("key64=a").contains("base64url"));
        assert!(refused("key64=").contains("base64url"));
    }

    #[test]
    fn lease_ids_are_positive_hexadecimal() {
        assert_eq!(LeaseId::read("694D8a1f3c2b"), Ok(LeaseId(0x694d_8a1f_3c2b)));
        for text in ["", "0", "g", "+1", "ffffffffffffffff", "10000000000000000"] {
            assert!(LeaseId::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn member_ids_use_all_their_bits() {
        assert_eq!(member_id("ffffffffffffffff"), Some(MemberId(u64::MAX)));
        for text in ["", "0", "g", "+1", "10000000000000000"] {
            assert!(member_id(text).is_none(), "{text}");
        }
    }

    #[test]
    fn two_revisions_are_told_apart_by_dots() {
        assert_eq!(Between::read("7..9"), Ok(Between { from: Revision(7), to: Revision(9) }));
        for text in ["7", "7.9", "..", "7..", "..9", "0..9", "a..b", "7...9"] {
            assert!(Between::read(text).is_err(), "{text}");
        }
    }
}
