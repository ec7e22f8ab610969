//! Locks and elections, as etcd's server offers them: places in the queues that `/v1` and etcd's clients know, too.

use bytes::Bytes;
use futures_util::{Stream, stream};
use tonic::Status;

use super::ask::Ask;
use super::convert::{self, header, lease_id, lease_number, revision, signed};
use super::errors::Known;
use super::kv;
use super::pb;
use super::pb::election::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse,
    ResignRequest, ResignResponse,
};
use super::pb::lock::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use crate::api::State;
use crate::model::{
    Attach, Command, Compare, CompareTarget, Condition, Delete, DeleteTarget, KeyRange, Op, Operator, Outcome, Put,
    Refusal, Revision, Ttl, Txn,
};
use crate::service::{Entered, Entry, Error, First, Life, Observed, Place, QueueName};

/// What a lock or a candidacy without a lease lasts for, as in etcd.
const OWN: Ttl = Ttl::from_secs(60);

/// Waits until the lock is held. A request that ends before leaves nothing behind.
pub(super) async fn lock(api: &State, ask: &Ask, request: LockRequest) -> Result<LockResponse, Status> {
    let First { place, revision, .. } = enter(api, ask, request.name, request.lease, Bytes::new()).await?;
    Ok(LockResponse { header: Some(header(api, revision)), key: place.key.bytes().clone() })
}

/// Lets go of a lock. That nobody holds it is no error.
pub(super) async fn unlock(api: &State, ask: &Ask, request: UnlockRequest) -> Result<UnlockResponse, Status> {
    let delete = Delete { target: DeleteTarget::Key(convert::key(request.key)?), previous: false };
    let command = Command::Delete { delete, condition: Condition::default() };
    match api.service().write(&ask.call, command).await {
        Ok(done) => Ok(UnlockResponse { header: Some(header(api, done.revision)) }),
        Err(Error::Refused { refusal, revision }) if *refusal == Refusal::KeyNotFound => {
            Ok(UnlockResponse { header: Some(header(api, revision)) })
        }
        Err(error) => Err(failed(ask, error)),
    }
}

/// Waits to be elected. With a lease that is a candidate already, it is that one, with the value that is given now. As in etcd, the header
/// shows the revision at which the candidacy began, or was found, however long it waited after that.
pub(super) async fn campaign(api: &State, ask: &Ask, request: CampaignRequest) -> Result<CampaignResponse, Status> {
    let CampaignRequest { name, lease, value } = request;
    let First { place, taken, .. } = enter(api, ask, name.clone(), lease, value.clone()).await?;
    let leader = LeaderKey {
        name,
        key: place.key.bytes().clone(),
        rev: signed(place.token.get()),
        lease: lease_number(place.lease),
    };
    if place.value != value {
        // Its own time: what was allowed went by with waiting.
        replace(api, &Ask::within(None), &leader, value).await?;
    }
    Ok(CampaignResponse { header: Some(header(api, taken)), leader: Some(leader) })
}

/// Says something else as the leader.
pub(super) async fn proclaim(api: &State, ask: &Ask, request: ProclaimRequest) -> Result<ProclaimResponse, Status> {
    let leader = request.leader.ok_or(Known::MissingLeader)?;
    let revision = replace(api, ask, &leader, request.value).await?;
    Ok(ProclaimResponse { header: Some(header(api, revision)) })
}

/// Stops leading, or waiting to. That it did neither is no error.
pub(super) async fn resign(api: &State, ask: &Ask, request: ResignRequest) -> Result<ResignResponse, Status> {
    let leader = request.leader.ok_or(Known::MissingLeader)?;
    let key = convert::key(leader.key.clone())?;
    let (revision, _) =
        if_there(api, ask, &leader, Op::Delete(Delete { target: DeleteTarget::Key(key), previous: false })).await?;
    Ok(ResignResponse { header: Some(header(api, revision)) })
}

/// Who leads.
pub(super) async fn leader(api: &State, ask: &Ask, request: LeaderRequest) -> Result<LeaderResponse, Status> {
    let found = api.service().first_place(&ask.call, &queue(request.name)?).await;
    let (revision, first) = found.map_err(|error| failed(ask, error))?;
    let place = first.ok_or(Known::NobodyElected)?;
    Ok(LeaderResponse { header: Some(header(api, revision)), kv: Some(shown(place)) })
}

