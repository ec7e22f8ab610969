//! Sequences of steps from a seed, over few keys, few values and few leases, so that what is done comes upon what was done before.
//!
//! A sketch of what should be there guides what is asked for; it may be wrong, for what was hit is counted from the answers. What
//! is known to differ is not asked for (`docs/etcd-v3.md`), nor what etcd 3.4 does not survive, nor what waits for others but in a step that
//! lets it go on.

use bytes::Bytes;

use super::call::Call;
use super::send::{NO_LEASE, SHORT};
use super::step::{Asked, Step, Way, base};
use super::turn::{By, Of, Turn};
use super::visitors::Number;
use crate::chance::Chance;
use crate::{bytes, pb};
use pb::compare::TargetUnion;
use pb::request_op::Request;

/// Steps of a sequence.
const LENGTH: u64 = 30;
/// Puts among them with which it begins.
const BEGIN: u64 = 6;
/// Keys that are read and written. With those of nested transactions and the one that is always there they are no more than etcd
/// sorts in a way that keeps ties in order.
const KEYS: &[&str] = &["a", "b", "c", "d/1", "d/2", "d/10", "\0", "é"];
/// Keys of nested transactions: what etcd lets through there is a known difference.
const NESTED: &[&str] = &["n/1", "n/2"];
/// Prefixes as they end, keys on, and ends before their beginning.
const ENDS: &[&str] = &["c", "d/", "d0", "z", "\0", "a", "\0"];
/// Ranges with many keys.
const WIDE: &[(&str, &str)] = &[("a", "z"), ("\0", "\0"), ("d/", "d0"), ("b", "\0")];
const VALUES: &[&str] = &["", "1", "2", "x<y>&", "\u{1f600}\n"];
/// Leases with ids of the client's.
const LEASES: &[i64] = &[11, -12, 13];
/// Those with which places are held: each has a name of its own, so that none waits for another.
const HOLDERS: &[i64] = &[11, 13, NO_LEASE];
/// Leases whose ids the server chooses.
const CHOSEN: u64 = 2;
/// Times to live, in seconds: the longest there is, and one that is longer.
const TTLS: &[i64] = &[100, 300, 4000, 4000, 9_000_000_000, 9_000_000_001];
/// Those that etcd makes longer.
const SHORT_TTLS: &[i64] = &[-5, 0, 1, 2];
/// Operations and comparisons that a transaction has at most.
const OPERATIONS: usize = 128;
/// Streams of watches over gRPC; as many in JSON have the numbers behind them, and as many over WebSocket those behind these.
const STREAMS: u64 = 2;
const USERS: &[&str] = &["ann", "bob", "root", ""];
const ROLES: &[&str] = &["dev", "ops", "root", ""];
const PASSWORDS: &[&str] = &["one", "", "two"];
/// Ranges of permissions; none begins where another does.
const RANGES: &[(&str, &str)] = &[("a", ""), ("b", "d"), ("e", "\0"), ("d/1", "")];

/// What a sequence is about beside keys, leases and watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    Keys,
    Places,
    Users,
}

/// The sequence of a seed.
pub(crate) fn sequence(seed: u64) -> Vec<Step> {
    let mut chance = Chance::new(seed);
    let theme = *chance.pick(&[Theme::Keys, Theme::Keys, Theme::Keys, Theme::Keys, Theme::Places, Theme::Users]);
    let (leases, watches) = (Vec::new(), Vec::new());
    let mut generator = Generator { chance, theme, now: 0, compacted: 0, leases, watches, short: SHORT.start };
    let begun: Vec<_> = (0..BEGIN).map(|_| generator.begin()).collect();
    begun.into_iter().chain((BEGIN..LENGTH).map(|_| generator.step())).collect()
}

struct Generator {
    chance: Chance,
    theme: Theme,
    /// Revisions since the beginning, about.
    now: i64,
    compacted: i64,
    /// Those that should be there.
    leases: Vec<i64>,
    /// Watches that were asked for, and the number that each should have.
    watches: Vec<(Asked, i64)>,
    /// The next id of a lease that may end soon.
    short: i64,
}

impl Generator {
    fn percent(&mut self, percent: u64) -> bool {
        self.chance.percent(percent)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *self.chance.pick(from)
    }

