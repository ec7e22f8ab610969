//! Claims about the transport, over real sockets: members that keep what they are told, and stand-ins for members
//! that speak the protocol badly.

mod acquaintances;
mod messages;
mod peers;
mod questions;
mod refusals;
mod snapshots;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use parking_lot::RwLock;
use protobuf::Message as _;
use raft::eraftpb::{self, MessageType};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, oneshot};

use super::handshake::{self, Greeting, Hello, Lane, Opening};
use super::*;
use crate::model::{ClusterId, Member, MemberChange};

const CLUSTER: ClusterId = ClusterId(0xc1);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an inbox was told.
#[derive(Debug, Default)]
struct Told {
    received: Vec<(MemberId, PeerMessage)>,
    unreachable: Vec<MemberId>,
    refused: Vec<(MemberId, Refusal)>,
}

/// A snapshot that an inbox was handed, and the way to answer.
struct Handed {
    from: MemberId,
    message: Message,
    body: SnapshotBody,
    answer: oneshot::Sender<Result<(), String>>,
}

struct Recorder {
    told: watch::Sender<Told>,
    snapshots: mpsc::UnboundedSender<Handed>,
    /// Who is not admitted, and why.
    outsiders: RwLock<BTreeMap<MemberId, Refusal>>,
    /// What it says when somebody asks who the members are.
    known: RwLock<Option<KnownMembers>>,
}

impl Inbox for Recorder {
    fn admits(&self, from: MemberId, _incarnation: Incarnation) -> Result<(), Refusal> {
        self.outsiders.read().get(&from).map_or(Ok(()), |refusal| Err(*refusal))
    }

    fn known_members(&self) -> Option<KnownMembers> {
        self.known.read().clone()
    }

    fn appended(&self, _: MemberId, _: u64, _: Duration) {}

    fn receive(&self, from: MemberId, message: PeerMessage) {
        self.told.send_modify(|told| told.received.push((from, message)));
    }

    fn unreachable(&self, member: MemberId) {
        self.told.send_modify(|told| told.unreachable.push(member));
    }

    fn refused(&self, member: MemberId, reason: Refusal) {
        self.told.send_modify(|told| told.refused.push((member, reason)));
    }

    fn snapshot(&self, from: MemberId, message: Message, body: SnapshotBody) -> BoxFuture<'static, Result<(), String>> {
        let (answer, answered) = oneshot::channel();
        let _ = self.snapshots.send(Handed { from, message, body, answer });
        answered.map(|answer| answer.unwrap_or_else(|_| Err("nobody answered".to_owned()))).boxed()
    }
}

/// A member with nothing but a transport.
struct Site {
    id: MemberId,
    address: SocketAddr,
    transport: Transport,
    recorder: Arc<Recorder>,
    snapshots: mpsc::UnboundedReceiver<Handed>,
}

impl Site {
    async fn start(id: u64) -> Self {
        Self::start_at(id, "127.0.0.1:0", Patience::default()).await
    }

    async fn start_at(id: u64, address: &str, patience: Patience) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_snapshots, snapshots) = mpsc::unbounded_channel();
        let recorder = Arc::new(Recorder {
            told: watch::Sender::default(),
            snapshots: to_snapshots,
            outsiders: RwLock::default(),
            known: RwLock::default(),
        });
        let identity = Identity { cluster: CLUSTER, member: MemberId(id) };
        let inbox = Arc::clone(&recorder) as Arc<dyn Inbox>;
        let (urls, listeners) = (vec![url(address)], vec![listener]);
        let transport = Transport::start_with(identity, Incarnation(id), urls, listeners, inbox, patience);
        Self { id: identity.member, address, transport, recorder, snapshots }
    }

    /// Waits until the inbox has been told something.
    async fn told(&self, enough: impl FnMut(&Told) -> bool) {
        let mut told = self.recorder.told.subscribe();
        let told = in_time(told.wait_for(enough)).await;
        drop(told.unwrap());
    }

    fn received(&self) -> Vec<(MemberId, PeerMessage)> {
        self.recorder.told.borrow().received.clone()
    }

    /// Knows the others, and is connected to them.
    async fn join(&self, others: &[(MemberId, SocketAddr)]) {
        self.transport.set_peers(&members(others));
        for (other, _) in others {
            self.connected(*other, true).await;
        }
    }

    async fn connected(&self, to: MemberId, connected: bool) {
        eventually(|| self.transport.connected(to) == connected).await;
    }

    /// Dials this member as another one would.
    async fn dialed_by(&self, hello: &Hello) -> Result<TcpStream, ConnectionError> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        in_time(handshake::introduce(&mut stream, hello)).await?;
        Ok(stream)
    }

    fn place(&self) -> (MemberId, SocketAddr) {
        (self.id, self.address)
    }
}

