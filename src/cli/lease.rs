//! The commands on leases.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::args::LeaseCommand;
use super::client::{Client, Request};
use super::exit::{Exit, Failure, Outcome};
use super::item;
use super::output::{Output, member, table};
use super::route::Route;
use crate::config::duration_text;

/// Where leases are.
pub(crate) const LEASES: &str = "/v1/leases";
/// The shortest pause between renewals.
const MIN_PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn lease(client: &Client, out: &Output, command: LeaseCommand) -> Outcome<()> {
    match command {
        LeaseCommand::Grant { ttl, id, .. } => grant(client, out, ttl, id).await,
        LeaseCommand::Keepalive { id, once, .. } => keepalive(client, out, &id, once).await,
        LeaseCommand::Get { id, .. } => get(client, out, &id).await,
        LeaseCommand::List { .. } => list(client, out).await,
        LeaseCommand::Revoke { id, .. } => revoke(client, out, &id).await,
    }
}

fn route(id: &str, verb: &str) -> Outcome<Route> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::usage(format!("`{id}` is not the id of a lease, which is hexadecimal")));
    }
    Ok(Route::new(format!("{LEASES}/{}{verb}", id.to_ascii_lowercase())))
}

async fn grant(client: &Client, out: &Output, ttl: Duration, id: Option<String>) -> Outcome<()> {
    let mut body = json!({"ttl": duration_text(ttl)});
    if let (Some(id), Some(body)) = (id, body.as_object_mut()) {
        body.insert("id".to_owned(), id.into());
    }
    let request = Request::json(Method::POST, Route::new(LEASES), body.to_string());
    let answer = client.send(&request).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    // The id alone, so that a script can take it as it is.
    out.line(member(&item::read(&answer.body)?, "id"))
}

async fn keepalive(client: &Client, out: &Output, id: &str, once: bool) -> Outcome<()> {
    loop {
        let renewal = async {
            let request = Request::write(Method::POST, route(id, ":keepalive")?, Bytes::new());
            client.send(&request).await
        };
        let pause = match renewal.await {
            Ok(answer) => {
                let object: Value = item::read(&answer.body)?;
                let seconds = object.get("ttl").and_then(Value::as_f64).unwrap_or(0.0);
                if out.is_json() {
                    out.line(&answer.body)?;
                } else {
                    out.line(format!("{id} lives for {seconds} s"))?;
                }
                Duration::try_from_secs_f64(seconds / 3.0).unwrap_or(MIN_PAUSE)
            }
            // The lease may well live on: try again until the server says that it is gone.
            Err(failure) if !once && matches!(failure.exit(), Exit::Unavailable | Exit::Unknown) => {
                eprintln!("vardr: {failure}");
                MIN_PAUSE * 5
            }
            Err(failure) => return Err(failure),
        };
        if once {
            return Ok(());
        }
        tokio::time::sleep(pause.max(MIN_PAUSE)).await;
    }
}

async fn get(client: &Client, out: &Output, id: &str) -> Outcome<()> {
    let answer = client.send(&Request::get(route(id, "")?)).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    let object: Value = item::read(&answer.body)?;
    out.line(format!("{id} lives for {} s of {} s", member(&object, "ttl"), member(&object, "grantedTtl")))?;
    for key in item::names(&object, "keys") {
        out.line(key)?;
    }
    Ok(())
}

async fn list(client: &Client, out: &Output) -> Outcome<()> {
    let answer = client.send(&Request::get(Route::new(LEASES))).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    let object: Value = item::read(&answer.body)?;
    let leases = object.get("items").and_then(Value::as_array).into_iter().flatten();
    let rows: Vec<_> = leases
        .map(|lease| {
            vec![member(lease, "id"), format!("{} s of {} s", member(lease, "ttl"), member(lease, "grantedTtl"))]
        })
        .collect();
    out.bytes(table(&rows).as_bytes())
}

async fn revoke(client: &Client, out: &Output, id: &str) -> Outcome<()> {
    let answer = client.send(&Request::write(Method::DELETE, route(id, "")?, Bytes::new())).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    out.line(format!("revoked {id}, deleted {}", member(&item::read(&answer.body)?, "deleted")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_not_hexadecimal_never_reaches_a_path() {
        assert_eq!(route("694D8a", ":keepalive").unwrap().as_str(), "/v1/leases/694d8a:keepalive");
        for id in ["", "x", "../keys", "1/2"] {
            assert_eq!(route(id, "").unwrap_err().exit(), Exit::Usage, "{id}");
        }
    }
}
