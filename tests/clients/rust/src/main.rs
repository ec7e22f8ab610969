//! What programs do with `etcd-client`, a client for Rust: keys, transactions, watches, leases, locks, elections, members, users.
//!
//! Each job prints a heading and what it got, without ids and times: the test compares the lines of two servers.

use std::fmt::Display;
use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmType, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, Error, EventType, GetOptions,
    KeyValue, LeaseGrantOptions, LeaseTimeToLiveOptions, LockOptions, Permission, ProclaimOptions, PutOptions,
    ResignOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, WatchFilterType, WatchOptions, WatchStream,
};

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How long what has to wait is looked at.
const QUIET: Duration = Duration::from_millis(200);

type Done = Result<(), Error>;

fn shown(kv: &KeyValue) -> String {
    format!("{}={} v{}", kv.key_str().unwrap(), kv.value_str().unwrap(), kv.version())
}

fn show(what: impl Display, kvs: &[KeyValue]) {
    println!("{what}: {}", kvs.iter().map(shown).collect::<Vec<_>>().join(", "));
}

fn fails<T>(what: &str, result: Result<T, Error>) {
    match result {
        Err(Error::GRpcStatus(status)) => println!("{what}: {:?}: {}", status.code(), status.message()),
        Err(error) => println!("{what}: {error}"),
        Ok(_) => println!("{what}: no error"),
    }
}

async fn keys(client: &mut Client) -> Done {
    let first = client.put("kv/a", "1", None).await?.header().unwrap().revision();
    let second = client.put("kv/a", "grün €", Some(PutOptions::new().with_prev_key())).await?;
    show("put over", &[second.prev_key().unwrap().clone()]);
    println!("later by {}", second.header().unwrap().revision() - first);
    for name in ["kv/b", "kv/c"] {
        client.put(name, format!("value of {name}"), None).await?;
    }
    let below = || GetOptions::new().with_prefix();
    for (what, options) in [
        ("all", below()),
        ("two", below().with_limit(2)),
        ("keys", below().with_keys_only()),
        ("count", below().with_count_only()),
        ("past", below().with_revision(first)),
        ("downwards", below().with_sort(SortTarget::Key, SortOrder::Descend)),
        ("by value", below().with_sort(SortTarget::Value, SortOrder::Ascend)),
        ("serializable", below().with_serializable()),
        ("range", GetOptions::new().with_range("kv/a0")),
    ] {
        let got = client.get("kv/", Some(options)).await?;
        show(format!("{what}, {} more {}", got.count(), got.more()), got.kvs());
    }
    show("from", client.get("kv/b", Some(GetOptions::new().with_from_key())).await?.kvs());
    let deleted = client.delete("kv/a", Some(DeleteOptions::new().with_prev_key())).await?;
    show(format!("deleted {}", deleted.deleted()), deleted.prev_kvs());
    println!("prefix {}", client.delete("kv/", Some(DeleteOptions::new().with_prefix())).await?.deleted());
    fails("no key", client.put("", "x", None).await);
    client.compact(first + 1, None).await?;
    fails("compacted", client.get("kv/a", Some(GetOptions::new().with_revision(first))).await);
    fails("future", client.get("kv/a", Some(GetOptions::new().with_revision(first + 1000))).await);
    Ok(())
}

async fn transactions(client: &mut Client) -> Done {
    client.put("txn/a", "1", None).await?;
    for _ in 0..2 {
        let txn = Txn::new()
            .when([
                Compare::value("txn/a", CompareOp::Equal, "1"),
                Compare::version("txn/a", CompareOp::Greater, 0),
                Compare::create_revision("txn/none", CompareOp::Equal, 0),
            ])
            .and_then([TxnOp::put("txn/a", "2", None), TxnOp::get("txn/a", None)])
            .or_else([TxnOp::get("txn/a", None), TxnOp::delete("txn/a", None)]);
        let answer = client.txn(txn).await?;
        println!("succeeded {}", answer.succeeded());
        for one in answer.op_responses() {
            match one {
                TxnOpResponse::Put(_) => println!("  put"),
                TxnOpResponse::Get(got) => show("  got", got.kvs()),
                TxnOpResponse::Delete(gone) => println!("  deleted {}", gone.deleted()),
                TxnOpResponse::Txn(_) => println!("  another"),
            }
        }
    }
    let inner = Txn::new().and_then([TxnOp::put("txn/b", "inner", None)]);
    let nested = Txn::new().and_then([TxnOp::txn(inner), TxnOp::put("txn/c", "outer", None)]);
    println!("nested {}", client.txn(nested).await?.succeeded());
    show("left", client.get("txn/", Some(GetOptions::new().with_prefix())).await?.kvs());
    let twice = Txn::new().and_then([TxnOp::put("txn/x", "1", None), TxnOp::put("txn/x", "2", None)]);
    fails("twice", client.txn(twice).await);
    Ok(())
}

