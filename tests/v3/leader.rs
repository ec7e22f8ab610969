//! `WithRequireLeader`: what a member that has lost its leader answers to those who want one.

use std::path::Path;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Request};

use crate::support::Server;
use crate::support::etcd::free_port;
use crate::watch::{Watching, of};
use crate::{LIMIT, V3, get, pb, put, start, told};
use pb::watch_request::RequestUnion;

/// A port that was free may be taken by the time that it is used.
const TRIES: usize = 5;

fn led<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    request
}

/// Two members, neither of which decides anything alone, and clients of each.
async fn two(dir: &Path) -> ([Server; 2], [V3; 2]) {
    for number in 0..TRIES {
        if let Some(two) = launch(&dir.join(number.to_string())).await {
            return two;
        }
    }
    panic!("two members do not start");
}

/// The same; nothing where one of them has ended, as it does when one of its ports was taken meanwhile.
async fn launch(dir: &Path) -> Option<([Server; 2], [V3; 2])> {
    std::fs::create_dir(dir).unwrap();
    let peers = [free_port(), free_port()].map(|port| format!("http://127.0.0.1:{port}"));
    let list = format!("one={},two={}", peers[0], peers[1]);
    let member = |name: &str, peer: &str| {
        let address = format!("127.0.0.1:{}", free_port());
        let flags = ["--name", name, "--initial-cluster", &list, "--listen-peer-urls", peer];
        let flags =
            flags.iter().chain(&["--initial-advertise-peer-urls", peer]).map(|flag| (*flag).to_owned()).collect();
        (Server::begin(&dir.join(name), &address, flags), V3::of(&format!("http://{address}")))
    };
    let [(mut one, first), (mut two, second)] = [member("one", &peers[0]), member("two", &peers[1])];
    let deadline = Instant::now() + LIMIT;
    for v3 in [&first, &second] {
        while v3.kv().put(put("a", "1")).await.is_err() {
            let logs = format!("{}\n{}", one.log(), two.log());
            if one.has_ended() || two.has_ended() {
                println!("a member has ended:\n{logs}");
                return None;
            }
            assert!(Instant::now() < deadline, "nobody leads:\n{logs}");
            sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    Some(([one, two], [first, second]))
}

#[tokio::test]
async fn a_member_that_has_lost_its_leader_ends_the_streams_of_those_who_want_one_and_refuses_them() {
    let dir = tempfile::tempdir().unwrap();
    let ([_one, mut other], [v3, _]) = two(dir.path()).await;
    // Of a key that nobody writes: what the other member acknowledged, this one may apply after the watch began.
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(of("none", ""))) };
    let requests = || stream::iter([create.clone()]).chain(stream::pending());
    // It begins first: what ends the other would have ended it before.
    let mut wants_none = Watching::of(&v3);
    assert!(wants_none.create(of("none", "")).await.created);
    let mut wants = told(v3.watch().watch(led(requests())).await).unwrap();
    assert!(wants.next().await.unwrap().unwrap().created);
    assert_eq!(told(v3.kv().range(led(get("a"))).await).unwrap().kvs.len(), 1);
    other.kill();
    let status = timeout(LIMIT, wants.next()).await.expect("it goes on").unwrap().unwrap_err();
    let no_leader = (Code::Unavailable, "etcdserver: no leader".to_owned());
    assert_eq!((status.code(), status.message().to_owned()), no_leader);
    let serializable = || pb::RangeRequest { serializable: true, ..get("a") };
    assert_eq!(told(v3.kv().range(led(serializable())).await).unwrap_err(), no_leader);
    assert_eq!(told(v3.watch().watch(led(requests())).await).unwrap_err(), no_leader);
    // Others are answered with what there is.
    assert_eq!(told(v3.kv().range(serializable()).await).unwrap().kvs.len(), 1);
    wants_none.ask_progress().await;
    assert_eq!(wants_none.next().await.watch_id, -1, "it goes on");
}

#[tokio::test]
async fn those_who_want_a_leader_hear_on_while_there_is_one() {
    let (_server, v3) = start();
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(of("a", ""))) };
    let requests = stream::iter([create]).chain(stream::pending());
    let mut answers = told(v3.watch().watch(led(requests)).await).unwrap();
    assert!(answers.next().await.unwrap().unwrap().created);
    told(v3.kv().put(led(put("a", "1"))).await).unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().events.len(), 1);
}
