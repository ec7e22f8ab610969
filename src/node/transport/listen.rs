//! The connections that other members dialed, for what this one receives: accepted, checked, read.
//!
//! Says nothing on them after the handshake, but for the answer to a snapshot.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::handshake::{self, Hello, Lane, Opening, VERSION};
use super::{ConnectionError, PeerMessage, Refusal, Shared, frame, snapshot, tune};
use crate::model::MemberId;
use crate::model::limits::MAX_PEER_FRAME_BYTES;

/// How long to wait before accepting again when no connection can be had (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Small messages are read together.
const READ_BYTES: usize = 64 * 1024;

/// The connections that messages come in on: one for each member.
#[derive(Debug, Default)]
pub(super) struct Incoming(Mutex<BTreeMap<MemberId, CancellationToken>>);

impl Incoming {
    /// Notes a connection, and ends the one that it replaces. Its member dialed anew because it had given that one up.
    fn enter(&self, from: MemberId, stop: CancellationToken) {
        if let Some(older) = self.0.lock().insert(from, stop) {
            older.cancel();
        }
    }

    /// Forgets a connection that has ended by itself. One that was ended from here is not noted any more.
    fn leave(&self, from: MemberId, stop: &CancellationToken) {
        let mut connections = self.0.lock();
        if !stop.is_cancelled() {
            connections.remove(&from);
        }
    }

    /// Ends the connections of all other members.
    pub(super) fn retain(&self, stays: impl Fn(MemberId) -> bool) {
        self.0.lock().retain(|from, stop| {
            let stays = stays(*from);
            if !stays {
                stop.cancel();
            }
            stays
        });
    }
}

/// Accepts connections, as many at a time as may be in their handshake.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok(permit) = Arc::clone(&shared.handshakes).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, address)) => {
                let connection = serve(Arc::clone(&shared), stream, address, permit);
                shared.spawn(&shared.stop, connection);
            }
            Err(error) => {
                tracing::warn!(%error, "no connection of a member could be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, mut stream: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
    let greeted = timeout(shared.patience.handshake, greet(&shared, &mut stream)).await;
    drop(permit);
    let hello = match greeted.unwrap_or(Err(ConnectionError::Silent)) {
        Ok(hello) => hello,
        Err(error) => {
            tracing::debug!(%address, %error, "a connection to the peer port came to nothing");
            return;
        }
    };
    let member = hello.from;
    tracing::debug!(%member, incarnation = %hello.incarnation, lane = ?hello.lane, %address, "a member has connected");
    let ended = match hello.lane {
        Lane::Messages => receive(&shared, member, stream).await.map(|never| match never {}),
        Lane::Snapshot => snapshot::receive(&shared, member, stream).await,
    };
    let Err(error) = ended else { return };
    if matches!(error, ConnectionError::Closed | ConnectionError::Replaced) {
        tracing::debug!(%member, %error, "the connection of a member has ended");
    } else {
        tracing::warn!(%member, %error, "the connection of a member has failed");
    }
}

/// Finds out who dialed, and answers.
async fn greet(shared: &Shared, stream: &mut TcpStream) -> Result<Hello, ConnectionError> {
    match handshake::read_opening(stream).await? {
        Opening::Member { version: VERSION } => {}
        Opening::Member { version: _ } => return turn_away(stream, Refusal::Version { theirs: VERSION }).await,
        Opening::Http => {
            handshake::redirect(stream).await?;
            return Err(ConnectionError::Http);
        }
        Opening::Stranger => return Err(ConnectionError::Unexpected),
    }
    let hello = handshake::read_hello(stream).await?;
    if let Err(refusal) = check(shared, &hello) {
        return turn_away(stream, refusal).await;
    }
    tune(stream, shared.patience.stall_of(hello.lane))?;
    handshake::welcome(stream).await?;
    Ok(hello)
}

async fn turn_away(stream: &mut TcpStream, refusal: Refusal) -> Result<Hello, ConnectionError> {
    handshake::refuse(stream, refusal).await?;
    Err(ConnectionError::Refused(refusal))
}

/// Whether the one who dialed means this member, and is one to speak with.
fn check(shared: &Shared, hello: &Hello) -> Result<(), Refusal> {
    let own = shared.identity;
    if hello.cluster != own.cluster {
        return Err(Refusal::OtherCluster { theirs: own.cluster });
    }
    if hello.to != own.member {
        return Err(Refusal::OtherMember { theirs: own.member });
    }
    // Whoever goes by this member's own id is none of the others.
    if hello.from == own.member {
        return Err(Refusal::Unknown);
    }
    shared.inbox.admits(hello.from, hello.incarnation)
}

/// Reads messages until the connection ends, or another one replaces it.
async fn receive(shared: &Shared, from: MemberId, stream: TcpStream) -> Result<Infallible, ConnectionError> {
    let stop = shared.stop.child_token();
    shared.incoming.enter(from, stop.clone());
    let ended = stop.run_until_cancelled(read_messages(shared, from, stream)).await;
    shared.incoming.leave(from, &stop);
    ended.unwrap_or(Err(ConnectionError::Replaced))
}

async fn read_messages(shared: &Shared, from: MemberId, stream: TcpStream) -> Result<Infallible, ConnectionError> {
    let mut reader = BufReader::with_capacity(READ_BYTES, stream);
    loop {
        let bytes = frame::read(&mut reader, MAX_PEER_FRAME_BYTES).await?.ok_or(ConnectionError::Closed)?;
        let message = PeerMessage::decode(bytes)?;
        if let PeerMessage::Raft(message) = &message
            && (message.from(), message.to()) != (from, shared.identity.member)
        {
            return Err(ConnectionError::Misdirected);
        }
        shared.inbox.receive(from, message);
    }
}
