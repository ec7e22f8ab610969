//! Two servers side by side: a sequence is played to both, step by step, and what they say is compared.
//!
//! Before each sequence both are emptied, and the server that is behind is written to until both are at the same revision, at which
//! both are compacted. There is one key then, which is the same at both.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tonic::Code;

use super::bugs::Bug;
use super::call::Call;
use super::fields::Fields;
use super::oracle;
use super::send::{Answer, Known, Side};
use super::step::{Asked, Step, Way};
use super::streams::{Change, Difference, History, Stream, Watch};
use super::turn::Turn;
use super::visitors::{Options, Resolve};
use crate::support::coverage::Hit;
use crate::support::etcd::Release;
use crate::support::http::Client;
use crate::told::Reading;
use crate::{V3, bytes, delete, get, pb, told};

/// The key that is always there, behind all others that are readable.
pub(crate) const PADDING: &str = "~";
/// Revisions before that at which the first sequence may begin, so that there is a past that is compacted.
const PAST: i64 = 20;

/// The reference on the left, the one under test on the right.
pub(crate) struct Pair {
    runtime: Runtime,
    /// What the first of the two is.
    pub(crate) release: Release,
    sides: [Side; 2],
}

/// What a sequence came to.
#[derive(Debug, Default)]
pub(crate) struct Played {
    pub(crate) hits: Vec<Hit>,
    /// What the servers said where they disagreed first.
    pub(crate) difference: Option<Difference>,
    /// The revision at which both began.
    pub(crate) base: i64,
    /// The steps up to there, with what was sent in JSON.
    pub(crate) lines: Vec<String>,
}

impl Pair {
    /// Two servers by their addresses, of which the first is this etcd, and how what each says is read.
    pub(crate) fn new(release: Release, left: &str, right: &str, [one, two]: [Reading; 2]) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let inside = runtime.enter();
        let side = |address: &str, reading| Side {
            v3: V3::of(&format!("http://{address}")),
            http: Client::new(address),
            reading,
            bug: None,
        };
        let sides = [side(left, one), side(right, two)];
        drop(inside);
        Self { runtime, release, sides }
    }

    /// Makes the server under test one with a bug, or without.
    pub(crate) fn plant(&mut self, bug: Option<Bug>) {
        self.sides[1].bug = bug;
    }

    /// Plays a sequence to both, up to the first difference. No answer may take longer than `limit`.
    pub(crate) fn play(&self, steps: &[Step], limit: Duration) -> Played {
        let base = self.runtime.block_on(self.begin());
        let mut play = Play::new(self, base, limit);
        let result = play.all(steps);
        play.played.difference = result.err();
        play.played
    }

    /// Empties both and brings them to the same revision, which is returned.
    async fn begin(&self) -> i64 {
        let [left, right] = &self.sides;
        wipe(&left.v3).await;
        wipe(&right.v3).await;
        let (mut one, mut two) = (left.v3.put(PADDING, "").await, right.v3.put(PADDING, "").await);
        while one < two.max(PAST) {
            one = left.v3.put(PADDING, "").await;
        }
        while two < one {
            two = right.v3.put(PADDING, "").await;
        }
        for v3 in [&left.v3, &right.v3] {
            told(v3.kv().delete_range(delete(PADDING, "")).await).unwrap();
            let base = v3.put(PADDING, "").await;
            told(v3.kv().compact(pb::CompactionRequest { revision: base, physical: false }).await).unwrap();
        }
        one + 2
    }
}

