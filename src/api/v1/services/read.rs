//! GET and HEAD of services and instances.

use std::borrow::Cow;

use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::show;
use crate::api::extract::query::{After, Kind, Span, Wait, page_limit, parameters};
use crate::api::extract::{Tags, query};
use crate::api::problem::Problem;
use crate::api::v1::cursor;
use crate::api::v1::format::Object;
use crate::api::v1::poll::{self, Hold, Look, Scope};
use crate::api::{Answer, State};
use crate::model::{KeyRange, Revision};
use crate::service::registry::{
    self, Instance, InstanceName, Instances, InstancesRequest, Name, Selection, Services, ServicesRequest, Status,
};
use crate::service::{Call, Consistency, Cursor, Error, Reader};

parameters! {
    /// What can be asked of the list of services.
    pub struct ServicesQuery {
        /// `linearizable` (default) or `serializable`.
        consistency: Consistency = "consistency", "serializable";
        /// How long the request may take, `wait` not counted. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// At most this many on the page. Default 1000, at most 100000.
        limit: u64 = "limit", 100;
        /// Where the next page begins: the `cursor` of the page before.
        cursor: String = "cursor", "AAAAAAAAAAAAAAAAAAAAAA";
        /// Hold the request until something in it changes, this long at most (10 min): like the header `Prefer: wait=60`.
        /// Counts from the entity tag in `If-None-Match`, from `after`, or from now. 304 when nothing has changed by then.
        wait: Wait = "wait", "1ms";
        /// With `wait`: the revision that the client has seen.
        after: After = "after", 1;
    }
}

parameters! {
    /// What can be asked of the instances of a service.
    pub struct InstancesQuery {
        /// Only instances that have this tag; given several times, all of them.
        tag: TagList = "tag", "v2";
        /// Only instances of this status; given several times, of any of them.
        status: StatusList = "status", "passing";
        /// `linearizable` (default) or `serializable`.
        consistency: Consistency = "consistency", "serializable";
        /// How long the request may take, `wait` not counted. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// At most this many on the page. Default 1000, at most 100000.
        limit: u64 = "limit", 100;
        /// Where the next page begins: the `cursor` of the page before, with the same query.
        cursor: String = "cursor", "AAAAAAAAAAAAAAAAAAAAAA";
        /// Hold the request until something in it changes, this long at most (10 min): like the header `Prefer: wait=60`.
        /// Counts from the entity tag in `If-None-Match`, from `after`, or from now. 304 when nothing has changed by then.
        wait: Wait = "wait", "1ms";
        /// With `wait`: the revision that the client has seen.
        after: After = "after", 1;
    }
}

parameters! {
    /// What can be asked of one instance.
    pub struct InstanceQuery {
        /// `linearizable` (default) or `serializable`.
        consistency: Consistency = "consistency", "serializable";
        /// How long the request may take, `wait` not counted. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// Hold the request until something in it changes, this long at most (10 min): like the header `Prefer: wait=60`.
        /// Counts from the entity tag in `If-None-Match`, from `after`, or from now. 304 when nothing has changed by then.
        wait: Wait = "wait", "1ms";
        /// With `wait`: the revision that the client has seen.
        after: After = "after", 1;
    }
}

/// Tags, all of which are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList(Vec<String>);

impl Kind for TagList {
    const REPEATED: bool = true;

    fn add(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        if text.is_empty() { Err("a tag".into()) } else { Ok(Self(vec![text.to_owned()])) }
    }

    fn schema() -> ObjectBuilder {
        String::schema().min_length(Some(1))
    }
}

/// Statuses, any of which is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusList(Vec<Status>);

impl Kind for StatusList {
    const REPEATED: bool = true;

    fn add(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    fn read(text: &str) -> Result<Self, Cow<'static, str>> {
        Status::read(text).map(|status| Self(vec![status])).ok_or_else(|| Status::EXPECTED.into())
    }

    fn schema() -> ObjectBuilder {
        let words = Status::ALL.map(|status| json!(status.as_str()));
        ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).enum_values(Some(words))
    }
}

/// The instances that parameters select.
pub(super) fn selection(tags: Option<TagList>, statuses: Option<StatusList>) -> Selection {
    Selection {
        tags: tags.map(|list| list.0).unwrap_or_default(),
        statuses: statuses.map(|list| list.0).unwrap_or_default(),
    }
}

