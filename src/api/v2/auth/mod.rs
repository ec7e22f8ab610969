//! `/v2/auth`: users, roles, and whether they are in force, as etcd tells it.
//!
//! The role `root` is etcd's own: it is shown and cannot be changed, and none of that name that another dialect has stored shows
//! here. Names that begin with an underscore are left out of lists, since etcd keeps users and roles as nodes, of which such are
//! hidden.

mod ask;
mod failure;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};

use super::form::Form;
use super::{below, deadline, json, method_not_allowed, name_cluster, not_found, typed_json};
use crate::api::State;
use crate::api::extract::body;
use crate::model::limits::{MAX_AUTH_REQUEST_BYTES, MAX_SHOWN_BYTES};
use crate::model::{
    Access, Auth, AuthChange, AuthRefusal, KeyRange, Listed, Outcome, PasswordHash, Role, RoleName, User, UserName,
    auth::ROOT,
};
use crate::service::{Call, Consistency};
use ask::{Lists, RoleAsk, UserAsk};
use failure::Failure;

/// What the paths begin with.
pub(super) const PATH: &str = "/v2/auth";
const USERS: &str = "/users";
const ROLES: &str = "/roles";
const ENABLE: &[u8] = b"/enable";
/// The patterns of the paths.
const USER_PATTERN: &str = "/v2/auth/users/{*name}";
const ROLE_PATTERN: &str = "/v2/auth/roles/{*name}";
const ENABLE_PATTERN: &str = "/v2/auth/enable";

/// Whose lists are asked for.
#[derive(Debug, Clone, Copy)]
enum Of {
    Users,
    Roles,
}

/// Answers a request for users and roles: `rest` is what follows [`PATH`].
pub(super) async fn answer(api: &State, parts: &Parts, rest: &[u8], content: Body) -> (&'static str, Response) {
    if let Some(name) = below(rest, USERS) {
        return (USER_PATTERN, about(api, parts, Of::Users, name, content).await);
    }
    if let Some(name) = below(rest, ROLES) {
        return (ROLE_PATTERN, about(api, parts, Of::Roles, name, content).await);
    }
    if rest == ENABLE {
        return (ENABLE_PATTERN, enable(api, parts).await);
    }
    (super::NO_HANDLER, not_found())
}

/// Answers for all of a kind, or for the one of a name.
async fn about(api: &State, parts: &Parts, of: Of, rest: &[u8], content: Body) -> Response {
    let name = rest.strip_prefix(b"/").unwrap_or(rest);
    let name = name.strip_suffix(b"/").unwrap_or(name);
    if name.contains(&b'/') {
        return Failure::bad("Invalid path").into_response();
    }
    let answered = match (of, &parts.method) {
        (_, &Method::GET) if name.is_empty() => list(api, parts, of).await,
        _ if name.is_empty() => return method_not_allowed("GET"),
        (Of::Users, &Method::GET) => get_user(api, parts, name).await,
        (Of::Users, &Method::PUT) => put_user(api, parts, name, content).await,
        (Of::Users, &Method::DELETE) => delete_user(api, name).await,
        (Of::Roles, &Method::GET) => get_role(api, name).await,
        (Of::Roles, &Method::PUT) => put_role(api, parts, name, content).await,
        (Of::Roles, &Method::DELETE) => delete_role(api, name).await,
        _ => return method_not_allowed("GET,PUT,DELETE"),
    };
    let mut response = answered.unwrap_or_else(Failure::into_response);
    name_cluster(api, response.headers_mut());
    response
}

/// All users, each with those of its roles that there are; or all roles.
async fn list(api: &State, parts: &Parts, of: Of) -> Result<Response, Failure> {
    let auth = at_hand(api).await?;
    check_query(parts)?;
    written(move || match of {
        Of::Users => write_users(&auth),
        Of::Roles => write_roles(&auth),
    })
    .await
}

/// What is written away from the runtime's workers, since it may be much; `None` of what is too much.
async fn written(write: impl FnOnce() -> Option<Vec<u8>> + Send + 'static) -> Result<Response, Failure> {
    let written = tokio::task::spawn_blocking(write).await.map_err(|error| Failure::internal(error.to_string()))?;
    let too_long =
        || format!("the answer has more than {MAX_SHOWN_BYTES} bytes: ask for each user or role by its name");
    Ok(typed_json(StatusCode::OK, written.ok_or_else(|| Failure::internal(too_long()))?))
}