/// Two members that are connected both ways.
async fn pair() -> (Site, Site) {
    let (one, two) = (Site::start(1).await, Site::start(2).await);
    one.join(&[two.place()]).await;
    two.join(&[one.place()]).await;
    (one, two)
}

fn members(places: &[(MemberId, SocketAddr)]) -> Members {
    let member = |(id, address): &(MemberId, SocketAddr)| Member::voter(*id, vec![url(*address)]);
    places.iter().map(member).collect()
}

/// What is left of them once these are removed.
fn without(mut members: Members, removed: &[MemberId]) -> Members {
    for id in removed {
        members.change(MemberChange::Remove(*id)).unwrap();
    }
    members
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// An address at which nobody is.
async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn hello(from: u64, to: u64) -> Hello {
    let (from, to) = (MemberId(from), MemberId(to));
    Hello { cluster: CLUSTER, from, to, incarnation: Incarnation(1), lane: Lane::Messages, urls: Vec::new() }
}

/// The words of somebody who is to be found where this listener is.
fn hello_at(from: u64, to: u64, listener: &TcpListener) -> Hello {
    Hello { urls: vec![url(listener.local_addr().unwrap())], ..hello(from, to) }
}

fn raft_message(kind: MessageType, from: u64, to: u64, with: impl FnOnce(&mut eraftpb::Message)) -> Message {
    let mut message = eraftpb::Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (from, to, 1);
    with(&mut message);
    Message::decode(&message.write_to_bytes().unwrap().into()).unwrap()
}

/// An append with one entry, which says which one it is.
fn append(from: u64, to: u64, index: u64, bytes: usize) -> PeerMessage {
    PeerMessage::Raft(raft_message(MessageType::MsgAppend, from, to, |message| {
        let data = vec![u8::try_from(index % 251).unwrap(); bytes].into();
        message.set_entries(vec![eraftpb::Entry { index, term: 1, data, ..Default::default() }].into());
    }))
}

/// A message of raft's without entries, which says which one it is.
fn small(kind: MessageType, from: u64, to: u64, commit: u64) -> PeerMessage {
    PeerMessage::Raft(raft_message(kind, from, to, |message| message.commit = commit))
}

/// Takes the next connection as another member would, up to the handshake.
async fn take_connection(listener: &TcpListener) -> (TcpStream, Hello) {
    in_time(async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let opening = handshake::read_opening(&mut stream).await.unwrap();
        assert_eq!(opening, Opening::Member { version: handshake::VERSION });
        match handshake::read_greeting(&mut stream).await.unwrap() {
            Greeting::Hello(hello) => (stream, hello),
            Greeting::Ask => panic!("it asks for the members"),
        }
    })
    .await
}

/// Takes the next connection as another member would.
async fn take_in(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = take_connection(listener).await;
    handshake::welcome(&mut stream).await.unwrap();
    stream
}

/// Waits until the other end has closed, however it did.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = in_time(stream.read_to_end(&mut rest)).await;
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

async fn eventually(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut polls = tokio::time::interval(Duration::from_millis(5));
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time");
        polls.tick().await;
    }
}
