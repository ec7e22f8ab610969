//! etcd's v3 API in JSON: a table of requests, put to real etcd and to Vardr one after the other. Statuses, headers and bodies are the
//! same, letter by letter, but for the few differences that are known between etcd's versions.

use std::time::{Duration, Instant};

use crate::support::Server;
use crate::support::etcd::{Etcd, Release};
use crate::support::http::Client;
use crate::support::volume::not_run;
use crate::told::{Reading, Told, timeless};

/// How often etcd is asked where chance decides what it answers.
const TRIES: usize = 100;

/// A request of the table: a path below `/v3`, and a body.
pub(crate) type Asked = (String, String);

fn asked(path: &str, body: &str) -> Asked {
    (path.to_owned(), body.to_owned())
}

/// All these bodies for one path.
fn each(path: &str, bodies: &[&str]) -> Vec<Asked> {
    bodies.iter().map(|body| asked(path, body)).collect()
}

/// Requests to read that are JSON, or are not.
const TEXTS: &[&str] = &[
    "",
    " ",
    "{}",
    "null",
    "[]",
    "\"x\"",
    "1",
    "true",
    "garbage",
    "{",
    "{\"",
    "{\"a",
    "{\"a\\",
    "{\"a\\u",
    "{\"a\"",
    "{\"a\"x",
    "{\"a\":}",
    "{\"a\":1",
    "{\"a\":1 2",
    "{,}",
    "{\"a\":1,}",
    "{\"a\":[1,]}",
    "{\"a\":[1 2]}",
    "{'a':1}",
    "{\"a\":01}",
    "{\"a\":-}",
    "{\"a\":1.}",
    "{\"a\":1e}",
    "{\"a\":1e+}",
    "{\"a\":trux}",
    "{\"a\":nul1}",
    "{\"a\":falsy}",
    "{\"a\":\"\\x\"}",
    "{\"a\":\"\\u00g0\"}",
    "{\"a\":\"\t\"}",
    "{\"a\":<}",
    "{\"a\":\u{1}}",
    "{\"a\":\u{7f}}",
    "{\"a\":é}",
    "{\"a\":\\}",
    "\u{feff}{}",
    r#"{"key":"YQ=="} garbage"#,
    r#"{"key":"YQ=="}{"key":1}"#,
    r#"{"key":"YQ==","bogus":{"a":[1,{"b":null}]}}"#,
    r#"{"KEY":"YQ=="}"#,
    r#"{"\u006bey":"YQ=="}"#,
    r#"{"key":"\u0059Q=="}"#,
    r#"{"key":"YQ==","key":"Yg=="}"#,
    r#"{"key":1,"key":"Yg=="}"#,
    r#"{"key":"Yg==","key":1}"#,
    r#"{"range_end":1,"rangeEnd":"Yg==","key":"YQ=="}"#,
    r#"{"rangeEnd":"Yg==","range_end":1,"key":"YQ=="}"#,
    r#"{"keys_only":1,"key":1}"#,
    r#"{"limit":"x","keys_only":1}"#,
];

/// Keys to read, by base64 and by numbers, right and wrong.
const BYTES: &[&str] = &[
    r#"{"key":null}"#,
    r#"{"key":{}}"#,
    r#"{"key":true}"#,
    r#"{"key":1}"#,
    r#"{"key":[97]}"#,
    r#"{"key":[]}"#,
    r#"{"key":[1,256]}"#,
    r#"{"key":["a"]}"#,
    r#"{"key":[97,null]}"#,
    r#"{"key":[-1]}"#,
    r#"{"key":[1.5]}"#,
    r#"{"key":[[]]}"#,
    r#"{"key":[true,{}]}"#,
    r#"{"key":"YQ="}"#,
    r#"{"key":"Y"}"#,
    r#"{"key":"YQ==YQ=="}"#,
    r#"{"key":"YQ==x"}"#,
    r#"{"key":"Y\nQ=\r="}"#,
    r#"{"key":"YR=="}"#,
    r#"{"key":"A A="}"#,
    r#"{"key":"===="}"#,
    r#"{"key":"é"}"#,
    r#"{"key":"-vv8_f7_"}"#,
    r#"{"key":"Zm8"}"#,
    r#"{"key":"YQ=\n="}"#,
    r#"{"key":"YWI=\n"}"#,
    r#"{"key":"YWI=YWI="}"#,
    r#"{"key":"\n"}"#,
    r#"{"key":""}"#,
];

