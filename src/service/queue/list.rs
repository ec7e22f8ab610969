//! All queues that somebody is in, page by page.
//!
//! A queue is known by its places alone: keys that die with the lease that they are named after. They are found among what is
//! attached to leases, in one pass that keeps no more than a page.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;

use super::{Place, QueueName};
use crate::machine;
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
    /// At most this many, of which one at least.
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

/// What is known of a queue in the middle of a pass.
struct Seen {
    first: KeyValue,
    places: u64,
}

impl Service {
    /// A page of the queues that somebody is in, in order of name.
    ///
    /// # Errors
    /// Those of a read, and [`Error::DeadlineExceeded`].
    pub async fn queues(&self, call: &Call, consistency: Consistency, request: QueuesRequest) -> Result<Queues, Error> {
        let reader = self.reader(call, consistency).await?;
        let (revision, deadline) = (reader.revision(), call.deadline);
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let pass = reader.run(false, move |view| pass(view, &request, limit, deadline));
        let mut seen = pass.await?.ok_or(Error::DeadlineExceeded)?;
        let is_more = seen.len() > limit;
        if is_more {
            seen.pop_last();
        }
        let last = seen.last_key_value().map(|(name, _)| name.clone());
        let cursor = last.filter(|_| is_more).map(|position| Cursor { revision, position });
        let items = seen.into_iter().filter_map(|(name, Seen { first, places })| {
            let name = QueueName::new(name)?;
            let first = self.place(&name, first)?;
            Some(QueueSummary { name, first, waiting: places.saturating_sub(1) })
        });
        Ok(Queues { revision, items: items.collect(), cursor })
    }
}

/// The first queues behind the cursor, one more than are on a page; `None` when the deadline has passed. A name that was put out for
/// smaller ones does not come in again, since the largest on the page only gets smaller: so what is counted is counted whole.
fn pass(
    view: &StoreView,
    request: &QueuesRequest,
    limit: usize,
    deadline: Instant,
) -> Result<Option<BTreeMap<Bytes, Seen>>, ReadError> {
    let QueuesRequest { prefix, limit: _, cursor } = request;
    let after = cursor.as_ref().map(|cursor| &cursor.position);
    let mut seen: BTreeMap<Bytes, Seen> = BTreeMap::new();
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
        let is_on_page = seen.len() <= limit || seen.last_key_value().is_some_and(|(last, _)| name <= *last);
        if !is_on_page || after.is_some_and(|after| name <= *after) {
            return Ok(true);
        }
        let (Some(key), Some(record)) = (Key::new(key.clone()), view.get(&key, None)?) else { return Ok(true) };
        let place = KeyValue { key, record };
        if let Some(queue) = seen.get_mut(&name) {
            queue.places += 1;
            if arrival(&place) < arrival(&queue.first) {
                queue.first = place;
            }
        } else {
            seen.insert(name, Seen { first: place, places: 1 });
            if seen.len() > limit.saturating_add(1) {
                seen.pop_last();
            }
        }
        Ok::<_, ReadError>(true)
    })?;
    Ok(is_whole.then_some(seen))
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
        let (id, put) = (LeaseId(lease), |attach| Put {
            key: Key::new(key.clone()).unwrap(),
            value: Some(Bytes::from_static(b"v")),
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
