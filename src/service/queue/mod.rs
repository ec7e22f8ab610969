//! Queues in which whoever came first holds: what locks and elections are made of.
//!
//! A place in the queue `jobs` is a key `jobs/{lease in hex}` that dies with its lease; the order is that of create
//! revisions. This is the layout of the `concurrency` package of etcd's Go client, so that its mutexes and elections
//! and those here exclude each other. Nobody can come in ahead of a place that is there: whoever waits follows only
//! the nearest one ahead of it (`ahead`), and looks for the next when that is gone; meanwhile its lease is kept alive
//! together with those of others (`renewals`).

mod ahead;
mod list;
mod renewals;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{sleep, sleep_until};

use self::ahead::InLine;
pub(super) use self::ahead::Lines;
pub use self::list::{QueueSummary, Queues, QueuesRequest};
pub(super) use self::renewals::Renewals;
use self::renewals::{Keeping, every};
use super::{
    Call, Consistency, Error, ListRequest, OnCompacted, Reader, Service, Start, WatchItem, WatchRequest, WatchStream,
};
use crate::model::limits::{MAX_KEY_BYTES, MAX_QUEUE_PLACES};
use crate::model::{
    Attach, Command, Compare, CompareTarget, Condition, Delete, DeleteTarget, EventKind, Key, KeyRange, KeyValue,
    LeaseId, Op, Operator, Outcome, Put, Refusal, Revision, Ttl, Txn,
};

/// How long after a failure that passes by itself, such as a lost leader, something is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// How long one step of a longer task may take before it is tried again.
const STEP: Duration = Duration::from_secs(5);
/// Keys of a queue that are read at once.
const PAGE: u64 = 128;
/// How often an observation says that it is alive while nothing changes.
const ALIVE: Duration = Duration::from_secs(15);

/// The name of a queue: any bytes but none, short enough for the keys of its places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueueName(Bytes);

impl QueueName {
    /// The longest name in bytes: with a slash and the 16 digits of a lease it makes a key.
    pub const MAX_BYTES: usize = MAX_KEY_BYTES - 17;

    /// `None` when it is empty or too long.
    #[must_use]
    pub fn new(name: impl Into<Bytes>) -> Option<Self> {
        let name = name.into();
        (!name.is_empty() && name.len() <= Self::MAX_BYTES).then_some(Self(name))
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the keys of its places begin with.
    fn directory(&self) -> Bytes {
        [&self.0[..], b"/"].concat().into()
    }

    /// The key of the place that a lease has.
    fn place(&self, lease: LeaseId) -> Result<Key, Error> {
        let key = [&self.0[..], format!("/{lease}").as_bytes()].concat();
        Key::new(key).ok_or_else(|| Error::InvalidArgument("the name is empty".to_owned()))
    }

    /// The lease whose place a key is; `None` for other keys, which are none of the queue's business.
    fn lease(&self, key: &Key) -> Option<LeaseId> {
        let digits = key.as_bytes().strip_prefix(&self.0[..])?.strip_prefix(b"/")?;
        let lease: LeaseId = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (lease.to_string().as_bytes() == digits).then_some(lease)
    }
}

/// A place in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub key: Key,
    /// Which the place dies with. It names the place.
    pub lease: LeaseId,
    /// The create revision of the key: the order of arrival, and the fencing token of whoever holds.
    pub token: Revision,
    /// The revision of its value.
    pub modified: Revision,
    /// How often its value was written.
    pub version: u64,
    /// The owner of a lock; what a candidate proclaims.
    pub value: Bytes,
    /// What is left of the lease by this member's clock.
    pub remaining: Option<Ttl>,
}

/// A queue at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub revision: Revision,
    /// In order of arrival: the first one holds.
    pub places: Vec<Place>,
}

/// What keeps a place alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// A lease made for the place and gone with it. While its request waits, it is kept alive.
    Own(Ttl),
    /// A lease that the client has, and keeps alive itself.
    Lease(LeaseId),
}

