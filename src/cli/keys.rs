//! The commands on keys: get, put, patch, del, ls, txn, history.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::args::{Conditions, Del, Get, History, Ls, OtherName, Patch, Put, Txn};
use super::client::{Client, Request};
use super::exit::{Exit, Failure, Outcome};
use super::item;
use super::output::{self, Output, member, table};
use super::route::{self, Route};
use crate::config::duration_text;

/// The base of keys.
pub(crate) const KEYS: &str = "/v1/keys";
const HISTORY: &str = "/v1/history";
/// The keys asked for at once.
const PAGE: u64 = 1000;

pub(crate) async fn get(client: &Client, out: &Output, args: &Get) -> Outcome<()> {
    let key = route::argument(&args.key)?;
    if key.ends_with(b"/") {
        return Err(Failure::usage(format!("{} is a directory: vardr ls lists it", route::shown(&key))));
    }
    let consistency = args.serializable.then_some("serializable");
    let route = Route::of_key(KEYS, &key).optional("revision", args.revision).optional("consistency", consistency);
    if args.meta || out.is_json() && !args.raw {
        let answer = client.send(&Request::get(route)).await?;
        return if out.is_json() { out.line(&answer.body) } else { out.line(described(&item::read(&answer.body)?)) };
    }
    let value = client.send(&Request::get(route.switch("raw", true))).await?.body;
    if args.raw {
        out.bytes(&value)
    } else if output::is_terminal() && std::str::from_utf8(&value).is_err() {
        out.line(format!("({} bytes that are not text: --raw writes them as they are)", value.len()))
    } else {
        out.line(&value)
    }
}

/// Every member of a key, one a line.
fn described(object: &Value) -> String {
    let members = object.as_object().into_iter().flatten();
    table(&members.map(|(name, _)| vec![name.clone(), member(object, name)]).collect::<Vec<_>>())
}

pub(crate) async fn put(client: &Client, out: &Output, args: &Put) -> Outcome<()> {
    let key = route::argument(&args.key)?;
    let value = match (&args.value, &args.file) {
        (Some(text), _) => Some(value(text)?),
        (None, Some(path)) => Some(read_file(path)?),
        (None, None) => None,
    };
    let is_directory = key.ends_with(b"/");
    let (method, body) = match (value, is_directory, args.in_order) {
        (Some(value), true, true) => (Method::POST, value),
        (Some(value), false, false) => (Method::PUT, value),
        (None, true, false) => (Method::PUT, Bytes::new()),
        (_, false, true) => return Err(Failure::usage("--in-order takes a directory, which ends with a slash")),
        (None, _, _) => return Err(Failure::usage("no value is given; `-` reads it from standard input")),
        (Some(_), true, false) => {
            return Err(Failure::usage("a directory takes no value; --in-order adds a key to it"));
        }
    };
    let route = Route::of_key(KEYS, &key)
        .optional("ttl", args.ttl.map(duration_text))
        .optional("lease", args.lease.as_ref())
        .switch("keepLease", args.keep_lease);
    let mut request = Request::write(method, with_conditions(route, &args.conditions), body);
    if let Some(content_type) = args.content_type.as_deref().or(args.json.then_some("application/json")) {
        let value = HeaderValue::from_str(content_type)
            .map_err(|_| Failure::usage(format!("--type: `{content_type}` is not a media type")))?;
        request.headers.insert(CONTENT_TYPE, value);
    }
    let answer = client.send(&request).await?;
    written(out, &answer.body, answer.status == http::StatusCode::CREATED)
}

pub(crate) async fn patch(client: &Client, out: &Output, args: &Patch) -> Outcome<()> {
    let key = route::argument(&args.key)?;
    let route = with_conditions(Route::of_key(KEYS, &key), &args.conditions);
    let mut request = Request::write(Method::PATCH, route, value(&args.document)?);
    let content_type = if args.is_json6902 { "application/json-patch+json" } else { "application/merge-patch+json" };
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let answer = client.send(&request).await?;
    written(out, &answer.body, answer.status == http::StatusCode::CREATED)
}

fn written(out: &Output, body: &[u8], created: bool) -> Outcome<()> {
    if out.is_json() {
        return out.line(body);
    }
    let object: Value = item::read(body)?;
    let word = if created { "created" } else { "wrote" };
    let revision = out.faint(&format!("(revision {})", member(&object, "modRevision")));
    out.line(format!("{word} {} {revision}", item::name(&object, "key").unwrap_or_default()))
}

pub(crate) async fn del(client: &Client, out: &Output, args: &Del) -> Outcome<()> {
    let key = route::argument(&args.key)?;
    if args.recursive && !key.ends_with(b"/") {
        return Err(Failure::usage("--recursive takes a directory, which ends with a slash"));
    }
    let route = Route::of_key(KEYS, &key).switch("recursive", args.recursive);
    let request = Request::write(Method::DELETE, with_conditions(route, &args.conditions), Bytes::new());
    let answer = client.send(&request).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    let object: Value = item::read(&answer.body)?;
    let revision = out.faint(&format!("(revision {})", member(&object, "revision")));
    out.line(format!("deleted {} {revision}", member(&object, "deleted")))
}

