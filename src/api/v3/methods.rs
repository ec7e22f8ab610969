//! Which methods are served, each with its counters. What is not in this list is not there: it is neither answered nor
//! described.

use std::sync::OnceLock;
use std::time::Duration;

use axum::response::Response;
use tonic::{Code, Status};

use super::errors::http_status;
use crate::api::State;
use crate::observe::RouteMetrics;

/// Who answers a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    Kv,
    Watch,
    Lease,
    Cluster,
    Maintenance,
    Lock,
    Election,
    Auth,
    Health,
    Reflection,
    /// By the name that older tools know it by.
    OldReflection,
}

/// `/service/method`, service by service.
const METHODS: &[(Home, &str)] = &[
    (Home::Kv, "/etcdserverpb.KV/Range"),
    (Home::Kv, "/etcdserverpb.KV/Put"),
    (Home::Kv, "/etcdserverpb.KV/DeleteRange"),
    (Home::Kv, "/etcdserverpb.KV/Txn"),
    (Home::Kv, "/etcdserverpb.KV/Compact"),
    (Home::Watch, "/etcdserverpb.Watch/Watch"),
    (Home::Lease, "/etcdserverpb.Lease/LeaseGrant"),
    (Home::Lease, "/etcdserverpb.Lease/LeaseRevoke"),
    (Home::Lease, "/etcdserverpb.Lease/LeaseKeepAlive"),
    (Home::Lease, "/etcdserverpb.Lease/LeaseTimeToLive"),
    (Home::Lease, "/etcdserverpb.Lease/LeaseLeases"),
    (Home::Cluster, "/etcdserverpb.Cluster/MemberAdd"),
    (Home::Cluster, "/etcdserverpb.Cluster/MemberRemove"),
    (Home::Cluster, "/etcdserverpb.Cluster/MemberUpdate"),
    (Home::Cluster, "/etcdserverpb.Cluster/MemberList"),
    (Home::Cluster, "/etcdserverpb.Cluster/MemberPromote"),
    (Home::Maintenance, "/etcdserverpb.Maintenance/Alarm"),
    (Home::Maintenance, "/etcdserverpb.Maintenance/Status"),
    (Home::Maintenance, "/etcdserverpb.Maintenance/Defragment"),
    (Home::Maintenance, "/etcdserverpb.Maintenance/Hash"),
    (Home::Maintenance, "/etcdserverpb.Maintenance/HashKV"),
    (Home::Maintenance, "/etcdserverpb.Maintenance/Snapshot"),
    (Home::Maintenance, "/etcdserverpb.Maintenance/MoveLeader"),
    (Home::Maintenance, "/etcdserverpb.Maintenance/Downgrade"),
    (Home::Lock, "/v3lockpb.Lock/Lock"),
    (Home::Lock, "/v3lockpb.Lock/Unlock"),
    (Home::Election, "/v3electionpb.Election/Campaign"),
    (Home::Election, "/v3electionpb.Election/Proclaim"),
    (Home::Election, "/v3electionpb.Election/Leader"),
    (Home::Election, "/v3electionpb.Election/Observe"),
    (Home::Election, "/v3electionpb.Election/Resign"),
    (Home::Auth, "/etcdserverpb.Auth/AuthEnable"),
    (Home::Auth, "/etcdserverpb.Auth/AuthDisable"),
    (Home::Auth, "/etcdserverpb.Auth/AuthStatus"),
    (Home::Auth, "/etcdserverpb.Auth/Authenticate"),
    (Home::Auth, "/etcdserverpb.Auth/UserAdd"),
    (Home::Auth, "/etcdserverpb.Auth/UserGet"),
    (Home::Auth, "/etcdserverpb.Auth/UserList"),
    (Home::Auth, "/etcdserverpb.Auth/UserDelete"),
    (Home::Auth, "/etcdserverpb.Auth/UserChangePassword"),
    (Home::Auth, "/etcdserverpb.Auth/UserGrantRole"),
    (Home::Auth, "/etcdserverpb.Auth/UserRevokeRole"),
    (Home::Auth, "/etcdserverpb.Auth/RoleAdd"),
    (Home::Auth, "/etcdserverpb.Auth/RoleGet"),
    (Home::Auth, "/etcdserverpb.Auth/RoleList"),
    (Home::Auth, "/etcdserverpb.Auth/RoleDelete"),
    (Home::Auth, "/etcdserverpb.Auth/RoleGrantPermission"),
    (Home::Auth, "/etcdserverpb.Auth/RoleRevokePermission"),
    (Home::Health, "/grpc.health.v1.Health/Check"),
    (Home::Health, "/grpc.health.v1.Health/Watch"),
    (Home::Reflection, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
    (Home::OldReflection, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
];

/// The names of the services, each once.
pub(super) fn services() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    METHODS
        .iter()
        .filter_map(|(_, path)| service_of(path))
        .filter(move |name| std::mem::replace(&mut last, name) != *name)
}

/// Whether there is a service of this name.
pub(super) fn is_service(name: &str) -> bool {
    services().any(|service| service == name)
}

fn service_of(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.rsplit_once('/').map(|(service, _)| service)
}

/// A method that is served.
#[derive(Debug)]
pub(crate) struct Method {
    home: Home,
    path: &'static str,
    state: State,
    /// There once it has been called.
    counters: OnceLock<RouteMetrics>,
}

impl Method {
    /// All of them.
    pub(super) fn all(state: &State) -> Vec<Self> {
        let method = |(home, path): &(Home, &'static str)| Self {
            home: *home,
            path,
            state: state.clone(),
            counters: OnceLock::new(),
        };
        METHODS.iter().map(method).collect()
    }

    /// Who answers it.
    pub(super) fn home(&self) -> Home {
        self.home
    }

    /// Whether it answers when it is the client's turn, however long that takes.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.path, "/v3lockpb.Lock/Lock" | "/v3electionpb.Election/Campaign")
    }

    /// Whether it may watch, of its own or for the client's turn.
    pub(crate) fn watches(&self) -> bool {
        matches!(self.home, Home::Watch) || self.waits() || self.path == "/v3electionpb.Election/Observe"
    }

    /// Whether it has one answer, that may be as large as what is stored.
    pub(super) fn may_answer_at_length(&self) -> bool {
        self.home == Home::Kv
            || matches!(self.path, "/etcdserverpb.Lease/LeaseTimeToLive" | "/etcdserverpb.Lease/LeaseLeases")
    }

    /// `/service/method`.
    pub(crate) fn path(&self) -> &'static str {
        self.path
    }

    /// Counts an answer by the status that its code would be over HTTP. A stream counts when it begins.
    pub(crate) fn observe(&self, response: &Response, took: Duration) {
        let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
        let counters = self.counters.get_or_init(|| self.state.metrics().http.route(self.path, &http::Method::POST));
        counters.observe(http_status(code), took);
    }
}

/// What is answered where there is no such method, in the words of gRPC for Go.
pub(super) fn unknown(path: &str) -> Status {
    match path.strip_prefix('/').unwrap_or(path).rsplit_once('/') {
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
        Some((service, method)) if is_service(service) => {
            Status::unimplemented(format!("unknown method {method} for service {service}"))
        }
        Some((service, _)) => Status::unimplemented(format!("unknown service {service}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_is_named_once() {
        let mut names: Vec<_> = services().collect();
        assert_eq!(names.first(), Some(&"etcdserverpb.KV"));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn what_is_not_there_is_said_as_go_says_it() {
        let told = |path| unknown(path).message().to_owned();
        assert_eq!(told("/etcdserverpb.KV/Nope"), "unknown method Nope for service etcdserverpb.KV");
        assert_eq!(told("/nope.Nope/Nope"), "unknown service nope.Nope");
        assert_eq!(told("/nope"), "malformed method name: \"/nope\"");
    }
}
