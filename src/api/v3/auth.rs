//! Users and roles: stored and shown, one change at a time. Nobody has to sign in yet, so that requiring it is refused.

use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;

use super::ask::Ask;
use super::convert::header_now;
use super::errors::Known;
use super::pb;
use super::pb::authpb::Permission;
use super::pb::authpb::permission::Type;
use crate::api::State;
use crate::model::auth::ROOT;
use crate::model::{Access, Auth, AuthChange, KeyRange, PasswordHash, Role, RoleName, User, UserName};
use crate::service::Consistency;

/// Why nobody can be made to sign in.
const NOT_ENFORCED: &str =
    "etcdserver: authentication is not enforced yet: users and roles are stored, and nobody has to sign in";

/// Requires that everybody signs in: refused, since nothing would hold them to it.
pub(super) async fn enable(api: &State, ask: &Ask) -> Result<pb::AuthEnableResponse, Status> {
    let auth = auth(api, ask).await?;
    let root = auth.user(ROOT).ok_or(Known::RootUserNotFound)?;
    if !root.roles.contains(ROOT) {
        return Err(Known::RootRoleNotGranted.into());
    }
    Err(Status::failed_precondition(NOT_ENFORCED))
}

/// Lets everybody in, which is so already.
pub(super) fn disable(api: &State) -> pb::AuthDisableResponse {
    pb::AuthDisableResponse { header: Some(header_now(api)) }
}

/// Whether everybody has to sign in. Changes of users and roles are not counted.
pub(super) fn status(api: &State) -> pb::AuthStatusResponse {
    pb::AuthStatusResponse { header: Some(header_now(api)), enabled: false, auth_revision: 0 }
}

/// A token for a password: there are none while nobody has to sign in.
pub(super) fn authenticate() -> Result<pb::AuthenticateResponse, Status> {
    Err(Known::AuthNotEnabled.into())
}

/// Makes a user.
pub(super) async fn add_user(
    api: &State,
    ask: &Ask,
    request: pb::AuthUserAddRequest,
) -> Result<pb::AuthUserAddResponse, Status> {
    let name = user_name(request.name)?;
    // etcd would hash the password first, and say the same after that.
    if auth(api, ask).await?.user(name.as_str()).is_some() {
        return Err(Known::UserExists.into());
    }
    let password = match request.options {
        Some(options) if options.no_password => None,
        Some(_) | None => Some(hash(api, ask, &request.password).await?),
    };
    let user = User { name, password, roles: [].into(), roles_listed: false };
    change(api, ask, AuthChange::AddUser(user)).await?;
    Ok(pb::AuthUserAddResponse { header: Some(header_now(api)) })
}

/// The roles of a user.
pub(super) async fn user(
    api: &State,
    ask: &Ask,
    request: pb::AuthUserGetRequest,
) -> Result<pb::AuthUserGetResponse, Status> {
    let auth = auth(api, ask).await?;
    let user = auth.user(&request.name).ok_or(Known::UserNotFound)?;
    let roles = user.roles.iter().map(ToString::to_string).collect();
    Ok(pb::AuthUserGetResponse { header: Some(header_now(api)), roles })
}

/// The names of all users.
pub(super) async fn users(api: &State, ask: &Ask) -> Result<pb::AuthUserListResponse, Status> {
    let users = auth(api, ask).await?.users().map(|user| user.name.to_string()).collect();
    Ok(pb::AuthUserListResponse { header: Some(header_now(api)), users })
}

/// Deletes a user.
pub(super) async fn delete_user(
    api: &State,
    ask: &Ask,
    request: pb::AuthUserDeleteRequest,
) -> Result<pb::AuthUserDeleteResponse, Status> {
    let name = user_found(request.name)?;
    change(api, ask, AuthChange::DeleteUser(name)).await?;
    Ok(pb::AuthUserDeleteResponse { header: Some(header_now(api)) })
}

