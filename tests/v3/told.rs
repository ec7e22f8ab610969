//! What a gateway tells in JSON, and how it is read so that two servers can be compared: without what is one server's own, and with what is
//! known to differ between etcd's versions read alike.

use std::time::Duration;

use serde_json::Value;

use crate::support::http::Response;

/// Beside how long it is at most since a lease was granted, in seconds, for what is left of its time.
const TOLERANCE_SECONDS: i64 = 2;
/// What is compared of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: Vec<Option<String>>,
    pub(crate) body: String,
}

/// How what is told is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Letter by letter.
    Letters,
    /// The same, as etcd 3.5 would have said what 3.4 says: it has another status for one code, and another order in errors.
    Debian,
    /// What the JSON says, in whatever space. Errors of 3.6 lack what those of 3.5 say twice, their texts about JSON are others, and so is
    /// the form in which it says that there is no such path.
    Values,
}

impl Reading {
    /// An answer, but for what differs from server to server.
    pub(crate) fn answer(self, answer: &Response) -> Told {
        let told = Told::of(answer);
        match self {
            Self::Letters => told.bare(),
            Self::Debian => told.bare().of_debian(),
            Self::Values => told.values(),
        }
    }

    /// A line of a stream, in the same way.
    pub(crate) fn line(self, line: &str) -> String {
        match self {
            Self::Letters | Self::Debian => bare(line),
            Self::Values => bare(&close(line).unwrap_or_else(|| line.to_owned())),
        }
    }
}

impl Told {
    fn of(answer: &Response) -> Self {
        let names = ["content-type", "grpc-metadata-content-type", "x-content-type-options", "location"];
        let headers = names.iter().map(|name| answer.header(name).map(str::to_owned)).collect();
        Self { status: answer.status, headers, body: answer.text() }
    }

    fn bare(self) -> Self {
        Self { body: bare(&self.body), ..self }
    }

    fn of_debian(mut self) -> Self {
        let error = serde_json::from_str::<Value>(&self.body).ok();
        if let Some(error) = error.filter(|error| error["error"].is_string()) {
            let (text, code) = (&error["error"], &error["code"]);
            assert_eq!(self.body, written(&format!("{{\"error\":{text},\"message\":{text},\"code\":{code}}}")));
            self.body = written(&format!("{{\"error\":{text},\"code\":{code},\"message\":{text}}}"));
            if self.status == 412 {
                self.status = 400;
            }
        }
        self
    }

    fn values(mut self) -> Self {
        self.headers.clear();
        let lines = self.body.lines().map(|line| close(line).unwrap_or_else(|| line.to_owned()));
        self.body = bare(&lines.collect::<Vec<_>>().join("\n"));
        if self.body == "Not Found" {
            self.body = "5 Not Found".to_owned();
        }
        let Ok(value) = serde_json::from_str::<Value>(&self.body) else { return self };
        if self.status != 200 {
            let message = value["message"].as_str().unwrap_or_default();
            let is_about_json = value["code"] == 3 && !message.starts_with("etcdserver: ");
            self.body = if is_about_json { "no such JSON".to_owned() } else { format!("{} {message}", value["code"]) };
        }
        self
    }
}

/// JSON without space between its parts.
fn close(text: &str) -> Option<String> {
    serde_json::from_str::<Value>(text).ok().map(|value| value.to_string())
}

/// JSON with what Go escapes and others do not.
fn written(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A text without the ids of servers and the terms of their leaders.
pub(crate) fn bare(text: &str) -> String {
    let mut text = text.to_owned();
    for name in ["\"cluster_id\":\"", "\"member_id\":\"", "\"raft_term\":\""] {
        let mut parts = text.split(name);
        let mut out = parts.next().unwrap().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
            assert_ne!(rest, part, "no number: {text}");
            out.push_str(name);
            out.push_str(rest);
        }
        text = out;
    }
    text
}

/// What is left of a time to live, as it was granted where it may be what is left of it when so much has passed at most.
pub(crate) fn left(left: i64, granted: i64, passed: Duration) -> i64 {
    let passed = i64::try_from(passed.as_secs()).unwrap() + TOLERANCE_SECONDS;
    if (granted - passed..=granted).contains(&left) { granted } else { left }
}

/// What is told of the time to live of a lease, but for what may have passed of it, and the order of its keys, of which etcd has none.
pub(crate) fn timeless(body: &str, passed: Duration) -> String {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    let mut body = body.to_owned();
    let seconds = |name: &str| answer[name].as_str()?.parse().ok();
    if let (Some(told), Some(granted)) = (seconds("TTL"), seconds("grantedTTL")) {
        let kept = left(told, granted, passed);
        body = body.replace(&format!("\"TTL\":\"{told}\""), &format!("\"TTL\":\"{kept}\""));
    }
    if let Some(keys) = answer["keys"].as_array() {
        let written = |keys: &[String]| format!("\"keys\":[{}]", keys.join(","));
        let mut keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let before = written(&keys);
        keys.sort_unstable();
        body = body.replace(&before, &written(&keys));
    }
    body
}
