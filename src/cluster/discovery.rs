//! The members of a cluster as a discovery service names them: each enters itself in a directory of etcd's v2 API, and waits
//! until as many have as the cluster is to have (etcd's `v2discovery`). Any Vardr and any etcd with the v2 API is such a
//! service. Never decides whether what it found makes a cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use super::{Entry, peer_url};
use crate::model::MemberId;
use crate::model::limits::{MAX_DISCOVERY_BYTES, MAX_VOTERS};
use crate::node::member_id;

/// How long a service that gives no answer is asked again, before it counts as gone.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two questions to a service that gave none.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long to wait for a change before the directory is read again whatever was heard.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The shortest time between two readings while waiting.
const WAIT_PAUSE: Duration = Duration::from_millis(100);
/// etcd's error codes for a key that is not there, and one that is.
const KEY_NOT_FOUND: u64 = 100;
const NODE_EXIST: u64 = 105;

/// Why the discovery service did not name the members. Each says what to do.
#[derive(Debug, Error)]
pub enum DiscoveryError {
    #[error(
        "--discovery: {url} gives no answer for {PATIENCE:?}: {problem}; see that it runs and can be reached from here"
    )]
    Gone { url: String, problem: String },
    #[error(
        "--discovery: {url} is no discovery URL: it answers {answer}; one is made by `curl http://HOST:PORT/new?size=3`"
    )]
    Strange { url: String, answer: String },
    #[error(
        "--discovery: {url} does not say how many members the cluster has; make a new one by \
         `curl http://HOST:PORT/new?size=3`, or write the number to {url}/_config/size"
    )]
    NoSize { url: String },
    #[error("--discovery: {url}/_config/size is `{value}`; it has to be the number of members, 1 to {MAX_VOTERS}")]
    BadSize { url: String, value: String },
    #[error(
        "--discovery: the cluster is full: the {size} members that {url} is for are there without this one; add it to the \
         running cluster by `vardr member add`, or use a new discovery URL for another cluster"
    )]
    Full { url: String, size: usize },
    #[error(
        "--discovery: member {id} has entered itself at {url} as `{found}`, and this one is `{own}`: give each member a name \
         and peer URLs of its own, and keep them"
    )]
    Taken { url: String, id: MemberId, found: String, own: String },
    #[error("--discovery: `{value}`, entered at {key}, is no member: {problem}; remove that entry")]
    BadEntry { key: String, value: String, problem: String },
    #[error("--discovery: {names} name{} stand{} for {size} members at {url}: give each member a --name of its own",
        if *.names == 1 { "" } else { "s" }, if *.names == 1 { "s" } else { "" })]
    SameName { url: String, names: usize, size: usize },
    #[error("--discovery: no HTTP client can be had: {problem}")]
    NoClient { problem: String },
}

/// The directory of one cluster.
#[derive(Debug)]
struct Roster<'a> {
    http: Client,
    url: &'a str,
}

/// Who has entered itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entered {
    key: String,
    value: String,
    created: u64,
}

/// An answer that asking again would not change.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    index: u64,
    body: Value,
}

/// The directory at one moment.
#[derive(Debug)]
struct Directory {
    entered: Vec<Entered>,
    index: u64,
}

/// Enters this member, waits for the others, and gives all of them. `url` is also what ids are computed with, so it has to be
/// the same text for every member.
///
/// # Errors
/// When the service is none, is gone, or its cluster is full without this member.
pub(super) async fn discover(url: &str, name: &str, advertised: &[String]) -> Result<Vec<Entry>, DiscoveryError> {
    let id = member_id(advertised, url);
    let own = entry_text(name, advertised);
    let roster = Roster::new(url)?;
    let size = roster.size().await?;
    let directory = roster.read().await?;
    // One that comes too late leaves no trace.
    if first(&directory.entered, size, id).is_none() {
        return Err(DiscoveryError::Full { url: url.to_owned(), size });
    }
    roster.enter(id, &own).await?;
    let entered = roster.wait(size, id).await?;
    entries(url, size, &entered)
}

/// `name=url,name=url`, as etcd writes a member.
fn entry_text(name: &str, advertised: &[String]) -> String {
    let urls: BTreeSet<_> = advertised.iter().collect();
    urls.into_iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(",")
}

/// The first ones, of whom the cluster consists, in the order of their coming; `None` where they are all there and this one is
/// not among them.
fn first(entered: &[Entered], size: usize, own: MemberId) -> Option<Vec<Entered>> {
    let mut in_order = entered.to_vec();
    in_order.sort_by_key(|entered| entered.created);
    in_order.truncate(size);
    let is_there = in_order.iter().any(|entered| entered.is_of(own));
    (is_there || in_order.len() < size).then_some(in_order)
}

