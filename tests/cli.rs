//! The command line against a real server: what it prints, what it exits with, and that files and documents come back
//! as they went in.

#![cfg(test)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use support::Server;

/// How long anything awaited may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

fn command(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vardr"));
    command.args(arguments).env("VARDR_ENDPOINT", endpoint).stdin(Stdio::null());
    command
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    command(&server.url(), arguments).output().unwrap()
}

fn run_with_input(server: &Server, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = command(&server.url(), arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// What a command prints when it succeeds.
fn ok(server: &Server, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(server, &[arguments, &["-o", "json"]].concat())).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_kind_of_end_has_its_exit_code() {
    let server = Server::start();
    assert_eq!(ok(&server, &["put", "/a", "1"]), "created /a (revision 2)\n");
    assert_eq!(ok(&server, &["put", "/a", "2", "--if-revision", "2"]), "wrote /a (revision 3)\n");
    assert_eq!(ok(&server, &["get", "/a"]), "2\n");
    assert_eq!(code(&run(&server, &["get", "/b"])), 3);
    assert_eq!(code(&run(&server, &["put", "/a", "3", "--if-absent"])), 4);
    assert_eq!(code(&run(&server, &["del", "/a", "--if-value", "1"])), 4);
    assert_eq!(ok(&server, &["get", "/a"]), "2\n");
    assert_eq!(code(&run(&server, &["get"])), 2);
    assert_eq!(code(&run(&server, &["get", "/a", "--revision", "99"])), 2);
    assert_eq!(code(&run(&server, &["del", "/"])), 1, "a directory that is not empty");
    assert_eq!(code(&run(&server, &["get", "/a", "--endpoint", "http://127.0.0.1:1"])), 5);
    let problem = run(&server, &["get", "/b", "-o", "json"]);
    let problem: Value = serde_json::from_slice(&problem.stderr).unwrap();
    assert_eq!(problem["code"], "key_not_found");
}

#[test]
fn values_are_bytes_whatever_they_are() {
    let server = Server::start();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(code(&run_with_input(&server, &["put", "/b", "-"], &bytes)), 0);
    assert_eq!(run(&server, &["get", "/b", "--raw"]).stdout, bytes);
    assert_eq!(code(&run_with_input(&server, &["put", "/empty", "-"], b"")), 0);
    assert_eq!(run(&server, &["get", "/empty", "--raw"]).stdout, b"");
    let mut odd = command(&server.url(), &["put"]);
    let odd = odd.arg(OsStr::from_bytes(b"no/slash\xff/../")).args(["x", "--if-absent"]).output().unwrap();
    assert_eq!(code(&odd), 2, "a directory takes no value");
    let key = OsStr::from_bytes(b"no/slash\xff/..");
    assert_eq!(code(&command(&server.url(), &["put"]).arg(key).arg("x").output().unwrap()), 0);
    assert_eq!(command(&server.url(), &["get"]).arg(key).output().unwrap().stdout, b"x\n");
}

#[test]
fn a_terminal_obeys_no_name_that_is_shown() {
    let server = Server::start();
    let shown = "/app\\x1b[2J/a\\x07";
    assert_eq!(ok(&server, &["put", "/app\x1b[2J/a\x07", "x"]), format!("created {shown} (revision 2)\n"));
    assert_eq!(ok(&server, &["ls", "/"]), "/app\\x1b[2J/\n");
    assert_eq!(ok(&server, &["ls", "/", "--recursive"]), format!("{shown}\n"));
    let watched = ok(&server, &["watch", "/app\x1b[2J/", "--initial", "--limit", "1"]);
    assert_eq!(watched, format!("       2 put {shown} x\n"));
    ok(&server, &["put", "/value", "a\u{1b}[2J\n\tb\n"]);
    let watched = ok(&server, &["watch", "/value", "--initial", "--limit", "1"]);
    assert_eq!(watched, "       3 put /value a\\x1b[2J\\n\\tb\\n\n");
    ok(&server, &["put", "/value", "a\u{1b}[2J\n\tc\n"]);
    let difference = ok(&server, &["history", "/value", "--diff", "3..4"]);
    assert!(difference.contains("\n a\\x1b[2J\n-\tb\n+\tc\n"), "{difference}");
    assert_eq!(json(&server, &["ls", "/"])["directories"], json!(["/app\u{1b}[2J/"]));
    let moved = ok(&server, &["copy", "/app\x1b[2J/", "/b\x1b/", "--dry-run"]);
    assert!(moved.ends_with("\nwrite /b\\x1b/a\\x07\n"), "{moved}");

    let lease = ok(&server, &["lease", "grant", "1m"]);
    let held = |key: &[u8]| {
        let key = OsStr::from_bytes(key);
        command(&server.url(), &["put", "--lease", lease.trim()]).args([key, OsStr::new("x")]).output().unwrap()
    };
    assert_eq!([code(&held(b"/held\x1b")), code(&held(b"/held\xff"))], [0, 0]);
    let keys = ok(&server, &["lease", "get", lease.trim()]);
    assert!(keys.ends_with("\n/held\\x1b\n/held\\xff\n"), "{keys}");

    let instance = r#"{"address":"10.0.0.7","port":80,"tags":["a\u001b"]}"#;
    ok(&server, &["put", "/services/web/1", instance, "--json"]);
    let listed = ok(&server, &["services", "web"]);
    assert!(listed.contains("a\\x1b") && !listed.contains('\x1b'), "{listed}");
}

#[test]
fn the_commands_on_keys_speak_for_themselves() {
    let server = Server::start();
    run_with_input(&server, &["put", "/app/web", "-", "--json"], b"{\"port\": 80}");
    ok(&server, &["patch", "/app/web", "{\"port\":81,\"tls\":true}"]);
    assert_eq!(json(&server, &["get", "/app/web"])["value"], json!({"port": 81, "tls": true}));
    ok(&server, &["patch", "/app/web", "--json-patch", "[{\"op\":\"remove\",\"path\":\"/tls\"}]"]);
    assert_eq!(ok(&server, &["get", "/app/web"]), "{\"port\":81}\n");
    assert_eq!(json(&server, &["history", "/app/web"])["items"].as_array().unwrap().len(), 3);
    assert!(ok(&server, &["history", "/app/web", "--diff", "2..3"]).contains("replace"));
    ok(&server, &["history", "/app/web", "--rollback", "2"]);
    assert_eq!(json(&server, &["get", "/app/web"])["value"], json!({"port": 80}));
    assert!(ok(&server, &["copy", "/app/web", "/app/other"]).starts_with("wrote 1, overwriting 0 "));
    assert_eq!(code(&run(&server, &["move", "/app/", "/app/"])), 2);
    let tried = ok(&server, &["move", "/app/", "/moved/", "--dry-run"]);
    assert!(tried.ends_with("\nwrite /moved/other\nwrite /moved/web\n"), "{tried}");
    ok(&server, &["move", "/app/", "/moved/"]);
    let odd = OsStr::from_bytes(b"/moved/\xff");
    assert_eq!(code(&command(&server.url(), &["copy", "/moved/web"]).arg(odd).output().unwrap()), 0);
    let tried = ok(&server, &["copy", "/moved/", "/other/", "--dry-run"]);
    assert!(tried.ends_with("write /other/web\nwrite /other/\\xff\n"), "{tried}");
    assert_eq!(code(&command(&server.url(), &["del"]).arg(odd).output().unwrap()), 0);
    ok(&server, &["copy", "/moved/web", "/app/web"]);
    assert_eq!(code(&run(&server, &["copy", "/moved/", "/app/"])), 4);
    assert_eq!(json(&server, &["copy", "/moved/", "/app/", "--overwrite"])["overwritten"], 1);
    ok(&server, &["del", "/moved/", "--recursive"]);
    ok(&server, &["del", "/app/other"]);
    ok(&server, &["put", "/app/empty/"]);
    let first = json(&server, &["put", "/app/queue/", "one", "--in-order"]);
    let second = json(&server, &["put", "/app/queue/", "two", "--in-order"]);
    assert!(first["key"].as_str().unwrap() < second["key"].as_str().unwrap());
    assert_eq!(ok(&server, &["ls", "/app"]), "/app/empty/\n/app/queue/\n/app/web\n");
    let txn = br#"{"if":[{"key":"/app/web","prevExist":false}],"else":[{"get":{"key":"/app/web"}}]}"#;
    let output = run_with_input(&server, &["txn", "-", "-o", "json"], txn);
    assert_eq!(code(&output), 4);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["succeeded"], false);
    assert!(ok(&server, &["del", "/app/", "--recursive"]).starts_with("deleted 4 "));
    assert_eq!(code(&run(&server, &["ls", "/app/none"])), 3);
    let nowhere = run(&server, &["ls", "app"]);
    let said = String::from_utf8_lossy(&nowhere.stderr);
    assert!(code(&nowhere) == 2 && said.contains("`app` is not a directory: one begins with a slash"), "{said}");
}

#[test]
fn a_lease_lives_while_it_is_kept_and_takes_its_keys_along() {
    let server = Server::start();
    let lease = ok(&server, &["lease", "grant", "60s"]);
    let lease = lease.trim();
    ok(&server, &["put", "/with", "x", "--lease", lease]);
    ok(&server, &["lease", "keepalive", lease, "--once"]);
    assert_eq!(json(&server, &["lease", "get", lease])["keys"], json!(["/with"]));
    assert_eq!(json(&server, &["lease", "list"])["items"][0]["id"], lease);
    ok(&server, &["lease", "revoke", lease]);
    assert_eq!(code(&run(&server, &["get", "/with"])), 3);
    assert_eq!(code(&run(&server, &["lease", "keepalive", lease])), 3);
}

#[test]
fn the_next_endpoint_is_tried_when_one_cannot_be_reached() {
    let server = Server::start();
    let both = format!("http://127.0.0.1:1,{}", server.url());
    for arguments in [&["put", "/a", "1"][..], &["get", "/a"], &["ls"]] {
        let output = command(&both, arguments).output().unwrap();
        assert_eq!(code(&output), 0, "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output = command(&both, &["status", "-o", "json"]).output().unwrap();
    assert_eq!(code(&output), 5);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(all[0]["error"].is_string());
    assert_eq!(all[1]["ready"], true);
}

#[test]
fn a_directory_comes_back_byte_for_byte() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let at = |name: &[u8]| source.join(OsStr::from_bytes(name));
    fs::create_dir_all(at(b"sub/empty")).unwrap();
    fs::create_dir_all(at(b"only links")).unwrap();
    fs::write(at(b"empty file"), b"").unwrap();
    fs::write(at(b"sub/\xff\xfe not utf-8"), b"\x00\xff\r\n").unwrap();
    fs::write(at("sub/ü?#%:increment".as_bytes()), "text\n").unwrap();
    fs::write(at(b"sub/.hidden"), b"{\"json\":\n 1.50}").unwrap();
    fs::write(at(b"large"), vec![0xab; 1_200_000]).unwrap();
    for number in 0..300 {
        fs::write(at(format!("sub/n{number}").as_bytes()), number.to_string().repeat(2000)).unwrap();
    }
    symlink("/etc", at(b"only links/link")).unwrap();

    let report = json(&server, &["import", path(&source), "/copy"]);
    assert_eq!((&report["keys"], &report["directories"]), (&json!(305), &json!(2)));
    assert_eq!(report["skipped"].as_array().unwrap().len(), 1);
    let target = dir.path().join("target");
    let refused = run(&server, &["export", "/copy/", path(&target), "--endpoint", "http://127.0.0.1:1"]);
    assert_eq!((code(&refused), target.exists()), (5, false), "nothing is read, nothing is made");
    ok(&server, &["export", "/copy/", path(&target)]);
    fs::remove_file(at(b"only links/link")).unwrap();
    assert_same(&source, &target);
    assert_eq!(code(&run(&server, &["export", "/copy", path(&target)])), 2, "it is not empty");
}

fn assert_same(left: &Path, right: &Path) {
    let output = Command::new("diff").args(["-r", "--no-dereference"]).arg(left).arg(right).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_document_comes_back_with_its_types() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let document = json!({
        "text": "line\nline", "number": 5432, "fraction": 1.5, "yes": true, "nothing": null, "list": [1, "two", {"x": {}}],
        "nested": {"empty": {}, "a/b": "slash", "": "itself", "..": 1, "007": "agent"},
    });
    let source = dir.path().join("source.json");
    fs::write(&source, document.to_string()).unwrap();
    let report = json(&server, &["import", path(&source), "/app"]);
    assert_eq!((&report["keys"], &report["directories"]), (&json!(10), &json!(1)));
    assert_eq!(json(&server, &["get", "/app/number"])["value"], 5432);
    assert_eq!(json(&server, &["get", "/app/text"])["value"], "line\nline");

    let values = ok(&server, &["ls", "/app", "--values"]);
    assert!(values.contains("/app/text line\\nline\n"), "a value in one line: {values}");
    let history = ok(&server, &["history", "/app/text"]);
    assert!(history.ends_with("  line\\nline\n") && history.lines().count() == 1, "{history}");

    let back: Value = serde_json::from_str(&ok(&server, &["export", "/app", "-"])).unwrap();
    assert_eq!(back, document);
    let yaml = dir.path().join("back.yaml");
    ok(&server, &["export", "/app", path(&yaml)]);
    ok(&server, &["import", path(&yaml), "/again"]);
    let again: Value = serde_json::from_str(&ok(&server, &["export", "/again", "-"])).unwrap();
    assert_eq!(again, document, "{}", fs::read_to_string(&yaml).unwrap());
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.yaml");
    fs::write(&source, "a: 1\nb: {c: x}\n").unwrap();
    assert_eq!(ok(&server, &["import", path(&source), "/app", "--dry-run"]), "put /app/a\nput /app/b/c\n");
    assert_eq!(code(&run(&server, &["ls", "/app"])), 3);
}

#[test]
fn what_cannot_be_kept_is_named_and_fails() {
    let server = Server::with_flags(&["--max-request-bytes", "4096"]);
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("small"), "x").unwrap();
    fs::write(source.join("large"), vec![b'x'; 5000]).unwrap();
    let output = run(&server, &["import", path(&source), "/d", "-o", "json"]);
    assert_eq!(code(&output), 1);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["keys"], &report["bytes"]), (&json!(1), &json!(1)));
    assert_eq!(report["failed"][0]["name"], "/d/large");
    assert_eq!(ok(&server, &["get", "/d/small"]), "x\n");

    ok(&server, &["put", "/d/small/below", "y"]);
    let target = dir.path().join("target");
    let output = run(&server, &["export", "/d", path(&target)]);
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("left out small: also a directory"));
    assert_eq!(fs::read(target.join("small/below")).unwrap(), b"y");
    let beside = dir.path().join("beside");
    ok(&server, &["export", "/d", path(&beside), "--beside", ".value"]);
    assert_eq!(fs::read(beside.join("small.value")).unwrap(), b"x");
}

