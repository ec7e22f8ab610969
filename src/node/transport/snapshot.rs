//! A snapshot on a connection of its own, both ends of it.
//!
//! The sender writes raft's announcement, the chunks and an end, a frame each; the receiver answers with one of
//! [`Answer`], and says that it is at work while it installs what it has got. Never looks into a chunk.

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::{Buf as _, Bytes};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::handshake::{self, Lane};
use super::{ConnectionError, Patience, Shared, dial, frame};
use crate::consensus::{Message, MessageKind};
use crate::model::MemberId;
use crate::model::limits::{MAX_PEER_FRAME_BYTES, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_WAITING};

const CHUNK: u8 = 0;
const END: u8 = 1;
/// A chunk and its tag.
const MAX_PART_BYTES: usize = SNAPSHOT_CHUNK_BYTES + 1;
const MAX_ANSWER_BYTES: usize = 4096;
/// What is told of why a snapshot was not installed.
const MAX_REASON_CHARS: usize = 512;
/// A receiver gives so many signs of life in the time that its sender waits for one.
const SIGNS_OF_LIFE: u32 = 3;

/// Why a snapshot was not sent, or not installed.
#[derive(Debug, Error)]
pub(crate) enum SnapshotSendError {
    #[error("it is no member, or this one itself")]
    NoMember,
    #[error(transparent)]
    Connection(ConnectionError),
    #[error("the snapshot cannot be read: {0}")]
    Source(String),
    #[error("nothing of the snapshot could be sent for {} ms", after.as_millis())]
    Stalled { after: Duration },
    #[error("it is taking another snapshot")]
    Busy,
    #[error("it could not install the snapshot: {0}")]
    Failed(String),
    #[error("the member was removed, or this one has stopped")]
    Stopped,
}

impl From<ConnectionError> for SnapshotSendError {
    fn from(error: ConnectionError) -> Self {
        if let ConnectionError::Stalled { after } = error { Self::Stalled { after } } else { Self::Connection(error) }
    }
}

/// Where a snapshot that is to be sent goes, chunk by chunk.
#[derive(Debug)]
pub(crate) struct SnapshotSink(mpsc::Sender<Result<Part, String>>);

impl SnapshotSink {
    /// Takes a chunk of any size; waits until there is room for it. False when nobody wants more of them.
    pub(crate) fn put(&self, mut chunk: Bytes) -> bool {
        while chunk.has_remaining() {
            let part = chunk.split_to(chunk.len().min(SNAPSHOT_CHUNK_BYTES));
            if self.0.blocking_send(Ok(Part::Chunk(part))).is_err() {
                return false;
            }
        }
        true
    }
}

/// A snapshot that comes in.
#[derive(Debug)]
pub(crate) struct SnapshotBody {
    parts: mpsc::Receiver<Part>,
    ended: bool,
}

/// The sender was lost before the end of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the snapshot broke off before its end")]
pub(crate) struct BrokenOff;

impl SnapshotBody {
    /// As [`SnapshotBody::blocking_next`], for a task.
    #[cfg(test)]
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        if self.ended {
            return Ok(None);
        }
        let part = self.parts.recv().await;
        self.take(part)
    }

    /// The next chunk; `None` at the end of the snapshot. For a thread where one may wait.
    ///
    /// # Errors
    /// When the sender is gone before the end: what has come is no snapshot.
    ///
    /// # Panics
    /// On a thread of tokio's workers.
    pub(crate) fn blocking_next(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        if self.ended {
            return Ok(None);
        }
        let part = self.parts.blocking_recv();
        self.take(part)
    }

    fn take(&mut self, part: Option<Part>) -> Result<Option<Bytes>, BrokenOff> {
        match part {
            Some(Part::Chunk(chunk)) => Ok(Some(chunk)),
            Some(Part::End) => {
                self.ended = true;
                Ok(None)
            }
            None => Err(BrokenOff),
        }
    }
}

/// A piece of a snapshot on its way.
#[derive(Debug)]
enum Part {
    Chunk(Bytes),
    End,
}

impl Part {
    fn framed(&self) -> Result<Vec<u8>, ConnectionError> {
        let mut bytes = Vec::new();
        match self {
            Self::Chunk(chunk) => frame::append(&mut bytes, &[&[CHUNK], chunk], MAX_PART_BYTES)?,
            Self::End => frame::append(&mut bytes, &[&[END]], MAX_PART_BYTES)?,
        }
        Ok(bytes)
    }

