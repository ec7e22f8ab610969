//! What of an answer is compared: all of it, byte for byte, but for what no two servers can agree on.
//!
//! The two stores are brought to the same index before each sequence, so that indices are compared as they are. Replaced by whether
//! they are well formed are: dates, the id of the cluster, raft's index and term. A date of expiration is compared with a tolerance beside
//! the text; a time to live has to follow from it, as etcd rounds. Lists without `sorted=true` are put in order, because etcd's are in
//! none. Framing headers are compared by kind.
//!
//! What the two do differently on purpose is not asked for: that Vardr refuses writes of scripts from sites that `--cors` does not name,
//! where etcd only keeps the answer from them, and that it has a page at `/`.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::http::Response;

/// An answer, made comparable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// 0 when there was none.
    pub(crate) status: u16,
    /// In the order of their names.
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Seconds from the beginning of the sequence, in the order in which they stand in the body.
    expirations: Vec<f64>,
}

/// When an answer was made: not before the first, not after the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) begun: SystemTime,
    pub(crate) sent: SystemTime,
    pub(crate) received: SystemTime,
}

impl Answer {
    pub(crate) fn of(response: &Response, is_sorted: bool, window: Window) -> Self {
        let text = String::from_utf8_lossy(&response.body).into_owned();
        let mut answer = Self { status: response.status, ..Self::default() };
        (answer.body, answer.expirations) = timeless(&text, window);
        if !is_sorted {
            answer.body = in_order(&answer.body);
        }
        answer.headers = response.headers.iter().filter_map(|(name, value)| header(name, value)).collect();
        // Go's library refuses what it cannot read as a path before any handler, and leaves both out.
        if (answer.status, answer.body.as_str()) == (400, "400 Bad Request") {
            answer.headers.retain(|(name, _)| !matches!(name.as_str(), "date" | "framing"));
        }
        answer.headers.sort();
        answer
    }

    /// Without the index at which it was made, where that is a matter of time.
    pub(crate) fn whenever(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "x-etcd-index");
        self
    }

    /// Whether the two are the same but for what may differ; times by no more than `tolerance`.
    pub(crate) fn agrees(&self, other: &Self, tolerance: Duration) -> bool {
        let near = |(one, two): (&f64, &f64)| (one - two).abs() <= tolerance.as_secs_f64();
        (self.status, &self.headers, &self.body) == (other.status, &other.headers, &other.body)
            && self.expirations.len() == other.expirations.len()
            && self.expirations.iter().zip(&other.expirations).all(near)
    }

    /// What came of the request: the action, the number of the error, or the status.
    pub(crate) fn outcome(&self) -> String {
        let word = |start: &str| self.body.strip_prefix(start).and_then(|rest| rest.split(['"', ',', '}']).next());
        let known = word("{\"action\":\"").or_else(|| word("{\"errorCode\":"));
        known.map_or_else(|| format!("status-{}", self.status), str::to_owned)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        write!(f, "{} [{}] {:?}", self.status, headers.join(" | "), self.body)?;
        if self.expirations.is_empty() { Ok(()) } else { write!(f, " expiring at {:.1?} s", self.expirations) }
    }
}

/// A header as it is compared; `None` for one that says nothing about the answer.
fn header(name: &str, value: &str) -> Option<(String, String)> {
    let is_number = value.parse::<u64>().is_ok();
    let known = match name {
        // Hop by hop: it belongs to the connection.
        "connection" => return None,
        "content-length" if is_number => return Some(("framing".to_owned(), "length".to_owned())),
        "transfer-encoding" if value == "chunked" => return Some(("framing".to_owned(), "chunked".to_owned())),
        "date" => value.ends_with(" GMT"),
        "x-etcd-cluster-id" => u64::from_str_radix(value, 16).is_ok_and(|id| format!("{id:x}") == value),
        "x-raft-index" | "x-raft-term" => is_number,
        _ => false,
    };
    Some((name.to_owned(), if known { "#".to_owned() } else { value.to_owned() }))
}

const EXPIRATION: &str = "\"expiration\":\"";
const TTL: &str = "\",\"ttl\":";

/// A date this far back is what a time to live has come to that was more than etcd's clock holds. Vardr shows the moment of
/// the write.
const OVERFLOWED_SECONDS: f64 = 1000.0;

