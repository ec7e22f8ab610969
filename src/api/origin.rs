//! Whose watches a request begins: what those are shown who list them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use http::HeaderMap;
use http::header::USER_AGENT;
use http::request::Parts;

use crate::model::limits::MAX_USER_AGENT_BYTES;
use crate::service::{Carrier, Origin};

/// Whose watches a request begins that has come on a connection; `None` where it is not known on which.
pub(super) fn origin_of(carrier: Carrier, parts: &Parts) -> Option<Arc<Origin>> {
    let ConnectInfo(address) = parts.extensions.get()?;
    Some(origin(carrier, *address, &parts.headers))
}

/// Whose watches a request with these headers begins that has come from an address.
pub(super) fn origin(carrier: Carrier, address: SocketAddr, headers: &HeaderMap) -> Arc<Origin> {
    // A member that listens for both kinds of addresses has those of IPv4 as some of IPv6.
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let user_agent = headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let user_agent = user_agent.filter(|text| !text.is_empty());
    let cut = |text: &str| text.get(..text.floor_char_boundary(MAX_USER_AGENT_BYTES)).map(Into::into);
    let user_agent = user_agent.and_then(|text| cut(&text));
    Arc::new(Origin { carrier, address, user_agent })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use http::HeaderValue;

    use super::*;

    fn of(address: &str, user_agent: Option<&[u8]>) -> Origin {
        let mut headers = HeaderMap::new();
        headers.extend(user_agent.map(|text| (USER_AGENT, HeaderValue::from_bytes(text).unwrap())));
        Arc::into_inner(origin(Carrier::Poll, address.parse().unwrap(), &headers)).unwrap()
    }

    #[test]
    fn what_a_client_says_that_it_is_is_text_within_a_bound() {
        let said = |text: &[u8]| of("10.0.0.7:1", Some(text)).user_agent.map(String::from);
        assert_eq!(said(b"curl/7.88.1").as_deref(), Some("curl/7.88.1"));
        assert_eq!(said(b"a\xffb").as_deref(), Some("a\u{fffd}b"));
        assert_eq!(said(b""), None);
        assert_eq!(of("10.0.0.7:1", None).user_agent, None);
        let long = format!("x{}", "ü".repeat(200));
        assert_eq!(
            said(long.as_bytes()).unwrap(),
            format!("x{}", "ü".repeat(99)),
            "199 bytes, and no half of a letter"
        );
    }

    #[test]
    fn an_address_of_ipv4_is_shown_as_one() {
        assert_eq!(of("[::ffff:10.0.0.7]:53", None).address.to_string(), "10.0.0.7:53");
        assert_eq!(of("[::1]:53", None).address.to_string(), "[::1]:53");
    }

    #[test]
    fn a_request_is_of_the_connection_that_is_known_of_it() {
        let (mut parts, _) = Request::new(Body::empty()).into_parts();
        assert_eq!(origin_of(Carrier::Poll, &parts), None);
        parts.extensions.insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 7], 53))));
        assert_eq!(origin_of(Carrier::Poll, &parts).unwrap().address.to_string(), "10.0.0.7:53");
    }
}
