//! The same calls over WebSocket (RFC 6455), on the same paths: a message of a request in each frame, an answer in each frame back, at
//! the same time.

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream::SplitStream;
use futures_util::{Sink, SinkExt as _, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tonic::Status;

use super::call::{self, Asked};
use super::requests::{Requests, longest};
use super::{Path, error};
use crate::api::v3::Services;
use crate::model::limits::{SOCKET_PING_EVERY, SOCKET_SILENCE};

/// How many frames may wait to be read. Beyond that the client waits.
const WAITING_FRAMES: usize = 1;

/// Answers an upgrade, then serves the socket.
pub(super) fn open(upgrade: WebSocketUpgrade, services: Arc<Services>, path: Path, asked: Asked) -> Response {
    let longest = longest(&services);
    // What is written has no bound of its own: an answer is in memory already, and the next one waits until it is out.
    upgrade.max_message_size(longest).max_frame_size(longest).on_upgrade(move |socket| async move {
        let (sink, frames) = socket.split();
        let (sender, receiver) = mpsc::channel(WAITING_FRAMES);
        let mut ticks = interval(SOCKET_PING_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reading = std::pin::pin!(read(frames, sender));
        let writing = std::pin::pin!(Writer { sink, ticks }.serve(&services, path, asked, receiver));
        // Either way nothing is left to do.
        match select(reading, writing).await {
            Either::Left(((), _)) | Either::Right((_, _)) => {}
        }
    })
}

/// Passes on what comes until the client closes the socket, or is gone. What nobody waits for is dropped, so that this is noticed.
async fn read(mut frames: SplitStream<WebSocket>, sender: mpsc::Sender<Bytes>) {
    while let Ok(Some(Ok(frame))) = timeout(SOCKET_SILENCE, frames.next()).await {
        let said = match frame {
            Frame::Text(text) => text.into(),
            Frame::Binary(bytes) => bytes,
            // Each is answered as the next frame is waited for, of which there is none after a close.
            Frame::Close(_) | Frame::Ping(_) | Frame::Pong(_) => continue,
        };
        let _ = sender.send(said).await;
    }
}

struct Writer<S> {
    sink: S,
    ticks: Interval,
}

impl<S: Sink<Frame> + Unpin> Writer<S> {
    /// Answers what comes, and closes the socket. `None` where nobody reads any more.
    async fn serve(
        mut self,
        services: &Services,
        path: Path,
        asked: Asked,
        mut frames: mpsc::Receiver<Bytes>,
    ) -> Option<()> {
        let frames = stream::poll_fn(move |context| frames.poll_recv(context));
        // A number at the end of a frame does not go on in the next one.
        let pieces = frames.flat_map(|frame| stream::iter([Ok(frame), Ok(Bytes::from_static(b"\n"))]));
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
            // What else comes is nothing to wait for.
            drop(requests);
            let answer = self.pinging(call::one(services, &path, asked, first)).await?;
            self.say(answer.unwrap_or_else(|status: Status| error(&status))).await?;
        }
        self.close(close_code::NORMAL).await
    }

    /// Waits for something, and pings meanwhile: also where it is always there already, and its reader is slow.
    async fn pinging<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                biased;
                _ = self.ticks.tick() => self.sink.send(Frame::Ping(Bytes::new())).await.ok()?,
                done = &mut what => return Some(done),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use futures_util::sink::unfold;
    use tokio::time::{Instant, interval_at};

    use super::*;

    #[tokio::test]
    async fn a_ping_that_is_due_goes_before_an_answer_that_is_there() {
        let (sender, mut sent) = mpsc::unbounded_channel();
        let sink = std::pin::pin!(unfold((), move |(), frame| {
            std::future::ready(sender.send(frame).map_err(|error| error.to_string()))
        }));
        let ticks = interval_at(Instant::now() - Duration::from_secs(1), SOCKET_PING_EVERY);
        let mut writer = Writer { sink, ticks };
        assert_eq!(writer.pinging(std::future::ready(1)).now_or_never(), Some(Some(1)));
        assert_eq!(sent.try_recv(), Ok(Frame::Ping(Bytes::new())));
        assert_eq!(writer.pinging(std::future::ready(2)).now_or_never(), Some(Some(2)));
        assert!(sent.try_recv().is_err(), "the next one is due later");
    }
}
