//! What a watch promises, against a model that keeps every event and filters it anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Delivery, Filter, Hub, Kinds, Limits, WatcherId};
use crate::model::{Action, Block, Event, EventKind, Key, KeyRange, NodeView, Operation, Record, Revision, Timestamp};

const ALL: usize = usize::MAX;

fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

fn event(revision: u64, key: &str, kind: EventKind, bytes: usize) -> Event {
    let revision = Revision(revision);
    let record = Record {
        value: vec![b'x'; bytes].into(),
        content_type: None,
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        lease: None,
    };
    Event {
        revision,
        kind,
        key: Key::new(key.to_owned()).unwrap(),
        record: (kind == EventKind::Put).then_some(record),
        previous: None,
        previous_revision: Revision::ZERO,
        time: Timestamp(0),
        author: None,
        operation: Operation::Put,
        view: NodeView::default(),
        action: Action::Set,
    }
}

fn block(events: Vec<Event>) -> Arc<Block> {
    Arc::new(Block { events })
}

fn put(revision: u64, key: &str) -> Arc<Block> {
    block(vec![event(revision, key, EventKind::Put, 10)])
}

fn small(events: usize) -> Hub {
    Hub::new(Revision(1), Limits { events, bytes: 100_000, together: ALL })
}

/// Revision and key of each event that a delivery brought, and whether it ended its revision.
fn taken(delivery: &Delivery) -> Vec<(u64, String, bool)> {
    let Delivery::Events(pieces) = delivery else { panic!("no events: {delivery:?}") };
    let mut all = Vec::new();
    for piece in pieces {
        let last = piece.events().len() - 1;
        for (number, event) in piece.events().iter().enumerate() {
            all.push((event.revision.get(), event.key.to_string(), number == last && piece.ends_revision()));
        }
    }
    all
}

fn row(revision: u64, key: &str, ends: bool) -> (u64, String, bool) {
    (revision, key.to_owned(), ends)
}

fn idle_through(delivery: &Delivery) -> u64 {
    let Delivery::Idle { through } = delivery else { panic!("not idle: {delivery:?}") };
    through.get()
}

fn lagging_after(delivery: &Delivery) -> u64 {
    let Delivery::Lagging { resume_after } = delivery else { panic!("not lagging: {delivery:?}") };
    resume_after.get()
}

#[test]
fn only_those_concerned_are_woken_and_each_once() {
    let mut hub = small(100);
    let (exact, at) = hub.register(Filter::new(KeyRange::single(&key("/a/b"))), Revision(1));
    assert_eq!(at, Revision(1));
    let (below, _) = hub.register(Filter::new(KeyRange::prefix("/a/")), Revision(1));
    let (children, _) = hub.register(Filter::children(&key("/a/")), Revision(1));
    let (range, _) = hub.register(Filter::new(KeyRange::new("/a/b", Some("/a/c".into()))), Revision(1));
    let (other, _) = hub.register(Filter::new(KeyRange::single(&key("/c"))), Revision(1));
    let (deletions, _) =
        hub.register(Filter::new(KeyRange::prefix("/")).only(Kinds::of(&[EventKind::Delete])), Revision(1));
    let mut awake = hub.publish(Revision(3), &[put(2, "/a/b"), put(3, "/a/b")]);
    awake.sort();
    assert_eq!(awake, [exact, below, children, range]);
    assert!(hub.publish(Revision(4), &[put(4, "/a/b")]).is_empty(), "they are awake already");
    assert_eq!(taken(&hub.take(exact, ALL)), [row(2, "/a/b", true), row(3, "/a/b", true), row(4, "/a/b", true)]);
    assert_eq!(hub.publish(Revision(5), &[put(5, "/a/b/c")]), [] as [WatcherId; 0], "`below` has not taken yet");
    assert_eq!(taken(&hub.take(below, ALL)).len(), 4);
    assert_eq!(taken(&hub.take(children, ALL)).len(), 3);
    assert_eq!(taken(&hub.take(range, ALL)).len(), 4);
    for quiet in [other, deletions, exact] {
        assert_eq!(idle_through(&hub.take(quiet, ALL)), 5);
    }
}

