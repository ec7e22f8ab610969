//! The same of `/v2/auth`: random requests about users and roles to etcd and to Vardr, on few names, so that most of them mean
//! something.
//!
//! Both begin each sequence without users and roles. Passwords are few: both take a processor for a while to hash one. What
//! differs on purpose is not asked for: lists that are made unsorted or with repeats, what has no name, names with `%`, which
//! etcd writes oddly into its errors, and enabling once there is a user `root`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::answer::{Answer, Window};
use crate::bench;
use crate::chance::Chance;
use crate::pair::Pair;
use crate::support::etcd::Etcd;
use crate::support::http::{Client, Response};
use crate::support::seeds::{ENOUGH, number};
use crate::support::volume::not_run;

/// Requests of a run.
const REQUESTS: u64 = 4_000;
/// Pairs of servers that work side by side.
const LANES: usize = 2;
/// Requests of a sequence.
const LENGTH: u64 = 40;
/// How often a run has to hit each outcome.
const HITS: u64 = 5;

const USERS: &[&str] = &["ann", "bob", "root", "_h", "é<&>"];
/// None comes behind `root`: the user of that name is made with that role at the end of its list.
const ROLES: &[&str] = &["dev", "_r", "dév", "guest", "ops", "root"];
const PATTERNS: &[&str] = &["/a", "/a*", "*", "/d/<b>*", "/é", "word"];

/// What etcd says by which a run is measured, names and patterns left out.
const OUTCOMES: &[&str] = &[
    "PUT user 201",
    "PUT user 200",
    "PUT user 409 auth: User N already exists.",
    "PUT user 404 auth: User N does not exist.",
    "PUT user 400 auth: Cannot create user N with an empty password",
    "PUT user 400 auth: User not updated. Use grant/revoke/password to update the user.",
    "PUT user 409 auth: Granting duplicate role N for user N",
    "PUT user 409 auth: Revoking ungranted role N for user N",
    "PUT user 400 User JSON contains both roles and grant/revoke",
    "PUT user 400 User JSON name does not match the name in the URL",
    "PUT user 400 Invalid JSON in request body.",
    "GET user 200",
    "GET user 404 auth: User N does not exist.",
    "GET user 404 auth: Role N does not exist.",
    "DELETE user 200",
    "DELETE user 404 auth: User N does not exist",
    "GET users 200",
    "PUT role 201",
    "PUT role 200",
    "PUT role 409 auth: Role N already exists.",
    "PUT role 404 auth: Role N does not exist.",
    "PUT role 403 auth: Cannot modify role root: is root role.",
    "PUT role 409 auth: Granting duplicate read permission N",
    "PUT role 409 auth: Granting duplicate write permission N",
    "PUT role 400 auth: Role not updated. Use grant/revoke to update the role.",
    "PUT role 400 Role JSON contains both permissions and grant/revoke",
    "PUT role 400 Role JSON name does not match the name in the URL",
    "PUT role 400 Invalid JSON in request body.",
    "GET role 200",
    "GET role 404 auth: Role N does not exist.",
    "DELETE role 200",
    "DELETE role 404 auth: Role N doesn't exist.",
    "DELETE role 403 auth: Cannot modify role root: is root role.",
    "GET roles 200",
    "GET enable 200",
    "PUT enable 409 auth: No root user available, please create one",
    "DELETE enable 409 auth: already disabled",
    "GET odd 400 Invalid path",
    "GET odd 404",
    "POST odd 405",
];

#[derive(Debug, Clone)]
struct Ask {
    method: &'static str,
    /// `users`, `user`, `roles`, `role`, `enable` or `odd`.
    kind: &'static str,
    path: String,
    body: String,
}

impl Ask {
    fn new(method: &'static str, kind: &'static str, path: String) -> Self {
        Self { method, kind, path, body: String::new() }
    }

    fn send(&self, address: &str) -> Response {
        Client::new(address).send(self.method, &format!("/v2/auth{}", self.path), &[], self.body.as_bytes())
    }

