//! Claims about who is turned away, and what is said then.

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::model::limits::MAX_PEER_URLS;

async fn refusal_of(site: &Site, hello: &Hello) -> Refusal {
    match site.dialed_by(hello).await {
        Err(ConnectionError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_means_another_member_is_told_so() {
    let one = Site::start(1).await;
    one.recorder.outsiders.write().extend([(MemberId(7), Refusal::LostData), (MemberId(8), Refusal::Removed)]);
    let other_cluster = Hello { cluster: ClusterId(9), ..hello(2, 1) };
    assert_eq!(refusal_of(&one, &other_cluster).await, Refusal::OtherCluster { theirs: CLUSTER });
    assert_eq!(refusal_of(&one, &hello(2, 3)).await, Refusal::OtherMember { theirs: MemberId(1) });
    assert_eq!(refusal_of(&one, &hello(7, 1)).await, Refusal::LostData);
    assert_eq!(refusal_of(&one, &hello(8, 1)).await, Refusal::Removed);
    assert_eq!(refusal_of(&one, &hello(1, 1)).await, Refusal::SameId);
    let snapshot = Hello { lane: Lane::Snapshot, ..hello(8, 1) };
    assert_eq!(refusal_of(&one, &snapshot).await, Refusal::Removed);
    assert!(one.dialed_by(&hello(2, 1)).await.is_ok());
}

#[tokio::test]
async fn a_member_of_another_version_is_told_which_one_is_spoken() {
    let one = Site::start(1).await;
    let mut stream = TcpStream::connect(one.address).await.unwrap();
    // What follows on the version is in a language that this member does not know.
    stream.write_all(b"VARDRPEER\x63 and then \0\xff something").await.unwrap();
    let reply = in_time(frame::read(&mut stream, 100)).await.unwrap().unwrap();
    assert_eq!(reply, [1, 0, handshake::VERSION].as_slice(), "the words that all versions share");
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_member_learns_that_it_was_removed() {
    let (one, two) = (Site::start(1).await, Site::start(2).await);
    two.recorder.outsiders.write().insert(one.id, Refusal::Removed);
    one.transport.set_peers(&members(&[two.place()]));
    one.told(|told| told.refused.contains(&(MemberId(2), Refusal::Removed))).await;
    assert!(!one.transport.connected(two.id));
    two.recorder.outsiders.write().clear();
    one.connected(two.id, true).await;
}

#[tokio::test]
async fn a_refusal_tells_more_than_an_address_at_which_nobody_is() {
    let (one, two) = (Site::start(1).await, Site::start(2).await);
    two.recorder.outsiders.write().insert(one.id, Refusal::Removed);
    let mut both = members(&[two.place()]);
    both.get_mut(two.id).unwrap().peer_urls.push(url(nowhere().await));
    one.transport.set_peers(&both);
    one.told(|told| told.refused.contains(&(MemberId(2), Refusal::Removed))).await;
}

#[tokio::test]
async fn a_client_of_http_learns_that_this_is_the_peer_port() {
    let one = Site::start(1).await;
    // One that writes all it has before it reads, and more than the kernel keeps for it.
    let long = format!("POST / HTTP/1.1\r\nHost: x\r\n\r\n{}", "x".repeat(20_000_000));
    for request in ["GET /version HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &long] {
        let mut stream = TcpStream::connect(one.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        in_time(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
        assert!(body.contains("peer port") && body.contains("client URL"), "{answer}");
    }
}

#[tokio::test]
async fn strangers_are_left_without_a_word() {
    let one = Site::start(1).await;
    let tls: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for words in [tls, b"VARDRPIER\x01", b"VARDRPEER\x01\xff\xff\xff\xff\0\0\0\0", b"SSH-2.0-x\r\n", b"VARDR", b""] {
        let mut stream = TcpStream::connect(one.address).await.unwrap();
        stream.write_all(words).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = in_time(stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"", "{words:?}");
    }
}

#[tokio::test]
async fn whoever_says_that_it_is_at_too_many_urls_or_at_none_that_is_one_is_left_without_a_word() {
    let one = Site::start(1).await;
    let urls = |count: usize| (0..count).map(|number| format!("http://member-{number}:2380")).collect::<Vec<_>>();
    for urls in [urls(MAX_PEER_URLS + 1), vec!["https://a:1".to_owned()], vec!["http://a:1".to_owned(), String::new()]]
    {
        let refused = one.dialed_by(&Hello { urls: urls.clone(), ..hello(2, 1) }).await;
        assert!(matches!(refused, Err(ConnectionError::Closed | ConnectionError::Io(_))), "{urls:?}: {refused:?}");
    }
    assert_eq!(one.transport.peers(), BTreeMap::new());
    assert!(one.dialed_by(&Hello { urls: urls(MAX_PEER_URLS), ..hello(2, 1) }).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_is_none_is_no_connection() {
    let one = Site::start(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.transport.set_peers(&members(&[(MemberId(2), listener.local_addr().unwrap())]));
    for words in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), b"\x01\0\0\0\0\0\0\0\x07", b""] {
        let (mut stream, greeting) = take_connection(&listener).await;
        assert_eq!(greeting, Hello { urls: vec![url(one.address)], ..hello(1, 2) });
        stream.write_all(words).await.unwrap();
        assert!(!one.transport.connected(MemberId(2)));
    }
    let _stream = take_in(&listener).await;
    one.connected(MemberId(2), true).await;
}
