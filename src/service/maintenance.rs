//! Looking after the store: compaction, space, status, snapshot, hash.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::{Call, Consistency, Done, Error, Reader, Service};
use crate::machine::{SnapshotSource, padding, sealed};
use crate::model::{ClusterId, Command, Index, MemberId, Revision, Term, Timestamp};
use crate::node::now;
use crate::storage::StorageError;
use crate::storage::lsm::LsmSnapshot;

/// How often free space is looked at.
const SPACE_EVERY: Duration = Duration::from_millis(100);

/// What is forgotten by itself, and when (etcd's `--auto-compaction-*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Everything is kept.
    Forever,
    /// What was superseded this long ago.
    Periodic(Duration),
    /// All but this many revisions.
    Revisions(u64),
}

/// How the member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub version: &'static str,
    pub name: String,
    pub cluster: ClusterId,
    pub member: MemberId,
    pub leader: Option<MemberId>,
    pub term: Term,
    pub applied: Index,
    pub revision: Revision,
    pub compacted: Revision,
    /// Bytes on disk.
    pub store_bytes: u64,
    pub log_bytes: u64,
    /// Bytes free on the disk; `None` when the file system does not say.
    pub free_bytes: Option<u64>,
    pub uptime: Duration,
}

/// A digest of everything the store holds at a revision, alike on every member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hash {
    pub revision: Revision,
    pub compacted: Revision,
    pub digest: u128,
}

/// A digest of the keys at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysHash {
    /// The store's revision when it was made.
    pub revision: Revision,
    /// The revision of the keys.
    pub hashed: Revision,
    pub compacted: Revision,
    pub digest: u128,
}

/// The whole state at one moment, piece by piece: [`SnapshotSource`] knows the format.
#[derive(Debug)]
pub struct SnapshotStream {
    /// The revision of the state.
    pub revision: Revision,
    chunks: mpsc::Receiver<Result<Bytes, Error>>,
}

impl SnapshotStream {
    /// The next piece; `None` after the last one. An error ends the stream, which is then not whole.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        self.chunks.recv().await
    }
}

/// The whole state at one moment as a sealed file: as [`SnapshotStream`], with what etcd's clients look for at the end.
#[derive(Debug)]
pub struct SnapshotFile {
    /// The bytes of the file without the digest at its end, which is the last piece and has [`SEAL_BYTES`](crate::machine::SEAL_BYTES).
    pub bytes: u64,
    chunks: mpsc::Receiver<Result<Bytes, Error>>,
}

impl SnapshotFile {
    /// The next piece; `None` after the last one, and earlier where a reader took too long for one. An error ends the file.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        self.chunks.recv().await
    }
}

/// How many snapshots are given out at once: `503 overloaded` beyond. Each keeps what was superseded from being freed.
static SNAPSHOTS: Semaphore = Semaphore::const_new(2);
/// The pieces of a snapshot that wait for their reader.
const SNAPSHOT_WAITING: usize = 2;
/// How long a reader of a snapshot may take for one piece.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(30);

/// Sends what is read of a state, on a thread that may block. A reader that takes longer than `patience` for a piece gets
/// no more.
fn send_snapshot(
    read: impl Iterator<Item = Result<Bytes, StorageError>>,
    runtime: &Handle,
    chunks: &mpsc::Sender<Result<Bytes, Error>>,
    patience: Duration,
) {
    for chunk in read {
        let chunk = chunk.map_err(|error| unreadable(&error));
        let failed = chunk.is_err();
        let sent = runtime.block_on(chunks.send_timeout(chunk, patience));
        if sent.is_err() || failed {
            return;
        }
    }
}

/// The bytes of a snapshot; `None` where nobody waits for them any more.
fn measure(source: &SnapshotSource<LsmSnapshot>, is_given_up: impl Fn() -> bool) -> Result<Option<u64>, StorageError> {
    let mut bytes = 0;
    for chunk in source.chunks() {
        if is_given_up() {
            return Ok(None);
        }
        bytes += chunk?.len() as u64;
    }
    Ok(Some(bytes))
}