/// Forms of JSON: what is read, and what is refused in which words.
fn forms() -> Vec<Asked> {
    let mut table = [each("/kv/range", TEXTS), each("/kv/range", BYTES)].concat();
    for value in [
        "1",
        "0",
        "-0",
        "\"1\"",
        "\" 1\"",
        "\"1 \"",
        "\"\\n1\"",
        "\"\"",
        "\"abc\"",
        "\"null\"",
        "\"1 2\"",
        "\"{}\"",
        "\"[1]\"",
        "\"true\"",
        "\"1x\"",
        "\"-\"",
        "\"01\"",
        "\"1.5\"",
        "\"1e0\"",
        "\"\\u0031\"",
        "1.0",
        "1.5",
        "1e0",
        "1E2",
        "true",
        "{}",
        "[]",
        "null",
        "-9223372036854775808",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "\"9223372036854775808\"",
        "99999999999999999999999",
    ] {
        table.push(asked("/kv/range", &format!("{{\"key\":\"YQ==\",\"limit\":{value}}}")));
        table.push(asked("/cluster/member/remove", &format!("{{\"ID\":{value},\"x\":{value}}}")));
    }
    for value in [
        "1",
        "\"ASCEND\"",
        "\"ascend\"",
        "\"1\"",
        "\"é<\\n\"",
        "1.5",
        "true",
        "[]",
        "{}",
        "null",
        "99999999999",
        "-1.0",
        "\"\"",
    ] {
        table.push(asked("/kv/range", &format!("{{\"key\":\"YQ==\",\"sort_order\":{value}}}")));
        table.push(asked("/kv/range", &format!("{{\"key\":\"YQ==\",\"sortOrder\":{value}}}")));
    }
    for value in ["true", "false", "null", "1", "0", "\"true\"", "{}", "[]"] {
        table.push(asked("/kv/range", &format!("{{\"key\":\"YQ==\",\"keysOnly\":{value}}}")));
    }
    for value in
        ["\"a\"", "\"\"", "\"<\\u00e9\\ud83d\\ude00\\ud83d>&\"", "\"\\u2028\"", "null", "1", "true", "{}", "[\"a\"]"]
    {
        table.push(asked("/auth/user/get", &format!("{{\"name\":{value}}}")));
    }
    table
}

fn reads() -> Vec<Asked> {
    let mut table = Vec::new();
    for (key, end) in [
        ("YQ==", "eg=="),
        ("YQ==", "YQ=="),
        ("Yg==", "YQ=="),
        ("Yw==", "AA=="),
        ("AA==", "AA=="),
        ("", "AA=="),
        ("ZQ==", ""),
    ] {
        table.push(asked("/kv/range", &format!("{{\"key\":\"{key}\",\"range_end\":\"{end}\"}}")));
    }
    for option in [
        "\"limit\":1",
        "\"limit\":2",
        "\"limit\":-1",
        "\"limit\":100",
        "\"count_only\":true",
        "\"count_only\":true,\"limit\":1",
        "\"keys_only\":true",
        "\"serializable\":true",
        "\"sort_order\":\"DESCEND\"",
        "\"sort_order\":\"ASCEND\",\"sort_target\":\"VALUE\"",
        "\"sort_order\":\"DESCEND\",\"sort_target\":\"MOD\",\"limit\":2",
        "\"sort_target\":\"CREATE\"",
        "\"sort_order\":1,\"sort_target\":\"VERSION\",\"limit\":\"3\"",
        "\"min_mod_revision\":4",
        "\"max_mod_revision\":\"4\"",
        "\"min_create_revision\":4,\"limit\":1",
        "\"max_create_revision\":3",
        "\"revision\":3",
        "\"revision\":-5",
        "\"revision\":99999",
        "\"revision\":1",
        "\"revision\":\"4\",\"limit\":2",
    ] {
        table.push(asked("/kv/range", &format!("{{\"key\":\"YQ==\",\"rangeEnd\":\"eg==\",{option}}}")));
    }
    table
}

