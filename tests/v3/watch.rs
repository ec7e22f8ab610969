//! Watches: what each option does, what is told of a watch that begins and ends, and that nothing is left out.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::{Code, Response, Status, Streaming};

use crate::support::Server;
use crate::txn::{op_delete, op_put, then};
use crate::{LIMIT, V3, bytes, delete, pb, put, revision, start, told};
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

/// Writes after each of which progress is asked for.
const WRITES: usize = 500;
/// Requests that wait to be sent on one stream.
const WAITING: usize = 1024;

/// A stream of watches.
pub(crate) struct Watching {
    requests: mpsc::Sender<pb::WatchRequest>,
    /// The call, until it is answered: etcd says nothing before it is asked something.
    opening: Option<JoinHandle<Result<Response<Answers>, Status>>>,
    answers: Option<Answers>,
}

type Answers = Streaming<pb::WatchResponse>;

impl Watching {
    pub(crate) fn of(v3: &V3) -> Self {
        let (requests, waiting) = mpsc::channel(WAITING);
        let waiting = stream::unfold(waiting, |mut waiting| async move {
            let request = waiting.recv().await?;
            Some((request, waiting))
        });
        let mut client = v3.watch();
        let opening = tokio::spawn(async move { client.watch(waiting).await });
        Self { requests, opening: Some(opening), answers: None }
    }

    pub(crate) async fn ask(&self, request: RequestUnion) {
        self.requests.send(pb::WatchRequest { request_union: Some(request) }).await.unwrap();
    }

    pub(crate) async fn create(&mut self, request: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.ask(RequestUnion::CreateRequest(request)).await;
        self.next().await
    }

    pub(crate) async fn cancel(&self, watch_id: i64) {
        self.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id })).await;
    }

    pub(crate) async fn ask_progress(&self) {
        self.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    }

    async fn try_next(&mut self) -> Result<pb::WatchResponse, Status> {
        self.next_within(LIMIT).await.expect("no answer comes")
    }

    /// The next answer; nothing where none comes in time.
    pub(crate) async fn next_within(&mut self, limit: Duration) -> Option<Result<pb::WatchResponse, Status>> {
        if let Some(opening) = &mut self.opening {
            let opened = timeout(limit, opening).await.ok()?.unwrap();
            self.opening = None;
            match opened {
                Ok(answers) => self.answers = Some(answers.into_inner()),
                Err(status) => return Some(Err(status)),
            }
        }
        let answers = self.answers.as_mut().expect("the stream did not open");
        Some(timeout(limit, answers.next()).await.ok()?.expect("the stream has ended"))
    }

    pub(crate) async fn next(&mut self) -> pb::WatchResponse {
        self.try_next().await.unwrap()
    }

    /// The next answer, which is of events, as text.
    async fn events(&mut self) -> Vec<String> {
        let answer = self.next().await;
        assert!(!answer.created && !answer.canceled && !answer.events.is_empty(), "{answer:?}");
        answer.events.iter().map(shown).collect()
    }
}

/// `PUT key=value @revision`, and what was before in brackets.
fn shown(event: &pb::Event) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kv = event.kv.as_ref().unwrap();
    let before = event.prev_kv.as_ref().map_or(String::new(), |kv| format!(" [{}]", text(&kv.value)));
    if event.r#type == 0 {
        format!("PUT {}={} @{}{before}", text(&kv.key), text(&kv.value), kv.mod_revision)
    } else {
        let bare = pb::KeyValue { key: kv.key.clone(), mod_revision: kv.mod_revision, ..Default::default() };
        assert_eq!(*kv, bare, "nothing else is said of a key that is gone");
        format!("DELETE {} @{}{before}", text(&kv.key), kv.mod_revision)
    }
}

