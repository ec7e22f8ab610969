//! Contracts as golden files: what users and their tools rely on changes only on purpose.
//!
//! `UPDATE_GOLDEN=1 cargo test --test contracts` writes the files anew; the diff is then for a person to judge.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vardr::cli;
use vardr::config::reference;
use vardr::observe::Metrics;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn assert_golden(path: &str, actual: &str) {
    let file = repository(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, actual).unwrap_or_else(|error| panic!("{path} cannot be written: {error}"));
        return;
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(expected == actual, "{path} differs; UPDATE_GOLDEN=1 writes it anew. It would be:\n{actual}");
}

#[test]
fn the_reference_of_settings_is_the_page_in_docs() {
    assert_golden("docs/configuration.md", &reference::page());
}

#[test]
fn the_names_of_metrics_are_those_that_dashboards_rely_on() {
    let metrics = Metrics::new();
    metrics.http.observe("/", &http::Method::GET, http::StatusCode::OK, Duration::ZERO);
    let exposition = metrics.encode();
    let types: Vec<&str> = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_golden("tests/contracts/metrics.txt", &(types.join("\n") + "\n"));
}

/// The help of every command, one below the other, at a width that no terminal changes.
#[test]
fn the_help_of_every_command_is_as_written_down() {
    let mut command = cli::command().term_width(100);
    command.build();
    let mut page = command.render_help().to_string();
    for_each_command(&command, "vardr", &mut page);
    assert_golden("tests/contracts/help.txt", &page);
}

fn for_each_command(command: &clap::Command, name: &str, page: &mut String) {
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        let name = format!("{name} {}", inner.get_name());
        let help = inner.clone().term_width(100).render_long_help();
        let _infallible = write!(page, "\n=== {name} ===\n\n{help}");
        for_each_command(inner, &name, page);
    }
}
