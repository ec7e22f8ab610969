//! All queues that somebody is in, page by page.
//!
//! A queue is known by its places alone: keys that die with the lease that they are named after. They are found among what is
//! attached to leases, in one pass that keeps no more than a page.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

use bytes::Bytes;

use super::{Place, QueueName};
use crate::machine;
use crate::model::limits::MAX_PAGE_BYTES;
use crate::model::{Key, KeyValue, LeaseId, Revision};
use crate::mvcc::ReadError;
use crate::node::StoreView;
use crate::service::{Call, Consistency, Cursor, Error, Service};

/// So many attachments are looked at between two looks at the clock.
const STEP: usize = 256;

/// Which queues are wanted.
#[derive(Debug, Clone)]
pub struct QueuesRequest {
    /// What their names begin with.
    pub prefix: Bytes,
    /// At most this many, of which one at least; fewer where their first places reach [`MAX_PAGE_BYTES`].
    pub limit: u64,
    /// Behind this one's position, which is a name. Its revision does not count: every page shows the present.
    pub cursor: Option<Cursor>,
}

/// A page of queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queues {
    /// The revision that the page shows.
    pub revision: Revision,
    /// In order of name.
    pub items: Vec<QueueSummary>,
    pub cursor: Option<Cursor>,
}

/// A queue that somebody is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSummary {
    pub name: QueueName,
    /// The first place, which holds.
    pub first: Place,
    /// How many places are behind it.
    pub waiting: u64,
}

impl Service {
    /// A page of the queues that somebody is in, in order of name.
    ///
    /// # Errors
    /// Those of a read, and [`Error::DeadlineExceeded`].
    pub async fn queues(&self, call: &Call, consistency: Consistency, request: QueuesRequest) -> Result<Queues, Error> {
        let reader = self.reader(call, consistency).await?;
        let (revision, deadline) = (reader.revision(), call.deadline);
        let bytes = |page: &Option<Page>| page.as_ref().map_or(0, |page| page.bytes);
        let page = reader.run(move |view| pass(view, &request, deadline), bytes);
        let Page { seen, end, .. } = page.await?.ok_or(Error::DeadlineExceeded)?;
        let last = seen.last_key_value().map(|(name, _)| name.clone());
        let cursor = end.and(last).map(|position| Cursor { revision, position });
        let items = seen.into_iter().filter_map(|(name, Seen { first, places })| {
            let name = QueueName::new(name)?;
            let first = self.place(&name, first)?;
            Some(QueueSummary { name, first, waiting: places.saturating_sub(1) })
        });
        Ok(Queues { revision, items: items.collect(), cursor })
    }
}

/// What is known of a queue in the middle of a pass.
struct Seen {
    first: KeyValue,
    places: u64,
}

impl Seen {
    fn bytes(&self) -> usize {
        self.first.key.as_bytes().len() + self.first.record.value.len()
    }
}

/// The first queues of a pass, as many as there is room for.
struct Page {
    limit: usize,
    seen: BTreeMap<Bytes, Seen>,
    /// Of the first places.
    bytes: usize,
    /// The least name that there is no room for. It only gets smaller, so every place of a queue that is on the page at last has been
    /// counted.
    end: Option<Bytes>,
}

impl Page {
    fn has_room_for(&self, name: &Bytes) -> bool {
        self.end.as_ref().is_none_or(|end| name < end)
    }

    /// Counts a place, and puts the largest names out where that is too much. The least one stays.
    fn add(&mut self, name: Bytes, place: KeyValue) {
        let was = self.seen.get(&name).map_or(0, Seen::bytes);
        let queue = match self.seen.entry(name) {
            Entry::Vacant(vacant) => vacant.insert(Seen { first: place, places: 1 }),
            Entry::Occupied(occupied) => {
                let queue = occupied.into_mut();
                queue.places += 1;
                if arrival(&place) < arrival(&queue.first) {
                    queue.first = place;
                }
                queue
            }
        };
        self.bytes = self.bytes + queue.bytes() - was;
        while self.seen.len() > self.limit || (self.bytes > MAX_PAGE_BYTES && self.seen.len() > 1) {
            let Some((name, queue)) = self.seen.pop_last() else { return };
            self.bytes -= queue.bytes();
            self.end = Some(name);
        }
    }
}

