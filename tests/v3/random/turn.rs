//! Two who want the same lock or election: one has it, the other waits, and has it once the first has let go, in whichever way.
//!
//! A step of its own, for what waits is answered by what is done meanwhile. Its names and leases are nobody else's, and nothing of them is
//! left behind.

use std::thread;

use tokio::runtime::Runtime;

use super::call::Call;
use super::send::{Answer, Known, Side};
use super::step::Way;
use crate::{bytes, pb};

/// The name that both want.
const NAME: &str = "turn";
/// The leases of the two, which are in no list that is compared.
const FIRST: i64 = 981;
const SECOND: i64 = 982;
/// Longer than a sequence takes, and than the second takes to come.
const TTL: i64 = 300;
const SHORT_TTL: i64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Lock,
    Election,
}

/// How the first lets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// As it should: `Unlock`, `Resign`.
    Giving,
    Revoking,
    Deleting,
    /// Its lease ends.
    Expiring,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) of: Of,
    pub(crate) by: By,
}

const NAMES_OF: &[(Of, &str)] = &[(Of::Lock, "lock"), (Of::Election, "election")];
const NAMES_BY: &[(By, &str)] =
    &[(By::Giving, "giving"), (By::Revoking, "revoking"), (By::Deleting, "deleting"), (By::Expiring, "expiring")];

impl Turn {
    /// Its two options, as they are counted and shown.
    pub(crate) fn names(self) -> [&'static str; 2] {
        let of = NAMES_OF.iter().find(|(of, _)| *of == self.of).unwrap().1;
        [of, NAMES_BY.iter().find(|(by, _)| *by == self.by).unwrap().1]
    }

    pub(crate) fn read(text: &str) -> Self {
        let (of, by) = text.split_once(':').unwrap_or_else(|| panic!("no turn: {text}"));
        let of = NAMES_OF.iter().find(|(_, name)| *name == of).unwrap_or_else(|| panic!("no turn: {text}")).0;
        let by = NAMES_BY.iter().find(|(_, name)| *name == by).unwrap_or_else(|| panic!("no turn: {text}")).0;
        Self { of, by }
    }

    /// What makes the leases, and has the first of them take the place.
    pub(crate) fn begin(self) -> [Call; 3] {
        let ttl = if self.by == By::Expiring { SHORT_TTL } else { TTL };
        let grant = |id, ttl| Call::LeaseGrant(pb::LeaseGrantRequest { ttl, id });
        // The one that may end soon comes last before it is needed.
        [grant(SECOND, TTL), grant(FIRST, ttl), self.asks(FIRST)]
    }

    /// What is asked with a lease.
    fn asks(self, lease: i64) -> Call {
        let name = bytes(NAME);
        match self.of {
            Of::Lock => Call::Lock(pb::lock::LockRequest { name, lease }),
            Of::Election => {
                let value = bytes(&lease.to_string());
                Call::Campaign(pb::election::CampaignRequest { name, lease, value })
            }
        }
    }

    /// What lets go, if anything is to be asked for it, given the revision since which the first has the place.
    fn lets_go(self, revision: i64) -> Option<Call> {
        let key = bytes(&format!("{NAME}/{FIRST:x}"));
        let leader = pb::election::LeaderKey { name: bytes(NAME), key: key.clone(), rev: revision, lease: FIRST };
        match (self.by, self.of) {
            (By::Giving, Of::Lock) => Some(Call::Unlock(pb::lock::UnlockRequest { key })),
            (By::Giving, Of::Election) => Some(Call::Resign(pb::election::ResignRequest { leader: Some(leader) })),
            (By::Revoking, _) => Some(Call::LeaseRevoke(pb::LeaseRevokeRequest { id: FIRST })),
            (By::Deleting, _) => {
                Some(Call::DeleteRange(pb::DeleteRangeRequest { key, range_end: bytes(""), prev_kv: true }))
            }
            (By::Expiring, _) => None,
        }
    }

    /// Has the second wait and the first let go; what both were answered, the first if it asked for anything.
    pub(crate) fn pass(self, side: &Side, runtime: &Runtime, way: Way, known: &Known) -> (Answer, Option<Answer>) {
        thread::scope(|scope| {
            let waiting = scope.spawn(|| side.call(runtime, &self.asks(SECOND), way, &mut known.clone()));
            let queue = pb::RangeRequest { key: bytes("turn/"), range_end: bytes("turn0"), ..Default::default() };
            let places = loop {
                let found = runtime.block_on(side.v3.range(queue.clone())).unwrap();
                // What is answered without waiting will be seen in the answer.
                if found.count == 2 || waiting.is_finished() {
                    break found.kvs;
                }
                thread::yield_now();
            };
            let first = places.iter().find(|place| place.lease == FIRST).map_or(0, |place| place.create_revision);
            let given = self.lets_go(first).map(|call| side.call(runtime, &call, Way::Grpc, &mut known.clone()));
            (waiting.join().unwrap(), given)
        })
    }

    /// What takes away what is left.
    pub(crate) fn end(self) -> Vec<Call> {
        let revoke = |id| Call::LeaseRevoke(pb::LeaseRevokeRequest { id });
        match self.by {
            By::Giving | By::Deleting => vec![revoke(FIRST), revoke(SECOND)],
            By::Revoking | By::Expiring => vec![revoke(SECOND)],
        }
    }
}
