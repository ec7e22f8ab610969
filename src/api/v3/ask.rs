//! What every call of the dialect carries, whether it comes over gRPC or as JSON: until when it is to be answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::service::{Call, Origin};

/// How long etcd lets a request take: five seconds, and two election timeouts.
const REQUEST_TIME: Duration = Duration::from_secs(7);
/// How long a client that does not say waits for a lock or an election: for as long as it is there.
const MAX_TURN: Duration = Duration::from_hours(24 * 365);
/// In what time a client of gRPC wants its answer.
pub(super) const GRPC_TIMEOUT: &str = "grpc-timeout";
/// The units of its value, the smallest first (gRPC over HTTP/2, "Timeout").
pub(super) const TIMEOUT_UNITS: &[(char, Duration)] = &[
    ('n', Duration::from_nanos(1)),
    ('u', Duration::from_micros(1)),
    ('m', Duration::from_millis(1)),
    ('S', Duration::from_secs(1)),
    ('M', Duration::from_mins(1)),
    ('H', Duration::from_hours(1)),
];
/// The digits that its value may have.
pub(super) const MAX_TIMEOUT_DIGITS: usize = 8;

/// A call, and whose time it is that runs out.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) call: Call,
    /// The client allows less time than the server would.
    hurried: bool,
    /// What the client allows.
    timeout: Option<Duration>,
}

impl Ask {
    /// A call that is to be answered within the client's time, where it has said one, and the server's.
    pub(super) fn within(timeout: Option<Duration>) -> Self {
        let hurried = timeout.is_some_and(|timeout| timeout < REQUEST_TIME);
        let time = timeout.map_or(REQUEST_TIME, |timeout| timeout.min(REQUEST_TIME));
        Self { call: Call::new(Instant::now() + time), hurried, timeout }
    }

    /// How long a client waits its turn, and a call that lasts as long and carries out something then.
    pub(super) fn waiting(&self) -> (Duration, Call) {
        let wait = self.timeout.map_or(MAX_TURN, |timeout| timeout.min(MAX_TURN));
        (wait, Call { deadline: Instant::now() + wait + REQUEST_TIME, ..self.call.clone() })
    }

    /// A call by the headers of a request. A time that makes no sense is none.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self::within(headers.get(GRPC_TIMEOUT).and_then(|value| grpc_timeout(value.to_str().ok()?)))
    }

    /// As a call that may watch, with whose watches it begins.
    pub(super) fn by(self, origin: Option<Arc<Origin>>) -> Self {
        Self { call: self.call.by(origin), ..self }
    }

    /// Whether the deadline is the client's.
    pub(super) fn is_hurried(&self) -> bool {
        self.hurried
    }
}

/// Reads a number with a unit (gRPC over HTTP/2, "Timeout").
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = TIMEOUT_UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(*unit)?, *size)))?;
    let fine = digits.len() <= MAX_TIMEOUT_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = digits.parse().ok().filter(|_| fine)?;
    Some(unit * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_at_most_eight_digits_and_a_unit() {
        assert_eq!(grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_hours(99_999_999)));
        for text in ["", "S", "1", "-1S", "+1S", "1.5S", "123456789n", "1s", "5\u{e9}"] {
            assert_eq!(grpc_timeout(text), None, "{text}");
        }
    }

    #[test]
    fn a_client_has_no_more_time_than_the_server_gives() {
        assert!(Ask::within(Some(Duration::from_secs(1))).is_hurried());
        let patient = Ask::within(Some(Duration::from_hours(1)));
        assert!(!patient.is_hurried());
        assert!(patient.call.deadline <= Instant::now() + REQUEST_TIME);
    }
}
