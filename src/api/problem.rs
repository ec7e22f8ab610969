//! Every refusal of the HTTP face: a closed set of codes, answered as `application/problem+json` (RFC 9457).
//!
//! It owns the codes, their statuses and the one place where an error of the service becomes an answer. It decides
//! nothing about when a request is refused.

use std::fmt;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use super::v1::format::{self, Object, Values};
use crate::consensus::ChangeRefusal;
use crate::model::{Key, KeyValue, Refusal, Revision};
use crate::service;

/// The media type of a problem (RFC 9457, section 3).
pub const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $status:literal, $title:literal;)+) => {
        /// What went wrong, as a stable word for programs. The word never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code, in order of status.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The status that the code comes with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                const fn status(number: u16) -> StatusCode {
                    match StatusCode::from_u16(number) {
                        Ok(status) => status,
                        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
                    }
                }
                match self { $(Self::$variant => status($status),)+ }
            }

            /// A few words for people, the same for every problem with the code.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// What the code means and what to do about it: the text of its page under `/docs/problems/`.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

codes! {
    /// Something in the request is malformed, contradicts itself or is out of bounds. `detail` names it. Nothing was
    /// done; the same request will be refused again.
    InvalidArgument = "invalid_argument", 400, "The request is not valid";
    /// The path names a key where a directory is needed: a directory ends with a slash.
    NotADirectory = "not_a_directory", 400, "Not a directory";
    /// The revision has not been reached yet. `currentRevision` is the newest one.
    FutureRevision = "future_revision", 400, "The revision is in the future";
    /// The revision is so far back, and so much has changed since, that reading it takes more work than one request
    /// may cause. Narrow the range or take a more recent revision.
    TooManySteps = "too_many_steps", 400, "Too far in the past";
    /// The request needs a user.
    Unauthenticated = "unauthenticated", 401, "Not authenticated";
    /// The user may not do this, or the request came from a foreign origin or under a foreign host name.
    PermissionDenied = "permission_denied", 403, "Not permitted";
    /// Nothing is stored under the key, or nothing is in the directory.
    KeyNotFound = "key_not_found", 404, "No such key";
    /// There is no such lease, or it has run out. Whatever was attached to it is gone: grant a new one and write
    /// the keys again.
    LeaseNotFound = "lease_not_found", 404, "No such lease";
    /// There is no such instance of the service: it was never registered, was deregistered, or did not send its heartbeat
    /// within its time to live. Register it again.
    InstanceNotFound = "instance_not_found", 404, "No such instance";
    /// There is no such member of the cluster, or it was removed.
    MemberNotFound = "member_not_found", 404, "No such member";
    /// Under this lease nobody holds the lock, leads or waits, or not any longer: what it guarded is not yours any more. Ask for
    /// it anew.
    PlaceNotFound = "place_not_found", 404, "Not in the queue";
    /// Nothing answers at this path.
    NotFound = "not_found", 404, "Nothing here";
    /// The path exists, but not for this method. The `Allow` header lists those that it takes.
    MethodNotAllowed = "method_not_allowed", 405, "Method not allowed";
    /// The request did not arrive in full within the time allowed. Nothing was done.
    RequestTimeout = "request_timeout", 408, "The request took too long to arrive";
    /// The directory still has keys below it: delete them, or ask for `recursive=true`.
    DirectoryNotEmpty = "directory_not_empty", 409, "The directory is not empty";
    /// Something is stored already where a copy or a move would write. `key` is the first of `keys` such keys. Choose another name, or
    /// ask for `"overwrite": true`.
    KeyExists = "key_exists", 409, "The key exists already";
    /// A lease with this id exists already.
    LeaseExists = "lease_exists", 409, "The lease exists already";
    /// Somebody else held the lock for as long as the request would wait; `holder` says who, if it is known. The request
    /// left nothing behind: ask again, or wait longer.
    LockHeld = "lock_held", 409, "The lock is held";
    /// Somebody else led for as long as the request would wait; `leader` says who, if it is known. The request left nothing
    /// behind: ask again, or wait longer.
    NotElected = "not_elected", 409, "Somebody else leads";
    /// Only whoever leads can proclaim. `leader` says who that is, or is null.
    NotLeader = "not_leader", 409, "Not the leader";
    /// `refresh=true` extends the lease that a write with `ttl` made for the key; this key has none.
    NoOwnLease = "no_own_lease", 409, "The key has no lease of its own";
    /// The instance was written by hand, without a time to live, so there is nothing to keep alive. Register it to give it
    /// one.
    InstanceWithoutLease = "instance_without_lease", 409, "The instance has no time to live";
    /// The value was written by hand and is not what an instance says of itself, so it has no status to change. Register
    /// it again.
    NotAnInstance = "not_an_instance", 409, "The value is not an instance";
    /// The value is not a decimal integer of 64 bits, so nothing can be added to it.
    NotANumber = "not_a_number", 409, "The value is not a number";
    /// The sum does not fit a signed integer of 64 bits.
    NumberOverflow = "number_overflow", 409, "The number is too large";
    /// The value is not JSON, so it cannot be patched.
    NotJson = "not_json", 409, "The value is not JSON";
    /// The patch is valid, but does not apply to the present value: a path it needs is missing or a test failed.
    PatchConflict = "patch_conflict", 409, "The patch does not apply";
    /// A member with this id, or with one of these peer URLs, is there already or was. An id is used once.
    MemberExists = "member_exists", 409, "The member exists already";
    /// Only a learner can be promoted, and the member is a voter.
    NotALearner = "not_a_learner", 409, "The member is a voter already";
    /// Only a voter can lead, and the member is a learner: promote it first.
    NotAVoter = "not_a_voter", 409, "The member is a learner";
    /// The learner does not have the whole log yet, or is not heard of: as a voter it would hold up every write. Try again
    /// when it has caught up; `behind` is how many entries it lacks.
    NotCaughtUp = "not_caught_up", 409, "The learner has not caught up";
    /// The voters that would be left, as far as they are heard of, make no majority: no write could be carried out any more.
    /// Bring back members that are down, or remove those first.
    QuorumAtRisk = "quorum_at_risk", 409, "The majority would be lost";
    /// The cluster has as many members, or as many voters, as it may have.
    TooManyMembers = "too_many_members", 409, "Too many members";
    /// The member listens for no others, so none can join it: start it with `--listen-peer-urls` first.
    NoPeerPort = "no_peer_port", 409, "The member listens for no others";
    /// The request was carried out the first time, but its answer was too large to keep for this retry.
    ResultNotKept = "result_not_kept", 409, "Done, but the answer was not kept";
    /// The revision was compacted. `compactRevision` is the oldest one that can still be read.
    Compacted = "compacted", 410, "The revision was compacted";
    /// A condition of the request does not hold. `current` is the key's present state, or null when it is absent.
    PreconditionFailed = "precondition_failed", 412, "The condition does not hold";
    /// The request, or what it would cause, is larger than allowed. The members say how large and what is allowed.
    TooLarge = "too_large", 413, "Too large";
    /// The body is of a media type or content coding that this request does not take.
    UnsupportedMediaType = "unsupported_media_type", 415, "Unsupported media type";
    /// The `Idempotency-Key` was used for a different request within the last ten minutes.
    IdempotencyMismatch = "idempotency_mismatch", 422, "The idempotency key was used differently";
    /// The server has met an error that is not the client's fault. The server's log says more.
    Internal = "internal", 500, "Internal error";
    /// The server has reached a bound. The request was certainly not applied: try again after `Retry-After`.
    Overloaded = "overloaded", 503, "Overloaded";
    /// There is no leader at the moment, or the member has joined and has none of its state yet. The request was certainly not
    /// applied: try again after `Retry-After`.
    NoLeader = "no_leader", 503, "No leader";
    /// The server is shutting down. The request was certainly not applied: try again, here or elsewhere.
    ShuttingDown = "shutting_down", 503, "Shutting down";
    /// The member has stopped because of a fault that only its operator can mend.
    Unavailable = "unavailable", 503, "Unavailable";
    /// There was no answer within the time allowed. Nothing was changed.
    DeadlineExceeded = "deadline_exceeded", 504, "Not answered in time";
    /// The write may have been carried out, or may be later. Read before trying again, or send the same
    /// `Idempotency-Key` again.
    OutcomeUnknown = "outcome_unknown", 504, "The outcome is not known";
    /// No room is left for data. Reads, deletions and compaction still work.
    QuotaExceeded = "quota_exceeded", 507, "Out of space";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal on its way to the client.
#[derive(Debug)]
pub struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    status: StatusCode,
    detail: String,
    /// The store's revision that the refusal reflects, where it has one.
    revision: Option<Revision>,
    /// Further members, each a name and JSON.
    members: Vec<(&'static str, Vec<u8>)>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem of a code, with what this very request did wrong.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            status: code.status(),
            detail: detail.into(),
            revision: None,
            members: Vec::new(),
            headers: HeaderMap::new(),
        }))
    }

    /// [`Code::InvalidArgument`].
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, detail)
    }

    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The store's revision that the refusal reflects; `None` when it was refused before anything was looked at.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        self.0.revision
    }

    /// The same problem, seen at a revision of the store.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.0.revision = Some(revision);
        self
    }

    /// The same problem with another status than the code's own.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// The same problem with one more member, a number.
    #[must_use]
    pub fn with_number(mut self, name: &'static str, number: u64) -> Self {
        self.0.members.push((name, number.to_string().into_bytes()));
        self
    }

    /// The same problem with one more member, JSON.
    #[must_use]
    pub fn with_json(mut self, name: &'static str, json: Vec<u8>) -> Self {
        self.0.members.push((name, json));
        self
    }

    /// The same problem with a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The same problem with the key's present state.
    #[must_use]
    pub fn with_current(mut self, current: Option<&KeyValue>) -> Self {
        let mut json = Vec::new();
        match current {
            Some(current) => format::key_value(&mut json, &current.key, &current.record, None, Values::Show),
            None => json.extend_from_slice(b"null"),
        }
        self.0.members.push(("current", json));
        self
    }

    /// The same problem with the key that it is about.
    fn with_key(mut self, key: &Key) -> Self {
        let (name, text) = format::key_name(key);
        let mut json = Vec::new();
        format::string(&mut json, &text);
        self.0.members.push((name, json));
        self
    }

    /// The same problem, to be tried again in a second: only for what was certainly not applied.
    fn retried_later(self) -> Self {
        self.with_header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// The body (RFC 9457, section 3.1, with the members of this service behind the standard ones).
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let Inner { code, status, detail, members, .. } = &*self.0;
        let mut out = Vec::with_capacity(256);
        let mut object = Object::begin(&mut out);
        object.string("type", &format!("/docs/problems/{code}"));
        object.string("title", code.title());
        object.number("status", u64::from(status.as_u16()));
        object.string("detail", detail);
        object.string("code", code.as_str());
        for (name, json) in members {
            object.raw(name, json);
        }
        object.end();
        out
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.0.status;
        *response.headers_mut() = self.0.headers;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}

