// Command kubectl-registry_cache is the plugin of kubectl and clusterctl for registry caches: kubectl finds it as `kubectl registry-cache`.
// It shows how the caches of Clusters are, what they save, what is wrong with them, and what would become of bootstrap data. It
// asks API servers with the rights of who runs it.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/command"
)

func main() {
	os.Exit(command.Run(os.Args, genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
}
