//! How each kind of value is written, and what is said when it is written wrongly.
//!
//! A parser answers with the value or with what is wrong with the text; the table says what is allowed.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use url::Url;

use crate::cluster::{Entry, bare_url, http_url, peer_url};
use crate::model::limits::MAX_NAME_CHARS;

/// A duration as `/v1` writes them: `30` (seconds), `30s`, `1m30s`, `500ms`, `24h`, `7d`.
///
/// # Errors
/// What is wrong with the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (part, after) = duration_part(rest)?;
        total = total.checked_add(part).ok_or("it is too long")?;
        rest = after;
    }
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(total) }
}

fn duration_part(text: &str) -> Result<(Duration, &str), String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or("a number lacks its unit")?;
    let (digits, rest) = text.split_at(unit_at);
    let number: u64 = digits.parse().map_err(|_| "it is not a duration".to_owned())?;
    let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(end);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        other => return Err(format!("`{other}` is not a unit of time")),
    };
    let part = number.checked_mul(millis).map(Duration::from_millis).ok_or("it is too long")?;
    Ok((part, after))
}

/// A duration in the form that [`duration`] reads, in its largest whole unit.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis > 0 && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

/// A duration where a plain number means milliseconds, as in etcd's raft timing flags.
pub(super) fn millis(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(millis) => Ok(Duration::from_millis(millis)),
        Err(_) => duration(text),
    }
}

/// A list: parts between commas, blanks around them dropped.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// A whole number of `min` to `max`.
pub(super) fn number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let value: u64 = text.parse().map_err(|_| "it is not a whole number".to_owned())?;
    if value < min {
        return Err(format!("it is less than {min}"));
    }
    if value > max {
        return Err(format!("it is more than {max}"));
    }
    Ok(value)
}

/// A URL that clients can use: `http://host[:port]`, nothing behind it.
pub(super) fn client_url(text: &str) -> Result<String, String> {
    let url = http_url(text)?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// One `name=http://host:port` of a list of members.
pub(super) fn cluster_entry(text: &str) -> Result<Entry, String> {
    let (name, url) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=URL"))?;
    let url = peer_url(url).map_err(|problem| format!("the URL of `{name}`, `{url}`: {problem}"))?;
    let name = word(name).map_err(|problem| format!("the name in `{text}`: {problem}"))?;
    Ok(Entry { name: name.to_owned(), url })
}

/// The same items, or which of them stands twice.
pub(super) fn without_repeats<T: fmt::Display>(items: Vec<T>) -> Result<Vec<T>, String> {
    let mut seen = BTreeSet::new();
    match items.iter().map(ToString::to_string).find(|item| !seen.insert(item.clone())) {
        Some(twice) => Err(format!("{twice} stands twice")),
        None => Ok(items),
    }
}

/// A name or token: 1 to 128 printable characters without blanks.
pub(super) fn word(text: &str) -> Result<&str, String> {
    let printable = text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if text.is_empty() || text.chars().count() > MAX_NAME_CHARS || !printable {
        return Err("it is empty, too long or not one word".to_owned());
    }
    Ok(text)
}

/// A domain of DNS. Empty: none.
pub(super) fn domain(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match url::Host::parse(text) {
        Ok(url::Host::Domain(name)) => Ok(Some(name)),
        Ok(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => Err("it is an address, not a domain".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The part of a label of DNS behind `_etcd-server-ssl-`, all of which must fit into 63 characters. Empty: none.
pub(super) fn service_suffix(text: &str) -> Result<String, String> {
    if text.len() > 46 || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err("it is not a name that DNS knows".to_owned());
    }
    Ok(text.to_owned())
}

/// An origin as browsers send it (RFC 6454, section 7), or `*`.
pub(super) fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is not a scheme of an origin", url.scheme()));
    }
    bare_url(&url)?;
    Ok(url.origin().ascii_serialization())
}

/// The name in a `Host` header, without a port, or `*`.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    if text.contains("://") {
        return Err("it is a URL, not a host name".to_owned());
    }
    match url::Host::parse(text) {
        Ok(host) => Ok(host.to_string()),
        Err(_) if text.contains(':') => Err("it carries a port; a name stands for every port".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_api_writes_them() {
        for (text, millis) in
            [("30", 30_000), ("30s", 30_000), ("1m30s", 90_000), ("500ms", 500), ("24h", 86_400_000), ("0", 0)]
        {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "s", "-1", "1x", "1.5s", "10s5", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_written_in_their_largest_whole_unit() {
        for text in ["24h", "90s", "500ms", "1500ms", "0ms"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_member_of_a_list_is_a_name_and_a_url() {
        assert_eq!(cluster_entry("n1=http://a:1").unwrap().to_string(), "n1=http://a:1");
        for (text, problem) in [
            ("http://a:1", "is not NAME=URL"),
            ("n1=a:1", "the URL of `n1`, `a:1`: it does not begin with http://"),
            ("n1=https://a:1", "TLS between members is not available"),
            ("n1=http://a", "names no port"),
            ("=http://a:1", "the name in `=http://a:1`: it is empty"),
        ] {
            let error = cluster_entry(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn a_domain_is_a_name_of_dns() {
        assert_eq!(domain("Example.org"), Ok(Some("example.org".to_owned())));
        assert_eq!(domain(""), Ok(None));
        assert!(domain("127.0.0.1").unwrap_err().contains("address"));
        assert!(domain("http://example.org").is_err());
        assert_eq!(service_suffix("blue-1").unwrap(), "blue-1");
        assert!(service_suffix("blue.1").is_err());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://App.example:8443/").unwrap(), "https://app.example:8443");
        assert_eq!(origin("*").unwrap(), "*");
        assert!(origin("app.example").is_err());
        assert!(origin("https://app.example/page").is_err());
    }

    #[test]
    fn a_host_name_has_no_scheme_and_no_port() {
        assert_eq!(host_name("Config.Example").unwrap(), "config.example");
        assert!(host_name("http://x").is_err());
        assert!(host_name("x:80").unwrap_err().contains("port"));
    }
}
