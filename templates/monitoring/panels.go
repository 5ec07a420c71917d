package monitoring

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// chosen are the series that a reader has chosen, by what is between the braces; chosenSets are those of the manager, which names a
// RegistryCache as its Cluster.
const (
	chosen     = `cluster=~"$cluster",namespace=~"$namespace",upstream=~"$upstream"`
	chosenSets = `name=~"$cluster"`

	perUpstream = "cluster, upstream"
	forUpstream = "{{cluster}} {{upstream}}"

	// step is a range that every point of a graph has samples in.
	step = "$__rate_interval"
)

func of(series string) string { return series + "{" + chosen + "}" }

// with is of, for a series with some label.
func with(series, label string) string { return series + "{" + chosen + "," + label + "}" }

func ofSets(series string) string { return series + "{" + chosenSets + "}" }

// counted is an expression by one more label, without those of its series that are 0, and 0 if there is no other.
func counted(by, label, expression string) string {
	return fmt.Sprintf(`%s > 0 or label_replace(0 * %s, "%s", "none", "", "")`, sum(joined(by, label), expression), sum(by, expression), label)
}

func joined(by, label string) string {
	if by == "" {
		return label
	}
	return by + ", " + label
}

func rows() []row {
	return []row{savings(), traffic(), upstreams(), volumes(), nodes(), clusters()}
}

func savings() row {
	const pushed, pulled, window = "registry_proxy_pushed_bytes_total", "registry_proxy_pulled_bytes_total", "$__range"
	state := "registry_cache_node_upstream_state"
	return row{title: "What the caches save", panels: []panel{
		{title: "Hit ratio", unit: units.PercentUnit, view: number, queries: []query{{expr: hitRatio("", chosen, "["+window+"]")}},
			description: "Share of requests that cost the upstream no transfer of their own: from the store, or shared with an earlier request."},
		{title: "Served to nodes", unit: units.BytesIEC, view: number, queries: []query{{expr: sum("", increase(of(pushed), window))}}},
		{title: "Fetched from upstreams", unit: units.BytesIEC, view: number, queries: []query{{expr: sum("", increase(of(pulled), window))}}},
		{title: "Saved", unit: units.BytesIEC, view: number,
			queries:     []query{{expr: sum("", increase(of(pushed), window)) + " - " + sum("", increase(of(pulled), window))}},
			description: "What was served to nodes and did not have to be fetched for it."},
		{title: "Shared transfers", unit: units.Short, view: number,
			description: "Requests that shared a transfer from the upstream with an earlier one.",
			queries:     []query{{expr: sum("", increase(of("registry_cache_coalesced_requests_total"), window))}}},
		{title: "Nodes that use their caches", unit: units.PercentUnit, view: number,
			queries:     []query{{expr: sum("", with(state, `state=~"active|static"`)) + " / " + sum("", of(state))}},
			description: "Of all nodes and upstreams."},
	}}
}

func traffic() row {
	requests, hits := rate(of("registry_proxy_requests_total"), step), rate(of("registry_proxy_hits_total"), step)
	shared := rate(of("registry_cache_coalesced_requests_total"), step)
	served, fetched := sum("", rate(of("registry_proxy_pushed_bytes_total"), step)), sum("", rate(of("registry_proxy_pulled_bytes_total"), step))
	quantile := func(q, by string) string {
		return fmt.Sprintf("histogram_quantile(%s, %s)", q, sum("le"+by, rate(of("registry_cache_time_to_first_byte_seconds_bucket"), step)))
	}
	return row{title: "Traffic", panels: []panel{
		{title: "Hit ratio by cache", unit: units.PercentUnit, queries: []query{{expr: hitRatio(perUpstream, chosen, "["+step+"]"), legend: forUpstream}}},
		{title: "Bytes", unit: units.BytesPerSecondIEC, queries: []query{
			{expr: served, legend: "served"}, {expr: fetched, legend: "fetched"}, {expr: served + " - " + fetched, legend: "saved"},
		}},
		{title: "Requests by answer", unit: units.RequestsPerSecond, view: stacked, queries: []query{
			{expr: sum("", hits), legend: "from the store"},
			{expr: orZero(sum("", shared), sum("", hits)), legend: "shared a transfer"},
			{expr: sum("", requests) + " - " + sum("", hits) + " - " + orZero(sum("", shared), sum("", hits)), legend: "fetched"},
		}},
		{title: "Requests that shared a transfer, by cache", unit: units.RequestsPerSecond, queries: []query{{expr: sum(perUpstream, shared), legend: forUpstream}}},
		{title: "Time to first byte", unit: units.Seconds, queries: []query{
			{expr: quantile("0.5", ""), legend: "50 %"}, {expr: quantile("0.9", ""), legend: "90 %"}, {expr: quantile("0.99", ""), legend: "99 %"},
		}},
		{title: "Time to first byte, 90 %, by where the answer came from", unit: units.Seconds, queries: []query{{expr: quantile("0.9", ", source"), legend: "{{source}}"}}},
	}}
}

