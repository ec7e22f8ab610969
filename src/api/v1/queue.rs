//! What locks and elections have in common on `/v1`: how their paths name a queue and a place in it, and what a place
//! looks like.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::ALLOW;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use super::cursor;
use super::format::Object;
use super::poll::MAX_WAIT;
use crate::api::extract::json::{self, Lease, Span};
use crate::api::extract::query::{
    LEASE_ID, Span as SpanParameter, is_percent_encoded, lease_id, page_limit, parameters, shortened,
};
use crate::api::extract::{Verb, body, query};
use crate::api::origin::origin_of;
use crate::api::problem::{Code, Problem};
use crate::api::{Answer, State};
use crate::model::{LeaseId, Revision, Ttl};
use crate::service::{Carrier, Consistency, Entered, Entry, First, Life, Place, QueueName, QueuesRequest};

/// How long a place lasts without being kept alive, when the request does not say.
const DEFAULT_TTL: Ttl = Ttl::from_secs(30);
/// The shortest time for which a place can be asked: it has to be kept alive several times within it.
const MIN_TTL: Ttl = Ttl::from_secs(1);
/// How long a request waits for its turn, when it does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(10);

parameters! {
    /// What can be asked of looking at a lock or an election.
    pub struct QueueQuery {
        /// `linearizable` (default) or `serializable`.
        consistency: Consistency = "consistency", "serializable";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: SpanParameter = "timeout", "5s";
    }
}

parameters! {
    /// What can be asked of the list of locks or of elections.
    pub struct QueuesQuery {
        /// Only those whose names begin so.
        prefix: String = "prefix", "jobs";
        /// At most this many on the page. Default 1000, at most 100000.
        limit: u64 = "limit", 100;
        /// Where the next page begins: the `cursor` of the page before, with the same query. Each page shows the present.
        cursor: String = "cursor", "AAAAAAAAAAAAAAAAAAAAAA";
        /// `linearizable` (default) or `serializable`.
        consistency: Consistency = "consistency", "serializable";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: SpanParameter = "timeout", "5s";
    }
}

parameters! {
    /// What can be asked of changing a lock or an election.
    pub struct PlaceQuery {
        /// How long the request may take, besides the time that it waits for its turn. Default 5 s, at most 10 min.
        timeout: SpanParameter = "timeout", "5s";
    }
}

/// What can be done with a queue as a whole.
pub const NAME_METHODS: &str = "GET,HEAD,POST";

/// Which face of a queue is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    Lock,
    Election,
}

impl Show {
    /// The member that says who is first.
    const fn first(self) -> &'static str {
        match self {
            Self::Lock => "holder",
            Self::Election => "leader",
        }
    }

    /// What is said to those who did not become the first.
    const fn behind(self) -> (Code, &'static str) {
        match self {
            Self::Lock => (Code::LockHeld, "somebody else held the lock"),
            Self::Election => (Code::NotElected, "somebody else led"),
        }
    }
}

/// How a place is asked for.
#[derive(Debug)]
pub struct Terms {
    pub ttl: Option<Span>,
    pub lease: Option<Lease>,
    pub wait: Option<Span>,
    /// The owner of a lock; what a candidate proclaims.
    pub value: Option<String>,
}

/// The methods at a raw path: a name with a slash in it may be a place as well, which takes `at_place`.
#[must_use]
pub fn methods(raw: &str, at_place: &'static str) -> &'static str {
    match (Verb::Keepalive.strip(raw), raw.contains('/')) {
        (Some(_), _) => "POST",
        (None, true) => at_place,
        (None, false) => NAME_METHODS,
    }
}

/// The queue that a raw path names: decoded once, nothing added.
///
/// # Errors
/// [`Code::InvalidArgument`] when it names none, or clients and proxies would disagree on what it names.
pub fn named(raw: &str) -> Result<QueueName, Problem> {
    let refuse = |what: &str| Problem::invalid(format!("the name `{}` {what}", shortened(raw)));
    if !is_percent_encoded(raw) {
        return Err(refuse("is badly percent-encoded"));
    }
    if raw.split('/').any(str::is_empty) {
        return Err(refuse("is empty or has an empty segment; a slash that belongs to the name is written %2F there"));
    }
    let decoded: Vec<u8> = percent_decode_str(raw).collect();
    let text = std::str::from_utf8(&decoded).map_err(|_| refuse("is not UTF-8"))?;
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(refuse("has a `.` or `..` segment"));
    }
    QueueName::new(decoded).ok_or_else(|| refuse(&format!("is longer than {} bytes", QueueName::MAX_BYTES)))
}