/// Gives a user another password.
pub(super) async fn change_password(
    api: &State,
    ask: &Ask,
    request: pb::AuthUserChangePasswordRequest,
) -> Result<pb::AuthUserChangePasswordResponse, Status> {
    let name = user_found(request.name)?;
    if auth(api, ask).await?.user(name.as_str()).is_none() {
        return Err(Known::UserNotFound.into());
    }
    let password = hash(api, ask, &request.password).await?;
    change(api, ask, AuthChange::SetPassword { name, password }).await?;
    Ok(pb::AuthUserChangePasswordResponse { header: Some(header_now(api)) })
}

/// Gives a user a role.
pub(super) async fn grant_role(
    api: &State,
    ask: &Ask,
    request: pb::AuthUserGrantRoleRequest,
) -> Result<pb::AuthUserGrantRoleResponse, Status> {
    let user = user_found(request.user)?;
    let role = role_of(api, ask, &user, request.role, Known::RoleNotFound).await?;
    change(api, ask, AuthChange::GrantRole { user, role }).await?;
    Ok(pb::AuthUserGrantRoleResponse { header: Some(header_now(api)) })
}

/// Takes a role from a user.
pub(super) async fn revoke_role(
    api: &State,
    ask: &Ask,
    request: pb::AuthUserRevokeRoleRequest,
) -> Result<pb::AuthUserRevokeRoleResponse, Status> {
    let user = user_found(request.name)?;
    let role = role_of(api, ask, &user, request.role, Known::RoleNotGranted).await?;
    change(api, ask, AuthChange::RevokeRole { user, role }).await?;
    Ok(pb::AuthUserRevokeRoleResponse { header: Some(header_now(api)) })
}

/// Makes a role, which permits nothing.
pub(super) async fn add_role(
    api: &State,
    ask: &Ask,
    request: pb::AuthRoleAddRequest,
) -> Result<pb::AuthRoleAddResponse, Status> {
    let name = non_empty(request.name).map(RoleName::new).ok_or(Known::RoleEmpty)?;
    change(api, ask, AuthChange::AddRole(Role::new(name))).await?;
    Ok(pb::AuthRoleAddResponse { header: Some(header_now(api)) })
}

/// What a role permits: as of etcd 3.5, the role `root` everything, whatever it was granted.
pub(super) async fn role(
    api: &State,
    ask: &Ask,
    request: pb::AuthRoleGetRequest,
) -> Result<pb::AuthRoleGetResponse, Status> {
    let auth = auth(api, ask).await?;
    let role = auth.role(&request.role).ok_or(Known::RoleNotFound)?;
    let perm = match role.name.as_str() {
        ROOT => vec![permission(&KeyRange::prefix(""), Access::ReadWrite)],
        _ => role.permissions.iter().map(|(range, access)| permission(range, *access)).collect(),
    };
    Ok(pb::AuthRoleGetResponse { header: Some(header_now(api)), perm })
}

/// The names of all roles.
pub(super) async fn roles(api: &State, ask: &Ask) -> Result<pb::AuthRoleListResponse, Status> {
    let roles = auth(api, ask).await?.roles().map(|role| role.name.to_string()).collect();
    Ok(pb::AuthRoleListResponse { header: Some(header_now(api)), roles })
}

/// Deletes a role, and takes it from its users.
pub(super) async fn delete_role(
    api: &State,
    ask: &Ask,
    request: pb::AuthRoleDeleteRequest,
) -> Result<pb::AuthRoleDeleteResponse, Status> {
    let name = role_found(request.role)?;
    change(api, ask, AuthChange::DeleteRole { name, from_users: true }).await?;
    Ok(pb::AuthRoleDeleteResponse { header: Some(header_now(api)) })
}

