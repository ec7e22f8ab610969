//! Watching keys: many watches on one stream, each under a number.
//!
//! A stream is one task, which waits for its reader before it does anything more. What happens meanwhile waits in the hub
//! within its bound, and beyond that a watch goes on from history: nothing is left out, however slow the reader is,
//! unless history was compacted. An answer has whole revisions, as in etcd, however large; so at most one revision of a
//! stream is put together at a time, and nothing else is said between the fragments of one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use prost::{Message as _, length_delimiter_len};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::Status;

use super::OVERHEAD_BYTES;
use super::ask::Ask;
use super::convert::{self, header, header_now, signed};
use super::errors::Known;
use super::pb;
use super::pb::event::EventType;
use super::pb::watch_create_request::FilterType;
use super::pb::watch_request::RequestUnion;
use crate::api::State;
use crate::model::limits::MAX_STREAM_WATCHES;
use crate::model::{Event, EventKind, KeyRange, Revision};
use crate::service::{Error, OnCompacted, Origin, Start, Told, WatchEvents, WatchItem, WatchRequest, Watches};

/// The number in an answer that is about no one watch.
const NO_WATCH: i64 = -1;
/// Why a watch of no keys is none.
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
/// Why a watch under a number that another has is none.
const DUPLICATE: &str = "mvcc: duplicate watch ID provided on the WatchStream";

/// Carries out the requests of a stream, and tells of what happens to its watches. The answers end when the server stops and
/// when the requests end with an error; requests that end well leave the watches as they are, as in etcd.
pub(super) fn watch<S>(
    api: State,
    origin: Option<Arc<Origin>>,
    requests: S,
) -> impl Stream<Item = Result<pb::WatchResponse, Status>> + Send + 'static
where
    S: Stream<Item = Result<pb::WatchRequest, Status>> + Send + Unpin + 'static,
{
    let watching = Watching::new(api, origin);
    let stopping = Box::pin(watching.api.service().shutdown_signal());
    stream::unfold(Some((watching, Some(requests), stopping)), |state| async move {
        let (mut watching, mut requests, mut stopping) = state?;
        loop {
            if let Some(answer) = watching.answers.pop_front() {
                return Some((Ok(answer), Some((watching, requests, stopping))));
            }
            // The rest of a revision that has begun is at hand, and comes before anything else: a client that puts fragments
            // together loses those that others come in between of.
            let amid = watching.watches.is_amid_revision();
            tokio::select! {
                () = &mut stopping => return Some((Err(Known::Stopped.into()), None)),
                request = next(&mut requests), if !amid => match request {
                    Some(Ok(request)) => {
                        if let Err(status) = watching.carry_out(request) {
                            return Some((Err(status), None));
                        }
                    }
                    Some(Err(status)) => return Some((Err(status), None)),
                    None => requests = None,
                },
                told = watching.watches.next() => {
                    if let Err(status) = watching.tell(told) {
                        return Some((Err(status), None));
                    }
                }
                _ = watching.ticks.tick(), if !amid => watching.report_progress(),
            }
        }
    })
}

/// The next request; once they have ended, never.
async fn next<S: Stream + Unpin>(requests: &mut Option<S>) -> Option<S::Item> {
    match requests {
        Some(requests) => requests.next().await,
        None => std::future::pending().await,
    }
}

/// What the client of a watch asked for, and what is on its way to it.
#[derive(Debug)]
struct Terms {
    /// The first revision that it wants to hear of.
    start: Revision,
    prev_kv: bool,
    fragment: bool,
    /// Whether to say how far the watch has come, and whether nothing else was said since the last time.
    progress: Option<bool>,
}

/// A stream.
struct Watching {
    api: State,
    watches: Watches<i64>,
    terms: BTreeMap<i64, Terms>,
    /// The lowest number that may be given to a watch whose client names none.
    next_id: i64,
    answers: VecDeque<pb::WatchResponse>,
    /// Events of a revision of which more are to come: of one watch, since no other is looked at meanwhile.
    begun: Vec<pb::Event>,
    ticks: Interval,
}

impl Watching {
    fn new(api: State, origin: Option<Arc<Origin>>) -> Self {
        let every = api.settings().watch_progress;
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watches = api.service().watches(origin);
        Self { api, watches, terms: BTreeMap::new(), next_id: 0, answers: VecDeque::new(), begun: Vec::new(), ticks }
    }

