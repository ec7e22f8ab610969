//! Leases: renewing, looking at, listing.

use std::time::Instant;

use super::{Call, Consistency, Error, Reader, Service};
use crate::model::{Command, Key, Lease, LeaseId, Outcome, Refusal, Revision, Ttl};

/// A lease and when it ends by this member's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseState {
    pub lease: Lease,
    pub deadline: Instant,
    /// The keys that die with it, if asked for.
    pub keys: Vec<Key>,
}

impl LeaseState {
    /// What is left of it now.
    #[must_use]
    pub fn remaining(&self) -> Ttl {
        Ttl::from_duration(self.deadline.saturating_duration_since(Instant::now()))
    }
}

impl Service {
    /// Sets a lease back to its full time; gives that time.
    ///
    /// # Errors
    /// [`Refusal::LeaseNotFound`] once it is gone.
    pub async fn renew_lease(&self, call: &Call, id: LeaseId) -> Result<(Revision, Ttl), Error> {
        let (revision, renewed) = self.renew_leases(call, vec![id]).await?;
        match renewed.first() {
            Some(Some(ttl)) => Ok((revision, *ttl)),
            Some(None) | None => Err(Error::refused(Refusal::LeaseNotFound(id), revision)),
        }
    }

    /// Sets leases back to their full times, at most [`MAX_RENEWED_LEASES`](crate::model::limits::MAX_RENEWED_LEASES); gives
    /// each one's time in their order, `None` for one that is gone.
    ///
    /// # Errors
    /// As [`Service::write`].
    pub async fn renew_leases(&self, call: &Call, ids: Vec<LeaseId>) -> Result<(Revision, Vec<Option<Ttl>>), Error> {
        let done = self.write(call, Command::RenewLeases(ids)).await?;
        match done.outcome {
            Outcome::Renewed(renewed) => Ok((done.revision, renewed)),
            other => Err(Error::Storage(format!("a renewal came to {other:?}").into())),
        }
    }

    /// What is left of a lease by this member's clock; `None` when there is no such lease.
    #[must_use]
    pub fn lease_remaining(&self, id: LeaseId) -> Option<Ttl> {
        self.0.node.lease_remaining(id)
    }

    /// One lease, without its keys.
    ///
    /// # Errors
    /// [`Refusal::LeaseNotFound`], and the errors of a read.
    pub async fn lease(
        &self,
        call: &Call,
        consistency: Consistency,
        id: LeaseId,
    ) -> Result<(Revision, LeaseState), Error> {
        let (reader, state) = self.read_lease(call, consistency, id).await?;
        Ok((reader.revision(), state))
    }

    /// One lease with its keys, however many.
    ///
    /// # Errors
    /// As [`Service::lease`].
    pub async fn lease_with_keys(
        &self,
        call: &Call,
        consistency: Consistency,
        id: LeaseId,
    ) -> Result<(Revision, LeaseState), Error> {
        let (reader, state) = self.read_lease(call, consistency, id).await?;
        let keys = reader.lease_keys(id).await?;
        Ok((reader.revision(), LeaseState { keys, ..state }))
    }

    /// A lease without its keys, and where to read on.
    async fn read_lease(
        &self,
        call: &Call,
        consistency: Consistency,
        id: LeaseId,
    ) -> Result<(Reader, LeaseState), Error> {
        let reader = self.reader(call, consistency).await?;
        let not_found = || Error::refused(Refusal::LeaseNotFound(id), reader.revision());
        let lease = reader.lease(id)?.ok_or_else(not_found)?;
        let deadline = self.0.node.lease_deadline(id).ok_or_else(not_found)?;
        Ok((reader, LeaseState { lease, deadline, keys: Vec::new() }))
    }

    /// All leases, in order of id, without their keys.
    ///
    /// # Errors
    /// The errors of a read.
    pub async fn leases(&self, call: &Call, consistency: Consistency) -> Result<(Revision, Vec<LeaseState>), Error> {
        let reader = self.reader(call, consistency).await?;
        let leases = reader
            .leases()
            .await?
            .into_iter()
            .filter_map(|lease| {
                let deadline = self.0.node.lease_deadline(lease.id)?;
                Some(LeaseState { lease, deadline, keys: Vec::new() })
            })
            .collect();
        Ok((reader.revision(), leases))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::service::alone::{Alone, call};

    #[tokio::test]
    async fn what_may_be_long_is_read_away_from_the_worker_and_what_nobody_asked_for_is_not_read() {
        let (alone, id) = (Alone::start(), LeaseId(7));
        alone.write(Command::GrantLease { id, ttl: Ttl::from_secs(60) }).await;
        let (service, call, now) = (&alone.service, &call(), Consistency::Serializable);
        // What runs where it is called is there at the first look.
        let (_, state) = service.lease(call, now, id).now_or_never().unwrap().unwrap();
        assert_eq!((state.lease.id, state.keys), (id, Vec::new()));
        assert!(service.lease_with_keys(call, now, id).now_or_never().is_none());
        assert!(service.leases(call, now).now_or_never().is_none());
    }
}
