//! `vardr import --from-etcd-v2` and `--from-etcd-v3`, from real etcd: what it has is here afterwards, with its time to live,
//! and what could not be had is said.

#![cfg(test)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use support::Server;
use support::etcd::Etcd;
use support::http::Client;
use support::volume::not_run;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn import(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vardr"));
    command.arg("import").args(arguments).env("VARDR_ENDPOINT", server.url()).stdin(Stdio::null());
    command.output().unwrap()
}

/// The report of an import that ends with this code.
#[track_caller]
fn report(server: &Server, arguments: &[&str], code: i32) -> Value {
    let output = import(server, &[arguments, &["-o", "json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

fn set(etcd: &Client, path: &str, form: &str) {
    let answer = etcd.send("PUT", &format!("/v2/keys{path}"), &[FORM], form.as_bytes());
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
}

fn ask(etcd: &Client, path: &str, body: &Value) -> Value {
    etcd.post(&format!("/v3{path}"), body.to_string()).expect(200).value()
}

/// Base64, as the gateway has all bytes.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn put(etcd: &Client, key: &[u8], value: &[u8], lease: u64) {
    ask(etcd, "/kv/put", &json!({"key": base64(key), "value": base64(value), "lease": lease.to_string()}));
}

/// Every key that Vardr has, by its name, in order.
fn items(vardr: &Client) -> Vec<Value> {
    let answer = vardr.post("/v1/txn", r#"{"then":[{"get":{"key":"/","recursive":true}}]}"#).expect(200).value();
    answer["results"][0]["get"]["items"].as_array().unwrap().clone()
}

fn found(vardr: &Client, key: &str) -> Value {
    items(vardr).into_iter().find(|item| item["key"] == key).unwrap_or_else(|| panic!("there is no {key}"))
}

/// What the v2 API shows of everything: each node's path, whether it is a directory, its value, and whether it is to die.
fn tree(server: &Client) -> Vec<(Value, bool, Value, bool)> {
    fn walk(node: &Value, found: &mut Vec<(Value, bool, Value, bool)>) {
        found.push((node["key"].clone(), node["dir"] == true, node["value"].clone(), node["ttl"].is_u64()));
        node["nodes"].as_array().into_iter().flatten().for_each(|inner| walk(inner, found));
    }
    let mut found = Vec::new();
    walk(&server.get("/v2/keys/?recursive=true&sorted=true").expect(200).value()["node"], &mut found);
    found
}

fn is_about(ttl: &Value, seconds: f64) -> bool {
    ttl.as_f64().is_some_and(|ttl| ttl <= seconds && ttl > seconds - 60.0)
}

#[test]
fn a_v2_cluster_comes_over_with_directories_and_what_is_left_of_their_time() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let (source, server) = (Etcd::start(), Server::start());
    let (etcd, vardr) = (source.http(), Client::new(server.address()));
    for (path, form) in [
        ("/app/db/host", "value=10.0.0.1%0A"),
        ("/app/db/empty", "value="),
        ("/app/%C3%A9t%C3%A9%20%3F%23", "value=%E2%82%AC"),
        ("/app/soon", "value=x&ttl=300"),
        ("/none", "dir=true"),
        ("/dying", "dir=true&ttl=500"),
        ("/dying/with", "value=1"),
        ("/_hidden/key", "value=2"),
    ] {
        set(&etcd, path, form);
    }
    let told = report(&server, &["--from-etcd-v2", &source.url()], 0);
    assert_eq!((&told["keys"], &told["directories"], &told["leases"]), (&json!(5), &json!(4), &json!(0)), "{told}");
    let notes = told["notes"].as_array().unwrap();
    assert!(notes.len() == 1 && notes[0].as_str().unwrap().contains("hidden"), "{told}");
    let names: Vec<String> = items(&vardr).iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect();
    let expected = [
        "/app/",
        "/app/db/",
        "/app/db/empty",
        "/app/db/host",
        "/app/soon",
        "/app/été ?#",
        "/dying/",
        "/dying/with",
        "/none/",
    ];
    assert_eq!(names, expected);
    assert_eq!(vardr.get("/v1/keys/app/db/host?raw=true").expect(200).body, b"10.0.0.1\n");
    assert_eq!(found(&vardr, "/app/été ?#")["value"], "€");
    assert!(is_about(&found(&vardr, "/app/soon")["ttl"], 300.0));
    assert!(is_about(&found(&vardr, "/dying/")["ttl"], 500.0));
    assert_eq!(found(&vardr, "/dying/with").get("ttl"), None);

    assert_eq!(tree(&vardr), tree(&etcd), "both show the same");

    let told = report(&server, &["--from-etcd-v2", &source.url(), "/_hidden/"], 0);
    assert_eq!((&told["keys"], &told["directories"]), (&json!(1), &json!(1)), "{told}");
    assert_eq!(found(&vardr, "/_hidden/key")["value"], "2");
    let output = import(&server, &["--from-etcd-v2", &source.url(), "/app/nothing"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_v2_directory_that_is_to_die_takes_what_is_below_it_along_here_too() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let (source, server) = (Etcd::start(), Server::start());
    let (etcd, vardr) = (source.http(), Client::new(server.address()));
    set(&etcd, "/d", "dir=true&ttl=3");
    set(&etcd, "/d/deep/key", "value=1");
    assert_eq!(report(&server, &["--from-etcd-v2", &source.url()], 0)["keys"], 1);
    support::until("the directory does not end", || vardr.get("/v1/keys/d/deep/key").status == 404);
    assert_eq!(items(&vardr), [] as [Value; 0]);
}

#[test]
fn a_v3_cluster_comes_over_byte_for_byte_and_keys_that_share_a_lease_share_it_here() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let (source, server) = (Etcd::start(), Server::start());
    let (etcd, vardr) = (source.http(), Client::new(server.address()));
    for id in [77, 78] {
        ask(&etcd, "/lease/grant", &json!({"TTL": 400, "ID": id}));
    }
    let every_byte: Vec<u8> = (0..=255).collect();
    put(&etcd, b"/app/a", b"1", 77);
    put(&etcd, b"/app/b", b"2", 77);
    put(&etcd, b"/app/c", b"3", 78);
    put(&etcd, b"/app/", b"", 0);
    put(&etcd, b"/nazha/", b"a directory with a value", 0);
    put(&etcd, &every_byte, &every_byte, 0);
    put(&etcd, b"plain", b"", 0);
    for number in 0..700 {
        put(&etcd, format!("/many/{number:04}").as_bytes(), number.to_string().as_bytes(), 0);
    }
    for number in 0..12 {
        put(&etcd, format!("/large/{number}").as_bytes(), &vec![number; 1_400_000], 0);
    }
    vardr.post("/v1/leases", r#"{"ttl":"1h","id":"4e"}"#).expect(201);

    let told = report(&server, &["--from-etcd-v3", &source.url()], 0);
    assert_eq!((&told["keys"], &told["directories"], &told["leases"]), (&json!(718), &json!(1), &json!(1)), "{told}");
    let found_here =
        "here already under the same id: each was renewed, for its time to live here, and has the keys now";
    assert_eq!(told["notes"], json!([format!("1 lease was {found_here}")]));
    let shared = vardr.get("/v1/leases/4d").expect(200).value();
    assert_eq!(shared["keys"], json!(["/app/a", "/app/b"]));
    assert!(is_about(&shared["ttl"], 400.0), "{shared}");
    let other = found(&vardr, "/app/c");
    assert!(other["lease"] == "4e" && is_about(&other["ttl"], 3600.0), "{other}");
    let key64 = base64(&every_byte).replace('+', "-").replace('/', "_");
    let answer = vardr.get(&format!("/v1/keys?raw=true&key64={}", key64.trim_end_matches('='))).expect(200);
    assert_eq!(answer.body, every_byte);
    assert_eq!(vardr.get("/v1/keys?key64=cGxhaW4&raw=true").expect(200).body, b"");
    assert_eq!(found(&vardr, "/nazha/")["value"], "a directory with a value");
    assert_eq!(vardr.get("/v1/keys/large/11?raw=true").expect(200).body, vec![11; 1_400_000]);
    assert_eq!(vardr.get("/v1/keys/many/0699?raw=true").expect(200).body, b"699");

    let told = report(&server, &["--from-etcd-v3", &source.url(), "/app/b", "--dry-run"], 0);
    assert_eq!(told["keys"], 1);
    assert_eq!(vardr.get("/v1/leases").value()["items"].as_array().unwrap().len(), 2, "nothing is granted");

    let told = report(&server, &["--from-etcd-v3", &source.url()], 0);
    assert_eq!((&told["keys"], &told["leases"]), (&json!(718), &json!(0)), "{told}");
    assert_eq!(told["notes"], json!([format!("2 leases were {found_here}")]));
    let again = vardr.get("/v1/leases/4d").expect(200).value();
    assert_eq!(again["keys"], shared["keys"], "whoever keeps the lease alive still keeps its keys alive");
    assert_eq!(vardr.get("/v1/leases").value()["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_lease_whose_id_is_none_here_gets_another() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let (source, server) = (Etcd::start(), Server::start());
    let (etcd, vardr) = (source.http(), Client::new(server.address()));
    ask(&etcd, "/lease/grant", &json!({"TTL": 400, "ID": -7}));
    ask(&etcd, "/kv/put", &json!({"key": base64(b"/a"), "value": base64(b"1"), "lease": "-7"}));
    let told = report(&server, &["--from-etcd-v3", &source.url()], 0);
    assert_eq!(told["notes"], json!(["1 lease was given another id here: etcd's is negative"]));
    assert!(is_about(&found(&vardr, "/a")["ttl"], 400.0));
}

#[test]
fn a_v3_cluster_with_users_is_read_by_one_that_the_url_names() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let (source, server) = (Etcd::start(), Server::start());
    let etcd = source.http();
    put(&etcd, b"/a", b"1", 0);
    ask(&etcd, "/auth/user/add", &json!({"name": "root", "password": "p@ss"}));
    ask(&etcd, "/auth/user/grant", &json!({"user": "root", "role": "root"}));
    ask(&etcd, "/auth/enable", &json!({}));
    let output = import(&server, &["--from-etcd-v3", &source.url()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && errors.contains("USER:PASSWORD@"), "{errors}");
    let url = format!("http://root:p%40ss@{}", source.address());
    assert_eq!(report(&server, &["--from-etcd-v3", &url], 0)["keys"], 1);
    let wrong = format!("http://root:other@{}", source.address());
    assert_eq!(import(&server, &["--from-etcd-v3", &wrong]).status.code(), Some(2));
}

#[test]
fn what_is_no_etcd_is_said_to_be_none() {
    let server = Server::start();
    let closed = format!("http://127.0.0.1:{}", support::etcd::free_port());
    let page = TcpListener::bind("127.0.0.1:0").unwrap();
    let page_url = format!("http://{}", page.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in page.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhome");
        }
    });
    for version in ["--from-etcd-v2", "--from-etcd-v3"] {
        let output = import(&server, &[version, &page_url]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && errors.contains("is no etcd"), "{errors}");
        let output = import(&server, &[version, &closed, "--timeout", "200ms"]);
        assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(import(&server, &["--from-etcd-v2", &closed, "/a", "/b"]).status.code(), Some(2));
    assert_eq!(import(&server, &["/tmp"]).status.code(), Some(2), "files need to know where to");
}

/// A source that is no etcd but answers as one: what `answer` gives for each path, and 404 for nothing.
fn pretender(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = vec![0; 16 * 1024];
            let length = client.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let (status, body) = match answer(path) {
                _ if path == "/version" => ("200 OK", r#"{"etcdserver":"3.4.23","etcdcluster":"3.4.0"}"#.to_owned()),
                Some(body) => ("200 OK", body),
                None => ("404 Not Found", json!({"errorCode": 100, "message": "Key not found"}).to_string()),
            };
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = client.write_all(&[head.as_bytes(), body.as_bytes()].concat());
        }
    });
    url
}

#[test]
fn what_ran_out_in_a_v2_cluster_and_is_still_shown_does_not_live_for_ever_here() {
    let ended = "2026-01-01T00:00:00Z";
    let url = pretender(move |path| {
        let nodes = match path {
            "/v2/keys/?quorum=true" => json!([
                {"key": "/ending", "value": "0", "expiration": ended},
                {"key": "/late", "value": "1", "expiration": ended, "ttl": -3},
                {"key": "/gone", "dir": true, "expiration": ended},
                {"key": "/soon", "value": "2", "expiration": ended, "ttl": 300},
                {"key": "/stays", "value": "3"},
            ]),
            "/v2/keys/gone" => json!([{"key": "/gone/below", "value": "4"}]),
            _ => return None,
        };
        Some(json!({"action": "get", "node": {"dir": true, "nodes": nodes}}).to_string())
    });
    let server = Server::start();
    let vardr = Client::new(server.address());
    let told = report(&server, &["--from-etcd-v2", &url], 0);
    assert_eq!((&told["keys"], &told["directories"]), (&json!(2), &json!(0)), "{told}");
    let skipped = |name: &str| json!({"name": name, "reason": "its time is over"});
    assert_eq!(told["skipped"], json!([skipped("/ending"), skipped("/late"), skipped("/gone/")]));
    let names: Vec<_> = items(&vardr).iter().map(|item| item["key"].clone()).collect();
    assert_eq!(names, ["/soon", "/stays"]);
    assert!(is_about(&found(&vardr, "/soon")["ttl"], 300.0));
    assert_eq!(found(&vardr, "/stays").get("ttl"), None);
}

/// Passes requests on, each on a connection of its own, until so many have been; then it is gone.
fn relay(to: String, lives_for: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let passed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&passed);
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            if count.fetch_add(1, Ordering::SeqCst) == lives_for {
                return;
            }
            let mut request = vec![0; 16 * 1024];
            let length = client.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).replacen("\r\n", "\r\nConnection: close\r\n", 1);
            let mut server = TcpStream::connect(&to).unwrap();
            server.write_all(request.as_bytes()).unwrap();
            let _ = std::io::copy(&mut server, &mut client);
        }
    });
    (url, passed)
}

