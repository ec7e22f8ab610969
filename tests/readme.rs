//! The examples of the README, of `docs/exec.md`, `docs/leases.md`, `docs/locks.md`, `docs/etcd-v2.md` and `docs/etcd-v3.md` work when
//! pasted: each is run against a real server and its output compared.
//!
//! An example is a block fenced with `sh`; the block after it is what it prints, where `…` stands for anything. It runs
//! nothing but what the page shows.

#![cfg(test)]

mod support;

use std::path::Path;
use std::process::Command;

use support::Server;
use support::examples::{check, examples, matches};

fn prints_what_it_says(page: &str, at_least: usize) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let examples = examples(&text, &["sh"]);
    assert!(examples.len() >= at_least, "only {} examples found in {page}", examples.len());
    check(&examples, &Server::start());
}

fn in_other_languages_prints_what_it_says(page: &str, count: usize) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let mut languages = vec!["python", "go"];
    assert_eq!(examples(&text, &languages).len(), count);
    if Command::new("go").arg("version").output().is_err() {
        println!("not run: the examples for Go in {page}; it is not installed");
        languages.retain(|language| *language != "go");
    }
    check(&examples(&text, &languages), &Server::start());
}

#[test]
fn every_example_prints_what_the_readme_says() {
    prints_what_it_says("README.md", 8);
}

#[test]
fn every_example_prints_what_the_page_on_running_programs_says() {
    prints_what_it_says("docs/exec.md", 2);
}

#[test]
fn every_example_prints_what_the_page_on_locks_says() {
    prints_what_it_says("docs/locks.md", 4);
    in_other_languages_prints_what_it_says("docs/locks.md", 4);
}

#[test]
fn every_example_prints_what_the_page_on_leases_says() {
    prints_what_it_says("docs/leases.md", 3);
    in_other_languages_prints_what_it_says("docs/leases.md", 2);
}

#[test]
fn every_example_prints_what_the_page_on_etcd_v2_says() {
    prints_what_it_says("docs/etcd-v2.md", 1);
}

#[test]
fn every_example_prints_what_the_page_on_etcd_v3_says() {
    prints_what_it_says("docs/etcd-v3.md", 3);
}

#[test]
fn a_wrong_output_is_seen() {
    assert!(matches("{\"revision\":2,\"lease\":\"…\"}\n", "{\"revision\":2,\"lease\":\"6a1\"}\n"));
    assert!(!matches("{\"revision\":2}\n", "{\"revision\":3}\n"));
    assert!(!matches("a…b\n", "a b c\n"));
    assert!(!matches("one\n", "one\ntwo\n"));
    let page = "x\n```sh\ncurl\n```\n```text\nout\n```\n```bash\nskipped\n```\n";
    assert_eq!(examples(page, &["sh"]).len(), 1);
}
