//! Claims about whom a member is connected to: who comes, who goes, who moves, who is in the way.

use tokio::io::AsyncWriteExt as _;

use super::*;

#[tokio::test]
async fn a_member_that_is_removed_is_let_go_and_one_that_moves_is_followed() {
    let (one, two) = pair().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let three = (MemberId(3), listener.local_addr().unwrap());
    // A list of members names this one, too.
    one.transport.set_peers(&members(&[one.place(), two.place(), three]));
    let mut left = take_in(&listener).await;
    one.connected(MemberId(3), true).await;
    assert_eq!(one.transport.peers(), [(two.id, true), (MemberId(3), true)].into());

    one.recorder.outsiders.write().insert(two.id, Refusal::Removed);
    one.transport.set_peers(&without(members(&[two.place(), three]), &[two.id]));
    assert_eq!(one.transport.peers(), [(MemberId(3), true)].into());
    assert!(!one.transport.send(two.id, append(1, 2, 1, 10)));
    // What it had dialed is ended as well, and it hears why.
    two.told(|told| told.unreachable == [MemberId(1)]).await;
    two.told(|told| told.refused.contains(&(MemberId(1), Refusal::Removed))).await;

    let elsewhere = Site::start(3).await;
    one.transport.set_peers(&members(&[elsewhere.place()]));
    one.told(|told| told.unreachable == [MemberId(3)]).await;
    closed(&mut left).await;
    one.connected(elsewhere.id, true).await;
    assert!(one.transport.send(elsewhere.id, append(1, 3, 1, 10)));
    elsewhere.told(|told| told.received.len() == 1).await;
}

#[tokio::test]
async fn peers_may_be_set_by_a_thread_that_knows_no_runtime() {
    let (one, two) = (Site::start(1).await, Site::start(2).await);
    std::thread::scope(|scope| scope.spawn(|| one.transport.set_peers(&members(&[two.place()]))).join().unwrap());
    one.connected(two.id, true).await;
}

#[tokio::test]
async fn each_url_is_tried_until_one_answers() {
    let (one, two) = (Site::start(1).await, Site::start(2).await);
    let mut both = members(&[two.place()]);
    let urls = [url(nowhere().await), "nonsense".to_owned(), url(two.address)];
    both.get_mut(two.id).unwrap().peer_urls = urls.to_vec();
    one.transport.set_peers(&both);
    one.connected(two.id, true).await;
}

#[tokio::test]
async fn a_newer_connection_of_a_member_replaces_its_older_one() {
    let one = Site::start(1).await;
    let mut older = one.dialed_by(&hello(2, 1)).await.unwrap();
    let mut other = one.dialed_by(&hello(3, 1)).await.unwrap();
    let mut newer = one.dialed_by(&Hello { incarnation: Incarnation(2), ..hello(2, 1) }).await.unwrap();
    closed(&mut older).await;
    for (stream, from) in [(&mut newer, 2), (&mut other, 3)] {
        let mut bytes = Vec::new();
        append(from, 1, 1, 10).append_to(&mut bytes).unwrap();
        stream.write_all(&bytes).await.unwrap();
        one.told(|told| told.received.iter().any(|(member, _)| *member == MemberId(from))).await;
    }
}

#[tokio::test]
async fn those_who_say_nothing_are_in_nobodys_way_for_long() {
    let patience = Patience { handshake: Duration::from_millis(300), ..Patience::default() };
    let one = Site::start_at(1, "127.0.0.1:0", patience).await;
    let mut silent = Vec::new();
    for _ in 0..2 * MAX_PEER_HANDSHAKES {
        silent.push(TcpStream::connect(one.address).await.unwrap());
    }
    let begun = Instant::now();
    let welcomed = one.dialed_by(&hello(2, 1)).await;
    assert!(welcomed.is_ok());
    assert!(begun.elapsed() >= patience.handshake, "so many at once have no bound");
    for stream in &mut silent {
        closed(stream).await;
    }
}

#[tokio::test]
async fn a_transport_that_is_dropped_frees_its_address_and_ends_its_connections() {
    let (one, two) = pair().await;
    let Site { address, transport, .. } = two;
    drop(transport);
    one.connected(MemberId(2), false).await;
    eventually(|| std::net::TcpListener::bind(address).is_ok()).await;
}
