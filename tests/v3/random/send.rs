//! One call to one server, over gRPC or in JSON, and what of its answer is compared: all of it, but for what no two servers can agree on.
//!
//! Both are at the same revision when a sequence begins, so that revisions are compared as they are. Left out are the ids of clusters
//! and members, terms, what members are called and where they are; ids of leases that a server chose are replaced by their
//! place. What is left of a time to live has to follow from what was granted. Keys of a lease are put in order, as etcd's are in none.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tonic::{Response, Status};

use super::bugs::Bug;
use super::call::{Call, Reply};
use super::fields::Fields;
use super::spell::{Spelling, spelled, spoilt};
use super::step::Way;
use super::visitors::{Number, Resolve};
use crate::gateway_streams::Lines;
use crate::support::http::Client;
use crate::told::{Reading, left, timeless};
use crate::{V3, pb};

/// Leases that may end while a sequence is played, which are in no list that is compared.
pub(crate) const SHORT: std::ops::Range<i64> = 900..1000;

/// One of the two servers.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) v3: V3,
    pub(crate) http: Client,
    /// How what it says in JSON is read.
    pub(crate) reading: Reading,
    pub(crate) bug: Option<Bug>,
}

/// What one server has made up while a sequence is played.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) base: i64,
    pub(crate) begun: Instant,
    /// How long an answer may take; none in time is an answer too.
    limit: Duration,
    /// The ids of leases that it chose.
    chosen: Vec<i64>,
    /// The revision of the last candidacy, by its lease.
    campaigns: Vec<(i64, i64)>,
}

/// An answer, made comparable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// `ok`, or what the error says in short.
    pub(crate) outcome: String,
}

/// The id of a lease that no server knows.
pub(crate) const NO_LEASE: i64 = 404;

impl Known {
    pub(crate) fn new(base: i64, limit: Duration) -> Self {
        Self { base, begun: Instant::now(), limit, chosen: Vec::new(), campaigns: Vec::new() }
    }

    pub(crate) fn number(&self, number: Number) -> i64 {
        match number {
            Number::Plain(number) => number,
            Number::Base(by) => self.base + by,
            Number::Chosen(place) => self.chosen.get(usize::try_from(place).unwrap()).copied().unwrap_or(NO_LEASE),
            Number::Campaign(lease) => {
                let last = self.campaigns.iter().rev().find(|(of, _)| *of == lease);
                last.map_or(self.base, |(_, revision)| *revision)
            }
        }
    }

    fn learn(&mut self, call: &Call, lease: Option<i64>, campaign: Option<i64>) {
        match call {
            Call::LeaseGrant(request) if request.id == 0 => self.chosen.extend(lease),
            Call::Campaign(request) => self.campaigns.extend(campaign.map(|revision| (request.lease, revision))),
            _ => {}
        }
    }

    /// The text with the ids that the server chose replaced by their places.
    pub(crate) fn placed(&self, text: &str) -> String {
        let chosen = self.chosen.iter().enumerate();
        chosen.fold(text.to_owned(), |text, (place, id)| text.replace(&id.to_string(), &format!("chosen{place:+}")))
    }
}

/// What an error says, as one word.
fn in_short(message: &str) -> String {
    let is_known = ["etcdserver: ", "auth: ", "mvcc: ", "election: ", "lease: ", "\"leader\""]
        .iter()
        .any(|start| message.starts_with(start));
    if !is_known {
        return "no-such-json".to_owned();
    }
    let message = message.strip_prefix("etcdserver: ").unwrap_or(message).replace('"', "");
    message.replace(": ", "-").replace([' ', ','], "-")
}

impl Side {
    /// Makes a call.
    pub(crate) fn call(&self, runtime: &Runtime, call: &Call, way: Way, known: &mut Known) -> Answer {
        let call = call.resolved(|number| known.number(number));
        match way {
            Way::Grpc => self.grpc(runtime, &call, known),
            Way::Json(spelling) => self.json(&call, &call.json(spelling), known),
            Way::Spoilt(seed) => self.json(&call, &spoilt(&call.json(Some(seed)), seed), known),
        }
    }

