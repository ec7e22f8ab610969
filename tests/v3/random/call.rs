//! Calls that have one answer: each method with its request, its path in JSON and its client.

use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::fields::Fields;
use super::spell::{Spelling, spelled};
use super::visitors::{Number, Options, Read, Resolve, Show, Without};
use crate::{V3, pb};
use pb::auth_client::AuthClient;

/// A method a row: its name, its request and answer, its client and how that calls it, and its path in JSON.
macro_rules! calls {
    ($($name:ident: $request:ty => $answer:ty, $client:ident $method:ident, $path:literal;)*) => {
        /// A request.
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) enum Call {
            $($name($request)),*
        }

        /// What comes of one.
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) enum Reply {
            $($name($answer)),*
        }

        impl Call {
            pub(crate) fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),* }
            }

            pub(crate) fn path(&self) -> &'static str {
                match self { $(Self::$name(_) => $path),* }
            }

            /// The call that [`Self::shown`] shows.
            pub(crate) fn read(name: &str, value: Value) -> Self {
                match name {
                    $(stringify!($name) => Self::$name(Read::message(value)),)*
                    _ => panic!("no call: {name}"),
                }
            }

            /// Its request as it stands in a regression.
            pub(crate) fn shown(&self) -> Value {
                let mut show = Show::default();
                match self.clone() { $(Self::$name(mut request) => request.visit(&mut show)),* }
                Value::Object(show.0)
            }

            pub(crate) fn options(&self) -> Options {
                let mut options = Options::default();
                match self.clone() { $(Self::$name(mut request) => request.visit(&mut options)),* }
                options
            }

            /// The same with numbers put in.
            pub(crate) fn resolved(&self, number: impl Fn(Number) -> i64) -> Self {
                let (mut resolved, mut resolve) = (self.clone(), Resolve(number));
                match &mut resolved { $(Self::$name(request) => request.visit(&mut resolve)),* }
                resolved
            }

            /// Those that are simpler by one thing.
            pub(crate) fn simpler(&self) -> Vec<Self> {
                let without = |before| {
                    let (mut simpler, mut without) = (self.clone(), Without::new(before));
                    match &mut simpler { $(Self::$name(request) => request.visit(&mut without)),* }
                    without.is_done.then_some(simpler)
                };
                (0..).map_while(without).collect()
            }

            /// Its request as JSON for the gateway.
            pub(crate) fn json(&self, spelling: Spelling) -> String {
                match self.clone() { $(Self::$name(mut request) => spelled(&mut request, spelling)),* }
            }

            /// Calls over gRPC.
            pub(crate) async fn call(self, v3: &V3) -> Result<Reply, Status> {
                match self {
                    $(Self::$name(request) => v3.$client().$method(request).await.map(Response::into_inner).map(Reply::$name)),*
                }
            }
        }

        impl Reply {
            pub(crate) fn header(&mut self) -> &mut Option<pb::ResponseHeader> {
                match self { $(Self::$name(answer) => &mut answer.header),* }
            }
        }
    };
}

calls! {
    Range: pb::RangeRequest => pb::RangeResponse, kv range, "/kv/range";
    Put: pb::PutRequest => pb::PutResponse, kv put, "/kv/put";
    DeleteRange: pb::DeleteRangeRequest => pb::DeleteRangeResponse, kv delete_range, "/kv/deleterange";
    Txn: pb::TxnRequest => pb::TxnResponse, kv txn, "/kv/txn";
    Compact: pb::CompactionRequest => pb::CompactionResponse, kv compact, "/kv/compaction";
    LeaseGrant: pb::LeaseGrantRequest => pb::LeaseGrantResponse, lease lease_grant, "/lease/grant";
    LeaseRevoke: pb::LeaseRevokeRequest => pb::LeaseRevokeResponse, lease lease_revoke, "/lease/revoke";
    LeaseTimeToLive: pb::LeaseTimeToLiveRequest => pb::LeaseTimeToLiveResponse, lease lease_time_to_live, "/lease/timetolive";
    LeaseLeases: pb::LeaseLeasesRequest => pb::LeaseLeasesResponse, lease lease_leases, "/lease/leases";
    MemberList: pb::MemberListRequest => pb::MemberListResponse, cluster member_list, "/cluster/member/list";
    Lock: pb::lock::LockRequest => pb::lock::LockResponse, locks lock, "/lock/lock";
    Unlock: pb::lock::UnlockRequest => pb::lock::UnlockResponse, locks unlock, "/lock/unlock";
    Campaign: pb::election::CampaignRequest => pb::election::CampaignResponse, elections campaign, "/election/campaign";
    Proclaim: pb::election::ProclaimRequest => pb::election::ProclaimResponse, elections proclaim, "/election/proclaim";
    Leader: pb::election::LeaderRequest => pb::election::LeaderResponse, elections leader, "/election/leader";
    Resign: pb::election::ResignRequest => pb::election::ResignResponse, elections resign, "/election/resign";
    AuthDisable: pb::AuthDisableRequest => pb::AuthDisableResponse, auth auth_disable, "/auth/disable";
    Authenticate: pb::AuthenticateRequest => pb::AuthenticateResponse, auth authenticate, "/auth/authenticate";
    UserAdd: pb::AuthUserAddRequest => pb::AuthUserAddResponse, auth user_add, "/auth/user/add";
    UserGet: pb::AuthUserGetRequest => pb::AuthUserGetResponse, auth user_get, "/auth/user/get";
    UserList: pb::AuthUserListRequest => pb::AuthUserListResponse, auth user_list, "/auth/user/list";
    UserDelete: pb::AuthUserDeleteRequest => pb::AuthUserDeleteResponse, auth user_delete, "/auth/user/delete";
    UserChangePassword: pb::AuthUserChangePasswordRequest => pb::AuthUserChangePasswordResponse, auth user_change_password, "/auth/user/changepw";
    UserGrantRole: pb::AuthUserGrantRoleRequest => pb::AuthUserGrantRoleResponse, auth user_grant_role, "/auth/user/grant";
    UserRevokeRole: pb::AuthUserRevokeRoleRequest => pb::AuthUserRevokeRoleResponse, auth user_revoke_role, "/auth/user/revoke";
    RoleAdd: pb::AuthRoleAddRequest => pb::AuthRoleAddResponse, auth role_add, "/auth/role/add";
    RoleGet: pb::AuthRoleGetRequest => pb::AuthRoleGetResponse, auth role_get, "/auth/role/get";
    RoleList: pb::AuthRoleListRequest => pb::AuthRoleListResponse, auth role_list, "/auth/role/list";
    RoleDelete: pb::AuthRoleDeleteRequest => pb::AuthRoleDeleteResponse, auth role_delete, "/auth/role/delete";
    RoleGrantPermission: pb::AuthRoleGrantPermissionRequest => pb::AuthRoleGrantPermissionResponse, auth role_grant_permission, "/auth/role/grant";
    RoleRevokePermission: pb::AuthRoleRevokePermissionRequest => pb::AuthRoleRevokePermissionResponse, auth role_revoke_permission, "/auth/role/revoke";
}

impl V3 {
    pub(crate) fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.0.clone())
    }
}
