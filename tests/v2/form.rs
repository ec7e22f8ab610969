//! Where parameters may stand, how they are read, and which come first.

use super::*;

fn value(keys: &Keys, path: &str) -> String {
    keys.get(path).expect(200).value()["node"]["value"].as_str().unwrap().to_owned()
}

#[test]
fn parameters_are_read_from_query_and_form_and_the_form_wins() {
    let (_server, keys) = start();
    keys.put("/a?value=query", "").expect(201);
    assert_eq!(value(&keys, "/a"), "query");
    keys.put("/a?value=query", "value=form").expect(200);
    assert_eq!(value(&keys, "/a"), "form");
    keys.put("/a", "value=a+b%2Bc&value=later").expect(200);
    assert_eq!(value(&keys, "/a"), "a b+c");
    // The body of a deletion is not looked at.
    keys.put("/d?dir=true", "").expect(201);
    fails(&keys.send("DELETE", "/d", "recursive=true"), 403, 102, "/d", 5);
}

#[test]
fn a_body_that_is_no_form_is_no_value() {
    let (_server, keys) = start();
    for (number, kind) in ["application/json", "text/plain", "multipart/form-data; boundary=x"].iter().enumerate() {
        let path = format!("/v2/keys/{number}");
        let answer = keys.0.send("PUT", &path, &[("Content-Type", kind)], b"value=x").expect(201);
        assert_eq!(answer.value()["node"]["value"], "");
    }
    assert_eq!(keys.0.send("PUT", "/v2/keys/none", &[], b"value=x").expect(201).value()["node"]["value"], "");
    let odd = [("Content-Type", "application/x-www-form-urlencoded; x")];
    fails(&keys.0.send("PUT", "/v2/keys/odd", &odd, b"value=x"), 400, 210, "mime: invalid media parameter", 0);
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let (_server, keys) = start();
    let semicolon = "invalid semicolon separator in query";
    fails(&keys.put("/a", "value=a;ttl=5"), 400, 210, semicolon, 0);
    fails(&keys.get("/a?x=1;y=2"), 400, 210, semicolon, 0);
    fails(&keys.put("/a", "value=%zz"), 400, 210, "invalid URL escape \"%zz\"", 0);
    fails(&keys.put("/a", "value=1&ttl=x"), 400, 202, "invalid value for \"ttl\"", 0);
    fails(&keys.put("/a", "value=1&prevIndex="), 400, 203, "invalid value for \"prevIndex\"", 0);
    fails(&keys.get("/a?waitIndex=-1"), 400, 203, "invalid value for \"waitIndex\"", 0);
    fails(&keys.get("/a?recursive"), 400, 209, "invalid value for \"recursive\"", 0);
    fails(&keys.put("/a", "value=1&prevExist="), 400, 209, "invalid value for prevExist", 0);
    fails(&keys.put("/a", "value=1&prevValue="), 400, 201, "\"prevValue\" cannot be empty", 0);
    fails(&keys.put("/a", "value=1&wait=true"), 400, 209, "\"wait\" can only be used with GET requests", 0);
    fails(&keys.put("/a", "value=1&refresh=true"), 400, 211, "A value was provided on a refresh", 0);
    fails(&keys.put("/a", "refresh=true"), 400, 212, "No TTL value set", 0);
    fails(&keys.get("/a"), 404, 100, "/a", 1);
    keys.put("/a?unknown=1&recursive=T&sorted=0", "value=1").expect(201);
}

#[test]
fn strings_are_written_as_go_writes_them() {
    let (_server, keys) = start();
    let put = keys.put("/html%3Cb%3E%ff", "value=%3Cb%3E%26%22%27%E2%80%A8%00%0a%ff").expect(201);
    let node = r#""key":"/html\u003cb\u003e\ufffd","value":"\u003cb\u003e\u0026\"'\u2028\u0000\n\ufffd""#;
    assert!(put.text().contains(node), "{}", put.text());
    assert!(keys.get("/html%3Cb%3E%ff").expect(200).text().contains(node));
    keys.put("/%C3%A9", "value=%E2%82%AC").expect(201);
    assert_eq!(value(&keys, "/%c3%a9"), "€");
}

#[test]
fn a_form_that_is_too_large_is_read_and_refused() {
    let (_server, keys) = start();
    let fits = format!("value={}", "x".repeat(1536 * 1024));
    keys.put("/fits", &fits).expect(201);
    fails(&keys.put("/large", &format!("{fits}x")), 400, 210, "http: POST too large", 0);
    fails(&keys.put("/larger", &"x".repeat(11_000_000)), 400, 210, "http: POST too large", 0);
    keys.get("/large").expect(404);
}

#[test]
fn a_form_is_as_large_as_the_server_allows() {
    let server = Server::with_flags(&["--max-request-bytes", "20971520"]);
    let keys = Keys(Client::new(server.address()));
    keys.put("/large", &format!("value={}", "%2B".repeat(6 * 1024 * 1024))).expect(201);
    assert_eq!(value(&keys, "/large").len(), 6 * 1024 * 1024);
}
