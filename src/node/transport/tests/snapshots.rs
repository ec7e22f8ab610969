//! Claims about snapshots: whole at the receiver or known to have failed at both ends, and never all in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::node::transport::snapshot::BrokenOff;

const MIB: usize = 1024 * 1024;

fn announcement(from: u64, to: u64) -> Message {
    raft_message(MessageType::MsgSnapshot, from, to, |message| message.mut_snapshot().mut_metadata().index = 77)
}

async fn handed(site: &mut Site) -> Handed {
    in_time(site.snapshots.recv()).await.unwrap()
}

/// Sends so many MiB, and counts what has gone into the sink.
fn send(
    site: &Site,
    to: MemberId,
    mib: usize,
    put: &Arc<AtomicUsize>,
) -> impl Future<Output = Result<(), SnapshotSendError>> + Send + 'static + use<> {
    let (chunk, put) = (Bytes::from(vec![7; MIB]), Arc::clone(put));
    site.transport.send_snapshot(to, announcement(site.id.get(), to.get()), move |sink| {
        while put.load(Ordering::SeqCst) < mib && sink.put(chunk.clone()) {
            put.fetch_add(1, Ordering::SeqCst);
        }
        Ok::<_, String>(())
    })
}

/// Waits until a count has stood still for a while.
async fn at_rest(count: &AtomicUsize) -> usize {
    let (mut last, mut still) = (0, 0);
    eventually(|| {
        let now = count.load(Ordering::SeqCst);
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
        still == 40
    })
    .await;
    last
}

async fn patient_pair(snapshot_stall: Duration) -> (Site, Site) {
    let patience = Patience { snapshot_stall, ..Patience::default() };
    let one = Site::start_at(1, "127.0.0.1:0", patience).await;
    let two = Site::start_at(2, "127.0.0.1:0", patience).await;
    one.join(&[two.place()]).await;
    (one, two)
}

