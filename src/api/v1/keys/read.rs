//! GET and HEAD of keys and directories.

use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH, IF_NONE_MATCH, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::api::extract::query::{After, Literal, Literal64, Order, Span, Wait, parameters};
use crate::api::extract::{Tags, Target, query, target};
use crate::api::problem::{Code, Problem};
use crate::api::v1::cursor;
use crate::api::v1::format::{self, Object, Values};
use crate::api::v1::poll::{self, Hold, Look, Scope};
use crate::api::{Answer, State};
use crate::model::limits::{DEFAULT_PAGE, MAX_PAGE};
use crate::model::{ContentType, Key, KeyRange, KeyValue, Revision, SortBy};
use crate::service::{Call, Consistency, Error, ListRequest, Listing, Reader};

/// Where the keys begin.
pub(super) const KEYS: &str = "/v1/keys";

parameters! {
    /// What can be asked of GET and HEAD.
    pub struct ReadQuery {
        /// The key, literally, for keys that a path cannot say. Only at `/v1/keys`.
        key: Literal = "key", "q1mi";
        /// The key, literally, in base64url. Only at `/v1/keys`.
        key64: Literal64 = "key64", "L2FwcC9kYg";
        /// `linearizable` (default): everything acknowledged before the request is seen. `serializable`: what this
        /// member has.
        consistency: Consistency = "consistency", "serializable";
        /// How long the request may take, `wait` not counted. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
        /// Read the state at this past revision.
        revision: Revision = "revision", 2;
        /// Answer with the bytes of the value and its stored content type.
        raw: bool = "raw", true;
        /// Of a directory: everything below it, not only one level. With a literal key that ends in a slash, its
        /// presence asks for the directory.
        recursive: bool = "recursive", true;
        /// Only what has a name in the directory that begins with this; with `recursive=true` it may reach into
        /// sub-directories.
        prefix: String = "prefix", "d";
        /// Only keys that hold this text, as it is, in their name or their value. With `recursive=true`, in order of key. A
        /// page looks into at most 10,000 keys, so that it may have few items or none and a `cursor` all the same.
        contains: String = "contains", "postgres";
        /// At most this many keys and directories on the page. Default 1000, at most 100000.
        limit: u64 = "limit", 100;
        /// Where the next page begins: the `cursor` of the page before, with the same query.
        cursor: String = "cursor", "AAAAAAAAAAAAAAAAAAAAAA";
        /// Leave the values out, and tell their sizes.
        keys_only: bool = "keysOnly", true;
        /// Answer with the count alone.
        count_only: bool = "countOnly", true;
        /// What a list is ordered by. Default `key`.
        sort: SortBy = "sort", "modRevision";
        /// Which end comes first. Default `asc`.
        order: Order = "order", "desc";
        /// Only keys changed at this revision or later.
        min_mod_revision: Revision = "minModRevision", 2;
        /// Only keys changed at this revision or earlier.
        max_mod_revision: Revision = "maxModRevision", 9;
        /// Only keys created at this revision or later.
        min_create_revision: Revision = "minCreateRevision", 2;
        /// Only keys created at this revision or earlier.
        max_create_revision: Revision = "maxCreateRevision", 9;
        /// Hold the request until something in it changes, this long at most (10 min): like the header `Prefer: wait=60`.
        /// Counts from the entity tag in `If-None-Match`, from `after`, or from now. 304 when nothing has changed by then.
        wait: Wait = "wait", "1ms";
        /// With `wait`: the revision that the client has seen.
        after: After = "after", 1;
    }
}

/// A read, parsed: everything that asking again needs.
#[derive(Debug)]
pub struct ReadRequest {
    pub target: Target,
    pub consistency: Consistency,
    pub raw: bool,
    pub if_none_match: Option<Tags>,
    if_match: Option<Tags>,
    /// How it is to be held.
    pub hold: Option<Hold>,
    revision: Option<Revision>,
    /// For a directory: what to list.
    list: Option<ListRequest>,
    pub timeout: Option<Span>,
}

