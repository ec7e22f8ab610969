//! Reading keys: one consistent state, looked at in many ways.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use super::answers::{Answers, Turn};
use super::{Call, Consistency, Error, Service, guard, health};
use crate::machine::{self, CopyPlan, PlanError, RollbackPlan};
use crate::model::limits::{MAX_PAGE_BYTES, MAX_SEARCHED_KEYS};
use crate::model::{
    CopyKeys, Event, Key, KeyRange, KeyValue, Lease, LeaseId, Members, RangeQuery, RangeResult, Record, Refusal,
    Revision, Rollback, SortBy, Timestamp,
};
use crate::mvcc::{ListQuery, ReadError, ReplayBudget};
use crate::node::{Published, StoreView};
use crate::storage::lsm::LsmSnapshot;

/// A read that asks for no more records than this runs where it is called; others go to a thread that may block.
const INLINE_RECORDS: u64 = 128;

/// One consistent state of the key space. Hold it until the answer is made and no longer: it keeps what has been superseded
/// from being freed, and others from answers that may be large.
#[derive(Debug)]
pub struct Reader {
    pub(super) published: Arc<Published>,
    answers: Answers,
    /// When the caller stops waiting.
    deadline: Instant,
    /// Had once something was read that may be large.
    turn: Mutex<Option<Turn>>,
}

/// What to list.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the request, told by its name")]
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// Ends in `/`, or is empty for the top of the key space.
    pub directory: Bytes,
    /// Only names in the directory that begin with this; empty for all.
    pub prefix: Bytes,
    /// Only keys that hold this, in their name or their value. Of everything below, in order of key.
    pub contains: Option<Bytes>,
    /// Everything below, not only one level.
    pub recursive: bool,
    /// The past revision to read at; `None` for the present. A cursor brings its own.
    pub revision: Option<Revision>,
    pub limit: u64,
    pub cursor: Option<Cursor>,
    /// Sizes in place of values.
    pub keys_only: bool,
    /// Answer only with the count.
    pub count_only: bool,
    pub sort_by: SortBy,
    pub descending: bool,
    pub min_mod_revision: Option<Revision>,
    pub max_mod_revision: Option<Revision>,
    pub min_create_revision: Option<Revision>,
    pub max_create_revision: Option<Revision>,
}

impl ListRequest {
    /// One level of a directory, as it is, in order of key.
    #[must_use]
    pub fn level(directory: Bytes, limit: u64) -> Self {
        Self {
            directory,
            prefix: Bytes::new(),
            contains: None,
            recursive: false,
            revision: None,
            limit,
            cursor: None,
            keys_only: false,
            count_only: false,
            sort_by: SortBy::Key,
            descending: false,
            min_mod_revision: None,
            max_mod_revision: None,
            min_create_revision: None,
            max_create_revision: None,
        }
    }

    /// The records that the bounds let through.
    fn selects(&self, item: &KeyValue) -> bool {
        let within = |value: Revision, min: Option<Revision>, max: Option<Revision>| {
            min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max)
        };
        within(item.record.mod_revision, self.min_mod_revision, self.max_mod_revision)
            && within(item.record.create_revision, self.min_create_revision, self.max_create_revision)
    }

    /// Whether a search finds the record.
    fn finds(&self, item: &KeyValue) -> bool {
        let Some(text) = &self.contains else { return true };
        holds(item.key.as_bytes(), text) || holds(&item.record.value, text)
    }

    fn in_key_order(&self) -> bool {
        self.sort_by == SortBy::Key && !self.descending
    }
}

/// Where the next page begins, and the revision that all pages show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub revision: Revision,
    /// Meaningful to the listing that made it only.
    pub position: Bytes,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The revision that the page shows.
    pub revision: Revision,
    pub items: Vec<KeyValue>,
    /// Where only keys were asked for: how many bytes the value of each item has, which are left out.
    pub sizes: Vec<u64>,
    /// Directories directly in the one listed, each ending in `/`. Empty for a recursive listing.
    pub directories: Vec<Key>,
    /// How many keys and directories there are on all pages together, where that is known: when the listing fits one
    /// page, and when only the count was asked for.
    pub count: Option<u64>,
    pub cursor: Option<Cursor>,
    /// How many keys a search has looked into for this page.
    pub examined: Option<u64>,
}

