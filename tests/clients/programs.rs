//! Programs that use a client library, each of its own language and in a folder of its own. Each takes the address of a server, does
//! what the library offers, and prints a heading for each feature and what it got: `== feature: what is called`.
//!
//! `scripts/tools` installs the libraries. What a machine lacks leaves the section of the page as it is.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::both::{Both, at_both};
use crate::said::{Known, Part, Step, ended, neutral};
use crate::support::etcd::Etcd;
use crate::support::finish::{finish, finish_within};
use crate::support::go;
use crate::support::volume::not_run;
use crate::{LIMIT, page};

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
    if is_hindered(go::hindrance) {
        return;
    }
    go::build("go");
    let version = go::version("go", "go.etcd.io/etcd/client/v3");
    let from = format!("Version {version}, the Go module `go.etcd.io/etcd/client/v3`.");
    same("Go: client/v3", &from, &[], |address| {
        let mut command = Command::new(go::built("go"));
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
    let numbers = go::numbers;
    for (older, newer) in [("go1.9.7", "1.21"), ("go1.19.8", "1.21"), ("go1.25.9", "1.26.0"), ("", "1.21")] {
        assert!(numbers(older) < numbers(newer), "{older} {newer}");
    }
    for (newer, older) in [("go1.21.0", "1.21"), ("go1.26.8", "1.26.0"), ("devel go1.27-af1b X:none", "1.26.0")] {
        assert!(numbers(newer) >= numbers(older), "{newer} {older}");
    }
    assert!(numbers(&go::asked()) >= numbers(go::FETCHING));
}

#[test]
fn a_command_that_goes_on_is_killed_with_what_it_started_and_one_that_ends_is_not() {
    let run = |limit, script| {
        let output = finish_within(limit, Command::new("sh").args(["-c", script]), "told\n").unwrap();
        ended(&output)
    };
    assert_eq!(run(LIMIT, "cat; echo said >&2; exit 3"), "told\nsaid\nexit status: 3\n");
    assert_eq!(run(Duration::from_millis(200), "echo begun; sleep 100 & wait"), "begun\nsignal: 9 (SIGKILL)\n");
}
