//! The examples of the README and of `docs/exec.md` work when pasted: each is run against a real server and its output
//! compared.
//!
//! An example is a block fenced with `sh`; the block after it is what it prints, where `…` stands for anything. It runs
//! nothing but what the page shows.

#![cfg(test)]

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use support::Server;

/// A block of shell commands, and what they print.
struct Example {
    commands: String,
    output: String,
}

fn examples(readme: &str) -> Vec<Example> {
    let mut blocks = readme.split("```").skip(1).step_by(2);
    let mut examples = Vec::new();
    while let Some(block) = blocks.next() {
        if let Some(commands) = block.strip_prefix("sh\n") {
            let output = blocks.next().and_then(|block| block.strip_prefix("text\n"));
            let output = output.unwrap_or_else(|| panic!("the page does not say what this prints:\n{commands}"));
            examples.push(Example { commands: commands.to_owned(), output: output.to_owned() });
        }
    }
    examples
}

/// Whether `text` is `pattern`, in which `…` stands for anything within a line. Empty lines do not count.
fn matches(pattern: &str, text: &str) -> bool {
    let line_matches = |(pattern, line): (&String, &String)| {
        let Some((first, rest)) = pattern.split_once('…') else { return pattern == line };
        let Some(mut left) = line.strip_prefix(first) else { return false };
        let mut parts = rest.split('…').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return left.ends_with(part);
            }
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        true
    };
    let lines = |text: &str| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (patterns, lines) = (lines(pattern), lines(text));
    patterns.len() == lines.len() && patterns.iter().zip(&lines).all(line_matches)
}

fn run(commands: &str, server: &Server, folder: &Path) -> String {
    let binaries = Path::new(env!("CARGO_BIN_EXE_vardr")).parent().unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &commands.replace("localhost:2379", server.address())])
        .env("PATH", path)
        .env("VARDR_ENDPOINT", server.url())
        .env("CURL_HOME", folder)
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "failed:\n{commands}\n{errors}\n{}", server.log());
    String::from_utf8(output.stdout).unwrap()
}

fn assert_prints_what_it_says(page: &str, at_least: usize) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let examples = examples(&text);
    assert!(examples.len() >= at_least, "only {} examples found in {page}", examples.len());
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    // An answer has no newline at its end; without one between them, those of several commands would stand in one line.
    std::fs::write(folder.path().join(".curlrc"), "silent\nwrite-out = \"\\n\"\n").unwrap();
    let mut differences = String::new();
    for example in examples {
        let printed = run(&example.commands, &server, folder.path());
        if !matches(&example.output, &printed) {
            let Example { commands, output } = &example;
            write!(differences, "\n{commands}\nprinted:\n{printed}\nbut {page} says:\n{output}\n").unwrap();
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn every_example_prints_what_the_readme_says() {
    assert_prints_what_it_says("README.md", 8);
}

#[test]
fn every_example_prints_what_the_page_on_running_programs_says() {
    assert_prints_what_it_says("docs/exec.md", 2);
}

#[test]
fn a_wrong_output_is_seen() {
    assert!(matches("{\"revision\":2,\"lease\":\"…\"}\n", "{\"revision\":2,\"lease\":\"6a1\"}\n"));
    assert!(!matches("{\"revision\":2}\n", "{\"revision\":3}\n"));
    assert!(!matches("a…b\n", "a b c\n"));
    assert!(!matches("one\n", "one\ntwo\n"));
    assert_eq!(examples("x\n```sh\ncurl\n```\n```text\nout\n```\n```bash\nskipped\n```\n").len(), 1);
}
