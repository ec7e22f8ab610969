//! Real etcd and Vardr side by side, each alone or as three members, started by the same flags.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::LIMIT;
use crate::support::etcd::{Etcd, fast_directory, free_port, is_healthy};
use crate::support::{Server, until_known};

/// A port that was free may be taken by the time that it is used: clients come and go all the time.
const TRIES: usize = 5;
/// What a member is called, alone.
const NAME: &str = "etcd";

/// A server of each kind, new, with nothing in it.
pub(crate) struct Both {
    etcd: Etcd,
    vardr: Server,
    _data: TempDir,
}

impl Both {
    /// Starts both and waits until each says where it is reached.
    pub(crate) fn start() -> Self {
        let etcd = Etcd::with_flags(&["--logger", "zap", "--log-level", "error"]);
        let data = fast_directory();
        let (vardr, address) = (0..TRIES).find_map(|number| launch(&data.path().join(number.to_string()))).unwrap();
        for address in [&etcd.address(), &address] {
            until_known(address);
        }
        Self { etcd, vardr, _data: data }
    }

    /// `127.0.0.1:PORT` of each, etcd's first.
    pub(crate) fn addresses(&self) -> [String; 2] {
        [self.etcd.address(), self.vardr.address().to_owned()]
    }
}

/// Starts Vardr; nothing where one of its ports was taken meanwhile.
fn launch(data_dir: &Path) -> Option<(Server, String)> {
    let address = format!("127.0.0.1:{}", free_port());
    let flags = flags(NAME, &address, &format!("127.0.0.1:{}", free_port()));
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let started = Server::try_start_at(&address, data_dir, &flags);
    started.map_err(|log| println!("the server did not start:\n{log}")).ok().map(|server| (server, address))
}

/// Does the same at both at once; what etcd gave comes first.
pub(crate) fn at_both<T: Send>(addresses: &[String; 2], work: impl Fn(&str, &str) -> T + Sync) -> [T; 2] {
    let [etcd, vardr] = addresses;
    thread::scope(|scope| {
        let left = scope.spawn(|| work(etcd, vardr));
        let right = work(vardr, etcd);
        [left.join().unwrap(), right]
    })
}

/// What both programs take: one member, which is the cluster unless more is said.
fn flags(name: &str, client: &str, peer: &str) -> Vec<String> {
    let [client, peer] = [client, peer].map(|address| format!("http://{address}"));
    let cluster = format!("{name}={peer}");
    [
        ["--name", name],
        ["--advertise-client-urls", &client],
        ["--listen-peer-urls", &peer],
        ["--initial-advertise-peer-urls", &peer],
        ["--initial-cluster", &cluster],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect()
}

/// Three members of each kind.
pub(crate) struct Threes {
    _servers: (Vec<Etcd>, Vec<Server>),
    addresses: [Vec<String>; 2],
    _data: TempDir,
}

impl Threes {
    pub(crate) fn start() -> Self {
        let mut tries = (0..TRIES).map(|_| Self::launch());
        tries.find(Self::answer).expect("three members start")
    }

    fn launch() -> Self {
        let data = fast_directory();
        let members = || (1..=3).map(|number| (format!("n{number}"), free_port(), free_port())).collect::<Vec<_>>();
        let (of_etcd, of_vardr) = (members(), members());
        let cluster = |members: &[(String, u16, u16)]| {
            let urls = members.iter().map(|(name, _, peer)| format!("{name}=http://127.0.0.1:{peer}"));
            urls.collect::<Vec<_>>().join(",")
        };
        let (cluster_of_etcd, cluster_of_vardr) = (cluster(&of_etcd), cluster(&of_vardr));
        let addresses = [&of_etcd, &of_vardr]
            .map(|members| members.iter().map(|(_, client, _)| format!("127.0.0.1:{client}")).collect::<Vec<_>>());
        let etcd = of_etcd.iter().map(|(name, client, peer)| {
            let flags = ["--enable-v2", "--logger", "zap", "--log-level", "error"];
            let flags = [&flags[..], &["--initial-cluster", &cluster_of_etcd]].concat();
            Etcd::launch(name, *client, *peer, &flags)
        });
        let vardr = of_vardr.iter().map(|(name, client, peer)| {
            let address = format!("127.0.0.1:{client}");
            let mut flags = flags(name, &address, &format!("127.0.0.1:{peer}"));
            flags.pop();
            flags.push(cluster_of_vardr.clone());
            Server::begin(&data.path().join(name), &address, flags)
        });
        Self { _servers: (etcd.collect(), vardr.collect()), addresses, _data: data }
    }

    /// Whether all of them come to answer.
    fn answer(&self) -> bool {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if self.addresses.iter().flatten().all(|address| is_healthy(address)) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// `127.0.0.1:PORT` of the members of each kind, etcd's first.
    pub(crate) fn addresses(&self) -> &[Vec<String>; 2] {
        &self.addresses
    }
}
