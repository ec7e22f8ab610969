//! Following the instances of a service, or of all services.

use axum::response::Response;
use http::request::Parts;

use super::read::{StatusList, TagList, selection};
use super::show;
use crate::api::State;
use crate::api::extract::query;
use crate::api::extract::query::{After, parameters};
use crate::api::problem::Problem;
use crate::api::v1::format::{Detail, Object};
use crate::api::v1::watch::carrier::{self, Content, Message};
use crate::api::v1::watch::{Compacted, PROGRESS, last_event_id, stream};
use crate::model::{Event, KeyValue, Revision};
use crate::service::registry::{self, Change, Instance, Name, Reason, Selection};
use crate::service::{OnCompacted, Service, Start, WatchItem, WatchRequest};

parameters! {
    /// What to follow, and from where.
    pub struct ServiceWatchQuery {
        /// Only instances that have this tag; given several times, all of them.
        tag: TagList = "tag", "v2";
        /// Only instances of this status; given several times, of any of them.
        status: StatusList = "status", "passing";
        /// Continue after this revision, with the changes alone: none is lost or repeated.
        after: After = "after", 12;
        /// What to do when the place to continue from was compacted: `end` the stream, or `reset` to the present state.
        /// `reset` is the default when `Last-Event-ID` came as a header.
        on_compacted: Compacted = "onCompacted", "reset";
    }
}

/// Answers with a stream of one service, or of all.
///
/// # Errors
/// Those of reading a request, and those that a watch begins with.
pub(super) async fn follow(api: &State, parts: &Parts, service: Option<&Name>) -> Result<Response, Problem> {
    let query: ServiceWatchQuery = query(parts.uri.query())?;
    let last_event_id = last_event_id(&parts.headers)?;
    let on_compacted = match (query.on_compacted, last_event_id) {
        (Some(Compacted(chosen)), _) => chosen,
        (None, Some(_)) => OnCompacted::Reset,
        (None, None) => OnCompacted::End,
    };
    let request = WatchRequest {
        range: registry::range(service),
        children_of: service.map(|service| registry::directory(Some(service))),
        kinds: Vec::new(),
        start: last_event_id.or(query.after).map_or(Start::Initial, |After(revision)| Start::After(revision)),
        on_compacted,
        progress_every: Some(PROGRESS),
    };
    let selection = selection(query.tag, query.status);
    let mut teller = Teller { service: api.service().clone(), selection, unsettled: false };
    stream(api, parts, request, Detail::default(), move |item, write| teller.tell(item, write)).await
}

/// Tells of a watch in terms of instances.
struct Teller {
    service: Service,
    selection: Selection,
    /// Whether the last thing told was no place to resume from.
    unsettled: bool,
}

type Write<'a> = &'a mut dyn FnMut(&Message<'_>);

impl Teller {
    /// Calls back for each message. False when the watch ends.
    fn tell(&mut self, item: &WatchItem, write: Write<'_>) -> bool {
        match item {
            WatchItem::State(items) => {
                for item in items {
                    self.present(item, write);
                }
                true
            }
            WatchItem::Events(events) => {
                for (event, ends_revision) in events.iter() {
                    self.event(event, ends_revision, write);
                }
                true
            }
            WatchItem::Synced(_)
            | WatchItem::Progress(_)
            | WatchItem::Reset
            | WatchItem::Compacted { .. }
            | WatchItem::Lagging { .. }
            | WatchItem::Closed
            | WatchItem::Failed(_) => carrier::messages(item, write),
        }
    }

    fn present(&self, item: &KeyValue, write: Write<'_>) {
        let instance = Instance::of(&item.key, &item.record).filter(|instance| self.selection.admits(instance));
        if let Some(instance) = instance {
            self.instance("registered", None, &instance, write);
        }
    }

    fn event(&mut self, event: &Event, ends_revision: bool, write: Write<'_>) {
        let resume = ends_revision.then_some(event.revision);
        match Change::of(event, &self.selection) {
            Some(change) => {
                self.change(&change, event.revision, resume, write);
                self.unsettled = !ends_revision;
            }
            // What ends the revision is not told, and what was told before it says no place to resume from.
            None if ends_revision && self.unsettled => {
                self.unsettled = false;
                carrier::messages(&WatchItem::Progress(event.revision), write);
            }
            None => {}
        }
    }

    fn change(&self, change: &Change, revision: Revision, resume: Option<Revision>, write: Write<'_>) {
        match change {
            Change::Registered(instance) => self.instance("registered", resume, instance, write),
            Change::Changed(instance) => self.instance("changed", resume, instance, write),
            Change::Deregistered(instance, reason) => {
                let reason = match reason {
                    Reason::Expired => "expired",
                    Reason::Deleted => "deleted",
                    Reason::Filtered => "filtered",
                };
                let members = |object: &mut Object<'_>| {
                    show::name_members(object, &instance.name);
                    object.string("reason", reason);
                    show::document_members(object, instance);
                    object.number("revision", revision.get());
                };
                write(&Message { kind: "deregistered", resume, content: Content::Members(&members) });
            }
        }
    }

    fn instance(&self, kind: &'static str, resume: Option<Revision>, instance: &Instance, write: Write<'_>) {
        let ttl = instance.lease.and_then(|lease| self.service.lease_remaining(lease));
        let members = |object: &mut Object<'_>| show::instance_members(object, instance, ttl);
        write(&Message { kind, resume, content: Content::Members(&members) });
    }
}
