//! Members that find each other through a discovery service: Vardr's through Vardr's, through etcd's, and etcd's through
//! Vardr's. One that comes too late is told so.

#![cfg(test)]

mod support;

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::Server;
use support::etcd::{Etcd, free_port};
use support::http::Client;
use support::volume::not_run;
use tempfile::TempDir;

/// A member of Vardr's, and where its data is.
type Started = (TempDir, Result<Server, String>);

/// Starts members at once, each with this discovery URL, and gives them when all run or have given up.
fn start_members(url: &str, names: &[&str]) -> Vec<Started> {
    let starting = |name: &str| {
        let (url, name) = (url.to_owned(), name.to_owned());
        thread::spawn(move || {
            let dir = tempfile::tempdir().unwrap();
            let peer = format!("http://127.0.0.1:{}", free_port());
            let peers = ["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer];
            let flags = [&["--name", &name, "--discovery", &url][..], &peers].concat();
            let server = Server::try_start_in(&dir.path().join("data"), &flags);
            (dir, server)
        })
    };
    let threads: Vec<_> = names.iter().map(|name| starting(name)).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn running(started: &[Started]) -> Vec<&Server> {
    started.iter().map(|(_, server)| server.as_ref().unwrap_or_else(|log| panic!("{log}"))).collect()
}

/// Waits until these are one cluster: all know all, and what is written at the first is read at the last.
fn assert_is_one_cluster(members: &[&Server]) {
    let clients: Vec<_> = members.iter().map(|member| Client::new(member.address())).collect();
    support::until("nothing can be written", || clients[0].put("/v1/keys/a", "1").status < 300);
    let ids = |client: &Client| {
        let cluster = client.get("/v1/cluster").expect(200).value();
        let items = cluster["members"].as_array().unwrap().iter();
        (cluster["clusterId"].clone(), items.map(|member| member["id"].clone()).collect::<Vec<Value>>())
    };
    let first = ids(&clients[0]);
    assert_eq!(first.1.len(), members.len());
    for client in &clients {
        assert_eq!(ids(client), first);
        assert_eq!(client.get("/v1/keys/a").expect(200).value()["value"], "1");
    }
}

fn assert_is_full(url: &str) {
    let late = start_members(url, &["late"]).pop().unwrap().1;
    let log = late.err().unwrap_or_else(|| panic!("the cluster is full, and it started"));
    assert!(log.contains("the cluster is full: the 3 members"), "{log}");
}

/// A roster of Vardr's for so many members.
fn roster(server: &Server, size: u64) -> String {
    let answer = Client::new(server.address()).get(&format!("/new?size={size}")).expect(200);
    let url = answer.text();
    assert!(url.starts_with(&format!("{}/v2/keys/_etcd/registry/", server.url())), "{url}");
    url
}

#[test]
fn three_members_find_each_other_through_an_etcd_and_need_it_only_once() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let mut service = Etcd::start();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    service.http().send("PUT", "/v2/keys/disc/x/_config/size", &form, b"value=3").expect(201);
    let url = format!("{}/v2/keys/disc/x", service.url());
    let mut started = start_members(&url, &["n1", "n2", "n3"]);
    assert_is_one_cluster(&running(&started));
    let entered = service.http().get("/v2/keys/disc/x?sorted=true").expect(200).value();
    let names: Vec<_> = entered["node"]["nodes"].as_array().unwrap().iter().map(|node| node["key"].clone()).collect();
    let cluster = Client::new(running(&started)[0].address()).get("/v1/cluster").value();
    for member in cluster["members"].as_array().unwrap() {
        let key = format!("/disc/x/{}", member["id"].as_str().unwrap());
        assert!(names.contains(&json!(key)), "each is entered by its id: {names:?}");
    }
    assert_is_full(&url);
    assert_eq!(service.http().get("/v2/keys/disc/x?sorted=true").value(), entered, "who came too late left no trace");

    service.kill();
    let server = started[0].1.as_mut().unwrap();
    server.restart();
    assert_is_one_cluster(&running(&started));
}

#[test]
fn three_members_find_each_other_through_a_vardr() {
    let service = Server::start();
    let url = roster(&service, 3);
    let started = start_members(&url, &["n1", "n2", "n3"]);
    assert_is_one_cluster(&running(&started));
    assert_is_full(&url);
    assert_ne!(roster(&service, 3), url, "each cluster has its own");
}

#[test]
fn three_etcds_find_each_other_through_a_vardr() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let service = Server::start();
    let url = roster(&service, 3);
    let flags = ["--discovery", &url, "--discovery-fallback", "exit"];
    let launch = |name: &str| Etcd::launch(name, free_port(), free_port(), &flags);
    let mut members: Vec<_> = ["n1", "n2", "n3"].map(launch).into();
    for member in &mut members {
        assert!(member.answers(), "{}", member.log());
    }
    let listed = members[0].http().post("/v3/cluster/member/list", "{}").expect(200).value();
    assert_eq!(listed["members"].as_array().unwrap().len(), 3);
    let mut late = launch("late");
    assert!(!late.wait().success());
    assert!(late.log().contains("cluster is full"), "{}", late.log());
}

