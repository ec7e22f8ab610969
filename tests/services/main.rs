//! Service registration over real sockets: registering, keeping alive, finding, following, and the guide that shows it.

#![cfg(test)]

mod documents;
mod find;
mod follow;
mod guide;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::Server;
use support::http::{Client, Response};
use vardr::api::v1::schema::{Deleted, ProblemObject};
use vardr::api::v1::services::schema::{HeartbeatObject, InstanceObject, StatusWord};

/// How long anything awaited may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
const WEB: &str = r#"{"address":"10.0.0.7","port":8080,"tags":["v2"],"meta":{"zone":"a"},"weight":3}"#;

fn start() -> (Server, Client) {
    let server = Server::start();
    let client = Client::new(server.address());
    (server, client)
}

fn detail(response: &Response) -> String {
    response.shape::<ProblemObject>().detail
}

/// Asks until the answer has this status; gives the time that it took.
fn until_status(client: &Client, path: &str, status: u16) -> Duration {
    let begun = Instant::now();
    while client.get(path).status != status {
        assert!(begun.elapsed() < LIMIT, "{path} does not come to {status}");
        std::thread::sleep(Duration::from_millis(10));
    }
    begun.elapsed()
}

#[test]
fn an_instance_is_registered_read_registered_anew_and_deregistered() {
    let (_server, client) = start();
    let registered = client.put("/v1/services/web/a", WEB).expect(201);
    let instance: InstanceObject = registered.shape();
    assert_eq!((instance.service.as_str(), instance.instance.as_str()), ("web", "a"));
    assert_eq!((instance.address.as_deref(), instance.port, instance.weight), (Some("10.0.0.7"), Some(8080), Some(3)));
    assert_eq!((instance.status, instance.invalid), (StatusWord::Passing, None));
    let ttl = instance.ttl.unwrap();
    assert!(ttl > 14.0 && ttl <= 15.0, "{ttl}");
    assert_eq!(registered.header("etag"), Some(format!("\"{}\"", instance.mod_revision).as_str()));
    let read = client.get("/v1/services/web/a").expect(200);
    assert_eq!(read.shape::<InstanceObject>().lease, instance.lease);
    // It is an ordinary key.
    let key = client.get("/v1/keys/services/web/a").expect(200).value();
    assert_eq!((key["encoding"].as_str(), key["contentType"].as_str()), (Some("json"), Some("application/json")));
    assert_eq!(key["value"]["status"], "passing");
    let again: InstanceObject =
        client.put("/v1/services/web/a?ttl=1m", r#"{"address":"10.0.0.8"}"#).expect(200).shape();
    assert_eq!((again.create_revision, again.mod_revision), (instance.create_revision, instance.mod_revision + 1));
    assert!(again.lease != instance.lease && again.ttl.unwrap() > 59.0 && again.port.is_none(), "{again:?}");
    client.get(&format!("/v1/leases/{}", instance.lease.unwrap())).refused(404, "lease_not_found");
    let gone: Deleted = client.delete("/v1/services/web/a").expect(200).shape();
    assert_eq!((gone.deleted, gone.revision), (1, again.mod_revision + 1));
    client.get("/v1/services/web/a").refused(404, "instance_not_found");
    client.delete("/v1/services/web/a").refused(404, "instance_not_found");
    client.get(&format!("/v1/leases/{}", again.lease.unwrap())).refused(404, "lease_not_found");
}

#[test]
fn an_instance_that_does_not_beat_is_gone_within_its_time_and_one_that_does_stays() {
    let (_server, client) = start();
    client.put("/v1/services/web/quiet?ttl=2s", WEB).expect(201);
    client.put("/v1/services/web/alive?ttl=2s", WEB).expect(201);
    let begun = Instant::now();
    let revision = client.revision();
    while client.get("/v1/services/web/quiet").status == 200 {
        let beat: HeartbeatObject = client.post("/v1/services/web/alive:heartbeat", "").expect(200).shape();
        assert_eq!((beat.service.as_str(), beat.instance.as_str()), ("web", "alive"));
        assert!((beat.ttl, beat.granted_ttl) == (2.0, 2.0), "{beat:?}");
        assert!(begun.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(50));
    }
    let lived = begun.elapsed();
    assert!(lived > Duration::from_millis(1900) && lived < Duration::from_secs(3), "{lived:?}");
    assert_eq!(client.revision(), revision + 1, "heartbeats make no revision");
    client.get("/v1/services/web/alive").expect(200);
    let refused = client.post("/v1/services/web/quiet:heartbeat", "").refused(404, "instance_not_found");
    assert!(detail(&refused).contains("register it again"));
    client.post("/v1/services/web/alive:heartbeat", "{}").refused(400, "invalid_argument");
    let lived = until_status(&client, "/v1/services/web/alive", 404);
    assert!(lived < Duration::from_secs(3), "{lived:?}");
}

#[test]
fn a_heartbeat_follows_an_instance_to_its_new_lease() {
    let (_server, client) = start();
    client.put("/v1/services/web/a", WEB).expect(201);
    let writer = client.clone();
    let registering = std::thread::spawn(move || {
        for _ in 0..50 {
            writer.put("/v1/services/web/a", WEB).expect(200);
        }
    });
    while !registering.is_finished() {
        let beat = client.post("/v1/services/web/a:heartbeat", "");
        assert!(beat.status == 200 || beat.status == 503, "{}", beat.text());
    }
    registering.join().unwrap();
}

#[test]
fn a_status_changes_and_everything_else_stays() {
    let (_server, client) = start();
    let before: InstanceObject = client.put("/v1/services/web/a?ttl=1m", WEB).expect(201).shape();
    let status = |word: &str| client.put("/v1/services/web/a:status", format!("{{\"status\":\"{word}\"}}"));
    let now: InstanceObject = status("draining").expect(200).shape();
    assert_eq!((now.status, now.mod_revision), (StatusWord::Draining, before.mod_revision + 1));
    assert_eq!((&now.lease, &now.meta, &now.tags, now.weight), (&before.lease, &before.meta, &before.tags, Some(3)));
    let key = client.get("/v1/keys/services/web/a").expect(200).value();
    assert_eq!((key["contentType"].as_str(), key["version"].as_u64()), (Some("application/json"), Some(2)));
    let same: InstanceObject = status("draining").expect(200).shape();
    assert_eq!(same.mod_revision, now.mod_revision, "no change is no revision");
    for bad in ["up", "Passing", ""] {
        status(bad).refused(400, "invalid_argument");
    }
    client.put("/v1/services/web/a:status", "{}").refused(400, "invalid_argument");
    client.put("/v1/services/web/b:status", r#"{"status":"passing"}"#).refused(404, "instance_not_found");
    client.get("/v1/services/web/b").refused(404, "instance_not_found");
    let headers = [("Idempotency-Key", "once")];
    let first = client.send("PUT", "/v1/services/web/a:status", &headers, br#"{"status":"warning"}"#).expect(200);
    status("passing").expect(200);
    let again = client.send("PUT", "/v1/services/web/a:status", &headers, br#"{"status":"warning"}"#).expect(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.shape::<InstanceObject>().status, again.shape::<InstanceObject>().status);
    assert_eq!(client.get("/v1/services/web/a").expect(200).value()["status"], "passing");
}

#[test]
fn each_path_takes_its_methods_and_names_them() {
    let (_server, client) = start();
    client.put("/v1/services/web/a", WEB).expect(201);
    for (path, allowed) in [
        ("/v1/services", "GET,HEAD"),
        ("/v1/services/web", "GET,HEAD"),
        ("/v1/services/web/a", "GET,HEAD,PUT,DELETE"),
        ("/v1/services/web/a:heartbeat", "POST"),
        ("/v1/services/web/a:status", "PUT"),
    ] {
        let options = client.send("OPTIONS", path, &[], b"").expect(204);
        assert_eq!(options.header("allow"), Some(allowed), "{path}");
    }
    for (method, path) in [
        ("GET", "/v1/services/web/a:heartbeat"),
        ("PUT", "/v1/services/web/a:heartbeat"),
        ("POST", "/v1/services/web/a:status"),
        ("DELETE", "/v1/services/web/a:status"),
        ("POST", "/v1/services/web/a"),
        ("POST", "/v1/services/web"),
        ("PATCH", "/v1/services/web/a"),
    ] {
        let refused = client.send(method, path, &[], b"").refused(405, "method_not_allowed");
        assert!(refused.header("allow").is_some(), "{method} {path}");
    }
    let head = client.send("HEAD", "/v1/services/web/a", &[], b"").expect(200);
    assert!(head.body.is_empty() && head.header("etag").is_some());
    for path in
        ["/v1/services?tag=x", "/v1/services/web?tags=x", "/v1/services/web/a?ttl=5s", "/v1/services/web:watch?limit=1"]
    {
        client.get(path).refused(400, "invalid_argument");
    }
    let conditional = client.send("PUT", "/v1/services/web/a", &[("If-Match", "\"2\"")], WEB.as_bytes());
    conditional.refused(400, "invalid_argument");
    client.send("GET", "/v1/services/web", &[("If-Match", "\"2\"")], b"").refused(400, "invalid_argument");
}
