//! The generated services, each method of which calls the function that carries it out. Nothing is decided here.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::ask::Ask;
use super::pb::auth_server::Auth;
use super::pb::cluster_server::Cluster;
use super::pb::election::election_server::Election;
use super::pb::health::health_server::Health;
use super::pb::health::{HealthCheckRequest, HealthCheckResponse};
use super::pb::kv_server::Kv;
use super::pb::lease_server::Lease;
use super::pb::lock::lock_server::Lock;
use super::pb::maintenance_server::Maintenance;
use super::pb::watch_server::Watch;
use super::pb::{election, lock};
use super::{auth, cluster, health, kv, leader, lease, maintenance, pb, queue, txn, watch};
use crate::api::State;
use crate::service::Origin;

type Answer<T> = Result<Response<T>, Status>;
/// Answers as they come.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// All services, over one state.
#[derive(Debug, Clone)]
pub(super) struct Grpc(pub(super) State);

/// What a request asks for, and what surrounds it.
fn taken<T>(request: Request<T>) -> (Ask, T) {
    let (metadata, _, message) = request.into_parts();
    (Ask::of(metadata.as_ref()), message)
}

/// The same of a request that may watch.
fn taken_to_watch<T>(request: Request<T>) -> (Ask, T) {
    let origin = origin_of(&request);
    let (ask, message) = taken(request);
    (ask.by(origin), message)
}

/// Whose watches a request begins, as was said when it was passed on to here.
fn origin_of<T>(request: &Request<T>) -> Option<Arc<Origin>> {
    request.extensions().get().cloned()
}

#[async_trait]
impl Kv for Grpc {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Answer<pb::RangeResponse> {
        let (ask, request) = taken(request);
        kv::range(&self.0, &ask, request).await.map(Response::new)
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Answer<pb::PutResponse> {
        let (ask, request) = taken(request);
        kv::put(&self.0, &ask, request).await.map(Response::new)
    }

    async fn delete_range(&self, request: Request<pb::DeleteRangeRequest>) -> Answer<pb::DeleteRangeResponse> {
        let (ask, request) = taken(request);
        kv::delete_range(&self.0, &ask, request).await.map(Response::new)
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Answer<pb::TxnResponse> {
        let (ask, request) = taken(request);
        txn::txn(&self.0, &ask, request).await.map(Response::new)
    }

    async fn compact(&self, request: Request<pb::CompactionRequest>) -> Answer<pb::CompactionResponse> {
        let (ask, request) = taken(request);
        kv::compact(&self.0, &ask, request).await.map(Response::new)
    }
}

#[async_trait]
impl Watch for Grpc {
    type WatchStream = Answers<pb::WatchResponse>;

    async fn watch(&self, request: Request<Streaming<pb::WatchRequest>>) -> Answer<Self::WatchStream> {
        let is_led = leader::is_wanted(request.metadata().as_ref());
        let answers = watch::watch(self.0.clone(), origin_of(&request), request.into_inner());
        Ok(Response::new(leader::while_led(&self.0, is_led, answers)))
    }
}

#[async_trait]
impl Lease for Grpc {
    async fn lease_grant(&self, request: Request<pb::LeaseGrantRequest>) -> Answer<pb::LeaseGrantResponse> {
        let (ask, request) = taken(request);
        lease::grant(&self.0, &ask, request).await.map(Response::new)
    }

    async fn lease_revoke(&self, request: Request<pb::LeaseRevokeRequest>) -> Answer<pb::LeaseRevokeResponse> {
        let (ask, request) = taken(request);
        lease::revoke(&self.0, &ask, request).await.map(Response::new)
    }

