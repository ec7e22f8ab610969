//! What an operator sees of a running member: its log lines and its metrics.
//!
//! Owns the format of the log and every metric name. Knows nothing of the rest of Vardr, so that anything
//! may use it; holds no global state besides the one log subscriber of a process.

pub mod logging;
pub mod metrics;

pub use logging::{LogFormat, LogLevel};
pub use metrics::{Latency, Metrics, RouteMetrics, Settled};
