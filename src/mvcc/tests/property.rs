//! Random histories, on the real key space and on the naive one: every answer is the same.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tempfile::TempDir;

use super::naive::{Change, Naive, cause};
use crate::model::{EventKind, Key, KeyRange, LeaseId, RangeQuery, Revision, SortBy};
use crate::mvcc::{
    ListQuery, Listing, Overlay, Progress, ReadError, Recent, ReplayBudget, Restore, Sweep, View, Write,
};
use crate::storage::lsm::{LsmEngine, Options};
use crate::storage::memory::MemoryEngine;
use crate::storage::{Engine, Snapshot, WriteBatch};

/// An engine and a way to close it and open it again.
trait Store {
    type Engine: Engine;
    fn engine(&self) -> &Self::Engine;
    fn reopen(&mut self);
    /// An empty store of the same kind.
    fn another(&self) -> Self;
}

struct InMemory(MemoryEngine);

impl Store for InMemory {
    type Engine = MemoryEngine;

    fn engine(&self) -> &MemoryEngine {
        &self.0
    }

    fn reopen(&mut self) {
        self.0 = self.0.crash(self.0.unsynced());
    }

    fn another(&self) -> Self {
        Self(MemoryEngine::new())
    }
}

/// In a directory of its own. The engine is out only while the store is opened again.
struct OnDisk {
    engine: Option<LsmEngine>,
    directory: TempDir,
}

impl OnDisk {
    fn new() -> Self {
        let mut store = Self { engine: None, directory: TempDir::new().unwrap() };
        store.reopen();
        store
    }
}

impl Store for OnDisk {
    type Engine = LsmEngine;

    fn engine(&self) -> &LsmEngine {
        self.engine.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.sync().unwrap();
        }
        let path = self.directory.path().join("store");
        self.engine = Some(LsmEngine::open(&path, Options::default()).unwrap());
    }

    fn another(&self) -> Self {
        Self::new()
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Transactions in one overlay, each sealed or taken back, with a read after each; then perhaps a compaction.
    Apply {
        transactions: Vec<(Vec<Change>, bool)>,
        read: Read,
        compact: Option<Index>,
    },
    Sweep {
        steps: usize,
    },
    Reopen,
    Read(Read),
}

#[derive(Debug, Clone)]
struct Read {
    query: RangeQuery,
    /// Where between the compacted and the last revision; `None` for the present.
    at: Option<Index>,
    key: Key,
    directory: Bytes,
    limit: u64,
    bytes: usize,
}

fn keys() -> Vec<Key> {
    let mut names: Vec<String> =
        ["a", "a/", "a/b", "a/b/", "a/b/c", "a/b/d/e", "a/b0", "a//", "a0", "b", "b/x/y", "/", "/a/b"]
            .map(str::to_owned)
            .into();
    names.extend((0..24).map(|number| format!("a/many/{number:02}")));
    let mut keys: Vec<Key> = names.into_iter().map(|name| Key::new(name).unwrap()).collect();
    keys.extend([&b"\0"[..], b"\xff", b"\xff\xff/\xff"].map(|bytes| Key::new(bytes.to_vec()).unwrap()));
    keys
}

fn a_key() -> impl Strategy<Value = Key> {
    select(keys())
}

fn a_range() -> impl Strategy<Value = KeyRange> {
    let bound = || a_key().prop_map(|key| key.bytes().clone());
    prop_oneof![
        Just(KeyRange::prefix("")),
        a_key().prop_map(|key| KeyRange::single(&key)),
        bound().prop_map(KeyRange::prefix),
        (bound(), proptest::option::of(bound())).prop_map(|(start, end)| KeyRange::new(start, end)),
    ]
}

/// Mostly small, at times so large that a few of them cut a block.
fn a_write() -> impl Strategy<Value = Write> {
    let size = prop_oneof![8 => 0..6usize, 1 => 10_000..40_000usize];
    (size, any::<u8>(), proptest::option::of(1..9u64), any::<bool>()).prop_map(|(size, byte, lease, anew)| Write {
        value: Bytes::from(vec![byte; size]),
        content_type: (byte % 2 == 0).then(|| "text/plain".into()),
        lease: lease.map(LeaseId),
        anew: anew && byte % 4 == 0,
    })
}

fn a_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (a_key(), a_write()).prop_map(|(key, write)| Change::Put(key, write)),
        2 => (a_key(), select(vec![EventKind::Delete, EventKind::Expire]))
            .prop_map(|(key, kind)| Change::Delete(key, kind)),
    ]
}