#[test]
fn a_revision_ends_where_it_ends_for_this_watcher() {
    let mut hub = small(100);
    let (id, _) = hub.register(Filter::children(&key("/a/")), Revision(1));
    let of = |key: &str| event(2, key, EventKind::Put, 10);
    let events = vec![of("/a/1"), of("/a/1/x"), of("/a/2"), of("/b"), event(3, "/a/3", EventKind::Delete, 0)];
    hub.publish(Revision(3), &[block(events)]);
    assert_eq!(taken(&hub.take(id, 1)), [row(2, "/a/1", false)]);
    assert_eq!(taken(&hub.take(id, ALL)), [row(2, "/a/2", true), row(3, "/a/3", true)]);
}

#[test]
fn one_whole_revision_gets_in_however_large_and_leaves_in_pieces() {
    let mut hub = Hub::new(Revision(1), Limits { events: 3, bytes: 2000, together: ALL });
    let (id, _) = hub.register(Filter::new(KeyRange::prefix("")), Revision(1));
    let large = (0..50).map(|number| event(2, &format!("k{number:02}"), EventKind::Put, 1000)).collect();
    hub.publish(Revision(3), &[block(large), put(3, "late")]);
    let mut all = Vec::new();
    for _ in 0..50 {
        all.extend(taken(&hub.take(id, 1500)));
    }
    let expected: Vec<_> = (0..50).map(|number| row(2, &format!("k{number:02}"), number == 49)).collect();
    assert_eq!(all, expected);
    assert_eq!(lagging_after(&hub.take(id, ALL)), 2);
}

#[test]
fn a_revision_that_does_not_fit_stays_out_whole() {
    let mut hub = small(3);
    let (id, _) = hub.register(Filter::new(KeyRange::prefix("")), Revision(1));
    let of = |revision, key: &str| event(revision, key, EventKind::Put, 10);
    hub.publish(Revision(2), &[put(2, "a")]);
    hub.publish(Revision(4), &[block(vec![of(3, "a"), of(4, "a"), of(4, "b"), of(4, "c")])]);
    hub.publish(Revision(5), &[put(5, "a")]);
    assert_eq!(taken(&hub.take(id, ALL)), [row(2, "a", true), row(3, "a", true)]);
    assert_eq!(lagging_after(&hub.take(id, ALL)), 3);
    hub.publish(Revision(6), &[put(6, "a")]);
    assert_eq!(lagging_after(&hub.take(id, ALL)), 3, "lagging is for good");
    assert_eq!(hub.rejoin(id), Some(Revision(6)));
    assert!(!hub.skip_through(id, Revision(5)), "the replay must reach what the hub kept");
    assert!(hub.skip_through(id, Revision(6)));
    hub.publish(Revision(7), &[put(7, "a")]);
    assert_eq!(taken(&hub.take(id, ALL)), [row(7, "a", true)]);
}

#[test]
fn nothing_is_given_twice_or_early_where_replay_meets_live_events() {
    let mut hub = small(100);
    hub.publish(Revision(5), &[]);
    let (id, at) = hub.register(Filter::new(KeyRange::prefix("")), Revision(2));
    assert_eq!(at, Revision(5));
    hub.publish(Revision(7), &[put(6, "a"), put(7, "a")]);
    assert_eq!(idle_through(&hub.take(id, ALL)), 2, "nothing before the replay is done");
    assert!(hub.skip_through(id, Revision(6)));
    assert_eq!(taken(&hub.take(id, ALL)), [row(7, "a", true)]);
    assert!(hub.publish(Revision(7), &[put(7, "a")]).is_empty(), "published before");
    assert_eq!(idle_through(&hub.take(id, ALL)), 7);
}

#[test]
fn a_watch_from_the_future_gets_nothing_early() {
    let mut hub = small(100);
    let (id, _) = hub.register(Filter::new(KeyRange::prefix("")), Revision(3));
    hub.publish(Revision(3), &[put(2, "a"), put(3, "a")]);
    assert_eq!(idle_through(&hub.take(id, ALL)), 3);
    assert_eq!(hub.publish(Revision(4), &[put(4, "a")]), [id]);
    assert_eq!(taken(&hub.take(id, ALL)), [row(4, "a", true)]);
}

