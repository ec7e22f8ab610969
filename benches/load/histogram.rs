//! Latencies counted in buckets that are 1/64 of their octave wide: any percentile to about 1.6 %, in a few kilobytes.

use std::time::Duration;

const STEPS: u64 = 64;

#[derive(Clone, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn record(&mut self, latency: Duration) {
        let bucket = bucket(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.total += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The latency that `per_mille` of a thousand stay at or below.
    pub(crate) fn percentile(&self, per_mille: u64) -> Duration {
        let wanted = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        Duration::from_nanos(upper_end(place.unwrap_or(0)))
    }
}

/// Below 2 × STEPS nanoseconds each has its own bucket; above, every doubling is cut into STEPS.
fn bucket(nanos: u64) -> usize {
    let shift = nanos.checked_ilog2().unwrap_or(0).saturating_sub(STEPS.ilog2());
    usize::try_from(u64::from(shift) * STEPS + (nanos >> shift)).unwrap_or(usize::MAX)
}

/// The longest latency that falls into the bucket.
fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    ((bucket - shift * STEPS + 1) << shift) - 1
}