impl ReadRequest {
    /// Reads the request line and the headers.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] and [`Code::NotADirectory`].
    pub fn parse(parts: &Parts) -> Result<Self, Problem> {
        let mut query: ReadQuery = query(parts.uri.query())?;
        let raw_path = parts.uri.path().strip_prefix(KEYS).unwrap_or_default();
        let target = if raw_path.is_empty() && query.key.is_none() && query.key64.is_none() {
            return Self::top(parts, &query);
        } else {
            target(raw_path, query.key.take(), query.key64.take())?
        };
        let directory = target.key.bytes().clone();
        Self::of(target, directory, parts, &query)
    }

    /// The top of the key space, keys without a leading slash included.
    fn top(parts: &Parts, query: &ReadQuery) -> Result<Self, Problem> {
        // A directory needs a key; the list itself begins before every key.
        let slash = Target { key: root(), directory: true, literal: false };
        Self::of(slash, Bytes::new(), parts, query)
    }

    /// `listed` is the directory to list, if it comes to that.
    fn of(target: Target, listed: Bytes, parts: &Parts, query: &ReadQuery) -> Result<Self, Problem> {
        let directory = target.directory || query.recursive.is_some();
        if directory && !target.key.is_directory() {
            let detail = format!("`recursive` is for directories, and {} does not end with a slash", target.key);
            return Err(Problem::new(Code::NotADirectory, detail));
        }
        let list = if directory { Some(list_request(listed, query)?) } else { None };
        if list.is_none() {
            refuse_list_parameters(query)?;
        }
        Ok(Self {
            target,
            consistency: query.consistency.unwrap_or_default(),
            raw: wants_raw(query.raw, list.is_some(), &parts.headers)?,
            if_none_match: Tags::of(&parts.headers, &IF_NONE_MATCH)?,
            if_match: Tags::of(&parts.headers, &IF_MATCH)?,
            hold: Hold::asked(parts, query.wait, query.after)?,
            revision: query.revision,
            list,
            timeout: query.timeout,
        })
    }

    /// Whether the past is asked for, which never changes.
    fn is_past(&self) -> bool {
        self.revision.is_some() || self.list.as_ref().is_some_and(|list| list.cursor.is_some())
    }
}

fn root() -> Key {
    #[expect(clippy::expect_used, reason = "one byte is not none")]
    Key::new(Bytes::from_static(b"/")).expect("one byte is not none")
}

fn list_request(directory: Bytes, query: &ReadQuery) -> Result<ListRequest, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if limit == 0 || limit > MAX_PAGE {
        return Err(Problem::invalid(format!(
            "`limit` has to be from 1 to {MAX_PAGE}; `countOnly=true` asks for no items"
        )));
    }
    let (prefix, contains) = narrowed(query)?;
    let mut request = ListRequest {
        directory,
        prefix,
        contains,
        recursive: query.recursive.unwrap_or(false),
        revision: query.revision,
        limit,
        cursor: None,
        keys_only: query.keys_only.unwrap_or(false),
        count_only: query.count_only.unwrap_or(false),
        sort_by: query.sort.unwrap_or_default(),
        descending: query.order == Some(Order::Descending),
        min_mod_revision: query.min_mod_revision,
        max_mod_revision: query.max_mod_revision,
        min_create_revision: query.min_create_revision,
        max_create_revision: query.max_create_revision,
    };
    if let Some(cursor) = &query.cursor {
        request.cursor = Some(cursor::read(cursor, shape(&request))?);
    }
    Ok(request)
}