fn with_conditions(route: Route, conditions: &Conditions) -> Route {
    let exists = match (conditions.exists, conditions.absent) {
        (true, _) => Some("true"),
        (false, true) => Some("false"),
        (false, false) => None,
    };
    route
        .optional("prevExist", exists)
        .optional("prevRevision", conditions.revision)
        .optional("prevValue", conditions.value.as_ref())
}

/// A value from the command line; `-` means standard input.
fn value(text: &OsStr) -> Outcome<Bytes> {
    if text == "-" {
        return read_stdin();
    }
    Ok(Bytes::copy_from_slice(text.as_bytes()))
}

fn read_stdin() -> Outcome<Bytes> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| Failure::io("standard input", &error))?;
    Ok(bytes.into())
}

fn read_file(path: &Path) -> Outcome<Bytes> {
    if path == Path::new("-") {
        return read_stdin();
    }
    std::fs::read(path).map(Bytes::from).map_err(|error| Failure::io(path.display(), &error))
}

pub(crate) async fn ls(client: &Client, out: &Output, args: &Ls) -> Outcome<()> {
    let directory = route::listable(&args.directory)?;
    let base = Route::of_key(KEYS, &directory)
        .switch("recursive", args.recursive)
        .switch("keysOnly", !args.values)
        .optional("revision", args.revision);
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut cursor: Option<String> = None;
    let mut whole = json!({"items": [], "directories": []});
    while left > 0 {
        let route = base.clone().parameter("limit", left.min(PAGE).to_string()).optional("cursor", cursor.as_ref());
        let answer = client.send(&Request::get(route)).await?;
        let page: Value = item::read(&answer.body)?;
        left = left.saturating_sub(entries(&page));
        cursor = page.get("cursor").and_then(Value::as_str).map(str::to_owned);
        if out.is_json() {
            append(&mut whole, page);
        } else {
            out.bytes(listing(out, &page, args).as_bytes())?;
        }
        if cursor.is_none() {
            break;
        }
    }
    if out.is_json() { out.line(whole.to_string()) } else { Ok(()) }
}

const LISTS: [&str; 3] = ["items", "directories", "directories64"];

fn entries(page: &Value) -> u64 {
    let length = |name: &str| page.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    LISTS.iter().map(|name| length(name) as u64).sum()
}

/// All pages as one, with the revision of the last.
pub(super) fn append(whole: &mut Value, page: Value) {
    let Some(whole) = whole.as_object_mut() else { return };
    let Value::Object(page) = page else { return };
    for (name, value) in page {
        match value {
            Value::Array(mut more) => match whole.get_mut(&name).and_then(Value::as_array_mut) {
                Some(list) => list.append(&mut more),
                None => drop(whole.insert(name, Value::Array(more))),
            },
            value if name == "revision" => drop(whole.insert(name, value)),
            // The count and the cursor are of a page, not of the whole.
            _ => {}
        }
    }
}

/// One page for people: directories and keys together, in order of name.
fn listing(out: &Output, page: &Value, args: &Ls) -> String {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let blank = || vec!["-".to_owned(), "-".to_owned(), "-".to_owned()];
    for name in item::names(page, "directories") {
        rows.push((name, blank()));
    }
    for object in page.get("items").and_then(Value::as_array).into_iter().flatten() {
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let details = ["modRevision", "version", "lease"].map(|name| or_dash(member(object, name)));
        let name = item::name(object, "key").unwrap_or_default();
        let name = if args.values { format!("{name} {}", out.faint(&item::text(object, "value"))) } else { name };
        rows.push((name, details.to_vec()));
    }
    rows.sort();
    if !args.long {
        return rows.into_iter().map(|(name, _)| name + "\n").collect();
    }
    let row = |(name, mut details): (String, Vec<String>)| {
        details.push(name);
        details
    };
    table(&rows.into_iter().map(row).collect::<Vec<_>>())
}

pub(crate) async fn txn(client: &Client, out: &Output, args: &Txn) -> Outcome<()> {
    let body = read_file(&args.file)?;
    let answer = client.send(&Request::json(Method::POST, Route::new("/v1/txn"), body)).await?;
    let object: Value = item::read(&answer.body)?;
    let succeeded = object.get("succeeded").and_then(Value::as_bool).unwrap_or(false);
    if out.is_json() {
        out.line(&answer.body)?;
    } else {
        let word = if succeeded { "succeeded" } else { "took the else branch" };
        out.line(format!("{word} {}", out.faint(&format!("(revision {})", member(&object, "revision")))))?;
        for result in object.get("results").and_then(Value::as_array).into_iter().flatten() {
            out.line(result.to_string())?;
        }
    }
    if succeeded { Ok(()) } else { Err(Failure::new(Exit::Precondition, "a comparison did not hold")) }
}

