//! Real etcd beside Vardr: Debian's etcd 3.4, and 3.6 built from its module, on ports that the system gives, with its data in a directory
//! of its own.
//!
//! Where one is not installed, what needs it says so by [`super::volume::not_run`].

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::go;
use super::http::Client;

/// The version of Debian's that Vardr is compared with.
const MINOR: &str = "3.4";
/// The program that is built from the module of a later one.
const LATER: &str = "etcd36";
/// How long a member may take to answer, and to end.
const LIMIT: Duration = Duration::from_secs(30);
/// A port that was free may be taken by the time that it is used.
const TRIES: usize = 5;

/// Which etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// Of Debian's package, 3.4, with the v2 API.
    Debian,
    /// Built from its module, 3.6.
    Later,
}

impl Release {
    /// Why there can be none on this machine. A later one is built first.
    pub(crate) fn hindrance(self) -> Option<&'static str> {
        static FOUND: [OnceLock<Option<String>>; 2] = [OnceLock::new(), OnceLock::new()];
        match self {
            Self::Debian => FOUND[0].get_or_init(no_etcd),
            Self::Later => FOUND[1].get_or_init(|| {
                let hindrance = go::hindrance();
                if hindrance.is_none() {
                    go::build(LATER);
                }
                hindrance
            }),
        }
        .as_deref()
    }

    /// Starts a cluster of one with these flags, and waits until it answers.
    pub(crate) fn start(self, flags: &[&str]) -> Etcd {
        let own: &[&str] = match self {
            Self::Debian => &["--enable-v2"],
            Self::Later => &[],
        };
        let flags = [own, flags].concat();
        for _ in 0..TRIES {
            let mut etcd = self.launch("etcd", free_port(), free_port(), &flags);
            if etcd.answers() {
                return etcd;
            }
        }
        panic!("etcd does not start");
    }

    /// Starts a member with these ports of 127.0.0.1 and more flags, and waits for nothing.
    fn launch(self, name: &str, client: u16, peer: u16, flags: &[&str]) -> Etcd {
        let dir = fast_directory();
        let log = dir.path().join("log");
        let (client_url, peer_url) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let output = File::create(&log).unwrap();
        let mut command = Command::new(self.program());
        command.args(["--name", name, "--data-dir"]).arg(dir.path().join("data"));
        command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
        command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
        if !flags.iter().any(|flag| flag.starts_with("--discovery")) {
            command.args(["--initial-cluster", &format!("{name}={peer_url}")]);
        }
        let child = command
            .args(flags)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Etcd { child, client, log, _dir: dir }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Debian => PathBuf::from("etcd"),
            Self::Later => go::built(LATER),
        }
    }
}

/// A running member; killed when dropped.
pub(crate) struct Etcd {
    child: Child,
    client: u16,
    log: PathBuf,
    _dir: TempDir,
}

impl Etcd {
    /// Why there can be none of Debian's on this machine.
    pub(crate) fn hindrance() -> Option<&'static str> {
        Release::Debian.hindrance()
    }

    /// Starts a cluster of one of Debian's with the v2 API, and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::with_flags(&[])
    }

    /// The same with more flags.
    pub(crate) fn with_flags(flags: &[&str]) -> Self {
        Release::Debian.start(flags)
    }

    /// Starts a member of Debian's with these ports of 127.0.0.1 and more flags, and waits for nothing.
    pub(crate) fn launch(name: &str, client: u16, peer: u16, flags: &[&str]) -> Self {
        Release::Debian.launch(name, client, peer, flags)
    }

    /// Whether the member comes to answer reads through its log; not where it ends before.
    pub(crate) fn answers(&mut self) -> bool {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            if is_healthy(&self.address()) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// `127.0.0.1:PORT` of its clients.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(crate) fn http(&self) -> Client {
        Client::new(&self.address())
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the member to end by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "etcd did not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Why etcd cannot be compared with here: it is not there, or answers as another minor version does.
fn no_etcd() -> Option<String> {
    let Ok(output) = Command::new("etcd").arg("--version").output() else {
        return Some("etcd is not installed".to_owned());
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.lines().find_map(|line| line.strip_prefix("etcd Version: ")).unwrap_or("of no known version");
    let is_meant = version.strip_prefix(MINOR).is_some_and(|patch| patch.starts_with('.'));
    (!is_meant).then(|| format!("etcd {version} is not {MINOR}"))
}

/// Why there is no `etcdctl` on this machine, if there is none.
pub(crate) fn no_etcdctl() -> Option<&'static str> {
    Command::new("etcdctl").arg("--version").output().is_err().then_some("etcdctl is not installed")
}

/// Whether a member of etcd's or of Vardr's answers, and that it can be written to.
pub(crate) fn is_healthy(address: &str) -> bool {
    TcpStream::connect(address).is_ok() && Client::new(address).get("/health").text().contains("\"true\"")
}

/// What the members of a suite may take in memory: each has some segments of 64 MiB.
const ROOM_BYTES: u64 = 4 << 30;

/// A directory in memory where there is room for it: nobody asks etcd to keep what it is told.
pub(crate) fn fast_directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory).is_ok_and(|stat| stat.f_bavail * stat.f_frsize >= ROOM_BYTES);
    if has_room { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// A port of 127.0.0.1 that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