/// The place that a raw path `{name}/{lease}` names.
///
/// # Errors
/// As [`named`], and when it does not end in a lease; [`Code::MethodNotAllowed`] for a name alone.
pub fn place(raw: &str) -> Result<(QueueName, LeaseId), Problem> {
    let (name, lease) = raw.rsplit_once('/').ok_or_else(|| {
        let detail = format!("`{}` is a name; a place in its queue is {{name}}/{{lease}}", shortened(raw));
        Problem::new(Code::MethodNotAllowed, detail).with_header(ALLOW, HeaderValue::from_static(NAME_METHODS))
    })?;
    let lease = lease_id(lease).ok_or_else(|| Problem::invalid(format!("`{}` is not {LEASE_ID}", shortened(lease))))?;
    Ok((named(name)?, lease))
}

/// Refuses a verb under another method than its own, and what looks like a verb and is none: taken for a part of the name it would
/// make a lock that nobody meant.
///
/// # Errors
/// [`Code::MethodNotAllowed`]; [`Code::InvalidArgument`] where it is no verb.
pub fn refuse_verbs(raw: &str, verbs: &[(Verb, &'static str, &'static str)]) -> Result<(), Problem> {
    if let Some((_, word, method)) = verbs.iter().find(|(verb, ..)| verb.strip(raw).is_some()) {
        let problem = Problem::new(Code::MethodNotAllowed, format!("{word} is a verb of {method}"));
        return Err(problem.with_header(ALLOW, HeaderValue::from_static(method)));
    }
    let last = raw.rsplit('/').next().unwrap_or(raw);
    let Some((_, word)) = last.split_once(':') else { return Ok(()) };
    let known: Vec<_> = verbs.iter().map(|(_, word, _)| format!("`{word}`")).collect();
    Err(Problem::invalid(format!(
        "`:{}` is no verb here: there is {}; a colon that belongs to the name is written %3A",
        shortened(word),
        known.join(" and ")
    )))
}

/// What keeps a place alive: the lease that is named, or one of its own.
///
/// # Errors
/// [`Code::InvalidArgument`] for both, and for too short a time.
fn life(ttl: Option<Span>, lease: Option<Lease>) -> Result<Life, Problem> {
    match (ttl, lease) {
        (Some(_), Some(_)) => Err(Problem::invalid("`ttl` and `lease` exclude each other: a lease has its own time")),
        (Some(Span(ttl)), None) if ttl < MIN_TTL => Err(Problem::invalid("`ttl` has to be at least 1 s")),
        (Some(Span(ttl)), None) => Ok(Life::Own(ttl)),
        (None, Some(Lease(lease))) => Ok(Life::Lease(lease)),
        (None, None) => Ok(Life::Own(DEFAULT_TTL)),
    }
}

/// How long to wait.
///
/// # Errors
/// [`Code::InvalidArgument`] for more than is allowed.
fn wait(wait: Option<Span>) -> Result<Duration, Problem> {
    let wait = wait.map_or(DEFAULT_WAIT, |Span(wait)| Duration::from_millis(wait.get()));
    if wait > MAX_WAIT {
        return Err(Problem::invalid(format!("`wait` may be at most {} s", MAX_WAIT.as_secs())));
    }
    Ok(wait)
}

/// Takes a place in the queue that a raw path names, and waits until it is the first one.
///
/// # Errors
/// [`Code::LockHeld`] or [`Code::NotElected`], and those of the terms and of a write.
pub async fn enter<T>(api: &State, parts: &Parts, raw: &str, body: Body, show: Show) -> Result<Answer, Problem>
where
    T: Default + DeserializeOwned + Into<Terms>,
{
    let name = named(raw)?;
    let asked: PlaceQuery = query(parts.uri.query())?;
    let (mut call, body) = api.arrive(parts, body, asked.timeout).await?;
    // Everything can be left out, and so can the body.
    let request = if body.is_empty() { T::default() } else { json::read(&body)? };
    let Terms { ttl, lease, wait: asked, value } = request.into();
    let (life, wait) = (life(ttl, lease)?, wait(asked)?);
    call.deadline += wait;
    if !wait.is_zero() {
        call.origin = origin_of(Carrier::Poll, parts);
    }
    let entry = Entry { name: name.clone(), life, value: value.unwrap_or_default().into(), wait };
    match api.service().enter(&call, entry).await? {
        Entered::First(First { place, revision, replayed, taken: _ }) => {
            Ok(answer(revision, &name, &place, show).with_replayed(replayed))
        }
        Entered::Behind { revision, first: place } => {
            let (code, what) = show.behind();
            let waited = if wait.is_zero() { String::new() } else { format!(" for {} s", wait.as_secs_f64()) };
            let problem = Problem::new(code, format!("{what}{waited}")).at(revision);
            Err(problem.with_json(show.first(), first(&name, place.as_ref(), show)))
        }
    }
}

