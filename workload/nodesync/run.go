package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/desired"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// command reads the arguments and runs until the context ends.
func command(ctx context.Context, args []string, help io.Writer) error {
	flags := flag.NewFlagSet("node-sync", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	root := flags.String("root", "/host", "where the node's file system is mounted")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(help, "node-sync [--root DIR] STATE keeps the node of this Pod in its desired state.\n"+
			"STATE is the path of the document that the controller renders. The node's directories have to be mounted below the root,\n"+
			"and the directory of its system bus where D-Bus has it.")
		flags.SetOutput(help)
		flags.PrintDefaults()
	}
	if err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("%d arguments given; accepted is one, the path of the desired state, such as /etc/node-sync/state.json", flags.NArg())
	}
	return run(ctx, flags.Arg(0), *root)
}

// run keeps the node below root in the state that a file describes, until the context ends.
func run(ctx context.Context, file, root string) error {
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
