//! The same question in each dialect: the bytes of one request.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::systems::System;

/// The length of every value.
pub(crate) const VALUE_BYTES: usize = 256;
/// Where single keys are written and read at random, and how many.
pub(crate) const DIRECTORY: &str = "/bench/kv/";
/// See [`DIRECTORY`].
pub(crate) const KEYS: u64 = 10_000;
/// The operations of one transaction while loading: etcd's bound, and Vardr's.
pub(crate) const BATCH: u64 = 128;

/// A server through one of its dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    Echo,
    Vardr,
    /// Vardr as etcd's v2 API.
    VardrV2,
    EtcdV2,
    EtcdV3,
}

impl Face {
    /// Those with a column of their own; Vardr's dialects share one.
    pub(crate) const ALL: [Self; 4] = [Self::Vardr, Self::Echo, Self::EtcdV2, Self::EtcdV3];

    pub(crate) fn system(self) -> System {
        match self {
            Self::Echo => System::Echo,
            Self::Vardr | Self::VardrV2 => System::Vardr,
            Self::EtcdV2 | Self::EtcdV3 => System::Etcd,
        }
    }
}

/// What is asked. Reads are linearizable, writes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    Get,
    /// All keys and values of a directory that holds this many.
    Prefix(u64),
    /// Writes this key, which the watchers of [`watch`] follow.
    Tick(u64),
}

/// Random enough to spread keys and to be hard to compress (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn value(&mut self) -> String {
        let mut value = String::with_capacity(VALUE_BYTES);
        while value.len() < VALUE_BYTES {
            let _ = write!(value, "{:016x}", self.next());
        }
        value
    }
}

/// The bytes of one request, or nothing where the dialect has no such operation.
pub(crate) fn request(face: Face, host: SocketAddr, operation: Operation, random: &mut Random) -> Option<Vec<u8>> {
    let key = |random: &mut Random| numbered(DIRECTORY, random.next() % KEYS);
    let tick = |number: u64| (WATCHED.to_owned(), format!("tick-{number:06}"));
    Some(match operation {
        Operation::Put => put(face, host, &key(random), &random.value()),
        Operation::Tick(number) => {
            let (key, value) = tick(number);
            put(face, host, &key, &value)
        }
        Operation::Get => get(face, host, &key(random)),
        Operation::Prefix(keys) => prefix(face, host, keys)?,
    })
}

/// Asks a member of Vardr how far it is.
pub(crate) fn status(host: SocketAddr) -> Vec<u8> {
    message(host, "GET", "/v1/status", "", "")
}

