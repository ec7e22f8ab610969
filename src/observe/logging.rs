//! The log of the process: where it goes, how it looks, how much of it there is.
//!
//! One line per event on standard error, as text for people or as JSON for collectors. No secret is ever
//! logged: whoever logs a request logs its route and outcome, never its headers or its body.

use std::fmt;
use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// Every level, the quietest first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The name as an operator writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people: `2026-01-02T03:04:05.678901Z  INFO vardr::server: ready member=1f`.
    #[default]
    Text,
    /// For collectors: one JSON object a line, with `timestamp`, `level`, `target`, `message` and the fields.
    Json,
}

impl LogFormat {
    /// The name as an operator writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Starts the log of this process on standard error. The first call wins; later ones change nothing, so that
/// tests that start several members in one process may all call it.
///
/// Libraries underneath are held to warnings unless the level is `debug` or `trace`.
pub fn init(level: LogLevel, format: LogFormat) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_timer(SystemTime)
        .with_ansi(colours_wanted())
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("the log of this process is running already");
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    let libraries = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn | LogLevel::Info => LevelFilter::WARN,
        LogLevel::Debug => LevelFilter::INFO,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let own = level.filter();
    EnvFilter::builder().parse_lossy(format!("{libraries},vardr={own}"))
}

/// Colours only for a person, and never against <https://no-color.org>.
fn colours_wanted() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_until_debugging() {
        assert_eq!(filter(LogLevel::Info).to_string(), "vardr=info,warn");
        assert_eq!(filter(LogLevel::Trace).to_string(), "vardr=trace,trace");
    }

    #[test]
    fn a_second_start_of_the_log_is_harmless() {
        init(LogLevel::Error, LogFormat::Text);
        init(LogLevel::Error, LogFormat::Json);
    }
}