/// Takes away all keys, leases, users and roles.
async fn wipe(v3: &V3) {
    let leases = told(v3.lease().lease_leases(pb::LeaseLeasesRequest {}).await).unwrap().leases;
    for pb::LeaseStatus { id } in leases {
        // It may have ended meanwhile.
        let answer = told(v3.lease().lease_revoke(pb::LeaseRevokeRequest { id }).await);
        assert!(answer.is_ok() || answer.as_ref().is_err_and(|(code, _)| *code == Code::NotFound), "{answer:?}");
    }
    told(v3.kv().delete_range(delete("\0", "\0")).await).unwrap();
    let users = told(v3.auth().user_list(pb::AuthUserListRequest {}).await).unwrap().users;
    for name in users {
        told(v3.auth().user_delete(pb::AuthUserDeleteRequest { name }).await).unwrap();
    }
    let roles = told(v3.auth().role_list(pb::AuthRoleListRequest {}).await).unwrap().roles;
    for role in roles {
        told(v3.auth().role_delete(pb::AuthRoleDeleteRequest { role }).await).unwrap();
    }
}

/// A sequence while it is played.
struct Play<'a> {
    pair: &'a Pair,
    limit: Duration,
    known: [Known; 2],
    /// Told of all that happens.
    observer: Stream,
    history: History,
    streams: BTreeMap<u64, Stream>,
    compacted: i64,
    played: Played,
}

impl<'a> Play<'a> {
    fn new(pair: &'a Pair, base: i64, limit: Duration) -> Self {
        let [left, right] = &pair.sides;
        Self {
            pair,
            limit,
            known: [Known::new(base, limit), Known::new(base, limit)],
            observer: Stream::open(Asked::Grpc(0), &pair.runtime, [left, right], limit),
            history: History::from([(base, vec![Change { key: PADDING.into(), is_put: true }])]),
            streams: BTreeMap::new(),
            compacted: base,
            played: Played { base, ..Played::default() },
        }
    }

    fn all(&mut self, steps: &[Step]) -> Result<(), Difference> {
        let all = pb::WatchCreateRequest {
            key: bytes("\0"),
            range_end: bytes("\0"),
            start_revision: self.played.base + 1,
            prev_kv: true,
            ..Default::default()
        };
        let watch = Watch::new(all.clone(), self.played.base, self.compacted, BTreeSet::new());
        self.observer.create(&self.pair.runtime, &[all.clone(), all], watch)?;
        for step in steps.iter().filter_map(|step| oracle::asked(self.pair.release, step)) {
            self.played.lines.push(step.shown());
            self.step(&step)?;
        }
        self.finish()
    }

    fn step(&mut self, step: &Step) -> Result<(), Difference> {
        match step {
            Step::Call(way, call) => self.call(*way, call),
            Step::KeepAlive(way, requests) => {
                let ask =
                    |at: usize| self.pair.sides[at].keep_alive(&self.pair.runtime, requests, *way, &self.known[at]);
                let answers = [ask(0), ask(1)];
                let mut options = BTreeSet::from([way.name().to_owned()]);
                options.insert(if requests.len() > 1 { "many" } else { "one" }.to_owned());
                self.answered("LeaseKeepAlive", options, answers)
            }
            Step::Turn(way, turn) => self.turn(*way, *turn),
            Step::Create(asked, request) if self.is_at_edge(request) || self.stream(*asked).has_compacted() => Ok(()),
            Step::Lines(_, _, requests) if requests.iter().any(|request| self.is_at_edge(request)) => Ok(()),
            Step::Create(asked, request) => {
                let now = self.now()?;
                let (requests, watch) = self.watch(request, now, asked.name());
                let (pair, options) = (self.pair, watch.options.clone());
                if self.stream(*asked).create(&pair.runtime, &requests, watch)? {
                    self.hit("Watch", options, "refused");
                }
                Ok(())
            }
            Step::Cancel(asked, request) => self.cancel(*asked, request.watch_id),
            Step::Progress(asked) => {
                let now = self.settle()?;
                let (pair, known) = (self.pair, self.known.clone());
                let stream = self.stream(*asked);
                if !oracle::tells_progress(pair.release) || !stream.is_begun(now) {
                    return Ok(());
                }
                stream.progress(&pair.runtime)?;
                stream.compare(&known)?;
                self.hit("WatchProgress", BTreeSet::from([asked.name().to_owned()]), "ok");
                Ok(())
            }
            Step::Lines(stream, spelling, requests) => {
                let now = self.now()?;
                let watches: Vec<_> = requests.iter().map(|request| self.watch(request, now, "json")).collect();
                let of = |at: usize| watches.iter().map(|(requests, _)| requests[at].clone()).collect::<Vec<_>>();
                let [left, right] = &self.pair.sides;
                let mut opened = Stream::lines([left, right], [&of(0), &of(1)], *spelling, self.limit)?;
                for (_, watch) in watches {
                    let options = watch.options.clone();
                    if opened.created(&self.pair.runtime, watch)? {
                        self.hit("Watch", options, "refused");
                    }
                }
                self.leave(*stream)?;
                self.streams.insert(*stream, opened);
                Ok(())
            }
        }
    }

