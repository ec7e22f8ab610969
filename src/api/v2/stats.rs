//! `/v2/stats/self`, `/v2/stats/leader`, `/v2/stats/store` and `/v2/machines`: how the answering member is, how the others follow
//! it, what was asked of it, and where clients reach the members, as etcd tells it.
//!
//! Rates are left out, as etcd leaves them out while there is no traffic.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use jiff::Timestamp;

use super::{json, message, method_not_allowed, typed_json};
use crate::api::State;
use crate::node::Sent;
use crate::service::{ByKind, NodeCounts, Tally};

const SELF: &str = "/v2/stats/self";
const LEADER: &str = "/v2/stats/leader";
const STORE: &str = "/v2/stats/store";
const MACHINES: &str = "/v2/machines";

/// What the shortest time is in etcd's statistics while there is none.
const NO_TIME_MS: &str = "9223372036854775808";
/// A time that was never set, and how long that is ago at most, as Go writes them.
const NEVER: (&str, &str) = ("0001-01-01T00:00:00Z", "2562047h47m16.854775807s");

/// Answers a request for one of these paths, which have nothing below them; `None` for any other.
pub(super) fn answer(api: &State, parts: &Parts, path: &[u8]) -> Option<(&'static str, Response)> {
    let (pattern, allowed): (&str, &str) = match path {
        path if path == SELF.as_bytes() => (SELF, "GET"),
        path if path == LEADER.as_bytes() => (LEADER, "GET"),
        path if path == STORE.as_bytes() => (STORE, "GET"),
        path if path == MACHINES.as_bytes() => (MACHINES, "GET,HEAD"),
        _ => return None,
    };
    let is_allowed = parts.method == Method::GET || (parts.method == Method::HEAD && pattern == MACHINES);
    let response = match pattern {
        _ if !is_allowed => method_not_allowed(allowed),
        SELF => own(api),
        LEADER => followers(api),
        STORE => store(&api.service().node_counts()),
        _ => machines(api),
    };
    Some((pattern, response))
}

/// How this member is.
fn own(api: &State) -> Response {
    let service = api.service();
    let (status, traffic) = (service.status(), service.traffic());
    let now = SystemTime::now();
    let state = if status.leader == Some(status.member) { "StateLeader" } else { "StateFollower" };
    let mut out = b"{\"name\":".to_vec();
    json::string(&mut out, status.name.as_bytes());
    let started = time(now - status.uptime);
    let leader = status.leader.map(|id| id.to_string()).unwrap_or_default();
    let (since, uptime) = match traffic.leader_since {
        Some(since) => (time(since), duration(now.duration_since(since).unwrap_or_default())),
        None => (NEVER.0.to_owned(), NEVER.1.to_owned()),
    };
    let sent: u64 = traffic.sent.values().map(|sent| sent.delivered).sum();
    out.extend_from_slice(
        format!(
            ",\"id\":\"{}\",\"state\":\"{state}\",\"startTime\":\"{started}\",\
             \"leaderInfo\":{{\"leader\":\"{leader}\",\"uptime\":\"{uptime}\",\"startTime\":\"{since}\"}},\
             \"recvAppendRequestCnt\":{},\"sendAppendRequestCnt\":{sent}}}",
            status.member, traffic.received
        )
        .as_bytes(),
    );
    typed_json(StatusCode::OK, out)
}

/// How the others follow; only the leader knows.
fn followers(api: &State) -> Response {
    let service = api.service();
    let own = service.header().member;
    let cluster = service.cluster_at_hand();
    if cluster.leader != Some(own) {
        return message(StatusCode::FORBIDDEN, "not current leader");
    }
    let traffic = service.traffic();
    let mut out = format!("{{\"leader\":\"{own}\",\"followers\":{{").into_bytes();
    // In order of their names, as Go writes a map.
    let mut others: Vec<_> = cluster.members.iter().filter(|member| member.id != own).collect();
    others.sort_by_key(|member| member.id.to_string());
    for (number, member) in others.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        let sent = traffic.sent.get(&member.id).copied().unwrap_or_default();
        out.extend_from_slice(format!("\"{}\":{}", member.id, follower(&sent)).as_bytes());
    }
    out.extend_from_slice(b"}}");
    typed_json(StatusCode::OK, out)
}

fn follower(sent: &Sent) -> String {
    format!(
        "{{\"latency\":{{\"current\":{},\"average\":{},\"standardDeviation\":{},\"minimum\":{},\"maximum\":{}}},\
         \"counts\":{{\"fail\":{},\"success\":{}}}}}",
        sent.latest_ms,
        sent.average_ms,
        sent.deviation_ms(),
        sent.shortest_ms.map_or_else(|| NO_TIME_MS.to_owned(), |ms| ms.to_string()),
        sent.longest_ms,
        sent.failed,
        sent.delivered
    )
}

/// What came of requests to `/v2/keys`.
fn store(counts: &NodeCounts) -> Response {
    let NodeCounts { requests, expired, watchers } = *counts;
    let ByKind { gets, sets, creates, updates, swaps, deletes, compared_deletes } = requests;
    let kinds = [
        ("gets", gets),
        ("sets", sets),
        ("delete", deletes),
        ("update", updates),
        ("create", creates),
        ("compareAndSwap", swaps),
        ("compareAndDelete", compared_deletes),
    ];
    let mut out = String::from("{");
    for (name, Tally { success, failure }) in kinds {
        let _infallible = write!(out, "\"{name}Success\":{success},\"{name}Fail\":{failure},");
    }
    let _infallible = write!(out, "\"expireCount\":{expired},\"watchers\":{watchers}}}");
    typed_json(StatusCode::OK, out.into_bytes())
}

/// Where clients reach the members.
fn machines(api: &State) -> Response {
    let cluster = api.service().cluster_at_hand();
    let mut urls: Vec<_> = cluster.members.iter().flat_map(|member| member.client_urls.clone()).collect();
    urls.sort();
    let mut response = Response::new(Body::from(urls.join(", ")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// RFC 3339 with as many digits as there are.
fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| NEVER.0.to_owned(), |time| time.to_string())
}

/// A duration as Go writes it: `1h2m3.5s`, `135.5ms`, `0s`.
fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let decimal = |whole: u128, digits: usize, unit: &str| {
        let scale = 10_u128.pow(u32::try_from(digits).unwrap_or(0));
        let fraction = format!("{:0digits$}", whole % scale);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{}{point}{fraction}{unit}", whole / scale)
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => decimal(nanos, 3, "µs"),
        1_000_000..1_000_000_000 => decimal(nanos, 6, "ms"),
        _ => {
            let minutes = duration.as_secs() / 60;
            let seconds = decimal(nanos - u128::from(minutes) * 60_000_000_000, 9, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (nanos, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (135_538_885, "135.538885ms"),
            (1_000_000_000, "1s"),
            (1_319_509_560_010, "21m59.50956001s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), expected);
        }
    }

    #[test]
    fn one_that_was_sent_nothing_is_shown_as_go_shows_it() {
        assert_eq!(
            follower(&Sent::default()),
            "{\"latency\":{\"current\":0,\"average\":0,\"standardDeviation\":0,\"minimum\":9223372036854775808,\
             \"maximum\":0},\"counts\":{\"fail\":0,\"success\":0}}"
        );
    }
}
