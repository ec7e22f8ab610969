//! Two servers side by side: a sequence is played to both, step by step, and what they say is compared.
//!
//! Before each sequence both trees are emptied, and the server that is behind gets writes to a hidden key until both are at the same
//! index. Nothing sleeps: an expiry is awaited with a wait of its own before anything else is sent, and a wait of the sequence is ended by a
//! write that has to wake it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::answer::{Answer, Window};
use crate::request::{Indices, Request, Text, encode};
use crate::support::http::Response;

/// How long an answer may take; none in time is an answer too.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a stream is looked at that may have nothing more to say, once its neighbour has heard the news.
const QUIET: Duration = Duration::from_millis(200);
/// An expiration this near is awaited.
const NEAR_SECONDS: f64 = 5.0;
/// Beside how long the sequence took, for dates to be compared.
const TOLERANCE: Duration = Duration::from_millis(100);
/// The keys at the top that no listing shows.
pub(crate) const HIDDEN: &[&str] = &["/_h", "/_hd"];
/// Where the server that is behind catches up.
const PADDING: &str = "/v2/keys/_padding";

/// The reference on the left, the one under test on the right.
pub(crate) struct Pair {
    pub(crate) left: String,
    pub(crate) right: String,
}

/// Two answers to the same.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) left: Answer,
    pub(crate) right: Answer,
}

/// What a sequence came to.
#[derive(Debug, Default)]
pub(crate) struct Played {
    /// The requests and their outcomes at the reference; a wait's is what woke it, as `wait-set`.
    pub(crate) outcomes: Vec<(Request, String)>,
    /// The first step at which the servers disagreed.
    pub(crate) difference: Option<Step>,
    /// The index at which both began.
    pub(crate) base: u64,
    /// All command lines up to there.
    pub(crate) lines: Vec<String>,
}

/// A wait that is open at both servers.
struct Waiter {
    request: Request,
    line: String,
    /// The least index at which an event reaches it.
    from: u64,
    /// Whether something was about to expire when it began.
    is_timed: bool,
    left: Line,
    right: Line,
}

/// A connection on which an answer is under way.
struct Line {
    stream: Option<TcpStream>,
    bytes: Vec<u8>,
}

impl Line {
    fn open(address: &str, wire: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).ok();
        if let Some(open) = &mut stream {
            let _ = open.set_read_timeout(Some(LIMIT));
            // A server that refuses early may close before it has read everything.
            let _ = open.write_all(wire);
        }
        Self { stream, bytes: Vec::new() }
    }

    /// Reads until the bytes are what is asked for, the server ends the answer, or nothing comes for so long.
    fn read_until(&mut self, silence: Duration, is_enough: impl Fn(&[u8]) -> bool) {
        let Some(stream) = &mut self.stream else { return };
        let _ = stream.set_read_timeout(Some(silence));
        let mut part = [0; 16384];
        while !is_enough(&self.bytes) {
            match stream.read(&mut part) {
                Ok(0) => break,
                Ok(length) => self.bytes.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }

    fn response(&self) -> Response {
        Response::parse(&self.bytes)
    }

    /// The head of the answer; the whole of it where it does not stay open.
    fn begin(&mut self) -> Response {
        self.read_until(LIMIT, |bytes| bytes.windows(4).any(|four| four == b"\r\n\r\n"));
        let mut head = self.response();
        if head.header("transfer-encoding").is_none() {
            self.read_until(LIMIT, |_| false);
            return self.response();
        }
        head.body.clear();
        head
    }
}

fn exchange(address: &str, wire: &[u8]) -> Response {
    let mut line = Line::open(address, wire);
    line.read_until(LIMIT, |_| false);
    line.response()
}

impl Pair {
    pub(crate) fn new(left: &str, right: &str) -> Self {
        Self { left: left.to_owned(), right: right.to_owned() }
    }

    /// Plays a sequence to both, up to the first difference.
    pub(crate) fn play(&self, sequence: &[Request]) -> Played {
        self.wipe();
        let base = self.align();
        let indices = Indices { base, now: base, ..Indices::default() };
        let mut play = Play {
            pair: self,
            indices,
            begun: (SystemTime::now(), Instant::now()),
            waiters: Vec::new(),
            expiring: Vec::new(),
            played: Played { base, ..Played::default() },
        };
        for request in sequence {
            if play.step(request).is_none() {
                return play.played;
            }
        }
        play.finish();
        play.played
    }

    /// Empties both trees, in the same order.
    fn wipe(&self) {
        for address in [&self.left, &self.right] {
            wipe(address);
        }
    }

    /// Brings both to the same index, and says which.
    fn align(&self) -> u64 {
        let (mut left, mut right) = (index(&self.left), index(&self.right));
        while left < right {
            left = pad(&self.left);
        }
        while right < left {
            right = pad(&self.right);
        }
        left
    }
}

/// A sequence while it is played.
struct Play<'a> {
    pair: &'a Pair,
    indices: Indices,
    begun: (SystemTime, Instant),
    waiters: Vec<Waiter>,
    /// Paths with what will expire soon, and the index from which to wait for it.
    expiring: Vec<(String, u64)>,
    played: Played,
}

