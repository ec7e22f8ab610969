//! The errors of the v2 API: numbers, statuses and texts as etcd has them, and the one place where an error of the service
//! becomes an answer.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use super::{X_ETCD_INDEX, json};
use crate::api::State;
use crate::model::{NodePath, NodeRefusal, Refusal, Revision};
use crate::service;

macro_rules! codes {
    ($($variant:ident = $number:literal, $status:ident, $message:literal;)+) => {
        /// What went wrong, by etcd's number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $message, "`")] $variant = $number,)+
        }

        impl ErrorCode {
            /// The text that goes with the number, always the same.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)+ }
            }

            /// The status that the number comes with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }
        }
    };
}

codes! {
    KeyNotFound = 100, NOT_FOUND, "Key not found";
    TestFailed = 101, PRECONDITION_FAILED, "Compare failed";
    NotFile = 102, FORBIDDEN, "Not a file";
    NotDir = 104, BAD_REQUEST, "Not a directory";
    NodeExist = 105, PRECONDITION_FAILED, "Key already exists";
    RootReadOnly = 107, BAD_REQUEST, "Root is read only";
    DirNotEmpty = 108, FORBIDDEN, "Directory not empty";
    PrevValueRequired = 201, BAD_REQUEST, "PrevValue is Required in POST form";
    TtlNotANumber = 202, BAD_REQUEST, "The given TTL in POST form is not a number";
    IndexNotANumber = 203, BAD_REQUEST, "The given index in POST form is not a number";
    InvalidField = 209, BAD_REQUEST, "Invalid field";
    InvalidForm = 210, BAD_REQUEST, "Invalid POST form";
    RefreshValue = 211, BAD_REQUEST, "Value provided on refresh";
    RefreshTtlRequired = 212, BAD_REQUEST, "A TTL must be provided on refresh";
    RaftInternal = 300, INTERNAL_SERVER_ERROR, "Raft Internal Error";
    EventIndexCleared = 401, BAD_REQUEST, "The event in requested index is outdated and cleared";
}

/// A refusal as the v2 API answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    /// Left out when empty.
    cause: Vec<u8>,
    /// The revision of the store, 0 where it was not looked at.
    index: Revision,
}

impl Error {
    /// An error in the request itself.
    #[must_use]
    pub fn request(code: ErrorCode, cause: impl Into<Vec<u8>>) -> Self {
        Self { code, cause: cause.into(), index: Revision::ZERO }
    }

    /// An error that the state made, at a revision.
    #[must_use]
    pub fn state(code: ErrorCode, cause: impl Into<Vec<u8>>, index: Revision) -> Self {
        Self { code, cause: cause.into(), index }
    }

    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The answer. Carries `X-Etcd-Index` and no header of raft's.
    #[must_use]
    pub fn into_response(self, api: &State) -> Response {
        let mut body = Vec::with_capacity(96 + self.cause.len());
        body.extend_from_slice(b"{\"errorCode\":");
        json::number(&mut body, self.code as u64);
        body.extend_from_slice(b",\"message\":");
        json::string(&mut body, self.code.message().as_bytes());
        if !self.cause.is_empty() {
            body.extend_from_slice(b",\"cause\":");
            json::string(&mut body, &self.cause);
        }
        body.extend_from_slice(b",\"index\":");
        json::number(&mut body, self.index.get());
        body.extend_from_slice(b"}\n");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(X_ETCD_INDEX, HeaderValue::from(self.index.get()));
        super::name_cluster(api, headers);
        response
    }
}

impl From<service::Error> for Error {
    fn from(error: service::Error) -> Self {
        let internal = |cause: &str| Self::request(ErrorCode::RaftInternal, cause);
        match error {
            service::Error::Refused { refusal, revision } => refused(*refusal, revision),
            service::Error::TooLarge { .. } => Self::request(ErrorCode::InvalidForm, "http: POST too large"),
            service::Error::InvalidArgument(what) => Self::request(ErrorCode::InvalidField, what),
            service::Error::NoLeader | service::Error::DeadlineExceeded | service::Error::OutcomeUnknown => {
                internal("etcdserver: request timed out")
            }
            service::Error::Overloaded(_) => internal("etcdserver: too many requests"),
            service::Error::NoSpace => internal("etcdserver: no space"),
            service::Error::ShuttingDown | service::Error::Stopped(_) => internal("etcdserver: server stopped"),
            other @ (service::Error::ChangeRefused(_)
            | service::Error::NoPeerPort
            | service::Error::NoInstance { .. }
            | service::Error::NoLease { .. }
            | service::Error::NotAnInstance { .. }
            | service::Error::NoState
            | service::Error::Storage(_)) => internal(&other.to_string()),
        }
    }
}

fn refused(refusal: Refusal, revision: Revision) -> Error {
    match refusal {
        Refusal::Node(refusal) => refused_node(refusal, revision),
        Refusal::Compacted { asked, compacted } => {
            let cause = format!("the requested history has been cleared [{compacted}/{asked}]");
            Error::state(ErrorCode::EventIndexCleared, cause, revision)
        }
        other => Error::state(ErrorCode::RaftInternal, other.to_string(), revision),
    }
}

fn refused_node(refusal: NodeRefusal, revision: Revision) -> Error {
    let at = |code, path: NodePath| Error::state(code, path.as_bytes(), revision);
    match refusal {
        NodeRefusal::NotFound(path) => at(ErrorCode::KeyNotFound, path),
        NodeRefusal::NotAFile(path) => at(ErrorCode::NotFile, path),
        NodeRefusal::NotADirectory(path) => at(ErrorCode::NotDir, path),
        NodeRefusal::Exists(path) => at(ErrorCode::NodeExist, path),
        NodeRefusal::NotEmpty(path) => at(ErrorCode::DirNotEmpty, path),
        NodeRefusal::Root => Error::state(ErrorCode::RootReadOnly, "/", revision),
        NodeRefusal::CompareFailed { value, modified } => {
            let mut cause = Vec::new();
            if let Some((asked, found)) = value {
                cause.extend_from_slice(&[b"[", &*asked, b" != ", &*found, b"]"].concat());
            }
            if let Some((asked, found)) = modified {
                let gap = if cause.is_empty() { "" } else { " " };
                cause.extend_from_slice(format!("{gap}[{asked} != {found}]").as_bytes());
            }
            Error::state(ErrorCode::TestFailed, cause, revision)
        }
    }
}
