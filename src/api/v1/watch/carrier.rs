//! A watch as bytes: Server-Sent Events (WHATWG HTML, 9.2) or lines of JSON.

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;

use super::super::format::{self, Change, Detail, Object};
use crate::api::problem::Problem;
use crate::model::{Event, KeyValue, Revision};
use crate::service::{Carrier, Service, WatchItem, WatchStream};

/// The media type of newline-delimited JSON.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// How the messages of a stream are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-Sent Events.
    Events,
    /// One JSON object a line.
    Lines,
}

impl Framing {
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => NDJSON,
        }
    }

    /// What it is called where watches are listed.
    pub(super) const fn listed(self) -> Carrier {
        match self {
            Self::Events => Carrier::Events,
            Self::Lines => Carrier::Lines,
        }
    }
}

/// One message of a watch, on any carrier.
pub(crate) struct Message<'a> {
    /// `put`, `delete`, `expire`, or what else there is to tell; `synced`, `progress`, `reset`, `compacted`, `lagging`,
    /// `error`.
    pub(crate) kind: &'static str,
    /// Where a reader that has seen this message may resume.
    pub(crate) resume: Option<Revision>,
    pub(crate) content: Content<'a>,
}

/// What a message says.
pub(crate) enum Content<'a> {
    Present(&'a KeyValue),
    Change(&'a Event),
    /// What another than this module writes.
    Members(&'a (dyn Fn(&mut Object<'_>) + Sync)),
    Revision(&'static str, Revision),
    Problem(&'a Problem),
    Nothing,
}

impl Message<'_> {
    fn members(&self, object: &mut Object<'_>, service: &Service, detail: Detail) {
        match &self.content {
            Content::Present(item) => {
                let ttl = item.record.lease.and_then(|lease| service.lease_remaining(lease));
                object.string("type", self.kind);
                format::key_value_members(object, &item.key, &item.record, ttl, detail.values(&item.record));
            }
            Content::Change(event) => {
                let record = event.record.as_ref();
                let ttl = record.and_then(|record| record.lease).and_then(|lease| service.lease_remaining(lease));
                let change = Change {
                    kind: event.kind,
                    key: &event.key,
                    record,
                    revision: event.revision,
                    previous: event.previous.as_ref().filter(|_| detail.previous),
                    keys_only: detail.keys_only,
                };
                format::change_members(object, &change, ttl);
            }
            Content::Members(write) => {
                object.string("type", self.kind);
                write(object);
            }
            Content::Revision(name, revision) => {
                object.string("type", self.kind);
                object.number(name, revision.get());
            }
            Content::Problem(problem) => {
                object.string("type", self.kind);
                object.raw("problem", &problem.to_json());
            }
            Content::Nothing => object.string("type", self.kind),
        }
    }

    /// The message as one JSON object; `id` names the watch where a carrier holds several.
    pub(super) fn write_json(&self, out: &mut Vec<u8>, id: Option<&str>, service: &Service, detail: Detail) {
        let mut object = Object::begin(out);
        if let Some(id) = id {
            object.string("id", id);
        }
        self.members(&mut object, service, detail);
        if let Some(resume) = self.resume {
            object.number("resume", resume.get());
        }
        object.end();
    }

    fn write_event(&self, out: &mut Vec<u8>, service: &Service, detail: Detail) {
        if let Some(resume) = self.resume {
            out.extend_from_slice(b"id: ");
            format::number(out, resume.get());
            out.push(b'\n');
        }
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(self.kind.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        let mut object = Object::begin(out);
        self.members(&mut object, service, detail);
        object.end();
        out.extend_from_slice(b"\n\n");
    }
}

/// Calls `write` for each message that an item of a watch amounts to. False when the watch ends with it.
pub(crate) fn messages(item: &WatchItem, mut write: impl FnMut(&Message<'_>)) -> bool {
    let mut say = |kind, resume, content| write(&Message { kind, resume, content });
    match item {
        WatchItem::State(items) => items.iter().for_each(|item| say("put", None, Content::Present(item))),
        WatchItem::Synced(revision) => {
            say("synced", Some(*revision), Content::Revision("revision", *revision));
        }
        WatchItem::Events(events) => {
            for (event, ends_revision) in events.iter() {
                let resume = ends_revision.then_some(event.revision);
                say(format::kind(event.kind), resume, Content::Change(event));
            }
        }
        WatchItem::Progress(revision) => {
            say("progress", Some(*revision), Content::Revision("revision", *revision));
        }
        WatchItem::Reset => say("reset", None, Content::Nothing),
        WatchItem::Compacted { compact_revision } => {
            say("compacted", None, Content::Revision("compactRevision", *compact_revision));
            return false;
        }
        WatchItem::Lagging { resume_after } => {
            say("lagging", Some(*resume_after), Content::Revision("resumeAfter", *resume_after));
            return false;
        }
        WatchItem::Failed(error) => {
            say("error", None, Content::Problem(&Problem::from(error.clone())));
            return false;
        }
        // The connection ends; whoever reads it resumes where it was.
        WatchItem::Closed => return false,
    }
    true
}

/// The stream of a response body. `speak` calls back for each message that an item amounts to, as [`messages`] does. Ends
/// with the watch.
pub(super) fn body(
    watch: WatchStream,
    framing: Framing,
    detail: Detail,
    service: Service,
    speak: impl FnMut(&WatchItem, &mut dyn FnMut(&Message<'_>)) -> bool + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let begin: &'static [u8] = match framing {
        // A comment first, so that a browser's EventSource opens at once.
        Framing::Events => b": follow\n\n",
        Framing::Lines => b"",
    };
    let state = Some((watch, service, speak));
    let rest = unfold(state, move |state| async move {
        let (mut watch, service, mut speak) = state?;
        let mut out = Vec::new();
        let mut goes_on = true;
        // An item may amount to nothing.
        while out.is_empty() && goes_on {
            let item = watch.next().await?;
            if matches!((&item, framing), (WatchItem::Progress(_), Framing::Events)) {
                out.extend_from_slice(b": keep-alive\n\n");
            }
            goes_on = speak(&item, &mut |message| match framing {
                Framing::Events => message.write_event(&mut out, &service, detail),
                Framing::Lines => {
                    message.write_json(&mut out, None, &service, detail);
                    out.push(b'\n');
                }
            });
        }
        Some((Ok(Bytes::from(out)), goes_on.then_some((watch, service, speak))))
    });
    let first = (!begin.is_empty()).then(|| Ok(Bytes::from_static(begin)));
    futures_util::StreamExt::chain(futures_util::stream::iter(first), rest)
}