impl Listing {
    /// What it takes up in an answer, at least.
    fn bytes(&self) -> usize {
        let directories = self.directories.iter().map(|directory| directory.as_bytes().len());
        self.items.iter().map(bytes).chain(directories).sum()
    }
}

/// Whether `text` stands somewhere in `bytes`.
fn holds(bytes: &[u8], text: &[u8]) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|part| part == text)
}

impl Service {
    /// A state to read from.
    ///
    /// # Errors
    /// [`Error::NoLeader`] and [`Error::DeadlineExceeded`] when no leader confirms the state in time; [`Error::NoState`].
    pub async fn reader(&self, call: &Call, consistency: Consistency) -> Result<Reader, Error> {
        let published = match consistency {
            Consistency::Linearizable => self.0.node.linearizable(call.deadline).await?,
            Consistency::Serializable => self.0.node.latest(),
        };
        health::must_be_begun(&published)?;
        Ok(Reader { published, answers: self.0.answers.clone(), deadline: call.deadline, turn: Mutex::default() })
    }
}

impl Reader {
    /// The revision of the state.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.view().revision()
    }

    /// The members of the cluster.
    pub(super) fn members(&self) -> Arc<Members> {
        Arc::clone(&self.published.members)
    }

    /// The oldest revision that can be read.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.view().compacted()
    }

    pub(super) fn view(&self) -> &StoreView {
        &self.published.view
    }

    pub(super) fn failed(&self, error: ReadError) -> Error {
        Error::read(error, self.revision())
    }

    /// One key, at present or at a past revision.
    ///
    /// # Errors
    /// The refusals of a read of the past, and [`Error::Storage`].
    pub fn get(&self, key: &Key, revision: Option<Revision>) -> Result<Option<KeyValue>, Error> {
        guard::key(key)?;
        let record = self.view().get(key.as_bytes(), revision).map_err(|error| self.failed(error))?;
        Ok(record.map(|record| KeyValue { key: key.clone(), record }))
    }

    /// As [`Reader::get`], of a key whose value makes up an answer.
    ///
    /// # Errors
    /// As [`Reader::get`], and [`Error::Overloaded`] for a large value that there is no room for.
    pub async fn fetch(&self, key: &Key, revision: Option<Revision>) -> Result<Option<KeyValue>, Error> {
        self.run_here(|| self.get(key, revision), |found| found.iter().map(bytes).sum()).await
    }

    /// Whether a directory (its key ends in `/`) is there, explicitly or by what is below it.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn is_directory(&self, directory: &Key, revision: Option<Revision>) -> Result<bool, Error> {
        self.view().is_directory(directory.as_bytes(), revision).map_err(|error| self.failed(error))
    }

    /// A range as etcd v3 reads it.
    ///
    /// # Errors
    /// As [`Reader::fetch`].
    pub async fn range(&self, query: RangeQuery) -> Result<RangeResult, Error> {
        // A read of the past walks through history.
        if query.range.as_single().is_some() && query.revision.is_none() {
            let read = || self.view().range(&query).map_err(|error| self.failed(error));
            return self.run_here(read, range_bytes).await;
        }
        self.run(move |view| view.range(&query), range_bytes).await
    }

    /// A page of a directory.
    ///
    /// # Errors
    /// As [`Reader::fetch`].
    pub async fn list(&self, request: ListRequest) -> Result<Listing, Error> {
        let revision = request.cursor.as_ref().map(|cursor| cursor.revision).or(request.revision);
        let shown = revision.unwrap_or(self.revision());
        let short = request.limit <= INLINE_RECORDS && request.contains.is_none();
        let inline = request.in_key_order() && !request.count_only && short;
        let read = move |view: &StoreView| {
            let lister = Lister { view, request: &request, revision, shown };
            if request.count_only {
                lister.count()
            } else if !request.in_key_order() {
                lister.sorted()
            } else if request.contains.is_some() {
                lister.found()
            } else if request.recursive {
                lister.below()
            } else {
                lister.level()
            }
        };
        if inline {
            let read = || read(self.view()).map_err(|error| self.failed(error));
            return self.run_here(read, Listing::bytes).await;
        }
        self.run(read, Listing::bytes).await
    }

    /// The events of a key that are still kept, newest first: those before `before`, at most `limit`.
    ///
    /// # Errors
    /// As [`Reader::fetch`].
    pub async fn history(&self, key: Key, before: Option<Revision>, limit: usize) -> Result<Vec<Event>, Error> {
        guard::key(&key)?;
        let record = |record: &Option<Record>| record.as_ref().map_or(0, |record| record.value.len());
        let bytes = move |event: &Event| event.key.as_bytes().len() + record(&event.record) + record(&event.previous);
        let bytes = move |events: &Vec<Event>| events.iter().map(bytes).sum();
        self.run(move |view| view.history(key.as_bytes(), before, limit), bytes).await
    }

    /// What has happened in a range after a revision; `None` when that is more than the budget, or is compacted.
    pub(super) async fn since(
        &self,
        range: KeyRange,
        after: Revision,
        budget: ReplayBudget,
    ) -> Result<Option<Vec<Event>>, Error> {
        self.run_away(move |view| match view.events(&range, after, budget) {
            Ok(replay) => Ok((replay.through >= view.revision()).then_some(replay.events)),
            Err(ReadError::Compacted { .. }) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// The newest revision made at or before a time; `None` when all that is kept is newer.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub async fn revision_at(&self, time: Timestamp) -> Result<Option<Revision>, Error> {
        self.run_away(move |view| {
            let everything = KeyRange::prefix("");
            // The first revision after `after` and whether it was made by `time`.
            let made_by_then = |after: Revision| -> Result<Option<Revision>, ReadError> {
                let next = view.events(&everything, after, ReplayBudget { steps: 1, bytes: 1 })?;
                Ok(next.events.first().filter(|event| event.time <= time).map(|event| event.revision))
            };
            let oldest = Revision(view.compacted().max(Revision::FIRST).get().saturating_sub(1));
            let (mut low, mut high) = (oldest, view.revision());
            let mut found = None;
            while low < high {
                let middle = Revision(low.get() + (high.get() - low.get()) / 2);
                match made_by_then(middle)? {
                    Some(revision) => {
                        found = Some(revision);
                        low = revision;
                    }
                    None => high = middle,
                }
            }
            Ok(found)
        })
        .await
    }

    /// A digest of everything that can be read.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub async fn digest(&self) -> Result<u128, Error> {
        self.run_away(machine::content_digest).await
    }

    /// A digest of all keys as they were at a revision, alike on every member that has compacted as far.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub async fn keys_digest(&self, revision: Revision) -> Result<u128, Error> {
        self.run_away(move |view| machine::keys_digest(view, revision)).await
    }

    /// What a rollback would change.
    ///
    /// # Errors
    /// [`crate::model::Refusal::TooLarge`], and as [`Reader::get`].
    pub async fn plan_rollback(&self, rollback: Rollback) -> Result<RollbackPlan, Error> {
        self.plan(move |view| machine::plan_rollback(view, &rollback), |plan| plan.bytes).await
    }

    /// What a copy would write.
    ///
    /// # Errors
    /// Those that the copy would be refused with, but for keys that are there, and as [`Reader::get`].
    pub async fn plan_copy(&self, copy: CopyKeys) -> Result<CopyPlan, Error> {
        self.plan(move |view| machine::plan_copy(view, &copy), |plan| plan.bytes).await
    }

    async fn plan<T, F>(&self, plan: F, bytes: impl Fn(&T) -> u64 + Send + 'static) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&StoreView) -> Result<T, PlanError> + Send + Sync + 'static,
    {
        let planned = move |view: &StoreView| match plan(view) {
            Ok(plan) => Ok(Ok(plan)),
            Err(PlanError::Refused(refusal)) => Ok(Err(refusal)),
            Err(PlanError::Read(error)) => Err(error),
        };
        let bytes = move |planned: &Result<T, Refusal>| {
            planned.as_ref().map_or(0, |plan| usize::try_from(bytes(plan)).unwrap_or(usize::MAX))
        };
        let planned = self.run(planned, bytes);
        planned.await?.map_err(|refusal| Error::refused(refusal, self.revision()))
    }

    /// The moment of the store that the state is read from.
    pub(super) fn into_snapshot(self) -> LsmSnapshot {
        self.view().snapshot().clone()
    }

    /// One lease.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn lease(&self, id: LeaseId) -> Result<Option<Lease>, Error> {
        machine::find_lease(self.view().snapshot(), id).map_err(|error| self.failed(error.into()))
    }

    /// All leases, in order of id.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub async fn leases(&self) -> Result<Vec<Lease>, Error> {
        let bytes = |leases: &Vec<Lease>| size_of_val(leases.as_slice());
        self.run(|view| Ok(machine::leases(view.snapshot()).collect::<Result<_, _>>()?), bytes).await
    }

    /// The keys that die with a lease, in order.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub async fn lease_keys(&self, id: LeaseId) -> Result<Vec<Key>, Error> {
        let read = move |view: &StoreView| {
            let keys = machine::attached(view.snapshot(), id).filter_map(|key| key.map(Key::new).transpose());
            Ok(keys.collect::<Result<_, _>>()?)
        };
        self.run(read, |keys: &Vec<Key>| keys.iter().map(|key| key.as_bytes().len()).sum()).await
    }

    /// Runs a read in its turn, on a thread that may block. What it finds makes up an answer of about so many `bytes`: where
    /// there is no room for that, it is run again once there is.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl Fn(&StoreView) -> Result<T, ReadError> + Send + Sync + 'static,
        bytes: impl Fn(&T) -> usize + Send + 'static,
    ) -> Result<T, Error> {
        let read = Arc::new(read);
        if self.turn.lock().is_none() {
            let turn = self.answers.turn(self.deadline).await?;
            *self.turn.lock() = Some(turn);
        }
        let (answers, first) = (self.answers.clone(), Arc::clone(&read));
        let found = self.run_in_turn(move |view| {
            let found = first(view)?;
            // What there is no room for is let go of where it was read: other threads give memory back later.
            Ok(answers.has_room_for(bytes(&found)).then_some(found))
        });
        if let Some(found) = found.await? {
            return Ok(found);
        }
        self.wait_for_room().await?;
        self.run_in_turn(move |view| read(view)).await
    }

    /// Runs a read that is short, where it is called; and again, as [`Reader::run`] does.
    pub(super) async fn run_here<T>(
        &self,
        read: impl Fn() -> Result<T, Error>,
        bytes: impl Fn(&T) -> usize,
    ) -> Result<T, Error> {
        let found = read()?;
        if self.answers.has_room_for(bytes(&found)) {
            return Ok(found);
        }
        drop(found);
        self.wait_for_room().await?;
        read()
    }

    async fn wait_for_room(&self) -> Result<(), Error> {
        // Meanwhile others may read.
        *self.turn.lock() = None;
        let turn = self.answers.turn_with_room(self.deadline).await?;
        *self.turn.lock() = Some(turn);
        Ok(())
    }

    async fn run_in_turn<T: Send + 'static>(
        &self,
        read: impl FnOnce(&StoreView) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Error> {
        // A caller that is gone does not end the read, which keeps the turn until it does.
        let turn = self.turn.lock().take();
        let (found, turn) = self.run_away(move |view| Ok((read(view), turn))).await?;
        *self.turn.lock() = turn;
        found.map_err(|error| self.failed(error))
    }

    /// The turn in which something was read: whoever goes on with that elsewhere keeps it until the answer is made.
    pub(super) fn into_turn(self) -> Option<Turn> {
        self.turn.into_inner()
    }

    /// Runs a read whose answer is never large, or that nobody is given, on a thread that may block.
    async fn run_away<T: Send + 'static>(
        &self,
        read: impl FnOnce(&StoreView) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Error> {
        run_away(self.view().clone(), read).await
    }
}