impl Play<'_> {
    /// Sends one request; `None` once the servers have disagreed.
    fn step(&mut self, request: &Request) -> Option<()> {
        if request.may_wait() {
            return self.open(request);
        }
        self.settle()?;
        let wire = request.wire(&self.indices);
        let ask = |address: &str| {
            let sent = SystemTime::now();
            let response = exchange(address, &wire);
            let window = Window { begun: self.begun.0, sent, received: SystemTime::now() };
            (Answer::of(&response, request.is_sorted(), window), response)
        };
        let (left, known) = ask(&self.pair.left);
        let (right, _) = ask(&self.pair.right);
        let (line, outcome) = (request.curl(&self.indices), left.outcome());
        self.compare(line, left, right)?;
        self.learn(request, &known);
        self.played.outcomes.push((request.clone(), outcome));
        Some(())
    }

    fn compare(&mut self, what: String, left: Answer, right: Answer) -> Option<()> {
        self.played.lines.push(what);
        if left.agrees(&right, self.begun.1.elapsed() + TOLERANCE) {
            return Some(());
        }
        self.played.difference = Some(Step { left, right });
        None
    }

    /// Takes in what the reference says about indices, and about what will soon expire.
    fn learn(&mut self, request: &Request, response: &Response) {
        let index: Option<u64> = response.header("x-etcd-index").and_then(|index| index.parse().ok());
        self.indices.now = index.unwrap_or_default().max(self.indices.now);
        let Ok(body) = serde_json::from_slice::<Value>(&response.body) else { return };
        let node = &body["node"];
        let (Some(key), Some(index)) = (node["key"].as_str(), node["modifiedIndex"].as_u64()) else { return };
        self.indices.seen.insert(key.to_owned(), index);
        let expiration = node["expiration"].as_str().and_then(|date| date.parse::<jiff::Timestamp>().ok());
        if body["action"] == "get" || !expiration.is_some_and(is_near) {
            return;
        }
        // By the path of the request, since the key that an answer shows may not be the one that is stored.
        let name = key.rsplit('/').next().unwrap_or_default();
        let path = if request.method == "POST" { format!("{}/{name}", request.path) } else { request.path.clone() };
        self.expiring.push((path, index + 1));
    }

    /// Waits for what expires soon.
    fn settle(&mut self) -> Option<()> {
        for (path, index) in std::mem::take(&mut self.expiring) {
            let wait = Request::new("GET", &path).with("wait", Text::Plain("true".to_owned()));
            let wait = wait.with("waitIndex", Text::Plain(index.to_string()));
            let wire = wait.wire(&self.indices);
            let mut lines = [&self.pair.left, &self.pair.right].map(|address| Line::open(address, &wire));
            for line in &mut lines {
                line.read_until(LIMIT, |_| false);
            }
            let window = Window { begun: self.begun.0, sent: self.begun.0, received: SystemTime::now() };
            // It may have expired before the wait began, or after.
            let [left, right] = lines.map(|line| Answer::of(&line.response(), false, window).whenever());
            self.compare(wait.curl(&self.indices), left, right)?;
            self.indices.now += 1;
        }
        Some(())
    }

    /// Opens a wait at both.
    fn open(&mut self, request: &Request) -> Option<()> {
        // Only one that names where it begins hears of an expiry whether it was there in time or not; and of a hidden key only from the
        // past, where etcd does not look whether it is hidden.
        let is_hidden = |(path, _): &(String, u64)| path.replace("%2F", "/").replace("%2f", "/").contains("/_");
        let names_its_beginning = !request.streams() && request.wait_index(&self.indices).is_some();
        if !names_its_beginning || self.expiring.iter().any(is_hidden) {
            self.settle()?;
        }
        let is_timed = !self.expiring.is_empty();
        let (wire, line) = (request.wire(&self.indices), request.curl(&self.indices));
        let window = |begun| Window { begun, sent: begun, received: SystemTime::now() };
        let mut left = Line::open(&self.pair.left, &wire);
        let known = Answer::of(&left.begin(), request.is_sorted(), window(self.begun.0));
        let mut right = Line::open(&self.pair.right, &wire);
        let other = Answer::of(&right.begin(), request.is_sorted(), window(self.begun.0));
        let outcome = known.outcome();
        let stays_open = left.response().header("transfer-encoding").is_some();
        let timed = |answer: Answer| if is_timed { answer.whenever() } else { answer };
        self.compare(format!("{line} &"), timed(known), timed(other))?;
        if stays_open {
            let from = request.wait_index(&self.indices).unwrap_or_default();
            self.waiters.push(Waiter { request: request.clone(), line, from, is_timed, left, right });
        } else {
            self.played.outcomes.push((request.clone(), outcome));
        }
        Some(())
    }

    /// Waits for what expires, then ends each wait and compares what it heard.
    fn finish(&mut self) -> Option<()> {
        self.settle()?;
        for (number, waiter) in std::mem::take(&mut self.waiters).into_iter().enumerate() {
            self.collect(&format!("the-end-{number}"), waiter)?;
        }
        Some(())
    }

    /// Wakes a wait with a write of `mark` at its path, and compares all that it heard.
    fn collect(&mut self, mark: &str, mut waiter: Waiter) -> Option<()> {
        let own = waiter.request.path.replace("%2F", "/").replace("%2f", "/");
        let own = own.trim_end_matches('/');
        let root = own == "/v2/keys";
        // Nothing happens at the root itself: a wait on it alone is never woken.
        if root && !waiter.request.has("recursive") {
            return Some(());
        }
        self.pair.wipe();
        let path = if root { format!("{own}/end") } else { own.to_owned() };
        // Once from the past, a stream of etcd's stays silent: what there is to hear, a neighbour hears too.
        let may_stay_silent = waiter.request.streams() && waiter.from > 0;
        let write = Request::new("PUT", &path).with("value", Text::Plain(mark.to_owned())).wire(&self.indices);
        let neighbour = Request::new("GET", &path).with("wait", Text::Plain("true".to_owned())).wire(&self.indices);
        for (address, line) in [(&self.pair.left, &mut waiter.left), (&self.pair.right, &mut waiter.right)] {
            let mut beside = Line::open(address, &neighbour);
            beside.begin();
            let mut reached = 0;
            while reached < waiter.from.max(1) {
                match exchange(address, &write).header("x-etcd-index").and_then(|index| index.parse().ok()) {
                    Some(index) if index > reached => reached = index,
                    _ => break,
                }
            }
            beside.read_until(LIMIT, |_| false);
            let silence = if may_stay_silent { QUIET } else { LIMIT };
            line.read_until(silence, |bytes| bytes.windows(mark.len()).any(|part| part == mark.as_bytes()));
            if !waiter.request.streams() {
                line.read_until(LIMIT, |_| false);
            }
        }
        let window = Window { begun: self.begun.0, sent: self.begun.0, received: SystemTime::now() };
        let [left, right] =
            [&waiter.left, &waiter.right].map(|line| Answer::of(&line.response(), waiter.request.is_sorted(), window));
        // What only the end of the test woke says nothing about the wait's outcome.
        let heard = left.body.split('\n').next().unwrap_or_default();
        if !heard.contains("the-end-") && !heard.is_empty() {
            self.played.outcomes.push((waiter.request.clone(), format!("wait-{}", left.outcome())));
        }
        let timed = |answer: Answer| if waiter.is_timed { answer.whenever() } else { answer };
        self.compare(format!("# heard by: {}", waiter.line), timed(left), timed(right))
    }
}

