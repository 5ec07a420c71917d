package cache

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/listener"
	"github.com/sirupsen/logrus"
)

const (
	readHeaderTimeout = 30 * time.Second
	idleTimeout       = 5 * time.Minute
)

// Run serves the cache that config describes until ctx ends. It then tells those that probe it for as long as
// pullthrough.http.lameduck says, takes no new connections, waits up to
// http.draintimeout for open requests and transfers, and writes down when each blob expires. It returns nil after a complete
// drain. config is one that Load returned. upstream is the registry that the cache serves, as it stands in image
// references: requests that name another one get 404; "" answers all. Run serves one cache in a process.
func Run(ctx context.Context, config *Config, upstream string) error {
	trustRoots()
	if err := configureLogging(config.Log); err != nil {
		return fmt.Errorf("configuring the log: %w", err)
	}
	failed := make(chan error, 3)

	// First, so that liveness is answered while a large store is read.
	told := &reporter{}
	debug, err := serveDebug(config.HTTP.Debug, told, failed)
	if err != nil {
		return err
	}
	defer debug.Close() //nolint:errcheck // nothing is left to lose

	e, err := start(config)
	if err != nil {
		return fmt.Errorf("starting the cache of %s: %w", config.Proxy.RemoteURL, err)
	}
	told.about(e)
	leaving := &atomic.Bool{}
	registry, err := serveRegistry(config, handler(config, upstream, e.pulls, e.app, leaving), failed)
	if err != nil {
		return errors.Join(err, e.stop(0))
	}

	select {
	case err := <-failed:
		return errors.Join(err, registry.Close(), e.stop(0))
	case <-ctx.Done():
		leave(leaving, config.Pullthrough.HTTP.Lameduck)
		return drain(registry, e, config.HTTP.DrainTimeout)
	}
}

func serveDebug(config configuration.Debug, told *reporter, failed chan<- error) (*http.Server, error) {
	server := newServer(debugHandler(config, told))
	if config.Addr == "" {
		return server, nil
	}
	socket, err := net.Listen("tcp", config.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on http.debug.addr %q: %w", config.Addr, err)
	}
	serve(server, "debug", failed, socket)
	return server, nil
}

func serveRegistry(config *Config, handler http.Handler, failed chan<- error) (*http.Server, error) {
	socket, err := listener.NewListener(config.HTTP.Net, config.HTTP.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on http.addr %q: %w", config.HTTP.Addr, err)
	}
	sockets, err := listeners(socket, config)
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	server := newServer(handler)
	server.Protocols = cleartextProtocols(config.HTTP)
	serve(server, "registry", failed, sockets...)
	return server, nil
}

func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          log.New(serverLog{}, "", 0),
	}
}

// cleartextProtocols is nil, net/http's default, unless http.h2c is enabled.
func cleartextProtocols(config configuration.HTTP) *http.Protocols {
	if !config.H2C.Enabled {
		return nil
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(!config.HTTP2.Disabled)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

// serve answers on all sockets of one address until the server is closed.
func serve(server *http.Server, name string, failed chan<- error, sockets ...net.Listener) {
	logrus.WithFields(logrus.Fields{"server": name, "address": sockets[0].Addr().String()}).Info("listening")
	for _, socket := range sockets {
		go func() {
			if err := server.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serving %s: %w", name, err)
			}
		}()
	}
}

// leave tells whoever probes that the cache ends, and serves pulls on for a time, so that nobody asks for it when it is gone: a Pod's address
// answers nothing from then on, not even a refusal, until every node has heard of its end.
func leave(leaving *atomic.Bool, lameduck time.Duration) {
	leaving.Store(true)
	if lameduck > 0 {
		logrus.WithField("lameduck", lameduck.String()).Info("leaving")
		<-time.After(lameduck)
	}
}

func drain(registry *http.Server, e *engine, timeout time.Duration) error {
	logrus.WithField("timeout", timeout.String()).Info("draining connections")
	deadline := time.Now().Add(timeout)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()

	err := registry.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("draining connections for http.draintimeout %s: %w", timeout, err)
	}
	return errors.Join(err, e.stop(time.Until(deadline)))
}
