//! `vardr recover`: from what one member has left, or from a snapshot file, to the data directory of a new cluster.
//!
//! Tells what it finds, what it makes of it and what to do next, on standard output; asks nothing. What is done is in
//! `node::recover` and `node::restore`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::args::Recover;
use super::exit::{Failure, Outcome};
use super::maintenance::{Planned, check, new_cluster};
use super::output::{Output, size, table};
use crate::cluster::Peer;
use crate::machine::SnapshotHead;
use crate::model::{ClusterId, Member, Members};
use crate::node::{self, Holding, Identity, Progress, Survivor, cluster_id};

pub(crate) fn recover(args: &Recover) -> Outcome<()> {
    let out = Output::new(args.output);
    let plan = new_cluster(&args.cluster)?;
    let from = fs::metadata(&args.from).map_err(|error| Failure::io(args.from.display(), &error))?;
    let (found, head) =
        if from.is_dir() { from_member(&out, args, &plan)? } else { from_snapshot(&out, args, &plan, from.len())? };
    if out.is_json() {
        let object = json!({
            "from": args.from.display().to_string(),
            "found": found,
            "made": made(args, &plan, &head),
            "start": start_command(args, &plan),
        });
        return out.line(object.to_string());
    }
    out.line(table(&made_rows(args, &plan, &head)))?;
    out.line(next(args, &plan))
}

fn from_member(out: &Output, args: &Recover, plan: &Planned) -> Outcome<(Value, SnapshotHead)> {
    let failed = |error: node::RecoverError| Failure::failed(error.to_string());
    let survivor = Survivor::open(&args.from).map_err(failed)?;
    must_differ(args, plan, survivor.identity().cluster)?;
    let mut bar = Bar::new();
    let working = survivor.copy_into(&args.data_dir, &mut |step| bar.step(step)).map_err(failed)?;
    let holding = working.holding().clone();
    let told = bar.tell(out, || table(&holding_rows(args, &holding)));
    let head = working
        .begin_anew(plan.identity, &plan.members, &mut |step| bar.step(step))
        .map_err(|error| begun(args, &error))?;
    // Whoever stops to read has not asked for less to be done.
    told?;
    Ok((holding_object(&holding), head))
}

/// As `vardr snapshot restore`, but that all of the file is looked at before anything is made of it.
fn from_snapshot(out: &Output, args: &Recover, plan: &Planned, bytes: u64) -> Outcome<(Value, SnapshotHead)> {
    let mut bar = Bar::new();
    let found = check(&args.from, &mut |read| bar.read("checked", read))?;
    // A snapshot does not say which cluster it is of. One that has kept the members that it began with has their id.
    must_differ(args, plan, cluster_id(found.members.iter().map(|member| member.id)))?;
    let told = bar.tell(out, || table(&snapshot_rows(args, &found, bytes)));
    let file = File::open(&args.from).map_err(|error| Failure::io(args.from.display(), &error))?;
    let mut counted = Counted { file, bar };
    let restored = node::restore(&mut counted, &args.data_dir, plan.identity, &plan.members);
    let head = restored.map_err(|error| match error {
        node::RestoreError::NotEmpty { .. } => Failure::failed(error.to_string()),
        error => begun(args, &error),
    })?;
    told?;
    Ok((snapshot_object(&found, bytes), head))
}

/// A failure that leaves something behind.
fn begun(args: &Recover, error: &dyn std::error::Error) -> Failure {
    let data_dir = args.data_dir.display();
    Failure::failed(format!("{error}; what was begun in {data_dir} is of no use: delete it before the next try"))
}

/// Members of a cluster know each other by its id, and would take the new one's for theirs.
fn must_differ(args: &Recover, plan: &Planned, old: ClusterId) -> Outcome<()> {
    if plan.identity.cluster != old {
        return Ok(());
    }
    let token = format!("{}-recovered", plan.token);
    let again = recover_command(args, &args.data_dir, &[("initial-cluster-token", token)]);
    Err(Failure::usage(format!(
        "the new cluster would have the id of the old one, {old}, which follows from peer URLs and token: members of the \
         old one could speak with it. Choose another token, on each member the same:\n  {}",
        shell(&again)
    )))
}