#[tokio::test]
async fn a_snapshot_arrives_whole_whatever_the_size_of_its_chunks() {
    let (one, mut two) = pair().await;
    let bytes: Vec<u8> = (0..7 * MIB + 11).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let whole = Bytes::from(bytes);
    let source = whole.clone();
    let sending = tokio::spawn(one.transport.send_snapshot(two.id, announcement(1, 2), move |sink| {
        let mut rest = source;
        for size in [0, 1, 3 * MIB, MIB, usize::MAX] {
            assert!(sink.put(rest.split_to(size.min(rest.len()))));
        }
        Ok::<_, String>(())
    }));
    let mut handed = handed(&mut two).await;
    assert_eq!((handed.from, &handed.message), (one.id, &announcement(1, 2)));
    let mut got = Vec::new();
    while let Some(chunk) = in_time(handed.body.next()).await.unwrap() {
        assert!(chunk.len() <= MIB);
        got.extend_from_slice(&chunk);
    }
    assert!(got == whole);
    assert_eq!(handed.body.next().await, Ok(None));
    assert!(!sending.is_finished(), "it is not installed yet");
    handed.answer.send(Ok(())).unwrap();
    in_time(sending).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_slow_receiver_holds_the_sender_up_and_not_its_memory() {
    let (one, mut two) = pair().await;
    let put = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn(send(&one, two.id, 64, &put));
    let Handed { mut body, answer, .. } = handed(&mut two).await;
    let ahead = at_rest(&put).await;
    assert!(ahead < 40, "{ahead} MiB were read for a receiver that took none");
    let taken = tokio::task::spawn_blocking(move || {
        let mut taken = 0;
        while let Some(chunk) = body.blocking_next().unwrap() {
            taken += chunk.len();
        }
        taken
    });
    assert_eq!(in_time(taken).await.unwrap(), 64 * MIB);
    answer.send(Ok(())).unwrap();
    in_time(sending).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_is_none_at_either_end() {
    let (one, mut two) = pair().await;
    let failing = one.transport.send_snapshot(two.id, announcement(1, 2), |sink| {
        sink.put(Bytes::from_static(b"some"));
        Err("the disk is gone")
    });
    let failing = tokio::spawn(failing);
    let mut first = handed(&mut two).await;
    let error = in_time(failing).await.unwrap().unwrap_err();
    assert!(matches!(&error, SnapshotSendError::Source(reason) if reason == "the disk is gone"), "{error}");
    assert_eq!(in_time(first.body.next()).await, Ok(Some(Bytes::from_static(b"some"))));
    assert_eq!(in_time(first.body.next()).await, Err(BrokenOff));
    first.answer.send(Err("it broke off".to_owned())).unwrap();

    let panicking = |_: &SnapshotSink| -> Result<(), String> { panic!("planted") };
    let panicking = tokio::spawn(one.transport.send_snapshot(two.id, announcement(1, 2), panicking));
    assert!(matches!(in_time(panicking).await.unwrap(), Err(SnapshotSendError::Source(_))));
}

#[tokio::test]
async fn a_snapshot_given_up_by_its_sender_is_known_to_be_incomplete() {
    let (one, mut two) = pair().await;
    let put = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn(send(&one, two.id, 64, &put));
    let mut handed = handed(&mut two).await;
    sending.abort();
    let broken = loop {
        match in_time(handed.body.next()).await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert_eq!(broken, Err(BrokenOff));
}

#[tokio::test]
async fn what_becomes_of_a_snapshot_at_its_receiver_is_told_to_its_sender() {
    let (one, mut two) = pair().await;
    let put = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn(send(&one, two.id, 64, &put));
    handed(&mut two).await.answer.send(Err("no space is left".to_owned())).unwrap();
    let error = in_time(sending).await.unwrap().unwrap_err();
    assert!(matches!(&error, SnapshotSendError::Failed(reason) if reason == "no space is left"), "{error}");
    assert!(put.load(Ordering::SeqCst) < 64, "it went on to the end");

    let sending = tokio::spawn(send(&one, two.id, 64, &Arc::default()));
    let Handed { body, answer, .. } = handed(&mut two).await;
    drop(body);
    answer.send(Ok(())).unwrap();
    let error = in_time(sending).await.unwrap().unwrap_err();
    assert!(matches!(&error, SnapshotSendError::Failed(_)), "{error}");

    let sending = tokio::spawn(send(&one, two.id, 64, &Arc::default()));
    let _handed = handed(&mut two).await;
    two.transport.stop();
    assert!(matches!(in_time(sending).await.unwrap(), Err(SnapshotSendError::Connection(_))));
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_is_given_up() {
    let (one, mut two) = patient_pair(Duration::from_millis(300)).await;
    let sending = tokio::spawn(send(&one, two.id, 64, &Arc::default()));
    let _untouched = handed(&mut two).await;
    let error = in_time(sending).await.unwrap().unwrap_err();
    assert!(matches!(error, SnapshotSendError::Stalled { .. } | SnapshotSendError::Connection(_)), "{error}");
}

#[tokio::test]
async fn a_receiver_that_is_at_work_is_waited_for() {
    let stall = Duration::from_secs(1);
    let (one, mut two) = patient_pair(stall).await;
    let mut sending = tokio::spawn(send(&one, two.id, 1, &Arc::default()));
    let mut handed = handed(&mut two).await;
    while in_time(handed.body.next()).await.unwrap().is_some() {}
    let early = tokio::time::timeout(2 * stall, &mut sending).await;
    assert!(early.is_err(), "{early:?}");
    handed.answer.send(Ok(())).unwrap();
    in_time(sending).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_snapshot_is_taken_at_a_time() {
    let (one, mut two) = pair().await;
    let three = Site::start(3).await;
    three.join(&[two.place()]).await;
    let first = tokio::spawn(send(&one, two.id, 1, &Arc::default()));
    let mut handed_first = handed(&mut two).await;
    assert!(matches!(in_time(send(&three, two.id, 64, &Arc::default())).await, Err(SnapshotSendError::Busy)));
    while in_time(handed_first.body.next()).await.unwrap().is_some() {}
    handed_first.answer.send(Ok(())).unwrap();
    in_time(first).await.unwrap().unwrap();
    let second = tokio::spawn(send(&three, two.id, 1, &Arc::default()));
    handed(&mut two).await.answer.send(Err("enough".to_owned())).unwrap();
    assert!(matches!(in_time(second).await.unwrap(), Err(SnapshotSendError::Failed(_))));
}

#[tokio::test]
async fn a_snapshot_goes_to_members_only_and_from_this_one() {
    let (one, mut two) = pair().await;
    let put = Arc::default();
    assert!(matches!(in_time(send(&one, MemberId(9), 1, &put)).await, Err(SnapshotSendError::NoMember)));
    let sending = tokio::spawn(send(&one, two.id, 64, &put));
    let _untouched = handed(&mut two).await;
    one.transport.set_peers(&without(members(&[one.place(), two.place()]), &[two.id]));
    assert!(matches!(in_time(sending).await.unwrap(), Err(SnapshotSendError::Stopped)));

    let (three, mut four) = (Site::start(3).await, Site::start(4).await);
    three.join(&[four.place()]).await;
    for announced in [announcement(1, 4), raft_message(MessageType::MsgAppend, 3, 4, |_| {})] {
        let foreign = three.transport.send_snapshot(four.id, announced, |_| Ok::<_, String>(()));
        assert!(matches!(in_time(foreign).await, Err(SnapshotSendError::Connection(_))));
    }
    assert!(four.snapshots.try_recv().is_err());
}

#[tokio::test]
async fn a_member_that_refuses_gets_no_snapshot() {
    let (one, two) = pair().await;
    two.recorder.outsiders.write().insert(one.id, Refusal::Removed);
    let error = in_time(send(&one, two.id, 1, &Arc::default())).await.unwrap_err();
    let refused = SnapshotSendError::Connection(ConnectionError::Refused(Refusal::Removed));
    assert_eq!(error.to_string(), refused.to_string());
}