fn writes() -> Vec<Asked> {
    let mut table = each(
        "/kv/put",
        &[
            "{}",
            r#"{"value":"YQ=="}"#,
            r#"{"key":"YQ=="}"#,
            r#"{"key":"YQ==","value":"eA==","prev_kv":true}"#,
            r#"{"key":"ZnJlc2g=","value":"eA==","prevKv":true}"#,
            r#"{"key":"YQ==","ignore_value":true,"prev_kv":true}"#,
            r#"{"key":"YQ==","value":"eA==","ignore_value":true}"#,
            r#"{"key":"bm9rZXk=","ignore_value":true}"#,
            r#"{"key":"bm9rZXk=","ignore_lease":true,"value":"eA=="}"#,
            r#"{"key":"YQ==","lease":5,"ignore_lease":true}"#,
            r#"{"key":"Yg==","lease":12345}"#,
            r#"{"key":"Yg==","lease":"12345"}"#,
            r#"{"key":[0,255,13],"value":[0,1,2,255]}"#,
        ],
    );
    table.extend(each(
        "/kv/deleterange",
        &[
            "{}",
            r#"{"key":"bm9rZXk="}"#,
            r#"{"key":"AP8N","prev_kv":true}"#,
            r#"{"key":"ZA==","range_end":"Zg==","prevKv":true}"#,
            r#"{"key":"Zg==","range_end":"ZA=="}"#,
            r#"{"key":"ZA=="}"#,
            r#"{"range_end":"AA=="}"#,
        ],
    ));
    table
}