    fn bytes(&mut self, from: &[&str]) -> Bytes {
        let text = self.pick(from);
        bytes(text)
    }

    fn number(&mut self, below: u64) -> i64 {
        i64::try_from(self.chance.below(below)).unwrap()
    }

    fn way(&mut self) -> Way {
        if self.percent(60) {
            return Way::Grpc;
        }
        Way::Json(if self.percent(10) { None } else { Some(self.chance.below(1 << 32)) })
    }

    /// A revision: one that is there, one that is compacted, one to come, or one that is none.
    fn revision(&mut self) -> i64 {
        match self.chance.below(12) {
            0 => 0,
            1 => -1,
            2 => base(self.now + 100),
            3 => base(self.compacted - 1 - self.number(3)),
            4 => base(self.compacted),
            5 => 1,
            _ => base(self.now - self.number(8).min(self.now - self.compacted)),
        }
    }

    fn lease(&mut self) -> i64 {
        match self.chance.below(10) {
            0 => NO_LEASE,
            1 => self.pick(LEASES),
            _ if self.leases.is_empty() => self.pick(LEASES),
            _ => *self.chance.pick(&self.leases),
        }
    }

    /// A key, seldom none.
    fn key(&mut self) -> Bytes {
        if self.percent(3) { Bytes::new() } else { self.bytes(KEYS) }
    }

    /// A put of some key.
    fn begin(&mut self) -> Step {
        self.now += 1;
        let request = pb::PutRequest { key: self.bytes(KEYS), value: self.bytes(VALUES), ..Default::default() };
        Step::Call(self.way(), Call::Put(request))
    }

    fn step(&mut self) -> Step {
        let way = self.way();
        if self.theme == Theme::Places && self.percent(8) {
            return Step::Turn(way, self.turn());
        }
        if self.theme == Theme::Places && self.percent(45) {
            return Step::Call(way, self.place());
        }
        if self.theme == Theme::Users && self.percent(60) {
            return Step::Call(way, self.user());
        }
        match self.chance.below(100) {
            0..22 => self.read(way),
            22..40 => {
                let key = self.key();
                self.now += 1;
                Step::Call(way, Call::Put(self.put(key)))
            }
            40..46 => {
                self.now += 1;
                Step::Call(way, Call::DeleteRange(self.delete()))
            }
            46..62 => {
                let txn = self.txn();
                self.now += 1;
                Step::Call(way, Call::Txn(txn))
            }
            62..66 => Step::Call(way, Call::Compact(self.compact())),
            66..73 => Step::Call(way, Call::LeaseGrant(self.grant())),
            73..75 => {
                let id = self.lease();
                self.leases.retain(|known| *known != id);
                Step::Call(way, Call::LeaseRevoke(pb::LeaseRevokeRequest { id }))
            }
            75..79 => {
                let request = pb::LeaseTimeToLiveRequest { id: self.lease(), keys: self.percent(60) };
                Step::Call(way, Call::LeaseTimeToLive(request))
            }
            79 => Step::Call(way, Call::LeaseLeases(pb::LeaseLeasesRequest {})),
            80 => Step::Call(way, Call::MemberList(pb::MemberListRequest { linearizable: self.percent(50) })),
            81..84 => {
                let count = 1 + self.chance.below(3);
                let requests = (0..count).map(|_| pb::LeaseKeepAliveRequest { id: self.lease() }).collect();
                Step::KeepAlive(way, requests)
            }
            84..93 => {
                let asked = self.asked();
                let request = self.watch(true);
                let others = self.watches.iter().filter(|(of, _)| *of == asked).count();
                let chosen = i64::try_from(others).unwrap();
                self.watches.push((asked, if request.watch_id == 0 { chosen } else { request.watch_id }));
                Step::Create(asked, request)
            }
            93..95 => {
                let (asked, watch_id) = if self.watches.is_empty() || self.percent(25) {
                    (self.asked(), self.number(4))
                } else {
                    *self.chance.pick(&self.watches)
                };
                Step::Cancel(asked, pb::WatchCancelRequest { watch_id })
            }
            95..97 => Step::Progress(self.asked()),
            _ => {
                let count = 1 + self.chance.below(3);
                let stream = STREAMS + self.chance.below(STREAMS);
                let spelling = Some(self.chance.below(1 << 32));
                Step::Lines(stream, spelling, (0..count).map(|_| self.watch(false)).collect())
            }
        }
    }

