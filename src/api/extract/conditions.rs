//! Conditions: from query parameters and from headers, into one condition or one refusal.
//!
//! Headers follow RFC 9110, sections 8.8.3 (entity tags) and 13.1. The entity tag of a key is its revision; compression
//! on the way may have weakened it or added a suffix, and it is accepted back all the same.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};

use crate::api::problem::Problem;
use crate::model::{Condition, Revision};

/// The conditions that a query may carry.
#[derive(Debug, Default)]
pub struct ConditionQuery {
    pub prev_exist: Option<bool>,
    pub prev_revision: Option<Revision>,
    pub prev_value: Option<String>,
}

/// The condition of a write.
///
/// # Errors
/// When the conditions contradict each other, or a header is none that a write can have.
pub fn condition(query: ConditionQuery, headers: &HeaderMap) -> Result<Condition, Problem> {
    let mut condition = Condition {
        exists: query.prev_exist,
        revisions: query.prev_revision.into_iter().collect(),
        value: query.prev_value.map(Bytes::from),
    };
    if let Some(tags) = Tags::of(headers, &IF_MATCH)? {
        match tags {
            Tags::Any => exist(&mut condition, true)?,
            Tags::Listed(tags) => {
                let revisions: Vec<_> = tags.iter().map(|tag| revision(tag)).collect();
                if !condition.revisions.is_empty() && condition.revisions != revisions {
                    return Err(conflict("`prevRevision` and If-Match name different revisions"));
                }
                condition.revisions = revisions;
            }
        }
    }
    match Tags::of(headers, &IF_NONE_MATCH)? {
        None => {}
        Some(Tags::Any) => exist(&mut condition, false)?,
        Some(Tags::Listed(_)) => {
            return Err(Problem::invalid(
                "a write takes no If-None-Match but `*`; give the revision it expects in If-Match",
            ));
        }
    }
    if condition.exists == Some(false) && (!condition.revisions.is_empty() || condition.value.is_some()) {
        return Err(conflict("a key that must not exist has neither a revision nor a value"));
    }
    Ok(condition)
}

/// Refuses conditions in the headers of a request that has no use for them: a guard must not be passed over in silence.
///
/// # Errors
/// When there are any.
pub fn refuse_conditions(headers: &HeaderMap) -> Result<(), Problem> {
    let name = [IF_MATCH, IF_NONE_MATCH].into_iter().find(|name| headers.contains_key(name));
    name.map_or(Ok(()), |name| Err(Problem::invalid(format!("this request takes no conditions, and {name} is one"))))
}

fn exist(condition: &mut Condition, exists: bool) -> Result<(), Problem> {
    if condition.exists.is_some_and(|asked| asked != exists) {
        return Err(conflict("one condition wants the key to exist, another one wants it not to"));
    }
    condition.exists = Some(exists);
    Ok(())
}

fn conflict(what: &str) -> Problem {
    Problem::invalid(format!("the conditions contradict each other: {what}"))
}

/// The revision that a tag stands for. A tag that was never given out for a key matches none.
fn revision(tag: &str) -> Revision {
    tag.parse().map_or(Revision(u64::MAX), Revision)
}

/// The entity tags of a conditional header, without quotes, weakness and coding suffixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`
    Any,
    Listed(Vec<String>),
}

impl Tags {
    /// The tags in a header; `None` when it is absent.
    ///
    /// # Errors
    /// When it is neither `*` nor a list of quoted tags.
    pub fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let mut listed = Vec::new();
        let mut any = false;
        let mut present = false;
        for header in headers.get_all(name) {
            present = true;
            let text = header.to_str().map_err(|_| malformed(name))?;
            if text.trim() == "*" {
                any = true;
            } else {
                parse(text, &mut listed).ok_or_else(|| malformed(name))?;
            }
        }
        match (present, any, listed.is_empty()) {
            (false, _, _) => Ok(None),
            (true, true, true) => Ok(Some(Self::Any)),
            (true, false, false) => Ok(Some(Self::Listed(listed))),
            (true, true, false) | (true, false, true) => Err(malformed(name)),
        }
    }

    /// Whether one of the tags is `tag`; `*` matches whatever exists.
    #[must_use]
    pub fn matches(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|listed| listed == tag),
        }
    }
}

