//! Services and their instances: registering, keeping alive, finding.
//!
//! An instance is an ordinary key, `/services/{service}/{instance}`, with a lease of its own and a JSON document as its
//! value. Whoever writes such a key by other ways registers, too; what is no document is shown as an instance that is
//! critical, and says why.

mod document;
mod name;

use std::collections::BTreeSet;

use bytes::Bytes;

pub use document::{Document, Status};
pub use name::{InstanceName, Name, directory, range};

use super::kv::{Cursor, Reader};
use super::{Call, Consistency, Done, Error, Service};
use crate::model::limits::{MAX_INSTANCE_BYTES, MAX_PAGE_BYTES, MAX_SERVICE_TAGS};
use crate::model::{
    Attach, Command, Condition, Delete, DeleteTarget, Event, EventKind, Key, KeyValue, LeaseId, Outcome, Patch,
    PatchKind, Put, Record, Refusal, Revision, Ttl,
};
use crate::mvcc::{ListQuery, ReadError};
use crate::node::StoreView;

/// The media type of a document.
const JSON: &str = "application/json";
/// Keys read at once.
const PIECE: u64 = 256;
/// Bytes read at once, roughly.
const PIECE_BYTES: usize = 256 * 1024;
/// How often a heartbeat follows an instance that is registered anew meanwhile.
const HEARTBEAT_ATTEMPTS: usize = 4;

/// An instance as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub name: InstanceName,
    /// What it says of itself; where that is no document, why not.
    pub document: Result<Document, String>,
    pub lease: Option<LeaseId>,
    pub create_revision: Revision,
    pub mod_revision: Revision,
}

impl Instance {
    /// The instance that a key and its record make; `None` where the key stands for none.
    #[must_use]
    pub fn of(key: &Key, record: &Record) -> Option<Self> {
        let bytes = record.value.len();
        let document = if bytes > MAX_INSTANCE_BYTES {
            Err(format!("it has {bytes} bytes, and the largest has {MAX_INSTANCE_BYTES}"))
        } else {
            Document::read(&record.value)
        };
        Some(Self {
            name: InstanceName::of_key(key)?,
            document,
            lease: record.lease,
            create_revision: record.create_revision,
            mod_revision: record.mod_revision,
        })
    }

    /// How it is: critical, where it does not say so in a document.
    #[must_use]
    pub fn status(&self) -> Status {
        self.document.as_ref().map_or(Status::Critical, |document| document.status)
    }

    fn tags(&self) -> &[String] {
        self.document.as_ref().map_or(&[], |document| document.tags.as_slice())
    }
}

/// Which instances are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// All of these tags.
    pub tags: Vec<String>,
    /// Any of these statuses; all when empty.
    pub statuses: Vec<Status>,
}

impl Selection {
    #[must_use]
    pub fn admits(&self, instance: &Instance) -> bool {
        self.tags.iter().all(|tag| instance.tags().contains(tag))
            && (self.statuses.is_empty() || self.statuses.contains(&instance.status()))
    }
}

/// How the instances that are wanted change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new among them.
    Registered(Instance),
    Changed(Instance),
    /// It is gone from among them; what was last known of it.
    Deregistered(Instance, Reason),
}

/// Why an instance is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It did not keep itself alive.
    Expired,
    /// Somebody deregistered it.
    Deleted,
    /// It is there, but is not among those that are wanted any more.
    Filtered,
}

impl Change {
    /// What an event is to somebody who wants certain instances; `None` where it is nothing to them.
    #[must_use]
    pub fn of(event: &Event, selection: &Selection) -> Option<Self> {
        let instance = |record: Option<&Record>| record.and_then(|record| Instance::of(&event.key, record));
        let wanted = |instance: &Instance| selection.admits(instance);
        let before = instance(event.previous.as_ref()).filter(wanted);
        let after = instance(event.record.as_ref()).filter(wanted);
        let reason = match event.kind {
            EventKind::Put => Reason::Filtered,
            EventKind::Delete => Reason::Deleted,
            EventKind::Expire => Reason::Expired,
        };
        match (before, after) {
            (None, None) => None,
            (None, Some(after)) => Some(Self::Registered(after)),
            (Some(_), Some(after)) => Some(Self::Changed(after)),
            (Some(before), None) => Some(Self::Deregistered(before, reason)),
        }
    }
}

