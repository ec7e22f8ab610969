//! `etcdctl`, as Debian has it and as it is today: the same command lines by both, as somebody at a terminal types them.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::both::{Both, Threes, at_both};
use crate::said::{Known, Part, Step, ended, neutral, without_figures};
use crate::support::etcd::{Etcd, no_etcdctl};
use crate::support::finish::{finish, finish_told};
use crate::support::volume::not_run;
use crate::support::{go, until, words};
use crate::{LIMIT, page};

/// What is known to differ from etcd 3.4, whichever version asks.
const KNOWN: &[Known] = &[
    Known {
        feature: "user and role, auth off",
        run: "auth status",
        says: &["Authentication Status: false"],
        why: "etcd 3.4 has no such method",
    },
    Known {
        feature: "user and role, auth off",
        run: "auth enable",
        says: &["code = FailedPrecondition", "authentication is not enforced yet"],
        why: "nothing would hold anybody to it",
    },
    Known {
        feature: "downgrade",
        run: "downgrade validate 3.4",
        says: &["etcdserver: invalid downgrade target version"],
        why: "etcd 3.4 has no such method, and nothing older can read Vardr's data",
    },
    Known {
        feature: "downgrade",
        run: "downgrade cancel",
        says: &["etcdserver: no inflight downgrade job"],
        why: "etcd 3.4 has no such method, and there is none to cancel",
    },
    Known {
        feature: "endpoint hashkv",
        run: "endpoint hashkv -w json",
        says: &["\"hash_revision\":N"],
        why: "etcd 3.4 does not say of which revision a hash is",
    },
    Known {
        feature: "a learner that moves",
        run: "member list",
        says: &["127.0.0.1:5", "true"],
        why: "etcd 3.4 forgets that it is a learner",
    },
];

/// What is noted where a call should have printed a line, and has not in time.
const SILENT: &str = "nothing more";
/// How long a line is awaited that must not come.
const QUIET: Duration = Duration::from_millis(200);

/// Which `etcdctl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Of Debian's package, 3.4.
    Debian,
    /// Built by [`go::build`] from its module.
    Module,
}

impl Version {
    fn program(self) -> PathBuf {
        match self {
            Self::Debian => PathBuf::from("etcdctl"),
            Self::Module => go::built("etcdctl"),
        }
    }

    /// What it says of itself.
    fn number(self) -> String {
        let output = Command::new(self.program()).env("ETCDCTL_API", "3").arg("version").output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().find_map(|line| line.strip_prefix("etcdctl version: ")).unwrap().to_owned()
    }
}

/// Calls of `etcdctl` to one server or cluster, and what they said.
pub(crate) struct Ctl {
    version: Version,
    endpoints: Vec<String>,
    parts: RefCell<Vec<Part>>,
}

impl Ctl {
    fn new(version: Version, endpoints: &[String]) -> Self {
        Self { version, endpoints: endpoints.to_vec(), parts: RefCell::default() }
    }

    pub(crate) fn at(version: Version, address: &str) -> Self {
        Self::new(version, &[address.to_owned()])
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(self.version.program());
        match self.version {
            Version::Debian => command.env("ETCDCTL_API", "3"),
            Version::Module => command.env_remove("ETCDCTL_API"),
        };
        // Without a scheme, which version 3.4 would send along as part of the authority.
        command.arg("--endpoints").arg(self.endpoints.join(",")).args(words(line));
        command
    }

    /// Begins with a feature.
    fn part(&self, feature: &str) {
        self.parts.borrow_mut().push(Part { feature: feature.to_owned(), steps: Vec::new() });
    }

    fn note(&self, run: &str, said: &str) {
        let [run, said] = [run, said].map(|text| neutral(text, &self.endpoints));
        self.parts.borrow_mut().last_mut().unwrap().steps.push(Step { run, said });
    }

