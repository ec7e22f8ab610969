//! `vardr watch`: one line per event, and no event lost or repeated when a connection breaks.
//!
//! Reads the NDJSON carrier. The resume point moves only where the server gives one (`resume`, on the last event of a
//! revision), so that a transaction is never cut in two.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use url::Url;

use super::args::Watch;
use super::client::{Client, Request};
use super::exit::{Exit, Failure, Outcome};
use super::item;
use super::output::{Output, member};
use super::route::{self, Route};

/// The longest line of an event: the largest value twice (with `prev`), escaped, and room to spare.
const MAX_LINE: usize = 64 * 1024 * 1024;
/// The pauses between rounds over all endpoints.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LAST_PAUSE: Duration = Duration::from_secs(2);
/// The server writes at least every 15 s, if only a sign of life.
pub(super) const SILENCE: Duration = Duration::from_secs(45);

/// Where a watch stands.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Everything up to this revision was seen.
    after: Option<u64>,
    /// Whether the present state is still wanted first.
    initial: bool,
    /// Events still wanted.
    left: u64,
    /// Events shown since the last resume point: they come again when the connection breaks, and are passed over.
    unsettled: u64,
    /// Events to pass over because they were shown before.
    repeated: u64,
}

/// Why a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As many events as were asked for.
    Done,
    /// Connect again and resume.
    Resume,
}

/// What is followed: where it is, and how it is shown.
pub(crate) trait Subject {
    /// Where to go on after a revision, or to begin with the present state, or with neither from now on.
    fn route(&self, after: Option<u64>, initial: bool) -> Route;
    /// Whether a message of this type is an event, and not about the stream.
    fn is_event(&self, kind: &str) -> bool;
    /// An event for people.
    fn text(&self, out: &Output, event: &Value, kind: &str) -> String;
}

/// A key, or what is in a directory.
struct Keys<'a> {
    args: &'a Watch,
    key: Vec<u8>,
}

impl Subject for Keys<'_> {
    fn route(&self, after: Option<u64>, initial: bool) -> Route {
        let args = self.args;
        let events = (!args.events.is_empty()).then(|| args.events.join(","));
        Route::of_key("/v1/watch", &self.key)
            .optional("after", after.filter(|_| !initial))
            .switch("initial", initial)
            .switch("children", args.children)
            .switch("prevValue", args.prev)
            .optional("events", events)
            .optional("onCompacted", args.reset.then_some("reset"))
    }

    fn is_event(&self, kind: &str) -> bool {
        matches!(kind, "put" | "delete" | "expire")
    }

    fn text(&self, out: &Output, event: &Value, kind: &str) -> String {
        let revision = out.faint(&format!("{:>8}", member(event, "modRevision")));
        let key = item::name(event, "key").unwrap_or_default();
        format!("{revision} {} {key} {}", out.kind(kind), item::text(event, "value"))
    }
}

pub(crate) async fn watch(client: &Client, out: &Output, args: &Watch) -> Outcome<()> {
    let subject = Keys { args, key: route::argument(&args.key)? };
    follow_on(client, out, &subject, Progress::new(args.after, args.initial, args.limit)).await
}

/// Follows until it is stopped, or has shown as much as was asked for, over as many connections as it takes.
pub(crate) async fn follow_on(
    client: &Client,
    out: &Output,
    subject: &impl Subject,
    mut progress: Progress,
) -> Outcome<()> {
    over_connections(client, async |endpoint| follow(client, endpoint, out, subject, &mut progress).await).await
}

