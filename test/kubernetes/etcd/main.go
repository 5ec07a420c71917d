// Command etcd is the etcd server, built from its module: upstream's own main package lives in a module that is not published.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