/// A place to take.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: QueueName,
    pub life: Life,
    pub value: Bytes,
    /// How long to wait to become the first; zero looks once.
    pub wait: Duration,
}

/// What came of an [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    /// The place is the first one: it holds.
    First(First),
    /// Others were first for as long as the request would wait. It left no place behind.
    Behind {
        /// Who is first at this revision, if anybody still is.
        revision: Revision,
        first: Option<Place>,
    },
}

/// A place that is the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    pub place: Place,
    /// A revision at which it was the first.
    pub revision: Revision,
    /// The one at which the request took it, or found that its client had it before.
    pub taken: Revision,
    /// Whether the place was taken by an earlier request with the same idempotency key.
    pub replayed: bool,
}

impl Service {
    /// The places of a queue, in order of arrival.
    ///
    /// # Errors
    /// Those of a read, and [`Error::InvalidArgument`] for a queue of more than [`MAX_QUEUE_PLACES`].
    pub async fn queue(&self, call: &Call, consistency: Consistency, name: &QueueName) -> Result<Queue, Error> {
        let reader = self.reader(call, consistency).await?;
        self.read_queue(&reader, name).await
    }

    /// Who is first in a queue, if anybody is, and the revision at which that is so.
    ///
    /// # Errors
    /// As [`Service::queue`].
    pub async fn first_place(&self, call: &Call, name: &QueueName) -> Result<(Revision, Option<Place>), Error> {
        self.first(call, name, None).await
    }

    /// Takes a place and waits until it is the first one. With the lease of a client that has a place already, it is that
    /// one (as in etcd). A request that ends without holding gives up the place that it took, however it ends; one
    /// that carries an idempotency key and is cut off leaves it to a retry, and to its lease.
    ///
    /// # Errors
    /// [`Refusal::LeaseNotFound`] when the lease is gone, before or while waiting; those of reads and writes.
    pub async fn enter(&self, call: &Call, entry: Entry) -> Result<Entered, Error> {
        let until = Instant::now() + entry.wait;
        if entry.wait.is_zero() && call.idempotency.is_none() {
            let (revision, first) = self.first(call, &entry.name, None).await?;
            let is_mine = |first: &Place| matches!(entry.life, Life::Lease(lease) if first.lease == lease);
            if first.as_ref().is_some_and(|first| !is_mine(first)) {
                return Ok(Entered::Behind { revision, first });
            }
        }
        let mut stay = Stay::new(self, call, &entry)?;
        let began = Instant::now();
        let taken = stay.take(call, &entry).await?;
        let Some((place, revision)) = self.wait_first(call, &entry, &taken, began, until).await? else {
            stay.leave().await;
            let (revision, first) = self.first(call, &entry.name, Some(&taken.key)).await?;
            return Ok(Entered::Behind { revision, first });
        };
        let (place, revision) = match entry.life {
            // Whoever has waited begins with all of its time. The lease was there, and after that the place.
            Life::Own(ttl) if taken.replayed || began.elapsed() > every(ttl) => {
                let call = Call { idempotency: None, ..call.clone() };
                self.begin_anew(&call, &entry.name, place, &taken).await?
            }
            Life::Own(_) | Life::Lease(_) => (place, revision),
        };
        stay.keep();
        Ok(Entered::First(First { place, revision, taken: taken.at, replayed: taken.replayed }))
    }