#[test]
fn lists_longer_than_a_page_are_whole() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("many.json");
    let members: serde_json::Map<String, Value> = (0..2500).map(|n| (format!("k{n:04}"), json!(n))).collect();
    fs::write(&source, Value::Object(members.clone()).to_string()).unwrap();
    ok(&server, &["import", path(&source), "/many"]);
    let list = json(&server, &["ls", "/many"]);
    assert_eq!(list["items"].as_array().unwrap().len(), 2500);
    assert!(list.get("cursor").is_none());
    assert_eq!(ok(&server, &["ls", "/many", "--limit", "1200"]).lines().count(), 1200);
    let back: Value = serde_json::from_str(&ok(&server, &["export", "/many", "-"])).unwrap();
    assert_eq!(back, Value::Object(members));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("many.json");
    let members: serde_json::Map<String, Value> = (0..5000).map(|n| (format!("k{n:0200}"), json!(n))).collect();
    fs::write(&source, Value::Object(members).to_string()).unwrap();
    ok(&server, &["import", path(&source), "/many"]);
    let mut child =
        command(&server.url(), &["ls", "/many"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("/many/k0"), "{line}");
    let mut complaints = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!(complaints, "");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A `vardr watch` and what it prints, line by line.
struct Watching {
    child: Child,
    lines: mpsc::Receiver<Value>,
}

impl Watching {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        Self::run(server, &[&["watch"], arguments].concat())
    }

    fn run(server: &Server, arguments: &[&str]) -> Self {
        let mut child = command(&server.url(), &[arguments, &["-o", "json"]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = lines(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn next(&self) -> Value {
        self.lines.recv_timeout(LIMIT).unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stdout: ChildStdout) -> mpsc::Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                return;
            }
        }
    });
    receiver
}