pub(crate) fn of(key: &str, end: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

/// Puts values to keys, many at once.
async fn put_all(v3: &V3, puts: impl Iterator<Item = (String, String)>) {
    let puts = puts.map(|(key, value)| async move { v3.put(&key, &value).await });
    stream::iter(puts).buffer_unordered(64).for_each(async |_| ()).await;
}

async fn remove(v3: &V3, key: &str) -> i64 {
    revision(told(v3.kv().delete_range(delete(key, "")).await).unwrap().header)
}

async fn compact(v3: &V3, revision: i64) {
    told(v3.kv().compact(pb::CompactionRequest { revision, physical: true }).await).unwrap();
}

#[tokio::test]
async fn a_watch_tells_of_what_happens_from_now_on_to_its_keys_alone() {
    let (_server, v3) = start();
    v3.put("a", "before").await;
    let mut watching = Watching::of(&v3);
    let created = watching.create(of("a", "")).await;
    assert_eq!((revision(created.header), created.watch_id, created.created), (2, 0, true));
    v3.put("ab", "another").await;
    v3.put("a", "1").await;
    remove(&v3, "a").await;
    assert_eq!(watching.events().await, ["PUT a=1 @4"]);
    let gone = watching.next().await;
    assert_eq!(revision(gone.header), 5);
    assert_eq!(gone.events.iter().map(shown).collect::<Vec<_>>(), ["DELETE a @5"]);
}

#[tokio::test]
async fn a_range_is_told_of_up_to_its_end_and_from_its_beginning_on() {
    let (_server, v3) = start();
    let mut watching = Watching::of(&v3);
    for (id, (key, end)) in (0..).zip([("b", "d"), ("c", "\0"), ("", "\0")]) {
        assert_eq!(watching.create(of(key, end)).await.watch_id, id);
    }
    for key in ["a", "b", "c", "d"] {
        v3.put(key, "").await;
    }
    let mut told = [vec![], vec![], vec![]];
    while told.iter().map(Vec::len).sum::<usize>() < 8 {
        let answer = watching.next().await;
        let keys = answer.events.iter().map(|event| event.kv.as_ref().unwrap().key.clone());
        told[usize::try_from(answer.watch_id).unwrap()].extend(keys);
    }
    assert_eq!(told, [vec!["b", "c"], vec!["c", "d"], vec!["a", "b", "c", "d"]]);
}

#[tokio::test]
async fn one_that_begins_in_the_past_is_told_of_all_since_and_then_goes_on() {
    let (_server, v3) = start();
    for value in ["2", "3", "4"] {
        v3.put("a", value).await;
    }
    let mut watching = Watching::of(&v3);
    watching.create(pb::WatchCreateRequest { start_revision: 3, ..of("a", "") }).await;
    let past = watching.next().await;
    assert_eq!(past.events.iter().map(shown).collect::<Vec<_>>(), ["PUT a=3 @3", "PUT a=4 @4"]);
    assert_eq!(revision(past.header), 4);
    v3.put("a", "5").await;
    assert_eq!(watching.events().await, ["PUT a=5 @5"]);
}

#[tokio::test]
async fn one_that_begins_in_the_future_is_told_of_nothing_before() {
    let (_server, v3) = start();
    let mut watching = Watching::of(&v3);
    let created = watching.create(pb::WatchCreateRequest { start_revision: 4, ..of("a", "") }).await;
    assert_eq!(revision(created.header), 1);
    for value in ["2", "3", "4"] {
        v3.put("a", value).await;
    }
    assert_eq!(watching.events().await, ["PUT a=4 @4"]);
}

#[tokio::test]
async fn filters_leave_out_puts_deletions_or_both() {
    let (_server, v3) = start();
    let mut watching = Watching::of(&v3);
    let (no_puts, no_deletions) = (FilterType::Noput.into(), FilterType::Nodelete.into());
    for (watch_id, filters) in [(1, vec![no_puts]), (2, vec![no_deletions]), (3, vec![no_puts, no_deletions])] {
        watching.create(pb::WatchCreateRequest { filters, watch_id, ..of("a", "") }).await;
    }
    v3.put("a", "1").await;
    remove(&v3, "a").await;
    let mut told = [watching.next().await, watching.next().await];
    told.sort_by_key(|answer| answer.watch_id);
    let told: Vec<_> = told.iter().map(|answer| (answer.watch_id, shown(&answer.events[0]))).collect();
    assert_eq!(told, [(1, "DELETE a @3".to_owned()), (2, "PUT a=1 @2".to_owned())]);
    watching.ask_progress().await;
    let progress = watching.next().await;
    assert_eq!((progress.watch_id, revision(progress.header), progress.events.len()), (-1, 3, 0));
}

#[tokio::test]
async fn what_was_before_is_told_where_it_is_asked_for_and_there_was_something() {
    let (_server, v3) = start();
    let mut watching = Watching::of(&v3);
    watching.create(pb::WatchCreateRequest { prev_kv: true, ..of("a", "") }).await;
    v3.put("a", "1").await;
    v3.put("a", "2").await;
    remove(&v3, "a").await;
    v3.put("a", "4").await;
    for told in ["PUT a=1 @2", "PUT a=2 @3 [1]", "DELETE a @4 [2]", "PUT a=4 @5"] {
        assert_eq!(watching.events().await, [told]);
    }
}

#[tokio::test]
async fn the_events_of_one_revision_come_in_one_answer_however_many() {
    let (_server, v3) = start();
    put_all(&v3, (0..3000).map(|number| (format!("k{number:04}"), "v".repeat(500)))).await;
    let mut watching = Watching::of(&v3);
    watching.create(pb::WatchCreateRequest { prev_kv: true, ..of("", "\0") }).await;
    v3.txn(then(vec![op_put("x", "1"), op_delete("k0000", "k0002"), op_put("y", "1")])).await.unwrap();
    let mut txn = watching.events().await;
    txn.sort();
    assert_eq!(txn.len(), 4);
    told(v3.kv().delete_range(pb::DeleteRangeRequest { prev_kv: false, ..delete("k", "l") }).await).unwrap();
    assert_eq!(watching.next().await.events.len(), 2998);
}

#[tokio::test]
async fn a_large_revision_comes_in_fragments_where_they_are_asked_for() {
    let (_server, v3) = start();
    for number in 0..6 {
        v3.put(&format!("k{number}"), &"v".repeat(700_000)).await;
    }
    let mut watching = Watching::of(&v3);
    watching.create(pb::WatchCreateRequest { prev_kv: true, fragment: true, ..of("k", "l") }).await;
    told(v3.kv().delete_range(pb::DeleteRangeRequest { prev_kv: false, ..delete("k", "l") }).await).unwrap();
    let (mut keys, mut last) = (0, false);
    let mut pieces = 0;
    while !last {
        let piece = watching.next().await;
        assert_eq!(revision(piece.header), 8);
        (keys, pieces, last) = (keys + piece.events.len(), pieces + 1, !piece.fragment);
    }
    assert_eq!((keys, pieces), (6, 3));
    v3.put("k", "1").await;
    assert!(!watching.next().await.fragment);
}

#[tokio::test]
async fn nothing_comes_between_the_fragments_of_a_revision() {
    let (_server, v3) = start();
    for number in 0..8 {
        v3.put(&format!("k{number}"), &"v".repeat(700_000)).await;
    }
    let mut watching = Watching::of(&v3);
    let count = 6;
    for watch_id in 1..=count {
        let request = pb::WatchCreateRequest { prev_kv: true, fragment: true, watch_id, ..of("k", "l") };
        assert!(watching.create(request).await.created);
    }
    told(v3.kv().delete_range(pb::DeleteRangeRequest { prev_kv: false, ..delete("k", "l") }).await).unwrap();
    let (mut amid, mut pieces, mut others, mut whole) = (None, 0, 0, 0);
    while whole < count {
        // There is always something else to say.
        watching.ask(RequestUnion::CreateRequest(of("x", ""))).await;
        watching.ask_progress().await;
        let answer = watching.next().await;
        assert!(amid.is_none_or(|amid| amid == answer.watch_id), "{amid:?}: {answer:?}");
        amid = answer.fragment.then_some(answer.watch_id);
        pieces += i64::from(answer.fragment);
        others += i64::from(answer.events.is_empty());
        whole += i64::from(!answer.fragment && !answer.events.is_empty());
    }
    assert!(pieces >= 3 * count && others > 0, "{pieces} fragments and {others} others");
}

#[tokio::test]
async fn numbers_are_the_clients_or_the_lowest_free_one_and_never_given_twice() {
    let (_server, v3) = start();
    let mut watching = Watching::of(&v3);
    let mut numbers = Vec::new();
    for watch_id in [0, 1, 0, 7, -3, 0, 3] {
        numbers.push(watching.create(pb::WatchCreateRequest { watch_id, ..of("a", "") }).await.watch_id);
    }
    assert_eq!(numbers, [0, 1, 2, 7, -3, 3, -1]);
    let refused = watching.create(pb::WatchCreateRequest { watch_id: 7, ..of("b", "") }).await;
    assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
    assert_eq!(refused.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    watching.cancel(7).await;
    assert!(watching.next().await.canceled);
    assert_eq!(watching.create(pb::WatchCreateRequest { watch_id: 7, ..of("b", "") }).await.watch_id, 7);
    // What was given once is not given again by itself.
    watching.cancel(0).await;
    watching.next().await;
    assert_eq!(watching.create(of("a", "")).await.watch_id, 4);
}

#[tokio::test]
async fn a_range_without_keys_is_refused_and_the_stream_goes_on() {
    let (_server, v3) = start();
    let mut watching = Watching::of(&v3);
    for (key, end) in [("b", "a"), ("a", "a")] {
        let refused = watching.create(of(key, end)).await;
        assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
        assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");
    }
    let refused = watching.create(pb::WatchCreateRequest { start_revision: -1, ..of("a", "") }).await;
    assert_eq!(refused.cancel_reason, "etcdserver: mvcc: required revision has been compacted");
    assert_eq!(watching.create(of("a", "")).await.watch_id, 0);
}

#[tokio::test]
async fn a_cancelled_watch_says_so_once_and_nothing_after() {
    let (_server, v3) = start();
    let mut watching = Watching::of(&v3);
    watching.create(pb::WatchCreateRequest { watch_id: 1, ..of("a", "") }).await;
    watching.create(pb::WatchCreateRequest { watch_id: 2, ..of("a", "") }).await;
    watching.cancel(1).await;
    let cancelled = watching.next().await;
    assert_eq!((cancelled.watch_id, cancelled.canceled, cancelled.created), (1, true, false));
    assert_eq!((cancelled.compact_revision, cancelled.cancel_reason.as_str()), (0, ""));
    // Of one that is not there, nothing is said.
    watching.cancel(1).await;
    watching.cancel(404).await;
    v3.put("a", "1").await;
    v3.put("a", "2").await;
    for told in ["PUT a=1 @2", "PUT a=2 @3"] {
        let answer = watching.next().await;
        assert_eq!((answer.watch_id, shown(&answer.events[0]).as_str()), (2, told));
    }
}

#[tokio::test]
async fn a_beginning_that_was_compacted_cancels_with_the_revision_to_begin_at() {
    let (_server, v3) = start();
    for value in ["2", "3", "4", "5"] {
        v3.put("a", value).await;
    }
    compact(&v3, 4).await;
    let mut watching = Watching::of(&v3);
    watching.create(pb::WatchCreateRequest { start_revision: 3, ..of("a", "") }).await;
    let cancelled = watching.next().await;
    assert_eq!((cancelled.watch_id, cancelled.canceled, cancelled.compact_revision), (0, true, 4));
    let header = cancelled.header.unwrap();
    assert!(header.revision == 0 && header.cluster_id != 0);
    watching.create(pb::WatchCreateRequest { start_revision: 4, ..of("a", "") }).await;
    assert_eq!(watching.next().await.events.iter().map(shown).collect::<Vec<_>>(), ["PUT a=4 @4", "PUT a=5 @5"]);
}

#[tokio::test]
async fn progress_is_told_on_request_once_all_watches_have_come_as_far() {
    let (_server, v3) = start();
    let mut watching = Watching::of(&v3);
    watching.ask_progress().await;
    let progress = watching.next().await;
    assert_eq!((progress.watch_id, revision(progress.header)), (-1, 1));
    for number in 0..200 {
        v3.put("a", &number.to_string()).await;
    }
    for _ in 0..3 {
        watching.ask(RequestUnion::CreateRequest(pb::WatchCreateRequest { start_revision: 2, ..of("a", "") })).await;
    }
    watching.ask_progress().await;
    let mut told = [0; 3];
    loop {
        let answer = watching.next().await;
        if answer.watch_id == -1 {
            assert_eq!((revision(answer.header), answer.events.len()), (201, 0));
            break;
        }
        told[usize::try_from(answer.watch_id).unwrap()] += answer.events.len();
    }
    assert_eq!(told, [200; 3], "what it says to have told");
}

#[tokio::test]
async fn progress_is_told_of_what_was_told_also_where_something_always_happens() {
    let (_server, v3) = start();
    let mut watching = Watching::of(&v3);
    watching.create(of("a", "")).await;
    let writer = tokio::spawn({
        let v3 = v3.clone();
        async move {
            loop {
                v3.put("a", "1").await;
            }
        }
    });
    let (mut last, mut answered) = (1, 0);
    watching.ask_progress().await;
    while answered < 50 {
        let answer = watching.next().await;
        if answer.watch_id == -1 {
            assert!(revision(answer.header) <= last, "it says to have told what it has not");
            answered += 1;
            watching.ask_progress().await;
        }
        last = answer.events.last().map_or(last, |event| event.kv.as_ref().unwrap().mod_revision);
    }
    assert!(!writer.is_finished());
    writer.abort();
}

#[tokio::test]
async fn progress_is_not_told_where_one_waits_for_the_future() {
    let (_server, v3) = start();
    let mut watching = Watching::of(&v3);
    watching.create(pb::WatchCreateRequest { start_revision: 4, ..of("a", "") }).await;
    for value in ["2", "3"] {
        watching.ask_progress().await;
        // What is asked later is answered later.
        assert!(watching.create(of("c", "")).await.created);
        v3.put("b", value).await;
    }
    v3.put("a", "4").await;
    assert_eq!(watching.events().await, ["PUT a=4 @4"]);
    watching.ask_progress().await;
    let progress = watching.next().await;
    assert_eq!((progress.watch_id, revision(progress.header)), (-1, 4));
}

#[tokio::test]
async fn progress_is_not_behind_a_write_that_was_acknowledged() {
    let (_server, v3) = start();
    let mut watching = Watching::of(&v3);
    watching.create(of("none", "")).await;
    for _ in 0..WRITES {
        let written = v3.put("a", "1").await;
        watching.ask_progress().await;
        let progress = watching.next().await;
        assert_eq!((progress.watch_id, revision(progress.header)), (-1, written));
    }
}

/// A stream on which progress is told often, to two watches of which the second hears of nothing else: so of what is told
/// between two answers to it, all was told in one interval.
async fn told_often(first: pb::WatchCreateRequest) -> (Server, V3, Watching) {
    let server = Server::with_flags(&["--watch-progress-notify-interval", "100ms"]);
    let v3 = V3::of(&server.url());
    let mut watching = Watching::of(&v3);
    for request in [first, of("nothing", "")] {
        watching.create(pb::WatchCreateRequest { progress_notify: true, ..request }).await;
    }
    (server, v3, watching)
}

#[tokio::test]
async fn progress_is_told_now_and_then_to_those_who_ask_for_it_and_to_no_others() {
    let (_server, v3, mut watching) = told_often(of("a", "")).await;
    watching.ask(RequestUnion::CreateRequest(of("b", ""))).await;
    v3.put("c", "1").await;
    let (mut told, mut quiet) = ([0; 2], 0);
    while told.iter().any(|count| *count < 3) || quiet < 3 {
        let answer = watching.next().await;
        if answer.created {
            continue;
        }
        assert_eq!((answer.events.len(), answer.canceled), (0, false));
        told[usize::try_from(answer.watch_id).unwrap()] += 1;
        quiet += i32::from(revision(answer.header) == 2);
    }
}

#[tokio::test]
async fn progress_is_not_told_now_and_then_to_one_that_has_heard_something_meanwhile() {
    let (_server, v3, mut watching) = told_often(of("a", "")).await;
    let writer = tokio::spawn(async move {
        loop {
            v3.put("a", "1").await;
        }
    });
    let (mut heard, mut busy) = (false, 0);
    while busy < 5 {
        let answer = watching.next().await;
        match (answer.watch_id, answer.events.is_empty()) {
            (0, true) => assert!(!heard, "progress of one that is not quiet"),
            (0, false) => heard = true,
            (1, true) => busy += i32::from(std::mem::take(&mut heard)),
            _ => panic!("{answer:?}"),
        }
    }
    writer.abort();
    // Once it is quiet, it is told again, and of nothing that it has not heard.
    let mut last = 0;
    loop {
        let answer = watching.next().await;
        match answer.events.last() {
            Some(event) => last = event.kv.as_ref().unwrap().mod_revision,
            None if answer.watch_id == 0 => {
                assert!(revision(answer.header) >= last);
                break;
            }
            None => {}
        }
    }
}

#[tokio::test]
async fn progress_is_not_told_now_and_then_below_the_first_revision_that_is_wanted() {
    let (_server, v3, mut watching) = told_often(pb::WatchCreateRequest { start_revision: 4, ..of("a", "") }).await;
    for _ in 0..4 {
        assert_eq!(watching.next().await.watch_id, 1, "the store is at revision 1");
    }
    for _ in 0..3 {
        v3.put("c", "1").await;
    }
    loop {
        let answer = watching.next().await;
        assert!(answer.watch_id == 1 || revision(answer.header) >= 4, "{answer:?}");
        if answer.watch_id == 0 {
            break;
        }
    }
}

#[tokio::test]
async fn a_lease_that_ends_is_a_deletion() {
    let (_server, v3) = start();
    told(v3.lease().lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 5 }).await).unwrap();
    told(v3.kv().put(pb::PutRequest { lease: 5, ..put("a", "1") }).await).unwrap();
    let mut watching = Watching::of(&v3);
    watching.create(pb::WatchCreateRequest { prev_kv: true, ..of("a", "") }).await;
    told(v3.lease().lease_revoke(pb::LeaseRevokeRequest { id: 5 }).await).unwrap();
    let gone = watching.next().await;
    assert_eq!(shown(&gone.events[0]), "DELETE a @3 [1]");
    assert_eq!(gone.events[0].prev_kv.as_ref().unwrap().lease, 5);
}

