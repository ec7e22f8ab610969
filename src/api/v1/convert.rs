//! `/v1/convert`: a document in the body, in JSON or YAML, as JSON or YAML. Nothing is read or stored.

use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::response::Response;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::time::timeout_at;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::format::is_json;
use crate::api::extract::json;
use crate::api::extract::query::{Span, parameters};
use crate::api::extract::{query, refuse_conditions};
use crate::api::problem::{Code, Problem};
use crate::api::yaml::{self, Bounds, Malformed, Unwritable};
use crate::api::{Answer, State, extract};
use crate::model::limits::{MAX_CONVERTED_BYTES, MAX_CONVERTED_VALUES};

pub(super) fn router() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(convert))
}

parameters! {
    /// What can be asked of a conversion.
    pub struct ConvertQuery {
        /// How long the request may take. Default 5 s, at most 10 min.
        timeout: Span = "timeout", "5s";
    }
}

/// The media type of YAML (RFC 9512).
const YAML: &str = "application/yaml";

/// Convert between JSON and YAML
///
/// The body, one document in the format that `Content-Type` names (`application/json` or `application/yaml`), is answered in the one
/// that `Accept` prefers, JSON by default. Numbers keep all their digits, and members their order. YAML is read as version 1.2 and
/// written in blocks, by the same rules as `vardr import` and `vardr export`; scalars as names become text, comments are lost. What is
/// malformed, or has no place in JSON (tags of one's own, `.inf`, a name that stands twice, names that are lists or objects, a
/// second document), is refused with `line` and `column`, and so is what nests deeper than 64 levels. Stores nothing.
#[utoipa::path(
    post, path = "/v1/convert", operation_id = "convert", tag = "keys", params(ConvertQuery),
    request_body(content(
        (Value = "application/json", example = json!({"port": 5432, "tags": ["a"]})),
        (Value = "application/yaml", example = json!({"port": 5432, "tags": ["a"]})),
    )),
    responses((status = 200, description = "The same document", content(
        (Value = "application/json", example = json!({"port": 5432, "tags": ["a"]})),
        (Value = "application/yaml", example = json!({"port": 5432, "tags": ["a"]})),
    ))),
)]
pub async fn convert(Extract(api): Extract<State>, request: Request) -> Response {
    let result = answer(&api, request).await;
    api.finish(result)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Json,
    Yaml,
}

impl Language {
    fn of(media_type: &str) -> Option<Self> {
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            YAML | "text/yaml" | "application/x-yaml" | "text/x-yaml" => Some(Self::Yaml),
            essence if is_json(essence) => Some(Self::Json),
            _ => None,
        }
    }

    /// The language of a body.
    fn named(headers: &HeaderMap) -> Result<Self, Problem> {
        let named = headers.get(CONTENT_TYPE).and_then(|header| header.to_str().ok());
        named.and_then(Self::of).ok_or_else(|| {
            let said = named.unwrap_or("none");
            let detail = format!("Content-Type has to be application/json or {YAML}, and is {said}");
            Problem::new(Code::UnsupportedMediaType, detail)
        })
    }

    /// The language that is wanted most; of equally wanted ones the first counts, as for keys.
    fn wanted(headers: &HeaderMap) -> Self {
        let mut best = (0.0_f32, Self::Json);
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')) {
            let mut parameters = range.split(';').map(str::trim);
            let language = match parameters.next().unwrap_or_default() {
                "application/*" | "*/*" => Self::Json,
                essence => match Self::of(essence) {
                    Some(language) => language,
                    None => continue,
                },
            };
            let quality = parameters.find_map(|parameter| parameter.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            if quality > best.0 {
                best = (quality, language);
            }
        }
        best.1
    }

    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Yaml => YAML,
        })
    }
}

async fn answer(api: &State, request: Request) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let asked: ConvertQuery = query(parts.uri.query())?;
    refuse_conditions(&parts.headers)?;
    let (from, to) = (Language::named(&parts.headers)?, Language::wanted(&parts.headers));
    let call = api.call(asked.timeout)?;
    let limit = api.service().limits().max_request_bytes;
    let body = extract::body::read(&parts.headers, body, limit, call.deadline).await?;
    let late = || Problem::new(Code::DeadlineExceeded, "others are being converted; try again");
    let place = timeout_at(call.deadline.into(), api.converting()).await.map_err(|_| late())?;
    let converted = tokio::task::spawn_blocking(move || {
        let converted = rewrite(&body, from, to);
        drop(place);
        converted
    });
    let text = converted.await.map_err(|error| Problem::new(Code::Internal, format!("it was cut off: {error}")))??;
    let mut answer = Answer::json(api.service().header().revision, Vec::new())
        .with_header(CONTENT_TYPE, to.media_type())
        .with_header(VARY, HeaderValue::from_static("accept"));
    answer.body = Body::from(text);
    Ok(answer)
}

fn rewrite(body: &[u8], from: Language, to: Language) -> Result<Vec<u8>, Problem> {
    if body.is_empty() {
        return Err(Problem::invalid("the body is empty; a document is needed"));
    }
    let document = match from {
        Language::Json => read_json(body)?,
        Language::Yaml => read_yaml(body)?,
    };
    let written = match to {
        Language::Json => serde_json::to_vec(&document).map_err(|error| error.to_string()),
        Language::Yaml => match yaml::write(&document, MAX_CONVERTED_BYTES) {
            Ok(text) => Ok(text.into_bytes()),
            Err(Unwritable::TooLarge(_)) => return Err(too_large()),
            Err(Unwritable::Yaml(error)) => Err(error.to_string()),
        },
    };
    let text =
        written.map_err(|error| Problem::new(Code::Internal, format!("the document was not written: {error}")))?;
    if text.len() > MAX_CONVERTED_BYTES { Err(too_large()) } else { Ok(text) }
}

