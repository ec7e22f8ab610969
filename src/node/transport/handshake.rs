//! How two members find that they mean each other: the words at the start of a connection, on both sides.
//!
//! The dialer sends [`MAGIC`], the version and a frame with a [`Greeting`]; the listener answers with one frame. Magic,
//! version and a refusal are alike in every version, so that any two can tell each other why not. What is admitted is
//! decided in `listen.rs`.

use borsh::{BorshDeserialize, BorshSerialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink, split};

use super::{ConnectionError, dial, frame};
use crate::model::limits::{MAX_PEER_HANDSHAKE_BYTES, MAX_PEER_MEMBERS_BYTES, MAX_PEER_URLS};
use crate::model::{ClusterId, Incarnation, Index, MemberId, Members};

/// What a connection between members begins with.
pub(super) const MAGIC: &[u8; 9] = b"VARDRPEER";
/// The version of everything that follows on the magic.
pub(super) const VERSION: u8 = 1;
/// How the requests of HTTP begin, HTTP/2 included.
const HTTP: &[&[u8; 4]] = &[b"GET ", b"POST", b"PUT ", b"HEAD", b"PRI ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC"];
const HTTP_NOTICE: &str = "This is Vardr's peer port, for the other members of the cluster. Clients belong on the \
                           client URL, which --listen-client-urls names.\n";

/// What a connection carries, from the dialer to the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Lane {
    Messages,
    Snapshot,
}

/// What a dialer wants.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Greeting {
    /// To bring messages or a snapshot.
    Hello(Hello),
    /// To know who the members are. Whoever joins has no id yet to say hello with.
    Ask,
}

/// Who dials, and whom.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Hello {
    pub(super) cluster: ClusterId,
    pub(super) from: MemberId,
    pub(super) to: MemberId,
    /// The life of the dialer's data. One that lost its data is another, and the old one's promises are not its own.
    pub(super) incarnation: Incarnation,
    pub(super) lane: Lane,
    /// Where the dialer is dialed: the other may not know that yet, or not any more. At most [`MAX_PEER_URLS`], each of the form
    /// `http://host:port`.
    pub(super) urls: Vec<String>,
}

/// The members, as one of them knows them.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KnownMembers {
    pub cluster: ClusterId,
    /// The last entry that this follows from. Of two members, the one with the higher index knows better.
    pub applied: Index,
    pub members: Members,
}

/// Why a member does not speak with another, in the words of the one that was dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error, BorshSerialize, BorshDeserialize)]
pub enum Refusal {
    #[error("it speaks version {theirs} of the protocol between members, this one version {VERSION}")]
    Version { theirs: u8 },
    #[error("it belongs to cluster {theirs}")]
    OtherCluster { theirs: ClusterId },
    #[error("it is member {theirs}")]
    OtherMember { theirs: MemberId },
    #[error("it goes by the same id as this member")]
    SameId,
    #[error("this member was removed from the cluster")]
    Removed,
    #[error("this member's data is not what it was: it has lost what it promised")]
    LostData,
}

#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Reply {
    Welcome,
    Refused(Refusal),
    /// `None` from a member that has no state yet.
    Members(Option<KnownMembers>),
}

/// Whom the first bytes of a connection come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    Member {
        version: u8,
    },
    /// A client at the wrong port.
    Http,
    Stranger,
}

/// Introduces this member to the one that was dialed.
///
/// # Errors
/// When the stream fails, or the member refuses.
pub(super) async fn introduce<S>(stream: &mut S, hello: &Hello) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match greet(stream, &Greeting::Hello(hello.clone()), MAX_PEER_HANDSHAKE_BYTES).await? {
        Reply::Welcome => Ok(()),
        Reply::Refused(refusal) => Err(ConnectionError::Refused(refusal)),
        Reply::Members(_) => Err(ConnectionError::Unexpected),
    }
}

/// Asks the member that was dialed who the members are; `None` when it has no state yet.
///
/// # Errors
/// When the stream fails, or the member refuses.
pub(super) async fn ask<S>(stream: &mut S) -> Result<Option<KnownMembers>, ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match greet(stream, &Greeting::Ask, MAX_PEER_MEMBERS_BYTES).await? {
        Reply::Members(known) => Ok(known),
        Reply::Refused(refusal) => Err(ConnectionError::Refused(refusal)),
        Reply::Welcome => Err(ConnectionError::Unexpected),
    }
}

