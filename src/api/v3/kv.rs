//! Reading, writing and deleting keys, and forgetting their past. Transactions are in [`super::txn`], and share what is
//! checked here.

use prost::Message;
use tonic::Status;

use super::ask::Ask;
use super::convert::{self, header, key_value, revision, signed};
use super::errors::Known;
use super::pb;
use super::pb::range_request::{SortOrder, SortTarget};
use crate::api::State;
use crate::model::{
    Attach, Command, Condition, Delete, DeleteTarget, Outcome, Put, RangeQuery, RangeResult, Revision, SortBy,
};
use crate::service::{Consistency, Error};

/// Reads a key or a range of keys.
pub(super) async fn range(api: &State, ask: &Ask, request: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
    let consistency = if request.serializable { Consistency::Serializable } else { Consistency::Linearizable };
    let query = range_query(request)?;
    let failed = |error| ask.failed(error);
    let reader = api.service().reader(&ask.call, consistency).await.map_err(failed)?;
    let revision = reader.revision();
    let found = reader.range(query).await.map_err(failed)?;
    Ok(range_response(header(api, revision), found))
}

/// Writes a key.
pub(super) async fn put(api: &State, ask: &Ask, request: pb::PutRequest) -> Result<pb::PutResponse, Status> {
    check_size(api, &request)?;
    let put = put_op(request)?;
    let key = put.key.bytes().clone();
    let command = Command::Put { put, condition: Condition::default() };
    let done = api.service().write(&ask.call, command).await.map_err(|error| ask.failed(error))?;
    match done.outcome {
        Outcome::Written { previous, .. } => Ok(pb::PutResponse {
            header: Some(header(api, done.revision)),
            prev_kv: previous.map(|record| convert::record(key, record)),
        }),
        other => Err(unexpected("a put", &other)),
    }
}

/// Deletes a key or a range of keys. What is not there is no error.
pub(super) async fn delete_range(
    api: &State,
    ask: &Ask,
    request: pb::DeleteRangeRequest,
) -> Result<pb::DeleteRangeResponse, Status> {
    check_size(api, &request)?;
    let command = Command::Delete { delete: delete_op(request)?, condition: Condition::default() };
    let done = api.service().write(&ask.call, command).await.map_err(|error| ask.failed(error))?;
    match done.outcome {
        Outcome::Deleted { deleted, previous } => Ok(pb::DeleteRangeResponse {
            header: Some(header(api, done.revision)),
            deleted: signed(deleted),
            prev_kvs: previous.into_iter().map(key_value).collect(),
        }),
        other => Err(unexpected("a deletion", &other)),
    }
}

/// Forgets what was before a revision. What is forgotten takes no room at once where it comes to answers, and on disk a
/// little later, so that `physical` asks for nothing more.
pub(super) async fn compact(
    api: &State,
    ask: &Ask,
    request: pb::CompactionRequest,
) -> Result<pb::CompactionResponse, Status> {
    let pb::CompactionRequest { revision: before, physical: _ } = request;
    let done = api.service().compact(&ask.call, revision(before)).await.map_err(|error| ask.failed(error))?;
    Ok(pb::CompactionResponse { header: Some(header(api, done.revision)) })
}

/// What a read asks for.
pub(super) fn range_query(request: pb::RangeRequest) -> Result<RangeQuery, Known> {
    let range = convert::range(request.key, request.range_end)?;
    let order = SortOrder::try_from(request.sort_order).map_err(|_| Known::InvalidSortOption)?;
    let target = SortTarget::try_from(request.sort_target).map_err(|_| Known::InvalidSortOption)?;
    let bound = |number: i64| (number != 0).then(|| revision(number));
    Ok(RangeQuery {
        revision: Some(revision(request.revision)).filter(|asked| *asked > Revision::ZERO),
        limit: u64::try_from(request.limit).ok().filter(|limit| *limit > 0),
        keys_only: request.keys_only,
        count_only: request.count_only,
        sort_by: match target {
            SortTarget::Key => SortBy::Key,
            SortTarget::Version => SortBy::Version,
            SortTarget::Create => SortBy::CreateRevision,
            SortTarget::Mod => SortBy::ModRevision,
            SortTarget::Value => SortBy::Value,
        },
        // In no order of another target is in ascending order, too.
        descending: order == SortOrder::Descend,
        min_mod_revision: bound(request.min_mod_revision),
        max_mod_revision: bound(request.max_mod_revision),
        min_create_revision: bound(request.min_create_revision),
        max_create_revision: bound(request.max_create_revision),
        ..RangeQuery::all(range)
    })
}

/// The answer to a read.
pub(super) fn range_response(header: pb::ResponseHeader, found: RangeResult) -> pb::RangeResponse {
    let RangeResult { items, count, more } = found;
    pb::RangeResponse {
        header: Some(header),
        kvs: items.into_iter().map(key_value).collect(),
        more,
        count: signed(count),
    }
}

/// What a write asks for.
pub(super) fn put_op(request: pb::PutRequest) -> Result<Put, Known> {
    let key = convert::key(request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Known::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Known::LeaseProvided);
    }
    Ok(Put {
        key,
        value: (!request.ignore_value).then_some(request.value),
        content_type: None,
        attach: match request.lease {
            0 if request.ignore_lease => Attach::KeepPresent,
            0 => Attach::Detach,
            lease => Attach::Lease(convert::lease_id(lease)),
        },
        previous: request.prev_kv,
    })
}

/// What a deletion asks for.
pub(super) fn delete_op(request: pb::DeleteRangeRequest) -> Result<Delete, Known> {
    let range = convert::range(request.key, request.range_end)?;
    Ok(Delete { target: DeleteTarget::Range(range), previous: request.prev_kv })
}

/// Refuses a write that is larger than a command may be. Keys and options count, as in etcd.
pub(super) fn check_size(api: &State, request: &impl Message) -> Result<(), Known> {
    let fits = request.encoded_len() <= api.service().limits().max_request_bytes;
    if fits { Ok(()) } else { Err(Known::RequestTooLarge) }
}

/// An outcome that the command cannot have.
pub(super) fn unexpected(what: &str, outcome: &Outcome) -> Status {
    Status::internal(Error::Storage(format!("{what} came to {outcome:?}").into()).to_string())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn asked(change: impl FnOnce(&mut pb::RangeRequest)) -> Result<RangeQuery, Known> {
        let mut request = pb::RangeRequest { key: Bytes::from_static(b"a"), ..pb::RangeRequest::default() };
        change(&mut request);
        range_query(request)
    }

    #[test]
    fn what_is_not_positive_is_no_limit_and_the_present() {
        for number in [0, -1, i64::MIN] {
            let query = asked(|request| (request.limit, request.revision) = (number, number)).unwrap();
            assert_eq!((query.limit, query.revision), (None, None));
        }
        let query = asked(|request| (request.limit, request.revision) = (1, 2)).unwrap();
        assert_eq!((query.limit, query.revision), (Some(1), Some(Revision(2))));
    }

    #[test]
    fn a_negative_upper_bound_lets_nothing_through() {
        let query = asked(|request| request.max_mod_revision = -1).unwrap();
        assert_eq!(query.max_mod_revision, Some(Revision::ZERO));
        assert_eq!(asked(|_| ()).unwrap().max_mod_revision, None);
    }

    #[test]
    fn sort_options_that_do_not_exist_are_refused() {
        assert_eq!(asked(|request| request.sort_order = 3), Err(Known::InvalidSortOption));
        assert_eq!(asked(|request| request.sort_target = 5), Err(Known::InvalidSortOption));
    }
}
