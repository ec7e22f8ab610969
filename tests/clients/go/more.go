package main

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

func wrappers(ctx context.Context, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	inside := namespace.NewKV(client, "wrap/")
	value(inside.Put(ctx, "a", "1"))
	show("inside", value(inside.Get(ctx, "", clientv3.WithPrefix())).Kvs)
	show("outside", value(client.Get(ctx, "wrap/", clientv3.WithPrefix())).Kvs)

	cached, end, err := leasing.NewKV(client, "wrap-leases/")
	must(err)
	show("cached", value(cached.Get(ctx, "wrap/a")).Kvs)
	value(cached.Put(ctx, "wrap/a", "2"))
	show("cached", value(cached.Get(ctx, "wrap/a")).Kvs)
	answer := value(cached.Txn(ctx).
		If(clientv3.Compare(clientv3.Value("wrap/a"), "=", "2")).
		Then(clientv3.OpPut("wrap/a", "3")).
		Commit())
	fmt.Println("swapped:", answer.Succeeded)
	show("not cached", value(client.Get(ctx, "wrap/a")).Kvs)
	end()

	syncer := mirror.NewSyncer(client, "wrap/", 0)
	answers, failures := syncer.SyncBase(ctx)
	for answer := range answers {
		show("base", answer.Kvs)
	}
	for err := range failures {
		fmt.Println("base fails:", err)
	}
	updates := syncer.SyncUpdates(ctx)
	value(client.Put(ctx, "wrap/b", "4"))
	hear("update", updates, 1)

	ordered := ordering.NewKV(client.KV, func(clientv3.Op, clientv3.OpResponse, int64) error { return ordering.ErrNoGreaterRev })
	value(ordered.Put(ctx, "wrap/c", "5"))
	show("ordered", value(ordered.Get(ctx, "wrap/c", clientv3.WithSerializable())).Kvs)
}

func maintenance(ctx context.Context, client *clientv3.Client) {
	members := value(client.MemberList(ctx)).Members
	fmt.Println("members:", len(members), members[0].IsLearner, len(members[0].ClientURLs))
	must(client.Sync(ctx))
	fmt.Println("synced:", len(client.Endpoints()))
	endpoint := client.Endpoints()[0]
	status := value(client.Status(ctx, endpoint))
	fmt.Println("leads itself:", status.Leader == status.Header.MemberId, status.IsLearner, status.DbSize > 0, status.Errors)
	fmt.Println("alarms:", len(value(client.AlarmList(ctx)).Alarms))
	value(client.Defragment(ctx, endpoint))
	one, two := value(client.HashKV(ctx, endpoint, 0)), value(client.HashKV(ctx, endpoint, 0))
	fmt.Println("same hash:", one.Hash == two.Hash, one.Header.Revision == two.Header.Revision)
	_, err := client.MoveLeader(ctx, 1)
	fmt.Println("move:", err)
	_, err = client.MemberRemove(ctx, 1)
	fmt.Println("remove:", err)
}

func users(ctx context.Context, client *clientv3.Client) {
	value(client.UserAdd(ctx, "go", "secret"))
	_, err := client.UserAdd(ctx, "go", "secret")
	fmt.Println("twice:", err)
	value(client.RoleAdd(ctx, "reads"))
	value(client.RoleGrantPermission(ctx, "reads", "a", "b", clientv3.PermissionType(clientv3.PermRead)))
	value(client.UserGrantRole(ctx, "go", "reads"))
	fmt.Println("roles:", value(client.UserGet(ctx, "go")).Roles)
	for _, permission := range value(client.RoleGet(ctx, "reads")).Perm {
		fmt.Printf("may: %s %s to %s\n", permission.PermType, permission.Key, permission.RangeEnd)
	}
	value(client.UserChangePassword(ctx, "go", "other"))
	value(client.RoleRevokePermission(ctx, "reads", "a", "b"))
	value(client.UserRevokeRole(ctx, "go", "reads"))
	value(client.RoleDelete(ctx, "reads"))
	value(client.UserDelete(ctx, "go"))
	_, err = client.Authenticate(ctx, "go", "other")
	fmt.Println("authenticate:", err)
	fmt.Println("left:", len(value(client.UserList(ctx)).Users), len(value(client.RoleList(ctx)).Roles))
}
