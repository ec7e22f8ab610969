//! Following changes: present state, replay of the past, then live events, as one stream without a gap.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, PollSemaphore};
use tokio_util::task::AbortOnDropHandle;

use super::watchers::Listed;
use super::{Call, Error, Origin, Service, health};
use crate::model::{Event, EventKind, Key, KeyRange, KeyValue, RangeQuery, Revision};
use crate::mvcc::{ListQuery, ReadError, Replay, ReplayBudget};
use crate::node::{Delivery, NodeHandle, Published, StoreView, Watcher};
use crate::watch::{Filter, Kinds, Piece};

/// Records in one piece of an initial state.
const STATE_PIECE: u64 = 256;
/// Bytes in one piece of an initial state, roughly.
const STATE_BYTES: usize = 256 * 1024;
/// How long a state is kept for a reader of it; see [`HeldState`].
const STATE_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of events taken at once.
const TAKE_BYTES: usize = 256 * 1024;
/// How much of the past is read at once.
const REPLAY: ReplayBudget = ReplayBudget { steps: 4096, bytes: TAKE_BYTES };

/// What to follow, and from where.
#[derive(Debug, Clone)]
pub struct WatchRequest {
    pub range: KeyRange,
    /// Only what is directly in this directory (ends in `/`), not what is below its sub-directories.
    pub children_of: Option<Key>,
    /// Only these kinds; all when empty.
    pub kinds: Vec<EventKind>,
    pub start: Start,
    pub on_compacted: OnCompacted,
    /// How often to report, while nothing happens, how far the stream has come.
    pub progress_every: Option<Duration>,
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the next change.
    Now,
    /// With what came after this revision.
    After(Revision),
    /// With the present state, then every change to it.
    Initial,
}

/// What to do when the place to resume from was compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCompacted {
    /// Say so and end.
    End,
    /// Say so, give the present state, and go on from there.
    Reset,
}

/// One piece of a stream.
#[derive(Debug, Clone)]
pub enum WatchItem {
    /// Present records, some at a time, in order of key.
    State(Vec<KeyValue>),
    /// The present state is complete: it was that of this revision.
    Synced(Revision),
    /// Changes, in order.
    Events(WatchEvents),
    /// Everything up to this revision has been delivered.
    Progress(Revision),
    /// What was known is worthless: the present state follows.
    Reset,
    /// The place to resume from is gone. The stream ends.
    Compacted { compact_revision: Revision },
    /// The reader was too slow. The stream ends; everything up to the revision was delivered.
    Lagging { resume_after: Revision },
    /// The server drains. The stream ends; resume anywhere.
    Closed,
    /// The member has stopped or its store cannot be read. The stream ends.
    Failed(Error),
}

impl WatchItem {
    /// Whether the stream ends with it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match self {
            Self::Compacted { .. } | Self::Lagging { .. } | Self::Closed | Self::Failed(_) => true,
            Self::State(_) | Self::Synced(_) | Self::Events(_) | Self::Progress(_) | Self::Reset => false,
        }
    }

    /// Whether it ends within a revision, of which more is to come.
    #[must_use]
    pub fn is_amid_revision(&self) -> bool {
        matches!(self, Self::Events(events) if events.is_amid_revision())
    }
}

/// Changes, in order.
#[derive(Debug, Clone)]
pub struct WatchEvents(Source);

#[derive(Debug, Clone)]
enum Source {
    /// From the hub: shared with other watchers.
    Live(Vec<Piece>),
    /// From the store, as it was at a revision: whole revisions.
    Replayed { events: Vec<Event>, state: Revision },
}

impl WatchEvents {
    /// The revision that the store was at when they were read from it; `None` for those that came as they happened.
    #[must_use]
    pub fn state(&self) -> Option<Revision> {
        match &self.0 {
            Source::Live(_) => None,
            Source::Replayed { state, .. } => Some(*state),
        }
    }