impl From<service::Error> for Problem {
    fn from(error: service::Error) -> Self {
        let detail = error.to_string();
        match error {
            service::Error::Refused { refusal, revision } => refused(&refusal, detail).at(revision),
            service::Error::ChangeRefused(refusal) => change_refused(refusal, detail).retried_later(),
            service::Error::NoInstance { name: _, revision } => Self::new(Code::InstanceNotFound, detail).at(revision),
            service::Error::NoLease { name: _, revision } => Self::new(Code::InstanceWithoutLease, detail).at(revision),
            service::Error::NotAnInstance { name: _, why: _, revision } => {
                Self::new(Code::NotAnInstance, detail).at(revision)
            }
            service::Error::NoPeerPort => Self::new(Code::NoPeerPort, detail),
            service::Error::InvalidArgument(detail) => Self::invalid(detail),
            service::Error::TooLarge { what: _, actual, limit } => Self::new(Code::TooLarge, detail)
                .with_number("actualBytes", actual as u64)
                .with_number("limitBytes", limit as u64),
            service::Error::NoLeader | service::Error::NoState => Self::new(Code::NoLeader, detail).retried_later(),
            service::Error::Overloaded(_) => Self::new(Code::Overloaded, detail).retried_later(),
            service::Error::DeadlineExceeded => Self::new(Code::DeadlineExceeded, detail),
            service::Error::OutcomeUnknown => Self::new(Code::OutcomeUnknown, detail),
            service::Error::NoSpace => Self::new(Code::QuotaExceeded, detail),
            service::Error::ShuttingDown => Self::new(Code::ShuttingDown, detail).retried_later(),
            service::Error::Stopped(_) => Self::new(Code::Unavailable, detail),
            service::Error::Storage(_) => Self::new(Code::Internal, detail),
        }
    }
}

