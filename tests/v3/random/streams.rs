//! Streams of watches, of both servers: what each watch is told is compared once it has been told of everything.
//!
//! What that is follows from what the reference tells an observer, a watch of all keys from the beginning of the sequence on. Both
//! servers are waited for until each watch has had as many events as it should; nothing sleeps. How revisions are put into answers is
//! left to a server, and so is the order within a revision. A watch is told of one revision after the other, and no answer tells of
//! more than its header knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::bugs::Bug;
use super::send::{Known, Side};
use super::spell::{Spelling, spelled};
use super::step::Asked;
use crate::gateway_socket::Socket;
use crate::gateway_streams::{Events, Lines};
use crate::pb;
use crate::told::Reading;
use crate::watch::Watching;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

/// What etcd's gateway reads of a body at once. What is behind that it may lose, when it answers what is before it.
const AT_ONCE_BYTES: usize = 512;

/// What happened to keys, by revision.
pub(crate) type History = BTreeMap<i64, Vec<Change>>;

#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) key: Vec<u8>,
    pub(crate) is_put: bool,
}

/// An answer of a stream.
#[derive(Debug, Default)]
pub(crate) struct Told {
    watch_id: i64,
    created: bool,
    canceled: bool,
    /// What its header says.
    pub(crate) revision: i64,
    /// Each event with its revision and its text.
    events: Vec<(i64, Change, String)>,
    /// All of it but for what is the server's own, where it has no events.
    text: String,
}

enum Source {
    Grpc(Box<Watching>),
    Lines(Lines, Reading),
    Socket(Box<Socket>, Reading),
}

/// What one watch was told.
#[derive(Debug, Default, Clone, PartialEq)]
struct Heard {
    controls: Vec<String>,
    events: Events,
    is_canceled: bool,
}

impl Heard {
    fn count(&self) -> usize {
        self.events.0.values().map(Vec::len).sum()
    }

    /// The same with the ids that the server chose replaced by their places, and each revision in an order of its own.
    fn placed(&self, known: &Known) -> Self {
        let mut placed = self.clone();
        for events in placed.events.0.values_mut() {
            for event in events.iter_mut() {
                *event = known.placed(event);
            }
            events.sort();
        }
        placed
    }

    fn shown(&self) -> String {
        let mut shown = self.controls.join("; ");
        for (revision, events) in &self.events.0 {
            let _ = write!(shown, "\n      {revision}: {}", events.join("\n        "));
        }
        shown
    }
}

/// A stream at one server.
struct Listener {
    source: Source,
    bug: Option<Bug>,
    /// How long it listens for an answer.
    limit: Duration,
    heard: BTreeMap<i64, Heard>,
    history: History,
    created: usize,
    progressed: usize,
}

/// The same stream at both.
pub(crate) struct Stream {
    sides: [Listener; 2],
    watches: BTreeMap<i64, Watch>,
}

/// A watch as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    request: pb::WatchCreateRequest,
    /// The first revision that is wanted.
    first: i64,
    /// The revision at which it began.
    begun: i64,
    /// What was compacted when it began.
    compacted: i64,
    /// What it was counted as when it was asked for: options and way.
    pub(crate) options: BTreeSet<String>,
}

/// Where a stream differs, or what it lacks: what was heard at both.
pub(crate) type Difference = [String; 2];