/// Changes of different keys.
fn a_transaction() -> impl Strategy<Value = Vec<Change>> {
    let size = prop_oneof![4 => 1..3usize, 1 => 4..20usize];
    size.prop_flat_map(|size| proptest::collection::vec(a_change(), size)).prop_map(|mut changes| {
        let mut seen = BTreeSet::new();
        changes.retain(|change| seen.insert(change.key().clone()));
        changes
    })
}

fn a_query() -> impl Strategy<Value = RangeQuery> {
    let sorts =
        vec![SortBy::Key, SortBy::Key, SortBy::Version, SortBy::CreateRevision, SortBy::ModRevision, SortBy::Value];
    let bound = || proptest::option::weighted(0.1, (0..20u64).prop_map(Revision));
    let flags = (any::<bool>(), proptest::bool::weighted(0.2), any::<bool>());
    (a_range(), proptest::option::of(0..6u64), flags, select(sorts), [bound(), bound(), bound(), bound()]).prop_map(
        |(range, limit, (keys_only, count_only, descending), sort_by, bounds)| {
            let [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision] = bounds;
            RangeQuery {
                range,
                revision: None,
                limit,
                keys_only,
                count_only,
                sort_by,
                descending,
                min_mod_revision,
                max_mod_revision,
                min_create_revision,
                max_create_revision,
            }
        },
    )
}

fn a_read() -> impl Strategy<Value = Read> {
    let directory = select(vec!["", "/", "a/", "a/b/", "a/many/", "b/", "none/"]);
    let at = proptest::option::of(any::<Index>());
    (a_query(), at, a_key(), directory, 1..5u64, 0..100usize).prop_map(|(query, at, key, directory, limit, bytes)| {
        Read { query, at, key, directory: Bytes::from_static(directory.as_bytes()), limit, bytes }
    })
}

fn a_step() -> impl Strategy<Value = Step> {
    let transactions = proptest::collection::vec((a_transaction(), proptest::bool::weighted(0.9)), 1..6);
    let compact = proptest::option::weighted(0.15, any::<Index>());
    prop_oneof![
        6 => (transactions, a_read(), compact)
            .prop_map(|(transactions, read, compact)| Step::Apply { transactions, read, compact }),
        1 => (0..6usize).prop_map(|steps| Step::Sweep { steps }),
        1 => Just(Step::Reopen),
        3 => a_read().prop_map(Step::Read),
    ]
}

/// The real one and the judge, side by side.
struct Pair<T> {
    store: T,
    naive: Naive,
    sweep: Sweep,
    recent: Recent,
}

impl<T: Store> Pair<T> {
    fn new(store: T) -> Self {
        Self { store, naive: Naive::new(), sweep: Sweep::new(), recent: Recent::default() }
    }

