//! Members that come, go and move while the cluster runs, by the commands that an operator types.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Block, TOKEN, directory, flags};
use crate::member::{Member, refused};
use crate::support::http::Client;

/// How long the cluster may take to do what it was asked.
const LIMIT: Duration = Duration::from_secs(30);

/// Members by number, without a network in between that could be broken.
struct Site {
    block: Block,
    directory: tempfile::TempDir,
    members: Vec<Member>,
}

impl Site {
    /// Room for members.
    fn new() -> Self {
        Self { block: Block::claim(), directory: directory(), members: Vec::new() }
    }

    /// A cluster that begins with so many members.
    fn begin(count: usize) -> Self {
        let mut site = Self::new();
        let urls: Vec<_> = (0..count).map(|place| site.peer(place)).collect();
        for place in 0..count {
            let mut flags = flags(place, &urls, TOKEN, site.block.client(place), site.block.peer(place));
            flags.extend(patience());
            let home = site.directory.path().join(format!("n{place}"));
            site.members.push(Member::new(home, flags));
        }
        site.members.iter_mut().for_each(Member::start);
        (0..count).for_each(|place| site.serves(place));
        within("all names are known", || {
            let cluster: Value = site.client(0).get("/v1/cluster").expect(200).value();
            cluster["members"].as_array()?.iter().all(|member| member["name"] != "").then_some(())
        });
        site
    }

    fn peer(&self, place: usize) -> String {
        format!("http://{}", self.block.peer(place))
    }

    fn client(&self, place: usize) -> Client {
        Client::new(&self.block.client(place).to_string())
    }

    /// Waits until a write through this member is carried out.
    fn serves(&self, place: usize) {
        let path = format!("/v1/keys/serves/{place}?timeout=2s");
        within("it takes writes", || self.client(place).try_put(&path, "yes").filter(|it| it.status < 300));
    }

    /// Runs a command of the command line against one member.
    fn try_run(&self, at: usize, arguments: &[&str]) -> Output {
        let endpoint = format!("http://{}", self.block.client(at));
        let mut command = Command::new(env!("CARGO_BIN_EXE_vardr"));
        command.args(arguments).args(["--endpoint", &endpoint, "--timeout", "20s"]).output().unwrap()
    }