/// Prints what a stream of watches says until there were so many events, or it is cancelled.
async fn hear(what: &str, stream: &mut WatchStream, mut count: usize) -> Done {
    while count > 0 {
        let Some(answer) = stream.message().await? else { break };
        if answer.created() {
            println!("{what}: created");
        }
        if answer.canceled() {
            println!("{what}: cancelled {:?} {}", answer.cancel_reason(), answer.compact_revision() > 0);
            break;
        }
        for event in answer.events() {
            let kind = if event.event_type() == EventType::Put { "put" } else { "delete" };
            let before = event.prev_kv().map_or_else(String::new, |kv| format!(" was {}", kv.value_str().unwrap()));
            println!("{what}: {kind} {}{before}", shown(event.kv().unwrap()));
            count -= 1;
        }
    }
    Ok(())
}

async fn watches(client: &mut Client) -> Done {
    let from = client.put("watch/a", "0", None).await?.header().unwrap().revision();
    let mut live = client.watch("watch/", Some(WatchOptions::new().with_prefix().with_prev_key())).await?;
    println!("created {}", live.message().await?.unwrap().created());
    client.put("watch/a", "1", None).await?;
    client.delete("watch/a", None).await?;
    client.put("watch/b", "2", None).await?;
    hear("live", &mut live, 3).await?;
    live.request_progress().await?;
    let progress = live.message().await?.unwrap();
    println!("progress {} {}", progress.events().len(), progress.header().unwrap().revision() - from);
    let deletions = WatchOptions::new().with_prefix().with_start_revision(from).with_filters([WatchFilterType::NoPut]);
    let mut past = client.watch("watch/", Some(deletions)).await?;
    hear("past", &mut past, 1).await?;
    past.watch("watch/b", Some(WatchOptions::new().with_start_revision(from).with_watch_id(7))).await?;
    hear("same stream", &mut past, 1).await?;
    past.cancel(7).await?;
    println!("cancelled {}", past.message().await?.unwrap().canceled());
    client.compact(from + 2, None).await?;
    let mut compacted = client.watch("watch/a", Some(WatchOptions::new().with_start_revision(from))).await?;
    hear("compacted", &mut compacted, 1).await
}

async fn leases(client: &mut Client) -> Done {
    let long = client.lease_grant(5, None).await?;
    client.put("lease/kept", "x", Some(PutOptions::new().with_lease(long.id()))).await?;
    let (mut keeper, mut kept) = client.lease_keep_alive(long.id()).await?;
    // For longer than it would last by itself.
    for _ in 0..11 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        keeper.keep_alive().await?;
        let there = client.get("lease/kept", None).await?.count();
        println!("kept {} there {there}", kept.message().await?.unwrap().ttl());
    }
    let keys = Some(LeaseTimeToLiveOptions::new().with_keys());
    let left = client.lease_time_to_live(long.id(), keys).await?;
    println!("granted {} keys {}", left.granted_ttl(), left.keys().len());
    let lease = client.lease_grant(2, None).await?;
    client.put("lease/a", "x", Some(PutOptions::new().with_lease(lease.id()))).await?;
    while client.get("lease/a", None).await?.count() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("ended {}", client.lease_time_to_live(lease.id(), None).await?.ttl());
    fails("revoke", client.lease_revoke(lease.id()).await);
    let own = client.lease_grant(100, Some(LeaseGrantOptions::new().with_id(4711))).await?;
    client.put("lease/b", "x", Some(PutOptions::new().with_lease(own.id()))).await?;
    fails("taken", client.lease_grant(100, Some(LeaseGrantOptions::new().with_id(4711))).await);
    println!("listed {}", client.leases().await?.leases().iter().filter(|lease| lease.id() == 4711).count());
    client.lease_revoke(own.id()).await?;
    println!("left {}", client.get("lease/b", None).await?.count());
    fails("put", client.put("lease/b", "x", Some(PutOptions::new().with_lease(4711))).await);
    fails("keep alive", client.lease_keep_alive(4711).await);
    Ok(())
}

