//! What holds between the dialects: one lock for a client of etcd's and one of `/v1`, and one revision for a key, whoever looks.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::Value;
use vardr::api::v1::schema::LockObject;

use crate::etcdctl::{Ctl, Version};
use crate::page;
use crate::support::etcd::no_etcdctl;
use crate::support::finish::finish;
use crate::support::http::Client;
use crate::support::volume::not_run;
use crate::support::{Server, go};

/// How often each of the two that contend for a lock takes it.
const TIMES: u64 = 60;

/// Takes the lock and each time is the only one inside the folder, as the program in Go does.
fn contend(client: &Client, name: &str, folder: &Path) {
    for _ in 0..TIMES {
        let lock: LockObject = client.post(&format!("/v1/locks/{name}"), r#"{"wait":"30s"}"#).expect(200).shape();
        let inside = folder.join("inside");
        File::create_new(&inside).expect("both hold the lock");
        let count: u64 = fs::read_to_string(folder.join("count")).unwrap().parse().unwrap();
        fs::write(folder.join("count"), (count + 1).to_string()).unwrap();
        fs::remove_file(inside).unwrap();
        client.delete(&format!("/v1/locks/{name}/{}", lock.holder)).expect(200);
    }
}

/// Two programs in Go and one client of `/v1` take one lock in turn; what was seen.
fn of_one_lock(server: &Server) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("count"), "0").unwrap();
    let program = || {
        let mut command = Command::new(go::built("go"));
        command.arg(server.address()).arg("shared").arg(folder.path()).arg(TIMES.to_string());
        finish(&mut command).unwrap()
    };
    let outputs = thread::scope(|scope| {
        let others = [scope.spawn(program), scope.spawn(program)];
        contend(&Client::new(server.address()), "shared", folder.path());
        others.map(|other| other.join().unwrap())
    });
    for output in outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let held = fs::read_to_string(folder.path().join("count")).unwrap();
    assert_eq!(held, (3 * TIMES).to_string(), "one came in before another had left");
    format!("yes: held {held} times, one at a time")
}

/// A number in an answer, wherever a dialect writes it as text.
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value} is no number"))
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

fn curl(arguments: &[&str]) -> Value {
    let output = finish(Command::new("curl").arg("-sSf").args(arguments)).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    json(&output.stdout)
}

/// A key is put by `put`, which says the revision: etcdctl, a watch of etcdctl's, `/v1` and `/v2` all see that one.
fn of_one_revision(server: &Server, key: &str, put: impl FnOnce() -> u64) {
    let ctl = Ctl::at(Version::Debian, server.address());
    let watch = ctl.follow(&format!("watch {key} -w json"));
    ctl.until_watched(1);
    let revision = put();
    let heard = json(watch.line().as_bytes());
    drop(watch);
    ctl.until_watched(0);
    assert_eq!(number(&heard["Events"][0]["kv"]["mod_revision"]), revision, "{heard}");
    let got = json(&ctl.quietly(&format!("get {key} -w json")).stdout);
    assert_eq!(number(&got["kvs"][0]["mod_revision"]), revision, "{got}");
    assert_eq!(String::from_utf8_lossy(&ctl.quietly(&format!("get {key} --print-value-only")).stdout), "two words\n");
    let second = curl(&[&format!("{}/v2/keys{key}", server.url())]);
    assert_eq!(number(&second["node"]["modifiedIndex"]), revision, "{second}");
    assert_eq!(second["node"]["value"], "two words");
    let first = curl(&[&format!("{}/v1/keys{key}", server.url())]);
    assert_eq!((number(&first["modRevision"]), first["value"].as_str()), (revision, Some("two words")), "{first}");
}

#[test]
fn what_one_dialect_does_is_the_same_to_the_others() {
    if let Some(why) = go::hindrance().or_else(|| no_etcdctl().map(str::to_owned)) {
        return not_run(&why);
    }
    go::build("go");
    let server = Server::start();
    let url = server.url();
    let locked = of_one_lock(&server);
    let v1 = format!("{url}/v1/keys/shared/first");
    of_one_revision(&server, "/shared/first", || {
        number(&curl(&["-X", "PUT", &v1, "-H", "Content-Type: text/plain", "-d", "two words"])["modRevision"])
    });
    let v2 = format!("{url}/v2/keys/shared/second");
    of_one_revision(&server, "/shared/second", || {
        number(&curl(&["-X", "PUT", &v2, "-d", "value=two words"])["node"]["modifiedIndex"])
    });
    let ctl = Ctl::at(Version::Debian, server.address());
    of_one_revision(&server, "/shared/third", || {
        number(&json(&ctl.quietly("put /shared/third 'two words' -w json").stdout)["header"]["revision"])
    });
    let seen = "etcdctl, a watch of etcdctl's, `/v1` and `/v2` by curl";
    let mut rows = vec!["| claim | what was run | holds |".to_owned(), "| --- | --- | --- |".to_owned()];
    rows.push(format!(
        "| Clients of `/v1` and of etcd's `concurrency` package contend for one lock and never hold it together | \
         two programs in Go and one client of `/v1`, {TIMES} times each, with a file in between that is there once | {locked} |"
    ));
    for writer in ["curl to `/v1`", "curl to `/v2`", "etcdctl"] {
        rows.push(format!("| What {writer} puts is seen by all, with one revision and one value | {seen} | yes |"));
    }
    page::hold("Between the dialects", "These are of Vardr alone.", &rows.join("\n"));
}
