//! The errors of etcd's v3 API: codes and texts as etcd has them, since clients compare both, and the one place where an error
//! of the service becomes one of them.

use http::StatusCode;
use tonic::{Code, Status};

use super::ask::Ask;
use crate::consensus::ChangeRefusal;
use crate::model::{AuthRefusal, Refusal};
use crate::service::Error;

macro_rules! errors {
    ($($variant:ident = $code:ident, $text:literal;)+) => {
        /// What went wrong, in etcd's words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Known {
            $(#[doc = concat!("`", $text, "`")] $variant,)+
        }

        impl Known {
            /// The code and the text, always the same.
            pub(super) const fn parts(self) -> (Code, &'static str) {
                match self { $(Self::$variant => (Code::$code, $text),)+ }
            }
        }
    };
}

errors! {
    EmptyKey = InvalidArgument, "etcdserver: key is not provided";
    KeyNotFound = InvalidArgument, "etcdserver: key not found";
    ValueProvided = InvalidArgument, "etcdserver: value is provided";
    LeaseProvided = InvalidArgument, "etcdserver: lease is provided";
    TooManyOps = InvalidArgument, "etcdserver: too many operations in txn request";
    DuplicateKey = InvalidArgument, "etcdserver: duplicate key given in txn request";
    InvalidSortOption = InvalidArgument, "etcdserver: invalid sort option";
    RequestTooLarge = InvalidArgument, "etcdserver: request is too large";
    MemberBadUrls = InvalidArgument, "etcdserver: given member URLs are invalid";
    UserEmpty = InvalidArgument, "etcdserver: user name is empty";
    RoleEmpty = InvalidArgument, "etcdserver: role name is empty";
    PermissionNotGiven = InvalidArgument, "etcdserver: permission not given";
    InvalidAuthManagement = InvalidArgument, "etcdserver: invalid auth management";
    WrongVersionFormat = InvalidArgument, "etcdserver: wrong downgrade target version format";
    InvalidVersion = InvalidArgument, "etcdserver: invalid downgrade target version";
    Compacted = OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    FutureRevision = OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    LeaseTtlTooLarge = OutOfRange, "etcdserver: too large lease TTL";
    LeaseNotFound = NotFound, "etcdserver: requested lease not found";
    MemberNotFound = NotFound, "etcdserver: member not found";
    LeaseExists = FailedPrecondition, "etcdserver: lease already exists";
    MemberExists = FailedPrecondition, "etcdserver: member ID already exist";
    PeerUrlExists = FailedPrecondition, "etcdserver: Peer URLs already exists";
    NotALearner = FailedPrecondition, "etcdserver: can only promote a learner member";
    LearnerNotReady = FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader";
    NotLeader = FailedPrecondition, "etcdserver: not leader";
    BadTransferee = FailedPrecondition, "etcdserver: bad leader transferee";
    RootUserNotFound = FailedPrecondition, "etcdserver: root user does not exist";
    RootRoleNotGranted = FailedPrecondition, "etcdserver: root user does not have root role";
    UserExists = FailedPrecondition, "etcdserver: user name already exists";
    UserNotFound = FailedPrecondition, "etcdserver: user name not found";
    RoleExists = FailedPrecondition, "etcdserver: role name already exists";
    RoleNotFound = FailedPrecondition, "etcdserver: role name not found";
    RoleNotGranted = FailedPrecondition, "etcdserver: role is not granted to the user";
    PermissionNotGranted = FailedPrecondition, "etcdserver: permission is not granted to the role";
    AuthNotEnabled = FailedPrecondition, "etcdserver: authentication is not enabled";
    NoDowngrade = FailedPrecondition, "etcdserver: no inflight downgrade job";
    // As it reaches clients: etcd gives this one no code.
    NotEnoughStarted = Unknown, "etcdserver: re-configuration failed due to not enough started members";
    // As etcd's servers of locks and elections pass them on: without their codes.
    LostLease = Unknown, "etcdserver: requested lease not found";
    NobodyElected = Unknown, "election: no leader";
    NotElected = Unknown, "election: not leader";
    MissingLeader = Unknown, "\"leader\" field must be provided";
    NoSpace = ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    TooManyRequests = ResourceExhausted, "etcdserver: too many requests";
    Timeout = Unavailable, "etcdserver: request timed out";
    Unhealthy = Unavailable, "etcdserver: unhealthy cluster";
    NoLeader = Unavailable, "etcdserver: no leader";
    Stopped = Unavailable, "etcdserver: server stopped";
    // gRPC's own words, which etcd's server answers with where the client's time is up.
    DeadlineExceeded = DeadlineExceeded, "context deadline exceeded";
}