func upstreams() row {
	return row{title: "Upstreams", panels: []panel{
		{title: "Requests to upstreams", unit: units.RequestsPerSecond, queries: []query{
			{expr: sum(perUpstream+", method", rate(of("registry_cache_upstream_requests_total"), step)), legend: "{{method}} " + forUpstream},
		}},
		{title: "Errors of upstreams", unit: units.RequestsPerSecond, queries: []query{
			{expr: counted(perUpstream, "kind", rate(of("registry_cache_upstream_errors_total"), step)), legend: "{{kind}} " + forUpstream},
		}},
		{title: "Upstreams that are not asked", unit: units.Short, view: steps, queries: []query{
			{expr: largest(perUpstream, of("registry_cache_upstream_breaker_open")), legend: "does not answer: " + forUpstream},
			{expr: largest(perUpstream, of("registry_cache_upstream_rate_limited_until_timestamp_seconds")) + " > bool time()", legend: "limits: " + forUpstream},
		}},
		{title: "Tags from the store because the upstream did not answer, and refused credentials", unit: units.RequestsPerSecond, queries: []query{
			{expr: counted(perUpstream, "reason", rate(of("registry_cache_stale_tags_total"), step)), legend: "stale, {{reason}}: " + forUpstream},
			{expr: sum(perUpstream, rate(of("registry_cache_upstream_credentials_rejected_total"), step)), legend: "refused: " + forUpstream},
		}},
	}}
}

func volumes() row {
	const forPod = "{{cluster}} {{pod}}"
	byPod := "cluster, namespace, pod"
	return row{title: "Volumes, by Pod", panels: []panel{
		{title: "Volume used by the store", unit: units.PercentUnit,
			queries:     []query{{expr: largest(byPod, of("registry_cache_stored_bytes")) + " / " + largest(byPod, of("registry_cache_capacity_bytes")), legend: forPod}},
			description: "The cache evicts what was used longest ago above its watermark, 85 % unless the spec says otherwise."},
		{title: "Free on the volume", unit: units.BytesIEC, queries: []query{{expr: "min by (" + byPod + ") (" + of("registry_cache_volume_free_bytes") + ")", legend: forPod}}},
		{title: "Evicted", unit: units.BytesPerSecondIEC, queries: []query{
			{expr: counted(byPod, "reason", rate(of("registry_cache_evicted_bytes_total"), step)), legend: "{{reason}} " + forPod},
		}},
		{title: "Served without being stored", unit: units.RequestsPerSecond, queries: []query{
			{expr: counted(byPod, "reason", rate(of("registry_cache_disk_guard_total"), step)), legend: "{{reason}} " + forPod},
		}},
	}}
}

func nodes() row {
	state := "registry_cache_node_upstream_state"
	// What concerns a whole node names no upstream.
	reason := `registry_cache_node_reason{cluster=~"$cluster",namespace=~"$namespace",upstream=~"$upstream|"}`
	return row{title: "Nodes", panels: []panel{
		{title: "Nodes by state", unit: units.Short, view: stacked, width: 8, queries: []query{{expr: sum("state", of(state)), legend: "{{state}}"}},
			description: "Each node counts once for each upstream. active: it uses the cache. static: it uses mirrors. The others pull past the cache."},
		{title: "Why nodes pull past their caches", unit: units.Short, width: 8, queries: []query{{
			expr: fmt.Sprintf(`%s or label_replace(0 * %s, "reason", "none", "", "")`,
				sum(perUpstream+", reason", reason), largest(perUpstream, of(state))),
			legend: "{{reason}} " + forUpstream,
		}}},
		{title: "Caches withdrawn by nodes", unit: units.RequestsPerSecond, width: 8, queries: []query{
			{expr: sum(perUpstream, rate(of("registry_cache_node_withdrawals_total"), step)), legend: forUpstream},
		}},
	}}
}

