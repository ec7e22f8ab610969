//! The connections that other members dialed, for what this one receives: accepted, checked, read.
//!
//! Says nothing on them after the handshake, but for the answer to a snapshot.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::handshake::{self, Greeting, Hello, Lane, Opening, VERSION};
use super::{ConnectionError, PeerMessage, Refusal, Shared, frame, snapshot, tune};
use crate::model::MemberId;
use crate::model::limits::MAX_PEER_FRAME_BYTES;

/// How long to wait before accepting again when no connection can be had (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Small messages are read together.
const READ_BYTES: usize = 64 * 1024;

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
        Ok(Some(hello)) => hello,
        Ok(None) => {
            tracing::debug!(%address, "somebody has asked who the members are");
            return;
        }
        Err(error) => {
            tracing::debug!(%address, %error, "a connection to the peer port came to nothing");
            return;
        }
    };
    let Hello { from: member, lane, incarnation, urls, cluster: _, to: _ } = hello;
    tracing::debug!(%member, %incarnation, ?lane, ?urls, %address, "a member has connected");
    let ended = match lane {
        Lane::Messages => receive(&shared, member, urls, stream).await.map(|never| match never {}),
        Lane::Snapshot => snapshot::receive(&shared, member, stream).await,
    };
    let Err(error) = ended else { return };
    if matches!(error, ConnectionError::Closed | ConnectionError::Replaced) {
        tracing::debug!(%member, %error, "the connection of a member has ended");
    } else {
        tracing::warn!(%member, %error, "the connection of a member has failed");
    }
}

/// Finds out who dialed, and answers. `None` where that was all that was wanted.
async fn greet(shared: &Shared, stream: &mut TcpStream) -> Result<Option<Hello>, ConnectionError> {
    match handshake::read_opening(stream).await? {
        Opening::Member { version: VERSION } => {}
        Opening::Member { version: _ } => return turn_away(stream, Refusal::Version { theirs: VERSION }).await,
        Opening::Http => {
            handshake::redirect(stream).await?;
            return Err(ConnectionError::Http);
        }
        Opening::Stranger => return Err(ConnectionError::Unexpected),
    }
    let hello = match handshake::read_greeting(stream).await? {
        Greeting::Hello(hello) => hello,
        Greeting::Ask => {
            handshake::tell(stream, shared.inbox.known_members()).await?;
            return Ok(None);
        }
    };
    if let Err(refusal) = check(shared, &hello) {
        return turn_away(stream, refusal).await;
    }
    tune(stream, shared.patience.stall_of(hello.lane))?;
    handshake::welcome(stream).await?;
    Ok(Some(hello))
}

async fn turn_away(stream: &mut TcpStream, refusal: Refusal) -> Result<Option<Hello>, ConnectionError> {
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
    if hello.from == own.member {
        return Err(Refusal::SameId);
    }
    shared.inbox.admits(hello.from, hello.incarnation)
}

/// Reads messages until the connection ends, or another one replaces it, or its member is removed.
async fn receive(
    shared: &Arc<Shared>,
    from: MemberId,
    urls: Vec<String>,
    stream: TcpStream,
) -> Result<Infallible, ConnectionError> {
    let stop = shared.stop.child_token();
    let open = |urls| shared.open(from, urls);
    if !shared.peers.enter(from, urls, stop.clone(), open) {
        return Err(ConnectionError::Unwanted);
    }
    let ended = stop.run_until_cancelled(read_messages(shared, from, stream)).await;
    shared.peers.leave(from, &stop, open);
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
