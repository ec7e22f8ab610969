//! `/new`: a place where the members of a new cluster find each other, as discovery.etcd.io hands them out. Those of Vardr's
//! and of etcd's take it as `--discovery`.

use axum::Router;
use axum::extract::{Request, State as Extract};
use axum::response::Response;
use axum::routing::get;
use http::header::{ALLOW, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::extract::query::{parameters, query};
use super::problem::{Code, Problem};
use super::{Answer, State};

/// How many members a cluster has whose size nobody says, as at discovery.etcd.io.
const DEFAULT_SIZE: u64 = 3;
/// Says of browsers alone whether another site's page makes the request (W3C Fetch Metadata, section 2.3).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where it is.
const PATH: &str = "/new";

/// The route. It is not part of `/v1`.
pub fn router() -> Router<State> {
    Router::new().route(PATH, get(new))
}

/// Whether a request changes something although it is a GET.
pub(super) fn makes_roster(request: &Request) -> bool {
    request.method() == Method::GET && request.uri().path() == PATH
}

parameters! {
    /// What the cluster will be.
    pub struct NewQuery {
        /// How many members it begins with. Default 3.
        size: u64 = "size", 3;
    }
}

/// `GET /new?size=3`: makes a roster, and answers with its URL alone.
async fn new(Extract(api): Extract<State>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let result = make(&api, &parts).await;
    api.finish(result)
}

async fn make(api: &State, parts: &Parts) -> Result<Answer, Problem> {
    if parts.method == Method::HEAD {
        let problem = Problem::new(Code::MethodNotAllowed, "only GET makes a roster");
        return Err(problem.with_header(ALLOW, HeaderValue::from_static("GET")));
    }
    if is_foreign(&parts.headers) {
        return Err(Problem::new(Code::PermissionDenied, "a page of another site may not make rosters"));
    }
    let asked: NewQuery = query(parts.uri.query())?;
    let named = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let Some(host) = parts.uri.authority().map(http::uri::Authority::as_str).or(named) else {
        return Err(Problem::invalid("the request has no Host, and so there is no URL to answer with"));
    };
    let call = api.call(None)?;
    let directory = api.service().new_roster(&call, asked.size.unwrap_or(DEFAULT_SIZE)).await?;
    let url = format!("http://{host}/v2/keys{directory}");
    let answer = Answer::json(api.service().header().revision, url.into_bytes());
    Ok(answer.with_header(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")))
}

/// Whether a page of elsewhere has a browser make the request, as by an image. Such a GET has no `Origin`; one that has is
/// let in by it, as any write is.
fn is_foreign(headers: &HeaderMap) -> bool {
    let site = headers.get(SEC_FETCH_SITE).filter(|_| !headers.contains_key(ORIGIN));
    site.is_some_and(|site| site != "same-origin" && site != "none")
}
