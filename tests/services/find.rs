//! Lists of services and instances: filters, pages, entity tags, and waiting for a change.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vardr::api::v1::services::schema::{InstanceList, ServiceList};

use crate::support::http::{Client, Response};
use crate::{WEB, start, until_status};

fn register(client: &Client, name: &str, document: &str) {
    client.put(&format!("/v1/services/{name}?ttl=1m"), document).expect(201);
}

fn names(client: &Client, path: &str) -> Vec<String> {
    let list: InstanceList = client.get(path).expect(200).shape();
    list.items.into_iter().map(|item| item.instance).collect()
}

#[test]
fn instances_are_found_by_all_tags_and_any_status() {
    let (_server, client) = start();
    register(&client, "web/c", r#"{"address":"10.0.0.3","tags":["v1","eu, west"]}"#);
    register(&client, "web/a", r#"{"address":"10.0.0.1","tags":["v2","eu, west"],"status":"draining"}"#);
    register(&client, "web/b", r#"{"address":"10.0.0.2","tags":["v2"],"status":"warning"}"#);
    register(&client, "webber/x", WEB);
    for (query, expected) in [
        ("", &["a", "b", "c"][..]),
        ("?tag=v2", &["a", "b"]),
        ("?tag=v2&tag=eu,%20west", &["a"]),
        ("?tag=v2&status=warning", &["b"]),
        ("?status=passing&status=draining", &["a", "c"]),
        ("?status=critical", &[]),
        ("?tag=v", &[]),
    ] {
        assert_eq!(names(&client, &format!("/v1/services/web{query}")), expected, "{query}");
    }
    assert!(names(&client, "/v1/services/none").is_empty());
    for query in ["?status=up", "?status=passing,warning", "?tag=", "?limit=0", "?limit=100001", "?limit=1&limit=2"] {
        client.get(&format!("/v1/services/web{query}")).refused(400, "invalid_argument");
    }
    let list: ServiceList = client.get("/v1/services?consistency=serializable").expect(200).shape();
    let shown: Vec<_> = list.items.iter().map(|item| (item.service.as_str(), item.instances, item.passing)).collect();
    assert_eq!(shown, [("web", 3, 1), ("webber", 1, 1)]);
    assert_eq!(list.items[0].tags, ["eu, west", "v1", "v2"]);
    assert_eq!(list.revision, client.revision());
}

#[test]
fn lists_come_in_pages_of_one_revision() {
    let (_server, client) = start();
    for number in 0..7 {
        let tags = if number % 2 == 0 { "\"even\"" } else { "" };
        register(&client, &format!("web/{number}"), &format!("{{\"address\":\"a\",\"tags\":[{tags}]}}"));
        register(&client, &format!("s{number}/a"), WEB);
    }
    let pages = |path: &str, later: &str| {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        let revision = client.revision();
        loop {
            let page = client.get(&format!("{path}limit=3{cursor}")).expect(200).value();
            assert_eq!(page["revision"], revision);
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 3);
            let name =
                |item: &serde_json::Value| item["instance"].as_str().or(item["service"].as_str()).map(str::to_owned);
            seen.extend(items.iter().map(|item| name(item).unwrap()));
            // What happens between the pages is not in them.
            client.put(&format!("/v1/services/{later}"), WEB);
            match page["cursor"].as_str() {
                Some(text) => cursor = format!("&cursor={text}"),
                None => return seen,
            }
        }
    };
    let list = |path: &str| client.get(path).expect(200).value()["cursor"].as_str().unwrap().to_owned();
    let foreign = list("/v1/services/web?limit=1");
    client.get(&format!("/v1/services/web?tag=even&cursor={foreign}")).refused(400, "invalid_argument");
    client.get(&format!("/v1/services?cursor={foreign}")).refused(400, "invalid_argument");
    assert_eq!(pages("/v1/services/web?", "web/1x"), ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(pages("/v1/services/web?tag=even&", "web/0"), ["0", "2", "4", "6"]);
    assert_eq!(pages("/v1/services?", "s11/a"), ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "web"]);
}

#[test]
fn a_filter_never_makes_a_page_short() {
    let (_server, client) = start();
    for number in 0..600 {
        let tags = if number % 100 == 99 { "\"rare\"" } else { "" };
        register(&client, &format!("web/{number:03}"), &format!("{{\"address\":\"a\",\"tags\":[{tags}]}}"));
    }
    let page: InstanceList = client.get("/v1/services/web?tag=rare&limit=4").expect(200).shape();
    assert_eq!(page.items.len(), 4);
    let rest = format!("/v1/services/web?tag=rare&limit=4&cursor={}", page.cursor.unwrap());
    assert_eq!(names(&client, &rest), ["499", "599"]);
    assert_eq!(names(&client, "/v1/services/web").len(), 600);
}

#[test]
fn entity_tags_change_when_the_answer_does_and_not_before() {
    let (_server, client) = start();
    register(&client, "web/a", WEB);
    let asked = |path: &str, tag: &str| client.send("GET", path, &[("If-None-Match", tag)], b"").status;
    let changes = [
        ("PUT", "/v1/services/web/b", WEB, true),
        ("PUT", "/v1/services/web/a:status", r#"{"status":"draining"}"#, true),
        ("PUT", "/v1/services/web/a:status", r#"{"status":"draining"}"#, false),
        ("POST", "/v1/services/web/a:heartbeat", "", false),
        ("PUT", "/v1/services/other/a", WEB, false),
        ("PUT", "/v1/keys/elsewhere", "x", false),
        ("PUT", "/v1/keys/services/web/deeper/x", "x", false),
        ("DELETE", "/v1/services/web/b", "", true),
    ];
    let path = "/v1/services/web";
    for (method, change, body, changes) in changes {
        let tag = client.get(path).expect(200).header("etag").unwrap().to_owned();
        assert_eq!(asked(path, &tag), 304);
        assert!((200..300).contains(&client.send(method, change, &[], body.as_bytes()).status), "{change}");
        assert_eq!(asked(path, &tag), if changes { 200 } else { 304 }, "{method} {change}");
    }
    // The list of services shows less, so less changes it.
    let tag = client.get("/v1/services").expect(200).header("etag").unwrap().to_owned();
    client.put("/v1/services/web/a", r#"{"address":"10.9.9.9","tags":["v2"],"status":"draining"}"#).expect(200);
    assert_eq!(asked("/v1/services", &tag), 304);
    client.put("/v1/services/web/a:status", r#"{"status":"passing"}"#).expect(200);
    assert_eq!(asked("/v1/services", &tag), 200);
    let tag = client.get("/v1/services/web/a").expect(200).header("etag").unwrap().to_owned();
    client.post("/v1/services/web/a:heartbeat", "").expect(200);
    assert_eq!(asked("/v1/services/web/a", &tag), 304);
}

fn held(client: &Client, path: &'static str, tag: &str) -> JoinHandle<(Response, Instant)> {
    let (client, tag) = (client.clone(), tag.to_owned());
    thread::spawn(move || {
        let headers = [("Prefer", "wait=20"), ("If-None-Match", tag.as_str())];
        (client.send("GET", path, &headers, b""), Instant::now())
    })
}

#[test]
fn a_held_request_wakes_on_a_change_and_not_on_a_heartbeat() {
    let (_server, client) = start();
    register(&client, "web/a", WEB);
    let paths = ["/v1/services", "/v1/services/web", "/v1/services/web?status=draining", "/v1/services/web/a"];
    let waiting = paths.map(|path| (path, held(&client, path, client.get(path).expect(200).header("etag").unwrap())));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        client.post("/v1/services/web/a:heartbeat", "").expect(200);
        client.put("/v1/keys/elsewhere", "x");
    }
    assert!(waiting.iter().all(|(_, held)| !held.is_finished()));
    let change = Instant::now();
    client.put("/v1/services/web/a:status", r#"{"status":"draining"}"#).expect(200);
    for (path, held) in waiting {
        let (answer, at) = held.join().unwrap();
        let answer = answer.expect(200);
        assert!(answer.header("preference-applied").is_some(), "{path}");
        assert!(at - change < Duration::from_secs(5), "{path}");
    }
    client.get("/v1/services/web?wait=50ms").expect(304);
    let revision = client.revision();
    client.delete("/v1/services/web/a").expect(200);
    client.get(&format!("/v1/services/web?wait=20s&after={revision}")).expect(200);
    client.get(&format!("/v1/services/web/a?wait=20s&after={revision}")).refused(404, "instance_not_found");
    client.get("/v1/services/web?after=1").refused(400, "invalid_argument");
}

#[test]
fn who_waits_for_a_service_hears_of_its_first_instance_and_of_its_last() {
    let (_server, client) = start();
    let tag = client.get("/v1/services/web").expect(200).header("etag").unwrap().to_owned();
    let first = held(&client, "/v1/services/web", &tag);
    client.put("/v1/services/web/a?ttl=1s", WEB).expect(201);
    let (answer, _) = first.join().unwrap();
    let answer = answer.expect(200);
    assert_eq!(answer.shape::<InstanceList>().items.len(), 1);
    let last = held(&client, "/v1/services/web", answer.header("etag").unwrap());
    until_status(&client, "/v1/services/web/a", 404);
    assert!(last.join().unwrap().0.expect(200).shape::<InstanceList>().items.is_empty());
}
