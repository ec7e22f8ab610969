//! Following what was read: one WebSocket for all of it, connected again for as long as it takes.
//!
//! It tells only that something has changed, and leaves it to its user to read the state anew. So nothing hangs on single
//! events: a watch that cannot go on where it was (compacted, lagging, refused) is a change like any other, and the new
//! state is where the next one begins. Changes that come close together are one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use url::Url;

use super::client::{Client, Request};
use super::exit::{Failure, Outcome};
use super::moment::Subject;
use super::output::member;
use super::route::{self, Route};
use super::watch::{FIRST_PAUSE, LAST_PAUSE, SILENCE};
use crate::model::limits::MAX_SOCKET_WATCHES;

/// Changes that come no further apart than this are one.
const QUIET: Duration = Duration::from_millis(250);
/// However long they go on, they are told after this time.
const GATHERED_AT_MOST: Duration = Duration::from_secs(2);
/// The largest event: the largest value, escaped, and room to spare.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// What is followed, and from where.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    client: &'a Client,
    /// What goes on while no server can be reached, for people.
    goes_on: &'static str,
    subjects: Vec<Subject>,
    /// Everything up to this revision was read.
    after: u64,
    /// How far a subject has come without a change, by its place in `subjects`.
    quiet: BTreeMap<usize, u64>,
    socket: Option<WebSocketStream<reqwest::Upgraded>>,
    /// The watches of the socket that have begun.
    begun: BTreeSet<usize>,
    pause: Duration,
    /// Whether it was said that something does not work.
    troubled: bool,
}

