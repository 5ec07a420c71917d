package cache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the one driver of this cache
	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/pull"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/upstream"
)

// engine is what runs behind the server: the store, the upstream, what pulls through both, and distribution's registry
// for everything that is no pull.
type engine struct {
	stored *store.Store
	remote *upstream.Client
	pulls  *pull.Handler
	app    *handlers.App

	cancel     context.CancelFunc
	background sync.WaitGroup
}

// start opens the store and begins its upkeep. It does not ask the upstream. The engine does not end with Run's context:
// the drain still needs it.
func start(config *Config) (*engine, error) {
	stored, err := store.Open(config.storeOptions())
	if err != nil {
		return nil, err
	}
	options, err := config.upstreamOptions()
	if err != nil {
		return nil, err
	}
	remote, err := upstream.New(options)
	if err != nil {
		return nil, err
	}
	app, err := newApp(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &engine{
		stored: stored,
		remote: remote,
		app:    app,
		cancel: cancel,
		pulls:  pull.New(pull.Options{Store: stored, Upstream: remote, RevalidateAfter: config.Pullthrough.RevalidateAfter}),
	}
	e.background.Go(func() { remote.Run(ctx) })
	e.background.Go(func() { remote.CheckAccess(ctx) })
	e.background.Go(func() { stored.Run(ctx, func() bool { return remote.Available() != nil }) })
	return e, nil
}

// newApp turns the panics with which distribution answers a bad configuration into an error.
func newApp(config *Config) (app *handlers.App, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%v", reason)
		}
	}()
	app = handlers.NewApp(context.Background(), readOnly(config.Configuration))
	app.RegisterHealthChecks()
	return app, nil
}

// stop gives transfers that nobody waits for any more the time that is left, and ends everything.
func (e *engine) stop(patience time.Duration) error {
	transferred := make(chan struct{})
	go func() {
		e.pulls.Wait()
		close(transferred)
	}()
	select {
	case <-transferred:
	case <-time.After(max(0, patience)):
		logrus.Info("a transfer that nobody waits for was ended")
	}
	e.cancel()
	e.background.Wait()
	return e.app.Shutdown()
}