/// The first queues behind the cursor; `None` when the deadline has passed.
fn pass(view: &StoreView, request: &QueuesRequest, deadline: Instant) -> Result<Option<Page>, ReadError> {
    let QueuesRequest { prefix, limit, cursor } = request;
    let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
    let mut page = Page { limit, seen: BTreeMap::new(), bytes: 0, end: None };
    let mut until_look = STEP;
    let is_whole = machine::each_attached(view.snapshot(), |lease, key| {
        until_look = until_look.saturating_sub(1);
        if until_look == 0 {
            until_look = STEP;
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
        let Some(name) = name_of(&key, lease).filter(|name| name.starts_with(prefix)) else { return Ok(true) };
        let is_before = cursor.as_ref().is_some_and(|cursor| name <= cursor.position);
        if is_before || !page.has_room_for(&name) {
            return Ok(true);
        }
        if let (Some(key), Some(record)) = (Key::new(key.clone()), view.get(&key, None)?) {
            page.add(name, KeyValue { key, record });
        }
        Ok::<_, ReadError>(true)
    })?;
    Ok(is_whole.then_some(page))
}

/// Those written by one transaction have one create revision.
fn arrival(place: &KeyValue) -> (Revision, &Key) {
    (place.record.create_revision, &place.key)
}

/// The queue in which a key is the place of a lease.
fn name_of(key: &Bytes, lease: LeaseId) -> Option<Bytes> {
    let name = key.strip_suffix(lease.to_string().as_bytes())?.strip_suffix(b"/")?;
    (!name.is_empty()).then(|| key.slice(..name.len()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Attach, Command, Condition, Put, Ttl};
    use crate::service::alone::{Alone, call};

    async fn put(alone: &Alone, key: Bytes, lease: u64) {
        put_value(alone, key, lease, Bytes::from_static(b"v")).await;
    }

    async fn put_value(alone: &Alone, key: Bytes, lease: u64, value: Bytes) {
        let (id, put) = (LeaseId(lease), |attach| Put {
            key: Key::new(key.clone()).unwrap(),
            value: Some(value),
            content_type: None,
            attach,
            previous: false,
        });
        alone.write(Command::Put { put: put(Attach::Lease(id)), condition: Condition::default() }).await;
    }

    async fn page(alone: &Alone, prefix: &'static str, limit: u64, cursor: Option<Cursor>) -> Queues {
        let request = QueuesRequest { prefix: prefix.into(), limit, cursor };
        alone.service.queues(&call(), Consistency::Linearizable, request).await.unwrap()
    }

    fn told(queues: &Queues) -> Vec<(String, u64, u64)> {
        let tell = |queue: &QueueSummary| {
            let name = String::from_utf8_lossy(queue.name.as_bytes()).into_owned();
            (name, queue.first.lease.get(), queue.waiting)
        };
        queues.items.iter().map(tell).collect()
    }

    #[tokio::test]
    async fn pages_show_each_queue_once_with_all_that_wait_however_leases_and_names_are_ordered() {
        let alone = Alone::start();
        for id in 1..=9 {
            alone.write(Command::GrantLease { id: LeaseId(id), ttl: Ttl::from_secs(60) }).await;
        }
        // The order of leases is neither that of names nor that of arrival.
        for (name, leases) in
            [("d", &[3, 1, 2][..]), ("a", &[9, 4]), ("c/x", &[8]), ("b", &[2, 9, 5, 1]), ("/l/", &[7])]
        {
            for lease in leases {
                put(&alone, format!("{name}/{lease:x}").into(), *lease).await;
            }
        }
        for other in ["a/9x", "a/09", "a/1/x", "/9", "9", "b"] {
            put(&alone, other.into(), 9).await;
        }
        let all = [("/l/", 7, 0), ("a", 9, 1), ("b", 2, 3), ("c/x", 8, 0), ("d", 3, 2)]
            .map(|(name, lease, waiting)| (name.to_owned(), lease, waiting));
        assert_eq!(told(&page(&alone, "", 100, None).await), all);
        assert_eq!(told(&page(&alone, "c", 100, None).await), all[3..4]);
        for limit in 1..=6_usize {
            let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
            loop {
                let next = page(&alone, "", limit as u64, cursor).await;
                found.extend(told(&next));
                (cursor, pages) = (next.cursor, pages + 1);
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!((found.as_slice(), pages), (&all[..], all.len().div_ceil(limit)), "{limit}");
        }
    }

    #[tokio::test]
    async fn a_page_of_large_values_ends_early_and_the_next_goes_on() {
        let alone = Alone::start();
        let large = Bytes::from(vec![b'v'; MAX_PAGE_BYTES / 12]);
        // The first place of a queue comes last in the order of leases.
        for (id, value) in [(9, large), (1, Bytes::from_static(b"v"))] {
            alone.write(Command::GrantLease { id: LeaseId(id), ttl: Ttl::from_secs(60) }).await;
            for name in 0..24 {
                put_value(&alone, format!("{name:02}/{id:x}").into(), id, value.clone()).await;
            }
        }
        let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let next = page(&alone, "", 100, cursor).await;
            assert!(next.items.iter().map(|queue| queue.first.value.len()).sum::<usize>() <= MAX_PAGE_BYTES);
            found.extend(told(&next));
            (cursor, pages) = (next.cursor, pages + 1);
            if cursor.is_none() {
                break;
            }
        }
        let all: Vec<_> = (0..24).map(|name| (format!("{name:02}"), 9, 1)).collect();
        assert_eq!((found, pages), (all, 3));
    }

    #[tokio::test]
    async fn a_pass_ends_at_the_deadline() {
        let alone = Alone::start();
        alone.write(Command::GrantLease { id: LeaseId(1), ttl: Ttl::from_secs(60) }).await;
        for number in 0..STEP {
            put(&alone, format!("k{number}").into(), 1).await;
        }
        let late = Call::new(Instant::now().checked_sub(Duration::from_secs(1)).unwrap());
        let request = QueuesRequest { prefix: Bytes::new(), limit: 10, cursor: None };
        let refused = alone.service.queues(&late, Consistency::Serializable, request).await.unwrap_err();
        assert_eq!(refused, Error::DeadlineExceeded);
    }
}