    /// Whether they end within a revision. What was read from the store never does.
    fn is_amid_revision(&self) -> bool {
        match &self.0 {
            Source::Live(pieces) => pieces.last().is_some_and(|piece| !piece.ends_revision()),
            Source::Replayed { .. } => false,
        }
    }

    /// Each change, and whether it is the last one of this stream at its revision: only there may a reader resume.
    pub fn iter(&self) -> impl Iterator<Item = (&Event, bool)> {
        let (live, replayed) = match &self.0 {
            Source::Live(pieces) => (pieces.as_slice(), [].as_slice()),
            Source::Replayed { events, .. } => ([].as_slice(), events.as_slice()),
        };
        let live = live.iter().flat_map(|piece| {
            let last = piece.events().len() - 1;
            piece.events().iter().enumerate().map(move |(at, event)| (event, at == last && piece.ends_revision()))
        });
        let next = replayed.iter().skip(1).map(Some).chain([None]);
        let ends = |event: &Event, next: Option<&Event>| next.is_none_or(|next| next.revision != event.revision);
        live.chain(replayed.iter().zip(next).map(move |(event, next)| (event, ends(event, next))))
    }
}

/// A running watch.
#[derive(Debug)]
pub struct WatchStream {
    node: NodeHandle,
    watcher: Watcher,
    filter: Filter,
    /// That a client watches is to be seen for as long as the stream is there.
    listed: Option<Listed>,
    children_of: Option<Key>,
    on_compacted: OnCompacted,
    patience: Patience,
    phase: Phase,
    /// A piece of a state or of history that is being read.
    reading: Option<Reading>,
    /// Shared by all streams of the member: so many read at once.
    reads: Arc<Semaphore>,
    /// What it takes to read; `None` where nobody else reads in turn.
    may_read: Option<PollSemaphore>,
    /// Decided but not yet given out.
    ready: VecDeque<WatchItem>,
    /// Whether the stream has given out all that there was when it began to give out what happens.
    caught_up: bool,
    /// The revision at which it last did.
    live_from: Revision,
    progress: Option<(Duration, Instant)>,
    shutdown: CancellationToken,
    registered_at: Revision,
}

/// Which streams go on from history when their reader was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Those that had no chance to keep up yet; others are told that they lag.
    UntilCaughtUp,
    /// All of them, as the dialects of etcd know nothing of lag.
    Always,
}

/// A state that is given out page by page: for a while as it was kept, so that what is written meanwhile costs nothing, and
/// after that as history still has it. A reader that stands still does not keep what was superseded from being freed.
#[derive(Debug)]
struct HeldState {
    kept: Kept,
    /// Lets go of it in time.
    _patience: AbortOnDropHandle<()>,
}

/// The state while it is kept, and its revision.
#[derive(Debug, Clone)]
struct Kept {
    revision: Revision,
    state: Arc<Mutex<Option<Arc<Published>>>>,
}

impl HeldState {
    /// Keeps a state for [`STATE_PATIENCE`].
    fn keep(state: Arc<Published>) -> Self {
        let revision = state.revision();
        let kept = Kept { revision, state: Arc::new(Mutex::new(Some(state))) };
        let held = Arc::downgrade(&kept.state);
        let patience = tokio::spawn(async move {
            tokio::time::sleep(STATE_PATIENCE).await;
            if let Some(state) = held.upgrade() {
                *state.lock() = None;
            }
        });
        Self { kept, _patience: AbortOnDropHandle::new(patience) }
    }
}

impl Kept {
    /// Where the state can be read, and the past revision to read it at; `None` for the present.
    fn place(&self, node: &NodeHandle) -> (Arc<Published>, Option<Revision>) {
        match self.state.lock().clone() {
            Some(kept) => (kept, None),
            None => (node.latest(), Some(self.revision)),
        }
    }
}

