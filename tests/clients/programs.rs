//! Programs that use a client library, each of its own language and in a folder of its own. Each takes the address of a server, does
//! what the library offers, and prints a heading for each feature and what it got: `== feature: what is called`.
//!
//! `scripts/tools` installs the libraries. What a machine lacks leaves the section of the page as it is.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::both::{Both, at_both};
use crate::finish::finish;
use crate::page;
use crate::said::{Known, Part, Step, ended, neutral};
use crate::support::etcd::Etcd;
use crate::support::volume::not_run;

/// From which version on Go fetches others.
const FETCHING_GO: &str = "1.21";
/// The fewest features that a program shows.
const FEWEST: usize = 5;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the programs stand.
fn sources(name: &str) -> PathBuf {
    root().join("tests/clients").join(name)
}

/// Where `scripts/tools` puts what they need.
fn installed(name: &str) -> PathBuf {
    root().join("target/clients").join(name)
}

/// What [`go_build`] makes.
pub(crate) fn built(name: &str) -> PathBuf {
    installed("bin").join(name)
}

/// Why programs in Go cannot be built here, if they cannot; `scripts/tools` decides alike. From 1.21 on Go fetches the version that a
/// module asks for, unless it is told to be the one that it is.
pub(crate) fn no_go() -> Option<String> {
    let env = |name: &str| {
        let output = Command::new("go").args(["env", name]).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(version) = env("GOVERSION") else { return Some("Go is not installed".to_owned()) };
    let is_local = env("GOTOOLCHAIN").is_some_and(|toolchain| toolchain == "local");
    let asked = if is_local { asked_of_go() } else { FETCHING_GO.to_owned() };
    (numbers(&version) < numbers(&asked)).then(|| format!("{version} is older than {asked}"))
}

/// The version of Go that our modules ask for.
fn asked_of_go() -> String {
    let asked = ["etcdctl", "go"].map(|name| {
        let module = std::fs::read_to_string(sources(name).join("go.mod")).unwrap();
        module.lines().find_map(|line| line.strip_prefix("go ")).unwrap().to_owned()
    });
    asked.into_iter().max_by_key(|version| numbers(version)).unwrap()
}

/// The numbers of a version of Go, with its name before them or without.
fn numbers(version: &str) -> Vec<u32> {
    let version = version.split_once("go").map_or(version, |(_, version)| version);
    let number = |part: &str| part.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok();
    version.split('.').map_while(number).collect()
}

/// Builds a folder of Go, with what its `go.sum` names and nothing else.
pub(crate) fn go_build(name: &str) {
    let output = Command::new("go")
        .args(["build", "-mod=readonly", "-buildvcs=false", "-o"])
        .arg(built(name))
        .arg(".")
        .current_dir(sources(name))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The version of a module that a folder of Go requires.
fn go_version(name: &str, module: &str) -> String {
    let requires = std::fs::read_to_string(sources(name).join("go.mod")).unwrap();
    let line = requires.lines().find_map(|line| line.trim().trim_start_matches("require ").strip_prefix(module));
    line.unwrap().trim().trim_start_matches('v').to_owned()
}

/// What a program printed, by its headings. How it ended is the last thing said.
fn parts(output: &Output, address: &str) -> Vec<Part> {
    let said = neutral(&ended(output), &[address.to_owned()]);
    let mut parts: Vec<Part> = Vec::new();
    for line in said.lines() {
        if let Some((feature, run)) = line.strip_prefix("== ").and_then(|heading| heading.split_once(": ")) {
            let step = Step { run: run.to_owned(), said: String::new() };
            parts.push(Part { feature: feature.to_owned(), steps: vec![step] });
        } else if let Some(step) = parts.last_mut().and_then(|part| part.steps.last_mut()) {
            step.said += line;
            step.said.push('\n');
        }
    }
    parts
}

/// Runs a program at both servers and holds the page to what it printed.
#[track_caller]
fn same(section: &str, from: &str, known: &[Known], command: impl Fn(&str) -> Command + Sync) {
    let both = Both::start();
    let outputs = at_both(&both.addresses(), |address, _| {
        let output = finish(&mut command(address));
        output.unwrap_or_else(|error| panic!("{section}: {error}; make tools installs what it needs"))
    });
    let [etcd, vardr] = [0, 1].map(|number| parts(&outputs[number], &both.addresses()[number]));
    // What fails at etcd is no program to compare with.
    assert!(outputs[0].status.success(), "{section} fails at etcd:\n{}", ended(&outputs[0]));
    assert!(etcd.len() >= FEWEST && etcd.iter().all(|part| !part.steps[0].said.is_empty()), "{etcd:#?}");
    page::hold(section, from, &page::table(&etcd, &vardr, known));
}

/// Whether a program cannot be compared here; says so.
fn is_hindered(what: impl FnOnce() -> Option<String>) -> bool {
    let why = Etcd::hindrance().map(str::to_owned).or_else(what);
    if let Some(why) = &why {
        not_run(why);
    }
    why.is_some()
}

/// Why a file is needed that is not there.
fn missing(path: &Path) -> Option<String> {
    (!path.exists()).then(|| format!("{} is not there: make tools installs it", path.display()))
}

#[test]
fn a_program_in_go_does_as_with_etcd() {
    if is_hindered(no_go) {
        return;
    }
    go_build("go");
    let version = go_version("go", "go.etcd.io/etcd/client/v3");
    let from = format!("Version {version}, the Go module `go.etcd.io/etcd/client/v3`.");
    same("Go: client/v3", &from, &[], |address| {
        let mut command = Command::new(built("go"));
        command.arg(address);
        command
    });
}

/// A program in Python, with a package in an environment of its own.
#[track_caller]
fn same_in_python(section: &str, program: &str, package: &str, environment: &str) {
    let python = installed(environment).join("bin/python");
    if is_hindered(|| missing(&python)) {
        return;
    }
    let version = format!("import importlib.metadata; print(importlib.metadata.version('{package}'))");
    let output = Command::new(&python).args(["-c", &version]).output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    let from = format!("Version {}, from PyPI.", version.trim());
    same(section, &from, &[], |address| {
        let mut command = Command::new(&python);
        command.arg(sources("python").join(program)).arg(address).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    });
}

#[test]
fn a_program_in_python_does_as_with_etcd() {
    same_in_python("Python: aetcd", "jobs.py", "aetcd", "grpc");
}

#[test]
fn a_program_in_python_over_json_does_as_with_etcd() {
    same_in_python("Python: etcd3gw, over JSON", "gateway.py", "etcd3gw", "gateway");
}

#[test]
fn a_program_in_javascript_does_as_with_etcd() {
    let modules = installed("npm/node_modules");
    if is_hindered(|| missing(&modules.join("etcd3"))) {
        return;
    }
    let package = std::fs::read_to_string(modules.join("etcd3/package.json")).unwrap();
    let package: serde_json::Value = serde_json::from_str(&package).unwrap();
    let from = format!("Version {}, from npm.", package["version"].as_str().unwrap());
    same("JavaScript: etcd3", &from, &[], |address| {
        let mut command = Command::new("node");
        command.arg(sources("javascript/jobs.js")).arg(address).env("NODE_PATH", &modules);
        command
    });
}

#[test]
fn a_program_in_rust_does_as_with_etcd() {
    let no_protoc = Command::new("protoc").arg("--version").output().is_err();
    if is_hindered(|| no_protoc.then(|| "protoc is not installed: make tools installs it".to_owned())) {
        return;
    }
    let (source, target) = (sources("rust"), installed("rust"));
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--quiet", "--manifest-path"]).arg(source.join("Cargo.toml"));
    let output = build.arg("--target-dir").arg(&target).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lock = std::fs::read_to_string(source.join("Cargo.lock")).unwrap();
    let version = lock.split("name = \"etcd-client\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    let from = format!("Version {}, the crate `etcd-client`.", version.unwrap());
    same("Rust: etcd-client", &from, &[], |address| {
        let mut command = Command::new(target.join("debug/jobs"));
        command.arg(address);
        command
    });
}

#[test]
fn a_program_in_java_does_as_with_etcd() {
    let libraries = installed("java");
    let version = || {
        let names = std::fs::read_dir(&libraries).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut versions =
            names.filter_map(|name| Some(name.strip_prefix("jetcd-core-")?.strip_suffix(".jar")?.to_owned()));
        versions.next()
    };
    if is_hindered(|| version().is_none().then(|| "jetcd is not there: make tools installs it".to_owned())) {
        return;
    }
    let from = format!("Version {}, `io.etcd:jetcd-core` from Maven.", version().unwrap());
    same("Java: jetcd", &from, &[], |address| {
        let mut command = Command::new("java");
        command.arg("-cp").arg(libraries.join("*")).arg(sources("java/Jobs.java")).arg(address);
        command
    });
}

#[test]
fn versions_of_go_are_compared_by_their_numbers() {
    for (older, newer) in [("go1.9.7", "1.21"), ("go1.19.8", "1.21"), ("go1.25.9", "1.26.0"), ("", "1.21")] {
        assert!(numbers(older) < numbers(newer), "{older} {newer}");
    }
    for (newer, older) in [("go1.21.0", "1.21"), ("go1.26.8", "1.26.0"), ("devel go1.27-af1b X:none", "1.26.0")] {
        assert!(numbers(newer) >= numbers(older), "{newer} {older}");
    }
    assert!(numbers(&asked_of_go()) >= numbers(FETCHING_GO));
}
