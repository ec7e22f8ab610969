//! Watches and sessions over WebSocket (RFC 6455): many watches on one socket, each under a name of the client's.
//!
//! A socket is one task. It awaits each send, so a reader that does not read holds up its own socket only; what is
//! waiting for it is bounded by the hub, which ends its watches with `lagging`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable, Aborted, BoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::time::sleep_until;

use super::super::format::{Detail, Object};
use super::carrier::{Content, Message, messages};
use super::{Asked, Compacted, Kinds, WatchParameters, literal, target_of_path};
use crate::api::State;
use crate::api::extract::json::{self, Count, Lease, Span};
use crate::api::extract::query::{After, Kind};
use crate::api::problem::{Code, Problem};
use crate::model::limits::{
    MAX_SOCKET_WATCHES, SOCKET_FRAME_BYTES, SOCKET_MESSAGE_BYTES, SOCKET_PING_EVERY, SOCKET_SILENCE, SOCKET_WRITE_BYTES,
};
use crate::model::{Command, LeaseId, Revision, Ttl};
use crate::service::{Call, Error, Origin, Service, WatchItem, WatchStream};

/// However short a session's time to live, it is pinged no more often than this.
const PING_AT_MOST_EVERY: Duration = Duration::from_millis(100);
/// The name of the watch that a socket was opened for by its path.
const PATH_WATCH: &str = "watch";

/// What a client may send.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    #[serde(rename_all = "camelCase")]
    Watch {
        id: String,
        path: Option<String>,
        key: Option<String>,
        key64: Option<String>,
        children: Option<bool>,
        after: Option<Count>,
        initial: Option<bool>,
        prev_value: Option<bool>,
        keys_only: Option<bool>,
        events: Option<Vec<String>>,
        on_compacted: Option<String>,
    },
    Cancel {
        id: String,
    },
    Keepalive {
        lease: Lease,
    },
    Session {
        ttl: Span,
    },
    Ping {},
}

/// Answers an upgrade, then serves the socket.
pub(super) fn open(
    upgrade: WebSocketUpgrade,
    state: State,
    origin: Option<Arc<Origin>>,
    asked: Option<Asked>,
) -> Response {
    upgrade
        .max_message_size(SOCKET_MESSAGE_BYTES)
        .max_frame_size(SOCKET_FRAME_BYTES)
        .max_write_buffer_size(SOCKET_WRITE_BYTES)
        .on_upgrade(move |socket| async move {
            let mut connection = Connection::new(socket, state, origin);
            let ended = connection.serve(asked).await;
            connection.close(&ended).await;
        })
}

/// Why a socket ends.
enum End {
    /// The other end closed it, or it broke.
    Gone,
    /// The server drains: resume elsewhere.
    Draining,
    /// The session's lease was lost.
    Expired,
    /// Nothing has come for too long.
    Silent,
}

/// One watch of a socket, and what it said last; or that it was cancelled.
type Step = Result<(Running, Option<WatchItem>), Aborted>;

struct Running {
    id: String,
    stream: WatchStream,
    detail: Detail,
}

/// A lease that lives while the socket does.
struct Session {
    lease: LeaseId,
    ttl: Duration,
    renewed: Instant,
}

struct Connection {
    socket: WebSocket,
    state: State,
    origin: Option<Arc<Origin>>,
    /// The watches that run, and what cancels each.
    names: BTreeMap<String, AbortHandle>,
    steps: FuturesUnordered<BoxFuture<'static, Step>>,
    session: Option<Session>,
    /// When something last came from the other end.
    heard: Instant,
}

impl Connection {
    fn new(socket: WebSocket, state: State, origin: Option<Arc<Origin>>) -> Self {
        Self {
            socket,
            state,
            origin,
            names: BTreeMap::new(),
            steps: FuturesUnordered::new(),
            session: None,
            heard: Instant::now(),
        }
    }

    fn service(&self) -> &Service {
        self.state.service()
    }