    /// Runs a command line and notes it; gives what it printed.
    fn run(&self, line: &str) -> String {
        let output = self.quietly(line);
        self.note(line, &ended(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn lines(&self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.run(line);
        }
    }

    /// Runs a command line that shows members, which are in the order of their ids.
    fn unordered(&self, line: &str) -> String {
        let output = self.quietly(line);
        self.note(line, &in_order(&neutral(&ended(&output), &self.endpoints)));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs command lines of which only the form can be the same: they tell how large and how fast a server is.
    fn forms(&self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let output = self.quietly(line);
            self.note(line, &without_figures(&neutral(&ended(&output), &self.endpoints)));
        }
    }

    /// Runs a command line that is told something.
    fn tell(&self, line: &str, told: &str) {
        let output = finish_told(&mut self.command(line), told).unwrap();
        let told = told.trim().replace("\n\n", "\n").replace('\n', " / ");
        self.note(&format!("{line} < {told}"), &ended(&output));
    }

    /// Runs a command line that is not part of what is compared.
    pub(crate) fn quietly(&self, line: &str) -> Output {
        finish(&mut self.command(line)).unwrap()
    }

    /// Starts a call that goes on.
    pub(crate) fn follow(&self, line: &str) -> Running {
        let mut command = self.command(line);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Running { child, lines }
    }

    /// Ends calls that have places below a prefix, and the places: else they would go with their leases some time later, in a
    /// revision of their own.
    fn clear<const N: usize>(&self, prefix: &str, calls: [Running; N]) {
        drop(calls);
        self.quietly(&format!("del {prefix} --prefix"));
    }

    /// How many keys there are below a prefix.
    fn count(&self, prefix: &str) -> usize {
        let output = self.quietly(&format!("get {prefix} --prefix --keys-only"));
        String::from_utf8_lossy(&output.stdout).split_whitespace().count()
    }

    /// Waits until so many watches run at the server.
    pub(crate) fn until_watched(&self, count: usize) {
        let client = crate::support::http::Client::new(&self.endpoints[0]);
        let names = ["vardr_watchers", "etcd_debugging_mvcc_watcher_total"];
        let wanted = names.map(|name| format!("{name} {count}"));
        until(&format!("{} has not {count} watches", self.endpoints[0]), || {
            client.get("/metrics").text().lines().any(|line| wanted.iter().any(|name| line == name))
        });
    }
}

/// The lines, and what is between quotes in each, in an order that does not depend on ids.
fn in_order(said: &str) -> String {
    let list = |part: &str| {
        let mut items: Vec<_> = part.split(',').collect();
        items.sort_unstable();
        items.join(",")
    };
    let line = |line: &str| match line.split('"').collect::<Vec<_>>().as_slice() {
        [name, quoted, ""] => format!("{name}\"{}\"", list(quoted)),
        _ => line.to_owned(),
    };
    let mut lines: Vec<_> = said.lines().map(line).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// A call of `etcdctl` that goes on; killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    /// The next line that it prints, or that it prints none.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(LIMIT).unwrap_or_else(|_| SILENT.to_owned())
    }

    /// That it waits, or what it does instead.
    fn waits(&self) -> String {
        match self.lines.recv_timeout(QUIET) {
            Ok(line) => format!("does not wait: {line}"),
            Err(RecvTimeoutError::Timeout) => "waits".to_owned(),
            Err(RecvTimeoutError::Disconnected) => "has ended".to_owned(),
        }
    }

    fn lines(&self, count: usize) -> String {
        (0..count).map(|_| self.line() + "\n").collect()
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn put(ctl: &Ctl) {
    ctl.part("put");
    ctl.lines(
        "
        put a 1
        put a 2 --prev-kv
        put a --ignore-value
        put a 3 --ignore-lease
        put nosuch --ignore-value
        put a 3 --lease=123abc
        put b 'two words' -w json
        put b 'two words' -w fields
        put ''
        put '' x
        put",
    );
    ctl.tell("put c", "from standard input");
}

fn get(ctl: &Ctl) {
    ctl.part("get");
    ctl.lines(
        "
        get a
        get a c
        get a --print-value-only
        get b --from-key
        get '' --prefix
        get '' --prefix --keys-only
        get '' --prefix --limit 1
        get '' --prefix --sort-by KEY --order DESCEND
        get '' --prefix --sort-by CREATE --order DESCEND
        get '' --prefix --sort-by MODIFY --order ASCEND
        get '' --prefix --sort-by VERSION --order DESCEND
        get '' --prefix --sort-by VALUE
        get a --rev 2
        get a --rev 99
        get a --consistency s
        get a --consistency x
        get a --hex
        get a -w json
        get a -w fields
        get a -w table
        get a b c
        get nothing
        get ''
        get",
    );
    if ctl.version == Version::Module {
        ctl.lines(
            "
            get '' --prefix --count-only -w fields
            get '' --prefix --min-mod-rev 6
            get '' --prefix --max-mod-rev 6
            get '' --prefix --min-create-rev 3
            get '' --prefix --max-create-rev 3",
        );
    }
    // Its header, the first field, is the server's.
    let answer = ctl.quietly("get a -w protobuf").stdout;
    let header = 2 + usize::from(answer[1]);
    ctl.note("get a -w protobuf", &format!("{:02x?}", &answer[header..]));
}

fn del(ctl: &Ctl) {
    ctl.part("del");
    ctl.lines(
        "
        del a --prev-kv
        del a
        put d1 1
        put d2 2
        put e1 3
        del d1 d2
        del d --prefix --prev-kv
        del e --from-key
        del b -w json
        del '' --prefix
        del",
    );
}

fn txn(ctl: &Ctl) {
    ctl.part("txn");
    ctl.run("put t 1");
    for told in [
        "value(\"t\") = \"1\"\n\nput t 2\nget t\n\nput t 9\n\n",
        "value(\"t\") = \"1\"\n\nput t 9\n\nget t\nput u 'two words'\ndel t\n\n",
        "version(\"u\") = \"1\"\nmod(\"u\") > \"1\"\ncreate(\"u\") < \"1000\"\n\nget u\n\n\n",
        "version(\"none\") = \"0\"\nvalue(\"u\") != \"x\"\n\nget '' --prefix\n\n\n",
        "\nput same 1\nput same 2\n\n\n",
    ] {
        ctl.tell("txn", told);
    }
    ctl.tell("txn -i", "mod(\"u\") > \"0\"\n\nput u 3\nget u\n\nget u\n\n");
    ctl.tell("txn -w json", "\nget u\ndel u\n\n\n");
}

fn watch(ctl: &Ctl) {
    ctl.part("watch");
    let followed = ctl.follow("watch --prefix --prev-kv p");
    ctl.until_watched(1);
    for line in ["put p1 a", "put other x", "put p1 b", "del p1"] {
        ctl.quietly(line);
    }
    ctl.note("watch --prefix --prev-kv p", &followed.lines(12));
    drop(followed);
    ctl.until_watched(0);
    let revision: Value = serde_json::from_slice(&ctl.quietly("get p1 -w json").stdout).unwrap();
    let revision = revision["header"]["revision"].as_u64().unwrap();
    let since = ctl.follow(&format!("watch --rev {} p1 p2", revision - 3));
    ctl.note("watch --rev R p1 p2", &since.lines(8));
    drop(since);
    ctl.until_watched(0);
    let told = ctl.follow("watch w -- sh -c 'echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE'");
    ctl.until_watched(1);
    ctl.quietly("put w 1");
    // What was heard is printed, and then what the command says.
    ctl.note("watch w -- sh -c 'echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE'", &told.lines(4));
    drop(told);
    ctl.until_watched(0);
    let mut asked = ctl.follow("watch -i");
    asked.say("watch i");
    asked.say("watch j k");
    ctl.until_watched(2);
    ctl.quietly("put i 1");
    let mut heard = asked.lines(3);
    ctl.quietly("put j5 2");
    heard += &asked.lines(3);
    asked.say("progress");
    heard += &asked.line();
    ctl.note("watch -i < watch i / watch j k / progress", &heard);
    drop(asked);
    ctl.until_watched(0);
}

fn lease(ctl: &Ctl) {
    ctl.part("lease");
    let granted = ctl.run("lease grant 100");
    let id = granted.split_whitespace().nth(1).unwrap().to_owned();
    ctl.lines(&format!(
        "
        put held 1 --lease={id}
        put held 2 --ignore-lease
        get held -w fields
        lease list
        lease list -w json
        lease keep-alive {id} --once
        lease grant 100 -w json
        lease grant 0
        lease grant 9000000001
        lease keep-alive 123abc --once
        lease timetolive 123abc --keys
        lease revoke 123abc
        lease revoke zz"
    ));
    ctl.forms(&format!("lease timetolive {id}\nlease timetolive {id} --keys\nlease timetolive {id} --keys -w json"));
    let kept = ctl.follow(&format!("lease keep-alive {id}"));
    ctl.note(&format!("lease keep-alive {id}"), &kept.line());
    drop(kept);
    ctl.lines(&format!("lease revoke {id}\nget held\nlease timetolive {id}"));
    let short = ctl.run("lease grant 2");
    let short = short.split_whitespace().nth(1).unwrap().to_owned();
    ctl.run(&format!("put brief 1 --lease={short}"));
    until("the lease does not end", || ctl.count("brief") == 0);
    ctl.run(&format!("lease timetolive {short}"));
}

fn lock(ctl: &Ctl) {
    ctl.part("lock");
    let first = ctl.follow("lock L");
    let held = first.line();
    let second = ctl.follow("lock L");
    until("nobody waits", || ctl.count("L/") == 2);
    let early = second.waits();
    ctl.quietly(&format!("del {held}"));
    let next = second.line();
    ctl.note("lock L", &format!("{held}\nthe second {early}, then {next}"));
    ctl.clear("L/", [first, second]);
    ctl.lines("lock M echo inside\nlock M -- sh -c 'exit 3'\nlock M --ttl 5 echo again\nlock");
}

fn elect(ctl: &Ctl) {
    ctl.part("elect");
    let first = ctl.follow("elect E one");
    let (key, value) = (first.line(), first.line());
    let follows = ctl.follow("elect -l E");
    let mut heard = follows.lines(2);
    let second = ctl.follow("elect E two");
    until("nobody waits", || ctl.count("E/") == 2);
    ctl.note("elect E one", &format!("{key} {value}\nthe second {}", second.waits()));
    ctl.quietly(&format!("del {key}"));
    ctl.note("elect E two", &second.lines(2));
    heard += &follows.lines(2);
    ctl.note("elect -l E", &heard);
    ctl.clear("E/", [first, second, follows]);
    ctl.run("elect E");
}

fn endpoint(ctl: &Ctl) {
    ctl.part("endpoint health");
    ctl.lines("endpoint health\nendpoint health -w json\nendpoint health --cluster");
    ctl.part("endpoint status");
    ctl.forms("endpoint status\nendpoint status -w table\nendpoint status -w json\nendpoint status -w fields");
    ctl.part("endpoint hashkv");
    ctl.forms("endpoint hashkv\nendpoint hashkv -w table\nendpoint hashkv -w json");
    // It asks at the URLs that members say, which have a scheme.
    ctl.part("endpoint status and hashkv of the cluster");
    ctl.forms("endpoint status --cluster\nendpoint hashkv --cluster");
}

fn maintenance(ctl: &Ctl) {
    ctl.part("compaction");
    ctl.lines(
        "
        compaction 2
        compaction 2
        compaction 3 --physical
        compaction 999
        compaction zz
        get a --rev 2
        watch a --rev 2",
    );
    ctl.part("defrag");
    ctl.lines("defrag\nget u");
    ctl.part("defrag of the cluster");
    ctl.run("defrag --cluster");
    ctl.part("alarm");
    ctl.lines("alarm list\nalarm disarm");
    if ctl.version == Version::Module {
        ctl.part("downgrade");
        ctl.lines("downgrade validate 3.4\ndowngrade cancel");
    }
}

fn users(ctl: &Ctl) {
    ctl.part("user and role, auth off");
    ctl.lines(
        "
        user list
        role list
        user add ann:pw
        user add ann:pw
        user add bob --no-password
        user get ann
        user get none
        role add dev
        role add dev
        role get none
        role grant-permission dev read /a
        role grant-permission dev readwrite /b --prefix=true
        role grant-permission dev write /c /d
        role grant-permission dev read /e --from-key=true
        role grant-permission dev nope /e
        role grant-permission none read /e
        role get dev
        role get dev -w json
        role revoke-permission dev /a
        role revoke-permission dev /a
        role revoke-permission dev /b --prefix=true
        role get dev
        user grant-role ann dev
        user grant-role ann none
        user grant-role none dev
        user get ann
        user get ann --detail
        user list -w json
        user revoke-role ann dev
        user revoke-role ann dev
        role delete dev
        role delete dev
        user delete ann
        user delete ann
        user list
        role list
        auth disable",
    );
    ctl.tell("user add cat --interactive=false", "secret\n");
    ctl.tell("user passwd cat --interactive=false", "other\n");
    ctl.tell("user passwd none --interactive=false", "other\n");
    if ctl.version == Version::Module {
        ctl.run("auth status");
    }
    ctl.lines(
        "
        auth enable
        user add root:pw
        auth enable
        auth disable --user root:pw
        user get root
        user delete root
        role delete root",
    );
}

/// Copies to the server of the other kind, and then follows.
fn mirror(version: Version, address: &str, other: &str) -> Part {
    let (ctl, copy) = (Ctl::at(version, address), Ctl::at(version, other));
    ctl.part("make-mirror");
    ctl.quietly("put m/old 1");
    let _copies = ctl.follow(&format!("make-mirror --prefix m/ --dest-prefix copy/ {other}"));
    until("nothing is copied", || copy.count("copy/") == 1);
    ctl.quietly("put m/new 'two words'");
    until("what changes is not copied", || copy.count("copy/") == 2);
    ctl.quietly("del m/old");
    until("what goes stays in the copy", || copy.count("copy/") == 1);
    let copied = ended(&copy.quietly("get copy/ --prefix"));
    ctl.note("make-mirror --prefix m/ --dest-prefix copy/ OTHER, to and from etcd", &copied);
    ctl.parts.into_inner().remove(0)
}

fn member(ctl: &Ctl) {
    ctl.part("member");
    ctl.lines("member list\nmember list -w table\nmember list -w json\nmember list -w fields");
    let added = ctl.unordered("member add l1 --learner --peer-urls=http://127.0.0.1:1");
    let id = added.split_whitespace().nth(1).unwrap_or_default().to_owned();
    ctl.unordered("member list");
    ctl.lines(&format!(
        "
        member promote {id}
        member update {id} --peer-urls=zz
        member remove {id}
        member remove {id}
        member list
        member promote 1234
        member update 1234 --peer-urls=http://127.0.0.1:3
        member remove 1234
        member remove zz
        member add l2
        member add l2 --peer-urls=zz
        move-leader 1234
        move-leader zz"
    ));
    if ctl.version == Version::Module {
        ctl.run("member list --consistency=s");
    }
    ctl.part("a learner that moves");
    let added = ctl.unordered("member add l3 --learner --peer-urls=http://127.0.0.1:4");
    let id = added.split_whitespace().nth(1).unwrap_or_default().to_owned();
    ctl.run(&format!("member update {id} --peer-urls=http://127.0.0.1:5"));
    ctl.unordered("member list");
    ctl.run(&format!("member remove {id}"));
}

/// What `check perf` says of a server. Its verdicts are on the machine and on what else it does: that each is there, and no request
/// failed, is what can be compared.
fn perf(version: Version, address: &str) -> Part {
    let ctl = Ctl::at(version, address);
    ctl.part("check perf");
    let said = ended(&ctl.quietly("check perf --load s"));
    let figures = ["Throughput", "Slowest request", "Stddev"];
    let told = said.lines().filter_map(|line| match figures.iter().find(|figure| line.contains(*figure)) {
        Some(figure) => Some(*figure),
        None => line.contains("ERROR").then_some(line),
    });
    ctl.note("check perf --load s", &told.collect::<Vec<_>>().join("\n"));
    ctl.run("check perf --load zz");
    ctl.run("get '' --prefix --keys-only");
    ctl.parts.into_inner().remove(0)
}

/// Who leads, and what each endpoint is, by its id.
fn leader(ctl: &Ctl) -> Option<(u64, Vec<(String, u64)>)> {
    let status: Value = serde_json::from_slice(&ctl.quietly("endpoint status -w json").stdout).ok()?;
    let status = status.as_array()?;
    let member =
        |item: &Value| Some((item["Endpoint"].as_str()?.to_owned(), item["Status"]["header"]["member_id"].as_u64()?));
    let members: Vec<_> = status.iter().filter_map(member).collect();
    let leaders: Vec<_> = status.iter().map(|item| item["Status"]["leader"].as_u64().unwrap_or_default()).collect();
    let agreed = *leaders.first()?;
    let all = members.len() == ctl.endpoints.len() && leaders.iter().all(|leader| *leader == agreed && agreed != 0);
    all.then_some((agreed, members))
}

/// Waits until all say that the same member leads, one that is meant.
fn agreed(ctl: &Ctl, is_meant: impl Fn(u64) -> bool) -> (u64, Vec<(String, u64)>) {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = leader(ctl).filter(|(leads, _)| is_meant(*leads)) {
            return found;
        }
        let last = || ended(&ctl.quietly("endpoint status -w json"));
        assert!(Instant::now() < deadline, "{:?} do not agree on who leads:\n{}", ctl.endpoints, last());
    }
}

/// Three members: how they are, and another one leads.
fn cluster(version: Version, endpoints: &[String]) -> Part {
    let ctl = Ctl::new(version, endpoints);
    ctl.part("move-leader, three members");
    let (leads, members) = agreed(&ctl, |_| true);
    let of = |is_leader: bool| members.iter().find(|(_, id)| (*id == leads) == is_leader).unwrap();
    let (follower, (leader_address, _)) = (of(false), of(true));
    let line = format!("move-leader {:x}", follower.1);
    ctl.note(&format!("{line}, asked of a follower"), &ended(&Ctl::at(version, &follower.0).quietly(&line)));
    ctl.note(&line, &ended(&Ctl::at(version, leader_address).quietly(&line)));
    agreed(&ctl, |now| now == follower.1);
    let sorted = |line: &str| {
        let output = ctl.quietly(line);
        ctl.note(line, &in_order(&without_figures(&neutral(&ended(&output), &ctl.endpoints))));
    };
    sorted("endpoint health");
    sorted("member list");
    ctl.parts.into_inner().remove(0)
}

/// Everything, of one version.
fn all(version: Version, section: &str, from: &str) {
    let (both, for_load, threes) = (Both::start(), Both::start(), Threes::start());
    let [etcd, vardr] = thread::scope(|scope| {
        let load = scope.spawn(|| at_both(&for_load.addresses(), |address, _| perf(version, address)));
        let moved = threes.addresses().clone().map(|endpoints| cluster(version, &endpoints));
        let parts = at_both(&both.addresses(), |address, _| {
            let ctl = Ctl::at(version, address);
            for feature in [put, get, del, txn, watch, lease, lock, elect] {
                feature(&ctl);
            }
            for feature in [endpoint, maintenance, users, member] {
                feature(&ctl);
            }
            ctl.parts.into_inner()
        });
        // Each writes to the other: until now, the revisions of both are the same.
        let mirrored = at_both(&both.addresses(), |address, other| mirror(version, address, other));
        let mut more = moved.into_iter().zip(mirrored).zip(load.join().unwrap());
        parts.map(|mut parts| {
            let ((moved, mirrored), load) = more.next().unwrap();
            parts.extend([moved, mirrored, load]);
            parts
        })
    });
    let silent = etcd.iter().flat_map(|part| &part.steps).find(|step| step.said.contains(SILENT));
    assert_eq!(silent, None, "etcd is silent, which is nothing to compare with");
    page::hold(section, from, &page::table(&etcd, &vardr, KNOWN));
}

#[test]
fn etcdctl_of_debian_does_as_with_etcd() {
    if let Some(why) = Etcd::hindrance().or_else(no_etcdctl) {
        return not_run(why);
    }
    let version = Version::Debian;
    all(version, "etcdctl of Debian", &format!("Version {}, Debian's package `etcd-client`.", version.number()));
}

#[test]
fn etcdctl_of_today_does_as_with_etcd() {
    if let Some(why) = Etcd::hindrance().map(str::to_owned).or_else(go::hindrance) {
        return not_run(&why);
    }
    go::build("etcdctl");
    let version = Version::Module;
    let from = format!("Version {}, the Go module `go.etcd.io/etcd/etcdctl/v3`.", version.number());
    all(version, "etcdctl", &from);
}

/// The comparison looks at what is printed: a server in another state is seen.
#[test]
fn etcdctl_tells_servers_apart() {
    if let Some(why) = Etcd::hindrance().or_else(no_etcdctl) {
        return not_run(why);
    }
    let both = Both::start();
    let [_, vardr] = both.addresses();
    Ctl::at(Version::Debian, &vardr).quietly("put only here");
    let [left, right] = at_both(&both.addresses(), |address, _| {
        let ctl = Ctl::at(Version::Debian, address);
        ctl.part("get");
        ctl.run("get only");
        ctl.parts.into_inner()
    });
    assert!(page::table(&left, &right, KNOWN).contains("**no**"), "{left:?} {right:?}");
}
