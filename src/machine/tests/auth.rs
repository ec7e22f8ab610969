//! Claims about users and roles.

use std::collections::BTreeSet;

use super::bed::*;
use crate::machine::{Restore, SnapshotSource, StateMachine};
use crate::model::auth::ROOT;
use crate::model::{
    Access, AuthChange, AuthRefusal, Command, KeyRange, Listed, Outcome, PasswordHash, RangeLists, Refusal, Role,
    RoleName, User, UserName, limits,
};
use crate::storage::Engine;
use crate::storage::memory::MemoryEngine;

fn user(name: &str) -> UserName {
    UserName::new(name)
}

fn role(name: &str) -> RoleName {
    RoleName::new(name)
}

fn roles(names: &[&str]) -> Vec<RoleName> {
    names.iter().map(|name| role(name)).collect()
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash::new(text)
}

fn add(name: &str, roles: &[&str]) -> AuthChange {
    let roles = roles.iter().map(|name| role(name)).collect();
    AuthChange::AddUser(User { name: user(name), password: Some(hash("1")), roles, roles_listed: true })
}

fn amend(name: &str, grant: &[&str], revoke: &[&str]) -> AuthChange {
    AuthChange::AmendUser { name: user(name), password: None, grant: roles(grant), revoke: roles(revoke) }
}

pub(super) fn put_user(name: &str, password: Option<&str>) -> AuthChange {
    AuthChange::PutUser { name: user(name), password: password.map(hash), roles_listed: false }
}

pub(super) fn add_role(name: &str) -> AuthChange {
    AuthChange::AddRole(Role::new(role(name)))
}

fn lists(read: &[&str], write: &[&str]) -> RangeLists {
    let ranges = |texts: &[&str]| texts.iter().map(|text| prefix(text)).collect();
    RangeLists { read: ranges(read), write: ranges(write) }
}

fn amend_role(name: &str, grant: RangeLists, revoke: RangeLists) -> AuthChange {
    AuthChange::AmendRole { name: role(name), grant, revoke }
}

impl Bed {
    fn auth(&mut self, change: AuthChange) -> Outcome {
        self.ok(Command::ChangeAuth(change))
    }

    /// The refusal of a change, which has changed nothing.
    fn auth_refused(&mut self, change: AuthChange) -> AuthRefusal {
        let before = self.machine.auth().clone();
        let refusal = self.refused(Command::ChangeAuth(change));
        assert_eq!(*self.machine.auth(), before);
        match refusal {
            Refusal::Auth(refusal) => refusal,
            other => panic!("not about users: {other:?}"),
        }
    }

    fn roles_of(&self, name: &str) -> Vec<String> {
        let auth = self.machine.auth();
        auth.user(name).unwrap().roles.iter().map(ToString::to_string).collect()
    }

    fn password_of(&self, name: &str) -> Option<String> {
        self.machine.auth().user(name).unwrap().password.as_ref().map(|hash| hash.as_str().to_owned())
    }
}

/// A state with users and roles of all sorts.
fn peopled() -> Bed {
    let mut bed = Bed::new();
    bed.auth(put_user("ann", Some("1")));
    bed.auth(add("bob", &["dev", "ops"]));
    bed.auth(AuthChange::AddUser(User {
        name: user("cat"),
        password: None,
        roles: BTreeSet::new(),
        roles_listed: false,
    }));
    bed.auth(add_role("dev"));
    bed.auth(amend_role("dev", lists(&["/a/", "/b/"], &["/a/"]), RangeLists::default()));
    bed
}

#[test]
fn users_and_roles_make_no_revision_and_change_both_digests() {
    let mut bed = Bed::new();
    for change in [put_user("ann", Some("1")), add_role("dev"), amend("ann", &["dev"], &[])] {
        let before = (bed.machine.digest(), bed.content());
        bed.auth(change);
        assert_eq!(bed.revision(), 1);
        assert!(bed.machine.digest() != before.0 && bed.content() != before.1);
        assert!(bed.events().is_empty());
    }
}