/// Which instances of a service to list.
#[derive(Debug, Clone)]
pub struct InstancesRequest {
    pub service: Name,
    pub selection: Selection,
    /// The past revision to read at; `None` for the present. A cursor brings its own.
    pub revision: Option<Revision>,
    pub limit: u64,
    pub cursor: Option<Cursor>,
}

/// A page of the instances of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instances {
    /// The revision that the page shows.
    pub revision: Revision,
    /// In order of name.
    pub items: Vec<Instance>,
    pub cursor: Option<Cursor>,
}

/// Which services to list.
#[derive(Debug, Clone)]
pub struct ServicesRequest {
    /// As in [`InstancesRequest`].
    pub revision: Option<Revision>,
    pub limit: u64,
    pub cursor: Option<Cursor>,
}

/// A page of the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// The revision that the page shows.
    pub revision: Revision,
    /// In order of name.
    pub items: Vec<Summary>,
    pub cursor: Option<Cursor>,
}

/// A service in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub service: Name,
    pub instances: u64,
    pub passing: u64,
    /// The tags of all its instances: the first [`MAX_SERVICE_TAGS`] of them.
    pub tags: BTreeSet<String>,
    /// Whether there are more tags.
    pub more_tags: bool,
}

impl Summary {
    fn new(service: Name) -> Self {
        Self { service, instances: 0, passing: 0, tags: BTreeSet::new(), more_tags: false }
    }

    fn add(&mut self, instance: Instance) {
        self.instances += 1;
        self.passing += u64::from(instance.status() == Status::Passing);
        self.tags.extend(instance.document.map(|document| document.tags).unwrap_or_default());
        while self.tags.len() > MAX_SERVICE_TAGS {
            self.tags.pop_last();
            self.more_tags = true;
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.tags.iter().map(|tag| size_of::<String>() + tag.len()).sum::<usize>()
    }
}

impl Service {
    /// Registers an instance, or registers it anew, with a lease of its own. Comes to [`Outcome::Written`].
    ///
    /// # Errors
    /// As [`Service::write`].
    pub async fn register(
        &self,
        call: &Call,
        name: &InstanceName,
        document: &Document,
        ttl: Ttl,
    ) -> Result<Done, Error> {
        let value = document.to_json();
        if value.len() > MAX_INSTANCE_BYTES {
            return Err(Error::TooLarge { what: "an instance", actual: value.len(), limit: MAX_INSTANCE_BYTES });
        }
        let put = Put {
            key: name.key(),
            value: Some(value),
            content_type: Some(JSON.into()),
            attach: Attach::Own { id: self.new_lease_id(), ttl },
            previous: false,
        };
        self.write(call, Command::Put { put, condition: Condition::default() }).await
    }

    /// Keeps an instance alive for the whole of its time to live again; gives that time. Makes no revision.
    ///
    /// # Errors
    /// [`Error::NoInstance`] once it is gone, [`Error::NoLease`] where it has no time to live, and as
    /// [`Service::write`].
    pub async fn heartbeat(&self, call: &Call, name: &InstanceName) -> Result<(Revision, Ttl), Error> {
        let key = name.key();
        let mut call = call.clone();
        // What this member has will nearly always do. Where it finds something missing, it may only be behind.
        let mut consistency = Consistency::Serializable;
        for _ in 0..HEARTBEAT_ATTEMPTS {
            let reader = self.reader(&call, consistency).await?;
            let sure = consistency == Consistency::Linearizable;
            consistency = Consistency::Linearizable;
            let found = reader.get(&key, None)?;
            let lease = match found.map(|found| found.record.lease) {
                Some(Some(lease)) => lease,
                Some(None) if sure => return Err(Error::NoLease { name: name.clone(), revision: reader.revision() }),
                None if sure => return Err(Error::NoInstance { name: name.clone(), revision: reader.revision() }),
                Some(None) | None => continue,
            };
            match self.renew_lease(&call, lease).await {
                // The renewal was applied here: what is here now is not older.
                Ok(renewed) if self.holds(&call, &key, lease).await? => return Ok(renewed),
                Ok(_) => {}
                Err(Error::Refused { refusal, .. }) if matches!(*refusal, Refusal::LeaseNotFound(_)) => {}
                Err(error) => return Err(error),
            }
            // The kept answer is that about a lease which the instance does not have any more.
            call.idempotency = None;
        }
        Err(Error::Overloaded("the instance is being registered again and again; try again shortly"))
    }

