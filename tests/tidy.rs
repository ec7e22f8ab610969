//! The rules of the house that a machine can hold: the order of the modules, the purity of the core, the home of each
//! third-party crate, headers, lengths and names.
//!
//! Each rule is a function from text to complaints, so that a small planted breach beside it shows it able to fail.
//! It looks at the tree as it is on disk and never builds or changes anything.

#![cfg(test)]

#[path = "tidy/scan.rs"]
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use scan::Token;

/// The modules of `src`, each of which may use those before it and none after it.
const ORDER: &[&str] = &[
    "model",
    "storage",
    "wal",
    "mvcc",
    "machine",
    "consensus",
    "watch",
    "observe",
    "node",
    "cluster",
    "auth",
    "service",
    "api",
    "config",
    "cli",
    "server",
];

/// The modules that a simulator can run: no async, clock, thread, socket, file, chance or unordered map.
const CORE: &[&str] = &["model", "storage", "wal", "mvcc", "machine", "consensus", "watch"];

/// The files of the core that meet the real world, because they are the real side of a trait of the core.
const CORE_EDGES: &[&str] = &["src/storage/lsm.rs", "src/wal/file.rs"];

/// What the core never says, and why.
const IMPURE: &[(&[&str], &str)] = &[
    (&["async"], "is async"),
    (&["tokio"], "knows a runtime"),
    (&["futures_util"], "is async"),
    (&["Instant"], "reads a clock"),
    (&["SystemTime"], "reads a clock"),
    (&["jiff"], "reads a clock"),
    (&["thread", "::"], "knows threads"),
    (&["std", "::", "thread"], "knows threads"),
    (&["std", "::", "net"], "knows sockets"),
    (&["std", "::", "fs"], "opens files"),
    (&["std", "::", "env"], "reads its surroundings"),
    (&["std", "::", "process"], "reads its surroundings"),
    (&["rustix"], "makes system calls"),
    (&["rand"], "leaves something to chance"),
    (&["RandomState"], "leaves something to chance"),
    (&["HashMap"], "has an order that differs from run to run: use BTreeMap"),
    (&["HashSet"], "has an order that differs from run to run: use BTreeSet"),
    (&["Serialize"], "is a wire type: those stop at the edge"),
    (&["Deserialize"], "is a wire type: those stop at the edge"),
];

