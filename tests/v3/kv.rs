//! Reading, writing and deleting keys, option by option.

use tonic::Code;

use crate::{V3, between, bytes, delete, get, keys, pb, put, revision, start, told};
use pb::range_request::{SortOrder, SortTarget};

/// Five keys whose versions, revisions and values are in different orders.
async fn filled(v3: &V3) {
    for (key, value) in [("a", "5"), ("b", "4"), ("c", "3"), ("d", "2"), ("b", "1"), ("e", "9")] {
        v3.put(key, value).await;
    }
}

#[tokio::test]
async fn a_read_has_etcds_header_record_and_count() {
    let (_server, v3) = start();
    assert_eq!(v3.put("a", "1").await, 2);
    assert_eq!(v3.put("a", "2").await, 3);
    let found = v3.range(get("a")).await.unwrap();
    let header = found.header.unwrap();
    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term > 0);
    assert_eq!((header.revision, found.count, found.more), (3, 1, false));
    let [kv] = &found.kvs[..] else { panic!("{found:?}") };
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version, kv.lease, &kv.value[..]), (2, 3, 2, 0, &b"2"[..]));
    let missing = v3.range(get("b")).await.unwrap();
    assert_eq!((missing.kvs.len(), missing.count), (0, 0));
}

#[tokio::test]
async fn the_end_of_a_range_means_what_it_means_in_etcd() {
    let (_server, v3) = start();
    filled(&v3).await;
    assert_eq!(keys(&v3.range(between("b", "d")).await.unwrap()), ["b", "c"]);
    assert_eq!(keys(&v3.range(between("d", "\0")).await.unwrap()), ["d", "e"]);
    assert_eq!(keys(&v3.range(between("\0", "\0")).await.unwrap()).len(), 5);
    for end in ["c", "a"] {
        let empty = v3.range(between("c", end)).await.unwrap();
        assert_eq!((empty.kvs.len(), empty.count), (0, 0));
    }
    let refused = v3.range(between("", "\0")).await.unwrap_err();
    assert_eq!(refused, (Code::InvalidArgument, "etcdserver: key is not provided".to_owned()));
}

#[tokio::test]
async fn a_limit_cuts_what_is_shown_and_not_the_count() {
    let (_server, v3) = start();
    filled(&v3).await;
    let cut = v3.range(pb::RangeRequest { limit: 2, ..between("a", "z") }).await.unwrap();
    assert_eq!((keys(&cut), cut.count, cut.more), (vec!["a".to_owned(), "b".to_owned()], 5, true));
    let whole = v3.range(pb::RangeRequest { limit: 5, ..between("a", "z") }).await.unwrap();
    assert!(!whole.more);
    let counted = v3.range(pb::RangeRequest { count_only: true, limit: 1, ..between("a", "z") }).await.unwrap();
    assert_eq!((counted.kvs.len(), counted.count, counted.more), (0, 5, false));
    let bare = v3.range(pb::RangeRequest { keys_only: true, ..between("a", "z") }).await.unwrap();
    assert!(bare.kvs.len() == 5 && bare.kvs.iter().all(|kv| kv.value.is_empty()));
}

#[tokio::test]
async fn results_are_sorted_by_each_target_before_they_are_cut() {
    let (_server, v3) = start();
    filled(&v3).await;
    let order = async |order: SortOrder, target: SortTarget| {
        let request = pb::RangeRequest { sort_order: order.into(), sort_target: target.into(), ..between("a", "z") };
        let cut = v3.range(pb::RangeRequest { limit: 1, ..request.clone() }).await.unwrap();
        let all = keys(&v3.range(request).await.unwrap());
        assert_eq!((keys(&cut), cut.more), (all[..1].to_vec(), true));
        all.concat()
    };
    assert_eq!(order(SortOrder::Descend, SortTarget::Key).await, "edcba");
    assert_eq!(order(SortOrder::None, SortTarget::Value).await, "bdcae");
    assert_eq!(order(SortOrder::Descend, SortTarget::Value).await, "eacdb");
    assert_eq!(order(SortOrder::Ascend, SortTarget::Mod).await, "acdbe");
    assert_eq!(order(SortOrder::Descend, SortTarget::Create).await, "edcba");
    assert!(order(SortOrder::Descend, SortTarget::Version).await.starts_with('b'));
    for (sort_order, sort_target) in [(9, 0), (0, 9)] {
        let refused = v3.range(pb::RangeRequest { sort_order, sort_target, ..get("a") }).await.unwrap_err();
        assert_eq!(refused, (Code::InvalidArgument, "etcdserver: invalid sort option".to_owned()));
    }
}

#[tokio::test]
async fn bounds_on_revisions_choose_what_is_shown_and_not_the_count() {
    let (_server, v3) = start();
    filled(&v3).await;
    let shown = async |bounds: pb::RangeRequest| {
        let found = v3.range(pb::RangeRequest { key: bytes("a"), range_end: bytes("z"), ..bounds }).await.unwrap();
        assert_eq!(found.count, 5);
        keys(&found).concat()
    };
    assert_eq!(shown(pb::RangeRequest { min_mod_revision: 5, ..Default::default() }).await, "bde");
    assert_eq!(shown(pb::RangeRequest { max_mod_revision: 4, ..Default::default() }).await, "ac");
    assert_eq!(shown(pb::RangeRequest { min_create_revision: 4, ..Default::default() }).await, "cde");
    assert_eq!(shown(pb::RangeRequest { max_create_revision: 3, ..Default::default() }).await, "ab");
    assert_eq!(shown(pb::RangeRequest { max_create_revision: -3, ..Default::default() }).await, "");
}

