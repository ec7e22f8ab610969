//! Users and roles: who there is, and what of the key space each role lets its users read and write.
//!
//! One store for every dialect. What etcd's v2 and v3 APIs mean differently are different [changes](AuthChange), each decided where
//! it is applied.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use thiserror::Error;

use super::KeyRange;
use super::limits::{MAX_ROLE_BYTES, MAX_ROLE_PERMISSIONS, MAX_ROLES, MAX_USER_ROLES, MAX_USERS};

/// The user, and the role, that may do everything.
pub const ROOT: &str = "root";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
        pub struct $name(Arc<str>);

        impl $name {
            #[must_use]
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

name! {
    /// The name of a user: 1 to [`limits::MAX_AUTH_NAME_BYTES`](super::limits::MAX_AUTH_NAME_BYTES) bytes.
    UserName
}
name! {
    /// The name of a role, as long as that of a user may be.
    RoleName
}

/// What is kept of a password: a hash that says how it was made (`$2b$…`). Shown nowhere, not even to who debugs.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PasswordHash(Arc<str>);

impl PasswordHash {
    #[must_use]
    pub fn new(hash: impl Into<Arc<str>>) -> Self {
        Self(hash.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct User {
    pub name: UserName,
    /// `None` for one that never signs in by a password (etcd v3's `no_password`).
    pub password: Option<PasswordHash>,
    /// Roles that there need not be.
    pub roles: BTreeSet<RoleName>,
    /// Whether anybody has ever said which roles: for etcd's v2 API, no list (`null`) is not the empty list.
    pub roles_listed: bool,
}

impl User {
    /// The roles as etcd's v2 API counts them: the user `root` has the role `root` whatever is stored.
    #[must_use]
    pub fn roles_in_v2(&self) -> BTreeSet<RoleName> {
        let mut roles = self.roles.clone();
        if self.name.as_str() == ROOT {
            roles.insert(RoleName::new(ROOT));
        }
        roles
    }
}

/// What a role permits in one range of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Access {
    Read,
    Write,
    ReadWrite,
}

impl Access {
    /// The access that is this much; `None` where it is none.
    #[must_use]
    pub const fn of(reads: bool, writes: bool) -> Option<Self> {
        match (reads, writes) {
            (true, true) => Some(Self::ReadWrite),
            (true, false) => Some(Self::Read),
            (false, true) => Some(Self::Write),
            (false, false) => None,
        }
    }

    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Role {
    pub name: RoleName,
    /// Each range once; ranges may overlap.
    pub permissions: BTreeMap<KeyRange, Access>,
    /// Which of the two lists of etcd's v2 API anybody has ever given; see [`User::roles_listed`].
    pub listed: Listed,
}

impl Role {
    /// A role that permits nothing.
    #[must_use]
    pub fn new(name: RoleName) -> Self {
        Self { name, permissions: BTreeMap::new(), listed: Listed::default() }
    }

    /// The ranges that may be read, and those that may be written.
    #[must_use]
    pub fn ranges(&self) -> RangeLists {
        let of = |is: fn(Access) -> bool| {
            let ranges = self.permissions.iter().filter(|(_, access)| is(**access));
            ranges.map(|(range, _)| range.clone()).collect()
        };
        RangeLists { read: of(Access::reads), write: of(Access::writes) }
    }

    /// The bytes of the bounds of all ranges.
    #[must_use]
    pub fn range_bytes(&self) -> usize {
        self.permissions.keys().map(|range| range.start().len() + range.end().map_or(0, bytes::Bytes::len)).sum()
    }
}

/// Whether lists were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Listed {
    pub read: bool,
    pub write: bool,
}

impl Listed {
    pub const BOTH: Self = Self { read: true, write: true };
}

/// Ranges to read and ranges to write, apart, as etcd's v2 API has them.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct RangeLists {
    pub read: Vec<KeyRange>,
    pub write: Vec<KeyRange>,
}

impl RangeLists {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read.is_empty() && self.write.is_empty()
    }

    /// Each range once, with what is asked for it.
    #[must_use]
    pub fn permissions(&self) -> BTreeMap<KeyRange, Access> {
        let mut permissions = BTreeMap::new();
        for range in &self.read {
            permissions.insert(range.clone(), Access::Read);
        }
        for range in &self.write {
            let entry = permissions.entry(range.clone()).or_insert(Access::Write);
            if entry.reads() {
                *entry = Access::ReadWrite;
            }
        }
        permissions
    }
}

/// All users and roles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    users: BTreeMap<UserName, Arc<User>>,
    roles: BTreeMap<RoleName, Arc<Role>>,
}

