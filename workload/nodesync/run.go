package nodesync

import (
	"context"
	"log/slog"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/desired"
)

// Run keeps the node below root in the state that a file describes, until the context ends.
func Run(ctx context.Context, file, root string) error {
	state, err := desired.Load(file)
	if err != nil {
		return err
	}
	syncer, err := New(state, root, SystemBus{}, slog.New(slog.NewTextHandler(os.Stdout, nil)))
	if err != nil {
		return err
	}
	defer func() { _ = syncer.Close() }()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return syncer.Serve(ctx) })
	group.Go(func() error { syncer.Run(ctx); return nil })
	return group.Wait()
}