#[test]
fn after_a_jump_every_watcher_is_sent_to_replay_from_where_it_is() {
    let mut hub = small(100);
    let (full, _) = hub.register(Filter::new(KeyRange::prefix("")), Revision(1));
    hub.publish(Revision(2), &[put(2, "a")]);
    let (idle, _) = hub.register(Filter::new(KeyRange::prefix("")), Revision(2));
    let (future, _) = hub.register(Filter::new(KeyRange::prefix("")), Revision(50));
    let (joining, _) = hub.register(Filter::new(KeyRange::prefix("")), Revision(1));
    assert_eq!(hub.jump(Revision(9)), [idle, future, joining]);
    assert_eq!(taken(&hub.take(full, ALL)), [row(2, "a", true)]);
    assert_eq!(lagging_after(&hub.take(full, ALL)), 2);
    assert_eq!(lagging_after(&hub.take(idle, ALL)), 2);
    assert_eq!(lagging_after(&hub.take(future, ALL)), 50);
    assert!(hub.skip_through(joining, Revision(9)));
    assert_eq!(lagging_after(&hub.take(joining, ALL)), 9);
    assert_eq!(hub.revision(), Revision(9));
}

#[test]
fn cancelling_frees_everything() {
    let mut hub = small(100);
    let shared = put(2, "/a");
    let ranges = [
        KeyRange::single(&key("/a")),
        KeyRange::prefix("/"),
        KeyRange::prefix(""),
        KeyRange::new("/", Some("/b".into())),
    ];
    let filters: Vec<Filter> = ranges.into_iter().map(Filter::new).chain([Filter::children(&key("/"))]).collect();
    let ids: Vec<_> = (0..3).flat_map(|_| filters.clone()).map(|filter| hub.register(filter, Revision(1)).0).collect();
    hub.publish(Revision(2), &[Arc::clone(&shared)]);
    assert_eq!(Arc::strong_count(&shared), 2, "all hold it together");
    for id in ids {
        assert!(hub.standing(id).is_some_and(|(_, waiting)| waiting > 0));
        hub.cancel(id);
        hub.cancel(id);
        assert!(matches!(hub.take(id, ALL), Delivery::Cancelled));
        assert!(hub.rejoin(id).is_none() && !hub.skip_through(id, Revision(9)));
    }
    assert!(hub.is_bare());
    assert_eq!(Arc::strong_count(&shared), 1);
}

#[test]
fn a_slow_watcher_of_one_key_does_not_hold_on_to_every_block() {
    let mut hub = Hub::new(Revision(1), Limits::default());
    let (id, _) = hub.register(Filter::new(KeyRange::single(&key("k050"))), Revision(1));
    let mut blocks = Vec::new();
    for number in 0..200_u64 {
        let events = (0..100).map(|e| event(2 + number * 100 + e, &format!("k{e:03}"), EventKind::Put, 600)).collect();
        blocks.push(block(events));
        hub.publish(Revision(1 + (number + 1) * 100), blocks.last().map(std::slice::from_ref).unwrap());
    }
    let held = blocks.iter().filter(|block| Arc::strong_count(block) > 1).count();
    assert!(held <= 8, "{held}");
    let all = taken(&hub.take(id, ALL));
    assert_eq!(all, (0..200).map(|number| row(52 + number * 100, "k050", true)).collect::<Vec<_>>());
}

