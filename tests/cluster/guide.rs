//! The guide to clusters, `docs/cluster.md`, does what it says when its commands are pasted.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::MACHINE;
use crate::cluster::directory;

/// The addresses of the guide, which another run of this test on the same machine has, too.
const ADDRESSES: [&str; 5] = ["127.0.0.21", "127.0.0.22", "127.0.0.23", "127.0.0.24", "127.0.0.25"];

#[test]
fn the_commands_of_the_guide_to_clusters_work_one_after_the_other() {
    let _alone = MACHINE.blocking_write();
    let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cluster.md")).unwrap();
    let blocks: Vec<_> = guide.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n")).collect();
    assert!(blocks.len() >= 5, "only {} blocks found", blocks.len());
    let deadline = Instant::now() + Duration::from_mins(1);
    for address in ADDRESSES {
        while TcpListener::bind((address, 2380)).is_err() {
            assert!(Instant::now() < deadline, "{address} is in use");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let directory = directory();
    // Whoever pastes is slower than members are in telling each other their names.
    let named =
        "until vardr member list >names && ! grep -qE '^[0-9a-f]+ +(leader|follower)' names; do sleep 0.1; done";
    // What runs in the background ends with the script, and the shell waits for it.
    let commands = blocks.join(&format!("\n{named}\n"));
    let script = format!("trap 'kill -9 $(jobs -p) 2>/dev/null; wait' EXIT\n{commands}");
    let binary = Path::new(env!("CARGO_BIN_EXE_vardr")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &script]).current_dir(directory.path()).env("PATH", path);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}\n{said}");
    for expected in
        ["ready", "added member", "promoted n4", "n2 leads", "removed n1", "removed from the cluster", "yes"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