    fn carry_out(&mut self, request: pb::WatchRequest) -> Result<(), Status> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(&request),
            Some(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id })) => {
                self.cancel(watch_id);
                Ok(())
            }
            Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})) => {
                self.watches.ask_progress();
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn create(&mut self, request: &pb::WatchCreateRequest) -> Result<(), Status> {
        let Ok(start) = u64::try_from(request.start_revision) else {
            self.refuse(Known::Compacted.parts().1);
            return Ok(());
        };
        let Some(range) = range(request) else {
            self.refuse(EMPTY_RANGE);
            return Ok(());
        };
        if self.watches.len() >= MAX_STREAM_WATCHES {
            self.refuse(Known::TooManyRequests.parts().1);
            return Ok(());
        }
        let Some(id) = self.number(request.watch_id) else {
            self.refuse(DUPLICATE);
            return Ok(());
        };
        let wanted = WatchRequest {
            start: if start == 0 { Start::Now } else { Start::After(Revision(start - 1)) },
            on_compacted: OnCompacted::End,
            progress_every: None,
            ..filtered(range, request)
        };
        let revision = self.watches.add(id, wanted).map_err(failed)?;
        let terms = Terms {
            start: Revision(start),
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            progress: request.progress_notify.then_some(true),
        };
        self.terms.insert(id, terms);
        let header = Some(header(&self.api, revision));
        self.answers.push_back(pb::WatchResponse { header, watch_id: id, created: true, ..Default::default() });
        Ok(())
    }

    /// The number for a watch whose client names one, or none with 0; `None` where another has it.
    fn number(&mut self, named: i64) -> Option<i64> {
        if named != 0 {
            return (!self.watches.contains(named)).then_some(named);
        }
        while self.watches.contains(self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Some(self.next_id - 1)
    }

    fn refuse(&mut self, reason: &str) {
        self.answers.push_back(pb::WatchResponse {
            header: Some(header_now(&self.api)),
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Default::default()
        });
    }

    fn cancel(&mut self, id: i64) {
        self.terms.remove(&id);
        if self.watches.remove(id) {
            let header = Some(header_now(&self.api));
            self.answers.push_back(pb::WatchResponse { header, watch_id: id, canceled: true, ..Default::default() });
        }
    }

    /// Says what has come of the watches. An error ends the stream.
    fn tell(&mut self, told: Told<i64>) -> Result<(), Status> {
        let (id, item) = match told {
            Told::Item(id, item) => (id, item),
            Told::Through(through) => {
                self.tell_all_through(through);
                return Ok(());
            }
        };
        match item {
            WatchItem::Events(events) => {
                self.tell_events(id, &events);
                Ok(())
            }
            WatchItem::Compacted { compact_revision } => {
                self.terms.remove(&id);
                self.answers.push_back(pb::WatchResponse {
                    header: Some(header(&self.api, Revision::ZERO)),
                    watch_id: id,
                    canceled: true,
                    compact_revision: signed(compact_revision.get()),
                    ..Default::default()
                });
                Ok(())
            }
            WatchItem::Failed(error) => Err(failed(error)),
            // Nobody asked for a state, and no watch is told that it lags.
            WatchItem::Closed | WatchItem::Lagging { .. } => Err(Known::Stopped.into()),
            WatchItem::State(_) | WatchItem::Synced(_) | WatchItem::Progress(_) | WatchItem::Reset => Ok(()),
        }
    }

    /// Says all events of the revisions that are whole, and fragments of the one that is not where they are asked for.
    fn tell_events(&mut self, id: i64, events: &WatchEvents) {
        let Some(terms) = self.terms.get_mut(&id) else { return };
        if let Some(quiet) = &mut terms.progress {
            *quiet = false;
        }
        let (prev_kv, fragment) = (terms.prev_kv, terms.fragment);
        // Of what was read from the store, the revision is that of the store, as in etcd.
        let shown_at = |last: Revision| events.state().map_or(last, |state| state.max(last));
        // A revision of which fragments may have been said ends in an answer of its own.
        let mut apart = fragment && !self.begun.is_empty();
        let (mut whole, mut last) = (None, Revision::ZERO);
        for (event, ends_revision) in events.iter() {
            self.begun.push(shown(event, prev_kv));
            last = event.revision;
            if ends_revision {
                whole = Some((self.begun.len(), shown_at(last)));
                if std::mem::take(&mut apart) {
                    self.say(id, whole.take(), fragment);
                }
            }
        }
        self.say(id, whole, fragment);
        if fragment && !self.begun.is_empty() {
            self.say_fragments(id, shown_at(last));
        }
    }

    /// Says so many of the events that have begun, all of whole revisions up to this one.
    fn say(&mut self, id: i64, whole: Option<(usize, Revision)>, fragment: bool) {
        let Some((count, revision)) = whole else { return };
        let rest = self.begun.split_off(count);
        let events = std::mem::replace(&mut self.begun, rest);
        let answer = self.answer(id, revision, events);
        if fragment {
            self.answers.extend(fragments(answer, self.fragment_bytes()));
        } else {
            self.answers.push_back(answer);
        }
    }

    /// Says of a revision that goes on what fills fragments.
    fn say_fragments(&mut self, id: i64, revision: Revision) {
        let events = std::mem::take(&mut self.begun);
        let mut pieces = fragments(self.answer(id, revision, events), self.fragment_bytes());
        self.begun = pieces.pop().map_or_else(Vec::new, |rest| rest.events);
        self.answers.extend(pieces);
    }

    fn answer(&self, id: i64, revision: Revision, events: Vec<pb::Event>) -> pb::WatchResponse {
        let header = Some(header(&self.api, revision));
        pb::WatchResponse { header, watch_id: id, events, ..Default::default() }
    }

    /// The bytes that a fragment has less than, where its events allow that.
    fn fragment_bytes(&self) -> usize {
        self.api.service().limits().max_request_bytes.saturating_add(OVERHEAD_BYTES)
    }

    /// Says of each watch that asked for it, and of which nothing was said for a while, how far it has come.
    fn report_progress(&mut self) {
        let mut quiet = Vec::new();
        for (id, terms) in &mut self.terms {
            if terms.progress.as_mut().is_some_and(|progress| std::mem::replace(progress, true)) {
                quiet.push(*id);
            }
        }
        for (id, through) in self.watches.through(&quiet) {
            if self.terms.get(&id).is_some_and(|terms| through >= terms.start) {
                let header = Some(header(&self.api, through));
                self.answers.push_back(pb::WatchResponse { header, watch_id: id, ..Default::default() });
            }
        }
    }

    /// Says how far all watches have come.
    fn tell_all_through(&mut self, through: Revision) {
        // A client takes what it is told for the revision to go on from: not one before the first that it wants.
        if self.terms.values().all(|terms| through >= terms.start) {
            let header = Some(header(&self.api, through));
            self.answers.push_back(pb::WatchResponse { header, watch_id: NO_WATCH, ..Default::default() });
        }
    }
}

/// The keys of a watch; `None` where there can be none. Without a key it is the lowest that there can be, as in etcd.
fn range(request: &pb::WatchCreateRequest) -> Option<KeyRange> {
    let start = if request.key.is_empty() { Bytes::from_static(&[0]) } else { request.key.clone() };
    convert::range(start, request.range_end.clone()).ok().filter(|range| !range.is_empty())
}

/// A watch of a range without what its client does not want to hear of.
fn filtered(range: KeyRange, request: &pb::WatchCreateRequest) -> WatchRequest {
    let leaves_out = |filter: FilterType| request.filters.contains(&filter.into());
    let (range, kinds) = match (leaves_out(FilterType::Noput), leaves_out(FilterType::Nodelete)) {
        (false, false) => (range, vec![]),
        (true, false) => (range, vec![EventKind::Delete, EventKind::Expire]),
        (false, true) => (range, vec![EventKind::Put]),
        // Nothing ever happens to no keys.
        (true, true) => (KeyRange::new(Bytes::new(), Some(Bytes::new())), vec![]),
    };
    WatchRequest {
        range,
        children_of: None,
        kinds,
        start: Start::Now,
        on_compacted: OnCompacted::End,
        progress_every: None,
    }
}

/// An event as etcd shows it: of a key that is gone, the key and the revision of its end.
fn shown(event: &Event, prev_kv: bool) -> pb::Event {
    let key = event.key.bytes();
    let (kind, kv) = if let Some(record) = &event.record {
        (EventType::Put, convert::record(key.clone(), record.clone()))
    } else {
        let mod_revision = signed(event.revision.get());
        (EventType::Delete, pb::KeyValue { key: key.clone(), mod_revision, ..Default::default() })
    };
    // What begins anew has nothing before it, even where another dialect replaced something.
    let is_begun = event.record.as_ref().is_some_and(|record| record.create_revision == record.mod_revision);
    let previous = event.previous.as_ref().filter(|_| prev_kv && !is_begun);
    let prev_kv = previous.map(|previous| convert::record(key.clone(), previous.clone()));
    pb::Event { r#type: kind.into(), kv: Some(kv), prev_kv }
}

/// Cuts an answer up into as many as it takes for each to have less than `limit` bytes, if its events allow that.
fn fragments(whole: pb::WatchResponse, limit: usize) -> Vec<pb::WatchResponse> {
    if whole.events.len() < 2 || whole.encoded_len() < limit {
        return vec![whole];
    }
    let pb::WatchResponse { events, .. } = whole;
    let beginning = pb::WatchResponse { fragment: true, events: Vec::new(), ..whole };
    let begun = beginning.encoded_len();
    let (mut pieces, mut piece, mut size) = (Vec::new(), beginning.clone(), begun);
    for event in events {
        let bytes = event.encoded_len();
        // With what stands before it: one byte, and its length.
        let bytes = 1 + length_delimiter_len(bytes) + bytes;
        if !piece.events.is_empty() && size + bytes >= limit {
            pieces.push(std::mem::replace(&mut piece, beginning.clone()));
            size = begun;
        }
        piece.events.push(event);
        size += bytes;
    }
    piece.fragment = false;
    pieces.push(piece);
    pieces
}

fn failed(error: Error) -> Status {
    Ask::within(None).failed(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(key: &'static str, range_end: &'static str, filters: &[FilterType]) -> pb::WatchCreateRequest {
        pb::WatchCreateRequest {
            key: Bytes::from_static(key.as_bytes()),
            range_end: Bytes::from_static(range_end.as_bytes()),
            filters: filters.iter().map(|filter| (*filter).into()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_range_is_that_of_a_read_and_never_without_keys() {
        let of = |key, end| range(&asked(key, end, &[]));
        assert!(of("b", "a").is_none() && of("a", "a").is_none());
        assert_eq!(of("a", "").unwrap().as_single().unwrap(), "a");
        assert_eq!(of("", "").unwrap().as_single().unwrap(), "\0");
        assert!(of("", "\0").unwrap().contains(b"\0") && of("b", "\0").unwrap().contains(b"\xff"));
        assert!(!of("b", "\0").unwrap().contains(b"a"));
    }

    #[test]
    fn filters_leave_kinds_out_and_both_leave_everything_out() {
        let of = |filters: &[FilterType]| filtered(KeyRange::prefix("a"), &asked("a", "b", filters));
        assert!(of(&[]).kinds.is_empty());
        assert_eq!(of(&[FilterType::Nodelete]).kinds, [EventKind::Put]);
        assert_eq!(of(&[FilterType::Noput, FilterType::Noput]).kinds, [EventKind::Delete, EventKind::Expire]);
        assert!(of(&[FilterType::Noput, FilterType::Nodelete]).range.is_empty());
    }

    #[test]
    fn an_answer_is_cut_where_the_next_event_would_make_it_too_large() {
        let event = |bytes: usize| pb::Event {
            kv: Some(pb::KeyValue { value: vec![1; bytes].into(), ..Default::default() }),
            ..Default::default()
        };
        let answer = |sizes: &[usize]| pb::WatchResponse {
            watch_id: 7,
            events: sizes.iter().copied().map(event).collect(),
            ..Default::default()
        };
        let cut = |sizes: &[usize], limit| -> Vec<(usize, bool)> {
            let pieces = fragments(answer(sizes), limit);
            assert!(pieces.iter().all(|piece| piece.watch_id == 7));
            assert!(pieces.iter().all(|piece| piece.events.len() == 1 || piece.encoded_len() < limit));
            pieces.iter().map(|piece| (piece.events.len(), piece.fragment)).collect()
        };
        assert_eq!(cut(&[10, 10], 1000), [(2, false)]);
        assert_eq!(cut(&[5000], 1000), [(1, false)]);
        assert_eq!(cut(&[300; 7], 1000), [(3, true), (3, true), (1, false)]);
        assert_eq!(cut(&[5000, 1, 1, 5000], 1000), [(1, true), (2, true), (1, false)]);
        let two = answer(&[10, 10]);
        assert_eq!(cut(&[10, 10], two.encoded_len() + 1), [(2, false)]);
        assert_eq!(cut(&[10, 10], two.encoded_len()), [(1, true), (1, false)]);
    }
}
