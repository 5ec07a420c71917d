package cache

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/health"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/distribution/distribution/v3/registry/listener"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the one driver of this cache
	gorillahandlers "github.com/gorilla/handlers"
	"github.com/sirupsen/logrus"
	_ "golang.org/x/crypto/x509roots/fallback" // the image holds no CA certificates
)

const (
	readHeaderTimeout = 30 * time.Second
	idleTimeout       = 5 * time.Minute
)

// Run serves the cache that config describes until ctx ends. It then takes no new connections, waits up to
// http.draintimeout for open requests, and writes the state of the expiry scheduler. It returns nil after a complete
// drain. config is one that Load returned. upstream is the registry that the cache serves, as it stands in image
// references: requests that name another one get 404; "" answers all. Run serves one cache in a process.
func Run(ctx context.Context, config *configuration.Configuration, upstream string) error {
	if err := configureLogging(config.Log); err != nil {
		return fmt.Errorf("configuring the log: %w", err)
	}
	failed := make(chan error, 2)

	// First, so that liveness is answered while distribution waits for a slow upstream.
	debug, err := serveDebug(config.HTTP.Debug, failed)
	if err != nil {
		return err
	}
	defer debug.Close() //nolint:errcheck // nothing is left to lose

	app, err := newApp(config)
	if err != nil {
		return fmt.Errorf("starting the cache of %s: %w", config.Proxy.RemoteURL, err)
	}
	registry, err := serveRegistry(config, onlyFor(upstream, app), failed)
	if err != nil {
		return errors.Join(err, app.Shutdown())
	}

	select {
	case err := <-failed:
		return errors.Join(err, registry.Close(), app.Shutdown())
	case <-ctx.Done():
		return drain(registry, app, config.HTTP.DrainTimeout)
	}
}

// newApp turns the panics with which distribution answers a bad configuration, or an upstream that it cannot reach,
// into an error. The app's context does not end with Run's: the drain still needs the store.
func newApp(config *configuration.Configuration) (app *handlers.App, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%v", reason)
		}
	}()
	app = handlers.NewApp(context.Background(), config)
	app.RegisterHealthChecks()
	return app, nil
}

func serveDebug(config configuration.Debug, failed chan<- error) (*http.Server, error) {
	server := newServer(debugHandler(config))
	if config.Addr == "" {
		return server, nil
	}
	socket, err := net.Listen("tcp", config.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on http.debug.addr %q: %w", config.Addr, err)
	}
	serve(server, socket, "debug", failed)
	return server, nil
}

func serveRegistry(config *configuration.Configuration, app http.Handler, failed chan<- error) (*http.Server, error) {
	socket, err := listener.NewListener(config.HTTP.Net, config.HTTP.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on http.addr %q: %w", config.HTTP.Addr, err)
	}
	socket, err = withTLS(socket, config.HTTP)
	if err != nil {
		return nil, err
	}
	server := newServer(handler(config, app))
	server.Protocols = cleartextProtocols(config.HTTP)
	serve(server, socket, "registry", failed)
	return server, nil
}

// handler is distribution's, behind the health checks and the access log.
func handler(config *configuration.Configuration, app http.Handler) http.Handler {
	chain := health.Handler(alive(app))
	if config.Log.AccessLog.Disabled {
		return chain
	}
	return gorillahandlers.CombinedLoggingHandler(os.Stdout, chain)
}

// alive answers / as a stock registry does. It is no ServeMux: that would redirect what distribution shall judge.
func alive(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-cache")
		w.WriteHeader(http.StatusOK)
	})
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

func serve(server *http.Server, socket net.Listener, name string, failed chan<- error) {
	logrus.WithFields(logrus.Fields{"server": name, "address": socket.Addr().String()}).Info("listening")
	go func() {
		if err := server.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serving %s: %w", name, err)
		}
	}()
}

func drain(registry *http.Server, app *handlers.App, timeout time.Duration) error {
	logrus.WithField("timeout", timeout.String()).Info("draining connections")
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()

	err := registry.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("draining connections for http.draintimeout %s: %w", timeout, err)
	}
	return errors.Join(err, app.Shutdown())
}