#[derive(Debug)]
enum Phase {
    /// Giving out a state, from a key on.
    State {
        state: HeldState,
        from: Option<Bytes>,
    },
    /// Giving out the events of history after a revision. Each piece is read from the newest state: a reader that stands
    /// still keeps nothing of the store, and what is compacted meanwhile is gone for it, too.
    Replay {
        after: Revision,
    },
    Live,
    Ended,
}

impl Phase {
    /// Up to where a stream has given what was there before it came to live events; `None` once it has.
    fn behind(&self) -> Option<Revision> {
        match self {
            Self::State { .. } => Some(Revision::ZERO),
            Self::Replay { after } => Some(*after),
            Self::Live | Self::Ended => None,
        }
    }
}

/// What was read of the store, on a thread that may block.
#[derive(Debug)]
struct Read {
    piece: PieceRead,
    /// Others read once this is given out.
    _permit: Option<OwnedSemaphorePermit>,
}

type Reading = AbortOnDropHandle<Result<Read, JoinError>>;

#[derive(Debug)]
enum PieceRead {
    /// Records, and where the next ones begin.
    State(Result<(Vec<KeyValue>, Option<Bytes>), ReadError>),
    /// Events of the revisions after one, and the state that they were read from.
    Replay { replay: Result<Replay, ReadError>, state: Revision },
}

impl Service {
    /// Follows changes.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`], [`Error::Stopped`] and [`Error::NoState`]. A start that was compacted is not an error but the stream's first
    /// item.
    #[expect(clippy::unused_async, reason = "a follower will have to ask the leader")]
    pub async fn watch(&self, call: &Call, request: WatchRequest) -> Result<WatchStream, Error> {
        self.begin_watch(call.origin.clone(), request)
    }

    /// See [`Service::watch`].
    pub(super) fn begin_watch(&self, origin: Option<Arc<Origin>>, request: WatchRequest) -> Result<WatchStream, Error> {
        let mut filter = request.children_of.as_ref().map_or_else(|| Filter::new(request.range), Filter::children);
        if !request.kinds.is_empty() {
            filter = filter.only(Kinds::of(&request.kinds));
        }
        let after = match request.start {
            Start::After(after) => after,
            Start::Now | Start::Initial => Revision::ZERO,
        };
        let (mut stream, state) = self.follow(origin, filter, after)?;
        stream.children_of = request.children_of;
        stream.on_compacted = request.on_compacted;
        stream.progress = request.progress_every.map(|every| (every, Instant::now() + every));
        let revision = state.revision();
        match request.start {
            Start::Now => stream.watcher.skip_through(revision),
            Start::Initial => stream.begin_state(state),
            Start::After(after) if after >= revision => {}
            Start::After(after) => stream.enter(Phase::Replay { after }),
        }
        Ok(stream)
    }

    /// A stream of what a filter accepts after a revision, and the state that it begins at. Where that is newer than the
    /// revision, the caller decides how the stream comes to it.
    pub(super) fn follow(
        &self,
        origin: Option<Arc<Origin>>,
        filter: Filter,
        after: Revision,
    ) -> Result<(WatchStream, Arc<Published>), Error> {
        if self.0.shutdown.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        if let Some(reason) = self.0.node.failed() {
            return Err(Error::Stopped(reason));
        }
        let (watcher, state) = self.0.node.watch(filter.clone(), after);
        health::must_be_begun(&state)?;
        let stream = WatchStream {
            node: self.0.node.clone(),
            listed: origin.map(|origin| self.0.open_watches.list(watcher.id(), filter.clone(), origin)),
            watcher,
            filter,
            children_of: None,
            on_compacted: OnCompacted::End,
            patience: Patience::UntilCaughtUp,
            phase: Phase::Live,
            reading: None,
            reads: self.0.watch_reads.clone(),
            may_read: None,
            ready: VecDeque::new(),
            caught_up: false,
            live_from: Revision::ZERO,
            progress: None,
            shutdown: self.0.shutdown.clone(),
            registered_at: state.revision(),
        };
        Ok((stream, state))
    }
}

