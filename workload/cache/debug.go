package cache

import (
	"expvar"
	"net/http"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/health"
	"github.com/docker/go-metrics"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

const defaultMetricsPath = "/metrics"

// debugHandler serves health, counters, the report and, if enabled, metrics at the paths of a stock registry. Unlike there,
// profiles are not served: a heap dump may hold a credential, and the port has no authentication.
func debugHandler(config configuration.Debug, told *reporter) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/health", health.StatusHandler)
	mux.Handle("/debug/vars", expvar.Handler())
	mux.Handle(report.Path, told)
	if config.Prometheus.Enabled {
		path := config.Prometheus.Path
		if path == "" {
			path = defaultMetricsPath
		}
		mux.Handle(path, metrics.Handler())
	}
	return mux
}
