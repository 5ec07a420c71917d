package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/capi-registry-cache/capi-registry-cache/test/docs/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/pull"
	_ "github.com/capi-registry-cache/capi-registry-cache/workload/cache/upstream" // makes its counters exist
	nodesync "github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/metrics"
)

// The largest fleet that the page counts for. The API takes no more caches, and as many upstreams with mirrors besides.
const (
	clusters       = 2000
	nodes          = 50 // of each
	cachesOfOne    = 32
	upstreamsOfOne = 64
	conditions     = 12
	phases         = 24
)

// more is what the page says of a metric that its registration does not.
type more struct {
	// when there are series of it, if not from the start.
	when string
	// values of labels that are not there from the start.
	values map[string][]string
	// most is how many values a label has at most, of those that there can be at a time; without it, all its values.
	most map[string]int
}

var (
	perCache   = map[string]int{"namespace": 1, "name": 1, "upstream": cachesOfOne}
	perCluster = map[string]int{"namespace": 1, "name": 1}
)

func facts() map[string]more {
	return map[string]more{
		"registry_cache_time_to_first_byte_seconds": {
			when:   "once something was pulled",
			values: map[string][]string{"type": {"blob", "manifest"}, "source": {pull.Hit, pull.Miss, pull.Coalesced, pull.Stale, pull.Bypass}},
		},
		"registry_cache_node_upstream_state": {
			when:   "once the unit runs",
			values: map[string][]string{"state": nodesync.States},
			most:   map[string]int{"upstream": upstreamsOfOne},
		},
		"registry_cache_node_reason": {
			when:   "while there is one",
			values: map[string][]string{"reason": append(slices.Clone(nodesync.UpstreamReasons), "without an upstream: "+strings.Join(nodesync.NodeReasons, ", "))},
			most:   map[string]int{"upstream": upstreamsOfOne + 1, "reason": 1},
		},
		"registry_cache_node_withdrawals_total": {when: "once the unit runs", most: map[string]int{"upstream": upstreamsOfOne}},

		"capi_registry_cache_condition": {
			when: "once there is a RegistryCache", most: map[string]int{"namespace": 1, "name": 1, "type": conditions, "status": 1, "reason": 1},
		},
		"capi_registry_cache_caches": {
			when: "once there is a RegistryCache", most: perCluster, values: map[string][]string{"state": {"ready", "not_ready"}},
		},
		"capi_registry_cache_nodes":                                {when: "once nodes report", most: perCluster},
		"capi_registry_cache_nodes_configured":                     {when: "once nodes report", most: perCluster},
		"capi_registry_cache_in_use":                               {when: "once it is known", most: perCache},
		"capi_registry_cache_certificate_expiry_timestamp_seconds": {when: "once there is a certificate", most: perCache},
		"capi_registry_cache_authority_expiry_timestamp_seconds":   {when: "once there is an authority", most: perCluster},
		"capi_registry_cache_reconcile_phase_duration_seconds":     {when: "once there is a RegistryCache", most: map[string]int{"phase": phases}},
		"capi_registry_cache_reconcile_phase_errors_total":         {when: "once there is a RegistryCache", most: map[string]int{"phase": phases}},
	}
}

func render() (string, error) {
	caches, err := cacheDescriptions()
	if err != nil {
		return "", err
	}
	manager, err := managerDescriptions()
	if err != nil {
		return "", err
	}
	page := &page{facts: facts()}
	page.line(head)
	cacheSeries := page.table(metrics.Cache, cacheText, caches)
	nodeSeries := page.table(metrics.NodeSync, nodeSyncText, nodeSyncDescriptions())
	perOne, once := page.tableOfManager(managerText, manager)
	page.line(fmt.Sprintf(tail, cacheSeries, nodeSeries, perOne, once,
		thousands(cachesOfOne*cacheSeries), thousands(nodes*nodeSeries), thousands(cachesOfOne*cacheSeries+nodes*nodeSeries),
		thousands(clusters*(cachesOfOne*cacheSeries+nodes*nodeSeries)), thousands(clusters*perOne+once)))
	return strings.Join(page.lines, "\n"), page.err
}

type page struct {
	facts map[string]more
	lines []string
	err   error
}

func (p *page) line(text string) { p.lines = append(p.lines, text) }

// table adds a table, and returns how many series a process has at most.
func (p *page) table(title, text string, all []description) int {
	p.line("## " + title + "\n\n" + text + "\n\n| metric | type | labels | series | at most | |\n|---|---|---|---|---|---|")
	sum := 0
	for _, d := range all {
		sum += p.row(d)
	}
	p.line("")
	return sum
}

// tableOfManager tells series of each RegistryCache from those that are there once.
func (p *page) tableOfManager(text string, all []description) (each, once int) {
	p.table(metrics.Manager, text, all)
	for _, d := range all {
		if slices.Contains(d.labels, "name") {
			each += p.most(d)
		} else {
			once += p.most(d)
		}
	}
	return each, once
}

func (p *page) row(d description) int {
	var labels []string
	for _, l := range d.labels {
		text := "`" + l + "`"
		if values := p.values(d, l); len(values) > 0 {
			text += " (" + strings.Join(values, ", ") + ")"
		}
		labels = append(labels, text)
	}
	most := p.most(d)
	p.line(fmt.Sprintf("| `%s` | %s | %s | %s | %d | %s |", d.name, d.kind, strings.Join(labels, ", "), p.facts[d.name].when, most, d.help))
	return most
}

func (p *page) values(d description, label string) []string {
	if values := d.values[label]; len(values) > 0 {
		return values
	}
	return p.facts[d.name].values[label]
}

// most is how many series a metric has at most: of a process, or of a RegistryCache where it has the labels of one.
func (p *page) most(d description) int {
	count := d.samples
	for _, l := range d.labels {
		values := cmp.Or(p.facts[d.name].most[l], len(p.values(d, l)))
		if values == 0 {
			p.err = fmt.Errorf("%s: how many values the label %s has at most is not known; facts has to tell", d.name, l)
		}
		count *= values
	}
	return count
}

func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
