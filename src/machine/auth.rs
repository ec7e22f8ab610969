//! Users and roles: which there are, what a batch has changed of them, and what becomes of a change. None makes a revision: they
//! are no keys.
//!
//! All of them are in memory, since every request will be measured by them once they are in force, and are shared with whoever
//! reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::work::{Stop, Work};
use crate::model::limits::{MAX_ROLE_BYTES, MAX_ROLE_PERMISSIONS, MAX_ROLES, MAX_USER_ROLES, MAX_USERS};
use crate::model::{
    Access, Auth, AuthChange, AuthRefusal, KeyRange, Listed, Outcome, PasswordHash, RangeLists, Refusal, Revision,
    Role, RoleName, User, UserName, auth::ROOT,
};
use crate::storage::{Keyspace, Snapshot, StorageError, WriteBatch, schema};

/// One user or role, or that it is gone.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Entry {
    User(UserName, Option<Arc<User>>),
    Role(RoleName, Option<Arc<Role>>),
}

/// The users and roles, and the changes that are not in the store yet.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// Shared with those who read, and copied when it changes meanwhile.
    auth: Arc<Auth>,
    /// In their order, each with the last whole revision before it.
    changes: Vec<(Revision, Entry)>,
}

impl Accounts {
    pub(super) fn open<S: Snapshot>(snapshot: &S) -> Result<Self, StorageError> {
        let mut auth = Auth::default();
        for user in users(snapshot) {
            auth.put_user(Arc::new(user?));
        }
        for role in roles(snapshot) {
            auth.put_role(Arc::new(role?));
        }
        Ok(Self { auth: Arc::new(auth), changes: Vec::new() })
    }

    pub(super) fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    fn note(&mut self, revision: Revision, entry: Entry) {
        let auth = Arc::make_mut(&mut self.auth);
        match &entry {
            Entry::User(_, Some(user)) => auth.put_user(Arc::clone(user)),
            Entry::User(name, None) => drop(auth.remove_user(name.as_str())),
            Entry::Role(_, Some(role)) => auth.put_role(Arc::clone(role)),
            Entry::Role(name, None) => drop(auth.remove_role(name.as_str())),
        }
        self.changes.push((revision, entry));
    }

    /// Writes what changed, and gives it.
    pub(super) fn finish(&mut self, batch: &mut WriteBatch) -> Vec<(Revision, Entry)> {
        for (_, entry) in &self.changes {
            match entry {
                Entry::User(_, Some(user)) => {
                    batch.put(Keyspace::Meta, schema::auth_user(&user.name), schema::encode_user(user));
                }
                Entry::User(name, None) => batch.delete(Keyspace::Meta, schema::auth_user(name)),
                Entry::Role(_, Some(role)) => {
                    batch.put(Keyspace::Meta, schema::auth_role(&role.name), schema::encode_role(role));
                }
                Entry::Role(name, None) => batch.delete(Keyspace::Meta, schema::auth_role(name)),
            }
        }
        std::mem::take(&mut self.changes)
    }
}

/// Every user, in order of name.
pub(super) fn users<S: Snapshot>(snapshot: &S) -> impl Iterator<Item = Result<User, StorageError>> + use<S> {
    read(snapshot, &schema::auth_users(), schema::decode_user)
}

/// Every role, in order of name.
pub(super) fn roles<S: Snapshot>(snapshot: &S) -> impl Iterator<Item = Result<Role, StorageError>> + use<S> {
    read(snapshot, &schema::auth_roles(), schema::decode_role)
}

fn read<S: Snapshot, T>(
    snapshot: &S,
    bounds: &schema::Bounds,
    decode: fn(&[u8]) -> Result<T, StorageError>,
) -> impl Iterator<Item = Result<T, StorageError>> + use<S, T> {
    let (from, to) = schema::as_slices(bounds);
    // The bounds live no longer than this call, and users and roles are bounded in number and bytes.
    let stored: Vec<_> = snapshot.scan(Keyspace::Meta, from, to).collect();
    stored.into_iter().map(move |item| item.and_then(|(_, value)| decode(&value)))
}

impl From<AuthRefusal> for Stop {
    fn from(refusal: AuthRefusal) -> Self {
        Self::Refused(Refusal::Auth(refusal))
    }
}

