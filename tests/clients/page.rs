//! `docs/conformance.md`, held to what was seen: a section for each client, with a row for each feature. What stands above the first
//! section is written by hand.
//!
//! A client that this machine cannot run leaves its section as it is.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::said::{Known, Part, compared};

/// The sections, in their order.
const SECTIONS: &[&str] = &[
    "etcdctl of Debian",
    "etcdctl",
    "Go: client/v3",
    "Python: aetcd",
    "Python: etcd3gw, over JSON",
    "JavaScript: etcd3",
    "Rust: etcd-client",
    "Java: jetcd",
    "Between the dialects",
];

/// The page is written by one test at a time.
static WRITING: Mutex<()> = Mutex::new(());

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conformance.md"))
}

/// A table of what a client did at both servers.
pub(crate) fn table(etcd: &[Part], vardr: &[Part], known: &[Known]) -> String {
    let mut rows = vec!["| feature | what was run | as with etcd 3.4 |".to_owned(), "| --- | --- | --- |".to_owned()];
    for (number, left) in etcd.iter().enumerate() {
        let Part { feature, steps } = left;
        let right = vardr.iter().find(|part| part.feature == *feature);
        let nothing = Part { feature: feature.clone(), steps: Vec::new() };
        let result = compared(left, right.unwrap_or(&nothing), known);
        let mut runs: Vec<_> = steps.iter().map(|step| format!("`{}`", step.run.replace('|', "\\|"))).collect();
        runs.dedup();
        rows.push(format!("| {feature} | {} | {result} |", runs.join(", ")));
        assert!(!etcd[..number].iter().any(|part| part.feature == *feature), "{feature} is there twice");
    }
    for right in vardr.iter().filter(|part| etcd.iter().all(|left| left.feature != part.feature)) {
        rows.push(format!("| {} | | **no**: etcd has nothing of it |", right.feature));
    }
    rows.join("\n")
}

/// Holds the page to what was seen of a client, or writes it.
#[track_caller]
pub(crate) fn hold(section: &str, from: &str, table: &str) {
    let seen = format!("{from}\n\n{table}\n");
    let _alone = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let page = fs::read_to_string(path()).unwrap_or_default();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path(), with_section(&page, section, &seen)).unwrap();
    } else {
        let (_, sections) = parts(&page);
        let said = sections.iter().find(|(name, _)| name == section).map_or("", |(_, text)| text.as_str());
        assert!(
            alike(said, &seen),
            "docs/conformance.md says of {section}:\n{said}\nbut this was seen:\n{seen}\n\
             UPDATE_GOLDEN=1 cargo test --test clients writes it"
        );
    }
    // Nor is the page a way to keep a difference.
    assert_eq!(refused(table), Vec::<&str>::new(), "{section}");
}

/// The rows of what Vardr does not do as etcd.
fn refused(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with('|') && line.contains("**no**")).collect()
}

/// Whether the texts are the same, but for the patch number of what Debian mends.
fn alike(left: &str, right: &str) -> bool {
    let version = |line: &str| {
        let is_debians = line.contains("Debian's package");
        if is_debians { line.split(' ').map(minor).collect::<Vec<_>>().join(" ") } else { line.to_owned() }
    };
    let lines = |text: &str| text.trim().lines().map(version).collect::<Vec<_>>();
    lines(left) == lines(right)
}

/// A version of three numbers as one of two.
fn minor(word: &str) -> String {
    let numbers: Vec<_> = word.trim_end_matches([',', ':']).split('.').collect();
    let is_version = numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok());
    if is_version { numbers[..2].join(".") } else { word.to_owned() }
}

/// What stands above the sections, and these with their names.
fn parts(page: &str) -> (String, Vec<(String, String)>) {
    let mut parts = page.split("\n## ");
    let above = parts.next().unwrap_or_default().to_owned();
    let named = |part: &str| {
        let (name, text) = part.split_once('\n').unwrap_or((part, ""));
        (name.to_owned(), text.to_owned())
    };
    (above, parts.map(named).collect())
}

/// The page with this text in place of a section's.
fn with_section(page: &str, section: &str, text: &str) -> String {
    assert!(SECTIONS.contains(&section), "{section} has no place on the page");
    let (above, mut sections) = parts(page);
    sections.retain(|(name, _)| name != section && SECTIONS.contains(&name.as_str()));
    sections.push((section.to_owned(), text.to_owned()));
    sections.sort_by_key(|(name, _)| SECTIONS.iter().position(|known| known == name));
    let sections = sections.iter().map(|(name, text)| format!("\n## {name}\n\n{}\n", text.trim()));
    format!("{}\n{}", above.trim(), sections.collect::<String>())
}

#[test]
fn the_page_has_a_section_for_each_client_and_no_other() {
    let _alone = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let page = fs::read_to_string(path()).unwrap();
    let (above, sections) = parts(&page);
    assert!(above.starts_with("# "), "the page has no title");
    let names: Vec<_> = sections.iter().map(|(name, _)| name.as_str()).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_none() {
        assert_eq!(names, SECTIONS);
        assert_eq!(refused(&page), Vec::<&str>::new());
    }
}

#[test]
fn a_section_is_written_into_its_place_and_compared() {
    let page = "# Title\n\nAbove.\n\n## Java: jetcd\n\nold\n\n## Gone\n\nold\n";
    let written = with_section(page, "etcdctl", "new");
    assert_eq!(written, "# Title\n\nAbove.\n\n## etcdctl\n\nnew\n\n## Java: jetcd\n\nold\n");
    assert_eq!(with_section(&written, "etcdctl", "new\n"), written);
    assert!(alike(
        "Version 3.4.23, Debian's package `x`.\n\n| a |",
        "Version 3.4.30, Debian's package `x`.\n\n| a |\n"
    ));
    assert!(!alike("Version 3.4.23, Debian's package `x`.", "Version 3.5.23, Debian's package `x`."));
    assert!(!alike("Version 3.4.23.", "Version 3.4.30."));
    assert!(!alike("| yes |", "| **no** |"));
    assert_eq!(refused("**no** is a word\n| a | yes |\n| b | **no**: nothing |"), ["| b | **no**: nothing |"]);
}
