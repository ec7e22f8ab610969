//! The same question in each dialect: the bytes of one request.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use crate::calls;
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
    EchoGrpc,
    Vardr,
    /// Vardr as etcd's v2 API.
    VardrV2,
    /// Vardr as the JSON gateway of etcd's v3 API.
    VardrV3,
    VardrGrpc,
    EtcdV2,
    EtcdV3,
    EtcdGrpc,
}

impl Face {
    /// Those that columns are named by; the dialects of a server that are not compared with each other share one.
    pub(crate) const COLUMNS: [Self; 4] = [Self::Vardr, Self::Echo, Self::EtcdV2, Self::EtcdV3];

    pub(crate) fn system(self) -> System {
        match self {
            Self::Echo | Self::EchoGrpc => System::Echo,
            Self::Vardr | Self::VardrV2 | Self::VardrV3 | Self::VardrGrpc => System::Vardr,
            Self::EtcdV2 | Self::EtcdV3 | Self::EtcdGrpc => System::Etcd,
        }
    }

    /// The one of [`Self::COLUMNS`] that it is shown in.
    pub(crate) fn column(self) -> Self {
        match self {
            Self::Echo | Self::EchoGrpc => Self::Echo,
            Self::Vardr | Self::VardrV2 | Self::VardrV3 | Self::VardrGrpc => Self::Vardr,
            Self::EtcdV2 => Self::EtcdV2,
            Self::EtcdV3 | Self::EtcdGrpc => Self::EtcdV3,
        }
    }

    /// How a row says that Vardr answers in another dialect than its own.
    pub(crate) fn dialect(self) -> Option<&'static str> {
        match self {
            Self::VardrV2 => Some("/v2"),
            Self::VardrV3 => Some("/v3"),
            Self::VardrGrpc => Some("gRPC"),
            _ => None,
        }
    }

    /// Whether many calls are under way on one connection.
    pub(crate) fn is_grpc(self) -> bool {
        matches!(self, Self::EchoGrpc | Self::VardrGrpc | Self::EtcdGrpc)
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

impl Operation {
    /// The gRPC method that does it.
    pub(crate) fn method(self) -> Option<&'static str> {
        match self {
            Self::Put => Some(calls::PUT),
            Self::Get => Some(calls::RANGE),
            Self::Prefix(_) | Self::Tick(_) => None,
        }
    }
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
pub(crate) fn request(face: Face, host: SocketAddr, operation: Operation, random: &mut Random) -> Option<Bytes> {
    let key = |random: &mut Random| numbered(DIRECTORY, random.next() % KEYS);
    let tick = |number: u64| (WATCHED.to_owned(), format!("tick-{number:06}"));
    if face.is_grpc() {
        return match operation {
            Operation::Put => Some(calls::put(&key(random), &random.value())),
            Operation::Get => Some(calls::get(&key(random))),
            Operation::Prefix(_) | Operation::Tick(_) => None,
        };
    }
    Some(Bytes::from(match operation {
        Operation::Put => put(face, host, &key(random), &random.value()),
        Operation::Tick(number) => {
            let (key, value) = tick(number);
            put(face, host, &key, &value)
        }
        Operation::Get => get(face, host, &key(random)),
        Operation::Prefix(keys) => prefix(face, host, keys)?,
    }))
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
        _ => None,
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
        Face::Echo | Face::EchoGrpc => Vec::new(),
        Face::Vardr | Face::VardrV2 | Face::VardrV3 | Face::VardrGrpc => {
            let puts = keys.map(|key| format!(r#"{{"put":{{"key":"{key}","value":"{}"}}}}"#, random.value()));
            let body = format!(r#"{{"if":[],"then":[{}]}}"#, puts.collect::<Vec<_>>().join(","));
            vec![message(host, "POST", "/v1/txn", JSON, &body)]
        }
        Face::EtcdV2 => keys.map(|key| put(face, host, &key, &random.value())).collect(),
        Face::EtcdV3 | Face::EtcdGrpc => {
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
        Face::VardrV2 | Face::EtcdV2 => {
            let form = "Content-Type: application/x-www-form-urlencoded\r\n";
            message(host, "PUT", &format!("/v2/keys{key}"), form, &format!("value={value}"))
        }
        Face::VardrV3 | Face::EtcdV3 => {
            let body = format!(r#"{{"key":"{}","value":"{}"}}"#, BASE64.encode(key), BASE64.encode(value));
            message(host, "POST", "/v3/kv/put", JSON, &body)
        }
        _ => message(host, "PUT", &format!("/v1/keys{key}"), "Content-Type: text/plain\r\n", value),
    }
}

fn get(face: Face, host: SocketAddr, key: &str) -> Vec<u8> {
    match face {
        Face::VardrV2 | Face::EtcdV2 => message(host, "GET", &format!("/v2/keys{key}?quorum=true"), "", ""),
        Face::VardrV3 | Face::EtcdV3 => {
            message(host, "POST", "/v3/kv/range", JSON, &format!(r#"{{"key":"{}"}}"#, BASE64.encode(key)))
        }
        _ => message(host, "GET", &format!("/v1/keys{key}"), "", ""),
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
        _ => None,
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

fn message(host: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}\r\n{body}").into_bytes()
}
