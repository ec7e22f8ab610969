//! What locks and elections have in common: a place in a queue is waited for, and held once it is the first.

use std::ffi::OsString;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::args::{Grace, Terms};
use super::child::{Signals, ended_by};
use super::client::{Answer, Client, Request};
use super::exit::{Exit, Outcome};
use super::hold::{Hold, Task, is_gone};
use super::item;
use super::output::{Output, member};
use super::route::Route;
use crate::config::duration_text;

/// The longest that a server lets a request wait.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// The pause before a server that could not be reached is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// In what the faces of queues differ.
#[derive(Debug)]
pub(crate) struct Face {
    /// What it is, for people.
    pub what: &'static str,
    pub base: &'static str,
    /// The member of a place that names it.
    pub place: &'static str,
    /// The variables for the name of the queue and for that of the place.
    pub variables: [&'static str; 2],
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue<'a> {
    pub face: &'static Face,
    pub name: &'a str,
}

/// What to do with the first place of a queue.
#[derive(Debug)]
pub(crate) struct Stay<'a> {
    pub terms: Terms,
    /// What is said about whoever asks: members of the request.
    pub says: Map<String, Value>,
    pub grace: Grace,
    /// Empty to hold it until a signal comes.
    pub command: &'a [OsString],
}

impl Queue<'_> {
    pub(crate) fn route(&self, behind: &str) -> Outcome<Route> {
        Route::of_name(self.face.base, self.name, behind)
    }

    /// Waits to be the first, and holds the place while the command runs, or until a signal comes.
    ///
    /// # Errors
    /// [`Exit::Precondition`] when others were first for as long as the terms say; those of [`Hold`].
    pub(crate) async fn stay(&self, client: &Client, out: &Output, stay: Stay<'_>) -> Outcome<()> {
        let mut signals = Signals::new()?;
        let (hold, answer) = self.enter(client, &stay, &mut signals).await?;
        let place: Value = item::read(&answer.body)?;
        if stay.command.is_empty() {
            let told = if out.is_json() { out.line(&answer.body) } else { out.line(member(&place, "fencingToken")) };
            if let Err(failure) = told {
                // Whoever was to read it is gone.
                hold.give_back().await;
                return Err(failure);
            }
            return hold.until_told(&mut signals).await;
        }
        let [name, id] = self.face.variables;
        let values = [
            (name, self.name.to_owned()),
            (id, member(&place, self.face.place)),
            ("VARDR_FENCING_TOKEN", member(&place, "fencingToken")),
        ];
        let variables = values.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        hold.run(out, Task { command: stay.command, variables, grace: stay.grace }, &mut signals).await
    }

    /// Waits to be the first. A signal ends that, and leaves no place behind.
    async fn enter<'c>(
        &self,
        client: &'c Client,
        stay: &Stay<'_>,
        signals: &mut Signals,
    ) -> Outcome<(Hold<'c>, Answer)> {
        let ttl = stay.terms.ttl;
        let until = stay.terms.wait().map(|wait| Instant::now() + wait);
        let mut reached = false;
        let mut troubled = false;
        loop {
            let wait =
                until.map_or(LONGEST_WAIT, |until| until.saturating_duration_since(Instant::now())).min(LONGEST_WAIT);
            let sent = Instant::now();
            let request = self.request(stay, wait)?;
            let answered = tokio::select! {
                biased;
                answered = client.send(&request) => answered,
                // The connection is closed, and the server gives the place up.
                signal = signals.next() => return Err(ended_by(signal)),
            };
            let failure = match answered {
                Ok(answer) => {
                    if let Some(hold) = self.hold(client, &answer, ttl, sent, signals).await? {
                        return Ok((hold, answer));
                    }
                    reached = true;
                    continue;
                }
                Err(failure) => failure,
            };
            let is_over = until.is_some_and(|until| Instant::now() >= until);
            match failure.exit() {
                Exit::Precondition if !is_over => reached = true,
                // One that was never reached is a mistake more likely than an outage.
                Exit::Unavailable | Exit::Unknown if reached && !is_over => {
                    if !std::mem::replace(&mut troubled, true) {
                        eprintln!("vardr: {failure}; it is tried again");
                    }
                    tokio::select! {
                        () = sleep(PAUSE) => {}
                        signal = signals.next() => return Err(ended_by(signal)),
                    }
                }
                _ => return Err(failure),
            }
        }
    }

    fn request(&self, stay: &Stay<'_>, wait: Duration) -> Outcome<Request> {
        let mut body = stay.says.clone();
        body.insert("ttl".to_owned(), duration_text(stay.terms.ttl).into());
        body.insert("wait".to_owned(), duration_text(wait).into());
        // Without an idempotency key: with one, the server would keep the place of a request that is cut off for a retry.
        let mut request = Request::plain(Method::POST, self.route("")?, Value::from(body).to_string());
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.waits = wait;
        Ok(request)
    }

    /// The place that the server answered with; `None` where it is lost already, or given back because no server confirms it.
    ///
    /// While a request waits, the server keeps its place alive. How long ago it did so last is not known here, so that after
    /// a longer wait the place is renewed first. A signal meanwhile gives it back.
    async fn hold<'c>(
        &self,
        client: &'c Client,
        answer: &Answer,
        ttl: Duration,
        sent: Instant,
        signals: &mut Signals,
    ) -> Outcome<Option<Hold<'c>>> {
        let place = member(&item::read(&answer.body)?, self.face.place);
        let routes = [self.route(&format!("/{place}:keepalive"))?, self.route(&format!("/{place}"))?];
        let mut hold = Hold::new(client, format!("{} `{}`", self.face.what, self.name), routes, ttl, sent);
        if sent.elapsed() < ttl / 3 {
            return Ok(Some(hold));
        }
        let confirmed = tokio::select! {
            biased;
            confirmed = hold.confirm() => confirmed,
            signal = signals.next() => {
                hold.give_back().await;
                return Err(ended_by(signal));
            }
        };
        match confirmed {
            Ok(()) => Ok(Some(hold)),
            Err(failure) if is_gone(&failure) => Ok(None),
            Err(_) => {
                // It may be there, and whoever asks again would wait behind it.
                hold.give_back().await;
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Arguments, Command};
    use crate::cli::lock::LOCK;

    fn terms(line: &str) -> Terms {
        match Arguments::try_parse_from(line.split(' ')).unwrap().command {
            Some(Command::Lock(args)) => args.terms,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_waits_and_carries_no_key() {
        let terms = terms("vardr lock a --ttl 5s");
        let stay = Stay { terms, says: Map::new(), grace: Grace { kill_after: Duration::ZERO }, command: &[] };
        let queue = Queue { face: &LOCK, name: "/a:b" };
        let request = queue.request(&stay, Duration::from_secs(90)).unwrap();
        assert_eq!(request.route.as_str(), "/v1/locks/%2Fa%3Ab");
        assert_eq!(&request.body[..], br#"{"ttl":"5s","wait":"90s"}"#);
        assert_eq!(request.waits, Duration::from_secs(90));
        assert!(!request.headers.contains_key("idempotency-key"));
    }

    #[test]
    fn to_try_is_to_wait_for_no_time() {
        assert_eq!(terms("vardr lock a").wait(), None);
        assert_eq!(terms("vardr lock a --try").wait(), Some(Duration::ZERO));
        assert_eq!(terms("vardr lock a --wait 2m").wait(), Some(Duration::from_mins(2)));
        assert!(Arguments::try_parse_from("vardr lock a --try --wait 2m".split(' ')).is_err());
    }
}
