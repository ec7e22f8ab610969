//! Sequences of requests from a seed.
//!
//! Two kinds of request take turns. *Aimed* ones are made to come to a given outcome (an action or an error) by a method, and are
//! dressed with other parameters that do not change it; aims and parameters go round, so that each combination comes up about as often
//! as any other. *Wild* ones are anything. What an aim takes (a file, a directory that is not empty) is looked up in a sketch of
//! the tree and made first where it is missing. The sketch may be wrong: what was hit is counted from the answers.

use std::collections::BTreeMap;

use crate::chance::Chance;
use crate::request::{Form, Param, Request, Text, encode};

/// Requests of a sequence, about.
const LENGTH: usize = 14;
/// How far apart aims are that follow on each other; a prime, so that all have their turn.
const STRIDE: u64 = 31;
/// One in so many requests is wild.
const WILD: u64 = 5;

/// Each parameter that the API reads, in the order in which it looks at them.
pub(crate) const PARAMS: &[&str] = &[
    "prevIndex",
    "waitIndex",
    "recursive",
    "sorted",
    "wait",
    "dir",
    "quorum",
    "stream",
    "prevValue",
    "noValueOnSuccess",
    "ttl",
    "prevExist",
    "refresh",
    "value",
];

/// Keys at which files are put; `%ff` is a byte that is no UTF-8.
const FILES: &[&str] = &[
    "/f",
    "/g",
    "/d/x",
    "/d/y",
    "/d/sub/z",
    "/d/sub/deep/w",
    "/dx",
    "/_h",
    "/d/_h",
    "/d/_hs/k",
    "/_hd/k",
    "/_hd/_k",
    "/été/ñ",
    "/d/h<b>&\"'",
    "/p+lus",
    "/d/a b",
    "/d/10",
    "/d/9",
    "/d/%ff",
    "/d/\u{2028}\t",
];
/// Keys at which directories are made.
const DIRECTORIES: &[&str] = &["/e", "/d", "/d/sub", "/_hd", "/d/_hs", "/e/e2", "/été", "/dd"];
const VALUES: &[&str] = &[
    "one",
    "two",
    "3",
    "",
    " ",
    "a b+c",
    "<b>&\"'\u{2028}",
    "\u{20ac}\u{1f600}",
    "{\"a\":[1]}",
    "\u{0}\u{1f}\u{7f}\\",
    "x=y&z",
];
const TRUE: &[&str] = &["true", "1", "t", "T", "TRUE", "True"];
const FALSE: &[&str] = &["false", "0", "f", "F", "FALSE", "False"];
const NO_BOOL: &[&str] = &["", "yes", "tRUE", "2", "on", " true", "-1"];
const NO_NUMBER: &[&str] = &["x", "-1", "1.5", "18446744073709551616", " 1", "0x1", "1_000", "+1", "1e3"];
const LONG_TTLS: &[&str] = &["100", "300", "4000", "0100", "99999", ""];
/// These expire at once, or nearly so; the large one is more than etcd's clock holds.
const SHORT_TTLS: &[&str] = &["0", "9999999999", "1"];
const METHODS: &[&str] = &["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"];

/// What a request is made to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    Get,
    Set,
    Create,
    Update,
    Swap,
    Delete,
    CompareDelete,
    Missing,
    Compare,
    NotFile,
    BelowFile,
    Exists,
    Root,
    NotEmpty,
    EmptyPrevValue,
    NoTtl,
    NoIndex,
    NoField,
    NoForm,
    RefreshValue,
    RefreshTtl,
    Refresh,
    Redirect,
    NoRoute,
    NoPath,
    /// A method alone, whatever comes of it.
    Anything,
    /// A wait, and what wakes it.
    Wait(Wake),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    Set,
    Create,
    Update,
    Swap,
    Delete,
    CompareDelete,
    Expire,
}