    fn decode(mut bytes: Bytes) -> Result<Self, ConnectionError> {
        match bytes.try_get_u8().map_err(ConnectionError::unreadable)? {
            CHUNK => Ok(Self::Chunk(bytes)),
            END if bytes.is_empty() => Ok(Self::End),
            _ => Err(ConnectionError::Unexpected),
        }
    }
}

/// What a receiver says.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Answer {
    /// All has come, and is being installed. Followed by another answer; the others are the last.
    Working,
    Done,
    /// Another snapshot is coming in.
    Busy,
    Failed(String),
}

impl Answer {
    fn framed(&self) -> Result<Vec<u8>, ConnectionError> {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, &[&borsh::to_vec(self)?], MAX_ANSWER_BYTES)?;
        Ok(bytes)
    }
}

/// Sends a snapshot and waits for what becomes of it.
pub(super) async fn send<R, E>(
    shared: &Shared,
    to: MemberId,
    urls: &[String],
    message: &Message,
    read: R,
) -> Result<(), SnapshotSendError>
where
    R: FnOnce(&SnapshotSink) -> Result<(), E> + Send + 'static,
    E: Display + 'static,
{
    let stall = shared.patience.snapshot_stall;
    let (mut stream, _) = dial::connect(shared, to, urls, Lane::Snapshot).await?;
    let (mut reader, mut writer) = stream.split();
    let parts = read_on_a_thread(shared, read);
    let answer = {
        let mut first = pin!(read_answer(&mut reader));
        tokio::select! {
            biased;
            early = &mut first => early?,
            written = write_all(&mut writer, message, parts, stall) => {
                written?;
                in_time(stall, first).await?
            }
        }
    };
    conclude(answer, &mut reader, stall).await
}

/// Waits for the last answer.
async fn conclude(mut answer: Answer, reader: &mut ReadHalf<'_>, stall: Duration) -> Result<(), SnapshotSendError> {
    loop {
        match answer {
            Answer::Done => return Ok(()),
            Answer::Busy => return Err(SnapshotSendError::Busy),
            Answer::Failed(reason) => return Err(SnapshotSendError::Failed(reason)),
            Answer::Working => answer = in_time(stall, read_answer(reader)).await?,
        }
    }
}

async fn in_time<T>(
    stall: Duration,
    future: impl Future<Output = Result<T, ConnectionError>>,
) -> Result<T, SnapshotSendError> {
    let result = timeout(stall, future).await;
    Ok(result.map_err(|_| SnapshotSendError::Stalled { after: stall })??)
}

async fn read_answer<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Answer, ConnectionError> {
    let bytes = frame::read(reader, MAX_ANSWER_BYTES).await?.ok_or(ConnectionError::Closed)?;
    borsh::from_slice(&bytes).map_err(ConnectionError::unreadable)
}

/// Runs `read` where it may wait. The parts end with [`Part::End`] or an error, or else it has panicked.
fn read_on_a_thread<R, E>(shared: &Shared, read: R) -> mpsc::Receiver<Result<Part, String>>
where
    R: FnOnce(&SnapshotSink) -> Result<(), E> + Send + 'static,
    E: Display + 'static,
{
    let (sender, parts) = mpsc::channel(SNAPSHOT_CHUNKS_WAITING);
    shared.runtime.spawn_blocking(move || {
        let sink = SnapshotSink(sender);
        let last = read(&sink).map(|()| Part::End).map_err(|error| error.to_string());
        // Where nobody takes it, sending has ended already.
        let _ = sink.0.blocking_send(last);
    });
    parts
}

async fn write_all(
    writer: &mut WriteHalf<'_>,
    message: &Message,
    mut parts: mpsc::Receiver<Result<Part, String>>,
    stall: Duration,
) -> Result<(), SnapshotSendError> {
    let mut bytes = Vec::new();
    let announcement = message.encode().map_err(ConnectionError::unreadable)?;
    frame::append(&mut bytes, &[&announcement], MAX_PEER_FRAME_BYTES)?;
    frame::write(writer, &bytes, stall).await?;
    loop {
        let part = timeout(stall, parts.recv()).await.map_err(|_| SnapshotSendError::Stalled { after: stall })?;
        let part = part.unwrap_or_else(|| Err("its reader panicked".to_owned())).map_err(SnapshotSendError::Source)?;
        frame::write(writer, &part.framed()?, stall).await?;
        if matches!(part, Part::End) {
            return Ok(());
        }
    }
}