    fn grpc(&self, runtime: &Runtime, call: &Call, known: &mut Known) -> Answer {
        let mut asked = call.clone();
        if let Some(bug) = self.bug {
            bug.ask(&mut asked);
        }
        let answer = runtime.block_on(async { timeout(known.limit, asked.call(&self.v3)).await });
        let mut answer = answer.unwrap_or_else(|_| Err(Status::cancelled("no answer in time")));
        if let Some(bug) = self.bug {
            bug.answer(call, &mut answer);
        }
        match answer {
            Ok(mut reply) => {
                learn(call, &reply, known);
                bare(&mut reply, known);
                Answer { text: known.placed(&format!("{reply:?}")), outcome: succeeded(&reply).to_owned() }
            }
            Err(status) => failed(&status),
        }
    }

    fn json(&self, call: &Call, body: &str, known: &mut Known) -> Answer {
        let answer = self.http.post(&format!("/v3{}", call.path()), body);
        let mut told = self.reading.answer(&answer);
        if let Some(bug) = self.bug {
            bug.body(&mut told.body);
        }
        let Ok(value) = serde_json::from_str::<Value>(&told.body) else {
            return Answer { text: format!("{told:?}"), outcome: "no-json".to_owned() };
        };
        if told.status != 200 {
            let outcome = in_short(value["message"].as_str().unwrap_or_default());
            return Answer { text: format!("{told:?}"), outcome };
        }
        known.learn(call, number(&value["ID"]), number(&value["leader"]["rev"]));
        if let Some(body) = bare_json(call, &told.body, known) {
            told.body = body;
        }
        Answer { text: known.placed(&format!("{told:?}")), outcome: succeeded_json(call, &value).to_owned() }
    }

    /// Keeps leases alive on a stream of their own.
    pub(crate) fn keep_alive(
        &self,
        runtime: &Runtime,
        requests: &[pb::LeaseKeepAliveRequest],
        way: Way,
        known: &Known,
    ) -> Answer {
        let (mut requests, asked) = (requests.to_vec(), requests.len());
        let mut resolve = Resolve(|number| known.number(number));
        for request in &mut requests {
            request.visit(&mut resolve);
        }
        let answers = match way {
            Way::Grpc => runtime.block_on(async { timeout(known.limit, self.renewed(requests)).await.ok() }),
            Way::Json(spelling) => self.renewed_json(&requests, spelling, known.limit),
            Way::Spoilt(seed) => self.renewed_json(&requests, Some(seed), known.limit),
        };
        let answers = answers.unwrap_or_else(|| vec!["no answer in time".to_owned()]);
        let is_known =
            |answer: &String| answer.contains("TTL\":\"") || answer.contains("ttl: ") && !answer.contains("ttl: 0");
        let outcome = match answers.iter().filter(|answer| is_known(answer)).count() {
            0 => "unknown",
            count if count == asked => "ok",
            _ => "some",
        };
        Answer { text: known.placed(&answers.join("\n")), outcome: outcome.to_owned() }
    }

    async fn renewed(&self, requests: Vec<pb::LeaseKeepAliveRequest>) -> Vec<String> {
        let answers = self.v3.lease().lease_keep_alive(stream::iter(requests)).await;
        let shown = |answer: Result<pb::LeaseKeepAliveResponse, Status>| match answer {
            Ok(mut answer) => {
                bare_header(&mut answer.header);
                format!("{answer:?}")
            }
            Err(status) => failed(&status).text,
        };
        match answers.map(Response::into_inner) {
            Ok(answers) => answers.map(shown).collect().await,
            Err(status) => vec![failed(&status).text],
        }
    }

