//! `/v1` over real sockets: the behaviours of its contract, row by row.

#![cfg(test)]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use support::Server;
use support::http::{Client, Response};
use support::sse::EventSource;
use vardr::api::v1::schema::{
    ClusterObject, Compaction, Deleted, ElectionObject, Encoding, HashObject, KeyObject, LeaseList, LeaseObject, List,
    Number, ProblemObject, StatusObject, TxnAnswer, TxnResult, WrittenKey,
};
use vardr::machine::SnapshotCheck;

fn start() -> (Server, Client) {
    let server = Server::start();
    let client = Client::new(server.address());
    (server, client)
}

fn typed(client: &Client, path: &str, content_type: &str, body: &str) -> Response {
    client.send("PUT", path, &[("Content-Type", content_type)], body.as_bytes())
}

fn patched(client: &Client, path: &str, content_type: &str, body: &str) -> Response {
    client.send("PATCH", path, &[("Content-Type", content_type)], body.as_bytes())
}

const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

#[test]
fn a_key_is_created_replaced_read_and_deleted() {
    let (_server, client) = start();
    let created = client.put("/v1/keys/app/db", "one").expect(201);
    let key: WrittenKey = created.shape();
    assert_eq!((key.key.as_deref(), key.version), (Some("/app/db"), 1));
    assert_eq!(created.header("etag"), Some(format!("\"{}\"", key.mod_revision).as_str()));
    let replaced: WrittenKey = client.put("/v1/keys/app/db?prevKv=true", "two").expect(200).shape();
    assert_eq!((replaced.version, replaced.create_revision), (2, key.create_revision));
    assert_eq!(replaced.prev.unwrap().unwrap().value, Some(json!("one")));
    let read = client.get("/v1/keys/app/db").expect(200);
    let shown: KeyObject = read.shape();
    assert_eq!((shown.value, shown.encoding), (Some(json!("two")), Some(Encoding::Utf8)));
    assert_eq!((shown.content_type, shown.lease, shown.ttl), (None, None, None));
    let deleted: Deleted = client.delete("/v1/keys/app/db?prevKv=true").expect(200).shape();
    assert_eq!((deleted.deleted, deleted.prev.unwrap()[0].value.clone()), (1, Some(json!("two"))));
    assert_eq!(deleted.revision, replaced.mod_revision + 1);
    client.get("/v1/keys/app/db").refused(404, "key_not_found");
    client.delete("/v1/keys/app/db").refused(404, "key_not_found");
}

#[test]
fn every_answer_says_which_revision_of_which_cluster_it_reflects() {
    let (_server, client) = start();
    let put = client.put("/v1/keys/a", "x").expect(201);
    let status: StatusObject = client.get("/v1/status").expect(200).shape();
    assert!(status.ready);
    let answers = [
        put,
        client.get("/v1/keys/a"),
        client.get("/v1/keys/"),
        client.get("/v1/keys/absent"),
        client.get("/v1/nonsense"),
        client.send("TRACE", "/v1/keys/a", &[], b""),
        client.send("OPTIONS", "/v1/keys/a", &[], b""),
        client.get("/v1/keys/a?unknown=1"),
    ];
    for answer in answers {
        assert_eq!(answer.header("vardr-revision"), Some(status.revision.to_string().as_str()), "{answer:?}");
        assert_eq!(answer.header("vardr-cluster-id"), Some(status.cluster_id.as_str()), "{answer:?}");
        assert_eq!(answer.header("vardr-member-id"), Some(status.member_id.as_str()), "{answer:?}");
        assert_eq!(answer.header("vardr-raft-term"), Some(status.raft_term.to_string().as_str()), "{answer:?}");
    }
}

#[test]
fn the_path_is_the_key_and_any_other_key_is_named_literally() {
    let (_server, client) = start();
    client.put("/v1/keys/a%2Fb", "1").expect(201);
    assert_eq!(client.get("/v1/keys/a/b").expect(200).shape::<KeyObject>().key.as_deref(), Some("/a/b"));
    client.put("/v1/keys/caf%C3%A9+x%20y", "1").expect(201);
    assert_eq!(client.get("/v1/keys?key=/caf%C3%A9%2Bx+y").expect(200).value()["key"], "/café+x y");
    client.put("/v1/keys?key=q1mi", "plain").expect(201);
    assert_eq!(client.get("/v1/keys?key64=cTFtaQ").expect(200).value()["key"], "q1mi");
    client.put("/v1/keys?key64=qzmi", "binary").expect(201);
    let shown: KeyObject = client.get("/v1/keys?key64=qzmi").expect(200).shape();
    assert_eq!((shown.key, shown.key64.as_deref()), (None, Some("qzmi")));
    // A literal trailing slash names the key itself, not what is below it.
    client.put("/v1/keys?key=/lit/", "marker").expect(201);
    assert_eq!(client.get("/v1/keys?key=/lit/").expect(200).value()["value"], "marker");
    // A verb is no verb on GET and PUT, nor when its colon is encoded.
    client.put("/v1/keys/app/counter:increment", "text").expect(201);
    assert_eq!(client.get("/v1/keys/app/counter%3Aincrement").expect(200).value()["value"], "text");
    client.post("/v1/keys/app/counter%3Aincrement", "").refused(400, "not_a_directory");
    for path in ["/v1/keys//a", "/v1/keys/a/../b", "/v1/keys/a/./b", "/v1/keys/a/%2e%2e/b", "/v1/keys/a//"] {
        let problem = client.get(path).refused(400, "invalid_argument");
        assert!(problem.value()["detail"].as_str().unwrap().contains("?key64="), "{path}");
    }
}

