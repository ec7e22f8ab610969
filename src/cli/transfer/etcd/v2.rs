//! etcd's v2 API: each directory by itself, so that no answer holds more than the keys directly in it, and a few at once.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Answer, Read, Source, Trouble};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::route::{self, Route};
use crate::cli::transfer::batch::{Life, Step, Write};
use crate::cli::transfer::counted;
use crate::cli::transfer::document::Leaf;
use crate::model::node::is_segment;

const KEYS: &str = "/v2/keys";
/// The directories that are read at once. As many answers are held in memory, with what is made of them.
const READS: usize = 4;
/// The directories that are named where not all could be read.
const NAMED: usize = 5;
/// etcd's error code for a key that is not there.
const KEY_NOT_FOUND: u64 = 100;

/// The steps that bring over what is at and below `prefix`, or everything.
///
/// # Errors
/// A source that is no etcd, has no v2 API, or has nothing there.
pub(crate) async fn v2(
    url: &str,
    prefix: Option<&OsStr>,
    patience: Duration,
) -> Outcome<impl Stream<Item = Step> + use<>> {
    let top = directory(prefix)?;
    let source = Source::open(url, patience).await?;
    let mut reader = Reader { source, unread: Vec::new(), first: 0, last: 0, ended: false, unreadable: 0 };
    let begun = reader.begin(&top).await?;
    let rest = stream::unfold(reader, |mut reader| async move {
        let steps = reader.next().await?;
        Some((stream::iter(steps), reader))
    });
    Ok(stream::iter(begun).chain(rest.flatten()))
}

/// The key that the walk begins at, without its slash; empty for everything.
fn directory(prefix: Option<&OsStr>) -> Outcome<String> {
    let bytes = prefix.map(OsStr::as_bytes).unwrap_or_default();
    let refuse = || Failure::usage(format!("`{}` is no path of etcd's v2 API, such as /app", bytes.escape_ascii()));
    let text = std::str::from_utf8(bytes).map_err(|_| refuse())?.trim_matches('/');
    if text.is_empty() {
        return Ok(String::new());
    }
    if !text.split('/').all(|name| is_segment(name.as_bytes())) {
        return Err(refuse());
    }
    Ok(format!("/{text}"))
}

#[derive(Debug, Deserialize)]
struct Listing {
    node: Node,
}

/// A key or a directory; its own nodes are there where it was asked for itself.
#[derive(Debug, Deserialize)]
struct Node {
    /// Empty for the root.
    #[serde(default)]
    key: String,
    #[serde(default)]
    dir: bool,
    #[serde(default)]
    value: String,
    /// In seconds, rounded up. etcd leaves 0 out, and goes below it while a node that ran out waits to be deleted.
    #[serde(default)]
    ttl: i64,
    /// When it runs out, by etcd's clock: all that matters is whether it does.
    expiration: Option<IgnoredAny>,
    #[serde(default)]
    nodes: Vec<Node>,
}

impl Node {
    /// Until when it lives; `None` where that is over.
    fn life(&self) -> Option<Life> {
        let seconds = u64::try_from(self.ttl).unwrap_or(0);
        if seconds == 0 {
            return (self.ttl == 0 && self.expiration.is_none()).then_some(Life::Endless);
        }
        Some(Instant::now().checked_add(Duration::from_secs(seconds)).map_or(Life::Endless, Life::Until))
    }
}

/// A walk over the directories.
#[derive(Debug)]
struct Reader {
    source: Source,
    /// Directories still to be read, without their slash; the next one last.
    unread: Vec<String>,
    /// etcd's index at the first and at the latest answer.
    first: u64,
    last: u64,
    ended: bool,
    /// Values in which etcd put U+FFFD where there were other bytes.
    unreadable: u64,
}

impl Reader {
    /// Reads the top. A read through the log of the cluster, so that what this member has by now is no older.
    async fn begin(&mut self, top: &str) -> Outcome<Vec<Step>> {
        let path = Route::of_key(KEYS, top.as_bytes()).parameter("quorum", "true");
        let path = if top.is_empty() { format!("{KEYS}/?quorum=true") } else { path.as_str().to_owned() };
        let answer = self.source.read(&Read::get(&path)).await.map_err(|trouble| self.source.unavailable(&trouble))?;
        let base = &self.source.base;
        match (answer.status, answer.error_code()) {
            (StatusCode::OK, _) => {}
            (StatusCode::NOT_FOUND, Some(KEY_NOT_FOUND)) => {
                return Err(Failure::new(Exit::NotFound, format!("{base} has no key {top}")));
            }
            (StatusCode::NOT_FOUND, _) => {
                let hint = "etcd 3.4 and 3.5 have it with --enable-v2, later ones not at all";
                return Err(Failure::usage(format!("{base} has no v2 API: {hint}")));
            }
            (_, _) => return Err(self.source.refused(&answer)),
        }
        let listing = self.take(&answer).map_err(Failure::usage)?;
        self.first = self.last;
        let mut steps = Vec::with_capacity(listing.node.nodes.len() + 1);
        if !listing.node.key.is_empty() {
            steps.push(self.step(&listing.node));
        }
        if listing.node.life().is_some() {
            self.children(listing.node.nodes, &mut steps);
        }
        Ok(steps)
    }

