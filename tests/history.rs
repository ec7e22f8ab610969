//! The versions of a key over HTTP, and what changes many keys at one revision: going back, copying and moving.

#![cfg(test)]

mod support;

use serde_json::json;
use support::Server;
use support::http::Client;
use vardr::api::v1::schema::{CopiedKeys, Deleted, Diff, History, List, RolledBack, WrittenKey};

fn start() -> (Server, Client) {
    let server = Server::start();
    let client = Client::new(server.address());
    (server, client)
}

#[test]
fn history_shows_versions_differences_and_the_way_back() {
    let (_server, client) = start();
    let one = client.put("/v1/keys/app/db", "a\nb\n").expect(201).shape::<WrittenKey>().mod_revision;
    let two = client.put("/v1/keys/app/db", "a\nc\n").expect(200).shape::<WrittenKey>().mod_revision;
    let three = client.delete("/v1/keys/app/db").expect(200).shape::<Deleted>().revision;
    let history: History = client.get("/v1/history/app/db").expect(200).shape();
    let versions: Vec<_> =
        history.items.iter().map(|item| (item.revision, item.kind.as_str(), item.value.clone())).collect();
    assert_eq!(
        versions,
        [(three, "delete", None), (two, "put", Some(json!("a\nc\n"))), (one, "put", Some(json!("a\nb\n")))]
    );
    assert!(history.items[0].time.ends_with('Z'));
    let page: History = client.get("/v1/history/app/db?limit=2").expect(200).shape();
    let rest: History = client.get(&format!("/v1/history/app/db?before={}", page.before.unwrap())).expect(200).shape();
    assert_eq!(rest.items[0].revision, one);
    let diff: Diff = client.get(&format!("/v1/history/app/db?diff={one}..{two}")).expect(200).shape();
    assert_eq!(diff.format, "unified");
    assert!(diff.diff.unwrap().as_str().unwrap().contains("-b\n+c\n"));
    let gone: Diff = client.get(&format!("/v1/history/app/db?diff={two}..{three}")).expect(200).shape();
    assert_eq!(gone.only.as_deref(), Some("from"));
    let body = format!("{{\"to\":{one}}}");
    let back: RolledBack = client.post("/v1/history/app/db:rollback", &body).expect(200).shape();
    assert_eq!((back.restored, back.deleted), (1, 0));
    assert_eq!(client.get("/v1/keys/app/db").expect(200).value()["value"], "a\nb\n");
    client.get("/v1/history/never").refused(404, "key_not_found");
    client.post("/v1/history/app/db", &body).refused(405, "method_not_allowed");
}

#[test]
fn a_directory_is_rolled_back_at_one_revision_and_first_tried_out() {
    let (_server, client) = start();
    client.put("/v1/keys/d/same", "1").expect(201);
    client.put("/v1/keys/d/changed", "1").expect(201);
    let then = client.put("/v1/keys/d/deleted", "1").expect(201).shape::<WrittenKey>().mod_revision;
    client.put("/v1/keys/d/changed", "2").expect(200);
    client.delete("/v1/keys/d/deleted").expect(200);
    client.put("/v1/keys/d/new", "1").expect(201);
    client.put("/v1/keys/outside", "1").expect(201);
    let before = client.revision();
    let body = format!("{{\"to\":{then}}}");
    let tried: RolledBack = client.post("/v1/history/d/:rollback?dryRun=true", &body).expect(200).shape();
    assert_eq!((tried.restored, tried.deleted, tried.dry_run), (2, 1, Some(true)));
    assert_eq!(tried.restored_keys.as_deref(), Some(&["/d/changed".to_owned(), "/d/deleted".to_owned()][..]));
    assert_eq!(client.revision(), before);
    let back: RolledBack = client.post("/v1/history/d/:rollback", &body).expect(200).shape();
    assert_eq!((back.restored, back.deleted, back.revision), (2, 1, before + 1));
    let list: List = client.get("/v1/keys/d/").expect(200).shape();
    let values: Vec<_> = list.items.unwrap().into_iter().map(|item| (item.key.unwrap(), item.value.unwrap())).collect();
    let expected = ["/d/changed", "/d/deleted", "/d/same"].map(|key| (key.to_owned(), json!("1")));
    assert_eq!(values, expected);
}

#[test]
fn a_directory_is_moved_at_one_revision_and_first_tried_out() {
    let (_server, client) = start();
    client.put("/v1/keys/old/a", "1").expect(201);
    client.put("/v1/keys/old/b%2Fc", "2").expect(201);
    client.send("PUT", "/v1/keys?key64=L29sZC__", &[], b"3").expect(201);
    client.put("/v1/keys/new/a", "there").expect(201);
    let before = client.revision();
    let body = r#"{"to":"/new/"}"#;
    let tried: CopiedKeys = client.post("/v1/keys/old/:move?dryRun=true", body).expect(200).shape();
    assert_eq!((tried.keys, tried.overwritten, tried.dry_run, tried.revision), (3, 1, Some(true), before));
    assert_eq!(tried.written_keys.unwrap(), ["/new/a", "/new/b/c"]);
    assert_eq!(tried.written_keys64.unwrap(), ["L25ldy__"]);
    assert_eq!(tried.overwritten_keys.unwrap(), ["/new/a"]);
    let refused = client.post("/v1/keys/old/:move", body).refused(409, "key_exists").value();
    assert_eq!((&refused["key"], &refused["keys"]), (&json!("/new/a"), &json!(1)));
    assert_eq!(client.revision(), before);
    let misspelt = client.post("/v1/keys/old/a:mvoe", body).refused(400, "not_a_directory");
    assert!(misspelt.text().contains("`:move`"), "{}", misspelt.text());
    let body = r#"{"to":"/new/","overwrite":true}"#;
    let key = [("Idempotency-Key", "once"), ("Content-Type", "application/json")];
    let done: CopiedKeys = client.send("POST", "/v1/keys/old/:move", &key, body.as_bytes()).expect(200).shape();
    assert_eq!((done.keys, done.overwritten, done.revision), (3, 1, before + 1));
    let again = client.send("POST", "/v1/keys/old/:move", &key, body.as_bytes()).expect(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    client.get("/v1/keys/old/").refused(404, "key_not_found");
    assert_eq!(client.get("/v1/keys/new/a").expect(200).value()["value"], "1");
    assert_eq!(client.get("/v1/keys?key64=L25ldy__").expect(200).value()["value"], "3");
    let history: History = client.get("/v1/history/new/a").expect(200).shape();
    assert_eq!((&*history.items[0].operation, history.items[0].revision), ("move", before + 1));
    client.post("/v1/keys?key64=L25ldy__", "").refused(400, "not_a_directory");
    let body = r#"{"to64":"L_8"}"#;
    client.post("/v1/keys:copy?key64=L25ldy__", body).expect(200);
    assert_eq!(client.get("/v1/keys?key64=L_8").expect(200).value()["value"], "3");
}