fn transactions() -> Vec<Asked> {
    let put = |key: &str| format!(r#"{{"request_put":{{"key":"{key}","value":"MQ=="}}}}"#);
    let mut table = each(
        "/kv/txn",
        &[
            "{}",
            r#"{"compare":null,"success":null}"#,
            r#"{"compare":{}}"#,
            r#"{"compare":[1]}"#,
            r#"{"success":[{"request_range":1}]}"#,
            r#"{"success":[{"request_put":null}]}"#,
            r#"{"success":[{}]}"#,
            r#"{"success":[{"request_put":{}}]}"#,
            r#"{"success":[{"request_txn":{}}]}"#,
            r#"{"success":[{"request_range":{"key":"YQ=="}}],"compare":[{"range_end":1,"version":"x","key":2}]}"#,
            r#"{"compare":[{"key":"YQ==","target":"VALUE","value":"eA=="}],"success":[{"request_put":{"key":"YQ==","value":"eQ==","prev_kv":true}},{"request_range":{"key":"YQ=="}},{"request_delete_range":{"key":"ZnJlc2g=","prev_kv":true}}],"failure":[{"request_range":{"key":"Yg=="}}]}"#,
            r#"{"compare":[{"key":"Yg==","target":"VERSION","result":"GREATER","version":"0"}],"success":[{"requestPut":{"key":"Yg==","value":"eg=="}},{"requestRange":{"key":"Yg=="}},{"requestDeleteRange":{"key":"bm9uZQ=="}}]}"#,
            r#"{"compare":[{"key":"dHhuZXc=","target":"CREATE","createRevision":0}],"success":[{"request_put":{"key":"dHhuZXc=","value":"MQ=="}}]}"#,
            r#"{"compare":[{"key":"dHhuZXcy","target":"CREATE"}],"success":[{"request_put":{"key":"dHhuZXcy","value":"MQ=="}}]}"#,
            r#"{"compare":[{"key":"bWlzc2luZ2s=","target":"VALUE","result":"NOT_EQUAL","value":"cQ=="}]}"#,
            r#"{"compare":[{"key":"YQ==","range_end":"eg==","target":"VERSION","result":"GREATER","version":"0"}]}"#,
            r#"{"compare":[{"key":"eQ==","range_end":"eg==","target":"VERSION","result":"GREATER","version":"5"}]}"#,
            r#"{"compare":[{"key":"Yg==","target":"VALUE","version":"1"}]}"#,
            r#"{"compare":[{"key":"YQ==","version":null,"target":"VERSION"}]}"#,
            r#"{"compare":[{"key":"YQ==","target":"LEASE","lease":0}]}"#,
            r#"{"compare":[{"key":"YQ==","target":"MOD","result":"LESS","mod_revision":"3"}],"failure":[{"request_txn":{"compare":[{"key":"YQ==","target":"VERSION","result":"GREATER"}],"success":[{"request_put":{"key":"aW4=","value":"aW4="}},{"request_range":{"key":"aW4="}}]}}]}"#,
            r#"{"success":[{"request_range":{"key":"YQ==","revision":99999}}]}"#,
            r#"{"success":[{"request_put":{"key":"ZA==","value":"MQ=="}},{"request_delete_range":{"key":"ZA==","range_end":"ZQ=="}}]}"#,
        ],
    );
    table.push(asked("/kv/txn", &format!(r#"{{"success":[{},{}]}}"#, put("ZGs="), put("ZGs="))));
    for count in [128, 129] {
        let ops: Vec<_> = (0..count).map(|_| r#"{"request_range":{"key":"YQ=="}}"#).collect();
        table.push(asked("/kv/txn", &format!(r#"{{"success":[{}]}}"#, ops.join(","))));
    }
    table
}

fn leases() -> Vec<Asked> {
    let mut table =
        each("/lease/grant", &[r#"{"TTL":60,"ID":1000}"#, r#"{"TTL":60,"ID":1000}"#, r#"{"TTL":-1,"ID":1002}"#]);
    // At once: it lasts for two seconds.
    table.extend(each("/lease/revoke", &[r#"{"ID":1002}"#]));
    table.extend(each(
        "/lease/grant",
        &[
            r#"{"ttl":"60","ID":"1003"}"#,
            r#"{"TTL":"9000000000","ID":1004}"#,
            r#"{"TTL":"9000000001","ID":1005}"#,
            r#"{"TTL":300,"ID":-7}"#,
            r#"{"TTL":{},"ID":1}"#,
        ],
    ));
    table.extend(each("/kv/put", &[r#"{"key":"bGsx","lease":1000}"#, r#"{"key":"bGsy","lease":"1000"}"#]));
    table.extend(each("/kv/range", &[r#"{"key":"bGsx"}"#]));
    table.extend(each("/lease/timetolive", &["{}", r#"{"ID":4242}"#, r#"{"ID":-7}"#, r#"{"ID":"1000","keys":true}"#]));
    table.extend(each("/kv/lease/timetolive", &[r#"{"ID":"1000"}"#]));
    table.extend(each(
        "/lease/keepalive",
        &[
            r#"{"ID":1000}"#,
            r#"{"ID":4242}"#,
            r#"{"ID":1000}{"ID":"4242"}{"ID":1000}"#,
            "{\"ID\":1000}\n{\"ID\":1}\n",
            "",
            " ",
            r#"{"ID":"z"}"#,
            r#"{"ID":"#,
            r#"{"ID":1000}x{"ID":1}"#,
            r#"{"ID":1000}{"ID":"z"}{"ID":1}"#,
            "null",
            "[]",
        ],
    ));
    table.extend(each("/lease/revoke", &[r#"{"ID":1003}"#, r#"{"ID":1003}"#, "{}"]));
    table.extend(each("/kv/lease/leases", &[""]));
    table.extend(each("/lease/leases", &["{}"]));
    table.extend(each("/kv/lease/revoke", &[r#"{"ID":1000}"#, r#"{"ID":1000}"#, r#"{"ID":1004}"#, r#"{"ID":-7}"#]));
    table
}

fn locks() -> Vec<Asked> {
    let mut table = each("/lease/grant", &[r#"{"TTL":600,"ID":2000}"#, r#"{"TTL":600,"ID":2001}"#]);
    table.extend(each(
        "/lock/lock",
        &[
            r#"{"name":"TDE=","lease":2000}"#,
            r#"{"name":"TDE=","lease":2000}"#,
            r#"{"name":"TDE=","lease":5555}"#,
            r#"{"name":1}"#,
        ],
    ));
    table.extend(each("/lock/unlock", &[r#"{"key":"TDEvN2Qw"}"#, r#"{"key":"TDEvN2Qw"}"#, r#"{"key":"bm8="}"#]));
    table.extend(each("/election/leader", &[r#"{"name":"RTE="}"#, r#"{"name":{}}"#]));
    table.extend(each(
        "/election/campaign",
        &[r#"{"name":"RTE=","lease":2000,"value":"bWU="}"#, r#"{"name":"RTE=","lease":5555}"#],
    ));
    table.extend(each("/election/leader", &[r#"{"name":"RTE="}"#]));
    table.extend(each(
        "/election/proclaim",
        &[
            "{}",
            r#"{"leader":1}"#,
            r#"{"leader":{"name":"RTE=","key":"RTEvN2Qw","rev":"1","lease":"2000"},"value":"eA=="}"#,
        ],
    ));
    table.extend(each(
        "/election/resign",
        &["{}", r#"{"leader":{"name":"RTE=","key":"RTEvN2Qw","rev":"1","lease":2000}}"#],
    ));
    table.extend(each("/lease/revoke", &[r#"{"ID":2000}"#, r#"{"ID":2001}"#]));
    table.extend(each("/election/observe", &["{", r#"{"name":1}"#]));
    table
}

fn others() -> Vec<Asked> {
    let mut table = Vec::new();
    for (path, bodies) in [
        (
            "/cluster/member/add",
            &[
                "{}",
                r#"{"peerURLs":["foo"]}"#,
                r#"{"peerURLs":"foo"}"#,
                r#"{"peerURLs":[1]}"#,
                r#"{"peer_urls":["x"]}"#,
            ][..],
        ),
        ("/cluster/member/remove", &["{}", r#"{"ID":404}"#]),
        ("/cluster/member/promote", &[r#"{"ID":"404"}"#]),
        ("/maintenance/transfer-leadership", &["{}", r#"{"targetID":404}"#]),
        ("/maintenance/defragment", &["{}", "[]"]),
        ("/maintenance/alarm", &[r#"{"action":"X"}"#, r#"{"action":7.5}"#, r#"{"alarm":"nospace"}"#]),
        (
            "/auth/user/add",
            &[
                r#"{"name":"root","password":"pw"}"#,
                r#"{"name":"root","password":"pw"}"#,
                "{}",
                r#"{"name":"n","options":{"no_password":true}}"#,
            ],
        ),
        ("/auth/role/add", &[r#"{"name":"rw"}"#, r#"{"name":"rw"}"#, "{}"]),
        (
            "/auth/role/grant",
            &[
                r#"{"name":"rw","perm":{"permType":"READWRITE","key":"cHViLw==","range_end":"cHViMA=="}}"#,
                r#"{"name":"rw","perm":{"permType":0,"key":"cm8="}}"#,
                r#"{"name":"rw","perm":{"permType":"read","key":"cm8="}}"#,
                r#"{"name":"no","perm":{"key":"cm8="}}"#,
                r#"{"name":"rw","perm":[]}"#,
            ],
        ),
        ("/auth/role/get", &[r#"{"role":"rw"}"#, r#"{"role":"no"}"#]),
        (
            "/auth/role/revoke",
            &[
                r#"{"role":"rw","key":"cm8="}"#,
                r#"{"role":"rw","key":"cm8="}"#,
                r#"{"role":"rw","key":"cHViLw==","rangeEnd":"cHViMA=="}"#,
            ],
        ),
        ("/auth/role/list", &["", r#"{"x":1}"#]),
        (
            "/auth/user/grant",
            &[r#"{"user":"root","role":"rw"}"#, r#"{"user":"no","role":"rw"}"#, r#"{"user":"root","role":"no"}"#],
        ),
        ("/auth/user/get", &[r#"{"name":"root"}"#]),
        ("/auth/user/revoke", &[r#"{"name":"root","role":"rw"}"#, r#"{"name":"root","role":"rw"}"#]),
        ("/auth/user/changepw", &[r#"{"name":"root","password":"pw2"}"#, r#"{"name":"no","password":"pw2"}"#]),
        ("/auth/user/list", &["{}"]),
        ("/auth/user/delete", &[r#"{"name":"n"}"#, r#"{"name":"n"}"#, r#"{"name":"root"}"#]),
        ("/auth/role/delete", &[r#"{"role":"rw"}"#, r#"{"role":"rw"}"#]),
        ("/auth/enable", &["{}"]),
        ("/auth/disable", &["{}"]),
        ("/auth/authenticate", &[r#"{"name":1}"#]),
        (
            "/watch",
            &[
                "{\"create_request\":",
                "garbage",
                "[]",
                r#"{"create_request":{"key":1}}"#,
                r#"{"create_request":{"filters":["X"]}}"#,
            ],
        ),
        ("/kv/nope", &["{}"]),
        ("/kv/put/", &["{}"]),
        ("/kv/lease/grant", &["{}"]),
        ("/kv/lease/keepalive", &["{}"]),
        ("/maintenance/moveleader", &["{}"]),
        ("/", &["{}"]),
        ("", &["{}"]),
        ("/kv/rang%65", &["{}"]),
        ("/kv/range?key=YQ==", &["{}"]),
    ] {
        table.extend(each(path, bodies));
    }
    table.extend(each(
        "/kv/compaction",
        &[
            r#"{"revision":4}"#,
            r#"{"revision":"4","physical":true}"#,
            r#"{"revision":99999}"#,
            "{}",
            r#"{"revision":-1}"#,
        ],
    ));
    table.extend(each("/kv/range", &[r#"{"key":"Yg==","revision":3}"#, r#"{"key":"Yg==","revision":4}"#]));
    table
}

fn table() -> Vec<Asked> {
    let begin =
        [("YQ==", "NQ=="), ("Yg==", "NA=="), ("Yw==", "Mw=="), ("ZA==", "Mg=="), ("Yg==", "MQ=="), ("ZQ==", "OQ==")];
    let begin = begin.map(|(key, value)| asked("/kv/put", &format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}")));
    [begin.to_vec(), forms(), reads(), writes(), transactions(), leases(), locks(), others(), reads()].concat()
}

/// Where both servers answer differently.
struct Differing {
    asked: Asked,
    told: [Told; 2],
}

#[track_caller]
fn none_differs(differences: &[Differing], asked: usize) {
    let shown = |Differing { asked: (path, body), told: [etcd, vardr] }: &Differing| {
        format!("{path} {body}\n  etcd  {etcd:?}\n  vardr {vardr:?}\n")
    };
    let shown: String = differences.iter().map(shown).collect();
    assert!(shown.is_empty(), "{} of {asked}:\n{shown}", differences.len());
}

/// Whether a request of the table is of how JSON is read, or where a path that is none leads. A stream that 3.6 cannot read is left without
/// an answer.
fn is_about_json((path, body): &Asked) -> bool {
    let is_stream = path == "/watch" || path == "/lease/keepalive" && !body.starts_with("{\"ID\":1");
    let is_lax =
        ["[0,255,13]", "AP8N", "\"X\"", "nospace", "\"read\"", "x{", "\"z\""].iter().any(|part| body.contains(part));
    is_stream || is_lax || path.is_empty() || forms().iter().any(|(of, form)| of == path && form == body)
}

/// Leaves out what two servers cannot agree on when the table was begun so long ago.
fn without_time(asked: &Asked, mut told: Told, passed: Duration) -> Told {
    if asked.0.ends_with("/timetolive") {
        told.body = timeless(&told.body, passed);
    }
    told
}

#[test]
fn of_a_lease_what_may_have_passed_and_the_order_of_its_keys_are_not_compared() {
    let seen = |path: &str, left: i64, keys: &str| {
        let body = format!(r#"{{"ID":"1000","TTL":"{left}","grantedTTL":"60","keys":[{keys}]}}"#);
        without_time(&asked(path, ""), Told { status: 200, headers: vec![], body }, Duration::from_millis(10_900)).body
    };
    let (ordered, other) = (r#""YQ==","Yg==""#, r#""Yg==","YQ==""#);
    let same = seen("/lease/keepalive", 60, ordered);
    for left in [48, 59, 60] {
        assert_eq!(seen("/lease/timetolive", left, other), same);
    }
    for left in [-1, 47, 61] {
        assert_ne!(seen("/lease/timetolive", left, ordered), same);
    }
    assert_ne!(seen("/lease/timetolive", 60, r#""YQ==""#), same);
    assert_ne!(seen("/lease/keepalive", 59, ordered), same);
    assert_ne!(seen("/lease/keepalive", 60, other), same);
}

/// Puts a table to an etcd and to Vardr, both new, and says where they differ.
fn differing(release: Release, readings: [Reading; 2], table: &[Asked]) -> Vec<Differing> {
    let (etcd, server) = (release.start(&[]), Server::start());
    let clients = [etcd.http(), Client::new(server.address())];
    let begun = Instant::now();
    let mut differences = Vec::new();
    for request in table {
        let path = format!("/v3{}", request.0);
        let told = [0, 1].map(|at| readings[at].answer(&clients[at].post(&path, &request.1)));
        let told = told.map(|told| without_time(request, told, begun.elapsed()));
        if told[0] != told[1] {
            differences.push(Differing { asked: request.clone(), told });
        }
    }
    differences
}

#[test]
fn etcd_answers_a_table_of_requests_in_json_alike() {
    if let Some(hindrance) = Etcd::hindrance() {
        return not_run(hindrance);
    }
    let table = table();
    assert!(table.len() >= 250, "{}", table.len());
    none_differs(&differing(Release::Debian, [Reading::Debian, Reading::Letters], &table), table.len());
}

/// How JSON is read is another matter, below.
#[test]
fn a_later_etcd_answers_a_table_of_requests_in_json_alike() {
    if let Some(hindrance) = Release::Later.hindrance() {
        return not_run(hindrance);
    }
    let table: Vec<_> = table().into_iter().filter(|asked| !is_about_json(asked)).collect();
    assert!(table.len() >= 150, "{}", table.len());
    none_differs(&differing(Release::Later, [Reading::Values; 2], &table), table.len());
}

/// What 3.6 reads otherwise than those before it, which Vardr follows: the file has each request of the table that only the later one takes,
/// or only the older ones.
#[test]
fn json_is_read_as_etcd_3_5_reads_it_where_a_later_one_reads_it_otherwise() {
    if let Some(hindrance) = Release::Later.hindrance() {
        return not_run(hindrance);
    }
    let table: Vec<_> = forms().into_iter().filter(|(path, _)| path == "/kv/range").collect();
    let line = |Differing { asked: (_, body), told }: &Differing| {
        let whose = match told.each_ref().map(|told| told.status == 200) {
            [true, false] => "later",
            [false, true] => "older",
            _ => return None,
        };
        Some(format!("{whose} {}\n", body.replace('\n', "\\n")))
    };
    let lines: String = differing(Release::Later, [Reading::Values; 2], &table).iter().filter_map(line).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/v3/read_otherwise"), lines).unwrap();
    }
    assert_eq!(lines, include_str!("read_otherwise"), "UPDATE_GOLDEN=1 writes it anew");
}

/// A request as it is sent: method, path, headers and body.
type Sent = (&'static str, &'static str, Vec<(&'static str, &'static str)>, Vec<u8>);

#[test]
fn other_methods_headers_and_sizes_are_answered_as_etcd_answers_them() {
    if let Some(hindrance) = Etcd::hindrance() {
        return not_run(hindrance);
    }
    let (etcd, server) = (Etcd::start(), Server::start());
    let (theirs, ours) = (etcd.http(), Client::new(server.address()));
    let mut requests: Vec<Sent> = Vec::new();
    let key = br#"{"key":"YQ=="}"#.to_vec();
    for method in ["GET", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"] {
        requests.push((method, "/v3/kv/range", vec![], vec![]));
        requests.push((method, "/v3/nope", vec![], vec![]));
    }
    requests.push(("OPTIONS", "/v3", vec![], vec![]));
    for root in ["/v3beta", "/v3"] {
        for path in ["/kv/range", "/lease/leases", "/nope"] {
            let path: &'static str = format!("{root}{path}").leak();
            requests.push(("POST", path, vec![], key.clone()));
        }
    }
    for timeout in ["x", "1", "1x", "1S", "-1S", "1n", "100000000000S", "99999999999999999999S", "", "1.5S", "+9S"] {
        requests.push(("POST", "/v3/kv/range", vec![("Grpc-Timeout", timeout)], key.clone()));
    }
    for header in [("Content-Type", "text/plain"), ("Accept", "text/html"), ("Token", "x")] {
        requests.push(("POST", "/v3/kv/range", vec![header], key.clone()));
    }
    requests.push(("POST", "/v3/election/observe", vec![("Grpc-Timeout", "50m")], br#"{"name":"YQ=="}"#.to_vec()));
    requests.push(("POST", "/v3/watch", vec![("Grpc-Timeout", "50m")], vec![]));
    requests.push((
        "POST",
        "/v3/watch",
        vec![("Grpc-Timeout", "2S")],
        br#"{"create_request":{"key":"YQ=="}}"#.to_vec(),
    ));
    for length in [1_572_000, 2_000_000, 3_000_000] {
        let value = "A".repeat(length / 3 * 4);
        requests.push(("POST", "/v3/kv/put", vec![], format!(r#"{{"key":"YQ==","value":"{value}"}}"#).into_bytes()));
    }
    for text in [&b"{\"a\":\xff}"[..], b"{\"a\":\xa0}", b"{\"a\":\"\xff\"}", b"{\"\xff\":1,\"key\":\"YQ==\"}"] {
        requests.push(("POST", "/v3/kv/range", vec![], text.to_vec()));
    }
    requests.push(("POST", "/v3/auth/user/get", vec![], b"{\"name\":\"\xff\"}".to_vec()));
    for (method, path, headers, body) in requests {
        let right = Reading::Letters.answer(&ours.send(method, path, &headers, &body));
        // Where the time of a stream is up, chance decides which part of etcd notices first, and each has an answer of its own.
        let is_stream = ["/watch", "/observe"].iter().any(|end| path.ends_with(end));
        let tries = if is_stream { TRIES } else { 1 };
        let ask = || Reading::Debian.answer(&theirs.send(method, path, &headers, &body));
        let mut told = std::iter::repeat_with(ask).take(tries);
        let first = told.next().expect("an answer");
        let left = if first == right { first } else { told.find(|told| *told == right).unwrap_or(first) };
        assert_eq!(right, left, "{method} {path} {headers:?}");
    }
}

#[test]
fn the_name_that_etcd_has_dropped_is_served_too_and_what_only_later_versions_have() {
    let server = Server::start();
    let client = Client::new(server.address());
    client.post("/v3alpha/kv/put", r#"{"key":"YQ==","value":"Yg=="}"#).expect(200);
    let found = client.post("/v3alpha/kv/range", r#"{"key":"YQ=="}"#).expect(200).value();
    assert_eq!(found["kvs"][0]["value"], "Yg==");
    assert_eq!(client.get("/v1/keys/a").status, 404, "a key of v3 need not begin with a slash");
    let status = client.post("/v3/auth/status", "").expect(200).value();
    assert_eq!(status["header"]["revision"], "2");
    let hash = client.post("/v3/maintenance/hashkv", "{}").expect(200).value();
    assert!(hash["hash"].is_number() && hash["hash_revision"] == "2", "{hash}");
    let told = client.post("/v3/maintenance/downgrade", r#"{"action":"VALIDATE","version":"x"}"#).expect(400).value();
    assert_eq!(told["error"], "etcdserver: wrong downgrade target version format");
    let alarms = client.post("/v3/maintenance/alarm", "{}").expect(200).value();
    assert_eq!(alarms["header"]["revision"], "2");
    let members = client.post("/v3/cluster/member/list", "{}").expect(200).value();
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
    let status = client.post("/v3/maintenance/status", "{}").expect(200).value();
    assert_eq!(status["leader"], members["members"][0]["ID"]);
}

#[test]
fn a_page_of_a_listed_origin_may_ask_and_one_of_another_may_not() {
    let origin = "http://app.example:8080";
    let server = Server::with_flags(&["--cors", origin]);
    let client = Client::new(server.address());
    let preflight = |origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type"),
        ];
        client.send("OPTIONS", "/v3/kv/put", &headers, b"").expect(200)
    };
    let allowed = preflight(origin);
    assert_eq!(allowed.header("access-control-allow-origin"), Some(origin));
    assert_eq!(allowed.header("access-control-allow-methods"), Some("POST, GET, OPTIONS, PUT, DELETE"));
    assert_eq!(allowed.header("access-control-allow-headers"), Some("accept, content-type, authorization"));
    assert_eq!(preflight("http://evil.example").header("access-control-allow-origin"), None);
    let body = br#"{"key":"YQ==","value":"Yg=="}"#;
    let put = |origin: &str| client.send("POST", "/v3/kv/put", &[("Origin", origin)], body);
    assert_eq!(put(origin).expect(200).header("access-control-allow-origin"), Some(origin));
    put("http://evil.example").refused(403, "permission_denied");
    let headers = [("Origin", origin), ("Upgrade", "websocket")];
    client.send("POST", "/v3/kv/put", &headers, body).expect(200);
}

#[test]
fn requests_are_counted_by_path_and_outcome() {
    let server = Server::start();
    let client = Client::new(server.address());
    client.post("/v3beta/kv/put", r#"{"key":"YQ=="}"#).expect(200);
    client.post("/v3/kv/range", "{}").expect(400);
    client.post("/v3/nope", "{}").expect(404);
    let metrics = client.get("/metrics").text();
    for (route, class) in [("/v3/kv/put", "2xx"), ("/v3/kv/range", "4xx"), ("/v3/{*path}", "4xx")] {
        let labels = format!("route=\"{route}\",method=\"POST\",status=\"{class}\"");
        assert!(metrics.lines().any(|line| line.contains(&labels) && line.ends_with(" 1")), "{labels}");
    }
}
