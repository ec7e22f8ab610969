//! Keys to write, gathered into transactions of bounded size, several under way at once.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, Method};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::Report;
use super::document::Leaf;
use crate::cli::args::Import;
use crate::cli::client::{Client, Request};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::keys::KEYS;
use crate::cli::output::Output;
use crate::cli::route::{self, Route};
use crate::model::limits::{MAX_KEY_BYTES, MAX_TXN_OPS};

/// A transaction is sent when its JSON reaches this many bytes; a larger value travels alone, as it is.
const MAX_TXN_BYTES: usize = 1024 * 1024;
/// Requests under way at once: enough to share each fsync, few enough to bound memory.
pub(super) const CONCURRENCY: usize = 8;
/// What a key gets that should be gone by now: it is written, and goes.
const SHORTEST_LIFE: Duration = Duration::from_millis(1);

/// One key to write.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: Vec<u8>,
    pub(super) leaf: Leaf,
    pub(super) life: Life,
}

/// How long a key lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Life {
    /// Until somebody deletes it.
    Endless,
    /// Until then, with a lease of its own.
    Until(Instant),
    /// As long as this lease of the server's.
    Lease(String),
}

impl Write {
    /// A key without an end.
    pub(super) fn new(key: Vec<u8>, leaf: Leaf) -> Self {
        Self { key, leaf, life: Life::Endless }
    }

    /// How many keys, directories and bytes of values it is.
    fn size(&self) -> (u64, u64, u64) {
        match &self.leaf {
            Leaf::Directory => (0, 1, 0),
            Leaf::Json(text) => (1, 0, text.len() as u64),
            Leaf::Bytes(bytes) => (1, 0, bytes.len() as u64),
        }
    }
}

/// The parameter that says how long a key lives, by the name and form that requests and operations share.
fn lifetime(life: &Life) -> Option<(&'static str, String)> {
    match life {
        Life::Endless => None,
        Life::Until(end) => {
            let left = end.saturating_duration_since(Instant::now()).max(SHORTEST_LIFE);
            Some(("ttl", format!("{}ms", left.as_millis())))
        }
        Life::Lease(id) => Some(("lease", id.clone())),
    }
}

/// One step of an import.
#[derive(Debug)]
pub(super) enum Step {
    Write(Write),
    Skipped(String, String),
    Failed(String, String),
    /// A lease was granted.
    Leased,
    /// Something to say at the end.
    Note(String),
}

/// What is sent at once: several keys in a transaction, or one too large for that.
#[derive(Debug)]
struct Batch {
    writes: Vec<Write>,
    request: Request,
}

/// Carries the steps out, and counts them in the report. The next steps are asked for while earlier ones are under way.
///
/// # Errors
/// When the server cannot be reached or serve.
pub(super) async fn send_all(
    client: &Client,
    out: &Output,
    args: &Import,
    steps: impl Stream<Item = Step>,
    report: &mut Report,
    bar: &ProgressBar,
) -> Outcome<()> {
    let mut batches = Box::pin(batches(steps, report));
    if args.dry_run {
        while let Some(batch) = batches.next().await {
            for write in batch.writes.iter().filter(|_| !out.is_json()) {
                out.line(format!("put {}", route::shown(&write.key)))?;
            }
        }
        return Ok(());
    }
    let mut refused = Vec::new();
    let mut answers = batches.map(|batch| send(client, batch, bar)).buffer_unordered(CONCURRENCY);
    while let Some(failed) = answers.next().await {
        refused.extend(failed?);
    }
    drop(answers);
    for (write, failure) in refused {
        let (keys, directories, bytes) = write.size();
        report.keys -= keys;
        report.directories -= directories;
        report.bytes -= bytes;
        let left_out = (route::shown(&write.key), failure.to_string());
        if is_over(&write, &failure) {
            report.skipped.push((left_out.0, "its lease is over".to_owned()));
        } else {
            report.failed.push(left_out);
        }
    }
    Ok(())
}

/// Whether a key was refused because its lease ran out on the way, as it would have where it came from.
fn is_over(write: &Write, failure: &Failure) -> bool {
    matches!(write.life, Life::Lease(_)) && failure.code() == "lease_not_found"
}

/// Sends a batch; gives what the server refuses. A transaction that is refused says nothing of each of its keys, so
/// they are sent one by one.
async fn send(client: &Client, batch: Batch, bar: &ProgressBar) -> Outcome<Vec<(Write, Failure)>> {
    // Another key may be fine; a server that cannot be reached is not.
    let is_refusal = |failure: &Failure| {
        matches!(failure.exit(), Exit::Usage | Exit::Failure) || failure.code() == "lease_not_found"
    };
    let count = batch.writes.len() as u64;
    let failure = match client.send(&batch.request).await {
        Ok(_) => {
            bar.inc(count);
            return Ok(Vec::new());
        }
        Err(failure) if is_refusal(&failure) => failure,
        Err(failure) => return Err(failure),
    };
    let mut refused = Vec::new();
    if count == 1 {
        refused.extend(batch.writes.into_iter().next().map(|write| (write, failure)));
        return Ok(refused);
    }
    for write in batch.writes {
        match client.send(&alone(&write)).await {
            Ok(_) => bar.inc(1),
            Err(failure) if is_refusal(&failure) => refused.push((write, failure)),
            Err(failure) => return Err(failure),
        }
    }
    Ok(refused)
}