    /// Whether a key has a lease, as far as this member has come.
    async fn holds(&self, call: &Call, key: &Key, lease: LeaseId) -> Result<bool, Error> {
        let found = self.reader(call, Consistency::Serializable).await?.get(key, None)?;
        Ok(found.is_some_and(|found| found.record.lease == Some(lease)))
    }

    /// Changes the status of an instance and nothing else of it. Without a change there is no revision.
    ///
    /// # Errors
    /// [`Error::NoInstance`], [`Error::NotAnInstance`], and as [`Service::write`].
    pub async fn set_status(
        &self,
        call: &Call,
        name: &InstanceName,
        status: Status,
    ) -> Result<(Revision, KeyValue, bool), Error> {
        let reader = self.reader(call, Consistency::Linearizable).await?;
        let revision = reader.revision();
        let no_instance = |revision| Error::NoInstance { name: name.clone(), revision };
        let not_an_instance = |why, revision| Error::NotAnInstance { name: name.clone(), why, revision };
        let found = reader.get(&name.key(), None)?.ok_or_else(|| no_instance(revision))?;
        let document = Instance::of(&found.key, &found.record).map_or(Err(String::new()), |instance| instance.document);
        let document = document.map_err(|why| not_an_instance(why, revision))?;
        // A retry must find the answer to the first try, so that one has to be kept.
        if document.status == status && call.idempotency.is_none() {
            return Ok((revision, found, false));
        }
        // A JSON Patch never creates, and leaves alone what is no object.
        let document = format!("[{{\"op\":\"add\",\"path\":\"/status\",\"value\":\"{}\"}}]", status.as_str());
        let patch = Patch { key: name.key(), kind: PatchKind::Json, document: document.into(), previous: false };
        let command = Command::Patch { patch, condition: Condition::default() };
        match self.write(call, command).await {
            Ok(Done { revision, outcome: Outcome::Written { now, .. }, replayed }) => Ok((revision, now, replayed)),
            Ok(done) => Err(Error::Storage(format!("a change of status came to {:?}", done.outcome).into())),
            Err(Error::Refused { refusal, revision }) => Err(match *refusal {
                Refusal::KeyNotFound => no_instance(revision),
                Refusal::NotJson | Refusal::PatchConflict(_) => not_an_instance(refusal.to_string(), revision),
                _ => Error::Refused { refusal, revision },
            }),
            Err(error) => Err(error),
        }
    }

    /// Deregisters an instance. Comes to [`Outcome::Deleted`].
    ///
    /// # Errors
    /// [`Error::NoInstance`], and as [`Service::write`].
    pub async fn deregister(&self, call: &Call, name: &InstanceName) -> Result<Done, Error> {
        let delete = Delete { target: DeleteTarget::Key(name.key()), previous: false };
        match self.write(call, Command::Delete { delete, condition: Condition::default() }).await {
            Err(Error::Refused { refusal, revision }) if *refusal == Refusal::KeyNotFound => {
                Err(Error::NoInstance { name: name.clone(), revision })
            }
            other => other,
        }
    }
}

impl Reader {
    /// One instance, at present or at a past revision.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn instance(&self, name: &InstanceName, revision: Option<Revision>) -> Result<Option<Instance>, Error> {
        let found = self.get(&name.key(), revision)?;
        Ok(found.and_then(|found| Instance::of(&found.key, &found.record)))
    }

