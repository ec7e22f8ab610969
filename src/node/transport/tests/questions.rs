//! Claims about the question who the members are, which somebody asks who has no id yet.

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::model::Index;
use crate::model::limits::{MAX_PEER_HANDSHAKE_BYTES, MAX_PEER_MEMBERS_BYTES};

fn known(site: &Site) -> KnownMembers {
    let members = without(members(&[site.place(), (MemberId(2), site.address)]), &[MemberId(2)]);
    KnownMembers { cluster: CLUSTER, applied: Index(17), members }
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, &[payload], usize::MAX).unwrap();
    bytes
}

#[tokio::test]
async fn whoever_asks_is_told_who_the_members_are() {
    let one = Site::start(1).await;
    assert_eq!(in_time(ask_members(&url(one.address))).await.unwrap(), None);
    let known = known(&one);
    *one.recorder.known.write() = Some(known.clone());
    assert_eq!(in_time(ask_members(&url(one.address))).await.unwrap(), Some(known));
}

#[tokio::test]
async fn nothing_but_the_answer_happens_where_somebody_asked() {
    let one = Site::start(1).await;
    *one.recorder.known.write() = Some(known(&one));
    let mut stream = TcpStream::connect(one.address).await.unwrap();
    in_time(handshake::ask(&mut stream)).await.unwrap();
    let mut message = Vec::new();
    append(2, 1, 1, 10).append_to(&mut message).unwrap();
    // It may be gone already.
    let _ = stream.write_all(&message).await;
    closed(&mut stream).await;
    assert_eq!(one.received(), []);
    assert_eq!(one.transport.peers(), BTreeMap::new());
}

#[tokio::test]
async fn a_greeting_that_is_none_is_left_without_an_answer() {
    let one = Site::start(1).await;
    *one.recorder.known.write() = Some(known(&one));
    let too_long = vec![1; MAX_PEER_HANDSHAKE_BYTES + 1];
    for greeting in [b"\x02".as_slice(), b"", b"\x01more", b"\x00", &too_long] {
        let mut stream = TcpStream::connect(one.address).await.unwrap();
        let words = [handshake::MAGIC.as_slice(), &[handshake::VERSION], &framed(greeting)].concat();
        // It may be let go before it has said it all.
        let _ = stream.write_all(&words).await;
        let mut answer = Vec::new();
        let _ = in_time(stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"", "{} bytes", greeting.len());
    }
}

#[tokio::test]
async fn more_members_than_an_answer_may_have_are_not_told() {
    let one = Site::start(1).await;
    let mut known = known(&one);
    known.members.get_mut(one.id).unwrap().client_urls = vec!["x".repeat(MAX_PEER_MEMBERS_BYTES)];
    *one.recorder.known.write() = Some(known);
    let refused = in_time(ask_members(&url(one.address))).await;
    assert!(matches!(refused, Err(ConnectionError::Closed | ConnectionError::Io(_))), "{refused:?}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error_that_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = url(listener.local_addr().unwrap());
    let claim = u32::try_from(MAX_PEER_MEMBERS_BYTES + 1).unwrap();
    let cases = [
        (framed(&[0]), "something that has no place in the protocol between members"),
        (framed(&[1, 0, 9]), "it refuses: it speaks version 9 of the protocol between members, this one version 1"),
        (framed(&[2, 7]), "bytes that cannot be read"),
        ([claim.to_le_bytes(), [0; 4]].concat(), "a frame of 1048577 bytes, of which 1048576 are allowed"),
        (Vec::new(), "it closed the connection"),
    ];
    for (words, text) in cases {
        let asked = tokio::spawn({
            let at = at.clone();
            async move { ask_members(&at).await }
        });
        let (mut stream, _) = in_time(listener.accept()).await.unwrap();
        assert!(matches!(handshake::read_opening(&mut stream).await, Ok(Opening::Member { version: 1 })));
        assert_eq!(handshake::read_greeting(&mut stream).await.unwrap(), Greeting::Ask);
        stream.write_all(&words).await.unwrap();
        drop(stream);
        let error = in_time(asked).await.unwrap().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[tokio::test]
async fn whoever_gives_no_answer_is_not_waited_for_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let patience = Patience { handshake: Duration::from_millis(100), ..Patience::default() };
    let silent = in_time(dial::ask(&url(listener.local_addr().unwrap()), patience)).await;
    assert!(matches!(silent, Err(ConnectionError::Silent)), "{silent:?}");
    let absent = in_time(dial::ask(&url(nowhere().await), patience)).await;
    assert!(matches!(absent, Err(ConnectionError::Connect(_))), "{absent:?}");
    let nonsense = in_time(dial::ask("localhost:2380", patience)).await;
    assert!(matches!(nonsense, Err(ConnectionError::Url(_))), "{nonsense:?}");
}