    fn call(&self) -> Call {
        Call::new(Instant::now() + self.state.settings().timeout).by(self.origin.clone())
    }

    async fn serve(&mut self, asked: Option<Asked>) -> End {
        match self.run(asked).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn run(&mut self, asked: Option<Asked>) -> Result<Infallible, End> {
        if let Some(asked) = asked {
            self.begin(PATH_WATCH.to_owned(), asked).await?;
        }
        let draining = self.service().shutdown_signal();
        tokio::pin!(draining);
        let mut pinged = tokio::time::Instant::now();
        loop {
            let every =
                self.session.as_ref().map_or(SOCKET_PING_EVERY, |session| (session.ttl / 3).min(SOCKET_PING_EVERY));
            let ping_at = pinged + every.max(PING_AT_MOST_EVERY);
            tokio::select! {
                () = &mut draining => return Err(End::Draining),
                frame = self.socket.recv() => match frame {
                    Some(Ok(frame)) => self.receive(frame).await?,
                    Some(Err(_)) | None => return Err(End::Gone),
                },
                Some(step) = self.steps.next() => {
                    if let Ok((watch, item)) = step {
                        self.step(watch, item).await?;
                    }
                }
                () = sleep_until(ping_at) => {
                    if self.heard.elapsed() > SOCKET_SILENCE {
                        return Err(End::Silent);
                    }
                    pinged = tokio::time::Instant::now();
                    self.send(Frame::Ping(Bytes::new())).await?;
                }
            }
        }
    }

    async fn send(&mut self, frame: Frame) -> Result<(), End> {
        self.socket.send(frame).await.map_err(|_| End::Gone)
    }

    async fn say(&mut self, out: Vec<u8>) -> Result<(), End> {
        // JSON is UTF-8: it was written from strings.
        let text = Utf8Bytes::try_from(Bytes::from(out)).map_err(|_| End::Gone)?;
        self.send(Frame::Text(text)).await
    }

    /// An answer to a request: its `type`, the `id` it was sent under, and what `write` adds.
    async fn answer(&mut self, kind: &str, id: Option<&str>, write: impl FnOnce(&mut Object<'_>)) -> Result<(), End> {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        if let Some(id) = id {
            object.string("id", id);
        }
        object.string("type", kind);
        write(&mut object);
        object.end();
        self.say(out).await
    }

    async fn refuse(&mut self, id: Option<&str>, problem: &Problem) -> Result<(), End> {
        let mut out = Vec::new();
        let message = Message { kind: "error", resume: None, content: Content::Problem(problem) };
        message.write_json(&mut out, id, self.state.service(), Detail::default());
        self.say(out).await
    }

    async fn receive(&mut self, frame: Frame) -> Result<(), End> {
        self.heard = Instant::now();
        self.renew_session().await?;
        match frame {
            Frame::Text(text) => match json::read::<Request>(&Bytes::from(text)) {
                Ok(request) => self.carry_out(request).await,
                Err(problem) => self.refuse(None, &problem).await,
            },
            Frame::Binary(_) => {
                let problem = Problem::invalid("a binary message: requests are JSON in text messages");
                self.refuse(None, &problem).await
            }
            Frame::Ping(_) | Frame::Pong(_) => Ok(()),
            Frame::Close(_) => Err(End::Gone),
        }
    }

    async fn carry_out(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Ping {} => self.answer("pong", None, |_| ()).await,
            Request::Cancel { id } => {
                if let Some(watch) = self.names.remove(&id) {
                    watch.abort();
                    self.answer("cancelled", Some(&id), |_| ()).await
                } else {
                    let problem = Problem::new(Code::NotFound, "no watch of this name runs on this socket");
                    self.refuse(Some(&id), &problem).await
                }
            }
            Request::Keepalive { lease: Lease(lease) } => {
                let call = self.call();
                match self.service().renew_lease(&call, lease).await {
                    Ok((_, ttl)) => self.answer("keepalive", None, |object| lease_members(object, lease, ttl)).await,
                    Err(error) => self.refuse(None, &Problem::from(error)).await,
                }
            }
            Request::Session { ttl: Span(ttl) } => self.begin_session(ttl).await,
            watch @ Request::Watch { .. } => match read_watch(watch) {
                Ok((id, asked)) => self.begin(id, asked).await,
                Err((id, problem)) => self.refuse(Some(&id), &problem).await,
            },
        }
    }

