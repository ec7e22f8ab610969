//! Pages for people: `/` and one page for each problem code. The console is in [`super::console`].

use std::fmt::Write as _;

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::get;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue};

use super::State;
use super::problem::{Code, Problem};

/// Pages load nothing and run nothing.
const STATIC_ONLY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");

/// The routes. They are for people and not part of the API.
pub fn router() -> Router<State> {
    Router::new()
        .route("/", get(root))
        .route("/docs/problems/", get(problems))
        .route("/docs/problems/{code}", get(problem))
}

/// `GET /`: a browser goes to the console; anything else is told what this is and what to try.
pub async fn root(headers: HeaderMap) -> Response {
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/html") {
        return Redirect::temporary("/console/").into_response();
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1:2379");
    let text = format!(
        "Vardr {}: a versioned key space over HTTP. Documentation: http://{host}/docs/\n\
         \n  curl -X PUT http://{host}/v1/keys/greeting -d hello\n  curl http://{host}/v1/keys/greeting\n  \
         curl -N http://{host}/v1/watch/\n",
        env!("CARGO_PKG_VERSION")
    );
    ([(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], text).into_response()
}

/// `GET /docs/problems/{code}`: what a problem means and what to do about it.
pub async fn problem(Shared(state): Shared<State>, Path(code): Path<String>) -> Response {
    let Some(code) = Code::ALL.iter().find(|known| known.as_str() == code) else {
        return state.finish(Err(Problem::new(Code::NotFound, "there is no problem with this code")));
    };
    page(code.title(), &format!("<p><code>{code}</code>, status {}</p><p>{}</p>", code.status(), code.meaning()))
}

/// `GET /docs/problems/`: all problems.
pub async fn problems() -> Response {
    let mut list = String::from("<ul>");
    for code in Code::ALL {
        // Writing to a string cannot fail.
        let _ = write!(list, "<li><a href=\"/docs/problems/{code}\"><code>{code}</code></a>: {}</li>", code.title());
    }
    list.push_str("</ul>");
    page("Problems", &list)
}

fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title} · Vardr</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;\
         color-scheme:light dark}}</style><h1>{title}</h1>{body}</html>"
    );
    let mut response = Html(html).into_response();
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, STATIC_ONLY);
    response
}
