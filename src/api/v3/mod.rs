//! The dialect of etcd's v3 API: which requests are of gRPC, and who answers which method.
//!
//! Each method is a function of a state and a message (`kv`, `txn`, `watch`, `lease`, `cluster`, `maintenance`, `auth`,
//! `queue`); `grpc` calls them for gRPC, and `gateway` calls that for JSON. What a request asks for is carried out by the service; what
//! etcd answers, codes and texts of errors included, is the contract.

mod ask;
mod auth;
mod body;
mod cluster;
mod convert;
mod errors;
mod gateway;
mod grpc;
mod health;
mod kv;
mod leader;
mod lease;
mod maintenance;
mod message;
mod methods;
mod pb;
mod queue;
mod reflection;
mod txn;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, Method as HttpMethod, Version};
use tonic::Status;
use tower::Service as _;

pub(crate) use gateway::{Path, answer as answer_json, is_addressed, pattern};
pub(crate) use methods::Method;

use super::State;
use super::origin::origin;
use crate::service::{Carrier, Origin};
use body::Bounded;
use errors::Known;
use grpc::Grpc;
use methods::Home;
use pb::auth_server::AuthServer;
use pb::cluster_server::ClusterServer;
use pb::election::election_server::ElectionServer;
use pb::health::health_server::HealthServer;
use pb::kv_server::KvServer;
use pb::lease_server::LeaseServer;
use pb::lock::lock_server::LockServer;
use pb::maintenance_server::MaintenanceServer;
use pb::watch_server::WatchServer;

/// What the message of a request may have beyond the command in it, as in etcd.
const OVERHEAD_BYTES: usize = 512 * 1024;

/// Whether a request is one of gRPC, of a program: browsers name the origin of what they send, and are answered over HTTP alone.
#[must_use]
pub(crate) fn is_grpc(request: &Request) -> bool {
    let is_type = |value: &http::HeaderValue| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]))
    };
    request.version() == Version::HTTP_2
        && request.method() == HttpMethod::POST
        && request.headers().get(CONTENT_TYPE).is_some_and(is_type)
        && !request.headers().contains_key(ORIGIN)
}

/// The services, ready to answer.
pub(crate) struct Services {
    state: State,
    methods: Vec<Method>,
    paths: Vec<Path>,
    kv: KvServer<Grpc>,
    watch: WatchServer<Grpc>,
    lease: LeaseServer<Grpc>,
    cluster: ClusterServer<Grpc>,
    maintenance: MaintenanceServer<Grpc>,
    lock: LockServer<Grpc>,
    election: ElectionServer<Grpc>,
    auth: AuthServer<Grpc>,
    health: HealthServer<Grpc>,
    reflection: reflection::Reflection,
}

impl Services {
    /// All services over a state.
    pub(crate) fn new(state: &State) -> Self {
        let grpc = Grpc(state.clone());
        // The body of a request bounds its messages, in etcd's words.
        let methods = Method::all(state);
        Self {
            state: state.clone(),
            paths: Path::all(&methods),
            methods,
            kv: KvServer::new(grpc.clone()).max_decoding_message_size(usize::MAX),
            watch: WatchServer::new(grpc.clone()).max_decoding_message_size(usize::MAX),
            lease: LeaseServer::new(grpc.clone()).max_decoding_message_size(usize::MAX),
            cluster: ClusterServer::new(grpc.clone()).max_decoding_message_size(usize::MAX),
            maintenance: MaintenanceServer::new(grpc.clone()).max_decoding_message_size(usize::MAX),
            lock: LockServer::new(grpc.clone()).max_decoding_message_size(usize::MAX),
            election: ElectionServer::new(grpc.clone()).max_decoding_message_size(usize::MAX),
            auth: AuthServer::new(grpc.clone()).max_decoding_message_size(usize::MAX),
            health: HealthServer::new(grpc).max_decoding_message_size(usize::MAX),
            reflection: reflection::Reflection::new(),
        }
    }

    /// Answers a request, and says of which method it was.
    pub(crate) async fn answer(&self, from: SocketAddr, mut request: Request) -> (Option<&Method>, Response) {
        let path = request.uri().path();
        let Some(method) = self.methods.iter().find(|method| method.path() == path) else {
            return (None, methods::unknown(path).into_http());
        };
        if method.watches() {
            let origin = origin(Carrier::Grpc, from, request.headers());
            request.extensions_mut().insert(origin);
        }
        let response = self.carry_out(method.home(), request).await;
        let response = if method.may_answer_at_length() {
            response.map(|body| message::counted(self.state.service().answers(), body))
        } else {
            response.map(Body::new)
        };
        (Some(method), response)
    }

    /// Calls a method as if it came over gRPC, with this metadata and messages, and whose watches it begins.
    async fn call(
        &self,
        home: Home,
        path: &'static str,
        origin: Option<Arc<Origin>>,
        metadata: HeaderMap,
        messages: Body,
    ) -> Response {
        let mut request = Request::new(messages);
        if let Some(origin) = origin {
            request.extensions_mut().insert(origin);
        }
        *request.method_mut() = HttpMethod::POST;
        *request.uri_mut() = http::Uri::from_static(path);
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = metadata;
        self.carry_out(home, request).await.map(Body::new)
    }

    async fn carry_out(&self, home: Home, request: Request) -> http::Response<tonic::body::Body> {
        if leader::is_wanted(request.headers()) && !self.state.service().has_leader() {
            return Status::from(Known::NoLeader).into_http();
        }
        let limit = self.state.service().limits().max_request_bytes.saturating_add(OVERHEAD_BYTES);
        let request = request.map(|body| Bounded::new(body, limit));
        let answered = match home {
            Home::Kv => self.kv.clone().call(request),
            Home::Watch => self.watch.clone().call(request),
            Home::Lease => self.lease.clone().call(request),
            Home::Cluster => self.cluster.clone().call(request),
            Home::Maintenance => self.maintenance.clone().call(request),
            Home::Lock => self.lock.clone().call(request),
            Home::Election => self.election.clone().call(request),
            Home::Auth => self.auth.clone().call(request),
            Home::Health => self.health.clone().call(request),
            Home::Reflection => self.reflection.answer(&self.state, request),
            Home::OldReflection => self.reflection.answer_old(&self.state, request),
        };
        match answered.await {
            Ok(response) => response,
        }
    }
}