fn write_users(auth: &Auth) -> Option<Vec<u8>> {
    let shown = auth.users().filter(|user| !is_hidden(user.name.as_str()));
    write_all(b"users", shown, |out, user| {
        let roles: Vec<_> = user.roles_in_v2().iter().filter_map(|name| find_role(auth, name.as_str())).collect();
        write_user_with_roles(out, user, &roles);
    })
}

fn write_roles(auth: &Auth) -> Option<Vec<u8>> {
    let stored = auth.roles().map(|role| &role.name).filter(|name| !is_hidden(name.as_str())).cloned();
    let names: BTreeSet<_> = stored.chain([RoleName::new(ROOT)]).collect();
    let roles: Vec<_> = names.iter().filter_map(|name| find_role(auth, name.as_str())).collect();
    write_all(b"roles", roles.iter().map(|role| &**role), write_role)
}

/// `{"users":[…]}`; `null` for none. `None` where it becomes too long.
fn write_all<T>(name: &[u8], items: impl Iterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) -> Option<Vec<u8>> {
    let mut out = [b"{\"", name, b"\":"].concat();
    let mut separator = b'[';
    for item in items {
        out.push(separator);
        separator = b',';
        write(&mut out, item);
        if out.len() > MAX_SHOWN_BYTES {
            return None;
        }
    }
    out.extend_from_slice(if separator == b'[' { b"null}\n" } else { b"]}\n" });
    Some(out)
}

async fn get_user(api: &State, parts: &Parts, name: &[u8]) -> Result<Response, Failure> {
    let auth = at_hand(api).await?;
    let user = std::str::from_utf8(name).ok().and_then(|name| auth.user(name));
    let user = Arc::clone(user.ok_or_else(|| Failure::missing("User", name, " does not exist."))?);
    check_query(parts)?;
    let mut roles = Vec::new();
    for name in user.roles_in_v2() {
        let role = find_role(&auth, name.as_str());
        roles.push(role.ok_or_else(|| AuthRefusal::RoleNotFound(name))?);
    }
    written(move || {
        let mut out = Vec::with_capacity(256);
        write_user_with_roles(&mut out, &user, &roles);
        out.push(b'\n');
        (out.len() <= MAX_SHOWN_BYTES).then_some(out)
    })
    .await
}

async fn put_user(api: &State, parts: &Parts, name: &[u8], content: Body) -> Result<Response, Failure> {
    let call = deadline(api);
    let ask = UserAsk::read(&read_body(parts, content, &call).await?)?;
    if ask.name.as_bytes() != name {
        return Err(Failure::bad("User JSON name does not match the name in the URL"));
    }
    let has_roles = ask.roles.as_ref().is_some_and(|roles| !roles.is_empty());
    let amends = !ask.grant.is_empty() || !ask.revoke.is_empty();
    if amends && has_roles {
        return Err(Failure::bad("User JSON contains both roles and grant/revoke"));
    }
    let password = hash(api, &call, &ask.password.0).await?;
    let is_root = ask.name == ROOT;
    let name = UserName::new(ask.name);
    let change = if amends {
        let (grant, revoke) = (names(ask.grant), names(ask.revoke));
        AuthChange::AmendUser { name, password, grant, revoke }
    } else if has_roles {
        if password.is_none() {
            return Err(AuthRefusal::PasswordRequired(name).into());
        }
        let mut roles: BTreeSet<_> = names(ask.roles.unwrap_or_default());
        roles.extend(is_root.then(|| RoleName::new(ROOT)));
        AuthChange::AddUser(User { name, password, roles, roles_listed: true })
    } else {
        AuthChange::PutUser { name, password, roles_listed: ask.roles.is_some() }
    };
    // As in etcd, only a user that is made without a list of roles counts as made.
    let may_create = matches!(change, AuthChange::PutUser { .. });
    let done = api.service().change_auth(&call, change).await?;
    let Outcome::User { user, created } = &done.outcome else { return Err(Failure::internal("no user came of it")) };
    let mut out = Vec::with_capacity(128);
    write_user(&mut out, user);
    out.push(b'\n');
    Ok(typed_json(if *created && may_create { StatusCode::CREATED } else { StatusCode::OK }, out))
}