fn malformed(name: &HeaderName) -> Problem {
    Problem::invalid(format!("{name} has to be `*` or a list of entity tags in double quotes, such as \"9\""))
}

/// Reads `"a", W/"b"`. Tags may hold commas, so the list cannot simply be split.
fn parse(text: &str, tags: &mut Vec<String>) -> Option<()> {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let opened = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let (tag, behind) = opened.split_once('"')?;
        tags.push(without_coding(tag).to_owned());
        rest = behind.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(())
}

/// Proxies that compress mark the tag with the coding: `9-gzip`, `9--gzip`.
fn without_coding(tag: &str) -> &str {
    ["gzip", "zstd", "br", "deflate"]
        .iter()
        .find_map(|coding| tag.strip_suffix(coding)?.strip_suffix('-'))
        .map_or(tag, |bare| bare.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, http::HeaderValue::from_static(value));
        }
        map
    }

    fn by_header(pairs: &[(HeaderName, &'static str)]) -> Result<Condition, Problem> {
        condition(ConditionQuery::default(), &headers(pairs))
    }

    fn tags(text: &'static str) -> Vec<String> {
        match Tags::of(&headers(&[(IF_MATCH, text)]), &IF_MATCH) {
            Ok(Some(Tags::Listed(tags))) => tags,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn tags_are_accepted_back_as_compression_changed_them() {
        assert_eq!(tags("\"9\""), ["9"]);
        assert_eq!(tags("W/\"9\""), ["9"]);
        assert_eq!(tags("\"9-gzip\""), ["9"]);
        assert_eq!(tags("W/\"9--zstd\""), ["9"]);
        assert_eq!(tags("\"9\" , W/\"a,b\",\"\""), ["9", "a,b", ""]);
    }

    #[test]
    fn what_is_neither_a_star_nor_a_list_of_tags_is_refused() {
        for text in ["9", "\"9", "9\"", "", "\"9\" \"8\"", "W/9", "*, \"9\"", ","] {
            let map = headers(&[(IF_MATCH, text)]);
            assert!(Tags::of(&map, &IF_MATCH).is_err(), "{text}");
        }
        assert!(Tags::of(&headers(&[(IF_MATCH, "*"), (IF_MATCH, "\"9\"")]), &IF_MATCH).is_err());
    }

    #[test]
    fn headers_and_parameters_mean_the_same() {
        assert_eq!(by_header(&[(IF_MATCH, "*")]).unwrap().exists, Some(true));
        assert_eq!(by_header(&[(IF_NONE_MATCH, "*")]).unwrap().exists, Some(false));
        let revisions = by_header(&[(IF_MATCH, "\"9\""), (IF_MATCH, "\"10\"")]).unwrap().revisions;
        assert_eq!(revisions, [Revision(9), Revision(10)]);
        assert!(by_header(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_foreign_tag_is_a_condition_that_never_holds() {
        assert_eq!(by_header(&[(IF_MATCH, "\"abc\"")]).unwrap().revisions, [Revision(u64::MAX)]);
    }

    #[test]
    fn contradictions_are_refused() {
        let query = |exists, revision: Option<u64>| ConditionQuery {
            prev_exist: exists,
            prev_revision: revision.map(Revision),
            prev_value: None,
        };
        let both = |query, pairs: &[(HeaderName, &'static str)]| condition(query, &headers(pairs));
        assert!(both(query(Some(false), Some(9)), &[]).is_err());
        assert!(both(query(Some(false), None), &[(IF_MATCH, "*")]).is_err());
        assert!(both(query(None, Some(9)), &[(IF_MATCH, "\"8\"")]).is_err());
        assert!(both(query(None, Some(9)), &[(IF_MATCH, "\"9\"")]).is_ok());
        assert!(both(query(Some(true), Some(9)), &[]).is_ok());
        assert!(by_header(&[(IF_MATCH, "\"9\""), (IF_NONE_MATCH, "*")]).is_err());
        assert!(by_header(&[(IF_NONE_MATCH, "\"9\"")]).is_err());
    }

    #[test]
    fn a_request_without_conditions_refuses_them() {
        assert!(refuse_conditions(&HeaderMap::new()).is_ok());
        assert!(refuse_conditions(&headers(&[(IF_NONE_MATCH, "*")])).is_err());
    }
}