fn too_large() -> Problem {
    let detail = format!("what comes of the document is larger than the {MAX_CONVERTED_BYTES} bytes allowed");
    Problem::new(Code::TooLarge, detail).with_number("limitBytes", MAX_CONVERTED_BYTES as u64)
}

fn read_json(body: &[u8]) -> Result<Value, Problem> {
    json::check(body).map_err(|problem| {
        let found = serde_json::from_slice::<IgnoredAny>(body).err();
        placed(problem, found.map(|error| (error.line() as u64, error.column() as u64)))
    })?;
    let text = std::str::from_utf8(body).map_err(|_| Problem::invalid("the body is not UTF-8"))?;
    let names = json::names(text);
    if let Some((at, name)) = names.twice {
        let (line, column) = place(text, at);
        let detail = format!("the name {name:?} stands twice in its object, at line {line} column {column}");
        return Err(placed(Problem::invalid(detail), Some((line, column))));
    }
    if names.values > MAX_CONVERTED_VALUES {
        let detail = format!("the document has more than the {MAX_CONVERTED_VALUES} values and names allowed");
        return Err(Problem::invalid(detail));
    }
    serde_json::from_str(text).map_err(|error| Problem::invalid(format!("the body is not JSON: {error}")))
}

fn read_yaml(body: &[u8]) -> Result<Value, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let sound = body.get(..error.valid_up_to()).unwrap_or_default();
        let (line, column) = place(&String::from_utf8_lossy(sound), sound.len());
        let detail = format!("the body is not UTF-8: line {line}, column {column}");
        placed(Problem::invalid(detail), Some((line, column)))
    })?;
    yaml::read(text, Bounds::REQUEST).map_err(|malformed| {
        if let Malformed::NoThread(_) = malformed {
            return Problem::new(Code::Internal, malformed.to_string());
        }
        let detail = format!("the body is no YAML that can be read: {}", malformed.in_short());
        placed(Problem::invalid(detail), malformed.place())
    })
}

fn placed(problem: Problem, place: Option<(u64, u64)>) -> Problem {
    match place {
        Some((line, column)) => problem.with_number("line", line).with_number("column", column),
        None => problem,
    }
}

/// The line and column of a byte, from 1, columns in characters.
fn place(text: &str, at: usize) -> (u64, u64) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line as u64, column as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_wanted_most_is_the_answer() {
        let wanted = |accept: &str| Language::wanted(&HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]));
        for yaml in [
            "application/yaml",
            "text/yaml",
            "text/html, application/x-yaml;q=0.5",
            "application/json;q=0.1,application/yaml;q=0.2",
        ] {
            assert_eq!(wanted(yaml), Language::Yaml, "{yaml}");
        }
        for json in
            ["*/*", "application/json", "text/csv", "application/json, application/yaml", "application/yaml;q=0"]
        {
            assert_eq!(wanted(json), Language::Json, "{json}");
        }
        assert_eq!(Language::wanted(&HeaderMap::new()), Language::Json);
    }

    #[test]
    fn bodies_are_of_a_named_language() {
        let of = |named: &str| Language::named(&HeaderMap::from_iter([(CONTENT_TYPE, named.parse().unwrap())]));
        assert_eq!(of("Application/YAML; charset=utf-8").unwrap(), Language::Yaml);
        assert_eq!(of("application/merge-patch+json").unwrap(), Language::Json);
        for other in ["text/plain", "application/x-www-form-urlencoded"] {
            assert_eq!(of(other).unwrap_err().code(), Code::UnsupportedMediaType);
        }
        assert!(Language::named(&HeaderMap::new()).unwrap_err().detail().contains("is none"));
    }

    #[test]
    fn refusals_say_where() {
        for (language, body, place) in [
            (Language::Json, &b"{\"a\":1,\n\"\xc3\xa9\":{\"b\":1},\"a\":2}"[..], "line 2 column 13"),
            (Language::Json, b"{\n\"a\":}", "line 2 column 5"),
            (Language::Yaml, b"a: 1\nb: \xff", "line 2, column 4"),
            (Language::Yaml, b"a: 1\n\xc3\xa9: [", "line 2"),
        ] {
            let problem = rewrite(body, language, Language::Json).unwrap_err();
            assert_eq!(problem.code(), Code::InvalidArgument);
            assert!(problem.detail().contains(place), "{place}: {}", problem.detail());
        }
    }

    #[test]
    fn what_comes_of_a_document_is_bounded() {
        let deep = format!("{}{}{}", "[".repeat(60), "1,".repeat(200_000) + "1", "]".repeat(60));
        let problem = rewrite(deep.as_bytes(), Language::Json, Language::Yaml).unwrap_err();
        assert_eq!(problem.code(), Code::TooLarge);
        let wide = format!("[{}1]", "1,".repeat(MAX_CONVERTED_VALUES));
        assert!(
            rewrite(wide.as_bytes(), Language::Json, Language::Json).unwrap_err().detail().contains("250000 values")
        );
    }
}
