//! The description of `/v1` (OpenAPI 3.1): what the handlers say of themselves, and what holds for all of them.
//!
//! The golden file `openapi/v1.json` holds the result, so that every change of the contract shows as a change of it.

use std::collections::BTreeMap;

use http::StatusCode;
use utoipa::ToSchema;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{
    ContentBuilder, Header, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response,
    ResponseBuilder, Responses, Schema, Tag,
};

use super::schema::{ProblemObject, TxnNested};
use super::txn::{DeleteOperation, GetOperation, Operation as TxnOperation, PutOperation};
use crate::api::problem::{Code, PROBLEM_JSON};

/// What the description says before any route.
pub(super) fn head() -> OpenApi {
    let tag = |name: &str, description: &str| {
        let mut tag = Tag::new(name);
        tag.description = Some(description.to_owned());
        tag
    };
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Vardr")
                .version("v1")
                .description(Some(
                    "A replicated, versioned key space over HTTP. Names are camelCase; revisions, versions, counts and \
                     seconds are numbers; ids are lower-case hexadecimal strings; durations are `30` (seconds), `30s`, \
                     `1m30s` or `500ms`. Errors are `application/problem+json` (RFC 9457) with a stable `code`. An unknown \
                     query parameter is refused by name. HEAD is answered wherever GET is, OPTIONS everywhere.",
                ))
                .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
                .build(),
        )
        .tags(Some([
            tag("keys", "Keys and directories"),
            tag("history", "Earlier versions"),
            tag("transactions", "Several keys at once"),
            tag("watch", "Following changes, and who does"),
            tag("leases", "Keys that die unless kept alive"),
            tag("locks", "One at a time"),
            tag("elections", "One who leads"),
            tag("services", "Who serves what, where, and how it is"),
            tag("cluster", "Who belongs to the cluster"),
            tag("maintenance", "Looking after the store"),
        ]))
        .build()
}

/// The whole description.
#[must_use]
pub fn document() -> OpenApi {
    let (_, mut document) = super::router().split_for_parts();
    let paths = std::mem::take(&mut document.paths.paths);
    // The router's wildcard is no template of the OpenAPI.
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    let mut shared = Shared::default();
    for (path, item) in &mut document.paths.paths {
        complete(path, item, &mut shared);
    }
    let components = document.components.get_or_insert_default();
    let mut schemas = Vec::new();
    describe::<ProblemObject>(&mut schemas);
    // Shapes that contain themselves are not found by looking from the handlers.
    describe::<TxnOperation>(&mut schemas);
    describe::<PutOperation>(&mut schemas);
    describe::<DeleteOperation>(&mut schemas);
    describe::<GetOperation>(&mut schemas);
    describe::<TxnNested>(&mut schemas);
    components.schemas.extend(schemas);
    components.responses = shared.responses;
    components.parameters = shared.parameters;
    components.headers = headers();
    document
}

fn describe<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), T::schema()));
}

/// The description as it is served, and as it stands in the golden file.
#[must_use]
pub fn json() -> String {
    let mut text = document().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// What all operations share, gathered while they are completed.
#[derive(Default)]
struct Shared {
    responses: BTreeMap<String, RefOr<Response>>,
    parameters: BTreeMap<String, RefOr<Parameter>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// It has a body, reads nothing and changes nothing.
    Compute,
}

fn complete(path: &str, item: &mut PathItem, shared: &mut Shared) {
    if let Some(get) = &mut item.get {
        complete_operation(path, get, Kind::Read, shared);
        item.head = Some(head_of(get));
    }
    for write in [&mut item.put, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten() {
        let kind = if path == "/v1/convert" { Kind::Compute } else { Kind::Write };
        complete_operation(path, write, kind, shared);
    }
}

fn complete_operation(path: &str, operation: &mut Operation, kind: Kind, shared: &mut Shared) {
    let id = operation.operation_id.clone().unwrap_or_default();
    let parameters = operation.parameters.get_or_insert_default();
    if path.contains("{key}") {
        // Where the path names the key, a literal one is refused.
        parameters.retain(|parameter| !is_literal(parameter));
    }
    for parameter in parameters.iter_mut() {
        if let RefOr::T(parameter) = parameter {
            describe_path_parameter(parameter);
        }
    }
    let has_conditions = parameters.iter().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.name == "prevRevision",
        RefOr::Ref(_) => false,
    });
    let reads_keys = kind == Kind::Read && path.starts_with("/v1/keys");
    let follows = path == "/v1/watch" || path.starts_with("/v1/watch/") || path.ends_with(":watch");
    let headers: &[&str] = match kind {
        Kind::Read if path.starts_with("/v1/services") && !follows => &["IfNoneMatch", "Prefer"],
        Kind::Read if reads_keys => &["IfNoneMatch", "IfMatch", "Prefer"],
        Kind::Read | Kind::Compute => &[],
        Kind::Write if has_conditions => &["ConditionIfMatch", "ConditionIfNoneMatch", "IdempotencyKey"],
        Kind::Write => &["IdempotencyKey"],
    };
    for name in headers {
        shared.parameters.insert((*name).to_owned(), header_parameter(name).into());
        parameters.push(RefOr::Ref(Ref::new(format!("#/components/parameters/{name}"))));
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            let tagged = reads_keys || has_conditions || status == "304" || shows_a_service(&id);
            refer_to_headers(response, &STANDARD_HEADERS);
            refer_to_headers(response, if tagged { &["ETag"] } else { &[] });
            refer_to_headers(response, if kind == Kind::Write { &["Idempotency-Replayed"] } else { &[] });
        }
    }
    let codes = match path {
        _ if follows => WATCH_CODES.to_vec(),
        path if path.starts_with("/v1/") => codes(&id, kind, has_conditions),
        _ => vec![Code::InvalidArgument, Code::PermissionDenied],
    };
    add_problems(&mut operation.responses, &codes, shared);
}

