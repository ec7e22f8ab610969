//! Random requests in JSON to real etcd and to Vardr: the same sequence to both, and every difference is a failure.
//!
//! A seed is a sequence. What is asked for is written in one of the ways in which it can be: either name of a field, numbers as numbers or
//! strings, bytes as base64 or as numbers, members in any order, among others that are not known. What is known to differ is not asked
//! for (`docs/etcd-v3.md`). `GATEWAY_START` says from which seed on, `GATEWAY_REQUESTS` how many requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::chance::Chance;
use crate::gateway::Told;
use crate::gateway_streams::{Events, Lines};
use crate::support::Server;
use crate::support::etcd::Etcd;
use crate::support::http::Client;
use crate::support::volume::not_run;

/// Requests of a run.
const REQUESTS: u64 = 2_500;
/// Requests of a sequence.
const LENGTH: u64 = 25;
/// Keys that are read and written.
const KEYS: &[&str] = &["a", "b", "c", "d", "k/1", "k/2", "k/10", "\0", "é", "z"];
const ENDS: &[&str] = &["", "c", "k/", "k0", "z", "\0", "a"];
const VALUES: &[&str] = &["", "1", "2", "x<y>&", "\u{1f600}\n"];
/// Leases that are there throughout.
const LEASES: &[i64] = &[11, -12];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Writes JSON in one of many ways.
struct Writer<'a> {
    chance: &'a mut Chance,
    members: Vec<String>,
}

impl<'a> Writer<'a> {
    fn new(chance: &'a mut Chance) -> Self {
        Self { chance, members: Vec::new() }
    }

    fn add(&mut self, name: &str, value: &str) {
        let mut parts = name.split('_');
        let mut camel = parts.next().unwrap().to_owned();
        for part in parts {
            camel.push_str(&part[..1].to_uppercase());
            camel.push_str(&part[1..]);
        }
        let name = if self.chance.percent(30) { &camel } else { name };
        let space = *self.chance.pick(&["", "", "", " ", "\n\t"]);
        self.members.push(format!("{space}\"{name}\"{space}:{space}{value}{space}"));
    }

    fn bytes(&mut self, name: &str, text: &str) {
        let value = if self.chance.percent(15) {
            let numbers: Vec<_> = text.bytes().map(|byte| byte.to_string()).collect();
            format!("[{}]", numbers.join(","))
        } else {
            format!("\"{}\"", STANDARD.encode(text))
        };
        self.add(name, &value);
    }

    fn int(&mut self, name: &str, number: i64) {
        let value = if self.chance.percent(50) { format!("\"{number}\"") } else { number.to_string() };
        self.add(name, &value);
    }

    /// Perhaps.
    fn flag(&mut self, name: &str, percent: u64) {
        if self.chance.percent(percent) {
            let value = *self.chance.pick(&["true", "true", "false", "null"]);
            self.add(name, value);
        }
    }

    fn name_of(&mut self, name: &str, names: &[&str]) {
        let at = self.chance.index(names.len());
        let value = if self.chance.percent(30) { at.to_string() } else { format!("\"{}\"", names[at]) };
        self.add(name, &value);
    }

    fn done(mut self) -> String {
        if self.chance.percent(10) {
            self.members.push("\"unknown\":[{\"key\":1}]".to_owned());
        }
        for at in (1..self.members.len()).rev() {
            let other = self.chance.index(at + 1);
            self.members.swap(at, other);
        }
        format!("{{{}}}", self.members.join(","))
    }
}

/// A revision: the present, one of the past, or one that is none.
fn revision(chance: &mut Chance, now: i64) -> i64 {
    match chance.below(10) {
        0 => 0,
        1 => -1,
        2 => now + 100,
        3 => 1,
        _ => (now - i64::try_from(chance.below(12)).unwrap()).max(1),
    }
}