#[test]
fn values_are_shown_by_what_they_are_and_given_back_raw() {
    let (_server, client) = start();
    typed(&client, "/v1/keys/json", "application/json", "{\"b\":1.50,\n\"a\":[]}").expect(201);
    let json = client.get("/v1/keys/json").expect(200);
    assert!(json.text().contains("\"value\":{\"b\":1.50, \"a\":[]},\"encoding\":\"json\""), "{}", json.text());
    let raw = client.get("/v1/keys/json?raw=true").expect(200);
    assert_eq!(
        (raw.text().as_str(), raw.header("content-type")),
        ("{\"b\":1.50,\n\"a\":[]}", Some("application/json"))
    );
    client.put("/v1/keys/bytes", [0xff, 0x00]).expect(201);
    assert_eq!(client.get("/v1/keys/bytes").expect(200).shape::<KeyObject>().encoding, Some(Encoding::Base64));
    for accept in ["application/octet-stream", "text/plain"] {
        let raw = client.send("GET", "/v1/keys/bytes", &[("Accept", accept)], b"").expect(200);
        assert_eq!(
            (raw.body.as_slice(), raw.header("content-type")),
            (&[0xff, 0x00][..], Some("application/octet-stream"))
        );
        assert_eq!(raw.header("x-content-type-options"), Some("nosniff"));
    }
    // Curl's default type is no type.
    typed(&client, "/v1/keys/form", "application/x-www-form-urlencoded", "a=b&c").expect(201);
    let form: KeyObject = client.get("/v1/keys/form").expect(200).shape();
    assert_eq!((form.value, form.content_type), (Some(json!("a=b&c")), None));
    typed(&client, "/v1/keys/bad", "application/json", "{").refused(400, "invalid_argument");
    client.get("/v1/keys/bad").refused(404, "key_not_found");
    // The empty value is a value.
    client.put("/v1/keys/empty", "").expect(201);
    assert_eq!(client.get("/v1/keys/empty").expect(200).value()["value"], "");
}

#[test]
fn conditions_hold_by_parameter_and_by_header_and_failures_show_the_current_state() {
    let (_server, client) = start();
    let first: WrittenKey = client.put("/v1/keys/c?prevExist=false", "1").expect(201).shape();
    let failed = client.put("/v1/keys/c?prevExist=false", "2").refused(412, "precondition_failed");
    let current = failed.shape::<ProblemObject>().current.unwrap().unwrap();
    assert_eq!((current.value, current.mod_revision), (Some(json!("1")), first.mod_revision));
    let absent = client.put("/v1/keys/none?prevExist=true", "2").refused(412, "precondition_failed");
    assert_eq!(absent.shape::<ProblemObject>().current, Some(None));
    let tag = format!("\"{}\"", first.mod_revision);
    let with = |name: &str, value: &str| client.send("PUT", "/v1/keys/c", &[(name, value)], b"2");
    with("If-None-Match", "*").refused(412, "precondition_failed");
    with("If-Match", "\"1\", \"99999\"").refused(412, "precondition_failed");
    with("If-Match", &format!("W/{}-gzip\"", tag.trim_end_matches('"'))).expect(200);
    with("If-Match", &tag).refused(412, "precondition_failed");
    with("If-Match", "*").expect(200);
    client.put("/v1/keys/c?prevValue=other", "3").refused(412, "precondition_failed");
    let now = client.put("/v1/keys/c?prevValue=2", "3").expect(200).shape::<WrittenKey>().mod_revision;
    client.delete("/v1/keys/c?prevRevision=1").refused(412, "precondition_failed");
    client.delete("/v1/keys/c?prevValue=2").refused(412, "precondition_failed");
    client.delete(&format!("/v1/keys/c?prevRevision={now}")).expect(200);
    client.delete("/v1/keys/c?prevExist=true").refused(412, "precondition_failed");
}

#[test]
fn of_many_racing_to_create_a_directory_exactly_one_wins() {
    let (_server, client) = start();
    let racers: Vec<_> = (0..32)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || client.put("/v1/keys/race/?prevExist=false", "").status)
        })
        .collect();
    let mut answers: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
    answers.sort_unstable();
    assert_eq!(answers[0], 201);
    assert!(answers[1..].iter().all(|status| *status == 412), "{answers:?}");
}

