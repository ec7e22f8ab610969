//! Servers side by side: members of etcd's, each with a member under test beside it, with its data where that one's is.

use tempfile::TempDir;

use super::Server;
use super::etcd::{Etcd, fast_directory};

/// A member under test.
pub(crate) struct Tested {
    server: Server,
    _data: TempDir,
}

impl Tested {
    /// Starts one at an address, `127.0.0.1:PORT`, with an empty data directory and more flags.
    pub(crate) fn start(address: &str, flags: &[&str]) -> Self {
        let data = fast_directory();
        let server = Server::try_start_at(address, &data.path().join("vardr"), flags);
        Self { server: server.unwrap_or_else(|log| panic!("the server did not start:\n{log}")), _data: data }
    }
}

/// So many references, each with a member under test beside it.
pub(crate) struct Bench {
    servers: Vec<(Etcd, Tested)>,
}

impl Bench {
    pub(crate) fn start(lanes: usize, reference: impl Fn() -> Etcd, tested: impl Fn() -> Tested) -> Self {
        Self { servers: (0..lanes).map(|_| (reference(), tested())).collect() }
    }

    /// What is made of the addresses of each two, the reference's first.
    pub(crate) fn pairs<P>(&self, pair: impl Fn(&str, &str) -> P) -> Vec<P> {
        self.servers.iter().map(|(etcd, tested)| pair(&etcd.address(), tested.server.address())).collect()
    }
}
