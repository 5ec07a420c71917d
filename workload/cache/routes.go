package cache

import (
	"maps"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/health"
	distribution "github.com/distribution/distribution/v3/metrics"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/reference"
	"github.com/docker/go-metrics"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/pull"
)

const referrersRoute = "referrers"

// handler is the whole chain: log, health checks, the guard against requests for another upstream, and the routes.
func handler(config *Config, upstream string, pulls *pull.Handler, registry http.Handler, leaving *atomic.Bool) http.Handler {
	routes := withHeaders(config.HTTP.Headers, routes(config, pulls, registry, leaving))
	return logged(health.Handler(alive(onlyFor(upstream, routes))))
}

// routes gives pulls to pulls and everything else to registry, with distribution's metrics for each route.
func routes(config *Config, pulls *pull.Handler, registry http.Handler, leaving *atomic.Bool) http.Handler {
	handlers := map[string]http.Handler{
		v2.RouteNameBase:            base(leaving),
		v2.RouteNameBlob:            reads(http.HandlerFunc(pulls.Blob), registry),
		v2.RouteNameManifest:        reads(http.HandlerFunc(pulls.Manifest), registry),
		v2.RouteNameTags:            reads(pulls.Tags(registry), registry),
		v2.RouteNameCatalog:         registry,
		v2.RouteNameBlobUpload:      registry,
		v2.RouteNameBlobUploadChunk: registry,
		referrersRoute:              reads(http.HandlerFunc(pulls.Referrers), registry),
	}
	router := v2.Router()
	router.NotFoundHandler = registry
	router.Path("/v2/{name:" + reference.NameRegexp.String() + "}/referrers/{digest:" + digest.DigestRegexp.String() + "}").Name(referrersRoute)
	for name, handler := range handlers {
		if config.HTTP.Debug.Prometheus.Enabled {
			handler = instrumented(name, handler)
		}
		router.GetRoute(name).Handler(handler)
	}
	return router
}

// reads gives GET and HEAD to one handler and other methods, which this cache refuses, to distribution.
func reads(pulls, registry http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			pulls.ServeHTTP(w, r)
			return
		}
		registry.ServeHTTP(w, r)
	})
}

// instrumented counts requests under the names that distribution has for its routes.
func instrumented(route string, next http.Handler) http.Handler {
	namespace := metrics.NewNamespace(distribution.NamespacePrefix, "http", nil)
	requests := namespace.NewDefaultHttpMetrics(strings.ReplaceAll(route, "-", "_"))
	metrics.Register(namespace)
	return metrics.InstrumentHandler(requests, next)
}

// base answers what nodes probe, without a line of distribution's log for each. A cache that is leaving tells them so.
func base(leaving *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if leaving.Load() {
			http.Error(w, "this cache is about to end", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "2")
		if _, err := w.Write([]byte("{}")); err != nil {
			logrus.WithError(err).Debug("answering a probe")
		}
	})
}

// withHeaders adds http.headers, and the one that tells what API this is.
func withHeaders(headers http.Header, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range headers {
			for _, value := range values {
				w.Header().Add(name, value)
			}
		}
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		next.ServeHTTP(w, r)
	})
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

// readOnly is the configuration with which distribution serves the store and nothing else: no upstream, no writes, and
// none of what the chain in front of it does.
func readOnly(config *configuration.Configuration) *configuration.Configuration {
	local := *config
	local.Proxy = configuration.Proxy{}
	local.HTTP.Headers = nil
	local.HTTP.Debug.Prometheus.Enabled = false
	local.HTTP.Secret = "of uploads, which do not exist"
	local.Storage = maps.Clone(config.Storage)
	local.Storage["maintenance"] = configuration.Parameters{
		"uploadpurging": map[any]any{"enabled": false},
		"readonly":      map[any]any{"enabled": true},
	}
	return &local
}