fn unreadable(error: &StorageError) -> Error {
    Error::Storage(error.to_string().into())
}

impl Service {
    /// A state to make a snapshot of, and the leave to do so.
    async fn snapshot_source(&self, call: &Call) -> Result<(SemaphorePermit<'static>, Reader), Error> {
        let busy = Error::Overloaded("as many snapshots as allowed are being read; try again later");
        let permit = SNAPSHOTS.try_acquire().map_err(|_| busy)?;
        Ok((permit, self.reader(call, Consistency::Linearizable).await?))
    }

    /// The whole state as a stream that says by itself whether it is whole.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when as many as allowed are given out already, and the errors of a read.
    pub async fn snapshot(&self, call: &Call) -> Result<SnapshotStream, Error> {
        let (permit, reader) = self.snapshot_source(call).await?;
        let revision = reader.revision();
        let (sender, chunks) = mpsc::channel(SNAPSHOT_WAITING);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            match SnapshotSource::open(reader.into_snapshot()) {
                Ok(source) => send_snapshot(source.chunks(), &runtime, &sender, SNAPSHOT_PATIENCE),
                // Nobody may be listening any more.
                Err(error) => drop(sender.blocking_send(Err(unreadable(&error)))),
            }
        });
        Ok(SnapshotStream { revision, chunks })
    }

    /// The whole state as a sealed file. It is read twice, since etcd's clients are told beforehand how long it is.
    ///
    /// # Errors
    /// As [`Service::snapshot`].
    pub async fn snapshot_file(&self, call: &Call) -> Result<SnapshotFile, Error> {
        let (permit, reader) = self.snapshot_source(call).await?;
        let (sender, chunks) = mpsc::channel(SNAPSHOT_WAITING);
        let (tell, told) = oneshot::channel();
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let opened = SnapshotSource::open(reader.into_snapshot());
            let measured = opened.and_then(|source| Ok((measure(&source, || tell.is_closed())?, source)));
            match measured {
                Ok((Some(bytes), source)) => {
                    if tell.send(Ok(bytes + padding(bytes) as u64)).is_ok() {
                        send_snapshot(sealed(source.chunks()), &runtime, &sender, SNAPSHOT_PATIENCE);
                    }
                }
                Ok((None, _)) => {}
                Err(error) => drop(tell.send(Err(unreadable(&error)))),
            }
        });
        let cut_off = |_| Error::Storage("a snapshot was cut off".into());
        let bytes = told.await.map_err(cut_off)??;
        Ok(SnapshotFile { bytes, chunks })
    }

    /// A digest of everything that can be read.
    ///
    /// # Errors
    /// The errors of a read.
    pub async fn hash(&self, call: &Call, consistency: Consistency) -> Result<Hash, Error> {
        let reader = self.reader(call, consistency).await?;
        let digest = reader.digest().await?;
        Ok(Hash { revision: reader.revision(), compacted: reader.compacted(), digest })
    }

    /// A digest of the keys as they were at a revision; `None` for the present one. Members that have compacted as far have the
    /// same.
    ///
    /// # Errors
    /// The refusals of a read of the past, and the errors of a read.
    pub async fn hash_keys(&self, call: &Call, revision: Option<Revision>) -> Result<KeysHash, Error> {
        let reader = self.reader(call, Consistency::Serializable).await?;
        let hashed = revision.unwrap_or(reader.revision());
        let digest = reader.keys_digest(hashed).await?;
        Ok(KeysHash { revision: reader.revision(), hashed, compacted: reader.compacted(), digest })
    }

    /// Forgets what was before `revision`.
    ///
    /// # Errors
    /// [`crate::model::Refusal::Compacted`] and [`crate::model::Refusal::FutureRevision`], and the errors of a write.
    pub async fn compact(&self, call: &Call, revision: Revision) -> Result<Done, Error> {
        self.write(call, Command::Compact(revision)).await
    }

    /// How the member is.
    #[must_use]
    pub fn status(&self) -> Status {
        let node = &self.0.node;
        let published = node.latest();
        let identity = node.identity();
        let (store_bytes, log_bytes) = node.disk_bytes();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            name: self.0.name.clone(),
            cluster: identity.cluster,
            member: identity.member,
            leader: node.leader(),
            term: node.term(),
            applied: published.index,
            revision: published.revision(),
            compacted: published.view.compacted(),
            store_bytes,
            log_bytes,
            free_bytes: node.free_bytes().ok(),
            uptime: self.0.started.elapsed(),
        }
    }

    /// Refreshes the gauges that nothing else keeps up to date.
    pub fn measure(&self) {
        let status = self.status();
        let metrics = &self.0.metrics;
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        metrics.store.bytes.set(gauge(status.store_bytes + status.log_bytes));
        metrics.store.revision.set(gauge(status.revision.get()));
        metrics.store.compacted_revision.set(gauge(status.compacted.get()));
        metrics.watch.held_bytes.set(gauge(self.0.node.watch_held_bytes() as u64));
        metrics.answers.held_bytes.set(gauge(self.0.answers.bytes() as u64));
        metrics.raft.term.set(gauge(status.term.get()));
        metrics.raft.applied_index.set(gauge(status.applied.get()));
        metrics.raft.has_leader.set(i64::from(status.leader.is_some()));
        metrics.raft.is_leader.set(i64::from(status.leader == Some(status.member)));
    }

    /// Watches over free space until the server drains.
    pub async fn guard_space(self) {
        let mut every = interval(SPACE_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.shutdown.cancelled() => return,
                _ = every.tick() => {}
            }
            if let Err(error) = self.0.node.observe_space() {
                tracing::warn!(%error, "the file system does not say how much space is free");
            }
        }
    }

    /// Compacts by itself until the server drains.
    pub async fn retain(self, retention: Retention) {
        let every = match retention {
            Retention::Forever => return,
            // A tenth of the time kept is how late forgetting may be; never more than an hour.
            Retention::Periodic(kept) => (kept / 10).clamp(Duration::from_secs(1), Duration::from_hours(1)),
            Retention::Revisions(_) => Duration::from_mins(5),
        };
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // One compacts for all.
            if self.0.node.leader() != Some(self.0.node.identity().member) {
                continue;
            }
            match self.forget(retention).await {
                Ok(None) => {}
                Ok(Some(revision)) => tracing::info!(%revision, "compacted by retention"),
                Err(error) => tracing::warn!(%error, "compaction by retention failed; it is tried again"),
            }
        }
    }

    async fn forget(&self, retention: Retention) -> Result<Option<Revision>, Error> {
        let call = Call::new(Instant::now() + Duration::from_secs(30));
        let reader = self.reader(&call, Consistency::Serializable).await?;
        let revision = match retention {
            Retention::Forever => return Ok(None),
            Retention::Revisions(kept) => Revision(reader.revision().get().saturating_sub(kept)),
            Retention::Periodic(kept) => {
                let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
                let time = Timestamp(now().get().saturating_sub(kept));
                match reader.revision_at(time).await? {
                    Some(revision) => revision,
                    None => return Ok(None),
                }
            }
        };
        if revision <= reader.compacted() || revision <= Revision::FIRST {
            return Ok(None);
        }
        self.compact(&call, revision).await?;
        Ok(Some(revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_too_long_for_a_piece_gets_no_more() {
        let (sender, mut chunks) = mpsc::channel(SNAPSHOT_WAITING);
        let runtime = Handle::current();
        let endless = std::iter::repeat_with(|| Ok(Bytes::from_static(b"x")));
        let patience = Duration::from_millis(20);
        let sending = tokio::task::spawn_blocking(move || send_snapshot(endless, &runtime, &sender, patience));
        for _ in 0..10 {
            assert!(chunks.recv().await.is_some());
        }
        tokio::time::timeout(Duration::from_secs(20), sending).await.expect("it waits for ever").unwrap();
        let mut left = 0;
        while chunks.recv().await.is_some() {
            left += 1;
        }
        assert_eq!(left, SNAPSHOT_WAITING);
    }
}