fn is_near(expiration: jiff::Timestamp) -> bool {
    let left = expiration.duration_since(jiff::Timestamp::now());
    left.as_secs_f64() < NEAR_SECONDS
}

fn plain(method: &str, path: &str) -> Vec<u8> {
    Request::new(method, path).wire(&Indices::default())
}

fn index(address: &str) -> u64 {
    let answer = exchange(address, &plain("HEAD", "/v2/keys/"));
    answer.header("x-etcd-index").and_then(|index| index.parse().ok()).unwrap_or_default()
}

fn pad(address: &str) -> u64 {
    let answer = exchange(address, &plain("PUT", PADDING));
    let index = answer.header("x-etcd-index").and_then(|index| index.parse().ok());
    index.unwrap_or_else(|| panic!("{address} takes no writes: {} {}", answer.status, answer.text()))
}

fn wipe(address: &str) {
    let listing = exchange(address, &plain("GET", "/v2/keys/?sorted=true"));
    let body: Value = serde_json::from_slice(&listing.body).unwrap_or_default();
    let listed = body["node"]["nodes"].as_array().cloned().unwrap_or_default();
    let listed = listed.iter().filter_map(|node| node["key"].as_str()).map(str::to_owned);
    for key in listed.chain(HIDDEN.iter().map(|&key| key.to_owned())) {
        exchange(address, &plain("DELETE", &format!("/v2/keys{}?recursive=true", encode(&key))));
    }
}
