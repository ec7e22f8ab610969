//! The yardstick: an axum server that does nothing. A PUT is answered with its body, a GET with 256 bytes.

use std::net::SocketAddr;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

/// Serves until the process ends.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(address).await?.tap_io(|stream| {
            // Without it small answers wait for acknowledgements; a socket that refuses is slower, not wrong.
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, Router::new().fallback(any(echo))).await?)
    })
}

async fn echo(body: Bytes) -> Bytes {
    if body.is_empty() { Bytes::from_static(&[b'x'; 256]) } else { body }
}
