//! What waits to be sent to one member: bounded, and the small before the large.
//!
//! Never waits and never calls anybody: [`Outbox::push`] is called under the lock of whoever drives raft.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::PeerMessage;
use crate::consensus::{Message, MessageKind};
use crate::model::limits::{
    MAX_ENTRY_BYTES, MAX_PEER_FRAME_BYTES, PEER_BULK_BYTES, PEER_BULK_MESSAGES, PEER_URGENT_MESSAGES,
};

/// The queues to one member.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    connected: bool,
    /// Of these kinds only the newest is worth sending. They are kept, too, while there is no connection: the first
    /// that a member hears should be who leads or who stands for election.
    newest: BTreeMap<MessageKind, Message>,
    urgent: VecDeque<PeerMessage>,
    /// The newest.
    report: Option<PeerMessage>,
    /// Keeps its order. Each with its size.
    bulk: VecDeque<(usize, PeerMessage)>,
    bulk_bytes: usize,
}

impl Outbox {
    /// Queues a message. False when it will not be sent, or not all of it.
    pub(super) fn push(&self, message: PeerMessage) -> bool {
        let queued = self.queue.lock().push(message);
        self.filled.notify_one();
        queued
    }

    /// What to send next.
    pub(super) fn take(&self) -> Option<PeerMessage> {
        self.queue.lock().take()
    }

    /// Waits for a message. One waits at a time.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// There is a connection.
    pub(super) fn open(&self) {
        self.queue.lock().connected = true;
    }

    /// There is none any more. What waited is forgotten.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        *queue = Queue { newest: std::mem::take(&mut queue.newest), ..Queue::default() };
    }

    pub(super) fn is_open(&self) -> bool {
        self.queue.lock().connected
    }
}

impl Queue {
    fn push(&mut self, message: PeerMessage) -> bool {
        match message {
            PeerMessage::Raft(message) => self.push_raft(message),
            PeerMessage::Forwarded(_) | PeerMessage::Transfer { .. } => self.push_urgent(message),
            PeerMessage::Report(_) => {
                self.report = self.connected.then_some(message);
                self.connected
            }
            PeerMessage::Forward(_) => self.push_bulk(message),
        }
    }

    fn push_raft(&mut self, message: Message) -> bool {
        match message.kind() {
            kind @ (MessageKind::Heartbeat
            | MessageKind::HeartbeatResponse
            | MessageKind::Vote
            | MessageKind::VoteResponse) => {
                self.newest.insert(kind, message);
                true
            }
            MessageKind::Control => self.push_urgent(PeerMessage::Raft(message)),
            // In pieces, between which a heartbeat finds its way. When the later ones find no room, the earlier ones
            // are still worth sending.
            MessageKind::Append => {
                message.split(MAX_ENTRY_BYTES).into_iter().all(|piece| self.push_bulk(PeerMessage::Raft(piece)))
            }
            MessageKind::Snapshot => false,
        }
    }

    fn push_urgent(&mut self, message: PeerMessage) -> bool {
        let room = self.connected && self.urgent.len() < PEER_URGENT_MESSAGES;
        if room {
            self.urgent.push_back(message);
        }
        room
    }

    fn push_bulk(&mut self, message: PeerMessage) -> bool {
        let size = message.encoded_bytes();
        let fits = self.bulk.len() < PEER_BULK_MESSAGES && self.bulk_bytes.saturating_add(size) <= PEER_BULK_BYTES;
        let room = self.connected && size <= MAX_PEER_FRAME_BYTES && (fits || self.bulk.is_empty());
        if room {
            self.bulk_bytes += size;
            self.bulk.push_back((size, message));
        }
        room
    }

    fn take(&mut self) -> Option<PeerMessage> {
        if let Some((_, message)) = self.newest.pop_first() {
            return Some(PeerMessage::Raft(message));
        }
        if let Some(message) = self.urgent.pop_front().or_else(|| self.report.take()) {
            return Some(message);
        }
        let (size, message) = self.bulk.pop_front()?;
        self.bulk_bytes -= size;
        Some(message)
    }
}