/// Whether the answers of an operation have entity tags, as those about keys have.
fn shows_a_service(id: &str) -> bool {
    matches!(id, "listServices" | "listInstances" | "getInstance" | "registerInstance" | "setInstanceStatus")
}

/// What a watch can be refused with.
const WATCH_CODES: [Code; 5] =
    [Code::InvalidArgument, Code::PermissionDenied, Code::Internal, Code::ShuttingDown, Code::Unavailable];

fn is_literal(parameter: &RefOr<Parameter>) -> bool {
    match parameter {
        RefOr::T(parameter) => {
            parameter.parameter_in == ParameterIn::Query && matches!(parameter.name.as_str(), "key" | "key64")
        }
        RefOr::Ref(_) => false,
    }
}

/// What a path parameter can be.
fn describe_path_parameter(parameter: &mut Parameter) {
    if parameter.parameter_in == ParameterIn::Path {
        let schema = match parameter.name.as_str() {
            "service" | "instance" => {
                text().min_length(Some(1)).max_length(Some(255)).pattern(Some(r"^[^/\x00-\x1f\x7f-\x9f]+$"))
            }
            "id" => text().pattern(Some("^[0-9a-fA-F]{1,16}$")).examples(["694d8a1f3c2b"]),
            _ => text().min_length(Some(1)),
        };
        parameter.schema = Some(schema.build().into());
    }
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String))
}

fn number() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Integer))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
}

fn header_parameter(name: &str) -> Parameter {
    let (header, about, example) = match name {
        "ConditionIfMatch" => {
            ("If-Match", "As `prevExist=true` (`*`) or `prevRevision` (a list of entity tags)", "\"9\"")
        }
        "ConditionIfNoneMatch" => ("If-None-Match", "As `prevExist=false`: only `*`", "*"),
        "IfNoneMatch" => ("If-None-Match", "Entity tags of earlier answers: 304 when one still holds", "\"9\""),
        "IfMatch" => ("If-Match", "Entity tags: 412 unless one holds", "\"9\""),
        "Prefer" => ("Prefer", "`wait=60`: hold the request until something changes (RFC 7240)", "wait=0"),
        _ => (
            "Idempotency-Key",
            "A retry with the same key within ten minutes gets the first answer again and is not applied twice",
            "4b0a1c52-5b1f-4a4e-9d7c-0a3e5a8f1c11",
        ),
    };
    let pattern = match header {
        "Idempotency-Key" => r"^[\t -~]{1,128}$",
        "Prefer" => "^wait=[0-9]+(s|ms)?$",
        _ => r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$"#,
    };
    ParameterBuilder::new()
        .name(header)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(text().pattern(Some(pattern)).examples([example])))
        .build()
}

/// The headers that every answer carries.
const STANDARD_HEADERS: [&str; 4] = ["Vardr-Revision", "Vardr-Cluster-Id", "Vardr-Member-Id", "Vardr-Raft-Term"];

/// Every header that answers can carry.
fn headers() -> BTreeMap<String, RefOr<Header>> {
    let header = |name: &str, schema: ObjectBuilder, about: &str| {
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(about)).build();
        (name.to_owned(), header.into())
    };
    BTreeMap::from([
        header("Vardr-Revision", number(), "The store's revision that the answer reflects"),
        header("Vardr-Cluster-Id", text(), "The cluster, in hexadecimal"),
        header("Vardr-Member-Id", text(), "The member that answered, in hexadecimal"),
        header("Vardr-Raft-Term", number(), "The raft term of that member"),
        header("ETag", text(), "Of a key its revision; of a list a hash over what it returns"),
        header(
            "Idempotency-Replayed",
            text(),
            "`true` when this is the answer to an earlier request with the same Idempotency-Key",
        ),
        header(
            "Retry-After",
            number(),
            "Seconds after which to try again; there only when the request was certainly not applied",
        ),
    ])
}