    fn read(&mut self, way: Way) -> Step {
        let request = self.range(false);
        match way {
            // A letter less may be a limit that counts without an order, which is a known difference.
            Way::Json(Some(seed)) if request.limit == 0 && request.sort_order == 0 && self.percent(35) => {
                Step::Call(Way::Spoilt(seed), Call::Range(request))
            }
            Way::Grpc | Way::Json(_) | Way::Spoilt(_) => Step::Call(way, Call::Range(request)),
        }
    }

    fn range(&mut self, in_txn: bool) -> pb::RangeRequest {
        let mut request = pb::RangeRequest { key: self.key(), ..Default::default() };
        if self.percent(40) {
            let (key, end) = self.pick(WIDE);
            (request.key, request.range_end) = (bytes(key), bytes(end));
        } else if self.percent(50) {
            request.range_end = self.bytes(ENDS);
        }
        request.keys_only = self.percent(12);
        request.count_only = self.percent(10);
        request.serializable = self.percent(12);
        if self.percent(30) {
            let revision = self.revision();
            // In a transaction, etcd takes one that is negative for one that is compacted, where anything was.
            request.revision = if in_txn { revision.max(0) } else { revision };
        }
        for bound in [
            &mut request.min_mod_revision,
            &mut request.max_mod_revision,
            &mut request.min_create_revision,
            &mut request.max_create_revision,
        ] {
            if self.percent(7) {
                *bound = self.revision();
            }
        }
        if self.percent(35) {
            request.sort_order = self.pick(&[1, 2]);
        }
        if self.percent(35) {
            // Locks and candidacies are more keys than etcd keeps in order where they are tied.
            request.sort_target = if self.theme == Theme::Places { 0 } else { self.pick(&[0, 1, 2, 3, 4]) };
        }
        // Without an order, etcd 3.4 cuts before it sorts.
        if self.percent(50) && (request.sort_order > 0 || request.sort_target == 0) {
            request.limit = self.number(5) - 1;
        }
        request
    }