impl Service {
    /// Waits until something that the request is about has changed. False when the server drains before.
    ///
    /// # Errors
    /// [`Error::Stopped`] and what a watch can fail with.
    pub async fn changed(&self, call: &Call, request: WatchRequest) -> Result<bool, Error> {
        let mut stream = match self.watch(call, request).await {
            Ok(stream) => stream,
            Err(Error::ShuttingDown) => return Ok(false),
            Err(error) => return Err(error),
        };
        loop {
            match stream.next().await {
                // What was compacted meanwhile has changed, as far as anybody can tell.
                Some(
                    WatchItem::Events(_) | WatchItem::Compacted { .. } | WatchItem::Lagging { .. } | WatchItem::Reset,
                ) => return Ok(true),
                Some(WatchItem::State(_) | WatchItem::Synced(_) | WatchItem::Progress(_)) => {}
                Some(WatchItem::Failed(error)) => return Err(error),
                Some(WatchItem::Closed) | None => return Ok(false),
            }
        }
    }
}

impl WatchStream {
    /// The revision that the store was at when the watch began.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.registered_at
    }

    /// The next piece; `None` after the one that ends the stream.
    pub async fn next(&mut self) -> Option<WatchItem> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            match &self.phase {
                Phase::Ended => return None,
                Phase::State { .. } | Phase::Replay { .. } => poll_fn(|context| self.poll_read(context)).await,
                Phase::Live => self.live().await,
            }
        }
    }

    /// The next piece, for who keeps many watches and looks itself after the server's end and after progress. Once there is
    /// none, the task is woken when there may be.
    pub(super) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<WatchItem>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Poll::Ready(Some(item));
            }
            match &self.phase {
                Phase::Ended => return Poll::Ready(None),
                Phase::State { .. } | Phase::Replay { .. } => ready!(self.poll_read(context)),
                Phase::Live => match self.watcher.poll_take(context, TAKE_BYTES) {
                    Poll::Ready(delivery) => self.deliver(delivery),
                    Poll::Pending => {
                        self.caught_up = true;
                        return Poll::Pending;
                    }
                },
            }
        }
    }

    /// Goes on from history, however slow its reader is.
    pub(super) fn with_patience(mut self) -> Self {
        self.patience = Patience::Always;
        self
    }

    /// Reads in turn with the streams that are given the same permit: of all, one piece is read, or waits to be given out, at a
    /// time.
    pub(super) fn in_turn(mut self, may_read: &PollSemaphore) -> Self {
        self.may_read = Some(may_read.clone());
        self
    }

    /// Gives nothing of what came up to a state: the caller looks at that.
    pub(super) fn begin_behind(&mut self, state: &Published) {
        self.watcher.skip_through(state.revision());
    }

    /// Notes how far the caller has looked; `None` once that was all.
    pub(super) fn is_behind(&self, through: Option<Revision>) {
        if let Some(listed) = &self.listed {
            listed.is_behind(through);
        }
    }

    fn begin_state(&mut self, state: Arc<Published>) {
        self.watcher.skip_through(state.revision());
        self.enter(Phase::State { state: HeldState::keep(state), from: None });
    }

    fn end(&mut self, item: WatchItem) {
        self.ready.push_back(item);
        self.enter(Phase::Ended);
    }

    fn enter(&mut self, phase: Phase) {
        self.is_behind(phase.behind());
        if matches!(phase, Phase::Live) {
            self.live_from = self.node.latest().revision();
        }
        self.phase = phase;
    }

    /// Reads the next piece, and says what it is.
    fn poll_read(&mut self, context: &Context<'_>) -> Poll<()> {
        let context = &mut Context::from_waker(context.waker());
        if self.reading.is_none() {
            let permit = match &mut self.may_read {
                Some(may_read) => ready!(may_read.poll_acquire(context)),
                None => None,
            };
            self.reading = self.read(permit);
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(()) };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        match read.flatten() {
            Ok(Read { piece: PieceRead::State(page), .. }) => self.give_state(page),
            Ok(Read { piece: PieceRead::Replay { replay, state }, .. }) => self.give_past(replay, state),
            Err(error) => {
                self.end(WatchItem::Failed(Error::cut_off(&error)));
            }
        }
        Poll::Ready(())
    }

    /// Begins to read the next piece, where there is one to read.
    fn read(&self, permit: Option<OwnedSemaphorePermit>) -> Option<Reading> {
        let (filter, node) = (self.filter.clone(), self.node.clone());
        match &self.phase {
            Phase::State { state, from } => {
                let (state, directory, from) = (state.kept.clone(), self.children_of.clone(), from.clone());
                Some(self.in_time(permit, move || {
                    let (place, at) = state.place(&node);
                    PieceRead::State(state_page(&place.view, at, &filter, directory.as_ref(), from))
                }))
            }
            Phase::Replay { after } => {
                let after = *after;
                Some(self.in_time(permit, move || {
                    let place = node.latest();
                    let mut replay = place.view.events(&filter.range(), after, REPLAY);
                    if let Ok(replay) = &mut replay {
                        replay.events.retain(|event| filter.accepts(event));
                    }
                    PieceRead::Replay { replay, state: place.revision() }
                }))
            }
            Phase::Live | Phase::Ended => None,
        }
    }

    /// Reads on a thread that may block, once no more do so than may. By a task: whoever comes to read does so though nobody looks
    /// at the stream, and keeps nobody from it.
    fn in_time(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        read: impl FnOnce() -> PieceRead + Send + 'static,
    ) -> Reading {
        let reads = self.reads.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            // An error would say that it is closed, which nobody does.
            let turn = reads.acquire_owned().await;
            let reading = move || {
                let piece = read();
                drop(turn);
                Read { piece, _permit: permit }
            };
            spawn_blocking(reading).await
        }))
    }

    fn give_state(&mut self, page: Result<(Vec<KeyValue>, Option<Bytes>), ReadError>) {
        let Phase::State { state, from } = &mut self.phase else { return };
        let revision = state.kept.revision;
        match page {
            Ok((items, rest)) => {
                let done = rest.is_none();
                *from = rest;
                if !items.is_empty() {
                    self.ready.push_back(WatchItem::State(items));
                }
                if done {
                    self.ready.push_back(WatchItem::Synced(revision));
                    self.enter(Phase::Live);
                }
            }
            Err(ReadError::Compacted { compacted, .. }) => self.compacted(compacted),
            // So much was written meanwhile that the way back is too long.
            Err(ReadError::TooManySteps { asked }) if self.on_compacted == OnCompacted::Reset => self.compacted(asked),
            Err(error) => self.end(WatchItem::Failed(Error::read(error, revision))),
        }
    }

    fn give_past(&mut self, replay: Result<Replay, ReadError>, state: Revision) {
        match replay {
            Ok(Replay { events, through }) => {
                if !events.is_empty() {
                    self.ready.push_back(WatchItem::Events(WatchEvents(Source::Replayed { events, state })));
                }
                if through >= state {
                    self.watcher.skip_through(through);
                    self.enter(Phase::Live);
                } else {
                    self.enter(Phase::Replay { after: through });
                }
            }
            Err(ReadError::Compacted { compacted, .. }) => self.compacted(compacted),
            Err(error) => {
                let error = Error::read(error, state);
                self.end(WatchItem::Failed(error));
            }
        }
    }

    fn compacted(&mut self, compact_revision: Revision) {
        match self.on_compacted {
            OnCompacted::End => self.end(WatchItem::Compacted { compact_revision }),
            OnCompacted::Reset => {
                self.ready.push_back(WatchItem::Reset);
                let state = self.node.latest();
                self.begin_state(state);
            }
        }
    }

    async fn live(&mut self) {
        let progress_at = self.progress.map(|(_, at)| at);
        let tick = async {
            match progress_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => self.end(WatchItem::Closed),
            delivery = self.watcher.take(TAKE_BYTES) => self.deliver(delivery),
            () = tick => self.report_progress(),
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events(pieces) => {
                // What has gathered while it was being brought up to date says nothing of how fast its reader is.
                let last = pieces.last().and_then(|piece| piece.events().last());
                self.caught_up |= last.is_some_and(|event| event.revision >= self.live_from);
                self.ready.push_back(WatchItem::Events(WatchEvents(Source::Live(pieces))));
            }
            // While it was being brought up to date, a stream had no chance to keep up.
            Delivery::Lagging { resume_after } if !self.caught_up || self.patience == Patience::Always => {
                self.watcher.rejoin();
                self.enter(Phase::Replay { after: resume_after });
            }
            Delivery::Lagging { resume_after } => {
                self.node.metrics().watch.lagging.inc();
                self.end(WatchItem::Lagging { resume_after });
            }
            Delivery::Idle { through } => {
                self.caught_up = true;
                self.ready.push_back(WatchItem::Progress(through));
            }
            Delivery::Cancelled => self.end(WatchItem::Closed),
        }
    }

    fn report_progress(&mut self) {
        if let Some((every, at)) = &mut self.progress {
            *at = Instant::now() + *every;
        }
        let delivery = self.watcher.try_take(TAKE_BYTES);
        self.deliver(delivery);
    }
}

