//! Keeps the leases of waiting places alive, many with one command.
//!
//! A proposal for each would be thousands in a second from a thousand requests that wait, on machines that may be short of time
//! already, and what comes too late then is a lease. So whatever is due takes along what will be soon: places with like
//! times come to be renewed together and stay so. Keepalives and heartbeats of clients do not come through here: each is a
//! request of its own, to be answered within milliseconds, and those that come together share an entry of the log all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep_until;

use super::{RETRY, passes};
use crate::model::limits::MAX_RENEWED_LEASES;
use crate::model::{LeaseId, Refusal, Ttl};
use crate::service::{Call, Error, Service};

/// How often a lease is renewed within its time, at least.
const RENEWALS: u32 = 3;

/// The time after which a lease has to be renewed.
pub(super) fn every(ttl: Ttl) -> Duration {
    Duration::from_millis(ttl.get()) / RENEWALS
}

/// The leases that this member keeps alive.
#[derive(Debug, Default)]
pub(in crate::service) struct Renewals {
    book: Mutex<Book>,
    /// Something may be due sooner than it was, or nothing is left.
    changed: Notify,
}

/// A lease that is kept alive for as long as this is there.
#[derive(Debug)]
pub(super) struct Keeping {
    service: Service,
    number: u64,
    lost: oneshot::Receiver<Error>,
}

impl Keeping {
    /// Resolves with the reason when there is nothing left to keep alive.
    pub(super) async fn lost(&mut self) -> Error {
        match (&mut self.lost).await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let renewals = &self.service.0.renewals;
        let mut book = renewals.book.lock();
        book.remove(self.number);
        if book.kept.is_empty() {
            renewals.changed.notify_one();
        }
    }
}

impl Service {
    /// Keeps a lease alive that is to be renewed first at `due`.
    pub(super) fn keep_renewed(&self, lease: LeaseId, ttl: Ttl, due: Instant) -> Keeping {
        let renewals = &self.0.renewals;
        let (tell, lost) = oneshot::channel();
        let mut book = renewals.book.lock();
        let earliest = book.earliest();
        let number = book.add(lease, every(ttl), due, tell);
        let is_sooner = book.earliest() != earliest;
        if !std::mem::replace(&mut book.runs, true) {
            tokio::spawn(self.clone().run_renewals());
        }
        drop(book);
        if is_sooner {
            renewals.changed.notify_one();
        }
        Keeping { service: self.clone(), number, lost }
    }

    /// Proposes whatever comes due, until nothing is left to keep alive.
    async fn run_renewals(self) {
        let renewals = &self.0.renewals;
        loop {
            let due = {
                let mut book = renewals.book.lock();
                let due = book.earliest();
                book.runs = due.is_some();
                due
            };
            let Some(due) = due else { return };
            tokio::select! {
                () = sleep_until(due.into()) => {}
                () = renewals.changed.notified() => {}
            }
            for batch in renewals.book.lock().take(Instant::now()) {
                tokio::spawn(self.clone().renew(batch));
            }
        }
    }

    async fn renew(self, batch: Batch) {
        let call = Call::new(Instant::now() + batch.within);
        let result = self.renew_leases(&call, batch.places.iter().map(|(_, lease)| *lease).collect()).await;
        let renewals = &self.0.renewals;
        let mut book = renewals.book.lock();
        match result {
            Ok((revision, renewed)) => {
                for ((number, lease), _) in batch.places.iter().zip(renewed).filter(|(_, ttl)| ttl.is_none()) {
                    book.lose(*number, Error::refused(Refusal::LeaseNotFound(*lease), revision));
                }
            }
            Err(error) if passes(&error) || error == Error::OutcomeUnknown => {
                let earliest = book.earliest();
                book.hasten(&batch, Instant::now() + RETRY);
                if book.earliest() != earliest {
                    renewals.changed.notify_one();
                }
            }
            Err(error) => batch.places.iter().for_each(|(number, _)| book.lose(*number, error.clone())),
        }
    }
}

/// What is due when.
#[derive(Debug, Default)]
struct Book {
    next: u64,
    /// Whether somebody looks at what comes due.
    runs: bool,
    kept: BTreeMap<u64, Kept>,
    /// When which of them is due.
    due: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct Kept {
    lease: LeaseId,
    every: Duration,
    due: Instant,
    tell: oneshot::Sender<Error>,
}

/// What one command renews.
#[derive(Debug, PartialEq, Eq)]
struct Batch {
    places: Vec<(u64, LeaseId)>,
    /// How soon something in it is due again.
    within: Duration,
}

impl Kept {
    /// Becomes due at another time.
    fn move_to(&mut self, at: Instant, number: u64, due: &mut BTreeSet<(Instant, u64)>) {
        due.remove(&(self.due, number));
        self.due = at;
        due.insert((at, number));
    }
}

impl Book {
    fn add(&mut self, lease: LeaseId, every: Duration, due: Instant, tell: oneshot::Sender<Error>) -> u64 {
        self.next += 1;
        self.kept.insert(self.next, Kept { lease, every, due, tell });
        self.due.insert((due, self.next));
        self.next
    }

