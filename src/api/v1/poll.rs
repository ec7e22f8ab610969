//! Holding a request until something that it is about has changed (`Prefer: wait`, RFC 7240, section 4.3).

use std::time::Instant;

use tokio::time::timeout_at;

use crate::model::{Key, KeyRange, Revision};
use crate::service::{Call, Error, OnCompacted, Service, Start, WatchItem, WatchRequest};

/// What a held request is about.
#[derive(Debug, Clone)]
pub struct Scope {
    pub range: KeyRange,
    /// Only what is directly in this directory.
    pub children_of: Option<Key>,
}

/// Waits until something in the scope has changed after the revision. False when nothing has by `until`, or when the
/// server drains.
///
/// # Errors
/// [`Error::Stopped`] and what a watch can fail with.
pub async fn changed(
    service: &Service,
    call: &Call,
    scope: &Scope,
    after: Revision,
    until: Instant,
) -> Result<bool, Error> {
    let request = WatchRequest {
        range: scope.range.clone(),
        children_of: scope.children_of.clone(),
        kinds: Vec::new(),
        start: Start::After(after),
        on_compacted: OnCompacted::End,
        progress_every: None,
    };
    let mut stream = match service.watch(call, request).await {
        Ok(stream) => stream,
        Err(Error::ShuttingDown) => return Ok(false),
        Err(error) => return Err(error),
    };
    loop {
        let Ok(item) = timeout_at(until.into(), stream.next()).await else { return Ok(false) };
        match item {
            // What was compacted meanwhile has changed, as far as anybody can tell.
            Some(WatchItem::Events(_) | WatchItem::Compacted { .. } | WatchItem::Lagging { .. } | WatchItem::Reset) => {
                return Ok(true);
            }
            Some(WatchItem::State(_) | WatchItem::Synced(_) | WatchItem::Progress(_)) => {}
            Some(WatchItem::Failed(error)) => return Err(error),
            Some(WatchItem::Closed) | None => return Ok(false),
        }
    }
}