    /// The steps of the next directories; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Step>> {
        if self.ended {
            return None;
        }
        let directories = self.unread.split_off(self.unread.len().saturating_sub(READS));
        if directories.is_empty() {
            self.ended = true;
            return Some(self.notes());
        }
        let paths: Vec<_> = directories.iter().map(|name| Route::of_key(KEYS, name.as_bytes())).collect();
        let reads = paths.iter().map(|path| async { self.source.read(&Read::get(path.as_str())).await });
        let answers = join_all(reads).await;
        let (mut steps, mut gone) = (Vec::new(), None);
        for (directory, answer) in directories.into_iter().zip(answers) {
            match answer {
                Ok(answer) if answer.status == StatusCode::OK => match self.take(&answer) {
                    Ok(listing) => self.children(listing.node.nodes, &mut steps),
                    Err(why) => steps.push(Step::Failed(format!("{directory}/"), why)),
                },
                // It was deleted, or ran out.
                Ok(answer) if answer.error_code() == Some(KEY_NOT_FOUND) => {}
                Ok(answer) => steps.push(Step::Failed(format!("{directory}/"), answer.told())),
                Err(trouble @ Trouble::TooLarge) => {
                    steps.push(Step::Failed(format!("{directory}/"), trouble.to_string()));
                }
                Err(Trouble::Gone(why)) => {
                    gone = Some(why);
                    self.unread.push(directory);
                }
            }
        }
        if let Some(why) = gone {
            self.ended = true;
            steps.push(Step::Failed(self.source.base.clone(), self.broken(&why)));
            steps.extend(self.notes());
        }
        Some(steps)
    }

    /// What is in an answer.
    fn take(&mut self, answer: &Answer) -> Result<Listing, String> {
        let index = answer.headers.get("x-etcd-index").and_then(|value| value.to_str().ok()?.parse().ok());
        self.last = self.last.max(index.unwrap_or_default());
        serde_json::from_slice(&answer.body).map_err(|error| format!("the answer cannot be read: {error}"))
    }

    fn children(&mut self, nodes: Vec<Node>, steps: &mut Vec<Step>) {
        for node in nodes {
            steps.push(self.step(&node));
            if node.dir && node.life().is_some() {
                self.unread.push(node.key);
            }
        }
    }

    fn step(&mut self, node: &Node) -> Step {
        let mut key = node.key.clone().into_bytes();
        if node.dir {
            key.push(b'/');
        }
        let Some(life) = node.life() else { return Step::Skipped(route::shown(&key), "its time is over".to_owned()) };
        if node.value.contains(char::REPLACEMENT_CHARACTER) || node.key.contains(char::REPLACEMENT_CHARACTER) {
            self.unreadable += 1;
        }
        let leaf = if node.dir { Leaf::Directory } else { Leaf::Bytes(node.value.clone().into_bytes()) };
        Step::Write(Write { key, leaf, life })
    }

    /// What is missing when the source is gone.
    fn broken(&self, why: &str) -> String {
        let named: Vec<_> = self.unread.iter().rev().take(NAMED).map(|name| format!("{name}/")).collect();
        let more = match self.unread.len() - named.len() {
            0 => String::new(),
            more => format!(" and {}", counted(more as u64, "more directory", "more directories")),
        };
        format!(
            "can be read no longer ({why}); what is in {}{more} is missing; what was read is written",
            named.join(", ")
        )
    }

    fn notes(&self) -> Vec<Step> {
        let hidden = "hidden keys (_name) are in no listing of etcd v2: name their directory as PREFIX to have them";
        let mut notes = vec![Step::Note(hidden.to_owned())];
        if self.last > self.first {
            let Self { first, last, .. } = self;
            notes.push(Step::Note(format!(
                "the cluster was written to meanwhile (index {first} to {last}): what came is partly here; import again when it rests"
            )));
        }
        if self.unreadable > 0 {
            notes.push(Step::Note(format!(
                "{} U+FFFD, which is also what etcd v2 shows for bytes that are not UTF-8",
                counted(self.unreadable, "key or value has", "keys or values have")
            )));
        }
        notes
    }
}

impl Answer {
    /// etcd's own code of an error of the v2 API.
    fn error_code(&self) -> Option<u64> {
        serde_json::from_slice::<serde_json::Value>(&self.body).ok()?.get("errorCode")?.as_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_path_with_or_without_slashes_around_it() {
        let directory = |text: &str| directory(Some(OsStr::new(text)));
        assert_eq!([directory("/").unwrap(), directory("").unwrap()], ["", ""]);
        assert_eq!([directory("/a/_b/").unwrap(), directory("a").unwrap()], ["/a/_b", "/a"]);
        for text in ["/a//b", "/a/../b", "."] {
            assert_eq!(directory(text).unwrap_err().exit(), Exit::Usage, "{text}");
        }
    }

    #[test]
    fn a_node_that_runs_out_without_time_left_is_over() {
        let life = |json: &str| serde_json::from_str::<Node>(json).unwrap().life();
        assert_eq!(life(r#"{"key":"/a"}"#), Some(Life::Endless));
        assert!(matches!(life(r#"{"expiration":"2026-01-01T00:00:00Z","ttl":7}"#), Some(Life::Until(_))));
        for over in [r#"{"expiration":"2026-01-01T00:00:00Z"}"#, r#"{"expiration":"2026-01-01T00:00:00Z","ttl":-2}"#] {
            assert_eq!(life(over), None, "{over}");
        }
    }
}