/// Registers an instance of a service in Vardr, to live for so many seconds without a heartbeat.
pub(crate) fn register(host: SocketAddr, (service, instance): (usize, usize), ttl: u64) -> Vec<u8> {
    let document = format!(r#"{{"address":"10.0.{service}.{instance}","port":8080,"tags":["bench"]}}"#);
    message(host, "PUT", &format!("/v1/services/service-{service}/{instance}?ttl={ttl}s"), JSON, &document)
}

/// Keeps it alive.
pub(crate) fn heartbeat(host: SocketAddr, (service, instance): (usize, usize)) -> Vec<u8> {
    message(host, "POST", &format!("/v1/services/service-{service}/{instance}:heartbeat"), "", "")
}

/// Opens a stream of what changes among the instances of a service.
pub(crate) fn listen(host: SocketAddr, service: usize) -> Vec<u8> {
    message(host, "GET", &format!("/v1/services/service-{service}:watch"), "Accept: text/event-stream\r\n", "")
}

const WATCHED: &str = "/bench/watched";

/// Opens a stream of the changes of the key that [`Operation::Tick`] writes.
pub(crate) fn watch(face: Face, host: SocketAddr) -> Option<Vec<u8>> {
    match face {
        Face::Vardr => Some(message(host, "GET", &format!("/v1/watch{WATCHED}"), "Accept: text/event-stream\r\n", "")),
        Face::EtcdV2 => Some(message(host, "GET", &format!("/v2/keys{WATCHED}?wait=true&stream=true"), "", "")),
        Face::Echo | Face::VardrV2 | Face::EtcdV3 => None,
    }
}

/// Writes the keys of these numbers below `directory`: one transaction, or one request for each where the dialect has
/// no transactions.
pub(crate) fn fill(
    face: Face,
    host: SocketAddr,
    directory: &str,
    numbers: Range<u64>,
    random: &mut Random,
) -> Vec<Vec<u8>> {
    let keys = numbers.map(|number| numbered(directory, number));
    match face {
        Face::Echo => Vec::new(),
        Face::Vardr | Face::VardrV2 => {
            let puts = keys.map(|key| format!(r#"{{"put":{{"key":"{key}","value":"{}"}}}}"#, random.value()));
            let body = format!(r#"{{"if":[],"then":[{}]}}"#, puts.collect::<Vec<_>>().join(","));
            vec![message(host, "POST", "/v1/txn", JSON, &body)]
        }
        Face::EtcdV2 => keys.map(|key| put(face, host, &key, &random.value())).collect(),
        Face::EtcdV3 => {
            let puts = keys.map(|key| {
                let (key, value) = (BASE64.encode(key), BASE64.encode(random.value()));
                format!(r#"{{"request_put":{{"key":"{key}","value":"{value}"}}}}"#)
            });
            let body = format!(r#"{{"success":[{}]}}"#, puts.collect::<Vec<_>>().join(","));
            vec![message(host, "POST", "/v3/kv/txn", JSON, &body)]
        }
    }
}

fn numbered(directory: &str, number: u64) -> String {
    format!("{directory}{number:07}")
}

fn put(face: Face, host: SocketAddr, key: &str, value: &str) -> Vec<u8> {
    match face {
        Face::Echo | Face::Vardr => {
            message(host, "PUT", &format!("/v1/keys{key}"), "Content-Type: text/plain\r\n", value)
        }
        Face::VardrV2 | Face::EtcdV2 => {
            let form = "Content-Type: application/x-www-form-urlencoded\r\n";
            message(host, "PUT", &format!("/v2/keys{key}"), form, &format!("value={value}"))
        }
        Face::EtcdV3 => {
            let body = format!(r#"{{"key":"{}","value":"{}"}}"#, BASE64.encode(key), BASE64.encode(value));
            message(host, "POST", "/v3/kv/put", JSON, &body)
        }
    }
}

fn get(face: Face, host: SocketAddr, key: &str) -> Vec<u8> {
    match face {
        Face::Echo | Face::Vardr => message(host, "GET", &format!("/v1/keys{key}"), "", ""),
        Face::VardrV2 | Face::EtcdV2 => message(host, "GET", &format!("/v2/keys{key}?quorum=true"), "", ""),
        Face::EtcdV3 => message(host, "POST", "/v3/kv/range", JSON, &format!(r#"{{"key":"{}"}}"#, BASE64.encode(key))),
    }
}

/// The directory that holds this many keys.
pub(crate) fn directory(keys: u64) -> String {
    format!("/bench/prefix-{keys}/")
}

fn prefix(face: Face, host: SocketAddr, keys: u64) -> Option<Vec<u8>> {
    let directory = directory(keys);
    match face {
        Face::Vardr => Some(message(host, "GET", &format!("/v1/keys{directory}?recursive=true"), "", "")),
        Face::EtcdV3 => {
            // The key after every one that begins with the directory's name: `0` follows `/`.
            let end = format!("{}0", directory.trim_end_matches('/'));
            let body = format!(r#"{{"key":"{}","range_end":"{}"}}"#, BASE64.encode(directory), BASE64.encode(end));
            Some(message(host, "POST", "/v3/kv/range", JSON, &body))
        }
        Face::Echo | Face::VardrV2 | Face::EtcdV2 => None,
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

fn message(host: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}\r\n{body}").into_bytes()
}
