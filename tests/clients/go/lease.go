package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
)

// The shortest time to live that etcd grants, in seconds.
const brief = 2

func there(ctx context.Context, client *clientv3.Client, key string) bool {
	return value(client.Get(ctx, key)).Count == 1
}

// Waits until a key is gone.
func gone(ctx context.Context, client *clientv3.Client, key string) {
	for there(ctx, client, key) {
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Println(key, "is gone")
}

func leases(ctx context.Context, client *clientv3.Client) {
	short := value(client.Grant(ctx, brief))
	kept := value(client.Grant(ctx, brief))
	fmt.Println("granted", short.TTL, kept.TTL)
	value(client.Put(ctx, "lease/short", "x", clientv3.WithLease(short.ID)))
	value(client.Put(ctx, "lease/kept", "x", clientv3.WithLease(kept.ID)))
	inner, stop := context.WithCancel(ctx)
	alive := value(client.KeepAlive(inner, kept.ID))
	fmt.Println("ttl:", (<-alive).TTL)
	fmt.Println("there at once:", there(ctx, client, "lease/short"))
	begun := time.Now()
	gone(ctx, client, "lease/short")
	fmt.Println("not early:", time.Since(begun) > time.Second)
	fmt.Println("ttl:", (<-alive).TTL)
	fmt.Println("kept:", there(ctx, client, "lease/kept"))
	stop()
	for range alive {
	}
	gone(ctx, client, "lease/kept")
	_, err := client.KeepAliveOnce(ctx, kept.ID)
	fmt.Println("ended:", err, errors.Is(err, rpctypes.ErrLeaseNotFound))

	long := value(client.Grant(ctx, 1000))
	for _, name := range []string{"lease/1", "lease/2"} {
		value(client.Put(ctx, name, "x", clientv3.WithLease(long.ID)))
	}
	fmt.Println("once:", value(client.KeepAliveOnce(ctx, long.ID)).TTL)
	left := value(client.TimeToLive(ctx, long.ID, clientv3.WithAttachedKeys()))
	// In etcd they are in no order.
	slices.SortFunc(left.Keys, bytes.Compare)
	fmt.Printf("granted %d, much left %t, keys %q\n", left.GrantedTTL, left.TTL > 900, left.Keys)
	listed := 0
	for _, lease := range value(client.Leases(ctx)).Leases {
		if lease.ID == long.ID {
			listed++
		}
	}
	fmt.Println("listed:", listed)
	value(client.Revoke(ctx, long.ID))
	gone(ctx, client, "lease/1")
	fmt.Println("left:", value(client.TimeToLive(ctx, long.ID)).TTL)
	_, err = client.Revoke(ctx, long.ID)
	fmt.Println("twice:", err)
	_, err = client.Put(ctx, "lease/1", "x", clientv3.WithLease(long.ID))
	fmt.Println("put:", err)
}

// A service says where it is and stays alive; whoever asks for it follows.
func registration(ctx context.Context, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	manager := value(endpoints.NewManager(client, "services/web"))
	changes := value(manager.NewWatchChannel(ctx))
	heard := func() {
		for _, update := range <-changes {
			fmt.Println("heard:", update.Op, update.Key, update.Endpoint.Addr)
		}
	}
	lease := value(client.Grant(ctx, brief))
	alive, stop := context.WithCancel(ctx)
	kept := value(client.KeepAlive(alive, lease.ID))
	fmt.Println("ttl:", (<-kept).TTL)
	one := endpoints.Endpoint{Addr: "10.0.0.7:8080", Metadata: map[string]string{"zone": "a"}}
	must(manager.AddEndpoint(ctx, "services/web/one", one, clientv3.WithLease(lease.ID)))
	heard()
	must(manager.AddEndpoint(ctx, "services/web/two", endpoints.Endpoint{Addr: "10.0.0.8:8080"}))
	heard()
	for key, endpoint := range value(manager.List(ctx)) {
		if key == "services/web/one" {
			fmt.Println("listed:", endpoint.Addr, endpoint.Metadata)
		}
	}
	must(manager.DeleteEndpoint(ctx, "services/web/two"))
	heard()
	// The service dies: nobody keeps its lease alive.
	stop()
	heard()
	fmt.Println("left:", len(value(manager.List(ctx))))
}