#[test]
fn a_member_that_waits_for_others_ends_when_it_is_told_to_and_may_come_again() {
    let service = Server::start();
    let url = roster(&service, 2);
    let dir = tempfile::tempdir().unwrap();
    let peer = format!("http://127.0.0.1:{}", free_port());
    let peers = ["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer];
    let flags = [&["--name", "n1", "--discovery", &url][..], &peers].concat();
    let begin = || {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let waiting = Server::begin(&dir.path().join("data"), "127.0.0.1:0", flags);
        support::until("it does not wait", || waiting.log().contains("1 of 2 members are there"));
        waiting
    };
    for (signal, name) in [("-TERM", "SIGTERM"), ("-INT", "SIGINT")] {
        let mut waiting = begin();
        let sent = std::process::Command::new("kill").args([signal, &waiting.pid().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(waiting.wait(Duration::from_secs(10)).code(), Some(0), "{}", waiting.log());
        let why = format!("stopping: {name} came before this member served");
        support::until("it does not say why", || waiting.log().contains(&why));
    }
    let again = begin();
    let other = start_members(&url, &["n2"]);
    assert_eq!(running(&other).len(), 1);
    support::until("it does not serve", || again.log().contains("Vardr serves"));
}

#[test]
fn a_url_that_is_no_roster_is_refused_in_words() {
    let service = Server::start();
    let client = Client::new(service.address());
    for (path, expected) in
        [("/v2/keys/_etcd/registry/none", "does not say how many members"), ("/v1/keys/x", "is no discovery URL")]
    {
        let log = start_members(&format!("{}{path}", service.url()), &["n1"]).pop().unwrap().1.err().unwrap();
        assert!(log.contains(expected), "{log}");
    }
    for size in ["0", "101", "x"] {
        client.get(&format!("/new?size={size}")).refused(400, "invalid_argument");
    }
    client.send("HEAD", "/new", &[], b"").expect(405);
    assert_eq!(client.revision(), 1, "nothing was made");
}

#[test]
fn a_page_of_elsewhere_makes_no_roster_unless_its_origin_is_listed() {
    let service = Server::with_flags(&["--cors", "http://console.example"]);
    let client = Client::new(service.address());
    let ask = |headers: &[(&str, &str)]| client.send("GET", "/new", headers, b"");
    let foreign = [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ];
    for header in foreign {
        ask(&[header]).refused(403, "permission_denied");
    }
    assert_eq!(client.revision(), 1, "nothing was made");
    let own = service.url();
    ask(&[("Origin", &own), ("Sec-Fetch-Site", "same-origin")]).expect(200);
    ask(&[("Sec-Fetch-Site", "none")]).expect(200);
    ask(&[("Origin", "http://console.example"), ("Sec-Fetch-Site", "cross-site")]).expect(200);
}

#[test]
fn a_roster_goes_after_a_week_with_all_that_is_in_it() {
    let service = Server::start();
    let client = Client::new(service.address());
    let url = roster(&service, 3);
    let path = url.strip_prefix(&service.url()).unwrap();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    client.send("PUT", &format!("{path}/1f?prevExist=false"), &form, b"value=n1=http://127.0.0.1:1").expect(201);
    let week = 7 * 24 * 60 * 60;
    let directory = client.get(path).expect(200).value();
    let ttl = directory["node"]["ttl"].as_u64().unwrap();
    assert!((week - 60..=week).contains(&ttl), "{directory}");

    let leases = client.get("/v1/leases").expect(200).value();
    let id = leases["items"][0]["id"].as_str().unwrap();
    client.delete(&format!("/v1/leases/{id}")).expect(200);
    let gone = client.get(&format!("{path}?recursive=true")).expect(404).value();
    assert_eq!(gone["errorCode"], 100, "what members entered has gone along: {gone}");
    client.get(&format!("{path}/1f")).expect(404);
}
