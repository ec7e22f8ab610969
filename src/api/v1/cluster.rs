//! `/v1/cluster`: who belongs to the cluster.

use axum::extract::{Request, State as Extract};
use axum::response::Response;
use http::request::Parts;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::format::{self, Object};
use super::schema::ClusterObject;
use crate::api::extract::query;
use crate::api::extract::query::{Span, parameters};
use crate::api::problem::Problem;
use crate::api::{Answer, State};
use crate::model::{Member, MemberId};
use crate::service::{Cluster, Consistency};

pub(super) fn router() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(get_cluster))
}

parameters! {
    /// What can be asked of the members.
    pub struct ClusterQuery {
        /// `linearizable` (default) or `serializable`.
        consistency: Consistency = "consistency", "serializable";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
    }
}

/// List the members
///
/// Every member, where clients and the other members reach it, and which one leads.
#[utoipa::path(
    get, path = "/v1/cluster", operation_id = "getCluster", tag = "cluster", params(ClusterQuery),
    responses((status = 200, description = "The members", body = ClusterObject)),
)]
pub async fn get_cluster(Extract(api): Extract<State>, request: Request) -> Response {
    let result = cluster(&api, &request.into_parts().0).await;
    api.finish(result)
}

async fn cluster(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let asked: ClusterQuery = query(parts.uri.query())?;
    let consistency = asked.consistency.unwrap_or_default();
    let cluster = api.service().cluster(&api.call(asked.timeout)?, consistency).await?;
    let Cluster { id, leader, members, revision } = cluster;
    let mut out = Vec::with_capacity(512);
    let mut object = Object::begin(&mut out);
    object.id("clusterId", id.get());
    if let Some(leader) = leader {
        object.id("leader", leader.get());
    }
    object.array("members", members.iter(), |out, member| write_member(out, member, leader));
    object.end();
    Ok(Answer::json(revision, out))
}

fn write_member(out: &mut Vec<u8>, member: &Member, leader: Option<MemberId>) {
    let mut object = Object::begin(out);
    object.id("id", member.id.get());
    object.string("name", &member.name);
    object.array("peerUrls", &member.peer_urls, |out, url| format::string(out, url));
    object.array("clientUrls", &member.client_urls, |out, url| format::string(out, url));
    object.boolean("learner", member.learner);
    object.boolean("leads", leader == Some(member.id));
    object.end();
}