    /// A page of the instances of a service; none, where there is no such service.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub async fn instances(&self, request: InstancesRequest) -> Result<Instances, Error> {
        let InstancesRequest { service, selection, revision, limit, cursor } = request;
        let (revision, from) = position(revision, cursor);
        let shown = revision.unwrap_or(self.revision());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let read = move |view: &StoreView| {
            let (mut items, mut bytes) = (Vec::new(), 0);
            let next = each_instance(view, &service, revision, from.clone(), |instance, size| {
                if !selection.admits(&instance) {
                    return true;
                }
                if items.len() >= limit || bytes >= MAX_PAGE_BYTES {
                    return false;
                }
                bytes += size;
                items.push(instance);
                true
            })?;
            let cursor = next.map(|position| Cursor { revision: shown, position });
            Ok((Instances { revision: shown, items, cursor }, bytes))
        };
        Ok(self.run(read, |(_, bytes)| *bytes).await?.0)
    }

    /// A page of the services that have instances.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub async fn services(&self, request: ServicesRequest) -> Result<Services, Error> {
        let ServicesRequest { revision, limit, cursor } = request;
        let (revision, from) = position(revision, cursor);
        let shown = revision.unwrap_or(self.revision());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let read = move |view: &StoreView| {
            let (mut items, mut bytes) = (Vec::new(), 0);
            let mut from = from.clone();
            loop {
                let level = view.list(&piece(&directory(None), from, revision, true))?;
                for directory in level.directories {
                    let Some(service) = name::service_of(&directory) else { continue };
                    if items.len() >= limit || bytes >= MAX_PAGE_BYTES {
                        let cursor = Some(Cursor { revision: shown, position: directory.bytes().clone() });
                        return Ok((Services { revision: shown, items, cursor }, bytes));
                    }
                    let summary = summary(view, &service, revision)?;
                    if summary.instances > 0 {
                        bytes += summary.bytes();
                        items.push(summary);
                    }
                }
                from = level.next;
                if from.is_none() {
                    return Ok((Services { revision: shown, items, cursor: None }, bytes));
                }
            }
        };
        Ok(self.run(read, |(_, bytes)| *bytes).await?.0)
    }
}

/// Where to read, and from which key on.
fn position(revision: Option<Revision>, cursor: Option<Cursor>) -> (Option<Revision>, Option<Bytes>) {
    match cursor {
        Some(Cursor { revision, position }) => (Some(revision), Some(position)),
        None => (revision, None),
    }
}

fn piece(directory: &Key, from: Option<Bytes>, revision: Option<Revision>, keys_only: bool) -> ListQuery {
    let directory = directory.bytes().clone();
    ListQuery {
        directory,
        prefix: Bytes::new(),
        from,
        revision,
        limit: Some(PIECE),
        max_bytes: PIECE_BYTES,
        keys_only,
        heads: false,
    }
}

fn summary(view: &StoreView, service: &Name, revision: Option<Revision>) -> Result<Summary, ReadError> {
    let mut summary = Summary::new(service.clone());
    each_instance(view, service, revision, None, |instance, _| {
        summary.add(instance);
        true
    })?;
    Ok(summary)
}

