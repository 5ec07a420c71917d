package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

const registryPatience = 20 * time.Second

// lab is all that the parts share: the upstream with its two fronts, the two programs, and the report.
type lab struct {
	options
	scale   scale
	dir     string
	report  *report
	network *network

	socket   *http.Transport // to the upstream's registry, past the fronts
	registry *process
	library  *front.Library
	caches   atomic.Int64

	toCaches, toNodes *front.Front // the doors of caches and of nodes to the same upstream
	ours, stock       program
}

func newLab(ctx context.Context, o options, dir string) (*lab, error) {
	network, err := newNetwork(ctx)
	if err != nil {
		return nil, err
	}
	l := &lab{
		options: o, scale: full, dir: dir, report: &report{}, network: network,
		ours:  program{name: "ours", short: "ours", path: o.workload, arguments: []string{"cache"}, port: 6000, ours: true},
		stock: program{name: "stock", short: "stock", path: o.stock, arguments: []string{"serve"}, port: 7000},
	}
	if o.quick {
		l.scale = quick
	}
	if err := l.startRegistry(ctx); err != nil {
		return nil, err
	}
	l.library = &front.Library{Next: front.Registry(l.socketPath())}
	if l.toCaches, err = l.newFront(ctx, cachePort); err != nil {
		return nil, err
	}
	l.toNodes, err = l.newFront(ctx, nodePort)
	return l, err
}

// close ends what would otherwise end with the process namespace.
func (l *lab) close() {
	l.registry.stop(stopPatience)
	if err := errors.Join(l.toCaches.Close(), l.toNodes.Close()); err != nil {
		progress("closing the upstream: %v", err)
	}
}

func (l *lab) programs() []program { return []program{l.ours, l.stock} }

func (l *lab) socketPath() string { return filepath.Join(l.dir, "upstream.sock") }

// startRegistry runs the registry that is the upstream. It listens on a Unix socket, which no network namespace hides.
func (l *lab) startRegistry(ctx context.Context) error {
	config, err := yaml.Marshal(section{
		"version": "0.1",
		"log":     section{"level": "warn", "accesslog": section{"disabled": true}},
		"storage": section{"filesystem": section{"rootdirectory": filepath.Join(l.dir, "upstream")}},
		"http":    section{"net": "unix", "addr": l.socketPath()},
	})
	if err != nil {
		return fmt.Errorf("encoding the upstream's configuration: %w", err)
	}
	path := filepath.Join(l.dir, "upstream.yml")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		return fmt.Errorf("writing the upstream's configuration: %w", err)
	}
	if l.registry, err = start(filepath.Join(l.dir, "upstream.log"), l.options.stock, "serve", path); err != nil {
		return err
	}
	l.socket = front.SocketTransport(l.socketPath())
	ctx, cancel := context.WithTimeout(ctx, registryPatience)
	defer cancel()
	if _, err := l.registry.ready(ctx, "http://upstream/v2/", l.socket); err != nil {
		return fmt.Errorf("starting the upstream: %w", err)
	}
	return nil
}

func (l *lab) newFront(ctx context.Context, port int) (*front.Front, error) {
	f, err := front.New(front.Options{
		Listen:  func() (net.Listener, error) { return l.network.listen(port) },
		Drop:    func(drop bool) error { return l.network.drop(ctx, port, drop) },
		Handler: l.library,
	})
	if err != nil {
		return nil, fmt.Errorf("opening port %d of the upstream: %w", port, err)
	}
	return f, nil
}

// both runs do for the two programs at once; they meet only at the upstream.
func (l *lab) both(ctx context.Context, do func(context.Context, program) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range l.programs() {
		group.Go(func() error { return do(ctx, p) })
	}
	return group.Wait()
}

// bound notes a bound on speed, which a build with the race detector is not held to.
func (l *lab) speedBound(held bool, what string, values ...any) {
	if l.ratios {
		l.report.bound(held, what, values...)
	}
}
