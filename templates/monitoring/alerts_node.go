package monitoring

import "time"

// What node-sync tells of a cache, as its node sees it.
const (
	active  = `registry_cache_node_upstream_state{state="active"}`
	waiting = `registry_cache_node_upstream_state{state="waiting"}`
	around  = `registry_cache_node_upstream_state{state=~"waiting|conflict|unsupported"}`

	// used is true of caches that a node uses.
	used = "max by (" + perCache + ") (" + active + ") == 1"
)

// awaitedInVain is true of caches that nodes wait for and none uses. Nodes that would use none at all, whatever the cache does, say nothing
// about it. by is perCache, or more.
func awaitedInVain(by string) string { return unless(largest(by, waiting)+" == 1", perCache, used) }

// nodeAlerts look at what node-sync tells of its nodes. They count nodes: one alert for each would be thousands.
func nodeAlerts() []alert {
	return []alert{
		{
			name: "RegistryCacheBypassed", severity: Warning, lasts: 15 * time.Minute,
			// Each of these nodes has been so for the whole time: new ones wait for a moment. If none uses it, those that wait are not to blame:
			// RegistryCacheDown.
			expr:        unless("count by ("+perCache+", state) "+throughout(around, 1, "15m"), perCache+", state", "("+awaitedInVain(perCache+", state")+")"),
			summary:     "Nodes pull past a cache.",
			description: "Nodes that do not use the cache of {{ $labels.upstream }} in namespace {{ $labels.namespace }}, and say {{ $labels.state }}: {{ $value }}.",
		},
		{
			name: "RegistryCacheNodesNotSynced", severity: Warning, lasts: 15 * time.Minute,
			expr:        "count by (cluster, namespace) " + throughout("registry_cache_node_synced", 0, "15m"),
			summary:     "Nodes do not act on what they are told about caches.",
			description: "Nodes whose unit has not taken over what node-sync in namespace {{ $labels.namespace }} has told it: {{ $value }}.",
		},
		{
			name: "RegistryCacheFlaps", severity: Info, lasts: 30 * time.Minute,
			// Each node that was there within the hour counts, not only those that still are.
			expr:    "avg by (" + perCache + ") (" + increase("registry_cache_node_withdrawals_total", "1h") + ") > 3",
			summary: "A cache answers on and off.",
			description: "Nodes have withdrawn the cache of {{ $labels.upstream }} in namespace {{ $labels.namespace }} {{ $value | humanize }} times each in the last hour. " +
				"They pull from the upstream in between.",
		},
	}
}