#[test]
fn a_user_is_made_once_has_its_password_set_and_is_gone() {
    let mut bed = Bed::new();
    let made = bed.auth(put_user("ann", Some("1")));
    assert!(matches!(made, Outcome::User { created: true, .. }));
    assert_eq!(bed.auth_refused(add("ann", &[])), AuthRefusal::UserExists(user("ann")));
    let set = bed.auth(put_user("ann", Some("2")));
    assert!(matches!(set, Outcome::User { created: false, .. }));
    bed.auth(AuthChange::SetPassword { name: user("ann"), password: hash("3") });
    assert_eq!(bed.password_of("ann").as_deref(), Some("3"));
    bed.auth(AuthChange::DeleteUser(user("ann")));
    for change in [
        AuthChange::DeleteUser(user("ann")),
        AuthChange::SetPassword { name: user("ann"), password: hash("3") },
        amend("ann", &["dev"], &[]),
    ] {
        assert_eq!(bed.auth_refused(change), AuthRefusal::UserNotFound(user("ann")));
    }
    assert_eq!(bed.auth_refused(put_user("ann", None)), AuthRefusal::PasswordRequired(user("ann")));
}

#[test]
fn one_without_a_password_stays_without_where_v3_sets_it() {
    let mut bed = peopled();
    bed.auth(AuthChange::SetPassword { name: user("cat"), password: hash("1") });
    assert_eq!(bed.password_of("cat"), None);
    bed.auth(put_user("cat", Some("1")));
    assert_eq!(bed.password_of("cat").as_deref(), Some("1"));
}

#[test]
fn v2_amends_a_user_all_at_once_or_not_at_all() {
    let mut bed = peopled();
    bed.auth(amend("bob", &["new", "old"], &["ops", "new"]));
    assert_eq!(bed.roles_of("bob"), ["dev", "old"]);
    let held = AuthRefusal::RoleHeld { user: user("bob"), role: role("dev") };
    assert_eq!(bed.auth_refused(amend("bob", &["x", "dev"], &["old"])), held);
    let twice = AuthRefusal::RoleHeld { user: user("bob"), role: role("x") };
    assert_eq!(bed.auth_refused(amend("bob", &["x", "x"], &[])), twice);
    let not_held = AuthRefusal::RoleNotHeld { user: user("bob"), role: role("x") };
    assert_eq!(bed.auth_refused(amend("bob", &["new"], &["x"])), not_held);
    assert_eq!(bed.auth_refused(amend("bob", &["x"], &["x"])), AuthRefusal::UserUnchanged(user("bob")));
    let both = AuthChange::AmendUser {
        name: user("bob"),
        password: Some(hash("9")),
        grant: Vec::new(),
        revoke: roles(&["old"]),
    };
    bed.auth(both);
    assert_eq!((bed.roles_of("bob"), bed.password_of("bob").unwrap()), (vec!["dev".to_owned()], "9".to_owned()));
}

#[test]
fn in_v2_that_no_roles_were_listed_is_a_change_once() {
    let mut bed = peopled();
    bed.auth(put_user("ann", None));
    assert_eq!(bed.auth_refused(put_user("ann", None)), AuthRefusal::UserUnchanged(user("ann")));
    bed.auth(add_role("r"));
    bed.auth(amend_role("r", RangeLists::default(), lists(&["/x"], &[])));
    assert_eq!(bed.machine.auth().role("r").unwrap().listed, Listed::BOTH);
    let again = amend_role("r", RangeLists::default(), lists(&["/x"], &[]));
    assert_eq!(bed.auth_refused(again), AuthRefusal::RoleUnchanged(role("r")));
}

#[test]
fn in_v2_root_has_its_role_whatever_is_stored() {
    let mut bed = Bed::new();
    bed.auth(put_user(ROOT, Some("1")));
    assert_eq!(bed.roles_of(ROOT), [ROOT]);
    assert!(matches!(bed.auth_refused(amend(ROOT, &[ROOT], &[])), AuthRefusal::RoleHeld { .. }));
    for _ in 0..2 {
        bed.auth(amend(ROOT, &[], &[ROOT]));
        assert!(bed.roles_of(ROOT).is_empty());
    }
    assert_eq!(bed.auth_refused(put_user(ROOT, None)), AuthRefusal::UserUnchanged(user(ROOT)));
    assert_eq!(bed.machine.auth().user(ROOT).unwrap().roles_in_v2(), BTreeSet::from([role(ROOT)]));
}

