//! Import: from a directory or a document to keys, in transactions of bounded size, several at once.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Method};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::document::{self, Leaf};
use super::tree::{Found, Walk};
use super::{Language, Report, progress};
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
const CONCURRENCY: usize = 8;

/// One key to write.
#[derive(Debug)]
struct Write {
    key: Vec<u8>,
    leaf: Leaf,
}

impl Write {
    /// How many keys, directories and bytes of values it is.
    fn size(&self) -> (u64, u64, u64) {
        match &self.leaf {
            Leaf::Directory => (0, 1, 0),
            Leaf::Json(text) => (1, 0, text.len() as u64),
            Leaf::Bytes(bytes) => (1, 0, bytes.len() as u64),
        }
    }
}

/// What is sent at once: several keys in a transaction, or one too large for that.
#[derive(Debug)]
struct Batch {
    writes: Vec<Write>,
    request: Request,
}

pub(crate) async fn import(client: &Client, out: &Output, args: &Import) -> Outcome<()> {
    let prefix = route::directory(&args.prefix);
    let mut report = Report::default();
    let metadata = fs::metadata(&args.source).map_err(|error| Failure::io(args.source.display(), &error))?;
    let bar = progress("importing");
    if metadata.is_dir() {
        let walk = Walk::new(&args.source).map_err(|error| Failure::io(args.source.display(), &error))?;
        let writes = Files { walk, prefix, skip_unreadable: args.skip_unreadable };
        send_all(client, out, args, writes, &mut report, &bar).await?;
    } else {
        let writes = read_document(&args.source, &prefix)?;
        send_all(client, out, args, writes.into_iter(), &mut report, &bar).await?;
    }
    bar.finish_and_clear();
    report.tell(out, if args.dry_run { "would import" } else { "imported" }, args.verbose)?;
    report.verdict()
}

fn read_document(path: &Path, prefix: &[u8]) -> Outcome<Vec<Step>> {
    let language = Language::of(path).ok_or_else(|| {
        Failure::usage(format!("{} is neither a directory nor a .json, .yaml or .yml file", path.display()))
    })?;
    let text = fs::read_to_string(path).map_err(|error| Failure::io(path.display(), &error))?;
    let document = document::parse(language, &text)
        .map_err(|problem| Failure::usage(format!("{} cannot be read: {problem}", path.display())))?;
    let keys = document::flatten(prefix, &document)?;
    Ok(keys.into_iter().map(|(key, leaf)| Step::Write(Write { key, leaf })).collect())
}

/// One step of an import.
#[derive(Debug)]
enum Step {
    Write(Write),
    Skipped(String, String),
    Failed(String, String),
}

/// The steps of a directory; each file is read when its turn comes.
struct Files {
    walk: Walk,
    prefix: Vec<u8>,
    skip_unreadable: bool,
}

impl Iterator for Files {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let key = |relative: &[u8]| [&self.prefix, relative].concat();
        Some(match self.walk.next()? {
            Found::File { path, relative } => match fs::read(&path) {
                Ok(bytes) => Step::Write(Write { key: key(&relative), leaf: Leaf::Bytes(bytes) }),
                Err(error) => self.unreadable(&path, &error),
            },
            Found::EmptyDirectory { relative } => Step::Write(Write { key: key(&relative), leaf: Leaf::Directory }),
            Found::Skipped { path, what } => Step::Skipped(path.display().to_string(), what.to_owned()),
            Found::Unreadable { path, error } => self.unreadable(&path, &error),
        })
    }
}

impl Files {
    fn unreadable(&self, path: &Path, error: &std::io::Error) -> Step {
        let (name, why) = (path.display().to_string(), format!("cannot be read: {error}"));
        if self.skip_unreadable { Step::Skipped(name, why) } else { Step::Failed(name, why) }
    }
}

async fn send_all(
    client: &Client,
    out: &Output,
    args: &Import,
    steps: impl Iterator<Item = Step>,
    report: &mut Report,
    bar: &ProgressBar,
) -> Outcome<()> {
    let batches = Batches { steps, report, open: Vec::new(), operations: Vec::new(), open_bytes: 0, large: None };
    if args.dry_run {
        for write in batches.flat_map(|batch| batch.writes) {
            if !out.is_json() {
                out.line(format!("put {}", route::shown(&write.key)))?;
            }
        }
        return Ok(());
    }
    let mut refused = Vec::new();
    let mut answers = stream::iter(batches).map(|batch| send(client, batch, bar)).buffer_unordered(CONCURRENCY);
    while let Some(failed) = answers.next().await {
        refused.extend(failed?);
    }
    drop(answers);
    for (write, failure) in refused {
        let (keys, directories, bytes) = write.size();
        report.keys -= keys;
        report.directories -= directories;
        report.bytes -= bytes;
        report.failed.push((route::shown(&write.key), failure.to_string()));
    }
    Ok(())
}