    fn call(&mut self, way: Way, call: &Call) -> Result<(), Difference> {
        if matches!(call, Call::Compact(_)) {
            // What is told before is the same whoever is quicker.
            self.settle()?;
            if !self.streams.values().all(Stream::is_up_to_date) {
                return Ok(());
            }
        }
        let ask = |at: usize, known: &mut Known| self.pair.sides[at].call(&self.pair.runtime, call, way, known);
        let [left, right] = &mut self.known;
        let answers = [ask(0, left), ask(1, right)];
        let is_ok = answers[0].outcome == "ok";
        let mut options = call.options().0;
        options.insert(way.name().to_owned());
        self.answered(call.name(), options, answers)?;
        if let Call::Compact(request) = call.resolved(|number| self.known[0].number(number))
            && is_ok
        {
            self.compacted = request.revision;
        }
        Ok(())
    }

    /// Both at once: a lease ends when it ends.
    fn turn(&mut self, way: Way, turn: Turn) -> Result<(), Difference> {
        turn.begin().iter().try_for_each(|call| self.call(Way::Grpc, call))?;
        let pass = |at: usize| turn.pass(&self.pair.sides[at], &self.pair.runtime, way, &self.known[at]);
        let [(left, left_given), (right, right_given)] = thread::scope(|scope| {
            let other = scope.spawn(|| pass(1));
            [pass(0), other.join().unwrap()]
        });
        let mut options = BTreeSet::from(turn.names().map(str::to_owned));
        options.insert(way.name().to_owned());
        if let (Some(left), Some(right)) = (left_given, right_given) {
            self.answered("LetGo", options.clone(), [left, right])?;
        }
        self.answered("Turn", options, [left, right])?;
        turn.end().iter().try_for_each(|call| self.call(Way::Grpc, call))?;
        self.settle().map(drop)
    }

    fn cancel(&mut self, asked: Asked, watch_id: i64) -> Result<(), Difference> {
        self.settle()?;
        // etcd answers to the end of one that has ended by itself, too.
        if self.stream(asked).is_compacted(watch_id) {
            return Ok(());
        }
        let (pair, known) = (self.pair, self.known.clone());
        let stream = self.stream(asked);
        let watch = stream.cancel(&pair.runtime, watch_id)?;
        stream.compare(&known)?;
        let was_told = watch.map(|watch| (watch.options, stream.told(watch_id)));
        let outcome = if was_told.is_some() { "ok" } else { "nothing" };
        if was_told.is_some() {
            stream.forget(watch_id);
        }
        if let Some((options, told)) = was_told {
            self.hit("Watch", options, told);
        }
        self.hit("WatchCancel", BTreeSet::from([asked.name().to_owned()]), outcome);
        Ok(())
    }

    /// The stream of this number.
    fn stream(&mut self, asked: Asked) -> &mut Stream {
        let [left, right] = &self.pair.sides;
        let open = || Stream::open(asked, &self.pair.runtime, [left, right], self.limit);
        self.streams.entry(asked.number()).or_insert_with(open)
    }

