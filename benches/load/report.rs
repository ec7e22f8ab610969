//! The one table, the bounds that Vardr is held to, and which of them were missed.

use std::fmt::Write as _;
use std::time::Duration;

use crate::calls::CHANNELS;
use crate::catchup::CatchUp;
use crate::drive::Run;
use crate::fanout::FanOut;
use crate::heartbeats::{EVERY, Heartbeats, INSTANCES, LISTENERS, TTL};
use crate::requests::{Face, Operation};
use crate::size::{Empty, Full};
use crate::streams::Crowd;

/// What a row is held to: at least so many times the rate of the others.
#[derive(Clone, Copy, Default)]
pub(crate) struct Bounds {
    pub(crate) echo: Option<f64>,
    pub(crate) etcd_v2: Option<f64>,
    pub(crate) etcd_v3: Option<f64>,
}

/// A p99 counts as no worse up to what the histogram resolves.
const P99_RATIO: f64 = 1.02;
/// Of the writes that are due while a member catches up; less means that they fall behind.
const MIN_CATCH_UP_SHARE: f64 = 0.99;
const MAX_WATCHER_BYTES: u64 = 16_000;
const MAX_FAN_OUT: Duration = Duration::from_secs(1);
/// The number of watchers that the two bounds above are for.
pub(crate) const BOUND_WATCHERS: usize = 10_000;
/// Of one core, for all heartbeats together.
const MAX_HEARTBEAT_CORES: f64 = 0.25;
/// From the last heartbeat of an instance until everybody knows that there are no more.
const MAX_HEARD: Duration = TTL.saturating_add(Duration::from_secs(1));
const MAX_EMPTY_BYTES: u64 = 30_000_000;
const MAX_EMPTY_START: Duration = Duration::from_millis(300);
const MAX_FULL_BYTES: u64 = 400_000_000;
const MAX_FULL_START: Duration = Duration::from_secs(3);

/// One comparison with its bound.
struct Check {
    text: String,
    held: bool,
}

impl Check {
    fn at_least(ratio: f64, bound: f64, of: &str) -> Self {
        Self { text: format!("{ratio:.2} × {of} (≥ {bound})"), held: ratio >= bound }
    }

    fn at_most<T: PartialOrd>(name: &str, measured: T, bound: T, show: impl Fn(T) -> String) -> Self {
        let held = measured <= bound;
        Self { text: format!("{name}{} (≤ {})", show(measured), show(bound)), held }
    }

    fn p99(ratio: f64) -> Self {
        Self { text: format!("p99 {ratio:.2} × etcd's (≤ 1)"), held: ratio <= P99_RATIO }
    }
}

/// The rows so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: String,
    missed: Vec<String>,
}

impl Report {
    pub(crate) fn throughput(
        &mut self,
        operation: Operation,
        members: usize,
        connections: usize,
        bounds: Bounds,
        found: &[(Face, Vec<Run>)],
    ) {
        let name = match operation {
            Operation::Put | Operation::Tick(_) => "durable PUT".to_owned(),
            Operation::Get => "linearizable GET".to_owned(),
            Operation::Prefix(keys) => format!("prefix of {keys} keys"),
        };
        let runs = |column| found.iter().find(|(face, _)| face.column() == column).map(|(_, runs)| &**runs);
        let mut checks = Vec::new();
        if let Some(ours) = runs(Face::Vardr) {
            let beside = |face, ratio: fn(&Run, &Run) -> f64| {
                runs(face).map(|theirs| median(ours.iter().zip(theirs).map(|(ours, theirs)| ratio(ours, theirs))))
            };
            let rivals = [(Face::Echo, bounds.echo), (Face::EtcdV2, bounds.etcd_v2), (Face::EtcdV3, bounds.etcd_v3)];
            for (face, bound) in rivals {
                if let (Some(ratio), Some(bound)) = (beside(face, |ours, theirs| ours.rate / theirs.rate), bound) {
                    checks.push(Check::at_least(ratio, bound, face_name(face)));
                }
            }
            let p99 = |face| beside(face, |ours, theirs| ratio(ours.p99, theirs.p99));
            checks.extend([Face::EtcdV2, Face::EtcdV3].into_iter().filter_map(p99).reduce(f64::max).map(Check::p99));
        }
        let cells = Face::COLUMNS.map(|face| runs(face).map(show_runs));
        let of = if members > 1 { format!("{}: ", plural(members, "member")) } else { String::new() };
        let dialect = found.iter().find_map(|(face, _)| face.dialect());
        let of = dialect.map_or(of.clone(), |dialect| format!("{of}{dialect}: "));
        let load = if found.iter().any(|(face, _)| face.is_grpc()) {
            format!("{} on {}", plural(connections, "call"), plural(CHANNELS, "connection"))
        } else {
            plural(connections, "connection")
        };
        self.row(&format!("{of}{name}, {load}"), &cells, &checks);
    }