    fn curl(&self) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
        let body = if self.body.is_empty() { String::new() } else { format!(" --data-raw {}", quoted(&self.body)) };
        format!(
            "curl -i --path-as-is -X {}{body} {}",
            self.method,
            quoted(&format!("http://$SERVER/v2/auth{}", self.path))
        )
    }

    /// What came of it, without what is particular to it.
    fn outcome(&self, answer: &Response) -> String {
        let message = serde_json::from_slice(&answer.body).ok().and_then(|body: Value| {
            let message = body["message"].as_str()?.to_owned();
            Some(format!(" {}", nameless(&message)))
        });
        format!("{} {} {}{}", self.method, self.kind, answer.status, message.unwrap_or_default())
    }
}

/// A message with `N` for each name and pattern.
fn nameless(message: &str) -> String {
    if ["is root role", "No root user"].iter().any(|phrase| message.contains(phrase)) {
        return message.to_owned();
    }
    let is_name = |word: &&str| USERS.contains(word) || ROLES.contains(word) || PATTERNS.contains(word);
    let words = message.split(' ').map(|word| if is_name(&word) { "N" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

struct Generator {
    chance: Chance,
}

impl Generator {
    /// One of these, mostly the first: much depends on what was done to the same before.
    fn pick(&mut self, from: &'static [&'static str]) -> &'static str {
        if self.chance.percent(50) { from[0] } else { self.chance.pick::<&'static str>(from) }
    }

    fn ask(&mut self) -> Ask {
        match self.chance.below(100) {
            0..30 => self.put("user", USERS, Self::user),
            30..38 => self.plain("GET", "user", USERS),
            38..42 => self.plain("DELETE", "user", USERS),
            42..46 => Ask::new("GET", "users", self.one(&["/users", "/users/", "/users?x=%zz"])),
            46..76 => self.put("role", ROLES, Self::role),
            76..82 => self.plain("GET", "role", ROLES),
            82..88 => self.plain("DELETE", "role", ROLES),
            88..91 => Ask::new("GET", "roles", self.one(&["/roles", "/roles/", "/roles?a;b"])),
            91..96 => self.enable(),
            96 | 97 => Ask::new("GET", "odd", self.one(&["/users/a/b", "/roles/%2F", "/roles/a%2Fb/", "/users/a/b/c"])),
            98 => Ask::new("GET", "odd", self.one(&["", "/", "/enable/", "/usersx", "/users/%ff", "/roles/%ff"])),
            _ => Ask::new("POST", "odd", self.one(&["/users", "/users/ann", "/roles/", "/roles/dev", "/enable"])),
        }
    }

    fn one(&mut self, paths: &[&str]) -> String {
        (*self.chance.pick(paths)).to_owned()
    }

    fn path(&mut self, kind: &str, name: &str) -> String {
        let slash = if self.chance.percent(5) { "/" } else { "" };
        format!("/{kind}s/{}{slash}", crate::request::encode(name))
    }

    fn plain(&mut self, method: &'static str, kind: &'static str, names: &'static [&'static str]) -> Ask {
        let name = self.pick(names);
        Ask::new(method, kind, self.path(kind, name))
    }

    /// Not asked for once there is a user `root`: etcd enables it then.
    fn enable(&mut self) -> Ask {
        let method = *self.chance.pick(&["GET", "PUT", "DELETE"]);
        Ask::new(method, "enable", "/enable".to_owned())
    }

    fn put(
        &mut self,
        kind: &'static str,
        names: &'static [&'static str],
        fill: fn(&mut Self, &mut Map<String, Value>),
    ) -> Ask {
        let name = self.pick(names);
        let mut body = Map::new();
        let told = if self.chance.percent(4) { self.pick(names) } else { name };
        let member = if self.chance.percent(5) { kind.to_uppercase() } else { kind.to_owned() };
        body.insert(member, json!(told));
        fill(self, &mut body);
        let mut body = Value::Object(body).to_string();
        match self.chance.below(60) {
            0 => body.truncate(body.len() - 1),
            1 => body.push_str(" and more"),
            2 => body = "null".to_owned(),
            3 => body = "[]".to_owned(),
            4 => body.clear(),
            _ => {}
        }
        Ask { body, ..Ask::new("PUT", kind, self.path(kind, name)) }
    }

    fn user(&mut self, body: &mut Map<String, Value>) {
        if self.chance.percent(25) {
            body.insert("password".to_owned(), json!(self.one(&["one", "", "twö", "p"])));
        }
        if self.chance.percent(30) {
            let roles = self.some(ROLES);
            body.insert("roles".to_owned(), roles);
        }
        for member in ["grant", "revoke"] {
            if self.chance.percent(35) {
                let mut roles = self.some(ROLES);
                if self.chance.percent(10) {
                    roles = json!(null);
                }
                body.insert(member.to_owned(), roles);
            }
        }
        self.spoil(body, "grant");
    }

    fn role(&mut self, body: &mut Map<String, Value>) {
        let members: &[&str] = match self.chance.below(20) {
            0..3 => &[],
            3..7 => &["permissions"],
            7..12 => &["grant"],
            12..15 => &["revoke"],
            15..19 => &["grant", "revoke"],
            _ => &["permissions", "grant"],
        };
        for member in members {
            let lists = self.lists();
            // etcd keeps an empty `grant` with the role that is made with it.
            if *member == "permissions" || holds_something(&lists) {
                body.insert((*member).to_owned(), lists);
            }
        }
        self.spoil(body, "permissions");
    }

    fn spoil(&mut self, body: &mut Map<String, Value>, member: &str) {
        if self.chance.percent(3) {
            body.insert(member.to_owned(), json!(7));
        }
        if self.chance.percent(5) {
            body.insert("unknown".to_owned(), json!({"user": [1]}));
        }
    }

    fn lists(&mut self) -> Value {
        let mut lists = Map::new();
        for member in ["read", "write"] {
            match self.chance.below(6) {
                0 => {}
                1 => {
                    lists.insert(member.to_owned(), json!(null));
                }
                _ => {
                    let patterns = self.some(PATTERNS);
                    lists.insert(member.to_owned(), patterns);
                }
            }
        }
        json!({ "kv": lists })
    }

    /// Some of these, in order and without repeats, as etcd has them at the latest with the first change.
    fn some(&mut self, of: &'static [&'static str]) -> Value {
        let mut some: Vec<_> = (0..self.chance.below(3)).map(|_| self.pick(of)).collect();
        some.sort_unstable();
        some.dedup();
        json!(some)
    }
}