#[test]
fn in_v3_a_role_that_is_granted_exists_and_goes_from_its_users_with_it() {
    let mut bed = peopled();
    let grant = |name: &str, of: &str| AuthChange::GrantRole { user: user(name), role: role(of) };
    let revoke = |name: &str, of: &str| AuthChange::RevokeRole { user: user(name), role: role(of) };
    assert_eq!(bed.auth_refused(grant("ann", "none")), AuthRefusal::RoleNotFound(role("none")));
    assert_eq!(bed.auth_refused(grant("none", "dev")), AuthRefusal::UserNotFound(user("none")));
    // Whoever may do everything can be said before there is such a role.
    bed.auth(grant("ann", "root"));
    bed.auth(revoke("ann", "root"));
    bed.auth(grant("ann", "dev"));
    let digest = bed.machine.digest();
    bed.auth(grant("ann", "dev"));
    assert_eq!(bed.machine.digest(), digest, "it has it already");
    assert_eq!(
        bed.auth_refused(revoke("ann", "ops")),
        AuthRefusal::RoleNotHeld { user: user("ann"), role: role("ops") }
    );
    bed.auth(revoke("ann", "dev"));
    bed.auth(grant("ann", "dev"));
    bed.auth(AuthChange::DeleteRole { name: role("dev"), from_users: true });
    assert_eq!((bed.roles_of("ann"), bed.roles_of("bob")), (Vec::new(), vec!["ops".to_owned()]));
    let gone = AuthChange::DeleteRole { name: role("dev"), from_users: true };
    assert_eq!(bed.auth_refused(gone), AuthRefusal::RoleNotFound(role("dev")));
}

#[test]
fn in_v2_users_keep_the_name_of_a_role_that_is_deleted() {
    let mut bed = peopled();
    bed.auth(AuthChange::DeleteRole { name: role("dev"), from_users: false });
    assert_eq!(bed.roles_of("bob"), ["dev", "ops"]);
    assert!(bed.machine.auth().role("dev").is_none());
}

#[test]
fn v2_lists_reading_and_writing_apart() {
    let mut bed = peopled();
    let access = |bed: &Bed, at: &str| bed.machine.auth().role("dev").unwrap().permissions.get(&prefix(at)).copied();
    assert_eq!((access(&bed, "/a/"), access(&bed, "/b/")), (Some(Access::ReadWrite), Some(Access::Read)));
    bed.auth(amend_role("dev", lists(&[], &["/b/"]), lists(&["/a/", "/b/", "/none/"], &[])));
    assert_eq!((access(&bed, "/a/"), access(&bed, "/b/")), (Some(Access::Write), Some(Access::Write)));
    for (grant, writing) in [(lists(&["/c/"], &["/a/"]), true), (lists(&["/d/", "/d/"], &[]), false)] {
        let refusal = bed.auth_refused(amend_role("dev", grant, lists(&[], &["/a/"])));
        assert!(matches!(refusal, AuthRefusal::Permitted { writing: found, .. } if found == writing), "{refusal:?}");
    }
    bed.auth(amend_role("dev", lists(&[], &["/c/"]), lists(&[], &["/a/", "/c/"])));
    assert_eq!((access(&bed, "/a/"), access(&bed, "/c/")), (None, None));
    let same = amend_role("dev", lists(&["/c/"], &[]), lists(&["/c/"], &[]));
    assert_eq!(bed.auth_refused(same), AuthRefusal::RoleUnchanged(role("dev")));
}

#[test]
fn v3_permits_by_exact_ranges_the_last_word_counting() {
    let mut bed = peopled();
    let range = KeyRange::new("/a", Some("/c".into()));
    let grant = |access| AuthChange::GrantPermission { role: role("dev"), range: range.clone(), access };
    bed.auth(grant(Access::ReadWrite));
    bed.auth(grant(Access::Write));
    assert_eq!(bed.machine.auth().role("dev").unwrap().permissions.get(&range), Some(&Access::Write));
    let revoke = || AuthChange::RevokePermission { role: role("dev"), range: range.clone() };
    bed.auth(revoke());
    assert_eq!(bed.auth_refused(revoke()), AuthRefusal::NotPermitted(role("dev")));
    let none = AuthChange::RevokePermission { role: role("none"), range: range.clone() };
    assert_eq!(bed.auth_refused(none), AuthRefusal::RoleNotFound(role("none")));
}

