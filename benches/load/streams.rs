//! Many watchers on few gRPC streams, all on one key: how long until each has every change, in order.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use prost::Message;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::calls::{CHANNELS, Channel, PUT, framed, put, read};
use crate::drive::runtime;
use crate::systems::Server;

const WATCH: &str = "/etcdserverpb.Watch/Watch";
const KEY: &str = "/bench/watched";

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// Who watches, and what there is to see.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) streams: usize,
    pub(crate) watchers_each: usize,
    pub(crate) events: u64,
}

/// As much of etcd's `WatchRequest` as is asked for.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, optional, tag = "1")]
    create: Option<Create>,
}

#[derive(Clone, PartialEq, Message)]
struct Create {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

/// As much of etcd's `WatchResponse` as is looked at.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(int64, tag = "2")]
    watch_id: i64,
    #[prost(bool, tag = "3")]
    created: bool,
    #[prost(bool, tag = "4")]
    canceled: bool,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(message, optional, tag = "2")]
    kv: Option<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(int64, tag = "3")]
    mod_revision: i64,
}

/// Writes the key as often as the crowd is to see, one after the other, and waits until every watcher has seen each
/// change once and in order. Answers how long that took from the first write.
pub(crate) fn deliver(server: &Server, crowd: Crowd) -> Result<Duration> {
    runtime()?.block_on(async {
        let mut channels = Vec::new();
        for _ in 0..CHANNELS {
            channels.push(Channel::open(server.address).await?);
        }
        let mut opened = Vec::new();
        let mut tasks = JoinSet::new();
        for channel in channels.iter().cycle().take(crowd.streams) {
            let (sent, answer) = channel.stream(WATCH).await?;
            let (ready, is_ready) = oneshot::channel();
            opened.push(is_ready);
            tasks.spawn(async move { Stream::open(sent, answer, crowd, ready).await?.follow(crowd.events).await });
        }
        for opened in opened {
            if timeout(PATIENCE, opened).await.context("a stream did not open")?.is_err() {
                // The stream that is gone says why.
                tasks.join_next().await.context("no stream was begun")???;
            }
        }
        let writer = Channel::open(server.address).await?;
        let started = Instant::now();
        let all = timeout(PATIENCE, async {
            for number in 0..crowd.events {
                writer.call(PUT, put(KEY, &format!("{number:08}"))).await?;
            }
            while let Some(followed) = tasks.join_next().await {
                followed??;
            }
            anyhow::Ok(())
        });
        all.await.context("not every watcher has seen every change")??;
        Ok(started.elapsed())
    })
}

/// The watchers of one stream.
struct Stream {
    /// Kept: an end of it would be the end of the stream.
    sent: SendStream<Bytes>,
    body: RecvStream,
    /// What was read of the next message.
    buffer: BytesMut,
    /// The newest revision that each watcher has seen, by its number, and how many it has seen.
    seen: Vec<(i64, u64)>,
}

impl Stream {
    /// Begins all watchers, and says so when they are there.
    async fn open(
        mut sent: SendStream<Bytes>,
        answer: h2::client::ResponseFuture,
        crowd: Crowd,
        ready: oneshot::Sender<()>,
    ) -> Result<Self> {
        let create = framed(&Request { create: Some(Create { key: KEY.into() }) });
        sent.send_data(create.clone(), false)?;
        let body = answer.await?.into_body();
        let seen = vec![(0, 0); crowd.watchers_each];
        let mut stream = Self { sent, body, buffer: BytesMut::new(), seen };
        ensure!(stream.next().await?.created, "a watcher was not made");
        // One after the other, as etcd's own client does: thousands of small frames at once are refused as an attack.
        for _ in 1..crowd.watchers_each {
            stream.sent.send_data(create.clone(), false)?;
            ensure!(stream.next().await?.created, "a watcher was not made");
        }
        // Whoever waits for it has given up where it is gone.
        let _ = ready.send(());
        Ok(stream)
    }

    /// Reads until every watcher has seen so many changes.
    async fn follow(mut self, events: u64) -> Result<()> {
        let mut left = self.seen.len();
        while left > 0 {
            let answer = self.next().await?;
            ensure!(!answer.canceled, "a watcher was ended");
            let watcher = usize::try_from(answer.watch_id).ok().and_then(|number| self.seen.get_mut(number));
            let (newest, count) = watcher.context("an event for nobody")?;
            for kv in answer.events.into_iter().filter_map(|event| event.kv) {
                ensure!(*count == 0 || kv.mod_revision == *newest + 1, "{} came after {newest}", kv.mod_revision);
                *newest = kv.mod_revision;
                *count += 1;
                left -= usize::from(*count == events);
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Answer> {
        loop {
            if let Some(mut head) = self.buffer.get(1..5) {
                let length = usize::try_from(head.get_u32())?;
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    return Ok(Answer::decode(self.buffer.split_to(length))?);
                }
            }
            let bytes = read(&mut self.body).await?.context("a stream ended by itself")?;
            self.buffer.extend_from_slice(&bytes);
        }
    }
}
