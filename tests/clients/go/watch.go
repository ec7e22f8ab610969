package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Prints what a watch hears until it has heard so many events.
func hear(what string, heard clientv3.WatchChan, count int) {
	for count > 0 {
		answer, open := <-heard
		if !open || answer.Err() != nil {
			fmt.Println(what, "ends:", answer.Err(), answer.CompactRevision > 0)
			return
		}
		for _, event := range answer.Events {
			fmt.Printf("%s: %s %s=%q", what, event.Type, event.Kv.Key, event.Kv.Value)
			if event.PrevKv != nil {
				fmt.Printf(" was %q", event.PrevKv.Value)
			}
			fmt.Println(" created", event.IsCreate())
			count--
		}
	}
}

func watches(ctx context.Context, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from := value(client.Put(ctx, "watch/a", "0")).Header.Revision
	one := client.Watch(ctx, "watch/a", clientv3.WithCreatedNotify())
	fmt.Println("made:", (<-one).Created)
	value(client.Put(ctx, "watch/a", "1"))
	value(client.Delete(ctx, "watch/a"))
	value(client.Put(ctx, "watch/a", "2"))
	hear("one", one, 3)
	value(client.Put(ctx, "watch/b", "3"))
	hear("past", client.Watch(ctx, "watch/", clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithPrevKV()), 5)
	hear("no puts", client.Watch(ctx, "watch/", clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithFilterPut()), 1)
	hear("range", client.Watch(ctx, "watch/b", clientv3.WithRange("watch/c"), clientv3.WithRev(from)), 1)

	// Many watches on one stream, and a transaction that all of them hear of.
	var waiting sync.WaitGroup
	for range 50 {
		heard := client.Watch(ctx, "watch/many", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		<-heard
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			events := 0
			for events < 2 {
				events += len((<-heard).Events)
			}
		}()
	}
	value(client.Txn(ctx).Then(clientv3.OpPut("watch/many1", "x"), clientv3.OpPut("watch/many2", "y")).Commit())
	waiting.Wait()
	fmt.Println("50 have heard")

	asked := client.Watch(ctx, "watch/quiet", clientv3.WithCreatedNotify())
	<-asked
	must(client.RequestProgress(ctx))
	select {
	case answer := <-asked:
		fmt.Println("progress:", answer.IsProgressNotify())
	case <-time.After(10 * time.Second):
		fmt.Println("no progress")
	}
	inner, stop := context.WithCancel(ctx)
	stopped := client.Watch(inner, "watch/stopped", clientv3.WithCreatedNotify())
	<-stopped
	stop()
	_, open := <-stopped
	fmt.Println("stopped:", !open)

	value(client.Compact(ctx, from+2))
	hear("compacted", client.Watch(ctx, "watch/a", clientv3.WithRev(from)), 1)
}
