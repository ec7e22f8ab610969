//! The shapes of `/v1` for its description, and for whoever reads its answers in Rust: the command line and the tests.
//!
//! The server writes these shapes by [`super::format`]; a test reads every answer back through them, so that neither
//! can have a member that the other lacks.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"key": "/app/db", "value": "postgres://db.example/app", "encoding": "utf8",
    "contentType": "text/plain", "createRevision": 5, "modRevision": 9, "version": 3, "lease": "694d8a1f3c2b", "ttl": 27.4}))]
pub struct KeyObject {
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key in base64url, in place of `key`, when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key64: Option<String>,
    /// The value, as `encoding` says. Left out by `keysOnly`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub value: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// With `keysOnly`, in place of the value: how many bytes it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The media type that the value was written with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The revision that brought the key into being.
    pub create_revision: u64,
    /// The revision of the last change.
    pub mod_revision: u64,
    /// The number of changes since the key came into being, from 1.
    pub version: u64,
    /// The lease that the key dies with, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// The seconds that are left of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<f64>,
    /// With `prevKv=true`: what a write replaced, or null.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(no_recursion)]
    pub prev: Option<Option<Box<KeyObject>>>,
}

/// Tells a member that is null from one that is absent.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// How to read a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// A string.
    Utf8,
    /// The value was written with a JSON content type and stands here as JSON itself.
    Json,
    /// Base64 of bytes that are not UTF-8.
    Base64,
}

/// A key after a write, without its value, which the writer knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"key": "/app/db", "contentType": "text/plain", "createRevision": 5, "modRevision": 9, "version": 3}))]
pub struct WrittenKey {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key in base64url, in place of `key`, when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    pub create_revision: u64,
    pub mod_revision: u64,
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<f64>,
    /// With `prevKv=true`: what was replaced, or null.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub prev: Option<Option<KeyObject>>,
}

/// A key after an increment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"number": 42, "key": "/app/counter", "createRevision": 5, "modRevision": 9, "version": 3}))]
pub struct Number {
    /// The new number.
    pub number: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    pub create_revision: u64,
    pub mod_revision: u64,
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<f64>,
}

/// A page of a directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 12, "items": [{"key": "/app/db", "value": "postgres://db.example/app",
    "encoding": "utf8", "createRevision": 5, "modRevision": 9, "version": 3}], "directories": ["/app/x/"], "count": 2}))]
pub struct List {
    /// The revision that the page shows; all pages of a list show the same.
    pub revision: u64,
    /// The keys. Left out by `countOnly`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<KeyObject>>,
    /// The directories directly in this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directories: Option<Vec<String>>,
    /// Directories whose names are not UTF-8, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directories64: Option<Vec<String>>,
    /// How many keys and directories the list has, where one page shows all of it or `countOnly` asks. Never with `contains`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// There is more: ask again with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// With `contains`: how many keys were looked into for this page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examined: Option<u64>,
}

/// A key, or the list for a directory.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum KeyOrList {
    Key(KeyObject),
    List(List),
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 13, "deleted": 1}))]
pub struct Deleted {
    /// The store's revision after it.
    pub revision: u64,
    /// How many keys.
    pub deleted: u64,
    /// With `prevKv=true`: the keys as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<Vec<KeyObject>>,
}

/// One step of a JSON Patch (RFC 6902).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PatchStep {
    /// `add`, `remove`, `replace`, `move`, `copy` or `test`.
    pub op: String,
    /// A JSON Pointer (RFC 6901).
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// A refusal (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"type": "/docs/problems/key_not_found", "title": "No such key", "status": 404,
    "detail": "there is no key /app/db", "code": "key_not_found"}))]