// clusters is what the manager tells. Standbys may tell the same as the leader, so the largest value counts.
func clusters() row {
	const forSet = "{{cluster}} {{namespace}}/{{name}}"
	ready := "capi_registry_cache_caches"
	untilEnd := func(by, series string) string { return "min by (" + by + ") (" + ofSets(series) + ") - time()" }
	phases := sum("phase, le", rate("capi_registry_cache_reconcile_phase_duration_seconds_bucket", step))
	return row{title: "Clusters, as the management cluster sees them", panels: []panel{
		{title: "Caches ready", unit: units.PercentUnit, view: number, queries: []query{{
			expr: fmt.Sprintf("sum(%s) / sum(%s)", largest(perSet, ready+`{`+chosenSets+`,state="ready"}`), largest(perSet+", state", ofSets(ready))),
		}}},
		{title: "Nodes configured", unit: units.PercentUnit, view: number, queries: []query{{
			expr: fmt.Sprintf("sum(%s) / sum(%s)", largest(perSet, ofSets("capi_registry_cache_nodes_configured")), largest(perSet, ofSets("capi_registry_cache_nodes"))),
		}}},
		{title: "Caches in use", unit: units.PercentUnit, view: number, queries: []query{{
			expr: fmt.Sprintf("avg(%s)", largest(perSetItem, ofSets("capi_registry_cache_in_use"))),
		}}, description: "Of those of which it is known whether nodes pull through them."},
		{title: "First certificate to end", unit: units.Seconds, view: number, queries: []query{{
			expr: "min(" + ofSets("capi_registry_cache_certificate_expiry_timestamp_seconds") + ") - time()",
		}}},
		{title: "First authority to end", unit: units.Seconds, view: number, queries: []query{{
			expr: "min(" + ofSets("capi_registry_cache_authority_expiry_timestamp_seconds") + ") - time()",
		}}},
		{title: "Bootstrap data with caches", unit: units.Short, view: number, queries: []query{{
			expr: sum("", increase(`capi_registry_cache_injections_total{result="injected"}`, "$__range")),
		}}},
		{title: "Nodes of Clusters", unit: units.Short, queries: []query{
			{expr: largest(perSet, ofSets("capi_registry_cache_nodes")), legend: forSet + " all"},
			{expr: largest(perSet, ofSets("capi_registry_cache_nodes_configured")), legend: forSet + " configured"},
		}},
		{title: "Conditions that are False", unit: units.Short, queries: []query{{
			expr: fmt.Sprintf(`count by (type) (%s) or label_replace(0 * count(%s), "type", "none", "", "")`,
				largest(perSet+", type", `capi_registry_cache_condition{`+chosenSets+`,type!="Paused",status="False"}`), ofSets("capi_registry_cache_condition")),
			legend: "{{type}}",
		}}},
		{title: "Time until certificates end", unit: units.Seconds, queries: []query{
			{expr: untilEnd(perSetItem, "capi_registry_cache_certificate_expiry_timestamp_seconds"), legend: forSet + " {{upstream}}"},
		}},
		{title: "Bootstrap data by result", unit: units.Short, queries: []query{
			{expr: counted("", "result", increase("capi_registry_cache_injections_total", step)), legend: "{{result}}"},
		}},
		{title: "Time that phases of reconciling take, 90 %", unit: units.Seconds, queries: []query{{expr: "histogram_quantile(0.9, " + phases + ")", legend: "{{phase}}"}}},
		{title: "Phases of reconciling that fail", unit: units.RequestsPerSecond, queries: []query{
			{expr: counted("", "phase", rate("capi_registry_cache_reconcile_phase_errors_total", step)), legend: "{{phase}}"},
		}},
	}}
}
