// What programs do with jetcd, a client for Java: keys, transactions, watches, leases, locks, elections, members, users.
//
// Each job prints a heading and what it got, without ids and times: the test compares the lines of two servers.

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.Election;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.auth.Permission;
import io.etcd.jetcd.election.LeaderKey;
import io.etcd.jetcd.election.LeaderResponse;
import io.etcd.jetcd.kv.GetResponse;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.watch.WatchEvent;
import io.etcd.jetcd.watch.WatchResponse;
import io.grpc.stub.StreamObserver;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;

final class Jobs {
    /** How long anything may take, in seconds. */
    private static final long LIMIT = 30;

    private final Client client;
    private final String url;

    private Jobs(String url) {
        this.url = url;
        client = Client.builder().endpoints(url).build();
    }

    private static ByteSequence bytes(String text) {
        return ByteSequence.from(text, StandardCharsets.UTF_8);
    }

    private static String text(ByteSequence bytes) {
        return bytes.toString(StandardCharsets.UTF_8);
    }

    private static String shown(KeyValue kv) {
        return text(kv.getKey()) + "=" + text(kv.getValue()) + " v" + kv.getVersion();
    }

    private static void show(String what, List<KeyValue> kvs) {
        System.out.println(what + ": " + kvs.stream().map(Jobs::shown).collect(Collectors.joining(", ")));
    }

    private static <T> T got(CompletableFuture<T> future) throws Exception {
        return future.get(LIMIT, TimeUnit.SECONDS);
    }

    private static void fails(String what, CompletableFuture<?> future) throws Exception {
        try {
            got(future);
            System.out.println(what + ": no error");
        } catch (ExecutionException error) {
            var cause = error.getCause();
            System.out.println(what + ": " + cause.getClass().getSimpleName() + " " + cause.getMessage());
        }
    }

    private GetResponse get(String key, GetOption option) throws Exception {
        return got(client.getKVClient().get(bytes(key), option));
    }

    private long count(String prefix) throws Exception {
        return get(prefix, GetOption.builder().isPrefix(true).withCountOnly(true).build()).getCount();
    }

    private long put(String key, String value) throws Exception {
        return got(client.getKVClient().put(bytes(key), bytes(value))).getHeader().getRevision();
    }

    private void keys() throws Exception {
        var kv = client.getKVClient();
        long first = put("kv/a", "1");
        var second = got(kv.put(bytes("kv/a"), bytes("grün €"), PutOption.builder().withPrevKV().build()));
        System.out.println("put over " + shown(second.getPrevKv()) + ", later by " + (second.getHeader().getRevision() - first));
        put("kv/b", "value of kv/b");
        put("kv/c", "value of kv/c");
        show("all", get("kv/", GetOption.builder().isPrefix(true).build()).getKvs());
        var two = get("kv/", GetOption.builder().isPrefix(true).withLimit(2).build());
        show("two, " + two.getCount() + " more " + two.isMore(), two.getKvs());
        show("keys", get("kv/", GetOption.builder().isPrefix(true).withKeysOnly(true).build()).getKvs());
        System.out.println("count " + count("kv/"));
        show("past", get("kv/a", GetOption.builder().withRevision(first).build()).getKvs());
        show("downwards", get("kv/", GetOption.builder().isPrefix(true).withSortField(GetOption.SortTarget.KEY)
            .withSortOrder(GetOption.SortOrder.DESCEND).build()).getKvs());
        show("serializable", get("kv/a", GetOption.builder().withSerializable(true).build()).getKvs());
        show("range", get("kv/a", GetOption.builder().withRange(bytes("kv/c")).build()).getKvs());
        var deleted = got(kv.delete(bytes("kv/a"), DeleteOption.builder().withPrevKV(true).build()));
        show("deleted " + deleted.getDeleted(), deleted.getPrevKvs());
        System.out.println("prefix " + got(kv.delete(bytes("kv/"), DeleteOption.builder().isPrefix(true).build())).getDeleted());
        fails("no key", kv.put(bytes(""), bytes("x")));
        got(kv.compact(first + 1));
        fails("compacted", kv.get(bytes("kv/a"), GetOption.builder().withRevision(first).build()));
        fails("future", kv.get(bytes("kv/a"), GetOption.builder().withRevision(first + 1000).build()));
    }

