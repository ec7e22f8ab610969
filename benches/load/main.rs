//! `make bench`: Vardr beside real etcd and a bare axum echo, in one run, with one load generator.
//!
//! Every system runs with its data on the same disk. Each row is run several times, the systems taking turns, and the
//! medians are compared; a missed bound makes the exit code 1. The table goes to standard output and to
//! `target/bench.md`. It measures what a client sees and looks into no server.

mod calls;
mod catchup;
mod connection;
mod drive;
mod echo;
mod fanout;
mod heartbeats;
mod histogram;
mod report;
mod requests;
mod size;
mod streams;
mod systems;
mod unary;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result};
use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};

use catchup::catch_up;
use drive::{Times, drive, fill};
use fanout::fan_out;
use heartbeats::heartbeats;
use report::{Bounds, Report};
use requests::{DIRECTORY, Face, KEYS, Operation, directory};
use streams::{Crowd, deliver};
use systems::{Server, System};

/// What to measure, and how long.
#[derive(Parser)]
struct Options {
    /// Short runs, once each, and fewer keys: rough figures, quickly.
    #[arg(long)]
    quick: bool,
    /// Only these systems: `vardr`, `etcd`, `echo`.
    #[arg(long, value_delimiter = ',')]
    systems: Vec<String>,
    /// Only these parts: `put`, `get`, `prefix`, `cluster`, `watch`, `services`, `size`.
    #[arg(long, value_delimiter = ',')]
    parts: Vec<String>,
    /// Be the echo server at this address.
    #[arg(long)]
    echo: Option<SocketAddr>,
    /// What `cargo bench` says to every benchmark.
    #[arg(long)]
    bench: bool,
}

/// The size of a run.
struct Scale {
    times: Times,
    /// A row is run in so many rounds, in each of which every system has its turn: the machine may be another one by the next.
    rounds: usize,
    /// How often a member comes back.
    returns: usize,
    /// The changes that are told to a thousand watchers and more; one is told a thousand.
    events: u64,
    /// Those who watch over gRPC.
    crowd: Crowd,
    /// How long heartbeats are counted.
    beating: Duration,
    starts: usize,
    keys: u64,
    /// The writes that a member misses before it comes back.
    missed: u64,
    /// The process ends itself, and with it its servers, after this time.
    limit: Duration,
}

impl Scale {
    fn new(quick: bool) -> Self {
        let seconds = Duration::from_secs_f64;
        let (full, short) = (
            Self {
                times: Times { warm_up: seconds(0.5), counted: seconds(1.5) },
                rounds: 9,
                returns: 3,
                events: 25,
                crowd: Crowd { streams: 100, watchers_each: 100, events: 1000 },
                beating: seconds(12.0),
                starts: 5,
                keys: 1_000_000,
                missed: 100_000,
                limit: seconds(45.0 * 60.0),
            },
            Self {
                times: Times { warm_up: seconds(0.3), counted: seconds(1.2) },
                rounds: 1,
                returns: 1,
                events: 5,
                crowd: Crowd { streams: 10, watchers_each: 100, events: 200 },
                beating: seconds(4.0),
                starts: 2,
                keys: 100_000,
                missed: 20_000,
                limit: seconds(10.0 * 60.0),
            },
        );
        if quick { short } else { full }
    }
}

/// The members of each cluster that is measured.
const MEMBERS: usize = 3;

struct Bench {
    options: Options,
    scale: Scale,
    report: Report,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    raise_file_limit()?;
    if let Some(address) = options.echo {
        echo::serve(address)?;
        return Ok(ExitCode::SUCCESS);
    }
    let scale = Scale::new(options.quick);
    let limit = scale.limit;
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("not done after {} minutes", limit.as_secs() / 60);
        std::process::exit(2);
    });
    let mut bench = Bench { options, scale, report: Report::default() };
    bench.run()?;
    bench.finish()
}

impl Bench {
    fn run(&mut self) -> Result<()> {
        if ["put", "get", "prefix"].iter().any(|part| self.wants(part)) {
            self.throughput()?;
        }
        if self.wants("cluster") {
            self.cluster()?;
        }
        if self.wants("watch") {
            self.watch()?;
            self.streams()?;
        }
        if self.wants("services") {
            self.services()?;
        }
        if self.wants("size") {
            self.size()?;
        }
        Ok(())
    }

