// Command workload is the cache that runs inside workload clusters. What runs there on every node is a program of its own,
// workload/nodesync, in the same image.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	command := &cobra.Command{
		Use:               "workload",
		Short:             "The cache that runs inside a workload cluster",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("no sub-command given; accepted is: cache CONFIG")
		},
	}
	command.AddCommand(newCacheCommand())
	return command
}

func newCacheCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cache CONFIG",
		// The arguments of a stock registry, so that one Pod template fits both images.
		Aliases: []string{"serve"},
		Short:   "Serve a pull-through cache of one registry",
		Long: `Serve a pull-through cache of one registry.

CONFIG is the path of a configuration file of distribution (https://distribution.github.io/distribution/about/configuration).
As there, variables such as REGISTRY_PROXY_TTL override what the file says. CACHE_UPSTREAM names the registry that
the cache serves; requests that name another one (containerd's parameter ns) are then answered with 404.`,
		Args: cacheArgs,
		RunE: func(command *cobra.Command, args []string) error {
			config, err := cache.Load(args[0])
			if err != nil {
				return err
			}
			return cache.Run(command.Context(), config, os.Getenv(cache.UpstreamVariable))
		},
	}
}

func cacheArgs(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("cache: %d arguments given; accepted is one, the path of the configuration file, such as /etc/distribution/config.yml", len(args))
	}
	return nil
}