    private void transactions() throws Exception {
        put("txn/a", "1");
        for (int round = 0; round < 2; round++) {
            var answer = got(client.getKVClient().txn()
                .If(new Cmp(bytes("txn/a"), Cmp.Op.EQUAL, CmpTarget.value(bytes("1"))),
                    new Cmp(bytes("txn/a"), Cmp.Op.GREATER, CmpTarget.version(0)),
                    new Cmp(bytes("txn/none"), Cmp.Op.EQUAL, CmpTarget.createRevision(0)))
                .Then(Op.put(bytes("txn/a"), bytes("2"), PutOption.DEFAULT), Op.get(bytes("txn/a"), GetOption.DEFAULT))
                .Else(Op.get(bytes("txn/a"), GetOption.DEFAULT), Op.delete(bytes("txn/a"), DeleteOption.DEFAULT))
                .commit());
            System.out.println("succeeded " + answer.isSucceeded() + " put " + answer.getPutResponses().size()
                + " deleted " + answer.getDeleteResponses().size());
            show("  got", answer.getGetResponses().get(0).getKvs());
        }
        var inner = Op.txn(new Cmp[0], new Op[] {Op.put(bytes("txn/b"), bytes("inner"), PutOption.DEFAULT)}, new Op[0]);
        var nested = client.getKVClient().txn().Then(inner, Op.put(bytes("txn/c"), bytes("outer"), PutOption.DEFAULT));
        System.out.println("nested " + got(nested.commit()).isSucceeded());
        show("left", get("txn/", GetOption.builder().isPrefix(true).build()).getKvs());
    }

    /** What a watch says, in order; an error is the last thing. */
    private static final class Heard implements Watch.Listener {
        private final BlockingQueue<String> lines = new LinkedBlockingQueue<>();

        @Override
        public void onNext(WatchResponse answer) {
            if (answer.isCreatedNotify()) {
                lines.add("created");
            }
            for (WatchEvent event : answer.getEvents()) {
                lines.add(event.getEventType() + " " + shown(event.getKeyValue()) + " was " + text(event.getPrevKV().getValue()));
            }
        }

        @Override
        public void onError(Throwable error) {
            lines.add("error " + error.getMessage());
        }

        @Override
        public void onCompleted() {
            lines.add("completed");
        }

        private void show(String what, int count) throws Exception {
            for (int line = 0; line < count; line++) {
                System.out.println(what + ": " + lines.poll(LIMIT, TimeUnit.SECONDS));
            }
        }
    }

    private void watches() throws Exception {
        long from = put("watch/a", "0");
        var watch = client.getWatchClient();
        var live = new Heard();
        var options = WatchOption.builder().isPrefix(true).withPrevKV(true).withCreateNotify(true).build();
        try (var watcher = watch.watch(bytes("watch/"), options, live)) {
            live.show("live", 1);
            put("watch/a", "1");
            got(client.getKVClient().delete(bytes("watch/a")));
            put("watch/b", "2");
            live.show("live", 3);
        }
        live.show("closed", 1);
        var past = new Heard();
        try (var watcher = watch.watch(bytes("watch/"), WatchOption.builder().isPrefix(true).withRevision(from).build(), past)) {
            past.show("past", 4);
        }
        var deletions = new Heard();
        var only = WatchOption.builder().isPrefix(true).withRevision(from).withNoPut(true).build();
        try (var watcher = watch.watch(bytes("watch/"), only, deletions)) {
            deletions.show("only deletions", 1);
        }
        got(client.getKVClient().compact(from + 2));
        var compacted = new Heard();
        try (var watcher = watch.watch(bytes("watch/a"), WatchOption.builder().withRevision(from).build(), compacted)) {
            compacted.show("compacted", 1);
        }
    }

    private void leases() throws Exception {
        var lease = client.getLeaseClient();
        long id = got(lease.grant(2)).getID();
        got(client.getKVClient().put(bytes("lease/a"), bytes("x"), PutOption.builder().withLeaseId(id).build()));
        System.out.println("once " + got(lease.keepAliveOnce(id)).getTTL());
        var answers = new LinkedBlockingQueue<Long>();
        var kept = lease.keepAlive(id, new StreamObserver<LeaseKeepAliveResponse>() {
            @Override
            public void onNext(LeaseKeepAliveResponse answer) {
                answers.add(answer.getTTL());
            }

            @Override
            public void onError(Throwable error) {
                answers.add(-1L);
            }

            @Override
            public void onCompleted() {
                answers.add(0L);
            }
        });
        for (int time = 0; time < 4; time++) {
            System.out.println("kept " + answers.poll(LIMIT, TimeUnit.SECONDS) + " there " + count("lease/a"));
        }
        var left = got(lease.timeToLive(id, LeaseOption.builder().withAttachedKeys().build()));
        System.out.println("granted " + left.getGrantedTTL() + " keys " + left.getKeys().stream().map(Jobs::text).toList());
        kept.close();
        while (count("lease/a") > 0) {
            TimeUnit.MILLISECONDS.sleep(20);
        }
        System.out.println("ended " + got(lease.timeToLive(id, LeaseOption.DEFAULT)).getTTL());
        fails("revoke", lease.revoke(id));
        long other = got(lease.grant(100)).getID();
        got(client.getKVClient().put(bytes("lease/b"), bytes("x"), PutOption.builder().withLeaseId(other).build()));
        got(lease.revoke(other));
        System.out.println("left " + count("lease/b"));
    }