impl Source {
    /// The next answer; an error says why there is none.
    fn next(&mut self, runtime: &Runtime, limit: Duration) -> Result<Told, String> {
        match self {
            Self::Grpc(watching) => match runtime.block_on(watching.next_within(limit)) {
                Some(Ok(answer)) => Ok(Told::of(answer)),
                Some(Err(status)) => Err(format!("{:?}: {}", status.code(), status.message())),
                None => Err("no answer in time".to_owned()),
            },
            Self::Lines(lines, reading) => match lines.try_next() {
                Ok(Some(line)) => Ok(Told::of_line(&line, *reading)),
                Ok(None) => Err("the stream has ended".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Self::Socket(socket, reading) => match runtime.block_on(socket.hear_within(limit)) {
                Ok(Some(text)) => Ok(Told::of_line(&text, *reading)),
                Ok(None) => Err("the socket is closed".to_owned()),
                Err(_) => Err("no answer in time".to_owned()),
            },
        }
    }

    /// Asks for more. Of a stream whose requests were all in its body nothing is asked.
    fn ask(&mut self, runtime: &Runtime, request: RequestUnion) {
        match self {
            Self::Grpc(watching) => runtime.block_on(watching.ask(request)),
            Self::Socket(socket, _) => runtime.block_on(socket.say(&written(request))),
            Self::Lines(..) => {}
        }
    }
}

/// A request as it is written in JSON.
fn written(request: RequestUnion) -> String {
    let (name, request) = match request {
        RequestUnion::CreateRequest(mut request) => ("create_request", spelled(&mut request, None)),
        RequestUnion::CancelRequest(mut request) => ("cancel_request", spelled(&mut request, None)),
        RequestUnion::ProgressRequest(_) => ("progress_request", "{}".to_owned()),
    };
    format!("{{\"{name}\":{request}}}")
}

impl Told {
    fn of(mut answer: pb::WatchResponse) -> Self {
        let event = |event: &pb::Event| {
            let kv = event.kv.as_ref()?;
            let change = Change { key: kv.key.to_vec(), is_put: event.r#type == 0 };
            Some((kv.mod_revision, change, format!("{event:?}")))
        };
        if let Some(header) = &mut answer.header {
            (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
        }
        Self {
            revision: answer.header.as_ref().map_or(0, |header| header.revision),
            watch_id: answer.watch_id,
            created: answer.created,
            canceled: answer.canceled,
            events: answer.events.iter().filter_map(event).collect(),
            text: format!("{answer:?}"),
        }
    }

    fn of_line(line: &str, reading: Reading) -> Self {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        let result = &value["result"];
        let number = |value: &Value| value.as_str().and_then(|number| number.parse().ok());
        let event = |event: &Value| {
            let key = STANDARD.decode(event["kv"]["key"].as_str()?).ok()?;
            let change = Change { key, is_put: event["type"] != "DELETE" };
            Some((number(&event["kv"]["mod_revision"])?, change, event.to_string()))
        };
        Self {
            revision: number(&result["header"]["revision"]).unwrap_or_default(),
            watch_id: number(&result["watch_id"]).unwrap_or_default(),
            created: result["created"] == true,
            canceled: result["canceled"] == true,
            events: result["events"].as_array().into_iter().flatten().filter_map(event).collect(),
            text: reading.line(line),
        }
    }
}

impl Listener {
    fn new(source: Source, bug: Option<Bug>, limit: Duration) -> Self {
        Self { source, bug, limit, heard: BTreeMap::new(), history: History::new(), created: 0, progressed: 0 }
    }

    /// Takes in the next answer.
    fn hear(&mut self, runtime: &Runtime) -> Result<Told, String> {
        let mut told = self.source.next(runtime, self.limit)?;
        if let Some(bug) = self.bug {
            bug.told(&mut told);
        }
        let heard = self.heard.entry(told.watch_id).or_default();
        for (revision, change, text) in &told.events {
            self.history.entry(*revision).or_default().push(change.clone());
            heard.events.add(told.revision, *revision, text.clone())?;
        }
        if told.events.is_empty() {
            heard.controls.push(told.text.clone());
            heard.is_canceled |= told.canceled;
            self.created += usize::from(told.created);
            self.progressed += usize::from(!told.created && !told.canceled);
        }
        Ok(told)
    }

    /// Listens until something is so; the answer that made it so, if one had to come.
    fn until(&mut self, runtime: &Runtime, is_so: impl Fn(&Self) -> bool) -> Result<Option<Told>, String> {
        let deadline = Instant::now() + self.limit;
        let mut last = None;
        while !is_so(self) {
            if Instant::now() > deadline {
                return Err("other answers than it should be".to_owned());
            }
            last = Some(self.hear(runtime)?);
        }
        Ok(last)
    }

    fn shown(&self, why: &str) -> String {
        format!("{why}{}", shown(&self.heard))
    }
}

/// What watches were told, each by its number.
fn shown(heard: &BTreeMap<i64, Heard>) -> String {
    let watches: Vec<_> = heard.iter().map(|(id, heard)| format!("\n    {id}: {}", heard.shown())).collect();
    watches.concat()
}

impl Watch {
    pub(crate) fn new(request: pb::WatchCreateRequest, now: i64, compacted: i64, options: BTreeSet<String>) -> Self {
        let first = if request.start_revision == 0 { now + 1 } else { request.start_revision };
        Self { request, first, begun: now, compacted, options }
    }

    /// How many of these changes it is told of, those of its first revision and later.
    fn wants(&self, history: &History) -> usize {
        if self.is_compacted() {
            return 0;
        }
        let changes = history.range(self.first..);
        changes.map(|(revision, changes)| changes.iter().filter(|change| self.is_told(*revision, change)).count()).sum()
    }

    fn is_compacted(&self) -> bool {
        self.first < self.compacted
    }

    fn is_told(&self, revision: i64, change: &Change) -> bool {
        let filter = if change.is_put { FilterType::Noput } else { FilterType::Nodelete };
        // A deletion goes with what is compacted at its revision, a put stays.
        let is_kept = change.is_put || revision != self.compacted;
        let key = if self.request.key.is_empty() { b"\0" } else { self.request.key.as_ref() };
        let is_inside = match self.request.range_end.as_ref() {
            b"" => change.key == key,
            b"\0" => change.key.as_slice() >= key,
            end => (key..end).contains(&change.key.as_slice()),
        };
        is_kept && is_inside && !self.request.filters.contains(&i32::from(filter))
    }
}

impl Stream {
    /// A stream of which nothing was asked yet.
    pub(crate) fn open(asked: Asked, runtime: &Runtime, sides: [&Side; 2], limit: Duration) -> Self {
        let _inside = runtime.enter();
        let source = |side: &Side| match asked {
            Asked::Grpc(_) => Source::Grpc(Box::new(Watching::of(&side.v3))),
            Asked::Socket(_) => {
                let socket = runtime.block_on(Socket::open(side.http.address(), "/watch"));
                Source::Socket(Box::new(socket), side.reading)
            }
        };
        Self { sides: sides.map(|side| Listener::new(source(side), side.bug, limit)), watches: BTreeMap::new() }
    }

    /// A stream in JSON with what is asked of it.
    pub(crate) fn lines(
        sides: [&Side; 2],
        requests: [&[pb::WatchCreateRequest]; 2],
        spelling: Spelling,
        limit: Duration,
    ) -> Result<Self, Difference> {
        let open = |(side, requests): (&Side, &[pb::WatchCreateRequest])| {
            let body = |spelling| {
                let create = |request: &pb::WatchCreateRequest| {
                    format!("{{\"create_request\":{}}}", spelled(&mut request.clone(), spelling))
                };
                requests.iter().map(create).collect::<Vec<_>>().join("\n")
            };
            let spelled = Some(body(spelling)).filter(|body| body.len() <= AT_ONCE_BYTES);
            let mut lines = Lines::open(&side.http, "/v3/watch", &spelled.unwrap_or_else(|| body(None)));
            let (status, _) = lines.head();
            lines.wait_for(limit);
            (status, Listener::new(Source::Lines(lines, side.reading), side.bug, limit))
        };
        let [left, right] = [(sides[0], requests[0]), (sides[1], requests[1])].map(open);
        if left.0 != right.0 {
            return Err([left.0.to_string(), right.0.to_string()]);
        }
        Ok(Self { sides: [left.1, right.1], watches: BTreeMap::new() })
    }

    /// Listens at both until something is so.
    fn until(&mut self, runtime: &Runtime, is_so: impl Fn(&Listener) -> bool) -> Result<[Option<Told>; 2], Difference> {
        let [left, right] = &mut self.sides;
        let (one, two) = (left.until(runtime, &is_so), right.until(runtime, &is_so));
        match (one, two) {
            (Ok(one), Ok(two)) => Ok([one, two]),
            (one, two) => {
                let why = |result: Result<_, String>| result.err().unwrap_or_default();
                Err([left.shown(&why(one)), right.shown(&why(two))])
            }
        }
    }

    fn ask(&mut self, runtime: &Runtime, request: impl Fn(usize) -> RequestUnion) {
        for (at, side) in self.sides.iter_mut().enumerate() {
            side.source.ask(runtime, request(at));
        }
    }

    /// Makes a watch, and waits until both say so; whether it is refused.
    pub(crate) fn create(
        &mut self,
        runtime: &Runtime,
        requests: &[pb::WatchCreateRequest; 2],
        watch: Watch,
    ) -> Result<bool, Difference> {
        self.ask(runtime, |at| RequestUnion::CreateRequest(requests[at].clone()));
        self.created(runtime, watch)
    }

    /// Waits until both say that one more watch is made; whether it is refused.
    pub(crate) fn created(&mut self, runtime: &Runtime, watch: Watch) -> Result<bool, Difference> {
        let goal = self.sides[0].created + 1;
        let [one, two] = self.until(runtime, |side| side.created >= goal)?.map(Option::unwrap_or_default);
        if one.text != two.text {
            return Err([one.text, two.text]);
        }
        if !one.canceled {
            self.watches.insert(one.watch_id, watch);
        }
        Ok(one.canceled)
    }

    /// Ends a watch, and waits until both say so; the watch, if there was one.
    pub(crate) fn cancel(&mut self, runtime: &Runtime, watch_id: i64) -> Result<Option<Watch>, Difference> {
        self.ask(runtime, |_| RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }));
        let watch = self.watches.get(&watch_id).cloned();
        if watch.is_some() {
            self.until(runtime, |side| side.heard.get(&watch_id).is_some_and(|heard| heard.is_canceled))?;
        }
        Ok(watch)
    }

    /// Forgets a watch that has ended, whose number may be given anew.
    pub(crate) fn forget(&mut self, watch_id: i64) {
        self.watches.remove(&watch_id);
        for side in &mut self.sides {
            drop(side.heard.remove(&watch_id));
        }
    }

    /// Whether a watch is told that it began before what is compacted.
    pub(crate) fn is_compacted(&self, watch_id: i64) -> bool {
        self.watches.get(&watch_id).is_some_and(Watch::is_compacted)
    }

    /// Asks both how far they are, and waits until they say so.
    pub(crate) fn progress(&mut self, runtime: &Runtime) -> Result<(), Difference> {
        let goal = self.sides[0].progressed + 1;
        self.ask(runtime, |_| RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
        self.until(runtime, |side| side.progressed >= goal).map(drop)
    }

    /// Waits until each watch was told of all that happened, or that it was compacted.
    pub(crate) fn settle(&mut self, runtime: &Runtime, history: &History) -> Result<(), Difference> {
        let wanted: Vec<_> = self.watches.iter().map(|(id, watch)| (*id, watch.clone())).collect();
        self.until(runtime, |side| {
            wanted.iter().all(|(id, watch)| {
                let heard = side.heard.get(id);
                let count = heard.map_or(0, Heard::count);
                let is_over = heard.is_some_and(|heard| heard.is_canceled);
                count >= watch.wants(history) && (is_over || !watch.is_compacted())
            })
        })
        .map(drop)
    }

    /// Waits until both have told of this revision, as an observer; what happened until then.
    pub(crate) fn observe(&mut self, runtime: &Runtime, through: i64) -> Result<History, Difference> {
        self.until(runtime, |side| side.history.last_key_value().is_some_and(|(last, _)| *last >= through))?;
        Ok(self.sides[0].history.clone())
    }

    /// Whether both were told of the same. Only where nothing is on its way is that so.
    pub(crate) fn compare(&self, known: &[Known; 2]) -> Result<(), Difference> {
        let placed = |at: usize| {
            let heard = self.sides[at].heard.iter().map(|(id, heard)| (*id, heard.placed(&known[at])));
            heard.collect::<BTreeMap<_, _>>()
        };
        let (left, right) = (placed(0), placed(1));
        if left == right { Ok(()) } else { Err([shown(&left), shown(&right)]) }
    }

    /// Whether each watch is known to have caught up with the present, once all is settled. One that began in the past and was told
    /// of nothing yet may not have: should that be compacted, etcd ends it or not, as it happens.
    pub(crate) fn is_up_to_date(&self) -> bool {
        self.watches.iter().all(|(id, watch)| {
            let is_told = self.sides[0].heard.get(id).is_some_and(|heard| heard.is_canceled || heard.count() > 0);
            is_told || watch.first > watch.begun
        })
    }

    /// Whether each watch wants what happens at this revision. Later ones than 3.4 say nothing of how far a stream is while one wants
    /// only what is to come.
    pub(crate) fn is_begun(&self, now: i64) -> bool {
        self.watches.values().all(|watch| watch.request.start_revision <= now)
    }

    /// Whether a watch has ended by itself, whose number etcd never gives again, and Vardr does.
    pub(crate) fn has_compacted(&self) -> bool {
        self.watches.values().any(Watch::is_compacted)
    }

    /// Whether more can be asked of it.
    pub(crate) fn takes_requests(&self) -> bool {
        matches!(self.sides[0].source, Source::Grpc(_) | Source::Socket(..))
    }

    /// The watches that are there, and what each was told of at the reference.
    pub(crate) fn watches(&self) -> impl Iterator<Item = (&Watch, &'static str)> {
        self.watches.iter().map(|(id, watch)| (watch, self.told(*id)))
    }

    /// What a watch was told of at the reference, in short.
    pub(crate) fn told(&self, id: i64) -> &'static str {
        let Some(heard) = self.sides[0].heard.get(&id) else { return "nothing" };
        let is_put = |event: &String| {
            !event.contains("r#type: 1") && !event.contains("type: Delete") && !event.contains("\"DELETE\"")
        };
        let events: Vec<_> = heard.events.0.values().flatten().collect();
        let puts = events.iter().filter(|event| is_put(event)).count();
        match (heard.is_canceled, puts, events.len() - puts) {
            (true, 0, 0) => "compacted",
            (_, 0, 0) => "nothing",
            (_, _, 0) => "puts",
            (_, 0, _) => "deletions",
            (..) => "puts-and-deletions",
        }
    }
}
