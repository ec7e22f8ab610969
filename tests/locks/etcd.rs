//! What etcd's own client writes into real etcd when it takes a lock, and that a lock taken here has the same layout: whoever
//! reads the keys of the one, reads those of the other.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use vardr::api::v1::schema::List;

use crate::support::etcd::Etcd;
use crate::support::volume::not_run;
use crate::{LIMIT, acquire, start, waiting};

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A call of etcd's own client, in its third API.
fn ctl(etcd: &Etcd, args: &[&str]) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", &etcd.url()]).args(args).stdin(Stdio::null());
    command
}

/// Takes a lock, or waits for it, until the process ends.
fn lock(etcd: &Etcd, name: &str) -> Ends {
    Ends(ctl(etcd, &["lock", name]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
}

fn keys(etcd: &Etcd, prefix: &str) -> Vec<Stored> {
    let output = ctl(etcd, &["get", prefix, "--prefix", "-w", "json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default()).unwrap();
    let text = |value: &Value| String::from_utf8(bytes(value)).unwrap();
    let keys = found["kvs"].as_array().into_iter().flatten();
    let keys = keys.map(|item| Stored {
        key: text(&item["key"]),
        value: text(&item["value"]),
        lease: item["lease"].as_u64().unwrap_or_default(),
        version: item["version"].as_u64().unwrap(),
        create_revision: item["create_revision"].as_u64().unwrap(),
        mod_revision: item["mod_revision"].as_u64().unwrap(),
    });
    keys.collect()
}

/// A key as a server stores it.
#[derive(Debug)]
struct Stored {
    key: String,
    value: String,
    lease: u64,
    version: u64,
    create_revision: u64,
    mod_revision: u64,
}

/// What a key of a lock is like, whoever took it.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// The key without the part that is its lease in hexadecimal.
    before_lease: String,
    is_named_after_its_lease: bool,
    value: String,
    version: u64,
    /// Whether the key was written as it came and never since.
    is_as_it_came: bool,
}

/// Key by key, in order of create revision, which of them is held, and what they are like.
fn layout(mut keys: Vec<Stored>, held: &str) -> (Option<usize>, Vec<Layout>) {
    keys.sort_by_key(|stored| stored.create_revision);
    let place = keys.iter().position(|stored| stored.key == held);
    let layout = |stored: Stored| {
        let (before, lease) = stored.key.rsplit_once('/').unwrap();
        Layout {
            before_lease: format!("{before}/"),
            is_named_after_its_lease: stored.lease != 0 && lease == format!("{:x}", stored.lease),
            value: stored.value,
            version: stored.version,
            is_as_it_came: stored.create_revision == stored.mod_revision,
        }
    };
    (place, keys.into_iter().map(layout).collect())
}

/// The layout that etcd's client makes: one that holds, and one that waits.
fn of_etcd(etcd: &Etcd, name: &str) -> (Option<usize>, Vec<Layout>) {
    let mut holder = lock(etcd, name);
    let mut held = String::new();
    BufReader::new(holder.0.stdout.take().unwrap()).read_line(&mut held).unwrap();
    let prefix = format!("{name}/");
    let deadline = Instant::now() + LIMIT;
    let waiter = lock(etcd, name);
    let both = loop {
        let both = keys(etcd, &prefix);
        if both.len() == 2 {
            break both;
        }
        assert!(Instant::now() < deadline, "nobody waits: {both:?}");
    };
    drop((waiter, holder));
    layout(both, held.trim_end())
}

/// The same of a lock that is taken and waited for at `/v1`.
fn of_vardr(name: &str) -> (Option<usize>, Vec<Layout>) {
    let (_server, client) = start();
    let path = name.replace('/', "%2F");
    let lock = acquire(&client, &path, "");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| acquire(&client, &path, ""));
        waiting(&client, &path, 1);
        let found: List = client.get("/v1/keys?recursive=true").expect(200).shape();
        let stored = found.items.unwrap().into_iter().map(|item| Stored {
            key: item.key.unwrap(),
            value: item.value.unwrap().as_str().unwrap().to_owned(),
            lease: u64::from_str_radix(&item.lease.unwrap(), 16).unwrap(),
            version: item.version,
            create_revision: item.create_revision,
            mod_revision: item.mod_revision,
        });
        let found = layout(stored.collect(), &format!("{name}/{}", lock.holder));
        client.delete(&format!("/v1/locks/{path}/{}", lock.holder)).expect(200);
        let next = waiter.join().unwrap();
        client.delete(&format!("/v1/locks/{path}/{}", next.holder)).expect(200);
        found
    })
}

#[test]
fn a_lock_has_the_layout_of_one_that_etcds_client_takes_in_etcd() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let etcd = Etcd::start();
    for name in ["jobs", "/app/my-lock"] {
        let theirs = of_etcd(&etcd, name);
        let place = || Layout {
            before_lease: format!("{name}/"),
            is_named_after_its_lease: true,
            value: String::new(),
            version: 1,
            is_as_it_came: true,
        };
        assert_eq!(theirs, (Some(0), vec![place(), place()]), "etcd's client does what is known of it");
        assert_eq!(of_vardr(name), theirs);
    }
}