/// The text without its times, and the times.
fn timeless(text: &str, window: Window) -> (String, Vec<f64>) {
    let (mut timeless, mut expirations) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(EXPIRATION) {
        timeless.push_str(before);
        timeless.push_str(EXPIRATION);
        rest = after;
        let Some((date, _)) = after.split_once('"') else { continue };
        let Some(expiration) = instant(date) else { continue };
        timeless.push('#');
        rest = &after[date.len()..];
        if expiration < seconds(window.begun) - OVERFLOWED_SECONDS {
            expirations.push(0.0);
            if let Some((_, after)) = rest.strip_prefix(TTL).and_then(|ttl| ttl.split_once(',')) {
                timeless.push_str("\",");
                rest = after;
            }
            continue;
        }
        expirations.push(expiration - seconds(window.begun));
        if let Some(after) = rest.strip_prefix(TTL) {
            let digits = after.len() - after.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit()).len();
            timeless.push_str(TTL);
            rest = &after[digits..];
            let ttl = &after[..digits];
            timeless.push_str(if follows(ttl, expiration, window) { "#" } else { ttl });
        }
    }
    timeless.push_str(rest);
    (timeless, expirations)
}

/// Whether a time to live is what is left until the expiration, rounded up, at some moment of the window.
fn follows(ttl: &str, expiration: f64, window: Window) -> bool {
    let Ok(ttl) = ttl.parse::<i64>() else { return false };
    let left = |moment: SystemTime| expiration - seconds(moment);
    // What is left is computed from times of different digits: a microsecond is no difference.
    let slack = 1e-5;
    #[expect(clippy::cast_precision_loss, reason = "so many seconds fit")]
    let ttl = ttl as f64;
    left(window.received) <= ttl + slack && left(window.sent) > ttl - 1.0 - slack
}

/// Seconds since 1970 of a date as Go writes it: in UTC, the zeros at the end of the fraction left out.
fn instant(date: &str) -> Option<f64> {
    let fraction = date.strip_suffix('Z')?.split_once('.').map(|(_, fraction)| fraction);
    let is_short = fraction.is_none_or(|digits| !digits.ends_with('0') && (1..=9).contains(&digits.len()));
    let instant: jiff::Timestamp = date.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "parts of a microsecond do not matter")]
    let seconds = instant.as_nanosecond() as f64 / 1e9;
    is_short.then_some(seconds)
}

fn seconds(moment: SystemTime) -> f64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

const NODES: &str = "\"nodes\":[";

/// The text with the members of each list of nodes in the order of their texts.
fn in_order(text: &str) -> String {
    let Some((before, after)) = text.split_once(NODES) else { return text.to_owned() };
    let (mut members, mut depth, mut in_string, mut escaped, mut start) = (Vec::new(), 0_u32, false, false, 0);
    for (at, byte) in after.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b',' if depth == 0 => {
                members.push(in_order(&after[start..at]));
                start = at + 1;
            }
            b']' if depth == 0 => {
                members.push(in_order(&after[start..at]));
                members.sort();
                return format!("{before}{NODES}{}{}", members.join(","), in_order(&after[at..]));
            }
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: u64, to: u64) -> Window {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        Window { begun: at(from), sent: at(from), received: at(to) }
    }

    #[test]
    fn a_time_to_live_that_does_not_follow_from_the_date_stays() {
        let body = |ttl| format!("{{\"expiration\":\"1970-01-01T00:01:40.5Z\",\"ttl\":{ttl},\"x\":1}}");
        let text = |ttl| timeless(&body(ttl), window(0, 1)).0;
        assert_eq!(text(101), "{\"expiration\":\"#\",\"ttl\":#,\"x\":1}");
        assert_eq!(text(100), text(101));
        assert_eq!(text(99), "{\"expiration\":\"#\",\"ttl\":99,\"x\":1}");
        assert_eq!(text(102), "{\"expiration\":\"#\",\"ttl\":102,\"x\":1}");
        assert_eq!(timeless(&body(1), window(0, 1)).1, [100.5]);
    }

    #[test]
    fn a_date_that_go_would_not_write_stays() {
        for date in ["1970-01-01T00:01:40.50Z", "1970-01-01T01:01:40+01:00", "1970-01-01T00:01:40.Z"] {
            let body = format!("{{\"expiration\":\"{date}\"}}");
            assert_eq!(timeless(&body, window(0, 1)), (body, Vec::new()));
        }
    }

    #[test]
    fn lists_without_order_are_put_in_one_at_every_depth() {
        let one = r#"{"nodes":[{"key":"/b]\"","nodes":[{"key":"2"},{"key":"1"}]},{"key":"/a"}],"z":1}"#;
        let two = r#"{"nodes":[{"key":"/a"},{"key":"/b]\"","nodes":[{"key":"1"},{"key":"2"}]}],"z":1}"#;
        assert_eq!(in_order(one), two);
        assert_eq!(in_order(two), two);
    }

    #[test]
    fn ids_are_compared_by_form_and_indices_as_they_are() {
        assert_eq!(header("x-etcd-cluster-id", "0abc"), Some(("x-etcd-cluster-id".into(), "0abc".into())));
        assert_eq!(header("x-etcd-cluster-id", "abc"), Some(("x-etcd-cluster-id".into(), "#".into())));
        assert_eq!(header("x-etcd-index", "7"), Some(("x-etcd-index".into(), "7".into())));
        assert_eq!(header("connection", "close"), None);
    }
}
