//! The connection to another member, for what this one sends: dialed, redialed, and fed from the outbox.
//!
//! Reads nothing from it but its end.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::handshake::{self, Hello, KnownMembers, Lane};
use super::outbox::Outbox;
use super::{ConnectionError, Patience, Shared, frame, tune};
use crate::model::MemberId;

/// What is queued is written in pieces of about this size.
const WRITE_BYTES: usize = 256 * 1024;

/// Keeps a connection to one member.
pub(super) struct Link {
    shared: Arc<Shared>,
    member: MemberId,
    outbox: Arc<Outbox>,
    urls: watch::Receiver<Vec<String>>,
    /// Why there is no connection, as last logged.
    told: Option<String>,
}

impl Link {
    pub(super) fn new(
        shared: Arc<Shared>,
        member: MemberId,
        outbox: Arc<Outbox>,
        urls: watch::Receiver<Vec<String>>,
    ) -> Self {
        Self { shared, member, outbox, urls, told: None }
    }

    /// Dials and sends, over and over.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.shared.patience);
        loop {
            let (stream, url) = self.dial(&mut backoff).await;
            tracing::info!(member = %self.member, %url, "connected to a member");
            self.told = None;
            self.outbox.open();
            let since = Instant::now();
            let Err(error) = self.serve(stream, &url).await;
            self.outbox.close();
            tracing::warn!(member = %self.member, %error, "the connection to a member is lost");
            self.shared.inbox.unreachable(self.member);
            // A member that takes a connection only to end it is not dialed ever so often.
            if since.elapsed() >= self.shared.patience.redial_most {
                backoff.reset();
            }
            self.pause(&mut backoff).await;
        }
    }

    /// The connection, and the URL where it was to be had.
    async fn dial(&mut self, backoff: &mut Backoff) -> (TcpStream, String) {
        loop {
            let urls = self.urls.borrow_and_update().clone();
            match connect(&self.shared, self.member, &urls, Lane::Messages).await {
                Ok(connected) => return connected,
                Err(error) => self.complain(&error, &urls),
            }
            self.pause(backoff).await;
        }
    }

    /// Waits before the next try; not when there is another URL to try.
    async fn pause(&mut self, backoff: &mut Backoff) {
        tokio::select! {
            () = sleep(backoff.next()) => {}
            () = changed(&mut self.urls) => backoff.reset(),
        }
    }

    fn complain(&mut self, error: &ConnectionError, urls: &[String]) {
        let text = error.to_string();
        if self.told.as_ref() != Some(&text) {
            tracing::warn!(member = %self.member, ?urls, %error, "there is no connection to a member");
            self.told = Some(text);
        }
        if let ConnectionError::Refused(reason) = error {
            self.shared.inbox.refused(self.member, *reason);
        }
    }

    /// Sends until the connection ends, or its URL is none of the member's any more.
    async fn serve(&mut self, stream: TcpStream, url: &str) -> Result<Infallible, ConnectionError> {
        let (mut reader, mut writer) = stream.into_split();
        tokio::select! {
            end = deliver(&self.shared, self.member, &self.outbox, &mut writer) => end,
            end = await_end(&mut reader) => end,
            () = left(&mut self.urls, url) => Err(ConnectionError::Moved),
        }
    }
}

/// Waits until the member has other URLs. One that is nobody to send to any more gets none; its link is stopped.
async fn changed(urls: &mut watch::Receiver<Vec<String>>) {
    if urls.changed().await.is_err() {
        pending::<()>().await;
    }
}

/// Waits until this URL is none of the member's any more.
async fn left(urls: &mut watch::Receiver<Vec<String>>, url: &str) {
    if urls.wait_for(|urls| !urls.iter().any(|known| known == url)).await.is_err() {
        pending::<()>().await;
    }
}

/// Opens a lane to a member, at the first of its URLs where it is found: that one is returned, too.
pub(super) async fn connect(
    shared: &Shared,
    to: MemberId,
    urls: &[String],
    lane: Lane,
) -> Result<(TcpStream, String), ConnectionError> {
    let hello = Hello {
        cluster: shared.identity.cluster,
        from: shared.identity.member,
        to,
        incarnation: shared.incarnation,
        lane,
        urls: shared.peers.own_urls(),
    };
    let mut failure = ConnectionError::NoUrl;
    for url in urls {
        match connect_at(url, &hello, shared.patience).await {
            Ok(stream) => return Ok((stream, url.clone())),
            // That a member refuses says more than that nobody is at another address.
            Err(error) if !matches!(failure, ConnectionError::Refused(_)) => failure = error,
            Err(_) => {}
        }
    }
    Err(failure)
}

