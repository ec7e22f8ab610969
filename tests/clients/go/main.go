// What programs do with etcd's own client for Go: keys, watches, leases, locks, elections, transactions, registration, recipes.
//
// Each job prints a heading and what it got, without ids and times: the test compares the lines of two servers. It works below a
// prefix of its own. `jobs ADDRESS NAME FOLDER TIMES` only contends for a lock.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// How long all jobs together may take.
const limit = 2 * time.Minute

type job struct {
	heading string
	do      func(context.Context, *clientv3.Client)
}

var jobs = []job{
	{"put and get: Put, Get, Delete, Do, Compact", keys},
	{"watch: Watch", watches},
	{"lease: Grant, KeepAlive, KeepAliveOnce, TimeToLive, Leases, Revoke", leases},
	{"transaction: Txn, If, Then, Else, OpTxn", transactions},
	{"STM: concurrency.NewSTM, four at once", memory},
	{"lock: concurrency.Mutex, Locker, five at once", locks},
	{"election: concurrency.Election", elections},
	{"registration: naming/endpoints", registration},
	{"recipes: Barrier, DoubleBarrier, Queue, PriorityQueue, RWMutex", recipe},
	{"wrappers: namespace, leasing, mirror, ordering", wrappers},
	{"members and maintenance: MemberList, Status, AlarmList, Defragment, HashKV", maintenance},
	{"users and roles, auth off: UserAdd, RoleGrantPermission, UserGet, RoleGet", users},
}

func main() {
	client := value(clientv3.New(clientv3.Config{Endpoints: os.Args[1:2], DialTimeout: 5 * time.Second}))
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if len(os.Args) == 5 {
		contend(ctx, client, os.Args[2], os.Args[3], value(strconv.Atoi(os.Args[4])))
		return
	}
	for _, job := range jobs {
		fmt.Println("==", job.heading)
		job.do(ctx, client)
	}
}

func must(err error) {
	if err != nil {
		log.SetFlags(log.Lshortfile)
		_ = log.Output(2, err.Error())
		os.Exit(1)
	}
}

func value[T any](value T, err error) T {
	if err != nil {
		log.SetFlags(log.Lshortfile)
		_ = log.Output(2, err.Error())
		os.Exit(1)
	}
	return value
}
