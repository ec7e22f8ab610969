//! How a cluster begins: with the commands that users of etcd know, and not with settings that contradict each other.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::MACHINE;
use crate::cluster::{Block, TOKEN, directory, flags};
use crate::member::{Member, refused};
use crate::support::http::{Client, Response};

/// How long three members that are started together may take to serve.
const START_LIMIT: Duration = Duration::from_secs(5);

/// The commands of a well-known tutorial, but for the addresses.
const COMMANDS: &str = r"
TOKEN=token-01
CLUSTER_STATE=new
CLUSTER=n1=http://127.0.0.17:2380,n2=http://127.0.0.18:2380,n3=http://127.0.0.19:2380
exec vardr --data-dir=data.etcd --name NAME \
    --initial-advertise-peer-urls http://ADDRESS:2380 --listen-peer-urls http://ADDRESS:2380 \
    --advertise-client-urls http://ADDRESS:2379 --listen-client-urls http://ADDRESS:2379 \
    --initial-cluster ${CLUSTER} \
    --initial-cluster-state ${CLUSTER_STATE} --initial-cluster-token ${TOKEN}
";

/// A shell that became a server. Killed when dropped.
struct Shell(Child);

impl Shell {
    fn run(home: &Path, name: &str, address: &str) -> Self {
        std::fs::create_dir_all(home).unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_vardr")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", &COMMANDS.replace("NAME", name).replace("ADDRESS", address)]);
        command.current_dir(home).env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.stderr(std::fs::File::create(home.join("log")).unwrap()).spawn().unwrap())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a key was written: anew, or over what an earlier try wrote without being told so in time.
pub(crate) fn is_written(answer: &Response) -> bool {
    matches!(answer.status, 200 | 201)
}

/// Looks until something is there, at most for a time.
pub(crate) fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn put(address: &str, key: &str) -> Option<Response> {
    Client::new(address).try_put(&format!("/v1/keys{key}?timeout=1s"), "dsb")
}

#[test]
fn the_three_commands_of_the_tutorial_make_a_cluster_within_five_seconds() {
    let _alone = MACHINE.blocking_write();
    let directory = directory();
    let addresses = ["127.0.0.17", "127.0.0.18", "127.0.0.19"];
    for address in addresses {
        // Another run of this test on the same machine has the same addresses.
        within(Duration::from_mins(1), address, || TcpListener::bind((address, 2379)).ok());
    }
    let began = Instant::now();
    let _members: Vec<_> = ["n1", "n2", "n3"]
        .into_iter()
        .zip(addresses)
        .map(|(name, address)| Shell::run(&directory.path().join(name), name, address))
        .collect();
    for address in addresses {
        let left = START_LIMIT.saturating_sub(began.elapsed());
        within(left, address, || put(&format!("{address}:2379"), "/q1mi").filter(is_written));
    }
    println!("three members took writes after {:?}", began.elapsed());
    for address in addresses {
        let client = Client::new(&format!("{address}:2379"));
        assert_eq!(client.get("/v1/keys/q1mi?raw=true").expect(200).text(), "dsb");
        let cluster = client.get("/v1/status").expect(200).value()["clusterId"].clone();
        // What an etcd that is started so calls itself depends on the addresses and the token alone.
        assert_eq!(cluster, Client::new("127.0.0.17:2379").get("/v1/status").value()["clusterId"]);
    }
}

/// Where the members of a cluster of three are, without a network in between.
pub(crate) struct Site {
    pub(crate) block: Block,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) urls: Vec<String>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let block = Block::claim();
        let urls = (0..3).map(|place| format!("http://{}", block.peer(place))).collect();
        Self { block, directory: directory(), urls }
    }

    fn flags(&self, place: usize, token: &str) -> Vec<String> {
        flags(place, &self.urls, token, self.block.client(place), self.block.peer(place))
    }

    /// Starts a member.
    pub(crate) fn member(&self, place: usize, token: &str) -> Member {
        let mut member = Member::new(self.directory.path().join(format!("n{place}")), self.flags(place, token));
        member.start();
        member
    }

    pub(crate) fn client(&self, place: usize) -> SocketAddr {
        self.block.client(place)
    }
}

/// The flags with another value for one of them.
fn with(flags: &[String], flag: &str, value: &str) -> Vec<String> {
    let mut flags = flags.to_vec();
    let place = flags.iter().position(|given| given == flag).unwrap();
    value.clone_into(&mut flags[place + 1]);
    flags
}