#[tokio::test]
async fn a_past_revision_is_read_until_it_is_compacted() {
    let (_server, v3) = start();
    filled(&v3).await;
    let at = |revision: i64, serializable: bool| pb::RangeRequest { revision, serializable, ..get("b") };
    let value = |found: pb::RangeResponse| found.kvs.first().map(|kv| kv.value.clone());
    assert_eq!(value(v3.range(at(3, false)).await.unwrap()).unwrap(), "4");
    assert_eq!(value(v3.range(at(-1, true)).await.unwrap()).unwrap(), "1");
    assert_eq!(value(v3.range(at(2, true)).await.unwrap()), None);
    let compact = |revision: i64| pb::CompactionRequest { revision, physical: true };
    let done = told(v3.kv().compact(compact(6)).await).unwrap();
    assert_eq!(revision(done.header), 7);
    assert_eq!(value(v3.range(at(6, false)).await.unwrap()).unwrap(), "1");
    let compacted = (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted".to_owned());
    let future = (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision".to_owned());
    assert_eq!(v3.range(at(5, false)).await.unwrap_err(), compacted);
    assert_eq!(v3.range(at(99, false)).await.unwrap_err(), future);
    for gone in [6, 0, -4] {
        assert_eq!(told(v3.kv().compact(compact(gone)).await).unwrap_err(), compacted);
    }
    assert_eq!(told(v3.kv().compact(compact(99)).await).unwrap_err(), future);
}

#[tokio::test]
async fn a_put_answers_with_what_it_replaced_and_keeps_what_it_is_told_to() {
    let (_server, v3) = start();
    told(v3.lease().lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 7 }).await).unwrap();
    let leased = pb::PutRequest { lease: 7, prev_kv: true, ..put("a", "1") };
    assert_eq!(told(v3.kv().put(leased).await).unwrap().prev_kv, None);
    let kept = pb::PutRequest { ignore_lease: true, prev_kv: true, ..put("a", "2") };
    let previous = told(v3.kv().put(kept).await).unwrap().prev_kv.unwrap();
    assert_eq!((&previous.value[..], previous.lease, previous.version), (&b"1"[..], 7, 1));
    let detached = pb::PutRequest { ignore_value: true, ..put("a", "") };
    told(v3.kv().put(detached).await).unwrap();
    let now = v3.range(get("a")).await.unwrap().kvs.remove(0);
    assert_eq!((&now.value[..], now.lease, now.version), (&b"2"[..], 0, 3));
}

#[tokio::test]
async fn a_put_that_cannot_be_is_refused_in_etcds_words() {
    let (_server, v3) = start();
    let refused = async |request: pb::PutRequest| told(v3.kv().put(request).await).unwrap_err();
    let invalid = |text: &str| (Code::InvalidArgument, text.to_owned());
    assert_eq!(refused(put("", "x")).await, invalid("etcdserver: key is not provided"));
    let given = pb::PutRequest { ignore_value: true, ..put("a", "x") };
    assert_eq!(refused(given).await, invalid("etcdserver: value is provided"));
    let given = pb::PutRequest { ignore_lease: true, lease: 1, ..put("a", "x") };
    assert_eq!(refused(given).await, invalid("etcdserver: lease is provided"));
    for (ignore_value, ignore_lease) in [(true, false), (false, true), (true, true)] {
        let missing = pb::PutRequest { ignore_value, ignore_lease, ..put("a", "") };
        assert_eq!(refused(missing).await, invalid("etcdserver: key not found"));
    }
    let unknown = pb::PutRequest { lease: 404, ..put("a", "x") };
    assert_eq!(refused(unknown).await, (Code::NotFound, "etcdserver: requested lease not found".to_owned()));
    assert_eq!(revision(v3.range(get("a")).await.unwrap().header), 1, "nothing was written");
}

#[tokio::test]
async fn a_deletion_says_what_is_gone_and_makes_no_revision_of_nothing() {
    let (_server, v3) = start();
    filled(&v3).await;
    let gone = told(v3.kv().delete_range(delete("b", "d")).await).unwrap();
    assert_eq!((revision(gone.header), gone.deleted, gone.prev_kvs.len()), (8, 2, 2));
    assert_eq!(gone.prev_kvs[0].value, "1");
    let nothing = told(v3.kv().delete_range(delete("b", "")).await).unwrap();
    assert_eq!((revision(nothing.header), nothing.deleted, nothing.prev_kvs.len()), (8, 0, 0));
    let rest =
        told(v3.kv().delete_range(pb::DeleteRangeRequest { prev_kv: false, ..delete("a", "\0") }).await).unwrap();
    assert_eq!((revision(rest.header), rest.deleted, rest.prev_kvs.len()), (9, 3, 0));
    let refused = told(v3.kv().delete_range(delete("", "\0")).await).unwrap_err();
    assert_eq!(refused, (Code::InvalidArgument, "etcdserver: key is not provided".to_owned()));
}
