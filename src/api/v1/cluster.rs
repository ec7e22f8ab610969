//! `/v1/cluster`: who belongs to the cluster, and how that changes.

use axum::extract::{Request, State as Extract};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::header::{ALLOW, LOCATION};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::format::{self, Object};
use super::keys::write::unexpected;
use super::schema::{ClusterObject, LeaderObject, MemberList, MemberObject};
use crate::api::extract::json::{self, Member as MemberMember};
use crate::api::extract::query::{MEMBER_ID, Span, member_id, parameters, shortened};
use crate::api::extract::{Verb, body, query};
use crate::api::problem::{Code, Problem};
use crate::api::{Answer, State};
use crate::model::{Member, MemberId, Outcome};
use crate::node::Room;
use crate::service::{Call, Cluster, Consistency, Done, Role};

const MEMBERS: &str = "/v1/cluster/members/";

#[derive(OpenApi)]
#[openapi(paths(promote_member))]
struct Verbs;

pub(super) fn router() -> OpenApiRouter<State> {
    let router = OpenApiRouter::with_openapi(Verbs::openapi())
        .routes(routes!(get_cluster))
        .routes(routes!(transfer_leader))
        .routes(routes!(list_members, add_member))
        .routes(routes!(get_member, update_member, remove_member));
    router.route("/v1/cluster/members/{id}", post(post_member))
}

parameters! {
    /// What can be asked of looking at the members.
    pub struct ClusterQuery {
        /// `linearizable` (default) or `serializable`.
        consistency: Consistency = "consistency", "serializable";
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
    }
}

parameters! {
    /// What can be asked of changing the members.
    pub struct MemberQuery {
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
    }
}

/// A member to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(example = json!({"name": "n4", "peerUrls": ["http://127.0.0.1:2390"]}))]
pub struct AddRequest {
    /// The name that it will be started with; it goes by it until it says itself what it is called.
    #[serde(default)]
    #[schema(max_length = 128, pattern = "^[^\\s,=]*$")]
    name: String,
    /// Where the other members reach it: `http://host:port`.
    #[schema(min_items = 1, max_items = 16)]
    peer_urls: Vec<String>,
}

/// Where a member is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(example = json!({"peerUrls": ["http://127.0.0.1:2380"]}))]
pub struct MemberRequest {
    /// Where the other members reach it: `http://host:port`.
    #[schema(min_items = 1, max_items = 16)]
    peer_urls: Vec<String>,
}

/// Who is to lead.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"to": "8e9e05c52164694d"}))]
pub struct TransferRequest {
    /// The member, in hexadecimal.
    #[schema(value_type = String, pattern = "^[0-9a-fA-F]{1,16}$")]
    to: MemberMember,
}

/// Look at the cluster
///
/// Every member, where clients and the other members reach it, how it is, and which one leads.
#[utoipa::path(
    get, path = "/v1/cluster", operation_id = "getCluster", tag = "cluster", params(ClusterQuery),
    responses((status = 200, description = "The cluster", body = ClusterObject)),
)]
pub async fn get_cluster(Extract(api): Extract<State>, request: Request) -> Response {
    let result = cluster(&api, &request.into_parts().0).await;
    api.finish(result)
}

/// Hand leadership over
///
/// Answers once the member leads.
#[utoipa::path(
    post, path = "/v1/cluster:transferLeader", operation_id = "transferLeader", tag = "cluster", params(MemberQuery),
    request_body(content = TransferRequest, content_type = "application/json"),
    responses((status = 200, description = "It leads", body = LeaderObject)),
)]
pub async fn transfer_leader(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = transfer(&api, &parts, body).await;
    api.finish(result)
}

/// List the members
#[utoipa::path(
    get, path = "/v1/cluster/members", operation_id = "listMembers", tag = "cluster", params(ClusterQuery),
    responses((status = 200, description = "All members, in order of id", body = MemberList)),
)]
pub async fn list_members(Extract(api): Extract<State>, request: Request) -> Response {
    let result = list(&api, &request.into_parts().0).await;
    api.finish(result)
}

/// Add a member
///
/// It comes as a learner, which counts in no majority: start it, and promote it once it has caught up.
#[utoipa::path(
    post, path = "/v1/cluster/members", operation_id = "addMember", tag = "cluster", params(MemberQuery),
    request_body(content = AddRequest, content_type = "application/json"),
    responses((status = 201, description = "Added", body = MemberObject,
        headers(("Location" = String, description = "Where the member is")))),
)]
pub async fn add_member(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = add(&api, &parts, body).await;
    api.finish(result)
}