#[test]
fn directories_are_explicit_or_implied_and_listed_by_level_or_whole() {
    let (_server, client) = start();
    for key in ["app/a", "app/b", "app/x/1", "app/x/2", "app/y/z/1", "apple"] {
        client.put(&format!("/v1/keys/{key}"), key).expect(201);
    }
    let level: List = client.get("/v1/keys/app/").expect(200).shape();
    let names = |list: &List| -> Vec<String> {
        list.items.as_ref().unwrap().iter().map(|item| item.key.clone().unwrap()).collect()
    };
    assert_eq!(names(&level), ["/app/a", "/app/b"]);
    assert_eq!(level.directories.as_deref(), Some(&["/app/x/".to_owned(), "/app/y/".to_owned()][..]));
    assert_eq!(level.count, Some(4));
    let whole: List = client.get("/v1/keys/app/?recursive=true").expect(200).shape();
    assert_eq!(names(&whole), ["/app/a", "/app/b", "/app/x/1", "/app/x/2", "/app/y/z/1"]);
    assert_eq!(client.get("/v1/keys/app").status, 404);
    client.get("/v1/keys/absent/").refused(404, "key_not_found");
    // A directory made by itself is there, empty; one implied by keys exists too.
    client.put("/v1/keys/made/", "").expect(201);
    assert_eq!(names(&client.get("/v1/keys/made/").expect(200).shape()), Vec::<String>::new());
    client.put("/v1/keys/made/", "").expect(200);
    client.put("/v1/keys/app/?prevExist=false", "").refused(412, "precondition_failed");
    let root: List = client.get("/v1/keys/").expect(200).shape();
    assert_eq!(root.directories.as_deref(), Some(&["/app/".to_owned(), "/made/".to_owned()][..]));
    // Directories go when they are empty, or with everything in them.
    client.delete("/v1/keys/app/").refused(409, "directory_not_empty");
    client.delete("/v1/keys/made/").expect(200);
    client.delete("/v1/keys/made/").refused(404, "key_not_found");
    let deleted: Deleted = client.delete("/v1/keys/app/?recursive=true&prevKv=true").expect(200).shape();
    assert_eq!((deleted.deleted, deleted.prev.unwrap().len()), (5, 5));
    assert_eq!(client.get("/v1/keys/apple").status, 200);
}

