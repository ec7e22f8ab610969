//! Documents over HTTP, from JSON to YAML and back: what comes of them, and what is said of those that are none.

#![cfg(test)]

mod support;

use serde_json::{Value, json};
use support::Server;
use support::http::{Client, Response};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

fn start() -> (Server, Client) {
    let server = Server::start();
    let client = Client::new(server.address());
    (server, client)
}

fn convert(client: &Client, from: &str, to: &str, body: impl AsRef<[u8]>) -> Response {
    client.send("POST", "/v1/convert", &[("Content-Type", from), ("Accept", to)], body.as_ref())
}

#[test]
fn a_document_is_read_and_written_in_the_languages_that_the_headers_name() {
    let (_server, client) = start();
    let yaml = "# ports\nport: 5432\nno: no\nbig: 123456789012345678901234567890\ntags: &t [a, b]\nsame: *t\ntext: |\n  a\n  b\n";
    let json = r#"{"port":5432,"no":"no","big":123456789012345678901234567890,"tags":["a","b"],"same":["a","b"],"text":"a\nb\n"}"#;
    let before = client.revision();
    for from in [YAML, "text/yaml", "application/x-yaml; charset=utf-8"] {
        let answer = convert(&client, from, "*/*", yaml).expect(200);
        assert_eq!((answer.header("content-type"), answer.text().as_str()), (Some(JSON), json));
        assert_eq!(answer.header("vary"), Some("accept"));
    }
    let written = convert(&client, JSON, YAML, json).expect(200);
    assert_eq!(written.header("content-type"), Some(YAML));
    assert!(written.text().starts_with("port: 5432\n") && written.text().contains("123456789012345678901234567890\n"));
    assert_eq!(convert(&client, YAML, JSON, written.text()).expect(200).text(), json);
    assert_eq!(convert(&client, YAML, YAML, written.text()).expect(200).text(), written.text(), "it is stable");
    let by_default = client.send("POST", "/v1/convert", &[("Content-Type", YAML)], b"a: 1").expect(200);
    assert_eq!(by_default.text(), r#"{"a":1}"#);
    assert_eq!(client.revision(), before, "nothing is stored");
}

#[test]
fn text_that_yaml_would_take_for_something_else_comes_back() {
    let (_server, client) = start();
    let odd = [
        "no",
        "1e3",
        "~",
        " x",
        "a\nb",
        "a\n\n  b\n",
        "2026-01-01",
        "🔑",
        "\u{1}\u{7f}",
        "",
        "- x",
        "null",
        "0x1",
        "\u{85}",
    ];
    let document = json!({"values": odd, "names": odd.map(|name| (name.to_owned(), Value::Null)).into_iter().collect::<serde_json::Map<_, _>>()});
    let written = convert(&client, JSON, YAML, document.to_string()).expect(200).text();
    assert_eq!(convert(&client, YAML, JSON, &written).expect(200).text(), document.to_string(), "{written}");
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_column() {
    let (_server, client) = start();
    for (from, body, line, column) in [
        (YAML, "a: 1\nb: [\n", 2, 4),
        (YAML, "a: 1\na: 2\n", 2, 1),
        (YAML, "a: 1\n---\nb: 2\n", 3, 1),
        (YAML, "a: !Ref b\n", 1, 9),
        (YAML, "a: .inf\n", 1, 4),
        (YAML, "? [a]\n: b\n", 1, 3),
        (JSON, "{\"a\":1,\n\"a\":2}", 2, 1),
        (JSON, "{\"a\":\n1,}", 2, 3),
    ] {
        let problem = convert(&client, from, JSON, body).refused(400, "invalid_argument").value();
        assert_eq!((&problem["line"], &problem["column"]), (&json!(line), &json!(column)), "{body:?}: {problem}");
    }
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    let problem = convert(&client, YAML, JSON, bomb).refused(400, "invalid_argument").value();
    assert!(problem["detail"].as_str().unwrap().contains("values and names allowed"), "{problem}");
    for (language, open, shut) in [(JSON, "[", "]"), (YAML, "[", "]"), (YAML, "{a: ", "}")] {
        let nested = |levels: usize| format!("{}1{}", open.repeat(levels), shut.repeat(levels));
        convert(&client, language, YAML, nested(64)).expect(200);
        convert(&client, language, YAML, nested(65)).refused(400, "invalid_argument");
    }
    convert(&client, YAML, JSON, "").refused(400, "invalid_argument");
}

#[test]
fn other_types_sizes_parameters_and_methods_are_refused() {
    let (_server, client) = start();
    convert(&client, "text/plain", JSON, "a: 1").refused(415, "unsupported_media_type");
    client.post("/v1/convert", "a: 1").refused(415, "unsupported_media_type");
    let encoded = [("Content-Type", YAML), ("Content-Encoding", "gzip")];
    client.send("POST", "/v1/convert", &encoded, b"a: 1").refused(415, "unsupported_media_type");
    convert(&client, YAML, JSON, "x".repeat(2 * 1024 * 1024)).refused(413, "too_large");
    let wide = format!("{}{}1{}", "[".repeat(60), "1,".repeat(200_000), "]".repeat(60));
    convert(&client, JSON, YAML, wide).refused(413, "too_large");
    client.send("POST", "/v1/convert?to=yaml", &[("Content-Type", YAML)], b"a: 1").refused(400, "invalid_argument");
    client.get("/v1/convert").refused(405, "method_not_allowed");
    let foreign = [("Content-Type", YAML), ("Origin", "http://elsewhere.example")];
    client.send("POST", "/v1/convert", &foreign, b"a: 1").refused(403, "permission_denied");
}
