package webhooks

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap"
)

// Values of the result label of the injections metric.
const (
	resultInjected      = "injected"
	resultPassedThrough = "passed_through"
	resultSkipped       = "skipped"
	resultError         = "error"
)

// formats are the values of the format label. A provider's hint is not one by itself: whoever writes Secrets would choose
// the number of series.
var formats = []string{
	bootstrap.FormatCloudConfig, bootstrap.FormatIgnition, bootstrap.FormatGzip,
	bootstrap.FormatMIME, bootstrap.FormatScript, bootstrap.FormatDirective, bootstrap.FormatEmpty,
}

// Injections counts bootstrap data of Clusters that have caches. Secrets of Clusters without are not counted.
var Injections = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "capi_registry_cache_injections_total",
	Help: "Bootstrap data written for Clusters with registry caches, by data format and by what became of it.",
}, []string{"format", "result"})

func init() {
	metrics.Registry.MustRegister(Injections)
	for _, format := range append(slices.Clone(formats), bootstrap.FormatUnknown) {
		for _, result := range []string{resultInjected, resultPassedThrough, resultSkipped, resultError} {
			Injections.WithLabelValues(format, result) // the first one would not be seen as an increase otherwise
		}
	}
}

// count leaves out requests of a dry run, of which nothing stays.
func count(req admission.Request, format, result string) {
	if ptr.Deref(req.DryRun, false) {
		return
	}
	if !slices.Contains(formats, format) {
		format = bootstrap.FormatUnknown
	}
	Injections.WithLabelValues(format, result).Inc()
}
