//! `/v2/members`, `/v2/stats` and `/v2/machines` beside those of etcd 3.4: what is asked of both is answered alike. And a member
//! that is added by them comes to be a voter.

#![cfg(test)]

mod support;

use serde_json::{Value, json};
use support::Server;
use support::etcd::{Etcd, free_port};
use support::http::{Client, Response};
use support::volume::not_run;

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// A member that others can join, and where they reach it.
fn start(name: &str) -> (Server, String) {
    let peer = format!("http://127.0.0.1:{}", free_port());
    let list = format!("{name}={peer}");
    let urls = ["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer];
    let server = Server::with_flags(&[&["--name", name, "--initial-cluster", &list][..], &urls].concat());
    (server, peer)
}

fn members(client: &Client) -> Vec<Value> {
    client.get("/v2/members").expect(200).value()["members"].as_array().unwrap().clone()
}

/// What an answer comes to, with what differs from server to server by its nature taken out of it.
fn essence(answer: &Response, own: &[(&str, &str)]) -> (u16, Option<String>, bool, Option<String>, String) {
    let text = own.iter().fold(answer.text(), |text, (value, name)| text.replace(value, name));
    let header = |name: &str| answer.header(name).map(str::to_owned);
    (answer.status, header("content-type"), answer.header("x-etcd-cluster-id").is_some(), header("allow"), text)
}

#[test]
fn what_is_asked_about_members_is_answered_as_etcd_answers_it() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let (etcd, (server, _)) = (Etcd::start(), start("etcd"));
    let clients = [etcd.http(), Client::new(server.address())];
    let asked: &[(&str, &str, &str)] = &[
        ("GET", "/v2/members", ""),
        ("GET", "/v2/members/", ""),
        ("GET", "/v2/members/leader", ""),
        ("GET", "/v2/members/xyz", ""),
        ("GET", "/v2/members/leader/", ""),
        ("HEAD", "/v2/members", ""),
        ("PATCH", "/v2/members", ""),
        ("OPTIONS", "/v2/members", ""),
        ("DELETE", "/v2/members", ""),
        ("PUT", "/v2/members/", "{}"),
        ("DELETE", "/v2/members/123", ""),
        ("DELETE", "/v2/members/zz", ""),
        ("PUT", "/v2/members/zzz", r#"{"peerURLs":["http://127.0.0.1:1"]}"#),
        ("PUT", "/v2/members/123", r#"{"peerURLs":["http://127.0.0.1:1"]}"#),
        ("PUT", "/v2/members/123", r#"{"peerURLs":["foo"]}"#),
        ("POST", "/v2/members", r#"{"peerURLs":["foo"]}"#),
        ("POST", "/v2/members", r#"{"peerURLs":["http://127.0.0.1"]}"#),
        ("POST", "/v2/members", r#"{"peerURLs":["http://127.0.0.1:1/"]}"#),
        ("POST", "/v2/members", r#"{"peerURLs":[]}"#),
        ("POST", "/v2/members", "{}"),
        ("POST", "/v2/members", "{"),
        ("GET", "/v2/stats/leader", ""),
        ("POST", "/v2/stats/self", ""),
        ("HEAD", "/v2/stats/leader", ""),
        ("GET", "/v2/stats", ""),
        ("GET", "/v2/stats/self/", ""),
        ("GET", "/v2/machines", ""),
        ("HEAD", "/v2/machines", ""),
        ("POST", "/v2/machines", ""),
        ("GET", "/v2/machines/", ""),
    ];
    // A member tells its name through the log, once it leads.
    support::until("it does not tell its name", || clients.iter().all(|client| members(client)[0]["name"] == "etcd"));
    let own: Vec<(String, String)> = clients
        .iter()
        .map(|client| {
            let member = &members(client)[0];
            (member["id"].as_str().unwrap().to_owned(), member["peerURLs"][0].as_str().unwrap().to_owned())
        })
        .collect();
    let urls = [etcd.url(), server.url()];
    for (method, path, body) in asked {
        let [theirs, ours] = [0, 1].map(|which: usize| {
            let answer = clients[which].send(method, path, &JSON, body.as_bytes());
            let (id, peer) = &own[which];
            essence(&answer, &[(id, "ID"), (peer, "PEER"), (&urls[which], "CLIENT")])
        });
        assert_eq!(ours, theirs, "{method} {path} {body}");
    }
    for form in [&[("Content-Type", "text/plain")][..], &[]] {
        let [theirs, ours] = [0, 1].map(|which: usize| clients[which].send("POST", "/v2/members", form, b"{}"));
        assert_eq!((ours.status, ours.text()), (theirs.status, theirs.text()));
    }
    let moved = |which: usize| {
        let (id, peer) = &own[which];
        clients[which].send(
            "PUT",
            &format!("/v2/members/{id}"),
            &JSON,
            json!({"peerURLs": [peer]}).to_string().as_bytes(),
        )
    };
    assert_eq!((moved(1).status, moved(1).text()), (moved(0).status, moved(0).text()));
    let shape = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let [theirs, ours] = [0, 1].map(|which: usize| clients[which].get("/v2/stats/self").expect(200).value());
    assert_eq!(shape(&ours), shape(&theirs));
    assert_eq!((&ours["state"], &ours["name"]), (&theirs["state"], &theirs["name"]));
    assert_eq!(shape(&ours["leaderInfo"]), shape(&theirs["leaderInfo"]));
}

#[test]
fn what_is_asked_of_keys_is_counted_as_etcd_counts_it() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let (etcd, server) = (Etcd::start(), Server::start());
    let clients = [etcd.http(), Client::new(server.address())];
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let counts = |client: &Client| client.get("/v2/stats/store").expect(200);
    // A fresh etcd has asked itself some, the version of the cluster last.
    support::until("etcd finds no version", || clients[0].get("/version").text().contains(r#""etcdcluster":"3."#));
    let before: Vec<Value> = clients.iter().map(|client| counts(client).value()).collect();
    for client in &clients {
        for (method, path, body) in [
            ("PUT", "/a", "value=1"),
            ("PUT", "/a", "value=2"),
            ("PUT", "/a/b", "value=2"),
            ("GET", "/a", ""),
            ("GET", "/none", ""),
            ("PUT", "/a?prevExist=false", "value=1"),
            ("PUT", "/b?prevExist=false", "value=1"),
            ("POST", "/queue", "value=1"),
            ("PUT", "/a?prevExist=true", "value=1"),
            ("PUT", "/none?prevExist=true", "value=1"),
            ("PUT", "/a?prevValue=1", "value=3"),
            ("PUT", "/a?prevValue=1", "value=3"),
            ("DELETE", "/a?prevValue=3", ""),
            ("DELETE", "/b", ""),
            ("DELETE", "/b", ""),
            ("PUT", "/soon", "value=1&ttl=1"),
        ] {
            client.send(method, &format!("/v2/keys{path}"), &form, body.as_bytes());
        }
        support::until("a key does not run out", || client.get("/v2/keys/soon").status == 404);
    }
    let [theirs, ours] = [0, 1].map(|which: usize| {
        let now = counts(&clients[which]).value();
        let added = |(name, count): (&String, &Value)| {
            (name.clone(), count.as_u64().unwrap() - before[which][name].as_u64().unwrap())
        };
        // How often it was looked at until it had run out differs.
        now.as_object().unwrap().iter().map(added).filter(|(name, _)| !name.starts_with("gets")).collect::<Vec<_>>()
    });
    assert_eq!(ours, theirs);
    let before = counts(&clients[1]).value();
    assert!(before["getsSuccess"].as_u64() >= Some(1) && before["getsFail"].as_u64() >= Some(2), "{before}");
    // etcd counts a deletion whose comparison fails as one that was carried out.
    clients[1].put("/v1/keys/c", "1").expect(201);
    clients[1].delete("/v2/keys/c?prevValue=2").expect(412);
    let after = counts(&clients[1]).value();
    assert_eq!(after["compareAndDeleteFail"].as_u64(), before["compareAndDeleteFail"].as_u64().map(|count| count + 1));
    assert_eq!(after["compareAndDeleteSuccess"], before["compareAndDeleteSuccess"]);
}

#[test]
fn a_member_that_is_added_is_a_voter_once_it_has_caught_up_and_endangers_nobody_before() {
    let (first, first_peer) = start("n1");
    let client = Client::new(first.address());
    client.put("/v1/keys/before", "1").expect(201);
    let peer = format!("http://127.0.0.1:{}", free_port());
    let body = json!({"peerURLs": [peer]}).to_string();
    let added = client.send("POST", "/v2/members", &JSON, body.as_bytes()).expect(201).value();
    let id = added["id"].as_str().unwrap();
    assert_eq!((&added["name"], &added["clientURLs"], &added["peerURLs"]), (&json!(""), &json!([]), &json!([peer])));
    let again = client.send("POST", "/v2/members", &JSON, body.as_bytes()).expect(409);
    assert_eq!(again.text(), r#"{"message":"membership: peerURL exists"}"#);
    // Of an etcd, one of two voters that never started had stopped everything.
    client.put("/v1/keys/meanwhile", "1").expect(201);

    let list = format!("n1={first_peer},n2={peer}");
    let flags = ["--name", "n2", "--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer];
    let existing = ["--initial-cluster", &list, "--initial-cluster-state", "existing"];
    let second = Server::with_flags(&[&flags[..], &existing].concat());
    let is_voter = |client: &Client| {
        let member = client.get(&format!("/v1/cluster/members/{id}"));
        member.status == 200 && member.value()["learner"] == false
    };
    support::until("it does not become a voter", || is_voter(&client));
    let other = Client::new(second.address());
    support::until("it does not become ready", || other.get("/readyz").status == 200);
    let listed = members(&client);
    let joined = listed.iter().find(|member| member["id"] == id).unwrap();
    assert_eq!((&joined["name"], &joined["clientURLs"]), (&json!("n2"), &json!([second.url()])));
    assert_eq!(other.get("/v1/keys/meanwhile").expect(200).value()["value"], "1");
    let leader = other.get("/v2/members/leader").expect(200).value();
    assert_eq!(leader["name"], "n1");
    assert_eq!(other.get("/v2/stats/leader").expect(403).text(), r#"{"message":"not current leader"}"#);
    let machines = client.get("/v2/machines").expect(200).text();
    assert!(machines.contains(&first.url()) && machines.contains(&second.url()), "{machines}");

    client.put("/v1/keys/after", "1").expect(201);
    let followers = client.get("/v2/stats/leader").expect(200).value()["followers"].clone();
    assert!(followers[id]["counts"]["success"].as_u64().unwrap() > 0, "{followers}");
    let received = other.get("/v2/stats/self").expect(200).value();
    assert!(received["recvAppendRequestCnt"].as_u64().unwrap() > 0, "{received}");
    assert_eq!((&received["state"], &received["leaderInfo"]["leader"]), (&json!("StateFollower"), &leader["id"]));

    client.delete(&format!("/v2/members/{id}")).expect(204);
    let gone = client.delete(&format!("/v2/members/{id}")).expect(410).text();
    assert_eq!(gone, format!(r#"{{"message":"Member permanently removed: {id}"}}"#));
    assert_eq!(members(&client).len(), 1);
}