/// A read, parsed.
#[derive(Debug)]
struct ReadRequest {
    api: State,
    subject: Subject,
    consistency: Consistency,
    timeout: Option<Span>,
    if_none_match: Option<Tags>,
}

/// What is to be read.
#[derive(Debug)]
enum Subject {
    Services(ServicesRequest),
    Instances(InstancesRequest),
    Instance(InstanceName),
}

/// What was read.
struct Seen {
    revision: Revision,
    /// The entity tag, without quotes: of an instance its revision; of a list a hash over what can change of it and how it
    /// was asked for. What is left of a time to live is in none, so that a heartbeat changes no tag.
    tag: String,
    is_list: bool,
    json: Vec<u8>,
}

/// Answers with the services.
///
/// # Errors
/// Those of reading a request and of the service.
pub(super) async fn services(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let query: ServicesQuery = query(parts.uri.query())?;
    let cursor = query.cursor.as_ref().map(|text| cursor::read(text, SERVICES_SHAPE)).transpose()?;
    let hold = Hold::asked(parts, query.wait, query.after)?.filter(|_| cursor.is_none());
    let subject = Subject::Services(ServicesRequest { revision: None, limit: page_limit(query.limit)?, cursor });
    poll::answer(api, ReadRequest::new(api, subject, query.consistency, query.timeout, parts)?, hold).await
}

/// Answers with the instances of a service.
///
/// # Errors
/// Those of reading a request and of the service.
pub(super) async fn instances(api: &State, parts: &Parts, service: Name) -> Result<Answer, Problem> {
    let query: InstancesQuery = query(parts.uri.query())?;
    let selection = selection(query.tag, query.status);
    let cursor = query.cursor.as_ref().map(|text| cursor::read(text, shape(&service, &selection))).transpose()?;
    let hold = Hold::asked(parts, query.wait, query.after)?.filter(|_| cursor.is_none());
    let limit = page_limit(query.limit)?;
    let subject = Subject::Instances(InstancesRequest { service, selection, revision: None, limit, cursor });
    poll::answer(api, ReadRequest::new(api, subject, query.consistency, query.timeout, parts)?, hold).await
}

/// Answers with one instance.
///
/// # Errors
/// [`Code::InstanceNotFound`](crate::api::problem::Code::InstanceNotFound), and those of reading a request and of the
/// service.
pub(super) async fn instance(api: &State, parts: &Parts, name: InstanceName) -> Result<Answer, Problem> {
    let query: InstanceQuery = query(parts.uri.query())?;
    let hold = Hold::asked(parts, query.wait, query.after)?;
    let subject = Subject::Instance(name);
    poll::answer(api, ReadRequest::new(api, subject, query.consistency, query.timeout, parts)?, hold).await
}

/// The shape of the list of services: there is but one.
const SERVICES_SHAPE: u64 = u64::from_be_bytes(*b"services");

/// A hash over everything that must stay the same from page to page of the instances of a service.
fn shape(service: &Name, selection: &Selection) -> u64 {
    xxh3_64(format!("{service:?} {selection:?}").as_bytes())
}

impl ReadRequest {
    fn new(
        api: &State,
        subject: Subject,
        consistency: Option<Consistency>,
        timeout: Option<Span>,
        parts: &Parts,
    ) -> Result<Self, Problem> {
        if parts.headers.contains_key(IF_MATCH) {
            return Err(Problem::invalid("this request takes no condition but If-None-Match, and if-match is one"));
        }
        let if_none_match = Tags::of(&parts.headers, &IF_NONE_MATCH)?;
        let consistency = consistency.unwrap_or_default();
        Ok(Self { api: api.clone(), subject, consistency, timeout, if_none_match })
    }

    /// Reads at a past revision, or at present.
    async fn read(&self, reader: &Reader, revision: Option<Revision>) -> Result<Seen, Error> {
        match &self.subject {
            Subject::Services(request) => {
                let found = reader.services(ServicesRequest { revision, ..request.clone() }).await?;
                Ok(services_seen(request, &found))
            }
            Subject::Instances(request) => {
                let found = reader.instances(InstancesRequest { revision, ..request.clone() }).await?;
                Ok(instances_seen(&self.api, request, &found))
            }
            Subject::Instance(name) => {
                let found = reader.instance(name, revision)?;
                let revision = revision.unwrap_or(reader.revision());
                let found = found.ok_or_else(|| Error::NoInstance { name: name.clone(), revision })?;
                let (tag, json) = (found.mod_revision.to_string(), instance_json(&self.api, &found));
                Ok(Seen { revision, tag, is_list: false, json })
            }
        }
    }
}

