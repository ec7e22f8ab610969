//! Watchers that follow everything from the first revision on, and go to another member whenever theirs falls silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::record::Change;
use crate::support::sse::EventSource;

/// A stream that says nothing for so long is left, in case its member is gone.
const PATIENCE: Duration = Duration::from_secs(1);
/// The revision of an empty store.
const BEGINNING: u64 = 1;

/// A watcher under way.
pub(crate) struct Follower {
    task: JoinHandle<Vec<Change>>,
    /// The revision to stop after, once it is known.
    end: Arc<AtomicU64>,
}

impl Follower {
    /// Follows from the beginning, at this member first.
    pub(crate) fn start(urls: Vec<String>, first: usize) -> Self {
        let end = Arc::new(AtomicU64::new(u64::MAX));
        Self { task: tokio::spawn(follow(urls, first, Arc::clone(&end))), end }
    }

    /// Everything up to a revision, in the order that it came.
    pub(crate) async fn finish(self, end: u64, limit: Duration) -> Vec<Change> {
        self.end.store(end, Ordering::SeqCst);
        let followed = timeout(limit, self.task).await;
        followed.unwrap_or_else(|_| panic!("a watcher has not come to revision {end}")).unwrap()
    }
}

async fn follow(urls: Vec<String>, first: usize, end: Arc<AtomicU64>) -> Vec<Change> {
    let (mut changes, mut resume) = (Vec::new(), BEGINNING);
    for url in urls.iter().cycle().skip(first) {
        if resume >= end.load(Ordering::SeqCst) {
            return changes;
        }
        let url = format!("{url}/v1/watch/?after={BEGINNING}");
        let id = (resume > BEGINNING).then(|| resume.to_string());
        let opened = timeout(PATIENCE, EventSource::try_open(&url, id.as_deref())).await;
        let Ok(Some(mut source)) = opened else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while resume < end.load(Ordering::SeqCst) {
            let Ok(Some(event)) = timeout(PATIENCE, source.next()).await else { break };
            match event.name.as_str() {
                "put" | "delete" | "expire" => changes.push(change(&event.json())),
                "progress" | "lagging" => {}
                other => panic!("a watcher of everything was told {other}: {event:?}"),
            }
            if let Some(id) = event.id {
                resume = id.parse().unwrap();
            }
        }
    }
    unreachable!("the members are gone round for ever")
}

fn change(event: &Value) -> Change {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Change {
        revision: event["modRevision"].as_u64().unwrap(),
        key: event["key"].as_str().unwrap().to_owned(),
        value: text(&event["value"]),
    }
}