/// Sends a batch; gives what the server refuses. A transaction that is refused says nothing of each of its keys, so
/// they are sent one by one.
async fn send(client: &Client, batch: Batch, bar: &ProgressBar) -> Outcome<Vec<(Write, Failure)>> {
    // Another key may be fine; a server that cannot be reached is not.
    let is_refusal = |failure: &Failure| matches!(failure.exit(), Exit::Usage | Exit::Failure);
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

/// Steps grouped into requests.
struct Batches<'a, I> {
    steps: I,
    report: &'a mut Report,
    open: Vec<Write>,
    operations: Vec<Value>,
    open_bytes: usize,
    /// Made while a transaction was open, which goes first.
    large: Option<Batch>,
}

impl<I: Iterator<Item = Step>> Iterator for Batches<'_, I> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if let Some(batch) = self.large.take() {
            return Some(batch);
        }
        loop {
            let Some(step) = self.steps.next() else { return self.close() };
            let batch = self.take(step);
            if batch.is_some() {
                return batch;
            }
        }
    }
}

impl<I> Batches<'_, I> {
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
        let body = json!({"then": std::mem::take(&mut self.operations)}).to_string();
        let writes = std::mem::take(&mut self.open);
        Some(Batch { writes, request: Request::json(Method::POST, Route::new("/v1/txn"), body) })
    }
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
    }
    json!({"put": put})
}

/// A write as a request of its own.
fn alone(write: &Write) -> Request {
    let route = Route::of_key(KEYS, &write.key);
    match &write.leaf {
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
        Write { key: key.to_vec(), leaf }
    }

    fn batches(steps: Vec<Step>) -> (Vec<Batch>, Report) {
        let mut report = Report::default();
        let batches = Batches {
            steps: steps.into_iter(),
            report: &mut report,
            open: Vec::new(),
            operations: Vec::new(),
            open_bytes: 0,
            large: None,
        };
        let batches = batches.collect();
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
    fn transactions_are_bounded_in_operations_and_bytes_and_lose_nothing() {
        let small = (0..300).map(|n| Step::Write(write(format!("/s/{n}").as_bytes(), Leaf::Bytes(vec![b'x']))));
        let medium =
            (0..10).map(|n| Step::Write(write(format!("/m/{n}").as_bytes(), Leaf::Bytes(vec![0xff; 200_000]))));
        let large = (0..2).map(|n| Step::Write(write(format!("/l/{n}").as_bytes(), Leaf::Bytes(vec![1; 900_000]))));
        let (batches, report) = batches(small.chain(medium).chain(large).collect());
        assert!(batches.iter().all(|batch| batch.writes.len() <= MAX_TXN_OPS));
        assert!(batches.iter().all(|batch| batch.request.body.len() <= MAX_TXN_BYTES + 16));
        let mut keys: Vec<_> = batches.iter().flat_map(|batch| &batch.writes).map(|write| write.key.clone()).collect();
        keys.sort();
        keys.dedup();
        assert_eq!((keys.len(), report.keys), (312, 312));
        let alone = batches.iter().filter(|batch| batch.request.method == Method::PUT);
        assert_eq!(alone.map(|batch| batch.request.body.len()).collect::<Vec<_>>(), [900_000, 900_000]);
    }

    #[test]
    fn what_is_left_out_is_reported() {
        let (batches, report) = batches(vec![
            Step::Skipped("a".to_owned(), "a symbolic link".to_owned()),
            Step::Failed("b".to_owned(), "cannot be read".to_owned()),
            Step::Write(write(&[b'x'; MAX_KEY_BYTES + 1], Leaf::Directory)),
        ]);
        assert!(batches.is_empty());
        assert_eq!((report.skipped.len(), report.failed.len()), (1, 2));
        assert_eq!(report.verdict().unwrap_err().exit(), Exit::Failure);
    }
}
