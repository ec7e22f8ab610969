//! Two of three members are gone for good: `vardr recover` goes on from the third, or from a snapshot, as a new cluster.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use vardr::model::{Command as Change, LogEntry, Payload};

use crate::MACHINE;
use crate::cluster::{Cluster, Shape, TOKEN, flags};
use crate::load::{self, Load};
use crate::member::Member;
use crate::record::{Act, Outcome};
use crate::starting::{Site, is_written, within};
use crate::support::http::Client;
use crate::support::{Server, vardr};

const LIMIT: Duration = Duration::from_secs(30);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs `vardr recover` for a program, which must succeed.
fn recover(from: &Path, to: &Path, more: &[&str]) -> Value {
    let output = vardr(&[&["recover", text(from), "--data-dir", text(to), "-o", "json"], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Starts the member in the way that the recovery says.
fn start(recovered: &Value) -> Server {
    let words: Vec<_> = recovered["start"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let ["vardr", "--data-dir", data_dir, flags @ ..] = &words[..] else { panic!("{words:?}") };
    Server::try_start_in(Path::new(data_dir), flags).unwrap_or_else(|log| panic!("{log}"))
}

/// Every file below a directory, with what is in it.
fn bytes(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut bytes(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

async fn write(cluster: &Cluster, place: usize, key: String, value: String) -> u64 {
    let written = load::perform(&load::client(), Act::Put { key, value }, 0, &cluster.url(place)).await;
    let Outcome::Written { revision, .. } = written.outcome else { panic!("{written:?}\n{}", cluster.logs()) };
    revision
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_survivor_of_three_goes_on_alone_with_all_that_it_has() {
    let _shared = MACHINE.read().await;
    let mut cluster = Cluster::start(Shape::default()).await;
    let leader = cluster.leader().await;
    let mut end = 0;
    for number in 0..50 {
        end = write(&cluster, leader, format!("/k/{number}"), format!("v{number}")).await;
    }
    cluster.must_agree_at(end).await;
    let survivor = cluster.others(leader)[0];
    let hash = Client::new(&cluster.address(survivor).to_string())
        .get("/v1/maintenance/hash?consistency=serializable")
        .expect(200)
        .value();
    let old = cluster.members[survivor].data_dir();
    let new = old.with_file_name("new");
    let running = vardr(&["recover", text(&old), "--data-dir", text(&new)]);
    let message = String::from_utf8_lossy(&running.stderr).into_owned();
    assert!(running.status.code() == Some(1) && message.contains("a member runs on"), "{message}");
    cluster.members.iter_mut().for_each(Member::kill);
    for place in cluster.others(survivor) {
        fs::remove_dir_all(cluster.members[place].data_dir()).unwrap();
    }

    let before = bytes(&old);
    let recovered = recover(&old, &new, &[]);
    assert!(bytes(&old) == before, "the survivor has changed");
    assert_eq!(recovered["made"]["revision"], json!(end));
    assert_eq!(recovered["found"]["members"].as_array().unwrap().len(), 3);
    assert_ne!(recovered["found"]["clusterId"], recovered["made"]["clusterId"]);
    let server = start(&recovered);
    let client = Client::new(server.address());
    assert_eq!(client.get("/v1/maintenance/hash").expect(200).value()["hash"], hash["hash"]);
    for number in 0..50 {
        assert_eq!(client.get(&format!("/v1/keys/k/{number}?raw=true")).expect(200).text(), format!("v{number}"));
    }
    assert_eq!(client.get("/v1/cluster").value()["members"].as_array().unwrap().len(), 1);
    assert_eq!(client.put("/v1/keys/more", "x").expect(201).value()["modRevision"], json!(end + 1));
    let again = vardr(&["recover", text(&old), "--data-dir", text(&new)]);
    let message = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.code() == Some(1) && message.contains("is not empty"), "{message}");
}

/// The writes in a log that put a value, by key.
fn puts(entries: &[LogEntry]) -> BTreeMap<String, String> {
    let payloads = entries.iter().filter_map(|entry| Payload::decode(&entry.data).ok());
    let puts = payloads.flat_map(|payload| payload.proposals).filter_map(|proposal| match proposal.command {
        Change::Put { put, .. } => Some((put.key.to_string(), String::from_utf8(put.value?.to_vec()).unwrap())),
        _ => None,
    });
    puts.collect()
}

/// What was acknowledged is on a majority, which a survivor need not be part of: it can be held only to its own log.
#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_in_the_log_of_a_follower_killed_at_work_is_there_after_a_recovery() {
    let _shared = MACHINE.read().await;
    let mut cluster = Cluster::start(Shape::default()).await;
    let leader = cluster.leader().await;
    let load = Load::start(&cluster.urls(), 5);
    load.flowing().await;
    let survivor = cluster.others(leader)[0];
    cluster.members[survivor].kill();
    cluster.members.iter_mut().for_each(Member::kill);
    let record = load.finish().await;
    let old = cluster.members[survivor].data_dir();
    let logged = puts(&vardr::wal::read(&old.join("wal")).unwrap().0.entries);
    for place in cluster.others(survivor) {
        fs::remove_dir_all(cluster.members[place].data_dir()).unwrap();
    }

    let before = bytes(&old);
    let recovered = recover(&old, &old.with_file_name("new"), &[]);
    assert!(bytes(&old) == before, "the survivor has changed");
    println!("recovered from a log with {} entries behind the store", recovered["found"]["entriesBehind"]);
    let server = start(&recovered);
    let client = Client::new(server.address());
    let mut held = 0;
    for operation in record {
        let (Act::Put { key, value }, Outcome::Written { revision, .. }) = (operation.act, operation.outcome) else {
            continue;
        };
        // The other keys are written more than once, and only the last value is there to be read.
        if key.starts_with("/own/") && logged.get(&key) == Some(&value) {
            let read = client.get(&format!("/v1/keys{key}")).expect(200).value();
            assert_eq!((&read["value"], &read["modRevision"]), (&json!(value), &json!(revision)), "{key}");
            held += 1;
        }
    }
    assert!(held > 10, "only {held} acknowledged writes are in the survivor's log");
    client.put("/v1/keys/more", "x").expect(201);
}

/// A cluster of three with something in it, and the revision of that.
fn begun(site: &Site) -> (Vec<Member>, u64) {
    let members: Vec<_> = (0..3).map(|place| site.member(place, TOKEN)).collect();
    let client = Client::new(&site.client(0).to_string());
    let put = |key: &str, value: &str| {
        within(LIMIT, "it takes writes", || {
            client.try_put(&format!("/v1/keys{key}?timeout=1s"), value).filter(is_written)
        })
    };
    for number in 0..20 {
        put(&format!("/k/{number}"), "v");
    }
    let revision = put("/last", "of all").value()["modRevision"].as_u64().unwrap();
    (members, revision)
}

#[test]
fn a_snapshot_goes_on_as_a_new_cluster_of_one() {
    let _shared = MACHINE.blocking_read();
    let site = Site::new();
    let (mut members, revision) = begun(&site);
    let file = site.directory.path().join("vardr.snapshot");
    let endpoint = format!("http://{}", site.client(0));
    let saved = vardr(&["snapshot", "save", text(&file), "--endpoint", &endpoint]);
    assert!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));
    for member in &mut members {
        member.kill();
        fs::remove_dir_all(member.data_dir()).unwrap();
    }
    let recovered = recover(&file, &site.directory.path().join("new"), &[]);
    assert_eq!((&recovered["found"]["kind"], &recovered["made"]["revision"]), (&json!("snapshot"), &json!(revision)));
    let server = start(&recovered);
    let client = Client::new(server.address());
    assert_eq!(client.get("/v1/keys/last?raw=true").expect(200).text(), "of all");
    assert_eq!(client.put("/v1/keys/more", "x").expect(201).value()["modRevision"], json!(revision + 1));

    let told = vardr(&["recover", text(&file), "--data-dir", text(&site.directory.path().join("told"))]);
    let told = String::from_utf8(told.stdout).unwrap();
    for part in ["found", "members", "made", "Next, start it", "vardr --data-dir", "It is alone", "Do not start"] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }

    let damaged = site.directory.path().join("damaged");
    let whole = fs::read(&file).unwrap();
    fs::write(&damaged, &whole[..whole.len() - 1]).unwrap();
    let nowhere = site.directory.path().join("nowhere");
    let refused = vardr(&["recover", text(&damaged), "--data-dir", text(&nowhere)]);
    assert!(refused.status.code() == Some(1) && !nowhere.exists(), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[test]
fn three_members_go_on_from_one_survivor_under_another_token_and_not_under_the_same() {
    let _shared = MACHINE.blocking_read();
    let site = Site::new();
    let (mut members, revision) = begun(&site);
    members.iter_mut().for_each(Member::kill);
    let survivor = members[0].data_dir();
    let list: Vec<_> = site.urls.iter().enumerate().map(|(place, url)| format!("n{place}={url}")).collect();
    let list = list.join(",");
    let home = |place: usize| site.directory.path().join(format!("again-{place}"));
    let given = |place: usize, token: &str| -> Vec<String> {
        let pairs = [
            ("--name", format!("n{place}")),
            ("--initial-cluster", list.clone()),
            ("--initial-advertise-peer-urls", site.urls[place].clone()),
            ("--initial-cluster-token", token.to_owned()),
        ];
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    };
    let same = given(0, TOKEN);
    let same: Vec<_> = same.iter().map(String::as_str).collect();
    let new = home(0).join("data");
    let refused = vardr(&[&["recover", text(&survivor), "--data-dir", text(&new)], &same[..]].concat());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    let hint = format!("--initial-cluster-token {TOKEN}-recovered");
    assert!(message.contains(&hint) && !new.exists(), "{message}");

    let token = format!("{TOKEN}-recovered");
    let mut again = Vec::new();
    for place in 0..3 {
        let given = given(place, &token);
        let given: Vec<_> = given.iter().map(String::as_str).collect();
        let made = recover(&survivor, &home(place).join("data"), &given);
        assert_eq!(made["made"]["revision"], json!(revision));
        let flags = flags(place, &site.urls, &token, site.client(place), site.block.peer(place));
        again.push(Member::new(home(place), flags));
    }
    again.iter_mut().for_each(Member::start);
    for place in 0..3 {
        let client = Client::new(&site.client(place).to_string());
        within(LIMIT, "each of the three takes writes", || {
            client.try_put(&format!("/v1/keys/after/{place}?timeout=1s"), "x").filter(is_written)
        });
        assert_eq!(client.get("/v1/keys/last?raw=true").expect(200).text(), "of all");
        assert_eq!(client.get("/v1/cluster").value()["members"].as_array().unwrap().len(), 3);
    }
}
