//! Durations as people write them: `30` (seconds), `"30s"`, `"1m30s"`, `"500ms"`.

use jiff::SignedDuration;
use jiff::fmt::friendly::SpanParser;

use crate::model::Ttl;

/// What a duration looks like, for answers.
pub const EXPECTED: &str = "a duration such as 30, 30s, 1m30s or 500ms";
/// What a duration looks like, for the OpenAPI.
pub const PATTERN: &str = r"^([0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?(h|m|s|ms))+)$";

/// Reads a duration: seconds, or numbers with units (`h`, `m`, `s`, `ms`). `None` when it is not one, is negative,
/// or is shorter than a millisecond without being 0.
#[must_use]
pub fn parse(text: &str) -> Option<Ttl> {
    // The friendly format also takes signs, blanks and words ("2 hours ago").
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'.')
        || !text.starts_with(|first: char| first.is_ascii_digit())
    {
        return None;
    }
    let duration = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        SignedDuration::from_secs(text.parse().ok()?)
    } else if text.ends_with("ago") {
        return None;
    } else if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        SpanParser::new().parse_duration(text).ok()?
    } else {
        SignedDuration::try_from_secs_f64(text.parse().ok()?).ok()?
    };
    let milliseconds = u64::try_from(duration.as_millis()).ok()?;
    (milliseconds > 0 || duration.is_zero()).then_some(Ttl(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_numbers_with_units() {
        let good = [
            ("0", 0),
            ("30", 30_000),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5", 1_500),
            ("1.5s", 1_500),
            ("2h", 7_200_000),
        ];
        for (text, milliseconds) in good {
            assert_eq!(parse(text), Some(Ttl(milliseconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_duration() {
        let bad = [
            "",
            "s",
            "-1",
            "+1",
            "-30s",
            "30x",
            "1m 30s",
            "1h ago",
            "1hago",
            "NaN",
            "inf",
            "1e3",
            "30S",
            ".",
            "1..2",
            "99999999999999999999",
            "1ns",
            "1us",
            "PT30S",
            "10 seconds",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
