"""python-etcd as someone would use it: configuration, compare and swap, queues, directories, a lock, a follower.

Prints what it got, one line for each thing done; the test compares the lines of two servers.
"""

import sys
import threading

import etcd

host, port = sys.argv[1].rsplit(":", 1)
client = etcd.Client(host=host, port=int(port))


def show(what, result):
    print(what, "|", result)


def node(result):
    return [result.action, result.key, result.value, result.dir, result.modifiedIndex, result.createdIndex, result.newKey]


def fails(what, call, *arguments, **options):
    try:
        show(what, ["no error", node(call(*arguments, **options))])
    except etcd.EtcdException as error:
        show(what, [type(error).__name__, str(error), getattr(error, "payload", None)])


show("leader", sorted(client.leader.keys()))
show("members", [sorted(member.keys()) for member in client.members.values()])
show("machines", len(client.machines))
show("write", node(client.write("/py/config/host", "db1")))
show("write again", node(client.write("/py/config/host", "db2")))
show("set", node(client.set("/py/config/name", "grün <&> \u20ac")))
show("read", node(client.read("/py/config/host")))
show("get", client.get("/py/config/name").value)
fails("missing", client.read, "/py/nothing")
fails("must not exist", client.write, "/py/config/host", "x", prevExist=False)
fails("must exist", client.write, "/py/other", "x", prevExist=True)
show("swap by value", node(client.test_and_set("/py/config/host", "db3", "db2")))
fails("swap fails", client.test_and_set, "/py/config/host", "db4", "db2")
result = client.read("/py/config/host")
result.value = "db5"
show("update", node(client.update(result)))
fails("update of a stale copy", client.update, result)
show("with a time to live", client.write("/py/session", "s1", ttl=300).ttl)
show("refreshed", client.refresh("/py/session", ttl=600).ttl)
show("directory", node(client.write("/py/dir", None, dir=True)))
fails("a directory is no file", client.write, "/py/dir", "x")
fails("a file is no directory", client.write, "/py/config/host/below", "x")
jobs = [client.write("/py/queue", f"job{number}", append=True) for number in range(3)]
show("queue", [node(job) for job in jobs])
listing = client.read("/py/queue", recursive=True, sorted=True)
show("in order", [child.value for child in listing.children])
show("tree", sorted((leaf.key, leaf.value) for leaf in client.read("/py", recursive=True).leaves))
show("history", node(client.watch("/py/config/host", index=1)))
since = client.write("/py/followed", "0").modifiedIndex
heard = []
follower = threading.Thread(
    target=lambda: heard.extend(node(client.watch("/py/followed", index=since + 1 + step)) for step in range(3))
)
follower.start()
for step in range(3):
    client.write("/py/followed", str(step + 1))
follower.join(30)
show("followed", heard)
lock = etcd.Lock(client, "job")
show("lock", lock.acquire(blocking=True, lock_ttl=60))
show("locked", lock.is_acquired)
show("released", [lock.release(), lock.is_acquired])
fails("not empty", client.delete, "/py/queue", dir=True)
show("delete", node(client.delete("/py/session")))
fails("deleted", client.delete, "/py/session")
show("pop", node(client.pop("/py/config/name")))
show("delete all", node(client.delete("/py", recursive=True)))
fails("root", client.delete, "/")
