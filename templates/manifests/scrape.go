package manifests

import (
	"maps"
	"strconv"
)

// MetricsPath is where caches and node-sync serve metrics.
const MetricsPath = "/metrics"

// scraped are the annotations by which a Prometheus without its operator finds the metrics of a Pod (config/monitoring/prometheus.yaml).
func scraped(port int) map[string]string {
	return map[string]string{
		"prometheus.io/scrape": "true",
		"prometheus.io/scheme": "http",
		"prometheus.io/port":   strconv.Itoa(port),
		"prometheus.io/path":   MetricsPath,
	}
}

// with adds more annotations to some.
func with(annotations, more map[string]string) map[string]string {
	maps.Copy(annotations, more)
	return annotations
}