#[test]
fn what_all_hold_is_bounded_and_those_lag_that_have_waited_the_longest() {
    let together = 40_000;
    let mut hub = Hub::new(Revision(1), Limits { events: 1000, bytes: 1_000_000, together });
    let (quick, _) = hub.register(Filter::new(KeyRange::prefix("")), Revision(1));
    let keys: Vec<String> = (0..50).map(|number| format!("k{number:02}")).collect();
    let slow = |hub: &mut Hub, key: &String| hub.register(Filter::new(KeyRange::prefix(key.clone())), Revision(1)).0;
    let slow: Vec<WatcherId> = keys.iter().map(|key| slow(&mut hub, key)).collect();
    let mut most = 0;
    for revision in 2..=300 {
        hub.publish(Revision(revision), &[put(revision, &keys[usize::try_from(revision).unwrap() % keys.len()])]);
        most = most.max(hub.held_bytes());
        assert!(hub.held_bytes() <= together, "{} at {revision}", hub.held_bytes());
        assert_eq!(taken(&hub.take(quick, ALL)).len(), 1, "who keeps up does not lag");
    }
    assert!(most > together / 2);
    let (mut lag, mut wait) = (Vec::new(), Vec::new());
    for id in slow {
        match hub.take(id, ALL) {
            Delivery::Events(pieces) => wait.extend(pieces.first().map(|piece| piece.events()[0].revision)),
            Delivery::Lagging { resume_after } => lag.push(resume_after),
            other => panic!("{other:?}"),
        }
    }
    assert!(!lag.is_empty() && !wait.is_empty(), "{lag:?} {wait:?}");
    assert!(lag.iter().max() < wait.iter().min(), "{lag:?} {wait:?}");
    assert_eq!(hub.held_bytes(), 0);
}

#[test]
fn what_readers_held_beyond_the_bound_is_no_reason_to_hold_more_once_they_have_let_it_go() {
    let together = 40_000;
    let mut hub = Hub::new(Revision(1), Limits { events: 1000, bytes: 1_000_000, together });
    let (reader, _) = hub.register(Filter::new(KeyRange::prefix("")), Revision(1));
    let (mut kept, mut revisions) = (Vec::new(), 2..);
    for revision in revisions.by_ref() {
        hub.publish(Revision(revision), &[put(revision, "/a")]);
        match hub.take(reader, ALL) {
            Delivery::Lagging { .. } => break,
            delivery => kept.push(delivery),
        }
    }
    assert!(hub.held_bytes() > together * 3 / 4, "what it has taken is not let go");
    hub.cancel(reader);
    while hub.held_bytes() > together * 5 / 8 {
        kept.pop();
    }
    let (_slow, _) = hub.register(Filter::new(KeyRange::prefix("")), hub.revision());
    let mut pinned = None;
    for revision in revisions.take(300) {
        hub.publish(Revision(revision), &[put(revision, "/a")]);
        let pinned = *pinned.get_or_insert(hub.held_bytes());
        assert!(hub.held_bytes() <= pinned + together / 2, "{} at {revision}", hub.held_bytes());
    }
}

#[test]
fn what_was_begun_is_given_to_its_end_before_a_watcher_is_told_that_it_lags() {
    let mut hub = Hub::new(Revision(1), Limits { events: 1000, bytes: 1_000_000, together: 4000 });
    let (id, _) = hub.register(Filter::new(KeyRange::prefix("")), Revision(1));
    let two = block(vec![event(2, "/a", EventKind::Put, 10), event(2, "/b", EventKind::Put, 10)]);
    hub.publish(Revision(2), &[two]);
    assert_eq!(taken(&hub.take(id, 1)), [row(2, "/a", false)]);
    for revision in 3..=30 {
        hub.publish(Revision(revision), &[put(revision, "/a")]);
    }
    assert_eq!(taken(&hub.take(id, ALL)), [row(2, "/b", true)]);
    assert_eq!(lagging_after(&hub.take(id, ALL)), 2);
}

#[test]
fn what_many_hold_counts_once_and_until_the_last_of_them_has_let_it_go() {
    let held_by = |count: usize| {
        let mut hub = Hub::new(Revision(1), Limits::default());
        let one = |_| hub.register(Filter::new(KeyRange::single(&key("k05"))), Revision(1)).0;
        let ids: Vec<WatcherId> = (0..count).map(one).collect();
        for number in 0..100_u64 {
            let events = (0..20).map(|e| event(2 + number * 20 + e, &format!("k{e:02}"), EventKind::Put, 600));
            hub.publish(Revision(1 + (number + 1) * 20), &[block(events.collect())]);
        }
        let held = hub.held_bytes();
        let mut deliveries: Vec<Delivery> = ids.iter().map(|id| hub.take(*id, ALL)).collect();
        assert!(deliveries.iter().all(|delivery| taken(delivery).len() == 100));
        let (last, taken) = (deliveries.pop(), hub.held_bytes());
        drop(deliveries);
        assert_eq!(hub.held_bytes(), taken, "one still has it");
        assert!(taken > 0);
        drop(last);
        assert_eq!(hub.held_bytes(), 0);
        held
    };
    let (one, hundred) = (held_by(1), held_by(100));
    // Beside the events, each has a queue of a hundred places in them.
    assert!(hundred < one + 99 * 100 * 32, "{hundred} by a hundred, {one} by one");
}