const PARSED: &[Aim] = &[
    Aim::EmptyPrevValue,
    Aim::NoTtl,
    Aim::NoIndex,
    Aim::NoField,
    Aim::NoForm,
    Aim::RefreshValue,
    Aim::RefreshTtl,
    Aim::Redirect,
];
const READS: &[Aim] = &[Aim::Get, Aim::Missing, Aim::BelowFile];
const WAITS: &[Aim] = &[
    Aim::Wait(Wake::Set),
    Aim::Wait(Wake::Create),
    Aim::Wait(Wake::Update),
    Aim::Wait(Wake::Swap),
    Aim::Wait(Wake::Delete),
    Aim::Wait(Wake::CompareDelete),
    Aim::Wait(Wake::Expire),
];
const PUTS: &[Aim] = &[
    Aim::Set,
    Aim::Create,
    Aim::Update,
    Aim::Swap,
    Aim::Missing,
    Aim::Compare,
    Aim::NotFile,
    Aim::BelowFile,
    Aim::Exists,
    Aim::Root,
    Aim::Refresh,
];
const DELETES: &[Aim] = &[
    Aim::Delete,
    Aim::CompareDelete,
    Aim::Missing,
    Aim::Compare,
    Aim::NotFile,
    Aim::BelowFile,
    Aim::Root,
    Aim::NotEmpty,
];

