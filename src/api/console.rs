//! `/console/`: the web console, whose files are in the binary as they stand in `web/`.
//!
//! One page, `SHELL`, is given for every path below `/console/`: its script looks at the path. What it loads is below
//! `ASSETS` and a word for this build, so that a browser keeps it for ever and a newer build is asked for anew. The console
//! knows the server by `/v1` alone; nothing here answers more than files.

use std::sync::OnceLock;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use xxhash_rust::xxh3::Xxh3;

use super::State;
use super::extract::Tags;
use super::problem::{Code, Problem};

/// The files of `web/`, sorted by name: the name and what is in it.
const FILES: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/web.rs"));
/// The page, which names what it loads with [`BUILD`] in place of the word for the build.
const SHELL: &str = "index.html";
const BUILD: &str = "{build}";
/// Where the page loads from. No page of the console has a path that begins so.
const ASSETS: &str = "/console/-/";
/// Scripts and styles come from this server and nowhere else, none stands in the page, and no script makes markup of text.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);
/// The name of a file says which build it is of.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Kept, and asked about each time.
const ASKED_ABOUT: HeaderValue = HeaderValue::from_static("no-cache");
/// No window of another page has a hold on one of these.
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// The routes. They are for people and not part of the API.
pub fn router() -> Router<State> {
    Router::new()
        .route("/console", get(|| async { Redirect::permanent("/console/") }))
        .route("/console/", get(shell))
        .route("/console/-/{build}/{*name}", get(asset))
        .route("/console/{*place}", get(shell))
}

/// A word for this build of the files: another one where any of them differs.
fn build() -> &'static str {
    static WORD: OnceLock<String> = OnceLock::new();
    WORD.get_or_init(|| {
        let mut hash = Xxh3::new();
        for (name, bytes) in FILES {
            hash.update(&(name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        format!("{:016x}", hash.digest())
    })
}

/// The page as it is sent.
fn page() -> &'static Bytes {
    static PAGE: OnceLock<Bytes> = OnceLock::new();
    PAGE.get_or_init(|| {
        let page = file(SHELL).map(String::from_utf8_lossy).unwrap_or_default();
        Bytes::from(page.replace(BUILD, build()))
    })
}

fn file(name: &str) -> Option<&'static [u8]> {
    let at = FILES.binary_search_by(|(known, _)| known.cmp(&name)).ok()?;
    FILES.get(at).map(|(_, bytes)| *bytes)
}

/// `GET /console/` and everything below it that is no file: the page. 304 to a browser that has it.
async fn shell(Shared(state): Shared<State>, uri: http::Uri, headers: HeaderMap) -> Response {
    if uri.path().starts_with(ASSETS) {
        return state.finish(Err(Problem::new(Code::NotFound, "the console has no such file")));
    }
    // Tags that are none know nothing: a person gets the page.
    let is_known = matches!(Tags::of(&headers, &IF_NONE_MATCH), Ok(Some(tags)) if tags.matches(build()));
    let mut response =
        if is_known { StatusCode::NOT_MODIFIED.into_response() } else { Body::from(page().clone()).into_response() };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CACHE_CONTROL, ASKED_ABOUT);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Weak: it is the same page, compressed or not.
    if let Ok(tag) = HeaderValue::try_from(format!("W/\"{}\"", build())) {
        headers.insert(ETAG, tag);
    }
    response
}

/// A file of this build. One of another build is not here: the page that asks for it has to be loaded anew.
async fn asset(Shared(state): Shared<State>, Path((of, name)): Path<(String, String)>) -> Response {
    let found = file(&name).filter(|_| of == build() && name != SHELL);
    let Some(bytes) = found else {
        return state.finish(Err(Problem::new(Code::NotFound, "this build of the console has no such file")));
    };
    let mut response = Body::from(Bytes::from_static(bytes)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type(&name)));
    headers.insert(CACHE_CONTROL, FOR_EVER);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the whole console may weigh, as it is.
    const MOST_BYTES: usize = 250 * 1000;
    /// The longest a file of it may be, in lines, where it is no table of texts.
    const MOST_LINES: usize = 300;

    #[test]
    fn the_page_names_only_files_that_there_are_and_this_build() {
        let page = std::str::from_utf8(page()).unwrap();
        let mut named = 0;
        for (at, _) in page.match_indices(ASSETS) {
            let address = page[at + ASSETS.len()..].split('"').next().unwrap();
            let (of, name) = address.split_once('/').unwrap();
            assert_eq!(of, build());
            assert!(file(name).is_some(), "{name}");
            named += 1;
        }
        assert!(named >= 2 && !page.contains(BUILD), "{page}");
    }

    #[test]
    fn the_console_is_small_and_so_are_its_files() {
        let whole: usize = FILES.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(whole > 0 && whole <= MOST_BYTES, "{whole} bytes");
        for (name, bytes) in FILES {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            assert!(lines <= MOST_LINES || name.starts_with("text/"), "web/{name}: {lines} lines");
            assert_ne!(media_type(name) == "application/octet-stream", *name != SHELL, "web/{name} has a type");
        }
    }

    #[test]
    fn each_module_says_first_what_it_owns() {
        for (name, bytes) in FILES.iter().filter(|(name, _)| media_type(name).contains("javascript")) {
            assert!(bytes.starts_with(b"// "), "web/{name}");
        }
    }

    #[test]
    fn files_are_found_by_their_names() {
        assert!(FILES.is_sorted_by(|(a, _), (b, _)| a < b));
        assert!(file(SHELL).is_some() && file("absent.js").is_none());
    }
}