fn holds_something(lists: &Value) -> bool {
    let is_full = |member: &str| lists["kv"][member].as_array().is_some_and(|list| !list.is_empty());
    is_full("read") || is_full("write")
}

/// The requests of a seed.
fn sequence(seed: u64) -> Vec<Ask> {
    let mut generator = Generator { chance: Chance::new(seed) };
    let put = |kind: &'static str, body: &str| Ask {
        body: body.to_owned(),
        ..Ask::new("PUT", kind, if kind == "user" { "/users/ann" } else { "/roles/dev" }.to_owned())
    };
    let mut sequence = vec![put("user", r#"{"user":"ann","password":"p"}"#), put("role", r#"{"role":"dev"}"#)];
    sequence.extend((0..LENGTH).map(|_| generator.ask()));
    sequence
}

/// Takes all users and roles away.
fn wipe(address: &str) {
    for (kind, names) in [("users", USERS), ("roles", ROLES)] {
        for name in names {
            Client::new(address).delete(&format!("/v2/auth/{kind}/{}", crate::request::encode(name)));
        }
    }
}

#[derive(Debug, Default)]
struct Run {
    hits: BTreeMap<String, u64>,
    /// The command lines of a sequence whose last was answered differently, and both answers.
    difference: Option<(Vec<String>, [String; 2])>,
}

/// Whether there is a user `root`; asked for alone, it shows only where there are all of its roles.
fn has_root(address: &str) -> bool {
    Client::new(address).get("/v2/auth/users").text().contains("{\"user\":\"root\"")
}

/// Plays a sequence to both, up to the first difference.
fn play(pair: &Pair, sequence: &[Ask]) -> Run {
    wipe(&pair.left);
    wipe(&pair.right);
    let mut run = Run::default();
    let mut lines = Vec::new();
    for ask in sequence {
        if (ask.method, ask.kind) == ("PUT", "enable") && has_root(&pair.left) {
            continue;
        }
        lines.push(ask.curl());
        let known = ask.send(&pair.left);
        let now = SystemTime::now();
        let window = Window { begun: now, sent: now, received: now };
        let answers = [&known, &ask.send(&pair.right)].map(|response| Answer::of(response, true, window));
        *run.hits.entry(ask.outcome(&known)).or_default() += 1;
        if !answers[0].agrees(&answers[1], std::time::Duration::ZERO) {
            run.difference = Some((lines, answers.map(|answer| answer.to_string())));
            break;
        }
    }
    run
}

/// Leaves out what is not needed to show the difference.
fn shrink(pair: &Pair, sequence: &[Ask]) -> (Vec<String>, [String; 2]) {
    let mut smallest = sequence.to_vec();
    let mut at = 0;
    while at < smallest.len() {
        let mut candidate = smallest.clone();
        candidate.remove(at);
        if play(pair, &candidate).difference.is_some() { smallest = candidate } else { at += 1 }
    }
    play(pair, &smallest).difference.unwrap_or_default()
}

fn report(seed: u64, (lines, [left, right]): &(Vec<String>, [String; 2])) -> String {
    format!(
        "seed {seed}:\n  {}\n  reference: {left}\n  tested:    {right}\n\
         again: DIALECT_START={seed} DIALECT_REQUESTS=1 cargo test --test dialects users_and_roles\n",
        lines.join("\n  ")
    )
}

#[test]
fn users_and_roles_are_answered_as_etcd_answers_them() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let bench = bench(LANES);
    let start = number("DIALECT_START", 1);
    let requests = number("DIALECT_REQUESTS", REQUESTS).min(REQUESTS);
    let (next, sent, differing) = (AtomicU64::new(start), AtomicU64::new(0), AtomicU64::new(0));
    let work = |pair: &Pair| {
        let (mut hits, mut failures) = (BTreeMap::<String, u64>::new(), Vec::new());
        while sent.load(Ordering::Relaxed) < requests && differing.load(Ordering::Relaxed) < ENOUGH {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let sequence = sequence(seed);
            let run = play(pair, &sequence);
            sent.fetch_add(run.hits.values().sum(), Ordering::Relaxed);
            for (outcome, count) in run.hits {
                *hits.entry(outcome).or_default() += count;
            }
            if run.difference.is_some() {
                differing.fetch_add(1, Ordering::Relaxed);
                failures.push(report(seed, &shrink(pair, &sequence)));
            }
        }
        (hits, failures)
    };
    let (mut hits, mut failures) = (BTreeMap::<String, u64>::new(), Vec::new());
    let pairs = bench.pairs(Pair::new);
    thread::scope(|scope| {
        let workers: Vec<_> = pairs.iter().map(|pair| scope.spawn(|| work(pair))).collect();
        for worker in workers {
            let (more, failed) = worker.join().unwrap();
            for (outcome, count) in more {
                *hits.entry(outcome).or_default() += count;
            }
            failures.extend(failed);
        }
    });
    println!("{} requests; hits:", hits.values().sum::<u64>());
    for (outcome, count) in &hits {
        println!("{count:>6} {outcome}");
    }
    println!("differences: {}", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // A few requests, as when a seed is played again, cannot hit everything.
    if requests >= REQUESTS {
        let seldom = |outcome: &&&str| hits.get(**outcome).copied().unwrap_or_default() < HITS;
        let missed: Vec<_> = OUTCOMES.iter().filter(seldom).collect();
        assert!(missed.is_empty(), "hit less than {HITS} times: {missed:#?}");
    }
}

/// The comparison looks at what is stored: a user that only one of the two has is seen, and shown by one request.
#[test]
fn a_user_that_only_one_of_them_has_is_found() {
    if let Some(why) = Etcd::hindrance() {
        return not_run(why);
    }
    let bench = bench(1);
    let pair = &bench.pairs(Pair::new)[0];
    let ask = |method, body: &str| Ask { body: body.to_owned(), ..Ask::new(method, "user", "/users/only".to_owned()) };
    ask("PUT", r#"{"user":"only","password":"p"}"#).send(&pair.right).expect(201);
    let sequence: Vec<_> = sequence(1).into_iter().take(5).chain([ask("GET", "")]).collect();
    let (lines, [left, right]) = shrink(pair, &sequence);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(left.starts_with("404 ") && right.starts_with("200 "), "{left}\n{right}");
}