#[test]
fn lists_come_in_pages_of_one_revision_sorted_and_bounded_as_asked() {
    let (_server, client) = start();
    let mut revisions = Vec::new();
    for number in 0..7 {
        let written: WrittenKey = client.put(&format!("/v1/keys/p/{number}"), "v").expect(201).shape();
        revisions.push(written.mod_revision);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/keys/p/?limit=3".to_owned();
    loop {
        let page: List = client.get(&path).expect(200).shape();
        assert_eq!(page.revision, revisions[6]);
        seen.extend(page.items.unwrap().into_iter().map(|item| item.key.unwrap()));
        // What happens between the pages is not in them.
        client.put("/v1/keys/p/3x", "later").expect(if seen.len() == 3 { 201 } else { 200 });
        match page.cursor {
            Some(cursor) => path = format!("/v1/keys/p/?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, (0..7).map(|number| format!("/p/{number}")).collect::<Vec<_>>());
    client.delete("/v1/keys/p/3x").expect(200);
    let down: List = client.get("/v1/keys/p/?sort=modRevision&order=desc&limit=2").expect(200).shape();
    let items = down.items.unwrap();
    assert_eq!([items[0].mod_revision, items[1].mod_revision], [revisions[6], revisions[5]]);
    let next = format!("/v1/keys/p/?sort=modRevision&order=desc&limit=2&cursor={}", down.cursor.unwrap());
    assert_eq!(client.get(&next).expect(200).shape::<List>().items.unwrap()[0].mod_revision, revisions[4]);
    let some = format!("/v1/keys/p/?minModRevision={}&maxCreateRevision={}", revisions[2], revisions[4]);
    assert_eq!(client.get(&some).expect(200).shape::<List>().items.unwrap().len(), 3);
    let bare: List = client.get("/v1/keys/p/?keysOnly=true").expect(200).shape();
    assert!(
        bare.items.unwrap().iter().all(|item| item.value.is_none() && item.encoding.is_none() && item.size == Some(1))
    );
    let count: List = client.get("/v1/keys/p/?countOnly=true&recursive=true").expect(200).shape();
    assert_eq!((count.count, count.items), (Some(7), None));
    client.get("/v1/keys/other/?cursor=AAAAAAAAAAAAAAAAAAAAAA").refused(400, "invalid_argument");
}

fn names(list: &List) -> Vec<String> {
    list.items.iter().flatten().map(|item| item.key.clone().unwrap()).collect()
}

#[test]
fn the_top_is_listed_page_by_page() {
    let (_server, client) = start();
    for key in ["a", "b", "/c", "d"] {
        client.put(&format!("/v1/keys?key={key}"), "v").expect(201);
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page: List = client.get(&format!("/v1/keys?limit=1{cursor}")).expect(200).shape();
        seen.extend(names(&page).into_iter().chain(page.directories.into_iter().flatten()));
        match page.cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["/", "a", "b", "d"]);
}

#[test]
fn a_list_is_narrowed_to_names_that_begin_with_a_prefix() {
    let (_server, client) = start();
    for key in ["db", "db2", "dx/1", "dx/2", "e"] {
        client.put(&format!("/v1/keys/app/{key}"), "v").expect(201);
    }
    client.put("/v1/keys?key=/app/dx/", "marker").expect(201);
    let level: List = client.get("/v1/keys/app/?prefix=d").expect(200).shape();
    assert_eq!((names(&level), level.count), (vec!["/app/db".to_owned(), "/app/db2".to_owned()], Some(3)));
    assert_eq!(level.directories.as_deref(), Some(&["/app/dx/".to_owned()][..]));
    let below: List = client.get("/v1/keys/app/?prefix=dx/&recursive=true&limit=2").expect(200).shape();
    assert_eq!(names(&below), ["/app/dx/", "/app/dx/1"]);
    let next = format!("/v1/keys/app/?prefix=dx/&recursive=true&cursor={}", below.cursor.unwrap());
    assert_eq!(names(&client.get(&next).expect(200).shape()), ["/app/dx/2"]);
    let count: List = client.get("/v1/keys/app/?prefix=db&countOnly=true").expect(200).shape();
    assert_eq!(count.count, Some(2));
    let sorted: List = client.get("/v1/keys/app/?prefix=db&order=desc&keysOnly=true").expect(200).shape();
    assert_eq!(names(&sorted), ["/app/db2", "/app/db"]);
    assert_eq!(sorted.items.unwrap()[0].size, Some(1));
    assert_eq!(names(&client.get("/v1/keys/app/?prefix=zz").expect(200).shape()), Vec::<String>::new());
    client.get("/v1/keys/app/?prefix=dx/1").refused(400, "invalid_argument");
}

#[test]
fn a_text_is_searched_for_in_names_and_values_a_bounded_piece_at_a_time() {
    let (_server, client) = start();
    for from in (0..10_400).step_by(100) {
        let put = |number| json!({"put": {"key": format!("/s/{number:06}"), "value": "hay"}});
        let then: Vec<_> = (from..from + 100).map(put).collect();
        client.post("/v1/txn", json!({ "then": then }).to_string()).expect(200);
    }
    client.put("/v1/keys/s/010100", "the n\u{e4}\u{e4}dle").expect(200);
    client.put("/v1/keys/s/n%C3%A4%C3%A4dle", "x").expect(201);
    let path = "/v1/keys/s/?recursive=true&keysOnly=true&contains=n%C3%A4%C3%A4dle";
    let first: List = client.get(path).expect(200).shape();
    assert_eq!((names(&first).len(), first.examined, first.count), (0, Some(10_000), None));
    let second: List = client.get(&format!("{path}&limit=1&cursor={}", first.cursor.unwrap())).expect(200).shape();
    assert_eq!((names(&second), second.examined), (vec!["/s/010100".to_owned()], Some(400)));
    assert_eq!(second.items.unwrap()[0].size, Some(12));
    let last: List = client.get(&format!("{path}&cursor={}", second.cursor.unwrap())).expect(200).shape();
    assert_eq!((names(&last), last.examined, last.cursor), (vec!["/s/n\u{e4}\u{e4}dle".to_owned()], Some(1), None));
    // What the revision leaves out is looked into as well.
    let since = format!("{path}&minModRevision={}", last.items.unwrap()[0].mod_revision);
    let first: List = client.get(&since).expect(200).shape();
    assert_eq!((names(&first).len(), first.examined), (0, Some(10_000)));
    let last: List = client.get(&format!("{since}&cursor={}", first.cursor.unwrap())).expect(200).shape();
    assert_eq!((names(&last), last.examined, last.cursor), (vec!["/s/n\u{e4}\u{e4}dle".to_owned()], Some(401), None));
}

#[tokio::test]
async fn everything_is_followed_without_its_values() {
    let (server, client) = start();
    let mut events = EventSource::open(&format!("{}/v1/watch?keysOnly=true&prevValue=true", server.url()), None).await;
    client.put("/v1/keys/app/db", "one").expect(201);
    client.put("/v1/keys?key=no-slash", "12345").expect(201);
    client.put("/v1/keys/app/db", "three").expect(200);
    let mut next = async || events.next().await.unwrap().json();
    let event = next().await;
    assert_eq!((&event["key"], &event["size"], &event["value"]), (&json!("/app/db"), &json!(3), &json!(null)));
    assert_eq!(next().await["key"], "no-slash");
    let event = next().await;
    assert_eq!((&event["size"], &event["prev"]["size"], &event["prev"]["value"]), (&json!(5), &json!(3), &json!(null)));
    client.get("/v1/watch?children=true").refused(400, "invalid_argument");
}

#[test]
fn a_browser_is_led_to_the_console_whose_every_place_is_one_page() {
    let (server, client) = start();
    let led = client.send("GET", "/", &[("Accept", "text/html")], b"");
    assert_eq!((led.status, led.header("location")), (307, Some("/console/")));
    assert_eq!(client.get("/console").header("location"), Some("/console/"));
    let page = client.get("/console/").expect(200);
    assert_eq!(client.get("/console/keys/a%2Fb?view=history").expect(200).body, page.body);
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert!(page.header("content-security-policy").is_some_and(|policy| !policy.contains("unsafe")));
    let text = String::from_utf8(page.body.clone()).unwrap();
    let script = text.split('"').find(|word| word.ends_with("main.js")).unwrap();
    let file = client.get(script).expect(200);
    assert_eq!(file.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert!(file.header("cache-control").unwrap().contains("immutable"));
    // A file of another build is not passed off for one of this.
    client.get("/console/-/0/main.js").refused(404, "not_found");
    client.get(&script.replace("main.js", "index.html")).refused(404, "not_found");
    client.get("/console/-/").refused(404, "not_found");
    assert_eq!(client.send("HEAD", "/console/", &[], b"").status, 200);
    client.send("PUT", "/console/", &[], b"x").refused(405, "method_not_allowed");
    assert!(server.log().contains(&format!("console: {}/console/", server.url())), "{}", server.log());
}

#[test]
fn the_past_is_read_until_it_is_compacted() {
    let (_server, client) = start();
    let one = client.put("/v1/keys/h", "1").expect(201).shape::<WrittenKey>().mod_revision;
    let two = client.put("/v1/keys/h", "2").expect(200).shape::<WrittenKey>().mod_revision;
    client.delete("/v1/keys/h").expect(200);
    assert_eq!(client.get(&format!("/v1/keys/h?revision={one}")).expect(200).value()["value"], "1");
    let then: List = client.get(&format!("/v1/keys/?revision={two}")).expect(200).shape();
    assert_eq!((then.revision, then.items.unwrap()[0].value.clone()), (two, Some(json!("2"))));
    let future = client.get("/v1/keys/h?revision=999").refused(400, "future_revision");
    assert_eq!(future.shape::<ProblemObject>().current_revision, Some(two + 1));
    let compacted: Compaction =
        client.post("/v1/maintenance:compact", format!("{{\"revision\":{two}}}")).expect(200).shape();
    assert_eq!(compacted.compact_revision, two);
    let gone = client.get(&format!("/v1/keys/h?revision={one}")).refused(410, "compacted");
    assert_eq!(gone.shape::<ProblemObject>().compact_revision, Some(two));
    assert_eq!(client.get(&format!("/v1/keys/h?revision={two}")).expect(200).value()["value"], "2");
    client.post("/v1/maintenance:compact", format!("{{\"revision\":{one}}}")).refused(410, "compacted");
    client.post("/v1/maintenance:compact", "{\"revision\":9999}").refused(400, "future_revision");
}

#[test]
fn entity_tags_spare_an_answer_that_the_client_has() {
    let (_server, client) = start();
    client.put("/v1/keys/e/a", "1").expect(201);
    let asked = |path: &str, tag: &str| client.send("GET", path, &[("If-None-Match", tag)], b"").status;
    for path in ["/v1/keys/e/a", "/v1/keys/e/", "/v1/keys/e/?recursive=true", "/v1/keys/e/?keysOnly=true"] {
        let tag = client.get(path).expect(200).header("etag").unwrap().to_owned();
        assert_eq!(asked(path, &tag), 304, "{path} {tag}");
        assert_eq!(asked(path, &format!("\"x\", {tag}")), 304, "{path}");
        client.put("/v1/keys/elsewhere", "1");
        assert_eq!(asked(path, &tag), 304, "{path}: a write elsewhere changes nothing");
        client.put("/v1/keys/e/a", "2").expect(200);
        assert_eq!(asked(path, &tag), 200, "{path}");
    }
    // A deletion changes a list as well.
    let tag = client.get("/v1/keys/e/").header("etag").unwrap().to_owned();
    client.put("/v1/keys/e/b", "1").expect(201);
    client.delete("/v1/keys/e/b").expect(200);
    assert_eq!(asked("/v1/keys/e/", &tag), 304);
    assert_eq!(asked("/v1/keys/e/", "W/\"0\""), 200);
    let head = client.send("HEAD", "/v1/keys/e/a", &[], b"").expect(200);
    assert!(head.body.is_empty() && head.header("etag").is_some() && head.header("content-length").is_some());
}

#[test]
fn a_held_request_is_answered_by_a_change_in_it_and_by_no_other() {
    let (_server, client) = start();
    client.put("/v1/keys/w/a", "1").expect(201);
    let tag = client.get("/v1/keys/w/a").header("etag").unwrap().to_owned();
    let held = |path: &'static str, headers: Vec<(&'static str, String)>| {
        let client = client.clone();
        thread::spawn(move || {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            (client.send("GET", path, &headers, b""), Instant::now())
        })
    };
    let by_tag = held("/v1/keys/w/a", vec![("Prefer", "wait=20".into()), ("If-None-Match", tag)]);
    let plain = held("/v1/keys/w/a?wait=20s", vec![]);
    let list = held("/v1/keys/w/?recursive=true&wait=20s", vec![]);
    let absent = held("/v1/keys/w/new?wait=20s", vec![]);
    thread::sleep(Duration::from_millis(300));
    client.put("/v1/keys/elsewhere", "1").expect(201);
    thread::sleep(Duration::from_millis(200));
    assert!(!by_tag.is_finished() && !plain.is_finished() && !list.is_finished() && !absent.is_finished());
    let change = Instant::now();
    client.put("/v1/keys/w/a", "2").expect(200);
    for (name, held) in [("tag", by_tag), ("plain", plain), ("list", list)] {
        let (answer, at) = held.join().unwrap();
        assert_eq!(answer.header("preference-applied").is_some(), name == "tag");
        assert_eq!(answer.status, 200, "{name}");
        assert!(at - change < Duration::from_secs(5), "{name}");
    }
    client.put("/v1/keys/w/new", "1").expect(201);
    assert_eq!(absent.join().unwrap().0.expect(200).value()["value"], "1");
}

#[test]
fn a_held_request_ends_with_304_or_404_and_knows_what_was_seen() {
    let (_server, client) = start();
    let one = client.put("/v1/keys/w", "1").expect(201).shape::<WrittenKey>().mod_revision;
    client.get(&format!("/v1/keys/w?wait=50ms&after={one}")).expect(304);
    client.get("/v1/keys/w?wait=50ms").expect(304);
    client.get("/v1/keys/none?wait=50ms").refused(404, "key_not_found");
    client.put("/v1/keys/w", "2").expect(200);
    assert_eq!(client.get(&format!("/v1/keys/w?wait=20s&after={one}")).expect(200).value()["value"], "2");
    client.delete("/v1/keys/w").expect(200);
    client.get(&format!("/v1/keys/w?wait=20s&after={one}")).refused(404, "key_not_found");
}

#[test]
fn in_order_keys_are_all_kept_in_the_order_of_their_revisions() {
    let (_server, client) = start();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let client = client.clone();
            thread::spawn(move || {
                (0..20)
                    .map(|number| {
                        let answer = client.post("/v1/keys/queue/", format!("{writer}-{number}")).expect(201);
                        let key: WrittenKey = answer.shape();
                        let path = key.key.unwrap();
                        assert_eq!(path, format!("/queue/{:020}", key.mod_revision));
                        assert_eq!(answer.header("location"), Some(format!("/v1/keys{path}").as_str()));
                        path
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut written: Vec<String> = Vec::new();
    for writer in writers {
        let keys = writer.join().unwrap();
        assert!(keys.is_sorted());
        written.extend(keys);
    }
    written.sort_unstable();
    let list: List = client.get("/v1/keys/queue/").expect(200).shape();
    let listed: Vec<_> = list.items.unwrap().into_iter().map(|item| item.key.unwrap()).collect();
    assert_eq!(listed, written);
    client.post("/v1/keys/queue", "x").refused(400, "not_a_directory");
}

#[test]
fn numbers_are_added_to_atomically() {
    let (_server, client) = start();
    let first: Number = client.post("/v1/keys/n:increment", "").expect(201).shape();
    assert_eq!(first.number, 1);
    let adders: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || (0..10).for_each(|_| drop(client.post("/v1/keys/n:increment?by=2", "").expect(200))))
        })
        .collect();
    for adder in adders {
        adder.join().unwrap();
    }
    assert_eq!(client.post("/v1/keys/n:increment?by=-1", "").expect(200).shape::<Number>().number, 160);
    assert_eq!(client.get("/v1/keys/n").value()["value"], "160");
    assert_eq!(client.post("/v1/keys:increment?key=n2", "").expect(201).shape::<Number>().key.as_deref(), Some("n2"));
    client.put("/v1/keys/t", "text").expect(201);
    client.post("/v1/keys/t:increment", "").refused(409, "not_a_number");
    client.put("/v1/keys/max", i64::MAX.to_string()).expect(201);
    client.post("/v1/keys/max:increment", "").refused(409, "number_overflow");
}

#[test]
fn json_is_patched_in_place_by_both_languages() {
    let (_server, client) = start();
    typed(&client, "/v1/keys/j", "application/json", r#"{"a":1,"b":{"c":2,"d":3}}"#).expect(201);
    let merged: KeyObject = patched(&client, "/v1/keys/j", MERGE, r#"{"a":null,"b":{"c":9}}"#).expect(200).shape();
    assert_eq!(merged.value, Some(json!({"b": {"c": 9, "d": 3}})));
    let steps = r#"[{"op":"test","path":"/b/c","value":9},{"op":"add","path":"/e","value":[1]}]"#;
    let stepped: KeyObject = patched(&client, "/v1/keys/j?prevKv=true", JSON_PATCH, steps).expect(200).shape();
    assert_eq!(stepped.value, Some(json!({"b": {"c": 9, "d": 3}, "e": [1]})));
    assert_eq!(stepped.prev.unwrap().unwrap().value, Some(json!({"b": {"c": 9, "d": 3}})));
    assert_eq!(stepped.content_type.as_deref(), Some("application/json"));
    let failing = r#"[{"op":"test","path":"/b/c","value":1}]"#;
    patched(&client, "/v1/keys/j", JSON_PATCH, failing).refused(409, "patch_conflict");
    patched(&client, "/v1/keys/j", JSON_PATCH, r#"{"op":"add"}"#).refused(400, "invalid_argument");
    let other = patched(&client, "/v1/keys/j", "application/json", "{}").refused(415, "unsupported_media_type");
    assert!(other.header("accept-patch").unwrap().contains(MERGE));
    client.put("/v1/keys/text", "no json").expect(201);
    patched(&client, "/v1/keys/text", MERGE, "{}").refused(409, "not_json");
    let created: KeyObject = patched(&client, "/v1/keys/fresh", MERGE, r#"{"x":1}"#).expect(201).shape();
    assert_eq!(created.value, Some(json!({"x": 1})));
    patched(&client, "/v1/keys/absent", JSON_PATCH, "[]").refused(404, "key_not_found");
}

#[test]
fn keys_die_with_their_leases_and_not_before() {
    let (_server, client) = start();
    let own: WrittenKey = client.put("/v1/keys/t/own?ttl=1s", "x").expect(201).shape();
    assert!(own.lease.is_some() && own.ttl.unwrap() <= 1.0);
    let lease: LeaseObject = client.post("/v1/leases", r#"{"ttl":"60s","id":"ab12"}"#).expect(201).shape();
    assert!(lease.id == "ab12" && lease.granted_ttl > 59.9, "{lease:?}");
    client.post("/v1/leases", r#"{"ttl":1,"id":"ab12"}"#).refused(409, "lease_exists");
    client.put("/v1/keys/t/leased?lease=ab12", "x").expect(201);
    client.put("/v1/keys/t/kept?lease=ab12", "x").expect(201);
    client.put("/v1/keys/t/kept?keepLease=true", "y").expect(200);
    client.put("/v1/keys/t/detached?lease=ab12", "x").expect(201);
    client.put("/v1/keys/t/detached", "y").expect(200);
    let shown: LeaseObject = client.get("/v1/leases/ab12").expect(200).shape();
    assert_eq!(shown.keys.as_deref(), Some(&["/t/kept".to_owned(), "/t/leased".to_owned()][..]));
    let all: LeaseList = client.get("/v1/leases").expect(200).shape();
    assert!(all.items.iter().any(|lease| lease.id == "ab12" && lease.own.is_none()));
    let alive: LeaseObject = client.post("/v1/leases/ab12:keepalive", "").expect(200).shape();
    assert!(alive.ttl > 59.9 && alive.ttl <= 60.0, "{alive:?}");
    // A refreshed key lives on without a revision.
    let before = client.revision();
    client.put("/v1/keys/t/own?ttl=30s&refresh=true", "").expect(200);
    assert_eq!(client.revision(), before);
    client.put("/v1/keys/t/leased?ttl=30s&refresh=true", "").refused(409, "no_own_lease");
    client.put("/v1/keys/t/short?ttl=300ms", "x").expect(201);
    let deadline = Instant::now() + Duration::from_secs(5);
    while client.get("/v1/keys/t/short").status != 404 {
        assert!(Instant::now() < deadline, "the key outlived its lease");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(client.get("/v1/keys/t/own").status, 200);
    let revoked: Deleted = client.delete("/v1/leases/ab12").expect(200).shape();
    assert_eq!((revoked.deleted, revoked.revision), (2, client.revision()));
    client.get("/v1/keys/t/leased").refused(404, "key_not_found");
    assert_eq!(client.get("/v1/keys/t/detached").status, 200);
    client.post("/v1/leases/ab12:keepalive", "").refused(404, "lease_not_found");
    client.get("/v1/leases/ab12").refused(404, "lease_not_found");
    client.put("/v1/keys/t/x?lease=ab12", "x").refused(404, "lease_not_found");
}

#[test]
fn transactions_compare_and_change_all_or_nothing_at_one_revision() {
    let (_server, client) = start();
    client.put("/v1/keys/b", "1").expect(201);
    client.put("/v1/keys/q/1", "1").expect(201);
    let body = r#"{"if":[{"key":"/a","prevExist":false},{"key":"/b","modRevision":{"lt":12},"value":"1"}],
        "then":[{"put":{"key":"/a","value":{"n":1}}},{"delete":{"key":"/q/","recursive":true,"prevKv":true}},
                {"get":{"key":"/b"}},{"txn":{"then":[{"put":{"key":"/c","value":"AAE=","encoding":"base64","prevKv":true}}]}}],
        "else":[{"get":{"key":"/a"}}]}"#;
    let before = client.revision();
    let done: TxnAnswer = client.post("/v1/txn", body).expect(200).shape();
    assert!(done.succeeded && done.revision == before + 1);
    match &done.results[..] {
        [TxnResult::Put(put), TxnResult::Delete(deleted), TxnResult::Get(got), TxnResult::Txn(nested)] => {
            assert_eq!((put.mod_revision, put.content_type.as_deref()), (done.revision, Some("application/json")));
            assert_eq!((deleted.deleted, deleted.prev.as_ref().unwrap().len()), (1, 1));
            assert_eq!(got.items.as_ref().unwrap()[0].value, Some(json!("1")));
            assert!(nested.succeeded && nested.results.len() == 1);
        }
        other => panic!("{other:?}"),
    }
    let again: TxnAnswer = client.post("/v1/txn", body).expect(200).shape();
    assert!(!again.succeeded && again.revision == done.revision);
    match &again.results[..] {
        [TxnResult::Get(got)] => assert_eq!(got.items.as_ref().unwrap()[0].value, Some(json!({"n": 1}))),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.get("/v1/keys/c?raw").body, [0, 1]);
    let twice = r#"{"then":[{"put":{"key":"/x","value":"1"}},{"txn":{"then":[{"put":{"key":"/x","value":"2"}}]}}]}"#;
    client.post("/v1/txn", twice).refused(400, "invalid_argument");
    client.get("/v1/keys/x").refused(404, "key_not_found");
}

#[test]
fn a_retry_with_an_idempotency_key_gets_the_first_answer_and_is_not_applied_again() {
    let (_server, client) = start();
    let headers = [("Idempotency-Key", "once")];
    let first = client.send("POST", "/v1/keys/n:increment", &headers, b"").expect(201);
    let revision = client.revision();
    let again = client.send("POST", "/v1/keys/n:increment", &headers, b"").expect(201);
    assert_eq!((again.body.clone(), client.revision()), (first.body, revision));
    assert_eq!(
        (first.headers.iter().any(|(name, _)| name == "idempotency-replayed"), again.header("idempotency-replayed")),
        (false, Some("true"))
    );
    client.send("POST", "/v1/keys/n:increment?by=2", &headers, b"").refused(422, "idempotency_mismatch");
    client.send("PUT", "/v1/keys/n", &headers, b"5").refused(422, "idempotency_mismatch");
    // A refusal is an answer too: it stays what it was.
    let headers = [("Idempotency-Key", "refused")];
    client.send("DELETE", "/v1/keys/absent", &headers, b"").refused(404, "key_not_found");
    client.put("/v1/keys/absent", "now there").expect(201);
    client.send("DELETE", "/v1/keys/absent", &headers, b"").refused(404, "key_not_found");
}

#[test]
fn unknown_parameters_methods_and_paths_are_refused_by_name() {
    let (_server, client) = start();
    let typo = client.put("/v1/keys/a?prevexist=false", "x").refused(400, "invalid_argument");
    let detail = typo.value()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("`prevexist`") && detail.contains("`prevExist`"), "{detail}");
    client.get("/v1/keys/a").refused(404, "key_not_found");
    let method = client.send("FROB", "/v1/keys/a", &[], b"").refused(405, "method_not_allowed");
    assert!(method.header("allow").unwrap().contains("PATCH"));
    client.send("DELETE", "/v1/txn", &[], b"").refused(405, "method_not_allowed");
    client.get("/v1/kyes/a").refused(404, "not_found");
    for (path, allowed) in [("1", "GET,HEAD,PATCH,DELETE"), ("1:promote", "POST")] {
        let options = client.send("OPTIONS", &format!("/v1/cluster/members/{path}"), &[], b"").expect(204);
        assert_eq!(options.header("allow"), Some(allowed), "{path}");
    }
    let options = client.send("OPTIONS", "/v1/keys/a", &[], b"").expect(204);
    assert!(options.header("allow").unwrap().contains("PUT"));
}

#[test]
fn reads_are_as_current_as_they_ask_to_be() {
    let (_server, client) = start();
    client.put("/v1/keys/a", "x").expect(201);
    assert_eq!(client.get("/v1/keys/a?consistency=serializable").expect(200).value()["value"], "x");
    assert_eq!(client.get("/v1/keys/a?consistency=linearizable&timeout=2s").expect(200).value()["value"], "x");
    client.get("/v1/keys/a?consistency=eventual").refused(400, "invalid_argument");
}

#[test]
fn a_member_alone_is_the_cluster_and_leads_it() {
    let (_server, client) = start();
    let deadline = Instant::now() + Duration::from_secs(10);
    let member = loop {
        let cluster: ClusterObject = client.get("/v1/cluster").expect(200).shape();
        let [member] = cluster.members.try_into().unwrap();
        assert_eq!((cluster.leader.as_ref(), member.leads, member.learner), (Some(&member.id), true, false));
        // What it says about itself comes through the log, a moment after it has started.
        if !member.name.is_empty() {
            break member;
        }
        assert!(Instant::now() < deadline, "the member does not say its name");
    };
    assert_eq!((member.name.as_str(), member.client_urls.len()), ("default", 1));
    client.get("/v1/cluster?revision=3").refused(400, "invalid_argument");
}

#[test]
fn the_store_is_saved_whole_and_digested() {
    let (_server, client) = start();
    let empty: HashObject = client.get("/v1/maintenance/hash").expect(200).shape();
    for number in 0..300 {
        client.put(&format!("/v1/keys/s/{number}"), vec![b'x'; 2000]).expect(201);
    }
    let hash: HashObject = client.get("/v1/maintenance/hash").expect(200).shape();
    assert_ne!(hash.hash, empty.hash);
    assert_eq!((hash.revision, hash.hash.len()), (client.revision(), 32));
    let saved = client.get("/v1/maintenance/snapshot").expect(200);
    assert_eq!(saved.header("vardr-revision"), Some(hash.revision.to_string().as_str()));
    let mut check = SnapshotCheck::new();
    check.push(&saved.body).unwrap();
    assert_eq!(check.finish().unwrap().revision.get(), hash.revision);
    assert!(saved.body.len() > 300 * 2000);
}

/// The example bodies of an operation, each with its media type.
fn example_bodies(operation: &serde_json::Value) -> Vec<(String, String)> {
    let Some(content) = operation["requestBody"]["content"].as_object() else { return Vec::new() };
    let document: serde_json::Value = serde_json::from_str(include_str!("../openapi/v1.json")).unwrap();
    let example = |shape: &serde_json::Value| match shape["schema"]["$ref"].as_str() {
        Some(name) => document["components"]["schemas"][name.rsplit('/').next().unwrap()]["example"].clone(),
        None => shape["example"].clone(),
    };
    let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let bodies = content.iter().map(|(kind, shape)| (kind.clone(), example(shape)));
    bodies.filter(|(_, body)| !body.is_null()).map(|(kind, body)| (kind, text(body))).collect()
}

#[test]
fn every_example_of_the_document_works() {
    // A member can only be added where others can reach the cluster: at an address that no other test has.
    let [low, high, ..] = std::process::id().to_le_bytes();
    let server = Server::with_flags(&["--listen-peer-urls", &format!("http://127.66.{high}.{low}:2380")]);
    let client = Client::new(server.address());
    typed(&client, "/v1/keys/app/config", "application/json", "{}").expect(201);
    typed(&client, "/v1/keys?key=q1mi", "application/json", "{}").expect(201);
    for number in 0..20 {
        client.put("/v1/keys/app/db", number.to_string());
    }
    let document: serde_json::Value = serde_json::from_str(include_str!("../openapi/v1.json")).unwrap();
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["patch", "put", "post"] {
            for (kind, body) in example_bodies(&item[method]) {
                let mut path = path.clone();
                for parameter in item[method]["parameters"].as_array().unwrap() {
                    let name = parameter["name"].as_str().unwrap_or_default();
                    let example = parameter["example"].as_str().unwrap_or_default();
                    path = path.replace(&format!("{{{name}}}"), example);
                }
                if matches!(path.as_str(), "/v1/keys" | "/v1/keys:copy" | "/v1/keys:move" | "/v1/history:rollback") {
                    path.push_str(if method == "post" && path == "/v1/keys" { "?key=queue/" } else { "?key=q1mi" });
                }
                if path.starts_with("/v1/elections/primary/") {
                    let election: ElectionObject = client.get("/v1/elections/primary").expect(200).shape();
                    client.delete(&format!("/v1/elections/primary/{}", election.leader.unwrap().candidate)).expect(200);
                    client.post("/v1/leases", r#"{"ttl":"30s","id":"694d8a1f3c2b"}"#).expect(201);
                    client.post("/v1/elections/primary", r#"{"lease":"694d8a1f3c2b"}"#).expect(200);
                }
                let answer = client.send(&method.to_uppercase(), &path, &[("Content-Type", &kind)], body.as_bytes());
                assert!((200..300).contains(&answer.status), "{method} {path} {body}: {}", answer.text());
                tried += 1;
            }
        }
    }
    assert!(tried >= 15, "{tried}");
}
