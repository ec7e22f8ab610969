//! `vardr elect`: a command that leads, and whoever looks on.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::Server;
use super::{Running, client, run, text};

const STAYS: &str = "echo \"$VARDR_ELECTION_NAME $VARDR_CANDIDATE $VARDR_FENCING_TOKEN\"; while :; do sleep 0.02; done";

fn elect<'a>(value: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["elect", "primary", "--value", value], more, &["--", "sh", "-c", STAYS]].concat()
}

#[test]
fn whoever_leads_is_shown_and_the_next_one_follows() {
    let server = Server::start();
    assert_eq!(run(&server, &["elect", "primary", "--show"]).status.code(), Some(3));
    let mut first = Running::start(&server, &elect("10.0.0.1", &[]));
    let printed = first.next();
    let [name, candidate, token] = printed.split(' ').collect::<Vec<_>>()[..] else { panic!("{printed}") };
    assert_eq!(name, "primary");
    assert_eq!(text(&run(&server, &["elect", "primary", "--show"]).stdout), "10.0.0.1\n");
    let shown = run(&server, &["elect", "primary", "--show", "-o", "json"]).stdout;
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    assert_eq!((&shown["candidate"], shown["fencingToken"].to_string()), (&json!(candidate), token.to_owned()));
    let output = run(&server, &elect("10.0.0.2", &["--try"]));
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("(not_elected)"), "{}", text(&output.stderr));
    let second = Running::start(&server, &elect("10.0.0.2", &[]));
    assert_eq!(first.end(), Some(143));
    second.next();
    assert_eq!(text(&run(&server, &["elect", "primary", "--show"]).stdout), "10.0.0.2\n");
}

#[test]
fn an_observer_sees_every_leader_once_across_a_restart() {
    let mut server = Server::start();
    let mut observer = Running::start(&server, &["elect", "primary", "--observe"]);
    assert!(observer.next().ends_with(" vacant"));
    let mut first = Running::start(&server, &elect("one", &["--ttl", "60s"]));
    let printed = first.next();
    let [_, candidate, token] = printed.split(' ').collect::<Vec<_>>()[..] else { panic!("{printed}") };
    assert_eq!(observer.next().trim_start(), format!("{token} leader {candidate} one"));
    server.kill();
    observer.hears("cannot be reached");
    server.restart();
    client(&server).put(&format!("/v1/elections/primary/{candidate}"), r#"{"value":"two"}"#).expect(200);
    let mut last = observer.next();
    assert!(last.ends_with(&format!(" leader {candidate} two")), "{last}");
    first.end();
    last = observer.next();
    assert!(last.ends_with(" vacant"), "{last}");
    let json = Running::start(&server, &["elect", "primary", "--observe", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&json.next()).unwrap(), json!({"name": "primary", "type": "vacant"}));
    observer.signal(Signal::TERM);
    assert!(!observer.wait().success());
}

#[test]
fn looking_on_and_standing_exclude_each_other() {
    let server = Server::start();
    for arguments in [
        &["elect", "primary"][..],
        &["elect", "primary", "--show", "--observe"],
        &["elect", "primary", "--observe", "--value", "x"],
        &["elect", "primary", "--show", "--ttl", "5s"],
        &["elect", "primary", "--show", "--", "true"],
    ] {
        assert_eq!(run(&server, arguments).status.code(), Some(2), "{arguments:?}");
    }
}