fn holding_rows(args: &Recover, holding: &Holding) -> Vec<Vec<String>> {
    let Holding { identity, members, applied, revision, last, last_term, cut_off, .. } = holding;
    let Identity { cluster, member } = identity;
    let behind = match holding.behind() {
        0 => "all of it is in the store".to_owned(),
        behind => format!(
            "not in the store yet: {behind} of its entries, and not known to be committed: {}; all of them are kept",
            holding.uncommitted()
        ),
    };
    let mut rows = vec![
        row("found", format!("member {member} of cluster {cluster}, in {}", args.from.display())),
        row("members", list(members)),
        row("store", format!("revision {revision}, entry {applied} of the log")),
        row("log", format!("up to entry {last} of term {last_term}; {behind}")),
    ];
    if *cut_off {
        rows.push(row("", "its last batch was never finished, and so never acknowledged: it is left out"));
    }
    rows.push(row("now", "all of the log is applied to a copy of the store; what was found stays as it is"));
    rows
}

fn holding_object(holding: &Holding) -> Value {
    let Holding { identity, members, applied, revision, committed, last, last_term, cut_off } = holding;
    json!({
        "kind": "member", "clusterId": identity.cluster.to_string(), "memberId": identity.member.to_string(),
        "members": member_objects(members), "revision": revision.get(), "raftApplied": applied.get(),
        "raftCommitted": committed.get(), "raftTerm": last_term.get(), "raftIndex": last.get(),
        "entriesBehind": holding.behind(), "entriesUncommitted": holding.uncommitted(), "unfinishedBatch": cut_off,
    })
}

fn snapshot_rows(args: &Recover, head: &SnapshotHead, bytes: u64) -> Vec<Vec<String>> {
    let SnapshotHead { index, term, members, revision, .. } = head;
    vec![
        row("found", format!("a snapshot, whole and undamaged, {}, in {}", size(bytes), args.from.display())),
        row("members", list(members)),
        row("state", format!("revision {revision}, entry {index} of term {term} of the log")),
        row("now", "a store is made of it; the file stays as it is"),
    ]
}

fn snapshot_object(head: &SnapshotHead, bytes: u64) -> Value {
    let SnapshotHead { index, term, members, revision, .. } = head;
    json!({
        "kind": "snapshot", "bytes": bytes, "members": member_objects(members), "revision": revision.get(),
        "raftTerm": term.get(), "raftIndex": index.get(),
    })
}

fn made_rows(args: &Recover, plan: &Planned, head: &SnapshotHead) -> Vec<Vec<String>> {
    let Identity { cluster, member } = plan.identity;
    let SnapshotHead { index, term, revision, .. } = head;
    vec![
        row("made", format!("member {member} of the new cluster {cluster}, in {}", args.data_dir.display())),
        row("members", list(&plan.members)),
        row("state", format!("revision {revision}, entry {index} of term {term} of the log")),
    ]
}

fn made(args: &Recover, plan: &Planned, head: &SnapshotHead) -> Value {
    let Identity { cluster, member } = plan.identity;
    json!({
        "dataDir": args.data_dir.display().to_string(), "clusterId": cluster.to_string(),
        "memberId": member.to_string(), "members": member_objects(&plan.members), "revision": head.revision.get(),
        "compactRevision": head.compacted.get(), "raftTerm": head.term.get(), "raftIndex": head.index.get(),
    })
}

fn row(label: &str, text: impl Into<String>) -> Vec<String> {
    vec![label.to_owned(), text.into()]
}

