//! Why users and roles were not shown or changed, in etcd's words.

use axum::response::Response;
use http::StatusCode;

use super::ask;
use crate::api::v2::message;
use crate::model::{AuthRefusal, Refusal};
use crate::service;

/// An answer that is a status and a message.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    message: Vec<u8>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<Vec<u8>>) -> Self {
        Self { status, message: message.into() }
    }

    /// The request makes no sense, whatever there is.
    pub(super) fn bad(message: impl Into<Vec<u8>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn internal(message: impl Into<Vec<u8>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// There is no such user or role. How the sentence ends depends on who says it.
    pub(super) fn missing(what: &str, name: &[u8], end: &str) -> Self {
        let message = [b"auth: ", what.as_bytes(), b" ", name, end.as_bytes()].concat();
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn root_role() -> Self {
        Self::new(StatusCode::FORBIDDEN, "auth: Cannot modify role root: is root role.")
    }

    pub(super) fn into_response(self) -> Response {
        message(self.status, &self.message)
    }
}

/// Whether the user or the role that was to be changed is not there.
pub(super) fn is_missing(error: &service::Error) -> bool {
    let service::Error::Refused { refusal, .. } = error else { return false };
    matches!(**refusal, Refusal::Auth(AuthRefusal::UserNotFound(_) | AuthRefusal::RoleNotFound(_)))
}

impl From<ask::Malformed> for Failure {
    fn from(_: ask::Malformed) -> Self {
        Self::bad("Invalid JSON in request body.")
    }
}

/// Where etcd hides the reason, it is told.
impl From<service::Error> for Failure {
    fn from(error: service::Error) -> Self {
        match error {
            service::Error::Refused { refusal, .. } => match *refusal {
                Refusal::Auth(refusal) => refusal.into(),
                other => Self::new(StatusCode::CONFLICT, format!("auth: {other}")),
            },
            service::Error::InvalidArgument(what) => Self::bad(format!("auth: {what}")),
            other => Self::internal(other.to_string()),
        }
    }
}

impl From<AuthRefusal> for Failure {
    fn from(refusal: AuthRefusal) -> Self {
        let bad = StatusCode::BAD_REQUEST;
        let conflict = StatusCode::CONFLICT;
        let missing = StatusCode::NOT_FOUND;
        let (status, what) = match refusal {
            AuthRefusal::UserExists(name) => (conflict, format!("User {name} already exists.")),
            AuthRefusal::UserNotFound(name) => (missing, format!("User {name} does not exist.")),
            AuthRefusal::PasswordRequired(name) => (bad, format!("Cannot create user {name} with an empty password")),
            AuthRefusal::UserUnchanged(_) => {
                (bad, "User not updated. Use grant/revoke/password to update the user.".to_owned())
            }
            AuthRefusal::RoleExists(name) => (conflict, format!("Role {name} already exists.")),
            AuthRefusal::RoleNotFound(name) => (missing, format!("Role {name} does not exist.")),
            AuthRefusal::RoleUnchanged(_) => (bad, "Role not updated. Use grant/revoke to update the role.".to_owned()),
            AuthRefusal::RoleHeld { user, role } => {
                (conflict, format!("Granting duplicate role {role} for user {user}"))
            }
            AuthRefusal::RoleNotHeld { user, role } => {
                (conflict, format!("Revoking ungranted role {role} for user {user}"))
            }
            AuthRefusal::Permitted { role: _, range, writing } => {
                let list = if writing { "write" } else { "read" };
                let pattern = ask::pattern(&range).unwrap_or_default();
                (conflict, format!("Granting duplicate {list} permission {pattern}"))
            }
            other @ (AuthRefusal::NotPermitted(_)
            | AuthRefusal::TooManyUsers
            | AuthRefusal::TooManyRoles
            | AuthRefusal::TooManyUserRoles
            | AuthRefusal::TooManyPermissions) => (conflict, other.to_string()),
        };
        Self::new(status, format!("auth: {what}"))
    }
}