/// Shows the queue that a raw path names.
///
/// # Errors
/// Those of a read.
pub async fn look(api: &State, parts: &Parts, raw: &str, show: Show) -> Result<Answer, Problem> {
    let name = named(raw)?;
    let asked: QueueQuery = query(parts.uri.query())?;
    let call = api.call(asked.timeout)?;
    let found = api.service().queue(&call, asked.consistency.unwrap_or_default(), &name).await?;
    let mut out = Vec::with_capacity(256 + 192 * found.places.len());
    let mut object = Object::begin(&mut out);
    object.number("revision", found.revision.get());
    object.string("name", &text(&name));
    object.raw(show.first(), &first(&name, found.places.first(), show));
    object.array("queue", found.places.iter().skip(1), |out, place| write_place(out, &name, place, show));
    object.end();
    Ok(Answer::json(found.revision, out))
}

/// Shows the queues that somebody is in.
///
/// # Errors
/// Those of a read.
pub async fn list(api: &State, parts: &Parts, show: Show) -> Result<Answer, Problem> {
    let asked: QueuesQuery = query(parts.uri.query())?;
    let prefix = asked.prefix.unwrap_or_default();
    let limit = page_limit(asked.limit)?;
    let shape = xxh3_64(format!("queues {prefix:?}").as_bytes());
    let cursor = asked.cursor.as_ref().map(|text| cursor::read(text, shape)).transpose()?;
    let call = api.call(asked.timeout)?;
    let request = QueuesRequest { prefix: prefix.into(), limit, cursor };
    let found = api.service().queues(&call, asked.consistency.unwrap_or_default(), request).await?;
    let mut out = Vec::with_capacity(128 + 256 * found.items.len());
    let mut object = Object::begin(&mut out);
    object.number("revision", found.revision.get());
    object.array("items", &found.items, |out, queue| {
        let mut item = Object::begin(out);
        item.name("name", queue.name.as_bytes());
        write_place(item.member(show.first()), &queue.name, &queue.first, show);
        item.number("waiting", queue.waiting);
        item.end();
    });
    if let Some(cursor) = &found.cursor {
        object.string("cursor", &cursor::write(cursor, shape));
    }
    object.end();
    Ok(Answer::json(found.revision, out))
}

/// Gives up the place that a raw path names.
///
/// # Errors
/// [`Code::PlaceNotFound`], and those of a write.
pub async fn leave(api: &State, parts: &Parts, raw: &str, body: Body) -> Result<Answer, Problem> {
    let (name, lease) = place(raw)?;
    let asked: PlaceQuery = query(parts.uri.query())?;
    let (call, body) = api.arrive(parts, body, asked.timeout).await?;
    body::refuse(&body)?;
    let left = api.service().leave(&call, &name, lease).await?;
    let (revision, replayed) = left.ok_or_else(|| not_there(&name, lease))?;
    let mut out = Vec::with_capacity(48);
    let mut object = Object::begin(&mut out);
    object.number("revision", revision.get());
    object.number("deleted", 1);
    object.end();
    Ok(Answer::json(revision, out).with_replayed(replayed))
}

/// Keeps alive the place that a raw path names.
///
/// # Errors
/// [`Code::PlaceNotFound`], and those of a write.
pub async fn keep_alive(api: &State, parts: &Parts, raw: &str, body: Body, show: Show) -> Result<Answer, Problem> {
    let (name, lease) = place(raw)?;
    let asked: PlaceQuery = query(parts.uri.query())?;
    let (call, body) = api.arrive(parts, body, asked.timeout).await?;
    body::refuse(&body)?;
    let kept = api.service().keep_place(&call, &name, lease).await?;
    let (revision, place) = kept.ok_or_else(|| not_there(&name, lease))?;
    Ok(answer(revision, &name, &place, show))
}

/// A place as an answer.
#[must_use]
pub fn answer(revision: Revision, name: &QueueName, place: &Place, show: Show) -> Answer {
    let mut out = Vec::with_capacity(256);
    write_place(&mut out, name, place, show);
    Answer::json(revision, out)
}

