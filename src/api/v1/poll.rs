//! Holding a request until something that it is about has changed (`Prefer: wait`, RFC 7240, section 4.3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::Request;
use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::timeout_at;

use crate::api::extract::query::{After, Span, Wait};
use crate::api::extract::{Tags, duration};
use crate::api::origin::origin_of;
use crate::api::problem::{Code, Problem};
use crate::api::{Answer, PREFERENCE_APPLIED, State};
use crate::model::{Key, KeyRange, Revision};
use crate::service::{Call, Carrier, Consistency, Error, OnCompacted, Origin, Reader, Service, Start, WatchRequest};

/// The longest that a request is held.
pub(super) const MAX_WAIT: Duration = Duration::from_mins(10);
/// The preferences of a client (RFC 7240).
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// What a held request is about.
#[derive(Debug, Clone)]
pub struct Scope {
    pub range: KeyRange,
    /// Only what is directly in this directory.
    pub children_of: Option<Key>,
}

/// How a request asks to be held.
#[derive(Debug, Clone)]
pub struct Hold {
    /// How long, while nothing changes.
    pub wait: Duration,
    /// That by a preference of the client, and not by a parameter.
    preferred: bool,
    /// Until something changed after this revision.
    pub after: Option<Revision>,
    /// Who waits.
    origin: Option<Arc<Origin>>,
}

/// Whether a request could ask to be held: most do not.
#[must_use]
pub fn may_be_held(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        && (request.uri().query().is_some() || request.headers().contains_key(PREFER))
}

impl Hold {
    /// What the parameters `wait` and `after` and the headers ask for; `None` when the answer is wanted at once.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`].
    pub fn asked(parts: &Parts, wait: Option<Wait>, after: Option<After>) -> Result<Option<Self>, Problem> {
        let preferred = wait.is_none();
        let wait = match wait.map(Wait::duration) {
            Some(wait) if wait > MAX_WAIT => {
                return Err(Problem::invalid(format!("`wait` may be at most {} s", MAX_WAIT.as_secs())));
            }
            Some(wait) => Some(wait),
            None => preferred_wait(&parts.headers)?.map(|wait| wait.min(MAX_WAIT)),
        };
        if after.is_some() && wait.is_none() {
            return Err(Problem::invalid("`after` goes with `wait`"));
        }
        Ok(wait.map(|wait| {
            let origin = origin_of(Carrier::Poll, parts);
            Self { wait, preferred, after: after.map(|after| after.0), origin }
        }))
    }
}

/// The wait that a client prefers (RFC 7240, section 4.3). Other preferences may be passed over.
fn preferred_wait(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    for header in headers.get_all(PREFER) {
        let text = header.to_str().unwrap_or_default();
        for preference in text.split([',', ';']) {
            let Some((name, value)) = preference.split_once('=') else { continue };
            if name.trim().eq_ignore_ascii_case("wait") {
                let wait = duration::parse(value.trim().trim_matches('"'));
                return wait
                    .map(|ttl| Some(Duration::from_millis(ttl.get())))
                    .ok_or_else(|| Problem::invalid(format!("the `wait` of Prefer takes {}", duration::EXPECTED)));
            }
        }
    }
    Ok(None)
}

/// A read that can be held.
pub trait Look: Send + Sync {
    /// The keys whose changes can change the answer.
    fn scope(&self) -> Scope;
    fn consistency(&self) -> Consistency;
    fn timeout(&self) -> Option<Span>;
    /// The entity tags that the client knows of.
    fn if_none_match(&mut self) -> &mut Option<Tags>;
    /// The entity tag of what there was at a revision, the present one without; `None` when there was nothing.
    fn tag(
        &self,
        reader: &Reader,
        revision: Option<Revision>,
    ) -> impl Future<Output = Result<Option<String>, Error>> + Send;
    /// Looks once, and answers: 200, 304, or the problem that there is.
    fn answer(&self, api: &State, call: &Call) -> impl Future<Output = Result<Answer, Problem>> + Send;
}