/// The members that these entries name.
fn entries(url: &str, size: usize, entered: &[Entered]) -> Result<Vec<Entry>, DiscoveryError> {
    let mut entries = Vec::with_capacity(size);
    for Entered { key, value, .. } in entered {
        let bad = |problem: String| DiscoveryError::BadEntry { key: key.clone(), value: value.clone(), problem };
        for part in value.split(',') {
            let (name, member_url) = part.split_once('=').ok_or_else(|| bad("it is not NAME=URL".to_owned()))?;
            entries.push(Entry { name: name.to_owned(), url: peer_url(member_url).map_err(bad)? });
        }
    }
    let names = entries.iter().map(|entry| &entry.name).collect::<BTreeSet<_>>().len();
    if names != size {
        return Err(DiscoveryError::SameName { url: url.to_owned(), names, size });
    }
    Ok(entries)
}

impl Entered {
    fn is_of(&self, id: MemberId) -> bool {
        self.key.rsplit('/').next() == Some(id.to_string().as_str())
    }
}

impl<'a> Roster<'a> {
    fn new(url: &'a str) -> Result<Self, DiscoveryError> {
        let built =
            Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).connect_timeout(ANSWER).build();
        built
            .map(|http| Self { http, url: url.trim_end_matches('/') })
            .map_err(|error| DiscoveryError::NoClient { problem: error.to_string() })
    }

    /// How many members the cluster is to have.
    async fn size(&self) -> Result<usize, DiscoveryError> {
        let answer = self.ask("/_config/size?quorum=true", None).await?;
        let url = || self.url.to_owned();
        if answer.error_code() == Some(KEY_NOT_FOUND) {
            return Err(DiscoveryError::NoSize { url: url() });
        }
        let value = answer.node("value").and_then(Value::as_str).ok_or_else(|| self.strange(&answer))?;
        let size = value.parse().ok().filter(|size| (1..=MAX_VOTERS).contains(size));
        size.ok_or_else(|| DiscoveryError::BadSize { url: url(), value: value.chars().take(32).collect() })
    }

    /// Who is there.
    async fn read(&self) -> Result<Directory, DiscoveryError> {
        let answer = self.ask("?quorum=true", None).await?;
        if answer.node("dir") != Some(&Value::Bool(true)) {
            return Err(self.strange(&answer));
        }
        let nodes = answer.node("nodes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = |node: &Value, name: &str| node.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let entered = nodes.iter().map(|node| Entered {
            key: text(node, "key"),
            value: text(node, "value"),
            created: node.get("createdIndex").and_then(Value::as_u64).unwrap_or_default(),
        });
        Ok(Directory {
            entered: entered.filter(|entered| !entered.key.ends_with("/_config")).collect(),
            index: answer.index,
        })
    }

    /// Enters this member. That it is there already, as it is, is no failure: it was ended before it had anything on its disk.
    async fn enter(&self, id: MemberId, own: &str) -> Result<(), DiscoveryError> {
        let form = format!("value={}", utf8_percent_encode(own, NON_ALPHANUMERIC));
        let answer = self.ask(&format!("/{id}?prevExist=false"), Some(form)).await?;
        match answer.status {
            StatusCode::CREATED => {
                tracing::info!(member = %id, url = self.url, "this member has entered itself for discovery");
            }
            _ if answer.error_code() == Some(NODE_EXIST) => {
                let found = self.ask(&format!("/{id}?quorum=true"), None).await?;
                let found = found.node("value").and_then(Value::as_str).unwrap_or_default().to_owned();
                if found != own {
                    return Err(DiscoveryError::Taken { url: self.url.to_owned(), id, found, own: own.to_owned() });
                }
                tracing::info!(member = %id, url = self.url, "this member was entered for discovery before");
            }
            _ => return Err(self.strange(&answer)),
        }
        Ok(())
    }

    /// Waits until all are there.
    async fn wait(&self, size: usize, own: MemberId) -> Result<Vec<Entered>, DiscoveryError> {
        let mut told = None;
        loop {
            let directory = self.read().await?;
            let Some(entered) = first(&directory.entered, size, own) else {
                return Err(DiscoveryError::Full { url: self.url.to_owned(), size });
            };
            if entered.len() >= size {
                return Ok(entered);
            }
            if told.replace(entered.len()) != Some(entered.len()) {
                let there: Vec<_> = entered.iter().map(|entered| entered.value.as_str()).collect();
                tracing::info!(
                    "{} of {size} members are there ({}); waiting for the others",
                    there.len(),
                    there.join(" ")
                );
            }
            self.listen(directory.index + 1).await;
        }
    }

    /// Waits for a change in the directory, or for as long as is waited for one. Whatever comes, the directory is read anew.
    async fn listen(&self, index: u64) {
        let url = format!("{}?wait=true&recursive=true&waitIndex={index}", self.url);
        let change = async { bounded(self.http.get(url).send().await.map_err(|error| cause(&error))?).await };
        if timeout(LOOK_AGAIN, change).await.is_ok_and(|changed| changed.is_err()) {
            sleep(PAUSE).await;
        }
        sleep(WAIT_PAUSE).await;
    }

    /// Asks the service, again while it gives no answer.
    async fn ask(&self, path: &str, form: Option<String>) -> Result<Answer, DiscoveryError> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            let problem = match timeout(ANSWER, self.attempt(path, form.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(problem)) => problem,
                Err(_) => format!("it takes longer than {ANSWER:?}"),
            };
            if begun.elapsed() > PATIENCE {
                return Err(DiscoveryError::Gone { url: self.url.to_owned(), problem });
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(url = self.url, %problem, "the discovery service gives no answer; it is asked again");
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks once. The error may be another time's success.
    async fn attempt(&self, path: &str, form: Option<String>) -> Result<Answer, String> {
        let url = format!("{}{path}", self.url);
        let request = match form {
            Some(form) => {
                let kind = (reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
                self.http.put(url).header(kind.0, kind.1).body(form)
            }
            None => self.http.get(url),
        };
        let response = request.send().await.map_err(|error| cause(&error))?;
        let status = response.status();
        let index = response.headers().get("x-etcd-index").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = bounded(response).await?;
        if status.is_server_error() {
            return Err(format!("it answers {}", shown(status, &body)));
        }
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { status, index: index.unwrap_or_default(), body: json })
    }

    fn strange(&self, answer: &Answer) -> DiscoveryError {
        let said = answer.body.get("message").and_then(Value::as_str).unwrap_or("nothing that etcd would");
        DiscoveryError::Strange { url: self.url.to_owned(), answer: shown(answer.status, said.as_bytes()) }
    }
}