    fn put(&mut self, key: Bytes) -> pb::PutRequest {
        let mut request = pb::PutRequest { key, value: self.bytes(VALUES), ..Default::default() };
        request.prev_kv = self.percent(35);
        if self.percent(12) {
            request.ignore_value = true;
            if self.percent(75) {
                request.value = Bytes::new();
            }
        }
        request.ignore_lease = self.percent(12);
        if self.percent(if request.ignore_lease { 20 } else { 30 }) {
            request.lease = self.lease();
        }
        request
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let (key, prev_kv) = (self.key(), self.percent(60));
        if self.percent(20) {
            let (key, end) = self.pick(WIDE);
            return pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv };
        }
        let range_end = if self.percent(40) { self.bytes(ENDS) } else { Bytes::new() };
        pb::DeleteRangeRequest { key, range_end, prev_kv }
    }

    fn compare(&mut self) -> pb::Compare {
        let mut request = pb::Compare { key: self.key(), ..Default::default() };
        if self.percent(20) {
            request.range_end = self.bytes(ENDS);
        }
        request.result = self.pick(&[0, 0, 1, 2, 3]);
        request.target = self.pick(&[0, 1, 2, 3, 4]);
        // What is compared with is mostly of the kind that is asked for.
        let kind = if self.percent(90) { request.target } else { self.pick(&[0, 1, 2, 3, 4]) };
        request.target_union = match kind {
            _ if self.percent(3) => None,
            0 => Some(TargetUnion::Version(self.number(3))),
            1 => Some(TargetUnion::CreateRevision(self.revision())),
            2 => Some(TargetUnion::ModRevision(self.revision())),
            3 => Some(TargetUnion::Value(self.bytes(VALUES))),
            _ => Some(TargetUnion::Lease(if self.percent(50) { 0 } else { self.lease() })),
        };
        request
    }

    fn txn(&mut self) -> pb::TxnRequest {
        let count = self.chance.below(3);
        let mut request = pb::TxnRequest {
            compare: (0..count).map(|_| self.compare()).collect(),
            success: self.ops(),
            failure: self.ops(),
        };
        match self.chance.below(40) {
            0 => request.success = vec![op(Request::RequestRange(crate::get("a"))); OPERATIONS + 1],
            1 => request.compare = vec![self.compare(); OPERATIONS + 1],
            2 => request.success.push(pb::RequestOp::default()),
            3 => request.success = vec![op(Request::RequestRange(crate::get("a"))); OPERATIONS],
            _ => {}
        }
        request
    }

    fn ops(&mut self) -> Vec<pb::RequestOp> {
        let count = self.chance.below(4);
        (0..count).map(|_| op(self.op())).collect()
    }

    fn op(&mut self) -> Request {
        match self.chance.below(12) {
            0..5 => {
                let key = self.key();
                Request::RequestPut(self.put(key))
            }
            5..8 => Request::RequestRange(self.range(true)),
            8..10 => {
                let mut request = self.delete();
                // What else is in the transaction may be put in a range without a proper end, in etcd alone.
                if !request.range_end.is_empty() {
                    let (key, end) = self.pick(&[("a", "c"), ("d/", "d0"), ("c", "a")]);
                    (request.key, request.range_end) = (bytes(key), bytes(end));
                }
                Request::RequestDeleteRange(request)
            }
            _ => {
                let count = self.chance.below(2);
                let compare = (0..count).map(|_| self.compare()).collect();
                let success = (0..self.chance.below(3)).map(|_| op(self.nested(true))).collect();
                let failure = (0..self.chance.below(2)).map(|_| op(self.nested(false))).collect();
                Request::RequestTxn(pb::TxnRequest { compare, success, failure })
            }
        }
    }

    fn nested(&mut self, may_put: bool) -> Request {
        if may_put && self.percent(60) {
            let key = self.bytes(NESTED);
            return Request::RequestPut(self.put(key));
        }
        Request::RequestRange(self.range(true))
    }

    fn compact(&mut self) -> pb::CompactionRequest {
        let revision = match self.chance.below(6) {
            0 => base(self.now + 100),
            1 => base(self.compacted),
            2 => self.pick(&[0, -1, 1]),
            _ => {
                self.compacted += self.number(8).min(self.now - self.compacted);
                base(self.compacted)
            }
        };
        pb::CompactionRequest { revision, physical: self.percent(20) }
    }

    fn grant(&mut self) -> pb::LeaseGrantRequest {
        match self.chance.below(10) {
            0 => {
                let id = self.short;
                self.short += 1;
                pb::LeaseGrantRequest { ttl: self.pick(SHORT_TTLS), id }
            }
            1..4 => {
                let chosen = self.leases.iter().filter(|id| matches!(Number::of(**id), Number::Chosen(_))).count();
                let place = i64::try_from(chosen).unwrap();
                if (chosen as u64) < CHOSEN {
                    self.leases.push(Number::Chosen(place).packed());
                }
                pb::LeaseGrantRequest { ttl: 300, id: 0 }
            }
            _ => {
                let id = self.pick(LEASES);
                let ttl = self.pick(TTLS);
                self.leases.push(id);
                pb::LeaseGrantRequest { ttl, id }
            }
        }
    }

    /// A stream of watches of which more can be asked.
    fn asked(&mut self) -> Asked {
        let number = self.chance.below(STREAMS);
        if self.percent(60) { Asked::Grpc(number) } else { Asked::Socket(2 * STREAMS + number) }
    }

    /// A watch; of a number of its own now and then, where not all of a stream are asked for at once.
    fn watch(&mut self, is_alone: bool) -> pb::WatchCreateRequest {
        let mut request = pb::WatchCreateRequest { key: self.key(), ..Default::default() };
        if self.percent(60) {
            request.range_end = self.bytes(ENDS);
        }
        if self.percent(45) {
            // Later ones refuse what is negative, and 3.4 says that it is compacted.
            request.start_revision = self.revision().max(0);
        }
        request.filters = self.pick(&[&[][..], &[], &[], &[0], &[1], &[1, 0]]).to_vec();
        request.prev_kv = self.percent(40);
        request.fragment = self.percent(15);
        request.progress_notify = self.percent(15);
        if is_alone && self.percent(20) {
            request.watch_id = 1 + self.number(3);
        }
        request
    }

    /// The name that is the lease's own, and the key of the place with it.
    fn named(lease: i64, kind: &str) -> (Bytes, Bytes) {
        let name = format!("{kind}/{lease}");
        (bytes(&name), bytes(&format!("{name}/{lease:x}")))
    }

    /// Locks and candidacies: none waits, as no name has a second lease.
    fn place(&mut self) -> Call {
        if self.leases.is_empty() || self.percent(10) {
            let id = self.pick(&HOLDERS[..2]);
            self.leases.push(id);
            return Call::LeaseGrant(pb::LeaseGrantRequest { ttl: 300, id });
        }
        let lease = self.pick(HOLDERS);
        let (lock, lock_key) = Self::named(lease, "lock");
        let (name, key) = Self::named(lease, "elect");
        self.now += 1;
        let value = self.bytes(VALUES);
        let leader = pb::election::LeaderKey { name: name.clone(), key, rev: Number::Campaign(lease).packed(), lease };
        match self.chance.below(14) {
            0..3 => Call::Lock(pb::lock::LockRequest { name: lock, lease }),
            3..5 => Call::Unlock(pb::lock::UnlockRequest { key: lock_key }),
            5..8 => Call::Campaign(pb::election::CampaignRequest { name, lease, value }),
            8..10 => {
                let leader = (!self.percent(8)).then_some(leader);
                Call::Proclaim(pb::election::ProclaimRequest { leader, value })
            }
            10..12 => Call::Leader(pb::election::LeaderRequest { name }),
            _ => {
                let leader = (!self.percent(8)).then_some(leader);
                Call::Resign(pb::election::ResignRequest { leader })
            }
        }
    }

    fn turn(&mut self) -> Turn {
        let of = self.pick(&[Of::Lock, Of::Election]);
        // To expire takes seconds.
        let by =
            self.pick(&[By::Giving, By::Giving, By::Giving, By::Revoking, By::Revoking, By::Deleting, By::Expiring]);
        self.now += 4;
        Turn { of, by }
    }

    fn name(&mut self, from: &[&str]) -> String {
        // The last, which is none, comes seldom.
        let names = if self.percent(5) { from } else { &from[..from.len() - 1] };
        self.pick(names).to_owned()
    }

    fn user(&mut self) -> Call {
        let (name, role, password) = (self.name(USERS), self.name(ROLES), self.pick(PASSWORDS).to_owned());
        let (key, range_end) = self.pick(RANGES);
        let (key, range_end) = (bytes(key), bytes(range_end));
        match self.chance.below(26) {
            0..4 => {
                let options = self.pick(&[None, Some(false), Some(true)]);
                // Those who have none are told apart from those whose is empty.
                let password = if options == Some(true) { String::new() } else { password };
                let options = options.map(|no_password| pb::authpb::UserAddOptions { no_password });
                Call::UserAdd(pb::AuthUserAddRequest { name, password, options, ..Default::default() })
            }
            4..6 => Call::UserGet(pb::AuthUserGetRequest { name }),
            6 => Call::UserList(pb::AuthUserListRequest {}),
            7 => Call::UserDelete(pb::AuthUserDeleteRequest { name }),
            8 => {
                let request = pb::AuthUserChangePasswordRequest { name, password, ..Default::default() };
                Call::UserChangePassword(request)
            }
            9..11 => Call::UserGrantRole(pb::AuthUserGrantRoleRequest { user: name, role }),
            11 => Call::UserRevokeRole(pb::AuthUserRevokeRoleRequest { name, role }),
            12..15 => Call::RoleAdd(pb::AuthRoleAddRequest { name: role }),
            15..17 => Call::RoleGet(pb::AuthRoleGetRequest { role }),
            17 => Call::RoleList(pb::AuthRoleListRequest {}),
            18 => Call::RoleDelete(pb::AuthRoleDeleteRequest { role }),
            19..22 => {
                let perm = Some(pb::authpb::Permission { perm_type: self.pick(&[0, 1, 2]), key, range_end });
                Call::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest { name: role, perm })
            }
            22..24 => Call::RoleRevokePermission(pb::AuthRoleRevokePermissionRequest { role, key, range_end }),
            24 => Call::Authenticate(pb::AuthenticateRequest { name, password }),
            _ => Call::AuthDisable(pb::AuthDisableRequest {}),
        }
    }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}
