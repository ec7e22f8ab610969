//! The commands that list who watches, holds and leads; and how a list is read page by page.

use serde_json::{Value, json};

use super::client::{Client, Request};
use super::exit::Outcome;
use super::item::{self, name, text};
use super::keys::append;
use super::output::{Output, member, table};
use super::route::Route;

/// Entries asked for at once.
const PAGE: u64 = 1000;

/// A list, as a command shows it.
pub(crate) struct List {
    route: &'static str,
    titles: &'static [&'static str],
    row: fn(&Value) -> Vec<String>,
    /// What is said where there is nothing to show.
    nothing: &'static str,
}

pub(crate) const WATCHERS: List = List {
    route: "/v1/watchers",
    titles: &["ID", "CARRIER", "WATCHED", "SINCE", "REVISION", "BACKLOG", "ADDRESS", "USER AGENT"],
    row: watcher_row,
    nothing: "nobody watches",
};

pub(crate) const LOCKS: List = List {
    route: "/v1/locks",
    titles: &["LOCK", "HOLDER", "OWNER", "TOKEN", "TTL", "WAITING"],
    row: lock_row,
    nothing: "no lock is held",
};

pub(crate) const ELECTIONS: List = List {
    route: "/v1/elections",
    titles: &["ELECTION", "LEADER", "VALUE", "TOKEN", "TTL", "WAITING"],
    row: election_row,
    nothing: "nobody leads",
};

impl List {
    /// Shows what begins with a prefix.
    pub(crate) async fn list(&self, client: &Client, out: &Output, prefix: Option<&str>) -> Outcome<()> {
        let whole = all(client, &Route::new(self.route).optional("prefix", prefix)).await?;
        let of_what = prefix.map(|prefix| format!(": nothing begins with `{prefix}`")).unwrap_or_default();
        show(out, &whole, &format!("{}{of_what}", self.nothing), self.titles, self.row)
    }
}

/// Shows a list, as a table for people; `nothing` is said where there is nothing in it.
pub(crate) fn show(
    out: &Output,
    whole: &Value,
    nothing: &str,
    titles: &[&str],
    row: impl Fn(&Value) -> Vec<String>,
) -> Outcome<()> {
    if out.is_json() {
        return out.line(whole.to_string());
    }
    let mut rows: Vec<_> = whole.get("items").and_then(Value::as_array).into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        eprintln!("vardr: {nothing}");
        return Ok(());
    }
    rows.insert(0, titles.iter().map(|title| (*title).to_owned()).collect());
    out.bytes(table(&rows).as_bytes())
}

/// All pages of a list as one.
pub(crate) async fn all(client: &Client, base: &Route) -> Outcome<Value> {
    let mut whole = json!({});
    let mut cursor: Option<String> = None;
    loop {
        let route = base.clone().parameter("limit", PAGE.to_string()).optional("cursor", cursor.as_ref());
        let answer = client.send(&Request::get(route)).await?;
        let page: Value = item::read(&answer.body)?;
        cursor = page.get("cursor").and_then(Value::as_str).map(str::to_owned);
        if let (Some(whole), Some(service)) = (whole.as_object_mut(), page.get("service")) {
            whole.insert("service".to_owned(), service.clone());
        }
        append(&mut whole, page);
        if cursor.is_none() {
            return Ok(whole);
        }
    }
}

fn watcher_row(item: &Value) -> Vec<String> {
    let before = [member(item, "id"), member(item, "carrier"), watched(item), member(item, "since")];
    let after = ["revision", "backlogBytes", "address"].map(|name| member(item, name));
    before.into_iter().chain(after).chain([text(item, "userAgent")]).collect()
}

/// What a watch is of, as shells write patterns.
fn watched(item: &Value) -> String {
    let found = |member| name(item, member);
    let below = if item.get("children").is_some() { "*" } else { "**" };
    match (found("key"), found("prefix"), found("from"), found("to")) {
        (Some(key), _, _, _) => key,
        (None, Some(prefix), _, _) => format!("{prefix}{below}"),
        (None, None, from, to) => format!("{}..{}", from.unwrap_or_default(), to.unwrap_or_default()),
    }
}

fn lock_row(item: &Value) -> Vec<String> {
    queue_row(item, "holder", "holder", "owner")
}

fn election_row(item: &Value) -> Vec<String> {
    queue_row(item, "leader", "candidate", "value")
}

/// A queue, with its first place, who that is, and what that says of itself.
fn queue_row(item: &Value, first: &str, who: &str, says: &str) -> Vec<String> {
    let place = item.get(first).unwrap_or(&Value::Null);
    let queue = [name(item, "name").unwrap_or_default(), member(place, who), text(place, says)];
    queue.into_iter().chain([member(place, "fencingToken"), member(place, "ttl"), member(item, "waiting")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_watched_is_a_pattern() {
        for (item, expected) in [
            (json!({"key": "/app/db"}), "/app/db"),
            (json!({"key64": "_w"}), "\\xff"),
            (json!({"prefix": "/app/"}), "/app/**"),
            (json!({"prefix": ""}), "**"),
            (json!({"prefix": "/app/", "children": true}), "/app/*"),
            (json!({"from": "a", "to64": "_w"}), "a..\\xff"),
            (json!({"from": "a"}), "a.."),
        ] {
            assert_eq!(watched(&item), expected, "{item}");
        }
    }

    #[test]
    fn what_others_say_of_themselves_writes_nothing_else_to_a_terminal() {
        let item = json!({"name": "jobs", "holder": {"holder": "7d0", "owner": "\u{1b}[2J", "fencingToken": 9, "ttl": 1.5},
            "waiting": 2});
        assert_eq!(lock_row(&item), ["jobs", "7d0", "\\x1b[2J", "9", "1.5", "2"]);
    }
}