    pub(crate) fn fan_out(&mut self, watchers: usize, found: &[(Face, FanOut)]) {
        let of = |face| found.iter().find(|(of, _)| *of == face).map(|(_, found)| *found);
        let mut checks = Vec::new();
        if let Some(ours) = of(Face::Vardr) {
            if watchers == BOUND_WATCHERS {
                checks.push(Check::at_most("to all ", ours.all, MAX_FAN_OUT, show_time));
                checks.push(Check::at_most("each ", ours.bytes_each, MAX_WATCHER_BYTES, show_bytes));
            }
            checks.extend(of(Face::EtcdV2).map(|etcd| Check::p99(ratio(ours.p99, etcd.p99))));
        }
        let show = |found: FanOut| {
            let each = show_bytes(found.bytes_each);
            format!("to all {}, p99 {}, {each} each", show_time(found.all), show_time(found.p99))
        };
        let cells = Face::COLUMNS.map(|face| of(face).map(show));
        self.row(&format!("one event, {}", plural(watchers, "watcher")), &cells, &checks);
    }

    pub(crate) fn streams(&mut self, crowd: Crowd, found: &[(Face, Duration)]) {
        let of = |column| found.iter().find(|(face, _)| face.column() == column).map(|(_, took)| *took);
        let checks = of(Face::Vardr).zip(of(Face::EtcdV3)).map(|(ours, etcd)| {
            Check::at_most("", ratio(ours, etcd), 1.0, |ratio| format!("{ratio:.2} × etcd's time"))
        });
        let Crowd { streams, watchers_each, events } = crowd;
        let watchers = streams * watchers_each;
        let show = |took| format!("all delivered, in order, after {}", show_time(took));
        let cells = Face::COLUMNS.map(|face| of(face).map(show));
        let (watchers, events) = (plural(watchers, "watcher"), thousands(events));
        let name = format!("gRPC: {events} changes of one key, {watchers} on {}", plural(streams, "stream"));
        self.row(&name, &cells, checks.as_slice());
    }

    pub(crate) fn catch_up(&mut self, members: usize, found: &CatchUp) {
        let CatchUp { missed, took, offered, achieved, backlog, p99 } = *found;
        let cell = format!(
            "caught up in {} under {}/s of {}/s offered, at most {} behind, p99 {}",
            show_time(took),
            show_rate(achieved),
            show_rate(offered),
            thousands(backlog),
            show_time(p99)
        );
        let name = format!("{}: one back after {} writes", plural(members, "member"), thousands(missed));
        let check = Check::at_least(found.share(), MIN_CATCH_UP_SHARE, "what was due");
        self.row(&format!("{name}, half the load that was possible"), &[Some(cell), None, None, None], &[check]);
    }

    pub(crate) fn heartbeats(&mut self, found: &Heartbeats) {
        let Heartbeats { cores, p99, heard } = *found;
        let show = |cores: f64| format!("{:.1} % of a core", cores * 100.0);
        let heard_by = format!("{} listeners", thousands(LISTENERS as u64));
        let cell =
            format!("{}, p99 {}; one stops: {heard_by} know after {}", show(cores), show_time(p99), show_time(heard));
        let checks = [
            Check::at_most("server ", cores, MAX_HEARTBEAT_CORES, show),
            Check::at_most("all know after ", heard, MAX_HEARD, show_time),
        ];
        let (every, ttl) = (EVERY.as_secs(), TTL.as_secs());
        let name = format!("{} instances, a heartbeat every {every} s, ttl {ttl} s", thousands(INSTANCES as u64));
        self.row(&name, &[Some(cell), None, None, None], &checks);
    }

