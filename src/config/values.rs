//! How each kind of value is written, and what is said when it is written wrongly.
//!
//! A parser answers with the value or with what is wrong with the text; the table says what is allowed.

use std::fmt;
use std::time::Duration;

use url::Url;

/// Where to listen: `http://host:port`. The host is an address or a name that is looked up when binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenUrl {
    host: String,
    port: u16,
}

impl ListenUrl {
    /// Listens on `host` (an IPv6 address without brackets) and `port`; port 0 lets the kernel pick one.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The host: a name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 lets the kernel pick one.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url = http_url(text)?;
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(address)) => address.to_string(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            None => return Err("it names no host".to_owned()),
        };
        let port = url.port().ok_or("it names no port")?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "http://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "http://{}:{}", self.host, self.port)
        }
    }
}

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

/// An origin as browsers send it (RFC 6454, section 7), or `*`.
pub(super) fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is not a scheme of an origin", url.scheme()));
    }
    bare(&url)?;
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

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => "it is not a URL".to_owned(),
        other => other.to_string(),
    })?;
    match url.scheme() {
        "http" => {}
        "https" => return Err("TLS is not available; put a proxy that ends TLS in front".to_owned()),
        "unix" | "unixs" => return Err("sockets of the file system are not available".to_owned()),
        // `localhost:2379` parses as the scheme `localhost`.
        _ => return Err("it does not begin with http://".to_owned()),
    }
    bare(&url)?;
    Ok(url)
}

fn bare(url: &Url) -> Result<(), String> {
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it carries a user or a password".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("something stands behind the host and port".to_owned());
    }
    Ok(())
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
    fn a_listen_url_names_host_and_port_and_nothing_else() {
        assert_eq!(ListenUrl::parse("http://0.0.0.0:2379").unwrap(), ListenUrl::new("0.0.0.0", 2379));
        assert_eq!(ListenUrl::parse("http://[::1]:2379/").unwrap().to_string(), "http://[::1]:2379");
        assert_eq!(ListenUrl::parse("http://localhost:0").unwrap().port(), 0);
        for text in [
            "",
            "localhost:2379",
            "http://localhost",
            "https://localhost:2379",
            "unix://x:1",
            "http://u:p@localhost:2379",
            "http://localhost:2379/x",
            "http://localhost:99999",
        ] {
            assert!(ListenUrl::parse(text).is_err(), "{text}");
        }
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