/// Takes a snapshot that a member sends, unless another one is just coming in.
pub(super) async fn receive(shared: &Shared, from: MemberId, mut stream: TcpStream) -> Result<(), ConnectionError> {
    let answer = match shared.receiving.try_acquire() {
        Ok(_receiving) => install(shared, from, &mut stream).await?,
        Err(_) => Answer::Busy,
    };
    let answer = answer.framed()?;
    let parting = handshake::part_with(&mut stream, &answer);
    timeout(shared.patience.handshake, parting).await.unwrap_or(Err(ConnectionError::Silent))
}

/// Hands the snapshot to the inbox while it comes in.
async fn install(shared: &Shared, from: MemberId, stream: &mut TcpStream) -> Result<Answer, ConnectionError> {
    let stall = shared.patience.snapshot_stall;
    let (mut reader, mut writer) = stream.split();
    let message = read_announcement(shared, from, &mut reader).await?;
    let (sender, parts) = mpsc::channel(SNAPSHOT_CHUNKS_WAITING);
    let mut installing = shared.inbox.snapshot(from, message, SnapshotBody { parts, ended: false });
    let fed = tokio::select! {
        biased;
        fed = feed(&mut reader, sender, stall) => fed,
        early = &mut installing => return Ok(left_early(early)),
    };
    match fed {
        Ok(Fed::Whole) => {}
        Ok(Fed::Unwanted) => return Ok(left_early(installing.await)),
        Err(error) => {
            // It learns that there is no end, and cleans up.
            let _ = installing.await;
            return Err(error);
        }
    }
    tokio::select! {
        installed = &mut installing => Ok(installed.map_or_else(|reason| failed(&reason), |()| Answer::Done)),
        Err(error) = give_signs_of_life(&mut writer, stall) => {
            // What has come is whole: it is used, even if the sender will not know.
            let _ = installing.await;
            Err(error)
        }
    }
}

async fn read_announcement(
    shared: &Shared,
    from: MemberId,
    reader: &mut ReadHalf<'_>,
) -> Result<Message, ConnectionError> {
    let announcement = timeout(shared.patience.snapshot_stall, frame::read(reader, MAX_PEER_FRAME_BYTES)).await;
    let bytes = announcement.map_err(|_| ConnectionError::Silent)??.ok_or(ConnectionError::Closed)?;
    let message = Message::decode(&bytes).map_err(ConnectionError::unreadable)?;
    if (message.from(), message.to()) != (from, shared.identity.member) {
        return Err(ConnectionError::Misdirected);
    }
    if message.kind() != MessageKind::Snapshot {
        return Err(ConnectionError::Unexpected);
    }
    Ok(message)
}

/// How a snapshot has come in.
enum Fed {
    Whole,
    /// The inbox has dropped the body before its end.
    Unwanted,
}

async fn feed<R: AsyncRead + Unpin>(
    reader: &mut R,
    parts: mpsc::Sender<Part>,
    stall: Duration,
) -> Result<Fed, ConnectionError> {
    loop {
        let read = timeout(stall, frame::read(reader, MAX_PART_BYTES)).await;
        let bytes = read.map_err(|_| ConnectionError::Silent)??.ok_or(ConnectionError::Closed)?;
        let part = Part::decode(bytes)?;
        let end = matches!(part, Part::End);
        if parts.send(part).await.is_err() {
            return Ok(Fed::Unwanted);
        }
        if end {
            return Ok(Fed::Whole);
        }
    }
}

async fn give_signs_of_life<W: AsyncWrite + Unpin>(
    writer: &mut W,
    stall: Duration,
) -> Result<Infallible, ConnectionError> {
    let sign = Answer::Working.framed()?;
    loop {
        frame::write(writer, &sign, stall).await?;
        sleep(stall / SIGNS_OF_LIFE).await;
    }
}

/// The answer when the inbox was done before all had come.
fn left_early(installed: Result<(), String>) -> Answer {
    failed(&installed.err().unwrap_or_else(|| "it was left before its end".to_owned()))
}

fn failed(reason: &str) -> Answer {
    Answer::Failed(reason.chars().take(MAX_REASON_CHARS).collect())
}

impl Patience {
    /// How long a connection may make no progress.
    pub(super) fn stall_of(&self, lane: Lane) -> Duration {
        match lane {
            Lane::Messages => self.stall,
            Lane::Snapshot => self.snapshot_stall,
        }
    }
}
