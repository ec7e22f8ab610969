//! Users and roles, beside real etcd request by request, and what is refused because nobody has to sign in yet.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::pb::auth_client::AuthClient;
use crate::pb::authpb::{Permission, UserAddOptions};
use crate::support::etcd::Release;
use crate::support::volume::not_run;
use crate::{V3, bytes, pb, start, told};

/// Requests that are drawn.
const DRAWN: usize = 1500;

fn auth(v3: &V3) -> AuthClient<Channel> {
    AuthClient::new(v3.0.clone())
}

/// A request of the table.
#[derive(Debug, Clone)]
enum Asked {
    Enable,
    Disable,
    Authenticate,
    /// Without a password.
    AddUser(&'static str),
    AddUserWithPassword(&'static str, &'static str),
    User(&'static str),
    Users,
    DeleteUser(&'static str),
    ChangePassword(&'static str),
    GrantRole(&'static str, &'static str),
    RevokeRole(&'static str, &'static str),
    AddRole(&'static str),
    Role(&'static str),
    Roles,
    DeleteRole(&'static str),
    Grant(&'static str, Permission),
    Revoke(&'static str, &'static str, &'static str),
}

/// What an answer says besides who answers, or an error.
fn shown<T>(answer: Result<Response<T>, Status>, list: impl FnOnce(T) -> String) -> String {
    match answer {
        Ok(answer) => list(answer.into_inner()),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

impl Asked {
    async fn of(self, v3: &V3) -> String {
        let mut auth = auth(v3);
        let name = ToOwned::to_owned;
        let revision = |header: Option<pb::ResponseHeader>| format!("done at {}", header.unwrap().revision);
        match self {
            Self::Enable => shown(auth.auth_enable(pb::AuthEnableRequest {}).await, |done| revision(done.header)),
            Self::Disable => shown(auth.auth_disable(pb::AuthDisableRequest {}).await, |done| revision(done.header)),
            Self::Authenticate => {
                let request = pb::AuthenticateRequest { name: name("alice"), password: name("pass") };
                shown(auth.authenticate(request).await, |done| revision(done.header))
            }
            Self::AddUser(user) => {
                let options = Some(UserAddOptions { no_password: true });
                let request = pb::AuthUserAddRequest { name: name(user), options, ..Default::default() };
                shown(auth.user_add(request).await, |done| revision(done.header))
            }
            Self::AddUserWithPassword(user, password) => {
                let (name, password) = (name(user), name(password));
                let request = pb::AuthUserAddRequest { name, password, ..Default::default() };
                shown(auth.user_add(request).await, |done| revision(done.header))
            }
            Self::User(user) => {
                let request = pb::AuthUserGetRequest { name: name(user) };
                shown(auth.user_get(request).await, |found| format!("{:?} {:?}", found.roles, revision(found.header)))
            }
            Self::Users => {
                shown(auth.user_list(pb::AuthUserListRequest {}).await, |found| format!("{:?}", found.users))
            }
            Self::DeleteUser(user) => {
                let request = pb::AuthUserDeleteRequest { name: name(user) };
                shown(auth.user_delete(request).await, |done| revision(done.header))
            }
            Self::ChangePassword(user) => {
                let (name, password) = (name(user), name("other"));
                let request = pb::AuthUserChangePasswordRequest { name, password, ..Default::default() };
                shown(auth.user_change_password(request).await, |done| revision(done.header))
            }
            Self::GrantRole(user, role) => {
                let request = pb::AuthUserGrantRoleRequest { user: name(user), role: name(role) };
                shown(auth.user_grant_role(request).await, |done| revision(done.header))
            }
            Self::RevokeRole(user, role) => {
                let request = pb::AuthUserRevokeRoleRequest { name: name(user), role: name(role) };
                shown(auth.user_revoke_role(request).await, |done| revision(done.header))
            }
            Self::AddRole(role) => {
                let request = pb::AuthRoleAddRequest { name: name(role) };
                shown(auth.role_add(request).await, |done| revision(done.header))
            }
            Self::Role(role) => {
                let request = pb::AuthRoleGetRequest { role: name(role) };
                shown(auth.role_get(request).await, |found| format!("{:?}", found.perm))
            }
            Self::Roles => {
                shown(auth.role_list(pb::AuthRoleListRequest {}).await, |found| format!("{:?}", found.roles))
            }
            Self::DeleteRole(role) => {
                let request = pb::AuthRoleDeleteRequest { role: name(role) };
                shown(auth.role_delete(request).await, |done| revision(done.header))
            }
            Self::Grant(role, permission) => {
                let request = pb::AuthRoleGrantPermissionRequest { name: name(role), perm: Some(permission) };
                shown(auth.role_grant_permission(request).await, |done| revision(done.header))
            }
            Self::Revoke(role, key, end) => {
                let (role, key, range_end) = (name(role), bytes(key), bytes(end));
                let request = pb::AuthRoleRevokePermissionRequest { role, key, range_end };
                shown(auth.role_revoke_permission(request).await, |done| revision(done.header))
            }
        }
    }

    fn draw(chance: &mut StdRng) -> Self {
        let user = *["alice", "bob", "root", ""].choose(chance).unwrap();
        let role = *["rw", "ro", "root", ""].choose(chance).unwrap();
        // Of several ranges with one first key, etcd may keep one twice.
        let (key, end) = *[("/a", ""), ("/b", "/c"), ("/d", "\0"), ("/e", "")].choose(chance).unwrap();
        match chance.random_range(0..12) {
            0 => Self::AddUser(user),
            1 => Self::User(user),
            2 => Self::Users,
            3 if chance.random_ratio(1, 3) => Self::DeleteUser(user),
            3 | 4 => Self::GrantRole(user, role),
            5 => Self::RevokeRole(user, role),
            6 => Self::AddRole(role),
            7 => Self::Role(role),
            8 if chance.random_ratio(1, 3) => Self::DeleteRole(role),
            8 | 9 => Self::Grant(role, permission(chance.random_range(0..3), key, end)),
            10 => Self::Revoke(role, key, end),
            _ => Self::Roles,
        }
    }
}

fn permission(perm_type: i32, key: &str, end: &str) -> Permission {
    Permission { perm_type, key: bytes(key), range_end: bytes(end) }
}

/// What takes etcd long, and what is not drawn.
fn table() -> Vec<Asked> {
    vec![
        Asked::Disable,
        Asked::Enable,
        Asked::Authenticate,
        Asked::AddUserWithPassword("carol", "pass"),
        Asked::AddUserWithPassword("carol", "pass"),
        Asked::AddUserWithPassword("dave", ""),
        Asked::AddUserWithPassword("", "pass"),
        Asked::ChangePassword("carol"),
        Asked::ChangePassword("nobody"),
        Asked::AddUser("bob"),
        Asked::ChangePassword("bob"),
        Asked::AddUserWithPassword("root", "pass"),
        Asked::Enable,
        Asked::GrantRole("carol", "root"),
        Asked::User("carol"),
        Asked::Users,
        Asked::DeleteUser("root"),
        Asked::DeleteUser("carol"),
        Asked::DeleteUser("dave"),
    ]
}

#[tokio::test]
async fn etcd_keeps_users_and_roles_alike() {
    users_and_roles_are_kept_alike(Release::Debian).await;
}

#[tokio::test]
async fn a_later_etcd_keeps_users_and_roles_alike() {
    users_and_roles_are_kept_alike(Release::Later).await;
}

async fn users_and_roles_are_kept_alike(release: Release) {
    if let Some(hindrance) = release.hindrance() {
        return not_run(hindrance);
    }
    let etcd = tokio::task::spawn_blocking(move || release.start(&[])).await.unwrap();
    let (_server, vardr) = start();
    let real = V3::of(&etcd.url());
    let mut chance = StdRng::seed_from_u64(1);
    let drawn = std::iter::repeat_with(|| Asked::draw(&mut chance)).take(DRAWN);
    let (mut differences, mut refused) = (Vec::new(), std::collections::BTreeMap::new());
    for asked in table().into_iter().chain(drawn) {
        let (theirs, ours) = (asked.clone().of(&real).await, asked.clone().of(&vardr).await);
        // 3.4 shows what the role was granted, later ones that it permits everything.
        let is_otherwise =
            matches!(asked, Asked::Role("root")) && release == Release::Debian && theirs.starts_with('[');
        if theirs != ours && !is_otherwise {
            differences.push(format!("{asked:?}\n  etcd  {theirs}\n  vardr {ours}"));
        }
        if theirs.contains("etcdserver: ") {
            *refused.entry(theirs).or_insert(0) += 1;
        }
    }
    assert!(differences.is_empty(), "{}:\n{}", differences.len(), differences.join("\n"));
    println!("{refused:#?}");
    for text in ["user name is empty", "role name is empty", "user name not found", "role name not found"] {
        assert!(refused.iter().any(|(told, count)| told.ends_with(text) && *count > 20), "{text}: {refused:?}");
    }
    for text in ["already exists", "is not granted to the user", "is not granted to the role"] {
        assert!(refused.iter().any(|(told, count)| told.contains(text) && *count > 20), "{text}: {refused:?}");
    }
}

#[tokio::test]
async fn nobody_can_be_made_to_sign_in_yet() {
    let (_server, v3) = start();
    let mut client = auth(&v3);
    let password = "secret".to_owned();
    let root = pb::AuthUserAddRequest { name: "root".to_owned(), password, ..Default::default() };
    told(client.user_add(root).await).unwrap();
    told(client.role_add(pb::AuthRoleAddRequest { name: "root".to_owned() }).await).unwrap();
    let grant = pb::AuthUserGrantRoleRequest { user: "root".to_owned(), role: "root".to_owned() };
    told(client.user_grant_role(grant).await).unwrap();
    let (code, why) = told(client.auth_enable(pb::AuthEnableRequest {}).await).unwrap_err();
    assert_eq!(code, Code::FailedPrecondition);
    assert!(why.contains("not enforced yet"), "{why}");
    let status = told(client.auth_status(pb::AuthStatusRequest {}).await).unwrap();
    assert!(!status.enabled);
    told(v3.kv().put(crate::put("a", "1")).await).unwrap();
}

#[tokio::test]
async fn permissions_that_nobody_can_have_meant_are_refused() {
    let (_server, v3) = start();
    let mut client = auth(&v3);
    told(client.role_add(pb::AuthRoleAddRequest { name: "rw".to_owned() }).await).unwrap();
    for (permission, text) in [
        (None, "etcdserver: permission not given"),
        (Some(permission(7, "/a", "")), "etcdserver: invalid auth management"),
        (Some(permission(0, "", "\0")), "etcdserver: invalid auth management"),
        (Some(permission(0, "/b", "/a")), "etcdserver: invalid auth management"),
    ] {
        let request = pb::AuthRoleGrantPermissionRequest { name: "rw".to_owned(), perm: permission };
        let refused = told(client.role_grant_permission(request).await).unwrap_err();
        assert_eq!(refused, (Code::InvalidArgument, text.to_owned()));
    }
    let shown = told(client.role_get(pb::AuthRoleGetRequest { role: "rw".to_owned() }).await).unwrap();
    assert_eq!(shown.perm, []);
}
