//! etcd's v3 API, by its JSON gateway: all keys in order, page by page, at one revision; and their leases.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{Method, StatusCode};
use indicatif::{HumanCount, ProgressBar};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Answer, Read, Source, Trouble};
use crate::cli::client::{Client, Request};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::item;
use crate::cli::lease::LEASES;
use crate::cli::output::member;
use crate::cli::route::{self, Route};
use crate::cli::transfer::batch::{CONCURRENCY, Life, Step, Write};
use crate::cli::transfer::counted;
use crate::cli::transfer::document::Leaf;
use crate::model::KeyRange;

/// Where the gateway is: in etcd 3.4 and later, in 3.3, and in 3.2.
const GATEWAYS: [&str; 3] = ["/v3", "/v3beta", "/v3alpha"];
/// A page is to have about this many bytes; the number of keys follows from the page before.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// The keys of the first page, and of the largest.
const PAGE_KEYS: (u64, u64) = (128, 4096);
/// The range that has no end, and the key that is before all others.
const ZERO: &[u8] = b"\0";
/// The code of gRPC for a token that is not known any more.
const UNAUTHENTICATED: u64 = 16;

/// The steps that bring over every key that begins with `prefix`, or all of them. Their leases are granted at `target`;
/// without one, nothing is granted.
///
/// # Errors
/// A source that is no etcd, has no gateway, or does not let its keys be read.
pub(crate) async fn v3<'a>(
    url: &str,
    prefix: Option<&OsStr>,
    patience: Duration,
    target: Option<&'a Client>,
    bar: &ProgressBar,
) -> Outcome<impl Stream<Item = Step> + use<'a>> {
    let source = Source::open(url, patience).await?;
    let prefix = prefix.map(OsStr::as_bytes).unwrap_or_default();
    let mut reader = Reader {
        source,
        gateway: "",
        token: None,
        target,
        next: if prefix.is_empty() { ZERO.to_vec() } else { prefix.to_vec() },
        end: after(prefix),
        revision: 0,
        limit: PAGE_KEYS.0,
        leases: BTreeMap::new(),
        ended: false,
    };
    let count = reader.begin().await?;
    bar.set_message(format!(" of {}", HumanCount(count.unsigned_abs())));
    Ok(stream::unfold(reader, |mut reader| async move {
        let steps = reader.next().await?;
        Some((stream::iter(steps), reader))
    })
    .flatten())
}

/// The end of the range of keys that begin with these bytes, as etcd takes it.
fn after(prefix: &[u8]) -> Vec<u8> {
    KeyRange::prefix(prefix.to_vec()).end().map_or_else(|| ZERO.to_vec(), |end| end.to_vec())
}

#[derive(Debug, Deserialize)]
struct Page {
    header: Header,
    #[serde(default)]
    kvs: Vec<Pair>,
    #[serde(default)]
    more: bool,
    #[serde(default, deserialize_with = "number")]
    count: i64,
}

#[derive(Debug, Deserialize)]
struct Header {
    #[serde(default, deserialize_with = "number")]
    revision: i64,
}

/// One key. Bytes are base64; what is empty or 0 is left out.
#[derive(Debug, Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default, deserialize_with = "number")]
    lease: i64,
}

#[derive(Debug, Deserialize)]
struct Remaining {
    /// In seconds, rounded down; -1 where the lease is over.
    #[serde(default, rename = "TTL", deserialize_with = "number")]
    ttl: i64,
}

/// A number of 64 bits, which is text in this JSON.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => other.to_string(),
    };
    text.parse().map_err(serde::de::Error::custom)
}

/// What became of a lease here.
#[derive(Debug, Clone)]
enum Fate {
    Granted(String),
    /// Granted under another id, because its own is none here.
    Renamed(String),
    /// It was here already, and was renewed.
    Found(String),
    Over,
    Failed(String),
}