pub struct ProblemObject {
    /// Where the code is explained.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What this very request did wrong.
    pub detail: String,
    /// A stable word for programs.
    pub code: String,
    /// With `precondition_failed`: the key's present state, or null when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub current: Option<Option<KeyObject>>,
    /// With `lock_held`: who holds the lock, or null when nobody does any more.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub holder: Option<Option<LockObject>>,
    /// With `not_elected` and `not_leader`: who leads, or null.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub leader: Option<Option<CandidateObject>>,
    /// With `compacted`: the oldest revision that can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact_revision: Option<u64>,
    /// With `future_revision`: the newest revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<u64>,
    /// With `too_large`: what was given, if known, and what is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Where in a body something is wrong, from 1, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// With `too_large`: what the request would change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The versions of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 12, "items": [{"revision": 9, "time": "2026-11-23T20:15:00.123Z",
    "operation": "put", "type": "put", "key": "/app/db", "value": "postgres://db.example/app", "encoding": "utf8",
    "createRevision": 5, "modRevision": 9, "version": 3}]}))]
pub struct History {
    /// The store's revision.
    pub revision: u64,
    /// The changes that are still kept, newest first.
    pub items: Vec<Version>,
    /// There is more: ask again with `before` set to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// One change of a key, with the key as it made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Version {
    pub revision: u64,
    /// When, in UTC (RFC 3339).
    pub time: String,
    /// Who, when users are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What was asked for: `put`, `patch`, `increment`, `append`, `createDirectory`, `delete`, `transaction`,
    /// `rollback`, `copy`, `move`, `revoke` or `expire`.
    pub operation: String,
    /// `put`, `delete` or `expire`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub value: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_revision: Option<u64>,
    pub mod_revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<f64>,
}

/// What differs between two versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"key": "/app/db", "from": 7, "to": 9, "format": "unified", "equal": false,
    "diff": "--- 7\n+++ 9\n@@ -1 +1 @@\n-old\n+new\n"}))]
pub struct Diff {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key64: Option<String>,
    pub from: u64,
    pub to: u64,
    /// `json-patch` (RFC 6902, an array), `unified` (a string), or `binary` (nothing to show).
    pub format: String,
    /// Whether both have the same value, or neither exists.
    pub equal: bool,
    /// Which of the two has the key at all, when not both have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Value>,
    /// For `binary`: the lengths in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_bytes: Option<u64>,
}

/// What a rollback did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 14, "to": 7, "restored": 2, "deleted": 1}))]
pub struct RolledBack {
    /// The store's revision after it.
    pub revision: u64,
    pub to: u64,
    /// How many keys got back what they had.
    pub restored: u64,
    /// How many keys that were not there then were deleted.
    pub deleted: u64,
    /// With `dryRun=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// With `dryRun=true`: the keys that would be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_keys: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_keys64: Option<Vec<String>>,
    /// With `dryRun=true`: the keys that would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_keys: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_keys64: Option<Vec<String>>,
}

/// What a copy or a move did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 14, "keys": 3, "overwritten": 0}))]
pub struct CopiedKeys {
    /// The store's revision after it.
    pub revision: u64,
    /// How many keys were written.
    pub keys: u64,
    /// How many of them were there before.
    pub overwritten: u64,
    /// With `dryRun=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// With `dryRun=true`: the keys that would be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_keys: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_keys64: Option<Vec<String>>,
    /// With `dryRun=true`: those of them that are there already. Without `"overwrite": true` they would be a reason to refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwritten_keys: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwritten_keys64: Option<Vec<String>>,
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"succeeded": true, "revision": 15, "results": [
    {"put": {"key": "/a", "createRevision": 15, "modRevision": 15, "version": 1}}, {"delete": {"deleted": 0}}]}))]
pub struct TxnAnswer {
    /// Whether every comparison held, so that `then` was done and not `else`.
    pub succeeded: bool,
    /// The store's revision after it.
    pub revision: u64,
    /// One for each operation, in order.
    pub results: Vec<TxnResult>,
}

/// What one operation did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum TxnResult {
    Put(Box<WrittenKey>),
    Delete(TxnDeleted),
    Get(TxnGot),
    #[schema(no_recursion)]
    Txn(TxnNested),
}

/// What a deletion within a transaction deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TxnDeleted {
    pub deleted: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<Vec<KeyObject>>,
}

/// What a read within a transaction found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TxnGot {
    /// Left out by `countOnly`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<KeyObject>>,
    /// How many keys there are, whatever the limit.
    pub count: u64,
    /// Whether the limit cut the list.
    pub more: bool,
}