    type LeaseKeepAliveStream = Answers<pb::LeaseKeepAliveResponse>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Answer<Self::LeaseKeepAliveStream> {
        let is_led = leader::is_wanted(request.metadata().as_ref());
        let answers = lease::keep_alive(self.0.clone(), request.into_inner());
        Ok(Response::new(leader::while_led(&self.0, is_led, answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Answer<pb::LeaseTimeToLiveResponse> {
        let (ask, request) = taken(request);
        lease::time_to_live(&self.0, &ask, request).await.map(Response::new)
    }

    async fn lease_leases(&self, request: Request<pb::LeaseLeasesRequest>) -> Answer<pb::LeaseLeasesResponse> {
        let (ask, request) = taken(request);
        lease::leases(&self.0, &ask, request).await.map(Response::new)
    }
}

#[async_trait]
impl Cluster for Grpc {
    async fn member_add(&self, request: Request<pb::MemberAddRequest>) -> Answer<pb::MemberAddResponse> {
        let (ask, request) = taken(request);
        cluster::add(&self.0, &ask, request).await.map(Response::new)
    }

    async fn member_remove(&self, request: Request<pb::MemberRemoveRequest>) -> Answer<pb::MemberRemoveResponse> {
        let (ask, request) = taken(request);
        cluster::remove(&self.0, &ask, request).await.map(Response::new)
    }

    async fn member_update(&self, request: Request<pb::MemberUpdateRequest>) -> Answer<pb::MemberUpdateResponse> {
        let (ask, request) = taken(request);
        cluster::update(&self.0, &ask, request).await.map(Response::new)
    }

    async fn member_list(&self, request: Request<pb::MemberListRequest>) -> Answer<pb::MemberListResponse> {
        let (ask, request) = taken(request);
        cluster::list(&self.0, &ask, request).await.map(Response::new)
    }

    async fn member_promote(&self, request: Request<pb::MemberPromoteRequest>) -> Answer<pb::MemberPromoteResponse> {
        let (ask, request) = taken(request);
        cluster::promote(&self.0, &ask, request).await.map(Response::new)
    }
}

#[async_trait]
impl Maintenance for Grpc {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Answer<pb::AlarmResponse> {
        maintenance::alarm(&self.0, request.get_ref()).map(Response::new)
    }

    async fn status(&self, _request: Request<pb::StatusRequest>) -> Answer<pb::StatusResponse> {
        Ok(Response::new(maintenance::status(&self.0)))
    }

    async fn defragment(&self, _request: Request<pb::DefragmentRequest>) -> Answer<pb::DefragmentResponse> {
        Ok(Response::new(maintenance::defragment()))
    }

    async fn hash(&self, request: Request<pb::HashRequest>) -> Answer<pb::HashResponse> {
        let (ask, _) = taken(request);
        maintenance::hash(&self.0, &ask).await.map(Response::new)
    }

    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Answer<pb::HashKvResponse> {
        let (ask, request) = taken(request);
        maintenance::hash_kv(&self.0, &ask, request).await.map(Response::new)
    }

    type SnapshotStream = Answers<pb::SnapshotResponse>;

    async fn snapshot(&self, request: Request<pb::SnapshotRequest>) -> Answer<Self::SnapshotStream> {
        let is_led = leader::is_wanted(request.metadata().as_ref());
        let (ask, _) = taken(request);
        let answers = maintenance::snapshot(&self.0, &ask).await?;
        Ok(Response::new(leader::while_led(&self.0, is_led, answers)))
    }

    async fn move_leader(&self, request: Request<pb::MoveLeaderRequest>) -> Answer<pb::MoveLeaderResponse> {
        let (ask, request) = taken(request);
        maintenance::move_leader(&self.0, &ask, request).await.map(Response::new)
    }

    async fn downgrade(&self, request: Request<pb::DowngradeRequest>) -> Answer<pb::DowngradeResponse> {
        maintenance::downgrade(request.get_ref()).map(Response::new)
    }
}

#[async_trait]
impl Lock for Grpc {
    async fn lock(&self, request: Request<lock::LockRequest>) -> Answer<lock::LockResponse> {
        let (ask, request) = taken_to_watch(request);
        queue::lock(&self.0, &ask, request).await.map(Response::new)
    }

    async fn unlock(&self, request: Request<lock::UnlockRequest>) -> Answer<lock::UnlockResponse> {
        let (ask, request) = taken(request);
        queue::unlock(&self.0, &ask, request).await.map(Response::new)
    }
}

#[async_trait]
impl Election for Grpc {
    async fn campaign(&self, request: Request<election::CampaignRequest>) -> Answer<election::CampaignResponse> {
        let (ask, request) = taken_to_watch(request);
        queue::campaign(&self.0, &ask, request).await.map(Response::new)
    }

    async fn proclaim(&self, request: Request<election::ProclaimRequest>) -> Answer<election::ProclaimResponse> {
        let (ask, request) = taken(request);
        queue::proclaim(&self.0, &ask, request).await.map(Response::new)
    }

    async fn leader(&self, request: Request<election::LeaderRequest>) -> Answer<election::LeaderResponse> {
        let (ask, request) = taken(request);
        queue::leader(&self.0, &ask, request).await.map(Response::new)
    }

    type ObserveStream = Answers<election::LeaderResponse>;

    async fn observe(&self, request: Request<election::LeaderRequest>) -> Answer<Self::ObserveStream> {
        let is_led = leader::is_wanted(request.metadata().as_ref());
        let (ask, request) = taken_to_watch(request);
        let answers = queue::observe(self.0.clone(), &ask, request).await?;
        Ok(Response::new(leader::while_led(&self.0, is_led, answers)))
    }

    async fn resign(&self, request: Request<election::ResignRequest>) -> Answer<election::ResignResponse> {
        let (ask, request) = taken(request);
        queue::resign(&self.0, &ask, request).await.map(Response::new)
    }
}

#[async_trait]
impl Auth for Grpc {
    async fn auth_enable(&self, request: Request<pb::AuthEnableRequest>) -> Answer<pb::AuthEnableResponse> {
        let (ask, _) = taken(request);
        auth::enable(&self.0, &ask).await.map(Response::new)
    }

    async fn auth_disable(&self, _request: Request<pb::AuthDisableRequest>) -> Answer<pb::AuthDisableResponse> {
        Ok(Response::new(auth::disable(&self.0)))
    }

    async fn auth_status(&self, _request: Request<pb::AuthStatusRequest>) -> Answer<pb::AuthStatusResponse> {
        Ok(Response::new(auth::status(&self.0)))
    }

    async fn authenticate(&self, _request: Request<pb::AuthenticateRequest>) -> Answer<pb::AuthenticateResponse> {
        auth::authenticate().map(Response::new)
    }

    async fn user_add(&self, request: Request<pb::AuthUserAddRequest>) -> Answer<pb::AuthUserAddResponse> {
        let (ask, request) = taken(request);
        auth::add_user(&self.0, &ask, request).await.map(Response::new)
    }

    async fn user_get(&self, request: Request<pb::AuthUserGetRequest>) -> Answer<pb::AuthUserGetResponse> {
        let (ask, request) = taken(request);
        auth::user(&self.0, &ask, request).await.map(Response::new)
    }

    async fn user_list(&self, request: Request<pb::AuthUserListRequest>) -> Answer<pb::AuthUserListResponse> {
        let (ask, _) = taken(request);
        auth::users(&self.0, &ask).await.map(Response::new)
    }

    async fn user_delete(&self, request: Request<pb::AuthUserDeleteRequest>) -> Answer<pb::AuthUserDeleteResponse> {
        let (ask, request) = taken(request);
        auth::delete_user(&self.0, &ask, request).await.map(Response::new)
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Answer<pb::AuthUserChangePasswordResponse> {
        let (ask, request) = taken(request);
        auth::change_password(&self.0, &ask, request).await.map(Response::new)
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Answer<pb::AuthUserGrantRoleResponse> {
        let (ask, request) = taken(request);
        auth::grant_role(&self.0, &ask, request).await.map(Response::new)
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Answer<pb::AuthUserRevokeRoleResponse> {
        let (ask, request) = taken(request);
        auth::revoke_role(&self.0, &ask, request).await.map(Response::new)
    }

    async fn role_add(&self, request: Request<pb::AuthRoleAddRequest>) -> Answer<pb::AuthRoleAddResponse> {
        let (ask, request) = taken(request);
        auth::add_role(&self.0, &ask, request).await.map(Response::new)
    }

    async fn role_get(&self, request: Request<pb::AuthRoleGetRequest>) -> Answer<pb::AuthRoleGetResponse> {
        let (ask, request) = taken(request);
        auth::role(&self.0, &ask, request).await.map(Response::new)
    }

    async fn role_list(&self, request: Request<pb::AuthRoleListRequest>) -> Answer<pb::AuthRoleListResponse> {
        let (ask, _) = taken(request);
        auth::roles(&self.0, &ask).await.map(Response::new)
    }

    async fn role_delete(&self, request: Request<pb::AuthRoleDeleteRequest>) -> Answer<pb::AuthRoleDeleteResponse> {
        let (ask, request) = taken(request);
        auth::delete_role(&self.0, &ask, request).await.map(Response::new)
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Answer<pb::AuthRoleGrantPermissionResponse> {
        let (ask, request) = taken(request);
        auth::grant_permission(&self.0, &ask, request).await.map(Response::new)
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Answer<pb::AuthRoleRevokePermissionResponse> {
        let (ask, request) = taken(request);
        auth::revoke_permission(&self.0, &ask, request).await.map(Response::new)
    }
}

#[async_trait]
impl Health for Grpc {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Answer<HealthCheckResponse> {
        health::check(&self.0, request.get_ref()).map(Response::new)
    }

    type WatchStream = Answers<HealthCheckResponse>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Answer<Self::WatchStream> {
        Ok(Response::new(Box::pin(health::watch(self.0.clone(), request.into_inner()))))
    }
}
