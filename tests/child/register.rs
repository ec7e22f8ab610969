//! `vardr register`: an instance that is there for as long as its command runs.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::Server;
use super::{Running, client, eventually, is_alive, run};

const STAYS: &str = "echo $$; while :; do sleep 0.02; done";

fn register<'a>(more: &[&'a str], script: &'a str) -> Vec<&'a str> {
    let start = ["register", "web", "--instance", "a:1", "--address", "10.0.0.7", "--port", "8080"];
    [&start[..], more, &["--", "sh", "-c", script]].concat()
}

fn instances(server: &Server) -> Vec<Value> {
    let answer = client(server).get("/v1/services/web");
    answer.value()["items"].as_array().cloned().unwrap_or_default()
}

#[test]
fn an_instance_is_registered_while_the_command_runs() {
    let server = Server::start();
    let mut running = Running::start(&server, &register(&["--tag", "v2", "--meta", "zone=eu", "--weight", "3"], STAYS));
    running.next();
    let all = instances(&server);
    assert_eq!(all.len(), 1);
    assert_eq!(
        (&all[0]["instance"], &all[0]["address"], &all[0]["port"]),
        (&json!("a:1"), &json!("10.0.0.7"), &json!(8080))
    );
    assert_eq!(
        (&all[0]["tags"], &all[0]["meta"], &all[0]["weight"]),
        (&json!(["v2"]), &json!({"zone": "eu"}), &json!(3))
    );
    assert_eq!(running.end(), Some(143));
    assert_eq!(instances(&server), [Value::Null; 0]);
    assert_eq!(run(&server, &register(&[], "exit 9")).status.code(), Some(9));
    assert_eq!(instances(&server), [Value::Null; 0]);
    assert_eq!(run(&server, &["register", "web", "--port", "1", "--", "no-such-command"]).status.code(), Some(127));
    assert_eq!(instances(&server), [Value::Null; 0]);
    assert_eq!(run(&server, &register(&["--weight", "4000000000"], "echo ran")).status.code(), Some(2));
}

#[test]
fn nobody_finds_the_instance_once_the_command_is_told_to_end() {
    let server = Server::start();
    let look = format!("{} services web -o json --endpoint {}", env!("CARGO_BIN_EXE_vardr"), server.url());
    let script = format!("trap '{look}; exit 3' TERM; trap 'echo hup' HUP; echo ready; while :; do sleep 0.02; done");
    let mut running = Running::start(&server, &register(&[], &script));
    assert_eq!(running.next(), "ready");
    running.signal(Signal::HUP);
    assert_eq!(running.next(), "hup");
    assert_eq!(instances(&server).len(), 1, "not every signal is about the end");
    running.signal(Signal::TERM);
    let seen: Value = serde_json::from_str(&running.next()).unwrap();
    assert_eq!(seen["items"], json!([]));
    assert_eq!(running.wait().code(), Some(3));
}

#[test]
fn a_registration_that_is_lost_is_made_anew_and_the_command_goes_on() {
    let mut server = Server::start();
    let mut running = Running::start(&server, &register(&["--ttl", "1s"], STAYS));
    let pid = running.next().parse().unwrap();
    client(&server).delete("/v1/services/web/a:1").expect(200);
    running.hears("it is registered again\n");
    assert_eq!(instances(&server).len(), 1);
    server.kill();
    running.hears("no server confirmed it for 1s");
    server.restart();
    eventually("it is there again", || instances(&server).len() == 1);
    assert!(is_alive(pid));
    assert_eq!(running.end(), Some(143));
    assert_eq!(instances(&server), [Value::Null; 0]);
}