/// Look at a member
#[utoipa::path(
    get, path = "/v1/cluster/members/{id}", operation_id = "getMember", tag = "cluster",
    params(("id" = String, Path, description = "The member, in hexadecimal", example = "8e9e05c52164694d"), ClusterQuery),
    responses((status = 200, description = "The member, and how it is", body = MemberObject)),
)]
pub async fn get_member(Extract(api): Extract<State>, request: Request) -> Response {
    let result = get(&api, &request.into_parts().0).await;
    api.finish(result)
}

/// Have a member reached elsewhere
///
/// Tell the cluster first, then start the member where it is to be.
#[utoipa::path(
    patch, path = "/v1/cluster/members/{id}", operation_id = "updateMember", tag = "cluster",
    params(("id" = String, Path, description = "The member, in hexadecimal", example = "8e9e05c52164694d"), MemberQuery),
    request_body(content = MemberRequest, content_type = "application/json"),
    responses((status = 200, description = "The member as it is now", body = MemberObject)),
)]
pub async fn update_member(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = update(&api, &parts, body).await;
    api.finish(result)
}

/// Remove a member
///
/// It stops, and never comes back under its id. One that leads hands over first.
#[utoipa::path(
    delete, path = "/v1/cluster/members/{id}", operation_id = "removeMember", tag = "cluster",
    params(("id" = String, Path, description = "The member, in hexadecimal", example = "8e9e05c52164694d"), MemberQuery),
    responses((status = 200, description = "The member as it was", body = MemberObject)),
)]
pub async fn remove_member(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = remove(&api, &parts, body).await;
    api.finish(result)
}

/// Make a voter of a learner
///
/// Done only once it has caught up.
#[utoipa::path(
    post, path = "/v1/cluster/members/{id}:promote", operation_id = "promoteMember", tag = "cluster",
    params(("id" = String, Path, description = "The member, in hexadecimal", example = "8e9e05c52164694d"), MemberQuery),
    responses((status = 200, description = "The member as it is now", body = MemberObject)),
)]
#[expect(dead_code, reason = "stands for a verb that the route of POST tells apart")]
fn promote_member() {}

async fn post_member(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = promote(&api, &parts, body).await;
    api.finish(result)
}

/// The member that a raw path segment names.
fn named(segment: &str) -> Result<MemberId, Problem> {
    if Verb::Promote.strip(segment).is_some() {
        let problem = Problem::new(Code::MethodNotAllowed, ":promote is a verb of POST");
        return Err(problem.with_header(ALLOW, HeaderValue::from_static("POST")));
    }
    member_id(segment).ok_or_else(|| Problem::invalid(format!("`{}` is not {MEMBER_ID}", shortened(segment))))
}

fn segment(parts: &Parts) -> &str {
    parts.uri.path().strip_prefix(MEMBERS).unwrap_or_default()
}

async fn look(api: &State, parts: &Parts) -> Result<Cluster, Problem> {
    let asked: ClusterQuery = query(parts.uri.query())?;
    Ok(api.service().cluster(&api.call(asked.timeout)?, asked.consistency.unwrap_or_default()).await?)
}

async fn arrive(api: &State, parts: &Parts, body: axum::body::Body) -> Result<(Call, Bytes), Problem> {
    let asked: MemberQuery = query(parts.uri.query())?;
    api.arrive(parts, body, asked.timeout).await
}

async fn cluster(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let cluster = look(api, parts).await?;
    let mut out = Vec::with_capacity(1024);
    let mut object = Object::begin(&mut out);
    object.id("clusterId", cluster.id.get());
    if let Some(leader) = cluster.leader {
        object.id("leader", leader.get());
    }
    object.number("raftTerm", api.service().term().get());
    object.array("members", cluster.members.iter(), |out, member| write_member(out, member, &cluster));
    object.end();
    Ok(Answer::json(cluster.revision, out))
}

async fn list(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let cluster = look(api, parts).await?;
    let mut out = Vec::with_capacity(1024);
    let mut object = Object::begin(&mut out);
    object.array("items", cluster.members.iter(), |out, member| write_member(out, member, &cluster));
    object.end();
    Ok(Answer::json(cluster.revision, out))
}

