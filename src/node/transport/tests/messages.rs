//! Claims about messages: which arrive, in which order, and what becomes of the others.

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::consensus::Position;
use crate::model::limits::{MAX_PEER_FRAME_BYTES, PEER_BULK_BYTES, PEER_BULK_MESSAGES, PEER_URGENT_MESSAGES};
use crate::model::{Index, Term};

#[tokio::test]
async fn messages_arrive_whole_and_in_order_both_ways() {
    let (one, two) = pair().await;
    let sizes = [0, 1, 100, 70_000, 300_000, 3_000_000];
    let all = |from, to| (1..=60).map(move |index| append(from, to, index, sizes[usize::try_from(index).unwrap() % 6]));
    for (there, back) in all(1, 2).zip(all(2, 1)) {
        eventually(|| one.transport.send(two.id, there.clone())).await;
        eventually(|| two.transport.send(one.id, back.clone())).await;
    }
    one.told(|told| told.received.len() == 60).await;
    two.told(|told| told.received.len() == 60).await;
    assert!(one.received().into_iter().eq(all(2, 1).map(|message| (two.id, message))));
    assert!(two.received().into_iter().eq(all(1, 2).map(|message| (one.id, message))));
}

#[tokio::test]
async fn proposals_and_the_answer_to_them_arrive() {
    let (one, two) = pair().await;
    let (start, number) = (Incarnation(1), 7);
    let proposals = vec![Bytes::from_static(b"first"), Bytes::from_static(b"second")];
    let forward = PeerMessage::Forward(Forward { start, term: Term(2), number, proposals, change: None });
    assert!(one.transport.send(two.id, forward.clone()));
    two.told(|told| told.received == [(MemberId(1), forward.clone())]).await;
    let answer = Ok(Position { index: Index(4), term: Term(2) });
    let forwarded = PeerMessage::Forwarded(Forwarded { start, number, answer });
    assert!(two.transport.send(one.id, forwarded.clone()));
    one.told(|told| told.received == [(MemberId(2), forwarded.clone())]).await;
}

/// Reads messages off a connection, up to one that is the last.
async fn read_until(stream: &mut TcpStream, last: &PeerMessage) -> Vec<PeerMessage> {
    let mut read = Vec::new();
    while read.last() != Some(last) {
        let bytes = in_time(frame::read(stream, MAX_PEER_FRAME_BYTES)).await.unwrap().unwrap();
        read.push(PeerMessage::decode(bytes).unwrap());
    }
    read
}

#[tokio::test]
async fn a_full_queue_says_so_at_once_and_the_newest_heartbeat_overtakes_it() {
    let (one, listener) = (Site::start(1).await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    one.transport.set_peers(&members(&[(MemberId(2), listener.local_addr().unwrap())]));
    let mut stream = take_in(&listener).await;
    one.connected(MemberId(2), true).await;
    // Nobody reads. What the kernel takes comes on top of the queue.
    let mut last = 0;
    while one.transport.send(MemberId(2), append(1, 2, last + 1, 512 * 1024)) {
        last += 1;
        assert!(last < 1000, "the queue has no bound");
        tokio::task::yield_now().await;
    }
    assert!(last >= u64::try_from(PEER_BULK_BYTES / (513 * 1024)).unwrap());
    for commit in 1..=9 {
        assert!(one.transport.send(MemberId(2), small(MessageType::MsgHeartbeat, 1, 2, commit)));
        assert!(one.transport.send(MemberId(2), small(MessageType::MsgAppendResponse, 1, 2, commit)));
    }
    let read = read_until(&mut stream, &append(1, 2, last, 512 * 1024)).await;
    let place = |wanted: &PeerMessage| read.iter().position(|message| message == wanted);
    let heartbeat = place(&small(MessageType::MsgHeartbeat, 1, 2, 9)).unwrap();
    assert!(heartbeat < read.len() - 10 - 20, "{heartbeat} of {}: it waited for the bulk", read.len());
    let urgent: Vec<_> = (1..=9).map(|commit| small(MessageType::MsgAppendResponse, 1, 2, commit)).collect();
    assert_eq!(read[heartbeat + 1..heartbeat + 10], urgent);
    let older = (1..9).filter_map(|commit| place(&small(MessageType::MsgHeartbeat, 1, 2, commit)));
    assert_eq!(older.count(), 0);
    let bulk = read.iter().enumerate().filter(|(at, _)| !(heartbeat..heartbeat + 10).contains(at));
    assert!(bulk.map(|(_, message)| message.clone()).eq((1..=last).map(|index| append(1, 2, index, 512 * 1024))));
}

#[test]
fn each_queue_has_a_bound_and_one_message_of_any_size_finds_room() {
    let outbox = Outbox::default();
    outbox.open();
    let control = || small(MessageType::MsgAppendResponse, 1, 2, 0);
    assert!((0..PEER_URGENT_MESSAGES).all(|_| outbox.push(control())));
    assert!(!outbox.push(control()));
    assert!((0..PEER_BULK_MESSAGES).all(|_| outbox.push(append(1, 2, 1, 0))));
    assert!(!outbox.push(append(1, 2, 1, 0)));
    assert!(outbox.push(small(MessageType::MsgHeartbeatResponse, 1, 2, 0)));
    outbox.close();
    outbox.open();
    assert!(outbox.push(append(1, 2, 1, PEER_BULK_BYTES + 1)));
    assert!(!outbox.push(append(1, 2, 2, 0)));
    assert!(outbox.take().is_some_and(|message| message == small(MessageType::MsgHeartbeatResponse, 1, 2, 0)));
    assert!(outbox.take().is_some());
    assert!(!outbox.push(append(1, 2, 1, MAX_PEER_FRAME_BYTES)));
    assert!(!outbox.push(small(MessageType::MsgSnapshot, 1, 2, 0)));
    assert!(outbox.take().is_none());
}

#[test]
fn an_append_of_many_entries_leaves_room_for_heartbeats_in_between() {
    let outbox = Outbox::default();
    outbox.open();
    let entry = |index| eraftpb::Entry { index, term: 1, data: vec![0; 700_000].into(), ..Default::default() };
    let long = raft_message(MessageType::MsgAppend, 1, 2, |message| {
        message.set_entries((1..=5).map(entry).collect());
    });
    assert!(outbox.push(PeerMessage::Raft(long.clone())));
    let pieces: Vec<_> = std::iter::from_fn(|| outbox.take()).collect();
    assert!(pieces.into_iter().eq(long.split(1 << 20).into_iter().map(PeerMessage::Raft)));
}

#[tokio::test]
async fn without_a_connection_only_the_newest_heartbeat_and_vote_are_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let one = Site::start(1).await;
    one.transport.set_peers(&members(&[(MemberId(2), address)]));
    let send = |message| one.transport.send(MemberId(2), message);
    assert!(!send(append(1, 2, 1, 10)));
    assert!(!send(small(MessageType::MsgAppendResponse, 1, 2, 1)));
    assert!(!send(PeerMessage::Forward(Forward {
        start: Incarnation(1),
        term: Term(1),
        number: 1,
        proposals: Vec::new(),
        change: None,
    })));
    for commit in 1..=3 {
        assert!(send(small(MessageType::MsgRequestPreVote, 1, 2, commit)));
        assert!(send(small(MessageType::MsgRequestVote, 1, 2, commit)));
        assert!(send(small(MessageType::MsgHeartbeat, 1, 2, commit)));
    }
    let two = Site::start_at(2, &address.to_string(), Patience::default()).await;
    one.connected(two.id, true).await;
    assert!(send(append(1, 2, 1, 10)));
    let expected =
        [small(MessageType::MsgHeartbeat, 1, 2, 3), small(MessageType::MsgRequestVote, 1, 2, 3), append(1, 2, 1, 10)];
    two.told(|told| told.received.len() == 3).await;
    assert!(two.received().into_iter().map(|(_, message)| message).eq(expected));
}

