package main

import (
	"maps"
	"net/http"
	"slices"

	"github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/metrics"
)

// expose answers with the metrics.
func (s *Syncer) expose(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", metrics.ContentType)
	_ = s.metrics().Write(w) // the other side went away
}

// metrics are what is known of the node now.
func (s *Syncer) metrics() *metrics.Text {
	report, upstreams := s.look()
	text := &metrics.Text{}
	for _, u := range upstreams {
		for _, state := range metrics.States {
			text.Add(metrics.UpstreamState, number(u.state == state), u.upstream, state)
		}
		if u.state != stateActive && u.state != stateStatic {
			text.Add(metrics.Reason, 1, u.upstream, reasonCode(u.why))
		}
	}
	for _, p := range report.Problems {
		if code := nodeReasons[p.Reason]; p.Upstream == "" && code != "" {
			text.Add(metrics.Reason, 1, "", code)
		}
	}
	counts := s.withdrawals.byUpstream()
	for _, upstream := range slices.Sorted(maps.Keys(counts)) {
		text.Add(metrics.Withdrawals, float64(counts[upstream]), upstream)
	}
	text.Add(metrics.Synced, number(report.TakenOver))
	return text
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
