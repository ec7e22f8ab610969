//! A real server for tests: the binary of this build, on a free port, with its data in a directory of its own.
//!
//! Several test programs share this; each uses only a part.
#![expect(dead_code, reason = "each test program uses its own part")]

pub(crate) mod bench;

pub(crate) mod coverage;

pub(crate) mod etcd;

pub(crate) mod examples;

pub(crate) mod finish;

pub(crate) mod go;

pub(crate) mod sse;

pub(crate) mod http;

pub(crate) mod seeds;

pub(crate) mod shrink;

pub(crate) mod volume;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to say that it is ready.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    address: String,
    data_dir: PathBuf,
    flags: Vec<String>,
    /// What it printed so far, both outputs.
    log: Arc<Mutex<String>>,
    dir: Option<TempDir>,
}

impl Server {
    /// Starts a server with an empty data directory.
    pub(crate) fn start() -> Self {
        Self::with_flags(&[])
    }

    /// Starts a server with an empty data directory and more flags.
    pub(crate) fn with_flags(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let mut server = Self::launch(&dir.path().join("data"), "127.0.0.1:0", flags).unwrap_or_else(|log| {
            panic!("the server did not start:\n{log}");
        });
        server.dir = Some(dir);
        server
    }

    /// Starts a server on an existing data directory; the error is what it printed before it gave up.
    pub(crate) fn try_start_in(data_dir: &Path, flags: &[&str]) -> Result<Self, String> {
        Self::launch(data_dir, "127.0.0.1:0", flags.iter().map(|&flag| flag.to_owned()).collect())
    }

    /// The same at an address of the caller's, `127.0.0.1:PORT`.
    pub(crate) fn try_start_at(address: &str, data_dir: &Path, flags: &[&str]) -> Result<Self, String> {
        Self::launch(data_dir, address, flags.iter().map(|&flag| flag.to_owned()).collect())
    }

    /// Starts a server that is not waited for, as it may never be ready. It has no address.
    pub(crate) fn begin(data_dir: &Path, address: &str, flags: Vec<String>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vardr"))
            .arg("--data-dir")
            .arg(data_dir)
            .arg("--listen-client-urls")
            .arg(format!("http://{address}"))
            .args(&flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().unwrap(), Arc::clone(&log));
        collect(child.stderr.take().unwrap(), Arc::clone(&log));
        Self { child, address: String::new(), data_dir: data_dir.to_owned(), flags, log, dir: None }
    }

    fn launch(data_dir: &Path, address: &str, flags: Vec<String>) -> Result<Self, String> {
        let mut server = Self::begin(data_dir, address, flags);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let printed = server.log();
            if let Some(address) = announced(&printed) {
                server.address = address;
                return Ok(server);
            }
            if server.has_ended() || Instant::now() > deadline {
                server.kill();
                // The readers may be a moment behind the end of the process.
                thread::sleep(Duration::from_millis(50));
                return Err(server.log());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server has printed so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// `kill -9`, as in a crash.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and what the server exits with.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let status = Command::new("kill").arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
        self.wait(Duration::from_secs(20))
    }

    /// Whether the process is no more.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the server to end by itself.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server did not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the server anew on the same data and the same port.
    pub(crate) fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let again = Self::launch(&self.data_dir, &self.address, self.flags.clone());
        let mut again = again.unwrap_or_else(|log| panic!("the server did not start again:\n{log}"));
        again.dir = self.dir.take();
        *self = again;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(output: impl std::io::Read + Send + 'static, log: Arc<Mutex<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// The address in the line that a server prints when it is ready.
fn announced(printed: &str) -> Option<String> {
    let line = printed.lines().find(|line| line.starts_with("Vardr serves http://"))?;
    let rest = line.strip_prefix("Vardr serves http://")?;
    Some(rest.split('/').next()?.to_owned())
}

/// Looks until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + START_LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a member says where it is reached, which it does a moment after it has begun to serve.
pub(crate) fn until_known(address: &str) {
    let client = http::Client::new(address);
    let url = format!("\"http://{address}\"");
    let what = format!("{address} does not say where it is reached");
    until(&what, || client.get("/v2/members").text().contains(&url));
}

/// Runs the binary of this build to its end.
pub(crate) fn vardr(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vardr")).args(arguments).output().unwrap()
}

/// The arguments of a command line; `'…'` is one.
pub(crate) fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            _ => vec![part.to_owned()],
        })
        .collect()
}