impl From<Known> for Status {
    fn from(known: Known) -> Self {
        let (code, text) = known.parts();
        Self::new(code, text)
    }
}

impl Ask {
    /// What a client is told of an error of the service.
    pub(super) fn failed(&self, error: Error) -> Status {
        match error {
            Error::Refused { refusal, revision: _ } => refused(*refusal),
            Error::ChangeRefused(ChangeRefusal::Silent | ChangeRefusal::Behind { .. }) => Known::LearnerNotReady.into(),
            Error::ChangeRefused(ChangeRefusal::QuorumAtRisk { .. }) => Known::Unhealthy.into(),
            Error::InvalidArgument(what) => Status::invalid_argument(what),
            Error::TooLarge { .. } => Known::RequestTooLarge.into(),
            Error::NoLeader | Error::DeadlineExceeded | Error::OutcomeUnknown if self.is_hurried() => {
                Known::DeadlineExceeded.into()
            }
            Error::NoLeader | Error::DeadlineExceeded | Error::OutcomeUnknown => Known::Timeout.into(),
            Error::Overloaded(_) => Known::TooManyRequests.into(),
            Error::NoSpace => Known::NoSpace.into(),
            Error::ShuttingDown | Error::Stopped(_) => Known::Stopped.into(),
            // etcd has no words for these.
            error @ Error::NoState => Status::unavailable(error.to_string()),
            error @ (Error::NoPeerPort
            | Error::NoInstance { .. }
            | Error::NoLease { .. }
            | Error::NotAnInstance { .. }) => Status::failed_precondition(error.to_string()),
            error @ Error::Storage(_) => Status::internal(error.to_string()),
        }
    }
}

fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::KeyNotFound => Known::KeyNotFound.into(),
        Refusal::LeaseNotFound(_) => Known::LeaseNotFound.into(),
        Refusal::LeaseExists(_) => Known::LeaseExists.into(),
        Refusal::Compacted { .. } => Known::Compacted.into(),
        Refusal::FutureRevision { .. } => Known::FutureRevision.into(),
        Refusal::DuplicateKey(_) => Known::DuplicateKey.into(),
        Refusal::TooLarge { .. } => Known::RequestTooLarge.into(),
        Refusal::MemberNotFound(_) => Known::MemberNotFound.into(),
        Refusal::MemberExists(_) => Known::MemberExists.into(),
        Refusal::PeerUrlTaken(_) => Known::PeerUrlExists.into(),
        Refusal::NotALearner(_) => Known::NotALearner.into(),
        Refusal::NotAVoter(_) => Known::BadTransferee.into(),
        Refusal::LastVoter(_) => Known::NotEnoughStarted.into(),
        Refusal::Auth(AuthRefusal::UserExists(_)) => Known::UserExists.into(),
        Refusal::Auth(AuthRefusal::UserNotFound(_)) => Known::UserNotFound.into(),
        Refusal::Auth(AuthRefusal::RoleExists(_)) => Known::RoleExists.into(),
        Refusal::Auth(AuthRefusal::RoleNotFound(_)) => Known::RoleNotFound.into(),
        Refusal::Auth(AuthRefusal::RoleNotHeld { .. }) => Known::RoleNotGranted.into(),
        Refusal::Auth(AuthRefusal::NotPermitted(_)) => Known::PermissionNotGranted.into(),
        other @ Refusal::TooManySteps { .. } => Status::resource_exhausted(other.to_string()),
        // etcd has no words for these, and most cannot come of what it knows.
        other @ (Refusal::PreconditionFailed { .. }
        | Refusal::DirectoryNotEmpty
        | Refusal::NoOwnLease
        | Refusal::NotANumber
        | Refusal::NumberOverflow
        | Refusal::NotJson
        | Refusal::InvalidPatch(_)
        | Refusal::PatchConflict(_)
        | Refusal::Stale
        | Refusal::MemberLostData(_)
        | Refusal::TooManyMembers
        | Refusal::TooManyVoters
        | Refusal::IdempotencyMismatch
        | Refusal::IdempotencyFull
        | Refusal::ResultNotKept
        | Refusal::CopyWithin
        | Refusal::NameTooLong { .. }
        | Refusal::KeysExist { .. }
        | Refusal::Node(_)
        | Refusal::Auth(_)) => Status::failed_precondition(other.to_string()),
    }
}

/// The HTTP status that goes with a code, as etcd's gateway gives it.
pub(super) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
