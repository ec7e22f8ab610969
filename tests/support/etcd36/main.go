// etcd's own server, of a later line than the one that Debian has: where the two differ, Vardr follows it or says that it does not.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