    async fn begin(&mut self, id: String, asked: Asked) -> Result<(), End> {
        if self.names.contains_key(&id) {
            let problem = Problem::invalid("a watch of this name runs on this socket already");
            return self.refuse(Some(&id), &problem).await;
        }
        if self.names.len() >= MAX_SOCKET_WATCHES {
            let detail = format!("a socket holds at most {MAX_SOCKET_WATCHES} watches; open another one");
            return self.refuse(Some(&id), &Problem::new(Code::Overloaded, detail)).await;
        }
        let call = self.call();
        match self.service().watch(&call, asked.request).await {
            Ok(stream) => {
                let revision = stream.revision();
                self.answer("watching", Some(&id), |object| object.number("revision", revision.get())).await?;
                self.follow(Running { id, stream, detail: asked.detail });
                Ok(())
            }
            Err(error) => self.refuse(Some(&id), &Problem::from(error)).await,
        }
    }

    /// Waits for the watch's next item, until it is cancelled.
    fn follow(&mut self, mut watch: Running) {
        let (handle, registration) = AbortHandle::new_pair();
        self.names.insert(watch.id.clone(), handle);
        let next = async move {
            let item = watch.stream.next().await;
            (watch, item)
        };
        self.steps.push(Box::pin(Abortable::new(next, registration)));
    }

    async fn step(&mut self, watch: Running, item: Option<WatchItem>) -> Result<(), End> {
        let Some(item) = item else {
            self.names.remove(&watch.id);
            return Ok(());
        };
        if matches!(item, WatchItem::Closed) {
            return Err(End::Draining);
        }
        let mut texts = Vec::new();
        let goes_on = messages(&item, |message| {
            let mut out = Vec::new();
            message.write_json(&mut out, Some(&watch.id), self.state.service(), watch.detail);
            texts.push(out);
        });
        for text in texts {
            self.say(text).await?;
        }
        if goes_on {
            self.follow(watch);
        } else {
            self.names.remove(&watch.id);
        }
        Ok(())
    }

    async fn begin_session(&mut self, ttl: Ttl) -> Result<(), End> {
        if self.session.is_some() {
            return self.refuse(None, &Problem::invalid("this socket has a session already")).await;
        }
        let id = self.service().new_lease_id();
        let call = self.call();
        match self.service().write(&call, Command::GrantLease { id, ttl }).await {
            Ok(_) => {
                let session = Session { lease: id, ttl: Duration::from_millis(ttl.get()), renewed: Instant::now() };
                self.session = Some(session);
                self.answer("session", None, |object| lease_members(object, id, ttl)).await
            }
            Err(error) => self.refuse(None, &Problem::from(error)).await,
        }
    }

    /// Renews the session because something came from its client. Nothing else ever does: a socket whose other end is
    /// gone must not keep keys alive.
    async fn renew_session(&mut self) -> Result<(), End> {
        let Some(session) = &self.session else { return Ok(()) };
        if session.renewed.elapsed() < session.ttl / 4 {
            return Ok(());
        }
        let lease = session.lease;
        let call = self.call();
        match self.service().renew_lease(&call, lease).await {
            Ok(_) => {
                if let Some(session) = &mut self.session {
                    session.renewed = Instant::now();
                }
                Ok(())
            }
            Err(Error::Refused { .. }) => {
                self.answer("expired", None, |object| object.id("lease", lease.get())).await?;
                Err(End::Expired)
            }
            // Not renewed this time; the next message tries again, within what is left of the time to live.
            Err(_) => Ok(()),
        }
    }