async fn connect_at(url: &str, hello: &Hello, patience: Patience) -> Result<TcpStream, ConnectionError> {
    let mut stream = reach(url, patience).await?;
    tune(&stream, patience.stall_of(hello.lane))?;
    let introduced = timeout(patience.handshake, handshake::introduce(&mut stream, hello)).await;
    introduced.map_err(|_| ConnectionError::Silent)??;
    Ok(stream)
}

/// Asks whoever is at a peer URL for the members.
pub(super) async fn ask(url: &str, patience: Patience) -> Result<Option<KnownMembers>, ConnectionError> {
    let mut stream = reach(url, patience).await?;
    timeout(patience.handshake, handshake::ask(&mut stream)).await.unwrap_or(Err(ConnectionError::Silent))
}

async fn reach(url: &str, patience: Patience) -> Result<TcpStream, ConnectionError> {
    let address = address(url).ok_or_else(|| ConnectionError::Url(url.to_owned()))?;
    let connecting = timeout(patience.connect, TcpStream::connect(address)).await;
    connecting.map_err(|_| ConnectionError::Silent)?.map_err(ConnectionError::Connect)
}

/// The host and port that a peer URL names.
pub(super) fn address(url: &str) -> Option<&str> {
    let address = url.strip_prefix("http://")?.split('/').next()?;
    let (host, port) = address.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok()).then_some(address)
}

/// Writes what the outbox holds.
async fn deliver<W: AsyncWrite + Unpin>(
    shared: &Shared,
    to: MemberId,
    outbox: &Outbox,
    writer: &mut W,
) -> Result<Infallible, ConnectionError> {
    loop {
        let (bytes, appends) = next_write(outbox)?;
        if bytes.is_empty() {
            outbox.filled().await;
        } else {
            let begun = Instant::now();
            frame::write(writer, &bytes, shared.patience.stall).await?;
            shared.inbox.appended(to, appends, begun.elapsed());
        }
    }
}

/// What to write next, and how many messages that append entries are in it.
fn next_write(outbox: &Outbox) -> Result<(Vec<u8>, u64), ConnectionError> {
    let (mut bytes, mut appends) = (Vec::new(), 0);
    while bytes.len() < WRITE_BYTES
        && let Some(message) = outbox.take()
    {
        appends += u64::from(message.is_append());
        message.append_to(&mut bytes)?;
    }
    Ok((bytes, appends))
}

/// Waits until the other end closes. It has nothing to say.
async fn await_end<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Infallible, ConnectionError> {
    match reader.read(&mut [0]).await? {
        0 => Err(ConnectionError::Closed),
        _ => Err(ConnectionError::Unexpected),
    }
}

/// The pauses between tries: each twice the one before, up to a bound, and none quite like another's.
struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    fn new(patience: Patience) -> Self {
        let Patience { redial_first: first, redial_most: most, .. } = patience;
        Self { first, most, next: first }
    }

    fn reset(&mut self) {
        self.next = self.first;
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.most.min(pause * 2);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_url_names_a_host_and_a_port() {
        assert_eq!(address("http://10.0.0.1:2380"), Some("10.0.0.1:2380"));
        assert_eq!(address("http://member-1.example:2380/"), Some("member-1.example:2380"));
        assert_eq!(address("http://[::1]:2380"), Some("[::1]:2380"));
        for url in ["", "10.0.0.1:2380", "https://10.0.0.1:2380", "http://10.0.0.1", "http://:2380", "http://a:99999"] {
            assert_eq!(address(url), None, "{url}");
        }
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_start_anew() {
        let patience = Patience::default();
        let mut backoff = Backoff::new(patience);
        let mut bound = patience.redial_first;
        for _ in 0..10 {
            let pause = backoff.next();
            assert!(pause <= bound && pause >= bound / 2, "{pause:?} of {bound:?}");
            bound = patience.redial_most.min(bound * 2);
        }
        backoff.reset();
        assert!(backoff.next() <= patience.redial_first);
    }
}