fn range(chance: &mut Chance, now: i64, in_txn: bool) -> String {
    let (key, end) = (*chance.pick(KEYS), *chance.pick(ENDS));
    let mut writer = Writer::new(chance);
    if !writer.chance.percent(3) {
        writer.bytes("key", key);
    }
    if writer.chance.percent(60) {
        writer.bytes("range_end", end);
    }
    writer.flag("keys_only", 10);
    writer.flag("count_only", 10);
    writer.flag("serializable", 10);
    if writer.chance.percent(25) {
        let revision = revision(writer.chance, now);
        // In a transaction, etcd takes one that is negative for one that is compacted, where anything was.
        writer.int("revision", if in_txn { revision.max(0) } else { revision });
    }
    for bound in ["min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"] {
        if writer.chance.percent(6) {
            let revision = revision(writer.chance, now);
            writer.int(bound, revision);
        }
    }
    // Without an order, etcd 3.4 cuts before it sorts; ties are in no order of any kind once they are cut.
    let is_sorted = writer.chance.percent(30);
    if is_sorted {
        let order = *writer.chance.pick(&["\"ASCEND\"", "\"DESCEND\"", "1", "2"]);
        writer.add("sort_order", order);
        let target = *writer.chance.pick(&["\"KEY\"", "\"MOD\"", "3", "0"]);
        writer.add("sort_target", target);
    }
    if writer.chance.percent(30) {
        let limit = i64::try_from(writer.chance.below(5)).unwrap() - 1;
        writer.int("limit", limit);
    }
    writer.done()
}

fn put(chance: &mut Chance, key: &str) -> String {
    let value = *chance.pick(VALUES);
    let mut writer = Writer::new(chance);
    writer.bytes("key", key);
    if writer.chance.percent(85) {
        writer.bytes("value", value);
    }
    writer.flag("prev_kv", 30);
    writer.flag("ignore_value", 8);
    writer.flag("ignore_lease", 8);
    if writer.chance.percent(15) {
        let lease = *writer.chance.pick(&[LEASES[0], LEASES[1], 404]);
        writer.int("lease", lease);
    }
    writer.done()
}

fn delete(chance: &mut Chance, key: &str, in_txn: bool) -> String {
    let end = *chance.pick(ENDS);
    let is_range = chance.percent(20);
    // What else is in a transaction may be put in a range without a proper end, in etcd alone.
    let (key, end) = if in_txn && is_range { *chance.pick(&[("a", "c"), ("k/", "k0")]) } else { (key, end) };
    let mut writer = Writer::new(chance);
    writer.bytes("key", key);
    if is_range {
        writer.bytes("range_end", end);
    }
    writer.flag("prev_kv", 50);
    writer.done()
}

fn compare(chance: &mut Chance, now: i64) -> String {
    let (key, end) = (*chance.pick(KEYS), *chance.pick(ENDS));
    let mut writer = Writer::new(chance);
    writer.bytes("key", key);
    if writer.chance.percent(15) {
        writer.bytes("range_end", end);
    }
    writer.name_of("result", &["EQUAL", "GREATER", "LESS", "NOT_EQUAL"]);
    writer.name_of("target", &["VERSION", "CREATE", "MOD", "VALUE", "LEASE"]);
    let number = revision(writer.chance, now);
    match writer.chance.below(5) {
        0 => {
            let version = number % 3;
            writer.int("version", version);
        }
        1 => writer.int("create_revision", number),
        2 => writer.int("mod_revision", number),
        3 => {
            let value = *writer.chance.pick(VALUES);
            writer.bytes("value", value);
        }
        _ => {
            let lease = *writer.chance.pick(&[0, LEASES[0], LEASES[1]]);
            writer.int("lease", lease);
        }
    }
    writer.done()
}

/// Operations; those of a nested transaction are of keys of its own, as what etcd lets through there is a known difference.
fn ops(chance: &mut Chance, now: i64, nested: bool) -> String {
    let count = chance.below(4);
    let ops: Vec<_> = (0..count)
        .map(|_| {
            let key = if nested { *chance.pick(&["n/1", "n/2"]) } else { *chance.pick(KEYS) };
            let (name, body) = match chance.below(10) {
                0..4 => ("request_put", put(chance, key)),
                4..7 => ("request_range", range(chance, now, true)),
                7 if !nested => ("request_txn", txn(chance, now, true)),
                _ if nested => ("request_put", put(chance, key)),
                _ => ("request_delete_range", delete(chance, key, true)),
            };
            let mut writer = Writer::new(chance);
            writer.add(name, &body);
            writer.done()
        })
        .collect();
    format!("[{}]", ops.join(","))
}

fn txn(chance: &mut Chance, now: i64, nested: bool) -> String {
    let count = chance.below(3);
    let compares: Vec<_> = (0..count).map(|_| compare(chance, now)).collect();
    let (success, failure) =
        (ops(chance, now, nested), if nested { "[]".to_owned() } else { ops(chance, now, nested) });
    let mut writer = Writer::new(chance);
    writer.add("compare", &format!("[{}]", compares.join(",")));
    writer.add("success", &success);
    writer.add("failure", &failure);
    writer.done()
}