/// Runs a read on a thread that may block.
pub(super) async fn run_away<T: Send + 'static>(
    view: StoreView,
    read: impl FnOnce(&StoreView) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, Error> {
    let revision = view.revision();
    match tokio::task::spawn_blocking(move || read(&view)).await {
        Ok(result) => result.map_err(|error| Error::read(error, revision)),
        Err(error) => Err(Error::cut_off(&error)),
    }
}

fn range_bytes(found: &RangeResult) -> usize {
    found.items.iter().map(bytes).sum()
}

/// What a record takes up in an answer, at least.
fn bytes(item: &KeyValue) -> usize {
    item.key.as_bytes().len() + item.record.value.len()
}

/// What a page may still take, when it is read in pieces: one whose values are left out holds more than was read at once.
struct Room {
    records: u64,
    bytes: usize,
}

impl Room {
    fn new(request: &ListRequest) -> Self {
        // With its values, a page is what one reading gave.
        Self { records: request.limit, bytes: if request.keys_only { MAX_PAGE_BYTES } else { 0 } }
    }

    fn take(&mut self, items: &[KeyValue], directories: &[Key]) {
        let keys = items.iter().map(|item| &item.key).chain(directories);
        let bytes: usize = keys.map(|key| key.as_bytes().len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.records = self.records.saturating_sub((items.len() + directories.len()) as u64);
    }

    fn is_left(&self) -> bool {
        self.records > 0 && self.bytes > 0
    }
}

/// The ways to make a page.
struct Lister<'a> {
    view: &'a StoreView,
    request: &'a ListRequest,
    revision: Option<Revision>,
    shown: Revision,
}