/// What a nested transaction did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TxnNested {
    pub succeeded: bool,
    #[schema(no_recursion)]
    pub results: Vec<TxnResult>,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"id": "694d8a1f3c2b", "ttl": 27.4, "grantedTtl": 30}))]
pub struct LeaseObject {
    /// In hexadecimal.
    pub id: String,
    /// The seconds that are left.
    pub ttl: f64,
    /// The seconds that a renewal sets it to.
    pub granted_ttl: f64,
    /// Made by `ttl=` on a write, for that key alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<bool>,
    /// The keys that die with it. Not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
    /// Those of them that are not UTF-8, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys64: Option<Vec<String>>,
}

/// All leases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 12, "items": [{"id": "694d8a1f3c2b", "ttl": 27.4, "grantedTtl": 30}]}))]
pub struct LeaseList {
    pub revision: u64,
    pub items: Vec<LeaseObject>,
}

/// A lock that is held or waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"name": "jobs", "holder": "694d8a1f3c2b", "owner": "worker-7", "lease": "694d8a1f3c2b",
    "fencingToken": 12, "ttl": 30}))]
pub struct LockObject {
    pub name: String,
    /// Who it is: the lease in hexadecimal.
    pub holder: String,
    /// What the holder calls itself, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The lease that the lock is held by, in hexadecimal.
    pub lease: String,
    /// Greater than that of any holder before.
    pub fencing_token: u64,
    /// The seconds that are left of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<f64>,
}

/// A lock with its queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 14, "name": "jobs", "holder": {"name": "jobs", "holder": "694d8a1f3c2b",
    "lease": "694d8a1f3c2b", "fencingToken": 12, "ttl": 27.4}, "queue": []}))]
pub struct LockQueue {
    pub revision: u64,
    pub name: String,
    /// Who holds it, or null.
    pub holder: Option<LockObject>,
    /// Who waits, in order of arrival.
    pub queue: Vec<LockObject>,
}

/// A page of locks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 14, "items": [{"name": "jobs", "holder": {"name": "jobs", "holder": "694d8a1f3c2b",
    "lease": "694d8a1f3c2b", "fencingToken": 12, "ttl": 27.4}, "waiting": 2}]}))]
pub struct LockList {
    /// The revision that the page shows.
    pub revision: u64,
    /// In order of name.
    pub items: Vec<LockSummary>,
    /// There is more: ask again with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A lock that somebody holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockSummary {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name in base64url, in place of `name`, when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name64: Option<String>,
    /// Who holds it.
    pub holder: LockObject,
    /// How many are in the queue behind.
    pub waiting: u64,
}

/// A candidate of an election.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"name": "primary", "candidate": "694d8a1f3c2b", "value": "10.0.0.7:5432", "encoding": "utf8",
    "lease": "694d8a1f3c2b", "fencingToken": 12, "modRevision": 12, "ttl": 30}))]
pub struct CandidateObject {
    pub name: String,
    /// Who it is: the lease in hexadecimal.
    pub candidate: String,
    /// What it proclaims, as `encoding` says.
    pub value: String,
    pub encoding: Encoding,
    /// The lease that it stands by, in hexadecimal.
    pub lease: String,
    /// Greater than that of any leader before.
    pub fencing_token: u64,
    /// The revision at which it last proclaimed.
    pub mod_revision: u64,
    /// The seconds that are left of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<f64>,
}

/// An election with its candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 14, "name": "primary", "leader": null, "queue": []}))]
pub struct ElectionObject {
    pub revision: u64,
    pub name: String,
    /// Who leads, or null.
    pub leader: Option<CandidateObject>,
    /// The other candidates, in order of arrival.
    pub queue: Vec<CandidateObject>,
}

/// A page of elections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 14, "items": [{"name": "primary", "leader": {"name": "primary",
    "candidate": "694d8a1f3c2b", "value": "10.0.0.7:5432", "encoding": "utf8", "lease": "694d8a1f3c2b", "fencingToken": 12,
    "modRevision": 12, "ttl": 27.4}, "waiting": 2}]}))]