    fn earliest(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Once something is due: that, and with it what is in the second half of its wait.
    fn take(&mut self, now: Instant) -> Vec<Batch> {
        if self.earliest().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let soon = self.kept.iter_mut().filter(|(_, kept)| kept.due <= now + kept.every / 2);
        let taken: Vec<_> = soon
            .map(|(number, kept)| {
                kept.move_to(now + kept.every, *number, &mut self.due);
                (*number, kept.lease, kept.every)
            })
            .collect();
        let batch = |taken: &[(u64, LeaseId, Duration)]| Batch {
            places: taken.iter().map(|(number, lease, _)| (*number, *lease)).collect(),
            within: taken.iter().map(|(.., every)| *every).min().unwrap_or_default(),
        };
        taken.chunks(MAX_RENEWED_LEASES).map(batch).collect()
    }

    /// Has what was taken tried again at a time, if it is not due sooner.
    fn hasten(&mut self, batch: &Batch, at: Instant) {
        for (number, _) in &batch.places {
            if let Some(kept) = self.kept.get_mut(number) {
                kept.move_to(kept.due.min(at), *number, &mut self.due);
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<Kept> {
        let kept = self.kept.remove(&number)?;
        self.due.remove(&(kept.due, number));
        Some(kept)
    }

    fn lose(&mut self, number: u64, error: Error) {
        if let Some(kept) = self.remove(number) {
            // Whoever does not wait any more need not know.
            drop(kept.tell.send(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A lease that had all of its time at `since`.
    fn add(book: &mut Book, lease: u64, every: Duration, since: Instant) -> oneshot::Receiver<Error> {
        let (tell, lost) = oneshot::channel();
        book.add(LeaseId(lease), every, since + every, tell);
        lost
    }

    fn leases(batches: &[Batch]) -> Vec<u64> {
        batches.iter().flat_map(|batch| &batch.places).map(|(_, lease)| lease.get()).collect()
    }

    #[test]
    fn what_is_due_takes_along_what_is_in_the_second_half_of_its_wait() {
        let (mut book, start) = (Book::default(), Instant::now());
        for (lease, tenths) in [(1, 0), (2, 3), (3, 5), (4, 6)] {
            add(&mut book, lease, SECOND, start + tenths * SECOND / 10);
        }
        assert_eq!(book.take(start + Duration::from_millis(999)), []);
        let due = start + SECOND;
        let batches = book.take(due);
        assert_eq!((leases(&batches), batches[0].within), (vec![1, 2, 3], SECOND));
        assert_eq!(book.earliest(), Some(start + 16 * SECOND / 10));
        assert_eq!(leases(&book.take(start + 16 * SECOND / 10)), [1, 2, 3, 4], "they come to be renewed together");
    }

    #[test]
    fn places_that_came_at_any_time_are_renewed_by_two_commands_in_each_of_their_waits() {
        let (mut book, start) = (Book::default(), Instant::now());
        let count = u32::try_from(MAX_RENEWED_LEASES).unwrap();
        for number in 0..count {
            add(&mut book, number.into(), SECOND, start + number * SECOND / count);
        }
        let (mut commands, mut renewed) = (0, 0);
        while let Some(due) = book.earliest().filter(|due| *due <= start + 11 * SECOND) {
            let batches = book.take(due);
            commands += batches.len();
            renewed += leases(&batches).len();
        }
        assert!((10..=20).contains(&commands), "{commands}");
        assert!(renewed >= 10 * count as usize, "{renewed}");
    }

    #[test]
    fn a_command_renews_no_more_than_it_may_and_has_the_time_of_the_shortest() {
        let (mut book, start) = (Book::default(), Instant::now());
        for number in 0..MAX_RENEWED_LEASES as u64 {
            add(&mut book, number, 2 * SECOND, start);
        }
        add(&mut book, 7, SECOND, start + SECOND);
        let batches = book.take(start + 2 * SECOND);
        let sizes: Vec<_> = batches.iter().map(|batch| (batch.places.len(), batch.within)).collect();
        assert_eq!(sizes, [(MAX_RENEWED_LEASES, 2 * SECOND), (1, SECOND)]);
    }

    #[test]
    fn what_came_to_nothing_is_due_soon_and_what_is_lost_is_told_once() {
        let (mut book, start) = (Book::default(), Instant::now());
        let mut lost = add(&mut book, 1, 30 * SECOND, start);
        let batches = book.take(start + 30 * SECOND);
        book.hasten(&batches[0], start + 31 * SECOND);
        assert_eq!(book.earliest(), Some(start + 31 * SECOND));
        book.lose(1, Error::NoLeader);
        assert_eq!(lost.try_recv(), Ok(Error::NoLeader));
        book.lose(1, Error::NoLeader);
        assert_eq!(book.earliest(), None);
    }

    #[test]
    fn what_is_due_first_is_known_whatever_comes_moves_and_goes() {
        let (mut book, start) = (Book::default(), Instant::now());
        let _lost = [(1, 30), (2, 20), (3, 10)].map(|(lease, every)| add(&mut book, lease, every * SECOND, start));
        let batches = book.take(start + 10 * SECOND);
        assert_eq!(leases(&batches), [2, 3]);
        for (gone, earliest) in [(0, Some(20)), (3, Some(30)), (1, Some(30)), (2, None)] {
            book.remove(gone);
            assert_eq!(book.earliest(), earliest.map(|seconds| start + seconds * SECOND), "after {gone}");
            assert_eq!(book.due.len(), book.kept.len());
        }
    }
}
