//! A reader of Server-Sent Events (WHATWG HTML, 9.2.6) over a real connection.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::Client;
use serde_json::Value;

/// One event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error} in {:?}", self.data))
    }
}

/// An open stream of events.
pub(crate) struct EventSource {
    chunks: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: Vec<u8>,
    /// So much of it holds no end of an event.
    searched: usize,
}

impl EventSource {
    /// Opens a stream, with a `Last-Event-ID` if there is one.
    pub(crate) async fn open(url: &str, last_event_id: Option<&str>) -> Self {
        Self::try_open(url, last_event_id).await.unwrap_or_else(|| panic!("{url} does not open"))
    }

    /// As [`EventSource::open`]; `None` when the server cannot be reached, or is about to stop.
    pub(crate) async fn try_open(url: &str, last_event_id: Option<&str>) -> Option<Self> {
        let mut request = Client::new().get(url).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.ok()?;
        if response.status() == 503 {
            return None;
        }
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap_or_default());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Some(Self { chunks: response.bytes_stream().boxed(), buffer: Vec::new(), searched: 0 })
    }

    /// The next event, comments left out; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.buffer[self.searched..].windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..self.searched + end + 2).collect();
                self.searched = 0;
                if let Some(event) = parse(std::str::from_utf8(&block).unwrap()) {
                    return Some(event);
                }
            }
            self.searched = self.buffer.len().saturating_sub(1);
            let chunk = self.chunks.next().await?.ok()?;
            self.buffer.extend_from_slice(&chunk);
        }
    }
}

fn parse(block: &str) -> Option<Event> {
    let mut event = Event::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => event.id = Some(id.to_owned()),
            Some(("event", name)) => name.clone_into(&mut event.name),
            Some(("data", data)) => event.data.push_str(data),
            Some(("", _)) | None => {}
            Some((field, _)) => panic!("an unknown field: {field}"),
        }
    }
    (!event.name.is_empty()).then_some(event)
}