fn refer_to_headers(response: &mut Response, names: &[&str]) {
    for name in names {
        let reference = Ref::new(format!("#/components/headers/{name}"));
        response.headers.insert((*name).to_owned(), RefOr::Ref(reference));
    }
}

/// HEAD of what GET answers: the same without a body.
fn head_of(get: &Operation) -> Operation {
    let mut head = get.clone();
    head.operation_id = get.operation_id.as_ref().map(|id| format!("{id}Head"));
    head.summary = get.summary.as_ref().map(|summary| format!("{summary}: headers only"));
    head.description = None;
    for (status, response) in &mut head.responses.responses {
        match response {
            RefOr::T(response) => response.content.clear(),
            RefOr::Ref(_) => {
                let mut bare = ResponseBuilder::new().description(format!("As GET answers with {status}")).build();
                refer_to_headers(&mut bare, &STANDARD_HEADERS);
                *response = bare.into();
            }
        }
    }
    head
}

/// What an operation can be refused with, in order of status.
fn codes(id: &str, kind: Kind, has_conditions: bool) -> Vec<Code> {
    if kind == Kind::Compute {
        return vec![
            Code::InvalidArgument,
            Code::PermissionDenied,
            Code::RequestTimeout,
            Code::TooLarge,
            Code::UnsupportedMediaType,
            Code::Internal,
            Code::ShuttingDown,
            Code::DeadlineExceeded,
        ];
    }
    let mut codes = vec![
        Code::InvalidArgument,
        Code::PermissionDenied,
        Code::Internal,
        Code::NoLeader,
        Code::ShuttingDown,
        Code::Unavailable,
        Code::DeadlineExceeded,
    ];
    if kind == Kind::Write {
        codes.extend([
            Code::RequestTimeout,
            Code::ResultNotKept,
            Code::TooLarge,
            Code::UnsupportedMediaType,
            Code::IdempotencyMismatch,
            Code::Overloaded,
            Code::OutcomeUnknown,
            Code::QuotaExceeded,
        ]);
    }
    if has_conditions {
        codes.push(Code::PreconditionFailed);
    }
    codes.extend_from_slice(own_codes(id));
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// What an operation can be refused with beyond what all of its kind can.
fn own_codes(id: &str) -> &'static [Code] {
    match id {
        "getKey" | "getLiteralKey" => &[
            Code::NotADirectory,
            Code::FutureRevision,
            Code::TooManySteps,
            Code::KeyNotFound,
            Code::Compacted,
            Code::PreconditionFailed,
            Code::Overloaded,
        ],
        "putKey" | "putLiteralKey" => &[Code::LeaseNotFound, Code::KeyNotFound, Code::NoOwnLease],
        "patchKey" | "patchLiteralKey" => &[Code::KeyNotFound, Code::NotJson, Code::PatchConflict],
        "postKey" | "postLiteralKey" => &[Code::NotADirectory, Code::LeaseNotFound],
        "incrementKey" | "incrementLiteralKey" => &[Code::NotANumber, Code::NumberOverflow],
        "copyKey" | "copyLiteralKey" | "moveKey" | "moveLiteralKey" => {
            &[Code::NotADirectory, Code::KeyNotFound, Code::KeyExists]
        }
        "deleteKey" | "deleteLiteralKey" => &[Code::NotADirectory, Code::KeyNotFound, Code::DirectoryNotEmpty],
        "getHistory" | "getLiteralHistory" => {
            &[Code::KeyNotFound, Code::FutureRevision, Code::TooManySteps, Code::Compacted, Code::Overloaded]
        }
        "acquireLock" => &[Code::LockHeld, Code::LeaseNotFound],
        "campaign" => &[Code::NotElected, Code::LeaseNotFound],
        "keepLockAlive" | "releaseLock" | "keepCandidateAlive" | "resign" => &[Code::PlaceNotFound],
        "proclaim" => &[Code::NotLeader],
        "rollback" | "rollbackLiteral" | "listServices" | "listInstances" => {
            &[Code::FutureRevision, Code::TooManySteps, Code::Compacted, Code::Overloaded]
        }
        "addMember" => &[Code::MemberExists, Code::TooManyMembers, Code::NoPeerPort],
        "getMember" => &[Code::MemberNotFound],
        "updateMember" => &[Code::MemberNotFound, Code::MemberExists],
        "removeMember" => &[Code::MemberNotFound, Code::QuorumAtRisk],
        "promoteMember" => {
            &[Code::MemberNotFound, Code::NotALearner, Code::NotCaughtUp, Code::QuorumAtRisk, Code::TooManyMembers]
        }
        "transferLeader" => &[Code::MemberNotFound, Code::NotAVoter],
        "transact" => &[
            Code::NotADirectory,
            Code::KeyNotFound,
            Code::LeaseNotFound,
            Code::FutureRevision,
            Code::TooManySteps,
            Code::Compacted,
        ],
        "grantLease" => &[Code::LeaseExists],
        "getInstance" => &[Code::TooManySteps, Code::InstanceNotFound],
        "deregisterInstance" => &[Code::InstanceNotFound],
        "heartbeat" => &[Code::InstanceNotFound, Code::InstanceWithoutLease],
        "setInstanceStatus" => &[Code::InstanceNotFound, Code::NotAnInstance],
        "getLease" => &[Code::LeaseNotFound, Code::Overloaded],
        "revokeLease" | "keepLeaseAlive" => &[Code::LeaseNotFound],
        "compact" => &[Code::Compacted, Code::FutureRevision],
        "getSnapshot" | "listLeases" | "listLocks" | "getLock" | "listElections" | "getElection" => &[Code::Overloaded],
        _ => &[],
    }
}