/// How far streams have come: the revision that all of what happened was handed out up to, and for each stream the one that it
/// has given out everything up to. Of all at one moment.
pub(super) fn how_far<'a>(
    node: &NodeHandle,
    streams: impl Iterator<Item = &'a WatchStream> + Clone,
) -> (Revision, Vec<Revision>) {
    let (now, taken) = node.watched_through(streams.clone().map(|stream| &stream.watcher));
    let through = |(stream, taken): (&WatchStream, Revision)| match &stream.phase {
        _ if !stream.ready.is_empty() => Revision::ZERO,
        phase => phase.behind().unwrap_or(taken),
    };
    (now, streams.zip(taken).map(through).collect())
}

/// Some of the records that a filter selects, at a past revision or at present, from a key on, and where the next ones begin.
fn state_page(
    view: &StoreView,
    revision: Option<Revision>,
    filter: &Filter,
    children_of: Option<&Key>,
    from: Option<Bytes>,
) -> Result<(Vec<KeyValue>, Option<Bytes>), ReadError> {
    if let Some(directory) = children_of {
        return level_page(view, revision, directory, from);
    }
    let range = filter.range();
    let start = from.unwrap_or_else(|| range.start().clone());
    let range = KeyRange::new(start, range.end().cloned());
    let query = RangeQuery { revision, limit: Some(STATE_PIECE), ..RangeQuery::all(range) };
    let page = view.page(&query, STATE_BYTES)?;
    Ok((page.items, page.rest.map(|rest| rest.start().clone())))
}

/// As [`state_page`], of one level: the keys, and the markers that there are of its directories and of itself.
fn level_page(
    view: &StoreView,
    revision: Option<Revision>,
    directory: &Key,
    from: Option<Bytes>,
) -> Result<(Vec<KeyValue>, Option<Bytes>), ReadError> {
    let own = from.is_none().then(|| directory.clone());
    let query = ListQuery {
        directory: directory.bytes().clone(),
        prefix: Bytes::new(),
        from,
        revision,
        limit: Some(STATE_PIECE),
        max_bytes: STATE_BYTES,
        keys_only: false,
        heads: false,
    };
    let level = view.list(&query)?;
    let mut items = level.items;
    for key in level.directories.into_iter().chain(own) {
        if let Some(record) = view.get(key.as_bytes(), revision)? {
            items.push(KeyValue { key, record });
        }
    }
    items.sort_by(|a, b| a.key.cmp(&b.key));
    Ok((items, level.next))
}
