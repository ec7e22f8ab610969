//! What a cluster of etcd's has, as steps of an import: `v2` reads directories level by level, `v3` pages at one revision.
//!
//! Here is the source itself: requests that are tried again, bounded answers, and whether it is etcd at all. Only reads are
//! sent to it.

mod v2;
mod v3;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use url::Url;

pub(super) use v2::v2;
pub(super) use v3::v3;

use crate::cli::client::CONNECT_TIMEOUT;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cluster::cause;

/// The largest answer that is read. A level of a v2 directory comes in one answer, however much is in it.
const MAX_ANSWER_BYTES: usize = 128 * 1024 * 1024;
/// The shortest and the longest pause before a read is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A cluster to read.
#[derive(Debug)]
struct Source {
    http: reqwest::Client,
    /// Without a slash at the end, and without the password.
    base: String,
    user: Option<User>,
    /// How long a read is tried again before the source counts as gone.
    patience: Duration,
}

/// Who reads.
#[derive(Debug, Clone)]
struct User {
    name: String,
    password: String,
}

/// A read to send as often as it takes.
#[derive(Debug)]
struct Read<'a> {
    path: &'a str,
    /// A POST with this, else a GET.
    body: Option<&'a Value>,
    token: Option<&'a str>,
}

impl<'a> Read<'a> {
    fn get(path: &'a str) -> Self {
        Self { path, body: None, token: None }
    }
}

/// An answer of any status that asking again would not change.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Why a read gave no answer.
#[derive(Debug)]
enum Trouble {
    /// The answer is larger than [`MAX_ANSWER_BYTES`].
    TooLarge,
    /// None came, for as long as the patience lasts.
    Gone(String),
}

impl Source {
    /// A source at this URL that says that it is etcd.
    ///
    /// # Errors
    /// A URL that cannot be used, a source that cannot be reached, and one that is no etcd.
    async fn open(url: &str, patience: Duration) -> Outcome<Self> {
        let (base, user) = parts(url)?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(patience)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .build()
            .map_err(|error| Failure::failed(format!("no HTTP client can be had: {error}")))?;
        let source = Self { http, base, user, patience };
        let answer = source.read(&Read::get("/version")).await.map_err(|trouble| source.unavailable(&trouble))?;
        let version: Option<Value> = serde_json::from_slice(&answer.body).ok();
        if answer.status != StatusCode::OK || version.as_ref().and_then(|object| object.get("etcdserver")).is_none() {
            let base = &source.base;
            return Err(Failure::usage(format!("{base} is no etcd: {base}/version does not tell etcd's version")));
        }
        Ok(source)
    }

    /// Reads; tries again while there is no answer, or one that says to try again.
    async fn read(&self, read: &Read<'_>) -> Result<Answer, Trouble> {
        let mut pause = PAUSES.0;
        let end = Instant::now() + self.patience;
        loop {
            let why = match self.attempt(read).await? {
                Ok(answer) => return Ok(answer),
                Err(why) => why,
            };
            if Instant::now() + pause > end {
                return Err(Trouble::Gone(why));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Reads once. The inner error may be another time's success.
    async fn attempt(&self, read: &Read<'_>) -> Result<Result<Answer, String>, Trouble> {
        let url = format!("{}{}", self.base, read.path);
        let mut request = match read.body {
            Some(body) => self.http.post(url).body(body.to_string()),
            None => self.http.get(url),
        };
        match (read.token, &self.user) {
            (Some(token), _) => request = request.header(http::header::AUTHORIZATION, token),
            (None, Some(user)) if read.body.is_none() => request = request.basic_auth(&user.name, Some(&user.password)),
            (None, _) => {}
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Err(cause(&error))),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER_BYTES => return Err(Trouble::TooLarge),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Ok(Err(format!("an answer broke off: {}", cause(&error)))),
            }
        }
        let answer = Answer { status, headers, body: body.freeze() };
        let passes =
            status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        Ok(if passes { Err(answer.told()) } else { Ok(answer) })
    }

    /// Nothing was read yet, and nothing will be.
    fn unavailable(&self, trouble: &Trouble) -> Failure {
        Failure::new(Exit::Unavailable, format!("{} cannot be read: {trouble}", self.base))
    }

    /// The source refuses what an import begins with.
    fn refused(&self, answer: &Answer) -> Failure {
        let message = format!("{} does not let its keys be read: {}", self.base, answer.told());
        let asks_for_user = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            || answer.told().contains("user name is empty");
        if asks_for_user && self.user.is_none() {
            return Failure::usage(format!("{message}; a user is named as http://USER:PASSWORD@HOST:PORT"));
        }
        Failure::usage(message)
    }
}

impl Answer {
    /// What it says, for people: the message of an error, or the status.
    fn told(&self) -> String {
        let object: Option<Value> = serde_json::from_slice(&self.body).ok();
        let member = |name: &str| object.as_ref().and_then(|object| object.get(name)?.as_str().map(str::to_owned));
        let told = member("message").or_else(|| member("error")).unwrap_or_else(|| "no reason is given".to_owned());
        match member("cause").filter(|cause| !cause.is_empty()) {
            Some(cause) => format!("{told}: {cause} (HTTP status {})", self.status.as_u16()),
            None => format!("{told} (HTTP status {})", self.status.as_u16()),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the answer has more than {} MiB", MAX_ANSWER_BYTES >> 20),
            Self::Gone(why) => f.write_str(why),
        }
    }
}

/// The URL without user and password, and these.
fn parts(text: &str) -> Outcome<(String, Option<User>)> {
    let refuse = |problem: &str| {
        Err(Failure::usage(format!(
            "the URL of the cluster to read cannot be used: {problem}; allowed: http://[USER:PASSWORD@]HOST:PORT"
        )))
    };
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let Ok(mut url) = Url::parse(&full) else { return refuse("it is not a URL") };
    match url.scheme() {
        "http" if url.query().is_none() && url.fragment().is_none() => {}
        "http" => return refuse("something stands behind the host and port"),
        "https" => return refuse("TLS is not available"),
        _ => return refuse("its scheme is not http"),
    }
    let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = plain(url.password().unwrap_or_default());
    let user = (!url.username().is_empty()).then(|| User { name: plain(url.username()), password });
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        return refuse("it has no host");
    }
    Ok((url.as_str().trim_end_matches('/').to_owned(), user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_taken_out_of_the_url() {
        let (base, user) = parts("http://root:p%40ss@etcd.example:2379/").unwrap();
        let user = user.unwrap();
        assert_eq!(
            (base.as_str(), user.name.as_str(), user.password.as_str()),
            ("http://etcd.example:2379", "root", "p@ss")
        );
        let (base, user) = parts("127.0.0.1:2379").unwrap();
        assert_eq!((base.as_str(), user.is_none()), ("http://127.0.0.1:2379", true));
        for text in ["https://x:1", "ftp://x", "http://x/?a", ""] {
            assert_eq!(parts(text).unwrap_err().exit(), Exit::Usage, "{text}");
        }
    }

    #[test]
    fn an_answer_tells_what_etcd_says() {
        let told = |status, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            Answer { status, headers: HeaderMap::new(), body: body.to_owned().into() }.told()
        };
        assert_eq!(
            told(404, r#"{"errorCode":100,"message":"Key not found","cause":"/a"}"#),
            "Key not found: /a (HTTP status 404)"
        );
        assert_eq!(told(400, r#"{"error":"etcdserver: x","code":3}"#), "etcdserver: x (HTTP status 400)");
        assert_eq!(told(404, "404 page not found\n"), "no reason is given (HTTP status 404)");
    }
}
