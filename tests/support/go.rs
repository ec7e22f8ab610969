//! Programs in Go, each a module in a folder of its own with the sums of all that it requires. They are built into `target/clients/bin`.
//!
//! `scripts/tools` builds them, too, and decides alike whether they can be built.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::finish::finish_within;

/// The folders of the modules, each of which makes a program of its name.
const FOLDERS: [&str; 3] = ["tests/clients/etcdctl", "tests/clients/go", "tests/support/etcd36"];
/// From which version on Go fetches others.
pub(crate) const FETCHING: &str = "1.21";
/// How long a build may take: the first one fetches what a module requires, and compiles all of it.
const LIMIT: Duration = Duration::from_mins(10);

/// Where the module of a program stands.
fn folder(program: &str) -> PathBuf {
    let of_program = |folder: &&&str| folder.rsplit('/').next() == Some(program);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDERS.iter().find(of_program).expect("a folder of this name"))
}

/// What [`build`] makes.
pub(crate) fn built(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/bin").join(program)
}

/// Why programs in Go cannot be built here, if they cannot. From 1.21 on Go fetches the version that a module asks for, unless it is told
/// to be the one that it is.
pub(crate) fn hindrance() -> Option<String> {
    let env = |name: &str| {
        let output = Command::new("go").args(["env", name]).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(version) = env("GOVERSION") else { return Some("Go is not installed".to_owned()) };
    let is_local = env("GOTOOLCHAIN").is_some_and(|toolchain| toolchain == "local");
    let asked = if is_local { asked() } else { FETCHING.to_owned() };
    (numbers(&version) < numbers(&asked)).then(|| format!("{version} is older than {asked}"))
}

/// The version of Go that our modules ask for.
pub(crate) fn asked() -> String {
    let asked = FOLDERS.map(|folder| {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("go.mod");
        let module = std::fs::read_to_string(module).unwrap();
        module.lines().find_map(|line| line.strip_prefix("go ")).unwrap().to_owned()
    });
    asked.into_iter().max_by_key(|version| numbers(version)).unwrap()
}

/// The numbers of a version of Go, with its name before them or without.
pub(crate) fn numbers(version: &str) -> Vec<u32> {
    let version = version.split_once("go").map_or(version, |(_, version)| version);
    let number = |part: &str| part.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok();
    version.split('.').map_while(number).collect()
}

/// Builds a program, with what its `go.sum` names and nothing else. Says so where it is not there yet, for that takes its time.
pub(crate) fn build(program: &str) {
    if !built(program).exists() {
        // Past the test's own output, which is shown at its end.
        let _ = writeln!(std::io::stderr(), "building target/clients/bin/{program} from Go modules, once");
    }
    let mut command = Command::new("go");
    command.args(["build", "-mod=readonly", "-buildvcs=false", "-o"]).arg(built(program)).arg(".");
    let output = finish_within(LIMIT, command.current_dir(folder(program)), "").unwrap();
    assert!(output.status.success(), "{program}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// The version of a module that a program requires.
pub(crate) fn version(program: &str, module: &str) -> String {
    let requires = std::fs::read_to_string(folder(program).join("go.mod")).unwrap();
    let line = requires.lines().find_map(|line| line.trim().trim_start_matches("require ").strip_prefix(module));
    line.unwrap().trim().trim_start_matches('v').to_owned()
}
