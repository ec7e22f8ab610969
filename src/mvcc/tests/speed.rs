//! How fast the write side is, measured on demand:
//! `cargo test --release --lib mvcc::tests::speed -- --ignored --nocapture`.

use std::time::Instant;

use bytes::Bytes;

use super::{cause, view};
use crate::model::{Key, KeyRange, RangeQuery, Revision};
use crate::mvcc::{Overlay, Recent, Write};
use crate::storage::memory::MemoryEngine;
use crate::storage::{Engine, WriteBatch};

const KEYS: u64 = 20_000;
const PUTS: u64 = 400_000;
const PUTS_PER_BATCH: u64 = 64;

fn key(number: u64) -> Key {
    Key::new(format!("/load/{:010}", number * 7919 % KEYS)).unwrap()
}

fn write() -> Write {
    Write { value: Bytes::from(vec![b'v'; 256]), content_type: None, lease: None, anew: false }
}

/// Puts in batches, the engine's own work included or not.
fn puts(engine: &MemoryEngine, commit: bool) -> f64 {
    let start = Instant::now();
    for first in (0..PUTS).step_by(usize::try_from(PUTS_PER_BATCH).unwrap()) {
        let mut overlay = Overlay::new(&view(engine), Recent::default());
        for number in first..first + PUTS_PER_BATCH {
            overlay.put(key(number), write(), &cause()).unwrap();
            overlay.seal();
        }
        let mut batch = WriteBatch::new();
        overlay.finish(&mut batch);
        if commit {
            engine.commit(&batch).unwrap();
            engine.sync().unwrap();
        }
    }
    let per_second = |elapsed: f64| f64::from(u32::try_from(PUTS).unwrap()) / elapsed;
    per_second(start.elapsed().as_secs_f64())
}

#[test]
#[ignore = "a measurement"]
fn puts_of_256_bytes() {
    let engine = MemoryEngine::new();
    println!("with the engine's commit: {:.0} puts/s", puts(&engine, true));
    println!("without:                  {:.0} puts/s", puts(&engine, false));
    let view = view(&engine);
    let start = Instant::now();
    let query = RangeQuery::all(KeyRange::prefix("/load/"));
    let count = view.range(&query).unwrap().count;
    println!("a range of {count} keys at present: {:?}", start.elapsed());
    for back in [100, 10_000, 100_000] {
        let start = Instant::now();
        let past = Revision(view.revision().0 - back);
        let query = RangeQuery { revision: Some(past), limit: Some(1000), ..query.clone() };
        let done = view.page(&query, usize::MAX).map(|page| page.items.len());
        println!("a page of it {back} revisions ago: {done:?} in {:?}", start.elapsed());
    }
}