#[test]
fn there_are_bounds_on_how_many() {
    let mut bed = Bed::new();
    let proposals: Vec<_> =
        (0..limits::MAX_USERS).map(|n| bed.proposal(Command::ChangeAuth(add(&n.to_string(), &[])))).collect();
    assert!(bed.apply(proposals).iter().all(|reply| reply.result.is_ok()));
    assert_eq!(bed.auth_refused(add("one more", &[])), AuthRefusal::TooManyUsers);
    assert_eq!(bed.auth_refused(put_user("one more", Some("1"))), AuthRefusal::TooManyUsers);
    bed.auth(put_user("7", Some("2")));
    for n in 0..limits::MAX_ROLES {
        bed.auth(add_role(&n.to_string()));
    }
    assert_eq!(bed.auth_refused(add_role("one more")), AuthRefusal::TooManyRoles);
    let many: Vec<_> = (0..=limits::MAX_USER_ROLES).map(|n| n.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(bed.auth_refused(amend("7", &many, &[])), AuthRefusal::TooManyUserRoles);
    bed.auth(amend("7", &many[1..], &[]));
    let one_more = AuthChange::GrantRole { user: user("7"), role: role("0") };
    assert_eq!(bed.auth_refused(one_more), AuthRefusal::TooManyUserRoles);
    let many: Vec<_> = (0..=limits::MAX_ROLE_PERMISSIONS).map(|n| n.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let grant = amend_role("7", lists(&many, &[]), RangeLists::default());
    assert_eq!(bed.auth_refused(grant), AuthRefusal::TooManyPermissions);
    let long = "k".repeat(limits::MAX_ROLE_BYTES / 2);
    let grant = AuthChange::GrantPermission { role: role("7"), range: prefix(&long), access: Access::Read };
    bed.auth(grant);
    let grant = AuthChange::GrantPermission { role: role("7"), range: prefix("k"), access: Access::Read };
    assert_eq!(bed.auth_refused(grant), AuthRefusal::TooManyPermissions);
}

#[test]
fn users_and_roles_outlive_a_restart_and_travel_in_a_snapshot() {
    let mut bed = peopled();
    bed.ok(put("/a", "1"));
    bed.auth(AuthChange::DeleteUser(user("ann")));
    bed.auth(add_role("gone"));
    bed.auth(AuthChange::DeleteRole { name: role("gone"), from_users: false });
    let auth = bed.machine.auth().clone();
    let reopened = StateMachine::open(bed.machine.engine().crash(usize::MAX)).unwrap();
    assert_eq!(*reopened.auth(), auth);
    let source = SnapshotSource::open(bed.machine.engine().snapshot()).unwrap();
    let engine = MemoryEngine::new();
    let mut restore = Restore::new(engine.clone()).unwrap();
    for chunk in source.chunks() {
        restore.push(&chunk.unwrap()).unwrap();
    }
    restore.finish().unwrap();
    let copy = Bed::on(engine);
    assert_eq!(*copy.machine.auth(), auth);
    assert_eq!((copy.machine.digest(), copy.content()), (bed.machine.digest(), bed.content()));
}

#[test]
fn who_reads_keeps_the_state_that_was() {
    let mut bed = peopled();
    let before = std::sync::Arc::clone(bed.machine.auth());
    bed.auth(AuthChange::DeleteUser(user("ann")));
    assert!(before.user("ann").is_some() && bed.machine.auth().user("ann").is_none());
}

#[test]
fn nobody_is_shown_what_is_kept_of_a_password() {
    let bed = peopled();
    let shown = format!("{:?}", bed.machine.auth().user("ann"));
    assert!(shown.contains("PasswordHash(…)") && !shown.contains("\"1\""), "{shown}");
}