/// What is to be in the names, and in the names or values.
fn narrowed(query: &ReadQuery) -> Result<(Bytes, Option<Bytes>), Problem> {
    let recursive = query.recursive == Some(true);
    let prefix = query.prefix.clone().unwrap_or_default();
    if prefix.contains('/') && !recursive {
        return Err(Problem::invalid(
            "`prefix` begins names of one level, which have no slash; `recursive=true` goes below",
        ));
    }
    let ordered = query.sort.is_some_and(|sort| sort != SortBy::Key) || query.order == Some(Order::Descending);
    match &query.contains {
        Some(text) if text.is_empty() => Err(Problem::invalid("`contains` has to be a text of at least one byte")),
        Some(_) if !recursive => Err(Problem::invalid("`contains` searches everything below: add `recursive=true`")),
        Some(_) if ordered || query.count_only == Some(true) => {
            Err(Problem::invalid("`contains` goes in order of key: with neither `sort`, `order` nor `countOnly`"))
        }
        contains => Ok((prefix.into(), contains.clone().map(Bytes::from))),
    }
}

fn refuse_list_parameters(query: &ReadQuery) -> Result<(), Problem> {
    let given = [
        ("prefix", query.prefix.is_some()),
        ("contains", query.contains.is_some()),
        ("limit", query.limit.is_some()),
        ("cursor", query.cursor.is_some()),
        ("keysOnly", query.keys_only.is_some()),
        ("countOnly", query.count_only.is_some()),
        ("sort", query.sort.is_some()),
        ("order", query.order.is_some()),
        ("minModRevision", query.min_mod_revision.is_some()),
        ("maxModRevision", query.max_mod_revision.is_some()),
        ("minCreateRevision", query.min_create_revision.is_some()),
        ("maxCreateRevision", query.max_create_revision.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => {
            Err(Problem::invalid(format!("`{name}` is for lists, and this is one key: a directory ends with a slash")))
        }
    }
}

/// Whether the bare value is wanted: by parameter, or because `Accept` prefers it to JSON.
fn wants_raw(parameter: Option<bool>, is_list: bool, headers: &HeaderMap) -> Result<bool, Problem> {
    match (parameter, is_list) {
        (Some(true), true) => Err(Problem::invalid("`raw` is for one key, and this is a list")),
        (Some(raw), _) => Ok(raw),
        (None, true) => Ok(false),
        (None, false) => Ok(headers.get(ACCEPT).is_some_and(prefers_raw)),
    }
}

/// Of equally wanted types the first one counts (RFC 9110, section 12.5.1, leaves that open).
fn prefers_raw(accept: &HeaderValue) -> bool {
    let mut best = (0.0_f32, false);
    for range in accept.to_str().unwrap_or_default().split(',') {
        let mut parameters = range.split(';').map(str::trim);
        let raw = match parameters.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/octet-stream" | "text/plain" => true,
            "application/json" | "application/*" | "*/*" => false,
            _ => continue,
        };
        let quality = parameters.find_map(|parameter| parameter.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        if quality > best.0 {
            best = (quality, raw);
        }
    }
    best.1
}

/// Answers, at once or when there is something new to say.
///
/// # Errors
/// [`Code::KeyNotFound`], and those of the service.
pub async fn get(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    let mut request = ReadRequest::parse(parts)?;
    let hold = request.hold.take().filter(|_| !request.is_past());
    poll::answer(api, request, hold).await
}

impl Look for ReadRequest {
    /// One level of a directory also changes when the first key comes into one of its sub-directories, or the last one
    /// goes.
    fn scope(&self) -> Scope {
        let range = match &self.list {
            Some(list) => KeyRange::prefix(list.directory.clone()),
            None => KeyRange::single(&self.target.key),
        };
        Scope { range, children_of: None }
    }

    fn consistency(&self) -> Consistency {
        self.consistency
    }

    fn timeout(&self) -> Option<Span> {
        self.timeout
    }

    fn if_none_match(&mut self) -> &mut Option<Tags> {
        &mut self.if_none_match
    }

    async fn tag(&self, reader: &Reader, revision: Option<Revision>) -> Result<Option<String>, Error> {
        let Some(list) = &self.list else {
            let found = reader.get(&self.target.key, revision)?;
            return Ok(found.map(|found| found.record.mod_revision.to_string()));
        };
        // The top is always there; any other directory may not have been.
        if list.directory.len() > 1 && !reader.is_directory(&self.target.key, revision)? {
            return Ok(None);
        }
        let listing = reader.list(ListRequest { revision, keys_only: true, ..list.clone() }).await?;
        Ok(Some(list_tag(list, &listing)))
    }

    async fn answer(&self, api: &State, call: &Call) -> Result<Answer, Problem> {
        let reader = api.service().reader(call, self.consistency).await?;
        match &self.list {
            // On the heap: a key by itself needs no room for it.
            Some(list) => Box::pin(directory(api, &reader, self, list)).await,
            None => one_key(api, &reader, self).await,
        }
    }
}

async fn one_key(api: &State, reader: &Reader, request: &ReadRequest) -> Result<Answer, Problem> {
    let revision = request.revision.unwrap_or(reader.revision());
    let found = reader.fetch(&request.target.key, request.revision).await?;
    let Some(found) = found else {
        refuse_unmatched(request, None, None, revision)?;
        let detail = format!("there is no key {}", request.target.key);
        return Err(Problem::new(Code::KeyNotFound, detail).at(revision));
    };
    let mod_revision = found.record.mod_revision;
    if request.if_match.is_some() || request.if_none_match.is_some() {
        let tag = mod_revision.to_string();
        refuse_unmatched(request, Some(&tag), Some(&found), revision)?;
        if request.if_none_match.as_ref().is_some_and(|tags| tags.matches(&tag)) {
            return Ok(Answer::empty(StatusCode::NOT_MODIFIED, revision).with_revision_tag(mod_revision));
        }
    }
    let answer = if request.raw {
        raw(revision, found)
    } else {
        let ttl = found.record.lease.and_then(|lease| api.service().lease_remaining(lease));
        let mut json = Vec::new();
        format::key_value(&mut json, &found.key, &found.record, ttl, Values::Show);
        Answer::json(revision, json)
    };
    Ok(answer.with_revision_tag(mod_revision).with_header(VARY, HeaderValue::from_static("accept")))
}

/// The bare value. Whatever it holds, a browser neither guesses its type nor runs it as a page of this origin.
fn raw(revision: Revision, found: KeyValue) -> Answer {
    let content_type = match found.record.content_type.map(|text| HeaderValue::try_from(ContentType::as_ref(&text))) {
        Some(Ok(content_type)) => content_type,
        Some(Err(_)) | None => HeaderValue::from_static("application/octet-stream"),
    };
    let mut answer = Answer::empty(StatusCode::OK, revision)
        .with_header(CONTENT_TYPE, content_type)
        .with_header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
        .with_header(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    answer.body = found.record.value.into();
    answer
}

/// `If-Match` on a read (RFC 9110, section 13.1.1).
fn refuse_unmatched(
    request: &ReadRequest,
    tag: Option<&str>,
    current: Option<&KeyValue>,
    revision: Revision,
) -> Result<(), Problem> {
    let Some(tags) = &request.if_match else { return Ok(()) };
    if tag.is_some_and(|tag| tags.matches(tag)) {
        return Ok(());
    }
    Err(Problem::new(Code::PreconditionFailed, "the condition does not hold").with_current(current).at(revision))
}

async fn directory(api: &State, reader: &Reader, request: &ReadRequest, list: &ListRequest) -> Result<Answer, Problem> {
    let listing = reader.list(list.clone()).await?;
    let revision = listing.revision;
    let nothing = listing.items.is_empty() && listing.directories.is_empty() && list.cursor.is_none();
    if nothing && list.directory.len() > 1 && listing.count.unwrap_or(0) == 0 {
        let directory = &request.target.key;
        if !reader.is_directory(directory, request.revision)? {
            refuse_unmatched(request, None, None, revision)?;
            let detail = format!("there is no directory {directory}");
            return Err(Problem::new(Code::KeyNotFound, detail).at(revision));
        }
    }
    let tag = list_tag(list, &listing);
    refuse_unmatched(request, Some(&tag), None, revision)?;
    let header = HeaderValue::try_from(format!("W/\"{tag}\"")).unwrap_or(HeaderValue::from_static("W/\"0\""));
    if request.if_none_match.as_ref().is_some_and(|tags| tags.matches(&tag)) {
        return Ok(Answer::empty(StatusCode::NOT_MODIFIED, revision).with_header(ETAG, header));
    }
    Ok(Answer::json(revision, list_json(api, list, &listing)).with_header(ETAG, header))
}

fn list_json(api: &State, list: &ListRequest, listing: &Listing) -> Vec<u8> {
    // A large page is written once, not copied from buffer to buffer as it grows.
    let items = listing.items.iter().map(|item| format::room(&item.key, &item.record));
    let directories = listing.directories.iter().map(|directory| 8 + directory.as_bytes().len());
    let mut out = Vec::with_capacity(256 + items.chain(directories).sum::<usize>());
    let mut object = Object::begin(&mut out);
    object.number("revision", listing.revision.get());
    if !list.count_only {
        let ttl = |lease| api.service().lease_remaining(lease);
        if list.keys_only {
            let items = listing.items.iter().zip(&listing.sizes);
            object.array("items", items, |out, (item, size)| {
                let ttl = item.record.lease.and_then(ttl);
                format::key_value(out, &item.key, &item.record, ttl, Values::Size(*size));
            });
        } else {
            format::key_values(&mut object, "items", &listing.items, Values::Show, ttl);
        }
        format::key_names(&mut object, "directories", &listing.directories);
    }
    if let Some(count) = listing.count {
        object.number("count", count);
    }
    if let Some(cursor) = &listing.cursor {
        object.string("cursor", &cursor::write(cursor, shape(list)));
    }
    if let Some(examined) = listing.examined {
        object.number("examined", examined);
    }
    object.end();
    out
}

/// The tag of a list: over what it holds and how it was asked for, so that it stays while nothing in the list changes,
/// whatever happens elsewhere.
fn list_tag(list: &ListRequest, listing: &Listing) -> String {
    let mut hash = Xxh3::new();
    hash.update(format!("{list:?}").as_bytes());
    for item in &listing.items {
        hash.update(&(item.key.as_bytes().len() as u64).to_le_bytes());
        hash.update(item.key.as_bytes());
        hash.update(&item.record.mod_revision.get().to_le_bytes());
    }
    for directory in &listing.directories {
        hash.update(&(directory.as_bytes().len() as u64).to_le_bytes());
        hash.update(directory.as_bytes());
    }
    hash.update(&listing.count.map_or([0xff; 8], u64::to_le_bytes));
    format!("{:x}", hash.digest())
}

/// A hash over everything that must stay the same from page to page.
fn shape(list: &ListRequest) -> u64 {
    let same = ListRequest { cursor: None, limit: 0, ..list.clone() };
    xxh3_64(format!("{same:?}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Cursor;

    fn parse(uri: &str, headers: &[(&str, &str)]) -> Result<ReadRequest, Problem> {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        ReadRequest::parse(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_trailing_slash_asks_for_a_list() {
        assert!(parse("/v1/keys/app/db", &[]).unwrap().list.is_none());
        assert!(!parse("/v1/keys/app/", &[]).unwrap().list.unwrap().recursive);
        assert!(parse("/v1/keys/app/?recursive=true", &[]).unwrap().list.unwrap().recursive);
        assert_eq!(parse("/v1/keys/", &[]).unwrap().list.unwrap().directory, "/");
        assert_eq!(parse("/v1/keys", &[]).unwrap().list.unwrap().directory, "");
        assert!(parse("/v1/keys?key=/app/", &[]).unwrap().list.is_none());
        assert_eq!(parse("/v1/keys?key=jobs/&recursive=false", &[]).unwrap().list.unwrap().directory, "jobs/");
    }

    #[test]
    fn what_is_for_lists_is_refused_on_a_key() {
        let code = |uri: &str| parse(uri, &[]).unwrap_err().code();
        assert_eq!(code("/v1/keys/app/db?recursive=true"), Code::NotADirectory);
        assert_eq!(code("/v1/keys/app/db?limit=1"), Code::InvalidArgument);
        assert_eq!(code("/v1/keys/app/?limit=0"), Code::InvalidArgument);
        assert_eq!(code("/v1/keys/app/?limit=100001"), Code::InvalidArgument);
        assert_eq!(code("/v1/keys/app/?raw=true"), Code::InvalidArgument);
        assert_eq!(code("/v1/keys/app/db?prefix=d"), Code::InvalidArgument);
    }

    #[test]
    fn a_search_says_where_it_goes() {
        let list = |query: &str| parse(&format!("/v1/keys/app/?{query}"), &[]).map(|read| read.list.unwrap());
        assert_eq!(list("prefix=d").unwrap().prefix, "d");
        assert_eq!(list("prefix=x/d&recursive=true").unwrap().prefix, "x/d");
        assert_eq!(list("contains=a%20b&recursive=true").unwrap().contains.unwrap(), "a b");
        let refused = [
            "prefix=x/d",
            "contains=a",
            "contains=&recursive=true",
            "contains=a&recursive=true&order=desc",
            "contains=a&recursive=true&sort=version",
            "contains=a&recursive=true&countOnly=true",
        ];
        for query in refused {
            assert_eq!(list(query).unwrap_err().code(), Code::InvalidArgument, "{query}");
        }
    }

    #[test]
    fn the_bare_value_comes_when_it_is_preferred() {
        let raw = |accept: &str| parse("/v1/keys/a", &[("accept", accept)]).unwrap().raw;
        assert!(raw("application/octet-stream"));
        assert!(raw("text/plain"));
        assert!(raw("application/json;q=0.5, text/plain"));
        assert!(!raw("*/*"));
        assert!(!raw("application/json, text/plain;q=0.9"));
        assert!(!raw("text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(!raw("text/plain;q=0, */*"));
        assert!(parse("/v1/keys/a?raw", &[]).unwrap().raw);
        assert!(!parse("/v1/keys/a?raw=false", &[("accept", "text/plain")]).unwrap().raw);
    }

    #[test]
    fn a_cursor_belongs_to_its_query() {
        let list = parse("/v1/keys/app/?limit=2", &[]).unwrap().list.unwrap();
        let cursor = Cursor { revision: Revision(7), position: Bytes::from_static(b"/app/b") };
        let text = cursor::write(&cursor, shape(&list));
        let next = parse(&format!("/v1/keys/app/?limit=5&cursor={text}"), &[]).unwrap();
        assert_eq!(next.list.unwrap().cursor, Some(cursor));
        for other in ["/v1/keys/app/?recursive=true&", "/v1/keys/other/?", "/v1/keys/app/?order=desc&"] {
            assert!(parse(&format!("{other}cursor={text}"), &[]).is_err(), "{other}");
        }
        assert!(parse("/v1/keys/app/?cursor=AAAA", &[]).is_err());
        let top = parse("/v1/keys?limit=2", &[]).unwrap().list.unwrap();
        let text = cursor::write(&Cursor { revision: Revision(7), position: Bytes::from_static(b"/") }, shape(&top));
        assert!(parse(&format!("/v1/keys?cursor={text}"), &[]).unwrap().list.unwrap().directory.is_empty());
        assert!(parse("/v1/keys/app/?cursor=%21", &[]).is_err());
    }
}