async fn greet<S>(stream: &mut S, greeting: &Greeting, most: usize) -> Result<Reply, ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = [MAGIC.as_slice(), &[VERSION]].concat();
    frame::append(&mut bytes, &[&borsh::to_vec(greeting)?], MAX_PEER_HANDSHAKE_BYTES)?;
    stream.write_all(&bytes).await?;
    let reply = frame::read(stream, most).await?.ok_or(ConnectionError::Closed)?;
    borsh::from_slice(&reply).map_err(ConnectionError::unreadable)
}

/// Reads up to and with the version.
///
/// # Errors
/// When the stream fails or ends.
pub(super) async fn read_opening<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Opening, ConnectionError> {
    let mut first = [0; 4];
    reader.read_exact(&mut first).await?;
    if HTTP.contains(&&first) {
        return Ok(Opening::Http);
    }
    if !MAGIC.starts_with(&first) {
        return Ok(Opening::Stranger);
    }
    let mut rest = [0; 6];
    reader.read_exact(&mut rest).await?;
    let [magic @ .., version] = rest;
    Ok(if MAGIC.ends_with(&magic) { Opening::Member { version } } else { Opening::Stranger })
}

/// Reads what the dialer wants.
///
/// # Errors
/// When the stream fails or ends, or says something else, or where no dialer can be.
pub(super) async fn read_greeting<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Greeting, ConnectionError> {
    let bytes = frame::read(reader, MAX_PEER_HANDSHAKE_BYTES).await?.ok_or(ConnectionError::Closed)?;
    let greeting = borsh::from_slice(&bytes).map_err(ConnectionError::unreadable)?;
    if let Greeting::Hello(Hello { urls, .. }) = &greeting {
        check_urls(urls)?;
    }
    Ok(greeting)
}

fn check_urls(urls: &[String]) -> Result<(), ConnectionError> {
    if urls.len() > MAX_PEER_URLS {
        return Err(ConnectionError::unreadable(format!("{} peer URLs of one member", urls.len())));
    }
    match urls.iter().find(|url| dial::address(url).is_none()) {
        Some(url) => Err(ConnectionError::unreadable(format!("the peer URL {url:?}"))),
        None => Ok(()),
    }
}

/// Takes the dialer in.
///
/// # Errors
/// When the stream fails.
pub(super) async fn welcome<W: AsyncWrite + Unpin>(writer: &mut W) -> Result<(), ConnectionError> {
    Ok(writer.write_all(&framed(&Reply::Welcome)?).await?)
}

/// Tells the dialer why not, and lets go of it.
///
/// # Errors
/// When the stream fails.
pub(super) async fn refuse<S>(stream: &mut S, refusal: Refusal) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    part_with(stream, &framed(&Reply::Refused(refusal))?).await
}

/// Tells the dialer who the members are, and lets go of it.
///
/// # Errors
/// When the stream fails, or there is more to tell than is read at once.
pub(super) async fn tell<S>(stream: &mut S, known: Option<KnownMembers>) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    part_with(stream, &framed(&Reply::Members(known))?).await
}

/// Tells a client of HTTP where it is, and lets go of it.
///
/// # Errors
/// When the stream fails.
pub(super) async fn redirect<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), ConnectionError> {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{HTTP_NOTICE}",
        HTTP_NOTICE.len()
    );
    part_with(stream, answer.as_bytes()).await
}

/// Writes the last words of this end, and reads until the other has closed: what it sent and nobody read would
/// otherwise reset the connection, and the last words with it. How long that may take is the caller's business.
///
/// # Errors
/// When the stream fails.
pub(super) async fn part_with<S>(stream: &mut S, last: &[u8]) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = split(stream);
    writer.write_all(last).await?;
    writer.shutdown().await?;
    copy(&mut reader, &mut sink()).await?;
    Ok(())
}

fn framed(reply: &Reply) -> Result<Vec<u8>, ConnectionError> {
    let most = match reply {
        Reply::Welcome | Reply::Refused(_) => MAX_PEER_HANDSHAKE_BYTES,
        Reply::Members(_) => MAX_PEER_MEMBERS_BYTES,
    };
    let mut bytes = Vec::new();
    frame::append(&mut bytes, &[&borsh::to_vec(reply)?], most)?;
    Ok(bytes)
}