/// Answers a read, at once or when there is something new to say.
///
/// # Errors
/// Those of the read.
pub async fn answer(api: &State, mut request: impl Look, hold: Option<Hold>) -> Result<Answer, Problem> {
    let Some(hold) = hold else { return request.answer(api, &api.call(request.timeout())?).await };
    // On the heap: what is answered at once needs no room for it.
    let answer = Box::pin(held(api, &mut request, &hold)).await?;
    if hold.preferred {
        return Ok(answer.with_header(PREFERENCE_APPLIED, HeaderValue::from_static("wait")));
    }
    Ok(answer)
}

/// Holds a request until its answer is another one than the client has.
///
/// The first look may find one already. Each further look follows a change in scope, so a write elsewhere never wakes it.
async fn held(api: &State, request: &mut impl Look, hold: &Hold) -> Result<Answer, Problem> {
    let until = Instant::now() + hold.wait;
    let mut seen = match (hold.after, request.if_none_match()) {
        (Some(after), _) => after,
        // The entity tags tell by themselves.
        (None, Some(_)) => Revision::ZERO,
        (None, None) => api.service().header().revision,
    };
    if request.if_none_match().is_none() || hold.after.is_some() {
        *request.if_none_match() = Some(known(api, &*request, seen).await?);
    }
    // To a client that saw nothing, still nothing is no news; to one that did, it is.
    let saw_nothing = *request.if_none_match() == Some(Tags::Listed(Vec::new()));
    loop {
        let call = api.call(request.timeout())?.by(hold.origin.clone());
        let result = request.answer(api, &call).await;
        let unchanged = match &result {
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => answer.revision,
            Err(problem) if problem.status() == StatusCode::NOT_FOUND && saw_nothing => problem.revision(),
            Ok(_) | Err(_) => None,
        };
        let Some(revision) = unchanged else { return result };
        seen = seen.max(revision);
        if !changed(api.service(), &call, &request.scope(), seen, until).await? {
            return result;
        }
    }
}

/// The entity tag of what the client saw at a revision. What was compacted since, or is still to come, is known to nobody.
async fn known(api: &State, request: &impl Look, seen: Revision) -> Result<Tags, Problem> {
    let reader = api.service().reader(&api.call(request.timeout())?, request.consistency()).await?;
    if seen == Revision::ZERO {
        return Ok(Tags::Listed(Vec::new()));
    }
    let then = (seen < reader.revision()).then_some(seen);
    match request.tag(&reader, then).await.map_err(Problem::from) {
        Ok(tag) => Ok(Tags::Listed(tag.into_iter().collect())),
        Err(problem) if problem.code() == Code::Compacted => Ok(Tags::Listed(Vec::new())),
        Err(problem) => Err(problem),
    }
}

/// Waits until something in the scope has changed after the revision. False when nothing has by `until`, or when the
/// server drains.
///
/// # Errors
/// [`Error::Stopped`] and what a watch can fail with.
async fn changed(
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
    timeout_at(until.into(), service.changed(call, request)).await.unwrap_or(Ok(false))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::model::Ttl;

    #[test]
    fn a_wait_is_preferred_or_asked_for() {
        let asked = |prefer: &'static str| {
            let request = Request::builder().header(PREFER, prefer).body(Body::empty()).unwrap();
            assert!(may_be_held(&request));
            Hold::asked(&request.into_parts().0, None, None).map(|hold| hold.map(|hold| hold.wait))
        };
        assert_eq!(asked("wait=60").unwrap(), Some(Duration::from_mins(1)));
        assert_eq!(asked("respond-async, wait=\"2s\"").unwrap(), Some(Duration::from_secs(2)));
        assert_eq!(asked("return=minimal").unwrap(), None);
        assert!(asked("wait=soon").is_err());
        let none = Request::new(Body::empty());
        assert!(!may_be_held(&none));
        let none = none.into_parts().0;
        let hold = Hold::asked(&none, Some(Wait(Ttl(1000))), Some(After(Revision(0)))).unwrap().unwrap();
        assert_eq!((hold.wait, hold.preferred, hold.after), (Duration::from_secs(1), false, Some(Revision(0))));
        assert!(Hold::asked(&none, None, Some(After(Revision(0)))).is_err());
        assert!(Hold::asked(&none, Some(Wait(Ttl(601_000))), None).is_err());
    }
}
