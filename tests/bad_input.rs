//! Bad requests: each gets its documented status and code as problem+json, nothing changes, and the server stays up
//! within its memory.

#![cfg(test)]

mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use support::Server;
use support::http::{Client, Response};
use vardr::api::v1::schema::ProblemObject;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const MERGE: (&str, &str) = ("Content-Type", "application/merge-patch+json");
const PATCH: (&str, &str) = ("Content-Type", "application/json-patch+json");

/// One bad request and what it gets.
struct Bad {
    request: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
}

fn bad(request: &'static str, status: u16, code: &'static str) -> Bad {
    Bad { request, headers: Vec::new(), body: Vec::new(), status, code }
}

impl Bad {
    fn header(mut self, (name, value): (&'static str, &str)) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    fn send(&self, client: &Client) -> Response {
        let (method, path) = self.request.split_once(' ').unwrap();
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        client.send(method, path, &headers, &self.body)
    }
}

const INVALID: &str = "invalid_argument";

/// Query parameters that are unknown, repeated, of the wrong kind, or out of bounds.
fn parameters() -> Vec<Bad> {
    [
        "GET /v1/keys/a?unknown=1",
        "PUT /v1/keys/a?prevexist=false",
        "PUT /v1/keys/a?prevExist=false&prevExist=false",
        "PUT /v1/keys/a?prevExist=",
        "PUT /v1/keys/a?prevExist=yes",
        "PUT /v1/keys/a?prevExist=TRUE",
        "PUT /v1/keys/a?prevRevision=0",
        "PUT /v1/keys/a?prevRevision=-1",
        "PUT /v1/keys/a?prevRevision=1e3",
        "PUT /v1/keys/a?prevRevision=99999999999999999999",
        "PUT /v1/keys/a?ttl=0",
        "PUT /v1/keys/a?ttl=-5s",
        "PUT /v1/keys/a?ttl=soon",
        "PUT /v1/keys/a?ttl=10000000000",
        "PUT /v1/keys/a?lease=0",
        "PUT /v1/keys/a?lease=xyz",
        "PUT /v1/keys/a?lease=ffffffffffffffff",
        "PUT /v1/keys/a?recursive=true",
        "POST /v1/keys/n:increment?by=1.5",
        "POST /v1/keys/n:increment?by=9223372036854775808",
        "POST /v1/keys/n:increment?by=",
        "POST /v1/keys/q/?prevExist=true",
        "PATCH /v1/keys/a?ttl=5s",
        "GET /v1/keys/d/?limit=0",
        "GET /v1/keys/d/?limit=-1",
        "GET /v1/keys/d/?limit=100001",
        "GET /v1/keys/d/?limit=many",
        "GET /v1/keys/d/?cursor=%21%21",
        "GET /v1/keys/d/?cursor=AAAA",
        "GET /v1/keys/d/?sort=size",
        "GET /v1/keys/d/?order=up",
        "GET /v1/keys/d/?raw=true",
        "GET /v1/keys/a?limit=5",
        "GET /v1/keys/a?revision=0",
        "GET /v1/keys/a?consistency=eventual",
        "GET /v1/keys/a?timeout=1h",
        "GET /v1/keys/a?wait=soon",
        "GET /v1/keys/a?after=5",
        "GET /v1/keys/a?key=%zz",
        "GET /v1/keys?key=",
        "GET /v1/keys?key=%ff",
        "GET /v1/keys?key64=!!",
        "GET /v1/keys?key=a&key64=YQ",
        "GET /v1/keys/a?key=b",
        "PUT /v1/keys",
        "GET /v1/history/a?diff=7",
        "GET /v1/history/a?diff=0..1",
        "GET /v1/history/a?limit=1001",
        "GET /v1/history/d/",
        "GET /v1/leases/0",
        "GET /v1/leases/nonsense",
        "GET /v1/leases/11112222333344445",
        "POST /v1/leases/nonsense:keepalive",
        "GET /v1/status?verbose=true",
        "GET /v1/watch/a?since=5",
        "GET /v1/watch/a?events=move",
        "GET /v1/watch/a?after=-1",
    ]
    .into_iter()
    .map(|request| bad(request, 400, INVALID))
    .collect()
}

/// Paths and keys that name nothing, or too much.
fn paths() -> Vec<Bad> {
    let mut all: Vec<Bad> = [
        "GET /v1/keys//a",
        "GET /v1/keys/a//b",
        "GET /v1/keys/a//",
        "GET /v1/keys/./a",
        "PUT /v1/keys/a/../b",
        "DELETE /v1/keys/a/%2e%2e/b",
        "GET /v1/keys/a%2F%2Fb",
        "GET /v1/keys/%",
        "GET /v1/keys/%4",
        "GET /v1/keys/%zz",
        "GET /v1/keys/%ff",
        "PATCH /v1/keys/d/",
    ]
    .into_iter()
    .map(|request| bad(request, 400, INVALID))
    .collect();
    all.extend([
        bad("GET /v1/keys/a?recursive=true", 400, "not_a_directory"),
        bad("DELETE /v1/keys/a?recursive=true", 400, "not_a_directory"),
        bad("POST /v1/keys/a", 400, "not_a_directory"),
        bad("POST /v1/keys/a:unknown", 400, "not_a_directory"),
        bad("GET /v1/keys/absent", 404, "key_not_found"),
        bad("GET /v1/keys/absent/", 404, "key_not_found"),
        bad("DELETE /v1/keys/absent", 404, "key_not_found"),
        bad("DELETE /v1/keys/absent/?recursive=true", 404, "key_not_found"),
        bad("GET /v1/history/absent", 404, "key_not_found"),
        bad("GET /v1/leases/1234", 404, "lease_not_found"),
        bad("DELETE /v1/leases/1234", 404, "lease_not_found"),
        bad("POST /v1/leases/1234:keepalive", 404, "lease_not_found"),
        bad("PUT /v1/keys/new?lease=1234", 404, "lease_not_found"),
        bad("GET /v1", 404, "not_found"),
        bad("GET /v4/keys/a", 404, "not_found"),
        bad("GET /v1/keysx", 404, "not_found"),
        bad("DELETE /v1/keys/d/", 409, "directory_not_empty"),
        bad("GET /v1/keys/a?revision=999999", 400, "future_revision"),
        bad("GET /v1/keys/d/?revision=999999", 400, "future_revision"),
        bad("GET /v1/keys/a?revision=1", 410, "compacted"),
        bad("GET /v1/keys/d/?revision=1", 410, "compacted"),
    ]);
    all
}

/// Methods that a path does not take.
fn methods() -> Vec<Bad> {
    [
        "TRACE /v1/keys/a",
        "FROB /v1/keys/a",
        "DELETE /v1/txn",
        "GET /v1/txn",
        "PUT /v1/leases",
        "PATCH /v1/leases/1234",
        "POST /v1/leases/1234",
        "POST /v1/history/a",
        "PUT /v1/history/a",
        "GET /v1/maintenance:compact",
        "POST /v1/status",
        "PUT /v1/watch/a",
    ]
    .into_iter()
    .map(|request| bad(request, 405, "method_not_allowed"))
    .collect()
}

/// Bodies that are malformed, of the wrong kind, unwanted, or too large.
fn bodies() -> Vec<Bad> {
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    let large = vec![b'x'; 1536 * 1024 + 1];
    vec![
        bad("PUT /v1/keys/a", 400, INVALID).header(JSON).body("{"),
        bad("PUT /v1/keys/a", 400, INVALID).header(JSON).body("{\"a\":1} trailing"),
        bad("PUT /v1/keys/a", 400, INVALID).header(JSON).body(b"\"\xff\""),
        bad("PUT /v1/keys/a", 400, INVALID).header(JSON).body(&deep),
        bad("PUT /v1/keys/a", 400, INVALID).header(JSON).body("[".repeat(100_000)),
        bad("PUT /v1/keys/a", 400, INVALID).header(("Content-Type", "nonsense")).body("x"),
        bad("PUT /v1/keys/a", 400, INVALID).header(("Content-Type", "a/\u{e9}")).body("x"),
        bad("PUT /v1/keys/a", 415, "unsupported_media_type").header(("Content-Encoding", "gzip")).body("x"),
        bad("PUT /v1/keys/a", 413, "too_large").body(&large),
        bad("POST /v1/keys/q/", 413, "too_large").body(&large),
        bad("POST /v1/txn", 413, "too_large").body(&large),
        bad("PUT /v1/keys/d/", 400, INVALID).body("a value"),
        bad("PUT /v1/keys/a?refresh=true", 400, INVALID),
        bad("PUT /v1/keys/a?refresh=true&ttl=5s", 400, INVALID).body("a value"),
        bad("PUT /v1/keys/a?refresh=true&ttl=5s", 409, "no_own_lease"),
        bad("PUT /v1/keys/absent?refresh=true&ttl=5s", 404, "key_not_found"),
        bad("DELETE /v1/keys/a", 400, INVALID).body("x"),
        bad("POST /v1/keys/n:increment", 400, INVALID).body("2"),
        bad("POST /v1/keys/a:increment", 409, "not_a_number"),
        bad("PATCH /v1/keys/a", 415, "unsupported_media_type").header(JSON).body("{}"),
        bad("PATCH /v1/keys/a", 415, "unsupported_media_type").body("{}"),
        bad("PATCH /v1/keys/a", 409, "not_json").header(MERGE).body("{}"),
        bad("PATCH /v1/keys/a", 400, INVALID).header(MERGE),
        bad("PATCH /v1/keys/a", 400, INVALID).header(MERGE).body("{"),
        bad("PATCH /v1/keys/j", 400, INVALID).header(PATCH).body("{}"),
        bad("PATCH /v1/keys/j", 400, INVALID).header(PATCH).body(r#"[{"op":"frobnicate","path":"/a"}]"#),
        bad("PATCH /v1/keys/j", 409, "patch_conflict").header(PATCH).body(r#"[{"op":"remove","path":"/none"}]"#),
        bad("PATCH /v1/keys/absent", 404, "key_not_found").header(PATCH).body("[]"),
    ]
}

/// JSON requests: transactions, leases, rollback, compaction.
fn requests() -> Vec<Bad> {
    let put = r#"{"put":{"key":"/t","value":"1"}}"#;
    let many = format!("{{\"then\":[{}]}}", vec![r#"{"get":{"key":"/t"}}"#; 129].join(","));
    let deep = format!("{}{put}{}", r#"{"txn":{"then":["#.repeat(8), "]}}".repeat(8));
    let mut all: Vec<Bad> = [
        "",
        "{",
        "[]",
        "null",
        r#"{"when":[]}"#,
        r#"{"then":{}}"#,
        r#"{"then":[{"move":{"key":"/a"}}]}"#,
        r#"{"then":[{"put":{"key":"/a","value":"1"},"get":{"key":"/a"}}]}"#,
        r#"{"then":[{"put":{"key":"/a"}}]}"#,
        r#"{"then":[{"put":{"value":"1"}}]}"#,
        r#"{"then":[{"put":{"key":"","value":"1"}}]}"#,
        r#"{"then":[{"put":{"key":"/a","value":"1","leese":"12"}}]}"#,
        r#"{"then":[{"put":{"key":"/a","value":"1","lease":12}}]}"#,
        r#"{"then":[{"put":{"key":"/a","value":"1","lease":"12","ttl":"5s"}}]}"#,
        r#"{"then":[{"put":{"key":"/a","value":"1","ttl":0}}]}"#,
        r#"{"then":[{"put":{"key":"/a","value":"%%","encoding":"base64"}}]}"#,
        r#"{"then":[{"put":{"key":"/a","value":1,"encoding":"utf8"}}]}"#,
        r#"{"then":[{"put":{"key64":"!","value":"1"}}]}"#,
        r#"{"then":[{"put":{"key":"/t","value":"1"}},{"put":{"key":"/t","value":"2"}}]}"#,
        r#"{"then":[{"put":{"key":"/t","value":"1"}},{"txn":{"then":[{"delete":{"key":"/t"}}]}}]}"#,
        r#"{"then":[{"get":{"key":"/a","limit":0}}]}"#,
        r#"{"if":[{"key":"/a"}]}"#,
        r#"{"if":[{"key":"/a","version":{"lt":1,"gt":0}}]}"#,
        r#"{"if":[{"key":"/a","version":{"like":1}}]}"#,
        r#"{"if":[{"key":"/a","version":"1"}]}"#,
        r#"{"if":[{"key":"/a","version":-1}]}"#,
        r#"{"if":[{"key":"/a","modRevision":9223372036854775808}]}"#,
        r#"{"if":[{"key":"/a","prevexist":true}]}"#,
    ]
    .into_iter()
    .map(|body| bad("POST /v1/txn", 400, INVALID).body(body))
    .collect();
    all.extend([
        bad("POST /v1/txn", 400, INVALID).body(many),
        bad("POST /v1/txn", 400, INVALID).body(format!("{{\"then\":[{deep}]}}")),
        bad("POST /v1/txn", 404, "lease_not_found")
            .body(r#"{"then":[{"put":{"key":"/t","value":"1","lease":"1234"}}]}"#),
        bad("POST /v1/txn", 400, "not_a_directory").body(r#"{"then":[{"delete":{"key":"/t","recursive":true}}]}"#),
        bad("POST /v1/txn", 410, "compacted").body(r#"{"then":[{"get":{"key":"/a","revision":1}}]}"#),
        bad("POST /v1/leases", 400, INVALID),
        bad("POST /v1/leases", 400, INVALID).body("{}"),
        bad("POST /v1/leases", 400, INVALID).body(r#"{"ttl":0}"#),
        bad("POST /v1/leases", 400, INVALID).body(r#"{"ttl":"-5s"}"#),
        bad("POST /v1/leases", 400, INVALID).body(r#"{"ttl":true}"#),
        bad("POST /v1/leases", 400, INVALID).body(r#"{"ttl":1e300}"#),
        bad("POST /v1/leases", 400, INVALID).body(r#"{"ttl":5,"id":"0"}"#),
        bad("POST /v1/leases", 400, INVALID).body(r#"{"ttl":5,"id":7}"#),
        bad("POST /v1/leases", 400, INVALID).body(r#"{"ttl":5,"name":"x"}"#),
        bad("POST /v1/keys/a:copy", 400, INVALID),
        bad("POST /v1/keys/a:copy", 400, INVALID).body("{}"),
        bad("POST /v1/keys/a:copy", 400, INVALID).body(r#"{"to":""}"#),
        bad("POST /v1/keys/a:copy", 400, INVALID).body(r#"{"to":"/b","to64":"L2I"}"#),
        bad("POST /v1/keys/a:copy", 400, INVALID).body(r#"{"to64":"*"}"#),
        bad("POST /v1/keys/a:copy", 400, INVALID).body(r#"{"to":"/b","overwrite":1}"#),
        bad("POST /v1/keys/a:copy", 400, INVALID).body(r#"{"to":"/b/"}"#),
        bad("POST /v1/keys/a:move", 400, INVALID).body(r#"{"to":"/a"}"#),
        bad("POST /v1/keys/a:copy?overwrite=true", 400, INVALID).body(r#"{"to":"/b"}"#),
        bad("POST /v1/keys/:move", 400, "not_a_directory").body(r#"{"to":"/b"}"#),
        bad("POST /v1/keys/:move", 400, INVALID).body(r#"{"to":"/b/"}"#),
        bad("POST /v1/keys/a:cpoy", 400, "not_a_directory").body(r#"{"to":"/b"}"#),
        bad("POST /v1/keys/none:copy", 404, "key_not_found").body(r#"{"to":"/b"}"#),
        bad("POST /v1/keys/none/:move", 404, "key_not_found").body(r#"{"to":"/b/"}"#),
        bad("POST /v1/keys/none:copy?dryRun=true", 404, "key_not_found").body(r#"{"to":"/b"}"#),
        bad("POST /v1/keys:copy", 400, INVALID).body(r#"{"to":"/b"}"#),
        bad("POST /v1/history/a:rollback", 400, INVALID).body("{}"),
        bad("POST /v1/history/a:rollback", 400, INVALID).body(r#"{"to":0}"#),
        bad("POST /v1/history/a:rollback", 400, INVALID).body(r#"{"to":"5"}"#),
        bad("POST /v1/history/a:rollback", 400, "future_revision").body(r#"{"to":999999}"#),
        bad("POST /v1/history/a:rollback", 410, "compacted").body(r#"{"to":1}"#),
        bad("POST /v1/maintenance:compact", 400, INVALID).body("{}"),
        bad("POST /v1/maintenance:compact", 400, INVALID).body(r#"{"revision":-1}"#),
        bad("POST /v1/maintenance:compact", 400, "future_revision").body(r#"{"revision":999999}"#),
        bad("POST /v1/maintenance:compact", 410, "compacted").body(r#"{"revision":1}"#),
    ]);
    all
}

/// Headers and conditions that are malformed, contradict each other, or fail.
fn headers() -> Vec<Bad> {
    let conflict = |request| bad(request, 400, INVALID);
    vec![
        conflict("PUT /v1/keys/a?prevExist=false&prevRevision=5"),
        conflict("PUT /v1/keys/a?prevExist=false&prevValue=x"),
        conflict("PUT /v1/keys/a?prevExist=false").header(("If-Match", "*")),
        conflict("PUT /v1/keys/a?prevRevision=5").header(("If-Match", "\"6\"")),
        conflict("PUT /v1/keys/a").header(("If-Match", "\"6\"")).header(("If-None-Match", "*")),
        conflict("PUT /v1/keys/a").header(("If-None-Match", "\"6\"")),
        conflict("PUT /v1/keys/a").header(("If-Match", "6")),
        conflict("PUT /v1/keys/a").header(("If-Match", "\"6")),
        conflict("PUT /v1/keys/a").header(("If-Match", "")),
        conflict("DELETE /v1/keys/a?prevExist=false"),
        conflict("POST /v1/keys/q/").header(("If-Match", "*")),
        conflict("POST /v1/txn").header(("If-None-Match", "*")).body("{}"),
        conflict("PUT /v1/keys/a?ttl=5s&lease=12"),
        conflict("PUT /v1/keys/a?ttl=5s&keepLease=true"),
        conflict("GET /v1/keys/a").header(("If-None-Match", "abc")),
        conflict("GET /v1/keys/a").header(("Prefer", "wait=soon")),
        conflict("PUT /v1/keys/a").header(("Idempotency-Key", "")),
        conflict("PUT /v1/keys/a").header(("Idempotency-Key", &"k".repeat(129))),
        conflict("PUT /v1/keys/a").header(("Idempotency-Key", "a")).header(("Idempotency-Key", "b")),
        bad("PUT /v1/keys/a?prevExist=false", 412, "precondition_failed").body("x"),
        bad("PUT /v1/keys/absent?prevExist=true", 412, "precondition_failed").body("x"),
        bad("PUT /v1/keys/a", 412, "precondition_failed").header(("If-Match", "\"foreign\"")).body("x"),
        bad("PUT /v1/keys/d/?prevExist=false", 412, "precondition_failed"),
        bad("DELETE /v1/keys/a?prevValue=other", 412, "precondition_failed"),
        bad("GET /v1/keys/a", 412, "precondition_failed").header(("If-Match", "\"1\"")),
        bad("PUT /v1/keys/a", 403, "permission_denied").header(("Origin", "https://elsewhere.example")).body("x"),
        bad("GET /v1/keys/a", 403, "permission_denied").header(("Host", "elsewhere.example")),
    ]
}

/// Keys that are too long for the path, or at all.
fn long_keys() -> Vec<(String, &'static str)> {
    vec![
        (format!("/v1/keys/{}", "k".repeat(4096)), INVALID),
        (format!("/v1/keys?key={}", "k".repeat(4097)), INVALID),
        (format!("/v1/keys/{}", "%41".repeat(4096)), INVALID),
    ]
}

/// A server with something in it: keys `/a`, `/j` and `/d/x`, and a past that is gone.
fn start() -> (Server, Client) {
    let server = Server::start();
    let client = Client::new(server.address());
    client.put("/v1/keys/a", "text").expect(201);
    client.send("PUT", "/v1/keys/j", &[JSON], b"{\"a\":1}").expect(201);
    client.put("/v1/keys/d/x", "x").expect(201);
    let revision = client.revision();
    client.post("/v1/maintenance:compact", format!("{{\"revision\":{revision}}}")).expect(200);
    (server, client)
}

/// Everything that the store holds.
fn contents(client: &Client) -> String {
    client.get("/v1/keys?recursive=true").expect(200).text()
}

#[test]
fn every_bad_request_gets_its_documented_problem_and_changes_nothing() {
    let (mut server, client) = start();
    let before = contents(&client);
    let all: Vec<Bad> =
        [parameters(), paths(), methods(), bodies(), requests(), headers()].into_iter().flatten().collect();
    assert!(all.len() >= 80, "{}", all.len());
    let mut wrong = Vec::new();
    for bad in &all {
        let answer = bad.send(&client);
        let found = (answer.status, answer.code());
        if found != (bad.status, bad.code.to_owned()) {
            let body: String = String::from_utf8_lossy(&bad.body).chars().take(80).collect();
            wrong.push(format!("{} {:?} {body}: {found:?} {}", bad.request, bad.headers, answer.text()));
            continue;
        }
        let problem: ProblemObject = answer.shape();
        assert_eq!(problem.kind, format!("/docs/problems/{}", bad.code));
        assert_eq!(problem.status, bad.status);
        assert!(!problem.detail.is_empty() && !problem.title.is_empty());
        assert!(answer.header("vardr-revision").is_some(), "{}", bad.request);
        assert_eq!(answer.header("allow").is_some(), bad.status == 405, "{}", bad.request);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    for (path, code) in long_keys() {
        client.put(&path, "x").refused(400, code);
    }
    assert_eq!(contents(&client), before);
    client.put("/v1/keys/a", "still served").expect(200);
    assert!(server.terminate().success());
}

#[test]
fn an_unread_body_does_not_poison_the_connection() {
    let (_server, client) = start();
    // The refusal comes before the body; what follows on the connection is either answered or cut off, never misread.
    let mut stream = client.connect();
    let head = "PUT /v1/keys/a?unknown=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // A server that has refused may close at any moment, and take its answer with it.
    let _ = stream.write_all(b"DELETE /v1/keys/a HTTP/1.1\r\nHost: x\r\n\r\n.");
    let _ = stream.write_all(b"GET /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(matches!(Response::parse(&answer).status, 0 | 400), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(client.get("/v1/keys/a").expect(200).value()["value"], "text");
}

#[test]
fn requests_that_are_no_http_are_refused_without_harm() {
    let (_server, client) = start();
    let many = "X-Padding: x\r\n".repeat(200);
    let long = "x".repeat(200_000);
    let broken = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[0, 400][..]),
        (b"GET\r\n\r\n".to_vec(), &[400]),
        (b"GET /v1/keys/a\r\n\r\n".to_vec(), &[400]),
        (b"GET /v1/keys/a HTTP/9.9\r\n\r\n".to_vec(), &[0, 400, 505]),
        (b"GET /v1/keys/\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), &[400]),
        (b"PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n".to_vec(), &[400]),
        (
            b"PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_vec(),
            &[400],
        ),
        (b"PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(), &[400]),
        (format!("GET /v1/keys/a HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").into_bytes(), &[431]),
        (format!("GET /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nX-Long: {long}\r\n\r\n").into_bytes(), &[431]),
        (format!("GET /v1/keys/{long} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes(), &[414, 431]),
    ];
    for (bytes, allowed) in broken {
        let answer = client.raw(&bytes);
        let shown: String = String::from_utf8_lossy(&bytes).chars().take(60).collect();
        assert!(allowed.contains(&answer.status), "{shown:?}: {}", answer.status);
    }
    assert_eq!(client.get("/v1/keys/a").expect(200).value()["value"], "text");
}

#[test]
fn websocket_nonsense_is_refused() {
    let (_server, client) = start();
    let upgrade = |headers: &[(&str, &str)]| {
        let mut head = format!("GET /v1/watch HTTP/1.1\r\nHost: {}\r\n", "localhost");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let mut stream = client.connect();
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream
    };
    let status = |mut stream: std::net::TcpStream| {
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        String::from_utf8_lossy(&head[9..12]).into_owned()
    };
    let connection = ("Connection", "Upgrade");
    let websocket = ("Upgrade", "websocket");
    let version = ("Sec-WebSocket-Version", "13");
    let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    for headers in [
        vec![connection, websocket, key, ("Sec-WebSocket-Version", "12")],
        vec![connection, websocket, version],
        vec![connection, websocket, version, key, ("Origin", "https://elsewhere.example")],
    ] {
        let status = status(upgrade(&headers));
        assert!(status.starts_with('4'), "{headers:?}: {status}");
    }
    // Over a good socket: frames that are no frames, and messages that are no messages.
    for frame in [&[0xff; 32][..], &b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff"[..], &b"\x81\x05hello"[..]] {
        let mut stream = upgrade(&[connection, websocket, version, key]);
        stream.write_all(frame).unwrap();
        let mut answer = Vec::new();
        // The server closes; if it did not, the read would time out and the answer lack a close.
        let started = Instant::now();
        let _ = stream.read_to_end(&mut answer);
        assert!(started.elapsed() < Duration::from_secs(20), "{frame:?}: the socket stays open");
    }
    assert_eq!(client.get("/v1/keys/a").expect(200).value()["value"], "text");
}

#[test]
fn slow_and_silent_clients_are_let_go_and_hold_up_nobody() {
    let (_server, client) = start();
    let mut silent = client.connect();
    let mut head = client.connect();
    head.write_all(b"GET /v1/keys/a HTTP/1.1\r\nHost: local").unwrap();
    let mut half = client.connect();
    half.write_all(b"PUT /v1/keys/a?timeout=1s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        .unwrap();
    assert_eq!(client.get("/v1/keys/a").expect(200).value()["value"], "text");
    let mut answer = Vec::new();
    let _ = half.read_to_end(&mut answer);
    assert_eq!(Response::parse(&answer).code(), "request_timeout");
    let started = Instant::now();
    for stream in [&mut head, &mut silent] {
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        assert!(ended.is_ok() || matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset));
    }
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(client.get("/v1/keys/a").expect(200).value()["value"], "text");
}

#[test]
fn bad_requests_leave_no_memory_behind() {
    let (server, client) = start();
    let storm = |rounds: usize| {
        for _ in 0..rounds {
            client.send("PUT", "/v1/keys/a", &[], &vec![b'x'; 1536 * 1024 + 1]).refused(413, "too_large");
            client.send("PUT", "/v1/keys/a", &[JSON], "[".repeat(500_000).as_bytes()).refused(400, INVALID);
            for bad in parameters() {
                bad.send(&client);
            }
        }
    };
    storm(3);
    let before = server.resident_bytes();
    storm(10);
    let after = server.resident_bytes();
    assert!(after < before + 32 * 1024 * 1024, "{before} bytes before, {after} after");
}
