//! The examples of the README work when pasted: each is run against a real server and its output compared.

#![cfg(test)]

mod support;

use std::path::Path;

use support::Server;
use support::examples::{check, examples, matches};

#[test]
fn every_example_prints_what_the_readme_says() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let examples = examples(&readme, &["sh"]);
    assert!(examples.len() >= 8, "only {} examples found", examples.len());
    check(&examples, &Server::start());
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
