//! The servers under measurement: how each is started, watched and stopped, each with its data on the same disk.
//!
//! A server is started through `setpriv --pdeathsig KILL`, so that it cannot outlive this process; no other process
//! is ever signalled.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::connection::Connection;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Echo,
    Vardr,
    Etcd,
}

impl System {
    pub(crate) const ALL: [Self; 3] = [Self::Echo, Self::Vardr, Self::Etcd];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Vardr => "vardr",
            Self::Etcd => "etcd",
        }
    }

    /// A path that answers 200 once the server takes requests.
    fn ready_path(self) -> &'static str {
        match self {
            Self::Echo => "/",
            Self::Vardr => "/readyz",
            Self::Etcd => "/health",
        }
    }

    fn command(self, address: SocketAddr, place: &Place, data: &Path) -> Result<Command> {
        let client = format!("http://{address}");
        let program = match self {
            Self::Echo => std::env::current_exe()?,
            Self::Vardr => PathBuf::from(env!("CARGO_BIN_EXE_vardr")),
            Self::Etcd => PathBuf::from("etcd"),
        };
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        if self == Self::Echo {
            command.args(["--echo", &address.to_string()]);
            return Ok(command);
        }
        command.arg("--data-dir").arg(data);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        if self == Self::Etcd {
            command.args(["--enable-v2", "--logger", "zap", "--log-level", "error"]);
        }
        if self == Self::Etcd || place.peers.len() > 1 {
            let peer = format!("http://{}", place.own()?);
            command.args(["--name", &format!("n{}", place.number)]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &place.members()]);
        }
        Ok(command)
    }
}

/// Which member of a cluster a server is.
#[derive(Clone)]
struct Place {
    /// Where the members reach each other.
    peers: Vec<SocketAddr>,
    number: usize,
}

impl Place {
    fn own(&self) -> Result<SocketAddr> {
        self.peers.get(self.number).copied().context("a member that is not in the cluster")
    }

    /// As `--initial-cluster` takes them.
    fn members(&self) -> String {
        let members = self.peers.iter().enumerate().map(|(number, peer)| format!("n{number}=http://{peer}"));
        members.collect::<Vec<_>>().join(",")
    }
}

/// A server that runs. It is killed, and its data removed, when this goes.
pub(crate) struct Server {
    pub(crate) system: System,
    pub(crate) address: SocketAddr,
    place: Place,
    data: PathBuf,
    child: Child,
}

impl Server {
    /// Starts the system with no data and waits until it is ready.
    pub(crate) fn start(system: System) -> Result<Self> {
        Self::start_cluster(system, 1)?.pop().context("no server was started")
    }

    /// Starts so many members of one cluster with no data and waits until all are ready.
    pub(crate) fn start_cluster(system: System, size: usize) -> Result<Vec<Self>> {
        let peers = (0..size).map(|_| free_address()).collect::<Result<Vec<_>>>()?;
        let place = |number| Place { peers: peers.clone(), number };
        let mut servers = (0..size).map(|number| Self::spawn(system, place(number))).collect::<Result<Vec<_>>>()?;
        for server in &mut servers {
            server.wait_ready()?;
        }
        Ok(servers)
    }

    fn spawn(system: System, place: Place) -> Result<Self> {
        let address = free_address()?;
        let data = data_folder()?.join(format!("{}-{}", system.name(), address.port()));
        let child = spawn(system, address, &place, &data)?;
        Ok(Self { system, address, place, data, child })
    }

    /// Stops the server as `how` says, starts it over the same data and answers how long it took until it was ready.
    pub(crate) fn restart(&mut self, how: Signal) -> Result<Duration> {
        self.stop(how)?;
        let started = Instant::now();
        self.start_again()?;
        self.wait_ready()?;
        Ok(started.elapsed())
    }

    /// Starts the server over the data that it stopped with, and does not wait for it.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.child = spawn(self.system, self.address, &self.place, &self.data)?;
        Ok(())
    }

    /// The resident memory of the server in bytes (`VmRSS`, which the kernel gives in KiB).
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// The processor time that the server has used so far, of all its threads (fields 14 and 15 of `/proc/PID/stat`).
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name of the program, in parentheses, may have spaces.
        let (_, fields) = stat.rsplit_once(')').context("no stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
    }

    /// The resident memory once it has not moved by more than a hundredth for two seconds, waiting half a minute at most.
    pub(crate) fn settled_bytes(&self) -> Result<u64> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut before = self.resident_bytes()?;
        loop {
            sleep(Duration::from_secs(2));
            let after = self.resident_bytes()?;
            if after.abs_diff(before) * 100 <= before || Instant::now() > deadline {
                return Ok(after);
            }
            before = after;
        }
    }

    /// Stops the server as `how` says and waits until it has ended.
    pub(crate) fn stop(&mut self, how: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process without an id")?;
        kill_process(pid, how)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "{} does not end", self.system.name());
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_mins(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", self.system.ready_path(), self.address);
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: see {}", self.system.name(), log_path(&self.data).display());
            }
            let answer = runtime.block_on(async {
                let asked = async { Connection::open(self.address).await?.exchange(request.as_bytes()).await };
                tokio::time::timeout(Duration::from_secs(1), asked).await
            });
            if matches!(answer, Ok(Ok(200))) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} is not ready after a minute", self.system.name());
            sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.data);
    }
}

fn spawn(system: System, address: SocketAddr, place: &Place, data: &Path) -> Result<Child> {
    let log = File::create(log_path(data))?;
    let mut command = system.command(address, place, data)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("cannot start {}", system.name()))
}

/// Where the output of the last server of this system is kept.
fn log_path(data: &Path) -> PathBuf {
    let name = data.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    data.with_file_name(name.split('-').next().unwrap_or(name)).with_extension("log")
}

/// Where all data goes: beside what was built, and never in memory, where a sync costs nothing.
fn data_folder() -> Result<PathBuf> {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("load");
    fs::create_dir_all(&folder)?;
    let kind = rustix::fs::statfs(&folder)?.f_type;
    ensure!(kind != TMPFS_MAGIC, "{} is in memory: a sync would cost nothing", folder.display());
    Ok(folder)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