    private void locks() throws Exception {
        var lock = client.getLockClient();
        long one = got(client.getLeaseClient().grant(60)).getID();
        long two = got(client.getLeaseClient().grant(60)).getID();
        var held = got(lock.lock(bytes("lock"), one)).getKey();
        System.out.println("held " + text(held).startsWith("lock/"));
        var waiting = lock.lock(bytes("lock"), two);
        while (count("lock/") < 2) {
            TimeUnit.MILLISECONDS.sleep(5);
        }
        try {
            waiting.get(200, TimeUnit.MILLISECONDS);
            System.out.println("both hold");
        } catch (TimeoutException waits) {
            System.out.println("the other waits");
        }
        got(lock.unlock(held));
        System.out.println("the other holds " + !got(waiting).getKey().equals(held));
        got(client.getLeaseClient().revoke(two));
        got(client.getLeaseClient().revoke(one));
        System.out.println("left " + count("lock/"));
    }

    private void elections() throws Exception {
        var election = client.getElectionClient();
        long one = got(client.getLeaseClient().grant(60)).getID();
        long two = got(client.getLeaseClient().grant(60)).getID();
        fails("nobody", election.leader(bytes("job")));
        LeaderKey first = got(election.campaign(bytes("job"), one, bytes("one"))).getLeader();
        var seen = new LinkedBlockingQueue<String>();
        election.observe(bytes("job"), new Election.Listener() {
            @Override
            public void onNext(LeaderResponse answer) {
                seen.add(text(answer.getKv().getValue()));
            }

            @Override
            public void onError(Throwable error) {
                seen.add("error " + error.getMessage());
            }

            @Override
            public void onCompleted() {
                seen.add("completed");
            }
        });
        System.out.println("leads " + seen.poll(LIMIT, TimeUnit.SECONDS));
        got(election.proclaim(first, bytes("one, still")));
        System.out.println("leads " + seen.poll(LIMIT, TimeUnit.SECONDS));
        var waiting = election.campaign(bytes("job"), two, bytes("two"));
        while (count("job/") < 2) {
            TimeUnit.MILLISECONDS.sleep(5);
        }
        got(election.resign(first));
        LeaderKey second = got(waiting).getLeader();
        System.out.println("leads " + seen.poll(LIMIT, TimeUnit.SECONDS));
        System.out.println("leads " + text(got(election.leader(bytes("job"))).getKv().getValue()));
        fails("proclaim", election.proclaim(first, bytes("not any more")));
        got(election.resign(second));
        System.out.println("left " + count("job/"));
    }

    private void maintenance() throws Exception {
        var members = got(client.getClusterClient().listMember()).getMembers();
        System.out.println("members " + members.size() + " " + members.get(0).getClientURIs().size());
        var maintenance = client.getMaintenanceClient();
        var status = got(maintenance.statusMember(url));
        System.out.println("leads " + (status.getLeader() == members.get(0).getId()) + " " + (status.getDbSize() > 0));
        System.out.println("alarms " + got(maintenance.listAlarms()).getAlarms().size());
        got(maintenance.defragmentMember(url));
        long hash = got(maintenance.hashKV(url, 0)).getHash();
        System.out.println("same hash " + (hash == got(maintenance.hashKV(url, 0)).getHash()));
        fails("move", maintenance.moveLeader(4711));
        fails("remove", client.getClusterClient().removeMember(4711));
    }

    private void users() throws Exception {
        var auth = client.getAuthClient();
        got(auth.userAdd(bytes("java"), bytes("secret")));
        fails("twice", auth.userAdd(bytes("java"), bytes("secret")));
        got(auth.roleAdd(bytes("reads")));
        got(auth.roleGrantPermission(bytes("reads"), bytes("a"), bytes("b"), Permission.Type.READ));
        System.out.println("permissions " + got(auth.roleGet(bytes("reads"))).getPermissions().size());
        got(auth.userGrantRole(bytes("java"), bytes("reads")));
        System.out.println("roles " + got(auth.userGet(bytes("java"))).getRoles());
        got(auth.userChangePassword(bytes("java"), bytes("other")));
        got(auth.userRevokeRole(bytes("java"), bytes("reads")));
        got(auth.roleDelete(bytes("reads")));
        got(auth.userDelete(bytes("java")));
        System.out.println("left " + got(auth.userList()).getUsers().size() + " " + got(auth.roleList()).getRoles().size());
    }

    public static void main(String[] arguments) throws Exception {
        var jobs = new Jobs("http://" + arguments[0]);
        System.out.println("== put and get: KV.put, get, delete, compact");
        jobs.keys();
        System.out.println("== transaction: Txn.If, Then, Else, Op.txn");
        jobs.transactions();
        System.out.println("== watch: Watch.watch");
        jobs.watches();
        System.out.println("== lease: Lease.grant, keepAlive, keepAliveOnce, timeToLive, revoke");
        jobs.leases();
        System.out.println("== lock: Lock.lock, unlock");
        jobs.locks();
        System.out.println("== election: Election.campaign, proclaim, leader, observe, resign");
        jobs.elections();
        System.out.println("== members and maintenance: Cluster.listMember, Maintenance.statusMember, hashKV, moveLeader");
        jobs.maintenance();
        System.out.println("== users and roles, auth off: Auth.userAdd, roleGrantPermission, userGet, roleGet");
        jobs.users();
        System.exit(0);
    }
}