impl Lister<'_> {
    /// The keys below the directory, without its own marker.
    fn range(&self) -> KeyRange {
        let whole = KeyRange::prefix([self.request.directory.as_ref(), self.request.prefix.as_ref()].concat());
        if self.request.directory.is_empty() || !self.request.prefix.is_empty() {
            return whole;
        }
        let mut start = self.request.directory.to_vec();
        start.push(0);
        KeyRange::new(start, whole.end().cloned())
    }

    fn query(&self, range: KeyRange) -> RangeQuery {
        RangeQuery {
            revision: self.revision,
            limit: Some(self.request.limit),
            min_mod_revision: self.request.min_mod_revision,
            max_mod_revision: self.request.max_mod_revision,
            min_create_revision: self.request.min_create_revision,
            max_create_revision: self.request.max_create_revision,
            ..RangeQuery::all(range)
        }
    }

    fn position(&self) -> Option<Bytes> {
        self.request.cursor.as_ref().map(|cursor| cursor.position.clone())
    }

    /// A page with nothing on it yet.
    fn blank(&self) -> Listing {
        Listing {
            revision: self.shown,
            items: Vec::new(),
            sizes: Vec::new(),
            directories: Vec::new(),
            count: None,
            cursor: None,
            examined: None,
        }
    }

    /// Puts on a page what the request wants of what was read: of the values their sizes, where only keys are asked for.
    fn fill(&self, page: &mut Listing, read: Vec<KeyValue>) {
        for mut item in read.into_iter().filter(|item| self.request.selects(item)) {
            if self.request.keys_only {
                page.sizes.push(item.record.value.len() as u64);
                item.record.value = Bytes::new();
            }
            page.items.push(item);
        }
    }

    /// Ends a page: `next` is where the next one begins.
    fn end(&self, page: Listing, next: Option<Bytes>) -> Listing {
        let whole = next.is_none() && self.request.cursor.is_none();
        let count = whole.then(|| (page.items.len() + page.directories.len()) as u64);
        Listing { count, cursor: next.map(|position| Cursor { revision: self.shown, position }), ..page }
    }

    /// What is left of everything below.
    fn rest(&self) -> KeyRange {
        let whole = self.range();
        let start = self.position().unwrap_or_else(|| whole.start().clone()).max(whole.start().clone());
        KeyRange::new(start, whole.end().cloned())
    }

    fn below(&self) -> Result<Listing, ReadError> {
        let mut page = self.blank();
        let mut room = Room::new(self.request);
        let mut query = self.query(self.rest());
        loop {
            let piece = self.view.page(&query, MAX_PAGE_BYTES)?;
            room.take(&piece.items, &[]);
            self.fill(&mut page, piece.items);
            match piece.rest {
                Some(rest) if room.is_left() => {
                    query = RangeQuery { limit: Some(room.records), range: rest, ..query };
                }
                rest => return Ok(self.end(page, rest.map(|rest| rest.start().clone()))),
            }
        }
    }

    /// A page of a search: what there is among so many keys, which may be nothing.
    fn found(&self) -> Result<Listing, ReadError> {
        // Without the bounds on revisions: what they leave out is looked into as well, and counts.
        let (revision, limit) = (self.revision, Some(MAX_SEARCHED_KEYS));
        let query = RangeQuery { revision, limit, ..RangeQuery::all(self.rest()) };
        let piece = self.view.page(&query, MAX_PAGE_BYTES)?;
        let limit = usize::try_from(self.request.limit).unwrap_or(usize::MAX);
        let (mut examined, mut found, mut next) = (0, Vec::new(), piece.rest.map(|rest| rest.start().clone()));
        for item in piece.items {
            if self.request.selects(&item) && self.request.finds(&item) {
                if found.len() >= limit {
                    next = Some(item.key.bytes().clone());
                    break;
                }
                found.push(item);
            }
            examined += 1;
        }
        let mut page = self.blank();
        self.fill(&mut page, found);
        Ok(Listing { count: None, examined: Some(examined), ..self.end(page, next) })
    }

    fn level_query(&self, limit: Option<u64>) -> ListQuery {
        ListQuery {
            directory: self.request.directory.clone(),
            prefix: self.request.prefix.clone(),
            from: self.position(),
            revision: self.revision,
            limit,
            max_bytes: MAX_PAGE_BYTES,
            keys_only: false,
            heads: false,
        }
    }

    fn level(&self) -> Result<Listing, ReadError> {
        let mut page = self.blank();
        let mut room = Room::new(self.request);
        let mut query = self.level_query(Some(self.request.limit));
        loop {
            let level = self.view.list(&query)?;
            room.take(&level.items, &level.directories);
            self.fill(&mut page, level.items);
            page.directories.extend(level.directories);
            match level.next {
                Some(next) if room.is_left() => {
                    query = ListQuery { limit: Some(room.records), from: Some(next), ..query };
                }
                next => return Ok(self.end(page, next)),
            }
        }
    }

    fn count(&self) -> Result<Listing, ReadError> {
        let count = if self.request.recursive {
            let query = RangeQuery { revision: self.revision, count_only: true, ..RangeQuery::all(self.range()) };
            self.view.range(&query)?.count
        } else {
            let (items, directories) = self.whole_level()?;
            (items.len() + directories.len()) as u64
        };
        Ok(Listing { count: Some(count), ..self.blank() })
    }

    /// All keys, without their values, and all directories.
    fn whole_level(&self) -> Result<(Vec<KeyValue>, Vec<Key>), ReadError> {
        let (mut items, mut directories) = (Vec::new(), Vec::new());
        let mut query = ListQuery { from: None, keys_only: true, ..self.level_query(None) };
        loop {
            let level = self.view.list(&query)?;
            items.extend(level.items.into_iter().filter(|item| self.request.selects(item)));
            directories.extend(level.directories);
            match level.next {
                Some(next) => query.from = Some(next),
                None => return Ok((items, directories)),
            }
        }
    }

    /// Orders keys alone, then fetches the values of one page.
    fn sorted(&self) -> Result<Listing, ReadError> {
        let (mut items, directories) = if self.request.recursive {
            let query = RangeQuery { limit: None, keys_only: true, ..self.query(self.range()) };
            (self.view.range(&query)?.items, Vec::new())
        } else {
            self.whole_level()?
        };
        items.sort_by(|a, b| {
            let order = self.compare(a, b).then_with(|| a.key.cmp(&b.key));
            if self.request.descending { order.reverse() } else { order }
        });
        let start = self.position().and_then(|position| position.as_ref().try_into().ok().map(u64::from_be_bytes));
        let start = usize::try_from(start.unwrap_or(0)).unwrap_or(usize::MAX);
        let limit = usize::try_from(self.request.limit).unwrap_or(usize::MAX);
        let total = items.len();
        let mut page = self.blank();
        let mut end = start;
        for mut item in items.into_iter().skip(start).take(limit) {
            if let Some(record) = self.view.get(item.key.as_bytes(), Some(self.shown))? {
                item.record = record;
            }
            self.fill(&mut page, vec![item]);
            end += 1;
        }
        let next = (end < total).then(|| Bytes::copy_from_slice(&(end as u64).to_be_bytes()));
        if start == 0 {
            page.directories = directories;
        }
        Ok(self.end(page, next))
    }

    fn compare(&self, a: &KeyValue, b: &KeyValue) -> Ordering {
        match self.request.sort_by {
            SortBy::Key => Ordering::Equal,
            SortBy::Version => a.record.version.cmp(&b.record.version),
            SortBy::CreateRevision => a.record.create_revision.cmp(&b.record.create_revision),
            SortBy::ModRevision => a.record.mod_revision.cmp(&b.record.mod_revision),
            SortBy::Value => a.record.value.cmp(&b.record.value),
        }
    }
}