    fn throughput(&mut self) -> Result<()> {
        let systems = System::ALL.into_iter().filter(|system| self.measures(*system));
        let servers = systems.map(Server::start).collect::<Result<Vec<_>>>()?;
        for face in Face::COLUMNS.into_iter().filter(|face| self.measures(face.system())) {
            fill(face, server(&servers, face)?.address, DIRECTORY, KEYS)?;
        }
        for connections in [1, 64, 256] {
            if self.wants("put") {
                self.row(Operation::Put, connections, put_bounds(connections), &Face::COLUMNS, &servers)?;
            }
        }
        for connections in [1, 64, 256] {
            if self.wants("get") {
                self.row(Operation::Get, connections, get_bounds(connections), &Face::COLUMNS, &servers)?;
            }
        }
        // The same clients and requests on both sides.
        let v2 = [Face::VardrV2, Face::EtcdV2];
        let bounds = |etcd_v2| Bounds { etcd_v2: Some(etcd_v2), ..Bounds::default() };
        let v3 = [Face::VardrV3, Face::EtcdV3];
        let v3_bounds = |etcd_v3| Bounds { etcd_v3: Some(etcd_v3), ..Bounds::default() };
        let grpc = [Face::VardrGrpc, Face::EchoGrpc, Face::EtcdGrpc];
        let grpc_bounds = |echo, etcd_v3| Bounds { echo: Some(echo), etcd_v3: Some(etcd_v3), ..Bounds::default() };
        if self.wants("put") {
            self.row(Operation::Put, 64, bounds(1.8), &v2, &servers)?;
            self.row(Operation::Put, 64, v3_bounds(3.0), &v3, &servers)?;
            self.row(Operation::Put, 64, grpc_bounds(0.38, 1.5), &grpc, &servers)?;
        }
        if self.wants("get") {
            self.row(Operation::Get, 64, bounds(2.0), &v2, &servers)?;
            self.row(Operation::Get, 64, v3_bounds(5.0), &v3, &servers)?;
            self.row(Operation::Get, 64, grpc_bounds(0.55, 3.0), &grpc, &servers)?;
        }
        for keys in [10, 100, 1000] {
            if self.wants("prefix") {
                let faces = [Face::Vardr, Face::EtcdV3];
                for face in faces.into_iter().filter(|face| self.measures(face.system())) {
                    fill(face, server(&servers, face)?.address, &directory(keys), keys)?;
                }
                self.row(Operation::Prefix(keys), 64, Bounds::default(), &faces, &servers)?;
            }
        }
        Ok(())
    }

    /// Runs one row on every face in turn, round after round.
    fn row(
        &mut self,
        operation: Operation,
        connections: usize,
        bounds: Bounds,
        faces: &[Face],
        servers: &[Server],
    ) -> Result<()> {
        let faces = faces.iter().copied().filter(|face| self.measures(face.system()));
        let mut found: Vec<_> = faces.map(|face| (face, Vec::new())).collect();
        for _ in 0..self.scale.rounds {
            for (face, runs) in &mut found {
                let members = servers.iter().filter(|server| server.system == face.system());
                let addresses: Vec<_> = members.map(|server| server.address).collect();
                runs.push(drive(*face, &addresses, operation, connections, self.scale.times)?);
            }
        }
        let members = servers.iter().filter(|server| server.system == System::Vardr).count();
        self.report.throughput(operation, members, connections, bounds, &found);
        Ok(())
    }

    /// Three members of each system on this machine, with the connections spread over them.
    fn cluster(&mut self) -> Result<()> {
        let faces = [Face::Vardr, Face::EtcdV2, Face::EtcdV3];
        let systems = [System::Vardr, System::Etcd].into_iter().filter(|system| self.measures(*system));
        let clusters = systems.map(|system| Server::start_cluster(system, MEMBERS)).collect::<Result<Vec<_>>>()?;
        let servers: Vec<_> = clusters.into_iter().flatten().collect();
        for face in faces.into_iter().filter(|face| self.measures(face.system())) {
            fill(face, server(&servers, face)?.address, DIRECTORY, KEYS)?;
        }
        let bounds = |etcd_v3| Bounds { etcd_v3: Some(etcd_v3), ..Bounds::default() };
        self.row(Operation::Put, 64, bounds(3.0), &faces, &servers)?;
        self.row(Operation::Get, 64, bounds(4.0), &faces, &servers)?;
        drop(servers);
        self.catch_up()
    }