/// The home of each third-party crate: the files and folders that may use it. Every dependency has a row.
const HOMES: &[(&str, &[&str])] = &[
    ("anyhow", &["src/main.rs", "src/server.rs", "src/cli/"]),
    ("axum", &["src/api/", "src/server.rs"]),
    ("base64", &["src/api/", "src/cli/"]),
    ("bcrypt", &["src/service/"]),
    ("borsh", &["src/model/", "src/storage/", "src/wal/", "src/mvcc/", "src/machine/", "src/consensus/", "src/node/"]),
    ("bytes", &["src/"]),
    ("clap", &["src/main.rs", "src/config/", "src/cli/"]),
    ("clap_complete", &["src/main.rs", "src/cli/"]),
    ("crc32c", &["src/wal/", "src/mvcc/", "src/machine/", "src/node/"]),
    ("futures_util", &["src/node/", "src/cluster/", "src/service/", "src/api/", "src/cli/", "src/server.rs"]),
    ("hickory_resolver", &["src/cluster/srv.rs"]),
    ("http", &["src/api/", "src/observe/", "src/cli/"]),
    ("http_body", &["src/api/"]),
    ("http_body_util", &["src/api/"]),
    ("hyper", &["src/api/", "src/server.rs"]),
    ("hyper_util", &["src/api/", "src/server.rs"]),
    ("indicatif", &["src/cli/"]),
    ("jiff", &["src/api/", "src/config/", "src/cli/", "src/observe/"]),
    ("json_patch", &["src/machine/", "src/api/"]),
    ("lsm_tree", &["src/storage/lsm.rs"]),
    ("mimalloc", &["src/main.rs"]),
    ("minijinja", &["src/cli/"]),
    ("parking_lot", &["src/"]),
    ("percent_encoding", &["src/cluster/discovery.rs", "src/api/", "src/cli/"]),
    ("prometheus_client", &["src/observe/"]),
    ("prost", &["src/api/v3/"]),
    ("protobuf", &["src/consensus/"]),
    ("raft", &["src/consensus/"]),
    ("rand", &["src/cli/", "src/node/", "src/service/", "src/server.rs"]),
    ("reqwest", &["src/cluster/discovery.rs", "src/cli/"]),
    ("rustix", &["src/wal/file.rs", "src/node/", "src/cli/", "src/server.rs"]),
    ("serde", &["src/service/registry/", "src/api/", "src/config/", "src/cli/"]),
    (
        "serde_json",
        &["src/machine/", "src/cluster/discovery.rs", "src/service/registry/", "src/api/", "src/observe/", "src/cli/"],
    ),
    ("serde_saphyr", &["src/api/yaml.rs"]),
    ("sha1", &["src/node/"]),
    ("sha2", &["src/machine/"]),
    ("similar", &["src/api/"]),
    ("slog", &["src/consensus/"]),
    ("thiserror", &["src/"]),
    ("tokio", &["src/node/", "src/cluster/", "src/service/", "src/api/", "src/cli/", "src/server.rs"]),
    ("tokio_tungstenite", &["src/cli/"]),
    ("tokio_util", &["src/node/", "src/service/", "src/api/", "src/cli/", "src/server.rs"]),
    ("toml", &["src/config/"]),
    ("tonic", &["src/api/v3/"]),
    ("tonic_prost", &["src/api/v3/"]),
    ("tonic_reflection", &["src/api/v3/"]),
    ("tower", &["src/api/", "src/server.rs"]),
    ("tower_http", &["src/api/"]),
    (
        "tracing",
        &["src/node/", "src/cluster/", "src/service/", "src/api/", "src/observe/", "src/cli/", "src/server.rs"],
    ),
    ("tracing_subscriber", &["src/observe/"]),
    ("url", &["src/cluster/url.rs", "src/api/", "src/config/", "src/cli/", "src/server.rs"]),
    ("utoipa", &["src/api/"]),
    ("utoipa_axum", &["src/api/"]),
    ("utoipa_swagger_ui", &["src/api/"]),
    ("xxhash_rust", &["src/storage/lsm.rs", "src/mvcc/", "src/machine/", "src/service/", "src/api/"]),
];

/// The names that may stand at the top of the tree.
const TOP: &[&str] = &[
    ".ci",
    ".git",
    ".github",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "benches",
    "build.rs",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "docs",
    "openapi",
    "proto",
    "rustfmt.toml",
    "scripts",
    "src",
    "tests",
    "web",
];

/// What running and building leave behind; `.gitignore` keeps it out of the history.
const LEFT_BEHIND: &[&str] = &["target", "vardr.data", "node_modules", ".venv"];

/// The longest a source file may be, in lines.
const MAX_LINES: usize = 800;