/// Opens connections, one after the other, until one says that all is done. `follow` follows one to its end, and also tells
/// whether anything came over it.
///
/// # Errors
/// Whatever cannot be mended by another connection, and that no endpoint could ever be reached.
pub(super) async fn over_connections(
    client: &Client,
    mut follow: impl AsyncFnMut(&Url) -> Outcome<(End, bool)>,
) -> Outcome<()> {
    let mut pause = FIRST_PAUSE;
    let mut connected = false;
    loop {
        for endpoint in client.endpoints() {
            match follow(endpoint).await {
                Ok((End::Done, _)) => return Ok(()),
                Ok((End::Resume, seen)) => {
                    connected = true;
                    if seen {
                        pause = FIRST_PAUSE;
                    }
                }
                Err(failure) if failure.exit() == Exit::Unavailable => {
                    // An endpoint never reached is a mistake more likely than an outage, unless another one works.
                    if !connected && client.endpoints().last() == Some(endpoint) {
                        return Err(failure);
                    }
                    eprintln!("vardr: {failure}");
                }
                Err(failure) => return Err(failure),
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Follows one connection to its end; also tells whether anything came over it.
async fn follow(
    client: &Client,
    endpoint: &Url,
    out: &Output,
    subject: &impl Subject,
    progress: &mut Progress,
) -> Outcome<(End, bool)> {
    let request = Request::get(progress.route(subject)).accept("application/x-ndjson");
    let response = client.open_at(endpoint, &request).await?;
    if progress.after.is_none() && !progress.initial {
        let revision = response.headers().get("vardr-revision");
        progress.after = revision.and_then(|value| value.to_str().ok()?.parse().ok());
    }
    progress.begin_connection();
    let mut lines = Lines::default();
    let mut stream = response.bytes_stream();
    let mut seen = false;
    while let Ok(Some(Ok(chunk))) = tokio::time::timeout(SILENCE, stream.next()).await {
        seen = true;
        lines.push(&chunk)?;
        while let Some(line) = lines.next() {
            if let Some(end) = progress.take(subject, out, &line)? {
                return Ok((end, seen));
            }
        }
    }
    Ok((End::Resume, seen))
}

impl Progress {
    /// Nothing seen yet: to begin after a revision, with the present state, or from now on; to end after so many events.
    pub(crate) fn new(after: Option<u64>, initial: bool, limit: Option<u64>) -> Self {
        Self { after, initial, left: limit.unwrap_or(u64::MAX), unsettled: 0, repeated: 0 }
    }

    fn route(&self, subject: &impl Subject) -> Route {
        subject.route(self.after, self.initial)
    }

    fn begin_connection(&mut self) {
        // The present state is told anew from its beginning, but a revision that broke off is told again.
        self.repeated = if self.initial { 0 } else { self.unsettled };
        self.unsettled = 0;
    }

    /// Takes one line of the stream.
    fn take(&mut self, subject: &impl Subject, out: &Output, line: &[u8]) -> Outcome<Option<End>> {
        let event: Value = item::read(line)?;
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let id = event.get("resume").and_then(Value::as_u64);
        match kind {
            kind if subject.is_event(kind) => self.event(subject, out, &event, line, kind)?,
            "synced" => {
                self.initial = false;
                show_mark(out, &event, line, kind)?;
            }
            "reset" => {
                self.initial = true;
                show_mark(out, &event, line, kind)?;
            }
            "compacted" => {
                let oldest = member(&event, "compactRevision");
                return Err(Failure::failed(format!(
                    "the past to resume from was compacted; the oldest revision left is {oldest}: see --reset, --initial"
                )));
            }
            "lagging" => {
                self.after = id.or(self.after);
                return Ok(Some(End::Resume));
            }
            "error" => {
                let problem = event.get("problem").map_or_else(String::new, |problem| member(problem, "detail"));
                eprintln!("vardr: the watch broke off: {problem}");
                return Ok(Some(End::Resume));
            }
            // Signs of life and progress, and whatever a later server adds.
            _ => {}
        }
        if let Some(id) = id.filter(|_| !self.initial) {
            self.after = Some(id);
            self.unsettled = 0;
            self.repeated = 0;
        }
        Ok((self.left == 0).then_some(End::Done))
    }

    fn event(&mut self, subject: &impl Subject, out: &Output, event: &Value, line: &[u8], kind: &str) -> Outcome<()> {
        self.unsettled += 1;
        if self.repeated > 0 {
            self.repeated -= 1;
            return Ok(());
        }
        self.left -= 1;
        if out.is_json() {
            return out.line(line);
        }
        out.line(subject.text(out, event, kind).trim_end())
    }
}

/// A line that is no event: the state is whole, or begins anew.
fn show_mark(out: &Output, event: &Value, line: &[u8], kind: &str) -> Outcome<()> {
    if out.is_json() {
        return out.line(line);
    }
    let revision = member(event, "revision");
    out.line(out.faint(&format!("{revision:>8} -- {kind} --")))
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
    /// How far `pending` was searched in vain.
    searched: usize,
}

impl Lines {
    pub(super) fn push(&mut self, chunk: &[u8]) -> Outcome<()> {
        if self.pending.len() + chunk.len() > MAX_LINE {
            return Err(Failure::failed("the server sent a line that is too long"));
        }
        self.pending.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole line that is not blank, without its line break.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let found = self.pending.iter().skip(self.searched).position(|byte| *byte == b'\n');
            let Some(at) = found.map(|offset| self.searched + offset) else {
                self.searched = self.pending.len();
                return None;
            };
            let rest = self.pending.split_off(at + 1);
            let mut line = std::mem::replace(&mut self.pending, rest);
            self.searched = 0;
            line.truncate(line.trim_ascii_end().len());
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Arguments, Command};
    use crate::cli::output::Format;
    use clap::Parser;

    fn new(args: &Watch) -> Progress {
        Progress::new(args.after, args.initial, args.limit)
    }

    fn route(progress: &Progress, args: &Watch, key: &str) -> Route {
        progress.route(&Keys { args, key: key.into() })
    }

    fn args(line: &str) -> Watch {
        match Arguments::try_parse_from(line.split(' ')).unwrap().command {
            Some(Command::Watch(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    fn take(progress: &mut Progress, line: &str) -> Option<End> {
        let keys = Keys { args: &args("vardr watch /a/"), key: Vec::new() };
        progress.take(&keys, &Output::new(Format::Json), line.as_bytes()).unwrap()
    }

    #[test]
    fn lines_are_found_whatever_the_chunks() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in ["{\"a\"", ":1}\n", "\n{}\r\n{\"b", "\":2}\n"] {
            lines.push(chunk.as_bytes()).unwrap();
            while let Some(line) = lines.next() {
                found.push(String::from_utf8(line).unwrap());
            }
        }
        assert_eq!(found, ["{\"a\":1}", "{}", "{\"b\":2}"]);
    }

    #[test]
    fn the_resume_point_lies_between_revisions() {
        let args = args("vardr watch /a/ --after 4");
        let mut progress = new(&args);
        take(&mut progress, r#"{"type":"put","key":"/a/1","modRevision":5}"#);
        assert_eq!(progress.after, Some(4), "the revision is not whole yet");
        take(&mut progress, r#"{"type":"put","key":"/a/2","modRevision":5,"resume":5}"#);
        assert_eq!(progress.after, Some(5));
        assert_eq!(route(&progress, &args, "/a/").as_str(), "/v1/watch/a/?after=5");
    }

    #[test]
    fn events_of_a_revision_that_broke_off_are_shown_once() {
        let args = args("vardr watch /a/ --after 4 --limit 2");
        let mut progress = new(&args);
        let first = r#"{"type":"put","key":"/a/1","modRevision":5}"#;
        assert_eq!(take(&mut progress, first), None);
        progress.begin_connection();
        assert_eq!(take(&mut progress, first), None);
        assert_eq!(progress.left, 1);
        assert_eq!(take(&mut progress, r#"{"type":"put","key":"/a/2","modRevision":5,"resume":5}"#), Some(End::Done));
    }

    #[test]
    fn progress_moves_a_quiet_watch_and_lagging_resumes_it() {
        let args = args("vardr watch /a --after 4");
        let mut progress = new(&args);
        take(&mut progress, r#"{"type":"progress","revision":9,"resume":9}"#);
        assert_eq!(progress.after, Some(9));
        assert_eq!(take(&mut progress, r#"{"type":"lagging","resumeAfter":7,"resume":7}"#), Some(End::Resume));
        assert_eq!(progress.after, Some(7));
    }

    #[test]
    fn the_present_state_comes_first_until_it_is_whole() {
        let args = args("vardr watch /a/ --initial");
        let mut progress = new(&args);
        assert_eq!(route(&progress, &args, "/a/").as_str(), "/v1/watch/a/?initial=true");
        take(&mut progress, r#"{"type":"put","key":"/a/1","modRevision":3}"#);
        assert!(progress.initial);
        take(&mut progress, r#"{"type":"synced","revision":8,"resume":8}"#);
        assert_eq!(route(&progress, &args, "/a/").as_str(), "/v1/watch/a/?after=8");
    }
}