impl Answer {
    /// A member of the node that is told of.
    fn node(&self, name: &str) -> Option<&Value> {
        self.body.get("node")?.get(name)
    }

    fn error_code(&self) -> Option<u64> {
        self.body.get("errorCode")?.as_u64()
    }
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
        if body.len() + chunk.len() > MAX_DISCOVERY_BYTES {
            return Err(format!("its answer has more than {MAX_DISCOVERY_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn shown(status: StatusCode, body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).trim().chars().take(120).collect();
    format!("{}: {text}", status.as_u16())
}

/// The innermost reason of a request that failed: the outer ones repeat the URL and say little.
#[must_use]
pub fn cause(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(id: u64, created: u64, value: &str) -> Entered {
        Entered { key: format!("/r/{id:x}"), value: value.to_owned(), created }
    }

    fn at_first(all: &[Entered], size: usize, own: u64) -> Option<Vec<u64>> {
        first(all, size, MemberId(own)).map(|first| first.iter().map(|entered| entered.created).collect())
    }

    #[test]
    fn the_first_to_come_are_the_cluster_whatever_the_order_of_their_ids() {
        let all = [entered(0x1f, 9, ""), entered(0x2f, 7, ""), entered(0x3f, 8, "")];
        assert_eq!(at_first(&all, 3, 0x1f), Some(vec![7, 8, 9]));
        assert_eq!(at_first(&all, 2, 0x3f), Some(vec![7, 8]));
        assert_eq!(at_first(&all, 2, 0x1f), None, "it came third");
        assert_eq!(at_first(&all, 3, 0x4f), None, "it is not there, and all are");
        assert_eq!(at_first(&all, 4, 0x4f), Some(vec![7, 8, 9]), "there is room");
    }

    #[test]
    fn entries_are_read_as_etcd_writes_them() {
        let read = |values: &[&str], size| {
            let entered: Vec<_> = values.iter().map(|value| entered(1, 1, value)).collect();
            entries("http://d/x", size, &entered).map_err(|error| error.to_string())
        };
        let urls = ["http://b:1".to_owned(), "http://a:1".to_owned()];
        assert_eq!(entry_text("n1", &urls), "n1=http://a:1,n1=http://b:1");
        let found = read(&["n1=http://a:1,n1=http://b:1", "n2=http://c:1"], 2).unwrap();
        let texts: Vec<_> = found.iter().map(Entry::to_string).collect();
        assert_eq!(texts, ["n1=http://a:1", "n1=http://b:1", "n2=http://c:1"]);
        let error = read(&["n1=http://a:1", "n1=http://c:1"], 2).unwrap_err();
        assert!(error.contains("1 name stands for 2 members"), "{error}");
        for bad in ["http://a:1", "n1=https://a:1", "n1=a"] {
            assert!(read(&[bad], 1).unwrap_err().contains("is no member"), "{bad}");
        }
    }
}