    fn run(&self, at: usize, arguments: &[&str]) -> String {
        let output = self.try_run(at, arguments);
        let (said, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {error}{said}");
        said
    }

    fn id(&self, at: usize, name: &str) -> String {
        let cluster: Value = self.client(at).get("/v1/cluster").expect(200).value();
        let members = cluster["members"].as_array().unwrap();
        let found = members.iter().find(|member| member["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {cluster}"))["id"].as_str().unwrap().to_owned()
    }

    /// Adds the next member and starts it as the answer says.
    fn grow(&mut self, at: usize) -> usize {
        let place = self.members.len();
        let (name, peer) = (format!("n{place}"), self.peer(place));
        let said = self.run(at, &["member", "add", &name, "--peer-urls", &peer]);
        let home = self.directory.path().join(&name);
        let flags = told(&said, &self.block.client(place).to_string());
        let mut member = Member::new(home, flags.into_iter().chain(patience()).collect());
        member.start();
        self.members.push(member);
        place
    }

    fn promote(&self, at: usize, place: usize) {
        self.run(at, &["member", "promote", &format!("n{place}"), "--wait", "30s"]);
    }

    /// The place of the member that leads.
    fn leader(&self, at: usize) -> usize {
        within("somebody leads", || {
            let cluster: Value = self.client(at).get("/v1/cluster").expect(200).value();
            let leader = cluster["members"].as_array()?.iter().find(|member| member["leads"] == true)?.clone();
            leader["name"].as_str()?.strip_prefix('n')?.parse().ok()
        })
    }
}

/// Faster than by default: a test waits for elections.
fn patience() -> impl Iterator<Item = String> {
    ["--election-timeout", "500", "--heartbeat-interval", "50"].into_iter().map(str::to_owned)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The flags of the command that `member add` prints, without its data directory.
fn told(said: &str, client: &str) -> Vec<String> {
    let command = said.split("\n\n").nth(1).unwrap_or_else(|| panic!("no command in {said}"));
    let command = command.replace("HOST:2379", client).replace("\\\n", " ");
    let words: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
    assert_eq!(words[0], "vardr", "{said}");
    let place = words.iter().position(|word| word == "--data-dir").unwrap();
    words
        .iter()
        .enumerate()
        .filter(|(at, _)| *at > 0 && *at != place && *at != place + 1)
        .map(|(_, word)| word.clone())
        .collect()
}

fn keys(client: &Client) -> u64 {
    let list: Value = client.get("/v1/keys/load/?countOnly=true").expect(200).value();
    list["count"].as_u64().unwrap()
}

fn load(client: &Client, from: u32, count: u32) {
    for number in from..from + count {
        client.put(&format!("/v1/keys/load/{number}"), number.to_string()).expect(201);
    }
}

#[test]
fn a_cluster_grows_from_one_to_three_by_the_commands_that_it_prints() {
    let mut site = Site::begin(1);
    load(&site.client(0), 0, 100);
    for _ in 0..2 {
        let place = site.grow(0);
        site.promote(0, place);
    }
    let listed = site.run(1, &["member", "list"]);
    assert_eq!(listed.matches("follower").count() + listed.matches("leader").count(), 3, "{listed}");
    assert_eq!((0..3).map(|place| keys(&site.client(place))).collect::<Vec<_>>(), [100; 3]);
    site.members[0].kill();
    site.serves(1);
    load(&site.client(2), 100, 10);
    assert_eq!(keys(&site.client(1)), 110);
}

#[test]
fn a_dead_member_is_replaced_and_never_comes_back() {
    let mut site = Site::begin(3);
    load(&site.client(0), 0, 50);
    site.members[2].kill();
    site.serves(0);
    let before = site.id(0, "n2");
    // Its silence has to be noticed: while it is heard of, its going is the going of any member.
    site.run(0, &["member", "remove", "n2"]);
    let place = site.grow(1);
    site.promote(1, place);
    assert_eq!(keys(&site.client(place)), 50);
    site.members[2].start();
    let status = site.members[2].wait(LIMIT);
    assert!(
        !status.success() && site.members[2].log().contains("removed from the cluster"),
        "{}",
        site.members[2].log()
    );
    let gone = site.client(0).get(&format!("/v1/cluster/members/{before}"));
    gone.refused(404, "member_not_found");
    site.members[1].kill();
    site.serves(place);
}

#[test]
fn the_leader_is_removed_by_whoever_is_asked_and_says_why_it_stops() {
    let mut site = Site::begin(3);
    let leader = site.leader(0);
    let asked = (leader + 1) % 3;
    site.run(asked, &["member", "remove", &format!("n{leader}")]);
    let status = site.members[leader].wait(LIMIT);
    assert!(!status.success(), "a member that is none any more must not look as if all were well");
    assert!(site.members[leader].log().contains("removed from the cluster"), "{}", site.members[leader].log());
    site.serves(asked);
}

#[test]
fn a_member_that_was_away_follows_a_leader_that_it_has_never_heard_of() {
    let mut site = Site::begin(3);
    site.members[2].kill();
    site.serves(0);
    let place = site.grow(0);
    site.promote(0, place);
    load(&site.client(0), 0, 10);
    site.run(0, &["member", "lead", &format!("n{place}")]);
    site.members[0].kill();
    site.members[2].start();
    // Two of four are not enough without it.
    site.serves(2);
    assert_eq!(keys(&site.client(2)), 10);
    site.serves(place);
}

#[test]
fn a_member_moves_to_where_the_cluster_was_told() {
    let mut site = Site::begin(3);
    let moved = format!("http://{}", site.block.peer(5));
    site.run(0, &["member", "update", "n2", "--peer-urls", &moved]);
    assert!(site.members[2].terminate().success());
    let urls: Vec<_> = (0..3).map(|place| site.peer(place)).collect();
    let mut flags = flags(2, &urls, TOKEN, site.block.client(2), site.block.peer(5));
    let own = flags.iter().position(|flag| flag == "--initial-advertise-peer-urls").unwrap();
    flags[own + 1] = moved;
    flags.extend(patience());
    site.members[2] = Member::new(site.directory.path().join("n2"), flags);
    site.members[2].start();
    site.members[0].kill();
    site.serves(1);
    site.serves(2);
}

#[test]
fn what_would_lose_the_majority_is_refused_with_the_reason() {
    let site = Site::begin(1);
    let said = |output: &Output| text(&output.stderr);
    let output = site.try_run(0, &["member", "remove", "n0"]);
    assert!(said(&output).contains("last voter") && said(&output).contains("quorum_at_risk"), "{}", said(&output));
    site.run(0, &["member", "add", "n1", "--peer-urls", &site.peer(1)]);
    let output = site.try_run(0, &["member", "promote", "n1"]);
    assert!(said(&output).contains("not_caught_up"), "{}", said(&output));
    let output = site.try_run(0, &["member", "add", "n2", "--peer-urls", &site.peer(1)]);
    assert!(said(&output).contains("another member has the peer URL"), "{}", said(&output));
    let nobody = site.client(0).post("/v1/cluster/members/1:promote", "");
    nobody.refused(404, "member_not_found");
    let output = site.try_run(0, &["member", "remove", "n9"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    site.serves(0);
}

#[test]
fn a_member_joins_only_a_cluster_that_it_was_added_to() {
    let site = Site::begin(1);
    let home = site.directory.path().join("n1");
    let log = refused(Path::new(&home), &joining(&site, 1));
    assert!(log.contains("vardr member add"), "{log}");
}

#[test]
fn a_member_of_several_does_not_start_where_the_others_could_not_reach_it() {
    let site = Site::new();
    let client = || ["--listen-client-urls".to_owned(), format!("http://{}", site.block.client(0))];
    let flags = client().into_iter().chain(["--listen-peer-urls".to_owned(), site.peer(0)]).collect();
    let home = site.directory.path().join("n0");
    let mut member = Member::new(home.clone(), flags);
    member.start();
    site.serves(0);
    site.run(0, &["member", "add", "n1", "--peer-urls", &site.peer(1)]);
    assert!(member.terminate().success());
    let log = refused(&home, &client());
    assert!(log.contains("is one of 2, and listens for no others; say where, by --listen-peer-urls"), "{log}");
}

#[test]
fn a_member_that_is_removed_before_the_leader_reaches_it_says_why_it_stops() {
    let site = Site::begin(1);
    let unreachable = site.peer(2);
    site.run(0, &["member", "add", "n1", "--peer-urls", &unreachable]);
    let urls = [site.peer(0), unreachable];
    let home = site.directory.path().join("n1");
    let mut member = Member::new(home, joining_at(&site, 1, &urls));
    // It may be restarted as often as one likes.
    for _ in 0..2 {
        member.start();
        within("it runs", || site.client(1).try_get("/livez").filter(|it| it.status == 200));
        member.kill();
    }
    member.start();
    site.run(0, &["member", "remove", "n1"]);
    assert!(!member.wait(LIMIT).success());
    assert!(member.log().contains("removed from the cluster"), "{}", member.log());
    site.serves(0);
}

fn joining(site: &Site, place: usize) -> Vec<String> {
    let urls: Vec<_> = (0..=place).map(|place| site.peer(place)).collect();
    joining_at(site, place, &urls)
}

/// The flags of a member that the others are told to reach at the last of these URLs.
fn joining_at(site: &Site, place: usize, urls: &[String]) -> Vec<String> {
    let mut flags = flags(place, urls, TOKEN, site.block.client(place), site.block.peer(place));
    let state = flags.iter().position(|flag| flag == "new").unwrap();
    "existing".clone_into(&mut flags[state]);
    flags
}
