//! Answers over HTTP/2 that are ready at about the same time, in one write to their connection.
//!
//! Each call is a task of its own, and the runtime takes up the connection right after the first that has ended: its answer would be
//! written by itself, and so would the next. So while other calls of a connection are under way, it lets what is ready to run go
//! first, once for each write. A call that is alone is answered at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A write of so many bytes is worth what it costs, and waits for nothing.
const ENOUGH_BYTES: usize = 8 * 1024;

/// The calls of a connection that are under way: begun, and their answers not.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<AtomicUsize>);

/// A call that is under way until this is dropped.
#[derive(Debug)]
pub struct Call(Calls);

impl Calls {
    /// Counts one more.
    #[must_use]
    pub fn begin(&self) -> Call {
        self.0.fetch_add(1, Ordering::Relaxed);
        Call(self.clone())
    }

    fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection whose writes let other tasks go first while calls are under way.
#[derive(Debug)]
pub struct Corked<S> {
    stream: S,
    calls: Calls,
    /// Whether the next write has let others go first.
    has_yielded: bool,
}

impl<S> Corked<S> {
    /// Wraps a connection with these calls.
    #[must_use]
    pub fn new(stream: S, calls: Calls) -> Self {
        Self { stream, calls, has_yielded: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

/// Not in pieces: where a connection can be written so, `h2` writes an answer of 256 bytes or more by itself, and otherwise all
/// below 1024 that are ready together. Small answers are many, and the kernel asks more for a write than a copy costs.
impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.has_yielded && bytes.len() < ENOUGH_BYTES && self.calls.is_any() {
            self.has_yielded = true;
            // A task that wakes itself while it runs is behind all that are ready by now.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.has_yielded = false;
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::Waker;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Incoming;
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::DuplexStream;
    use tokio::sync::Barrier;

    use super::*;

    const CALLS: usize = 16;

    /// A connection that could be written to in pieces, and counts writes.
    struct Counted {
        stream: DuplexStream,
        writes: Arc<AtomicUsize>,
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.writes.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.stream).poll_write(context, bytes)
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(context)
        }
    }

    #[tokio::test]
    async fn answers_of_some_hundred_bytes_that_are_ready_together_share_writes() {
        const ANSWER: Bytes = Bytes::from_static(&[0; 500]);
        let (near, far) = tokio::io::duplex(64 * 1024);
        let calls = tokio::spawn(async move {
            let (mut sender, connection) = h2::client::handshake(near).await.unwrap();
            tokio::spawn(connection);
            let mut call = || sender.send_request(Request::get("http://localhost/").body(()).unwrap(), true).unwrap().0;
            let called: Vec<_> = (0..CALLS).map(|_| call()).collect();
            for answer in called {
                let mut body = answer.await.unwrap().into_body();
                assert_eq!(body.data().await.unwrap().unwrap(), ANSWER);
            }
        });
        let writes = Arc::new(AtomicUsize::new(0));
        let counted = Counted { stream: far, writes: Arc::clone(&writes) };
        let mut connection = h2::server::handshake(Corked::new(counted, Calls::default())).await.unwrap();
        let mut called = Vec::new();
        while called.len() < CALLS {
            called.push(connection.accept().await.unwrap().unwrap().1);
        }
        let before = writes.load(Ordering::Relaxed);
        for mut call in called {
            call.send_response(Response::new(()), false).unwrap().send_data(ANSWER, true).unwrap();
        }
        while connection.accept().await.is_some() {}
        calls.await.unwrap();
        let writes = writes.load(Ordering::Relaxed) - before;
        assert!(writes < CALLS / 2, "{writes} writes for {CALLS} answers");
    }

    /// How many writes it takes to answer calls that all wait for the last of them to come.
    async fn writes_for_calls_that_wait_for_each_other() -> usize {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let writes = Arc::new(AtomicUsize::new(0));
        let (counted, calls) = (Counted { stream: far, writes: Arc::clone(&writes) }, Calls::default());
        let all = Arc::new(Barrier::new(CALLS));
        let stream = TokioIo::new(Corked::new(counted, calls.clone()));
        let service = service_fn(move |_: Request<Incoming>| {
            let (call, all) = (calls.begin(), Arc::clone(&all));
            async move {
                all.wait().await;
                drop(call);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
            }
        });
        tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service));
        let (mut sender, connection) = h2::client::handshake(near).await.unwrap();
        tokio::spawn(connection);
        let mut call = || sender.send_request(Request::get("http://localhost/").body(()).unwrap(), true).unwrap().0;
        let called: Vec<_> = (0..CALLS).map(|_| call()).collect();
        for answer in called {
            assert_eq!(answer.await.unwrap().into_body().data().await.unwrap().unwrap(), "done");
        }
        writes.load(Ordering::Relaxed)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn calls_that_end_together_are_answered_in_few_writes() {
        let writes = writes_for_calls_that_wait_for_each_other().await;
        assert!(writes < CALLS / 2, "{writes} writes for {CALLS} answers");
    }

    /// Writes once: whether it was told to come again, or had written.
    fn written(corked: &mut Corked<tokio::io::Sink>, length: usize) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(corked).poll_write(&mut context, &vec![0; length]).is_ready()
    }

    #[test]
    fn a_write_lets_others_go_first_once_while_calls_are_under_way_and_it_is_small() {
        let calls = Calls::default();
        let mut corked = Corked::new(tokio::io::sink(), calls.clone());
        assert!(written(&mut corked, 1), "no call is under way");
        let call = calls.begin();
        for _ in 0..3 {
            assert!(!written(&mut corked, 1));
            assert!(written(&mut corked, 1));
            assert!(written(&mut corked, ENOUGH_BYTES));
        }
        drop(call);
        assert!(written(&mut corked, 1));
    }
}