/// A source file of the tree.
struct Source {
    /// From the top of the tree, with `/` between the parts.
    path: String,
    text: String,
    tokens: Vec<Token>,
    /// Compiled for tests only.
    is_test: bool,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), tokens: scan::tokens(text), is_test: false }
    }

    /// The module of `src` that the file belongs to.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }

    /// How many modules the file is inside of, its own included.
    fn depth(&self) -> usize {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').filter(|part| !matches!(*part, "mod.rs" | "lib.rs" | "main.rs")).count()
    }

    fn is_core(&self) -> bool {
        self.path.starts_with("src/") && CORE.contains(&self.module())
    }

    fn complain(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

// The rules.

fn order(source: &Source) -> Vec<String> {
    let place = |name: &str| ORDER.iter().position(|module| *module == name);
    let Some(own) = place(source.module()) else { return Vec::new() };
    let breach = |path: &scan::Path| {
        let used = path.segments.first()?;
        let what = format!("`{}` may not use `{used}`, which comes after it", source.module());
        (place(used)? > own).then(|| source.complain(path.line, &what))
    };
    scan::crate_paths(&source.tokens, source.depth()).iter().filter_map(breach).collect()
}

/// The dialects never import each other.
fn dialects(source: &Source) -> Vec<String> {
    let dialect = |name: &str| matches!(name, "v1" | "v2" | "v3");
    let own = source.path.strip_prefix("src/api/").and_then(|inside| inside.split(['/', '.']).next());
    let Some(own) = own.filter(|own| dialect(own)) else { return Vec::new() };
    let breach = |path: &scan::Path| {
        let [api, other, ..] = path.segments.as_slice() else { return None };
        (api == "api" && dialect(other) && other != own)
            .then(|| source.complain(path.line, &format!("the dialect {own} may not know {other}")))
    };
    scan::crate_paths(&source.tokens, source.depth()).iter().filter_map(breach).collect()
}

fn purity(source: &Source) -> Vec<String> {
    if !source.is_core() || source.is_test || CORE_EDGES.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let shipped = scan::without_tests(&source.tokens);
    let complaints = |(words, why): &(&[&str], &str)| {
        let what = format!("the core {why}: `{}`", words.concat());
        scan::occurrences(&shipped, words).into_iter().map(|line| source.complain(line, &what)).collect::<Vec<_>>()
    };
    IMPURE.iter().flat_map(complaints).collect()
}

fn homes(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") || source.is_test {
        return Vec::new();
    }
    let shipped = scan::without_tests(&source.tokens);
    let is_home = |homes: &[&str]| {
        homes.iter().any(|home| {
            let as_file = home.strip_suffix('/').map(|folder| format!("{folder}.rs"));
            source.path.starts_with(home) || as_file.is_some_and(|file| source.path == file)
        })
    };
    let complaints = |(name, homes): &(&str, &[&str])| {
        let what = format!("`{name}` is at home in {} only", homes.join(", "));
        let lines = if is_home(homes) { Vec::new() } else { scan::crate_uses(&shipped, name) };
        lines.into_iter().map(|line| source.complain(line, &what)).collect::<Vec<_>>()
    };
    HOMES.iter().flat_map(complaints).collect()
}

fn header(source: &Source) -> Vec<String> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![source.complain(1, "a file begins with a `//!` header: what it owns, what it never does")]
}

fn bare_allow(source: &Source) -> Vec<String> {
    let starts: [&[&str]; 2] = [&["#", "[", "allow"], &["#", "!", "[", "allow"]];
    let lines = starts.iter().flat_map(|start| scan::occurrences(&source.tokens, start));
    lines.map(|line| source.complain(line, "`#[expect(…, reason = \"…\")]` instead of `allow`")).collect()
}

fn length(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let what = format!("{lines} lines, more than {MAX_LINES}: two ideas in one file?");
    if lines > MAX_LINES { vec![source.complain(lines, &what)] } else { Vec::new() }
}

fn top(names: &[String]) -> Vec<String> {
    let known = |name: &String| TOP.contains(&name.as_str()) || LEFT_BEHIND.contains(&name.as_str());
    names.iter().filter(|name| !known(name)).map(|name| format!("{name}: not a name of the top level")).collect()
}

/// The dependencies of a manifest, and whether a comment stands beside or above each.
fn dependencies(manifest: &str) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    let (mut inside, mut explained) = (false, false);
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && let Some((name, value)) = line.split_once('=') {
            found.insert(name.trim().trim_matches('"').to_owned(), explained || value.contains("# "));
        }
        explained = line.starts_with("# ");
    }
    found
}

fn reasons(manifest: &str) -> Vec<String> {
    let silent = dependencies(manifest).into_iter().filter(|(_, explained)| !explained);
    silent.map(|(name, _)| format!("Cargo.toml: `{name}` has no comment that says what it is here for")).collect()
}

/// Every dependency has a home and every home a dependency.
fn table(manifest: &str) -> Vec<String> {
    let (shipped, _) = manifest.split_once("[dev-dependencies]").unwrap_or((manifest, ""));
    let declared: BTreeSet<_> = dependencies(shipped).into_keys().map(|name| name.replace('-', "_")).collect();
    let housed: BTreeSet<_> = HOMES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let homeless =
        declared.difference(&housed).map(|name| format!("Cargo.toml: `{name}` has no home in tests/tidy.rs"));
    let gone = housed.difference(&declared).map(|name| format!("tests/tidy.rs: `{name}` is no dependency"));
    homeless.chain(gone).collect()
}