/// What a message of the socket means.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Change,
    /// A watch has ended: the state has to be read before another one can begin.
    Gap,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(client: &'a Client, goes_on: &'static str) -> Self {
        Self {
            client,
            goes_on,
            subjects: Vec::new(),
            after: 0,
            quiet: BTreeMap::new(),
            socket: None,
            begun: BTreeSet::new(),
            pause: FIRST_PAUSE,
            troubled: false,
        }
    }

    /// From now on follows this, behind the revision at which it was read.
    ///
    /// # Errors
    /// More than fit on a socket.
    pub(crate) fn follow(&mut self, subjects: BTreeSet<Subject>, revision: u64) -> Outcome<()> {
        if subjects.len() > MAX_SOCKET_WATCHES {
            return Err(Failure::usage(format!(
                "{} keys and directories are read, and at most {MAX_SOCKET_WATCHES} can be followed: read directories as a whole",
                subjects.len()
            )));
        }
        if !subjects.iter().eq(&self.subjects) {
            self.subjects = subjects.into_iter().collect();
            self.disconnect();
        }
        self.after = revision;
        self.quiet.clear();
        self.settle();
        Ok(())
    }

    /// Waits until something has changed, and then until it is quiet. Read the state then, and go on with
    /// [`Self::follow`].
    pub(crate) async fn changed(&mut self) {
        let mut gap = self.next_change().await == Heard::Gap;
        let latest = Instant::now() + GATHERED_AT_MOST;
        while !gap {
            let until = latest.min(Instant::now() + QUIET);
            match timeout_at(until, self.next_change()).await {
                Ok(heard) if Instant::now() < latest => gap = heard == Heard::Gap,
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Says once that something does not work, and waits a while before it is tried again.
    pub(crate) async fn rest(&mut self, failure: &Failure) {
        self.complain(&failure.to_string());
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }

    fn complain(&mut self, what: &str) {
        if !self.troubled {
            self.troubled = true;
            eprintln!("vardr: {what}; {}, and it is tried again", self.goes_on);
        }
    }

    /// The state was read, and is followed: whatever did not work works again.
    fn settle(&mut self) {
        if self.socket.is_some() && self.begun.len() == self.subjects.len() {
            self.pause = FIRST_PAUSE;
            if self.troubled {
                self.troubled = false;
                eprintln!("vardr: connected again");
            }
        }
    }

    fn disconnect(&mut self) {
        self.socket = None;
        self.begun.clear();
    }

    /// Waits for the next change, or for a watch to end.
    async fn next_change(&mut self) -> Heard {
        if self.subjects.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let Some(socket) = &mut self.socket else {
                self.connect().await;
                continue;
            };
            let next = tokio::time::timeout(SILENCE, socket.next()).await;
            let heard = match next {
                Ok(Some(Ok(Message::Text(text)))) => self.take(&text),
                // Pings are answered by the library.
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_)))) => continue,
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => {
                    self.disconnect();
                    // Without a word: mostly another connection can be had at once.
                    tokio::time::sleep(FIRST_PAUSE).await;
                    continue;
                }
            };
            match heard {
                Heard::Nothing => {}
                Heard::Change => return heard,
                Heard::Gap => {
                    self.disconnect();
                    if self.troubled {
                        tokio::time::sleep(self.pause).await;
                        self.pause = (self.pause * 2).min(LAST_PAUSE);
                    }
                    return heard;
                }
            }
        }
    }

    /// Connects to whichever endpoint can be reached, however long it takes.
    async fn connect(&mut self) {
        loop {
            let mut last = None;
            for endpoint in self.client.endpoints() {
                match self.connect_to(endpoint).await {
                    Ok(socket) => {
                        self.socket = Some(socket);
                        return;
                    }
                    Err(failure) => last = Some(failure),
                }
            }
            if let Some(failure) = last {
                self.rest(&failure).await;
            }
        }
    }

    async fn connect_to(&self, endpoint: &Url) -> Outcome<WebSocketStream<reqwest::Upgraded>> {
        let stream = self.client.upgrade_at(endpoint, &upgrade_request()?).await?;
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
        for (place, subject) in self.subjects.iter().enumerate() {
            let after = self.quiet.get(&place).copied().unwrap_or(0).max(self.after);
            let request = watch_request(place, subject, after).to_string();
            let sent = socket.feed(Message::text(request)).await;
            sent.map_err(|error| Failure::failed(format!("{endpoint}: {error}")))?;
        }
        socket.flush().await.map_err(|error| Failure::failed(format!("{endpoint}: {error}")))?;
        Ok(socket)
    }

    fn take(&mut self, text: &str) -> Heard {
        let Ok(message) = serde_json::from_str::<Value>(text) else { return Heard::Nothing };
        let place = message.get("id").and_then(Value::as_str).and_then(|id| id.parse::<usize>().ok());
        let Some(place) = place.filter(|place| *place < self.subjects.len()) else { return Heard::Nothing };
        let number = |name: &str| message.get(name).and_then(Value::as_u64);
        match message.get("type").and_then(Value::as_str).unwrap_or_default() {
            // What was read already may still be on its way.
            "put" | "delete" | "expire" if number("modRevision").is_some_and(|revision| revision <= self.after) => {
                Heard::Nothing
            }
            "put" | "delete" | "expire" => Heard::Change,
            "watching" => {
                self.begun.insert(place);
                self.settle();
                Heard::Nothing
            }
            "progress" => {
                if let Some(revision) = number("resume") {
                    self.quiet.insert(place, revision);
                }
                Heard::Nothing
            }
            "compacted" | "lagging" => Heard::Gap,
            "error" => {
                let problem = message.get("problem").map_or_else(String::new, |problem| member(problem, "detail"));
                self.complain(&format!("the watch broke off: {problem}"));
                Heard::Gap
            }
            // Whatever a later server adds.
            _ => Heard::Nothing,
        }
    }
}

/// The client's part of the handshake (RFC 6455, section 4.1).
fn upgrade_request() -> Outcome<Request> {
    let mut request = Request::get(Route::new("/v1/watch"));
    let key = HeaderValue::from_str(&STANDARD.encode(rand::random::<[u8; 16]>()));
    let key = key.map_err(|_| Failure::failed("no key for a WebSocket can be had"))?;
    request.headers.insert(SEC_WEBSOCKET_KEY, key);
    request.headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    request.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    request.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    Ok(request)
}

