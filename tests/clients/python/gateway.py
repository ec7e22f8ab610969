"""What programs do with etcd3gw, a client for Python of etcd's JSON gateway: keys, transactions, watches, leases, locks.

Each job prints a heading and what it got, without ids and times: the test compares the lines of two servers.
"""

import base64
import json
import sys
import time

import etcd3gw
from etcd3gw import exceptions


def text(value):
    return base64.b64encode(value.encode()).decode()


def fails(what, call, *arguments, **options):
    try:
        print(what, "|", "no error:", call(*arguments, **options))
    except exceptions.Etcd3Exception as error:
        said = json.loads(error.detail_text) if error.detail_text else {}
        print(what, "|", type(error).__name__, said.get("code"), said.get("message"))


def keys(client):
    print("put", client.put("kv/a", "1"), client.put("kv/a", "grün \u20ac".encode()))
    for name in ("kv/b", "kv/c"):
        client.put(name, "value of " + name)
    print("get", client.get("kv/a"), client.get("kv/none"))
    [(value, metadata)] = client.get("kv/a", metadata=True)
    print("metadata", value, metadata["key"], metadata["version"], int(metadata["mod_revision"]) - int(metadata["create_revision"]))
    print("downwards", [value for value, _ in client.get_prefix("kv/", sort_order="descend", sort_target="key")])
    print("by value", [value for value, _ in client.get_prefix("kv/", sort_order="ascend", sort_target="value")])
    print("all", len(client.get_all()))
    print("create", client.create("kv/d", "new"), client.create("kv/d", "again"))
    print("replace", client.replace("kv/d", "new", "newer"), client.replace("kv/d", "new", "x"))
    print("delete", client.delete("kv/d"), client.delete("kv/d"), client.delete_prefix("kv/"))
    fails("no key", client.put, "", "x")


def transactions(client):
    client.put("txn/a", "1")
    for _ in range(2):
        answer = client.transaction(
            {
                "compare": [{"key": text("txn/a"), "target": "VALUE", "result": "EQUAL", "value": text("1")}],
                "success": [
                    {"request_put": {"key": text("txn/a"), "value": text("2")}},
                    {"request_range": {"key": text("txn/a")}},
                ],
                "failure": [{"request_delete_range": {"key": text("txn/a"), "prev_kv": True}}],
            }
        )
        answers = [{name: sorted(set(inner) - {"header"}) for name, inner in one.items()} for one in answer["responses"]]
        print("succeeded", answer.get("succeeded", False), answers)
    print("left", client.get("txn/a"))


def watches(client):
    client.put("watch/a", "0")
    events, cancel = client.watch_prefix("watch/", prev_kv=True)
    client.put("watch/a", "1")
    client.delete("watch/a")
    client.put("watch/b", "2")
    for _ in range(3):
        event = next(events)
        kv, before = event["kv"], event.get("prev_kv", {})
        print("live", event.get("type", "PUT"), kv["key"], kv.get("value"), "was", before.get("value"))
    cancel()
    fails("nothing", client.watch_once, "watch/quiet", timeout=1)


def leases(client):
    kept = client.lease(ttl=5)
    client.put("lease/kept", "x", kept)
    print("keys", kept.keys(), client.get("lease/kept"))
    # For longer than it would last by itself.
    for _ in range(11):
        time.sleep(0.5)
        print("refreshed", kept.refresh(), client.get("lease/kept"))
    lease = client.lease(ttl=2)
    client.put("lease/a", "x", lease)
    while client.get("lease/a"):
        time.sleep(0.02)
    print("ended", lease.ttl())
    other = client.lease(ttl=100)
    client.put("lease/b", "x", other)
    print("revoked", other.revoke(), client.get("lease/b"))


def locks(client):
    held, other = client.lock(id="a", ttl=60), client.lock(id="a", ttl=60)
    print("held", held.acquire(), held.is_acquired(), held.refresh())
    print("other", other.acquire(), other.release())
    print("released", held.release(), held.is_acquired())
    with client.lock(id="a", ttl=60) as third:
        print("third", third.is_acquired())


def maintenance(client):
    members = client.members()
    print("members", [(member["name"], len(member["clientURLs"])) for member in members])
    status = client.status()
    print("leads", status["leader"] == members[0]["ID"], sorted({"version", "dbSize", "raftIndex", "raftTerm"} & set(status)))


JOBS = {
    "put and get: put, get, get_prefix, create, replace, delete": keys,
    "transaction: transaction": transactions,
    "watch: watch_prefix, watch_once": watches,
    "lease: lease, refresh, ttl, keys, revoke": leases,
    "lock: lock": locks,
    "members and maintenance: members, status": maintenance,
}

host, port = sys.argv[1].rsplit(":", 1)
for heading, job in JOBS.items():
    print("==", heading, flush=True)
    job(etcd3gw.client(host=host, port=int(port), timeout=30))