/// `lib.rs` declares the modules in their order, so that the map and the rule are one.
fn map(source: &Source) -> Vec<String> {
    let declared = source.tokens.windows(3).filter(|item| item[0].text == "mod" && item[2].text == ";");
    let names: Vec<_> = declared.map(|item| (item[1].text.clone(), item[1].line)).collect();
    let mut allowed = ORDER.iter();
    let misplaced = |(name, line): &(String, usize)| {
        let is_next = allowed.any(|module| module == name);
        (!is_next).then(|| source.complain(*line, &format!("`{name}` is unknown or stands out of order")))
    };
    names.iter().filter_map(misplaced).collect()
}

// The tree as it is.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        files_below(&root().join(folder), &mut paths);
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        Source::new(&name, &fs::read_to_string(path).unwrap())
    };
    let mut sources: Vec<_> = paths.iter().map(read).collect();
    mark_tests(&mut sources);
    sources
}

/// Marks the files of modules that are declared for tests only.
fn mark_tests(sources: &mut [Source]) {
    let mut stems = Vec::new();
    for source in &*sources {
        let folder = source.path.trim_end_matches("mod.rs").trim_end_matches("lib.rs").trim_end_matches(".rs");
        let modules = scan::test_modules(&source.tokens);
        stems.extend(modules.iter().map(|module| format!("{}/{module}", folder.trim_end_matches('/'))));
    }
    for source in sources {
        let path = &source.path;
        source.is_test =
            stems.iter().any(|stem| path.strip_prefix(stem.as_str()).is_some_and(|rest| rest.starts_with(['.', '/'])));
    }
}

