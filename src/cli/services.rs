//! The command about services: what there is, and how it changes.

use serde_json::Value;

use super::args::Services;
use super::client::Client;
use super::exit::{Failure, Outcome};
use super::item::{names, text};
use super::list::{all, show};
use super::output::{Output, member};
use super::route::Route;
use super::watch::{Progress, Subject, follow_on};

const SERVICES: &str = "/v1/services";
const SERVICE_TITLES: [&str; 4] = ["SERVICE", "INSTANCES", "PASSING", "TAGS"];
const INSTANCE_TITLES: [&str; 6] = ["INSTANCE", "ADDRESS", "STATUS", "WEIGHT", "TTL", "TAGS"];

pub(crate) async fn services(client: &Client, out: &Output, args: &Services) -> Outcome<()> {
    if args.watch {
        // Names are checked before the first connection.
        route(args, ":watch")?;
        return follow_on(client, out, &Instances(args), Progress::new(None, true, args.limit)).await;
    }
    if args.name.is_none() && !(args.tag.is_empty() && args.status.is_empty()) {
        return Err(Failure::usage(
            "--tag and --status select instances: name the service that they are of, or --watch all",
        ));
    }
    let whole = all(client, &route(args, "")?).await?;
    let nothing = nothing(args);
    match args.name {
        Some(_) => show(out, &whole, &nothing, &INSTANCE_TITLES, instance_row),
        None => show(out, &whole, &nothing, &SERVICE_TITLES, service_row),
    }
}

/// What is said where there is nothing to show. A service is there with its instances: one that was never heard of is like one
/// that has none at the moment.
fn nothing(args: &Services) -> String {
    let selected = if args.tag.is_empty() && args.status.is_empty() { "" } else { " of this selection" };
    match &args.name {
        Some(name) => format!("there are no instances of `{name}`{selected}"),
        None => "there are no services".to_owned(),
    }
}

fn route(args: &Services, verb: &str) -> Outcome<Route> {
    let mut route = match &args.name {
        Some(name) => Route::of_name(SERVICES, name, verb)?,
        None => Route::new(format!("{SERVICES}{verb}")),
    };
    for tag in &args.tag {
        route = route.parameter("tag", tag);
    }
    for status in &args.status {
        route = route.parameter("status", status);
    }
    Ok(route)
}

fn service_row(item: &Value) -> Vec<String> {
    vec![text(item, "service"), member(item, "instances"), member(item, "passing"), tags(item)]
}

fn instance_row(item: &Value) -> Vec<String> {
    let cells = [text(item, "instance"), address(item), text(item, "status"), member(item, "weight")];
    cells.into_iter().chain([member(item, "ttl"), tags(item)]).collect()
}

/// Where an instance is, as one connects to it; for one that does not say, why not.
fn address(item: &Value) -> String {
    let (address, port) = (text(item, "address"), member(item, "port"));
    match (address.contains(':'), port.is_empty()) {
        _ if address.is_empty() => format!("({})", text(item, "invalid")),
        (_, true) => address,
        (true, false) => format!("[{address}]:{port}"),
        (false, false) => format!("{address}:{port}"),
    }
}

fn tags(item: &Value) -> String {
    let more = item.get("moreTags").is_some().then(|| "…".to_owned());
    names(item, "tags").into_iter().chain(more).collect::<Vec<_>>().join(",")
}

/// The instances of a service, or of all services, as they change.
struct Instances<'a>(&'a Services);

impl Subject for Instances<'_> {
    fn route(&self, after: Option<u64>, initial: bool) -> Route {
        let base = route(self.0, ":watch").unwrap_or_else(|_| Route::new(format!("{SERVICES}:watch")));
        base.optional("after", after.filter(|_| !initial)).parameter("onCompacted", "reset")
    }

    fn is_event(&self, kind: &str) -> bool {
        matches!(kind, "registered" | "changed" | "deregistered")
    }

    fn text(&self, out: &Output, event: &Value, kind: &str) -> String {
        let revision = event.get("modRevision").or_else(|| event.get("revision"));
        let revision = out.faint(&format!("{:>8}", revision.map(Value::to_string).unwrap_or_default()));
        let name = format!("{}/{}", text(event, "service"), text(event, "instance"));
        let what = match event.get("reason") {
            Some(_) => text(event, "reason"),
            None => format!("{} {}", address(event), text(event, "status")),
        };
        format!("{revision} {} {name} {what}", out.kind(kind))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::cli::args::{Arguments, Command};
    use crate::cli::output::Format;

    fn args(line: &[&str]) -> Services {
        match Arguments::try_parse_from(line).unwrap().command {
            Some(Command::Services(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_tag_and_status_is_a_parameter_of_its_own() {
        let args = args(&["vardr", "services", "my web", "--tag", "a&b", "--tag", "c", "--status", "passing"]);
        assert_eq!(route(&args, "").unwrap().as_str(), "/v1/services/my%20web?tag=a%26b&tag=c&status=passing");
        let resumed = Instances(&args).route(Some(7), false);
        let expected = "/v1/services/my%20web:watch?tag=a%26b&tag=c&status=passing&after=7&onCompacted=reset";
        assert_eq!(resumed.as_str(), expected);
    }

    #[test]
    fn that_there_is_nothing_is_said_of_what_was_asked_for() {
        let said = |line: &[&str]| nothing(&args(line));
        assert_eq!(said(&["vardr", "services"]), "there are no services");
        assert_eq!(said(&["vardr", "services", "web"]), "there are no instances of `web`");
        let selected = said(&["vardr", "services", "web", "--tag", "v2"]);
        assert_eq!(selected, "there are no instances of `web` of this selection");
    }

    #[test]
    fn an_instance_is_shown_as_one_connects_to_it() {
        assert_eq!(address(&json!({"address": "::1", "port": 80})), "[::1]:80");
        assert_eq!(address(&json!({"address": "web", "port": 80})), "web:80");
        assert_eq!(address(&json!({"address": "::1"})), "::1");
        assert_eq!(address(&json!({"invalid": "why"})), "(why)");
        let args = args(&["vardr", "services", "--watch"]);
        let gone =
            json!({"type": "deregistered", "service": "web", "instance": "a", "reason": "expired", "revision": 7});
        assert_eq!(
            Instances(&args).text(&Output::new(Format::Json), &gone, "deregistered"),
            "       7 deregistered web/a expired"
        );
    }
}