#[test]
fn settings_that_contradict_each_other_are_refused_with_the_reason() {
    let site = Site::new();
    let (good, urls) = (site.flags(0, TOKEN), &site.urls);
    let twice = format!("n0={},n0={},n2={}", urls[0], urls[1], urls[2]);
    let shared = format!("n0={0},n1={0},n2={1}", urls[0], urls[2]);
    let cases = [
        ("--name", "n7", ["--initial-cluster does not name this member", "`n7`"]),
        ("--initial-advertise-peer-urls", &urls[1], ["--initial-advertise-peer-urls is", &urls[1]]),
        ("--initial-cluster", &twice, ["a name that stands twice is one member with two URLs", &urls[1]]),
        ("--initial-cluster", &shared, ["each member needs URLs of its own", &urls[0]]),
        ("--initial-cluster-state", "old", ["it is not a state", "new or existing"]),
    ];
    for (number, (flag, value, reasons)) in cases.into_iter().enumerate() {
        let home = site.directory.path().join(number.to_string());
        let log = refused(&home, &with(&good, flag, value));
        assert!(reasons.iter().all(|reason| log.contains(reason)), "{flag} {value}: {log}");
    }
}

#[test]
fn the_data_of_one_member_is_refused_to_another_and_to_another_cluster() {
    let site = Site::new();
    let mut member = site.member(0, TOKEN);
    within(Duration::from_secs(10), "it serves", || member.log().contains("Vardr serves").then_some(()));
    member.kill();
    let home = site.directory.path().join("n0");
    let other_site = Site::new();
    for (what, flags) in [("another member", site.flags(1, TOKEN)), ("another cluster", other_site.flags(0, "else"))] {
        let log = refused(&home, &flags);
        let refusals = log.matches("belongs to member").count();
        assert!(refusals > 0 && log.contains("check --data-dir"), "{what}: {log}");
    }
}

#[test]
fn a_member_with_another_token_finds_no_cluster_and_is_none_by_itself() {
    let site = Site::new();
    let members = [site.member(0, TOKEN), site.member(1, TOKEN)];
    let stranger = site.member(2, "another");
    let address = |place: usize| site.client(place).to_string();
    within(Duration::from_secs(20), "two of three serve", || put(&address(0), "/k").filter(is_written));
    let limit = Duration::from_secs(10);
    within(limit, "it hears why", || stranger.log().contains("it belongs to cluster").then_some(()));
    within(limit, "they hear why", || members[0].log().contains("it belongs to cluster").then_some(()));
    put(&address(2), "/k").unwrap().refused(503, "no_leader");
    let read = Client::new(&address(2)).get("/v1/keys/k?timeout=1s");
    assert_eq!((read.status, read.code().as_str()), (503, "no_leader"));
    let leader = Client::new(&address(2)).get("/v1/status").value()["leader"].clone();
    assert!(leader.is_null(), "it follows {leader}");
    put(&address(1), "/k").unwrap().expect(200);
}

#[test]
fn a_member_that_the_cluster_does_not_know_or_whose_data_is_gone_cannot_join_and_hears_what_to_do() {
    let site = Site::new();
    let mut members: Vec<_> = (0..3).map(|place| site.member(place, TOKEN)).collect();
    let address = site.client(0).to_string();
    let limit = Duration::from_secs(20);
    within(limit, "it serves", || put(&address, "/k").filter(is_written));
    within(limit, "all are known", || {
        let cluster = Client::new(&address).get("/v1/cluster").value();
        cluster["members"].as_array()?.iter().all(|member| member["name"] != "").then_some(())
    });

    let mut urls = site.urls.clone();
    urls.push(format!("http://{}", site.block.peer(3)));
    let new = with(&flags(3, &urls, TOKEN, site.client(3), site.block.peer(3)), "--initial-cluster-state", "existing");
    let log = refused(&site.directory.path().join("n3"), &new);
    assert!(log.contains(&format!("`vardr member add NAME --peer-urls {}`", urls[3])), "{log}");

    members[2].kill();
    let log = refused(
        &site.directory.path().join("emptied"),
        &with(&site.flags(2, TOKEN), "--initial-cluster-state", "existing"),
    );
    assert!(log.contains("it had data that is gone") && log.contains("`vardr member remove "), "{log}");
}