#[tokio::test]
async fn requests_that_have_ended_leave_the_watches_as_they_are() {
    let (_server, v3) = start();
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(of("a", ""))) };
    let mut answers = told(v3.watch().watch(stream::iter([create])).await).unwrap();
    assert!(answers.next().await.unwrap().unwrap().created);
    v3.put("a", "1").await;
    assert_eq!(shown(&answers.next().await.unwrap().unwrap().events[0]), "PUT a=1 @2");
}

#[tokio::test]
async fn a_reader_that_does_not_read_misses_nothing_and_holds_up_nobody() {
    let (_server, v3) = start();
    let mut slow = Watching::of(&v3);
    slow.create(of("a", "")).await;
    // More than fits into what waits for a watch, and into the windows of the connection.
    let count = 2500;
    put_all(&v3, (0..count).map(|_| ("a".to_owned(), "v".repeat(4000)))).await;
    let mut last = 1;
    while last < count + 1 {
        for event in slow.next().await.events {
            let kv = event.kv.unwrap();
            assert_eq!((kv.mod_revision, kv.value.len()), (last + 1, 4000));
            last = kv.mod_revision;
        }
    }
}

#[tokio::test]
async fn a_reader_that_missed_what_was_compacted_is_told_so() {
    let (_server, v3) = start();
    let mut slow = Watching::of(&v3);
    slow.create(of("a", "")).await;
    put_all(&v3, (0..2500).map(|_| ("a".to_owned(), "v".repeat(4000)))).await;
    let written = 2501;
    compact(&v3, written).await;
    let mut last = 1;
    loop {
        let answer = slow.next().await;
        if answer.canceled {
            assert_eq!(answer.compact_revision, written);
            break;
        }
        for event in answer.events {
            let at = event.kv.unwrap().mod_revision;
            assert_eq!(at, last + 1, "none is left out before");
            last = at;
        }
        assert!(last < written, "all of it was kept in memory");
    }
}