/// Every method with what it is made to come to.
fn aims() -> Vec<(&'static str, Aim)> {
    let groups: [(&str, &[&[Aim]]); 7] = [
        ("GET", &[READS, WAITS, WAITS, &[Aim::Wait(Wake::Expire)], PARSED, &[Aim::NoRoute, Aim::NoPath]]),
        ("PUT", &[PUTS, PARSED]),
        ("POST", &[&[Aim::Create, Aim::BelowFile], PARSED]),
        ("DELETE", &[DELETES, PARSED]),
        ("HEAD", &[READS, &[Aim::NoField, Aim::Redirect]]),
        ("OPTIONS", &[&[Aim::Anything]]),
        ("PATCH", &[&[Aim::Anything, Aim::Redirect]]),
    ];
    let flat = |(method, lists): (&'static str, &'static [&'static [Aim]])| {
        lists.iter().flat_map(move |list| list.iter().map(move |aim| (method, *aim)))
    };
    groups.into_iter().flat_map(flat).collect()
}

/// The sequence of a seed.
pub(crate) fn sequence(seed: u64) -> Vec<Request> {
    let mut generator =
        Generator { chance: Chance::new(seed), tree: BTreeMap::new(), requests: Vec::new(), dressed: 0 };
    let aims = aims();
    // The rounds of neighbouring seeds follow on each other.
    let mut round = seed.wrapping_mul(LENGTH as u64 / 2);
    while generator.requests.len() < LENGTH {
        if generator.chance.below(WILD) == 0 {
            generator.wild();
            continue;
        }
        let turn = round / aims.len() as u64;
        // Not in the order of the list: aims that take many requests would crowd out those behind them.
        let place = usize::try_from(round.wrapping_mul(STRIDE) % aims.len() as u64).unwrap_or_default();
        let (method, aim) = aims[place];
        // Each turn begins at other parameters.
        generator.dressed = usize::try_from(turn.wrapping_mul(5)).unwrap_or_default() % PARAMS.len();
        generator.aim(method, aim);
        round += 1;
    }
    let mut requests = generator.requests;
    requests.iter_mut().for_each(tame);
    requests
}

/// Takes out what would let an expiry pass unseen: without the node, nobody knows what to wait for.
fn tame(request: &mut Request) {
    let is_short = |param: &Param| {
        param.name == "ttl" && matches!(&param.text, Text::Plain(text) if SHORT_TTLS.contains(&text.as_str()))
    };
    if request.params.iter().any(is_short) {
        request.params.retain(|param| param.name != "noValueOnSuccess");
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(String),
    Directory,
}

struct Generator {
    chance: Chance,
    /// What should be there, by key.
    tree: BTreeMap<String, Node>,
    requests: Vec<Request>,
    /// Where the round of parameters stands.
    dressed: usize,
}

impl Generator {
    fn text(&mut self, from: &[&str]) -> Text {
        Text::Plain((*self.chance.pick(from)).to_owned())
    }

    fn bool(&mut self) -> Text {
        if self.chance.percent(50) { self.text(TRUE) } else { self.text(FALSE) }
    }

    // The sketch of the tree.

    fn put(&mut self, key: &str, node: Node) {
        let parents = key.match_indices('/').skip(1).map(|(at, _)| key[..at].to_owned());
        for parent in parents {
            self.tree.entry(parent).or_insert(Node::Directory);
        }
        self.tree.insert(key.to_owned(), node);
    }

    fn remove(&mut self, key: &str) {
        let below = format!("{key}/");
        self.tree.retain(|known, _| known != key && !known.starts_with(&below));
    }

    fn is_below_file(&self, key: &str) -> bool {
        let mut parents = key.match_indices('/').skip(1).map(|(at, _)| &key[..at]);
        parents.any(|parent| matches!(self.tree.get(parent), Some(Node::File(_))))
    }

    /// A key and value of a file, which is made where there is none.
    fn file(&mut self) -> (String, String) {
        let file = |(key, node): (&String, &Node)| match node {
            Node::File(value) => Some((key.clone(), value.clone())),
            Node::Directory => None,
        };
        let files: Vec<_> = self.tree.iter().filter_map(file).collect();
        if !files.is_empty() && self.chance.percent(70) {
            return self.chance.pick(&files).clone();
        }
        let key = self.missing();
        let value = (*self.chance.pick(&VALUES[..3])).to_owned();
        self.requests.push(put(&key).with("value", Text::Plain(value.clone())));
        self.put(&key, Node::File(value.clone()));
        (key, value)
    }

    fn directory(&mut self, is_empty: bool) -> String {
        let is_right = |key: &String| {
            let below = format!("{key}/");
            self.tree.keys().any(|known| known.starts_with(&below)) != is_empty
        };
        let directories = self.tree.iter().filter(|(_, node)| **node == Node::Directory).map(|(key, _)| key);
        let directories: Vec<_> = directories.filter(|key| is_right(key)).cloned().collect();
        if !directories.is_empty() {
            return self.chance.pick(&directories).clone();
        }
        let free = DIRECTORIES.iter().filter(|key| !self.tree.contains_key(**key) && !self.is_below_file(key));
        let free: Vec<_> = free.copied().collect();
        let key = free.first().map_or("/spare", |_| *self.chance.pick(&free)).to_owned();
        if is_empty {
            self.requests.push(put(&key).with("dir", Text::Plain("true".to_owned())));
            self.put(&key, Node::Directory);
        } else {
            let below = format!("{key}/{}", self.chance.pick(&["x", "_h"]));
            self.requests.push(put(&below).with("value", Text::Plain("one".to_owned())));
            self.put(&below, Node::File("one".to_owned()));
        }
        key
    }

    /// A key at which a file can be put that is not there.
    fn missing(&mut self) -> String {
        let free = FILES.iter().filter(|key| !self.tree.contains_key(**key) && !self.is_below_file(key));
        let free: Vec<_> = free.copied().collect();
        if free.is_empty() { format!("/n{}", self.chance.below(1000)) } else { (*self.chance.pick(&free)).to_owned() }
    }

    /// The path of a key, in one of the ways to write it.
    fn spell(&mut self, key: &str) -> String {
        let mut path = spell(key);
        match self.chance.below(14) {
            0 => path.push('/'),
            1 => path = path.replace("/v2/keys/", "/v2/keys%2F"),
            2 => path = path.replacen("/v2/keys/", "/v2/keys/%2f", 1).replacen("/%2f", "%2f", 1),
            _ => {}
        }
        path
    }

    // Aimed requests.

    fn aim(&mut self, method: &'static str, aim: Aim) {
        if let Aim::Wait(wake) = aim {
            return self.wait(wake);
        }
        let (key, needs) = self.needs(method, aim);
        let path = match aim {
            Aim::Redirect => self.crooked(&key),
            Aim::NoRoute => (*self.chance.pick(&["/v2/keysfoo", "/v2", "/v2/", "/v2/key"])).to_owned(),
            Aim::NoPath => format!("{}{}", spell(&key), self.chance.pick(&["%zz", "%", "/%4", "%%41"])),
            _ => self.spell(&key),
        };
        let mut request = Request::new(method, &path);
        request.params = needs;
        self.dress(&mut request, aim, &key);
        self.place(&mut request, aim);
        if aim == Aim::NoPath {
            // Go's library answers before etcd knows of an origin.
            request.origin = None;
        }
        self.note(&request, aim, &key);
        self.requests.push(request);
    }

    /// The key and the parameters without which the aim is missed.
    #[expect(clippy::too_many_lines, reason = "an arm for each aim")]
    fn needs(&mut self, method: &str, aim: Aim) -> (String, Vec<Param>) {
        let mut params = Vec::new();
        let mut need = |name: &str, text: Text| params.push(Param { name: name.to_owned(), text, in_body: false });
        let key = match aim {
            Aim::Get => match self.chance.below(4) {
                0 => self.directory(false),
                1 => "/".to_owned(),
                _ => self.file().0,
            },
            Aim::Set if self.chance.percent(25) => {
                need("dir", self.text(TRUE));
                if self.chance.percent(50) { self.missing() } else { self.file().0 }
            }
            Aim::Set => {
                need("value", self.text(VALUES));
                if self.chance.percent(50) { self.missing() } else { self.file().0 }
            }
            Aim::Create if method == "POST" => {
                need("value", self.text(VALUES));
                match self.chance.below(4) {
                    0 => "/".to_owned(),
                    1 => self.missing(),
                    _ => self.directory(true),
                }
            }
            Aim::Create => {
                need("value", self.text(VALUES));
                need("prevExist", self.text(FALSE));
                if self.chance.percent(20) {
                    need("dir", self.text(TRUE));
                }
                self.missing()
            }
            Aim::Update => {
                need("prevExist", self.text(TRUE));
                match self.chance.below(4) {
                    0 => {
                        need("dir", self.text(TRUE));
                        self.directory(true)
                    }
                    1 => {
                        need("ttl", self.text(LONG_TTLS));
                        self.directory(false)
                    }
                    _ => {
                        need("value", self.text(VALUES));
                        self.file().0
                    }
                }
            }
            Aim::Swap | Aim::CompareDelete => {
                let (key, value) = self.file();
                let by_value = !value.is_empty() && self.chance.percent(60);
                if by_value {
                    need("prevValue", Text::Plain(value));
                }
                if !by_value || self.chance.percent(40) {
                    need("prevIndex", Text::Seen(key.clone()));
                }
                if aim == Aim::Swap {
                    need("value", self.text(VALUES));
                }
                key
            }
            Aim::Compare => {
                let (key, value) = self.file();
                match self.chance.below(4) {
                    0 => need("prevIndex", Text::Later(self.chance.below(3))),
                    1 => need("prevValue", Text::Plain("other".to_owned())),
                    2 if !value.is_empty() => {
                        need("prevValue", Text::Plain(value));
                        need("prevIndex", Text::Plain("1".to_owned()));
                    }
                    _ => {
                        need("prevValue", Text::Plain("o\u{f6}<".to_owned()));
                        need("prevIndex", Text::Plain("18446744073709551615".to_owned()));
                    }
                }
                key
            }
            Aim::Delete => match self.chance.below(3) {
                0 => {
                    need("recursive", self.text(TRUE));
                    self.directory(false)
                }
                1 => {
                    need("dir", self.text(TRUE));
                    self.directory(true)
                }
                _ => self.file().0,
            },
            Aim::Missing => {
                if method == "PUT" {
                    need("prevExist", self.text(TRUE));
                }
                let key = self.missing();
                if self.chance.percent(30) { format!("{key}/deeper") } else { key }
            }
            Aim::NotFile => {
                if method == "PUT" && self.chance.percent(30) {
                    need("dir", self.text(TRUE));
                } else if method == "PUT" && self.chance.percent(70) {
                    need("value", Text::Plain("one".to_owned()));
                }
                if method == "DELETE" && self.chance.percent(30) {
                    need("prevValue", self.text(&VALUES[..3]));
                }
                let is_empty = self.chance.percent(50);
                self.directory(is_empty)
            }
            Aim::BelowFile if method == "POST" => self.file().0,
            Aim::BelowFile => format!("{}/{}", self.file().0, self.chance.pick(&["below", "a/b"])),
            Aim::Exists => {
                need("prevExist", self.text(FALSE));
                if self.chance.percent(50) { self.file().0 } else { self.directory(true) }
            }
            Aim::Root => "/".to_owned(),
            Aim::NotEmpty => {
                need("dir", self.text(TRUE));
                self.directory(false)
            }
            Aim::EmptyPrevValue => {
                need("prevValue", if self.chance.percent(50) { Text::Bare } else { Text::Plain(String::new()) });
                self.any_key()
            }
            Aim::NoTtl => {
                need("ttl", self.text(NO_NUMBER));
                self.any_key()
            }
            Aim::NoIndex => {
                let name = if self.chance.percent(50) { "prevIndex" } else { "waitIndex" };
                need(name, if self.chance.percent(20) { Text::Bare } else { self.text(NO_NUMBER) });
                self.any_key()
            }
            Aim::NoField => {
                let bools = [
                    "recursive",
                    "sorted",
                    "wait",
                    "dir",
                    "quorum",
                    "stream",
                    "noValueOnSuccess",
                    "prevExist",
                    "refresh",
                ];
                let name = *self.chance.pick(&bools);
                if name == "wait" && method != "GET" && self.chance.percent(50) {
                    need(name, self.text(TRUE));
                } else {
                    need(name, if self.chance.percent(20) { Text::Bare } else { self.text(NO_BOOL) });
                }
                self.any_key()
            }
            Aim::RefreshValue => {
                need("refresh", self.text(TRUE));
                need("value", Text::Plain("one".to_owned()));
                self.any_key()
            }
            Aim::RefreshTtl => {
                need("refresh", self.text(TRUE));
                self.any_key()
            }
            Aim::Refresh => {
                let (key, value) = self.file();
                need("refresh", self.text(TRUE));
                need("ttl", self.text(&LONG_TTLS[..5]));
                if self.chance.percent(30) {
                    need("prevExist", self.text(TRUE));
                } else if self.chance.percent(30) && !value.is_empty() {
                    need("prevValue", Text::Plain(value));
                }
                key
            }
            Aim::NoForm | Aim::Redirect | Aim::NoRoute | Aim::NoPath | Aim::Anything | Aim::Wait(_) => self.any_key(),
        };
        (key, params)
    }

    fn any_key(&mut self) -> String {
        match self.chance.below(4) {
            0 => self.directory(false),
            1 => self.missing(),
            _ => self.file().0,
        }
    }

    /// A path that is not in its shortest form.
    fn crooked(&mut self, key: &str) -> String {
        let path = spell(key);
        let tail = &path["/v2/keys".len()..];
        let forms = [
            format!("/v2/keys/{tail}"),
            format!("/v2/./keys{tail}"),
            format!("/v2/keys/a/..{tail}"),
            format!("/v2/keys/a%2F..{tail}"),
            format!("/v2/keys{tail}//"),
            format!("/v2/keys{tail}/."),
            format!("//v2/keys{tail}"),
            format!("/v2/keys/.{tail}/.."),
        ];
        self.chance.pick(&forms).clone()
    }

    /// Adds parameters that leave the outcome as it is.
    fn dress(&mut self, request: &mut Request, aim: Aim, key: &str) {
        let number = if self.chance.percent(20) { 0 } else { 2 + self.chance.index(4) };
        for _ in 0..number {
            let name = PARAMS[self.dressed % PARAMS.len()];
            self.dressed += 1;
            if request.has(name) {
                continue;
            }
            if let Some(text) = self.harmless(&request.method.clone(), aim, name, key) {
                request.params.push(Param { name: name.to_owned(), text, in_body: false });
            }
        }
    }

    /// A text of a parameter that leaves the outcome as it is, if there is one.
    #[expect(clippy::match_same_arms, reason = "they are read parameter by parameter")]
    fn harmless(&mut self, method: &str, aim: Aim, name: &str, key: &str) -> Option<Text> {
        let compares = name == "prevValue" || name == "prevIndex";
        let refreshes = matches!(aim, Aim::Refresh | Aim::RefreshTtl);
        match (name, method, aim) {
            ("wait", _, Aim::NoField) if method == "GET" => Some(self.bool()),
            ("wait", "GET", aim) if PARSED[..7].contains(&aim) => Some(self.bool()),
            ("wait", ..) => Some(self.text(FALSE)),
            ("quorum", _, Aim::Wait(_)) => Some(self.text(FALSE)),
            ("waitIndex", _, Aim::Wait(_)) => {
                Some(if self.chance.percent(80) { Text::Next } else { Text::Later(1 + self.chance.below(12)) })
            }
            ("waitIndex", ..) => Some(if self.chance.percent(50) {
                Text::Later(self.chance.below(9))
            } else {
                self.text(&["0", "1", "007"])
            }),
            ("value", ..) if refreshes => Some(Text::Plain(String::new())),
            ("value", "PUT", Aim::Update) => None,
            ("value", ..) => Some(self.text(VALUES)),
            ("ttl", _, Aim::RefreshTtl) => Some(Text::Plain(String::new())),
            ("ttl", ..) => Some(self.text(LONG_TTLS)),
            ("refresh", _, _) => Some(self.text(FALSE)),
            ("recursive", "DELETE", Aim::NotFile | Aim::NotEmpty) => Some(self.text(FALSE)),
            ("dir", "DELETE", Aim::NotFile) => Some(self.text(FALSE)),
            ("dir", "PUT", Aim::Create | Aim::Set | Aim::Update | Aim::Swap | Aim::NotFile | Aim::Refresh) => {
                Some(self.text(FALSE))
            }
            ("prevExist", "PUT", Aim::Set) => None,
            ("prevExist", "PUT", Aim::Swap | Aim::Compare | Aim::NotFile | Aim::Refresh) => Some(self.text(TRUE)),
            ("prevIndex", _, Aim::Set | Aim::Update | Aim::Delete) => Some(Text::Plain("0".to_owned())),
            ("prevIndex", "PUT" | "DELETE", Aim::Swap | Aim::CompareDelete | Aim::Refresh) => {
                Some(Text::Seen(key.to_owned()))
            }
            (
                "prevValue",
                "PUT" | "DELETE",
                Aim::Swap | Aim::CompareDelete | Aim::Refresh | Aim::Set | Aim::Update | Aim::Delete,
            ) => None,
            ("prevIndex", "DELETE", Aim::Root | Aim::NotEmpty) => Some(Text::Plain("0".to_owned())),
            (_, "DELETE", Aim::Root | Aim::NotEmpty) if compares => None,
            ("prevIndex", ..) => Some(Text::Plain(self.chance.pick(&["1", "5", "18446744073709551615"]).to_string())),
            ("prevValue", ..) => Some(self.text(&["one", "two", "other", " "])),
            _ => Some(self.bool()),
        }
    }

    /// Says where the parameters go, in which order, and how the body is declared.
    fn place(&mut self, request: &mut Request, aim: Aim) {
        for at in (1..request.params.len()).rev() {
            let other = self.chance.index(at + 1);
            request.params.swap(at, other);
        }
        let takes_body = matches!(request.method.as_str(), "PUT" | "POST");
        if takes_body {
            let all = self.chance.percent(40);
            for param in &mut request.params {
                param.in_body = all || param.name == "value" || self.chance.percent(40);
            }
        }
        if aim == Aim::NoForm {
            self.spoil(request, takes_body);
        } else if takes_body && self.chance.percent(6) {
            request.form = *self.chance.pick(&[Form::Charset, Form::Shouted]);
        }
        if self.chance.percent(5) {
            request.origin = Some(crate::ORIGIN.to_owned());
        }
    }

    /// Makes a form of it that cannot be read.
    fn spoil(&mut self, request: &mut Request, takes_body: bool) {
        let in_body = takes_body && (request.params.is_empty() || self.chance.percent(50));
        if in_body && (request.params.is_empty() || self.chance.percent(40)) {
            request.form = Form::Broken;
            return;
        }
        let raw = (*self.chance.pick(&["a;b=c", "%zz", "%", "a%4"])).to_owned();
        request.params.push(Param { name: "other".to_owned(), text: Text::Raw(raw), in_body });
    }

    /// Notes in the sketch what should have come of a request.
    fn note(&mut self, request: &Request, aim: Aim, key: &str) {
        let value = request.params.iter().find(|param| param.name == "value").map(|param| match &param.text {
            Text::Plain(text) => text.clone(),
            Text::Raw(_) | Text::Bare | Text::Later(_) | Text::Next | Text::Seen(_) => String::new(),
        });
        let is_dir = request.params.iter().any(|param| {
            param.name == "dir" && matches!(&param.text, Text::Plain(text) if TRUE.contains(&text.as_str()))
        });
        match aim {
            Aim::Set | Aim::Create if request.method == "PUT" && is_dir => self.put(key, Node::Directory),
            Aim::Set | Aim::Create if request.method == "PUT" => self.put(key, Node::File(value.unwrap_or_default())),
            Aim::Create if key != "/" => self.put(&format!("{key}/0"), Node::Directory),
            Aim::Update | Aim::Swap if matches!(self.tree.get(key), Some(Node::File(_))) => {
                self.put(key, Node::File(value.unwrap_or_default()));
            }
            Aim::Delete | Aim::CompareDelete => self.remove(key),
            _ => {}
        }
    }

    /// A wait, and then what wakes it.
    fn wait(&mut self, wake: Wake) {
        let (method, aim) = match wake {
            Wake::Set | Wake::Expire => ("PUT", Aim::Set),
            Wake::Create => (*self.chance.pick(&["PUT", "POST"]), Aim::Create),
            Wake::Update => ("PUT", Aim::Update),
            Wake::Swap => ("PUT", Aim::Swap),
            Wake::Delete => ("DELETE", Aim::Delete),
            Wake::CompareDelete => ("DELETE", Aim::CompareDelete),
        };
        let (key, mut needs) = self.needs(method, aim);
        let mut write = Request::new(method, &self.spell(&key));
        if wake == Wake::Expire {
            needs.retain(|param| param.name != "ttl");
            let text = self.text(SHORT_TTLS);
            needs.push(Param { name: "ttl".to_owned(), text, in_body: false });
        }
        write.params = needs;
        self.place(&mut write, aim);
        let parent = key.rsplit_once('/').map_or("", |(parent, _)| parent);
        let parent = if parent.is_empty() { "/" } else { parent };
        let (watched, is_recursive) = match self.chance.below(5) {
            0 => (parent.to_owned(), true),
            1 => ("/".to_owned(), true),
            2 if aim == Aim::Delete => (format!("{key}/below"), false),
            _ => (key.clone(), method == "POST" || self.chance.percent(30)),
        };
        let mut wait = Request::new("GET", &self.spell(&watched)).with("wait", self.text(TRUE));
        if is_recursive {
            wait = wait.with("recursive", self.text(TRUE));
        }
        if wake == Wake::Expire {
            wait = wait.with("waitIndex", Text::Next);
        }
        self.dress(&mut wait, Aim::Wait(wake), &watched);
        self.place(&mut wait, Aim::Wait(wake));
        self.note(&write, aim, &key);
        if wake == Wake::Expire {
            self.remove(&key);
            self.requests.extend([write, wait]);
        } else {
            self.requests.extend([wait, write]);
        }
    }

    // Wild requests.

    fn wild(&mut self) {
        let method = if self.chance.percent(85) { self.chance.pick(&METHODS[..4]) } else { self.chance.pick(METHODS) };
        let key = match self.chance.below(10) {
            0 => "/".to_owned(),
            1..4 => (*self.chance.pick(DIRECTORIES)).to_owned(),
            _ => (*self.chance.pick(FILES)).to_owned(),
        };
        let path = if self.chance.percent(4) { self.crooked(&key) } else { self.spell(&key) };
        let mut request = Request::new(method, &path);
        for _ in 0..self.chance.below(5) {
            let name = if self.chance.percent(3) { "unknown" } else { *self.chance.pick(PARAMS) };
            let text = self.wild_text(name, &key);
            request.params.push(Param { name: name.to_owned(), text, in_body: self.chance.percent(40) });
        }
        if matches!(*method, "PUT" | "POST") && self.chance.percent(15) {
            request.form = *self.chance.pick(&[
                Form::Charset,
                Form::Shouted,
                Form::Json,
                Form::Plain,
                Form::Undeclared,
                Form::Broken,
            ]);
        }
        // A wait begins in this sequence: what is older is not the same for both.
        let waits = request.params.iter().any(|param| param.name == "wait");
        for param in request.params.iter_mut().filter(|param| waits && param.name == "waitIndex") {
            if matches!(&param.text, Text::Plain(text) if text.parse::<u64>().is_ok_and(|index| index > 0)) {
                param.text = Text::Later(1 + self.chance.below(9));
            }
        }
        self.requests.push(request);
    }

    fn wild_text(&mut self, name: &str, key: &str) -> Text {
        let is_bad = self.chance.percent(8);
        match name {
            _ if is_bad && self.chance.percent(20) => Text::Bare,
            "ttl" | "prevIndex" | "waitIndex" if is_bad => self.text(NO_NUMBER),
            "ttl" if self.chance.percent(2) => self.text(SHORT_TTLS),
            "ttl" => self.text(LONG_TTLS),
            "prevIndex" if self.chance.percent(60) => Text::Seen(key.to_owned()),
            "prevIndex" | "waitIndex" if self.chance.percent(60) => Text::Later(1 + self.chance.below(9)),
            "prevIndex" | "waitIndex" => self.text(&["0", "1", "18446744073709551615"]),
            "prevValue" | "value" | "unknown" => self.text(VALUES),
            _ if is_bad => self.text(NO_BOOL),
            _ => self.bool(),
        }
    }
}

/// The path of a key.
fn spell(key: &str) -> String {
    format!("/v2/keys{}", encode(key).replace("%25ff", "%ff").replace("%2B", "+"))
}

fn put(key: &str) -> Request {
    Request::new("PUT", &spell(key))
}
