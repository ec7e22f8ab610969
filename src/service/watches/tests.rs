//! Claims about many watches that one task follows, at a member that is alone: in which order they give, and how far they are
//! said to be.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;
use crate::model::limits::MAX_TXN_OPS;
use crate::model::{Attach, Command, Key, KeyRange, Op, Put, Txn};
use crate::service::alone::Alone;
use crate::service::{OnCompacted, Start};

/// How long anything awaited may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

impl Alone {
    async fn put_key(&self, key: &str) -> Revision {
        let revision = self.set(key, "v").await;
        self.hand_out(revision).await
    }

    /// One revision that no watch is given at once.
    async fn put_much(&self) -> Revision {
        let put = |number: usize| {
            let (key, value) = (Key::new(format!("m{number}")).unwrap(), Some(vec![b'v'; 10_000].into()));
            Op::Put(Put { key, value, content_type: None, attach: Attach::Detach, previous: false })
        };
        let then = (0..MAX_TXN_OPS).map(put).collect();
        let done = self.write(Command::Txn(Txn { compares: Vec::new(), then, otherwise: Vec::new() })).await;
        self.hand_out(done.revision).await
    }

    /// Waits until the watches have what came of a write.
    async fn hand_out(&self, revision: Revision) -> Revision {
        let deadline = Instant::now() + LIMIT;
        while how_far(&self.service.0.node, std::iter::empty()).0 < revision {
            assert!(Instant::now() < deadline, "it is not handed out");
            yield_now().await;
        }
        revision
    }
}

fn all(start: Start) -> WatchRequest {
    let (range, children_of, kinds) = (KeyRange::prefix(""), None, Vec::new());
    WatchRequest { range, children_of, kinds, start, on_compacted: OnCompacted::End, progress_every: None }
}

/// What is told next: a watch, the last revision that it tells of, and whether that is amid it; or how far all are.
async fn next(watches: &mut Watches<u32>) -> Result<(u32, u64, bool), Revision> {
    match timeout(LIMIT, watches.next()).await.expect("nothing is told") {
        Told::Item(name, WatchItem::Events(events)) => {
            let (last, ends) = events.iter().last().map(|(event, ends)| (event.revision.get(), ends)).unwrap();
            Ok((name, last, !ends))
        }
        Told::Item(name, item) => panic!("{name}: {item:?}"),
        Told::Through(through) => Err(through),
    }
}

/// Polls until nothing is left to give, so that all watches wait for what happens.
fn settle(watches: &mut Watches<u32>) {
    let told = watches.next().now_or_never();
    assert!(told.is_none(), "{told:?}");
}

#[tokio::test]
async fn what_a_watch_has_begun_of_a_revision_it_gives_to_the_end_before_others_begin() {
    let alone = Alone::start();
    let mut watches = alone.service.watches(None);
    for name in 0..10 {
        watches.add(name, all(Start::Now)).unwrap();
    }
    alone.put_key("a").await;
    let last = alone.put_much().await.get();
    watches.ask_progress();
    let (mut amid, mut pieces, mut ended) = (None, 0, BTreeSet::new());
    while ended.len() < 10 {
        assert_eq!(watches.is_amid_revision(), amid.is_some());
        let (name, through, begun) = next(&mut watches).await.expect("progress before all was given");
        assert!(amid.is_none_or(|amid| amid == name), "{name} begins while {amid:?} has not ended");
        pieces += usize::from(begun);
        amid = begun.then_some(name);
        if !begun && through == last {
            ended.insert(name);
        }
    }
    assert!(pieces >= 10, "no revision came in pieces");
    assert_eq!(next(&mut watches).await, Err(Revision(last)));
}

#[tokio::test]
async fn progress_is_told_once_all_have_given_what_there_was_though_one_always_has_more() {
    let alone = Alone::start();
    let mut watches = alone.service.watches(None);
    for name in 0..3 {
        watches.add(name, all(Start::Now)).unwrap();
    }
    settle(&mut watches);
    let asked_at = alone.put_key("a").await;
    watches.ask_progress();
    // From here on each is busy whenever it is looked at.
    let mut seen = [0; 3];
    loop {
        alone.put_key("a").await;
        match next(&mut watches).await {
            Ok((name, through, _)) => seen[usize::try_from(name).unwrap()] = through,
            Err(through) => {
                assert!(through == asked_at && seen.iter().all(|seen| Revision(*seen) >= through), "{seen:?}");
                break;
            }
        }
        assert!(alone.service.header().revision.get() < asked_at.get() + 50, "it is never told");
    }
}

#[tokio::test]
async fn progress_waits_for_one_that_began_meanwhile_in_the_past_and_not_for_one_that_is_gone() {
    let alone = Alone::start();
    let mut watches = alone.service.watches(None);
    alone.put_key("a").await;
    watches.add(0, all(Start::After(Revision::FIRST))).unwrap();
    watches.ask_progress();
    watches.add(1, all(Start::After(Revision::FIRST))).unwrap();
    assert!(watches.remove(0));
    assert_eq!(next(&mut watches).await, Ok((1, 2, false)));
    assert_eq!(next(&mut watches).await, Err(Revision(2)));
    assert_eq!(watches.through(&[0, 1]), [(1, Revision(2))]);
}

#[tokio::test]
async fn progress_through_history_that_says_nothing_to_a_watch_is_told_without_an_event() {
    let alone = Alone::start();
    alone.put_key("a").await;
    let mut watches = alone.service.watches(None);
    let nothing = WatchRequest { range: KeyRange::prefix("nothing"), ..all(Start::After(Revision::FIRST)) };
    watches.add(0, nothing).unwrap();
    assert_eq!(watches.through(&[0]), [(0, Revision::FIRST)]);
    watches.ask_progress();
    assert_eq!(next(&mut watches).await, Err(Revision(2)));
    assert_eq!(watches.through(&[0]), [(0, Revision(2))]);
}

#[tokio::test]
async fn however_often_progress_is_asked_for_while_it_is_waited_for_it_is_told_twice() {
    let alone = Alone::start();
    let mut watches = alone.service.watches(None);
    watches.add(0, all(Start::Now)).unwrap();
    settle(&mut watches);
    alone.put_key("a").await;
    for _ in 0..1000 {
        watches.ask_progress();
    }
    assert_eq!(next(&mut watches).await, Ok((0, 2, false)));
    assert_eq!(next(&mut watches).await, Err(Revision(2)));
    assert_eq!(next(&mut watches).await, Err(Revision(2)));
    settle(&mut watches);
    watches.ask_progress();
    assert_eq!(next(&mut watches).await, Err(Revision(2)), "where nothing is waited for each is answered");
}