#[tokio::test]
async fn a_watch_that_was_compacted_leaves_its_number_to_the_next() {
    let (_server, v3) = start();
    put_all(&v3, (0..5).map(|number| ("a".to_owned(), number.to_string()))).await;
    compact(&v3, 5).await;
    let mut watching = Watching::of(&v3);
    for _ in 0..20 {
        let old = pb::WatchCreateRequest { start_revision: 2, watch_id: 7, ..of("a", "") };
        watching.ask(RequestUnion::CreateRequest(old)).await;
        let created = watching.next().await;
        assert!(created.created && !created.canceled, "{created:?}");
        let ended = watching.next().await;
        assert_eq!((ended.watch_id, ended.canceled, ended.compact_revision), (7, true, 5));
    }
}

#[tokio::test]
async fn many_watches_on_many_streams_are_told_of_everything_in_order() {
    let (_server, v3) = start();
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut watching = Watching::of(&v3);
        for number in 0..100 {
            watching.ask(RequestUnion::CreateRequest(of(if number % 2 == 0 { "a" } else { "b" }, ""))).await;
        }
        for number in 0..100 {
            assert_eq!(watching.next().await.watch_id, number);
        }
        streams.push(watching);
    }
    let writes = 50;
    for number in 0..writes {
        v3.put("a", &number.to_string()).await;
    }
    for watching in &mut streams {
        let mut seen = [1_i64; 100];
        while seen.iter().step_by(2).any(|seen| *seen < writes + 1) {
            let answer = watching.next().await;
            let seen = &mut seen[usize::try_from(answer.watch_id).unwrap()];
            for event in answer.events {
                assert_eq!(event.kv.unwrap().mod_revision, *seen + 1);
                *seen += 1;
            }
        }
        assert!(seen.iter().skip(1).step_by(2).all(|seen| *seen == 1));
    }
}

#[tokio::test]
async fn a_server_that_stops_ends_its_watches_with_a_word() {
    let (mut server, v3) = start();
    let mut watching = Watching::of(&v3);
    watching.create(of("a", "")).await;
    let ended = tokio::task::spawn_blocking(move || server.terminate().success());
    let status = watching.try_next().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: server stopped"));
    assert!(timeout(Duration::from_secs(20), ended).await.unwrap().unwrap());
}