async fn get(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let id = named(segment(parts))?;
    let cluster = look(api, parts).await?;
    let Some(member) = cluster.members.get(id) else {
        return Err(Problem::new(Code::MemberNotFound, format!("there is no member {id}")).at(cluster.revision));
    };
    let mut out = Vec::with_capacity(256);
    write_member(&mut out, member, &cluster);
    Ok(Answer::json(cluster.revision, out))
}

async fn add(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let (call, body) = arrive(api, parts, body).await?;
    let AddRequest { name, peer_urls } = json::read(&body)?;
    let done = api.service().add_member(&call, name, &peer_urls, Role::Learner).await?;
    let (id, answer) = changed(api, &done)?;
    let answer = answer.with_status(StatusCode::CREATED);
    Ok(match HeaderValue::try_from(format!("{MEMBERS}{id}")) {
        Ok(location) => answer.with_header(LOCATION, location),
        Err(_) => answer,
    })
}

async fn update(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let id = named(segment(parts))?;
    let (call, body) = arrive(api, parts, body).await?;
    let MemberRequest { peer_urls } = json::read(&body)?;
    let done = api.service().relocate_member(&call, id, &peer_urls).await?;
    Ok(changed(api, &done)?.1)
}

async fn remove(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let id = named(segment(parts))?;
    let (call, body) = arrive(api, parts, body).await?;
    body::refuse(&body)?;
    let done = api.service().remove_member(&call, id).await?;
    Ok(changed(api, &done)?.1)
}

async fn promote(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let Some(segment) = Verb::Promote.strip(segment(parts)) else {
        let detail = "POST promotes a member by :promote at the end of its path, and adds one at /v1/cluster/members";
        let problem = Problem::new(Code::MethodNotAllowed, detail);
        return Err(problem.with_header(ALLOW, HeaderValue::from_static("GET,HEAD,PATCH,DELETE")));
    };
    let id = named(segment)?;
    let (call, body) = arrive(api, parts, body).await?;
    body::refuse(&body)?;
    let done = api.service().promote_member(&call, id).await?;
    Ok(changed(api, &done)?.1)
}

async fn transfer(api: &State, parts: &Parts, body: axum::body::Body) -> Result<Answer, Problem> {
    let (call, body) = arrive(api, parts, body).await?;
    let TransferRequest { to: MemberMember(to) } = json::read(&body)?;
    let revision = api.service().transfer_leader(&call, to).await?;
    let mut out = Vec::with_capacity(32);
    let mut object = Object::begin(&mut out);
    object.id("leader", to.get());
    object.end();
    Ok(Answer::json(revision, out))
}

/// What a change came to: the member that it is about.
fn changed(api: &State, done: &Done) -> Result<(MemberId, Answer), Problem> {
    let Outcome::Member(member) = &done.outcome else { return Err(unexpected(&done.outcome)) };
    let mut out = Vec::with_capacity(512);
    write_member(&mut out, member, &api.service().cluster_at_hand());
    Ok((member.id, Answer::json(done.revision, out).with_replayed(done.replayed)))
}

/// A member, and how it is.
fn write_member(out: &mut Vec<u8>, member: &Member, cluster: &Cluster) {
    let mut object = Object::begin(out);
    object.id("id", member.id.get());
    object.string("name", &member.name);
    object.array("peerUrls", &member.peer_urls, |out, url| format::string(out, url));
    object.array("clientUrls", &member.client_urls, |out, url| format::string(out, url));
    object.boolean("learner", member.learner);
    object.boolean("leads", cluster.leader == Some(member.id));
    let report = cluster.reports.get(&member.id);
    object.boolean("heard", report.is_some());
    if let Some(report) = report {
        object.string("version", &report.version);
        object.number("raftApplied", report.applied.get());
        object.number("lag", cluster.lag(report));
        object.number("revision", report.revision.get());
        object.number("storeBytes", report.store_bytes);
        object.number("logBytes", report.log_bytes);
        object.string("room", room(report.room));
    }
    object.end();
}

/// What a disk has room for, in a word.
const fn room(room: Room) -> &'static str {
    match room {
        Room::Enough => "enough",
        Room::Short => "short",
        Room::None => "none",
    }
}
