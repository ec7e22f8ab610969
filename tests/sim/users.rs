//! Users and roles: what clients change about them, drawn from the seed, and the naive model of what that must come to.

use std::collections::{BTreeMap, BTreeSet};

use vardr::model::auth::ROOT;
use vardr::model::{
    Access, Auth, AuthChange, AuthRefusal, KeyRange, Listed, Outcome, PasswordHash, RangeLists, Refusal, Role,
    RoleName, User, UserName,
};

use crate::world::World;

const USERS: &[&str] = &["root", "ann", "bob"];
const ROLES: &[&str] = &["root", "dev", "ops"];

impl World {
    pub fn draw_auth_change(&mut self) -> AuthChange {
        let name = UserName::new(*self.chance.pick(USERS));
        let role = RoleName::new(*self.chance.pick(ROLES));
        match self.chance.below(10) {
            0 | 1 => {
                AuthChange::PutUser { name, password: self.draw_password(), roles_listed: self.chance.percent(50) }
            }
            2 | 3 => {
                let (grant, revoke) = (self.draw_roles(), self.draw_roles());
                AuthChange::AmendUser { name, password: self.draw_password(), grant, revoke }
            }
            4 => AuthChange::DeleteUser(name),
            5 => AuthChange::GrantRole { user: name, role },
            6 => AuthChange::RevokeRole { user: name, role },
            7 => AuthChange::AddRole(Role::new(role)),
            8 => {
                let (grant, revoke) = (self.draw_lists(), self.draw_lists());
                AuthChange::AmendRole { name: role, grant, revoke }
            }
            _ => AuthChange::DeleteRole { name: role, from_users: self.chance.percent(50) },
        }
    }

    fn draw_password(&mut self) -> Option<PasswordHash> {
        self.chance.percent(60).then(|| PasswordHash::new(self.chance.next().to_string()))
    }

    fn draw_roles(&mut self) -> Vec<RoleName> {
        (0..self.chance.below(3)).map(|_| RoleName::new(*self.chance.pick(ROLES))).collect()
    }

    fn draw_lists(&mut self) -> RangeLists {
        let mut ranges = || (0..self.chance.below(3)).map(|_| self.draw_range()).collect();
        RangeLists { read: ranges(), write: ranges() }
    }
}

/// All users and roles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    users: BTreeMap<UserName, User>,
    roles: BTreeMap<RoleName, Role>,
}

impl From<&Auth> for People {
    fn from(auth: &Auth) -> Self {
        Self {
            users: auth.users().map(|user| (user.name.clone(), User::clone(user))).collect(),
            roles: auth.roles().map(|role| (role.name.clone(), Role::clone(role))).collect(),
        }
    }
}

impl People {
    /// Carries a change out, or says why not; then nothing has changed.
    pub fn change(&mut self, change: &AuthChange) -> Result<Outcome, Refusal> {
        let mut after = self.clone();
        let outcome = after.carry_out(change.clone()).map_err(Refusal::Auth)?;
        *self = after;
        Ok(outcome)
    }

