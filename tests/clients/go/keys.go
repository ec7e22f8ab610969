package main

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func show(what string, kvs []*mvccpb.KeyValue) {
	fmt.Print(what, ":")
	for _, kv := range kvs {
		fmt.Printf(" %s=%q v%d", kv.Key, kv.Value, kv.Version)
	}
	fmt.Println()
}

func keys(ctx context.Context, client *clientv3.Client) {
	first := value(client.Put(ctx, "kv/a", "1"))
	began := first.Header.Revision
	second := value(client.Put(ctx, "kv/a", "2", clientv3.WithPrevKV()))
	fmt.Println("later by", second.Header.Revision-began)
	show("before", []*mvccpb.KeyValue{second.PrevKv})
	for _, name := range []string{"kv/b", "kv/c", "kv/d"} {
		value(client.Put(ctx, name, "value of "+name))
	}
	get := func(what string, options ...clientv3.OpOption) {
		answer := value(client.Get(ctx, "kv/", append([]clientv3.OpOption{clientv3.WithPrefix()}, options...)...))
		show(what, answer.Kvs)
		fmt.Println("  count", answer.Count, "more", answer.More, "later by", answer.Header.Revision-began)
	}
	get("all")
	get("two", clientv3.WithLimit(2))
	get("keys", clientv3.WithKeysOnly())
	get("count", clientv3.WithCountOnly())
	get("past", clientv3.WithRev(began))
	get("downwards", clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	get("by value", clientv3.WithSort(clientv3.SortByValue, clientv3.SortAscend))
	get("serializable", clientv3.WithSerializable())
	get("changed since", clientv3.WithMinModRev(began+2))
	get("created until", clientv3.WithMaxCreateRev(began+2))
	show("from", value(client.Get(ctx, "kv/c", clientv3.WithRange("kv/d"))).Kvs)
	first2 := value(client.Get(ctx, "kv/", clientv3.WithFirstCreate()...))
	show("first created", first2.Kvs)
	show("last changed", value(client.Get(ctx, "kv/", clientv3.WithLastRev()...)).Kvs)
	deleted := value(client.Delete(ctx, "kv/b", clientv3.WithRange("kv/d"), clientv3.WithPrevKV()))
	show(fmt.Sprint("deleted ", deleted.Deleted), deleted.PrevKvs)
	done := value(client.Do(ctx, clientv3.OpGet("kv/a")))
	show("done", done.Get().Kvs)
	_, err := client.Get(ctx, "kv/a", clientv3.WithRev(began+1000))
	fmt.Println("future:", err, errors.Is(err, rpctypes.ErrFutureRev))
	value(client.Compact(ctx, began+2))
	_, err = client.Get(ctx, "kv/a", clientv3.WithRev(began))
	fmt.Println("compacted:", err, errors.Is(err, rpctypes.ErrCompacted))
	_, err = client.Put(ctx, "", "x")
	fmt.Println("no key:", err, errors.Is(err, rpctypes.ErrEmptyKey))
	_, err = client.Put(ctx, "kv/none", "", clientv3.WithIgnoreValue())
	fmt.Println("ignore value:", err)
	_, err = client.Put(ctx, "kv/large", string(make([]byte, 3<<20)))
	fmt.Println("too large:", err != nil)
}

func transactions(ctx context.Context, client *clientv3.Client) {
	value(client.Put(ctx, "txn/a", "1"))
	swap := func(from, to string) {
		answer := value(client.Txn(ctx).
			If(clientv3.Compare(clientv3.Value("txn/a"), "=", from), clientv3.Compare(clientv3.CreateRevision("txn/none"), "=", 0)).
			Then(clientv3.OpPut("txn/a", to, clientv3.WithPrevKV()), clientv3.OpGet("txn/", clientv3.WithPrefix())).
			Else(clientv3.OpGet("txn/a")).
			Commit())
		fmt.Println(from, "to", to, answer.Succeeded, len(answer.Responses))
		for _, response := range answer.Responses {
			if answer := response.GetResponseRange(); answer != nil {
				show("  got", answer.Kvs)
			}
			if answer := response.GetResponsePut(); answer != nil {
				show("  put over", []*mvccpb.KeyValue{answer.PrevKv})
			}
		}
	}
	swap("1", "2")
	swap("1", "3")
	nested := clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.Version("txn/a"), ">", 1)},
		[]clientv3.Op{clientv3.OpPut("txn/b", "inner"), clientv3.OpDelete("txn/a")},
		nil,
	)
	answer := value(client.Txn(ctx).Then(nested, clientv3.OpPut("txn/c", "outer")).Commit())
	inner := answer.Responses[0].GetResponseTxn()
	fmt.Println("nested", inner.Succeeded, inner.Responses[1].GetResponseDeleteRange().Deleted)
	after := value(client.Get(ctx, "txn/", clientv3.WithPrefix()))
	show("after", after.Kvs)
	fmt.Println("one revision:", after.Kvs[0].ModRevision == after.Kvs[1].ModRevision)
	compare := clientv3.Compare(clientv3.Value("txn/").WithPrefix(), "!=", "absent")
	fmt.Println("of a range", value(client.Txn(ctx).If(compare).Commit()).Succeeded)
	_, err := client.Txn(ctx).Then(clientv3.OpPut("txn/x", "1"), clientv3.OpPut("txn/x", "2")).Commit()
	fmt.Println("twice:", err, errors.Is(err, rpctypes.ErrDuplicateKey))
}
