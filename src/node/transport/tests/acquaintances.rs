//! Claims about those that dial a member whose table does not know them, or not where they are.

use super::*;
use crate::model::limits::MAX_PEER_ACQUAINTANCES;

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test]
async fn a_member_that_is_unknown_is_listened_to_and_answered_where_it_says_that_it_is() {
    let (one, two) = (Site::start(1).await, Site::start(2).await);
    two.join(&[one.place()]).await;
    assert!(two.transport.send(one.id, append(2, 1, 1, 10)));
    one.told(|told| told.received == [(MemberId(2), append(2, 1, 1, 10))]).await;
    one.connected(two.id, true).await;
    assert!(one.transport.send(two.id, append(1, 2, 1, 10)));
    two.told(|told| told.received == [(MemberId(1), append(1, 2, 1, 10))]).await;
}

#[tokio::test]
async fn an_acquaintance_is_sent_a_snapshot_like_any_member() {
    let (one, mut two) = (Site::start(1).await, Site::start(2).await);
    two.join(&[one.place()]).await;
    one.connected(two.id, true).await;
    let announcement = raft_message(MessageType::MsgSnapshot, 1, 2, |_| {});
    let sending = tokio::spawn(one.transport.send_snapshot(two.id, announcement, |_| Ok::<_, String>(())));
    let mut handed = in_time(two.snapshots.recv()).await.unwrap();
    assert_eq!(in_time(handed.body.next()).await, Ok(None));
    handed.answer.send(Ok(())).unwrap();
    in_time(sending).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_acquaintance_ends_with_its_connection() {
    let (one, listener) = (Site::start(1).await, listener().await);
    let dialed = one.dialed_by(&hello_at(2, 1, &listener)).await.unwrap();
    let mut stream = take_in(&listener).await;
    one.connected(MemberId(2), true).await;
    drop(dialed);
    closed(&mut stream).await;
    assert_eq!(one.transport.peers(), BTreeMap::new());
    assert!(!one.transport.send(MemberId(2), append(1, 2, 1, 10)));
}

#[tokio::test]
async fn an_acquaintance_that_is_away_is_not_dialed_for_longer_than_it_is_connected() {
    let one = Site::start(1).await;
    let absent = Hello { urls: vec![url(nowhere().await)], ..hello(2, 1) };
    let dialed = one.dialed_by(&absent).await.unwrap();
    eventually(|| one.transport.peers() == [(MemberId(2), false)].into()).await;
    drop(dialed);
    eventually(|| one.transport.peers().is_empty()).await;
}

#[tokio::test]
async fn an_acquaintance_that_becomes_a_member_keeps_its_connection() {
    let (one, two) = (Site::start(1).await, Site::start(2).await);
    two.join(&[one.place()]).await;
    one.connected(two.id, true).await;
    one.transport.set_peers(&members(&[one.place(), two.place()]));
    assert!(one.transport.send(two.id, append(1, 2, 1, 10)));
    two.told(|told| told.received.len() == 1).await;
    assert_eq!(one.recorder.told.borrow().unreachable, []);
    // It does not hang on that of the other direction any more.
    two.transport.stop();
    in_time(two.transport.stopped()).await;
    eventually(|| one.transport.peers() == [(two.id, false)].into()).await;
}

#[tokio::test]
async fn a_newer_connection_says_where_its_member_is_now() {
    let (one, before, after) = (Site::start(1).await, listener().await, listener().await);
    let mut older = one.dialed_by(&hello_at(2, 1, &before)).await.unwrap();
    let mut left = take_in(&before).await;
    let newer = one.dialed_by(&hello_at(2, 1, &after)).await.unwrap();
    closed(&mut older).await;
    closed(&mut left).await;
    let _kept = take_in(&after).await;
    one.connected(MemberId(2), true).await;
    drop(newer);
    eventually(|| one.transport.peers().is_empty()).await;
}

#[tokio::test]
async fn an_acquaintance_that_is_removed_is_cut_off_in_both_directions_and_not_taken_in_again() {
    let (one, listener) = (Site::start(1).await, listener().await);
    let hello = hello_at(2, 1, &listener);
    let mut dialed = one.dialed_by(&hello).await.unwrap();
    let mut stream = take_in(&listener).await;
    one.connected(MemberId(2), true).await;
    let place = (MemberId(2), listener.local_addr().unwrap());
    one.transport.set_peers(&without(members(&[one.place(), place]), &[MemberId(2)]));
    assert_eq!(one.transport.peers(), BTreeMap::new());
    closed(&mut dialed).await;
    closed(&mut stream).await;
    // It may have been admitted just before.
    let mut late = one.dialed_by(&hello).await.unwrap();
    closed(&mut late).await;
    assert_eq!(one.transport.peers(), BTreeMap::new());
}

#[tokio::test]
async fn a_member_that_moved_while_this_one_was_away_is_found_where_it_says_that_it_is() {
    let (one, two) = (Site::start(1).await, Site::start(2).await);
    one.transport.set_peers(&members(&[one.place(), (two.id, nowhere().await)]));
    assert_eq!(one.transport.peers(), [(two.id, false)].into());
    two.join(&[one.place()]).await;
    one.connected(two.id, true).await;
    // Once the members say the same, what is connected stays so.
    one.transport.set_peers(&members(&[one.place(), two.place()]));
    for number in 1..=3 {
        assert!(one.transport.send(two.id, append(1, 2, number, 10)));
    }
    two.told(|told| told.received.len() == 3).await;
    assert_eq!(one.recorder.told.borrow().unreachable, []);
}

#[tokio::test]
async fn a_member_is_dialed_where_the_table_says_before_where_it_says_itself() {
    let (one, listed, said) = (Site::start(1).await, listener().await, listener().await);
    let _dialed = one.dialed_by(&hello_at(2, 1, &said)).await.unwrap();
    let there = take_in(&said).await;
    one.connected(MemberId(2), true).await;
    one.transport.set_peers(&members(&[(MemberId(2), listed.local_addr().unwrap())]));
    drop(there);
    let there = take_in(&listed).await;
    drop((there, listed));
    let _there = take_in(&said).await;
    one.connected(MemberId(2), true).await;
}

#[tokio::test]
async fn those_that_nobody_knows_have_a_bound_and_members_have_none() {
    let one = Site::start(1).await;
    let most = u64::try_from(MAX_PEER_ACQUAINTANCES).unwrap();
    let mut dialed = Vec::new();
    for id in 2..most + 2 {
        dialed.push(one.dialed_by(&hello(id, 1)).await.unwrap());
    }
    eventually(|| one.transport.peers().len() == MAX_PEER_ACQUAINTANCES).await;
    let mut late = one.dialed_by(&hello(1000, 1)).await.unwrap();
    closed(&mut late).await;
    // One of them that dials anew takes its own place.
    dialed.push(one.dialed_by(&hello(2, 1)).await.unwrap());
    closed(dialed.first_mut().unwrap()).await;
    one.transport.set_peers(&members(&[(MemberId(1000), nowhere().await)]));
    let _member = one.dialed_by(&hello(1000, 1)).await.unwrap();
    eventually(|| one.transport.peers().len() == MAX_PEER_ACQUAINTANCES + 1).await;
    dialed.clear();
    eventually(|| one.transport.peers().len() == 1).await;
    let _late = one.dialed_by(&hello(1001, 1)).await.unwrap();
    eventually(|| one.transport.peers().contains_key(&MemberId(1001))).await;
}

#[tokio::test]
async fn a_member_says_that_it_is_where_the_members_say_so() {
    let (one, listener) = (Site::start(1).await, listener().await);
    let place = (MemberId(2), listener.local_addr().unwrap());
    one.transport.set_peers(&members(&[place]));
    let (stream, greeting) = take_connection(&listener).await;
    assert_eq!(greeting.urls, [url(one.address)], "as it was told at its start");
    let mut with_own = members(&[place, one.place()]);
    with_own.get_mut(one.id).unwrap().peer_urls = vec!["http://one.example:2380".to_owned()];
    one.transport.set_peers(&with_own);
    drop(stream);
    let (_, greeting) = take_connection(&listener).await;
    assert_eq!(greeting.urls, ["http://one.example:2380"]);
}
