//! What is ours on the server only while it is kept alive: kept, held while a command runs, and given back.
//!
//! The time of the server is never asked. A renewal counts from before it was sent, so that whatever is ours by the clock of
//! this machine is ours on the server.

use std::ffi::OsString;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::args::Grace;
use super::child::{Child, Signals};
use super::client::{Client, Request};
use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::route::Route;

/// It is renewed so often within its time.
const RENEWALS: u32 = 3;
/// The pause after a renewal that failed.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an endpoint may take to answer a renewal before the next one is asked; within these, a sixth of the time.
const SHORTEST_ANSWER: Duration = Duration::from_millis(250);
const LONGEST_ANSWER: Duration = Duration::from_secs(5);
/// How long giving it back is tried.
const RELEASE: Duration = Duration::from_secs(10);
/// What the server says when it is ours no longer.
const GONE: [&str; 3] = ["place_not_found", "instance_not_found", "instance_without_lease"];

/// Something held.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    client: &'a Client,
    /// What it is, for people.
    what: String,
    /// Where it is kept alive by POST, and given back by DELETE.
    keepalive: Route,
    release: Route,
    /// How long it lasts from a renewal.
    ttl: Duration,
    /// The last renewal was carried out after this moment.
    since: Instant,
    /// The endpoint that answered last, to begin with.
    preferred: usize,
}

/// A command to run while something is held.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub command: &'a [OsString],
    /// What the command finds in its environment besides.
    pub variables: Vec<(OsString, OsString)>,
    pub grace: Grace,
}

impl<'a> Hold<'a> {
    /// What the server carried out after the moment `since`.
    pub(crate) fn new(
        client: &'a Client,
        what: String,
        [keepalive, release]: [Route; 2],
        ttl: Duration,
        since: Instant,
    ) -> Self {
        Self { client, what, keepalive, release, ttl, since, preferred: 0 }
    }

    /// Runs the task, and gives back what is held when it ends.
    ///
    /// # Errors
    /// The command's own exit code unless that is 0. [`Exit::Lost`] when what is held is lost before: this is told at once,
    /// and the command is told to end.
    pub(crate) async fn run(mut self, out: &Output, task: Task<'_>, signals: &mut Signals) -> Outcome<()> {
        let mut child = match Child::spawn(task.command, task.variables, task.grace.kill_after) {
            Ok(child) => child,
            Err(failure) => {
                self.give_back().await;
                return Err(failure);
            }
        };
        let lost = tokio::select! {
            ended = child.run(signals) => {
                self.give_back().await;
                return ended?.outcome();
            }
            lost = self.keep() => lost,
        };
        lost.report(out.is_json());
        child.stop(signals).await?;
        Err(Failure::ended(lost.exit().code()))
    }

    /// Holds it until a signal comes, and gives it back.
    ///
    /// # Errors
    /// [`Exit::Lost`].
    pub(crate) async fn until_told(mut self, signals: &mut Signals) -> Outcome<()> {
        tokio::select! {
            _ = signals.next() => {}
            lost = self.keep() => return Err(lost),
        }
        self.give_back().await;
        Ok(())
    }

    /// Keeps it alive until it is lost, and tells why it is.
    pub(crate) async fn keep(&mut self) -> Failure {
        let mut next = self.since + self.ttl / RENEWALS;
        let mut troubled = false;
        loop {
            let end = self.since + self.ttl;
            sleep_until(next.min(end)).await;
            if Instant::now() >= end {
                return self.lost(&format!("no server confirmed it for {:?}", self.ttl));
            }
            match timeout_at(end, self.renew()).await {
                Ok(Ok(())) => {
                    if std::mem::take(&mut troubled) {
                        eprintln!("vardr: {} is kept again", self.what);
                    }
                    next = self.since + self.ttl / RENEWALS;
                }
                Ok(Err(failure)) if is_gone(&failure) => return self.lost(&failure.to_string()),
                Ok(Err(failure)) => {
                    if !std::mem::replace(&mut troubled, true) {
                        let left = end.saturating_duration_since(Instant::now()).as_secs_f64();
                        eprintln!(
                            "vardr: {failure}; {} is kept for {left:.1} s more, and it is tried again",
                            self.what
                        );
                    }
                    next = Instant::now() + PAUSE;
                }
                // Seen above.
                Err(_) => next = end,
            }
        }
    }

    /// Renews it, and tries that for as long as it may last.
    ///
    /// # Errors
    /// What the last endpoint said. Unless [`is_gone`], it may be ours still.
    pub(crate) async fn confirm(&mut self) -> Outcome<()> {
        let end = Instant::now() + self.ttl;
        loop {
            match self.renew().await {
                Err(failure) if !is_gone(&failure) && Instant::now() + PAUSE < end => sleep(PAUSE).await,
                confirmed => return confirmed,
            }
        }
    }

    /// It is ours anew: the server carried that out after the moment `since`.
    pub(crate) fn begin_anew(&mut self, since: Instant) {
        self.since = since;
    }

    /// Asks every endpoint once at most to set what is left back to the whole time.
    ///
    /// # Errors
    /// What the last endpoint said. When [`is_gone`], it is ours no longer.
    pub(crate) async fn renew(&mut self) -> Outcome<()> {
        let request = Request::plain(Method::POST, self.keepalive.clone(), Bytes::new());
        let patience = (self.ttl / 6).clamp(SHORTEST_ANSWER, LONGEST_ANSWER);
        let endpoints = self.client.endpoints();
        let mut last = None;
        for turn in 0..endpoints.len() {
            let index = (self.preferred + turn) % endpoints.len();
            let Some(endpoint) = endpoints.get(index) else { continue };
            let sent = Instant::now();
            let renewal = async {
                let response = self.client.open_at(endpoint, &request).await?;
                // Read for the sake of the connection; the head has said it all.
                let _read = response.bytes().await;
                Outcome::Ok(())
            };
            match timeout(patience, renewal).await {
                Ok(Ok(())) => {
                    self.preferred = index;
                    self.since = sent;
                    return Ok(());
                }
                Ok(Err(failure)) if is_gone(&failure) => return Err(failure),
                Ok(Err(failure)) => last = Some(failure),
                Err(_) => {
                    let message = format!("{endpoint} gave no answer in {patience:?}");
                    last = Some(Failure::new(Exit::Unavailable, message));
                }
            }
        }
        Err(last.unwrap_or_else(|| Failure::new(Exit::Unavailable, "no endpoint answered")))
    }

    fn lost(&self, why: &str) -> Failure {
        Failure::new(Exit::Lost, format!("{} is lost: {why}", self.what))
    }

    /// Gives it back, and says so where that cannot be done: then it ends by itself.
    pub(crate) async fn give_back(&self) {
        let request = Request::write(Method::DELETE, self.release.clone(), Bytes::new());
        let until = Instant::now() + RELEASE;
        loop {
            match self.client.find(&request).await {
                Ok(_) => return,
                Err(failure) if failure.exit() == Exit::Unavailable && Instant::now() < until => sleep(PAUSE).await,
                Err(failure) => {
                    let what = &self.what;
                    eprintln!("vardr: {failure}; {what} could not be given back, and ends by itself in {:?}", self.ttl);
                    return;
                }
            }
        }
    }
}

/// Whether the server says that it is ours no longer.
pub(crate) fn is_gone(failure: &Failure) -> bool {
    GONE.contains(&failure.code())
}