/// Who leads, each time that this or what is proclaimed changes, until the server stops. That nobody does is not said.
pub(super) async fn observe(
    api: State,
    ask: &Ask,
    request: LeaderRequest,
) -> Result<impl Stream<Item = Result<LeaderResponse, Status>> + Send + use<>, Status> {
    let observation = api.service().observe(&ask.call, queue(request.name)?).await;
    let observation = observation.map_err(|error| failed(ask, error))?;
    Ok(stream::unfold(Some((api, observation)), |state| async move {
        let (api, mut observation) = state?;
        loop {
            match observation.next().await {
                Some(Observed::First { revision, place: Some(place) }) => {
                    let said = LeaderResponse { header: Some(header(&api, revision)), kv: Some(shown(place)) };
                    return Some((Ok(said), Some((api, observation))));
                }
                Some(Observed::First { place: None, .. } | Observed::Alive) => {}
                Some(Observed::End(Some(error))) => return Some((Err(failed(&Ask::within(None), error)), None)),
                // A client that observes again misses no leader that is still one.
                Some(Observed::End(None)) | None => return Some((Err(Known::Stopped.into()), None)),
            }
        }
    }))
}

/// Takes a place and waits until it is the first one.
async fn enter(api: &State, ask: &Ask, name: Bytes, lease: i64, value: Bytes) -> Result<First, Status> {
    let (wait, call) = ask.waiting();
    let life = if lease == 0 { Life::Own(OWN) } else { Life::Lease(lease_id(lease)) };
    let entry = Entry { name: queue(name)?, life, value, wait };
    match api.service().enter(&call, entry).await.map_err(|error| failed(ask, error))? {
        Entered::First(first) => Ok(first),
        Entered::Behind { .. } => Err(Known::DeadlineExceeded.into()),
    }
}

/// Replaces the value of a place, whether or not it is the first one; gives the revision.
async fn replace(api: &State, ask: &Ask, leader: &LeaderKey, value: Bytes) -> Result<Revision, Status> {
    let put = Put {
        key: convert::key(leader.key.clone())?,
        value: Some(value),
        content_type: None,
        attach: if leader.lease == 0 { Attach::Keep } else { Attach::Lease(lease_id(leader.lease)) },
        previous: false,
    };
    match if_there(api, ask, leader, Op::Put(put)).await? {
        (revision, true) => Ok(revision),
        (_, false) => Err(Known::NotElected.into()),
    }
}

/// Does something to a place if it is still the one that was taken; gives the revision, and whether it was.
async fn if_there(api: &State, ask: &Ask, leader: &LeaderKey, then: Op) -> Result<(Revision, bool), Status> {
    let lasts = Compare {
        range: KeyRange::single(&convert::key(leader.key.clone())?),
        operator: Operator::Equal,
        target: CompareTarget::CreateRevision(revision(leader.rev)),
    };
    let txn = Txn { compares: vec![lasts], then: vec![then], otherwise: Vec::new() };
    let done = api.service().write(&ask.call, Command::Txn(txn)).await.map_err(|error| failed(ask, error))?;
    match done.outcome {
        Outcome::Txn { succeeded, .. } => Ok((done.revision, succeeded)),
        other => Err(kv::unexpected("a change of a place", &other)),
    }
}

fn queue(name: Bytes) -> Result<QueueName, Status> {
    QueueName::new(name).ok_or_else(|| {
        let most = QueueName::MAX_BYTES;
        Status::invalid_argument(format!("the name of a lock or an election has to have 1 to {most} bytes"))
    })
}

fn shown(place: Place) -> pb::KeyValue {
    pb::KeyValue {
        key: place.key.bytes().clone(),
        create_revision: signed(place.token.get()),
        mod_revision: signed(place.modified.get()),
        version: signed(place.version),
        value: place.value,
        lease: lease_number(place.lease),
    }
}

fn failed(ask: &Ask, error: Error) -> Status {
    match error {
        Error::Refused { refusal, .. } if matches!(*refusal, Refusal::LeaseNotFound(_)) => Known::LostLease.into(),
        error => ask.failed(error),
    }
}