#[test]
fn a_watch_misses_and_repeats_nothing_when_the_server_is_killed() {
    let mut server = Server::start();
    ok(&server, &["put", "/w/before", "x"]);
    let mut watching = Watching::start(&server, &["/w/", "--initial", "--limit", "9"]);
    assert_eq!(watching.next()["key"], "/w/before");
    assert_eq!(watching.next()["type"], "synced");
    let mut expected = Vec::new();
    for round in 0..4 {
        for name in ["a", "b"] {
            let key = format!("/w/{name}{round}");
            ok(&server, &["put", &key, "x"]);
            expected.push(key);
        }
        server.kill();
        server.restart();
    }
    let seen: Vec<_> = expected.iter().map(|_| watching.next()["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(seen, expected);
    assert_eq!(watching.child.wait().unwrap().code(), Some(0), "it ends after nine events");
}

#[test]
fn a_watch_from_a_past_that_is_gone_says_so() {
    let server = Server::start();
    for value in ["1", "2", "3"] {
        ok(&server, &["put", "/w", value]);
    }
    ok(&server, &["compact", "4"]);
    let output = run(&server, &["watch", "/w", "--after", "1"]);
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("compacted"));
    let watching = Watching::start(&server, &["/w", "--after", "1", "--reset"]);
    assert_eq!(watching.next()["type"], "reset");
    assert_eq!(watching.next()["value"], "3");
}

#[test]
fn services_are_listed_chosen_and_followed() {
    let mut server = Server::start();
    let client = support::http::Client::new(server.address());
    client.put("/v1/services/web/a?ttl=5m", r#"{"address":"10.0.0.7","port":80,"tags":["v2","eu"]}"#).expect(201);
    client.put("/v1/services/web/b?ttl=5m", r#"{"address":"::1","port":81,"status":"draining"}"#).expect(201);
    client.put("/v1/keys/services/my%20db/x", "by hand").expect(201);
    let lines =
        ["SERVICE  INSTANCES  PASSING  TAGS", "my db    1          0", "web      2          1        eu,v2", ""];
    assert_eq!(ok(&server, &["services"]), lines.join("\n"));
    let web = ok(&server, &["services", "web"]);
    let rows: Vec<Vec<&str>> = web.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["INSTANCE", "ADDRESS", "STATUS", "WEIGHT", "TTL", "TAGS"]);
    assert_eq!((&rows[1][..4], rows[1][5]), (&["a", "10.0.0.7:80", "passing", "1"][..], "v2,eu"));
    assert_eq!(rows[2][..3], ["b", "[::1]:81", "draining"]);
    assert!(ok(&server, &["services", "my db"]).contains("(it does not read as a document"));
    let chosen = json(&server, &["services", "web", "--tag", "eu", "--tag", "v2", "--status", "passing"]);
    assert_eq!((&chosen["service"], &chosen["items"][0]["instance"]), (&json!("web"), &json!("a")));
    assert_eq!(chosen["items"].as_array().unwrap().len(), 1);
    assert_eq!(json(&server, &["services", "none"])["items"], json!([]));
    let none = run(&server, &["services", "none"]);
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert_eq!((none.status.code(), none.stdout.as_slice()), (Some(0), &b""[..]));
    assert_eq!(said, "vardr: there are no instances of `none`\n");
    for wrong in [&["services", "--tag", "eu"][..], &["services", "web", "--status", "up"], &["services", ".."]] {
        assert_eq!(code(&run(&server, wrong)), 2, "{wrong:?}");
    }
    let mut watching = Watching::run(&server, &["services", "web", "--watch", "--limit", "4"]);
    for expected in ["a", "b"] {
        assert_eq!(watching.next()["instance"], expected);
    }
    assert_eq!(watching.next()["type"], "synced");
    server.kill();
    server.restart();
    client.put("/v1/services/web/a:status", r#"{"status":"warning"}"#).expect(200);
    assert_eq!(watching.next()["type"], "changed");
    client.delete("/v1/services/web/b").expect(200);
    let gone = watching.next();
    assert_eq!((&gone["type"], &gone["reason"]), (&json!("deregistered"), &json!("deleted")));
    assert_eq!(watching.child.wait().unwrap().code(), Some(0), "it ends after four events");
}

#[test]
fn who_watches_holds_and_leads_is_listed_in_lines_and_as_json() {
    let server = Server::start();
    let client = support::http::Client::new(server.address());
    for (command, said) in [("watchers", "nobody watches"), ("locks", "no lock is held"), ("elections", "nobody leads")]
    {
        let none = run(&server, &[command]);
        assert_eq!((code(&none), none.stdout.as_slice()), (0, &b""[..]));
        assert_eq!(String::from_utf8(none.stderr).unwrap(), format!("vardr: {said}\n"));
        assert_eq!(json(&server, &[command])["items"], json!([]));
    }
    let none = run(&server, &["locks", "nightly/"]);
    assert_eq!(String::from_utf8(none.stderr).unwrap(), "vardr: no lock is held: nothing begins with `nightly/`\n");

    let watching = Watching::start(&server, &["/app/", "--children"]);
    support::until("nobody watches", || json(&server, &["watchers"])["items"].as_array().unwrap().len() == 1);
    let text = ok(&server, &["watchers", "/app"]);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "CARRIER", "WATCHED", "SINCE", "REVISION", "BACKLOG", "ADDRESS", "USER", "AGENT"]);
    let listed = &json(&server, &["watchers"])["items"][0];
    let text = |name: &str| listed[name].as_str().unwrap();
    assert_eq!(rows[1][..4], [text("id"), text("carrier"), "/app/*", text("since")]);
    assert_eq!(rows[1][4..7], [&*client.revision().to_string(), "0", text("address")]);
    assert_eq!(json(&server, &["watchers", "/other"])["items"], json!([]));
    drop(watching);

    let lock = client.post("/v1/locks/nightly/backup", r#"{"owner":"me","ttl":"5m"}"#).expect(200).value();
    let candidate = client.post("/v1/elections/primary", r#"{"value":"10.0.0.7","ttl":"5m"}"#).expect(200).value();
    let rows = |command: &[&str]| -> Vec<Vec<String>> {
        let text = ok(&server, command);
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let held = rows(&["locks", "nightly/"]);
    assert_eq!((held.len(), held[0].join(" ")), (2, "LOCK HOLDER OWNER TOKEN TTL WAITING".to_owned()));
    let token = lock["fencingToken"].to_string();
    assert_eq!(held[1][..4], ["nightly/backup", lock["holder"].as_str().unwrap(), "me", &token]);
    assert_eq!(held[1][5], "0");
    let led = rows(&["elections", "primary"]);
    assert_eq!((led.len(), led[0].join(" ")), (2, "ELECTION LEADER VALUE TOKEN TTL WAITING".to_owned()));
    assert_eq!(led[1][..3], ["primary", candidate["candidate"].as_str().unwrap(), "10.0.0.7"]);
    let locks = json(&server, &["locks"]);
    assert_eq!(locks["items"][0]["holder"]["owner"], "me");
    assert_eq!(locks["items"].as_array().unwrap().len(), 2, "the queue of an election is alike");
    assert_eq!(code(&run(&server, &["locks", "a", "b"])), 2);
}

#[test]
fn a_snapshot_is_whole_or_said_not_to_be() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    for number in 0..20 {
        run_with_input(&server, &["put", &format!("/s/{number}"), "-"], &vec![b'x'; 50_000]);
    }
    let file = dir.path().join("vardr.snapshot");
    ok(&server, &["snapshot", "save", path(&file)]);
    assert_eq!(code(&run(&server, &["snapshot", "save", path(&file)])), 2, "nothing is overwritten unasked");
    let head = json(&server, &["snapshot", "verify", path(&file)]);
    assert_eq!((&head["revision"], &head["compactRevision"]), (&json!(21), &json!(0)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no partial file is left");

    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() - 1], &whole[..8], b"", b"something else"] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(code(&run(&server, &["snapshot", "verify", path(&file)])), 1, "{} bytes", damaged.len());
    }
}

#[test]
fn settings_that_cannot_be_used_stop_the_start_by_name() {
    let output = Command::new(env!("CARGO_BIN_EXE_vardr"))
        .args(["-data-dir", "/nonexistent/x", "-snapshot-count=many"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 2);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("--snapshot-count: `many` (given as a flag)"), "{message}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_vardr")).args(["completion", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("history") && script.contains("data-dir"), "{shell}");
    }
}