pub struct ElectionList {
    /// The revision that the page shows.
    pub revision: u64,
    /// In order of name.
    pub items: Vec<ElectionSummary>,
    /// There is more: ask again with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// An election that somebody leads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ElectionSummary {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name in base64url, in place of `name`, when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name64: Option<String>,
    /// Who leads.
    pub leader: CandidateObject,
    /// How many are in the queue behind.
    pub waiting: u64,
}

/// What a compaction came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 12, "compactRevision": 10}))]
pub struct Compaction {
    /// The store's revision.
    pub revision: u64,
    /// The oldest revision that can be read.
    pub compact_revision: u64,
}

/// A digest of the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 12, "compactRevision": 1, "hash": "0b1f6a7c7a5f4e2d8c9b0a1f2e3d4c5b"}))]
pub struct HashObject {
    pub revision: u64,
    pub compact_revision: u64,
    /// 128 bits in hexadecimal: alike on every member at the same revision.
    pub hash: String,
}

/// The members of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"clusterId": "cdf818194e3a8c32", "leader": "8e9e05c52164694d", "raftTerm": 2, "members": [
    {"id": "8e9e05c52164694d", "name": "default", "peerUrls": ["http://localhost:2380"], "clientUrls": ["http://localhost:2379"],
    "learner": false, "leads": true, "heard": false}]}))]
pub struct ClusterObject {
    pub cluster_id: String,
    /// The member that leads; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The raft term, as far as the member that answers knows.
    pub raft_term: u64,
    /// In order of id.
    pub members: Vec<MemberObject>,
}

/// A member of the cluster, and how it is as far as the one that answers hears of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"id": "8e9e05c52164694d", "name": "default", "peerUrls": ["http://localhost:2380"],
    "clientUrls": ["http://localhost:2379"], "learner": false, "leads": true, "heard": true, "version": "0.1.0",
    "raftApplied": 40, "lag": 0, "revision": 12, "storeBytes": 8192, "logBytes": 16_777_216, "room": "enough"}))]
pub struct MemberObject {
    pub id: String,
    /// As it was added under, until the member has started and said so.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until the member has started.
    pub client_urls: Vec<String>,
    /// It follows the log and counts in no majority.
    pub learner: bool,
    pub leads: bool,
    /// It has reported within the last 3 s. What follows is what it said, about once a second; absent otherwise.
    pub heard: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The last entry of the log that it has applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raft_applied: Option<u64>,
    /// How many entries others have applied and it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// What its store takes on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_bytes: Option<u64>,
    /// What its log takes on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// What its disk has room for. While that of a voter is short, no member takes writes that grow the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomWord>,
}

/// What a disk has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoomWord {
    /// For everything.
    Enough,
    /// For deletions and compaction.
    Short,
    /// For compaction alone.
    None,
}

/// Every member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"items": [{"id": "8e9e05c52164694d", "name": "default", "peerUrls": ["http://localhost:2380"],
    "clientUrls": ["http://localhost:2379"], "learner": false, "leads": true, "heard": false}]}))]
pub struct MemberList {
    /// In order of id.
    pub items: Vec<MemberObject>,
}

/// The member that leads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"leader": "8e9e05c52164694d"}))]
pub struct LeaderObject {
    pub leader: String,
}

/// How the member is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"version": "0.1.0", "name": "default", "clusterId": "cdf818194e3a8c32", "memberId": "8e9e05c52164694d",
    "leader": "8e9e05c52164694d", "raftTerm": 2, "raftApplied": 40, "revision": 12, "compactRevision": 1, "storeBytes": 8192,
    "logBytes": 16_777_216, "freeBytes": 107_374_182_400_u64, "uptime": 12.5, "ready": true}))]
pub struct StatusObject {
    pub version: String,
    pub name: String,
    pub cluster_id: String,
    pub member_id: String,
    /// The member that leads; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    pub raft_term: u64,
    pub raft_applied: u64,
    pub revision: u64,
    pub compact_revision: u64,
    /// Bytes on disk.
    pub store_bytes: u64,
    pub log_bytes: u64,
    /// Bytes free on the disk, where the file system says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Seconds since the start.
    pub uptime: f64,
    /// Whether the member serves.
    pub ready: bool,
}
