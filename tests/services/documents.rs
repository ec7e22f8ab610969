//! What an instance may say of itself and be called, and what becomes of keys that others wrote.

use serde_json::json;
use vardr::api::v1::services::schema::{InstanceList, InstanceObject, ServiceList, StatusWord};

use crate::{WEB, detail, start};

#[test]
fn a_bad_document_is_refused_with_its_member_named_and_nothing_is_stored() {
    let (_server, client) = start();
    let bad = [
        ("", "the body is empty"),
        ("[]", "an object"),
        ("{", "not JSON"),
        ("{}", "`address` is missing"),
        (r#"{"address":""}"#, "`address`"),
        (r#"{"address":"http://10.0.0.7"}"#, "`address`"),
        (r#"{"address":"10.0.0.7:80"}"#, "`port`"),
        (r#"{"address":"a","port":70000}"#, "`port`"),
        (r#"{"address":"a","tags":["x","x"]}"#, "`tags`"),
        (r#"{"address":"a","meta":7}"#, "`meta`"),
        (r#"{"address":"a","weight":1.5}"#, "`weight`"),
        (r#"{"address":"a","status":"up"}"#, "`status`"),
        (r#"{"address":"a","zone":"b"}"#, "goes into `meta`"),
    ];
    for (document, why) in bad {
        let refused = client.put("/v1/services/web/a", document).refused(400, "invalid_argument");
        assert!(detail(&refused).contains(why), "{document}: {}", detail(&refused));
    }
    for ttl in ["0", "0s", "-1", "soon"] {
        client.put(&format!("/v1/services/web/a?ttl={ttl}"), WEB).refused(400, "invalid_argument");
    }
    let large = format!("{{\"address\":\"a\",\"meta\":{{\"x\":\"{}\"}}}}", "x".repeat(64 * 1024));
    client.put("/v1/services/web/a", large).refused(413, "too_large");
    client.get("/v1/services/web/a").refused(404, "instance_not_found");
    assert!(client.get("/v1/services").expect(200).shape::<ServiceList>().items.is_empty());
}

#[test]
fn names_may_be_any_segment_of_a_path_and_nothing_else() {
    let (_server, client) = start();
    for (path, service, instance) in [
        ("my%20web/10.0.0.7:8080", "my web", "10.0.0.7:8080"),
        ("%C3%BC/a%2520b", "ü", "a%20b"),
        ("web/a%3Aheartbeat", "web", "a:heartbeat"),
    ] {
        let path = format!("/v1/services/{path}");
        let registered: InstanceObject = client.put(&path, WEB).expect(201).shape();
        assert_eq!((registered.service.as_str(), registered.instance.as_str()), (service, instance));
        let key = json!(format!("/services/{service}/{instance}"));
        let listed = client.get("/v1/keys/services/?recursive=true&keysOnly=true").expect(200).value();
        assert!(listed["items"].as_array().unwrap().iter().any(|item| item["key"] == key), "{listed}");
        client.post(&format!("{path}:heartbeat"), "").expect(200);
        client.delete(&path).expect(200);
    }
    let long = "x".repeat(256);
    for path in [
        "/a",
        "web/a%2Fb",
        "web/..",
        "web/%2e",
        "%ff/a",
        "web/a%0Ab",
        "web/%zz",
        &format!("web/{long}"),
        &format!("{long}/a"),
    ] {
        let refused = client.put(&format!("/v1/services/{path}"), WEB).refused(400, "invalid_argument");
        assert!(detail(&refused).contains("the name of the"), "{path}: {}", detail(&refused));
    }
    for path in ["/v1/services/web/a/b", "/v1/services/web/", "/v1/services/"] {
        client.get(path).refused(404, "not_found");
    }
}

#[test]
fn what_others_wrote_is_shown_as_far_as_it_can_be() {
    let (_server, client) = start();
    client.put("/v1/services/web/a", WEB).expect(201);
    client.put("/v1/keys/services/web/garbage", "by hand").expect(201);
    client.put("/v1/keys/services/web/list", "[1]").expect(201);
    client.put("/v1/keys/services/web/odd?ttl=1m", r#"{"address":"10.0.0.9", "zone":"b"}"#).expect(201);
    client.put("/v1/keys/services/web/good", " {\"address\": \"10.0.0.9\",\n \"tags\":[\"v2\"]}").expect(201);
    client.put("/v1/keys?key64=L3NlcnZpY2VzL3dlYi__", "bytes").expect(201);
    client.put("/v1/keys/services/web/deeper/key", "x").expect(201);
    client.put("/v1/keys/services/empty/", "").expect(201);
    client.put("/v1/keys/services/alone", "x").expect(201);
    let list: InstanceList = client.get("/v1/services/web").expect(200).shape();
    let shown: Vec<_> = list.items.iter().map(|item| (item.instance.as_str(), item.status)).collect();
    let (passing, critical) = (StatusWord::Passing, StatusWord::Critical);
    assert_eq!(
        shown,
        [("a", passing), ("garbage", critical), ("good", passing), ("list", critical), ("odd", critical)]
    );
    assert!(list.items[4].invalid.as_ref().unwrap().contains("`zone`") && list.items[4].ttl.is_some());
    assert!(list.items[1].invalid.is_some() && list.items[1].address.is_none() && list.items[1].lease.is_none());
    assert!(list.items[2].invalid.is_none() && list.items[2].ttl.is_none());
    let services: ServiceList = client.get("/v1/services").expect(200).shape();
    let [web] = services.items.try_into().unwrap();
    assert_eq!((web.service.as_str(), web.instances, web.passing, web.tags), ("web", 5, 2, vec!["v2".to_owned()]));
    // By hand there is no time to live, and no status that could be changed.
    let refused = client.post("/v1/services/web/good:heartbeat", "").refused(409, "instance_without_lease");
    assert!(detail(&refused).contains("register it"));
    client.post("/v1/services/web/odd:heartbeat", "").expect(200);
    client.put("/v1/services/web/good:status", r#"{"status":"draining"}"#).expect(200);
    for name in ["garbage", "list", "odd"] {
        let refused = client.put(&format!("/v1/services/web/{name}:status"), r#"{"status":"passing"}"#);
        assert!(detail(&refused.refused(409, "not_an_instance")).contains("written by hand"), "{name}");
    }
    assert_eq!(client.get("/v1/keys/services/web/list").expect(200).value()["value"], "[1]");
    // Registering makes an instance of it.
    let registered: InstanceObject = client.put("/v1/services/web/garbage", WEB).expect(200).shape();
    assert!(registered.invalid.is_none() && registered.ttl.is_some());
}