/// Members by name, where they have told it, and URLs.
fn list(members: &Members) -> String {
    let text = |member: &Member| {
        let name = if member.name.is_empty() { member.id.to_string() } else { member.name.clone() };
        format!("{name} at {}", member.peer_urls.join(","))
    };
    members.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn member_objects(members: &Members) -> Vec<Value> {
    let object = |member: &Member| {
        let Member { id, name, peer_urls, learner, .. } = member;
        json!({"id": id.to_string(), "name": name, "peerUrls": peer_urls, "learner": learner})
    };
    members.iter().map(object).collect()
}

/// What to do next, line by line.
fn next(args: &Recover, plan: &Planned) -> String {
    let start = shell(&start_command(args, plan));
    let mut text = format!("Next, start it, with the other settings that it is to have:\n  {start}\n");
    if plan.others.is_empty() {
        text.push_str(
            "It is alone then. Add others to it, with empty directories:\n  vardr member add NAME --peer-urls URL\n",
        );
    } else {
        text.push_str("and each other member likewise, once its directory is made from a copy of the same FROM:\n");
        for Peer { name, urls } in &plan.others {
            let own = [("name", name.clone()), ("initial-advertise-peer-urls", urls.join(","))];
            let _infallible = writeln!(text, "  {}", shell(&recover_command(args, Path::new("DIR"), &own)));
        }
    }
    text.push_str(
        "Do not start members of the old cluster any more: they know nothing of the new one, and would answer clients \
         from the past. What was acknowledged and did not reach what was recovered from is lost.",
    );
    text
}

/// How the member is started that the directory was made for. It listens for others where the new cluster knows it.
fn start_command(args: &Recover, plan: &Planned) -> Vec<String> {
    let mut command = words(&["vardr", "--data-dir"]);
    command.push(args.data_dir.display().to_string());
    for (name, value) in args.cluster.flags() {
        command.extend([format!("--{name}"), value.to_owned()]);
    }
    if args.cluster.initial_cluster.is_some() || args.cluster.initial_advertise_peer_urls.is_some() {
        command.extend(["--listen-peer-urls".to_owned(), plan.own.urls.join(",")]);
    }
    command
}

/// This command, for another directory and with some flags changed.
fn recover_command(args: &Recover, data_dir: &Path, changed: &[(&str, String)]) -> Vec<String> {
    let mut command = words(&["vardr", "recover"]);
    command.extend([args.from.display().to_string(), "--data-dir".to_owned(), data_dir.display().to_string()]);
    for (name, value) in args.cluster.flags() {
        if changed.iter().all(|(other, _)| *other != name) {
            command.extend([format!("--{name}"), value.to_owned()]);
        }
    }
    command.extend(changed.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]));
    command
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A command as a shell reads it.
fn shell(command: &[String]) -> String {
    command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A line that says how far it is, on a terminal only.
struct Bar {
    line: ProgressBar,
    copied: u64,
    applied: u64,
    written: u64,
}

impl Bar {
    fn new() -> Self {
        // `stderr()` draws nothing where standard error is no terminal.
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
            line.set_style(style);
        }
        Self { line, copied: 0, applied: 0, written: 0 }
    }

    fn step(&mut self, step: Progress) {
        let text = match step {
            Progress::Copied(bytes) => {
                self.copied += bytes;
                format!("copied {} of the store", size(self.copied))
            }
            Progress::Applied(entries) => {
                self.applied += entries;
                format!("applied {} entries of the log", self.applied)
            }
            Progress::Written(bytes) => {
                self.written += bytes;
                format!("wrote {} of the new store", size(self.written))
            }
        };
        self.show(text);
    }

    /// For what is only read, by what is done with it.
    fn read(&mut self, verb: &str, bytes: u64) {
        self.copied += bytes;
        let text = format!("{verb} {} of the snapshot", size(self.copied));
        self.show(text);
    }

    fn show(&self, text: String) {
        self.line.set_message(text);
        self.line.tick();
    }

    /// Writes text to standard output, unless a program reads that, and begins to count anew.
    fn tell(&mut self, out: &Output, text: impl FnOnce() -> String) -> Outcome<()> {
        self.copied = 0;
        if out.is_json() { Ok(()) } else { self.line.suspend(|| out.line(text())) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}

/// A file that says how much of it was read.
struct Counted {
    file: File,
    bar: Bar,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.bar.read("restored", length as u64);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_shown_can_be_pasted() {
        let command = words(&["vardr", "--name", "it's me", "--data-dir", "/var/lib/x-1", ""]);
        assert_eq!(shell(&command), r"vardr --name 'it'\''s me' --data-dir /var/lib/x-1 ''");
    }
}
