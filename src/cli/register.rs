//! `vardr register`: an instance of a service that is registered while a command runs.
//!
//! The command matters more than the registration: it runs whatever becomes of that, which is made anew when it is lost.

use std::time::Duration;

use http::Method;
use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::args::Register;
use super::child::{Child, Signals, ended_by};
use super::client::{Client, Request};
use super::exit::Outcome;
use super::hold::Hold;
use super::route::Route;
use crate::config::duration_text;

const SERVICES: &str = "/v1/services";
/// The pause before a registration that was lost is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a signal to end is held back for the sake of deregistering.
const FAREWELL: Duration = Duration::from_secs(3);

pub(crate) async fn register(client: &Client, args: &Register) -> Outcome<()> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let instance = args.instance.clone().unwrap_or_else(|| format!("{host}:{}", args.port));
    let service = Route::of_name(SERVICES, &args.service, "")?;
    let route = |verb| Route::of_name(service.as_str(), &instance, verb);
    let body = document(args, &host).to_string();
    let registration = || {
        let route = route("")?.parameter("ttl", duration_text(args.ttl));
        Ok(Request::json(Method::PUT, route, body.clone()))
    };
    let mut signals = Signals::new()?;
    let since = Instant::now();
    let request = registration()?;
    tokio::select! {
        biased;
        registered = client.send(&request) => registered?,
        signal = signals.next() => return Err(ended_by(signal)),
    };
    let what = format!("the instance `{instance}` of `{}`", args.service);
    let mut hold = Hold::new(client, what, [route(":heartbeat")?, route("")?], args.ttl, since);
    let mut child = match Child::spawn(&args.command, [], args.grace.kill_after) {
        Ok(child) => child,
        Err(failure) => {
            hold.give_back().await;
            return Err(failure);
        }
    };
    // These tell us of an end in time to deregister before the command hears of it by the others.
    let mut farewell = Signals::new()?;
    let ended = loop {
        let told = tokio::select! {
            biased;
            signal = farewell.next() => signal,
            ended = child.run(&mut signals) => break ended,
            () = stay_registered(&mut hold, client, &registration) => continue,
        };
        if matches!(told, Signal::TERM | Signal::INT | Signal::QUIT) {
            if timeout(FAREWELL, hold.give_back()).await.is_ok() {
                return child.run(&mut signals).await?.outcome();
            }
            break child.run(&mut signals).await;
        }
    };
    hold.give_back().await;
    ended?.outcome()
}

/// Keeps the instance registered until that is lost, and registers it anew.
async fn stay_registered(hold: &mut Hold<'_>, client: &Client, registration: &impl Fn() -> Outcome<Request>) {
    let lost = hold.keep().await;
    eprintln!("vardr: {lost}; it is registered again as soon as can be");
    loop {
        let since = Instant::now();
        // Each time a request of its own: an earlier one may have been carried out, and its instance be gone again.
        let registered = match registration() {
            Ok(request) => client.send(&request).await,
            Err(failure) => Err(failure),
        };
        if registered.is_ok() {
            hold.begin_anew(since);
            eprintln!("vardr: it is registered again");
            return;
        }
        sleep(PAUSE).await;
    }
}

/// What the instance says of itself.
fn document(args: &Register, host: &str) -> Value {
    let meta: Map<String, Value> =
        args.meta.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let address = args.address.as_deref().unwrap_or(host);
    let mut document = json!({"address": address, "port": args.port, "tags": args.tag, "meta": meta});
    if let (Some(members), Some(weight)) = (document.as_object_mut(), args.weight) {
        members.insert("weight".to_owned(), weight.into());
    }
    document
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Arguments, Command};

    fn args(line: &str) -> Register {
        match Arguments::try_parse_from(line.split(' ')).unwrap().command {
            Some(Command::Register(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_instance_says_what_it_was_told_and_where_it_is() {
        let little = document(&args("vardr register web --port 80 -- x"), "host-1");
        assert_eq!(little, json!({"address": "host-1", "port": 80, "tags": [], "meta": {}}));
        let line = "vardr register web --port 80 --address a --tag v2 --tag x --meta zone=eu=1 --weight 0 -- x";
        let much = document(&args(line), "host-1");
        let expected = json!({"address": "a", "port": 80, "tags": ["v2", "x"], "meta": {"zone": "eu=1"}, "weight": 0});
        assert_eq!(much, expected);
        assert!(Arguments::try_parse_from("vardr register web --port 80 --meta zone -- x".split(' ')).is_err());
    }
}
