//! The guide to services, `docs/services.md`, does what it says when its examples are pasted.

use std::path::Path;
use std::process::Command;

use crate::support::Server;
use crate::support::examples::{Example, check, examples};

fn of_the_guide(languages: &[&'static str]) -> Vec<Example> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/services.md");
    examples(&std::fs::read_to_string(guide).unwrap(), languages)
}

#[test]
fn the_examples_for_the_shell_and_python_print_what_the_guide_says() {
    let examples = of_the_guide(&["sh", "python"]);
    assert!(examples.len() >= 5, "only {} examples found", examples.len());
    check(&examples, &Server::start());
}

#[test]
fn the_example_for_go_prints_what_the_guide_says() {
    if Command::new("go").arg("version").output().is_err() {
        println!("not run: the example for Go, which is not installed");
        return;
    }
    let examples = of_the_guide(&["go"]);
    assert_eq!(examples.len(), 1);
    check(&examples, &Server::start());
}
