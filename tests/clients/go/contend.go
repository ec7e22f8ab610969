package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// Takes a lock again and again, and each time is the only one inside a folder, or ends: whoever is inside has made the file
// `inside`, which is there once, and adds one to `count`.
func contend(ctx context.Context, client *clientv3.Client, name, folder string, times int) {
	own := session(client)
	defer own.Close()
	lock := concurrency.NewMutex(own, name)
	inside, count := filepath.Join(folder, "inside"), filepath.Join(folder, "count")
	for range times {
		must(lock.Lock(ctx))
		must(value(os.OpenFile(inside, os.O_CREATE|os.O_EXCL, 0o600)).Close())
		read := value(strconv.Atoi(string(value(os.ReadFile(count)))))
		must(os.WriteFile(count, []byte(strconv.Itoa(read+1)), 0o600))
		must(os.Remove(inside))
		must(lock.Unlock(ctx))
	}
	fmt.Println("held", times, "times")
}