async fn delete_user(api: &State, name: &[u8]) -> Result<Response, Failure> {
    let missing = || Failure::missing("User", name, " does not exist");
    let user = std::str::from_utf8(name).map_err(|_| missing())?;
    match api.service().change_auth(&deadline(api), AuthChange::DeleteUser(UserName::new(user))).await {
        Err(error) if failure::is_missing(&error) => Err(missing()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(typed_json(StatusCode::OK, Vec::new())),
    }
}

async fn get_role(api: &State, name: &[u8]) -> Result<Response, Failure> {
    let auth = at_hand(api).await?;
    let role = std::str::from_utf8(name).ok().and_then(|name| find_role(&auth, name));
    let role = role.ok_or_else(|| Failure::missing("Role", name, " does not exist."))?;
    Ok(show_role(StatusCode::OK, &role))
}

async fn put_role(api: &State, parts: &Parts, name: &[u8], content: Body) -> Result<Response, Failure> {
    let call = deadline(api);
    let ask = RoleAsk::read(&read_body(parts, content, &call).await?)?;
    if ask.name.as_bytes() != name {
        return Err(Failure::bad("Role JSON name does not match the name in the URL"));
    }
    let creates = ask.grant.is_empty() && ask.revoke.is_empty();
    if !creates && !ask.permissions.is_empty() {
        return Err(Failure::bad("Role JSON contains both permissions and grant/revoke"));
    }
    if ask.name == ROOT {
        return Err(Failure::root_role());
    }
    let RoleAsk { name, permissions, grant, revoke } = ask;
    let [Some(ranges), Some(grant), Some(revoke)] = [&permissions, &grant, &revoke].map(Lists::ranges) else {
        return Err(Failure::bad("auth: a pattern of keys is not empty"));
    };
    let name = RoleName::new(name);
    let (status, change) = if creates {
        let listed = Listed { read: permissions.read.is_some(), write: permissions.write.is_some() };
        (StatusCode::CREATED, AuthChange::AddRole(Role { name, permissions: ranges.permissions(), listed }))
    } else {
        (StatusCode::OK, AuthChange::AmendRole { name, grant, revoke })
    };
    let done = api.service().change_auth(&call, change).await?;
    let Outcome::Role(role) = &done.outcome else { return Err(Failure::internal("no role came of it")) };
    Ok(show_role(status, role))
}

async fn delete_role(api: &State, name: &[u8]) -> Result<Response, Failure> {
    let missing = || Failure::missing("Role", name, " doesn't exist.");
    let role = std::str::from_utf8(name).map_err(|_| missing())?;
    if role == ROOT {
        return Err(Failure::root_role());
    }
    let change = AuthChange::DeleteRole { name: RoleName::new(role), from_users: false };
    match api.service().change_auth(&deadline(api), change).await {
        Err(error) if failure::is_missing(&error) => Err(missing()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(typed_json(StatusCode::OK, Vec::new())),
    }
}

/// Nothing is in force, and nothing can be: who asks for it must not believe otherwise.
async fn enable(api: &State, parts: &Parts) -> Response {
    let mut response = match parts.method {
        Method::GET => typed_json(StatusCode::OK, b"{\"enabled\":false}\n".to_vec()),
        Method::PUT => cannot_enable(api).await.into_response(),
        Method::DELETE => Failure::new(StatusCode::CONFLICT, "auth: already disabled").into_response(),
        _ => return method_not_allowed("GET,PUT,DELETE"),
    };
    name_cluster(api, response.headers_mut());
    response
}

async fn cannot_enable(api: &State) -> Failure {
    let why = match api.service().auth(&deadline(api), Consistency::Linearizable).await {
        Err(error) => return error.into(),
        Ok(auth) if auth.user(ROOT).is_none() => "auth: No root user available, please create one",
        Ok(_) => "auth: users and roles are stored and not enforced yet, so they cannot be enabled",
    };
    Failure::new(StatusCode::CONFLICT, why)
}

/// What this member knows, without asking the others, as in etcd.
async fn at_hand(api: &State) -> Result<Arc<Auth>, Failure> {
    Ok(api.service().auth(&deadline(api), Consistency::Serializable).await?)
}

async fn read_body(parts: &Parts, content: Body, call: &Call) -> Result<Bytes, Failure> {
    let read = body::read(&parts.headers, content, MAX_AUTH_REQUEST_BYTES, call.deadline).await;
    read.map_err(|problem| Failure::bad(problem.to_string()))
}

/// Go looks at the query of a request for something, and etcd does not say what is wrong with it.
fn check_query(parts: &Parts) -> Result<(), Failure> {
    let read = Form::default().add(parts.uri.query().unwrap_or_default().as_bytes());
    read.map_err(|_| Failure::internal("Internal Server Error"))
}

/// What is kept of a password; an empty one is none.
async fn hash(api: &State, call: &Call, password: &str) -> Result<Option<PasswordHash>, Failure> {
    if password.is_empty() {
        return Ok(None);
    }
    Ok(Some(api.service().hash_password(call, password).await?))
}

fn names<C: FromIterator<RoleName>>(names: Vec<String>) -> C {
    names.into_iter().map(RoleName::new).collect()
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('_')
}

/// A role as this dialect has it.
fn find_role(auth: &Auth, name: &str) -> Option<Arc<Role>> {
    if name != ROOT {
        return auth.role(name).cloned();
    }
    let mut root = Role::new(RoleName::new(ROOT));
    root.permissions.insert(KeyRange::prefix("/"), Access::ReadWrite);
    Some(Arc::new(root))
}

fn show_role(status: StatusCode, role: &Role) -> Response {
    let mut out = Vec::with_capacity(256);
    write_role(&mut out, role);
    out.push(b'\n');
    typed_json(status, out)
}

/// `{"role":…,"permissions":{"kv":{"read":[…],"write":[…]}}}`.
fn write_role(out: &mut Vec<u8>, role: &Role) {
    let ranges = role.ranges();
    out.extend_from_slice(b"{\"role\":");
    json::string(out, role.name.as_str().as_bytes());
    out.extend_from_slice(b",\"permissions\":{\"kv\":{\"read\":");
    write_patterns(out, &ranges.read, role.listed.read);
    out.extend_from_slice(b",\"write\":");
    write_patterns(out, &ranges.write, role.listed.write);
    out.extend_from_slice(b"}}}");
}

fn write_patterns(out: &mut Vec<u8>, ranges: &[KeyRange], is_listed: bool) {
    let patterns: BTreeSet<_> = ranges.iter().filter_map(ask::pattern).collect();
    write_list(out, patterns.iter().map(String::as_str), is_listed);
}

/// `{"user":…,"roles":["…"]}`.
fn write_user(out: &mut Vec<u8>, user: &User) {
    out.extend_from_slice(b"{\"user\":");
    json::string(out, user.name.as_str().as_bytes());
    out.extend_from_slice(b",\"roles\":");
    write_list(out, user.roles.iter().map(RoleName::as_str), user.roles_listed);
    out.push(b'}');
}

/// `{"user":…,"roles":[{…}]}`, without the list where it would be empty.
fn write_user_with_roles(out: &mut Vec<u8>, user: &User, roles: &[Arc<Role>]) {
    out.extend_from_slice(b"{\"user\":");
    json::string(out, user.name.as_str().as_bytes());
    let mut separator: &[u8] = b",\"roles\":[";
    for role in roles {
        out.extend_from_slice(separator);
        separator = b",";
        write_role(out, role);
    }
    out.extend_from_slice(if roles.is_empty() { b"}" } else { b"]}" });
}

/// A list of strings; one that nobody has given is `null` as long as nothing is in it.
fn write_list<'a>(out: &mut Vec<u8>, items: impl Iterator<Item = &'a str>, is_listed: bool) {
    let mut separator = b'[';
    for item in items {
        out.push(separator);
        separator = b',';
        json::string(out, item.as_bytes());
    }
    match separator {
        b'[' if is_listed => out.extend_from_slice(b"[]"),
        b'[' => out.extend_from_slice(b"null"),
        _ => out.push(b']'),
    }
}