/// One response for each status, naming the codes that come with it.
fn add_problems(responses: &mut Responses, codes: &[Code], shared: &mut Shared) {
    for group in codes.chunk_by(|a, b| a.status() == b.status()) {
        let Some(first) = group.first() else { continue };
        add_problem(responses, first.status(), group, shared);
    }
    // The answers that are kept for retries may fill their room.
    if codes.contains(&Code::ResultNotKept) {
        add_problem(responses, StatusCode::TOO_MANY_REQUESTS, &[Code::Overloaded], shared);
    }
}

fn add_problem(responses: &mut Responses, status: StatusCode, codes: &[Code], shared: &mut Shared) {
    let words: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let name = format!("{}-{}", status.as_str(), words.join("-"));
    responses.responses.insert(status.as_str().to_owned(), Ref::from_response_name(name.clone()).into());
    shared.responses.entry(name).or_insert_with(|| problem_response(codes).into());
}

fn problem_response(codes: &[Code]) -> Response {
    let lines: Vec<String> = codes.iter().map(|code| format!("`{code}`: {}.", code.title())).collect();
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ProblemObject::name()))).build();
    let mut response = ResponseBuilder::new().description(lines.join(" ")).content(PROBLEM_JSON, content).build();
    refer_to_headers(&mut response, &STANDARD_HEADERS);
    if codes.iter().any(|code| matches!(code, Code::NoLeader | Code::Overloaded | Code::ShuttingDown)) {
        refer_to_headers(&mut response, &["Retry-After"]);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    fn golden() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("openapi/v1.json")
    }

    #[test]
    fn the_golden_file_is_the_description() {
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(golden().parent().unwrap()).unwrap();
            std::fs::write(golden(), json()).unwrap();
        }
        let kept = std::fs::read_to_string(golden()).unwrap_or_default();
        assert!(kept == json(), "openapi/v1.json is not what the handlers say: look at the difference with UPDATE=1");
    }

    fn operations(document: &OpenApi) -> Vec<(String, &Operation)> {
        document
            .paths
            .paths
            .iter()
            .flat_map(|(path, item)| {
                let all = [("GET", &item.get), ("HEAD", &item.head), ("PUT", &item.put), ("POST", &item.post)];
                let more = [("PATCH", &item.patch), ("DELETE", &item.delete)];
                let found = all.into_iter().chain(more);
                found.filter_map(move |(method, operation)| Some((format!("{method} {path}"), operation.as_ref()?)))
            })
            .collect()
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_summary_and_a_tag() {
        let document = document();
        let mut names = BTreeSet::new();
        for (title, operation) in operations(&document) {
            assert!(operation.summary.is_some(), "{title}");
            assert!(operation.tags.as_ref().is_some_and(|tags| tags.len() == 1), "{title}");
            assert!(names.insert(operation.operation_id.clone().unwrap()), "{title}");
        }
    }

    #[test]
    fn every_parameter_is_described() {
        let document = document();
        for (title, operation) in operations(&document) {
            for parameter in operation.parameters.iter().flatten() {
                let RefOr::T(parameter) = parameter else { continue };
                assert!(
                    parameter.description.as_ref().is_some_and(|text| !text.is_empty()),
                    "{title}: {}",
                    parameter.name
                );
            }
        }
    }

    #[test]
    fn every_answer_names_the_headers_that_all_carry() {
        let document = document();
        for (title, operation) in operations(&document) {
            for (status, response) in &operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                assert!(response.headers.contains_key("Vardr-Revision"), "{title} {status}");
            }
        }
    }
}