/// Steps gathered into requests.
struct Gathering<'a> {
    report: &'a mut Report,
    open: Vec<Write>,
    operations: Vec<Value>,
    open_bytes: usize,
    /// Made while a transaction was open, which goes first.
    large: Option<Batch>,
}

/// The requests that steps make, each as soon as it is full.
fn batches<'a>(steps: impl Stream<Item = Step> + 'a, report: &'a mut Report) -> impl Stream<Item = Batch> + 'a {
    let gathering = Gathering { report, open: Vec::new(), operations: Vec::new(), open_bytes: 0, large: None };
    stream::unfold((Box::pin(steps.fuse()), gathering), |(mut steps, mut gathering)| async move {
        loop {
            if let Some(batch) = gathering.large.take() {
                return Some((batch, (steps, gathering)));
            }
            let step = steps.next().await;
            let is_last = step.is_none();
            let batch = match step {
                Some(step) => gathering.take(step),
                None => gathering.close(),
            };
            match batch {
                Some(batch) => return Some((batch, (steps, gathering))),
                None if is_last => return None,
                None => {}
            }
        }
    })
}

impl Gathering<'_> {
    /// Takes one step in; gives what is full by it.
    fn take(&mut self, step: Step) -> Option<Batch> {
        let write = match step {
            Step::Write(write) if write.key.len() <= MAX_KEY_BYTES => write,
            Step::Write(write) => {
                let why = format!("the key is longer than {MAX_KEY_BYTES} bytes");
                self.report.failed.push((route::shown(&write.key), why));
                return None;
            }
            Step::Skipped(name, why) => {
                self.report.skipped.push((name, why));
                return None;
            }
            Step::Failed(name, why) => {
                self.report.failed.push((name, why));
                return None;
            }
            Step::Leased => {
                self.report.leases += 1;
                return None;
            }
            Step::Note(note) => {
                self.report.notes.push(note);
                return None;
            }
        };
        let (keys, directories, value_bytes) = write.size();
        self.report.keys += keys;
        self.report.directories += directories;
        self.report.bytes += value_bytes;
        let operation = operation(&write);
        let bytes = operation.to_string().len() + 1;
        if bytes > MAX_TXN_BYTES / 2 {
            let request = alone(&write);
            let alone = Batch { writes: vec![write], request };
            let Some(open) = self.close() else { return Some(alone) };
            self.large = Some(alone);
            return Some(open);
        }
        let full = self.open.len() == MAX_TXN_OPS || self.open_bytes + bytes > MAX_TXN_BYTES;
        let closed = if full { self.close() } else { None };
        self.open.push(write);
        self.operations.push(operation);
        self.open_bytes += bytes;
        closed
    }

    fn close(&mut self) -> Option<Batch> {
        if self.open.is_empty() {
            return None;
        }
        self.open_bytes = 0;
        let request = transaction(&std::mem::take(&mut self.operations));
        Some(Batch { writes: std::mem::take(&mut self.open), request })
    }
}

fn transaction(operations: &[Value]) -> Request {
    Request::json(Method::POST, Route::new("/v1/txn"), json!({"then": operations}).to_string())
}

/// A write as an operation of a transaction.
fn operation(write: &Write) -> Value {
    let mut put = match std::str::from_utf8(&write.key) {
        Ok(key) => json!({"key": key}),
        Err(_) => json!({"key64": route::key64(&write.key)}),
    };
    if let Some(put) = put.as_object_mut() {
        let (value, encoding) = match &write.leaf {
            Leaf::Directory => (Value::String(String::new()), "utf8"),
            Leaf::Json(text) => (serde_json::from_str(text).unwrap_or(Value::Null), "json"),
            Leaf::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => (text.into(), "utf8"),
                Err(_) => (STANDARD.encode(bytes).into(), "base64"),
            },
        };
        put.insert("value".to_owned(), value);
        put.insert("encoding".to_owned(), encoding.into());
        if encoding == "json" {
            put.insert("contentType".to_owned(), "application/json".into());
        }
        if let Some((name, value)) = lifetime(&write.life) {
            put.insert(name.to_owned(), value.into());
        }
    }
    json!({"put": put})
}