impl<S: Snapshot> Work<'_, S> {
    pub(super) fn change_auth(&mut self, change: AuthChange) -> Result<Outcome, Stop> {
        match change {
            AuthChange::AddUser(user) => match self.auth().user(user.name.as_str()) {
                Some(_) => Err(AuthRefusal::UserExists(user.name).into()),
                None => self.add_user(user),
            },
            AuthChange::PutUser { name, password, roles_listed } => self.put_user(name, password, roles_listed),
            AuthChange::AmendUser { name, password, grant, revoke } => self.amend_user(&name, password, grant, revoke),
            AuthChange::SetPassword { name, password } => {
                let mut user = self.user(&name)?;
                user.password = user.password.map(|_| password);
                Ok(self.keep_user(user, false))
            }
            AuthChange::DeleteUser(name) => {
                self.check_user(&name)?;
                self.note(Entry::User(name, None));
                Ok(Outcome::Done)
            }
            AuthChange::GrantRole { user, role } => self.grant_role(&user, role),
            AuthChange::RevokeRole { user, role } => self.revoke_role(&user, role),
            AuthChange::AddRole(role) => self.add_role(role),
            AuthChange::AmendRole { name, grant, revoke } => self.amend_role(&name, grant, &revoke),
            AuthChange::DeleteRole { name, from_users } => self.delete_role(name, from_users),
            AuthChange::GrantPermission { role, range, access } => {
                let mut role = self.role(&role)?;
                role.permissions.insert(range, access);
                role.listed = Listed::BOTH;
                self.keep_role(role)
            }
            AuthChange::RevokePermission { role, range } => {
                let mut role = self.role(&role)?;
                if role.permissions.remove(&range).is_none() {
                    return Err(AuthRefusal::NotPermitted(role.name).into());
                }
                role.listed = Listed::BOTH;
                self.keep_role(role)
            }
        }
    }

    fn add_user(&mut self, user: User) -> Result<Outcome, Stop> {
        if self.auth().users().len() >= MAX_USERS {
            return Err(AuthRefusal::TooManyUsers.into());
        }
        check_roles(&user)?;
        Ok(self.keep_user(user, true))
    }

    fn put_user(
        &mut self,
        name: UserName,
        password: Option<PasswordHash>,
        roles_listed: bool,
    ) -> Result<Outcome, Stop> {
        if self.auth().user(name.as_str()).is_some() {
            return self.amend_user(&name, password, Vec::new(), Vec::new());
        }
        if password.is_none() {
            return Err(AuthRefusal::PasswordRequired(name).into());
        }
        let is_root = name.as_str() == ROOT;
        let mut user = User { name, password, roles: BTreeSet::new(), roles_listed: roles_listed || is_root };
        user.roles = user.roles_in_v2();
        self.add_user(user)
    }

    fn amend_user(
        &mut self,
        name: &UserName,
        password: Option<PasswordHash>,
        grant: Vec<RoleName>,
        revoke: Vec<RoleName>,
    ) -> Result<Outcome, Stop> {
        let old = self.user(name)?;
        let before = old.roles_in_v2();
        let mut user = User { roles: before.clone(), roles_listed: true, ..old.clone() };
        for role in grant {
            if !user.roles.insert(role.clone()) {
                return Err(AuthRefusal::RoleHeld { user: user.name, role }.into());
            }
        }
        for role in revoke {
            if !user.roles.remove(&role) {
                return Err(AuthRefusal::RoleNotHeld { user: user.name, role }.into());
            }
        }
        check_roles(&user)?;
        let is_listed = old.roles_listed || !before.is_empty();
        if password.is_none() && is_listed && user.roles == before {
            return Err(AuthRefusal::UserUnchanged(user.name).into());
        }
        user.password = password.or(user.password);
        Ok(self.keep_user(user, false))
    }

    fn grant_role(&mut self, user: &UserName, role: RoleName) -> Result<Outcome, Stop> {
        let mut user = self.user(user)?;
        if role.as_str() != ROOT {
            self.check_role(&role)?;
        }
        if user.roles.contains(&role) {
            return Ok(Outcome::User { user: Box::new(user), created: false });
        }
        user.roles.insert(role);
        user.roles_listed = true;
        check_roles(&user)?;
        Ok(self.keep_user(user, false))
    }

    fn revoke_role(&mut self, user: &UserName, role: RoleName) -> Result<Outcome, Stop> {
        let mut user = self.user(user)?;
        if !user.roles.remove(&role) {
            return Err(AuthRefusal::RoleNotHeld { user: user.name, role }.into());
        }
        user.roles_listed = true;
        Ok(self.keep_user(user, false))
    }

    fn add_role(&mut self, role: Role) -> Result<Outcome, Stop> {
        if self.auth().role(role.name.as_str()).is_some() {
            return Err(AuthRefusal::RoleExists(role.name).into());
        }
        if self.auth().roles().len() >= MAX_ROLES {
            return Err(AuthRefusal::TooManyRoles.into());
        }
        self.keep_role(role)
    }

    fn amend_role(&mut self, name: &RoleName, grant: RangeLists, revoke: &RangeLists) -> Result<Outcome, Stop> {
        let old = self.role(name)?;
        let mut role = old.clone();
        for (ranges, writing) in [(grant.read, false), (grant.write, true)] {
            for range in ranges {
                if !permit(&mut role.permissions, &range, writing) {
                    return Err(AuthRefusal::Permitted { role: role.name, range, writing }.into());
                }
            }
        }
        for (ranges, writing) in [(&revoke.read, false), (&revoke.write, true)] {
            for range in ranges {
                forbid(&mut role.permissions, range, writing);
            }
        }
        role.listed = Listed::BOTH;
        // A list that holds something was given.
        let RangeLists { read, write } = old.ranges();
        let is_listed = (old.listed.read || !read.is_empty()) && (old.listed.write || !write.is_empty());
        if is_listed && role.permissions == old.permissions {
            return Err(AuthRefusal::RoleUnchanged(role.name).into());
        }
        self.keep_role(role)
    }

    fn delete_role(&mut self, name: RoleName, from_users: bool) -> Result<Outcome, Stop> {
        self.check_role(&name)?;
        if from_users {
            let holders: Vec<_> =
                self.auth().users().filter(|user| user.roles.contains(&name)).map(Arc::clone).collect();
            for user in holders {
                let mut user = User::clone(&user);
                user.roles.remove(&name);
                user.roles_listed = true;
                self.keep_user(user, false);
            }
        }
        self.note(Entry::Role(name, None));
        Ok(Outcome::Done)
    }

    fn auth(&self) -> &Auth {
        self.accounts.auth()
    }

    /// A user, to be changed.
    fn user(&self, name: &UserName) -> Result<User, AuthRefusal> {
        self.check_user(name).map(|user| User::clone(user))
    }

    fn check_user(&self, name: &UserName) -> Result<&Arc<User>, AuthRefusal> {
        self.auth().user(name.as_str()).ok_or_else(|| AuthRefusal::UserNotFound(name.clone()))
    }

    /// A role, to be changed.
    fn role(&self, name: &RoleName) -> Result<Role, AuthRefusal> {
        self.check_role(name).map(|role| Role::clone(role))
    }

    fn check_role(&self, name: &RoleName) -> Result<&Arc<Role>, AuthRefusal> {
        self.auth().role(name.as_str()).ok_or_else(|| AuthRefusal::RoleNotFound(name.clone()))
    }

    fn keep_user(&mut self, user: User, created: bool) -> Outcome {
        self.note(Entry::User(user.name.clone(), Some(Arc::new(user.clone()))));
        Outcome::User { user: Box::new(user), created }
    }

    fn keep_role(&mut self, role: Role) -> Result<Outcome, Stop> {
        if role.permissions.len() > MAX_ROLE_PERMISSIONS || role.range_bytes() > MAX_ROLE_BYTES {
            return Err(AuthRefusal::TooManyPermissions.into());
        }
        self.note(Entry::Role(role.name.clone(), Some(Arc::new(role.clone()))));
        Ok(Outcome::Role(Box::new(role)))
    }

    fn note(&mut self, entry: Entry) {
        let revision = self.overlay.revision();
        self.accounts.note(revision, entry);
    }
}

fn check_roles(user: &User) -> Result<(), AuthRefusal> {
    if user.roles.len() > MAX_USER_ROLES { Err(AuthRefusal::TooManyUserRoles) } else { Ok(()) }
}

/// Permits reading or writing in a range; false where that is permitted already.
fn permit(permissions: &mut BTreeMap<KeyRange, Access>, range: &KeyRange, writing: bool) -> bool {
    let before = permissions.get(range).copied();
    let (reads, writes) = (before.is_some_and(Access::reads), before.is_some_and(Access::writes));
    let after = Access::of(reads || !writing, writes || writing);
    if before == after {
        return false;
    }
    set(permissions, range, after);
    true
}

fn forbid(permissions: &mut BTreeMap<KeyRange, Access>, range: &KeyRange, writing: bool) {
    let Some(before) = permissions.get(range).copied() else { return };
    set(permissions, range, Access::of(before.reads() && writing, before.writes() && !writing));
}

fn set(permissions: &mut BTreeMap<KeyRange, Access>, range: &KeyRange, access: Option<Access>) {
    match access {
        Some(access) => drop(permissions.insert(range.clone(), access)),
        None => drop(permissions.remove(range)),
    }
}