    fn view(&self) -> View<<T::Engine as Engine>::Snapshot> {
        View::open(self.store.engine().snapshot()).unwrap()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Apply { transactions, read, compact } => self.apply(transactions, read, compact.as_ref()),
            Step::Sweep { steps } => {
                let mut batch = WriteBatch::new();
                self.sweep.slice(&self.view(), *steps, &mut batch).unwrap();
                self.store.engine().commit(&batch).unwrap();
            }
            Step::Reopen => {
                self.store.reopen();
                self.sweep = Sweep::new();
                self.recent = Recent::default();
            }
            Step::Read(read) => self.read(read),
        }
    }

    fn apply(&mut self, transactions: &[(Vec<Change>, bool)], read: &Read, compact: Option<&Index>) {
        let before = (self.naive.revision(), self.naive.compacted);
        let mut overlay = Overlay::new(&self.view(), std::mem::take(&mut self.recent));
        for (changes, kept) in transactions {
            let revision = overlay.writing();
            for change in changes {
                match change {
                    Change::Put(key, write) => _ = overlay.put(key.clone(), write.clone(), &cause(revision.0)).unwrap(),
                    Change::Delete(key, kind) => _ = overlay.delete(key, *kind, &cause(revision.0)).unwrap(),
                }
            }
            // What is not whole yet is not in the past.
            let past = RangeQuery { revision: Some(self.naive.revision()), ..read.query.clone() };
            assert_eq!(overlay.range(&past).unwrap(), self.naive.range(&past));
            if *kept {
                self.naive.apply(changes);
                assert_eq!(overlay.seal(), self.naive.revision());
            } else {
                overlay.discard();
            }
            self.read_overlay(&overlay, read);
        }
        if let Some(compact) = compact {
            self.compact(&mut overlay, *compact);
            self.read_overlay(&overlay, read);
        }
        let mut batch = WriteBatch::new();
        let (blocks, recent) = overlay.finish(&mut batch);
        self.recent = recent;
        self.store.engine().commit(&batch).unwrap();
        let published: Vec<_> = blocks.iter().flat_map(|block| block.events.clone()).collect();
        assert_eq!(published, self.naive.made_after(before.0, before.1));
        for pair in blocks.windows(2) {
            assert!(pair[0].last() < pair[1].first());
        }
    }

    fn compact<S: Snapshot>(&mut self, overlay: &mut Overlay<S>, at: Index) {
        let revision = Revision(at.index(usize::try_from(self.naive.revision().0).unwrap() + 2) as u64);
        let result = overlay.compact(revision);
        if revision <= self.naive.compacted {
            assert!(matches!(result, Err(ReadError::Compacted { .. })));
        } else if revision > self.naive.revision() {
            assert!(matches!(result, Err(ReadError::Future { .. })));
        } else {
            result.unwrap();
            self.naive.compacted = revision;
        }
        assert_eq!(overlay.compacted(), self.naive.compacted);
    }

    fn read_overlay<S: Snapshot>(&self, overlay: &Overlay<S>, read: &Read) {
        let revision = self.revision(read.at.as_ref());
        let query = RangeQuery { revision, ..read.query.clone() };
        assert_eq!(overlay.range(&query).unwrap(), self.naive.range(&query));
        let got = overlay.get(read.key.as_bytes(), revision).unwrap();
        assert_eq!(got.as_ref(), self.naive.state(revision).get(&read.key));
        let listing = overlay.list(&whole_level(read, revision)).unwrap();
        assert_eq!(listing, self.naive.list(&read.directory, revision));
        let below = KeyRange::prefix(read.directory.clone());
        assert_eq!(overlay.is_directory(&read.directory).unwrap(), self.naive.any(&below, None));
        let mut start = read.directory.to_vec();
        start.push(0);
        let below = KeyRange::new(start, below.end().cloned());
        assert_eq!(overlay.exists_below(&read.directory).unwrap(), self.naive.any(&below, None));
    }

    /// A readable revision.
    fn revision(&self, at: Option<&Index>) -> Option<Revision> {
        let Naive { compacted, .. } = &self.naive;
        let readable = usize::try_from(self.naive.revision().0 - compacted.0).unwrap() + 1;
        at.map(|at| Revision(compacted.0 + at.index(readable) as u64))
    }

    fn read(&self, read: &Read) {
        let view = self.view();
        let revision = self.revision(read.at.as_ref());
        let query = RangeQuery { revision, ..read.query.clone() };
        assert_eq!(view.range(&query).unwrap(), self.naive.range(&query));
        assert_eq!(
            view.get(read.key.as_bytes(), revision).unwrap().as_ref(),
            self.naive.state(revision).get(&read.key)
        );
        let is_directory = view.is_directory(&read.directory, revision).unwrap();
        assert_eq!(is_directory, self.naive.any(&KeyRange::prefix(read.directory.clone()), revision));
        self.read_pages(&view, query, read);
        self.read_level(&view, revision, read);
        self.read_history(&view, read);
        self.read_events(&view, revision.unwrap_or(self.naive.compacted), read);
    }

    fn read_pages<S: Snapshot>(&self, view: &View<S>, query: RangeQuery, read: &Read) {
        let query = RangeQuery { count_only: false, sort_by: SortBy::Key, ..query };
        let mut items = Vec::new();
        let mut rest = Some(query.range.clone());
        while let Some(range) = rest {
            let page = view.page(&RangeQuery { range, limit: Some(read.limit), ..query.clone() }, read.bytes).unwrap();
            assert!(!page.items.is_empty() || page.rest.is_none());
            assert!(page.items.len() as u64 <= read.limit);
            items.extend(page.items);
            rest = page.rest;
        }
        assert_eq!(items, self.naive.range(&RangeQuery { limit: None, ..query }).items);
    }

    fn read_level<S: Snapshot>(&self, view: &View<S>, revision: Option<Revision>, read: &Read) {
        let mut listing = Listing::default();
        let mut from = None;
        loop {
            let query =
                ListQuery { from, limit: Some(read.limit), max_bytes: read.bytes, ..whole_level(read, revision) };
            let page = view.list(&query).unwrap();
            assert!(page.items.len() + page.directories.len() > 0 || page.next.is_none());
            listing.items.extend(page.items);
            listing.directories.extend(page.directories);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(listing, self.naive.list(&read.directory, revision));
    }

    fn read_history<S: Snapshot>(&self, view: &View<S>, read: &Read) {
        let limit = usize::try_from(read.limit).unwrap();
        let before = self.revision(read.at.as_ref());
        let got = view.history(read.key.as_bytes(), before, limit).unwrap();
        assert_eq!(got, self.naive.history(read.key.as_bytes(), before, limit));
    }

    fn read_events<S: Snapshot>(&self, view: &View<S>, after: Revision, read: &Read) {
        let budget = ReplayBudget { steps: read.bytes % 8, bytes: read.bytes * 10 };
        let mut events = Vec::new();
        let mut through = after;
        while through < view.revision() {
            let replay = view.events(&read.query.range, through, budget).unwrap();
            assert!(replay.through > through, "a replay gets further");
            assert!(replay.events.iter().all(|event| event.revision > through && event.revision <= replay.through));
            through = replay.through;
            events.extend(replay.events);
        }
        assert_eq!(events, self.naive.events(&read.query.range, after));
    }

    /// Every state, every history, every event.
    fn read_everything(&self, view: &View<<T::Engine as Engine>::Snapshot>) {
        let all = KeyRange::prefix("");
        let Naive { compacted, .. } = self.naive;
        assert_eq!((view.revision(), view.compacted()), (self.naive.revision(), compacted));
        for revision in compacted.0..=self.naive.revision().0 {
            let query = RangeQuery { revision: Some(Revision(revision)), ..RangeQuery::all(all.clone()) };
            assert_eq!(view.range(&query).unwrap(), self.naive.range(&query), "at {revision}");
        }
        for key in keys() {
            let got = view.history(key.as_bytes(), None, usize::MAX).unwrap();
            assert_eq!(got, self.naive.history(key.as_bytes(), None, usize::MAX));
        }
        let after = Revision(compacted.0.saturating_sub(1));
        let replay = view.events(&all, after, ReplayBudget { steps: usize::MAX, bytes: usize::MAX }).unwrap();
        assert_eq!(replay.events, self.naive.events(&all, after));
        assert_eq!(view.records().map(Result::unwrap).collect::<Vec<_>>(), self.naive.items(&all, None));
        assert_eq!(view.tombstones().map(Result::unwrap).collect::<Vec<_>>(), self.naive.tombstones());
        if compacted > Revision::ZERO {
            let asked = Revision(compacted.0 - 1);
            assert!(matches!(view.get(b"a", Some(asked)), Err(ReadError::Compacted { .. })));
        }
    }

    fn sweep_all(&mut self) {
        loop {
            let mut batch = WriteBatch::new();
            let progress = self.sweep.slice(&self.view(), 3, &mut batch).unwrap();
            self.store.engine().commit(&batch).unwrap();
            if progress == Progress::Done {
                return;
            }
        }
    }

    /// What a snapshot carries is all there is.
    fn restored(&self) -> T {
        let view = self.view();
        let (all, after) = (KeyRange::prefix(""), Revision(view.compacted().0.saturating_sub(1)));
        let replay = view.events(&all, after, ReplayBudget { steps: usize::MAX, bytes: usize::MAX }).unwrap();
        let mut batch = WriteBatch::new();
        view.records().for_each(|item| Restore::record(&mut batch, &item.unwrap()));
        for item in view.tombstones() {
            let (key, deleted) = item.unwrap();
            Restore::tombstone(&mut batch, &key, deleted);
        }
        Restore::events(&mut batch, replay.events);
        Restore::revisions(&mut batch, view.revision(), view.compacted());
        let store = self.store.another();
        store.engine().commit(&batch).unwrap();
        store
    }
}

fn whole_level(read: &Read, revision: Option<Revision>) -> ListQuery {
    ListQuery {
        directory: read.directory.clone(),
        prefix: Bytes::new(),
        from: None,
        revision,
        limit: None,
        max_bytes: usize::MAX,
        keys_only: false,
        heads: false,
    }
}

/// Plays a history on both and compares everything, before and after the sweep and on a restored copy.
fn play<T: Store>(store: T, steps: &[Step]) {
    let mut pair = Pair::new(store);
    for step in steps {
        pair.step(step);
    }
    pair.read_everything(&pair.view());
    pair.sweep_all();
    pair.read_everything(&pair.view());
    pair.store.reopen();
    pair.read_everything(&pair.view());
    let restored = pair.restored();
    pair.read_everything(&View::open(restored.engine().snapshot()).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_in_memory_is_that_of_the_naive_key_space(steps in proptest::collection::vec(a_step(), 1..24)) {
        play(InMemory(MemoryEngine::new()), &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_on_disk_is_that_of_the_naive_key_space(steps in proptest::collection::vec(a_step(), 1..24)) {
        play(OnDisk::new(), &steps);
    }
}
