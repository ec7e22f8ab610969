//! The members of the cluster: who they are, and how that changes.

use tonic::Status;

use super::ask::Ask;
use super::convert::header_now;
use super::errors::Known;
use super::kv;
use super::pb;
use crate::api::State;
use crate::cluster::peer_url;
use crate::model::{Member, MemberId, Outcome};
use crate::service::{Consistency, Done, Role};

/// The members; as this member knows them, where nothing else is asked for.
pub(super) async fn list(
    api: &State,
    ask: &Ask,
    request: pb::MemberListRequest,
) -> Result<pb::MemberListResponse, Status> {
    let consistency = if request.linearizable { Consistency::Linearizable } else { Consistency::Serializable };
    let cluster = api.service().cluster(&ask.call, consistency).await.map_err(|error| ask.failed(error))?;
    let members = cluster.members.iter().map(shown).collect();
    Ok(pb::MemberListResponse { header: Some(header(api)), members })
}

/// Adds a member: a learner, which is made a voter without being asked for again unless it is to remain one.
pub(super) async fn add(
    api: &State,
    ask: &Ask,
    request: pb::MemberAddRequest,
) -> Result<pb::MemberAddResponse, Status> {
    check_urls(&request.peer_ur_ls)?;
    let role = if request.is_learner { Role::Learner } else { Role::Voter };
    let added = api.service().add_member(&ask.call, String::new(), &request.peer_ur_ls, role).await;
    let member = changed(added.map_err(|error| ask.failed(error))?)?;
    Ok(pb::MemberAddResponse { header: Some(header(api)), member: Some(shown(&member)), members: members(api) })
}

/// Removes a member for good.
pub(super) async fn remove(
    api: &State,
    ask: &Ask,
    request: pb::MemberRemoveRequest,
) -> Result<pb::MemberRemoveResponse, Status> {
    let removed = api.service().remove_member(&ask.call, MemberId(request.id)).await;
    removed.map_err(|error| ask.failed(error))?;
    Ok(pb::MemberRemoveResponse { header: Some(header(api)), members: members(api) })
}

/// Says where the others reach a member from now on.
pub(super) async fn update(
    api: &State,
    ask: &Ask,
    request: pb::MemberUpdateRequest,
) -> Result<pb::MemberUpdateResponse, Status> {
    check_urls(&request.peer_ur_ls)?;
    let moved = api.service().relocate_member(&ask.call, MemberId(request.id), &request.peer_ur_ls).await;
    moved.map_err(|error| ask.failed(error))?;
    Ok(pb::MemberUpdateResponse { header: Some(header(api)), members: members(api) })
}

/// Makes a voter of a learner.
pub(super) async fn promote(
    api: &State,
    ask: &Ask,
    request: pb::MemberPromoteRequest,
) -> Result<pb::MemberPromoteResponse, Status> {
    let promoted = api.service().promote_member(&ask.call, MemberId(request.id)).await;
    promoted.map_err(|error| ask.failed(error))?;
    Ok(pb::MemberPromoteResponse { header: Some(header(api)), members: members(api) })
}

/// As in etcd, answers about members carry no revision.
fn header(api: &State) -> pb::ResponseHeader {
    pb::ResponseHeader { revision: 0, ..header_now(api) }
}

fn members(api: &State) -> Vec<pb::Member> {
    api.service().cluster_at_hand().members.iter().map(shown).collect()
}

/// One that is to be a voter is shown as the voter that etcd makes of it at once.
fn shown(member: &Member) -> pb::Member {
    pb::Member {
        id: member.id.get(),
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.learner && !member.becomes_voter,
    }
}

fn changed(done: Done) -> Result<Member, Status> {
    match done.outcome {
        Outcome::Member(member) => Ok(member),
        other => Err(kv::unexpected("a change of the members", &other)),
    }
}

fn check_urls(urls: &[String]) -> Result<(), Known> {
    let fine = !urls.is_empty() && urls.iter().all(|url| peer_url(url).is_ok());
    if fine { Ok(()) } else { Err(Known::MemberBadUrls) }
}
