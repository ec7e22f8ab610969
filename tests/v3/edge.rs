//! What surrounds the calls: how large a message may be, which requests are of gRPC, and how connections end.

use futures_util::{StreamExt as _, stream};
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::http::Client;
use crate::{Told, V3, bytes, get, pb, put, start, told, txn};
use pb::kv_client::KvClient;
use pb::request_op::Request as Op;

#[tokio::test]
async fn a_value_may_have_a_megabyte_and_a_half_and_a_message_half_a_megabyte_more() {
    let (_server, v3) = start();
    let sized = |length: usize| pb::PutRequest { value: vec![0; length].into(), ..put("k", "") };
    told(v3.kv().put(sized(1_572_000)).await).unwrap();
    assert_eq!(v3.range(get("k")).await.unwrap().kvs[0].value.len(), 1_572_000);
    let refused = told(v3.kv().put(sized(2_000_000)).await).unwrap_err();
    assert_eq!(refused, (Code::InvalidArgument, "etcdserver: request is too large".to_owned()));
    let op = txn::op(Op::RequestPut(sized(2_000_000)));
    assert_eq!(v3.txn(txn::then(vec![op])).await.unwrap_err(), refused);
    let refused = told(v3.kv().put(sized(3_000_000)).await).unwrap_err();
    let text = "grpc: received message larger than max (3000008 vs. 2097152)";
    assert_eq!(refused, (Code::ResourceExhausted, text.to_owned()));
    v3.put("k", "the connection is as good as before").await;
}

#[tokio::test]
async fn an_answer_may_be_larger_than_a_request() {
    let (_server, v3) = start();
    for key in ["a", "b", "c", "d", "e", "f"] {
        told(v3.kv().put(pb::PutRequest { value: vec![1; 1_000_000].into(), ..put(key, "") }).await).unwrap();
    }
    let all = v3.range(pb::RangeRequest { range_end: bytes("z"), ..get("a") }).await.unwrap();
    assert_eq!(all.kvs.iter().map(|kv| kv.value.len()).sum::<usize>(), 6_000_000);
}

/// What is said of a method that is not there.
async fn refused_at(v3: &V3, path: &'static str) -> Told {
    let mut client = Grpc::new(v3.0.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<pb::RangeRequest, pb::RangeResponse>::default();
    told(client.unary(Request::new(get("a")), path.parse().unwrap(), codec).await).unwrap_err()
}

#[tokio::test]
async fn a_method_that_is_not_there_is_said_to_be_unknown() {
    let (_server, v3) = start();
    let call = async |path| refused_at(&v3, path).await;
    let unimplemented = |text: &str| (Code::Unimplemented, text.to_owned());
    assert_eq!(call("/etcdserverpb.KV/Nope").await, unimplemented("unknown method Nope for service etcdserverpb.KV"));
    assert_eq!(call("/nope.Nope/Range").await, unimplemented("unknown service nope.Nope"));
}

#[tokio::test]
async fn any_name_of_the_server_will_do_for_programs_and_none_for_pages() {
    let (server, _) = start();
    let endpoint = Endpoint::from_shared(server.url()).unwrap().origin("http://etcd.example:2379".parse().unwrap());
    let mut kv = KvClient::new(endpoint.connect_lazy());
    told(kv.put(put("a", "1")).await).unwrap();
    let mut request = Request::new(put("a", "2"));
    request.metadata_mut().insert("origin", "http://evil.example".parse().unwrap());
    // Refused over HTTP, which a client of gRPC does not understand.
    told(kv.put(request).await).unwrap_err();
    assert_eq!(told(kv.range(get("a")).await).unwrap().kvs[0].value, "1");
}

#[tokio::test]
async fn without_http2_nothing_is_grpc() {
    let (server, _) = start();
    let client = Client::new(server.address());
    let answer = tokio::task::spawn_blocking(move || {
        client.send("POST", "/etcdserverpb.KV/Range", &[("Content-Type", "application/grpc")], b"\0\0\0\0\0").status
    });
    assert_eq!(answer.await.unwrap(), 404);
}

#[tokio::test]
async fn calls_are_counted_by_method_and_outcome() {
    let (server, v3) = start();
    v3.put("a", "1").await;
    v3.range(get("")).await.unwrap_err();
    refused_at(&v3, "/etcdserverpb.KV/Nope").await;
    let client = Client::new(server.address());
    let metrics = tokio::task::spawn_blocking(move || client.get("/metrics").text()).await.unwrap();
    let counted = |route: &str, class: &str| {
        let labels = format!("route=\"{route}\",method=\"POST\",status=\"{class}\"");
        metrics.lines().any(|line| line.contains(&labels) && line.ends_with(" 1"))
    };
    assert!(counted("/etcdserverpb.KV/Put", "2xx"), "{metrics}");
    assert!(counted("/etcdserverpb.KV/Range", "4xx"), "{metrics}");
    assert!(counted("unmatched", "5xx"), "{metrics}");
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_with_a_word() {
    let (mut server, v3) = start();
    told(v3.lease().lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 1 }).await).unwrap();
    let requests = stream::iter([pb::LeaseKeepAliveRequest { id: 1 }]).chain(stream::pending());
    let mut answers = told(v3.lease().lease_keep_alive(requests).await).unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().ttl, 60);
    let begun = std::time::Instant::now();
    let ended = tokio::task::spawn_blocking(move || server.terminate().success());
    let status = answers.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: server stopped"));
    assert!(ended.await.unwrap());
    assert!(begun.elapsed().as_secs() < 8, "nothing was waited for");
}

#[tokio::test]
async fn reflection_names_what_is_served_and_describes_it() {
    let (_server, v3) = start();
    let ask = async |question: MessageRequest| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let mut client = ServerReflectionClient::new(v3.0.clone());
        let mut answers = told(client.server_reflection_info(stream::iter([request])).await).unwrap();
        answers.next().await.unwrap().unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(listed) = ask(MessageRequest::ListServices(String::new())).await else {
        panic!("no list");
    };
    let names: Vec<_> = listed.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"etcdserverpb.KV") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    for name in names {
        let answer = ask(MessageRequest::FileContainingSymbol(name.to_owned())).await;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{name}: {answer:?}");
    }
}