/// A write as a request of its own.
fn alone(write: &Write) -> Request {
    let mut route = Route::of_key(KEYS, &write.key);
    if let Some((name, value)) = lifetime(&write.life) {
        route = route.parameter(name, value);
    }
    match &write.leaf {
        // A directory with a value, as etcd v3 can have one, is nothing that a PUT can say.
        Leaf::Bytes(_) if write.key.ends_with(b"/") => transaction(&[operation(write)]),
        Leaf::Directory => Request::write(Method::PUT, route, Bytes::new()),
        Leaf::Json(text) => Request::json(Method::PUT, route, text.clone()),
        Leaf::Bytes(bytes) => {
            let mut request = Request::write(Method::PUT, route, bytes.clone());
            // Said to be nothing in particular, so that the value keeps no type: see the server's rule for curl.
            let none = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers.insert(http::header::CONTENT_TYPE, none);
            request
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: &[u8], leaf: Leaf) -> Write {
        Write::new(key.to_vec(), leaf)
    }

    async fn gathered(steps: Vec<Step>) -> (Vec<Batch>, Report) {
        let mut report = Report::default();
        let batches = batches(stream::iter(steps), &mut report).collect().await;
        (batches, report)
    }

    #[test]
    fn an_operation_says_how_to_read_key_and_value() {
        let shown = |key: &[u8], leaf| operation(&write(key, leaf)).to_string();
        assert_eq!(shown(b"/a", Leaf::Bytes(b"x".to_vec())), r#"{"put":{"key":"/a","value":"x","encoding":"utf8"}}"#);
        assert_eq!(
            shown(b"/\xff", Leaf::Bytes(vec![0xff, 0])),
            r#"{"put":{"key64":"L_8","value":"/wA=","encoding":"base64"}}"#
        );
        assert_eq!(
            shown(b"/a", Leaf::Json("1.50".to_owned())),
            r#"{"put":{"key":"/a","value":1.50,"encoding":"json","contentType":"application/json"}}"#
        );
        assert_eq!(shown(b"/a/", Leaf::Directory), r#"{"put":{"key":"/a/","value":"","encoding":"utf8"}}"#);
    }

    #[test]
    fn a_life_that_ends_is_said_in_either_form() {
        let end = Life::Until(Instant::now() + Duration::from_mins(1));
        let leased = Write { life: Life::Lease("7f".to_owned()), ..write(b"/a", Leaf::Bytes(b"x".to_vec())) };
        let ending = Write { life: end, ..write(b"/d/", Leaf::Directory) };
        let over = Write { life: Life::Until(Instant::now()), ..write(b"/a", Leaf::Directory) };
        assert_eq!(operation(&leased)["put"]["lease"], "7f");
        assert_eq!(alone(&leased).route.as_str(), "/v1/keys/a?lease=7f");
        let ttl = operation(&ending)["put"]["ttl"].as_str().unwrap().to_owned();
        assert!(ttl.starts_with("59") && ttl.ends_with("ms"), "{ttl}");
        assert_eq!(operation(&over)["put"]["ttl"], "1ms");
    }

    #[test]
    fn a_directory_with_a_value_travels_in_a_transaction() {
        let request = alone(&write(b"/d/", Leaf::Bytes(b"x".to_vec())));
        assert_eq!((request.method, request.route.as_str()), (Method::POST, "/v1/txn"));
    }

    #[tokio::test]
    async fn transactions_are_bounded_in_operations_and_bytes_and_lose_nothing() {
        let small = (0..300).map(|n| Step::Write(write(format!("/s/{n}").as_bytes(), Leaf::Bytes(vec![b'x']))));
        let medium =
            (0..10).map(|n| Step::Write(write(format!("/m/{n}").as_bytes(), Leaf::Bytes(vec![0xff; 200_000]))));
        let large = (0..2).map(|n| Step::Write(write(format!("/l/{n}").as_bytes(), Leaf::Bytes(vec![1; 900_000]))));
        let (batches, report) = gathered(small.chain(medium).chain(large).collect()).await;
        assert!(batches.iter().all(|batch| batch.writes.len() <= MAX_TXN_OPS));
        assert!(batches.iter().all(|batch| batch.request.body.len() <= MAX_TXN_BYTES + 16));
        let mut keys: Vec<_> = batches.iter().flat_map(|batch| &batch.writes).map(|write| write.key.clone()).collect();
        keys.sort();
        keys.dedup();
        assert_eq!((keys.len(), report.keys), (312, 312));
        let alone = batches.iter().filter(|batch| batch.request.method == Method::PUT);
        assert_eq!(alone.map(|batch| batch.request.body.len()).collect::<Vec<_>>(), [900_000, 900_000]);
    }

    #[tokio::test]
    async fn what_is_left_out_is_reported() {
        let (batches, report) = gathered(vec![
            Step::Skipped("a".to_owned(), "a symbolic link".to_owned()),
            Step::Failed("b".to_owned(), "cannot be read".to_owned()),
            Step::Write(write(&[b'x'; MAX_KEY_BYTES + 1], Leaf::Directory)),
        ])
        .await;
        assert!(batches.is_empty());
        assert_eq!((report.skipped.len(), report.failed.len()), (1, 2));
        assert_eq!(report.verdict().unwrap_err().exit(), Exit::Failure);
    }
}
