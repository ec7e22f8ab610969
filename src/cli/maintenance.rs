//! The commands for whoever runs a server: status, compact, snapshot.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use futures_util::StreamExt;
use http::Method;
use serde_json::{Value, json};

use super::args::{Compact, NewCluster, Restore, SnapshotCommand};
use super::client::{Client, Request};
use super::exit::{Exit, Failure, Outcome};
use super::item;
use super::output::{Output, member, size, table};
use super::partial::Partial;
use super::route::Route;
use crate::cluster::{Peer, Plan, Start};
use crate::config::{self, Environment};
use crate::machine::{SnapshotCheck, SnapshotError, SnapshotHead};
use crate::model::Members;
use crate::node::{self, Identity};

/// How much of a file is read at once.
const READ_BYTES: usize = 256 * 1024;

pub(crate) async fn status(client: &Client, out: &Output) -> Outcome<()> {
    let mut all = Vec::new();
    let mut failed = None;
    for endpoint in client.endpoints() {
        let name = endpoint.as_str().trim_end_matches('/');
        let result = match client.open_at(endpoint, &Request::get(Route::new("/v1/status"))).await {
            Ok(response) => response.bytes().await.map_err(|error| Failure::new(Exit::Unavailable, error.to_string())),
            Err(failure) => Err(failure),
        };
        let mut object: Value = match result {
            Ok(body) => item::read(&body)?,
            Err(failure) => {
                let object = json!({"error": failure.to_string()});
                failed = Some(failure);
                object
            }
        };
        if let Some(object) = object.as_object_mut() {
            object.insert("endpoint".to_owned(), name.into());
        }
        all.push(object);
    }
    if out.is_json() {
        out.line(Value::Array(all).to_string())?;
    } else {
        out.bytes(table(&status_rows(&all)).as_bytes())?;
    }
    failed.map_or(Ok(()), Err)
}

fn status_rows(all: &[Value]) -> Vec<Vec<String>> {
    let titles = ["ENDPOINT", "NAME", "VERSION", "READY", "LEADER", "TERM", "REVISION", "COMPACTED", "SIZE"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for object in all {
        let mut row = vec![member(object, "endpoint")];
        if object.get("error").is_some() {
            row.push(member(object, "error"));
        } else {
            let number = |name: &str| object.get(name).and_then(Value::as_u64).unwrap_or(0);
            let yes_or_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
            let leads = object.get("leader").is_some() && object.get("leader") == object.get("memberId");
            row.extend([
                item::text(object, "name"),
                member(object, "version"),
                yes_or_no(object.get("ready") == Some(&Value::Bool(true))),
                if leads { "self".to_owned() } else { member(object, "leader") },
                member(object, "raftTerm"),
                member(object, "revision"),
                member(object, "compactRevision"),
                size(number("storeBytes") + number("logBytes")),
            ]);
        }
        rows.push(row);
    }
    rows
}

pub(crate) async fn compact(client: &Client, out: &Output, args: &Compact) -> Outcome<()> {
    let body = json!({"revision": args.revision}).to_string();
    let answer = client.send(&Request::json(Method::POST, Route::new("/v1/maintenance:compact"), body)).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    out.line(format!(
        "compacted; the oldest readable revision is {}",
        member(&item::read(&answer.body)?, "compactRevision")
    ))
}

pub(crate) async fn snapshot(client: &Client, out: &Output, command: SnapshotCommand) -> Outcome<()> {
    match command {
        SnapshotCommand::Save { file, overwrite, .. } => save(client, out, &file, overwrite).await,
        SnapshotCommand::Verify { file, .. } => verify(out, &file),
        SnapshotCommand::Restore(args) => restore(&args),
    }
}

async fn save(client: &Client, out: &Output, path: &Path, overwrite: bool) -> Outcome<()> {
    if !overwrite && path.exists() {
        return Err(Failure::usage(format!("{} exists already; --overwrite replaces it", path.display())));
    }
    let response = client.open(&Request::get(Route::new("/v1/maintenance/snapshot"))).await?;
    let mut partial = Partial::create(path, 0o666)?;
    let head = receive(&mut partial, path, response).await?;
    partial.publish()?;
    describe(out, "saved", path, &head)
}

/// Checks a snapshot file, frame by frame, down to the digest at its end, and the seal where `etcdctl` saved it.
pub(crate) fn verify(out: &Output, path: &Path) -> Outcome<()> {
    let head = check(path, &mut |_| {})?;
    describe(out, "whole and undamaged:", path, &head)
}

/// Reads all of a snapshot file, and says what it is of; `progress` hears of the bytes.
pub(super) fn check(path: &Path, progress: &mut dyn FnMut(u64)) -> Outcome<SnapshotHead> {
    let unreadable = |error: io::Error| Failure::io(path.display(), &error);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut check = SnapshotCheck::of_file();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let length = file.read(&mut buffer).map_err(unreadable)?;
        if length == 0 {
            break;
        }
        check.push(buffer.get(..length).unwrap_or_default()).map_err(|error| bad(path, &error))?;
        progress(length as u64);
    }
    check.finish().map_err(|error| bad(path, &error))
}

