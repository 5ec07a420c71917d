// Command demo tells the story of the project on real clusters, in a terminal: the stack of the e2e specs, a
// cluster with caches, and what pulls take while things go away. It leaves all of it running.
//
//	demo           the story
//	demo -remove   remove what the story or the e2e specs left running
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

func main() {
	remove := flag.Bool("remove", false, "remove what the demo or the e2e specs left running")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *remove)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, remove bool) error {
	s, err := stack.New(os.Stdout)
	if err != nil {
		return err
	}
	if remove {
		return s.Progress.Step("removing clusters, registries, processes and networks", func() error { return s.Remove(ctx) })
	}
	err = tell(ctx, s)
	if err != nil && s.Client != nil && !errors.Is(err, context.Canceled) {
		err = errors.Join(err, s.CollectLogs(context.WithoutCancel(ctx), "demo", s.Cluster(clusterName, workers)))
	}
	return err
}