fn watch_request(place: usize, subject: &Subject, after: u64) -> Value {
    let mut request = json!({"op": "watch", "id": place.to_string(), "after": after});
    let (name, value): (_, Value) = match subject {
        Subject::Key(key) => ("key64", route::key64(key).into()),
        Subject::Children(name) | Subject::Tree(name) => ("path", Route::of_key("", name).as_str().into()),
    };
    if let Some(members) = request.as_object_mut() {
        members.insert(name.to_owned(), value);
        if matches!(subject, Subject::Children(_)) {
            members.insert("children".to_owned(), true.into());
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::new(&["127.0.0.1:1".to_owned()], None).unwrap()
    }

    fn follower(client: &Client) -> Follower<'_> {
        let mut follower = Follower::new(client, "nothing goes on");
        let subjects = [Subject::Key(b"/a".to_vec()), Subject::Tree(b"/b/".to_vec())];
        follower.follow(subjects.into(), 10).unwrap();
        follower
    }

    #[test]
    fn what_was_read_already_is_no_change() {
        let client = client();
        let mut follower = follower(&client);
        assert_eq!(follower.take(r#"{"id":"0","type":"put","key":"/a","modRevision":10}"#), Heard::Nothing);
        assert_eq!(follower.take(r#"{"id":"1","type":"delete","key":"/b/x","modRevision":11}"#), Heard::Change);
        assert_eq!(follower.take(r#"{"id":"7","type":"put","key":"/b/x","modRevision":11}"#), Heard::Nothing);
        assert_eq!(follower.take(r#"{"type":"pong"}"#), Heard::Nothing);
    }

    #[test]
    fn a_quiet_subject_is_followed_from_where_it_has_come_to() {
        let client = client();
        let mut follower = follower(&client);
        assert_eq!(follower.take(r#"{"id":"1","type":"progress","revision":15,"resume":15}"#), Heard::Nothing);
        assert_eq!(follower.quiet, BTreeMap::from([(1, 15)]));
        follower.follow(follower.subjects.iter().cloned().collect(), 12).unwrap();
        assert_eq!(follower.quiet, BTreeMap::new(), "the state that was read is older");
    }

    #[test]
    fn a_watch_that_cannot_go_on_asks_for_the_state() {
        let client = client();
        let mut follower = follower(&client);
        assert_eq!(follower.take(r#"{"id":"0","type":"compacted","compactRevision":40}"#), Heard::Gap);
        assert_eq!(follower.take(r#"{"id":"0","type":"lagging","resumeAfter":7,"resume":7}"#), Heard::Gap);
        assert_eq!(follower.take(r#"{"id":"0","type":"error","problem":{"detail":"no"}}"#), Heard::Gap);
    }

    #[test]
    fn a_directory_is_named_by_its_path_and_a_key_by_its_bytes() {
        let shown = |subject: &Subject| watch_request(3, subject, 9).to_string();
        assert_eq!(shown(&Subject::Key(b"a".to_vec())), r#"{"op":"watch","id":"3","after":9,"key64":"YQ"}"#);
        assert_eq!(shown(&Subject::Tree(b"/a b/".to_vec())), r#"{"op":"watch","id":"3","after":9,"path":"/a%20b/"}"#);
        assert_eq!(
            shown(&Subject::Children(b"/a/".to_vec())),
            r#"{"op":"watch","id":"3","after":9,"path":"/a/","children":true}"#
        );
    }

    #[test]
    fn more_than_fits_on_a_socket_is_refused() {
        let client = client();
        let mut follower = Follower::new(&client, "nothing goes on");
        let keys = (0..=MAX_SOCKET_WATCHES).map(|number| Subject::Key(number.to_string().into_bytes()));
        assert!(follower.follow(keys.collect(), 1).unwrap_err().to_string().contains("at most 1000"));
    }
}
