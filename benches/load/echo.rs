//! The yardstick: servers that do nothing. Over HTTP, axum: a PUT is answered with its body, a GET with 256 bytes. Over
//! gRPC, tonic on the same connections: a Put with an empty answer, a Range with a key of 256 bytes.

use std::net::SocketAddr;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use pb::kv_server::{Kv, KvServer};
use pb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, KeyValue, PutRequest, PutResponse,
    RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
};

#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::enum_variant_names,
    unreachable_pub,
    reason = "generated code has its own style, and most of it is not used here"
)]
mod pb {
    include!(concat!(env!("OUT_DIR"), "/server/mod.rs"));
    pub(crate) use etcdserverpb::*;
    pub(crate) use mvccpb::KeyValue;
}

/// Serves until the process ends.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(address).await?.tap_io(|stream| {
            // Without it small answers wait for acknowledgements; a socket that refuses is slower, not wrong.
            let _ = stream.set_nodelay(true);
        });
        let router = Router::new().route_service("/etcdserverpb.KV/{method}", KvServer::new(Echo));
        Ok(axum::serve(listener, router.fallback(any(echo))).await?)
    })
}

async fn echo(body: Bytes) -> Bytes {
    if body.is_empty() { Bytes::from_static(&[b'x'; 256]) } else { body }
}

struct Echo;

#[tonic::async_trait]
impl Kv for Echo {
    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Ok(Response::new(PutResponse { header: Some(header()), ..PutResponse::default() }))
    }

    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let value = Bytes::from_static(&[b'x'; 256]);
        let kv = KeyValue { key: request.into_inner().key, value, version: 1, ..KeyValue::default() };
        Ok(Response::new(RangeResponse { header: Some(header()), kvs: vec![kv], count: 1, ..RangeResponse::default() }))
    }

    async fn delete_range(&self, _: Request<DeleteRangeRequest>) -> Result<Response<DeleteRangeResponse>, Status> {
        Err(Status::unimplemented("an echo puts and ranges"))
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Err(Status::unimplemented("an echo puts and ranges"))
    }

    async fn compact(&self, _: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        Err(Status::unimplemented("an echo puts and ranges"))
    }
}

fn header() -> ResponseHeader {
    ResponseHeader { cluster_id: 1, member_id: 1, revision: 1, raft_term: 1 }
}