/// A request that does something else than it says: a letter of it is gone, or another.
fn spoilt(chance: &mut Chance, body: &str) -> String {
    let mut bytes = body.as_bytes().to_vec();
    let at = chance.index(bytes.len());
    match chance.below(3) {
        0 => bytes.truncate(at),
        1 => {
            bytes.remove(at);
        }
        _ => bytes[at] = *chance.pick(b"{}[]\",:0-.ex \\=A"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn request(chance: &mut Chance, now: i64) -> (&'static str, String) {
    let key = *chance.pick(KEYS);
    let (path, body) = match chance.below(20) {
        0..6 => ("/v3/kv/range", range(chance, now, false)),
        6..12 => ("/v3/kv/put", put(chance, key)),
        12..14 => ("/v3/kv/deleterange", delete(chance, key, false)),
        14..18 => ("/v3/kv/txn", txn(chance, now, false)),
        18 => ("/v3beta/kv/range", range(chance, now, false)),
        _ => {
            let mut writer = Writer::new(chance);
            // Nothing before it: what a store that was never compacted says of 0 is a known difference.
            let revision = revision(writer.chance, now).max(1);
            if writer.chance.percent(30) {
                writer.int("revision", revision);
            } else {
                writer.int("revision", now + 50);
            }
            writer.flag("physical", 30);
            ("/v3/kv/compaction", writer.done())
        }
    };
    let is_spoilt = path.ends_with("range") && chance.percent(15);
    (path, if is_spoilt { spoilt(chance, &body) } else { body })
}

/// What a watch of everything tells, from one revision through another.
fn history(client: &Client, from: i64, through: i64) -> Events {
    let body =
        format!(r#"{{"create_request":{{"key":"AA==","range_end":"AA==","start_revision":{from},"prev_kv":true}}}}"#);
    let mut lines = Lines::open(client, "/v3/watch", &body);
    assert_eq!(lines.head().0, 200);
    let mut told = Events::default();
    while told.last() < Some(through) {
        let line: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        line["result"]["events"].as_array().into_iter().flatten().for_each(|event| told.add(event));
    }
    told
}

fn present(client: &Client) -> i64 {
    let answer = client.post("/v3/kv/range", r#"{"key":"YQ==","count_only":true}"#).expect(200).value();
    answer["header"]["revision"].as_str().unwrap().parse().unwrap()
}

#[test]
fn etcd_answers_random_requests_in_json_alike() {
    if let Some(hindrance) = Etcd::hindrance() {
        return not_run(hindrance);
    }
    let (etcd, server) = (Etcd::start(), Server::start());
    let (theirs, ours) = (etcd.http(), Client::new(server.address()));
    for client in [&theirs, &ours] {
        for lease in LEASES {
            client.post("/v3/lease/grant", format!(r#"{{"TTL":3600,"ID":{lease}}}"#)).expect(200);
        }
        client.post("/v3/kv/put", r#"{"key":"YQ=="}"#).expect(200);
        client.post("/v3/kv/compaction", r#"{"revision":1}"#);
    }
    let (mut sent, mut good) = (0, 0);
    let mut seed = number("GATEWAY_START", 1);
    while sent < number("GATEWAY_REQUESTS", REQUESTS) {
        let mut chance = Chance::new(seed);
        let begin = present(&theirs);
        let mut asked = Vec::new();
        for _ in 0..LENGTH {
            let now = present(&theirs);
            let (path, body) = request(&mut chance, now);
            asked.push(format!("{path} {}", body.replace('\n', " ")));
            let left = Told::of_etcd(&theirs.post(path, &body));
            let right = Told::of(&ours.post(path, &body));
            assert_eq!(right, left, "seed {seed}:\n{}", asked.join("\n"));
            sent += 1;
            good += u64::from(left.status == 200);
        }
        seed += 1;
        // What was compacted meanwhile cannot be watched.
        let compacted = theirs.post("/v3/kv/range", format!(r#"{{"key":"YQ==","revision":{begin}}}"#)).status != 200;
        let now = present(&theirs);
        if now > begin && !compacted {
            let (left, right) = (history(&theirs, begin + 1, now), history(&ours, begin + 1, now));
            assert_eq!(right, left, "seed {}: {}", seed - 1, asked.join("\n"));
        }
    }
    println!("{sent} requests, {good} of them answered with 200");
    assert!(good * 2 > sent, "most requests make sense: {good} of {sent}");
}