/// Makes a data directory out of a snapshot file.
pub(crate) fn restore(args: &Restore) -> Outcome<()> {
    let (path, data_dir) = (&args.file, &args.data_dir);
    let plan = new_cluster(&args.cluster)?;
    let mut file = File::open(path).map_err(|error| Failure::io(path.display(), &error))?;
    let head = node::restore(&mut file, data_dir, plan.identity, &plan.members)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    describe(&Output::new(args.output), &format!("restored into {}:", data_dir.display()), path, &head)
}

/// A member of a new cluster, and the cluster.
pub(super) struct Planned {
    pub(super) identity: Identity,
    pub(super) members: Members,
    pub(super) own: Peer,
    pub(super) others: Vec<Peer>,
    pub(super) token: String,
}

/// The cluster that begins with the directory to be made, by the rules by which a server begins one.
pub(super) fn new_cluster(given: &NewCluster) -> Outcome<Planned> {
    let flags = given.flags().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let loaded = config::load(&flags, &Environment::new(), None).map_err(|error| Failure::usage(error.to_string()))?;
    let settings = loaded.settings.cluster();
    let plan = Plan::new(&settings, &loaded.settings.initial_cluster);
    let Plan { own, others, start } = plan.map_err(|error| Failure::usage(error.to_string()))?;
    match start {
        Start::New { identity, members } => Ok(Planned { identity, members, own, others, token: settings.token }),
        Start::Existing => Err(Failure::usage("the member begins a new cluster")),
    }
}

impl NewCluster {
    /// What was given of it, as settings.
    pub(super) fn flags(&self) -> Vec<(&'static str, &str)> {
        let Self { name, initial_cluster, initial_advertise_peer_urls, initial_cluster_token } = self;
        let given = [
            ("name", name),
            ("initial-cluster", initial_cluster),
            ("initial-advertise-peer-urls", initial_advertise_peer_urls),
            ("initial-cluster-token", initial_cluster_token),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

fn bad(path: &Path, error: &SnapshotError) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

fn describe(out: &Output, what: &str, path: &Path, head: &SnapshotHead) -> Outcome<()> {
    let bytes = std::fs::metadata(path).map_err(|error| Failure::io(path.display(), &error))?.len();
    let (name, revision) = (path.display().to_string(), head.revision.get());
    if out.is_json() {
        let object = json!({"file": name, "bytes": bytes, "revision": revision,
            "compactRevision": head.compacted.get(), "raftTerm": head.term.get(), "raftIndex": head.index.get()});
        return out.line(object.to_string());
    }
    out.line(format!("{what} {name}, {}, revision {revision}", size(bytes)))
}

/// Writes and checks the stream.
async fn receive(partial: &mut Partial, target: &Path, response: reqwest::Response) -> Outcome<SnapshotHead> {
    let mut check = SnapshotCheck::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Failure::new(Exit::Unavailable, format!("the stream broke off: {error}")))?;
        partial.write(&chunk)?;
        check.push(&chunk).map_err(|error| bad(target, &error))?;
    }
    check.finish().map_err(|error| bad(target, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_leads_says_self_and_one_that_fails_says_why() {
        let rows = status_rows(&[
            json!({"endpoint": "http://a", "memberId": "1", "leader": "1", "ready": true, "storeBytes": 1024}),
            json!({"endpoint": "http://b", "error": "gone"}),
        ]);
        assert_eq!(rows[1], ["http://a", "", "", "yes", "self", "", "", "", "1.0 KiB"]);
        assert_eq!(rows[2], ["http://b", "gone"]);
    }
}