/// A place as an object.
pub fn write_place(out: &mut Vec<u8>, name: &QueueName, place: &Place, show: Show) {
    let mut object = Object::begin(out);
    object.string("name", &text(name));
    match show {
        Show::Lock => {
            object.id("holder", place.lease.get());
            if let Some(owner) = std::str::from_utf8(&place.value).ok().filter(|owner| !owner.is_empty()) {
                object.string("owner", owner);
            }
        }
        Show::Election => {
            object.id("candidate", place.lease.get());
            let value = std::str::from_utf8(&place.value).map(Cow::Borrowed);
            object.string("encoding", if value.is_ok() { "utf8" } else { "base64" });
            object.string("value", &value.unwrap_or_else(|_| STANDARD.encode(&place.value).into()));
        }
    }
    object.id("lease", place.lease.get());
    object.number("fencingToken", place.token.get());
    if show == Show::Election {
        object.number("modRevision", place.modified.get());
    }
    if let Some(remaining) = place.remaining {
        object.seconds("ttl", remaining);
    }
    object.end();
}

/// The first place as an object, or null.
#[must_use]
pub fn first(name: &QueueName, place: Option<&Place>, show: Show) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    match place {
        Some(place) => write_place(&mut out, name, place, show),
        None => out.extend_from_slice(b"null"),
    }
    out
}

/// That there is no such place.
fn not_there(name: &QueueName, lease: LeaseId) -> Problem {
    let detail = format!("nobody is in the queue of `{}` under the lease {lease}", text(name));
    Problem::new(Code::PlaceNotFound, detail)
}

/// A name as text, which it is where it came in a path.
pub fn text(name: &QueueName) -> Cow<'_, str> {
    String::from_utf8_lossy(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_rest_of_the_path_decoded_once() {
        let name = |raw| named(raw).map(|name| String::from_utf8(name.as_bytes().to_vec()).unwrap());
        assert_eq!(name("jobs").unwrap(), "jobs");
        assert_eq!(name("a/b").unwrap(), "a/b");
        assert_eq!(name("%2Fmy-lock%2F").unwrap(), "/my-lock/");
        assert_eq!(name("a%252Fb").unwrap(), "a%2Fb");
        assert_eq!(name("j%3Akeepalive").unwrap(), "j:keepalive");
        for bad in ["", "a//b", "/a", "a/", "a%", "%ff", "a/..", "%2E%2E/x", "."] {
            assert_eq!(name(bad).unwrap_err().code(), Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn a_colon_in_the_last_segment_begins_a_verb() {
        let verbs = &[(Verb::Keepalive, ":keepalive", "POST"), (Verb::Observe, ":observe", "GET")];
        let refused = |raw| refuse_verbs(raw, verbs).unwrap_err();
        assert_eq!(refused("a/b:observe").code(), Code::MethodNotAllowed);
        for raw in ["e:obsrve", "a/694d:keepalve", "db:migrate:", ":x"] {
            assert_eq!(refused(raw).code(), Code::InvalidArgument, "{raw}");
        }
        let detail = refused("e:obsrve").to_string();
        assert!(detail.contains("`:obsrve` is no verb here: there is `:keepalive` and `:observe`"), "{detail}");
        for raw in ["db%3Amigrate", "db:migrate/694d", "jobs"] {
            assert!(refuse_verbs(raw, verbs).is_ok(), "{raw}");
        }
    }

    #[test]
    fn a_place_is_a_name_and_a_lease() {
        let (name, lease) = place("a/b/694d").unwrap();
        assert_eq!((name.as_bytes(), lease), (&b"a/b"[..], LeaseId(0x694d)));
        assert_eq!(place("694d").unwrap_err().code(), Code::MethodNotAllowed);
        for bad in ["a/xyz", "a/", "/694d"] {
            assert_eq!(place(bad).unwrap_err().code(), Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn a_place_lives_by_a_time_or_by_a_lease() {
        assert_eq!(life(None, None).unwrap(), Life::Own(DEFAULT_TTL));
        assert_eq!(life(Some(Span(Ttl(1500))), None).unwrap(), Life::Own(Ttl(1500)));
        assert_eq!(life(None, Some(Lease(LeaseId(7)))).unwrap(), Life::Lease(LeaseId(7)));
        assert!(life(Some(Span(Ttl(999))), None).is_err());
        assert!(life(Some(Span(Ttl(1500))), Some(Lease(LeaseId(7)))).is_err());
        assert_eq!(wait(None).unwrap(), DEFAULT_WAIT);
        assert!(wait(Some(Span(Ttl::from_secs(601)))).is_err());
    }
}