/// Lets a role permit something in a range of keys, in the place of what it permits in exactly that one.
pub(super) async fn grant_permission(
    api: &State,
    ask: &Ask,
    request: pb::AuthRoleGrantPermissionRequest,
) -> Result<pb::AuthRoleGrantPermissionResponse, Status> {
    // Without one, etcd 3.4 ends.
    let asked = request.perm.ok_or(Known::PermissionNotGiven)?;
    let access = match Type::try_from(asked.perm_type) {
        Ok(Type::Read) => Access::Read,
        Ok(Type::Write) => Access::Write,
        Ok(Type::Readwrite) => Access::ReadWrite,
        Err(_) => return Err(Known::InvalidAuthManagement.into()),
    };
    // A range that holds nothing permits nothing, and nobody can have meant it.
    let range = range(asked.key, asked.range_end).filter(|range| !range.is_empty());
    let range = range.ok_or(Known::InvalidAuthManagement)?;
    change(api, ask, AuthChange::GrantPermission { role: role_found(request.name)?, range, access }).await?;
    Ok(pb::AuthRoleGrantPermissionResponse { header: Some(header_now(api)) })
}

/// Has a role permit nothing in exactly one range.
pub(super) async fn revoke_permission(
    api: &State,
    ask: &Ask,
    request: pb::AuthRoleRevokePermissionRequest,
) -> Result<pb::AuthRoleRevokePermissionResponse, Status> {
    let role = role_found(request.role)?;
    if auth(api, ask).await?.role(role.as_str()).is_none() {
        return Err(Known::RoleNotFound.into());
    }
    let range = range(request.key, request.range_end).ok_or(Known::PermissionNotGranted)?;
    change(api, ask, AuthChange::RevokePermission { role, range }).await?;
    Ok(pb::AuthRoleRevokePermissionResponse { header: Some(header_now(api)) })
}

async fn auth(api: &State, ask: &Ask) -> Result<Arc<Auth>, Status> {
    api.service().auth(&ask.call, Consistency::Linearizable).await.map_err(|error| ask.failed(error))
}

async fn change(api: &State, ask: &Ask, change: AuthChange) -> Result<(), Status> {
    api.service().change_auth(&ask.call, change).await.map(drop).map_err(|error| ask.failed(error))
}

async fn hash(api: &State, ask: &Ask, password: &str) -> Result<PasswordHash, Status> {
    api.service().hash_password(&ask.call, password).await.map_err(|error| ask.failed(error))
}

fn non_empty(name: String) -> Option<String> {
    Some(name).filter(|name| !name.is_empty())
}

/// The name of a user that is made.
fn user_name(name: String) -> Result<UserName, Known> {
    non_empty(name).map(UserName::new).ok_or(Known::UserEmpty)
}

/// The name of a user that there is to be: none is empty.
fn user_found(name: String) -> Result<UserName, Known> {
    non_empty(name).map(UserName::new).ok_or(Known::UserNotFound)
}

/// The name of a role that there is to be: none is empty.
fn role_found(name: String) -> Result<RoleName, Known> {
    non_empty(name).map(RoleName::new).ok_or(Known::RoleNotFound)
}

/// The name of a role that a user is to have or to lose. For an empty one there is this error, but that there is no such user is
/// said first.
async fn role_of(api: &State, ask: &Ask, user: &UserName, role: String, otherwise: Known) -> Result<RoleName, Status> {
    match non_empty(role) {
        Some(role) => Ok(RoleName::new(role)),
        None if auth(api, ask).await?.user(user.as_str()).is_none() => Err(Known::UserNotFound.into()),
        None => Err(otherwise.into()),
    }
}

/// The keys of a permission; `None` without a first key.
fn range(key: Bytes, end: Bytes) -> Option<KeyRange> {
    super::convert::range(key, end).ok()
}

/// A permission as etcd shows it.
fn permission(range: &KeyRange, access: Access) -> Permission {
    let perm_type = match access {
        Access::Read => Type::Read,
        Access::Write => Type::Write,
        Access::ReadWrite => Type::Readwrite,
    };
    let range_end = match (range.as_single(), range.end()) {
        (Some(_), _) => Bytes::new(),
        (None, Some(end)) => end.clone(),
        (None, None) => Bytes::from_static(b"\0"),
    };
    Permission { perm_type: perm_type.into(), key: range.start().clone(), range_end }
}
