package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe3 "go.etcd.io/etcd/client/v3/experimental/recipes"
)

func session(client *clientv3.Client) *concurrency.Session {
	return value(concurrency.NewSession(client, concurrency.WithTTL(10)))
}

func locks(ctx context.Context, client *clientv3.Client) {
	one, two := session(client), session(client)
	first, second := concurrency.NewMutex(one, "lock/queue"), concurrency.NewMutex(two, "lock/queue")
	must(first.Lock(ctx))
	fmt.Println("the first holds; the second:", second.TryLock(ctx))
	fmt.Println("owner:", value(client.Txn(ctx).If(first.IsOwner()).Commit()).Succeeded)
	granted := make(chan error)
	go func() { granted <- second.Lock(ctx) }()
	for value(client.Get(ctx, "lock/queue/", clientv3.WithPrefix())).Count < 2 {
	}
	select {
	case <-granted:
		fmt.Println("both hold")
	default:
	}
	must(first.Unlock(ctx))
	must(<-granted)
	fmt.Println("the second holds; owner:", value(client.Txn(ctx).If(first.IsOwner()).Commit()).Succeeded)
	// A holder whose session ends gives way.
	third := concurrency.NewMutex(one, "lock/queue")
	go func() { granted <- third.Lock(ctx) }()
	must(two.Close())
	must(<-granted)
	fmt.Println("the third holds")
	must(third.Unlock(ctx))
	gaveUp, cancel := context.WithCancel(ctx)
	must(third.Lock(ctx))
	three := session(client)
	go cancel()
	err := concurrency.NewMutex(three, "lock/queue").Lock(gaveUp)
	fmt.Println("gave up:", errors.Is(err, context.Canceled))
	must(third.Unlock(ctx))
	must(three.Close())
	must(one.Close())

	// Five programs count by reading and writing under the lock.
	var inside, most atomic.Int32
	var waiting sync.WaitGroup
	for range 5 {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			own := session(client)
			defer own.Close()
			lock := concurrency.NewLocker(own, "lock/counter")
			for range 10 {
				lock.Lock()
				most.Store(max(most.Load(), inside.Add(1)))
				read := value(client.Get(ctx, "lock/count"))
				count := 0
				if read.Count == 1 {
					count = value(strconv.Atoi(string(read.Kvs[0].Value)))
				}
				value(client.Put(ctx, "lock/count", strconv.Itoa(count+1)))
				inside.Add(-1)
				lock.Unlock()
			}
		}()
	}
	waiting.Wait()
	show("counted", value(client.Get(ctx, "lock/count")).Kvs)
	fmt.Println("at most inside:", most.Load())
	fmt.Println("places left:", value(client.Get(ctx, "lock/queue", clientv3.WithPrefix())).Count)
}

func elections(ctx context.Context, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	one, two := session(client), session(client)
	first, second := concurrency.NewElection(one, "elect/job"), concurrency.NewElection(two, "elect/job")
	_, err := first.Leader(ctx)
	fmt.Println("nobody:", err)
	must(first.Campaign(ctx, "one"))
	show("leads", value(second.Leader(ctx)).Kvs)
	seen := second.Observe(ctx)
	show("seen", (<-seen).Kvs)
	must(first.Proclaim(ctx, "one, still"))
	show("seen", (<-seen).Kvs)
	elected := make(chan error)
	go func() { elected <- second.Campaign(ctx, "two") }()
	for value(client.Get(ctx, "elect/job/", clientv3.WithPrefix())).Count < 2 {
	}
	must(first.Resign(ctx))
	must(<-elected)
	show("seen", (<-seen).Kvs)
	fmt.Println("proclaim:", first.Proclaim(ctx, "not any more"))
	again := concurrency.ResumeElection(two, "elect/job", second.Key(), second.Rev())
	must(again.Proclaim(ctx, "two, resumed"))
	show("leads", value(first.Leader(ctx)).Kvs)
	must(two.Close())
	must(one.Close())
	fmt.Println("left:", value(client.Get(ctx, "elect/", clientv3.WithPrefix())).Count)
}