async fn locks(client: &mut Client) -> Done {
    let lease = client.lease_grant(60, None).await?.id();
    let held = client.lock("lock", Some(LockOptions::new().with_lease(lease))).await?;
    println!("held {}", held.key().starts_with(b"lock/"));
    let mut other = client.clone();
    let mut waiting = tokio::spawn(async move { other.lock("lock", None).await });
    while client.get("lock/", Some(GetOptions::new().with_prefix())).await?.count() < 2 {}
    println!("waits {}", tokio::time::timeout(QUIET, &mut waiting).await.is_err());
    client.unlock(held.key()).await?;
    let next = waiting.await.unwrap()?;
    println!("the other holds {}", next.key() != held.key());
    client.unlock(next.key()).await?;
    println!("left {}", client.get("lock/", Some(GetOptions::new().with_prefix())).await?.count());
    fails("no lease", client.lock("lock", Some(LockOptions::new().with_lease(4711))).await);
    Ok(())
}

async fn elections(client: &mut Client) -> Done {
    let lease = client.lease_grant(60, None).await?.id();
    fails("nobody", client.leader("job").await);
    let won = client.campaign("job", "one", lease).await?;
    let key = won.leader().unwrap().clone();
    println!("won {}", key.name_str()?);
    let mut seen = client.observe("job").await?;
    let leads = |answer: Option<&KeyValue>| println!("leads {}", answer.unwrap().value_str().unwrap());
    leads(seen.message().await?.unwrap().kv());
    client.proclaim("one, still", Some(ProclaimOptions::new().with_leader(key.clone()))).await?;
    leads(seen.message().await?.unwrap().kv());
    let mut other = client.clone();
    let second = client.lease_grant(60, None).await?.id();
    let mut waiting = tokio::spawn(async move { other.campaign("job", "two", second).await });
    while client.get("job/", Some(GetOptions::new().with_prefix())).await?.count() < 2 {}
    println!("waits {}", tokio::time::timeout(QUIET, &mut waiting).await.is_err());
    client.resign(Some(ResignOptions::new().with_leader(key.clone()))).await?;
    waiting.await.unwrap()?;
    leads(seen.message().await?.unwrap().kv());
    leads(client.leader("job").await?.kv());
    fails("proclaim", client.proclaim("one", Some(ProclaimOptions::new().with_leader(key))).await);
    Ok(())
}

async fn maintenance(client: &mut Client) -> Done {
    let listed = client.member_list().await?;
    let member = &listed.members()[0];
    println!("members {} {} {}", listed.members().len(), member.client_urls().len(), member.is_learner());
    let status = client.status().await?;
    println!("leads {} {} {:?}", status.leader() == member.id(), status.is_learner(), status.errors());
    println!("alarms {}", client.alarm(AlarmAction::Get, AlarmType::None, None).await?.alarms().len());
    client.defragment().await?;
    println!("same hash {}", client.hash_kv(0).await?.hash() == client.hash_kv(0).await?.hash());
    fails("move", client.move_leader(4711).await);
    fails("remove", client.member_remove(4711).await);
    fails("promote", client.member_promote(4711).await);
    Ok(())
}

async fn users(client: &mut Client) -> Done {
    client.user_add("rust", "secret", None).await?;
    fails("twice", client.user_add("rust", "secret", None).await);
    client.role_add("reads").await?;
    client.role_grant_permission("reads", Permission::read("a").with_prefix()).await?;
    println!("permissions {}", client.role_get("reads").await?.permissions().len());
    client.user_grant_role("rust", "reads").await?;
    println!("roles {:?}", client.user_get("rust").await?.roles());
    client.user_change_password("rust", "other").await?;
    client.user_revoke_role("rust", "reads").await?;
    client.role_delete("reads").await?;
    client.user_delete("rust").await?;
    fails("get", client.user_get("rust").await);
    println!("left {} {}", client.user_list().await?.users().len(), client.role_list().await?.roles().len());
    Ok(())
}

#[tokio::main]
async fn main() -> Done {
    let address = std::env::args().nth(1).expect("the address of a server");
    let mut client = Client::connect([address], Some(ConnectOptions::new().with_timeout(LIMIT))).await?;
    println!("== put and get: put, get, delete, compact");
    keys(&mut client).await?;
    println!("== transaction: txn");
    transactions(&mut client).await?;
    println!("== watch: watch, request_progress, cancel");
    watches(&mut client).await?;
    println!("== lease: lease_grant, lease_keep_alive, lease_time_to_live, leases, lease_revoke");
    leases(&mut client).await?;
    println!("== lock: lock, unlock");
    locks(&mut client).await?;
    println!("== election: campaign, proclaim, leader, observe, resign");
    elections(&mut client).await?;
    println!("== members and maintenance: member_list, status, alarm, defragment, hash_kv, move_leader");
    maintenance(&mut client).await?;
    println!("== users and roles, auth off: user_add, role_grant_permission, user_get, role_get");
    users(&mut client).await
}