#[tokio::test]
async fn a_connection_that_ends_is_reported_and_made_anew() {
    let (one, two) = pair().await;
    let Site { id, address, transport, .. } = two;
    transport.stop();
    in_time(transport.stopped()).await;
    one.told(|told| told.unreachable == [MemberId(2)]).await;
    one.connected(id, false).await;
    assert!(!one.transport.send(id, append(1, 2, 1, 10)));

    let again = Site::start_at(2, &address.to_string(), Patience::default()).await;
    one.connected(id, true).await;
    assert!(one.transport.send(id, append(1, 2, 1, 10)));
    again.told(|told| told.received == [(MemberId(1), append(1, 2, 1, 10))]).await;
}

#[tokio::test]
async fn a_member_that_takes_nothing_loses_its_connection() {
    let patience = Patience { stall: Duration::from_millis(200), ..Patience::default() };
    let one = Site::start_at(1, "127.0.0.1:0", patience).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.transport.set_peers(&members(&[(MemberId(2), listener.local_addr().unwrap())]));
    let _unread = take_in(&listener).await;
    one.connected(MemberId(2), true).await;
    // One message that is more than what the kernel takes.
    assert!(one.transport.send(MemberId(2), append(1, 2, 1, 30 * 1024 * 1024)));
    one.told(|told| told.unreachable == [MemberId(2)]).await;
    let _redialed = take_in(&listener).await;
}

#[tokio::test]
async fn damage_and_nonsense_end_a_connection_and_nothing_else() {
    let one = Site::start(1).await;
    let framed = |parts: &[&[u8]]| {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, parts, usize::MAX).unwrap();
        bytes
    };
    let mut damaged = framed(&[b"\0whole"]);
    *damaged.last_mut().unwrap() ^= 1;
    let claim = u32::try_from(MAX_PEER_FRAME_BYTES + 1).unwrap();
    let mut misdirected = Vec::new();
    append(3, 1, 1, 10).append_to(&mut misdirected).unwrap();
    let bad = [
        damaged,
        [claim.to_le_bytes(), [0; 4]].concat(),
        framed(&[]),
        framed(&[b"\x09"]),
        framed(&[b"\0\xff\xff"]),
        misdirected,
    ];
    for bytes in bad {
        let mut stream = one.dialed_by(&hello(2, 1)).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        closed(&mut stream).await;
    }
    assert_eq!(one.received(), []);
    let mut good = Vec::new();
    append(2, 1, 1, 10).append_to(&mut good).unwrap();
    let mut stream = one.dialed_by(&hello(2, 1)).await.unwrap();
    stream.write_all(&good).await.unwrap();
    one.told(|told| told.received == [(MemberId(2), append(2, 1, 1, 10))]).await;
}

#[tokio::test]
async fn what_is_not_from_here_to_there_is_not_sent() {
    let (one, two) = pair().await;
    assert!(!one.transport.send(two.id, append(3, 2, 1, 10)));
    assert!(!one.transport.send(two.id, append(1, 3, 1, 10)));
    assert!(!one.transport.send(MemberId(3), append(1, 3, 1, 10)));
    assert!(!one.transport.send(two.id, small(MessageType::MsgSnapshot, 1, 2, 1)));
    assert!(!one.transport.send(one.id, append(1, 1, 1, 10)));
}
