package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	phaseSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "capi_registry_cache_reconcile_phase_duration_seconds",
		Help:    "Time that a phase of reconciling a RegistryCache took.",
		Buckets: []float64{.001, .005, .025, .1, .5, 1, 2.5, 5, 10, 30},
	}, []string{"phase"})
	phaseErrors = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "capi_registry_cache_reconcile_phase_errors_total",
		Help: "How often a phase of reconciling a RegistryCache met an error that is tried again.",
	}, []string{"phase"})
)

// Phases are the metrics of phases.
var Phases = []prometheus.Collector{phaseSeconds, phaseErrors}

func init() { ctrlmetrics.Registry.MustRegister(Phases...) }

// Phase measures a phase of a reconcile from now until what it returns is called, which is told whether the phase met an error.
func Phase(name string) func(failed bool) {
	began := time.Now()
	failures := phaseErrors.WithLabelValues(name)
	return func(failed bool) {
		phaseSeconds.WithLabelValues(name).Observe(time.Since(began).Seconds())
		if failed {
			failures.Inc()
		}
	}
}
