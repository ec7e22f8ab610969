"""What programs do with aetcd, a client for Python: keys, transactions, watches, leases, locks, members, maintenance.

Each job prints a heading and what it got, without ids and times: the test compares the lines of two servers.
"""

import asyncio
import sys

import aetcd


def pairs(kvs):
    return [(kv.key, kv.value, kv.version) for kv in kvs]


async def fails(what, call):
    try:
        print(what, "|", "no error:", await call)
    except aetcd.ClientError as error:
        print(what, "|", type(error).__name__, error)


async def keys(client):
    first = await client.put(b"kv/a", b"1")
    second = await client.put(b"kv/a", "grün \u20ac".encode(), prev_kv=True)
    print("put over", second.prev_kv.value, "later by", second.header.revision - first.header.revision)
    for name in (b"kv/b", b"kv/c"):
        await client.put(name, b"value of " + name)
    got = await client.get(b"kv/a")
    print("get", got.key, got.value, got.version, got.mod_revision - got.create_revision)
    print("serializable", (await client.get(b"kv/a", serializable=True)).value)
    print("missing", await client.get(b"kv/none"))
    print("prefix", pairs(await client.get_prefix(b"kv/", sort_order="descend", sort_target="key")))
    print("by value", pairs(await client.get_prefix(b"kv/", sort_order="ascend", sort_target="value")))
    print("range", pairs(await client.get_range(b"kv/b", b"kv/c")))
    print("all", len(await client.get_all()))
    print("replace", await client.replace(b"kv/b", b"value of kv/b", b"new"), await client.replace(b"kv/b", b"old", b"x"))
    deleted = await client.delete(b"kv/a", prev_kv=True)
    print("delete", deleted.deleted, deleted.prev_kv.value)
    print("again", await client.delete(b"kv/a"))
    print("prefix", (await client.delete_prefix(b"kv/")).deleted)
    await fails("no key", client.put(b"", b"x"))
    await client.compact(second.header.revision)
    await fails("compacted", client.compact(first.header.revision))


async def transactions(client):
    op = client.transactions
    await client.put(b"txn/a", b"1")
    for expected in (b"1", b"1"):
        succeeded, answers = await client.transaction(
            compare=[op.value(b"txn/a") == expected, op.version(b"txn/a") > 0, op.create(b"txn/none") == 0],
            success=[op.put(b"txn/a", b"2"), op.get(b"txn/a")],
            failure=[op.get(b"txn/a"), op.delete(b"txn/a")],
        )
        got = [answer[0][0] for answer in answers if isinstance(answer, list)]
        print(succeeded, len(answers), got)
    print("left", await client.get(b"txn/a"))
    await fails("twice", client.transaction(compare=[], success=[op.put(b"txn/x", b"1"), op.put(b"txn/x", b"2")], failure=[]))


async def watches(client):
    from_revision = (await client.put(b"watch/a", b"0")).header.revision
    live = await client.watch_prefix(b"watch/", prev_kv=True)
    await client.put(b"watch/a", b"1")
    await client.delete(b"watch/a")
    await client.put(b"watch/b", b"2")
    heard = []
    async for event in live:
        heard.append((event.kind, event.kv.key, event.kv.value, event.prev_kv.value if event.prev_kv else None))
        if len(heard) == 3:
            break
    print("live", heard)
    await live.cancel()
    past = await client.watch_prefix_once(b"watch/", timeout=30, start_revision=from_revision, kind=aetcd.EventKind.DELETE)
    print("past", past.kind, past.kv.key)
    await fails("nothing", client.watch_once(b"watch/quiet", timeout=1))
    await client.compact(from_revision + 2)

    async def compacted():
        async for event in await client.watch(b"watch/a", start_revision=from_revision):
            print("an event", event)

    try:
        await compacted()
    except aetcd.RevisionCompactedError as error:
        print("compacted below", error.compacted_revision - from_revision)


async def leases(client):
    kept = await client.lease(5)
    await client.put(b"lease/kept", b"x", lease=kept)
    print("granted", kept.ttl, await kept.granted_ttl(), await kept.keys())
    # For longer than it would last by itself.
    for _ in range(11):
        await asyncio.sleep(0.5)
        print("refreshed", (await kept.refresh()).TTL, (await client.get(b"lease/kept")).value)
    lease = await client.lease(2)
    await client.put(b"lease/a", b"x", lease=lease)
    while await client.get(b"lease/a"):
        await asyncio.sleep(0.02)
    print("ended", await lease.remaining_ttl())
    await fails("revoke", client.revoke_lease(lease.id))
    own = await client.lease(100, lease_id=4711)
    await client.put(b"lease/b", b"x", lease=own)
    await fails("taken", client.lease(100, lease_id=4711))
    await own.revoke()
    print("own", own.id, await client.get(b"lease/b"))


async def locks(client):
    held = client.lock(b"lock/a", ttl=10)
    print("held", await held.acquire(), await held.is_acquired(), (await held.refresh()).TTL)
    other = client.lock(b"lock/a", ttl=10)
    print("other", await other.acquire(timeout=0))
    waiting = asyncio.create_task(other.acquire(timeout=30))
    await asyncio.sleep(0.2)
    print("waits", not waiting.done())
    print("released", await held.release(), "other", await waiting, await other.is_acquired())
    print("not mine", await held.release())
    await other.release()
    count = {"inside": 0, "most": 0, "done": 0}

    async def work():
        async with client.lock(b"lock/many", ttl=10):
            count["inside"] += 1
            count["most"] = max(count["most"], count["inside"])
            await asyncio.sleep(0.01)
            count["inside"] -= 1
            count["done"] += 1

    await asyncio.gather(*(work() for _ in range(5)))
    print("at most inside", count["most"], "done", count["done"])


async def maintenance(client):
    members = [member async for member in client.members()]
    print("members", [(member.name, len(member.peer_urls), len(member.client_urls)) for member in members])
    status = await client.status()
    print("leads", status.leader.id == members[0].id, status.db_size > 0, status.raft_index > 0)
    print("alarms", [alarm async for alarm in client.list_alarms()], await client.disarm_alarm())
    await client.defragment()
    print("same hash", await client.hash() == await client.hash())
    await fails("remove", client.remove_member(4711))


JOBS = {
    "put and get: put, get, get_prefix, get_range, replace, delete, compact": keys,
    "transaction: transaction": transactions,
    "watch: watch, watch_prefix, watch_once": watches,
    "lease: lease, refresh, revoke": leases,
    "lock: lock, five at once": locks,
    "members and maintenance: members, status, list_alarms, defragment, hash": maintenance,
}


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    async with aetcd.Client(host=host, port=int(port), timeout=30) as client:
        for heading, job in JOBS.items():
            print("==", heading)
            await job(client)


asyncio.run(main())