// Transactions in memory, tried again where another came between.
func memory(ctx context.Context, client *clientv3.Client) {
	for _, isolation := range []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads} {
		value(client.Put(ctx, "stm/from", "100"))
		value(client.Put(ctx, "stm/to", "0"))
		move := func(stm concurrency.STM) error {
			from, to := value(strconv.Atoi(stm.Get("stm/from"))), value(strconv.Atoi(stm.Get("stm/to")))
			stm.Put("stm/from", strconv.Itoa(from-1))
			stm.Put("stm/to", strconv.Itoa(to+1))
			return nil
		}
		var waiting sync.WaitGroup
		for range 4 {
			waiting.Add(1)
			go func() {
				defer waiting.Done()
				for range 10 {
					value(concurrency.NewSTM(client, move, concurrency.WithIsolation(isolation)))
				}
			}()
		}
		waiting.Wait()
		for _, kv := range value(client.Get(ctx, "stm/", clientv3.WithPrefix())).Kvs {
			fmt.Printf("isolation %d: %s=%s\n", isolation, kv.Key, kv.Value)
		}
	}
	aborted := fmt.Errorf("aborted")
	_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
		stm.Put("stm/never", "x")
		return aborted
	})
	fmt.Println(err, value(client.Get(ctx, "stm/never")).Count)
	value(concurrency.NewSTM(client, func(stm concurrency.STM) error {
		stm.Del("stm/from")
		return nil
	}))
	fmt.Println("left:", value(client.Get(ctx, "stm/", clientv3.WithPrefix())).Count)
}

func recipe(ctx context.Context, client *clientv3.Client) {
	barrier := recipe3.NewBarrier(client, "recipe/barrier")
	must(barrier.Hold())
	fmt.Println("twice:", barrier.Hold())
	released := make(chan error)
	go func() { released <- recipe3.NewBarrier(client, "recipe/barrier").Wait() }()
	must(barrier.Release())
	must(<-released)
	fmt.Println("the barrier is gone")

	queue := recipe3.NewQueue(client, "recipe/queue")
	for number := range 3 {
		must(queue.Enqueue(fmt.Sprint("job ", number)))
	}
	for range 3 {
		fmt.Println(value(queue.Dequeue()))
	}
	later := make(chan string)
	go func() { later <- value(recipe3.NewQueue(client, "recipe/queue").Dequeue()) }()
	must(queue.Enqueue("awaited"))
	fmt.Println(<-later)
	urgent := recipe3.NewPriorityQueue(client, "recipe/urgent")
	for priority, job := range []string{"first", "second", "third"} {
		must(urgent.Enqueue(job, uint16(9-priority)))
	}
	for range 3 {
		fmt.Println(value(urgent.Dequeue()))
	}

	one, two := session(client), session(client)
	readers := []*recipe3.RWMutex{recipe3.NewRWMutex(one, "recipe/rw"), recipe3.NewRWMutex(two, "recipe/rw")}
	for _, reader := range readers {
		must(reader.RLock())
	}
	fmt.Println("two read")
	three := session(client)
	writer := recipe3.NewRWMutex(three, "recipe/rw")
	written := make(chan error)
	go func() { written <- writer.Lock() }()
	for value(client.Get(ctx, "recipe/rw", clientv3.WithPrefix())).Count < 3 {
	}
	for _, reader := range readers {
		must(reader.RUnlock())
	}
	must(<-written)
	must(writer.Unlock())
	fmt.Println("one has written")

	left := make(chan error)
	for _, session := range []*concurrency.Session{one, two} {
		both := recipe3.NewDoubleBarrier(session, "recipe/both", 2)
		go func() {
			must(both.Enter())
			left <- both.Leave()
		}()
	}
	must(<-left)
	must(<-left)
	fmt.Println("both came and left together")
	for _, session := range []*concurrency.Session{one, two, three} {
		must(session.Close())
	}
	fmt.Println("left:", value(client.Get(ctx, "recipe/", clientv3.WithPrefix())).Count)
}