    /// Sets the lease of a place back to its full time; `None` when there is no such place. A lease that has no place here is
    /// left alone.
    ///
    /// # Errors
    /// Those of reads and writes.
    pub async fn keep_place(
        &self,
        call: &Call,
        name: &QueueName,
        lease: LeaseId,
    ) -> Result<Option<(Revision, Place)>, Error> {
        let reader = self.reader(call, Consistency::Linearizable).await?;
        let found = reader.get(&name.place(lease)?, None)?.and_then(|item| self.place(name, item));
        let Some(place) = found else { return Ok(None) };
        match self.renew_lease(call, lease).await {
            Ok((revision, ttl)) => Ok(Some((revision, Place { remaining: Some(ttl), ..place }))),
            Err(Error::Refused { refusal, .. }) if matches!(*refusal, Refusal::LeaseNotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a place up, whoever has it, and says whether an earlier request with the same idempotency key did; `None` when
    /// there is no such place. A lease made for it goes with it.
    ///
    /// # Errors
    /// Those of a write.
    pub async fn leave(
        &self,
        call: &Call,
        name: &QueueName,
        lease: LeaseId,
    ) -> Result<Option<(Revision, bool)>, Error> {
        match self.write(call, delete(name.place(lease)?)).await {
            Ok(done) => Ok(Some((done.revision, done.replayed))),
            Err(Error::Refused { refusal, .. }) if *refusal == Refusal::KeyNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the value of a place that is the first one, and says whether an earlier request with the same idempotency key
    /// did; `None` when it is not the first, or is not there.
    ///
    /// # Errors
    /// Those of reads and writes.
    pub async fn proclaim(
        &self,
        call: &Call,
        name: &QueueName,
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Option<(Place, bool)>, Error> {
        let (_, first) = self.first(call, name, None).await?;
        let Some(place) = first.filter(|first| first.lease == lease) else { return Ok(None) };
        // Whoever is first stays first while the place lasts.
        let lasts = Compare {
            range: KeyRange::single(&place.key),
            operator: Operator::Equal,
            target: CompareTarget::CreateRevision(place.token),
        };
        let put = Put {
            key: place.key.clone(),
            value: Some(value.clone()),
            content_type: None,
            attach: Attach::Keep,
            previous: false,
        };
        let txn = Txn { compares: vec![lasts], then: vec![Op::Put(put)], otherwise: Vec::new() };
        let done = self.write(call, Command::Txn(txn)).await?;
        let Outcome::Txn { succeeded, .. } = done.outcome else { return Err(odd(&done.outcome)) };
        Ok(succeeded
            .then_some((Place { value, modified: done.revision, version: place.version + 1, ..place }, done.replayed)))
    }

    /// Waits until the place is the first one, and gives the revision at which it was seen to be; `None` when it is not by
    /// `until`.
    async fn wait_first(
        &self,
        call: &Call,
        entry: &Entry,
        taken: &Taken,
        began: Instant,
        until: Instant,
    ) -> Result<Option<(Place, Revision)>, Error> {
        let mut keeping = match entry.life {
            // How long ago the request that took it was cut off, and its lease renewed last, is not known.
            Life::Own(ttl) => {
                let due = if taken.replayed { Instant::now() } else { began + every(ttl) };
                entry.name.lease(&taken.key).map(|lease| self.keep_renewed(lease, ttl, due))
            }
            Life::Lease(_) => None,
        };
        let line = self.line(&entry.name);
        loop {
            let (place, nearest, revision) = match self.look_ahead(call, entry, taken, &line).await {
                Ok(found) => found,
                // Elections pass; the place stays for as long as its lease does.
                Err(error) if passes(&error) && Instant::now() < until => {
                    sleep(RETRY).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(nearest) = nearest else { return Ok(Some((place, revision))) };
            if Instant::now() >= until {
                return Ok(None);
            }
            tokio::select! {
                biased;
                gone = self.gone(call, &nearest, revision) => gone?,
                () = sleep_until(until.into()) => {}
                error = lost(keeping.as_mut()) => return Err(error),
            }
        }
    }

    /// Gives a place all of its time again, and looks whether it is still there; with the revision at which it is.
    async fn begin_anew(
        &self,
        call: &Call,
        name: &QueueName,
        place: Place,
        taken: &Taken,
    ) -> Result<(Place, Revision), Error> {
        loop {
            let step = step(call);
            let renewed = match self.renew_lease(&step, place.lease).await {
                Ok((_, ttl)) => self.reader(&step, Consistency::Linearizable).await.map(|reader| (ttl, reader)),
                Err(error) => Err(error),
            };
            match renewed {
                Ok((ttl, reader)) => {
                    self.find(&reader, name, taken)?;
                    return Ok((Place { remaining: Some(ttl), ..place }, reader.revision()));
                }
                Err(error) if is_tried_again(call, &error) => sleep(RETRY).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// The place, the nearest one ahead of it that is left, and the revision at which that is so.
    async fn look_ahead(
        &self,
        call: &Call,
        entry: &Entry,
        taken: &Taken,
        line: &InLine,
    ) -> Result<(Place, Option<Key>, Revision), Error> {
        let call = Call { deadline: Instant::now() + STEP, ..call.clone() };
        let reader = self.reader(&call, Consistency::Linearizable).await?;
        let place = self.find(&reader, &entry.name, taken)?;
        let nearest = line.nearest(&reader, taken).await?;
        Ok((place, nearest, reader.revision()))
    }

    /// The place that was taken, as long as it is there.
    fn find(&self, reader: &Reader, name: &QueueName, taken: &Taken) -> Result<Place, Error> {
        let place = reader.get(&taken.key, None)?.and_then(|item| self.place(name, item));
        let lost =
            || Error::refused(Refusal::LeaseNotFound(name.lease(&taken.key).unwrap_or_default()), reader.revision());
        place.filter(|place| place.token == taken.token).ok_or_else(lost)
    }

    /// Resolves when a key is gone, if it was there at the revision.
    async fn gone(&self, call: &Call, key: &Key, revision: Revision) -> Result<(), Error> {
        let request = WatchRequest {
            range: KeyRange::single(key),
            children_of: None,
            kinds: vec![EventKind::Delete, EventKind::Expire],
            start: Start::After(revision),
            on_compacted: OnCompacted::End,
            progress_every: None,
        };
        if self.changed(call, request).await? { Ok(()) } else { Err(Error::ShuttingDown) }
    }

    async fn read_queue(&self, reader: &Reader, name: &QueueName) -> Result<Queue, Error> {
        let mut places = Vec::new();
        self.each_place(reader, name, false, |place| places.push(place)).await?;
        places.sort_by_key(|place| place.token);
        Ok(Queue { revision: reader.revision(), places })
    }

    /// The first place of a queue but for one, and the revision at which it is. Only its own value is read: of those that
    /// wait there may be many.
    async fn first(
        &self,
        call: &Call,
        name: &QueueName,
        besides: Option<&Key>,
    ) -> Result<(Revision, Option<Place>), Error> {
        let reader = self.reader(call, Consistency::Linearizable).await?;
        let mut first: Option<(Revision, Key)> = None;
        let take = |place: Place| {
            let place = (place.token, place.key);
            if besides != Some(&place.1) && first.as_ref().is_none_or(|first| place < *first) {
                first = Some(place);
            }
        };
        self.each_place(&reader, name, true, take).await?;
        let item = first.map(|(_, key)| reader.get(&key, None)).transpose()?.flatten();
        Ok((reader.revision(), item.and_then(|item| self.place(name, item))))
    }

    /// Gives every place of a queue to `take`, in order of key; without their values, if `keys_only`.
    async fn each_place(
        &self,
        reader: &Reader,
        name: &QueueName,
        keys_only: bool,
        mut take: impl FnMut(Place),
    ) -> Result<(), Error> {
        let mut request = ListRequest { keys_only, ..ListRequest::level(name.directory(), PAGE) };
        let mut looked_at = 0;
        loop {
            let page = reader.list(request.clone()).await?;
            looked_at += page.items.len() + page.directories.len();
            if looked_at as u64 > MAX_QUEUE_PLACES {
                return Err(too_long(name));
            }
            page.items.into_iter().filter_map(|item| self.place(name, item)).for_each(&mut take);
            let Some(cursor) = page.cursor else { return Ok(()) };
            request.cursor = Some(cursor);
        }
    }

    /// The place that a key is, if it is one: it is named after its lease.
    fn place(&self, name: &QueueName, item: KeyValue) -> Option<Place> {
        let lease = name.lease(&item.key)?;
        Some(Place {
            lease,
            token: item.record.create_revision,
            modified: item.record.mod_revision,
            version: item.record.version,
            value: item.record.value,
            remaining: item.record.lease.and_then(|lease| self.lease_remaining(lease)),
            key: item.key,
        })
    }
}

/// Who is first in a queue, as it changes.
#[derive(Debug)]
pub struct Observation {
    stream: WatchStream,
    name: QueueName,
    service: Service,
    /// In order of arrival. Those written by one transaction have one create revision.
    places: BTreeMap<(Revision, Key), Place>,
    tokens: HashMap<Key, Revision>,
    /// Whether the present state is known, and whether anything was said of it.
    synced: bool,
    begun: bool,
    /// Who was said last to be first: token and revision of the value.
    said: Option<(Revision, Revision)>,
    ready: VecDeque<Observed>,
    ended: bool,
}

/// What an [`Observation`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// Somebody else is first, whoever is first has another value, or nobody is there.
    First { revision: Revision, place: Option<Place> },
    /// Nothing has changed for a while.
    Alive,
    /// The stream ends: it was read too slowly, the server drains, the member has stopped, or the queue has more than
    /// [`MAX_QUEUE_PLACES`].
    End(Option<Error>),
}

impl Service {
    /// Follows who is first in a queue: whoever is at present, then every change of it in order, none left out.
    ///
    /// # Errors
    /// As [`Service::watch`].
    pub async fn observe(&self, call: &Call, name: QueueName) -> Result<Observation, Error> {
        let directory = Key::new(name.directory());
        let request = WatchRequest {
            range: KeyRange::prefix(name.directory()),
            children_of: directory,
            kinds: Vec::new(),
            start: Start::Initial,
            on_compacted: OnCompacted::Reset,
            progress_every: Some(ALIVE),
        };
        let stream = self.watch(call, request).await?;
        Ok(Observation {
            stream,
            name,
            service: self.clone(),
            places: BTreeMap::new(),
            tokens: HashMap::new(),
            synced: false,
            begun: false,
            said: None,
            ready: VecDeque::new(),
            ended: false,
        })
    }
}

impl Observation {
    /// The revision that the store was at when the observation began.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.stream.revision()
    }

    /// What there is to say next; nothing after [`Observed::End`].
    pub async fn next(&mut self) -> Option<Observed> {
        loop {
            if let Some(said) = self.ready.pop_front() {
                return Some(said);
            }
            if self.ended {
                return None;
            }
            match self.stream.next().await? {
                WatchItem::State(items) => items.into_iter().for_each(|item| self.put(item)),
                WatchItem::Synced(revision) => {
                    self.synced = true;
                    self.say(revision);
                }
                WatchItem::Events(events) => {
                    for (event, ends_revision) in events.iter() {
                        match &event.record {
                            Some(record) => self.put(KeyValue { key: event.key.clone(), record: record.clone() }),
                            None => self.remove(&event.key),
                        }
                        if ends_revision {
                            self.say(event.revision);
                        }
                    }
                }
                WatchItem::Progress(_) => return Some(Observed::Alive),
                WatchItem::Reset => {
                    self.synced = false;
                    self.places.clear();
                    self.tokens.clear();
                }
                WatchItem::Failed(error) => return Some(Observed::End(Some(error))),
                WatchItem::Compacted { .. } | WatchItem::Lagging { .. } | WatchItem::Closed => {
                    return Some(Observed::End(None));
                }
            }
            if self.places.len() as u64 > MAX_QUEUE_PLACES {
                self.ended = true;
                self.places.clear();
                self.tokens.clear();
                self.ready.push_back(Observed::End(Some(too_long(&self.name))));
            }
        }
    }

    fn put(&mut self, item: KeyValue) {
        if let Some(place) = self.service.place(&self.name, item) {
            self.remove(&place.key.clone());
            self.tokens.insert(place.key.clone(), place.token);
            self.places.insert((place.token, place.key.clone()), place);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(token) = self.tokens.remove(key) {
            self.places.remove(&(token, key.clone()));
        }
    }

    fn say(&mut self, revision: Revision) {
        let first = self.places.values().next();
        let now = first.map(|place| (place.token, place.modified));
        if self.synced && (self.said != now || !self.begun) {
            (self.begun, self.said) = (true, now);
            self.ready.push_back(Observed::First { revision, place: first.cloned() });
        }
    }
}

/// A place that was taken.
#[derive(Debug, Clone)]
struct Taken {
    key: Key,
    token: Revision,
    /// When it was taken, or found taken.
    at: Revision,
    replayed: bool,
}

/// A place whose request is under way. When that ends without holding, however it ends, the place is given up, unless its
/// client had it before.
#[derive(Debug)]
struct Stay {
    service: Service,
    key: Key,
    attach: Attach,
    /// How long the place would last by itself.
    lasts: Duration,
    /// The revision before the first try. A place that is older was the client's before; `None` until that is known.
    before: Option<Revision>,
    /// Where there may be a place that goes with the request: what it is newer than.
    gives_up: Option<Revision>,
    /// Whether it is not known of a try what came of it.
    unknown: bool,
    /// Whether a retry may find the place that a cut-off request left.
    retried: bool,
}

impl Stay {
    fn new(service: &Service, call: &Call, entry: &Entry) -> Result<Self, Error> {
        let (lease, attach, lasts) = match entry.life {
            Life::Own(ttl) => {
                let id = service.new_lease_id();
                (id, Attach::Own { id, ttl }, Duration::from_millis(ttl.get()))
            }
            Life::Lease(id) => (id, Attach::Lease(id), STEP),
        };
        let (service, key, retried) = (service.clone(), entry.name.place(lease)?, call.idempotency.is_some());
        // Under a lease of its own there was nothing before; a retry goes on with what its first try took.
        let before = (retried || matches!(entry.life, Life::Own(_))).then_some(Revision::ZERO);
        Ok(Self { service, key, attach, lasts, before, gives_up: None, unknown: false, retried })
    }

    /// Takes the place, however many leaders die over it.
    async fn take(&mut self, call: &Call, entry: &Entry) -> Result<Taken, Error> {
        loop {
            match self.try_to_take(&step(call), entry).await {
                Err(error) if is_tried_again(call, &error) => sleep(RETRY).await,
                done => return done,
            }
        }
    }

    /// Takes the place, or finds it taken: by a first try of the request, or with the lease before.
    async fn try_to_take(&mut self, call: &Call, entry: &Entry) -> Result<Taken, Error> {
        let put = Put {
            key: self.key.clone(),
            value: Some(entry.value.clone()),
            content_type: None,
            attach: self.attach,
            previous: false,
        };
        let before = match self.before {
            Some(before) => before,
            None => self.service.reader(call, Consistency::Linearizable).await?.revision(),
        };
        (self.before, self.gives_up) = (Some(before), Some(before));
        match self.service.write(call, Command::Put { put, condition: absent() }).await {
            Ok(done) => {
                let Outcome::Written { now, .. } = done.outcome else { return Err(odd(&done.outcome)) };
                self.key = now.key.clone();
                let token = now.record.create_revision;
                Ok(Taken { key: now.key, token, at: done.revision, replayed: done.replayed })
            }
            Err(Error::OutcomeUnknown) => {
                self.unknown = true;
                Err(Error::OutcomeUnknown)
            }
            Err(error) => {
                if !self.unknown {
                    self.gives_up = None;
                }
                match error {
                    Error::Refused { refusal, revision } => match *refusal {
                        Refusal::PreconditionFailed { current: Some(now) } => {
                            let token = now.record.create_revision;
                            Ok(Taken { key: now.key, token, at: revision, replayed: false })
                        }
                        refusal => Err(Error::refused(refusal, revision)),
                    },
                    error => Err(error),
                }
            }
        }
    }

    fn keep(&mut self) {
        self.gives_up = None;
    }

    /// Gives the place up, and says when it is gone. Goes on if nobody waits for it.
    async fn leave(&mut self) {
        if let Some(before) = self.gives_up.take() {
            // It ends by itself, and a panic in it would have ended the process.
            drop(tokio::spawn(self.give_up(before)).await);
        }
    }

    fn give_up(&self, before: Revision) -> impl Future<Output = ()> + Send + 'static {
        let (service, until) = (self.service.clone(), Instant::now() + self.lasts);
        let is_newer = Compare {
            range: KeyRange::single(&self.key),
            operator: Operator::Greater,
            target: CompareTarget::CreateRevision(before),
        };
        let delete = Delete { target: DeleteTarget::Key(self.key.clone()), previous: false };
        let txn = Txn { compares: vec![is_newer], then: vec![Op::Delete(delete)], otherwise: Vec::new() };
        async move {
            loop {
                match service.write(&Call::new(Instant::now() + STEP), Command::Txn(txn.clone())).await {
                    Err(error) if (passes(&error) || error == Error::OutcomeUnknown) && Instant::now() < until => {
                        sleep(RETRY).await;
                    }
                    Ok(_) | Err(_) => return,
                }
            }
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some(before) = self.gives_up.take().filter(|_| !self.retried) {
            drop(tokio::spawn(self.give_up(before)));
        }
    }
}

/// One step of a call whose deadline may be far away: what became of it is not known before its own deadline where the leader that
/// had it is gone. What carries an idempotency key is its client's to try again.
fn step(call: &Call) -> Call {
    let deadline = if call.idempotency.is_some() { call.deadline } else { call.deadline.min(Instant::now() + STEP) };
    Call { deadline, ..call.clone() }
}

/// Whether a step that is harmless to do twice is done again.
fn is_tried_again(call: &Call, error: &Error) -> bool {
    matches!(error, Error::NoLeader | Error::OutcomeUnknown | Error::DeadlineExceeded)
        && call.idempotency.is_none()
        && Instant::now() + RETRY < call.deadline
}

/// Resolves when a lease is lost that is kept alive here.
async fn lost(keeping: Option<&mut Keeping>) -> Error {
    match keeping {
        Some(keeping) => keeping.lost().await,
        None => std::future::pending().await,
    }
}

/// Whether something may succeed if it is tried again, and was certainly not done.
fn passes(error: &Error) -> bool {
    matches!(error, Error::NoLeader | Error::Overloaded(_) | Error::DeadlineExceeded)
}

fn too_long(name: &QueueName) -> Error {
    Error::InvalidArgument(format!(
        "more than {MAX_QUEUE_PLACES} keys are directly below {}/: too many for the queue of a lock or an election",
        String::from_utf8_lossy(name.as_bytes())
    ))
}

fn absent() -> Condition {
    Condition { exists: Some(false), ..Condition::default() }
}

fn delete(key: Key) -> Command {
    Command::Delete {
        delete: Delete { target: DeleteTarget::Key(key), previous: false },
        condition: Condition::default(),
    }
}

fn odd(outcome: &Outcome) -> Error {
    Error::Storage(format!("a place in a queue came to {outcome:?}").into())
}

#[cfg(test)]
mod tests;