    async fn close(mut self, end: &End) {
        let said = match end {
            // Where it was the other end that closed it, that is answered below.
            End::Gone => None,
            End::Draining => Some((close_code::AWAY, "the server is shutting down; connect again")),
            End::Expired => Some((close_code::NORMAL, "the session has expired")),
            End::Silent => Some((close_code::POLICY, "nothing came for too long, not even answers to pings")),
        };
        // The other end may be gone already.
        let _ = tokio::time::timeout(Duration::from_secs(1), async {
            if let Some((code, reason)) = said {
                let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
                let _ = self.socket.send(Frame::Close(Some(frame))).await;
            }
            let _ = self.socket.close().await;
        })
        .await;
    }
}

fn lease_members(object: &mut Object<'_>, lease: LeaseId, ttl: Ttl) {
    object.id("lease", lease.get());
    object.seconds("ttl", ttl);
}

/// A request to watch, or why it cannot be, under its name.
fn read_watch(request: Request) -> Result<(String, Asked), (String, Problem)> {
    let Request::Watch { id, path, key, key64, children, after, initial, prev_value, keys_only, events, on_compacted } =
        request
    else {
        return Err((String::new(), Problem::invalid("not a watch")));
    };
    let asked = || -> Result<Asked, Problem> {
        let target = match (path, literal(key, key64.as_deref())?) {
            (Some(path), None) => target_of_path(&path)?,
            (None, Some(target)) => target,
            (Some(_), Some(_)) => {
                return Err(Problem::invalid("the key is named twice: give one of `path`, `key` and `key64`"));
            }
            (None, None) => return Err(Problem::invalid("no key is named: give `path`, `key` or `key64`")),
        };
        let read = |text: &str, name: &str| format!("`{name}` takes {text}");
        let events = events
            .map(|kinds| Kinds::read(&kinds.join(",")).map_err(|text| Problem::invalid(read(&text, "events"))))
            .transpose()?;
        let on_compacted = on_compacted
            .map(|word| Compacted::read(&word).map_err(|text| Problem::invalid(read(&text, "onCompacted"))))
            .transpose()?;
        let parameters = WatchParameters {
            children,
            after: after.map(|Count(revision)| After(Revision(revision))),
            initial,
            prev_value,
            keys_only,
            events,
            on_compacted,
            ..WatchParameters::default()
        };
        Asked::new(target, &parameters, None)
    };
    match asked() {
        Ok(asked) => Ok((id, asked)),
        Err(problem) => Err((id, problem)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, Problem> {
        json::read(&Bytes::from(text.to_owned()))
    }

    #[test]
    fn requests_are_strict() {
        assert!(matches!(read(r#"{"op":"ping"}"#), Ok(Request::Ping {})));
        assert!(matches!(read(r#"{"op":"session","ttl":"10s"}"#), Ok(Request::Session { ttl: Span(Ttl(10_000)) })));
        assert!(matches!(read(r#"{"op":"session","ttl":10}"#), Ok(Request::Session { ttl: Span(Ttl(10_000)) })));
        for bad in [r#"{"op":"pong"}"#, r#"{"op":"ping","x":1}"#, r#"{"op":"session"}"#, "[]", "ping", r#"{"op":1}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_watch_names_its_key_once() {
        let watch = |members: &str| read_watch(read(&format!(r#"{{"op":"watch","id":"w1"{members}}}"#)).unwrap());
        let (id, asked) = watch(r#","path":"/app/","after":12,"events":["put"]"#).unwrap();
        assert_eq!((id.as_str(), asked.request.start), ("w1", crate::service::Start::After(Revision(12))));
        assert!(watch(r#","key64":"_w""#).unwrap().1.request.range.contains(b"\xff"));
        for bad in ["", r#","path":"app""#, r#","path":"/a","key":"b""#, r#","path":"/a/","events":["puts"]"#] {
            assert!(watch(bad).is_err(), "{bad}");
        }
    }
}