fn hold(folders: &[&str], rule: fn(&Source) -> Vec<String>) {
    let sources = sources(folders);
    assert!(!sources.is_empty(), "found no source to look at");
    let complaints: Vec<_> = sources.iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn manifest() -> String {
    fs::read_to_string(root().join("Cargo.toml")).unwrap()
}

#[test]
fn modules_use_only_what_stands_above_them() {
    hold(&["src"], order);
    hold(&["src/api", "src/lib.rs", "src/model"], dialects);
}

#[test]
fn the_map_in_lib_rs_is_the_order() {
    let complaints = map(&Source::new("src/lib.rs", &fs::read_to_string(root().join("src/lib.rs")).unwrap()));
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn the_core_is_pure() {
    hold(&["src"], purity);
}

#[test]
fn each_crate_stays_at_home() {
    hold(&["src"], homes);
    let complaints = table(&manifest());
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn each_file_begins_with_a_header() {
    hold(&["src", "tests", "benches"], header);
}

#[test]
fn no_lint_is_silenced_without_a_reason() {
    hold(&["src", "tests", "benches"], bare_allow);
}

#[test]
fn no_file_is_too_long() {
    hold(&["src", "tests", "benches"], length);
}

#[test]
fn the_top_level_holds_known_names() {
    let names: Vec<_> =
        fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let complaints = top(&names);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn each_dependency_says_what_it_is_for() {
    let complaints = reasons(&manifest());
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// One planted breach for each rule, and its harmless neighbour.
mod can_fail {
    use super::*;

    fn lines(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
        rule(&Source::new(path, text)).len()
    }

    #[test]
    fn a_use_of_a_later_module_is_seen_in_every_shape() {
        let shapes = [
            "use crate::machine::StateMachine;",
            "use crate::{model::Key, machine::{self, StateMachine}};",
            "use crate::{\n    model::{Key, Revision},\n    service,\n};",
            "fn f() { crate::machine::run::<u8>(); }",
            "use super::super::machine;",
            "mod inner { use super::super::super::machine::X; }",
        ];
        for shape in shapes {
            assert_ne!(lines(order, "src/mvcc/view.rs", shape), 0, "{shape}");
        }
        for harmless in
            ["use crate::model::Key;", "use super::machine;", "// crate::machine\n", "f(\"crate::machine\");"]
        {
            assert_eq!(lines(order, "src/mvcc/view.rs", harmless), 0, "{harmless}");
        }
        assert_eq!(lines(order, "src/mvcc/mod.rs", "use super::machine;"), 1);
        assert_eq!(lines(order, "src/mvcc/mod.rs", "pub(crate) mod x; mod y { use super::machine; }"), 0);
    }

    #[test]
    fn a_dialect_that_knows_another_is_seen() {
        assert_eq!(lines(dialects, "src/api/v2/keys.rs", "use crate::api::v1::keys;"), 1);
        assert_eq!(lines(dialects, "src/api/v2/keys.rs", "use crate::api::{problem, v2::x};"), 0);
    }

    #[test]
    fn an_impure_core_is_seen_and_its_tests_and_edges_are_free() {
        for words in
            ["async fn f() {}", "use std::time::Instant;", "std::thread::spawn(f);", "use std::collections::HashMap;"]
        {
            assert_eq!(lines(purity, "src/wal/log.rs", words).min(1), 1, "{words}");
            assert_eq!(lines(purity, "src/node/runner.rs", words), 0, "{words}");
            assert_eq!(lines(purity, CORE_EDGES[0], words), 0, "{words}");
            assert_eq!(
                lines(purity, "src/wal/log.rs", &format!("#[cfg(test)]\nmod tests {{ {words} }}")),
                0,
                "{words}"
            );
        }
        let text = "// HashMap, 'a' and \"async\" in words\nfn f<'a>(x: &'a str) -> char { r#\"tokio\"#; '\\'' }";
        assert_eq!(lines(purity, "src/wal/log.rs", text), 0);
    }

    #[test]
    fn a_file_declared_for_tests_is_free() {
        let declaration = Source::new("src/wal/mod.rs", "#[cfg(test)]\nmod crashes;\nmod log;");
        let mut sources = [declaration, Source::new("src/wal/crashes.rs", ""), Source::new("src/wal/log.rs", "")];
        mark_tests(&mut sources);
        assert_eq!(sources.map(|source| source.is_test), [false, true, false]);
    }

    #[test]
    fn a_crate_away_from_home_is_seen() {
        for words in ["use raft::RawNode;", "fn f() -> raft::Config {}", "use raft;"] {
            assert_eq!(lines(homes, "src/node/runner.rs", words), 1, "{words}");
            assert_eq!(lines(homes, "src/consensus/replica.rs", words), 0, "{words}");
            assert_eq!(lines(homes, "src/consensus.rs", words), 0, "{words}");
        }
        assert_eq!(lines(homes, "src/storage/mod.rs", "mod bcrypt;\npub use bcrypt::Engine;"), 0);
        assert_eq!(lines(homes, "src/node/runner.rs", "use crate::consensus::raft::x;"), 0);
        assert_eq!(
            lines(homes, "src/node/open.rs", "use crate::storage::bcrypt::{self, Engine};\nbcrypt::Options {}"),
            0
        );
    }

    #[test]
    fn a_missing_header_a_bare_allow_and_a_long_file_are_seen() {
        assert_eq!(lines(header, "src/x.rs", "use std::fmt;\n"), 1);
        assert_eq!(lines(bare_allow, "src/x.rs", "#[allow(dead_code)]\nfn f() {}\n#![allow(x)]"), 2);
        assert_eq!(lines(bare_allow, "src/x.rs", "#[expect(dead_code, reason = \"x\")]"), 0);
        assert_eq!(lines(length, "src/x.rs", &"\n".repeat(MAX_LINES + 1)), 1);
    }

    #[test]
    fn a_stray_name_and_a_module_out_of_order_are_seen() {
        assert_eq!(top(&["src".to_owned(), "notes.txt".to_owned()]).len(), 1);
        assert_eq!(lines(map, "src/lib.rs", "pub mod storage;\npub mod model;\n"), 1);
        assert_eq!(lines(map, "src/lib.rs", "pub mod model;\npub mod helpers;\n"), 1);
    }

    #[test]
    fn a_dependency_without_reason_or_home_is_seen() {
        let manifest = "[dependencies]\n# Errors.\nanyhow = \"1\"\nleft-pad = \"1\"\n[lints.rust]\nx = \"warn\"\n";
        assert_eq!(reasons(manifest), ["Cargo.toml: `left-pad` has no comment that says what it is here for"]);
        assert!(table(manifest).contains(&"Cargo.toml: `left_pad` has no home in tests/tidy.rs".to_owned()));
        assert!(table(manifest).contains(&"tests/tidy.rs: `raft` is no dependency".to_owned()));
    }
}
