//! What this member makes of what other members send.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::driver::Arrived;
use super::open::installed_name;
use super::runner::{Event, Runner};
use super::transport::{Inbox, KnownMembers, PeerMessage, Refusal, SnapshotBody};
use super::{Dismissal, Shared};
use crate::consensus::{Message, Position};
use crate::machine::Restore;
use crate::model::{Incarnation, MemberId};
use crate::storage::lsm::{LsmEngine, Options};

pub(super) struct Peers {
    shared: Arc<Shared>,
    runner: Arc<Runner>,
}

impl Peers {
    pub(super) fn new(shared: Arc<Shared>, runner: Arc<Runner>) -> Self {
        Self { shared, runner }
    }
}

impl Inbox for Peers {
    fn admits(&self, from: MemberId, incarnation: Incarnation) -> Result<(), Refusal> {
        let members = self.shared.members();
        if members.was_removed(from) {
            return Err(Refusal::Removed);
        }
        match members.get(from).and_then(|member| member.incarnation) {
            Some(known) if known != incarnation => Err(Refusal::LostData),
            // One that is not known is of the same cluster all the same. A member that was away, or has no state yet, may not
            // know the one that leads by now; it would never learn of it if it did not listen. (In the simulator, the planted
            // bug `StrangersRefused` breaks this.)
            Some(_) | None => Ok(()),
        }
    }

    fn known_members(&self) -> Option<KnownMembers> {
        let published = self.shared.published();
        let members = (*published.members).clone();
        let cluster = self.shared.identity.cluster;
        (!members.is_empty()).then_some(KnownMembers { cluster, applied: published.index, members })
    }

    fn receive(&self, from: MemberId, message: PeerMessage) {
        if message.is_append() {
            self.shared.traffic.receive();
        }
        self.runner.receive(from, message);
    }

    fn appended(&self, to: MemberId, messages: u64, took: Duration) {
        self.shared.traffic.send(to, messages, took);
    }

    fn unreachable(&self, member: MemberId) {
        self.shared.traffic.fail(member);
        // A member that has stopped is told nothing more.
        let _ = self.runner.handle(Event::Unreachable(member));
    }

    fn refused(&self, member: MemberId, reason: Refusal) {
        if matches!(reason, Refusal::Removed | Refusal::LostData) {
            self.shared.dismiss(&Dismissal::Refused { by: member, reason });
            let _ = self.runner.handle(Event::Stop);
        }
    }

    fn snapshot(&self, from: MemberId, message: Message, body: SnapshotBody) -> BoxFuture<'static, Result<(), String>> {
        let Some(position) = message.snapshot() else {
            return Box::pin(async { Err("it is no snapshot".to_owned()) });
        };
        tracing::info!(%from, index = %position.index, "a snapshot comes in");
        let name = installed_name(&self.shared.data_dir, self.shared.incarnation, position.index);
        let path = self.shared.data_dir.join(&name);
        let runner = Arc::clone(&self.runner);
        let task = self.shared.runtime.spawn_blocking(move || {
            let installed = receive(&path, position, body).and_then(|engine| {
                // Where it is not taken it is closed here, and not beneath the lock of the runner: that may take a while.
                let _closed_last = engine.clone();
                let taken = runner.install(message, Arrived { store: name, engine });
                taken.then_some(()).ok_or_else(|| "it is of no use any more".to_owned())
            });
            if installed.is_err() {
                // What is left of it is removed at the next start.
                let _ = fs::remove_dir_all(&path);
            }
            installed
        });
        Box::pin(async move { task.await.unwrap_or_else(|_| Err("the member is stopping".to_owned())) })
    }
}

/// Builds the state beside the present one, durable when it is whole.
fn receive(path: &Path, position: Position, mut body: SnapshotBody) -> Result<LsmEngine, String> {
    let failed = |error: &dyn Display| error.to_string();
    let engine = LsmEngine::open(path, Options::default()).map_err(|error| failed(&error))?;
    let mut restore = Restore::new(engine.clone()).map_err(|error| failed(&error))?;
    while let Some(chunk) = body.blocking_next().map_err(|error| failed(&error))? {
        restore.push(&chunk).map_err(|error| failed(&error))?;
    }
    let head = restore.finish().map_err(|error| failed(&error))?;
    if (head.index, head.term) != (position.index, position.term) {
        return Err(format!("the snapshot is of entry {}, and was announced as of {}", head.index, position.index));
    }
    Ok(engine)
}