/// Copies or moves, as the verb says.
pub(crate) async fn copy(client: &Client, out: &Output, verb: &str, args: &OtherName) -> Outcome<()> {
    let (from, to) = (route::argument(&args.from)?, route::argument(&args.to)?);
    let overwrite = args.overwrite;
    let body = match str::from_utf8(&to) {
        Ok(to) => json!({"to": to, "overwrite": overwrite}),
        Err(_) => json!({"to64": route::key64(&to), "overwrite": overwrite}),
    };
    let route = Route::with_verb(KEYS, &from, &format!(":{verb}")).switch("dryRun", args.dry_run);
    let answer = client.send(&Request::json(Method::POST, route, body.to_string())).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    let object: Value = item::read(&answer.body)?;
    let would = if args.dry_run { "would write" } else { "wrote" };
    let revision = out.faint(&format!("(revision {})", member(&object, "revision")));
    let (keys, overwritten) = (member(&object, "keys"), member(&object, "overwritten"));
    out.line(format!("{would} {keys}, overwriting {overwritten} {revision}"))?;
    for (list, word) in [("writtenKeys", "write"), ("overwrittenKeys", "overwrite")] {
        for name in item::names(&object, list) {
            out.line(format!("{word} {name}"))?;
        }
    }
    Ok(())
}

pub(crate) async fn history(client: &Client, out: &Output, args: &History) -> Outcome<()> {
    let key = route::argument(&args.key)?;
    if let Some(to) = args.rollback {
        return rollback(client, out, &key, to, args.dry_run).await;
    }
    let route = Route::of_key(HISTORY, &key)
        .optional("limit", args.limit)
        .optional("before", args.before)
        .optional("diff", args.diff.as_ref());
    let answer = client.send(&Request::get(route)).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    let object: Value = item::read(&answer.body)?;
    if args.diff.is_some() {
        return out.line(difference(&object));
    }
    for version in object.get("items").and_then(Value::as_array).into_iter().flatten() {
        let about = ["revision", "time", "operation", "author"].map(|name| item::text(version, name)).join("  ");
        out.line(format!("{}  {}", out.faint(about.trim_end()), item::text(version, "value")))?;
    }
    Ok(())
}

fn difference(object: &Value) -> String {
    let text = match object.get("diff") {
        Some(Value::String(text)) => text.clone(),
        Some(patch) => serde_json::to_string_pretty(patch).unwrap_or_default(),
        None if object.get("equal") == Some(&Value::Bool(true)) => "no difference".to_owned(),
        None => object.to_string(),
    };
    // Line breaks and tabs are the shape of what is compared, and harmless.
    text.split_inclusive(['\n', '\t'])
        .map(|part| {
            let rest = part.trim_end_matches(['\n', '\t']);
            route::shown(rest.as_bytes()) + part.strip_prefix(rest).unwrap_or_default()
        })
        .collect()
}

async fn rollback(client: &Client, out: &Output, key: &[u8], to: u64, dry_run: bool) -> Outcome<()> {
    let route = Route::with_verb(HISTORY, key, ":rollback").switch("dryRun", dry_run);
    let answer = client.send(&Request::json(Method::POST, route, json!({"to": to}).to_string())).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    let object: Value = item::read(&answer.body)?;
    let would = if dry_run { "would restore" } else { "restored" };
    out.line(format!("{would} {}, deleted {}", member(&object, "restored"), member(&object, "deleted")))?;
    for (list, word) in [("restoredKeys", "restore"), ("deletedKeys", "delete")] {
        for name in item::names(&object, list) {
            out.line(format!("{word} {name}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_become_one_list_without_count_and_cursor() {
        let mut whole = json!({"items": [], "directories": []});
        append(&mut whole, json!({"revision": 5, "items": [1], "directories": ["/a/"], "cursor": "x"}));
        append(
            &mut whole,
            json!({"revision": 5, "items": [2], "directories": [], "directories64": ["_w"], "count": 9}),
        );
        assert_eq!(whole, json!({"items": [1, 2], "directories": ["/a/"], "revision": 5, "directories64": ["_w"]}));
    }

    #[test]
    fn conditions_become_parameters() {
        let conditions = |exists, absent| Conditions { exists, absent, revision: None, value: None };
        let shown = |conditions: &Conditions| with_conditions(Route::new("/k"), conditions).as_str().to_owned();
        assert_eq!(shown(&conditions(true, false)), "/k?prevExist=true");
        assert_eq!(shown(&conditions(false, true)), "/k?prevExist=false");
        assert_eq!(shown(&conditions(false, false)), "/k");
        let both = Conditions { revision: Some(9), value: Some("a b".to_owned()), ..conditions(false, false) };
        assert_eq!(shown(&both), "/k?prevRevision=9&prevValue=a%20b");
    }
}
