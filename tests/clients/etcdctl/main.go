// etcd's own command line client, current: its module replaces what it requires by folders beside it, which `go install` refuses,
// so that this one requires it and begins where it begins.
package main

import "go.etcd.io/etcd/etcdctl/v3/ctlv3"

func main() {
	ctlv3.MustStart()
}