fn services_seen(request: &ServicesRequest, found: &Services) -> Seen {
    let ServicesRequest { revision: _, limit, cursor } = request;
    let mut hash = Xxh3::new();
    hash.update(format!("{limit} {cursor:?}").as_bytes());
    let mut json = Vec::with_capacity(256);
    let mut object = Object::begin(&mut json);
    object.number("revision", found.revision.get());
    object.array("items", &found.items, |out, summary| {
        let from = out.len();
        show::summary(out, summary);
        hash.update(out.get(from..).unwrap_or_default());
    });
    if let Some(cursor) = &found.cursor {
        object.string("cursor", &cursor::write(cursor, SERVICES_SHAPE));
    }
    object.end();
    Seen { revision: found.revision, tag: list_tag(hash, found.cursor.as_ref()), is_list: true, json }
}

fn instances_seen(api: &State, request: &InstancesRequest, found: &Instances) -> Seen {
    let InstancesRequest { service, selection, revision: _, limit, cursor } = request;
    let mut hash = Xxh3::new();
    hash.update(format!("{service:?} {selection:?} {limit} {cursor:?}").as_bytes());
    let mut json = Vec::with_capacity(256);
    let mut object = Object::begin(&mut json);
    object.number("revision", found.revision.get());
    object.string("service", service.as_str());
    object.array("items", &found.items, |out, instance| {
        let name = instance.name.instance.as_str();
        hash.update(&(name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(&instance.mod_revision.get().to_le_bytes());
        out.extend_from_slice(&instance_json(api, instance));
    });
    if let Some(cursor) = &found.cursor {
        object.string("cursor", &cursor::write(cursor, shape(service, selection)));
    }
    object.end();
    Seen { revision: found.revision, tag: list_tag(hash, found.cursor.as_ref()), is_list: true, json }
}

/// The tag of a page, over what is on it and where the next one begins.
fn list_tag(mut hash: Xxh3, cursor: Option<&Cursor>) -> String {
    if let Some(Cursor { revision: _, position }) = cursor {
        hash.update(b"more");
        hash.update(position);
    }
    format!("{:x}", hash.digest())
}

/// An instance as an object, with what is left of its time to live.
pub(super) fn instance_json(api: &State, instance: &Instance) -> Vec<u8> {
    let ttl = instance.lease.and_then(|lease| api.service().lease_remaining(lease));
    let mut json = Vec::with_capacity(256);
    let mut object = Object::begin(&mut json);
    show::instance_members(&mut object, instance, ttl);
    object.end();
    json
}

impl Look for ReadRequest {
    fn scope(&self) -> Scope {
        let (range, children_of) = match &self.subject {
            Subject::Services(_) => (registry::range(None), None),
            Subject::Instances(request) => {
                let service = Some(&request.service);
                (registry::range(service), Some(registry::directory(service)))
            }
            Subject::Instance(name) => (KeyRange::single(&name.key()), None),
        };
        Scope { range, children_of }
    }

    fn consistency(&self) -> Consistency {
        self.consistency
    }

    fn timeout(&self) -> Option<Span> {
        self.timeout
    }

    fn if_none_match(&mut self) -> &mut Option<Tags> {
        &mut self.if_none_match
    }

    async fn tag(&self, reader: &Reader, revision: Option<Revision>) -> Result<Option<String>, Error> {
        match self.read(reader, revision).await {
            Ok(seen) => Ok(Some(seen.tag)),
            Err(Error::NoInstance { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn answer(&self, api: &State, call: &Call) -> Result<Answer, Problem> {
        let reader = api.service().reader(call, self.consistency).await?;
        let Seen { revision, tag, is_list, json } = self.read(&reader, None).await?;
        let weak = if is_list { "W/" } else { "" };
        let header = HeaderValue::try_from(format!("{weak}\"{tag}\"")).unwrap_or(HeaderValue::from_static("W/\"0\""));
        let answer = match &self.if_none_match {
            Some(tags) if tags.matches(&tag) => Answer::empty(StatusCode::NOT_MODIFIED, revision),
            Some(_) | None => Answer::json(revision, json),
        };
        Ok(answer.with_header(ETAG, header))
    }
}