/// A watch as a client lives it: every answer is checked against all that ever happened.
struct Client {
    id: WatcherId,
    filter: Filter,
    began: Revision,
    received: Vec<Event>,
    /// Up to where the client knows that it has everything.
    through: Revision,
    replaying: bool,
}

struct World {
    hub: Hub,
    /// Every event, by revision: the store.
    store: BTreeMap<u64, Vec<Event>>,
    unpublished: Vec<u64>,
    clients: Vec<Client>,
}

const KEYS: [&str; 6] = ["/a", "/a/", "/a/b", "/a/b/c", "/a/c", "/b"];
const KINDS: [EventKind; 3] = [EventKind::Put, EventKind::Delete, EventKind::Expire];

fn filter(choice: u8) -> Filter {
    let filter = match choice % 7 {
        0 => Filter::new(KeyRange::single(&key("/a/b"))),
        1 => Filter::new(KeyRange::prefix("/a/")),
        2 => Filter::children(&key("/a/")),
        3 => Filter::new(KeyRange::prefix("")),
        4 => Filter::new(KeyRange::new("/a/", Some(Bytes::from_static(b"/a/c")))),
        5 => Filter::new(KeyRange::new("/a/c", None)),
        _ => Filter::new(KeyRange::single(&key("/none"))),
    };
    if choice < 128 { filter } else { filter.only(Kinds::of(&[EventKind::Put, EventKind::Expire])) }
}

impl World {
    fn new(together: usize) -> Self {
        let hub = Hub::new(Revision(1), Limits { events: 5, bytes: 3000, together });
        Self { hub, store: BTreeMap::new(), unpublished: Vec::new(), clients: Vec::new() }
    }

    fn last(&self) -> u64 {
        self.store.keys().next_back().copied().unwrap_or(1)
    }

    /// One revision: some keys, each once, in order.
    fn apply(&mut self, mask: u8, sizes: u8) {
        let revision = self.last() + 1;
        let mask = if mask.is_multiple_of(64) { 1 } else { mask };
        let chosen = KEYS.iter().enumerate().filter(|(number, _)| mask >> number & 1 == 1);
        let events = chosen.map(|(number, key)| {
            event(revision, key, KINDS[(number + usize::from(sizes)) % 3], usize::from(sizes) * 8)
        });
        self.store.insert(revision, events.collect());
        self.unpublished.push(revision);
    }

    /// Publishes some of what was applied, in blocks of one or more revisions.
    fn publish(&mut self, count: usize, per_block: usize) {
        let revisions: Vec<u64> = self.unpublished.drain(..count.min(self.unpublished.len())).collect();
        let Some(last) = revisions.last() else { return };
        let of = |chunk: &[u64]| block(chunk.iter().flat_map(|revision| self.store[revision].clone()).collect());
        let blocks: Vec<_> = revisions.chunks(per_block).map(of).collect();
        self.hub.publish(Revision(*last), &blocks);
    }

    fn register(&mut self, choice: u8, back: u64) {
        let after = Revision((self.last() + 2).saturating_sub(back));
        let filter = filter(choice);
        let (id, at) = self.hub.register(filter.clone(), after);
        let replaying = after < at;
        self.clients.push(Client { id, filter, began: after, received: Vec::new(), through: after, replaying });
    }

    fn replay(&mut self, number: usize) {
        let (last, store) = (self.last(), &self.store);
        let Some(client) = self.clients.get_mut(number) else { return };
        if !client.replaying {
            return;
        }
        let missed = store.range(client.through.get() + 1..).flat_map(|(_, events)| events);
        client.received.extend(missed.filter(|event| client.filter.accepts(event)).cloned());
        client.through = client.through.max(Revision(last));
        client.replaying = false;
        assert!(self.hub.skip_through(client.id, Revision(last)));
    }

