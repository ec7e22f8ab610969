//! Paths and methods that come to no node.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;

fn text(response: &Response) -> (u16, String, Option<String>) {
    (response.status, response.text(), response.header("content-type").map(str::to_owned))
}

#[test]
fn unclean_paths_are_redirected_with_their_query() {
    let (_server, keys) = start();
    let plain = "text/html; charset=utf-8".to_owned();
    for (path, location, link) in [
        ("//foo", "/v2/keys/foo", "/v2/keys/foo"),
        ("/a%2F..%2Fb?x=1&y=%20", "/v2/keys/b?x=1&y=%20", "/v2/keys/b?x=1&amp;y=%20"),
        ("/./a%20b/", "/v2/keys/a%20b/", "/v2/keys/a%20b/"),
    ] {
        let moved = keys.get(path);
        assert_eq!(moved.header("location"), Some(location));
        let body = format!("<a href=\"{link}\">Moved Permanently</a>.\n\n");
        assert_eq!(text(&moved), (301, body, Some(plain.clone())));
        let moved = keys.put(path, "value=1");
        assert_eq!((moved.header("location"), text(&moved)), (Some(location), (301, String::new(), None)));
    }
    assert_eq!(keys.0.revision(), 1);
    keys.put("%2Fenc%2Fslash", "value=1").expect(201);
    keys.get("/enc/slash").expect(200);
}

#[test]
fn other_paths_and_methods_are_answered_in_gos_words() {
    let (_server, keys) = start();
    let plain = Some("text/plain; charset=utf-8".to_owned());
    for path in ["/v2", "/v2/", "/v2/keysfoo", "/v2/nothing"] {
        assert_eq!(text(&keys.0.get(path)), (404, "404 page not found\n".to_owned(), plain.clone()), "{path}");
    }
    let refused = keys.send("PATCH", "/a", "");
    assert_eq!(text(&refused), (405, "Method Not Allowed\n".to_owned(), plain.clone()));
    assert_eq!(refused.header("allow"), Some("HEAD,GET,PUT,POST,DELETE"));
    assert_eq!(refused.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(text(&keys.get("/%zz")), (400, "400 Bad Request".to_owned(), plain));
    let options = keys.send("OPTIONS", "/a", "");
    assert_eq!((options.status, options.text().as_str(), options.header("x-etcd-index")), (200, "", None));
}

#[test]
fn headers_are_named_as_scripts_look_for_them() {
    let (server, keys) = start();
    let wait = keys.wait("/a?wait=true");
    let head = wait.head().unwrap();
    for name in
        ["X-Etcd-Index: 1", "X-Etcd-Cluster-Id: ", "X-Raft-Index: ", "X-Raft-Term: ", "Content-Type: application/json"]
    {
        assert!(head.contains(name), "{head}");
    }
    // As everywhere else to who begins with the API of its own.
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\r\nvardr-revision: 1\r\n"), "{answer}");
}

#[test]
fn an_origin_that_is_listed_gets_etcds_headers_and_another_none() {
    let server = Server::with_flags(&["--cors", "http://page.example"]);
    let client = Client::new(server.address());
    let ask = |origin| client.send("GET", "/v2/keys", &[("Origin", origin)], b"").expect(200);
    let listed = ask("http://page.example");
    assert_eq!(listed.header("access-control-allow-origin"), Some("http://page.example"));
    assert_eq!(listed.header("access-control-allow-methods"), Some("POST, GET, OPTIONS, PUT, DELETE"));
    assert_eq!(listed.header("access-control-allow-headers"), Some("accept, content-type, authorization"));
    assert_eq!(ask("http://other.example").header("access-control-allow-origin"), None);
    let preflight = [("Origin", "http://page.example"), ("Access-Control-Request-Method", "PUT")];
    assert_eq!(client.send("OPTIONS", "/v2/keys/a", &preflight, b"").status, 200);
}
