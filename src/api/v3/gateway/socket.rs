//! The same calls over WebSocket (RFC 6455), on the same paths: a message of a request in each frame, an answer in each frame back, at
//! the same time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tonic::Status;

use super::call::{self, Asked};
use super::requests::{Requests, longest};
use super::{Path, error};
use crate::api::v3::Services;
use crate::model::limits::SOCKET_WRITE_BYTES;

/// How often a socket is pinged, so that one whose other end is gone is noticed.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A socket that nothing has come from for this long is given up.
const SILENCE: Duration = Duration::from_mins(1);
/// How many frames may wait to be read. Beyond that the client waits.
const WAITING_FRAMES: usize = 1;

/// Answers an upgrade, then serves the socket.
pub(super) fn open(upgrade: WebSocketUpgrade, services: Arc<Services>, path: Path, asked: Asked) -> Response {
    let longest = longest(&services);
    upgrade.max_message_size(longest).max_frame_size(longest).max_write_buffer_size(SOCKET_WRITE_BYTES).on_upgrade(
        move |socket| async move {
            let (sink, frames) = socket.split();
            let (sender, receiver) = mpsc::channel(WAITING_FRAMES);
            let mut ticks = interval(PING_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let reading = std::pin::pin!(read(frames, sender));
            let writing = std::pin::pin!(Writer { sink, ticks }.serve(&services, path, asked, receiver));
            // Either way nothing is left to do.
            match select(reading, writing).await {
                Either::Left(((), _)) | Either::Right((_, _)) => {}
            }
        },
    )
}

/// Passes on what comes until the client closes the socket, or is gone. What nobody waits for is dropped, so that this is noticed.
async fn read(mut frames: SplitStream<WebSocket>, sender: mpsc::Sender<Bytes>) {
    while let Ok(Some(Ok(frame))) = timeout(SILENCE, frames.next()).await {
        let said = match frame {
            Frame::Text(text) => text.as_bytes().to_vec(),
            Frame::Binary(bytes) => bytes.to_vec(),
            Frame::Close(_) => return,
            Frame::Ping(_) | Frame::Pong(_) => continue,
        };
        // A number at the end of a frame does not go on in the next one.
        let line = [&said[..], b"\n"].concat();
        let _ = sender.send(line.into()).await;
    }
}

struct Writer {
    sink: SplitSink<WebSocket, Frame>,
    ticks: Interval,
}

impl Writer {
    /// Answers what comes, and closes the socket. `None` where nobody reads any more.
    async fn serve(
        mut self,
        services: &Services,
        path: Path,
        asked: Asked,
        mut frames: mpsc::Receiver<Bytes>,
    ) -> Option<()> {
        let pieces = stream::poll_fn(move |context| frames.poll_recv(context).map(|piece| piece.map(Ok)));
        let mut requests = Requests::new(pieces, services, path.table);
        let first = {
            let stopping = std::pin::pin!(services.state.service().shutdown_signal());
            let first = std::pin::pin!(requests.next());
            match self.pinging(select(first, stopping)).await? {
                Either::Left((first, _)) => Some(first),
                Either::Right(_) => None,
            }
        };
        let Some(first) = first else {
            return self.close(close_code::AWAY).await;
        };
        if path.table.gives_many {
            match self.pinging(call::many(services, &path, asked, first, requests)).await? {
                Err(status) => self.say(error(&status)).await?,
                Ok(mut answers) => {
                    while let Some(line) = self.pinging(answers.next_line()).await? {
                        match line {
                            Ok(line) => self.say(line).await?,
                            Err(status) => {
                                self.say(call::last_line(&status)).await?;
                                break;
                            }
                        }
                    }
                }
            }
        } else {
            let answer = self.pinging(call::one(services, &path, asked, first)).await?;
            self.say(answer.unwrap_or_else(|status: Status| error(&status))).await?;
        }
        self.close(close_code::NORMAL).await
    }

    /// Waits for something, and pings meanwhile.
    async fn pinging<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                biased;
                done = &mut what => return Some(done),
                _ = self.ticks.tick() => self.sink.send(Frame::Ping(Bytes::new())).await.ok()?,
            }
        }
    }

    /// Sends JSON, without the end of its line.
    async fn say(&mut self, mut json: Vec<u8>) -> Option<()> {
        if json.last() == Some(&b'\n') {
            json.pop();
        }
        let text = Utf8Bytes::try_from(Bytes::from(json)).ok()?;
        self.sink.send(Frame::Text(text)).await.ok()
    }

    async fn close(&mut self, code: u16) -> Option<()> {
        let frame = CloseFrame { code, reason: Utf8Bytes::default() };
        self.sink.send(Frame::Close(Some(frame))).await.ok()
    }
}
