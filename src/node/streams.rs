//! Snapshots on their way to members that the log does not reach any more: which state each is offered, and its stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::Shared;
use super::runner::{Event, Runner};
use super::transport::Transport;
use crate::consensus::{Input, Message, Position};
use crate::machine::SnapshotSource;
use crate::model::MemberId;
use crate::storage::StorageError;
use crate::storage::lsm::LsmSnapshot;

/// Members that are sent a snapshot at once: each stream reads the whole store, and holds a moment of it.
const MAX_STREAMS: usize = 2;
/// Ticks that an offer holds its moment of the store. Raft takes it with the next message from the member, or not at all.
const OFFER_TICKS: u32 = 20;

#[derive(Default)]
pub(super) struct Streams {
    by_member: BTreeMap<MemberId, Stage>,
}

enum Stage {
    /// Raft knows that this state could be sent.
    Offered {
        source: Box<SnapshotSource<LsmSnapshot>>,
        ticks: u32,
    },
    Sending,
}

impl Streams {
    /// Offers the present state to a member, unless a snapshot is on its way there already.
    pub(super) fn offer(&mut self, to: MemberId, shared: &Shared) -> Option<Input> {
        let has_room = match self.by_member.get(&to) {
            Some(Stage::Sending) => false,
            Some(Stage::Offered { .. }) => true,
            None => self.by_member.len() < MAX_STREAMS,
        };
        if !has_room {
            return None;
        }
        let source = match SnapshotSource::open(shared.published().view.snapshot().clone()) {
            Ok(source) => Box::new(source),
            Err(error) => {
                shared.fail("the store cannot be read", &error);
                return None;
            }
        };
        let head = source.head();
        let position = Position { index: head.index, term: head.term };
        let conf_state = head.members.conf_state();
        self.by_member.insert(to, Stage::Offered { source, ticks: 0 });
        Some(Input::SnapshotOffered { to, position, conf_state })
    }

    /// Streams what was offered to a member. False when nothing was.
    pub(super) fn begin(
        &mut self,
        to: MemberId,
        message: Message,
        transport: &Transport,
        runner: Weak<Runner>,
        shared: &Arc<Shared>,
    ) -> bool {
        let Some(Stage::Offered { source, .. }) = self.by_member.insert(to, Stage::Sending) else {
            self.by_member.remove(&to);
            return false;
        };
        tracing::info!(%to, index = %source.head().index, revision = %source.head().revision, "sending a snapshot");
        let sending = transport.send_snapshot(to, message, move |sink| -> Result<(), StorageError> {
            for chunk in source.chunks() {
                if !sink.put(chunk?) {
                    break;
                }
            }
            Ok(())
        });
        shared.runtime.spawn(async move {
            let sent = sending.await;
            match &sent {
                Ok(()) => tracing::info!(%to, "the snapshot has arrived"),
                Err(error) => tracing::warn!(%to, %error, "the snapshot has not arrived"),
            }
            // A member that has stopped needs no report.
            if let Some(runner) = runner.upgrade() {
                let _ = runner.handle(Event::SnapshotSent { to, delivered: sent.is_ok() });
            }
        });
        true
    }

    pub(super) fn ended(&mut self, to: MemberId) {
        self.by_member.remove(&to);
    }

    /// Passes a tick: offers that were not taken go.
    pub(super) fn tick(&mut self) {
        self.by_member.retain(|_, stage| match stage {
            Stage::Offered { ticks, .. } => {
                *ticks += 1;
                *ticks <= OFFER_TICKS
            }
            Stage::Sending => true,
        });
    }
}