    fn carry_out(&mut self, change: AuthChange) -> Result<Outcome, AuthRefusal> {
        match change {
            AuthChange::PutUser { name, password, .. } if self.users.contains_key(&name) => {
                self.amend_user(&name, password, &[], &[])
            }
            AuthChange::PutUser { name, password: None, .. } => Err(AuthRefusal::PasswordRequired(name)),
            AuthChange::PutUser { name, password, roles_listed } => {
                let is_root = name.as_str() == "root";
                let roles: BTreeSet<_> = is_root.then(|| RoleName::new("root")).into_iter().collect();
                let user = User { name: name.clone(), password, roles, roles_listed: roles_listed || is_root };
                self.users.insert(name, user.clone());
                Ok(Outcome::User { user: Box::new(user), created: true })
            }
            AuthChange::AmendUser { name, password, grant, revoke } => {
                self.amend_user(&name, password, &grant, &revoke)
            }
            AuthChange::DeleteUser(name) => {
                self.users.remove(&name).ok_or(AuthRefusal::UserNotFound(name))?;
                Ok(Outcome::Done)
            }
            AuthChange::GrantRole { user, role } => {
                let is_there = role.as_str() == ROOT || self.roles.contains_key(&role);
                let user = self.users.get_mut(&user).ok_or(AuthRefusal::UserNotFound(user))?;
                if !is_there {
                    return Err(AuthRefusal::RoleNotFound(role));
                }
                user.roles_listed |= user.roles.insert(role);
                Ok(Outcome::User { user: Box::new(user.clone()), created: false })
            }
            AuthChange::RevokeRole { user: name, role } => {
                let user = self.users.get_mut(&name).ok_or(AuthRefusal::UserNotFound(name.clone()))?;
                if !user.roles.remove(&role) {
                    return Err(AuthRefusal::RoleNotHeld { user: name, role });
                }
                user.roles_listed = true;
                Ok(Outcome::User { user: Box::new(user.clone()), created: false })
            }
            AuthChange::AddRole(role) if self.roles.contains_key(&role.name) => Err(AuthRefusal::RoleExists(role.name)),
            AuthChange::AddRole(role) => {
                self.roles.insert(role.name.clone(), role.clone());
                Ok(Outcome::Role(Box::new(role)))
            }
            AuthChange::AmendRole { name, grant, revoke } => self.amend_role(&name, &grant, &revoke),
            AuthChange::DeleteRole { name, from_users } => {
                self.roles.remove(&name).ok_or(AuthRefusal::RoleNotFound(name.clone()))?;
                for user in self.users.values_mut().filter(|_| from_users) {
                    user.roles_listed |= user.roles.remove(&name);
                }
                Ok(Outcome::Done)
            }
            other => unreachable!("no client asks for {other:?}"),
        }
    }

    fn amend_user(
        &mut self,
        name: &UserName,
        password: Option<PasswordHash>,
        grant: &[RoleName],
        revoke: &[RoleName],
    ) -> Result<Outcome, AuthRefusal> {
        let user = self.users.get_mut(name).ok_or(AuthRefusal::UserNotFound(name.clone()))?;
        if name.as_str() == "root" {
            user.roles.insert(RoleName::new("root"));
        }
        let before = (user.roles.clone(), user.roles_listed || !user.roles.is_empty(), user.password.clone());
        for role in grant {
            if !user.roles.insert(role.clone()) {
                return Err(AuthRefusal::RoleHeld { user: name.clone(), role: role.clone() });
            }
        }
        for role in revoke {
            if !user.roles.remove(role) {
                return Err(AuthRefusal::RoleNotHeld { user: name.clone(), role: role.clone() });
            }
        }
        let is_new_password = password.is_some();
        user.password = password.or(user.password.clone());
        user.roles_listed = true;
        if !is_new_password && before == (user.roles.clone(), true, user.password.clone()) {
            return Err(AuthRefusal::UserUnchanged(name.clone()));
        }
        Ok(Outcome::User { user: Box::new(user.clone()), created: false })
    }

    fn amend_role(&mut self, name: &RoleName, grant: &RangeLists, revoke: &RangeLists) -> Result<Outcome, AuthRefusal> {
        let role = self.roles.get_mut(name).ok_or(AuthRefusal::RoleNotFound(name.clone()))?;
        let sets = |role: &Role| {
            let RangeLists { read, write } = role.ranges();
            let set = |ranges: Vec<KeyRange>| ranges.into_iter().collect::<BTreeSet<_>>();
            [set(read), set(write)]
        };
        let before = sets(role);
        let was_listed = (role.listed.read || !before[0].is_empty()) && (role.listed.write || !before[1].is_empty());
        let mut after = before.clone();
        for (place, (grant, revoke)) in [(&grant.read, &revoke.read), (&grant.write, &revoke.write)].iter().enumerate()
        {
            for range in *grant {
                if !after[place].insert(range.clone()) {
                    let (role, range) = (name.clone(), range.clone());
                    return Err(AuthRefusal::Permitted { role, range, writing: place == 1 });
                }
            }
            after[place].retain(|range| !revoke.contains(range));
        }
        if was_listed && before == after {
            return Err(AuthRefusal::RoleUnchanged(name.clone()));
        }
        let all = after[0].union(&after[1]);
        let access = |range: &KeyRange| match after.each_ref().map(|set| set.contains(range)) {
            [true, true] => Access::ReadWrite,
            [true, false] => Access::Read,
            _ => Access::Write,
        };
        role.permissions = all.map(|range| (range.clone(), access(range))).collect();
        role.listed = Listed::BOTH;
        Ok(Outcome::Role(Box::new(role.clone())))
    }
}
