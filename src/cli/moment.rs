//! Reads that all show one revision, and what was read, so that it can be followed from there.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::StatusCode;

use super::client::{Answer, Client, Request};
use super::exit::{Failure, Outcome};
use super::item::{self, Encoding, Item, Page};
use super::keys::KEYS;
use super::route::{self, Route};

/// The keys asked for at once.
const PAGE: &str = "1000";

/// Something that can be read, and followed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Key(Vec<u8>),
    /// The keys directly in a directory, whose name ends in a slash.
    Children(Vec<u8>),
    /// Everything below a directory, whose name ends in a slash.
    Tree(Vec<u8>),
}

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Bytes);

/// The store at one revision: the one that the first read happens to see.
#[derive(Debug)]
pub(crate) struct Moment<'a> {
    client: &'a Client,
    revision: Option<u64>,
    seen: BTreeSet<Subject>,
}

impl<'a> Moment<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, revision: None, seen: BTreeSet::new() }
    }

    /// The revision; 0 as long as nothing was read.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.unwrap_or(0)
    }

    /// What was read, or was to be.
    pub(crate) fn into_seen(self) -> BTreeSet<Subject> {
        self.seen
    }

    /// The value of a key, byte for byte; `None` where there is no such key.
    pub(crate) async fn value(&mut self, key: &[u8]) -> Outcome<Option<Bytes>> {
        self.seen.insert(Subject::Key(key.to_vec()));
        self.raw(key).await
    }

    async fn raw(&mut self, key: &[u8]) -> Outcome<Option<Bytes>> {
        let answer = self.find(Route::of_key(KEYS, key).switch("raw", true)).await?;
        Ok((answer.status != StatusCode::NOT_FOUND).then_some(answer.body))
    }

    /// The keys of a directory with their values, in order; none where there is no such directory. Markers of
    /// directories are left out.
    pub(crate) async fn list(&mut self, directory: &[u8], recursive: bool) -> Outcome<Vec<Pair>> {
        let name = directory.to_vec();
        self.seen.insert(if recursive { Subject::Tree(name) } else { Subject::Children(name) });
        let base = Route::of_key(KEYS, directory).switch("recursive", recursive).parameter("limit", PAGE);
        let mut pairs = Vec::new();
        let mut cursor = None;
        loop {
            let answer = self.find(base.clone().optional("cursor", cursor.as_ref())).await?;
            if answer.status == StatusCode::NOT_FOUND {
                return Ok(pairs);
            }
            let mut page: Page = item::read(&answer.body)?;
            cursor = page.cursor.take();
            for item in &page.items {
                let key = item.key()?;
                if !key.ends_with(b"/") {
                    let value = self.exact(&key, item).await?;
                    pairs.push((key, value));
                }
            }
            if cursor.is_none() {
                return Ok(pairs);
            }
        }
    }

    /// The very bytes of a value: a page may show the line breaks of JSON as blanks.
    async fn exact(&mut self, key: &[u8], item: &Item) -> Outcome<Bytes> {
        let value = item.value()?;
        if item.encoding != Some(Encoding::Json) || !value.contains(&b' ') {
            return Ok(value.into());
        }
        let gone = || Failure::failed(format!("{} is not at the revision that lists it", route::shown(key)));
        self.raw(key).await?.ok_or_else(gone)
    }

    async fn find(&mut self, route: Route) -> Outcome<Answer> {
        let answer = self.client.find(&Request::get(route.optional("revision", self.revision))).await?;
        if self.revision.is_none() {
            let missing = || Failure::failed("the server did not say which revision its answer reflects");
            self.revision = Some(answer.revision.ok_or_else(missing)?);
        }
        Ok(answer)
    }
}
