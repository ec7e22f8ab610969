//! How fast simple puts apply. Meaningful in release only: `cargo test --release -- --ignored puts_apply`.

use super::bed::*;
use crate::model::Term;

/// The least that is accepted on the memory engine.
const PUTS_PER_SECOND: u128 = 200_000;

#[test]
#[ignore = "measures; run in release"]
fn puts_apply_at_two_hundred_thousand_a_second() {
    // What else the machine is doing only ever slows it down.
    let rate = (0..5).map(|_| measure()).max().unwrap();
    println!("{rate} puts/s");
    assert!(rate > PUTS_PER_SECOND, "{rate} puts/s");
}

/// Applies puts of 256 bytes, 300 to an entry and 4 entries to a batch. Returns how many a second.
fn measure() -> u128 {
    const ENTRIES: u64 = 500;
    const PUTS: u64 = 300;
    const KEYS: u64 = 10_000;
    let mut bed = Bed::new();
    let value = "v".repeat(256);
    let entries: Vec<_> = (1..=ENTRIES)
        .map(|index| {
            let puts = (0..PUTS).map(|number| {
                let at = (index * 7919 + number * 104_729) % KEYS;
                bed.proposal(put(&format!("/speed/key/{at:06}"), &value))
            });
            entry(index, Term(1), START, puts.collect())
        })
        .collect();
    let start = std::time::Instant::now();
    for entries in entries.chunks(4) {
        bed.machine.apply(entries).unwrap();
    }
    u128::from(ENTRIES * PUTS) * 1_000_000 / start.elapsed().as_micros().max(1)
}