    fn renewed_json(
        &self,
        requests: &[pb::LeaseKeepAliveRequest],
        spelling: Spelling,
        limit: Duration,
    ) -> Option<Vec<String>> {
        let bodies: Vec<_> = requests.iter().map(|request| spelled(&mut request.clone(), spelling)).collect();
        let mut lines = Lines::open(&self.http, "/v3/lease/keepalive", &bodies.join("\n"));
        lines.wait_for(limit);
        let mut told = vec![lines.head().0.to_string()];
        // How it ends is not waited for: etcd's gateway leaves the stream open where it answers before it has seen the end of the body.
        for _ in requests {
            told.push(self.reading.line(&lines.try_next().ok()??));
        }
        Some(told)
    }
}

fn failed(status: &Status) -> Answer {
    Answer { text: format!("{:?}: {}", status.code(), status.message()), outcome: in_short(status.message()) }
}

fn number(value: &Value) -> Option<i64> {
    value.as_str()?.parse().ok()
}

fn learn(call: &Call, reply: &Reply, known: &mut Known) {
    match reply {
        Reply::LeaseGrant(answer) => known.learn(call, Some(answer.id), None),
        Reply::Campaign(answer) => known.learn(call, None, answer.leader.as_ref().map(|leader| leader.rev)),
        _ => {}
    }
}

fn bare_header(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}

/// Takes out what is the server's own.
fn bare(reply: &mut Reply, known: &Known) {
    bare_header(reply.header());
    match reply {
        Reply::LeaseTimeToLive(answer) => {
            answer.ttl = left(answer.ttl, answer.granted_ttl, known.begun.elapsed());
            answer.keys.sort();
        }
        Reply::LeaseLeases(answer) => answer.leases.retain(|lease| !SHORT.contains(&lease.id)),
        Reply::MemberList(answer) => {
            for member in &mut answer.members {
                *member = pb::Member { is_learner: member.is_learner, ..Default::default() };
            }
        }
        _ => {}
    }
}

/// The same of JSON; nothing where it is to stay as it was written.
fn bare_json(call: &Call, body: &str, known: &Known) -> Option<String> {
    let mut value: Value = serde_json::from_str(body).ok()?;
    match call {
        Call::LeaseTimeToLive(_) => return Some(timeless(body, known.begun.elapsed())),
        Call::LeaseLeases(_) => {
            let is_long = |lease: &Value| number(&lease["ID"]).is_none_or(|id| !SHORT.contains(&id));
            if let Some(leases) = value.get_mut("leases").and_then(Value::as_array_mut) {
                leases.retain(is_long);
                if leases.is_empty() {
                    value.as_object_mut()?.shift_remove("leases");
                }
            }
        }
        Call::MemberList(_) => {
            for member in value.get_mut("members")?.as_array_mut()? {
                *member = member.as_object()?.keys().cloned().collect();
            }
        }
        _ => return None,
    }
    Some(value.to_string())
}

/// What is counted of an answer that is no error.
fn succeeded(reply: &Reply) -> &'static str {
    match reply {
        Reply::Txn(answer) => either(answer.succeeded, ["then", "else"]),
        Reply::Range(answer) => found(answer.count, answer.more),
        Reply::DeleteRange(answer) => either(answer.deleted > 0, ["deleted", "nothing"]),
        Reply::LeaseTimeToLive(answer) => either(answer.granted_ttl > 0, ["ok", "unknown"]),
        _ => "ok",
    }
}

fn succeeded_json(call: &Call, value: &Value) -> &'static str {
    match call {
        Call::Txn(_) => either(value["succeeded"] == true, ["then", "else"]),
        Call::Range(_) => found(number(&value["count"]).unwrap_or_default(), value["more"] == true),
        Call::DeleteRange(_) => either(!value["deleted"].is_null(), ["deleted", "nothing"]),
        Call::LeaseTimeToLive(_) => either(!value["grantedTTL"].is_null(), ["ok", "unknown"]),
        _ => "ok",
    }
}

fn either(is_first: bool, of: [&'static str; 2]) -> &'static str {
    if is_first { of[0] } else { of[1] }
}

fn found(count: i64, has_more: bool) -> &'static str {
    match (count, has_more) {
        (0, _) => "nothing",
        (_, true) => "some",
        (_, false) => "all",
    }
}