/// Offers each instance of a service, with the bytes of its key and value, in order of name, until one is not taken; gives
/// the key of that one.
fn each_instance(
    view: &StoreView,
    service: &Name,
    revision: Option<Revision>,
    mut from: Option<Bytes>,
    mut take: impl FnMut(Instance, usize) -> bool,
) -> Result<Option<Bytes>, ReadError> {
    let directory = directory(Some(service));
    loop {
        let level = view.list(&piece(&directory, from, revision, false))?;
        for KeyValue { key, record } in level.items {
            let Some(instance) = Instance::of(&key, &record) else { continue };
            if !take(instance, key.as_bytes().len() + record.value.len()) {
                return Ok(Some(key.bytes().clone()));
            }
        }
        from = level.next;
        if from.is_none() {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, NodeView, Operation, Timestamp};

    fn record(value: &str) -> Record {
        Record {
            value: Bytes::from(value.to_owned()),
            content_type: None,
            create_revision: Revision(2),
            mod_revision: Revision(3),
            version: 2,
            lease: None,
        }
    }

    fn event(kind: EventKind, previous: Option<&str>, now: Option<&str>) -> Event {
        Event {
            revision: Revision(3),
            kind,
            key: Key::new("/services/web/a").unwrap(),
            record: now.map(record),
            previous: previous.map(record),
            previous_revision: Revision(2),
            time: Timestamp(0),
            author: None,
            operation: Operation::Put,
            action: Action::Set,
            view: NodeView::default(),
        }
    }

    const PASSING: &str = r#"{"address":"a","tags":["v2","eu"]}"#;
    const DRAINING: &str = r#"{"address":"a","tags":["v2"],"status":"draining"}"#;

    #[test]
    fn what_is_no_document_is_a_critical_instance_that_says_why() {
        let key = Key::new("/services/web/a").unwrap();
        let instance = Instance::of(&key, &record("by hand")).unwrap();
        assert_eq!(instance.status(), Status::Critical);
        assert!(instance.document.unwrap_err().contains("does not read as a document"));
        let large = format!("{{\"address\":\"a\",\"meta\":{{\"x\":\"{}\"}}}}", "x".repeat(MAX_INSTANCE_BYTES));
        assert!(Instance::of(&key, &record(&large)).unwrap().document.unwrap_err().contains("bytes"));
        assert!(Instance::of(&Key::new("/services/web").unwrap(), &record(PASSING)).is_none());
    }

    #[test]
    fn all_tags_and_any_status_have_to_be_there() {
        let instance = Instance::of(&Key::new("/services/web/a").unwrap(), &record(PASSING)).unwrap();
        let admits = |tags: &[&str], statuses: &[Status]| {
            let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            Selection { tags, statuses: statuses.to_vec() }.admits(&instance)
        };
        assert!(admits(&[], &[]));
        assert!(admits(&["eu", "v2"], &[Status::Warning, Status::Passing]));
        assert!(!admits(&["v2", "us"], &[]));
        assert!(!admits(&[], &[Status::Critical]));
    }

    #[test]
    fn who_wants_some_instances_hears_of_those_that_come_change_and_go() {
        let passing = Selection { tags: Vec::new(), statuses: vec![Status::Passing] };
        let all = Selection::default();
        let change = |event: &Event, selection| match Change::of(event, selection) {
            None => "nothing",
            Some(Change::Registered(_)) => "registered",
            Some(Change::Changed(_)) => "changed",
            Some(Change::Deregistered(_, Reason::Expired)) => "expired",
            Some(Change::Deregistered(_, Reason::Deleted)) => "deleted",
            Some(Change::Deregistered(_, Reason::Filtered)) => "filtered",
        };
        let cases = [
            (event(EventKind::Put, None, Some(PASSING)), "registered", "registered"),
            (event(EventKind::Put, Some(PASSING), Some(PASSING)), "changed", "changed"),
            (event(EventKind::Put, Some(PASSING), Some(DRAINING)), "changed", "filtered"),
            (event(EventKind::Put, Some(DRAINING), Some(PASSING)), "changed", "registered"),
            (event(EventKind::Put, Some("by hand"), Some(DRAINING)), "changed", "nothing"),
            (event(EventKind::Delete, Some(PASSING), None), "deleted", "deleted"),
            (event(EventKind::Expire, Some(PASSING), None), "expired", "expired"),
            (event(EventKind::Expire, Some(DRAINING), None), "expired", "nothing"),
        ];
        for (event, to_all, to_passing) in cases {
            assert_eq!((change(&event, &all), change(&event, &passing)), (to_all, to_passing), "{event:?}");
        }
    }

    #[test]
    fn a_service_shows_a_bounded_number_of_tags() {
        let mut summary = Summary::new(Name::new("web").unwrap());
        let key = Key::new("/services/web/a").unwrap();
        for first in (0..2 * MAX_SERVICE_TAGS).step_by(50) {
            let tags: Vec<String> = (first..first + 50).rev().map(|number| format!("\"{number:05}\"")).collect();
            let value = format!("{{\"address\":\"a\",\"tags\":[{}]}}", tags.join(","));
            summary.add(Instance::of(&key, &record(&value)).unwrap());
        }
        assert_eq!((summary.tags.len(), summary.more_tags), (MAX_SERVICE_TAGS, true));
        assert_eq!(summary.tags.first().map(String::as_str), Some("00000"));
    }
}