impl Auth {
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(name)
    }

    /// In order of name.
    pub fn users(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// In order of name.
    pub fn roles(&self) -> impl ExactSizeIterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    /// Puts a user in the place of the one of its name, if there is one.
    pub fn put_user(&mut self, user: Arc<User>) {
        self.users.insert(user.name.clone(), user);
    }

    pub fn remove_user(&mut self, name: &str) -> Option<Arc<User>> {
        self.users.remove(name)
    }

    /// Puts a role in the place of the one of its name, if there is one.
    pub fn put_role(&mut self, role: Arc<Role>) {
        self.roles.insert(role.name.clone(), role);
    }

    pub fn remove_role(&mut self, name: &str) -> Option<Arc<Role>> {
        self.roles.remove(name)
    }
}

/// A change of users and roles. Makes no revision: they are no keys.
///
/// Where etcd's two APIs mean the same, so do their changes here; the others say whose they are.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum AuthChange {
    /// Makes a user, who must not exist.
    AddUser(User),
    /// v2: sets the password of a user, who is made where there is none, and then needs one. Without one, all that changes is that
    /// the roles are listed; refused where they are. A user `root` is made with the role `root`.
    PutUser {
        name: UserName,
        password: Option<PasswordHash>,
        /// Of a user that is made.
        roles_listed: bool,
    },
    /// v2: all at once. The roles granted need not exist. Refused where the user has one of them already, does not have, with those
    /// granted, one of those revoked, or nothing changes.
    AmendUser {
        name: UserName,
        password: Option<PasswordHash>,
        grant: Vec<RoleName>,
        revoke: Vec<RoleName>,
    },
    /// v3: one who has no password stays without.
    SetPassword {
        name: UserName,
        password: PasswordHash,
    },
    DeleteUser(UserName),
    /// v3: both must exist, but for the role `root`. Does nothing where the user has the role.
    GrantRole {
        user: UserName,
        role: RoleName,
    },
    /// v3: refused where the user does not have the role.
    RevokeRole {
        user: UserName,
        role: RoleName,
    },
    /// Makes a role, which must not exist.
    AddRole(Role),
    /// v2: all at once. Refused where what is granted is permitted already, or nothing changes; what is revoked need not be permitted.
    AmendRole {
        name: RoleName,
        grant: RangeLists,
        revoke: RangeLists,
    },
    DeleteRole {
        name: RoleName,
        /// v3: users lose it. In v2 they keep the name, and have the role again when one of that name is made.
        from_users: bool,
    },
    /// v3: in the place of what the role permits in exactly this range.
    GrantPermission {
        role: RoleName,
        range: KeyRange,
        access: Access,
    },
    /// v3: refused where the role permits nothing in exactly this range.
    RevokePermission {
        role: RoleName,
        range: KeyRange,
    },
}

/// Why users and roles were not changed.
#[derive(Debug, Clone, PartialEq, Eq, Error, BorshSerialize, BorshDeserialize)]
pub enum AuthRefusal {
    #[error("the user `{0}` exists already")]
    UserExists(UserName),
    #[error("there is no user `{0}`")]
    UserNotFound(UserName),
    #[error("the user `{0}` cannot be made without a password")]
    PasswordRequired(UserName),
    #[error("nothing about the user `{0}` would change")]
    UserUnchanged(UserName),
    #[error("the role `{0}` exists already")]
    RoleExists(RoleName),
    #[error("there is no role `{0}`")]
    RoleNotFound(RoleName),
    #[error("nothing about the role `{0}` would change")]
    RoleUnchanged(RoleName),
    #[error("the user `{user}` has the role `{role}` already")]
    RoleHeld { user: UserName, role: RoleName },
    #[error("the user `{user}` does not have the role `{role}`")]
    RoleNotHeld { user: UserName, role: RoleName },
    /// `writing` says which of the two lists of etcd's v2 API has it already.
    #[error("the role `{role}` permits this already")]
    Permitted { role: RoleName, range: KeyRange, writing: bool },
    #[error("the role `{0}` permits nothing in exactly this range")]
    NotPermitted(RoleName),
    #[error("there are at most {MAX_USERS} users")]
    TooManyUsers,
    #[error("there are at most {MAX_ROLES} roles")]
    TooManyRoles,
    #[error("a user has at most {MAX_USER_ROLES} roles")]
    TooManyUserRoles,
    #[error("a role permits something in at most {MAX_ROLE_PERMISSIONS} ranges, of {MAX_ROLE_BYTES} bytes together")]
    TooManyPermissions,
}
