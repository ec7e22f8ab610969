//! etcd's v3 API over gRPC, by clients that are generated from the same files, and in JSON: answers and errors, beside real etcd where
//! there is one, and what is promised of connections.

#![cfg(test)]

mod auth;
mod beside;
#[path = "../sim/chance.rs"]
#[expect(dead_code, unreachable_pub, reason = "the simulator's, of which only the numbers are used here")]
mod chance;
mod cluster;
mod ctl;
mod edge;
mod gateway;
mod gateway_bad;
mod gateway_socket;
mod gateway_streams;
mod kv;
mod leader;
mod lease;
mod maintenance;
mod queue;
mod random;
mod snapshot;
#[path = "../support/mod.rs"]
mod support;
mod told;
mod txn;
mod watch;
mod watched;
mod watchers;

#[expect(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::enum_variant_names,
    unreachable_pub,
    reason = "generated code has its own style"
)]
mod pb {
    include!(concat!(env!("OUT_DIR"), "/client/mod.rs"));
    pub(crate) use etcdserverpb::*;
    pub(crate) use grpc::health::v1 as health;
    pub(crate) use mvccpb::{Event, KeyValue};
    pub(crate) use {v3electionpb as election, v3lockpb as lock};
}

use std::time::Duration;

use bytes::Bytes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use pb::cluster_client::ClusterClient;
use pb::election::election_client::ElectionClient;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::lock::lock_client::LockClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use support::Server;

/// How long anything awaited may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A client of one server.
#[derive(Debug, Clone)]
struct V3(Channel);

/// What an error says.
type Told = (Code, String);

impl V3 {
    /// Connects when it is first asked something.
    fn of(url: &str) -> Self {
        Self(Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy())
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.0.clone()).max_decoding_message_size(usize::MAX)
    }

    fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.0.clone())
    }

    fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.0.clone()).max_decoding_message_size(usize::MAX)
    }

    fn locks(&self) -> LockClient<Channel> {
        LockClient::new(self.0.clone())
    }

    fn elections(&self) -> ElectionClient<Channel> {
        ElectionClient::new(self.0.clone())
    }

    fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.0.clone())
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.0.clone())
    }

    async fn put(&self, key: &str, value: &str) -> i64 {
        revision(told(self.kv().put(put(key, value)).await).unwrap().header)
    }

    async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Told> {
        told(self.kv().range(request).await)
    }

    async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Told> {
        told(self.kv().txn(request).await)
    }
}

fn start() -> (Server, V3) {
    let server = Server::start();
    let v3 = V3::of(&server.url());
    (server, v3)
}

fn told<T>(result: Result<Response<T>, Status>) -> Result<T, Told> {
    result.map(Response::into_inner).map_err(|status| (status.code(), status.message().to_owned()))
}

fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.unwrap().revision
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), ..Default::default() }
}

fn between(key: &str, end: &str) -> pb::RangeRequest {
    pb::RangeRequest { range_end: bytes(end), ..get(key) }
}

fn delete(key: &str, end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: true }
}

fn keys(response: &pb::RangeResponse) -> Vec<String> {
    response.kvs.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
}
