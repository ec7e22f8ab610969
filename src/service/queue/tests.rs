//! Claims about queues: names, and at a member that is alone, what requests leave behind.

use std::pin::pin;
use std::task::Poll;

use tokio::task::yield_now;

use super::*;
use crate::service::alone::{Alone, call};

impl Alone {
    /// The places of a queue, once what has begun to be given up is.
    async fn places(&self, name: &QueueName) -> Vec<(LeaseId, Revision)> {
        yield_now().await;
        self.put("later", Attach::Detach).await;
        let queue = self.service.queue(&call(), Consistency::Linearizable, name).await.unwrap();
        queue.places.into_iter().map(|place| (place.lease, place.token)).collect()
    }

    async fn put(&self, key: &str, attach: Attach) {
        let key = Key::new(key.to_owned()).unwrap();
        let put = Put { key, value: Some(Bytes::new()), content_type: None, attach, previous: false };
        self.write(Command::Put { put, condition: Condition::default() }).await;
    }
}

/// Polls a request so often and drops it, and says whether it ended before.
async fn is_done_in(polls: usize, request: impl Future) -> bool {
    let (mut request, mut left) = (pin!(request), polls);
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match request.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[test]
fn a_place_is_named_after_its_lease_and_nothing_else_is_one() {
    let name = QueueName::new("jobs").unwrap();
    let key = name.place(LeaseId(0x694d)).unwrap();
    assert_eq!(key.as_bytes(), b"jobs/694d");
    assert_eq!(name.lease(&key), Some(LeaseId(0x694d)));
    for other in ["jobs/694D", "jobs/0694d", "jobs/x", "jobs/", "jobs/a/694d", "job/694d", "jobs694d", "jobs/+1"] {
        assert_eq!(name.lease(&Key::new(other).unwrap()), None, "{other}");
    }
}

#[test]
fn a_name_may_have_slashes_anywhere_and_leaves_room_for_a_lease() {
    let name = QueueName::new("/my-lock/").unwrap();
    assert_eq!(name.place(LeaseId(1)).unwrap().as_bytes(), b"/my-lock//1");
    assert_eq!(QueueName::new(""), None);
    assert_eq!(QueueName::new("x".repeat(QueueName::MAX_BYTES + 1)), None);
    let longest = QueueName::new("x".repeat(QueueName::MAX_BYTES)).unwrap();
    assert_eq!(longest.place(LeaseId(u64::MAX)).unwrap().as_bytes().len(), MAX_KEY_BYTES);
}

#[tokio::test]
async fn a_request_that_ends_at_any_step_leaves_the_place_that_its_client_had_and_no_other() {
    const LEASE: LeaseId = LeaseId(0x7d0);
    let (alone, name) = (Alone::start(), QueueName::new("jobs").unwrap());
    let grant = Command::GrantLease { id: LEASE, ttl: Ttl(60_000) };
    alone.service.write(&call(), grant).await.unwrap();
    alone.put("jobs/1", Attach::Own { id: LeaseId(1), ttl: Ttl(60_000) }).await;
    let wait = Duration::from_millis(50);
    let entry = Entry { name: name.clone(), life: Life::Lease(LEASE), value: Bytes::new(), wait };
    for had in [false, true] {
        if had {
            alone.put("jobs/7d0", Attach::Lease(LEASE)).await;
        }
        let before = alone.places(&name).await;
        assert_eq!(before.len(), 1 + usize::from(had));
        let mut polls = 0;
        while !is_done_in(polls, alone.service.enter(&call(), entry.clone())).await {
            assert_eq!(alone.places(&name).await, before, "cut off after {polls} steps");
            polls += 1;
        }
        assert_eq!(alone.places(&name).await, before, "after it has waited in vain");
        assert!(polls > 2, "it did not wait");
    }
}

#[tokio::test]
async fn an_observation_of_more_places_than_a_queue_may_have_ends_as_a_read_of_it_does() {
    const TOGETHER: u64 = 100;
    let (alone, name) = (Alone::start(), QueueName::new("jobs").unwrap());
    let lease = LeaseId(1);
    alone.service.write(&call(), Command::GrantLease { id: lease, ttl: Ttl(600_000) }).await.unwrap();
    let put = |number: u64| {
        let key = Key::new(format!("jobs/{number:x}")).unwrap();
        let value = Some(Bytes::new());
        Op::Put(Put { key, value, content_type: None, attach: Attach::Lease(lease), previous: false })
    };
    for first in (1..=MAX_QUEUE_PLACES).step_by(usize::try_from(TOGETHER).unwrap()) {
        let then = (first..first + TOGETHER).map(put).collect();
        let txn = Txn { compares: Vec::new(), then, otherwise: Vec::new() };
        alone.service.write(&call(), Command::Txn(txn)).await.unwrap();
    }
    let full = alone.service.queue(&call(), Consistency::Linearizable, &name).await.unwrap();
    assert_eq!(full.places.len() as u64, MAX_QUEUE_PLACES);
    let mut observation = alone.service.observe(&call(), name.clone()).await.unwrap();
    let Some(Observed::First { place: Some(first), .. }) = observation.next().await else { panic!("nobody is first") };
    assert_eq!(first.lease, lease);
    alone.put("jobs/ffffff", Attach::Lease(lease)).await;
    let mut late = alone.service.observe(&call(), name.clone()).await.unwrap();
    for observation in [&mut observation, &mut late] {
        assert_eq!(observation.next().await, Some(Observed::End(Some(too_long(&name)))));
        assert_eq!(observation.next().await, None);
    }
    let read = alone.service.queue(&call(), Consistency::Linearizable, &name).await;
    assert_eq!(read.unwrap_err(), too_long(&name));
}