/// A walk over the keys.
#[derive(Debug)]
struct Reader<'a> {
    source: Source,
    gateway: &'static str,
    token: Option<String>,
    target: Option<&'a Client>,
    /// The first key that has not been read.
    next: Vec<u8>,
    end: Vec<u8>,
    /// What is read is of this revision; 0 for the latest.
    revision: i64,
    limit: u64,
    /// Every lease met so far.
    leases: BTreeMap<i64, Fate>,
    ended: bool,
}

/// Why a question to the gateway has no answer.
enum Refusal {
    Trouble(Trouble),
    Answer(Answer),
    Unreadable(String),
}

impl Refusal {
    fn told(&self) -> String {
        match self {
            Self::Trouble(trouble) => trouble.to_string(),
            Self::Answer(answer) => answer.told(),
            Self::Unreadable(why) => format!("an answer cannot be read: {why}"),
        }
    }
}

impl Reader<'_> {
    /// Finds the gateway and the revision to read at; gives the number of keys.
    async fn begin(&mut self) -> Outcome<i64> {
        let question =
            json!({"key": STANDARD.encode(&self.next), "range_end": STANDARD.encode(&self.end), "count_only": true});
        for gateway in GATEWAYS {
            self.gateway = gateway;
            self.authenticate().await?;
            match self.ask::<Page>("/kv/range", &question).await {
                Ok(page) => {
                    self.revision = page.header.revision;
                    return Ok(page.count);
                }
                Err(Refusal::Answer(answer)) if answer.status == StatusCode::NOT_FOUND => {}
                Err(Refusal::Answer(answer)) => return Err(self.source.refused(&answer)),
                Err(Refusal::Trouble(trouble)) => return Err(self.source.unavailable(&trouble)),
                Err(Refusal::Unreadable(_)) => break,
            }
        }
        let base = &self.source.base;
        Err(Failure::usage(format!(
            "{base} has no JSON gateway of etcd's v3 API (--enable-grpc-gateway), or it is older than etcd 3.2"
        )))
    }

    /// Gets a token where a user is named.
    async fn authenticate(&mut self) -> Outcome<()> {
        let Some(user) = self.source.user.clone() else { return Ok(()) };
        let path = format!("{}/auth/authenticate", self.gateway);
        let body = json!({"name": user.name, "password": user.password});
        let read = Read { path: &path, body: Some(&body), token: None };
        let answer = self.source.read(&read).await.map_err(|trouble| self.source.unavailable(&trouble))?;
        let object: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.status {
            StatusCode::OK => self.token = Some(member(&object, "token")),
            StatusCode::NOT_FOUND => {}
            // A cluster without users has no tokens, and needs none.
            _ if answer.told().contains("authentication is not enabled") => {}
            _ => return Err(self.source.refused(&answer)),
        }
        Ok(())
    }

    /// Asks the gateway.
    async fn ask<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Refusal> {
        let path = format!("{}{path}", self.gateway);
        let read = Read { path: &path, body: Some(body), token: self.token.as_deref() };
        let answer = self.source.read(&read).await.map_err(Refusal::Trouble)?;
        if answer.status != StatusCode::OK {
            return Err(Refusal::Answer(answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| Refusal::Unreadable(error.to_string()))
    }

    /// The steps of the next page; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Step>> {
        if self.ended {
            return None;
        }
        let mut steps = Vec::new();
        match self.page(&mut steps).await {
            Ok(page) => {
                self.ended = !page.more || page.kvs.is_empty();
                if let Err(why) = self.take(page.kvs, &mut steps).await {
                    self.ended = true;
                    steps.push(self.broken(&why));
                }
            }
            Err(refusal) => {
                self.ended = true;
                steps.push(self.broken(&refusal.told()));
            }
        }
        if self.ended {
            steps.extend(self.notes());
        }
        Some(steps)
    }

    /// What is to be known of the leases.
    fn notes(&self) -> Vec<Step> {
        let count = |is_so: fn(&Fate) -> bool| self.leases.values().filter(|fate| is_so(fate)).count();
        let told = [
            (
                count(|fate| matches!(fate, Fate::Found(_))),
                "here already under the same id: each was renewed, for its time to live here, and has the keys now",
            ),
            (count(|fate| matches!(fate, Fate::Renamed(_))), "given another id here: etcd's is negative"),
        ];
        let note = |leases, what| Step::Note(format!("{} {what}", counted(leases as u64, "lease was", "leases were")));
        told.into_iter().filter(|(leases, _)| *leases > 0).map(|(leases, what)| note(leases, what)).collect()
    }

    /// Reads a page: smaller where it was too large, anew where its revision is gone or the token.
    async fn page(&mut self, steps: &mut Vec<Step>) -> Result<Page, Refusal> {
        let mut is_fresh = false;
        loop {
            let question = json!({
                "key": STANDARD.encode(&self.next), "range_end": STANDARD.encode(&self.end),
                "limit": self.limit, "revision": self.revision,
            });
            match self.ask::<Page>("/kv/range", &question).await {
                Ok(page) => {
                    if self.revision == 0 {
                        self.revision = page.header.revision;
                    }
                    self.pace(&page);
                    return Ok(page);
                }
                Err(Refusal::Trouble(Trouble::TooLarge)) if self.limit > 1 => self.limit = (self.limit / 8).max(1),
                Err(Refusal::Answer(answer)) if answer.told().contains("has been compacted") && self.revision > 0 => {
                    steps.push(Step::Note(format!(
                        "etcd compacted revision {} meanwhile: what comes from {} on is of a later one",
                        self.revision,
                        route::shown(&self.next)
                    )));
                    self.revision = 0;
                }
                Err(Refusal::Answer(answer)) if answer.is_unauthenticated() && !is_fresh && self.token.is_some() => {
                    is_fresh = true;
                    self.authenticate().await.map_err(|failure| Refusal::Unreadable(failure.to_string()))?;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// Chooses how many keys the next page has.
    fn pace(&mut self, page: &Page) {
        let bytes: usize = page.kvs.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
        let keys = page.kvs.len() as u64;
        let fitting = keys * PAGE_BYTES / (bytes as u64).max(1);
        self.limit = fitting.clamp(1, self.limit * 4).min(PAGE_KEYS.1);
    }

    async fn take(&mut self, pairs: Vec<Pair>, steps: &mut Vec<Step>) -> Result<(), String> {
        self.grant(pairs.iter().map(|pair| pair.lease).collect(), steps).await?;
        for Pair { key, value, lease } in pairs {
            let bytes =
                |text: &str| STANDARD.decode(text).map_err(|error| format!("an answer cannot be read: {error}"));
            let (key, value) = (bytes(&key)?, bytes(&value)?);
            self.next.clone_from(&key);
            self.next.push(0);
            let life = match self.leases.get(&lease) {
                None => Life::Endless,
                Some(Fate::Granted(id) | Fate::Renamed(id) | Fate::Found(id)) => Life::Lease(id.clone()),
                Some(Fate::Over) => {
                    steps.push(Step::Skipped(route::shown(&key), "its lease is over".to_owned()));
                    continue;
                }
                Some(Fate::Failed(why)) => {
                    steps.push(Step::Failed(route::shown(&key), format!("its lease cannot be had: {why}")));
                    continue;
                }
            };
            let leaf = if key.ends_with(b"/") && value.is_empty() { Leaf::Directory } else { Leaf::Bytes(value) };
            steps.push(Step::Write(Write { key, leaf, life }));
        }
        Ok(())
    }

    /// Grants those leases that are new, each with what is left of it.
    async fn grant(&mut self, mut ids: BTreeSet<i64>, steps: &mut Vec<Step>) -> Result<(), String> {
        ids.retain(|id| *id != 0 && !self.leases.contains_key(id));
        let reader = &*self;
        let fates = ids.into_iter().map(|id| async move { reader.fate(id).await.map(|fate| (id, fate)) });
        let mut fates = stream::iter(fates.collect::<Vec<_>>()).buffer_unordered(CONCURRENCY);
        let mut found = Vec::new();
        while let Some(fate) = fates.next().await {
            let (id, fate) = fate?;
            if matches!(fate, Fate::Granted(_) | Fate::Renamed(_)) {
                steps.push(Step::Leased);
            }
            found.push((id, fate));
        }
        drop(fates);
        self.leases.extend(found);
        Ok(())
    }

    /// Has a lease here with what is left of it, under its own id where it can be: clients keep it alive under that one.
    async fn fate(&self, id: i64) -> Result<Fate, String> {
        let left: Remaining = self
            .ask("/lease/timetolive", &json!({"ID": id.to_string()}))
            .await
            .map_err(|refusal: Refusal| refusal.told())?;
        if left.ttl < 0 {
            return Ok(Fate::Over);
        }
        let Some(target) = self.target else { return Ok(Fate::Granted(String::new())) };
        let ttl = format!("{}s", left.ttl.max(1));
        // An id below 0 is one of etcd's, but none here.
        let had = if id < 0 {
            grant(target, json!({"ttl": ttl})).await.map(Fate::Renamed)
        } else {
            had(target, &format!("{id:x}"), &ttl).await
        };
        Ok(had.unwrap_or_else(|failure| Fate::Failed(failure.to_string())))
    }

    fn broken(&self, why: &str) -> Step {
        let from = route::shown(&self.next);
        let missing =
            format!("can be read no longer ({why}); the keys from {from} on are missing; what was read is written");
        Step::Failed(self.source.base.clone(), missing)
    }
}

/// Grants a lease; or renews the one that has the id, as after an import that was broken off.
async fn had(target: &Client, id: &str, ttl: &str) -> Outcome<Fate> {
    let wanted = || json!({"ttl": ttl, "id": id});
    match grant(target, wanted()).await {
        Err(failure) if failure.code() == "lease_exists" => {}
        granted => return granted.map(Fate::Granted),
    }
    let renewal = Request::write(Method::POST, Route::new(format!("{LEASES}/{id}:keepalive")), Bytes::new());
    match target.send(&renewal).await {
        // It ran out in between.
        Err(failure) if failure.code() == "lease_not_found" => grant(target, wanted()).await.map(Fate::Granted),
        renewed => renewed.map(|_| Fate::Found(id.to_owned())),
    }
}

/// Grants a lease; gives its id.
async fn grant(target: &Client, body: Value) -> Outcome<String> {
    let answer = target.send(&Request::json(Method::POST, Route::new(LEASES), body.to_string())).await?;
    Ok(member(&item::read(&answer.body)?, "id"))
}

impl Answer {
    /// Whether the token is not known.
    fn is_unauthenticated(&self) -> bool {
        let object: Option<Value> = serde_json::from_slice(&self.body).ok();
        object.and_then(|object| object.get("code")?.as_u64()) == Some(UNAUTHENTICATED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_prefix_ends_behind_all_that_begin_with_it() {
        assert_eq!(after(b"/app/"), b"/app0");
        assert_eq!(after(b"a\xff\xff"), b"b");
        assert_eq!([after(b"\xff"), after(b"")], [ZERO, ZERO]);
    }

    #[test]
    fn numbers_are_text_and_what_is_missing_is_nothing() {
        let page: Page = serde_json::from_str(
            r#"{"header":{"revision":"13"},"kvs":[{"key":"YQ==","lease":"-7"},{"key":"Yg==","value":"eA=="}],"more":true}"#,
        )
        .unwrap();
        assert_eq!((page.header.revision, page.count, page.kvs[0].lease, page.kvs[1].lease), (13, 0, -7, 0));
        assert_eq!(serde_json::from_str::<Remaining>(r#"{"ID":"4","TTL":"-1"}"#).unwrap().ttl, -1);
        assert_eq!(serde_json::from_str::<Remaining>(r#"{"ID":"4"}"#).unwrap().ttl, 0);
    }
}
