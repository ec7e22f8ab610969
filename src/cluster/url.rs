//! The URLs that a member listens on and is reached at: `http://host:port` with nothing behind it. Whatever else a text is,
//! what is wrong with it is said.

use std::fmt;

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

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = http_url(text)?;
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(address)) => address.to_string(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            None => return Err("it names no host".to_owned()),
        };
        let port = url.port().or_else(|| default_port(text)).ok_or("it names no port")?;
        Ok(Self { host, port })
    }
}

/// Port 80 where the text names it: a parsed URL does not tell that from no port at all.
fn default_port(text: &str) -> Option<u16> {
    text.trim_end_matches('/').ends_with(":80").then_some(80)
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

/// Where a member listens for the others: `http://host:port`.
///
/// # Errors
/// What is wrong with the text.
pub fn peer_listen_url(text: &str) -> Result<ListenUrl, String> {
    if text.starts_with("https:") {
        return Err("TLS between members is not available".to_owned());
    }
    let url = ListenUrl::parse(text)?;
    if url.port == 0 { Err("port 0 is not one that others can be told of".to_owned()) } else { Ok(url) }
}

/// Where a member is reached by the others: `http://host:port`, in the one form that all members compute ids from.
///
/// # Errors
/// What is wrong with the text.
pub fn peer_url(text: &str) -> Result<String, String> {
    Ok(peer_listen_url(text)?.to_string())
}

/// A URL of a host, perhaps with a port.
///
/// # Errors
/// What is wrong with the text.
pub fn http_url(text: &str) -> Result<Url, String> {
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
    bare_url(&url)?;
    Ok(url)
}

/// Where a discovery service keeps the members of one cluster: `http://host:port/path`.
///
/// # Errors
/// What is wrong with the text.
pub fn discovery_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|_| "it is not a URL".to_owned())?;
    match url.scheme() {
        "http" => {}
        "https" => return Err("TLS is not available; a Vardr without it hands out discovery URLs, too".to_owned()),
        _ => return Err("it does not begin with http://".to_owned()),
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("something stands before the host or behind the path".to_owned());
    }
    if url.path().trim_matches('/').is_empty() {
        return Err("it has no path, and so does not say which cluster it is for".to_owned());
    }
    Ok(())
}

/// Refuses a URL with more in it than scheme, host and port.
///
/// # Errors
/// What else there is.
pub fn bare_url(url: &Url) -> Result<(), String> {
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
    fn port_80_is_a_port_like_any_other() {
        assert_eq!(ListenUrl::parse("http://0.0.0.0:80").unwrap(), ListenUrl::new("0.0.0.0", 80));
        assert_eq!(ListenUrl::parse("http://[::1]:80/").unwrap().to_string(), "http://[::1]:80");
        assert!(ListenUrl::parse("http://[2001::80]").unwrap_err().contains("no port"));
    }

    #[test]
    fn a_url_of_a_peer_has_one_form_and_a_port_that_others_can_use() {
        assert_eq!(peer_url("http://LocalHost:2380/").unwrap(), "http://localhost:2380");
        assert_eq!(peer_url("http://[0:0::1]:80").unwrap(), "http://[::1]:80");
        for text in ["http://localhost", "http://localhost:0", "https://localhost:2380", "localhost:2380"] {
            assert!(peer_url(text).is_err(), "{text}");
        }
    }
}
