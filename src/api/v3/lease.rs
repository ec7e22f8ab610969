//! Leases: granting, revoking, keeping alive, looking at.

use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use tonic::Status;

use super::ask::Ask;
use super::convert::{header, header_now, lease_id, lease_number, signed};
use super::errors::Known;
use super::kv;
use super::pb;
use crate::api::State;
use crate::model::limits::{MAX_RENEWED_LEASES, MAX_TTL_MS};
use crate::model::{Command, LeaseId, Outcome, Refusal, Ttl};
use crate::service::{Consistency, Error};

/// Grants a lease. One that is shorter than an election may take is made as long as that, as in etcd.
pub(super) async fn grant(
    api: &State,
    ask: &Ask,
    request: pb::LeaseGrantRequest,
) -> Result<pb::LeaseGrantResponse, Status> {
    let shortest = api.settings().min_lease_seconds;
    let seconds = u64::try_from(request.ttl).unwrap_or(0).max(shortest);
    if seconds > MAX_TTL_MS / 1000 {
        return Err(Known::LeaseTtlTooLarge.into());
    }
    let id = if request.id == 0 { api.service().new_lease_id() } else { lease_id(request.id) };
    let command = Command::GrantLease { id, ttl: Ttl::from_secs(seconds) };
    let done = api.service().write(&ask.call, command).await.map_err(|error| ask.failed(error))?;
    match done.outcome {
        Outcome::Lease(lease) => Ok(pb::LeaseGrantResponse {
            header: Some(header(api, done.revision)),
            id: lease_number(lease.id),
            ttl: whole_seconds(lease.ttl),
            error: String::new(),
        }),
        other => Err(kv::unexpected("a grant", &other)),
    }
}

/// Ends a lease and the keys attached to it.
pub(super) async fn revoke(
    api: &State,
    ask: &Ask,
    request: pb::LeaseRevokeRequest,
) -> Result<pb::LeaseRevokeResponse, Status> {
    let command = Command::RevokeLease(lease_id(request.id));
    let done = api.service().write(&ask.call, command).await.map_err(|error| ask.failed(error))?;
    Ok(pb::LeaseRevokeResponse { header: Some(header(api, done.revision)) })
}

/// Renews leases, each request answered in its place; the lease that is gone with a time of 0. Requests that have come
/// while others were on their way travel together.
pub(super) fn keep_alive<S>(
    api: State,
    requests: S,
) -> impl Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send + 'static
where
    S: Stream<Item = Result<pb::LeaseKeepAliveRequest, Status>> + Send + Unpin + 'static,
{
    let stopping = Box::pin(api.service().shutdown_signal());
    let answers = stream::unfold(Some((api, requests, stopping)), |state| async move {
        let (api, mut requests, mut stopping) = state?;
        let (ids, ended) = tokio::select! {
            // A server that stops need not wait for its clients.
            () = &mut stopping => (Vec::new(), Some(Err(Known::Stopped.into()))),
            arrived = arrived(&mut requests) => arrived,
        };
        let (answers, ended) = match renew(&api, ids).await {
            Ok(answers) => (answers, ended),
            Err(status) => (Vec::new(), Some(Err(status))),
        };
        let rest = ended.is_none().then_some((api, requests, stopping));
        let last = ended.and_then(Result::err).map(Err);
        Some((stream::iter(answers.into_iter().map(Ok).chain(last)), rest))
    });
    answers.flatten()
}

/// Waits for a request, and takes along those that are there already. With the end of the requests, where they have ended: with
/// an error, or well.
async fn arrived<S>(requests: &mut S) -> (Vec<LeaseId>, Option<Result<(), Status>>)
where
    S: Stream<Item = Result<pb::LeaseKeepAliveRequest, Status>> + Unpin,
{
    let mut ids = Vec::new();
    let mut next = requests.next().await;
    loop {
        match next {
            Some(Ok(request)) => ids.push(lease_id(request.id)),
            Some(Err(status)) => return (ids, Some(Err(status))),
            None => return (ids, Some(Ok(()))),
        }
        if ids.len() >= MAX_RENEWED_LEASES {
            return (ids, None);
        }
        match requests.next().now_or_never() {
            Some(found) => next = found,
            None => return (ids, None),
        }
    }
}

async fn renew(api: &State, ids: Vec<LeaseId>) -> Result<Vec<pb::LeaseKeepAliveResponse>, Status> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ask = Ask::within(None);
    // Before the renewal: a lease that a client sees renewed at a revision was there at that one, as in etcd.
    let header = Some(header_now(api));
    let (_, renewed) = api.service().renew_leases(&ask.call, ids.clone()).await.map_err(|error| ask.failed(error))?;
    let answers = ids.into_iter().zip(renewed).map(|(id, ttl)| pb::LeaseKeepAliveResponse {
        header,
        id: lease_number(id),
        ttl: ttl.map_or(0, whole_seconds),
    });
    Ok(answers.collect())
}

/// What is left of a lease, in whole seconds; -1 where there is none.
pub(super) async fn time_to_live(
    api: &State,
    ask: &Ask,
    request: pb::LeaseTimeToLiveRequest,
) -> Result<pb::LeaseTimeToLiveResponse, Status> {
    let (id, current) = (lease_id(request.id), Consistency::Linearizable);
    let found = if request.keys {
        api.service().lease_with_keys(&ask.call, current, id).await
    } else {
        api.service().lease(&ask.call, current, id).await
    };
    match found {
        Ok((revision, found)) => Ok(pb::LeaseTimeToLiveResponse {
            header: Some(header(api, revision)),
            id: request.id,
            ttl: whole_seconds(found.remaining()),
            granted_ttl: whole_seconds(found.lease.ttl),
            keys: found.keys.iter().map(|key| key.bytes().clone()).collect(),
        }),
        Err(Error::Refused { refusal, revision }) if matches!(*refusal, Refusal::LeaseNotFound(_)) => {
            let header = Some(header(api, revision));
            Ok(pb::LeaseTimeToLiveResponse { header, id: request.id, ttl: -1, granted_ttl: 0, keys: Vec::new() })
        }
        Err(error) => Err(ask.failed(error)),
    }
}

/// All leases, the one first that ends first, as this member knows them.
pub(super) async fn leases(
    api: &State,
    ask: &Ask,
    _request: pb::LeaseLeasesRequest,
) -> Result<pb::LeaseLeasesResponse, Status> {
    let found = api.service().leases(&ask.call, Consistency::Serializable).await;
    let (revision, mut leases) = found.map_err(|error| ask.failed(error))?;
    leases.sort_by_key(|found| (found.deadline, found.lease.id));
    let leases = leases.into_iter().map(|found| pb::LeaseStatus { id: lease_number(found.lease.id) }).collect();
    Ok(pb::LeaseLeasesResponse { header: Some(header(api, revision)), leases })
}

/// What has begun of a second does not count, as in etcd.
fn whole_seconds(ttl: Ttl) -> i64 {
    signed(ttl.get() / 1000)
}
