package counters

import (
	"bytes"
	"fmt"
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics of a cache that are read here (docs/cache.md).
const (
	pushedBytes      = "registry_proxy_pushed_bytes_total"
	pulledBytes      = "registry_proxy_pulled_bytes_total"
	requests         = "registry_proxy_requests_total"
	hits             = "registry_proxy_hits_total"
	coalesced        = "registry_cache_coalesced_requests_total"
	upstreamRequests = "registry_cache_upstream_requests_total"
	storedBytes      = "registry_cache_stored_bytes"
	processStart     = "process_start_time_seconds"
)

// Counts are what caches counted, of one Pod or of many.
type Counts struct {
	// ServedBytes were given to nodes, FetchedBytes came from the upstream.
	ServedBytes  int64 `json:"servedBytes"`
	FetchedBytes int64 `json:"fetchedBytes"`
	// Requests of nodes were answered. Hits of them needed no transfer from the upstream, Coalesced shared one.
	Requests  int64 `json:"requests"`
	Hits      int64 `json:"hits"`
	Coalesced int64 `json:"coalesced"`
	// UpstreamRequests were sent to the upstream, without those for tokens. It is nil for a stock registry, which does not count them.
	UpstreamRequests *int64 `json:"upstreamRequests,omitempty"`
}

// SavedBytes are those that did not have to come from the upstream.
func (c Counts) SavedBytes() int64 { return c.ServedBytes - c.FetchedBytes }

// SavedRequests are those that did not have to be sent to the upstream; nil if that is not known.
func (c Counts) SavedRequests() *int64 {
	if c.UpstreamRequests == nil {
		return nil
	}
	saved := c.Requests - *c.UpstreamRequests
	return &saved
}

// HitRatio is the share of requests without a transfer of their own, from 0 to 1; nil if there was no request.
func (c Counts) HitRatio() *float64 {
	if c.Requests == 0 {
		return nil
	}
	ratio := float64(c.Hits+c.Coalesced) / float64(c.Requests)
	return &ratio
}

// Add is the sum of both. What one of them does not know, the sum does not know, unless that one is empty.
func (c Counts) Add(more Counts) Counts {
	return c.combine(more, 1)
}

// Sub is what was counted since an earlier look.
func (c Counts) Sub(earlier Counts) Counts {
	return c.combine(earlier, -1)
}

func (c Counts) combine(other Counts, sign int64) Counts {
	sum := Counts{
		ServedBytes: c.ServedBytes + sign*other.ServedBytes, FetchedBytes: c.FetchedBytes + sign*other.FetchedBytes,
		Requests: c.Requests + sign*other.Requests, Hits: c.Hits + sign*other.Hits, Coalesced: c.Coalesced + sign*other.Coalesced,
	}
	switch {
	case c == (Counts{}):
		sum.UpstreamRequests = other.UpstreamRequests
	case other == (Counts{}):
		sum.UpstreamRequests = c.UpstreamRequests
	case c.UpstreamRequests != nil && other.UpstreamRequests != nil:
		total := *c.UpstreamRequests + sign**other.UpstreamRequests
		sum.UpstreamRequests = &total
	}
	return sum
}

// Parse reads the metrics of a cache, in Prometheus' text format, and when its process started; the zero time if they do not say.
func Parse(metrics []byte) (Counts, time.Time, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(metrics))
	if err != nil {
		return Counts{}, time.Time{}, fmt.Errorf("reading the metrics of a cache: %w", err)
	}
	if families[pushedBytes] == nil || families[pulledBytes] == nil {
		return Counts{}, time.Time{}, fmt.Errorf("reading the metrics of a cache: there is no %s or %s among %d metrics", pushedBytes, pulledBytes, len(families))
	}
	counts := Counts{
		ServedBytes: sum(families[pushedBytes]), FetchedBytes: sum(families[pulledBytes]),
		Requests: sum(families[requests]), Hits: sum(families[hits]), Coalesced: sum(families[coalesced]),
	}
	if families[storedBytes] != nil { // ours has it from its start, and counters with labels only once they count
		total := sum(families[upstreamRequests])
		counts.UpstreamRequests = &total
	}
	return counts, started(families[processStart]), nil
}

// sum adds up all labels; 0 if there is no such metric, as one that was never counted is not there.
func sum(family *dto.MetricFamily) int64 {
	total := 0.0
	for _, metric := range family.GetMetric() {
		total += metric.GetCounter().GetValue() + metric.GetUntyped().GetValue()
	}
	return int64(math.Round(total))
}

func started(family *dto.MetricFamily) time.Time {
	for _, metric := range family.GetMetric() {
		return time.UnixMilli(int64((metric.GetGauge().GetValue() + metric.GetUntyped().GetValue()) * 1000))
	}
	return time.Time{}
}
