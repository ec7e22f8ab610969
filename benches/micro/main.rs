//! What single parts cost, without sockets and without the log: encoding, applying, reading, fan-out.
//!
//! Prints nanoseconds for one operation, the median of several rounds. It compares with nothing and holds no bounds: it is for
//! finding where time goes. `make bench` is the judge.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;
use std::{fs, process};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use vardr::machine::StateMachine;
use vardr::model::{
    Attach, Command, Condition, Incarnation, Index, Key, KeyRange, LogEntry, LogEntryKind, MemberId, Payload, Proposal,
    ProposalId, Put, Revision, Term, Timestamp,
};
use vardr::storage::Engine;
use vardr::storage::lsm::{LsmEngine, Options};
use vardr::storage::memory::MemoryEngine;
use vardr::watch::{Filter, Hub, Limits};

/// The proposals that travel in one entry.
const BATCH: u64 = 64;
const ROUNDS: usize = 200;
const KEYS: u64 = 10_000;

fn main() -> Result<()> {
    codec()?;
    apply("memory", MemoryEngine::new())?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("micro-{}", process::id()));
    fs::create_dir_all(&folder)?;
    let applied = apply("lsm", LsmEngine::open(&folder, Options::default())?);
    fs::remove_dir_all(&folder)?;
    applied?;
    fan_out()
}

fn codec() -> Result<()> {
    let payload = payload(0);
    let encoded = payload.encode();
    report("encode an entry of 64 puts, each", BATCH, || Ok(payload.encode()))?;
    report("decode an entry of 64 puts, each", BATCH, || Ok(Payload::decode(&encoded)?))
}

fn apply<E: Engine>(name: &str, engine: E) -> Result<()> {
    let mut machine = StateMachine::open(engine)?;
    let mut index = 0;
    report(&format!("apply 64 puts in one entry, {name}, each"), BATCH, || {
        index += 1;
        Ok(machine.apply(&[entry(index)])?)
    })?;
    let view = machine.view();
    let mut number = 0;
    report(&format!("read one key at present, {name}"), 1, || {
        number = (number + 7919) % KEYS;
        Ok(view.get(key(number).as_bytes(), None)?)
    })
}

fn fan_out() -> Result<()> {
    const WATCHERS: u64 = 1000;
    let mut machine = StateMachine::open(MemoryEngine::new())?;
    let mut hub = Hub::new(Revision::FIRST, Limits::default());
    let everything = || Filter::new(KeyRange::prefix(Bytes::new()));
    let watchers: Vec<_> = (0..WATCHERS).map(|_| hub.register(everything(), Revision::FIRST).0).collect();
    let mut index = 0;
    report("publish 64 events to 1,000 watchers and take them, each delivery", BATCH * WATCHERS, || {
        index += 1;
        let applied = machine.apply(&[entry(index)])?;
        ensure!(hub.publish(applied.revision, &applied.blocks).len() == watchers.len(), "a watcher was not woken");
        for watcher in &watchers {
            black_box(hub.take(*watcher, usize::MAX));
        }
        Ok(())
    })
}

/// Runs `operation` for some rounds and prints the median time of one of its `parts`.
fn report<T>(name: &str, parts: u64, mut operation: impl FnMut() -> Result<T>) -> Result<()> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        drop(black_box(operation()?));
        times.push(start.elapsed().as_nanos());
    }
    times.sort_unstable();
    let median = times.get(ROUNDS / 2).context("no rounds")?;
    println!("{:>10} ns  {name}", median / u128::from(parts));
    Ok(())
}

fn key(number: u64) -> String {
    format!("/bench/kv/{number:07}")
}

fn entry(index: u64) -> LogEntry {
    LogEntry { index: Index(index), term: Term(1), kind: LogEntryKind::Normal, data: payload(index).encode() }
}

fn payload(index: u64) -> Payload {
    let proposals = (1..=BATCH).map(|number| index * BATCH + number).map(|sequence| Proposal {
        id: ProposalId { member: MemberId(1), incarnation: Incarnation(1), sequence },
        author: None,
        idempotency: None,
        command: Command::Put { put: put(sequence), condition: Condition::default() },
    });
    Payload { time: Timestamp(index), proposals: proposals.collect() }
}

fn put(number: u64) -> Put {
    let key = Key::new(key(number.wrapping_mul(2_654_435_761) % KEYS));
    #[expect(clippy::expect_used, reason = "the key above is not empty")]
    let key = key.expect("a key");
    let value = Some(format!("{number:0256}").into());
    Put { key, value, content_type: None, attach: Attach::Detach, previous: false }
}
