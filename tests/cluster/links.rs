//! The network between members: a proxy in front of each, that knows who calls by the first words of a connection, and
//! can hold up, slow down or cut what one member sends to another, each way by itself.
//!
//! Bytes are never changed or dropped within a connection: TCP would not do so either.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// `VARDRPEER`, the version, the length and the checksum of the first frame: then comes what kind of greeting it is.
const BEFORE_KIND: usize = 9 + 1 + 8;
/// Somebody says hello. Other greetings are of callers without an id.
const HELLO: u8 = 0;
/// With the kind and the cluster's id: then comes who calls.
const BEFORE_FROM: usize = BEFORE_KIND + 1 + 8;
/// With who calls.
const OPENING: usize = BEFORE_FROM + 8;
const OPENING_LIMIT: Duration = Duration::from_secs(10);

/// What the way from one member to another is like. It is one way: a member sends on connections that it dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Road {
    /// Nothing gets through. What is under way waits, and arrives late when the road opens again.
    pub(crate) cut: bool,
    /// How long each piece takes.
    pub(crate) latency: Duration,
    pub(crate) bytes_per_second: Option<u32>,
}

/// All ways between the members.
pub(crate) struct Links {
    shared: Arc<Shared>,
}

struct Shared {
    /// The members by their ids, as they call themselves.
    members: BTreeMap<u64, usize>,
    /// By who sends and who receives.
    roads: BTreeMap<(usize, usize), watch::Sender<Road>>,
    /// For callers that are no members.
    strangers: watch::Sender<Road>,
}

impl Links {
    /// Ways between members with these ids, all open.
    pub(crate) fn new(ids: &[u64]) -> Self {
        let places = || 0..ids.len();
        let pairs = places().flat_map(|from| places().map(move |to| (from, to)));
        let roads = pairs.map(|pair| (pair, watch::Sender::new(Road::default()))).collect();
        let members = ids.iter().copied().zip(0..).collect();
        Self { shared: Arc::new(Shared { members, roads, strangers: watch::Sender::default() }) }
    }

    /// Stands in front of a member, until the runtime ends.
    pub(crate) fn guard(&self, to: usize, listener: TcpListener, target: SocketAddr) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // A connection that ends in an error just ends.
                tokio::spawn(async move { drop(shared.carry(stream, to, target).await) });
            }
        });
    }

    pub(crate) fn set(&self, from: usize, to: usize, road: Road) {
        self.shared.roads[&(from, to)].send_replace(road);
    }

    /// Makes all ways alike.
    pub(crate) fn set_all(&self, road: Road) {
        for sender in self.shared.roads.values() {
            sender.send_replace(road);
        }
    }
}

impl Shared {
    async fn carry(&self, mut stream: TcpStream, to: usize, target: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let opening = timeout(OPENING_LIMIT, read_opening(&mut stream)).await??;
        let mut road = self.road(&opening, to).subscribe();
        if road.borrow().cut {
            // As to a network that is gone, the caller gets no answer, and this call none later.
            let _ = road.wait_for(|road| !road.cut).await;
            return Ok(());
        }
        let mut onward = TcpStream::connect(target).await?;
        onward.set_nodelay(true)?;
        onward.write_all(&opening).await?;
        let ((from_caller, to_caller), (from_member, to_member)) = (stream.into_split(), onward.into_split());
        tokio::try_join!(pump(from_caller, to_member, road.clone()), pump(from_member, to_caller, road))?;
        Ok(())
    }

    fn road(&self, opening: &[u8], to: usize) -> &watch::Sender<Road> {
        let from = opening.get(BEFORE_FROM..).map(|from| u64::from_le_bytes(from.try_into().unwrap()));
        let from = from.and_then(|from| self.members.get(&from));
        from.and_then(|from| self.roads.get(&(*from, to))).unwrap_or(&self.strangers)
    }
}

/// The first words of a connection, as far as they say who calls.
async fn read_opening(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut opening = vec![0; BEFORE_KIND + 1];
    stream.read_exact(&mut opening).await?;
    if opening[BEFORE_KIND] == HELLO {
        opening.resize(OPENING, 0);
        stream.read_exact(&mut opening[BEFORE_KIND + 1..]).await?;
    }
    Ok(opening)
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut road: watch::Receiver<Road>) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut piece).await?;
        let Road { latency, bytes_per_second, .. } = *road.borrow();
        let pace = bytes_per_second.map(|bytes| Duration::from_secs(1) * u32::try_from(length).unwrap() / bytes);
        sleep(latency + pace.unwrap_or_default()).await;
        if road.wait_for(|road| !road.cut).await.is_err() {
            return Ok(());
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
    }
}
