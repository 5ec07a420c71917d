// Package metrics declares what a cache counts, once. Everything is registered with Prometheus' default registerer,
// next to what distribution registers there itself.
//
// registry_proxy_* keep the names, labels and meaning that they have in a stock registry in proxy mode, so that dashboards
// and alerts for it work unchanged. registry_cache_* exist only here. No label takes a value from a request.
package metrics

import (
	distribution "github.com/distribution/distribution/v3/metrics"
	_ "github.com/distribution/distribution/v3/registry/proxy" // registers its metrics before ours take their names
	"github.com/prometheus/client_golang/prometheus"
)

// Values of the label type.
const (
	Blob     = "blob"
	Manifest = "manifest"
)

// As in a stock registry (registry/proxy/proxymetrics.go). Requests that the cache could not answer count for none of them.
var (
	Requests    = proxyCounter("requests", "The number of total incoming proxy request received")
	Hits        = proxyCounter("hits", "The number of total proxy request hits")
	Misses      = proxyCounter("misses", "The number of total proxy request misses")
	PulledBytes = proxyCounter("pulled_bytes", "The size of total bytes pulled from the upstream")
	PushedBytes = proxyCounter("pushed_bytes", "The size of total bytes pushed to the client")
)

// What clients see.
var (
	Coalesced = counter("coalesced_requests_total", "Requests that shared an upstream transfer with an earlier one.", "type")
	Stale     = counter("stale_tags_total", "Tags answered from the store because the upstream did not answer, by why.", "reason")
	FirstByte = histogram("time_to_first_byte_seconds", "Time from a request to the first byte of its body.", "type", "source")
)

// What the upstream sees.
var (
	UpstreamRequests    = counter("upstream_requests_total", "Requests sent to the upstream, without those for tokens.", "method")
	UpstreamErrors      = counter("upstream_errors_total", "Requests to the upstream that failed, by kind.", "kind")
	BreakerOpen         = gauge("upstream_breaker_open", "1 while the upstream is not asked because it did not answer.")
	RateLimitedUntil    = gauge("upstream_rate_limited_until_timestamp_seconds", "The upstream is not asked before this time, as it answered 429: what Retry-After says, five minutes at most. 0 if it never did.")
	CredentialsRejected = counter("upstream_credentials_rejected_total", "Requests that the upstream refused with the credentials, and that were tried anonymously.")
	FileErrors          = counter("upstream_file_errors_total", "Changes of a credential or CA file that could not be used; the last good one stays.", "file")
)

// What is on the disk.
var (
	StoredBytes   = gauge("stored_bytes", "Bytes of blobs and manifests in the store.")
	StoredBlobs   = gauge("stored_blobs", "Blobs and manifests in the store.")
	CapacityBytes = gauge("capacity_bytes", "Bytes that the store may use at most, before the high watermark.")
	FreeBytes     = gauge("volume_free_bytes", "Bytes that the file system of the store has left.")
	VolumeFull    = gauge("volume_full", "1 while there is no room for what is pulled, also after eviction, and for ten minutes after that.")
	EvictedBytes  = counter("evicted_bytes_total", "Bytes removed from the store, by why.", "reason")
	Evicted       = counter("evicted_blobs_total", "Blobs and manifests removed from the store, by why.", "reason")
	DiskGuard     = counter("disk_guard_total", "Transfers that were served without being stored, by why.", "reason")
)

// Values of the label reason of Evicted and EvictedBytes.
const (
	EvictedSpace   = "space"
	EvictedExpired = "expired"
	EvictedCorrupt = "corrupt"
)

// Values of the label reason of DiskGuard.
const (
	GuardNoSpace     = "no_space"     // there is no room for it, even after eviction
	GuardWriteFailed = "write_failed" // the file system refused a write
)

// All are the metrics that are ours.
var All = []prometheus.Collector{
	Requests, Hits, Misses, PulledBytes, PushedBytes,
	Coalesced, Stale, FirstByte,
	UpstreamRequests, UpstreamErrors, BreakerOpen, RateLimitedUntil, CredentialsRejected, FileErrors,
	StoredBytes, StoredBlobs, CapacityBytes, FreeBytes, VolumeFull, EvictedBytes, Evicted, DiskGuard,
}

func init() {
	// Its counters stay zero without distribution's own proxy, and would collide with ours.
	prometheus.Unregister(distribution.ProxyNamespace)
	prometheus.MustRegister(All...)
	for _, vec := range []*prometheus.CounterVec{Requests, Hits, Misses, PulledBytes, PushedBytes, Coalesced} {
		Zero(vec, Blob, Manifest)
	}
	Zero(Evicted, EvictedSpace, EvictedExpired, EvictedCorrupt)
	Zero(EvictedBytes, EvictedSpace, EvictedExpired, EvictedCorrupt)
	Zero(DiskGuard, GuardNoSpace, GuardWriteFailed)
	CredentialsRejected.WithLabelValues()
}

// Zero makes counters exist before they first count, by the values of their one label: the first event would not be seen as an increase
// otherwise.
func Zero[V ~string](vec *prometheus.CounterVec, values ...V) {
	for _, value := range values {
		vec.WithLabelValues(string(value))
	}
}

func proxyCounter(name, help string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: distribution.NamespacePrefix, Subsystem: "proxy", Name: name + "_total", Help: help,
	}, []string{"type"})
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: distribution.NamespacePrefix, Subsystem: "cache", Name: name, Help: help,
	}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: distribution.NamespacePrefix, Subsystem: "cache", Name: name, Help: help,
	})
}

func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: distribution.NamespacePrefix, Subsystem: "cache", Name: name, Help: help,
		Buckets: []float64{.001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, labels)
}
