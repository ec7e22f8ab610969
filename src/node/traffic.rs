//! How much of the log goes between members, as etcd's statistics tell it: for people to look at, and nothing depends on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::model::MemberId;

/// What was sent to one member: messages that append entries.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sent {
    pub delivered: u64,
    /// Connections that were lost, whether or not there was something to send.
    pub failed: u64,
    /// How long the last one took to be handed to the system, in milliseconds.
    pub latest_ms: f64,
    pub average_ms: f64,
    /// `None` while none was delivered.
    pub shortest_ms: Option<f64>,
    pub longest_ms: f64,
    /// The mean of the squares.
    square_ms: f64,
}

impl Sent {
    /// The standard deviation, in milliseconds.
    #[must_use]
    pub fn deviation_ms(&self) -> f64 {
        (self.square_ms - self.average_ms * self.average_ms).max(0.0).sqrt()
    }

    /// Counts messages that went together and took so long.
    fn add(&mut self, messages: u64, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        self.delivered += messages;
        // Exact up to 2^53 messages.
        #[expect(clippy::cast_precision_loss, reason = "a mean of so many is no better known")]
        let share = messages as f64 / self.delivered as f64;
        self.latest_ms = ms;
        self.average_ms += (ms - self.average_ms) * share;
        self.square_ms += (ms * ms - self.square_ms) * share;
        self.shortest_ms = Some(self.shortest_ms.map_or(ms, |shortest| shortest.min(ms)));
        self.longest_ms = self.longest_ms.max(ms);
    }
}

/// What a member counts of it since its process started.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    received: AtomicU64,
    sent: Mutex<BTreeMap<MemberId, Sent>>,
    /// Since when the leader leads that is known here.
    leader_since: Mutex<Option<SystemTime>>,
}

impl Traffic {
    /// A message that appends entries came in.
    pub(super) fn receive(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages that append entries went to a member.
    pub(super) fn send(&self, to: MemberId, messages: u64, took: Duration) {
        if messages > 0 {
            self.sent.lock().entry(to).or_default().add(messages, took);
        }
    }

    /// The connection to a member was lost.
    pub(super) fn fail(&self, to: MemberId) {
        self.sent.lock().entry(to).or_default().failed += 1;
    }

    pub(super) fn lead_from_now(&self) {
        *self.leader_since.lock() = Some(SystemTime::now());
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn sent(&self) -> BTreeMap<MemberId, Sent> {
        self.sent.lock().clone()
    }

    pub(super) fn leader_since(&self) -> Option<SystemTime> {
        *self.leader_since.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up_without_being_kept() {
        let traffic = Traffic::default();
        for ms in [2, 4, 4, 4, 5, 5, 7, 9] {
            traffic.send(MemberId(2), 1, Duration::from_millis(ms));
        }
        traffic.send(MemberId(2), 0, Duration::from_secs(9));
        traffic.fail(MemberId(3));
        let sent = traffic.sent();
        let to_second = sent[&MemberId(2)];
        assert_eq!((to_second.delivered, to_second.failed), (8, 0));
        assert!((to_second.average_ms - 5.0).abs() < 1e-9 && (to_second.deviation_ms() - 2.0).abs() < 1e-6);
        assert_eq!((to_second.shortest_ms, to_second.longest_ms, to_second.latest_ms), (Some(2.0), 9.0, 9.0));
        assert_eq!((sent[&MemberId(3)].failed, sent[&MemberId(3)].shortest_ms), (1, None));
    }
}