    /// Takes once; whether there was anything.
    fn take(&mut self, number: usize, max_bytes: usize, renew: bool) -> bool {
        let took = self.take_some(number, max_bytes, renew);
        if let Some(client) = self.clients.get(number) {
            let through = self.hub.through(client.id);
            assert!(client.replaying || through >= client.through, "what was taken does not count");
            let taken = client.received.iter().filter(|event| event.revision <= through);
            assert!(client.replaying || taken.eq(client.due(&self.store, through)), "not all was taken");
        }
        took
    }

    fn take_some(&mut self, number: usize, max_bytes: usize, renew: bool) -> bool {
        let Some(client) = self.clients.get_mut(number) else { return false };
        match self.hub.take(client.id, max_bytes) {
            Delivery::Events(pieces) => {
                assert!(!client.replaying);
                for piece in pieces {
                    assert!(!piece.events().is_empty());
                    client.received.extend_from_slice(piece.events());
                    let revision = client.received.last().unwrap().revision;
                    if piece.ends_revision() {
                        client.through = revision;
                        client.check(&self.store);
                    } else {
                        assert!(client.missing(&self.store, revision), "a revision ended and nothing said so");
                    }
                }
                true
            }
            Delivery::Idle { through } => {
                assert!(through >= client.through, "progress goes back");
                if !client.replaying {
                    client.through = through;
                    client.check(&self.store);
                }
                false
            }
            Delivery::Lagging { resume_after } => {
                assert!(resume_after >= client.through);
                client.through = resume_after;
                client.check(&self.store);
                if renew {
                    self.hub.cancel(client.id);
                    let (id, at) = self.hub.register(client.filter.clone(), resume_after);
                    client.id = id;
                    client.replaying = resume_after < at;
                } else {
                    assert!(self.hub.rejoin(client.id).is_some() && self.hub.rejoin(client.id).is_none());
                    client.replaying = true;
                }
                true
            }
            Delivery::Cancelled => panic!("nobody cancelled it"),
        }
    }

    fn finish(mut self) {
        self.publish(usize::MAX, 3);
        for number in 0..self.clients.len() {
            for _ in 0..1000 {
                self.replay(number);
                if !self.take(number, 500, false) {
                    break;
                }
            }
            let client = &self.clients[number];
            assert!(client.through >= Revision(self.last()).max(client.began));
            client.check(&self.store);
            self.hub.cancel(client.id);
        }
        assert!(self.hub.is_bare());
    }
}

impl Client {
    fn due<'a>(&'a self, store: &'a BTreeMap<u64, Vec<Event>>, to: Revision) -> impl Iterator<Item = &'a Event> {
        let revisions = store.range(self.began.get() + 1..).take_while(move |(revision, _)| **revision <= to.get());
        let events = revisions.flat_map(|(_, events)| events);
        events.filter(|event| self.filter.accepts(event))
    }

    /// Ordered, unique, whole, filtered right: exactly what is due up to where it is.
    fn check(&self, store: &BTreeMap<u64, Vec<Event>>) {
        assert!(self.received.iter().eq(self.due(store, self.through)), "through {}", self.through);
    }

    /// Whether events of this revision are still to come.
    fn missing(&self, store: &BTreeMap<u64, Vec<Event>>, revision: Revision) -> bool {
        let due: Vec<&Event> = self.due(store, revision).collect();
        self.received.len() < due.len() && self.received.iter().eq(due[..self.received.len()].iter().copied())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn every_watcher_sees_what_is_due_once_in_order_and_whole(
        steps in prop::collection::vec((0..10_u8, any::<u8>(), any::<u8>()), 0..120),
        together in prop::sample::select(&[ALL, 6000, 2000]),
    ) {
        let mut world = World::new(together);
        for (step, a, b) in steps {
            let number = usize::from(a) % world.clients.len().max(1);
            match step {
                0..=3 => world.apply(a, b),
                4 | 5 => world.publish(usize::from(a % 8), 1 + usize::from(b % 4)),
                6 => world.register(a, u64::from(b % 12)),
                7 => world.replay(number),
                _ => drop(world.take(number, usize::from(b) * 20, b.is_multiple_of(2))),
            }
        }
        world.finish();
    }
}