    /// A watch as both are asked for it, and as it should be.
    fn watch(&self, request: &pb::WatchCreateRequest, now: i64, way: &str) -> ([pb::WatchCreateRequest; 2], Watch) {
        let resolved = |at: usize| {
            let mut request = request.clone();
            request.visit(&mut Resolve(|number| self.known[at].number(number)));
            request
        };
        let mut bent = resolved(1);
        self.pair.sides[1].bug.iter().for_each(|bug| bug.watch(&mut bent));
        let mut options = Options::default();
        request.clone().visit(&mut options);
        options.0.insert(way.to_owned());
        ([resolved(0), bent], Watch::new(resolved(0), now, self.compacted, options.0))
    }

    /// Whether it begins at the revision that is compacted, of which etcd tells what its sweep has left until then, and Vardr all. The
    /// sequence begins with one at which nothing is left out.
    fn is_at_edge(&self, request: &pb::WatchCreateRequest) -> bool {
        let mut request = request.clone();
        request.visit(&mut Resolve(|number| self.known[0].number(number)));
        request.start_revision == self.compacted && self.compacted != self.played.base
    }

    /// The revision of both.
    fn now(&self) -> Result<i64, Difference> {
        let request = pb::RangeRequest { count_only: true, ..get(PADDING) };
        let ask = |at: usize| self.pair.runtime.block_on(self.pair.sides[at].v3.range(request.clone()));
        let revision = |answer: Result<pb::RangeResponse, _>| answer.map(|answer| crate::revision(answer.header));
        match (revision(ask(0)), revision(ask(1))) {
            (Ok(left), Ok(right)) if left == right => Ok(left),
            (left, right) => Err([format!("revision {left:?}"), format!("revision {right:?}")]),
        }
    }

    /// Waits until all watches were told of all that happened until now, at the revision that is returned.
    fn settle(&mut self) -> Result<i64, Difference> {
        let now = self.now()?;
        let runtime = &self.pair.runtime;
        if now > self.played.base {
            self.history.append(&mut self.observer.observe(runtime, now)?);
            self.observer.compare(&self.known)?;
        }
        for stream in self.streams.values_mut() {
            stream.settle(runtime, &self.history)?;
            stream.compare(&self.known)?;
        }
        Ok(now)
    }

    /// Ends a stream, if there is one of this number.
    fn leave(&mut self, number: u64) -> Result<(), Difference> {
        if self.streams.contains_key(&number) {
            self.settle()?;
        }
        let Some(stream) = self.streams.remove(&number) else { return Ok(()) };
        for (watch, told) in stream.watches() {
            self.played.hits.push(hit("Watch", watch.options.clone(), told));
        }
        Ok(())
    }

    /// Makes sure that all are told of one more change, and that none is told of more than that.
    fn finish(&mut self) -> Result<(), Difference> {
        self.played.lines.push("the end".to_owned());
        for side in &self.pair.sides {
            self.pair.runtime.block_on(side.v3.put(PADDING, "end"));
        }
        let now = self.settle()?;
        let release = self.pair.release;
        let asked =
            |stream: &&mut Stream| oracle::tells_progress(release) && stream.takes_requests() && stream.is_begun(now);
        for stream in self.streams.values_mut().filter(asked) {
            stream.progress(&self.pair.runtime)?;
            stream.compare(&self.known)?;
        }
        let numbers: Vec<_> = self.streams.keys().copied().collect();
        numbers.into_iter().try_for_each(|number| self.leave(number))
    }

    fn answered(
        &mut self,
        name: &str,
        options: BTreeSet<String>,
        [left, right]: [Answer; 2],
    ) -> Result<(), Difference> {
        self.hit(name, options, &left.outcome);
        if left.text == right.text { Ok(()) } else { Err([left.text, right.text]) }
    }

    fn hit(&mut self, method: &str, options: BTreeSet<String>, outcome: &str) {
        self.played.hits.push(hit(method, options, outcome));
    }
}

fn hit(method: &str, options: BTreeSet<String>, outcome: &str) -> Hit {
    Hit { method: method.to_owned(), options, outcome: outcome.to_owned() }
}