#[test]
fn a_source_that_dies_leaves_a_report_of_what_is_here_and_the_same_command_completes_it() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let (source, server) = (Etcd::start(), Server::start());
    let (etcd, vardr) = (source.http(), Client::new(server.address()));
    for number in 0..300 {
        put(&etcd, format!("/k/{number:03}").as_bytes(), b"x", 0);
        if number < 20 {
            set(&etcd, &format!("/d{number:02}/key"), "value=x");
        }
    }
    // It answers what it is, how much there is, and the first page.
    let (url, _) = relay(source.address(), 3);
    let told = report(&server, &["--from-etcd-v3", &url, "--timeout", "300ms"], 1);
    let why = told["failed"][0]["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("the keys from /k/127\\x00 on are missing"), "{why}");
    assert_eq!(told["keys"], 128);
    assert_eq!(items(&vardr).len(), 128, "what the report counts is here");
    assert_eq!(report(&server, &["--from-etcd-v3", &source.url()], 0)["keys"], 300);
    assert_eq!(items(&vardr).len(), 300);

    // It answers what it is, the top, and four directories.
    let (url, _) = relay(source.address(), 6);
    let told = report(&server, &["--from-etcd-v2", &url, "--timeout", "300ms"], 1);
    let why = told["failed"][0]["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("what is in /d") && why.contains("and 11 more directories is missing"), "{why}");
    assert_eq!((&told["keys"], &told["directories"]), (&json!(4), &json!(20)), "{told}");
    assert_eq!(items(&vardr).len(), 324);
    assert_eq!(report(&server, &["--from-etcd-v2", &source.url()], 0)["keys"], 20);
    assert_eq!(items(&vardr).len(), 340);
}

#[test]
fn a_source_that_is_killed_is_reported_in_words() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let (mut source, server) = (Etcd::start(), Server::start());
    let etcd = source.http();
    for number in 0..2000 {
        put(&etcd, format!("/k/{number:04}").as_bytes(), &[b'x'; 2000], 0);
    }
    let (url, passed) = relay(source.address(), usize::MAX);
    let mut command = Command::new(env!("CARGO_BIN_EXE_vardr"));
    command.args(["import", "--from-etcd-v3", &url, "--timeout", "1s"]).env("VARDR_ENDPOINT", server.url());
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    support::until("the import does not begin", || passed.load(Ordering::SeqCst) >= 3);
    source.kill();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("can be read no longer") && errors.contains("imported "), "{errors}");
}
