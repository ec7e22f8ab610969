//! etcd's own client, `etcdctl` as Debian has it, with what no other client does: it names endpoints with their scheme, and saves
//! a snapshot.

use std::process::{Command, Stdio};

use crate::snapshot::restore;
use crate::support::Server;
use crate::support::etcd::no_etcdctl;
use crate::support::volume::not_run;

fn command(server: &Server, args: &[&str]) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", &server.url()]).args(args).stderr(Stdio::null());
    command
}

fn run(server: &Server, args: &[&str]) -> String {
    let output = command(server, args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_names_an_endpoint_with_its_scheme_where_it_speaks_to_that_one_alone() {
    if let Some(why) = no_etcdctl() {
        return not_run(why);
    }
    let server = Server::start();
    run(&server, &["put", "a", "1"]);
    let status = run(&server, &["endpoint", "status"]);
    assert!(status.starts_with(&format!("{}, ", server.url())), "{status}");
    let hash = run(&server, &["endpoint", "hashkv"]);
    assert!(hash.starts_with(&format!("{}, ", server.url())), "{hash}");
    run(&server, &["defrag"]);
    run(&server, &["endpoint", "health"]);
}

#[test]
fn it_saves_a_snapshot_that_is_restored_by_the_command() {
    if let Some(why) = no_etcdctl() {
        return not_run(why);
    }
    let server = Server::start();
    run(&server, &["put", "a", "1"]);
    let dir = tempfile::tempdir().unwrap();
    let (file, data_dir) = (dir.path().join("saved.db"), dir.path().join("data"));
    let mut save = command(&server, &["snapshot", "save", file.to_str().unwrap()]);
    assert!(save.status().unwrap().success());
    restore(&file, &data_dir).unwrap();
    let restored = Server::try_start_in(&data_dir, &[]).unwrap();
    assert_eq!(run(&restored, &["get", "a"]), "a\n1\n");
    // It is no database of bbolt's, and nothing that it says of one.
    let status = command(&server, &["snapshot", "status", file.to_str().unwrap()]).output().unwrap();
    assert!(!status.status.success());
}