/// The answer to a change of the members that the leader did not make.
fn change_refused(refusal: ChangeRefusal, detail: String) -> Problem {
    match refusal {
        ChangeRefusal::Silent => Problem::new(Code::NotCaughtUp, detail),
        ChangeRefusal::Behind { behind } => Problem::new(Code::NotCaughtUp, detail).with_number("behind", behind),
        ChangeRefusal::QuorumAtRisk { .. } => Problem::new(Code::QuorumAtRisk, detail),
    }
}

/// The answer to what the state did not allow.
fn refused(refusal: &Refusal, detail: String) -> Problem {
    match refusal {
        Refusal::KeyNotFound => Problem::new(Code::KeyNotFound, detail),
        Refusal::PreconditionFailed { current } => {
            Problem::new(Code::PreconditionFailed, detail).with_current(current.as_ref())
        }
        Refusal::DirectoryNotEmpty => Problem::new(Code::DirectoryNotEmpty, detail),
        Refusal::LeaseNotFound(_) => Problem::new(Code::LeaseNotFound, detail),
        Refusal::LeaseExists(_) => Problem::new(Code::LeaseExists, detail),
        Refusal::NoOwnLease => Problem::new(Code::NoOwnLease, detail),
        Refusal::Compacted { asked: _, compacted } => {
            Problem::new(Code::Compacted, detail).with_number("compactRevision", compacted.get())
        }
        Refusal::FutureRevision { asked: _, current } => {
            Problem::new(Code::FutureRevision, detail).with_number("currentRevision", current.get())
        }
        Refusal::DuplicateKey(_) | Refusal::InvalidPatch(_) | Refusal::CopyWithin | Refusal::NameTooLong { .. } => {
            Problem::invalid(detail)
        }
        Refusal::KeysExist { key, keys } => {
            Problem::new(Code::KeyExists, detail).with_key(key).with_number("keys", *keys)
        }
        Refusal::NotANumber => Problem::new(Code::NotANumber, detail),
        Refusal::NumberOverflow => Problem::new(Code::NumberOverflow, detail),
        Refusal::NotJson => Problem::new(Code::NotJson, detail),
        Refusal::PatchConflict(_) => Problem::new(Code::PatchConflict, detail),
        Refusal::TooLarge { keys, bytes } => {
            Problem::new(Code::TooLarge, detail).with_number("keys", *keys).with_number("bytes", *bytes)
        }
        Refusal::TooManySteps { .. } => Problem::new(Code::TooManySteps, detail),
        Refusal::MemberNotFound(_) => Problem::new(Code::MemberNotFound, detail),
        Refusal::MemberExists(_) | Refusal::PeerUrlTaken(_) => Problem::new(Code::MemberExists, detail),
        Refusal::NotALearner(_) => Problem::new(Code::NotALearner, detail),
        Refusal::NotAVoter(_) => Problem::new(Code::NotAVoter, detail),
        Refusal::LastVoter(_) => Problem::new(Code::QuorumAtRisk, detail),
        Refusal::TooManyMembers | Refusal::TooManyVoters => Problem::new(Code::TooManyMembers, detail),
        // Only members propose, and only etcd's dialects write, what can be refused so; a client that sees it here found a bug.
        Refusal::Stale | Refusal::MemberLostData(_) | Refusal::Node(_) | Refusal::Auth(_) => {
            Problem::new(Code::Internal, detail)
        }
        Refusal::IdempotencyMismatch => Problem::new(Code::IdempotencyMismatch, detail),
        Refusal::IdempotencyFull => {
            Problem::new(Code::Overloaded, detail).with_status(StatusCode::TOO_MANY_REQUESTS).retried_later()
        }
        Refusal::ResultNotKept => Problem::new(Code::ResultNotKept, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Record;

    #[test]
    fn a_problem_is_json_with_a_stable_code_and_the_members_of_rfc_9457() {
        let problem = Problem::invalid("the parameter \"x\" is not known");
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(json["type"], "/docs/problems/invalid_argument");
        assert_eq!(json["status"], 400);
        assert_eq!(json["code"], "invalid_argument");
        assert_eq!(json["detail"], "the parameter \"x\" is not known");
        assert!(json["title"].is_string());
    }

    #[test]
    fn a_failed_precondition_carries_the_current_state() {
        let record = Record {
            value: "v".into(),
            content_type: None,
            create_revision: Revision(2),
            mod_revision: Revision(3),
            version: 2,
            lease: None,
        };
        let current = KeyValue { key: Key::new("/a").unwrap(), record };
        let error = service::Error::Refused {
            refusal: Box::new(Refusal::PreconditionFailed { current: Some(current) }),
            revision: Revision(9),
        };
        let problem = Problem::from(error);
        assert_eq!(problem.status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(problem.revision(), Some(Revision(9)));
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(json["current"]["key"], "/a");
        assert_eq!(json["current"]["modRevision"], 3);
    }

    #[test]
    fn an_absent_key_is_a_null_current() {
        let problem = refused(&Refusal::PreconditionFailed { current: None }, String::new());
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert!(json["current"].is_null());
        assert!(json.as_object().unwrap().contains_key("current"));
    }

    #[test]
    fn only_what_was_certainly_not_applied_says_when_to_retry() {
        let retry = |error: service::Error| Problem::from(error).into_response().headers().contains_key(RETRY_AFTER);
        assert!(retry(service::Error::NoLeader));
        assert!(retry(service::Error::Overloaded("busy")));
        assert!(!retry(service::Error::OutcomeUnknown));
        assert!(!retry(service::Error::DeadlineExceeded));
    }

    #[test]
    fn codes_stand_in_order_of_status() {
        assert!(Code::ALL.is_sorted_by_key(|code| code.status()));
    }

    #[test]
    fn codes_are_unique_words() {
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    }
}
