//! A histogram of durations made of atomics: the one of `prometheus-client` takes a lock for each observation.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Upper bounds in microseconds: from a read out of memory to a disk in trouble.
const BOUNDS_MICROS: [u64; 18] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 60_000_000,
];

/// How long something took, over and over. Cloning gives another handle to the same histogram.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    counts: [AtomicU64; BOUNDS_MICROS.len()],
    /// Observations above the last bound.
    beyond: AtomicU64,
    sum_nanos: AtomicU64,
}

impl Latency {
    /// Records one duration: two atomic additions.
    pub fn observe(&self, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| bound.saturating_mul(1_000) < nanos);
        self.inner.counts.get(bucket).unwrap_or(&self.inner.beyond).fetch_add(1, Ordering::Relaxed);
        self.inner.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        let within: u64 = self.inner.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        within + self.inner.beyond.load(Ordering::Relaxed)
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut buckets: Vec<(f64, u64)> = BOUNDS_MICROS
            .iter()
            .zip(&self.inner.counts)
            .map(|(micros, count)| (Duration::from_micros(*micros).as_secs_f64(), count.load(Ordering::Relaxed)))
            .collect();
        buckets.push((f64::INFINITY, self.inner.beyond.load(Ordering::Relaxed)));
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.inner.sum_nanos.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl prometheus_client::metrics::TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let latency = Latency::default();
        for micros in [50, 51, 1_000, 90_000_000] {
            latency.observe(Duration::from_micros(micros));
        }
        let mut registry = Registry::default();
        registry.register("t", "help", latency.clone());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "t_sum 90.001101",
            "t_count 4",
            "t_bucket{le=\"0.00005\"} 1",
            "t_bucket{le=\"0.0001\"} 2",
            "t_bucket{le=\"0.001\"} 3",
            "t_bucket{le=\"60.0\"} 3",
            "t_bucket{le=\"+Inf\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert_eq!(latency.count(), 4);
    }
}