    /// A member of Vardr that comes back; of several runs the one that held the writes up most.
    fn catch_up(&mut self) -> Result<()> {
        if !self.measures(System::Vardr) {
            return Ok(());
        }
        let mut runs = Vec::new();
        for _ in 0..self.scale.returns {
            runs.push(catch_up(&mut Server::start_cluster(System::Vardr, MEMBERS)?, self.scale.missed)?);
        }
        let worst = runs.iter().min_by(|one, other| one.share().total_cmp(&other.share()));
        self.report.catch_up(MEMBERS, worst.context("it was never run")?);
        Ok(())
    }

    fn watch(&mut self) -> Result<()> {
        for watchers in [1, 1_000, report::BOUND_WATCHERS] {
            let mut found = Vec::new();
            let events = if watchers == 1 { 1000 } else { self.scale.events };
            for face in [Face::Vardr, Face::EtcdV2].into_iter().filter(|face| self.measures(face.system())) {
                let server = Server::start(face.system())?;
                found.push((face, fan_out(face, &server, watchers, events)?));
            }
            self.report.fan_out(watchers, &found);
        }
        Ok(())
    }

    /// Run once: a run is millions of events, and what is compared is their sum.
    fn streams(&mut self) -> Result<()> {
        let mut found = Vec::new();
        for face in [Face::VardrGrpc, Face::EtcdGrpc].into_iter().filter(|face| self.measures(face.system())) {
            found.push((face, deliver(&Server::start(face.system())?, self.scale.crowd)?));
        }
        self.report.streams(self.scale.crowd, &found);
        Ok(())
    }

    fn services(&mut self) -> Result<()> {
        if self.measures(System::Vardr) {
            let found = heartbeats(&Server::start(System::Vardr)?, self.scale.beating)?;
            self.report.heartbeats(&found);
        }
        Ok(())
    }

    fn size(&mut self) -> Result<()> {
        let faces = [Face::Vardr, Face::EtcdV3].into_iter().filter(|face| self.measures(face.system()));
        let faces: Vec<_> = faces.collect();
        let (starts, keys) = (self.scale.starts, self.scale.keys);
        let empty = faces.iter().map(|face| Ok((*face, size::empty(face.system(), starts)?)));
        self.report.empty(&empty.collect::<Result<Vec<_>>>()?);
        let full = faces.iter().map(|face| Ok((*face, size::full(*face, keys)?)));
        self.report.full(keys, &full.collect::<Result<Vec<_>>>()?);
        Ok(())
    }

    fn finish(self) -> Result<ExitCode> {
        let cores = thread::available_parallelism()?;
        let times = self.scale.times.counted.as_secs_f64();
        let about = format!(
            "256-byte values, {cores} cores, load generator included; rates and latencies in rounds in which every system has {times} s: the medians of {} rounds, and of what each round's ratios were.",
            self.scale.rounds
        );
        let table = self.report.markdown(&about);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench.md");
        fs::write(&path, &table).with_context(|| format!("cannot write {}", path.display()))?;
        println!("\n{table}");
        Ok(if self.report.all_held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn wants(&self, part: &str) -> bool {
        self.options.parts.is_empty() || self.options.parts.iter().any(|wanted| wanted == part)
    }

    fn measures(&self, system: System) -> bool {
        self.options.systems.is_empty() || self.options.systems.iter().any(|wanted| wanted == system.name())
    }
}

fn put_bounds(connections: usize) -> Bounds {
    match connections {
        64 => Bounds { echo: Some(0.35), etcd_v2: Some(1.8), etcd_v3: Some(3.4) },
        256 => Bounds { echo: Some(0.42), etcd_v2: Some(2.0), etcd_v3: Some(3.5) },
        _ => Bounds::default(),
    }
}

/// On one connection a request costs the way there and back and nothing can be shared: only its p99 is held.
fn get_bounds(connections: usize) -> Bounds {
    match connections {
        1 => Bounds::default(),
        _ => Bounds { echo: Some(0.6), etcd_v2: Some(2.0), etcd_v3: Some(6.0) },
    }
}

fn server(servers: &[Server], face: Face) -> Result<&Server> {
    servers.iter().find(|server| server.system == face.system()).context("the system was not started")
}

/// Ten thousand watchers are ten thousand files, here and in the servers, which inherit the limit.
fn raise_file_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