    pub(crate) fn empty(&mut self, found: &[(Face, Empty)]) {
        let of = |face| found.iter().find(|(of, _)| *of == face).map(|(_, found)| *found);
        let checks = of(Face::Vardr).map(|ours| {
            vec![
                Check::at_most("", ours.bytes, MAX_EMPTY_BYTES, show_bytes),
                Check::at_most("start ", ours.start, MAX_EMPTY_START, show_time),
            ]
        });
        let show = |found: Empty| format!("{}, start {}", show_bytes(found.bytes), show_time(found.start));
        let cells = Face::COLUMNS.map(|face| of(face).map(show));
        self.row("idle and empty: memory, start", &cells, &checks.unwrap_or_default());
    }

    pub(crate) fn full(&mut self, keys: u64, found: &[(Face, Full)]) {
        let of = |face| found.iter().find(|(of, _)| *of == face).map(|(_, found)| *found);
        let checks = of(Face::Vardr).map(|ours| {
            let start = ours.start.max(ours.start_killed);
            vec![
                Check::at_most("", ours.bytes.max(ours.bytes_restarted), MAX_FULL_BYTES, show_bytes),
                Check::at_most("restart ", start, MAX_FULL_START, show_time),
            ]
        });
        let show = |found: Full| {
            let (bytes, restarted) = (show_bytes(found.bytes), show_bytes(found.bytes_restarted));
            let (start, killed) = (show_time(found.start), show_time(found.start_killed));
            format!("{bytes}, after a restart {restarted}; restart {start}, after kill -9 {killed}")
        };
        let cells = Face::COLUMNS.map(|face| of(face).map(show));
        let name = format!("{} keys of 256 bytes: memory, restart", thousands(keys));
        self.row(&name, &cells, &checks.unwrap_or_default());
    }

    fn row(&mut self, name: &str, cells: &[Option<String>; 4], checks: &[Check]) {
        let texts: Vec<_> = checks.iter().map(|check| check.text.as_str()).collect();
        let verdict = match checks.iter().all(|check| check.held) {
            _ if checks.is_empty() => "–",
            true => "held",
            false => "**missed**",
        };
        let cells: Vec<_> = cells.iter().map(|cell| cell.as_deref().unwrap_or("–")).collect();
        let line = format!("| {name} | {} | {} | {verdict} |\n", cells.join(" | "), texts.join("; "));
        print!("{line}");
        self.rows += &line;
        self.missed.extend(checks.iter().filter(|check| !check.held).map(|check| format!("{name}: {}", check.text)));
    }

    /// The whole table, and below it what was missed.
    pub(crate) fn markdown(&self, about: &str) -> String {
        let mut text = format!("{about}\n\n");
        let faces = Face::COLUMNS.map(face_name).join(" | ");
        let _ = write!(
            text,
            "| row | {faces} | Vardr beside them (bound) | |\n|---|---|---|---|---|---|---|\n{}",
            self.rows
        );
        for missed in &self.missed {
            let _ = write!(text, "\nMissed: {missed}\n");
        }
        text
    }

    pub(crate) fn all_held(&self) -> bool {
        self.missed.is_empty()
    }
}

fn face_name(face: Face) -> &'static str {
    match face.column() {
        Face::Echo => "echo",
        Face::EtcdV2 => "etcd /v2",
        Face::EtcdV3 => "etcd /v3",
        _ => "Vardr",
    }
}

fn ratio(ours: Duration, theirs: Duration) -> f64 {
    ours.as_secs_f64() / theirs.as_secs_f64().max(1e-9)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The median of each figure by itself.
fn show_runs(runs: &[Run]) -> String {
    let time = |of: fn(&Run) -> Duration| {
        show_time(Duration::from_secs_f64(median(runs.iter().map(|run| of(run).as_secs_f64()))))
    };
    let rate = show_rate(median(runs.iter().map(|run| run.rate)));
    format!("{rate}/s, p50 {}, p99 {}", time(|run| run.median), time(|run| run.p99))
}

fn show_rate(rate: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is small and positive")]
    let rate = rate.round() as u64;
    thousands(rate)
}

fn plural(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count as u64), if count == 1 { "" } else { "s" })
}

fn show_time(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    match millis {
        0.0..10.0 => format!("{millis:.2} ms"),
        10.0..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.2} s", millis / 1000.0),
    }
}

fn show_bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{}.{} KB", bytes / 1000, bytes % 1000 / 100),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
